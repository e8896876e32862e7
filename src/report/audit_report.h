/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit found, and the files made of it; docs/audit.md describes every field. */
#ifndef PHY_REPORT_AUDIT_REPORT_H
#define PHY_REPORT_AUDIT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "physarium/device.h"
#include "physarium/host.h"
#include "report/text.h"

#define PHY_AUDIT_SCHEMA "physarium.audit"
enum { PHY_AUDIT_SCHEMA_VERSION = 1, PHY_AUDIT_WORST = 24, PHY_AUDIT_NAME = 64, PHY_AUDIT_SENTENCE = 512 };

/* One layer's output at one position of one prompt. */
struct phy_audit_observation {
    uint32_t layer, prompt, position;
    double one_minus_cos, rel_l2, abs_l2, max_diff;
};

/* All observations against one reference. */
struct phy_audit_pair {
    uint64_t count;
    double max_one_minus_cos, max_rel_l2, max_abs_l2, max_diff;
    double mean_one_minus_cos, mean_rel_l2; /* of observations */
    struct phy_audit_observation worst;     /* largest rel_l2; the first of equals */
};

struct phy_audit_layer {
    uint32_t layer;
    struct phy_audit_pair original, decoded;
};

/* What the path may be off by. Values that are not bounded are infinite. */
struct phy_audit_limits {
    double one_minus_cos, rel_l2, anchor_dp;
    double decoded_one_minus_cos, decoded_rel_l2;
    char source[PHY_AUDIT_NAME]; /* "bounds.json: this path", "default: exact" ... */
};

/* One prompt with the path driving. */
struct phy_audit_drive {
    uint32_t top, reference_top;
    double reference_probability, probability, kl_bits;
    bool done; /* false: the pass failed, or gave NaN */
};

struct phy_audit_causes {
    char (*lines)[PHY_AUDIT_SENTENCE];
    size_t count;
};

struct phy_audit_run {
    char path[PHY_AUDIT_NAME], device[PHY_AUDIT_NAME], bucket[16];
    char scheme[16], layout[16]; /* of the store; scheme "donor": the model's own matrices */
    char store_digest[40];       /* "" for the model's own */
    char kernels[160];           /* what ran, in the order seen: "fused q4_K avx512, fused q6_K avx512" */
    bool bounded;                /* false: measured, never judged (surgery's effect) */
    bool has_decoded;            /* decoded weights are compared with, too */
    struct phy_audit_pair original, decoded;
    struct phy_audit_layer *layers; /* (record.layer_count) */
    struct phy_audit_observation worst[PHY_AUDIT_WORST];
    size_t worst_count;
    float *heat, *decoded_heat; /* (record.layer_count, record.position_count) rel_l2; NaN: not finite. Not in JSON */
    uint64_t dispatch_expected, dispatch_seen;
    struct phy_audit_drive *drives; /* (record.prompt_count) */
    uint32_t top1_match;
    double anchor_dp, kl_bits; /* the largest of the prompts */
    uint64_t output_xxh3;      /* of all outputs of the dual pass: equal ones are equal bit for bit */
    bool has_output_xxh3;
    struct phy_audit_limits limits;
    bool passed;
    bool broken; /* it failed by more than a bound: dispatch, NaN, an error; no bound may be set from it */
    struct phy_audit_causes causes; /* of a failure, the first is the plainest */
    double seconds;
};

struct phy_audit_prompt {
    char *name, *text;
    uint32_t *ids; /* (id_count) */
    size_t id_count;
    uint32_t *positions; /* (position_count) ascending: those that are observed */
    size_t position_count;
    size_t first;  /* index of its first position among all prompts' */
    char **tokens; /* (id_count) as text */
};

struct phy_audit_skip {
    char path[PHY_AUDIT_NAME], device[PHY_AUDIT_NAME], scheme[16], reason[PHY_AUDIT_SENTENCE];
};

/* The reference against stored logits of another implementation. */
struct phy_audit_oracle {
    bool present;
    char source[PHY_AUDIT_NAME];     /* what made them */
    char reason[PHY_AUDIT_SENTENCE]; /* why there is none */
    struct phy_audit_oracle_prompt {
        uint32_t prompt;
        double rel_l2, anchor_dp, kl_bits;
        bool top1;
    } * prompts;
    size_t prompt_count;
    double max_rel_l2, limit;
    bool passed;
    struct phy_audit_causes causes;
};

struct phy_audit_module {
    char name[PHY_AUDIT_NAME];
    uint64_t digest;
};

struct phy_audit_record {
    char *model_name, *against_name; /* last parts of paths; against_name NULL without one */
    char model_type[32], model_digest[40], against_digest[40];
    uint32_t model_layers, hidden_size, intermediate_size, vocab_size;
    struct phy_device_info *devices; /* (device_count) those audited */
    size_t device_count;
    char rest[PHY_AUDIT_NAME], driven_rest[PHY_AUDIT_NAME]; /* devices of all but the FFN, dual and driven */
    struct phy_audit_module *modules;
    size_t module_count;
    struct phy_audit_prompt *prompts;
    size_t prompt_count, dropped_prompts;
    size_t position_count; /* of all prompts */
    uint32_t *layers;      /* (layer_count) those observed, ascending */
    size_t layer_count;
    uint64_t budget_seconds; /* 0: none */
    double estimated_seconds;
    struct phy_audit_oracle oracle;
    struct phy_audit_run *runs;
    size_t run_count;
    struct phy_audit_skip *skips;
    size_t skip_count;
    bool passed;
    /* What differs between two runs of the same program: */
    double seconds;
    char date[16]; /* "2026-05-01", UTC */
};

void phy_audit_record_free(struct phy_audit_record *record);
/* Appends a formatted sentence; one that does not fit in memory is lost, which fails the run all the same. */
void phy_audit_add_cause(struct phy_audit_causes *causes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "L5/paris/2", with room for any prompt's name that is cut at 40 bytes. */
const char *phy_audit_where(char out[PHY_AUDIT_NAME], const struct phy_audit_record *record,
                            const struct phy_audit_observation *at);
/* The floor on cos that a bound on 1 - cos stands for, and cos itself, with every nine that says something: "0.9999999"
 * or "1 - 3.2e-14". */
const char *phy_audit_cos(char out[32], double one_minus_cos);

/* Each leaves out->failed set when memory ran out. */
void phy_audit_put_json(struct phy_text *out, const struct phy_audit_record *record);
void phy_audit_put_markdown(struct phy_text *out, const struct phy_audit_record *record);
void phy_audit_put_html(struct phy_text *out, const struct phy_audit_record *record);
void phy_audit_put_junit(struct phy_text *out, const struct phy_audit_record *record);
/* The table for a terminal. */
void phy_audit_put_table(struct phy_text *out, const struct phy_audit_record *record);

/* Build facts for the reports: "gcc 12.2.0", "-O2 -DNDEBUG", "1a2b3c4d". */
extern const char phy_audit_compiler[], phy_audit_flags[], phy_audit_revision[];

#endif
