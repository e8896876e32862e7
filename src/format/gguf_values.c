/* SPDX-License-Identifier: Apache-2.0 */
/* What a checked GGUF header says: tensors, scalars, and strings and arrays read from the file when asked for. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "format/gguf_header.h"

static const struct {
    const char *name;
    uint32_t bytes;
} types[PHY_GGUF_TYPE_COUNT] = {
    [PHY_GGUF_U8] = {"u8", 1},       [PHY_GGUF_I8] = {"i8", 1},     [PHY_GGUF_U16] = {"u16", 2},
    [PHY_GGUF_I16] = {"i16", 2},     [PHY_GGUF_U32] = {"u32", 4},   [PHY_GGUF_I32] = {"i32", 4},
    [PHY_GGUF_F32] = {"f32", 4},     [PHY_GGUF_BOOL] = {"bool", 1}, [PHY_GGUF_STRING] = {"string", 0},
    [PHY_GGUF_ARRAY] = {"array", 0}, [PHY_GGUF_U64] = {"u64", 8},   [PHY_GGUF_I64] = {"i64", 8},
    [PHY_GGUF_F64] = {"f64", 8},
};

const char *phy_gguf_type_name(enum phy_gguf_type type)
{
    return types[type].name;
}

uint32_t phy_gguf_type_bytes(enum phy_gguf_type type)
{
    return types[type].bytes;
}

uint32_t phy_gguf_version(const struct phy_gguf *gguf)
{
    return gguf->version;
}

uint64_t phy_gguf_alignment(const struct phy_gguf *gguf)
{
    return gguf->alignment;
}

uint64_t phy_gguf_data_start(const struct phy_gguf *gguf)
{
    return gguf->data_start;
}

const char *phy_gguf_file(const struct phy_gguf *gguf)
{
    return gguf->file;
}

/* ---- tensors ---- */

size_t phy_gguf_tensor_count(const struct phy_gguf *gguf)
{
    return gguf->tensor_names.count;
}

void phy_gguf_tensor(const struct phy_gguf *gguf, size_t index, struct phy_gguf_tensor *out)
{
    const struct gguf_tensor_entry *t = &gguf->tensors[index];
    *out = (struct phy_gguf_tensor){.type_name = t->type->name,
                                    .type = t->type->id,
                                    .block_elements = t->type->block_elements,
                                    .block_bytes = t->type->block_bytes,
                                    .dim_count = t->dim_count,
                                    .at = t->at,
                                    .bytes = t->bytes};
    out->name = phy_names_at(&gguf->tensor_names, index, &out->name_bytes);
    memcpy(out->dims, t->dims, sizeof t->dims);
}

const uint64_t *phy_gguf_tensor_dims(const struct phy_gguf *gguf, size_t index)
{
    return gguf->tensors[index].dims;
}

bool phy_gguf_find_tensor(const struct phy_gguf *gguf, const char *name, size_t *index)
{
    return phy_names_find(&gguf->tensor_names, name, strlen(name), index);
}

enum phy_status phy_gguf_read(const struct phy_gguf *gguf, void *buffer, size_t bytes, uint64_t at)
{
    int error = at > gguf->source.bytes || bytes > gguf->source.bytes - at
                    ? ENODATA
                    : gguf->source.read(&gguf->source, buffer, bytes, at);
    if (!error)
        return PHY_OK;
    return phy_fail(gguf->host, PHY_ERR_IO, "%s: %s", gguf->file,
                    error == ENODATA ? "the file shrank while it was read" : strerror(error));
}

/* ---- keys ---- */

size_t phy_gguf_key_count(const struct phy_gguf *gguf)
{
    return gguf->key_names.count;
}

void phy_gguf_key(const struct phy_gguf *gguf, size_t index, struct phy_gguf_key *out)
{
    const struct gguf_value *v = &gguf->values[index];
    *out = (struct phy_gguf_key){.type = (enum phy_gguf_type)v->type,
                                 .element_type = (enum phy_gguf_type)v->element_type,
                                 .count = v->type == PHY_GGUF_ARRAY ? v->bits : 1};
    out->name = phy_names_at(&gguf->key_names, index, &out->name_bytes);
}

bool phy_gguf_find_key(const struct phy_gguf *gguf, const char *name, size_t *index)
{
    return phy_names_find(&gguf->key_names, name, strlen(name), index);
}

/* The value of the low bytes of `bits` as a signed number of that type. */
static int64_t signed_of(uint64_t bits, enum phy_gguf_type type)
{
    switch (type) {
    case PHY_GGUF_I8:
        return (int8_t)bits;
    case PHY_GGUF_I16:
        return (int16_t)bits;
    case PHY_GGUF_I32:
        return (int32_t)bits;
    default:
        return (int64_t)bits;
    }
}

static bool to_i64(uint64_t bits, enum phy_gguf_type type, int64_t *out)
{
    switch (type) {
    case PHY_GGUF_U8:
    case PHY_GGUF_U16:
    case PHY_GGUF_U32:
    case PHY_GGUF_BOOL:
    case PHY_GGUF_I8:
    case PHY_GGUF_I16:
    case PHY_GGUF_I32:
    case PHY_GGUF_I64:
        *out = signed_of(bits, type);
        return true;
    case PHY_GGUF_U64:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    default:
        return false;
    }
}

static bool to_f64(uint64_t bits, enum phy_gguf_type type, double *out)
{
    int64_t whole;
    if (type == PHY_GGUF_F32) {
        uint32_t low = (uint32_t)bits;
        float value;
        memcpy(&value, &low, sizeof value);
        *out = (double)value;
        return true;
    }
    if (type == PHY_GGUF_F64) {
        memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (type == PHY_GGUF_U64) {
        *out = (double)bits;
        return true;
    }
    if (type == PHY_GGUF_BOOL || !to_i64(bits, type, &whole))
        return false;
    *out = (double)whole;
    return true;
}

bool phy_gguf_get_u64(const struct phy_gguf *gguf, size_t index, uint64_t *out)
{
    const struct gguf_value *v = &gguf->values[index];
    int64_t value;
    if (v->type == PHY_GGUF_U64) {
        *out = v->bits;
        return true;
    }
    if (v->type == PHY_GGUF_BOOL || !to_i64(v->bits, (enum phy_gguf_type)v->type, &value) || value < 0)
        return false;
    *out = (uint64_t)value;
    return true;
}

bool phy_gguf_get_i64(const struct phy_gguf *gguf, size_t index, int64_t *out)
{
    const struct gguf_value *v = &gguf->values[index];
    return v->type != PHY_GGUF_BOOL && to_i64(v->bits, (enum phy_gguf_type)v->type, out);
}

bool phy_gguf_get_f64(const struct phy_gguf *gguf, size_t index, double *out)
{
    const struct gguf_value *v = &gguf->values[index];
    return to_f64(v->bits, (enum phy_gguf_type)v->type, out);
}

bool phy_gguf_get_bool(const struct phy_gguf *gguf, size_t index, bool *out)
{
    const struct gguf_value *v = &gguf->values[index];
    if (v->type != PHY_GGUF_BOOL)
        return false;
    *out = v->bits != 0;
    return true;
}

/* ---- strings ---- */

/* `raw` holds the key's strings as they lie in the file; move each to the front, followed by NUL. A string's eight
 * bytes of length leave room for it. */
static enum phy_status unpack_strings(const struct phy_gguf *gguf, char *raw, uint64_t raw_bytes,
                                      struct phy_gguf_strings *out)
{
    uint64_t from = 0, to = 0;
    for (size_t i = 0; i < out->count; i++) {
        /* Checked at open; a file that changed since then must not lead us astray. */
        uint64_t length = raw_bytes - from >= 8 ? phy_load_u64(raw + from) : UINT64_MAX;
        if (raw_bytes - from < 8 || length > raw_bytes - from - 8)
            return phy_fail(gguf->host, PHY_ERR_IO, "%s: the file changed while it was read", gguf->file);
        memmove(raw + to, raw + from + 8, (size_t)length);
        out->starts[i] = to;
        from += 8 + length;
        to += length;
        raw[to++] = 0;
    }
    out->starts[out->count] = to;
    return PHY_OK;
}

enum phy_status phy_gguf_load_strings(const struct phy_gguf *gguf, size_t index, uint64_t max_bytes,
                                      struct phy_gguf_strings *out)
{
    const struct gguf_value *v = &gguf->values[index];
    *out = (struct phy_gguf_strings){0};
    bool array = v->type == PHY_GGUF_ARRAY && v->element_type == PHY_GGUF_STRING;
    if (!array && v->type != PHY_GGUF_STRING)
        return phy_gguf_fail_key(gguf, index, PHY_ERR_FORMAT, "type is %s where strings belong", types[v->type].name);
    uint64_t count = array ? v->bits : 1;
    uint64_t raw_at = array ? v->at : v->at - 8, raw_bytes = array ? v->bytes : v->bits + 8;
    if (raw_bytes > max_bytes)
        return phy_gguf_fail_key(gguf, index, PHY_ERR_LIMIT, "%llu bytes of strings, our limit is %llu",
                                 (unsigned long long)raw_bytes, (unsigned long long)max_bytes);
    out->count = (size_t)count;
    out->text = phy_alloc((size_t)raw_bytes, 1);
    out->starts = phy_alloc(out->count + 1, sizeof *out->starts);
    if (!out->text || !out->starts) {
        phy_gguf_strings_free(out);
        return phy_fail_memory(gguf->host, "strings", (size_t)raw_bytes);
    }
    enum phy_status status = phy_gguf_read(gguf, out->text, (size_t)raw_bytes, raw_at);
    if (!status)
        status = unpack_strings(gguf, out->text, raw_bytes, out);
    if (status)
        phy_gguf_strings_free(out);
    return status;
}

const char *phy_gguf_string(const struct phy_gguf_strings *strings, size_t i, size_t *bytes)
{
    if (bytes)
        *bytes = (size_t)(strings->starts[i + 1] - strings->starts[i] - 1);
    return strings->text + strings->starts[i];
}

void phy_gguf_strings_free(struct phy_gguf_strings *strings)
{
    phy_free(strings->text);
    phy_free(strings->starts);
    *strings = (struct phy_gguf_strings){0};
}

/* ---- arrays of numbers ---- */

/* One of the two destinations is not NULL. */
static enum phy_status load_numbers(const struct phy_gguf *gguf, size_t index, uint64_t first, size_t count,
                                    int64_t *whole, double *real)
{
    const struct gguf_value *v = &gguf->values[index];
    enum phy_gguf_type element = (enum phy_gguf_type)v->element_type;
    uint32_t bytes = types[element].bytes;
    if (v->type != PHY_GGUF_ARRAY || bytes == 0)
        return phy_gguf_fail_key(gguf, index, PHY_ERR_FORMAT, "type is %s where an array of numbers belongs",
                                 types[v->type].name);
    unsigned char piece[4096];
    for (size_t done = 0; done < count;) {
        size_t take = sizeof piece / bytes;
        take = take < count - done ? take : count - done;
        enum phy_status status = phy_gguf_read(gguf, piece, take * bytes, v->at + (first + done) * bytes);
        if (status)
            return status;
        for (size_t i = 0; i < take; i++, done++) {
            uint64_t bits = 0;
            for (uint32_t b = 0; b < bytes; b++)
                bits |= (uint64_t)piece[i * bytes + b] << 8 * b;
            if (whole ? !to_i64(bits, element, whole + done) : !to_f64(bits, element, real + done))
                return phy_gguf_fail_key(gguf, index, PHY_ERR_FORMAT, "element %llu is not a number of the right kind",
                                         (unsigned long long)(first + done));
        }
    }
    return PHY_OK;
}

enum phy_status phy_gguf_load_i64(const struct phy_gguf *gguf, size_t index, uint64_t first, size_t count, int64_t *out)
{
    return load_numbers(gguf, index, first, count, out, NULL);
}

enum phy_status phy_gguf_load_f64(const struct phy_gguf *gguf, size_t index, uint64_t first, size_t count, double *out)
{
    return load_numbers(gguf, index, first, count, NULL, out);
}

/* ---- messages ---- */

static enum phy_status fail_item(const struct phy_gguf *gguf, const char *item, const struct phy_names *names,
                                 size_t index, enum phy_status status, const char *format, va_list args)
{
    char fact[512], quoted[PHY_QUOTED_BYTES];
    size_t bytes;
    const char *name = phy_names_at(names, index, &bytes);
    vsnprintf(fact, sizeof fact, format, args);
    return phy_fail(gguf->host, status, "%s: %s %zu %s: %s", gguf->file, item, index, phy_quote(quoted, name, bytes),
                    fact);
}

enum phy_status phy_gguf_fail_key(const struct phy_gguf *gguf, size_t index, enum phy_status status, const char *format,
                                  ...)
{
    va_list args;
    va_start(args, format);
    status = fail_item(gguf, "key", &gguf->key_names, index, status, format, args);
    va_end(args);
    return status;
}

enum phy_status phy_gguf_fail_tensor(const struct phy_gguf *gguf, size_t index, enum phy_status status,
                                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    status = fail_item(gguf, "tensor", &gguf->tensor_names, index, status, format, args);
    va_end(args);
    return status;
}
