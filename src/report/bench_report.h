/* SPDX-License-Identifier: Apache-2.0 */
/* A benchmark's document (docs/bench.md) in the forms that people and other programs read. */
#ifndef PHY_REPORT_BENCH_REPORT_H
#define PHY_REPORT_BENCH_REPORT_H

#include "report/text.h"

struct cJSON;

enum { PHY_BENCH_SCHEMA = 1 };

/* A member of an object of the document: "" or NAN where it is none of that kind. */
const char *phy_bench_text(const struct cJSON *object, const char *key);
double phy_bench_number(const struct cJSON *object, const char *key);

/* One result with what it is joined by; texts belong to the document, "" where it has none. */
struct phy_bench_view {
    const char *op, *format, *device, *kernel, *shape;
    double x_rows; /* 0: none */
    bool cold;
    double median_us, q1_us, q3_us, best_us, gb_per_s, share, intensity, ratio_to_peer, g_operations_per_s; /* NAN */
    double threads, rounds, peak_rss_bytes;
    double host_median_us; /* where the clock is the device's */
    const char *bound, *clock;
    const struct cJSON *samples; /* array of microseconds, or NULL */
};
/* The index-th result of the document; false when there are not so many, or it is none. */
bool phy_bench_view(const struct cJSON *document, size_t index, struct phy_bench_view *out);

/* What was to be measured and was not; "" and 0 where it is of all. */
struct phy_bench_skipped {
    const char *op, *format, *device, *kernel, *shape, *memory, *reason; /* memory: "cold", "warm" */
    double x_rows;
};
bool phy_bench_skipped(const struct cJSON *document, size_t index, struct phy_bench_skipped *out);

void phy_bench_put_table(struct phy_text *out, const struct cJSON *document);
void phy_bench_put_csv(struct phy_text *out, const struct cJSON *document);
void phy_bench_put_markdown(struct phy_text *out, const struct cJSON *document);
void phy_bench_put_junit(struct phy_text *out, const struct cJSON *document);
void phy_bench_put_html(struct phy_text *out, const struct cJSON *document);

#endif
