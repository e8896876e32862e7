/* SPDX-License-Identifier: Apache-2.0 */
/* Encoders of the blocks of 32 whose bytes docs/quant.md fixes: one lane is one block, so that what happens in it is
 * the sequence written there. Included after one of quant/lanes_*.h. */
#include <assert.h>

#include "quant/encode_forms.h"
#include "quant/encode_units.h"

enum { ELEMENTS = 32, HALF = 16 };

/* trunc(v) within 0 .. most; a NaN (0 times an inverse that is not finite) counts as 0. */
static inline ivec code_of(vec v, float most)
{
    return vec_trunc(vec_min(vec_max(v, vec_set1(0)), vec_set1(most)));
}

/* Element j is the low nibble of byte j, element j + 16 the high one. */
static inline void put_nibbles(const ivec *q, uint8_t *out, size_t stride)
{
    const ivec nibble = ivec_set1(15);
    for (int j = 0; j < HALF; j += 4) {
        ivec low = bytes_of(ivec_and(q[j], nibble), ivec_and(q[j + 1], nibble), ivec_and(q[j + 2], nibble),
                            ivec_and(q[j + 3], nibble));
        const ivec *h = q + j + HALF;
        ivec high =
            bytes_of(ivec_and(h[0], nibble), ivec_and(h[1], nibble), ivec_and(h[2], nibble), ivec_and(h[3], nibble));
        put_words(ivec_or(low, ivec_shift_left(high, 4)), out + j, stride);
    }
}

/* Bit 4 of code n is bit n of the word. */
static inline void put_fifth_bits(const ivec *q, uint8_t *out, size_t stride)
{
    ivec bits = ivec_set1(0);
    for (int n = 0; n < ELEMENTS; n++)
        bits = ivec_or(bits, ivec_shift_left(ivec_shift_right(q[n], 4), n));
    put_words(bits, out, stride);
}

/* q4_0 and q5_0: d = p / -levels/2 for the entry p of largest magnitude, the first of equals. Returns d. */
static inline vec symmetric_codes(const vec *x, float half_levels, ivec *q)
{
    vec most = vec_set1(0), peak = vec_set1(0);
    for (int j = 0; j < ELEMENTS; j++) {
        const vec magnitude = vec_abs(x[j]);
        const mask larger = vec_less(most, magnitude);
        most = vec_select(larger, magnitude, most);
        peak = vec_select(larger, x[j], peak);
    }
    const vec d = within_f16(vec_div(peak, vec_set1(-half_levels)));
    const vec id = finite_inverse(d), middle = vec_set1(half_levels + 0.5f);
    for (int j = 0; j < ELEMENTS; j++)
        q[j] = code_of(vec_add(vec_mul(x[j], id), middle), 2 * half_levels - 1);
    return d;
}

static inline void encode_unit_q4_0(const float *from, uint8_t *out)
{
    enum { D_AT = 0, QS_AT = 2, BYTES = 18 };
    vec x[ELEMENTS];
    ivec q[ELEMENTS];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    put_halves(symmetric_codes(x, 8, q), out + D_AT, BYTES);
    put_nibbles(q, out + QS_AT, BYTES);
}

static inline void encode_unit_q5_0(const float *from, uint8_t *out)
{
    enum { D_AT = 0, QH_AT = 2, QS_AT = 6, BYTES = 22 };
    vec x[ELEMENTS];
    ivec q[ELEMENTS];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    put_halves(symmetric_codes(x, 16, q), out + D_AT, BYTES);
    put_fifth_bits(q, out + QH_AT, BYTES);
    put_nibbles(q, out + QS_AT, BYTES);
}

/* q4_1 and q5_1: d = (max - min) / most, m = min. */
static inline void affine_codes(const vec *x, float most, vec *d, vec *m, ivec *q)
{
    vec low = x[0], high = x[0];
    for (int j = 1; j < ELEMENTS; j++) {
        low = vec_min(x[j], low);
        high = vec_max(x[j], high);
    }
    *d = within_f16(vec_div(vec_sub(high, low), vec_set1(most)));
    *m = within_f16(low);
    const vec id = finite_inverse(*d);
    for (int j = 0; j < ELEMENTS; j++)
        q[j] = code_of(vec_add(vec_mul(vec_sub(x[j], *m), id), vec_set1(0.5f)), most);
}

static inline void encode_unit_q4_1(const float *from, uint8_t *out)
{
    enum { D_AT = 0, M_AT = 2, QS_AT = 4, BYTES = 20 };
    vec x[ELEMENTS], d, m;
    ivec q[ELEMENTS];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    affine_codes(x, 15, &d, &m, q);
    put_halves(d, out + D_AT, BYTES);
    put_halves(m, out + M_AT, BYTES);
    put_nibbles(q, out + QS_AT, BYTES);
}

static inline void encode_unit_q5_1(const float *from, uint8_t *out)
{
    enum { D_AT = 0, M_AT = 2, QH_AT = 4, QS_AT = 8, BYTES = 24 };
    vec x[ELEMENTS], d, m;
    ivec q[ELEMENTS];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    affine_codes(x, 31, &d, &m, q);
    put_halves(d, out + D_AT, BYTES);
    put_halves(m, out + M_AT, BYTES);
    put_fifth_bits(q, out + QH_AT, BYTES);
    put_nibbles(q, out + QS_AT, BYTES);
}

static inline vec peak_magnitude(const vec *x)
{
    vec peak = vec_set1(0);
    for (int j = 0; j < ELEMENTS; j++)
        peak = vec_max(vec_abs(x[j]), peak);
    return peak;
}

/* Halves go away from zero. The part that is cut off is exact, which v + 0.5 would not be. */
static inline ivec rounded_away(vec v)
{
    const ivec whole = vec_trunc(v);
    const vec left = vec_sub(v, vec_of_ivec(whole)), zero = vec_set1(0);
    const vec up = vec_select(vec_less(left, vec_set1(0.5f)), zero, vec_set1(1));
    const vec down = vec_select(vec_less(vec_set1(-0.5f), left), zero, vec_set1(1));
    return ivec_add(whole, vec_trunc(vec_sub(up, down)));
}

static inline void encode_unit_q8_0(const float *from, uint8_t *out)
{
    enum { D_AT = 0, Q_AT = 2, BYTES = 34 };
    vec x[ELEMENTS];
    ivec q[ELEMENTS];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    const vec d = within_f16(vec_div(peak_magnitude(x), vec_set1(127)));
    const vec id = finite_inverse(d), most = vec_set1(127), least = vec_set1(-127);
    for (int j = 0; j < ELEMENTS; j++)
        q[j] = ivec_and(rounded_away(vec_min(vec_max(vec_mul(x[j], id), least), most)), ivec_set1(255));
    put_halves(d, out + D_AT, BYTES);
    for (int j = 0; j < ELEMENTS; j += 4)
        put_words(bytes_of(q[j], q[j + 1], q[j + 2], q[j + 3]), out + Q_AT + j, BYTES);
}

/* floor(log2(peak)) - 2 + 127 within 0 .. 254, the logarithm rounded to float32 first: so peak counts as the power of
 * two 2^k above it when log2 of their ratio, n * 2^-24 / ln 2 for a peak n steps below, is less than half of float32's
 * step below k. With 2^b <= |k| < 2^(b + 1) that half step is 2^(b - 24), or half of it where k = 2^b: n < 2^b * ln 2.
 * log2 of a peak just under 1 is never rounded to 0. */
static inline uint8_t mxfp4_scale(float peak)
{
    const uint32_t bits = phy_bits_of_float(peak);
    const int exponent = (int)(bits >> 23) - 127, k = exponent + 1;
    int e = exponent - 2 + 127;
    if (k != 0) {
        const uint32_t magnitude = (uint32_t)(k < 0 ? -k : k), steps = 0x800000 - (bits & 0x7FFFFF);
        float step = 1;
        while (magnitude >= (uint32_t)(2 * step))
            step *= 2;
        if (k > 0 && magnitude == (uint32_t)step)
            step *= 0.5f;
        e += (float)steps < step * 0.693147182f;
    }
    return (uint8_t)(e < 0 ? 0 : e);
}

/* Nearest of the eight magnitudes, of equals the smallest; there is no minus zero. */
static inline ivec mxfp4_code(vec x, const vec *values)
{
    const vec magnitude = vec_abs(x);
    vec least = magnitude, code = vec_set1(0);
    for (int k = 1; k < 8; k++) {
        const vec error = vec_abs(vec_sub(values[k], magnitude));
        const mask nearer = vec_less(error, least);
        least = vec_select(nearer, error, least);
        code = vec_select(nearer, vec_set1((float)k), code);
    }
    const vec negative = vec_select(vec_less(x, vec_set1(0)), vec_set1(8), vec_set1(0));
    return vec_trunc(vec_select(vec_less(vec_set1(0), code), vec_add(code, negative), code));
}

static inline void encode_unit_mxfp4(const float *from, uint8_t *out)
{
    enum { E_AT = 0, QS_AT = 1, BYTES = 17 };
    static const float twice[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    vec x[ELEMENTS], values[8];
    ivec q[ELEMENTS];
    float scales[LANES];
    lanes_transpose(from, ELEMENTS, ELEMENTS, x);
    vec_store(scales, peak_magnitude(x));
    for (size_t lane = 0; lane < LANES; lane++) {
        const uint8_t e = mxfp4_scale(scales[lane]);
        out[lane * BYTES + E_AT] = e;
        scales[lane] = phy_float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
    }
    for (int k = 0; k < 8; k++)
        values[k] = vec_mul(vec_set1(twice[k]), vec_load(scales));
    for (int j = 0; j < ELEMENTS; j++)
        q[j] = mxfp4_code(x[j], values);
    put_nibbles(q, out + QS_AT, BYTES);
}

#define ENCODER(name, bytes)                                                                                           \
    void FORM(phy_encode_##name)(const float *from, size_t blocks, uint8_t *out)                                       \
    {                                                                                                                  \
        encode_in_units(encode_unit_##name, LANES, ELEMENTS, bytes, from, blocks, out);                                \
    }
ENCODER(q4_0, 18)
ENCODER(q4_1, 20)
ENCODER(q5_0, 22)
ENCODER(q5_1, 24)
ENCODER(q8_0, 34)
ENCODER(mxfp4, 17)
