/* SPDX-License-Identifier: Apache-2.0 */
/* The reference in the place of a model's FFN, and on recorded inputs. */
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"

struct phy_reference_layer phy_audit_model_layer(const struct phy_model *model, uint32_t layer)
{
    const struct phy_layer *l = &model->layers[layer];
    return (struct phy_reference_layer){.gate = &l->gate,
                                        .up = &l->up,
                                        .down = &l->down,
                                        .gate_bias = l->gate_bias,
                                        .up_bias = l->up_bias,
                                        .down_bias = l->down_bias};
}

struct phy_reference phy_audit_reference(const struct phy_audit *audit, const struct phy_model *model)
{
    const struct phy_model_config *c = &model->config;
    return (struct phy_reference){model->pool, c->activation, c->hidden_size, c->intermediate_size, audit->host};
}

enum phy_status phy_recording_alloc(struct phy_recording *out, const struct phy_audit *audit, bool inputs)
{
    const struct phy_audit_record *r = &audit->record;
    *out = (struct phy_recording){.prompt_count = r->prompt_count};
    out->x = phy_zalloc(r->prompt_count, sizeof *out->x);
    out->y = phy_zalloc(r->prompt_count, sizeof *out->y);
    bool done = out->x && out->y;
    for (size_t i = 0; done && i < r->prompt_count; i++) {
        size_t values;
        done = phy_mul_size(r->layer_count * r->prompts[i].position_count, r->hidden_size, &values);
        if (done) {
            out->y[i] = phy_alloc(values, sizeof(float));
            out->x[i] = inputs ? phy_alloc(values, sizeof(float)) : NULL;
            done = out->y[i] && (out->x[i] || !inputs);
        }
    }
    if (done)
        return PHY_OK;
    phy_recording_free(out);
    return phy_fail(audit->host, PHY_ERR_MEMORY, "out of memory: %zu layers x %zu positions of %u values",
                    r->layer_count, r->position_count, r->hidden_size);
}

void phy_recording_free(struct phy_recording *recording)
{
    for (size_t i = 0; i < recording->prompt_count; i++) {
        if (recording->x)
            phy_free(recording->x[i]);
        if (recording->y)
            phy_free(recording->y[i]);
    }
    phy_free(recording->x);
    phy_free(recording->y);
    *recording = (struct phy_recording){0};
}

/* ---- driving ---- */

struct driver {
    struct phy_ffn base;
    struct phy_audit *audit;
    struct phy_model *model;
    struct phy_recording *recording; /* or NULL */
    size_t prompt;
    size_t done; /* positions of this prompt before the chunk at work */
    size_t chunk;
};

/* Index of `value` in the ascending list, or SIZE_MAX. */
static size_t index_of(const uint32_t *list, size_t count, size_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == value)
            return i;
    }
    return SIZE_MAX;
}

static void keep(struct driver *d, uint32_t layer, const float *x, size_t count, const float *y)
{
    const struct phy_audit_record *r = &d->audit->record;
    const struct phy_audit_prompt *p = &r->prompts[d->prompt];
    const size_t at = index_of(r->layers, r->layer_count, layer), hidden = r->hidden_size;
    if (at == SIZE_MAX)
        return;
    for (size_t i = 0; i < p->position_count; i++) {
        size_t position = p->positions[i];
        if (position < d->done || position >= d->done + count)
            continue;
        size_t to = (at * p->position_count + i) * hidden, from = (position - d->done) * hidden;
        memcpy(d->recording->x[d->prompt] + to, x + from, hidden * sizeof *x);
        memcpy(d->recording->y[d->prompt] + to, y + from, hidden * sizeof *y);
    }
}

static enum phy_status forward(struct phy_ffn *ffn, uint32_t layer, const float *x, size_t count, float *y)
{
    struct driver *d = (struct driver *)ffn;
    const struct phy_reference reference = phy_audit_reference(d->audit, d->model);
    const struct phy_reference_layer weights = phy_audit_model_layer(d->model, layer);
    if (layer == 0) {
        d->done += d->chunk;
        d->chunk = count;
    }
    enum phy_status status = phy_reference_forward(&reference, &weights, x, count, y);
    if (status == PHY_OK && d->recording)
        keep(d, layer, x, count, y);
    phy_audit_add_work(d->audit, 3 * count * d->audit->record.hidden_size * d->audit->record.intermediate_size);
    return status;
}

static bool keep_logits(void *user, uint32_t position, const float *logits)
{
    struct phy_audit_logits {
        float *to;
        size_t vocab;
    } *kept = user;
    (void)position;
    memcpy(kept->to, logits, kept->vocab * sizeof *logits);
    return true;
}

enum phy_status phy_audit_reference_pass(struct phy_audit *audit, struct phy_model *model, struct phy_recording *record,
                                         float *logits)
{
    static const struct phy_ffn_ops ops = {.forward = forward};
    const struct phy_audit_record *r = &audit->record;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
        struct driver driver = {
            .base = {.ops = &ops, .every_row = true}, .audit = audit, .model = model, .recording = record, .prompt = i};
        struct {
            float *to;
            size_t vocab;
        } kept = {logits ? logits + i * r->vocab_size : NULL, r->vocab_size};
        struct phy_session *session;
        phy_model_set_ffn(model, &driver.base);
        status = phy_session_create(&session, model, (uint32_t)r->prompts[i].id_count);
        phy_model_set_ffn(model, NULL);
        if (status == PHY_OK)
            status = phy_session_forward(session, r->prompts[i].ids, r->prompts[i].id_count, UINT32_MAX,
                                         logits ? keep_logits : NULL, &kept);
        phy_session_destroy(&session);
    }
    return status;
}

/* ---- on recorded inputs ---- */

enum phy_status phy_audit_reference_on(struct phy_audit *audit, const struct phy_model *model,
                                       phy_layer_source *layer_of, const void *user, struct phy_recording *out)
{
    const struct phy_audit_record *r = &audit->record;
    const struct phy_reference reference = phy_audit_reference(audit, model);
    enum phy_status status = phy_recording_alloc(out, audit, false);
    for (size_t l = 0; l < r->layer_count && status == PHY_OK; l++) {
        struct phy_reference_layer layer;
        status = phy_check_cancelled(audit->host);
        if (status == PHY_OK && !layer_of(user, r->layers[l], &layer))
            status = PHY_ERR_FORMAT;
        for (size_t i = 0; i < r->prompt_count && status == PHY_OK; i++) {
            const size_t count = r->prompts[i].position_count, at = l * count * r->hidden_size;
            status = phy_reference_forward(&reference, &layer, audit->recording.x[i] + at, count, out->y[i] + at);
            phy_audit_add_work(audit, 3 * count * r->hidden_size * r->intermediate_size);
        }
    }
    if (status != PHY_OK)
        phy_recording_free(out);
    return status;
}
