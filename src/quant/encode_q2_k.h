/* SPDX-License-Identifier: Apache-2.0 */
/* Encoder of q2_K: sixteen groups of 16, s and m of four bits. Included after one of quant/lanes_*.h. */
#include "quant/encode_forms.h"
#include "quant/encode_units.h"

enum { GROUPS = 16, GROUP = 16 };

/* Of four levels, little can be cut off. */
static const float ends[] = {-0.25f, 0, 0.25f, 0.5f};

#include "quant/affine_search.h"

/* Two-bit planes: group g is one half of run 32 * (g % 8 / 2) of the 128 of half g / 8. */
static inline void put_two_bits(const ivec *q, int set, uint8_t *qs)
{
    for (int j = 0; j < GROUP; j += 4) {
        int32_t words[LANES];
        ivec_store(words, bytes_of(q[j], q[j + 1], q[j + 2], q[j + 3]));
        for (int lane = 0; lane < LANES; lane++) {
            const int g = set * LANES + lane, run = g % 8 / 2;
            uint8_t *at = qs + 32 * (g / 8) + GROUP * (g % 2) + j;
            phy_store_u32(at, (run ? phy_load_u32(at) : 0) | (uint32_t)words[lane] << 2 * run);
        }
    }
}

static inline void encode_unit_q2_k(const float *from, uint8_t *out)
{
    enum { SCALES_AT = 0, QS_AT = 16, D_AT = 80, MIN_AT = 82 };
    struct affine_unit u;
    encode_affine(&u, from, 3, 15);
    for (int g = 0; g < GROUPS; g++)
        out[SCALES_AT + g] = (uint8_t)((int)u.best_s[g] | (int)u.best_m[g] << 4);
    for (int set = 0; set < SETS; set++) {
        ivec q[GROUP];
        final_codes(&u, set, q);
        put_two_bits(q, set, out + QS_AT);
    }
    phy_store_u16(out + D_AT, phy_f16_round(u.best_d[0]));
    phy_store_u16(out + MIN_AT, phy_f16_round(u.best_dmin[0]));
}

void FORM(phy_encode_q2_k)(const float *from, size_t blocks, uint8_t *out)
{
    encode_in_units(encode_unit_q2_k, UNIT_BLOCKS, GROUPS * GROUP, 84, from, blocks, out);
}
