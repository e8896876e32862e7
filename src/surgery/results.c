/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"

enum phy_status phy_results_open(struct phy_results **out, size_t tensor_count, size_t shard_count,
                                 const struct phy_host *host)
{
    struct phy_results *results = *out = phy_zalloc(1, sizeof *results);
    if (!results)
        return phy_fail_memory(host, "results", sizeof *results);
    results->tensor_count = tensor_count;
    results->shard_count = shard_count;
    results->tensors = phy_zalloc(tensor_count, sizeof *results->tensors);
    results->shards = phy_zalloc(shard_count, sizeof *results->shards);
    if (!results->tensors || !results->shards) {
        phy_results_close(out);
        return phy_fail_memory(host, "results", tensor_count * sizeof *results->tensors);
    }
    phy_results_clear(results);
    return PHY_OK;
}

void phy_results_clear(struct phy_results *results)
{
    struct phy_tensor_result *tensors = results->tensors;
    struct phy_shard_result *shards = results->shards;
    const size_t tensor_count = results->tensor_count, shard_count = results->shard_count;
    memset(results, 0, sizeof *results);
    results->tensor_count = results->first_changed = tensor_count;
    results->shard_count = shard_count;
    results->tensors = tensors;
    results->shards = shards;
    for (size_t i = 0; i < tensor_count; i++)
        tensors[i] = (struct phy_tensor_result){.tile_min = 2.0};
    memset(shards, 0, shard_count * sizeof *shards);
}

void phy_results_close(struct phy_results **results)
{
    if (!*results)
        return;
    phy_free((*results)->tensors);
    phy_free((*results)->shards);
    phy_free(*results);
    *results = NULL;
}

uint32_t phy_results_device(struct phy_results *results, const char *name, const char *description)
{
    for (size_t i = 0; i < results->device_count; i++) {
        if (strcmp(results->devices[i].name, name) == 0)
            return (uint32_t)i;
    }
    if (results->device_count == PHY_MOST_DEVICES)
        return PHY_MOST_DEVICES - 1;
    struct phy_device_result *device = &results->devices[results->device_count];
    snprintf(device->name, sizeof device->name, "%s", name);
    snprintf(device->description, sizeof device->description, "%s", description);
    return (uint32_t)results->device_count++;
}

void phy_results_touch(struct phy_results *results, size_t tensor)
{
    if (tensor < results->first_changed)
        results->first_changed = tensor;
    if (tensor >= results->end_changed)
        results->end_changed = tensor + 1;
}

static void consider_tile(struct phy_results *results, const struct phy_tile_choice *tile)
{
    double share = (double)tile->killed / (double)tile->cells;
    size_t bucket = (size_t)(share * (PHY_TILE_CHOICES - 1));
    if (tile->cells > results->choices[bucket].cells) {
        results->choices[bucket] = *tile;
        results->choice_changed[bucket] = true;
    }
}

static void add_tile(struct phy_tensor_result *tensor, const struct phy_flow_tile_result *tile, uint64_t cells)
{
    double share = (double)tile->killed / (double)cells;
    tensor->processed += cells;
    tensor->killed += tile->killed;
    tensor->zero_before += tile->zero_before;
    tensor->tile_min = share < tensor->tile_min ? share : tensor->tile_min;
    tensor->tile_max = share > tensor->tile_max ? share : tensor->tile_max;
}

void phy_results_add_rows(struct phy_results *results, const struct phy_target *target, const struct phy_unit *unit,
                          const struct phy_flow_tile_result *rows)
{
    struct phy_tensor_result *tensor = &results->tensors[target->tensor];
    for (uint64_t r = 0; r < unit->rows; r++)
        add_tile(tensor, &rows[r], unit->cols);
    tensor->flow_units++;
    phy_results_touch(results, target->tensor);
}

void phy_results_add_tiles(struct phy_results *results, const struct phy_target *target, const struct phy_unit *unit,
                           const struct phy_flow_tile_result *tiles, uint32_t block)
{
    struct phy_tensor_result *tensor = &results->tensors[target->tensor];
    for (uint64_t r = 0; r < unit->rows; r += block) {
        for (uint64_t c = 0; c < unit->cols; c += block, tiles++) {
            uint64_t cells = phy_min_u64(block, unit->rows - r) * phy_min_u64(block, unit->cols - c);
            add_tile(tensor, tiles, cells);
            consider_tile(results, &(struct phy_tile_choice){.row = unit->row + r,
                                                             .col = unit->col + c,
                                                             .target = (uint32_t)unit->target,
                                                             .cells = (uint32_t)cells,
                                                             .killed = tiles->killed});
        }
    }
    tensor->flow_units++;
    phy_results_touch(results, target->tensor);
}

const struct phy_tile_choice *phy_results_choose_tile(const struct phy_results *results)
{
    uint64_t killed = 0, weights = 0;
    for (size_t i = 0; i < results->tensor_count; i++)
        killed += results->tensors[i].killed, weights += results->tensors[i].processed;
    const double mean = weights ? (double)killed / (double)weights : 0.0;
    uint32_t largest = 0;
    for (size_t i = 0; i < PHY_TILE_CHOICES; i++)
        largest = results->choices[i].cells > largest ? results->choices[i].cells : largest;
    /* A sliver at the edge makes no picture: tiles of at least half the largest are compared. */
    const struct phy_tile_choice *best = NULL;
    double best_distance = 2.0;
    for (size_t i = 0; i < PHY_TILE_CHOICES; i++) {
        const struct phy_tile_choice *tile = &results->choices[i];
        if (tile->cells == 0 || tile->cells < largest / 2)
            continue;
        double distance = fabs((double)tile->killed / (double)tile->cells - mean);
        if (distance < best_distance) {
            best_distance = distance;
            best = tile;
        }
    }
    return best;
}

/* ---- journal form ---- */

void phy_results_write(struct phy_results *results, struct phy_bytes *to)
{
    phy_bytes_add_u64(to, results->shard);
    phy_bytes_add_u64(to, results->at);
    phy_bytes_add_u64(to, results->prefix_xxh3);
    phy_bytes_add_u64(to, results->tiles_redone);
    for (size_t i = 0; i < PHY_STAGES; i++)
        phy_bytes_add_double(to, results->stage_seconds[i]);
    phy_bytes_add_u32(to, (uint32_t)results->device_count);
    for (size_t i = 0; i < results->device_count; i++) {
        phy_bytes_add_text(to, results->devices[i].name);
        phy_bytes_add_text(to, results->devices[i].description);
        phy_bytes_add_u64(to, results->devices[i].weights);
        phy_bytes_add_double(to, results->devices[i].busy_seconds);
    }
    for (size_t i = 0; i <= results->shard && i < results->shard_count; i++) {
        phy_bytes_add_u64(to, results->shards[i].xxh3);
        phy_bytes_add_double(to, results->shards[i].seconds);
    }
    size_t first = results->first_changed < results->end_changed ? results->first_changed : 0;
    size_t count = results->first_changed < results->end_changed ? results->end_changed - first : 0;
    phy_bytes_add_u64(to, first);
    phy_bytes_add_u64(to, count);
    for (size_t i = first; i < first + count; i++) {
        const struct phy_tensor_result *t = &results->tensors[i];
        phy_bytes_add_u64(to, t->processed);
        phy_bytes_add_u64(to, t->killed);
        phy_bytes_add_u64(to, t->zero_before);
        phy_bytes_add_double(to, t->tile_min);
        phy_bytes_add_double(to, t->tile_max);
        phy_bytes_add_double(to, t->seconds);
        phy_bytes_add_u64(to, t->xxh3);
        phy_bytes_add_u32(to, t->devices);
        phy_bytes_add_u32(to, t->flow_units);
    }
    for (uint32_t i = 0; i < PHY_TILE_CHOICES; i++) {
        if (!results->choice_changed[i])
            continue;
        const struct phy_tile_choice *tile = &results->choices[i];
        phy_bytes_add_u32(to, i);
        phy_bytes_add_u64(to, tile->row);
        phy_bytes_add_u64(to, tile->col);
        phy_bytes_add_u32(to, tile->target);
        phy_bytes_add_u32(to, tile->cells);
        phy_bytes_add_u32(to, tile->killed);
    }
    results->first_changed = results->tensor_count;
    results->end_changed = 0;
    memset(results->choice_changed, 0, sizeof results->choice_changed);
}

static bool read_tensors(struct phy_results *results, struct phy_byte_cursor *from)
{
    uint64_t first = phy_cursor_u64(from), count = phy_cursor_u64(from);
    if (from->failed || first > results->tensor_count || count > results->tensor_count - first)
        return false;
    for (struct phy_tensor_result *t = &results->tensors[first]; count > 0; count--, t++) {
        t->processed = phy_cursor_u64(from);
        t->killed = phy_cursor_u64(from);
        t->zero_before = phy_cursor_u64(from);
        t->tile_min = phy_cursor_double(from);
        t->tile_max = phy_cursor_double(from);
        t->seconds = phy_cursor_double(from);
        t->xxh3 = phy_cursor_u64(from);
        t->devices = phy_cursor_u32(from);
        t->flow_units = phy_cursor_u32(from);
    }
    return !from->failed;
}

static bool read_choices(struct phy_results *results, struct phy_byte_cursor *from)
{
    while (!from->failed && from->at < from->end) {
        uint32_t bucket = phy_cursor_u32(from);
        struct phy_tile_choice tile = {.row = phy_cursor_u64(from)};
        tile.col = phy_cursor_u64(from);
        tile.target = phy_cursor_u32(from);
        tile.cells = phy_cursor_u32(from);
        tile.killed = phy_cursor_u32(from);
        if (from->failed || bucket >= PHY_TILE_CHOICES)
            return false;
        results->choices[bucket] = tile;
    }
    return !from->failed;
}

bool phy_results_read(struct phy_results *results, const void *payload, size_t bytes)
{
    struct phy_byte_cursor from = {.at = payload, .end = (const unsigned char *)payload + bytes};
    results->shard = phy_cursor_u64(&from);
    results->at = phy_cursor_u64(&from);
    results->prefix_xxh3 = phy_cursor_u64(&from);
    results->tiles_redone = phy_cursor_u64(&from);
    for (size_t i = 0; i < PHY_STAGES; i++)
        results->stage_seconds[i] = phy_cursor_double(&from);
    uint32_t devices = phy_cursor_u32(&from);
    if (from.failed || results->shard > results->shard_count || devices > PHY_MOST_DEVICES)
        return false;
    results->device_count = devices;
    for (size_t i = 0; i < devices; i++) {
        struct phy_device_result *device = &results->devices[i];
        phy_cursor_text(&from, device->name, sizeof device->name);
        phy_cursor_text(&from, device->description, sizeof device->description);
        device->weights = phy_cursor_u64(&from);
        device->busy_seconds = phy_cursor_double(&from);
    }
    for (size_t i = 0; i <= results->shard && i < results->shard_count; i++) {
        results->shards[i].xxh3 = phy_cursor_u64(&from);
        results->shards[i].seconds = phy_cursor_double(&from);
    }
    return read_tensors(results, &from) && read_choices(results, &from);
}
