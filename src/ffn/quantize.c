/* SPDX-License-Identifier: Apache-2.0 */
/* Quantize: understand the donor, lay the store out, encode matrix after matrix, and let it appear by one rename. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/clock.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/path.h"
#include "ffn/quantize_run.h"
#include "physarium/version.h"
#include "surgery/donor_digest.h"

/* Files of this size can be copied to any file system; a larger matrix has a file of its own. */
#define FILE_BYTES (UINT64_C(4) << 30)

void phy_quantize_file_name(uint32_t file, char out[PHY_QUANTIZE_FILE_BYTES])
{
    snprintf(out, PHY_QUANTIZE_FILE_BYTES, "ffn-%05u.bin", file + 1);
}

/* ---- what is asked for ---- */

static bool is_bitmap(const struct phy_quantize *run)
{
    return phy_weight_is_bitmap(run->scheme->types[PHY_FFN_GATE]);
}

static enum phy_status read_options(struct phy_quantize *run)
{
    const struct phy_quantize_params *params = run->params;
    const struct phy_host *host = run->host;
    if (!params->donor || !params->output || !params->scheme)
        return phy_fail(host, PHY_ERR_USAGE, "quantize needs a donor, an output and a scheme");
    run->scheme = phy_store_scheme_named(params->scheme);
    if (!run->scheme)
        return phy_fail(host, PHY_ERR_USAGE, "no scheme \"%.64s\"; there are %s", params->scheme,
                        phy_store_scheme_list());
    run->layout = run->scheme->layout;
    if (params->layout && !phy_store_layout_named(params->layout, &run->layout))
        return phy_fail(host, PHY_ERR_USAGE, "no layout \"%.64s\"; there are split, interleaved, by_feature",
                        params->layout);
    const bool bitmap = is_bitmap(run);
    if (bitmap && run->layout != PHY_LAYOUT_SPLIT)
        return phy_fail(host, PHY_ERR_USAGE, "scheme bitmap: its rows have no fixed length; the layout is split");
    if (!phy_store_layout_allowed(run->scheme, run->layout))
        return phy_fail(host, PHY_ERR_USAGE, "scheme %s has gate and up in two formats: they cannot be interleaved",
                        run->scheme->name);
    for (size_t s = 0; s < PHY_FFN_SOURCE_COUNT && !bitmap; s++) {
        const struct phy_quant_format *format = phy_weight_format(run->scheme->types[s]);
        if (!format->encode)
            return phy_fail(host, PHY_ERR_UNSUPPORTED, "scheme %s: there is no encoder for %s", run->scheme->name,
                            format->name);
    }
    return PHY_OK;
}

static enum phy_status choose_layers(struct phy_quantize *run)
{
    const struct phy_quantize_params *params = run->params;
    const uint32_t count = run->donor.config.layer_count;
    run->layer_last = count - 1;
    if (!params->has_layers)
        return PHY_OK;
    if (params->layer_first > params->layer_last || params->layer_last >= count)
        return phy_fail(run->host, PHY_ERR_USAGE, "layers %u-%u: the model has 0-%u", params->layer_first,
                        params->layer_last, count - 1);
    run->layer_first = params->layer_first;
    run->layer_last = params->layer_last;
    return PHY_OK;
}

/* ---- the plan ---- */

/* Where the matrix goes: behind the one before, or in the next file. */
static enum phy_status place(struct phy_quantize *run, struct phy_quantize_job *job)
{
    uint64_t *end = run->file_count ? &run->file_bytes[run->file_count - 1] : NULL;
    uint64_t at = end ? phy_ceil_div(*end, PHY_STORE_ALIGNMENT) * PHY_STORE_ALIGNMENT : 0;
    if (!end || (at && job->bytes > FILE_BYTES - phy_min_u64(at, FILE_BYTES))) {
        end = &run->file_bytes[run->file_count++];
        at = 0;
    }
    job->file = run->file_count - 1;
    job->offset = at;
    *end = at + job->bytes;
    if (*end >> 62 || !phy_add_u64(run->stored_bytes, job->bytes, &run->stored_bytes))
        return phy_fail(run->host, PHY_ERR_LIMIT, "%s: the store's size overflows", run->donor.label);
    return PHY_OK;
}

static enum phy_status plan_layer(struct phy_quantize *run, uint32_t layer)
{
    enum phy_matrix_kind kinds[3];
    const size_t count = phy_store_layout_kinds(run->layout, kinds);
    enum phy_status status = PHY_OK;
    for (size_t k = 0; k < count && status == PHY_OK; k++) {
        struct phy_quantize_job *job = &run->jobs[run->job_count];
        *job = (struct phy_quantize_job){
            .layer = layer, .kind = kinds[k], .type = phy_store_matrix_type(run->scheme, kinds[k])};
        phy_store_matrix_shape(job->kind, run->donor.config.hidden_size, run->donor.config.intermediate_size,
                               &job->rows, &job->cols);
        if (phy_weight_is_bitmap(job->type))
            status = phy_quantize_plan_bitmap(run, job);
        else if (!phy_weight_row_bytes(job->type, job->cols, &job->row_bytes) ||
                 !phy_mul_u64(job->row_bytes, job->rows, &job->bytes))
            status =
                phy_fail(run->host, PHY_ERR_LIMIT, "%s: layer %u: a matrix's size overflows", run->donor.label, layer);
        if (status == PHY_OK)
            status = place(run, job);
        run->weight_count += job->rows * job->cols;
        run->job_count++;
    }
    for (int s = 0; s < PHY_FFN_SOURCE_COUNT && status == PHY_OK; s++) {
        struct phy_donor_tensor tensor;
        status = phy_donor_ffn(&run->donor, layer, (enum phy_ffn_source)s, &tensor);
        run->source_bytes += status == PHY_OK ? tensor.bytes : 0;
    }
    return status;
}

static enum phy_status plan(struct phy_quantize *run)
{
    const size_t layers = run->layer_last - run->layer_first + 1, most = layers * 3;
    run->jobs = phy_zalloc(most, sizeof *run->jobs);
    run->file_bytes = phy_zalloc(most, sizeof *run->file_bytes);
    if (!run->jobs || !run->file_bytes)
        return phy_fail_memory(run->host, "the plan", most * sizeof *run->jobs);
    enum phy_status status = PHY_OK;
    for (uint32_t layer = run->layer_first; layer <= run->layer_last && status == PHY_OK; layer++)
        status = plan_layer(run, layer);
    return status;
}

/* The same lines on every machine for the same donor, options and version; threads are not in it. */
static enum phy_status identify(struct phy_quantize *run)
{
    struct phy_bytes *text = &run->identity;
    const struct phy_checkpoint *donor = run->donor.checkpoint;
    enum phy_status status = phy_donor_digest(donor, run->donor_digest, NULL, run->host);
    if (status != PHY_OK)
        return status;
    phy_bytes_printf(text, "{\n\"version\": \"%s\",\n\"donor\": \"%s\",\n", phy_version(), run->donor_digest);
    for (size_t i = 0; i < phy_checkpoint_shard_count(donor); i++)
        phy_bytes_printf(text, "\"shard %zu\": \"modified %lld\",\n", i,
                         (long long)phy_checkpoint_shard_mtime_ns(donor, i));
    phy_bytes_printf(text, "\"model\": \"%s %u %u %u\",\n", run->donor.config.model_type, run->donor.config.hidden_size,
                     run->donor.config.intermediate_size, run->donor.config.layer_count);
    phy_bytes_printf(text, "\"scheme\": \"%s\",\n\"layout\": \"%s\",\n\"layers\": \"%u-%u\"\n}\n", run->scheme->name,
                     phy_store_layout_name(run->layout), run->layer_first, run->layer_last);
    phy_bytes_terminate(text);
    return text->failed ? phy_fail_memory(run->host, "the run's identity", text->bytes) : PHY_OK;
}

/* ---- a finished output ---- */

/* True if `store` is what this run would make: the same matrices of a donor with the same weights. */
static enum phy_status is_same(const struct phy_quantize *run, const struct phy_ffn_store *store, bool *same)
{
    const struct phy_model_config *c = &run->donor.config;
    enum phy_status status = PHY_OK;
    *same = store->known == run->scheme && store->layout == run->layout && store->layer_count == c->layer_count &&
            store->hidden == c->hidden_size && store->intermediate == c->intermediate_size &&
            strcmp(store->model_type, c->model_type) == 0 &&
            store->stored_layers == run->layer_last - run->layer_first + 1;
    for (uint32_t layer = run->layer_first; *same && layer <= run->layer_last && status == PHY_OK; layer++)
        status = phy_donor_made_layer(&run->donor, store, layer, same);
    return status;
}

static enum phy_status check_finished(const struct phy_quantize *run, bool *finished)
{
    struct phy_ffn_store *store;
    enum phy_status status = PHY_OK;
    *finished = false;
    if (!run->params->resume || !run->output.exists)
        return PHY_OK;
    if (phy_ffn_store_open(&store, run->output.path, NULL) == PHY_OK)
        status = is_same(run, store, finished);
    phy_ffn_store_close(&store);
    if (status == PHY_OK && *finished)
        phy_note(run->host, "%s: already finished, of the same donor and options; nothing was written",
                 run->output.path);
    else if (status == PHY_OK && !phy_output_replaceable(&run->output))
        status = phy_output_check_existing(&run->output);
    else if (status == PHY_OK && !run->params->force)
        status = phy_fail(run->host, PHY_ERR_USAGE,
                          "%s exists and is not what this run would make; --force replaces it", run->output.path);
    return status;
}

static bool is_data_file(const char *name)
{
    uint32_t number = 0;
    char same[PHY_QUANTIZE_FILE_BYTES];
    if (sscanf(name, "ffn-%9u.bin", &number) != 1 || number == 0)
        return false;
    phy_quantize_file_name(number - 1, same);
    return strcmp(name, same) == 0;
}

/* For --force: a directory whose index.json is a store's, and that holds nothing but a store. */
static bool is_store(int dir_fd)
{
    char head[4096];
    if (!phy_store_holds_only(dir_fd, is_data_file))
        return false;
    int fd = openat(dir_fd, PHY_STORE_INDEX, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t bytes = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (bytes < 0)
        return false;
    head[bytes] = 0;
    return strstr(head, "\"" PHY_STORE_KIND "\"") != NULL;
}

static const struct phy_output_kind store_kind = {
    .name = "store", .replaced = "a directory that holds a store and nothing else", .is_of_kind = is_store};

/* ---- work ---- */

static bool makes(const void *user, const char *path, bool is_directory)
{
    const struct phy_quantize *run = user;
    bool made = strcmp(path, PHY_STORE_INDEX) == 0;
    for (uint32_t f = 0; f < run->file_count && !made; f++) {
        char name[PHY_QUANTIZE_FILE_BYTES];
        phy_quantize_file_name(f, name);
        made = strcmp(path, name) == 0;
    }
    return made && !is_directory;
}

static enum phy_status run_job(struct phy_quantize *run, size_t index, int fd)
{
    struct phy_quantize_job *job = &run->jobs[index];
    char name[PHY_QUANTIZE_FILE_BYTES];
    phy_quantize_file_name(job->file, name);
    enum phy_status status =
        phy_weight_is_bitmap(job->type) ? phy_quantize_bitmap(run, job, fd) : phy_quantize_encode(run, job, fd);
    if (status != PHY_OK)
        return status;
    int error = phy_fsync(fd); /* the journal may claim only what is there after a power cut */
    if (error)
        return phy_output_fail(&run->output, name, error);
    job->done = true;
    return phy_quantize_record(run, index);
}

static enum phy_status run_jobs(struct phy_quantize *run)
{
    enum phy_status status = PHY_OK;
    int fd = -1;
    for (size_t i = 0; i < run->job_count && status == PHY_OK; i++) {
        const uint32_t file = run->jobs[i].file;
        char name[PHY_QUANTIZE_FILE_BYTES];
        phy_quantize_file_name(file, name);
        if (fd < 0)
            status = phy_output_open_file(&run->output, name, run->file_bytes[file], &fd);
        /* Where space is not given in advance the last matrix makes the size; a hole is zeros. */
        if (status == PHY_OK && !run->jobs[i].done)
            status = run_job(run, i, fd);
        const bool last = i + 1 == run->job_count || run->jobs[i + 1].file != file;
        if (fd >= 0 && (last || status != PHY_OK)) {
            int error = phy_close(fd);
            fd = -1;
            if (error && status == PHY_OK)
                status = phy_output_fail(&run->output, name, error);
        }
    }
    if (status == PHY_ERR_INTERRUPTED)
        return phy_fail(run->host, status, "interrupted; %s", run->output.params.advice);
    return status;
}

/* W7: our own reader must accept what we wrote. Its complaint would be ours. */
static enum phy_status read_back(const struct phy_quantize *run)
{
    struct phy_ffn_store *store;
    enum phy_status status = phy_ffn_store_open(&store, run->output.partial_path,
                                                &(struct phy_ffn_store_params){.trust = true, .host = run->host});
    phy_ffn_store_close(&store);
    return status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ? PHY_ERR_INTERNAL : status;
}

static enum phy_status write_store(struct phy_quantize *run)
{
    enum phy_status status = phy_output_begin(&run->output);
    if (status == PHY_OK)
        status = phy_quantize_take_up(run);
    uint64_t left = 0;
    for (size_t i = 0; i < run->job_count; i++)
        left += run->jobs[i].done ? 0 : run->jobs[i].bytes;
    if (status == PHY_OK) {
        status = phy_output_check_space(&run->output, left);
        if (status == PHY_OK)
            status = run_jobs(run);
        else if (left == run->stored_bytes) /* nothing to go on from, nothing in the next run's way */
            phy_output_discard(&run->output);
        if (status == PHY_ERR_FORMAT) /* a weight that no run can store */
            phy_output_discard(&run->output);
    }
    if (status == PHY_OK)
        status = phy_checkpoint_unchanged(run->donor.checkpoint);
    if (status == PHY_OK)
        status = phy_quantize_write_index(run);
    if (status == PHY_OK)
        status = read_back(run);
    return status == PHY_OK ? phy_output_publish(&run->output) : status;
}

static double relative(double error, double energy)
{
    return energy > 0 ? sqrt(error / energy) : 0;
}

static void fill_result(const struct phy_quantize *run, bool finished, double seconds, struct phy_quantize_result *out)
{
    struct phy_quantize_source sums[PHY_FFN_SOURCE_COUNT] = {{0}}, all = {0};
    *out = (struct phy_quantize_result){.weight_count = run->weight_count,
                                        .source_bytes = run->source_bytes,
                                        .stored_bytes = run->stored_bytes,
                                        .layer_count = run->layer_last - run->layer_first + 1,
                                        .already_finished = finished,
                                        .seconds = seconds};
    for (size_t i = 0; i < run->job_count; i++) {
        enum phy_ffn_source sources[2];
        const size_t count = phy_quantize_sources(run->jobs[i].kind, sources);
        for (size_t s = 0; s < count; s++) {
            sums[sources[s]].error += run->jobs[i].sources[s].error;
            sums[sources[s]].energy += run->jobs[i].sources[s].energy;
        }
    }
    for (size_t s = 0; s < PHY_FFN_SOURCE_COUNT; s++) {
        out->relative_rmse_of[s] = relative(sums[s].error, sums[s].energy);
        all.error += sums[s].error;
        all.energy += sums[s].energy;
    }
    out->relative_rmse = relative(all.error, all.energy);
}

static enum phy_status understand(struct phy_quantize *run)
{
    char reason[256];
    enum phy_status status = choose_layers(run);
    if (status == PHY_OK && !phy_path_made_of(run->scheme, run->layout, reason, sizeof reason))
        phy_warn(run->host, "layout %s: nothing runs this store: %s", phy_store_layout_name(run->layout), reason);
    if (status == PHY_OK)
        status = plan(run);
    if (status == PHY_OK)
        status = identify(run);
    const unsigned threads = run->params->threads ? run->params->threads : phy_cpu_count();
    if (status == PHY_OK && !(run->pool = phy_pool_create(threads)))
        status = phy_fail(run->host, PHY_ERR_MEMORY, "out of memory: %u threads", threads);
    return status;
}

enum phy_status phy_quantize_run(const struct phy_quantize_params *params, struct phy_quantize_result *out)
{
    struct phy_quantize run = {.params = params, .host = params->host};
    const double started = phy_seconds_now();
    bool finished = false;
    enum phy_status status = read_options(&run);
    if (status == PHY_OK)
        status = phy_donor_open(&run.donor, params->donor, params->host);
    if (status != PHY_OK)
        return status;
    status = understand(&run);
    if (status == PHY_OK) {
        status = phy_output_check(
            &run.output,
            &(struct phy_output_params){.path = params->output,
                                        .force = params->force,
                                        .without_reports = true,
                                        .kind = &store_kind,
                                        .makes = makes,
                                        .user = &run,
                                        .protect = &params->donor,
                                        .protect_count = 1,
                                        .advice = params->advice ? params->advice : "--resume goes on from here",
                                        .host = params->host});
        if (status == PHY_OK) {
            status = check_finished(&run, &finished);
            if (status == PHY_OK && !finished)
                status = write_store(&run);
            phy_output_close(&run.output);
        }
    }
    if (status == PHY_OK && !finished && run.stored_bytes >= run.source_bytes && is_bitmap(&run))
        phy_note(params->host,
                 "%s: %llu bytes, the donor's FFN has %llu: its weights are hardly ever zero, and no bitmap helps",
                 params->output, (unsigned long long)run.stored_bytes, (unsigned long long)run.source_bytes);
    if (status == PHY_OK && out)
        fill_result(&run, finished, phy_seconds_now() - started, out);
    phy_pool_destroy(run.pool);
    phy_bytes_free(&run.identity);
    phy_free(run.jobs);
    phy_free(run.file_bytes);
    phy_donor_close(&run.donor);
    return status;
}
