/* SPDX-License-Identifier: Apache-2.0 */
/* The audit's reference against FFN inputs and outputs of an unrelated implementation, on two published models:
 * $PHY_MODELS/NAME as `physarium import` writes it. Exit 77 when there is none. */
#include "support/tiny_model.h"

#include "audit/audit_parts.h"

static unsigned models_run;

static float *read_floats(const char *name, uint32_t layer, const char *what, size_t count)
{
    char path[PATH_MAX];
    size_t bytes;
    snprintf(path, sizeof path, PHY_TEST_DATA "/golden/audit/ffn_%s_paris_layer%u_%s.bin", name, layer, what);
    char *data = read_whole(path, &bytes);
    assert_int_equal(bytes % (count * sizeof(float)), 0);
    return (float *)(void *)data;
}

static void check_layer(const struct phy_model *model, const char *name, uint32_t layer, size_t positions)
{
    const size_t hidden = model->config.hidden_size;
    const struct phy_reference reference = {model->pool, model->config.activation, hidden,
                                            model->config.intermediate_size, NULL};
    const struct phy_reference_layer weights = phy_audit_model_layer(model, layer);
    float *in = read_floats(name, layer, "in", positions * hidden),
          *out = read_floats(name, layer, "out", positions * hidden),
          *truth = read_floats(name, layer, "out.f64ref", positions * hidden),
          *y = malloc(positions * hidden * sizeof *y);
    assert_int_equal(phy_reference_forward(&reference, &weights, in, positions, y), PHY_OK);
    double to_truth = worst_relative_l2(y, truth, positions, hidden),
           to_float = worst_relative_l2(y, out, positions, hidden);
    print_message("%s layer %u: %.2e from float64, %.2e from transformers in float32\n", name, layer, to_truth,
                  to_float);
    assert_true(to_truth <= 3e-7);
    assert_true(to_float <= 1e-6);
    free(in);
    free(out);
    free(truth);
    free(y);
}

static void check_model(const char *name, const uint32_t layers[3], size_t positions)
{
    const char *models = getenv("PHY_MODELS");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/config.json", models ? models : "", name);
    if (!models || access(path, R_OK) != 0) {
        printf("skipped: no %s/ in the folder that PHY_MODELS names\n", name);
        return;
    }
    *strrchr(path, '/') = 0;
    struct phy_model *model = open_model(path, "cpu", 2);
    for (size_t i = 0; i < 3; i++)
        check_layer(model, name, layers[i], positions);
    phy_model_close(&model);
    models_run++;
}

static void the_reference_is_what_another_implementation_gives(void **state)
{
    (void)state;
    check_model("smol", (const uint32_t[]){0, 15, 29}, 5);
    check_model("gemma", (const uint32_t[]){0, 9, 17}, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_reference_is_what_another_implementation_gives)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : models_run ? 0 : 77;
}
