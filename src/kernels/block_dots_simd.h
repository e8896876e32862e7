/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of blocks to floats, and their products with rows of x, over block_unpack_<form>.h: what the products and the
 * walk share. */
#ifndef PHY_KERNELS_BLOCK_DOTS_SIMD_H
#define PHY_KERNELS_BLOCK_DOTS_SIMD_H

/* One call of `body(type)` with a constant type, for every type. */
#define FOR_TYPE(type, body)                                                                                           \
    switch (type) {                                                                                                    \
    case PHY_WEIGHT_BF16:                                                                                              \
        body(PHY_WEIGHT_BF16);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_F16:                                                                                               \
        body(PHY_WEIGHT_F16);                                                                                          \
        break;                                                                                                         \
        FOR_PRODUCT_TYPE(body)                                                                                         \
    default:                                                                                                           \
        break;                                                                                                         \
    }
#define FOR_PRODUCT_TYPE(body)                                                                                         \
    case PHY_WEIGHT_F32:                                                                                               \
        body(PHY_WEIGHT_F32);                                                                                          \
        break;                                                                                                         \
    case PHY_WEIGHT_Q8_0:                                                                                              \
        body(PHY_WEIGHT_Q8_0);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_Q4_0:                                                                                              \
        body(PHY_WEIGHT_Q4_0);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_Q4_K:                                                                                              \
        body(PHY_WEIGHT_Q4_K);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_Q6_K:                                                                                              \
        body(PHY_WEIGHT_Q6_K);                                                                                         \
        break;                                                                                                         \
    case PHY_WEIGHT_FP8:                                                                                               \
        body(PHY_WEIGHT_FP8);                                                                                          \
        break;                                                                                                         \
    case PHY_WEIGHT_FP4:                                                                                               \
        body(PHY_WEIGHT_FP4);                                                                                          \
        break;                                                                                                         \
    case PHY_WEIGHT_MXFP4:                                                                                             \
        body(PHY_WEIGHT_MXFP4);                                                                                        \
        break;

INLINE vec load_floats_tail(const float *x, size_t left)
{
    float buffer[LANES] = {0};
    memcpy(buffer, x, left * sizeof *x);
    return vec_load(buffer);
}

/* The first `elements` of a block that does not end within the row; zeros up to a whole vector. Not inlined: once for
 * each row, and any type. Of floats no byte beyond the elements is read. */
static __attribute__((noinline)) void unpack_part(enum phy_weight_type type, const uint8_t *block, size_t elements,
                                                  float values[MAX_BLOCK_ELEMENTS])
{
    uint8_t floats[GROUP * sizeof(float)] = {0};
    struct scales s;
    if (type < PHY_WEIGHT_FLOAT_COUNT)
        block = memcpy(floats, block, elements * phy_weight_float_bytes(type));
    load_scales(type, block, &s);
    for (size_t g = 0; g * GROUP < elements; g++) {
        vec w[GROUP_VECS];
        unpack(type, block, &s, g, w);
        for (size_t i = 0; i < GROUP_VECS; i++)
            vec_store(values + g * GROUP + i * LANES, w[i]);
    }
    memset(values + elements, 0, (0 - elements) % GROUP * sizeof *values);
}

/* `cols` elements from the beginning of a block. */
INLINE void unpack_cols(enum phy_weight_type type, const uint8_t *block, size_t cols, float *out)
{
    const size_t elements = block_elements(type), bytes = block_bytes(type);
    for (; cols >= elements; cols -= elements, block += bytes, out += elements) {
        struct scales s;
        load_scales(type, block, &s);
        UNROLL
        for (size_t g = 0; g < elements / GROUP; g++) {
            vec w[GROUP_VECS];
            unpack(type, block, &s, g, w);
            UNROLL
            for (size_t i = 0; i < GROUP_VECS; i++)
                vec_store(out + g * GROUP + i * LANES, w[i]);
        }
    }
    if (cols) {
        float values[MAX_BLOCK_ELEMENTS];
        unpack_part(type, block, cols, values);
        memcpy(out, values, cols * sizeof *out);
    }
}

/* Blocks of one group are taken STEP_GROUPS at a time. */
enum { STEP_GROUPS = 4 };

/* Groups whose products in each lane are one chain of additions, which is then added to a sum that keeps what is lost:
 * of most formats of short blocks as many as a step has. What q4_K's minima cancel has been rounded, and its audits are
 * the first to show it; f32 is what its blocks were decoded to. */
INLINE size_t chain_groups(enum phy_weight_type type)
{
    return block_elements(type) == GROUP && type != PHY_WEIGHT_F32 ? STEP_GROUPS : 2;
}

/* `groups` groups of each of `rows` rows, from the beginning of a block, times `count` rows of x; the sums go on in sum
 * and rest. */
INLINE void dot_groups(enum phy_weight_type type, const uint8_t *const w[], size_t rows, size_t groups, const float *x,
                       size_t count, size_t x_stride, vec sum[], vec rest[])
{
    const size_t block_groups = block_elements(type) / GROUP, chain = chain_groups(type);
    struct scales s[4];
    vec part[4 * 4];
    UNROLL
    for (size_t g = 0; g < groups; g++) {
        const bool last = g % chain == chain - 1 || g + 1 == groups;
        const size_t at_block = g / block_groups * block_bytes(type);
        if (g % block_groups == 0) {
            UNROLL
            for (size_t i = 0; i < rows; i++)
                load_scales(type, w[i] + at_block, &s[i]);
        }
        UNROLL
        for (size_t i = 0; i < rows; i++) {
            vec wk[GROUP_VECS];
            unpack(type, w[i] + at_block, &s[i], g % block_groups, wk);
            UNROLL
            for (size_t v = 0; v < GROUP_VECS; v++) {
                UNROLL
                for (size_t j = 0; j < count; j++) {
                    const vec at = vec_load(x + j * x_stride + g * GROUP + v * LANES);
                    vec *p = &part[i * count + j];
                    *p = g % chain == 0 && v == 0 ? vec_mul(wk[v], at) : vec_fma(wk[v], at, *p);
                }
            }
            UNROLL
            for (size_t j = 0; j < count && last; j++)
                vec_add_keeping(&sum[i * count + j], &rest[i * count + j], part[i * count + j]);
        }
    }
}

/* The last `elements` columns, less than a block. */
INLINE void dot_part(enum phy_weight_type type, const uint8_t *block, size_t elements, const float *x, size_t count,
                     size_t x_stride, vec sum[], vec rest[])
{
    float values[MAX_BLOCK_ELEMENTS];
    unpack_part(type, block, elements, values);
    for (size_t k = 0; k < elements; k += LANES) {
        const vec wk = vec_load(values + k);
        UNROLL
        for (size_t j = 0; j < count; j++) {
            const float *at = x + j * x_stride + k;
            const vec xk = elements - k >= LANES ? vec_load(at) : load_floats_tail(at, elements - k);
            vec_add_keeping(&sum[j], &rest[j], vec_mul(wk, xk));
        }
    }
}

/* Where what is wanted after the rows `from` lies: `stride` bytes on, first .. last times; and in `next`, if not NULL.
 */
struct ahead {
    size_t stride, first, last;
    const uint8_t *const *from, *const *next;
};

/* Asks for what is wanted after the `bytes` of each row that w has come to. */
INLINE void ask_ahead(const struct ahead *ahead, const uint8_t *const w[], size_t rows, size_t bytes)
{
    UNROLL
    for (size_t i = 0; i < rows; i++) {
        UNROLL
        for (size_t b = 0; b < bytes; b += 64) {
            if (ahead->next)
                __builtin_prefetch(ahead->next[i] + (w[i] - ahead->from[i]) + b, 0, 2);
            for (size_t times = ahead->first; ahead->stride && times <= ahead->last; times++)
                __builtin_prefetch((const void *)((uintptr_t)w[i] + times * ahead->stride + b), 0, 2);
        }
    }
}

/* `rows` rows of w (at most 4) times `count` rows of x (at most 4), (count, cols) from row to row: out[i * count + j].
 * Both are constants where this is inlined. `stride`: bytes from a row to the one that is wanted next, which is asked
 * for as this one is read (as in matmul_simd.h); 0 where they do not follow each other, and `next` has them, or is
 * NULL. Of formats with little to do for a byte also the row after that, of q4_K that one alone (Zen 4: q6_K 1.2 times,
 * q4_K 1.07 times faster so, mxfp4 slower). */
INLINE void dot_rows(enum phy_weight_type type, const uint8_t *const rows_of_w[], size_t rows, size_t cols,
                     size_t stride, const uint8_t *const next[], const float *x, size_t count, float out[])
{
    const size_t elements = block_elements(type), bytes = block_bytes(type), whole = cols - cols % elements;
    const size_t step = elements == GROUP ? STEP_GROUPS * GROUP : elements;
    const size_t first = type == PHY_WEIGHT_Q4_K ? 2 : 1;
    const struct ahead ahead = {.stride = stride,
                                .first = first,
                                .last = type == PHY_WEIGHT_Q6_K || type == PHY_WEIGHT_Q8_0 ? 2 : first,
                                .from = rows_of_w,
                                .next = next};
    vec sum[4 * 4], rest[4 * 4];
    const uint8_t *w[4];
    UNROLL
    for (size_t i = 0; i < rows; i++)
        w[i] = rows_of_w[i];
    UNROLL
    for (size_t i = 0; i < rows * count; i++)
        sum[i] = rest[i] = vec_zero();
    size_t k = 0;
    for (; whole - k >= step; k += step) {
        ask_ahead(&ahead, w, rows, step / elements * bytes);
        dot_groups(type, w, rows, step / GROUP, x + k, count, cols, sum, rest);
        UNROLL
        for (size_t i = 0; i < rows; i++)
            w[i] += step / elements * bytes;
    }
    for (; elements == GROUP && k < whole; k += GROUP) {
        ask_ahead(&ahead, w, rows, bytes);
        dot_groups(type, w, rows, 1, x + k, count, cols, sum, rest);
        UNROLL
        for (size_t i = 0; i < rows; i++)
            w[i] += bytes;
    }
    for (size_t i = 0; whole < cols && i < rows; i++)
        dot_part(type, w[i], cols - whole, x + whole, count, cols, sum + i * count, rest + i * count);
    UNROLL
    for (size_t i = 0; i < rows * count; i++)
        out[i] = vec_sum_exactly(sum[i], rest[i]);
}

#endif
