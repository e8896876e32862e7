/* SPDX-License-Identifier: Apache-2.0 */
/* Surgery of a checkpoint, and `cp -r` of the same beside it, in turns. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench/machine.h"
#include "bench/synthetic.h"
#include "bench/worker.h"
#include "physarium/surgery.h"
#include "report/text.h"
#include "surgery/remove_tree.h"

extern char **environ;

struct surgery_run {
    struct phy_bench_worker *w;
    const char *donor;
    struct phy_text pruned, copy; /* paths of the outputs */
    struct phy_host host;
    struct phy_surgery_result result;
    double last_said;
    uint64_t peak_rss_bytes;
};

/* Notes are of no interest here; errors are. */
static void on_log(void *user, enum phy_log_level level, const char *line)
{
    const struct surgery_run *r = user;
    if (level != PHY_LOG_NOTE && r->w->host && r->w->host->log)
        r->w->host->log(r->w->host->user, level, line);
}

/* The parent gives up a child from which it hears nothing. */
static void on_progress(void *user, const struct phy_progress *progress)
{
    struct surgery_run *r = user;
    double now = phy_seconds_now();
    if (now - r->last_said < 1)
        return;
    r->last_said = now;
    phy_bench_say(r->w, "%s: %.0f%%", progress->stage,
                  progress->total ? 100.0 * (double)progress->done / (double)progress->total : 0);
}

static void remove_output(const struct phy_text *path)
{
    if (path->data && access(path->data, F_OK) == 0)
        phy_remove_tree(AT_FDCWD, path->data);
}

static void prepare_surgery(void *user)
{
    struct surgery_run *r = user;
    remove_output(&r->pruned);
    malloc_trim(0);
    phy_machine_reset_peak_rss();
}

static void prepare_copy(void *user)
{
    remove_output(&((struct surgery_run *)user)->copy);
}

static enum phy_status run_surgery(void *user, uint64_t turn)
{
    struct surgery_run *r = user;
    (void)turn;
    phy_bench_say(r->w, "surgery");
    enum phy_status status = phy_surgery_run(&(struct phy_surgery_params){.donor = r->donor,
                                                                          .output = r->pruned.data,
                                                                          .device = r->w->device,
                                                                          .threads = r->w->job.threads,
                                                                          .host = &r->host},
                                             &r->result);
    uint64_t peak = phy_machine_peak_rss_bytes();
    r->peak_rss_bytes = peak > r->peak_rss_bytes ? peak : r->peak_rss_bytes;
    return status;
}

static enum phy_status run_copy(void *user, uint64_t turn)
{
    struct surgery_run *r = user;
    char *const arguments[] = {"cp", "-r", "--", (char *)r->donor, r->copy.data, NULL};
    pid_t pid;
    int code = 0;
    (void)turn;
    phy_bench_say(r->w, "cp");
    if (posix_spawnp(&pid, "cp", NULL, NULL, arguments, environ))
        return PHY_ERR_UNSUPPORTED;
    while (waitpid(pid, &code, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(code) && WEXITSTATUS(code) == 0 ? PHY_OK : PHY_ERR_IO;
}

static double file_bytes_in(const char *path)
{
    double bytes = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat st;
        if (fstatat(dirfd(directory), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (double)st.st_size;
    }
    if (directory)
        closedir(directory);
    return bytes;
}

struct surgery_group {
    const struct surgery_run *run;
    const struct phy_bench_case *cases;
    const char *op, *shape;
    double bytes;
};

static void row_of(void *user, size_t index, struct phy_bench_row *out)
{
    const struct surgery_group *g = user;
    const struct phy_bench_worker *w = g->run->w;
    *out = (struct phy_bench_row){
        .op = g->op,
        .kernel = index ? "cp -r" : "surgery",
        .bytes = 2 * g->bytes, /* read and written */
        .bandwidth = w->roofline.copy,
        .clock = "host",
        .threads = index ? 1 : w->job.threads,
        .peak_rss_bytes = index ? 0 : g->run->peak_rss_bytes,
        .beside = "cp -r",
        .beside_samples = g->cases[1].samples,
        .beside_count = index ? 0 : g->cases[1].count,
    };
    snprintf(out->shape, sizeof out->shape, "%s", g->shape);
}

static enum phy_status measure(struct phy_bench_worker *w, struct surgery_run *r, const char *op, const char *shape,
                               bool alone, double budget_s)
{
    struct phy_bench_case *cases = phy_zalloc(2, sizeof *cases);
    if (!cases)
        return phy_fail_memory(w->host, "cases", sizeof *cases);
    cases[0] = (struct phy_bench_case){.user = r, .run = run_surgery, .prepare = prepare_surgery};
    cases[1] = (struct phy_bench_case){.user = r, .run = run_copy, .prepare = prepare_copy};
    struct surgery_group group = {r, cases, op, shape, file_bytes_in(r->donor)};
    enum phy_status status = phy_bench_measure_group(
        w,
        &(struct phy_bench_group){
            .cases = cases, .count = alone ? 1 : 2, .row = row_of, .user = &group, .budget_s = budget_s, .rounds = 9});
    phy_free(cases);
    return status;
}

enum phy_status phy_bench_surgery_one(struct phy_bench_worker *w, const char *op, const char *donor, const char *shape,
                                      bool alone, double budget_s)
{
    struct surgery_run r = {.w = w, .donor = donor};
    r.host = (struct phy_host){.user = &r, .log = on_log, .progress = on_progress};
    const char *scratch = w->job.scratch ? w->job.scratch : ".";
    phy_text_printf(&r.pruned, "%s/bench-pruned-%ld", scratch, (long)getpid());
    phy_text_printf(&r.copy, "%s/bench-cp-%ld", scratch, (long)getpid());
    enum phy_status status = r.pruned.failed || r.copy.failed ? phy_fail_memory(w->host, "a path", r.copy.bytes)
                                                              : measure(w, &r, op, shape, alone, budget_s);
    remove_output(&r.pruned);
    remove_output(&r.copy);
    phy_text_free(&r.pruned);
    phy_text_free(&r.copy);
    return status;
}

enum phy_status phy_bench_run_surgery(struct phy_bench_worker *w)
{
    /* Two layers of Qwen2.5-7B, or one of a model a quarter as wide. */
    const struct phy_bench_synthetic shape = w->job.quick ? (struct phy_bench_synthetic){896, 4864, 128, 1}
                                                          : (struct phy_bench_synthetic){3584, 18944, 512, 2};
    if (w->job.donor)
        return phy_bench_surgery_one(w, "surgery", w->job.donor, "given", false, phy_bench_share(w, 1));
    struct phy_text donor = {0};
    phy_text_printf(&donor, "%s/bench-donor-%ld", w->job.scratch ? w->job.scratch : ".", (long)getpid());
    enum phy_status status = donor.failed ? phy_fail_memory(w->host, "a path", donor.bytes)
                                          : phy_bench_write_synthetic(donor.data, &shape, w->host);
    char text[40];
    snprintf(text, sizeof text, "%ux%ux%u", shape.layers, shape.hidden, shape.intermediate);
    if (status == PHY_OK)
        status = phy_bench_surgery_one(w, "surgery", donor.data, text, false, phy_bench_share(w, 1));
    remove_output(&donor);
    phy_text_free(&donor);
    return status;
}
