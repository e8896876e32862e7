/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "physarium/surgery.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path_name.h"
#include "format/checkpoint_files.h"
#include "report/surgery_report.h"
#include "surgery/donor_digest.h"
#include "surgery/identity.h"
#include "surgery/sidecars.h"
#include "surgery/surgery_run.h"

enum { CHUNK_BYTES = 1 << 20 };
static const uint64_t LEAST_MEMORY = UINT64_C(16) << 20, DEFAULT_MEMORY = UINT64_C(1) << 30;

/* ---- the host's log, remembered ---- */

static void remember_line(void *user, enum phy_log_level level, const char *line)
{
    struct phy_run_log *log = user;
    pthread_mutex_lock(&log->lock);
    bool pass = level != PHY_LOG_ERROR || !log->error_seen; /* threads may fail together; the first says why */
    log->error_seen = log->error_seen || level == PHY_LOG_ERROR;
    if (level == PHY_LOG_WARNING) {
        char **grown = phy_realloc(log->warnings, log->warning_count + 1, sizeof *grown);
        char *copy = grown ? phy_strndup(line, strlen(line)) : NULL;
        log->warnings = grown ? grown : log->warnings;
        if (copy)
            log->warnings[log->warning_count++] = copy;
    }
    if (pass && log->host && log->host->log)
        log->host->log(log->host->user, level, line);
    pthread_mutex_unlock(&log->lock);
}

static void pass_progress(void *user, const struct phy_progress *progress)
{
    const struct phy_run_log *log = user;
    phy_report_progress(log->host, progress->stage, progress->unit, progress->done, progress->total);
}

static bool pass_cancelled(void *user)
{
    return phy_cancelled(((const struct phy_run_log *)user)->host);
}

/* ---- parameters ---- */

/* What is the flow's alone. */
static enum phy_status check_rank_params(struct phy_run *run)
{
    struct phy_surgery_params *p = &run->params;
    enum phy_status status =
        phy_rank_method_choose(&run->rank, p->method, p->pattern, p->sparsity, p->calibration, &run->host);
    if (status == PHY_OK && run->rank.ranked && (p->gain != 0 || p->beta || p->iterations || p->block))
        return phy_fail(&run->host, PHY_ERR_USAGE,
                        "method %s: gain, beta, iterations and block are parameters of the flow", run->rank.name);
    return status;
}

static enum phy_status check_params(struct phy_run *run)
{
    struct phy_surgery_params *p = &run->params;
    const struct phy_host *host = &run->host;
    enum phy_status status = check_rank_params(run);
    if (status != PHY_OK)
        return status;
    p->device = p->device ? p->device : "cpu";
    p->memory_bytes = p->memory_bytes ? p->memory_bytes : DEFAULT_MEMORY;
    p->beta = p->beta ? p->beta : 2;
    p->iterations = p->iterations ? p->iterations : 30;
    p->block = p->block ? p->block : 256;
    if (!p->donor || !p->output)
        return phy_fail(host, PHY_ERR_USAGE, "a donor and an output are needed");
    if (p->sparsity != 0 && !(p->sparsity > 0 && p->sparsity < 1))
        return phy_fail(host, PHY_ERR_USAGE, "sparsity %g: above 0 and below 1 is allowed", p->sparsity);
    if (p->sparsity != 0 && p->gain != 0)
        return phy_fail(host, PHY_ERR_USAGE, "a gain and a sparsity: give one, the other follows");
    p->gain = p->gain != 0 ? (double)(float)p->gain : 5;
    if (!(p->gain >= 0.0625 && p->gain <= 64))
        return phy_fail(host, PHY_ERR_USAGE, "gain %g: 1/16 to 64 is allowed", p->gain);
    if (p->beta > 4)
        return phy_fail(host, PHY_ERR_USAGE, "beta %u: 1, 2, 3 or 4 is allowed", p->beta);
    if (p->iterations > 1000)
        return phy_fail(host, PHY_ERR_USAGE, "iterations %u: 1 to 1000 is allowed", p->iterations);
    if (p->block != 32 && p->block != 64 && p->block != 128 && p->block != 256)
        return phy_fail(host, PHY_ERR_USAGE, "block %u: 32, 64, 128 or 256 is allowed", p->block);
    if (p->memory_bytes < LEAST_MEMORY)
        return phy_fail(host, PHY_ERR_USAGE, "memory %llu: at least 16 MiB is needed",
                        (unsigned long long)p->memory_bytes);
    if (p->threads == 0) { /* all processors, but not more than the memory feeds: about 2 MiB for each */
        uint64_t fed = (p->memory_bytes - LEAST_MEMORY / 2) / (UINT64_C(2) << 20);
        p->threads = (uint32_t)phy_min_u64(phy_cpu_count(), fed);
    }
    return PHY_OK;
}

/* ---- what is read ---- */

static enum phy_status digest_headers(struct phy_run *run)
{
    const size_t count = phy_checkpoint_shard_count(run->donor);
    run->header_xxh3 = phy_zalloc(count, sizeof *run->header_xxh3);
    if (!run->header_xxh3)
        return phy_fail_memory(&run->host, "digests", count * sizeof *run->header_xxh3);
    for (size_t i = 0; i < count; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(run->donor, i, &shard);
        run->total_bytes += shard.file_bytes;
    }
    return phy_donor_digest(run->donor, run->donor_digest, run->header_xxh3, &run->host);
}

static enum phy_status open_donor(struct phy_run *run)
{
    struct phy_surgery_params *p = &run->params;
    struct phy_checkpoint_params open = {.host = &run->host, .follow_symlinks = p->follow_symlinks};
    enum phy_status status = phy_checkpoint_open(&run->donor, p->donor, &open);
    if (status != PHY_OK)
        return status;
    if (phy_checkpoint_container(run->donor) == PHY_CONTAINER_GGUF) {
        char *name = phy_path_last_part(p->donor);
        status = phy_fail(&run->host, PHY_ERR_UNSUPPORTED,
                          "%s: GGUF; surgery works on safetensors: `physarium import` makes a directory of it",
                          name ? name : "the donor");
        phy_free(name);
        return status;
    }
    status = phy_targets_choose(&run->targets, run->donor, &p->targets, &run->host);
    if (status == PHY_OK)
        status = digest_headers(run);
    if (status == PHY_OK && p->calibration) {
        status = phy_calibration_open(&run->calibration, p->calibration, run->donor, &run->targets, run->donor_digest,
                                      &run->host);
        run->calibrated = status == PHY_OK;
    }
    if (status != PHY_OK)
        return status;
    phy_identity_write(&run->identity, &(struct phy_identity_params){
                                           .donor = run->donor,
                                           .surgery = p,
                                           .header_xxh3 = run->header_xxh3,
                                           .rank = &run->rank,
                                           .calibration_digest = run->calibrated ? run->calibration.digest : NULL});
    return run->identity.failed ? phy_fail_memory(&run->host, "the run's description", run->identity.bytes) : PHY_OK;
}

/* ---- the output ---- */

static bool makes(const void *user, const char *path, bool is_directory)
{
    static const char reports[] = PHY_OUTPUT_REPORTS "/";
    const struct phy_run *run = user;
    const char *name = path + strlen(reports);
    if (strncmp(path, reports, strlen(reports)) == 0)
        return !is_directory && (strcmp(name, "run.json") == 0 || phy_report_is_of_surgery(name));
    return phy_name_set_find(&run->made, is_directory, path, strlen(path)) != NULL;
}

static enum phy_status list_made(struct phy_run *run)
{
    enum phy_name_added added = PHY_NAME_NEW;
    for (size_t i = 0; added != PHY_NAME_NO_MEMORY && i < phy_checkpoint_sidecar_count(run->donor); i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(run->donor, i, &sidecar);
        added = phy_name_set_add(&run->made, sidecar.is_directory, sidecar.path, strlen(sidecar.path), 0, NULL);
    }
    for (size_t i = 0; added != PHY_NAME_NO_MEMORY && i < phy_checkpoint_shard_count(run->donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(run->donor, i, &shard);
        const char *name = phy_output_shard_name(&run->output, &shard);
        added = phy_name_set_add(&run->made, 0, name, strlen(name), 0, NULL);
    }
    return added == PHY_NAME_NO_MEMORY ? phy_fail_memory(&run->host, "the names of files", sizeof *run->made.names)
                                       : PHY_OK;
}

/* Where each weight file really is: links into another folder must not be replaced under our feet. */
static enum phy_status check_output(struct phy_run *run)
{
    const size_t shards = phy_checkpoint_shard_count(run->donor);
    const char **protect = phy_zalloc(shards + 2, sizeof *protect);
    size_t count = 0;
    if (!protect)
        return phy_fail_memory(&run->host, "paths", (shards + 2) * sizeof *protect);
    protect[count++] = run->params.donor;
    if (run->params.calibration)
        protect[count++] = run->params.calibration;
    const size_t given = count;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < shards; i++) {
        char link[64], target[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", phy_checkpoint_shard_fd(run->donor, i));
        ssize_t bytes = readlink(link, target, sizeof target);
        if (bytes <= 0 || (size_t)bytes >= sizeof target)
            continue;
        char *copy = phy_strndup(target, (size_t)bytes);
        if (copy)
            protect[count++] = copy;
        else
            status = phy_fail_memory(&run->host, "a path", (size_t)bytes);
    }
    if (status == PHY_OK)
        status = phy_output_check(
            &run->output, &(struct phy_output_params){.path = run->params.output,
                                                      .single_file = !phy_checkpoint_is_directory(run->donor),
                                                      .force = run->params.force,
                                                      .protect = protect,
                                                      .protect_count = count,
                                                      .makes = makes,
                                                      .user = run,
                                                      .advice = "the work so far is kept, --resume goes on from here",
                                                      .host = &run->host});
    run->output_open = status == PHY_OK;
    run->output.params.protect = NULL; /* they end here */
    if (status == PHY_OK)
        status = list_made(run);
    while (count > given)
        phy_free((char *)protect[--count]);
    phy_free(protect);
    return status;
}

/* Space for what is still to be written, then every shard's file with all of its space. */
static enum phy_status make_files(struct phy_run *run)
{
    uint64_t needed = run->sidecars_done ? 0 : phy_sidecars_bytes(run->donor);
    for (size_t i = 0; i < phy_checkpoint_shard_count(run->donor); i++) {
        struct phy_shard_info shard;
        struct stat file;
        phy_checkpoint_shard(run->donor, i, &shard);
        uint64_t there = 0;
        if (fstatat(run->output.partial_fd, phy_output_shard_name(&run->output, &shard), &file, AT_SYMLINK_NOFOLLOW) ==
            0)
            there = phy_min_u64((uint64_t)file.st_blocks * 512, shard.file_bytes);
        if (!phy_add_u64(needed, shard.file_bytes - there, &needed))
            needed = UINT64_MAX;
    }
    enum phy_status status = phy_output_check_space(&run->output, needed);
    if (status != PHY_OK) {
        run->discard = !run->output.found_partial;
        return status;
    }
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_shard_count(run->donor); i++) {
        struct phy_shard_info shard;
        int fd;
        phy_checkpoint_shard(run->donor, i, &shard);
        const char *name = phy_output_shard_name(&run->output, &shard);
        status = phy_output_open_file(&run->output, name, shard.file_bytes, &fd);
        int error = status == PHY_OK ? phy_close(fd) : 0;
        if (error)
            status = phy_output_fail(&run->output, name, error);
    }
    int error = status == PHY_OK ? phy_fsync_directory(run->output.partial_fd) : 0;
    return error ? phy_output_fail(&run->output, "", error) : status;
}

enum phy_status phy_run_record(struct phy_run *run, enum phy_journal_record type, const struct phy_bytes *payload)
{
    int error = phy_journal_append(&run->journal, type, payload);
    return error ? phy_output_fail(&run->output, PHY_OUTPUT_JOURNAL_PATH, error) : PHY_OK;
}

/* ---- stages ---- */

static enum phy_status copy_sidecars(struct phy_run *run)
{
    if (run->sidecars_done)
        return PHY_OK;
    enum phy_status status = phy_sidecars_copy(run->donor, &run->output);
    if (status != PHY_OK)
        return status;
    run->sidecars_done = true;
    return phy_run_record(run, PHY_RECORD_SIDECARS, &(struct phy_bytes){0});
}

/* A row must fit, and for the whole tensor what its columns' sums take. */
static enum phy_status plan_buffers(struct phy_run *run)
{
    uint64_t least = PHY_UNIT_LEAST_BYTES(run->params.block), fixed = 0;
    if (run->rank.ranked) {
        uint64_t widest = phy_rank_widest(run->donor, &run->targets);
        if (widest > UINT32_MAX)
            return phy_fail(&run->host, PHY_ERR_LIMIT,
                            "method %s: a row of %llu columns: at most 2^32 - 1 can be ranked", run->rank.name,
                            (unsigned long long)widest);
        least = widest * (PHY_RANK_COLUMN_BYTES + sizeof(float));
        fixed = phy_rank_columns_bytes(&run->rank, run->donor, &run->targets);
    }
    return phy_buffer_plan_make(&run->buffers, run->params.memory_bytes, &run->devices, least, fixed, &run->host);
}

static struct phy_flow_params flow_of(const struct phy_run *run)
{
    return (struct phy_flow_params){
        .gain = run->gain, .beta = run->params.beta, .iterations = run->params.iterations, .block = run->params.block};
}

static enum phy_status find_gain(struct phy_run *run)
{
    if (run->rank.ranked)
        return PHY_OK;
    if (run->params.sparsity <= 0)
        run->gain = (float)run->params.gain;
    if (run->gain > 0) /* given, or found before the run was interrupted */
        return PHY_OK;
    double started = phy_seconds_now();
    struct phy_gain_found found;
    enum phy_status status = phy_gain_search(
        &found, &(struct phy_gain_search_params){.donor = run->donor,
                                                 .targets = &run->targets,
                                                 .calibration = run->calibrated ? &run->calibration : NULL,
                                                 .flow = flow_of(run),
                                                 .sparsity = run->params.sparsity,
                                                 .memory_bytes = run->params.memory_bytes / 2,
                                                 .devices = &run->devices,
                                                 .host = &run->host});
    if (status != PHY_OK)
        return status;
    run->gain = found.gain;
    run->results->stage_seconds[PHY_STAGE_GAIN] += phy_seconds_now() - started;
    phy_note(&run->host, "gain %g kills %.4f of a sample of %llu weights", (double)found.gain,
             (double)found.killed / (double)found.weights, (unsigned long long)found.weights);
    uint32_t bits;
    memcpy(&bits, &run->gain, sizeof bits);
    struct phy_bytes payload = {0};
    phy_bytes_add_u32(&payload, bits);
    status = phy_run_record(run, PHY_RECORD_GAIN, &payload);
    phy_bytes_free(&payload);
    return status;
}

static enum phy_status stream(struct phy_run *run)
{
    return phy_pipeline_run(&(struct phy_pipeline_params){.donor = run->donor,
                                                          .targets = &run->targets,
                                                          .calibration = run->calibrated ? &run->calibration : NULL,
                                                          .flow = flow_of(run),
                                                          .rank = run->rank.ranked ? &run->rank : NULL,
                                                          .devices = &run->devices,
                                                          .threads = run->params.threads,
                                                          .buffers = run->buffers,
                                                          .output = &run->output,
                                                          .results = run->results,
                                                          .hash = run->hash,
                                                          .journal = &run->journal,
                                                          .progress_type = PHY_RECORD_PROGRESS,
                                                          .host = &run->host});
}

static bool same_tensor(const struct phy_tensor_info *a, const struct phy_tensor_info *b)
{
    return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0 &&
           strcmp(a->dtype, b->dtype) == 0 && a->dim_count == b->dim_count && a->at == b->at && a->bytes == b->bytes &&
           a->shard == b->shard && memcmp(a->shape, b->shape, a->dim_count * sizeof *a->shape) == 0;
}

/* W7: what was written is a checkpoint by the same rules, of the same tensors. */
static enum phy_status verify_output(struct phy_run *run)
{
    struct phy_checkpoint *written = NULL;
    char *path = NULL;
    if (run->output.params.single_file) {
        size_t bytes = strlen(run->output.partial_path) + strlen(run->output.name) + 2;
        path = phy_alloc(bytes, 1);
        if (!path)
            return phy_fail_memory(&run->host, "a path", bytes);
        snprintf(path, bytes, "%s/%s", run->output.partial_path, run->output.name);
    }
    /* Its warnings are the donor's, and have been given. */
    enum phy_status status = phy_checkpoint_open(&written, path ? path : run->output.partial_path, NULL);
    phy_free(path);
    const size_t count = phy_checkpoint_tensor_count(run->donor);
    bool same = status == PHY_OK && phy_checkpoint_tensor_count(written) == count;
    for (size_t i = 0; same && i < count; i++) {
        struct phy_tensor_info a, b;
        phy_checkpoint_tensor(run->donor, i, &a);
        phy_checkpoint_tensor(written, i, &b);
        same = same_tensor(&a, &b);
    }
    phy_checkpoint_close(&written);
    return same ? PHY_OK
                : phy_fail(&run->host, PHY_ERR_IO,
                           "%s: the headers read back are not the donor's; --force discards what was written",
                           run->output.partial_path);
}

/* A donor that changed makes what was written worthless: no resume could take it up. */
static enum phy_status check_unchanged(struct phy_run *run)
{
    enum phy_status status = phy_checkpoint_unchanged(run->donor);
    if (status == PHY_OK && run->calibrated)
        status = phy_checkpoint_unchanged(run->calibration.file);
    run->discard = run->discard || status != PHY_OK;
    return status;
}

static enum phy_status finish(struct phy_run *run)
{
    double started = phy_seconds_now();
    enum phy_status status = check_unchanged(run);
    if (status == PHY_OK)
        status = verify_output(run);
    run->results->stage_seconds[PHY_STAGE_VERIFY] += phy_seconds_now() - started;
    started = phy_seconds_now();
    if (status == PHY_OK)
        status = phy_run_evaluate(run);
    run->results->stage_seconds[PHY_STAGE_EVAL] += phy_seconds_now() - started;
    if (status == PHY_OK)
        status = phy_run_write_reports(run);
    if (status == PHY_OK) /* the last read of the donor was for the reports */
        status = check_unchanged(run);
    if (status == PHY_OK)
        status = phy_output_publish(&run->output);
    return status;
}

/* A failure before a byte of weights was done, which neither a disk nor the user stopped: the partial directory would
 * only be in the way of the next run. A weight that is refused is never taken up either. */
static bool nothing_kept(const struct phy_run *run, enum phy_status status)
{
    return status != PHY_OK && status != PHY_ERR_IO && status != PHY_ERR_INTERRUPTED && run->results->shard == 0 &&
           run->results->at == 0;
}

/* With the partial directory held: to the end. */
static enum phy_status work(struct phy_run *run)
{
    enum phy_status status = phy_run_take_up(run);
    if (status != PHY_OK)
        return status;
    run->results->stage_seconds[PHY_STAGE_CHECK] += phy_seconds_now() - run->started;
    status = make_files(run);
    if (status == PHY_OK)
        status = find_gain(run);
    if (status == PHY_OK)
        status = copy_sidecars(run);
    if (status == PHY_OK)
        status = stream(run);
    run->discard = run->discard || status == PHY_ERR_FORMAT || nothing_kept(run, status);
    if (status == PHY_OK)
        status = finish(run);
    if (status == PHY_ERR_INTERRUPTED)
        phy_fail(&run->host, status, "%s: interrupted; the same command with --resume goes on from here",
                 run->output.path);
    return status;
}

static enum phy_status run_surgery(struct phy_run *run, struct phy_surgery_result *result)
{
    bool finished = false;
    enum phy_status status = check_params(run);
    if (status == PHY_OK)
        status = open_donor(run);
    if (status == PHY_OK)
        status = check_output(run);
    if (status == PHY_OK)
        status = phy_run_check_finished(run, &finished, result);
    if (status != PHY_OK || finished) {
        result->already_finished = finished;
        return status;
    }
    status = phy_run_prepare_eval(run);
    if (status == PHY_OK)
        status = phy_device_set_open(&run->devices, run->params.device, run->params.threads, &run->host);
    if (status == PHY_OK)
        status = plan_buffers(run);
    if (status == PHY_OK)
        status = phy_output_begin(&run->output);
    if (status == PHY_OK) {
        status = work(run);
        if (run->discard)
            phy_output_discard(&run->output);
    }
    if (status == PHY_OK)
        phy_run_fill_result(run, result);
    return status;
}

enum phy_status phy_surgery_run(const struct phy_surgery_params *params, struct phy_surgery_result *result)
{
    struct phy_surgery_result unused;
    struct phy_run run = {.params = *params, .started = phy_seconds_now(), .log.host = params->host};
    pthread_mutex_init(&run.log.lock, NULL);
    run.host = (struct phy_host){
        .user = &run.log, .log = remember_line, .progress = pass_progress, .cancelled = pass_cancelled};
    result = result ? result : &unused;
    *result = (struct phy_surgery_result){0};
    enum phy_status status = run_surgery(&run, result);
    phy_run_close_eval(&run);
    phy_output_hash_close(&run.hash);
    phy_results_close(&run.results);
    if (run.output_open)
        phy_output_close(&run.output);
    phy_device_set_close(&run.devices);
    if (run.calibrated)
        phy_calibration_close(&run.calibration);
    phy_target_list_free(&run.targets);
    phy_checkpoint_close(&run.donor);
    phy_name_set_free(&run.made);
    phy_bytes_free(&run.identity);
    phy_free(run.header_xxh3);
    for (size_t i = 0; i < run.log.warning_count; i++)
        phy_free(run.log.warnings[i]);
    phy_free(run.log.warnings);
    pthread_mutex_destroy(&run.log.lock);
    return status;
}
