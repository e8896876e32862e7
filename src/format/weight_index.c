/* SPDX-License-Identifier: Apache-2.0 */
#include "format/weight_index.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/array.h"
#include "format/safetensors.h"

struct reader {
    struct phy_weight_index *index;
    const char *file;
    const struct phy_host *host;
    struct phy_json_scan scan;
    struct phy_json_token token;
    struct phy_name_set keys; /* of every object, each with a scope of its own: rule S6 */
    uint32_t scopes;
};

/* `<file>: weight_map "name": <fact>` */
#define FAIL_MAP(r, key, format, ...)                                                                                  \
    phy_fail((r)->host, PHY_ERR_FORMAT, "%s: weight_map %s: " format, (r)->file,                                       \
             phy_quote((char[PHY_QUOTED_BYTES]){0}, (key)->text, (key)->bytes), ##__VA_ARGS__)

void phy_weight_index_free(struct phy_weight_index *index)
{
    phy_free(index->text);
    phy_free(index->maps);
    phy_name_set_free(&index->shards);
    *index = (struct phy_weight_index){0};
}

static enum phy_status fail_json(const struct reader *r)
{
    return phy_fail(r->host, PHY_ERR_FORMAT, "%s: JSON: byte %zu: %s", r->file, r->token.at, r->token.text);
}

static enum phy_status fail_memory(const struct reader *r)
{
    return phy_fail_memory(r->host, "a table of the index", r->scan.bytes);
}

/* The next token; a JSON error is logged. */
static enum phy_status advance(struct reader *r)
{
    return phy_json_next(&r->scan, &r->token) == PHY_JSON_ERROR ? fail_json(r) : PHY_OK;
}

/* Remember the key that is the current token; `where` ("weight_map ") goes before its name in the message. */
static enum phy_status add_key(struct reader *r, uint32_t scope, const char *where)
{
    char text[PHY_QUOTED_BYTES];
    switch (phy_name_set_add(&r->keys, scope, r->token.text, r->token.bytes, 0, NULL)) {
    case PHY_NAME_NEW:
        return PHY_OK;
    case PHY_NAME_DUPLICATE:
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: %s%s: duplicate key, at byte %zu", r->file, where,
                        phy_quote(text, r->token.text, r->token.bytes), r->token.at);
    default:
        return fail_memory(r);
    }
}

/* Pass over the value that begins with the current token: nobody asks for it, but its grammar and keys are checked. */
static enum phy_status skip_value(struct reader *r)
{
    uint32_t scope[PHY_INDEX_DEPTH];
    unsigned depth = 0;
    for (;;) {
        enum phy_status status = PHY_OK;
        switch (r->token.kind) {
        case PHY_JSON_OBJECT:
        case PHY_JSON_ARRAY:
            if (depth == PHY_INDEX_DEPTH)
                return phy_fail(r->host, PHY_ERR_LIMIT, "%s: byte %zu: nested deeper than %d", r->file, r->token.at,
                                PHY_INDEX_DEPTH);
            scope[depth++] = ++r->scopes;
            break;
        case PHY_JSON_OBJECT_END:
        case PHY_JSON_ARRAY_END:
            depth--;
            break;
        case PHY_JSON_KEY:
            status = add_key(r, scope[depth - 1], "");
            break;
        default:
            break;
        }
        if (status || depth == 0)
            return status;
        status = advance(r);
        if (status)
            return status;
    }
}

/* Rule I4: what is wrong with a shard's name, or NULL. */
static const char *bad_shard_name(const struct phy_json_token *name)
{
    static const char ending[] = ".safetensors";
    enum { ENDING = sizeof ending - 1 };
    if (name->bytes == 0)
        return "an empty shard name";
    if (name->bytes > 255)
        return "a shard name of more than 255 bytes";
    for (size_t i = 0; i < name->bytes; i++) {
        unsigned char c = (unsigned char)name->text[i];
        if (c < 0x20 || c == '/' || c == '\\')
            return "a shard must be a plain file name, not";
    }
    if (name->bytes < ENDING || memcmp(name->text + name->bytes - ENDING, ending, ENDING) != 0)
        return "a shard's name must end in .safetensors, not"; /* "." and ".." do not either */
    return NULL;
}

/* One member of weight_map, whose key is the current token. */
static enum phy_status read_mapping(struct reader *r, uint32_t scope)
{
    struct phy_weight_index *index = r->index;
    struct phy_json_token key = r->token;
    char text[PHY_QUOTED_BYTES];
    enum phy_status status = add_key(r, scope, "weight_map ");
    if (!status)
        status = advance(r);
    if (status)
        return status;
    if (r->token.kind != PHY_JSON_STRING)
        return FAIL_MAP(r, &key, "its shard is %s, not a string", phy_json_kind_name(r->token.kind));
    const char *wrong = bad_shard_name(&r->token);
    if (wrong)
        return FAIL_MAP(r, &key, "%s: %s", wrong, phy_quote(text, r->token.text, r->token.bytes));
    struct phy_name *shard;
    uint32_t fresh = (uint32_t)index->shards.count;
    struct phy_mapping *maps = phy_array_reserve(index->maps, &index->capacity, index->count + 1, sizeof *maps);
    if (maps)
        index->maps = maps;
    if (!maps ||
        phy_name_set_add(&index->shards, 0, r->token.text, r->token.bytes, fresh, &shard) == PHY_NAME_NO_MEMORY)
        return fail_memory(r);
    maps[index->count++] =
        (struct phy_mapping){.tensor = key.text, .tensor_bytes = (uint32_t)key.bytes, .shard = shard->value};
    return PHY_OK;
}

/* The value of `weight_map`: rule I3. */
static enum phy_status read_weight_map(struct reader *r)
{
    uint32_t scope = ++r->scopes;
    if (r->token.kind != PHY_JSON_OBJECT)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: weight_map is %s, not an object", r->file,
                        phy_json_kind_name(r->token.kind));
    for (;;) {
        enum phy_status status = advance(r);
        if (status)
            return status;
        if (r->token.kind == PHY_JSON_OBJECT_END)
            return PHY_OK;
        status = read_mapping(r, scope);
        if (status)
            return status;
    }
}

/* The value of `metadata`: rule I8. */
static enum phy_status read_metadata(struct reader *r)
{
    uint32_t scope = ++r->scopes;
    if (r->token.kind != PHY_JSON_OBJECT)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: metadata is %s, not an object", r->file,
                        phy_json_kind_name(r->token.kind));
    for (;;) {
        enum phy_status status = advance(r);
        if (status)
            return status;
        if (r->token.kind == PHY_JSON_OBJECT_END)
            return PHY_OK;
        bool is_total = phy_json_is(&r->token, "total_size");
        status = add_key(r, scope, "metadata ");
        if (!status)
            status = advance(r);
        if (!status && is_total)
            r->index->total_size = r->token;
        if (!status)
            status = skip_value(r);
        if (status)
            return status;
    }
}

static enum phy_status read_member(struct reader *r)
{
    bool is_map = phy_json_is(&r->token, "weight_map"), is_metadata = phy_json_is(&r->token, "metadata");
    enum phy_status status = add_key(r, 0, "");
    if (!status)
        status = advance(r);
    if (status)
        return status;
    return is_map ? read_weight_map(r) : is_metadata ? read_metadata(r) : skip_value(r);
}

static enum phy_status read_index(struct reader *r)
{
    size_t valid = phy_json_utf8_end(r->scan.text, r->scan.bytes);
    if (valid < r->scan.bytes)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: byte %zu: 0x%02x is not UTF-8", r->file, valid,
                        (unsigned char)r->scan.text[valid]);
    enum phy_status status = advance(r);
    while (!status) {
        status = advance(r);
        if (!status && r->token.kind == PHY_JSON_OBJECT_END)
            break;
        if (!status)
            status = read_member(r);
    }
    if (!status)
        status = advance(r); /* the end, or an error */
    if (!status && r->index->count == 0)
        status = phy_fail(r->host, PHY_ERR_FORMAT, "%s: weight_map is missing or empty", r->file);
    return status;
}

enum phy_status phy_weight_index_parse(struct phy_weight_index *out, char *text, size_t bytes, const char *file,
                                       const struct phy_host *host)
{
    *out = (struct phy_weight_index){.text = text, .total_size = {.kind = PHY_JSON_END}};
    struct reader r = {.index = out, .file = file, .host = host};
    enum phy_status status;
    if (bytes == 0 || text[0] != '{') {
        const char *foreign = phy_foreign_format(text, bytes);
        status = foreign ? phy_fail(host, PHY_ERR_FORMAT, "%s: this is not JSON but %s", file, foreign)
                         : phy_fail(host, PHY_ERR_FORMAT, "%s: JSON: byte 0: it does not begin with {", file);
    } else {
        phy_json_begin(&r.scan, text, bytes);
        status = read_index(&r);
        phy_name_set_free(&r.keys);
    }
    if (status)
        phy_weight_index_free(out);
    return status;
}
