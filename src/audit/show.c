/* SPDX-License-Identifier: Apache-2.0 */
/* The worst observations of an audit.json. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit_file.h"
#include "base/alloc.h"
#include "base/log.h"
#include "physarium/audit.h"
#include "report/json.h"

struct line {
    const cJSON *run, *at;
    double rank; /* rel L2; what is not finite, which JSON has as null, is the worst there is */
    size_t index;
};

/* Worst first; equal ones in the file's order. */
static int compare_lines(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    if (left->rank != right->rank)
        return left->rank < right->rank ? 1 : -1;
    return left->index < right->index ? -1 : 1;
}

static size_t collect(const cJSON *runs, struct line *lines)
{
    const cJSON *run, *at;
    size_t count = 0;
    cJSON_ArrayForEach(run, runs)
    {
        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(run, "worst_list"))
        {
            const double rel_l2 = phy_audit_number(at, "rel_l2");
            if (lines)
                lines[count] = (struct line){run, at, isfinite(rel_l2) ? rel_l2 : (double)INFINITY, count};
            count++;
        }
    }
    return count;
}

static const char *scheme_of(const cJSON *run)
{
    return phy_audit_string(cJSON_GetObjectItemCaseSensitive(run, "store"), "scheme");
}

enum { DEVICE_WIDTH = 17 }; /* "vulkan:0/subgroup" */

static void put_column(struct phy_text *out, const char *text, size_t width)
{
    size_t begin = out->bytes;
    phy_text_plain_name(out, text, PHY_NAME_BARE);
    do
        phy_text_put(out, " ");
    while (!out->failed && out->bytes - begin <= width);
}

static void put_line(struct phy_text *out, const struct line *line)
{
    char where[PHY_AUDIT_NAME];
    snprintf(where, sizeof where, "L%.0f/%.40s/%.0f", phy_audit_number(line->at, "layer"),
             phy_audit_string(line->at, "prompt"), phy_audit_number(line->at, "position"));
    phy_text_printf(out, "%-10.3e %-9.1e ", phy_audit_number(line->at, "rel_l2"),
                    phy_audit_number(line->at, "one_minus_cos"));
    put_column(out, where, 18);
    put_column(out, phy_audit_string(line->run, "path"), 24);
    put_column(out, scheme_of(line->run), 8);
    put_column(out, phy_audit_string(line->run, "device"), DEVICE_WIDTH);
    const char *token = phy_audit_string(line->at, "token");
    char quoted[PHY_QUOTED_BYTES];
    phy_text_put(out, phy_quote(quoted, token, strlen(token)));
    phy_text_put(out, "\n");
}

static void put_text(struct phy_text *out, const cJSON *runs, const struct line *lines, size_t count)
{
    const cJSON *run, *cause;
    phy_text_printf(out, "%-10s %-9s %-18s %-24s %-8s %-*s %s\n", "rel L2", "1 - cos", "where", "path", "storage",
                    DEVICE_WIDTH, "device", "token");
    for (size_t i = 0; i < count; i++)
        put_line(out, &lines[i]);
    cJSON_ArrayForEach(run, runs)
    {
        cJSON_ArrayForEach(cause, cJSON_GetObjectItemCaseSensitive(run, "causes"))
        {
            phy_text_put(out, "FAIL ");
            put_column(out, phy_audit_string(run, "path"), 1);
            put_column(out, phy_audit_string(run, "device"), 1);
            phy_text_plain_name(out, cJSON_IsString(cause) ? cause->valuestring : "", PHY_NAME_LINE);
            phy_text_put(out, "\n");
        }
    }
}

/* ---- JSON ---- */

static bool add_run(cJSON *item, const cJSON *run)
{
    return phy_json_string(item, "path", phy_audit_string(run, "path")) &&
           phy_json_string(item, "store", scheme_of(run)) &&
           phy_json_string(item, "device", phy_audit_string(run, "device"));
}

/* What is not finite, or not there, is null. */
static bool add_number(cJSON *item, const cJSON *from, const char *key)
{
    const double value = phy_audit_number(from, key);
    return isfinite(value) ? phy_json_double(item, key, value) : phy_json_null(item, key);
}

static bool fill_json(cJSON *root, const cJSON *runs, const struct line *lines, size_t count)
{
    const cJSON *run, *cause;
    bool done = phy_json_string(root, "schema", "physarium.audit-worst") && phy_json_count(root, "schema_version", 1);
    cJSON *worst = phy_json_array(root, "worst"), *failures = phy_json_array(root, "failures");
    for (size_t i = 0; done && i < count; i++) {
        cJSON *item = phy_json_item(worst);
        const cJSON *at = lines[i].at;
        done = add_run(item, lines[i].run) && add_number(item, at, "layer") &&
               phy_json_string(item, "prompt", phy_audit_string(at, "prompt")) && add_number(item, at, "position") &&
               phy_json_string(item, "token", phy_audit_string(at, "token")) && add_number(item, at, "rel_l2") &&
               add_number(item, at, "one_minus_cos");
    }
    cJSON_ArrayForEach(run, runs)
    {
        cJSON_ArrayForEach(cause, cJSON_GetObjectItemCaseSensitive(run, "causes"))
        {
            cJSON *item = phy_json_item(failures);
            done = done && add_run(item, run) &&
                   phy_json_string(item, "cause", cJSON_IsString(cause) ? cause->valuestring : "");
        }
    }
    return done && worst && failures;
}

static void put_json(struct phy_text *out, const cJSON *runs, const struct line *lines, size_t count)
{
    cJSON *root = cJSON_CreateObject();
    char *printed = fill_json(root, runs, lines, count) ? cJSON_Print(root) : NULL;
    if (printed)
        phy_text_put(out, printed);
    phy_text_put(out, "\n");
    out->failed = out->failed || !printed;
    cJSON_free(printed);
    cJSON_Delete(root);
}

enum phy_status phy_audit_show(const char *file, size_t worst, bool json, phy_audit_sink *sink, void *user,
                               const struct phy_host *host)
{
    cJSON *root;
    struct phy_text text = {0};
    enum phy_status status = phy_audit_file_read(&root, file, host);
    if (status != PHY_OK)
        return status;
    const cJSON *runs = cJSON_GetObjectItemCaseSensitive(root, "runs");
    const size_t count = collect(runs, NULL);
    struct line *lines = phy_alloc(count, sizeof *lines);
    if (lines) {
        collect(runs, lines);
        qsort(lines, count, sizeof *lines, compare_lines);
        (json ? put_json : put_text)(&text, runs, lines, count < worst ? count : worst);
    }
    if (!lines || text.failed)
        status = phy_fail_memory(host, "a list", count * sizeof *lines);
    else
        sink(user, text.data, text.bytes);
    phy_text_free(&text);
    phy_free(lines);
    cJSON_Delete(root);
    return status;
}
