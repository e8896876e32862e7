/* SPDX-License-Identifier: Apache-2.0 */
/* bench.html: one file, no script, nothing fetched. For each device its roofline, the measured points under it, and
 * what was measured as curves; then everything as a table. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/bench_report.h"
#include "report/html_style.h"
#include "report/plot.h"

enum {
    WIDTH = 1000,
    HEIGHT = 420,
    LEFT = 76,
    RIGHT = 976,
    TOP = 20,
    BOTTOM = 366,
    MAX_FORMATS = 12,
    MAX_CURVES = 12,
    MAX_POINTS = 32
};

/* Twelve hues that differ in lightness too, for formats in the order in which they come up; darker on light ground. */
static const char style[] =
    ":root{--f0:#1f6f8b;--f1:#b4472e;--f2:#4a7d2c;--f3:#7b4fa3;--f4:#a3740a;--f5:#0f8a72;--f6:#b03a78;--f7:#4b5fae;"
    "--f8:#6d6a1e;--f9:#8a5a3c;--f10:#3d7f9e;--f11:#777}\n"
    "@media(prefers-color-scheme:dark){:root{--f0:#6cc3d8;--f1:#f2957c;--f2:#9ccf7a;--f3:#c3a2e6;--f4:#e6bd5c;"
    "--f5:#5fd0b8;--f6:#ef8dbb;--f7:#9fb0f0;--f8:#d0cd7c;--f9:#d8ab8c;--f10:#8fd0ee;--f11:#aaa}}\n"
    "main{max-width:1180px}\n"
    ".roof{fill:none;stroke:var(--ink);stroke-width:1.5}.roof.thin{stroke:var(--soft);stroke-dasharray:5 4}\n"
    ".warm{fill:none;stroke-width:2}.cold{stroke-width:1}svg .name{fill:var(--ink)}\n"
    ".key{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 0;font-size:13px;color:var(--soft)}\n"
    ".key i{display:inline-block;width:11px;height:11px;border-radius:50%;margin-right:6px;vertical-align:-1px}\n"
    ".key i.ring{background:none;border:2px solid var(--soft)}\n";

static void put_name(struct phy_text *out, const char *name)
{
    phy_text_html_name(out, name, PHY_NAME_LINE);
}

/* ---- axes ---- */

/* Both logarithmic. */
static struct phy_plot plot_over(double x_low, double x_high, double y_low, double y_high)
{
    return (struct phy_plot){.left = LEFT,
                             .right = RIGHT,
                             .top = TOP,
                             .bottom = BOTTOM,
                             .x = {x_low, x_high, true},
                             .y = {y_low, y_high, true}};
}

/* A line and a number at each power of `base` within. */
static void put_grid(struct phy_text *out, const struct phy_plot *plot, double x_base, double y_base,
                     const char *x_title, const char *y_title)
{
    for (double e = ceil(log(plot->x.low) / log(x_base) - 1e-9); pow(x_base, e) <= plot->x.high * 1.0001; e++) {
        phy_plot_x_tick(out, plot, pow(x_base, e), true);
        phy_text_number(out, pow(x_base, e));
        phy_text_put(out, "</text>\n");
    }
    for (double e = ceil(log(plot->y.low) / log(y_base) - 1e-9); pow(y_base, e) <= plot->y.high * 1.0001; e++) {
        phy_plot_y_tick(out, plot, pow(y_base, e));
        phy_text_number(out, pow(y_base, e));
        phy_text_put(out, "</text>\n");
    }
    phy_plot_titles(out, plot, x_title, y_title);
}

/* ---- formats and their colours ---- */

struct formats {
    const char *names[MAX_FORMATS];
    size_t count;
};

static size_t colour_of(struct formats *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->names[i], name) == 0)
            return i;
    }
    if (f->count == MAX_FORMATS)
        return MAX_FORMATS - 1;
    f->names[f->count] = name;
    return f->count++;
}

/* ---- the roofline ---- */

static bool on_roofline(const struct phy_bench_view *v, const char *device)
{
    return strcmp(v->device, device) == 0 && strncmp(v->op, "scaling", 7) != 0 && v->intensity > 0 &&
           v->g_operations_per_s > 0;
}

static double most(double a, double b)
{
    return isnan(b) || a > b ? a : b;
}

static double least(double a, double b)
{
    return isnan(b) || a < b ? a : b;
}

static struct phy_plot roofline_plot(const cJSON *document, const char *device, double read, double peak,
                                     double high_peak)
{
    struct phy_bench_view v;
    double ridge = peak / read;
    struct phy_plot a = plot_over(ridge / 8, ridge * 8, peak / 100, high_peak * 1.6);
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        if (!on_roofline(&v, device))
            continue;
        a.x.low = least(a.x.low, v.intensity / 2);
        a.x.high = most(a.x.high, v.intensity * 2);
        a.y.low = least(a.y.low, v.g_operations_per_s / 2);
        a.y.high = most(a.y.high, v.g_operations_per_s * 2);
    }
    return a;
}

/* The slope of the memory, up to where it meets the highest ceiling, and the ceilings. */
static void put_roofs(struct phy_text *out, const struct phy_plot *a, const cJSON *roof, double read, double high_peak)
{
    static const char *const ceilings[][2] = {
        {"f32_g_operations_per_s", "f32"},
        {"f16_g_operations_per_s", "f16"},
        {"int8_g_operations_per_s", "int8"},
        {"matrix_g_operations_per_s", "matrix"},
    };
    double x_begin = most(a->x.low, a->y.low / read), x_end = least(a->x.high, high_peak / read);
    phy_plot_line(out, "roof", phy_plot_x(a, x_begin), phy_plot_y(a, x_begin * read), phy_plot_x(a, x_end),
                  phy_plot_y(a, x_end * read));
    phy_plot_label(out, "class=name", phy_plot_x(a, x_begin) + 24, phy_plot_y(a, x_begin * read) + 16);
    phy_text_put(out, "memory ");
    phy_text_decimal(out, read, 1);
    phy_text_put(out, " GB/s</text>\n");
    for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
        double peak = phy_bench_number(roof, ceilings[i][0]);
        if (!(peak > 0))
            continue;
        double x = most(a->x.low, peak / read), y = phy_plot_y(a, peak);
        phy_plot_line(out, i == 0 ? "roof" : "roof thin", phy_plot_x(a, x), y, RIGHT, y);
        /* Side by side: ceilings may all but coincide. */
        phy_plot_label(out, "class=name text-anchor=end", RIGHT - 4.0 - 130.0 * (double)i, y - 6);
        phy_text_printf(out, "%s ", ceilings[i][1]);
        phy_text_decimal(out, peak, 0);
        phy_text_put(out, " Gop/s</text>\n");
    }
}

static void put_point(struct phy_text *out, const struct phy_plot *a, const struct phy_bench_view *v, size_t colour)
{
    char attributes[64];
    snprintf(attributes, sizeof attributes, "class=%s r=5 style=\"%s:var(--f%zu)\"", v->cold ? "cold" : "warm",
             v->cold ? "fill" : "stroke", colour);
    phy_plot_dot(out, a, attributes, v->intensity, v->g_operations_per_s);
    phy_text_put(out, "<title>");
    put_name(out, v->op);
    phy_text_put(out, " ");
    put_name(out, v->format);
    phy_text_put(out, " ");
    put_name(out, v->kernel);
    phy_text_put(out, " ");
    put_name(out, v->shape);
    phy_text_printf(out, ", %.0f rows, %s: ", v->x_rows, v->cold ? "cold" : "warm");
    phy_text_decimal(out, v->g_operations_per_s, 1);
    phy_text_put(out, " Gop/s, ");
    phy_text_decimal(out, v->share * 100, 0);
    phy_text_put(out, "% of the roofline</title></circle>\n");
}

static void put_key(struct phy_text *out, const struct formats *formats)
{
    phy_text_put(out, "<div class=key>");
    for (size_t i = 0; i < formats->count; i++) {
        phy_text_printf(out, "<span><i style=\"background:var(--f%zu)\"></i>", i);
        put_name(out, formats->names[i][0] ? formats->names[i] : "other");
        phy_text_put(out, "</span>");
    }
    phy_text_put(out, "<span><i style=\"background:var(--soft)\"></i>filled: cold</span><span><i class=ring></i>ring: "
                      "warm</span></div>\n");
}

static void put_roofline(struct phy_text *out, const cJSON *document, const cJSON *device)
{
    const char *name = phy_bench_text(device, "name");
    const cJSON *roof = cJSON_GetObjectItemCaseSensitive(device, "roofline");
    double read = phy_bench_number(roof, "read_gb_per_s"), peak = phy_bench_number(roof, "f32_g_operations_per_s");
    if (!(read > 0) || !(peak > 0))
        return;
    double high_peak = most(
        most(peak, phy_bench_number(roof, "f16_g_operations_per_s")),
        most(phy_bench_number(roof, "int8_g_operations_per_s"), phy_bench_number(roof, "matrix_g_operations_per_s")));
    struct phy_plot a = roofline_plot(document, name, read, peak, high_peak);
    struct formats formats = {0};
    struct phy_bench_view v;
    phy_plot_begin(out, WIDTH, HEIGHT, "roofline");
    put_grid(out, &a, 10, 10, "operations for a byte of memory", "10^9 operations a second");
    put_roofs(out, &a, roof, read, high_peak);
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        if (on_roofline(&v, name))
            put_point(out, &a, &v, colour_of(&formats, v.format));
    }
    phy_plot_end(out);
    if (formats.count)
        put_key(out, &formats);
}

static void put_device(struct phy_text *out, const cJSON *document, const cJSON *device)
{
    phy_text_put(out, "<h2>");
    put_name(out, phy_bench_text(device, "name"));
    phy_text_put(out, "</h2>\n<p class=soft>");
    put_name(out, phy_bench_text(device, "device"));
    if (phy_bench_text(device, "driver")[0]) {
        phy_text_put(out, ", ");
        put_name(out, phy_bench_text(device, "driver"));
    }
    phy_text_put(out, ". Clock: ");
    put_name(out, phy_bench_text(device, "clock"));
    phy_text_put(out, ". Warm points may lie above the slope, which is that of memory: caches are faster.</p>\n");
    put_roofline(out, document, device);
}

/* ---- curves ---- */

/* What a curve's points lie over. */
static double position_of(const struct phy_bench_view *v)
{
    double layers;
    if (strcmp(v->op, "scaling_threads") == 0)
        return v->threads;
    if (strcmp(v->op, "scaling_rows") == 0)
        return v->x_rows;
    const char *x = strchr(v->shape, 'x');
    if (strcmp(v->op, "scaling_tiles") == 0)
        return x ? strtod(x + 1, NULL) / 256 : NAN;
    layers = strtod(v->shape, NULL);
    return layers > 0 ? layers : NAN;
}

struct curve {
    const char *device, *format, *kernel;
    double x[MAX_POINTS], y[MAX_POINTS];
    size_t count;
};

static struct curve *curve_of(struct curve *curves, size_t *count, const struct phy_bench_view *v)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(curves[i].device, v->device) == 0 && strcmp(curves[i].format, v->format) == 0 &&
            strcmp(curves[i].kernel, v->kernel) == 0)
            return &curves[i];
    }
    if (*count == MAX_CURVES)
        return NULL;
    curves[*count] = (struct curve){v->device, v->format, v->kernel, {0}, {0}, 0};
    return &curves[(*count)++];
}

static struct phy_plot curve_plot(const struct curve *curves, size_t count)
{
    struct phy_plot a = plot_over(INFINITY, 0, INFINITY, 0);
    for (size_t c = 0; c < count; c++) {
        for (size_t i = 0; i < curves[c].count; i++) {
            a.x.low = least(a.x.low, curves[c].x[i]);
            a.x.high = most(a.x.high, curves[c].x[i]);
            a.y.low = least(a.y.low, curves[c].y[i]);
            a.y.high = most(a.y.high, curves[c].y[i]);
        }
    }
    a.x.high = a.x.high > a.x.low ? a.x.high : a.x.low * 2;
    a.y.low /= 2;
    a.y.high *= 2;
    return a;
}

static void put_curves(struct phy_text *out, const struct curve *curves, size_t count, const char *x_title,
                       const char *y_title)
{
    const struct phy_plot a = curve_plot(curves, count);
    phy_plot_begin(out, WIDTH, HEIGHT, x_title);
    put_grid(out, &a, 2, a.y.high / a.y.low > 100 ? 10 : 2, x_title, y_title);
    for (size_t c = 0; c < count; c++) {
        phy_text_printf(out, "<polyline class=curve style=\"stroke:var(--f%zu)\" points=\"", c);
        for (size_t i = 0; i < curves[c].count; i++)
            phy_plot_point(out, &a, curves[c].x[i], curves[c].y[i]);
        phy_text_put(out, "\"></polyline>\n");
        for (size_t i = 0; i < curves[c].count; i++) {
            char attributes[64];
            snprintf(attributes, sizeof attributes, "r=4 style=\"fill:var(--f%zu)\"", c);
            phy_plot_dot(out, &a, attributes, curves[c].x[i], curves[c].y[i]);
            phy_text_put(out, "<title>");
            phy_text_number(out, curves[c].y[i]);
            phy_text_put(out, "</title></circle>");
        }
        phy_text_put(out, "\n");
    }
    phy_plot_end(out);
    phy_text_put(out, "<div class=key>");
    for (size_t c = 0; c < count; c++) {
        phy_text_printf(out, "<span><i style=\"background:var(--f%zu)\"></i>", c);
        put_name(out, curves[c].device);
        phy_text_put(out, " ");
        put_name(out, curves[c].kernel);
        phy_text_put(out, " ");
        put_name(out, curves[c].format);
        phy_text_put(out, "</span>");
    }
    phy_text_put(out, "</div>\n");
}

enum quantity { SECONDS, RATE, MEMORY };

static double quantity_of(const struct phy_bench_view *v, enum quantity quantity)
{
    return quantity == SECONDS ? v->median_us * 1e-3
           : quantity == RATE  ? v->g_operations_per_s
                               : v->peak_rss_bytes / (1 << 20);
}

static void put_scaling(struct phy_text *out, const cJSON *document, const char *op, const char *title,
                        enum quantity quantity, const char *x_title, const char *y_title)
{
    struct curve curves[MAX_CURVES];
    struct phy_bench_view v;
    size_t count = 0;
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        double x = position_of(&v), y = quantity_of(&v, quantity);
        struct curve *curve = strcmp(v.op, op) == 0 && x > 0 && y > 0 ? curve_of(curves, &count, &v) : NULL;
        if (curve && curve->count < MAX_POINTS) {
            curve->x[curve->count] = x;
            curve->y[curve->count++] = y;
        }
    }
    if (!count)
        return;
    phy_text_printf(out, "<h2>%s</h2>\n", title);
    put_curves(out, curves, count, x_title, y_title);
}

/* ---- the table and the page ---- */

static void put_cell(struct phy_text *out, double value, int decimals)
{
    phy_text_put(out, "<td>");
    phy_text_decimal(out, value, decimals);
    phy_text_put(out, "</td>");
}

static void put_results(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_view v;
    phy_text_put(out,
                 "<h2>All results</h2>\n<div class=wide><table><tr><th>op<th class=l>format<th class=l>device<th "
                 "class=l>kernel<th class=l>shape<th>rows<th class=l>memory<th>median, us<th>q1<th>q3<th>GB/s<th>of "
                 "roofline, %<th class=l>bound<th>rounds<th>to peer</tr>\n");
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        const char *const texts[] = {v.op, v.format, v.device, v.kernel, v.shape};
        phy_text_put(out, "<tr>");
        for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
            phy_text_put(out, "<td class=l>");
            put_name(out, texts[n]);
            phy_text_put(out, "</td>");
        }
        if (v.x_rows > 0)
            phy_text_printf(out, "<td>%.0f", v.x_rows);
        else
            phy_text_put(out, "<td>");
        phy_text_printf(out, "</td><td class=l>%s</td>", v.cold ? "cold" : "warm");
        put_cell(out, v.median_us, 1);
        put_cell(out, v.q1_us, 1);
        put_cell(out, v.q3_us, 1);
        put_cell(out, v.gb_per_s, 2);
        put_cell(out, v.share * 100, 0);
        phy_text_put(out, "<td class=l>");
        put_name(out, v.bound);
        phy_text_put(out, "</td>");
        put_cell(out, v.rounds, 0);
        put_cell(out, v.ratio_to_peer, 2);
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</table></div>\n");
}

static void put_left_out(struct phy_text *out, const cJSON *document)
{
    struct phy_bench_skipped s;
    if (!phy_bench_skipped(document, 0, &s))
        return;
    phy_text_put(out, "<h2>Left out</h2>\n<div class=wide><table><tr><th>op<th class=l>format<th class=l>device<th "
                      "class=l>kernel<th class=l>shape<th>rows<th class=l>memory<th class=l>why</tr>\n");
    for (size_t i = 0; phy_bench_skipped(document, i, &s); i++) {
        const char *const texts[] = {s.op, s.format, s.device, s.kernel, s.shape, NULL, s.memory, s.reason};
        phy_text_put(out, "<tr>");
        for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
            phy_text_put(out, texts[n] ? "<td class=l>" : "<td>");
            if (texts[n])
                put_name(out, texts[n]);
            else if (s.x_rows > 0)
                phy_text_printf(out, "%.0f", s.x_rows);
            phy_text_put(out, "</td>");
        }
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</table></div>\n");
}

static void put_head(struct phy_text *out, const cJSON *document)
{
    const cJSON *machine = cJSON_GetObjectItemCaseSensitive(document, "machine"), *item;
    const cJSON *conditions = cJSON_GetObjectItemCaseSensitive(document, "conditions");
    phy_text_put(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n<meta name=viewport "
                      "content=\"width=device-width,initial-scale=1\">\n<title>Benchmark</title>\n<style>\n");
    phy_text_put(out, phy_report_style);
    phy_text_put(out, style);
    phy_text_put(out, "</style></head>\n<body><main>\n<h1>Benchmark</h1>\n<p class=soft>");
    put_name(out, phy_bench_text(machine, "cpu"));
    phy_text_printf(out, ", %.0f processors, ", phy_bench_number(machine, "processors"));
    put_name(out, phy_bench_text(machine, "system"));
    phy_text_put(out, ".</p>\n");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(conditions, "busy"))) {
        phy_text_put(out, "<p class=bad>The machine was busy: ");
        put_name(out, phy_bench_text(conditions, "reason"));
        phy_text_put(out, ". The figures are worse than they need be.</p>\n");
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(document, "failed"))
    {
        phy_text_put(out, "<p class=bad>");
        put_name(out, phy_bench_text(item, "device"));
        phy_text_put(out, ": ");
        put_name(out, phy_bench_text(item, "reason"));
        phy_text_put(out, "</p>\n");
    }
}

void phy_bench_put_html(struct phy_text *out, const cJSON *document)
{
    const cJSON *device;
    put_head(out, document);
    cJSON_ArrayForEach(device, cJSON_GetObjectItemCaseSensitive(document, "devices")) put_device(out, document, device);
    put_scaling(out, document, "scaling_threads", "Threads", RATE, "threads", "10^9 operations a second");
    put_scaling(out, document, "scaling_tiles", "Tiles in a region", RATE, "tiles", "10^9 operations a second");
    put_scaling(out, document, "scaling_rows", "Rows of x", RATE, "rows of x", "10^9 operations a second");
    put_scaling(out, document, "scaling_bytes", "Surgery: time by size", SECONDS, "layers", "milliseconds");
    put_scaling(out, document, "scaling_bytes", "Surgery: memory by size", MEMORY, "layers", "peak RSS, MiB");
    put_results(out, document);
    put_left_out(out, document);
    phy_text_printf(out,
                    "<footer>physarium %s. Medians of interleaved rounds; rooflines are the best of kernels that do "
                    "nothing else.</footer>\n</main></body></html>\n",
                    phy_bench_text(cJSON_GetObjectItemCaseSensitive(document, "program"), "version"));
}
