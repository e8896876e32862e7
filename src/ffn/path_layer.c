/* SPDX-License-Identifier: Apache-2.0 */
/* A layer's matrices as its path wants them: pointed at where they are stored so, else made. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "ffn/path_parts.h"
#include "quant/bitmap.h"

static size_t row_bytes(const struct phy_weights *w)
{
    size_t bytes = 0;
    phy_weight_row_bytes(w->type, w->cols, &bytes); /* fits: the matrix was mapped, or made here */
    return bytes;
}

static uint64_t matrix_bytes(const struct phy_weights *w)
{
    struct phy_bitmap bitmap;
    uint64_t bytes = 0;
    if (!phy_weight_is_bitmap(w->type))
        return (uint64_t)w->rows * row_bytes(w);
    if (phy_bitmap_view(&bitmap, w->type, w->data, w->rows, w->cols))
        phy_bitmap_bytes(&bitmap, phy_bitmap_first(&bitmap, w->rows), &bytes);
    return bytes;
}

/* An empty matrix that the layer owns. */
static enum phy_status own(struct path_layer *layer, enum phy_weight_type type, size_t rows, size_t cols,
                           struct phy_weights *out, const struct phy_host *host)
{
    size_t width, bytes = SIZE_MAX;
    void *data = NULL;
    if (phy_weight_row_bytes(type, cols, &width) && phy_mul_size(rows, width, &bytes))
        data = phy_alloc_aligned(bytes);
    if (!data)
        return phy_fail_memory(host, "a path's matrix", bytes);
    layer->owned[layer->owned_count++] = data;
    *out = (struct phy_weights){.data = data, .type = type, .rows = rows, .cols = cols};
    return PHY_OK;
}

/* ---- work for the pool: a strip of rows each ---- */

enum { STRIP = 16 };

struct make_job {
    const struct phy_weights *from, *second;
    const struct phy_weights *to;
    size_t offset, stride; /* rows of `from` to take: offset + i * stride */
};

static void pair_strip(void *user, size_t index, unsigned worker)
{
    const struct make_job *job = user;
    const size_t bytes = row_bytes(job->from);
    (void)worker;
    for (size_t r = index * STRIP; r < (index + 1) * STRIP && r < job->from->rows; r++) {
        uint8_t *to = (uint8_t *)(uintptr_t)job->to->data + 2 * r * bytes;
        memcpy(to, (const uint8_t *)job->from->data + r * bytes, bytes);
        memcpy(to + bytes, (const uint8_t *)job->second->data + r * bytes, bytes);
    }
}

static void take_strip(void *user, size_t index, unsigned worker)
{
    const struct make_job *job = user;
    const size_t from_bytes = row_bytes(job->from), to_bytes = row_bytes(job->to);
    (void)worker;
    for (size_t r = index * STRIP; r < (index + 1) * STRIP && r < job->to->rows; r++) {
        uint8_t *to = (uint8_t *)(uintptr_t)job->to->data + r * to_bytes;
        const uint8_t *from = (const uint8_t *)job->from->data + (job->offset + r * job->stride) * from_bytes;
        if (job->to->type == job->from->type)
            memcpy(to, from, to_bytes);
        else
            phy_weight_decode_row(job->from->type, from, job->from->cols, (float *)(void *)to);
    }
}

/* Columns [index * STRIP, ...) of `from` become rows; floats only. */
static void transpose_strip(void *user, size_t index, unsigned worker)
{
    const struct make_job *job = user;
    const size_t rows = job->from->rows, cols = job->from->cols, width = phy_weight_float_bytes(job->from->type);
    const size_t end = (index + 1) * STRIP < cols ? (index + 1) * STRIP : cols;
    const uint8_t *from = job->from->data;
    uint8_t *to = (uint8_t *)(uintptr_t)job->to->data;
    (void)worker;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = index * STRIP; c < end; c++) {
            if (job->to->type == job->from->type)
                memcpy(to + (c * rows + r) * width, from + (r * cols + c) * width, width);
            else
                phy_weight_decode_row(job->from->type, from + (r * cols + c) * width, 1,
                                      (float *)(void *)to + c * rows + r);
        }
    }
}

/* ---- the matrices ---- */

static size_t strips(size_t rows)
{
    return (rows + STRIP - 1) / STRIP;
}

/* Every stride-th row from `offset` on, widened if the path wants it; the source's own matrix where that is the same.
 */
static enum phy_status take(struct path_layer *layer, const struct phy_weights *from, size_t offset, size_t stride,
                            struct phy_weights *to, struct phy_pool *pool, const struct phy_host *host)
{
    const enum phy_weight_type type = layer->rule->widened ? PHY_WEIGHT_F32 : from->type;
    if (stride == 1 && type == from->type) {
        *to = *from;
        return PHY_OK;
    }
    enum phy_status status = own(layer, type, from->rows / stride, from->cols, to, host);
    struct make_job job = {.from = from, .to = to, .offset = offset, .stride = stride};
    if (status == PHY_OK)
        phy_pool_run(pool, strips(to->rows), take_strip, &job);
    return status;
}

static enum phy_status take_gate_up(struct path_layer *layer, const struct path_source *s, struct phy_pool *pool,
                                    const struct phy_host *host)
{
    const bool paired =
        layer->rule->family == PATH_PAIRED || (layer->rule->family == PATH_STORED && s->gate_up.data != NULL);
    enum phy_status status;
    if (paired && s->gate_up.data) {
        layer->gate_up = s->gate_up;
        return PHY_OK;
    }
    if (paired) {
        struct make_job job = {.from = &s->gate, .second = &s->up, .to = &layer->gate_up};
        status = own(layer, s->gate.type, 2 * s->gate.rows, s->gate.cols, &layer->gate_up, host);
        if (status == PHY_OK)
            phy_pool_run(pool, strips(s->gate.rows), pair_strip, &job);
        return status;
    }
    if (s->gate.data && s->up.data) {
        status = take(layer, &s->gate, 0, 1, &layer->gate, pool, host);
        return status == PHY_OK ? take(layer, &s->up, 0, 1, &layer->up, pool, host) : status;
    }
    status = take(layer, &s->gate_up, 0, 2, &layer->gate, pool, host);
    return status == PHY_OK ? take(layer, &s->gate_up, 1, 2, &layer->up, pool, host) : status;
}

static enum phy_status take_down(struct path_layer *layer, const struct path_source *s, struct phy_pool *pool,
                                 const struct phy_host *host)
{
    if (layer->rule->family != PATH_LISTED && layer->rule->family != PATH_FEATURES) {
        layer->down = s->down;
        return PHY_OK;
    }
    if (s->down_by_feature.data)
        return take(layer, &s->down_by_feature, 0, 1, &layer->down, pool, host);
    const enum phy_weight_type type = layer->rule->widened ? PHY_WEIGHT_F32 : s->down.type;
    enum phy_status status = own(layer, type, s->down.cols, s->down.rows, &layer->down, host);
    struct make_job job = {.from = &s->down, .to = &layer->down};
    if (status == PHY_OK)
        phy_pool_run(pool, strips(s->down.cols), transpose_strip, &job);
    return status;
}

static enum phy_status take_biases(struct path_layer *layer, const struct path_source *s, const struct phy_host *host)
{
    layer->gate_bias = s->gate_bias;
    layer->up_bias = s->up_bias;
    layer->down_bias = s->down_bias;
    if (!layer->gate_up.data || (!s->gate_bias && !s->up_bias))
        return PHY_OK;
    const size_t rows = layer->gate_up.rows;
    layer->pair_bias = phy_zalloc(rows, sizeof(float));
    if (!layer->pair_bias)
        return phy_fail_memory(host, "a path's biases", rows * sizeof(float));
    for (size_t i = 0; i < rows / 2; i++) {
        layer->pair_bias[2 * i] = s->gate_bias ? s->gate_bias[i] : 0;
        layer->pair_bias[2 * i + 1] = s->up_bias ? s->up_bias[i] : 0;
    }
    return PHY_OK;
}

enum phy_status phy_path_layer_make(struct path_layer *layer, const struct path_rule *rule,
                                    const struct path_source *source, struct phy_pool *pool,
                                    const struct phy_host *host)
{
    *layer = (struct path_layer){.rule = rule};
    enum phy_status status = take_gate_up(layer, source, pool, host);
    if (status == PHY_OK)
        status = take_down(layer, source, pool, host);
    if (status == PHY_OK)
        status = take_biases(layer, source, host);
    if (status != PHY_OK)
        phy_path_layer_free(layer);
    return status;
}

void phy_path_layer_free(struct path_layer *layer)
{
    for (uint32_t i = 0; i < layer->owned_count; i++)
        phy_free(layer->owned[i]);
    phy_free(layer->pair_bias);
    *layer = (struct path_layer){0};
}

size_t phy_path_layer_matrices(struct path_layer *layer, struct phy_weights *out[3])
{
    size_t count = 0;
    struct phy_weights *all[] = {&layer->gate, &layer->up, &layer->gate_up, &layer->down};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->data)
            out[count++] = all[i];
    }
    return count;
}

uint64_t phy_path_layer_bytes(const struct path_layer *layer)
{
    const struct phy_weights *all[] = {&layer->gate, &layer->up, &layer->gate_up, &layer->down};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bytes += all[i]->data ? matrix_bytes(all[i]) : 0;
    return bytes;
}
