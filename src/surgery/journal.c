/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"

enum { HEAD_BYTES = 8, CHECK_BYTES = 8 };

/* One record at `at`. 0 with *payload (the caller's) set; 0 with NULL at the end or at a torn record; else an errno
 * value. */
static int read_record(int fd, uint64_t at, uint64_t file_bytes, uint32_t *type, unsigned char **record, size_t *bytes)
{
    unsigned char head[HEAD_BYTES];
    *record = NULL;
    if (file_bytes - at < HEAD_BYTES + CHECK_BYTES)
        return 0;
    int error = phy_pread_all(fd, head, sizeof head, at);
    if (error)
        return error;
    uint64_t length = phy_load_u32(head);
    if (length > file_bytes - at - HEAD_BYTES - CHECK_BYTES)
        return 0;
    size_t whole = (size_t)length + HEAD_BYTES + CHECK_BYTES;
    unsigned char *data = phy_alloc(whole, 1);
    if (!data)
        return ENOMEM;
    error = phy_pread_all(fd, data, whole, at);
    if (error || XXH3_64bits(data, whole - CHECK_BYTES) != phy_load_u64(data + whole - CHECK_BYTES)) {
        phy_free(data);
        return error;
    }
    *type = phy_load_u32(head + 4);
    *bytes = (size_t)length;
    *record = data;
    return 0;
}

int phy_journal_replay(struct phy_journal *journal, int fd, phy_journal_reader *reader, void *user)
{
    struct stat file;
    *journal = (struct phy_journal){.fd = fd};
    if (fstat(fd, &file) != 0)
        return errno;
    for (;;) {
        uint32_t type;
        size_t bytes;
        unsigned char *record;
        int error = read_record(fd, journal->end, (uint64_t)file.st_size, &type, &record, &bytes);
        if (error)
            return error;
        if (!record)
            break;
        int refused = reader(user, type, record + HEAD_BYTES, bytes);
        phy_free(record);
        if (refused)
            break;
        journal->end += HEAD_BYTES + bytes + CHECK_BYTES;
    }
    if ((uint64_t)file.st_size > journal->end && ftruncate(fd, (off_t)journal->end) != 0)
        return errno;
    return 0;
}

int phy_journal_append(struct phy_journal *journal, uint32_t type, const struct phy_bytes *payload)
{
    if (payload->failed || payload->bytes > UINT32_MAX)
        return ENOMEM;
    size_t whole = payload->bytes + HEAD_BYTES + CHECK_BYTES;
    unsigned char *record = phy_alloc(whole, 1);
    if (!record)
        return ENOMEM;
    phy_store_u32(record, (uint32_t)payload->bytes);
    phy_store_u32(record + 4, type);
    if (payload->bytes)
        memcpy(record + HEAD_BYTES, payload->data, payload->bytes);
    phy_store_u64(record + whole - CHECK_BYTES, XXH3_64bits(record, whole - CHECK_BYTES));
    int error = phy_pwrite_all(journal->fd, record, whole, journal->end);
    phy_free(record);
    if (!error)
        error = phy_fsync(journal->fd);
    if (!error)
        journal->end += whole;
    return error;
}
