/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_EVAL_H
#define PHYSARIUM_EVAL_H

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

/* How well a model predicts a text, and how far it is from a baseline. The procedure:
 *
 * The text's tokens are cut into pieces of `context` tokens, less one when a BOS token stands in front of each; pieces
 * start `stride` tokens apart and the incomplete one at the end is dropped. Every piece is a window of its own:
 * position 0, empty cache. Position 0 is not scored; of a piece that overlaps the one before only the new tokens are. A
 * token's nll is -ln softmax(logits at the position before)[token]; perplexity is exp(mean nll). With a baseline P and
 * the model Q, KL is sum_v P(v) log2(P(v) / Q(v)) at every scored position (exact: over the whole vocabulary), and
 * top-1 agreement is the share of them where both have the same largest logit (lowest id on a tie). */
struct phy_eval_params {
    struct phy_model *model, *baseline; /* baseline may be NULL; the same vocabulary */
    const uint32_t *tokens;             /* (token_count) of the text, without special tokens */
    size_t token_count;
    uint32_t context; /* 0: 256, or what the model allows */
    uint32_t stride;  /* 0: the length of a piece */
    bool has_bos;
    uint32_t bos;
    const struct phy_host *host;
};

/* One scored token. */
struct phy_eval_token {
    size_t index;        /* of the token in the text */
    uint32_t position;   /* of the token in its window, from 1 */
    double nll;          /* nats */
    double baseline_nll; /* 0 without a baseline, as the next two */
    double kl_bits;
    uint32_t top1, baseline_top1;
};

/* A mean and its standard error (of the mean over tokens, taken as independent). */
struct phy_estimate {
    double value, error;
};

struct phy_eval_result {
    struct phy_eval_token *tokens;             /* (token_count) in order; free with phy_eval_result_free */
    size_t token_count, window_count, dropped; /* dropped: tokens of the incomplete piece */
    uint32_t context, stride;
    double *window_nll, *baseline_window_nll; /* (window_count) sums */
    struct phy_estimate nll, perplexity;
    bool has_baseline;
    struct phy_estimate baseline_nll, baseline_perplexity, delta_perplexity, kl_bits, top1_agreement;
    double kl_bits_p99, kl_bits_max;
};

/*   PHY_ERR_USAGE   fewer tokens than one window, a stride of 0 < stride <= piece broken, different vocabularies
 *   PHY_ERR_LIMIT   a context beyond the model's
 *   PHY_ERR_FORMAT  the weights give logits that are no finite numbers
 *   PHY_ERR_INTERRUPTED, and the errors of phy_session_forward */
PHY_API enum phy_status phy_eval_run(const struct phy_eval_params *params, struct phy_eval_result *out);
/* What eval.html shows: figures, KL (or nll) by position in the window, and the tokens where the models differ most, in
 * context. */
struct phy_eval_page {
    const struct phy_eval_result *result;
    const struct phy_tokenizer *tokenizer; /* NULL: tokens are shown by their ids */
    const uint32_t *tokens;                /* (token_count) of the text, as given to phy_eval_run */
    size_t token_count;
    const char *model_name, *baseline_name; /* baseline_name NULL without one */
    const char *device;
    const char *output; /* file; written beside and renamed */
    const struct phy_host *host;
};

/* One self-contained page, light and dark.
 *   PHY_ERR_IO, PHY_ERR_MEMORY */
PHY_API enum phy_status phy_eval_write_html(const struct phy_eval_page *page);

/* Whether phy_eval_run would refuse these parameters, without running anything; the same errors. */
PHY_API enum phy_status phy_eval_check(const struct phy_eval_params *params);
PHY_API void phy_eval_result_free(struct phy_eval_result *result);

#ifdef __cplusplus
}
#endif
#endif
