/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of tokens, and text as it comes: from logits made by hand, and from a model that says what it is told. */
#include "support/made_model.h"

#include "base/log.h"
#include "model/sampler.h"

static struct log_record record;

static struct phy_sampler sampler_of(struct phy_sampler_params params, size_t vocab)
{
    struct phy_sampler sampler;
    assert_int_equal(phy_sampler_open(&sampler, &params, vocab, NULL), PHY_OK);
    return sampler;
}

/* How often each of `vocab` <= 64 tokens comes in `draws` draws. */
static void draw_many(struct phy_sampler_params params, const float *logits, size_t vocab, unsigned draws,
                      unsigned counts[64])
{
    struct phy_sampler sampler = sampler_of(params, vocab);
    memset(counts, 0, 64 * sizeof *counts);
    for (unsigned i = 0; i < draws; i++) {
        uint32_t id = phy_sampler_choose(&sampler, logits, vocab);
        assert_true(id < vocab);
        counts[id]++;
    }
    phy_sampler_close(&sampler);
}

static void greedy_takes_the_first_of_the_largest(void **state)
{
    static const float logits[] = {-1, 3, 2, 3, 3, -7};
    unsigned counts[64];
    (void)state;
    draw_many((struct phy_sampler_params){.seed = 3}, logits, 6, 50, counts);
    assert_int_equal(counts[1], 50);
    draw_many((struct phy_sampler_params){.top_k = 2, .top_p = 0.5}, logits + 2, 4, 50, counts);
    assert_int_equal(counts[1], 50);
}

static void top_k_of_one_and_a_small_top_p_take_the_largest_at_any_temperature(void **state)
{
    static const float logits[] = {0.1f, 0.3f, 0.2f, 0.3f};
    unsigned counts[64];
    (void)state;
    draw_many((struct phy_sampler_params){.temperature = 100, .top_k = 1}, logits, 4, 200, counts);
    assert_int_equal(counts[1], 200);
    draw_many((struct phy_sampler_params){.temperature = 100, .top_p = 1e-9}, logits, 4, 200, counts);
    assert_int_equal(counts[1], 200);
    draw_many((struct phy_sampler_params){.temperature = 1e-300}, logits + 1, 2, 200, counts);
    assert_int_equal(counts[0], 200);
}

/* Draws of a known distribution: each count within 5 deviations of its expectation. */
static void check_distribution(struct phy_sampler_params params, const float *logits, size_t vocab,
                               const double *expected)
{
    enum { DRAWS = 200000 };
    unsigned counts[64];
    draw_many(params, logits, vocab, DRAWS, counts);
    for (size_t i = 0; i < vocab; i++) {
        double mean = DRAWS * expected[i], deviation = sqrt(mean * (1 - expected[i]));
        if (fabs(counts[i] - mean) > 5 * deviation)
            fail_msg("token %zu came %u times, expected %.0f +- %.0f", i, counts[i], mean, deviation);
    }
}

static void draws_follow_the_probabilities(void **state)
{
    /* The last never comes. */
    static const float logits[] = {2.1f, 4.0f, 3.4f, 2.7f, -100.0f};
    double p[5], total = 0;
    (void)state;
    for (int i = 0; i < 5; i++)
        total += exp((double)logits[i]);
    for (int i = 0; i < 5; i++)
        p[i] = exp((double)logits[i]) / total;
    check_distribution((struct phy_sampler_params){.temperature = 1, .seed = 11}, logits, 5, p);

    /* Twice the temperature: square roots. */
    double warm[5], warm_total = 0;
    for (int i = 0; i < 5; i++)
        warm_total += sqrt(p[i]);
    for (int i = 0; i < 5; i++)
        warm[i] = sqrt(p[i]) / warm_total;
    check_distribution((struct phy_sampler_params){.temperature = 2, .seed = 12}, logits, 5, warm);

    /* The two most likely alone: tokens 1 and 2. */
    double two[5] = {0, p[1] / (p[1] + p[2]), p[2] / (p[1] + p[2]), 0, 0};
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_k = 2, .seed = 13}, logits, 5, two);
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_p = p[1] + 0.5 * p[2], .seed = 14}, logits, 5,
                       two);
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_p = p[1] + p[2] - 1e-4, .seed = 15}, logits,
                       5, two);
    /* top-p of what top-k left. */
    double one[5] = {0, 1, 0, 0, 0};
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_k = 2, .top_p = two[1] - 1e-4, .seed = 16},
                       logits, 5, one);
    /* All of it, said in three ways. */
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_p = 1, .seed = 17}, logits, 5, p);
    check_distribution((struct phy_sampler_params){.temperature = 1, .top_k = 50, .seed = 18}, logits, 5, p);
}

/* The shortcut that leaves unlikely tokens unsorted must not change the set: a flat tail, cut in its midst. */
static void top_p_cuts_a_flat_tail_by_the_lowest_ids(void **state)
{
    float logits[64];
    unsigned counts[64];
    (void)state;
    for (int i = 0; i < 64; i++)
        logits[i] = 1.0f;
    draw_many((struct phy_sampler_params){.temperature = 1, .top_p = 0.25, .seed = 5}, logits, 64, 20000, counts);
    for (int i = 0; i < 64; i++)
        assert_int_equal(counts[i] > 0, i < 16);
}

/* Every size of the set, over logits with many ties: the largest, the lowest ids among equals. */
static void top_k_takes_the_first_of_a_full_sort(void **state)
{
    float logits[64];
    unsigned counts[64];
    (void)state;
    for (int i = 0; i < 64; i++)
        logits[i] = (float)(i * 37 % 11) * 0.01f;
    for (uint32_t k = 1; k <= 70; k += 3) {
        draw_many((struct phy_sampler_params){.temperature = 1, .top_k = k, .seed = k}, logits, 64, 5000, counts);
        for (int i = 0; i < 64; i++) {
            unsigned before = 0;
            for (int j = 0; j < 64; j++)
                before += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
            assert_int_equal(counts[i] > 0, before < k);
        }
    }
}

static void a_seed_repeats_and_another_does_not(void **state)
{
    float logits[64];
    uint32_t runs[3][100];
    static const uint64_t seeds[] = {7, 7, 8};
    (void)state;
    for (int i = 0; i < 64; i++)
        logits[i] = (float)(i % 7) * 0.1f;
    for (int run = 0; run < 3; run++) {
        struct phy_sampler sampler = sampler_of((struct phy_sampler_params){.temperature = 1, .seed = seeds[run]}, 64);
        for (int i = 0; i < 100; i++)
            runs[run][i] = phy_sampler_choose(&sampler, logits, 64);
        phy_sampler_close(&sampler);
    }
    assert_memory_equal(runs[0], runs[1], sizeof runs[0]);
    assert_memory_not_equal(runs[0], runs[2], sizeof runs[0]);
}

static void logits_that_are_no_numbers_give_a_token_of_the_vocabulary(void **state)
{
    float logits[16];
    unsigned counts[64];
    (void)state;
    for (int i = 0; i < 16; i++)
        logits[i] = NAN;
    for (int t = 0; t < 2; t++) {
        draw_many((struct phy_sampler_params){.temperature = t}, logits, 16, 10, counts);
        draw_many((struct phy_sampler_params){.temperature = t, .top_k = 3, .top_p = 0.5}, logits, 16, 10, counts);
        logits[3] = INFINITY;
    }
}

static void values_out_of_range_are_refused(void **state)
{
    static const struct phy_sampler_params bad[] = {{.temperature = -0.1},
                                                    {.temperature = NAN},
                                                    {.temperature = INFINITY},
                                                    {.temperature = 1, .top_p = 1.5},
                                                    {.temperature = 1, .top_p = -0.5},
                                                    {.temperature = 1, .top_p = NAN}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct phy_sampler sampler;
        struct phy_host host = recording_host(&record);
        assert_int_equal(phy_sampler_open(&sampler, &bad[i], 8, &host), PHY_ERR_USAGE);
        assert_int_equal(record.errors, 1);
        phy_sampler_close(&sampler);
    }
}

/* ---- generate ---- */

struct text {
    char bytes[4096];
    size_t count;
    unsigned calls, stop_after;
};

static bool is_utf8(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        unsigned char c = (unsigned char)text[i];
        size_t length = c < 0x80                ? 1
                        : c >= 0xC2 && c < 0xE0 ? 2
                        : c >= 0xE0 && c < 0xF0 ? 3
                        : c >= 0xF0 && c < 0xF5 ? 4
                                                : 0;
        if (!length || length > bytes - i)
            return false;
        for (size_t k = 1; k < length; k++) {
            if (((unsigned char)text[i + k] & 0xC0) != 0x80)
                return false;
        }
        i += length;
    }
    return true;
}

/* Every piece is whole characters by itself. */
static bool take_text(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    assert_true(bytes > 0 && is_utf8(text, bytes));
    assert_true(t->count + bytes < sizeof t->bytes);
    memcpy(t->bytes + t->count, text, bytes);
    t->bytes[t->count += bytes] = 0;
    return ++t->calls != t->stop_after;
}

enum { END = 1, ASK = 300, MOST_SAID = 32 };

static struct phy_tokenizer *tokenizer;

static uint32_t id_of(const char *piece)
{
    uint32_t id;
    if (!phy_tokenizer_find(tokenizer, piece, strlen(piece), &id))
        fail_msg("no token %s", piece);
    return id;
}

/* A model in the folder `to` that after token ASK says `pieces` one after the other, each at most once, then END. */
static size_t make_speaker(const char *to, const char *const *pieces, uint32_t ids[MOST_SAID])
{
    size_t count = 0;
    float *head = calloc(TINY_VOCAB * TINY_VOCAB, sizeof *head);
    uint32_t before = ASK;
    for (; pieces[count]; count++) {
        ids[count] = id_of(pieces[count]);
        for (size_t i = 0; i < count; i++)
            assert_int_not_equal(ids[i], ids[count]);
        assert_int_not_equal(ids[count], ASK);
        head[ids[count] * TINY_VOCAB + before] = 1;
        before = ids[count];
    }
    head[END * TINY_VOCAB + before] = 1;
    make_chain(to, TINY_VOCAB, head, END);
    free(head);
    return count;
}

static struct phy_generate_result generate(struct phy_model *model, struct text *text, uint32_t max_tokens,
                                           const struct phy_generate_params *more)
{
    static const uint32_t prompt[] = {ASK};
    struct phy_session *session = open_session(model, 0);
    struct phy_generate_params params = more ? *more : (struct phy_generate_params){0};
    struct phy_generate_result result;
    *text = (struct text){.stop_after = text->stop_after};
    params.session = session;
    params.tokenizer = tokenizer;
    params.prompt = prompt;
    params.prompt_count = 1;
    params.max_tokens = max_tokens;
    params.sink = take_text;
    params.user = text;
    assert_int_equal(phy_generate_run(&params, &result), PHY_OK);
    assert_true(is_utf8(text->bytes, text->count));
    phy_session_destroy(&session);
    return result;
}

static void no_character_is_split_and_stray_bytes_are_replaced(void **state)
{
    /* A euro sign in three bytes, a letter, two bytes of another character, a letter, an emoji in four, and two bytes
     * of one more that nothing ends. */
    static const char *const pieces[] = {"<0xE2>", "<0x82>", "<0xAC>", "a", "<0xE3>", "<0x83>", "b", "<0xF0>",
                                         "<0x9F>", "<0x98>", "<0x80>", "c", "<0xE5>", "<0x85>", NULL};
    uint32_t ids[MOST_SAID];
    struct text text = {.calls = 0};
    (void)state;
    size_t count = make_speaker("speaker", pieces, ids);
    struct phy_model *model = open_model("speaker", NULL, 1);
    struct phy_generate_result result = generate(model, &text, 30, NULL);
    assert_int_equal(result.end, PHY_END_EOS);
    assert_int_equal(result.count, count);
    assert_memory_equal(result.tokens, ids, count * sizeof *ids);
    assert_string_equal(text.bytes, "\xE2\x82\xAC"
                                    "a\xEF\xBF\xBD\xEF\xBF\xBD"
                                    "b\xF0\x9F\x98\x80"
                                    "c"
                                    "\xEF\xBF\xBD\xEF\xBF\xBD");
    phy_generate_result_free(&result);

    /* Cut anywhere: what was said so far, with what is incomplete replaced. */
    static const char *const so_far[] = {"", "\xEF\xBF\xBD", "\xEF\xBF\xBD\xEF\xBF\xBD", "\xE2\x82\xAC",
                                         "\xE2\x82\xAC"
                                         "a"};
    for (uint32_t most = 0; most < 5; most++) {
        result = generate(model, &text, most, NULL);
        assert_int_equal(result.end, PHY_END_LENGTH);
        assert_int_equal(result.count, most);
        assert_string_equal(text.bytes, so_far[most]);
        phy_generate_result_free(&result);
    }
    phy_model_close(&model);
}

static void generate_stops_at_eos_or_goes_on_or_is_stopped(void **state)
{
    static const char *const pieces[] = {"a", "b", "c", NULL};
    uint32_t ids[MOST_SAID];
    struct text text = {.calls = 0};
    (void)state;
    make_speaker("speaker", pieces, ids);
    struct phy_model *model = open_model("speaker", NULL, 1);
    struct phy_generate_result result = generate(model, &text, 3, NULL);
    assert_int_equal(result.end, PHY_END_LENGTH); /* that EOS would come next is not known yet */
    assert_string_equal(text.bytes, "abc");
    phy_generate_result_free(&result);

    result = generate(model, &text, 8, &(struct phy_generate_params){.ignore_eos = true});
    assert_int_equal(result.end, PHY_END_LENGTH);
    assert_int_equal(result.count, 8);
    assert_int_equal(result.tokens[3], END);
    phy_generate_result_free(&result);

    text.stop_after = 2;
    result = generate(model, &text, 8, NULL);
    assert_int_equal(result.end, PHY_END_STOPPED);
    assert_int_equal(result.count, 2);
    assert_string_equal(text.bytes, "ab");
    phy_generate_result_free(&result);
    assert_null(result.tokens);
    phy_model_close(&model);
}

static void random_tokens_stream_as_valid_text_and_a_seed_repeats_them(void **state)
{
    struct phy_model *model = open_model(tiny_path("gemma3", NULL), NULL, 2);
    struct text texts[3] = {{.calls = 0}};
    uint32_t tokens[3][100];
    (void)state;
    for (int run = 0; run < 3; run++) {
        struct phy_generate_params params = {.ignore_eos = true,
                                             .sampler = {.temperature = 30, .seed = run == 2 ? 6 : 5}};
        struct phy_generate_result result = generate(model, &texts[run], 100, &params);
        assert_int_equal(result.count, 100);
        memcpy(tokens[run], result.tokens, sizeof tokens[run]);
        phy_generate_result_free(&result);
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    assert_string_equal(texts[0].bytes, texts[1].bytes);
    assert_memory_not_equal(tokens[0], tokens[2], sizeof tokens[0]);
    assert_true(texts[0].count > 100);
    phy_model_close(&model);
}

/* The whole list decoded at once, without the prompt's text, each stray byte replaced. */
static void expect_text(struct text *out, const struct phy_generate_result *result)
{
    uint32_t ids[512] = {ASK};
    struct phy_decoded whole, prompt;
    const struct phy_decode_params how = {.skip_special = true, .raw_bytes = true};
    memcpy(ids + 1, result->tokens, result->count * sizeof *ids);
    assert_int_equal(phy_tokenizer_decode(tokenizer, ids, result->count + 1, &how, &whole), PHY_OK);
    assert_int_equal(phy_tokenizer_decode(tokenizer, ids, 1, &how, &prompt), PHY_OK);
    *out = (struct text){.calls = 0};
    for (size_t at = prompt.bytes; at < whole.bytes;) {
        size_t length = phy_utf8_sequence(whole.text + at, whole.bytes - at, NULL);
        assert_true(out->count + 4 < sizeof out->bytes);
        memcpy(out->bytes + out->count, length ? whole.text + at : "\xEF\xBF\xBD", length ? length : 3);
        out->count += length ? length : 3;
        at += length ? length : 1;
    }
    phy_decoded_free(&whole);
    phy_decoded_free(&prompt);
}

static void a_long_text_streams_as_it_decodes_at_once(void **state)
{
    static const char *const names[] = {"gemma3", "llama3", "mistral", "qwen2", "qwen3"};
    struct phy_tokenizer *kept = tokenizer;
    struct phy_model *model = open_model(tiny_path("gemma3", NULL), NULL, 2);
    struct text text = {.calls = 0}, expected;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, PHY_TEST_DATA "/golden/tokenizer/tiny-%s/tokenizer.json", names[i]);
        assert_int_equal(phy_tokenizer_open(&tokenizer, path, NULL), PHY_OK);
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct phy_generate_params params = {.ignore_eos = true, .sampler = {.temperature = 30, .seed = seed}};
            struct phy_generate_result result = generate(model, &text, 200, &params);
            expect_text(&expected, &result);
            assert_int_equal(text.count, expected.count);
            assert_memory_equal(text.bytes, expected.bytes, text.count);
            phy_generate_result_free(&result);
        }
        phy_tokenizer_close(&tokenizer);
    }
    tokenizer = kept;
    phy_model_close(&model);
}

static void what_does_not_fit_is_an_error_that_says_the_limit(void **state)
{
    struct phy_model *model = open_model(tiny_path("gemma3", NULL), NULL, 1);
    struct phy_session *session = open_session(model, 10);
    struct phy_host host = recording_host(&record);
    struct phy_generate_params params = {.session = session,
                                         .tokenizer = tokenizer,
                                         .prompt = tiny_tokens,
                                         .prompt_count = 4,
                                         .max_tokens = 7,
                                         .host = &host};
    struct phy_generate_result result;
    (void)state;
    assert_int_equal(phy_generate_run(&params, &result), PHY_ERR_LIMIT);
    assert_string_equal(record.error, "a prompt of 4 tokens and 7 more: the context holds 10");
    assert_int_equal(phy_session_length(session), 0);
    params.prompt_count = 11;
    params.max_tokens = 0;
    assert_int_equal(phy_generate_run(&params, &result), PHY_ERR_LIMIT);
    params.prompt_count = 4;
    params.max_tokens = UINT32_MAX;
    assert_int_equal(phy_generate_run(&params, &result), PHY_ERR_LIMIT);
    params.prompt_count = 0;
    params.max_tokens = 2;
    assert_int_equal(phy_generate_run(&params, &result), PHY_ERR_USAGE);
    params.prompt_count = 4;
    params.sampler.temperature = -1;
    assert_int_equal(phy_generate_run(&params, &result), PHY_ERR_USAGE);
    params.sampler.temperature = 0;
    params.max_tokens = 6;
    params.ignore_eos = true;
    assert_int_equal(phy_generate_run(&params, &result), PHY_OK);
    assert_int_equal(result.count, 6);
    phy_generate_result_free(&result);
    phy_session_destroy(&session);
    phy_model_close(&model);
}

static int open_tokenizer(void **state)
{
    (void)state;
    return phy_tokenizer_open(&tokenizer, PHY_TEST_DATA "/golden/tokenizer/tiny-gemma3/tokenizer.json", NULL) != PHY_OK;
}

static int close_tokenizer(void **state)
{
    (void)state;
    phy_tokenizer_close(&tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(top_k_of_one_and_a_small_top_p_take_the_largest_at_any_temperature),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(top_p_cuts_a_flat_tail_by_the_lowest_ids),
        cmocka_unit_test(top_k_takes_the_first_of_a_full_sort),
        cmocka_unit_test(a_seed_repeats_and_another_does_not),
        cmocka_unit_test(logits_that_are_no_numbers_give_a_token_of_the_vocabulary),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test_setup_teardown(no_character_is_split_and_stray_bytes_are_replaced, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(generate_stops_at_eos_or_goes_on_or_is_stopped, scratch_begin, scratch_end),
        cmocka_unit_test(random_tokens_stream_as_valid_text_and_a_seed_repeats_them),
        cmocka_unit_test(a_long_text_streams_as_it_decodes_at_once),
        cmocka_unit_test(what_does_not_fit_is_an_error_that_says_the_limit),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
