/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "ffn_options.h"
#include "physarium/physarium.h"

static void print_summary(const struct phy_export_result *r, const char *output, bool json)
{
    if (json) {
        printf("{\"tensor_count\": %" PRIu64 ", \"copied_count\": %" PRIu64 ", \"token_count\": %" PRIu64
               ", \"bytes\": %" PRIu64 ", \"seconds\": %.3f}\n",
               r->tensor_count, r->copied_count, r->token_count, r->bytes, r->seconds);
    } else {
        phy_print_escaped(stdout, output);
        printf(": %" PRIu64 " tensors (%" PRIu64 " as they lie in the store), %" PRIu64 " bytes, %" PRIu64
               " tokens, %.1f s\n",
               r->tensor_count, r->copied_count, r->bytes, r->token_count, r->seconds);
    }
}

static int run(int argc, char **argv)
{
    struct phy_export_params params = {0};
    struct phy_common_options common = {0};
    const char *q6k_order = NULL;
    uint64_t threads = 0;
    size_t given;
    int code;
    const struct phy_option options[] = {
        {.name = "--gguf", .kind = PHY_OPTION_NAME, .target = &params.gguf},
        {.name = "--vindex", .kind = PHY_OPTION_NAME, .target = &params.vindex},
        {.name = "--ffn", .kind = PHY_OPTION_NAME, .target = &params.store},
        {.name = "--scheme", .kind = PHY_OPTION_TEXT, .target = &params.scheme},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .most = PHY_MOST_THREADS},
        {.name = "--q6k-order", .kind = PHY_OPTION_TEXT, .target = &q6k_order},
        {.name = "--trust", .kind = PHY_OPTION_FLAG, .target = &params.trust},
        {.name = "--force", .kind = PHY_OPTION_FLAG, .target = &params.force},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_export, argc, argv, options, &common, &params.donor, 1, &given, &code))
        return code;
    if (given != 1 || !params.gguf == !params.vindex)
        return phy_usage_error("export", "needs a donor directory, and --gguf FILE or --vindex DIRECTORY");
    if (params.store && params.scheme)
        return phy_usage_error("export", "--ffn and --scheme: give one of them");
    params.threads = (uint32_t)threads;
    code = phy_parse_q6k_order("export", q6k_order, &params.q6k_order);
    if (code)
        return code;

    struct phy_terminal terminal;
    struct phy_export_result result;
    phy_terminal_open(&terminal, common.quiet);
    params.host = &terminal.host;
    enum phy_status status = phy_export_run(&params, &result);
    phy_terminal_close(&terminal);
    if (status == PHY_OK && (common.json || !common.quiet))
        print_summary(&result, params.gguf ? params.gguf : params.vindex, common.json);
    return phy_finish_stdout(phy_status_exit_code(status));
}

const struct phy_command cmd_export = {
    .name = "export",
    .run = run,
    .summary = "write a model as GGUF or a vindex",
    .help =
        "usage: physarium export DONOR --gguf FILE [--ffn STORE | --scheme S] [OPTIONS]\n"
        "       physarium export DONOR --vindex DIRECTORY [--ffn STORE | --scheme S] [OPTIONS]\n"
        "\n"
        "Writes the whole model as one GGUF file that llama.cpp loads, tokenizer included: FFN matrices in the\n"
        "formats of a store or scheme, other matrices bf16, vectors f32. Rows that are not whole blocks of a\n"
        "format get another one, as ggml's tools do, and a note says so. Or the FFN as a vindex directory.\n"
        "\n"
        "      --gguf FILE      file to make\n"
        "      --vindex DIR     directory to make\n"
        "      --ffn STORE      FFN matrices as this store of the donor has them (physarium quantize)\n"
        "      --scheme S       or encoded now; default: bf16 in GGUF, f32 in a vindex\n"
        "      --q6k-order ORDER  of a vindex from a q4_k store: down as its Q6_K blocks, pairs or ggml; without it\n"
        "                       down is encoded as Q4_K, which every reader takes for the same\n"
        "      --threads N      CPU threads (default: all processors)\n"
        "      --trust          do not read the store to check its digests\n"
        "      --force          replace a .gguf file, or a vindex of ours, of that name\n"
        "      --json           print a summary as JSON on standard output\n"
        "  -q, --quiet          no progress on standard error\n"
        "\n"
        "example: physarium export donor/ --ffn store-q4k/ --gguf model-q4k.gguf\n",
};
