/* SPDX-License-Identifier: Apache-2.0 */
#include "physarium/calibrate.h"

#include <stdio.h>
#include <stdlib.h>

#include "text_ids.h"

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    const char *directory = NULL, *text = NULL, *ids = NULL, *output = NULL, *device = NULL;
    uint64_t threads = 0, context = 0;
    double alpha = 0;
    size_t positional;
    int code;
    const struct phy_option options[] = {
        {.name = "--text", .kind = PHY_OPTION_NAME, .target = &text},
        {.name = "--ids", .kind = PHY_OPTION_NAME, .target = &ids},
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &output},
        {.name = "--alpha", .kind = PHY_OPTION_DOUBLE, .target = &alpha, .not_nothing = true},
        {.name = "--ctx", .kind = PHY_OPTION_U64, .target = &context, .most = UINT32_MAX, .not_nothing = true},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .most = PHY_MOST_THREADS},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_calibrate, argc, argv, options, &common, &directory, 1, &positional, &code))
        return code;
    if (positional != 1 || !output || !text == !ids)
        return phy_usage_error("calibrate", "needs a model directory, one of --text and --ids, and -o FILE");
    struct phy_terminal terminal;
    struct phy_text_ids tokens = {0};
    struct phy_model *model = NULL;
    phy_terminal_open(&terminal, common.quiet);
    const char *const inputs[] = {directory, text, ids};
    enum phy_status status = phy_output_file_check(output, inputs, 3, &terminal.host);
    if (status == PHY_OK)
        status = phy_model_open(
            &model, directory,
            &(struct phy_model_params){.device = device, .threads = (uint32_t)threads, .host = &terminal.host});
    if (status == PHY_OK)
        status = phy_text_ids_read(&tokens, directory, text, ids, &terminal.host);
    if (status == PHY_OK)
        status = phy_calibrate_run(&(struct phy_calibrate_params){.directory = directory,
                                                                  .model = model,
                                                                  .tokens = tokens.ids,
                                                                  .token_count = tokens.count,
                                                                  .context = (uint32_t)context,
                                                                  .has_bos = tokens.has_bos,
                                                                  .bos = tokens.bos,
                                                                  .alpha = alpha,
                                                                  .output = output,
                                                                  .host = &terminal.host});
    if (status == PHY_OK && common.json)
        printf("{\"tokens\": %zu}\n", tokens.count);
    phy_model_close(&model);
    phy_text_ids_free(&tokens);
    phy_terminal_close(&terminal);
    return phy_finish_stdout(phy_status_exit_code(status));
}

const struct phy_command cmd_calibrate = {
    .name = "calibrate",
    .run = run,
    .summary = "measure channel scales for activation-aware surgery",
    .help =
        "usage: physarium calibrate MODEL --text FILE -o calibration.safetensors [OPTIONS]\n"
        "\n"
        "Runs the model over a text and writes, for every tensor that surgery prunes, the root mean square of its "
        "input\n"
        "channels (to the power alpha, mean 1): what surgery --calibration reads.\n"
        "\n"
        "      --text FILE       UTF-8 text; - is standard input\n"
        "      --ids FILE        or token ids, little-endian uint32\n"
        "  -o, --output FILE     safetensors file, written beside and renamed\n"
        "      --alpha A         power of the root mean square (default 1)\n"
        "      --ctx N           tokens of a window (default 512)\n"
        "      --device SPEC     cpu[:ref|:avx2|:avx512] (default: the best form) or vulkan[:N|:NAME][/FORM]; FORM:\n"
        "                        rows, lanes, subgroup, matrix, and +plain or +dot for int8 (default: its own)\n"
        "      --threads N       CPU threads (default: all processors)\n"
        "      --json            a summary on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
