/* SPDX-License-Identifier: Apache-2.0 */
/* Stores of every scheme, made once in a cache; and the digest that names a model's weights. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "device/held_log.h"

enum { CHUNK_BYTES = 1 << 20 };

enum phy_status phy_audit_weight_digest(const struct phy_checkpoint *checkpoint, char *digest, size_t bytes,
                                        const struct phy_host *host)
{
    XXH3_state_t *all = XXH3_createState();
    unsigned char *chunk = phy_alloc(CHUNK_BYTES, 1);
    enum phy_status status = all && chunk ? PHY_OK : phy_fail_memory(host, "digests", CHUNK_BYTES);
    if (status == PHY_OK)
        XXH3_64bits_reset(all);
    for (size_t i = 0; status == PHY_OK && i < phy_checkpoint_shard_count(checkpoint); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(checkpoint, i, &shard);
        for (uint64_t at = 0; status == PHY_OK && at < shard.file_bytes;) {
            size_t part = (size_t)phy_min_u64(shard.file_bytes - at, CHUNK_BYTES);
            status = phy_checkpoint_read(checkpoint, i, at, chunk, part);
            if (status == PHY_OK)
                XXH3_64bits_update(all, chunk, part);
            at += part;
        }
    }
    if (status == PHY_OK)
        snprintf(digest, bytes, "%016llx", (unsigned long long)XXH3_64bits_digest(all));
    phy_free(chunk);
    XXH3_freeState(all);
    return status;
}

/* ---- the cache ---- */

static bool put_path(char *out, size_t bytes, const char *format, const char *a, const char *b)
{
    int length = snprintf(out, bytes, format, a, b);
    return length > 0 && (size_t)length < bytes;
}

void phy_audit_cache_folder(const struct phy_audit *audit, char out[4096])
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char root[4096];
    bool fits = audit->params.cache ? put_path(root, sizeof root, "%s%s", audit->params.cache, "")
                : base && *base     ? put_path(root, sizeof root, "%s/physarium/stores%s", base, "")
                : home && *home     ? put_path(root, sizeof root, "%s/.cache/physarium/stores%s", home, "")
                                    : put_path(root, sizeof root, "%s%s", ".physarium-stores", "");
    if (!fits || !put_path(out, 4096, "%s/%s/", root, audit->record.model_digest))
        *out = 0;
}

/* <cache>/<digest>/<scheme>, its folders made. */
static int cache_path(const struct phy_audit *audit, const char *scheme, char out[4096])
{
    char folder[4096];
    phy_audit_cache_folder(audit, folder);
    if (!*folder || !put_path(out, 4096, "%s%s", folder, scheme))
        return ENAMETOOLONG;
    for (char *slash = folder + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = 0;
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return errno;
    }
    return mkdir(folder, 0777) != 0 && errno != EEXIST ? errno : 0;
}

static void take_reason(char *reason, const struct phy_held_log *held, enum phy_status status)
{
    snprintf(reason, PHY_AUDIT_SENTENCE, "%.500s", *held->line ? held->line : phy_status_name(status));
}

enum phy_status phy_audit_open_store(const char *directory, enum phy_q6k_order q6k_order, struct phy_ffn_store **out,
                                     char *reason)
{
    struct phy_held_log held;
    phy_held_log_init(&held, NULL, true);
    /* Digests are checked: a flipped bit is found here, with file and matrix. */
    enum phy_status status =
        phy_ffn_store_open(out, directory, &(struct phy_ffn_store_params){.q6k_order = q6k_order, .host = &held.host});
    if (status != PHY_OK)
        take_reason(reason, &held, status);
    return status;
}

static enum phy_status make_store(struct phy_audit *audit, const char *scheme, const char *directory, char *reason)
{
    /* An audit that was killed may have left a part: gone on with, or, if it was of a copy of the donor, made anew. */
    enum phy_status status = PHY_ERR_USAGE;
    struct phy_held_log held;
    for (int force = 0; force <= 1 && status == PHY_ERR_USAGE; force++) {
        phy_held_log_init(&held, audit->host, true);
        struct phy_quantize_params params = {.donor = audit->params.donor,
                                             .output = directory,
                                             .scheme = scheme,
                                             .threads = audit->params.threads,
                                             .resume = !force,
                                             .force = force,
                                             .advice = "the next audit goes on from here",
                                             .host = &held.host};
        status = phy_quantize_run(&params, NULL);
    }
    if (status != PHY_OK)
        take_reason(reason, &held, status);
    return status;
}

/* Audits that share a cache make a store one after another: whoever waited finds it made. A lock goes with its run,
 * however that ends; -1 where the cache's file system has none. */
static int lock_store(struct phy_audit *audit, const char *directory, const char *scheme)
{
    char path[4096 + 8];
    const struct timespec pause = {.tv_nsec = 100000000};
    snprintf(path, sizeof path, "%s.lock", directory);
    const int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    for (bool told = false; flock(fd, LOCK_EX | LOCK_NB) != 0; told = true) {
        if (errno != EWOULDBLOCK || phy_cancelled(audit->params.host)) {
            close(fd);
            return -1;
        }
        if (!told)
            phy_note(audit->host, "store %s: waiting for another audit that makes it", scheme);
        nanosleep(&pause, NULL);
    }
    return fd;
}

static enum phy_status make_store_once(struct phy_audit *audit, const char *scheme, const char *directory, char *reason)
{
    struct stat found;
    if (stat(directory, &found) == 0)
        return PHY_OK;
    const int lock = lock_store(audit, directory, scheme);
    const enum phy_status status = phy_cancelled(audit->params.host) ? PHY_ERR_INTERRUPTED
                                   : stat(directory, &found) == 0    ? PHY_OK
                                                                     : make_store(audit, scheme, directory, reason);
    if (lock >= 0)
        close(lock);
    return status;
}

enum phy_status phy_audit_cached_store(struct phy_audit *audit, const char *scheme, struct phy_ffn_store **out,
                                       char *reason)
{
    char directory[4096];
    *out = NULL;
    *reason = 0;
    int error = cache_path(audit, scheme, directory);
    if (error) {
        snprintf(reason, PHY_AUDIT_SENTENCE, "the cache: %s", strerror(error));
        return PHY_OK;
    }
    enum phy_status status = make_store_once(audit, scheme, directory, reason);
    if (status == PHY_OK)
        status = phy_audit_open_store(directory, PHY_Q6K_TOLD_BY_CODES, out, reason);
    return status == PHY_ERR_INTERRUPTED || status == PHY_ERR_MEMORY ? status : PHY_OK;
}
