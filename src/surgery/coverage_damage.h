/* SPDX-License-Identifier: Apache-2.0 */
/* Findings put into sentences, in the order of files and data. */
#ifndef PHY_SURGERY_COVERAGE_DAMAGE_H
#define PHY_SURGERY_COVERAGE_DAMAGE_H

#include "physarium/coverage.h"
#include "surgery/coverage_compare.h"
#include "surgery/recompute.h"

struct phy_damage_list {
    struct phy_coverage *coverage; /* receives them */
    size_t capacity;
    const struct phy_host *host;
};

/* Add one difference; `tensor` may be NULL. The list keeps the first 1000 and counts all.
 *   PHY_ERR_MEMORY */
enum phy_status phy_damage_add(struct phy_damage_list *list, const struct phy_damage *damage, const char *file,
                               const struct phy_tensor_info *tensor, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* All that a comparison found. */
enum phy_status phy_damage_collect(struct phy_damage_list *list, const struct phy_comparison *comparison);
enum phy_status phy_damage_add_recompute(struct phy_damage_list *list, const struct phy_comparison *comparison,
                                         const struct phy_target_list *targets, const char *device,
                                         const struct phy_recompute_result *result);

#endif
