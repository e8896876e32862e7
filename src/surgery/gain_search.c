/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/gain_search.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "cpu/cpu_backend.h"
#include "surgery/pipeline.h"
#include "surgery/units.h"

enum { SAMPLE_TILES = 1024, GAIN_COUNT = 640, MOST_BATCH = 64 };

/* (1 + m/64) * 2^e, e = -4 .. 5: exact in binary32. */
static float gain_at(int index)
{
    float power = 0.0625f;
    for (int e = 0; e < index / 64; e++)
        power *= 2.0f;
    return (1.0f + (float)(index % 64) / 64.0f) * power;
}

struct sample_tile {
    size_t target;
    uint64_t row, col;
    uint32_t rows, cols;
    enum phy_float_type type;
};

/* Tiles of one height and type side by side, only the last narrower than the others: one region for a device, and its
 * column scales side by side too. */
struct batch {
    size_t first, count; /* sample tiles */
    uint64_t rows, cols;
    unsigned char *codes; /* kept from gain to gain, or NULL */
    float *scale;
};

struct search {
    const struct phy_gain_search_params *params;
    struct sample_tile *tiles;
    size_t tile_count;
    struct batch *batches;
    size_t batch_count, most_batch;
    bool keep;
    struct phy_flow_params flow; /* with the gain that is being tried */
    atomic_size_t next_batch;
    atomic_uint_fast64_t killed;
    pthread_mutex_t lock;
    enum phy_status status;
    size_t refused_batch; /* the first one with a refused weight; batch_count: none */
    bool lost[64];        /* devices */
    struct phy_backend *fallback;
};

struct search_worker {
    struct search *search;
    struct phy_backend *backend;
    uint32_t slot;
    size_t device;
    pthread_t thread;
};

/* ---- the sample ---- */

static enum phy_status take_sample(struct search *s)
{
    const struct phy_gain_search_params *params = s->params;
    const uint32_t block = params->flow.block;
    uint64_t total = 0;
    for (size_t i = 0; i < params->targets->count; i++) {
        struct phy_matrix m = phy_matrix_of(params->donor, &params->targets->targets[i]);
        total += phy_flow_region_tile_count(m.rows, m.cols, block);
    }
    const uint64_t step = phy_ceil_div(total, SAMPLE_TILES);
    s->tiles = phy_alloc(SAMPLE_TILES, sizeof *s->tiles);
    s->batches = phy_zalloc(SAMPLE_TILES, sizeof *s->batches);
    if (!s->tiles || !s->batches)
        return phy_fail_memory(params->host, "a sample of tiles", SAMPLE_TILES * sizeof *s->tiles);
    uint64_t skip = 0; /* tiles from here to the next one of the sample */
    for (size_t i = 0; i < params->targets->count; i++) {
        struct phy_matrix m = phy_matrix_of(params->donor, &params->targets->targets[i]);
        uint64_t wide = phy_ceil_div(m.cols, block), count = phy_flow_region_tile_count(m.rows, m.cols, block), n;
        for (n = skip; n < count; n += step) {
            uint64_t row = n / wide * block, col = n % wide * block;
            s->tiles[s->tile_count++] = (struct sample_tile){.target = i,
                                                             .row = row,
                                                             .col = col,
                                                             .rows = (uint32_t)phy_min_u64(block, m.rows - row),
                                                             .cols = (uint32_t)phy_min_u64(block, m.cols - col),
                                                             .type = m.type};
        }
        skip = n - count;
    }
    return PHY_OK;
}

static void make_batches(struct search *s, size_t most)
{
    s->most_batch = most;
    const uint32_t block = s->params->flow.block;
    for (size_t i = 0; i < s->tile_count; i++) {
        const struct sample_tile *tile = &s->tiles[i];
        struct batch *b = s->batch_count ? &s->batches[s->batch_count - 1] : NULL;
        if (!b || b->count == most || s->tiles[b->first].type != tile->type || b->rows != tile->rows ||
            b->cols % block != 0) {
            b = &s->batches[s->batch_count++];
            *b = (struct batch){.first = i, .rows = tile->rows};
        }
        b->count++;
        b->cols += tile->cols;
    }
}

static size_t batch_code_bytes(const struct search *s, const struct batch *b)
{
    return (size_t)(b->rows * b->cols) * phy_float_bytes(s->tiles[b->first].type);
}

static enum phy_status load_batch(const struct search *s, const struct batch *b, unsigned char *codes, float *scale)
{
    const struct phy_gain_search_params *params = s->params;
    enum phy_status status = PHY_OK;
    uint64_t col = 0;
    for (size_t i = b->first; status == PHY_OK && i < b->first + b->count; i++) {
        const struct sample_tile *tile = &s->tiles[i];
        struct phy_matrix m = phy_matrix_of(params->donor, &params->targets->targets[tile->target]);
        for (uint64_t r = 0; status == PHY_OK && r < tile->rows; r++)
            status = phy_checkpoint_read(params->donor, m.shard,
                                         m.at + ((tile->row + r) * m.cols + tile->col) * m.code_bytes,
                                         codes + (r * b->cols + col) * m.code_bytes, tile->cols * m.code_bytes);
        if (status == PHY_OK && params->calibration)
            status = phy_calibration_read(params->calibration, tile->target, tile->col, tile->cols, scale + col);
        col += tile->cols;
    }
    return status;
}

/* ---- one gain ---- */

static void fail(struct search *s, enum phy_status status)
{
    pthread_mutex_lock(&s->lock);
    if (s->status == PHY_OK)
        s->status = status;
    pthread_mutex_unlock(&s->lock);
}

static bool failed(struct search *s)
{
    pthread_mutex_lock(&s->lock);
    bool result = s->status != PHY_OK;
    pthread_mutex_unlock(&s->lock);
    return result;
}

/* A lost device's batch, redone on one CPU thread: the search is short. */
static enum phy_status run_on_cpu(struct search *s, struct search_worker *w, struct phy_flow_region *region)
{
    pthread_mutex_lock(&s->lock);
    if (!s->lost[w->device])
        phy_warn(s->params->host, "device %s was lost; its work is redone on the CPU", w->backend->name);
    s->lost[w->device] = true;
    enum phy_status status = s->fallback ? PHY_OK : phy_cpu_backend_create(&s->fallback, NULL, 1, s->params->host);
    if (status == PHY_OK)
        status = phy_backend_flow(s->fallback, 0, &s->flow, region);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static enum phy_status run_region(struct search *s, struct search_worker *w, struct phy_flow_region *region)
{
    pthread_mutex_lock(&s->lock);
    bool lost = s->lost[w->device];
    pthread_mutex_unlock(&s->lock);
    enum phy_status status = lost ? PHY_ERR_DEVICE : phy_backend_flow(w->backend, w->slot, &s->flow, region);
    if (!phy_is_cpu(w->backend) && (status == PHY_ERR_DEVICE || status == PHY_ERR_MEMORY))
        return run_on_cpu(s, w, region);
    if (status != PHY_OK)
        return phy_fail(s->params->host, status, "device %s: the flow of a tile failed (%s)", w->backend->name,
                        phy_status_name(status));
    return PHY_OK;
}

static enum phy_status try_batch(struct search *s, struct search_worker *w, size_t index, unsigned char *codes,
                                 float *scale)
{
    const struct batch *b = &s->batches[index];
    struct phy_flow_tile_result results[MOST_BATCH];
    enum phy_status status = PHY_OK;
    if (b->codes) {
        codes = b->codes;
        scale = b->scale;
    } else {
        status = load_batch(s, b, codes, scale);
    }
    struct phy_flow_region region = {.codes = codes,
                                     .type = s->tiles[b->first].type,
                                     .rows = b->rows,
                                     .cols = b->cols,
                                     .column_scale = s->params->calibration ? scale : NULL,
                                     .tiles = results};
    if (status == PHY_OK)
        status = run_region(s, w, &region);
    for (size_t i = 0; status == PHY_OK && i < b->count; i++) {
        atomic_fetch_add(&s->killed, results[i].killed);
        if (results[i].peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS) {
            pthread_mutex_lock(&s->lock);
            s->refused_batch = index < s->refused_batch ? index : s->refused_batch;
            pthread_mutex_unlock(&s->lock);
            break;
        }
    }
    return status;
}

static void *run_worker(void *user)
{
    struct search_worker *w = user;
    struct search *s = w->search;
    unsigned char *codes = NULL;
    float *scale = NULL;
    const uint64_t tile_side = s->params->flow.block;
    if (!s->keep) {
        codes = phy_alloc_aligned((size_t)(tile_side * tile_side * 4 * s->most_batch));
        scale = phy_alloc((size_t)tile_side * MOST_BATCH, sizeof *scale);
        if (!codes || !scale)
            fail(s, phy_fail_memory(s->params->host, "a sample of tiles", (size_t)(tile_side * tile_side * 4)));
    }
    while (!failed(s)) {
        size_t index = atomic_fetch_add(&s->next_batch, 1);
        if (index >= s->batch_count)
            break;
        enum phy_status status =
            phy_cancelled(s->params->host) ? PHY_ERR_INTERRUPTED : try_batch(s, w, index, codes, scale);
        if (status != PHY_OK)
            fail(s, status);
    }
    phy_free(codes);
    phy_free(scale);
    return NULL;
}

/* Name the first refused weight of the first batch that has one. */
static enum phy_status fail_refused(struct search *s)
{
    const struct batch *b = &s->batches[s->refused_batch];
    const uint64_t block = s->params->flow.block;
    unsigned char *codes = phy_alloc_aligned((size_t)(block * block * 4));
    float *scale = phy_alloc((size_t)block, sizeof *scale);
    enum phy_status status =
        codes && scale ? PHY_ERR_INTERNAL : phy_fail_memory(s->params->host, "a tile", block * block * 4);
    for (size_t i = b->first; status == PHY_ERR_INTERNAL && i < b->first + b->count; i++) {
        const struct sample_tile *tile = &s->tiles[i];
        struct batch one = {.first = i, .count = 1, .rows = tile->rows, .cols = tile->cols};
        uint32_t r, c;
        if (load_batch(s, &one, codes, scale) != PHY_OK)
            break;
        struct phy_flow_tile refused = {.codes = codes,
                                        .row_stride = tile->cols,
                                        .type = tile->type,
                                        .rows = tile->rows,
                                        .cols = tile->cols,
                                        .column_scale = s->params->calibration ? scale : NULL};
        if (phy_flow_tile_find_refused(&refused, &r, &c))
            status = phy_fail_refused(s->params->donor, &s->params->targets->targets[tile->target], &refused, tile->row,
                                      tile->col, s->params->host);
    }
    phy_free(codes);
    phy_free(scale);
    return status;
}

/* Killed weights of the sample at one gain. */
static enum phy_status killed_at(struct search *s, int index, uint64_t *killed)
{
    const struct phy_device_set *devices = s->params->devices;
    size_t count = 0, started = 0;
    for (size_t i = 0; i < devices->count; i++)
        count += devices->backends[i]->slot_count;
    struct search_worker *workers = phy_zalloc(count, sizeof *workers);
    if (!workers)
        return phy_fail_memory(s->params->host, "threads", count * sizeof *workers);
    s->flow.gain = gain_at(index);
    atomic_store(&s->next_batch, 0);
    atomic_store(&s->killed, 0);
    for (size_t i = 0; i < devices->count; i++) {
        for (uint32_t slot = 0; slot < devices->backends[i]->slot_count; slot++) {
            struct search_worker *w = &workers[started];
            *w = (struct search_worker){.search = s, .backend = devices->backends[i], .slot = slot, .device = i % 64};
            if (pthread_create(&w->thread, NULL, run_worker, w) != 0)
                break;
            started++;
        }
    }
    if (started == 0)
        fail(s, phy_fail(s->params->host, PHY_ERR_MEMORY, "no thread can be started"));
    for (size_t i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    phy_free(workers);
    *killed = atomic_load(&s->killed);
    if (s->status == PHY_OK && s->refused_batch < s->batch_count)
        return fail_refused(s);
    return s->status;
}

/* ---- the search ---- */

/* Read the sample once and keep it, if it fits. */
static enum phy_status keep_sample(struct search *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->batch_count; i++)
        bytes += batch_code_bytes(s, &s->batches[i]) + s->batches[i].cols * sizeof(float) + 128;
    s->keep = bytes <= s->params->memory_bytes;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; s->keep && status == PHY_OK && i < s->batch_count; i++) {
        struct batch *b = &s->batches[i];
        b->codes = phy_alloc_aligned(batch_code_bytes(s, b));
        b->scale = phy_alloc((size_t)b->cols, sizeof *b->scale);
        if (!b->codes || !b->scale)
            return phy_fail_memory(s->params->host, "a sample of tiles", batch_code_bytes(s, b));
        status = phy_cancelled(s->params->host) ? PHY_ERR_INTERRUPTED : load_batch(s, b, b->codes, b->scale);
    }
    return status;
}

static enum phy_status bisect(struct search *s, struct phy_gain_found *out)
{
    const double wanted = s->params->sparsity * (double)out->weights;
    uint64_t least = 0, killed;
    int low = -1, high = GAIN_COUNT, steps = 0; /* killed(low) is enough, killed(high) is not */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        enum phy_status status = killed_at(s, middle, &killed);
        if (status != PHY_OK)
            return status;
        phy_report_progress(s->params->host, "gain search", "gains", (uint64_t)++steps, 10);
        if ((double)killed >= wanted) {
            low = middle;
            out->killed = killed;
            out->gain = gain_at(middle);
        } else {
            high = middle;
        }
    }
    if (low >= 0)
        return PHY_OK;
    enum phy_status status = killed_at(s, 0, &killed);
    if (status == PHY_OK)
        status = killed_at(s, GAIN_COUNT - 1, &least);
    if (status != PHY_OK)
        return status;
    return phy_fail(
        s->params->host, PHY_ERR_USAGE,
        "sparsity %g: no gain kills so many of these weights; gains from %g to %g kill %.6f to %.6f of them",
        s->params->sparsity, (double)gain_at(0), (double)gain_at(GAIN_COUNT - 1), (double)killed / (double)out->weights,
        (double)least / (double)out->weights);
}

enum phy_status phy_gain_search(struct phy_gain_found *out, const struct phy_gain_search_params *params)
{
    struct search s = {.params = params, .flow = params->flow};
    *out = (struct phy_gain_found){0};
    pthread_mutex_init(&s.lock, NULL);
    enum phy_status status = take_sample(&s);
    if (status == PHY_OK) {
        uint64_t batch = 8;
        for (size_t i = 0; i < params->devices->count; i++) {
            uint64_t wanted = params->devices->backends[i]->region_weights / params->flow.block / params->flow.block;
            batch = wanted > batch ? wanted : batch;
        }
        /* Without room to keep the sample, each worker holds a batch of its own. */
        uint64_t fitting = params->memory_bytes / 64 / ((uint64_t)params->flow.block * params->flow.block * 4);
        make_batches(&s, (size_t)phy_min_u64(phy_min_u64(batch, fitting ? fitting : 1), MOST_BATCH));
        s.refused_batch = s.batch_count;
        status = keep_sample(&s);
    }
    for (size_t i = 0; i < s.tile_count; i++)
        out->weights += (uint64_t)s.tiles[i].rows * s.tiles[i].cols;
    if (status == PHY_OK && out->weights == 0)
        status = phy_fail(params->host, PHY_ERR_USAGE, "sparsity %g: the target tensors are empty", params->sparsity);
    if (status == PHY_OK)
        status = bisect(&s, out);
    for (size_t i = 0; i < s.batch_count; i++) {
        phy_free(s.batches[i].codes);
        phy_free(s.batches[i].scale);
    }
    phy_free(s.batches);
    phy_free(s.tiles);
    phy_backend_destroy(&s.fallback);
    pthread_mutex_destroy(&s.lock);
    return status;
}
