/* SPDX-License-Identifier: Apache-2.0 */
/* surgery.html: one file, no script, nothing fetched. Colours come from the custom properties of html_style.c, once for
 * light and once for dark; every coloured cell also has its number. Every name from a file goes through
 * phy_text_html_name. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "physarium/version.h"
#include "report/html_style.h"
#include "report/picture.h"
#include "report/plot.h"
#include "report/surgery_parts.h"

/* A heat map beyond this is no picture any more; the numbers are in coverage.json. */
enum { HEAT_LAYERS = 512, HEAT_PROJECTIONS = 24, HEAT_STEPS = 8 };

/* ---- small pieces ---- */

static void put_percent(struct phy_text *out, double share, int decimals)
{
    phy_text_decimal(out, share * 100.0, decimals);
    phy_text_put(out, "%");
}

static void put_cell(struct phy_text *out, const char *name, enum phy_name_style style_of_name)
{
    phy_text_put(out, "<td class=l>");
    phy_text_html_name(out, name, style_of_name);
    phy_text_put(out, "</td>");
}

static void put_count_cell(struct phy_text *out, uint64_t value)
{
    phy_text_put(out, "<td>");
    phy_text_count(out, value);
    phy_text_put(out, "</td>");
}

static void put_percent_cell(struct phy_text *out, double share)
{
    phy_text_put(out, "<td>");
    put_percent(out, share, 2);
    phy_text_put(out, "</td>");
}

static void put_decimal_cell(struct phy_text *out, double value, int decimals)
{
    phy_text_put(out, "<td>");
    phy_text_decimal(out, value, decimals);
    phy_text_put(out, "</td>");
}

static void put_layer(struct phy_text *out, uint32_t layer)
{
    if (layer == UINT32_MAX)
        phy_text_put(out, "none");
    else
        phy_text_printf(out, "%" PRIu32, layer);
}

/* ---- the head: what came out ---- */

static void put_head(struct phy_text *out, const struct phy_surgery_view *view)
{
    const struct phy_tally *tally = &view->tally;
    const struct phy_tally_line *target = &tally->target;
    double of_model = tally->total_elements ? (double)target->killed / (double)tally->total_elements : 0.0;
    phy_text_put(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
                      "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
                      "<title>Surgery report: ");
    phy_text_html_name(out, view->record->output_name, PHY_NAME_BARE);
    phy_text_put(out, "</title>\n<style>\n");
    phy_text_put(out, phy_report_style);
    phy_text_put(out, "</style></head>\n<body><main>\n<h1>Surgery report</h1>\n<p class=soft>Donor ");
    phy_text_html_name(out, view->record->donor_name, PHY_NAME_QUOTED);
    phy_text_put(out, ", output ");
    phy_text_html_name(out, view->record->output_name, PHY_NAME_QUOTED);
    phy_text_put(out, "</p>\n<div class=facts>\n<div class=fact><b>");
    put_percent(out, phy_tally_sparsity(target), 2);
    phy_text_put(out, "</b><span>of the target weights killed</span></div>\n<div class=fact><b>");
    put_percent(out, of_model, 2);
    phy_text_put(out, "</b><span>of the full model killed</span></div>\n<div class=fact><b>");
    phy_text_count(out, target->killed);
    phy_text_put(out, "</b><span>killed, of ");
    phy_text_count(out, target->elements);
    phy_text_put(out, "</span></div>\n<div class=fact><b>");
    phy_text_count(out, target->tensors);
    phy_text_printf(out, "</b><span>target tensors in %zu layers, %zu projections</span></div>\n</div>\n",
                    tally->layer_count, tally->projection_count);
    phy_text_printf(out, "<p style=\"margin-top:14px\">Denominator, processed weights against shapes: %s</p>\n",
                    tally->processed_fits ? "correct."
                                          : "<span class=bad>WRONG: these numbers cannot be trusted.</span>");
}

/* ---- heat map ---- */

struct scale {
    double low, high;
};

static struct scale scale_of(const struct phy_tally *tally)
{
    struct scale scale = {1.0, 0.0};
    for (size_t i = 0; i < tally->cell_count; i++) {
        double sparsity = phy_tally_sparsity(&tally->cells[i].line);
        scale.low = fmin(scale.low, sparsity);
        scale.high = fmax(scale.high, sparsity);
    }
    /* Noise must not look like a pattern: the colours span two percentage points at least. */
    double middle = 0.5 * (scale.low + scale.high), half = fmax(0.5 * (scale.high - scale.low), 0.01);
    scale.low = fmax(middle - half, 0.0);
    scale.high = scale.low + 2 * half;
    return scale;
}

static int step_of(struct scale scale, double sparsity)
{
    int step = (int)((sparsity - scale.low) / (scale.high - scale.low) * HEAT_STEPS);
    return step < 0 ? 0 : step >= HEAT_STEPS ? HEAT_STEPS - 1 : step;
}

static const struct phy_outlier *outlier_at(const struct phy_surgery_view *view, uint32_t layer, uint32_t projection)
{
    for (size_t i = 0; i < view->outlier_count; i++) {
        if (view->outliers[i].layer == layer && view->outliers[i].projection == projection)
            return &view->outliers[i];
    }
    return NULL;
}

static void put_heat_cell(struct phy_text *out, const struct phy_surgery_view *view, struct scale scale, uint32_t layer,
                          uint32_t projection, const struct phy_tally_line *line)
{
    const struct phy_outlier *outlier = outlier_at(view, layer, projection);
    double sparsity = phy_tally_sparsity(line);
    phy_text_printf(out, "<td class=\"c%d%s\" title=\"", step_of(scale, sparsity),
                    projection == UINT32_MAX ? " sum" : "");
    phy_text_count(out, line->killed);
    phy_text_put(out, " of ");
    phy_text_count(out, line->elements);
    phy_text_put(out, "\">");
    phy_text_decimal(out, sparsity * 100.0, 1);
    if (outlier)
        phy_text_put(out, outlier->sparsity > outlier->median ? " &#9650;" : " &#9660;");
    phy_text_put(out, "</td>");
}

static void put_heat_row(struct phy_text *out, const struct phy_surgery_view *view, struct scale scale, size_t row,
                         size_t *next_cell, size_t columns)
{
    const struct phy_tally *tally = &view->tally;
    uint32_t layer = tally->layers[row];
    phy_text_put(out, "<tr><th scope=row>");
    put_layer(out, layer);
    phy_text_put(out, "</th>");
    for (uint32_t column = 0; column < columns; column++) {
        const struct phy_tally_cell *cell = &tally->cells[*next_cell];
        if (*next_cell < tally->cell_count && cell->layer == row && cell->projection == column) {
            put_heat_cell(out, view, scale, layer, column, &cell->line);
            (*next_cell)++;
        } else {
            phy_text_put(out, "<td class=soft>&middot;</td>");
        }
    }
    while (*next_cell < tally->cell_count && tally->cells[*next_cell].layer == row)
        (*next_cell)++; /* columns that are not shown */
    put_heat_cell(out, view, scale, layer, UINT32_MAX, &tally->layer_lines[row]);
    phy_text_put(out, "</tr>\n");
}

static void put_legend(struct phy_text *out, struct scale scale)
{
    phy_text_put(out, "<div class=legend aria-hidden=true>");
    for (int step = 0; step < HEAT_STEPS; step++) {
        phy_text_printf(out, "<span class=c%d>", step);
        phy_text_decimal(out, (scale.low + (scale.high - scale.low) * step / HEAT_STEPS) * 100.0, 1);
        phy_text_put(out, "&ndash;");
        phy_text_decimal(out, (scale.low + (scale.high - scale.low) * (step + 1) / HEAT_STEPS) * 100.0, 1);
        phy_text_put(out, "</span>");
    }
    phy_text_put(out, "</div>\n");
}

/* self_attn.q_proj in two lines, so that seven columns fit a narrow page. */
static void put_column_head(struct phy_text *out, const char *projection)
{
    const char *dot = strchr(projection, '.');
    phy_text_put(out, "<th scope=col>");
    if (dot && strlen(projection) < 64) {
        char first[64];
        memcpy(first, projection, (size_t)(dot - projection));
        first[dot - projection] = 0;
        phy_text_html_name(out, first, PHY_NAME_BARE);
        phy_text_put(out, "<br>");
        projection = dot + 1;
    }
    phy_text_html_name(out, projection, PHY_NAME_BARE);
    phy_text_put(out, "</th>");
}

static void put_heat_map(struct phy_text *out, const struct phy_surgery_view *view)
{
    const struct phy_tally *tally = &view->tally;
    struct scale scale = scale_of(tally);
    size_t rows = tally->layer_count < HEAT_LAYERS ? tally->layer_count : HEAT_LAYERS;
    size_t columns = tally->projection_count < HEAT_PROJECTIONS ? tally->projection_count : HEAT_PROJECTIONS;
    size_t next_cell = 0;
    phy_text_put(
        out,
        "<h2>Sparsity by layer and projection</h2>\n<p class=soft>Killed weights in percent. Darker is more in the "
        "light theme, brighter is more in the dark one; &#9650; and &#9660; mark what stands out above and below "
        "its kind.</p>\n<div class=wide><table class=heat><thead><tr><th scope=col>layer</th>");
    for (size_t i = 0; i < columns; i++)
        put_column_head(out, tally->projections[i]);
    phy_text_put(out, "<th scope=col>all</th></tr></thead><tbody>\n");
    for (size_t row = 0; row < rows; row++)
        put_heat_row(out, view, scale, row, &next_cell, columns);
    phy_text_put(out, "<tr><th scope=row>all</th>");
    for (size_t i = 0; i < columns; i++)
        put_heat_cell(out, view, scale, UINT32_MAX - 1, UINT32_MAX, &tally->projection_lines[i]);
    put_heat_cell(out, view, scale, UINT32_MAX - 1, UINT32_MAX, &tally->target);
    phy_text_put(out, "</tr>\n</tbody></table></div>\n");
    put_legend(out, scale);
    if (rows < tally->layer_count || columns < tally->projection_count)
        phy_text_printf(
            out,
            "<p class=bad>Only %zu of %zu layers and %zu of %zu projections are shown; coverage.json has all.</p>\n",
            rows, tally->layer_count, columns, tally->projection_count);
}

/* ---- profile over layers ---- */

/* A step of 1, 2 or 5 times a power of ten that gives about five lines, in percent. */
static double grid_step(double span)
{
    double step = 0.01;
    static const double factors[] = {2.0, 2.5, 2.0};
    for (int i = 0; span / step > 6.0 && step < 100.0; i++)
        step *= factors[i % 3];
    return step;
}

static void put_grid(struct phy_text *out, const struct phy_plot *plot, const struct phy_tally *tally, size_t count,
                     double step)
{
    for (double at = plot->y.low * 100.0; at <= plot->y.high * 100.0 + step / 2; at += step) {
        phy_plot_y_tick(out, plot, at / 100.0);
        phy_text_decimal(out, at, step < 0.1 ? 2 : step < 1.0 ? 1 : 0);
        phy_text_put(out, "%</text>\n");
    }
    for (size_t i = 0; i < count; i += count / 16 + 1) {
        phy_plot_x_tick(out, plot, (double)i, false);
        put_layer(out, tally->layers[i]);
        phy_text_put(out, "</text>\n");
    }
    phy_plot_titles(out, plot, "layer", NULL);
}

static void put_curves(struct phy_text *out, const struct phy_plot *plot, const struct phy_tally *tally, size_t count)
{
    phy_text_put(out, "<polygon class=band points=\"");
    for (size_t i = 0; i < count; i++)
        phy_plot_point(out, plot, (double)i, tally->layer_lines[i].sparsity_max);
    for (size_t i = count; i-- > 0;)
        phy_plot_point(out, plot, (double)i, tally->layer_lines[i].sparsity_min);
    phy_text_put(out, "\"></polygon>\n<polyline class=curve points=\"");
    for (size_t i = 0; i < count; i++)
        phy_plot_point(out, plot, (double)i, phy_tally_sparsity(&tally->layer_lines[i]));
    phy_text_put(out, "\"></polyline>\n");
    for (size_t i = 0; i < count; i++) {
        const struct phy_tally_line *line = &tally->layer_lines[i];
        phy_plot_dot(out, plot, "class=dot r=3.5", (double)i, phy_tally_sparsity(line));
        phy_text_put(out, "<title>layer ");
        put_layer(out, tally->layers[i]);
        phy_text_put(out, ": ");
        put_percent(out, phy_tally_sparsity(line), 2);
        phy_text_put(out, ", its tensors ");
        put_percent(out, line->sparsity_min, 2);
        phy_text_put(out, " to ");
        put_percent(out, line->sparsity_max, 2);
        phy_text_put(out, "</title></circle>\n");
    }
}

static void put_profile(struct phy_text *out, const struct phy_tally *tally)
{
    const size_t count = tally->layer_count < 4096 ? tally->layer_count : 4096;
    double low = 1.0, high = 0.0;
    for (size_t i = 0; i < count; i++) {
        low = fmin(low, tally->layer_lines[i].sparsity_min);
        high = fmax(high, tally->layer_lines[i].sparsity_max);
    }
    if (high - low < 0.02) { /* as for the colours: noise must not look like a profile */
        double middle = 0.5 * (low + high);
        low = fmax(middle - 0.01, 0.0);
        high = low + 0.02;
    }
    double step = grid_step((high - low) * 100.0);
    low = floor(low * 100.0 / step) * step / 100.0;
    high = ceil(high * 100.0 / step) * step / 100.0;
    if (high <= low)
        high = low + step / 100.0;
    const struct phy_plot plot = {.left = 56,
                                  .right = 984,
                                  .top = 14,
                                  .bottom = 226,
                                  .inset = 12,
                                  .x = {.high = (double)count - 1},
                                  .y = {.low = low, .high = high}};
    phy_text_put(out, "<h2>Profile over the layers</h2>\n<p class=soft>Line: killed share of a layer's target weights. "
                      "Band: from the "
                      "layer's least pruned tensor to its most pruned one.");
    phy_text_put(out, low > 0 ? " The axis does not begin at zero.</p>\n" : "</p>\n");
    phy_plot_begin(out, 1000, 274, "Sparsity by layer");
    put_grid(out, &plot, tally, count, step);
    put_curves(out, &plot, tally, count);
    phy_plot_end(out);
}

/* ---- one tile ---- */

/* Black over purple and orange to pale yellow: lightness rises all the way, so it reads in grey too. */
static void make_palette(uint8_t palette[256][3])
{
    static const uint8_t anchors[][3] = {{2, 2, 12},    {62, 18, 102},  {144, 42, 98},
                                         {221, 82, 58}, {250, 164, 20}, {252, 252, 172}};
    for (int i = 0; i < 256; i++) {
        int piece = i * 5 / 256, at = i * 5 - piece * 256;
        for (int k = 0; k < 3; k++)
            palette[i][k] = (uint8_t)((anchors[piece][k] * (256 - at) + anchors[piece + 1][k] * at) / 256);
    }
}

static int compare_floats(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return left < right ? -1 : left > right;
}

/* The value that 99.5% of the tile's food stays below; one huge weight must not turn the rest black. */
static double bright_food(const float *food, size_t count)
{
    float *sorted = phy_alloc(count, sizeof *sorted);
    if (!sorted)
        return -1.0;
    memcpy(sorted, food, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_floats);
    double bright = (double)sorted[(count - 1) * 995 / 1000];
    phy_free(sorted);
    return bright > 0 ? bright : 1.0;
}

static uint8_t shade_of(double share)
{
    return !(share > 0) ? 0 : share >= 1.0 ? 255 : (uint8_t)(share * 255.0);
}

static bool put_tile_picture(struct phy_text *out, const struct phy_report_tile *tile, bool before)
{
    size_t count = (size_t)tile->rows * tile->cols;
    uint8_t palette[256][3], *pixels = phy_alloc(count, 1);
    double bright = before ? bright_food(tile->food, count) : 1.0;
    bool done = pixels && bright > 0;
    make_palette(palette);
    for (size_t i = 0; done && i < count; i++)
        pixels[i] = before ? shade_of(sqrt((double)tile->food[i] / bright)) : shade_of((double)tile->conductance[i]);
    done = done && phy_picture_data_uri(out, pixels, tile->rows, tile->cols, (const uint8_t(*)[3])palette);
    phy_free(pixels);
    return done;
}

static void put_histogram(struct phy_text *out, const struct phy_report_tile *tile)
{
    enum { BINS = 40, WIDTH = 320, HEIGHT = 296 };
    uint64_t bins[BINS] = {0}, most = 1, killed = 0;
    size_t count = (size_t)tile->rows * tile->cols;
    for (size_t i = 0; i < count; i++) {
        double d = (double)tile->conductance[i];
        int bin = !(d > 0) ? 0 : d >= 1.0 ? BINS - 1 : (int)(d * BINS);
        bins[bin]++;
        killed += d < 0.5 && tile->food[i] > 0;
        most = bins[bin] > most ? bins[bin] : most;
    }
    phy_text_printf(out, "<figure><svg viewBox=\"0 0 %d %d\" role=img aria-label=\"Histogram of conductance\">\n",
                    WIDTH, HEIGHT + 24);
    for (int i = 0; i < BINS; i++) {
        /* The root keeps small bins visible beside the two heaps. */
        double height = sqrt((double)bins[i] / (double)most) * HEIGHT;
        phy_plot_rect(out, "dot", i * 8, HEIGHT - height, 7, height);
        phy_text_printf(out, "<title>D %d/%d: %" PRIu64 " weights</title></rect>\n", i, BINS, bins[i]);
    }
    phy_plot_line(out, "half", WIDTH / 2.0, 0, WIDTH / 2.0, HEIGHT);
    phy_plot_line(out, "grid", 0, HEIGHT, WIDTH, HEIGHT);
    phy_plot_label(out, "text-anchor=start", 0, HEIGHT + 18);
    phy_text_put(out, "0</text>");
    phy_plot_label(out, "text-anchor=middle", WIDTH / 2.0, HEIGHT + 18);
    phy_text_put(out, "1/2</text>");
    phy_plot_label(out, "text-anchor=end", WIDTH, HEIGHT + 18);
    phy_text_put(out, "1</text></svg>\n<figcaption>After: how many weights have which conductance (height: square root "
                      "of the count). ");
    phy_text_count(out, killed);
    phy_text_put(out, " of ");
    phy_text_count(out, count);
    phy_text_put(out, " ended below 1/2: killed.</figcaption></figure>\n");
}

static void put_tile(struct phy_text *out, const struct phy_report_tile *tile)
{
    enum { SIDE_LIMIT = 4096 };
    phy_text_put(out, "<h2>One tile, before and after</h2>\n");
    if (!tile->food || !tile->conductance || tile->rows == 0 || tile->cols == 0 || tile->rows > SIDE_LIMIT ||
        tile->cols > SIDE_LIMIT) {
        phy_text_put(out, "<p class=soft>No tile was kept for a picture.</p>\n");
        return;
    }
    phy_text_put(out, "<p class=soft>Tensor ");
    phy_text_html_name(out, tile->tensor, PHY_NAME_QUOTED);
    phy_text_printf(out,
                    ", rows %" PRIu64 " to %" PRIu64 ", columns %" PRIu64 " to %" PRIu64
                    ".</p>\n<div class=tiles>\n<figure><img alt=\"",
                    tile->row, tile->row + tile->rows - 1, tile->col, tile->col + tile->cols - 1);
    phy_text_put(out, "Food of each weight of the tile\" src=\"");
    out->failed = !put_tile_picture(out, tile, true) || out->failed;
    phy_text_put(out,
                 "\"><figcaption>Before: food, the weights' magnitudes (square root; dark is 0). Every conductance is "
                 "1.</figcaption></figure>\n<figure><img alt=\"Final conductance of each weight of the tile\" src=\"");
    out->failed = !put_tile_picture(out, tile, false) || out->failed;
    phy_text_put(
        out,
        "\"><figcaption>After: conductance D, from 0 (dark: killed) to 1 (bright: carries).</figcaption></figure>\n");
    put_histogram(out, tile);
    phy_text_put(out, "</div>\n");
}

/* ---- tables ---- */

static void put_estimate(struct phy_text *out, const char *label, struct phy_estimate estimate, double factor,
                         const char *unit)
{
    phy_text_printf(out, "<tr><td class=l>%s</td><td>", label);
    phy_text_decimal(out, estimate.value * factor, 4);
    phy_text_put(out, " &plusmn; ");
    phy_text_decimal(out, estimate.error * factor, 4);
    phy_text_printf(out, "%s</td></tr>\n", unit);
}

static void put_eval(struct phy_text *out, const struct phy_surgery_record *record)
{
    const struct phy_eval_result *r = record->eval;
    if (!r)
        return;
    phy_text_put(out, "<h2>Quality</h2>\n<p class=soft>The output against the donor on the text ");
    phy_text_html_name(out, record->eval_text_name, PHY_NAME_QUOTED);
    phy_text_put(out, ": ");
    phy_text_count(out, r->token_count);
    phy_text_printf(out, " tokens in %zu windows of %" PRIu32 ". Errors are standard errors.</p>\n", r->window_count,
                    r->context);
    phy_text_put(out, "<div class=wide><table><tbody>\n");
    put_estimate(out, "perplexity", r->perplexity, 1, "");
    put_estimate(out, "perplexity of the donor", r->baseline_perplexity, 1, "");
    put_estimate(out, "difference, paired", r->delta_perplexity, 1, "");
    put_estimate(out, "KL(donor || output)", r->kl_bits, 1, " bits");
    put_estimate(out, "the same likeliest token", r->top1_agreement, 100, "%");
    phy_text_put(out, "</tbody></table></div>\n");
}

static void put_projections(struct phy_text *out, const struct phy_tally *tally)
{
    phy_text_put(
        out,
        "<h2>Projections</h2>\n<div class=wide><table><thead><tr><th>projection</th><th>n</th><th>mean</th><th>min</th>"
        "<th>max</th><th>processed</th><th>killed</th><th>ratio</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < tally->projection_count; i++) {
        const struct phy_tally_line *line = &tally->projection_lines[i];
        phy_text_put(out, "<tr>");
        put_cell(out, tally->projections[i], PHY_NAME_BARE);
        put_count_cell(out, line->tensors);
        put_percent_cell(out, line->sparsity_sum / (double)line->tensors);
        put_percent_cell(out, line->sparsity_min);
        put_percent_cell(out, line->sparsity_max);
        put_count_cell(out, line->processed);
        put_count_cell(out, line->killed);
        put_percent_cell(out, phy_tally_sparsity(line));
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</tbody></table></div>\n");
}

static void put_outliers(struct phy_text *out, const struct phy_surgery_view *view)
{
    phy_text_put(out, "<h2>Layers that stand out</h2>\n");
    if (view->outlier_count == 0) {
        phy_text_put(out,
                     "<p>None: nothing is more than 3.5 robust standard deviations from the median of its kind.</p>\n");
        return;
    }
    phy_text_put(
        out,
        "<p class=soft>More than 3.5 robust standard deviations from the median of their kind, the farthest "
        "first.</p>\n"
        "<div class=wide><table><thead><tr><th>layer</th><th class=l>projection</th><th>sparsity</th><th>median</th>"
        "<th>difference, points</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < view->outlier_count; i++) {
        const struct phy_outlier *outlier = &view->outliers[i];
        bool whole = outlier->projection == UINT32_MAX, above = outlier->sparsity > outlier->median;
        phy_text_put(out, "<tr><td class=l>");
        put_layer(out, outlier->layer);
        phy_text_put(out, "</td>");
        put_cell(out, whole ? "all" : view->tally.projections[outlier->projection], PHY_NAME_BARE);
        put_percent_cell(out, outlier->sparsity);
        put_percent_cell(out, outlier->median);
        phy_text_put(out, above ? "<td>&#9650; +" : "<td>&#9660; ");
        phy_text_decimal(out, (outlier->sparsity - outlier->median) * 100.0, 2);
        phy_text_put(out, "</td></tr>\n");
    }
    phy_text_put(out, "</tbody></table></div>\n");
}

static void put_integrity(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(
        out,
        "<h2>Integrity</h2>\n<p class=soft>XXH3-64 of the output's files.</p>\n<div "
        "class=wide><table><thead><tr><th>file</th>"
        "<th>bytes</th><th>header bytes</th><th class=l>header</th><th class=l>whole file</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < record->shard_count; i++) {
        const struct phy_report_shard *shard = &record->shards[i];
        phy_text_put(out, "<tr>");
        put_cell(out, shard->name, PHY_NAME_BARE);
        put_count_cell(out, shard->bytes);
        put_count_cell(out, shard->header_bytes);
        phy_text_printf(out, "<td class=\"l m\">%016" PRIx64 "</td><td class=\"l m\">%016" PRIx64 "</td></tr>\n",
                        shard->header_xxh3, shard->file_xxh3);
    }
    phy_text_put(out, "</tbody></table></div>\n");
}

static void put_times(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(out, "<h2>Wall clock</h2>\n<div class=wide><table><thead><tr><th>stage or "
                      "shard</th><th>seconds</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < record->stage_count; i++) {
        phy_text_put(out, "<tr>");
        put_cell(out, record->stages[i].name, PHY_NAME_BARE);
        put_decimal_cell(out, record->stages[i].seconds, 3);
        phy_text_put(out, "</tr>\n");
    }
    for (size_t i = 0; i < record->shard_count; i++) {
        phy_text_put(out, "<tr>");
        put_cell(out, record->shards[i].name, PHY_NAME_BARE);
        put_decimal_cell(out, record->shards[i].seconds, 3);
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "<tr class=all><td class=l>all</td>");
    put_decimal_cell(out, record->seconds, 3);
    phy_text_put(out, "</tr>\n</tbody></table></div>\n");
}

static void put_devices(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(
        out,
        "<h2>Devices</h2>\n<div class=wide><table><thead><tr><th>device</th><th class=l>what it is</th><th>weights</th>"
        "<th>busy seconds</th><th>Mweights/s</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < record->device_count; i++) {
        const struct phy_report_device *device = &record->devices[i];
        phy_text_put(out, "<tr>");
        put_cell(out, device->name, PHY_NAME_BARE);
        put_cell(out, device->description, PHY_NAME_LINE);
        put_count_cell(out, device->weights);
        put_decimal_cell(out, device->busy_seconds, 3);
        put_decimal_cell(out, device->busy_seconds > 0 ? (double)device->weights / device->busy_seconds / 1e6 : 0.0, 1);
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</tbody></table></div>\n");
    if (record->tiles_redone_on_cpu) {
        phy_text_put(out, "<p class=bad>A device was lost: ");
        phy_text_count(out, record->tiles_redone_on_cpu);
        phy_text_put(out, " tiles were redone on the CPU.</p>\n");
    }
}

static void put_globs(struct phy_text *out, const char *label, const char *const *globs, size_t count)
{
    if (count == 0)
        return;
    phy_text_printf(out, "<tr><td class=l>%s</td><td class=l>", label);
    for (size_t i = 0; i < count; i++) {
        phy_text_put(out, i ? ", " : "");
        phy_text_html_name(out, globs[i], PHY_NAME_QUOTED);
    }
    phy_text_put(out, "</td></tr>\n");
}

static void put_parameters(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(out,
                 "<h2>Inputs and parameters</h2>\n<div class=wide><table><tbody>\n<tr><td class=l>donor digest</td>");
    put_cell(out, record->donor_digest, PHY_NAME_BARE);
    phy_text_printf(out, "</tr>\n<tr><td class=l>method</td><td class=l>%s</td></tr>\n",
                    phy_record_is_flow(record) ? "flow" : record->method);
    if (phy_record_is_flow(record)) {
        phy_text_put(out, "<tr><td class=l>gain</td><td class=l>");
        phy_text_number(out, record->gain);
        phy_text_printf(out,
                        "</td></tr>\n<tr><td class=l>beta, iterations, block</td><td class=l>%" PRIu32 ", %" PRIu32
                        ", %" PRIu32 "</td></tr>\n",
                        record->beta, record->iterations, record->block);
    }
    phy_text_put(out, "<tr><td class=l>sparsity asked</td><td class=l>");
    if (record->pattern)
        phy_text_printf(out, "%" PRIu32 " of each %" PRIu32 " columns stay", record->pattern_keep, record->pattern);
    else if (record->sparsity_asked > 0)
        put_percent(out, record->sparsity_asked, 2);
    else
        phy_text_put(out, "none, the gain was given");
    phy_text_put(out, "</td></tr>\n<tr><td class=l>calibration</td><td class=l>");
    if (record->calibration_name) {
        phy_text_html_name(out, record->calibration_name, PHY_NAME_QUOTED);
        phy_text_put(out, ", digest ");
        phy_text_html_name(out, record->calibration_digest, PHY_NAME_BARE);
    } else {
        phy_text_put(out, "none");
    }
    phy_text_put(out, "</td></tr>\n");
    put_globs(out, "include", record->include, record->include_count);
    put_globs(out, "exclude", record->exclude, record->exclude_count);
    if (record->has_layers)
        phy_text_printf(out, "<tr><td class=l>layers</td><td class=l>%" PRIu32 " to %" PRIu32 "</td></tr>\n",
                        record->first_layer, record->last_layer);
    phy_text_put(out, "</tbody></table></div>\n");
}

static void put_closing(struct phy_text *out, const struct phy_surgery_view *view)
{
    if (view->record->warning_count)
        phy_text_put(out, "<h2>Warnings</h2>\n<ul>\n");
    for (size_t i = 0; i < view->record->warning_count; i++) {
        phy_text_put(out, "<li>");
        phy_text_html_name(out, view->record->warnings[i], PHY_NAME_LINE);
        phy_text_put(out, "</li>\n");
    }
    phy_text_put(out, view->record->warning_count ? "</ul>\n<h2>What was not done</h2>\n<ul>\n"
                                                  : "<h2>What was not done</h2>\n<ul>\n");
    for (size_t i = 0; i < view->not_done_count; i++)
        phy_text_printf(out, "<li>%s</li>\n", view->not_done[i]);
    phy_text_put(out, "</ul>\n<footer>physarium " PHY_VERSION_STRING
                      "; the same numbers for programs: surgery.json, coverage.json, "
                      "tensors.jsonl.</footer>\n</main></body></html>\n");
}

void phy_surgery_put_html(struct phy_text *out, const struct phy_surgery_view *view)
{
    put_head(out, view);
    if (view->tally.cell_count) {
        put_heat_map(out, view);
        put_profile(out, &view->tally);
    }
    if (phy_record_is_flow(view->record))
        put_tile(out, &view->record->tile);
    put_eval(out, view->record);
    put_projections(out, &view->tally);
    put_outliers(out, view);
    put_integrity(out, view->record);
    put_times(out, view->record);
    put_devices(out, view->record);
    put_parameters(out, view->record);
    put_closing(out, view);
}
