/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix as a bitmap and what is not zero (quant/bitmap.h): its values are counted when the store is planned, then
 * bands of rows are read once more, and each of the three parts grows on its own. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/quantize_run.h"
#include "quant/bitmap.h"

enum { BAND_BYTES = 8 << 20 };

/* A band of rows: `most` at a time. */
struct band {
    struct phy_quantize *run;
    struct phy_donor_tensor tensor;
    struct phy_bitmap view;
    size_t row_bytes; /* of the source */
    uint64_t most, first, count;
    uint8_t *source, *bits, *values; /* values: each row's in a place of row_bytes */
    size_t *row_values;
    double *energy; /* of a row; NaN or infinite if a weight is */
    float *scratch; /* (threads, cols) */
};

static enum phy_status read_band(struct band *b, uint64_t first)
{
    b->first = first;
    b->count = phy_min_u64(b->most, b->view.rows - first);
    return phy_checkpoint_read(b->run->donor.checkpoint, b->tensor.shard, b->tensor.at + first * b->row_bytes,
                               b->source, b->count * b->row_bytes);
}

static void close_band(struct band *b)
{
    void *const all[] = {b->source, b->bits, b->values, b->row_values, b->energy, b->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        phy_free(all[i]);
}

/* threads 0: only to count. */
static enum phy_status open_band(struct band *b, struct phy_quantize *run, const struct phy_quantize_job *job,
                                 unsigned threads)
{
    enum phy_ffn_source sources[2];
    *b = (struct band){.run = run};
    phy_quantize_sources(job->kind, sources);
    enum phy_status status = phy_donor_ffn(&run->donor, job->layer, sources[0], &b->tensor);
    if (status != PHY_OK)
        return status;
    b->row_bytes = job->cols * phy_weight_float_bytes(b->tensor.type);
    if (!phy_bitmap_view(&b->view, phy_weight_bitmap_of(b->tensor.type), NULL, job->rows, job->cols))
        return phy_fail(run->host, PHY_ERR_LIMIT, "%s: layer %u: a matrix's size overflows", run->donor.label,
                        job->layer);
    b->most = phy_min_u64(b->row_bytes < BAND_BYTES ? BAND_BYTES / b->row_bytes : 1, job->rows);
    b->source = phy_alloc(b->most, b->row_bytes);
    if (threads) {
        b->bits = phy_alloc(b->most, 8 * b->view.words);
        b->values = phy_alloc(b->most, b->row_bytes);
        b->row_values = phy_alloc(b->most, sizeof *b->row_values);
        b->energy = phy_alloc(b->most, sizeof *b->energy);
        b->scratch = phy_alloc(threads * job->cols, sizeof *b->scratch);
    }
    const bool rest = b->bits && b->values && b->row_values && b->energy && b->scratch;
    return b->source && (rest || !threads) ? PHY_OK
                                           : phy_fail_memory(run->host, "a band of weights", b->most * b->row_bytes);
}

enum phy_status phy_quantize_plan_bitmap(struct phy_quantize *run, struct phy_quantize_job *job)
{
    struct band b;
    uint64_t values = 0;
    enum phy_status status = open_band(&b, run, job, 0);
    for (uint64_t row = 0; row < job->rows && status == PHY_OK; row += b.most) {
        status = read_band(&b, row);
        if (status == PHY_OK)
            values += phy_bitmap_count(b.tensor.type, b.source, b.count * job->cols);
        if (status == PHY_OK && phy_cancelled(run->host))
            status = phy_fail(run->host, PHY_ERR_INTERRUPTED, "interrupted while weights were counted");
    }
    job->type = phy_weight_bitmap_of(b.tensor.type);
    job->values = values;
    if (status == PHY_OK && !phy_bitmap_bytes(&b.view, values, &job->bytes))
        status = phy_fail(run->host, PHY_ERR_LIMIT, "%s: layer %u: a matrix of %llu values, a bitmap holds 2^32 - 1",
                          run->donor.label, job->layer, (unsigned long long)values);
    close_band(&b);
    return status;
}

/* ---- writing ---- */

static void encode_row(void *user, size_t index, unsigned worker)
{
    struct band *b = user;
    const size_t cols = b->view.cols;
    const uint8_t *codes = b->source + index * b->row_bytes;
    float *floats = b->scratch + worker * cols;
    b->row_values[index] = phy_bitmap_encode_row(b->view.value, codes, cols, b->bits + index * 8 * b->view.words,
                                                 b->values + index * b->row_bytes);
    phy_donor_widen(floats, codes, b->tensor.type, cols);
    b->energy[index] = 0;
    for (size_t c = 0; c < cols; c++)
        b->energy[index] += (double)floats[c] * (double)floats[c];
}

static enum phy_status refuse_weight(const struct band *b, uint64_t row)
{
    char quoted[PHY_QUOTED_BYTES];
    float value = 0;
    size_t col = 0;
    for (; col < b->view.cols; col++) {
        phy_donor_widen(&value, b->source + row * b->row_bytes + col * phy_weight_float_bytes(b->tensor.type),
                        b->tensor.type, 1);
        if (!isfinite(value))
            break;
    }
    phy_quote(quoted, b->tensor.name, strlen(b->tensor.name));
    return phy_fail(b->run->host, PHY_ERR_FORMAT, "%s: tensor %s: weight (%llu, %zu) is %g: not finite",
                    b->run->donor.label, quoted, (unsigned long long)(b->first + row), col, (double)value);
}

/* The rows' values put side by side, the table of where they begin continued; how many values the band has to *values.
 */
static enum phy_status pack(struct band *b, uint64_t before, uint8_t *table, struct phy_quantize_source *source,
                            uint64_t *values)
{
    const size_t code = phy_weight_float_bytes(b->tensor.type);
    *values = 0;
    for (uint64_t r = 0; r < b->count; r++) {
        if (!isfinite(b->energy[r]))
            return refuse_weight(b, r);
        source->energy += b->energy[r];
        memmove(b->values + *values * code, b->values + r * b->row_bytes, b->row_values[r] * code);
        *values += b->row_values[r];
        phy_store_u32(table + 4 * (b->first + r + 1), (uint32_t)(before + *values));
    }
    return PHY_OK;
}

static enum phy_status write_band(struct band *b, const struct phy_quantize_job *job, uint64_t before, uint64_t values,
                                  int fd)
{
    const size_t code = phy_weight_float_bytes(b->tensor.type);
    const uint64_t row_of_bits = 8 * b->view.words;
    char name[PHY_QUANTIZE_FILE_BYTES];
    /* A donor that changes is found out at the end, but before that its weights must stay in their place. */
    if (before + values > job->values)
        return phy_fail(b->run->host, PHY_ERR_IO, "%s: changed while it was read", b->run->donor.label);
    phy_quantize_file_name(job->file, name);
    int error =
        phy_pwrite_all(fd, b->bits, b->count * row_of_bits, job->offset + b->view.bits_at + b->first * row_of_bits);
    if (!error)
        error = phy_pwrite_all(fd, b->values, values * code, job->offset + b->view.values_at + before * code);
    return error ? phy_output_fail(&b->run->output, name, error) : PHY_OK;
}

static enum phy_status write_ends(const struct band *b, const struct phy_quantize_job *job, const uint8_t *table,
                                  int fd)
{
    static const uint8_t zeros[PHY_BITMAP_END_BYTES] = {0};
    char name[PHY_QUANTIZE_FILE_BYTES];
    phy_quantize_file_name(job->file, name);
    int error = phy_pwrite_all(fd, table, b->view.bits_at, job->offset);
    if (!error)
        error = phy_pwrite_all(fd, zeros, sizeof zeros, job->offset + job->bytes - sizeof zeros);
    return error ? phy_output_fail(&b->run->output, name, error) : PHY_OK;
}

static enum phy_status write_bands(struct band *b, struct phy_quantize_job *job, uint8_t *table, XXH3_state_t *state,
                                   int fd)
{
    struct phy_quantize *run = b->run;
    uint64_t before = 0, values;
    enum phy_status status = PHY_OK;
    for (uint64_t row = 0; row < job->rows && status == PHY_OK; row += b->most) {
        if (phy_cancelled(run->host))
            return PHY_ERR_INTERRUPTED;
        status = read_band(b, row);
        if (status != PHY_OK)
            return status;
        phy_pool_run(run->pool, b->count, encode_row, b);
        XXH3_64bits_update(state, b->source, b->count * b->row_bytes);
        status = pack(b, before, table, &job->sources[0], &values);
        if (status == PHY_OK)
            status = write_band(b, job, before, values, fd);
        before += values;
        run->done_weights += b->count * job->cols;
        phy_report_progress(run->host, "quantize", "weights", run->done_weights, run->weight_count);
    }
    if (status == PHY_OK && before != job->values)
        status = phy_fail(run->host, PHY_ERR_IO, "%s: changed while it was read", run->donor.label);
    return status == PHY_OK ? write_ends(b, job, table, fd) : status;
}

enum phy_status phy_quantize_bitmap(struct phy_quantize *run, struct phy_quantize_job *job, int fd)
{
    struct band b;
    enum phy_status status = open_band(&b, run, job, phy_pool_threads(run->pool));
    uint8_t *table = status == PHY_OK ? phy_zalloc(b.view.bits_at, 1) : NULL;
    XXH3_state_t *state = XXH3_createState();
    if (status == PHY_OK && (!table || !state))
        status = phy_fail_memory(run->host, "the rows of a bitmap", b.view.bits_at);
    if (status == PHY_OK) {
        XXH3_64bits_reset(state);
        job->sources[0] = (struct phy_quantize_source){0};
        status = write_bands(&b, job, table, state, fd);
    }
    if (status == PHY_OK)
        job->sources[0].xxh3 = XXH3_64bits_digest(state);
    if (status == PHY_OK && !phy_quantize_hash(run, job, &job->xxh3))
        status = phy_fail(run->host, PHY_ERR_IO, "%s: what was written cannot be read", run->output.partial_path);
    XXH3_freeState(state);
    phy_free(table);
    close_band(&b);
    return status;
}
