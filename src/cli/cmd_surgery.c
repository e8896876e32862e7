/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "physarium/physarium.h"

static const char help[] =
    "usage: physarium surgery DONOR -o OUT [OPTIONS]\n"
    "\n"
    "Prune a checkpoint by the flow of a slime mould, or another method, and write it, with its reports, as OUT.\n"
    "DONOR is a directory of safetensors or one safetensors file; it is only read. OUT is the same kind and appears at "
    "the\n"
    "end, by one rename. Reports are in OUT/physarium/, or OUT.physarium/ when OUT is a file.\n"
    "\n"
    "  -o, --output OUT       where to write\n"
    "      --device SPEC      cpu[:ref|:avx2|:avx512], vulkan[:N|:NAME] or all (default cpu)\n"
    "      --threads N        CPU threads (default: all processors)\n"
    "      --memory BYTES     for all buffers, such as 512M (default 1G, at least 16M)\n"
    "\n"
    "      --method NAME      flow, magnitude, wanda or ria (default flow)\n"
    "      --sparsity S       kill this share, below 1: of the model, with the gain found for it, or of each row\n"
    "      --pattern N:M      2:4 or 4:8: each M columns of a row keep N (magnitude, wanda, ria)\n"
    "      --calibration FILE column scales: weights count by what their inputs are worth\n"
    "\n"
    "  the flow: the same on every device, whatever the threads and memory\n"
    "      --gain G           1/16 to 64: how little supply a weight lives on (default 5)\n"
    "      --beta B           1, 2, 3 or 4 (default 2)\n"
    "      --iterations N     1 to 1000 (default 30)\n"
    "      --block N          tile side 32, 64, 128 or 256 (default 256)\n"
    "\n"
    "      --eval FILE        when all is written, compare OUT with DONOR on this text: perplexity and divergence\n"
    "\n"
    "  what is pruned (default: the attention and MLP projections of every layer)\n"
    "      --include GLOB     tensors to prune, by name, in place of the default; may be repeated\n"
    "      --exclude GLOB     tensors to leave; may be repeated\n"
    "      --layers A-B       only layers A to B, counted from 0\n"
    "\n"
    "      --resume           go on from where an interrupted run got to\n"
    "      --force            replace OUT, if it is a checkpoint, and discard an unfinished run\n"
    "      --follow-symlinks  copy files that the donor links to from outside\n"
    "      --json             the summary as JSON on standard output\n"
    "  -q, --quiet            errors and warnings only\n"
    "  -h, --help             this text\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 files and disks, 4 a bad donor, 5 an unsupported one, 6 memory, 7 device,\n"
    "130 interrupted: the same command with --resume goes on.\n";

static int print_json(const struct phy_surgery_params *params, const struct phy_surgery_result *result)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "already_finished", result->already_finished);
    cJSON_AddNumberToObject(json, "total_elements", (double)result->total_elements);
    cJSON_AddNumberToObject(json, "target_elements", (double)result->target_elements);
    cJSON_AddNumberToObject(json, "processed_elements", (double)result->processed);
    cJSON_AddNumberToObject(json, "killed_elements", (double)result->killed);
    cJSON_AddNumberToObject(json, "zero_before_elements", (double)result->zero_before);
    if (result->target_elements)
        cJSON_AddNumberToObject(json, "kill_rate_target", (double)result->killed / (double)result->target_elements);
    if (result->total_elements)
        cJSON_AddNumberToObject(json, "kill_rate_model", (double)result->killed / (double)result->total_elements);
    cJSON_AddStringToObject(json, "method", params->method ? params->method : "flow");
    if (result->gain > 0)
        cJSON_AddNumberToObject(json, "gain", result->gain);
    if (result->evaluated) {
        cJSON_AddNumberToObject(json, "perplexity", result->perplexity);
        cJSON_AddNumberToObject(json, "baseline_perplexity", result->donor_perplexity);
        cJSON_AddNumberToObject(json, "kl_bits", result->kl_bits);
        cJSON_AddNumberToObject(json, "top1_agreement", result->top1_agreement);
    }
    cJSON_AddNumberToObject(json, "seconds", result->seconds);
    cJSON_AddBoolToObject(json, "device_lost", result->device_lost);
    char *text = cJSON_Print(json);
    cJSON_Delete(json);
    if (!text) {
        fputs("physarium surgery: out of memory\n", stderr);
        return 6;
    }
    puts(text);
    cJSON_free(text);
    return phy_finish_stdout(0);
}

static int print_summary(const struct phy_surgery_params *params, const struct phy_surgery_result *result)
{
    double share = result->target_elements ? (double)result->killed / (double)result->target_elements : 0.0;
    phy_print_escaped(stdout, params->output);
    printf(": %llu of %llu target weights killed (%.2f%%; %.2f%% of the model), ", (unsigned long long)result->killed,
           (unsigned long long)result->target_elements, 100.0 * share,
           result->total_elements ? 100.0 * (double)result->killed / (double)result->total_elements : 0.0);
    if (result->gain > 0)
        printf("gain %g, %.1f s\n", result->gain, result->seconds);
    else
        printf("method %s, %.1f s\n", params->method, result->seconds);
    if (result->evaluated)
        printf("perplexity %.4g, the donor's %.4g; KL %.4g bits; the same likeliest token %.1f%%\n", result->perplexity,
               result->donor_perplexity, result->kl_bits, 100.0 * result->top1_agreement);
    return phy_finish_stdout(0);
}

/* Values for which the library's zero means "the default" must not be given as zero. */
static int check_given(const struct phy_surgery_params *params, const bool *seen)
{
    static const char *const names[] = {"--gain",  "--sparsity", "--beta",   "--iterations",
                                        "--block", "--memory",   "--threads"};
    const double values[] = {params->gain,       params->sparsity, params->beta,
                             params->iterations, params->block,    (double)params->memory_bytes,
                             params->threads};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (seen[i] && !(values[i] > 0))
            return phy_usage_error("surgery", "%s %g: more than 0 is needed", names[i], values[i]);
    }
    return 0;
}

static int run(int argc, char **argv)
{
    struct phy_surgery_params params = {0};
    struct phy_common_options common = {0};
    struct phy_text_list include = {0}, exclude = {0};
    uint64_t beta = 0, iterations = 0, block = 0, threads = 0;
    const char *layers = NULL, *positional[1];
    size_t positional_count;
    bool seen[7] = {false};
    int code;
    const struct phy_option options[] = {
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &params.output},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &params.device},
        {.name = "--method", .kind = PHY_OPTION_TEXT, .target = &params.method},
        {.name = "--pattern", .kind = PHY_OPTION_TEXT, .target = &params.pattern},
        {.name = "--gain", .kind = PHY_OPTION_DOUBLE, .target = &params.gain, .seen = &seen[0]},
        {.name = "--sparsity", .kind = PHY_OPTION_DOUBLE, .target = &params.sparsity, .seen = &seen[1]},
        {.name = "--beta", .kind = PHY_OPTION_U64, .target = &beta, .seen = &seen[2], .most = UINT32_MAX},
        {.name = "--iterations", .kind = PHY_OPTION_U64, .target = &iterations, .seen = &seen[3], .most = UINT32_MAX},
        {.name = "--block", .kind = PHY_OPTION_U64, .target = &block, .seen = &seen[4], .most = UINT32_MAX},
        {.name = "--memory", .kind = PHY_OPTION_BYTES, .target = &params.memory_bytes, .seen = &seen[5]},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .seen = &seen[6], .most = PHY_MOST_THREADS},
        {.name = "--calibration", .kind = PHY_OPTION_NAME, .target = &params.calibration},
        {.name = "--eval", .kind = PHY_OPTION_NAME, .target = &params.eval_text},
        {.name = "--include", .kind = PHY_OPTION_LIST, .target = &include},
        {.name = "--exclude", .kind = PHY_OPTION_LIST, .target = &exclude},
        {.name = "--layers", .kind = PHY_OPTION_TEXT, .target = &layers},
        {.name = "--resume", .kind = PHY_OPTION_FLAG, .target = &params.resume},
        {.name = "--force", .kind = PHY_OPTION_FLAG, .target = &params.force},
        {.name = "--follow-symlinks", .kind = PHY_OPTION_FLAG, .target = &params.follow_symlinks},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_surgery, argc, argv, options, &common, positional, 1, &positional_count, &code))
        goto done;
    params.beta = (uint32_t)beta;
    params.iterations = (uint32_t)iterations;
    params.block = (uint32_t)block;
    params.threads = (uint32_t)threads;
    if (positional_count == 0)
        code = phy_usage_error("surgery", "no donor; physarium surgery --help tells how");
    else if (!params.output)
        code = phy_usage_error("surgery", "no output: give -o OUT");
    else if (layers && !phy_parse_layers(layers, &params.targets))
        code = phy_usage_error("surgery", "--layers takes A-B, such as 0-11, not '%.64s'", layers);
    else
        code = check_given(&params, seen);
    if (code != 0)
        goto done;
    params.donor = positional[0];
    params.targets.include = include.items;
    params.targets.include_count = include.count;
    params.targets.exclude = exclude.items;
    params.targets.exclude_count = exclude.count;

    struct phy_terminal terminal;
    struct phy_surgery_result result;
    phy_terminal_open(&terminal, common.quiet);
    params.host = &terminal.host;
    code = phy_status_exit_code(phy_surgery_run(&params, &result));
    phy_terminal_close(&terminal);
    if (code == 0 && common.json)
        code = print_json(&params, &result);
    else if (code == 0 && !common.quiet && !result.already_finished)
        code = print_summary(&params, &result);
done:
    free(include.items);
    free(exclude.items);
    return code;
}

const struct phy_command cmd_surgery = {.name = "surgery", .run = run, .summary = "prune a checkpoint", .help = help};
