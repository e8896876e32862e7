/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels of AMX are tested with is itself right: small products by hand, the order of additions and the
 * subnormals of bf16, and what the processor refuses. Where the processor has AMX these are tests of it. */
#include "support/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/amx_tiles.h"
#include "support/amx_emulator.h"

static void needs_amx(void)
{
    const struct phy_cpu_features have = phy_cpu_detect();
    if (!have.amx_int8 || !have.amx_bf16)
        skip();
}

/* Tile 0 (m, n) += 1 (m, k) 2 (k, n), of dwords; 3 is like 0. */
static struct tile_shapes shapes_of(unsigned m, unsigned k, unsigned n)
{
    const uint16_t k_bytes = (uint16_t)(4 * k), n_bytes = (uint16_t)(4 * n);
    return (struct tile_shapes){.palette = 1,
                                .row_bytes = {n_bytes, k_bytes, n_bytes, n_bytes},
                                .rows = {(uint8_t)m, (uint8_t)m, (uint8_t)k, (uint8_t)m}};
}

static void configure(unsigned m, unsigned k, unsigned n)
{
    const struct tile_shapes shapes = shapes_of(m, k, n);
    configure_tiles(&shapes);
}

/* ---- bytes ---- */

static void bytes_are_signed_as_the_instruction_says(void **state)
{
    static const uint8_t a[4] = {0xFF, 1, 2, 3}, b[4] = {0x80, 4, 5, 6};
    const int32_t before = 1000;
    int32_t sums[4];
    (void)state;
    needs_amx();
    configure(1, 1, 1);
    tiles_see_memory();
    _tile_loadd(1, a, 4);
    _tile_loadd(2, b, 4);
    _tile_loadd(0, &before, 4);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, &sums[0], 4);
    _tile_loadd(0, &before, 4);
    _tile_dpbsud(0, 1, 2);
    _tile_stored(0, &sums[1], 4);
    _tile_loadd(0, &before, 4);
    _tile_dpbusd(0, 1, 2);
    _tile_stored(0, &sums[2], 4);
    _tile_zero(0);
    _tile_dpbuud(0, 1, 2);
    _tile_stored(0, &sums[3], 4);
    _tile_release();
    assert_int_equal(sums[0], 1000 + 128 + 32);
    assert_int_equal(sums[1], 1000 - 128 + 32);
    assert_int_equal(sums[2], 1000 - 255 * 128 + 32);
    assert_int_equal(sums[3], 255 * 128 + 32);
}

static void odd_shapes_touch_their_own_bytes_only(void **state)
{
    enum { M = 3, K = 2, N = 5, STRIDE = 7 };
    int8_t a[M][4 * K + 3], b[K][4 * N + 1];
    int32_t c[M][STRIDE], expected[M][STRIDE];
    (void)state;
    needs_amx();
    for (size_t i = 0; i < sizeof a; i++)
        (&a[0][0])[i] = (int8_t)(i * 37 - 50);
    for (size_t i = 0; i < sizeof b; i++)
        (&b[0][0])[i] = (int8_t)(i * 91 + 5);
    for (int m = 0; m < M; m++) {
        for (int n = 0; n < STRIDE; n++) {
            expected[m][n] = c[m][n] = 100000 * m + n;
            for (int k = 0; k < 4 * K && n < N; k++)
                expected[m][n] += a[m][k] * b[k / 4][4 * n + k % 4];
        }
    }
    configure(M, K, N);
    tiles_see_memory();
    _tile_loadd(0, c, sizeof c[0]);
    _tile_loadd(1, a, sizeof a[0]);
    _tile_stream_loadd(2, b, sizeof b[0]);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, c, sizeof c[0]);
    _tile_release();
    assert_memory_equal(c, expected, sizeof c);
}

static void addresses_and_strides_are_the_instructions(void **state)
{
    static int32_t table[64];
    int32_t out[3] = {-1, -1, -1};
    (void)state;
    needs_amx();
    for (int i = 0; i < 64; i++)
        table[i] = i;
    configure(3, 1, 1);
    tiles_see_memory();
    _tile_loadd(0, &table[40], -64); /* backwards */
    _tile_stored(0, out, 4);
    assert_true(out[0] == 40 && out[1] == 24 && out[2] == 8);
    _tile_loadd(0, &table[9], 0);
    _tile_stored(0, out, 4);
    assert_true(out[0] == 9 && out[1] == 9 && out[2] == 9);
    /* Scales, displacements of one and four bytes, no index register, no base register */
    register const int32_t *base __asm__("r13") = table;
    register long stride __asm__("r14") = 8;
    __asm__ volatile("tileloadd 0x10(%0,%1,4), %%tmm0" ::"r"(base), "r"(stride) : "memory");
    _tile_stored(0, out, 4);
    assert_true(out[0] == 4 && out[1] == 12 && out[2] == 20);
    __asm__ volatile("tileloadd -0x200(%0,%1,2), %%tmm0" ::"r"(base + 129), "r"(stride) : "memory");
    _tile_stored(0, out, 4);
    assert_true(out[0] == 1 && out[1] == 5 && out[2] == 9);
    __asm__ volatile("tileloadd (%0), %%tmm3" ::"r"(base + 3) : "memory");
    _tile_stored(3, out, 4);
    assert_true(out[0] == 3 && out[1] == 3 && out[2] == 3);
    _tile_release();
}

static void the_configuration_is_kept_until_it_is_released(void **state)
{
    static const struct tile_shapes none = {0};
    const struct tile_shapes shapes = shapes_of(16, 7, 16);
    struct tile_shapes got;
    int32_t out[16][16];
    (void)state;
    needs_amx();
    configure_tiles(&shapes);
    memset(&got, 0x77, sizeof got);
    _tile_storeconfig(&got);
    __asm__ volatile("" ::"r"(&got) : "memory");
    assert_memory_equal(&got, &shapes, sizeof got);
    memset(out, 0x55, sizeof out);
    tiles_see_memory();
    _tile_loadd(0, out, 64);
    configure_tiles(&shapes); /* zeroes tiles */
    _tile_stored(0, out, 64);
    for (int i = 0; i < 256; i++)
        assert_int_equal(out[i / 16][i % 16], 0);
    _tile_release();
    _tile_storeconfig(&got);
    __asm__ volatile("" ::"r"(&got) : "memory");
    assert_memory_equal(&got, &none, sizeof got);
}

static void *other_thread(void *user)
{
    int32_t value = 7;
    configure(1, 1, 1);
    tiles_see_memory();
    _tile_loadd(0, &value, 4);
    _tile_stored(0, user, 4);
    _tile_release();
    return NULL;
}

static void each_thread_has_its_own_tiles(void **state)
{
    int32_t mine = 5, others = 0, out = 0;
    pthread_t thread;
    (void)state;
    needs_amx();
    configure(1, 1, 1);
    tiles_see_memory();
    _tile_loadd(0, &mine, 4);
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &others), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    _tile_stored(0, &out, 4);
    _tile_release();
    assert_int_equal(others, 7);
    assert_int_equal(out, 5);
}

/* ---- bf16 ---- */

/* c += the products of four numbers, two pairs, whose values are powers of two or small. */
static float bf16_product(const float a[4], const float b[4], float c)
{
    uint16_t codes[2][4];
    for (int i = 0; i < 4; i++) {
        uint32_t bits[2];
        memcpy(&bits[0], &a[i], 4);
        memcpy(&bits[1], &b[i], 4);
        assert_true((bits[0] & 0xFFFF) == 0 && (bits[1] & 0xFFFF) == 0);
        codes[0][i] = (uint16_t)(bits[0] >> 16);
        codes[1][i] = (uint16_t)(bits[1] >> 16);
    }
    configure(1, 2, 1);
    tiles_see_memory();
    _tile_loadd(0, &c, 4);
    _tile_loadd(1, codes[0], 8);
    _tile_loadd(2, codes[1], 4); /* pairs of the column, one below the other */
    _tile_dpbf16ps(0, 1, 2);
    _tile_stored(0, &c, 4);
    _tile_release();
    return c;
}

static void bf16_products_are_added_in_the_manuals_order(void **state)
{
    static const float ones[4] = {1, 1, 1, 1};
    (void)state;
    needs_amx();
    assert_true(bf16_product((float[]){2, 3, 5, 7}, (float[]){11, 13, 17, 0.5f}, 100) == 249.5f);
    /* One after another 2^24 + 1 would be 2^24; even and odd apart nothing is lost. */
    assert_true(bf16_product((float[]){0x1p24f, 1, -0x1p24f, 1}, ones, 0.5f) == 2.5f);
    /* Even and odd are added before c is: 2^24 + (1 + 1), not (2^24 + 1) + 1. */
    assert_true(bf16_product((float[]){1, 1, 0, 0}, ones, 0x1p24f) == 0x1p24f + 2);
    /* To nearest, ties to even */
    assert_true(bf16_product((float[]){1, 0, 0, 0}, ones, 0x1p24f) == 0x1p24f);
    assert_true(bf16_product((float[]){3, 0, 0, 0}, ones, 0x1p24f) == 0x1p24f + 4);
    /* A fused product keeps what rounding it would lose: (1 + 2^-7)^4 needs 28 bits. */
    const float x = 1 + 0x1p-7f;
    assert_true(bf16_product((float[]){-x, 0, x, 0}, (float[]){x, 0, x, 0}, 0) == 0);
}

static void bf16_subnormals_are_zeros(void **state)
{
    const float tiny = 0x1p-127f;
    (void)state;
    needs_amx();
    assert_true(bf16_product((float[]){tiny, 0, 0, 0}, (float[]){0x1p100f, 0, 0, 0}, 0) == 0);
    assert_true(bf16_product((float[]){0x1p100f, 0, 0, 0}, (float[]){tiny, 0, 0, 0}, 3) == 3);
    assert_true(bf16_product((float[]){0x1p-70f, 0, 0, 0}, (float[]){0x1p-70f, 0, 0, 0}, 0) == 0);
    assert_true(bf16_product((float[]){0, 0, 0, 0}, (float[]){0, 0, 0, 0}, 0x1p-130f) == 0);
    assert_true(bf16_product((float[]){0x1p-63f, 0, 0, 0}, (float[]){0x1p-63f, 0, 0, 0}, 0) == 0x1p-126f);
    /* Two normal numbers whose sum is not */
    assert_true(bf16_product((float[]){0x1.8p-63f, -0x1p-63f, 0, 0}, (float[]){0x1p-63f, 0x1p-63f, 0, 0}, 0) == 0);
}

/* ---- what is refused ---- */

static void load_changed(size_t at, uint8_t value)
{
    struct tile_shapes shapes = shapes_of(2, 2, 2);
    ((uint8_t *)&shapes)[at] = value;
    configure_tiles(&shapes);
}

static void refuse_palette(void)
{
    load_changed(0, 2);
}
static void refuse_reserved(void)
{
    load_changed(9, 1);
}
static void refuse_ninth_tile(void)
{
    load_changed(32, 8);
}
static void refuse_rows(void)
{
    load_changed(49, 17);
}
static void refuse_row_bytes(void)
{
    load_changed(18, 68);
}
static void refuse_rows_of_nothing(void)
{
    load_changed(53, 1);
}

static void refuse_products_that_do_not_match(void)
{
    load_changed(50, 3); /* rows of tile 2 */
    _tile_dpbssd(0, 1, 2);
}

static void refuse_broken_dwords(void)
{
    load_changed(18, 6);
    _tile_dpbssd(0, 1, 2);
}

static void refuse_one_tile_twice(void)
{
    configure(2, 2, 2);
    __asm__ volatile(".byte 0xC4, 0xE2, 0x62, 0x5C, 0xC3"); /* tdpbf16ps 3, 3, 0: assemblers refuse it, too */
}

static void refuse_what_is_not_configured(void)
{
    configure(2, 2, 2);
    _tile_zero(7);
}

static void refuse_before_configuration(void)
{
    _tile_release();
    _tile_zero(0);
}

static void refuse_other_instructions(void)
{
    __asm__ volatile("ud2");
}

/* What the child said before a signal ended it. */
static void run_refused(void (*refused)(void), char *said, size_t size)
{
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        refused();
        _exit(0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, size - 1);
    said[length > 0 ? length : 0] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status))
        fail_msg("the program went on: %s", said);
}

static void what_the_processor_refuses_ends_the_program(void **state)
{
    static const struct {
        void (*run)(void);
        const char *says;
    } refused[] = {{refuse_palette, "palette 2"},
                   {refuse_reserved, "reserved byte 9 "},
                   {refuse_ninth_tile, "reserved byte 32 "},
                   {refuse_rows, "tile 1 is configured as 17 rows of 8 bytes"},
                   {refuse_row_bytes, "tile 1 is configured as 2 rows of 68 bytes"},
                   {refuse_rows_of_nothing, "tile 5 is configured as 1 rows of 0 bytes"},
                   {refuse_products_that_do_not_match, "2 x 2 += 2 x 2 times 3 x 2"},
                   {refuse_broken_dwords, "no whole dwords"},
                   {refuse_one_tile_twice, "must differ"},
                   {refuse_what_is_not_configured, "tile 7 is not configured"},
                   {refuse_before_configuration, "before the configuration"},
                   {refuse_other_instructions, ""}};
    (void)state;
    needs_amx();
    const bool emulated = !amx_without_emulator().amx_int8;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char said[256];
        run_refused(refused[i].run, said, sizeof said);
        if (emulated && !strstr(said, refused[i].says))
            fail_msg("refusal %zu says %s", i, said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_signed_as_the_instruction_says),
        cmocka_unit_test(odd_shapes_touch_their_own_bytes_only),
        cmocka_unit_test(addresses_and_strides_are_the_instructions),
        cmocka_unit_test(the_configuration_is_kept_until_it_is_released),
        cmocka_unit_test(each_thread_has_its_own_tiles),
        cmocka_unit_test(bf16_products_are_added_in_the_manuals_order),
        cmocka_unit_test(bf16_subnormals_are_zeros),
        cmocka_unit_test(what_the_processor_refuses_ends_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
