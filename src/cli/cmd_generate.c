/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffn_options.h"
#include "model_source.h"
#include "physarium/generate.h"

struct generate_options {
    const char *model, *prompt, *device;
    struct phy_ffn_options ffn;
    uint64_t count, threads, top_k, seed;
    double temperature, top_p;
    bool no_special, ignore_eos;
};

static bool print_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0;
}

struct text_buffer {
    char *text;
    size_t bytes;
};

static bool keep_text(void *user, const char *text, size_t bytes)
{
    struct text_buffer *buffer = user;
    char *grown = realloc(buffer->text, buffer->bytes + bytes + 1);
    if (!grown)
        return false;
    memcpy(grown + buffer->bytes, text, bytes);
    buffer->text = grown;
    buffer->bytes += bytes;
    grown[buffer->bytes] = 0;
    return true;
}

static double rate(double count, double seconds)
{
    return seconds > 0 ? count / seconds : 0;
}

static void print_json(const struct phy_generate_result *r, const char *text, size_t prompt_count,
                       const struct phy_ffn_model *model)
{
    struct phy_model_info info;
    phy_model_describe(model->model, &info);
    static const char *const ends[] = {
        [PHY_END_LENGTH] = "length", [PHY_END_EOS] = "eos", [PHY_END_STOPPED] = "stopped"};
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "schema", 1);
    cJSON_AddStringToObject(root, "text", text);
    cJSON *tokens = cJSON_AddArrayToObject(root, "tokens");
    for (size_t i = 0; i < r->count; i++)
        cJSON_AddItemToArray(tokens, cJSON_CreateNumber(r->tokens[i]));
    cJSON_AddStringToObject(root, "end", ends[r->end]);
    cJSON_AddStringToObject(root, "device", info.device);
    cJSON_AddStringToObject(root, "activations", info.activations);
    cJSON_AddNumberToObject(root, "prompt_tokens", (double)prompt_count);
    cJSON_AddNumberToObject(root, "prefill_seconds", r->prefill_seconds);
    cJSON_AddNumberToObject(root, "decode_seconds", r->decode_seconds);
    phy_ffn_add_json(root, model->ffn);
    char *printed = cJSON_Print(root);
    puts(printed ? printed : "{}");
    free(printed);
    cJSON_Delete(root);
}

static void print_speed(const struct phy_generate_result *r, size_t prompt_count, const struct phy_ffn_model *model)
{
    struct phy_model_info info;
    phy_model_describe(model->model, &info);
    fprintf(stderr, "prompt %zu tokens, %.1f tokens/s; %zu tokens, %.1f tokens/s, on %s%s\n", prompt_count,
            rate((double)prompt_count, r->prefill_seconds), r->count, rate((double)r->count - 1, r->decode_seconds),
            info.device, phy_activations_note(&info));
    if (!model->ffn)
        return;
    struct phy_ffn_info ffn;
    phy_ffn_describe(model->ffn, &ffn);
    phy_ffn_print(stderr, &ffn, info.layer_count);
    fprintf(stderr, ", %.3f GB read", (double)ffn.bytes_read / 1e9);
    if (ffn.features_visited)
        fprintf(stderr, ", %llu features visited, %llu of them skipped as zeros",
                (unsigned long long)ffn.features_visited, (unsigned long long)ffn.features_skipped);
    fputc('\n', stderr);
}

static enum phy_status generate(const struct generate_options *o, const struct phy_terminal *terminal, bool json,
                                bool quiet)
{
    const struct phy_host *host = &terminal->host;
    struct phy_ffn_model model = {0};
    struct phy_tokenizer *tokenizer = NULL;
    struct phy_session *session = NULL;
    struct phy_id_list prompt = {0};
    struct phy_generate_result result = {0};
    struct text_buffer buffer = {0};
    struct phy_model_source source;
    enum phy_status status = phy_model_source_open(&source, o->model, false, host);
    if (status == PHY_OK)
        status = phy_tokenizer_open(&tokenizer, source.path, &(struct phy_tokenizer_params){.host = host});
    if (status == PHY_OK)
        status = phy_tokenizer_encode(tokenizer, o->prompt, strlen(o->prompt),
                                      &(struct phy_encode_params){.no_special = o->no_special}, &prompt);
    if (status == PHY_OK)
        status = phy_ffn_model_open(&model, &source, &o->ffn, o->device, (uint32_t)o->threads, host);
    if (status == PHY_OK) {
        uint64_t positions = prompt.count + o->count;
        status = phy_session_create(&session, model.model, positions < UINT32_MAX ? (uint32_t)positions : UINT32_MAX);
    }
    if (status == PHY_OK) {
        struct phy_generate_params params = {
            .session = session,
            .tokenizer = tokenizer,
            .prompt = prompt.ids,
            .prompt_count = prompt.count,
            .max_tokens = (uint32_t)o->count,
            .ignore_eos = o->ignore_eos,
            .sampler = {o->temperature, (uint32_t)o->top_k, o->top_p, o->seed},
            .sink = json ? keep_text : print_text,
            .user = &buffer,
            .host = host,
        };
        status = phy_generate_run(&params, &result);
    }
    if (status == PHY_OK && json) {
        print_json(&result, buffer.text ? buffer.text : "", prompt.count, &model);
    } else if (status == PHY_OK) {
        putchar('\n');
        fflush(stdout); /* before what standard error says of it, where both are one file; errors stay in ferror */
        if (!quiet && result.count > 1)
            print_speed(&result, prompt.count, &model);
    }
    free(buffer.text);
    phy_generate_result_free(&result);
    phy_id_list_free(&prompt);
    phy_session_destroy(&session);
    phy_ffn_model_close(&model);
    phy_tokenizer_close(&tokenizer);
    phy_model_source_close(&source);
    return status;
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    struct generate_options o = {.count = 128};
    size_t positional;
    int code;
    const struct phy_option options[] = {
        {.name = "--prompt", .short_name = "-p", .kind = PHY_OPTION_TEXT, .target = &o.prompt},
        {.name = "--count",
         .short_name = "-n",
         .kind = PHY_OPTION_U64,
         .target = &o.count,
         .most = INT32_MAX,
         .not_nothing = true},
        {.name = "--temperature", .kind = PHY_OPTION_DOUBLE, .target = &o.temperature},
        {.name = "--top-k", .kind = PHY_OPTION_U64, .target = &o.top_k, .most = UINT32_MAX},
        {.name = "--top-p", .kind = PHY_OPTION_DOUBLE, .target = &o.top_p, .not_nothing = true},
        {.name = "--seed", .kind = PHY_OPTION_U64, .target = &o.seed},
        {.name = "--no-special", .kind = PHY_OPTION_FLAG, .target = &o.no_special},
        {.name = "--ignore-eos", .kind = PHY_OPTION_FLAG, .target = &o.ignore_eos},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &o.device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &o.threads, .most = PHY_MOST_THREADS},
        PHY_FFN_OPTION_ROWS(o.ffn),
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_generate, argc, argv, options, &common, &o.model, 1, &positional, &code))
        return code;
    if (positional != 1 || !o.prompt)
        return phy_usage_error("generate", "needs a model directory and -p PROMPT");
    code = phy_ffn_options_check("generate", &o.ffn);
    if (code)
        return code;
    struct phy_terminal terminal;
    phy_terminal_open(&terminal, common.quiet);
    code = phy_status_exit_code(generate(&o, &terminal, common.json, common.quiet));
    phy_terminal_close(&terminal);
    return phy_finish_stdout(code);
}

const struct phy_command cmd_generate = {
    .name = "generate",
    .run = run,
    .summary = "go on with a prompt",
    .help =
        "usage: physarium generate MODEL -p PROMPT [-n COUNT] [OPTIONS]\n"
        "\n"
        "Runs the model in directory MODEL, with its own tokenizer, and prints what follows the prompt as it comes.\n"
        "MODEL may also be a GGUF file: it is imported to memory first.\n"
        "\n"
        "  -p, --prompt TEXT     the prompt\n"
        "  -n, --count N         at most this many tokens (default 128)\n"
        "      --temperature T   0, the default, takes the likeliest token whatever the next three say; above it "
        "draws\n"
        "      --top-k N         draw from the N likeliest (default: all)\n"
        "      --top-p P         draw from the likeliest that together reach P (default 1)\n"
        "      --seed N          of the draws (default 0)\n"
        "      --no-special      leave out what the tokenizer's template adds, such as a BOS token\n"
        "      --ignore-eos      go on after an end-of-sequence token\n"
        "      --device SPEC     cpu[:ref|:avx2|:avx512] (default: the best form) or vulkan[:N|:NAME][/FORM]; FORM:\n"
        "                        rows, lanes, subgroup, matrix, and +plain or +dot for int8 (default: its own)\n"
        "      --threads N       CPU threads (default: all processors)\n" PHY_FFN_OPTION_HELP
        "      --json            text, tokens and times as one object on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
