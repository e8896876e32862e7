/* SPDX-License-Identifier: Apache-2.0 */
/* index.json of a vindex beside files of the sizes that the seeds ask for. */
#include "fuzz/store_folder.h"

#include "ffn/store_parts.h"
#include "ffn/vindex.h"

enum { FEATURES = 176, HIDDEN = 64, LAYERS = 2 };

static void make_files(void)
{
    if (store_folder[0])
        return;
    store_make();
    store_file("gate_vectors.bin", NULL, LAYERS * FEATURES * HIDDEN * 4);
    store_file("up_features.bin", NULL, LAYERS * FEATURES * HIDDEN * 4);
    store_file("down_features.bin", NULL, LAYERS * FEATURES * HIDDEN * 4);
    store_file("up4.bin", NULL, LAYERS * 16 * 137);
    store_file("down8.bin", NULL, LAYERS * 16 * 257);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_ffn_store *store;
    make_files();
    store_file("index.json", data, size);
    enum phy_status status =
        phy_ffn_store_open(&store, store_folder, &(struct phy_ffn_store_params){.trust = true, .host = &host});
    FUZZ_CHECK(errors == (status != PHY_OK) && (store != NULL) == (status == PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED);
    for (size_t i = 0; status == PHY_OK && i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        FUZZ_CHECK(m->bytes > 0 && m->data[0] == 0 && m->data[m->bytes - 1] == 0);
        FUZZ_CHECK(m->layer < store->layer_count && store->layers[m->layer].present);
    }
    phy_ffn_store_close(&store);
    return 0;
}
