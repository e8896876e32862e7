/* SPDX-License-Identifier: Apache-2.0 */
/* The worst observations of an audit.json. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit_file.h"
#include "base/alloc.h"
#include "base/log.h"
#include "physarium/audit.h"

struct line {
    const cJSON *run, *at;
    double rel_l2;
};

/* Worst first; equal ones in the file's order. */
static int compare_lines(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    if (left->rel_l2 != right->rel_l2)
        return left->rel_l2 < right->rel_l2 ? 1 : -1;
    return left < right ? -1 : 1;
}

static size_t collect(const cJSON *runs, struct line *lines)
{
    const cJSON *run, *at;
    size_t count = 0;
    cJSON_ArrayForEach(run, runs)
    {
        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(run, "worst_list"))
        {
            if (lines)
                lines[count] = (struct line){run, at, phy_audit_number(at, "rel_l2")};
            count++;
        }
    }
    return count;
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
    phy_text_printf(out, "%-10.3e %-9.1e ", line->rel_l2, phy_audit_number(line->at, "one_minus_cos"));
    put_column(out, where, 18);
    put_column(out, phy_audit_string(line->run, "path"), 24);
    put_column(out, phy_audit_string(cJSON_GetObjectItemCaseSensitive(line->run, "store"), "scheme"), 8);
    put_column(out, phy_audit_string(line->run, "device"), DEVICE_WIDTH);
    const char *token = phy_audit_string(line->at, "token");
    char quoted[PHY_QUOTED_BYTES];
    phy_text_put(out, phy_quote(quoted, token, strlen(token)));
    phy_text_put(out, "\n");
}

enum phy_status phy_audit_show(const char *file, size_t worst, phy_audit_sink *sink, void *user,
                               const struct phy_host *host)
{
    cJSON *root;
    struct phy_text text = {0};
    enum phy_status status = phy_audit_file_read(&root, file, host);
    if (status != PHY_OK)
        return status;
    const cJSON *runs = cJSON_GetObjectItemCaseSensitive(root, "runs"), *run, *cause;
    size_t count = collect(runs, NULL);
    struct line *lines = phy_alloc(count, sizeof *lines);
    if (lines) {
        collect(runs, lines);
        qsort(lines, count, sizeof *lines, compare_lines);
        phy_text_printf(&text, "%-10s %-9s %-18s %-24s %-8s %-*s %s\n", "rel L2", "1 - cos", "where", "path", "storage",
                        DEVICE_WIDTH, "device", "token");
    }
    for (size_t i = 0; lines && i < count && i < worst; i++)
        put_line(&text, &lines[i]);
    cJSON_ArrayForEach(run, runs)
    {
        cJSON_ArrayForEach(cause, cJSON_GetObjectItemCaseSensitive(run, "causes"))
        {
            phy_text_put(&text, "FAIL ");
            put_column(&text, phy_audit_string(run, "path"), 1);
            put_column(&text, phy_audit_string(run, "device"), 1);
            phy_text_plain_name(&text, cJSON_IsString(cause) ? cause->valuestring : "", PHY_NAME_LINE);
            phy_text_put(&text, "\n");
        }
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
