/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/matmul_backend.h"

const char *phy_kernel_name(enum phy_product_kernel kernel)
{
    static const char *const names[PHY_KERNEL_COUNT] = {"fused", "dequant", "int8", "bf16", "walk"};
    return names[kernel];
}
