/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ffn_options.h"
#include "model_source.h"
#include "physarium/model.h"

struct writer {
    FILE *file;
    size_t bytes;
};

static bool write_row(void *user, uint32_t position, const float *logits)
{
    struct writer *writer = user;
    (void)position;
    return fwrite(logits, 1, writer->bytes, writer->file) == writer->bytes;
}

/* Write to a file beside the output and rename it: the output is whole or not there. */
static int write_logits(struct phy_session *session, const uint32_t *ids, size_t count, size_t row_bytes,
                        const char *output)
{
    size_t length = strlen(output);
    char *partial = malloc(length + 32);
    if (!partial)
        return phy_status_exit_code(PHY_ERR_MEMORY);
    snprintf(partial, length + 32, "%s.partial-%ld", output, (long)getpid());
    struct writer writer = {.file = fopen(partial, "wbxe"), .bytes = row_bytes};
    int code = 3;
    if (!writer.file) {
        fprintf(stderr, "%s: %s\n", partial, strerror(errno));
    } else {
        enum phy_status status = phy_session_forward(session, ids, count, 0, write_row, &writer);
        bool failed = fflush(writer.file) != 0 || ferror(writer.file);
        failed |= fclose(writer.file) != 0;
        code = phy_status_exit_code(status);
        if (failed || (status == PHY_OK && rename(partial, output) != 0)) {
            fprintf(stderr, "%s: %s\n", output, strerror(errno));
            code = 3;
        }
        if (code)
            unlink(partial);
    }
    free(partial);
    return code;
}

static void print_json(size_t positions, const struct phy_ffn_model *model)
{
    struct phy_model_info info;
    phy_model_describe(model->model, &info);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "positions", (double)positions);
    cJSON_AddNumberToObject(root, "vocab_size", info.vocab_size);
    cJSON_AddStringToObject(root, "device", info.device);
    phy_ffn_add_json(root, model->ffn);
    char *text = cJSON_Print(root);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(root);
}

static int run(int argc, char **argv)
{
    struct phy_common_options common = {0};
    const char *directory = NULL, *ids_text = NULL, *output = NULL, *device = NULL;
    uint64_t threads = 0;
    struct phy_ffn_options ffn = {0};
    size_t positional, count = 0;
    int code;
    const struct phy_option options[] = {
        {.name = "--ids", .kind = PHY_OPTION_TEXT, .target = &ids_text},
        {.name = "--output", .short_name = "-o", .kind = PHY_OPTION_TEXT, .target = &output},
        {.name = "--device", .kind = PHY_OPTION_TEXT, .target = &device},
        {.name = "--threads", .kind = PHY_OPTION_U64, .target = &threads},
        PHY_FFN_OPTION_ROWS(ffn),
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_logits, argc, argv, options, &common, &directory, 1, &positional, &code))
        return code;
    if (positional != 1 || !ids_text || !output || threads > 4096)
        return phy_usage_error("logits", "needs a model directory, --ids and -o FILE; at most 4096 threads");
    code = phy_ffn_options_check("logits", &ffn);
    if (code)
        return code;
    uint32_t *ids = malloc((strlen(ids_text) / 2 + 1) * sizeof *ids);
    if (!ids || !phy_parse_ids(ids_text, ids, &count) || count == 0) {
        free(ids);
        return phy_usage_error("logits", "--ids takes numbers with commas between, not '%.64s'", ids_text);
    }
    struct phy_terminal terminal;
    struct phy_ffn_model model = {0};
    struct phy_session *session = NULL;
    phy_terminal_open(&terminal, common.quiet);
    struct phy_model_source source;
    enum phy_status status = phy_model_source_open(&source, directory, false, &terminal.host);
    if (status == PHY_OK)
        status = phy_ffn_model_open(&model, &source, &ffn, device, (uint32_t)threads, &terminal.host);
    if (status == PHY_OK)
        status = phy_session_create(&session, model.model, (uint32_t)count);
    code = phy_status_exit_code(status);
    if (status == PHY_OK) {
        struct phy_model_info info;
        phy_model_describe(model.model, &info);
        code = write_logits(session, ids, count, info.vocab_size * sizeof(float), output);
        if (code == 0 && common.json)
            print_json(count, &model);
    }
    phy_session_destroy(&session);
    phy_ffn_model_close(&model);
    phy_model_source_close(&source);
    phy_terminal_close(&terminal);
    free(ids);
    return phy_finish_stdout(code);
}

const struct phy_command cmd_logits = {
    .name = "logits",
    .run = run,
    .summary = "logits of token ids, as float32",
    .help =
        "usage: physarium logits MODEL --ids 504,3575,282 -o FILE [OPTIONS]\n"
        "\n"
        "Runs the model in directory MODEL, or of a GGUF file, over the token ids and writes the logits that follow\n"
        "each of them: little-endian float32, (positions, vocabulary), no header.\n"
        "\n"
        "      --ids N,N,...     token ids\n"
        "  -o, --output FILE     written beside and renamed\n"
        "      --device SPEC     cpu[:ref|:avx2|:avx512] (default: the best form) or vulkan[:N|:NAME]\n"
        "      --threads N       CPU threads (default: all processors)\n" PHY_FFN_OPTION_HELP
        "      --json            a summary on stdout\n"
        "  -q, --quiet           errors and warnings only\n",
};
