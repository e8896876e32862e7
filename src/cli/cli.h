/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: the table, option parsing, and the terminal as a phy_host. */
#ifndef PHY_CLI_CLI_H
#define PHY_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "physarium/host.h"
#include "physarium/targets.h"

/* A command returns the exit code. argv[0] is the command's name. */
struct phy_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* one line for `physarium --help` */
    const char *help;    /* whole text of `physarium NAME --help` */
};

extern const struct phy_command cmd_inspect, cmd_import, cmd_surgery, cmd_coverage, cmd_devices;
extern const struct phy_command cmd_audit;
extern const struct phy_command cmd_tokenize, cmd_generate, cmd_logits, cmd_eval, cmd_calibrate;
extern const struct phy_command cmd_quantize, cmd_export;
extern const struct phy_command cmd_bench;

/* ---- options ---- */

enum phy_option_kind {
    PHY_OPTION_FLAG,
    PHY_OPTION_TEXT,
    PHY_OPTION_NAME, /* a text, of a file or directory: not empty */
    PHY_OPTION_LIST,
    PHY_OPTION_U64,
    PHY_OPTION_BYTES,
    PHY_OPTION_DOUBLE
};

/* One option. `target` points to bool, const char *, const char *, struct phy_text_list, uint64_t, uint64_t, double. */
struct phy_option {
    const char *name;       /* "--gain" */
    const char *short_name; /* "-o" or NULL */
    enum phy_option_kind kind;
    void *target;
    bool *seen;       /* set when the option is given; or NULL */
    uint64_t most;    /* of numbers and sizes; 0: any */
    bool not_nothing; /* 0 is refused: in `target` it means that the option was not given */
};

enum { PHY_MOST_THREADS = 4096 };

struct phy_text_list {
    const char **items; /* points into argv; free(items) */
    size_t count;
};

/* Options every command takes: --json --quiet --help. */
struct phy_common_options {
    bool json, quiet;
    uint64_t given; /* bit i: the i-th of the command's own options was given, of at most 64 */
};

/* Parse argv[1..]. `options` ends with a NULL name. Positional arguments, which are names and not empty, go to
 * `positional` (capacity entries) and their number to *positional_count; "--" ends the options; "--name=value" and
 * "--name value" are the same. Returns true to go on; false when the command must return *exit_code now (help was
 * printed, or usage is wrong: 2). */
bool phy_parse_options(const struct phy_command *command, int argc, char **argv, const struct phy_option *options,
                       struct phy_common_options *common, const char **positional, size_t capacity,
                       size_t *positional_count, int *exit_code);

/* A part of a command, such as "compare", takes the options of `allowed` (NULL at the end) alone: 0, or 2 and a
 * sentence that names another one that was given. */
int phy_refuse_other_options(const char *command, const char *part, const struct phy_option *options, uint64_t given,
                             const char *const *allowed);

/* ---- what is read ---- */

/* The whole of a file, or of standard input for "-", free(*text); false with errno set. */
bool phy_read_file(const char *path, char **text, size_t *bytes);

/* What to call it in a sentence. */
const char *phy_file_name(const char *path);

/* "1,2,3" to ids; false when it is anything else. `ids` has room for every comma and one more. */
bool phy_parse_ids(const char *text, uint32_t *ids, size_t *count);

/* "3" or "3-7" to a range of layers; false when it is anything else. */
bool phy_parse_layers(const char *text, struct phy_target_params *targets);

/* ---- the terminal ---- */

/* Errors and warnings to stderr; notes and progress too unless quiet: a bar with rate and ETA on a terminal, plain
 * lines elsewhere. SIGINT and SIGTERM make `cancelled` true, a second one exits at once. One at a time in a process. */
struct phy_terminal {
    struct phy_host host;
};
void phy_terminal_open(struct phy_terminal *terminal, bool quiet);
/* Ends the progress line. */
void phy_terminal_close(struct phy_terminal *terminal);

/* "physarium: <message>" to stderr and exit code 2. */
int phy_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 0, or a sentence to stderr and exit code 3: an input that is told by its name must be there before the work begins.
 */
int phy_check_readable(const char *path);

/* A path, or any text that a user or a file gave, as lines of the log show it: escaped by rule E3
 * (docs/checkpoint-rules.md) but for quotes and backslashes, whole and without quotes around it. */
void phy_print_escaped(FILE *to, const char *text);

/* A JSON string on stdout, in ASCII only, so that no character of a name can do anything to a terminal or a log; what
 * is not UTF-8 becomes U+FFFD. */
void phy_print_json_string(const char *text, size_t bytes);

/* Flush stdout; returns `code`, or 3 with a sentence when the output could not be written. */
int phy_finish_stdout(int code);

#endif
