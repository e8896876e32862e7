/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "ffn_options.h"
#include "inspect_store.h"
#include "physarium/physarium.h"

/* What is printed: the checkpoint, and what surgery would do with it. */
struct report {
    const struct phy_checkpoint *checkpoint;
    const char *path;
    struct phy_target_list targets; /* empty when there are none, or when surgery cannot work on it */
    char no_targets[1100];          /* why, in a sentence */
    uint64_t elements, bytes;
};

static void keep_line(void *user, enum phy_log_level level, const char *line)
{
    struct report *report = user;
    if (level == PHY_LOG_ERROR)
        snprintf(report->no_targets, sizeof report->no_targets, "%s", line);
}

/* A donor without targets is a good donor: what surgery would say is shown, and is no failure here. */
static enum phy_status find_targets(struct report *report, const struct phy_host *host)
{
    struct phy_host listener = {.user = report, .log = keep_line};
    if (phy_checkpoint_container(report->checkpoint) == PHY_CONTAINER_GGUF) {
        snprintf(report->no_targets, sizeof report->no_targets, "GGUF is to be imported first");
        return PHY_OK;
    }
    enum phy_status status = phy_targets_choose(&report->targets, report->checkpoint, NULL, &listener);
    if (status == PHY_ERR_MEMORY && host->log)
        host->log(host->user, PHY_LOG_ERROR, report->no_targets);
    return status == PHY_ERR_MEMORY ? status : PHY_OK;
}

static uint64_t element_count(const struct phy_tensor_info *tensor)
{
    uint64_t elements = 1; /* a checked tensor's product is below 2^63, unless a zero makes it zero */
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        if (tensor->shape[i] == 0)
            return 0;
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        elements *= tensor->shape[i];
    return elements;
}

static void add_up(struct report *report)
{
    struct phy_tensor_info tensor;
    for (size_t i = 0; i < phy_checkpoint_tensor_count(report->checkpoint); i++) {
        phy_checkpoint_tensor(report->checkpoint, i, &tensor);
        report->elements += element_count(&tensor);
        report->bytes += tensor.bytes;
    }
}

/* Whether tensor i is a target; *next walks along the targets, which are in data order like the tensors. */
static bool is_target(const struct report *report, size_t i, size_t *next)
{
    bool target = *next < report->targets.count && report->targets.targets[*next].tensor == i;
    *next += target;
    return target;
}

/* ---- for programs ---- */

static void print_shape(const struct phy_tensor_info *tensor)
{
    putchar('[');
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        printf("%s%" PRIu64, i ? ", " : "", tensor->shape[i]);
    putchar(']');
}

static void print_json_shards(const struct phy_checkpoint *checkpoint)
{
    struct phy_shard_info shard;
    fputs(" \"shards\": [", stdout);
    for (size_t i = 0; i < phy_checkpoint_shard_count(checkpoint); i++) {
        phy_checkpoint_shard(checkpoint, i, &shard);
        fputs(i ? ",\n  {\"name\": " : "\n  {\"name\": ", stdout);
        phy_print_json_string(shard.name, strlen(shard.name));
        printf(", \"file_bytes\": %" PRIu64 ", \"header_bytes\": %" PRIu64 ", \"tensor_count\": %zu}", shard.file_bytes,
               shard.header_bytes, shard.tensor_end - shard.tensor_begin);
    }
    fputs("],\n", stdout);
}

static void print_json_tensors(const struct report *report)
{
    const struct phy_checkpoint *checkpoint = report->checkpoint;
    bool directory = phy_checkpoint_is_directory(checkpoint);
    struct phy_tensor_info tensor;
    struct phy_shard_info shard;
    size_t next = 0;
    fputs(" \"tensors\": [", stdout);
    for (size_t i = 0; i < phy_checkpoint_tensor_count(checkpoint); i++) {
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        fputs(i ? ",\n  {\"name\": " : "\n  {\"name\": ", stdout);
        phy_print_json_string(tensor.name, tensor.name_bytes);
        printf(", \"dtype\": \"%s\", \"shape\": ", tensor.dtype);
        print_shape(&tensor);
        printf(", \"at\": %" PRIu64 ", \"bytes\": %" PRIu64, tensor.at, tensor.bytes);
        if (directory) {
            phy_checkpoint_shard(checkpoint, tensor.shard, &shard);
            fputs(", \"shard\": ", stdout);
            phy_print_json_string(shard.name, strlen(shard.name));
        }
        fputs(is_target(report, i, &next) ? ", \"target\": true}" : ", \"target\": false}", stdout);
    }
    fputs("]\n", stdout);
}

static void print_json(const struct report *report)
{
    const struct phy_checkpoint *checkpoint = report->checkpoint;
    bool gguf = phy_checkpoint_container(checkpoint) == PHY_CONTAINER_GGUF;
    printf("{\"container\": \"%s\", \"directory\": %s, \"index\": %s,\n", gguf ? "gguf" : "safetensors",
           phy_checkpoint_is_directory(checkpoint) ? "true" : "false",
           phy_checkpoint_has_index(checkpoint) ? "true" : "false");
    printf(" \"tensor_count\": %zu, \"elements\": %" PRIu64 ", \"bytes\": %" PRIu64 ",\n",
           phy_checkpoint_tensor_count(checkpoint), report->elements, report->bytes);
    printf(" \"target_tensors\": %zu, \"target_elements\": %" PRIu64 ",\n", report->targets.count,
           report->targets.elements);
    print_json_shards(checkpoint);
    print_json_tensors(report);
    fputs("}\n", stdout);
}

/* ---- for people ---- */

/* Columns in characters: as wide as the widest of their cells. */
struct widths {
    int dtype, shape, bytes;
};

static int digits_of(uint64_t value)
{
    int digits = 1;
    while (value >= 10) {
        value /= 10;
        digits++;
    }
    return digits;
}

static int shape_width(const struct phy_tensor_info *tensor)
{
    int width = 2;
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        width += digits_of(tensor->shape[i]) + (i ? 2 : 0);
    return width;
}

static struct widths measure(const struct phy_checkpoint *checkpoint)
{
    enum { WIDEST_SHAPE = 32 }; /* one odd tensor must not push all names off the screen */
    struct widths w = {5, 5, 5};
    struct phy_tensor_info tensor;
    for (size_t i = 0; i < phy_checkpoint_tensor_count(checkpoint); i++) {
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        int dtype = (int)strlen(tensor.dtype), shape = shape_width(&tensor), bytes = digits_of(tensor.bytes);
        w.dtype = dtype > w.dtype ? dtype : w.dtype;
        w.shape = shape > w.shape && shape <= WIDEST_SHAPE ? shape : w.shape;
        w.bytes = bytes > w.bytes ? bytes : w.bytes;
    }
    return w;
}

static void print_tensors(const struct report *report)
{
    const struct phy_checkpoint *checkpoint = report->checkpoint;
    struct widths w = measure(checkpoint);
    char name[PHY_QUOTED_NAME_BYTES];
    struct phy_tensor_info tensor;
    struct phy_shard_info shard;
    size_t next = 0;
    for (size_t s = 0; s < phy_checkpoint_shard_count(checkpoint); s++) {
        phy_checkpoint_shard(checkpoint, s, &shard);
        printf("%s: %zu tensor%s, header %" PRIu64 " bytes, file %" PRIu64 " bytes\n",
               phy_quote_name(name, shard.name, strlen(shard.name)), shard.tensor_end - shard.tensor_begin,
               shard.tensor_end - shard.tensor_begin == 1 ? "" : "s", shard.header_bytes, shard.file_bytes);
        if (shard.tensor_begin < shard.tensor_end)
            printf("    %-*s  %-*s  %*s  name\n", w.dtype, "dtype", w.shape, "shape", w.bytes, "bytes");
        for (size_t i = shard.tensor_begin; i < shard.tensor_end; i++) {
            phy_checkpoint_tensor(checkpoint, i, &tensor);
            printf("  %c %-*s  ", is_target(report, i, &next) ? '*' : ' ', w.dtype, tensor.dtype);
            print_shape(&tensor);
            int pad = w.shape - shape_width(&tensor);
            printf("%*s  %*" PRIu64 "  %s\n", pad > 0 ? pad : 0, "", w.bytes, tensor.bytes,
                   phy_quote_name(name, tensor.name, tensor.name_bytes));
        }
    }
}

/* A line for each dtype. Their names are the library's own strings: one pointer for each. */
static void print_dtypes(const struct phy_checkpoint *checkpoint)
{
    struct {
        const char *dtype;
        uint64_t elements, bytes;
        size_t count;
    } sums[64];
    size_t used = 0, capacity = sizeof sums / sizeof *sums;
    struct phy_tensor_info tensor;
    for (size_t i = 0; i < phy_checkpoint_tensor_count(checkpoint); i++) {
        phy_checkpoint_tensor(checkpoint, i, &tensor);
        size_t at = 0;
        while (at < used && sums[at].dtype != tensor.dtype)
            at++;
        if (at == capacity)
            continue;
        if (at == used) {
            memset(&sums[used], 0, sizeof *sums);
            sums[used++].dtype = tensor.dtype;
        }
        sums[at].elements += element_count(&tensor);
        sums[at].bytes += tensor.bytes;
        sums[at].count++;
    }
    for (size_t i = 0; i < used; i++)
        printf("%s: %zu tensor%s, %" PRIu64 " weights, %" PRIu64 " bytes\n", sums[i].dtype, sums[i].count,
               sums[i].count == 1 ? "" : "s", sums[i].elements, sums[i].bytes);
}

static void print_table(const struct report *report)
{
    const struct phy_checkpoint *checkpoint = report->checkpoint;
    print_tensors(report);
    putchar('\n');
    print_dtypes(checkpoint);
    printf("total: %zu tensors, %" PRIu64 " weights, %" PRIu64 " bytes\n", phy_checkpoint_tensor_count(checkpoint),
           report->elements, report->bytes);
    if (report->targets.count)
        printf("surgery would touch the tensors marked *: %zu, with %" PRIu64 " weights\n", report->targets.count,
               report->targets.elements);
    else
        printf("surgery would touch nothing: %s\n", report->no_targets);
}

/* ---- the command ---- */

static int run_inspect(int argc, char **argv)
{
    struct phy_ffn_store_params store = {0};
    const char *q6k_order = NULL;
    bool follow_symlinks = false;
    const struct phy_option options[] = {
        {.name = "--follow-symlinks", .kind = PHY_OPTION_FLAG, .target = &follow_symlinks},
        {.name = "--trust", .kind = PHY_OPTION_FLAG, .target = &store.trust},
        {.name = "--q6k-order", .kind = PHY_OPTION_TEXT, .target = &q6k_order},
        {.name = NULL},
    };
    struct phy_common_options common = {0};
    struct phy_terminal terminal;
    struct report report = {0};
    struct phy_checkpoint *checkpoint = NULL;
    size_t count;
    int exit_code;
    if (!phy_parse_options(&cmd_inspect, argc, argv, options, &common, &report.path, 1, &count, &exit_code))
        return exit_code;
    if (count == 0)
        return phy_usage_error(cmd_inspect.name, "which checkpoint? physarium inspect PATH");
    exit_code = phy_parse_q6k_order(cmd_inspect.name, q6k_order, &store.q6k_order);
    if (exit_code)
        return exit_code;
    const bool is_store = phy_is_store(report.path);
    if (q6k_order && !is_store)
        return phy_usage_error(cmd_inspect.name, "--q6k-order is about a vindex");

    phy_terminal_open(&terminal, common.quiet);
    store.host = &terminal.host;
    if (is_store) {
        enum phy_status found = phy_inspect_store(report.path, &store, common.json);
        phy_terminal_close(&terminal);
        return phy_finish_stdout(phy_status_exit_code(found));
    }
    struct phy_checkpoint_params params = {.host = &terminal.host, .follow_symlinks = follow_symlinks};
    enum phy_status status = phy_checkpoint_open(&checkpoint, report.path, &params);
    report.checkpoint = checkpoint;
    if (!status)
        status = find_targets(&report, &terminal.host);
    if (!status) {
        add_up(&report);
        if (common.json)
            print_json(&report);
        else
            print_table(&report);
    }
    phy_target_list_free(&report.targets);
    phy_checkpoint_close(&checkpoint);
    phy_terminal_close(&terminal);
    return phy_finish_stdout(phy_status_exit_code(status));
}

const struct phy_command cmd_inspect = {
    .name = "inspect",
    .run = run_inspect,
    .summary = "check a checkpoint and list its tensors",
    .help =
        "usage: physarium inspect PATH [--json] [--follow-symlinks] [--trust] [--q6k-order ORDER]\n"
        "\n"
        "Check a checkpoint by every rule, without reading its tensors' data, and list what is in it: names, types,\n"
        "shapes, sizes, and which tensors surgery would touch. PATH is a directory with model.safetensors or with\n"
        "model.safetensors.index.json and its shards, a safetensors file, or a GGUF file.\n"
        "Of an FFN store (physarium quantize) or a vindex it checks the matrices' digests and lists them: formats,\n"
        "shapes, bits for each weight.\n"
        "\n"
        "  --json             print an object with an array of tensors, in data order\n"
        "  --follow-symlinks  allow links to files outside the directory\n"
        "  --trust            of a store: do not read the matrices to check their digests\n"
        "  --q6k-order ORDER  of a vindex whose Q6_K blocks do not tell it: pairs or ggml\n"
        "  -q, --quiet        no notes\n"
        "\n"
        "Exit codes: 0 good (warnings included), 2 usage, 3 unreadable, 4 malformed or incomplete, 5 unsupported,\n"
        "6 out of memory or beyond a limit.\n",
};
