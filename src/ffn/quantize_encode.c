/* SPDX-License-Identifier: Apache-2.0 */
/* One matrix, a band of units at a time. A unit is what lies together: one row, or in gate_up gate's row and up's. The
 * calling thread reads, hashes and writes in order; the pool widens, encodes and measures rows, each on its own. */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/quantize_run.h"

enum {
    BAND_WEIGHTS = 4 << 20, /* 16 MiB of float32 sources */
    GROUP_UNITS = 8         /* rows that a worker takes at a time: columns of a transposed matrix share cache lines */
};

/* What a worker found out about one row. */
struct row_result {
    double error, energy;
    uint64_t fault_col; /* UINT64_MAX: none */
};

struct band {
    struct phy_quantize *run;
    struct phy_quantize_job *job;
    struct phy_donor_tensor tensors[2];
    size_t source_count;
    bool transposed;
    uint64_t units, first, count; /* of the matrix; of this band */
    uint64_t most;                /* units of a band */
    uint8_t *source[2];           /* (count, cols) as stored; transposed: (cols, count) */
    uint8_t *out;                 /* (count * source_count, row_bytes) */
    float *scratch;               /* (threads, (GROUP_UNITS + 1) * cols) */
    struct row_result *results;   /* (count * source_count) */
    _Atomic int status;
};

size_t phy_quantize_sources(enum phy_matrix_kind kind, enum phy_ffn_source sources[2])
{
    sources[0] = kind == PHY_MATRIX_UP                                           ? PHY_FFN_UP
                 : kind == PHY_MATRIX_DOWN || kind == PHY_MATRIX_DOWN_BY_FEATURE ? PHY_FFN_DOWN
                                                                                 : PHY_FFN_GATE;
    sources[1] = PHY_FFN_UP;
    return kind == PHY_MATRIX_GATE_UP ? 2 : 1;
}

/* ---- reading ---- */

/* Row `row` of a transposed source: the band's columns. */
static void read_columns(void *user, size_t row, unsigned worker)
{
    struct band *b = user;
    (void)worker;
    const struct phy_donor_tensor *t = &b->tensors[0];
    const size_t code = phy_weight_float_bytes(t->type), bytes = b->count * code;
    enum phy_status status =
        phy_checkpoint_read(b->run->donor.checkpoint, t->shard, t->at + (row * t->cols + b->first) * code,
                            b->source[0] + row * bytes, bytes);
    if (status != PHY_OK)
        atomic_store(&b->status, (int)status);
}

static enum phy_status read_band(struct band *b)
{
    if (b->transposed) {
        phy_pool_run(b->run->pool, b->job->cols, read_columns, b);
        return (enum phy_status)atomic_load(&b->status);
    }
    enum phy_status status = PHY_OK;
    for (size_t s = 0; s < b->source_count && status == PHY_OK; s++) {
        const struct phy_donor_tensor *t = &b->tensors[s];
        const uint64_t row = t->cols * phy_weight_float_bytes(t->type);
        status = phy_checkpoint_read(b->run->donor.checkpoint, t->shard, t->at + b->first * row, b->source[s],
                                     b->count * row);
    }
    return status;
}

/* ---- encoding ---- */

/* Units begin .. end - 1 of source s as rows of floats. */
static void widen_group(const struct band *b, size_t s, uint64_t begin, uint64_t end, float *to)
{
    const enum phy_weight_type type = b->tensors[s].type;
    const size_t code = phy_weight_float_bytes(type), cols = b->job->cols, units = end - begin;
    if (!b->transposed) {
        phy_donor_widen(to, b->source[s] + begin * cols * code, type, units * cols);
        return;
    }
    float column[GROUP_UNITS];
    for (size_t c = 0; c < cols; c++) {
        phy_donor_widen(column, b->source[s] + (c * b->count + begin) * code, type, units);
        for (size_t u = 0; u < units; u++)
            to[u * cols + c] = column[u];
    }
}

/* Encode a row, decode it again and compare. A weight that is not finite, or that the format turns into something that
 * is not, is a fault. */
static void encode_row(enum phy_weight_type type, const float *from, size_t cols, uint8_t *out, float *decoded,
                       struct row_result *result)
{
    *result = (struct row_result){.fault_col = UINT64_MAX};
    if (phy_weight_encode_row(type, from, cols, out)) {
        phy_weight_decode_row(type, out, cols, decoded);
        for (size_t c = 0; c < cols; c++) {
            double x = (double)from[c], d = (double)decoded[c] - x;
            result->error += d * d;
            result->energy += x * x;
        }
        if (isfinite(result->error))
            return;
    }
    /* The first that is not finite, else the largest: it is the range that a format lacks. */
    size_t fault = 0;
    for (size_t c = 0; c < cols && isfinite(from[fault]); c++) {
        if (!isfinite(from[c]) || fabsf(from[c]) > fabsf(from[fault]))
            fault = c;
    }
    result->fault_col = fault;
}

static void encode_group(void *user, size_t index, unsigned worker)
{
    struct band *b = user;
    const size_t cols = b->job->cols, row_bytes = b->job->row_bytes;
    const uint64_t begin = index * GROUP_UNITS, end = phy_min_u64(begin + GROUP_UNITS, b->count);
    float *rows = b->scratch + worker * (GROUP_UNITS + 1) * cols, *decoded = rows + GROUP_UNITS * cols;
    for (size_t s = 0; s < b->source_count; s++) {
        widen_group(b, s, begin, end, rows);
        for (uint64_t u = begin; u < end; u++) {
            const uint64_t row = u * b->source_count + s;
            encode_row(b->job->type, rows + (u - begin) * cols, cols, b->out + row * row_bytes, decoded,
                       &b->results[row]);
        }
    }
}

static enum phy_status refuse_weight(const struct band *b, uint64_t row)
{
    const struct row_result *result = &b->results[row];
    const size_t s = row % b->source_count;
    const struct phy_donor_tensor *t = &b->tensors[s];
    uint64_t unit = b->first + row / b->source_count, col = result->fault_col;
    const uint64_t tensor_row = b->transposed ? col : unit, tensor_col = b->transposed ? unit : col;
    const size_t code = phy_weight_float_bytes(t->type);
    const uint64_t at = b->transposed ? col * b->count + row : (unit - b->first) * b->job->cols + col;
    float value;
    char quoted[PHY_QUOTED_BYTES];
    phy_donor_widen(&value, b->source[s] + at * code, t->type, 1);
    phy_quote(quoted, t->name, strlen(t->name));
    if (!isfinite(value))
        return phy_fail(b->run->host, PHY_ERR_FORMAT, "%s: tensor %s: weight (%llu, %llu) is %g: not finite",
                        b->run->donor.label, quoted, (unsigned long long)tensor_row, (unsigned long long)tensor_col,
                        (double)value);
    return phy_fail(b->run->host, PHY_ERR_FORMAT, "%s: tensor %s: weight (%llu, %llu) is %g, which %s cannot hold",
                    b->run->donor.label, quoted, (unsigned long long)tensor_row, (unsigned long long)tensor_col,
                    (double)value, phy_weight_format(b->job->type)->name);
}

/* In row order, so that the sums do not depend on who encoded what. */
static enum phy_status add_up(const struct band *b)
{
    for (uint64_t row = 0; row < b->count * b->source_count; row++) {
        if (b->results[row].fault_col != UINT64_MAX)
            return refuse_weight(b, row);
        struct phy_quantize_source *source = &b->job->sources[row % b->source_count];
        source->error += b->results[row].error;
        source->energy += b->results[row].energy;
    }
    return PHY_OK;
}

/* ---- a matrix ---- */

static enum phy_status open_band(struct band *b, struct phy_quantize *run, struct phy_quantize_job *job)
{
    enum phy_ffn_source sources[2];
    *b = (struct band){.run = run, .job = job};
    b->source_count = phy_quantize_sources(job->kind, sources);
    b->transposed = job->kind == PHY_MATRIX_DOWN_BY_FEATURE;
    b->units = job->rows / b->source_count;
    enum phy_status status = PHY_OK;
    for (size_t s = 0; s < b->source_count && status == PHY_OK; s++)
        status = phy_donor_ffn(&run->donor, job->layer, sources[s], &b->tensors[s]);
    if (status != PHY_OK)
        return status;
    uint64_t most = BAND_WEIGHTS / (job->cols * b->source_count);
    b->most = most < GROUP_UNITS ? GROUP_UNITS : most;
    b->most = phy_min_u64(b->most, b->units);
    const size_t threads = phy_pool_threads(run->pool), rows = b->most * b->source_count;
    bool there = true;
    for (size_t s = 0; s < b->source_count; s++) {
        b->source[s] = phy_alloc(b->most * job->cols, phy_weight_float_bytes(b->tensors[s].type));
        there = there && b->source[s];
    }
    b->out = phy_alloc(rows, job->row_bytes);
    b->scratch = phy_alloc(threads * (GROUP_UNITS + 1) * job->cols, sizeof *b->scratch);
    b->results = phy_alloc(rows, sizeof *b->results);
    return there && b->out && b->scratch && b->results
               ? PHY_OK
               : phy_fail_memory(run->host, "a band of weights", rows * (job->row_bytes + job->cols * 4));
}

static void close_band(struct band *b)
{
    phy_free(b->source[0]);
    phy_free(b->source[1]);
    phy_free(b->out);
    phy_free(b->scratch);
    phy_free(b->results);
}

/* Everything between two looks at whether to stop. */
static enum phy_status do_band(struct band *b, XXH3_state_t *const states[3], int fd)
{
    const struct phy_quantize *run = b->run;
    enum phy_status status = read_band(b);
    if (status != PHY_OK)
        return status;
    phy_pool_run(run->pool, phy_ceil_div(b->count, GROUP_UNITS), encode_group, b);
    status = add_up(b);
    if (status != PHY_OK)
        return status;
    for (size_t s = 0; s < b->source_count && !b->transposed; s++)
        XXH3_64bits_update(states[s], b->source[s],
                           b->count * b->job->cols * phy_weight_float_bytes(b->tensors[s].type));
    const size_t bytes = b->count * b->source_count * b->job->row_bytes;
    XXH3_64bits_update(states[2], b->out, bytes);
    char name[PHY_QUANTIZE_FILE_BYTES];
    phy_quantize_file_name(b->job->file, name);
    int error =
        phy_pwrite_all(fd, b->out, bytes, b->job->offset + b->first * b->source_count * (uint64_t)b->job->row_bytes);
    return error ? phy_output_fail(&run->output, name, error) : PHY_OK;
}

enum phy_status phy_quantize_encode(struct phy_quantize *run, struct phy_quantize_job *job, int fd)
{
    struct band b;
    XXH3_state_t *states[3] = {XXH3_createState(), XXH3_createState(), XXH3_createState()};
    enum phy_status status = open_band(&b, run, job);
    if (status == PHY_OK && !(states[0] && states[1] && states[2]))
        status = phy_fail_memory(run->host, "a digest", sizeof *states);
    for (size_t i = 0; i < 3 && status == PHY_OK; i++)
        XXH3_64bits_reset(states[i]);
    memset(job->sources, 0, sizeof job->sources);
    for (b.first = 0; status == PHY_OK && b.first < b.units; b.first += b.count) {
        if (phy_cancelled(run->host)) {
            status = PHY_ERR_INTERRUPTED;
            break;
        }
        b.count = phy_min_u64(b.most, b.units - b.first);
        status = do_band(&b, states, fd);
        run->done_weights += b.count * b.source_count * job->cols;
        phy_report_progress(run->host, "quantize", "weights", run->done_weights, run->weight_count);
    }
    for (size_t s = 0; s < b.source_count && status == PHY_OK; s++) {
        if (b.transposed) /* its bands are columns; the digest is of the tensor as it lies in the file */
            status = phy_donor_digest_tensor(&run->donor, &b.tensors[s], &job->sources[s].xxh3);
        else
            job->sources[s].xxh3 = XXH3_64bits_digest(states[s]);
    }
    if (status == PHY_OK)
        job->xxh3 = XXH3_64bits_digest(states[2]);
    close_band(&b);
    for (size_t i = 0; i < 3; i++)
        XXH3_freeState(states[i]);
    return status;
}
