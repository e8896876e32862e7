/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/log.h"
#include "bench/whole_text.h"
#include "report/bench_report.h"
#include "report/json.h"

enum column { OP, FORMAT, SHAPE, ROWS, COLD, THREADS, MEDIAN, Q1, Q3, DEVICE, COLUMNS };
enum { MAX_FIELDS = 16 };

static const char *const names[COLUMNS] = {"op",      "format",    "shape", "rows", "cold",
                                           "threads", "median_us", "q1",    "q3",   "device"};

struct line {
    char *fields[MAX_FIELDS];
    size_t count;
};

static void split(struct line *out, char *text)
{
    out->count = 0;
    for (char *field = text; field && out->count < MAX_FIELDS;) {
        out->fields[out->count++] = field;
        field = strchr(field, '\t');
        if (field)
            *field++ = 0;
    }
}

/* The order of a first line that names columns; false if it names none. */
static bool read_order(const struct line *line, int order[COLUMNS])
{
    if (line->count == 0 || strcasecmp(line->fields[0], names[OP]) != 0)
        return false;
    for (int c = 0; c < COLUMNS; c++) {
        order[c] = -1;
        for (size_t i = 0; i < line->count; i++) {
            if (strcasecmp(line->fields[i], names[c]) == 0)
                order[c] = (int)i;
        }
    }
    return true;
}

static const char *field_of(const struct line *line, const int order[COLUMNS], enum column column)
{
    int at = order[column];
    return at >= 0 && (size_t)at < line->count ? line->fields[at] : "";
}

static bool is_yes(const char *text)
{
    return strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0 || strcasecmp(text, "cold") == 0 ||
           strcasecmp(text, "yes") == 0;
}

static bool joins(const struct phy_bench_view *v, const struct line *line, const int order[COLUMNS])
{
    const char *device = field_of(line, order, DEVICE), *threads = field_of(line, order, THREADS);
    if (!*device)
        device = "cpu";
    return strcmp(v->op, field_of(line, order, OP)) == 0 && strcasecmp(v->format, field_of(line, order, FORMAT)) == 0 &&
           strcmp(v->shape, field_of(line, order, SHAPE)) == 0 &&
           v->x_rows == strtod(field_of(line, order, ROWS), NULL) && v->cold == is_yes(field_of(line, order, COLD)) &&
           strncmp(v->device, device, strlen(device)) == 0 &&
           (!*threads || isnan(v->threads) || v->threads == strtod(threads, NULL));
}

static bool join_line(cJSON *document, const struct line *line, const int order[COLUMNS])
{
    char *end;
    const char *median = field_of(line, order, MEDIAN);
    double us = strtod(median, &end);
    if (end == median || !(us > 0) || !isfinite(us))
        return false;
    struct phy_bench_view v;
    for (size_t i = 0; phy_bench_view(document, i, &v); i++) {
        cJSON *result = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(document, "results"), (int)i);
        if (joins(&v, line, order)) {
            cJSON_DeleteItemFromObjectCaseSensitive(result, "ratio_to_peer");
            phy_json_double(result, "ratio_to_peer", us / v.median_us);
        }
    }
    return true;
}

enum phy_status phy_bench_join_peer(cJSON *document, const char *path, const struct phy_host *host)
{
    char *text;
    enum phy_status status = phy_bench_read_text(&text, path, host);
    if (status)
        return status;
    int order[COLUMNS] = {OP, FORMAT, SHAPE, ROWS, COLD, THREADS, MEDIAN, Q1, Q3, -1};
    size_t number = 0, joined = 0;
    for (char *at = text; *at && status == PHY_OK;) {
        char *next = at + strcspn(at, "\r\n");
        if (*next)
            *next++ = 0;
        struct line line;
        number++;
        split(&line, at);
        bool blank = *at == 0 || *at == '#';
        if (!blank && !(number == 1 && read_order(&line, order))) {
            if (join_line(document, &line, order))
                joined++;
            else
                status = phy_fail(host, PHY_ERR_FORMAT, "%s: line %zu: no median in column %d", path, number,
                                  order[MEDIAN] + 1);
        }
        at = next;
    }
    phy_free(text);
    if (status == PHY_OK && joined == 0)
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: holds no times", path);
    return status;
}
