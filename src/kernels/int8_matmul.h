/* SPDX-License-Identifier: Apache-2.0 */
/* Products of a matrix of blocks with activations that were rounded to int8: the kernel contract of the families
 * int8_matvec_<format> and int8_matmul_<format> for q8_0, q4_K and q6_K. It is a kernel of its own, not a looser form
 * of kernels/block_matmul.h.
 *
 * Rounding, the same bits in every form. For each 256 activations of a row (the last group padded with zeros), whatever
 * the weights' format:
 *
 *   peak = max |x|;  scale = peak / 127;  q = x * (127 / peak) rounded to nearest, ties to even
 *
 * in float32; a group whose peak is below 2^-100 becomes zeros with scale 0. x is finite.
 *
 *   y[n][r] = sum over k < cols of w[r][k] * (q[n][k] * scale[n][k / 256])
 *
 * The dot products of codes are exact integers. Tolerance per element against that sum in float64, over the decoded
 * weights: 4e-6 * the sum of the products' magnitudes. Bits of one form don't depend on how rows are shared among
 * threads, nor, within one family, on how many rows of x there are.
 *
 * Aliasing: y overlaps nothing else. Alignment: none for w. */
#ifndef PHY_KERNELS_INT8_MATMUL_H
#define PHY_KERNELS_INT8_MATMUL_H

#include <string.h>

#include "kernels/matmul.h"

enum { PHY_INT8_GROUP = 256, PHY_INT8_SUM = 16, PHY_INT8_GROUP_SUMS = PHY_INT8_GROUP / PHY_INT8_SUM };

/* Of one group of codes. q6_K's and q8_0's codes of weights are multiplied as unsigned ones, 32 and 128 too many: sums
 * of products that begin with these are right. */
struct phy_int8_sums {
    int32_t less_32[PHY_INT8_GROUP_SUMS];      /* -32 times the sum of each 16 */
    int32_t less_128[PHY_INT8_GROUP_SUMS / 2]; /* -128 times the sum of each 32 */
    int16_t of_16[PHY_INT8_GROUP_SUMS];
    int16_t of_32[PHY_INT8_GROUP_SUMS / 2];
};

/* Rounded rows of x. */
struct phy_int8_rows {
    size_t count, cols;
    size_t groups;              /* of a row: ceil(cols / PHY_INT8_GROUP) */
    int8_t *q;                  /* (count, groups * PHY_INT8_GROUP), zeros beyond cols; 64-byte aligned */
    float *scale;               /* (count, groups) */
    struct phy_int8_sums *sums; /* (count, groups) */
    /* For matvec only; both may be NULL where matmul is all that follows. 64-byte aligned. */
    int8_t *paired; /* the same codes, as q4_K's nibbles lie: in each 128 the 32s in the order 0 2 1 3 */
    int32_t *fours; /* (count, groups * PHY_INT8_GROUP / 4): -32 times the sum of each four */
};

/* -32 times the sum of each four of a group. */
static inline void phy_int8_fours(const int8_t q[PHY_INT8_GROUP], int32_t fours[PHY_INT8_GROUP / 4])
{
    for (size_t i = 0; i < PHY_INT8_GROUP / 4; i++)
        fours[i] = -32 * (q[4 * i] + q[4 * i + 1] + q[4 * i + 2] + q[4 * i + 3]);
}

static inline void phy_int8_sum(const int32_t fours[PHY_INT8_GROUP / 4], struct phy_int8_sums *sums)
{
    for (size_t i = 0; i < PHY_INT8_GROUP_SUMS; i++) {
        sums->less_32[i] = fours[4 * i] + fours[4 * i + 1] + fours[4 * i + 2] + fours[4 * i + 3];
        sums->of_16[i] = (int16_t)(sums->less_32[i] / -32);
    }
    for (size_t i = 0; i < PHY_INT8_GROUP_SUMS / 2; i++) {
        sums->less_128[i] = 4 * (sums->less_32[2 * i] + sums->less_32[2 * i + 1]);
        sums->of_32[i] = (int16_t)(sums->of_16[2 * i] + sums->of_16[2 * i + 1]);
    }
}

/* One group of `paired`. */
static inline void phy_int8_pair(const int8_t q[PHY_INT8_GROUP], int8_t to[PHY_INT8_GROUP])
{
    static const uint8_t order[4] = {0, 2, 1, 3};
    for (size_t i = 0; i < PHY_INT8_GROUP / 32; i++)
        memcpy(to + 32 * i, q + 128 * (i / 4) + (size_t)32 * order[i % 4], 32);
}

struct phy_int8_matmul {
    const void *w; /* rows of phy_weight_row_bytes */
    enum phy_weight_type type;
    size_t rows;
    const struct phy_int8_rows *x;
    float *y;        /* (count, rows), y_stride elements from row to row */
    size_t y_stride; /* elements */
    bool cached;     /* as that of struct phy_matmul */
};

/* Scratch of one thread: the codes of 32 rows and 4096 columns, a byte each, and their scales. */
enum { PHY_INT8_PANEL_GROUPS = 16, PHY_INT8_PANEL_ROWS = 32 };
#define PHY_INT8_PANEL_BYTES ((size_t)PHY_INT8_PANEL_GROUPS * PHY_INT8_PANEL_ROWS * PHY_INT8_GROUP * 3 / 2)

struct phy_int8_matmul_variant {
    const char *name; /* "ref", "avx2", "avx512vnni", "avx512amx": the last two give the same bits */
    struct phy_cpu_features needs;
    /* Row n of `to`, from x (cols). */
    void (*round_row)(const float *x, struct phy_int8_rows *to, size_t n);
    /* Rows row_begin .. row_end - 1 of w; x->count <= PHY_MATVEC_MAX_COUNT. */
    void (*matvec)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end);
    /* The same for any count. `panel` is this thread's scratch of PHY_INT8_PANEL_BYTES, 64-byte aligned. */
    void (*matmul)(const struct phy_int8_matmul *product, size_t row_begin, size_t row_end, void *panel);
    size_t row_unit;     /* rows that matmul takes at a time: cut shares of rows at multiples of it */
    size_t matvec_count; /* up to so many rows of x matvec is the faster of the two */
};

bool phy_int8_offers(enum phy_weight_type type);

/* Slowest first, "ref" at index 0; ends with name NULL. */
extern const struct phy_int8_matmul_variant phy_int8_matmul_variants[];
const struct phy_int8_matmul_variant *phy_int8_matmul_variant_best(const struct phy_cpu_features *have);

#endif
