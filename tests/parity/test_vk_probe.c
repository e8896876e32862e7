/* SPDX-License-Identifier: Apache-2.0 */
/* The roofline shaders do what they are timed for, on every Vulkan device there is. */
#include "support/test.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "vk/vk_backend.h"
#include "vk/vk_probe.h"

enum { ROUNDS = 37 };

/* What a chain of int8 dot products comes to: it begins at 1 and adds its own four bytes, signed. */
static uint32_t chain_i8(uint32_t rounds)
{
    uint32_t acc = 1;
    for (uint32_t i = 0; i < rounds; i++) {
        int32_t sum = 0;
        for (int b = 0; b < 4; b++)
            sum += (int8_t)(acc >> 8 * b);
        acc += (uint32_t)sum;
    }
    return acc;
}

static void test_device(uint32_t index)
{
    struct phy_vk_probe *probe;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    double ns;
    uint32_t result;
    assert_int_equal(phy_vk_probe_open(&probe, index, 4 * phy_vk_probe_unit_bytes(), &host), PHY_OK);
    const uint64_t bytes = phy_vk_probe_bytes(probe);
    assert_int_equal(bytes, 4 * phy_vk_probe_unit_bytes());
    for (int rows = 0; rows < 2; rows++) {
        const uint32_t word = 0xABCD0123u + (uint32_t)rows, words = (uint32_t)(bytes / 4);
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_WRITE + rows, bytes, 0, 7, &ns, NULL), PHY_OK);
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_COPY + rows, bytes, 0, 0, &ns, NULL), PHY_OK);
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_WRITE + rows, bytes / 4, 0, word, &ns, NULL), PHY_OK);
        assert_true(ns > 0);
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_READ + rows, bytes, 0, 0, &ns, &result), PHY_OK);
        assert_int_equal(result, words * 7); /* what was written last is not copied yet */
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_COPY + rows, bytes / 2, 0, 0, &ns, NULL), PHY_OK);
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_READ + rows, bytes, 0, 0, &ns, &result), PHY_OK);
        assert_int_equal(result, words / 4 * word + words / 4 * 3 * 7);
    }
    const uint32_t chains = phy_vk_probe_invocations(probe) * phy_vk_probe_products(probe, PHY_PROBE_F32);
    assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_F32, 0, ROUNDS, 1, &ns, &result), PHY_OK);
    assert_int_equal(result, chains * ROUNDS);
    if (phy_vk_probe_offers(probe, PHY_PROBE_F16)) {
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_F16, 0, ROUNDS, 1, &ns, &result), PHY_OK);
        assert_int_equal(result, chains * (ROUNDS % 2));
    }
    if (phy_vk_probe_offers(probe, PHY_PROBE_I8)) {
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_I8, 0, ROUNDS, 1, &ns, &result), PHY_OK);
        assert_int_equal(result, chains * chain_i8(ROUNDS));
    }
    if (phy_vk_probe_offers(probe, PHY_PROBE_MATRIX)) {
        assert_int_equal(phy_vk_probe_run(probe, PHY_PROBE_MATRIX, 0, ROUNDS, 1, &ns, &result), PHY_OK);
        assert_int_equal(result, phy_vk_probe_invocations(probe) * phy_vk_probe_products(probe, PHY_PROBE_MATRIX) *
                                     (ROUNDS % 2));
    }
    phy_vk_probe_close(&probe);
    assert_null(probe);
    assert_int_equal(log.errors, 0);
}

static void roofline_shaders_do_what_they_are_timed_for(void **state)
{
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    (void)state;
    assert_int_equal(phy_vk_list(&devices, &count, note, NULL), PHY_OK);
    phy_free(devices);
    if (count == 0) {
        printf("SKIPPED: %s\n", note);
        skip();
    }
    for (uint32_t i = 0; i < count; i++)
        test_device(i);
}

static void a_device_that_is_not_there_is_an_error(void **state)
{
    struct phy_vk_probe *probe;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    (void)state;
    assert_int_equal(phy_vk_probe_open(&probe, 1000, 1, &host), PHY_ERR_DEVICE);
    assert_null(probe);
    assert_int_equal(log.errors, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roofline_shaders_do_what_they_are_timed_for),
        cmocka_unit_test(a_device_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
