/* SPDX-License-Identifier: Apache-2.0 */
/* One suite for every device of a model's products, against sums in float64. Arguments: "cpu", or "vulkan" (each device
 * of the loader's drivers) or "hardware" (those that are not CPUs); then "reduced" for a slow driver. PHY_SEED sets
 * another seed. Exit code 77 with a printed line when there is nothing to test. */
#include <dirent.h>
#include <unistd.h>

#include "support/test.h"

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/pool.h"
#include "cpu/cpu_matmul.h"
#include "physarium/device.h"
#include "quant/bitmap.h"
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

enum { MAX_COUNT = 64, MAX_MATRICES = 420 };
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

static float *widen(const struct phy_weights *w)
{
    float *values = malloc(w->rows * w->cols * sizeof *values);
    struct phy_bitmap bitmap;
    size_t row_bytes;
    if (phy_weight_is_bitmap(w->type)) {
        assert_true(phy_bitmap_view(&bitmap, w->type, w->data, w->rows, w->cols));
        for (size_t r = 0; r < w->rows; r++)
            phy_bitmap_decode_row(&bitmap, r, values + r * w->cols);
        return values;
    }
    assert_true(phy_weight_row_bytes(w->type, w->cols, &row_bytes));
    for (size_t r = 0; r < w->rows; r++)
        phy_weight_decode_row(w->type, (const uint8_t *)w->data + r * row_bytes, w->cols, values + r * w->cols);
    return values;
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

/* A scale near 1/20, of either sign; SUBNORMALS: a binary16 subnormal, as in most real q6_K blocks. */
static uint16_t draw_f16(enum pattern pattern)
{
    uint32_t word = random_bits();
    if (pattern == ALL_EQUAL)
        return 0x2555;
    return (uint16_t)((word & 0x83FF) | (pattern == SUBNORMALS ? 0 : (9 + word % 3) << 10));
}

static uint8_t draw_e4m3(enum pattern pattern)
{
    return pattern == ALL_EQUAL ? 0x35 : (uint8_t)((random_bits() & 0x87) | (3 + random_below(6)) << 3);
}

static void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* Scales into a block of random codes. */
static void draw_scales(enum phy_weight_type type, enum pattern pattern, uint8_t *block)
{
    switch (type) {
    case PHY_WEIGHT_Q8_0:
    case PHY_WEIGHT_Q4_0:
        put_u16(block, draw_f16(pattern));
        break;
    case PHY_WEIGHT_Q4_K:
        put_u16(block, draw_f16(pattern));
        put_u16(block + 2, draw_f16(pattern));
        break;
    case PHY_WEIGHT_Q6_K:
        put_u16(block + 208, draw_f16(pattern));
        break;
    case PHY_WEIGHT_FP8:
        for (int i = 0; i < 256; i++) {
            if ((block[i] & 0x7F) == 0x7F)
                block[i] ^= 0x7A; /* a NaN: a subnormal of that sign instead */
        }
        block[256] = pattern == SUBNORMALS ? (uint8_t)(1 + random_below(7)) : draw_e4m3(pattern);
        break;
    case PHY_WEIGHT_FP4:
        for (int i = 0; i < 9; i++)
            block[128 + i] = pattern == SUBNORMALS ? (uint8_t)(random_below(8)) : draw_e4m3(pattern);
        break;
    default: /* mxfp4: products stay clear of float32 subnormals, which a device may flush */
        block[0] = pattern == ALL_EQUAL ? 122 : (uint8_t)(pattern == SUBNORMALS ? 20 : 118 + random_below(8));
    }
}

static void draw_row(enum phy_weight_type type, enum pattern pattern, size_t cols, uint8_t *row)
{
    const struct phy_quant_format *format = phy_weight_format(type);
    for (size_t i = 0; i < (cols + format->elements - 1) / format->elements; i++) {
        uint8_t *block = row + i * format->bytes;
        uint32_t code = type < PHY_WEIGHT_FLOAT_COUNT ? draw_code(type, pattern) : 0;
        for (size_t j = 0; j < format->bytes; j++)
            block[j] = type < PHY_WEIGHT_FLOAT_COUNT ? (uint8_t)(code >> 8 * j)
                       : pattern == ALL_EQUAL        ? 0x66
                                                     : (uint8_t)random_bits();
        if (type >= PHY_WEIGHT_FLOAT_COUNT)
            draw_scales(type, pattern, block);
    }
}

/* Of each four rows one of zeros, one whole, and two of which an eighth or half is left, the bits of a word together or
 * anywhere. */
static bool is_pruned(size_t row, size_t col)
{
    switch (row % 4) {
    case 0:
        return random_below(2);
    case 1:
        return random_below(8) && col / 64 % 3 != 1;
    case 2:
        return false;
    default:
        return true;
    }
}

static uint8_t *draw_bitmap(enum phy_weight_type type, enum pattern pattern, size_t rows, size_t cols)
{
    const enum phy_weight_type value = phy_weight_bitmap_value(type);
    const size_t code = phy_weight_float_bytes(value);
    struct phy_bitmap view;
    uint64_t bytes;
    char fact[200];
    assert_true(phy_bitmap_view(&view, type, NULL, rows, cols));
    assert_true(phy_bitmap_bytes(&view, (uint64_t)rows * cols, &bytes));
    uint8_t *out = calloc(bytes, 1), *row = malloc(cols * code);
    uint32_t first = 0;
    for (size_t r = 0; r < rows; r++) {
        draw_row(value, pattern, cols, row);
        for (size_t c = 0; c < cols; c++) {
            if (is_pruned(r, c))
                memset(row + c * code, 0, code);
        }
        phy_store_u32(out + 4 * r, first);
        first += (uint32_t)phy_bitmap_encode_row(value, row, cols, out + view.bits_at + 8 * r * view.words,
                                                 out + view.values_at + first * code);
    }
    phy_store_u32(out + 4 * rows, first);
    free(row);
    view.data = out;
    assert_true(phy_bitmap_bytes(&view, first, &bytes));
    if (!phy_bitmap_check(&view, bytes, fact, sizeof fact))
        fail_msg("%s", fact);
    return out;
}

static uint8_t *draw_rows(enum phy_weight_type type, enum pattern pattern, size_t rows, size_t cols)
{
    size_t row_bytes;
    if (phy_weight_is_bitmap(type))
        return draw_bitmap(type, pattern, rows, cols);
    assert_true(phy_weight_row_bytes(type, cols, &row_bytes));
    uint8_t *bytes = malloc(rows * row_bytes);
    for (size_t r = 0; r < rows; r++)
        draw_row(type, pattern, cols, bytes + r * row_bytes);
    return bytes;
}

static void matrix_make(struct matrix *m, enum phy_weight_type type, enum pattern pattern, size_t rows, size_t cols,
                        size_t max_count)
{
    *m = (struct matrix){.w = {.data = draw_rows(type, pattern, rows, cols), .type = type, .rows = rows, .cols = cols},
                         .pattern = pattern,
                         .max_count = max_count,
                         .seed = parity_seed};
    m->x = malloc(max_count * cols * sizeof *m->x);
    m->sum = malloc(max_count * rows * sizeof *m->sum);
    m->absolute = malloc(max_count * rows * sizeof *m->absolute);
    for (size_t i = 0; i < max_count * cols; i++)
        m->x[i] = pattern == ALL_EQUAL ? 0.7f : gaussian();
    float *values = widen(&m->w);
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < max_count; n++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < cols; k++) {
                double product = (double)values[r * cols + k] * (double)m->x[n * cols + k];
                sum += product;
                absolute += fabs(product);
            }
            m->sum[n * rows + r] = sum;
            m->absolute[n * rows + r] = absolute;
        }
    }
    free(values);
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
    {"subgroups", {.tiles = "subgroup"}},
    {"cut small",
     {.max_slice_bytes = 80000, .max_chunk_bytes = 200000, .max_dispatch_products = 100000, .copies = true}},
    {"cooperative matrices", {.tiles = "matrix"}},
};
/* They hold 22 of a weight's bits. */
static const double split_weight = 0x1p-22;

static bool can_open(const struct phy_vk_matmul_options *options)
{
    struct phy_matmul_backend *device;
    const enum phy_status status = phy_vk_matmul_create(&device, vulkan_index, options, &host);
    phy_matmul_backend_destroy(&device);
    if (status == PHY_ERR_UNSUPPORTED)
        printf("skipped: %s\n", logged.error);
    return status != PHY_ERR_UNSUPPORTED;
}

/* The next to try, or the end: compiling takes a slow driver the most time, and it is a CPU, which likes its tiles. */
static size_t next_way(size_t way)
{
    way += reduced ? 2 : 1;
    if (!is_vulkan || way >= sizeof ways / sizeof *ways || (reduced && way > 2))
        return SIZE_MAX;
    return can_open(&ways[way].options) ? way : next_way(way);
}

/* Of what adds to the ways only itself. */
static size_t next_way_of_few(size_t way)
{
    return reduced ? SIZE_MAX : next_way(way);
}

/* Formats whose unpacking differs most: a slow driver compiles only theirs into what adds to the products. */
static bool in_few(enum phy_weight_type type)
{
    return !reduced || type == PHY_WEIGHT_F16 || type == PHY_WEIGHT_Q4_K || type == PHY_WEIGHT_Q6_K ||
           type == PHY_WEIGHT_FP8 || type == PHY_WEIGHT_FP4 || type == PHY_WEIGHT_BITMAP_F16;
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
    snprintf(where, sizeof where, "%s, %s, %s %zux%zu by %zu, %s", device->name, way,
             phy_weight_format(m->w.type)->name, m->w.rows, m->w.cols, count, pattern_names[m->pattern]);
    for (size_t i = 0; i < values; i++)
        compare(worst, (double)y[i], m->sum[i], 4e-6 * m->absolute[i], i, m->seed, where);
    free(y);
}

/* Rows of x that pick one column each: a product is the weight itself, so unpacking shows, bit for bit but for zeros'
 * signs; or off by no more than that part of it. */
static void check_unpacking(struct phy_matmul_backend *device, const struct phy_weights *w, double part)
{
    const size_t cols = w->cols, rows = w->rows;
    float *x = calloc(cols * cols, sizeof *x), *y = malloc(cols * rows * sizeof *y), *expected = widen(w);
    for (size_t k = 0; k < cols; k++)
        x[k * cols + k] = 1.0f;
    const struct phy_product product = {w, y, NULL, PHY_KERNEL_FUSED};
    assert_int_equal(device->ops->multiply(device, &product, 1, x, cols), PHY_OK);
    for (size_t i = 0; i < rows * cols; i++) {
        const float got = y[i % cols * rows + i / cols];
        if (!(fabs((double)got - (double)expected[i]) <= part * fabs((double)expected[i])))
            fail_msg("%s: weight %zu is %a, not %a", phy_weight_format(w->type)->name, i, (double)got,
                     (double)expected[i]);
    }
    free(x);
    free(y);
    free(expected);
}

static bool is_split(const char *tiles)
{
    return tiles && strcmp(tiles, "matrix") == 0;
}

static int type_count(void)
{
    return is_vulkan ? PHY_WEIGHT_BITMAP_END : PHY_WEIGHT_FLOAT_COUNT;
}

static void every_shape_keeps_to_the_contract(void **state)
{
    (void)state;
    static const size_t row_list[] = {1, 3, 127, 4096}, col_list[] = {1, 31, 32, 576, 640, 1152, 2880};
    static const size_t counts[] = {1, 2, 5, 8, 13, 64};
    struct matrix matrices[MAX_MATRICES];
    size_t matrix_count = 0;
    for (int type = PHY_WEIGHT_BF16; type < type_count(); type++) {
        for (size_t r = 0; r < (reduced ? 3 : 4); r++) {
            for (size_t c = 0; c < (reduced ? 5 : 7); c++) {
                size_t weights = row_list[r] * col_list[c];
                size_t most = weights <= 200000 ? MAX_COUNT : weights <= 3000000 && !type ? 13 : 5;
                matrix_make(&matrices[matrix_count++], type, GAUSSIAN, row_list[r], col_list[c],
                            reduced && most > 13 ? 13 : most);
            }
        }
        matrix_make(&matrices[matrix_count++], type, ALL_EQUAL, 2, reduced ? 3584 : 18944, 13);
        if (type != PHY_WEIGHT_BF16 && type != PHY_WEIGHT_F32)
            matrix_make(&matrices[matrix_count++], type, SUBNORMALS, 40, 640, 13);
        matrix_make(&matrices[matrix_count++], type, type % 2 ? SUBNORMALS : GAUSSIAN, 9, 256, 1);
    }
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, matrices, matrix_count);
        struct worst worst = {0};
        for (size_t i = 0; i < matrix_count; i++) {
            /* Small pieces of large matrices take long, and are like those of smaller ones. */
            if (ways[w].options.max_slice_bytes && matrices[i].w.rows * matrices[i].w.cols > 400000)
                continue;
            for (size_t c = 0; c < sizeof counts / sizeof *counts && counts[c] <= matrices[i].max_count; c++)
                check_product(device, ways[w].name, &matrices[i], counts[c], &worst);
            if (matrices[i].w.cols == 256)
                check_unpacking(device, &matrices[i].w, is_split(ways[w].options.tiles) ? split_weight : 0);
        }
        phy_matmul_backend_destroy(&device);
        if (!report_worst(&worst, ways[w].name))
            fail_msg("%s: outside the tolerance", ways[w].name);
    }
    for (size_t i = 0; i < matrix_count; i++)
        matrix_free(&matrices[i]);
}

static enum phy_status multiply_by(struct phy_matmul_backend *device, enum phy_product_kernel kernel,
                                   const struct matrix *m, size_t count, float *y)
{
    const struct phy_product product = {&m->w, y, NULL, kernel};
    return device->ops->multiply(device, &product, 1, m->x, count);
}

static void bits_depend_neither_on_the_count_nor_on_the_cuts(void **state)
{
    (void)state;
    enum { MATRICES = 7, VALUES = 21 * 70 };
    struct matrix m[MATRICES];
    matrix_make(&m[0], PHY_WEIGHT_BF16, GAUSSIAN, 70, 1000, 21);
    matrix_make(&m[1], PHY_WEIGHT_F16, GAUSSIAN, 33, 77, 21);
    matrix_make(&m[2], PHY_WEIGHT_Q4_K, GAUSSIAN, 70, 500, 21);
    matrix_make(&m[3], PHY_WEIGHT_Q6_K, GAUSSIAN, 61, 300, 21);
    matrix_make(&m[4], PHY_WEIGHT_FP4, GAUSSIAN, 70, 280, 21);
    matrix_make(&m[5], PHY_WEIGHT_BITMAP_BF16, GAUSSIAN, 70, 1000, 21);
    matrix_make(&m[6], PHY_WEIGHT_BITMAP_F32, GAUSSIAN, 33, 77, 21);
    const size_t used = is_vulkan ? MATRICES : 2;
    float few[VALUES], many[VALUES], other[VALUES];
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_vk_matmul_options cut = ways[w].options;
        cut.max_slice_bytes = 5000;
        cut.max_dispatch_products = 4000;
        struct phy_matmul_backend *whole = open_loaded(&ways[w].options, m, used), *pieces = open_loaded(&cut, m, used);
        for (size_t i = 0; i < 2 * used; i++) {
            const struct matrix *matrix = &m[i / 2];
            const enum phy_product_kernel kernel = i % 2 ? PHY_KERNEL_INT8 : PHY_KERNEL_FUSED;
            const size_t row_bytes = matrix->w.rows * sizeof(float);
            if (!whole->ops->offers(whole, kernel, matrix->w.type))
                continue;
            assert_int_equal(multiply_by(whole, kernel, matrix, 8, few), PHY_OK);
            assert_int_equal(multiply_by(whole, kernel, matrix, 21, many), PHY_OK);
            for (size_t count = 1; count <= 21; count++) {
                assert_int_equal(multiply_by(count % 2 ? pieces : whole, kernel, matrix, count, other), PHY_OK);
                assert_memory_equal(other, count <= 8 ? few : many, count * row_bytes);
            }
        }
        phy_matmul_backend_destroy(&whole);
        phy_matmul_backend_destroy(&pieces);
    }
    for (size_t i = 0; i < MATRICES; i++)
        matrix_free(&m[i]);
}

/* A chain of n float32 additions of random terms is off by about sqrt(n / 2) roundings of 2.5e-8: 71 of them for 10240
 * terms. What the products keep of what additions lose leaves those of short chains. */
static void sums_of_many_random_terms_are_as_close_as_of_few(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    enum { ROWS = 100, COLS = 10240, TYPES = 5 };
    static const enum phy_weight_type types[TYPES] = {PHY_WEIGHT_F16, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K, PHY_WEIGHT_FP8,
                                                      PHY_WEIGHT_BITMAP_F16};
    struct matrix m[TYPES];
    float y[ROWS];
    for (int i = 0; i < TYPES; i++)
        matrix_make(&m[i], types[i], GAUSSIAN, ROWS, COLS, 1);
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, m, TYPES);
        for (int i = 0; i < TYPES * 2; i++) {
            const struct matrix *one = &m[i / 2];
            const enum phy_product_kernel kernel = i % 2 ? PHY_KERNEL_DEQUANT : PHY_KERNEL_FUSED;
            if (!device->ops->offers(device, kernel, one->w.type))
                continue;
            float *values = widen(&one->w);
            double lost = 0, whole = 0;
            assert_int_equal(multiply_by(device, kernel, one, 1, y), PHY_OK);
            for (size_t r = 0; r < ROWS; r++) {
                lost += pow((double)y[r] - one->sum[r], 2);
                for (size_t k = 0; k < COLS; k++)
                    whole += pow((double)values[r * COLS + k] * (double)one->x[k], 2);
            }
            if (sqrt(lost / whole) > 1.5e-7)
                fail_msg("%s, %s, kernel %d: off by %g of a random sum", ways[w].name,
                         phy_weight_format(one->w.type)->name, kernel, sqrt(lost / whole));
            free(values);
        }
        phy_matmul_backend_destroy(&device);
    }
    for (int i = 0; i < TYPES; i++)
        matrix_free(&m[i]);
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
        matrix_make(&m[i], (enum phy_weight_type)(i % (size_t)type_count()), GAUSSIAN, 5 + 3 * i, COLS, COUNT);
        products[i] = (struct phy_product){&m[i].w, malloc(COUNT * m[i].w.rows * sizeof(float)), i % 2 ? bias : NULL,
                                           PHY_KERNEL_FUSED};
    }
    struct phy_matmul_backend *device = open_loaded(NULL, m, PRODUCTS);
    for (size_t count = 1; count <= COUNT; count += 10) {
        assert_int_equal(device->ops->multiply(device, products, PRODUCTS, m[0].x, count), PHY_OK);
        for (size_t i = 0; i < PRODUCTS; i++) {
            float *w = widen(&m[i].w);
            for (size_t n = 0; n < count; n++) {
                for (size_t r = 0; r < m[i].w.rows; r++) {
                    double sum = products[i].bias ? (double)bias[r] : 0, absolute = fabs(sum);
                    for (size_t k = 0; k < COLS; k++) {
                        double p = (double)w[r * COLS + k] * (double)m[0].x[n * COLS + k];
                        sum += p;
                        absolute += fabs(p);
                    }
                    assert_true(fabs((double)products[i].y[n * m[i].w.rows + r] - sum) <= 4e-6 * absolute);
                }
            }
            free(w);
        }
    }
    phy_matmul_backend_destroy(&device);
    for (size_t i = 0; i < PRODUCTS; i++) {
        free(products[i].y);
        matrix_free(&m[i]);
    }
}

/* An ffn's matrices: gate, up, down, and the first two in turn (gate_up). */
enum { GATE, UP, DOWN, GATE_UP };

static void ffn_make(struct matrix m[4], enum phy_weight_type wide_type, enum phy_weight_type down_type, size_t wide,
                     size_t hidden, size_t count)
{
    size_t row_bytes;
    assert_true(phy_weight_row_bytes(wide_type, hidden, &row_bytes));
    matrix_make(&m[GATE], wide_type, GAUSSIAN, wide, hidden, count);
    matrix_make(&m[UP], wide_type, GAUSSIAN, wide, hidden, count);
    matrix_make(&m[DOWN], down_type, GAUSSIAN, hidden, wide, count);
    m[GATE_UP] = (struct matrix){.w = {.type = wide_type, .rows = 2 * wide, .cols = hidden}};
    uint8_t *both = malloc(2 * wide * row_bytes);
    for (size_t i = 0; i < 2 * wide; i++)
        memcpy(both + i * row_bytes, (const uint8_t *)m[i % 2].w.data + i / 2 * row_bytes, row_bytes);
    m[GATE_UP].w.data = both;
    for (size_t i = 0; i < count * hidden; i++)
        m[GATE].x[i] *= 40; /* activations from the saturated ends too */
}

static double exact_activation(enum phy_activation activation, double x)
{
    return activation == PHY_ACT_SILU ? x / (1 + exp(-x))
                                      : x / 2 * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

/* down's sums, from what gate and up give in float64; the input of down from the reference activation. */
static void check_ffn(struct phy_matmul_backend *device, struct matrix m[4], enum phy_activation activation,
                      size_t count)
{
    const size_t wide = m[0].w.rows, hidden = m[0].w.cols;
    float *gated = malloc(count * wide * sizeof *gated), *y = malloc(count * hidden * sizeof *y);
    float *again = malloc(count * hidden * sizeof *again);
    float *w[3] = {widen(&m[0].w), widen(&m[1].w), widen(&m[2].w)};
    struct phy_ffn_product product = {.gate = &m[GATE].w,
                                      .up = &m[UP].w,
                                      .down = &m[DOWN].w,
                                      .activation = activation,
                                      .x = m[GATE].x,
                                      .count = count,
                                      .gated = gated,
                                      .y = y};
    assert_int_equal(device->ops->ffn(device, &product), PHY_OK);
    product.gated = NULL;
    product.y = again;
    assert_int_equal(device->ops->ffn(device, &product), PHY_OK);
    assert_memory_equal(y, again, count * hidden * sizeof *y);
    if (is_vulkan) {
        product.gate = product.up = NULL;
        product.gate_up = &m[GATE_UP].w;
        memset(again, 0, count * hidden * sizeof *y);
        assert_int_equal(device->ops->ffn(device, &product), PHY_OK);
        assert_memory_equal(y, again, count * hidden * sizeof *y);
    }
    for (size_t n = 0; n < count; n++) {
        for (size_t i = 0; i < wide; i++) {
            double sum[2], error[2], act, x;
            for (int which = 0; which < 2; which++) {
                sum[which] = error[which] = 0;
                for (size_t k = 0; k < hidden; k++) {
                    double p = (double)w[which][i * hidden + k] * (double)m[0].x[n * hidden + k];
                    sum[which] += p;
                    error[which] += 4e-6 * fabs(p);
                }
            }
            x = sum[0];
            act = exact_activation(activation, x);
            /* An error of x is at most 1.13 times as large in act. */
            double act_error = 1.13 * error[0] + 2e-6 * fabs(act) + 1e-7 * fmax(1, fabs(x));
            double allowed = act_error * fabs(sum[1]) + (fabs(act) + act_error) * error[1] + 1e-7 * fabs(act * sum[1]);
            assert_true(fabs((double)gated[n * wide + i] - act * sum[1]) <= allowed);
        }
        for (size_t r = 0; r < hidden; r++) {
            double sum = 0, absolute = 0;
            for (size_t k = 0; k < wide; k++) {
                double p = (double)w[2][r * wide + k] * (double)gated[n * wide + k];
                sum += p;
                absolute += fabs(p);
            }
            assert_true(fabs((double)y[n * hidden + r] - sum) <= 4e-6 * absolute);
        }
    }
    for (int i = 0; i < 3; i++)
        free(w[i]);
    free(gated);
    free(y);
    free(again);
}

/* Gate and up of one column and x = 1, so that they are their products: what is left is act(gate) * up, which a float32
 * holds to half a unit in its last place. */
static void gated_values_are_rounded_once(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    enum { WIDE = 5000, SPECIAL = 6 };
    static const float special_gate[SPECIAL] = {INFINITY, -1e30f, 1e20f, 0, 3, NAN};
    static const float special_up[SPECIAL] = {2, 2, 2, 5, INFINITY, 1};
    static const float expected[SPECIAL] = {INFINITY, 0, 2e20f, 0, INFINITY, NAN};
    static float gate[WIDE], up[WIDE], down[WIDE], gated[WIDE];
    float x = 1, y;
    for (size_t i = 0; i < WIDE; i++) {
        gate[i] = i < SPECIAL ? special_gate[i] : (float)random_below(1 << 20) * 0x1p-17f - 4;
        up[i] = i < SPECIAL ? special_up[i] : gaussian();
    }
    struct phy_weights w[] = {{gate, PHY_WEIGHT_F32, WIDE, 1, 0, 0},
                              {up, PHY_WEIGHT_F32, WIDE, 1, 0, 0},
                              {down, PHY_WEIGHT_F32, 1, WIDE, 0, 0}};
    struct phy_weights *all[] = {&w[0], &w[1], &w[2]};
    struct phy_matmul_backend *device = open_device(NULL);
    assert_int_equal(device->ops->load(device, all, 3), PHY_OK);
    for (int activation = PHY_ACT_SILU; activation <= PHY_ACT_GELU_TANH; activation++) {
        const struct phy_ffn_product p = {.gate = &w[0],
                                          .up = &w[1],
                                          .down = &w[2],
                                          .activation = activation,
                                          .x = &x,
                                          .count = 1,
                                          .gated = gated,
                                          .y = &y};
        assert_int_equal(device->ops->ffn(device, &p), PHY_OK);
        for (size_t i = SPECIAL; i < WIDE; i++) {
            const double exact = exact_activation(activation, (double)gate[i]) * (double)up[i];
            const float nearest = (float)exact, next = nextafterf(nearest, INFINITY);
            if (fabs((double)gated[i] - exact) > 0.7 * ((double)next - (double)nearest))
                fail_msg("act %d of %a, times %a, is %a, not %a", activation, (double)gate[i], (double)up[i],
                         (double)gated[i], exact);
        }
        for (size_t i = 0; i < SPECIAL; i++)
            assert_true(isnan(expected[i])   ? isnan(gated[i])
                        : isinf(expected[i]) ? gated[i] == expected[i]
                                             : fabsf(gated[i] - expected[i]) <= 1e-7f * expected[i] + 1e-7f);
    }
    phy_matmul_backend_destroy(&device);
}

static void the_ffn_stays_on_the_device_and_is_right(void **state)
{
    (void)state;
    static const enum phy_weight_type pairs[][2] = {
        {PHY_WEIGHT_BF16, PHY_WEIGHT_F16},  {PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K}, {PHY_WEIGHT_FP4, PHY_WEIGHT_FP8},
        {PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q4_0}, {PHY_WEIGHT_MXFP4, PHY_WEIGHT_F32},
    };
    for (size_t w = 0; w != SIZE_MAX; w = next_way_of_few(w)) {
        struct phy_matmul_backend *device = open_device(&ways[w].options);
        for (size_t i = 0; device->ops->ffn && i < (!is_vulkan ? 1 : reduced ? 2 : 5); i++) {
            /* Neither width is whole blocks, so that zeros must fill them. */
            struct matrix m[4];
            ffn_make(m, pairs[i][0], pairs[i][1], 107, i % 2 ? 293 : 61, 13);
            if (load(device, m, 4) != PHY_OK)
                fail_msg("%s", logged.error);
            for (size_t count = 1; count <= 13; count += 4) {
                check_ffn(device, m, PHY_ACT_SILU, count);
                check_ffn(device, m, PHY_ACT_GELU_TANH, count);
            }
            for (size_t j = 0; j < 4; j++)
                matrix_free(&m[j]);
        }
        if (!device->ops->ffn)
            printf("skipped: %s computes the FFN in steps\n", device->name);
        phy_matmul_backend_destroy(&device);
    }
}

/* As kernels/int8_matmul.h: x to what its rounded values stand for. */
static void round_activations(float *x, size_t cols)
{
    for (size_t begin = 0; begin < cols; begin += 256) {
        const size_t end = cols - begin < 256 ? cols : begin + 256;
        float peak = 0;
        for (size_t k = begin; k < end; k++)
            peak = fmaxf(peak, fabsf(x[k]));
        const bool tiny = peak < 0x1p-100f;
        const float inverse = tiny ? 0 : 127.0f / peak;
        const double scale = tiny ? 0 : (double)(peak / 127.0f);
        for (size_t k = begin; k < end; k++)
            x[k] = (float)(scale * (double)rintf(x[k] * inverse)); /* one rounding: far below the tolerance */
    }
}

/* Every row of x of matrix m by another kernel than FUSED. */
static void check_kernel(struct phy_matmul_backend *device, enum phy_product_kernel kernel, const struct matrix *m,
                         size_t count, struct worst *worst, const char *way)
{
    const size_t cols = m->w.cols, rows = m->w.rows;
    float *w = widen(&m->w), *x = malloc(count * cols * sizeof *x), *y = malloc(count * rows * sizeof *y);
    char where[160];
    memcpy(x, m->x, count * cols * sizeof *x);
    for (size_t n = 0; n < count && kernel == PHY_KERNEL_INT8; n++)
        round_activations(x + n * cols, cols);
    const struct phy_product product = {&m->w, y, NULL, kernel};
    if (device->ops->multiply(device, &product, 1, m->x, count) != PHY_OK)
        fail_msg("%s", logged.error);
    snprintf(where, sizeof where, "%s, %s, kernel %d, %s %zux%zu by %zu", device->name, way, (int)kernel,
             phy_weight_format(m->w.type)->name, rows, cols, count);
    for (size_t i = 0; i < count * rows; i++) {
        double sum = 0, absolute = 0;
        for (size_t k = 0; k < cols; k++) {
            double p = (double)w[i % rows * cols + k] * (double)x[i / rows * cols + k];
            sum += p;
            absolute += fabs(p);
        }
        compare(worst, (double)y[i], sum, 4e-6 * absolute + 1e-37, i, m->seed, where);
    }
    free(w);
    free(x);
    free(y);
}

static void every_kernel_that_is_offered_keeps_to_the_contract(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    static const size_t shapes[][2] = {{1, 1}, {3, 31}, {127, 32}, {33, 576}, {5, 1152}, {9, 2880}};
    static const size_t counts[] = {1, 5, 13};
    struct matrix m[PHY_WEIGHT_TYPE_COUNT * 6];
    size_t matrix_count = 0;
    for (int type = 0; type < PHY_WEIGHT_TYPE_COUNT; type++) {
        for (size_t i = 0; in_few(type) && i < (reduced ? 4 : 6); i++)
            matrix_make(&m[matrix_count++], type, GAUSSIAN, shapes[i][0], shapes[i][1], 13);
    }
    for (size_t w = 0; w != SIZE_MAX; w = next_way_of_few(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, m, matrix_count);
        struct worst worst = {0};
        for (size_t i = 0; i < matrix_count; i++) {
            for (int kernel = PHY_KERNEL_DEQUANT; kernel <= PHY_KERNEL_INT8; kernel++) {
                if (!device->ops->offers(device, kernel, m[i].w.type))
                    continue;
                for (size_t c = 0; c < (reduced ? 2 : 3); c++)
                    check_kernel(device, kernel, &m[i], counts[c], &worst, ways[w].name);
            }
        }
        assert_true(device->ops->offers(device, PHY_KERNEL_INT8, PHY_WEIGHT_Q4_K));
        assert_true(device->ops->offers(device, PHY_KERNEL_DEQUANT, PHY_WEIGHT_FP4));
        assert_false(device->ops->offers(device, PHY_KERNEL_INT8, PHY_WEIGHT_FP8));
        phy_matmul_backend_destroy(&device);
        if (!report_worst(&worst, ways[w].name))
            fail_msg("%s: outside the tolerance", ways[w].name);
    }
    for (size_t i = 0; i < matrix_count; i++)
        matrix_free(&m[i]);
}

/* Both forms of the INT8 kernel give the same integers, so the same bits. */
static void integer_dot_products_change_no_bit(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m[4];
    float plain[13 * 40], dot[13 * 40];
    for (size_t i = 0; i < 4; i++)
        matrix_make(&m[i], PHY_WEIGHT_Q8_0 + (int)i, GAUSSIAN, 40, 700, 13);
    struct phy_matmul_backend *devices[2];
    devices[0] = open_loaded(&(struct phy_vk_matmul_options){.dots = "plain"}, m, 4);
    enum phy_status status =
        phy_vk_matmul_create(&devices[1], vulkan_index, &(struct phy_vk_matmul_options){.dots = "dot"}, &host);
    if (status == PHY_OK) {
        assert_int_equal(load(devices[1], m, 4), PHY_OK);
        for (size_t i = 0; i < 4; i++) {
            const struct phy_product first = {&m[i].w, plain, NULL, PHY_KERNEL_INT8};
            const struct phy_product second = {&m[i].w, dot, NULL, PHY_KERNEL_INT8};
            assert_int_equal(devices[0]->ops->multiply(devices[0], &first, 1, m[i].x, 13), PHY_OK);
            assert_int_equal(devices[1]->ops->multiply(devices[1], &second, 1, m[i].x, 13), PHY_OK);
            assert_memory_equal(plain, dot, sizeof plain);
        }
    } else {
        assert_int_equal(status, PHY_ERR_UNSUPPORTED);
        assert_non_null(strstr(logged.error, "has no integer dot products"));
        printf("skipped: %s\n", logged.error);
    }
    phy_matmul_backend_destroy(&devices[0]);
    phy_matmul_backend_destroy(&devices[1]);
    for (size_t i = 0; i < 4; i++)
        matrix_free(&m[i]);
}

static void the_ffn_runs_by_every_kernel(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m[4];
    enum { WIDE = 300, HIDDEN = 290, COUNT = 5 };
    float gated[COUNT * WIDE], y[COUNT * HIDDEN], again[COUNT * HIDDEN];
    ffn_make(m, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K, WIDE, HIDDEN, COUNT);
    struct phy_matmul_backend *device = open_loaded(NULL, m, 4);
    for (int kernel = PHY_KERNEL_DEQUANT; kernel <= PHY_KERNEL_INT8; kernel++) {
        struct phy_ffn_product p = {.gate = &m[GATE].w,
                                    .up = &m[UP].w,
                                    .down = &m[DOWN].w,
                                    .kernel = kernel,
                                    .x = m[GATE].x,
                                    .count = COUNT,
                                    .gated = gated,
                                    .y = y};
        assert_int_equal(device->ops->ffn(device, &p), PHY_OK);
        p.gate = p.up = NULL;
        p.gate_up = &m[GATE_UP].w;
        p.y = again;
        assert_int_equal(device->ops->ffn(device, &p), PHY_OK);
        assert_memory_equal(y, again, sizeof y);
        /* down's product of what the device says was its input */
        struct matrix down = m[DOWN];
        struct worst worst = {0};
        down.x = gated;
        check_kernel(device, kernel, &down, COUNT, &worst, "ffn");
        const struct phy_product product = {&m[DOWN].w, again, NULL, kernel};
        assert_int_equal(device->ops->multiply(device, &product, 1, gated, COUNT), PHY_OK);
        assert_memory_equal(y, again, sizeof y);
        assert_true(report_worst(&worst, "down"));
    }
    phy_matmul_backend_destroy(&device);
    for (size_t i = 0; i < 4; i++)
        matrix_free(&m[i]);
}

/* ---- walks ---- */

/* Six rows of x by one list have the bits that each has alone. */
static void check_walk_rows(struct phy_matmul_backend *device, const struct phy_walk_product *alone, size_t hidden)
{
    enum { ROWS = 6 };
    float *x = malloc(ROWS * hidden * sizeof *x), *y = malloc(ROWS * hidden * sizeof *y),
          *one = malloc(hidden * sizeof *one);
    size_t skipped = 99;
    for (size_t i = 0; i < ROWS * hidden; i++)
        x[i] = alone->x[i % hidden] * (float)(1 + i / hidden) + (float)(i / hidden);
    struct phy_walk_product product = *alone;
    product.x = x;
    product.y = y;
    product.skipped = &skipped;
    product.rows = ROWS;
    assert_int_equal(device->ops->walk(device, &product), PHY_OK);
    assert_int_equal(skipped, 0);
    product.rows = 1;
    product.y = one;
    for (size_t row = 0; row < ROWS; row++) {
        product.x = x + row * hidden;
        assert_int_equal(device->ops->walk(device, &product), PHY_OK);
        assert_memory_equal(one, y + row * hidden, hidden * sizeof *one);
    }
    free(x);
    free(y);
    free(one);
}

/* m: gate, up, and down by feature. */
static void check_walk(struct phy_matmul_backend *device, struct matrix m[3], enum phy_activation activation,
                       const uint32_t *features, size_t count, struct worst *worst, const char *way)
{
    const size_t hidden = m[0].w.cols;
    float *y = malloc(hidden * sizeof *y), *w[3] = {widen(&m[0].w), widen(&m[1].w), widen(&m[2].w)};
    double *sum = calloc(hidden, sizeof *sum), *allowed = calloc(hidden, sizeof *allowed);
    size_t skipped = 99, tiny = 0; /* tiny: what a device may flush to zero */
    char where[160];
    struct phy_walk_product product = {.gate = &m[0].w,
                                       .up = &m[1].w,
                                       .down = &m[2].w,
                                       .activation = activation,
                                       .features = features,
                                       .feature_count = count,
                                       .x = m[0].x,
                                       .y = y,
                                       .skipped = &skipped,
                                       .rows = 1};
    if (device->ops->walk(device, &product) != PHY_OK)
        fail_msg("%s", logged.error);
    const size_t skipped_first = skipped;
    if (count == m[0].w.rows)
        check_walk_rows(device, &product, hidden);
    /* gate's products that are kept from choosing the features */
    float *dots = malloc(m[0].w.rows * sizeof *dots), *kept = malloc(hidden * sizeof *kept);
    assert_int_equal(multiply(device, &m[0], 1, dots), PHY_OK);
    product.gate_dots = dots;
    product.y = kept;
    assert_int_equal(device->ops->walk(device, &product), PHY_OK);
    for (size_t i = 0; i < count; i++) {
        double dot[2] = {0}, error[2] = {0};
        for (int which = 0; which < 2; which++) {
            for (size_t k = 0; k < hidden; k++) {
                double p = (double)w[which][features[i] * hidden + k] * (double)m[0].x[k];
                dot[which] += p;
                error[which] += 4e-6 * fabs(p);
            }
        }
        double act = exact_activation(activation, dot[0]), value = act * dot[1];
        double act_error = 1.13 * error[0] + 2e-6 * fabs(act) + 1e-7 * fmax(1, fabs(dot[0]));
        tiny += fabs(value) < 1.2e-38;
        double value_error = act_error * fabs(dot[1]) + (fabs(act) + act_error) * error[1] + 1e-7 * fabs(value);
        for (size_t c = 0; c < hidden; c++) {
            double d = (double)w[2][features[i] * hidden + c];
            sum[c] += value * d;
            allowed[c] += value_error * fabs(d) + 4e-6 * fabs(value * d);
        }
    }
    assert_true(skipped_first <= tiny && skipped <= tiny);
    snprintf(where, sizeof where, "%s, %s, walk of %zu, %s %zux%zu", device->name, way, count,
             phy_weight_format(m[0].w.type)->name, m[0].w.rows, hidden);
    for (size_t c = 0; c < hidden; c++) {
        compare(worst, (double)y[c], sum[c], allowed[c], c, m[0].seed, where);
        compare(worst, (double)kept[c], sum[c], allowed[c], c, m[0].seed, where);
    }
    for (int i = 0; i < 3; i++)
        free(w[i]);
    free(dots);
    free(kept);
    free(y);
    free(sum);
    free(allowed);
}

static void a_walk_visits_the_listed_features(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    enum { WIDE = 203, HIDDEN = 293 };
    uint32_t all[WIDE], some[WIDE];
    size_t some_count = 0;
    for (uint32_t i = 0; i < WIDE; i++) {
        all[i] = i;
        if (random_below(3) == 0)
            some[some_count++] = i;
    }
    struct matrix m[3 * PHY_WEIGHT_TYPE_COUNT];
    size_t matrix_count = 0;
    for (int i = 0; i < 3 * PHY_WEIGHT_TYPE_COUNT; i++) {
        if (in_few(i / 3))
            matrix_make(&m[matrix_count++], i / 3, GAUSSIAN, WIDE, HIDDEN, 1);
    }
    for (size_t w = 0; w != SIZE_MAX; w = next_way_of_few(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, m, matrix_count);
        struct worst worst = {0};
        for (size_t i = 0; i < matrix_count; i += 3) {
            assert_true(device->ops->offers(device, PHY_KERNEL_WALK, m[i].w.type));
            check_walk(device, &m[i], PHY_ACT_SILU, all, WIDE, &worst, ways[w].name);
            check_walk(device, &m[i], PHY_ACT_GELU_TANH, some, some_count, &worst, ways[w].name);
            check_walk(device, &m[i], PHY_ACT_SILU, all + WIDE - 1, 1, &worst, ways[w].name);
        }
        float zeros[HIDDEN] = {0}, y[HIDDEN];
        size_t skipped = 0;
        struct phy_walk_product none = {.gate = &m[3].w,
                                        .up = &m[4].w,
                                        .down = &m[5].w,
                                        .activation = PHY_ACT_SILU,
                                        .features = some,
                                        .feature_count = some_count,
                                        .x = zeros,
                                        .y = y,
                                        .skipped = &skipped,
                                        .rows = 1};
        assert_int_equal(device->ops->walk(device, &none), PHY_OK);
        assert_int_equal(skipped, some_count);
        assert_memory_equal(y, zeros, sizeof y);
        none.feature_count = 0;
        y[0] = 1;
        assert_int_equal(device->ops->walk(device, &none), PHY_OK);
        assert_memory_equal(y, zeros, sizeof y);
        phy_matmul_backend_destroy(&device);
        if (!report_worst(&worst, ways[w].name))
            fail_msg("%s: outside the tolerance", ways[w].name);
    }
    for (size_t i = 0; i < matrix_count; i++)
        matrix_free(&m[i]);
}

/* ---- loads, traces, failures ---- */

static void matrices_may_come_in_several_loads(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m[4];
    float first[200], y[200];
    matrix_make(&m[0], PHY_WEIGHT_Q4_K, GAUSSIAN, 100, 1000, 1);
    matrix_make(&m[1], PHY_WEIGHT_BF16, GAUSSIAN, 200, 1000, 1); /* does not fit beside the first */
    matrix_make(&m[2], PHY_WEIGHT_Q6_K, GAUSSIAN, 50, 500, 1);
    matrix_make(&m[3], PHY_WEIGHT_Q4_K, GAUSSIAN, 3, 500, 1);
    for (int copies = 0; copies < 2; copies++) {
        const struct phy_vk_matmul_options options = {.max_weight_bytes = 400000, .copies = copies};
        struct phy_matmul_backend *device = open_loaded(&options, &m[0], 1);
        assert_int_equal(multiply(device, &m[0], 1, first), PHY_OK);
        assert_int_equal(load(device, &m[1], 2), PHY_ERR_MEMORY);
        assert_int_equal(multiply(device, &m[0], 1, y), PHY_OK);
        assert_memory_equal(y, first, 100 * sizeof *y);
        assert_int_equal(load(device, &m[2], 2), PHY_OK);
        struct worst worst = {0};
        check_product(device, "loaded in two", &m[0], 1, &worst);
        check_product(device, "loaded in two", &m[2], 1, &worst);
        check_product(device, "loaded in two", &m[3], 1, &worst);
        assert_true(report_worst(&worst, "loads"));
        phy_matmul_backend_destroy(&device);
    }
    for (size_t i = 0; i < 4; i++)
        matrix_free(&m[i]);
}

struct seen {
    enum phy_product_kernel kernel;
    enum phy_weight_type type;
    char form[32];
};
static struct seen seen[16];
static size_t seen_count;

static void see(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    (void)user;
    if (seen_count < 16) {
        seen[seen_count].kernel = kernel;
        seen[seen_count].type = type;
        snprintf(seen[seen_count].form, sizeof seen->form, "%s", form);
    }
    seen_count++;
}

static void each_kernel_that_runs_is_told(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct matrix m[4];
    ffn_make(m, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K, 40, 61, 1);
    struct phy_matmul_backend *device = open_device(&(struct phy_vk_matmul_options){.tiles = "rows"});
    device->ran = see;
    seen_count = 0;
    assert_int_equal(load(device, m, 4), PHY_OK);
    assert_int_equal(seen_count, 0); /* the self-test is nobody's product */
    check_ffn(device, m, PHY_ACT_SILU, 1);
    assert_int_equal(seen_count, 3 + 3 + 2);
    assert_int_equal(seen[0].kernel, PHY_KERNEL_FUSED);
    assert_int_equal(seen[0].type, PHY_WEIGHT_Q4_K);
    assert_int_equal(seen[2].type, PHY_WEIGHT_Q6_K);
    assert_string_equal(seen[2].form, "rows_8x1");
    phy_matmul_backend_destroy(&device);
    for (size_t i = 0; i < 4; i++)
        matrix_free(&m[i]);
}

/* The matrix that a bitmap is of, as it would be stored whole. */
static void whole_make(struct matrix *out, const struct matrix *bitmap)
{
    const enum phy_weight_type type = phy_weight_bitmap_value(bitmap->w.type);
    const size_t rows = bitmap->w.rows, cols = bitmap->w.cols;
    size_t row_bytes;
    float *values = widen(&bitmap->w);
    matrix_make(out, type, GAUSSIAN, rows, cols, bitmap->max_count);
    assert_true(phy_weight_row_bytes(type, cols, &row_bytes));
    for (size_t r = 0; r < rows; r++)
        assert_true(phy_weight_encode_row(type, values + r * cols, cols, (uint8_t *)out->w.data + r * row_bytes));
    free(values);
}

static void a_bitmap_times_many_rows_has_the_bits_of_the_whole_matrix(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 1000, COUNT = PHY_MATVEC_MAX_COUNT + 5 };
    if (!is_vulkan)
        skip();
    for (int value = PHY_WEIGHT_BF16; value <= PHY_WEIGHT_F32; value++) {
        struct matrix m[2];
        matrix_make(&m[0], phy_weight_bitmap_of((enum phy_weight_type)value), GAUSSIAN, ROWS, COLS, COUNT);
        whole_make(&m[1], &m[0]);
        memcpy(m[1].x, m[0].x, COUNT * COLS * sizeof *m[0].x);
        /* Slices, and pieces of the scratch, of a few rows. */
        struct phy_matmul_backend *device =
            open_loaded(&(struct phy_vk_matmul_options){.max_slice_bytes = 70000}, m, 2);
        float *y = malloc(2 * COUNT * ROWS * sizeof *y);
        device->ran = see;
        for (size_t i = 0; i < 2; i++) {
            seen_count = 0;
            assert_int_equal(multiply(device, &m[i], COUNT, y + i * COUNT * ROWS), PHY_OK);
            assert_int_equal(seen_count, 1);
            assert_int_equal(seen[0].type, m[i].w.type);
            assert_int_equal(strncmp(seen[0].form, "decoded_", 8) == 0, i == 0);
        }
        assert_memory_equal(y, y + COUNT * ROWS, COUNT * ROWS * sizeof *y);
        free(y);
        phy_matmul_backend_destroy(&device);
        matrix_free(&m[0]);
        matrix_free(&m[1]);
    }
}

/* ---- what is kept in files ---- */

static size_t list_files(const char *directory, char names[4][300])
{
    char path[256];
    size_t count = 0;
    snprintf(path, sizeof path, "%s/physarium", directory);
    DIR *open_directory = opendir(path);
    for (struct dirent *entry; open_directory && (entry = readdir(open_directory));) {
        if (entry->d_name[0] != '.' && count < 4)
            snprintf(names[count++], 300, "%.200s/%.90s", path, entry->d_name);
    }
    if (open_directory)
        closedir(open_directory);
    return count;
}

static void run_with_cache(const char *directory, struct matrix *m, float *y)
{
    struct phy_matmul_backend *device =
        open_loaded(&(struct phy_vk_matmul_options){.cache_directory = directory}, m, 1);
    assert_int_equal(multiply(device, m, 1, y), PHY_OK);
    phy_matmul_backend_destroy(&device);
}

static void pipelines_are_kept_and_damage_is_ignored(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    char directory[] = "/tmp/physarium-test-XXXXXX", names[4][300];
    struct matrix m;
    float first[40], y[40];
    assert_non_null(mkdtemp(directory));
    matrix_make(&m, PHY_WEIGHT_Q4_0, GAUSSIAN, 40, 64, 1);
    run_with_cache(directory, &m, first);
    assert_int_equal(list_files(directory, names), 1);
    assert_non_null(strstr(names[0], "/physarium/vulkan-"));
    run_with_cache(directory, &m, y);
    assert_memory_equal(y, first, sizeof y);
    /* Each byte of the head and some of the content; then every kind of short file. */
    FILE *file = fopen(names[0], "r+b");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    static const long places[] = {-1, 9, 40, 60, 64, 0};
    for (size_t i = 0; i < (reduced ? 2 : sizeof places / sizeof *places); i++) {
        long at = places[i] < 0 ? bytes - 1 : places[i];
        fseek(file, at, SEEK_SET);
        int old = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(old ^ 0x55, file);
        fflush(file);
        run_with_cache(directory, &m, y);
        assert_memory_equal(y, first, sizeof y);
        file = freopen(names[0], "r+b", file); /* it may have been written again */
        assert_non_null(file);
    }
    assert_int_equal(truncate(names[0], 11), 0);
    fclose(file);
    run_with_cache(directory, &m, y);
    assert_memory_equal(y, first, sizeof y);
    assert_int_equal(list_files(directory, names), 1);
    unlink(names[0]);
    snprintf(names[1], sizeof names[1], "%s/physarium", directory);
    assert_int_equal(rmdir(names[1]), 0);
    /* A file where the directory should be. */
    file = fopen(names[1], "w");
    fclose(file);
    run_with_cache(directory, &m, y);
    assert_memory_equal(y, first, sizeof y);
    unlink(names[1]);
    rmdir(directory);
    matrix_free(&m);
}

static void check_tiles(const char *tiles)
{
    const struct phy_vk_matmul_options options = {.tiles = tiles};
    static const size_t counts[] = {13, 1, 3, 8, 21, 40};
    if (!is_vulkan || !can_open(&options))
        skip();
    struct matrix m[PHY_WEIGHT_BITMAP_END];
    struct worst worst = {0};
    size_t matrix_count = 0;
    for (int type = 0; type < PHY_WEIGHT_BITMAP_END; type++) {
        if (in_few(type))
            matrix_make(&m[matrix_count++], type, GAUSSIAN, 43, 700, 40);
    }
    struct phy_matmul_backend *device = open_loaded(&options, m, matrix_count);
    for (size_t i = 0; i < matrix_count; i++) {
        for (size_t c = 0; c < (reduced ? 1 : 6); c++)
            check_product(device, tiles, &m[i], counts[c], &worst);
        matrix_free(&m[i]);
    }
    phy_matmul_backend_destroy(&device);
    assert_true(report_worst(&worst, tiles));
}

static void subgroups_add_what_lanes_add(void **state)
{
    (void)state;
    check_tiles("subgroup");
}

static void cooperative_matrices_add_what_lanes_add(void **state)
{
    (void)state;
    check_tiles("matrix");
}

/* To the nearest bf16, ties to even. */
static float nearest_bf16(float value)
{
    const uint32_t bits = phy_bits_of_float(value);
    return phy_float_of_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u);
}

static void activations_rounded_to_bf16_keep_to_the_contract(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 500, COUNT = 21 };
    static const size_t counts[] = {1, 3, 8, COUNT};
    struct matrix m;
    struct worst worst = {0};
    float y[COUNT * ROWS];
    matrix_make(&m, PHY_WEIGHT_BF16, GAUSSIAN, ROWS, COLS, COUNT);
    float *weights = widen(&m.w);
    for (size_t w = 0; w != SIZE_MAX; w = next_way(w)) {
        struct phy_matmul_backend *device = open_loaded(&ways[w].options, &m, 1);
        assert_true(device->ops->offers(device, PHY_KERNEL_BF16, PHY_WEIGHT_BF16));
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            assert_int_equal(multiply_by(device, PHY_KERNEL_BF16, &m, counts[c], y), PHY_OK);
            for (size_t i = 0; i < counts[c] * ROWS; i++) {
                double sum = 0, absolute = 0;
                for (size_t k = 0; k < COLS; k++) {
                    const double product =
                        (double)weights[i % ROWS * COLS + k] * (double)nearest_bf16(m.x[i / ROWS * COLS + k]);
                    sum += product;
                    absolute += fabs(product);
                }
                compare(&worst, (double)y[i], sum, 4e-6 * absolute, i, m.seed, ways[w].name);
            }
        }
        phy_matmul_backend_destroy(&device);
    }
    free(weights);
    matrix_free(&m);
    assert_true(report_worst(&worst, "bf16 activations"));
}

static void no_choice_of_tiles_changes_a_bit(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    static const size_t counts[] = {1, 3, 8, 13};
    static const char *const names[] = {"rows", "lanes", "matrix"};
    struct matrix m[2];
    float fixed[4][13 * 70], y[13 * 70];
    matrix_make(&m[0], PHY_WEIGHT_BF16, GAUSSIAN, 70, 500, 13);
    matrix_make(&m[1], PHY_WEIGHT_Q4_K, GAUSSIAN, 70, 500, 13);
    for (size_t i = 0; i < (reduced ? 1 : 2); i++) {
        for (size_t tiles = 0; tiles < (reduced ? 1 : 3); tiles++) {
            if (tiles == 2 && !can_open(&(struct phy_vk_matmul_options){.tiles = names[tiles]}))
                continue;
            for (uint32_t choice = 0; choice < 4; choice++) {
                const struct phy_vk_matmul_options options = {.tiles = names[tiles], .choice = choice};
                struct matrix *matrix = &m[reduced ? 1 : i];
                struct phy_matmul_backend *device = open_loaded(&options, matrix, 1);
                for (size_t c = 0; c < 4; c++) {
                    assert_int_equal(multiply(device, matrix, counts[c], choice ? y : fixed[c]), PHY_OK);
                    if (choice)
                        assert_memory_equal(y, fixed[c], counts[c] * 70 * sizeof *y);
                }
                phy_matmul_backend_destroy(&device);
            }
        }
    }
    matrix_free(&m[0]);
    matrix_free(&m[1]);
}

static void tuning_is_kept_in_a_file_and_changes_no_bit(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    char directory[] = "/tmp/physarium-test-XXXXXX", names[4][300];
    struct matrix m;
    float fixed[1024], y[1024];
    assert_non_null(mkdtemp(directory));
    matrix_make(&m, PHY_WEIGHT_Q4_K, GAUSSIAN, 1024, 1024, 1);
    struct phy_matmul_backend *device = open_loaded(&(struct phy_vk_matmul_options){.cache_directory = ""}, &m, 1);
    assert_int_equal(multiply(device, &m, 1, fixed), PHY_OK);
    phy_matmul_backend_destroy(&device);
    for (int run = 0; run < 2; run++) {
        device = open_loaded(&(struct phy_vk_matmul_options){.cache_directory = directory, .tune = true}, &m, 1);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(multiply(device, &m, 1, y), PHY_OK);
            assert_memory_equal(y, fixed, sizeof y);
        }
        phy_matmul_backend_destroy(&device);
        size_t files = list_files(directory, names), tiles = 0;
        for (size_t i = 0; i < files; i++)
            tiles += strstr(names[i], ".tiles") != NULL;
        assert_int_equal(tiles, 1);
    }
    for (size_t i = list_files(directory, names); i > 0; i--)
        unlink(names[i - 1]);
    snprintf(names[0], sizeof names[0], "%s/physarium", directory);
    assert_int_equal(rmdir(names[0]), 0);
    assert_int_equal(rmdir(directory), 0);
    matrix_free(&m);
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

static void observe_form(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    (void)kernel;
    (void)type;
    snprintf(user, 32, "%s", form);
}

static void cooperative_matrices_that_multiply_wrongly_are_done_without(void **state)
{
    (void)state;
    if (!is_vulkan || !can_open(&(struct phy_vk_matmul_options){.tiles = "matrix"}))
        skip();
    struct matrix m;
    struct worst worst = {0};
    char form[32] = "";
    matrix_make(&m, PHY_WEIGHT_F16, GAUSSIAN, 43, 100, 13);
    for (uint32_t spoil = 0; spoil < 3; spoil++) {
        const struct phy_vk_matmul_options options = {.tiles = "matrix", .spoil_matrices = spoil};
        const unsigned errors = logged.errors;
        logged.warnings = 0;
        struct phy_matmul_backend *device = open_loaded(&options, &m, 1);
        assert_int_equal(logged.warnings, spoil ? 2 : 0);
        assert_int_equal(logged.errors, errors);
        device->ran = observe_form;
        device->ran_user = form;
        check_product(device, "matrix", &m, 13, &worst);
        assert_memory_equal(form, spoil ? "lanes" : "matrix", spoil ? 5 : 6);
        phy_matmul_backend_destroy(&device);
    }
    matrix_free(&m);
    assert_true(report_worst(&worst, "spoilt matrices"));
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
        const struct phy_vk_matmul_options options = {
            .max_slice_bytes = 400, .max_chunk_bytes = 512, .cache_directory = ""};
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
        cmocka_unit_test(sums_of_many_random_terms_are_as_close_as_of_few),
        cmocka_unit_test(a_group_of_products_adds_its_biases),
        cmocka_unit_test(gated_values_are_rounded_once),
        cmocka_unit_test(the_ffn_stays_on_the_device_and_is_right),
        cmocka_unit_test(every_kernel_that_is_offered_keeps_to_the_contract),
        cmocka_unit_test(integer_dot_products_change_no_bit),
        cmocka_unit_test(the_ffn_runs_by_every_kernel),
        cmocka_unit_test(a_walk_visits_the_listed_features),
        cmocka_unit_test(matrices_may_come_in_several_loads),
        cmocka_unit_test(each_kernel_that_runs_is_told),
        cmocka_unit_test(a_bitmap_times_many_rows_has_the_bits_of_the_whole_matrix),
        cmocka_unit_test(pipelines_are_kept_and_damage_is_ignored),
        cmocka_unit_test(subgroups_add_what_lanes_add),
        cmocka_unit_test(cooperative_matrices_add_what_lanes_add),
        cmocka_unit_test(activations_rounded_to_bf16_keep_to_the_contract),
        cmocka_unit_test(no_choice_of_tiles_changes_a_bit),
        cmocka_unit_test(tuning_is_kept_in_a_file_and_changes_no_bit),
        cmocka_unit_test(a_device_that_multiplies_wrongly_is_refused),
        cmocka_unit_test(cooperative_matrices_that_multiply_wrongly_are_done_without),
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
