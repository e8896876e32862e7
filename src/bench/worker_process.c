/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/worker_process.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "physarium/bench.h"

extern char **environ;

/* ---- the parent's side ---- */

struct reader {
    phy_bench_emit *emit;
    void *user;
    char at[200];                   /* what the child said last that it does */
    enum phy_status status;         /* what it said at the end */
    char error[PHY_LOG_LINE_BYTES]; /* the sentence that goes with it */
    bool finished;
    cJSON *drafts; /* of the group in flight: messages by the number that stands for a case */
};

/* A draft replaces the one before it; what settles it takes it away. Returns whether the message was a draft. */
static bool take_draft(struct reader *r, cJSON *message)
{
    const cJSON *draft = cJSON_GetObjectItemCaseSensitive(message, "draft");
    const cJSON *settles = cJSON_GetObjectItemCaseSensitive(message, "settles");
    const double number = cJSON_GetNumberValue(draft ? draft : settles);
    char key[24];
    if (!(number >= 0 && number < 1e6))
        return false;
    snprintf(key, sizeof key, "%.0f", number);
    cJSON_DeleteItemFromObjectCaseSensitive(r->drafts, key);
    cJSON *kept = draft && r->drafts ? cJSON_Duplicate(message, true) : NULL;
    if (kept && !cJSON_AddItemToObject(r->drafts, key, kept))
        cJSON_Delete(kept);
    return draft != NULL;
}

/* After the child's end. */
static void take_unsettled(struct reader *r)
{
    cJSON *draft;
    while ((draft = cJSON_DetachItemFromArray(r->drafts, 0))) {
        cJSON *measurement = cJSON_GetObjectItemCaseSensitive(draft, "measurement");
        if (measurement)
            cJSON_AddTrueToObject(measurement, "unfinished");
        r->emit(r->user, draft);
        cJSON_Delete(draft);
    }
    cJSON_Delete(r->drafts);
    r->drafts = NULL;
}

static void take_message(void *user, cJSON *message)
{
    struct reader *r = user;
    const char *at = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "at"));
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(message, "status");
    if (at)
        snprintf(r->at, sizeof r->at, "%s", at);
    if (cJSON_IsNumber(status)) {
        r->status = (enum phy_status)status->valueint;
        r->finished = true;
        const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "error"));
        snprintf(r->error, sizeof r->error, "%s", error ? error : "");
    }
    if (!at && !status && !take_draft(r, message))
        r->emit(r->user, message);
}

/* Whole lines of the buffer; returns the bytes of the unfinished one, moved to its beginning. */
static size_t take_lines(struct reader *r, char *buffer, size_t bytes)
{
    char *line = buffer, *end;
    while ((end = memchr(line, '\n', bytes - (size_t)(line - buffer)))) {
        *end = 0;
        cJSON *message = cJSON_Parse(line);
        if (cJSON_IsObject(message))
            take_message(r, message);
        cJSON_Delete(message);
        line = end + 1;
    }
    size_t left = bytes - (size_t)(line - buffer);
    memmove(buffer, line, left);
    return left;
}

/* Reads until the child closes its end, is silent for too long, or the host asks to stop. */
static enum phy_status read_messages(struct reader *r, int fd, double timeout_s, const struct phy_host *host,
                                     bool *silent)
{
    char *buffer = phy_alloc(PHY_BENCH_MESSAGE_BYTES, 1);
    if (!buffer)
        return phy_fail_memory(host, "a buffer", PHY_BENCH_MESSAGE_BYTES);
    size_t held = 0;
    double heard = phy_seconds_now();
    enum phy_status status = PHY_OK;
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = poll(&wait, 1, 100);
        if (phy_cancelled(host)) {
            status = PHY_ERR_INTERRUPTED;
            break;
        }
        if (ready <= 0) {
            if (phy_seconds_now() - heard < timeout_s)
                continue;
            *silent = true;
            break;
        }
        ssize_t got = read(fd, buffer + held, PHY_BENCH_MESSAGE_BYTES - held);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        heard = phy_seconds_now();
        held = take_lines(r, buffer, held + (size_t)got);
        if (held == PHY_BENCH_MESSAGE_BYTES) /* no line of ours is so long */
            break;
    }
    phy_free(buffer);
    return status;
}

static int start(pid_t *pid, const char *const *worker, int job_fd, int out_fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, job_fd, 0);
    posix_spawn_file_actions_adddup2(&actions, out_fd, 3);
    posix_spawn_file_actions_adddup2(&actions, 2, 1); /* drivers that talk don't talk into a table */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    int error = posix_spawnp(pid, worker[0], &actions, &attributes, (char *const *)worker, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static int wait_for(pid_t pid)
{
    int code = 0;
    while (waitpid(pid, &code, 0) < 0 && errno == EINTR)
        ;
    return code;
}

static enum phy_status judge(const struct reader *r, int code, bool silent, bool interrupted, double timeout_s,
                             char *failure)
{
    const char *at = r->at[0] ? r->at : "starting";
    if (interrupted)
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "interrupted while at: %s", at);
    else if (silent)
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "given up: nothing was heard for %.0f s while at: %s", timeout_s,
                 at);
    else if (WIFSIGNALED(code))
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "crashed with signal %d (%s) while at: %s", WTERMSIG(code),
                 strsignal(WTERMSIG(code)), at);
    else if (!r->finished)
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "ended with exit code %d while at: %s", WEXITSTATUS(code), at);
    else if (r->status)
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "failed (%s) while at: %s", phy_status_name(r->status), at);
    return interrupted ? PHY_ERR_INTERRUPTED : silent || !r->finished ? PHY_ERR_DEVICE : r->status;
}

static enum phy_status run_child(const char *const *worker, const char *line, double timeout_s, struct reader *r,
                                 const struct phy_host *host, char *failure)
{
    int job[2], out[2];
    if (pipe2(job, O_CLOEXEC))
        return phy_fail(host, PHY_ERR_IO, "a pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC)) {
        close(job[0]);
        close(job[1]);
        return phy_fail(host, PHY_ERR_IO, "a pipe: %s", strerror(errno));
    }
    pid_t pid;
    int error = start(&pid, worker, job[0], out[1]);
    close(job[0]);
    close(out[1]);
    enum phy_status status = PHY_OK;
    bool silent = false;
    if (!error) {
        /* A job is shorter than a pipe's buffer; a child that died already is found out below. */
        struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
        sigaction(SIGPIPE, &ignore, &before);
        phy_write_all(job[1], line, strlen(line));
        phy_write_all(job[1], "\n", 1);
        sigaction(SIGPIPE, &before, NULL);
    }
    close(job[1]);
    if (error) {
        snprintf(failure, PHY_BENCH_FAILURE_BYTES, "its process could not be started: %s", strerror(error));
        close(out[0]);
        return PHY_ERR_DEVICE;
    }
    status = read_messages(r, out[0], timeout_s, host, &silent);
    close(out[0]);
    if (status || silent || !r->finished)
        kill(-pid, SIGKILL); /* its whole group; a child that ended by itself is not reaped yet and only a name */
    int code = wait_for(pid);
    if (status && status != PHY_ERR_INTERRUPTED)
        return status;
    return judge(r, code, silent, status == PHY_ERR_INTERRUPTED, timeout_s, failure);
}

bool phy_bench_is_about_input(const struct phy_bench_job *job, enum phy_status status)
{
    if (!job->donor)
        return false;
    return status == PHY_ERR_IO || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED || status == PHY_ERR_LIMIT;
}

/* One line, which names the device unless it is not the device's fault. The report's own words hold no paths. */
static void tell(const struct reader *r, const struct phy_bench_job *job, enum phy_status status, const char *failure,
                 const struct phy_host *host)
{
    if (r->error[0] && (phy_bench_is_about_input(job, status) || strncmp(r->error, "device ", 7) == 0))
        phy_fail(host, status, "%s", r->error);
    else if (failure[0])
        phy_fail(host, status, "device %s: %s", job->device, r->error[0] ? r->error : failure);
}

enum phy_status phy_bench_run_job(const char *const *worker, const struct phy_bench_job *job, double timeout_s,
                                  phy_bench_emit *emit, void *user, const struct phy_host *host,
                                  char failure[PHY_BENCH_FAILURE_BYTES])
{
    struct reader r = {.emit = emit, .user = user, .drafts = cJSON_CreateObject()};
    enum phy_status status;
    failure[0] = 0;
    if (!worker) {
        status = phy_bench_work(job, take_message, &r, host);
        if (judge(&r, 0, false, status == PHY_ERR_INTERRUPTED, timeout_s, failure) == PHY_OK)
            status = PHY_OK;
    } else {
        char *line = phy_bench_job_write(job);
        status =
            line ? run_child(worker, line, timeout_s, &r, host, failure) : phy_fail_memory(host, "a job", sizeof *job);
        cJSON_free(line);
    }
    take_unsettled(&r);
    if (status != PHY_OK && status != PHY_ERR_INTERRUPTED)
        tell(&r, job, status, failure, host);
    return status;
}

/* ---- the child's side ---- */

static void write_message(void *user, cJSON *message)
{
    char *line = cJSON_PrintUnformatted(message);
    if (line) {
        phy_write_all(*(int *)user, line, strlen(line));
        phy_write_all(*(int *)user, "\n", 1);
    }
    cJSON_free(line);
}

enum phy_status phy_bench_worker(int in, int out, const struct phy_host *host)
{
    char *line = phy_alloc(PHY_BENCH_MESSAGE_BYTES, 1);
    size_t held = 0;
    if (!line)
        return phy_fail_memory(host, "a buffer", PHY_BENCH_MESSAGE_BYTES);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a parent that was killed leaves nobody behind */
    for (ssize_t got; held < PHY_BENCH_MESSAGE_BYTES - 1 &&
                      (got = read(in, line + held, PHY_BENCH_MESSAGE_BYTES - 1 - held)) != 0;) {
        if (got < 0 && errno != EINTR)
            break;
        held += got > 0 ? (size_t)got : 0;
    }
    line[held] = 0;
    struct phy_bench_job job;
    enum phy_status status = phy_bench_job_read(&job, line, host);
    phy_free(line);
    if (status)
        return status;
    status = phy_bench_work(&job, write_message, &out, host);
    phy_bench_job_free(&job);
    return status;
}
