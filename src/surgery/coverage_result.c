/* SPDX-License-Identifier: Apache-2.0 */
/* The result of a comparison as JSON. */
#include <cjson/cJSON.h>
#include <string.h>

#include "physarium/coverage.h"
#include "physarium/version.h"
#include "report/json.h"

enum { COVERAGE_RESULT_VERSION = 1 };

static bool add_line(cJSON *object, const struct phy_coverage_line *line)
{
    return phy_json_count(object, "tensors", line->tensors) && phy_json_count(object, "elements", line->elements) &&
           phy_json_count(object, "processed", line->processed) && phy_json_count(object, "killed", line->killed) &&
           phy_json_count(object, "zero_before", line->zero_before) &&
           phy_json_ratio(object, "ratio", line->killed, line->elements);
}

static bool add_head(cJSON *root, const struct phy_coverage *coverage)
{
    static const char *const sources[] = {"options", "surgery.json", "default names"};
    return phy_json_string(root, "schema", "physarium.coverage-result") &&
           phy_json_count(root, "schema_version", COVERAGE_RESULT_VERSION) &&
           phy_json_string(root, "physarium", PHY_VERSION_STRING) &&
           phy_json_string(root, "donor", coverage->donor_name) &&
           phy_json_string(root, "output", coverage->output_name) &&
           phy_json_bool(root, "intact", coverage->difference_count == 0) &&
           phy_json_count(root, "differences", coverage->difference_count) &&
           phy_json_count(root, "damaged_tensors", coverage->damaged_tensors) &&
           phy_json_string(root, "targets_from", sources[coverage->targets_from]) &&
           phy_json_count(root, "shards", coverage->shard_count) &&
           phy_json_count(root, "sidecars", coverage->sidecar_count) &&
           phy_json_count(root, "bytes_compared", coverage->bytes_compared) &&
           phy_json_seconds(root, "compare_seconds", coverage->compare_seconds) &&
           phy_json_seconds(root, "seconds", coverage->seconds);
}

static bool add_totals(cJSON *root, const struct phy_coverage *coverage)
{
    const struct phy_coverage_line *target = &coverage->target;
    return phy_json_count(root, "total_elements", coverage->total_elements) &&
           phy_json_count(root, "target_elements", target->elements) &&
           phy_json_count(root, "processed_elements", target->processed) &&
           phy_json_count(root, "killed_elements", target->killed) &&
           phy_json_count(root, "zero_before_elements", target->zero_before) &&
           phy_json_ratio(root, "kill_rate_target", target->killed, target->elements) &&
           phy_json_ratio(root, "kill_rate_model", target->killed, coverage->total_elements) &&
           phy_json_bool(root, "denominator_correct", coverage->denominator_correct) &&
           phy_json_count(root, "tensors_total", coverage->tensor_count) &&
           phy_json_count(root, "tensors_target", target->tensors) &&
           phy_json_count(root, "layers", coverage->layer_count);
}

static bool add_tables(cJSON *root, const struct phy_coverage *coverage)
{
    cJSON *projections = phy_json_array(root, "projections");
    bool done = projections != NULL;
    for (size_t i = 0; done && i < coverage->projection_count; i++) {
        cJSON *item = phy_json_item(projections);
        done = phy_json_string(item, "projection", coverage->projections[i].name) &&
               add_line(item, &coverage->projections[i].line);
    }
    cJSON *cells = done ? phy_json_array(root, "cells") : NULL;
    done = cells != NULL;
    for (size_t i = 0; done && i < coverage->cell_count; i++) {
        const struct phy_coverage_cell *cell = &coverage->cells[i];
        cJSON *item = phy_json_item(cells);
        done = phy_json_layer(item, "layer", cell->layer) &&
               phy_json_string(item, "projection", coverage->projections[cell->projection].name) &&
               add_line(item, &cell->line);
    }
    return done;
}

static bool add_tensors(cJSON *root, const struct phy_coverage *coverage)
{
    cJSON *array = phy_json_array(root, "tensors");
    bool done = array != NULL;
    for (size_t i = 0; done && i < coverage->tensor_count; i++) {
        const struct phy_coverage_tensor *tensor = &coverage->tensors[i];
        cJSON *item = phy_json_item(array);
        done = phy_json_name(item, "tensor", tensor->name, tensor->name_bytes) &&
               phy_json_string(item, "shard", coverage->shard_names[tensor->shard]) &&
               phy_json_bool(item, "target", tensor->target) && phy_json_count(item, "elements", tensor->elements) &&
               phy_json_count(item, "damaged", tensor->damaged) && phy_json_hash(item, "xxh3", tensor->xxh3);
        if (done && tensor->target)
            done = phy_json_count(item, "processed", tensor->processed) &&
                   phy_json_count(item, "killed", tensor->killed) &&
                   phy_json_count(item, "zero_before", tensor->zero_before);
    }
    return done;
}

static bool add_reports(cJSON *root, const struct phy_coverage *coverage)
{
    static const char *const states[] = {"absent", "agrees", "differs", "unknown schema"};
    cJSON *reports = phy_json_object(root, "reports");
    bool done = phy_json_string(reports, "coverage.json", states[coverage->coverage_json]) &&
                phy_json_string(reports, "tensors.jsonl", states[coverage->tensors_jsonl]);
    if (!done || !coverage->recomputed)
        return done && phy_json_null(root, "recompute");
    cJSON *recompute = phy_json_object(root, "recompute");
    return phy_json_string(recompute, "device", coverage->recompute_device) &&
           phy_json_count(recompute, "weights", coverage->recomputed_weights) &&
           phy_json_count(recompute, "differences", coverage->recompute_differences) &&
           phy_json_bool(recompute, "agrees", coverage->recompute_agrees);
}

static bool add_damage(cJSON *root, const struct phy_coverage *coverage)
{
    static const char *const kinds[] = {"file", "header", "tensor", "sidecar", "report", "recompute"};
    cJSON *array = phy_json_array(root, "damage");
    bool done = array != NULL;
    for (size_t i = 0; done && i < coverage->damage_count; i++) {
        const struct phy_damage *damage = &coverage->damages[i];
        cJSON *item = phy_json_item(array);
        done = phy_json_string(item, "kind", kinds[damage->kind]) && phy_json_string(item, "file", damage->file) &&
               phy_json_name(item, "tensor", damage->tensor, damage->tensor_bytes) &&
               (damage->has_position
                    ? phy_json_count(item, "row", damage->row) && phy_json_count(item, "column", damage->col)
                    : phy_json_null(item, "row") && phy_json_null(item, "column")) &&
               phy_json_count(item, "count", damage->count) && phy_json_string(item, "sentence", damage->sentence);
    }
    return done;
}

enum phy_status phy_coverage_put_result(const struct phy_coverage *coverage,
                                        void (*put)(void *user, const char *text, size_t bytes), void *user)
{
    cJSON *root = cJSON_CreateObject();
    bool done = root && add_head(root, coverage) && add_totals(root, coverage) && add_tables(root, coverage) &&
                add_reports(root, coverage) && add_damage(root, coverage) && add_tensors(root, coverage);
    char *text = done ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (!text)
        return PHY_ERR_MEMORY;
    put(user, text, strlen(text));
    put(user, "\n", 1);
    cJSON_free(text);
    return PHY_OK;
}
