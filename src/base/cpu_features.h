/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHY_BASE_CPU_FEATURES_H
#define PHY_BASE_CPU_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* What the processor and the operating system both allow. */
struct phy_cpu_features {
    bool avx2;   /* AVX2, FMA and F16C */
    bool avx512; /* AVX-512 F, BW, DQ, VL */
    bool avx512_vnni;
    bool avx512_bf16;
    bool amx_int8; /* beside avx512: tiles, and their products of bytes */
    bool amx_bf16;
};

/* Where there are tiles it also asks the system for their use, which then holds for the process. */
struct phy_cpu_features phy_cpu_detect(void);
/* Every need is met. */
bool phy_cpu_meets(const struct phy_cpu_features *have, const struct phy_cpu_features *needs);
/* Processor model as the system names it, for reports; "unknown" if it does not. Valid for the process' life. */
const char *phy_cpu_model(void);
/* Bytes of the largest cache that the system tells of, or a guess; *known says which. */
uint64_t phy_cpu_cache_bytes(bool *known);
/* Processors this process may run on, at least 1. */
unsigned phy_cpu_count(void);

#endif
