/* SPDX-License-Identifier: Apache-2.0 */
/* Every path on every device that offers it, against the layer in float64 on the decoded weights. Arguments: "cpu" (all
 * forms), "vulkan" (the device that --device vulkan takes) or "hardware" (only one that is no CPU); then "reduced" for
 * a slow driver. Exit code 77 with a printed line when there is none. */
#include "support/tiny_model.h"

#include <math.h>

#include "base/alloc.h"
#include "device/device_set.h"
#include "ffn/path_parts.h"
#include "physarium/ffn.h"
#include "support/parity.h"
#include "support/path_offered.h"
#include "vk/vk_backend.h"

#if defined(__SANITIZE_ADDRESS__)
/* Drivers stay loaded, so that the leak checker can tell what they leak (tests/support/lsan.supp) from what we do. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

static const char *devices[8];
static size_t device_count;
static bool reduced, is_vulkan;

/* Rows of x at once: both families of product, whole and odd. */
static const size_t counts[] = {1, 33, 2, 5, 9};
enum { COUNTS = sizeof counts / sizeof *counts, REDUCED_COUNTS = 2, MAX_COUNT = 33 };

/* ---- stores ---- */

/* A store of a tiny model in the working directory; made once. */
static struct phy_ffn_store *open_store(const char *name, const char *scheme, const char *layout)
{
    char directory[PATH_MAX], donor[PATH_MAX];
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_ffn_store *store;
    snprintf(directory, sizeof directory, "store-%s-%s-%s", name, scheme, layout ? layout : "own");
    snprintf(donor, sizeof donor, "%s", tiny_path(name, NULL));
    if (access(directory, F_OK) != 0) {
        const struct phy_quantize_params params = {
            .donor = donor, .output = directory, .scheme = scheme, .layout = layout, .threads = 2, .host = &host};
        if (phy_quantize_run(&params, NULL) != PHY_OK)
            fail_msg("%s: %s", directory, record.error);
    }
    assert_int_equal(phy_ffn_store_open(&store, directory, NULL), PHY_OK);
    return store;
}

/* ---- the layer in float64 ---- */

struct reference {
    size_t width, hidden;
    enum phy_activation activation;
    float *gate, *up, *down; /* down (width, hidden) by feature */
};

static float *decode(const struct phy_weights *w, bool transpose)
{
    float *out = malloc(w->rows * w->cols * sizeof *out), *row = malloc(w->cols * sizeof *row);
    for (size_t r = 0; r < w->rows; r++) {
        phy_store_decode_rows(w, r, r + 1, row);
        for (size_t c = 0; c < w->cols; c++)
            out[transpose ? c * w->rows + r : r * w->cols + c] = row[c];
    }
    free(row);
    return out;
}

static struct reference reference_of(const struct phy_model *model, const struct phy_ffn_store *store, uint32_t layer)
{
    const struct path_source s = phy_path_source_of(model, store, layer);
    const size_t width = model->config.intermediate_size, hidden = model->config.hidden_size;
    struct reference r = {width, hidden, model->config.activation, NULL, NULL, NULL};
    if (s.gate.data) {
        r.gate = decode(&s.gate, false);
        r.up = decode(&s.up, false);
    } else {
        float *both = decode(&s.gate_up, false);
        r.gate = malloc(width * hidden * sizeof *r.gate);
        r.up = malloc(width * hidden * sizeof *r.up);
        for (size_t i = 0; i < width; i++) {
            memcpy(r.gate + i * hidden, both + 2 * i * hidden, hidden * sizeof *both);
            memcpy(r.up + i * hidden, both + (2 * i + 1) * hidden, hidden * sizeof *both);
        }
        free(both);
    }
    r.down = s.down.data ? decode(&s.down, true) : decode(&s.down_by_feature, false);
    return r;
}

static void reference_free(struct reference *r)
{
    free(r->gate);
    free(r->up);
    free(r->down);
}

static double dot(const float *w, const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)w[i] * (double)x[i];
    return sum;
}

static double act(enum phy_activation activation, double x)
{
    if (activation == PHY_ACT_SILU)
        return x / (1 + exp(-x));
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

/* y (hidden) of one row, over the features of `list` (count), or all for NULL. */
static void reference_row(const struct reference *r, const float *x, const uint32_t *list, size_t count, float *y)
{
    double *sum = calloc(r->hidden, sizeof *sum);
    for (size_t n = 0; n < (list ? count : r->width); n++) {
        const size_t i = list ? list[n] : n;
        const double a =
            act(r->activation, dot(r->gate + i * r->hidden, x, r->hidden)) * dot(r->up + i * r->hidden, x, r->hidden);
        for (size_t c = 0; c < r->hidden; c++)
            sum[c] += a * (double)r->down[i * r->hidden + c];
    }
    for (size_t c = 0; c < r->hidden; c++)
        y[c] = (float)sum[c];
    free(sum);
}

/* ---- a path under test ---- */

struct steps {
    size_t count;
    struct phy_path_step last;
};

static void keep_step(void *user, const struct phy_path_step *step)
{
    struct steps *steps = user;
    steps->count++;
    steps->last = *step;
}

/* The path of that name, or NULL with its reason printed. */
static struct phy_ffn *make(struct phy_model *model, const struct phy_ffn_store *store, const char *path,
                            const char *device)
{
    char reason[512] = "";
    struct phy_ffn *ffn;
    const struct phy_ffn_params params = {.store = store, .path = path, .device = device};
    const bool offered = path_offered(path, model, store, device, reason, sizeof reason);
    const enum phy_status status = phy_ffn_create(&ffn, model, &params);
    assert_int_equal(status, offered ? PHY_OK : PHY_ERR_UNSUPPORTED);
    if (!offered)
        printf("not offered: %s\n", reason);
    assert_true(offered || reason[0]);
    return ffn;
}

/* The worst relative L2 of the rows, over all layers and counts; every step must have run `path`. */
static double worst_of(struct phy_ffn *ffn, struct phy_model *model, const struct phy_ffn_store *store,
                       const char *path, const char *device)
{
    const size_t hidden = model->config.hidden_size;
    float *x = malloc(MAX_COUNT * hidden * sizeof *x), *y = malloc(MAX_COUNT * hidden * sizeof *y);
    float *expected = malloc(MAX_COUNT * hidden * sizeof *expected);
    struct steps steps = {0};
    size_t calls = 0;
    double worst = 0;
    phy_ffn_trace(ffn, keep_step, &steps);
    for (uint32_t layer = 0; layer < model->config.layer_count; layer++) {
        struct reference reference = reference_of(model, store, layer);
        for (size_t i = 0; i < MAX_COUNT * hidden; i++)
            x[i] = gaussian();
        for (size_t n = 0; n < MAX_COUNT; n++)
            reference_row(&reference, x + n * hidden, NULL, 0, expected + n * hidden);
        for (size_t c = 0; c < (size_t)(reduced ? REDUCED_COUNTS : COUNTS); c++) {
            memset(y, 0xFF, MAX_COUNT * hidden * sizeof *y);
            assert_int_equal(ffn->ops->forward(ffn, layer, x, counts[c], y), PHY_OK);
            double error = worst_relative_l2(y, expected, counts[c], hidden);
            worst = error <= worst ? worst : error;
            assert_int_equal(steps.count, ++calls);
            assert_int_equal(steps.last.layer, layer);
            assert_int_equal(steps.last.count, counts[c]);
            if (!steps.last.path || strcmp(steps.last.path, path) != 0)
                fail_msg("%s on %s: the trace says %s: %s", path, device, steps.last.path ? steps.last.path : "none",
                         steps.last.kernels);
            assert_true(steps.last.kernels[0] && strstr(steps.last.device, is_vulkan ? "vulkan" : "cpu"));
        }
        reference_free(&reference);
    }
    free(x);
    free(y);
    free(expected);
    return worst;
}

static void check(struct phy_model *model, const char *name, const struct phy_ffn_store *store, const char *path,
                  double tolerance, size_t *made)
{
    for (size_t d = 0; d < device_count; d++) {
        struct phy_ffn *ffn = make(model, store, path, devices[d]);
        if (!ffn)
            continue;
        struct phy_ffn_info info;
        phy_ffn_describe(ffn, &info);
        assert_string_equal(info.path, path);
        assert_int_equal(info.device_layers, model->config.layer_count);
        const double worst = worst_of(ffn, model, store, path, devices[d]);
        phy_ffn_describe(ffn, &info);
        assert_true(info.bytes_read > 0);
        printf("%s %s on %s: relative L2 %.3g\n", name, path, info.device, worst);
        if (!(worst <= tolerance))
            fail_msg("%s %s on %s: relative L2 %.3g, %.3g allowed", name, path, devices[d], worst, tolerance);
        phy_ffn_destroy(&ffn);
        (*made)++;
    }
}

/* ---- tests ---- */

static const char *const float_paths[] = {"exact", "full_mmap", "interleaved", "sparse"};
enum { FLOAT_PATHS = sizeof float_paths / sizeof *float_paths };
/* Tolerance of the exact bucket: sums of 64 and 176 products in float32. */
static const double exact_tolerance = 2e-6;

static void float_paths_compute_the_dense_layer(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2", "gemma3", "llama3"};
    for (size_t i = 0; i < (reduced ? 1 : 3); i++) {
        char directory[PATH_MAX];
        snprintf(directory, sizeof directory, "%s", tiny_path(names[i], NULL));
        struct phy_model *model = open_model(directory, "cpu", 2);
        size_t made = 0;
        for (size_t p = 0; p < FLOAT_PATHS; p++)
            check(model, names[i], NULL, float_paths[p], exact_tolerance, &made);
        assert_int_equal(made, FLOAT_PATHS * device_count);
        phy_model_close(&model);
    }
}

static void paths_that_share_a_device_have_the_bits_that_each_has_alone(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    char directory[PATH_MAX], reason[512];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    struct phy_model *model = open_model(directory, "cpu", 2);
    const size_t values = ROWS * (size_t)model->config.hidden_size;
    float *x = malloc(values * sizeof *x), *alone = malloc(values * sizeof *alone), *y = malloc(values * sizeof *y);
    for (size_t i = 0; i < values; i++)
        x[i] = gaussian();
    for (size_t d = 0; d < device_count; d++) {
        struct phy_path_device *device;
        assert_int_equal(phy_path_device_open(&device, devices[d], model, NULL), PHY_OK);
        for (size_t p = 0; p < 2 * FLOAT_PATHS; p++) {
            const char *path = float_paths[p % FLOAT_PATHS];
            struct phy_ffn *ffn = make(model, NULL, path, devices[d]);
            assert_int_equal(ffn->ops->forward(ffn, 1, x, ROWS, alone), PHY_OK);
            phy_ffn_destroy(&ffn);
            assert_true(phy_path_offered_on(path, model, NULL, device, reason, sizeof reason));
            const struct phy_ffn_params params = {.path = path};
            assert_int_equal(phy_ffn_create_on(&ffn, model, &params, device), PHY_OK);
            assert_int_equal(ffn->ops->forward(ffn, 1, x, ROWS, y), PHY_OK);
            phy_ffn_destroy(&ffn);
            assert_memory_equal(y, alone, values * sizeof *y);
        }
        phy_path_device_close(&device);
    }
    free(x);
    free(alone);
    free(y);
    phy_model_close(&model);
}

/* Feature 3 counts in row 1 alone, and its row of down is infinite. */
static void a_row_skips_what_it_would_skip_alone_beside_rows_that_do_not(void **state)
{
    (void)state;
    enum { WIDE = 40, HIDDEN = 64, ROWS = 3 };
    static float gate[WIDE * HIDDEN], up[WIDE * HIDDEN], down[WIDE * HIDDEN], x[ROWS * HIDDEN], y[ROWS * HIDDEN],
        alone[HIDDEN];
    uint32_t features[WIDE];
    struct phy_weights w[3] = {{.data = gate}, {.data = up}, {.data = down}};
    for (size_t i = 0; i < 3; i++)
        w[i] = (struct phy_weights){.data = w[i].data, .type = PHY_WEIGHT_F32, .rows = WIDE, .cols = HIDDEN};
    for (size_t i = 0; i < WIDE * HIDDEN; i++) {
        gate[i] = gaussian();
        up[i] = i / HIDDEN == 3 && i % HIDDEN != 0 ? 0 : gaussian();
        down[i] = i / HIDDEN == 3 ? INFINITY : gaussian();
        features[i / HIDDEN] = (uint32_t)(i / HIDDEN);
    }
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        x[i] = i % HIDDEN == 0 && i / HIDDEN != 1 ? 0 : gaussian();
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    struct phy_model *model = open_model(directory, "cpu", 2);
    for (size_t d = 0; d < device_count; d++) {
        struct phy_matmul_backend *device;
        struct phy_weights *all[] = {&w[0], &w[1], &w[2]};
        size_t skipped;
        assert_int_equal(phy_matmul_backend_open(&device, devices[d], false, model->pool, NULL), PHY_OK);
        assert_int_equal(device->ops->load(device, all, 3), PHY_OK);
        struct phy_walk_product product = {.gate = &w[0],
                                           .up = &w[1],
                                           .down = &w[2],
                                           .activation = PHY_ACT_SILU,
                                           .features = features,
                                           .feature_count = WIDE,
                                           .x = x,
                                           .y = y,
                                           .skipped = &skipped,
                                           .rows = ROWS};
        assert_int_equal(device->ops->walk(device, &product), PHY_OK);
        assert_int_equal(skipped, ROWS - 1);
        product.rows = 1;
        product.y = alone;
        for (size_t n = 0; n < ROWS; n++) {
            product.x = x + n * HIDDEN;
            assert_int_equal(device->ops->walk(device, &product), PHY_OK);
            assert_memory_equal(alone, y + n * HIDDEN, sizeof alone);
            for (size_t i = 0; i < HIDDEN; i++)
                assert_true((isfinite(alone[i]) != 0) == (n != 1));
        }
        phy_matmul_backend_destroy(&device);
    }
    phy_model_close(&model);
}

static void stores_of_every_scheme_are_computed_as_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *layout, *path;
        double tolerance;
    } cases[] = {
        {"f32", NULL, "exact", 2e-6},
        {"f32", NULL, "full_mmap", 2e-6},
        {"f32", "interleaved", "interleaved", 2e-6},
        {"f32", "interleaved", "exact", 2e-6},
        {"f32", "by_feature", "sparse", 2e-6},
        {"f16", NULL, "interleaved", 2e-6},
        {"f16", "by_feature", "exact", 2e-6},
        {"bf16", NULL, "sparse", 2e-6},
        {"bf16", "interleaved", "sparse", 2e-6},
        /* Activations of 8 bits' mantissa: at most 2^-9 of each, and no sum here cancels that far. */
        {"bf16", NULL, "full_mmap:bf16", 1e-2},
        {"q8_0", NULL, "interleaved_q8_0", 2e-6},
        {"q8_0", "split", "interleaved_q8_0", 2e-6},
        {"q6_k", NULL, "interleaved_q6_K", 2e-6},
        {"q4_0", NULL, "interleaved_q4_0", 2e-6},
        {"q4_k", NULL, "interleaved_q4k:dequant", 2e-6},
        {"q4_k", NULL, "interleaved_q4k:fused", 2e-6},
        /* Activations of 8 bits: an error of 1 / (127 sqrt(12)) of the largest, which is 3 times their rms for x, twice
         * (gate and up), and some 8 times for down's heavy-tailed input: 0.02. */
        {"q4_k", NULL, "interleaved_q4k:int8", 5e-2},
        {"fp8", NULL, "fp8_storage", 2e-6},
        {"fp8", "split", "fp8_storage", 2e-6},
        {"fp4", NULL, "fp4_storage:sparse", 2e-6},
        {"fp4_all", NULL, "fp4_storage:sparse", 2e-6},
        {"mxfp4", NULL, "mxfp4_storage", 2e-6},
        {"bitmap", NULL, "bitmap", 2e-6},
    };
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("gemma3", NULL));
    struct phy_model *model = open_model(directory, "cpu", 2);
    size_t made = 0, stored = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (reduced && cases[i].layout)
            continue;
        struct phy_ffn_store *store = open_store("gemma3", cases[i].scheme, cases[i].layout);
        stored++;
        check(model, cases[i].scheme, store, cases[i].path, cases[i].tolerance, &made);
        phy_ffn_store_close(&store);
    }
    printf("%zu paths of %zu cases\n", made, stored);
    assert_int_equal(made, stored * device_count);
    phy_model_close(&model);
}

static void logits_under_a_path_are_those_of_the_goldens(void **state)
{
    (void)state;
    static const size_t odd[] = {3, 9, 1, 2, 11, 7, 5, 0}, whole[] = {TINY_TOKENS, 0};
    static float got[TINY_TOKENS * TINY_VOCAB];
    char directory[PATH_MAX];
    size_t bytes;
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    float *golden = (float *)(void *)read_whole(tiny_path("qwen2", "logits.f64ref.bin"), &bytes);
    for (size_t p = 0; p < FLOAT_PATHS; p++) {
        const struct phy_model_params params = {.device = devices[0], .threads = 2, .ffn_elsewhere = true};
        struct phy_model *model;
        assert_int_equal(phy_model_open(&model, directory, &params), PHY_OK);
        struct phy_ffn *ffn = make(model, NULL, float_paths[p], devices[0]);
        if (ffn) {
            phy_model_set_ffn(model, ffn);
            struct phy_session *session = open_session(model, TINY_TOKENS);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, reduced ? whole : odd, TINY_VOCAB, got);
            assert_true(worst_relative_l2(got, golden, TINY_TOKENS, TINY_VOCAB) <= 5e-5);
            phy_session_destroy(&session);
            phy_ffn_destroy(&ffn);
        }
        phy_model_close(&model);
    }
    free(golden);
}

/* The k features of largest |act(gate . x)|, in float64. */
static void largest_features(const struct reference *r, const float *x, size_t k, uint32_t *list)
{
    float *score = malloc(r->width * sizeof *score), *scratch = malloc(r->width * sizeof *scratch);
    for (size_t i = 0; i < r->width; i++)
        score[i] = (float)fabs(act(r->activation, dot(r->gate + i * r->hidden, x, r->hidden)));
    phy_path_top_features(score, r->width, k, list, scratch);
    free(score);
    free(scratch);
}

static void sparse_visits_the_features_that_answer_most(void **state)
{
    (void)state;
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("llama3", NULL));
    struct phy_model *model = open_model(directory, "cpu", 2);
    const uint32_t width = model->config.intermediate_size, hidden = model->config.hidden_size;
    float *x = malloc(hidden * sizeof *x), *y = malloc(hidden * sizeof *y), *all = malloc(hidden * sizeof *all);
    float *expected = malloc(hidden * sizeof *expected);
    uint32_t *list = malloc(width * sizeof *list);
    struct reference reference = reference_of(model, NULL, 1);
    for (size_t i = 0; i < hidden; i++)
        x[i] = gaussian();
    for (size_t d = 0; d < device_count; d++) {
        struct phy_ffn *whole = make(model, NULL, "sparse", devices[d]);
        if (!whole)
            continue;
        assert_int_equal(whole->ops->forward(whole, 1, x, 1, all), PHY_OK);
        const uint32_t ks[] = {1, 44, 88, width - 1, width};
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
            struct phy_ffn *ffn;
            struct phy_ffn_info info;
            struct steps steps = {0};
            const struct phy_ffn_params params = {.path = "sparse", .device = devices[d], .top_k = ks[i]};
            assert_int_equal(phy_ffn_create(&ffn, model, &params), PHY_OK);
            phy_ffn_trace(ffn, keep_step, &steps);
            assert_int_equal(ffn->ops->forward(ffn, 1, x, 1, y), PHY_OK);
            assert_string_equal(steps.last.path, "sparse");
            phy_ffn_describe(ffn, &info);
            assert_int_equal(info.features_visited, ks[i]);
            if (ks[i] == width)
                assert_memory_equal(y, all, hidden * sizeof *y);
            largest_features(&reference, x, ks[i], list);
            reference_row(&reference, x, list, ks[i], expected);
            /* Of one feature alone up's product may nearly cancel, and its rounding with it be large beside it. */
            assert_true(relative_l2(y, expected, hidden) <= (ks[i] == 1 ? 10 : 1) * exact_tolerance);
            phy_ffn_destroy(&ffn);
        }
        phy_ffn_destroy(&whole);
    }
    reference_free(&reference);
    free(x);
    free(y);
    free(all);
    free(expected);
    free(list);
    phy_model_close(&model);
}

/* ---- layers on the CPU ---- */

static void run_whole(struct phy_model *model, struct phy_ffn *ffn, float *logits)
{
    static const size_t chunks[] = {39, 1, 0};
    phy_model_set_ffn(model, ffn);
    struct phy_session *session = open_session(model, TINY_TOKENS);
    run_in_chunks(session, tiny_tokens, TINY_TOKENS, chunks, TINY_VOCAB, logits);
    phy_session_destroy(&session);
    phy_model_set_ffn(model, NULL);
}

/* The same next tokens, and nearly the same logits. */
static void assert_same_tokens(const float *got, const float *expected)
{
    assert_true(worst_relative_l2(got, expected, TINY_TOKENS, TINY_VOCAB) <= 5e-5);
    for (size_t i = 0; i < TINY_TOKENS; i++)
        assert_int_equal(largest_of(got + i * TINY_VOCAB, TINY_VOCAB),
                         largest_of(expected + i * TINY_VOCAB, TINY_VOCAB));
}

static void layers_that_do_not_fit_run_on_the_cpu(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    static float whole[TINY_TOKENS * TINY_VOCAB], part[TINY_TOKENS * TINY_VOCAB];
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("gemma3", NULL));
    struct phy_model *model = open_model(directory, "cpu", 2);
    const uint64_t layer = 3 * 64 * 176 * sizeof(uint16_t);
    static const struct {
        uint32_t layers;
        int64_t spare;
    } cases[] = {{0, -1}, {1, 0}, {1, 1}, {3, 0}, {4, 0}};
    struct phy_ffn *ffn = make(model, NULL, "full_mmap", devices[0]);
    run_whole(model, ffn, whole);
    phy_ffn_destroy(&ffn);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_ffn_info info;
        const struct phy_ffn_params params = {.path = "full_mmap",
                                              .device = devices[0],
                                              .device_memory =
                                                  (uint64_t)((int64_t)(cases[i].layers * layer) + cases[i].spare) +
                                                  (cases[i].layers ? 0 : 2)};
        assert_int_equal(phy_ffn_create(&ffn, model, &params), PHY_OK);
        phy_ffn_describe(ffn, &info);
        assert_int_equal(info.device_layers, cases[i].layers);
        run_whole(model, ffn, part);
        assert_same_tokens(part, whole);
        phy_ffn_destroy(&ffn);
    }
    phy_model_close(&model);
}

static void a_lost_device_hands_over_to_the_cpu_with_the_same_tokens(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    static float whole[TINY_TOKENS * TINY_VOCAB], rest[TINY_TOKENS * TINY_VOCAB];
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_model *model;
    /* Wherever: in the path, or in the model's own products, or in both. */
    for (uint64_t after = 0; after < (reduced ? 2 : 6); after++) {
        const struct phy_model_params params = {
            .device = devices[0], .threads = 2, .ffn_elsewhere = true, .fallback_cpu = true, .host = &host};
        const struct phy_ffn_params ffn_params = {.path = "full_mmap", .device = devices[0], .fallback_cpu = true};
        struct phy_ffn *ffn;
        struct phy_ffn_info info;
        struct phy_model_info model_info;
        assert_int_equal(phy_model_open(&model, directory, &params), PHY_OK);
        assert_int_equal(phy_ffn_create(&ffn, model, &ffn_params), PHY_OK);
        run_whole(model, ffn, whole);
        assert_int_equal(record.errors + record.warnings, 0);
        phy_vk_lose_device_after(after);
        run_whole(model, ffn, rest);
        phy_vk_lose_device_after(UINT64_MAX);
        assert_same_tokens(rest, whole);
        assert_int_equal(record.errors, 0);
        assert_int_equal(record.warnings, 2);
        assert_non_null(strstr(record.warning, "was lost"));
        assert_non_null(strstr(record.warning, "goes on with"));
        phy_ffn_describe(ffn, &info);
        phy_model_describe(model, &model_info);
        assert_int_equal(strncmp(info.device, "cpu:", 4), 0);
        assert_int_equal(strncmp(model_info.device, "cpu:", 4), 0);
        assert_int_equal(info.device_layers, 0);
        record.warnings = 0;
        phy_ffn_destroy(&ffn);
        phy_model_close(&model);
    }
}

static void a_lost_device_is_an_error_unless_the_cpu_may_go_on(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_model *model;
    struct phy_ffn *ffn;
    float x[64] = {1}, y[64];
    assert_int_equal(phy_model_open(&model, directory, &(struct phy_model_params){.threads = 2, .host = &host}),
                     PHY_OK);
    assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.path = "full_mmap", .device = devices[0]}),
                     PHY_OK);
    phy_vk_lose_device_after(0);
    assert_int_equal(ffn->ops->forward(ffn, 0, x, 1, y), PHY_ERR_DEVICE);
    phy_vk_lose_device_after(UINT64_MAX);
    assert_int_equal(record.errors, 1);
    assert_non_null(strstr(record.error, "was lost"));
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
}

static void the_validation_layer_is_silent(void **state)
{
    (void)state;
    if (!phy_vk_validation_asked())
        skip();
    assert_int_equal(phy_vk_validation_messages(), 0);
}

/* ---- devices ---- */

static bool find_cpu_forms(void)
{
    struct phy_device_list list;
    static char names[8][32];
    if (phy_devices_list(&list, NULL) != PHY_OK)
        return false;
    for (size_t i = 0; i < list.count; i++) {
        if (list.devices[i].kind == PHY_DEVICE_CPU && list.devices[i].available) {
            snprintf(names[device_count], sizeof *names, "%s", list.devices[i].name);
            devices[device_count] = names[device_count];
            device_count++;
        }
    }
    phy_device_list_free(&list);
    return device_count > 0;
}

static bool find_vulkan(bool hardware)
{
    struct phy_device_info *found;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    if (phy_vk_list(&found, &count, note, NULL) != PHY_OK)
        return false;
    for (size_t i = 0; i < count && !device_count; i++) {
        if (!hardware || strcmp(found[i].type, "cpu") != 0)
            devices[device_count++] = "vulkan";
    }
    phy_free(found);
    if (!device_count)
        printf("SKIPPED: %s\n", count ? "no Vulkan device that is not a CPU" : note);
    return device_count > 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "cpu";
    is_vulkan = strcmp(what, "cpu") != 0;
    reduced = argc > 2 && strcmp(argv[2], "reduced") == 0;
    parity_begin();
    if (is_vulkan && phy_vk_validation_asked() && !phy_vk_validation_available()) {
        printf("SKIPPED: the Vulkan validation layer is not installed\n");
        return 77;
    }
    if (!(is_vulkan ? find_vulkan(strcmp(what, "hardware") == 0) : find_cpu_forms()))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_paths_compute_the_dense_layer),
        cmocka_unit_test(stores_of_every_scheme_are_computed_as_decoded),
        cmocka_unit_test(logits_under_a_path_are_those_of_the_goldens),
        cmocka_unit_test(sparse_visits_the_features_that_answer_most),
        cmocka_unit_test(layers_that_do_not_fit_run_on_the_cpu),
        cmocka_unit_test(a_lost_device_hands_over_to_the_cpu_with_the_same_tokens),
        cmocka_unit_test(a_lost_device_is_an_error_unless_the_cpu_may_go_on),
        cmocka_unit_test(paths_that_share_a_device_have_the_bits_that_each_has_alone),
        cmocka_unit_test(a_row_skips_what_it_would_skip_alone_beside_rows_that_do_not),
        cmocka_unit_test(the_validation_layer_is_silent),
    };
    return cmocka_run_group_tests(tests, scratch_begin, scratch_end);
}
