/* SPDX-License-Identifier: Apache-2.0 */
#include "ffn_options.h"

#include <string.h>

static bool asks_for_path(const struct phy_ffn_options *o)
{
    return o->store || o->path || o->features || o->device_memory;
}

int phy_parse_q6k_order(const char *command, const char *text, enum phy_q6k_order *out)
{
    *out = !text                        ? PHY_Q6K_TOLD_BY_CODES
           : strcmp(text, "pairs") == 0 ? PHY_Q6K_PAIRS
           : strcmp(text, "ggml") == 0  ? PHY_Q6K_GGML
                                        : PHY_Q6K_TOLD_BY_CODES;
    return text && *out == PHY_Q6K_TOLD_BY_CODES
               ? phy_usage_error(command, "--q6k-order takes pairs or ggml, not '%.64s'", text)
               : 0;
}

int phy_ffn_options_check(const char *command, struct phy_ffn_options *o)
{
    const int code = phy_parse_q6k_order(command, o->q6k_order, &o->order);
    if (code)
        return code;
    o->bf16_activations = o->activations && strcmp(o->activations, "bf16") == 0;
    if (o->activations && !o->bf16_activations && strcmp(o->activations, "f32") != 0)
        return phy_usage_error(command, "--activations takes f32 or bf16, not '%.64s'", o->activations);
    if (o->fallback && strcmp(o->fallback, "cpu") != 0)
        return phy_usage_error(command, "--fallback takes cpu, not '%.64s'", o->fallback);
    if (o->trust && !o->store)
        return phy_usage_error(command, "--trust is about a store: --ffn names one");
    if (o->order && !o->store)
        return phy_usage_error(command, "--q6k-order is about a vindex: --ffn names one");
    if (o->features && !o->store && !o->path)
        return phy_usage_error(command, "--features is for sparse paths: --path sparse, or --ffn with an fp4 store");
    if (!o->path)
        return 0;
    for (const char *const *name = phy_ffn_path_names(); *name; name++) {
        if (strcmp(*name, o->path) == 0)
            return 0;
    }
    return phy_usage_error(command, "--path: there is no path '%.64s'; physarium %s --help names some", o->path,
                           command);
}

enum phy_status phy_ffn_model_open(struct phy_ffn_model *out, const struct phy_model_source *source,
                                   const struct phy_ffn_options *o, const char *device, uint32_t threads,
                                   const struct phy_host *host)
{
    const bool path = asks_for_path(o);
    *out = (struct phy_ffn_model){0};
    enum phy_status status = PHY_OK;
    if (o->store)
        status =
            phy_ffn_store_open(&out->store, o->store,
                               &(struct phy_ffn_store_params){.trust = o->trust, .q6k_order = o->order, .host = host});
    if (status == PHY_OK)
        status = phy_model_open(&out->model, source->path,
                                &(struct phy_model_params){.device = device,
                                                           .threads = threads,
                                                           .ffn_elsewhere = path,
                                                           .tune = !o->no_tune,
                                                           .bf16_activations = o->bf16_activations,
                                                           .fallback_cpu = o->fallback != NULL,
                                                           .follow_symlinks = source->memory != NULL,
                                                           .host = host});
    if (status == PHY_OK && path)
        status = phy_ffn_create(&out->ffn, out->model,
                                &(struct phy_ffn_params){.store = out->store,
                                                         .path = o->path,
                                                         .device = device,
                                                         .device_memory = o->device_memory,
                                                         .top_k = (uint32_t)o->features,
                                                         .tune = !o->no_tune,
                                                         .fallback_cpu = o->fallback != NULL,
                                                         .trust = o->trust});
    if (status == PHY_OK)
        phy_model_set_ffn(out->model, out->ffn);
    else
        phy_ffn_model_close(out);
    return status;
}

void phy_ffn_model_close(struct phy_ffn_model *m)
{
    phy_ffn_destroy(&m->ffn);
    phy_model_close(&m->model);
    phy_ffn_store_close(&m->store);
}

const char *phy_activations_note(const struct phy_model_info *info)
{
    return strcmp(info->activations, "bf16") == 0 ? ", activations rounded to bf16" : "";
}

void phy_ffn_print(FILE *to, const struct phy_ffn_info *ffn, uint32_t layer_count)
{
    fprintf(to, "FFN: path %s", ffn->path);
    if (ffn->path_layers < layer_count)
        fprintf(to, " in %u of %u layers", ffn->path_layers, layer_count);
    fprintf(to, ", %u of %u layers on %s", ffn->device_layers, layer_count, ffn->device);
}

void phy_ffn_add_json(cJSON *to, const struct phy_ffn *ffn)
{
    if (!ffn)
        return;
    struct phy_ffn_info info;
    phy_ffn_describe(ffn, &info);
    cJSON *object = cJSON_AddObjectToObject(to, "ffn");
    cJSON_AddStringToObject(object, "path", info.path);
    cJSON_AddNumberToObject(object, "path_layers", info.path_layers);
    cJSON_AddStringToObject(object, "bucket", info.bucket);
    cJSON_AddStringToObject(object, "device", info.device);
    cJSON_AddNumberToObject(object, "device_layers", info.device_layers);
    cJSON_AddNumberToObject(object, "features_visited", (double)info.features_visited);
    cJSON_AddNumberToObject(object, "features_skipped", (double)info.features_skipped);
    cJSON_AddNumberToObject(object, "bytes_read", (double)info.bytes_read);
}
