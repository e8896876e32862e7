/* SPDX-License-Identifier: Apache-2.0 */
/* A vindex as a store. A directory may hold the FFN several times; the first of these that is there is read: FP4 and
 * FP8 files, K-quant blocks, interleaved.bin, feature files. */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "ffn/sha256.h"
#include "ffn/vindex.h"
#include "format/json_scan.h"
#include "model/config.h"

enum { LARGEST_DIMENSION = 1 << 24, MANIFEST_MAX_BYTES = 16 << 20, COMPONENTS = 3, WIDE = 256 };

struct reader {
    struct phy_ffn_store *store;
    int dir_fd;
    const cJSON *index;
    const char *file; /* that messages speak of */
    enum phy_status status;
    enum phy_weight_type gate_type;
    enum phy_q6k_order q6k_order; /* as asked for */
    const cJSON *layers;
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
    r->status = phy_fail(r->store->host, status, "%s/%s: %s", r->store->label, r->file, fact);
    return false;
}

/* ---- JSON ---- */

/* Valid to the letter, before a tree is made of it. */
static cJSON *parse(struct reader *r, char *text, size_t bytes)
{
    struct phy_json_scan scan;
    struct phy_json_token token;
    const size_t good = phy_json_utf8_end(text, bytes);
    if (good != bytes) {
        refuse(r, PHY_ERR_FORMAT, "byte %zu is not UTF-8", good);
        return NULL;
    }
    cJSON *tree = NULL;
    char *copy = phy_strndup(text, bytes);
    if (!copy) {
        r->status = phy_fail_memory(r->store->host, r->file, bytes);
        return NULL;
    }
    phy_json_begin(&scan, copy, bytes);
    while (phy_json_next(&scan, &token) != PHY_JSON_END && token.kind != PHY_JSON_ERROR)
        ;
    if (token.kind == PHY_JSON_ERROR)
        refuse(r, PHY_ERR_FORMAT, "JSON: byte %zu: %s", token.at, token.text);
    else if (!(tree = cJSON_ParseWithLength(text, bytes)))
        r->status = phy_fail_memory(r->store->host, r->file, bytes);
    phy_free(copy);
    return tree;
}

/* A whole number below 2^53. */
static bool number(struct reader *r, const cJSON *object, const char *key, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    const double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(value >= 0 && value < 0x1p53 && floor(value) == value))
        return refuse(r, PHY_ERR_FORMAT, "\"%s\" is %s", key, item ? "not a whole number below 2^53" : "missing");
    *out = (uint64_t)value;
    return true;
}

static bool size(struct reader *r, const char *key, uint32_t most, uint32_t *out)
{
    uint64_t value;
    if (!number(r, r->index, key, &value))
        return false;
    if (value < 1 || value > most)
        return refuse(r, PHY_ERR_FORMAT, "\"%s\" is %llu, not 1 to %u", key, (unsigned long long)value, most);
    *out = (uint32_t)value;
    return true;
}

static bool text(struct reader *r, const cJSON *object, const char *key, const char **out)
{
    *out = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return *out ? true : refuse(r, PHY_ERR_FORMAT, "\"%s\" is missing or no string", key);
}

/* A member that is there and not null. */
static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNull(item) ? NULL : item;
}

bool phy_is_vindex_index(const char *json, size_t bytes)
{
    cJSON *tree = cJSON_ParseWithLength(json, bytes);
    const bool is = member(tree, "num_layers") && !cJSON_GetObjectItemCaseSensitive(tree, "schema");
    cJSON_Delete(tree);
    return is;
}

/* ---- index.json ---- */

static bool check_header(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    uint64_t version, top_k;
    uint32_t vocab;
    const char *name;
    if (!cJSON_IsObject(r->index))
        return refuse(r, PHY_ERR_FORMAT, "not an object");
    if (!number(r, r->index, "version", &version))
        return false;
    if (version != 1 && version != 2)
        return refuse(r, PHY_ERR_UNSUPPORTED, "version %llu, we read 2", (unsigned long long)version);
    if (!text(r, r->index, "model", &name) || !text(r, r->index, "family", &name) ||
        !size(r, "num_layers", PHY_MAX_LAYERS, &store->layer_count) ||
        !size(r, "hidden_size", LARGEST_DIMENSION, &store->hidden) ||
        !size(r, "intermediate_size", LARGEST_DIMENSION, &store->intermediate) ||
        !size(r, "vocab_size", UINT32_MAX, &vocab) || !number(r, r->index, "down_top_k", &top_k))
        return false;
    if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(r->index, "embed_scale")))
        return refuse(r, PHY_ERR_FORMAT, "\"embed_scale\" is missing or no number");
    if (member(r->index, "ffn_layout") || member(r->index, "bitnet_layout"))
        return refuse(r, PHY_ERR_UNSUPPORTED, "mixtures of experts and ternary weights are not read");
    const cJSON *dtype = member(r->index, "dtype");
    const char *type = dtype ? cJSON_GetStringValue(dtype) : "f32";
    if (!type || (strcmp(type, "f32") != 0 && strcmp(type, "f16") != 0))
        return refuse(r, PHY_ERR_UNSUPPORTED, "\"dtype\" is neither \"f32\" nor \"f16\"");
    r->gate_type = strcmp(type, "f16") == 0 ? PHY_WEIGHT_F16 : PHY_WEIGHT_F32;
    const cJSON *quant = member(r->index, "quant");
    const char *how = quant ? cJSON_GetStringValue(quant) : "none";
    if (!how || (strcmp(how, "none") != 0 && strcmp(how, "q4k") != 0 && strcmp(how, "kquant") != 0))
        return refuse(r, PHY_ERR_UNSUPPORTED, "\"quant\" is none of \"none\", \"q4k\", \"kquant\"");
    return true;
}

/* Each layer once, as wide as the model; their places in gate_vectors.bin are looked at when that is read. */
static bool check_layers(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    const cJSON *entry;
    r->layers = cJSON_GetObjectItemCaseSensitive(r->index, "layers");
    if (!cJSON_IsArray(r->layers) || (uint64_t)cJSON_GetArraySize(r->layers) != store->layer_count)
        return refuse(r, PHY_ERR_FORMAT, "\"layers\" has %d entries, num_layers is %u",
                      cJSON_IsArray(r->layers) ? cJSON_GetArraySize(r->layers) : 0, store->layer_count);
    store->layers = phy_zalloc(store->layer_count, sizeof *store->layers);
    if (!store->layers) {
        r->status = phy_fail_memory(store->host, "the layers", store->layer_count * sizeof *store->layers);
        return false;
    }
    cJSON_ArrayForEach(entry, r->layers)
    {
        uint64_t layer, features;
        if (!number(r, entry, "layer", &layer) || !number(r, entry, "num_features", &features))
            return false;
        if (layer >= store->layer_count)
            return refuse(r, PHY_ERR_FORMAT, "layer %llu: the model has %u", (unsigned long long)layer,
                          store->layer_count);
        if (store->layers[layer].present)
            return refuse(r, PHY_ERR_FORMAT, "layer %llu is there twice: duplicate", (unsigned long long)layer);
        if (features != store->intermediate)
            return refuse(r, features ? PHY_ERR_UNSUPPORTED : PHY_ERR_FORMAT,
                          "layer %llu has %llu features: only models with %u in every layer are read",
                          (unsigned long long)layer, (unsigned long long)features, store->intermediate);
        store->layers[layer].present = true;
    }
    store->stored_layers = store->layer_count;
    return true;
}

/* ---- files ---- */

static bool exists(const struct reader *r, const char *name)
{
    struct stat there;
    return fstatat(r->dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool add_file(struct reader *r, const char *name, size_t *file)
{
    char quoted[PHY_QUOTED_BYTES];
    if (!phy_store_plain_name(name, strlen(name)))
        return refuse(r, PHY_ERR_FORMAT, "\"file\" %s is not the plain name of a file",
                      phy_quote(quoted, name, strlen(name)));
    r->status = phy_store_add_file(r->store, name, file);
    return r->status == PHY_OK;
}

static bool add(struct reader *r, uint32_t layer, enum phy_matrix_kind kind, enum phy_weight_type type, size_t file,
                uint64_t offset)
{
    const struct phy_ffn_store *store = r->store;
    struct phy_store_matrix m = {.layer = layer, .kind = kind, .type = type, .file = file, .offset = offset};
    size_t row_bytes;
    phy_store_matrix_shape(kind, store->hidden, store->intermediate, &m.rows, &m.cols);
    if (!phy_weight_row_bytes(type, m.cols, &row_bytes) || !phy_mul_u64(row_bytes, m.rows, &m.bytes))
        return refuse(r, PHY_ERR_FORMAT, "layer %u: a size overflows", layer);
    struct phy_store_matrix *to = phy_store_add_matrix(r->store);
    if (!to) {
        r->status = phy_fail_memory(store->host, "the list of matrices", sizeof *to);
        return false;
    }
    *to = m;
    return true;
}

/* Layers in order from the file's first byte: `each` bytes a layer, of which the matrix begins at `skip`. */
static bool add_run(struct reader *r, enum phy_matrix_kind kind, enum phy_weight_type type, const char *name,
                    unsigned part, unsigned parts)
{
    const uint64_t features = r->store->intermediate;
    size_t file, row_bytes;
    uint64_t each = 0;
    if (!add_file(r, name, &file))
        return false;
    if (!phy_weight_row_bytes(type, r->store->hidden, &row_bytes) || !phy_mul_u64(row_bytes, features, &each))
        return refuse(r, PHY_ERR_FORMAT, "a size overflows");
    for (uint32_t layer = 0; layer < r->store->layer_count; layer++) {
        uint64_t offset;
        if (!phy_mul_u64(each, (uint64_t)layer * parts + part, &offset))
            return refuse(r, PHY_ERR_FORMAT, "a size overflows");
        if (!add(r, layer, kind, type, file, offset))
            return false;
    }
    return true;
}

/* gate_vectors.bin by the places in "layers". */
static bool add_gates(struct reader *r)
{
    const struct phy_ffn_store *store = r->store;
    const size_t code = phy_weight_float_bytes(r->gate_type);
    const uint64_t wanted = (uint64_t)store->intermediate * store->hidden * code;
    const cJSON *entry;
    size_t file;
    if (!exists(r, "gate_vectors.bin"))
        return refuse(r, PHY_ERR_FORMAT, "gate_vectors.bin is missing");
    if (!add_file(r, "gate_vectors.bin", &file))
        return false;
    cJSON_ArrayForEach(entry, r->layers)
    {
        uint64_t layer, offset, length;
        if (!number(r, entry, "layer", &layer) || !number(r, entry, "offset", &offset) ||
            !number(r, entry, "length", &length))
            return false;
        if (length != wanted)
            return refuse(r, PHY_ERR_FORMAT, "layer %llu: length %llu, %u x %u values take %llu",
                          (unsigned long long)layer, (unsigned long long)length, store->intermediate, store->hidden,
                          (unsigned long long)wanted);
        if (offset % code)
            return refuse(r, PHY_ERR_FORMAT, "layer %llu: offset %llu is not a multiple of %zu",
                          (unsigned long long)layer, (unsigned long long)offset, code);
        if (!add(r, (uint32_t)layer, PHY_MATRIX_GATE, r->gate_type, file, offset))
            return false;
    }
    return true;
}

/* ---- FP4 and FP8 ---- */

static bool check_fp4_words(struct reader *r, const cJSON *fp4)
{
    static const struct {
        const char *key, *value;
    } words[] = {{"sub_block_scale_dtype", "fp8_e4m3"},
                 {"block_scale_dtype", "fp8_e4m3"},
                 {"value_encoding", "fp4_e2m1_mxfp4_nibble_order"}};
    static const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"fp4_format_version", 1}, {"block_elements", 256}, {"sub_block_elements", 32}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t value;
        if (!number(r, fp4, numbers[i].key, &value))
            return false;
        if (value != numbers[i].value)
            return refuse(r, PHY_ERR_UNSUPPORTED, "fp4: \"%s\" is %llu, we read %llu", numbers[i].key,
                          (unsigned long long)value, (unsigned long long)numbers[i].value);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *value;
        if (!text(r, fp4, words[i].key, &value))
            return false;
        if (strcmp(value, words[i].value) != 0)
            return refuse(r, PHY_ERR_UNSUPPORTED, "fp4: \"%s\" is not \"%s\"", words[i].key, words[i].value);
    }
    const cJSON *gate = cJSON_GetObjectItemCaseSensitive(fp4, "compliance_gate");
    if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(gate, "threshold_ratio")) ||
        !cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(gate, "min_compliant_fraction")) ||
        !cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(gate, "fallback_precision")) ||
        !cJSON_GetObjectItemCaseSensitive(fp4, "compliance_report"))
        return refuse(r, PHY_ERR_FORMAT, "fp4: \"compliance_gate\" or \"compliance_report\" is not complete");
    return true;
}

/* A projection by its precision; a float one by its size, whatever it says. */
static bool add_projection(struct reader *r, const cJSON *fp4, const char *name, enum phy_matrix_kind kind)
{
    const cJSON *projection =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(fp4, "projections"), name);
    const char *precision, *file;
    if (!text(r, projection, "precision", &precision) || !text(r, projection, "file", &file))
        return false;
    const bool four = strcmp(precision, "fp4") == 0, eight = strcmp(precision, "fp8") == 0;
    if (!four && !eight && strcmp(precision, "f16") != 0 && strcmp(precision, "f32") != 0)
        return refuse(r, PHY_ERR_UNSUPPORTED, "fp4: the precision of %s is none of fp4, fp8, f16, f32", name);
    if (four || eight) {
        if (r->store->hidden % WIDE)
            return refuse(r, PHY_ERR_FORMAT, "fp4: hidden_size %u is not a multiple of %d, as this format needs",
                          r->store->hidden, WIDE);
        return add_run(r, kind, four ? PHY_WEIGHT_FP4 : PHY_WEIGHT_FP8, file, 0, 1);
    }
    if (kind == PHY_MATRIX_GATE)
        return add_gates(r);
    struct stat there;
    if (!phy_store_plain_name(file, strlen(file)) || fstatat(r->dir_fd, file, &there, AT_SYMLINK_NOFOLLOW) != 0)
        return refuse(r, PHY_ERR_FORMAT, "fp4: the file of %s is missing or has no plain name", name);
    const uint64_t values =
        (uint64_t)r->store->layer_count * r->store->intermediate * (uint64_t)r->store->hidden; /* below 2^58 */
    return add_run(r, kind, (uint64_t)there.st_size == 2 * values ? PHY_WEIGHT_F16 : PHY_WEIGHT_F32, file, 0, 1);
}

static bool add_fp4(struct reader *r, const cJSON *fp4)
{
    return check_fp4_words(r, fp4) && add_projection(r, fp4, "gate", PHY_MATRIX_GATE) &&
           add_projection(r, fp4, "up", PHY_MATRIX_UP) && add_projection(r, fp4, "down", PHY_MATRIX_DOWN_BY_FEATURE);
}

/* ---- K-quant ---- */

static bool add_entry(struct reader *r, const cJSON *entry, unsigned at, size_t file, uint64_t *end)
{
    static const enum phy_matrix_kind kinds[] = {PHY_MATRIX_GATE, PHY_MATRIX_UP, PHY_MATRIX_DOWN};
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const char *format;
    uint64_t offset, length;
    if (!text(r, entry, "format", &format) || !number(r, entry, "offset", &offset) ||
        !number(r, entry, "length", &length))
        return false;
    const bool q4 = strcmp(format, "Q4_K") == 0;
    if (!q4 && strcmp(format, "Q6_K") != 0)
        return refuse(r, PHY_ERR_UNSUPPORTED, "entry %u: the format is neither Q4_K nor Q6_K", at);
    if (!add(r, at / COMPONENTS, kinds[at % COMPONENTS], q4 ? PHY_WEIGHT_Q4_K : PHY_WEIGHT_Q6_K, file, offset))
        return false;
    const struct phy_store_matrix *m = &r->store->matrices[r->store->matrix_count - 1];
    const uint64_t padded = phy_ceil_div(m->cols, WIDE) * WIDE;
    const cJSON *rows = cJSON_GetArrayItem(shape, 0), *cols = cJSON_GetArrayItem(shape, 1);
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) != 2 || !cJSON_IsNumber(rows) || !cJSON_IsNumber(cols) ||
        rows->valuedouble != (double)m->rows || cols->valuedouble != (double)padded)
        return refuse(r, PHY_ERR_FORMAT, "entry %u: the shape is not [%llu, %llu]", at, (unsigned long long)m->rows,
                      (unsigned long long)padded);
    if (length != m->bytes)
        return refuse(r, PHY_ERR_FORMAT, "entry %u: length %llu, its blocks take %llu", at, (unsigned long long)length,
                      (unsigned long long)m->bytes);
    if (offset != *end)
        return refuse(r, PHY_ERR_FORMAT, "entry %u: offset %llu, the one before ends at %llu", at,
                      (unsigned long long)offset, (unsigned long long)*end);
    *end += length;
    return true;
}

static bool add_kquant(struct reader *r, const char *data, const char *manifest_name)
{
    char *json;
    size_t bytes, file;
    unsigned at = 0;
    uint64_t end = 0;
    const cJSON *entry;
    if (!exists(r, manifest_name))
        return refuse(r, PHY_ERR_FORMAT, "%s has no manifest %s", data, manifest_name);
    if (!add_file(r, data, &file))
        return false;
    r->status = phy_store_read_text(r->store, r->dir_fd, manifest_name, MANIFEST_MAX_BYTES, &json, &bytes);
    if (r->status != PHY_OK)
        return false;
    r->file = manifest_name;
    cJSON *manifest = parse(r, json, bytes);
    phy_free(json);
    const uint64_t wanted = (uint64_t)COMPONENTS * r->store->layer_count;
    bool good = manifest != NULL;
    if (good && (!cJSON_IsArray(manifest) || (uint64_t)cJSON_GetArraySize(manifest) != wanted))
        good = refuse(r, PHY_ERR_FORMAT, "not an array of %llu entries", (unsigned long long)wanted);
    if (good) {
        cJSON_ArrayForEach(entry, manifest)
        {
            good = good && add_entry(r, entry, at, file, &end);
            at++;
        }
    }
    cJSON_Delete(manifest);
    return good;
}

/* ---- which files ---- */

static bool choose(struct reader *r)
{
    const cJSON *fp4 = member(r->index, "fp4");
    r->store->layout = PHY_LAYOUT_BY_FEATURE;
    if (fp4)
        return add_fp4(r, fp4);
    r->store->layout = PHY_LAYOUT_SPLIT;
    if (exists(r, "interleaved_kquant.bin"))
        return add_kquant(r, "interleaved_kquant.bin", "interleaved_kquant_manifest.json");
    if (exists(r, "interleaved_q4k.bin"))
        return add_kquant(r, "interleaved_q4k.bin", "interleaved_q4k_manifest.json");
    r->store->layout = PHY_LAYOUT_BY_FEATURE;
    if (exists(r, "interleaved.bin"))
        return add_run(r, PHY_MATRIX_GATE, PHY_WEIGHT_F32, "interleaved.bin", 0, 3) &&
               add_run(r, PHY_MATRIX_UP, PHY_WEIGHT_F32, "interleaved.bin", 1, 3) &&
               add_run(r, PHY_MATRIX_DOWN_BY_FEATURE, PHY_WEIGHT_F32, "interleaved.bin", 2, 3);
    if (exists(r, "up_features.bin") && exists(r, "down_features.bin"))
        return add_gates(r) && add_run(r, PHY_MATRIX_UP, PHY_WEIGHT_F32, "up_features.bin", 0, 1) &&
               add_run(r, PHY_MATRIX_DOWN_BY_FEATURE, PHY_WEIGHT_F32, "down_features.bin", 0, 1);
    return refuse(r, PHY_ERR_UNSUPPORTED,
                  "no FFN in it that we read: interleaved.bin, up_features.bin and down_features.bin, "
                  "interleaved_kquant.bin, or FP4 files");
}

/* ---- data ---- */

/* Every file is exactly what its matrices take, and none of them lies over another. */
static bool check_sizes(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    for (size_t f = 0; f < store->file_count; f++) {
        uint64_t sum = 0, end = 0;
        const uint64_t bytes = store->files[f].bytes;
        r->file = store->files[f].name;
        for (size_t i = 0; i < store->matrix_count; i++) {
            const struct phy_store_matrix *m = &store->matrices[i];
            if (m->file != f)
                continue;
            if (m->offset > bytes || m->bytes > bytes - m->offset)
                return refuse(r, PHY_ERR_FORMAT, "layer %u %s: bytes %llu+%llu exceed the file's %llu", m->layer,
                              phy_matrix_kind_name(m->kind), (unsigned long long)m->offset,
                              (unsigned long long)m->bytes, (unsigned long long)bytes);
            sum += m->bytes;
            end = m->offset + m->bytes > end ? m->offset + m->bytes : end;
        }
        /* As many bytes as all of them, up to the end of the last: if two overlap there is a hole elsewhere. */
        if (sum != bytes || end != bytes)
            return refuse(r, PHY_ERR_FORMAT, "%llu bytes, its matrices take %llu", (unsigned long long)bytes,
                          (unsigned long long)sum);
    }
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Of gate_vectors.bin, whose places are the index's: with equal sizes they must be the multiples of one. */
static bool check_gates_apart(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    uint64_t *offsets = phy_alloc(store->layer_count, sizeof *offsets);
    size_t count = 0;
    uint64_t each = 1;
    if (!offsets) {
        r->status = phy_fail_memory(store->host, "offsets", store->layer_count * sizeof *offsets);
        return false;
    }
    for (size_t i = 0; i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        if (m->kind != PHY_MATRIX_GATE || strcmp(store->files[m->file].name, "gate_vectors.bin") != 0)
            continue;
        offsets[count++] = m->offset;
        each = m->bytes;
    }
    qsort(offsets, count, sizeof *offsets, by_offset);
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        r->file = "gate_vectors.bin";
        good = offsets[i] == i * each ||
               refuse(r, PHY_ERR_FORMAT, "two layers overlap: one begins at %llu, the one before ends at %llu",
                      (unsigned long long)offsets[i], (unsigned long long)(i * each));
    }
    phy_free(offsets);
    return good;
}

static bool check_sums(struct reader *r)
{
    const cJSON *sums = member(r->index, "checksums");
    for (size_t f = 0; f < r->store->file_count; f++) {
        const struct phy_store_file *file = &r->store->files[f];
        const char *wanted = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(sums, file->name));
        char sum[PHY_SHA256_TEXT_BYTES];
        if (!wanted)
            continue;
        phy_sha256_text(file->mapping.data, file->bytes, sum);
        r->file = file->name;
        if (strcmp(sum, wanted) != 0)
            return refuse(r, PHY_ERR_FORMAT, "its SHA-256 is not the one in index.json: the file is damaged");
    }
    return true;
}

/* Q6_K in ggml's order, whichever it has in the file. */
static bool order_q6k(struct reader *r, struct phy_store_matrix *m)
{
    enum { BLOCK = 210 };
    const size_t count = m->bytes / BLOCK;
    r->file = r->store->files[m->file].name;
    const enum phy_q6k_order order = r->q6k_order ? r->q6k_order : phy_q6k_order_of(m->data, count);
    if (order == PHY_Q6K_TOLD_BY_CODES)
        return refuse(r, PHY_ERR_FORMAT,
                      "layer %u %s: its Q6_K blocks do not tell in which order their values lie: say --q6k-order pairs "
                      "or --q6k-order ggml",
                      m->layer, phy_matrix_kind_name(m->kind));
    if (order == PHY_Q6K_GGML)
        return true;
    uint8_t *ordered = phy_alloc(m->bytes, 1);
    if (!ordered) {
        r->status = phy_fail_memory(r->store->host, "Q6_K blocks", m->bytes);
        return false;
    }
    phy_q6k_reorder(m->data, count, ordered);
    m->owned = ordered;
    m->data = ordered;
    return true;
}

/* The directory has no digests of its own that cover everything. */
static bool digest_data(struct reader *r)
{
    struct phy_ffn_store *store = r->store;
    XXH3_state_t *state = XXH3_createState();
    if (!state) {
        r->status = phy_fail_memory(store->host, "a digest", sizeof state);
        return false;
    }
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, store->digest, strlen(store->digest)); /* so far: of index.json */
    for (size_t i = 0; i < store->matrix_count; i++) {
        struct phy_store_matrix *m = &store->matrices[i];
        m->xxh3 = XXH3_64bits(m->data, m->bytes);
        XXH3_128bits_update(state, &m->xxh3, sizeof m->xxh3);
    }
    const XXH128_hash_t sum = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(store->digest, sizeof store->digest, "%016llx%016llx", (unsigned long long)sum.high64,
             (unsigned long long)sum.low64);
    r->file = "";
    return !phy_ffn_store_torn(store) || refuse(r, PHY_ERR_IO, "a file became shorter while it was read");
}

static int by_layer(const void *a, const void *b)
{
    const struct phy_store_matrix *m = a, *n = b;
    return m->layer != n->layer ? (m->layer < n->layer ? -1 : 1) : (int)m->kind - (int)n->kind;
}

static bool read_data(struct reader *r, bool trust)
{
    struct phy_ffn_store *store = r->store;
    qsort(store->matrices, store->matrix_count, sizeof *store->matrices, by_layer);
    r->status = phy_store_map_files(store, r->dir_fd);
    if (r->status != PHY_OK || !check_sizes(r) || !check_gates_apart(r) || (!trust && !check_sums(r)))
        return false;
    for (size_t i = 0; i < store->matrix_count; i++) {
        struct phy_store_matrix *m = &store->matrices[i];
        m->data = store->files[m->file].mapping.data + m->offset;
        if (m->type == PHY_WEIGHT_Q6_K && !order_q6k(r, m))
            return false;
    }
    return digest_data(r);
}

enum phy_status phy_vindex_open(struct phy_ffn_store *store, int dir_fd, char *json, size_t bytes, bool trust,
                                enum phy_q6k_order order)
{
    struct reader r = {.store = store, .dir_fd = dir_fd, .file = PHY_STORE_INDEX, .q6k_order = order};
    cJSON *index = parse(&r, json, bytes);
    r.index = index;
    if (index && check_header(&r) && check_layers(&r) && choose(&r) && read_data(&r, trust))
        phy_store_hand_out(store);
    cJSON_Delete(index);
    return r.status;
}
