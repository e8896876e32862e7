/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a file, which is what surgery is measured against: through the page cache, and to the disk. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "bench/worker.h"
#include "report/text.h"

enum { PIECE_BYTES = 1 << 20 };

struct file_case {
    int from, to;
    uint64_t bytes;
    uint8_t *piece;
    bool sync;
};

static enum phy_status copy_file(void *user, uint64_t turn)
{
    struct file_case *f = user;
    (void)turn;
    int error = ftruncate(f->to, 0) ? errno : 0;
    for (uint64_t at = 0; at < f->bytes && !error; at += PIECE_BYTES) {
        error = phy_pread_all(f->from, f->piece, PIECE_BYTES, at);
        if (!error)
            error = phy_pwrite_all(f->to, f->piece, PIECE_BYTES, at);
    }
    if (!error && f->sync)
        error = phy_fsync(f->to);
    return error ? PHY_ERR_IO : PHY_OK;
}

/* A file without a name beside nothing of anyone's: it goes when its descriptor does. */
static int open_scratch(const struct phy_bench_worker *w)
{
    struct phy_text path = {0};
    phy_text_put(&path, w->job.scratch ? w->job.scratch : ".");
    phy_text_put(&path, "/bench-copy-XXXXXX");
    int fd = path.failed ? -1 : mkostemp(path.data, O_CLOEXEC);
    if (fd >= 0)
        unlink(path.data);
    phy_text_free(&path);
    return fd;
}

struct file_group {
    const struct phy_bench_worker *w;
    struct file_case *files;
};

static void row_of(void *user, size_t index, struct phy_bench_row *out)
{
    const struct file_group *g = user;
    *out = (struct phy_bench_row){.op = "copy",
                                  .kernel = index ? "file:synced" : "file",
                                  .bytes = 2.0 * (double)g->files[index].bytes,
                                  .bandwidth = g->w->roofline.copy,
                                  .clock = "host",
                                  .threads = 1};
    snprintf(out->shape, sizeof out->shape, "%lluMiB", (unsigned long long)(g->files[index].bytes >> 20));
}

static enum phy_status measure_files(struct phy_bench_worker *w, struct file_case *files)
{
    struct phy_bench_case *cases = phy_zalloc(2, sizeof *cases);
    if (!cases)
        return phy_fail_memory(w->host, "cases", sizeof *cases);
    for (int i = 0; i < 2; i++)
        cases[i] = (struct phy_bench_case){.user = &files[i], .run = copy_file};
    struct file_group group = {w, files};
    phy_bench_say(w, "copying files");
    const double share = phy_bench_share(w, 1);
    enum phy_status status = phy_bench_measure_group(w, &(struct phy_bench_group){.cases = cases,
                                                                                  .count = 2,
                                                                                  .row = row_of,
                                                                                  .user = &group,
                                                                                  .budget_s = share < 20 ? share : 20,
                                                                                  .rounds = 9});
    phy_free(cases);
    return status;
}

enum phy_status phy_bench_run_files(struct phy_bench_worker *w)
{
    uint64_t bytes = w->job.quick ? UINT64_C(32) << 20 : UINT64_C(256) << 20;
    int from = open_scratch(w), to = open_scratch(w);
    uint8_t *piece = phy_alloc_aligned(PIECE_BYTES);
    enum phy_status status = PHY_OK;
    if (!piece) {
        status = phy_fail_memory(w->host, "a buffer", PIECE_BYTES);
    } else if (from < 0 || to < 0) {
        phy_bench_skip(w, "copy", NULL, NULL, "no file can be made in the output's directory");
    } else {
        memset(piece, 0x5A, PIECE_BYTES);
        int error = 0;
        for (uint64_t at = 0; at < bytes && !error; at += PIECE_BYTES)
            error = phy_pwrite_all(from, piece, PIECE_BYTES, at);
        struct file_case files[2] = {{from, to, bytes, piece, false}, {from, to, bytes, piece, true}};
        if (error)
            phy_bench_skip(w, "copy", NULL, NULL, "no room for the file");
        else
            status = measure_files(w, files);
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    phy_free(piece);
    return status;
}
