/* SPDX-License-Identifier: Apache-2.0 */
/* An append-only file of checked records (docs/checkpoint-rules.md, W8).
 *
 *   +0  u32 payload bytes   +4  u32 type   +8  payload   +8+n  u64 XXH3-64 of everything before it in the record
 *
 * All little-endian. A record that is cut short or does not match its checksum ends the journal: it and what follows it
 * are dropped, because they were not fully written when the machine stopped. */
#ifndef PHY_SURGERY_JOURNAL_H
#define PHY_SURGERY_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "surgery/bytes.h"

/* Appends at `end`; a torn append is overwritten by the next one. */
struct phy_journal {
    int fd; /* the caller's */
    uint64_t end;
};

/* What a record means is the caller's business. payload lives during the call only. Return 0 to go on; anything else
 * stops the replay there and the rest is dropped. */
typedef int phy_journal_reader(void *user, uint32_t type, const void *payload, size_t bytes);

/* Give every whole record to `reader`, in order, then truncate what is torn. Returns 0 or an errno value. */
int phy_journal_replay(struct phy_journal *journal, int fd, phy_journal_reader *reader, void *user);
/* Append one record and fdatasync it. Returns 0 or an errno value. */
int phy_journal_append(struct phy_journal *journal, uint32_t type, const struct phy_bytes *payload);

#endif
