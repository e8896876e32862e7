/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs of the methods that rank rows: bytes against a slow model, resuming, refusals, and coverage of them. */
#define _GNU_SOURCE
#include "support/test.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/io.h"
#include "kernels/rank_rows_forms.h"
#include "physarium/physarium.h"
#include "support/donor.h"
#include "surgery/pipeline.h"

static const struct donor_tensor tensors[] = {
    {"model.embed_tokens.weight", "BF16", 300, 40},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 640, 1151},
    {"model.layers.0.self_attn.k_proj.weight", "F16", 1, 700},
    {"model.layers.0.self_attn.v_proj.weight", "F32", 700, 1},
    {"model.layers.0.mlp.up_proj.weight", "F32", 257, 513},
    {"model.layers.1.mlp.down_proj.weight", "F16", 300, 255},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static struct log_record record;
static struct phy_host host;

static int setup(void **state)
{
    char *folder = malloc(64);
    struct donor_tensor scales[TENSORS];
    donor_enter_folder(folder);
    *state = folder;
    donor_write_safetensors("donor.safetensors", tensors, TENSORS, 11, 3);
    for (size_t i = 0; i < TENSORS; i++)
        scales[i] = (struct donor_tensor){tensors[i].name, "F32", tensors[i].cols, 0};
    donor_write_safetensors("calibration.safetensors", scales, TENSORS, 12, 0);
    /* Scales are not negative. */
    size_t bytes;
    unsigned char *file = donor_read("calibration.safetensors", &bytes);
    for (size_t at = 8 + (size_t)(file[0] | file[1] << 8 | file[2] << 16); at < bytes; at += 4)
        file[at + 3] &= 0x7F;
    donor_write("calibration.safetensors", file, bytes);
    free(file);
    return 0;
}

static int teardown(void **state)
{
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

static int before_each(void **state)
{
    (void)state;
    host = recording_host(&record);
    phy_pipeline_tuning = (struct phy_pipeline_tuning){.record_bytes = UINT64_C(256) << 20, .record_seconds = 2};
    phy_io_set_hook(NULL, NULL);
    return system("rm -rf out.safetensors* .out*") == 0 ? 0 : -1;
}

static struct phy_surgery_params params_of(const char *method, double sparsity, const char *pattern, bool scaled)
{
    return (struct phy_surgery_params){.donor = "donor.safetensors",
                                       .output = "out.safetensors",
                                       .threads = 2,
                                       .method = method,
                                       .sparsity = sparsity,
                                       .pattern = pattern,
                                       .calibration = scaled ? "calibration.safetensors" : NULL,
                                       .host = &host};
}

/* One tensor in memory, the whole of it at once, by the reference form. */
static void model_tensor(unsigned char *codes, const struct phy_tensor_info *info, float *factor,
                         const struct phy_rank_params *params)
{
    const size_t rows = info->shape[0], cols = info->shape[1];
    uint64_t *bins = calloc(cols * PHY_RANK_BINS, sizeof *bins);
    uint32_t *scratch = malloc(PHY_RANK_SCRATCH_WORDS * cols * sizeof *scratch);
    float *inverse = malloc(cols * sizeof *inverse);
    struct phy_flow_tile_result *results = malloc(rows * sizeof *results);
    struct phy_rank_rows work = {.codes = codes,
                                 .type = strcmp(info->dtype, "F32") == 0   ? PHY_FLOAT_F32
                                         : strcmp(info->dtype, "F16") == 0 ? PHY_FLOAT_F16
                                                                           : PHY_FLOAT_BF16,
                                 .rows = rows,
                                 .cols = cols,
                                 .column_factor = factor,
                                 .column_inverse = inverse,
                                 .apply = true,
                                 .scratch = scratch,
                                 .results = results};
    for (size_t j = 0; factor && params->score == PHY_RANK_RIA && j < cols; j++)
        factor[j] = sqrtf(factor[j]);
    phy_rank_add_columns(bins, codes, work.type, rows, cols);
    phy_rank_fold_columns(bins, cols);
    phy_rank_invert_columns(bins, cols, inverse);
    phy_rank_rows_ref(&work, params);
    free(bins);
    free(scratch);
    free(inverse);
    free(results);
}

static void load_scale(const char *name, float *out, size_t cols)
{
    struct phy_checkpoint *cp;
    struct phy_tensor_info info;
    assert_int_equal(phy_checkpoint_open(&cp, "calibration.safetensors", NULL), PHY_OK);
    for (size_t i = 0; i < phy_checkpoint_tensor_count(cp); i++) {
        phy_checkpoint_tensor(cp, i, &info);
        if (strcmp(info.name, name) == 0)
            assert_int_equal(phy_checkpoint_read(cp, 0, info.at, out, cols * sizeof *out), PHY_OK);
    }
    phy_checkpoint_close(&cp);
}

/* The file that the method makes of the donor; the caller's. */
static unsigned char *model_file(enum phy_rank_score score, double sparsity, uint32_t keep, bool scaled, size_t *bytes)
{
    struct phy_checkpoint *cp;
    unsigned char *file = donor_read("donor.safetensors", bytes);
    assert_int_equal(phy_checkpoint_open(&cp, "donor.safetensors", NULL), PHY_OK);
    for (size_t i = 0; i < TENSORS; i++) {
        struct phy_tensor_info info;
        float factor[2048];
        phy_checkpoint_tensor(cp, i, &info);
        if (!strstr(info.name, "_proj"))
            continue;
        if (scaled)
            load_scale(info.name, factor, info.shape[1]);
        struct phy_rank_params params = {.score = score,
                                         .keep = keep,
                                         .group = 2 * keep,
                                         .kill = keep ? 0 : (uint64_t)(sparsity * (double)info.shape[1])};
        unsigned char *codes = malloc(info.bytes); /* aligned, unlike its place in the file */
        memcpy(codes, file + info.at, info.bytes);
        model_tensor(codes, &info, scaled ? factor : NULL, &params);
        memcpy(file + info.at, codes, info.bytes);
        free(codes);
    }
    phy_checkpoint_close(&cp);
    return file;
}

static void assert_output_is(const unsigned char *expected, size_t bytes)
{
    size_t got_bytes;
    unsigned char *got = donor_read("out.safetensors", &got_bytes);
    assert_non_null(got);
    assert_int_equal(got_bytes, bytes);
    for (size_t at = 0; at < bytes; at++) {
        if (got[at] != expected[at])
            fail_msg("byte %zu differs", at);
    }
    free(got);
}

static void recompute_agrees(bool scaled)
{
    struct phy_coverage *coverage;
    struct phy_coverage_params params = {.donor = "donor.safetensors",
                                         .output = "out.safetensors",
                                         .threads = 2,
                                         .recompute = true,
                                         .calibration = scaled ? "calibration.safetensors" : NULL,
                                         .host = &host};
    assert_int_equal(phy_coverage_run(&coverage, &params), PHY_OK);
    assert_true(coverage->recomputed && coverage->recompute_agrees && coverage->denominator_correct);
    phy_coverage_free(&coverage);
}

static void every_method_writes_what_the_model_says_and_coverage_agrees(void **state)
{
    static const struct {
        const char *method, *pattern;
        enum phy_rank_score score;
        double sparsity;
        uint32_t keep;
        bool scaled;
    } runs[] = {
        {"magnitude", NULL, PHY_RANK_MAGNITUDE, 0.5, 0, false},
        {"magnitude", "2:4", PHY_RANK_MAGNITUDE, 0, 2, false},
        {"ria", NULL, PHY_RANK_RIA, 0.37, 0, false},
        {"ria", "4:8", PHY_RANK_RIA, 0, 4, true},
        {"ria", NULL, PHY_RANK_RIA, 0.61, 0, true},
        {"wanda", NULL, PHY_RANK_WANDA, 0.5, 0, true},
        {"wanda", "2:4", PHY_RANK_WANDA, 0, 2, true},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        before_each(state);
        size_t bytes;
        struct phy_surgery_result result;
        struct phy_surgery_params params = params_of(runs[i].method, runs[i].sparsity, runs[i].pattern, runs[i].scaled);
        unsigned char *expected = model_file(runs[i].score, runs[i].sparsity, runs[i].keep, runs[i].scaled, &bytes);
        assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
        assert_output_is(expected, bytes);
        assert_int_equal(result.processed, result.target_elements);
        assert_true(result.gain == 0);
        recompute_agrees(runs[i].scaled);
        assert_int_equal(record.errors, 0);
        free(expected);
    }
}

static void bytes_do_not_depend_on_memory_threads_or_form(void **state)
{
    size_t bytes;
    unsigned char *expected = model_file(PHY_RANK_RIA, 0.5, 0, true, &bytes);
    static const char *const devices[] = {"cpu:ref", "cpu", "cpu"};
    static const uint64_t memory[] = {0, 16 << 20, 64 << 20};
    for (size_t i = 0; i < 3; i++) {
        before_each(state);
        struct phy_surgery_params params = params_of("ria", 0.5, NULL, true);
        params.device = devices[i];
        params.memory_bytes = memory[i];
        params.threads = 1 + (uint32_t)i;
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
        assert_output_is(expected, bytes);
    }
    free(expected);
}

struct io_fault {
    atomic_int left;
    int error;
};

static int fail_later(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd;
    (void)bytes;
    (void)at;
    struct io_fault *fault = user;
    return call == PHY_IO_WRITE && atomic_fetch_sub(&fault->left, 1) <= 0 ? fault->error : 0;
}

/* Wherever it stops, in the middle of a tensor too: column sums are found again. */
static void a_stopped_run_resumes_to_the_same_bytes(void **state)
{
    size_t bytes;
    unsigned char *expected = model_file(PHY_RANK_RIA, 0.5, 0, false, &bytes);
    unsigned resumed = 0;
    for (int left = 2; left < 40; left += 5) {
        before_each(state);
        phy_pipeline_tuning.record_bytes = 1;
        struct io_fault fault = {.error = ENOSPC};
        atomic_store(&fault.left, left);
        struct phy_surgery_params params = params_of("ria", 0.5, NULL, false);
        params.memory_bytes = 16 << 20;
        phy_io_set_hook(fail_later, &fault);
        enum phy_status status = phy_surgery_run(&params, NULL);
        phy_io_set_hook(NULL, NULL);
        if (status == PHY_OK)
            break;
        assert_int_equal(status, PHY_ERR_IO);
        params.method = "magnitude";
        params.resume = true;
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE);
        assert_non_null(strstr(record.error, "method is ria there and magnitude here"));
        params.method = "ria";
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
        assert_output_is(expected, bytes);
        resumed++;
    }
    assert_true(resumed >= 3);
    recompute_agrees(false);
    free(expected);
}

struct stopper {
    struct log_record record;
    atomic_int polls_left;
};

static void record_stopped(void *user, enum phy_log_level level, const char *line)
{
    record_line(&((struct stopper *)user)->record, level, line);
}

static bool stop_after(void *user)
{
    return atomic_fetch_sub(&((struct stopper *)user)->polls_left, 1) <= 0;
}

/* Between units, and while the columns of a tensor are added up. */
static void an_interrupted_run_goes_on_to_the_same_bytes(void **state)
{
    size_t bytes;
    unsigned char *expected = model_file(PHY_RANK_RIA, 0.5, 0, true, &bytes);
    unsigned interrupted = 0;
    for (int polls = 0; polls < 40; polls += 2) {
        before_each(state);
        struct stopper stopper = {0};
        struct phy_host stopping = {.user = &stopper, .log = record_stopped, .cancelled = stop_after};
        struct phy_surgery_params params = params_of("ria", 0.5, NULL, true);
        params.memory_bytes = 16 << 20;
        params.host = &stopping;
        atomic_store(&stopper.polls_left, polls);
        enum phy_status status = phy_surgery_run(&params, NULL);
        if (status == PHY_OK)
            break;
        interrupted++;
        assert_int_equal(status, PHY_ERR_INTERRUPTED);
        assert_int_equal(stopper.record.errors, 1);
        assert_non_null(strstr(stopper.record.error, "--resume"));
        params.host = &host;
        params.resume = true;
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
        assert_output_is(expected, bytes);
    }
    assert_true(interrupted > 3);
    free(expected);
}

static void an_allocation_that_fails_is_an_error_with_a_sentence(void **state)
{
    struct phy_surgery_params params = params_of("ria", 0.5, NULL, true);
    params.memory_bytes = 16 << 20;
    params.threads = 1;
    enum phy_status status = PHY_ERR_MEMORY;
    for (uint64_t after = 0; status != PHY_OK; after += 1 + after / 16) {
        before_each(state);
        phy_alloc_fail_after(after);
        status = phy_surgery_run(&params, NULL);
        phy_alloc_fail_after(UINT64_MAX);
        /* The journal and the check of what was written report it as a failed write, after which a resume is possible.
         */
        assert_true(status == PHY_OK || status == PHY_ERR_MEMORY || status == PHY_ERR_IO);
        assert_int_equal(record.errors, status != PHY_OK);
        assert_true(after < 1000000);
    }
}

static void refused(struct phy_surgery_params params, enum phy_status expected, const char *sentence)
{
    host = recording_host(&record);
    assert_int_equal(phy_surgery_run(&params, NULL), expected);
    assert_int_equal(record.errors, 1);
    if (!strstr(record.error, sentence))
        fail_msg("\"%s\" does not say \"%s\"", record.error, sentence);
    assert_int_not_equal(access("out.safetensors", F_OK), 0);
}

static void combinations_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    refused(params_of("lottery", 0.5, NULL, false), PHY_ERR_USAGE, "flow, magnitude, wanda or ria");
    refused(params_of("magnitude", 0, NULL, false), PHY_ERR_USAGE, "needs a sparsity");
    refused(params_of("magnitude", 1, NULL, false), PHY_ERR_USAGE, "needs a sparsity");
    refused(params_of("magnitude", 0.5, "2:4", false), PHY_ERR_USAGE, "give one");
    refused(params_of("magnitude", 0, "1:4", false), PHY_ERR_USAGE, "2:4 or 4:8");
    refused(params_of("magnitude", 0.5, NULL, true), PHY_ERR_USAGE, "takes no calibration");
    refused(params_of("wanda", 0.5, NULL, false), PHY_ERR_USAGE, "needs a calibration");
    refused(params_of(NULL, 0, "2:4", false), PHY_ERR_USAGE, "a pattern needs the method");
    struct phy_surgery_params params = params_of("ria", 0.5, NULL, false);
    params.gain = 5;
    refused(params, PHY_ERR_USAGE, "parameters of the flow");
}

static void a_weight_that_is_not_finite_is_named(void **state)
{
    (void)state;
    size_t bytes;
    struct phy_checkpoint *cp;
    struct phy_tensor_info info;
    unsigned char *file = donor_read("donor.safetensors", &bytes);
    assert_int_equal(phy_checkpoint_open(&cp, "donor.safetensors", NULL), PHY_OK);
    phy_checkpoint_tensor(cp, 1, &info);
    memcpy(file + info.at + 2 * (17 * 1151 + 5), "\x80\x7F", 2);
    donor_write("bad.safetensors", file, bytes);
    phy_checkpoint_close(&cp);
    free(file);
    struct phy_surgery_params params = params_of("ria", 0.5, NULL, false);
    params.donor = "bad.safetensors";
    refused(params, PHY_ERR_FORMAT, "the weight at row 17, column 5 is not finite");
    params.method = "wanda";
    params.calibration = "calibration.safetensors";
    refused(params, PHY_ERR_FORMAT, "the weight at row 17, column 5 is not finite");
}

static void a_row_that_does_not_fit_the_memory_says_how_much_is_needed(void **state)
{
    (void)state;
    static const struct donor_tensor wide[] = {{"model.layers.0.mlp.up_proj.weight", "BF16", 2, 1500000}};
    donor_write_safetensors("wide.safetensors", wide, 1, 5, 0);
    struct phy_surgery_params params = params_of("ria", 0.5, NULL, false);
    params.donor = "wide.safetensors";
    params.memory_bytes = 16 << 20;
    params.threads = 1;
    refused(params, PHY_ERR_LIMIT, "give --memory at least");
    params.memory_bytes = UINT64_C(512) << 20;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
}

static void coverage_finds_a_weight_that_another_ranking_killed(void **state)
{
    (void)state;
    struct phy_surgery_params params = params_of("magnitude", 0.5, NULL, false);
    struct phy_coverage *coverage;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    struct phy_coverage_params audit = {.donor = "donor.safetensors",
                                        .output = "out.safetensors",
                                        .recompute = true,
                                        .method = "ria",
                                        .threads = 2,
                                        .host = &host};
    assert_int_equal(phy_coverage_run(&coverage, &audit), PHY_ERR_MISMATCH);
    assert_true(coverage->recompute_differences > 0);
    phy_coverage_free(&coverage);
    audit.method = "magnitude";
    audit.sparsity = 0.5;
    assert_int_equal(phy_coverage_run(&coverage, &audit), PHY_OK);
    phy_coverage_free(&coverage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_method_writes_what_the_model_says_and_coverage_agrees, before_each),
        cmocka_unit_test_setup(bytes_do_not_depend_on_memory_threads_or_form, before_each),
        cmocka_unit_test_setup(a_stopped_run_resumes_to_the_same_bytes, before_each),
        cmocka_unit_test_setup(an_interrupted_run_goes_on_to_the_same_bytes, before_each),
        cmocka_unit_test_setup(an_allocation_that_fails_is_an_error_with_a_sentence, before_each),
        cmocka_unit_test_setup(combinations_that_mean_nothing_are_refused, before_each),
        cmocka_unit_test_setup(a_weight_that_is_not_finite_is_named, before_each),
        cmocka_unit_test_setup(a_row_that_does_not_fit_the_memory_says_how_much_is_needed, before_each),
        cmocka_unit_test_setup(coverage_finds_a_weight_that_another_ranking_killed, before_each),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
