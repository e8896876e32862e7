/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices of a vindex out of a store: rows as they lie there, floats widened and down transposed where the vindex
 * wants them so. */
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/export_vindex.h"
#include "ffn/vindex.h"

enum { BAND_BYTES = 4 << 20, Q6K_BYTES = 210 };

/* Where the rows of a matrix lie in a layer: row r is `first + r * stride` rows of `matrix`; transposed: its columns.
 */
struct rows {
    const struct phy_weights *matrix; /* NULL: the layer has none that gives them */
    size_t first, stride;
    bool transposed;
};

static struct rows find_rows(const struct phy_store_layer *layer, enum phy_matrix_kind kind)
{
    switch (kind) {
    case PHY_MATRIX_GATE:
        return layer->gate.data ? (struct rows){&layer->gate, 0, 1, false}
                                : (struct rows){&layer->gate_up, 0, 2, false};
    case PHY_MATRIX_UP:
        return layer->up.data ? (struct rows){&layer->up, 0, 1, false} : (struct rows){&layer->gate_up, 1, 2, false};
    case PHY_MATRIX_DOWN:
        return (struct rows){layer->down.data ? &layer->down : NULL, 0, 1, false};
    default:
        if (layer->down_by_feature.data)
            return (struct rows){&layer->down_by_feature, 0, 1, false};
        /* Blocks lie along rows: only floats can be turned. */
        return (struct rows){layer->down.type < PHY_WEIGHT_FLOAT_COUNT ? &layer->down : NULL, 0, 1, true};
    }
}

bool phy_vindex_stored(const struct phy_ffn_store *store, uint32_t layer, enum phy_matrix_kind kind,
                       enum phy_weight_type type)
{
    const struct rows rows = find_rows(&store->layers[layer], kind);
    return rows.matrix &&
           (rows.matrix->type == type || (type == PHY_WEIGHT_F32 && rows.matrix->type < PHY_WEIGHT_FLOAT_COUNT));
}

/* Rows begin .. begin + count - 1 of the job's matrix. `column`: a scratch of count floats. */
static void gather(const struct rows *rows, const struct phy_quantize_job *job, uint64_t begin, uint64_t count,
                   enum phy_q6k_order order, float *column, uint8_t *out)
{
    const struct phy_weights *m = rows->matrix;
    const uint8_t *data = m->data;
    size_t row_bytes = 0;
    phy_weight_row_bytes(m->type, m->cols, &row_bytes); /* the matrix is mapped, so this fits */
    if (rows->transposed) {
        const size_t code = phy_weight_float_bytes(m->type);
        for (size_t c = 0; c < job->cols; c++) {
            phy_weight_decode_row(m->type, data + c * row_bytes + begin * code, count, column);
            for (size_t r = 0; r < count; r++)
                memcpy(out + r * job->row_bytes + 4 * c, column + r, 4);
        }
        return;
    }
    for (uint64_t r = 0; r < count; r++, out += job->row_bytes) {
        const uint8_t *from = data + (rows->first + (begin + r) * rows->stride) * row_bytes;
        if (m->type != job->type)
            phy_weight_decode_row(m->type, from, m->cols, (float *)(void *)out);
        else if (m->type == PHY_WEIGHT_Q6_K && order == PHY_Q6K_PAIRS)
            phy_q6k_reorder_to_pairs(from, row_bytes / Q6K_BYTES, out);
        else
            memcpy(out, from, row_bytes);
    }
}

enum phy_status phy_vindex_copy(struct phy_export *run, struct phy_quantize *encoder,
                                const struct phy_quantize_job *job, const char *name, int fd)
{
    const enum phy_q6k_order order = run->params->q6k_order;
    const struct rows rows = find_rows(&run->store->layers[job->layer], job->kind);
    const uint64_t most = phy_min_u64(job->row_bytes < BAND_BYTES ? BAND_BYTES / job->row_bytes : 1, job->rows);
    uint8_t *out = phy_alloc(most, job->row_bytes);
    float *column = phy_alloc(most, sizeof *column);
    enum phy_status status = out && column ? PHY_OK : phy_fail_memory(run->host, name, most * job->row_bytes);
    for (uint64_t begin = 0; begin < job->rows && status == PHY_OK; begin += most) {
        const uint64_t count = phy_min_u64(most, job->rows - begin);
        if (phy_cancelled(run->host)) {
            status = PHY_ERR_INTERRUPTED;
            break;
        }
        gather(&rows, job, begin, count, order, column, out);
        int error = phy_pwrite_all(fd, out, count * job->row_bytes, job->offset + begin * job->row_bytes);
        if (error)
            status = phy_output_fail(&run->output, name, error);
        encoder->done_weights += count * job->cols;
        phy_report_progress(run->host, "quantize", "weights", encoder->done_weights, encoder->weight_count);
    }
    phy_free(out);
    phy_free(column);
    if (rows.matrix->type == job->type && !rows.transposed && !(job->type == PHY_WEIGHT_Q6_K && order == PHY_Q6K_PAIRS))
        run->result.copied_count++;
    return status;
}
