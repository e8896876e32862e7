/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that one run of quantize holds: quantize.c drives, quantize_encode.c makes the bytes, quantize_resume.c
 * keeps the journal, quantize_index.c writes index.json. */
#ifndef PHY_FFN_QUANTIZE_RUN_H
#define PHY_FFN_QUANTIZE_RUN_H

#include "base/pool.h"
#include "ffn/store_donor.h"
#include "ffn/store_parts.h"
#include "surgery/journal.h"
#include "surgery/output_dir.h"

/* What is known of a donor's tensor once it has been stored. */
struct phy_quantize_source {
    uint64_t xxh3;
    double error, energy; /* sums of (decoded - original)^2 and original^2 */
};

/* One matrix to store, and where. */
struct phy_quantize_job {
    uint32_t layer, file;
    enum phy_matrix_kind kind;
    enum phy_weight_type type;
    uint64_t rows, cols, offset, bytes;
    size_t row_bytes; /* 0: of no fixed length */
    uint64_t values;  /* of a bitmap */
    bool done;
    uint64_t xxh3;
    struct phy_quantize_source sources[2]; /* of gate_up both, else the first */
};

struct phy_quantize {
    const struct phy_quantize_params *params;
    const struct phy_host *host;
    struct phy_donor donor;
    char donor_digest[17];
    const struct phy_store_scheme *scheme;
    enum phy_store_layout layout;
    uint32_t layer_first, layer_last;
    struct phy_quantize_job *jobs;
    size_t job_count;
    uint64_t *file_bytes; /* (file_count) */
    uint32_t file_count;
    uint64_t stored_bytes, weight_count, source_bytes;
    struct phy_bytes identity; /* what decides the bytes, as lines that can be compared */
    struct phy_output output;
    struct phy_journal journal;
    struct phy_pool *pool;
    uint64_t done_weights;
};

/* Which of the donor's tensors a matrix is made of; returns how many. */
size_t phy_quantize_sources(enum phy_matrix_kind kind, enum phy_ffn_source sources[2]);
enum { PHY_QUANTIZE_FILE_BYTES = 32 };
void phy_quantize_file_name(uint32_t file, char out[PHY_QUANTIZE_FILE_BYTES]);

/* quantize_encode.c: read, encode and write one matrix, and fill in its digests and sums. The same bytes for any number
 * of threads. fd: its file, open. PHY_ERR_INTERRUPTED with no line logged. */
enum phy_status phy_quantize_encode(struct phy_quantize *run, struct phy_quantize_job *job, int fd);

/* quantize_bitmap.c: count a bitmap's values, so that its type and bytes are known; and what phy_quantize_encode does.
 */
enum phy_status phy_quantize_plan_bitmap(struct phy_quantize *run, struct phy_quantize_job *job);
enum phy_status phy_quantize_bitmap(struct phy_quantize *run, struct phy_quantize_job *job, int fd);

/* XXH3-64 of what the output holds in the matrix' place; false if it cannot be read. */
bool phy_quantize_hash(const struct phy_quantize *run, const struct phy_quantize_job *job, uint64_t *xxh3);
/* quantize_resume.c: take the journal up, or start it. Jobs that were done are marked. */
enum phy_status phy_quantize_take_up(struct phy_quantize *run);
enum phy_status phy_quantize_record(struct phy_quantize *run, size_t job);

/* quantize_index.c */
enum phy_status phy_quantize_write_index(const struct phy_quantize *run);

#endif
