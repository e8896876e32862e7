/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include "format/gguf.h"

static void check_keys(const struct phy_gguf *gguf, size_t size)
{
    for (size_t i = 0; i < phy_gguf_key_count(gguf); i++) {
        struct phy_gguf_key key;
        struct phy_gguf_strings strings;
        int64_t number;
        double real;
        phy_gguf_key(gguf, i, &key);
        FUZZ_CHECK(key.name_bytes > 0 && strlen(key.name) == key.name_bytes);
        if (key.element_type == PHY_GGUF_STRING) {
            FUZZ_CHECK(phy_gguf_load_strings(gguf, i, 8 + size, &strings) == PHY_OK);
            FUZZ_CHECK(strings.count == key.count);
            phy_gguf_strings_free(&strings);
        } else if (key.type == PHY_GGUF_ARRAY && key.count > 0) {
            (void)phy_gguf_load_i64(gguf, i, key.count - 1, 1, &number);
            (void)phy_gguf_load_f64(gguf, i, key.count - 1, 1, &real);
        } else {
            (void)phy_gguf_get_i64(gguf, i, &number);
            (void)phy_gguf_get_f64(gguf, i, &real);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_gguf_source source = phy_gguf_source_memory(data, size);
    struct phy_gguf *gguf;
    enum phy_status status = phy_gguf_open(&gguf, &source, "f", &host);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ||
               status == PHY_ERR_LIMIT);
    if (status)
        return 0;
    uint64_t end = phy_gguf_data_start(gguf);
    for (size_t i = 0; i < phy_gguf_tensor_count(gguf); i++) {
        struct phy_gguf_tensor tensor;
        phy_gguf_tensor(gguf, i, &tensor);
        FUZZ_CHECK(tensor.at >= end && tensor.bytes <= size && tensor.at <= size - tensor.bytes);
        FUZZ_CHECK(tensor.name_bytes > 0 && tensor.name_bytes <= 64 && strlen(tensor.name) == tensor.name_bytes);
        end = tensor.at + tensor.bytes;
    }
    check_keys(gguf, size);
    phy_gguf_close(&gguf);
    return 0;
}
