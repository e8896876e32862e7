/* SPDX-License-Identifier: Apache-2.0 */
/* What one device is asked to measure: made by the parent, sent to its child as a line of JSON. */
#ifndef PHY_BENCH_JOB_H
#define PHY_BENCH_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "physarium/host.h"

struct phy_bench_job {
    char *op;      /* "flow", "ffn" ...; "look": a bit of each; "list": the names of the Vulkan devices */
    char *device;  /* one: "cpu:avx512", "vulkan:0/lanes" */
    char *formats; /* with commas; NULL: the op's own */
    char *shapes, *rows;
    char *top_k;   /* of an ffn: features of walks */
    char *donor;   /* checkpoint or model directory; or NULL */
    char *scratch; /* directory for files that a measurement writes */
    uint32_t threads;
    bool cold, warm; /* either or both */
    bool quick;
    double sparsity; /* of bitmaps: the share of zeros, 0 to 1 */
    double budget_s;
    double timeout_s; /* silence after which this device is given up; 0: none */
};

/* One line, without a newline, the caller's: free with cJSON_free; NULL when memory runs out. */
char *phy_bench_job_write(const struct phy_bench_job *job);
/* PHY_ERR_FORMAT, logged, when it is none. On success *out is freed with phy_bench_job_free. */
enum phy_status phy_bench_job_read(struct phy_bench_job *out, const char *text, const struct phy_host *host);
void phy_bench_job_free(struct phy_bench_job *job);

/* ---- lists in options ---- */

struct phy_bench_shape {
    uint32_t rows, cols; /* of an ffn: hidden, intermediate */
};
enum { PHY_BENCH_MAX_LIST = 32, PHY_BENCH_MAX_SIDE = 1 << 20, PHY_BENCH_MAX_X_ROWS = 65536 };

/* "3584x18944,640x2048" and "1,8,512"; PHY_ERR_USAGE, logged, for anything else. */
enum phy_status phy_bench_parse_shapes(const char *text, struct phy_bench_shape *shapes, size_t *count,
                                       const struct phy_host *host);
enum phy_status phy_bench_parse_numbers(const char *text, uint32_t *numbers, size_t *count,
                                        const struct phy_host *host);
/* Features of a walk: so many, or that share of all. */
struct phy_bench_top_k {
    uint32_t value;
    bool percent;
};
enum { PHY_BENCH_MAX_TOP_K = 8 };
/* A share of zeros, 0 to 1. NULL: 0.5. */
enum phy_status phy_bench_parse_sparsity(const char *text, double *out, const struct phy_host *host);
/* "25%,512,100%". */
enum phy_status phy_bench_parse_top_k(const char *text, struct phy_bench_top_k *out, size_t *count,
                                      const struct phy_host *host);
/* The index-th name of a list with commas, lower case, to out; false when there are not so many. */
bool phy_bench_list_name(const char *list, size_t index, char out[32]);

#endif
