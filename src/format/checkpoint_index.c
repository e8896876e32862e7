/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "format/checkpoint_parts.h"
#include "format/weight_index.h"

/* Warnings of one kind that are printed one by one: a hostile file must not bury the others. */
enum { MOST_WARNINGS = 100 };

static enum phy_status read_index(struct phy_weight_index *index, const struct phy_checkpoint *cp)
{
    struct phy_file_id id = {0};
    int fd, error = 0;
    char *text = NULL;
    enum phy_status status = phy_open_regular(&fd, &id, cp->dir_fd, PHY_INDEX_NAME, PHY_INDEX_NAME, cp->host);
    if (!status && id.bytes > PHY_INDEX_MAX_BYTES)
        status = phy_fail(cp->host, PHY_ERR_LIMIT, "%s: %" PRIu64 " bytes; physarium reads at most %d", PHY_INDEX_NAME,
                          id.bytes, PHY_INDEX_MAX_BYTES);
    if (!status) {
        text = phy_alloc((size_t)id.bytes + 1, 1);
        if (!text)
            status = phy_fail_memory(cp->host, "the index", (size_t)id.bytes);
        else
            error = phy_pread_all(fd, text, (size_t)id.bytes, 0);
        if (error)
            status = phy_fail(cp->host, PHY_ERR_IO, "%s: reading: %s", PHY_INDEX_NAME, strerror(error));
    }
    if (fd >= 0)
        phy_close(fd);
    if (!status)
        return phy_weight_index_parse(index, text, (size_t)id.bytes, PHY_INDEX_NAME, cp->host);
    phy_free(text);
    return status;
}

/* Give the checkpoint its shards, open them, and note each one's place in name order in the index. */
static enum phy_status open_named_shards(struct phy_weight_index *index, struct phy_checkpoint *cp)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < index->shards.count && !status; i++)
        status = phy_checkpoint_add_shard(cp, index->shards.names[i].text, index->shards.names[i].bytes);
    if (!status)
        status = phy_checkpoint_open_shards(cp);
    for (size_t i = 0; i < cp->shard_count && !status; i++)
        phy_name_set_find(&index->shards, 0, cp->shards[i].name, strlen(cp->shards[i].name))->value = (uint32_t)i;
    return status;
}

/* Rule I7: all tensors' names in one set, in the checkpoint's order, each with its shard. */
static enum phy_status collect_names(struct phy_name_set *names, const struct phy_checkpoint *cp)
{
    char text[PHY_QUOTED_BYTES];
    for (size_t i = 0; i < cp->shard_count; i++) {
        const struct phy_tensor_table *table = &cp->shards[i].table;
        for (size_t t = 0; t < table->count; t++) {
            const struct phy_tensor_row *row = &table->rows[t];
            struct phy_name *first;
            enum phy_name_added added = phy_name_set_add(names, 0, row->name, row->name_bytes, (uint32_t)i, &first);
            if (added == PHY_NAME_NO_MEMORY)
                return phy_fail_memory(cp->host, "a table of names", cp->tensor_count);
            if (added == PHY_NAME_DUPLICATE)
                return phy_fail(cp->host, PHY_ERR_FORMAT, "%s: tensor %" PRIu32 " %s: duplicate: it is in %s too",
                                cp->shards[i].name, row->header_index, phy_quote(text, row->name, row->name_bytes),
                                cp->shards[first->value].name);
        }
    }
    return PHY_OK;
}

/* Rule I6; the tensors that are mapped are marked in `mapped`. */
static enum phy_status check_mappings(const struct phy_weight_index *index, const struct phy_name_set *names,
                                      bool *mapped, const struct phy_checkpoint *cp)
{
    char text[PHY_QUOTED_BYTES];
    for (size_t i = 0; i < index->count; i++) {
        const struct phy_mapping *map = &index->maps[i];
        uint32_t shard = index->shards.names[map->shard].value;
        const struct phy_name *name = phy_name_set_find(names, 0, map->tensor, map->tensor_bytes);
        if (!name || name->value != shard)
            return phy_fail(cp->host, PHY_ERR_FORMAT, "%s: weight_map %s: the tensor is not in %s%s%s", PHY_INDEX_NAME,
                            phy_quote(text, map->tensor, map->tensor_bytes), cp->shards[shard].name,
                            name ? " but in " : "", name ? cp->shards[name->value].name : "");
        mapped[name - names->names] = true;
    }
    return PHY_OK;
}

static void warn_of_unmapped(const bool *mapped, const struct phy_checkpoint *cp)
{
    char text[PHY_QUOTED_BYTES];
    size_t unmapped = 0;
    for (size_t i = 0; i < cp->shard_count; i++) {
        const struct phy_shard *shard = &cp->shards[i];
        for (size_t t = 0; t < shard->table.count; t++) {
            const struct phy_tensor_row *row = &shard->table.rows[t];
            if (!mapped[shard->tensor_begin + t] && ++unmapped <= MOST_WARNINGS)
                phy_warn(cp->host, "%s: tensor %" PRIu32 " %s: not in the index's weight_map", shard->name,
                         row->header_index, phy_quote(text, row->name, row->name_bytes));
        }
    }
    if (unmapped > MOST_WARNINGS)
        phy_warn(cp->host, "%s: %zu more tensors in the shards are not in weight_map", PHY_INDEX_NAME,
                 unmapped - MOST_WARNINGS);
}

/* "78" and "78.0" are the number 78; writers that divide print the latter. */
static bool number_equals(const struct phy_json_token *token, uint64_t value)
{
    char digits[24];
    size_t length = 0, at;
    do {
        digits[length++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    if (token->kind != PHY_JSON_NUMBER || token->bytes < length)
        return false;
    for (at = 0; at < length; at++) {
        if (token->text[at] != digits[length - 1 - at])
            return false;
    }
    if (at < token->bytes && token->text[at] == '.')
        for (at++; at < token->bytes && token->text[at] == '0';)
            at++;
    return at == token->bytes;
}

/* Rule I8. */
static void warn_of_total(const struct phy_weight_index *index, const struct phy_checkpoint *cp)
{
    const struct phy_json_token *total = &index->total_size;
    char text[PHY_QUOTED_BYTES];
    uint64_t bytes = 0;
    for (size_t i = 0; i < cp->shard_count; i++)
        bytes +=
            cp->shards[i].table.data_bytes; /* each is below 2^63 and all are real files: no overflow that matters */
    if (total->kind == PHY_JSON_END || number_equals(total, bytes))
        return;
    if (total->kind == PHY_JSON_NUMBER || total->kind == PHY_JSON_STRING)
        phy_warn(cp->host, "%s: metadata: total_size is %s %s, the shards hold %" PRIu64 " bytes", PHY_INDEX_NAME,
                 phy_json_kind_name(total->kind), phy_quote(text, total->text, total->bytes), bytes);
    else
        phy_warn(cp->host, "%s: metadata: total_size is %s, the shards hold %" PRIu64 " bytes", PHY_INDEX_NAME,
                 phy_json_kind_name(total->kind), bytes);
}

static enum phy_status hold_against(const struct phy_weight_index *index, const struct phy_checkpoint *cp)
{
    struct phy_name_set names = {0};
    bool *mapped = phy_zalloc(cp->tensor_count, sizeof *mapped);
    enum phy_status status =
        mapped ? collect_names(&names, cp) : phy_fail_memory(cp->host, "a table of names", cp->tensor_count);
    if (!status)
        status = check_mappings(index, &names, mapped, cp);
    if (!status) {
        warn_of_unmapped(mapped, cp);
        warn_of_total(index, cp);
    }
    phy_name_set_free(&names);
    phy_free(mapped);
    return status;
}

enum phy_status phy_checkpoint_open_by_index(struct phy_checkpoint *cp)
{
    struct phy_weight_index index = {0};
    enum phy_status status = read_index(&index, cp);
    if (!status && phy_entry_exists(cp->dir_fd, PHY_SINGLE_NAME) &&
        !phy_name_set_find(&index.shards, 0, PHY_SINGLE_NAME, strlen(PHY_SINGLE_NAME)))
        status = phy_fail(cp->host, PHY_ERR_FORMAT, "%s: stands beside %s, which does not name it: which is the model?",
                          PHY_SINGLE_NAME, PHY_INDEX_NAME);
    if (!status)
        status = open_named_shards(&index, cp);
    if (!status)
        status = hold_against(&index, cp);
    phy_weight_index_free(&index);
    return status;
}
