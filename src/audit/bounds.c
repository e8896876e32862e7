/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds: defaults of the buckets, those of a file, and the rules by which a measurement sets one. */
#include "audit/bounds.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "audit/small_file.h"
#include "base/alloc.h"
#include "base/log.h"

enum { BOUNDS_MAX_BYTES = 16 << 20, MOST_NINES = 9 };

/* ---- rules ---- */

/* 1 - cos of the leading nines: 10^-n for n of them; with less than one, the first digit is kept (0.83 -> 0.8). Beyond
 * nine of them the bound on rel L2 says more: cos sees the square of a difference. */
double phy_bound_one_minus_cos(double worst)
{
    if (worst >= 1)
        return 2;
    if (worst > 0.1)
        return 1 - floor((1 - worst) * 10 + 1e-9) / 10;
    int nines = 1;
    while (nines < MOST_NINES && worst <= pow(10, -(nines + 1)) * (1 + 1e-9))
        nines++;
    return pow(10, -nines);
}

double phy_bound_rel_l2(double worst)
{
    return 4 * worst;
}

double phy_bound_dp(double worst)
{
    return fmax(4 * worst, 1e-4);
}

bool phy_bounds_rounded(const char *path)
{
    const char *kernel = strchr(path, ':');
    return kernel && (strcmp(kernel, ":int8") == 0 || strcmp(kernel, ":bf16") == 0);
}

void phy_bounds_default(const char *bucket, const char *path, struct phy_audit_limits *out)
{
    static const struct {
        const char *bucket;
        double floor, rel_l2, dp;
    } defaults[] = {{"exact", 1e-5, 1e-2, 5e-3}, {"quantised", 0.01, 0.5, 5e-2}, {"fp4", 0.02, 0.5, 5e-2}};
    size_t i = 0;
    while (i < 2 && strcmp(defaults[i].bucket, bucket) != 0)
        i++;
    const bool rounded = phy_bounds_rounded(path);
    *out = (struct phy_audit_limits){
        .one_minus_cos = defaults[i].floor,
        .rel_l2 = defaults[i].rel_l2,
        .anchor_dp = defaults[i].dp,
        /* The kernel alone meets the exact bucket. What one that rounds activations to int8 loses depends on the
         * largest of each 256: a model with a few large channels loses a tenth. Its default is that of storage. */
        .decoded_one_minus_cos = rounded ? defaults[i].floor : 1e-5,
        .decoded_rel_l2 = rounded ? defaults[i].rel_l2 : 1e-2,
    };
    snprintf(out->source, sizeof out->source, "default: %s", defaults[i].bucket);
}

/* ---- looking up ---- */

static bool fits(const char *pattern, const char *value)
{
    return !*pattern || strcmp(pattern, value) == 0;
}

void phy_bounds_find(const struct phy_bounds *bounds, const char *digest, const char *type,
                     const struct phy_audit_run *run, struct phy_audit_limits *out)
{
    int best = -1;
    phy_bounds_default(run->bucket, run->path, out);
    for (size_t i = 0; i < bounds->count; i++) {
        const struct phy_bound *b = &bounds->items[i];
        if (!fits(b->digest, digest) || !fits(b->type, type) || !fits(b->path, run->path) ||
            !fits(b->scheme, run->scheme) || strcmp(b->bucket, run->bucket) != 0)
            continue;
        int score = 8 * (*b->digest != 0) + 4 * (*b->type != 0) + 2 * (*b->path != 0) + (*b->scheme != 0);
        if (score <= best)
            continue;
        /* A kernel that rounds activations is held to bounds of its own only. */
        if (!*b->path && phy_bounds_rounded(run->path))
            continue;
        best = score;
        *out = b->limits;
        snprintf(out->source, sizeof out->source, "bounds.json: %s%s", *b->path ? "this path" : "its bucket",
                 *b->digest ? ", this model"
                 : *b->type ? ", this family"
                            : "");
    }
}

/* ---- reading ---- */

static bool take_text(const cJSON *object, const char *key, char *out, size_t bytes)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    *out = 0;
    if (!item || cJSON_IsNull(item))
        return true;
    return cJSON_IsString(item) && strlen(item->valuestring) < bytes && (strcpy(out, item->valuestring), true);
}

static bool take_number(const cJSON *object, const char *key, double *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    *out = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    return isfinite(*out) && *out >= -1;
}

static bool take_bound(struct phy_bound *out, const cJSON *item)
{
    const cJSON *decoded = cJSON_GetObjectItemCaseSensitive(item, "decoded");
    const cJSON *set_by = cJSON_GetObjectItemCaseSensitive(item, "set_by");
    double cos, decoded_cos;
    *out = (struct phy_bound){0};
    bool done = take_text(item, "digest", out->digest, sizeof out->digest) &&
                take_text(item, "model", out->model, sizeof out->model) &&
                take_text(item, "type", out->type, sizeof out->type) &&
                take_text(item, "bucket", out->bucket, sizeof out->bucket) &&
                take_text(item, "path", out->path, sizeof out->path) &&
                take_text(item, "store", out->scheme, sizeof out->scheme) && *out->bucket &&
                take_number(item, "cos", &cos) && take_number(item, "rel_l2", &out->limits.rel_l2) &&
                take_number(item, "anchor_dp", &out->limits.anchor_dp) && take_number(decoded, "cos", &decoded_cos) &&
                take_number(decoded, "rel_l2", &out->limits.decoded_rel_l2);
    if (!done)
        return false;
    out->limits.one_minus_cos = 1 - cos;
    out->limits.decoded_one_minus_cos = 1 - decoded_cos;
    out->set_by = set_by ? cJSON_PrintUnformatted(set_by) : NULL;
    return true;
}

enum phy_status phy_bounds_read(struct phy_bounds *out, const char *path, const struct phy_host *host)
{
    char *text;
    *out = (struct phy_bounds){0};
    enum phy_status status = PHY_OK;
    int error = phy_read_named_file(path, BOUNDS_MAX_BYTES, &text, NULL);
    if (error)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error));
    cJSON *root = cJSON_Parse(text);
    phy_free(text);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "bounds"),
                *version = cJSON_GetObjectItemCaseSensitive(root, "schema_version"), *item;
    if (!cJSON_IsArray(list) || !cJSON_IsNumber(version))
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: not JSON with \"schema_version\" and \"bounds\"", path);
    else if (version->valuedouble != 1)
        status = phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: schema_version %g, this program reads 1", path,
                          version->valuedouble);
    if (status == PHY_OK)
        out->items = phy_zalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *out->items);
    if (status == PHY_OK && !out->items)
        status = phy_fail_memory(host, "bounds", sizeof *out->items);
    if (status == PHY_OK) {
        cJSON_ArrayForEach(item, list)
        {
            if (status == PHY_OK && !take_bound(&out->items[out->count++], item))
                status = phy_fail(host, PHY_ERR_FORMAT,
                                  "%s: bound %zu: needs bucket, cos, rel_l2, anchor_dp and decoded (cos, rel_l2)", path,
                                  out->count - 1);
        }
    }
    cJSON_Delete(root);
    if (status != PHY_OK)
        phy_bounds_free(out);
    return status;
}

void phy_bounds_free(struct phy_bounds *bounds)
{
    for (size_t i = 0; bounds->items && i < bounds->count; i++)
        cJSON_free(bounds->items[i].set_by);
    phy_free(bounds->items);
    *bounds = (struct phy_bounds){0};
}
