/* SPDX-License-Identifier: Apache-2.0 */
/* The tiny models of tests/golden/model, as they are or changed, and all logits of a list of tokens. */
#ifndef PHY_TESTS_SUPPORT_TINY_MODEL_H
#define PHY_TESTS_SUPPORT_TINY_MODEL_H

#include "support/checkpoint_build.h" /* first: it asks the system headers for more */

#include <math.h>

#include "physarium/physarium.h"

enum { TINY_VOCAB = 512, TINY_TOKENS = 40 };

/* The tokens that the goldens were made of. */
static const uint32_t tiny_tokens[TINY_TOKENS] = {287, 373, 13,  354, 224, 480, 18,  33,  240, 353, 40,  470, 362, 244,
                                                  31,  174, 337, 308, 390, 373, 354, 224, 501, 58,  185, 326, 99,  24,
                                                  273, 27,  429, 164, 331, 110, 97,  396, 91,  407, 70,  90};

static inline char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be read", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    assert_int_equal(fread(text, 1, *bytes, file), *bytes);
    text[*bytes] = 0;
    fclose(file);
    return text;
}

static inline const char *tiny_path(const char *name, const char *file)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, PHY_TEST_DATA "/golden/model/tiny-%s%s%s", name, file ? "/" : "", file ? file : "");
    return path;
}

/* A copy of a tiny model in the folder `to`, with the text of its config.json. */
static inline void tiny_copy(const char *name, const char *to, const char *config)
{
    static const char *const files[] = {"model.safetensors", "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
                                        INDEX_NAME};
    char path[PATH_MAX];
    assert_int_equal(mkdir(to, 0777), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (access(tiny_path(name, files[i]), F_OK) != 0)
            continue;
        size_t bytes;
        char *content = read_whole(tiny_path(name, files[i]), &bytes);
        snprintf(path, sizeof path, "%s/%s", to, files[i]);
        write_file(path, content, bytes);
        free(content);
    }
    snprintf(path, sizeof path, "%s/config.json", to);
    write_text(path, config);
}

/* `text` with the first `old` in it replaced; the caller's. */
static inline char *replaced(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    if (!at)
        fail_msg("no %s in the text", old);
    char *out = malloc(strlen(text) + strlen(new) + 1);
    memcpy(out, text, (size_t)(at - text));
    strcpy(out + (at - text), new);
    strcat(out, at + strlen(old));
    return out;
}

/* A copy in `to` whose config.json has `new` instead of `old`. */
static inline void tiny_copy_changed(const char *name, const char *to, const char *old, const char *new)
{
    size_t bytes;
    char *text = read_whole(tiny_path(name, "config.json"), &bytes), *changed = replaced(text, old, new);
    tiny_copy(name, to, changed);
    free(text);
    free(changed);
}

static inline struct phy_model *open_model(const char *directory, const char *device, uint32_t threads)
{
    struct phy_model *model;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_model_params params = {.device = device, .threads = threads, .host = &host};
    if (phy_model_open(&model, directory, &params) != PHY_OK)
        fail_msg("%s: %s", directory, record.error);
    phy_model_close(&model);
    params.host = NULL; /* the record does not outlive this call */
    assert_int_equal(phy_model_open(&model, directory, &params), PHY_OK);
    return model;
}

static inline struct phy_session *open_session(struct phy_model *model, uint32_t positions)
{
    struct phy_session *session;
    assert_int_equal(phy_session_create(&session, model, positions), PHY_OK);
    return session;
}

/* Receives logits in order: row p of `to` (positions, vocab) gets those of position p. */
struct logit_rows {
    float *to;
    size_t vocab;
    uint32_t expected; /* the next position */
};

static inline bool keep_row(void *user, uint32_t position, const float *logits)
{
    struct logit_rows *rows = user;
    assert_int_equal(position, rows->expected);
    memcpy(rows->to + rows->expected++ * rows->vocab, logits, rows->vocab * sizeof *logits);
    return true;
}

/* Logits (count, vocab) of the tokens, from an empty session, `chunks` (0-terminated, the last one repeats) at a time.
 */
static inline void run_in_chunks(struct phy_session *session, const uint32_t *tokens, size_t count,
                                 const size_t *chunks, size_t vocab, float *to)
{
    struct logit_rows rows = {.to = to, .vocab = vocab};
    phy_session_truncate(session, 0);
    for (size_t at = 0, chunk = 0; at < count; at += chunk) {
        if (*chunks)
            chunk = *chunks++;
        chunk = chunk < count - at ? chunk : count - at;
        assert_int_equal(phy_session_forward(session, tokens + at, chunk, 0, keep_row, &rows), PHY_OK);
    }
    assert_int_equal(rows.expected, count);
    assert_int_equal(phy_session_length(session), count);
}

/* |got - expected| / |expected| of one row. */
static inline double relative_l2(const float *got, const float *expected, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)got[i] - (double)expected[i]) * ((double)got[i] - (double)expected[i]);
        norm += (double)expected[i] * (double)expected[i];
    }
    return sqrt(difference / norm);
}

static inline double worst_relative_l2(const float *got, const float *expected, size_t rows, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < rows; i++) {
        double error = relative_l2(got + i * count, expected + i * count, count);
        if (!(error <= worst))
            worst = error == error ? error : INFINITY;
    }
    return worst;
}

static inline size_t largest_of(const float *x, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

#endif
