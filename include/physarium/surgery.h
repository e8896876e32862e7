/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_SURGERY_H
#define PHYSARIUM_SURGERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "status.h"
#include "targets.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is "the default" in every member but the paths. */
struct phy_surgery_params {
    const char *donor;                /* directory or safetensors file */
    const char *output;               /* directory for a directory, file for a file */
    const char *device;               /* "cpu", "cpu:ref", "vulkan", "vulkan:0", "vulkan:NAME", "all"; NULL: "cpu" */
    uint32_t threads;                 /* CPU threads; 0: all processors */
    uint64_t memory_bytes;            /* buffers altogether; 0: 1 GiB; at least 16 MiB */
    const char *method;               /* "flow", "magnitude", "wanda", "ria" (docs/rank.md); NULL: "flow" */
    double gain;                      /* the flow's, as the next line; 0: 5 */
    uint32_t beta, iterations, block; /* 0: 2, 30, 256 */
    double sparsity;                  /* share to kill: of the model, found by trying gains, or of each row */
    const char *pattern;     /* "2:4", "4:8": what each group of columns keeps, in place of a sparsity; or NULL */
    const char *calibration; /* safetensors file of column scales; NULL: v1 */
    const char *eval_text;   /* UTF-8 file: when all is written, compare with the donor on it; or NULL */
    struct phy_target_params targets;
    bool follow_symlinks, force, resume;
    const struct phy_host *host;
};

/* What a finished run came to; the same numbers as OUT/physarium/surgery.json. */
struct phy_surgery_result {
    uint64_t total_elements, target_elements, processed, killed, zero_before;
    double gain; /* 0 without the flow */
    double seconds;
    bool already_finished; /* --resume of a finished output: nothing was written */
    bool evaluated;        /* the next line counts */
    double perplexity, donor_perplexity, kl_bits, top1_agreement;
    bool device_lost; /* some tiles were redone on the CPU */
};

/* Prune a checkpoint as docs/tile-flow.md says, or docs/rank.md for the other methods, and write it by the W rules of
 * docs/checkpoint-rules.md, with its reports. The donor is never written to; the output appears by one rename. result
 * may be NULL. Errors: those of phy_checkpoint_open and phy_targets_choose, with eval_text those of phy_model_open,
 * phy_tokenizer_encode and phy_eval_run, and
 *
 *   PHY_ERR_USAGE        parameters out of range, an output that is refused, a journal of other options
 *   PHY_ERR_IO           no space, a write that failed, a donor that changed; the partial directory stays
 *   PHY_ERR_FORMAT       a weight that is not finite or too large, a calibration that does not fit
 *   PHY_ERR_LIMIT        memory_bytes are too few for these threads, or for a row that is to be ranked
 *   PHY_ERR_DEVICE       no such device, or one that is not bit-exact
 *   PHY_ERR_INTERRUPTED  the host asked to stop; resume goes on from here
 *
 * Thread-safety: any thread; runs with different outputs are independent. */
PHY_API enum phy_status phy_surgery_run(const struct phy_surgery_params *params, struct phy_surgery_result *result);

#ifdef __cplusplus
}
#endif
#endif
