/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/coverage_damage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "format/checkpoint_files.h"

enum { MOST_DAMAGES = 1000 };

enum phy_status phy_damage_add(struct phy_damage_list *list, const struct phy_damage *damage, const char *file,
                               const struct phy_tensor_info *tensor, const char *format, ...)
{
    struct phy_coverage *coverage = list->coverage;
    coverage->difference_count++;
    if (coverage->damage_count == MOST_DAMAGES)
        return PHY_OK;
    if (coverage->damage_count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 4 : 16;
        struct phy_damage *grown = phy_realloc(coverage->damages, capacity, sizeof *grown);
        if (!grown)
            return phy_fail_memory(list->host, "a list of damage", capacity * sizeof *grown);
        coverage->damages = grown;
        list->capacity = capacity;
    }
    struct phy_damage *added = &coverage->damages[coverage->damage_count];
    char quoted[PHY_QUOTED_BYTES], file_quoted[PHY_QUOTED_BYTES];
    size_t used;
    *added = *damage;
    added->file = phy_strndup(file, strlen(file));
    added->tensor = tensor ? phy_strndup(tensor->name, tensor->name_bytes) : NULL;
    added->tensor_bytes = tensor ? tensor->name_bytes : 0;
    coverage->damage_count++;
    if (!added->file || (tensor && !added->tensor))
        return phy_fail_memory(list->host, "a name", strlen(file));
    /* The file's name escaped, without its quotes: `<file>: tensor 12 "name": <fact>`. */
    phy_quote(file_quoted, file, strlen(file));
    used = (size_t)snprintf(added->sentence, sizeof added->sentence, "%.*s", (int)strlen(file_quoted) - 2,
                            file_quoted + 1);
    if (tensor)
        used += (size_t)snprintf(added->sentence + used, sizeof added->sentence - used, ": tensor %" PRIu32 " %.500s",
                                 tensor->header_index, phy_quote(quoted, tensor->name, tensor->name_bytes));
    used += (size_t)snprintf(added->sentence + used, sizeof added->sentence - used, ": ");
    va_list args;
    va_start(args, format);
    vsnprintf(added->sentence + used, sizeof added->sentence - used, format, args);
    va_end(args);
    return PHY_OK;
}

/* ---- weight files ---- */

/* The first tensor of the output's shard that the donor's does not have in that place, as `; its tensor 3 "x" ...`; or
 * "". */
static const char *explain_header(char out[PHY_QUOTED_BYTES + 128], const struct phy_checkpoint *donor,
                                  const struct phy_checkpoint *output, size_t shard)
{
    struct phy_shard_info a, b;
    char quoted[PHY_QUOTED_BYTES];
    out[0] = 0;
    if (!output || shard >= phy_checkpoint_shard_count(output))
        return out;
    phy_checkpoint_shard(donor, shard, &a);
    phy_checkpoint_shard(output, shard, &b);
    for (size_t i = 0; i < b.tensor_end - b.tensor_begin; i++) {
        struct phy_tensor_info there, here = {0};
        phy_checkpoint_tensor(output, b.tensor_begin + i, &there);
        if (a.tensor_begin + i < a.tensor_end)
            phy_checkpoint_tensor(donor, a.tensor_begin + i, &here);
        if (here.name && here.name_bytes == there.name_bytes && memcmp(here.name, there.name, here.name_bytes) == 0 &&
            strcmp(here.dtype, there.dtype) == 0 && here.bytes == there.bytes)
            continue;
        snprintf(out, PHY_QUOTED_BYTES + 128, "; the output has tensor %" PRIu32 " %s where the donor has %s",
                 there.header_index, phy_quote(quoted, there.name, there.name_bytes),
                 here.name ? "another" : "no more");
        return out;
    }
    if (a.tensor_end - a.tensor_begin > b.tensor_end - b.tensor_begin)
        snprintf(out, PHY_QUOTED_BYTES + 128, "; %zu of %zu tensors are gone",
                 (a.tensor_end - a.tensor_begin) - (b.tensor_end - b.tensor_begin), a.tensor_end - a.tensor_begin);
    return out;
}

static enum phy_status add_header(struct phy_damage_list *list, const struct phy_comparison *c, size_t shard,
                                  const struct phy_shard_info *info)
{
    char why[PHY_QUOTED_BYTES + 128];
    struct phy_checkpoint *output = NULL;
    /* Only to say more about it: whatever is wrong with the output as a checkpoint has been found already. */
    if (phy_checkpoint_open(&output, c->output_path, NULL) != PHY_OK)
        output = NULL;
    explain_header(why, c->donor, output, shard);
    phy_checkpoint_close(&output);
    return phy_damage_add(list, &(struct phy_damage){.kind = PHY_DAMAGE_HEADER, .count = 1}, info->name, NULL,
                          "header differs from the donor's at byte %" PRIu64 " of %" PRIu64 "%s",
                          c->shards[shard].header_at, info->header_bytes, why);
}

/* One element's bytes, most significant first, as 0x3f80. */
static const char *show_element(char out[24], const unsigned char *bytes, size_t count)
{
    size_t used = (size_t)snprintf(out, 24, "0x");
    for (size_t i = count; i-- > 0;)
        used += (size_t)snprintf(out + used, 24 - used, "%02x", bytes[i]);
    return out;
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
    unsigned any = bytes[count - 1] & 0x7Fu;
    for (size_t i = 0; i + 1 < count; i++)
        any |= bytes[i];
    return any == 0;
}

static enum phy_status add_tensor(struct phy_damage_list *list, const struct phy_comparison *c, size_t index,
                                  const struct phy_shard_info *shard)
{
    const struct phy_tensor_finding *finding = &c->tensors[index];
    struct phy_tensor_info info;
    phy_checkpoint_tensor(c->donor, index, &info);
    uint64_t element = finding->counts.first_damaged;
    size_t bytes = info.element_bits < 8 ? 1 : info.element_bits / 8;
    uint64_t at = info.at + element * info.element_bits / 8;
    struct phy_damage damage = {.kind = PHY_DAMAGE_TENSOR, .has_position = true, .count = finding->counts.damaged};
    unsigned char donor[8], output[8];
    char donor_text[24], output_text[24];
    phy_tensor_position(&info, element, &damage.row, &damage.col);
    if (at + bytes > c->shards[info.shard].bytes)
        return phy_damage_add(list, &damage, shard->name, &info,
                              "row %" PRIu64 ", column %" PRIu64 ": the file ends before it; %" PRIu64 " of %" PRIu64
                              " weights are missing or damaged",
                              damage.row, damage.col, damage.count, finding->elements);
    enum phy_status status = phy_checkpoint_read(c->donor, info.shard, at, donor, bytes);
    if (status != PHY_OK)
        return status;
    int error = phy_pread_all(c->shards[info.shard].fd, output, bytes, at);
    if (error)
        return phy_fail(list->host, PHY_ERR_IO, "output's %s: %s", shard->name, strerror(error));
    const char *rule = !finding->target         ? "it is no target and must be the donor's"
                       : is_zero(donor, bytes)  ? "a zero keeps its bits"
                       : is_zero(output, bytes) ? "a killed weight is +0"
                                                : "a weight keeps its bits or becomes +0";
    return phy_damage_add(list, &damage, shard->name, &info,
                          "row %" PRIu64 ", column %" PRIu64 ": %s, the donor has %s: %s; %" PRIu64 " of %" PRIu64
                          " weights are damaged",
                          damage.row, damage.col, show_element(output_text, output, bytes),
                          show_element(donor_text, donor, bytes), rule, damage.count, finding->elements);
}

static enum phy_status collect_shard(struct phy_damage_list *list, const struct phy_comparison *c, size_t index)
{
    const struct phy_output_shard *shard = &c->shards[index];
    struct phy_damage file = {.kind = PHY_DAMAGE_FILE, .count = 1};
    struct phy_shard_info info;
    enum phy_status status = PHY_OK;
    phy_checkpoint_shard(c->donor, index, &info);
    if (shard->fd < 0)
        return phy_damage_add(list, &file, info.name, NULL, "%s",
                              shard->error ? "missing or unreadable in the output"
                                           : "not a regular file in the output");
    if (shard->header_differs)
        status = add_header(list, c, index, &info);
    for (size_t i = info.tensor_begin; status == PHY_OK && i < info.tensor_end; i++) {
        if (c->tensors[i].counts.damaged) {
            list->coverage->damaged_tensors++;
            status = add_tensor(list, c, i, &info);
        }
    }
    if (status == PHY_OK && shard->bytes != info.file_bytes)
        status = phy_damage_add(list, &file, info.name, NULL, "%" PRIu64 " bytes, the donor's has %" PRIu64,
                                shard->bytes, info.file_bytes);
    return status;
}

/* ---- other files ---- */

static enum phy_status collect_sidecar(struct phy_damage_list *list, const struct phy_comparison *c, size_t index)
{
    const struct phy_sidecar_finding *finding = &c->sidecars[index];
    struct phy_damage damage = {.kind = PHY_DAMAGE_SIDECAR, .count = 1};
    struct phy_sidecar sidecar;
    phy_checkpoint_sidecar(c->donor, index, &sidecar);
    switch (finding->state) {
    case PHY_SIDECAR_MISSING:
        return phy_damage_add(list, &damage, sidecar.path, NULL, "missing in the output");
    case PHY_SIDECAR_OTHER_KIND:
        return phy_damage_add(list, &damage, sidecar.path, NULL, "not a %s in the output",
                              sidecar.is_directory ? "folder" : "regular file");
    case PHY_SIDECAR_DIFFERS:
        return phy_damage_add(list, &damage, sidecar.path, NULL,
                              "differs from the donor's at byte %" PRIu64 " (%" PRIu64
                              " bytes, the donor's has %" PRIu64 ")",
                              finding->at, finding->output_bytes, finding->donor_bytes);
    case PHY_SIDECAR_SAME:
        break;
    }
    return PHY_OK;
}

enum phy_status phy_damage_collect(struct phy_damage_list *list, const struct phy_comparison *c)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_shard_count(c->donor); i++)
        status = collect_shard(list, c, i);
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_sidecar_count(c->donor); i++)
        status = collect_sidecar(list, c, i);
    for (size_t i = 0; status == PHY_OK && i < c->extra_count; i++)
        status = phy_damage_add(list, &(struct phy_damage){.kind = PHY_DAMAGE_SIDECAR, .count = 1}, c->extra_files[i],
                                NULL, "is in the output, not in the donor");
    return status;
}

enum phy_status phy_damage_add_recompute(struct phy_damage_list *list, const struct phy_comparison *c,
                                         const struct phy_target_list *targets, const char *device,
                                         const struct phy_recompute_result *result)
{
    struct phy_tensor_info info;
    struct phy_shard_info shard;
    phy_checkpoint_tensor(c->donor, targets->targets[result->target].tensor, &info);
    phy_checkpoint_shard(c->donor, info.shard, &shard);
    struct phy_damage damage = {.kind = PHY_DAMAGE_RECOMPUTE,
                                .has_position = true,
                                .row = result->row,
                                .col = result->col,
                                .count = result->differences};
    int digits = (int)info.element_bits / 4;
    return phy_damage_add(list, &damage, shard.name, &info,
                          "row %" PRIu64 ", column %" PRIu64 ": 0x%0*" PRIx32 ", the flow on %s gives 0x%0*" PRIx32
                          "; %" PRIu64 " of %" PRIu64 " weights differ",
                          result->row, result->col, digits, result->output_code, device, digits, result->flow_code,
                          result->differences, result->weights);
}
