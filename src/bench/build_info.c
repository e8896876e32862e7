/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/build_info.h"

#if defined(__clang__)
const char phy_build_compiler[] = __VERSION__;
#else
const char phy_build_compiler[] = "gcc " __VERSION__;
#endif
const char phy_build_flags[] = PHY_BUILD_FLAGS;
