/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include "base/alloc.h"
#include "format/weight_index.h"

static enum phy_status parse(struct phy_weight_index *index, const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    char *text = phy_alloc(size + 1, 1);
    FUZZ_CHECK(text);
    memcpy(text, data, size);
    enum phy_status status = phy_weight_index_parse(index, text, size, "f", &host);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_LIMIT);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct phy_weight_index index, cut;
    if (parse(&index, data, size) != PHY_OK)
        return 0;
    FUZZ_CHECK(index.count > 0 && index.shards.count > 0 && index.shards.count <= index.count);
    for (size_t i = 0; i < index.count; i++)
        FUZZ_CHECK(index.maps[i].shard < index.shards.count);
    for (size_t i = 0; i < index.shards.count; i++) {
        const struct phy_name *name = &index.shards.names[i];
        FUZZ_CHECK(name->value == i && name->bytes > 0 && name->bytes <= 255 && strlen(name->text) == name->bytes);
        FUZZ_CHECK(!strpbrk(name->text, "/\\\n\r\t") && strstr(name->text, ".safetensors"));
    }
    phy_weight_index_free(&index);
    /* Up to the last brace, no prefix is an index. */
    while (size > 0 && data[size - 1] != '}')
        size--;
    for (size_t n = size; n > 0 && n + 4 > size; n--)
        FUZZ_CHECK(parse(&cut, data, n - 1) == PHY_ERR_FORMAT);
    return 0;
}
