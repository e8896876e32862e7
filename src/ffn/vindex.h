/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that another tool of this field reads and writes: vindex, version 2 (docs/ffn-store.md). */
#ifndef PHY_FFN_VINDEX_H
#define PHY_FFN_VINDEX_H

#include "ffn/store_parts.h"

/* Whether the text of an index.json is a vindex': it has "num_layers" and no "schema". */
bool phy_is_vindex_index(const char *text, size_t bytes);

/* Read a vindex of which the store has host and label: checked, mapped, its layers handed out. trust: SHA-256 sums,
 * where it has some, are not checked. */
enum phy_status phy_vindex_open(struct phy_ffn_store *store, int dir_fd, char *text, size_t bytes, bool trust,
                                enum phy_q6k_order order);

/* Q6_K blocks lie in two orders: ggml's, and pairs of neighbours. Nothing in a file says which, but an encoder scales
 * each group of 16 so that its largest |q - 32| is 30 or more: in the right order that holds for nearly all of them.
 * The order in which it does for more than 0.95 of the first 4,096 groups whose scale is not 0;
 * PHY_Q6K_TOLD_BY_CODES where that holds for neither or for both, and nothing is told. */
enum phy_q6k_order phy_q6k_order_of(const uint8_t *blocks, size_t count);
/* Blocks of pairs to blocks of ggml's order, and back. */
void phy_q6k_reorder(const uint8_t *from, size_t count, uint8_t *to);
void phy_q6k_reorder_to_pairs(const uint8_t *from, size_t count, uint8_t *to);

#endif
