/* SPDX-License-Identifier: Apache-2.0 */
/* index.json of a store: alone, and with a data file of the size that it asks for. */
#include "fuzz/store_folder.h"

#include "base/alloc.h"
#include "ffn/store_parts.h"

enum { LARGEST_DATA = 1 << 22 };

/* The store after its index, to be closed, whatever the status. */
static enum phy_status parse(struct phy_ffn_store **out, const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_ffn_store *store = phy_zalloc(1, sizeof *store);
    char *text = phy_alloc(size + 1, 1);
    FUZZ_CHECK(store && text);
    store->host = &host;
    store->label = phy_strndup("f", 1);
    memcpy(text, data, size);
    enum phy_status status = phy_store_index_parse(store, text, size);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED);
    phy_free(text);
    store->host = NULL;
    *out = store;
    return status;
}

/* With all files of one size: opened, every byte that is handed out is there. */
static void open_with_data(const uint8_t *data, size_t size, uint64_t data_bytes)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_ffn_store *store;
    store_make();
    store_file("index.json", data, size);
    store_file("ffn-00001.bin", NULL, data_bytes);
    enum phy_status status =
        phy_ffn_store_open(&store, store_folder, &(struct phy_ffn_store_params){.trust = true, .host = &host});
    FUZZ_CHECK(errors == (status != PHY_OK) && (store != NULL) == (status == PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT);
    for (size_t i = 0; status == PHY_OK && i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        FUZZ_CHECK(m->bytes > 0 && m->data[0] == 0 && m->data[m->bytes - 1] == 0);
        FUZZ_CHECK(store->layers[m->layer].present);
    }
    phy_ffn_store_close(&store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct phy_ffn_store *store, *cut;
    if (parse(&store, data, size) == PHY_OK) {
        uint64_t end = 0;
        FUZZ_CHECK(store->known && store->stored_layers > 0 && store->matrix_count >= 2 * store->stored_layers);
        for (size_t i = 0; i < store->matrix_count; i++) {
            const struct phy_store_matrix *m = &store->matrices[i];
            FUZZ_CHECK(m->layer < store->layer_count && m->file < store->file_count && m->offset % 256 == 0);
            FUZZ_CHECK(!strpbrk(store->files[m->file].name, "/\\\n\r\t") && store->files[m->file].name[0]);
            end = m->offset < LARGEST_DATA && m->bytes < LARGEST_DATA && m->offset + m->bytes > end
                      ? m->offset + m->bytes
                      : end;
        }
        open_with_data(data, size, end);
        /* Up to the last brace, no prefix is an index. */
        size_t last = size;
        while (last > 0 && data[last - 1] != '}')
            last--;
        for (size_t n = last; n > 0 && n + 4 > last; n--) {
            FUZZ_CHECK(parse(&cut, data, n - 1) == PHY_ERR_FORMAT);
            phy_ffn_store_close(&cut);
        }
    }
    phy_ffn_store_close(&store);
    return 0;
}
