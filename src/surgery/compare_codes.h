/* SPDX-License-Identifier: Apache-2.0 */
/* A target's codes before and after surgery: which were killed, and which changed in a way that surgery never does. */
#ifndef PHY_SURGERY_COMPARE_CODES_H
#define PHY_SURGERY_COMPARE_CODES_H

#include <stddef.h>
#include <stdint.h>

struct phy_code_counts {
    uint64_t processed;
    uint64_t killed;        /* not +-0 in the donor, +0 in the output */
    uint64_t zero_before;   /* +-0 in the donor */
    uint64_t damaged;       /* neither the donor's bits nor killed; a -0 that became +0 is damaged too */
    uint64_t first_damaged; /* index, set by the first damaged code */
};

/* Add `count` codes of `code_bytes` (2 or 4) each. Both buffers are aligned to their codes. */
void phy_compare_codes(const void *donor, const void *output, size_t count, size_t code_bytes,
                       struct phy_code_counts *counts);

#endif
