/* SPDX-License-Identifier: Apache-2.0 */
#include "format/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "format/array.h"
#include "format/json_scan.h"
#include "format/name_set.h"

/* Rule S9. */
static const struct dtype {
    const char *name;
    uint8_t bits;
} dtypes[] = {
    {"BF16", 16},   {"F16", 16},    {"F32", 32},        {"F64", 64},        {"F4", 4},   {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"I16", 16}, {"U16", 16},
    {"I32", 32},    {"U32", 32},    {"I64", 64},        {"U64", 64},        {"C64", 64}, {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
};

/* The state of one header's reading. `names` finds duplicates: scope 0 is the header's own keys, 1 those of
 * __metadata__. */
struct reader {
    struct phy_tensor_table *table;
    const char *file;
    const struct phy_host *host;
    struct phy_json_scan scan;
    struct phy_json_token token;
    struct phy_name_set names;
};
enum { SCOPE_HEADER, SCOPE_METADATA };

/* Three keys of a tensor's entry, as bits. */
enum entry_key { KEY_DTYPE = 1, KEY_SHAPE = 2, KEY_OFFSETS = 4, ALL_KEYS = 7 };
static const struct {
    const char *name;
    enum entry_key key;
} entry_keys[] = {{"dtype", KEY_DTYPE}, {"shape", KEY_SHAPE}, {"data_offsets", KEY_OFFSETS}};

void phy_tensor_table_free(struct phy_tensor_table *table)
{
    phy_free(table->text);
    phy_free(table->rows);
    phy_free(table->dims);
    *table = (struct phy_tensor_table){0};
}

/* ---- messages ---- */

/* `<file>: tensor 12 "name": <fact>` and the status; status and format as for phy_fail. */
#define FAIL_TENSOR(r, row, status, format, ...)                                                                       \
    phy_fail((r)->host, status, "%s: tensor %" PRIu32 " %s: " format, (r)->file, (row)->header_index,                  \
             phy_quote((char[PHY_QUOTED_BYTES]){0}, (row)->name, (row)->name_bytes), ##__VA_ARGS__)

/* The token as text, for a message: a number as it is written (cut as names are), otherwise its kind. */
static const char *describe(char out[PHY_QUOTED_BYTES], const struct phy_json_token *token)
{
    if (token->kind != PHY_JSON_NUMBER)
        snprintf(out, PHY_QUOTED_BYTES, "%s", phy_json_kind_name(token->kind));
    else if (token->bytes <= 64)
        snprintf(out, PHY_QUOTED_BYTES, "%.*s", (int)token->bytes, token->text);
    else
        snprintf(out, PHY_QUOTED_BYTES, "%.64s...(%zu digits)", token->text, token->bytes);
    return out;
}

static enum phy_status fail_json(const struct reader *r)
{
    return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: JSON: byte %zu: %s", r->file, r->token.at, r->token.text);
}

static enum phy_status fail_memory(const struct reader *r)
{
    return phy_fail_memory(r->host, "a table of tensors", r->scan.bytes);
}

/* "[2, 3]" of a row's shape. */
static const char *shape_text(char out[512], const struct phy_tensor_table *table, const struct phy_tensor_row *row)
{
    size_t used = (size_t)snprintf(out, 512, "[");
    for (uint32_t i = 0; i < row->dim_count; i++)
        used += (size_t)snprintf(out + used, 512 - used, "%s%" PRIu64, i ? ", " : "", table->dims[row->first_dim + i]);
    snprintf(out + used, 512 - used, "]");
    return out;
}

/* ---- one tensor's entry ---- */

static enum phy_status read_dtype(struct reader *r, struct phy_tensor_row *row)
{
    char text[PHY_QUOTED_BYTES];
    if (r->token.kind != PHY_JSON_STRING)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "dtype is %s, not a string", phy_json_kind_name(r->token.kind));
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (phy_json_is(&r->token, dtypes[i].name)) {
            row->dtype = dtypes[i].name;
            row->element_bits = dtypes[i].bits;
            return PHY_OK;
        }
    }
    return FAIL_TENSOR(r, row, PHY_ERR_UNSUPPORTED, "unknown dtype %s", phy_quote(text, r->token.text, r->token.bytes));
}

/* Read an array of whole numbers into values, which has room for `capacity`; the later ones are checked and counted. */
static enum phy_status read_numbers(struct reader *r, const struct phy_tensor_row *row, const char *key,
                                    uint64_t *values, size_t capacity, size_t *count)
{
    char text[PHY_QUOTED_BYTES];
    if (r->token.kind != PHY_JSON_ARRAY)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "%s is %s, not an array", key, phy_json_kind_name(r->token.kind));
    *count = 0;
    for (;;) {
        uint64_t value = 0;
        enum phy_json_kind kind = phy_json_next(&r->scan, &r->token);
        if (kind == PHY_JSON_ERROR)
            return fail_json(r);
        if (kind == PHY_JSON_ARRAY_END)
            return PHY_OK;
        if (!phy_json_whole_number(&r->token, &value))
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "%s holds %s, not a whole number from 0 to 2^53 - 1", key,
                               describe(text, &r->token));
        if (*count < capacity)
            values[*count] = value;
        ++*count;
    }
}

static enum phy_status read_shape(struct reader *r, struct phy_tensor_row *row)
{
    struct phy_tensor_table *table = r->table;
    uint64_t dims[PHY_SAFETENSORS_MAX_DIMS];
    size_t count;
    enum phy_status status = read_numbers(r, row, "shape", dims, PHY_SAFETENSORS_MAX_DIMS, &count);
    if (status)
        return status;
    if (count > PHY_SAFETENSORS_MAX_DIMS)
        return FAIL_TENSOR(r, row, PHY_ERR_LIMIT, "shape has %zu dimensions; physarium reads at most %d", count,
                           PHY_SAFETENSORS_MAX_DIMS);
    uint64_t *all = phy_array_reserve(table->dims, &table->dim_capacity, table->dim_count + count, sizeof *all);
    if (!all)
        return fail_memory(r);
    table->dims = all;
    memcpy(all + table->dim_count, dims, count * sizeof *all);
    row->first_dim = (uint32_t)table->dim_count; /* a dimension takes two bytes of header: far below 2^32 */
    row->dim_count = (uint8_t)count;
    table->dim_count += count;
    return PHY_OK;
}

static enum phy_status read_offsets(struct reader *r, struct phy_tensor_row *row)
{
    uint64_t span[2];
    size_t count;
    enum phy_status status = read_numbers(r, row, "data_offsets", span, 2, &count);
    if (status)
        return status;
    if (count != 2)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "data_offsets has %zu numbers, not 2", count);
    if (span[0] > span[1])
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "data_offsets begin at %" PRIu64 ", after their end %" PRIu64,
                           span[0], span[1]);
    row->begin = span[0];
    row->bytes = span[1] - span[0];
    return PHY_OK;
}

/* Rules S10 and S11. */
static enum phy_status check_size(const struct reader *r, const struct phy_tensor_row *row)
{
    const uint64_t *dims = r->table->dims + row->first_dim;
    uint64_t bits = row->element_bits;
    bool empty = false, fits = true;
    char shape[512];
    for (uint32_t i = 0; i < row->dim_count && fits; i++) {
        empty = empty || dims[i] == 0;
        if (dims[i] != 0) /* a zero dimension does not excuse the others */
            fits = phy_mul_u64(bits, dims[i], &bits) && bits < UINT64_C(1) << 63;
    }
    if (!fits)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "%s %s: overflow: 2^63 bits or more", row->dtype,
                           shape_text(shape, r->table, row));
    if (empty)
        bits = 0;
    if (bits % 8)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "%s %s takes %" PRIu64 " bits, which is not whole bytes", row->dtype,
                           shape_text(shape, r->table, row), bits);
    if (row->bytes != bits / 8)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "data_offsets span %" PRIu64 " bytes, %s %s takes %" PRIu64,
                           row->bytes, row->dtype, shape_text(shape, r->table, row), bits / 8);
    return PHY_OK;
}

static enum phy_status read_entry_value(struct reader *r, struct phy_tensor_row *row, enum entry_key key)
{
    if (phy_json_next(&r->scan, &r->token) == PHY_JSON_ERROR)
        return fail_json(r);
    return key == KEY_DTYPE ? read_dtype(r, row) : key == KEY_SHAPE ? read_shape(r, row) : read_offsets(r, row);
}

/* Rule S5: the value of a tensor's name. */
static enum phy_status read_entry(struct reader *r, struct phy_tensor_row *row)
{
    char text[PHY_QUOTED_BYTES];
    unsigned seen = 0;
    if (r->token.kind != PHY_JSON_OBJECT)
        return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "its entry is %s, not an object", phy_json_kind_name(r->token.kind));
    for (;;) {
        enum phy_json_kind kind = phy_json_next(&r->scan, &r->token);
        if (kind == PHY_JSON_ERROR)
            return fail_json(r);
        if (kind == PHY_JSON_OBJECT_END)
            break;
        unsigned key = 0;
        for (size_t i = 0; i < sizeof entry_keys / sizeof *entry_keys; i++)
            key |= phy_json_is(&r->token, entry_keys[i].name) ? (unsigned)entry_keys[i].key : 0;
        if (!key || seen & key)
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "%s key %s", key ? "duplicate" : "unknown",
                               phy_quote(text, r->token.text, r->token.bytes));
        seen |= key;
        enum phy_status status = read_entry_value(r, row, (enum entry_key)key);
        if (status)
            return status;
    }
    for (size_t i = 0; i < sizeof entry_keys / sizeof *entry_keys; i++) {
        if (!(seen & (unsigned)entry_keys[i].key))
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT, "lacks the key %s", entry_keys[i].name);
    }
    return check_size(r, row);
}

/* ---- the header ---- */

/* Rule S4: the value of __metadata__. */
static enum phy_status read_metadata(struct reader *r)
{
    char key[PHY_QUOTED_BYTES];
    if (r->token.kind != PHY_JSON_OBJECT)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: __metadata__ is %s, not an object", r->file,
                        phy_json_kind_name(r->token.kind));
    for (;;) {
        enum phy_json_kind kind = phy_json_next(&r->scan, &r->token);
        if (kind == PHY_JSON_ERROR)
            return fail_json(r);
        if (kind == PHY_JSON_OBJECT_END)
            return PHY_OK;
        struct phy_json_token name = r->token;
        enum phy_name_added added = phy_name_set_add(&r->names, SCOPE_METADATA, name.text, name.bytes, 0, NULL);
        if (added == PHY_NAME_NO_MEMORY)
            return fail_memory(r);
        if (added == PHY_NAME_DUPLICATE)
            return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: __metadata__ has a duplicate key %s", r->file,
                            phy_quote(key, name.text, name.bytes));
        kind = phy_json_next(&r->scan, &r->token);
        if (kind == PHY_JSON_ERROR)
            return fail_json(r);
        if (kind != PHY_JSON_STRING)
            return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: __metadata__ %s is %s, not a string", r->file,
                            phy_quote(key, name.text, name.bytes), phy_json_kind_name(kind));
        if (phy_json_is(&name, "format") && phy_json_is(&r->token, "pt"))
            r->table->has_metadata_format_pt = true;
    }
}

/* One member of the header, whose key is the current token. */
static enum phy_status read_member(struct reader *r)
{
    struct phy_tensor_table *table = r->table;
    struct phy_tensor_row row = {
        .name = r->token.text, .name_bytes = (uint32_t)r->token.bytes, .header_index = (uint32_t)table->count};
    bool metadata = phy_json_is(&r->token, "__metadata__");
    struct phy_name *first;
    enum phy_name_added added =
        phy_name_set_add(&r->names, SCOPE_HEADER, row.name, row.name_bytes, row.header_index, &first);
    if (added == PHY_NAME_NO_MEMORY)
        return fail_memory(r);
    if (added == PHY_NAME_DUPLICATE && metadata)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: duplicate key \"__metadata__\"", r->file);
    if (added == PHY_NAME_DUPLICATE)
        return FAIL_TENSOR(r, &row, PHY_ERR_FORMAT, "duplicate name: it is tensor %" PRIu32 "'s too", first->value);
    if (!metadata && memchr(row.name, 0, row.name_bytes))
        return FAIL_TENSOR(r, &row, PHY_ERR_FORMAT, "the name holds U+0000");
    if (phy_json_next(&r->scan, &r->token) == PHY_JSON_ERROR)
        return fail_json(r);
    if (metadata)
        return read_metadata(r);
    enum phy_status status = read_entry(r, &row);
    if (status)
        return status;
    struct phy_tensor_row *rows = phy_array_reserve(table->rows, &table->capacity, table->count + 1, sizeof *rows);
    if (!rows)
        return fail_memory(r);
    table->rows = rows;
    rows[table->count++] = row;
    return PHY_OK;
}

static enum phy_status read_header(struct reader *r)
{
    size_t valid = phy_json_utf8_end(r->scan.text, r->scan.bytes);
    if (valid < r->scan.bytes)
        return phy_fail(r->host, PHY_ERR_FORMAT, "%s: header: byte %zu: 0x%02x is not UTF-8", r->file, valid,
                        (unsigned char)r->scan.text[valid]);
    if (phy_json_next(&r->scan, &r->token) != PHY_JSON_OBJECT)
        return fail_json(r); /* it begins with {: nothing else can come */
    for (;;) {
        enum phy_json_kind kind = phy_json_next(&r->scan, &r->token);
        if (kind == PHY_JSON_ERROR)
            return fail_json(r);
        if (kind == PHY_JSON_OBJECT_END)
            break;
        enum phy_status status = read_member(r);
        if (status)
            return status;
    }
    return phy_json_next(&r->scan, &r->token) == PHY_JSON_ERROR ? fail_json(r) : PHY_OK;
}

/* Data order; empty tensors at one place stay in the header's order. */
static int compare_rows(const void *a, const void *b)
{
    const struct phy_tensor_row *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Rule S12. Offsets are below 2^53, so their sums do not wrap. */
static enum phy_status check_cover(const struct reader *r)
{
    const struct phy_tensor_table *table = r->table;
    uint64_t end = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct phy_tensor_row *row = &table->rows[i];
        const char *exceed = row->begin + row->bytes > table->data_bytes ? ", and exceed the data section" : "";
        if (row->begin < end)
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT,
                               "data_offsets [%" PRIu64 ", %" PRIu64 "] overlap tensor %" PRIu32
                               ", which ends at %" PRIu64 "%s",
                               row->begin, row->begin + row->bytes, table->rows[i - 1].header_index, end, exceed);
        if (row->begin > end)
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT,
                               "data_offsets [%" PRIu64 ", %" PRIu64 "] leave a hole of %" PRIu64
                               " bytes before them%s",
                               row->begin, row->begin + row->bytes, row->begin - end, exceed);
        if (*exceed)
            return FAIL_TENSOR(r, row, PHY_ERR_FORMAT,
                               "data_offsets [%" PRIu64 ", %" PRIu64 "] exceed the data section of %" PRIu64 " bytes",
                               row->begin, row->begin + row->bytes, table->data_bytes);
        end = row->begin + row->bytes;
    }
    if (end < table->data_bytes)
        return phy_fail(r->host, PHY_ERR_FORMAT,
                        "%s: header: %" PRIu64 " trailing bytes after the last tensor's end at %" PRIu64, r->file,
                        table->data_bytes - end, end);
    return PHY_OK;
}

/* table->text holds the header, header_bytes and data_bytes are set. */
static enum phy_status parse(struct phy_tensor_table *table, const char *file, const struct phy_host *host)
{
    struct reader r = {.table = table, .file = file, .host = host};
    phy_json_begin(&r.scan, table->text, (size_t)(table->header_bytes - 8));
    enum phy_status status = read_header(&r);
    phy_name_set_free(&r.names);
    if (status == PHY_OK && !phy_array_sort(table->rows, table->count, sizeof *table->rows, compare_rows))
        status = fail_memory(&r);
    return status ? status : check_cover(&r);
}

/* ---- the file ---- */

/* Bytes of a file's beginning that tell what it is: the length, and enough for the words below. */
enum { PREFIX_BYTES = 20 };

/* A safetensors header of 19,280 bytes begins with "PK" as well, so this is asked only when the beginning is wrong
 * already. */
const char *phy_foreign_format(const char *prefix, size_t have)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"version https://git-lfs", "a Git LFS pointer: the file itself has not been downloaded"},
        {"PK", "a ZIP archive, which is what torch.save writes"},
        {"GGUF", "a GGUF file"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t bytes = strlen(known[i].magic);
        if (bytes > PREFIX_BYTES)
            bytes = PREFIX_BYTES;
        if (have >= bytes && memcmp(prefix, known[i].magic, bytes) == 0)
            return known[i].what;
    }
    return NULL;
}

/* Rule S1, and S2's first byte. `have` is at least 9 bytes, or all that the file has. */
static enum phy_status check_prefix(uint64_t *header_bytes, const char *prefix, size_t have, uint64_t file_bytes,
                                    const char *file, const struct phy_host *host)
{
    uint64_t n = have >= 8 ? phy_load_u64(prefix) : 0;
    *header_bytes = n;
    bool length_fits = have >= 8 && n >= 2 && n <= PHY_SAFETENSORS_MAX_HEADER && n <= file_bytes - 8;
    if (length_fits && have > 8 && prefix[8] == '{')
        return PHY_OK;
    const char *other = phy_foreign_format(prefix, have);
    if (other)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: header: this is not safetensors but %s", file, other);
    if (have < 8)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: header: %" PRIu64 " bytes are too few for its length", file,
                        file_bytes);
    if (n < 2)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: header: length %" PRIu64 " is below 2", file, n);
    if (n > PHY_SAFETENSORS_MAX_HEADER)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: header: length %" PRIu64 " is above %d", file, n,
                        PHY_SAFETENSORS_MAX_HEADER);
    if (!length_fits)
        return phy_fail(host, PHY_ERR_FORMAT, "%s: header: length %" PRIu64 " exceeds the %" PRIu64 " bytes after it",
                        file, n, file_bytes - 8);
    return phy_fail(host, PHY_ERR_FORMAT, "%s: header: JSON: byte 0: it begins with 0x%02x, not with {", file,
                    (unsigned char)prefix[8]);
}

/* A table with room for the header's text. */
static enum phy_status prepare(struct phy_tensor_table *out, uint64_t n, uint64_t file_bytes,
                               const struct phy_host *host)
{
    out->header_bytes = 8 + n;
    out->data_bytes = file_bytes - 8 - n;
    out->text = phy_alloc((size_t)n + 1, 1);
    return out->text ? PHY_OK : phy_fail_memory(host, "a safetensors header", (size_t)n);
}

enum phy_status phy_safetensors_parse(struct phy_tensor_table *out, const void *bytes, size_t have, uint64_t file_bytes,
                                      const char *file, const struct phy_host *host)
{
    uint64_t n;
    *out = (struct phy_tensor_table){0};
    enum phy_status status = check_prefix(&n, bytes, have, file_bytes, file, host);
    if (status)
        return status;
    if (n > have - 8)
        return phy_fail(host, PHY_ERR_INTERNAL, "%s: the header was not handed over whole", file);
    status = prepare(out, n, file_bytes, host);
    if (status)
        return status;
    memcpy(out->text, (const char *)bytes + 8, (size_t)n);
    status = parse(out, file, host);
    if (status)
        phy_tensor_table_free(out);
    return status;
}

enum phy_status phy_safetensors_read(struct phy_tensor_table *out, int fd, uint64_t file_bytes, const char *file,
                                     const struct phy_host *host)
{
    char prefix[PREFIX_BYTES] = {0};
    size_t have = (size_t)phy_min_u64(sizeof prefix, file_bytes);
    uint64_t n = 0;
    *out = (struct phy_tensor_table){0};
    int error = phy_pread_all(fd, prefix, have, 0);
    enum phy_status status = error ? PHY_OK : check_prefix(&n, prefix, have, file_bytes, file, host);
    if (!error && !status)
        status = prepare(out, n, file_bytes, host);
    if (!error && !status)
        error = phy_pread_all(fd, out->text, (size_t)n, 8);
    if (error)
        status = phy_fail(host, PHY_ERR_IO, "%s: reading the header: %s", file,
                          error == ENODATA ? "the file has shrunk" : strerror(error));
    if (!status)
        status = parse(out, file, host);
    if (status)
        phy_tensor_table_free(out);
    return status;
}
