/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of one small model of each architecture against logits computed in float64 by another
 * implementation. */
#include "support/tiny_model.h"

#include <cjson/cJSON.h>

#include "kernels/matmul.h"

static const char *const names[] = {"qwen2", "qwen3", "llama3", "mistral", "gemma3"};
enum { NAMES = sizeof names / sizeof *names };

/* What any order of additions in float32 keeps to, and no mistake in the arithmetic does: tests/golden/model/README.md.
 */
static const double tolerance = 5e-5;

static float got[TINY_TOKENS * TINY_VOCAB];

static float *golden_of(const char *name)
{
    size_t bytes;
    char *logits = read_whole(tiny_path(name, "logits.f64ref.bin"), &bytes);
    assert_int_equal(bytes, sizeof got);
    return (float *)(void *)logits; /* little-endian, as every processor we build for */
}

static void check_forms(const char *directory, const char *name, const char *spelling)
{
    static const size_t whole[] = {TINY_TOKENS, 0}, ones[] = {1, 0}, odd[] = {3, 9, 1, 2, 11, 7, 5, 0},
                        many[] = {13, 0};
    static const struct {
        const char *name;
        const size_t *chunks;
    } ways[] = {{"in one call", whole}, {"token by token", ones}, {"in odd chunks", odd}, {"13 at a time", many}};
    struct phy_cpu_features have = phy_cpu_detect();
    float *golden = golden_of(name);
    for (const struct phy_matmul_variant *v = phy_matmul_variants; v->name; v++) {
        if (!phy_cpu_meets(&have, &v->needs)) {
            printf("skipped: cpu:%s, not on this processor\n", v->name);
            continue;
        }
        char device[32];
        snprintf(device, sizeof device, "cpu:%s", v->name);
        struct phy_model *model = open_model(directory, device, 2);
        struct phy_session *session = open_session(model, TINY_TOKENS);
        double worst = 0;
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            memset(got, 0xFF, sizeof got);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, ways[w].chunks, TINY_VOCAB, got);
            double error = worst_relative_l2(got, golden, TINY_TOKENS, TINY_VOCAB);
            if (!(error <= tolerance))
                fail_msg("%s, %s config, %s, %s: relative L2 %.3g, %.3g allowed", name, spelling, device, ways[w].name,
                         error, tolerance);
            worst = error > worst ? error : worst;
        }
        printf("%s, %s config, %s: worst relative L2 %.3g\n", name, spelling, device, worst);
        phy_session_destroy(&session);
        phy_model_close(&model);
    }
    free(golden);
}

static void logits_match_with_the_config_of_today(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        char directory[PATH_MAX];
        snprintf(directory, sizeof directory, "%s", tiny_path(names[i], NULL));
        check_forms(directory, names[i], "today's");
    }
}

static void logits_match_with_the_classic_config(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        size_t bytes;
        char *config = read_whole(tiny_path(names[i], "config.classic.json"), &bytes);
        tiny_copy(names[i], names[i], config);
        check_forms(names[i], names[i], "classic");
        free(config);
    }
}

static void the_largest_logits_are_the_goldens_at_every_position(void **state)
{
    static const size_t whole[] = {TINY_TOKENS, 0};
    size_t bytes;
    char *text = read_whole(PHY_TEST_DATA "/golden/model/tiny.json", &bytes);
    cJSON *json = cJSON_Parse(text);
    const cJSON *ids = cJSON_GetObjectItem(json, "token_ids"), *tops = cJSON_GetObjectItem(json, "argmax_per_position");
    (void)state;
    assert_int_equal(cJSON_GetArraySize(ids), TINY_TOKENS);
    for (int i = 0; i < TINY_TOKENS; i++)
        assert_int_equal(cJSON_GetArrayItem(ids, i)->valueint, tiny_tokens[i]);
    for (size_t i = 0; i < NAMES; i++) {
        struct phy_model *model = open_model(tiny_path(names[i], NULL), NULL, 2);
        struct phy_session *session = open_session(model, 0);
        const cJSON *top = cJSON_GetObjectItem(tops, names[i]);
        run_in_chunks(session, tiny_tokens, TINY_TOKENS, whole, TINY_VOCAB, got);
        assert_int_equal(cJSON_GetArraySize(top), TINY_TOKENS);
        for (int p = 0; p < TINY_TOKENS; p++)
            assert_int_equal(largest_of(got + p * TINY_VOCAB, TINY_VOCAB), cJSON_GetArrayItem(top, p)->valueint);
        phy_session_destroy(&session);
        phy_model_close(&model);
    }
    cJSON_Delete(json);
    free(text);
}

/* A mistake in a config's reading must not stay below the tolerance: each of these settings moves the logits far beyond
 * it. */
static void the_goldens_tell_settings_apart(void **state)
{
    static const struct {
        const char *name, *old, *new;
    } changes[] = {
        {"mistral", "\"sliding_window\": 8", "\"sliding_window\": 9"},
        {"mistral", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-03"},
        {"llama3", "\"rope_type\": \"llama3\"", "\"rope_type\": \"linear\""},
        {"llama3", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 2.0"},
        {"qwen2", "\"rope_theta\": 1000000.0", "\"rope_theta\": 10000.0"},
        {"gemma3", "\"query_pre_attn_scalar\": 20", "\"query_pre_attn_scalar\": 24"},
        {"gemma3", "\"rope_theta\": 10000.0", "\"rope_theta\": 1000000.0"},
        {"gemma3", "\"factor\": 8.0", "\"factor\": 4.0"},
        {"gemma3", "\"sliding_attention\",\n    \"full_attention\"", "\"full_attention\",\n    \"full_attention\""},
    };
    static const size_t whole[] = {TINY_TOKENS, 0};
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char folder[32];
        snprintf(folder, sizeof folder, "changed-%zu", i);
        tiny_copy_changed(changes[i].name, folder, changes[i].old, changes[i].new);
        float *golden = golden_of(changes[i].name);
        struct phy_model *model = open_model(folder, NULL, 2);
        struct phy_session *session = open_session(model, 0);
        run_in_chunks(session, tiny_tokens, TINY_TOKENS, whole, TINY_VOCAB, got);
        double error = worst_relative_l2(got, golden, TINY_TOKENS, TINY_VOCAB);
        if (!(error > 4 * tolerance))
            fail_msg("%s with %s: relative L2 only %.3g", changes[i].name, changes[i].new, error);
        phy_session_destroy(&session);
        phy_model_close(&model);
        free(golden);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_match_with_the_config_of_today),
        cmocka_unit_test_setup_teardown(logits_match_with_the_classic_config, scratch_begin, scratch_end),
        cmocka_unit_test(the_largest_logits_are_the_goldens_at_every_position),
        cmocka_unit_test_setup_teardown(the_goldens_tell_settings_apart, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
