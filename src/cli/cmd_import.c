/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "physarium/physarium.h"

static int run_import(int argc, char **argv);

const struct phy_command cmd_import = {
    .name = "import",
    .run = run_import,
    .summary = "GGUF file to a Hugging Face style directory",
    .help =
        "usage: physarium import MODEL.gguf -o DIRECTORY [--force] [--shard-bytes SIZE] [--json] [--quiet]\n"
        "\n"
        "Writes a directory that Hugging Face loaders and physarium surgery read: model.safetensors (bf16),\n"
        "config.json, generation_config.json, tokenizer.json, tokenizer_config.json.\n"
        "\n"
        "Architectures: llama, qwen2, qwen3, gemma3. Weights are decoded bit for bit as ggml does and rounded once,\n"
        "to the nearest bf16. Another architecture, and a tensor, type, tokenizer or scaling that is not known, is\n"
        "refused by name (exit code 5). Nothing is written before the whole file has been understood, and the\n"
        "directory appears all at once.\n"
        "\n"
        "  -o, --output DIRECTORY  what to make; its parent must exist\n"
        "      --force             replace a checkpoint directory of that name\n"
        "      --shard-bytes SIZE  largest weight file, such as 2GiB; default 5GB\n"
        "      --json              print a summary as JSON on standard output\n"
        "  -q, --quiet             no progress on standard error\n"
        "\n"
        "example: physarium import smollm2-135m-q4_1.gguf -o donor/\n",
};

static void print_summary(const struct phy_import_result *r, bool json)
{
    if (json)
        printf("{\"architecture\": \"%s\", \"tensor_count\": %" PRIu64 ", \"element_count\": %" PRIu64
               ", \"weight_bytes\": %" PRIu64 ", \"shard_count\": %u, \"token_count\": %" PRIu64
               ", \"seconds\": %.3f}\n",
               r->architecture, r->tensor_count, r->element_count, r->weight_bytes, r->shard_count, r->token_count,
               r->seconds);
    else
        printf("%s: %" PRIu64 " tensors, %" PRIu64 " weights, %" PRIu64 " bytes in %u file%s, %" PRIu64
               " tokens, %.1f s\n",
               r->architecture, r->tensor_count, r->element_count, r->weight_bytes, r->shard_count,
               r->shard_count == 1 ? "" : "s", r->token_count, r->seconds);
}

static int run_import(int argc, char **argv)
{
    struct phy_import_params params = {0};
    struct phy_common_options common = {0};
    const char *input = NULL;
    size_t given;
    int code;
    const struct phy_option options[] = {
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &params.output},
        {.name = "--force", .kind = PHY_OPTION_FLAG, .target = &params.force},
        {.name = "--shard-bytes", .kind = PHY_OPTION_BYTES, .target = &params.shard_bytes},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_import, argc, argv, options, &common, &input, 1, &given, &code))
        return code;
    if (given != 1 || !params.output)
        return phy_usage_error("import", "give a GGUF file and -o DIRECTORY; physarium import --help says more");
    params.input = input;

    struct phy_terminal terminal;
    struct phy_import_result result;
    phy_terminal_open(&terminal, common.quiet);
    params.host = &terminal.host;
    enum phy_status status = phy_import_run(&params, &result);
    phy_terminal_close(&terminal);
    if (status)
        return phy_status_exit_code(status);
    if (common.json || !common.quiet)
        print_summary(&result, common.json);
    return phy_finish_stdout(0);
}
