/* SPDX-License-Identifier: Apache-2.0 */
/* What a device's name means, without a device: numbers, parts of names, and forms of products behind a slash. */
#include "support/test.h"

#include "device/device_set.h"
#include "vk/vk_matmul.h"

static struct log_record logged;
static struct phy_host host;

static int begin(void **state)
{
    (void)state;
    host = recording_host(&logged);
    return 0;
}

static const struct phy_device_info machine[] = {
    {.name = "vulkan:0", .device_name = "llvmpipe (LLVM 15.0.6, 256 bits)", .type = "cpu"},
    {.name = "vulkan:1", .device_name = "AMD Radeon R9 380/390 / lanes", .type = "discrete"},
    {.name = "vulkan:2", .device_name = "Intel HD 530", .type = "integrated"},
};
enum { DEVICES = sizeof machine / sizeof *machine };

static enum phy_status find(size_t *index, struct phy_vulkan_spec *read, const char *spec, size_t count)
{
    enum phy_status status = phy_vulkan_spec_read(read, spec, strlen(spec), &host);
    return status ? status : phy_vulkan_spec_find(index, read, machine, count, "no Vulkan driver", &host);
}

static void names_find_their_device_and_form(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        size_t index;
        const char *form;
    } known[] = {
        {"vulkan", 1, ""},
        {"vulkan:0", 0, ""},
        {"vulkan:2", 2, ""},
        {"vulkan:LLVM", 0, ""},
        {"vulkan:intel hd", 2, ""},
        {"vulkan/lanes", 1, "/lanes"},
        {"vulkan:0/subgroup", 0, "/subgroup"},
        {"vulkan:llvmpipe/rows+plain", 0, "/rows+plain"},
        {"vulkan:llvmpipe/dot+lanes", 0, "/lanes+dot"},
        {"vulkan:2/plain", 2, "/plain"},
        /* Slashes of a name. */
        {"vulkan:R9 380/390", 1, ""},
        {"vulkan:380/390/lanes", 1, "/lanes"},
        {"vulkan:390 / lanes", 1, ""},
        {"vulkan:380/", 1, ""},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct phy_vulkan_spec read;
        char form[PHY_VK_FORM_BYTES];
        size_t index = 99;
        assert_true(phy_device_is_vulkan(known[i].spec, strlen(known[i].spec)));
        assert_int_equal(find(&index, &read, known[i].spec, DEVICES), PHY_OK);
        assert_int_equal(index, known[i].index);
        assert_string_equal(phy_vk_matmul_form(form, read.tiles, read.dots), known[i].form);
    }
    assert_int_equal(logged.errors, 0);
}

static void every_form_has_a_name_that_is_read_again(void **state)
{
    (void)state;
    for (size_t t = 0; phy_vk_matmul_tile_names[t]; t++) {
        for (size_t d = 0; phy_vk_matmul_dot_names[d]; d++) {
            char form[PHY_VK_FORM_BYTES], spec[64];
            struct phy_vulkan_spec read;
            snprintf(spec, sizeof spec, "vulkan:1%s",
                     phy_vk_matmul_form(form, phy_vk_matmul_tile_names[t], phy_vk_matmul_dot_names[d]));
            assert_int_equal(phy_vulkan_spec_read(&read, spec, strlen(spec), &host), PHY_OK);
            assert_ptr_equal(read.tiles, phy_vk_matmul_tile_names[t]);
            assert_ptr_equal(read.dots, phy_vk_matmul_dot_names[d]);
        }
    }
}

static void a_word_of_a_list_ends_where_it_is_said_to(void **state)
{
    (void)state;
    struct phy_vulkan_spec read;
    assert_int_equal(phy_vulkan_spec_read(&read, "vulkan:0/rows,vulkan:1/lanes", strlen("vulkan:0/rows"), &host),
                     PHY_OK);
    assert_string_equal(read.tiles, "rows");
    assert_int_equal(read.device_bytes, 1);
    assert_int_equal(phy_vulkan_spec_read(&read, "vulkan/dot", strlen("vulkan"), &host), PHY_OK);
    assert_true(!read.device && !read.tiles && !read.dots);
}

static void forms_that_there_are_not_are_refused_in_one_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        enum phy_status status;
    } wrong[] = {
        {"vulkan/lanse", PHY_ERR_USAGE},
        {"vulkan/", PHY_ERR_USAGE},
        {"vulkan/Lanes", PHY_ERR_USAGE},
        {"vulkan:0/lanse", PHY_ERR_USAGE},
        {"vulkan:7/lanse", PHY_ERR_USAGE},
        {"vulkan:llvmpipe/lanse", PHY_ERR_USAGE},
        {"vulkan:2/", PHY_ERR_USAGE},
        {"vulkan:0/rows+", PHY_ERR_USAGE},
        {"vulkan:0/+rows", PHY_ERR_USAGE},
        {"vulkan:0/rows/lanes", PHY_ERR_USAGE},
        {"vulkan/rows+lanes", PHY_ERR_USAGE},
        {"vulkan:0/lanes+lanes", PHY_ERR_USAGE},
        {"vulkan:0/plain+dot", PHY_ERR_USAGE},
        {"vulkan:0/plain+rows+subgroup", PHY_ERR_USAGE},
        {"vulkan:nobody/lanse", PHY_ERR_DEVICE},
        {"vulkan:nobody/lanes", PHY_ERR_DEVICE},
        {"vulkan:9/lanes", PHY_ERR_DEVICE},
        {"vulkan:/lanes", PHY_ERR_DEVICE},
        {"vulkan:", PHY_ERR_DEVICE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct phy_vulkan_spec read;
        size_t index;
        const unsigned errors = logged.errors;
        if (find(&index, &read, wrong[i].spec, DEVICES) != wrong[i].status)
            fail_msg("%s: wrong status", wrong[i].spec);
        assert_int_equal(logged.errors, errors + 1);
        assert_non_null(strstr(logged.error, wrong[i].spec));
        assert_int_equal(strstr(logged.error, "a form is one of rows, lanes, subgroup") != NULL,
                         wrong[i].status == PHY_ERR_USAGE);
    }
}

static void without_a_driver_the_note_says_so(void **state)
{
    (void)state;
    struct phy_vulkan_spec read;
    size_t index;
    assert_int_equal(find(&index, &read, "vulkan", 0), PHY_ERR_DEVICE);
    assert_non_null(strstr(logged.error, "no Vulkan driver"));
    assert_int_equal(find(&index, &read, "vulkan:llvmpipe/lanes", 0), PHY_ERR_DEVICE);
    assert_int_equal(find(&index, &read, "vulkan:0/lanse", 0), PHY_ERR_USAGE);
}

static void what_does_not_multiply_takes_no_form(void **state)
{
    (void)state;
    static const char *const specs[] = {"vulkan/lanes", "vulkan:99/rows+plain", "vulkan:no such device/dot"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct phy_device_set set;
        const unsigned errors = logged.errors;
        assert_int_equal(phy_device_set_open(&set, specs[i], 1, &host), PHY_ERR_USAGE);
        assert_int_equal(logged.errors, errors + 1);
        assert_non_null(strstr(logged.error, "the flow has none"));
        assert_true(set.count == 0 && !set.backends);
    }
    assert_false(phy_device_is_vulkan("vulkano", 7));
    assert_false(phy_device_is_vulkan("cpu/rows", 8));
    assert_false(phy_device_is_vulkan("all", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names_find_their_device_and_form, begin),
        cmocka_unit_test_setup(every_form_has_a_name_that_is_read_again, begin),
        cmocka_unit_test_setup(a_word_of_a_list_ends_where_it_is_said_to, begin),
        cmocka_unit_test_setup(forms_that_there_are_not_are_refused_in_one_sentence, begin),
        cmocka_unit_test_setup(without_a_driver_the_note_says_so, begin),
        cmocka_unit_test_setup(what_does_not_multiply_takes_no_form, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
