/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/version.h"

const char *phy_version(void)
{
    return PHY_VERSION_STRING;
}
