/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include "base/checked_math.h"
#include "format/safetensors.h"

static enum phy_status parse(struct phy_tensor_table *table, const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    enum phy_status status = phy_safetensors_parse(table, data, size, size, "f", &host);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ||
               status == PHY_ERR_LIMIT);
    return status;
}

/* What is accepted covers its data section exactly, and no shorter file is. */
static void check_accepted(const struct phy_tensor_table *table, const uint8_t *data, size_t size)
{
    uint64_t end = 0;
    FUZZ_CHECK(table->header_bytes + table->data_bytes == size);
    for (size_t i = 0; i < table->count; i++) {
        const struct phy_tensor_row *row = &table->rows[i];
        uint64_t bits = row->element_bits;
        FUZZ_CHECK(row->begin == end && strlen(row->name) == row->name_bytes && row->header_index < table->count);
        for (uint32_t d = 0; d < row->dim_count; d++)
            FUZZ_CHECK(phy_mul_u64(bits, table->dims[row->first_dim + d], &bits));
        FUZZ_CHECK(bits == row->bytes * 8);
        end += row->bytes;
    }
    FUZZ_CHECK(end == table->data_bytes);
    struct phy_tensor_table cut;
    for (size_t n = size; n > 0 && n + 4 > size; n--)
        FUZZ_CHECK(parse(&cut, data, n - 1) == PHY_ERR_FORMAT);
}

static void try_bytes(const uint8_t *data, size_t size)
{
    struct phy_tensor_table table;
    if (parse(&table, data, size) == PHY_OK)
        check_accepted(&table, data, size);
    phy_tensor_table_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_bytes(data, size);
    /* Again with a length that leads to the last brace, so that mutations of the header's length are not wasted. */
    size_t last = size;
    while (last > 8 && data[last - 1] != '}')
        last--;
    if (last <= 8)
        return 0;
    uint8_t *repaired = malloc(size);
    if (!repaired)
        return 0;
    memcpy(repaired, data, size);
    phy_store_u64(repaired, last - 8);
    try_bytes(repaired, size);
    free(repaired);
    return 0;
}
