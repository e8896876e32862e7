/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring on one device: what the op's files share. What was found is emitted as it comes, so that a driver which
 * hangs later takes nothing away. */
#ifndef PHY_BENCH_WORKER_H
#define PHY_BENCH_WORKER_H

#include "backend/backend.h"
#include "backend/matmul_backend.h"
#include "base/pool.h"
#include "bench/harness.h"
#include "bench/job.h"

struct cJSON;

/* Receives one message, an object with one of these members:
 *   "at": text            what is about to be done
 *   "device": {...}       who measures, with its rooflines
 *   "result": {...}, "measurement": {...}
 *   "skipped": {...}
 *   "draft": number       with a result or a skip: what is known so far of that case of the group in flight, to be kept
 * if this process comes to an end before it says "settles": number     with the last one of that case "found": [names]
 * answer to the op "list" "status": number      the last one */
typedef void phy_bench_emit(void *user, struct cJSON *message);

enum { PHY_BENCH_CACHE_POINTS = 12 };

/* 0: not known. Bandwidths in 10^9 bytes a second, arithmetic in 10^9 operations (a multiply-add is two). */
struct phy_bench_roofline {
    double read, write, copy; /* of sets that no cache holds */
    double f32, f16, int8, bf16;
    double matrix; /* cooperative matrices of binary16 */
    struct phy_bench_point {
        uint64_t bytes;
        double read; /* of a set of so many bytes */
    } points[PHY_BENCH_CACHE_POINTS];
    size_t point_count;
};

struct phy_bench_worker {
    struct phy_bench_job job;
    const struct phy_host *host;
    phy_bench_emit *emit;
    void *emit_user;
    struct phy_pool *pool;
    char device[32]; /* "cpu:avx512", "vulkan:0/lanes" */
    bool is_cpu;
    uint32_t vulkan_index;
    uint64_t cache_bytes; /* sets of twice as many are cold */
    struct phy_bench_roofline roofline;
    double deadline; /* phy_seconds_now at which the budget is spent */
    double said_at;
    char said[200];
    bool measured; /* this op has a result: a first one is measured whatever the budget */
};

enum phy_status phy_bench_work(const struct phy_bench_job *job, phy_bench_emit *emit, void *user,
                               const struct phy_host *host);

/* ---- what the ops use ---- */

/* One row of the report, before it is measured. */
struct phy_bench_row {
    const char *op, *format, *kernel; /* format, kernel: NULL where there is none */
    char shape[40];
    uint64_t x_rows; /* 0: none */
    bool cold;
    double bytes, operations; /* of a run; 0: none */
    double bandwidth, peak;   /* the roofs that count, as in the roofline; 0: none */
    const char *clock;        /* "host" or "device" */
    uint32_t threads;
    uint64_t peak_rss_bytes; /* 0: not measured */
    const char *beside;      /* of a case that something else was run beside: its name, and its samples */
    const double *beside_samples;
    size_t beside_count;
};

/* Says what comes next; the parent's timeout begins anew. */
void phy_bench_beat(void *worker); /* says again what was said last, once a second; a plan's beat */
void phy_bench_say(struct phy_bench_worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Emits the row and what was measured; a case that failed or was left out is emitted as skipped. */
void phy_bench_report_case(struct phy_bench_worker *w, const struct phy_bench_row *row, const struct phy_bench_case *c);
/* Cases that take turns, each a row of the report. */
struct phy_bench_group {
    struct phy_bench_case *cases;
    size_t count;
    void (*row)(void *user, size_t index, struct phy_bench_row *out); /* as far as it is known at that time */
    void *user;
    double budget_s, sample_s; /* as of a plan */
    size_t rounds;
    bool may_leave_out; /* and where this op has no result yet, one at least */
};
/* Measures and emits them: drafts while it goes on, all of them at the end. */
enum phy_status phy_bench_measure_group(struct phy_bench_worker *w, const struct phy_bench_group *group);
void phy_bench_skip_row(struct phy_bench_worker *w, const struct phy_bench_row *row, const char *reason);
/* The same of what has no kernel, rows or temperature. */
void phy_bench_skip(struct phy_bench_worker *w, const char *op, const char *format, const char *shape,
                    const char *reason);
/* Seconds of the budget for one of `groups` that are left. */
double phy_bench_share(const struct phy_bench_worker *w, size_t groups);
/* The least seconds of a run that the measured roofs allow; 0: there is none. *bound: which of them; NULL: none. */
double phy_bench_least_seconds(const struct phy_bench_row *row, const char **bound);
/* The budget is spent, and there is a result already. */
bool phy_bench_spent(const struct phy_bench_worker *w);
/* The measured bandwidth of reading again and again a set of so many bytes. */
double phy_bench_bandwidth_of(const struct phy_bench_roofline *roofline, double set_bytes, bool cold);

/* Measures and emits the device with its rooflines, and op "copy"'s rows when `rows`. */
enum phy_status phy_bench_cpu_roofline(struct phy_bench_worker *w, bool rows);
enum phy_status phy_bench_vulkan_roofline(struct phy_bench_worker *w, bool rows);

enum phy_status phy_bench_run_flow(struct phy_bench_worker *w);
enum phy_status phy_bench_run_products(struct phy_bench_worker *w, bool ffn);
enum phy_status phy_bench_run_files(struct phy_bench_worker *w);
enum phy_status phy_bench_run_surgery(struct phy_bench_worker *w);
enum phy_status phy_bench_run_generate(struct phy_bench_worker *w);
enum phy_status phy_bench_run_scaling(struct phy_bench_worker *w);

/* The building blocks of scaling curves. */
struct phy_bench_flow_case {
    const char *op;
    enum phy_float_type type;
    uint32_t rows, cols, threads;
};
enum phy_status phy_bench_flow_one(struct phy_bench_worker *w, const struct phy_bench_flow_case *flow, double budget_s);
struct phy_bench_products {
    const char *op; /* in the report */
    bool ffn;
    const char *formats;
    const struct phy_bench_shape *shapes;
    size_t shape_count;
    const uint32_t *x_rows;
    size_t x_row_count;
    const struct phy_bench_top_k *top_k; /* of an ffn: walks, too */
    size_t top_k_count;
    bool cold, warm;
    double budget_s;
};
enum phy_status phy_bench_products_run(struct phy_bench_worker *w, const struct phy_bench_products *products);
/* Surgery of a donor into the scratch directory, `cp` beside it unless `alone`. */
enum phy_status phy_bench_surgery_one(struct phy_bench_worker *w, const char *op, const char *donor, const char *shape,
                                      bool alone, double budget_s);

#endif
