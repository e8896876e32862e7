/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/json_write.h"
#include "base/log.h"
#include "ffn/quantize_run.h"

static void member_u64(struct phy_json_writer *json, const char *name, uint64_t value)
{
    phy_jsonw_key(json, name, strlen(name));
    phy_jsonw_u64(json, value);
}

static void member_digest(struct phy_json_writer *json, const char *name, uint64_t xxh3)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)xxh3);
    phy_jsonw_member_text(json, name, text);
}

static void write_model(struct phy_json_writer *json, const struct phy_model_config *c)
{
    phy_jsonw_member_open(json, "model", '{');
    phy_jsonw_member_text(json, "model_type", c->model_type);
    member_u64(json, "hidden_size", c->hidden_size);
    member_u64(json, "intermediate_size", c->intermediate_size);
    member_u64(json, "layer_count", c->layer_count);
    phy_jsonw_member_text(json, "activation", phy_activation_name(c->activation));
    phy_jsonw_close(json, '}');
}

static void write_matrix(struct phy_json_writer *json, const struct phy_quantize_job *job)
{
    char file[PHY_QUANTIZE_FILE_BYTES];
    phy_quantize_file_name(job->file, file);
    phy_jsonw_open(json, '{');
    phy_jsonw_member_text(json, "name", phy_matrix_kind_name(job->kind));
    phy_jsonw_member_text(json, "file", file);
    member_u64(json, "offset", job->offset);
    member_u64(json, "bytes", job->bytes);
    phy_jsonw_member_text(json, "format", phy_weight_format(job->type)->name);
    member_u64(json, "rows", job->rows);
    member_u64(json, "cols", job->cols);
    member_digest(json, "xxh3", job->xxh3);
    phy_jsonw_close(json, '}');
}

/* The jobs of one layer; returns the first of the next. */
static size_t write_layer(struct phy_json_writer *json, const struct phy_quantize *run, size_t first)
{
    static const char *const names[] = {"gate", "up", "down"};
    const uint32_t layer = run->jobs[first].layer;
    uint64_t xxh3[PHY_FFN_SOURCE_COUNT] = {0};
    size_t end = first;
    for (; end < run->job_count && run->jobs[end].layer == layer; end++) {
        enum phy_ffn_source sources[2];
        size_t count = phy_quantize_sources(run->jobs[end].kind, sources);
        for (size_t s = 0; s < count; s++)
            xxh3[sources[s]] = run->jobs[end].sources[s].xxh3;
    }
    phy_jsonw_open(json, '{');
    member_u64(json, "layer", layer);
    phy_jsonw_member_open(json, "source", '{');
    for (size_t s = 0; s < PHY_FFN_SOURCE_COUNT; s++)
        member_digest(json, names[s], xxh3[s]);
    phy_jsonw_close(json, '}');
    phy_jsonw_member_open(json, "matrices", '[');
    for (size_t i = first; i < end; i++)
        write_matrix(json, &run->jobs[i]);
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
    return end;
}

enum phy_status phy_quantize_write_index(const struct phy_quantize *run)
{
    int fd;
    enum phy_status status = phy_output_open_file(&run->output, PHY_STORE_INDEX, 0, &fd);
    struct phy_json_writer *json = phy_alloc(1, sizeof *json);
    if (status != PHY_OK || !json) {
        phy_free(json);
        if (status == PHY_OK)
            phy_close(fd);
        return status != PHY_OK ? status : phy_fail_memory(run->host, "the index", sizeof *json);
    }
    int error = ftruncate(fd, 0) == 0 ? 0 : errno; /* an earlier run may have got this far */
    phy_jsonw_start(json, fd, true);
    phy_jsonw_open(json, '{');
    member_u64(json, "schema", PHY_STORE_SCHEMA);
    phy_jsonw_member_text(json, "kind", PHY_STORE_KIND);
    phy_jsonw_member_text(json, "scheme", run->scheme->name);
    phy_jsonw_member_text(json, "layout", phy_store_layout_name(run->layout));
    write_model(json, &run->donor.config);
    phy_jsonw_member_open(json, "layers", '[');
    for (size_t i = 0; i < run->job_count;)
        i = write_layer(json, run, i);
    phy_jsonw_close(json, ']');
    phy_jsonw_close(json, '}');
    int written = phy_jsonw_finish(json);
    error = error ? error : written;
    phy_free(json);
    if (!error)
        error = phy_fsync(fd);
    int closed = phy_close(fd);
    return error || closed ? phy_output_fail(&run->output, PHY_STORE_INDEX, error ? error : closed) : PHY_OK;
}
