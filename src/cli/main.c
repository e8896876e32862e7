/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "physarium/physarium.h"

/* One line for each command; NULL ends the table. */
static const struct phy_command *const commands[] = {
    &cmd_devices, &cmd_inspect,   &cmd_import,   &cmd_surgery, &cmd_coverage, &cmd_tokenize, &cmd_generate, &cmd_logits,
    &cmd_eval,    &cmd_calibrate, &cmd_quantize, &cmd_export,  &cmd_audit,    &cmd_bench,    NULL,
};

static void print_help(FILE *to)
{
    fputs("usage: physarium COMMAND [ARGUMENTS]\n\n", to);
    for (size_t i = 0; commands[i]; i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nphysarium COMMAND --help describes a command; physarium --version prints the version.\n", to);
}

/* A standard stream that was closed would be the next file that is opened: a progress line would then land in weights.
 * It gets a descriptor that cannot do what is asked of it, so that errors are what they would have been. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(3);
    }
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then EFBIG from write, which has its sentence */
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return phy_finish_stdout(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("physarium %s\n", phy_version());
        return phy_finish_stdout(0);
    }
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(argc - 1, argv + 1);
    }
    return phy_usage_error(NULL, "no command '%.64s'; physarium --help lists them", argv[1]);
}
