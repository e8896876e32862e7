/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffn_options.h"
#include "model_source.h"
#include "physarium/checkpoint.h"
#include "physarium/model.h"

static void print_json(size_t positions, const struct phy_ffn_model *model)
{
    struct phy_model_info info;
    phy_model_describe(model->model, &info);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "positions", (double)positions);
    cJSON_AddNumberToObject(root, "vocab_size", info.vocab_size);
    cJSON_AddStringToObject(root, "device", info.device);
    phy_ffn_add_json(root, model->ffn);
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(root);
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    const char *directory = NULL, *ids_text = NULL, *output = NULL, *device = NULL;
    uint64_t threads = 0;
    struct phy_ffn_options ffn = {0};
    size_t positional, count = 0;
    int code;
    const struct phy_option options[] = {
        {.name = "--ids", .kind = PHY_OPTION_TEXT, .target = &ids_text},
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &output},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .most = PHY_MOST_THREADS},
        PHY_FFN_OPTION_ROWS(ffn),
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_logits, argc, argv, options, &common, &directory, 1, &positional, &code))
        return code;
    if (positional != 1 || !ids_text || !output)
        return phy_usage_error("logits", "needs a model directory, --ids and -o FILE");
    code = phy_ffn_options_check("logits", &ffn);
    if (code)
        return code;
    uint32_t *ids = malloc((strlen(ids_text) / 2 + 1) * sizeof *ids);
    if (!ids || !phy_parse_ids(ids_text, ids, &count) || count == 0) {
        free(ids);
        return phy_usage_error("logits", "--ids takes numbers with commas between, not '%.64s'", ids_text);
    }
    struct phy_terminal terminal;
    struct phy_ffn_model model = {0};
    struct phy_session *session = NULL;
    phy_terminal_open(&terminal, common.quiet);
    struct phy_model_source source = {0};
    const char *const inputs[] = {directory, ffn.store};
    enum phy_status status = phy_output_file_check(output, inputs, 2, &terminal.host);
    if (status == PHY_OK)
        status = phy_model_source_open(&source, directory, false, &terminal.host);
    if (status == PHY_OK)
        status = phy_ffn_model_open(&model, &source, &ffn, device, (uint32_t)threads, &terminal.host);
    if (status == PHY_OK)
        status = phy_session_create(&session, model.model, (uint32_t)count);
    if (status == PHY_OK)
        status = phy_logits_write(session, ids, count, output, &terminal.host);
    if (status == PHY_OK && common.json)
        print_json(count, &model);
    phy_session_destroy(&session);
    phy_ffn_model_close(&model);
    phy_model_source_close(&source);
    phy_terminal_close(&terminal);
    free(ids);
    return phy_finish_stdout(phy_status_exit_code(status));
}

const struct phy_command cmd_logits = {
    .name = "logits",
    .run = run,
    .summary = "logits of token ids, as float32",
    .help =
        "usage: physarium logits MODEL --ids 504,3575,282 -o FILE [OPTIONS]\n"
        "\n"
        "Runs the model in directory MODEL, or of a GGUF file, over the token ids and writes the logits that follow\n"
        "each of them: little-endian float32, (positions, vocabulary), no header.\n"
        "\n"
        "      --ids N,N,...     token ids\n"
        "  -o, --output FILE     written beside and renamed\n"
        "      --device SPEC     cpu[:ref|:avx2|:avx512] (default: the best form) or vulkan[:N|:NAME][/FORM]; FORM:\n"
        "                        rows, lanes, subgroup, matrix, and +plain or +dot for int8 (default: its own)\n"
        "      --threads N       CPU threads (default: all processors)\n" PHY_FFN_OPTION_HELP
        "      --json            a summary on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
