/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures for reports that need no other file. */
#ifndef PHY_REPORT_PICTURE_H
#define PHY_REPORT_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "report/text.h"

/* Append "data:image/png;base64,..." of a (rows, cols) picture whose pixels choose among 256 colours, 3 bytes each.
 * False when memory ran out. rows and cols are 1..4096. */
bool phy_picture_data_uri(struct phy_text *out, const uint8_t *pixels, uint32_t rows, uint32_t cols,
                          const uint8_t palette[256][3]);

#endif
