/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "audit/audit_parts.h"
#include "audit/small_file.h"
#include "base/alloc.h"
#include "base/log.h"

enum { PROMPTS_MAX_BYTES = 16 << 20, PROMPTS_MAX = 256 };

static const struct {
    const char *name, *text;
} builtin[] = {
    {"paris", "The capital of France is"},
    {"apollo", "The Apollo 11 mission landed on the Moon on July 20, 1969. The commander was"},
    {"code", "def fibonacci(n):"},
};

/* The text of one token; the vocabulary's spelling of one that is no text by itself. */
static char *token_text(const struct phy_tokenizer *tokenizer, uint32_t id)
{
    struct phy_decoded decoded;
    if (phy_tokenizer_decode(tokenizer, &id, 1, NULL, &decoded) != PHY_OK)
        return NULL;
    size_t bytes;
    const char *piece = phy_tokenizer_piece(tokenizer, id, &bytes);
    char *text = decoded.bytes || !piece ? phy_strndup(decoded.text, decoded.bytes) : phy_strndup(piece, bytes);
    phy_decoded_free(&decoded);
    return text;
}

static enum phy_status add(struct phy_audit *audit, const char *name, size_t name_bytes, const char *text,
                           size_t text_bytes)
{
    struct phy_audit_record *r = &audit->record;
    struct phy_audit_prompt *grown = phy_realloc(r->prompts, r->prompt_count + 1, sizeof *grown);
    if (!grown)
        return phy_fail_memory(audit->host, "a prompt", sizeof *grown);
    r->prompts = grown;
    struct phy_audit_prompt *prompt = &grown[r->prompt_count++];
    *prompt = (struct phy_audit_prompt){.name = phy_strndup(name, name_bytes), .text = phy_strndup(text, text_bytes)};
    struct phy_id_list ids;
    char label[512];
    snprintf(label, sizeof label, "%.300s: prompt %.64s", audit->params.prompts ? audit->params.prompts : "",
             prompt->name ? prompt->name : "");
    enum phy_status status =
        phy_tokenizer_encode(audit->tokenizer, text, text_bytes, &(struct phy_encode_params){.name = label}, &ids);
    if (status != PHY_OK)
        return status;
    bool fits = ids.count > 0 && ids.count <= audit->model->config.max_positions;
    for (size_t i = 0; i < ids.count && fits; i++)
        fits = ids.ids[i] < audit->model->config.vocab_size;
    prompt->ids = phy_alloc(ids.count, sizeof *prompt->ids);
    prompt->tokens = phy_zalloc(ids.count, sizeof *prompt->tokens);
    bool done = fits && prompt->name && prompt->text && prompt->ids && prompt->tokens;
    if (done) {
        memcpy(prompt->ids, ids.ids, ids.count * sizeof *prompt->ids);
        prompt->id_count = ids.count;
    }
    for (size_t i = 0; done && i < ids.count; i++)
        done = (prompt->tokens[i] = token_text(audit->tokenizer, ids.ids[i])) != NULL;
    size_t count = ids.count;
    phy_id_list_free(&ids);
    if (!fits)
        return phy_fail(audit->host, PHY_ERR_USAGE,
                        "prompt %.64s: %zu tokens, the model takes 1 to %u of its vocabulary",
                        prompt->name ? prompt->name : "", count, audit->model->config.max_positions);
    return done ? PHY_OK : phy_fail_memory(audit->host, "a prompt", text_bytes);
}

/* A prompt a line; a tab ends a name in front of it. Lines are numbered for those without. */
static enum phy_status add_file(struct phy_audit *audit)
{
    char *text;
    size_t bytes = 0, added = 0;
    enum phy_status status = PHY_OK;
    int error = phy_read_named_file(audit->params.prompts, PROMPTS_MAX_BYTES, &text, &bytes);
    if (error)
        return phy_fail(audit->host, PHY_ERR_IO, "%s: %s", audit->params.prompts, strerror(error));
    size_t line_number = 0;
    for (const char *at = text, *end = text + bytes; at < end && status == PHY_OK;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        const char *tab = memchr(at, '\t', (size_t)(stop - at));
        char number[32];
        snprintf(number, sizeof number, "line%zu", ++line_number);
        if (stop > at && added == PROMPTS_MAX)
            status =
                phy_fail(audit->host, PHY_ERR_LIMIT, "%s: more than %d prompts", audit->params.prompts, PROMPTS_MAX);
        else if (stop > at && tab && tab > at && tab + 1 < stop)
            status = add(audit, at, (size_t)(tab - at), tab + 1, (size_t)(stop - tab - 1));
        else if (stop > at)
            status = add(audit, number, strlen(number), at, (size_t)(stop - at));
        added += stop > at;
        at = newline ? newline + 1 : end;
    }
    phy_free(text);
    if (status == PHY_OK && !added)
        return phy_fail(audit->host, PHY_ERR_USAGE, "%s: no prompt in it", audit->params.prompts);
    return status;
}

enum phy_status phy_audit_prompts(struct phy_audit *audit)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < sizeof builtin / sizeof *builtin && status == PHY_OK; i++)
        status = add(audit, builtin[i].name, strlen(builtin[i].name), builtin[i].text, strlen(builtin[i].text));
    if (status == PHY_OK && audit->params.prompts)
        status = add_file(audit);
    return status;
}
