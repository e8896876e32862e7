/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json from strangers: what loads must encode and decode any text. A text of the
 * input's is used too: what follows the last "}". */
#include "fuzz/fuzz.h"

#include "format/json_scan.h"
#include "physarium/tokenizer.h"

static bool is_known(enum phy_status status)
{
    return status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_LIMIT || status == PHY_ERR_UNSUPPORTED;
}

static void check_round(const struct phy_tokenizer *t, const char *text, size_t bytes)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        const struct phy_encode_params params = {.no_special = flags & 1, .special_as_text = flags & 2};
        const struct phy_decode_params decode = {.skip_special = flags & 1, .raw_bytes = flags & 2};
        struct phy_id_list ids;
        struct phy_decoded decoded;
        enum phy_status status = phy_tokenizer_encode(t, text, bytes, &params, &ids);
        FUZZ_CHECK(is_known(status));
        for (size_t i = 0; i < ids.count; i++) {
            size_t piece_bytes;
            uint32_t id;
            const char *piece = phy_tokenizer_piece(t, ids.ids[i], &piece_bytes);
            FUZZ_CHECK(piece && ids.ids[i] < phy_tokenizer_id_limit(t));
            FUZZ_CHECK(phy_tokenizer_find(t, piece, piece_bytes, &id) && id == ids.ids[i]);
        }
        status = phy_tokenizer_decode(t, ids.ids, ids.count, &decode, &decoded);
        FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_LIMIT);
        if (status == PHY_OK && !decode.raw_bytes)
            FUZZ_CHECK(phy_json_utf8_end(decoded.text, decoded.bytes) == decoded.bytes);
        phy_decoded_free(&decoded);
        phy_id_list_free(&ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char sample[] =
        "The  don't 123\n\xE2\x96\x81<s>e\xCC\x81\xCC\xA3\xE4\xB8\xAD aaaaaaaaaaaaaaaaaaaaaaaaaaab";
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_tokenizer *t;
    const char *json = (const char *)data;
    size_t bytes = size;
    while (bytes > 0 && json[bytes - 1] != '}')
        bytes--;
    if (!bytes)
        bytes = size;
    enum phy_status status = phy_tokenizer_parse(&t, json, bytes, "f", &(struct phy_tokenizer_params){.host = &host});
    FUZZ_CHECK(is_known(status) && errors == (status != PHY_OK) && !t == (status != PHY_OK));
    if (status != PHY_OK)
        return 0;
    check_round(t, sample, sizeof sample - 1);
    check_round(t, json + bytes, size - bytes);
    check_round(t, json, bytes < 512 ? bytes : 512);
    phy_tokenizer_close(&t);
    return 0;
}
