/* SPDX-License-Identifier: Apache-2.0 */
/* Encoders of q4_K and q5_K: eight groups of 32, s and m of six bits. Included after one of quant/lanes_*.h. */
#include "quant/encode_forms.h"
#include "quant/encode_units.h"

enum { GROUPS = 8, GROUP = 32 };

/* Half a step beyond the entries' ends to one and a half within: what is cut off at the ends is often less than what
 * finer steps gain. */
static const float ends[] = {-0.5f, 0, 0.5f, 1, 1.5f};

#include "quant/affine_search.h"

/* d, dmin and the 12 bytes of quant/k_scales.h. */
static inline void put_scales(const struct affine_unit *u, int block, uint8_t *out)
{
    const float *s = u->best_s + block * GROUPS, *m = u->best_m + block * GROUPS;
    phy_store_u16(out, phy_f16_round(u->best_d[block]));
    phy_store_u16(out + 2, phy_f16_round(u->best_dmin[block]));
    for (int g = 0; g < 4; g++) {
        const int s_high = (int)s[g + 4], m_high = (int)m[g + 4];
        out[4 + g] = (uint8_t)((int)s[g] | s_high >> 4 << 6);
        out[8 + g] = (uint8_t)((int)m[g] | m_high >> 4 << 6);
        out[12 + g] = (uint8_t)((s_high & 15) | (m_high & 15) << 4);
    }
}

/* Bytes 32r .. 32r + 31: group 2r in the low nibbles, 2r + 1 in the high ones. A lane's words are put one by one. */
static inline void put_nibbles(const ivec *q, int set, uint8_t *qs, size_t block_bytes)
{
    const ivec nibble = ivec_set1(15);
    for (int j = 0; j < GROUP; j += 4) {
        int32_t words[LANES];
        ivec_store(words, bytes_of(ivec_and(q[j], nibble), ivec_and(q[j + 1], nibble), ivec_and(q[j + 2], nibble),
                                   ivec_and(q[j + 3], nibble)));
        for (int lane = 0; lane < LANES; lane++) {
            const int g = set * LANES + lane, group = g % GROUPS;
            uint8_t *at = qs + (size_t)(g / GROUPS) * block_bytes + GROUP * (group / 2) + j;
            const uint32_t word = (uint32_t)words[lane];
            phy_store_u32(at, group % 2 ? phy_load_u32(at) | word << 4 : word);
        }
    }
}

static inline void encode_unit_q4_k(const float *from, uint8_t *out)
{
    enum { D_AT = 0, QS_AT = 16, BYTES = 144 };
    struct affine_unit u;
    encode_affine(&u, from, 15, 63);
    for (int block = 0; block < UNIT_BLOCKS; block++)
        put_scales(&u, block, out + block * BYTES + D_AT);
    for (int set = 0; set < SETS; set++) {
        ivec q[GROUP];
        final_codes(&u, set, q);
        put_nibbles(q, set, out + QS_AT, BYTES);
    }
}

/* Bit 4 of a group's code j is bit `group` of qh[j]. */
static inline void put_fifth_bits(const ivec *q, int set, uint8_t *qh, size_t block_bytes)
{
    for (int j = 0; j < GROUP; j++) {
        int32_t codes[LANES];
        ivec_store(codes, ivec_shift_right(q[j], 4));
        for (int lane = 0; lane < LANES; lane++) {
            const int g = set * LANES + lane, group = g % GROUPS;
            uint8_t *at = qh + (size_t)(g / GROUPS) * block_bytes + j;
            *at = (uint8_t)((group ? *at : 0) | codes[lane] << group);
        }
    }
}

static inline void encode_unit_q5_k(const float *from, uint8_t *out)
{
    enum { D_AT = 0, QH_AT = 16, QS_AT = 48, BYTES = 176 };
    struct affine_unit u;
    encode_affine(&u, from, 31, 63);
    for (int block = 0; block < UNIT_BLOCKS; block++)
        put_scales(&u, block, out + block * BYTES + D_AT);
    for (int set = 0; set < SETS; set++) {
        ivec q[GROUP];
        final_codes(&u, set, q);
        put_fifth_bits(q, set, out + QH_AT, BYTES);
        put_nibbles(q, set, out + QS_AT, BYTES);
    }
}

void FORM(phy_encode_q4_k)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_q4_k, UNIT_BLOCKS, GROUPS * GROUP, 144, from, blocks, out);
}

void FORM(phy_encode_q5_k)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_q5_k, UNIT_BLOCKS, GROUPS * GROUP, 176, from, blocks, out);
}
