/* SPDX-License-Identifier: Apache-2.0 */
/* Surgery's effect: the pruned FFN beside the donor's, on the donor's inputs; then the pruned model by itself. */
#include <stdio.h>
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/path_name.h"

static enum phy_status check_shape(const struct phy_audit *audit, const struct phy_model *pruned)
{
    const struct phy_model_config *a = &audit->model->config, *b = &pruned->config;
    if (a->layer_count == b->layer_count && a->hidden_size == b->hidden_size &&
        a->intermediate_size == b->intermediate_size && a->vocab_size == b->vocab_size)
        return PHY_OK;
    return phy_fail(audit->host, PHY_ERR_MISMATCH, "%s: %u layers of %u x %u, vocabulary %u; %s: %u of %u x %u, %u",
                    audit->params.against, b->layer_count, b->intermediate_size, b->hidden_size, b->vocab_size,
                    audit->params.donor, a->layer_count, a->intermediate_size, a->hidden_size, a->vocab_size);
}

static bool pruned_layer(const void *user, uint32_t index, struct phy_reference_layer *out)
{
    *out = phy_audit_model_layer(user, index);
    return true;
}

/* The donor's distribution beside the pruned model's, each with its own reference driving. */
static enum phy_status drive(struct phy_audit *audit, struct phy_audit_run *run, struct phy_model *pruned)
{
    const struct phy_audit_record *r = &audit->record;
    float *logits = phy_alloc(r->prompt_count * r->vocab_size, sizeof *logits);
    if (!logits)
        return phy_fail_memory(audit->host, "logits", r->prompt_count * r->vocab_size);
    enum phy_status status = phy_audit_reference_pass(audit, pruned, NULL, logits);
    for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
        struct phy_driven_metrics d;
        phy_driven_metrics_of(&d, logits + i * r->vocab_size, audit->logits + i * r->vocab_size, r->vocab_size);
        if (!d.finite) {
            phy_audit_add_cause(&run->causes, "driving %.40s: NaN or infinity in the logits", r->prompts[i].name);
            continue;
        }
        double dp = d.probability - d.reference_probability;
        run->drives[i] =
            (struct phy_audit_drive){d.top, d.reference_top, d.reference_probability, d.probability, d.kl_bits, true};
        run->top1_match += d.top == d.reference_top;
        run->anchor_dp = dp > run->anchor_dp ? dp : -dp > run->anchor_dp ? -dp : run->anchor_dp;
        run->kl_bits = d.kl_bits > run->kl_bits ? d.kl_bits : run->kl_bits;
    }
    phy_free(logits);
    return status;
}

static enum phy_status measure(struct phy_audit *audit, struct phy_model *pruned)
{
    const struct phy_audit_record *r = &audit->record;
    struct phy_audit_run *run = phy_audit_new_run(audit);
    struct phy_recording outputs = {0};
    struct phy_measuring measuring = {0};
    double began = phy_seconds_now();
    if (!run)
        return phy_fail_memory(audit->host, "a run", sizeof *run);
    run->bounded = false;
    snprintf(run->path, sizeof run->path, "surgery");
    snprintf(run->device, sizeof run->device, "reference");
    snprintf(run->bucket, sizeof run->bucket, "surgery");
    snprintf(run->scheme, sizeof run->scheme, "against");
    enum phy_status status = phy_audit_reference_on(audit, audit->model, pruned_layer, pruned, &outputs);
    if (status == PHY_OK)
        status = phy_measuring_begin(&measuring, audit, run, NULL);
    for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
        const size_t count = r->prompts[i].position_count;
        for (size_t l = 0; l < r->layer_count; l++)
            phy_measuring_add(&measuring, i, l, 0, outputs.y[i] + l * count * r->hidden_size, count);
    }
    if (status == PHY_OK) {
        status = drive(audit, run, pruned);
        phy_measuring_end(&measuring);
        run->passed = run->causes.count == 0;
    }
    run->seconds = phy_seconds_now() - began;
    phy_measuring_free(&measuring);
    phy_recording_free(&outputs);
    return status;
}

enum phy_status phy_audit_surgery(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_model *pruned;
    struct phy_model_params params = {.device = "cpu", .threads = audit->params.threads, .host = audit->host};
    enum phy_status status = phy_model_open(&pruned, audit->params.against, &params);
    if (status != PHY_OK)
        return status;
    r->against_name = phy_path_last_part(audit->params.against);
    if (!r->against_name)
        status = phy_fail_memory(audit->host, "a name", strlen(audit->params.against));
    if (status == PHY_OK)
        status = check_shape(audit, pruned);
    if (status == PHY_OK)
        status = phy_audit_weight_digest(pruned->checkpoint, r->against_digest, sizeof r->against_digest, audit->host);
    if (status == PHY_OK)
        status = measure(audit, pruned);
    phy_model_close(&pruned);
    return status;
}
