/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffn_options.h"
#include "model_source.h"
#include "physarium/checkpoint.h"
#include "physarium/eval.h"
#include "text_ids.h"

struct eval_options {
    const char *model, *baseline, *text, *ids, *device, *html;
    uint64_t context, stride, threads;
    struct phy_ffn_options ffn;
};

static void add_estimate(cJSON *to, const char *name, struct phy_estimate e)
{
    char error[64];
    snprintf(error, sizeof error, "%s_error", name);
    cJSON_AddNumberToObject(to, name, e.value);
    cJSON_AddNumberToObject(to, error, e.error);
}

static void print_json(const struct phy_eval_result *r, const struct phy_model_info *info, const struct phy_ffn *ffn)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "schema", 1);
    cJSON_AddStringToObject(root, "device", info->device);
    cJSON_AddStringToObject(root, "activations", info->activations);
    phy_ffn_add_json(root, ffn);
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

static void print_table(const struct phy_eval_result *r, const struct phy_model_info *info, const struct phy_ffn *ffn)
{
    struct phy_ffn_info path;
    printf("%zu tokens in %zu windows of %u, on %s%s\n", r->token_count, r->window_count, r->context, info->device,
           phy_activations_note(info));
    if (ffn) {
        phy_ffn_describe(ffn, &path);
        phy_ffn_print(stdout, &path, info->layer_count);
        putchar('\n');
    }
    printf("perplexity        %10.4f +- %.4f\n", r->perplexity.value, r->perplexity.error);
    if (!r->has_baseline)
        return;
    printf("baseline          %10.4f +- %.4f\n", r->baseline_perplexity.value, r->baseline_perplexity.error);
    printf("difference        %10.4f +- %.4f (paired)\n", r->delta_perplexity.value, r->delta_perplexity.error);
    printf("KL(baseline||it)  %10.6f +- %.6f bits; 99th percentile %.4f, largest %.4f\n", r->kl_bits.value,
           r->kl_bits.error, r->kl_bits_p99, r->kl_bits_max);
    printf("top-1 agreement   %10.2f +- %.2f %%\n", 100 * r->top1_agreement.value, 100 * r->top1_agreement.error);
}

/* The last part of a path: pages hold no absolute ones. */
static const char *last_part(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return path + begin;
}

static enum phy_status write_page(const struct eval_options *o, const struct phy_eval_result *result,
                                  const struct phy_text_ids *tokens, const struct phy_model_info *info,
                                  const struct phy_host *host)
{
    return phy_eval_write_html(&(struct phy_eval_page){
        .result = result,
        .tokenizer = tokens->tokenizer,
        .tokens = tokens->ids,
        .token_count = tokens->count,
        .model_name = last_part(o->model),
        .baseline_name = o->baseline ? last_part(o->baseline) : NULL,
        .device = info->device,
        .output = o->html,
        .host = host,
    });
}

static enum phy_status evaluate(const struct eval_options *o, const struct phy_host *host, bool json)
{
    struct phy_model_params baseline_params = {
        .device = o->device, .threads = (uint32_t)o->threads, .fallback_cpu = o->ffn.fallback != NULL, .host = host};
    struct phy_ffn_model model = {0};
    struct phy_model *baseline = NULL;
    struct phy_eval_result result = {0};
    struct phy_model_info info;
    struct phy_text_ids tokens = {0};
    struct phy_model_source source = {0}, baseline_source = {0};
    const char *const inputs[] = {o->model, o->baseline, o->ffn.store, o->text, o->ids};
    enum phy_status status =
        o->html ? phy_output_file_check(o->html, inputs, sizeof inputs / sizeof *inputs, host) : PHY_OK;
    if (status == PHY_OK)
        status = phy_model_source_open(&source, o->model, false, host);
    if (status == PHY_OK && o->baseline)
        status = phy_model_source_open(&baseline_source, o->baseline, false, host);
    if (status == PHY_OK)
        status = phy_text_ids_read(&tokens, source.path, o->text, o->ids, host);
    if (status == PHY_OK)
        status = phy_ffn_model_open(&model, &source, &o->ffn, o->device, (uint32_t)o->threads, host);
    baseline_params.follow_symlinks = baseline_source.memory != NULL;
    if (status == PHY_OK && o->baseline)
        status = phy_model_open(&baseline, baseline_source.path, &baseline_params);
    if (status == PHY_OK) {
        struct phy_eval_params params = {
            .model = model.model,
            .baseline = baseline,
            .tokens = tokens.ids,
            .token_count = tokens.count,
            .context = (uint32_t)o->context,
            .stride = (uint32_t)o->stride,
            .has_bos = tokens.has_bos,
            .bos = tokens.bos,
            .host = host,
        };
        status = phy_eval_run(&params, &result);
        phy_model_describe(model.model, &info); /* the device that it ended on */
    }
    if (status == PHY_OK && o->html)
        status = write_page(o, &result, &tokens, &info, host);
    if (status == PHY_OK && json)
        print_json(&result, &info, model.ffn);
    else if (status == PHY_OK)
        print_table(&result, &info, model.ffn);
    phy_eval_result_free(&result);
    phy_model_close(&baseline);
    phy_ffn_model_close(&model);
    phy_text_ids_free(&tokens);
    phy_model_source_close(&baseline_source);
    phy_model_source_close(&source);
    return status;
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    struct eval_options o = {0};
    size_t positional;
    int code;
    const struct phy_option options[] = {
        {.name = "--baseline", .kind = PHY_OPTION_NAME, .target = &o.baseline},
        {.name = "--text", .kind = PHY_OPTION_NAME, .target = &o.text},
        {.name = "--ids", .kind = PHY_OPTION_NAME, .target = &o.ids},
        {.name = "--ctx", .kind = PHY_OPTION_U64, .target = &o.context, .most = UINT32_MAX, .not_nothing = true},
        {.name = "--stride", .kind = PHY_OPTION_U64, .target = &o.stride, .most = UINT32_MAX, .not_nothing = true},
        {.name = "--html", .kind = PHY_OPTION_NAME, .target = &o.html},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &o.device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &o.threads, .most = PHY_MOST_THREADS},
        PHY_FFN_OPTION_ROWS(o.ffn),
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_eval, argc, argv, options, &common, &o.model, 1, &positional, &code))
        return code;
    if (positional != 1 || !o.text == !o.ids)
        return phy_usage_error("eval", "needs a model directory and one of --text and --ids");
    code = phy_ffn_options_check("eval", &o.ffn);
    if (code)
        return code;
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
    .help =
        "usage: physarium eval MODEL --text FILE [--baseline DIR] [OPTIONS]\n"
        "\n"
        "Perplexity of the model in directory MODEL (or of a GGUF file) on a text, in windows that each begin with an\n"
        "empty cache; with a baseline also KL(baseline || model) in bits over the whole vocabulary, its 99th\n"
        "percentile, and how often both name the same likeliest token. Every figure has its standard error.\n"
        "\n"
        "      --text FILE       UTF-8 text; - is standard input\n"
        "      --ids FILE        or token ids, little-endian uint32\n"
        "      --baseline DIR    the model to compare with, of the same vocabulary, with its own FFN\n"
        "      --ctx N           inputs of a window (default 256)\n"
        "      --stride N        tokens from window to window (default: windows do not overlap)\n"
        "      --html FILE       a page: KL by position, and the tokens where the models differ most\n"
        "      --device SPEC     cpu[:ref|:avx2|:avx512] (default: the best form) or vulkan[:N|:NAME][/FORM]; FORM:\n"
        "                        rows, lanes, subgroup, matrix, and +plain or +dot for int8 (default: its own)\n"
        "      --threads N       CPU threads (default: all processors)\n" PHY_FFN_OPTION_HELP
        "      --json            all figures as one object on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
