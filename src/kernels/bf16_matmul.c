/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/bf16_matmul.h"

#include <math.h>

#include "kernels/bf16_matmul_forms.h"
#include "kernels/matmul_forms.h"
#include "quant/small_float.h"

/* ---- processors without products of bf16: the float32 products of what was rounded ---- */

static size_t float_row_bytes(size_t cols)
{
    return cols * sizeof(float);
}

static void round_floats(const float *x, size_t cols, void *to)
{
    float *rounded = to;
    for (size_t k = 0; k < cols; k++)
        rounded[k] = fabsf(x[k]) < 0x1p-126f ? copysignf(0, x[k]) : phy_bf16_widen(phy_bf16_round(x[k]));
}

static struct phy_matmul of_floats(const struct phy_bf16_matmul *p)
{
    return (struct phy_matmul){p->w, PHY_WEIGHT_BF16, p->rows, p->cols,  p->x, p->count,
                               p->y, p->y_stride,     NULL,    p->cached};
}

#define FLOAT_FORM(form)                                                                                               \
    static void matvec_##form(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end)                 \
    {                                                                                                                  \
        const struct phy_matmul floats = of_floats(product);                                                           \
        phy_matvec_##form(&floats, row_begin, row_end);                                                                \
    }                                                                                                                  \
    static void matmul_##form(const struct phy_bf16_matmul *product, size_t row_begin, size_t row_end, float *panel)   \
    {                                                                                                                  \
        const struct phy_matmul floats = of_floats(product);                                                           \
        phy_matmul_##form(&floats, row_begin, row_end, panel);                                                         \
    }

FLOAT_FORM(ref)
#if defined(PHY_KERNELS_X86)
FLOAT_FORM(avx2)
FLOAT_FORM(avx512)
#endif

const struct phy_bf16_matmul_variant phy_bf16_matmul_variants[] = {
    {.name = "ref",
     .row_bytes = float_row_bytes,
     .round_row = round_floats,
     .matvec = matvec_ref,
     .matmul = matmul_ref},
#if defined(PHY_KERNELS_X86)
    {.name = "avx2",
     .needs = {.avx2 = true},
     .row_bytes = float_row_bytes,
     .round_row = round_floats,
     .matvec = matvec_avx2,
     .matmul = matmul_avx2},
    {.name = "avx512",
     .needs = {.avx2 = true, .avx512 = true},
     .row_bytes = float_row_bytes,
     .round_row = round_floats,
     .matvec = matvec_avx512,
     .matmul = matmul_avx512},
    {.name = "avx512bf16",
     .needs = {.avx2 = true, .avx512 = true, .avx512_bf16 = true},
     .row_bytes = phy_bf16_row_bytes_avx512bf16,
     .round_row = phy_bf16_round_row_avx512bf16,
     .turn_rows = phy_bf16_turn_rows_avx512bf16,
     .matvec = phy_bf16_matvec_avx512bf16,
     .matmul = phy_bf16_matmul_avx512bf16},
#endif
#if defined(PHY_KERNELS_AMX)
    {.name = "avx512amx",
     .needs = {.avx2 = true, .avx512 = true, .avx512_bf16 = true, .amx_bf16 = true},
     .row_bytes = phy_bf16_row_bytes_avx512bf16,
     .round_row = phy_bf16_round_row_avx512bf16,
     .turn_rows = phy_bf16_turn_rows_avx512bf16,
     .matvec = phy_bf16_matvec_avx512bf16,
     .matmul = phy_bf16_matmul_avx512amx},
#endif
    {.name = NULL},
};

const struct phy_bf16_matmul_variant *phy_bf16_matmul_variant_best(const struct phy_cpu_features *have)
{
    const struct phy_bf16_matmul_variant *best = &phy_bf16_matmul_variants[0];
    for (const struct phy_bf16_matmul_variant *v = phy_bf16_matmul_variants; v->name; v++) {
        if (phy_cpu_meets(have, &v->needs))
            best = v;
    }
    return best;
}
