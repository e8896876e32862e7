/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/model_parts.h"

/* Logits of both models that are held at a time. */
enum { HELD_BYTES = 128 << 20, DEFAULT_CONTEXT = 256 };

struct evaluation {
    const struct phy_eval_params *params;
    struct phy_eval_result *out;
    struct phy_session *session, *baseline_session;
    uint32_t vocab, context, piece, stride;
    size_t chunk;                /* positions held at a time */
    float *logits, *base_logits; /* (chunk, vocab) */
    uint32_t *window;            /* (context) input tokens */
    size_t window_index;
    size_t scored; /* tokens of the result filled */
};

/* ---- one position ---- */

struct score_job {
    struct evaluation *e;
    const uint32_t *targets; /* the token that follows each position of the chunk */
    struct phy_eval_token *tokens;
    size_t row; /* of the first scored position in the chunk */
};

static void score_task(void *user, size_t index, unsigned worker)
{
    const struct score_job *job = user;
    const struct evaluation *e = job->e;
    struct phy_eval_token *token = &job->tokens[index];
    size_t row = job->row + index;
    const float *q = e->logits + row * e->vocab;
    const struct phy_activation_variant *kernels = e->params->model->activation;
    uint32_t target = job->targets[row];
    (void)worker;
    double q_log_sum = kernels->log_sum(q, e->vocab, &token->top1);
    token->nll = q_log_sum - (double)q[target];
    if (e->base_logits) {
        const float *p = e->base_logits + row * e->vocab;
        double p_log_sum = kernels->log_sum(p, e->vocab, &token->baseline_top1);
        token->baseline_nll = p_log_sum - (double)p[target];
        token->kl_bits = kernels->kl(p, p_log_sum, q, q_log_sum, e->vocab) * 1.4426950408889634074;
    }
}

/* ---- windows ---- */

struct hold {
    float *to;
    uint32_t first, vocab;
};

static bool hold_logits(void *user, uint32_t position, const float *logits)
{
    const struct hold *hold = user;
    memcpy(hold->to + (size_t)(position - hold->first) * hold->vocab, logits, hold->vocab * sizeof *logits);
    return true;
}

static enum phy_status forward_chunk(struct evaluation *e, struct phy_session *session, uint32_t first, size_t count,
                                     float *logits)
{
    struct hold hold = {logits, first, e->vocab};
    return phy_session_forward(session, e->window + first, count, first, hold_logits, &hold);
}

/* Score the window whose piece begins at text token `begin`; tokens before `fresh` were scored by the window before. */
static enum phy_status run_window(struct evaluation *e, size_t begin, size_t fresh)
{
    const struct phy_eval_params *p = e->params;
    uint32_t bos = p->has_bos ? 1 : 0;
    if (bos)
        e->window[0] = p->bos;
    memcpy(e->window + bos, p->tokens + begin, e->piece * sizeof *e->window);
    phy_session_truncate(e->session, 0);
    if (e->baseline_session)
        phy_session_truncate(e->baseline_session, 0);
    /* The last position's logits predict a token that is not in the window. */
    const uint32_t last = e->context - 1;
    for (uint32_t first = 0; first < last; first += (uint32_t)e->chunk) {
        size_t count = last - first < e->chunk ? last - first : e->chunk;
        enum phy_status status = forward_chunk(e, e->session, first, count, e->logits);
        if (status == PHY_OK && e->baseline_session)
            status = forward_chunk(e, e->baseline_session, first, count, e->base_logits);
        if (status != PHY_OK)
            return status;
        /* Position i predicts input i + 1, which is text token begin + i + 1 - bos. */
        size_t row = 0;
        while (row < count && begin + first + row + 1 - bos < fresh)
            row++;
        struct score_job job = {e, e->window + first + 1, e->out->tokens + e->scored, row};
        phy_pool_run(p->model->pool, count - row, score_task, &job);
        for (size_t i = row; i < count; i++) {
            struct phy_eval_token *token = &e->out->tokens[e->scored++];
            token->index = begin + first + i + 1 - bos;
            token->position = first + (uint32_t)i + 1;
            if (isnan(token->nll) || isnan(token->baseline_nll))
                return phy_fail(
                    p->host, PHY_ERR_FORMAT,
                    "token %zu: the %s's logits before it are no finite numbers: its weights hold some that "
                    "are not, or make them",
                    token->index, isnan(token->nll) ? "model" : "baseline");
            e->out->window_nll[e->window_index] += token->nll;
            e->out->baseline_window_nll[e->window_index] += token->baseline_nll;
        }
    }
    return PHY_OK;
}

/* ---- sums ---- */

static struct phy_estimate estimate(const struct phy_eval_result *r, double (*value)(const struct phy_eval_token *))
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < r->token_count; i++)
        sum += value(&r->tokens[i]);
    double mean = sum / (double)r->token_count;
    for (size_t i = 0; i < r->token_count; i++) {
        double d = value(&r->tokens[i]) - mean;
        squares += d * d;
    }
    double n = (double)r->token_count;
    return (struct phy_estimate){mean, n > 1 ? sqrt(squares / (n - 1) / n) : 0};
}

static double nll_of(const struct phy_eval_token *t)
{
    return t->nll;
}

static double baseline_nll_of(const struct phy_eval_token *t)
{
    return t->baseline_nll;
}

static double difference_of(const struct phy_eval_token *t)
{
    return t->nll - t->baseline_nll;
}

static double kl_of(const struct phy_eval_token *t)
{
    return t->kl_bits;
}

static double agreement_of(const struct phy_eval_token *t)
{
    return t->top1 == t->baseline_top1 ? 1.0 : 0.0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum phy_status summarise(struct phy_eval_result *r, const struct phy_host *host)
{
    r->nll = estimate(r, nll_of);
    double perplexity = exp(r->nll.value);
    r->perplexity = (struct phy_estimate){perplexity, perplexity * r->nll.error};
    if (!r->has_baseline)
        return PHY_OK;
    r->baseline_nll = estimate(r, baseline_nll_of);
    double baseline = exp(r->baseline_nll.value);
    r->baseline_perplexity = (struct phy_estimate){baseline, baseline * r->baseline_nll.error};
    /* Paired: the error of the difference of the means, token by token, not that of two independent runs. d(e^a - e^b)
     * with b's part common to both is e^a d(a - b) to first order. */
    r->delta_perplexity = (struct phy_estimate){perplexity - baseline, perplexity * estimate(r, difference_of).error};
    r->kl_bits = estimate(r, kl_of);
    r->top1_agreement = estimate(r, agreement_of);
    double *sorted = phy_alloc(r->token_count, sizeof *sorted);
    if (!sorted)
        return phy_fail_memory(host, "a percentile", r->token_count * sizeof *sorted);
    for (size_t i = 0; i < r->token_count; i++)
        sorted[i] = r->tokens[i].kl_bits;
    qsort(sorted, r->token_count, sizeof *sorted, by_value);
    r->kl_bits_p99 = sorted[(size_t)ceil(0.99 * (double)r->token_count) - 1];
    r->kl_bits_max = sorted[r->token_count - 1];
    phy_free(sorted);
    return PHY_OK;
}

/* ---- set-up ---- */

static enum phy_status plan(struct evaluation *e)
{
    const struct phy_eval_params *p = e->params;
    const struct phy_model_config *c = &p->model->config;
    e->vocab = c->vocab_size;
    e->context = p->context ? p->context : DEFAULT_CONTEXT;
    if (!p->context && e->context > c->max_positions)
        e->context = c->max_positions;
    if (e->context < 2 || e->context > c->max_positions)
        return phy_fail(p->host, e->context < 2 ? PHY_ERR_USAGE : PHY_ERR_LIMIT,
                        "a context of %u: at least 2, and the model allows %u", e->context, c->max_positions);
    e->piece = e->context - (p->has_bos ? 1 : 0);
    e->stride = p->stride ? p->stride : e->piece;
    if (e->stride > e->piece)
        return phy_fail(p->host, PHY_ERR_USAGE, "a stride of %u leaves out tokens: a window holds %u", e->stride,
                        e->piece);
    if (p->token_count < e->piece)
        return phy_fail(p->host, PHY_ERR_USAGE, "the text has %zu tokens, less than one window of %u", p->token_count,
                        e->piece);
    if (p->baseline && p->baseline->config.vocab_size != e->vocab)
        return phy_fail(p->host, PHY_ERR_USAGE, "the baseline has a vocabulary of %u, the model of %u: not comparable",
                        p->baseline->config.vocab_size, e->vocab);
    if (p->baseline && e->context > p->baseline->config.max_positions)
        return phy_fail(p->host, PHY_ERR_LIMIT, "a context of %u: the baseline allows %u", e->context,
                        p->baseline->config.max_positions);
    e->chunk = (size_t)HELD_BYTES / ((size_t)e->vocab * sizeof(float) * 2);
    e->chunk = e->chunk < 16 ? 16 : e->chunk > 256 ? 256 : e->chunk;
    return PHY_OK;
}

static enum phy_status allocate(struct evaluation *e)
{
    const struct phy_eval_params *p = e->params;
    struct phy_eval_result *out = e->out;
    out->window_count = (p->token_count - e->piece) / e->stride + 1;
    out->dropped = p->token_count - ((out->window_count - 1) * e->stride + e->piece);
    out->context = e->context;
    out->stride = e->stride;
    out->has_baseline = p->baseline != NULL;
    out->tokens = phy_zalloc(p->token_count, sizeof *out->tokens);
    out->window_nll = phy_zalloc(out->window_count, sizeof *out->window_nll);
    out->baseline_window_nll = phy_zalloc(out->window_count, sizeof *out->baseline_window_nll);
    e->window = phy_alloc(e->context, sizeof *e->window);
    e->logits = phy_alloc(e->chunk * e->vocab, sizeof *e->logits);
    e->base_logits = p->baseline ? phy_alloc(e->chunk * e->vocab, sizeof *e->base_logits) : NULL;
    if (!out->tokens || !out->window_nll || !out->baseline_window_nll || !e->window || !e->logits ||
        (p->baseline && !e->base_logits))
        return phy_fail(p->host, PHY_ERR_MEMORY, "out of memory: logits of %zu positions", e->chunk);
    enum phy_status status = phy_session_create(&e->session, p->model, e->context);
    if (status == PHY_OK && p->baseline)
        status = phy_session_create(&e->baseline_session, p->baseline, e->context);
    return status;
}

enum phy_status phy_eval_check(const struct phy_eval_params *params)
{
    struct evaluation e = {.params = params};
    return plan(&e);
}

enum phy_status phy_eval_run(const struct phy_eval_params *params, struct phy_eval_result *out)
{
    struct evaluation e = {.params = params, .out = out};
    *out = (struct phy_eval_result){0};
    enum phy_status status = plan(&e);
    if (status == PHY_OK)
        status = allocate(&e);
    size_t fresh = 0;
    for (; status == PHY_OK && e.window_index < out->window_count; e.window_index++) {
        size_t begin = e.window_index * e.stride;
        phy_report_progress(params->host, "eval", "tokens", begin, params->token_count - out->dropped);
        status = run_window(&e, begin, fresh);
        fresh = begin + e.piece;
    }
    out->token_count = e.scored;
    if (status == PHY_OK) {
        phy_report_progress(params->host, "eval", "tokens", fresh, fresh);
        status = summarise(out, params->host);
    }
    phy_session_destroy(&e.session);
    phy_session_destroy(&e.baseline_session);
    phy_free(e.window);
    phy_free(e.logits);
    phy_free(e.base_logits);
    if (status != PHY_OK)
        phy_eval_result_free(out);
    return status;
}

void phy_eval_result_free(struct phy_eval_result *result)
{
    phy_free(result->tokens);
    phy_free(result->window_nll);
    phy_free(result->baseline_window_nll);
    *result = (struct phy_eval_result){0};
}
