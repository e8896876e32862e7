/* SPDX-License-Identifier: Apache-2.0 */
/* Import: open and check the file, understand all of it, and only then write. */
#define _GNU_SOURCE
#include "physarium/import.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "import/import_files.h"
#include "import/weights.h"
#include "physarium/checkpoint.h"

#define SHARD_BYTES UINT64_C(5000000000)
/* Room for the small files beside the weights; tokenizer.json is at most a few times its keys. */
#define SIDECAR_BYTES UINT64_C(67108864)

struct import_run {
    const struct phy_import_params *params;
    const struct phy_host *host;
    const char *file; /* the input as it was given, which is how messages name it */
    int fd;
    struct stat seen;
    struct phy_gguf *gguf;
    struct import_model model;
    struct import_token_ids ids;
    struct import_tokenizer *tokenizer;
    struct import_layout layout;
};

static enum phy_status open_input(struct import_run *run)
{
    run->fd = open(run->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (run->fd < 0 || fstat(run->fd, &run->seen) != 0)
        return phy_fail(run->host, PHY_ERR_IO, "%s: %s", run->file, strerror(errno));
    if (S_ISDIR(run->seen.st_mode))
        return phy_fail(run->host, PHY_ERR_FORMAT, "%s: a directory, not a GGUF file", run->file);
    if (!S_ISREG(run->seen.st_mode))
        return phy_fail(run->host, PHY_ERR_FORMAT, "%s: not a regular file", run->file);
    struct phy_gguf_source source = phy_gguf_source_fd(run->fd, (uint64_t)run->seen.st_size);
    return phy_gguf_open(&run->gguf, &source, run->file, run->host);
}

static enum phy_status understand(struct import_run *run)
{
    run->model.gguf = run->gguf;
    run->model.host = run->host;
    enum phy_status status = phy_import_read_keys(&run->model);
    if (!status)
        status = phy_import_plan_tensors(&run->model);
    if (!status)
        status = phy_import_tokenizer_read(&run->tokenizer, &run->model, &run->ids);
    uint64_t shard_bytes = run->params->shard_bytes ? run->params->shard_bytes : SHARD_BYTES;
    return status ? status : phy_import_lay_out(&run->model, shard_bytes, &run->layout);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* W1: what was written is what one state of the file said. */
static enum phy_status check_unchanged(const struct import_run *run)
{
    struct stat now, there;
    bool same = fstat(run->fd, &now) == 0 && stat(run->file, &there) == 0 && now.st_size == run->seen.st_size &&
                same_time(now.st_mtim, run->seen.st_mtim) && there.st_ino == run->seen.st_ino &&
                there.st_dev == run->seen.st_dev;
    return same ? PHY_OK
                : phy_fail(run->host, PHY_ERR_IO, "%s: the file changed while it was read; nothing is kept", run->file);
}

/* ---- writing ---- */

static const struct phy_output_kind checkpoint_directory = {
    .name = "checkpoint directory",
    .replaced = "a directory with model.safetensors or its index",
    .is_of_kind = phy_output_is_checkpoint,
};

typedef int write_file(const struct import_run *run, int fd);

static int write_tokenizer(const struct import_run *run, int fd)
{
    return phy_import_write_tokenizer(run->tokenizer, fd);
}

static int write_tokenizer_config(const struct import_run *run, int fd)
{
    return phy_import_write_tokenizer_config(run->tokenizer, &run->ids, fd);
}

static enum phy_status write_one(const struct import_run *run, const struct phy_output *output, const char *name,
                                 write_file *write)
{
    int fd;
    enum phy_status status = phy_output_open_file(output, name, 0, &fd);
    if (status)
        return status;
    int error = write(run, fd);
    if (!error)
        error = phy_fsync(fd);
    int closed = phy_close(fd);
    error = error ? error : closed;
    if (error == ENOMEM)
        return phy_fail_memory(run->host, name, 0);
    return error ? phy_output_fail(output, name, error) : PHY_OK;
}

static enum phy_status write_configs(const struct import_run *run, const struct phy_output *output)
{
    char *text;
    enum phy_status status = phy_import_config(&run->model, &run->ids, &text);
    if (!status) {
        status = phy_import_write_text(output, "config.json", text);
        cJSON_free(text);
    }
    if (!status)
        status = phy_import_generation_config(&run->model, &run->ids, &text);
    if (!status) {
        status = phy_import_write_text(output, "generation_config.json", text);
        cJSON_free(text);
    }
    if (!status && run->tokenizer)
        status = write_one(run, output, "tokenizer.json", write_tokenizer);
    if (!status && run->tokenizer)
        status = write_one(run, output, "tokenizer_config.json", write_tokenizer_config);
    return status;
}

/* W7: our own reader must accept what we wrote. Its complaint would be ours. */
static enum phy_status read_back(const struct import_run *run, const struct phy_output *output)
{
    struct phy_checkpoint *written;
    enum phy_status status =
        phy_checkpoint_open(&written, output->partial_path, &(struct phy_checkpoint_params){.host = run->host});
    if (status)
        return status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ? PHY_ERR_INTERNAL : status;
    bool complete = phy_checkpoint_tensor_count(written) == run->model.tensor_count;
    phy_checkpoint_close(&written);
    return complete ? PHY_OK
                    : phy_fail(run->host, PHY_ERR_INTERNAL, "%s: the output lacks tensors", output->partial_path);
}

/* A partial directory was there before us. An import leaves nothing to go on from, a surgery does: its journal says so.
 */
static enum phy_status take_over(const struct import_run *run, struct phy_output *output)
{
    struct stat journal;
    if (fstat(output->journal_fd, &journal) != 0)
        return phy_output_fail(output, PHY_OUTPUT_JOURNAL_PATH, errno);
    if (journal.st_size > 0 && !run->params->force)
        return phy_fail(run->host, PHY_ERR_USAGE, "%s holds unfinished work of another command; --force discards it",
                        output->partial_path);
    return phy_output_clear(output);
}

static enum phy_status write_all(const struct import_run *run, struct phy_output *output)
{
    enum phy_status status = phy_output_begin(output);
    if (status)
        return status;
    if (output->found_partial)
        status = take_over(run, output);
    if (status)
        return status;
    status = phy_output_check_space(output, run->layout.weight_bytes + SIDECAR_BYTES);
    if (!status)
        status = write_configs(run, output);
    if (!status)
        status = phy_import_write_weights(&run->model, &run->layout, output);
    if (!status)
        status = check_unchanged(run);
    if (!status)
        status = read_back(run, output);
    if (!status)
        status = phy_output_publish(output);
    if (status)
        phy_output_discard(output);
    return status;
}

static void fill_result(const struct import_run *run, double seconds, struct phy_import_result *out)
{
    *out = (struct phy_import_result){.tensor_count = run->model.tensor_count,
                                      .element_count = run->layout.element_count,
                                      .weight_bytes = run->layout.weight_bytes,
                                      .shard_count = run->layout.shard_count,
                                      .token_count = phy_import_token_count(run->tokenizer),
                                      .seconds = seconds};
    snprintf(out->architecture, sizeof out->architecture, "%s", run->model.architecture->name);
}

static void close_run(struct import_run *run)
{
    phy_import_tokenizer_free(&run->tokenizer);
    phy_free(run->model.tensors);
    phy_free(run->model.sliding_layers);
    phy_gguf_close(&run->gguf);
    if (run->fd >= 0)
        close(run->fd);
}

enum phy_status phy_import_run(const struct phy_import_params *params, struct phy_import_result *result)
{
    struct import_run run = {.params = params, .host = params->host, .file = params->input, .fd = -1};
    struct phy_output output;
    double started = phy_seconds_now();
    if (!params->input || !params->output)
        return phy_fail(params->host, PHY_ERR_USAGE, "import needs an input and an output");
    enum phy_status status = open_input(&run);
    if (!status)
        status = understand(&run);
    if (!status) {
        status = phy_output_check(&output, &(struct phy_output_params){.path = params->output,
                                                                       .force = params->force,
                                                                       .without_reports = true,
                                                                       .kind = &checkpoint_directory,
                                                                       .protect = &params->input,
                                                                       .protect_count = 1,
                                                                       .host = params->host});
        if (!status) {
            status = write_all(&run, &output);
            phy_output_close(&output);
        }
    }
    if (!status && result)
        fill_result(&run, phy_seconds_now() - started, result);
    close_run(&run);
    return status;
}

/* ---- in memory ---- */

struct phy_memory_import {
    struct phy_memory_files files;
    char *directory; /* holds a link to each file; NULL until made */
};

/* What the system could give without swapping, or UINT64_MAX where it does not tell. */
static uint64_t available_bytes(void)
{
    char line[128];
    unsigned long long kib;
    uint64_t found = UINT64_MAX;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && found == UINT64_MAX && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            found = (uint64_t)kib * 1024;
    }
    if (file)
        fclose(file);
    return found;
}

static enum phy_status fill_memory(const struct import_run *run, struct phy_memory_import *import, bool without_weights)
{
    struct phy_output output;
    const uint64_t needed = without_weights ? SIDECAR_BYTES : run->layout.weight_bytes + SIDECAR_BYTES;
    const uint64_t available = available_bytes();
    if (needed > available)
        return phy_fail(run->host, PHY_ERR_MEMORY,
                        "%s: %llu bytes of memory are needed, %llu are available; physarium import makes a directory",
                        run->file, (unsigned long long)needed, (unsigned long long)available);
    enum phy_status status = phy_output_in_memory(&output, &import->files, run->file, run->host);
    if (status)
        return status;
    status = write_configs(run, &output);
    if (!status && !without_weights)
        status = phy_import_write_weights(&run->model, &run->layout, &output);
    if (!status)
        status = check_unchanged(run);
    phy_output_close(&output);
    return status;
}

/* Links, because a file in memory has no other name than its descriptor's. */
static enum phy_status make_links(struct phy_memory_import *import, const struct phy_host *host)
{
    const char *folder = getenv("TMPDIR");
    char target[64];
    folder = folder && *folder ? folder : "/tmp";
    const size_t bytes = strlen(folder) + sizeof "/physarium-XXXXXX";
    char *path = phy_alloc(bytes, 1);
    if (!path)
        return phy_fail_memory(host, "a path", bytes);
    snprintf(path, bytes, "%s/physarium-XXXXXX", folder);
    if (!mkdtemp(path)) {
        int error = errno;
        phy_free(path);
        return phy_fail(host, PHY_ERR_IO, "%s: %s", folder, strerror(error));
    }
    import->directory = path;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = fd < 0 ? errno : 0;
    for (size_t i = 0; !error && i < import->files.count; i++) {
        snprintf(target, sizeof target, "/proc/self/fd/%d", import->files.files[i].fd);
        error = symlinkat(target, fd, import->files.files[i].name) != 0 ? errno : 0;
    }
    if (fd >= 0)
        close(fd);
    return error ? phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error)) : PHY_OK;
}

enum phy_status phy_import_to_memory(struct phy_memory_import **out, const struct phy_memory_import_params *params)
{
    /* One file, whatever its size. */
    const struct phy_import_params as_import = {.shard_bytes = UINT64_MAX};
    struct import_run run = {.params = &as_import, .host = params->host, .file = params->input, .fd = -1};
    *out = NULL;
    if (!params->input)
        return phy_fail(params->host, PHY_ERR_USAGE, "import needs an input");
    struct phy_memory_import *import = phy_zalloc(1, sizeof *import);
    if (!import)
        return phy_fail_memory(params->host, "an import", sizeof *import);
    enum phy_status status = open_input(&run);
    if (!status)
        status = understand(&run);
    if (!status)
        status = fill_memory(&run, import, params->without_weights);
    if (!status)
        status = make_links(import, params->host);
    close_run(&run);
    if (status)
        phy_memory_import_close(&import);
    *out = import;
    return status;
}

const char *phy_memory_import_path(const struct phy_memory_import *import)
{
    return import->directory;
}

void phy_memory_import_close(struct phy_memory_import **import)
{
    struct phy_memory_import *m = *import;
    *import = NULL;
    if (!m)
        return;
    int fd = m->directory ? open(m->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    for (size_t i = 0; fd >= 0 && i < m->files.count; i++)
        unlinkat(fd, m->files.files[i].name, 0);
    if (fd >= 0)
        close(fd);
    if (m->directory)
        rmdir(m->directory);
    phy_memory_files_close(&m->files);
    phy_free(m->directory);
    phy_free(m);
}
