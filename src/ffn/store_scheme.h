/* SPDX-License-Identifier: Apache-2.0 */
/* Which matrices a store holds, and in which formats. */
#ifndef PHY_FFN_STORE_SCHEME_H
#define PHY_FFN_STORE_SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/weight_type.h"

enum phy_ffn_source { PHY_FFN_GATE, PHY_FFN_UP, PHY_FFN_DOWN, PHY_FFN_SOURCE_COUNT };

enum phy_store_layout {
    PHY_LAYOUT_SPLIT,       /* gate, up, down */
    PHY_LAYOUT_INTERLEAVED, /* gate_up, down */
    PHY_LAYOUT_BY_FEATURE,  /* gate, up, down_by_feature */
    PHY_LAYOUT_COUNT
};

enum phy_matrix_kind {
    PHY_MATRIX_GATE,            /* (intermediate, hidden) */
    PHY_MATRIX_UP,              /* (intermediate, hidden) */
    PHY_MATRIX_GATE_UP,         /* (2 intermediate, hidden): row 2i is gate's row i, row 2i + 1 is up's */
    PHY_MATRIX_DOWN,            /* (hidden, intermediate) */
    PHY_MATRIX_DOWN_BY_FEATURE, /* (intermediate, hidden) */
    PHY_MATRIX_KIND_COUNT
};

struct phy_store_scheme {
    const char *name;
    enum phy_weight_type types[PHY_FFN_SOURCE_COUNT];
    enum phy_store_layout layout; /* unless another is asked for */
};

/* NULL if there is none of that name. */
const struct phy_store_scheme *phy_store_scheme_named(const char *name);
/* "f32 f16 ...": for messages. */
const char *phy_store_scheme_list(void);

const char *phy_store_layout_name(enum phy_store_layout layout);
bool phy_store_layout_named(const char *name, enum phy_store_layout *out);
/* gate and up of two formats cannot lie row by row in one matrix; bitmaps are matrices of their own. */
bool phy_store_layout_allowed(const struct phy_store_scheme *scheme, enum phy_store_layout layout);

const char *phy_matrix_kind_name(enum phy_matrix_kind kind);
bool phy_matrix_kind_named(const char *name, enum phy_matrix_kind *out);

/* The kinds of one layer, in the order of the files; returns how many: 2 or 3. */
size_t phy_store_layout_kinds(enum phy_store_layout layout, enum phy_matrix_kind kinds[3]);
enum phy_weight_type phy_store_matrix_type(const struct phy_store_scheme *scheme, enum phy_matrix_kind kind);
/* Whether a matrix may be of that type: bitmaps may be of any float. */
bool phy_store_type_fits(const struct phy_store_scheme *scheme, enum phy_matrix_kind kind, enum phy_weight_type type);
void phy_store_matrix_shape(enum phy_matrix_kind kind, uint32_t hidden, uint32_t intermediate, uint64_t *rows,
                            uint64_t *cols);

#endif
