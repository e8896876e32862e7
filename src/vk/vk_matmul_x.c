/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of x as a product wants them: as they came, or made into something else once, beside them in the arena. */
#include "vk/vk_matmul_parts.h"

enum vk_x phy_vk_x_kind(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                        size_t count)
{
    if (kernel == PHY_KERNEL_INT8)
        return VK_X_INT8;
    if (phy_vk_matrices_take(m, kernel, type, count))
        return kernel == PHY_KERNEL_BF16 ? VK_X_SPLIT_BF16 : VK_X_SPLIT;
    return kernel == PHY_KERNEL_BF16 ? VK_X_BF16 : VK_X_PLAIN;
}

static uint32_t units_of(uint32_t cols)
{
    return vk_padded(cols) / PHY_UNIT_COLS;
}

uint32_t phy_vk_x_pieces(enum vk_x kind)
{
    return kind == VK_X_SPLIT ? 2 : 1;
}

/* 16-byte words of a row of int8 codes and their scales. */
static uint64_t rounded_words(uint32_t cols)
{
    const uint32_t units = units_of(cols), supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    return PHY_ROUNDED_ROW(units, supers);
}

uint64_t phy_vk_x_exponents_at(enum vk_x kind, uint32_t cols, size_t count)
{
    return (uint64_t)count * units_of(cols) * PHY_SPLIT_WORDS * phy_vk_x_pieces(kind) * 4;
}

uint64_t phy_vk_x_floats(enum vk_x kind, uint32_t cols, size_t count)
{
    switch (kind) {
    case VK_X_INT8:
        return (uint64_t)count * rounded_words(cols) * 4;
    case VK_X_BF16:
        return (uint64_t)count * vk_padded(cols);
    case VK_X_SPLIT:
    case VK_X_SPLIT_BF16:
        return phy_vk_x_exponents_at(kind, cols, count) + (count + 3) / 4 * 4;
    default:
        return 0;
    }
}

static enum phy_status record_rounded(struct vk_matmul *m, enum vk_program program, uint32_t cols, size_t count,
                                      uint64_t x_at, uint64_t to_at)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, program, PHY_WEIGHT_F32, 1, 0, &pipe);
    if (status)
        return status;
    const uint32_t units = units_of(cols);
    const struct phy_round_push push = {units, (uint32_t)(x_at / 4), vk_padded(cols) / 4, (uint32_t)to_at};
    phy_vk_matmul_dispatch(m, &pipe, m->arena_set, &push, sizeof push,
                           (units + PHY_ROUND_INVOCATIONS - 1) / PHY_ROUND_INVOCATIONS, (uint32_t)count);
    return PHY_OK;
}

static enum phy_status record_split(struct vk_matmul *m, enum vk_x kind, uint32_t cols, size_t count, uint64_t x_at,
                                    uint64_t to_at)
{
    struct vk_pipe pipe;
    enum phy_status status = phy_vk_matmul_pipeline(m, VK_PROGRAM_SPLIT_X, PHY_WEIGHT_F32, 1, 0, &pipe);
    if (status)
        return status;
    const struct phy_split_push push = {
        .units = units_of(cols),
        .pieces = phy_vk_x_pieces(kind),
        .to_at = (uint32_t)(to_at / 4),
        .exponents_at = (uint32_t)(to_at + phy_vk_x_exponents_at(kind, cols, count)),
        .x_at = (uint32_t)(x_at / 4),
        .x_stride = vk_padded(cols) / 4,
    };
    phy_vk_matmul_dispatch(m, &pipe, m->arena_set, &push, sizeof push, (uint32_t)count, 1);
    return PHY_OK;
}

enum phy_status phy_vk_x_record(struct vk_matmul *m, enum vk_x kind, uint32_t cols, size_t count, uint64_t x_at,
                                uint64_t to_at)
{
    switch (kind) {
    case VK_X_INT8:
        return record_rounded(m, VK_PROGRAM_ROUND, cols, count, x_at, to_at);
    case VK_X_BF16:
        return record_rounded(m, VK_PROGRAM_ROUND_BF16, cols, count, x_at, to_at);
    case VK_X_SPLIT:
    case VK_X_SPLIT_BF16:
        return record_split(m, kind, cols, count, x_at, to_at);
    default:
        return PHY_OK;
    }
}
