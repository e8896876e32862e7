/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "support/donor.h"
#include "surgery/units.h"

static const struct donor_tensor odd[] = {
    {"embed.weight", "BF16", 100, 7},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 1, 1},
    {"model.layers.0.self_attn.k_proj.weight", "F32", 1, 5000},
    {"model.layers.0.self_attn.v_proj.weight", "F16", 5000, 1},
    {"norm.weight", "F32", 3, 0},
    {"model.layers.0.self_attn.o_proj.weight", "F32", 640, 1152},
    {"model.layers.0.mlp.gate_proj.weight", "BF16", 257, 257},
    {"model.layers.0.mlp.up_proj.weight", "F16", 31, 3000},
    {"model.layers.0.mlp.down_proj.weight", "BF16", 300, 33},
    {"tail.weight", "F32", 1000, 0},
};

struct fixture {
    char folder[64];
    struct phy_checkpoint *checkpoint;
    struct phy_target_list targets;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    donor_enter_folder(f->folder);
    donor_write_safetensors("d.safetensors", odd, sizeof odd / sizeof *odd, 1, 3);
    assert_int_equal(phy_checkpoint_open(&f->checkpoint, "d.safetensors", NULL), PHY_OK);
    assert_int_equal(phy_targets_choose(&f->targets, f->checkpoint, NULL, NULL), PHY_OK);
    assert_int_equal(f->targets.count, 7);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    phy_target_list_free(&f->targets);
    phy_checkpoint_close(&f->checkpoint);
    donor_leave_folder(f->folder);
    free(f);
    return 0;
}

static void check_tiles(const struct phy_unit_limits *limits, const struct phy_unit *unit, const struct phy_matrix *m)
{
    uint64_t scale = limits->scaled ? unit->cols * 4 : 0;
    assert_true(unit->bytes + scale <= limits->bytes);
    assert_true(phy_flow_region_tile_count(unit->rows, unit->cols, limits->block) <= limits->tiles);
    assert_true(unit->row % limits->block == 0 && unit->col % limits->block == 0);
    assert_true(unit->rows % limits->block == 0 || unit->row + unit->rows == m->rows);
    assert_true(unit->cols % limits->block == 0 || unit->col + unit->cols == m->cols);
}

static void check_rows(const struct phy_unit_limits *limits, const struct phy_unit *unit, const struct phy_matrix *m)
{
    assert_true(unit->contiguous && unit->col == 0 && unit->cols == m->cols && unit->rows >= 1);
    assert_true(unit->bytes + unit->cols * limits->row_column_bytes <= limits->bytes);
    assert_true(unit->rows <= limits->tiles);
    assert_true(unit->complete_to == unit->at + unit->bytes);
}

/* Walk the plan from `at`, mark every byte it writes, and check what each unit says of itself. Returns the units. */
static unsigned walk(const struct fixture *f, const struct phy_unit_limits *limits, uint64_t at, unsigned char *marks)
{
    struct phy_unit_cursor cursor;
    struct phy_unit unit;
    struct phy_shard_info shard;
    phy_checkpoint_shard(f->checkpoint, 0, &shard);
    uint64_t complete = at;
    unsigned count = 0;
    phy_unit_cursor_start(&cursor, f->checkpoint, &f->targets, limits, 0, at);
    for (; phy_unit_next(&cursor, &unit); count++) {
        if (unit.kind == PHY_UNIT_COPY) {
            assert_true(unit.bytes <= limits->bytes);
            for (uint64_t i = 0; i < unit.bytes; i++)
                marks[unit.at + i]++;
        } else {
            struct phy_matrix m = phy_matrix_of(f->checkpoint, &f->targets.targets[unit.target]);
            assert_true(unit.bytes == unit.rows * unit.cols * m.code_bytes);
            assert_true(!unit.contiguous || unit.cols == m.cols);
            if (limits->row_column_bytes)
                check_rows(limits, &unit, &m);
            else
                check_tiles(limits, &unit, &m);
            for (uint64_t r = 0; r < unit.rows; r++)
                for (uint64_t i = 0; i < unit.cols * m.code_bytes; i++)
                    marks[unit.at + r * unit.row_stride_bytes + i]++;
        }
        if (unit.complete_to) {
            for (uint64_t i = complete; i < unit.complete_to; i++)
                assert_int_equal(marks[i], 1);
            complete = unit.complete_to;
        }
    }
    assert_true(complete == shard.file_bytes);
    return count;
}

static void units_cover_every_byte_once_whatever_the_limits(void **state)
{
    struct fixture *f = *state;
    struct phy_shard_info shard;
    phy_checkpoint_shard(f->checkpoint, 0, &shard);
    unsigned char *marks = malloc(shard.file_bytes);
    static const uint32_t blocks[] = {32, 64, 128, 256};
    for (size_t b = 0; b < 4; b++) {
        const uint64_t least = PHY_UNIT_LEAST_BYTES(blocks[b]);
        const uint64_t bytes[] = {least, least + 1, least * 3, least * 7 + 13, 8 << 20};
        for (size_t i = 0; i < 5; i++) {
            for (int scaled = 0; scaled < 2; scaled++) {
                for (uint64_t tiles = 1; tiles <= 4096; tiles *= 8) {
                    struct phy_unit_limits limits = {bytes[i], tiles, blocks[b], scaled, 0};
                    memset(marks, 0, shard.file_bytes);
                    walk(f, &limits, 0, marks);
                }
            }
        }
    }
    free(marks);
}

static void ranked_units_are_whole_rows(void **state)
{
    struct fixture *f = *state;
    struct phy_shard_info shard;
    phy_checkpoint_shard(f->checkpoint, 0, &shard);
    unsigned char *marks = malloc(shard.file_bytes);
    uint64_t widest = 0;
    for (size_t i = 0; i < f->targets.count; i++) {
        uint64_t cols = phy_matrix_of(f->checkpoint, &f->targets.targets[i]).cols;
        widest = cols > widest ? cols : widest;
    }
    const uint64_t least = widest * 20, bytes[] = {least, least + 1, least * 3 + 5, 8 << 20};
    for (size_t i = 0; i < 4; i++) {
        for (uint64_t tiles = 1; tiles <= 512; tiles *= 8) {
            struct phy_unit_limits limits = {.bytes = bytes[i], .tiles = tiles, .block = 256, .row_column_bytes = 16};
            memset(marks, 0, shard.file_bytes);
            walk(f, &limits, 0, marks);
        }
    }
    free(marks);
}

static void a_plan_goes_on_where_one_of_other_limits_stopped(void **state)
{
    struct fixture *f = *state;
    struct phy_shard_info shard;
    phy_checkpoint_shard(f->checkpoint, 0, &shard);
    unsigned char *marks = malloc(shard.file_bytes);
    struct phy_unit_limits small = {PHY_UNIT_LEAST_BYTES(32), 2, 32, true, 0}, large = {1 << 20, 8192, 32, false, 0};
    struct phy_unit_cursor cursor;
    struct phy_unit unit;
    unsigned stops = 0;
    phy_unit_cursor_start(&cursor, f->checkpoint, &f->targets, &small, 0, 0);
    for (unsigned n = 0; phy_unit_next(&cursor, &unit); n++) {
        if (unit.complete_to == 0 || n % 3 != 0)
            continue;
        memset(marks, 0, shard.file_bytes);
        walk(f, &large, unit.complete_to, marks);
        stops++;
    }
    assert_true(stops > 10);
    free(marks);
}

static void a_wide_block_row_is_cut_into_columns(void **state)
{
    struct fixture *f = *state;
    struct phy_unit_limits limits = {PHY_UNIT_LEAST_BYTES(256), 8192, 256, false, 0};
    struct phy_unit_cursor cursor;
    struct phy_unit unit;
    unsigned chunks = 0, completing = 0;
    phy_unit_cursor_start(&cursor, f->checkpoint, &f->targets, &limits, 0, 0);
    while (phy_unit_next(&cursor, &unit)) {
        if (unit.kind == PHY_UNIT_FLOW && unit.row_stride_bytes == 1152 * 4 && !unit.contiguous) {
            chunks++;
            completing += unit.complete_to != 0;
        }
    }
    assert_int_equal(completing, 3); /* 640 rows are three block rows */
    assert_true(chunks > completing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_cover_every_byte_once_whatever_the_limits),
        cmocka_unit_test(ranked_units_are_whole_rows),
        cmocka_unit_test(a_plan_goes_on_where_one_of_other_limits_stopped),
        cmocka_unit_test(a_wide_block_row_is_cut_into_columns),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
