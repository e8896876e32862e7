/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_CALIBRATE_H
#define PHYSARIUM_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include "model.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct phy_calibrate_params {
    const char *directory; /* the model's, as phy_model_open got it */
    struct phy_model *model;
    const uint32_t *tokens; /* (token_count) of the text, without special tokens */
    size_t token_count;
    const char *text_digest; /* goes into the file's metadata; NULL: the XXH3 of the tokens */
    uint32_t context;        /* tokens of a window, each from an empty cache; 0: 512, or what the model allows */
    bool has_bos;            /* each window begins with `bos` */
    uint32_t bos;
    double alpha;       /* 0: 1 */
    const char *output; /* safetensors file; appears by rename */
    const struct phy_host *host;
};

/* Measure the root mean square of every target tensor's input channels over a text, and write for each the vector
 *
 *   scale[j] = rms[j]^alpha / mean over j of rms[j]^alpha
 *
 * as F32 under the weight's name: the calibration that surgery's activation-aware flow reads (docs/tile-flow.md). The
 * incomplete window at the end is used too.
 *   PHY_ERR_USAGE  no tokens, alpha outside 0 .. 4, an output that lies in the model's directory
 *   PHY_ERR_IO     the output cannot be written
 * and the errors of phy_targets_choose and phy_session_forward */
PHY_API enum phy_status phy_calibrate_run(const struct phy_calibrate_params *params);

#ifdef __cplusplus
}
#endif
#endif
