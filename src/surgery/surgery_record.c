/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path_name.h"
#include "kernels/flow_tile_forms.h"
#include "report/surgery_report.h"
#include "surgery/surgery_run.h"

static uint64_t elements_of(const struct phy_tensor_info *info)
{
    uint64_t elements = 1;
    for (uint32_t d = 0; d < info->dim_count; d++)
        elements *= info->shape[d]; /* below 2^63 by rule S10 */
    return elements;
}

/* What the record points into. */
struct record_parts {
    struct phy_report_tensor *tensors;
    struct phy_report_shard *shards;
    struct phy_report_device *devices;
    char (*device_names)[128]; /* (targets) "cpu:avx2+vulkan:0" */
    const char **warnings;
    char lost_warning[160];
    float *food, *conductance;
    char *donor_name;
    struct phy_report_stage stages[PHY_STAGES];
};

static void free_parts(struct record_parts *parts)
{
    phy_free(parts->tensors);
    phy_free(parts->shards);
    phy_free(parts->devices);
    phy_free(parts->device_names);
    phy_free(parts->warnings);
    phy_free(parts->food);
    phy_free(parts->conductance);
    phy_free(parts->donor_name);
}

static enum phy_status allocate_parts(const struct phy_run *run, struct record_parts *parts)
{
    const struct phy_results *results = run->results;
    parts->tensors = phy_zalloc(results->tensor_count, sizeof *parts->tensors);
    parts->shards = phy_zalloc(results->shard_count, sizeof *parts->shards);
    parts->devices = phy_zalloc(results->device_count, sizeof *parts->devices);
    parts->device_names = phy_zalloc(run->targets.count, sizeof *parts->device_names);
    parts->warnings = phy_zalloc(run->log.warning_count + 1, sizeof *parts->warnings);
    parts->donor_name = phy_path_last_part(run->params.donor);
    if (!parts->tensors || !parts->shards || !parts->devices || !parts->device_names || !parts->warnings ||
        !parts->donor_name)
        return phy_fail_memory(&run->host, "a report", results->tensor_count * sizeof *parts->tensors);
    return PHY_OK;
}

static void name_devices(const struct phy_results *results, uint32_t mask, char out[128])
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < results->device_count && used < 127; i++) {
        if (!(mask >> i & 1))
            continue;
        int length = snprintf(out + used, 128 - used, "%s%s", used ? "+" : "", results->devices[i].name);
        used += length > 0 ? (size_t)length : 0;
    }
}

static void fill_tensors(const struct phy_run *run, struct record_parts *parts)
{
    const struct phy_results *results = run->results;
    for (size_t i = 0; i < results->tensor_count; i++) {
        struct phy_tensor_info info;
        struct phy_shard_info shard;
        phy_checkpoint_tensor(run->donor, i, &info);
        phy_checkpoint_shard(run->donor, info.shard, &shard);
        parts->tensors[i] = (struct phy_report_tensor){.name = info.name,
                                                       .name_bytes = info.name_bytes,
                                                       .dtype = info.dtype,
                                                       .shard = shard.name,
                                                       .elements = elements_of(&info),
                                                       .bytes = info.bytes,
                                                       .xxh3 = results->tensors[i].xxh3,
                                                       .layer = PHY_NO_LAYER};
    }
    for (size_t i = 0; i < run->targets.count; i++) {
        const struct phy_target *target = &run->targets.targets[i];
        const struct phy_tensor_result *result = &results->tensors[target->tensor];
        struct phy_report_tensor *tensor = &parts->tensors[target->tensor];
        struct phy_matrix m = phy_matrix_of(run->donor, target);
        tensor->target = true;
        tensor->rows = m.rows;
        tensor->cols = m.cols;
        tensor->processed = result->processed;
        tensor->killed = result->killed;
        tensor->zero_before = result->zero_before;
        tensor->seconds = result->seconds;
        tensor->tile_sparsity_min = result->flow_units ? result->tile_min : 0.0;
        tensor->tile_sparsity_max = result->flow_units ? result->tile_max : 0.0;
        tensor->layer = target->layer;
        tensor->projection = target->projection;
        name_devices(results, result->devices, parts->device_names[i]);
        tensor->device = parts->device_names[i];
    }
}

static void fill_shards(const struct phy_run *run, struct record_parts *parts)
{
    for (size_t i = 0; i < run->results->shard_count; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(run->donor, i, &shard);
        parts->shards[i] = (struct phy_report_shard){.name = shard.name,
                                                     .bytes = shard.file_bytes,
                                                     .header_bytes = shard.header_bytes,
                                                     .header_xxh3 = run->header_xxh3[i],
                                                     .file_xxh3 = run->results->shards[i].xxh3,
                                                     .seconds = run->results->shards[i].seconds};
    }
}

/* Run the flow of the chosen tile once more, for the picture. */
static enum phy_status picture_tile(const struct phy_run *run, struct record_parts *parts, struct phy_report_tile *out)
{
    const struct phy_tile_choice *choice = phy_results_choose_tile(run->results);
    if (!choice || choice->target >= run->targets.count)
        return PHY_OK;
    const struct phy_target *target = &run->targets.targets[choice->target];
    struct phy_matrix m = phy_matrix_of(run->donor, target);
    struct phy_tensor_info info;
    phy_checkpoint_tensor(run->donor, target->tensor, &info);
    const uint32_t block = run->params.block;
    const uint32_t rows = (uint32_t)phy_min_u64(block, m.rows - choice->row);
    const uint32_t cols = (uint32_t)phy_min_u64(block, m.cols - choice->col);
    const size_t cells = (size_t)rows * cols;
    unsigned char *codes = phy_alloc_aligned(cells * m.code_bytes);
    float *scale = phy_alloc(cols, sizeof *scale);
    void *scratch = phy_alloc_aligned(PHY_FLOW_SCRATCH_BYTES);
    parts->food = phy_alloc(cells, sizeof *parts->food);
    parts->conductance = phy_zalloc(cells, sizeof *parts->conductance);
    enum phy_status status = codes && scale && scratch && parts->food && parts->conductance
                                 ? PHY_OK
                                 : phy_fail_memory(&run->host, "a tile's picture", PHY_FLOW_SCRATCH_BYTES);
    for (uint32_t r = 0; status == PHY_OK && r < rows; r++)
        status =
            phy_checkpoint_read(run->donor, m.shard, m.at + ((choice->row + r) * m.cols + choice->col) * m.code_bytes,
                                codes + r * cols * m.code_bytes, cols * m.code_bytes);
    if (status == PHY_OK && run->calibrated)
        status = phy_calibration_read(&run->calibration, choice->target, choice->col, cols, scale);
    if (status == PHY_OK) {
        struct phy_cpu_features have = phy_cpu_detect();
        struct phy_flow_tile_result result;
        struct phy_flow_tile tile = {.codes = codes,
                                     .row_stride = cols,
                                     .type = m.type,
                                     .rows = rows,
                                     .cols = cols,
                                     .column_scale = run->calibrated ? scale : NULL,
                                     .conductance = parts->conductance};
        struct phy_flow_params flow = {
            .gain = run->gain, .beta = run->params.beta, .iterations = run->params.iterations, .block = block};
        phy_flow_variant_best(&have)->run(&tile, &flow, scratch, &result);
        for (size_t i = 0; i < cells; i++)
            parts->food[i] = phy_float_of_bits(phy_flow_magnitude_bits(codes, m.type, i));
        *out = (struct phy_report_tile){.tensor = info.name,
                                        .row = choice->row,
                                        .col = choice->col,
                                        .rows = rows,
                                        .cols = cols,
                                        .food = parts->food,
                                        .conductance = parts->conductance};
    }
    phy_free(codes);
    phy_free(scale);
    phy_free(scratch);
    return status;
}

static uint64_t peak_rss_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

static void fill_stages(const struct phy_run *run, struct record_parts *parts)
{
    static const char *const names[PHY_STAGES] = {"check", "gain search", "stream", "verify", "eval", "finish"};
    for (size_t i = 0; i < PHY_STAGES; i++)
        parts->stages[i] = (struct phy_report_stage){names[i], run->results->stage_seconds[i]};
}

static void fill_devices_and_warnings(const struct phy_run *run, struct record_parts *parts, size_t *warning_count)
{
    const struct phy_results *results = run->results;
    for (size_t i = 0; i < results->device_count; i++)
        parts->devices[i] = (struct phy_report_device){.name = results->devices[i].name,
                                                       .description = results->devices[i].description,
                                                       .weights = results->devices[i].weights,
                                                       .busy_seconds = results->devices[i].busy_seconds};
    size_t count = run->log.warning_count;
    for (size_t i = 0; i < count; i++)
        parts->warnings[i] = run->log.warnings[i];
    if (results->tiles_redone) { /* said here too, because a resumed run does not meet the loss again */
        snprintf(parts->lost_warning, sizeof parts->lost_warning,
                 "a device was lost: %llu tiles were redone on the CPU", (unsigned long long)results->tiles_redone);
        parts->warnings[count++] = parts->lost_warning;
    }
    *warning_count = count;
}

static double total_seconds(const struct phy_run *run)
{
    double total = 0;
    for (size_t i = 0; i < PHY_STAGES; i++)
        total += run->results->stage_seconds[i];
    return total;
}

static enum phy_status write_identity(const struct phy_run *run)
{
    const struct phy_output *output = &run->output;
    int fd = openat(output->reports_fd, "run.json", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    int error = fd < 0 ? errno : phy_write_all(fd, run->identity.data, run->identity.bytes);
    if (!error)
        error = phy_fsync(fd);
    int close_error = fd >= 0 ? phy_close(fd) : 0;
    error = error ? error : close_error;
    return error ? phy_output_fail(output, PHY_OUTPUT_REPORTS "/run.json", error) : PHY_OK;
}

/* The reports' own error lines end as those of every other failed write do. */
static void add_advice(void *user, enum phy_log_level level, const char *line)
{
    const struct phy_run *run = user;
    if (level == PHY_LOG_ERROR)
        phy_fail(&run->host, PHY_ERR_IO, "%s/%s; %s", run->output.partial_path, line, run->output.params.advice);
    else
        run->host.log(run->host.user, level, line);
}

enum phy_status phy_run_write_reports(struct phy_run *run)
{
    const double started = phy_seconds_now();
    const struct phy_surgery_params *params = &run->params;
    const struct phy_results *results = run->results;
    struct record_parts parts = {0};
    struct phy_surgery_record record = {
        .output_name = run->output.name,
        .donor_digest = run->donor_digest,
        .device_spec = params->device,
        .method = run->rank.ranked ? run->rank.name : "flow",
        .pattern_keep = run->rank.keep,
        .pattern = run->rank.group,
        .gain = (double)run->gain,
        .sparsity_asked = params->sparsity,
        .beta = params->beta,
        .iterations = params->iterations,
        .block = params->block,
        .threads = params->threads,
        .memory_bytes = params->memory_bytes,
        .calibration_name = run->calibrated ? run->calibration.name : NULL,
        .calibration_digest = run->calibrated ? run->calibration.digest : NULL,
        .include = params->targets.include,
        .exclude = params->targets.exclude,
        .include_count = params->targets.include_count,
        .exclude_count = params->targets.exclude_count,
        .has_layers = params->targets.has_layers,
        .first_layer = params->targets.first_layer,
        .last_layer = params->targets.last_layer,
        .eval = run->eval.done ? &run->eval.result : NULL,
        .eval_text_name = run->eval.text_name,
        .eval_text_digest = run->eval.text_digest,
        .tensor_count = results->tensor_count,
        .shard_count = results->shard_count,
        .stages = parts.stages,
        .stage_count = PHY_STAGES,
        .device_count = results->device_count,
        .resumed_count = results->resumed_count,
        .tiles_redone_on_cpu = results->tiles_redone,
        .peak_rss_bytes = peak_rss_bytes(),
    };
    enum phy_status status = allocate_parts(run, &parts);
    if (status == PHY_OK)
        status = picture_tile(run, &parts, &record.tile);
    if (status == PHY_OK) {
        /* As far as a report can tell of its own making. */
        run->results->stage_seconds[PHY_STAGE_FINISH] += phy_seconds_now() - started;
        record.seconds = total_seconds(run);
        fill_tensors(run, &parts);
        fill_shards(run, &parts);
        fill_stages(run, &parts);
        fill_devices_and_warnings(run, &parts, &record.warning_count);
    }
    record.donor_name = parts.donor_name;
    record.tensors = parts.tensors;
    record.shards = parts.shards;
    record.devices = parts.devices;
    record.warnings = parts.warnings;
    if (status == PHY_OK)
        status = phy_report_write_surgery(run->output.reports_fd, &record,
                                          &(struct phy_host){.user = run, .log = add_advice});
    if (status == PHY_OK)
        status = write_identity(run);
    free_parts(&parts);
    return status;
}

void phy_run_fill_result(const struct phy_run *run, struct phy_surgery_result *result)
{
    *result = (struct phy_surgery_result){
        .gain = (double)run->gain, .seconds = total_seconds(run), .device_lost = run->results->tiles_redone > 0};
    if (run->eval.done) {
        result->evaluated = true;
        result->perplexity = run->eval.result.perplexity.value;
        result->donor_perplexity = run->eval.result.baseline_perplexity.value;
        result->kl_bits = run->eval.result.kl_bits.value;
        result->top1_agreement = run->eval.result.top1_agreement.value;
    }
    for (size_t i = 0; i < run->results->tensor_count; i++) {
        struct phy_tensor_info info;
        phy_checkpoint_tensor(run->donor, i, &info);
        result->total_elements += elements_of(&info);
        result->processed += run->results->tensors[i].processed;
        result->killed += run->results->tensors[i].killed;
        result->zero_before += run->results->tensors[i].zero_before;
    }
    result->target_elements = run->targets.elements;
}
