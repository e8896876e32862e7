/* SPDX-License-Identifier: Apache-2.0 */
/* How a command computes a model's FFN: the options that choose a path, and the path. */
#ifndef PHY_CLI_FFN_OPTIONS_H
#define PHY_CLI_FFN_OPTIONS_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "cli.h"
#include "model_source.h"
#include "physarium/ffn.h"

struct phy_ffn_options {
    const char *store, *path, *fallback, *q6k_order, *activations;
    uint64_t features, device_memory;
    bool trust, no_tune;
    bool bf16_activations;    /* of activations, once it was checked */
    enum phy_q6k_order order; /* of q6k_order, once it was checked */
};

/* Rows of a command's table; `o` is a struct phy_ffn_options. */
#define PHY_FFN_OPTION_ROWS(o)                                                                                         \
    {.name = "--ffn", .kind = PHY_OPTION_NAME, .target = &(o).store},                                                  \
        {.name = "--path", .kind = PHY_OPTION_TEXT, .target = &(o).path},                                              \
        {.name = "--features",                                                                                         \
         .kind = PHY_OPTION_U64,                                                                                       \
         .target = &(o).features,                                                                                      \
         .most = UINT32_MAX,                                                                                           \
         .not_nothing = true},                                                                                         \
        {.name = "--device-memory", .kind = PHY_OPTION_BYTES, .target = &(o).device_memory, .not_nothing = true},      \
        {.name = "--activations", .kind = PHY_OPTION_TEXT, .target = &(o).activations},                                \
        {.name = "--fallback", .kind = PHY_OPTION_TEXT, .target = &(o).fallback},                                      \
        {.name = "--no-tune", .kind = PHY_OPTION_FLAG, .target = &(o).no_tune},                                        \
        {.name = "--q6k-order", .kind = PHY_OPTION_TEXT, .target = &(o).q6k_order},                                    \
    {                                                                                                                  \
        .name = "--trust", .kind = PHY_OPTION_FLAG, .target = &(o).trust                                               \
    }

#define PHY_FFN_OPTION_HELP                                                                                            \
    "      --ffn STORE       compute the FFN from a store that `physarium quantize` wrote of this model\n"             \
    "      --path NAME       how: exact, full_mmap, full_mmap:bf16, interleaved, sparse, and those of a store's\n"     \
    "                        formats, such as interleaved_q4k:fused (default: the best that store and device offer)\n" \
    "      --features N      sparse paths: visit the N features of largest |act(gate x)| (default: all)\n"             \
    "      --device-memory BYTES  FFN layers beyond it run on the CPU: 8GB, 512MiB\n"                                  \
    "      --activations TYPE  f32, or bf16: rounded for the model's own bf16 matrices, faster for many tokens\n"      \
    "      --fallback cpu    a device that is lost hands over to the CPU\n"                                            \
    "      --no-tune         take fixed tiles on a Vulkan device, measure none; no bit depends on it\n"                \
    "      --trust           do not check the store's digests, nor that it was made of this model\n"                   \
    "      --q6k-order ORDER  of a vindex whose Q6_K blocks do not tell it: pairs or ggml\n"

/* What --q6k-order says, NULL where it was not given. 0, or the exit code after a sentence. */
int phy_parse_q6k_order(const char *command, const char *text, enum phy_q6k_order *out);

/* 0, or the exit code after a sentence about options that do not go together. */
int phy_ffn_options_check(const char *command, struct phy_ffn_options *options);

/* The model of a command with the path of its options, if there are any. */
struct phy_ffn_model {
    struct phy_model *model;
    struct phy_ffn_store *store;
    struct phy_ffn *ffn; /* NULL: the model's own */
};
enum phy_status phy_ffn_model_open(struct phy_ffn_model *out, const struct phy_model_source *source,
                                   const struct phy_ffn_options *options, const char *device, uint32_t threads,
                                   const struct phy_host *host);
/* After its sessions. */
void phy_ffn_model_close(struct phy_ffn_model *model);

/* What to say after the device's name: "", or how activations are rounded. */
const char *phy_activations_note(const struct phy_model_info *info);

/* What ran, as a line's beginning: "FFN: path full_mmap in 2 of 4 layers, 4 of 4 layers on cpu:avx512". */
void phy_ffn_print(FILE *to, const struct phy_ffn_info *ffn, uint32_t layer_count);

/* An object "ffn" in `to`, if there is a path. */
void phy_ffn_add_json(cJSON *to, const struct phy_ffn *ffn);

#endif
