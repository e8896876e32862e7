/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_FFN_SHA256_H
#define PHY_FFN_SHA256_H

#include <stddef.h>

enum { PHY_SHA256_TEXT_BYTES = 65 };
/* FIPS 180-4, as 64 lower-case hex digits and a NUL. */
void phy_sha256_text(const void *data, size_t bytes, char out[PHY_SHA256_TEXT_BYTES]);

#endif
