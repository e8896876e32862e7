/* SPDX-License-Identifier: Apache-2.0 */
/* The self-test trusts every form we ship, and catches devices that are off in one thing. */
#include "support/test.h"

#include <math.h>

#include "base/alloc.h"
#include "cpu/cpu_backend.h"
#include "kernels/flow_self_test.h"

static struct phy_flow_operands operands[PHY_FLOW_SELF_TEST_OPERANDS];
static struct phy_flow_outcomes outcomes[PHY_FLOW_SELF_TEST_OPERANDS];

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static int fill(void **state)
{
    (void)state;
    phy_flow_self_test_operands(operands);
    phy_flow_self_test_outcomes(operands, PHY_FLOW_SELF_TEST_OPERANDS, outcomes);
    return 0;
}

static void every_form_of_this_processor_passes(void **state)
{
    (void)state;
    struct phy_cpu_features have = phy_cpu_detect();
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        char failed[128] = "";
        if (!phy_cpu_meets(&have, &v->needs)) {
            print_message("%s: SKIPPED, not on this processor\n", v->name);
            continue;
        }
        if (phy_flow_self_test(v, failed, sizeof failed) != PHY_OK)
            fail_msg("form %s: %s", v->name, failed);
    }
}

static void names_the_operation_of_one_wrong_bit(void **state)
{
    (void)state;
    static const char *const names[] = {"a+b", "a-b", "a*b", "a*b+c", "c-a*b", "uint(x)", "float(u)"};
    assert_null(phy_flow_self_test_judge_operations(outcomes));
    for (uint32_t n = 0; n < sizeof names / sizeof *names; n++) {
        uint32_t *word = (uint32_t *)&outcomes[(n * 977 + 5) % PHY_FLOW_SELF_TEST_OPERANDS] + n;
        *word ^= 1u << (n * 5 % 32);
        assert_string_equal(phy_flow_self_test_judge_operations(outcomes), names[n]);
        *word ^= 1u << (n * 5 % 32);
    }
}

static void catches_a_fused_multiply_add(void **state)
{
    (void)state;
    uint32_t differ = 0;
    for (uint32_t i = 0; i < PHY_FLOW_SELF_TEST_OPERANDS; i++) {
        const struct phy_flow_operands *o = &operands[i];
        uint32_t fused = bits_of(fmaf(of_bits(o->a), of_bits(o->b), of_bits(o->c)));
        differ += fused != outcomes[i].mul_add;
        outcomes[i].mul_add = fused;
    }
    assert_in_range(differ, PHY_FLOW_SELF_TEST_OPERANDS / 8, PHY_FLOW_SELF_TEST_OPERANDS);
    assert_string_equal(phy_flow_self_test_judge_operations(outcomes), "a*b+c");
    fill(NULL);
}

static void catches_a_conversion_that_rounds(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PHY_FLOW_SELF_TEST_OPERANDS; i++)
        outcomes[i].to_uint = (uint32_t)lrintf(of_bits(operands[i].x));
    assert_string_equal(phy_flow_self_test_judge_operations(outcomes), "uint(x)");
    fill(NULL);
}

/* A form that is right but for one thing, as a broken device would be. */
static enum { FLIP_CONDUCTANCE, MISCOUNT, SPOIL_OUTPUT } fault;

static void run_with_fault(const struct phy_flow_tile *tile, const struct phy_flow_params *params, void *scratch,
                           struct phy_flow_tile_result *result)
{
    phy_flow_variants[0].run(tile, params, scratch, result);
    size_t last = (size_t)tile->rows * tile->cols - 1;
    if (fault == FLIP_CONDUCTANCE)
        tile->conductance[last] = of_bits(bits_of(tile->conductance[last]) ^ 1);
    else if (fault == MISCOUNT)
        result->killed++;
    else
        ((char *)tile->codes)[last * phy_float_bytes(tile->type)] ^= 1;
}

static void names_what_is_wrong_with_a_tile(void **state)
{
    (void)state;
    const struct phy_flow_variant broken = {.name = "broken", .run = run_with_fault};
    char failed[128];
    fault = FLIP_CONDUCTANCE;
    assert_int_equal(phy_flow_self_test(&broken, failed, sizeof failed), PHY_ERR_DEVICE);
    assert_string_equal(failed, "conductance of a 256x256 bf16 tile");
    fault = MISCOUNT;
    assert_int_equal(phy_flow_self_test(&broken, failed, sizeof failed), PHY_ERR_DEVICE);
    assert_string_equal(failed, "counts of a 256x256 bf16 tile");
    fault = SPOIL_OUTPUT;
    assert_int_equal(phy_flow_self_test(&broken, failed, sizeof failed), PHY_ERR_DEVICE);
    assert_string_equal(failed, "output of a 256x256 bf16 tile");
}

static void does_not_overrun_a_short_text(void **state)
{
    (void)state;
    const struct phy_flow_variant broken = {.name = "broken", .run = run_with_fault};
    char failed[8] = "xxxxxxx";
    fault = MISCOUNT;
    assert_int_equal(phy_flow_self_test(&broken, failed, 4), PHY_ERR_DEVICE);
    assert_string_equal(failed, "cou");
    assert_int_equal(failed[4], 'x');
}

static void says_when_memory_is_short(void **state)
{
    (void)state;
    char failed[128];
    for (uint64_t after = 0; after < 2; after++) {
        phy_alloc_fail_after(after);
        enum phy_status status = phy_flow_self_test(&phy_flow_variants[0], failed, sizeof failed);
        phy_alloc_fail_after(UINT64_MAX);
        assert_int_equal(status, PHY_ERR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_this_processor_passes), cmocka_unit_test(names_the_operation_of_one_wrong_bit),
        cmocka_unit_test(catches_a_fused_multiply_add),        cmocka_unit_test(catches_a_conversion_that_rounds),
        cmocka_unit_test(names_what_is_wrong_with_a_tile),     cmocka_unit_test(does_not_overrun_a_short_text),
        cmocka_unit_test(says_when_memory_is_short),
    };
    return cmocka_run_group_tests_name("flow_self_test", tests, fill, NULL);
}
