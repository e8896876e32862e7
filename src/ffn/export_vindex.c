/* SPDX-License-Identifier: Apache-2.0 */
/* The FFN of a model as a vindex directory (docs/ffn-store.md): float features, Q4_K blocks, or FP4 and FP8 features.
 */
#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/json_write.h"
#include "base/log.h"
#include "ffn/export_vindex.h"
#include "ffn/vindex.h"

enum { FILES_MAX = 3, WIDE = 256 };
#define MANIFEST "interleaved_kquant_manifest.json"

/* A file of the output: which matrices of each layer, one layer after the other. */
struct vindex_file {
    const char *name;
    struct {
        enum phy_matrix_kind kind;
        enum phy_weight_type type;
    } parts[3];
    unsigned part_count;
};

struct vindex_form {
    const char *scheme; /* NULL: f32 */
    const char *quant;
    bool fp4;
    unsigned file_count;
    struct vindex_file files[FILES_MAX];
};

#define GATES                                                                                                          \
    {                                                                                                                  \
        "gate_vectors.bin", {{PHY_MATRIX_GATE, PHY_WEIGHT_F32}}, 1                                                     \
    }

/* down as Q4_K: it means the same to every revision of the other tool, Q6_K does not. */
static const struct vindex_form forms[] = {
    {"f32",
     "none",
     false,
     3,
     {GATES,
      {"up_features.bin", {{PHY_MATRIX_UP, PHY_WEIGHT_F32}}, 1},
      {"down_features.bin", {{PHY_MATRIX_DOWN_BY_FEATURE, PHY_WEIGHT_F32}}, 1}}},
    {"q4_k",
     "q4k",
     false,
     1,
     {{"interleaved_kquant.bin",
       {{PHY_MATRIX_GATE, PHY_WEIGHT_Q4_K}, {PHY_MATRIX_UP, PHY_WEIGHT_Q4_K}, {PHY_MATRIX_DOWN, PHY_WEIGHT_Q4_K}},
       3}}},
    {"fp4",
     "none",
     true,
     3,
     {GATES,
      {"up_features_fp4.bin", {{PHY_MATRIX_UP, PHY_WEIGHT_FP4}}, 1},
      {"down_features_fp8.bin", {{PHY_MATRIX_DOWN_BY_FEATURE, PHY_WEIGHT_FP8}}, 1}}},
};

/* ---- which form ---- */

static enum phy_status check_sizes(const struct phy_export *run, const struct vindex_form *form)
{
    const struct phy_model_config *c = &run->donor.config;
    if (form->fp4 && c->hidden_size % WIDE)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                        "hidden size %u: a vindex holds FP4 only of multiples of %d; our own store pads",
                        c->hidden_size, WIDE);
    if (strcmp(form->scheme, "q4_k") == 0 && (c->hidden_size % WIDE || c->intermediate_size % WIDE))
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                        "sizes %u and %u: readers of a vindex misread Q4_K unless both are multiples of %d; our own "
                        "store pads",
                        c->hidden_size, c->intermediate_size, WIDE);
    return PHY_OK;
}

/* Down of the k-quants, whose only matrix that a store holds in another format is encoded anew. */
static bool encoded_anew(const struct vindex_form *form, enum phy_matrix_kind kind)
{
    return kind == PHY_MATRIX_DOWN && form->files[0].parts[2].type == PHY_WEIGHT_Q4_K;
}

/* What the form wants of every layer, the store must have. */
static enum phy_status check_store(const struct phy_export *run, const struct vindex_form *form)
{
    const struct phy_ffn_store *store = run->store;
    for (uint32_t layer = 0; layer < store->layer_count; layer++) {
        if (!store->layers[layer].present)
            return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                            "%s: lacks layer %u: a vindex holds every layer, in one form", store->label, layer);
    }
    for (unsigned f = 0; f < form->file_count; f++) {
        for (unsigned p = 0; p < form->files[f].part_count; p++) {
            const enum phy_matrix_kind kind = form->files[f].parts[p].kind;
            const enum phy_weight_type type = form->files[f].parts[p].type;
            if (!phy_vindex_stored(store, 0, kind, type) && !encoded_anew(form, kind))
                return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                                "%s: layout %s: a vindex has %s in %s, whose blocks cannot be turned; quantize with "
                                "--layout %s",
                                store->label, phy_store_layout_name(store->layout), phy_matrix_kind_name(kind),
                                phy_weight_format(type)->name,
                                kind == PHY_MATRIX_DOWN_BY_FEATURE ? "by_feature" : "interleaved");
        }
    }
    return PHY_OK;
}

static enum phy_status choose_form(const struct phy_export *run, struct vindex_form *out)
{
    const struct phy_ffn_store *store = run->store;
    const char *scheme = run->scheme ? run->scheme->name : "f32";
    const struct vindex_form *found = NULL;
    const bool floats = store && store->known->types[PHY_FFN_DOWN] < PHY_WEIGHT_FLOAT_COUNT;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].scheme, floats ? "f32" : scheme) == 0)
            found = &forms[i];
    }
    if (!found)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED,
                        store ? "scheme %s: a vindex holds stores of f32, f16, bf16, q4_k and fp4"
                              : "scheme %s: a vindex is written as f32, q4_k or fp4",
                        scheme);
    *out = *found;
    const bool kquant = found->files[0].part_count == 3;
    if (run->params->q6k_order && !(store && kquant))
        return phy_fail(run->host, PHY_ERR_USAGE, "an order of Q6_K is of a vindex from a q4_k store");
    if (run->params->q6k_order)
        out->files[0].parts[2].type = PHY_WEIGHT_Q6_K;
    if (floats && store->known->types[PHY_FFN_GATE] == PHY_WEIGHT_F16)
        out->files[0].parts[0].type = PHY_WEIGHT_F16; /* gates only: features are always f32 */
    enum phy_status status = check_sizes(run, out);
    if (status == PHY_OK && store)
        status = check_store(run, out);
    if (status == PHY_OK && store && kquant && !run->params->q6k_order)
        phy_note(run->host, "down is encoded anew as Q4_K, which every reader takes for the same; --q6k-order pairs or "
                            "ggml keeps the store's Q6_K");
    return status;
}

/* ---- JSON files ---- */

/* A JSON file under construction. */
struct json_file {
    struct phy_json_writer *json;
    const char *name;
    int fd;
};

static enum phy_status open_json(const struct phy_export *run, const char *name, struct json_file *out)
{
    *out = (struct json_file){.json = phy_alloc(1, sizeof *out->json), .name = name, .fd = -1};
    if (!out->json)
        return phy_fail_memory(run->host, name, sizeof *out->json);
    enum phy_status status = phy_output_open_file(&run->output, name, 0, &out->fd);
    if (status == PHY_OK)
        phy_jsonw_start(out->json, out->fd, true);
    else
        phy_free(out->json);
    return status;
}

static enum phy_status close_json(const struct phy_export *run, struct json_file *file)
{
    int error = phy_jsonw_finish(file->json);
    phy_free(file->json);
    if (!error)
        error = phy_fsync(file->fd);
    int closed = phy_close(file->fd);
    return error || closed ? phy_output_fail(&run->output, file->name, error ? error : closed) : PHY_OK;
}

static void member_u64(struct phy_json_writer *json, const char *name, uint64_t value)
{
    phy_jsonw_key(json, name, strlen(name));
    phy_jsonw_u64(json, value);
}

static void write_projection(struct phy_json_writer *json, const char *name, const char *precision, const char *file)
{
    phy_jsonw_member_open(json, name, '{');
    phy_jsonw_member_text(json, "precision", precision);
    phy_jsonw_member_text(json, "file", file);
    phy_jsonw_close(json, '}');
}

static void write_fp4(struct phy_json_writer *json)
{
    phy_jsonw_member_open(json, "fp4", '{');
    member_u64(json, "fp4_format_version", 1);
    member_u64(json, "block_elements", 256);
    member_u64(json, "sub_block_elements", 32);
    phy_jsonw_member_text(json, "sub_block_scale_dtype", "fp8_e4m3");
    phy_jsonw_member_text(json, "block_scale_dtype", "fp8_e4m3");
    phy_jsonw_member_text(json, "value_encoding", "fp4_e2m1_mxfp4_nibble_order");
    phy_jsonw_member_open(json, "projections", '{');
    write_projection(json, "gate", "f32", "gate_vectors.bin");
    write_projection(json, "up", "fp4", "up_features_fp4.bin");
    write_projection(json, "down", "fp8", "down_features_fp8.bin");
    phy_jsonw_close(json, '}');
    phy_jsonw_member_open(json, "compliance_gate", '{');
    phy_jsonw_member_raw(json, "threshold_ratio", "16.0");
    phy_jsonw_member_raw(json, "min_compliant_fraction", "0.99");
    phy_jsonw_member_text(json, "fallback_precision", "fp8");
    phy_jsonw_close(json, '}');
    phy_jsonw_member_text(json, "compliance_report", "fp4_compliance.json");
    phy_jsonw_close(json, '}');
}

static enum phy_status write_index(const struct phy_export *run, const struct vindex_form *form)
{
    const struct phy_model_config *c = &run->donor.config;
    const bool gemma = c->architecture == PHY_ARCH_GEMMA3;
    /* Of gate_vectors.bin, which is the first file where there is one. */
    const enum phy_weight_type gates = form->files[0].parts[0].type == PHY_WEIGHT_F16 ? PHY_WEIGHT_F16 : PHY_WEIGHT_F32;
    const uint64_t length = phy_weight_float_bytes(gates) * (uint64_t)c->hidden_size * c->intermediate_size;
    char scale[PHY_JSON_NUMBER_BYTES];
    struct json_file file;
    enum phy_status status = open_json(run, PHY_STORE_INDEX, &file);
    if (status != PHY_OK)
        return status;
    struct phy_json_writer *json = file.json;
    phy_jsonw_open(json, '{');
    member_u64(json, "version", 2);
    phy_jsonw_member_text(json, "model", c->model_type);
    phy_jsonw_member_text(json, "family", run->architecture->name);
    member_u64(json, "num_layers", c->layer_count);
    member_u64(json, "hidden_size", c->hidden_size);
    member_u64(json, "intermediate_size", c->intermediate_size);
    member_u64(json, "vocab_size", c->vocab_size);
    phy_jsonw_member_raw(json, "embed_scale",
                         phy_jsonw_double(scale, gemma ? (double)sqrtf((float)c->hidden_size) : 1.0));
    member_u64(json, "down_top_k", 0);
    phy_jsonw_member_text(json, "dtype", phy_weight_format(gates)->name);
    phy_jsonw_member_text(json, "quant", form->quant);
    phy_jsonw_member_text(json, "extract_level", "browse");
    phy_jsonw_member_bool(json, "has_model_weights", false);
    phy_jsonw_member_open(json, "layers", '[');
    for (uint32_t layer = 0; layer < c->layer_count; layer++) {
        phy_jsonw_open(json, '{');
        member_u64(json, "layer", layer);
        member_u64(json, "num_features", c->intermediate_size);
        member_u64(json, "offset", layer * length);
        member_u64(json, "length", length);
        phy_jsonw_close(json, '}');
    }
    phy_jsonw_close(json, ']');
    if (form->fp4)
        write_fp4(json);
    phy_jsonw_close(json, '}');
    return close_json(run, &file);
}

static enum phy_status write_manifest(const struct phy_export *run, const struct phy_quantize_job *jobs, size_t count)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    struct json_file file;
    enum phy_status status = open_json(run, MANIFEST, &file);
    if (status != PHY_OK)
        return status;
    phy_jsonw_open(file.json, '[');
    for (size_t i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof key, "layers.%u.mlp.%s.weight", jobs[i].layer, names[i % 3]);
        phy_jsonw_open(file.json, '{');
        phy_jsonw_member_text(file.json, "key", key);
        phy_jsonw_member_open(file.json, "shape", '[');
        phy_jsonw_u64(file.json, jobs[i].rows);
        phy_jsonw_u64(file.json, jobs[i].cols); /* multiples of 256: padded to themselves */
        phy_jsonw_close(file.json, ']');
        phy_jsonw_member_text(file.json, "format", jobs[i].type == PHY_WEIGHT_Q4_K ? "Q4_K" : "Q6_K");
        member_u64(file.json, "offset", jobs[i].offset);
        member_u64(file.json, "length", jobs[i].bytes);
        phy_jsonw_close(file.json, '}');
    }
    phy_jsonw_close(file.json, ']');
    return close_json(run, &file);
}

/* ---- data ---- */

/* The matrices of one file, in the order of the file. */
static enum phy_status plan_file(const struct phy_export *run, const struct vindex_file *file,
                                 struct phy_quantize_job *jobs, uint64_t *bytes)
{
    const struct phy_model_config *c = &run->donor.config;
    *bytes = 0;
    for (uint32_t layer = 0; layer < c->layer_count; layer++) {
        for (unsigned p = 0; p < file->part_count; p++) {
            struct phy_quantize_job *job = &jobs[layer * file->part_count + p];
            *job = (struct phy_quantize_job){
                .layer = layer, .kind = file->parts[p].kind, .type = file->parts[p].type, .offset = *bytes};
            phy_store_matrix_shape(job->kind, c->hidden_size, c->intermediate_size, &job->rows, &job->cols);
            if (!phy_weight_row_bytes(job->type, job->cols, &job->row_bytes) ||
                !phy_mul_u64(job->row_bytes, job->rows, &job->bytes) || !phy_add_u64(*bytes, job->bytes, bytes) ||
                *bytes >> 62)
                return phy_fail(run->host, PHY_ERR_LIMIT, "%s: its size overflows", file->name);
        }
    }
    return PHY_OK;
}

static enum phy_status write_data(struct phy_export *run, struct phy_quantize *encoder, const struct vindex_file *file)
{
    const size_t count = (size_t)run->donor.config.layer_count * file->part_count;
    struct phy_quantize_job *jobs = phy_zalloc(count, sizeof *jobs);
    uint64_t bytes;
    int fd = -1;
    if (!jobs)
        return phy_fail_memory(run->host, "the plan", count * sizeof *jobs);
    enum phy_status status = plan_file(run, file, jobs, &bytes);
    if (status == PHY_OK)
        status = phy_output_check_space(&run->output, bytes);
    if (status == PHY_OK)
        status = phy_output_open_file(&run->output, file->name, bytes, &fd);
    for (size_t i = 0; i < count && status == PHY_OK; i++)
        status = run->store && phy_vindex_stored(run->store, jobs[i].layer, jobs[i].kind, jobs[i].type)
                     ? phy_vindex_copy(run, encoder, &jobs[i], file->name, fd)
                     : phy_quantize_encode(encoder, &jobs[i], fd);
    if (status == PHY_ERR_INTERRUPTED)
        status = phy_fail(run->host, status, "%s: interrupted; nothing is kept", run->output.path);
    int error = status == PHY_OK ? phy_fsync(fd) : 0;
    int closed = fd >= 0 ? phy_close(fd) : 0;
    if (status == PHY_OK && (error || closed))
        status = phy_output_fail(&run->output, file->name, error ? error : closed);
    if (status == PHY_OK && file->part_count == 3)
        status = write_manifest(run, jobs, count);
    run->result.bytes += bytes;
    run->result.tensor_count += count;
    phy_free(jobs);
    return status;
}

static enum phy_status write_all(struct phy_export *run, const struct vindex_form *form)
{
    const struct phy_model_config *c = &run->donor.config;
    struct phy_quantize *encoder = phy_zalloc(1, sizeof *encoder);
    if (!encoder)
        return phy_fail_memory(run->host, "an encoder", sizeof *encoder);
    encoder->host = run->host;
    encoder->donor = run->donor;
    encoder->pool = run->pool;
    encoder->output = run->output;
    unsigned parts = 0;
    for (unsigned f = 0; f < form->file_count; f++)
        parts += form->files[f].part_count;
    encoder->weight_count = (uint64_t)parts * c->layer_count * c->hidden_size * c->intermediate_size;
    enum phy_status status = PHY_OK;
    for (unsigned f = 0; f < form->file_count && status == PHY_OK; f++)
        status = write_data(run, encoder, &form->files[f]);
    if (status == PHY_OK)
        status = phy_export_check_sources(run);
    if (status == PHY_OK)
        status = write_index(run, form);
    phy_free(encoder);
    return status;
}

static enum phy_status read_back(const struct phy_export *run)
{
    struct phy_ffn_store *store;
    enum phy_status status =
        phy_ffn_store_open(&store, run->output.partial_path,
                           &(struct phy_ffn_store_params){.q6k_order = run->params->q6k_order, .host = run->host});
    phy_ffn_store_close(&store);
    return status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ? PHY_ERR_INTERNAL : status;
}

static bool is_data_file(const char *name)
{
    bool is = strcmp(name, MANIFEST) == 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        for (unsigned f = 0; f < forms[i].file_count; f++)
            is = is || strcmp(name, forms[i].files[f].name) == 0;
    }
    return is;
}

/* For --force: a directory whose index.json is a vindex', and that holds nothing but what we write. A vindex of another
 * tool may be a whole model. */
static bool is_vindex(int dir_fd)
{
    if (!phy_store_holds_only(dir_fd, is_data_file))
        return false;
    struct stat file;
    bool is = false;
    int fd = openat(dir_fd, PHY_STORE_INDEX, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char *text = NULL;
    if (fd >= 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_size < PHY_STORE_INDEX_MAX_BYTES)
        text = phy_alloc((size_t)file.st_size + 1, 1);
    if (text && phy_pread_all(fd, text, (size_t)file.st_size, 0) == 0)
        is = phy_is_vindex_index(text, (size_t)file.st_size);
    phy_free(text);
    if (fd >= 0)
        close(fd);
    return is;
}

static const struct phy_output_kind vindex_kind = {
    .name = "vindex",
    .replaced = "a directory that holds a vindex as we write it and nothing else",
    .is_of_kind = is_vindex};

struct vindex_making {
    struct phy_export *run;
    struct vindex_form form;
};

static enum phy_status make_files(void *user)
{
    const struct vindex_making *making = user;
    enum phy_status status = write_all(making->run, &making->form);
    return status == PHY_OK ? read_back(making->run) : status;
}

enum phy_status phy_export_vindex(struct phy_export *run)
{
    struct vindex_making making = {.run = run};
    const char *protect[2] = {run->params->donor, run->params->store};
    enum phy_status status = choose_form(run, &making.form);
    if (status != PHY_OK)
        return status;
    return phy_export_publish(run,
                              &(struct phy_output_params){.path = run->params->vindex,
                                                          .force = run->params->force,
                                                          .without_reports = true,
                                                          .kind = &vindex_kind,
                                                          .protect = protect,
                                                          .protect_count = run->store ? 2 : 1,
                                                          .host = run->host},
                              make_files, &making);
}
