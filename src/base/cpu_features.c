/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "base/cpu_features.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>

/* clang 14's __builtin_cpu_supports does not know f16c. Its registers are AVX's, so AVX2 being usable covers them. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

/* Tiles are 8 KiB of registers, which Linux saves only for processes that asked for it (arch_prctl with
 * ARCH_REQ_XCOMP_PERM, since 5.16): without, their instructions are illegal. Threads inherit the permission. */
static void detect_tiles(struct phy_cpu_features *have)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILE_STATES = 3 << 17 };
    enum { LEAF_BF16 = 1 << 22, LEAF_TILE = 1 << 24, LEAF_INT8 = 1 << 25, HAS_XGETBV = 1 << 27 };
    unsigned a, b, c, d, states, high;
    if (!have->avx512 || !__get_cpuid(1, &a, &b, &c, &d) || !(c & HAS_XGETBV) ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & LEAF_TILE))
        return;
    __asm__("xgetbv" : "=a"(states), "=d"(high) : "c"(0));
    if ((states & TILE_STATES) != TILE_STATES || syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
        return;
    have->amx_int8 = d & LEAF_INT8;
    have->amx_bf16 = d & LEAF_BF16;
}
#endif

struct phy_cpu_features phy_cpu_detect(void)
{
    struct phy_cpu_features have = {0};
#if defined(__x86_64__)
    __builtin_cpu_init();
    /* __builtin_cpu_supports also asks XGETBV whether the system saves the registers. */
    have.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    have.avx512 = have.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    have.avx512_vnni = have.avx512 && __builtin_cpu_supports("avx512vnni");
    have.avx512_bf16 = have.avx512 && __builtin_cpu_supports("avx512bf16");
    detect_tiles(&have);
#endif
    return have;
}

bool phy_cpu_meets(const struct phy_cpu_features *have, const struct phy_cpu_features *needs)
{
    return (!needs->avx2 || have->avx2) && (!needs->avx512 || have->avx512) &&
           (!needs->avx512_vnni || have->avx512_vnni) && (!needs->avx512_bf16 || have->avx512_bf16) &&
           (!needs->amx_int8 || have->amx_int8) && (!needs->amx_bf16 || have->amx_bf16);
}

static char model[128] = "unknown";

static void read_model(void)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) {
            snprintf(model, sizeof model, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
            model[strcspn(model, "\n")] = 0;
            break;
        }
    }
    if (file)
        fclose(file);
}

const char *phy_cpu_model(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_model);
    return model;
}

/* What /sys tells of cache i of the first processor: "32768K"; 0 if nothing. */
static uint64_t cache_bytes(int i)
{
    char path[64];
    unsigned long long count = 0;
    char unit = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%9llu%c", &count, &unit) < 1)
        count = 0;
    if (file)
        fclose(file);
    return count << (unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0);
}

uint64_t phy_cpu_cache_bytes(bool *known)
{
    static const uint64_t guess = UINT64_C(64) << 20;
    uint64_t most = 0;
    for (int i = 0; i < 8; i++) {
        const uint64_t bytes = cache_bytes(i);
        most = bytes > most ? bytes : most;
    }
    const long said = most ? 0 : sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (said > 0)
        most = (uint64_t)said;
    *known = most != 0;
    return most ? most : guess;
}

unsigned phy_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}
