/* SPDX-License-Identifier: Apache-2.0 */
/* Features by list: rows of gate and up, then rows of down, which is stored by feature. */
#include <string.h>

#include "base/checked_math.h"
#include "vk/vk_matmul_parts.h"

/* The arena (floats): x, the list, gate, up, values, then a sum of each segment, then y. */
struct places {
    uint64_t list, gate, up, values, parts, y, end;
    uint32_t segments, stride; /* of parts */
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

static struct places find_places(const struct vk_matmul *m, const struct phy_walk_product *p)
{
    const struct vk_matrix *gate = &m->matrices[p->gate->index], *down = &m->matrices[p->down->index];
    const uint64_t count = whole_words(p->feature_count);
    struct places at = {
        .list = vk_padded(gate->cols), .segments = count_segments(m, p), .stride = vk_padded(down->cols)};
    at.gate = at.list + count;
    at.up = at.gate + count;
    at.values = at.up + count;
    at.parts = at.values + count;
    at.y = at.parts + (uint64_t)at.segments * at.stride;
    at.end = at.y + down->cols;
    return at;
}

/* y[i] = row features[i] of w times x. */
static enum phy_status record_rows(struct vk_matmul *m, const struct vk_matrix *w, const struct phy_walk_product *p,
                                   const struct places *at, uint64_t y)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_LISTED, w->type, 1, 0, &pipe);
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
                                             .count = 1,
                                             .x_stride = vk_padded(w->cols) / 4,
                                             .y_at = (uint32_t)y,
                                             .list_at = (uint32_t)at->list,
                                             .first_row = slice->first_row};
        phy_vk_matmul_rows(m, &pipe, slice->set, &push, w->cols);
        begin = end;
    }
    return PHY_OK;
}

/* The sums of all segments. A dispatch has as many as a slow device does in a tenth of a second. */
static enum phy_status record_parts(struct vk_matmul *m, const struct phy_walk_product *p, const struct places *at)
{
    const struct vk_matrix *w = &m->matrices[p->down->index];
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_WALK_DOWN, w->type, 1, 0, &pipe);
    if (status)
        return status;
    phy_vk_matmul_trace(m, PHY_KERNEL_WALK, w->type, pipe.form);
    const uint64_t fit = m->products_per_dispatch / ((uint64_t)w->cols * PHY_WALK_SEGMENT) + 1;
    const uint32_t most = (uint32_t)phy_min_u64(fit, 65535) * PHY_WALK_SEGMENT;
    uint32_t begin = 0;
    uint64_t parts = at->parts;
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
                                               .values_at = (uint32_t)at->values,
                                               .parts_at = (uint32_t)(parts / 4)};
            phy_vk_matmul_dispatch(m, &pipe, slice->set, &push, sizeof push,
                                   (w->blocks + PHY_WALK_INVOCATIONS - 1) / PHY_WALK_INVOCATIONS, segments);
            parts += (uint64_t)segments * at->stride;
            begin = stop;
        }
    }
    return PHY_OK;
}

static enum phy_status record_sum(struct vk_matmul *m, uint32_t cols, const struct places *at)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_WALK_SUM, PHY_WEIGHT_F32, 1, 0, &pipe);
    const struct phy_walk_sum_push push = {cols, at->segments, (uint32_t)at->parts, at->stride, (uint32_t)at->y};
    if (status == PHY_OK)
        phy_vk_matmul_dispatch(m, &pipe, m->arena_set, &push, sizeof push,
                               (cols + PHY_WALK_INVOCATIONS - 1) / PHY_WALK_INVOCATIONS, 1);
    return status;
}

static enum phy_status record(struct vk_matmul *m, const struct phy_walk_product *p, const struct places *at)
{
    const uint32_t count = (uint32_t)p->feature_count;
    const struct phy_ffn_gate_push push = {.width = count,
                                           .step = 1,
                                           .in_stride = count,
                                           .out_stride = count,
                                           .gate_at = (uint32_t)at->gate,
                                           .up_at = (uint32_t)at->up,
                                           .out_at = (uint32_t)at->values,
                                           .activation = (uint32_t)p->activation};
    enum phy_status status = p->gate_dots ? PHY_OK : record_rows(m, &m->matrices[p->gate->index], p, at, at->gate);
    if (status == PHY_OK)
        status = record_rows(m, &m->matrices[p->up->index], p, at, at->up);
    if (status == PHY_OK)
        status = phy_vk_matmul_gate(m, &push, 1);
    if (status == PHY_OK)
        status = record_parts(m, p, at);
    return status ? status : record_sum(m, m->matrices[p->down->index].cols, at);
}

static size_t count_zeros(const struct vk_matmul *m, const struct places *at, size_t count)
{
    size_t zeros = 0;
    for (size_t i = 0; i < count; i++) {
        float value;
        phy_vk_matmul_take(m, at->values + i, 1, 1, 1, &value);
        zeros += value == 0;
    }
    return zeros;
}

enum phy_status phy_vk_matmul_walk(struct phy_matmul_backend *backend, const struct phy_walk_product *p)
{
    struct vk_matmul *m = (struct vk_matmul *)backend;
    const uint32_t cols = m->matrices[p->gate->index].cols, hidden = m->matrices[p->down->index].cols;
    *p->skipped = 0;
    backend->device_ns = 0;
    if (p->feature_count == 0) {
        memset(p->y, 0, hidden * sizeof *p->y);
        return PHY_OK;
    }
    const struct places at = find_places(m, p);
    if (at.end * sizeof(float) > m->b.properties.limits.maxStorageBufferRange)
        return phy_vk_report(&m->b, PHY_ERR_LIMIT, "device %s (%s): a walk over %zu features exceeds a binding",
                             m->b.base.name, m->b.base.description, p->feature_count);
    enum phy_status status = phy_vk_matmul_reserve(m, at.end);
    if (status == PHY_OK)
        status = phy_vk_matmul_begin(m);
    if (status)
        return status;
    phy_vk_matmul_put_x(m, p->x, 1, cols);
    phy_vk_matmul_put(m, at.list, p->features, p->feature_count);
    if (p->gate_dots)
        phy_vk_matmul_put_listed(m, at.gate, p->gate_dots, p->features, p->feature_count);
    status = record(m, p, &at);
    phy_vk_matmul_fetch(m, at.values, at.end);
    if (status == PHY_OK)
        status = phy_vk_matmul_run_timed(m, p->feature_count * ((p->gate_dots ? 1 : 2) * (uint64_t)cols + hidden));
    if (status)
        return status;
    *p->skipped = count_zeros(m, &at, p->feature_count);
    phy_vk_matmul_take(m, at.y, hidden, 1, hidden, p->y);
    return PHY_OK;
}
