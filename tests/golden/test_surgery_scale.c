/* SPDX-License-Identifier: Apache-2.0 */
/* --sparsity and --calibration: the gain that is found, the bytes that come out, and what is refused. */
#include "support/test.h"

#include "device/device_set.h"
#include "support/donor_model.h"
#include "surgery/calibration.h"
#include "surgery/gain_search.h"
#include "surgery/units.h"

/* 40 + 20 + 1 + 1020 tiles of 32: every second one is sampled, across edges of tensors and types. */
static const struct donor_tensor tensors[] = {
    {"embed", "BF16", 10, 10},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 130, 256},
    {"model.layers.0.self_attn.k_proj.weight", "F16", 600, 30},
    {"model.layers.0.mlp.gate_proj.weight", "BF16", 1, 1},
    {"model.layers.0.mlp.up_proj.weight", "F32", 1070, 960},
};
enum { TENSORS = sizeof tensors / sizeof *tensors, BLOCK = 32 };

static const struct phy_flow_params flow = {.gain = 5, .beta = 2, .iterations = 6, .block = BLOCK};
static struct log_record record;
static struct phy_host host;
static struct phy_checkpoint *donor;
static struct phy_target_list targets;
static float *scales[TENSORS]; /* by tensor; NULL for one that is no target */

/* One F32 vector for each tensor with scales; `metadata` is the text of __metadata__. */
static void write_calibration(const char *path, const char *metadata)
{
    char header[4096];
    size_t used = (size_t)sprintf(header, "{\"__metadata__\":{%s}", metadata), at = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        if (!scales[i])
            continue;
        size_t bytes = tensors[i].cols * 4;
        used += (size_t)sprintf(header + used, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
                                tensors[i].name, bytes / 4, at, at + bytes);
        at += bytes;
    }
    used += (size_t)sprintf(header + used, "}");
    FILE *file = fopen(path, "wb");
    uint64_t length = used;
    assert_int_equal(fwrite(&length, 1, 8, file), 8);
    assert_int_equal(fwrite(header, 1, used, file), used);
    for (size_t i = 0; i < TENSORS; i++) {
        if (scales[i])
            assert_int_equal(fwrite(scales[i], 4, tensors[i].cols, file), tensors[i].cols);
    }
    fclose(file);
}

static int setup(void **state)
{
    char *folder = malloc(64);
    donor_enter_folder(folder);
    *state = folder;
    host = recording_host(&record);
    donor_write_safetensors("d.safetensors", tensors, TENSORS, 9, 1);
    assert_int_equal(phy_checkpoint_open(&donor, "d.safetensors", NULL), PHY_OK);
    assert_int_equal(phy_targets_choose(&targets, donor, NULL, NULL), PHY_OK);
    assert_int_equal(targets.count, 4);
    uint64_t seed = 4;
    for (size_t i = 1; i < TENSORS; i++) {
        scales[i] = malloc(tensors[i].cols * 4);
        for (size_t c = 0; c < tensors[i].cols; c++)
            scales[i][c] = c % 9 == 0 ? 0.0f : (float)(donor_random(&seed) % 1000) / 500.0f;
    }
    write_calibration("c.safetensors", "\"tokens\":\"12\"");
    return 0;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < TENSORS; i++)
        free(scales[i]);
    phy_target_list_free(&targets);
    phy_checkpoint_close(&donor);
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

/* ---- the gain ---- */

/* Killed and sampled weights at one gain: every second tile of the whole list. */
static void model_sample(float gain, bool scaled, uint64_t *killed, uint64_t *weights)
{
    static _Alignas(64) unsigned char scratch[PHY_FLOW_SCRATCH_BYTES], codes[BLOCK * BLOCK * 4];
    struct phy_flow_params with = flow;
    uint64_t index = 0;
    with.gain = gain;
    *killed = *weights = 0;
    for (size_t i = 0; i < targets.count; i++) {
        struct phy_matrix m = phy_matrix_of(donor, &targets.targets[i]);
        for (uint64_t r = 0; r < m.rows; r += BLOCK) {
            for (uint64_t c = 0; c < m.cols; c += BLOCK) {
                if (index++ % 2 != 0)
                    continue;
                struct phy_flow_tile tile = {.codes = codes,
                                             .type = m.type,
                                             .rows = (uint32_t)(m.rows - r < BLOCK ? m.rows - r : BLOCK),
                                             .cols = (uint32_t)(m.cols - c < BLOCK ? m.cols - c : BLOCK),
                                             .column_scale = scaled ? scales[i + 1] + c : NULL};
                tile.row_stride = tile.cols;
                for (uint32_t y = 0; y < tile.rows; y++)
                    assert_int_equal(phy_checkpoint_read(donor, 0, m.at + ((r + y) * m.cols + c) * m.code_bytes,
                                                         codes + y * tile.cols * m.code_bytes,
                                                         tile.cols * m.code_bytes),
                                     PHY_OK);
                struct phy_flow_tile_result result;
                phy_flow_tile_ref(&tile, &with, scratch, &result);
                *killed += result.killed;
                *weights += (uint64_t)tile.rows * tile.cols;
            }
        }
    }
    assert_int_equal(index, 5 * 8 + 19 * 1 + 1 + 34 * 30);
}

static float gain_of(int n)
{
    float gain = (1.0f + (float)(n % 64) / 64.0f) / 16.0f;
    for (int e = 0; e < n / 64; e++)
        gain *= 2;
    return gain;
}

static void check_gain(double sparsity, bool scaled, uint64_t memory_bytes, uint32_t threads)
{
    struct phy_device_set devices;
    struct phy_calibration calibration;
    struct phy_gain_found found;
    assert_int_equal(phy_device_set_open(&devices, "cpu", threads, NULL), PHY_OK);
    assert_int_equal(phy_calibration_open(&calibration, "c.safetensors", donor, &targets, "", &host), PHY_OK);
    assert_int_equal(
        phy_gain_search(&found, &(struct phy_gain_search_params){.donor = donor,
                                                                 .targets = &targets,
                                                                 .calibration = scaled ? &calibration : NULL,
                                                                 .flow = flow,
                                                                 .sparsity = sparsity,
                                                                 .memory_bytes = memory_bytes,
                                                                 .devices = &devices,
                                                                 .host = &host}),
        PHY_OK);
    phy_calibration_close(&calibration);
    phy_device_set_close(&devices);
    /* The gain found is enough by the slow way too, and the next larger one is not. */
    int n = 0;
    uint64_t killed, weights;
    while (n < 640 && gain_of(n) != found.gain)
        n++;
    assert_true(n < 639);
    model_sample(found.gain, scaled, &killed, &weights);
    assert_int_equal(found.killed, killed);
    assert_int_equal(found.weights, weights);
    assert_true((double)killed >= sparsity * (double)weights);
    model_sample(gain_of(n + 1), scaled, &killed, &weights);
    assert_true((double)killed < sparsity * (double)weights);
    print_message("sparsity %g: gain %g\n", sparsity, (double)found.gain);
}

static void finds_the_largest_gain_that_is_enough(void **state)
{
    (void)state;
    check_gain(0.5, false, 64 << 20, 2);
    check_gain(0.8, false, 64 << 20, 3);
    check_gain(0.5, true, 64 << 20, 1);
}

static void finds_the_same_gain_when_the_sample_does_not_fit_in_memory(void **state)
{
    (void)state;
    check_gain(0.5, false, 1 << 16, 2);
    check_gain(0.7, true, 1 << 19, 2);
}

static void a_sparsity_out_of_reach_is_refused_with_the_range(void **state)
{
    (void)state;
    struct stat there;
    host = recording_host(&record);
    struct phy_surgery_params params = {.donor = "d.safetensors",
                                        .output = "o.safetensors",
                                        .sparsity = 0.9999,
                                        .block = BLOCK,
                                        .iterations = 6,
                                        .host = &host};
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "no gain kills so many"));
    assert_non_null(strstr(record.error, "0.0625 to 63.5"));
    assert_int_not_equal(stat(".o.safetensors.physarium-partial", &there), 0);
    params.sparsity = 0.4;
    struct phy_surgery_result result;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    double share = (double)result.killed / (double)result.target_elements;
    assert_true(share > 0.38 && share < 0.45);
    assert_int_equal(unlink("o.safetensors"), 0);
    assert_int_equal(system("rm -r o.safetensors.physarium"), 0);
}

/* ---- calibration ---- */

static void scales_decide_what_is_killed(void **state)
{
    (void)state;
    struct phy_surgery_params params = {.donor = "d.safetensors",
                                        .output = "o.safetensors",
                                        .calibration = "c.safetensors",
                                        .block = BLOCK,
                                        .iterations = 6,
                                        .memory_bytes = 16 << 20,
                                        .host = &host};
    struct phy_surgery_result result;
    struct model_counts counts = {0}, without = {0};
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    size_t bytes, got_bytes;
    unsigned char *expected = donor_read("d.safetensors", &bytes), *got = donor_read("o.safetensors", &got_bytes);
    for (size_t i = 0; i < targets.count; i++) {
        struct phy_tensor_info info;
        phy_checkpoint_tensor(donor, targets.targets[i].tensor, &info);
        unsigned char *codes = malloc(info.bytes), *plain = malloc(info.bytes);
        memcpy(codes, expected + info.at, info.bytes);
        memcpy(plain, expected + info.at, info.bytes);
        model_prune_matrix(codes, &info, scales[i + 1], &flow, &counts);
        model_prune_matrix(plain, &info, NULL, &flow, &without);
        memcpy(expected + info.at, codes, info.bytes);
        free(codes);
        free(plain);
    }
    assert_int_equal(bytes, got_bytes);
    assert_memory_equal(got, expected, bytes);
    assert_int_equal(result.killed, counts.killed);
    assert_int_not_equal(counts.killed, without.killed);
    free(expected);
    free(got);
    params.resume = true;
    params.calibration = NULL;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "calibration is"));
}

static void assert_calibration_refused(enum phy_status status, const char *because)
{
    struct phy_calibration calibration;
    host = recording_host(&record);
    write_calibration("bad.safetensors", "");
    assert_int_equal(phy_calibration_open(&calibration, "bad.safetensors", donor, &targets, "", &host), status);
    assert_int_equal(record.errors, 1);
    if (!strstr(record.error, because))
        fail_msg("\"%s\" does not say \"%s\"", record.error, because);
}

static void a_calibration_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const float bad[] = {-1.0f, 1.0f / 0.0f, -1.0f / 0.0f, 0.0f / 0.0f};
    float *up = scales[4], kept = up[950];
    for (size_t i = 0; i < 4; i++) {
        up[950] = bad[i];
        assert_calibration_refused(PHY_ERR_FORMAT, "mlp.up_proj.weight\": scale 950 is");
    }
    up[950] = kept;
    scales[4] = NULL;
    assert_calibration_refused(PHY_ERR_FORMAT, "no scales for \"model.layers.0.mlp.up_proj.weight\"");
    scales[4] = up;

    static const struct donor_tensor wrong[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 255, 0}};
    struct phy_calibration calibration;
    donor_write_safetensors("short.safetensors", wrong, 1, 1, 0);
    assert_int_equal(phy_calibration_open(&calibration, "short.safetensors", donor, &targets, "", &host),
                     PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "255 scales, the weight has 256 columns"));
    assert_int_equal(phy_calibration_open(&calibration, "d.safetensors", donor, &targets, "", &host), PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "one F32 vector"));
}

static void a_calibration_of_another_model_is_a_warning(void **state)
{
    (void)state;
    struct phy_calibration calibration;
    host = recording_host(&record);
    write_calibration("m.safetensors", "\"model_digest\":\"0123\"");
    assert_int_equal(phy_calibration_open(&calibration, "m.safetensors", donor, &targets, "0123", &host), PHY_OK);
    phy_calibration_close(&calibration);
    assert_int_equal(record.warnings, 0);
    assert_int_equal(phy_calibration_open(&calibration, "m.safetensors", donor, &targets, "4567", &host), PHY_OK);
    phy_calibration_close(&calibration);
    assert_int_equal(record.warnings, 1);
    assert_non_null(strstr(record.warning, "another model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_largest_gain_that_is_enough),
        cmocka_unit_test(finds_the_same_gain_when_the_sample_does_not_fit_in_memory),
        cmocka_unit_test(a_sparsity_out_of_reach_is_refused_with_the_range),
        cmocka_unit_test(scales_decide_what_is_killed),
        cmocka_unit_test(a_calibration_that_does_not_fit_is_refused),
        cmocka_unit_test(a_calibration_of_another_model_is_a_warning),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
