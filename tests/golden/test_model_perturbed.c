/* SPDX-License-Identifier: Apache-2.0 */
/* eval against a baseline on a published model, $PHY_MODELS/smol: of the other model the smallest fifth of each
 * projection's weights is zero. The text's first two windows; all of it with PHY_WHOLE_TEXT set, which takes a minute.
 * Exit 77 when the model is not there. */
#include "support/tiny_model.h"

#include <cjson/cJSON.h>

#include "format/checkpoint_files.h"

enum { WINDOW = 256, ABSOLUTE_BITS = 0x7FFF };

static cJSON *golden;
static char donor[PATH_MAX];

static double number(const char *name)
{
    return cJSON_GetObjectItem(golden, name)->valuedouble;
}

static double item(const char *name, size_t index)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItem(golden, name), (int)index)->valuedouble;
}

/* ---- the other model ---- */

/* With t the (n / 5)th smallest magnitude, what is below it becomes +0; how many that were. bf16 magnitudes are in the
 * order of their bits. */
static size_t zero_the_smallest_fifth(uint16_t *weights, size_t count)
{
    size_t *with = calloc(ABSOLUTE_BITS + 1, sizeof *with), threshold = 0, below = 0;
    for (size_t i = 0; i < count; i++)
        with[weights[i] & ABSOLUTE_BITS]++;
    for (size_t seen = with[0]; seen < count / 5; seen += with[threshold])
        threshold++;
    for (size_t i = 0; i < count; i++) {
        if ((weights[i] & ABSOLUTE_BITS) < threshold) {
            weights[i] = 0;
            below++;
        }
    }
    free(with);
    return below;
}

static bool is_projection(const char *name)
{
    static const char *const ends[] = {".q_proj.weight",    ".k_proj.weight",  ".v_proj.weight",   ".o_proj.weight",
                                       ".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *found = strstr(name, ends[i]);
        if (found && found[strlen(ends[i])] == 0)
            return true;
    }
    return false;
}

static void copy_file(const char *name)
{
    char path[PATH_MAX + 64];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", donor, name);
    char *content = read_whole(path, &bytes);
    snprintf(path, sizeof path, "perturbed/%s", name);
    write_file(path, content, bytes);
    free(content);
}

static void make_perturbed(void)
{
    struct phy_checkpoint *checkpoint;
    size_t below = 0, changed = 0;
    assert_int_equal(mkdir("perturbed", 0777), 0);
    copy_file("config.json");
    copy_file("model.safetensors");
    assert_int_equal(phy_checkpoint_open(&checkpoint, "perturbed", NULL), PHY_OK);
    int fd = open("perturbed/model.safetensors", O_RDWR);
    for (size_t i = 0; i < phy_checkpoint_tensor_count(checkpoint); i++) {
        struct phy_tensor_info tensor;
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        if (!is_projection(tensor.name))
            continue;
        uint16_t *weights = malloc(tensor.bytes);
        assert_int_equal(pread(fd, weights, tensor.bytes, (off_t)tensor.at), tensor.bytes);
        below += zero_the_smallest_fifth(weights, tensor.bytes / 2);
        assert_int_equal(pwrite(fd, weights, tensor.bytes, (off_t)tensor.at), tensor.bytes);
        free(weights);
        changed++;
    }
    close(fd);
    phy_checkpoint_close(&checkpoint);
    assert_int_equal(changed, (size_t)number("tensors"));
    assert_int_equal(below, (size_t)number("weights_below"));
}

/* ---- the comparison ---- */

static void check_first_window(const struct phy_eval_result *result)
{
    double worst_nll = 0, worst_kl = 0, mean = 0, expected_mean = 0;
    for (size_t i = 0; i < WINDOW - 1; i++) {
        double kl = item("first_window_kl_bits", i);
        worst_nll = fmax(worst_nll, fabs(result->tokens[i].nll - item("first_window_nll", i)));
        worst_kl = fmax(worst_kl, fabs(result->tokens[i].kl_bits - kl));
        mean += result->tokens[i].kl_bits / (WINDOW - 1);
        expected_mean += kl / (WINDOW - 1);
    }
    printf("first window: worst nll off by %.3g nats, worst KL by %.3g bits, mean KL %.7f, expected %.7f\n", worst_nll,
           worst_kl, mean, expected_mean);
    assert_true(worst_nll <= 5e-4);
    assert_true(worst_kl <= 1e-3);
    assert_true(fabs(mean - expected_mean) <= 1e-4 * expected_mean);
}

static void check_whole_text(const struct phy_eval_result *result)
{
    double agreed = result->top1_agreement.value * (double)result->token_count;
    printf("perplexity %.6f and %.6f, KL %.8f bits, top-1 agreement of %.0f tokens\n", result->perplexity.value,
           result->baseline_perplexity.value, result->kl_bits.value, agreed);
    assert_int_equal(result->token_count, (size_t)number("scored"));
    assert_int_equal(result->dropped, (size_t)number("dropped"));
    assert_true(fabs(result->perplexity.value - number("perplexity")) <= 1e-5 * number("perplexity"));
    assert_true(fabs(result->baseline_perplexity.value - number("baseline_perplexity")) <=
                1e-5 * number("baseline_perplexity"));
    assert_true(fabs(result->kl_bits.value - number("kl_bits")) <= 1e-4 * number("kl_bits"));
    assert_true(fabs(result->kl_bits_max - number("kl_bits_max")) <= 1e-3);
    assert_true(fabs(agreed - number("top1_agree_count")) <= 2.5);
}

static void a_pruned_copy_is_as_far_from_its_donor_as_the_golden_says(void **state)
{
    size_t bytes;
    char *ids = read_whole(PHY_TEST_DATA "/golden/model/handbook_smol_ids.u32.bin", &bytes);
    const bool whole = getenv("PHY_WHOLE_TEXT") != NULL;
    (void)state;
    make_perturbed();
    struct phy_model *baseline = open_model(donor, NULL, 0), *model = open_model("perturbed", NULL, 0);
    const struct phy_eval_params params = {.model = model,
                                           .baseline = baseline,
                                           .tokens = (const uint32_t *)(const void *)ids,
                                           .token_count = whole ? bytes / 4 : 2 * WINDOW,
                                           .context = WINDOW};
    struct phy_eval_result result;
    assert_int_equal(phy_eval_run(&params, &result), PHY_OK);
    check_first_window(&result);
    for (size_t w = 0; w < result.window_count; w++) {
        assert_true(fabs(result.window_nll[w] - item("window_nll", w)) <= 1e-5 * (WINDOW - 1));
        assert_true(fabs(result.baseline_window_nll[w] - item("baseline_window_nll", w)) <= 1e-5 * (WINDOW - 1));
    }
    if (whole)
        check_whole_text(&result);
    phy_eval_result_free(&result);
    phy_model_close(&model);
    phy_model_close(&baseline);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        a_pruned_copy_is_as_far_from_its_donor_as_the_golden_says, scratch_begin, scratch_end)};
    char path[PATH_MAX + 64];
    const char *models = getenv("PHY_MODELS");
    snprintf(donor, sizeof donor, "%s/smol", models ? models : "");
    snprintf(path, sizeof path, "%s/config.json", donor);
    if (!models || access(path, R_OK) != 0) {
        printf("skipped: no smol/ in the folder that PHY_MODELS names\n");
        return 77;
    }
    size_t bytes;
    char *text = read_whole(PHY_TEST_DATA "/golden/model/perturbed.json", &bytes);
    golden = cJSON_Parse(text);
    free(text);
    int failed = golden ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    cJSON_Delete(golden);
    return failed;
}
