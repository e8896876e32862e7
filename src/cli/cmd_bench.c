/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "physarium/bench.h"
#include "physarium/checkpoint.h"
#include "physarium/status.h"

struct bench_options {
    struct phy_bench_params params;
    const char *output, *csv, *markdown, *html, *junit;
    uint64_t threads;
    double threshold;
    bool worker;
};

static int finish(const char *text, enum phy_status status)
{
    if (text)
        fputs(text, stdout);
    return phy_finish_stdout(phy_status_exit_code(status));
}

static int compare(const char *const *files, size_t count, const struct bench_options *o, bool json,
                   const struct phy_host *host)
{
    if (count != 2)
        return phy_usage_error("bench", "compare takes two files: before.json after.json");
    struct phy_bench_compared compared;
    enum phy_status status = phy_bench_compare(
        &(struct phy_bench_compare_params){
            .before = files[0], .after = files[1], .threshold = o->threshold, .host = host},
        &compared);
    if (json && compared.json)
        puts(compared.json);
    int code = finish(json ? NULL : compared.text, status);
    phy_bench_text_free(compared.text);
    phy_bench_text_free(compared.json);
    return code;
}

enum { REPORT_FILES = 5 };

struct report_file {
    const char *path;
    enum phy_bench_form form;
};

/* bench.json unless another is named; the others where they are asked for. */
static void name_files(const struct bench_options *o, struct report_file files[REPORT_FILES])
{
    files[0] = (struct report_file){o->output ? o->output : "bench.json", PHY_BENCH_JSON};
    files[1] = (struct report_file){o->csv, PHY_BENCH_CSV};
    files[2] = (struct report_file){o->markdown, PHY_BENCH_MARKDOWN};
    files[3] = (struct report_file){o->html, PHY_BENCH_HTML};
    files[4] = (struct report_file){o->junit, PHY_BENCH_JUNIT};
}

static enum phy_status check_files(const struct bench_options *o, const struct phy_host *host)
{
    const char *const inputs[] = {o->params.input, o->params.peer};
    const char *paths[REPORT_FILES];
    struct report_file files[REPORT_FILES];
    name_files(o, files);
    for (size_t i = 0; i < REPORT_FILES; i++)
        paths[i] = files[i].path;
    return phy_output_files_check(&(struct phy_output_files){
        .paths = paths, .count = REPORT_FILES, .inputs = inputs, .input_count = 2, .host = host});
}

static enum phy_status write_files(const struct phy_bench_report *report, const struct bench_options *o,
                                   const struct phy_host *host)
{
    struct report_file files[REPORT_FILES];
    enum phy_status status = PHY_OK;
    name_files(o, files);
    for (size_t i = 0; i < REPORT_FILES && status == PHY_OK; i++) {
        if (files[i].path)
            status = phy_bench_report_write(report, files[i].form, files[i].path, host);
    }
    return status;
}

static int measure(struct bench_options *o, bool json, const struct phy_host *host)
{
    /* A container may hide /proc; then the name that we were started by has to do. */
    const char *self = access("/proc/self/exe", X_OK) == 0 ? "/proc/self/exe" : program_invocation_name;
    const char *const worker[] = {self, "bench", "--worker", NULL};
    struct phy_bench_report *report = NULL;
    o->params.worker = worker;
    o->params.threads = (uint32_t)o->threads;
    o->params.host = host;
    enum phy_status status = check_files(o, host);
    if (status == PHY_OK)
        status = phy_bench_run(&o->params, &report);
    if (!report)
        return phy_status_exit_code(status);
    enum phy_status written = write_files(report, o, host);
    char *text = phy_bench_report_text(report, json ? PHY_BENCH_JSON : PHY_BENCH_TABLE);
    int code = finish(text, written ? written : status);
    phy_bench_text_free(text);
    phy_bench_report_close(&report);
    return code;
}

/* Before the rooflines, which take a while: only some benchmarks have an input, and it must be there. */
static int check_input(const struct phy_bench_params *params)
{
    if (!params->input)
        return 0;
    if (strcmp(params->op, "surgery") != 0 && strcmp(params->op, "generate") != 0)
        return phy_usage_error("bench", "%.64s takes no input: '%.200s'", params->op, params->input);
    return phy_check_readable(params->input);
}

/* Started by measure, above: not for people, so that no help tells of it. */
static int serve(const struct phy_host *host)
{
    return phy_status_exit_code(phy_bench_worker(0, 3, host));
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    struct bench_options o = {0};
    const char *positional[3];
    size_t count;
    int code;
    const struct phy_option options[] = {
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &o.params.device},
        {.name = "--format", .kind = PHY_OPTION_TEXT, .target = &o.params.formats},
        {.name = "--shape", .kind = PHY_OPTION_TEXT, .target = &o.params.shapes},
        {.name = "--rows", .kind = PHY_OPTION_TEXT, .target = &o.params.rows},
        {.name = "--top-k", .kind = PHY_OPTION_TEXT, .target = &o.params.top_k},
        {.name = "--sparsity", .kind = PHY_OPTION_TEXT, .target = &o.params.sparsity},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &o.threads, .most = PHY_MOST_THREADS},
        {.name = "--cold", .kind = PHY_OPTION_FLAG, .target = &o.params.cold},
        {.name = "--warm", .kind = PHY_OPTION_FLAG, .target = &o.params.warm},
        {.name = "--quick", .kind = PHY_OPTION_FLAG, .target = &o.params.quick},
        {.name = "--budget", .kind = PHY_OPTION_DOUBLE, .target = &o.params.budget_s, .not_nothing = true},
        {.name = "--timeout", .kind = PHY_OPTION_DOUBLE, .target = &o.params.timeout_s, .not_nothing = true},
        {.name = "--peer", .kind = PHY_OPTION_NAME, .target = &o.params.peer},
        {.name = "--scratch", .kind = PHY_OPTION_NAME, .target = &o.params.scratch},
        {.name = "--threshold", .kind = PHY_OPTION_DOUBLE, .target = &o.threshold, .not_nothing = true},
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &o.output},
        {.name = "--csv", .kind = PHY_OPTION_NAME, .target = &o.csv},
        {.name = "--markdown", .kind = PHY_OPTION_NAME, .target = &o.markdown},
        {.name = "--html", .kind = PHY_OPTION_NAME, .target = &o.html},
        {.name = "--junit", .kind = PHY_OPTION_NAME, .target = &o.junit},
        {.name = "--worker", .kind = PHY_OPTION_FLAG, .target = &o.worker},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_bench, argc, argv, options, &common, positional, 3, &count, &code))
        return code;
    bool compares = count > 0 && strcmp(positional[0], "compare") == 0;
    if (!compares && count > 2)
        return phy_usage_error("bench", "takes one benchmark, and for some a directory");
    o.params.op = count > 0 ? positional[0] : NULL;
    o.params.input = count > 1 ? positional[1] : NULL;
    code = compares ? phy_refuse_other_options("bench", "compare", options, common.given,
                                               (const char *const[]){"--threshold", NULL})
                    : check_input(&o.params);
    if (code == 0 && !compares && o.threshold > 0)
        code = phy_usage_error("bench", "--threshold is of compare");
    if (code)
        return code;
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common.quiet || o.worker);
    if (o.worker)
        code = serve(&terminal.host);
    else if (compares)
        code = compare(positional + 1, count - 1, &o, common.json, &terminal.host);
    else
        code = measure(&o, common.json, &terminal.host);
    phy_terminal_close(&terminal);
    return code;
}

const struct phy_command cmd_bench = {
    .name = "bench",
    .run = run,
    .summary = "measure this machine's devices",
    .help =
        "usage: physarium bench [flow|ffn|matmul|copy|scaling] [OPTIONS]\n"
        "       physarium bench surgery [DONOR] [OPTIONS]\n"
        "       physarium bench generate MODEL [OPTIONS]\n"
        "       physarium bench compare BEFORE.json AFTER.json [--threshold R]\n"
        "\n"
        "Times what each device does, beside the bandwidth and arithmetic that kernels of our own reach on it, and\n"
        "prints medians and quartiles. Without a benchmark: a quick look at every device, two minutes at most. Each\n"
        "device is measured in a process of its own: one that hangs or crashes is reported, exit code 7, and the\n"
        "others' results are kept. compare exits with 8 when something has become slower.\n"
        "\n"
        "      --device LIST     all (the default), or names as `physarium devices` lists them, with commas;\n"
        "                        of matmul, ffn and generate also a form: vulkan:0/rows,vulkan:0/lanes+plain\n"
        "      --format LIST     of weights: bf16,q4_k ... (default: all that the device offers)\n"
        "      --shape LIST      3584x18944: hidden x intermediate of an ffn, else rows x columns\n"
        "      --rows LIST       rows of x: 1,8,512\n"
        "      --top-k LIST      of ffn: the sparse path, too, with so many features: 25%,512\n"
        "      --sparsity S      share of zeros of the formats bitmap[_bf16|_f16|_f32] (default: 0.5)\n"
        "      --threads N       CPU threads (default: all processors)\n"
        "      --cold            weights beyond the caches only\n"
        "      --warm            weights in the caches only (default: both)\n"
        "      --quick           small shapes, 12 seconds\n"
        "      --budget SECONDS  for all devices together (default: 110); what does not fit is left out and told\n"
        "      --timeout SECONDS a device that says nothing for so long is given up (default: 60)\n"
        "      --peer FILE       another program's times, to be joined: docs/bench.md\n"
        "      --scratch DIR     where files that are measured are written (default: here)\n"
        "      --threshold R     compare: slower by more than this share (default: 0.1), or ratio if above 1\n"
        "  -o, --output FILE     the report as JSON (default: bench.json)\n"
        "      --csv FILE        and as a table for other programs\n"
        "      --markdown FILE   and as Markdown\n"
        "      --html FILE       and as a page with roofline plots\n"
        "      --junit FILE      and as test results\n"
        "      --json            the JSON on stdout in place of the table\n"
        "  -q, --quiet           errors and warnings only\n",
};
