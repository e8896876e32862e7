/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_BENCH_H
#define PHYSARIUM_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is "the default" in every member. Lists are texts with commas. */
struct phy_bench_params {
    const char *op;       /* "flow" "ffn" "matmul" "copy" "surgery" "generate" "scaling"; NULL: a quick look */
    const char *device;   /* "all", or names as --device takes them, with forms in products; NULL: "all" */
    const char *formats;  /* "bf16,q4_k" or "all" */
    const char *shapes;   /* "3584x18944": hidden x intermediate of an ffn, rows x columns else */
    const char *rows;     /* "1,8,512": rows of x */
    const char *top_k;    /* "25%,512": of an ffn its sparse path, too, with so many features */
    const char *sparsity; /* "0.5": share of zeros of the formats "bitmap"; NULL: that */
    const char *input;    /* surgery: checkpoint directory; generate: model directory */
    const char *scratch;  /* directory for files that are measured; NULL: the current one */
    const char *peer;     /* table of another program's times, to be joined (docs/bench.md) */
    uint32_t threads;     /* 0: all processors */
    bool cold, warm;      /* neither: both */
    bool quick;
    double budget_s;  /* 0: 110, or 12 with quick */
    double timeout_s; /* a device from which nothing is heard for so long is given up; 0: 60 */
    /* The program that measures one device, as for execvp; it calls phy_bench_worker(0, 3). NULL: this process does it,
     * and a driver that hangs or crashes takes it along. */
    const char *const *worker;
    const struct phy_host *host;
};

/* What was measured: docs/bench.md describes it as JSON. */
struct phy_bench_report;

enum phy_bench_form {
    PHY_BENCH_TABLE,
    PHY_BENCH_JSON,
    PHY_BENCH_CSV,
    PHY_BENCH_MARKDOWN,
    PHY_BENCH_HTML,
    PHY_BENCH_JUNIT
};

/* Measure. *out is the caller's (phy_bench_report_close), also when a device failed, which the report tells:
 *   PHY_ERR_DEVICE       a device could not be used, hung or crashed; the others' results are in the report
 *   PHY_ERR_INTERRUPTED  the host asked to stop; what was measured is in the report
 * and NULL on other failures:
 *   PHY_ERR_USAGE, PHY_ERR_MEMORY
 *   PHY_ERR_FORMAT, PHY_ERR_IO, PHY_ERR_UNSUPPORTED, PHY_ERR_LIMIT   of the input or the peer's table */
PHY_API enum phy_status phy_bench_run(const struct phy_bench_params *params, struct phy_bench_report **out);
PHY_API void phy_bench_report_close(struct phy_bench_report **report);
/* Results, and devices that failed. */
PHY_API size_t phy_bench_report_count(const struct phy_bench_report *report, size_t *failed);
/* The report as a text, free with phy_bench_text_free; NULL when memory runs out. */
PHY_API char *phy_bench_report_text(const struct phy_bench_report *report, enum phy_bench_form form);
PHY_API void phy_bench_text_free(char *text);
PHY_API enum phy_status phy_bench_report_write(const struct phy_bench_report *report, enum phy_bench_form form,
                                               const char *path, const struct phy_host *host);

/* Serve phy_bench_run of another process: one job from `in`, messages to `out`. */
PHY_API enum phy_status phy_bench_worker(int in, int out, const struct phy_host *host);

struct phy_bench_compare_params {
    const char *before, *after; /* bench.json files */
    double threshold; /* slower by more is a regression: a ratio of times above 1, or a share below 1; 0: 0.1 */
    const struct phy_host *host;
};

struct phy_bench_compared {
    size_t joined, regressed, improved, only_before, only_after;
    char *text; /* a table; free with phy_bench_text_free */
    char *json; /* the same as JSON */
};

/* Join two reports by op, format, device, kernel, shape, rows of x and temperature. A row has regressed when the ratio
 * of its medians exceeds the threshold and its 95% interval lies above 1.
 *   PHY_ERR_MISMATCH     at least one has
 *   PHY_ERR_UNSUPPORTED  another schema version
 *   PHY_ERR_FORMAT, PHY_ERR_IO, PHY_ERR_USAGE (nothing to join), PHY_ERR_MEMORY
 * out->text is set with PHY_OK and PHY_ERR_MISMATCH. */
PHY_API enum phy_status phy_bench_compare(const struct phy_bench_compare_params *params,
                                          struct phy_bench_compared *out);

#ifdef __cplusplus
}
#endif
#endif
