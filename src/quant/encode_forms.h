/* SPDX-License-Identifier: Apache-2.0 */
/* The encoders' forms: of one format, all write the same bytes. f32, f16 and bf16 have but one. */
#ifndef PHY_QUANT_ENCODE_FORMS_H
#define PHY_QUANT_ENCODE_FORMS_H

#include "base/cpu_features.h"
#include "quant/quant_format.h"

struct phy_encode_variant {
    const char *format;            /* its name in phy_quant_formats */
    const char *name;              /* "ref", "avx2", "avx512" */
    struct phy_cpu_features needs; /* what the processor must have */
    phy_encode_blocks *encode;
};

/* Format by format, each one's slowest, "ref", first; ended by a NULL format. phy_encode_<format> takes the last whose
 * needs are met. */
extern const struct phy_encode_variant phy_encode_variants[];

/* X(name in C, name of the format) */
#define PHY_ENCODE_FORMATS(X)                                                                                          \
    X(q4_0, "q4_0")                                                                                                    \
    X(q4_1, "q4_1")                                                                                                    \
    X(q5_0, "q5_0")                                                                                                    \
    X(q5_1, "q5_1")                                                                                                    \
    X(q8_0, "q8_0")                                                                                                    \
    X(mxfp4, "mxfp4")                                                                                                  \
    X(q2_k, "q2_K")                                                                                                    \
    X(q3_k, "q3_K")                                                                                                    \
    X(q4_k, "q4_K")                                                                                                    \
    X(q5_k, "q5_K")                                                                                                    \
    X(q6_k, "q6_K")                                                                                                    \
    X(iq4_nl, "iq4_nl")                                                                                                \
    X(vindex_fp4, "vindex_fp4")                                                                                        \
    X(vindex_fp8, "vindex_fp8")

#define PHY_ENCODE_FORMS(name, format)                                                                                 \
    phy_encode_blocks phy_encode_##name##_ref, phy_encode_##name##_avx2, phy_encode_##name##_avx512;
PHY_ENCODE_FORMATS(PHY_ENCODE_FORMS)

#endif
