/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a surgery: the output cut into units, in output order, worked out as they are asked for. */
#ifndef PHY_SURGERY_UNITS_H
#define PHY_SURGERY_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "physarium/targets.h"

enum phy_unit_kind { PHY_UNIT_COPY, PHY_UNIT_FLOW };

/* One piece of one shard's file. A flow unit is whole block rows of a target; a block row that does not fit is cut into
 * column chunks of whole tiles, and the last chunk completes the block row. */
struct phy_unit {
    enum phy_unit_kind kind;
    size_t shard;
    uint64_t at;    /* of its first byte in the file */
    uint64_t bytes; /* of its codes, dense */
    /* Flow units. */
    size_t target; /* index in the target list */
    enum phy_float_type type;
    uint64_t row, col, rows, cols;
    uint64_t row_stride_bytes; /* from row to row in the file; cols times the code's size when it is contiguous */
    bool contiguous;
    /* The shard is complete up to here once this unit and those before it are written; 0: no further than before (a
     * column chunk). */
    uint64_t complete_to;
};

struct phy_unit_limits {
    uint64_t bytes; /* of a unit: codes and, when scaled, 4 bytes for each of its columns */
    uint64_t tiles; /* of a flow unit */
    uint32_t block;
    bool scaled;
    /* Ranked rows: units are whole rows, whatever their width, each row a tile; the row's columns take this many bytes
     * more in a buffer. 0: tiles. */
    uint32_t row_column_bytes;
};

/* Shape of a target tensor. */
struct phy_matrix {
    uint64_t at, bytes, rows, cols;
    size_t shard;
    enum phy_float_type type;
    size_t code_bytes;
};
struct phy_matrix phy_matrix_of(const struct phy_checkpoint *checkpoint, const struct phy_target *target);

struct phy_unit_cursor {
    const struct phy_checkpoint *checkpoint;
    const struct phy_target_list *targets;
    struct phy_unit_limits limits;
    size_t shard;
    uint64_t at;
    size_t target; /* first one that does not end before `at` */
    uint64_t col;  /* column chunks done of the block row at `at` */
};

/* Start at a position that an earlier unit was complete to, whatever its limits were, or at 0, 0. */
void phy_unit_cursor_start(struct phy_unit_cursor *cursor, const struct phy_checkpoint *checkpoint,
                           const struct phy_target_list *targets, const struct phy_unit_limits *limits, size_t shard,
                           uint64_t at);
/* False at the end. */
bool phy_unit_next(struct phy_unit_cursor *cursor, struct phy_unit *out);

/* The least phy_unit_limits.bytes that any tensor can be cut to: one tile, F32, scaled. */
#define PHY_UNIT_LEAST_BYTES(block) ((uint64_t)(block) * (block)*4 + (uint64_t)(block)*4)

#endif
