/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels' reports, and which path they amount to. The path that was asked for has no say in it. */
#include <stdio.h>
#include <string.h>

#include "ffn/path_parts.h"

void phy_path_trace_ran(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    struct path_trace *trace = user;
    for (size_t i = 0; i < trace->count; i++) {
        const struct path_event *e = &trace->events[i];
        if (e->op == trace->op && e->kernel == kernel && e->type == type && strcmp(e->form, form) == 0)
            return;
    }
    if (trace->count == PATH_MAX_EVENTS) {
        trace->overflow = true;
        return;
    }
    struct path_event *event = &trace->events[trace->count++];
    *event = (struct path_event){.op = trace->op, .kernel = kernel, .type = type};
    snprintf(event->form, sizeof event->form, "%s", form);
}

/* ---- which row of the table ---- */

static uint32_t bit(unsigned n)
{
    return UINT32_C(1) << n;
}

/* Operations that a family is made of: all of one of these sets, and nothing else. */
static bool family_is(enum path_family family, uint32_t ops)
{
    const bool split = ops == (bit(OP_GATE_UP) | bit(OP_DOWN)) || ops == bit(OP_FFN);
    const bool paired = ops == (bit(OP_PAIRED) | bit(OP_DOWN)) || ops == bit(OP_FFN_PAIRED);
    switch (family) {
    case PATH_DENSE:
        return split;
    case PATH_PAIRED:
        return paired;
    case PATH_STORED:
        return split || paired;
    case PATH_LISTED: /* all features need no scores */
        return ops == (bit(OP_SCORE) | bit(OP_WALK_LISTED)) || ops == bit(OP_WALK_LISTED);
    default:
        return ops == bit(OP_WALK_ALL);
    }
}

/* Formats that the operation may read, of a path. */
static uint32_t types_of(const struct path_rule *rule, enum path_op op)
{
    const uint32_t inputs = rule->widened ? bit(PHY_WEIGHT_F32) : rule->gate_types | rule->up_types;
    const uint32_t down = rule->widened ? bit(PHY_WEIGHT_F32) : rule->down_types;
    switch (op) {
    case OP_GATE_UP:
    case OP_PAIRED:
        return inputs;
    case OP_SCORE:
        return rule->gate_types;
    case OP_DOWN:
        return down;
    default:
        return inputs | down;
    }
}

static bool amounts_to(const struct path_trace *trace, const struct path_rule *rule)
{
    uint32_t ops = 0, types = 0;
    for (size_t i = 0; i < trace->count; i++) {
        const struct path_event *e = &trace->events[i];
        const bool walk = e->op == OP_WALK_LISTED || e->op == OP_WALK_ALL;
        /* What was decoded is multiplied as float32, which may be a report of its own. */
        const uint32_t decoded = rule->kernel == PHY_KERNEL_DEQUANT ? bit(PHY_WEIGHT_F32) : 0;
        if (e->kernel != (walk ? PHY_KERNEL_WALK : rule->kernel) || !((types_of(rule, e->op) | decoded) & bit(e->type)))
            return false;
        ops |= bit(e->op);
        types |= e->op == OP_SCORE ? 0 : bit(e->type);
    }
    /* up's format is what tells the paths of one family apart; an operation on all three matrices reports it, too. */
    const uint32_t up = rule->widened ? bit(PHY_WEIGHT_F32) : rule->up_types;
    return family_is(rule->family, ops) && (types & up);
}

static void write_kernels(const struct path_trace *trace, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < trace->count && used < bytes; i++) {
        const struct path_event *e = &trace->events[i];
        bool again = false;
        for (size_t j = 0; j < i; j++) {
            const struct path_event *f = &trace->events[j];
            again = again || (f->kernel == e->kernel && f->type == e->type && strcmp(f->form, e->form) == 0);
        }
        if (!again)
            used += (size_t)snprintf(out + used, bytes - used, "%s%s %s %s", used ? ", " : "",
                                     phy_kernel_name(e->kernel), phy_weight_format(e->type)->name, e->form);
    }
}

const char *phy_path_trace_read(const struct path_trace *trace, char *kernels, size_t bytes)
{
    write_kernels(trace, kernels, bytes);
    const char *const *names = phy_ffn_path_names();
    for (size_t i = 0; names[i] && !trace->overflow; i++) {
        if (amounts_to(trace, phy_path_rule_named(names[i])))
            return names[i];
    }
    return NULL;
}
