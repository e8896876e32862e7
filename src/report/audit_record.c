/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "report/audit_report.h"

static void free_run(struct phy_audit_run *run)
{
    phy_free(run->layers);
    phy_free(run->heat);
    phy_free(run->decoded_heat);
    phy_free(run->drives);
    phy_free(run->causes.lines);
}

static void free_prompt(struct phy_audit_prompt *prompt)
{
    for (size_t i = 0; prompt->tokens && i < prompt->id_count; i++)
        phy_free(prompt->tokens[i]);
    phy_free(prompt->tokens);
    phy_free(prompt->name);
    phy_free(prompt->text);
    phy_free(prompt->ids);
    phy_free(prompt->positions);
}

void phy_audit_record_free(struct phy_audit_record *r)
{
    for (size_t i = 0; i < r->run_count; i++)
        free_run(&r->runs[i]);
    for (size_t i = 0; i < r->prompt_count; i++)
        free_prompt(&r->prompts[i]);
    void *all[] = {r->model_name, r->against_name, r->devices, r->modules,        r->prompts,
                   r->layers,     r->runs,         r->skips,   r->oracle.prompts, r->oracle.causes.lines};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        phy_free(all[i]);
    *r = (struct phy_audit_record){0};
}

void phy_audit_add_cause(struct phy_audit_causes *causes, const char *format, ...)
{
    void *grown = phy_realloc(causes->lines, causes->count + 1, sizeof *causes->lines);
    if (!grown)
        return;
    causes->lines = grown;
    va_list args;
    va_start(args, format);
    vsnprintf(causes->lines[causes->count++], sizeof *causes->lines, format, args);
    va_end(args);
}

const char *phy_audit_where(char out[PHY_AUDIT_NAME], const struct phy_audit_record *record,
                            const struct phy_audit_observation *at)
{
    snprintf(out, PHY_AUDIT_NAME, "L%u/%.40s/%u", at->layer, record->prompts[at->prompt].name, at->position);
    return out;
}

const char *phy_audit_cos(char out[32], double one_minus_cos)
{
    if (!isfinite(one_minus_cos))
        snprintf(out, 32, "-");
    else if (one_minus_cos > 0 && one_minus_cos < 5e-8)
        snprintf(out, 32, "1 - %.1e", one_minus_cos);
    else
        snprintf(out, 32, "%.*f", one_minus_cos < 1e-4 ? 8 : 6, 1 - one_minus_cos);
    return out;
}
