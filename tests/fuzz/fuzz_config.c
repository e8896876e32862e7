/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/fuzz.h"

#include "model/config.h"

static enum phy_status parse(struct phy_model_config *config, const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    enum phy_status status = phy_model_config_parse(config, (const char *)data, size, "f", &host);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ||
               status == PHY_ERR_LIMIT);
    return status;
}

static void check_rope(const struct phy_rope_config *rope)
{
    FUZZ_CHECK(rope->theta >= 1 && rope->theta <= 1e12 && rope->factor > 0 && rope->factor <= 1e6);
    if (rope->kind == PHY_ROPE_LLAMA3)
        FUZZ_CHECK(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor &&
                   rope->original_max_positions > 0);
}

/* What a forward pass relies on without looking again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct phy_model_config c, cut;
    if (parse(&c, data, size) != PHY_OK)
        return 0;
    FUZZ_CHECK(c.model_type && c.vocab_size && c.hidden_size && c.intermediate_size && c.max_positions);
    FUZZ_CHECK(c.layer_count > 0 && c.layer_count <= PHY_MAX_LAYERS && c.eos_count <= PHY_MAX_EOS);
    FUZZ_CHECK(c.head_count && c.kv_head_count && c.head_count % c.kv_head_count == 0);
    FUZZ_CHECK(c.head_dim >= 2 && c.head_dim % 2 == 0);
    FUZZ_CHECK(c.query_scale > 0 && c.query_scale < 1e6 && c.norm_eps >= 0 && c.norm_eps <= 1);
    for (uint32_t i = 0; i < PHY_MAX_LAYERS; i++)
        FUZZ_CHECK(!c.sliding[i] || (i < c.layer_count && c.sliding_window > 0));
    check_rope(&c.rope);
    check_rope(&c.sliding_rope);
    /* Up to the last brace, no prefix is a configuration. */
    while (size > 0 && data[size - 1] != '}')
        size--;
    for (size_t n = size; n > 0 && n + 4 > size; n--)
        FUZZ_CHECK(parse(&cut, data, n - 1) == PHY_ERR_FORMAT);
    return 0;
}
