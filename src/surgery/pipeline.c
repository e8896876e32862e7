/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "cpu/cpu_backend.h"
#include "format/checkpoint_files.h"
struct phy_pipeline_tuning phy_pipeline_tuning = {.record_bytes = UINT64_C(256) << 20, .record_seconds = 2.0};

enum { MOST_TILES = 8192, CODES_ALIGNMENT = 64 };
static const uint64_t READ_AHEAD_BYTES = UINT64_C(32) << 20, FLUSH_BYTES = UINT64_C(16) << 20;

enum slot_state { SLOT_FREE, SLOT_FILLED, SLOT_WORKING, SLOT_DONE };

/* One buffer of the ring. Only `state` and `redo` are shared; the rest belongs to whoever the state says. */
struct slot {
    enum slot_state state;
    bool redo; /* a device was lost over it: only a CPU takes it */
    struct phy_unit unit;
    unsigned char *buffer;
    float *scale;                       /* at the start of the buffer, or NULL */
    unsigned char *codes;               /* after it */
    struct phy_flow_tile_result *tiles; /* ranked: rows */
    struct phy_rank_rows rows;          /* ranked: but for the codes; its arrays are at the start of the buffer */
    bool refused;
    double seconds;
    uint32_t device;
};

struct worker {
    struct pipeline *pipeline;
    struct phy_backend *backend;
    uint32_t backend_slot, device; /* device: index in the results */
    pthread_t thread;
};

struct pipeline {
    const struct phy_pipeline_params *params;
    const struct phy_host *host;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot *slots;
    uint32_t slot_count;
    /* Units are numbered from 0 in output order; number n is in slot n % slot_count. */
    uint64_t head, tail; /* next to read, next to write */
    bool read_all;       /* no unit follows head */
    bool cancelled, stop;
    enum phy_status status;          /* the first failure */
    struct phy_rank_columns columns; /* the reader's own */
    struct worker *workers;
    uint32_t worker_count, worker_capacity, cpu_worker_count;
    bool lost[PHY_MOST_DEVICES];
    struct phy_backend *fallback;
    pthread_t reader;
    bool reader_started;
    /* The writer's own. */
    int fd;
    bool mid_row; /* column chunks of a block row are written and counted, but it is not complete */
    const char *file_name;
    uint64_t file_bytes, flushed, recorded_bytes;
    double recorded_at, shard_started, started, stage_before;
    uint64_t written_bytes, total_bytes; /* for progress */
};

bool phy_is_cpu(const struct phy_backend *backend)
{
    return strncmp(backend->name, "cpu:", 4) == 0;
}

const char *phy_output_shard_name(const struct phy_output *output, const struct phy_shard_info *shard)
{
    return output->params.single_file ? output->name : shard->name;
}

/* ---- memory ---- */

enum phy_status phy_buffer_plan_make(struct phy_buffer_plan *out, uint64_t memory_bytes,
                                     const struct phy_device_set *devices, uint64_t least_unit_bytes,
                                     uint64_t fixed_bytes, const struct phy_host *host)
{
    const uint64_t tile_bytes = MOST_TILES * sizeof(struct phy_flow_tile_result);
    uint64_t workers = 0, preferred = UINT64_C(4) << 20, fixed = (UINT64_C(4) << 20) + fixed_bytes;
    for (size_t i = 0; i < devices->count; i++) {
        const struct phy_backend *backend = devices->backends[i];
        workers += backend->slot_count;
        fixed += phy_is_cpu(backend) ? backend->slot_count * PHY_FLOW_SCRATCH_BYTES : 0;
        uint64_t wanted = phy_min_u64(backend->region_weights, UINT64_C(16) << 20) * 4;
        preferred = wanted > preferred ? wanted : preferred;
    }
    const uint64_t least = least_unit_bytes + CODES_ALIGNMENT, count = 2 * workers + 2;
    preferred = least > preferred ? least : preferred;
    if (memory_bytes < fixed || (memory_bytes - fixed) / count < least + tile_bytes)
        return phy_fail(host, PHY_ERR_LIMIT,
                        "%llu bytes of memory are too little for %llu threads: give --memory at least %llu, or fewer "
                        "--threads",
                        (unsigned long long)memory_bytes, (unsigned long long)workers,
                        (unsigned long long)(fixed + count * (least + tile_bytes)));
    /* Three quarters of it at most: the rest is left to the devices, the C library and the headers. More than eight
     * buffers for a worker only help devices of very different speed. */
    uint64_t most = memory_bytes / 4 * 3 > fixed ? memory_bytes / 4 * 3 - fixed : 0;
    uint64_t each = most / count;
    each = each > least + tile_bytes ? each - tile_bytes : least;
    out->unit_bytes = phy_min_u64(each, preferred);
    out->unit_tiles = MOST_TILES;
    uint64_t fitting = most / (out->unit_bytes + tile_bytes);
    fitting = fitting < count ? count : fitting;
    out->unit_count = (uint32_t)phy_min_u64(fitting, 8 * workers + 8);
    return PHY_OK;
}

static enum phy_status make_slots(struct pipeline *p)
{
    const struct phy_buffer_plan *plan = &p->params->buffers;
    p->slots = phy_zalloc(plan->unit_count, sizeof *p->slots);
    if (!p->slots)
        return phy_fail_memory(p->host, "buffers", plan->unit_count * sizeof *p->slots);
    p->slot_count = plan->unit_count;
    for (uint32_t i = 0; i < p->slot_count; i++) {
        p->slots[i].buffer = phy_alloc_aligned((size_t)plan->unit_bytes + CODES_ALIGNMENT);
        p->slots[i].tiles = phy_alloc((size_t)plan->unit_tiles, sizeof *p->slots[i].tiles);
        if (!p->slots[i].buffer || !p->slots[i].tiles)
            return phy_fail_memory(p->host, "a buffer", (size_t)plan->unit_bytes);
    }
    return PHY_OK;
}

/* ---- shared state ---- */

/* Keeps the first failure and wakes everybody. */
static void fail(struct pipeline *p, enum phy_status status)
{
    pthread_mutex_lock(&p->lock);
    if (p->status == PHY_OK)
        p->status = status;
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void set_state(struct pipeline *p, struct slot *slot, enum slot_state state)
{
    pthread_mutex_lock(&p->lock);
    slot->state = state;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static struct slot *slot_of(struct pipeline *p, uint64_t unit)
{
    return &p->slots[unit % p->slot_count];
}

/* ---- reader ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + CODES_ALIGNMENT - 1) & ~(size_t)(CODES_ALIGNMENT - 1);
}

/* Put what the columns bring at the front of the buffer, and the codes behind it. */
static enum phy_status read_columns(struct pipeline *p, struct slot *slot)
{
    const struct phy_pipeline_params *params = p->params;
    const struct phy_unit *unit = &slot->unit;
    slot->scale = NULL;
    slot->codes = slot->buffer;
    if (unit->kind != PHY_UNIT_FLOW)
        return PHY_OK;
    if (params->rank) {
        slot->codes = slot->buffer + round_up((size_t)unit->cols * PHY_RANK_COLUMN_BYTES);
        return phy_rank_columns_fill(&p->columns, unit->target, slot->buffer, (size_t)params->buffers.unit_bytes,
                                     &slot->rows, p->host);
    }
    if (!params->calibration)
        return PHY_OK;
    slot->scale = (float *)(void *)slot->buffer;
    slot->codes = slot->buffer + round_up((size_t)unit->cols * sizeof(float));
    return phy_calibration_read(params->calibration, unit->target, unit->col, unit->cols, slot->scale);
}

static enum phy_status read_unit(struct pipeline *p, struct slot *slot)
{
    const struct phy_checkpoint *donor = p->params->donor;
    const struct phy_unit *unit = &slot->unit;
    slot->refused = slot->redo = false;
    enum phy_status columns_status = read_columns(p, slot);
    if (columns_status != PHY_OK)
        return columns_status;
    if (unit->contiguous) {
        posix_fadvise(phy_checkpoint_shard_fd(donor, unit->shard), (off_t)(unit->at + READ_AHEAD_BYTES),
                      (off_t)unit->bytes, POSIX_FADV_WILLNEED);
        return phy_checkpoint_read(donor, unit->shard, unit->at, slot->codes, (size_t)unit->bytes);
    }
    const size_t row_bytes = (size_t)(unit->bytes / unit->rows);
    for (uint64_t r = 0; r < unit->rows; r++) {
        enum phy_status status = phy_checkpoint_read(donor, unit->shard, unit->at + r * unit->row_stride_bytes,
                                                     slot->codes + r * row_bytes, row_bytes);
        if (status != PHY_OK)
            return status;
    }
    return PHY_OK;
}

/* The next free buffer; NULL to stop. */
static struct slot *wait_free(struct pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    struct slot *slot = slot_of(p, p->head);
    while (!p->stop && slot->state != SLOT_FREE)
        pthread_cond_wait(&p->changed, &p->lock);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    return stop ? NULL : slot;
}

static void *run_reader(void *user)
{
    struct pipeline *p = user;
    const struct phy_pipeline_params *params = p->params;
    struct phy_unit_limits limits = {.bytes = params->buffers.unit_bytes,
                                     .tiles = params->buffers.unit_tiles,
                                     .block = params->flow.block,
                                     .scaled = params->calibration != NULL,
                                     .row_column_bytes = params->rank ? PHY_RANK_COLUMN_BYTES : 0};
    struct phy_unit_cursor cursor;
    phy_unit_cursor_start(&cursor, params->donor, params->targets, &limits, params->results->shard,
                          params->results->at);
    for (size_t i = 0; i < phy_checkpoint_shard_count(params->donor); i++)
        posix_fadvise(phy_checkpoint_shard_fd(params->donor, i), 0, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        bool cancelled = phy_cancelled(p->host);
        struct slot *slot = cancelled ? NULL : wait_free(p);
        bool more = slot && phy_unit_next(&cursor, &slot->unit);
        enum phy_status status = more ? read_unit(p, slot) : PHY_OK;
        if (status != PHY_OK) {
            fail(p, status);
            return NULL;
        }
        pthread_mutex_lock(&p->lock);
        if (more) {
            slot->state = slot->unit.kind == PHY_UNIT_COPY ? SLOT_DONE : SLOT_FILLED;
            p->head++;
        } else {
            p->read_all = true;
            p->cancelled = cancelled;
        }
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        if (!more)
            return NULL;
    }
}

/* ---- workers ---- */

/* The first flow unit that waits for a device; with the lock held. NULL: none. */
static struct slot *find_work(struct pipeline *p, bool cpu)
{
    for (uint64_t n = p->tail; n < p->head; n++) {
        struct slot *slot = slot_of(p, n);
        if (slot->state == SLOT_FILLED && (cpu || !slot->redo))
            return slot;
    }
    return NULL;
}

/* Wait for work; NULL when there will be none. */
static struct slot *take_work(struct pipeline *p, const struct worker *w)
{
    struct slot *slot = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->stop && !p->cancelled && !p->lost[w->device]) {
        slot = find_work(p, phy_is_cpu(w->backend));
        if (slot || (p->read_all && p->tail == p->head))
            break;
        pthread_cond_wait(&p->changed, &p->lock);
    }
    if (slot)
        slot->state = SLOT_WORKING;
    pthread_mutex_unlock(&p->lock);
    return slot;
}

/* Tiles of a unit, or its rows when they are ranked. */
static uint64_t tile_count(const struct pipeline *p, const struct phy_unit *unit)
{
    return p->params->rank ? unit->rows : phy_flow_region_tile_count(unit->rows, unit->cols, p->params->flow.block);
}

static bool any_refused(const struct slot *slot, uint64_t tile_count)
{
    for (uint64_t i = 0; i < tile_count; i++) {
        if (slot->tiles[i].peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS)
            return true;
    }
    return false;
}

static void *run_worker(void *user);

/* With the lock held: one thread for each slot of a device. */
static enum phy_status start_workers(struct pipeline *p, struct phy_backend *backend)
{
    uint32_t device = phy_results_device(p->params->results, backend->name, backend->description);
    for (uint32_t i = 0; i < backend->slot_count && p->worker_count < p->worker_capacity; i++) {
        struct worker *w = &p->workers[p->worker_count];
        *w = (struct worker){.pipeline = p, .backend = backend, .backend_slot = i, .device = device};
        int error = pthread_create(&w->thread, NULL, run_worker, w);
        if (error)
            return phy_fail(p->host, PHY_ERR_MEMORY, "a thread for %s cannot be started: %s", backend->name,
                            strerror(error));
        p->worker_count++;
        p->cpu_worker_count += phy_is_cpu(backend);
    }
    return PHY_OK;
}

/* A device failed over a unit, whose codes are untouched: the unit goes back for the CPU, which is opened if no worker
 * is one. The device is not asked again. */
static void lose_device(struct pipeline *p, const struct worker *w, struct slot *slot, enum phy_status reason)
{
    enum phy_status status = PHY_OK;
    pthread_mutex_lock(&p->lock);
    if (!p->lost[w->device])
        phy_warn(p->host, "device %s (%s) %s; its work is redone on the CPU", w->backend->name, w->backend->description,
                 reason == PHY_ERR_MEMORY ? "has no memory left" : "was lost");
    p->lost[w->device] = true;
    slot->redo = true;
    slot->state = SLOT_FILLED;
    if (p->cpu_worker_count == 0) {
        status = phy_cpu_backend_create(&p->fallback, NULL, p->params->threads, p->host);
        if (status == PHY_OK)
            status = start_workers(p, p->fallback);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (status != PHY_OK)
        fail(p, status);
}

static enum phy_status prune_unit(const struct worker *w, struct slot *slot)
{
    const struct phy_pipeline_params *params = w->pipeline->params;
    const struct phy_unit *unit = &slot->unit;
    if (params->rank) {
        struct phy_rank_params rank = phy_rank_params_of(params->rank, unit->cols);
        slot->rows.codes = slot->codes;
        slot->rows.type = unit->type;
        slot->rows.rows = unit->rows;
        slot->rows.apply = true;
        slot->rows.results = slot->tiles;
        return phy_backend_rank(w->backend, w->backend_slot, &rank, &slot->rows);
    }
    struct phy_flow_region region = {.codes = slot->codes,
                                     .type = unit->type,
                                     .rows = unit->rows,
                                     .cols = unit->cols,
                                     .column_scale = slot->scale,
                                     .apply = true,
                                     .tiles = slot->tiles};
    return phy_backend_flow(w->backend, w->backend_slot, &params->flow, &region);
}

static void *run_worker(void *user)
{
    struct worker *w = user;
    struct pipeline *p = w->pipeline;
    for (struct slot *slot; (slot = take_work(p, w));) {
        double started = phy_seconds_now();
        enum phy_status status = prune_unit(w, slot);
        slot->seconds = phy_seconds_now() - started;
        slot->device = w->device;
        if (status == PHY_OK) {
            slot->refused = any_refused(slot, tile_count(p, &slot->unit));
            set_state(p, slot, SLOT_DONE);
        } else if (!phy_is_cpu(w->backend) && (status == PHY_ERR_DEVICE || status == PHY_ERR_MEMORY)) {
            lose_device(p, w, slot, status);
        } else {
            fail(p, phy_fail(p->host, status, "device %s: the work on a tile failed (%s)", w->backend->name,
                             phy_status_name(status)));
        }
    }
    return NULL;
}

/* ---- writer ---- */

enum phy_status phy_fail_refused(const struct phy_checkpoint *donor, const struct phy_target *target,
                                 const struct phy_flow_tile *tile, uint64_t row, uint64_t col,
                                 const struct phy_host *host)
{
    struct phy_tensor_info tensor;
    struct phy_shard_info shard;
    char quoted[PHY_QUOTED_BYTES];
    uint32_t r, c;
    phy_checkpoint_tensor(donor, target->tensor, &tensor);
    phy_checkpoint_shard(donor, tensor.shard, &shard);
    phy_quote(quoted, tensor.name, tensor.name_bytes);
    if (!phy_flow_tile_find_refused(tile, &r, &c))
        return phy_fail(host, PHY_ERR_INTERNAL, "%s: tensor %u %s: a tile was refused without a weight that is",
                        shard.name, tensor.header_index, quoted);
    return phy_fail(host, PHY_ERR_FORMAT,
                    "%s: tensor %u %s: the weight at row %llu, column %llu is not finite, or %s2^64 or more",
                    shard.name, tensor.header_index, quoted, (unsigned long long)(row + r),
                    (unsigned long long)(col + c), tile->column_scale ? "times its column's scale " : "");
}

static enum phy_status fail_unit(struct pipeline *p, const struct slot *slot)
{
    const struct phy_unit *unit = &slot->unit;
    const bool ranked = p->params->rank;
    const uint32_t block = p->params->flow.block;
    const uint64_t high = ranked ? 1 : block, wide = ranked ? unit->cols : block;
    const float *scale = ranked && p->params->rank->score == PHY_RANK_WANDA ? slot->rows.column_factor : slot->scale;
    const struct phy_flow_tile_result *result = slot->tiles;
    for (uint64_t r = 0; r < unit->rows; r += high) {
        for (uint64_t c = 0; c < unit->cols; c += wide, result++) {
            if (result->peak_bits < PHY_FLOW_FOOD_LIMIT_BITS)
                continue;
            struct phy_flow_tile tile = {.codes = slot->codes + (r * unit->cols + c) * phy_float_bytes(unit->type),
                                         .row_stride = unit->cols,
                                         .type = unit->type,
                                         .rows = (uint32_t)phy_min_u64(high, unit->rows - r),
                                         .cols = (uint32_t)phy_min_u64(wide, unit->cols - c),
                                         .column_scale = scale ? scale + c : NULL};
            return phy_fail_refused(p->params->donor, &p->params->targets->targets[unit->target], &tile, unit->row + r,
                                    unit->col + c, p->host);
        }
    }
    return PHY_ERR_INTERNAL;
}

/* Everything written so far is made durable, and then claimed. */
static enum phy_status record_progress(struct pipeline *p)
{
    struct phy_results *results = p->params->results;
    double now = phy_seconds_now();
    int error = phy_fsync(p->fd);
    if (error)
        return phy_output_fail(p->params->output, p->file_name, error);
    results->prefix_xxh3 = phy_output_hash_digest(p->params->hash);
    results->stage_seconds[PHY_STAGE_STREAM] = p->stage_before + now - p->started;
    results->shards[results->shard].seconds += now - p->shard_started;
    p->shard_started = now;
    if (results->at == p->file_bytes)
        results->shards[results->shard].xxh3 = results->prefix_xxh3;
    struct phy_bytes payload = {0};
    pthread_mutex_lock(&p->lock); /* a worker that loses its device adds another to the results */
    phy_results_write(results, &payload);
    pthread_mutex_unlock(&p->lock);
    error = phy_journal_append(p->params->journal, p->params->progress_type, &payload);
    phy_bytes_free(&payload);
    p->recorded_bytes = 0;
    p->recorded_at = phy_seconds_now();
    return error ? phy_output_fail(p->params->output, PHY_OUTPUT_JOURNAL_PATH, error) : PHY_OK;
}

/* Open the shard that results->shard, results->at point into. What it holds before `at` has been hashed. */
static enum phy_status open_shard(struct pipeline *p)
{
    const struct phy_results *results = p->params->results;
    struct phy_shard_info shard;
    phy_checkpoint_shard(p->params->donor, results->shard, &shard);
    p->file_name = phy_output_shard_name(p->params->output, &shard);
    p->file_bytes = shard.file_bytes;
    p->flushed = results->at;
    p->shard_started = phy_seconds_now();
    enum phy_status status = phy_output_open_file(p->params->output, p->file_name, 0, &p->fd);
    if (status != PHY_OK)
        return status;
    if (results->at == 0)
        phy_output_hash_start(p->params->hash, results->shard);
    return PHY_OK;
}

static enum phy_status close_shard(struct pipeline *p)
{
    int error = phy_close(p->fd);
    p->fd = -1;
    return error ? phy_output_fail(p->params->output, p->file_name, error) : PHY_OK;
}

static int write_bytes(struct pipeline *p, const struct slot *slot)
{
    const struct phy_unit *unit = &slot->unit;
    if (unit->contiguous)
        return phy_pwrite_all(p->fd, slot->codes, (size_t)unit->bytes, unit->at);
    const size_t row_bytes = (size_t)(unit->bytes / unit->rows);
    int error = 0;
    for (uint64_t r = 0; !error && r < unit->rows; r++)
        error = phy_pwrite_all(p->fd, slot->codes + r * row_bytes, row_bytes, unit->at + r * unit->row_stride_bytes);
    return error;
}

static void count_unit(struct pipeline *p, const struct slot *slot)
{
    struct phy_results *results = p->params->results;
    const struct phy_unit *unit = &slot->unit;
    const struct phy_target *target = &p->params->targets->targets[unit->target];
    if (unit->kind == PHY_UNIT_COPY)
        return;
    if (p->params->rank)
        phy_results_add_rows(results, target, unit, slot->tiles);
    else
        phy_results_add_tiles(results, target, unit, slot->tiles, p->params->flow.block);
    results->tensors[target->tensor].seconds += slot->seconds;
    results->tensors[target->tensor].devices |= UINT32_C(1) << slot->device;
    results->devices[slot->device].weights += unit->rows * unit->cols;
    results->devices[slot->device].busy_seconds += slot->seconds;
    if (slot->redo)
        results->tiles_redone += tile_count(p, unit);
}

/* Start writing back what is complete, so that the next fsync finds little to do. */
static void flush_behind(struct pipeline *p, uint64_t complete_to)
{
    if (complete_to - p->flushed < FLUSH_BYTES)
        return;
    sync_file_range(p->fd, (off_t)p->flushed, (off_t)(complete_to - p->flushed), SYNC_FILE_RANGE_WRITE);
    p->flushed = complete_to;
}

static enum phy_status write_unit(struct pipeline *p, struct slot *slot)
{
    struct phy_results *results = p->params->results;
    const struct phy_unit *unit = &slot->unit;
    enum phy_status status = PHY_OK;
    if (slot->refused)
        return fail_unit(p, slot);
    if (p->fd < 0) {
        if (unit->shard != results->shard) {
            results->shard = unit->shard;
            results->at = 0;
        }
        status = open_shard(p);
        if (status != PHY_OK)
            return status;
    }
    int error = write_bytes(p, slot);
    if (!error && unit->complete_to) {
        if (unit->contiguous)
            phy_output_hash_feed(p->params->hash, slot->codes, (size_t)unit->bytes);
        else /* column chunks arrive out of the file's order: read the block row back */
            error = phy_output_hash_feed_file(p->params->hash, p->fd, results->at, unit->complete_to);
    }
    if (error)
        return phy_output_fail(p->params->output, p->file_name, error);
    count_unit(p, slot);
    p->written_bytes += unit->bytes;
    p->recorded_bytes += unit->bytes;
    p->mid_row = unit->complete_to == 0;
    if (p->mid_row)
        return PHY_OK;
    results->at = unit->complete_to;
    flush_behind(p, unit->complete_to);
    bool shard_done = results->at == p->file_bytes;
    if (shard_done || p->recorded_bytes >= phy_pipeline_tuning.record_bytes ||
        phy_seconds_now() - p->recorded_at >= phy_pipeline_tuning.record_seconds)
        status = record_progress(p);
    if (status == PHY_OK && shard_done)
        status = close_shard(p);
    return status;
}

/* The next unit in order, once it is done; NULL when there is none, or none will be. */
static struct slot *wait_done(struct pipeline *p)
{
    struct slot *slot = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        slot = p->tail < p->head ? slot_of(p, p->tail) : NULL;
        if (slot && slot->state == SLOT_DONE)
            break;
        bool never = p->cancelled && slot && slot->state == SLOT_FILLED;
        slot = NULL;
        if (never || (p->read_all && p->tail == p->head))
            break;
        pthread_cond_wait(&p->changed, &p->lock);
    }
    if (p->stop)
        slot = NULL;
    pthread_mutex_unlock(&p->lock);
    return slot;
}

static void run_writer(struct pipeline *p)
{
    for (struct slot *slot; (slot = wait_done(p));) {
        enum phy_status status = write_unit(p, slot);
        if (status != PHY_OK) {
            fail(p, status);
            return;
        }
        pthread_mutex_lock(&p->lock);
        slot->state = SLOT_FREE;
        p->tail++;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        phy_report_progress(p->host, "surgery", "bytes", p->written_bytes, p->total_bytes);
    }
}

/* ---- all of it ---- */

static enum phy_status start_threads(struct pipeline *p)
{
    const struct phy_device_set *devices = p->params->devices;
    bool all_cpu = true;
    for (size_t i = 0; i < devices->count; i++) {
        p->worker_capacity += devices->backends[i]->slot_count;
        all_cpu = all_cpu && phy_is_cpu(devices->backends[i]);
    }
    if (!all_cpu) /* room for the CPU that takes over */
        p->worker_capacity += p->params->threads ? p->params->threads : phy_cpu_count();
    p->workers = phy_zalloc(p->worker_capacity, sizeof *p->workers);
    if (!p->workers)
        return phy_fail_memory(p->host, "threads", p->worker_capacity * sizeof *p->workers);
    enum phy_status status = PHY_OK;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; status == PHY_OK && i < devices->count; i++)
        status = start_workers(p, devices->backends[i]);
    pthread_mutex_unlock(&p->lock);
    int error = status == PHY_OK ? pthread_create(&p->reader, NULL, run_reader, p) : 0;
    if (error)
        status = phy_fail(p->host, PHY_ERR_MEMORY, "a thread cannot be started: %s", strerror(error));
    p->reader_started = status == PHY_OK;
    return status;
}

static void join_threads(struct pipeline *p)
{
    if (p->reader_started)
        pthread_join(p->reader, NULL);
    /* A worker that loses its device may start others until it ends itself; the count is looked at again each time. */
    for (uint32_t i = 0;; i++) {
        pthread_mutex_lock(&p->lock);
        bool more = i < p->worker_count;
        pthread_mutex_unlock(&p->lock);
        if (!more)
            break;
        pthread_join(p->workers[i].thread, NULL);
    }
}

static void count_progress(struct pipeline *p)
{
    const struct phy_results *results = p->params->results;
    for (size_t i = 0; i < phy_checkpoint_shard_count(p->params->donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(p->params->donor, i, &shard);
        p->total_bytes += shard.file_bytes;
        p->written_bytes += i < results->shard ? shard.file_bytes : i == results->shard ? results->at : 0;
    }
}

enum phy_status phy_pipeline_run(const struct phy_pipeline_params *params)
{
    struct pipeline p = {.params = params, .host = params->host, .fd = -1};
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.changed, NULL);
    p.started = p.recorded_at = p.shard_started = phy_seconds_now();
    p.stage_before = params->results->stage_seconds[PHY_STAGE_STREAM];
    count_progress(&p);
    enum phy_status status = make_slots(&p);
    if (status == PHY_OK && params->rank)
        status = phy_rank_columns_open(&p.columns, params->rank, params->donor, params->targets, params->calibration,
                                       params->host);
    if (status == PHY_OK)
        status = start_threads(&p);
    if (status == PHY_OK)
        run_writer(&p);
    else
        fail(&p, status);
    join_threads(&p);
    status = p.status;
    if (status == PHY_OK && p.cancelled && p.written_bytes < p.total_bytes)
        status = PHY_ERR_INTERRUPTED;
    /* A block row that is not complete is counted in part: then the record before it stands. */
    if (status == PHY_ERR_INTERRUPTED && p.fd >= 0 && !p.mid_row && record_progress(&p) != PHY_OK)
        status = PHY_ERR_IO;
    if (p.fd >= 0)
        close(p.fd);
    for (uint32_t i = 0; i < p.slot_count; i++) {
        phy_free(p.slots[i].buffer);
        phy_free(p.slots[i].tiles);
    }
    phy_free(p.slots);
    phy_rank_columns_close(&p.columns);
    phy_free(p.workers);
    phy_backend_destroy(&p.fallback);
    pthread_cond_destroy(&p.changed);
    pthread_mutex_destroy(&p.lock);
    return status;
}
