/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs of a path become numbers, and numbers beyond their bounds become sentences. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/log.h"

/* Fewer outputs than this that equal the reference's bit for bit prove nothing. */
enum { SAME_BITS_MIN = 1000 };

/* One element of every output that is not computed is 1 / sqrt(hidden) of an output's error: less than what a kernel
 * that rounds activations may lose. So each element is also looked at over all observations, where being left out is a
 * relative error of 1, and rounding is not far from its share of the whole. */
static const double element_rel_l2 = 0.5;
enum { ELEMENT_OBSERVATIONS_MIN = 8 };

enum phy_status phy_measuring_begin(struct phy_measuring *m, struct phy_audit *audit, struct phy_audit_run *run,
                                    const struct phy_recording *decoded)
{
    const struct phy_audit_record *r = &audit->record;
    *m = (struct phy_measuring){
        .audit = audit, .run = run, .decoded = decoded, .same_bits = {true, true}, .all_zero = true};
    bool done = true;
    for (size_t i = 0; i < 4; i++)
        done &= (m->worst[i / 2][i % 2] = phy_zalloc(r->hidden_size, sizeof(float))) != NULL;
    m->hash = XXH3_createState();
    if (decoded) {
        m->element_error = phy_zalloc(r->hidden_size, sizeof *m->element_error);
        m->element_square = phy_zalloc(r->hidden_size, sizeof *m->element_square);
        done &= m->element_error && m->element_square;
    }
    run->has_decoded = decoded != NULL;
    run->layers = phy_zalloc(r->layer_count, sizeof *run->layers);
    run->heat = phy_zalloc(r->layer_count * r->position_count, sizeof *run->heat);
    run->decoded_heat = decoded ? phy_zalloc(r->layer_count * r->position_count, sizeof *run->heat) : NULL;
    done &= m->hash && run->layers && run->heat && (run->decoded_heat || !decoded);
    if (!done)
        return phy_fail_memory(audit->host, "a path's observations", r->layer_count * r->position_count);
    XXH3_64bits_reset(m->hash);
    for (size_t i = 0; i < r->layer_count; i++)
        run->layers[i].layer = r->layers[i];
    return PHY_OK;
}

void phy_measuring_free(struct phy_measuring *m)
{
    for (size_t i = 0; i < 4; i++)
        phy_free(m->worst[i / 2][i % 2]);
    phy_free(m->element_error);
    phy_free(m->element_square);
    XXH3_freeState(m->hash);
}

/* ---- adding ---- */

static void add_to_pair(struct phy_audit_pair *pair, const struct phy_audit_observation *at)
{
    pair->max_one_minus_cos = fmax(pair->max_one_minus_cos, at->one_minus_cos);
    pair->max_abs_l2 = fmax(pair->max_abs_l2, at->abs_l2);
    pair->max_diff = fmax(pair->max_diff, at->max_diff);
    pair->mean_one_minus_cos += at->one_minus_cos;
    pair->mean_rel_l2 += at->rel_l2;
    if (!pair->count++ || at->rel_l2 > pair->max_rel_l2) {
        pair->max_rel_l2 = at->rel_l2;
        pair->worst = *at;
    }
}

/* A short list, worst first. */
static void add_to_worst(struct phy_audit_run *run, const struct phy_audit_observation *at)
{
    size_t i = run->worst_count;
    while (i > 0 && at->rel_l2 > run->worst[i - 1].rel_l2)
        i--;
    if (i == PHY_AUDIT_WORST)
        return;
    run->worst_count += run->worst_count < PHY_AUDIT_WORST;
    memmove(run->worst + i + 1, run->worst + i, (run->worst_count - i - 1) * sizeof *at);
    run->worst[i] = *at;
}

static struct phy_audit_observation observe(struct phy_measuring *m, size_t which, size_t prompt, size_t layer,
                                            size_t position, const float *y, const float *ref)
{
    const struct phy_audit_record *r = &m->audit->record;
    struct phy_audit_run *run = m->run;
    struct phy_metrics metrics;
    phy_metrics_of(&metrics, y, ref, r->hidden_size);
    struct phy_audit_observation at = {r->layers[layer],      (uint32_t)prompt, r->prompts[prompt].positions[position],
                                       metrics.one_minus_cos, metrics.rel_l2,   metrics.abs_l2,
                                       metrics.max_diff};
    if (!metrics.finite && !m->not_finite) {
        char where[PHY_AUDIT_NAME];
        m->not_finite = true;
        phy_audit_add_cause(&run->causes, "NaN or infinity at %s, element %zu of %u", phy_audit_where(where, r, &at),
                            metrics.not_finite_at, r->hidden_size);
    }
    m->same_bits[which] &= metrics.same_bits && metrics.finite;
    m->values[which] += metrics.reference_zeros ? 0 : r->hidden_size;
    m->all_zero &= metrics.zeros;
    struct phy_audit_pair *pair = which ? &run->decoded : &run->original;
    if (!pair->count || at.rel_l2 > pair->max_rel_l2) {
        memcpy(m->worst[which][0], y, r->hidden_size * sizeof *y);
        memcpy(m->worst[which][1], ref, r->hidden_size * sizeof *ref);
    }
    add_to_pair(pair, &at);
    add_to_pair(which ? &run->layers[layer].decoded : &run->layers[layer].original, &at);
    float *heat = which ? run->decoded_heat : run->heat;
    heat[layer * r->position_count + r->prompts[prompt].first + position] = metrics.finite ? (float)at.rel_l2 : NAN;
    return at;
}

static void add_elements(struct phy_measuring *m, const float *y, const float *ref)
{
    for (size_t i = 0; i < m->audit->record.hidden_size; i++) {
        const double error = (double)y[i] - (double)ref[i];
        m->element_error[i] += error * error;
        m->element_square[i] += (double)ref[i] * (double)ref[i];
    }
}

void phy_measuring_add(struct phy_measuring *m, size_t prompt, size_t layer, size_t first, const float *y, size_t count)
{
    const struct phy_audit_record *r = &m->audit->record;
    const size_t hidden = r->hidden_size, base = layer * r->prompts[prompt].position_count + first;
    for (size_t i = 0; i < count; i++) {
        const float *row = y + i * hidden;
        struct phy_audit_observation at =
            observe(m, 0, prompt, layer, first + i, row, m->audit->recording.y[prompt] + (base + i) * hidden);
        add_to_worst(m->run, &at);
        if (m->decoded) {
            const float *ref = m->decoded->y[prompt] + (base + i) * hidden;
            observe(m, 1, prompt, layer, first + i, row, ref);
            add_elements(m, row, ref);
        }
    }
    XXH3_64bits_update(m->hash, y, count * hidden * sizeof *y);
}

static void take_means(struct phy_audit_pair *pair)
{
    if (pair->count) {
        pair->mean_one_minus_cos /= (double)pair->count;
        pair->mean_rel_l2 /= (double)pair->count;
    }
}

void phy_measuring_end(struct phy_measuring *m)
{
    struct phy_audit_run *run = m->run;
    take_means(&run->original);
    take_means(&run->decoded);
    for (size_t i = 0; i < m->audit->record.layer_count; i++) {
        take_means(&run->layers[i].original);
        take_means(&run->layers[i].decoded);
    }
    run->output_xxh3 = XXH3_64bits_digest(m->hash);
    run->has_output_xxh3 = run->original.count > 0;
    /* The plain C form of a kernel sums in float64, too, and may well round to the same bits. */
    bool may_equal = strcmp(run->device, "cpu:ref") == 0 || !run->bounded;
    size_t which = m->same_bits[0] ? 0 : 1;
    if (m->same_bits[which] && m->values[which] >= SAME_BITS_MIN && run->original.count && !may_equal &&
        (which == 0 || m->decoded))
        phy_audit_add_cause(&run->causes,
                            "all %" PRIu64 " outputs have the reference's bits: this is the reference, not a path",
                            m->values[which]);
}

/* ---- in words ---- */

/* The elements outside of which less than a hundredth of the squared error lies. */
static void find_range(const float *path, const float *ref, size_t count, size_t *begin, size_t *end)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++)
        total += ((double)path[i] - (double)ref[i]) * ((double)path[i] - (double)ref[i]);
    for (*begin = 0; *begin < count; ++*begin) {
        double d = (double)path[*begin] - (double)ref[*begin];
        if ((sum += d * d) > 0.005 * total)
            break;
    }
    sum = 0;
    for (*end = count; *end > *begin + 1; --*end) {
        double d = (double)path[*end - 1] - (double)ref[*end - 1];
        if ((sum += d * d) > 0.005 * total)
            break;
    }
}

static bool is_zero(const float *x, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        if (x[i] != 0)
            return false;
    }
    return true;
}

/* What the worst output looks like beside the reference's. */
static void describe(char *out, size_t bytes, const float *path, const float *ref, size_t count)
{
    double dot = 0, square = 0, residual = 0, error = 0;
    size_t begin, end;
    for (size_t i = 0; i < count; i++) {
        dot += (double)path[i] * (double)ref[i];
        square += (double)ref[i] * (double)ref[i];
    }
    double factor = square > 0 ? dot / square : 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)path[i] - factor * (double)ref[i], e = (double)path[i] - (double)ref[i];
        residual += d * d;
        error += e * e;
    }
    find_range(path, ref, count, &begin, &end);
    if (is_zero(path, 0, count))
        snprintf(out, bytes, "the output is zero");
    else if (residual < 0.01 * error && fabs(factor - 1) > 1e-6)
        snprintf(out, bytes, "the output is %.5g times the reference's", factor);
    else if (end - begin == 1)
        snprintf(out, bytes, "the error is in element %zu of %zu alone, %.6g where the reference has %.6g", begin,
                 count, (double)path[begin], (double)ref[begin]);
    else if (end - begin <= count / 2)
        snprintf(out, bytes, "the error is in elements %zu to %zu of %zu%s", begin, end - 1, count,
                 is_zero(path, begin, end) ? ", which are zero" : "");
    else
        snprintf(out, bytes, "the error is spread over all %zu elements", count);
}

/* "layer 5 alone", "layers 5 to 29 (25 of 30)". */
static void describe_layers(char *out, size_t bytes, const struct phy_measuring *m, bool decoded, double one_minus_cos,
                            double rel_l2)
{
    const struct phy_audit_record *r = &m->audit->record;
    size_t count = 0;
    uint32_t first = 0, last = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        const struct phy_audit_pair *pair = decoded ? &m->run->layers[i].decoded : &m->run->layers[i].original;
        if (pair->max_one_minus_cos <= one_minus_cos && pair->max_rel_l2 <= rel_l2)
            continue;
        first = count++ ? first : r->layers[i];
        last = r->layers[i];
    }
    if (count == 1)
        snprintf(out, bytes, "in layer %u alone", first);
    else
        snprintf(out, bytes, "in %zu of %zu layers, %u to %u", count, r->layer_count, first, last);
}

static void judge_pair(struct phy_measuring *m, bool decoded, double one_minus_cos, double rel_l2)
{
    const struct phy_audit_record *r = &m->audit->record;
    const struct phy_audit_pair *pair = decoded ? &m->run->decoded : &m->run->original;
    char what[192], layers[96], where[PHY_AUDIT_NAME], cos[32], floor_text[32];
    if (pair->max_one_minus_cos <= one_minus_cos && pair->max_rel_l2 <= rel_l2)
        return;
    describe(what, sizeof what, m->worst[decoded][0], m->worst[decoded][1], r->hidden_size);
    describe_layers(layers, sizeof layers, m, decoded, one_minus_cos, rel_l2);
    phy_audit_add_cause(
        &m->run->causes,
        "against %s weights: rel L2 %.3e (at most %.3e), cos %s (at least %s), worst at %s \"%.40s\", %s: %s",
        decoded ? "decoded" : "original", pair->max_rel_l2, rel_l2, phy_audit_cos(cos, pair->max_one_minus_cos),
        phy_audit_cos(floor_text, one_minus_cos), phy_audit_where(where, r, &pair->worst),
        r->prompts[pair->worst.prompt].tokens[pair->worst.position], layers, what);
}

/* Elements that most outputs have wrong, as one cause. */
static void judge_elements(struct phy_measuring *m)
{
    const struct phy_audit_record *r = &m->audit->record;
    size_t wrong = 0, worst = 0;
    double most = 0;
    for (size_t i = 0; i < r->hidden_size; i++) {
        const double rel_l2 = m->element_square[i] > 0 ? sqrt(m->element_error[i] / m->element_square[i]) : 0;
        wrong += rel_l2 > element_rel_l2;
        worst = rel_l2 > most ? i : worst;
        most = fmax(most, rel_l2);
    }
    if (wrong && m->run->decoded.count >= ELEMENT_OBSERVATIONS_MIN)
        phy_audit_add_cause(&m->run->causes,
                            "against decoded weights: %zu of %u elements are wrong in all outputs taken together, most "
                            "of all element %zu: rel L2 %.3g (at most %.3g)",
                            wrong, r->hidden_size, worst, most, element_rel_l2);
}

void phy_measuring_judge(struct phy_measuring *m)
{
    const struct phy_audit_record *r = &m->audit->record;
    struct phy_audit_run *run = m->run;
    const struct phy_audit_limits *l = &run->limits;
    run->broken = run->causes.count > 0;
    /* The error of the kernel alone is the plainer cause. Distances are worthless beside a NaN. */
    if (!m->not_finite && m->decoded)
        judge_pair(m, true, l->decoded_one_minus_cos, l->decoded_rel_l2);
    if (!m->not_finite && m->decoded && !m->all_zero)
        judge_elements(m);
    if (!m->not_finite)
        judge_pair(m, false, l->one_minus_cos, l->rel_l2);
    for (size_t i = 0; i < r->prompt_count; i++) {
        const struct phy_audit_drive *d = &run->drives[i];
        double dp = fabs(d->probability - d->reference_probability);
        if (d->done && dp > l->anchor_dp)
            phy_audit_add_cause(
                &run->causes,
                "driving %.40s: the probability of \"%u\" is %.6f, the reference's %.6f, at most %.2e apart",
                r->prompts[i].name, d->reference_top, d->probability, d->reference_probability, l->anchor_dp);
    }
    run->passed = run->causes.count == 0;
}

/* ---- driving ---- */

struct kept {
    float *to;
    size_t vocab;
};

static bool keep_logits(void *user, uint32_t position, const float *logits)
{
    struct kept *kept = user;
    (void)position;
    memcpy(kept->to, logits, kept->vocab * sizeof *logits);
    return true;
}

enum phy_status phy_audit_drive(struct phy_audit *audit, struct phy_audit_run *run, struct phy_model *model,
                                struct phy_ffn *ffn)
{
    const struct phy_audit_record *r = &audit->record;
    struct kept kept = {phy_alloc(r->vocab_size, sizeof(float)), r->vocab_size};
    enum phy_status status = PHY_OK;
    if (!kept.to)
        return phy_fail_memory(audit->host, "logits", r->vocab_size * sizeof(float));
    for (size_t i = 0; i < r->prompt_count && status != PHY_ERR_INTERRUPTED; i++) {
        struct phy_session *session = NULL;
        phy_model_set_ffn(model, ffn);
        status = phy_session_create(&session, model, (uint32_t)r->prompts[i].id_count);
        if (status == PHY_OK)
            status =
                phy_session_forward(session, r->prompts[i].ids, r->prompts[i].id_count, UINT32_MAX, keep_logits, &kept);
        phy_model_set_ffn(model, NULL);
        phy_session_destroy(&session);
        if (status != PHY_OK) {
            phy_audit_add_cause(&run->causes, "driving %.40s: failed (%s)", r->prompts[i].name,
                                phy_status_name(status));
            continue;
        }
        struct phy_driven_metrics d;
        phy_driven_metrics_of(&d, kept.to, audit->logits + i * r->vocab_size, r->vocab_size);
        if (!d.finite) {
            phy_audit_add_cause(&run->causes, "driving %.40s: NaN or infinity in the logits", r->prompts[i].name);
            continue;
        }
        run->drives[i] =
            (struct phy_audit_drive){d.top, d.reference_top, d.reference_probability, d.probability, d.kl_bits, true};
        run->top1_match += d.top == d.reference_top;
        run->anchor_dp = fmax(run->anchor_dp, fabs(d.probability - d.reference_probability));
        run->kl_bits = fmax(run->kl_bits, d.kl_bits);
    }
    phy_free(kept.to);
    return status == PHY_ERR_INTERRUPTED ? status : PHY_OK;
}
