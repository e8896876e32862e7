/* SPDX-License-Identifier: Apache-2.0 */
/* A comparison of audits, and what is written of it. */
#ifndef PHY_AUDIT_COMPARE_H
#define PHY_AUDIT_COMPARE_H

#include "report/audit_report.h"

struct cJSON;

struct phy_comparison {
    struct phy_compare_file {
        const char *name; /* last part of its path */
        struct cJSON *root;
    } * files;
    size_t file_count;
    struct phy_compare_column {
        size_t file;
        const char *device, *description; /* inside the file */
    } * columns;
    size_t column_count;
    struct phy_compare_row {
        const char *path, *scheme;
        struct phy_compare_cell {
            const struct cJSON *run; /* NULL: not in that file */
            char twin;               /* cells of a row with the same letter are equal bit for bit; 0: none is */
            bool differs;            /* from some other, beyond bounds */
        } * cells;                   /* (column_count) */
    } * rows;
    size_t row_count;
    struct phy_audit_causes differences;
};

void phy_compare_put_table(struct phy_text *out, const struct phy_comparison *comparison);
void phy_compare_put_json(struct phy_text *out, const struct phy_comparison *comparison);
void phy_compare_put_html(struct phy_text *out, const struct phy_comparison *comparison);

#endif
