/* SPDX-License-Identifier: Apache-2.0 */
/* surgery.md: the lab report. Tables for people; the numbers for programs are in the JSON beside it. */
#include <inttypes.h>

#include "physarium/version.h"
#include "report/surgery_parts.h"

static void put_percent(struct phy_text *out, double share)
{
    phy_text_decimal(out, share * 100.0, 2);
    phy_text_put(out, "%");
}

static double share_of(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0.0;
}

static void put_row_name(struct phy_text *out, const char *name)
{
    phy_text_put(out, "| ");
    phy_text_markdown_name(out, name, PHY_NAME_BARE);
    phy_text_put(out, " | ");
}

static void put_name_line(struct phy_text *out, const char *label, const char *name)
{
    phy_text_printf(out, "| %s | ", label);
    phy_text_markdown_name(out, name, PHY_NAME_QUOTED);
    phy_text_put(out, " |\n");
}

static void put_count_line(struct phy_text *out, const char *label, uint64_t count)
{
    phy_text_printf(out, "| %s | ", label);
    phy_text_count(out, count);
    phy_text_put(out, " |\n");
}

static void put_inputs(struct phy_text *out, const struct phy_surgery_view *view)
{
    const struct phy_surgery_record *record = view->record;
    phy_text_put(out, "## Inputs\n\n| | |\n|---|---|\n");
    put_name_line(out, "donor", record->donor_name);
    phy_text_put(out, "| donor digest (headers and sizes) | ");
    phy_text_markdown_name(out, record->donor_digest, PHY_NAME_BARE);
    phy_text_put(out, " |\n");
    put_name_line(out, "output", record->output_name);
    put_count_line(out, "shards", record->shard_count);
    put_count_line(out, "tensors", view->tally.total_tensors);
    put_count_line(out, "elements", view->tally.total_elements);
    if (record->calibration_name) {
        put_name_line(out, "calibration", record->calibration_name);
        put_name_line(out, "calibration digest", record->calibration_digest);
    } else {
        phy_text_put(out, "| calibration | none |\n");
    }
    phy_text_put(out, "\n");
}

static void put_globs(struct phy_text *out, const char *label, const char *const *globs, size_t count)
{
    phy_text_printf(out, "| %s | ", label);
    for (size_t i = 0; i < count; i++) {
        phy_text_put(out, i ? ", " : "");
        phy_text_markdown_name(out, globs[i], PHY_NAME_QUOTED);
    }
    phy_text_put(out, " |\n");
}

static void put_parameters(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_printf(out, "## Parameters\n\n| | |\n|---|---|\n| method | %s |\n",
                    phy_record_is_flow(record) ? "flow" : record->method);
    if (phy_record_is_flow(record)) {
        phy_text_put(out, "| gain | ");
        phy_text_number(out, record->gain);
        phy_text_printf(out, " |\n| beta | %" PRIu32 " |\n| iterations | %" PRIu32 " |\n| block | %" PRIu32 " |\n",
                        record->beta, record->iterations, record->block);
    }
    phy_text_put(out, "| sparsity asked | ");
    if (record->pattern)
        phy_text_printf(out, "%" PRIu32 " of each %" PRIu32 " columns stay", record->pattern_keep, record->pattern);
    else if (record->sparsity_asked > 0)
        put_percent(out, record->sparsity_asked);
    else
        phy_text_put(out, "none, the gain was given");
    phy_text_put(out, " |\n");
    if (record->include_count)
        put_globs(out, "include", record->include, record->include_count);
    else
        phy_text_put(out, "| include | the default names |\n");
    if (record->exclude_count)
        put_globs(out, "exclude", record->exclude, record->exclude_count);
    if (record->has_layers)
        phy_text_printf(out, "| layers | %" PRIu32 " to %" PRIu32 " |\n", record->first_layer, record->last_layer);
    phy_text_put(out, "\n");
}

static void put_result(struct phy_text *out, const struct phy_tally *tally)
{
    phy_text_put(out, "## Aggregate sparsity\n\n| | |\n|---|---:|\n");
    put_count_line(out, "elements in the model", tally->total_elements);
    put_count_line(out, "elements in targets, from their shapes", tally->target.elements);
    put_count_line(out, "processed, counted tile by tile", tally->target.processed);
    put_count_line(out, "killed", tally->target.killed);
    put_count_line(out, "zero before", tally->target.zero_before);
    phy_text_put(out, "| killed, of the targets | ");
    put_percent(out, phy_tally_sparsity(&tally->target));
    phy_text_put(out, " |\n| killed, of the full model | ");
    put_percent(out, share_of(tally->target.killed, tally->total_elements));
    phy_text_printf(out, " |\n\nDenominator (processed against shapes, tensor by tensor): %s.\n\n",
                    tally->processed_fits ? "correct" : "**WRONG**, the numbers above cannot be trusted");
}

static void put_estimate(struct phy_text *out, const char *label, struct phy_estimate estimate, double factor,
                         const char *unit)
{
    phy_text_printf(out, "| %s | ", label);
    phy_text_decimal(out, estimate.value * factor, 4);
    phy_text_put(out, " +- ");
    phy_text_decimal(out, estimate.error * factor, 4);
    phy_text_printf(out, "%s |\n", unit);
}

static void put_eval(struct phy_text *out, const struct phy_surgery_record *record)
{
    const struct phy_eval_result *r = record->eval;
    if (!r)
        return;
    phy_text_put(out, "## Quality\n\nThe output against the donor on the text ");
    phy_text_markdown_name(out, record->eval_text_name, PHY_NAME_QUOTED);
    phy_text_put(out, ": ");
    phy_text_count(out, r->token_count);
    phy_text_printf(out, " tokens in %zu windows of %" PRIu32 ". Errors are standard errors.\n\n| | |\n|---|---:|\n",
                    r->window_count, r->context);
    put_estimate(out, "perplexity", r->perplexity, 1, "");
    put_estimate(out, "perplexity of the donor", r->baseline_perplexity, 1, "");
    put_estimate(out, "difference, paired", r->delta_perplexity, 1, "");
    put_estimate(out, "KL(donor \\|\\| output)", r->kl_bits, 1, " bits");
    put_estimate(out, "the same likeliest token", r->top1_agreement, 100, "%");
    phy_text_put(out, "\n");
}

static void put_projections(struct phy_text *out, const struct phy_tally *tally)
{
    phy_text_put(out,
                 "## Sparsity by projection\n\nMean, min and max are over tensors; the ratio is killed over all of the "
                 "projection's weights.\n\n"
                 "| projection | n | mean | min | max | processed | killed | ratio |\n"
                 "|---|---:|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < tally->projection_count; i++) {
        const struct phy_tally_line *line = &tally->projection_lines[i];
        const double shares[] = {line->sparsity_sum / (double)line->tensors, line->sparsity_min, line->sparsity_max};
        put_row_name(out, tally->projections[i]);
        phy_text_count(out, line->tensors);
        for (size_t k = 0; k < 3; k++) {
            phy_text_put(out, " | ");
            put_percent(out, shares[k]);
        }
        phy_text_put(out, " | ");
        phy_text_count(out, line->processed);
        phy_text_put(out, " | ");
        phy_text_count(out, line->killed);
        phy_text_put(out, " | ");
        put_percent(out, phy_tally_sparsity(line));
        phy_text_put(out, " |\n");
    }
    phy_text_put(out, "\n");
}

static void put_outliers(struct phy_text *out, const struct phy_surgery_view *view)
{
    phy_text_put(out, "## Layers that stand out\n\n");
    if (view->outlier_count == 0) {
        phy_text_put(
            out, "None: no layer, and no projection of a layer, is more than 3.5 robust standard deviations from the "
                 "median of its kind.\n\n");
        return;
    }
    phy_text_put(out, "More than 3.5 robust standard deviations from the median of their kind, the farthest first.\n\n"
                      "| layer | projection | sparsity | median | difference, points |\n|---:|---|---:|---:|---:|\n");
    for (size_t i = 0; i < view->outlier_count; i++) {
        const struct phy_outlier *outlier = &view->outliers[i];
        bool whole = outlier->projection == UINT32_MAX;
        if (outlier->layer == UINT32_MAX)
            phy_text_put(out, "| none | ");
        else
            phy_text_printf(out, "| %" PRIu32 " | ", outlier->layer);
        phy_text_markdown_name(out, whole ? "all" : view->tally.projections[outlier->projection], PHY_NAME_BARE);
        phy_text_put(out, " | ");
        put_percent(out, outlier->sparsity);
        phy_text_put(out, " | ");
        put_percent(out, outlier->median);
        phy_text_put(out, outlier->sparsity > outlier->median ? " | +" : " | ");
        phy_text_decimal(out, (outlier->sparsity - outlier->median) * 100.0, 2);
        phy_text_put(out, " |\n");
    }
    phy_text_put(out, "\n");
}

static void put_integrity(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(out, "## Integrity\n\nXXH3-64 of the output's files; the header is the first 8 + N bytes.\n\n"
                      "| file | bytes | header bytes | header | whole file |\n|---|---:|---:|---|---|\n");
    for (size_t i = 0; i < record->shard_count; i++) {
        const struct phy_report_shard *shard = &record->shards[i];
        put_row_name(out, shard->name);
        phy_text_count(out, shard->bytes);
        phy_text_put(out, " | ");
        phy_text_count(out, shard->header_bytes);
        phy_text_printf(out, " | %016" PRIx64 " | %016" PRIx64 " |\n", shard->header_xxh3, shard->file_xxh3);
    }
    phy_text_put(out, "\n");
}

static void put_times(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(out, "## Wall clock\n\n| | seconds |\n|---|---:|\n");
    for (size_t i = 0; i < record->stage_count; i++) {
        phy_text_put(out, "| stage ");
        phy_text_markdown_name(out, record->stages[i].name, PHY_NAME_BARE);
        phy_text_put(out, " | ");
        phy_text_decimal(out, record->stages[i].seconds, 3);
        phy_text_put(out, " |\n");
    }
    for (size_t i = 0; i < record->shard_count; i++) {
        phy_text_put(out, "| shard ");
        phy_text_markdown_name(out, record->shards[i].name, PHY_NAME_BARE);
        phy_text_put(out, " | ");
        phy_text_decimal(out, record->shards[i].seconds, 3);
        phy_text_put(out, " |\n");
    }
    phy_text_put(out, "| **all** | ");
    phy_text_decimal(out, record->seconds, 3);
    phy_text_put(out, " |\n\n");
}

static void put_devices(struct phy_text *out, const struct phy_surgery_record *record)
{
    phy_text_put(out, "## Devices and versions\n\n| device | what it is | weights | busy seconds | Mweights/s |\n"
                      "|---|---|---:|---:|---:|\n");
    for (size_t i = 0; i < record->device_count; i++) {
        const struct phy_report_device *device = &record->devices[i];
        put_row_name(out, device->name);
        phy_text_markdown_name(out, device->description, PHY_NAME_LINE);
        phy_text_put(out, " | ");
        phy_text_count(out, device->weights);
        phy_text_put(out, " | ");
        phy_text_decimal(out, device->busy_seconds, 3);
        phy_text_put(out, " | ");
        phy_text_decimal(out, device->busy_seconds > 0 ? (double)device->weights / device->busy_seconds / 1e6 : 0.0, 1);
        phy_text_put(out, " |\n");
    }
    phy_text_put(out, "\nphysarium " PHY_VERSION_STRING ", asked for device ");
    phy_text_markdown_name(out, record->device_spec ? record->device_spec : "cpu", PHY_NAME_QUOTED);
    phy_text_printf(out, ", %" PRIu32 " CPU threads, memory limit ", record->threads);
    phy_text_count(out, record->memory_bytes);
    phy_text_put(out, " bytes, peak resident set ");
    phy_text_count(out, record->peak_rss_bytes);
    phy_text_printf(out, " bytes, resumed %" PRIu32 " times", record->resumed_count);
    if (record->tiles_redone_on_cpu) {
        phy_text_put(out, "; **a device was lost: ");
        phy_text_count(out, record->tiles_redone_on_cpu);
        phy_text_put(out, " tiles were redone on the CPU**");
    }
    phy_text_put(out, ".\n\n");
}

static void put_closing(struct phy_text *out, const struct phy_surgery_view *view)
{
    phy_text_put(out, "## Warnings\n\n");
    for (size_t i = 0; i < view->record->warning_count; i++) {
        phy_text_put(out, "- ");
        phy_text_markdown_name(out, view->record->warnings[i], PHY_NAME_LINE);
        phy_text_put(out, "\n");
    }
    phy_text_put(out, view->record->warning_count ? "\n## What was not done\n\n" : "None.\n\n## What was not done\n\n");
    for (size_t i = 0; i < view->not_done_count; i++)
        phy_text_printf(out, "- %s\n", view->not_done[i]);
}

void phy_surgery_put_markdown(struct phy_text *out, const struct phy_surgery_view *view)
{
    phy_text_put(out, "# Surgery report\n\n");
    put_inputs(out, view);
    put_parameters(out, view->record);
    put_result(out, &view->tally);
    put_eval(out, view->record);
    put_projections(out, &view->tally);
    put_outliers(out, view);
    put_integrity(out, view->record);
    put_times(out, view->record);
    put_devices(out, view->record);
    put_closing(out, view);
}
