/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include <stdlib.h>

#include "surgery/compare_codes.h"

/* The rule again, one code at a time, in the plainest words. */
static void compare_plainly(const uint32_t *donor, const uint32_t *output, size_t count, uint32_t sign,
                            struct phy_code_counts *counts)
{
    for (size_t i = 0; i < count; i++) {
        bool was_zero = donor[i] == 0 || donor[i] == sign;
        counts->processed++;
        if (was_zero)
            counts->zero_before++;
        if (!was_zero && output[i] == 0)
            counts->killed++;
        else if (donor[i] != output[i] && counts->damaged++ == 0)
            counts->first_damaged = i;
    }
}

static void check(const uint32_t *donor, const uint32_t *output, size_t count, size_t code_bytes)
{
    struct phy_code_counts expected = {0}, got = {0};
    uint16_t *a = malloc(2 * count + 2), *b = malloc(2 * count + 2);
    for (size_t i = 0; i < count; i++) {
        a[i] = (uint16_t)donor[i];
        b[i] = (uint16_t)output[i];
    }
    compare_plainly(donor, output, count, code_bytes == 2 ? 0x8000 : 0x80000000, &expected);
    /* in two pieces, as files come */
    size_t half = count / 3;
    const char *x = code_bytes == 2 ? (const char *)a : (const char *)donor;
    const char *y = code_bytes == 2 ? (const char *)b : (const char *)output;
    phy_compare_codes(x, y, half, code_bytes, &got);
    phy_compare_codes(x + half * code_bytes, y + half * code_bytes, count - half, code_bytes, &got);
    assert_memory_equal(&expected, &got, sizeof got);
    free(a);
    free(b);
}

static void every_16_bit_code_against_every_kind_of_change(void **state)
{
    (void)state;
    enum { COUNT = 65536 };
    uint32_t *donor = malloc(COUNT * sizeof *donor), *output = malloc(COUNT * sizeof *output);
    static const uint32_t becomes[] = {0, 0x8000, 1, 0x3f80, 0xffff};
    for (uint32_t i = 0; i < COUNT; i++)
        donor[i] = i;
    for (size_t k = 0; k < 5; k++) {
        for (uint32_t i = 0; i < COUNT; i++)
            output[i] = i % 3 == 0 ? becomes[k] : i;
        check(donor, output, COUNT, 2);
    }
    check(donor, donor, COUNT, 2);
    free(donor);
    free(output);
}

static void wide_codes_and_odd_counts(void **state)
{
    (void)state;
    enum { COUNT = 9001 };
    static const uint32_t values[] = {0, 0x80000000, 1, 0x80000001, 0x3f800000, 0x7fc00000, 0xff800000};
    uint32_t *donor = calloc(COUNT, sizeof *donor), *output = calloc(COUNT, sizeof *output), seed = 7;
    for (size_t count = 0; count <= COUNT; count += count < 20 ? 1 : 997) {
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u;
            donor[i] = values[(seed >> 16) % 7];
            output[i] = seed >> 28 < 12 ? donor[i] : seed >> 28 < 15 ? 0 : values[(seed >> 8) % 7];
        }
        check(donor, output, count, 4);
    }
    free(donor);
    free(output);
}

static void finds_a_single_damaged_code_anywhere(void **state)
{
    (void)state;
    enum { COUNT = 12289 };
    uint32_t *donor = calloc(COUNT, sizeof *donor), *output = calloc(COUNT, sizeof *output);
    for (size_t at = 0; at < COUNT; at += at < 8 || at > COUNT - 8 ? 1 : 61) {
        output[at] = 0x8000; /* +0 became -0 */
        check(donor, output, COUNT, 2);
        output[at] = 0;
    }
    free(donor);
    free(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_16_bit_code_against_every_kind_of_change),
        cmocka_unit_test(wide_codes_and_odd_counts),
        cmocka_unit_test(finds_a_single_damaged_code_anywhere),
    };
    return cmocka_run_group_tests_name("compare_codes", tests, NULL, NULL);
}
