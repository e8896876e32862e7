/* SPDX-License-Identifier: Apache-2.0 */
/* Features by list: rows of gate and up, then rows of down, which is stored by feature. */
#include <math.h>
#include <string.h>

#include "base/checked_math.h"
#include "vk/vk_matmul_parts.h"

/* Rows of x together: each load and unpacked weight of gate and up serves them all. */
enum { ROWS_TOGETHER = PHY_WALK_ROWS_TOGETHER };

/* The arena (floats): x, the list, then of each row gate, up, values, then a sum of each segment, then y. */
struct places {
    uint64_t list, gate, up, values, parts, y, end;
    uint32_t rows, width;      /* width: of a row of gate, up and values */
    uint32_t segments, stride; /* of a row's parts */
};

static uint64_t whole_words(uint64_t floats)
{
    return (floats + 3) / 4 * 4;
}

/* Places begin .. end - 1 of the list that lie in a slice; the search begins at `begin`. */
static uint32_t end_in_slice(const struct phy_walk_product *p, const struct vk_slice *slice, uint32_t begin)
{
    uint32_t end = begin;
    while (end < p->feature_count && p->features[end] < slice->first_row + slice->rows)
        end++;
    return end;
}

/* A slice's last segment may be short, so that segments don't depend on what came before it. */
static uint32_t count_segments(const struct vk_matmul *m, const struct phy_walk_product *p)
{
    const struct vk_matrix *down = &m->matrices[p->down->index];
    uint32_t segments = 0, begin = 0;
    for (uint32_t i = 0; i < down->slice_count; i++) {
        uint32_t end = end_in_slice(p, &m->slices[down->first_slice + i], begin);
        segments += (end - begin + PHY_WALK_SEGMENT - 1) / PHY_WALK_SEGMENT;
        begin = end;
    }
    return segments;
}

static struct places find_places(const struct vk_matmul *m, const struct phy_walk_product *p, size_t rows)
{
    const struct vk_matrix *gate = &m->matrices[p->gate->index], *down = &m->matrices[p->down->index];
    const uint64_t width = whole_words(p->feature_count), all = rows * width;
    struct places at = {.list = (uint64_t)rows * vk_padded(gate->cols),
                        .rows = (uint32_t)rows,
                        .width = (uint32_t)width,
                        .segments = count_segments(m, p),
                        .stride = vk_padded(down->cols)};
    at.gate = at.list + width;
    at.up = at.gate + all;
    at.values = at.up + all;
    at.parts = at.values + all;
    at.y = at.parts + (uint64_t)rows * at.segments * at.stride;
    at.end = at.y + (uint64_t)rows * down->cols;
    return at;
}

/* y[i] = row features[i] of w times x, for each row of x. */
static enum phy_status record_rows(struct vk_matmul *m, const struct vk_matrix *w, const struct phy_walk_product *p,
                                   const struct places *at, uint64_t y)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_LISTED, w->type, at->rows, 0, &pipe);
    if (status)
        return status;
    phy_vk_matmul_trace(m, PHY_KERNEL_WALK, w->type, pipe.form);
    uint32_t begin = 0;
    for (uint32_t i = 0; i < w->slice_count; i++) {
        const struct vk_slice *slice = &m->slices[w->first_slice + i];
        const uint32_t end = end_in_slice(p, slice, begin);
        const struct phy_matmul_push push = {.row_begin = begin,
                                             .row_end = end,
                                             .blocks = w->type < PHY_WEIGHT_FLOAT_COUNT ? w->row_words : w->blocks,
                                             .count = at->rows,
                                             .x_stride = vk_padded(w->cols) / 4,
                                             .y_at = (uint32_t)y,
                                             .y_stride = at->width,
                                             .list_at = (uint32_t)at->list,
                                             .first_row = slice->first_row};
        phy_vk_matmul_rows(m, &pipe, slice->set, &push, w->cols);
        begin = end;
    }
    return PHY_OK;
}

/* The sums of all segments of `rows` rows from `row` on: one, or up to ROWS_TOGETHER. A dispatch has as many as a slow
 * device does in a tenth of a second. */
static enum phy_status record_parts(struct vk_matmul *m, const struct phy_walk_product *p, const struct places *at,
                                    uint32_t row, uint32_t rows)
{
    const struct vk_matrix *w = &m->matrices[p->down->index];
    const enum vk_program program = rows == 1 ? VK_PROGRAM_WALK_DOWN : VK_PROGRAM_WALK_DOWNS;
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, program, w->type, 1, 0, &pipe);
    if (status)
        return status;
    phy_vk_matmul_trace(m, PHY_KERNEL_WALK, w->type, pipe.form);
    const uint32_t neighbours = m->eights ? PHY_WALK_EIGHTS_INVOCATIONS : PHY_WALK_INVOCATIONS;
    const uint64_t fit = m->products_per_dispatch / ((uint64_t)w->cols * PHY_WALK_SEGMENT * rows) + 1;
    const uint32_t most = (uint32_t)phy_min_u64(fit, 65535) * PHY_WALK_SEGMENT;
    uint32_t begin = 0;
    const uint32_t parts_stride = at->segments * at->stride;
    uint64_t parts = at->parts + (uint64_t)row * parts_stride;
    for (uint32_t i = 0; i < w->slice_count; i++) {
        const struct vk_slice *slice = &m->slices[w->first_slice + i];
        const uint32_t end = end_in_slice(p, slice, begin);
        while (begin < end) {
            const uint32_t stop = end - begin < most ? end : begin + most;
            const uint32_t segments = (stop - begin + PHY_WALK_SEGMENT - 1) / PHY_WALK_SEGMENT;
            const struct phy_walk_push push = {.units = w->blocks,
                                               .list_at = (uint32_t)at->list,
                                               .list_begin = begin,
                                               .list_end = stop,
                                               .first_row = slice->first_row,
                                               .values_at = (uint32_t)at->values + row * at->width,
                                               .parts_at = (uint32_t)(parts / 4),
                                               .rows = rows,
                                               .values_stride = at->width,
                                               .parts_stride = parts_stride / 4};
            phy_vk_matmul_dispatch(m, &pipe, slice->set, &push, sizeof push, (w->blocks + neighbours - 1) / neighbours,
                                   segments);
            parts += (uint64_t)segments * at->stride;
            begin = stop;
        }
    }
    return PHY_OK;
}

static enum phy_status record_sum(struct vk_matmul *m, uint32_t cols, const struct places *at, uint32_t row)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_WALK_SUM, PHY_WEIGHT_F32, 1, 0, &pipe);
    const struct phy_walk_sum_push push = {.cols = cols,
                                           .segments = at->segments,
                                           .parts_at = (uint32_t)at->parts + row * at->segments * at->stride,
                                           .stride = at->stride,
                                           .y_at = (uint32_t)at->y + row * cols};
    if (status == PHY_OK)
        phy_vk_matmul_dispatch(m, &pipe, m->arena_set, &push, sizeof push,
                               (cols + PHY_WALK_INVOCATIONS - 1) / PHY_WALK_INVOCATIONS, 1);
    return status;
}

/* down_rows: that the sums of down are made for together. */
static enum phy_status record(struct vk_matmul *m, const struct phy_walk_product *p, const struct places *at,
                              uint32_t down_rows)
{
    const struct phy_ffn_gate_push push = {.width = (uint32_t)p->feature_count,
                                           .step = 1,
                                           .in_stride = at->width,
                                           .out_stride = at->width,
                                           .gate_at = (uint32_t)at->gate,
                                           .up_at = (uint32_t)at->up,
                                           .out_at = (uint32_t)at->values,
                                           .activation = (uint32_t)p->activation};
    enum phy_status status = p->gate_dots ? PHY_OK : record_rows(m, &m->matrices[p->gate->index], p, at, at->gate);
    if (status == PHY_OK)
        status = record_rows(m, &m->matrices[p->up->index], p, at, at->up);
    if (status == PHY_OK)
        status = phy_vk_matmul_gate(m, &push, at->rows);
    for (uint32_t row = 0; row < at->rows && status == PHY_OK; row += down_rows)
        status = record_parts(m, p, at, row, down_rows);
    for (uint32_t row = 0; row < at->rows && status == PHY_OK; row++)
        status = record_sum(m, m->matrices[p->down->index].cols, at, row);
    return status;
}

static size_t count_zeros(const struct vk_matmul *m, const struct places *at, size_t count)
{
    size_t zeros = 0;
    for (size_t i = 0; i < at->rows * count; i++) {
        float value;
        phy_vk_matmul_take(m, at->values + i / count * at->width + i % count, 1, 1, 1, &value);
        zeros += value == 0;
    }
    return zeros;
}

static enum phy_status run(struct vk_matmul *m, const struct phy_walk_product *p, size_t first, const struct places *at,
                           uint32_t down_rows)
{
    const uint32_t cols = m->matrices[p->gate->index].cols, hidden = m->matrices[p->down->index].cols;
    enum phy_status status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    phy_vk_matmul_put_x(m, p->x + first * cols, at->rows, cols);
    phy_vk_matmul_put(m, at->list, p->features, p->feature_count);
    if (p->gate_dots)
        phy_vk_matmul_put_listed(m, at->gate, p->gate_dots, p->features, p->feature_count);
    status = record(m, p, at, down_rows);
    phy_vk_matmul_fetch(m, at->values, at->end);
    if (status == PHY_OK)
        status = phy_vk_matmul_run_timed(m, at->rows * p->feature_count *
                                                ((p->gate_dots ? 1 : 2) * (uint64_t)cols + hidden));
    if (status == PHY_OK)
        phy_vk_matmul_take(m, at->y, hidden, at->rows, hidden, p->y + first * hidden);
    return status;
}

static bool all_finite(const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(y[i]))
            return false;
    }
    return true;
}

/* Rows whose sums of down are made together. It takes registers for the sums of all: `rows` is for processors, which
 * unpack slowly and keep sums in memory anyway. */
static uint32_t rows_of_down(const struct vk_matmul *m, const struct places *at)
{
    return m->tiles_name == phy_vk_matmul_tile_names[0] ? at->rows : 1;
}

/* Together a row's value of zero, which the walk skips, is multiplied if another row's is not: that adds nothing,
 * unless the weight is infinite or no number. Then rows are summed one by one. */
static enum phy_status walk_rows(struct vk_matmul *m, const struct phy_walk_product *p, size_t first,
                                 const struct places *at)
{
    const uint32_t hidden = m->matrices[p->down->index].cols, together = rows_of_down(m, at);
    enum phy_status status = phy_vk_matmul_reserve(m, at->end);
    if (status == PHY_OK)
        status = run(m, p, first, at, together);
    if (status == PHY_OK && together > 1 && !all_finite(p->y + first * hidden, (size_t)at->rows * hidden))
        status = run(m, p, first, at, 1);
    if (status == PHY_OK)
        *p->skipped += count_zeros(m, at, p->feature_count);
    return status;
}

enum phy_status phy_vk_matmul_walk(struct phy_matmul_backend *backend, const struct phy_walk_product *p)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    const uint64_t room = m->b.properties.limits.maxStorageBufferRange / sizeof(float);
    size_t together = ROWS_TOGETHER;
    enum phy_status status = PHY_OK;
    *p->skipped = 0;
    backend->device_ns = 0;
    if (p->feature_count == 0) {
        memset(p->y, 0, p->rows * m->matrices[p->down->index].cols * sizeof *p->y);
        return PHY_OK;
    }
    while (together > 1 && find_places(m, p, together).end > room)
        together /= 2;
    for (size_t row = 0; row < p->rows && status == PHY_OK; row += together) {
        const struct places at = find_places(m, p, p->rows - row < together ? p->rows - row : together);
        if (at.end > room)
            return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): a walk over %zu features exceeds a binding",
                                 m->b.base.name, m->b.base.description, p->feature_count);
        status = walk_rows(m, p, row, &at);
    }
    return status;
}
