/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/matrices.h"

#include <string.h>
#include <strings.h>

#include "bench/stats.h"

static const char *const names[PHY_WEIGHT_TYPE_COUNT] = {
    [PHY_WEIGHT_BF16] = "bf16", [PHY_WEIGHT_F16] = "f16",     [PHY_WEIGHT_F32] = "f32",   [PHY_WEIGHT_Q8_0] = "q8_0",
    [PHY_WEIGHT_Q4_0] = "q4_0", [PHY_WEIGHT_Q4_K] = "q4_k",   [PHY_WEIGHT_Q6_K] = "q6_k", [PHY_WEIGHT_FP8] = "fp8",
    [PHY_WEIGHT_FP4] = "fp4",   [PHY_WEIGHT_MXFP4] = "mxfp4",
};

const char *phy_bench_type_name(enum phy_weight_type type)
{
    return names[type];
}

bool phy_bench_type_named(const char *name, enum phy_weight_type *type)
{
    for (int i = 0; i < PHY_WEIGHT_TYPE_COUNT; i++) {
        if (strcasecmp(names[i], name) == 0) {
            *type = (enum phy_weight_type)i;
            return true;
        }
    }
    return false;
}

static void put_f16(uint8_t *to, uint16_t code)
{
    to[0] = (uint8_t)code;
    to[1] = (uint8_t)(code >> 8);
}

/* The scales of one block, where src/quant draws them: about 2^-6, so that sums stay far from both ends of float32. */
static void set_scales(enum phy_weight_type type, uint8_t *block)
{
    const uint16_t small_f16 = 0x2400; /* 2^-6 */
    const uint8_t small_e4m3 = 0x08;   /* 2^-6 */
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        put_f16(block, small_f16);
        break;
    case PHY_WEIGHT_Q4_K:
        put_f16(block, small_f16);
        put_f16(block + 2, small_f16);
        break;
    case PHY_WEIGHT_Q6_K:
        put_f16(block + 208, small_f16);
        break;
    case PHY_WEIGHT_FP8:
        for (int i = 0; i < 256; i++)
            block[i] = (block[i] & 0x7F) == 0x7F ? 0 : block[i]; /* NaN */
        block[256] = small_e4m3;
        break;
    case PHY_WEIGHT_FP4:
        for (int i = 0; i < 8; i++)
            block[128 + i] = 0x38; /* 1 */
        block[136] = small_e4m3;
        break;
    case PHY_WEIGHT_MXFP4:
        block[0] = 121; /* 2^-6 */
        break;
    default:
        break;
    }
}

/* Floats of about 2^-7 .. 2^-6, either sign: the exponent is one, the rest is random. */
static void fill_floats(enum phy_weight_type type, uint8_t *to, size_t bytes, uint64_t *state)
{
    size_t width = phy_weight_float_bytes(type);
    for (size_t i = 0; i + width <= bytes; i += width) {
        uint64_t bits = phy_bench_random(state);
        uint32_t code = (uint32_t)bits;
        if (type == PHY_WEIGHT_F32)
            code = (code & 0x807FFFFF) | 0x3C000000;
        else if (type == PHY_WEIGHT_BF16)
            code = (code & 0x807F) | 0x3C00;
        else
            code = (code & 0x83FF) | 0x2000;
        memcpy(to + i, &code, width);
    }
}

void phy_bench_fill(enum phy_weight_type type, uint8_t *to, size_t bytes, uint64_t seed)
{
    uint64_t state = seed;
    if (type < PHY_WEIGHT_FLOAT_COUNT) {
        fill_floats(type, to, bytes, &state);
        return;
    }
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t bits = phy_bench_random(&state);
        memcpy(to + i, &bits, bytes - i < 8 ? bytes - i : 8);
    }
    const struct phy_quant_format *format = phy_weight_format(type);
    for (size_t i = 0; i + format->bytes <= bytes; i += format->bytes)
        set_scales(type, to + i);
}
