/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: who the run is, then a record for each matrix that is written and fsynced. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/quantize_run.h"
#include "surgery/identity.h"

enum { RECORD_IDENTITY = 1, RECORD_MATRIX = 16, DIFFERENCE_BYTES = 400 };

static enum phy_status journal_status(const struct phy_quantize *run, int error)
{
    if (error == ENOMEM)
        return phy_fail_memory(run->host, "a record of the journal", 256);
    return error ? phy_output_fail(&run->output, PHY_OUTPUT_JOURNAL_PATH, error) : PHY_OK;
}

enum phy_status phy_quantize_record(struct phy_quantize *run, size_t index)
{
    const struct phy_quantize_job *job = &run->jobs[index];
    struct phy_bytes record = {0};
    phy_bytes_add_u32(&record, (uint32_t)index);
    phy_bytes_add_u64(&record, job->xxh3);
    for (size_t s = 0; s < 2; s++) {
        phy_bytes_add_u64(&record, job->sources[s].xxh3);
        phy_bytes_add_double(&record, job->sources[s].error);
        phy_bytes_add_double(&record, job->sources[s].energy);
    }
    int error = phy_journal_append(&run->journal, RECORD_MATRIX, &record);
    phy_bytes_free(&record);
    return journal_status(run, error);
}

struct replay {
    struct phy_quantize *run;
    bool has_identity, other_run;
    char difference[DIFFERENCE_BYTES];
};

static int take_record(void *user, uint32_t type, const void *payload, size_t bytes)
{
    struct replay *replay = user;
    struct phy_quantize *run = replay->run;
    struct phy_byte_cursor from = {.at = payload, .end = (const unsigned char *)payload + bytes};
    if (!replay->has_identity) {
        char *there = type == RECORD_IDENTITY ? phy_strndup(payload, bytes) : NULL;
        if (!there)
            return EINVAL;
        replay->has_identity = true;
        replay->other_run = phy_identity_differs(there, (const char *)run->identity.data, replay->difference,
                                                 sizeof replay->difference);
        phy_free(there);
        return 0;
    }
    if (replay->other_run)
        return 0;
    uint32_t index = phy_cursor_u32(&from);
    struct phy_quantize_job taken = {.done = true, .xxh3 = phy_cursor_u64(&from)};
    for (size_t s = 0; s < 2; s++) {
        taken.sources[s].xxh3 = phy_cursor_u64(&from);
        taken.sources[s].error = phy_cursor_double(&from);
        taken.sources[s].energy = phy_cursor_double(&from);
    }
    if (type != RECORD_MATRIX || from.failed || index >= run->job_count)
        return EINVAL;
    struct phy_quantize_job *job = &run->jobs[index];
    job->done = true;
    job->xxh3 = taken.xxh3;
    memcpy(job->sources, taken.sources, sizeof taken.sources);
    return 0;
}

bool phy_quantize_hash(const struct phy_quantize *run, const struct phy_quantize_job *job, uint64_t *xxh3)
{
    enum { PIECE = 1 << 20 };
    char name[PHY_QUANTIZE_FILE_BYTES];
    phy_quantize_file_name(job->file, name);
    int fd = openat(run->output.partial_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    XXH3_state_t *state = XXH3_createState();
    uint8_t *piece = phy_alloc(PIECE, 1);
    bool good = fd >= 0 && state && piece;
    if (good)
        XXH3_64bits_reset(state);
    for (uint64_t at = 0; good && at < job->bytes;) {
        size_t bytes = (size_t)phy_min_u64(PIECE, job->bytes - at);
        good = phy_pread_all(fd, piece, bytes, job->offset + at) == 0;
        if (good)
            XXH3_64bits_update(state, piece, bytes);
        at += bytes;
    }
    *xxh3 = good ? XXH3_64bits_digest(state) : 0;
    XXH3_freeState(state);
    phy_free(piece);
    if (fd >= 0)
        close(fd);
    return good;
}

/* Whether the file holds the bytes that the journal claims. */
static bool holds_claim(const struct phy_quantize *run, const struct phy_quantize_job *job)
{
    uint64_t xxh3;
    return phy_quantize_hash(run, job, &xxh3) && xxh3 == job->xxh3;
}

static enum phy_status start_afresh(struct phy_quantize *run)
{
    enum phy_status status = run->output.found_partial ? phy_output_clear(&run->output) : PHY_OK;
    if (status != PHY_OK)
        return status;
    for (size_t i = 0; i < run->job_count; i++)
        run->jobs[i].done = false;
    run->journal = (struct phy_journal){.fd = run->output.journal_fd};
    int error = phy_journal_append(&run->journal, RECORD_IDENTITY, &run->identity);
    run->output.resumable = !error;
    if (error) /* nothing to go on from, nothing in the next run's way */
        phy_output_discard(&run->output);
    return journal_status(run, error);
}

static size_t count_done(const struct phy_quantize *run)
{
    size_t done = 0;
    for (size_t i = 0; i < run->job_count; i++)
        done += run->jobs[i].done;
    return done;
}

static enum phy_status refuse_partial(const struct phy_quantize *run, const struct replay *replay)
{
    const char *path = run->output.partial_path;
    if (replay->other_run)
        return phy_fail(run->host, PHY_ERR_USAGE, "%s: the unfinished run there is another: %s; --force discards it",
                        path, replay->difference);
    return phy_fail(run->host, PHY_ERR_USAGE,
                    "%s: an unfinished run got to %zu of %zu matrices; --resume goes on from there, --force discards "
                    "it",
                    path, count_done(run), run->job_count);
}

enum phy_status phy_quantize_take_up(struct phy_quantize *run)
{
    const struct phy_quantize_params *params = run->params;
    struct replay replay = {.run = run};
    if (!run->output.found_partial)
        return start_afresh(run);
    int error = phy_journal_replay(&run->journal, run->output.journal_fd, take_record, &replay);
    if (error)
        return phy_fail(run->host, error == ENOMEM ? PHY_ERR_MEMORY : PHY_ERR_IO, "%s/%s: %s", run->output.partial_path,
                        PHY_OUTPUT_JOURNAL_PATH, strerror(error));
    if (params->force && (!params->resume || replay.other_run))
        return start_afresh(run);
    if (replay.other_run || (!params->resume && replay.has_identity))
        return refuse_partial(run, &replay);
    enum phy_status status = phy_output_check_entries(&run->output);
    if (status != PHY_OK || !replay.has_identity)
        return status == PHY_OK ? start_afresh(run) : status;
    run->output.resumable = true;
    for (size_t i = 0; i < run->job_count; i++) {
        struct phy_quantize_job *job = &run->jobs[i];
        if (!job->done)
            continue;
        job->done = holds_claim(run, job);
        if (!job->done)
            phy_warn(run->host, "%s: layer %u %s is not what its journal claims; it is made again",
                     run->output.partial_path, job->layer, phy_matrix_kind_name(job->kind));
        else
            run->done_weights += job->rows * job->cols;
    }
    phy_note(run->host, "%s: going on from %zu of %zu matrices", run->output.path, count_done(run), run->job_count);
    return PHY_OK;
}
