/* SPDX-License-Identifier: Apache-2.0 */
/* Encoders of vindex_fp4 and vindex_fp8. One lane is a sub-block of 32.
 *
 * Least squared error, searched over scale codes (docs/quant.md, "The encoders here"): eight neighbouring codes of the
 * block scale, which is every mantissa. For the first, fp4 tries the codes of each sub-block's scale from a little
 * below what its largest entry asks for to half as much again; for the others, those around what erred least. Any
 * decoder reads the result.
 *
 * Included after one of quant/lanes_*.h. */
#include <assert.h>
#include <math.h>

#include "quant/encode_forms.h"
#include "quant/encode_small.h"
#include "quant/encode_units.h"
#include "quant/fp8.h"

enum { SUBS = 8, SUB = 32, ELEMENTS = SUBS * SUB, UNIT_SUBS = SUBS > LANES ? SUBS : LANES };
enum { SETS = UNIT_SUBS / LANES, UNIT_BLOCKS = UNIT_SUBS / SUBS };

struct vindex_unit {
    vec x[SETS][SUB];
    float peak[UNIT_SUBS];      /* largest magnitude */
    uint8_t first[UNIT_BLOCKS]; /* of the block scale's codes */
    float block[UNIT_SUBS];     /* the block scale tried */
    float aim[UNIT_SUBS];       /* sub * block to try codes around: the peak, then what erred least so far */
    float aim_error[UNIT_SUBS];
    float error[UNIT_SUBS];
    uint8_t sub[UNIT_SUBS]; /* best for that block scale */
    float best_error[UNIT_BLOCKS];
    uint8_t best_block[UNIT_BLOCKS], best_sub[UNIT_SUBS];
};

/* Codes of the block scale from that of a quarter of the peak on: all eight mantissas. A quarter, so that sub-blocks
 * far smaller than the peak have normal scales, and yet not so little that the block's own is subnormal for usual
 * weights. Codes of a sub-block's scale from two below the one that its peak asks for (the peak is then cut off) to
 * five above it (the peak is then about 4 rather than 6, which suits the others where many lie close to it). */
enum { BLOCK_TRIES = 8, PEAK_OVER_FIRST = 4, SUB_FIRST = -2, SUB_LAST = 5, AROUND = 1, LARGEST_CODE = 0x7E };

/* Both encoders: entries, peaks, and the first code of each block's scale, a quarter of its peak. */
static inline void load_unit(struct vindex_unit *u, const float *from)
{
    for (int set = 0; set < SETS; set++) {
        vec *x = u->x[set], peak = vec_set1(0);
        lanes_transpose(from + set * LANES * SUB, SUB, SUB, x);
        for (int j = 0; j < SUB; j++) {
            x[j] = clamped(x[j], vec_set1(-0x1p27f), vec_set1(0x1p27f));
            peak = vec_max(vec_abs(x[j]), peak);
        }
        vec_store(u->peak + set * LANES, peak);
        vec_store(u->aim + set * LANES, peak);
        vec_store(u->aim_error + set * LANES, vec_set1(INFINITY));
    }
    for (int block = 0; block < UNIT_BLOCKS; block++) {
        float peak = 0;
        for (int n = block * SUBS; n < (block + 1) * SUBS; n++)
            peak = u->peak[n] > peak ? u->peak[n] : peak;
        const uint8_t code = phy_e4m3_round(peak / PEAK_OVER_FIRST), last = LARGEST_CODE - BLOCK_TRIES + 1;
        u->first[block] = peak > 0 ? code < 1 ? 1 : code > last ? last : code : 0;
        u->best_error[block] = INFINITY;
        u->best_block[block] = 0;
        memset(u->best_sub + block * SUBS, 0, SUBS);
    }
}

static inline void set_block_scale(struct vindex_unit *u, int attempt)
{
    for (int n = 0; n < UNIT_SUBS; n++)
        u->block[n] = phy_e4m3_widen((uint8_t)(u->first[n / SUBS] + attempt));
}

static inline void keep_better(struct vindex_unit *u, int attempt)
{
    for (int block = 0; block < UNIT_BLOCKS; block++) {
        float error = 0;
        for (int n = block * SUBS; n < (block + 1) * SUBS; n++)
            error += u->error[n];
        if (u->first[block] == 0 || !(error < u->best_error[block]))
            continue;
        u->best_error[block] = error;
        u->best_block[block] = (uint8_t)(u->first[block] + attempt);
        memcpy(u->best_sub + block * SUBS, u->sub + block * SUBS, SUBS);
    }
}

/* With a scale of zero every code decodes to 0. */
static inline vec fp4_error(const vec *x, vec scale)
{
    const vec zero = vec_set1(0), one = vec_set1(1);
    const mask some = vec_less(zero, scale);
    const vec inverse = vec_select(some, finite_inverse(scale), one), level = vec_select(some, one, zero);
    vec sum = zero;
    for (int j = 0; j < SUB; j++) {
        const vec t = vec_mul(vec_abs(x[j]), inverse);
        const vec left = vec_sub(t, vec_mul(level, rounded_e2m1(t)));
        sum = vec_add(sum, vec_mul(left, left));
    }
    return vec_mul(sum, vec_select(some, vec_mul(scale, scale), one));
}

static inline void search_subs(struct vindex_unit *u, int set, int first, int last)
{
    const int at = set * LANES;
    vec error = vec_set1(INFINITY), best = vec_set1(0);
    int codes[LANES];
    float tried[LANES], code_lanes[LANES];
    for (int lane = 0; lane < LANES; lane++)
        codes[lane] = u->block[at + lane] > 0 ? phy_e4m3_round(u->aim[at + lane] / u->block[at + lane]) : 0;
    for (int i = first; i <= last; i++) {
        for (int lane = 0; lane < LANES; lane++) {
            const int code = codes[lane] + i;
            code_lanes[lane] = (float)(code < 0 ? 0 : code > LARGEST_CODE ? LARGEST_CODE : code);
            tried[lane] = phy_e4m3_widen((uint8_t)code_lanes[lane]);
        }
        const vec scale = vec_div(vec_mul(vec_load(tried), vec_load(u->block + at)), vec_set1(6));
        const vec found = fp4_error(u->x[set], scale);
        const mask better = vec_less(found, error);
        error = vec_select(better, found, error);
        best = vec_select(better, vec_load(code_lanes), best);
    }
    vec_store(u->error + at, error);
    vec_store(code_lanes, best);
    for (int lane = 0; lane < LANES; lane++) {
        const int n = at + lane;
        u->sub[n] = (uint8_t)code_lanes[lane];
        if (u->error[n] < u->aim_error[n]) {
            u->aim_error[n] = u->error[n];
            u->aim[n] = phy_e4m3_widen(u->sub[n]) * u->block[n];
        }
    }
}

static inline void put_fp4_codes(const struct vindex_unit *u, int set, uint8_t *out, size_t block_bytes)
{
    float inverse_lanes[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        const int n = set * LANES + lane;
        const float scale = phy_e4m3_widen(u->best_sub[n]) * phy_e4m3_widen(u->best_block[n / SUBS]) / 6;
        inverse_lanes[lane] = scale > 0 ? 1 / scale : 0;
    }
    const vec inverse = vec_load(inverse_lanes), zero = vec_set1(0);
    const mask some = vec_less(zero, inverse);
    ivec q[SUB];
    for (int j = 0; j < SUB; j++)
        q[j] = e2m1_code(vec_select(some, vec_mul(u->x[set][j], inverse), zero));
    for (int j = 0; j < SUB; j += 8) {
        ivec pairs[4];
        for (int i = 0; i < 4; i++)
            pairs[i] = ivec_or(q[j + 2 * i], ivec_shift_left(q[j + 2 * i + 1], 4));
        int32_t words[LANES];
        ivec_store(words, bytes_of(pairs[0], pairs[1], pairs[2], pairs[3]));
        for (int lane = 0; lane < LANES; lane++) {
            const int n = set * LANES + lane;
            phy_store_u32(out + (size_t)(n / SUBS) * block_bytes + n % SUBS * (SUB / 2) + j / 2, (uint32_t)words[lane]);
        }
    }
}

static inline void encode_unit_fp4(const float *from, uint8_t *out)
{
    enum { QS_AT = 0, SUB_AT = 128, BLOCK_AT = 136, BYTES = 137 };
    struct vindex_unit u;
    load_unit(&u, from);
    for (int attempt = 0; attempt < BLOCK_TRIES; attempt++) {
        set_block_scale(&u, attempt);
        for (int set = 0; set < SETS; set++)
            search_subs(&u, set, attempt ? -AROUND : SUB_FIRST, attempt ? AROUND : SUB_LAST);
        keep_better(&u, attempt);
    }
    for (int set = 0; set < SETS; set++)
        put_fp4_codes(&u, set, out + QS_AT, BYTES);
    for (int block = 0; block < UNIT_BLOCKS; block++) {
        memcpy(out + block * BYTES + SUB_AT, u.best_sub + block * SUBS, SUBS);
        out[block * BYTES + BLOCK_AT] = u.best_block[block];
    }
}

static inline void fp8_error(struct vindex_unit *u, int set)
{
    const int at = set * LANES;
    const vec zero = vec_set1(0), block = vec_load(u->block + at);
    vec sum = zero;
    for (int j = 0; j < SUB; j++) {
        const vec t = vec_div(vec_abs(u->x[set][j]), block), left = vec_sub(t, rounded_e4m3(t));
        sum = vec_add(sum, vec_mul(left, left));
    }
    vec_store(u->error + at, vec_mul(sum, vec_mul(block, block)));
}

static inline void put_fp8_codes(const struct vindex_unit *u, int set, uint8_t *out, size_t block_bytes)
{
    float block_lanes[LANES];
    for (int lane = 0; lane < LANES; lane++)
        block_lanes[lane] = phy_e4m3_widen(u->best_block[(set * LANES + lane) / SUBS]);
    const vec block = vec_load(block_lanes), zero = vec_set1(0);
    const mask some = vec_less(zero, block);
    for (int j = 0; j < SUB; j += 4) {
        ivec q[4];
        for (int i = 0; i < 4; i++)
            q[i] = e4m3_code(vec_select(some, vec_div(u->x[set][j + i], block), zero));
        int32_t words[LANES];
        ivec_store(words, bytes_of(q[0], q[1], q[2], q[3]));
        for (int lane = 0; lane < LANES; lane++) {
            const int n = set * LANES + lane;
            phy_store_u32(out + (size_t)(n / SUBS) * block_bytes + n % SUBS * SUB + j, (uint32_t)words[lane]);
        }
    }
}

static inline void encode_unit_fp8(const float *from, uint8_t *out)
{
    enum { Q_AT = 0, BLOCK_AT = 256, BYTES = 257 };
    struct vindex_unit u;
    load_unit(&u, from);
    for (int attempt = 0; attempt < BLOCK_TRIES; attempt++) {
        set_block_scale(&u, attempt);
        for (int set = 0; set < SETS; set++)
            fp8_error(&u, set);
        keep_better(&u, attempt);
    }
    for (int set = 0; set < SETS; set++)
        put_fp8_codes(&u, set, out + Q_AT, BYTES);
    for (int block = 0; block < UNIT_BLOCKS; block++)
        out[block * BYTES + BLOCK_AT] = u.best_block[block];
}

void FORM(phy_encode_vindex_fp4)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_fp4, UNIT_BLOCKS, ELEMENTS, 137, from, blocks, out);
}

void FORM(phy_encode_vindex_fp8)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_fp8, UNIT_BLOCKS, ELEMENTS, 257, from, blocks, out);
}
