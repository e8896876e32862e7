/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics, the rules of bounds, and what compare refuses and finds. */
#include "support/tiny_model.h" /* first: it asks the system headers for more */

#include <cjson/cJSON.h>
#include <math.h>

#include "audit/bounds.h"
#include "audit/metrics.h"
#include "audit/reference.h"
#include "physarium/audit.h"

/* ---- metrics ---- */

static void cos_keeps_what_float32_sums_would_lose(void **state)
{
    (void)state;
    float a[512], b[512];
    struct phy_metrics m;
    for (size_t i = 0; i < 512; i++) {
        a[i] = 1;
        b[i] = i ? 1 : nextafterf(1, 2);
    }
    phy_metrics_of(&m, b, a, 512);
    /* One element off by e = 2^-23: |difference| = e, 1 - cos = e^2/2 (1/512 - 1/512^2) to first order. */
    const double e = ldexp(1, -23), expected = e * e / 2 * (1.0 / 512 - 1.0 / (512 * 512));
    assert_true(fabs(m.one_minus_cos / expected - 1) < 1e-3);
    assert_true(fabs(m.rel_l2 / (e / sqrt(512)) - 1) < 1e-6);
    assert_true(m.abs_l2 == e && m.max_diff == e && m.max_at == 0 && !m.same_bits && m.finite);
}

static void a_zero_reference_is_matched_by_zeros_only(void **state)
{
    (void)state;
    const float zero[4] = {0}, other[4] = {0, 1e-30f, 0, 0};
    struct phy_metrics m;
    phy_metrics_of(&m, zero, zero, 4);
    assert_true(m.one_minus_cos == 0 && m.rel_l2 == 0 && m.same_bits);
    phy_metrics_of(&m, other, zero, 4);
    assert_true(m.one_minus_cos == 1 && m.rel_l2 == 1);
    phy_metrics_of(&m, zero, other, 4);
    assert_true(m.one_minus_cos == 1 && m.rel_l2 == 1);
}

static void nan_and_infinity_are_found(void **state)
{
    (void)state;
    const float ref[3] = {1, 2, 3}, nan[3] = {1, NAN, 3}, inf[3] = {1, 2, -INFINITY};
    struct phy_metrics m;
    phy_metrics_of(&m, nan, ref, 3);
    assert_true(!m.finite && m.not_finite_at == 1);
    phy_metrics_of(&m, inf, ref, 3);
    assert_true(!m.finite && m.not_finite_at == 2);
}

static void opposite_vectors_have_cos_minus_one(void **state)
{
    (void)state;
    const float a[2] = {3, 4}, b[2] = {-6, -8};
    struct phy_metrics m;
    phy_metrics_of(&m, a, b, 2);
    assert_true(fabs(m.one_minus_cos - 2) < 1e-12);
}

static void divergence_is_in_bits_and_of_the_reference(void **state)
{
    (void)state;
    /* P = (1/2, 1/2), Q = (1/4, 3/4): KL = 1/2 log2(2) + 1/2 log2(2/3) = 0.2075187... */
    const float p[2] = {0, 0}, q[2] = {0, 1.0986122886681098f};
    struct phy_driven_metrics d;
    phy_driven_metrics_of(&d, q, p, 2);
    assert_true(fabs(d.kl_bits - 0.20751874963942196) < 1e-6);
    assert_int_equal(d.reference_top, 0); /* the lowest id on a tie */
    assert_int_equal(d.top, 1);
    assert_true(fabs(d.reference_probability - 0.5) < 1e-7 && fabs(d.probability - 0.25) < 1e-7);
}

/* ---- bounds ---- */

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static void floors_are_the_leading_nines(void **state)
{
    (void)state;
    assert_true(near(phy_bound_one_minus_cos(1 - 0.999997), 1e-5)); /* 0.99999 */
    assert_true(near(phy_bound_one_minus_cos(1 - 0.9927), 1e-2));   /* 0.99 */
    assert_true(near(phy_bound_one_minus_cos(1 - 0.83), 0.2));      /* 0.8 */
    assert_true(near(phy_bound_one_minus_cos(1 - 0.99), 1e-2));
    assert_true(near(phy_bound_one_minus_cos(1 - 0.95), 1e-1));
    assert_true(near(phy_bound_one_minus_cos(1e-13), 1e-9));
    assert_true(near(phy_bound_one_minus_cos(0), 1e-9));
    assert_true(phy_bound_one_minus_cos(1.43) == 2);
    assert_true(phy_bound_rel_l2(0.1) == 0.4);
    assert_true(phy_bound_dp(1e-9) == 1e-4 && phy_bound_dp(0.01) == 0.04);
}

static void the_closest_bound_is_taken(void **state)
{
    (void)state;
    struct phy_bounds bounds;
    struct phy_audit_run run = {.path = "interleaved_q4k:fused", .scheme = "q4_k", .bucket = "quantised"};
    struct phy_audit_limits limits;
#define REST "\"anchor_dp\": 0.1, \"decoded\": {\"cos\": 0.999, \"rel_l2\": 0.001}}"
    write_text(
        "bounds.json",
        "{\"schema_version\": 1, \"bounds\": ["
        "{\"bucket\": \"quantised\", \"cos\": 0.5, \"rel_l2\": 0.1, " REST ","
        "{\"bucket\": \"quantised\", \"type\": \"llama\", \"cos\": 0.5, \"rel_l2\": 0.2, " REST ","
        "{\"bucket\": \"quantised\", \"digest\": \"d\", \"cos\": 0.5, \"rel_l2\": 0.3, " REST ","
        "{\"bucket\": \"quantised\", \"digest\": \"d\", \"path\": \"interleaved_q4k:fused\", \"store\": \"q4_k\", "
        "\"cos\": 0.5, \"rel_l2\": 0.4, " REST "]}");
    assert_int_equal(phy_bounds_read(&bounds, "bounds.json", NULL), PHY_OK);
    phy_bounds_find(&bounds, "d", "llama", &run, &limits);
    assert_true(limits.rel_l2 == 0.4);
    assert_string_equal(limits.source, "bounds.json: this path, this model");
    strcpy(run.path, "interleaved_q6_K");
    phy_bounds_find(&bounds, "d", "llama", &run, &limits);
    assert_true(limits.rel_l2 == 0.3);
    phy_bounds_find(&bounds, "other", "llama", &run, &limits);
    assert_true(limits.rel_l2 == 0.2);
    phy_bounds_find(&bounds, "other", "qwen2", &run, &limits);
    assert_true(limits.rel_l2 == 0.1);
    strcpy(run.path, "interleaved_q4k:int8"); /* never held to a bucket's bound of other kernels */
    phy_bounds_find(&bounds, "d", "llama", &run, &limits);
    assert_string_equal(limits.source, "default: quantised");
    strcpy(run.bucket, "exact");
    strcpy(run.path, "exact");
    phy_bounds_find(&bounds, "d", "llama", &run, &limits);
    assert_string_equal(limits.source, "default: exact");
    phy_bounds_free(&bounds);
}

static void refuses_bounds_that_lack_a_number(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_bounds bounds;
    write_text("bad.json", "{\"schema_version\": 1, \"bounds\": [{\"bucket\": \"exact\", \"cos\": 0.5}]}");
    assert_int_equal(phy_bounds_read(&bounds, "bad.json", &host), PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "bound 0"));
    write_text("bad.json", "{\"schema_version\": 2, \"bounds\": []}");
    assert_int_equal(phy_bounds_read(&bounds, "bad.json", &host), PHY_ERR_UNSUPPORTED);
    write_text("bad.json", "not JSON");
    assert_int_equal(phy_bounds_read(&bounds, "bad.json", &host), PHY_ERR_FORMAT);
    assert_int_equal(phy_bounds_read(&bounds, "absent.json", &host), PHY_ERR_IO);
    assert_int_equal(record.errors, 4);
}

/* ---- the reference's layouts ---- */

static void every_layout_gives_the_same_bits(void **state)
{
    (void)state;
    enum { H = 24, I = 40, N = 3 };
    static float gate[I * H], up[I * H], down[H * I], gate_up[2 * I * H], by_feature[I * H], x[N * H], y[2][N * H];
    struct phy_pool *pool = phy_pool_create(2);
    uint32_t seed = 1;
    for (size_t i = 0; i < I * H; i++) {
        float *all[] = {&gate[i], &up[i], &down[i]};
        for (size_t k = 0; k < 3; k++)
            *all[k] = (float)((seed = seed * 1664525 + 1013904223) >> 8) / (1 << 24) - 0.5f;
    }
    for (size_t i = 0; i < N * H; i++)
        x[i] = (float)i / 16 - 2;
    for (size_t i = 0; i < I; i++) {
        memcpy(gate_up + 2 * i * H, gate + i * H, H * sizeof *gate);
        memcpy(gate_up + (2 * i + 1) * H, up + i * H, H * sizeof *up);
        for (size_t h = 0; h < H; h++)
            by_feature[i * H + h] = down[h * I + i];
    }
    const struct phy_weights g = {gate, PHY_WEIGHT_F32, I, H, 0, 0}, u = {up, PHY_WEIGHT_F32, I, H, 0, 0},
                             d = {down, PHY_WEIGHT_F32, H, I, 0, 0}, gu = {gate_up, PHY_WEIGHT_F32, 2 * I, H, 0, 0},
                             f = {by_feature, PHY_WEIGHT_F32, I, H, 0, 0};
    const struct phy_reference reference = {pool, PHY_ACT_SILU, H, I, NULL};
    const struct phy_reference_layer split = {.gate = &g, .up = &u, .down = &d},
                                     other = {.gate_up = &gu, .down_by_feature = &f},
                                     wrong = {.gate = &g, .up = &u, .down = &u};
    assert_int_equal(phy_reference_forward(&reference, &split, x, N, y[0]), PHY_OK);
    assert_int_equal(phy_reference_forward(&reference, &other, x, N, y[1]), PHY_OK);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_int_equal(phy_reference_forward(&reference, &wrong, x, N, y[1]), PHY_ERR_FORMAT);
    phy_pool_destroy(pool);
}

/* ---- compare ---- */

/* A file as two machines would write it. */
static void write_audit(const char *name, const char *digest, const char *ids, const char *rel_l2, const char *hash)
{
    char text[4096];
    snprintf(
        text, sizeof text,
        "{\"schema\": \"physarium.audit\", \"schema_version\": 1, \"model\": {\"name\": \"m\", \"digest\": \"%s\"},"
        "\"prompts\": [{\"name\": \"paris\", \"ids\": %s, \"positions\": [0, 1]}], \"layers\": [0],"
        "\"devices\": [{\"name\": \"vulkan:0\", \"device_name\": \"GPU of %s\"}],"
        "\"runs\": [{\"path\": \"full_mmap\", \"device\": \"vulkan:0\", \"store\": {\"scheme\": \"donor\", \"digest\": "
        "null},"
        "\"min_cos\": 1.0, \"max_one_minus_cos\": 1e-13, \"max_rel_l2\": %s, \"decoded\": null, \"top1_match\": 1,"
        "\"driven\": [{\"prompt\": \"paris\", \"path_p\": 0.5}], \"output_xxh3\": \"%s\", \"verdict\": \"pass\","
        "\"causes\": [], \"worst_list\": [{\"layer\": 0, \"prompt\": \"paris\", \"position\": 1, \"token\": "
        "\"\\u001b[31m is\", \"rel_l2\": %s, \"one_minus_cos\": 1e-13}],"
        "\"bounds\": {\"cos\": 0.99999, \"rel_l2\": 1e-6, \"anchor_dp\": 1e-4}}]}",
        digest, ids, name, rel_l2, hash, rel_l2);
    write_text(name, text);
}

struct output {
    char text[16384];
};

static void take(void *user, const char *text, size_t bytes)
{
    struct output *out = user;
    assert_true(bytes < sizeof out->text);
    memcpy(out->text, text, bytes);
    out->text[bytes] = 0;
}

static enum phy_status compare(struct output *out, struct log_record *record, const char *a, const char *b,
                               const char *c)
{
    struct phy_host host = recording_host(record);
    const char *files[] = {a, b, c};
    struct phy_audit_compare_params params = {files, c ? 3 : 2, "compare.html", false, &host};
    out->text[0] = 0;
    return phy_audit_compare(&params, take, out);
}

static void compare_joins_three_files_and_marks_equal_bits(void **state)
{
    (void)state;
    struct output out;
    struct log_record record;
    write_audit("amd.json", "d1", "[1, 2]", "1e-7", "00aa");
    write_audit("intel.json", "d1", "[1, 2]", "2e-7", "00bb");
    write_audit("nvidia.json", "d1", "[1, 2]", "1e-7", "00aa");
    assert_int_equal(compare(&out, &record, "amd.json", "intel.json", "nvidia.json"), PHY_OK);
    assert_non_null(strstr(out.text, "1.0e-07 1 =A"));
    assert_non_null(strstr(out.text, "GPU of intel.json"));
    assert_non_null(strstr(out.text, "0 differences"));
    assert_int_equal(access("compare.html", R_OK), 0);
}

static void compare_says_which_pair_differs(void **state)
{
    (void)state;
    struct output out;
    struct log_record record;
    write_audit("good.json", "d1", "[1, 2]", "1e-7", "00aa");
    write_audit("bad.json", "d1", "[1, 2]", "3e-4", "00cc");
    assert_int_equal(compare(&out, &record, "good.json", "bad.json", NULL), PHY_ERR_MISMATCH);
    assert_non_null(strstr(out.text, "DIFFERS full_mmap (donor): good.json vulkan:0 and bad.json vulkan:0"));
}

static void compare_refuses_other_models_prompts_and_versions(void **state)
{
    (void)state;
    struct output out;
    struct log_record record;
    write_audit("a.json", "d1", "[1, 2]", "1e-7", "00aa");
    write_audit("b.json", "d2", "[1, 2]", "1e-7", "00aa");
    assert_int_equal(compare(&out, &record, "a.json", "b.json", NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "different models"));
    write_audit("b.json", "d1", "[1, 3]", "1e-7", "00aa");
    assert_int_equal(compare(&out, &record, "a.json", "b.json", NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "different prompts"));
    write_text("b.json", "{\"schema\": \"physarium.audit\", \"schema_version\": 7}");
    assert_int_equal(compare(&out, &record, "a.json", "b.json", NULL), PHY_ERR_UNSUPPORTED);
    write_text("b.json", "[]");
    assert_int_equal(compare(&out, &record, "a.json", "b.json", NULL), PHY_ERR_FORMAT);
}

static void show_lists_the_worst_and_no_terminal_codes(void **state)
{
    (void)state;
    struct output out;
    write_audit("a.json", "d1", "[1, 2]", "1e-7", "00aa");
    assert_int_equal(phy_audit_show("a.json", 5, false, take, &out, NULL), PHY_OK);
    assert_non_null(strstr(out.text, "L0/paris/1"));
    assert_null(strchr(out.text, 0x1b));
}

/* Not a number is null in a file, and the worst there is. */
static void show_lists_what_is_not_finite_first(void **state)
{
    (void)state;
    static const char at[] =
        "{\"prompt\": \"paris\", \"layer\": 0, \"token\": \"t\", \"rel_l2\": %s, \"position\": %d}%s";
    static const char *const rel_l2[] = {"1e-7", "2e-1", "null", "3e-1", "null", "1e-9"};
    static const double order[] = {2, 4, 3, 1, 0, 5};
    struct output out;
    char text[2048];
    int bytes = snprintf(text, sizeof text,
                         "{\"schema\": \"physarium.audit\", \"schema_version\": 1, \"model\": {}, \"prompts\": [],"
                         "\"runs\": [{\"path\": \"exact\", \"causes\": [\"it is\"], \"worst_list\": [");
    for (int i = 0; i < 6; i++)
        bytes += snprintf(text + bytes, sizeof text - (size_t)bytes, at, rel_l2[i], i, i < 5 ? ", " : "]}]}");
    write_text("nan.json", text);
    assert_int_equal(phy_audit_show("nan.json", 6, true, take, &out, NULL), PHY_OK);
    cJSON *root = cJSON_Parse(out.text), *item;
    int count = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(root, "worst"))
    {
        assert_true(cJSON_GetObjectItem(item, "position")->valuedouble == order[count]);
        assert_int_equal(cJSON_IsNull(cJSON_GetObjectItem(item, "rel_l2")), count++ < 2);
    }
    assert_int_equal(count, 6);
    item = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "failures"), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(item, "cause")), "it is");
    cJSON_Delete(root);
    assert_int_equal(phy_audit_show("nan.json", 1, false, take, &out, NULL), PHY_OK);
    assert_non_null(strstr(out.text, "L0/paris/2"));
}

/* ---- a run that is told to stop ---- */

struct stop {
    size_t asked, after;
};

static bool stops(void *user)
{
    struct stop *stop = user;
    return stop->asked++ >= stop->after;
}

static void wherever_it_is_told_to_stop_there_is_no_verdict(void **state)
{
    (void)state;
    size_t bytes;
    tiny_copy_changed("gemma3", "model", "\"hidden_size\": 64", "\"hidden_size\": 64");
    char *text = read_whole(PHY_TEST_DATA "/golden/tokenizer/tiny-gemma3/tokenizer.json", &bytes);
    write_file("model/tokenizer.json", text, bytes);
    free(text);
    for (int against = 0; against < 2; against++) {
        struct stop stop = {0};
        const struct phy_host host = {.user = &stop, .cancelled = stops};
        const struct phy_audit_params params = {.donor = "model",
                                                .against = against ? "model" : NULL,
                                                .device = "cpu:ref",
                                                .paths = against ? NULL : "full_mmap",
                                                .threads = 1,
                                                .host = &host};
        struct phy_audit *done = NULL;
        enum phy_status status;
        do {
            stop.asked = 0;
            status = phy_audit_run(&done, &params);
            if (stop.asked > stop.after)
                assert_true(status == PHY_ERR_INTERRUPTED && !done);
            else
                assert_true(status == PHY_OK && phy_audit_passed(done));
            stop.after++;
        } while (status != PHY_OK);
        assert_true(stop.after > 20);
        phy_audit_free(&done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cos_keeps_what_float32_sums_would_lose),
        cmocka_unit_test(a_zero_reference_is_matched_by_zeros_only),
        cmocka_unit_test(nan_and_infinity_are_found),
        cmocka_unit_test(opposite_vectors_have_cos_minus_one),
        cmocka_unit_test(divergence_is_in_bits_and_of_the_reference),
        cmocka_unit_test(floors_are_the_leading_nines),
        cmocka_unit_test(the_closest_bound_is_taken),
        cmocka_unit_test(refuses_bounds_that_lack_a_number),
        cmocka_unit_test(every_layout_gives_the_same_bits),
        cmocka_unit_test(compare_joins_three_files_and_marks_equal_bits),
        cmocka_unit_test(compare_says_which_pair_differs),
        cmocka_unit_test(compare_refuses_other_models_prompts_and_versions),
        cmocka_unit_test(show_lists_the_worst_and_no_terminal_codes),
        cmocka_unit_test(show_lists_what_is_not_finite_first),
        cmocka_unit_test(wherever_it_is_told_to_stop_there_is_no_verdict),
    };
    return cmocka_run_group_tests(tests, scratch_begin, scratch_end);
}
