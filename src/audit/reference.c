/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/reference.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "ffn/store.h"

/* Rows of a task; and the fixed shares in which columns of a by-feature matrix are summed, so that the order of
 * additions does not depend on the number of threads. */
enum { TASK_ROWS = 16, COLUMN_SHARES = 8 };

struct job {
    const struct phy_reference *reference;
    const struct phy_reference_layer *layer;
    size_t count;
    const double *x; /* (count, hidden) */
    double *gated;   /* (count, intermediate): float32 values */
    float *y;        /* (count, hidden) */
    double *rows;    /* (threads, 2, width): decoded rows of a thread */
    float *decoded;  /* (threads, width) */
    double *sums;    /* (count, hidden): of by-feature matrices; or NULL */
    size_t width;    /* of a scratch row: the larger of hidden and intermediate */
};

/* ---- one row of weights ---- */

static double widen_16(const unsigned char *bytes, enum phy_weight_type type)
{
    uint32_t code = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
    if (type == PHY_WEIGHT_BF16) {
        uint32_t bits = code << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    int exponent = (int)(code >> 10 & 31), mantissa = (int)(code & 1023);
    double value = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
                   : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                  : ldexp(mantissa, -24);
    return code & 0x8000 ? -value : value;
}

static const double *take_row(const struct job *job, const struct phy_weights *w, size_t row, unsigned worker,
                              unsigned which)
{
    double *to = job->rows + (2 * (size_t)worker + which) * job->width;
    if (w->type == PHY_WEIGHT_BF16 || w->type == PHY_WEIGHT_F16) {
        const unsigned char *from = (const unsigned char *)w->data + row * w->cols * 2;
        for (size_t i = 0; i < w->cols; i++)
            to[i] = widen_16(from + 2 * i, w->type);
        return to;
    }
    float *decoded = job->decoded + (size_t)worker * job->width;
    size_t bytes;
    if (phy_weight_is_bitmap(w->type)) {
        phy_store_decode_rows(w, row, row + 1, decoded);
        for (size_t i = 0; i < w->cols; i++)
            to[i] = (double)decoded[i];
        return to;
    }
    phy_weight_row_bytes(w->type, w->cols, &bytes);
    const uint8_t *from = (const uint8_t *)w->data + row * bytes;
    if (w->type == PHY_WEIGHT_F32)
        memcpy(decoded, from, w->cols * sizeof *decoded);
    else
        phy_weight_decode_row(w->type, from, w->cols, decoded);
    for (size_t i = 0; i < w->cols; i++)
        to[i] = (double)decoded[i];
    return to;
}

/* Products of float32 values are exact in float64; eight chains of additions, in a fixed order. */
static double dot(const double *a, const double *b, size_t count)
{
    double sums[8] = {0};
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (size_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    }
    for (; i < count; i++)
        sums[i % 8] += a[i] * b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

static double activate(enum phy_activation activation, double x)
{
    if (activation == PHY_ACT_SILU)
        return x / (1 + exp(-x));
    /* 1 + tanh y = 2 / (1 + e^-2y), which does not cancel below zero */
    return x / (1 + exp(-1.59576912160573071176 /* sqrt(8/pi) */ * (x + 0.044715 * x * x * x)));
}

/* ---- tasks ---- */

static bool there(const struct phy_weights *w)
{
    return w && w->data;
}

static void gate_task(void *user, size_t task, unsigned worker)
{
    const struct job *job = user;
    const struct phy_reference *r = job->reference;
    const struct phy_reference_layer *l = job->layer;
    bool paired = there(l->gate_up);
    size_t end = (task + 1) * TASK_ROWS < r->intermediate ? (task + 1) * TASK_ROWS : r->intermediate;
    for (size_t i = task * TASK_ROWS; i < end; i++) {
        const double *gate = take_row(job, paired ? l->gate_up : l->gate, paired ? 2 * i : i, worker, 0);
        const double *up = take_row(job, paired ? l->gate_up : l->up, paired ? 2 * i + 1 : i, worker, 1);
        for (size_t n = 0; n < job->count; n++) {
            const double *x = job->x + n * r->hidden;
            float g = (float)(dot(gate, x, r->hidden) + (l->gate_bias ? (double)l->gate_bias[i] : 0));
            float u = (float)(dot(up, x, r->hidden) + (l->up_bias ? (double)l->up_bias[i] : 0));
            job->gated[n * r->intermediate + i] = (double)(float)(activate(r->activation, (double)g) * (double)u);
        }
    }
}

static void down_task(void *user, size_t task, unsigned worker)
{
    const struct job *job = user;
    const struct phy_reference *r = job->reference;
    const float *bias = job->layer->down_bias;
    size_t end = (task + 1) * TASK_ROWS < r->hidden ? (task + 1) * TASK_ROWS : r->hidden;
    for (size_t i = task * TASK_ROWS; i < end; i++) {
        const double *row = take_row(job, job->layer->down, i, worker, 0);
        for (size_t n = 0; n < job->count; n++) {
            double sum = dot(row, job->gated + n * r->intermediate, r->intermediate);
            job->y[n * r->hidden + i] = (float)(sum + (bias ? (double)bias[i] : 0));
        }
    }
}

/* A share of the columns, over all features in order. */
static void by_feature_task(void *user, size_t share, unsigned worker)
{
    const struct job *job = user;
    const struct phy_reference *r = job->reference;
    const float *bias = job->layer->down_bias;
    size_t begin = r->hidden * share / COLUMN_SHARES, end = r->hidden * (share + 1) / COLUMN_SHARES;
    for (size_t n = 0; n < job->count; n++)
        memset(job->sums + n * r->hidden + begin, 0, (end - begin) * sizeof *job->sums);
    for (size_t i = 0; i < r->intermediate; i++) {
        const double *row = take_row(job, job->layer->down_by_feature, i, worker, 0);
        for (size_t n = 0; n < job->count; n++) {
            double gated = job->gated[n * r->intermediate + i], *sums = job->sums + n * r->hidden;
            for (size_t k = begin; k < end; k++)
                sums[k] += gated * row[k];
        }
    }
    for (size_t n = 0; n < job->count; n++) {
        for (size_t k = begin; k < end; k++)
            job->y[n * r->hidden + k] = (float)(job->sums[n * r->hidden + k] + (bias ? (double)bias[k] : 0));
    }
}

/* ---- the layer ---- */

static bool is_shape(const struct phy_weights *w, size_t rows, size_t cols)
{
    return there(w) && w->rows == rows && w->cols == cols;
}

static bool is_whole(const struct phy_reference *r, const struct phy_reference_layer *l)
{
    bool inputs = there(l->gate_up)
                      ? is_shape(l->gate_up, 2 * r->intermediate, r->hidden)
                      : is_shape(l->gate, r->intermediate, r->hidden) && is_shape(l->up, r->intermediate, r->hidden);
    return inputs && (there(l->down) ? is_shape(l->down, r->hidden, r->intermediate)
                                     : is_shape(l->down_by_feature, r->intermediate, r->hidden));
}

enum phy_status phy_reference_forward(const struct phy_reference *reference, const struct phy_reference_layer *layer,
                                      const float *x, size_t count, float *y)
{
    const size_t hidden = reference->hidden, intermediate = reference->intermediate;
    const size_t width = hidden > intermediate ? hidden : intermediate, threads = phy_pool_threads(reference->pool);
    if (!is_whole(reference, layer))
        return PHY_ERR_FORMAT;
    double *wide = phy_alloc(count * hidden, sizeof *wide);
    struct job job = {.reference = reference, .layer = layer, .count = count, .x = wide, .y = y, .width = width};
    bool by_feature = !there(layer->down);
    job.gated = phy_alloc(count * intermediate, sizeof *job.gated);
    job.rows = phy_alloc(2 * threads * width, sizeof *job.rows);
    job.decoded = phy_alloc(threads * width, sizeof *job.decoded);
    job.sums = by_feature ? phy_alloc(count * hidden, sizeof *job.sums) : NULL;
    bool ready = wide && job.gated && job.rows && job.decoded && (job.sums || !by_feature);
    if (ready) {
        for (size_t i = 0; i < count * hidden; i++)
            wide[i] = (double)x[i];
        phy_pool_run(reference->pool, (intermediate + TASK_ROWS - 1) / TASK_ROWS, gate_task, &job);
        if (by_feature)
            phy_pool_run(reference->pool, COLUMN_SHARES, by_feature_task, &job);
        else
            phy_pool_run(reference->pool, (hidden + TASK_ROWS - 1) / TASK_ROWS, down_task, &job);
    }
    phy_free(wide);
    phy_free(job.gated);
    phy_free(job.rows);
    phy_free(job.decoded);
    phy_free(job.sums);
    return ready ? PHY_OK : phy_fail_memory(reference->host, "the reference's sums", count * width * sizeof(double));
}
