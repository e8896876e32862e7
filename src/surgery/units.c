/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/units.h"

#include <string.h>

#include "base/checked_math.h"

struct phy_matrix phy_matrix_of(const struct phy_checkpoint *checkpoint, const struct phy_target *target)
{
    struct phy_tensor_info info;
    phy_checkpoint_tensor(checkpoint, target->tensor, &info);
    enum phy_float_type type = strcmp(info.dtype, "F32") == 0   ? PHY_FLOAT_F32
                               : strcmp(info.dtype, "F16") == 0 ? PHY_FLOAT_F16
                                                                : PHY_FLOAT_BF16;
    return (struct phy_matrix){.at = info.at,
                               .bytes = info.bytes,
                               .rows = info.shape[0],
                               .cols = info.shape[1],
                               .shard = info.shard,
                               .type = type,
                               .code_bytes = phy_float_bytes(type)};
}

void phy_unit_cursor_start(struct phy_unit_cursor *cursor, const struct phy_checkpoint *checkpoint,
                           const struct phy_target_list *targets, const struct phy_unit_limits *limits, size_t shard,
                           uint64_t at)
{
    *cursor = (struct phy_unit_cursor){
        .checkpoint = checkpoint, .targets = targets, .limits = *limits, .shard = shard, .at = at};
}

/* Bytes that `rows` rows of `cols` columns take in a buffer. No overflow: rows * cols is within a tensor. */
static uint64_t buffer_bytes(const struct phy_unit_cursor *cursor, const struct phy_matrix *m, uint64_t rows,
                             uint64_t cols)
{
    return rows * cols * m->code_bytes + (cursor->limits.scaled ? cols * sizeof(float) : 0);
}

/* As many whole rows as fit: one always does, or the plan of the buffers was refused. */
static void cut_whole_rows(const struct phy_unit_cursor *cursor, const struct phy_matrix *m, struct phy_unit *out)
{
    const struct phy_unit_limits *limits = &cursor->limits;
    uint64_t columns_bytes = m->cols * limits->row_column_bytes, fitting = 0;
    if (limits->bytes > columns_bytes)
        fitting = phy_min_u64((limits->bytes - columns_bytes) / out->row_stride_bytes, limits->tiles);
    out->rows = phy_min_u64(fitting ? fitting : 1, m->rows - out->row);
    out->cols = m->cols;
    out->contiguous = true;
}

/* Whole block rows if one fits; else the next column chunk of the block row at `row`. */
static void cut_rows(struct phy_unit_cursor *cursor, const struct phy_matrix *m, uint64_t row, struct phy_unit *out)
{
    const struct phy_unit_limits *limits = &cursor->limits;
    const uint64_t block = limits->block, tiles_wide = phy_ceil_div(m->cols, block);
    const uint64_t left = m->rows - row, height = phy_min_u64(block, left);

    out->row = row;
    out->row_stride_bytes = m->cols * m->code_bytes;
    if (limits->row_column_bytes) {
        cut_whole_rows(cursor, m, out);
    } else if (tiles_wide <= limits->tiles && buffer_bytes(cursor, m, height, m->cols) <= limits->bytes) {
        uint64_t scale_bytes = buffer_bytes(cursor, m, 0, m->cols);
        uint64_t rows = (limits->bytes - scale_bytes) / out->row_stride_bytes / block * block;
        rows = phy_min_u64(rows, limits->tiles / tiles_wide * block);
        out->rows = rows < height ? height : phy_min_u64(rows, left);
        out->cols = m->cols;
        out->contiguous = true;
    } else {
        uint64_t tile_bytes = buffer_bytes(cursor, m, height, block);
        uint64_t wide = phy_min_u64(limits->bytes / tile_bytes, limits->tiles);
        wide = wide ? wide : 1;
        out->rows = height;
        out->col = cursor->col;
        out->cols = phy_min_u64(wide * block, m->cols - cursor->col);
        out->contiguous = false;
    }
    out->at = m->at + row * out->row_stride_bytes + out->col * m->code_bytes;
    out->bytes = out->rows * out->cols * m->code_bytes;
    uint64_t rows_end = m->at + (row + out->rows) * out->row_stride_bytes;
    if (out->col + out->cols == m->cols) {
        out->complete_to = cursor->at = rows_end;
        cursor->col = 0;
    } else {
        cursor->col += out->cols;
    }
}

/* The next target of this shard with bytes at or after `at`; false if there is none. */
static bool find_target(struct phy_unit_cursor *cursor, struct phy_matrix *m)
{
    for (; cursor->target < cursor->targets->count; cursor->target++) {
        *m = phy_matrix_of(cursor->checkpoint, &cursor->targets->targets[cursor->target]);
        if (m->shard > cursor->shard)
            return false;
        if (m->shard == cursor->shard && m->at + m->bytes > cursor->at && m->bytes > 0)
            return true;
    }
    return false;
}

bool phy_unit_next(struct phy_unit_cursor *cursor, struct phy_unit *out)
{
    struct phy_shard_info shard;
    for (;; cursor->shard++, cursor->at = 0) {
        if (cursor->shard >= phy_checkpoint_shard_count(cursor->checkpoint))
            return false;
        phy_checkpoint_shard(cursor->checkpoint, cursor->shard, &shard);
        if (cursor->at < shard.file_bytes)
            break;
    }
    struct phy_matrix m;
    bool found = find_target(cursor, &m);
    *out = (struct phy_unit){.shard = cursor->shard, .target = cursor->target};
    if (found && cursor->at >= m.at) {
        out->kind = PHY_UNIT_FLOW;
        out->type = m.type;
        cut_rows(cursor, &m, (cursor->at - m.at) / (m.cols * m.code_bytes), out);
        return true;
    }
    uint64_t end = found ? m.at : shard.file_bytes;
    out->kind = PHY_UNIT_COPY;
    out->at = cursor->at;
    out->bytes = phy_min_u64(end - cursor->at, cursor->limits.bytes);
    out->contiguous = true;
    out->complete_to = cursor->at = out->at + out->bytes;
    return true;
}
