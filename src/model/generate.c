/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/generate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/model_parts.h"
#include "model/sampler.h"
#include "model/tokenizer_parts.h"

/* ---- text as it comes ---- */

/* Each token is decoded after some before it: what a character's bytes, or a decoder that treats the first token apart,
 * need. When ids[part ..] grows to PART_MOST tokens, all of its text handed on, it begins anew PART_LEAST from the end:
 * a long text is decoded in linear time. */
enum { PART_LEAST = 16, PART_MOST = 64 };

struct stream {
    const struct phy_generate_params *params;
    uint32_t *ids; /* prompt, then what was generated */
    size_t count, part;
    size_t sent; /* bytes of the text of ids[part ..] that were handed on, the prompt's among them */
    bool by_parts, stopped;
};

static void send(struct stream *s, const char *text, size_t bytes)
{
    if (bytes && !s->stopped && s->params->sink && !s->params->sink(s->params->user, text, bytes))
        s->stopped = true;
}

/* How many bytes the sequence that begins at text may still need: an incomplete one at the end is held back. */
static bool may_continue(const char *text, size_t bytes)
{
    unsigned char lead = (unsigned char)text[0];
    size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                    : lead >= 0xE0 && lead <= 0xEF ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 1;
    if (bytes >= length)
        return false;
    for (size_t i = 1; i < bytes; i++) {
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            return false;
    }
    return true;
}

static enum phy_status decode_from(const struct stream *s, size_t part, struct phy_decoded *out)
{
    return phy_tokenizer_decode(s->params->tokenizer, s->ids + part, s->count - part,
                                &(struct phy_decode_params){.skip_special = true, .raw_bytes = true}, out);
}

/* Take all text so far as handed on. A part that begins with text has behind it what a decoder strips from the
 * beginning: one without any does not do. */
static enum phy_status begin_part(struct stream *s)
{
    struct phy_decoded decoded = {0};
    enum phy_status status = PHY_OK;
    s->part = s->by_parts && s->count > PART_LEAST ? s->count - PART_LEAST : 0;
    for (;;) {
        status = decode_from(s, s->part, &decoded);
        if (status != PHY_OK || decoded.bytes > 0 || s->part == 0)
            break;
        phy_decoded_free(&decoded);
        s->part = s->part > s->count - s->part ? s->part - (s->count - s->part) : 0; /* twice as many tokens */
    }
    s->sent = decoded.bytes;
    phy_decoded_free(&decoded);
    return status;
}

static enum phy_status flush_text(struct stream *s, bool end)
{
    struct phy_decoded decoded;
    enum phy_status status = decode_from(s, s->part, &decoded);
    if (status != PHY_OK)
        return status;
    size_t from = s->sent;
    while (s->sent < decoded.bytes) {
        const char *at = decoded.text + s->sent;
        size_t length = phy_utf8_sequence(at, decoded.bytes - s->sent, NULL);
        if (length) {
            s->sent += length;
            continue;
        }
        send(s, decoded.text + from, s->sent - from);
        from = s->sent;
        if (!end && may_continue(at, decoded.bytes - s->sent))
            break;
        send(s, "\xEF\xBF\xBD", 3);
        from = ++s->sent;
    }
    send(s, decoded.text + from, s->sent - from);
    bool all = s->sent == decoded.bytes;
    phy_decoded_free(&decoded);
    return all && !end && s->by_parts && s->count - s->part >= PART_MOST ? begin_part(s) : PHY_OK;
}

/* ---- the loop ---- */

struct chooser {
    struct phy_sampler sampler;
    size_t vocab;
    uint32_t chosen;
    bool no_number; /* what it chose from was none */
};

static bool choose(void *user, uint32_t position, const float *logits)
{
    struct chooser *c = user;
    (void)position;
    c->chosen = phy_sampler_choose(&c->sampler, logits, c->vocab);
    c->no_number = !isfinite(logits[c->chosen]);
    return true;
}

/* Append tokens and choose the one that follows. */
static enum phy_status forward(const struct phy_generate_params *p, const uint32_t *tokens, size_t count,
                               struct chooser *c)
{
    enum phy_status status = phy_session_forward(p->session, tokens, count, UINT32_MAX, choose, c);
    if (status != PHY_OK || !c->no_number)
        return status;
    return phy_fail(p->host, PHY_ERR_FORMAT,
                    "position %u: the logits are no finite numbers: the weights hold some that are "
                    "not, or make them",
                    phy_session_length(p->session) - 1);
}

static bool is_eos(const struct phy_model_config *config, uint32_t id)
{
    for (uint32_t i = 0; i < config->eos_count; i++) {
        if (config->eos[i] == id)
            return true;
    }
    return false;
}

static enum phy_status loop(struct stream *s, struct chooser *c, struct phy_generate_result *out)
{
    const struct phy_generate_params *p = s->params;
    double started = phy_seconds_now();
    enum phy_status status = forward(p, p->prompt, p->prompt_count, c);
    double prefilled = phy_seconds_now();
    out->prefill_seconds = prefilled - started;
    while (status == PHY_OK && out->count < p->max_tokens) {
        uint32_t id = c->chosen;
        if (!p->ignore_eos && is_eos(&phy_session_model(p->session)->config, id)) {
            out->end = PHY_END_EOS;
            break;
        }
        out->tokens[out->count++] = id;
        s->ids[s->count++] = id;
        status = flush_text(s, false);
        if (s->stopped)
            out->end = PHY_END_STOPPED;
        if (status != PHY_OK || s->stopped || out->count == p->max_tokens)
            break;
        status = forward(p, &id, 1, c);
    }
    out->decode_seconds = phy_seconds_now() - prefilled;
    return status == PHY_OK ? flush_text(s, true) : status;
}

enum phy_status phy_generate_run(const struct phy_generate_params *params, struct phy_generate_result *out)
{
    *out = (struct phy_generate_result){0};
    uint32_t free_positions = phy_session_capacity(params->session) - phy_session_length(params->session);
    if (params->prompt_count == 0)
        return phy_fail(params->host, PHY_ERR_USAGE, "the prompt has no tokens, and the model no token to begin with");
    if (params->prompt_count > free_positions || params->max_tokens > free_positions - params->prompt_count)
        return phy_fail(params->host, PHY_ERR_LIMIT, "a prompt of %zu tokens and %u more: the context holds %u",
                        params->prompt_count, params->max_tokens, free_positions);
    struct stream stream = {
        .params = params, .count = params->prompt_count, .by_parts = phy_tokenizer_decodes_by_parts(params->tokenizer)};
    struct chooser chooser = {.vocab = phy_session_model(params->session)->config.vocab_size};
    stream.ids = phy_alloc(params->prompt_count + params->max_tokens, sizeof *stream.ids);
    out->tokens = phy_alloc(params->max_tokens, sizeof *out->tokens);
    enum phy_status status = stream.ids && out->tokens
                                 ? phy_sampler_open(&chooser.sampler, &params->sampler, chooser.vocab, params->host)
                                 : phy_fail_memory(params->host, "tokens", params->max_tokens * sizeof *out->tokens);
    if (status == PHY_OK) {
        memcpy(stream.ids, params->prompt, params->prompt_count * sizeof *stream.ids);
        status = begin_part(&stream); /* the prompt's text is not sent again */
    }
    if (status == PHY_OK)
        status = loop(&stream, &chooser, out);
    phy_sampler_close(&chooser.sampler);
    phy_free(stream.ids);
    if (status != PHY_OK)
        phy_generate_result_free(out);
    return status;
}

void phy_generate_result_free(struct phy_generate_result *result)
{
    phy_free(result->tokens);
    *result = (struct phy_generate_result){0};
}
