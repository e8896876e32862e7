/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a GGUF header front to back, once, through a small buffer:
 *
 *   0  "GGUF"  4 version:u32  8 tensor_count:u64  16 kv_count:u64
 *   24 keys    name_bytes:u64 name type:u32 value
 *      tensors name_bytes:u64 name dim_count:u32 dims:u64[dim_count] type:u32 offset:u64
 *      padding to the alignment, then the tensors' data
 *
 * A string is length:u64 and bytes; an array is element_type:u32 count:u64 and the elements. Everything is
 * little-endian. Nothing is allocated for a count before the bytes that it promises have been seen to fit. */
#include "format/gguf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "format/gguf_header.h"

enum {
    WINDOW_BYTES = 65536,
    KEY_BYTES_MAX = 65535,
    NAME_BYTES_MAX = 64,
    DIMS_MAX = 4,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 1 << 20,
    /* Least bytes that one can take: name length + one byte of name + type + one byte of value, and
     * name length + dim_count + type + offset. */
    KEY_BYTES_MIN = 13,
    TENSOR_BYTES_MIN = 24
};

/* Reading position. `item` is "header", "key" or "tensor": what the messages are about; `number` its index. */
struct cursor {
    struct phy_gguf *gguf;
    uint64_t at;
    uint64_t window_at;
    size_t window_bytes;
    const char *item;
    uint64_t number;
    const char *name; /* NULL until it is known */
    size_t name_bytes;
    char text[KEY_BYTES_MAX + 1];
    unsigned char window[WINDOW_BYTES];
};

static int read_fd(const struct phy_gguf_source *source, void *buffer, size_t bytes, uint64_t at)
{
    return phy_pread_all(source->fd, buffer, bytes, at);
}

static int read_memory(const struct phy_gguf_source *source, void *buffer, size_t bytes, uint64_t at)
{
    memcpy(buffer, source->memory + at, bytes);
    return 0;
}

struct phy_gguf_source phy_gguf_source_fd(int fd, uint64_t bytes)
{
    return (struct phy_gguf_source){.read = read_fd, .bytes = bytes, .fd = fd};
}

struct phy_gguf_source phy_gguf_source_memory(const void *memory, size_t bytes)
{
    return (struct phy_gguf_source){.read = read_memory, .bytes = bytes, .memory = memory};
}

/* One message in the forms of rule E1. */
__attribute__((format(printf, 3, 4))) static enum phy_status fail(const struct cursor *c, enum phy_status status,
                                                                  const char *format, ...)
{
    char fact[512], quoted[PHY_QUOTED_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(fact, sizeof fact, format, args);
    va_end(args);
    const char *file = c->gguf->file;
    const struct phy_host *host = c->gguf->host;
    if (strcmp(c->item, "header") == 0)
        return phy_fail(host, status, "%s: header: %s", file, fact);
    if (!c->name)
        return phy_fail(host, status, "%s: %s %llu: %s", file, c->item, (unsigned long long)c->number, fact);
    return phy_fail(host, status, "%s: %s %llu %s: %s", file, c->item, (unsigned long long)c->number,
                    phy_quote(quoted, c->name, c->name_bytes), fact);
}

static uint64_t bytes_left(const struct cursor *c)
{
    return c->gguf->source.bytes - c->at;
}

static enum phy_status fail_exceed(const struct cursor *c, const char *what, uint64_t bytes)
{
    return fail(c, PHY_ERR_FORMAT, "%s of %llu bytes at %llu exceeds the file, which has %llu bytes", what,
                (unsigned long long)bytes, (unsigned long long)c->at, (unsigned long long)c->gguf->source.bytes);
}

/* The next `bytes` bytes, without moving past them; bytes <= WINDOW_BYTES. NULL after a logged failure. */
static enum phy_status peek(struct cursor *c, const char *what, size_t bytes, const unsigned char **out)
{
    if (bytes > bytes_left(c))
        return fail_exceed(c, what, bytes);
    if (c->at < c->window_at || c->at + bytes > c->window_at + c->window_bytes) {
        size_t take = (size_t)phy_min_u64(bytes_left(c), WINDOW_BYTES);
        int error = c->gguf->source.read(&c->gguf->source, c->window, take, c->at);
        if (error) {
            c->window_bytes = 0;
            return phy_fail(c->gguf->host, PHY_ERR_IO, "%s: %s", c->gguf->file,
                            error == ENODATA ? "the file shrank while it was read" : strerror(error));
        }
        c->window_at = c->at;
        c->window_bytes = take;
    }
    *out = c->window + (c->at - c->window_at);
    return PHY_OK;
}

static enum phy_status take_u32(struct cursor *c, const char *what, uint32_t *out)
{
    const unsigned char *p;
    enum phy_status status = peek(c, what, 4, &p);
    if (status)
        return status;
    *out = phy_load_u32(p);
    c->at += 4;
    return PHY_OK;
}

static enum phy_status take_u64(struct cursor *c, const char *what, uint64_t *out)
{
    const unsigned char *p;
    enum phy_status status = peek(c, what, 8, &p);
    if (status)
        return status;
    *out = phy_load_u64(p);
    c->at += 8;
    return PHY_OK;
}

/* A key or a tensor name into c->text and c->name: 1..longest bytes, UTF-8, no U+0000 (G4, G7). */
static enum phy_status take_name(struct cursor *c, uint64_t longest)
{
    uint64_t bytes;
    enum phy_status status = take_u64(c, "name length", &bytes);
    if (status)
        return status;
    if (bytes > bytes_left(c))
        return fail_exceed(c, "name", bytes);
    if (bytes == 0 || bytes > longest)
        return fail(c, PHY_ERR_FORMAT, "name has %llu bytes, not 1 to %llu", (unsigned long long)bytes,
                    (unsigned long long)longest);
    const unsigned char *p;
    status = peek(c, "name", (size_t)bytes, &p);
    if (status)
        return status;
    memcpy(c->text, p, (size_t)bytes);
    c->text[bytes] = 0;
    c->at += bytes;
    c->name = c->text;
    c->name_bytes = (size_t)bytes;
    for (size_t i = 0; i < bytes;) {
        size_t length = phy_utf8_sequence(c->text + i, (size_t)bytes - i, NULL);
        if (length == 0)
            return fail(c, PHY_ERR_FORMAT, "name is not UTF-8 at byte %zu", i);
        if (c->text[i] == 0)
            return fail(c, PHY_ERR_FORMAT, "name has U+0000 at byte %zu", i);
        i += length;
    }
    return PHY_OK;
}

static enum phy_status add_name(struct cursor *c, struct phy_names *names)
{
    size_t index;
    switch (phy_names_add(names, c->name, c->name_bytes, &index)) {
    case PHY_NAMES_ADDED:
        return PHY_OK;
    case PHY_NAMES_DUPLICATE:
        return fail(c, PHY_ERR_FORMAT, "duplicate of %s %zu", c->item, index);
    default:
        return phy_fail_memory(c->gguf->host, "names", c->name_bytes);
    }
}

/* ---- keys ---- */

static enum phy_status check_bools(struct cursor *c, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        size_t piece = (size_t)phy_min_u64(count - done, WINDOW_BYTES);
        const unsigned char *p;
        enum phy_status status = peek(c, "bool", piece, &p);
        if (status)
            return status;
        for (size_t i = 0; i < piece; i++) {
            if (p[i] > 1)
                return fail(c, PHY_ERR_FORMAT, "bool %llu is %u, not 0 or 1", (unsigned long long)(done + i), p[i]);
        }
        done += piece;
        c->at += piece;
    }
    return PHY_OK;
}

static enum phy_status take_string(struct cursor *c, struct gguf_value *value)
{
    enum phy_status status = take_u64(c, "string length", &value->bits);
    if (status)
        return status;
    if (value->bits > bytes_left(c))
        return fail_exceed(c, "string", value->bits);
    value->at = c->at;
    c->at += value->bits;
    return PHY_OK;
}

static enum phy_status take_array(struct cursor *c, struct gguf_value *value)
{
    uint32_t element;
    enum phy_status status = take_u32(c, "array type", &element);
    if (!status)
        status = take_u64(c, "array count", &value->bits);
    if (status)
        return status;
    if (element >= PHY_GGUF_TYPE_COUNT)
        return fail(c, PHY_ERR_FORMAT, "array element type %u does not exist", element);
    if (element == PHY_GGUF_ARRAY)
        return fail(c, PHY_ERR_UNSUPPORTED, "an array of arrays is not supported");
    value->element_type = (uint8_t)element;
    value->at = c->at;
    uint32_t least = element == PHY_GGUF_STRING ? 8 : phy_gguf_type_bytes((enum phy_gguf_type)element);
    if (value->bits > bytes_left(c) / least)
        return fail(c, PHY_ERR_FORMAT, "array of %llu %s elements exceeds the %llu bytes left",
                    (unsigned long long)value->bits, phy_gguf_type_name((enum phy_gguf_type)element),
                    (unsigned long long)bytes_left(c));
    if (element == PHY_GGUF_BOOL) {
        status = check_bools(c, value->bits);
    } else if (element == PHY_GGUF_STRING) {
        struct gguf_value string;
        for (uint64_t i = 0; i < value->bits && !status; i++)
            status = take_string(c, &string);
    } else {
        c->at += value->bits * least;
    }
    value->bytes = c->at - value->at;
    return status;
}

static enum phy_status take_value(struct cursor *c, struct gguf_value *value)
{
    uint32_t type;
    enum phy_status status = take_u32(c, "value type", &type);
    if (status)
        return status;
    if (type >= PHY_GGUF_TYPE_COUNT)
        return fail(c, PHY_ERR_FORMAT, "value type %u does not exist", type);
    *value = (struct gguf_value){.type = (uint8_t)type, .element_type = (uint8_t)type};
    if (type == PHY_GGUF_STRING)
        return take_string(c, value);
    if (type == PHY_GGUF_ARRAY)
        return take_array(c, value);
    uint32_t bytes = phy_gguf_type_bytes((enum phy_gguf_type)type);
    const unsigned char *p;
    status = peek(c, "value", bytes, &p);
    if (status)
        return status;
    for (uint32_t i = 0; i < bytes; i++)
        value->bits |= (uint64_t)p[i] << 8 * i;
    value->at = c->at;
    c->at += bytes;
    if (type == PHY_GGUF_BOOL && value->bits > 1)
        return fail(c, PHY_ERR_FORMAT, "bool is %llu, not 0 or 1", (unsigned long long)value->bits);
    return PHY_OK;
}

static enum phy_status check_alignment(struct cursor *c, const struct gguf_value *value)
{
    if (value->type != PHY_GGUF_U32)
        return fail(c, PHY_ERR_FORMAT, "alignment is a %s, not a u32",
                    phy_gguf_type_name((enum phy_gguf_type)value->type));
    if (value->bits == 0 || (value->bits & (value->bits - 1)) != 0)
        return fail(c, PHY_ERR_FORMAT, "alignment %llu is not a power of two", (unsigned long long)value->bits);
    if (value->bits > ALIGNMENT_MAX)
        return fail(c, PHY_ERR_LIMIT, "alignment %llu is above our limit of %d", (unsigned long long)value->bits,
                    ALIGNMENT_MAX);
    c->gguf->alignment = value->bits;
    return PHY_OK;
}

static enum phy_status take_key(struct cursor *c)
{
    struct phy_gguf *g = c->gguf;
    enum phy_status status = take_name(c, KEY_BYTES_MAX);
    if (!status)
        status = add_name(c, &g->key_names);
    if (status)
        return status;
    if (g->key_names.count > g->value_capacity) {
        size_t capacity = g->value_capacity ? g->value_capacity * 2 : 16;
        struct gguf_value *grown = phy_realloc(g->values, capacity, sizeof *grown);
        if (!grown)
            return phy_fail_memory(g->host, "keys", capacity * sizeof *grown);
        g->values = grown;
        g->value_capacity = capacity;
    }
    struct gguf_value *value = &g->values[g->key_names.count - 1];
    status = take_value(c, value);
    if (!status && strcmp(c->text, "general.alignment") == 0)
        status = check_alignment(c, value);
    return status;
}

/* ---- tensors ---- */

/* Rules G8 and G9: dimensions, type and the bytes that they make. */
static enum phy_status measure_tensor(const struct cursor *c, struct gguf_tensor_entry *t, uint32_t type_id)
{
    uint64_t elements = 1; /* product of the dimensions that are not zero */
    bool empty = false;
    for (uint32_t i = 0; i < t->dim_count; i++) {
        if (t->dims[i] >> 63)
            return fail(c, PHY_ERR_FORMAT, "dimension %u is %llu, not below 2^63", i, (unsigned long long)t->dims[i]);
        empty |= t->dims[i] == 0;
        if (t->dims[i] && (!phy_mul_u64(elements, t->dims[i], &elements) || elements >> 63))
            return fail(c, PHY_ERR_FORMAT, "number of elements overflows 2^63 at dimension %u", i);
    }
    t->type = phy_gguf_tensor_type(type_id);
    if (!t->type)
        return fail(c, PHY_ERR_UNSUPPORTED, "tensor type %u is not one that we know", type_id);
    if (t->dims[0] % t->type->block_elements)
        return fail(c, PHY_ERR_FORMAT, "first dimension %llu is not whole %s blocks of %u",
                    (unsigned long long)t->dims[0], t->type->name, t->type->block_elements);
    uint64_t bytes;
    if (!phy_mul_u64(phy_ceil_div(elements, t->type->block_elements), t->type->block_bytes, &bytes) || bytes >> 63)
        return fail(c, PHY_ERR_FORMAT, "%llu %s elements overflow 2^63 bytes", (unsigned long long)elements,
                    t->type->name);
    t->bytes = empty ? 0 : bytes;
    return PHY_OK;
}

/* Take one tensor whose offset must be *expected (G10), and move *expected to the next one's. */
static enum phy_status take_tensor(struct cursor *c, struct gguf_tensor_entry *t, uint64_t *expected)
{
    struct phy_gguf *g = c->gguf;
    enum phy_status status = take_name(c, NAME_BYTES_MAX);
    if (!status)
        status = add_name(c, &g->tensor_names);
    uint32_t type_id = 0;
    uint64_t offset = 0;
    *t = (struct gguf_tensor_entry){.dims = {1, 1, 1, 1}};
    if (!status)
        status = take_u32(c, "dimension count", &t->dim_count);
    if (!status && t->dim_count > DIMS_MAX)
        status = fail(c, PHY_ERR_FORMAT, "%u dimensions, at most %d are allowed", t->dim_count, DIMS_MAX);
    for (uint32_t i = 0; !status && i < t->dim_count; i++)
        status = take_u64(c, "dimension", &t->dims[i]);
    if (!status)
        status = take_u32(c, "type", &type_id);
    if (!status)
        status = take_u64(c, "offset", &offset);
    if (!status)
        status = measure_tensor(c, t, type_id);
    if (status)
        return status;
    if (offset != *expected)
        return fail(c, PHY_ERR_FORMAT, "offset is %llu, the tensor before it ends at %llu", (unsigned long long)offset,
                    (unsigned long long)*expected);
    t->at = offset;
    if (!phy_add_u64(offset, t->bytes, expected) || !phy_add_u64(*expected, g->alignment - 1, expected))
        return fail(c, PHY_ERR_FORMAT, "offset %llu and %llu bytes overflow", (unsigned long long)offset,
                    (unsigned long long)t->bytes);
    *expected &= ~(g->alignment - 1);
    return PHY_OK;
}

static enum phy_status take_tensors(struct cursor *c, uint64_t count)
{
    struct phy_gguf *g = c->gguf;
    uint64_t expected = 0;
    c->item = "tensor";
    for (c->number = 0; c->number < count; c->number++) {
        c->name = NULL;
        if (c->number == g->tensor_capacity) {
            size_t capacity = g->tensor_capacity ? g->tensor_capacity * 2 : 16;
            struct gguf_tensor_entry *grown = phy_realloc(g->tensors, capacity, sizeof *grown);
            if (!grown)
                return phy_fail_memory(g->host, "tensors", capacity * sizeof *grown);
            g->tensors = grown;
            g->tensor_capacity = capacity;
        }
        enum phy_status status = take_tensor(c, &g->tensors[c->number], &expected);
        if (status)
            return status;
    }
    return PHY_OK;
}

/* Turn offsets into positions and compare them with the file (G11). The cursor is at the end of the header. */
static enum phy_status place_tensors(struct cursor *c)
{
    struct phy_gguf *g = c->gguf;
    size_t count = g->tensor_names.count;
    uint64_t padded = (c->at + g->alignment - 1) & ~(g->alignment - 1); /* at <= file size, far below 2^63 */
    g->data_start = count ? padded : phy_min_u64(padded, g->source.bytes);
    uint64_t end = g->data_start;
    for (size_t i = 0; i < count; i++) {
        struct gguf_tensor_entry *t = &g->tensors[i];
        c->number = i;
        c->name = phy_names_at(&g->tensor_names, i, &c->name_bytes);
        if (!phy_add_u64(g->data_start, t->at, &t->at) || !phy_add_u64(t->at, t->bytes, &end))
            return fail(c, PHY_ERR_FORMAT, "offset and size overflow");
        if (end > g->source.bytes)
            return fail(c, PHY_ERR_FORMAT, "%llu bytes at %llu exceed the file, which has %llu bytes",
                        (unsigned long long)t->bytes, (unsigned long long)t->at, (unsigned long long)g->source.bytes);
    }
    uint64_t padded_end = (end + g->alignment - 1) & ~(g->alignment - 1);
    if (g->source.bytes > padded_end)
        phy_warn(g->host, "%s: %llu trailing bytes after the last tensor", g->file,
                 (unsigned long long)(g->source.bytes - padded_end));
    return PHY_OK;
}

/* ---- the whole ---- */

static enum phy_status check_version(struct cursor *c, uint32_t version)
{
    if (version == 0)
        return fail(c, PHY_ERR_FORMAT, "version is 0");
    if ((version & 0xFFFF) == 0)
        return fail(c, PHY_ERR_UNSUPPORTED, "big-endian file of version %u; only little-endian files are read",
                    __builtin_bswap32(version));
    if (version != 2 && version != 3)
        return fail(c, PHY_ERR_UNSUPPORTED, "version %u is not supported, only 2 and 3", version);
    c->gguf->version = version;
    return PHY_OK;
}

static enum phy_status read_header(struct cursor *c)
{
    const unsigned char *magic;
    if (bytes_left(c) < 4)
        return fail(c, PHY_ERR_FORMAT, "the file has %llu bytes, no room for the magic GGUF",
                    (unsigned long long)bytes_left(c));
    enum phy_status status = peek(c, "magic", 4, &magic);
    if (status)
        return status;
    if (memcmp(magic, "GGUF", 4) != 0) {
        char quoted[PHY_QUOTED_BYTES];
        return fail(c, PHY_ERR_FORMAT, "magic is %s, not \"GGUF\"", phy_quote(quoted, (const char *)magic, 4));
    }
    c->at += 4;
    uint32_t version = 0;
    uint64_t tensor_count = 0, kv_count = 0;
    status = take_u32(c, "version", &version);
    if (!status)
        status = check_version(c, version);
    if (!status)
        status = take_u64(c, "tensor_count", &tensor_count);
    if (!status)
        status = take_u64(c, "kv_count", &kv_count);
    if (status)
        return status;
    if (tensor_count > bytes_left(c) / TENSOR_BYTES_MIN)
        return fail(c, PHY_ERR_FORMAT, "tensor_count %llu exceeds what %llu bytes can hold",
                    (unsigned long long)tensor_count, (unsigned long long)bytes_left(c));
    if (kv_count > bytes_left(c) / KEY_BYTES_MIN)
        return fail(c, PHY_ERR_FORMAT, "kv_count %llu exceeds what %llu bytes can hold", (unsigned long long)kv_count,
                    (unsigned long long)bytes_left(c));
    c->item = "key";
    for (c->number = 0; c->number < kv_count; c->number++) {
        c->name = NULL;
        status = take_key(c);
        if (status)
            return status;
    }
    status = take_tensors(c, tensor_count);
    return status ? status : place_tensors(c);
}

enum phy_status phy_gguf_open(struct phy_gguf **out, const struct phy_gguf_source *source, const char *file,
                              const struct phy_host *host)
{
    *out = NULL;
    struct phy_gguf *g = phy_zalloc(1, sizeof *g);
    struct cursor *c = phy_alloc(1, sizeof *c);
    char *name = phy_strndup(file, strlen(file));
    if (!g || !c || !name) {
        phy_free(g);
        phy_free(c);
        phy_free(name);
        return phy_fail_memory(host, "a GGUF header", sizeof *g + sizeof *c);
    }
    *g = (struct phy_gguf){.host = host, .source = *source, .file = name, .alignment = ALIGNMENT_DEFAULT};
    c->gguf = g;
    c->at = c->window_at = c->window_bytes = 0;
    c->item = "header";
    c->number = 0;
    c->name = NULL;
    enum phy_status status = read_header(c);
    phy_free(c);
    if (status)
        phy_gguf_close(&g);
    *out = g;
    return status;
}

void phy_gguf_close(struct phy_gguf **gguf)
{
    struct phy_gguf *g = *gguf;
    if (!g)
        return;
    phy_names_free(&g->key_names);
    phy_names_free(&g->tensor_names);
    phy_free(g->values);
    phy_free(g->tensors);
    phy_free(g->file);
    phy_free(g);
    *gguf = NULL;
}
