/* SPDX-License-Identifier: Apache-2.0 */
/* An output that appears by one rename (docs/checkpoint-rules.md, W2 and W5 to W7).
 *
 * Everything is written in `.<name>.physarium-partial/` beside the output and renamed into place at the end:
 *
 *   directory output                        file output
 *   .<name>.physarium-partial/              .<name>.physarium-partial/
 *       model.safetensors ... (sidecars)        <name>
 *       physarium/  -> OUT/physarium/           physarium/  -> OUT.physarium/, renamed just before the file
 *           journal    removed before the rename
 *
 * Order of calls: check, begin, [clear], work, publish, close. Two runs on one output cannot both get past begin. */
#ifndef PHY_SURGERY_OUTPUT_DIR_H
#define PHY_SURGERY_OUTPUT_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "physarium/host.h"

#define PHY_OUTPUT_REPORTS "physarium"
#define PHY_OUTPUT_JOURNAL "journal" /* in the reports' directory */
#define PHY_OUTPUT_JOURNAL_PATH PHY_OUTPUT_REPORTS "/" PHY_OUTPUT_JOURNAL

/* What force may replace: what stands where an output of this kind goes, and nothing else. */
struct phy_output_kind {
    const char *name;               /* "checkpoint": something else that is there "is no checkpoint" */
    const char *replaced;           /* what that is: the end of "--force replaces only ..." */
    const char *file_ending;        /* regular files that are named so, as ".gguf"; NULL: none */
    bool (*is_of_kind)(int dir_fd); /* directories; NULL: none */
};
/* What surgery writes: a directory with model.safetensors or its index, or a regular .safetensors file. */
extern const struct phy_output_kind phy_output_checkpoint;
bool phy_output_is_checkpoint(int dir_fd);

struct phy_output_params {
    const char *path;                   /* as given; trailing slashes are allowed for a directory */
    bool single_file;                   /* a file is to appear, not a directory */
    bool force;                         /* what is of that kind may be replaced */
    bool without_reports;               /* there is to be no physarium/ in it, or beside it */
    const struct phy_output_kind *kind; /* NULL: phy_output_checkpoint */
    const char *const *protect;         /* paths of what is read: the output may not be, hold or lie in any of them */
    size_t protect_count;
    /* Ends the message of a failed write of what is resumable: "--resume goes on from here"; or NULL. */
    const char *advice;
    /* Whether the run makes this entry of the partial directory, a regular file or a directory: "ffn-00001.bin",
     * "physarium/run.json". NULL: nobody asks. */
    bool (*makes)(const void *user, const char *path, bool is_directory);
    const void *user;
    const struct phy_host *host;
};

/* Files without a directory: memfds, which end with the process however it ends. */
enum { PHY_MEMORY_FILES = 8, PHY_MEMORY_NAME_BYTES = 64 };
struct phy_memory_files {
    struct {
        char name[PHY_MEMORY_NAME_BYTES];
        int fd;
    } files[PHY_MEMORY_FILES];
    size_t count;
};

struct phy_output {
    struct phy_output_params params;
    struct phy_memory_files *memory; /* not NULL: files are made here, and only open_file, fail and close do anything */
    char *path;                      /* params.path without trailing slashes */
    const char *name;                /* its last part */
    char *partial_name;              /* ".<name>.physarium-partial" */
    char *partial_path;              /* the same beside the output, as a path to open */
    char *reports_name;              /* file outputs: "<name>.physarium" */
    bool exists;                     /* something has the output's name */
    bool found_partial;              /* begin found the partial directory of an earlier run */
    bool resumable;                  /* set by the caller, once the journal says who the run is */
    int parent_fd, partial_fd, reports_fd, journal_fd; /* -1 when not open */
};

/* Every refusal of W2 that needs nothing written. On failure *out is closed.
 *   PHY_ERR_USAGE   the output is, holds or lies in what is read, or its folder is missing
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_output_check(struct phy_output *out, const struct phy_output_params *params);
/* An output whose files are made in *memory, which is the caller's to close. PHY_ERR_MEMORY. */
enum phy_status phy_output_in_memory(struct phy_output *out, struct phy_memory_files *memory, const char *label,
                                     const struct phy_host *host);
void phy_memory_files_close(struct phy_memory_files *memory);
/* An output that exists: refused without force, and with it if it is of another kind.
 *   PHY_ERR_USAGE */
enum phy_status phy_output_check_existing(const struct phy_output *out);
/* Whether force replaces, or would replace, what has the output's name. */
bool phy_output_replaceable(const struct phy_output *out);
/* Refuse an existing output without force, then make the partial directory, or find it, and lock it.
 *   PHY_ERR_USAGE  the output exists, or another run is at work on it
 *   PHY_ERR_IO */
enum phy_status phy_output_begin(struct phy_output *out);
/* Empty a partial directory that was found; the journal stays, with no bytes in it. */
enum phy_status phy_output_clear(struct phy_output *out);
/* With a partial directory that was found: an entry that the run does not make, or that is a link, a pipe or the like,
 * is refused by its name. Publish asks again.
 *   PHY_ERR_USAGE, PHY_ERR_IO */
enum phy_status phy_output_check_entries(const struct phy_output *out);
/* W6: `bytes` and 64 MiB must be free. Bytes that the partial directory holds already are not to be counted. */
enum phy_status phy_output_check_space(const struct phy_output *out, uint64_t bytes);
/* Open a file of the partial directory for reading and writing, made if it is not there. Unless `bytes` is 0 it is to
 * have so many: it is given their space at once, where the file system can, and what is behind them is cut off. */
enum phy_status phy_output_open_file(const struct phy_output *out, const char *name, uint64_t bytes, int *fd);
/* The one sentence for a failed write, fsync or close of `name`. PHY_ERR_IO. */
enum phy_status phy_output_fail(const struct phy_output *out, const char *name, int error);
/* Remove the journal, rename everything to its final name, and delete what was replaced. The caller has fsynced what it
 * wrote.
 *   PHY_ERR_USAGE  something took the output's name meanwhile, or is in the partial directory and not ours
 *   PHY_ERR_IO */
enum phy_status phy_output_publish(struct phy_output *out);
/* Delete the partial directory: nothing in it can be of use. Errors are ignored. */
void phy_output_discard(struct phy_output *out);
/* Releases the lock; the partial directory stays unless it was published or discarded. */
void phy_output_close(struct phy_output *out);

#endif
