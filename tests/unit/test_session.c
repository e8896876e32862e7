/* SPDX-License-Identifier: Apache-2.0 */
/* Models opened, refused and run: what a session promises beyond right numbers. */
#include "support/made_model.h"

#include "base/alloc.h"
#include "model/mapping.h"
#include "model/observer.h"

static struct log_record record;

static const size_t whole[] = {TINY_TOKENS, 0}, by_nine[] = {9, 0};
static float first[TINY_TOKENS * TINY_VOCAB], second[TINY_TOKENS * TINY_VOCAB];

/* Opening it fails with that status and a sentence that holds `words`. */
static void refused(const char *directory, const char *device, enum phy_status status, const char *words)
{
    struct phy_model *model = (void *)&record;
    struct phy_host host = recording_host(&record);
    struct phy_model_params params = {.device = device, .threads = 1, .host = &host};
    enum phy_status got = phy_model_open(&model, directory, &params);
    if (got != status || !strstr(record.error, words) || record.errors != 1)
        fail_msg("status %d, expected %d; %u lines: \"%s\", expected \"%s\"", got, status, record.errors, record.error,
                 words);
    assert_null(model);
}

static struct phy_model *recorded_model(const char *directory, struct phy_host *host)
{
    struct phy_model *model;
    *host = recording_host(&record);
    struct phy_model_params params = {.threads = 2, .host = host};
    if (phy_model_open(&model, directory, &params) != PHY_OK)
        fail_msg("%s", record.error);
    return model;
}

/* ---- the same bits ---- */

static void cut_back_and_run_again_gives_the_same_bits(void **state)
{
    struct phy_model *model = open_model(tiny_path("gemma3", NULL), NULL, 2);
    struct phy_session *session = open_session(model, 0);
    (void)state;
    run_in_chunks(session, tiny_tokens, TINY_TOKENS, by_nine, TINY_VOCAB, first);
    for (uint32_t keep = 36; keep > 0; keep -= 9) {
        struct logit_rows rows = {.to = second, .vocab = TINY_VOCAB, .expected = keep};
        uint32_t other[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
        phy_session_truncate(session, keep);
        assert_int_equal(phy_session_length(session), keep);
        /* Something else in between, that must leave no trace. */
        uint32_t room = TINY_TOKENS - keep < 9 ? TINY_TOKENS - keep : 9;
        assert_int_equal(phy_session_forward(session, other, room, 0, NULL, NULL), PHY_OK);
        phy_session_truncate(session, keep);
        memcpy(second, first, sizeof second);
        memset(second + keep * TINY_VOCAB, 0xFF, (TINY_TOKENS - keep) * TINY_VOCAB * sizeof *second);
        for (uint32_t at = keep; at < TINY_TOKENS; at += 9) {
            uint32_t count = TINY_TOKENS - at < 9 ? TINY_TOKENS - at : 9;
            assert_int_equal(phy_session_forward(session, tiny_tokens + at, count, 0, keep_row, &rows), PHY_OK);
        }
        assert_memory_equal(first, second, sizeof first);
    }
    phy_session_truncate(session, 1000); /* nothing to forget */
    assert_int_equal(phy_session_length(session), TINY_TOKENS);
    phy_session_destroy(&session);
    assert_null(session);
    phy_session_destroy(&session);
    phy_model_close(&model);
    assert_null(model);
    phy_model_close(&model);
}

static void every_number_of_threads_gives_the_same_bits(void **state)
{
    static const char *const names[] = {"qwen2", "gemma3"};
    (void)state;
    for (size_t n = 0; n < 2; n++) {
        for (int ways = 0; ways < 2; ways++) {
            for (uint32_t threads = 1; threads <= 4; threads++) {
                struct phy_model *model = open_model(tiny_path(names[n], NULL), NULL, threads);
                struct phy_session *session = open_session(model, 0);
                run_in_chunks(session, tiny_tokens, TINY_TOKENS, ways ? by_nine : whole, TINY_VOCAB,
                              threads == 1 ? first : second);
                if (threads > 1)
                    assert_memory_equal(first, second, sizeof first);
                phy_session_destroy(&session);
                phy_model_close(&model);
            }
        }
    }
}

static void two_sessions_of_a_model_do_not_disturb_each_other(void **state)
{
    struct phy_model *model = open_model(tiny_path("mistral", NULL), NULL, 2);
    struct phy_session *a = open_session(model, 0), *b = open_session(model, 0);
    (void)state;
    run_in_chunks(a, tiny_tokens, TINY_TOKENS, by_nine, TINY_VOCAB, first);
    struct logit_rows rows = {.to = second, .vocab = TINY_VOCAB};
    phy_session_truncate(a, 0);
    for (uint32_t at = 0; at < TINY_TOKENS; at += 9) {
        uint32_t count = TINY_TOKENS - at < 9 ? TINY_TOKENS - at : 9;
        assert_int_equal(phy_session_forward(b, tiny_tokens, 5, 0, NULL, NULL), PHY_OK);
        assert_int_equal(phy_session_forward(a, tiny_tokens + at, count, 0, keep_row, &rows), PHY_OK);
    }
    assert_memory_equal(first, second, sizeof first);
    phy_session_destroy(&a);
    phy_session_destroy(&b);
    phy_model_close(&model);
}

/* A call of more positions than are computed together. */
static void long_prompts_match_the_same_tokens_in_pieces(void **state)
{
    enum { TOKENS = 600 };
    static const size_t one_call[] = {TOKENS, 0}, pieces[] = {100, 255, 1, 30, 0};
    uint32_t tokens[TOKENS];
    float *a = malloc(TOKENS * TINY_VOCAB * sizeof *a), *b = malloc(TOKENS * TINY_VOCAB * sizeof *b);
    (void)state;
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (i * i * 7 + 13 * i) % TINY_VOCAB;
    tiny_copy_changed("gemma3", "long", "\"max_position_embeddings\": 256", "\"max_position_embeddings\": 600");
    struct phy_model *model = open_model("long", NULL, 2);
    struct phy_session *session = open_session(model, 0);
    assert_int_equal(phy_session_capacity(session), TOKENS);
    run_in_chunks(session, tokens, TOKENS, one_call, TINY_VOCAB, a);
    run_in_chunks(session, tokens, TOKENS, pieces, TINY_VOCAB, b);
    double error = worst_relative_l2(b, a, TOKENS, TINY_VOCAB);
    printf("worst relative L2 %.3g\n", error);
    assert_true(error <= 5e-5);
    phy_session_destroy(&session);
    phy_model_close(&model);
    free(a);
    free(b);
}

static void weights_of_every_type_and_at_odd_places_give_the_same_bits(void **state)
{
    static const char *const dtypes[] = {"F16", "F32"};
    (void)state;
    for (int padded = 0; padded < 2; padded++) {
        for (int d = 0; d < 2; d++) {
            char folder[16], path[PATH_MAX];
            size_t bytes;
            char *config = read_whole(tiny_path("llama3", "config.json"), &bytes);
            snprintf(folder, sizeof folder, "%s-%d", dtypes[d], padded);
            snprintf(path, sizeof path, "%s/model.safetensors", folder);
            tiny_copy("llama3", folder, config);
            convert_weights(path, dtypes[d]);
            if (padded) /* the header grows by one byte: no weight is aligned any more */
                rewrite_header(path, "\"format\":\"pt\"", "\"format\": \"pt\"");
            struct phy_model *model = open_model(folder, NULL, 2);
            struct phy_session *session = open_session(model, 0);
            struct phy_model_info info;
            phy_model_describe(model, &info);
            assert_string_equal(info.weight_type, d ? "f32" : "f16");
            assert_int_equal(info.weight_bytes, (d ? 4 : 2) * info.weight_count);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, by_nine, TINY_VOCAB, d || padded ? second : first);
            if (d || padded)
                assert_memory_equal(first, second, sizeof first);
            phy_session_destroy(&session);
            phy_model_close(&model);
            free(config);
        }
    }
}

/* ---- activations rounded to bf16 ---- */

static double difference(const float *a, const float *b)
{
    double squares = 0, all = 0;
    for (size_t i = 0; i < TINY_TOKENS * TINY_VOCAB; i++) {
        squares += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(squares / all);
}

/* Every form rounds to the same values and adds up in another order; against float32 logits the rounding shows. */
static void rounded_activations_cost_little_and_the_same_in_every_form(void **state)
{
    static const char *const models[] = {"qwen2", "gemma3"}, *const devices[] = {"cpu:ref", "cpu:avx2", "cpu"};
    static float floats[TINY_TOKENS * TINY_VOCAB];
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        for (size_t d = 0; d < 3; d++) {
            const struct phy_model_params params = {.device = devices[d], .threads = 2, .bf16_activations = true};
            struct phy_model *model, *exact;
            struct phy_model_info info;
            if (phy_model_open(&model, tiny_path(models[m], NULL), &params) == PHY_ERR_DEVICE)
                continue; /* not on this processor */
            phy_model_describe(model, &info);
            assert_string_equal(info.activations, "bf16");
            struct phy_session *session = open_session(model, 0);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, d ? whole : by_nine, TINY_VOCAB, d ? second : first);
            phy_session_destroy(&session);
            phy_model_close(&model);
            exact = open_model(tiny_path(models[m], NULL), devices[d], 2);
            phy_model_describe(exact, &info);
            assert_string_equal(info.activations, "f32");
            session = open_session(exact, 0);
            run_in_chunks(session, tiny_tokens, TINY_TOKENS, whole, TINY_VOCAB, floats);
            phy_session_destroy(&session);
            phy_model_close(&exact);
            const double lost = difference(d ? second : first, floats), apart = d ? difference(second, first) : 0;
            printf("%s on %s: %.3g of the logits, %.3g from cpu:ref\n", models[m], devices[d], lost, apart);
            /* Up to 2^-9 of each value, in weights drawn at random, whose logits enlarge it; where sums differ, a few
             * values fall to the other side. */
            assert_true(lost > 1e-4 && lost < 3e-2);
            assert_true(apart < 1e-2);
        }
    }
}

static void rounded_activations_of_other_weights_are_refused(void **state)
{
    struct phy_model *model = (void *)&record;
    struct phy_host host = recording_host(&record);
    size_t bytes;
    char *config = read_whole(tiny_path("llama3", "config.json"), &bytes);
    (void)state;
    tiny_copy("llama3", "halves", config);
    convert_weights("halves/model.safetensors", "F16");
    assert_int_equal(
        phy_model_open(&model, "halves", &(struct phy_model_params){.bf16_activations = true, .host = &host}),
        PHY_ERR_UNSUPPORTED);
    assert_string_equal(record.error,
                        "halves: activations are rounded to bf16 for bf16 matrices, and its layers have none");
    assert_null(model);
    free(config);
}

/* ---- limits ---- */

static void too_many_tokens_are_an_error_that_says_the_limit(void **state)
{
    struct phy_host host;
    struct phy_model *model = recorded_model(tiny_path("llama3", NULL), &host);
    struct phy_session *session = open_session(model, 10), *more;
    (void)state;
    assert_int_equal(phy_session_forward(session, tiny_tokens, 11, 0, NULL, NULL), PHY_ERR_LIMIT);
    assert_string_equal(record.error, "11 tokens after 0: the context holds 10");
    assert_int_equal(phy_session_length(session), 0);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 10, 0, NULL, NULL), PHY_OK);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 1, 0, NULL, NULL), PHY_ERR_LIMIT);
    assert_string_equal(record.error, "1 tokens after 10: the context holds 10");
    assert_int_equal(phy_session_length(session), 10);
    assert_int_equal(phy_session_forward(session, tiny_tokens, SIZE_MAX, 0, NULL, NULL), PHY_ERR_LIMIT);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 0, 0, NULL, NULL), PHY_OK);
    assert_int_equal(phy_session_create(&more, model, 257), PHY_ERR_LIMIT);
    assert_string_equal(record.error, "a context of 257: the model allows 256");
    assert_null(more);
    assert_ptr_equal(phy_session_model(session), model);
    phy_session_destroy(&session);
    phy_model_close(&model);
}

static void a_token_beyond_the_vocabulary_is_named(void **state)
{
    struct phy_host host;
    struct phy_model *model = recorded_model(tiny_path("llama3", NULL), &host);
    struct phy_session *session = open_session(model, 0);
    uint32_t tokens[] = {511, 0, 512}, highest = UINT32_MAX;
    (void)state;
    assert_int_equal(phy_session_forward(session, tokens, 3, 0, NULL, NULL), PHY_ERR_USAGE);
    assert_string_equal(record.error, "token 512 at position 2: the vocabulary has 512");
    assert_int_equal(phy_session_length(session), 0);
    assert_int_equal(phy_session_forward(session, tokens, 2, 0, NULL, NULL), PHY_OK);
    assert_int_equal(phy_session_forward(session, &highest, 1, 0, NULL, NULL), PHY_ERR_USAGE);
    assert_int_equal(phy_session_length(session), 2);
    phy_session_destroy(&session);
    phy_model_close(&model);
}

/* ---- the sink and the host ---- */

struct seen {
    uint32_t positions[TINY_TOKENS], count, stop_after;
};

static bool note_position(void *user, uint32_t position, const float *logits)
{
    struct seen *seen = user;
    assert_true(isfinite(logits[0]) && isfinite(logits[TINY_VOCAB - 1]));
    seen->positions[seen->count++] = position;
    return seen->count != seen->stop_after;
}

static void the_sink_sees_the_positions_that_were_asked_for(void **state)
{
    struct phy_model *model = open_model(tiny_path("qwen3", NULL), NULL, 2);
    struct phy_session *session = open_session(model, 0);
    struct seen seen = {.count = 0};
    (void)state;
    assert_int_equal(phy_session_forward(session, tiny_tokens, 10, UINT32_MAX, note_position, &seen), PHY_OK);
    assert_true(seen.count == 1 && seen.positions[0] == 9);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 5, 13, note_position, &seen), PHY_OK);
    assert_true(seen.count == 3 && seen.positions[1] == 13 && seen.positions[2] == 14);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 5, 20, note_position, &seen), PHY_OK);
    assert_int_equal(seen.count, 3);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 2, 3, note_position, &seen), PHY_OK);
    assert_true(seen.count == 5 && seen.positions[3] == 20 && seen.positions[4] == 21);
    seen = (struct seen){.stop_after = 2};
    assert_int_equal(phy_session_forward(session, tiny_tokens, 5, 0, note_position, &seen), PHY_ERR_INTERRUPTED);
    assert_int_equal(seen.count, 2);
    phy_session_destroy(&session);
    phy_model_close(&model);
}

/* Nobody asks for the first rows' logits, so the last layer computes none of them: the others' logits are the same up
 * to the kernels' rounding, and what is kept of every row is the same to the bit. */
static void logits_do_not_depend_on_how_many_are_asked_for(void **state)
{
    static const char *const names[] = {"llama3", "qwen3", "gemma3"};
    enum { SPLIT = 20 };
    static const uint32_t from[] = {1, 7, SPLIT - 1, SPLIT};
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct phy_model *model = open_model(tiny_path(names[n], NULL), NULL, 2);
        struct phy_session *session = open_session(model, 0);
        run_in_chunks(session, tiny_tokens, TINY_TOKENS, (size_t[]){SPLIT, 0}, TINY_VOCAB, first);
        for (size_t f = 0; f < sizeof from / sizeof *from; f++) {
            struct logit_rows rows = {.to = second, .vocab = TINY_VOCAB, .expected = from[f]};
            phy_session_truncate(session, 0);
            assert_int_equal(phy_session_forward(session, tiny_tokens, SPLIT, from[f], keep_row, &rows), PHY_OK);
            assert_int_equal(rows.expected, SPLIT > from[f] ? SPLIT : from[f]);
            for (uint32_t row = from[f]; row < SPLIT; row++)
                assert_true(relative_l2(second + row * TINY_VOCAB, first + row * TINY_VOCAB, TINY_VOCAB) < 5e-6);
            rows.expected = SPLIT;
            for (size_t at = SPLIT; at < TINY_TOKENS; at += SPLIT) {
                const size_t count = TINY_TOKENS - at < SPLIT ? TINY_TOKENS - at : SPLIT;
                assert_int_equal(phy_session_forward(session, tiny_tokens + at, count, 0, keep_row, &rows), PHY_OK);
            }
            assert_memory_equal(second + SPLIT * TINY_VOCAB, first + SPLIT * TINY_VOCAB,
                                (TINY_TOKENS - SPLIT) * TINY_VOCAB * sizeof *first);
        }
        phy_session_destroy(&session);
        phy_model_close(&model);
    }
}

static void count_rows(void *user, enum phy_input input, uint32_t layer, const float *x, size_t count, size_t width)
{
    size_t(*rows)[PHY_INPUT_COUNT] = user;
    (void)layer, (void)x, (void)width;
    (*rows)[input] += count;
}

static void an_observer_sees_every_row_of_every_layer(void **state)
{
    struct phy_model *model = open_model(tiny_path("qwen2", NULL), NULL, 2);
    struct phy_session *session = open_session(model, 0);
    struct phy_model_info info;
    size_t rows[PHY_INPUT_COUNT] = {0};
    const struct phy_observer observer = {count_rows, &rows};
    (void)state;
    phy_model_describe(model, &info);
    phy_session_observe(session, &observer);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 10, UINT32_MAX, NULL, NULL), PHY_OK);
    for (size_t i = 0; i < PHY_INPUT_COUNT; i++)
        assert_int_equal(rows[i], 10 * info.layer_count);
    phy_session_destroy(&session);
    phy_model_close(&model);
}

static int asked_before;

static bool cancel_later(void *user)
{
    (void)user;
    return asked_before-- == 0;
}

/* It is asked before every layer: one chunk may take a minute. What was begun leaves no trace. */
static void a_host_that_cancels_stops_the_forward_pass_at_any_layer(void **state)
{
    struct phy_host host;
    struct phy_model *model = recorded_model(tiny_path("qwen3", NULL), &host);
    struct phy_session *session = open_session(model, 0);
    struct phy_model_info info;
    (void)state;
    phy_model_describe(model, &info);
    run_in_chunks(session, tiny_tokens, TINY_TOKENS, (size_t[]){TINY_TOKENS, 0}, TINY_VOCAB, first);
    host.cancelled = cancel_later;
    for (int layer = 0; layer < (int)info.layer_count; layer++) {
        phy_session_truncate(session, 0);
        asked_before = layer;
        assert_int_equal(phy_session_forward(session, tiny_tokens, TINY_TOKENS, 0, NULL, NULL), PHY_ERR_INTERRUPTED);
        assert_int_equal(phy_session_length(session), 0);
        asked_before = -1;
        run_in_chunks(session, tiny_tokens, TINY_TOKENS, (size_t[]){TINY_TOKENS, 0}, TINY_VOCAB, second);
        assert_memory_equal(first, second, TINY_TOKENS * TINY_VOCAB * sizeof *first);
    }
    phy_session_destroy(&session);
    phy_model_close(&model);
}

/* ---- files ---- */

static void a_file_cut_short_while_it_is_mapped_is_an_error_and_no_signal(void **state)
{
    /* Bytes left of a file of some 300 KiB; SIZE_MAX: all but one, which no page fault tells. */
    static const size_t left[] = {0, 100, 5000, 100000, 300000, SIZE_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char folder[32], path[PATH_MAX];
        struct phy_host host;
        struct stat found;
        struct seen seen = {.count = 0};
        snprintf(folder, sizeof folder, "cut-%zu", i);
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        tiny_copy_changed("llama3", folder, "{", "{");
        struct phy_model *model = recorded_model(folder, &host);
        struct phy_session *session = open_session(model, 0);
        assert_int_equal(phy_session_forward(session, tiny_tokens, 3, 0, note_position, &seen), PHY_OK);
        assert_int_equal(stat(path, &found), 0);
        assert_int_equal(truncate(path, left[i] == SIZE_MAX ? found.st_size - 1 : (off_t)left[i]), 0);
        assert_int_equal(phy_session_forward(session, tiny_tokens, 3, 0, note_position, &seen), PHY_ERR_IO);
        assert_string_equal(record.error, "model.safetensors: became shorter, or unreadable, while it was in use");
        assert_int_equal(seen.count, 3); /* no logits of zeros */
        assert_int_equal(phy_session_forward(session, tiny_tokens, 3, 0, note_position, &seen), PHY_ERR_IO);
        phy_session_destroy(&session);
        phy_model_close(&model);
    }
}

static void the_shard_that_was_cut_is_named(void **state)
{
    struct phy_host host;
    (void)state;
    tiny_copy_changed("qwen2", "shards", "{", "{");
    struct phy_model *model = recorded_model("shards", &host);
    struct phy_session *session = open_session(model, 0);
    assert_int_equal(truncate("shards/model-00002-of-00003.safetensors", 4096), 0);
    assert_int_equal(phy_session_forward(session, tiny_tokens, 3, 0, NULL, NULL), PHY_ERR_IO);
    assert_non_null(strstr(record.error, "model-00002-of-00003.safetensors: became shorter"));
    phy_session_destroy(&session);
    phy_model_close(&model);
}

static void a_lost_page_reads_as_zeros_and_is_remembered(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *bytes = malloc(3 * page);
    struct phy_mapping a, b;
    (void)state;
    memset(bytes, 7, 3 * page);
    write_file("a", bytes, 3 * page);
    write_file("b", bytes, 3 * page);
    int fd_a = open("a", O_RDONLY), fd_b = open("b", O_RDONLY);
    assert_int_equal(phy_mapping_open(&a, fd_a, 3 * page), 0);
    assert_int_equal(phy_mapping_open(&b, fd_b, 3 * page), 0);
    assert_int_equal(truncate("a", (off_t)page), 0);
    assert_int_equal(*(volatile const unsigned char *)(a.data + page - 1), 7);
    assert_false(phy_mapping_torn(&a));
    assert_int_equal(*(volatile const unsigned char *)(a.data + page), 0);
    assert_true(phy_mapping_torn(&a));
    assert_int_equal(*(volatile const unsigned char *)(a.data + 3 * page - 1), 0);
    assert_int_equal(*(volatile const unsigned char *)(b.data + 3 * page - 1), 7);
    assert_false(phy_mapping_torn(&b));
    phy_mapping_close(&a);
    phy_mapping_close(&a);
    /* A slot that is used again forgets. */
    assert_int_equal(phy_mapping_open(&a, fd_b, 3 * page), 0);
    assert_false(phy_mapping_torn(&a));
    phy_mapping_close(&a);
    phy_mapping_close(&b);
    close(fd_a);
    close(fd_b);
    free(bytes);
}

/* ---- what is refused ---- */

static void tensors_that_are_missing_or_of_another_shape_are_named(void **state)
{
    (void)state;
    tiny_copy_changed("llama3", "missing", "{", "{");
    rewrite_header("missing/model.safetensors", "model.layers.1.mlp.up_proj.weight",
                   "model.layers.9.mlp.up_proj.weight");
    refused("missing", NULL, PHY_ERR_FORMAT, "missing: tensor \"model.layers.1.mlp.up_proj.weight\": missing");
    tiny_copy_changed("llama3", "headless", "{", "{");
    rewrite_header("headless/model.safetensors", "lm_head.weight", "lm_heat.weight");
    refused("headless", NULL, PHY_ERR_FORMAT, "tensor \"lm_head.weight\": missing");
    tiny_copy_changed("llama3", "wide", "\"intermediate_size\": 176", "\"intermediate_size\": 177");
    refused("wide", NULL, PHY_ERR_FORMAT,
            "tensor \"model.layers.0.mlp.gate_proj.weight\": its shape is not the [177, 64]");
    tiny_copy_changed("llama3", "deep", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    refused("deep", NULL, PHY_ERR_FORMAT, "tensor \"model.layers.2.self_attn.q_proj.weight\": missing");
    tiny_copy_changed("llama3", "vocabulary", "\"vocab_size\": 512", "\"vocab_size\": 511");
    refused("vocabulary", NULL, PHY_ERR_FORMAT, "tensor \"model.embed_tokens.weight\": its shape is not the [511, 64]");
    tiny_copy_changed("llama3", "huge", "\"vocab_size\": 512", "\"vocab_size\": 16777216");
    refused("huge", NULL, PHY_ERR_FORMAT, "its shape is not the [16777216, 64]");
    tiny_copy_changed("llama3", "vector", "{", "{");
    rewrite_header("vector/model.safetensors", "\"shape\":[64]", "\"shape\":[64,1]");
    refused("vector", NULL, PHY_ERR_FORMAT, "its shape is not the [64]");
}

static void layers_that_the_config_leaves_out_are_told(void **state)
{
    struct phy_model *model;
    struct phy_host host;
    (void)state;
    tiny_copy_changed("llama3", "shallow", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    model = recorded_model("shallow", &host);
    assert_int_equal(record.warnings, 1);
    assert_non_null(strstr(record.warning, "model.layers.1.input_layernorm.weight\": config.json makes 1 layers"));
    phy_model_close(&model);
}

static void weights_of_a_type_that_is_not_computed_are_named(void **state)
{
    (void)state;
    /* 176 x 64 of 16 bits have the bytes of 352 x 64 of 8. */
    tiny_copy_changed("llama3", "fp8", "\"intermediate_size\": 176", "\"intermediate_size\": 352");
    size_t bytes;
    char *file = read_whole("fp8/model.safetensors", &bytes), *header = strndup(file + 8, phy_load_u64(file));
    char *entry = strstr(header, "\"model.layers.0.mlp.gate_proj.weight\"");
    assert_non_null(entry);
    char *old = strndup(entry, (size_t)(strchr(entry, '}') - entry));
    char *typed = replaced(old, "BF16", "F8_E4M3"), *shaped = replaced(typed, "[176,64]", "[352,64]");
    rewrite_header("fp8/model.safetensors", old, shaped);
    refused("fp8", NULL, PHY_ERR_UNSUPPORTED,
            "tensor \"model.layers.0.mlp.gate_proj.weight\": F8_E4M3 weights cannot be run, only BF16, F16 and F32");
    free(file), free(header), free(old), free(typed), free(shaped);
}

static void tensors_that_the_architecture_has_no_place_for_are_named(void **state)
{
    (void)state;
    size_t bytes;
    char *config = read_whole(tiny_path("qwen3", "config.json"), &bytes);
    char *typed = replaced(config, "\"qwen3\"", "\"llama\""), *text = replaced(typed, "Qwen3For", "LlamaFor");
    tiny_copy("qwen3", "disguised", text);
    refused("disguised", NULL, PHY_ERR_UNSUPPORTED,
            "tensor \"model.layers.0.self_attn.q_norm.weight\": the architecture");
    free(config), free(typed), free(text);
}

static void devices_and_directories_that_are_none_are_named(void **state)
{
    char path[PATH_MAX];
    (void)state;
    snprintf(path, sizeof path, "%s", tiny_path("llama3", NULL));
    refused(path, "cpu:sse9", PHY_ERR_USAGE, "cpu:sse9");
    refused(path, "abacus", PHY_ERR_USAGE, "device \"abacus\"");
    refused(path, "", PHY_ERR_USAGE, "device \"\"");
    refused("nowhere", NULL, PHY_ERR_IO, "nowhere");
    refused(tiny_path("llama3", "model.safetensors"), NULL, PHY_ERR_FORMAT, "a single file has no config.json");
    tiny_copy_changed("llama3", "plain", "{", "{");
    assert_int_equal(remove("plain/config.json"), 0);
    refused("plain", NULL, PHY_ERR_FORMAT, "plain: config.json: missing");
    char *large = malloc((5 << 20) + 1);
    memset(large, ' ', 5 << 20);
    write_file("plain/config.json", large, 5 << 20);
    refused("plain", NULL, PHY_ERR_LIMIT, "config.json: 5242880 bytes, at most 4194304 are read");
    free(large);
}

static void info_says_what_the_model_is(void **state)
{
    struct phy_model *model = open_model(tiny_path("gemma3", NULL), "cpu:ref", 1);
    struct phy_model_info info;
    (void)state;
    phy_model_describe(model, &info);
    assert_string_equal(info.model_type, "gemma3_text");
    assert_string_equal(info.device, "cpu:ref");
    assert_true(info.vocab_size == 512 && info.hidden_size == 64 && info.intermediate_size == 176);
    assert_true(info.layer_count == 4 && info.head_count == 4 && info.kv_head_count == 2 && info.head_dim == 24);
    assert_true(info.max_positions == 256 && info.bos == 2 && info.eos_count == 1 && info.eos[0] == 1);
    /* bf16: the tied head, and in each layer q and o (96, 64), k and v (48, 64), three of (176, 64). */
    assert_int_equal(info.weight_count, 512 * 64 + 4 * 64 * (2 * 96 + 2 * 48 + 3 * 176));
    assert_int_equal(info.weight_bytes, 2 * info.weight_count);
    assert_string_equal(info.weight_type, "bf16");
    phy_model_close(&model);
}

static void every_allocation_that_fails_is_an_error_and_leaks_nothing(void **state)
{
    char path[PATH_MAX];
    enum phy_status status = PHY_ERR_MEMORY;
    uint64_t after = 0;
    (void)state;
    snprintf(path, sizeof path, "%s", tiny_path("llama3", NULL));
    for (; status != PHY_OK && after < 2000; after++) {
        struct phy_host host = recording_host(&record);
        struct phy_model_params params = {.threads = 1, .host = &host};
        struct phy_model *model;
        struct phy_session *session = NULL;
        phy_alloc_fail_after(after);
        status = phy_model_open(&model, path, &params);
        if (status == PHY_OK)
            status = phy_session_create(&session, model, 20);
        if (status == PHY_OK)
            status = phy_session_forward(session, tiny_tokens, 20, 0, NULL, NULL);
        phy_alloc_fail_after(UINT64_MAX);
        assert_true(status == PHY_OK || status == PHY_ERR_MEMORY);
        assert_int_equal(record.errors, status != PHY_OK);
        phy_session_destroy(&session);
        phy_model_close(&model);
    }
    printf("%llu allocations\n", (unsigned long long)after);
    assert_int_equal(status, PHY_OK);
    assert_true(after > 20);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_back_and_run_again_gives_the_same_bits),
        cmocka_unit_test(every_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(two_sessions_of_a_model_do_not_disturb_each_other),
        IN_SCRATCH(long_prompts_match_the_same_tokens_in_pieces),
        IN_SCRATCH(weights_of_every_type_and_at_odd_places_give_the_same_bits),
        cmocka_unit_test(rounded_activations_cost_little_and_the_same_in_every_form),
        IN_SCRATCH(rounded_activations_of_other_weights_are_refused),
        cmocka_unit_test(too_many_tokens_are_an_error_that_says_the_limit),
        cmocka_unit_test(a_token_beyond_the_vocabulary_is_named),
        cmocka_unit_test(the_sink_sees_the_positions_that_were_asked_for),
        cmocka_unit_test(logits_do_not_depend_on_how_many_are_asked_for),
        cmocka_unit_test(an_observer_sees_every_row_of_every_layer),
        cmocka_unit_test(a_host_that_cancels_stops_the_forward_pass_at_any_layer),
        IN_SCRATCH(a_file_cut_short_while_it_is_mapped_is_an_error_and_no_signal),
        IN_SCRATCH(the_shard_that_was_cut_is_named),
        IN_SCRATCH(a_lost_page_reads_as_zeros_and_is_remembered),
        IN_SCRATCH(tensors_that_are_missing_or_of_another_shape_are_named),
        IN_SCRATCH(layers_that_the_config_leaves_out_are_told),
        IN_SCRATCH(weights_of_a_type_that_is_not_computed_are_named),
        IN_SCRATCH(tensors_that_the_architecture_has_no_place_for_are_named),
        IN_SCRATCH(devices_and_directories_that_are_none_are_named),
        cmocka_unit_test(info_says_what_the_model_is),
        cmocka_unit_test(every_allocation_that_fails_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
