/* SPDX-License-Identifier: Apache-2.0 */
/* Two published models against goldens of another implementation: $PHY_MODELS/NAME as `physarium import` writes it, or
 * $PHY_MODELS/NAME.gguf, which is imported here. Exit 77 when there is neither. */
#include "support/tiny_model.h"

#include <cjson/cJSON.h>

static cJSON *goldens;
static unsigned models_run;

/* The model's directory, imported if need be; NULL: there is none. */
static const char *find_model(const char *name, char path[PATH_MAX])
{
    const char *models = getenv("PHY_MODELS");
    if (!models)
        models = "";
    snprintf(path, PATH_MAX, "%s/%s/config.json", models, name);
    if (*models && access(path, R_OK) == 0) {
        snprintf(path, PATH_MAX, "%s/%s", models, name);
        return path;
    }
    snprintf(path, PATH_MAX, "%s/%s.gguf", models, name);
    if (*models && access(path, R_OK) == 0) {
        struct phy_import_params params = {.input = path, .output = name};
        assert_int_equal(phy_import_run(&params, NULL), PHY_OK);
        snprintf(path, PATH_MAX, "%s", name);
        return path;
    }
    printf("skipped: no %s/ and no %s.gguf in the folder that PHY_MODELS names\n", name, name);
    return NULL;
}

static uint32_t *numbers_of(const cJSON *array, size_t *count)
{
    *count = (size_t)cJSON_GetArraySize(array);
    assert_true(*count > 0);
    uint32_t *out = malloc(*count * sizeof *out);
    const cJSON *item;
    size_t i = 0;
    cJSON_ArrayForEach(item, array) out[i++] = (uint32_t)item->valuedouble;
    return out;
}

struct last_row {
    float *to;
    size_t vocab;
};

static bool keep_last(void *user, uint32_t position, const float *logits)
{
    const struct last_row *row = user;
    (void)position;
    memcpy(row->to, logits, row->vocab * sizeof *logits);
    return true;
}

/* Prompt in one call, then greedy tokens one by one. */
static void check_prompt(struct phy_session *session, const cJSON *prompt, size_t vocab)
{
    size_t count, greedy_count;
    uint32_t *ids = numbers_of(cJSON_GetObjectItem(prompt, "ids"), &count),
             *greedy = numbers_of(cJSON_GetObjectItem(prompt, "greedy"), &greedy_count);
    struct last_row row = {malloc(vocab * sizeof(float)), vocab};
    const char *file = cJSON_GetStringValue(cJSON_GetObjectItem(prompt, "last_logits"));
    phy_session_truncate(session, 0);
    assert_int_equal(phy_session_forward(session, ids, count, UINT32_MAX, keep_last, &row), PHY_OK);
    if (file) {
        char path[PATH_MAX];
        size_t bytes;
        snprintf(path, sizeof path, PHY_TEST_DATA "/golden/model/%s", file);
        char *golden = read_whole(path, &bytes);
        assert_int_equal(bytes, vocab * sizeof(float));
        double error = relative_l2(row.to, (const float *)(const void *)golden, vocab);
        printf("%s: relative L2 %.3g\n", file, error);
        assert_true(error <= 1e-5);
        free(golden);
    }
    for (size_t i = 0; i < greedy_count; i++) {
        assert_int_equal(largest_of(row.to, vocab), greedy[i]);
        assert_int_equal(phy_session_forward(session, &greedy[i], 1, UINT32_MAX, keep_last, &row), PHY_OK);
    }
    printf("%s: %zu greedy tokens\n", prompt->string, greedy_count);
    free(row.to);
    free(ids);
    free(greedy);
}

static void check_windows(struct phy_model *model, const cJSON *windows)
{
    struct phy_eval_params params = {.model = model};
    const cJSON *bos = cJSON_GetObjectItem(windows, "bos"), *nll = cJSON_GetObjectItem(windows, "first_window_nll"),
                *sums = cJSON_GetObjectItem(windows, "window_nll");
    uint32_t *ids = numbers_of(cJSON_GetObjectItem(windows, "ids"), &params.token_count);
    struct phy_eval_result result;
    params.tokens = ids;
    params.context = (uint32_t)cJSON_GetObjectItem(windows, "context")->valueint;
    params.has_bos = cJSON_IsNumber(bos);
    params.bos = params.has_bos ? (uint32_t)bos->valueint : 0;
    assert_int_equal(phy_eval_run(&params, &result), PHY_OK);
    assert_int_equal(result.window_count, 2);
    assert_int_equal(result.token_count, 2 * cJSON_GetArraySize(nll));
    assert_int_equal(result.dropped, 0);
    double worst = 0;
    for (int i = 0; i < cJSON_GetArraySize(nll); i++)
        worst = fmax(worst, fabs(result.tokens[i].nll - cJSON_GetArrayItem(nll, i)->valuedouble));
    double total = 0;
    for (int w = 0; w < 2; w++) {
        double scored = cJSON_GetArraySize(nll), sum = cJSON_GetArrayItem(sums, w)->valuedouble;
        total += sum;
        assert_true(fabs(result.window_nll[w] - sum) <= 1e-5 * scored);
    }
    double perplexity = exp(total / (double)result.token_count);
    printf("worst nll of a token off by %.3g nats; perplexity %.6f, expected %.6f\n", worst, result.perplexity.value,
           perplexity);
    assert_true(worst <= 5e-4);
    assert_true(fabs(result.perplexity.value - perplexity) <= 1e-5 * perplexity);
    phy_eval_result_free(&result);
    free(ids);
}

static void check_model(const char *name)
{
    char path[PATH_MAX];
    if (!find_model(name, path))
        skip();
    models_run++;
    struct phy_model *model = open_model(path, NULL, 0);
    struct phy_session *session = open_session(model, 64);
    struct phy_model_info info;
    phy_model_describe(model, &info);
    const cJSON *golden = cJSON_GetObjectItem(goldens, name), *prompt;
    cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(golden, "prompts")) check_prompt(session, prompt, info.vocab_size);
    phy_session_destroy(&session);
    check_windows(model, cJSON_GetObjectItem(golden, "windows"));
    phy_model_close(&model);
}

static void smol_gives_the_golden_logits_tokens_and_perplexity(void **state)
{
    (void)state;
    check_model("smol");
}

static void gemma_gives_the_golden_logits_tokens_and_perplexity(void **state)
{
    (void)state;
    check_model("gemma");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(smol_gives_the_golden_logits_tokens_and_perplexity, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(gemma_gives_the_golden_logits_tokens_and_perplexity, scratch_begin,
                                        scratch_end),
    };
    size_t bytes;
    char *text = read_whole(PHY_TEST_DATA "/golden/model/real.json", &bytes);
    goldens = cJSON_Parse(text);
    free(text);
    int failed = goldens ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    cJSON_Delete(goldens);
    return failed ? failed : models_run ? 0 : 77;
}
