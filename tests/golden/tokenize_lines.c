/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer for scripts: tokenize_lines TOKENIZER.json < requests. A request is a line:
 *   e HEX    the ids of a text     E HEX    without special tokens     t HEX    without, special tokens as text
 *   d IDS    the text of ids in hexadecimal, ids with spaces between   D IDS    without special tokens
 * Each answer is one line. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "physarium/physarium.h"

static void print_line(void *user, enum phy_log_level level, const char *line)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static enum phy_status encode(const struct phy_tokenizer *t, char kind, char *hex)
{
    const struct phy_encode_params params = {.no_special = kind != 'e', .special_as_text = kind == 't'};
    size_t bytes = strlen(hex) / 2;
    struct phy_id_list list;
    for (size_t i = 0; i < bytes; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        hex[i] = (char)strtoul(digits, NULL, 16);
    }
    enum phy_status status = phy_tokenizer_encode(t, hex, bytes, &params, &list);
    for (size_t i = 0; i < list.count; i++)
        printf(i ? " %u" : "%u", list.ids[i]);
    phy_id_list_free(&list);
    return status;
}

static enum phy_status decode(const struct phy_tokenizer *t, char kind, const char *text)
{
    const struct phy_decode_params params = {.skip_special = kind == 'D'};
    uint32_t *ids = malloc((strlen(text) / 2 + 1) * sizeof *ids);
    size_t count = 0;
    struct phy_decoded decoded;
    for (char *end; ids && *text; text = end) {
        ids[count++] = (uint32_t)strtoul(text, &end, 10);
        end += strspn(end, " ");
    }
    enum phy_status status = phy_tokenizer_decode(t, ids, count, &params, &decoded);
    for (size_t i = 0; i < decoded.bytes; i++)
        printf("%02x", (unsigned char)decoded.text[i]);
    phy_decoded_free(&decoded);
    free(ids);
    return status;
}

int main(int argc, char **argv)
{
    const struct phy_host host = {.log = print_line};
    const struct phy_tokenizer_params params = {.host = &host};
    struct phy_tokenizer *t;
    char *line = NULL;
    size_t capacity = 0;
    enum phy_status status = argc == 2 ? phy_tokenizer_open(&t, argv[1], &params) : PHY_ERR_USAGE;
    while (status == PHY_OK && getline(&line, &capacity, stdin) > 2) {
        line[strcspn(line, "\n")] = 0;
        status = line[0] == 'd' || line[0] == 'D' ? decode(t, line[0], line + 2) : encode(t, line[0], line + 2);
        putchar('\n');
    }
    free(line);
    if (argc == 2)
        phy_tokenizer_close(&t);
    return phy_status_exit_code(status);
}
