/* SPDX-License-Identifier: Apache-2.0 */
/* A short measured sweep over the tiles of a kind of product: device, format, size to a power of two, rows of x. Every
 * choice gives the same bits (vk_matmul_pipeline.c says why), so that results don't depend on a measurement. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "vk/vk_matmul_parts.h"

/* Smaller products take little time whatever the tile. */
static const uint64_t least_weights = 1 << 20;
/* A product of the sweep: about 5 ms of a slow device. */
static const uint64_t sweep_products = 32 << 20;
enum { MOST_CHOICES = 4096, RUNS = 3, MATRIX_SWEEP = 64 /* times as many: their devices are fast */ };
/* A choice must beat the fixed one by more than noise. */
static const double worthwhile = 0.95;

static uint8_t log2_of(uint32_t value)
{
    return (uint8_t)(31 - __builtin_clz(value | 1));
}

static struct vk_choice kind_of(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                                const struct vk_matrix *matrix, size_t count)
{
    return (struct vk_choice){.program = (uint8_t)program,
                              .type = (uint8_t)type,
                              .tile_class = (uint8_t)phy_vk_tile_class(count),
                              .tiles = (uint8_t)m->tiles_name[0],
                              .rows = log2_of(matrix->rows),
                              .cols = log2_of(matrix->cols)};
}

static const struct vk_choice *find(const struct vk_matmul *m, struct vk_choice kind)
{
    for (size_t i = 0; i < m->choice_count; i++) {
        kind.choice = m->choices[i].choice;
        if (memcmp(&m->choices[i], &kind, sizeof kind) == 0)
            return &m->choices[i];
    }
    return NULL;
}

uint32_t phy_vk_matmul_choice(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                              const struct vk_matrix *matrix, size_t count)
{
    const struct vk_choice *found = find(m, kind_of(m, program, type, matrix, count));
    return found ? found->choice : m->options.choice;
}

void phy_vk_matmul_tune_open(struct vk_matmul *m)
{
    size_t bytes = 0;
    if (!m->options.tune || (m->options.cache_directory && !m->options.cache_directory[0]))
        return;
    m->choices = phy_vk_cache_read(m->options.cache_directory, &m->cache_key, "tiles", &bytes);
    m->choice_count = bytes / sizeof *m->choices;
    for (size_t i = 0; i < m->choice_count; i++)
        m->choices[i].choice %= VK_TILE_CHOICES;
}

void phy_vk_matmul_tune_close(struct vk_matmul *m)
{
    if (m->new_choices && !(m->options.cache_directory && !m->options.cache_directory[0]))
        phy_vk_cache_write(m->options.cache_directory, &m->cache_key, "tiles", m->choices,
                           m->choice_count * sizeof *m->choices);
}

/* What a run multiplies: rows of the first slice. */
static enum phy_status sample(struct vk_matmul *m, enum vk_program program, const struct vk_matrix *matrix,
                              size_t count, uint32_t choice, struct vk_pipe *pipe, struct phy_matmul_push *push,
                              VkDescriptorSet *set)
{
    const struct vk_slice *slice = &m->slices[matrix->first_slice];
    const uint64_t products = program == VK_PROGRAM_MATRIX ? MATRIX_SWEEP * sweep_products : sweep_products;
    const uint32_t rows = (uint32_t)phy_min_u64(products / ((uint64_t)matrix->cols * count) + 1, slice->rows);
    const bool words = program == VK_PROGRAM_MATMUL && matrix->type < PHY_WEIGHT_FLOAT_COUNT;
    if (program == VK_PROGRAM_MATRIX)
        return phy_vk_matrices_sample(m, matrix, count, rows, choice, pipe, push, set);
    *push = (struct phy_matmul_push){.row_end = rows,
                                     .blocks = words ? matrix->row_words : matrix->blocks,
                                     .count = (uint32_t)count,
                                     .x_stride = vk_padded(matrix->cols) / 4,
                                     .y_at = (uint32_t)(count * 2 * vk_padded(matrix->cols)),
                                     .y_stride = matrix->rows,
                                     .firsts_at = phy_vk_bitmap_firsts_at(matrix, slice)};
    *set = slice->set;
    return phy_vk_matmul_pipeline(m, program, matrix->type, count, choice, pipe);
}

/* Of x of zeros: the best of some runs after the first. */
static enum phy_status measure(struct vk_matmul *m, enum vk_program program, const struct vk_matrix *matrix,
                               size_t count, uint32_t choice, double *seconds)
{
    struct phy_matmul_push push;
    struct vk_pipe pipe;
    VkDescriptorSet set;
    enum phy_status status = sample(m, program, matrix, count, choice, &pipe, &push, &set);
    *seconds = 1e9;
    for (int run = 0; run < RUNS && status == PHY_OK; run++) {
        status = phy_vk_matmul_begin(m);
        if (status)
            break;
        m->b.vk.vkCmdFillBuffer(m->b.slots[0].commands, m->arena.handle, 0, VK_WHOLE_SIZE, 0);
        phy_vk_matmul_barrier(m, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                              VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                              VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
        phy_vk_matmul_rows(m, &pipe, set, &push, matrix->cols);
        const double started = phy_seconds_now();
        status = phy_vk_matmul_run(m);
        const double taken = phy_seconds_now() - started;
        if (run > 0 && taken < *seconds)
            *seconds = taken;
    }
    return status;
}

enum phy_status phy_vk_matmul_tune(struct vk_matmul *m, enum vk_program program, const struct vk_matrix *matrix,
                                   size_t count)
{
    struct vk_choice kind = kind_of(m, program, matrix->type, matrix, count);
    if (!m->options.tune || m->quiet || (uint64_t)matrix->rows * matrix->cols < least_weights || find(m, kind) ||
        m->choice_count >= MOST_CHOICES)
        return PHY_OK;
    struct vk_choice *grown = phy_realloc(m->choices, m->choice_count + 1, sizeof *grown);
    if (!grown)
        return phy_vk_report(&m->b, PHY_ERR_MEMORY, "out of memory: a list of tiles");
    m->choices = grown;
    const size_t most = program == VK_PROGRAM_MATRIX ? 256 : 64;
    count = count < most ? count : most;
    enum phy_status status = phy_vk_matmul_reserve(m, count * (2 * (uint64_t)vk_padded(matrix->cols) + matrix->rows));
    double fixed = 0, best = 0;
    const uint32_t choices = program == VK_PROGRAM_MATRIX ? phy_vk_matrices_choices(m, matrix->type)
                                                          : phy_vk_tile_choices(m, program, matrix->type, count);
    for (uint32_t i = 0; i < choices && status == PHY_OK; i++) {
        double seconds;
        status = measure(m, program, matrix, count, i, &seconds);
        if (i == 0)
            fixed = best = seconds;
        if (seconds < best && seconds < worthwhile * fixed) {
            best = seconds;
            kind.choice = (uint8_t)i;
        }
    }
    if (status)
        return status;
    m->choices[m->choice_count++] = kind;
    m->new_choices = true;
    return PHY_OK;
}
