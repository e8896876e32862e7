/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "format/checkpoint_files.h"
#include "model/model_parts.h"
#include "physarium/ffn.h"

enum { CONFIG_MAX_BYTES = 4 << 20 };

void phy_widen(float *to, const void *from, enum phy_weight_type type, size_t count)
{
    /* One row of the identity times the values: the reference product is the one place that widens. */
    static const float one = 1.0f;
    struct phy_matmul product = {
        .w = from, .type = type, .rows = count, .cols = 1, .x = &one, .count = 1, .y = to, .y_stride = count};
    phy_matmul_variants[0].matvec(&product, 0, count);
}

/* ---- opening ---- */

enum phy_status phy_model_config_read(struct phy_model_config *out, const struct phy_checkpoint *checkpoint,
                                      const char *label, const struct phy_host *host)
{
    size_t count = phy_checkpoint_sidecar_count(checkpoint);
    for (size_t i = 0; i < count; i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(checkpoint, i, &sidecar);
        if (sidecar.is_directory || strcmp(sidecar.path, "config.json") != 0)
            continue;
        if (sidecar.bytes > CONFIG_MAX_BYTES)
            return phy_fail(host, PHY_ERR_LIMIT, "config.json: %llu bytes, at most %d are read",
                            (unsigned long long)sidecar.bytes, CONFIG_MAX_BYTES);
        int fd;
        enum phy_status status = phy_checkpoint_sidecar_open(checkpoint, i, &fd);
        if (status != PHY_OK)
            return status;
        char *text = phy_alloc(sidecar.bytes + 1, 1);
        int error = text ? phy_pread_all(fd, text, sidecar.bytes, 0) : ENOMEM;
        phy_close(fd);
        if (!error) {
            text[sidecar.bytes] = 0;
            status = phy_model_config_parse(out, text, sidecar.bytes, "config.json", host);
        } else if (text) {
            status = phy_fail(host, PHY_ERR_IO, "config.json: %s", strerror(error));
        } else {
            status = phy_fail_memory(host, "config.json", sidecar.bytes);
        }
        phy_free(text);
        return status;
    }
    return phy_fail(host, PHY_ERR_FORMAT, "%s: config.json: missing", label);
}

static enum phy_status prepare(struct phy_model *model)
{
    const struct phy_model_config *c = &model->config;
    bool gemma = c->architecture == PHY_ARCH_GEMMA3;
    model->embedding_scale = gemma ? (float)sqrt((double)c->hidden_size) : 1.0f;
    model->norm_offset = gemma ? 1.0f : 0.0f;
    model->inverse_frequency = phy_alloc(c->head_dim, sizeof(float));
    model->sliding_inverse_frequency = phy_alloc(c->head_dim, sizeof(float));
    if (!model->inverse_frequency || !model->sliding_inverse_frequency)
        return phy_fail_memory(model->host, "rope frequencies", c->head_dim * sizeof(float));
    phy_rope_frequencies(&c->rope, c->head_dim, model->inverse_frequency);
    phy_rope_frequencies(&c->sliding_rope, c->head_dim, model->sliding_inverse_frequency);
    return PHY_OK;
}

enum phy_status phy_model_open(struct phy_model **out, const char *directory, const struct phy_model_params *params)
{
    const struct phy_host *host = params ? params->host : NULL;
    *out = NULL;
    struct phy_model *model = phy_zalloc(1, sizeof *model);
    if (!model)
        return phy_fail_memory(host, "a model", sizeof *model);
    model->host = host;
    model->ffn_elsewhere = params && params->ffn_elsewhere;
    model->label = phy_strndup(directory, strlen(directory));
    enum phy_status status = model->label ? PHY_OK : phy_fail_memory(host, "a path", strlen(directory));
    if (status == PHY_OK)
        status = phy_checkpoint_open(
            &model->checkpoint, directory,
            &(struct phy_checkpoint_params){.follow_symlinks = params && params->follow_symlinks, .host = host});
    if (status == PHY_OK && phy_checkpoint_container(model->checkpoint) == PHY_CONTAINER_GGUF)
        status =
            phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: a GGUF file; physarium import makes a directory of it", directory);
    if (status == PHY_OK && !phy_checkpoint_is_directory(model->checkpoint))
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: a single file has no config.json; name the directory", directory);
    if (status == PHY_OK)
        status = phy_model_config_read(&model->config, model->checkpoint, model->label, host);
    if (status == PHY_OK)
        status = phy_model_open_device(model, params);
    if (status == PHY_OK)
        status = phy_model_load_weights(model);
    if (status == PHY_OK)
        status = prepare(model);
    if (status != PHY_OK)
        phy_model_close(&model);
    *out = model;
    return status;
}

void phy_model_set_ffn(struct phy_model *model, struct phy_ffn *ffn)
{
    model->ffn = ffn;
}

void phy_model_close(struct phy_model **model)
{
    struct phy_model *m = *model;
    if (!m)
        return;
    phy_matmul_backend_destroy(&m->matmul);
    phy_model_free_weights(m);
    phy_checkpoint_close(&m->checkpoint);
    phy_pool_destroy(m->pool);
    phy_free(m->inverse_frequency);
    phy_free(m->sliding_inverse_frequency);
    phy_free(m->label);
    phy_free(m);
    *model = NULL;
}

static void count_matrix(const struct phy_weights *m, struct phy_model_info *out,
                         uint64_t bytes_of[PHY_WEIGHT_FLOAT_COUNT])
{
    const uint64_t count = (uint64_t)m->rows * m->cols, bytes = count * phy_weight_float_bytes(m->type);
    out->weight_count += count;
    out->weight_bytes += bytes;
    bytes_of[m->type] += bytes;
}

void phy_model_describe(const struct phy_model *model, struct phy_model_info *out)
{
    const struct phy_model_config *c = &model->config;
    *out = (struct phy_model_info){
        .model_type = c->model_type,
        .device = model->device_name,
        .vocab_size = c->vocab_size,
        .hidden_size = c->hidden_size,
        .intermediate_size = c->intermediate_size,
        .layer_count = c->layer_count,
        .head_count = c->head_count,
        .kv_head_count = c->kv_head_count,
        .head_dim = c->head_dim,
        .max_positions = c->max_positions,
        .bos = c->bos,
        .eos = c->eos,
        .eos_count = c->eos_count,
    };
    uint64_t bytes_of[PHY_WEIGHT_FLOAT_COUNT] = {0};
    count_matrix(&model->head, out, bytes_of);
    for (uint32_t i = 0; i < c->layer_count; i++) {
        const struct phy_layer *l = &model->layers[i];
        const struct phy_weights *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t m = 0; m < sizeof all / sizeof *all; m++)
            count_matrix(all[m], out, bytes_of);
    }
    enum phy_weight_type most = PHY_WEIGHT_BF16;
    for (int t = 0; t < PHY_WEIGHT_FLOAT_COUNT; t++)
        most = bytes_of[t] > bytes_of[most] ? (enum phy_weight_type)t : most;
    out->weight_type = phy_weight_format(most)->name;
    out->activations = model->bf16_activations ? "bf16" : "f32";
}
