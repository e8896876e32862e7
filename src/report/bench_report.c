/* SPDX-License-Identifier: Apache-2.0 */
/* The plain forms of a benchmark's document. Everything in it was written by us or cleaned where it was read: names of
 * devices are printable ASCII. */
#include "report/bench_report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *phy_bench_text(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

double phy_bench_number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

bool phy_bench_view(const cJSON *document, size_t index, struct phy_bench_view *out)
{
    const cJSON *results = cJSON_GetObjectItemCaseSensitive(document, "results");
    const cJSON *r = cJSON_GetArrayItem(results, (int)index);
    const cJSON *m = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(document, "measurements"), (int)index);
    *out = (struct phy_bench_view){
        .op = phy_bench_text(r, "op"),
        .format = phy_bench_text(r, "format"),
        .device = phy_bench_text(r, "device"),
        .kernel = phy_bench_text(r, "kernel"),
        .shape = phy_bench_text(r, "shape"),
        .cold = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r, "cold")),
        .median_us = phy_bench_number(r, "median_us"),
        .q1_us = phy_bench_number(r, "q1_us"),
        .q3_us = phy_bench_number(r, "q3_us"),
        .gb_per_s = phy_bench_number(r, "gb_per_s"),
        .share = phy_bench_number(r, "share_of_roofline"),
        .intensity = phy_bench_number(r, "arithmetic_intensity"),
        .ratio_to_peer = phy_bench_number(r, "ratio_to_peer"),
        .best_us = phy_bench_number(m, "best_us"),
        .g_operations_per_s = phy_bench_number(m, "g_operations_per_s"),
        .threads = phy_bench_number(m, "threads"),
        .rounds = phy_bench_number(m, "rounds"),
        .peak_rss_bytes = phy_bench_number(m, "peak_rss_bytes"),
        .host_median_us = phy_bench_number(m, "host_median_us"),
        .bound = phy_bench_text(m, "bound"),
        .clock = phy_bench_text(m, "clock"),
        .samples = cJSON_GetObjectItemCaseSensitive(m, "samples_us"),
    };
    double x_rows = phy_bench_number(r, "x_rows");
    out->x_rows = isnan(x_rows) ? 0 : x_rows;
    return cJSON_IsObject(r) && out->op[0] && out->median_us > 0;
}

bool phy_bench_skipped(const cJSON *document, size_t index, struct phy_bench_skipped *out)
{
    const cJSON *s = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(document, "skipped"), (int)index);
    const cJSON *cold = cJSON_GetObjectItemCaseSensitive(s, "cold");
    const double x_rows = phy_bench_number(s, "x_rows");
    *out = (struct phy_bench_skipped){
        .op = phy_bench_text(s, "op"),
        .format = phy_bench_text(s, "format"),
        .device = phy_bench_text(s, "device"),
        .kernel = phy_bench_text(s, "kernel"),
        .shape = phy_bench_text(s, "shape"),
        .memory = cJSON_IsTrue(cold)    ? "cold"
                  : cJSON_IsFalse(cold) ? "warm"
                                        : "",
        .reason = phy_bench_text(s, "reason"),
        .x_rows = isnan(x_rows) ? 0 : x_rows,
    };
    return cJSON_IsObject(s);
}

/* ---- aligned columns ---- */

enum { COLUMNS = 14, CELL = 64 };

static const char *const titles[COLUMNS] = {"op",     "format", "device", "kernel", "shape", "rows",        "memory",
                                            "median", "q1",     "q3",     "clock",  "GB/s",  "of roofline", "rounds"};

static void put_time(char out[CELL], double us)
{
    if (isnan(us))
        snprintf(out, CELL, "-");
    else if (us < 1e3)
        snprintf(out, CELL, "%.1f us", us);
    else if (us < 1e6)
        snprintf(out, CELL, "%.2f ms", us * 1e-3);
    else
        snprintf(out, CELL, "%.2f s", us * 1e-6);
}

static void fill_cells(char cells[COLUMNS][CELL], const struct phy_bench_view *v)
{
    snprintf(cells[0], CELL, "%s", v->op);
    snprintf(cells[1], CELL, "%s", v->format[0] ? v->format : "-");
    snprintf(cells[2], CELL, "%s", v->device);
    snprintf(cells[3], CELL, "%s", v->kernel);
    snprintf(cells[4], CELL, "%s", v->shape);
    snprintf(cells[5], CELL, v->x_rows > 0 ? "%.0f" : "-", v->x_rows);
    snprintf(cells[6], CELL, "%s", v->cold ? "cold" : "warm");
    put_time(cells[7], v->median_us);
    put_time(cells[8], v->q1_us);
    put_time(cells[9], v->q3_us);
    snprintf(cells[10], CELL, "%s", v->clock);
    snprintf(cells[11], CELL, isnan(v->gb_per_s) ? "-" : "%.2f", v->gb_per_s);
    if (isnan(v->share))
        snprintf(cells[12], CELL, "-");
    else
        snprintf(cells[12], CELL, "%.0f%% %s", v->share * 100, v->bound);
    snprintf(cells[13], CELL, isnan(v->rounds) ? "-" : "%.0f", v->rounds);
}

static void put_row(struct phy_text *out, char cells[COLUMNS][CELL], const int *widths)
{
    char line[COLUMNS * (CELL + 2)];
    size_t used = 0;
    for (int i = 0; i < COLUMNS; i++)
        used += (size_t)snprintf(line + used, sizeof line - used,
                                 i < 5 || i == 6 || i == 10 || i == 12 ? "%-*s  " : "%*s  ", widths[i], cells[i]);
    while (used && line[used - 1] == ' ')
        used--;
    phy_text_bytes(out, line, used);
    phy_text_put(out, "\n");
}

static void put_peer(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_view v;
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        if (!isnan(v.ratio_to_peer))
            phy_text_printf(out, "%s %s %s %s %s, %.0f rows, %s: %.2f times as fast as the peer\n", v.op, v.format,
                            v.device, v.kernel, v.shape, v.x_rows, v.cold ? "cold" : "warm", v.ratio_to_peer);
    }
}

static void put_rate(struct phy_text *out, const char *name, double value, const char *unit)
{
    if (!isnan(value))
        phy_text_printf(out, ", %s %.*f %s", name, value < 10 ? 2 : 1, value, unit);
}

static void put_devices(struct phy_text *out, const cJSON *document)
{
    const cJSON *device;
    cJSON_ArrayForEach(device, cJSON_GetObjectItemCaseSensitive(document, "devices"))
    {
        const cJSON *roof = cJSON_GetObjectItemCaseSensitive(device, "roofline");
        phy_text_printf(out, "%s: %s", phy_bench_text(device, "name"), phy_bench_text(device, "device"));
        put_rate(out, "read", phy_bench_number(roof, "read_gb_per_s"), "GB/s");
        put_rate(out, "write", phy_bench_number(roof, "write_gb_per_s"), "GB/s");
        put_rate(out, "copy", phy_bench_number(roof, "copy_gb_per_s"), "GB/s");
        put_rate(out, "f32", phy_bench_number(roof, "f32_g_operations_per_s"), "Gop/s");
        put_rate(out, "f16", phy_bench_number(roof, "f16_g_operations_per_s"), "Gop/s");
        put_rate(out, "int8", phy_bench_number(roof, "int8_g_operations_per_s"), "Gop/s");
        put_rate(out, "bf16", phy_bench_number(roof, "bf16_g_operations_per_s"), "Gop/s");
        put_rate(out, "matrix", phy_bench_number(roof, "matrix_g_operations_per_s"), "Gop/s");
        phy_text_put(out, "\n");
    }
}

static bool same_group(const struct phy_bench_skipped *a, const struct phy_bench_skipped *b)
{
    return strcmp(a->op, b->op) == 0 && strcmp(a->device, b->device) == 0 && strcmp(a->shape, b->shape) == 0 &&
           strcmp(a->memory, b->memory) == 0 && a->x_rows == b->x_rows;
}

/* A line for each group, with the first one's reason: the other forms have a row for each. */
static void put_left_out(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_skipped first, s;
    for (size_t i = 0; phy_bench_skipped(document, i, &first);) {
        size_t count = 0;
        phy_text_printf(out, "LEFT OUT %s %s %s", first.op, first.device, first.shape);
        if (first.x_rows > 0)
            phy_text_printf(out, ", %.0f rows", first.x_rows);
        phy_text_printf(out, "%s%s", first.memory[0] ? ", " : "", first.memory);
        for (; phy_bench_skipped(document, i, &s) && same_group(&first, &s); i++, count++)
            phy_text_printf(out, "%s%s%s%s", count ? ", " : ": ", s.format, s.format[0] && s.kernel[0] ? " " : "",
                            s.kernel);
        phy_text_printf(out, " (%s%s)\n", count > 1 ? "the first: " : "", first.reason);
    }
}

static void put_notes(struct phy_text *out, const cJSON *document)
{
    const cJSON *item, *conditions = cJSON_GetObjectItemCaseSensitive(document, "conditions");
    put_left_out(out, document);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(document, "failed"))
        phy_text_printf(out, "FAILED %s: %s\n", phy_bench_text(item, "device"), phy_bench_text(item, "reason"));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(conditions, "busy")))
        phy_text_printf(out, "BUSY MACHINE: %s; figures are worse than they need be\n",
                        phy_bench_text(conditions, "reason"));
}

void phy_bench_put_table(struct phy_text *out, const cJSON *document)
{
    int widths[COLUMNS];
    char cells[COLUMNS][CELL];
    struct phy_bench_view v;
    put_devices(out, document);
    for (int i = 0; i < COLUMNS; i++) {
        snprintf(cells[i], CELL, "%s", titles[i]);
        widths[i] = (int)strlen(titles[i]);
    }
    char head[COLUMNS][CELL];
    memcpy(head, cells, sizeof head);
    size_t count = 0;
    for (; phy_bench_view(document, count, &v); count++) {
        fill_cells(cells, &v);
        for (int i = 0; i < COLUMNS; i++)
            widths[i] = (int)strlen(cells[i]) > widths[i] ? (int)strlen(cells[i]) : widths[i];
    }
    if (count)
        put_row(out, head, widths);
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        fill_cells(cells, &v);
        put_row(out, cells, widths);
    }
    put_peer(out, document);
    put_notes(out, document);
}

/* ---- tables for other programs ---- */

static void put_value(struct phy_text *out, double value)
{
    if (!isnan(value))
        phy_text_printf(out, "%.6g", value);
}

static void put_quoted(struct phy_text *out, const char *text)
{
    phy_text_put(out, "\"");
    for (; *text; text++) {
        phy_text_bytes(out, text, 1);
        if (*text == '"')
            phy_text_put(out, "\"");
    }
    phy_text_put(out, "\"");
}

void phy_bench_put_csv(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_view v;
    phy_text_put(out, "op,format,device,kernel,shape,x_rows,cold,median_us,q1_us,q3_us,gb_per_s,share_of_roofline,"
                      "arithmetic_intensity,ratio_to_peer,threads,clock,rounds,skipped\n");
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        /* None of these texts has a comma or a quote: they are names of ours. */
        phy_text_printf(out, "%s,%s,%s,%s,%s,", v.op, v.format, v.device, v.kernel, v.shape);
        put_value(out, v.x_rows > 0 ? v.x_rows : NAN);
        phy_text_put(out, v.cold ? ",true" : ",false");
        const double values[] = {v.median_us, v.q1_us,     v.q3_us,         v.gb_per_s,
                                 v.share,     v.intensity, v.ratio_to_peer, v.threads};
        for (size_t n = 0; n < sizeof values / sizeof *values; n++) {
            phy_text_put(out, ",");
            put_value(out, values[n]);
        }
        phy_text_printf(out, ",%s,", v.clock);
        put_value(out, v.rounds);
        phy_text_put(out, ",\n");
    }
    struct phy_bench_skipped s;
    for (size_t i = 0; phy_bench_skipped(document, i, &s); i++) {
        phy_text_printf(out, "%s,%s,%s,%s,%s,", s.op, s.format, s.device, s.kernel, s.shape);
        put_value(out, s.x_rows > 0 ? s.x_rows : NAN);
        phy_text_printf(out, ",%s,,,,,,,,,,,", !s.memory[0] ? "" : strcmp(s.memory, "cold") == 0 ? "true" : "false");
        put_quoted(out, s.reason);
        phy_text_put(out, "\n");
    }
}

/* Each line as an item. */
static void put_list(struct phy_text *out, const char *line)
{
    while (line && *line) {
        const size_t bytes = strcspn(line, "\n");
        phy_text_put(out, "- ");
        phy_text_bytes(out, line, bytes + 1);
        line += bytes + 1;
    }
}

void phy_bench_put_markdown(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_view v;
    char cells[COLUMNS][CELL];
    struct phy_text devices = {0};
    put_devices(&devices, document);
    put_list(out, devices.data);
    phy_text_free(&devices);
    phy_text_put(out, "\n|");
    for (int i = 0; i < COLUMNS; i++)
        phy_text_printf(out, " %s |", titles[i]);
    phy_text_put(out, "\n|---|---|---|---|---|---:|---|---:|---:|---:|---|---:|---|---:|\n");
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        fill_cells(cells, &v);
        phy_text_put(out, "|");
        for (int n = 0; n < COLUMNS; n++)
            phy_text_printf(out, " %s |", cells[n]);
        phy_text_put(out, "\n");
    }
    phy_text_put(out, "\n");
    struct phy_text notes = {0};
    put_notes(&notes, document);
    put_list(out, notes.data);
    phy_text_free(&notes);
}

void phy_bench_put_junit(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_view v;
    const cJSON *item;
    size_t results = 0, skipped = 0, failed = 0;
    while (phy_bench_view(document, results, &v))
        results++;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(document, "skipped")) skipped++;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(document, "failed")) failed++;
    phy_text_printf(out,
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"physarium bench\" tests=\"%zu\" "
                    "failures=\"%zu\" skipped=\"%zu\">\n",
                    results + skipped + failed, failed, skipped);
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        phy_text_printf(out, "  <testcase classname=\"%s.%s\" name=\"%s %s %s %.0f %s\" time=\"", v.device, v.op,
                        v.format, v.kernel, v.shape, v.x_rows, v.cold ? "cold" : "warm");
        phy_text_decimal(out, v.median_us * 1e-6, 9);
        phy_text_put(out, "\"/>\n");
    }
    struct phy_bench_skipped skip;
    for (size_t i = 0; phy_bench_skipped(document, i, &skip); i++) {
        phy_text_printf(out, "  <testcase classname=\"%s.%s\" name=\"%s %s %s %.0f %s\"><skipped message=\"",
                        skip.device, skip.op, skip.format, skip.kernel, skip.shape, skip.x_rows, skip.memory);
        phy_text_html_name(out, skip.reason, PHY_NAME_LINE);
        phy_text_put(out, "\"/></testcase>\n");
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(document, "failed"))
    {
        phy_text_put(out, "  <testcase classname=\"");
        phy_text_html_name(out, phy_bench_text(item, "device"), PHY_NAME_LINE);
        phy_text_put(out, "\" name=\"device\"><failure message=\"");
        phy_text_html_name(out, phy_bench_text(item, "reason"), PHY_NAME_LINE);
        phy_text_put(out, "\"/></testcase>\n");
    }
    phy_text_put(out, "</testsuite>\n");
}
