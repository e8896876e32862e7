/* SPDX-License-Identifier: Apache-2.0 */
/* What a run has come to so far: filled by the pipeline in output order, journaled as it grows, read back on a resume.
 */
#ifndef PHY_SURGERY_RESULTS_H
#define PHY_SURGERY_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "surgery/bytes.h"
#include "surgery/units.h"

enum { PHY_MOST_DEVICES = 32, PHY_TILE_CHOICES = 1024 };

enum phy_surgery_stage {
    PHY_STAGE_CHECK,
    PHY_STAGE_GAIN,
    PHY_STAGE_STREAM,
    PHY_STAGE_VERIFY,
    PHY_STAGE_EVAL,
    PHY_STAGE_FINISH,
    PHY_STAGES
};

struct phy_tensor_result {
    uint64_t processed;           /* weights of the tiles done so far */
    uint64_t killed, zero_before; /* of these */
    double tile_min, tile_max;    /* killed share of one tile; min > max: none yet */
    double seconds;
    uint64_t xxh3;       /* once the tensor is written */
    uint32_t devices;    /* bit n: names[n] took part */
    uint32_t flow_units; /* 0: no tile yet */
};

struct phy_shard_result {
    uint64_t xxh3; /* of the whole file, once it is written */
    double seconds;
};

struct phy_device_result {
    char name[128], description[256];
    uint64_t weights;
    double busy_seconds;
};

/* A tile that may stand in the report: for each killed share, in 1024 steps, the largest tile seen, the first of its
 * size. */
struct phy_tile_choice {
    uint64_t row, col;
    uint32_t target, cells, killed; /* cells 0: none */
};

struct phy_results {
    size_t tensor_count, shard_count;
    struct phy_tensor_result *tensors;
    struct phy_shard_result *shards;
    struct phy_device_result devices[PHY_MOST_DEVICES];
    size_t device_count;
    struct phy_tile_choice choices[PHY_TILE_CHOICES];
    bool choice_changed[PHY_TILE_CHOICES]; /* since the last record */
    uint64_t tiles_redone;
    uint32_t resumed_count;
    double stage_seconds[PHY_STAGES];
    /* The output is complete and fsynced up to here, once this has been recorded. */
    size_t shard;
    uint64_t at, prefix_xxh3;          /* hash of the shard's bytes before `at` */
    size_t first_changed, end_changed; /* tensors touched since the last record */
};

enum phy_status phy_results_open(struct phy_results **out, size_t tensor_count, size_t shard_count,
                                 const struct phy_host *host);
/* Back to nothing done. */
void phy_results_clear(struct phy_results *results);
void phy_results_close(struct phy_results **results);

/* Index of a device by name, added if it is new; the last one stands for all when there are too many. */
uint32_t phy_results_device(struct phy_results *results, const char *name, const char *description);
/* Note that a tensor's result changed. */
void phy_results_touch(struct phy_results *results, size_t tensor);
/* Count the tiles of a finished flow unit. */
void phy_results_add_tiles(struct phy_results *results, const struct phy_target *target, const struct phy_unit *unit,
                           const struct phy_flow_tile_result *tiles, uint32_t block);
/* Count the rows of a ranked unit: each is its own tile, and none is for the picture. */
void phy_results_add_rows(struct phy_results *results, const struct phy_target *target, const struct phy_unit *unit,
                          const struct phy_flow_tile_result *rows);
/* The tile whose killed share is nearest the run's; NULL when no tile was processed. */
const struct phy_tile_choice *phy_results_choose_tile(const struct phy_results *results);

/* A progress record: everything that changed since the one before. */
void phy_results_write(struct phy_results *results, struct phy_bytes *payload);
/* Replay one. False if it does not fit these tensors and shards. */
bool phy_results_read(struct phy_results *results, const void *payload, size_t bytes);

#endif
