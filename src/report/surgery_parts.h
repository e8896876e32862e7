/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the surgery report: each puts one file's text. A failed allocation shows in the text. */
#ifndef PHY_REPORT_SURGERY_PARTS_H
#define PHY_REPORT_SURGERY_PARTS_H

#include <string.h>

#include "report/surgery_report.h"
#include "report/tally.h"
#include "report/text.h"

enum { PHY_SURGERY_SCHEMA_VERSION = 1, PHY_OUTLIER_LIMIT = 12, PHY_NOT_DONE_LIMIT = 8, PHY_NOT_DONE_BYTES = 256 };

/* No method is the flow, too. */
static inline bool phy_record_is_flow(const struct phy_surgery_record *record)
{
    return !record->method || strcmp(record->method, "flow") == 0;
}

struct phy_surgery_view {
    const struct phy_surgery_record *record; /* &kept */
    struct phy_surgery_record kept;
    struct phy_tally tally;
    struct phy_outlier outliers[PHY_OUTLIER_LIMIT];
    size_t outlier_count;
    char not_done[PHY_NOT_DONE_LIMIT][PHY_NOT_DONE_BYTES]; /* sentences */
    size_t not_done_count;
};

void phy_surgery_put_json(struct phy_text *out, const struct phy_surgery_view *view);
void phy_coverage_put_json(struct phy_text *out, const struct phy_surgery_view *view);
/* One line of tensors.jsonl. */
void phy_tensor_put_jsonl(struct phy_text *out, const struct phy_report_tensor *tensor);
void phy_surgery_put_markdown(struct phy_text *out, const struct phy_surgery_view *view);
void phy_surgery_put_html(struct phy_text *out, const struct phy_surgery_view *view);

#endif
