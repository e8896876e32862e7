/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_GENERATE_H
#define PHYSARIUM_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "model.h"
#include "status.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct phy_sampler_params {
    double temperature; /* 0: greedy */
    uint32_t top_k;     /* 0: all */
    double top_p;       /* 0 or 1: all */
    uint64_t seed;
};

/* Receives text as it comes: whole UTF-8 characters, U+FFFD for bytes that are not. False stops. */
typedef bool phy_text_sink(void *user, const char *text, size_t bytes);

struct phy_generate_params {
    struct phy_session *session; /* empty, or holding what the prompt goes on from */
    const struct phy_tokenizer *tokenizer;
    const uint32_t *prompt; /* (prompt_count) >= 1 */
    size_t prompt_count;
    uint32_t max_tokens;
    bool ignore_eos;
    struct phy_sampler_params sampler;
    phy_text_sink *sink; /* may be NULL */
    void *user;
    const struct phy_host *host;
};

enum phy_generate_end { PHY_END_LENGTH, PHY_END_EOS, PHY_END_STOPPED };

struct phy_generate_result {
    uint32_t *tokens; /* (count), the EOS token not among them; free with phy_generate_result_free */
    size_t count;
    enum phy_generate_end end;
    double prefill_seconds, decode_seconds; /* decode: of count - 1 forward passes, or as many as there were */
};

/*   PHY_ERR_LIMIT  prompt and max_tokens do not fit in the session; nothing was run
 *   PHY_ERR_USAGE  an empty prompt, sampler values out of range
 *   PHY_ERR_FORMAT the weights give logits that are no finite numbers
 *   and the errors of phy_session_forward */
PHY_API enum phy_status phy_generate_run(const struct phy_generate_params *params, struct phy_generate_result *out);
PHY_API void phy_generate_result_free(struct phy_generate_result *result);

#ifdef __cplusplus
}
#endif
#endif
