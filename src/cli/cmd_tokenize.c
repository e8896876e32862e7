/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "model_source.h"
#include "physarium/physarium.h"

struct request {
    const char *prompt, *file, *decode;
    bool no_special, special_as_text;
    struct phy_common_options common;
};

/* ---- printing ---- */

static void print_ids(const struct phy_id_list *list, const char *separator)
{
    for (size_t i = 0; i < list->count; i++)
        printf("%s%" PRIu32, i ? separator : "", list->ids[i]);
}

static void print_json(const struct phy_tokenizer *tokenizer, const struct phy_id_list *list)
{
    fputs("{\"ids\": [", stdout);
    print_ids(list, ", ");
    fputs("], \"pieces\": [", stdout);
    for (size_t i = 0; i < list->count; i++) {
        size_t bytes;
        const char *piece = phy_tokenizer_piece(tokenizer, list->ids[i], &bytes);
        fputs(i ? ", " : "", stdout);
        phy_print_json_string(piece, bytes);
    }
    fputs("]}\n", stdout);
}

static void print_decoded_json(const struct phy_decoded *text, const struct phy_decoded *raw)
{
    fputs("{\"text\": ", stdout);
    phy_print_json_string(text->text, text->bytes);
    fputs(", \"bytes_hex\": \"", stdout);
    for (size_t i = 0; i < raw->bytes; i++)
        printf("%02x", (unsigned char)raw->text[i]);
    fputs("\"}\n", stdout);
}

/* ---- work ---- */

/* An id that no token has would be left out of the text without a word. */
static enum phy_status check_ids(const struct phy_tokenizer *tokenizer, const char *path, const uint32_t *ids,
                                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        if (phy_tokenizer_piece(tokenizer, ids[i], &bytes))
            continue;
        fputs("physarium: ", stderr);
        phy_print_escaped(stderr, path);
        fprintf(stderr, ": no token has the id %" PRIu32 "; the largest is %" PRIu32 "\n", ids[i],
                phy_tokenizer_id_limit(tokenizer) - 1);
        return PHY_ERR_USAGE;
    }
    return PHY_OK;
}

static enum phy_status decode(const struct phy_tokenizer *tokenizer, const struct request *r, const uint32_t *ids,
                              size_t count)
{
    struct phy_decode_params params = {.skip_special = r->no_special, .raw_bytes = true};
    struct phy_decoded raw = {0}, text = {0};
    enum phy_status status = phy_tokenizer_decode(tokenizer, ids, count, &params, &raw);
    params.raw_bytes = false;
    if (status == PHY_OK && r->common.json)
        status = phy_tokenizer_decode(tokenizer, ids, count, &params, &text);
    if (status == PHY_OK && r->common.json)
        print_decoded_json(&text, &raw);
    else if (status == PHY_OK)
        fwrite(raw.text, 1, raw.bytes, stdout);
    phy_decoded_free(&raw);
    phy_decoded_free(&text);
    return status;
}

static enum phy_status encode(const struct phy_tokenizer *tokenizer, const struct request *r, const char *text,
                              size_t bytes)
{
    const struct phy_encode_params params = {.no_special = r->no_special,
                                             .special_as_text = r->special_as_text,
                                             .name = r->file ? phy_file_name(r->file) : NULL};
    struct phy_id_list list;
    enum phy_status status = phy_tokenizer_encode(tokenizer, text, bytes, &params, &list);
    if (status == PHY_OK && r->common.json) {
        print_json(tokenizer, &list);
    } else if (status == PHY_OK) {
        print_ids(&list, " ");
        putchar('\n');
    }
    phy_id_list_free(&list);
    return status;
}

static int run_with(const char *path, const struct request *r, const char *text, size_t bytes, const uint32_t *ids)
{
    struct phy_terminal terminal;
    struct phy_model_source source;
    struct phy_tokenizer *tokenizer = NULL;
    phy_terminal_open(&terminal, r->common.quiet);
    const struct phy_tokenizer_params params = {.host = &terminal.host};
    enum phy_status status = phy_model_source_open(&source, path, true, &terminal.host);
    if (status == PHY_OK)
        status = phy_tokenizer_open(&tokenizer, source.path, &params);
    if (status == PHY_OK && ids)
        status = check_ids(tokenizer, path, ids, bytes);
    if (status == PHY_OK)
        status = ids ? decode(tokenizer, r, ids, bytes) : encode(tokenizer, r, text, bytes);
    phy_tokenizer_close(&tokenizer);
    phy_model_source_close(&source);
    phy_terminal_close(&terminal);
    return phy_finish_stdout(phy_status_exit_code(status));
}

static int run_decode(const char *path, const struct request *r)
{
    size_t count = 1;
    for (const char *c = r->decode; *c; c++)
        count += *c == ',';
    uint32_t *ids = malloc(count * sizeof *ids);
    if (!ids)
        return phy_status_exit_code(PHY_ERR_MEMORY);
    int code = phy_parse_ids(r->decode, ids, &count)
                   ? run_with(path, r, NULL, count, ids)
                   : phy_usage_error("tokenize", "--decode takes ids with commas between, not '%.64s'", r->decode);
    free(ids);
    return code;
}

static int run(int argc, char **argv)
{
    struct request r = {0};
    const char *path;
    size_t count;
    int code;
    const struct phy_option options[] = {
        {.name = "--prompt", .short_name = "-p", .kind = PHY_OPTION_TEXT, .target = &r.prompt},
        {.name = "--file", .short_name = "-f", .kind = PHY_OPTION_NAME, .target = &r.file},
        {.name = "--decode", .kind = PHY_OPTION_TEXT, .target = &r.decode},
        {.name = "--no-special", .kind = PHY_OPTION_FLAG, .target = &r.no_special},
        {.name = "--special-as-text", .kind = PHY_OPTION_FLAG, .target = &r.special_as_text},
        {.name = NULL},
    };
    if (!phy_parse_options(&cmd_tokenize, argc, argv, options, &r.common, &path, 1, &count, &code))
        return code;
    if (count != 1)
        return phy_usage_error("tokenize", "a directory or a tokenizer.json is needed");
    if ((r.prompt != NULL) + (r.file != NULL) + (r.decode != NULL) != 1)
        return phy_usage_error("tokenize", "one of -p TEXT, --file FILE and --decode IDS is needed");
    if (r.decode)
        return run_decode(path, &r);
    if (r.prompt)
        return run_with(path, &r, r.prompt, strlen(r.prompt), NULL);
    char *text;
    size_t bytes;
    if (!phy_read_file(r.file, &text, &bytes)) {
        int error = errno;
        fputs("physarium: ", stderr);
        phy_print_escaped(stderr, r.file);
        fprintf(stderr, ": %s\n", strerror(error));
        return phy_status_exit_code(error == ENOMEM ? PHY_ERR_MEMORY : PHY_ERR_IO);
    }
    code = run_with(path, &r, text, bytes, NULL);
    free(text);
    return code;
}

const struct phy_command cmd_tokenize = {
    .name = "tokenize",
    .run = run,
    .summary = "text to token ids and back, by a model's tokenizer.json",
    .help = "usage: physarium tokenize DIR (-p TEXT | --file FILE | --decode IDS) [OPTIONS]\n"
            "\n"
            "Print the ids of a text on one line, or the bytes of ids. DIR is a model's directory, its\n"
            "tokenizer.json, or a GGUF file.\n"
            "\n"
            "  -p, --prompt TEXT    the text\n"
            "  -f, --file FILE      the text is a file's; - is standard input\n"
            "      --decode IDS     ids with commas between; their bytes are printed as they are\n"
            "      --no-special     add no special tokens; with --decode, leave them out\n"
            "      --special-as-text  special tokens that are written in the text are text like any other\n"
            "      --json           ids and pieces; with --decode, text and bytes in hexadecimal\n"
            "  -q, --quiet          errors and warnings only\n",
};
