/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "surgery/identity.h"
#include "surgery/sidecars.h"
#include "surgery/surgery_run.h"

enum { DIFFERENCE_BYTES = 400, LARGEST_REPORT = 64 << 20 };

/* ---- a finished output ---- */

/* A small file of ours as a C string, the caller's; NULL if it is not there or cannot be read. */
static char *read_text(int dir_fd, const char *path)
{
    struct stat file;
    char *text = NULL;
    int fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_size <= LARGEST_REPORT)
        text = phy_alloc((size_t)file.st_size + 1, 1);
    if (text && phy_pread_all(fd, text, (size_t)file.st_size, 0) != 0) {
        phy_free(text);
        text = NULL;
    }
    if (text)
        text[file.st_size] = 0;
    close(fd);
    return text;
}

static int open_reports(const struct phy_run *run)
{
    const struct phy_output *output = &run->output;
    if (run->output.params.single_file)
        return openat(output->parent_fd, output->reports_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = openat(output->parent_fd, output->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int reports = fd >= 0 ? openat(fd, PHY_OUTPUT_REPORTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd >= 0)
        close(fd);
    return reports;
}

/* Every weight file has its size. Its bytes are what `coverage` is for. */
static bool files_are_there(const struct phy_run *run)
{
    const struct phy_output *output = &run->output;
    for (size_t i = 0; i < phy_checkpoint_shard_count(run->donor); i++) {
        struct phy_shard_info shard;
        struct stat file;
        phy_checkpoint_shard(run->donor, i, &shard);
        int dir = run->output.params.single_file ? dup(output->parent_fd)
                                                 : openat(output->parent_fd, output->name, O_RDONLY | O_DIRECTORY);
        bool there = dir >= 0 && fstatat(dir, phy_output_shard_name(output, &shard), &file, 0) == 0 &&
                     S_ISREG(file.st_mode) && (uint64_t)file.st_size == shard.file_bytes;
        if (dir >= 0)
            close(dir);
        if (!there)
            return false;
    }
    return true;
}

/* 0 for what is not a number. */
static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0.0;
}

static uint64_t count_of(const cJSON *object, const char *name)
{
    double value = number_of(object, name);
    return value >= 0 && value < 0x1p63 ? (uint64_t)value : 0;
}

/* The counts that the finished run reported. A model has far fewer than 2^53 weights, so a double holds each. */
static void read_counts(int reports_fd, struct phy_surgery_result *result)
{
    char *text = read_text(reports_fd, "surgery.json");
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    const cJSON *counts = cJSON_GetObjectItemCaseSensitive(json, "result");
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(json, "parameters");
    const cJSON *run = cJSON_GetObjectItemCaseSensitive(json, "run");
    result->total_elements = count_of(counts, "total_elements");
    result->target_elements = count_of(counts, "target_elements");
    result->processed = count_of(counts, "processed_elements");
    result->killed = count_of(counts, "killed_elements");
    result->zero_before = count_of(counts, "zero_before_elements");
    result->gain = number_of(parameters, "gain");
    result->seconds = number_of(run, "seconds");
    result->device_lost = count_of(run, "tiles_redone_on_cpu") > 0;
    cJSON_Delete(json);
    phy_free(text);
}

enum phy_status phy_run_check_finished(struct phy_run *run, bool *finished, struct phy_surgery_result *result)
{
    char difference[DIFFERENCE_BYTES];
    const struct phy_output *output = &run->output;
    *finished = false;
    if (!run->params.resume || !output->exists)
        return PHY_OK;
    int reports = open_reports(run);
    char *there = reports >= 0 ? read_text(reports, "run.json") : NULL;
    enum phy_status status = PHY_OK;
    if (there && !phy_identity_differs(there, (const char *)run->identity.data, difference, sizeof difference) &&
        files_are_there(run)) {
        *finished = true;
        read_counts(reports, result);
        phy_note(&run->host, "%s: already finished, by the same donor and options; nothing was written", output->path);
    } else if (!phy_output_replaceable(output)) {
        status = phy_output_check_existing(output);
    } else if (!run->params.force) {
        if (there)
            status = phy_fail(&run->host, PHY_ERR_USAGE, "%s exists and is of another run: %s; --force replaces it",
                              output->path, *difference ? difference : "a weight file is missing");
        else
            status = phy_fail(&run->host, PHY_ERR_USAGE,
                              "%s exists and is no output of ours that could be resumed; "
                              "--force replaces it",
                              output->path);
    }
    phy_free(there);
    if (reports >= 0)
        close(reports);
    return status;
}

/* ---- an unfinished one ---- */

/* What the journal holds, while it is replayed. */
struct replay {
    struct phy_run *run;
    bool has_identity, other_run, broken;
    char difference[DIFFERENCE_BYTES];
};

static int take_identity(struct replay *replay, const void *payload, size_t bytes)
{
    char *there = phy_strndup(payload, bytes);
    if (!there)
        return ENOMEM;
    replay->has_identity = true;
    replay->other_run = phy_identity_differs(there, (const char *)replay->run->identity.data, replay->difference,
                                             sizeof replay->difference);
    phy_free(there);
    return 0;
}

static int take_record(void *user, uint32_t type, const void *payload, size_t bytes)
{
    struct replay *replay = user;
    struct phy_run *run = replay->run;
    struct phy_byte_cursor from = {.at = payload, .end = (const unsigned char *)payload + bytes};
    if (!replay->has_identity)
        return type == PHY_RECORD_IDENTITY ? take_identity(replay, payload, bytes) : EINVAL;
    if (replay->other_run)
        return 0;
    uint32_t bits;
    switch (type) {
    case PHY_RECORD_RESUMED:
        run->results->resumed_count++;
        return 0;
    case PHY_RECORD_GAIN:
        bits = phy_cursor_u32(&from);
        memcpy(&run->gain, &bits, sizeof run->gain);
        return 0;
    case PHY_RECORD_SIDECARS:
        run->sidecars_done = true;
        return 0;
    case PHY_RECORD_PROGRESS:
        replay->broken = replay->broken || !phy_results_read(run->results, payload, bytes);
        return 0;
    default:
        return EINVAL;
    }
}

static uint64_t bytes_done(const struct phy_run *run)
{
    uint64_t done = 0;
    for (size_t i = 0; i < run->results->shard_count && i <= run->results->shard; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(run->donor, i, &shard);
        done += i < run->results->shard ? shard.file_bytes : run->results->at;
    }
    return done;
}

/* Hash what the journal claims of one shard; false if it is not what was claimed. */
static bool check_shard(struct phy_run *run, size_t index, uint64_t end, uint64_t xxh3)
{
    struct phy_shard_info shard;
    phy_checkpoint_shard(run->donor, index, &shard);
    phy_output_hash_start(run->hash, index);
    if (end == 0)
        return true;
    int fd = openat(run->output.partial_fd, phy_output_shard_name(&run->output, &shard),
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    posix_fadvise(fd, 0, (off_t)end, POSIX_FADV_SEQUENTIAL);
    int error = phy_output_hash_feed_file(run->hash, fd, 0, end);
    close(fd);
    return !error && phy_output_hash_digest(run->hash) == xxh3;
}

/* True if everything that is claimed is there; the hash then stands at the place to go on from. */
static bool check_claims(struct phy_run *run)
{
    const struct phy_results *results = run->results;
    for (size_t i = 0; i < results->shard; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(run->donor, i, &shard);
        if (!check_shard(run, i, shard.file_bytes, results->shards[i].xxh3))
            return false;
    }
    return results->shard >= results->shard_count ||
           check_shard(run, results->shard, results->at, results->prefix_xxh3);
}

static enum phy_status refuse_partial(struct phy_run *run, const struct replay *replay)
{
    const char *path = run->output.partial_path;
    if (replay->other_run && run->params.resume)
        return phy_fail(&run->host, PHY_ERR_USAGE, "%s: the unfinished run there is another: %s; --force discards it",
                        path, replay->difference);
    if (replay->other_run)
        return phy_fail(&run->host, PHY_ERR_USAGE,
                        "%s: an unfinished run of another donor or other options (%s); --force discards it", path,
                        replay->difference);
    return phy_fail(&run->host, PHY_ERR_USAGE,
                    "%s: an unfinished run got to %llu of %llu bytes; --resume goes on from there, --force discards it",
                    path, (unsigned long long)bytes_done(run), (unsigned long long)run->total_bytes);
}

static enum phy_status start_afresh(struct phy_run *run)
{
    enum phy_status status = run->output.found_partial ? phy_output_clear(&run->output) : PHY_OK;
    if (status != PHY_OK)
        return status;
    phy_results_clear(run->results);
    run->sidecars_done = false;
    run->gain = run->params.sparsity > 0 || run->rank.ranked ? 0.0f : (float)run->params.gain;
    run->journal = (struct phy_journal){.fd = run->output.journal_fd};
    phy_output_hash_start(run->hash, 0);
    status = phy_run_record(run, PHY_RECORD_IDENTITY, &run->identity);
    run->output.resumable = status == PHY_OK;
    run->discard = status != PHY_OK; /* nothing to go on from, nothing in the next run's way */
    return status;
}

enum phy_status phy_run_take_up(struct phy_run *run)
{
    struct replay replay = {.run = run};
    enum phy_status status = phy_results_open(&run->results, phy_checkpoint_tensor_count(run->donor),
                                              phy_checkpoint_shard_count(run->donor), &run->host);
    if (status == PHY_OK)
        status = phy_output_hash_open(&run->hash, run->donor, run->results, &run->host);
    if (status != PHY_OK || !run->output.found_partial)
        return status == PHY_OK ? start_afresh(run) : status;
    int error = phy_journal_replay(&run->journal, run->output.journal_fd, take_record, &replay);
    if (error)
        return phy_fail(&run->host, error == ENOMEM ? PHY_ERR_MEMORY : PHY_ERR_IO, "%s/%s: %s",
                        run->output.partial_path, PHY_OUTPUT_JOURNAL_PATH, strerror(error));
    if (run->params.force && (!run->params.resume || replay.other_run))
        return start_afresh(run);
    if (!run->params.resume || replay.other_run)
        return refuse_partial(run, &replay);
    status = phy_output_check_entries(&run->output);
    if (status != PHY_OK || !replay.has_identity)
        return status == PHY_OK ? start_afresh(run) : status;
    if (replay.broken || !check_claims(run)) {
        phy_warn(&run->host, "%s: what was written is not what its journal claims; starting again",
                 run->output.partial_path);
        return start_afresh(run);
    }
    run->sidecars_done = run->sidecars_done && phy_sidecars_are_there(run->donor, &run->output);
    run->results->first_changed = run->results->tensor_count;
    run->results->end_changed = 0;
    run->results->resumed_count++;
    run->output.resumable = true;
    phy_note(&run->host, "%s: going on from %llu of %llu bytes", run->output.path, (unsigned long long)bytes_done(run),
             (unsigned long long)run->total_bytes);
    return phy_run_record(run, PHY_RECORD_RESUMED, &(struct phy_bytes){0});
}
