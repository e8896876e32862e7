/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "physarium/physarium.h"

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static void print_summary(const struct phy_quantize_params *params, const struct phy_quantize_result *r)
{
    phy_print_escaped(stdout, params->output);
    printf(": %s, %u layer%s, %" PRIu64 " weights in %" PRIu64 " bytes, %.2f bits each (%.2f times smaller), ",
           params->scheme, r->layer_count, r->layer_count == 1 ? "" : "s", r->weight_count, r->stored_bytes,
           8 * ratio(r->stored_bytes, r->weight_count), ratio(r->source_bytes, r->stored_bytes));
    printf("%.1f s\nrelative rmse %.4g: gate %.4g, up %.4g, down %.4g\n", r->seconds, r->relative_rmse,
           r->relative_rmse_of[0], r->relative_rmse_of[1], r->relative_rmse_of[2]);
}

static void print_json(const struct phy_quantize_params *params, const struct phy_quantize_result *r)
{
    printf("{\"scheme\": \"%s\", \"layer_count\": %u, \"weight_count\": %" PRIu64 ", \"source_bytes\": %" PRIu64
           ", \"stored_bytes\": %" PRIu64 ", \"bits_per_weight\": %.4f, \"already_finished\": %s, ",
           params->scheme, r->layer_count, r->weight_count, r->source_bytes, r->stored_bytes,
           8 * ratio(r->stored_bytes, r->weight_count), r->already_finished ? "true" : "false");
    if (r->already_finished)
        printf("\"relative_rmse\": null, ");
    else
        printf("\"relative_rmse\": {\"all\": %.9g, \"gate\": %.9g, \"up\": %.9g, \"down\": %.9g}, ", r->relative_rmse,
               r->relative_rmse_of[0], r->relative_rmse_of[1], r->relative_rmse_of[2]);
    printf("\"seconds\": %.3f}\n", r->seconds);
}

static int run(int argc, char **argv)
{
    struct phy_quantize_params params = {0};
    struct phy_common_options common = {0};
    struct phy_target_params range = {0};
    const char *layers = NULL;
    uint64_t threads = 0;
    size_t given;
    int code;
    const struct phy_option options[] = {
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &params.output},
        {.name = "--scheme", .kind = PHY_OPTION_TEXT, .target = &params.scheme},
        {.name = "--layout", .kind = PHY_OPTION_TEXT, .target = &params.layout},
        {.name = "--layers", .kind = PHY_OPTION_TEXT, .target = &layers},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .most = PHY_MOST_THREADS},
        {.name = "--resume", .kind = PHY_OPTION_FLAG, .target = &params.resume},
        {.name = "--force", .kind = PHY_OPTION_FLAG, .target = &params.force},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_quantize, argc, argv, options, &common, &params.donor, 1, &given, &code))
        return code;
    if (given != 1 || !params.output || !params.scheme)
        return phy_usage_error("quantize", "needs a donor directory, -o STORE and --scheme S");
    if (layers && !phy_parse_layers(layers, &range))
        return phy_usage_error("quantize", "--layers takes A-B, such as 0-11, not '%.64s'", layers);
    params.threads = (uint32_t)threads;
    params.has_layers = range.has_layers;
    params.layer_first = range.first_layer;
    params.layer_last = range.last_layer;

    struct phy_terminal terminal;
    struct phy_quantize_result result;
    phy_terminal_open(&terminal, common.quiet);
    params.host = &terminal.host;
    enum phy_status status = phy_quantize_run(&params, &result);
    phy_terminal_close(&terminal);
    if (status == PHY_OK && common.json)
        print_json(&params, &result);
    else if (status == PHY_OK && !common.quiet && !result.already_finished)
        print_summary(&params, &result);
    return phy_finish_stdout(phy_status_exit_code(status));
}

const struct phy_command cmd_quantize = {
    .name = "quantize",
    .run = run,
    .summary = "store a model's FFN matrices in another format",
    .help = "usage: physarium quantize DONOR -o STORE --scheme S [OPTIONS]\n"
            "\n"
            "Writes a store: a directory with index.json and the gate, up and down matrices of every layer in the\n"
            "formats of a scheme. DONOR is a directory of BF16, F16 or F32 safetensors with config.json. The store\n"
            "appears all at once; its bytes do not depend on the number of threads.\n"
            "\n"
            "  -o, --output STORE   directory to make\n"
            "      --scheme S       f32 f16 bf16 q8_0 q4_0 q6_k fp8 mxfp4: all three in that format;\n"
            "                       q4_k: gate and up Q4_K, down Q6_K; fp4: gate bf16, up FP4, down FP8;\n"
            "                       fp4_all: gate and up FP4, down FP8; bitmap: of a pruned model, the donor's own\n"
            "                       floats without the zeros\n"
            "      --layout L       split: gate, up, down; interleaved: gate's and up's rows in turn, down;\n"
            "                       by_feature: gate, up, down transposed. Default: split for floats and bitmap, "
            "by_feature for\n"
            "                       fp4 and fp4_all, else interleaved\n"
            "      --layers A-B     only these layers\n"
            "      --threads N      CPU threads (default: all processors)\n"
            "      --resume         go on from where an interrupted run stopped\n"
            "      --force          replace a store of that name, or discard an unfinished run\n"
            "      --json           print a summary as JSON on standard output\n"
            "  -q, --quiet          no progress on standard error\n"
            "\n"
            "example: physarium quantize donor/ -o store-q4k/ --scheme q4_k\n",
};
