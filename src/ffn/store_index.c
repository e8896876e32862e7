/* SPDX-License-Identifier: Apache-2.0 */
/* index.json of a store, front to back: every key known, once and present. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "ffn/store_parts.h"
#include "format/json_scan.h"
#include "model/config.h"
#include "quant/bitmap.h"

enum { LARGEST_DIMENSION = 1 << 24 };

struct reader {
    struct phy_ffn_store *store;
    struct phy_json_scan scan;
    struct phy_json_token token; /* the first of the value that is to be taken */
    char where[64];              /* "layer 3 gate_up: ", and "layer 3 matrix 0: " until it has been named */
    enum phy_status status;
    uint32_t layer; /* of the entry at work */
    size_t first_matrix;
};

static bool refuse(struct reader *r, enum phy_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(struct reader *r, enum phy_status status, const char *format, ...)
{
    char fact[600];
    va_list args;
    va_start(args, format);
    vsnprintf(fact, sizeof fact, format, args);
    va_end(args);
    r->status = phy_fail(r->store->host, status, "%s/%s: %s%s", r->store->label, PHY_STORE_INDEX, r->where, fact);
    return false;
}

/* ---- values ---- */

static bool next(struct reader *r)
{
    if (phy_json_next(&r->scan, &r->token) == PHY_JSON_ERROR)
        return refuse(r, PHY_ERR_FORMAT, "JSON: byte %zu: %s", r->token.at, r->token.text);
    return true;
}

static bool expect(struct reader *r, enum phy_json_kind kind, const char *key)
{
    return r->token.kind == kind ? true
                                 : refuse(r, PHY_ERR_FORMAT, "\"%s\" is %s, not %s", key,
                                          phy_json_kind_name(r->token.kind), phy_json_kind_name(kind));
}

static bool take_u64(struct reader *r, const char *key, uint64_t *out)
{
    if (!expect(r, PHY_JSON_NUMBER, key))
        return false;
    return phy_json_whole_number(&r->token, out)
               ? true
               : refuse(r, PHY_ERR_FORMAT, "\"%s\" is not a whole number below 2^53", key);
}

static bool take_size(struct reader *r, const char *key, uint64_t largest, uint32_t *out)
{
    uint64_t value;
    if (!take_u64(r, key, &value))
        return false;
    if (value < 1 || value > largest)
        return refuse(r, PHY_ERR_FORMAT, "\"%s\" is %llu, not 1 to %llu", key, (unsigned long long)value,
                      (unsigned long long)largest);
    *out = (uint32_t)value;
    return true;
}

/* A string of at most capacity - 1 bytes without U+0000. */
static bool take_text(struct reader *r, const char *key, char *out, size_t capacity)
{
    if (!expect(r, PHY_JSON_STRING, key))
        return false;
    if (r->token.bytes >= capacity || memchr(r->token.text, 0, r->token.bytes))
        return refuse(r, PHY_ERR_FORMAT, "\"%s\" is too long or holds U+0000", key);
    memcpy(out, r->token.text, r->token.bytes + 1);
    return true;
}

/* 16 lower-case hex digits. */
static bool take_digest(struct reader *r, const char *key, uint64_t *out)
{
    char text[17];
    *out = 0;
    if (!take_text(r, key, text, sizeof text))
        return false;
    for (size_t i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            return refuse(r, PHY_ERR_FORMAT, "\"%s\" is not 16 lower-case hex digits", key);
        *out = *out << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

/* ---- objects and arrays ---- */

typedef bool take_value(struct reader *r, int key, const char *name, void *into);

/* An object with exactly these keys, each once, in any order. */
static bool take_object(struct reader *r, const char *what, const char *const *keys, int count, take_value *take,
                        void *into)
{
    unsigned seen = 0;
    if (!expect(r, PHY_JSON_OBJECT, what))
        return false;
    for (;;) {
        if (!next(r))
            return false;
        if (r->token.kind == PHY_JSON_OBJECT_END)
            break;
        int key = 0;
        while (key < count && !phy_json_is(&r->token, keys[key]))
            key++;
        char quoted[PHY_QUOTED_BYTES];
        if (key == count)
            return refuse(r, PHY_ERR_FORMAT, "key %s is not known in %s",
                          phy_quote(quoted, r->token.text, r->token.bytes), what);
        if (seen & 1u << key)
            return refuse(r, PHY_ERR_FORMAT, "key \"%s\" is there twice: duplicate", keys[key]);
        seen |= 1u << key;
        if (!next(r) || !take(r, key, keys[key], into))
            return false;
    }
    for (int key = 0; key < count; key++) {
        if (!(seen & 1u << key))
            return refuse(r, PHY_ERR_FORMAT, "key \"%s\" is missing in %s", keys[key], what);
    }
    return true;
}

typedef bool take_item(struct reader *r);

static bool take_array(struct reader *r, const char *what, take_item *take)
{
    if (!expect(r, PHY_JSON_ARRAY, what))
        return false;
    for (;;) {
        if (!next(r))
            return false;
        if (r->token.kind == PHY_JSON_ARRAY_END)
            return true;
        if (!take(r))
            return false;
    }
}

/* ---- a matrix ---- */

static const char *const matrix_keys[] = {"name", "file", "offset", "bytes", "format", "rows", "cols", "xxh3"};
enum { M_NAME, M_FILE, M_OFFSET, M_BYTES, M_FORMAT, M_ROWS, M_COLS, M_XXH3, M_COUNT };

static bool take_file(struct reader *r, const char *key, struct phy_store_matrix *m)
{
    char name[PHY_STORE_NAME_BYTES], quoted[PHY_QUOTED_BYTES];
    if (!take_text(r, key, name, sizeof name))
        return false;
    if (!phy_store_plain_name(name, strlen(name)))
        return refuse(r, PHY_ERR_FORMAT, "\"file\" %s is not the plain name of a file",
                      phy_quote(quoted, name, strlen(name)));
    r->status = phy_store_add_file(r->store, name, &m->file);
    return r->status == PHY_OK;
}

static bool take_matrix_value(struct reader *r, int key, const char *name, void *into)
{
    struct phy_store_matrix *m = into;
    char text[64], quoted[PHY_QUOTED_BYTES];
    switch (key) {
    case M_NAME:
        if (!take_text(r, name, text, sizeof text))
            return false;
        if (!phy_matrix_kind_named(text, &m->kind))
            return refuse(r, PHY_ERR_FORMAT, "no matrix is named %s", phy_quote(quoted, text, strlen(text)));
        snprintf(r->where, sizeof r->where, "layer %u %s: ", r->layer, phy_matrix_kind_name(m->kind));
        return true;
    case M_FILE:
        return take_file(r, name, m);
    case M_FORMAT:
        if (!take_text(r, name, text, sizeof text))
            return false;
        return phy_weight_type_named(text, &m->type)
                   ? true
                   : refuse(r, PHY_ERR_UNSUPPORTED, "format %s is not one that we read",
                            phy_quote(quoted, text, strlen(text)));
    case M_XXH3:
        return take_digest(r, name, &m->xxh3);
    default:
        return take_u64(r, name,
                        key == M_OFFSET  ? &m->offset
                        : key == M_BYTES ? &m->bytes
                        : key == M_ROWS  ? &m->rows
                                         : &m->cols);
    }
}

static bool take_matrix(struct reader *r)
{
    struct phy_store_matrix *m = phy_store_add_matrix(r->store);
    if (!m) {
        r->status = phy_fail_memory(r->store->host, "the list of matrices", sizeof *m);
        return false;
    }
    m->layer = r->layer;
    struct phy_store_matrix taken = *m;
    snprintf(r->where, sizeof r->where, "layer %u matrix %zu: ", r->layer,
             r->store->matrix_count - r->first_matrix - 1);
    if (!take_object(r, "a matrix", matrix_keys, M_COUNT, take_matrix_value, &taken))
        return false;
    *m = taken;
    snprintf(r->where, sizeof r->where, "layer %u: ", r->layer);
    return true;
}

/* ---- a layer ---- */

static const char *const source_keys[] = {"gate", "up", "down"};
static const char *const layer_keys[] = {"layer", "source", "matrices"};
enum { L_LAYER, L_SOURCE, L_MATRICES, L_COUNT };

struct layer_entry {
    uint64_t source[PHY_FFN_SOURCE_COUNT];
    bool has_layer;
};

static bool take_source(struct reader *r, int key, const char *name, void *into)
{
    return take_digest(r, name, &((struct layer_entry *)into)->source[key]);
}

static bool take_layer_value(struct reader *r, int key, const char *name, void *into)
{
    struct layer_entry *entry = into;
    uint64_t value;
    if (key == L_SOURCE)
        return take_object(r, "source", source_keys, PHY_FFN_SOURCE_COUNT, take_source, entry);
    if (key == L_MATRICES) {
        if (!entry->has_layer)
            return refuse(r, PHY_ERR_FORMAT, "\"layer\" must come before \"matrices\"");
        r->first_matrix = r->store->matrix_count;
        return take_array(r, "matrices", take_matrix);
    }
    if (!take_u64(r, name, &value))
        return false;
    if (value >= r->store->layer_count)
        return refuse(r, PHY_ERR_FORMAT, "layer %llu: the model has %u", (unsigned long long)value,
                      r->store->layer_count);
    if (r->store->layers[value].present)
        return refuse(r, PHY_ERR_FORMAT, "layer %llu is there twice: duplicate", (unsigned long long)value);
    r->layer = (uint32_t)value;
    entry->has_layer = true;
    snprintf(r->where, sizeof r->where, "layer %u: ", r->layer);
    return true;
}

/* How many values there are only the data says, which is looked at later: no fewer than none, no more than all. */
static bool check_bitmap_bytes(struct reader *r, const struct phy_store_matrix *m)
{
    struct phy_bitmap view;
    uint64_t least, most, all;
    if (!phy_bitmap_view(&view, m->type, NULL, m->rows, m->cols) || !phy_bitmap_bytes(&view, 0, &least) ||
        !phy_mul_u64(m->rows, m->cols, &all))
        return refuse(r, PHY_ERR_FORMAT, "the size overflows");
    if (!phy_bitmap_bytes(&view, phy_min_u64(all, UINT32_MAX), &most) || m->bytes < least || m->bytes > most)
        return refuse(r, PHY_ERR_FORMAT, "%llu bytes, a bitmap of %llu rows and %llu columns takes %llu to %llu",
                      (unsigned long long)m->bytes, (unsigned long long)m->rows, (unsigned long long)m->cols,
                      (unsigned long long)least, (unsigned long long)most);
    return true;
}

/* What the layout wants, no more and no less, of the right formats and shapes. */
static bool check_layer(struct reader *r)
{
    const struct phy_ffn_store *store = r->store;
    enum phy_matrix_kind kinds[3];
    size_t wanted = phy_store_layout_kinds(store->layout, kinds), given = store->matrix_count - r->first_matrix;
    if (given != wanted)
        return refuse(r, PHY_ERR_FORMAT, "%zu matrices, layout %s has %zu", given, phy_store_layout_name(store->layout),
                      wanted);
    for (size_t k = 0; k < wanted; k++) {
        const struct phy_store_matrix *m = &store->matrices[r->first_matrix + k];
        uint64_t rows, cols, bytes;
        size_t row_bytes;
        if (m->kind != kinds[k])
            return refuse(r, PHY_ERR_FORMAT, "matrix %zu is \"%s\", layout %s has \"%s\" there", k,
                          phy_matrix_kind_name(m->kind), phy_store_layout_name(store->layout),
                          phy_matrix_kind_name(kinds[k]));
        snprintf(r->where, sizeof r->where, "layer %u %s: ", r->layer, phy_matrix_kind_name(m->kind));
        if (m->offset % PHY_STORE_ALIGNMENT)
            return refuse(r, PHY_ERR_FORMAT, "offset %llu is not a multiple of %d", (unsigned long long)m->offset,
                          PHY_STORE_ALIGNMENT);
        phy_store_matrix_shape(m->kind, store->hidden, store->intermediate, &rows, &cols);
        if (m->rows != rows || m->cols != cols)
            return refuse(r, PHY_ERR_FORMAT, "shape (%llu, %llu), the model makes it (%llu, %llu)",
                          (unsigned long long)m->rows, (unsigned long long)m->cols, (unsigned long long)rows,
                          (unsigned long long)cols);
        if (!phy_store_type_fits(store->known, m->kind, m->type))
            return refuse(r, PHY_ERR_FORMAT, "format \"%s\", scheme %s has \"%s\"", phy_weight_format(m->type)->name,
                          store->known->name, phy_weight_format(phy_store_matrix_type(store->known, m->kind))->name);
        if (phy_weight_is_bitmap(m->type)) {
            if (!check_bitmap_bytes(r, m))
                return false;
            continue;
        }
        if (!phy_weight_row_bytes(m->type, cols, &row_bytes) || !phy_mul_u64(row_bytes, rows, &bytes))
            return refuse(r, PHY_ERR_FORMAT, "the size overflows");
        if (m->bytes != bytes)
            return refuse(r, PHY_ERR_FORMAT, "%llu bytes, %llu rows of %zu are %llu", (unsigned long long)m->bytes,
                          (unsigned long long)rows, row_bytes, (unsigned long long)bytes);
    }
    return true;
}

static bool take_layer(struct reader *r)
{
    struct layer_entry entry = {0};
    snprintf(r->where, sizeof r->where, "entry %u of \"layers\": ", r->store->stored_layers);
    if (!take_object(r, "a layer", layer_keys, L_COUNT, take_layer_value, &entry) || !check_layer(r))
        return false;
    struct phy_store_layer *layer = &r->store->layers[r->layer];
    layer->present = layer->has_source = true;
    memcpy(layer->source_xxh3, entry.source, sizeof entry.source);
    r->store->stored_layers++;
    r->where[0] = 0;
    return true;
}

/* ---- the whole ---- */

static const char *const model_keys[] = {"model_type", "hidden_size", "intermediate_size", "layer_count", "activation"};
enum { MODEL_TYPE, MODEL_HIDDEN, MODEL_INTERMEDIATE, MODEL_LAYERS, MODEL_ACTIVATION, MODEL_COUNT };

static bool take_model_value(struct reader *r, int key, const char *name, void *into)
{
    struct phy_ffn_store *store = into;
    switch (key) {
    case MODEL_TYPE:
        return take_text(r, name, store->model_type, sizeof store->model_type);
    case MODEL_HIDDEN:
        return take_size(r, name, LARGEST_DIMENSION, &store->hidden);
    case MODEL_INTERMEDIATE:
        return take_size(r, name, LARGEST_DIMENSION, &store->intermediate);
    case MODEL_LAYERS:
        return take_size(r, name, PHY_MAX_LAYERS, &store->layer_count);
    default:
        if (!take_text(r, name, store->activation, sizeof store->activation))
            return false;
        return strcmp(store->activation, "silu") == 0 || strcmp(store->activation, "gelu_tanh") == 0
                   ? true
                   : refuse(r, PHY_ERR_UNSUPPORTED, "activation is neither \"silu\" nor \"gelu_tanh\"");
    }
}

static const char *const top_keys[] = {"schema", "kind", "scheme", "layout", "model", "layers"};
enum { T_SCHEMA, T_KIND, T_SCHEME, T_LAYOUT, T_MODEL, T_LAYERS, T_COUNT };

static bool take_scheme(struct reader *r, const char *name)
{
    char text[64], quoted[PHY_QUOTED_BYTES];
    if (!take_text(r, name, text, sizeof text))
        return false;
    r->store->known = phy_store_scheme_named(text);
    return r->store->known ? true
                           : refuse(r, PHY_ERR_UNSUPPORTED, "scheme %s is not one that we read",
                                    phy_quote(quoted, text, strlen(text)));
}

static bool take_layout(struct reader *r, const char *name)
{
    char text[64], quoted[PHY_QUOTED_BYTES];
    if (!take_text(r, name, text, sizeof text))
        return false;
    return phy_store_layout_named(text, &r->store->layout)
               ? true
               : refuse(r, PHY_ERR_UNSUPPORTED, "layout %s is not one that we read",
                        phy_quote(quoted, text, strlen(text)));
}

static bool take_layers(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    if (!store->known || store->layout == PHY_LAYOUT_COUNT || !store->layer_count || !store->intermediate ||
        !store->hidden)
        return refuse(r, PHY_ERR_FORMAT, "\"scheme\", \"layout\" and \"model\" must come before \"layers\"");
    if (!phy_store_layout_allowed(store->known, store->layout))
        return refuse(r, PHY_ERR_FORMAT,
                      phy_weight_is_bitmap(store->known->types[PHY_FFN_GATE])
                          ? "scheme %s has rows of no fixed length: its layout is split"
                          : "scheme %s has gate and up of two formats, layout interleaved has one",
                      store->known->name);
    store->layers = phy_zalloc(store->layer_count, sizeof *store->layers);
    if (!store->layers) {
        r->status = phy_fail_memory(store->host, "the layers", store->layer_count * sizeof *store->layers);
        return false;
    }
    return take_array(r, "layers", take_layer);
}

static bool take_top_value(struct reader *r, int key, const char *name, void *into)
{
    char text[64];
    uint64_t schema;
    (void)into;
    switch (key) {
    case T_SCHEMA:
        if (!take_u64(r, name, &schema))
            return false;
        return schema == PHY_STORE_SCHEMA ? true
                                          : refuse(r, PHY_ERR_UNSUPPORTED, "schema %llu, we read %d",
                                                   (unsigned long long)schema, PHY_STORE_SCHEMA);
    case T_KIND:
        if (!take_text(r, name, text, sizeof text))
            return false;
        return strcmp(text, PHY_STORE_KIND) == 0 ? true
                                                 : refuse(r, PHY_ERR_FORMAT, "\"kind\" is not \"%s\"", PHY_STORE_KIND);
    case T_SCHEME:
        return take_scheme(r, name);
    case T_LAYOUT:
        return take_layout(r, name);
    case T_MODEL:
        return take_object(r, "model", model_keys, MODEL_COUNT, take_model_value, r->store);
    default:
        return take_layers(r);
    }
}

enum phy_status phy_store_index_parse(struct phy_ffn_store *store, char *text, size_t bytes)
{
    struct reader r = {.store = store};
    size_t good = phy_json_utf8_end(text, bytes);
    if (good != bytes) {
        refuse(&r, PHY_ERR_FORMAT, "byte %zu is not UTF-8", good);
        return r.status;
    }
    store->layout = PHY_LAYOUT_COUNT;
    phy_json_begin(&r.scan, text, bytes);
    if (!next(&r) || !take_object(&r, "the index", top_keys, T_COUNT, take_top_value, NULL) || !next(&r))
        return r.status;
    if (store->stored_layers == 0)
        refuse(&r, PHY_ERR_FORMAT, "\"layers\" is empty");
    return r.status;
}
