/* SPDX-License-Identifier: Apache-2.0 */
/* Where eval and calibrate take their tokens from: a text and the model's tokenizer, or ids. */
#ifndef PHY_CLI_TEXT_IDS_H
#define PHY_CLI_TEXT_IDS_H

#include "cli.h"
#include "physarium/tokenizer.h"

struct phy_text_ids {
    uint32_t *ids;
    size_t count;
    bool has_bos; /* the tokenizer begins every sequence with `bos` */
    uint32_t bos;
    struct phy_tokenizer *tokenizer; /* NULL: ids were given, and the model has none */
};

/* Tokens of the file `text` by `model`'s tokenizer, or the little-endian uint32 values of the file `ids`; the other is
 * NULL. Special tokens are not added; has_bos says whether the model wants one. Of ids for a model without a tokenizer
 * nothing says it, and a warning says that. phy_text_ids_free(out), whatever the status. The failure has been said. */
enum phy_status phy_text_ids_read(struct phy_text_ids *out, const char *model, const char *text, const char *ids,
                                  const struct phy_host *host);

void phy_text_ids_free(struct phy_text_ids *ids);

#endif
