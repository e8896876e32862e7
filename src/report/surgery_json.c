/* SPDX-License-Identifier: Apache-2.0 */
/* surgery.json, coverage.json and tensors.jsonl; docs/reports.md describes every field. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "physarium/version.h"
#include "report/json.h"
#include "report/surgery_parts.h"

/* Print and free; marks the text as failed when the tree could not be made whole. */
static void put_tree(struct phy_text *out, cJSON *root, bool complete, bool formatted)
{
    char *printed = !complete ? NULL : formatted ? cJSON_Print(root) : cJSON_PrintUnformatted(root);
    if (printed) {
        phy_text_put(out, printed);
        phy_text_put(out, "\n");
    } else {
        out->failed = true;
    }
    cJSON_free(printed);
    cJSON_Delete(root);
}

static bool add_head(cJSON *root, const char *schema)
{
    return phy_json_string(root, "schema", schema) &&
           phy_json_count(root, "schema_version", PHY_SURGERY_SCHEMA_VERSION) &&
           phy_json_string(root, "physarium", PHY_VERSION_STRING);
}

/* ---- surgery.json ---- */

static bool add_donor(cJSON *root, const struct phy_surgery_record *record)
{
    cJSON *donor = phy_json_object(root, "donor");
    cJSON *output = phy_json_object(root, "output");
    return phy_json_string(donor, "name", record->donor_name) &&
           phy_json_string(donor, "digest", record->donor_digest) &&
           phy_json_count(donor, "shards", record->shard_count) && phy_json_string(output, "name", record->output_name);
}

static bool add_targets(cJSON *parameters, const struct phy_surgery_record *record)
{
    cJSON *targets = phy_json_object(parameters, "targets");
    if (!phy_json_strings(targets, "include", record->include, record->include_count) ||
        !phy_json_strings(targets, "exclude", record->exclude, record->exclude_count))
        return false;
    if (!record->has_layers)
        return phy_json_null(targets, "layers");
    cJSON *layers = phy_json_object(targets, "layers");
    return phy_json_count(layers, "first", record->first_layer) && phy_json_count(layers, "last", record->last_layer);
}

/* The flow's parameters are null for other methods. */
static bool add_method(cJSON *parameters, const struct phy_surgery_record *record)
{
    char pattern[32];
    bool flow = phy_record_is_flow(record);
    snprintf(pattern, sizeof pattern, "%" PRIu32 ":%" PRIu32, record->pattern_keep, record->pattern);
    if (!phy_json_string(parameters, "method", flow ? "flow" : record->method) ||
        !(record->pattern ? phy_json_string(parameters, "pattern", pattern) : phy_json_null(parameters, "pattern")))
        return false;
    if (!flow)
        return phy_json_null(parameters, "gain") && phy_json_null(parameters, "beta") &&
               phy_json_null(parameters, "iterations") && phy_json_null(parameters, "block");
    return phy_json_double(parameters, "gain", record->gain) && phy_json_count(parameters, "beta", record->beta) &&
           phy_json_count(parameters, "iterations", record->iterations) &&
           phy_json_count(parameters, "block", record->block);
}

static bool add_parameters(cJSON *root, const struct phy_surgery_record *record)
{
    cJSON *parameters = phy_json_object(root, "parameters");
    bool done = add_method(parameters, record) &&
                (record->sparsity_asked > 0 ? phy_json_double(parameters, "sparsity_asked", record->sparsity_asked)
                                            : phy_json_null(parameters, "sparsity_asked"));
    if (!record->calibration_name)
        return done && phy_json_null(parameters, "calibration") && add_targets(parameters, record);
    cJSON *calibration = phy_json_object(parameters, "calibration");
    return done && phy_json_string(calibration, "name", record->calibration_name) &&
           phy_json_string(calibration, "digest", record->calibration_digest) && add_targets(parameters, record);
}

static bool add_line(cJSON *object, const struct phy_tally_line *line)
{
    return phy_json_count(object, "tensors", line->tensors) && phy_json_count(object, "processed", line->processed) &&
           phy_json_count(object, "killed", line->killed) && phy_json_count(object, "zero_before", line->zero_before) &&
           phy_json_ratio(object, "ratio", line->killed, line->elements);
}

static bool add_totals(cJSON *object, const struct phy_tally *tally)
{
    return phy_json_count(object, "total_elements", tally->total_elements) &&
           phy_json_count(object, "target_elements", tally->target.elements) &&
           phy_json_count(object, "processed_elements", tally->target.processed) &&
           phy_json_count(object, "killed_elements", tally->target.killed) &&
           phy_json_count(object, "zero_before_elements", tally->target.zero_before) &&
           phy_json_ratio(object, "kill_rate_target", tally->target.killed, tally->target.elements) &&
           phy_json_ratio(object, "kill_rate_model", tally->target.killed, tally->total_elements);
}

static bool add_projection_statistics(cJSON *root, const struct phy_tally *tally)
{
    cJSON *array = phy_json_array(root, "projections");
    bool done = array != NULL;
    for (size_t i = 0; done && i < tally->projection_count; i++) {
        const struct phy_tally_line *line = &tally->projection_lines[i];
        cJSON *item = phy_json_item(array);
        done = phy_json_string(item, "projection", tally->projections[i]) && phy_json_count(item, "n", line->tensors) &&
               phy_json_double(item, "mean", line->sparsity_sum / (double)line->tensors) &&
               phy_json_double(item, "min", line->sparsity_min) && phy_json_double(item, "max", line->sparsity_max);
    }
    return done;
}

static bool add_outliers(cJSON *root, const struct phy_surgery_view *view)
{
    cJSON *array = phy_json_array(root, "stands_out");
    bool done = array != NULL;
    for (size_t i = 0; done && i < view->outlier_count; i++) {
        const struct phy_outlier *outlier = &view->outliers[i];
        cJSON *item = phy_json_item(array);
        bool whole = outlier->projection == UINT32_MAX;
        done = phy_json_layer(item, "layer", outlier->layer) &&
               (whole ? phy_json_null(item, "projection")
                      : phy_json_string(item, "projection", view->tally.projections[outlier->projection])) &&
               phy_json_double(item, "sparsity", outlier->sparsity) && phy_json_double(item, "median", outlier->median);
    }
    return done;
}

static bool add_estimate(cJSON *object, const char *key, const char *error_key, struct phy_estimate estimate)
{
    return phy_json_double(object, key, estimate.value) && phy_json_double(object, error_key, estimate.error);
}

static bool add_eval(cJSON *root, const struct phy_surgery_record *record)
{
    const struct phy_eval_result *r = record->eval;
    if (!r)
        return phy_json_null(root, "eval");
    cJSON *eval = phy_json_object(root, "eval");
    return phy_json_string(eval, "text", record->eval_text_name) &&
           phy_json_string(eval, "text_digest", record->eval_text_digest) &&
           phy_json_count(eval, "tokens", r->token_count) && phy_json_count(eval, "windows", r->window_count) &&
           phy_json_count(eval, "context", r->context) &&
           add_estimate(eval, "perplexity", "perplexity_error", r->perplexity) &&
           add_estimate(eval, "baseline_perplexity", "baseline_perplexity_error", r->baseline_perplexity) &&
           add_estimate(eval, "delta_perplexity", "delta_perplexity_error", r->delta_perplexity) &&
           add_estimate(eval, "kl_bits", "kl_bits_error", r->kl_bits) &&
           phy_json_double(eval, "kl_bits_p99", r->kl_bits_p99) &&
           add_estimate(eval, "top1_agreement", "top1_agreement_error", r->top1_agreement);
}

static bool add_integrity(cJSON *root, const struct phy_surgery_record *record)
{
    cJSON *array = phy_json_array(root, "integrity");
    bool done = array != NULL;
    for (size_t i = 0; done && i < record->shard_count; i++) {
        const struct phy_report_shard *shard = &record->shards[i];
        cJSON *item = phy_json_item(array);
        done = phy_json_string(item, "shard", shard->name) && phy_json_count(item, "bytes", shard->bytes) &&
               phy_json_count(item, "header_bytes", shard->header_bytes) &&
               phy_json_hash(item, "header_xxh3", shard->header_xxh3) &&
               phy_json_hash(item, "file_xxh3", shard->file_xxh3);
    }
    return done;
}

/* All that differs from one run to the next is in this object. */
static bool add_run(cJSON *root, const struct phy_surgery_record *record)
{
    cJSON *run = phy_json_object(root, "run");
    bool done = phy_json_string(run, "device", record->device_spec) &&
                phy_json_count(run, "threads", record->threads) &&
                phy_json_count(run, "memory_bytes", record->memory_bytes) &&
                phy_json_count(run, "peak_rss_bytes", record->peak_rss_bytes) &&
                phy_json_count(run, "resumed_count", record->resumed_count) &&
                phy_json_count(run, "tiles_redone_on_cpu", record->tiles_redone_on_cpu) &&
                phy_json_seconds(run, "seconds", record->seconds);
    cJSON *devices = phy_json_array(run, "devices");
    for (size_t i = 0; done && i < record->device_count; i++) {
        const struct phy_report_device *device = &record->devices[i];
        cJSON *item = phy_json_item(devices);
        done = phy_json_string(item, "name", device->name) &&
               phy_json_string(item, "description", device->description) &&
               phy_json_count(item, "weights", device->weights) &&
               phy_json_seconds(item, "busy_seconds", device->busy_seconds);
    }
    cJSON *stages = phy_json_array(run, "stages");
    for (size_t i = 0; done && i < record->stage_count; i++) {
        cJSON *item = phy_json_item(stages);
        done = phy_json_string(item, "stage", record->stages[i].name) &&
               phy_json_seconds(item, "seconds", record->stages[i].seconds);
    }
    cJSON *shards = phy_json_array(run, "shards");
    for (size_t i = 0; done && i < record->shard_count; i++) {
        cJSON *item = phy_json_item(shards);
        done = phy_json_string(item, "shard", record->shards[i].name) &&
               phy_json_seconds(item, "seconds", record->shards[i].seconds);
    }
    return done && devices && stages && shards;
}

static bool add_not_done(cJSON *root, const struct phy_surgery_view *view)
{
    const char *sentences[PHY_NOT_DONE_LIMIT];
    for (size_t i = 0; i < view->not_done_count; i++)
        sentences[i] = view->not_done[i];
    return phy_json_strings(root, "not_done", sentences, view->not_done_count);
}

void phy_surgery_put_json(struct phy_text *out, const struct phy_surgery_view *view)
{
    const struct phy_surgery_record *record = view->record;
    cJSON *root = cJSON_CreateObject();
    bool complete = root && add_head(root, "physarium.surgery") && add_donor(root, record) &&
                    add_parameters(root, record) && add_totals(phy_json_object(root, "result"), &view->tally) &&
                    add_eval(root, record) && add_projection_statistics(root, &view->tally) &&
                    add_outliers(root, view) && add_integrity(root, record) &&
                    phy_json_strings(root, "warnings", record->warnings, record->warning_count) &&
                    add_not_done(root, view) && add_run(root, record);
    put_tree(out, root, complete, true);
}

/* ---- coverage.json ---- */

static bool add_projection_counts(cJSON *root, const struct phy_tally *tally)
{
    cJSON *array = phy_json_array(root, "projections");
    bool done = array != NULL;
    for (size_t i = 0; done && i < tally->projection_count; i++) {
        cJSON *item = phy_json_item(array);
        done =
            phy_json_string(item, "projection", tally->projections[i]) && add_line(item, &tally->projection_lines[i]);
    }
    return done;
}

static bool add_cells(cJSON *root, const struct phy_tally *tally)
{
    cJSON *array = phy_json_array(root, "cells");
    bool done = array != NULL;
    for (size_t i = 0; done && i < tally->cell_count; i++) {
        const struct phy_tally_cell *cell = &tally->cells[i];
        cJSON *item = phy_json_item(array);
        done = phy_json_layer(item, "layer", tally->layers[cell->layer]) &&
               phy_json_string(item, "projection", tally->projections[cell->projection]) && add_line(item, &cell->line);
    }
    return done;
}

void phy_coverage_put_json(struct phy_text *out, const struct phy_surgery_view *view)
{
    const struct phy_tally *tally = &view->tally;
    cJSON *root = cJSON_CreateObject();
    bool complete = root && add_head(root, "physarium.coverage") && add_totals(root, tally) &&
                    phy_json_bool(root, "denominator_correct", tally->processed_fits);
    cJSON *tensors = complete ? phy_json_object(root, "tensors") : NULL;
    complete = tensors && phy_json_count(tensors, "total", tally->total_tensors) &&
               phy_json_count(tensors, "target", tally->target.tensors) &&
               phy_json_count(tensors, "layers", tally->layer_count) &&
               phy_json_count(tensors, "projections", tally->projection_count) &&
               phy_json_bool(tensors, "is_layers_x_projections",
                             tally->target.tensors == (uint64_t)tally->layer_count * tally->projection_count &&
                                 tally->target.tensors == tally->cell_count) &&
               add_projection_counts(root, tally) && add_cells(root, tally);
    put_tree(out, root, complete, true);
}

/* ---- tensors.jsonl ---- */

void phy_tensor_put_jsonl(struct phy_text *out, const struct phy_report_tensor *tensor)
{
    cJSON *root = cJSON_CreateObject();
    bool complete = root && phy_json_name(root, "tensor", tensor->name, tensor->name_bytes) &&
                    phy_json_string(root, "shard", tensor->shard) && phy_json_string(root, "dtype", tensor->dtype) &&
                    phy_json_count(root, "elements", tensor->elements) &&
                    phy_json_count(root, "bytes", tensor->bytes) && phy_json_hash(root, "xxh3", tensor->xxh3) &&
                    phy_json_bool(root, "target", tensor->target);
    if (complete && tensor->target)
        complete =
            phy_json_layer(root, "layer", tensor->layer) && phy_json_string(root, "projection", tensor->projection) &&
            phy_json_count(root, "rows", tensor->rows) && phy_json_count(root, "cols", tensor->cols) &&
            phy_json_count(root, "processed", tensor->processed) && phy_json_count(root, "killed", tensor->killed) &&
            phy_json_count(root, "zero_before", tensor->zero_before) &&
            phy_json_ratio(root, "sparsity", tensor->killed, tensor->elements) &&
            phy_json_double(root, "tile_sparsity_min", tensor->tile_sparsity_min) &&
            phy_json_double(root, "tile_sparsity_max", tensor->tile_sparsity_max) &&
            phy_json_string(root, "device", tensor->device) && phy_json_seconds(root, "seconds", tensor->seconds);
    put_tree(out, root, complete, false);
}
