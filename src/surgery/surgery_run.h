/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that one surgery holds, and the parts of it that surgery.c, resume.c and surgery_record.c share. */
#ifndef PHY_SURGERY_SURGERY_RUN_H
#define PHY_SURGERY_SURGERY_RUN_H

#include <pthread.h>

#include "device/device_set.h"
#include "format/name_set.h"
#include "physarium/eval.h"
#include "physarium/surgery.h"
#include "physarium/tokenizer.h"
#include "surgery/calibration.h"
#include "surgery/gain_search.h"
#include "surgery/journal.h"
#include "surgery/output_dir.h"
#include "surgery/output_hash.h"
#include "surgery/pipeline.h"
#include "surgery/rank_method.h"
#include "surgery/results.h"

enum phy_journal_record {
    PHY_RECORD_IDENTITY = 1, /* identity text; always the first */
    PHY_RECORD_RESUMED,      /* empty: a run went on from here */
    PHY_RECORD_GAIN,         /* u32 bits of the gain that --sparsity found */
    PHY_RECORD_SIDECARS,     /* empty: every sidecar is written and fsynced */
    PHY_RECORD_PROGRESS,     /* phy_results_write */
};

/* The host's log with a memory: warnings go into the report, and one error line is enough. */
struct phy_run_log {
    const struct phy_host *host;
    pthread_mutex_t lock;
    bool error_seen;
    char **warnings;
    size_t warning_count;
};

/* --eval: what is read before the work begins, and what came out. */
struct phy_run_eval {
    struct phy_model *donor;
    struct phy_id_list tokens;
    bool has_bos, done;
    uint32_t bos;
    char *text_name; /* last part of its path */
    char text_digest[17];
    struct phy_eval_result result;
};

struct phy_run {
    struct phy_surgery_params params; /* defaults filled in */
    struct phy_rank_method rank;
    struct phy_run_log log;
    struct phy_host host; /* to the log */
    double started;
    struct phy_checkpoint *donor;
    struct phy_target_list targets;
    uint64_t *header_xxh3; /* (shards) */
    char donor_digest[17];
    struct phy_calibration calibration;
    bool calibrated;
    struct phy_bytes identity; /* terminated */
    struct phy_device_set devices;
    struct phy_buffer_plan buffers;
    struct phy_output output;
    struct phy_name_set made; /* what the partial directory may hold beside reports; scope 1: directories */
    bool output_open;
    bool discard; /* nothing in the partial directory is worth keeping */
    struct phy_journal journal;
    struct phy_results *results;
    struct phy_output_hash *hash;
    float gain; /* 0: not known yet */
    bool sidecars_done;
    uint64_t total_bytes; /* of all shards */
    struct phy_run_eval eval;
};

/* Append to the journal. */
enum phy_status phy_run_record(struct phy_run *run, enum phy_journal_record type, const struct phy_bytes *payload);

/* ---- resume.c ---- */

/* --resume, and the output has its final name: is it this very run's? Its numbers are put into *result. Another's is
 * PHY_ERR_USAGE, unless it is to be replaced. */
enum phy_status phy_run_check_finished(struct phy_run *run, bool *finished, struct phy_surgery_result *result);
/* With the partial directory held: find out what its journal claims and check it, or refuse, or start afresh.
 * Afterwards the journal has this run's identity, and results and hash stand where the work goes on. */
enum phy_status phy_run_take_up(struct phy_run *run);

/* ---- surgery_eval.c; each does nothing without --eval ---- */

/* Read and encode the text and open the donor's model, so that what cannot be evaluated is refused before any work. */
enum phy_status phy_run_prepare_eval(struct phy_run *run);
/* Compare what stands in the partial directory with the donor. */
enum phy_status phy_run_evaluate(struct phy_run *run);
void phy_run_close_eval(struct phy_run *run);

/* ---- surgery_record.c ---- */

/* Write the reports and run.json into the partial directory. */
enum phy_status phy_run_write_reports(struct phy_run *run);
void phy_run_fill_result(const struct phy_run *run, struct phy_surgery_result *result);

#endif
