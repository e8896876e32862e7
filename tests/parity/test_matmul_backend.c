/* SPDX-License-Identifier: Apache-2.0 */
/* One suite for every device of a model's products, against sums in float64. Arguments: "cpu", or "vulkan" (each device
 * of the loader's drivers) or "hardware" (those that are not CPUs); then "reduced" for a slow driver. PHY_SEED sets
 * another seed. Exit code 77 with a printed line when there is nothing to test. */
#include "support/test.h"

#include "base/alloc.h"
#include "base/pool.h"
#include "cpu/cpu_matmul.h"
#include "physarium/device.h"
#include "quant/small_float.h"
#include "support/parity.h"
#include "vk/vk_backend.h"
#include "vk/vk_matmul.h"

#if defined(__SANITIZE_ADDRESS__)
/* Drivers stay loaded, so that the leak checker can tell what they leak (tests/support/lsan.supp) from what we do. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

static bool is_vulkan, reduced;
static uint32_t vulkan_index;
static struct phy_pool *pool;
static struct log_record logged;
static struct phy_host host;

enum { MAX_COUNT = 64, MAX_MATRICES = 96 };
static const char *const type_names[] = {"bf16", "f16", "f32"};
enum pattern { GAUSSIAN, ALL_EQUAL, SUBNORMALS, PATTERNS };
static const char *const pattern_names[] = {"gaussian", "all equal", "subnormals"};

/* ---- matrices and what their products are ---- */

struct matrix {
    struct phy_weights w;
    enum pattern pattern;
    size_t max_count; /* rows of x that are compared */
    float *x;         /* (max_count, cols) */
    double *sum, *absolute;
    uint64_t seed;
};

static float widen(const struct phy_weights *w, size_t index)
{
    const uint8_t *at = (const uint8_t *)w->data + index * phy_weight_float_bytes(w->type);
    if (w->type == PHY_WEIGHT_F32)
        return phy_float_of_bits(phy_load_u32(at));
    return w->type == PHY_WEIGHT_F16 ? phy_f16_widen(phy_load_u16(at)) : phy_bf16_widen(phy_load_u16(at));
}

static uint32_t draw_code(enum phy_weight_type type, enum pattern pattern)
{
    uint32_t word = random_bits();
    if (pattern == ALL_EQUAL) /* 1/3: every addition of a binade rounds the same way */
        return type == PHY_WEIGHT_F32 ? 0x3EAAAAABu : type == PHY_WEIGHT_F16 ? 0x3555u : 0x3EABu;
    if (type == PHY_WEIGHT_F16) /* 1 of 4 subnormal; of that pattern all */
        return (word & 0x83FFu) | (pattern == SUBNORMALS || word >> 30 == 0 ? 0 : 1 + (word >> 16) % 14) << 10;
    uint32_t bits = phy_bits_of_float(0.05f * gaussian());
    return type == PHY_WEIGHT_F32 ? bits : bits >> 16;
}

static void matrix_make(struct matrix *m, enum phy_weight_type type, enum pattern pattern, size_t rows, size_t cols,
                        size_t max_count)
{
    const size_t width = phy_weight_float_bytes(type);
    unsigned char *codes = malloc(rows * cols * width);
    *m = (struct matrix){.w = {.data = codes, .type = type, .rows = rows, .cols = cols},
                         .pattern = pattern,
                         .max_count = max_count,
                         .seed = parity_seed};
    for (size_t i = 0; i < rows * cols; i++) {
        uint32_t code = draw_code(type, pattern);
        memcpy(codes + i * width, &code, width);
    }
    m->x = malloc(max_count * cols * sizeof *m->x);
    m->sum = malloc(max_count * rows * sizeof *m->sum);
    m->absolute = malloc(max_count * rows * sizeof *m->absolute);
    for (size_t i = 0; i < max_count * cols; i++)
        m->x[i] = pattern == ALL_EQUAL ? 0.7f : gaussian();
    double *row = malloc(cols * sizeof *row);
    for (size_t r = 0; r < rows; r++) {
        for (size_t k = 0; k < cols; k++)
            row[k] = (double)widen(&m->w, r * cols + k);
        for (size_t n = 0; n < max_count; n++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < cols; k++) {
                double product = row[k] * (double)m->x[n * cols + k];
                sum += product;
                absolute += fabs(product);
            }
            m->sum[n * rows + r] = sum;
            m->absolute[n * rows + r] = absolute;
        }
    }
    free(row);
}

static void matrix_free(struct matrix *m)
{
    free((void *)m->w.data);
    free(m->x);
    free(m->sum);
    free(m->absolute);
}

/* ---- devices ---- */

static struct phy_matmul_backend *open_device(const struct phy_vk_matmul_options *options)
{
    struct phy_matmul_backend *device;
    enum phy_status status = is_vulkan ? phy_vk_matmul_create(&device, vulkan_index, options, &host)
                                       : phy_cpu_matmul_create(&device, NULL, pool, &host);
    if (status != PHY_OK)
        fail_msg("%s", logged.error);
    return device;
}

static enum phy_status load(struct phy_matmul_backend *device, struct matrix *matrices, size_t count)
{
    struct phy_weights *list[MAX_MATRICES];
    assert_true(count <= MAX_MATRICES);
    for (size_t i = 0; i < count; i++)
        list[i] = &matrices[i].w;
    return device->ops->load(device, list, count);
}

static struct phy_matmul_backend *open_loaded(const struct phy_vk_matmul_options *options, struct matrix *matrices,
                                              size_t count)
{
    struct phy_matmul_backend *device = open_device(options);
    if (load(device, matrices, count) != PHY_OK)
        fail_msg("%s", logged.error);
    return device;
}

static enum phy_status multiply(struct phy_matmul_backend *device, const struct matrix *m, size_t count, float *y)
{
    const struct phy_product product = {&m->w, y, NULL, PHY_KERNEL_FUSED};
    return device->ops->multiply(device, &product, 1, m->x, count);
}

/* Every way that a Vulkan device may be used; one on the CPU. */
static const struct way {
    const char *name;
    struct phy_vk_matmul_options options;
} ways[] = {
    {"as the device likes", {0}},
    {"tiles for CPUs", {.tiles = "rows"}},
    {"tiles for GPUs, copies", {.tiles = "lanes", .copies = true}},
    {"cut small",
     {.max_slice_bytes = 80000, .max_chunk_bytes = 200000, .max_dispatch_products = 100000, .copies = true}},
};
/* The next to try, or the end: compiling takes a slow driver the most time, and it is a CPU, which likes its tiles. */
static size_t next_way(size_t way)
{
    way += reduced ? 2 : 1;
    return is_vulkan && way < sizeof ways / sizeof *ways ? way : SIZE_MAX;
}

/* ---- the tests ---- */

static void check_product(struct phy_matmul_backend *device, const char *way, const struct matrix *m, size_t count,
                          struct worst *worst)
{
    char where[160];
    const size_t values = count * m->w.rows;
    float *y = malloc((values + 1) * sizeof *y);
    for (size_t i = 0; i <= values; i++)
        y[i] = NAN;
    if (multiply(device, m, count, y) != PHY_OK)
        fail_msg("%s", logged.error);
    assert_true(isnan(y[values]));
    snprintf(where, sizeof where, "%s, %s, %s %zux%zu by %zu, %s", device->name, way, type_names[m->w.type], m->w.rows,
             m->w.cols, count, pattern_names[m->pattern]);
    for (size_t i = 0; i < values; i++)
        compare(worst, (double)y[i], m->sum[i], 4e-6 * m->absolute[i], i, m->seed, where);
    free(y);
}

static void every_shape_keeps_to_the_contract(void **state)
{
    (void)state;
    static const size_t row_list[] = {1, 3, 127, 4096}, col_list[] = {1, 31, 32, 576, 640, 1152, 2880};
    static const size_t counts[] = {1, 2, 5, 8, 13, 64};
    struct matrix matrices[MAX_MATRICES];
    size_t matrix_count = 0;
    for (int type = PHY_WEIGHT_BF16; type <= PHY_WEIGHT_F32; type++) {
        for (size_t r = 0; r < (reduced ? 3 : 4); r++) {
            for (size_t c = 0; c < (reduced ? 5 : 7); c++) {
                size_t weights = row_list[r] * col_list[c];
                size_t most = weights <= 200000 ? MAX_COUNT : weights <= 3000000 && !type ? 13 : 5;
                matrix_make(&matrices[matrix_count++], type, GAUSSIAN, row_list[r], col_list[c],
                            reduced && most > 13 ? 13 : most);
            }
        }
        matrix_make(&matrices[matrix_count++], type, ALL_EQUAL, 2, reduced ? 3584 : 18944, 13);
    }
    matrix_make(&matrices[matrix_count++], PHY_WEIGHT_F16, SUBNORMALS, 40, 640, 13);
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, matrices, matrix_count);
        struct worst worst = {0};
        for (size_t i = 0; i < matrix_count; i++) {
            /* Small pieces of large matrices take long, and are like those of smaller ones. */
            if (ways[w].options.max_slice_bytes && matrices[i].w.rows * matrices[i].w.cols > 400000)
                continue;
            for (size_t c = 0; c < sizeof counts / sizeof *counts && counts[c] <= matrices[i].max_count; c++)
                check_product(device, ways[w].name, &matrices[i], counts[c], &worst);
        }
        phy_matmul_backend_destroy(&device);
        if (!report_worst(&worst, ways[w].name))
            fail_msg("%s: outside the tolerance", ways[w].name);
    }
    for (size_t i = 0; i < matrix_count; i++)
        matrix_free(&matrices[i]);
}

static void bits_depend_neither_on_the_count_nor_on_the_cuts(void **state)
{
    (void)state;
    struct matrix m[2];
    matrix_make(&m[0], PHY_WEIGHT_BF16, GAUSSIAN, 70, 1000, 21);
    matrix_make(&m[1], PHY_WEIGHT_F16, GAUSSIAN, 33, 77, 21);
    enum { VALUES = 21 * 70 };
    float few[VALUES], many[VALUES], other[VALUES];
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_vk_matmul_options cut = ways[w].options;
        cut.max_slice_bytes = 5000;
        cut.max_dispatch_products = 4000;
        struct phy_matmul_backend *whole = open_loaded(&ways[w].options, m, 2), *pieces = open_loaded(&cut, m, 2);
        for (size_t i = 0; i < 2; i++) {
            const size_t row_bytes = m[i].w.rows * sizeof(float);
            assert_int_equal(multiply(whole, &m[i], 8, few), PHY_OK);
            assert_int_equal(multiply(whole, &m[i], 21, many), PHY_OK);
            for (size_t count = 1; count <= 21; count++) {
                assert_int_equal(multiply(count % 2 ? pieces : whole, &m[i], count, other), PHY_OK);
                assert_memory_equal(other, count <= 8 ? few : many, count * row_bytes);
            }
        }
        phy_matmul_backend_destroy(&whole);
        phy_matmul_backend_destroy(&pieces);
    }
    matrix_free(&m[0]);
    matrix_free(&m[1]);
}

static void a_group_of_products_adds_its_biases(void **state)
{
    (void)state;
    enum { COLS = 41, COUNT = 11, PRODUCTS = 10 };
    struct matrix m[PRODUCTS];
    struct phy_product products[PRODUCTS];
    float bias[64];
    for (size_t i = 0; i < 64; i++)
        bias[i] = gaussian();
    for (size_t i = 0; i < PRODUCTS; i++) {
        matrix_make(&m[i], (enum phy_weight_type)(i % 3), GAUSSIAN, 5 + 3 * i, COLS, COUNT);
        products[i] = (struct phy_product){&m[i].w, malloc(COUNT * m[i].w.rows * sizeof(float)), i % 2 ? bias : NULL,
                                           PHY_KERNEL_FUSED};
    }
    struct phy_matmul_backend *device = open_loaded(NULL, m, PRODUCTS);
    for (size_t count = 1; count <= COUNT; count += 10) {
        assert_int_equal(device->ops->multiply(device, products, PRODUCTS, m[0].x, count), PHY_OK);
        for (size_t i = 0; i < PRODUCTS; i++) {
            for (size_t n = 0; n < count; n++) {
                for (size_t r = 0; r < m[i].w.rows; r++) {
                    double sum = products[i].bias ? (double)bias[r] : 0, absolute = fabs(sum);
                    for (size_t k = 0; k < COLS; k++) {
                        double p = (double)widen(&m[i].w, r * COLS + k) * (double)m[0].x[n * COLS + k];
                        sum += p;
                        absolute += fabs(p);
                    }
                    assert_true(fabs((double)products[i].y[n * m[i].w.rows + r] - sum) <= 4e-6 * absolute);
                }
            }
        }
    }
    phy_matmul_backend_destroy(&device);
    for (size_t i = 0; i < PRODUCTS; i++) {
        free(products[i].y);
        matrix_free(&m[i]);
    }
}

/* down's sums, from what gate and up give in float64; the input of down from the reference activation. */
static void check_ffn(struct phy_matmul_backend *device, struct matrix m[3], enum phy_activation activation,
                      size_t count)
{
    const size_t wide = m[0].w.rows, hidden = m[0].w.cols;
    float *gated = malloc(count * wide * sizeof *gated), *y = malloc(count * hidden * sizeof *y);
    float *again = malloc(count * hidden * sizeof *again);
    struct phy_ffn_product product = {.gate = &m[0].w,
                                      .up = &m[1].w,
                                      .down = &m[2].w,
                                      .activation = activation,
                                      .x = m[0].x,
                                      .count = count,
                                      .gated = gated,
                                      .y = y};
    assert_int_equal(device->ops->ffn(device, &product), PHY_OK);
    product.gated = NULL;
    product.y = again;
    assert_int_equal(device->ops->ffn(device, &product), PHY_OK);
    assert_memory_equal(y, again, count * hidden * sizeof *y);
    for (size_t n = 0; n < count; n++) {
        for (size_t i = 0; i < wide; i++) {
            double sum[2], error[2], act, x;
            for (int which = 0; which < 2; which++) {
                sum[which] = error[which] = 0;
                for (size_t k = 0; k < hidden; k++) {
                    double p = (double)widen(&m[which].w, i * hidden + k) * (double)m[0].x[n * hidden + k];
                    sum[which] += p;
                    error[which] += 4e-6 * fabs(p);
                }
            }
            x = sum[0];
            act = activation == PHY_ACT_SILU ? x / (1 + exp(-x))
                                             : x / 2 * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
            /* An error of x is at most 1.13 times as large in act. */
            double act_error = 1.13 * error[0] + 2e-6 * fabs(act) + 1e-7 * fmax(1, fabs(x));
            double allowed = act_error * fabs(sum[1]) + (fabs(act) + act_error) * error[1] + 1e-7 * fabs(act * sum[1]);
            assert_true(fabs((double)gated[n * wide + i] - act * sum[1]) <= allowed);
        }
        for (size_t r = 0; r < hidden; r++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < wide; k++) {
                double p = (double)widen(&m[2].w, r * wide + k) * (double)gated[n * wide + k];
                sum += p;
                absolute += fabs(p);
            }
            assert_true(fabs((double)y[n * hidden + r] - sum) <= 4e-6 * absolute);
        }
    }
    free(gated);
    free(y);
    free(again);
}

static void the_ffn_stays_on_the_device_and_is_right(void **state)
{
    (void)state;
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct matrix m[3];
        /* Neither width is whole blocks, so that zeros must fill them. */
        matrix_make(&m[0], PHY_WEIGHT_BF16, GAUSSIAN, 107, 61, 13);
        matrix_make(&m[1], PHY_WEIGHT_BF16, GAUSSIAN, 107, 61, 13);
        matrix_make(&m[2], PHY_WEIGHT_F16, GAUSSIAN, 61, 107, 13);
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, m, 3);
        if (!device->ops->ffn) {
            printf("skipped: %s computes the FFN in steps\n", device->name);
        } else {
            for (size_t i = 0; i < 13 * 61; i++)
                m[0].x[i] *= 40; /* activations from the saturated ends too */
            for (size_t count = 1; count <= 13; count += 4) {
                check_ffn(device, m, PHY_ACT_SILU, count);
                check_ffn(device, m, PHY_ACT_GELU_TANH, count);
            }
        }
        phy_matmul_backend_destroy(&device);
        for (size_t i = 0; i < 3; i++)
            matrix_free(&m[i]);
    }
}

static void a_device_that_multiplies_wrongly_is_refused(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m;
    matrix_make(&m, PHY_WEIGHT_F16, GAUSSIAN, 3, 3, 1);
    struct phy_matmul_backend *device = open_device(&(struct phy_vk_matmul_options){.spoil_self_test = true});
    assert_int_equal(load(device, &m, 1), PHY_ERR_DEVICE);
    assert_non_null(strstr(logged.error, "is refused: its self-test differs in matvec_f16"));
    phy_matmul_backend_destroy(&device);
    matrix_free(&m);
}

static void weights_that_do_not_fit_are_a_sentence(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m;
    matrix_make(&m, PHY_WEIGHT_BF16, GAUSSIAN, 100, 1000, 1);
    struct phy_matmul_backend *device = open_device(&(struct phy_vk_matmul_options){.max_weight_bytes = 100000});
    assert_int_equal(load(device, &m, 1), PHY_ERR_MEMORY);
    assert_non_null(strstr(logged.error, "out of memory: the model's weights take"));
    phy_matmul_backend_destroy(&device);
    device = open_device(&(struct phy_vk_matmul_options){.max_slice_bytes = 1000});
    assert_int_equal(load(device, &m, 1), PHY_ERR_LIMIT);
    assert_non_null(strstr(logged.error, "a row of 1000 weights exceeds a binding"));
    phy_matmul_backend_destroy(&device);
    struct phy_matmul_backend *none;
    assert_int_equal(phy_vk_matmul_create(&none, vulkan_index, &(struct phy_vk_matmul_options){.tiles = "?"}, &host),
                     PHY_ERR_USAGE);
    assert_null(none);
    matrix_free(&m);
}

static void a_lost_device_is_a_sentence_and_opens_again(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m;
    matrix_make(&m, PHY_WEIGHT_F32, GAUSSIAN, 9, 9, 1);
    float y[9];
    struct phy_matmul_backend *device = open_loaded(NULL, &m, 1);
    phy_vk_lose_device_after(1);
    assert_int_equal(multiply(device, &m, 1, y), PHY_OK);
    for (int i = 0; i < 2; i++) {
        logged.error[0] = 0;
        assert_int_equal(multiply(device, &m, 1, y), PHY_ERR_DEVICE);
        assert_non_null(strstr(logged.error, "was lost"));
        phy_vk_lose_device_after(UINT64_MAX);
    }
    phy_matmul_backend_destroy(&device);
    /* Lost while the weights go up. */
    phy_vk_lose_device_after(0);
    device = open_device(&(struct phy_vk_matmul_options){.copies = true});
    assert_int_equal(load(device, &m, 1), PHY_ERR_DEVICE);
    phy_vk_lose_device_after(UINT64_MAX);
    phy_matmul_backend_destroy(&device);
    device = open_loaded(NULL, &m, 1);
    assert_int_equal(multiply(device, &m, 1, y), PHY_OK);
    phy_matmul_backend_destroy(&device);
    matrix_free(&m);
}

static void each_failed_allocation_is_a_status(void **state)
{
    (void)state;
    struct matrix m[2];
    matrix_make(&m[0], PHY_WEIGHT_BF16, GAUSSIAN, 9, 9, 1);
    matrix_make(&m[1], PHY_WEIGHT_BF16, GAUSSIAN, 50, 9, 1);
    enum phy_status status = PHY_ERR_MEMORY;
    for (uint64_t after = 0; status != PHY_OK; after++) {
        struct phy_matmul_backend *device = NULL;
        const struct phy_vk_matmul_options options = {.max_slice_bytes = 400, .max_chunk_bytes = 512};
        logged.error[0] = 0;
        phy_alloc_fail_after(after);
        status = is_vulkan ? phy_vk_matmul_create(&device, vulkan_index, &options, &host)
                           : phy_cpu_matmul_create(&device, NULL, pool, &host);
        if (status == PHY_OK)
            status = load(device, m, 2);
        phy_alloc_fail_after(UINT64_MAX);
        phy_matmul_backend_destroy(&device);
        assert_true(status == PHY_OK || (status == PHY_ERR_MEMORY && logged.error[0]));
        assert_true(after < 1000);
    }
    matrix_free(&m[0]);
    matrix_free(&m[1]);
}

static void the_validation_layer_is_silent(void **state)
{
    (void)state;
    if (!phy_vk_validation_asked())
        skip();
    if (phy_vk_validation_messages() != 0)
        fail_msg("%u messages; the last: %s", phy_vk_validation_messages(), logged.error);
}

/* ---- all of them ---- */

static int run_device(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_keeps_to_the_contract),
        cmocka_unit_test(bits_depend_neither_on_the_count_nor_on_the_cuts),
        cmocka_unit_test(a_group_of_products_adds_its_biases),
        cmocka_unit_test(the_ffn_stays_on_the_device_and_is_right),
        cmocka_unit_test(a_device_that_multiplies_wrongly_is_refused),
        cmocka_unit_test(weights_that_do_not_fit_are_a_sentence),
        cmocka_unit_test(a_lost_device_is_a_sentence_and_opens_again),
        cmocka_unit_test(each_failed_allocation_is_a_status),
        cmocka_unit_test(the_validation_layer_is_silent),
    };
    printf("device: %s\n", name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static int skip_all(const char *why)
{
    printf("SKIPPED: %s\n", why);
    return 77;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "cpu";
    parity_begin();
    host = recording_host(&logged);
    reduced = argc > 2 && strcmp(argv[2], "reduced") == 0;
    if (strcmp(kind, "cpu") == 0) {
        pool = phy_pool_create(2);
        int failed = run_device("cpu");
        phy_pool_destroy(pool);
        return failed;
    }
    if (phy_vk_validation_asked() && !phy_vk_validation_available())
        return skip_all("the Vulkan validation layer is not installed");
    struct phy_device_info *devices;
    size_t count;
    char note[PHY_VK_NOTE_BYTES];
    if (phy_vk_list(&devices, &count, note, &host) != PHY_OK)
        return 1;
    is_vulkan = true;
    int failures = 0, ran = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(kind, "hardware") == 0 && strcmp(devices[i].type, "cpu") == 0)
            continue;
        vulkan_index = (uint32_t)i;
        failures += run_device(devices[i].device_name);
        ran++;
    }
    phy_free(devices);
    return failures ? 1 : ran ? 0 : skip_all(count ? "no Vulkan device that is not a CPU" : note);
}
