/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled with vectorisation on: the loops below are what `coverage` spends its time in. BF16, F16 and F32 all have
 * the sign in the top bit and are zero where the other bits are, so one loop for each width is enough. */
#include "surgery/compare_codes.h"

/* Codes for one round of narrow counters: sums of ones stay in 16 bits. */
enum { ROUND = 4096 };

static size_t round16(const uint16_t *donor, const uint16_t *output, size_t count, struct phy_code_counts *counts)
{
    uint16_t killed = 0, zero = 0, damaged = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t a = donor[i], b = output[i];
        uint16_t was_zero = (uint16_t)(a << 1) == 0, is_zero = b == 0, same = a == b;
        uint16_t kill = (uint16_t)(is_zero & (was_zero ^ 1));
        killed = (uint16_t)(killed + kill);
        zero = (uint16_t)(zero + was_zero);
        damaged = (uint16_t)(damaged + ((same | kill) ^ 1));
    }
    counts->killed += killed;
    counts->zero_before += zero;
    counts->damaged += damaged;
    return damaged;
}

static size_t round32(const uint32_t *donor, const uint32_t *output, size_t count, struct phy_code_counts *counts)
{
    uint32_t killed = 0, zero = 0, damaged = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t a = donor[i], b = output[i];
        uint32_t was_zero = (a << 1) == 0, is_zero = b == 0, same = a == b;
        uint32_t kill = is_zero & (was_zero ^ 1);
        killed += kill;
        zero += was_zero;
        damaged += (same | kill) ^ 1;
    }
    counts->killed += killed;
    counts->zero_before += zero;
    counts->damaged += damaged;
    return damaged;
}

void phy_compare_codes(const void *donor, const void *output, size_t count, size_t code_bytes,
                       struct phy_code_counts *counts)
{
    for (size_t at = 0; at < count; at += ROUND) {
        size_t n = count - at < ROUND ? count - at : ROUND;
        const char *a = (const char *)donor + at * code_bytes, *b = (const char *)output + at * code_bytes;
        uint64_t damaged_before = counts->damaged;
        size_t damaged = code_bytes == 2 ? round16((const void *)a, (const void *)b, n, counts)
                                         : round32((const void *)a, (const void *)b, n, counts);
        for (size_t i = 0; damaged && damaged_before == 0 && i < n; i++) {
            struct phy_code_counts one = {0};
            damaged =
                code_bytes == 2
                    ? round16((const uint16_t *)(const void *)a + i, (const uint16_t *)(const void *)b + i, 1, &one)
                    : round32((const uint32_t *)(const void *)a + i, (const uint32_t *)(const void *)b + i, 1, &one);
            if (damaged) {
                counts->first_damaged = counts->processed + i;
                break;
            }
            damaged = 1;
        }
        counts->processed += n;
    }
}
