/* SPDX-License-Identifier: Apache-2.0 */
/* Measure, then tighten: bounds.json, the reports behind it, and INDEX.md. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/audit_parts.h"
#include "audit/small_file.h"
#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "report/json.h"

enum { INDEX_MAX_BYTES = 16 << 20 };

/* The worst of several runs, and on which devices they ran. */
struct measured {
    struct phy_bound bound; /* its key */
    double one_minus_cos, rel_l2, dp, decoded_one_minus_cos, decoded_rel_l2;
    char at[PHY_AUDIT_NAME], on[PHY_AUDIT_NAME];
    char devices[256];
};

static void join(char *list, size_t bytes, const char *word)
{
    size_t used = strlen(list), length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length) {
        if ((at == list || at[-1] == ' ') && (at[length] == 0 || at[length] == ','))
            return;
    }
    snprintf(list + used, bytes - used, "%s%s", used ? ", " : "", word);
}

static void widen(struct measured *m, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    if (run->original.max_rel_l2 >= m->rel_l2) {
        phy_audit_where(m->at, r, &run->original.worst);
        snprintf(m->on, sizeof m->on, "%s", run->device);
    }
    m->one_minus_cos = fmax(m->one_minus_cos, run->original.max_one_minus_cos);
    m->rel_l2 = fmax(m->rel_l2, run->original.max_rel_l2);
    m->dp = fmax(m->dp, run->anchor_dp);
    const struct phy_audit_pair *decoded = run->has_decoded ? &run->decoded : &run->original;
    m->decoded_one_minus_cos = fmax(m->decoded_one_minus_cos, decoded->max_one_minus_cos);
    m->decoded_rel_l2 = fmax(m->decoded_rel_l2, decoded->max_rel_l2);
    join(m->devices, sizeof m->devices, run->device);
}

/* Runs whose figures mean something. */
static bool counts(const struct phy_audit_run *run)
{
    return run->bounded && run->original.count && run->dispatch_seen == run->dispatch_expected &&
           isfinite(run->original.max_rel_l2);
}

/* Of a bucket (path NULL; rounded activations have bounds of their own only) or of one path of one storage. */
static bool measure(struct measured *m, const struct phy_audit_record *r, const char *bucket, const char *path,
                    const char *scheme)
{
    bool any = false;
    *m = (struct measured){0};
    snprintf(m->bound.digest, sizeof m->bound.digest, "%s", r->model_digest);
    snprintf(m->bound.model, sizeof m->bound.model, "%s", r->model_name);
    snprintf(m->bound.bucket, sizeof m->bound.bucket, "%s", bucket);
    snprintf(m->bound.path, sizeof m->bound.path, "%s", path ? path : "");
    snprintf(m->bound.scheme, sizeof m->bound.scheme, "%s", scheme ? scheme : "");
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        if (strcmp(run->bucket, bucket) != 0 || !counts(run) || (!path && phy_bounds_rounded(run->path)) ||
            (path && (strcmp(run->path, path) != 0 || strcmp(run->scheme, scheme) != 0)))
            continue;
        widen(m, r, run);
        any = true;
    }
    m->bound.limits = (struct phy_audit_limits){
        .one_minus_cos = phy_bound_one_minus_cos(m->one_minus_cos),
        .rel_l2 = phy_bound_rel_l2(m->rel_l2),
        .anchor_dp = phy_bound_dp(m->dp),
        .decoded_one_minus_cos = phy_bound_one_minus_cos(m->decoded_one_minus_cos),
        .decoded_rel_l2 = phy_bound_rel_l2(m->decoded_rel_l2),
    };
    return any;
}

/* ---- merging ---- */

static struct phy_bound *find(struct phy_bounds *bounds, const struct phy_bound *key)
{
    for (size_t i = 0; i < bounds->count; i++) {
        struct phy_bound *b = &bounds->items[i];
        if (strcmp(b->digest, key->digest) == 0 && strcmp(b->type, key->type) == 0 &&
            strcmp(b->bucket, key->bucket) == 0 && strcmp(b->path, key->path) == 0 &&
            strcmp(b->scheme, key->scheme) == 0)
            return b;
    }
    return NULL;
}

static char *describe(const struct phy_audit_record *r, const struct measured *m, const char *loosened)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *worst = NULL;
    char digits[32];
    bool done = phy_json_string(root, "date", r->date) && phy_json_string(root, "model", r->model_name) &&
                phy_json_string(root, "devices", m->devices) && (worst = phy_json_object(root, "worst"));
    const struct {
        const char *key;
        double value;
    } figures[] = {{"one_minus_cos", m->one_minus_cos},
                   {"rel_l2", m->rel_l2},
                   {"anchor_dp", m->dp},
                   {"decoded_one_minus_cos", m->decoded_one_minus_cos},
                   {"decoded_rel_l2", m->decoded_rel_l2}};
    for (size_t i = 0; done && i < sizeof figures / sizeof *figures; i++) {
        snprintf(digits, sizeof digits, "%.4g", figures[i].value);
        done = cJSON_AddRawToObject(worst, figures[i].key, digits) != NULL;
    }
    done = done && phy_json_string(worst, "at", m->at) && phy_json_string(worst, "on", m->on) &&
           (!loosened || phy_json_string(root, "loosened", loosened));
    char *text = done ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static bool tighter(const struct phy_audit_limits *a, const struct phy_audit_limits *b)
{
    return a->one_minus_cos < b->one_minus_cos || a->rel_l2 < b->rel_l2 || a->anchor_dp < b->anchor_dp ||
           a->decoded_one_minus_cos < b->decoded_one_minus_cos || a->decoded_rel_l2 < b->decoded_rel_l2;
}

static enum phy_status put(struct phy_bounds *bounds, const struct phy_audit *audit, const struct measured *m,
                           const char *loosen)
{
    struct phy_bound *old = find(bounds, &m->bound);
    const struct phy_audit_limits *now = &m->bound.limits;
    if (!old) {
        struct phy_bound *grown = phy_realloc(bounds->items, bounds->count + 1, sizeof *grown);
        if (!grown)
            return phy_fail_memory(audit->host, "bounds", sizeof *grown);
        bounds->items = grown;
        old = &grown[bounds->count++];
        *old = m->bound;
        struct phy_audit_limits defaults;
        phy_bounds_default(old->bucket, old->path, &defaults);
        old->set_by = describe(&audit->record, m, tighter(&defaults, now) ? loosen : NULL);
        return old->set_by ? PHY_OK : phy_fail_memory(audit->host, "bounds", 1);
    }
    bool looser = loosen && tighter(&old->limits, now);
    if (!looser && !tighter(now, &old->limits))
        return PHY_OK;
    char *set_by = describe(&audit->record, m, looser ? loosen : NULL);
    if (!set_by)
        return phy_fail_memory(audit->host, "bounds", 1);
    cJSON_free(old->set_by);
    old->set_by = set_by;
    if (looser) {
        old->limits = *now;
        return PHY_OK;
    }
    old->limits.one_minus_cos = fmin(old->limits.one_minus_cos, now->one_minus_cos);
    old->limits.rel_l2 = fmin(old->limits.rel_l2, now->rel_l2);
    old->limits.anchor_dp = fmin(old->limits.anchor_dp, now->anchor_dp);
    old->limits.decoded_one_minus_cos = fmin(old->limits.decoded_one_minus_cos, now->decoded_one_minus_cos);
    old->limits.decoded_rel_l2 = fmin(old->limits.decoded_rel_l2, now->decoded_rel_l2);
    return PHY_OK;
}

static enum phy_status merge(struct phy_bounds *bounds, const struct phy_audit *audit, const char *loosen)
{
    static const char *const buckets[] = {"exact", "quantised", "fp4"};
    const struct phy_audit_record *r = &audit->record;
    struct measured m;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < 3 && status == PHY_OK; i++) {
        if (measure(&m, r, buckets[i], NULL, NULL))
            status = put(bounds, audit, &m, loosen);
    }
    for (size_t i = 0; i < r->run_count && status == PHY_OK; i++) {
        bool first = true;
        for (size_t k = 0; k < i; k++)
            first &= strcmp(r->runs[i].path, r->runs[k].path) != 0 || strcmp(r->runs[i].scheme, r->runs[k].scheme) != 0;
        if (first && measure(&m, r, r->runs[i].bucket, r->runs[i].path, r->runs[i].scheme))
            status = put(bounds, audit, &m, loosen);
    }
    return status;
}

/* ---- files ---- */

static bool add_figure(cJSON *object, const char *key, double value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.4g", value);
    return object && cJSON_AddRawToObject(object, key, digits);
}

/* Floors have few digits by their rule: print those, not what 1 - x makes of them. */
static bool add_floor(cJSON *object, double one_minus_cos)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.10g", 1 - one_minus_cos);
    return object && cJSON_AddRawToObject(object, "cos", digits);
}

static bool put_bound(struct phy_text *out, const struct phy_bound *b)
{
    cJSON *item = cJSON_CreateObject();
    bool done = item && (!*b->digest || phy_json_string(item, "digest", b->digest)) &&
                (!*b->model || phy_json_string(item, "model", b->model)) &&
                (!*b->type || phy_json_string(item, "type", b->type)) && phy_json_string(item, "bucket", b->bucket) &&
                (!*b->path || phy_json_string(item, "path", b->path)) &&
                (!*b->scheme || phy_json_string(item, "store", b->scheme)) &&
                add_floor(item, b->limits.one_minus_cos) && add_figure(item, "rel_l2", b->limits.rel_l2) &&
                add_figure(item, "anchor_dp", b->limits.anchor_dp);
    cJSON *decoded = phy_json_object(item, "decoded");
    done = done && add_floor(decoded, b->limits.decoded_one_minus_cos) &&
           add_figure(decoded, "rel_l2", b->limits.decoded_rel_l2) &&
           (!b->set_by || cJSON_AddRawToObject(item, "set_by", b->set_by));
    char *line = done ? cJSON_PrintUnformatted(item) : NULL;
    if (line)
        phy_text_put(out, line);
    cJSON_free(line);
    cJSON_Delete(item);
    return line != NULL;
}

static int write_text(const void *user, int fd)
{
    const struct phy_text *text = user;
    return phy_write_all(fd, text->data, text->bytes);
}

/* A bound a line. */
static enum phy_status write_bounds(const struct phy_bounds *bounds, const char *path, const struct phy_host *host)
{
    struct phy_text text = {0};
    bool done = true;
    phy_text_put(&text, "{\"schema\": \"physarium.bounds\", \"schema_version\": 1, \"bounds\": [");
    for (size_t i = 0; done && i < bounds->count; i++) {
        phy_text_put(&text, i ? ",\n" : "\n");
        done = put_bound(&text, &bounds->items[i]);
    }
    phy_text_put(&text, "\n]}\n");
    enum phy_status status = done && !text.failed ? phy_write_whole_file(path, write_text, &text, host)
                                                  : phy_fail_memory(host, "bounds.json", text.bytes);
    phy_text_free(&text);
    return status;
}

static const char index_head[] =
    "# Locked audits\n\n"
    "A row for each storage and bucket of a run that set bounds. `min cos` and `max rel L2` are "
    "against the original weights, over "
    "all devices.\n\n"
    "| date | model | store | device | paths | min cos | max rel L2 | n_obs | verdict |\n"
    "|---|---|---|---|---|---|---|---|---|\n";

static bool same_row(const struct phy_audit_run *a, const struct phy_audit_run *b)
{
    return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->bucket, b->bucket) == 0;
}

/* Runs of the storage and the bucket of `of`. */
static void put_index_row(struct phy_text *out, const struct phy_audit_record *r, const struct phy_audit_run *of)
{
    char devices[256] = "", paths[256] = "", cos[32];
    double one_minus_cos = 0, rel_l2 = 0;
    uint64_t observations = 0;
    bool passed = true;
    for (size_t i = 0; i < r->run_count; i++) {
        const struct phy_audit_run *run = &r->runs[i];
        if (!same_row(run, of))
            continue;
        join(devices, sizeof devices, run->device);
        join(paths, sizeof paths, run->path);
        one_minus_cos = fmax(one_minus_cos, run->original.max_one_minus_cos);
        rel_l2 = fmax(rel_l2, run->original.max_rel_l2);
        observations += run->original.count;
        passed &= run->passed;
    }
    phy_text_printf(out, "| %s | ", r->date);
    phy_text_markdown_name(out, r->model_name, PHY_NAME_BARE);
    phy_text_printf(out, " | %s | %s | %s | %s | %.3e | ", of->scheme, devices, paths,
                    phy_audit_cos(cos, one_minus_cos), rel_l2);
    phy_text_count(out, observations);
    phy_text_printf(out, " | %s |\n", passed ? "pass" : "fail");
}

static enum phy_status write_index(const struct phy_audit *audit, const char *path)
{
    const struct phy_audit_record *r = &audit->record;
    struct phy_text text = {0};
    char *old;
    size_t bytes;
    if (phy_read_small_file(path, INDEX_MAX_BYTES, &old, &bytes) == 0)
        phy_text_bytes(&text, old, bytes);
    phy_free(old);
    if (!text.bytes)
        phy_text_put(&text, index_head);
    for (size_t i = 0; i < r->run_count; i++) {
        bool first = true;
        for (size_t k = 0; k < i; k++)
            first &= !same_row(&r->runs[i], &r->runs[k]);
        if (first)
            put_index_row(&text, r, &r->runs[i]);
    }
    enum phy_status status = text.failed ? phy_fail_memory(audit->host, "INDEX.md", text.bytes)
                                         : phy_write_whole_file(path, write_text, &text, audit->host);
    phy_text_free(&text);
    return status;
}

static enum phy_status lock_in(const struct phy_audit *audit, const char *directory, const char *loosen, char *path,
                               size_t bytes)
{
    struct phy_bounds bounds = {0};
    struct stat found;
    enum phy_status status = PHY_OK;
    snprintf(path, bytes, "%s/bounds.json", directory);
    if (stat(path, &found) == 0)
        status = phy_bounds_read(&bounds, path, audit->host);
    if (status == PHY_OK)
        status = merge(&bounds, audit, loosen);
    if (status == PHY_OK)
        status = write_bounds(&bounds, path, audit->host);
    phy_bounds_free(&bounds);
    if (status == PHY_OK && !audit->record.passed) {
        phy_note(audit->host, "%s: bounds were loosened; the reports are locked by a run that meets them", directory);
        return PHY_OK;
    }
    snprintf(path, bytes, "%s/INDEX.md", directory);
    if (status == PHY_OK)
        status = write_index(audit, path);
    snprintf(path, bytes, "%s/%s", directory, audit->record.model_name);
    return status == PHY_OK ? phy_audit_write_directory(audit, path) : status;
}

/* Bounds hold for every device as it is: no form that was forced sets them without the one that the device chooses. */
static enum phy_status check_forms(const struct phy_audit *audit)
{
    const struct phy_audit_record *r = &audit->record;
    for (size_t i = 0; i < r->device_count; i++) {
        const char *name = r->devices[i].name, *slash = strchr(name, '/');
        const int bytes = slash ? (int)(slash - name) : 0;
        bool plain = !slash;
        for (size_t k = 0; k < r->device_count && !plain; k++)
            plain = strlen(r->devices[k].name) == (size_t)bytes && memcmp(r->devices[k].name, name, (size_t)bytes) == 0;
        if (!plain)
            return phy_fail(audit->host, PHY_ERR_USAGE,
                            "a run of %s sets no bounds without %.*s: a bound is of what devices choose by themselves",
                            name, bytes, name);
    }
    return PHY_OK;
}

enum phy_status phy_audit_lock(const struct phy_audit *audit, const char *directory, const char *loosen)
{
    const struct phy_audit_record *r = &audit->record;
    size_t bytes = strlen(directory) + strlen(r->model_name) + 32;
    for (size_t i = 0; i < r->run_count; i++) {
        if (r->runs[i].broken)
            return phy_fail(audit->host, PHY_ERR_MISMATCH,
                            "%s on %s is broken, not inexact: no bound can be set from it", r->runs[i].path,
                            r->runs[i].device);
        if (!loosen && !r->runs[i].passed)
            return phy_fail(audit->host, PHY_ERR_MISMATCH,
                            "%s on %s failed: bounds only get tighter; --loosen REASON takes what was measured",
                            r->runs[i].path, r->runs[i].device);
    }
    if (r->budget_seconds)
        return phy_fail(audit->host, PHY_ERR_USAGE, "a run that --budget trimmed sets no bounds");
    enum phy_status status = check_forms(audit);
    if (status)
        return status;
    char *path = phy_alloc(bytes, 1);
    if (!path)
        return phy_fail_memory(audit->host, "a path", bytes);
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        status = phy_fail(audit->host, PHY_ERR_IO, "%s: %s", directory, strerror(errno));
    if (status == PHY_OK)
        status = lock_in(audit, directory, loosen, path, bytes);
    phy_free(path);
    return status;
}
