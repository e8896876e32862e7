/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/recompute.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "surgery/pipeline.h"
#include "surgery/units.h"

/* Codes of one unit; each thread has room for two of them, the donor's and the output's. A device that asks for more
 * than the most gets several calls for it: memory stays within a few hundred MiB on any machine. */
enum { UNIT_BYTES = 2 << 20, MOST_UNIT_BYTES = 32 << 20, UNIT_TILES = 4096, MOST_THREADS = 256 };

struct job {
    const struct phy_recompute_params *params;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t ended;
    struct phy_unit_cursor cursor;
    struct phy_rank_columns columns;
    struct phy_recompute_result result;
    enum phy_status status;
    unsigned running;
};

struct slot {
    struct job *job;
    struct phy_backend *backend;
    uint32_t slot;
    unsigned char *codes, *output;
    float *scale;
    unsigned char *columns; /* ranked: what the columns bring, and room to add up a tensor's */
    size_t columns_bytes;
    struct phy_rank_rows rows;
    struct phy_flow_tile_result *tiles; /* ranked: rows */
};

/* The next unit that can be compared; false at the end or after a failure. */
static bool next_unit(struct slot *s, struct phy_unit *unit)
{
    struct job *job = s->job;
    const struct phy_recompute_params *params = job->params;
    bool got = false;
    bool cancelled = phy_cancelled(params->host);
    pthread_mutex_lock(&job->lock);
    if (cancelled && job->status == PHY_OK)
        job->status = phy_fail(params->host, PHY_ERR_INTERRUPTED, "interrupted; the comparison says nothing yet");
    while (job->status == PHY_OK && !got && phy_unit_next(&job->cursor, unit)) {
        if (unit->kind != PHY_UNIT_FLOW)
            continue;
        const struct phy_tensor_finding *finding =
            &params->comparison->tensors[params->targets->targets[unit->target].tensor];
        got = finding->compared && !finding->cut_short;
    }
    /* With the lock held, so that a tensor's columns are added up once. */
    if (got && params->rank) {
        enum phy_status status =
            phy_rank_columns_fill(&job->columns, unit->target, s->columns, s->columns_bytes, &s->rows, params->host);
        if (status == PHY_ERR_INTERRUPTED)
            phy_fail(params->host, status, "interrupted; the comparison says nothing yet");
        job->status = status;
        got = status == PHY_OK;
    }
    pthread_mutex_unlock(&job->lock);
    return got;
}

static enum phy_status read_rows(struct slot *s, const struct phy_unit *unit)
{
    const struct phy_recompute_params *params = s->job->params;
    const struct phy_comparison *c = params->comparison;
    uint64_t pieces = unit->contiguous ? 1 : unit->rows;
    size_t bytes = (size_t)(unit->bytes / pieces);
    for (uint64_t i = 0; i < pieces; i++) {
        uint64_t at = unit->at + i * unit->row_stride_bytes;
        enum phy_status status = phy_checkpoint_read(c->donor, unit->shard, at, s->codes + i * bytes, bytes);
        if (status != PHY_OK)
            return status;
        int error = phy_pread_all(c->shards[unit->shard].fd, s->output + i * bytes, bytes, at);
        if (error)
            return phy_fail(params->host, PHY_ERR_IO, "output: %s",
                            error == ENODATA ? "has shrunk while it was read" : strerror(error));
    }
    return params->calibration && !params->rank
               ? phy_calibration_read(params->calibration, unit->target, unit->col, unit->cols, s->scale)
               : PHY_OK;
}

/* A tile that the flow refused: surgery would have stopped at it, so the output cannot be its work. */
static enum phy_status check_tiles(struct slot *s, const struct phy_unit *unit)
{
    const struct phy_recompute_params *params = s->job->params;
    const uint64_t high = params->rank ? 1 : params->flow.block, wide = params->rank ? unit->cols : params->flow.block;
    const uint64_t across = phy_ceil_div(unit->cols, wide), count = phy_ceil_div(unit->rows, high) * across;
    const float *scale = params->calibration ? s->scale : NULL;
    if (params->rank)
        scale = params->rank->score == PHY_RANK_WANDA ? s->rows.column_factor : NULL;
    for (uint64_t i = 0; i < count; i++) {
        if (s->tiles[i].peak_bits < PHY_FLOW_FOOD_LIMIT_BITS)
            continue;
        uint64_t row = i / across * high, col = i % across * wide;
        struct phy_flow_tile tile = {.codes = s->codes + (row * unit->cols + col) * phy_float_bytes(unit->type),
                                     .row_stride = unit->cols,
                                     .type = unit->type,
                                     .rows = (uint32_t)phy_min_u64(high, unit->rows - row),
                                     .cols = (uint32_t)phy_min_u64(wide, unit->cols - col),
                                     .column_scale = scale ? scale + col : NULL};
        return phy_fail_refused(params->comparison->donor, &params->targets->targets[unit->target], &tile,
                                unit->row + row, unit->col + col, params->host);
    }
    return PHY_OK;
}

static uint32_t load_code(const unsigned char *codes, uint64_t index, size_t code_bytes)
{
    return code_bytes == 2 ? phy_load_u16(codes + index * 2) : phy_load_u32(codes + index * 4);
}

static bool is_before(const struct phy_recompute_result *a, const struct phy_recompute_result *b)
{
    if (a->target != b->target)
        return a->target < b->target;
    return a->row != b->row ? a->row < b->row : a->col < b->col;
}

static void compare_unit(struct slot *s, const struct phy_unit *unit)
{
    struct phy_recompute_result here = {.weights = unit->rows * unit->cols, .target = unit->target};
    size_t code_bytes = phy_float_bytes(unit->type);
    if (memcmp(s->codes, s->output, (size_t)unit->bytes) != 0) {
        for (uint64_t i = 0; i < here.weights; i++) {
            uint32_t flow_code = load_code(s->codes, i, code_bytes), output_code = load_code(s->output, i, code_bytes);
            if (flow_code == output_code || here.differences++ > 0)
                continue;
            here.row = unit->row + i / unit->cols;
            here.col = unit->col + i % unit->cols;
            here.flow_code = flow_code;
            here.output_code = output_code;
        }
    }
    struct job *job = s->job;
    pthread_mutex_lock(&job->lock);
    if (here.differences && (job->result.differences == 0 || is_before(&here, &job->result))) {
        job->result.target = here.target;
        job->result.row = here.row;
        job->result.col = here.col;
        job->result.flow_code = here.flow_code;
        job->result.output_code = here.output_code;
    }
    job->result.weights += here.weights;
    job->result.differences += here.differences;
    pthread_mutex_unlock(&job->lock);
}

static enum phy_status prune_unit(struct slot *s, const struct phy_unit *unit)
{
    const struct phy_recompute_params *params = s->job->params;
    if (params->rank) {
        struct phy_rank_params rank = phy_rank_params_of(params->rank, unit->cols);
        s->rows.codes = s->codes;
        s->rows.type = unit->type;
        s->rows.rows = unit->rows;
        s->rows.apply = true;
        s->rows.results = s->tiles;
        return phy_backend_rank(s->backend, s->slot, &rank, &s->rows);
    }
    struct phy_flow_region region = {.codes = s->codes,
                                     .type = unit->type,
                                     .rows = unit->rows,
                                     .cols = unit->cols,
                                     .column_scale = params->calibration ? s->scale : NULL,
                                     .apply = true,
                                     .tiles = s->tiles};
    return phy_backend_flow(s->backend, s->slot, &params->flow, &region);
}

static enum phy_status do_unit(struct slot *s, const struct phy_unit *unit)
{
    const struct phy_recompute_params *params = s->job->params;
    enum phy_status status = read_rows(s, unit);
    if (status != PHY_OK)
        return status;
    status = prune_unit(s, unit);
    if (status != PHY_OK)
        return phy_fail(params->host, status, "device %s: %s", s->backend->name,
                        status == PHY_ERR_DEVICE   ? "lost; run the comparison again, or on another device"
                        : status == PHY_ERR_MEMORY ? "out of memory"
                                                   : "refuses a region");
    status = check_tiles(s, unit);
    if (status == PHY_OK)
        compare_unit(s, unit);
    return status;
}

static void *work(void *user)
{
    struct slot *s = user;
    struct job *job = s->job;
    struct phy_unit unit;
    while (next_unit(s, &unit)) {
        enum phy_status status = do_unit(s, &unit);
        pthread_mutex_lock(&job->lock);
        if (job->status == PHY_OK)
            job->status = status;
        pthread_mutex_unlock(&job->lock);
    }
    pthread_mutex_lock(&job->lock);
    job->running--;
    pthread_cond_signal(&job->ended);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

static void watch(struct job *job)
{
    const struct phy_recompute_params *params = job->params;
    pthread_mutex_lock(&job->lock);
    while (job->running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&job->ended, &job->lock, &until);
        uint64_t done = job->result.weights;
        pthread_mutex_unlock(&job->lock);
        phy_report_progress(params->host, "recompute", "weights", done, params->targets->elements);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
}

static void free_slots(struct slot *slots, unsigned count)
{
    for (unsigned i = 0; slots && i < count; i++) {
        phy_free(slots[i].codes);
        phy_free(slots[i].output);
        phy_free(slots[i].scale);
        phy_free(slots[i].columns);
        phy_free(slots[i].tiles);
    }
    phy_free(slots);
}

/* A slot for each thread that a device can use. */
static enum phy_status make_slots(struct slot **out, unsigned *count, struct job *job, size_t unit_bytes)
{
    const struct phy_recompute_params *params = job->params;
    const struct phy_device_set *devices = params->devices;
    const struct phy_host *host = job->params->host;
    *count = 0;
    struct slot *slots = *out = phy_zalloc(MOST_THREADS, sizeof *slots);
    if (!slots)
        return phy_fail_memory(host, "threads", MOST_THREADS * sizeof *slots);
    for (size_t d = 0; d < devices->count; d++) {
        for (uint32_t k = 0; k < devices->backends[d]->slot_count && *count < MOST_THREADS; k++) {
            struct slot *s = &slots[(*count)++];
            *s = (struct slot){.job = job, .backend = devices->backends[d], .slot = k};
            s->codes = phy_alloc_aligned(unit_bytes);
            s->output = phy_alloc_aligned(unit_bytes);
            s->scale = params->calibration && !params->rank ? phy_alloc_aligned(unit_bytes) : NULL;
            s->columns_bytes = params->rank ? unit_bytes : 0;
            s->columns = params->rank ? phy_alloc_aligned(unit_bytes) : NULL;
            s->tiles = phy_alloc(UNIT_TILES, sizeof *s->tiles);
            if (!s->codes || !s->output || !s->tiles || (params->calibration && !params->rank && !s->scale) ||
                (params->rank && !s->columns))
                return phy_fail_memory(host, "buffers to recompute", unit_bytes * 2);
        }
    }
    return PHY_OK;
}

static size_t choose_unit_bytes(const struct phy_recompute_params *params)
{
    const struct phy_device_set *devices = params->devices;
    size_t unit_bytes = UNIT_BYTES;
    if (params->rank) { /* a row and what goes with it, however wide */
        uint64_t widest = phy_rank_widest(params->comparison->donor, params->targets);
        uint64_t row_bytes = widest * (PHY_RANK_COLUMN_BYTES + sizeof(float));
        return row_bytes > UNIT_BYTES ? (size_t)row_bytes : UNIT_BYTES;
    }
    for (size_t i = 0; i < devices->count; i++) {
        /* A device is well used from region_weights on; F32 has the widest codes. */
        uint64_t wanted = phy_min_u64(devices->backends[i]->region_weights, MOST_UNIT_BYTES / 4) * 4;
        unit_bytes = wanted > unit_bytes ? (size_t)wanted : unit_bytes;
    }
    return unit_bytes;
}

/* Run them to the end; with fewer threads than wanted, if the system gives no more. */
static void run_slots(struct job *job, struct slot *slots, unsigned count)
{
    pthread_t threads[MOST_THREADS];
    unsigned started = 0;
    job->running = count;
    while (started < count && pthread_create(&threads[started], NULL, work, &slots[started]) == 0)
        started++;
    pthread_mutex_lock(&job->lock);
    job->running -= count - started;
    if (started == 0)
        job->status = phy_fail(job->params->host, PHY_ERR_MEMORY, "no thread could be started");
    pthread_mutex_unlock(&job->lock);
    watch(job);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

enum phy_status phy_recompute_run(struct phy_recompute_result *out, const struct phy_recompute_params *params)
{
    struct job job = {.params = params, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct slot *slots;
    unsigned count;
    size_t unit_bytes = choose_unit_bytes(params);
    struct phy_unit_limits limits = {.bytes = unit_bytes,
                                     .tiles = UNIT_TILES,
                                     .block = params->flow.block,
                                     .scaled = params->calibration != NULL,
                                     .row_column_bytes = params->rank ? PHY_RANK_COLUMN_BYTES : 0};
    phy_unit_cursor_start(&job.cursor, params->comparison->donor, params->targets, &limits, 0, 0);
    job.status = make_slots(&slots, &count, &job, unit_bytes);
    if (job.status == PHY_OK && params->rank)
        job.status = phy_rank_columns_open(&job.columns, params->rank, params->comparison->donor, params->targets,
                                           params->calibration, params->host);
    if (job.status == PHY_OK)
        run_slots(&job, slots, count);
    phy_rank_columns_close(&job.columns);
    free_slots(slots, count);
    *out = job.result;
    return job.status;
}
