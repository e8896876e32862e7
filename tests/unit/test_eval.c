/* SPDX-License-Identifier: Apache-2.0 */
/* eval against the same sums made the long way, in float64, from the logits of each window. */
#include "support/made_model.h"

enum { TEXT = 150 };

static struct log_record record;
static uint32_t text[TEXT];
static struct phy_model *model, *baseline;

static int open_both(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TEXT; i++)
        text[i] = (i * i * 31 + 17 * i + 5) % TINY_VOCAB;
    model = open_model(tiny_path("llama3", NULL), NULL, 2);
    baseline = open_model(tiny_path("qwen3", NULL), NULL, 2);
    return 0;
}

static int close_both(void **state)
{
    (void)state;
    phy_model_close(&model);
    phy_model_close(&baseline);
    return 0;
}

/* ---- the long way ---- */

struct scored {
    size_t index, window;
    double nll, baseline_nll, kl_bits;
    bool agree;
};

static double log_sum(const float *logits)
{
    double largest = (double)logits[largest_of(logits, TINY_VOCAB)], sum = 0;
    for (int v = 0; v < TINY_VOCAB; v++)
        sum += exp((double)logits[v] - largest);
    return largest + log(sum);
}

static void window_logits(struct phy_model *of, const uint32_t *inputs, size_t count, float *to)
{
    const size_t whole[] = {count, 0};
    struct phy_session *session = open_session(of, (uint32_t)count);
    run_in_chunks(session, inputs, count, whole, TINY_VOCAB, to);
    phy_session_destroy(&session);
}

/* Every scored token by the procedure in eval.h; returns how many. */
static size_t score_slowly(const struct phy_eval_params *p, struct scored *out)
{
    const size_t bos = p->has_bos, piece = p->context - bos, stride = p->stride ? p->stride : piece;
    float *q = malloc(p->context * TINY_VOCAB * sizeof *q), *b = malloc(p->context * TINY_VOCAB * sizeof *b);
    size_t count = 0, window = 0;
    bool *done = calloc(p->token_count, sizeof *done); /* scored, or passed over, by a window before */
    for (size_t begin = 0; begin + piece <= p->token_count; begin += stride, window++) {
        uint32_t inputs[64];
        inputs[0] = p->bos;
        memcpy(inputs + bos, p->tokens + begin, piece * sizeof *inputs);
        window_logits(p->model, inputs, p->context, q);
        if (p->baseline)
            window_logits(p->baseline, inputs, p->context, b);
        for (size_t position = 0; position < p->context; position++) {
            if (position < bos)
                continue;
            size_t token = begin + position - bos;
            bool fresh = !done[token];
            done[token] = true;
            if (position == 0 || !fresh)
                continue;
            const float *logits = q + (position - 1) * TINY_VOCAB, *base = b + (position - 1) * TINY_VOCAB;
            struct scored *s = &out[count++];
            double q_log = log_sum(logits);
            *s = (struct scored){.index = token, .window = window, .nll = q_log - (double)logits[p->tokens[token]]};
            if (!p->baseline)
                continue;
            double p_log = log_sum(base);
            s->baseline_nll = p_log - (double)base[p->tokens[token]];
            s->agree = largest_of(logits, TINY_VOCAB) == largest_of(base, TINY_VOCAB);
            for (int v = 0; v < TINY_VOCAB; v++) {
                double lp = (double)base[v] - p_log, lq = (double)logits[v] - q_log;
                s->kl_bits += exp(lp) * (lp - lq) / log(2.0);
            }
        }
    }
    free(q);
    free(b);
    free(done);
    return count;
}

static void assert_near(double got, double expected, double tolerance, const char *what)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("%s: got %.12g, expected %.12g", what, got, expected);
}

/* The mean of values[i], and its standard error. */
static void check_estimate(struct phy_estimate got, const double *values, size_t count, const char *what)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        mean += values[i] / (double)count;
    for (size_t i = 0; i < count; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    assert_near(got.value, mean, 1e-5, what);
    assert_near(got.error, count > 1 ? sqrt(squares / (double)(count - 1) / (double)count) : 0, 1e-5, what);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check_sums(const struct phy_eval_result *r, const struct scored *s, size_t count)
{
    double values[4][TEXT], windows[TEXT] = {0}, nll = 0, base = 0;
    for (size_t i = 0; i < count; i++) {
        values[0][i] = s[i].nll;
        values[1][i] = s[i].baseline_nll;
        values[2][i] = s[i].kl_bits;
        values[3][i] = s[i].agree;
        windows[s[i].window] += s[i].nll;
        nll += s[i].nll / (double)count;
        base += s[i].baseline_nll / (double)count;
    }
    check_estimate(r->nll, values[0], count, "nll");
    assert_near(r->perplexity.value, exp(nll), 1e-5 * exp(nll), "perplexity");
    assert_near(r->perplexity.error, exp(nll) * r->nll.error, 1e-5 * exp(nll), "perplexity's error");
    for (size_t w = 0; w < r->window_count; w++)
        assert_near(r->window_nll[w], windows[w], 1e-3, "a window's sum");
    if (!r->has_baseline)
        return;
    check_estimate(r->baseline_nll, values[1], count, "baseline nll");
    check_estimate(r->kl_bits, values[2], count, "KL");
    check_estimate(r->top1_agreement, values[3], count, "agreement");
    assert_near(r->delta_perplexity.value, exp(nll) - exp(base), 1e-5 * exp(nll), "delta perplexity");
    qsort(values[2], count, sizeof *values[2], by_value);
    assert_near(r->kl_bits_max, values[2][count - 1], 1e-5, "the largest KL");
    /* The least value that 99 of 100 do not exceed. */
    size_t rank = (99 * count + 99) / 100;
    assert_near(r->kl_bits_p99, values[2][rank - 1], 1e-5, "the 99th percentile");
}

static void check(struct phy_eval_params p)
{
    struct scored slow[TEXT];
    struct phy_eval_result r;
    p.model = model;
    p.tokens = text;
    if (!p.token_count)
        p.token_count = TEXT;
    size_t count = score_slowly(&p, slow), piece = p.context - p.has_bos;
    assert_int_equal(phy_eval_run(&p, &r), PHY_OK);
    assert_int_equal(r.token_count, count);
    assert_int_equal(r.has_baseline, p.baseline != NULL);
    assert_int_equal(r.window_count, (p.token_count - piece) / r.stride + 1);
    assert_int_equal(r.dropped, p.token_count - ((r.window_count - 1) * r.stride + piece));
    assert_int_equal(r.context, p.context);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(r.tokens[i].index, slow[i].index);
        assert_near(r.tokens[i].nll, slow[i].nll, 1e-5, "nll of a token");
        assert_near(r.tokens[i].baseline_nll, slow[i].baseline_nll, 1e-5, "baseline nll of a token");
        assert_near(r.tokens[i].kl_bits, slow[i].kl_bits, 1e-5, "KL of a token");
        if (p.baseline)
            assert_int_equal(r.tokens[i].top1 == r.tokens[i].baseline_top1, slow[i].agree);
    }
    check_sums(&r, slow, count);
    phy_eval_result_free(&r);
}

static void windows_are_scored_as_the_procedure_says(void **state)
{
    (void)state;
    check((struct phy_eval_params){.context = 32});
    check((struct phy_eval_params){.context = 32, .has_bos = true, .bos = 510});
    check((struct phy_eval_params){.context = 50});
    check((struct phy_eval_params){.context = 2});
    check((struct phy_eval_params){.context = 2, .has_bos = true, .bos = 3, .token_count = 9});
    check((struct phy_eval_params){.context = 40, .token_count = 40}); /* one window, nothing dropped */
    check((struct phy_eval_params){.context = 40, .token_count = 79});
}

static void windows_that_overlap_score_each_token_once(void **state)
{
    (void)state;
    check((struct phy_eval_params){.context = 32, .stride = 8});
    check((struct phy_eval_params){.context = 32, .stride = 31, .has_bos = true, .bos = 510});
    check((struct phy_eval_params){.context = 32, .stride = 10, .has_bos = true, .bos = 510});
    check((struct phy_eval_params){.context = 16, .stride = 1, .token_count = 40});
    check((struct phy_eval_params){.context = 32, .stride = 32});
}

static void a_baseline_is_compared_at_every_scored_token(void **state)
{
    (void)state;
    check((struct phy_eval_params){.context = 32, .baseline = baseline});
    check((struct phy_eval_params){.context = 32, .baseline = baseline, .has_bos = true, .bos = 510, .stride = 12});
}

static void a_model_is_no_bit_away_from_itself(void **state)
{
    struct phy_eval_params p = {.model = model, .baseline = model, .tokens = text, .token_count = TEXT, .context = 32};
    struct phy_eval_result r;
    (void)state;
    assert_int_equal(phy_eval_run(&p, &r), PHY_OK);
    assert_true(r.kl_bits.value == 0 && r.kl_bits.error == 0 && r.kl_bits_max == 0 && r.kl_bits_p99 == 0);
    assert_true(r.top1_agreement.value == 1 && r.delta_perplexity.value == 0 && r.delta_perplexity.error == 0);
    assert_true(r.nll.value == r.baseline_nll.value && r.perplexity.value == r.baseline_perplexity.value);
    phy_eval_result_free(&r);
}

/* A chain whose logits are known: sqrt(vocab) for the token that follows, 0 for the rest. */
static void a_model_of_known_probabilities_has_its_perplexity(void **state)
{
    enum { VOCAB = 16 };
    float head[VOCAB * VOCAB] = {0};
    uint32_t cycle[64];
    struct phy_eval_result r;
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        head[(i + 1) % VOCAB * VOCAB + i] = 1;
    for (uint32_t i = 0; i < 64; i++)
        cycle[i] = i % VOCAB;
    make_chain("chain", VOCAB, head, UINT32_MAX);
    struct phy_model *chain = open_model("chain", NULL, 1);
    struct phy_eval_params p = {.model = chain, .tokens = cycle, .token_count = 64, .context = 32};
    assert_int_equal(phy_eval_run(&p, &r), PHY_OK);
    double expected = 1 + (VOCAB - 1) * exp(-4.0);
    assert_near(r.perplexity.value, expected, 1e-5, "perplexity");
    assert_near(r.perplexity.error, 0, 1e-5, "its error");
    phy_eval_result_free(&r);

    /* Another vocabulary is not comparable. */
    struct phy_host host = recording_host(&record);
    p = (struct phy_eval_params){
        .model = model, .baseline = chain, .tokens = text, .token_count = TEXT, .context = 32, .host = &host};
    assert_int_equal(phy_eval_run(&p, &r), PHY_ERR_USAGE);
    assert_string_equal(record.error, "the baseline has a vocabulary of 16, the model of 512: not comparable");
    phy_model_close(&chain);
}

static void what_cannot_be_scored_is_refused_with_a_sentence(void **state)
{
    static const struct {
        struct phy_eval_params params;
        enum phy_status status;
        const char *words;
    } cases[] = {
        {{.context = 200}, PHY_ERR_USAGE, "the text has 150 tokens, less than one window of 200"},
        {{.context = 257}, PHY_ERR_LIMIT, "a context of 257: at least 2, and the model allows 256"},
        {{.context = 1}, PHY_ERR_USAGE, "a context of 1: at least 2"},
        {{.context = 32, .stride = 33}, PHY_ERR_USAGE, "a stride of 33 leaves out tokens: a window holds 32"},
        {{.context = 32, .stride = 32, .has_bos = true},
         PHY_ERR_USAGE,
         "a stride of 32 leaves out tokens: a window holds 31"},
        {{.context = 32, .has_bos = true, .bos = 512}, PHY_ERR_USAGE, "token 512 at position 0"},
        {{.context = 0}, PHY_ERR_USAGE, "less than one window of 256"},
    };
    (void)state;
    struct phy_host host = recording_host(&record);
    struct phy_model_params params = {.threads = 1, .host = &host};
    struct phy_model *speaking;
    assert_int_equal(phy_model_open(&speaking, tiny_path("llama3", NULL), &params), PHY_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_eval_params p = cases[i].params;
        struct phy_eval_result r;
        record = (struct log_record){0};
        p.model = speaking;
        p.tokens = text;
        p.token_count = TEXT;
        p.host = &host;
        assert_int_equal(phy_eval_run(&p, &r), cases[i].status);
        assert_int_equal(record.errors, 1);
        if (!strstr(record.error, cases[i].words))
            fail_msg("\"%s\", expected \"%s\"", record.error, cases[i].words);
        assert_null(r.tokens);
    }
    phy_model_close(&speaking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_scored_as_the_procedure_says),
        cmocka_unit_test(windows_that_overlap_score_each_token_once),
        cmocka_unit_test(a_baseline_is_compared_at_every_scored_token),
        cmocka_unit_test(a_model_is_no_bit_away_from_itself),
        cmocka_unit_test_setup_teardown(a_model_of_known_probabilities_has_its_perplexity, scratch_begin, scratch_end),
        cmocka_unit_test(what_cannot_be_scored_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
