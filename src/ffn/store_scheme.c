/* SPDX-License-Identifier: Apache-2.0 */
#include "ffn/store_scheme.h"

#include <string.h>

#define ALL(type)                                                                                                      \
    {                                                                                                                  \
        type, type, type                                                                                               \
    }

static const struct phy_store_scheme schemes[] = {
    {"f32", ALL(PHY_WEIGHT_F32), PHY_LAYOUT_SPLIT},
    {"f16", ALL(PHY_WEIGHT_F16), PHY_LAYOUT_SPLIT},
    {"bf16", ALL(PHY_WEIGHT_BF16), PHY_LAYOUT_SPLIT},
    {"q8_0", ALL(PHY_WEIGHT_Q8_0), PHY_LAYOUT_INTERLEAVED},
    {"q4_0", ALL(PHY_WEIGHT_Q4_0), PHY_LAYOUT_INTERLEAVED},
    {"q4_k", {PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q4_K, PHY_WEIGHT_Q6_K}, PHY_LAYOUT_INTERLEAVED},
    {"q6_k", ALL(PHY_WEIGHT_Q6_K), PHY_LAYOUT_INTERLEAVED},
    {"fp8", ALL(PHY_WEIGHT_FP8), PHY_LAYOUT_INTERLEAVED},
    /* What is walked feature by feature has its down vectors by feature. */
    {"fp4", {PHY_WEIGHT_BF16, PHY_WEIGHT_FP4, PHY_WEIGHT_FP8}, PHY_LAYOUT_BY_FEATURE},
    {"fp4_all", {PHY_WEIGHT_FP4, PHY_WEIGHT_FP4, PHY_WEIGHT_FP8}, PHY_LAYOUT_BY_FEATURE},
    {"mxfp4", ALL(PHY_WEIGHT_MXFP4), PHY_LAYOUT_INTERLEAVED},
    {"bitmap", ALL(PHY_WEIGHT_BITMAP_BF16), PHY_LAYOUT_SPLIT}, /* of the donor's floats, whichever they are */
};

const struct phy_store_scheme *phy_store_scheme_named(const char *name)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (strcmp(schemes[i].name, name) == 0)
            return &schemes[i];
    }
    return NULL;
}

const char *phy_store_scheme_list(void)
{
    return "f32 f16 bf16 q8_0 q4_0 q4_k q6_k fp8 fp4 fp4_all mxfp4 bitmap";
}

static const char *const layouts[PHY_LAYOUT_COUNT] = {"split", "interleaved", "by_feature"};

const char *phy_store_layout_name(enum phy_store_layout layout)
{
    return layouts[layout];
}

bool phy_store_layout_named(const char *name, enum phy_store_layout *out)
{
    for (int i = 0; i < PHY_LAYOUT_COUNT; i++) {
        if (strcmp(layouts[i], name) == 0) {
            *out = (enum phy_store_layout)i;
            return true;
        }
    }
    return false;
}

bool phy_store_layout_allowed(const struct phy_store_scheme *scheme, enum phy_store_layout layout)
{
    if (phy_weight_is_bitmap(scheme->types[PHY_FFN_GATE]))
        return layout == PHY_LAYOUT_SPLIT;
    return layout != PHY_LAYOUT_INTERLEAVED || scheme->types[PHY_FFN_GATE] == scheme->types[PHY_FFN_UP];
}

static const char *const kind_names[PHY_MATRIX_KIND_COUNT] = {"gate", "up", "gate_up", "down", "down_by_feature"};

const char *phy_matrix_kind_name(enum phy_matrix_kind kind)
{
    return kind_names[kind];
}

bool phy_matrix_kind_named(const char *name, enum phy_matrix_kind *out)
{
    for (int i = 0; i < PHY_MATRIX_KIND_COUNT; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *out = (enum phy_matrix_kind)i;
            return true;
        }
    }
    return false;
}

size_t phy_store_layout_kinds(enum phy_store_layout layout, enum phy_matrix_kind kinds[3])
{
    if (layout == PHY_LAYOUT_INTERLEAVED) {
        kinds[0] = PHY_MATRIX_GATE_UP;
        kinds[1] = PHY_MATRIX_DOWN;
        return 2;
    }
    kinds[0] = PHY_MATRIX_GATE;
    kinds[1] = PHY_MATRIX_UP;
    kinds[2] = layout == PHY_LAYOUT_BY_FEATURE ? PHY_MATRIX_DOWN_BY_FEATURE : PHY_MATRIX_DOWN;
    return 3;
}

enum phy_weight_type phy_store_matrix_type(const struct phy_store_scheme *scheme, enum phy_matrix_kind kind)
{
    if (kind == PHY_MATRIX_UP)
        return scheme->types[PHY_FFN_UP];
    return scheme->types[kind == PHY_MATRIX_DOWN || kind == PHY_MATRIX_DOWN_BY_FEATURE ? PHY_FFN_DOWN : PHY_FFN_GATE];
}

bool phy_store_type_fits(const struct phy_store_scheme *scheme, enum phy_matrix_kind kind, enum phy_weight_type type)
{
    const enum phy_weight_type own = phy_store_matrix_type(scheme, kind);
    return type == own || (phy_weight_is_bitmap(own) && phy_weight_is_bitmap(type));
}

void phy_store_matrix_shape(enum phy_matrix_kind kind, uint32_t hidden, uint32_t intermediate, uint64_t *rows,
                            uint64_t *cols)
{
    *rows = kind == PHY_MATRIX_DOWN ? hidden : kind == PHY_MATRIX_GATE_UP ? 2 * (uint64_t)intermediate : intermediate;
    *cols = kind == PHY_MATRIX_DOWN ? intermediate : hidden;
}
