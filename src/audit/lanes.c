/* SPDX-License-Identifier: Apache-2.0 */
/* Devices beside each other: while one leaves a processor idle (a driver compiles, a host copies), another computes.
 * Each lane goes through the storages by itself; a storage is made ready by whoever needs it first. */
#include <string.h>
#include <unistd.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/cpu_features.h"
#include "base/log.h"

/* ---- what lanes share ---- */

static void log_line(void *user, enum phy_log_level level, const char *line)
{
    const struct phy_host *host = ((const struct phy_audit *)user)->params.host;
    if (host && host->log)
        host->log(host->user, level, line);
}

static void progress(void *user, const struct phy_progress *at)
{
    struct phy_audit *audit = user;
    const struct phy_host *host = audit->params.host;
    pthread_mutex_lock(&audit->progress);
    if (host && host->progress)
        host->progress(host->user, at);
    pthread_mutex_unlock(&audit->progress);
}

static bool cancelled(void *user)
{
    struct phy_audit *audit = user;
    return atomic_load(&audit->stop) || phy_cancelled(audit->params.host);
}

void phy_audit_share_host(struct phy_audit *audit)
{
    audit->shared = (struct phy_host){.user = audit, .log = log_line, .progress = progress, .cancelled = cancelled};
    audit->host = &audit->shared;
    pthread_mutex_init(&audit->progress, NULL);
    pthread_mutex_init(&audit->opening, NULL);
}

void phy_audit_add_work(struct phy_audit *audit, uint64_t work)
{
    pthread_mutex_lock(&audit->progress);
    audit->work_done += work;
    phy_report_progress(audit->params.host, "audit", "MAC", audit->work_done, audit->work_total);
    pthread_mutex_unlock(&audit->progress);
}

/* ---- a lane ---- */

struct lanes {
    struct phy_audit *audit;
    struct phy_audit_storage *storages;
    size_t storage_count;
    size_t *lane_of; /* (devices) */
    pthread_mutex_t lock;
    enum phy_status status; /* the first that is not PHY_OK */
};

struct lane {
    struct phy_audit_lane base;
    struct lanes *all;
    size_t index;
    pthread_t thread;
    bool started;
};

static enum phy_status run_case(struct lane *lane, struct phy_audit_storage *storage, size_t index)
{
    struct phy_audit *audit = lane->base.audit;
    const struct phy_audit_record *r = &audit->record;
    enum phy_status status = PHY_OK;
    for (size_t d = 0; d < r->device_count && status == PHY_OK; d++) {
        if (lane->all->lane_of[d] != lane->index)
            continue;
        status = phy_cancelled(audit->host)
                     ? PHY_ERR_INTERRUPTED
                     : phy_audit_path(&lane->base, &storage->audited, storage->cases[index].path, &r->devices[d],
                                      &storage->outcomes[index * r->device_count + d]);
        phy_audit_add_work(audit, (uint64_t)(phy_audit_cost(audit, r->devices[d].name) * 1e9));
    }
    return status;
}

/* The first that fails says how it ends, and stops the others. */
static void end_with(struct lanes *all, enum phy_status status)
{
    pthread_mutex_lock(&all->lock);
    if (status != PHY_OK && all->status == PHY_OK) {
        all->status = status;
        atomic_store(&all->audit->stop, true);
    }
    pthread_mutex_unlock(&all->lock);
}

static enum phy_status run_storage(struct lane *lane, struct phy_audit_storage *storage)
{
    enum phy_status status = PHY_OK;
    pthread_mutex_lock(&storage->lock);
    if (phy_cancelled(lane->base.audit->host))
        status = PHY_ERR_INTERRUPTED;
    else if (!storage->ready && !*storage->reason)
        status = phy_audit_open_storage(&lane->base, storage);
    storage->ready = true;
    end_with(lane->all, status); /* before another lane takes it for opened */
    pthread_mutex_unlock(&storage->lock);
    for (size_t i = 0; storage->cases[i].path && !*storage->reason && status == PHY_OK; i++)
        status = run_case(lane, storage, i);
    end_with(lane->all, status);
    pthread_mutex_lock(&storage->lock);
    if (--storage->lanes == 0)
        phy_audit_close_storage(storage);
    pthread_mutex_unlock(&storage->lock);
    return status;
}

static void *lane_main(void *argument)
{
    struct lane *lane = argument;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < lane->all->storage_count && status == PHY_OK; i++)
        status = run_storage(lane, &lane->all->storages[i]);
    return NULL;
}

/* ---- all of them ---- */

/* Each lane has a path's memory: at most its matrices, widened. */
static bool has_room(const struct phy_audit *audit, size_t lanes)
{
    const struct phy_audit_record *r = &audit->record;
    const double path = 3.0 * r->model_layers * r->hidden_size * r->intermediate_size * (double)sizeof(float);
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return (double)lanes * path <= memory / 2;
}

/* Forms of one Vulkan device, or of the CPU. */
static bool same_device(const struct phy_device_info *a, const struct phy_device_info *b)
{
    const size_t bytes = strcspn(a->name, "/");
    return a->kind == b->kind &&
           (a->kind == PHY_DEVICE_CPU || (strncmp(a->name, b->name, bytes) == 0 && strcspn(b->name, "/") == bytes));
}

/* The forms of the CPU share a lane, as they share the model's threads; so do the forms of each Vulkan device. A test
 * seam is one thread's. Their number. */
static size_t choose_lanes(const struct phy_audit *audit, size_t *lane_of)
{
    const struct phy_audit_record *r = &audit->record;
    size_t count = 0;
    for (size_t d = 0; d < r->device_count; d++) {
        size_t first = 0;
        while (!same_device(&r->devices[first], &r->devices[d]))
            first++;
        lane_of[d] = first < d ? lane_of[first] : count++;
    }
    if (count == 1 || (!audit->seam && has_room(audit, count)))
        return count;
    memset(lane_of, 0, r->device_count * sizeof *lane_of);
    return 1;
}

/* The first lane drives the audit's model, which is set up for all threads; the others one of their own with a share of
 * them. */
static enum phy_status run_all(struct lanes *all, struct lane *lanes, size_t count)
{
    struct phy_audit *audit = all->audit;
    const uint32_t threads = (uint32_t)phy_pool_threads(audit->model->pool), share = threads / (uint32_t)count;
    const struct phy_model_params params = {.device = "cpu", .threads = share ? share : 1, .host = audit->host};
    for (size_t i = 0; i < count; i++)
        lanes[i] = (struct lane){.base = {.audit = audit, .model = i ? NULL : audit->model}, .all = all, .index = i};
    enum phy_status status = PHY_OK;
    for (size_t i = 1; i < count && status == PHY_OK; i++)
        status = phy_model_open(&lanes[i].base.model, audit->params.donor, &params);
    for (size_t i = 1; i < count && status == PHY_OK; i++) {
        lanes[i].started = pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) == 0;
        if (!lanes[i].started)
            status = phy_fail_memory(audit->host, "a thread", sizeof *lanes);
    }
    if (status == PHY_OK)
        lane_main(&lanes[0]);
    else
        atomic_store(&audit->stop, true);
    for (size_t i = 1; i < count; i++) {
        if (lanes[i].started)
            pthread_join(lanes[i].thread, NULL);
    }
    return status == PHY_OK ? all->status : status;
}

enum phy_status phy_audit_run_lanes(struct phy_audit *audit, struct phy_audit_storage *storages, size_t count)
{
    const size_t devices = audit->record.device_count;
    struct lanes all = {.audit = audit, .storages = storages, .storage_count = count};
    struct lane *lanes = phy_zalloc(devices, sizeof *lanes);
    all.lane_of = phy_zalloc(devices, sizeof *all.lane_of);
    audit->devices = phy_zalloc(devices, sizeof *audit->devices);
    enum phy_status status = lanes && all.lane_of && audit->devices
                                 ? PHY_OK
                                 : phy_fail_memory(audit->host, "the devices", devices * sizeof *lanes);
    pthread_mutex_init(&all.lock, NULL);
    if (status == PHY_OK) {
        const size_t lane_count = choose_lanes(audit, all.lane_of);
        for (size_t i = 0; i < count; i++)
            storages[i].lanes = lane_count;
        status = run_all(&all, lanes, lane_count);
        phy_audit_close_devices(audit); /* before the models whose threads they use */
        for (size_t i = 1; i < lane_count; i++)
            phy_model_close(&lanes[i].base.model);
    }
    pthread_mutex_destroy(&all.lock);
    phy_free(all.lane_of);
    phy_free(lanes);
    /* A lane that failed stopped the others; what follows goes on. Whoever asked to stop wants no verdict, wherever the
     * last path had come to. */
    atomic_store(&audit->stop, false);
    if (status == PHY_OK && phy_cancelled(audit->params.host))
        status = PHY_ERR_INTERRUPTED;
    return status == PHY_ERR_INTERRUPTED ? phy_fail(audit->host, status, "interrupted") : status;
}
