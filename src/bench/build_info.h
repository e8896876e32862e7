/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BENCH_BUILD_INFO_H
#define PHY_BENCH_BUILD_INFO_H

extern const char phy_build_compiler[], phy_build_flags[];

#endif
