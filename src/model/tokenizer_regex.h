/* SPDX-License-Identifier: Apache-2.0 */
/* The regular expressions of tokenizer.json, which are Oniguruma's, on PCRE2: what both mean alike is passed on, what
 * is spelled otherwise is translated, and the rest is refused. */
#ifndef PHY_MODEL_TOKENIZER_REGEX_H
#define PHY_MODEL_TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tokenizer_text.h"
#include "physarium/host.h"

/* Compiled; read only, by any number of threads. */
struct phy_regex;

/* `where` begins the messages: "tokenizer.json: pre_tokenizer: Split".
 *   PHY_ERR_FORMAT       a quantifier without an end and the like
 *   PHY_ERR_UNSUPPORTED  a construct that is not translated
 *   PHY_ERR_MEMORY       host allocation failed */
enum phy_status phy_regex_compile(struct phy_regex **out, const char *pattern, size_t bytes, const char *where,
                                  const struct phy_host *host);
void phy_regex_free(struct phy_regex **regex);

/* Append the pattern as PCRE2 takes it. */
enum phy_status phy_regex_translate(struct phy_octets *to, const char *pattern, size_t bytes, const char *where,
                                    const struct phy_host *host);

/* What one search at a time needs. A zeroed struct is ready. */
struct phy_regex_work {
    void *match_data, *match_context, *jit_stack;
    uint64_t steps, steps_max; /* the sum over all searches, and what it may come to */
    size_t last_position;
    const struct phy_host *host;
};

void phy_regex_work_free(struct phy_regex_work *work);

/* The first match at or after `at`: true in *found, its place in *begin and *end. The text is valid UTF-8.
 *   PHY_ERR_LIMIT        more steps than steps_max, or more memory than a search may take
 *   PHY_ERR_INTERRUPTED  the host asked to stop
 *   PHY_ERR_MEMORY       host allocation failed */
enum phy_status phy_regex_search(const struct phy_regex *regex, struct phy_regex_work *work, const char *text,
                                 size_t bytes, size_t at, bool *found, size_t *begin, size_t *end);

#endif
