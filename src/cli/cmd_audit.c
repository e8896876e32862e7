/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "ffn_options.h"
#include "physarium/audit.h"
#include "physarium/checkpoint.h"

#ifndef PHY_AUDIT_DATA
#define PHY_AUDIT_DATA "audits"
#endif

struct audit_options {
    struct phy_audit_params params;
    const char *output, *junit, *html, *lock, *loosen, *q6k_order;
    bool no_bounds, no_oracle;
};

static void put_stdout(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
}

/* A part of the audits that belong to the program: ./audits (a source tree), then where it was installed. NULL: neither
 * has it. */
static const char *find_data(const char *part, char *out, size_t bytes)
{
    const char *const places[] = {"audits", PHY_AUDIT_DATA};
    for (size_t i = 0; i < 2; i++) {
        snprintf(out, bytes, "%s/%s", places[i], part);
        if (access(out, R_OK) == 0)
            return out;
    }
    return NULL;
}

/* One that fails does not keep the others from being written: what was measured took long. */
static enum phy_status write_outputs(const struct audit_options *o, const struct phy_audit *audit)
{
    const enum phy_status statuses[] = {
        o->output ? phy_audit_write_directory(audit, o->output) : PHY_OK,
        o->html ? phy_audit_write(audit, PHY_AUDIT_HTML, o->html) : PHY_OK,
        o->junit ? phy_audit_write(audit, PHY_AUDIT_JUNIT, o->junit) : PHY_OK,
        o->lock ? phy_audit_lock(audit, o->lock, o->loosen) : PHY_OK,
    };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (statuses[i] != PHY_OK)
            return statuses[i];
    }
    return PHY_OK;
}

enum { NAMED_FILES = 2, OUTPUT_FILES = 3, LOCK_FILES = 2, FILES = NAMED_FILES + OUTPUT_FILES + LOCK_FILES };

static const char *put_name(char out[4096], const char *directory, const char *file)
{
    if (!directory)
        return NULL;
    snprintf(out, 4096, "%s/%s", directory, file);
    return out;
}

static enum phy_status check_outputs(const struct audit_options *o)
{
    static const char *const names[] = {"audit.json", "audit.md", "audit.html", "bounds.json", "INDEX.md"};
    char made[OUTPUT_FILES + LOCK_FILES][4096];
    const char *files[FILES] = {o->html, o->junit}, *const directories[] = {o->output, o->lock};
    /* A lock sets the bounds that it has read, so they come last. */
    const char *const inputs[] = {o->params.donor,   o->params.against, o->params.store,
                                  o->params.prompts, o->params.oracle,  o->params.bounds};
    for (size_t i = 0; i < OUTPUT_FILES + LOCK_FILES; i++)
        files[NAMED_FILES + i] = put_name(made[i], i < OUTPUT_FILES ? o->output : o->lock, names[i]);
    struct phy_output_files check = {.paths = files,
                                     .count = NAMED_FILES + OUTPUT_FILES,
                                     .directories = directories,
                                     .directory_count = 2,
                                     .inputs = inputs,
                                     .input_count = sizeof inputs / sizeof *inputs,
                                     .host = o->params.host};
    enum phy_status status = phy_output_files_check(&check);
    check.count = FILES;
    check.input_count--;
    return status == PHY_OK && o->lock ? phy_output_files_check(&check) : status;
}

static int audit(struct audit_options *o, const struct phy_common_options *common)
{
    char bounds[4096], oracle[4096];
    struct phy_audit *done = NULL;
    struct phy_terminal terminal;
    if (o->lock && !o->params.bounds) {
        snprintf(bounds, sizeof bounds, "%s/bounds.json", o->lock);
        o->params.bounds = access(bounds, R_OK) == 0 ? bounds : NULL;
    } else if (!o->params.bounds && !o->no_bounds) {
        o->params.bounds = find_data("bounds.json", bounds, sizeof bounds);
    }
    if (!o->params.oracle && !o->no_oracle)
        o->params.oracle = find_data("oracle", oracle, sizeof oracle);
    phy_terminal_open(&terminal, common->quiet);
    o->params.host = &terminal.host;
    enum phy_status status = check_outputs(o);
    if (status == PHY_OK)
        status = phy_audit_run(&done, &o->params);
    if (status == PHY_OK) {
        bool passed = phy_audit_passed(done);
        status = write_outputs(o, done);
        phy_terminal_close(&terminal);
        if (common->json || !common->quiet || !passed || status != PHY_OK) {
            const enum phy_status put =
                phy_audit_put(done, common->json ? PHY_AUDIT_JSON : PHY_AUDIT_TABLE, put_stdout, NULL);
            status = status == PHY_OK ? put : status;
        }
        if (status == PHY_OK && !passed)
            status = PHY_ERR_MISMATCH;
    } else {
        phy_terminal_close(&terminal);
    }
    phy_audit_free(&done);
    return phy_finish_stdout(phy_status_exit_code(status));
}

static int compare(const char *const *files, size_t count, const char *html, const struct phy_common_options *common)
{
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common->quiet);
    struct phy_audit_compare_params params = {files, count, html, common->json, &terminal.host};
    enum phy_status status = html ? phy_output_file_check(html, files, count, &terminal.host) : PHY_OK;
    if (status == PHY_OK)
        status = phy_audit_compare(&params, put_stdout, NULL);
    phy_terminal_close(&terminal);
    return phy_finish_stdout(phy_status_exit_code(status));
}

static int show(const char *file, uint64_t worst, const struct phy_common_options *common)
{
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common->quiet);
    enum phy_status status = phy_audit_show(file, (size_t)worst, common->json, put_stdout, NULL, &terminal.host);
    phy_terminal_close(&terminal);
    return phy_finish_stdout(phy_status_exit_code(status));
}

static int check_audit(struct audit_options *o, size_t positional)
{
    const int code = phy_parse_q6k_order("audit", o->q6k_order, &o->params.q6k_order);
    if (code)
        return code;
    if (o->q6k_order && !o->params.store)
        return phy_usage_error("audit", "--q6k-order is about a vindex: --ffn names one");
    if (positional != 1)
        return phy_usage_error("audit", "needs one model directory");
    if (o->params.against && (o->params.store || o->params.paths || o->params.all || o->lock))
        return phy_usage_error("audit", "--against tells surgery's effect: without --all, --ffn, --paths and --lock");
    if (o->params.paths && !*o->params.paths)
        return phy_usage_error("audit", "--paths names no path");
    if (o->params.oracle && o->no_oracle)
        return phy_usage_error("audit", "--oracle and --no-oracle exclude each other");
    if (o->params.bounds && o->no_bounds)
        return phy_usage_error("audit", "--bounds and --no-bounds exclude each other");
    if (o->params.oracle && phy_check_readable(o->params.oracle))
        return 3;
    if (o->params.store && o->params.all)
        return phy_usage_error("audit", "--ffn and --all exclude each other");
    if (o->loosen && !o->lock)
        return phy_usage_error("audit", "--loosen belongs to --lock");
    if (o->loosen && strlen(o->loosen) < 8)
        return phy_usage_error("audit", "--loosen wants a reason, which is kept with the bound");
    return 0;
}

enum { MOST_FILES = 64 };

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    struct audit_options o = {0};
    bool has_worst = false;
    uint64_t threads = 0, worst = 20;
    const char *positional[MOST_FILES];
    size_t count;
    int code;
    const struct phy_option options[] = {
        {.name = "--all", .kind = PHY_OPTION_FLAG, .target = &o.params.all},
        {.name = "--ffn", .kind = PHY_OPTION_NAME, .target = &o.params.store},
        {.name = "--q6k-order", .kind = PHY_OPTION_TEXT, .target = &o.q6k_order},
        {.name = "--paths", .kind = PHY_OPTION_TEXT, .target = &o.params.paths},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &o.params.device},
        {.name = "--against", .kind = PHY_OPTION_NAME, .target = &o.params.against},
        {.name = "--prompts", .kind = PHY_OPTION_NAME, .target = &o.params.prompts},
        {.name = "--cache", .kind = PHY_OPTION_NAME, .target = &o.params.cache},
        {.name = "--oracle", .kind = PHY_OPTION_NAME, .target = &o.params.oracle},
        {.name = "--no-oracle", .kind = PHY_OPTION_FLAG, .target = &o.no_oracle},
        {.name = "--bounds", .kind = PHY_OPTION_NAME, .target = &o.params.bounds},
        {.name = "--no-bounds", .kind = PHY_OPTION_FLAG, .target = &o.no_bounds},
        {.name = "--budget", .kind = PHY_OPTION_U64, .target = &o.params.budget_seconds, .not_nothing = true},
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_NAME, .target = &o.output},
        {.name = "--html", .kind = PHY_OPTION_NAME, .target = &o.html},
        {.name = "--junit", .kind = PHY_OPTION_NAME, .target = &o.junit},
        {.name = "--lock", .kind = PHY_OPTION_NAME, .target = &o.lock},
        {.name = "--loosen", .kind = PHY_OPTION_TEXT, .target = &o.loosen},
        {.name = "--worst", .kind = PHY_OPTION_U64, .target = &worst, .seen = &has_worst},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads, .most = PHY_MOST_THREADS},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_audit, argc, argv, options, &common, positional, MOST_FILES, &count, &code))
        return code;
    if (count && strcmp(positional[0], "compare") == 0) {
        code = count < 3 ? phy_usage_error("audit", "compare needs two or more audit.json")
                         : phy_refuse_other_options("audit", "compare", options, common.given,
                                                    (const char *const[]){"--html", NULL});
        return code ? code : compare(positional + 1, count - 1, o.html, &common);
    }
    if (count && strcmp(positional[0], "show") == 0) {
        code = count != 2 ? phy_usage_error("audit", "show needs one audit.json")
                          : phy_refuse_other_options("audit", "show", options, common.given,
                                                     (const char *const[]){"--worst", NULL});
        return code ? code : show(positional[1], worst, &common);
    }
    code = has_worst ? phy_usage_error("audit", "--worst is of show") : check_audit(&o, count);
    if (code)
        return code;
    o.params.donor = positional[0];
    o.params.threads = (uint32_t)threads;
    return audit(&o, &common);
}

const struct phy_command cmd_audit = {
    .name = "audit",
    .run = run,
    .summary = "hold every FFN path on every device to a float64 reference",
    .help =
        "usage: physarium audit MODEL [--all | --ffn STORE] [OPTIONS]\n"
        "       physarium audit MODEL --against PRUNED [OPTIONS]\n"
        "       physarium audit compare A.json B.json ... [--html FILE]\n"
        "       physarium audit show FILE [--worst N]\n"
        "\n"
        "Runs the FFN of the model in directory MODEL by every path on every device and compares each layer's output\n"
        "at every position with a dense reference in float64, on real prompts; then lets the path drive the model.\n"
        "What ran is traced by the kernels themselves. A bound or a dispatch that fails is exit code 8; files are\n"
        "written all the same.\n"
        "\n"
        "      --all             also the paths of stores in every scheme, which are made once in a cache\n"
        "      --ffn STORE       the paths of this store only\n"
        "      --q6k-order ORDER  of a vindex whose Q6_K blocks do not tell it: pairs or ggml\n"
        "      --paths LIST      only these, with commas between\n"
        "      --device SPEC     cpu:ref, cpu:avx2, cpu:avx512, vulkan:N, vulkan:NAME, with commas between, or all\n"
        "                        (default: all); vulkan:N/FORM forces rows, lanes, subgroup, matrix, +plain, +dot\n"
        "      --against PRUNED  tell what surgery changed: a pruned copy of MODEL, on MODEL's inputs\n"
        "      --prompts FILE    more prompts: one a line, a name and a tab may stand before it; - is standard input\n"
        "      --budget SECONDS  leave out positions, layers, then prompts to fit about that time\n"
        "      --cache DIR       where --all keeps its stores (default: physarium/stores in the user's cache)\n"
        "      --bounds FILE     bounds.json (default: ./audits, then the installed one)\n"
        "      --no-bounds       the buckets' defaults only (--lock still holds to the bounds that it tightens)\n"
        "      --oracle FILE     stored logits of another implementation, or a directory of them by weight digest\n"
        "                        (default: ./audits/oracle, then the installed one)\n"
        "      --no-oracle       without it\n"
        "  -o, --output DIR      audit.json, audit.md and audit.html\n"
        "      --html FILE       the page alone; of compare: its matrix\n"
        "      --junit FILE      each path and device as a test, for CI\n"
        "      --lock DIR        set DIR/bounds.json from what was measured; bounds only get tighter\n"
        "      --loosen REASON   with --lock: they may get looser; the reason is kept\n"
        "      --worst N         of show: observations (default 20)\n"
        "      --threads N       CPU threads (default: all processors)\n"
        "      --json            audit.json (of compare: the matrix; of show: its lines) on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
