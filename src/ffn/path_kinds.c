/* SPDX-License-Identifier: Apache-2.0 */
/* The table of paths, which of them a layer's matrices and a device offer, and the router. */
#include <stdio.h>
#include <string.h>

#include "ffn/path_parts.h"

#define BIT(type) (UINT32_C(1) << (type))
#define BITMAPS (BIT(PHY_WEIGHT_BITMAP_BF16) | BIT(PHY_WEIGHT_BITMAP_F16) | BIT(PHY_WEIGHT_BITMAP_F32))
#define FLOATS (BIT(PHY_WEIGHT_BF16) | BIT(PHY_WEIGHT_F16) | BIT(PHY_WEIGHT_F32))
#define ALL_OF(types) .gate_types = (types), .up_types = (types), .down_types = (types)
#define Q4_K_MOSTLY                                                                                                    \
    .gate_types = BIT(PHY_WEIGHT_Q4_K), .up_types = BIT(PHY_WEIGHT_Q4_K),                                              \
    .down_types = BIT(PHY_WEIGHT_Q4_K) | BIT(PHY_WEIGHT_Q6_K)

/* Exact ones first. `quality` is the router's order, best first: of a store's formats what reads the fewest bytes; of
 * one format the kernel that adds no error of its own, before the one that rounds activations, before the one that
 * decodes first; of float matrices what needs no copy of them. */
static const struct path_rule rules[] = {
    {{"exact", "exact"},
     PATH_FEATURES,
     PHY_KERNEL_FUSED,
     ALL_OF(FLOATS),
     .mixed = true,
     .widened = true,
     .quality = 13},
    {{"full_mmap", "exact"}, PATH_DENSE, PHY_KERNEL_FUSED, ALL_OF(FLOATS), .mixed = true, .quality = 10},
    {{"full_mmap:bf16", "quantised"}, PATH_DENSE, PHY_KERNEL_BF16, ALL_OF(BIT(PHY_WEIGHT_BF16)), .quality = 14},
    {{"interleaved", "exact"}, PATH_PAIRED, PHY_KERNEL_FUSED, ALL_OF(FLOATS), .quality = 11},
    {{"sparse", "exact"}, PATH_LISTED, PHY_KERNEL_FUSED, ALL_OF(FLOATS), .mixed = true, .quality = 12},
    {{"interleaved_q8_0", "quantised"}, PATH_PAIRED, PHY_KERNEL_FUSED, ALL_OF(BIT(PHY_WEIGHT_Q8_0)), .quality = 8},
    {{"interleaved_q6_K", "quantised"}, PATH_PAIRED, PHY_KERNEL_FUSED, ALL_OF(BIT(PHY_WEIGHT_Q6_K)), .quality = 6},
    {{"interleaved_q4_0", "quantised"}, PATH_PAIRED, PHY_KERNEL_FUSED, ALL_OF(BIT(PHY_WEIGHT_Q4_0)), .quality = 3},
    {{"interleaved_q4k:dequant", "quantised"}, PATH_PAIRED, PHY_KERNEL_DEQUANT, Q4_K_MOSTLY, .quality = 2},
    {{"interleaved_q4k:fused", "quantised"}, PATH_PAIRED, PHY_KERNEL_FUSED, Q4_K_MOSTLY, .quality = 0},
    {{"interleaved_q4k:int8", "quantised"}, PATH_PAIRED, PHY_KERNEL_INT8, Q4_K_MOSTLY, .quality = 1},
    {{"fp8_storage", "quantised"}, PATH_STORED, PHY_KERNEL_FUSED, ALL_OF(BIT(PHY_WEIGHT_FP8)), .quality = 7},
    {{"fp4_storage:sparse", "fp4"},
     PATH_LISTED,
     PHY_KERNEL_FUSED,
     .gate_types = FLOATS | BIT(PHY_WEIGHT_FP4),
     .up_types = BIT(PHY_WEIGHT_FP4),
     .down_types = BIT(PHY_WEIGHT_FP8) | BIT(PHY_WEIGHT_FP4),
     .mixed = true,
     .quality = 5},
    {{"mxfp4_storage", "fp4"}, PATH_STORED, PHY_KERNEL_FUSED, ALL_OF(BIT(PHY_WEIGHT_MXFP4)), .quality = 4},
    {{"bitmap", "exact"}, PATH_STORED, PHY_KERNEL_FUSED, ALL_OF(BITMAPS), .mixed = true, .quality = 9},
};
enum { RULES = sizeof rules / sizeof *rules };

const struct path_rule *phy_path_rule_named(const char *name)
{
    for (size_t i = 0; i < RULES; i++) {
        if (strcmp(rules[i].kind.name, name) == 0)
            return &rules[i];
    }
    return NULL;
}

const struct phy_path_kind *phy_path_kind_named(const char *name)
{
    const struct path_rule *rule = phy_path_rule_named(name);
    return rule ? &rule->kind : NULL;
}

const char *const *phy_ffn_path_names(void)
{
    static const char *const names[RULES + 1] = {
        "exact",
        "full_mmap",
        "full_mmap:bf16",
        "interleaved",
        "sparse",
        "interleaved_q8_0",
        "interleaved_q6_K",
        "interleaved_q4_0",
        "interleaved_q4k:dequant",
        "interleaved_q4k:fused",
        "interleaved_q4k:int8",
        "fp8_storage",
        "fp4_storage:sparse",
        "mxfp4_storage",
        "bitmap",
    };
    return names;
}

/* ---- what is offered ---- */

static bool is_walk(const struct path_rule *rule)
{
    return rule->family == PATH_LISTED || rule->family == PATH_FEATURES;
}

/* The one of two ways of holding a matrix that is there. */
static const struct phy_weights *either(const struct phy_weights *a, const struct phy_weights *b)
{
    return a->data ? a : b;
}

static bool formats_fit(const struct path_rule *rule, const struct path_source *s, char *reason, size_t bytes)
{
    const struct phy_weights *gate = either(&s->gate, &s->gate_up), *up = either(&s->up, &s->gate_up),
                             *down = either(&s->down, &s->down_by_feature);
    if (!gate->data || !up->data || !down->data) {
        snprintf(reason, bytes, "%.200s: its gate, up and down are not all there", s->label);
        return false;
    }
    if (!(rule->gate_types & BIT(gate->type)) || !(rule->up_types & BIT(up->type)) ||
        !(rule->down_types & BIT(down->type)) || (!rule->mixed && gate->type != up->type)) {
        snprintf(reason, bytes, "%.200s: path %s is not made of gate %s, up %s and down %s", s->label, rule->kind.name,
                 phy_weight_format(gate->type)->name, phy_weight_format(up->type)->name,
                 phy_weight_format(down->type)->name);
        return false;
    }
    return true;
}

/* Blocks lie along rows: they cannot be transposed as floats can. */
static bool layout_fits(const struct path_rule *rule, const struct path_source *s, char *reason, size_t bytes)
{
    const bool floats = !((rule->down_types) & ~FLOATS);
    const char *lacks = NULL;
    if (rule->family == PATH_DENSE && (!s->gate.data || !s->up.data))
        lacks = "gate and up as matrices of their own";
    else if (!is_walk(rule) && !s->down.data)
        lacks = "down as rows";
    else if (is_walk(rule) && !floats && !s->down_by_feature.data)
        lacks = "down by feature";
    if (lacks)
        snprintf(reason, bytes, "%.200s: path %s needs %s, which are not stored", s->label, rule->kind.name, lacks);
    else if (is_walk(rule) && (s->gate_bias || s->up_bias || s->down_bias))
        snprintf(reason, bytes, "%.200s: its FFN has biases, which path %s does not add", s->label,
                 (lacks = rule->kind.name));
    return !lacks;
}

static bool device_fits(const struct path_rule *rule, const struct path_source *s,
                        const struct phy_matmul_backend *backend, char *reason, size_t bytes)
{
    struct need {
        enum phy_product_kernel kernel;
        enum phy_weight_type type;
    } needs[4];
    size_t count = 0;
    const struct phy_weights *all[] = {either(&s->gate, &s->gate_up), either(&s->up, &s->gate_up),
                                       either(&s->down, &s->down_by_feature)};
    if (rule->family == PATH_LISTED)
        needs[count++] = (struct need){rule->kernel, all[0]->type};
    for (size_t i = 0; i < 3; i++)
        needs[count++] = (struct need){is_walk(rule) ? PHY_KERNEL_WALK : rule->kernel,
                                       rule->widened ? PHY_WEIGHT_F32 : all[i]->type};
    for (size_t i = 0; i < count; i++) {
        if (!backend->ops->offers(backend, needs[i].kernel, needs[i].type)) {
            snprintf(reason, bytes, "path %s: device %s has no %s kernel for %s", rule->kind.name, backend->name,
                     phy_kernel_name(needs[i].kernel), phy_weight_format(needs[i].type)->name);
            return false;
        }
    }
    return true;
}

bool phy_path_offers(const struct path_rule *rule, const struct path_source *source,
                     const struct phy_matmul_backend *backend, char *reason, size_t bytes)
{
    return formats_fit(rule, source, reason, bytes) && layout_fits(rule, source, reason, bytes) &&
           device_fits(rule, source, backend, reason, bytes);
}

/* The best path whose formats fit; NULL and a sentence if there is none. */
static const struct path_rule *nearest_rule(const struct path_source *source, char *reason, size_t bytes)
{
    const struct path_rule *nearest = NULL;
    for (size_t i = 0; i < RULES; i++) {
        if ((!nearest || rules[i].quality < nearest->quality) && formats_fit(&rules[i], source, reason, bytes))
            nearest = &rules[i];
    }
    if (!nearest)
        snprintf(reason, bytes, "%.200s: no path is made of its formats", source->label);
    return nearest;
}

void phy_path_why_none(const struct path_source *source, const struct phy_matmul_backend *backend, char *reason,
                       size_t bytes)
{
    const struct path_rule *nearest = nearest_rule(source, reason, bytes);
    if (nearest && phy_path_offers(nearest, source, backend, reason, bytes))
        snprintf(reason, bytes, "%.200s: path %s is hidden", source->label, nearest->kind.name);
}

bool phy_path_made_of(const struct phy_store_scheme *scheme, enum phy_store_layout layout, char *reason, size_t bytes)
{
    static const char somewhere;
    struct path_source source = {.label = scheme->name};
    struct phy_weights *const places[PHY_MATRIX_KIND_COUNT] = {
        [PHY_MATRIX_GATE] = &source.gate,
        [PHY_MATRIX_UP] = &source.up,
        [PHY_MATRIX_GATE_UP] = &source.gate_up,
        [PHY_MATRIX_DOWN] = &source.down,
        [PHY_MATRIX_DOWN_BY_FEATURE] = &source.down_by_feature,
    };
    enum phy_matrix_kind kinds[3];
    const size_t count = phy_store_layout_kinds(layout, kinds);
    for (size_t k = 0; k < count; k++)
        *places[kinds[k]] = (struct phy_weights){.data = &somewhere, .type = phy_store_matrix_type(scheme, kinds[k])};
    for (size_t i = 0; i < RULES; i++) {
        if (formats_fit(&rules[i], &source, reason, bytes) && layout_fits(&rules[i], &source, reason, bytes))
            return true;
    }
    const struct path_rule *nearest = nearest_rule(&source, reason, bytes);
    if (nearest)
        layout_fits(nearest, &source, reason, bytes);
    return false;
}

/* ---- the router ---- */

uint64_t phy_path_mask(const struct path_rule *forced)
{
    uint64_t mask = 0;
    for (size_t i = 0; forced && i < RULES; i++) {
        if (rules[i].quality < forced->quality)
            mask |= UINT64_C(1) << i;
    }
    return mask;
}

const struct path_rule *phy_path_route(const struct path_source *source, const struct phy_matmul_backend *backend,
                                       uint64_t mask)
{
    const struct path_rule *best = NULL;
    char reason[256];
    for (size_t i = 0; i < RULES; i++) {
        if (!(mask >> i & 1) && (!best || rules[i].quality < best->quality) &&
            phy_path_offers(&rules[i], source, backend, reason, sizeof reason))
            best = &rules[i];
    }
    return best;
}
