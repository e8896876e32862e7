/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_VERSION_H
#define PHYSARIUM_VERSION_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PHY_VERSION_MAJOR 0
#define PHY_VERSION_MINOR 1
#define PHY_VERSION_PATCH 0
#define PHY_VERSION_STRING "0.1.0"

/* Version of the library that is linked in, which may be newer than the header: "0.1.0". */
PHY_API const char *phy_version(void);

#ifdef __cplusplus
}
#endif
#endif
