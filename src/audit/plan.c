/* SPDX-License-Identifier: Apache-2.0 */
/* What is run: paths of each storage, and the layers, positions and prompts that a budget leaves. */
#include <stdio.h>
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/log.h"

const char *const phy_audit_schemes[] = {"f32", "f16", "q8_0",    "q6_k",  "q4_0",   "q4_k",
                                         "fp8", "fp4", "fp4_all", "mxfp4", "bitmap", NULL};

/* Which paths are made of which storage. */
static const struct phy_audit_case cases[] = {
    {"donor", "exact", true},
    {"donor", "full_mmap", false},
    {"donor", "full_mmap:bf16", false},
    {"donor", "interleaved", false},
    {"donor", "sparse", false},
    {"f32", "exact", false},
    {"f32", "full_mmap", false},
    {"f32", "interleaved", false},
    {"f32", "sparse", true},
    {"f16", "exact", true},
    {"f16", "full_mmap", false},
    {"f16", "interleaved", false},
    {"f16", "sparse", false},
    {"bf16", "exact", false},
    {"bf16", "full_mmap", false},
    {"bf16", "full_mmap:bf16", false},
    {"bf16", "interleaved", false},
    {"bf16", "sparse", false},
    {"q8_0", "interleaved_q8_0", false},
    {"q6_k", "interleaved_q6_K", false},
    {"q4_0", "interleaved_q4_0", false},
    {"q4_k", "interleaved_q4k:dequant", false},
    {"q4_k", "interleaved_q4k:fused", false},
    {"q4_k", "interleaved_q4k:int8", false},
    {"fp8", "fp8_storage", false},
    {"fp4", "fp4_storage:sparse", false},
    {"fp4_all", "fp4_storage:sparse", false},
    {"mxfp4", "mxfp4_storage", false},
    {"bitmap", "bitmap", false},
};
enum { CASES = sizeof cases / sizeof *cases };

/* `name` is one of the comma-separated `list`; all are in NULL. */
static bool is_listed(const char *list, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",") == bytes && memcmp(at, name, bytes) == 0)
            return true;
    }
    return !list;
}

/* Of a store that the user names, of another tool perhaps, every path that is named is tried: what it does not offer is
 * skipped with the reason. */
static void take_named(struct phy_audit_case *out, const char *scheme, const char *list)
{
    const char *const *names = phy_ffn_path_names();
    for (size_t i = 0, count = 0; names[i] && count < CASES; i++) {
        if (is_listed(list, names[i]))
            out[count++] = (struct phy_audit_case){scheme, names[i], false};
    }
}

struct phy_audit_case *phy_audit_cases(const struct phy_audit *audit, const char *scheme)
{
    struct phy_audit_case *out = phy_zalloc(CASES + 1, sizeof *out);
    size_t count = 0;
    if (out && audit->params.store && audit->params.paths) {
        take_named(out, scheme, audit->params.paths);
        return out;
    }
    for (size_t i = 0; out && i < CASES; i++) {
        if (audit->params.all && !audit->params.paths && cases[i].again)
            continue;
        if (audit->dense && strcmp(cases[i].scheme, "bitmap") == 0)
            continue;
        if (strcmp(cases[i].scheme, scheme) == 0 && is_listed(audit->params.paths, cases[i].path))
            out[count++] = cases[i];
    }
    return out;
}

bool phy_audit_has_path(const struct phy_audit *audit, const char *path)
{
    bool has = audit->params.store != NULL;
    for (size_t i = 0; i < CASES; i++)
        has |= strcmp(cases[i].path, path) == 0 && (audit->params.all || strcmp(cases[i].scheme, "donor") == 0);
    return has;
}

/* ---- the budget ---- */

/* Multiplications a second, in round figures of a laptop of 2020 with two threads. They only have to be the same
 * everywhere, and in the right proportion. */
static double speed_of(const char *device)
{
    return strcmp(device, "cpu:ref") == 0       ? 1e9
           : strcmp(device, "cpu:avx2") == 0    ? 8e9
           : strcmp(device, "cpu:avx512") == 0  ? 12e9
           : strncmp(device, "vulkan:", 7) == 0 ? 2e9
                                                : 1e9 /* the reference */;
}

static double layer_work(const struct phy_audit *audit)
{
    return 3.0 * (double)audit->record.hidden_size * (double)audit->record.intermediate_size;
}

double phy_audit_cost(const struct phy_audit *audit, const char *device)
{
    const struct phy_audit_record *r = &audit->record;
    double observed = 0, driven = 0;
    for (size_t i = 0; i < r->prompt_count; i++) {
        observed += (double)(r->prompts[i].position_count * r->layer_count);
        driven += (double)(r->prompts[i].id_count * r->model_layers);
    }
    /* Driving also needs attention and the head, about half as much again. Making a path costs a pass over its weights.
     */
    return layer_work(audit) * ((observed + 1.5 * driven) / speed_of(device) + (double)r->model_layers / 1e9);
}

static double whole_cost(const struct phy_audit *audit)
{
    const struct phy_audit_record *r = &audit->record;
    double seconds = 0;
    size_t references = 2; /* recorded, and driving */
    for (int i = -1; i < 0 || phy_audit_schemes[i]; i++) {
        const char *scheme = i < 0 ? "donor" : phy_audit_schemes[i];
        struct phy_audit_case *list = phy_audit_cases(audit, scheme);
        if (i >= 0 && !audit->params.all)
            list = (phy_free(list), NULL);
        references += list && list[0].path;
        for (size_t k = 0; list && list[k].path; k++) {
            for (size_t d = 0; d < r->device_count; d++)
                seconds += phy_audit_cost(audit, r->devices[d].name);
        }
        phy_free(list);
    }
    return seconds + (double)references * phy_audit_cost(audit, "reference");
}

/* At most `most` of `from` things, evenly spread, the first and the last among them. */
static size_t spread(uint32_t *out, size_t from, size_t most)
{
    size_t count = from < most ? from : most;
    for (size_t i = 0; i < count; i++)
        out[i] = (uint32_t)(count == 1 ? from - 1 : i * (from - 1) / (count - 1));
    return count;
}

static void choose(struct phy_audit *audit, size_t layers, size_t positions)
{
    struct phy_audit_record *r = &audit->record;
    r->layer_count = spread(r->layers, r->model_layers, layers);
    r->position_count = 0;
    for (size_t i = 0; i < r->prompt_count; i++) {
        struct phy_audit_prompt *p = &r->prompts[i];
        p->position_count = spread(p->positions, p->id_count, positions);
        p->first = r->position_count;
        r->position_count += p->position_count;
    }
}

static void drop_last_prompt(struct phy_audit_record *r)
{
    struct phy_audit_prompt *p = &r->prompts[--r->prompt_count];
    for (size_t i = 0; i < p->id_count; i++)
        phy_free(p->tokens[i]);
    void *all[] = {p->tokens, p->name, p->text, p->ids, p->positions};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        phy_free(all[i]);
    r->dropped_prompts++;
}

enum phy_status phy_audit_plan(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    /* First positions go, then layers, then prompts: a prompt brings its own tokens, which no other position replaces.
     */
    static const struct {
        size_t layers, positions;
    } steps[] = {{SIZE_MAX, 256}, {SIZE_MAX, 16}, {SIZE_MAX, 8}, {16, 8}, {8, 4}, {4, 2}};
    r->layers = phy_alloc(r->model_layers, sizeof *r->layers);
    bool ready = r->layers != NULL;
    for (size_t i = 0; i < r->prompt_count; i++) {
        r->prompts[i].positions = phy_alloc(r->prompts[i].id_count, sizeof(uint32_t));
        ready &= r->prompts[i].positions != NULL;
    }
    if (!ready)
        return phy_fail_memory(audit->host, "the plan", r->model_layers * sizeof *r->layers);
    const double budget = (double)audit->params.budget_seconds;
    r->budget_seconds = audit->params.budget_seconds;
    choose(audit, SIZE_MAX, steps[0].positions);
    for (size_t i = 1; r->budget_seconds && i < sizeof steps / sizeof *steps && whole_cost(audit) > budget; i++)
        choose(audit, steps[i].layers, steps[i].positions);
    while (r->budget_seconds && r->prompt_count > 1 && whole_cost(audit) > budget) {
        drop_last_prompt(r);
        choose(audit, r->layer_count, 2);
    }
    r->estimated_seconds = whole_cost(audit);
    return PHY_OK;
}
