/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint that a store or an export is made of: open, its config.json read, its tensors found by name. */
#ifndef PHY_FFN_STORE_DONOR_H
#define PHY_FFN_STORE_DONOR_H

#include "ffn/store_scheme.h"
#include "format/checkpoint_files.h"
#include "format/name_set.h"
#include "model/config.h"

/* A float tensor of the donor. */
struct phy_donor_tensor {
    const char *name;
    uint32_t index, shard; /* index: in the checkpoint's tensors */
    uint64_t at, bytes;
    enum phy_weight_type type; /* one of the three floats */
    uint64_t rows, cols;       /* a vector: 1 row */
};

struct phy_ffn_store;

struct phy_donor {
    const struct phy_host *host;
    const char *label; /* the path as given */
    struct phy_checkpoint *checkpoint;
    struct phy_model_config config;
    struct phy_name_set names;
    const char *prefix; /* "model.", or what stands before it in multimodal checkpoints */
};

/* On failure *donor is closed. Statuses of phy_checkpoint_open and phy_model_config_read. */
enum phy_status phy_donor_open(struct phy_donor *donor, const char *path, const struct phy_host *host);
void phy_donor_close(struct phy_donor *donor);

bool phy_donor_has(const struct phy_donor *donor, const char *name);
/* The tensor of that name, which must be (rows, cols), or (cols) when rows is 0, of BF16, F16 or F32.
 *   PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED */
enum phy_status phy_donor_find(const struct phy_donor *donor, const char *name, uint64_t rows, uint64_t cols,
                               struct phy_donor_tensor *out);

enum { PHY_DONOR_NAME_BYTES = 256 };
/* "<prefix>layers.3.mlp.up_proj.weight": returns out. */
const char *phy_donor_layer_name(char out[PHY_DONOR_NAME_BYTES], const struct phy_donor *donor, uint32_t layer,
                                 const char *rest);
/* gate, up or down of a layer. */
enum phy_status phy_donor_ffn(const struct phy_donor *donor, uint32_t layer, enum phy_ffn_source source,
                              struct phy_donor_tensor *out);
/* XXH3-64 of a tensor's bytes. */
enum phy_status phy_donor_digest_tensor(const struct phy_donor *donor, const struct phy_donor_tensor *tensor,
                                        uint64_t *xxh3);

/* Whether the store holds that layer, made of this donor's tensors: by their digests. */
enum phy_status phy_donor_made_layer(const struct phy_donor *donor, const struct phy_ffn_store *store, uint32_t layer,
                                     bool *made);

/* `count` stored values to floats. */
void phy_donor_widen(float *to, const uint8_t *from, enum phy_weight_type type, size_t count);

/* "silu" or "gelu_tanh". */
const char *phy_activation_name(enum phy_activation activation);

#endif
