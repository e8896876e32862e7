/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "surgery/coverage_compare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/cpu_features.h"
#include "base/io.h"
#include "base/log.h"
#include "format/checkpoint_files.h"

/* Two of these for each thread, and at most so many threads: the comparison is bound by the disk long before. */
enum { CHUNK_BYTES = 1 << 20, MOST_THREADS = 16 };

uint64_t phy_tensor_elements(const struct phy_tensor_info *tensor)
{
    uint64_t elements = 1;
    for (uint32_t i = 0; i < tensor->dim_count; i++) {
        if (tensor->shape[i] == 0)
            return 0;
    }
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        elements *= tensor->shape[i]; /* below 2^63 by rule S10 */
    return elements;
}

void phy_tensor_position(const struct phy_tensor_info *tensor, uint64_t element, uint64_t *row, uint64_t *col)
{
    uint64_t cols = tensor->dim_count ? tensor->shape[tensor->dim_count - 1] : 1;
    *row = cols ? element / cols : 0;
    *col = cols ? element % cols : 0;
}

/* ---- opening ---- */

static void open_shard(struct phy_output_shard *shard, int dir_fd, const char *path)
{
    struct stat found;
    shard->fd = openat(dir_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    shard->error = shard->fd < 0 ? errno : 0;
    if (shard->fd < 0)
        return;
    if (fstat(shard->fd, &found) == 0 && S_ISREG(found.st_mode)) {
        shard->bytes = (uint64_t)found.st_size;
        posix_fadvise(shard->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        return;
    }
    phy_close(shard->fd);
    shard->fd = -1;
}

static enum phy_status open_output(struct phy_comparison *c, const struct phy_host *host)
{
    bool donor_is_directory = phy_checkpoint_is_directory(c->donor);
    struct stat found;
    if (stat(c->output_path, &found) != 0)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", c->output_path, strerror(errno));
    if (S_ISDIR(found.st_mode) != donor_is_directory)
        return phy_fail(host, PHY_ERR_USAGE, "%s: the donor is %s, so the output must be one too", c->output_path,
                        donor_is_directory ? "a directory" : "a file");
    if (!donor_is_directory) {
        open_shard(&c->shards[0], AT_FDCWD, c->output_path);
        return c->shards[0].fd >= 0
                   ? PHY_OK
                   : phy_fail(host, PHY_ERR_IO, "%s: %s", c->output_path,
                              c->shards[0].error ? strerror(c->shards[0].error) : "not a regular file");
    }
    c->output_dir = open(c->output_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->output_dir < 0)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", c->output_path, strerror(errno));
    for (size_t i = 0; i < phy_checkpoint_shard_count(c->donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(c->donor, i, &shard);
        open_shard(&c->shards[i], c->output_dir, shard.name);
    }
    return PHY_OK;
}

enum phy_status phy_comparison_open(struct phy_comparison *out, const struct phy_checkpoint *donor,
                                    const char *output_path, const struct phy_target_list *targets,
                                    const struct phy_host *host)
{
    size_t shard_count = phy_checkpoint_shard_count(donor), tensor_count = phy_checkpoint_tensor_count(donor);
    *out = (struct phy_comparison){.donor = donor, .output_path = output_path, .output_dir = -1};
    out->shards = phy_zalloc(shard_count, sizeof *out->shards);
    for (size_t i = 0; out->shards && i < shard_count; i++)
        out->shards[i].fd = -1;
    out->tensors = phy_zalloc(tensor_count, sizeof *out->tensors);
    out->sidecars = phy_zalloc(phy_checkpoint_sidecar_count(donor), sizeof *out->sidecars);
    enum phy_status status = PHY_OK;
    if (!out->shards || !out->tensors || !out->sidecars)
        status = phy_fail_memory(host, "the comparison", tensor_count * sizeof *out->tensors);
    for (size_t i = 0; status == PHY_OK && i < tensor_count; i++) {
        struct phy_tensor_info tensor;
        phy_checkpoint_tensor(donor, i, &tensor);
        out->tensors[i].elements = phy_tensor_elements(&tensor);
    }
    for (size_t i = 0; status == PHY_OK && i < targets->count; i++)
        out->tensors[targets->targets[i].tensor].target = &targets->targets[i];
    if (status == PHY_OK)
        status = open_output(out, host);
    if (status != PHY_OK)
        phy_comparison_close(out);
    return status;
}

void phy_comparison_close(struct phy_comparison *c)
{
    for (size_t i = 0; c->shards && i < phy_checkpoint_shard_count(c->donor); i++) {
        if (c->shards[i].fd >= 0)
            phy_close(c->shards[i].fd);
    }
    if (c->output_dir >= 0)
        phy_close(c->output_dir);
    for (size_t i = 0; i < c->extra_count; i++)
        phy_free(c->extra_files[i]);
    phy_free(c->extra_files);
    phy_free(c->shards);
    phy_free(c->tensors);
    phy_free(c->sidecars);
    *c = (struct phy_comparison){.output_dir = -1};
}

/* ---- files that the donor does not have ---- */

/* Paths that belong in the output, sorted. */
struct expected {
    const char **paths;
    size_t count;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_expected(const struct expected *expected, const char *path)
{
    return expected->count && bsearch(&path, expected->paths, expected->count, sizeof path, compare_texts);
}

static enum phy_status add_extra(struct phy_comparison *c, char *path, const struct phy_host *host)
{
    if (c->extra_count == c->extra_capacity) {
        size_t capacity = c->extra_capacity ? c->extra_capacity * 2 : 16;
        char **grown = phy_realloc(c->extra_files, capacity, sizeof *grown);
        if (!grown) {
            phy_free(path);
            return phy_fail_memory(host, "a list of files", capacity * sizeof *grown);
        }
        c->extra_files = grown;
        c->extra_capacity = capacity;
    }
    c->extra_files[c->extra_count++] = path;
    return PHY_OK;
}

/* What surgery never copies (rule W4) says nothing about the output. */
static bool is_outside(const char *name, bool top)
{
    size_t bytes = strlen(name), suffix = strlen(".physarium-partial");
    return strcmp(name, ".git") == 0 || strcmp(name, ".cache") == 0 || (top && strcmp(name, "physarium") == 0) ||
           (name[0] == '.' && bytes > suffix && strcmp(name + bytes - suffix, ".physarium-partial") == 0);
}

static enum phy_status find_extra(struct phy_comparison *c, const struct expected *expected, int fd, const char *folder,
                                  unsigned depth, const struct phy_host *host);

static enum phy_status visit_entry(struct phy_comparison *c, const struct expected *expected, int fd,
                                   const char *folder, const char *name, unsigned depth, const struct phy_host *host)
{
    enum { MOST_DEPTH = 64 }; /* as for the donor: what is deeper cannot be a sidecar, and its top is named */
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = phy_alloc(bytes, 1);
    if (!path)
        return phy_fail_memory(host, "a path", bytes);
    snprintf(path, bytes, "%s%s%s", folder, *folder ? "/" : "", name);
    if (!is_expected(expected, path))
        return add_extra(c, path, host);
    enum phy_status status = PHY_OK;
    int below = depth < MOST_DEPTH ? openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (below >= 0)
        status = find_extra(c, expected, below, path, depth + 1, host);
    phy_free(path);
    return status;
}

/* `fd` becomes this call's to close. */
static enum phy_status find_extra(struct phy_comparison *c, const struct expected *expected, int fd, const char *folder,
                                  unsigned depth, const struct phy_host *host)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int error = errno;
        phy_close(fd);
        return phy_fail(host, PHY_ERR_IO, "%s: %s", *folder ? folder : c->output_path, strerror(error));
    }
    enum phy_status status = PHY_OK;
    const struct dirent *entry;
    while (status == PHY_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_outside(entry->d_name, depth == 0))
            status = visit_entry(c, expected, dirfd(dir), folder, entry->d_name, depth, host);
    }
    if (status == PHY_OK && errno)
        status = phy_fail(host, PHY_ERR_IO, "%s: %s", *folder ? folder : c->output_path, strerror(errno));
    closedir(dir);
    return status;
}

static enum phy_status list_extra_files(struct phy_comparison *c, const struct phy_host *host)
{
    size_t shards = phy_checkpoint_shard_count(c->donor), sidecars = phy_checkpoint_sidecar_count(c->donor);
    struct expected expected = {.paths = phy_alloc(shards + sidecars, sizeof *expected.paths)};
    if (!expected.paths)
        return phy_fail_memory(host, "a list of files", (shards + sidecars) * sizeof *expected.paths);
    for (size_t i = 0; i < shards; i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(c->donor, i, &shard);
        expected.paths[expected.count++] = shard.name;
    }
    for (size_t i = 0; i < sidecars; i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(c->donor, i, &sidecar);
        expected.paths[expected.count++] = sidecar.path;
    }
    qsort(expected.paths, expected.count, sizeof *expected.paths, compare_texts);
    int fd = openat(c->output_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum phy_status status = fd < 0 ? phy_fail(host, PHY_ERR_IO, "%s: %s", c->output_path, strerror(errno))
                                    : find_extra(c, &expected, fd, "", 0, host);
    if (c->extra_count)
        qsort(c->extra_files, c->extra_count, sizeof *c->extra_files, compare_texts);
    phy_free(expected.paths);
    return status;
}

/* ---- the work: headers, then tensors in data order, then sidecars ---- */

struct pool {
    struct phy_comparison *c;
    const struct phy_host *host;
    atomic_size_t next;
    atomic_uint_fast64_t done;
    atomic_int status; /* the first that is not PHY_OK */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running;
};

struct worker {
    struct pool *pool;
    unsigned char *donor, *output; /* CHUNK_BYTES each */
    XXH3_state_t *hash;
};

static void pool_fail(struct pool *pool, enum phy_status status)
{
    int none = PHY_OK;
    atomic_compare_exchange_strong(&pool->status, &none, (int)status);
}

static bool pool_stopped(struct pool *pool)
{
    if (phy_cancelled(pool->host))
        pool_fail(pool, PHY_ERR_INTERRUPTED);
    return atomic_load(&pool->status) != PHY_OK;
}

static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && a[i] == b[i])
        i++;
    return i;
}

static enum phy_status read_output(struct worker *w, size_t shard, uint64_t at, size_t bytes)
{
    struct phy_shard_info info;
    int error = phy_pread_all(w->pool->c->shards[shard].fd, w->output, bytes, at);
    if (error == 0)
        return PHY_OK;
    phy_checkpoint_shard(w->pool->c->donor, shard, &info);
    return phy_fail(w->pool->host, PHY_ERR_IO, "output's %s: %s", info.name,
                    error == ENODATA ? "has shrunk while it was read" : strerror(error));
}

static enum phy_status read_both(struct worker *w, size_t shard, uint64_t at, size_t bytes)
{
    enum phy_status status = phy_checkpoint_read(w->pool->c->donor, shard, at, w->donor, bytes);
    return status == PHY_OK ? read_output(w, shard, at, bytes) : status;
}

static enum phy_status compare_header(struct worker *w, size_t index)
{
    struct phy_output_shard *shard = &w->pool->c->shards[index];
    struct phy_shard_info info;
    phy_checkpoint_shard(w->pool->c->donor, index, &info);
    if (shard->fd < 0)
        return PHY_OK;
    uint64_t there = phy_min_u64(info.header_bytes, shard->bytes);
    XXH3_64bits_reset(w->hash);
    for (uint64_t at = 0; at < there && !pool_stopped(w->pool);) {
        size_t bytes = (size_t)phy_min_u64(there - at, CHUNK_BYTES);
        enum phy_status status = read_both(w, index, at, bytes);
        if (status != PHY_OK)
            return status;
        size_t same = memcmp(w->donor, w->output, bytes) ? first_difference(w->donor, w->output, bytes) : bytes;
        if (same < bytes && !shard->header_differs) {
            shard->header_differs = true;
            shard->header_at = at + same;
        }
        XXH3_64bits_update(w->hash, w->output, bytes);
        at += bytes;
        atomic_fetch_add(&w->pool->done, bytes);
    }
    shard->header_xxh3 = XXH3_64bits_digest(w->hash);
    if (there < info.header_bytes && !shard->header_differs) {
        shard->header_differs = true;
        shard->header_at = there;
    }
    return PHY_OK;
}

/* Copied bytes: the elements that differ. */
static void compare_copied(const unsigned char *a, const unsigned char *b, size_t bytes, uint64_t at, uint32_t bits,
                           struct phy_code_counts *counts)
{
    uint64_t last = UINT64_MAX;
    if (memcmp(a, b, bytes) == 0)
        return;
    for (size_t i = 0; i < bytes; i++) {
        if (a[i] == b[i])
            continue;
        /* Of elements narrower than a byte, the lowest bit that differs tells which. */
        unsigned bit = bits < 8 ? (unsigned)__builtin_ctz((unsigned)(a[i] ^ b[i])) : 0;
        uint64_t element = ((at + i) * 8 + bit) / bits;
        if (element == last)
            continue;
        last = element;
        if (counts->damaged++ == 0)
            counts->first_damaged = element;
    }
}

static enum phy_status compare_tensor(struct worker *w, size_t index)
{
    struct phy_comparison *c = w->pool->c;
    struct phy_tensor_finding *finding = &c->tensors[index];
    struct phy_tensor_info info;
    phy_checkpoint_tensor(c->donor, index, &info);
    const struct phy_output_shard *shard = &c->shards[info.shard];
    finding->compared = shard->fd >= 0 && shard->same_layout;
    if (!finding->compared)
        return PHY_OK;
    uint64_t there = shard->bytes > info.at ? phy_min_u64(info.bytes, shard->bytes - info.at) : 0;
    size_t code_bytes = info.element_bits / 8;
    XXH3_64bits_reset(w->hash);
    for (uint64_t at = 0; at < there && !pool_stopped(w->pool);) {
        size_t bytes = (size_t)phy_min_u64(there - at, CHUNK_BYTES);
        enum phy_status status = read_both(w, info.shard, info.at + at, bytes);
        if (status != PHY_OK)
            return status;
        if (finding->target)
            phy_compare_codes(w->donor, w->output, bytes / code_bytes, code_bytes, &finding->counts);
        else
            compare_copied(w->donor, w->output, bytes, at, info.element_bits, &finding->counts);
        XXH3_64bits_update(w->hash, w->output, bytes);
        at += bytes;
        atomic_fetch_add(&w->pool->done, bytes);
    }
    finding->xxh3 = XXH3_64bits_digest(w->hash);
    if (there < info.bytes) {
        uint64_t first_missing = there * 8 / info.element_bits;
        finding->cut_short = true;
        if (finding->counts.damaged == 0)
            finding->counts.first_damaged = first_missing;
        finding->counts.damaged += finding->elements - first_missing;
    }
    return PHY_OK;
}

static enum phy_status compare_file(struct worker *w, size_t index, int donor_fd, int output_fd, const char *path)
{
    struct phy_sidecar_finding *finding = &w->pool->c->sidecars[index];
    uint64_t both = phy_min_u64(finding->donor_bytes, finding->output_bytes);
    if (finding->donor_bytes != finding->output_bytes) {
        finding->state = PHY_SIDECAR_DIFFERS;
        finding->at = both;
    }
    for (uint64_t at = 0; at < both && !pool_stopped(w->pool);) {
        size_t bytes = (size_t)phy_min_u64(both - at, CHUNK_BYTES);
        int error = phy_pread_all(donor_fd, w->donor, bytes, at);
        error = error ? error : phy_pread_all(output_fd, w->output, bytes, at);
        if (error)
            return phy_fail(w->pool->host, PHY_ERR_IO, "%s: %s", path,
                            error == ENODATA ? "has shrunk while it was read" : strerror(error));
        if (memcmp(w->donor, w->output, bytes) != 0) {
            finding->state = PHY_SIDECAR_DIFFERS;
            finding->at = at + first_difference(w->donor, w->output, bytes);
            return PHY_OK;
        }
        at += bytes;
        atomic_fetch_add(&w->pool->done, bytes);
    }
    return PHY_OK;
}

static enum phy_status compare_sidecar(struct worker *w, size_t index)
{
    struct phy_comparison *c = w->pool->c;
    struct phy_sidecar_finding *finding = &c->sidecars[index];
    struct phy_sidecar sidecar;
    struct stat found;
    int donor_fd;
    phy_checkpoint_sidecar(c->donor, index, &sidecar);
    finding->donor_bytes = sidecar.bytes;
    int fd = openat(c->output_dir, sidecar.path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != ENXIO)
        return phy_fail(w->pool->host, PHY_ERR_IO, "output's %s: %s", sidecar.path, strerror(errno));
    if (fd < 0 || fstat(fd, &found) != 0) {
        finding->state = PHY_SIDECAR_MISSING;
    } else if (sidecar.is_directory ? !S_ISDIR(found.st_mode) : !S_ISREG(found.st_mode)) {
        finding->state = PHY_SIDECAR_OTHER_KIND;
    } else if (!sidecar.is_directory) {
        finding->output_bytes = (uint64_t)found.st_size;
        enum phy_status status = phy_checkpoint_sidecar_open(c->donor, index, &donor_fd);
        if (status == PHY_OK) {
            status = compare_file(w, index, donor_fd, fd, sidecar.path);
            phy_close(donor_fd);
        }
        phy_close(fd);
        return status;
    }
    if (fd >= 0)
        phy_close(fd);
    return PHY_OK;
}

static void *work(void *user)
{
    struct worker *w = user;
    struct pool *pool = w->pool;
    size_t shards = phy_checkpoint_shard_count(pool->c->donor), tensors = phy_checkpoint_tensor_count(pool->c->donor);
    size_t all = shards + tensors + phy_checkpoint_sidecar_count(pool->c->donor);
    while (!pool_stopped(pool)) {
        size_t unit = atomic_fetch_add(&pool->next, 1);
        if (unit >= all)
            break;
        enum phy_status status = unit < tensors            ? compare_tensor(w, unit)
                                 : unit < tensors + shards ? compare_header(w, unit - tensors)
                                                           : compare_sidecar(w, unit - tensors - shards);
        if (status != PHY_OK)
            pool_fail(pool, status);
    }
    pthread_mutex_lock(&pool->lock);
    pool->running--;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static uint64_t bytes_to_compare(const struct phy_comparison *c)
{
    uint64_t total = 0;
    for (size_t i = 0; i < phy_checkpoint_shard_count(c->donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(c->donor, i, &shard);
        total += shard.file_bytes;
    }
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(c->donor); i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(c->donor, i, &sidecar);
        total += sidecar.bytes;
    }
    return total;
}

/* Wait for the workers; progress is told from here, one thread. */
static void watch(struct pool *pool)
{
    uint64_t total = bytes_to_compare(pool->c);
    pthread_mutex_lock(&pool->lock);
    while (pool->running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
        pthread_mutex_unlock(&pool->lock);
        phy_report_progress(pool->host, "coverage", "bytes", phy_min_u64(atomic_load(&pool->done), total), total);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

/* The first 8 bytes decide whether tensors are where the donor's are; known before any tensor is looked at. */
static enum phy_status check_layouts(struct phy_comparison *c, const struct phy_host *host)
{
    for (size_t i = 0; i < phy_checkpoint_shard_count(c->donor); i++) {
        unsigned char donor[8], output[8];
        struct phy_shard_info info;
        phy_checkpoint_shard(c->donor, i, &info);
        if (c->shards[i].fd < 0 || c->shards[i].bytes < sizeof output)
            continue;
        enum phy_status status = phy_checkpoint_read(c->donor, i, 0, donor, sizeof donor);
        if (status != PHY_OK)
            return status;
        int error = phy_pread_all(c->shards[i].fd, output, sizeof output, 0);
        if (error)
            return phy_fail(host, PHY_ERR_IO, "output's %s: %s", info.name, strerror(error));
        c->shards[i].same_layout = memcmp(donor, output, sizeof donor) == 0;
    }
    return PHY_OK;
}

static enum phy_status run_workers(struct pool *pool, struct worker *workers, unsigned count)
{
    pthread_t threads[MOST_THREADS];
    unsigned started = 0;
    pool->running = count;
    for (; started < count; started++) {
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0)
            break;
    }
    if (started < count) {
        pthread_mutex_lock(&pool->lock);
        pool->running -= count - started;
        pthread_mutex_unlock(&pool->lock);
        if (started == 0) {
            pool->running = 1;
            work(&workers[0]);
        }
    }
    watch(pool);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    enum phy_status status = (enum phy_status)atomic_load(&pool->status);
    return status == PHY_ERR_INTERRUPTED ? phy_fail(pool->host, status, "interrupted; the comparison says nothing yet")
                                         : status;
}

enum phy_status phy_comparison_run(struct phy_comparison *c, uint32_t threads, const struct phy_host *host)
{
    struct pool pool = {.c = c, .host = host, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct worker workers[MOST_THREADS] = {0};
    unsigned count = threads ? threads : phy_cpu_count();
    count = count < MOST_THREADS ? count : MOST_THREADS;
    enum phy_status status = check_layouts(c, host);
    for (unsigned i = 0; status == PHY_OK && i < count; i++) {
        workers[i] =
            (struct worker){&pool, phy_alloc_aligned(CHUNK_BYTES), phy_alloc_aligned(CHUNK_BYTES), XXH3_createState()};
        if (!workers[i].donor || !workers[i].output || !workers[i].hash)
            status = phy_fail_memory(host, "comparison buffers", (size_t)2 * CHUNK_BYTES);
    }
    if (status == PHY_OK)
        status = run_workers(&pool, workers, count);
    for (unsigned i = 0; i < count; i++) {
        phy_free(workers[i].donor);
        phy_free(workers[i].output);
        XXH3_freeState(workers[i].hash);
    }
    c->bytes_compared = atomic_load(&pool.done);
    if (status == PHY_OK && c->output_dir >= 0)
        status = list_extra_files(c, host);
    return status;
}
