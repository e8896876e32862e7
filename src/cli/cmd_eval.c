/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "physarium/eval.h"

struct eval_options {
    const char *model, *baseline, *text, *ids, *device, *html;
    uint64_t context, stride, threads;
};

/* The file's little-endian uint32 values; NULL with a sentence. */
static uint32_t *read_ids(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rbe");
    uint32_t *ids = NULL;
    size_t capacity = 0, got = 0;
    unsigned char word[4];
    *count = 0;
    while (file && (got = fread(word, 1, 4, file)) == 4) {
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 4096;
            uint32_t *grown = realloc(ids, capacity * sizeof *ids);
            if (!grown)
                break;
            ids = grown;
        }
        ids[(*count)++] = (uint32_t)word[0] | (uint32_t)word[1] << 8 | (uint32_t)word[2] << 16 | (uint32_t)word[3] << 24;
    }
    bool bad = !file || ferror(file) || got != 0;
    if (bad)
        fprintf(stderr, "%s: %s\n", path, file && !ferror(file) ? "not a whole number of uint32 values" : strerror(errno));
    if (file)
        fclose(file);
    if (bad) {
        free(ids);
        return NULL;
    }
    return ids ? ids : calloc(1, sizeof *ids);
}

static void add_estimate(cJSON *to, const char *name, struct phy_estimate e)
{
    char error[64];
    snprintf(error, sizeof error, "%s_error", name);
    cJSON_AddNumberToObject(to, name, e.value);
    cJSON_AddNumberToObject(to, error, e.error);
}

static void print_json(const struct phy_eval_result *r, const struct phy_model_info *info)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "schema", 1);
    cJSON_AddStringToObject(root, "device", info->device);
    cJSON_AddNumberToObject(root, "context", r->context);
    cJSON_AddNumberToObject(root, "stride", r->stride);
    cJSON_AddNumberToObject(root, "windows", (double)r->window_count);
    cJSON_AddNumberToObject(root, "tokens", (double)r->token_count);
    cJSON_AddNumberToObject(root, "tokens_dropped", (double)r->dropped);
    add_estimate(root, "nll", r->nll);
    add_estimate(root, "perplexity", r->perplexity);
    if (r->has_baseline) {
        add_estimate(root, "baseline_nll", r->baseline_nll);
        add_estimate(root, "baseline_perplexity", r->baseline_perplexity);
        add_estimate(root, "delta_perplexity", r->delta_perplexity);
        add_estimate(root, "kl_bits", r->kl_bits);
        cJSON_AddNumberToObject(root, "kl_bits_p99", r->kl_bits_p99);
        cJSON_AddNumberToObject(root, "kl_bits_max", r->kl_bits_max);
        cJSON_AddBoolToObject(root, "kl_exact", true);
        add_estimate(root, "top1_agreement", r->top1_agreement);
    }
    cJSON *windows = cJSON_AddArrayToObject(root, "window_nll");
    for (size_t i = 0; i < r->window_count; i++)
        cJSON_AddItemToArray(windows, cJSON_CreateNumber(r->window_nll[i]));
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(root);
}

static void print_table(const struct phy_eval_result *r, const struct phy_model_info *info)
{
    printf("%zu tokens in %zu windows of %u, on %s\n", r->token_count, r->window_count, r->context, info->device);
    printf("perplexity        %10.4f +- %.4f\n", r->perplexity.value, r->perplexity.error);
    if (!r->has_baseline)
        return;
    printf("baseline          %10.4f +- %.4f\n", r->baseline_perplexity.value, r->baseline_perplexity.error);
    printf("difference        %10.4f +- %.4f (paired)\n", r->delta_perplexity.value, r->delta_perplexity.error);
    printf("KL(baseline||it)  %10.6f +- %.6f bits; 99th percentile %.4f, largest %.4f\n", r->kl_bits.value,
           r->kl_bits.error, r->kl_bits_p99, r->kl_bits_max);
    printf("top-1 agreement   %10.2f +- %.2f %%\n", 100 * r->top1_agreement.value, 100 * r->top1_agreement.error);
}

static enum phy_status evaluate(const struct eval_options *o, const struct phy_host *host, bool json)
{
    struct phy_model_params model_params = {.device = o->device, .threads = (uint32_t)o->threads, .host = host};
    struct phy_model *model = NULL, *baseline = NULL;
    struct phy_eval_result result = {0};
    struct phy_model_info info;
    size_t count = 0;
    uint32_t *ids = read_ids(o->ids, &count);
    enum phy_status status = ids ? phy_model_open(&model, o->model, &model_params) : PHY_ERR_IO;
    if (status == PHY_OK && o->baseline)
        status = phy_model_open(&baseline, o->baseline, &model_params);
    if (status == PHY_OK) {
        phy_model_describe(model, &info);
        struct phy_eval_params params = {
            .model = model,
            .baseline = baseline,
            .tokens = ids,
            .token_count = count,
            .context = (uint32_t)o->context,
            .stride = (uint32_t)o->stride,
            .has_bos = strcmp(info.model_type, "gemma3_text") == 0,
            .bos = info.bos,
            .host = host,
        };
        status = phy_eval_run(&params, &result);
    }
    if (status == PHY_OK && json)
        print_json(&result, &info);
    else if (status == PHY_OK)
        print_table(&result, &info);
    phy_eval_result_free(&result);
    phy_model_close(&baseline);
    phy_model_close(&model);
    free(ids);
    return status;
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    struct eval_options o = {0};
    size_t positional;
    int code;
    const struct phy_option options[] = {
        {.name = "--baseline", .kind = PHY_OPTION_TEXT, .target = &o.baseline},
        {.name = "--ids", .kind = PHY_OPTION_TEXT, .target = &o.ids},
        {.name = "--ctx", .kind = PHY_OPTION_U64, .target = &o.context},
        {.name = "--stride", .kind = PHY_OPTION_U64, .target = &o.stride},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &o.device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &o.threads},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_eval, argc, argv, options, &common, &o.model, 1, &positional, &code))
        return code;
    if (positional != 1 || !o.ids || o.context > UINT32_MAX || o.stride > UINT32_MAX || o.threads > 4096)
        return phy_usage_error("eval", "needs a model directory and --ids FILE");
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common.quiet);
    code = phy_status_exit_code(evaluate(&o, &terminal.host, common.json));
    phy_terminal_close(&terminal);
    return phy_finish_stdout(code);
}

const struct phy_command cmd_eval = {
    .name = "eval",
    .run = run,
    .summary = "perplexity, and divergence from a baseline",
    .help = "usage: physarium eval MODEL --ids FILE [--baseline DIR] [OPTIONS]\n",
};
