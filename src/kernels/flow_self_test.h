/* SPDX-License-Identifier: Apache-2.0 */
/* What a device must answer before it is trusted with the tile flow (docs/tile-flow.md, "Arithmetic").
 *
 * Two parts: a table of operands for single operations, and a few whole tiles. Inputs come from an integer hash, so
 * they are the same on every machine; the expected answers are kept as digests (from tools/flow_ref.py and numpy), so a
 * host whose own arithmetic is off cannot vouch for itself.
 *
 * A device that is not the CPU: upload phy_flow_self_test_operands, read back one phy_flow_outcomes for each, ask
 * phy_flow_self_test_judge_operations; then run each of phy_flow_self_test_tiles (inputs by phy_flow_self_test_inputs)
 * as it runs any region, with apply, and ask phy_flow_self_test_judge_tile. */
#ifndef PHY_KERNELS_FLOW_SELF_TEST_H
#define PHY_KERNELS_FLOW_SELF_TEST_H

#include "kernels/flow_tile.h"
#include "physarium/status.h"

enum {
    PHY_FLOW_SELF_TEST_OPERANDS = 4096,
    PHY_FLOW_SELF_TEST_TILES = 4,
    PHY_FLOW_SELF_TEST_MAX_CELLS = PHY_FLOW_MAX_BLOCK * PHY_FLOW_MAX_BLOCK,
};

/* 20 bytes, five uint32 to a device. No operand, no result and no product a*b is subnormal, infinite or NaN. */
struct phy_flow_operands {
    uint32_t a, b, c; /* bits of float32 */
    uint32_t x;       /* bits of a float32 in [0, 2^23), with a fraction or without */
    uint32_t u;       /* integer < 2^24 */
};

/* 28 bytes, seven uint32 to a device. Bits of float32 except to_uint. */
struct phy_flow_outcomes {
    uint32_t add;      /* a + b */
    uint32_t sub;      /* a - b */
    uint32_t mul;      /* a * b */
    uint32_t mul_add;  /* a * b + c, rounded twice: a fused form differs on a sixth of the table */
    uint32_t mul_sub;  /* c - a * b, rounded twice: the step of the reciprocal */
    uint32_t to_uint;  /* (uint)x, towards zero */
    uint32_t to_float; /* (float)u, exact */
};

/* A whole tile: dense codes, row_stride = cols. */
struct phy_flow_self_test_tile {
    const char *name; /* for people: "a 256x256 bf16 tile" */
    enum phy_float_type type;
    uint32_t rows, cols;
    bool column_scaled;
    struct phy_flow_params params;
    struct phy_flow_tile_result result; /* expected */
    uint64_t conductance_digest;        /* of the D bits, expected */
    uint64_t codes_digest;              /* of the codes after apply, expected */
};
extern const struct phy_flow_self_test_tile phy_flow_self_test_tiles[PHY_FLOW_SELF_TEST_TILES];

/* operands: (PHY_FLOW_SELF_TEST_OPERANDS). */
void phy_flow_self_test_operands(struct phy_flow_operands *operands);
/* The same operations in plain C on this processor, for a message that shows an expected value. Operands are (count).
 */
void phy_flow_self_test_outcomes(const struct phy_flow_operands *operands, uint32_t count,
                                 struct phy_flow_outcomes *outcomes);
/* outcomes: (PHY_FLOW_SELF_TEST_OPERANDS). NULL if every one is right, else the first operation that differed: "a*b+c".
 * The string is static. */
const char *phy_flow_self_test_judge_operations(const struct phy_flow_outcomes *outcomes);

/* codes: (rows, cols) in the tile's type; column_scale: (cols), written when the tile is column_scaled. */
void phy_flow_self_test_inputs(const struct phy_flow_self_test_tile *tile, void *codes, float *column_scale);
/* codes: after apply. conductance: (rows, cols) dense, or NULL if the device does not give it out.
 * NULL if all is right, else what differed: "conductance", "counts" or "output". */
const char *phy_flow_self_test_judge_tile(const struct phy_flow_self_test_tile *tile, const void *codes,
                                          const float *conductance, const struct phy_flow_tile_result *result);

/* All of it on a form of the CPU; about a millisecond, and 10 more for "ref". The processor must meet variant->needs.
 *   PHY_ERR_DEVICE  `failed` (of failed_bytes, never overrun) says what differed: "a*b+c" or
 *                   "conductance of a ... tile"
 *   PHY_ERR_MEMORY  host allocation failed */
enum phy_status phy_flow_self_test(const struct phy_flow_variant *variant, char *failed, size_t failed_bytes);

/* The digest: FNV-1a over 32-bit words, low word first; a last half word counts as a word. */
uint64_t phy_flow_self_test_digest(const void *data, size_t bytes);

#endif
