/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison as a table, as JSON and as a page. Texts come from files of strangers. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit_file.h"
#include "audit/compare.h"
#include "base/log.h"
#include "physarium/version.h"
#include "report/html_style.h"
#include "report/json.h"

static const cJSON *decoded_of(const cJSON *run)
{
    const cJSON *decoded = cJSON_GetObjectItemCaseSensitive(run, "decoded");
    return cJSON_IsObject(decoded) ? decoded : run;
}

/* Without the quotes of rule E3, cut. */
static const char *plain(char out[PHY_QUOTED_BYTES], const char *text)
{
    phy_quote(out, text, strlen(text));
    size_t bytes = strlen(out);
    if (bytes < 2 || out[bytes - 1] != '"')
        return out;
    out[bytes - 1] = 0;
    return out + 1;
}

/* ---- the terminal ---- */

static void put_cell(struct phy_text *out, const struct phy_compare_cell *cell)
{
    char text[64];
    if (!cell->run) {
        phy_text_printf(out, " %-18s", "-");
        return;
    }
    double value = phy_audit_number(decoded_of(cell->run), "max_rel_l2");
    bool failed = strcmp(phy_audit_string(cell->run, "verdict"), "fail") == 0;
    snprintf(text, sizeof text, "%.1e %.0f%s%c%s%s", value, phy_audit_number(cell->run, "top1_match"),
             cell->twin ? " =" : "", cell->twin ? cell->twin : ' ', failed ? " FAIL" : "", cell->differs ? " !" : "");
    phy_text_printf(out, " %-18s", text);
}

void phy_compare_put_table(struct phy_text *out, const struct phy_comparison *c)
{
    char quoted[PHY_QUOTED_BYTES];
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(c->files[0].root, "model");
    phy_text_printf(out, "%s, weights %.40s\n", plain(quoted, phy_audit_string(model, "name")),
                    phy_audit_string(model, "digest"));
    for (size_t i = 0; i < c->column_count; i++) {
        phy_text_printf(out, "%2zu  %-24s ", i + 1, plain(quoted, c->files[c->columns[i].file].name));
        phy_text_printf(out, "%-17s ", plain(quoted, c->columns[i].device));
        phy_text_printf(out, "%s\n", plain(quoted, c->columns[i].description));
    }
    phy_text_printf(
        out,
        "\nmax rel L2 of decoded weights, prompts with the reference's top-1, =A equal bit for bit, ! differs "
        "beyond bounds\n%-33s",
        "");
    for (size_t i = 0; i < c->column_count; i++)
        phy_text_printf(out, " %-18zu", i + 1);
    phy_text_put(out, "\n");
    for (size_t i = 0; i < c->row_count; i++) {
        phy_text_printf(out, "%-24s ", plain(quoted, c->rows[i].path));
        phy_text_printf(out, "%-8s", plain(quoted, c->rows[i].scheme));
        for (size_t k = 0; k < c->column_count; k++)
            put_cell(out, &c->rows[i].cells[k]);
        phy_text_put(out, "\n");
    }
    for (size_t i = 0; i < c->differences.count; i++) {
        phy_text_put(out, "DIFFERS ");
        phy_text_plain_name(out, c->differences.lines[i], PHY_NAME_LINE);
        phy_text_put(out, "\n");
    }
    phy_text_printf(out, "\n%zu paths, %zu columns, %zu differences\n", c->row_count, c->column_count,
                    c->differences.count);
}

/* ---- JSON ---- */

static bool add_number(cJSON *object, const char *key, double value)
{
    return isfinite(value) ? phy_json_double(object, key, value) : phy_json_null(object, key);
}

static bool add_text(cJSON *object, const char *key, const char *text)
{
    return phy_json_string(object, key, text);
}

static bool add_cell(cJSON *cells, const struct phy_compare_cell *cell, size_t column)
{
    const cJSON *run = cell->run, *decoded = decoded_of(run);
    const char twin[] = {cell->twin, 0};
    cJSON *item = phy_json_item(cells);
    return phy_json_count(item, "column", column) && add_number(item, "min_cos", phy_audit_number(run, "min_cos")) &&
           add_number(item, "max_rel_l2", phy_audit_number(run, "max_rel_l2")) &&
           add_number(item, "decoded_min_cos", phy_audit_number(decoded, "min_cos")) &&
           add_number(item, "decoded_max_rel_l2", phy_audit_number(decoded, "max_rel_l2")) &&
           add_number(item, "top1_match", phy_audit_number(run, "top1_match")) &&
           add_text(item, "verdict", phy_audit_string(run, "verdict")) &&
           (cell->twin ? add_text(item, "bit_equal", twin) : phy_json_null(item, "bit_equal")) &&
           phy_json_bool(item, "differs", cell->differs);
}

static bool fill_json(cJSON *root, const struct phy_comparison *c)
{
    bool done = phy_json_string(root, "schema", "physarium.audit-comparison") &&
                phy_json_count(root, "schema_version", 1) &&
                phy_json_string(root, "verdict", c->differences.count ? "differ" : "agree");
    cJSON *columns = phy_json_array(root, "columns"), *rows = phy_json_array(root, "rows"),
          *differences = phy_json_array(root, "differences");
    for (size_t i = 0; done && i < c->column_count; i++) {
        cJSON *item = phy_json_item(columns);
        done = add_text(item, "file", c->files[c->columns[i].file].name) &&
               add_text(item, "device", c->columns[i].device) &&
               add_text(item, "device_name", c->columns[i].description);
    }
    for (size_t i = 0; done && i < c->row_count; i++) {
        cJSON *item = phy_json_item(rows), *cells;
        done = add_text(item, "path", c->rows[i].path) && add_text(item, "store", c->rows[i].scheme) &&
               (cells = phy_json_array(item, "cells"));
        for (size_t k = 0; done && k < c->column_count; k++)
            done = !c->rows[i].cells[k].run || add_cell(cells, &c->rows[i].cells[k], k);
    }
    for (size_t i = 0; done && i < c->differences.count; i++)
        done = add_text(phy_json_item(differences), "text", c->differences.lines[i]);
    return done;
}

void phy_compare_put_json(struct phy_text *out, const struct phy_comparison *c)
{
    cJSON *root = cJSON_CreateObject();
    char *printed = fill_json(root, c) ? cJSON_Print(root) : NULL;
    if (printed) {
        phy_text_put(out, printed);
        phy_text_put(out, "\n");
    } else {
        out->failed = true;
    }
    cJSON_free(printed);
    cJSON_Delete(root);
}

/* ---- the page ---- */

static void put_page_cell(struct phy_text *out, const struct phy_compare_cell *cell)
{
    if (!cell->run) {
        phy_text_put(out, "<td class=soft>&ndash;</td>");
        return;
    }
    const cJSON *decoded = decoded_of(cell->run);
    bool failed = strcmp(phy_audit_string(cell->run, "verdict"), "fail") == 0;
    phy_text_printf(out, "<td>%s%.1e<br><span class=soft>1 &minus; cos %.0e<br>top-1 %.0f%s</span>",
                    failed          ? "<span class=bad>&#10007; FAIL</span> "
                    : cell->differs ? "<span class=bad>&#8800;</span> "
                                    : "&#10003; ",
                    phy_audit_number(decoded, "max_rel_l2"), phy_audit_number(decoded, "max_one_minus_cos"),
                    phy_audit_number(cell->run, "top1_match"), cell->twin ? ", " : "");
    if (cell->twin)
        phy_text_printf(out, "<b>=%c</b>", cell->twin);
    phy_text_put(out, "</td>");
}

static void put_page_head(struct phy_text *out, const struct phy_comparison *c)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(c->files[0].root, "model");
    phy_text_put(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
                      "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
                      "<title>Audits compared</title>\n<style>\n");
    phy_text_put(out, phy_report_style);
    phy_text_put(out, "td{white-space:nowrap}td b{font-weight:600;color:var(--accent)}\n"
                      "th:first-child,td:first-child{position:sticky;left:0;background:var(--bg)}\n"
                      "@media(max-width:600px){td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8em;"
                      "max-width:9em}}</style></head>\n<body><main>\n<h1>Audits compared: ");
    phy_text_put(out, c->differences.count ? "<span class=bad>they differ</span>" : "they agree");
    phy_text_put(out, "</h1>\n<p class=soft>Model ");
    phy_text_html_name(out, phy_audit_string(model, "name"), PHY_NAME_QUOTED);
    phy_text_put(out, ", weights ");
    phy_text_html_name(out, phy_audit_string(model, "digest"), PHY_NAME_BARE);
    phy_text_put(
        out, ". Cells: the largest relative L2 of an observation against decoded weights, 1 &minus; cos, prompts whose "
             "likeliest token is the reference's. <b>=A</b>: equal bit for bit within the row. &#8800;: differs from "
             "another of the row beyond bounds.</p>\n<div class=wide><table><tr><th>path<th class=l>storage");
    for (size_t i = 0; i < c->column_count; i++) {
        phy_text_put(out, "<th>");
        phy_text_html_name(out, c->files[c->columns[i].file].name, PHY_NAME_BARE);
        phy_text_put(out, "<br>");
        phy_text_html_name(out, c->columns[i].device, PHY_NAME_BARE);
        phy_text_put(out, "<br>");
        phy_text_html_name(out, c->columns[i].description, PHY_NAME_BARE);
    }
    phy_text_put(out, "</tr>\n");
}

void phy_compare_put_html(struct phy_text *out, const struct phy_comparison *c)
{
    put_page_head(out, c);
    for (size_t i = 0; i < c->row_count; i++) {
        phy_text_put(out, "<tr><td class=l>");
        phy_text_html_name(out, c->rows[i].path, PHY_NAME_BARE);
        phy_text_put(out, "</td><td class=l>");
        phy_text_html_name(out, c->rows[i].scheme, PHY_NAME_BARE);
        phy_text_put(out, "</td>");
        for (size_t k = 0; k < c->column_count; k++)
            put_page_cell(out, &c->rows[i].cells[k]);
        phy_text_put(out, "</tr>\n");
    }
    phy_text_put(out, "</table></div>\n");
    if (c->differences.count)
        phy_text_put(out, "<h2>Pairs that differ beyond bounds</h2>\n<ul>\n");
    for (size_t i = 0; i < c->differences.count; i++) {
        phy_text_put(out, "<li>");
        phy_text_html_name(out, c->differences.lines[i], PHY_NAME_LINE);
        phy_text_put(out, "</li>\n");
    }
    phy_text_put(out, c->differences.count ? "</ul>\n" : "");
    phy_text_printf(out,
                    "<footer>physarium %s; the same numbers for programs: physarium audit compare --json.</footer>\n"
                    "</main></body></html>\n",
                    phy_version());
}
