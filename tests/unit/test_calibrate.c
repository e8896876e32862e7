/* SPDX-License-Identifier: Apache-2.0 */
/* calibrate: the file it writes, the numbers in it where they can be worked out directly, and surgery that reads it. */
#include "support/made_model.h"

enum { TEXT = 100, HIDDEN = 64, WIDE = 176 };

static struct log_record record;
static struct phy_host host;
static uint32_t text[TEXT];

static void make_text(void)
{
    for (uint32_t i = 0; i < TEXT; i++)
        text[i] = (i * i * 31 + 17 * i + 5) % TINY_VOCAB;
}

static enum phy_status calibrate(const char *directory, struct phy_calibrate_params params)
{
    struct phy_model *model;
    host = recording_host(&record);
    struct phy_model_params open = {.threads = 2, .host = &host};
    make_text();
    assert_int_equal(phy_model_open(&model, directory, &open), PHY_OK);
    params.directory = directory;
    params.model = model;
    params.tokens = text;
    params.token_count = params.token_count ? params.token_count : TEXT;
    params.output = params.output ? params.output : "calibration.safetensors";
    params.host = &host;
    enum phy_status status = phy_calibrate_run(&params);
    phy_model_close(&model);
    assert_int_equal(record.errors, status != PHY_OK);
    return status;
}

/* Values of the tensor `name`, widened; the caller's. */
static float *tensor_values(const char *path, const char *name, size_t *count)
{
    struct phy_checkpoint *cp;
    struct phy_tensor_info info;
    assert_int_equal(phy_checkpoint_open(&cp, path, NULL), PHY_OK);
    for (size_t i = 0; i < phy_checkpoint_tensor_count(cp); i++) {
        phy_checkpoint_tensor(cp, i, &info);
        if (strcmp(info.name, name) != 0)
            continue;
        bool wide = strcmp(info.dtype, "F32") == 0;
        *count = info.bytes / (wide ? 4 : 2);
        unsigned char *bytes = malloc(info.bytes);
        float *out = malloc(*count * sizeof *out);
        assert_int_equal(phy_checkpoint_read(cp, info.shard, info.at, bytes, info.bytes), PHY_OK);
        for (size_t k = 0; k < *count; k++)
            out[k] =
                wide ? phy_float_of_bits(phy_load_u32(bytes + 4 * k)) : phy_bf16_widen(phy_load_u16(bytes + 2 * k));
        free(bytes);
        phy_checkpoint_close(&cp);
        return out;
    }
    fail_msg("%s has no tensor %s", path, name);
    return NULL;
}

/* The root mean square of each channel of input_layernorm(embedding) over `tokens`, to the power alpha, over its mean.
 */
static void first_scales(const char *directory, bool gemma, double eps, const uint32_t *tokens, size_t count,
                         double alpha, double out[HIDDEN])
{
    size_t n;
    float *embedding = tensor_values(directory, "model.embed_tokens.weight", &n);
    float *norm = tensor_values(directory, "model.layers.0.input_layernorm.weight", &n);
    double squares[HIDDEN] = {0}, mean = 0;
    for (size_t t = 0; t < count; t++) {
        double x[HIDDEN], sum = 0;
        for (int j = 0; j < HIDDEN; j++) {
            x[j] = (double)embedding[(size_t)tokens[t] * HIDDEN + (size_t)j] * (gemma ? sqrt(HIDDEN) : 1);
            sum += x[j] * x[j];
        }
        for (int j = 0; j < HIDDEN; j++) {
            double h = x[j] / sqrt(sum / HIDDEN + eps) * ((double)norm[j] + (gemma ? 1 : 0));
            squares[j] += h * h;
        }
    }
    for (int j = 0; j < HIDDEN; j++)
        mean += pow(sqrt(squares[j] / (double)count), alpha) / HIDDEN;
    for (int j = 0; j < HIDDEN; j++)
        out[j] = pow(sqrt(squares[j] / (double)count), alpha) / mean;
    free(embedding);
    free(norm);
}

static void check_first_scales(const double expected[HIDDEN])
{
    static const char *const names[] = {"q_proj", "k_proj", "v_proj"};
    for (int i = 0; i < 3; i++) {
        char name[80];
        size_t count;
        snprintf(name, sizeof name, "model.layers.0.self_attn.%s.weight", names[i]);
        float *scales = tensor_values("calibration.safetensors", name, &count);
        assert_int_equal(count, HIDDEN);
        for (int j = 0; j < HIDDEN; j++) {
            if (!(fabs((double)scales[j] - expected[j]) <= 1e-5 * expected[j]))
                fail_msg("%s: scale %d is %.9g, expected %.9g", name, j, (double)scales[j], expected[j]);
        }
        free(scales);
    }
}

/* ---- tests ---- */

static void the_file_is_a_checkpoint_with_one_vector_of_mean_one_for_each_target(void **state)
{
    static const char *const names[] = {"qwen2", "qwen3", "llama3", "mistral", "gemma3"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct phy_checkpoint *file, *donor;
        struct phy_target_list targets;
        char directory[PATH_MAX];
        snprintf(directory, sizeof directory, "%s", tiny_path(names[i], NULL));
        assert_int_equal(calibrate(directory, (struct phy_calibrate_params){.context = 32}), PHY_OK);
        assert_int_equal(phy_checkpoint_open(&file, "calibration.safetensors", NULL), PHY_OK);
        assert_int_equal(phy_checkpoint_open(&donor, directory, NULL), PHY_OK);
        assert_int_equal(phy_targets_choose(&targets, donor, NULL, NULL), PHY_OK);
        assert_int_equal(phy_checkpoint_tensor_count(file), targets.count);
        for (size_t t = 0; t < targets.count; t++) {
            struct phy_tensor_info weight, vector;
            size_t count;
            double sum = 0;
            phy_checkpoint_tensor(donor, targets.targets[t].tensor, &weight);
            float *scales = tensor_values("calibration.safetensors", weight.name, &count);
            phy_checkpoint_tensor(file, t, &vector);
            assert_string_equal(vector.dtype, "F32");
            assert_int_equal(vector.dim_count, 1);
            assert_int_equal(vector.at % 4, 0);
            assert_int_equal(count, weight.shape[1]);
            for (size_t j = 0; j < count; j++) {
                assert_true(scales[j] >= 0 && isfinite(scales[j]));
                sum += (double)scales[j];
            }
            if (!(fabs(sum / (double)count - 1) <= 1e-6))
                fail_msg("%s, %s: mean %.9g", names[i], weight.name, sum / (double)count);
            free(scales);
        }
        phy_target_list_free(&targets);
        phy_checkpoint_close(&file);
        phy_checkpoint_close(&donor);
        assert_int_equal(remove("calibration.safetensors"), 0);
    }
}

static void the_first_layers_scales_are_those_of_the_normed_embeddings(void **state)
{
    double expected[HIDDEN];
    char directory[PATH_MAX];
    (void)state;
    make_text();
    snprintf(directory, sizeof directory, "%s", tiny_path("llama3", NULL));
    /* The last window is not whole, and counts. */
    assert_int_equal(calibrate(directory, (struct phy_calibrate_params){.context = 32}), PHY_OK);
    first_scales(directory, false, 1e-5, text, TEXT, 1, expected);
    check_first_scales(expected);

    assert_int_equal(calibrate(directory, (struct phy_calibrate_params){.context = 256, .alpha = 0.5}), PHY_OK);
    first_scales(directory, false, 1e-5, text, TEXT, 0.5, expected);
    check_first_scales(expected);

    snprintf(directory, sizeof directory, "%s", tiny_path("gemma3", NULL));
    assert_int_equal(calibrate(directory, (struct phy_calibrate_params){.context = 10}), PHY_OK);
    first_scales(directory, true, 1e-6, text, TEXT, 1, expected);
    check_first_scales(expected);

    /* Each window begins with the token, and what it does to the inputs counts: 4 windows of 31 and theirs. */
    uint32_t with_bos[TEXT + 4];
    size_t count = 0;
    for (size_t i = 0; i < TEXT; i++) {
        if (i % 31 == 0)
            with_bos[count++] = 2;
        with_bos[count++] = text[i];
    }
    assert_int_equal(count, TEXT + 4);
    struct phy_calibrate_params params = {.context = 32, .has_bos = true, .bos = 2};
    assert_int_equal(calibrate(directory, params), PHY_OK);
    first_scales(directory, true, 1e-6, with_bos, count, 1, expected);
    check_first_scales(expected);
}

/* The inputs of k, v, up are those of q and gate: the same vectors. Those of o and down are others. */
static void projections_of_one_input_share_their_scales(void **state)
{
    size_t count;
    (void)state;
    assert_int_equal(calibrate(tiny_path("llama3", NULL), (struct phy_calibrate_params){.context = 32}), PHY_OK);
    float *gate = tensor_values("calibration.safetensors", "model.layers.1.mlp.gate_proj.weight", &count);
    float *up = tensor_values("calibration.safetensors", "model.layers.1.mlp.up_proj.weight", &count);
    float *q = tensor_values("calibration.safetensors", "model.layers.1.self_attn.q_proj.weight", &count);
    float *o = tensor_values("calibration.safetensors", "model.layers.1.self_attn.o_proj.weight", &count);
    assert_memory_equal(gate, up, HIDDEN * sizeof *gate);
    assert_memory_not_equal(gate, q, HIDDEN * sizeof *gate);
    assert_memory_not_equal(o, q, HIDDEN * sizeof *o);
    float *down = tensor_values("calibration.safetensors", "model.layers.1.mlp.down_proj.weight", &count);
    assert_int_equal(count, WIDE);
    free(gate), free(up), free(q), free(o), free(down);
}

static void a_run_repeats_to_the_byte(void **state)
{
    size_t bytes[2];
    char *files[2];
    (void)state;
    for (int run = 0; run < 2; run++) {
        assert_int_equal(calibrate(tiny_path("qwen2", NULL), (struct phy_calibrate_params){.context = 32}), PHY_OK);
        files[run] = read_whole("calibration.safetensors", &bytes[run]);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(files[0], files[1], bytes[0]);
    /* What it was measured on, and nothing of the machine. */
    char *header = strndup(files[0] + 8, phy_load_u64(files[0]));
    assert_non_null(strstr(header, "\"model_digest\""));
    assert_non_null(strstr(header, "\"alpha\""));
    assert_null(strstr(header, PHY_TEST_DATA));
    free(header);
    free(files[0]);
    free(files[1]);
}

static void surgery_takes_the_calibration_and_kills_other_weights(void **state)
{
    struct phy_surgery_result plain, scaled;
    char donor[PATH_MAX];
    (void)state;
    snprintf(donor, sizeof donor, "%s", tiny_path("llama3", NULL));
    assert_int_equal(calibrate(donor, (struct phy_calibrate_params){.context = 32}), PHY_OK);
    host = recording_host(&record);
    struct phy_surgery_params params = {.donor = donor, .output = "plain", .threads = 1, .gain = 2, .host = &host};
    assert_int_equal(phy_surgery_run(&params, &plain), PHY_OK);
    params.output = "scaled";
    params.calibration = "calibration.safetensors";
    if (phy_surgery_run(&params, &scaled) != PHY_OK)
        fail_msg("%s", record.error);
    assert_int_equal(record.warnings, 0);
    assert_true(scaled.killed > 0 && scaled.killed < scaled.target_elements);
    size_t bytes[2];
    char *files[2] = {read_whole("plain/model.safetensors", &bytes[0]),
                      read_whole("scaled/model.safetensors", &bytes[1])};
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_not_equal(files[0], files[1], bytes[0]);
    free(files[0]);
    free(files[1]);

    /* A model is told by its headers: one more byte there makes another model, and a warning. */
    tiny_copy_changed("llama3", "relative", "{", "{");
    rewrite_header("relative/model.safetensors", "\"format\":\"pt\"", "\"format\": \"pt\"");
    params.donor = "relative";
    params.output = "other";
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    assert_non_null(strstr(record.warning, "measured on another model"));
}

static void what_cannot_be_measured_is_refused_and_leaves_no_file(void **state)
{
    static const struct {
        struct phy_calibrate_params params;
        enum phy_status status;
        const char *words;
    } cases[] = {
        {{.alpha = -1}, PHY_ERR_USAGE, "alpha -1"},
        {{.alpha = 4.5}, PHY_ERR_USAGE, "alpha 4.5"},
        {{.alpha = NAN}, PHY_ERR_USAGE, "alpha nan"},
        {{.context = 1}, PHY_ERR_USAGE, "a context of 1"},
        {{.context = 257}, PHY_ERR_LIMIT, "a context of 257: the model allows 256"},
        {{.context = 32, .has_bos = true, .bos = 512}, PHY_ERR_USAGE, "token 512"},
        {{.output = "nowhere/calibration.safetensors"}, PHY_ERR_USAGE, "nowhere/calibration.safetensors"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(calibrate(tiny_path("llama3", NULL), cases[i].params), cases[i].status);
        if (!strstr(record.error, cases[i].words))
            fail_msg("\"%s\", expected \"%s\"", record.error, cases[i].words);
    }
    DIR *here = opendir(".");
    const struct dirent *entry;
    while ((entry = readdir(here)))
        assert_true(entry->d_name[0] == '.');
    closedir(here);
}

int main(void)
{
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(the_file_is_a_checkpoint_with_one_vector_of_mean_one_for_each_target),
        IN_SCRATCH(the_first_layers_scales_are_those_of_the_normed_embeddings),
        IN_SCRATCH(projections_of_one_input_share_their_scales),
        IN_SCRATCH(a_run_repeats_to_the_byte),
        IN_SCRATCH(surgery_takes_the_calibration_and_kills_other_weights),
        IN_SCRATCH(what_cannot_be_measured_is_refused_and_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
