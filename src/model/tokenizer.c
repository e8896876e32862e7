/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_parts.h"

#include "base/alloc.h"

void phy_tokenizer_close(struct phy_tokenizer **tokenizer)
{
    if (!*tokenizer)
        return;
    phy_tokenizer_free_parts(*tokenizer);
    phy_free(*tokenizer);
    *tokenizer = NULL;
}

uint32_t phy_tokenizer_id_limit(const struct phy_tokenizer *tokenizer)
{
    return tokenizer->id_limit;
}

const char *phy_tokenizer_piece(const struct phy_tokenizer *tokenizer, uint32_t id, size_t *bytes)
{
    uint32_t index = phy_pair_map_get(&tokenizer->added_by_id, 0, id);
    if (index != PHY_PAIR_NONE) {
        *bytes = tokenizer->added[index].bytes;
        return tokenizer->added[index].content;
    }
    const struct phy_name *name = phy_bpe_token(&tokenizer->bpe, id);
    *bytes = name ? name->bytes : 0;
    return name ? name->text : NULL;
}

bool phy_tokenizer_find(const struct phy_tokenizer *tokenizer, const char *piece, size_t bytes, uint32_t *id)
{
    const struct phy_name *added = phy_name_set_find(&tokenizer->added_by_content, 0, piece, bytes);
    uint32_t found = added ? tokenizer->added[added->value].id : phy_bpe_find(&tokenizer->bpe, piece, bytes);
    if (found != PHY_NO_TOKEN)
        *id = found;
    return found != PHY_NO_TOKEN;
}
