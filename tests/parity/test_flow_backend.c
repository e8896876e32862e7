/* SPDX-License-Identifier: Apache-2.0 */
/* One suite for every backend of the flow: goldens, and parity with the reference form on the CPU, byte by byte.
 * Argument: "cpu", "vulkan" (each device of the loader's drivers) or "hardware" (those that are not CPUs). Exit code 77
 * with a printed line when there is nothing to test. */
#include "support/test.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cpu/cpu_backend.h"
#include "device/device_set.h"
#include "ffn/sha256.h"
#include "physarium/device.h"
#include "vk/vk_backend.h"

#if defined(__SANITIZE_ADDRESS__)
/* Drivers stay loaded, so that the leak checker can tell what they leak (tests/support/lsan.supp) from what we do. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

static struct phy_backend *device, *reference;
static bool is_vulkan;
static uint32_t vulkan_index;
static struct log_record logged;
static struct phy_host host;

/* ---- regions ---- */

/* A region in its own memory, with a guard behind it. */
struct matrix {
    struct phy_flow_region region;
    struct phy_flow_params params;
    size_t bytes, tile_count;
    float *scale;
};

enum { GUARD_BYTES = 64, GUARD = 0xA5 };

static uint32_t hash_of(uint32_t seed, uint32_t i)
{
    uint32_t x = seed * 0x9E3779B9u + i;
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Like weights: a sum of uniform numbers; every 16th anything at all below 2^64: zeros of both signs, subnormals ... */
static uint32_t weight_bits(uint32_t seed, uint32_t i)
{
    uint32_t h = hash_of(seed, i), sign = h & 0x80000000u, bits;
    if (h % 16 == 0) {
        bits = hash_of(seed + 1, i);
        return bits % 8 == 0 ? sign : sign | (bits & 0x7FFFFFFFu) % 0x5F800000u;
    }
    float x = (float)(h >> 4 & 0xFFF) + (float)(h >> 16 & 0xFFF) - 4095.0f;
    x *= 0x1p-16f;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static uint16_t half_code(uint32_t seed, uint32_t i)
{
    uint32_t h = hash_of(seed, i);
    return (uint16_t)((h & 0x8000) | (h % 8 ? 0x2C00 + (h >> 16 & 0xFFF) : (h >> 16) % 0x7C00)); /* finite */
}

static void fill(struct matrix *m, uint32_t seed)
{
    const struct phy_flow_region *r = &m->region;
    for (uint32_t i = 0; i < r->rows * r->cols; i++) {
        if (r->type == PHY_FLOAT_F32)
            ((uint32_t *)r->codes)[i] = weight_bits(seed, i);
        else
            ((uint16_t *)r->codes)[i] =
                r->type == PHY_FLOAT_F16 ? half_code(seed, i) : (uint16_t)(weight_bits(seed, i) >> 16);
    }
    for (uint32_t c = 0; m->scale && c < r->cols; c++) {
        uint32_t h = hash_of(seed + 2, c);
        m->scale[c] = c % 7 == 0 ? float_of(h % 0x40000000u) : float_of(0x3F000000u + h % 0x01000000u);
    }
}

static struct matrix make_matrix(uint64_t rows, uint64_t cols, enum phy_float_type type, bool scaled,
                                 struct phy_flow_params params)
{
    struct matrix m = {.params = params};
    m.bytes = rows * cols * phy_float_bytes(type);
    m.tile_count = phy_flow_region_tile_count(rows, cols, params.block);
    m.scale = scaled ? phy_alloc(cols, sizeof(float)) : NULL;
    m.region = (struct phy_flow_region){.codes = phy_alloc(m.bytes + GUARD_BYTES, 1),
                                        .type = type,
                                        .rows = rows,
                                        .cols = cols,
                                        .column_scale = m.scale,
                                        .apply = true,
                                        .tiles = phy_zalloc(m.tile_count, sizeof(struct phy_flow_tile_result))};
    assert_true(m.region.codes && m.region.tiles && (!scaled || m.scale));
    memset((char *)m.region.codes + m.bytes, GUARD, GUARD_BYTES);
    return m;
}

static struct matrix copy_of(const struct matrix *from)
{
    const struct phy_flow_region *r = &from->region;
    struct matrix m = make_matrix(r->rows, r->cols, r->type, from->scale != NULL, from->params);
    memcpy(m.region.codes, r->codes, from->bytes);
    if (m.scale)
        memcpy(m.scale, from->scale, r->cols * sizeof(float));
    m.region.apply = r->apply;
    return m;
}

static void free_matrix(struct matrix *m)
{
    for (size_t i = 0; i < GUARD_BYTES; i++)
        assert_int_equal(((unsigned char *)m->region.codes)[m->bytes + i], GUARD);
    phy_free(m->region.codes);
    phy_free(m->region.tiles);
    phy_free(m->scale);
}

static enum phy_status run(struct phy_backend *on, uint32_t slot, struct matrix *m)
{
    return phy_backend_flow(on, slot, &m->params, &m->region);
}

static bool refused(const struct phy_flow_tile_result *t)
{
    return t->peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS;
}

/* Counts of every tile and every byte. Returns NULL, or what differs. */
static const char *difference(const struct matrix *got, const struct matrix *expected, char text[256])
{
    size_t code_bytes = phy_float_bytes(got->region.type);
    for (size_t i = 0; i < got->tile_count; i++) {
        const struct phy_flow_tile_result *a = &got->region.tiles[i], *b = &expected->region.tiles[i];
        if (refused(a) && refused(b))
            continue;
        if (a->killed != b->killed || a->zero_before != b->zero_before || a->peak_bits != b->peak_bits) {
            snprintf(text, 256, "tile %zu: killed %u zero %u peak %08x, expected %u %u %08x", i, a->killed,
                     a->zero_before, a->peak_bits, b->killed, b->zero_before, b->peak_bits);
            return text;
        }
    }
    const char *a = got->region.codes, *b = expected->region.codes;
    for (size_t i = 0; i < got->bytes; i++) {
        if (a[i] != b[i]) {
            size_t at = i / code_bytes;
            snprintf(text, 256, "row %zu column %zu: %s, expected otherwise", (size_t)(at / got->region.cols),
                     (size_t)(at % got->region.cols), a[i] ? "kept" : "killed");
            return text;
        }
    }
    return NULL;
}

static void expect_parity_on(struct phy_backend *on, uint64_t rows, uint64_t cols, enum phy_float_type type,
                             bool scaled, struct phy_flow_params params, uint32_t seed)
{
    char text[256];
    struct matrix got = make_matrix(rows, cols, type, scaled, params);
    fill(&got, seed);
    struct matrix expected = copy_of(&got);
    assert_int_equal(run(reference, 0, &expected), PHY_OK);
    assert_int_equal(run(on, 0, &got), PHY_OK);
    if (difference(&got, &expected, text))
        fail_msg("%s: %ux%u type %d block %u beta %u iterations %u gain %g scaled %d seed %u: %s", on->name,
                 (unsigned)rows, (unsigned)cols, type, params.block, params.beta, params.iterations, params.gain,
                 scaled, seed, text);
    free_matrix(&got);
    free_matrix(&expected);
}

static const struct phy_flow_params usual = {.gain = 5.0f, .beta = 2, .iterations = 6, .block = 256};

/* ---- parity ---- */

static void odd_shapes_and_every_parameter_agree_with_the_reference(void **state)
{
    (void)state;
    /* Four blocks, three types, four betas, with and without scales; combinations that share a pipeline are cheap. */
    static const struct {
        uint64_t rows, cols;
        enum phy_float_type type;
        bool scaled;
        struct phy_flow_params params;
    } cases[] = {
        {1, 1, PHY_FLOAT_BF16, false, {5.0f, 2, 30, 256}},       {1, 513, PHY_FLOAT_BF16, false, {5.0f, 2, 30, 256}},
        {513, 1, PHY_FLOAT_BF16, false, {1.0f, 2, 9, 256}},      {3, 7, PHY_FLOAT_BF16, false, {64.0f, 2, 3, 256}},
        {255, 257, PHY_FLOAT_BF16, false, {0.0625f, 2, 5, 256}}, {40, 300, PHY_FLOAT_BF16, false, {1.75f, 3, 17, 256}},
        {129, 33, PHY_FLOAT_F16, true, {2.5f, 1, 30, 64}},       {31, 31, PHY_FLOAT_F16, true, {2.5f, 1, 4, 64}},
        {130, 129, PHY_FLOAT_F32, true, {11.0f, 4, 5, 128}},     {64, 127, PHY_FLOAT_F32, true, {5.0f, 4, 1, 128}},
        {70, 97, PHY_FLOAT_F16, false, {5.0f, 2, 30, 32}},       {32, 1, PHY_FLOAT_F16, false, {5.0f, 2, 1000, 32}},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_parity_on(device, cases[i].rows, cases[i].cols, cases[i].type, cases[i].scaled, cases[i].params, i);
}

/* Products of weight and scale around 2^-126, where a device that flushes subnormals would differ. */
static void tiny_foods_are_rounded_as_the_reference_rounds_them(void **state)
{
    (void)state;
    char text[256];
    struct matrix got = make_matrix(128, 128, PHY_FLOAT_F32, true, (struct phy_flow_params){5.0f, 4, 5, 128});
    for (uint32_t i = 0; i < 128 * 128; i++) {
        uint32_t h = hash_of(9, i), exponent = 1 + h % 40;
        ((uint32_t *)got.region.codes)[i] = exponent << 23 | (h >> 8 & 1 ? 0x7FFFFF - (h >> 9 & 3) : h >> 9 & 0x7FFFFF);
    }
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t h = hash_of(10, c);
        got.scale[c] = float_of(c % 4 == 0 ? h & 0x7FFFFF : (127 - c % 40) << 23 | (c & 1 ? 0x7FFFFF : h & 0x7FFFFF));
    }
    struct matrix expected = copy_of(&got);
    assert_int_equal(run(reference, 0, &expected), PHY_OK);
    assert_int_equal(run(device, 0, &got), PHY_OK);
    if (difference(&got, &expected, text))
        fail_msg("%s", text);
    free_matrix(&got);
    free_matrix(&expected);
}

static void counting_leaves_the_codes_alone(void **state)
{
    (void)state;
    char text[256];
    struct matrix got = make_matrix(300, 300, PHY_FLOAT_BF16, false, usual);
    fill(&got, 21);
    got.region.apply = false;
    struct matrix expected = copy_of(&got);
    assert_int_equal(run(reference, 0, &expected), PHY_OK);
    assert_int_equal(run(device, 0, &got), PHY_OK);
    assert_null(difference(&got, &expected, text));
    assert_true(got.region.tiles[0].killed > 0);
    free_matrix(&got);
    free_matrix(&expected);
}

static void a_refused_tile_stays_as_it_is_and_the_others_are_done(void **state)
{
    (void)state;
    static const uint16_t codes[] = {0x7F80, 0xFF80, 0x7FC1, 0xFFFF, 0x5F80}; /* infinities, NaNs, 2^64 */
    char text[256];
    struct matrix got = make_matrix(300, 520, PHY_FLOAT_BF16, false, usual);
    for (uint32_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        fill(&got, 30 + i);
        ((uint16_t *)got.region.codes)[17 * 520 + 256 + 255] = codes[i];
        struct matrix before = copy_of(&got), expected = copy_of(&got);
        assert_int_equal(run(reference, 0, &expected), PHY_OK);
        assert_int_equal(run(device, 0, &got), PHY_OK);
        assert_true(refused(&got.region.tiles[1]));
        assert_int_equal(got.region.tiles[1].killed + got.region.tiles[1].zero_before, 0);
        assert_false(refused(&got.region.tiles[0]));
        assert_true(got.region.tiles[0].killed > 0);
        if (difference(&got, &expected, text))
            fail_msg("code %04x: %s", codes[i], text);
        for (uint32_t r = 0; r < 256; r++)
            assert_memory_equal((uint16_t *)got.region.codes + r * 520 + 256,
                                (uint16_t *)before.region.codes + r * 520 + 256, 512);
        free_matrix(&before);
        free_matrix(&expected);
    }
    free_matrix(&got);
}

static void refuses_arguments_that_break_the_contract(void **state)
{
    (void)state;
    struct matrix m = make_matrix(8, 8, PHY_FLOAT_BF16, false, usual);
    fill(&m, 1);
    assert_int_equal(run(device, device->slot_count, &m), PHY_ERR_USAGE);
    m.params.beta = 5;
    assert_int_equal(run(device, 0, &m), PHY_ERR_USAGE);
    m.params = usual;
    m.params.block = 48;
    assert_int_equal(run(device, 0, &m), PHY_ERR_USAGE);
    m.params.block = 256;
    free_matrix(&m);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    uint32_t slot;
    bool agrees;
};

static void *run_in_slot(void *user)
{
    struct worker *w = user;
    char text[256];
    w->agrees = true;
    for (uint32_t i = 0; i < 3; i++) {
        struct matrix got = make_matrix(100 + 100 * i, 130 + 40 * w->slot, PHY_FLOAT_F16, true,
                                        (struct phy_flow_params){2.5f, 1, 5, 64});
        fill(&got, 50 + w->slot * 3 + i);
        struct matrix expected = copy_of(&got);
        w->agrees = w->agrees && run(device, w->slot, &got) == PHY_OK && run(reference, w->slot, &expected) == PHY_OK &&
                    !difference(&got, &expected, text);
        free_matrix(&got);
        free_matrix(&expected);
    }
    return NULL;
}

static void slots_work_at_the_same_time(void **state)
{
    (void)state;
    struct worker workers[8];
    uint32_t count = device->slot_count < 8 ? device->slot_count : 8;
    assert_true(count >= 1);
    for (uint32_t i = 0; i < count; i++) {
        workers[i] = (struct worker){.slot = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_in_slot, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < count; i++)
        assert_true(workers[i].agrees);
}

/* ---- goldens ---- */

static void *read_whole(const char *name, size_t expected_bytes)
{
    char path[1024];
    snprintf(path, sizeof path, PHY_TEST_DATA "/golden/flow/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot open", path);
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    assert_true(!expected_bytes || bytes == expected_bytes);
    char *data = phy_zalloc(bytes + 1, 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, bytes, file), bytes);
    fclose(file);
    return data;
}

static double number_of(const cJSON *golden, const char *key)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(golden, key));
}

static void check_golden(const cJSON *golden)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(golden, "name"));
    const char *file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(golden, "file"));
    const char *scale = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(golden, "column_scale"));
    const char *digest = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(golden, "sha256_output"));
    const struct phy_flow_params params = {(float)number_of(golden, "gain"), (uint32_t)number_of(golden, "beta"),
                                           (uint32_t)number_of(golden, "iterations"),
                                           (uint32_t)number_of(golden, "block")};
    struct matrix m = make_matrix((uint64_t)number_of(golden, "rows"), (uint64_t)number_of(golden, "cols"),
                                  PHY_FLOAT_BF16, scale != NULL, params);
    void *codes = read_whole(file, m.bytes);
    memcpy(m.region.codes, codes, m.bytes);
    phy_free(codes);
    if (scale) {
        void *values = read_whole(scale, m.region.cols * sizeof(float));
        memcpy(m.scale, values, m.region.cols * sizeof(float));
        phy_free(values);
    }
    assert_int_equal(run(device, 0, &m), PHY_OK);
    uint64_t killed = 0, zero_before = 0;
    for (size_t i = 0; i < m.tile_count; i++) {
        killed += m.region.tiles[i].killed;
        zero_before += m.region.tiles[i].zero_before;
    }
    char hex[PHY_SHA256_TEXT_BYTES];
    phy_sha256_text(m.region.codes, m.bytes, hex);
    if (killed != (uint64_t)number_of(golden, "killed") || strcmp(hex, digest) != 0)
        fail_msg("%s on %s: killed %u, output %s, expected %s", name, device->name, (unsigned)killed, hex, digest);
    assert_int_equal(zero_before, number_of(golden, "zero_before"));
    free_matrix(&m);
}

static void every_golden_gives_its_bytes(void **state)
{
    (void)state;
    char *text = read_whole("manifest.json", 0);
    cJSON *manifest = cJSON_Parse(text);
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(manifest, "cases"), *golden;
    assert_true(cJSON_GetArraySize(cases) > 20);
    cJSON_ArrayForEach(golden, cases) check_golden(golden);
    cJSON_Delete(manifest);
    phy_free(text);
}

/* ---- Vulkan only ---- */

static struct phy_backend *open_with(struct phy_vk_options options)
{
    struct phy_backend *backend;
    assert_int_equal(phy_vk_backend_create(&backend, vulkan_index, &options, NULL, &host), PHY_OK);
    return backend;
}

static void pieces_and_staging_change_nothing(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    /* Pieces of parts of a row of tiles, and of several rows: 64-wide tiles, 11 across, 7 down. */
    const struct phy_flow_params params = {2.5f, 1, 5, 64};
    static const uint64_t most[] = {3 * 64 * 64, 25 * 64 * 64, 1};
    for (uint32_t i = 0; i < 3; i++) {
        struct phy_backend *backend =
            open_with((struct phy_vk_options){.staging = i < 2, .max_piece_weights = most[i]});
        expect_parity_on(backend, 401, 699, PHY_FLOAT_F16, true, params, 70 + i);
        phy_backend_destroy(&backend);
    }
}

static void shapes_named_by_the_caller_agree(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    unsigned ran = 0;
    for (size_t i = 0; phy_vk_shape_names[i]; i++) {
        /* llvmpipe takes half a minute and more to compile the large ones, which it never needs. */
        if (strncmp(phy_vk_shape_names[i], "16x", 3) == 0 && strstr(device->description, "llvmpipe"))
            continue;
        struct phy_backend *backend;
        const struct phy_vk_options options = {.shape = phy_vk_shape_names[i]};
        enum phy_status status = phy_vk_backend_create(&backend, vulkan_index, &options, NULL, &host);
        if (status == PHY_ERR_USAGE) {
            print_message("shape %s: SKIPPED, too many invocations for %s\n", phy_vk_shape_names[i], device->name);
            continue;
        }
        assert_int_equal(status, PHY_OK); /* its self-test ran four tiles */
        expect_parity_on(backend, 270, 255, PHY_FLOAT_BF16, false, usual, 90);
        phy_backend_destroy(&backend);
        ran++;
    }
    assert_true(ran >= 1);
}

static void a_lost_device_leaves_the_codes_and_the_process_alone(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct phy_backend *backend = open_with((struct phy_vk_options){.max_piece_weights = 64 * 64});
    struct matrix m = make_matrix(200, 200, PHY_FLOAT_F16, true, (struct phy_flow_params){2.5f, 1, 5, 64});
    fill(&m, 80);
    struct matrix before = copy_of(&m);
    unsigned warnings = logged.warnings;
    phy_vk_lose_device_after(5); /* in the middle of 16 pieces */
    enum phy_status status = run(backend, 0, &m);
    phy_vk_lose_device_after(UINT64_MAX);
    assert_int_equal(status, PHY_ERR_DEVICE);
    assert_int_equal(logged.warnings, warnings + 1);
    assert_non_null(strstr(logged.warning, "was lost"));
    assert_memory_equal(m.region.codes, before.region.codes, m.bytes);
    assert_int_equal(run(backend, 1, &m), PHY_ERR_DEVICE); /* it stays lost, quietly */
    assert_int_equal(logged.warnings, warnings + 1);
    phy_backend_destroy(&backend);
    expect_parity_on(device, 65, 70, PHY_FLOAT_F16, true, m.params, 81); /* another one works */
    free_matrix(&m);
    free_matrix(&before);
}

static void running_out_of_memory_leaves_the_codes_alone(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct phy_backend *backend = open_with((struct phy_vk_options){.max_piece_weights = 64 * 64});
    struct matrix m = make_matrix(200, 200, PHY_FLOAT_F16, true, (struct phy_flow_params){2.5f, 1, 5, 64});
    fill(&m, 82);
    struct matrix before = copy_of(&m);
    phy_alloc_fail_after(0);
    enum phy_status status = run(backend, 0, &m);
    phy_alloc_fail_after(UINT64_MAX);
    assert_int_equal(status, PHY_ERR_MEMORY);
    assert_memory_equal(m.region.codes, before.region.codes, m.bytes);
    struct matrix expected = copy_of(&m);
    char text[256];
    assert_int_equal(run(backend, 0, &m), PHY_OK);
    assert_int_equal(run(reference, 0, &expected), PHY_OK);
    assert_null(difference(&m, &expected, text));
    phy_backend_destroy(&backend);
    free_matrix(&m);
    free_matrix(&before);
    free_matrix(&expected);
}

static void a_device_that_is_not_bit_exact_is_refused_by_the_operation(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct phy_backend *backend;
    char failed[PHY_VK_FAILED_BYTES];
    phy_vk_spoil_outcome(7 * 100 + 3);
    enum phy_status status = phy_vk_backend_create(&backend, vulkan_index, NULL, failed, &host);
    assert_int_equal(status, PHY_ERR_DEVICE);
    assert_null(backend);
    assert_string_equal(failed, "a*b+c");
    assert_non_null(strstr(logged.error, "not bit-exact and is refused: its self-test differs in a*b+c"));
    struct phy_device_list list;
    assert_int_equal(phy_devices_list(&list, &host), PHY_OK);
    phy_vk_spoil_outcome(UINT32_MAX);
    const struct phy_device_info *info = &list.devices[list.count - 1];
    assert_int_equal(info->kind, PHY_DEVICE_VULKAN);
    assert_true(info->available && info->self_tested && !info->bit_exact);
    assert_string_equal(info->failed_operation, "a*b+c");
    assert_string_equal(list.vulkan_note, "");
    phy_device_list_free(&list);
}

static void device_sets_open_what_their_text_names(void **state)
{
    (void)state;
    if (!is_vulkan)
        skip();
    struct phy_device_set set;
    char by_name[300], spec[64];
    snprintf(by_name, sizeof by_name, "vulkan:%.8s", device->description);
    for (char *c = by_name + 7; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? *c + 32 : *c;
    snprintf(spec, sizeof spec, "vulkan:%u", vulkan_index);
    const char *const good[] = {spec, by_name};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(phy_device_set_open(&set, good[i], 0, &host), PHY_OK);
        assert_int_equal(set.count, 1);
        assert_string_equal(set.backends[0]->name, device->name);
        phy_device_set_close(&set);
    }
    assert_int_equal(phy_device_set_open(&set, "all", 1, &host), PHY_OK);
    assert_true(set.count >= 2 && strncmp(set.backends[0]->name, "cpu:", 4) == 0);
    phy_device_set_close(&set);
    static const char *const absent[] = {"vulkan:99", "vulkan:no such device", "vulkan:", "vulkan:-1"};
    for (size_t i = 0; i < 4; i++) {
        unsigned errors = logged.errors;
        assert_int_equal(phy_device_set_open(&set, absent[i], 0, &host), PHY_ERR_DEVICE);
        assert_int_equal(logged.errors, errors + 1);
        assert_true(set.count == 0 && !set.backends);
    }
    assert_int_equal(phy_device_set_open(&set, "vulkano", 0, &host), PHY_ERR_USAGE);
}

static void the_validation_layer_was_silent(void **state)
{
    (void)state;
    if (!is_vulkan || !phy_vk_validation_asked())
        skip();
    if (phy_vk_validation_messages())
        fail_msg("%u messages; the last error: %s", phy_vk_validation_messages(), logged.error);
}

/* ---- one process, every device that its argument means ---- */

static int run_suite(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_gives_its_bytes),
        cmocka_unit_test(odd_shapes_and_every_parameter_agree_with_the_reference),
        cmocka_unit_test(tiny_foods_are_rounded_as_the_reference_rounds_them),
        cmocka_unit_test(counting_leaves_the_codes_alone),
        cmocka_unit_test(a_refused_tile_stays_as_it_is_and_the_others_are_done),
        cmocka_unit_test(refuses_arguments_that_break_the_contract),
        cmocka_unit_test(slots_work_at_the_same_time),
        cmocka_unit_test(pieces_and_staging_change_nothing),
        cmocka_unit_test(shapes_named_by_the_caller_agree),
        cmocka_unit_test(a_lost_device_leaves_the_codes_and_the_process_alone),
        cmocka_unit_test(running_out_of_memory_leaves_the_codes_alone),
        cmocka_unit_test(a_device_that_is_not_bit_exact_is_refused_by_the_operation),
        cmocka_unit_test(device_sets_open_what_their_text_names),
        cmocka_unit_test(the_validation_layer_was_silent),
    };
    return cmocka_run_group_tests_name(device->name, tests, NULL, NULL);
}

static int skip_all(const char *why)
{
    printf("SKIPPED: %s\n", why);
    return 77;
}

static int run_vulkan(bool hardware)
{
    if (phy_vk_validation_asked() && !phy_vk_validation_available())
        return skip_all("the Vulkan validation layer is not installed");
    struct phy_device_info *devices;
    size_t count, ran = 0;
    char note[PHY_VK_NOTE_BYTES];
    int failures = 0;
    if (phy_vk_list(&devices, &count, note, &host))
        return 1;
    for (size_t i = 0; i < count; i++) {
        if (hardware && strcmp(devices[i].type, "cpu") == 0)
            continue;
        vulkan_index = (uint32_t)i;
        is_vulkan = true;
        if (phy_vk_backend_create(&device, vulkan_index, NULL, NULL, &host)) {
            printf("%s: %s\n", devices[i].name, logged.error);
            failures++;
            continue;
        }
        printf("%s: %s, %s\n", devices[i].name, devices[i].device_name, devices[i].driver);
        failures += run_suite();
        phy_backend_destroy(&device);
        ran++;
    }
    phy_free(devices);
    return failures ? 1 : ran ? 0 : skip_all(count ? "no Vulkan device that is not a CPU" : note);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "vulkan";
    host = recording_host(&logged);
    if (phy_cpu_backend_create(&reference, "ref", 8, &host))
        return 1;
    int result;
    if (strcmp(what, "cpu") == 0) {
        result = phy_cpu_backend_create(&device, NULL, 4, &host) ? 1 : run_suite();
        phy_backend_destroy(&device);
    } else {
        result = run_vulkan(strcmp(what, "hardware") == 0);
    }
    phy_backend_destroy(&reference);
    return result;
}
