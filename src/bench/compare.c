/* SPDX-License-Identifier: Apache-2.0 */
/* Two reports side by side. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "bench/stats.h"
#include "bench/whole_text.h"
#include "physarium/bench.h"
#include "report/bench_report.h"
#include "report/json.h"
#include "report/text.h"

struct sides {
    cJSON *before, *after;
    double threshold;
};

static enum phy_status read_report(cJSON **out, const char *path, const struct phy_host *host)
{
    char *text;
    enum phy_status status = phy_bench_read_text(&text, path, host);
    *out = NULL;
    if (status)
        return status;
    *out = cJSON_Parse(text);
    phy_free(text);
    const cJSON *schema = cJSON_GetObjectItemCaseSensitive(*out, "schema");
    if (!cJSON_IsNumber(schema) || !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(*out, "results")))
        return phy_fail(host, PHY_ERR_FORMAT, "%s: not a report of physarium bench", path);
    if (schema->valuedouble != PHY_BENCH_SCHEMA)
        return phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: schema %g, this program reads schema %d", path,
                        schema->valuedouble, PHY_BENCH_SCHEMA);
    return PHY_OK;
}

static bool same_row(const struct phy_bench_view *a, const struct phy_bench_view *b)
{
    return strcmp(a->op, b->op) == 0 && strcmp(a->format, b->format) == 0 && strcmp(a->device, b->device) == 0 &&
           strcmp(a->kernel, b->kernel) == 0 && strcmp(a->shape, b->shape) == 0 && a->x_rows == b->x_rows &&
           a->cold == b->cold && (a->threads == b->threads || isnan(a->threads) || isnan(b->threads));
}

/* The samples, or the quartiles where a report has none: count of numbers put to out. */
static size_t samples_of(const struct phy_bench_view *v, double *out, size_t most)
{
    size_t count = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, v->samples)
    {
        if (count < most && cJSON_IsNumber(item) && item->valuedouble > 0)
            out[count++] = item->valuedouble;
    }
    const double quartiles[] = {v->q1_us, v->median_us, v->q3_us};
    for (size_t i = 0; count == 0 && i < 3; i++)
        out[i] = quartiles[i] > 0 ? quartiles[i] : v->median_us;
    return count ? count : 3;
}

enum { MAX_SAMPLES = 256 };

static bool ratio_of(const struct phy_bench_view *a, const struct phy_bench_view *b, struct phy_bench_ratio *out)
{
    double before[MAX_SAMPLES], after[MAX_SAMPLES];
    size_t before_count = samples_of(a, before, MAX_SAMPLES), after_count = samples_of(b, after, MAX_SAMPLES);
    bool ok = phy_bench_ratio(before, before_count, after, after_count, 1, out);
    out->ratio = b->median_us / a->median_us; /* as printed */
    return ok;
}

static void put_clean(struct phy_text *out, const char *name, int width)
{
    /* Another's file: what is no name of ours must not reach a terminal. */
    size_t i = 0;
    for (; name[i] && i < 48; i++) {
        char c = name[i] >= 0x20 && name[i] < 0x7F ? name[i] : '?';
        phy_text_bytes(out, &c, 1);
    }
    for (; i < (size_t)width; i++)
        phy_text_put(out, " ");
    phy_text_put(out, " ");
}

static void put_row(struct phy_text *out, cJSON *rows, const struct phy_bench_view *v, const struct phy_bench_ratio *r,
                    const char *verdict)
{
    put_clean(out, v->op, 16);
    put_clean(out, v->format[0] ? v->format : "-", 6);
    put_clean(out, v->device, 17); /* "vulkan:0/subgroup" */
    put_clean(out, v->kernel, 16);
    put_clean(out, v->shape, 12);
    phy_text_printf(out, "%5.0f %s  %6.3f  [%.3f, %.3f]  %s\n", v->x_rows, v->cold ? "cold" : "warm", r->ratio, r->low,
                    r->high, verdict);
    cJSON *row = phy_json_item(rows);
    phy_json_string(row, "op", v->op);
    phy_json_string(row, "format", v->format);
    phy_json_string(row, "device", v->device);
    phy_json_string(row, "kernel", v->kernel);
    phy_json_string(row, "shape", v->shape);
    phy_json_double(row, "x_rows", v->x_rows);
    phy_json_bool(row, "cold", v->cold);
    phy_json_double(row, "ratio", r->ratio);
    phy_json_double(row, "ratio_low", r->low);
    phy_json_double(row, "ratio_high", r->high);
    phy_json_string(row, "verdict", verdict);
}

/* The index of the row of `of` that is this one; false if there is none. */
static bool find(const cJSON *of, const struct phy_bench_view *v, struct phy_bench_view *out)
{
    for (size_t i = 0; phy_bench_view(of, i, out); i++) {
        if (same_row(out, v))
            return true;
    }
    return false;
}

static bool join(const struct sides *s, struct phy_bench_compared *out, struct phy_text *text, cJSON *rows)
{
    struct phy_bench_view a, b;
    for (size_t i = 0; phy_bench_view(s->before, i, &a); i++) {
        struct phy_bench_ratio r;
        if (!find(s->after, &a, &b)) {
            out->only_before++;
            continue;
        }
        if (!ratio_of(&a, &b, &r))
            return false;
        bool slower = r.ratio > s->threshold && r.low > 1, faster = r.ratio < 1 / s->threshold && r.high < 1;
        out->joined++;
        out->regressed += slower;
        out->improved += faster;
        put_row(text, rows, &a, &r, slower ? "SLOWER" : faster ? "faster" : "");
    }
    for (size_t i = 0; phy_bench_view(s->after, i, &b); i++)
        out->only_after += !find(s->before, &b, &a);
    return true;
}

static bool is_busy(const cJSON *document)
{
    return cJSON_IsTrue(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(document, "conditions"), "busy"));
}

static enum phy_status compare(const struct sides *s, struct phy_bench_compared *out, const struct phy_host *host)
{
    struct phy_text text = {0};
    cJSON *root = cJSON_CreateObject();
    phy_json_count(root, "schema", PHY_BENCH_SCHEMA);
    phy_json_double(root, "threshold", s->threshold);
    cJSON *rows = phy_json_array(root, "rows");
    phy_text_put(&text,
                 "op               format device            kernel           shape         rows memory after/before  "
                 "[95% interval]\n");
    bool ok = rows && join(s, out, &text, rows);
    phy_text_printf(&text,
                    "%zu rows joined, %zu slower by more than %.3f, %zu faster; %zu only before, %zu only after\n",
                    out->joined, out->regressed, s->threshold, out->improved, out->only_before, out->only_after);
    if (is_busy(s->before) || is_busy(s->after))
        phy_text_put(&text, "BUSY MACHINE: at least one of the reports says so\n");
    phy_json_count(root, "joined", out->joined);
    phy_json_count(root, "regressed", out->regressed);
    phy_json_count(root, "improved", out->improved);
    phy_json_count(root, "only_before", out->only_before);
    ok = ok && phy_json_count(root, "only_after", out->only_after);
    char *json = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (json)
        out->json = phy_strndup(json, strlen(json));
    cJSON_free(json);
    if (!out->json || text.failed) {
        phy_text_free(&text);
        return phy_fail_memory(host, "a table", text.bytes);
    }
    out->text = text.data;
    if (out->joined == 0)
        return phy_fail(host, PHY_ERR_USAGE, "the reports have no row in common");
    return out->regressed ? PHY_ERR_MISMATCH : PHY_OK;
}

enum phy_status phy_bench_compare(const struct phy_bench_compare_params *p, struct phy_bench_compared *out)
{
    *out = (struct phy_bench_compared){0};
    struct sides s = {.threshold = p->threshold > 0 ? p->threshold : 0.1};
    if (!(p->threshold >= 0) || p->threshold > 1000)
        return phy_fail(p->host, PHY_ERR_USAGE, "a threshold is a share such as 0.1, or a ratio such as 1.1");
    if (s.threshold < 1)
        s.threshold += 1;
    enum phy_status status = read_report(&s.before, p->before, p->host);
    if (status == PHY_OK)
        status = read_report(&s.after, p->after, p->host);
    if (status == PHY_OK)
        status = compare(&s, out, p->host);
    cJSON_Delete(s.before);
    cJSON_Delete(s.after);
    if (status && status != PHY_ERR_MISMATCH) {
        phy_bench_text_free(out->text);
        phy_bench_text_free(out->json);
        out->text = out->json = NULL;
    }
    return status;
}
