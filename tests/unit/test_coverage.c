/* SPDX-License-Identifier: Apache-2.0 */
/* Damage of every kind, made on purpose, and what coverage says of it. The output is made here, tile by tile with the
 * reference form, not by the surgery engine: the two must agree because both follow docs/tile-flow.md. */
#include "support/test.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/io.h"
#include "kernels/flow_tile.h"
#include "physarium/physarium.h"
#include "report/surgery_report.h"
#include "support/donor.h"

static const struct donor_tensor first_shard[] = {
    {"model.embed_tokens.weight", "BF16", 40, 33},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 70, 300},
    {"model.layers.0.mlp.up_proj.weight", "F16", 33, 65},
    {"model.norm.weight", "F32", 32, 0},
};
static const struct donor_tensor second_shard[] = {
    {"model.layers.1.self_attn.q_proj.weight", "BF16", 64, 300},
    {"model.layers.1.mlp.up_proj.weight", "F32", 300, 20},
};

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"

static char folder[64];
static struct log_record record;

/* ---- making a donor and an output ---- */

static void make_donor(void)
{
    static const char index[] =
        "{\"metadata\":{},\"weight_map\":{\"model.embed_tokens.weight\":\"" SHARD_1 "\","
        "\"model.layers.0.self_attn.q_proj.weight\":\"" SHARD_1 "\",\"model.layers.0.mlp.up_proj.weight\":\"" SHARD_1
        "\","
        "\"model.norm.weight\":\"" SHARD_1 "\",\"model.layers.1.self_attn.q_proj.weight\":\"" SHARD_2 "\","
        "\"model.layers.1.mlp.up_proj.weight\":\"" SHARD_2 "\"}}";
    mkdir("donor", 0777);
    mkdir("donor/sub", 0777);
    donor_write_safetensors("donor/" SHARD_1, first_shard, 4, 1, 3);
    donor_write_safetensors("donor/" SHARD_2, second_shard, 2, 2, 0);
    donor_write("donor/" INDEX, index, strlen(index));
    donor_write("donor/config.json", "{\"a\": 1}\n", 9);
    donor_write("donor/sub/tokenizer.json", "tokens", 6);
    donor_write("donor/empty", "", 0);
}

static void copy_file(const char *from, const char *to)
{
    size_t bytes;
    unsigned char *data = donor_read(from, &bytes);
    assert_non_null(data);
    donor_write(to, data, bytes);
    free(data);
}

/* Prune a tensor in memory and count, tile by tile. */
static void prune(unsigned char *codes, const struct phy_tensor_info *info, struct phy_report_tensor *out)
{
    const struct phy_flow_params params = {5.0f, 2, 30, 256};
    static _Alignas(64) char scratch[PHY_FLOW_SCRATCH_BYTES];
    enum phy_float_type type = info->dtype[0] == 'B'   ? PHY_FLOAT_BF16
                               : info->dtype[1] == '1' ? PHY_FLOAT_F16
                                                       : PHY_FLOAT_F32;
    out->rows = info->shape[0];
    out->cols = info->shape[1];
    void *aligned = malloc(info->bytes);
    memcpy(aligned, codes, info->bytes);
    for (uint64_t r = 0; r < out->rows; r += 256) {
        for (uint64_t c = 0; c < out->cols; c += 256) {
            struct phy_flow_tile_result result;
            struct phy_flow_tile tile = {.codes = (char *)aligned + (r * out->cols + c) * phy_float_bytes(type),
                                         .row_stride = out->cols,
                                         .type = type,
                                         .rows = (uint32_t)(out->rows - r < 256 ? out->rows - r : 256),
                                         .cols = (uint32_t)(out->cols - c < 256 ? out->cols - c : 256),
                                         .apply = true};
            phy_flow_variants[0].run(&tile, &params, scratch, &result);
            out->processed += (uint64_t)tile.rows * tile.cols;
            out->killed += result.killed;
            out->zero_before += result.zero_before;
        }
    }
    memcpy(codes, aligned, info->bytes);
    free(aligned);
}

/* Prune the weight files of an output that is still a copy, and write its reports. */
static void prune_output(const char *donor_path, const char *output, bool is_directory, const char *reports)
{
    struct phy_checkpoint *donor;
    struct phy_target_list targets;
    assert_int_equal(phy_checkpoint_open(&donor, donor_path, NULL), PHY_OK);
    assert_int_equal(phy_targets_choose(&targets, donor, NULL, NULL), PHY_OK);
    size_t count = phy_checkpoint_tensor_count(donor), next = 0;
    struct phy_report_tensor tensors[8] = {0};
    struct phy_report_shard shards[2] = {0};
    for (size_t s = 0; s < phy_checkpoint_shard_count(donor); s++) {
        struct phy_shard_info shard;
        char path[200];
        size_t bytes;
        phy_checkpoint_shard(donor, s, &shard);
        snprintf(path, sizeof path, is_directory ? "%s/%s" : "%s", output, shard.name);
        unsigned char *file = donor_read(path, &bytes);
        for (size_t i = shard.tensor_begin; i < shard.tensor_end; i++) {
            struct phy_tensor_info info;
            phy_checkpoint_tensor(donor, i, &info);
            tensors[i] = (struct phy_report_tensor){.name = info.name,
                                                    .name_bytes = info.name_bytes,
                                                    .dtype = info.dtype,
                                                    .shard = shard.name,
                                                    .elements = info.bytes * 8 / info.element_bits,
                                                    .bytes = info.bytes};
            if (next < targets.count && targets.targets[next].tensor == i) {
                tensors[i].target = true;
                tensors[i].layer = targets.targets[next].layer;
                tensors[i].projection = targets.targets[next++].projection;
                tensors[i].device = "cpu:ref";
                prune(file + info.at, &info, &tensors[i]);
            }
            tensors[i].xxh3 = XXH3_64bits(file + info.at, info.bytes);
        }
        donor_write(path, file, bytes);
        shards[s] = (struct phy_report_shard){.name = shard.name, .bytes = bytes, .header_bytes = shard.header_bytes};
        free(file);
    }
    struct phy_surgery_record made = {.donor_name = "donor",
                                      .output_name = "out",
                                      .donor_digest = "0",
                                      .device_spec = "cpu",
                                      .gain = 5,
                                      .beta = 2,
                                      .iterations = 30,
                                      .block = 256,
                                      .tensors = tensors,
                                      .tensor_count = count,
                                      .shards = shards,
                                      .shard_count = phy_checkpoint_shard_count(donor)};
    mkdir(reports, 0777);
    int dir_fd = open(reports, O_RDONLY | O_DIRECTORY);
    assert_int_equal(phy_report_write_surgery(dir_fd, &made, NULL), PHY_OK);
    close(dir_fd);
    phy_target_list_free(&targets);
    phy_checkpoint_close(&donor);
}

static void make_output(void)
{
    static const char *const files[] = {SHARD_1, SHARD_2, INDEX, "config.json", "sub/tokenizer.json", "empty"};
    mkdir("out", 0777);
    mkdir("out/sub", 0777);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[200], to[200];
        snprintf(from, sizeof from, "donor/%s", files[i]);
        snprintf(to, sizeof to, "out/%s", files[i]);
        copy_file(from, to);
    }
    prune_output("donor", "out", true, "out/physarium");
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/physarium-coverage-XXXXXX");
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    make_donor();
    make_output();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return chdir("/") != 0 || system(command) != 0;
}

/* ---- damaging it ---- */

static void change_byte(const char *path, uint64_t at, unsigned char mask)
{
    size_t bytes;
    unsigned char *data = donor_read(path, &bytes);
    assert_true(at < bytes);
    data[at] ^= mask;
    donor_write(path, data, bytes);
    free(data);
}

static void put_bytes(const char *path, uint64_t at, const void *what, size_t count)
{
    size_t bytes;
    unsigned char *data = donor_read(path, &bytes);
    assert_true(at + count <= bytes);
    memcpy(data + at, what, count);
    donor_write(path, data, bytes);
    free(data);
}

/* Position in its file of a tensor's element. */
static uint64_t position_of(const char *tensor, uint64_t element)
{
    struct phy_checkpoint *donor;
    struct phy_tensor_info info = {0};
    assert_int_equal(phy_checkpoint_open(&donor, "donor", NULL), PHY_OK);
    uint64_t at = 0;
    for (size_t i = 0; i < phy_checkpoint_tensor_count(donor); i++) {
        phy_checkpoint_tensor(donor, i, &info);
        if (strcmp(info.name, tensor) == 0)
            at = info.at + element * info.element_bits / 8;
    }
    phy_checkpoint_close(&donor);
    assert_true(at > 0);
    return at;
}

/* The first BF16 element of a tensor, after `from`, whose donor and output codes are as asked for. */
static uint64_t find_element(const char *shard, const char *tensor, uint64_t from,
                             bool (*wanted)(unsigned donor, unsigned output))
{
    char path[200];
    size_t bytes;
    snprintf(path, sizeof path, "donor/%s", shard);
    unsigned char *a = donor_read(path, &bytes);
    snprintf(path, sizeof path, "out/%s", shard);
    unsigned char *b = donor_read(path, &bytes);
    uint64_t at = position_of(tensor, 0), i = from;
    while (
        !wanted((unsigned)(a[at + 2 * i] | a[at + 2 * i + 1] << 8), (unsigned)(b[at + 2 * i] | b[at + 2 * i + 1] << 8)))
        i++;
    free(a);
    free(b);
    return i;
}

static bool is_survivor(unsigned donor, unsigned output)
{
    return output != 0 && output != 0x8000 && donor == output;
}
static bool is_killed(unsigned donor, unsigned output)
{
    return output == 0 && donor != 0 && donor != 0x8000;
}
static bool is_minus_zero(unsigned donor, unsigned output)
{
    return donor == 0x8000 && output == 0x8000;
}

static void replace_text(const char *path, const char *from, const char *to)
{
    size_t bytes;
    char *text = (char *)donor_read(path, &bytes), *at = strstr(text, from);
    assert_non_null(at);
    char *changed = malloc(bytes + strlen(to) + 1);
    size_t head = (size_t)(at - text);
    memcpy(changed, text, head);
    memcpy(changed + head, to, strlen(to));
    memcpy(changed + head + strlen(to), at + strlen(from), bytes - head - strlen(from));
    donor_write(path, changed, bytes + strlen(to) - strlen(from));
    free(changed);
    free(text);
}

/* ---- asking ---- */

static enum phy_status cover(struct phy_coverage **out, const struct phy_coverage_params *params)
{
    struct phy_host host = recording_host(&record);
    struct phy_coverage_params run = params ? *params : (struct phy_coverage_params){0};
    run.host = &host;
    run.donor = run.donor ? run.donor : "donor";
    run.output = run.output ? run.output : "out";
    run.threads = run.threads ? run.threads : 2;
    return phy_coverage_run(out, &run);
}

/* The first damage is of this kind, in this file and tensor (NULL: none), and the line says `fact`. */
static void expect_damage(enum phy_damage_kind kind, const char *file, const char *tensor, const char *fact)
{
    struct phy_coverage *coverage;
    enum phy_status status = cover(&coverage, NULL);
    assert_int_equal(status, PHY_ERR_MISMATCH);
    assert_int_equal(phy_status_exit_code(status), 8);
    assert_int_equal(record.errors, 1);
    assert_true(coverage->damage_count > 0);
    if (coverage->damages[0].kind != kind || !strstr(record.error, fact))
        fail_msg("%s: \"%s\" was expected", record.error, fact);
    assert_string_equal(coverage->damages[0].file, file);
    assert_true(strncmp(record.error, file, strlen(file)) == 0);
    if (tensor) {
        assert_non_null(strstr(record.error, tensor));
        assert_string_equal(coverage->damages[0].tensor, tensor);
        assert_true(coverage->damages[0].has_position);
    }
    phy_coverage_free(&coverage);
}

/* ---- intact ---- */

static void an_untouched_output_is_intact(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    assert_int_equal(record.errors + record.warnings, 0);
    assert_int_equal(coverage->difference_count, 0);
    assert_int_equal(coverage->targets_from, PHY_COVERAGE_FROM_REPORT);
    assert_int_equal(coverage->coverage_json, PHY_COVERAGE_REPORT_AGREES);
    assert_int_equal(coverage->tensors_jsonl, PHY_COVERAGE_REPORT_AGREES);
    assert_true(coverage->denominator_correct);
    assert_int_equal(coverage->target.processed, 70 * 300 + 33 * 65 + 64 * 300 + 300 * 20);
    assert_true(coverage->target.killed > coverage->target.processed / 10);
    assert_int_equal(coverage->projection_count, 2);
    assert_int_equal(coverage->layer_count, 2);
    assert_int_equal(coverage->cell_count, 4);
    assert_int_equal(coverage->total_elements, coverage->target.elements + 40 * 33 + 32);
    phy_coverage_free(&coverage);
}

static void the_flow_again_gives_every_byte(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    struct phy_coverage_params params = {.recompute = true};
    assert_int_equal(cover(&coverage, &params), PHY_OK);
    assert_true(coverage->recomputed && coverage->recompute_agrees);
    assert_int_equal(coverage->recomputed_weights, coverage->target.elements);
    phy_coverage_free(&coverage);
    params.gain = 4; /* another gain than the output's: other bytes */
    assert_int_equal(cover(&coverage, &params), PHY_ERR_MISMATCH);
    assert_false(coverage->recompute_agrees);
    assert_int_equal(coverage->damages[0].kind, PHY_DAMAGE_RECOMPUTE);
    assert_non_null(strstr(record.error, "the flow on cpu:"));
    phy_coverage_free(&coverage);
    params.gain = 1000;
    assert_int_equal(cover(&coverage, &params), PHY_ERR_USAGE);
    params = (struct phy_coverage_params){.recompute = true, .device = "no such device"};
    assert_int_equal(cover(&coverage, &params), PHY_ERR_USAGE);
    assert_null(coverage);
}

static void what_surgery_writes_is_intact(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"donor", "made"}, {"donor/" SHARD_1, "made.safetensors"}};
    for (size_t i = 0; i < 2; i++) {
        struct phy_coverage *coverage;
        struct phy_surgery_result result;
        /* options other than the defaults, so that reading them from the report matters */
        struct phy_surgery_params surgery = {.donor = pairs[i][0],
                                             .output = pairs[i][1],
                                             .block = 64,
                                             .sparsity = 0.4,
                                             .targets = {.include = (const char *[]){"*proj*", "*embed*"},
                                                         .include_count = 2,
                                                         .exclude = (const char *[]){"*.1.mlp.*", "no such"},
                                                         .exclude_count = 2}};
        assert_int_equal(phy_surgery_run(&surgery, &result), PHY_OK);
        struct phy_coverage_params params = {.donor = pairs[i][0], .output = pairs[i][1], .recompute = true};
        assert_int_equal(cover(&coverage, &params), PHY_OK);
        assert_int_equal(coverage->targets_from, PHY_COVERAGE_FROM_REPORT);
        assert_int_equal(coverage->target.tensors, i ? 3 : 4);
        assert_int_equal(coverage->target.killed, result.killed);
        assert_int_equal(coverage->coverage_json, PHY_COVERAGE_REPORT_AGREES);
        assert_int_equal(coverage->tensors_jsonl, PHY_COVERAGE_REPORT_AGREES);
        assert_true(coverage->recompute_agrees);
        phy_coverage_free(&coverage);
    }
}

static void targets_may_be_given(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    struct phy_coverage_params params = {.targets = {.has_layers = true, .first_layer = 0, .last_layer = 1}};
    assert_int_equal(cover(&coverage, &params), PHY_OK);
    assert_int_equal(coverage->targets_from, PHY_COVERAGE_FROM_PARAMS);
    phy_coverage_free(&coverage);
    params.targets.last_layer = 0; /* what was killed in layer 1 is then damage */
    assert_int_equal(cover(&coverage, &params), PHY_ERR_MISMATCH);
    assert_non_null(strstr(record.error, "model.layers.1."));
    assert_non_null(strstr(record.error, "it is no target and must be the donor's"));
    phy_coverage_free(&coverage);
}

static void an_output_without_reports_is_judged_by_the_default_names(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    assert_int_equal(system("rm -r out/physarium"), 0);
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    assert_int_equal(coverage->targets_from, PHY_COVERAGE_FROM_DEFAULTS);
    assert_int_equal(coverage->coverage_json, PHY_COVERAGE_REPORT_ABSENT);
    phy_coverage_free(&coverage);
}

static void a_single_file_pair_has_its_reports_beside_it(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    copy_file("donor/" SHARD_1, "donor.safetensors");
    copy_file("donor/" SHARD_1, "out.safetensors");
    prune_output("donor.safetensors", "out.safetensors", false, "out.safetensors.physarium");
    struct phy_coverage_params params = {.donor = "donor.safetensors", .output = "out.safetensors", .recompute = true};
    assert_int_equal(cover(&coverage, &params), PHY_OK);
    assert_int_equal(coverage->targets_from, PHY_COVERAGE_FROM_REPORT);
    assert_int_equal(coverage->tensors_jsonl, PHY_COVERAGE_REPORT_AGREES);
    phy_coverage_free(&coverage);
}

static void a_donor_of_hub_links_is_read_through(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    assert_int_equal(system("mkdir -p hub/blobs hub/snapshots && mv donor hub/snapshots/r && cd hub/snapshots/r && "
                            "for f in config.json " SHARD_1 "; do h=$(echo $f | sha256sum | cut -c1-64); "
                            "mv $f ../../blobs/$h; ln -s ../../blobs/$h $f; done"),
                     0);
    struct phy_coverage_params params = {.donor = "hub/snapshots/r"};
    assert_int_equal(cover(&coverage, &params), PHY_OK);
    phy_coverage_free(&coverage);
}

/* ---- damage to weights ---- */

static void a_flipped_header_bit_is_named(void **state)
{
    (void)state;
    change_byte("out/" SHARD_1, 20, 1);
    expect_damage(PHY_DAMAGE_HEADER, SHARD_1, NULL, "header differs from the donor's at byte 20 of ");
}

static void a_flipped_length_is_a_header_that_differs(void **state)
{
    (void)state;
    change_byte("out/" SHARD_2, 0, 1);
    expect_damage(PHY_DAMAGE_HEADER, SHARD_2, NULL, "header differs from the donor's at byte 0");
}

static void a_changed_copied_tensor_is_named_by_row_and_column(void **state)
{
    (void)state;
    change_byte("out/" SHARD_1, position_of("model.embed_tokens.weight", 7 * 33 + 5) + 1, 0x10);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_1, "model.embed_tokens.weight", "row 7, column 5: 0x");
    change_byte("out/" SHARD_1, position_of("model.embed_tokens.weight", 7 * 33 + 5) + 1, 0x10);
    change_byte("out/" SHARD_1, position_of("model.norm.weight", 31), 1);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_1, "model.norm.weight", "row 0, column 31");
}

static void a_changed_survivor_is_named_by_row_and_column(void **state)
{
    (void)state;
    static const char tensor[] = "model.layers.1.self_attn.q_proj.weight";
    char fact[80];
    uint64_t element = find_element(SHARD_2, tensor, 5000, is_survivor);
    change_byte("out/" SHARD_2, position_of(tensor, element), 1);
    snprintf(fact, sizeof fact, "row %d, column %d: 0x", (int)(element / 300), (int)(element % 300));
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_2, tensor, fact);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_2, tensor,
                  "a weight keeps its bits or becomes +0; 1 of 19200 weights are damaged");
}

static void a_killed_weight_must_be_plus_zero(void **state)
{
    (void)state;
    static const char tensor[] = "model.layers.0.self_attn.q_proj.weight";
    uint64_t element = find_element(SHARD_1, tensor, 100, is_killed);
    put_bytes("out/" SHARD_1, position_of(tensor, element), "\x00\x80", 2);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_1, tensor, "0x8000, the donor has 0x");
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_1, tensor, "a killed weight is +0");
}

static void a_zero_is_never_killed(void **state)
{
    (void)state;
    static const char tensor[] = "model.layers.0.self_attn.q_proj.weight";
    uint64_t element = find_element(SHARD_1, tensor, 0, is_minus_zero);
    put_bytes("out/" SHARD_1, position_of(tensor, element), "\x00\x00", 2);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_1, tensor, "0x0000, the donor has 0x8000: a zero keeps its bits");
}

/* What was killed looks right to a comparison; only the flow knows that it should live. */
static void a_weight_killed_in_secret_is_found_by_the_flow(void **state)
{
    (void)state;
    static const char tensor[] = "model.layers.1.self_attn.q_proj.weight";
    struct phy_coverage *coverage;
    char fact[80];
    uint64_t element = find_element(SHARD_2, tensor, 9000, is_survivor);
    put_bytes("out/" SHARD_2, position_of(tensor, element), "\x00\x00", 2);
    assert_int_equal(system("rm -r out/physarium"), 0);
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    phy_coverage_free(&coverage);
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.recompute = true, .device = "cpu:ref"}),
                     PHY_ERR_MISMATCH);
    snprintf(fact, sizeof fact, "row %d, column %d: 0x0000, the flow on cpu:ref gives 0x", (int)(element / 300),
             (int)(element % 300));
    assert_non_null(strstr(record.error, fact));
    assert_int_equal(coverage->recompute_differences, 1);
    assert_int_equal(coverage->damages[0].row, element / 300);
    phy_coverage_free(&coverage);
}

static void a_truncated_file_names_the_first_weight_that_is_gone(void **state)
{
    (void)state;
    static const char tensor[] = "model.layers.1.mlp.up_proj.weight";
    struct phy_coverage *coverage;
    assert_int_equal(truncate("out/" SHARD_2, (off_t)position_of(tensor, 7 * 20 + 3) + 2), 0);
    expect_damage(PHY_DAMAGE_TENSOR, SHARD_2, tensor, "row 7, column 3: the file ends before it; 5857 of 6000 weights");
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.recompute = true}), PHY_ERR_MISMATCH);
    assert_false(coverage->recompute_agrees);
    assert_false(coverage->denominator_correct);
    phy_coverage_free(&coverage);
    assert_int_equal(truncate("out/" SHARD_2, 5), 0);
    expect_damage(PHY_DAMAGE_HEADER, SHARD_2, NULL, "header differs from the donor's at byte 5");
    assert_int_equal(truncate("out/" SHARD_2, 0), 0);
    expect_damage(PHY_DAMAGE_HEADER, SHARD_2, NULL, "byte 0");
}

static void missing_and_longer_files_are_named(void **state)
{
    (void)state;
    FILE *file = fopen("out/" SHARD_1, "ab");
    fputc(0, file);
    fclose(file);
    expect_damage(PHY_DAMAGE_FILE, SHARD_1, NULL, "bytes, the donor's has");
    unlink("out/" SHARD_1);
    expect_damage(PHY_DAMAGE_FILE, SHARD_1, NULL, "missing");
    mkdir("out/" SHARD_1, 0777);
    expect_damage(PHY_DAMAGE_FILE, SHARD_1, NULL, "not a regular file");
}

static void an_extra_tensor_is_named(void **state)
{
    (void)state;
    struct donor_tensor more[3];
    memcpy(more, second_shard, sizeof second_shard);
    more[2] = (struct donor_tensor){"model.stowaway", "F32", 4, 0};
    donor_write_safetensors("out/" SHARD_2, more, 3, 2, 0);
    expect_damage(PHY_DAMAGE_HEADER, SHARD_2, NULL,
                  "the output has tensor 2 \"model.stowaway\" where the donor has no more");
}

/* One bit anywhere in the weight files: nothing may slip through. */
static void any_flipped_bit_is_damage(void **state)
{
    (void)state;
    uint64_t seed = 42;
    static const char *const files[] = {"out/" SHARD_1, "out/" SHARD_2};
    for (int i = 0; i < 150; i++) {
        struct phy_coverage *coverage;
        struct stat found;
        const char *path = files[i % 2];
        assert_int_equal(stat(path, &found), 0);
        uint64_t at = donor_random(&seed) % (uint64_t)found.st_size;
        unsigned char mask = (unsigned char)(1u << donor_random(&seed) % 8);
        change_byte(path, at, mask);
        enum phy_status status = cover(&coverage, NULL);
        if (status != PHY_ERR_MISMATCH)
            fail_msg("%s: byte %llu, mask 0x%02x: status %d", path, (unsigned long long)at, mask, status);
        assert_string_equal(coverage->damages[0].file, path + 4);
        phy_coverage_free(&coverage);
        change_byte(path, at, mask);
    }
}

/* ---- damage to other files ---- */

static void changed_missing_and_strange_sidecars_are_named(void **state)
{
    (void)state;
    change_byte("out/config.json", 3, 4);
    expect_damage(PHY_DAMAGE_SIDECAR, "config.json", NULL,
                  "differs from the donor's at byte 3 (9 bytes, the donor's has 9)");
    change_byte("out/config.json", 3, 4);
    change_byte("out/" INDEX, 30, 1);
    expect_damage(PHY_DAMAGE_SIDECAR, INDEX, NULL, "at byte 30");
    change_byte("out/" INDEX, 30, 1);
    donor_write("out/sub/tokenizer.json", "tokens!", 7);
    expect_damage(PHY_DAMAGE_SIDECAR, "sub/tokenizer.json", NULL, "at byte 6");
    unlink("out/sub/tokenizer.json");
    expect_damage(PHY_DAMAGE_SIDECAR, "sub/tokenizer.json", NULL, "missing");
    rmdir("out/sub");
    donor_write("out/sub", "", 0);
    expect_damage(PHY_DAMAGE_SIDECAR, "sub", NULL, "not a folder");
}

static void files_that_the_donor_does_not_have_are_named(void **state)
{
    (void)state;
    donor_write("out/sub/extra.bin", "x", 1);
    expect_damage(PHY_DAMAGE_SIDECAR, "sub/extra.bin", NULL, "is in the output, not in the donor");
    unlink("out/sub/extra.bin");
    mkdir("out/.git", 0777);
    donor_write("out/.git/config", "x", 1);
    struct phy_coverage *coverage;
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    phy_coverage_free(&coverage);
}

static void lying_reports_are_caught(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    char said[64], lie[64];
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    snprintf(said, sizeof said, "\"killed_elements\":\t%llu", (unsigned long long)coverage->target.killed);
    snprintf(lie, sizeof lie, "\"killed_elements\":\t%llu", (unsigned long long)coverage->target.killed + 1);
    phy_coverage_free(&coverage);
    replace_text("out/physarium/coverage.json", said, lie);
    expect_damage(PHY_DAMAGE_REPORT, "physarium/coverage.json", NULL, "killed_elements is ");
    replace_text("out/physarium/coverage.json", lie, said);
    replace_text("out/physarium/coverage.json", "\"denominator_correct\":\ttrue", "\"denominator_correct\":\tfalse");
    expect_damage(PHY_DAMAGE_REPORT, "physarium/coverage.json", NULL, "denominator_correct is false, found true");
    replace_text("out/physarium/coverage.json", "false", "true");
    replace_text("out/physarium/coverage.json", "\"mlp.up_proj\"", "\"mlp.up_prok\"");
    expect_damage(PHY_DAMAGE_REPORT, "physarium/coverage.json", NULL, "projections[1].projection is \"mlp.up_prok\"");
    replace_text("out/physarium/coverage.json", "mlp.up_prok", "mlp.up_proj");
    replace_text("out/physarium/coverage.json", "{", "{{");
    expect_damage(PHY_DAMAGE_REPORT, "physarium/coverage.json", NULL, "not JSON");
    replace_text("out/physarium/coverage.json", "{{", "{");

    replace_text("out/physarium/tensors.jsonl", "\"xxh3\":\"", "\"xxh3\":\"f");
    expect_damage(PHY_DAMAGE_REPORT, "physarium/tensors.jsonl", NULL, "line 1: \"xxh3\" is \"f");
    replace_text("out/physarium/tensors.jsonl", "\"xxh3\":\"f", "\"xxh3\":\"");
    replace_text("out/physarium/tensors.jsonl", "\"zero_before\":", "\"zero_before\":1");
    expect_damage(PHY_DAMAGE_REPORT, "physarium/tensors.jsonl", NULL, "line 2: \"zero_before\" is 1");
    replace_text("out/physarium/tensors.jsonl", "\"zero_before\":1", "\"zero_before\":");
    replace_text("out/physarium/tensors.jsonl", "\"device\":\"cpu:ref\"", "\"device\":\"another\"");
    assert_int_equal(cover(&coverage, NULL), PHY_OK); /* which device it was cannot be found again */
    phy_coverage_free(&coverage);
    FILE *file = fopen("out/physarium/tensors.jsonl", "ab");
    fputs("{}\n", file);
    fclose(file);
    expect_damage(PHY_DAMAGE_REPORT, "physarium/tensors.jsonl", NULL, "more than 6 lines");
    donor_write("out/physarium/tensors.jsonl", "", 0);
    expect_damage(PHY_DAMAGE_REPORT, "physarium/tensors.jsonl", NULL, "it has 0 lines");
    donor_write("out/physarium/tensors.jsonl", "\xff\n", 2);
    expect_damage(PHY_DAMAGE_REPORT, "physarium/tensors.jsonl", NULL, "not UTF-8");
    donor_write("out/physarium/surgery.json", "{}", 2);
    expect_damage(PHY_DAMAGE_REPORT, "physarium/surgery.json", NULL, "schema");
}

static void a_report_of_a_newer_schema_is_not_compared(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    replace_text("out/physarium/coverage.json", "\"schema_version\":\t1", "\"schema_version\":\t2");
    assert_int_equal(cover(&coverage, NULL), PHY_OK);
    assert_int_equal(record.warnings, 1);
    assert_int_equal(coverage->coverage_json, PHY_COVERAGE_REPORT_UNKNOWN);
    phy_coverage_free(&coverage);
}

/* Reports come with the output, from wherever that came. */
static void mutated_reports_are_damage_or_harmless(void **state)
{
    (void)state;
    static const char *const files[] = {"surgery.json", "coverage.json", "tensors.jsonl"};
    uint64_t seed = 3;
    for (int i = 0; i < 240; i++) {
        struct phy_coverage *coverage;
        char path[64];
        size_t bytes;
        snprintf(path, sizeof path, "out/physarium/%s", files[i % 3]);
        unsigned char *good = donor_read(path, &bytes), *bad = malloc(bytes + 1);
        memcpy(bad, good, bytes);
        size_t from = donor_random(&seed) % bytes, length = 1 + donor_random(&seed) % 9,
               to = donor_random(&seed) % bytes;
        if (i % 2)
            bad[from] = (unsigned char)donor_random(&seed);
        for (size_t k = 0; !(i % 2) && k < length && from + k < bytes && to + k < bytes; k++)
            bad[from + k] = good[to + k];
        donor_write(path, bad, i % 5 ? bytes : from);
        enum phy_status status = cover(&coverage, NULL);
        /* a surgery.json that names other targets may leave none */
        if (status != PHY_OK && status != PHY_ERR_MISMATCH && status != PHY_ERR_USAGE && status != PHY_ERR_UNSUPPORTED)
            fail_msg("status %d: %s", status, record.error);
        assert_int_equal(record.errors, status != PHY_OK);
        phy_coverage_free(&coverage);
        donor_write(path, good, bytes);
        free(good);
        free(bad);
    }
}

/* ---- the rest ---- */

struct text {
    char *data;
    size_t bytes;
};

static void keep(void *user, const char *data, size_t bytes)
{
    struct text *text = user;
    text->data = realloc(text->data, text->bytes + bytes + 1);
    memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    text->data[text->bytes] = 0;
}

static void the_result_is_json_with_every_damage(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    struct text text = {0};
    change_byte("out/" SHARD_1, position_of("model.embed_tokens.weight", 40), 1);
    change_byte("out/config.json", 0, 1);
    assert_int_equal(cover(&coverage, NULL), PHY_ERR_MISMATCH);
    assert_non_null(
        strstr(record.error, "; in all 3 differences, 1 damaged tensors")); /* tensors.jsonl's hash is the third */
    assert_int_equal(phy_coverage_put_result(coverage, keep, &text), PHY_OK);
    phy_coverage_free(&coverage);
    cJSON *root = cJSON_Parse(text.data);
    assert_non_null(root);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(root, "intact")));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "tensors")), 6);
    const cJSON *damage = cJSON_GetObjectItem(root, "damage");
    assert_int_equal(cJSON_GetArraySize(damage), 3);
    assert_string_equal(cJSON_GetObjectItem(damage->child, "tensor")->valuestring, "model.embed_tokens.weight");
    assert_int_equal(cJSON_GetObjectItem(damage->child, "row")->valueint, 1);
    assert_int_equal(cJSON_GetObjectItem(damage->child, "column")->valueint, 7);
    assert_null(strstr(text.data, folder));
    cJSON_Delete(root);
    free(text.data);
}

static void refuses_what_cannot_be_compared(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.output = "nowhere"}), PHY_ERR_IO);
    assert_int_equal(record.errors, 1);
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.donor = "nowhere"}), PHY_ERR_IO);
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.output = "donor/config.json"}), PHY_ERR_USAGE);
    assert_int_equal(cover(&coverage, &(struct phy_coverage_params){.donor = "donor/" SHARD_1}), PHY_ERR_USAGE);
    assert_null(coverage);
}

static int fail_nth_read(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd, (void)at;
    if (call == PHY_IO_READ && *bytes > 1000)
        *bytes = 1000; /* short reads too */
    return call == PHY_IO_READ && --*(int *)user == 0 ? 5 /* EIO */ : 0;
}

static void read_errors_are_statuses(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    enum phy_status status = PHY_ERR_IO;
    int at = 1;
    for (; status != PHY_OK; at += 3) {
        int left = at;
        phy_io_set_hook(fail_nth_read, &left);
        status = cover(&coverage, &(struct phy_coverage_params){.threads = 1});
        phy_io_set_hook(NULL, NULL);
        assert_true(status == PHY_OK || status == PHY_ERR_IO);
        assert_int_equal(coverage != NULL, status == PHY_OK);
        phy_coverage_free(&coverage);
    }
    assert_true(at > 100);
}

static void allocation_failures_are_statuses(void **state)
{
    (void)state;
    struct phy_coverage *coverage;
    enum phy_status status = PHY_ERR_MEMORY;
    uint64_t after = 0;
    for (; status != PHY_OK; after++) {
        phy_alloc_fail_after(after);
        status = cover(&coverage, &(struct phy_coverage_params){.threads = 1, .recompute = true});
        phy_alloc_fail_after(UINT64_MAX);
        if (status != PHY_OK && status != PHY_ERR_MEMORY)
            fail_msg("allocation %d: status %d: %s", (int)after, status, record.error);
        assert_int_equal(coverage != NULL, status == PHY_OK);
        phy_coverage_free(&coverage);
    }
    assert_true(after > 20);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PAIR(an_untouched_output_is_intact),
        WITH_PAIR(the_flow_again_gives_every_byte),
        WITH_PAIR(what_surgery_writes_is_intact),
        WITH_PAIR(targets_may_be_given),
        WITH_PAIR(an_output_without_reports_is_judged_by_the_default_names),
        WITH_PAIR(a_single_file_pair_has_its_reports_beside_it),
        WITH_PAIR(a_donor_of_hub_links_is_read_through),
        WITH_PAIR(a_flipped_header_bit_is_named),
        WITH_PAIR(a_flipped_length_is_a_header_that_differs),
        WITH_PAIR(a_changed_copied_tensor_is_named_by_row_and_column),
        WITH_PAIR(a_changed_survivor_is_named_by_row_and_column),
        WITH_PAIR(a_killed_weight_must_be_plus_zero),
        WITH_PAIR(a_zero_is_never_killed),
        WITH_PAIR(a_weight_killed_in_secret_is_found_by_the_flow),
        WITH_PAIR(a_truncated_file_names_the_first_weight_that_is_gone),
        WITH_PAIR(missing_and_longer_files_are_named),
        WITH_PAIR(an_extra_tensor_is_named),
        WITH_PAIR(any_flipped_bit_is_damage),
        WITH_PAIR(changed_missing_and_strange_sidecars_are_named),
        WITH_PAIR(files_that_the_donor_does_not_have_are_named),
        WITH_PAIR(lying_reports_are_caught),
        WITH_PAIR(a_report_of_a_newer_schema_is_not_compared),
        WITH_PAIR(mutated_reports_are_damage_or_harmless),
        WITH_PAIR(the_result_is_json_with_every_damage),
        WITH_PAIR(refuses_what_cannot_be_compared),
        WITH_PAIR(read_errors_are_statuses),
        WITH_PAIR(allocation_failures_are_statuses),
    };
    return cmocka_run_group_tests_name("coverage", tests, NULL, NULL);
}
