/* SPDX-License-Identifier: Apache-2.0 */
/* The audit for people without pictures: a terminal's table, audit.md, and JUnit for CI. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu_features.h"
#include "physarium/version.h"
#include "report/audit_report.h"

static const char *verdict_of(const struct phy_audit_run *run)
{
    return !run->passed ? "FAIL" : run->bounded ? "pass" : "measured";
}

static size_t failed_runs(const struct phy_audit_record *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->run_count; i++)
        count += !r->runs[i].passed;
    return count;
}

/* ---- the terminal ---- */

static void put_head_line(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_plain_name(out, r->model_name, PHY_NAME_BARE);
    phy_text_printf(out, " (%s), %u layers of %u x %u, weights %s\n", r->model_type, r->model_layers,
                    r->intermediate_size, r->hidden_size, r->model_digest);
    if (r->against_name) {
        phy_text_put(out, "against ");
        phy_text_plain_name(out, r->against_name, PHY_NAME_BARE);
        phy_text_printf(out, ", weights %s\n", r->against_digest);
    }
    phy_text_printf(out, "%zu prompts, %zu of %u layers, %zu positions: %zu observations a path\n", r->prompt_count,
                    r->layer_count, r->model_layers, r->position_count, r->layer_count * r->position_count);
    if (r->budget_seconds)
        phy_text_printf(out, "budget %" PRIu64 " s: estimated %.0f s, %zu prompts and %zu layers left out\n",
                        r->budget_seconds, r->estimated_seconds, r->dropped_prompts,
                        (size_t)r->model_layers - r->layer_count);
}

static void put_oracle_line(struct phy_text *out, const struct phy_audit_record *r)
{
    const struct phy_audit_oracle *o = &r->oracle;
    if (!o->present) {
        phy_text_printf(out, "oracle    absent: %s\n", o->reason);
        return;
    }
    phy_text_printf(out, "oracle    %s: the reference's logits are %.2e (at most %.0e) from those of ",
                    o->passed ? "pass" : "FAIL", o->max_rel_l2, o->limit);
    phy_text_plain_name(out, o->source, PHY_NAME_LINE);
    phy_text_printf(out, ", %zu prompts\n", o->prompt_count);
    for (size_t i = 0; i < o->causes.count; i++) {
        phy_text_put(out, "          ");
        phy_text_plain_name(out, o->causes.lines[i], PHY_NAME_LINE);
        phy_text_put(out, "\n");
    }
}

/* Of the column of devices: with a forced form their names are long. */
static int device_width(const struct phy_audit_record *r)
{
    size_t width = strlen("cpu:avx512 ");
    for (size_t i = 0; i < r->device_count; i++)
        width = strlen(r->devices[i].name) > width ? strlen(r->devices[i].name) : width;
    return (int)width;
}

static void put_run_line(struct phy_text *out, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    char cos[32], decoded[32], dispatch[48], where[PHY_AUDIT_NAME];
    snprintf(dispatch, sizeof dispatch, "%" PRIu64 "/%" PRIu64, run->dispatch_seen, run->dispatch_expected);
    phy_text_printf(out, "%-24s %-8s %-*s ", run->path, run->scheme, device_width(r), run->device);
    if (!run->original.count) {
        phy_text_printf(out, "%-47s %s\n", "no observation", verdict_of(run));
        return;
    }
    snprintf(decoded, sizeof decoded, run->has_decoded ? "%.2e" : "-", run->decoded.max_rel_l2);
    phy_text_printf(out, "%-13s %9.2e %9s %9s  %" PRIu32 "/%zu %8.1e %8.1e  %-8s %s\n",
                    phy_audit_cos(cos, run->original.max_one_minus_cos), run->original.max_rel_l2, decoded,
                    run->bounded ? dispatch : "-", run->top1_match, r->prompt_count, run->anchor_dp, run->kl_bits,
                    verdict_of(run), phy_audit_where(where, r, &run->original.worst));
}

typedef void put_line(struct phy_text *text, const char *name, enum phy_name_style style);

static void put_skips(struct phy_text *out, const struct phy_audit_record *r, const char *before, put_line *put)
{
    for (size_t i = 0; i < r->skip_count; i++) {
        phy_text_printf(out, "%s%s (%s) on %s: ", before, r->skips[i].path, r->skips[i].scheme, r->skips[i].device);
        put(out, r->skips[i].reason, PHY_NAME_LINE);
        phy_text_put(out, "\n");
    }
}

void phy_audit_put_table(struct phy_text *out, const struct phy_audit_record *r)
{
    put_head_line(out, r);
    put_oracle_line(out, r);
    phy_text_printf(out, "\n%-24s %-8s %-*s %-13s %9s %9s %9s  %-4s %8s %8s  %-8s %s\n", "path", "storage",
                    device_width(r), "device", "min cos", "rel L2", "decoded", "dispatch", "top1", "anchordP",
                    "KL bits", "verdict", "worst");
    for (size_t i = 0; i < r->run_count; i++)
        put_run_line(out, r, &r->runs[i]);
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        for (size_t k = 0; k < run->causes.count; k++) {
            phy_text_printf(out, "FAIL %s (%s) on %s: ", run->path, run->scheme, run->device);
            phy_text_plain_name(out, run->causes.lines[k], PHY_NAME_LINE);
            phy_text_put(out, "\n");
        }
    }
    put_skips(out, r, "skipped ", phy_text_plain_name);
    phy_text_printf(out, "\n%zu runs, %zu failed, %zu skipped: %s\n", r->run_count, failed_runs(r), r->skip_count,
                    r->passed ? "pass" : "FAIL");
}

/* ---- audit.md ---- */

static void put_markdown_inputs(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_printf(out, "\nphysarium %s (%s), %s, `%s`, on ", phy_version(), phy_audit_revision, phy_audit_compiler,
                    phy_audit_flags);
    phy_text_markdown_name(out, phy_cpu_model(), PHY_NAME_BARE);
    phy_text_put(out, ".\n");
    for (size_t i = 0; i < r->device_count; i++) {
        const struct phy_device_info *d = &r->devices[i];
        if (d->kind != PHY_DEVICE_VULKAN)
            continue;
        phy_text_printf(out, "\n- %s: ", d->name);
        phy_text_markdown_name(out, d->device_name, PHY_NAME_BARE);
        phy_text_printf(out, ", vendor 0x%04x, device 0x%04x, ", d->vendor_id, d->device_id);
        phy_text_markdown_name(out, d->driver, PHY_NAME_BARE);
        phy_text_printf(out, ", Vulkan %s", d->api_version);
    }
    phy_text_put(out, "\n");
}

static void put_markdown_run(struct phy_text *out, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    char cos[32];
    phy_text_printf(out, "| %s | %s | %s | ", run->path, run->scheme, run->device);
    if (!run->original.count) {
        phy_text_printf(out, "- | - | - | %" PRIu64 "/%" PRIu64 " | - | - | - | **FAIL** |\n", run->dispatch_seen,
                        run->dispatch_expected);
        return;
    }
    phy_text_printf(out, "%s | %.3e | ", phy_audit_cos(cos, run->original.max_one_minus_cos), run->original.max_rel_l2);
    phy_text_printf(out, run->has_decoded ? "%.3e" : "-", run->decoded.max_rel_l2);
    phy_text_printf(out, " | %" PRIu64 "/%" PRIu64 " | %" PRIu32 "/%zu | %.1e | %.1e | %s |\n", run->dispatch_seen,
                    run->dispatch_expected, run->top1_match, r->prompt_count, run->anchor_dp, run->kl_bits,
                    run->passed ? verdict_of(run) : "**FAIL**");
}

static void put_markdown_worst(struct phy_text *out, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    enum { SHOWN = 3 };
    char where[PHY_AUDIT_NAME];
    phy_text_printf(out, "- %s (%s) on %s: ", run->path, run->scheme, run->device);
    for (size_t i = 0; i < run->worst_count && i < SHOWN; i++) {
        const struct phy_audit_observation *at = &run->worst[i];
        phy_text_printf(out, "%s%s ", i ? ", " : "", phy_audit_where(where, r, at));
        phy_text_markdown_name(out, r->prompts[at->prompt].tokens[at->position], PHY_NAME_QUOTED);
        phy_text_printf(out, " %.2e", at->rel_l2);
    }
    phy_text_put(out, "\n");
    for (size_t i = 0; i < run->causes.count; i++) {
        phy_text_put(out, "  - **FAIL** ");
        phy_text_markdown_name(out, run->causes.lines[i], PHY_NAME_LINE);
        phy_text_put(out, "\n");
    }
}

void phy_audit_put_markdown(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_printf(out, "# Audit of ");
    phy_text_markdown_name(out, r->model_name, PHY_NAME_BARE);
    phy_text_printf(out, ": %s\n\n", r->passed ? "pass" : "FAIL");
    phy_text_printf(out,
                    "Weights %s, %u layers of %u x %u; %zu prompts, %zu observations a path. %zu runs, %zu failed, "
                    "%zu skipped.",
                    r->model_digest, r->model_layers, r->intermediate_size, r->hidden_size, r->prompt_count,
                    r->layer_count * r->position_count, r->run_count, failed_runs(r), r->skip_count);
    if (r->against_name) {
        phy_text_put(out, " Against ");
        phy_text_markdown_name(out, r->against_name, PHY_NAME_BARE);
        phy_text_printf(out, ", weights %s.", r->against_digest);
    }
    if (r->budget_seconds)
        phy_text_printf(out,
                        " A budget of %" PRIu64 " s left %zu of %u layers, %zu positions, and dropped %zu prompts.",
                        r->budget_seconds, r->layer_count, r->model_layers, r->position_count, r->dropped_prompts);
    phy_text_put(out,
                 "\n\n| path | storage | device | min cos | max rel L2 | decoded rel L2 | dispatch | top-1 | anchor dP "
                 "| KL bits | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    const struct phy_audit_oracle *o = &r->oracle;
    if (o->present) {
        phy_text_put(out, "| reference | donor | oracle: ");
        phy_text_markdown_name(out, o->source, PHY_NAME_LINE);
        phy_text_printf(out, " | | %.3e | | | %zu prompts | | | %s |\n", o->max_rel_l2, o->prompt_count,
                        o->passed ? "pass" : "**FAIL**");
    } else {
        phy_text_printf(out, "| reference | donor | oracle | | | | | | | | absent: %s |\n", o->reason);
    }
    for (size_t i = 0; i < r->run_count; i++)
        put_markdown_run(out, r, &r->runs[i]);
    for (size_t i = 0; i < o->causes.count; i++)
        phy_text_printf(out, "\n**FAIL** oracle: %s\n", o->causes.lines[i]);
    phy_text_put(out, "\n## Worst observations\n\n");
    for (size_t i = 0; i < r->run_count; i++)
        put_markdown_worst(out, r, &r->runs[i]);
    if (r->skip_count) {
        phy_text_printf(out, "\n## Skipped: %zu\n\n", r->skip_count);
        put_skips(out, r, "- ", phy_text_markdown_name);
    }
    put_markdown_inputs(out, r);
}

/* ---- JUnit ---- */

/* HTML's escapes of < > & and quotes are XML's, and what XML 1.0 cannot hold is escaped as rule E3 says. */
static void put_case_head(struct phy_text *out, const char *path, const char *scheme, const char *device,
                          double seconds)
{
    phy_text_printf(out, "  <testcase classname=\"physarium.audit.%s\" name=\"%s (%s) on %s\" time=\"", device, path,
                    scheme, device);
    phy_text_decimal(out, seconds, 3);
    phy_text_put(out, "\"");
}

void phy_audit_put_junit(struct phy_text *out, const struct phy_audit_record *r)
{
    phy_text_put(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    phy_text_printf(
        out, "<testsuite name=\"physarium audit\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"0\">\n",
        r->run_count + r->skip_count + 1, failed_runs(r) + (r->oracle.present && !r->oracle.passed),
        r->skip_count + !r->oracle.present);
    put_case_head(out, "reference", "donor", "oracle", 0);
    if (!r->oracle.present || !r->oracle.passed) {
        phy_text_put(out, r->oracle.present ? "><failure message=\"" : "><skipped message=\"");
        phy_text_html_name(out, r->oracle.causes.count ? r->oracle.causes.lines[0] : r->oracle.reason, PHY_NAME_LINE);
        phy_text_put(out, "\"/></testcase>\n");
    } else {
        phy_text_put(out, "/>\n");
    }
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        put_case_head(out, run->path, run->scheme, run->device, run->seconds);
        if (run->passed) {
            phy_text_put(out, "/>\n");
            continue;
        }
        phy_text_put(out, "><failure message=\"");
        phy_text_html_name(out, run->causes.count ? run->causes.lines[0] : "failed", PHY_NAME_LINE);
        phy_text_put(out, "\">");
        for (size_t k = 0; k < run->causes.count; k++) {
            phy_text_html_name(out, run->causes.lines[k], PHY_NAME_LINE);
            phy_text_put(out, "\n");
        }
        phy_text_put(out, "</failure></testcase>\n");
    }
    for (size_t i = 0; i < r->skip_count; i++) {
        put_case_head(out, r->skips[i].path, r->skips[i].scheme, r->skips[i].device, 0);
        phy_text_put(out, "><skipped message=\"");
        phy_text_html_name(out, r->skips[i].reason, PHY_NAME_LINE);
        phy_text_put(out, "\"/></testcase>\n");
    }
    phy_text_put(out, "</testsuite>\n");
}
