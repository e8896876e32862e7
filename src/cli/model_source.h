/* SPDX-License-Identifier: Apache-2.0 */
/* What the runner's commands take as a model: a directory, or a GGUF file that is imported to memory. */
#ifndef PHY_CLI_MODEL_SOURCE_H
#define PHY_CLI_MODEL_SOURCE_H

#include <stdbool.h>

#include "physarium/import.h"

struct phy_model_source {
    const char *path; /* to open */
    struct phy_memory_import *memory;
};

/* without_weights: only the tokenizer is asked for. phy_model_source_close(out), whatever the status, after what was
 * opened from it. The failure has been said. */
enum phy_status phy_model_source_open(struct phy_model_source *out, const char *given, bool without_weights,
                                      const struct phy_host *host);
void phy_model_source_close(struct phy_model_source *source);

#endif
