/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "physarium/physarium.h"

/* ---- for people ---- */

/* 1234567 as 1,234,567, right-aligned. */
static void print_count(int width, uint64_t value)
{
    char digits[24], out[32];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, value), used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = 0;
    printf("%*s", width, out);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

/* The name escaped, without the quotes. */
static const char *show_name(char out[PHY_QUOTED_NAME_BYTES], const char *name)
{
    size_t bytes;
    phy_quote_name(out, name, strlen(name));
    bytes = strlen(out);
    if (bytes < 2 || out[bytes - 1] != '"')
        return out;
    out[bytes - 1] = 0;
    return out + 1;
}

static void print_line(const char *name, int width, const struct phy_coverage_line *line)
{
    printf("%-*s %8" PRIu64, width, name, line->tensors);
    print_count(17, line->processed);
    print_count(17, line->killed);
    print_count(15, line->zero_before);
    printf(" %8.2f%%\n", percent(line->killed, line->elements));
}

static void print_table(const struct phy_coverage *coverage)
{
    char name[PHY_QUOTED_NAME_BYTES];
    int width = (int)strlen("projection");
    for (size_t i = 0; i < coverage->projection_count; i++) {
        int bytes = (int)strlen(show_name(name, coverage->projections[i].name));
        width = bytes > width ? bytes : width;
    }
    printf("%-*s %8s%17s%17s%15s %9s\n", width, "projection", "tensors", "processed", "killed", "zero before", "ratio");
    for (size_t i = 0; i < coverage->projection_count; i++)
        print_line(show_name(name, coverage->projections[i].name), width, &coverage->projections[i].line);
    print_line("all", width, &coverage->target);
}

static void print_reports(const struct phy_coverage *coverage)
{
    static const char *const states[] = {"absent", "agrees", "DIFFERS", "of an unknown schema, not compared"};
    printf("reports       coverage.json %s, tensors.jsonl %s\n", states[coverage->coverage_json],
           states[coverage->tensors_jsonl]);
    if (!coverage->recomputed)
        return;
    printf("recompute     on %s: ", coverage->recompute_device);
    print_count(0, coverage->recomputed_weights);
    if (coverage->recompute_agrees)
        printf(" weights, every byte agrees\n");
    else if (coverage->recompute_differences)
        printf(" weights, %" PRIu64 " DIFFER\n", coverage->recompute_differences);
    else
        printf(" of %" PRIu64 " weights agree, the rest is missing\n", coverage->target.elements);
}

static void print_damage(const struct phy_coverage *coverage)
{
    enum { MOST_LINES = 20 };
    if (coverage->difference_count == 0) {
        printf("verdict       intact: every byte is the donor's or a killed weight's +0\n");
        return;
    }
    printf("verdict       DAMAGED: %" PRIu64 " differences, %" PRIu64 " damaged tensors\n", coverage->difference_count,
           coverage->damaged_tensors);
    for (size_t i = 0; i < coverage->damage_count && i < MOST_LINES; i++)
        printf("  %s\n", coverage->damages[i].sentence);
    if (coverage->difference_count > MOST_LINES)
        printf("  ... and %" PRIu64 " more; --json lists them\n", coverage->difference_count - MOST_LINES);
}

static void print_people(const struct phy_coverage *coverage)
{
    static const char *const sources[] = {"as the options say", "as the output's surgery.json says",
                                          "by the default names"};
    double seconds = coverage->compare_seconds > 0 ? coverage->compare_seconds : 1e-9;
    printf("targets       %" PRIu64 " tensors: %zu layers, %zu projections, %s\n", coverage->target.tensors,
           coverage->layer_count, coverage->projection_count, sources[coverage->targets_from]);
    printf("compared      %zu weight files, %zu tensors, %zu other files: %.2f GB in %.1f s, %.2f GB/s\n\n",
           coverage->shard_count, coverage->tensor_count, coverage->sidecar_count,
           (double)coverage->bytes_compared / 1e9, coverage->compare_seconds,
           (double)coverage->bytes_compared / 1e9 / seconds);
    print_table(coverage);
    printf("\nkilled        %.2f%% of the targets, %.2f%% of the full model's ",
           percent(coverage->target.killed, coverage->target.elements),
           percent(coverage->target.killed, coverage->total_elements));
    print_count(0, coverage->total_elements);
    printf(" weights\ndenominator   %s: ", coverage->denominator_correct ? "correct" : "WRONG");
    print_count(0, coverage->target.processed);
    printf(" processed, ");
    print_count(0, coverage->target.elements);
    printf(" in the shapes\n");
    print_reports(coverage);
    print_damage(coverage);
}

/* ---- the command ---- */

static void put_stdout(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
}

static int compare(const struct phy_coverage_params *params, const struct phy_common_options *common)
{
    struct phy_coverage_params run = *params;
    struct phy_coverage *coverage;
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common->quiet);
    run.host = &terminal.host;
    enum phy_status status = phy_coverage_run(&coverage, &run);
    phy_terminal_close(&terminal);
    int code = phy_status_exit_code(status);
    if (coverage && common->json && phy_coverage_put_result(coverage, put_stdout, NULL) != PHY_OK) {
        fputs("physarium coverage: out of memory for the result\n", stderr);
        code = 6;
    } else if (coverage && !common->json && !(common->quiet && status == PHY_OK)) {
        print_people(coverage);
    }
    phy_coverage_free(&coverage);
    return phy_finish_stdout(code);
}

static int run_coverage(int argc, char **argv)
{
    struct phy_coverage_params params = {0};
    struct phy_common_options common = {0};
    struct phy_text_list include = {0}, exclude = {0};
    uint64_t numbers[4] = {0}; /* beta, iterations, block, threads */
    const char *layers = NULL, *positional[2];
    bool seen[10] = {false};
    size_t count;
    int code;
    const struct phy_option options[] = {
        {.name = "--include", .kind = PHY_OPTION_LIST, .target = &include},
        {.name = "--exclude", .kind = PHY_OPTION_LIST, .target = &exclude},
        {.name = "--layers", .kind = PHY_OPTION_TEXT, .target = &layers},
        {.name = "--recompute", .kind = PHY_OPTION_FLAG, .target = &params.recompute},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &params.device, .seen = &seen[0]},
        {.name = "--method", .kind = PHY_OPTION_TEXT, .target = &params.method, .seen = &seen[7]},
        {.name = "--sparsity", .kind = PHY_OPTION_DOUBLE, .target = &params.sparsity, .seen = &seen[8]},
        {.name = "--pattern", .kind = PHY_OPTION_TEXT, .target = &params.pattern, .seen = &seen[9]},
        {.name = "--gain", .kind = PHY_OPTION_DOUBLE, .target = &params.gain, .seen = &seen[1]},
        {.name = "--beta", .kind = PHY_OPTION_U64, .target = &numbers[0], .seen = &seen[2], .most = UINT32_MAX},
        {.name = "--iterations", .kind = PHY_OPTION_U64, .target = &numbers[1], .seen = &seen[3], .most = UINT32_MAX},
        {.name = "--block", .kind = PHY_OPTION_U64, .target = &numbers[2], .seen = &seen[4], .most = UINT32_MAX},
        {.name = "--calibration", .kind = PHY_OPTION_NAME, .target = &params.calibration, .seen = &seen[5]},
        {.name = "--threads",
         .kind = PHY_OPTION_U64,
         .target = &numbers[3],
         .seen = &seen[6],
         .most = PHY_MOST_THREADS},
        {.name = "--follow-symlinks", .kind = PHY_OPTION_FLAG, .target = &params.follow_symlinks},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_coverage, argc, argv, options, &common, positional, 2, &count, &code))
        goto done;
    bool flow_option = false,
         zero = (seen[1] && !(params.gain > 0)) || (seen[6] && numbers[3] == 0) || (seen[8] && !(params.sparsity > 0));
    for (int i = 0; i < 3; i++)
        zero = zero || (seen[2 + i] && numbers[i] == 0);
    for (int i = 0; i < 10; i++)
        flow_option = flow_option || (i != 6 && seen[i]);
    if (count < 2)
        code = phy_usage_error("coverage", "a donor and an output are needed; physarium coverage --help tells how");
    else if (flow_option && !params.recompute)
        code = phy_usage_error("coverage", "options of the flow need --recompute");
    else if (zero)
        code = phy_usage_error("coverage",
                               "--gain, --beta, --iterations, --block, --sparsity and --threads take more than 0");
    else if (layers && !phy_parse_layers(layers, &params.targets))
        code = phy_usage_error("coverage", "--layers takes A or A-B, such as 0-11, not '%.64s'", layers);
    else {
        params.donor = positional[0];
        params.output = positional[1];
        params.targets.include = include.items;
        params.targets.include_count = include.count;
        params.targets.exclude = exclude.items;
        params.targets.exclude_count = exclude.count;
        params.beta = (uint32_t)numbers[0];
        params.iterations = (uint32_t)numbers[1];
        params.block = (uint32_t)numbers[2];
        params.threads = (uint32_t)numbers[3];
        code = compare(&params, &common);
    }
done:
    free(include.items);
    free(exclude.items);
    return code;
}

const struct phy_command cmd_coverage = {
    .name = "coverage",
    .run = run_coverage,
    .summary = "prove from the bytes what a surgery did",
    .help =
        "usage: physarium coverage DONOR OUT [OPTIONS]\n"
        "\n"
        "Compare a donor and an output byte by byte, tensor by tensor: headers, other tensors and other files "
        "verbatim,\n"
        "in the targets every weight the donor's own bits or +0. No report is trusted: what OUT/physarium/ (or\n"
        "OUT.physarium/ for a file) says is compared with what was found.\n"
        "\n"
        "  which tensors may have changed (default: as OUT's surgery.json says, else the default names)\n"
        "      --include GLOB     tensors, by name, in place of the default; may be repeated\n"
        "      --exclude GLOB     tensors to leave; may be repeated\n"
        "      --layers A-B       only layers A to B, counted from 0\n"
        "\n"
        "      --recompute        run the flow again and compare every byte; its parameters are what surgery.json\n"
        "                         says, unless given:\n"
        "      --device SPEC      cpu[:ref|:avx2|:avx512], vulkan[:N|:NAME] or all (default cpu)\n"
        "      --method NAME      flow, magnitude, wanda or ria\n"
        "      --sparsity S       of each row (magnitude, wanda, ria)\n"
        "      --pattern N:M      2:4 or 4:8, in place of a sparsity\n"
        "      --gain G           1/16 to 64\n"
        "      --beta B           1, 2, 3 or 4\n"
        "      --iterations N     1 to 1000\n"
        "      --block N          tile side 32, 64, 128 or 256\n"
        "      --calibration FILE column scales\n"
        "\n"
        "      --threads N        CPU threads (default: all processors)\n"
        "      --follow-symlinks  allow a donor's links to files outside it\n"
        "      --json             everything that was found, on standard output\n"
        "  -q, --quiet            nothing but errors and damage\n"
        "  -h, --help             this text\n"
        "\n"
        "Exit codes: 0 intact, 2 usage, 3 files and disks, 4 a bad donor, 5 an unsupported one, 6 memory, 7 device,\n"
        "8 damage: one line names file, tensor, row and column of the first, counted from 0; 130 interrupted.\n",
};
