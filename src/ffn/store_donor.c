/* SPDX-License-Identifier: Apache-2.0 */
#include "ffn/store_donor.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "ffn/store_parts.h"

/* ---- opening ---- */

static enum phy_status list_names(struct phy_donor *donor)
{
    size_t count = phy_checkpoint_tensor_count(donor->checkpoint);
    for (size_t i = 0; i < count; i++) {
        struct phy_tensor_info tensor;
        phy_checkpoint_tensor(donor->checkpoint, i, &tensor);
        /* An open checkpoint has no name twice, but one shard may repeat another's: the first counts, as it does for a
         * model. */
        if (phy_name_set_add(&donor->names, 0, tensor.name, tensor.name_bytes, (uint32_t)i, NULL) == PHY_NAME_NO_MEMORY)
            return phy_fail_memory(donor->host, "the tensor names", count * sizeof *donor->names.names);
    }
    return PHY_OK;
}

static void find_prefix(struct phy_donor *donor)
{
    static const char *const prefixes[] = {"model.", "", "model.language_model.", "language_model.model."};
    char name[PHY_DONOR_NAME_BYTES];
    donor->prefix = prefixes[0];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (phy_donor_has(donor, name)) {
            donor->prefix = prefixes[i];
            return;
        }
    }
}

enum phy_status phy_donor_open(struct phy_donor *donor, const char *path, const struct phy_host *host)
{
    *donor = (struct phy_donor){.host = host, .label = path};
    enum phy_status status =
        phy_checkpoint_open(&donor->checkpoint, path, &(struct phy_checkpoint_params){.host = host});
    if (status == PHY_OK && phy_checkpoint_container(donor->checkpoint) == PHY_CONTAINER_GGUF)
        status = phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: a GGUF file; physarium import makes a directory of it", path);
    if (status == PHY_OK && !phy_checkpoint_is_directory(donor->checkpoint))
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: a single file has no config.json; name the directory", path);
    if (status == PHY_OK)
        status = phy_model_config_read(&donor->config, donor->checkpoint, path, host);
    if (status == PHY_OK)
        status = list_names(donor);
    if (status == PHY_OK)
        find_prefix(donor);
    else
        phy_donor_close(donor);
    return status;
}

void phy_donor_close(struct phy_donor *donor)
{
    phy_name_set_free(&donor->names);
    phy_checkpoint_close(&donor->checkpoint);
}

/* ---- tensors ---- */

bool phy_donor_has(const struct phy_donor *donor, const char *name)
{
    return phy_name_set_find(&donor->names, 0, name, strlen(name)) != NULL;
}

static bool float_type(const char *dtype, enum phy_weight_type *type)
{
    static const char *const names[] = {[PHY_WEIGHT_BF16] = "BF16", [PHY_WEIGHT_F16] = "F16", [PHY_WEIGHT_F32] = "F32"};
    for (int i = 0; i < PHY_WEIGHT_FLOAT_COUNT; i++) {
        if (strcmp(dtype, names[i]) == 0) {
            *type = (enum phy_weight_type)i;
            return true;
        }
    }
    return false;
}

enum phy_status phy_donor_find(const struct phy_donor *donor, const char *name, uint64_t rows, uint64_t cols,
                               struct phy_donor_tensor *out)
{
    char quoted[PHY_QUOTED_BYTES];
    const struct phy_name *found = phy_name_set_find(&donor->names, 0, name, strlen(name));
    struct phy_tensor_info tensor;
    phy_quote(quoted, name, strlen(name));
    if (!found)
        return phy_fail(donor->host, PHY_ERR_FORMAT, "%s: tensor %s: missing", donor->label, quoted);
    phy_checkpoint_tensor(donor->checkpoint, found->value, &tensor);
    bool right = rows ? tensor.dim_count == 2 && tensor.shape[0] == rows && tensor.shape[1] == cols
                      : tensor.dim_count == 1 && tensor.shape[0] == cols;
    if (!right) {
        char first[24] = "";
        if (rows)
            snprintf(first, sizeof first, "%llu, ", (unsigned long long)rows);
        return phy_fail(donor->host, PHY_ERR_FORMAT,
                        "%s: tensor %s: its shape is not the [%s%llu] that config.json makes it", donor->label, quoted,
                        first, (unsigned long long)cols);
    }
    *out = (struct phy_donor_tensor){.name = tensor.name,
                                     .index = found->value,
                                     .shard = tensor.shard,
                                     .at = tensor.at,
                                     .bytes = tensor.bytes,
                                     .rows = rows ? rows : 1,
                                     .cols = cols};
    if (!float_type(tensor.dtype, &out->type))
        return phy_fail(donor->host, PHY_ERR_UNSUPPORTED,
                        "%s: tensor %s: %s weights cannot be read, only BF16, F16 and F32", donor->label, quoted,
                        tensor.dtype);
    return PHY_OK;
}

const char *phy_donor_layer_name(char out[PHY_DONOR_NAME_BYTES], const struct phy_donor *donor, uint32_t layer,
                                 const char *rest)
{
    snprintf(out, PHY_DONOR_NAME_BYTES, "%slayers.%u.%.128s", donor->prefix, layer, rest);
    return out;
}

enum phy_status phy_donor_ffn(const struct phy_donor *donor, uint32_t layer, enum phy_ffn_source source,
                              struct phy_donor_tensor *out)
{
    static const char *const rest[] = {"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"};
    const uint64_t hidden = donor->config.hidden_size, wide = donor->config.intermediate_size;
    char name[PHY_DONOR_NAME_BYTES];
    const bool down = source == PHY_FFN_DOWN;
    return phy_donor_find(donor, phy_donor_layer_name(name, donor, layer, rest[source]), down ? hidden : wide,
                          down ? wide : hidden, out);
}

enum phy_status phy_donor_digest_tensor(const struct phy_donor *donor, const struct phy_donor_tensor *tensor,
                                        uint64_t *xxh3)
{
    enum { PIECE = 1 << 20 };
    XXH3_state_t *state = XXH3_createState();
    uint8_t *piece = phy_alloc(PIECE, 1);
    enum phy_status status = state && piece ? PHY_OK : phy_fail_memory(donor->host, "a digest", PIECE);
    if (status == PHY_OK)
        XXH3_64bits_reset(state);
    for (uint64_t at = 0; status == PHY_OK && at < tensor->bytes;) {
        size_t bytes = (size_t)phy_min_u64(PIECE, tensor->bytes - at);
        status = phy_checkpoint_read(donor->checkpoint, tensor->shard, tensor->at + at, piece, bytes);
        if (status == PHY_OK)
            XXH3_64bits_update(state, piece, bytes);
        at += bytes;
    }
    if (status == PHY_OK)
        *xxh3 = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    phy_free(piece);
    return status;
}

enum phy_status phy_donor_made_layer(const struct phy_donor *donor, const struct phy_ffn_store *store, uint32_t layer,
                                     bool *made)
{
    *made = store->layers[layer].present;
    for (int s = 0; *made && s < PHY_FFN_SOURCE_COUNT; s++) {
        struct phy_donor_tensor tensor;
        uint64_t xxh3 = 0;
        enum phy_status status = phy_donor_ffn(donor, layer, (enum phy_ffn_source)s, &tensor);
        if (status == PHY_OK)
            status = phy_donor_digest_tensor(donor, &tensor, &xxh3);
        if (status != PHY_OK)
            return status;
        *made = store->layers[layer].source_xxh3[s] == xxh3;
    }
    return PHY_OK;
}

void phy_donor_widen(float *to, const uint8_t *from, enum phy_weight_type type, size_t count)
{
    phy_weight_format(type)->decode(from, count, to);
}

const char *phy_activation_name(enum phy_activation activation)
{
    return activation == PHY_ACT_SILU ? "silu" : "gelu_tanh";
}
