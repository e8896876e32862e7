/* SPDX-License-Identifier: Apache-2.0 */
/* What the forms of the tile flow share: declarations, and the scalar steps of the contract. */
#ifndef PHY_KERNELS_FLOW_TILE_FORMS_H
#define PHY_KERNELS_FLOW_TILE_FORMS_H

#include <string.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "kernels/flow_tile.h"
#include "quant/small_float.h"

/* The floating-point environment of the calling thread, by our two settings. Both round to nearest even, with every
 * exception masked. The barriers keep loads and stores, and so the arithmetic between them, on their side. */
enum phy_float_mode {
    PHY_FLOAT_MODE_IEEE,  /* subnormals are kept */
    PHY_FLOAT_MODE_FLUSH, /* subnormal operands and results are zero */
};

/* Returns what phy_float_mode_restore needs. A processor we know nothing about stays in the caller's mode. */
static inline uint64_t phy_float_mode_set(enum phy_float_mode mode)
{
    uint64_t before = 0;
    __asm__ volatile("" ::: "memory");
#if defined(__SSE2__)
    before = _mm_getcsr();
    _mm_setcsr(mode == PHY_FLOAT_MODE_FLUSH ? 0x9FC0u : 0x1F80u); /* FTZ 0x8000, DAZ 0x40, masks 0x1F80 */
#elif defined(__aarch64__)
    uint64_t fpcr = mode == PHY_FLOAT_MODE_FLUSH ? UINT64_C(1) << 24 : 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#else
    (void)mode;
#endif
    __asm__ volatile("" ::: "memory");
    return before;
}

static inline void phy_float_mode_restore(uint64_t before)
{
    __asm__ volatile("" ::: "memory");
#if defined(__SSE2__)
    _mm_setcsr((uint32_t)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
    __asm__ volatile("" ::: "memory");
}

void phy_flow_tile_ref(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                       struct phy_flow_tile_result *result);
void phy_flow_tile_avx2(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                        struct phy_flow_tile_result *result);
void phy_flow_tile_avx512(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                          struct phy_flow_tile_result *result);

/* bits(|w|) of one code. */
static inline uint32_t phy_flow_magnitude_bits(const void *codes, enum phy_float_type type, size_t index)
{
    uint16_t half;
    uint32_t word;
    switch (type) {
    case PHY_FLOAT_BF16:
        memcpy(&half, (const char *)codes + index * 2, 2);
        return (half & 0x7FFFu) << 16;
    case PHY_FLOAT_F16:
        memcpy(&half, (const char *)codes + index * 2, 2);
        return phy_bits_of_float(phy_f16_widen(half & 0x7FFFu));
    default:
        memcpy(&word, (const char *)codes + index * 4, 4);
        return word & 0x7FFFFFFFu;
    }
}

/* bits(food): subnormals count as zero before and after the column's scale. scale is not used without column_scale. */
static inline uint32_t phy_flow_food_bits(const struct phy_flow_tile *tile, uint32_t row, uint32_t col, float scale)
{
    uint32_t bits = phy_flow_magnitude_bits(tile->codes, tile->type, row * tile->row_stride + col);
    if (bits < 0x00800000u)
        return 0;
    if (!tile->column_scale)
        return bits;
    bits = phy_bits_of_float(phy_float_of_bits(bits) * scale);
    return bits < 0x00800000u ? 0 : bits;
}

/* 1/y for normal y > 0: a magic-constant start and two Newton steps, each operation rounded on its own. */
static inline float phy_flow_recip(float y)
{
    float x = phy_float_of_bits(0x7EF311C7u - phy_bits_of_float(y));
    x = x * (2.0f - y * x);
    return x * (2.0f - y * x);
}

#endif
