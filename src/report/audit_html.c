/* SPDX-License-Identifier: Apache-2.0 */
/* audit.html: one file, no script, nothing fetched; the style of every page. What a colour says, a size, a sign or a
 * word says too. Texts of tokens, prompts and drivers come from strangers and go through phy_text_html_name. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu_features.h"
#include "physarium/version.h"
#include "report/audit_report.h"
#include "report/html_style.h"
#include "report/plot.h"

enum { CELL = 16, LEFT = 34, TOP = 8, GAP = 8, STEPS = 8, LABELS = 84, CONTEXT = 12, WORST_SHOWN = 3 };

static const char audit_style[] =
    "td:not(.l){white-space:nowrap}td.ctx{min-width:14em}.facts{grid-template-columns:repeat(auto-fit,minmax(170px,1fr)"
    ")}\n"
    ".q0{fill:var(--s1)}.q1{fill:var(--s2)}.q2{fill:var(--s3)}.q3{fill:var(--s4)}.q4{fill:var(--s5)}.q5{fill:var(--s5)}"
    ".q6{fill:var(--s6)}.q7{fill:var(--s7)}.ring{fill:none;stroke:var(--bad);stroke-width:3}.cross{stroke:var(--bad);"
    "stroke-width:2}.back{fill:var(--card);stroke:var(--line)}svg.map{width:auto;max-width:100%}"
    "svg.map text{font:10px ui-monospace,monospace}.ok{color:var(--accent);font-weight:600}"
    ".skip{color:var(--soft);font-style:italic}td.n{white-space:nowrap}.ctx{max-width:62ch;overflow-wrap:anywhere}"
    "mark{background:var(--band);color:inherit;outline:1px solid var(--accent);border-radius:3px;padding:0 2px}"
    "details{margin:14px 0;border:1px solid var(--line);border-radius:8px;padding:8px 14px;background:var(--card)}"
    "summary{cursor:pointer;font-weight:600}summary span{font-weight:400;color:var(--soft)}"
    ".maps{display:flex;flex-wrap:wrap;gap:18px;margin:12px 0 4px}.maps figure{flex:1 1 420px;min-width:0}\n";

/* ---- small things ---- */

static void put_fact(struct phy_text *out, const char *label, const char *value)
{
    phy_text_printf(out, "<div class=fact><b>%s</b><span>%s</span></div>\n", value, label);
}

static void put_name(struct phy_text *out, const char *name)
{
    phy_text_html_name(out, name, PHY_NAME_LINE);
}

/* Runs of the same path and storage: the first of them stands for all. */
static bool same_row(const struct phy_audit_run *a, const struct phy_audit_run *b)
{
    return strcmp(a->path, b->path) == 0 && strcmp(a->scheme, b->scheme) == 0;
}

static bool is_first(const struct phy_audit_record *r, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (same_row(&r->runs[i], &r->runs[index]))
            return false;
    }
    return true;
}

static const char *verdict_mark(const struct phy_audit_run *run)
{
    return !run->passed   ? "<span class=bad>&#10007; FAIL</span>"
           : run->bounded ? "<span class=ok>&#10003;</span>"
                          : "<span class=ok>&#9675; measured</span>";
}

/* ---- the head ---- */

static void put_head(struct phy_text *out, const struct phy_audit_record *r)
{
    char value[64];
    size_t failed = 0;
    for (size_t i = 0; i < r->run_count; i++)
        failed += !r->runs[i].passed;
    phy_text_put(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
                      "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>Audit: ");
    put_name(out, r->model_name);
    phy_text_put(out, "</title>\n<style>\n");
    phy_text_put(out, phy_report_style);
    phy_text_put(out, audit_style);
    phy_text_put(out, "</style></head>\n<body><main>\n<h1>Audit of ");
    put_name(out, r->model_name);
    phy_text_printf(out,
                    ": %s</h1>\n<p class=soft>Every way of computing the FFN, on every device, beside a dense "
                    "reference in float64, on real prompts. ",
                    r->passed ? "pass" : "<span class=bad>FAIL</span>");
    put_name(out, r->model_type);
    phy_text_printf(out, ", %u layers of %u &times; %u, weights %s", r->model_layers, r->intermediate_size,
                    r->hidden_size, r->model_digest);
    if (r->against_name) {
        phy_text_put(out, "; against ");
        put_name(out, r->against_name);
        phy_text_printf(out, ", weights %s", r->against_digest);
    }
    phy_text_put(out, ".</p>\n<div class=facts>\n");
    snprintf(value, sizeof value, "%zu", r->run_count);
    put_fact(out, "paths &times; devices run", value);
    snprintf(value, sizeof value, "%zu", failed);
    put_fact(out, "failed", value);
    snprintf(value, sizeof value, "%zu", r->skip_count);
    put_fact(out, "skipped, each with its reason below", value);
    snprintf(value, sizeof value, "%zu", r->layer_count * r->position_count);
    put_fact(out, "observations a path: layers &times; positions", value);
    if (r->oracle.present)
        snprintf(value, sizeof value, "%.1e %s", r->oracle.max_rel_l2, r->oracle.passed ? "&#10003;" : "&#10007;");
    else
        snprintf(value, sizeof value, "absent");
    put_fact(out, "reference's logits from the oracle's, relative L2", value);
    phy_text_put(out, "</div>\n");
    if (r->budget_seconds)
        phy_text_printf(out,
                        "<p>A budget of %" PRIu64 " s (estimated: %.0f s) left %zu of %u layers and %zu positions, and "
                        "%zu prompts out.</p>\n",
                        r->budget_seconds, r->estimated_seconds, r->layer_count, r->model_layers, r->position_count,
                        r->dropped_prompts);
}

static void put_causes(struct phy_text *out, const struct phy_audit_record *r)
{
    bool any = r->oracle.causes.count > 0;
    for (size_t i = 0; i < r->run_count; i++)
        any |= r->runs[i].causes.count > 0;
    if (!any)
        return;
    phy_text_put(out, "<h2>What failed</h2>\n<ul>\n");
    for (size_t i = 0; i < r->oracle.causes.count; i++) {
        phy_text_put(out, "<li><b>oracle</b>: ");
        put_name(out, r->oracle.causes.lines[i]);
        phy_text_put(out, "</li>\n");
    }
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        for (size_t k = 0; k < run->causes.count; k++) {
            phy_text_printf(out, "<li><b>%s</b> (%s) on %s: ", run->path, run->scheme, run->device);
            put_name(out, run->causes.lines[k]);
            phy_text_put(out, "</li>\n");
        }
    }
    phy_text_put(out, "</ul>\n");
}

/* ---- the matrix of devices ---- */

/* 'A', 'B' ... for outputs that equal another device's bit for bit; 0 for those of their own. */
static char twin(const struct phy_audit_record *r, size_t index)
{
    const struct phy_audit_run *run = &r->runs[index];
    char letter = 'A';
    bool found = false;
    if (!run->has_output_xxh3)
        return 0;
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *other = &r->runs[i];
        if (i == index || !same_row(run, other) || !other->has_output_xxh3)
            continue;
        if (other->output_xxh3 == run->output_xxh3)
            found = true;
        else if (i < index && twin(r, i) && !found)
            letter = (char)(twin(r, i) + 1);
    }
    return found ? letter : 0;
}

static void put_matrix_cell(struct phy_text *out, const struct phy_audit_record *r, size_t row, const char *device)
{
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        if (!same_row(run, &r->runs[row]) || strcmp(run->device, device) != 0)
            continue;
        char letter = twin(r, i);
        phy_text_printf(out, "<td class=n>%s ", verdict_mark(run));
        if (run->original.count)
            phy_text_printf(out, "%.1e", run->has_decoded ? run->decoded.max_rel_l2 : run->original.max_rel_l2);
        if (letter)
            phy_text_printf(out, " <span class=soft>=%c</span>", letter);
        phy_text_put(out, "</td>");
        return;
    }
    phy_text_put(out, "<td class=skip>skipped</td>");
}

static void put_matrix(struct phy_text *out, const struct phy_audit_record *r)
{
    if (r->against_name)
        return;
    phy_text_put(out,
                 "<h2>Paths and devices</h2>\n<p class=soft>Largest relative L2 of an observation against the "
                 "<em>decoded</em> weights: the error of the kernel alone; the column of the original weights holds "
                 "the storage's error too. <b>=A</b>, <b>=B</b>: equal bit for bit within the row.</p>\n"
                 "<div class=wide><table><tr><th>path<th class=l>storage<th>original weights<th>top-1");
    for (size_t d = 0; d < r->device_count; d++) {
        phy_text_put(out, "<th>");
        put_name(out, r->devices[d].name);
    }
    phy_text_put(out, "</tr>\n");
    for (size_t i = 0; i < r->run_count; i++) {
        if (!is_first(r, i))
            continue;
        double rel_l2 = 0;
        uint32_t top1 = UINT32_MAX;
        for (size_t k = i; k < r->run_count; k++) {
            if (same_row(&r->runs[k], &r->runs[i]) && r->runs[k].original.count) {
                rel_l2 = fmax(rel_l2, r->runs[k].original.max_rel_l2);
                top1 = r->runs[k].top1_match < top1 ? r->runs[k].top1_match : top1;
            }
        }
        phy_text_printf(out, "<tr><td class=\"l n\">%s</td><td class=l>%s</td><td>%.2e</td><td>", r->runs[i].path,
                        r->runs[i].scheme, rel_l2);
        if (top1 != UINT32_MAX)
            phy_text_printf(out, "%u/%zu", top1, r->prompt_count);
        phy_text_put(out, "</td>");
        for (size_t d = 0; d < r->device_count; d++)
            put_matrix_cell(out, r, i, r->devices[d].name);
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</table></div>\n");
}

/* ---- heat maps ---- */

/* The largest of the row's devices at each place. */
static float *merge_heat(const struct phy_audit_record *r, size_t row, bool decoded)
{
    const size_t count = r->layer_count * r->position_count;
    float *heat = phy_zalloc(count, sizeof *heat);
    for (size_t i = row; heat && i < r->run_count; i++) {
        const float *from = decoded ? r->runs[i].decoded_heat : r->runs[i].heat;
        if (!from || !r->runs[i].original.count || !same_row(&r->runs[i], &r->runs[row]))
            continue;
        for (size_t k = 0; k < count; k++)
            heat[k] = isnan(from[k]) || isnan(heat[k]) ? NAN : fmaxf(heat[k], from[k]);
    }
    return heat;
}

struct range {
    double low, high; /* logarithms of the smallest and largest value that is not zero */
    size_t worst;
};

static struct range range_of(const float *heat, size_t count)
{
    struct range range = {INFINITY, -INFINITY, 0};
    for (size_t i = 0; i < count; i++) {
        if (!(heat[i] > 0) || !isfinite(heat[i]))
            continue;
        double value = log10((double)heat[i]);
        range.low = fmin(range.low, value);
        if (value > range.high) {
            range.high = value;
            range.worst = i;
        }
    }
    if (!isfinite(range.low))
        range.low = range.high = -9;
    range.high = fmax(range.high, range.low + 0.08);
    return range;
}

static int step_of(const struct range *range, float value)
{
    if (!(value > 0))
        return -1;
    int step = (int)((log10((double)value) - range->low) / (range->high - range->low) * STEPS);
    return step < 0 ? 0 : step >= STEPS ? STEPS - 1 : step;
}

static int column_x(const struct phy_audit_record *r, size_t column)
{
    int x = LEFT;
    for (size_t i = 1; i < r->prompt_count; i++)
        x += column >= r->prompts[i].first ? GAP : 0;
    return x + (int)column * CELL;
}

/* Squares of one step as one path: their side grows with the step, as their shade does. */
static void put_step(struct phy_text *out, const struct phy_audit_record *r, const float *heat,
                     const struct range *range, int step)
{
    const int side = 2 + (CELL - 4) * (step + 1) / STEPS, margin = (CELL - side) / 2;
    bool open = false;
    for (size_t l = 0; l < r->layer_count; l++) {
        for (size_t k = 0; k < r->position_count; k++) {
            if (step_of(range, heat[l * r->position_count + k]) != step)
                continue;
            if (!open)
                phy_text_printf(out, "<path class=q%d d=\"", step);
            open = true;
            phy_text_printf(out, "M%d %dh%dv%dh-%dz", column_x(r, k) + margin, TOP + (int)l * CELL + margin, side, side,
                            side);
        }
    }
    if (open)
        phy_text_put(out, "\"/>\n");
}

static void put_not_finite(struct phy_text *out, const struct phy_audit_record *r, const float *heat)
{
    for (size_t i = 0; i < r->layer_count * r->position_count; i++) {
        int x = column_x(r, i % r->position_count), y = TOP + (int)(i / r->position_count) * CELL;
        if (isnan(heat[i]))
            phy_text_printf(out, "<path class=cross d=\"M%d %dl10 10m0-10l-10 10\"/>\n", x + 3, y + 3);
    }
}

static void put_map_labels(struct phy_text *out, const struct phy_audit_record *r)
{
    const int bottom = TOP + (int)r->layer_count * CELL;
    for (size_t l = 0; l < r->layer_count; l++) {
        if (r->layer_count > 12 && l % 5 != 0 && l + 1 != r->layer_count)
            continue;
        phy_plot_label(out, "text-anchor=end", LEFT - 6, TOP + (int)l * CELL + 12);
        phy_text_printf(out, "%u</text>", r->layers[l]);
    }
    for (size_t i = 0; i < r->prompt_count; i++) {
        const struct phy_audit_prompt *p = &r->prompts[i];
        for (size_t k = 0; k < p->position_count; k++) {
            int x = column_x(r, p->first + k) + 11;
            phy_text_printf(out, "<text text-anchor=end transform=\"translate(%d %d)rotate(-90)\">", x, bottom + 6);
            char cut[48];
            snprintf(cut, sizeof cut, "%s", p->tokens[p->positions[k]]);
            size_t bytes = strlen(cut), characters = 0;
            for (size_t b = 0; b < bytes; b++) {
                if (((unsigned char)cut[b] & 0xC0) != 0x80 && characters++ == 12)
                    cut[bytes = b] = 0;
            }
            put_name(out, cut);
            phy_text_put(out, "</text>");
        }
    }
    phy_text_put(out, "\n");
}

static void put_map(struct phy_text *out, const struct phy_audit_record *r, const float *heat, const char *caption)
{
    const struct range range = range_of(heat, r->layer_count * r->position_count);
    const int width = column_x(r, r->position_count ? r->position_count - 1 : 0) + CELL + 4;
    const int height = TOP + (int)r->layer_count * CELL + LABELS;
    phy_text_printf(
        out, "<figure><svg class=map width=%d viewBox=\"0 0 %d %d\" role=img aria-label=\"layer by position\">\n",
        width, width, height);
    for (size_t i = 0; i < r->prompt_count; i++) {
        phy_plot_rect(out, "back", column_x(r, r->prompts[i].first) - 1, TOP - 1,
                      (int)r->prompts[i].position_count * CELL + 2, (int)r->layer_count * CELL + 2);
        phy_text_put(out, "</rect>");
    }
    for (int step = 0; step < STEPS; step++)
        put_step(out, r, heat, &range, step);
    put_not_finite(out, r, heat);
    phy_plot_rect(out, "ring", column_x(r, range.worst % r->position_count) - 1,
                  TOP + (int)(range.worst / r->position_count) * CELL - 1, CELL + 2, CELL + 2);
    phy_text_put(out, "</rect>\n");
    put_map_labels(out, r);
    phy_text_printf(out,
                    "</svg><figcaption>%s: smallest square %.1e, largest %.1e; the ring is the worst. Rows are "
                    "layers, columns tokens.</figcaption></figure>\n",
                    caption, pow(10, range.low), pow(10, range.high));
}

/* ---- worst tokens ---- */

static void put_context(struct phy_text *out, const struct phy_audit_prompt *p, uint32_t position)
{
    uint32_t begin = position > CONTEXT ? position - CONTEXT : 0;
    phy_text_put(out, begin ? "&hellip;" : "");
    for (uint32_t i = begin; i < p->id_count && i <= position + 3; i++) {
        phy_text_put(out, i == position ? "<mark>" : "");
        put_name(out, p->tokens[i]);
        phy_text_put(out, i == position ? "</mark>" : "");
    }
}

/* The worst of the row's runs. */
static const struct phy_audit_run *worst_run(const struct phy_audit_record *r, size_t row)
{
    const struct phy_audit_run *worst = &r->runs[row];
    for (size_t i = row; i < r->run_count; i++) {
        if (same_row(&r->runs[i], worst) && r->runs[i].original.max_rel_l2 > worst->original.max_rel_l2)
            worst = &r->runs[i];
    }
    return worst;
}

static void put_worst(struct phy_text *out, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    char where[PHY_AUDIT_NAME];
    phy_text_printf(out,
                    "<div class=wide><table><tr><th class=l>worst on %s<th class=l>token in its context<th>rel L2<th>1 "
                    "&minus; cos<th>|difference|</tr>\n",
                    run->device);
    for (size_t i = 0; i < run->worst_count && i < WORST_SHOWN; i++) {
        const struct phy_audit_observation *at = &run->worst[i];
        phy_text_put(out, "<tr><td class=\"l m\">");
        put_name(out, phy_audit_where(where, r, at));
        phy_text_put(out, "</td><td class=\"l ctx\">");
        put_context(out, &r->prompts[at->prompt], at->position);
        phy_text_printf(out, "</td><td>%.2e</td><td>%.1e</td><td>%.1e</td></tr>\n", at->rel_l2, at->one_minus_cos,
                        at->max_diff);
    }
    phy_text_put(out, "</table></div>\n");
}

static void put_row(struct phy_text *out, const struct phy_audit_record *r, size_t row, bool open)
{
    const struct phy_audit_run *run = worst_run(r, row);
    char cos[32];
    if (!run->original.count)
        return;
    float *heat = merge_heat(r, row, false), *decoded = run->has_decoded ? merge_heat(r, row, true) : NULL;
    phy_text_printf(out, "<details%s><summary>%s <span>of %s (%s): min cos %s, max rel L2 %.2e</span></summary>\n",
                    open ? " open" : "", run->path, run->scheme, run->bucket,
                    phy_audit_cos(cos, run->original.max_one_minus_cos), run->original.max_rel_l2);
    phy_text_put(out, "<div class=maps>\n");
    if (heat)
        put_map(out, r, heat, "against the original weights");
    if (decoded)
        put_map(out, r, decoded, "against the decoded weights");
    out->failed |= !heat || (run->has_decoded && !decoded);
    phy_text_put(out, "</div>\n");
    put_worst(out, r, run);
    phy_text_put(out, "</details>\n");
    phy_free(heat);
    phy_free(decoded);
}

/* Open: the first of each bucket, and what failed. */
static void put_rows(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_put(
        out, "<h2>Where</h2>\n<p class=soft>Relative L2 of each observation, on the worst of the devices. The larger "
             "and stronger a square, the larger the error; each map has its own logarithmic scale.</p>\n");
    const char *last = "";
    for (size_t i = 0; i < r->run_count; i++) {
        if (!is_first(r, i))
            continue;
        bool failed = false;
        for (size_t k = i; k < r->run_count; k++)
            failed |= same_row(&r->runs[k], &r->runs[i]) && !r->runs[k].passed;
        put_row(out, r, i, failed || strcmp(last, r->runs[i].bucket) != 0);
        last = r->runs[i].bucket;
    }
}

/* ---- driving, skips, inputs ---- */

static void put_driven(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_put(
        out, "<h2>Driving</h2>\n<p class=soft>The path computes every FFN of the prompt; the distribution after its "
             "last token beside the reference's.</p>\n<div class=wide><table><tr><th>path<th class=l>storage<th "
             "class=l>device<th>top-1<th>largest |&Delta;P|<th>KL, bits<th>dispatch<th class=l>bounds</tr>\n");
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        phy_text_printf(
            out,
            "<tr><td class=\"l n\">%s</td><td class=l>%s</td><td class=l>%s</td><td>%u/%zu</td><td>%.1e</td>"
            "<td>%.1e</td><td>%" PRIu64 "/%" PRIu64 "</td><td class=l>%s</td></tr>\n",
            run->path, run->scheme, run->device, run->top1_match, r->prompt_count, run->anchor_dp, run->kl_bits,
            run->dispatch_seen, run->dispatch_expected, run->bounded ? run->limits.source : "none");
    }
    phy_text_put(out, "</table></div>\n");
}

static void put_skips(struct phy_text *out, const struct phy_audit_record *r)
{
    if (!r->skip_count)
        return;
    phy_text_printf(out, "<h2>Skipped: %zu</h2>\n<ul>\n", r->skip_count);
    for (size_t i = 0; i < r->skip_count; i++) {
        phy_text_printf(out, "<li>%s (%s) on %s: ", r->skips[i].path, r->skips[i].scheme, r->skips[i].device);
        put_name(out, r->skips[i].reason);
        phy_text_put(out, "</li>\n");
    }
    phy_text_put(out, "</ul>\n");
}

static void put_inputs(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_put(out,
                 "<h2>Inputs</h2>\n<div class=wide><table><tr><th>prompt<th class=l>text<th class=l>token ids</tr>\n");
    for (size_t i = 0; i < r->prompt_count; i++) {
        phy_text_put(out, "<tr><td class=l>");
        put_name(out, r->prompts[i].name);
        phy_text_put(out, "</td><td class=\"l ctx\">");
        put_name(out, r->prompts[i].text);
        phy_text_put(out, "</td><td class=\"l m ctx\">");
        for (size_t k = 0; k < r->prompts[i].id_count; k++)
            phy_text_printf(out, "%u ", r->prompts[i].ids[k]);
        phy_text_put(out, "</td></tr>\n");
    }
    phy_text_put(out, "</table></div>\n<div class=wide><table><tr><th>device<th class=l>what<th class=l>vendor and "
                      "device<th class=l>driver<th class=l>Vulkan</tr>\n");
    for (size_t i = 0; i < r->device_count; i++) {
        const struct phy_device_info *d = &r->devices[i];
        phy_text_put(out, "<tr><td class=l>");
        put_name(out, d->name);
        phy_text_put(out, "</td><td class=l>");
        put_name(out, d->device_name);
        phy_text_put(out, "</td><td class=l>");
        if (d->kind == PHY_DEVICE_VULKAN)
            phy_text_printf(out, "0x%04x, 0x%04x", d->vendor_id, d->device_id);
        phy_text_put(out, "</td><td class=l>");
        put_name(out, d->driver);
        phy_text_put(out, "</td><td class=l>");
        put_name(out, d->api_version);
        phy_text_put(out, "</td></tr>\n");
    }
    phy_text_printf(out, "</table></div>\n<footer>physarium %s (%s), %s, %s, on ", phy_version(), phy_audit_revision,
                    phy_audit_compiler, phy_audit_flags);
    put_name(out, phy_cpu_model());
    phy_text_put(out, "; the same numbers for programs: audit.json.</footer>\n</main></body></html>\n");
}

void phy_audit_put_html(struct phy_text *out, const struct phy_audit_record *r)
{
    put_head(out, r);
    put_causes(out, r);
    put_matrix(out, r);
    put_rows(out, r);
    put_driven(out, r);
    put_skips(out, r);
    put_inputs(out, r);
}
