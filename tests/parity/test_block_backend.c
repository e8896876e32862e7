/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend's products, layers and walks of every weight type and kernel, with every form that this processor
 * runs: what they compute, that threads change no bit, and what they report to have run. PHY_SEED sets another seed. */
#include "support/test.h"

#include "base/alloc.h"
#include "cpu/cpu_matmul.h"
#include "kernels/bf16_matmul.h"
#include "kernels/int8_matmul.h"
#include "support/random_blocks.h"

static const char *const forms[] = {"ref", "avx2", "avx512"};
enum { FORMS = sizeof forms / sizeof *forms, MOST_RAN = 8, MOST_THREADS = 4 };
static struct phy_pool *pools[MOST_THREADS]; /* of one thread more than the index */
static struct log_record logged;
static struct phy_host host;

/* ---- what ran ---- */

struct ran {
    size_t count;
    enum phy_product_kernel kernel[MOST_RAN];
    enum phy_weight_type type[MOST_RAN];
    char form[MOST_RAN][16];
};

static void note(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    struct ran *ran = user;
    assert_true(ran->count < MOST_RAN);
    ran->kernel[ran->count] = kernel;
    ran->type[ran->count] = type;
    snprintf(ran->form[ran->count++], sizeof ran->form[0], "%s", form);
}

/* "avx512vnni", "avx512bf16" and "avx512amx" are forms of "avx512". */
static const char *form_of(enum phy_product_kernel kernel, const char *form)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    const bool finer = strcmp(form, "avx512") == 0;
    return finer && kernel == PHY_KERNEL_INT8   ? phy_int8_matmul_variant_best(&have)->name
           : finer && kernel == PHY_KERNEL_BF16 ? phy_bf16_matmul_variant_best(&have)->name
                                                : form;
}

static void check_ran(const struct ran *ran, enum phy_product_kernel kernel, const char *form,
                      const enum phy_weight_type *types, size_t count)
{
    assert_int_equal(ran->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ran->kernel[i], kernel);
        assert_int_equal(ran->type[i], types[i]);
        assert_string_equal(ran->form[i], form_of(kernel, form));
    }
}

/* ---- a layer ---- */

struct layer {
    uint64_t seed;
    size_t hidden, intermediate, count;
    struct phy_weights gate, up, gate_up, down, down_by_feature;
    float *x;                            /* (count, hidden) */
    double *gate_sum, *up_sum;           /* (count, intermediate) */
    double *gate_absolute, *up_absolute; /* sums of magnitudes */
};

static struct phy_weights draw_weights(enum phy_weight_type type, size_t rows, size_t cols)
{
    uint8_t *data = malloc(rows * row_bytes_of(type, cols));
    draw_matrix(type, RANDOM, rows, cols, data);
    return (struct phy_weights){data, type, rows, cols, 0, 0};
}

static float *decoded(const struct phy_weights *w)
{
    float *out = malloc(w->rows * w->cols * sizeof *out);
    for (size_t r = 0; r < w->rows; r++)
        phy_weight_decode_row(w->type, (const uint8_t *)w->data + r * row_bytes_of(w->type, w->cols), w->cols,
                              out + r * w->cols);
    return out;
}

/* x is (count, cols) in float64: what the kernel multiplies, rounded activations among them. */
static void products(const struct phy_weights *w, const double *x, size_t count, double *sum, double *absolute)
{
    float *values = decoded(w);
    for (size_t n = 0; n < count; n++) {
        for (size_t r = 0; r < w->rows; r++) {
            double s = 0, a = 0;
            for (size_t k = 0; k < w->cols; k++) {
                const double p = (double)values[r * w->cols + k] * x[n * w->cols + k];
                s += p;
                a += fabs(p);
            }
            sum[n * w->rows + r] = s;
            absolute[n * w->rows + r] = a;
        }
    }
    free(values);
}

/* x as that kernel multiplies it; the caller's. */
static double *kernel_input(enum phy_product_kernel kernel, const float *x, size_t count, size_t cols)
{
    double *out = malloc(count * cols * sizeof *out);
    for (size_t i = 0; i < count * cols; i++)
        out[i] = (double)x[i];
    if (kernel == PHY_KERNEL_BF16) {
        float *rounded = malloc(cols * sizeof *rounded);
        for (size_t n = 0; n < count; n++) {
            phy_bf16_matmul_variants[0].round_row(x + n * cols, cols, rounded);
            for (size_t k = 0; k < cols; k++)
                out[n * cols + k] = (double)rounded[k];
        }
        free(rounded);
    }
    if (kernel != PHY_KERNEL_INT8)
        return out;
    const size_t groups = (cols + 255) / 256;
    int8_t *q = malloc(groups * 256);
    float *scale = malloc(groups * sizeof *scale);
    struct phy_int8_sums *sums = malloc(groups * sizeof *sums);
    struct phy_int8_rows rounded = {.count = 1, .cols = cols, .groups = groups, .q = q, .scale = scale, .sums = sums};
    for (size_t n = 0; n < count; n++) {
        phy_int8_matmul_variants[0].round_row(x + n * cols, &rounded, 0);
        for (size_t k = 0; k < cols; k++)
            out[n * cols + k] = (double)scale[k / 256] * q[k];
    }
    free(q);
    free(scale);
    free(sums);
    return out;
}

static void sum_inputs(struct layer *l, enum phy_product_kernel kernel)
{
    double *x = kernel_input(kernel, l->x, l->count, l->hidden);
    products(&l->gate, x, l->count, l->gate_sum, l->gate_absolute);
    products(&l->up, x, l->count, l->up_sum, l->up_absolute);
    free(x);
}

static void layer_make(struct layer *l, enum phy_weight_type gate, enum phy_weight_type up, enum phy_weight_type down)
{
    const size_t values = l->count * l->intermediate;
    l->seed = parity_seed;
    l->gate = draw_weights(gate, l->intermediate, l->hidden);
    l->up = draw_weights(up, l->intermediate, l->hidden);
    l->down = draw_weights(down, l->hidden, l->intermediate);
    l->down_by_feature = draw_weights(down, l->intermediate, l->hidden);
    if (gate == up) {
        const size_t bytes = row_bytes_of(gate, l->hidden);
        uint8_t *both = malloc(2 * l->intermediate * bytes);
        for (size_t i = 0; i < l->intermediate; i++) {
            memcpy(both + 2 * i * bytes, (const uint8_t *)l->gate.data + i * bytes, bytes);
            memcpy(both + (2 * i + 1) * bytes, (const uint8_t *)l->up.data + i * bytes, bytes);
        }
        l->gate_up = (struct phy_weights){both, gate, 2 * l->intermediate, l->hidden, 0, 0};
    }
    l->x = malloc(l->count * l->hidden * sizeof *l->x);
    for (size_t i = 0; i < l->count * l->hidden; i++)
        l->x[i] = gaussian();
    l->gate_sum = malloc(values * sizeof(double));
    l->up_sum = malloc(values * sizeof(double));
    l->gate_absolute = malloc(values * sizeof(double));
    l->up_absolute = malloc(values * sizeof(double));
    sum_inputs(l, PHY_KERNEL_FUSED);
    /* Sums of a few units, where the activation bends. */
    double squares = 0;
    for (size_t i = 0; i < values; i++)
        squares += l->gate_sum[i] * l->gate_sum[i];
    const float factor = (float)(3 / sqrt(squares / (double)values));
    for (size_t i = 0; i < l->count * l->hidden; i++)
        l->x[i] *= factor;
    sum_inputs(l, PHY_KERNEL_FUSED);
}

static void layer_free(struct layer *l)
{
    free((void *)l->gate.data);
    free((void *)l->up.data);
    free((void *)l->gate_up.data);
    free((void *)l->down.data);
    free((void *)l->down_by_feature.data);
    free(l->x);
    free(l->gate_sum);
    free(l->up_sum);
    free(l->gate_absolute);
    free(l->up_absolute);
}

static void check_gated(const struct layer *l, const float *gated, const char *where)
{
    for (size_t i = 0; i < l->count * l->intermediate; i++) {
        const double g = l->gate_sum[i], u = l->up_sum[i], act = g / (1 + exp(-g));
        const double act_error = 1.13 * 4e-6 * l->gate_absolute[i] + 2e-6 * fabs(act) + 1e-7 * fmax(1, fabs(g));
        const double u_error = 4e-6 * l->up_absolute[i];
        const double allowed = act_error * fabs(u) + (fabs(act) + act_error) * u_error + 1e-7 * fabs(act * u);
        if (!(fabs((double)gated[i] - act * u) <= allowed))
            fail_msg("%s: gated %zu: got %.9g, expected %.9g within %.3g; PHY_SEED=%llu", where, i, (double)gated[i],
                     act * u, allowed, (unsigned long long)l->seed);
    }
}

static void check_down(const struct layer *l, enum phy_product_kernel kernel, const float *gated, const float *y,
                       const char *where)
{
    const size_t values = l->count * l->hidden;
    double *sum = malloc(values * sizeof *sum), *absolute = malloc(values * sizeof *absolute);
    double *x = kernel_input(kernel, gated, l->count, l->intermediate);
    products(&l->down, x, l->count, sum, absolute);
    free(x);
    for (size_t i = 0; i < values; i++) {
        if (!(fabs((double)y[i] - sum[i]) <= 4e-6 * absolute[i]))
            fail_msg("%s: y %zu: got %.9g, expected %.9g; PHY_SEED=%llu", where, i, (double)y[i], sum[i],
                     (unsigned long long)l->seed);
    }
    free(sum);
    free(absolute);
}

static struct phy_matmul_backend *open_form(const char *form, unsigned threads)
{
    struct phy_matmul_backend *cpu;
    if (phy_cpu_matmul_create(&cpu, form, pools[threads - 1], &host) != PHY_OK)
        fail_msg("%s", logged.error);
    return cpu;
}

static bool runs_here(size_t form)
{
    struct phy_cpu_features have = phy_cpu_detect();
    return form == 0 || (form == 1 && have.avx2) || (form == 2 && have.avx512);
}

/* ---- the tests ---- */

static void check_layer(const struct layer *l, size_t form, enum phy_product_kernel kernel, bool interleaved)
{
    const size_t gated_bytes = l->count * l->intermediate * sizeof(float),
                 y_bytes = l->count * l->hidden * sizeof(float);
    float *gated = malloc(gated_bytes), *y = malloc(y_bytes), *again = malloc(y_bytes), *steps = malloc(gated_bytes);
    char where[160];
    snprintf(where, sizeof where, "cpu:%s kernel %d gate %s down %s count %zu%s", forms[form], kernel,
             phy_weight_format(l->gate.type)->name, phy_weight_format(l->down.type)->name, l->count,
             interleaved ? ", interleaved" : "");
    struct phy_ffn_product product = {.gate = interleaved ? NULL : &l->gate,
                                      .up = interleaved ? NULL : &l->up,
                                      .gate_up = interleaved ? &l->gate_up : NULL,
                                      .down = &l->down,
                                      .kernel = kernel,
                                      .x = l->x,
                                      .count = l->count,
                                      .gated = gated,
                                      .y = y};
    for (unsigned threads = 1; threads <= MOST_THREADS; threads += MOST_THREADS - 1) {
        struct phy_matmul_backend *cpu = open_form(forms[form], threads);
        struct ran ran = {0};
        cpu->ran = note;
        cpu->ran_user = &ran;
        assert_int_equal(cpu->ops->ffn(cpu, &product), PHY_OK);
        const enum phy_weight_type split[] = {l->gate.type, l->up.type, l->down.type};
        const enum phy_weight_type both[] = {l->gate.type, l->down.type};
        check_ran(&ran, kernel, forms[form], interleaved ? both : split, interleaved ? 2 : 3);
        if (threads == 1) {
            check_gated(l, gated, where);
            check_down(l, kernel, gated, y, where);
            memcpy(again, y, y_bytes);
            memcpy(steps, gated, gated_bytes);
        }
        /* Threads change no bit, nor does it whether anybody wants to see what goes into down. */
        assert_memory_equal(gated, steps, gated_bytes);
        product.gated = NULL;
        ran.count = 0;
        memset(y, 0x7F, y_bytes);
        assert_int_equal(cpu->ops->ffn(cpu, &product), PHY_OK);
        assert_memory_equal(y, again, y_bytes);
        product.gated = gated;
        phy_matmul_backend_destroy(&cpu);
    }
    free(gated);
    free(y);
    free(again);
    free(steps);
}

static void a_layer_of_every_type_and_kernel_is_right_and_says_what_ran(void **state)
{
    static const size_t counts[] = {1, 3, 8, 21};
    (void)state;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            /* Gate and up of one type, or as in the schemes that mix; widths that end within a block. */
            const enum phy_weight_type t = (enum phy_weight_type)type;
            const enum phy_weight_type down = t == PHY_WEIGHT_Q4_K  ? PHY_WEIGHT_Q6_K
                                              : t == PHY_WEIGHT_FP4 ? PHY_WEIGHT_FP8
                                                                    : t;
            struct layer l = {.hidden = 300, .intermediate = 70, .count = counts[c]};
            layer_make(&l, t, t, down);
            for (int kernel = 0; kernel < PHY_KERNEL_WALK; kernel++) {
                if ((kernel == PHY_KERNEL_INT8 && !phy_int8_offers(t)) ||
                    (kernel == PHY_KERNEL_BF16 && t != PHY_WEIGHT_BF16))
                    continue;
                sum_inputs(&l, (enum phy_product_kernel)kernel);
                for (size_t form = 0; form < FORMS; form++) {
                    if (!runs_here(form))
                        continue;
                    check_layer(&l, form, (enum phy_product_kernel)kernel, false);
                    check_layer(&l, form, (enum phy_product_kernel)kernel, true);
                }
            }
            layer_free(&l);
        }
    }
    struct layer mixed = {.hidden = 300, .intermediate = 70, .count = 2};
    layer_make(&mixed, PHY_WEIGHT_BF16, PHY_WEIGHT_FP4, PHY_WEIGHT_FP8);
    for (size_t form = 0; form < FORMS; form++) {
        if (runs_here(form))
            check_layer(&mixed, form, PHY_KERNEL_FUSED, false);
    }
    layer_free(&mixed);
}

/* The bits of decoding first are those of the decoded matrix, taken likewise. */
static void products_of_each_kernel_are_what_their_kernels_give(void **state)
{
    enum { ROWS = 45, COLS = 520, COUNT = 13 };
    float x[COUNT * COLS], y[COUNT * ROWS], expected[COUNT * ROWS], bias[ROWS];
    (void)state;
    for (size_t i = 0; i < COUNT * COLS; i++)
        x[i] = gaussian();
    for (size_t i = 0; i < ROWS; i++)
        bias[i] = 100 * gaussian();
    for (size_t form = 0; form < FORMS; form++) {
        if (!runs_here(form))
            continue;
        struct phy_matmul_backend *cpu = open_form(forms[form], 3);
        for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
            struct phy_weights w = draw_weights((enum phy_weight_type)type, ROWS, COLS);
            float *values = decoded(&w);
            const struct phy_weights plain = {values, PHY_WEIGHT_F32, ROWS, COLS, 0, 0};
            for (size_t count = 1; count <= COUNT; count += 12) {
                const struct phy_product both[] = {{&w, y, bias, PHY_KERNEL_DEQUANT},
                                                   {&plain, expected, bias, PHY_KERNEL_DEQUANT}};
                assert_int_equal(cpu->ops->multiply(cpu, both, 2, x, count), PHY_OK);
                assert_memory_equal(y, expected, count * ROWS * sizeof *y);
            }
            free(values);
            free((void *)w.data);
        }
        phy_matmul_backend_destroy(&cpu);
    }
}

static void what_is_not_offered_is_a_sentence(void **state)
{
    (void)state;
    struct phy_matmul_backend *cpu = open_form(NULL, 1);
    struct phy_weights w = draw_weights(PHY_WEIGHT_BF16, 3, 5);
    float x[5] = {0}, y[3];
    const struct phy_product product = {&w, y, NULL, PHY_KERNEL_INT8};
    assert_false(cpu->ops->offers(cpu, PHY_KERNEL_INT8, PHY_WEIGHT_BF16));
    assert_true(cpu->ops->offers(cpu, PHY_KERNEL_INT8, PHY_WEIGHT_Q4_K));
    assert_true(cpu->ops->offers(cpu, PHY_KERNEL_WALK, PHY_WEIGHT_FP4));
    assert_int_equal(cpu->ops->multiply(cpu, &product, 1, x, 1), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(logged.error, "no products of that kernel with bf16 weights"));
    phy_matmul_backend_destroy(&cpu);
    free((void *)w.data);
}

/* ---- walks ---- */

/* y of the listed features, in float64 from what the scores are there. gate_dots: the products of all features, which
 * the walk then takes; or NULL. */
static void check_walk_given(const struct layer *l, struct phy_matmul_backend *cpu, const uint32_t *features,
                             size_t listed, size_t expect_skipped, const float *gate_dots, float *y)
{
    size_t skipped = SIZE_MAX;
    struct ran ran = {0};
    cpu->ran = note;
    cpu->ran_user = &ran;
    const struct phy_walk_product product = {.gate = &l->gate,
                                             .up = &l->up,
                                             .down = &l->down_by_feature,
                                             .gate_dots = gate_dots,
                                             .features = features,
                                             .feature_count = listed,
                                             .x = l->x,
                                             .y = y,
                                             .skipped = &skipped,
                                             .rows = 1};
    assert_int_equal(cpu->ops->walk(cpu, &product), PHY_OK);
    assert_int_equal(skipped, expect_skipped);
    const enum phy_weight_type types[] = {l->gate.type, l->up.type, l->down_by_feature.type};
    cpu->ran = NULL;
    check_ran(&ran, PHY_KERNEL_WALK, strchr(cpu->name, ':') + 1, types + (gate_dots != NULL), 3 - (gate_dots != NULL));
    float *down = decoded(&l->down_by_feature);
    for (size_t c = 0; c < l->hidden; c++) {
        double sum = 0, allowed = 1e-30;
        for (size_t i = 0; i < listed; i++) {
            const size_t f = features[i];
            const double g = l->gate_sum[f], u = l->up_sum[f], act = g / (1 + exp(-g));
            const double w = (double)down[f * l->hidden + c];
            const double act_error = 5e-6 * l->gate_absolute[f] + 2e-6 * fabs(act) + 1e-7 * fmax(1, fabs(g));
            sum += act * u * w;
            allowed += fabs(w) * (act_error * fabs(u) + (fabs(act) + act_error) * 4e-6 * l->up_absolute[f] +
                                  4.2e-6 * fabs(act * u));
        }
        if (!(fabs((double)y[c] - sum) <= allowed))
            fail_msg("%s walk %s: column %zu: got %.9g, expected %.9g within %.3g; PHY_SEED=%llu", cpu->name,
                     phy_weight_format(l->up.type)->name, c, (double)y[c], sum, allowed, (unsigned long long)l->seed);
    }
    free(down);
}

static void check_walk(const struct layer *l, struct phy_matmul_backend *cpu, const uint32_t *features, size_t listed,
                       size_t expect_skipped, float *y)
{
    check_walk_given(l, cpu, features, listed, expect_skipped, NULL, y);
}

/* With gate's products given instead of multiplied. */
static void check_kept_scores(const struct layer *l, struct phy_matmul_backend *cpu, const uint32_t *features,
                              size_t listed, size_t expect_skipped)
{
    float *dots = malloc(l->intermediate * sizeof *dots), *y = malloc(l->hidden * sizeof *y);
    const struct phy_product scores = {&l->gate, dots, NULL, PHY_KERNEL_FUSED};
    assert_int_equal(cpu->ops->multiply(cpu, &scores, 1, l->x, 1), PHY_OK);
    check_walk_given(l, cpu, features, listed, expect_skipped, dots, y);
    /* They are what is used: of zeros every activation is zero. */
    memset(dots, 0, l->intermediate * sizeof *dots);
    size_t skipped = 0;
    const struct phy_walk_product none = {.gate = &l->gate,
                                          .up = &l->up,
                                          .down = &l->down_by_feature,
                                          .gate_dots = dots,
                                          .features = features,
                                          .feature_count = listed,
                                          .x = l->x,
                                          .y = y,
                                          .skipped = &skipped,
                                          .rows = 1};
    assert_int_equal(cpu->ops->walk(cpu, &none), PHY_OK);
    assert_int_equal(skipped, listed);
    free(dots);
    free(y);
}

static void walks_add_up_the_listed_features_whatever_the_threads(void **state)
{
    enum { HIDDEN = 700, INTERMEDIATE = 90 };
    uint32_t all[INTERMEDIATE], few[INTERMEDIATE];
    float first[HIDDEN], y[HIDDEN];
    size_t few_count = 0;
    (void)state;
    for (uint32_t i = 0; i < INTERMEDIATE; i++) {
        all[i] = i;
        if (i % 4 == 1 || i == 6)
            few[few_count++] = i;
    }
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        const enum phy_weight_type t = (enum phy_weight_type)type;
        struct layer l = {.hidden = HIDDEN, .intermediate = INTERMEDIATE, .count = 1};
        layer_make(&l, t == PHY_WEIGHT_FP4 ? PHY_WEIGHT_BF16 : t, t, t == PHY_WEIGHT_FP4 ? PHY_WEIGHT_FP8 : t);
        /* Features 5 and 6 have an up of zeros. */
        const size_t bytes = row_bytes_of(t, HIDDEN);
        memset((uint8_t *)l.up.data + 5 * bytes, 0, 2 * bytes);
        for (size_t f = 5; f < 7; f++)
            l.up_sum[f] = l.up_absolute[f] = 0;
        for (size_t form = 0; form < FORMS; form++) {
            for (unsigned threads = 1; threads <= MOST_THREADS && runs_here(form); threads++) {
                struct phy_matmul_backend *cpu = open_form(forms[form], threads);
                check_walk(&l, cpu, all, INTERMEDIATE, 2, y);
                if (threads == 1)
                    memcpy(first, y, sizeof first);
                assert_memory_equal(y, first, sizeof first);
                check_walk(&l, cpu, few, few_count, 2, y); /* both are among the few */
                check_kept_scores(&l, cpu, few, few_count, 2);
                check_walk(&l, cpu, few, 0, 0, y);
                phy_matmul_backend_destroy(&cpu);
            }
        }
        layer_free(&l);
    }
}

static void each_failed_allocation_is_a_status_and_the_backend_works_on(void **state)
{
    (void)state;
    struct layer blocks = {.hidden = 300, .intermediate = 70, .count = 12}, floats = blocks;
    layer_make(&blocks, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K);
    layer_make(&floats, PHY_WEIGHT_BF16, PHY_WEIGHT_BF16, PHY_WEIGHT_BF16);
    float *y = malloc(blocks.count * blocks.hidden * sizeof *y);
    for (int kernel = 0; kernel < PHY_KERNEL_WALK; kernel++) {
        struct phy_matmul_backend *cpu = open_form(NULL, 2);
        const struct layer *l = kernel == PHY_KERNEL_BF16 ? &floats : &blocks;
        const struct phy_ffn_product product = {.gate = &l->gate,
                                                .up = &l->up,
                                                .down = &l->down,
                                                .kernel = (enum phy_product_kernel)kernel,
                                                .x = l->x,
                                                .count = l->count,
                                                .y = y};
        enum phy_status status = PHY_ERR_MEMORY;
        for (uint64_t after = 0; status != PHY_OK; after++) {
            logged.error[0] = 0;
            phy_alloc_fail_after(after);
            status = cpu->ops->ffn(cpu, &product);
            phy_alloc_fail_after(UINT64_MAX);
            assert_true(status == PHY_OK || (status == PHY_ERR_MEMORY && logged.error[0]));
            assert_true(after < 100);
        }
        phy_matmul_backend_destroy(&cpu);
    }
    free(y);
    layer_free(&blocks);
    layer_free(&floats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_of_every_type_and_kernel_is_right_and_says_what_ran),
        cmocka_unit_test(products_of_each_kernel_are_what_their_kernels_give),
        cmocka_unit_test(what_is_not_offered_is_a_sentence),
        cmocka_unit_test(walks_add_up_the_listed_features_whatever_the_threads),
        cmocka_unit_test(each_failed_allocation_is_a_status_and_the_backend_works_on),
    };
    parity_begin();
    host = recording_host(&logged);
    for (unsigned i = 0; i < MOST_THREADS; i++)
        pools[i] = phy_pool_create(i + 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (unsigned i = 0; i < MOST_THREADS; i++)
        phy_pool_destroy(pools[i]);
    return failed;
}
