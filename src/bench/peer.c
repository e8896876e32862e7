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

/* Of a first line; some have two names. */
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
            if (strcasecmp(line->fields[i], names[c]) == 0 || (c == ROWS && strcasecmp(line->fields[i], "x_rows") == 0))
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

/* One of the peer's times. Its texts lie in the table's. */
struct peer_time {
    const char *op, *format, *device;
    double first, second; /* the shape's sides */
    double rows, threads, median_us;
    bool cold;
};

static bool read_time(struct peer_time *out, const struct line *line, const int order[COLUMNS])
{
    char *end;
    const char *median = field_of(line, order, MEDIAN), *device = field_of(line, order, DEVICE);
    *out = (struct peer_time){.op = field_of(line, order, OP), .format = field_of(line, order, FORMAT)};
    out->first = strtod(field_of(line, order, SHAPE), &end);
    out->second = *end == 'x' ? strtod(end + 1, NULL) : 0;
    out->rows = strtod(field_of(line, order, ROWS), NULL);
    out->threads = strtod(field_of(line, order, THREADS), NULL);
    out->cold = is_yes(field_of(line, order, COLD));
    out->device = *device ? device : strcmp(out->op, "mul_mat_gpu") == 0 ? "vulkan" : "cpu";
    out->median_us = strtod(median, &end);
    return end != median && out->median_us > 0 && isfinite(out->median_us);
}

struct peer {
    struct peer_time *times;
    size_t count, capacity;
};

/* The least time of an op ("mul_mat": in any layout) of that shape, under the view's other conditions; INFINITY if the
 * peer has none. */
static double least_us(const struct peer *peer, const struct phy_bench_view *v, const char *op, double first,
                       double second)
{
    double least = INFINITY;
    for (size_t i = 0; i < peer->count; i++) {
        const struct peer_time *t = &peer->times[i];
        bool named = strcmp(op, "mul_mat") == 0 ? strncmp(t->op, op, strlen(op)) == 0 : strcmp(t->op, op) == 0;
        if (named && strcasecmp(t->format, v->format) == 0 && t->first == first && t->second == second &&
            t->rows == v->x_rows && t->cold == v->cold && strncmp(v->device, t->device, strlen(t->device)) == 0 &&
            (isnan(v->threads) || strncmp(v->device, "cpu", 3) != 0 || t->threads == 0 || t->threads == v->threads))
            least = fmin(least, t->median_us);
    }
    return least;
}

/* The peer's shapes of a product are columns x rows. An ffn is gate, up and down, of as many weights each: where there
 * is no time for down, it is taken to be gate's. */
static double peer_us(const struct peer *peer, const struct phy_bench_view *v)
{
    char *end;
    double first = strtod(v->shape, &end), second = *end == 'x' ? strtod(end + 1, NULL) : 0;
    double us = least_us(peer, v, v->op, first, second);
    if (strcmp(v->op, "matmul") == 0)
        us = fmin(us, least_us(peer, v, "mul_mat", second, first));
    if (strcmp(v->op, "ffn") == 0 && !isfinite(us)) {
        double gate = least_us(peer, v, "mul_mat", first, second), down = least_us(peer, v, "mul_mat", second, first);
        us = 2 * gate + (isfinite(down) ? down : gate);
    }
    return us;
}

static bool add_time(struct peer *peer, const struct peer_time *time)
{
    if (peer->count == peer->capacity) {
        size_t capacity = peer->capacity ? 2 * peer->capacity : 64;
        struct peer_time *grown = phy_realloc(peer->times, capacity, sizeof *grown);
        if (!grown)
            return false;
        peer->times = grown;
        peer->capacity = capacity;
    }
    peer->times[peer->count++] = *time;
    return true;
}

static enum phy_status read_peer(struct peer *peer, char *text, const char *path, const struct phy_host *host)
{
    int order[COLUMNS] = {OP, FORMAT, SHAPE, ROWS, COLD, THREADS, MEDIAN, Q1, Q3, -1};
    size_t number = 0;
    for (char *at = text; *at;) {
        char *next = at + strcspn(at, "\r\n");
        if (*next)
            *next++ = 0;
        struct line line;
        struct peer_time time;
        number++;
        split(&line, at);
        bool blank = *at == 0 || *at == '#';
        at = next;
        if (blank || read_order(&line, order))
            continue;
        if (!read_time(&time, &line, order))
            return phy_fail(host, PHY_ERR_FORMAT, "%s: line %zu: no time in column %d", path, number,
                            order[MEDIAN] + 1);
        if (!add_time(peer, &time))
            return phy_fail_memory(host, "a peer's times", peer->capacity * sizeof time);
    }
    return peer->count ? PHY_OK : phy_fail(host, PHY_ERR_FORMAT, "%s: holds no times", path);
}

enum phy_status phy_bench_join_peer(cJSON *document, const char *path, const struct phy_host *host)
{
    char *text;
    struct peer peer = {0};
    enum phy_status status = phy_bench_read_text(&text, path, host);
    if (status)
        return status;
    status = read_peer(&peer, text, path, host);
    struct phy_bench_view v;
    for (size_t i = 0; status == PHY_OK && phy_bench_view(document, i, &v); i++) {
        double us = peer_us(&peer, &v);
        if (isfinite(us))
            phy_json_double(cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(document, "results"), (int)i),
                            "ratio_to_peer", us / (isnan(v.host_median_us) ? v.median_us : v.host_median_us));
    }
    phy_free(peer.times);
    phy_free(text);
    return status;
}
