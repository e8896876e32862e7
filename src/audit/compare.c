/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of several machines in one matrix: rows are paths of a storage, columns are devices of a file. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit_file.h"
#include "audit/compare.h"
#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "physarium/audit.h"

static const cJSON *member(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* ---- what may be compared ---- */

static bool same_lists(const cJSON *a, const cJSON *b)
{
    return cJSON_IsArray(a) && cJSON_IsArray(b) && cJSON_Compare(a, b, true);
}

static enum phy_status check_pair(const struct phy_audit_compare_params *p, const struct phy_comparison *c, size_t i)
{
    const cJSON *a = c->files[0].root, *b = c->files[i].root;
    const char *digest_a = phy_audit_string(member(a, "model"), "digest"),
               *digest_b = phy_audit_string(member(b, "model"), "digest");
    if (strcmp(digest_a, digest_b) != 0)
        return phy_fail(p->host, PHY_ERR_USAGE, "%s is of weights %.16s, %s of %.16s: different models", p->files[0],
                        digest_a, p->files[i], digest_b);
    if (strcmp(phy_audit_string(member(a, "against"), "digest"), phy_audit_string(member(b, "against"), "digest")) != 0)
        return phy_fail(p->host, PHY_ERR_USAGE, "%s and %s are against different pruned models", p->files[0],
                        p->files[i]);
    const cJSON *pa = member(a, "prompts"), *pb = member(b, "prompts");
    if (cJSON_GetArraySize(pa) != cJSON_GetArraySize(pb))
        return phy_fail(p->host, PHY_ERR_USAGE, "%s has %d prompts, %s %d: different prompts", p->files[0],
                        cJSON_GetArraySize(pa), p->files[i], cJSON_GetArraySize(pb));
    for (int k = 0; k < cJSON_GetArraySize(pa); k++) {
        const cJSON *x = cJSON_GetArrayItem(pa, k), *y = cJSON_GetArrayItem(pb, k);
        if (!same_lists(member(x, "ids"), member(y, "ids")))
            return phy_fail(p->host, PHY_ERR_USAGE,
                            "prompt \"%.40s\" of %s has other token ids in %s: different prompts",
                            phy_audit_string(x, "name"), p->files[0], p->files[i]);
        if (!same_lists(member(x, "positions"), member(y, "positions")))
            return phy_fail(p->host, PHY_ERR_USAGE, "%s and %s observed different positions of \"%.40s\" (--budget)",
                            p->files[0], p->files[i], phy_audit_string(x, "name"));
    }
    if (!same_lists(member(a, "layers"), member(b, "layers")))
        return phy_fail(p->host, PHY_ERR_USAGE, "%s and %s observed different layers (--budget)", p->files[0],
                        p->files[i]);
    return PHY_OK;
}

static enum phy_status read_files(const struct phy_audit_compare_params *p, struct phy_comparison *c)
{
    c->files = phy_zalloc(p->file_count, sizeof *c->files);
    if (!c->files)
        return phy_fail_memory(p->host, "a list", p->file_count);
    c->file_count = p->file_count;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < p->file_count && status == PHY_OK; i++) {
        const char *slash = strrchr(p->files[i], '/');
        c->files[i].name = slash ? slash + 1 : p->files[i];
        status = phy_audit_file_read(&c->files[i].root, p->files[i], p->host);
        if (status == PHY_OK && i > 0)
            status = check_pair(p, c, i);
    }
    return status;
}

/* ---- the matrix ---- */

static const char *device_text(const cJSON *root, const char *name)
{
    const cJSON *device;
    cJSON_ArrayForEach(device, member(root, "devices"))
    {
        if (strcmp(phy_audit_string(device, "name"), name) == 0)
            return phy_audit_string(device, "device_name");
    }
    return "";
}

static size_t column_of(const struct phy_comparison *c, size_t file, const char *device)
{
    size_t i = 0;
    while (i < c->column_count && (c->columns[i].file != file || strcmp(c->columns[i].device, device) != 0))
        i++;
    return i;
}

static size_t row_of(const struct phy_comparison *c, const char *path, const char *scheme)
{
    size_t i = 0;
    while (i < c->row_count && (strcmp(c->rows[i].path, path) != 0 || strcmp(c->rows[i].scheme, scheme) != 0))
        i++;
    return i;
}

static size_t count_runs(const struct phy_comparison *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->file_count; i++)
        count += (size_t)cJSON_GetArraySize(member(c->files[i].root, "runs"));
    return count;
}

static void place(struct phy_comparison *c)
{
    const cJSON *run;
    for (size_t i = 0; i < c->file_count; i++) {
        cJSON_ArrayForEach(run, member(c->files[i].root, "runs"))
        {
            const char *device = phy_audit_string(run, "device"), *path = phy_audit_string(run, "path"),
                       *scheme = phy_audit_string(member(run, "store"), "scheme");
            size_t column = column_of(c, i, device), row = row_of(c, path, scheme);
            if (column == c->column_count)
                c->columns[c->column_count++] =
                    (struct phy_compare_column){i, device, device_text(c->files[i].root, device)};
            if (row == c->row_count)
                c->rows[c->row_count++] = (struct phy_compare_row){path, scheme, NULL};
        }
    }
}

static bool make_matrix(struct phy_comparison *c)
{
    size_t runs = count_runs(c);
    const cJSON *run;
    c->columns = phy_zalloc(runs + 1, sizeof *c->columns);
    c->rows = phy_zalloc(runs + 1, sizeof *c->rows);
    if (!c->columns || !c->rows)
        return false;
    place(c);
    for (size_t i = 0; i < c->row_count; i++) {
        c->rows[i].cells = phy_zalloc(c->column_count, sizeof *c->rows[i].cells);
        if (!c->rows[i].cells)
            return false;
    }
    for (size_t i = 0; i < c->file_count; i++) {
        cJSON_ArrayForEach(run, member(c->files[i].root, "runs"))
        {
            size_t column = column_of(c, i, phy_audit_string(run, "device")),
                   row = row_of(c, phy_audit_string(run, "path"), phy_audit_string(member(run, "store"), "scheme"));
            c->rows[row].cells[column].run = run;
        }
    }
    return true;
}

/* Letters for cells that equal another bit for bit. */
static void find_twins(struct phy_comparison *c)
{
    for (size_t i = 0; i < c->row_count; i++) {
        struct phy_compare_cell *cells = c->rows[i].cells;
        char next = 'A';
        for (size_t a = 0; a < c->column_count; a++) {
            const char *hash = phy_audit_string(cells[a].run, "output_xxh3");
            for (size_t b = a + 1; b < c->column_count && *hash && !cells[a].twin; b++) {
                if (strcmp(phy_audit_string(cells[b].run, "output_xxh3"), hash) == 0)
                    cells[a].twin = cells[b].twin = cells[b].twin ? cells[b].twin : next;
            }
            for (size_t b = a + 1; b < c->column_count && cells[a].twin; b++) {
                if (strcmp(phy_audit_string(cells[b].run, "output_xxh3"), hash) == 0)
                    cells[b].twin = cells[a].twin;
            }
            next = (char)(cells[a].twin == next && next < 'Z' ? next + 1 : next);
        }
    }
}

/* ---- pairs ---- */

static void add_difference(struct phy_comparison *c, size_t row, size_t a, size_t b, const char *text)
{
    phy_audit_add_cause(&c->differences, "%s (%s): %s %s and %s %s: %s", c->rows[row].path, c->rows[row].scheme,
                        c->files[c->columns[a].file].name, c->columns[a].device, c->files[c->columns[b].file].name,
                        c->columns[b].device, text);
}

/* The stricter of the two runs' bounds; infinite where neither has one. */
static double bound_of(const cJSON *a, const cJSON *b, const char *key, bool decoded, bool floor)
{
    const cJSON *bounds[2] = {member(a, "bounds"), member(b, "bounds")};
    double best = INFINITY;
    for (int i = 0; i < 2; i++) {
        double value = phy_audit_number(decoded ? member(bounds[i], "decoded") : bounds[i], key);
        if (!isnan(value))
            best = fmin(best, floor ? 1 - value : value);
    }
    return best;
}

static bool check_figures(char *text, size_t bytes, const cJSON *a, const cJSON *b, bool decoded)
{
    const cJSON *from[2] = {decoded ? member(a, "decoded") : a, decoded ? member(b, "decoded") : b};
    const double rel_l2 = bound_of(a, b, "rel_l2", decoded, false), cos = bound_of(a, b, "cos", decoded, true);
    double x = phy_audit_number(from[0], "max_rel_l2"), y = phy_audit_number(from[1], "max_rel_l2");
    double u = phy_audit_number(from[0], "max_one_minus_cos"), v = phy_audit_number(from[1], "max_one_minus_cos");
    if (isnan(x) || isnan(y) || (x <= rel_l2 && y <= rel_l2 && u <= cos && v <= cos))
        return true;
    snprintf(text, bytes,
             "max rel L2 against %s weights %.3e and %.3e (at most %.3e), 1 - cos %.1e and %.1e (at most %.1e)",
             decoded ? "decoded" : "original", x, y, rel_l2, u, v, cos);
    return false;
}

static bool check_driven(char *text, size_t bytes, const cJSON *a, const cJSON *b)
{
    const double limit = bound_of(a, b, "anchor_dp", false, false);
    const cJSON *x = member(a, "driven"), *y = member(b, "driven");
    for (int i = 0; i < cJSON_GetArraySize(x) && i < cJSON_GetArraySize(y); i++) {
        const cJSON *p = cJSON_GetArrayItem(x, i), *q = cJSON_GetArrayItem(y, i);
        double difference = fabs(phy_audit_number(p, "path_p") - phy_audit_number(q, "path_p"));
        if (difference <= limit || isnan(difference))
            continue;
        snprintf(text, bytes, "driving %.40s, the anchor's probability is %.6f and %.6f (at most %.1e apart)",
                 phy_audit_string(p, "prompt"), phy_audit_number(p, "path_p"), phy_audit_number(q, "path_p"), limit);
        return false;
    }
    return true;
}

static void check_cells(struct phy_comparison *c, size_t row, size_t a, size_t b)
{
    struct phy_compare_cell *x = &c->rows[row].cells[a], *y = &c->rows[row].cells[b];
    const char *store_x = phy_audit_string(member(x->run, "store"), "digest"),
               *store_y = phy_audit_string(member(y->run, "store"), "digest");
    const char *verdict_x = phy_audit_string(x->run, "verdict"), *verdict_y = phy_audit_string(y->run, "verdict");
    char text[PHY_AUDIT_SENTENCE] = "";
    if (strcmp(store_x, store_y) != 0)
        snprintf(text, sizeof text, "stores %.16s and %.16s: not the same bytes", store_x, store_y);
    else if (strcmp(verdict_x, verdict_y) != 0)
        snprintf(text, sizeof text, "the one is a %.8s, the other a %.8s", verdict_x, verdict_y);
    else if (check_figures(text, sizeof text, x->run, y->run, true) &&
             check_figures(text, sizeof text, x->run, y->run, false))
        check_driven(text, sizeof text, x->run, y->run);
    if (!*text)
        return;
    x->differs = y->differs = true;
    add_difference(c, row, a, b, text);
}

static void check(struct phy_comparison *c)
{
    for (size_t i = 0; i < c->row_count; i++) {
        for (size_t a = 0; a < c->column_count; a++) {
            for (size_t b = a + 1; b < c->column_count; b++) {
                if (c->rows[i].cells[a].run && c->rows[i].cells[b].run)
                    check_cells(c, i, a, b);
            }
        }
    }
}

/* ---- the run ---- */

static int write_text(const void *user, int fd)
{
    const struct phy_text *text = user;
    return phy_write_all(fd, text->data, text->bytes);
}

static enum phy_status write(const struct phy_audit_compare_params *p, const struct phy_comparison *c,
                             phy_audit_sink *sink, void *user)
{
    struct phy_text text = {0}, html = {0};
    enum phy_status status = PHY_OK;
    if (p->json)
        phy_compare_put_json(&text, c);
    else
        phy_compare_put_table(&text, c);
    if (p->html)
        phy_compare_put_html(&html, c);
    if (text.failed || html.failed)
        status = phy_fail_memory(p->host, "a report", text.bytes + html.bytes);
    if (status == PHY_OK)
        sink(user, text.data, text.bytes);
    if (status == PHY_OK && p->html)
        status = phy_write_whole_file(p->html, write_text, &html, p->host);
    phy_text_free(&text);
    phy_text_free(&html);
    return status;
}

static void free_comparison(struct phy_comparison *c)
{
    for (size_t i = 0; c->files && i < c->file_count; i++)
        cJSON_Delete(c->files[i].root);
    for (size_t i = 0; i < c->row_count; i++)
        phy_free(c->rows[i].cells);
    phy_free(c->files);
    phy_free(c->columns);
    phy_free(c->rows);
    phy_free(c->differences.lines);
}

enum phy_status phy_audit_compare(const struct phy_audit_compare_params *params, phy_audit_sink *sink, void *user)
{
    struct phy_comparison c = {0};
    if (params->file_count < 2)
        return phy_fail(params->host, PHY_ERR_USAGE, "compare needs two or more audit.json");
    enum phy_status status = read_files(params, &c);
    if (status == PHY_OK && !make_matrix(&c))
        status = phy_fail_memory(params->host, "a matrix", c.row_count * c.column_count);
    if (status == PHY_OK) {
        find_twins(&c);
        check(&c);
        status = write(params, &c, sink, user);
    }
    if (status == PHY_OK && c.differences.count)
        status = PHY_ERR_MISMATCH;
    free_comparison(&c);
    return status;
}
