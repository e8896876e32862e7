/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/calibration.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "base/path_name.h"
#include "surgery/output_dir.h"
#include "surgery/units.h"

enum { CHUNK_BYTES = 1 << 20 };
/* A calibration's own header has a line for each target; one that is larger holds something else. */
enum { LARGEST_METADATA_HEADER = 16 << 20 };

struct name_index {
    const char *name;
    size_t bytes, tensor;
};

static int compare_names(const void *a, const void *b)
{
    const struct name_index *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static enum phy_status check_vector(const struct phy_calibration *c, const struct phy_checkpoint *donor, size_t target,
                                    const struct phy_target_list *targets, const struct phy_tensor_info *vector,
                                    const struct phy_host *host)
{
    char quoted[PHY_QUOTED_BYTES];
    uint64_t cols = phy_matrix_of(donor, &targets->targets[target]).cols;
    phy_quote(quoted, vector->name, vector->name_bytes);
    if (strcmp(vector->dtype, "F32") != 0 || vector->dim_count != 1)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: tensor %u %s: %s with %u dimensions; one F32 vector is needed",
                        c->name, vector->header_index, quoted, vector->dtype, vector->dim_count);
    if (vector->shape[0] != cols)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: tensor %u %s: %llu scales, the weight has %llu columns", c->name,
                        vector->header_index, quoted, (unsigned long long)vector->shape[0], (unsigned long long)cols);
    float scales[2048];
    for (uint64_t col = 0; col < cols;) {
        uint64_t count = phy_min_u64(cols - col, sizeof scales / sizeof *scales);
        enum phy_status status = phy_calibration_read(c, target, col, count, scales);
        if (status != PHY_OK)
            return status;
        for (uint64_t i = 0; i < count; i++, col++) {
            if (!(scales[i] >= 0.0f && scales[i] <= 3.402823466e38f))
                return phy_fail(host, PHY_ERR_FORMAT,
                                "%s: tensor %u %s: scale %llu is %g; finite and not negative is needed", c->name,
                                vector->header_index, quoted, (unsigned long long)col, (double)scales[i]);
        }
    }
    return PHY_OK;
}

static enum phy_status match_targets(struct phy_calibration *c, const struct phy_checkpoint *donor,
                                     const struct phy_target_list *targets, const struct phy_host *host)
{
    size_t count = phy_checkpoint_tensor_count(c->file);
    struct phy_tensor_info info, weight;
    struct name_index *names = phy_alloc(count, sizeof *names);
    c->vectors = phy_zalloc(targets->count, sizeof *c->vectors);
    if (!names || !c->vectors) {
        phy_free(names);
        return phy_fail_memory(host, "calibration names", count * sizeof *names);
    }
    for (size_t i = 0; i < count; i++) {
        phy_checkpoint_tensor(c->file, i, &info);
        names[i] = (struct name_index){info.name, info.name_bytes, i};
    }
    if (count > 1)
        qsort(names, count, sizeof *names, compare_names);
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < targets->count; i++) {
        phy_checkpoint_tensor(donor, targets->targets[i].tensor, &weight);
        struct name_index key = {weight.name, weight.name_bytes, 0};
        struct name_index *found = count ? bsearch(&key, names, count, sizeof *names, compare_names) : NULL;
        char quoted[PHY_QUOTED_BYTES];
        if (!found) {
            status = phy_fail(host, PHY_ERR_FORMAT, "%s: no scales for %s", c->name,
                              phy_quote(quoted, weight.name, weight.name_bytes));
            break;
        }
        c->vectors[i] = found->tensor;
        phy_checkpoint_tensor(c->file, found->tensor, &info);
        status = check_vector(c, donor, i, targets, &info, host);
    }
    phy_free(names);
    return status;
}

static enum phy_status digest_file(struct phy_calibration *c, const struct phy_host *host)
{
    struct phy_shard_info file;
    phy_checkpoint_shard(c->file, 0, &file);
    XXH3_state_t *state = XXH3_createState();
    unsigned char *chunk = phy_alloc(CHUNK_BYTES, 1);
    enum phy_status status = state && chunk ? PHY_OK : phy_fail_memory(host, "a digest", CHUNK_BYTES);
    if (status == PHY_OK)
        XXH3_64bits_reset(state);
    for (uint64_t at = 0; status == PHY_OK && at < file.file_bytes;) {
        size_t bytes = (size_t)phy_min_u64(file.file_bytes - at, CHUNK_BYTES);
        status = phy_checkpoint_read(c->file, 0, at, chunk, bytes);
        XXH3_64bits_update(state, chunk, status == PHY_OK ? bytes : 0);
        at += bytes;
    }
    if (status == PHY_OK)
        snprintf(c->digest, sizeof c->digest, "%016llx", (unsigned long long)XXH3_64bits_digest(state));
    phy_free(chunk);
    XXH3_freeState(state);
    return status;
}

/* The header has passed the S rules already; cJSON reads the one string that they do not keep. */
static enum phy_status compare_model(const struct phy_calibration *c, const char *donor_digest,
                                     const struct phy_host *host)
{
    struct phy_shard_info file;
    phy_checkpoint_shard(c->file, 0, &file);
    if (file.header_bytes <= 8 || file.header_bytes > LARGEST_METADATA_HEADER)
        return PHY_OK;
    size_t bytes = (size_t)file.header_bytes - 8;
    char *text = phy_alloc(bytes, 1);
    if (!text)
        return phy_fail_memory(host, "a header", bytes);
    enum phy_status status = phy_checkpoint_read(c->file, 0, 8, text, bytes);
    cJSON *json = status == PHY_OK ? cJSON_ParseWithLength(text, bytes) : NULL;
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(json, "__metadata__");
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "model_digest"));
    char quoted[PHY_QUOTED_BYTES];
    if (model && donor_digest && strcmp(model, donor_digest) != 0)
        phy_warn(host, "%s: measured on another model: its model_digest is %s, this donor's is \"%s\"", c->name,
                 phy_quote(quoted, model, strlen(model)), donor_digest);
    cJSON_Delete(json);
    phy_free(text);
    return status;
}

enum phy_status phy_calibration_open(struct phy_calibration *out, const char *path, const struct phy_checkpoint *donor,
                                     const struct phy_target_list *targets, const char *donor_digest,
                                     const struct phy_host *host)
{
    *out = (struct phy_calibration){0};
    enum phy_status status =
        phy_checkpoint_open(&out->file, path, &(struct phy_checkpoint_params){.host = host, .follow_symlinks = true});
    if (status != PHY_OK)
        return status;
    out->name = phy_path_last_part(path);
    if (!out->name)
        status = phy_fail_memory(host, "a name", strlen(path));
    else if (phy_checkpoint_is_directory(out->file) || phy_checkpoint_container(out->file) != PHY_CONTAINER_SAFETENSORS)
        status = phy_fail(host, PHY_ERR_USAGE, "%s: a calibration is one safetensors file", out->name);
    if (status == PHY_OK)
        status = match_targets(out, donor, targets, host);
    if (status == PHY_OK)
        status = digest_file(out, host);
    if (status == PHY_OK)
        status = compare_model(out, donor_digest, host);
    if (status != PHY_OK)
        phy_calibration_close(out);
    return status;
}

void phy_calibration_close(struct phy_calibration *calibration)
{
    phy_checkpoint_close(&calibration->file);
    phy_free(calibration->vectors);
    phy_free(calibration->name);
    *calibration = (struct phy_calibration){0};
}

enum phy_status phy_calibration_read(const struct phy_calibration *calibration, size_t target, uint64_t col,
                                     uint64_t count, float *out)
{
    struct phy_tensor_info info;
    phy_checkpoint_tensor(calibration->file, calibration->vectors[target], &info);
    return phy_checkpoint_read(calibration->file, info.shard, info.at + col * sizeof(float), out,
                               (size_t)count * sizeof(float));
}
