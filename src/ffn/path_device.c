/* SPDX-License-Identifier: Apache-2.0 */
/* Which layer runs where: on the device, or on the CPU, because the device has no room left or is lost. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "device/device_set.h"
#include "ffn/path_parts.h"

struct phy_matmul_backend *phy_path_backend(const struct path *path, const struct path_layer *layer)
{
    return layer->on_cpu ? path->cpu : path->device;
}

static void watch(struct path *path, struct phy_matmul_backend *backend)
{
    backend->ran = phy_path_trace_ran;
    backend->ran_user = &path->trace;
}

enum phy_status phy_path_device_open(struct phy_path_device **out, const char *device, struct phy_model *model,
                                     const struct phy_host *host)
{
    *out = phy_zalloc(1, sizeof **out);
    if (!*out)
        return phy_fail_memory(host, "a device", sizeof **out);
    phy_held_log_init(&(*out)->log, host, false);
    enum phy_status status = phy_matmul_backend_open(&(*out)->backend, device, false, model->pool, &(*out)->log.host);
    (*out)->log.to = NULL;
    if (status != PHY_OK)
        phy_path_device_close(out);
    return status;
}

void phy_path_device_close(struct phy_path_device **device)
{
    if (!*device)
        return;
    phy_matmul_backend_destroy(&(*device)->backend);
    phy_free(*device);
    *device = NULL;
}

enum phy_status phy_path_take_device(struct path *path, const char *device, bool tune, struct phy_path_device *borrowed)
{
    struct phy_model *model = path->model;
    phy_held_log_init(&path->held, model->host, false);
    if (borrowed) {
        path->borrowed = borrowed;
        path->device = borrowed->backend;
        borrowed->log.to = &path->held.host;
    } else {
        enum phy_status status = phy_matmul_backend_open(&path->device, device, tune, model->pool, &path->held.host);
        if (status != PHY_OK)
            return status;
    }
    snprintf(path->device_name, sizeof path->device_name, "%s", path->device->name);
    path->device_is_cpu = strncmp(path->device->name, "cpu:", 4) == 0;
    watch(path, path->device);
    return PHY_OK;
}

void phy_path_leave_device(struct path *path)
{
    if (!path->borrowed) {
        phy_matmul_backend_destroy(&path->device);
        return;
    }
    if (path->device->ops->unload)
        path->device->ops->unload(path->device);
    path->device->ran = NULL;
    path->borrowed->log.to = NULL;
    path->device = NULL;
}

static enum phy_status open_cpu(struct path *path)
{
    if (path->cpu)
        return PHY_OK;
    enum phy_status status = phy_matmul_backend_open(&path->cpu, "cpu", false, path->model->pool, path->model->host);
    if (status == PHY_OK)
        watch(path, path->cpu);
    return status;
}

/* ---- routes ---- */

/* The path of one layer on that backend. A forced one must be taken: if the router takes another, or the layer is not
 * stored, the log says why. */
static enum phy_status route(const struct path *path, const struct phy_matmul_backend *backend, uint32_t index,
                             const struct path_rule **out)
{
    const struct phy_host *host = path->model->host;
    const struct path_source *source = &path->sources[index];
    const struct path_rule *forced = path->forced;
    char reason[384];
    if (forced && path->store && !phy_path_is_stored(path->store, index))
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: layer %u is not stored, and path %s asks for it",
                        phy_ffn_store_label(path->store), index, forced->kind.name);
    *out = phy_path_route(source, backend, phy_path_mask(forced));
    if (*out && (!forced || *out == forced))
        return PHY_OK;
    if (!forced)
        phy_path_why_none(source, backend, reason, sizeof reason);
    else if (phy_path_offers(forced, source, backend, reason, sizeof reason))
        snprintf(reason, sizeof reason, "path %s: the router took %s", forced->kind.name,
                 *out ? (*out)->kind.name : "none");
    return phy_fail(host, PHY_ERR_UNSUPPORTED, "layer %u: %s", index, reason);
}

/* The layer's path and matrices on that backend; those it has stay when they serve. */
static enum phy_status make(struct path *path, const struct phy_matmul_backend *backend, uint32_t index)
{
    struct path_layer *layer = &path->layers[index];
    const struct path_rule *rule;
    enum phy_status status = route(path, backend, index, &rule);
    if (status != PHY_OK || rule == layer->rule)
        return status;
    phy_path_layer_free(layer);
    return phy_path_layer_make(layer, rule, &path->sources[index], path->model->pool, path->model->host);
}

/* ---- loads ---- */

enum phy_status phy_path_load(struct phy_matmul_backend *backend, struct path_layer *layers, size_t count,
                              const struct phy_host *host)
{
    struct phy_weights **matrices = phy_alloc(count, 3 * sizeof *matrices);
    if (!matrices)
        return phy_fail_memory(host, "a list of matrices", count * 3 * sizeof *matrices);
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += phy_path_layer_matrices(&layers[i], matrices + total);
    enum phy_status status = total ? backend->ops->load(backend, matrices, total) : PHY_OK;
    phy_free(matrices);
    return status;
}

/* Layers `first` and later, to the CPU. */
static enum phy_status hand_to_cpu(struct path *path, uint32_t first)
{
    const uint32_t count = path->model->config.layer_count;
    enum phy_status status = first < count ? open_cpu(path) : PHY_OK;
    for (uint32_t i = first; i < count && status == PHY_OK; i++) {
        status = make(path, path->cpu, i);
        path->layers[i].on_cpu = true;
    }
    return status == PHY_OK && first < count
               ? phy_path_load(path->cpu, path->layers + first, count - first, path->held.to)
               : status;
}

/* The first `count` layers to the device, all at once; if it has no room, one by one until it is full. *loaded is what
 * it took, and the status that of the layer which was too much. */
static enum phy_status load_device(struct path *path, uint32_t count, uint32_t *loaded)
{
    *loaded = 0;
    enum phy_status status = count ? phy_path_load(path->device, path->layers, count, path->held.to) : PHY_OK;
    if (status == PHY_OK)
        *loaded = count;
    if (status != PHY_ERR_MEMORY || path->device_is_cpu)
        return status;
    for (status = PHY_OK; *loaded < count && status == PHY_OK; *loaded += status == PHY_OK)
        status = phy_path_load(path->device, path->layers + *loaded, 1, path->held.to);
    return status;
}

/* What the device took stays there; the CPU takes the rest. Device memory that runs out is worth a warning, not an
 * error; so is, if the caller allowed it, a device that fails. */
static enum phy_status load_layers(struct path *path, uint32_t count)
{
    uint32_t loaded;
    path->held.hold = !path->device_is_cpu;
    enum phy_status status = load_device(path, count, &loaded);
    path->held.hold = path->fallback_cpu && !path->device_is_cpu;
    if (status == PHY_ERR_DEVICE && path->held.hold)
        return phy_path_fall_back(path, &status) ? PHY_OK : status;
    if (status != PHY_OK && (status != PHY_ERR_MEMORY || path->device_is_cpu))
        return phy_held_log_release(&path->held, status);
    if (status == PHY_ERR_MEMORY)
        phy_warn(path->held.to, "%s; %u of %u layers are on the device, the others on the CPU", path->held.line, loaded,
                 path->model->config.layer_count);
    path->held.line[0] = 0;
    return hand_to_cpu(path, loaded);
}

enum phy_status phy_path_place_layers(struct path *path, uint64_t device_memory)
{
    const uint32_t count = path->model->config.layer_count;
    uint64_t bytes = 0;
    uint32_t fitting = 0;
    enum phy_status status = PHY_OK;
    for (; fitting < count && status == PHY_OK; fitting++) {
        status = make(path, path->device, fitting);
        bytes += phy_path_layer_bytes(&path->layers[fitting]);
        if (device_memory && bytes > device_memory)
            break;
    }
    if (status != PHY_OK)
        return status;
    if (fitting < count)
        phy_note(path->held.to, "%u of %u layers fit in %llu bytes of device memory, the others run on the CPU",
                 fitting, count, (unsigned long long)device_memory);
    return load_layers(path, fitting);
}

bool phy_path_fall_back(struct path *path, enum phy_status *status)
{
    if (!path->held.hold || *status != PHY_ERR_DEVICE) {
        phy_held_log_release(&path->held, *status);
        return false;
    }
    path->held.hold = false;
    *status = open_cpu(path);
    if (*status != PHY_OK)
        return false;
    phy_warn(path->held.to, "%s; %s goes on with the FFN", path->held.line, path->cpu->name);
    for (uint32_t i = 0; path->rerouted && i < path->model->config.layer_count; i++)
        phy_path_layer_free(&path->rerouted[i]); /* made again, and loaded, when the seam asks */
    *status = hand_to_cpu(path, 0);
    snprintf(path->device_name, sizeof path->device_name, "%s", path->cpu->name);
    return *status == PHY_OK;
}
