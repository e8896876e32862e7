/* SPDX-License-Identifier: Apache-2.0 */
/* Stored logits of an unrelated implementation: the one thing that sees an error which the reference and every path
 * share.
 *
 *   {"schema": "physarium.oracle", "schema_version": 1, "digest": "<16 hex>", "source": "...", "vocab_size": N,
 *    "prompts": [{"name", "ids": [...], "log_sum": ln sum e^logit, "sample": [[id, logit], ...]}]}
 *
 * A sample holds the likeliest tokens and some of every kind of the others. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/audit_parts.h"
#include "audit/small_file.h"
#include "base/alloc.h"
#include "base/log.h"

enum { ORACLE_MAX_BYTES = 64 << 20 };
/* Float32 against float64 is 3e-7 to 1.4e-6 on published models; the smallest mistake that we know 7e-5. */
#define ORACLE_LIMIT 1e-5

/* ENOENT: there is none for this model. */
static int read_text(const struct phy_audit *audit, char **text, char *name, size_t name_bytes)
{
    char path[4096];
    struct stat found;
    *text = NULL;
    snprintf(name, name_bytes, "%s.json", audit->record.model_digest);
    if (stat(audit->params.oracle, &found) != 0)
        return errno;
    if (S_ISDIR(found.st_mode))
        snprintf(path, sizeof path, "%.4000s/%s", audit->params.oracle, name);
    else
        snprintf(path, sizeof path, "%.4095s", audit->params.oracle);
    return phy_read_small_file(path, ORACLE_MAX_BYTES, text, NULL);
}

static bool same_ids(const cJSON *ids, const struct phy_audit_prompt *prompt)
{
    const cJSON *item;
    size_t i = 0;
    cJSON_ArrayForEach(item, ids)
    {
        if (i >= prompt->id_count || !cJSON_IsNumber(item) || item->valuedouble != (double)prompt->ids[i])
            return false;
        i++;
    }
    return i == prompt->id_count;
}

/* The sample against our logits: distance, the top token, its probability, and the divergence of the sample's tokens
 * with all others as one. False: the file breaks a rule. */
static bool compare_sample(const cJSON *item, const float *logits, size_t vocab, struct phy_audit_oracle_prompt *out,
                           uint32_t *top)
{
    const cJSON *log_sum = cJSON_GetObjectItemCaseSensitive(item, "log_sum"),
                *sample = cJSON_GetObjectItemCaseSensitive(item, "sample"), *pair;
    double square = 0, error = 0, best = -INFINITY, ours = phy_log_sum(logits, vocab), kl = 0, p_rest = 1, q_rest = 1;
    if (!cJSON_IsNumber(log_sum) || !cJSON_IsArray(sample) || !sample->child)
        return false;
    cJSON_ArrayForEach(pair, sample)
    {
        const cJSON *id = cJSON_GetArrayItem(pair, 0), *value = cJSON_GetArrayItem(pair, 1);
        if (!cJSON_IsNumber(id) || !cJSON_IsNumber(value) || id->valuedouble < 0 || id->valuedouble >= (double)vocab)
            return false;
        double theirs = value->valuedouble, mine = (double)logits[(size_t)id->valuedouble];
        double p = theirs - log_sum->valuedouble, q = mine - ours;
        square += theirs * theirs;
        error += (theirs - mine) * (theirs - mine);
        kl += exp(p) * (p - q);
        p_rest -= exp(p);
        q_rest -= exp(q);
        if (theirs > best) {
            best = theirs;
            *top = (uint32_t)id->valuedouble;
        }
    }
    if (p_rest > 1e-9 && q_rest > 1e-9)
        kl += p_rest * log(p_rest / q_rest);
    out->rel_l2 = square > 0 && isfinite(error) ? sqrt(error / square) : INFINITY;
    out->kl_bits = fmax(kl, 0) / log(2);
    out->anchor_dp = fabs(exp(best - log_sum->valuedouble) - exp((double)logits[*top] - ours));
    return true;
}

static enum phy_status add_prompt(struct phy_audit *audit, const cJSON *item, size_t prompt, const char *file)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_audit_oracle *o = &r->oracle;
    const float *logits = audit->logits + prompt * r->vocab_size;
    struct phy_audit_oracle_prompt *out = &o->prompts[o->prompt_count];
    uint32_t top = 0;
    *out = (struct phy_audit_oracle_prompt){.prompt = (uint32_t)prompt};
    if (!same_ids(cJSON_GetObjectItemCaseSensitive(item, "ids"), &r->prompts[prompt])) {
        phy_audit_add_cause(&o->causes, "%.40s: its token ids are not the oracle's: the tokenizer differs",
                            r->prompts[prompt].name);
        return PHY_OK;
    }
    if (!compare_sample(item, logits, r->vocab_size, out, &top))
        return phy_fail(audit->host, PHY_ERR_FORMAT, "%s: prompt \"%.40s\": needs ids, log_sum and sample", file,
                        r->prompts[prompt].name);
    out->top1 = true;
    for (size_t i = 0; i < r->vocab_size; i++)
        out->top1 &= logits[i] <= logits[top];
    o->prompt_count++;
    o->max_rel_l2 = fmax(o->max_rel_l2, out->rel_l2);
    if (!(out->rel_l2 <= o->limit))
        phy_audit_add_cause(
            &o->causes,
            "%.40s: the reference's logits are %.3e from the oracle's, at most %.0e: norm, rope, attention "
            "or the reading of weights or config.json differs; paths share this error and cannot show it",
            r->prompts[prompt].name, out->rel_l2, o->limit);
    return PHY_OK;
}

static enum phy_status take(struct phy_audit *audit, const cJSON *root, const char *file)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_audit_oracle *o = &r->oracle;
    const cJSON *digest = cJSON_GetObjectItemCaseSensitive(root, "digest"),
                *source = cJSON_GetObjectItemCaseSensitive(root, "source"),
                *prompts = cJSON_GetObjectItemCaseSensitive(root, "prompts"), *item;
    if (!cJSON_IsString(digest) || !cJSON_IsString(source) || !cJSON_IsArray(prompts))
        return phy_fail(audit->host, PHY_ERR_FORMAT, "%s: not JSON with digest, source and prompts", file);
    if (strcmp(digest->valuestring, r->model_digest) != 0) {
        snprintf(o->reason, sizeof o->reason, "the oracle is of weights %.16s, these are %s", digest->valuestring,
                 r->model_digest);
        return PHY_OK;
    }
    o->present = true;
    o->limit = ORACLE_LIMIT;
    snprintf(o->source, sizeof o->source, "%s", source->valuestring);
    o->prompts = phy_zalloc((size_t)cJSON_GetArraySize(prompts) + 1, sizeof *o->prompts);
    if (!o->prompts)
        return phy_fail_memory(audit->host, "the oracle", sizeof *o->prompts);
    enum phy_status status = PHY_OK;
    cJSON_ArrayForEach(item, prompts)
    {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(item, "name");
        for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
            if (cJSON_IsString(name) && strcmp(name->valuestring, r->prompts[i].name) == 0)
                status = add_prompt(audit, item, i, file);
        }
    }
    if (status == PHY_OK && !o->prompt_count && !o->causes.count)
        phy_audit_add_cause(&o->causes, "the oracle has none of the prompts");
    o->passed = o->causes.count == 0;
    return status;
}

enum phy_status phy_audit_oracle(struct phy_audit *audit)
{
    struct phy_audit_oracle *o = &audit->record.oracle;
    char *text, name[64];
    if (!audit->params.oracle) {
        snprintf(o->reason, sizeof o->reason, "no stored logits were given");
        return PHY_OK;
    }
    int error = read_text(audit, &text, name, sizeof name);
    if (error == ENOENT) {
        snprintf(o->reason, sizeof o->reason, "no stored logits of weights %s", audit->record.model_digest);
        return PHY_OK;
    }
    if (error)
        return phy_fail(audit->host, PHY_ERR_IO, "%s: %s", audit->params.oracle, strerror(error));
    cJSON *root = cJSON_Parse(text);
    phy_free(text);
    enum phy_status status = take(audit, root, audit->params.oracle);
    cJSON_Delete(root);
    return status;
}
