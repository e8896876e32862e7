/* SPDX-License-Identifier: Apache-2.0 */
/* One small model of each architecture on a Vulkan device against logits computed in float64 by another implementation.
 * Arguments: "vulkan" (the device that --device vulkan takes) or "hardware" (only one that is no CPU); then "reduced"
 * for a slow driver. Exit code 77 with a printed line when there is none. */
#include "support/tiny_model.h"

#include "base/alloc.h"
#include "model/model_parts.h"
#include "model/observer.h"
#include "vk/vk_backend.h"

#if defined(__SANITIZE_ADDRESS__)
/* Drivers stay loaded, so that the leak checker can tell what they leak (tests/support/lsan.supp) from what we do. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

static const char *const names[] = {"qwen2", "qwen3", "llama3", "mistral", "gemma3"};
enum { NAMES = sizeof names / sizeof *names };
/* As for every form on the CPU: tests/golden/model/README.md. */
static const double tolerance = 5e-5;
static bool reduced;

static void logits_are_those_of_the_goldens(void **state)
{
    (void)state;
    static const size_t whole[] = {TINY_TOKENS, 0}, ones[] = {1, 0}, odd[] = {3, 9, 1, 2, 11, 7, 5, 0};
    const size_t *const ways[] = {whole, odd, ones};
    static float got[TINY_TOKENS * TINY_VOCAB];
    for (size_t i = 0; i < NAMES; i++) {
        char directory[PATH_MAX];
        size_t bytes;
        float *golden = (float *)(void *)read_whole(tiny_path(names[i], "logits.f64ref.bin"), &bytes);
        assert_int_equal(bytes, sizeof got);
        snprintf(directory, sizeof directory, "%s", tiny_path(names[i], NULL));
        struct phy_model *model = open_model(directory, "vulkan", 2);
        struct phy_session *session = open_session(model, TINY_TOKENS);
        struct phy_model_info info;
        phy_model_describe(model, &info);
        double worst = 0;
        for (size_t w = 0; w < (reduced ? 2 : 3); w++) {
            memset(got, 0xFF, sizeof got);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, ways[w], TINY_VOCAB, got);
            double error = worst_relative_l2(got, golden, TINY_TOKENS, TINY_VOCAB);
            if (!(error <= tolerance))
                fail_msg("%s on %s: relative L2 %.3g, %.3g allowed", names[i], info.device, error, tolerance);
            worst = error > worst ? error : worst;
        }
        printf("%s on %s: worst relative L2 %.3g\n", names[i], info.device, worst);
        phy_session_destroy(&session);
        phy_model_close(&model);
        free(golden);
    }
}

/* Sums of squares of what each kind of matrix was given. */
struct seen {
    double squares[4];
    size_t rows[4];
};

static void see(void *user, enum phy_input input, uint32_t layer, const float *x, size_t count, size_t width)
{
    struct seen *seen = user;
    (void)layer;
    seen->rows[input] += count;
    for (size_t i = 0; i < count * width; i++)
        seen->squares[input] += (double)x[i] * (double)x[i];
}

static struct seen watch(const char *device)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("gemma3", NULL));
    static float got[TINY_TOKENS * TINY_VOCAB];
    static const size_t whole[] = {TINY_TOKENS, 0};
    struct seen seen = {0};
    const struct phy_observer observer = {see, &seen};
    struct phy_model *model = open_model(directory, device, 2);
    struct phy_session *session = open_session(model, TINY_TOKENS);
    phy_session_observe(session, &observer);
    run_in_chunks(session, tiny_tokens, TINY_TOKENS, whole, TINY_VOCAB, got);
    phy_session_destroy(&session);
    phy_model_close(&model);
    return seen;
}

static void an_observer_sees_the_same_inputs_as_on_the_cpu(void **state)
{
    (void)state;
    struct seen vulkan = watch("vulkan"), cpu = watch("cpu");
    for (int i = 0; i < 4; i++) {
        assert_true(cpu.rows[i] > 0 && cpu.squares[i] > 0);
        assert_int_equal(vulkan.rows[i], cpu.rows[i]);
        assert_true(fabs(vulkan.squares[i] / cpu.squares[i] - 1) < 1e-4);
    }
}

static void a_lost_device_ends_the_call_with_a_sentence(void **state)
{
    (void)state;
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_model *model;
    assert_int_equal(phy_model_open(&model, directory, &(struct phy_model_params){.device = "vulkan", .host = &host}),
                     PHY_OK);
    /* Wherever in a layer, or in the head. */
    for (uint64_t after = 0; after < 12; after++) {
        phy_model_close(&model);
        assert_int_equal(
            phy_model_open(&model, directory, &(struct phy_model_params){.device = "vulkan", .host = &host}), PHY_OK);
        struct phy_session *session = open_session(model, TINY_TOKENS);
        record.error[0] = 0;
        phy_vk_lose_device_after(after);
        enum phy_status status = phy_session_forward(session, tiny_tokens, 3, UINT32_MAX, NULL, NULL);
        phy_vk_lose_device_after(UINT64_MAX);
        if (status != PHY_OK) {
            assert_int_equal(status, PHY_ERR_DEVICE);
            assert_non_null(strstr(record.error, "was lost"));
        }
        assert_true(after || status != PHY_OK);
        phy_session_destroy(&session);
        if (reduced)
            break;
    }
    phy_model_close(&model);
}

static void a_device_that_is_not_there_is_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        enum phy_status status;
        const char *sentence;
    } cases[] = {
        {"vulkan:99", PHY_ERR_DEVICE, "none of the"},
        {"vulkan:no such name", PHY_ERR_DEVICE, "none of the"},
        {"all", PHY_ERR_USAGE, "a model runs on one of"},
        {"cpu:nine", PHY_ERR_USAGE, "not one of cpu:ref"},
    };
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct log_record record;
        struct phy_host host = recording_host(&record);
        struct phy_model *model;
        assert_int_equal(
            phy_model_open(&model, directory, &(struct phy_model_params){.device = cases[i].device, .host = &host}),
            cases[i].status);
        assert_null(model);
        assert_int_equal(record.errors, 1);
        assert_non_null(strstr(record.error, cases[i].sentence));
    }
}

static void the_validation_layer_is_silent(void **state)
{
    (void)state;
    if (!phy_vk_validation_asked())
        skip();
    assert_int_equal(phy_vk_validation_messages(), 0);
}

int main(int argc, char **argv)
{
    bool hardware = argc > 1 && strcmp(argv[1], "hardware") == 0, found = false;
    reduced = argc > 2 && strcmp(argv[2], "reduced") == 0;
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    if (phy_vk_validation_asked() && !phy_vk_validation_available()) {
        printf("SKIPPED: the Vulkan validation layer is not installed\n");
        return 77;
    }
    if (phy_vk_list(&devices, &count, note, NULL) != PHY_OK)
        return 1;
    for (size_t i = 0; i < count; i++)
        found = found || !hardware || strcmp(devices[i].type, "cpu") != 0;
    phy_free(devices);
    if (!found) {
        printf("SKIPPED: %s\n", count ? "no Vulkan device that is not a CPU" : note);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_goldens),
        cmocka_unit_test(an_observer_sees_the_same_inputs_as_on_the_cpu),
        cmocka_unit_test(a_lost_device_ends_the_call_with_a_sentence),
        cmocka_unit_test(a_device_that_is_not_there_is_a_sentence),
        cmocka_unit_test(the_validation_layer_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
