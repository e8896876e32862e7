/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/coverage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path_name.h"
#include "format/checkpoint_files.h"
#include "report/tally.h"
#include "surgery/coverage_compare.h"
#include "surgery/coverage_damage.h"
#include "surgery/coverage_report.h"
#include "surgery/output_dir.h"
#include "surgery/pipeline.h"
#include "surgery/recompute.h"

/* One comparison while it lasts. */
struct audit {
    const struct phy_coverage_params *params;
    const struct phy_host *host;
    struct phy_checkpoint *donor;
    struct phy_target_list targets;
    struct phy_recorded_options recorded;
    struct phy_comparison comparison;
    int reports;                       /* the folder, or -1 */
    struct phy_report_tensor *tensors; /* the findings, as a report would tell them */
    struct phy_damage_list damage;
    struct phy_coverage *coverage;
};

/* ---- what to compare ---- */

static enum phy_status choose_targets(struct audit *a)
{
    const struct phy_target_params *given = &a->params->targets;
    enum phy_status status = phy_recorded_options_read(&a->recorded, a->reports, a->host);
    if (status != PHY_OK)
        return status;
    if (given->include_count || given->exclude_count || given->has_layers) {
        a->coverage->targets_from = PHY_COVERAGE_FROM_PARAMS;
    } else if (a->recorded.present) {
        a->coverage->targets_from = PHY_COVERAGE_FROM_REPORT;
        given = &a->recorded.targets;
    } else {
        a->coverage->targets_from = PHY_COVERAGE_FROM_DEFAULTS;
    }
    return phy_targets_choose(&a->targets, a->donor, given, a->host);
}

static enum phy_status open_both(struct audit *a)
{
    struct phy_checkpoint_params open = {.host = a->host, .follow_symlinks = a->params->follow_symlinks};
    enum phy_status status = phy_checkpoint_open(&a->donor, a->params->donor, &open);
    if (status != PHY_OK)
        return status;
    if (phy_checkpoint_container(a->donor) == PHY_CONTAINER_GGUF)
        return phy_fail(a->host, PHY_ERR_UNSUPPORTED,
                        "%s: a GGUF file is no donor of a surgery: physarium import makes one", a->params->donor);
    a->reports = phy_reports_open(a->params->output, phy_checkpoint_is_directory(a->donor));
    status = choose_targets(a);
    return status == PHY_OK ? phy_comparison_open(&a->comparison, a->donor, a->params->output, &a->targets, a->host)
                            : status;
}

/* ---- findings ---- */

static void describe_tensor(const struct audit *a, size_t index, struct phy_report_tensor *out)
{
    const struct phy_tensor_finding *finding = &a->comparison.tensors[index];
    struct phy_tensor_info info;
    struct phy_shard_info shard;
    phy_checkpoint_tensor(a->donor, index, &info);
    phy_checkpoint_shard(a->donor, info.shard, &shard);
    *out = (struct phy_report_tensor){.name = info.name,
                                      .name_bytes = info.name_bytes,
                                      .dtype = info.dtype,
                                      .shard = shard.name,
                                      .elements = finding->elements,
                                      .bytes = info.bytes,
                                      .xxh3 = finding->xxh3,
                                      .target = finding->target != NULL};
    if (!finding->target)
        return;
    out->rows = info.shape[0];
    out->cols = info.shape[1];
    out->processed = finding->counts.processed;
    out->killed = finding->counts.killed;
    out->zero_before = finding->counts.zero_before;
    out->layer = finding->target->layer;
    out->projection = finding->target->projection;
}

static struct phy_coverage_line line_of(const struct phy_tally_line *line)
{
    return (struct phy_coverage_line){line->tensors, line->elements, line->processed, line->killed, line->zero_before};
}

static bool copy_tables(struct phy_coverage *coverage, const struct phy_tally *tally)
{
    coverage->projections = phy_zalloc(tally->projection_count, sizeof *coverage->projections);
    coverage->cells = phy_zalloc(tally->cell_count, sizeof *coverage->cells);
    if (!coverage->projections || !coverage->cells)
        return false;
    for (size_t i = 0; i < tally->projection_count; i++) {
        struct phy_coverage_projection *projection = &coverage->projections[i];
        snprintf(projection->name, sizeof projection->name, "%s", tally->projections[i]);
        projection->line = line_of(&tally->projection_lines[i]);
    }
    for (size_t i = 0; i < tally->cell_count; i++) {
        const struct phy_tally_cell *cell = &tally->cells[i];
        coverage->cells[i] =
            (struct phy_coverage_cell){tally->layers[cell->layer], cell->projection, line_of(&cell->line)};
    }
    coverage->projection_count = tally->projection_count;
    coverage->cell_count = tally->cell_count;
    coverage->layer_count = tally->layer_count;
    coverage->target = line_of(&tally->target);
    coverage->total_elements = tally->total_elements;
    coverage->denominator_correct = tally->processed_fits;
    return true;
}

static bool copy_tensors(struct audit *a)
{
    struct phy_coverage *coverage = a->coverage;
    size_t count = phy_checkpoint_tensor_count(a->donor), shards = phy_checkpoint_shard_count(a->donor);
    coverage->tensors = phy_zalloc(count, sizeof *coverage->tensors);
    coverage->shard_names = phy_zalloc(shards, sizeof *coverage->shard_names);
    if (!coverage->tensors || !coverage->shard_names)
        return false;
    coverage->tensor_count = count;
    coverage->shard_count = shards;
    for (size_t i = 0; i < shards; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(a->donor, i, &shard);
        if (!(coverage->shard_names[i] = phy_strndup(shard.name, strlen(shard.name))))
            return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct phy_report_tensor *found = &a->tensors[i];
        struct phy_tensor_info info;
        phy_checkpoint_tensor(a->donor, i, &info);
        coverage->tensors[i] = (struct phy_coverage_tensor){.name = phy_strndup(found->name, found->name_bytes),
                                                            .name_bytes = found->name_bytes,
                                                            .shard = info.shard,
                                                            .target = found->target,
                                                            .elements = found->elements,
                                                            .processed = found->processed,
                                                            .killed = found->killed,
                                                            .zero_before = found->zero_before,
                                                            .damaged = a->comparison.tensors[i].counts.damaged,
                                                            .xxh3 = found->xxh3};
        if (!coverage->tensors[i].name)
            return false;
    }
    return true;
}

static enum phy_status tell_findings(struct audit *a)
{
    struct phy_coverage *coverage = a->coverage;
    size_t count = phy_checkpoint_tensor_count(a->donor);
    struct phy_tally tally = {0};
    a->tensors = phy_zalloc(count, sizeof *a->tensors);
    for (size_t i = 0; a->tensors && i < count; i++)
        describe_tensor(a, i, &a->tensors[i]);
    bool made =
        a->tensors && phy_tally_make(&tally, a->tensors, count) && copy_tables(coverage, &tally) && copy_tensors(a);
    phy_tally_free(&tally);
    coverage->sidecar_count = phy_checkpoint_sidecar_count(a->donor);
    coverage->bytes_compared = a->comparison.bytes_compared;
    return made ? PHY_OK : phy_fail_memory(a->host, "the findings", count * sizeof *a->tensors);
}

/* ---- reports ---- */

static enum phy_status add_verdict(struct audit *a, const char *file, const struct phy_report_verdict *verdict)
{
    struct phy_damage damage = {.kind = PHY_DAMAGE_REPORT, .count = 1};
    if (verdict->state == PHY_COVERAGE_REPORT_UNKNOWN)
        phy_warn(a->host, "%s: %s: it was not compared", file, verdict->where);
    return verdict->state == PHY_COVERAGE_REPORT_DIFFERS
               ? phy_damage_add(&a->damage, &damage, file, NULL, "%s", verdict->where)
               : PHY_OK;
}

static enum phy_status check_reports(struct audit *a)
{
    size_t count = phy_checkpoint_tensor_count(a->donor);
    struct phy_damage damage = {.kind = PHY_DAMAGE_REPORT, .count = 1};
    struct phy_report_verdict verdict;
    enum phy_status status = PHY_OK;
    if (*a->recorded.problem)
        status = phy_damage_add(&a->damage, &damage, "physarium/surgery.json", NULL, "%s", a->recorded.problem);
    if (status == PHY_OK)
        status = phy_reports_check_coverage(&verdict, a->reports, a->tensors, count, a->host);
    if (status != PHY_OK)
        return status;
    a->coverage->coverage_json = verdict.state;
    status = add_verdict(a, "physarium/coverage.json", &verdict);
    if (status == PHY_OK)
        status = phy_reports_check_tensors(&verdict, a->reports, a->tensors, count, a->host);
    if (status != PHY_OK)
        return status;
    a->coverage->tensors_jsonl = verdict.state;
    return add_verdict(a, "physarium/tensors.jsonl", &verdict);
}

/* ---- the flow again ---- */

static struct phy_flow_params flow_params(const struct audit *a)
{
    const struct phy_coverage_params *p = a->params;
    const struct phy_recorded_options *r = &a->recorded;
    const bool present = r->present && strcmp(r->method, "flow") == 0;
    return (struct phy_flow_params){.gain = (float)(p->gain != 0 ? p->gain
                                                    : present    ? r->gain
                                                                 : 5.0),
                                    .beta = p->beta   ? p->beta
                                            : present ? r->beta
                                                      : 2,
                                    .iterations = p->iterations ? p->iterations
                                                  : present     ? r->iterations
                                                                : 30,
                                    .block = p->block  ? p->block
                                             : present ? r->block
                                                       : 256};
}

/* What is given, else what is recorded; a pattern or a sparsity that is given replaces either. */
static enum phy_status rank_method(const struct audit *a, struct phy_rank_method *out)
{
    const struct phy_coverage_params *p = a->params;
    const struct phy_recorded_options *r = &a->recorded;
    const char *method = p->method ? p->method : r->present ? r->method : "flow", *pattern = p->pattern;
    const bool flow = strcmp(method, "flow") == 0;
    const bool scaled = p->calibration || (!p->method && r->present && r->calibration_name);
    double sparsity = p->sparsity;
    if (!flow && !pattern && sparsity == 0 && r->present) {
        pattern = *r->pattern ? r->pattern : NULL;
        sparsity = pattern ? 0 : r->sparsity;
    }
    if (flow && sparsity != 0)
        return phy_fail(a->host, PHY_ERR_USAGE, "to run the flow again takes its gain, not a sparsity");
    enum phy_status status = phy_rank_method_choose(out, method, pattern, sparsity, scaled, a->host);
    if (status == PHY_OK && out->ranked && (p->gain != 0 || p->beta || p->iterations || p->block))
        return phy_fail(a->host, PHY_ERR_USAGE,
                        "method %s: gain, beta, iterations and block are parameters of the flow", out->name);
    if (status == PHY_OK && out->ranked && phy_rank_widest(a->donor, &a->targets) > UINT32_MAX)
        return phy_fail(a->host, PHY_ERR_LIMIT, "method %s: at most 2^32 - 1 columns can be ranked", out->name);
    return status;
}

static enum phy_status check_flow_params(const struct audit *a, const struct phy_flow_params *flow)
{
    uint32_t block = flow->block;
    if (!(flow->gain >= 0.0625f && flow->gain <= 64.0f))
        return phy_fail(a->host, PHY_ERR_USAGE, "gain %g: 0.0625 to 64 is allowed", (double)flow->gain);
    if (flow->beta < 1 || flow->beta > 4)
        return phy_fail(a->host, PHY_ERR_USAGE, "beta %" PRIu32 ": 1 to 4 is allowed", flow->beta);
    if (flow->iterations < 1 || flow->iterations > 1000)
        return phy_fail(a->host, PHY_ERR_USAGE, "iterations %" PRIu32 ": 1 to 1000 is allowed", flow->iterations);
    if (block != 32 && block != 64 && block != 128 && block != 256)
        return phy_fail(a->host, PHY_ERR_USAGE, "block %" PRIu32 ": 32, 64, 128 or 256 is allowed", block);
    return PHY_OK;
}

static enum phy_status open_calibration(const struct audit *a, struct phy_calibration *calibration, bool *scaled)
{
    const char *path = a->params->calibration, *digest = a->recorded.calibration_digest;
    char quoted[PHY_QUOTED_BYTES];
    *scaled = path != NULL;
    if (!path && a->recorded.calibration_name)
        return phy_fail(a->host, PHY_ERR_USAGE,
                        "the output was made with the calibration %s (digest %.32s): name it with --calibration",
                        phy_quote(quoted, a->recorded.calibration_name, strlen(a->recorded.calibration_name)), digest);
    if (!path)
        return PHY_OK;
    enum phy_status status = phy_calibration_open(calibration, path, a->donor, &a->targets, NULL, a->host);
    if (status == PHY_OK && digest && strcmp(digest, calibration->digest) != 0)
        phy_warn(a->host, "%s: its digest is %s, the output was made with %.32s", calibration->name,
                 calibration->digest, digest);
    return status;
}

static void name_devices(char *out, size_t capacity, const struct phy_device_set *devices)
{
    size_t used = 0;
    for (size_t i = 0; i < devices->count && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", i ? "+" : "", devices->backends[i]->name);
}

static enum phy_status recompute(struct audit *a)
{
    struct phy_coverage *coverage = a->coverage;
    struct phy_calibration calibration = {0};
    struct phy_device_set devices = {0};
    struct phy_recompute_result result;
    struct phy_rank_method rank;
    bool scaled = false;
    struct phy_recompute_params run = {.comparison = &a->comparison,
                                       .targets = &a->targets,
                                       .flow = flow_params(a),
                                       .devices = &devices,
                                       .host = a->host};
    enum phy_status status = rank_method(a, &rank);
    if (status == PHY_OK && !rank.ranked)
        status = check_flow_params(a, &run.flow);
    if (status == PHY_OK)
        status = open_calibration(a, &calibration, &scaled);
    if (status == PHY_OK)
        status = phy_device_set_open(&devices, a->params->device, a->params->threads, a->host);
    if (status == PHY_OK) {
        run.calibration = scaled ? &calibration : NULL;
        run.rank = rank.ranked ? &rank : NULL;
        name_devices(coverage->recompute_device, sizeof coverage->recompute_device, &devices);
        status = phy_recompute_run(&result, &run);
    }
    if (status == PHY_OK) {
        coverage->recomputed = true;
        coverage->recomputed_weights = result.weights;
        coverage->recompute_differences = result.differences;
        coverage->recompute_agrees = result.differences == 0 && result.weights == a->targets.elements;
        if (result.differences)
            status =
                phy_damage_add_recompute(&a->damage, &a->comparison, &a->targets, coverage->recompute_device, &result);
    }
    phy_device_set_close(&devices);
    phy_calibration_close(&calibration);
    return status;
}

/* ---- the whole ---- */

/* One sentence: the first difference, and how much else there is. */
static enum phy_status verdict(const struct audit *a)
{
    const struct phy_coverage *coverage = a->coverage;
    if (coverage->difference_count == 0)
        return PHY_OK;
    if (coverage->difference_count == 1)
        return phy_fail(a->host, PHY_ERR_MISMATCH, "%s", coverage->damages[0].sentence);
    return phy_fail(a->host, PHY_ERR_MISMATCH, "%.850s; in all %" PRIu64 " differences, %" PRIu64 " damaged tensors",
                    coverage->damages[0].sentence, coverage->difference_count, coverage->damaged_tensors);
}

static enum phy_status run_audit(struct audit *a)
{
    enum phy_status status = open_both(a);
    double started = phy_seconds_now();
    if (status == PHY_OK)
        status = phy_comparison_run(&a->comparison, a->params->threads, a->host);
    a->coverage->compare_seconds = phy_seconds_now() - started;
    if (status == PHY_OK)
        status = tell_findings(a);
    if (status == PHY_OK)
        status = phy_damage_collect(&a->damage, &a->comparison);
    if (status == PHY_OK)
        status = check_reports(a);
    if (status == PHY_OK && a->params->recompute)
        status = recompute(a);
    return status == PHY_OK ? phy_checkpoint_unchanged(a->donor) : status;
}

enum phy_status phy_coverage_run(struct phy_coverage **out, const struct phy_coverage_params *params)
{
    struct audit a = {.params = params, .host = params->host, .reports = -1, .comparison.output_dir = -1};
    double started = phy_seconds_now();
    *out = NULL;
    if (!params->donor || !params->output)
        return phy_fail(params->host, PHY_ERR_USAGE, "coverage: a donor and an output are needed");
    struct phy_coverage *coverage = phy_zalloc(1, sizeof *coverage);
    if (!coverage)
        return phy_fail_memory(params->host, "a result", sizeof *coverage);
    a.coverage = a.damage.coverage = coverage;
    a.damage.host = params->host;
    coverage->donor_name = phy_path_last_part(params->donor);
    coverage->output_name = phy_path_last_part(params->output);
    enum phy_status status =
        coverage->donor_name && coverage->output_name ? run_audit(&a) : phy_fail_memory(params->host, "a name", 256);
    if (status == PHY_OK)
        status = verdict(&a);
    phy_comparison_close(&a.comparison);
    phy_target_list_free(&a.targets);
    phy_recorded_options_free(&a.recorded);
    phy_checkpoint_close(&a.donor);
    phy_free(a.tensors);
    if (a.reports >= 0)
        phy_close(a.reports);
    coverage->seconds = phy_seconds_now() - started;
    if (status != PHY_OK && status != PHY_ERR_MISMATCH)
        phy_coverage_free(&coverage);
    *out = coverage;
    return status;
}

void phy_coverage_free(struct phy_coverage **coverage)
{
    struct phy_coverage *c = *coverage;
    *coverage = NULL;
    if (!c)
        return;
    for (size_t i = 0; i < c->tensor_count; i++)
        phy_free(c->tensors[i].name);
    for (size_t i = 0; i < c->shard_count; i++)
        phy_free(c->shard_names[i]);
    for (size_t i = 0; i < c->damage_count; i++) {
        phy_free(c->damages[i].file);
        phy_free(c->damages[i].tensor);
    }
    phy_free(c->tensors);
    phy_free(c->shard_names);
    phy_free(c->damages);
    phy_free(c->projections);
    phy_free(c->cells);
    phy_free(c->donor_name);
    phy_free(c->output_name);
    phy_free(c);
}
