/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/coverage_report.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "format/json_scan.h"
#include "report/surgery_parts.h"

/* Larger ones are not ours: 100,000 targets make a coverage.json of 30 MB, and a name is at most a header's 100 MB. */
enum { LARGEST_REPORT = 256 << 20, LARGEST_LINE = 128 << 20 };

int phy_reports_open(const char *output_path, bool is_directory)
{
    size_t bytes = strlen(output_path), size = bytes + 16;
    char *path = phy_alloc(size, 1);
    if (!path)
        return -1;
    while (bytes > 1 && output_path[bytes - 1] == '/')
        bytes--;
    snprintf(path, size, is_directory ? "%.*s/physarium" : "%.*s.physarium", (int)bytes, output_path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    phy_free(path);
    return fd;
}

/* Open a report; *fd is -1 when there is none. */
static enum phy_status open_report(int *fd, uint64_t *bytes, int dir_fd, const char *name, const struct phy_host *host)
{
    struct stat found;
    *fd = dir_fd < 0 ? -1 : openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0)
        return dir_fd < 0 || errno == ENOENT ? PHY_OK
                                             : phy_fail(host, PHY_ERR_IO, "physarium/%s: %s", name, strerror(errno));
    if (fstat(*fd, &found) == 0 && S_ISREG(found.st_mode)) {
        *bytes = (uint64_t)found.st_size;
        return PHY_OK;
    }
    phy_close(*fd);
    *fd = -1;
    return phy_fail(host, PHY_ERR_IO, "physarium/%s: not a regular file", name);
}

/* The whole report, NUL-terminated; NULL when there is none. */
static enum phy_status read_report(char **text, size_t *size, int dir_fd, const char *name, const struct phy_host *host)
{
    int fd;
    uint64_t bytes = 0;
    *text = NULL;
    enum phy_status status = open_report(&fd, &bytes, dir_fd, name, host);
    if (status != PHY_OK || fd < 0)
        return status;
    if (bytes > LARGEST_REPORT) {
        status = phy_fail(host, PHY_ERR_LIMIT, "physarium/%s: %llu bytes, more than a report has", name,
                          (unsigned long long)bytes);
    } else {
        *text = phy_alloc((size_t)bytes + 1, 1);
        if (!*text)
            status = phy_fail_memory(host, name, (size_t)bytes + 1);
    }
    int error = *text ? phy_pread_all(fd, *text, (size_t)bytes, 0) : 0;
    phy_close(fd);
    if (error) {
        phy_free(*text);
        *text = NULL;
        return phy_fail(host, PHY_ERR_IO, "physarium/%s: %s", name, strerror(error));
    }
    if (*text)
        (*text)[bytes] = 0;
    *size = (size_t)bytes;
    return status;
}

/* ---- options ---- */

/* A whole number up to `limit`; false for anything else. */
static bool take_u32(const cJSON *object, const char *key, uint32_t limit, uint32_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > limit ||
        floor(item->valuedouble) != item->valuedouble)
        return false;
    *out = (uint32_t)item->valuedouble;
    return true;
}

static bool take_globs(const cJSON *targets, const char *key, const char *const **globs, size_t *count)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(targets, key), *item;
    size_t capacity = (size_t)cJSON_GetArraySize(array), used = 0;
    /* More or longer ones than any command line has would only make us slow. */
    enum { MOST_GLOBS = 1000, LONGEST_GLOB = 4096 };
    const char **list = cJSON_IsArray(array) && capacity <= MOST_GLOBS ? phy_alloc(capacity, sizeof *list) : NULL;
    if (!list)
        return false;
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item) || strlen(item->valuestring) > LONGEST_GLOB) {
            phy_free(list);
            return false;
        }
        list[used++] = item->valuestring;
    }
    *globs = list;
    *count = used;
    return true;
}

static bool take_layers(const cJSON *targets, struct phy_target_params *out)
{
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(targets, "layers");
    if (cJSON_IsNull(layers))
        return true;
    out->has_layers = true;
    return take_u32(layers, "first", UINT32_MAX, &out->first_layer) &&
           take_u32(layers, "last", UINT32_MAX, &out->last_layer);
}

static bool take_calibration(const cJSON *parameters, struct phy_recorded_options *out)
{
    const cJSON *calibration = cJSON_GetObjectItemCaseSensitive(parameters, "calibration");
    if (cJSON_IsNull(calibration))
        return true;
    out->calibration_name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(calibration, "name"));
    out->calibration_digest = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(calibration, "digest"));
    return out->calibration_name && out->calibration_digest;
}

/* A report without a method is of the flow. */
static bool take_method(const cJSON *parameters, struct phy_recorded_options *out)
{
    const char *method = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parameters, "method"));
    const char *pattern = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parameters, "pattern"));
    const cJSON *gain = cJSON_GetObjectItemCaseSensitive(parameters, "gain");
    const cJSON *sparsity = cJSON_GetObjectItemCaseSensitive(parameters, "sparsity_asked");
    snprintf(out->method, sizeof out->method, "%.15s", method ? method : "flow");
    snprintf(out->pattern, sizeof out->pattern, "%.15s", pattern ? pattern : "");
    out->sparsity = cJSON_IsNumber(sparsity) ? sparsity->valuedouble : 0;
    if (strcmp(out->method, "flow") != 0)
        return true;
    out->gain = cJSON_IsNumber(gain) ? gain->valuedouble : 0;
    return cJSON_IsNumber(gain) && take_u32(parameters, "beta", 4, &out->beta) &&
           take_u32(parameters, "iterations", 1000, &out->iterations) &&
           take_u32(parameters, "block", 256, &out->block);
}

static bool take_options(const cJSON *root, struct phy_recorded_options *out)
{
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(root, "parameters");
    const cJSON *targets = cJSON_GetObjectItemCaseSensitive(parameters, "targets");
    return take_method(parameters, out) && take_calibration(parameters, out) &&
           take_globs(targets, "include", &out->targets.include, &out->targets.include_count) &&
           take_globs(targets, "exclude", &out->targets.exclude, &out->targets.exclude_count) &&
           take_layers(targets, &out->targets);
}

enum phy_status phy_recorded_options_read(struct phy_recorded_options *out, int dir_fd, const struct phy_host *host)
{
    char *text;
    size_t bytes = 0;
    uint32_t version = 0;
    *out = (struct phy_recorded_options){0};
    enum phy_status status = read_report(&text, &bytes, dir_fd, "surgery.json", host);
    if (status != PHY_OK || !text)
        return status;
    out->json = phy_json_utf8_end(text, bytes) == bytes ? cJSON_ParseWithLength(text, bytes) : NULL;
    phy_free(text);
    const char *schema = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(out->json, "schema"));
    if (!out->json)
        snprintf(out->problem, sizeof out->problem, "is not JSON");
    else if (!schema || strcmp(schema, "physarium.surgery") != 0)
        snprintf(out->problem, sizeof out->problem, "has not the schema \"physarium.surgery\"");
    else if (!take_u32(out->json, "schema_version", UINT32_MAX, &version) || version != PHY_SURGERY_SCHEMA_VERSION)
        snprintf(out->problem, sizeof out->problem, "has schema_version %u, we know %d", version,
                 PHY_SURGERY_SCHEMA_VERSION);
    else if (!take_options(out->json, out))
        snprintf(out->problem, sizeof out->problem, "has no complete \"parameters\"");
    else
        out->present = true;
    if (!out->present) {
        char problem[sizeof out->problem];
        memcpy(problem, out->problem, sizeof problem);
        phy_recorded_options_free(out);
        memcpy(out->problem, problem, sizeof problem);
    }
    return PHY_OK;
}

void phy_recorded_options_free(struct phy_recorded_options *options)
{
    phy_free((void *)options->targets.include);
    phy_free((void *)options->targets.exclude);
    cJSON_Delete(options->json);
    *options = (struct phy_recorded_options){0};
}

/* ---- two JSON texts, token by token ----
 * What a report should say is written by the report's own writer from what was found; numbers are compared as they are
 * written, so counts beyond 2^53 lose nothing. */

enum { PATH_DEPTH = 8 };

struct json_path {
    char key[PATH_DEPTH][48]; /* of the member at each depth */
    long index[PATH_DEPTH];   /* of the item in an array, or -1 in an object */
    unsigned depth;
};

static void path_follow(struct json_path *path, const struct phy_json_token *token)
{
    unsigned at = path->depth < PATH_DEPTH ? path->depth : PATH_DEPTH - 1;
    if (token->kind == PHY_JSON_KEY) {
        char quoted[PHY_QUOTED_BYTES];
        phy_quote(quoted, token->text, token->bytes);
        snprintf(path->key[at], sizeof path->key[at], "%.*s", (int)strlen(quoted) - 2, quoted + 1);
        return;
    }
    if (token->kind == PHY_JSON_OBJECT_END || token->kind == PHY_JSON_ARRAY_END) {
        path->depth -= path->depth > 0;
        return;
    }
    if (path->index[at] >= 0)
        path->index[at]++;
    if (token->kind == PHY_JSON_OBJECT || token->kind == PHY_JSON_ARRAY) {
        path->depth++;
        if (path->depth < PATH_DEPTH) {
            path->key[path->depth][0] = 0;
            path->index[path->depth] = token->kind == PHY_JSON_ARRAY ? 0 : -1;
        }
    }
}

/* cells[3].killed: index[] counts items that have begun, so the one at hand is index - 1. */
static void path_print(const struct json_path *path, char *out, size_t capacity)
{
    size_t used = 0;
    out[0] = 0;
    for (unsigned i = 1; i <= path->depth && i < PATH_DEPTH && used + 64 < capacity; i++) {
        if (path->index[i] > 0)
            used += (size_t)snprintf(out + used, capacity - used, "[%ld]", path->index[i] - 1);
        else if (path->key[i][0])
            used += (size_t)snprintf(out + used, capacity - used, "%s%s", used ? "." : "", path->key[i]);
    }
}

static const char *show_token(char out[160], const struct phy_json_token *token)
{
    char quoted[PHY_QUOTED_BYTES];
    if (token->kind == PHY_JSON_NUMBER)
        snprintf(out, 160, "%.*s", token->bytes < 64 ? (int)token->bytes : 64, token->text);
    else if (token->kind == PHY_JSON_STRING || token->kind == PHY_JSON_KEY)
        snprintf(out, 160, "%s", phy_quote(quoted, token->text, token->bytes < 100 ? token->bytes : 100));
    else
        snprintf(out, 160, "%s", phy_json_kind_name(token->kind));
    return out;
}

static bool same_token(const struct phy_json_token *a, const struct phy_json_token *b)
{
    bool has_text = a->kind == PHY_JSON_NUMBER || a->kind == PHY_JSON_STRING || a->kind == PHY_JSON_KEY;
    return a->kind == b->kind && (!has_text || (a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0));
}

/* Both texts are the scan's to change. */
static void compare_json(struct phy_report_verdict *out, char *there, size_t there_bytes, char *found,
                         size_t found_bytes)
{
    struct phy_json_scan a, b;
    struct phy_json_token said, right;
    struct json_path path = {.index = {-1}};
    char at[400], said_text[160], right_text[160];
    bool free_value = false; /* the program's version may differ */
    out->state = PHY_COVERAGE_REPORT_DIFFERS;
    phy_json_begin(&a, there, there_bytes);
    phy_json_begin(&b, found, found_bytes);
    do {
        phy_json_next(&a, &said);
        phy_json_next(&b, &right);
        path_follow(&path, &right);
        if (said.kind == PHY_JSON_ERROR) {
            snprintf(out->where, sizeof out->where, "it is not JSON at byte %zu", said.at);
            return;
        }
        if (!same_token(&said, &right) && !(free_value && said.kind == right.kind)) {
            path_print(&path, at, sizeof at);
            if (strcmp(at, "schema_version") == 0)
                out->state = PHY_COVERAGE_REPORT_UNKNOWN;
            snprintf(out->where, sizeof out->where, "%s is %s, found %s", *at ? at : "it", show_token(said_text, &said),
                     show_token(right_text, &right));
            return;
        }
        free_value = right.kind == PHY_JSON_KEY && phy_json_is(&right, "physarium");
    } while (right.kind != PHY_JSON_END);
    out->state = PHY_COVERAGE_REPORT_AGREES;
}

enum phy_status phy_reports_check_coverage(struct phy_report_verdict *out, int dir_fd,
                                           const struct phy_report_tensor *tensors, size_t count,
                                           const struct phy_host *host)
{
    char *text;
    size_t bytes = 0;
    *out = (struct phy_report_verdict){.state = PHY_COVERAGE_REPORT_ABSENT};
    enum phy_status status = read_report(&text, &bytes, dir_fd, "coverage.json", host);
    if (status != PHY_OK || !text)
        return status;
    struct phy_surgery_view *view = phy_zalloc(1, sizeof *view);
    struct phy_text found = {0};
    bool made = view && phy_tally_make(&view->tally, tensors, count);
    if (made)
        phy_coverage_put_json(&found, view);
    if (!made || found.failed) {
        status = phy_fail_memory(host, "coverage.json", bytes);
    } else if (phy_json_utf8_end(text, bytes) != bytes) {
        *out = (struct phy_report_verdict){PHY_COVERAGE_REPORT_DIFFERS, "it is not UTF-8"};
    } else {
        compare_json(out, text, bytes, found.data, found.bytes);
    }
    if (view)
        phy_tally_free(&view->tally);
    phy_free(view);
    phy_text_free(&found);
    phy_free(text);
    return status;
}

/* ---- tensors.jsonl ---- */

/* What only the run knew; everything else in a line can be found again. */
static bool is_run_field(const struct phy_json_token *key)
{
    return phy_json_is(key, "device") || phy_json_is(key, "seconds") || phy_json_is(key, "tile_sparsity_min") ||
           phy_json_is(key, "tile_sparsity_max");
}

static bool is_scalar(enum phy_json_kind kind)
{
    return kind == PHY_JSON_STRING || kind == PHY_JSON_NUMBER || kind == PHY_JSON_TRUE || kind == PHY_JSON_FALSE ||
           kind == PHY_JSON_NULL;
}

/* One line against the line that the findings give. True if they agree. */
static bool compare_line(struct phy_report_verdict *out, char *there, size_t there_bytes, char *found,
                         size_t found_bytes, const char *label)
{
    struct phy_json_scan a, b;
    struct phy_json_token said, right, key = {0};
    char said_text[160], right_text[160], name[160];
    if (phy_json_utf8_end(there, there_bytes) != there_bytes) {
        snprintf(out->where, sizeof out->where, "%s is not UTF-8", label);
        return false;
    }
    phy_json_begin(&a, there, there_bytes);
    phy_json_begin(&b, found, found_bytes);
    do {
        phy_json_next(&a, &said);
        phy_json_next(&b, &right);
        bool free_value = key.text && is_run_field(&key) && is_scalar(said.kind) && is_scalar(right.kind);
        if (!free_value && !same_token(&said, &right)) {
            snprintf(out->where, sizeof out->where, "%s: %s is %s, found %s", label,
                     key.text ? show_token(name, &key) : "the line", show_token(said_text, &said),
                     show_token(right_text, &right));
            return false;
        }
        key = right.kind == PHY_JSON_KEY ? right : (struct phy_json_token){0};
    } while (right.kind != PHY_JSON_END);
    return true;
}

/* Lines of a file, one at a time. */
struct line_reader {
    int fd;
    uint64_t at, end;
    char *data;
    size_t begin, bytes, capacity; /* what is read and not taken: data + begin, bytes */
};

/* The next line without its newline, in *line; false at the end. */
static enum phy_status next_line(struct line_reader *r, char **line, size_t *line_bytes, bool *got,
                                 const struct phy_host *host)
{
    enum { PIECE = 1 << 20 };
    size_t searched = 0;
    for (;;) {
        char *newline = r->bytes > searched ? memchr(r->data + r->begin + searched, '\n', r->bytes - searched) : NULL;
        bool last = !newline && r->at == r->end;
        if (newline || last) {
            *line = r->data + r->begin;
            *line_bytes = newline ? (size_t)(newline - *line) : r->bytes;
            *got = newline || r->bytes;
            size_t taken = *line_bytes + (newline ? 1 : 0);
            r->begin += taken;
            r->bytes -= taken;
            return PHY_OK;
        }
        searched = r->bytes;
        if (r->bytes)
            memmove(r->data, r->data + r->begin, r->bytes);
        r->begin = 0;
        size_t piece = (size_t)phy_min_u64(r->end - r->at, PIECE);
        if (r->bytes + piece > r->capacity) {
            size_t capacity = r->capacity * 2 + PIECE;
            char *grown = capacity <= LARGEST_LINE ? phy_realloc(r->data, capacity, 1) : NULL;
            if (!grown)
                return phy_fail_memory(host, "a line of tensors.jsonl", capacity);
            r->data = grown;
            r->capacity = capacity;
        }
        int error = phy_pread_all(r->fd, r->data + r->bytes, piece, r->at);
        if (error)
            return phy_fail(host, PHY_ERR_IO, "physarium/tensors.jsonl: %s", strerror(error));
        r->bytes += piece;
        r->at += piece;
    }
}

static enum phy_status check_lines(struct phy_report_verdict *out, struct line_reader *reader,
                                   const struct phy_report_tensor *tensors, size_t count, const struct phy_host *host)
{
    struct phy_text found = {0};
    enum phy_status status = PHY_OK;
    char *line = NULL, label[48];
    size_t bytes = 0;
    bool got = false, agrees = true;
    for (size_t i = 0; status == PHY_OK && agrees && i <= count; i++) {
        status = next_line(reader, &line, &bytes, &got, host);
        if (status != PHY_OK)
            break;
        if (got != (i < count)) {
            snprintf(out->where, sizeof out->where,
                     got ? "it has more than %zu lines, found %zu tensors" : "it has %zu lines, found %zu tensors", i,
                     count);
            agrees = false;
        } else if (got) {
            found.bytes = 0;
            phy_tensor_put_jsonl(&found, &tensors[i]);
            if (found.failed)
                status = phy_fail_memory(host, "a line", bytes);
            snprintf(label, sizeof label, "line %zu", i + 1);
            agrees = !found.failed && compare_line(out, line, bytes, found.data, found.bytes, label);
        }
    }
    out->state = agrees ? PHY_COVERAGE_REPORT_AGREES : PHY_COVERAGE_REPORT_DIFFERS;
    phy_text_free(&found);
    return status;
}

enum phy_status phy_reports_check_tensors(struct phy_report_verdict *out, int dir_fd,
                                          const struct phy_report_tensor *tensors, size_t count,
                                          const struct phy_host *host)
{
    struct line_reader reader = {0};
    *out = (struct phy_report_verdict){.state = PHY_COVERAGE_REPORT_ABSENT};
    enum phy_status status = open_report(&reader.fd, &reader.end, dir_fd, "tensors.jsonl", host);
    if (status != PHY_OK || reader.fd < 0)
        return status;
    status = check_lines(out, &reader, tensors, count, host);
    phy_free(reader.data);
    phy_close(reader.fd);
    return status;
}
