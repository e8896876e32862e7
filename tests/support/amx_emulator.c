/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "support/amx_emulator.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#include <ucontext.h>

enum { TILES = 8, MOST_ROWS = 16, MOST_BYTES = 64, CONFIG_BYTES = 64 };

/* Of a thread, as the registers are. */
static _Thread_local struct {
    bool configured;
    struct {
        uint8_t rows;
        uint16_t bytes; /* of a row */
        _Alignas(64) uint8_t row[MOST_ROWS][MOST_BYTES];
    } tile[TILES];
} state;

#define REFUSE(...)                                                                                                    \
    do {                                                                                                               \
        fprintf(stderr, "AMX: " __VA_ARGS__);                                                                          \
        fputc('\n', stderr);                                                                                           \
        abort();                                                                                                       \
    } while (0)

/* ---- decoding ---- */

enum prefix { NONE, P66, PF3, PF2 };

struct instruction {
    enum prefix prefix;
    uint8_t opcode;
    unsigned mod, reg, rm, vvvv;
    uint64_t address, stride; /* of memory operands; stride: the index register */
    const uint8_t *end;
};

static uint64_t register_value(const ucontext_t *context, unsigned number)
{
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[places[number]];
}

static int32_t signed_32(const uint8_t *at)
{
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* ModRM's memory operand behind `at`: base + index * scale + displacement. The index register is kept apart. */
static void decode_memory(struct instruction *i, const ucontext_t *context, const uint8_t *at, unsigned x, unsigned b)
{
    unsigned base = i->rm, displacement = i->mod == 1 ? 1 : i->mod == 2 ? 4 : 0;
    bool relative = false, no_base = false;
    if (i->rm == 4) {
        const unsigned sib = *at++, index = (sib >> 3 & 7) | x << 3;
        base = sib & 7;
        no_base = i->mod == 0 && base == 5;
        i->stride = index == 4 ? 0 : register_value(context, index) << (sib >> 6);
    } else {
        relative = i->mod == 0 && i->rm == 5;
    }
    if (no_base || relative)
        displacement = 4;
    i->address = no_base || relative ? 0 : register_value(context, base | b << 3);
    if (displacement == 1)
        i->address += (uint64_t)(int64_t)(int8_t)*at;
    else if (displacement == 4)
        i->address += (uint64_t)(int64_t)signed_32(at);
    i->end = at + displacement;
    if (relative)
        i->address += (uint64_t)(uintptr_t)i->end;
}

/* C4, R X B and map 2 (0F 38), W vvvv L pp, opcode, ModRM. False if it is nothing of AMX. */
static bool decode(struct instruction *i, const ucontext_t *context)
{
    const uint8_t *at = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    if (at[0] != 0xC4 || (at[1] & 0x1F) != 2 || (at[2] & 0x84) != 0)
        return false;
    const uint8_t opcode = at[3], modrm = at[4];
    if (opcode != 0x49 && opcode != 0x4B && opcode != 0x5C && opcode != 0x5E)
        return false;
    const unsigned r = !(at[1] & 0x80), x = !(at[1] & 0x40), b = !(at[1] & 0x20);
    *i = (struct instruction){.prefix = (enum prefix)(at[2] & 3),
                              .opcode = opcode,
                              .mod = modrm >> 6,
                              .reg = (modrm >> 3 & 7) | r << 3,
                              .rm = modrm & 7,
                              .vvvv = ~at[2] >> 3 & 15,
                              .end = at + 5};
    if (i->mod == 3)
        i->rm |= b << 3;
    else
        decode_memory(i, context, at + 5, x, b);
    return true;
}

/* ---- configuration ---- */

static void release(void)
{
    memset(&state, 0, sizeof state);
}

static void load_config(const uint8_t *config)
{
    if (config[0] == 0) {
        release();
        return;
    }
    if (config[0] != 1)
        REFUSE("palette %u is not known", config[0]);
    if (config[1] != 0)
        REFUSE("start_row %u is not emulated", config[1]);
    for (unsigned i = 2; i < CONFIG_BYTES; i++) {
        if ((i < 16 || (i >= 32 && i < 48) || i >= 56) && config[i])
            REFUSE("reserved byte %u of the configuration is %u", i, config[i]);
    }
    release();
    for (unsigned t = 0; t < TILES; t++) {
        const unsigned rows = config[48 + t], bytes = config[16 + 2 * t] | (unsigned)config[17 + 2 * t] << 8;
        if (rows > MOST_ROWS || bytes > MOST_BYTES || !rows != !bytes)
            REFUSE("tile %u is configured as %u rows of %u bytes", t, rows, bytes);
        state.tile[t].rows = (uint8_t)rows;
        state.tile[t].bytes = (uint16_t)bytes;
    }
    state.configured = true;
}

static void store_config(uint8_t *config)
{
    memset(config, 0, CONFIG_BYTES);
    config[0] = state.configured;
    for (unsigned t = 0; t < TILES; t++) {
        memcpy(config + 16 + 2 * t, &state.tile[t].bytes, 2);
        config[48 + t] = state.tile[t].rows;
    }
}

/* ---- tiles ---- */

static void check_tile(unsigned t)
{
    if (!state.configured)
        REFUSE("tile %u is used before the configuration is loaded", t);
    if (t >= TILES || !state.tile[t].rows)
        REFUSE("tile %u is not configured", t);
}

static void load_tile(unsigned t, const uint8_t *from, uint64_t stride)
{
    check_tile(t);
    memset(state.tile[t].row, 0, sizeof state.tile[t].row);
    for (unsigned r = 0; r < state.tile[t].rows; r++)
        memcpy(state.tile[t].row[r], from + r * stride, state.tile[t].bytes);
}

static void store_tile(unsigned t, uint8_t *to, uint64_t stride)
{
    check_tile(t);
    for (unsigned r = 0; r < state.tile[t].rows; r++)
        memcpy(to + r * stride, state.tile[t].row[r], state.tile[t].bytes);
}

/* c (m, n) += a (m, k) b (k, n), of dwords. */
static void check_product(unsigned c, unsigned a, unsigned b)
{
    check_tile(c);
    check_tile(a);
    check_tile(b);
    if (c == a || c == b || a == b)
        REFUSE("a product of tiles %u, %u and %u, which must differ", c, a, b);
    if (state.tile[c].bytes % 4 || state.tile[a].bytes % 4 || state.tile[b].bytes % 4)
        REFUSE("a product of tiles %u, %u and %u, of which one has rows of no whole dwords", c, a, b);
    if (state.tile[c].rows != state.tile[a].rows || state.tile[c].bytes != state.tile[b].bytes ||
        state.tile[a].bytes / 4 != state.tile[b].rows)
        REFUSE("a product of tiles whose shapes don't match: %u x %u += %u x %u times %u x %u dwords",
               state.tile[c].rows, state.tile[c].bytes / 4, state.tile[a].rows, state.tile[a].bytes / 4,
               state.tile[b].rows, state.tile[b].bytes / 4);
}

static void multiply_bytes(unsigned c, unsigned a, unsigned b, bool a_signed, bool b_signed)
{
    const unsigned depth = state.tile[a].bytes / 4, cols = state.tile[c].bytes / 4;
    for (unsigned m = 0; m < state.tile[c].rows; m++) {
        int32_t sum[MOST_BYTES / 4]; /* modulo 2^32 */
        memcpy(sum, state.tile[c].row[m], sizeof sum);
        for (unsigned k = 0; k < depth; k++) {
            int32_t x[4];
            for (unsigned i = 0; i < 4; i++) {
                const uint8_t byte = state.tile[a].row[m][4 * k + i];
                x[i] = a_signed ? (int8_t)byte : byte;
            }
            for (unsigned n = 0; n < cols; n++) {
                const uint8_t *w = &state.tile[b].row[k][4 * n];
                int32_t dot = 0;
                for (unsigned i = 0; i < 4; i++)
                    dot += x[i] * (b_signed ? (int8_t)w[i] : w[i]);
                sum[n] = (int32_t)((uint32_t)sum[n] + (uint32_t)dot);
            }
        }
        memcpy(state.tile[c].row[m], sum, sizeof sum);
    }
}

/* Of a bf16, as a float: `i` 0 or 1 of dword n of that row. */
static float bf16_at(unsigned t, unsigned row, unsigned n, unsigned i)
{
    uint16_t code;
    float value;
    memcpy(&code, &state.tile[t].row[row][4 * n + 2 * i], sizeof code);
    const uint32_t bits = (uint32_t)code << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The even and the odd products of a row are summed apart, each by fused multiply-adds; then the two are added, and
 * then that to c. Subnormals are zeros, coming and going, which MXCSR makes of this code's instructions, too. */
__attribute__((noinline, target("avx2,fma"))) static void multiply_bf16_flushed(unsigned c, unsigned a, unsigned b)
{
    const unsigned depth = state.tile[a].bytes / 4, cols = state.tile[c].bytes / 4;
    for (unsigned m = 0; m < state.tile[c].rows; m++) {
        float apart[MOST_BYTES / 4][2] = {{0}}, sum[MOST_BYTES / 4];
        for (unsigned k = 0; k < depth; k++) {
            for (unsigned n = 0; n < cols; n++) {
                for (unsigned i = 0; i < 2; i++)
                    apart[n][i] = __builtin_fmaf(bf16_at(a, m, k, i), bf16_at(b, k, n, i), apart[n][i]);
            }
        }
        memcpy(sum, state.tile[c].row[m], sizeof sum);
        for (unsigned n = 0; n < cols; n++)
            sum[n] += apart[n][0] + apart[n][1];
        memcpy(state.tile[c].row[m], sum, sizeof sum);
    }
}

static void multiply_bf16(unsigned c, unsigned a, unsigned b)
{
    enum { MASKED_NEAREST = 0x1F80, FLUSH = 0x8040 };
    const unsigned before = _mm_getcsr();
    _mm_setcsr(MASKED_NEAREST | FLUSH);
    multiply_bf16_flushed(c, a, b);
    _mm_setcsr(before);
}

/* ---- one instruction ---- */

static bool run_config(const struct instruction *i)
{
    if (i->vvvv)
        return false;
    if (i->mod == 3 && i->prefix == NONE && i->reg == 0 && i->rm == 0)
        release(); /* TILERELEASE */
    else if (i->mod == 3 && i->prefix == PF2 && i->rm == 0) {
        check_tile(i->reg); /* TILEZERO */
        memset(state.tile[i->reg].row, 0, sizeof state.tile[i->reg].row);
    } else if (i->mod != 3 && i->prefix == NONE && i->reg == 0)
        load_config((const uint8_t *)i->address);
    else if (i->mod != 3 && i->prefix == P66 && i->reg == 0)
        store_config((uint8_t *)i->address);
    else
        return false;
    return true;
}

static bool run_move(const struct instruction *i)
{
    if (i->vvvv || i->mod == 3 || i->rm != 4 || i->prefix == NONE)
        return false;
    if (i->prefix == PF3)
        store_tile(i->reg, (uint8_t *)i->address, i->stride);
    else /* TILELOADD, TILELOADDT1 */
        load_tile(i->reg, (const uint8_t *)i->address, i->stride);
    return true;
}

static bool run_product(const struct instruction *i)
{
    if (i->mod != 3 || (i->opcode == 0x5C && i->prefix != PF3))
        return false;
    check_product(i->reg, i->rm, i->vvvv);
    if (i->opcode == 0x5C)
        multiply_bf16(i->reg, i->rm, i->vvvv);
    else /* TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD */
        multiply_bytes(i->reg, i->rm, i->vvvv, i->prefix == PF2 || i->prefix == PF3,
                       i->prefix == PF2 || i->prefix == P66);
    return true;
}

static bool run(ucontext_t *context)
{
    struct instruction i;
    if (!decode(&i, context) || !(i.opcode == 0x49   ? run_config(&i)
                                  : i.opcode == 0x4B ? run_move(&i)
                                                     : run_product(&i)))
        return false;
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)i.end;
    return true;
}

/* And all that follow at once, as each signal takes microseconds. What is not ours stops the program where it is, with
 * the signal's usual end. */
static void on_illegal(int signal, siginfo_t *info, void *user)
{
    (void)info;
    if (!run(user)) {
        const struct sigaction usual = {.sa_handler = SIG_DFL};
        sigaction(signal, &usual, NULL);
        return;
    }
    while (run(user))
        ;
}

bool amx_emulate(void)
{
    /* Another signal's handler may use tiles no more than this one. */
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGILL, &action, NULL) == 0;
}
#else
bool amx_emulate(void)
{
    return false;
}
#endif

/* ---- what tests detect ---- */

struct phy_cpu_features __real_phy_cpu_detect(void);
struct phy_cpu_features __wrap_phy_cpu_detect(void);

static struct phy_cpu_features detected;
static bool emulated;

struct phy_cpu_features amx_without_emulator(void)
{
    return __real_phy_cpu_detect();
}

static void detect(void)
{
    detected = __real_phy_cpu_detect();
    emulated =
        !(detected.amx_int8 && detected.amx_bf16) && detected.avx512_vnni && detected.avx512_bf16 && amx_emulate();
    if (emulated) {
        detected.amx_int8 = detected.amx_bf16 = true;
        printf("AMX is emulated\n");
    }
}

/* cmocka puts handlers of its own in the place of ours as each test begins: tests detect after that. */
struct phy_cpu_features __wrap_phy_cpu_detect(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, detect);
    if (emulated)
        amx_emulate();
    return detected;
}
