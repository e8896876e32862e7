/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that import understands before it writes, and the texts that it would write, of files that lie. */
#include "fuzz/fuzz.h"

#include <cjson/cJSON.h>
#include <fcntl.h>

#include "base/alloc.h"
#include "import/import_files.h"
#include "import/weights.h"

static void write_texts(const struct import_model *model, const struct import_token_ids *ids,
                        const struct import_tokenizer *tokenizer)
{
    static int nowhere = -1;
    char *text;
    if (nowhere < 0)
        nowhere = open("/dev/null", O_WRONLY);
    FUZZ_CHECK(phy_import_config(model, ids, &text) == PHY_OK);
    cJSON *parsed = cJSON_Parse(text);
    FUZZ_CHECK(parsed);
    cJSON_Delete(parsed);
    cJSON_free(text);
    FUZZ_CHECK(phy_import_generation_config(model, ids, &text) == PHY_OK);
    cJSON_free(text);
    if (tokenizer) {
        FUZZ_CHECK(phy_import_write_tokenizer(tokenizer, nowhere) == 0);
        FUZZ_CHECK(phy_import_write_tokenizer_config(tokenizer, ids, nowhere) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned errors;
    struct phy_host host = fuzz_host(&errors);
    struct phy_gguf_source source = phy_gguf_source_memory(data, size);
    struct phy_gguf *gguf;
    struct import_token_ids ids;
    struct import_tokenizer *tokenizer = NULL;
    struct import_layout layout;
    enum phy_status status = phy_gguf_open(&gguf, &source, "f", &host);
    if (status)
        return 0;
    struct import_model model = {.host = &host, .gguf = gguf};
    status = phy_import_read_keys(&model);
    if (!status)
        status = phy_import_plan_tensors(&model);
    if (!status)
        status = phy_import_tokenizer_read(&tokenizer, &model, &ids);
    if (!status)
        status = phy_import_lay_out(&model, 1000, &layout);
    FUZZ_CHECK(errors == (status != PHY_OK));
    FUZZ_CHECK(status == PHY_OK || status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ||
               status == PHY_ERR_LIMIT);
    if (!status)
        write_texts(&model, &ids, tokenizer);
    phy_import_tokenizer_free(&tokenizer);
    phy_free(model.tensors);
    phy_free(model.sliding_layers);
    phy_gguf_close(&gguf);
    return 0;
}
