/* SPDX-License-Identifier: Apache-2.0 */
/* An open FFN store, as paths and audits see it: mapped matrices of each layer. */
#ifndef PHY_FFN_STORE_H
#define PHY_FFN_STORE_H

#include "backend/matmul_backend.h"
#include "physarium/ffn.h"

/* Matrices that a layer does not have, or holds in another way, have data NULL. `index` is of no meaning here: a path
 * copies what it gives to a backend. */
struct phy_store_layer {
    struct phy_weights gate, up;        /* (intermediate, hidden) */
    struct phy_weights gate_up;         /* (2 intermediate, hidden): gate's and up's rows in turn; layout interleaved */
    struct phy_weights down;            /* (hidden, intermediate) */
    struct phy_weights down_by_feature; /* (intermediate, hidden): down transposed; schemes of walks */
    bool present;                       /* false: the store does not hold this layer */
    /* XXH3-64 of the donor's gate, up and down as stored in the donor: which model it was made of. */
    uint64_t source_xxh3[3];
    bool has_source; /* false: not known (a vindex) */
};

/* layer < layer_count. */
const struct phy_store_layer *phy_ffn_store_layer(const struct phy_ffn_store *store, uint32_t layer);
const char *phy_ffn_store_label(const struct phy_ffn_store *store); /* the directory, for messages */

/* True once a page of a file was gone, because somebody cut it short: what was computed from the store is worthless. */
bool phy_ffn_store_torn(const struct phy_ffn_store *store);

/* Decode `matrix` rows row_begin .. row_end - 1 to float32, (rows, cols) dense. */
void phy_store_decode_rows(const struct phy_weights *matrix, size_t row_begin, size_t row_end, float *out);

#endif
