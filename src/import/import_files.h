/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an imported directory. */
#ifndef PHY_IMPORT_FILES_H
#define PHY_IMPORT_FILES_H

#include "import/import_model.h"

/* The spelling of config.json follows this version of transformers (rope_parameters, dtype, layer_types). */
#define IMPORT_CONFIG_VERSION "5.23.0"

/* Ids of the special tokens; -1 for none. */
struct import_token_ids {
    int64_t bos, eos, pad, unknown, turn_end, mask;
};

/* config.json and generation_config.json as text, freed with cJSON_free. PHY_ERR_MEMORY. */
enum phy_status phy_import_config(const struct import_model *model, const struct import_token_ids *ids, char **out);
enum phy_status phy_import_generation_config(const struct import_model *model, const struct import_token_ids *ids,
                                             char **out);

/* ---- the tokenizer ---- */

struct import_tokenizer;

/* Read and check the tokenizer. *out is NULL when the file has none. Messages name the key.
 *   PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED, PHY_ERR_LIMIT, PHY_ERR_IO, PHY_ERR_MEMORY */
enum phy_status phy_import_tokenizer_read(struct import_tokenizer **out, const struct import_model *model,
                                          struct import_token_ids *ids);
void phy_import_tokenizer_free(struct import_tokenizer **tokenizer);
size_t phy_import_token_count(const struct import_tokenizer *tokenizer);
/* Write tokenizer.json, as Hugging Face `tokenizers` loads it, and tokenizer_config.json. Return 0 or an errno value.
 */
int phy_import_write_tokenizer(const struct import_tokenizer *tokenizer, int fd);
int phy_import_write_tokenizer_config(const struct import_tokenizer *tokenizer, const struct import_token_ids *ids,
                                      int fd);

#endif
