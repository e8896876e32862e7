/* SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenizer_parts.h"

#include "base/alloc.h"

static void free_pattern(struct phy_pattern *pattern)
{
    phy_regex_free(&pattern->regex);
    phy_free(pattern->text);
}

static void free_steps(struct phy_tokenizer *t)
{
    for (size_t i = 0; i < t->normalizer_count; i++) {
        free_pattern(&t->normalizers[i].pattern);
        phy_free(t->normalizers[i].content);
    }
    for (size_t i = 0; i < t->splitter_count; i++)
        free_pattern(&t->splitters[i].pattern);
    for (size_t i = 0; i < t->decoder_count; i++) {
        phy_free(t->decoders[i].pattern);
        phy_free(t->decoders[i].content);
    }
    phy_free(t->normalizers);
    phy_free(t->splitters);
    phy_free(t->decoders);
}

void phy_tokenizer_free_parts(struct phy_tokenizer *t)
{
    free_steps(t);
    for (size_t i = 0; i < t->added_count; i++) {
        phy_free(t->added[i].content);
        phy_free(t->added[i].normal);
    }
    phy_free(t->added);
    phy_name_set_free(&t->added_by_content);
    phy_name_set_free(&t->special_contents);
    phy_pair_map_free(&t->added_by_id);
    phy_matcher_free(&t->raw);
    phy_matcher_free(&t->normal);
    phy_ids_free(&t->prefix);
    phy_ids_free(&t->suffix);
    phy_bpe_free(&t->bpe);
    phy_free(t->name);
}
