/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int phy_usage_error(const char *command, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fprintf(stderr, "physarium%s%s: ", command ? " " : "", command ? command : "");
    phy_print_escaped(stderr, message);
    fputc('\n', stderr);
    return 2;
}

int phy_check_readable(const char *path)
{
    if (access(path, R_OK) == 0)
        return 0;
    int error = errno;
    phy_print_escaped(stderr, path);
    fprintf(stderr, ": %s\n", strerror(error));
    return 3;
}

int phy_finish_stdout(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "physarium: standard output: %s\n", strerror(errno));
    return code ? code : 3;
}

static bool parse_u64(const char *text, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == 0;
}

/* A count with an optional suffix K M G T, KiB .. TiB (1024) or KB .. TB (1000); K alone is 1024. */
static bool parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno)
        return false;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        bool decimal = strcmp(end + 1, "B") == 0;
        if (!decimal && end[1] != 0 && strcmp(end + 1, "iB") != 0)
            return false;
        for (const char *u = units; u <= unit; u++) {
            if (__builtin_mul_overflow(value, decimal ? UINT64_C(1000) : UINT64_C(1024), &value))
                return false;
        }
    } else if (*end) {
        return false;
    }
    *out = value;
    return true;
}

static bool parse_double(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && *end == 0 && errno == 0 && *out == *out && *out < 1e300 && *out > -1e300;
}

static bool in_range(const char *command, const struct phy_option *option, uint64_t value)
{
    if (option->most && value > option->most)
        phy_usage_error(command, "%s takes at most %llu, not %llu", option->name, (unsigned long long)option->most,
                        (unsigned long long)value);
    else if (option->not_nothing && value == 0)
        phy_usage_error(command, "%s 0: more than 0 is needed", option->name);
    else
        return true;
    return false;
}

static bool store_value(const char *command, const struct phy_option *option, const char *value)
{
    switch (option->kind) {
    case PHY_OPTION_NAME:
        if (!*value) {
            phy_usage_error(command, "the name after %s is empty", option->name);
            return false;
        }
        *(const char **)option->target = value;
        return true;
    case PHY_OPTION_TEXT:
        *(const char **)option->target = value;
        return true;
    case PHY_OPTION_LIST: {
        struct phy_text_list *list = option->target;
        const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        items[list->count++] = value;
        return true;
    }
    case PHY_OPTION_U64:
        if (parse_u64(value, option->target))
            return in_range(command, option, *(const uint64_t *)option->target);
        phy_usage_error(command, "%s takes a whole number, not '%.64s'", option->name, value);
        return false;
    case PHY_OPTION_BYTES:
        if (parse_bytes(value, option->target))
            return in_range(command, option, *(const uint64_t *)option->target);
        phy_usage_error(command, "%s takes a size such as 512M or 1GiB, not '%.64s'", option->name, value);
        return false;
    case PHY_OPTION_DOUBLE:
        if (parse_double(value, option->target))
            return in_range(command, option, *(const double *)option->target != 0);
        phy_usage_error(command, "%s takes a number, not '%.64s'", option->name, value);
        return false;
    default:
        return false;
    }
}

/* The option that argv's word names, or NULL; *value is what follows '=' or NULL. */
static const struct phy_option *find_option(const struct phy_option *options, const char *word, const char **value)
{
    size_t length = strcspn(word, "=");
    *value = word[length] == '=' ? word + length + 1 : NULL;
    for (const struct phy_option *o = options; o && o->name; o++) {
        if (strlen(o->name) == length && strncmp(o->name, word, length) == 0)
            return o;
        if (o->short_name && strcmp(o->short_name, word) == 0) {
            *value = NULL;
            return o;
        }
    }
    return NULL;
}

bool phy_parse_options(const struct phy_command *command, int argc, char **argv, const struct phy_option *options,
                       struct phy_common_options *common, const char **positional, size_t capacity,
                       size_t *positional_count, int *exit_code)
{
    const struct phy_option shared[] = {
        {.name = "--json", .kind = PHY_OPTION_FLAG, .target = &common->json},
        {.name = "--quiet", .short_name = "-q", .kind = PHY_OPTION_FLAG, .target = &common->quiet},
        {.name = NULL},
    };
    bool only_positional = false;
    *positional_count = 0;
    *exit_code = 2;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value;
        if (only_positional || word[0] != '-' || word[1] == 0) {
            if (*positional_count == capacity) {
                phy_usage_error(command->name, "unexpected argument '%.200s'", word);
                return false;
            }
            if (!*word) {
                phy_usage_error(command->name, "argument %zu is empty: a name is needed", *positional_count + 1);
                return false;
            }
            positional[(*positional_count)++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_positional = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            fputs(command->help, stdout);
            *exit_code = phy_finish_stdout(0);
            return false;
        }
        const struct phy_option *option = find_option(options, word, &value);
        const bool own = option != NULL;
        if (!own)
            option = find_option(shared, word, &value);
        if (!option) {
            phy_usage_error(command->name, "no option '%.64s'; physarium %s --help lists them", word, command->name);
            return false;
        }
        if (option->kind == PHY_OPTION_FLAG) {
            if (value) {
                phy_usage_error(command->name, "%s takes no value", option->name);
                return false;
            }
            *(bool *)option->target = true;
        } else {
            if (!value && i + 1 < argc)
                value = argv[++i];
            if (!value) {
                phy_usage_error(command->name, "%s needs a value", option->name);
                return false;
            }
            if (!store_value(command->name, option, value))
                return false;
        }
        if (option->seen)
            *option->seen = true;
        if (own)
            common->given |= UINT64_C(1) << (option - options);
    }
    return true;
}

int phy_refuse_other_options(const char *command, const char *part, const struct phy_option *options, uint64_t given,
                             const char *const *allowed)
{
    for (size_t i = 0; options[i].name; i++) {
        const char *const *known = allowed;
        while (*known && strcmp(*known, options[i].name) != 0)
            known++;
        if (given >> i & 1 && !*known)
            return phy_usage_error(command, "%s takes no %s", part, options[i].name);
    }
    return 0;
}
