/* SPDX-License-Identifier: Apache-2.0 */
#include "report/bench_report.h"

void phy_bench_put_html(struct phy_text *out, const struct cJSON *document)
{
    (void)document;
    phy_text_put(out, "<!doctype html>\n");
}
