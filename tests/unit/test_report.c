/* SPDX-License-Identifier: Apache-2.0 */
/* The reports of a surgery, from records made here: fields, exact counts, hostile names, and what must not be in them.
 */
#include "support/test.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "physarium/targets.h"
#include "report/plot.h"
#include "report/surgery_report.h"
#include "report/tally.h"
#include "report/text.h"

enum { LAYERS = 28, PROJECTIONS = 7, TENSORS = LAYERS * PROJECTIONS + 2, SIDE = 256 };

static const char *const projections[PROJECTIONS] = {
    "mlp.down_proj",    "mlp.gate_proj",    "mlp.up_proj",      "self_attn.k_proj",
    "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj",
};

static const char hostile_name[] = "a\"b</td><script>alert(1)</script>|\x1b[31m\xe2\x80\xae`x`\n![](http://x)";

struct fixture {
    char folder[64];
    int dir_fd;
    struct phy_report_tensor tensors[TENSORS];
    char names[TENSORS][80];
    struct phy_report_shard shards[2];
    struct phy_report_stage stages[3];
    struct phy_report_device devices[2];
    float food[SIDE * SIDE], conductance[SIDE * SIDE];
    struct phy_surgery_record record;
};

static uint32_t random_state = 1;
static double random_share(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (double)(random_state >> 8) / 16777216.0;
}

static void fill_tensors(struct fixture *f)
{
    for (size_t i = 0; i < TENSORS; i++) {
        size_t layer = i / PROJECTIONS;
        bool target = layer < LAYERS;
        const char *projection = projections[i % PROJECTIONS];
        uint64_t rows = 3584, cols = strstr(projection, "mlp") ? 18944 : 3584;
        double share =
            0.22 + 0.004 * (double)(i % PROJECTIONS) + 0.02 * sin((double)layer / 4) + 0.004 * random_share();
        if (layer == 1 && i % PROJECTIONS == 3)
            share = 0.31;
        snprintf(f->names[i], sizeof f->names[i], target ? "model.layers.%zu.%s.weight" : "model.other.%zu%s", layer,
                 target ? projection : "");
        f->tensors[i] = (struct phy_report_tensor){.name = f->names[i],
                                                   .name_bytes = strlen(f->names[i]),
                                                   .dtype = "BF16",
                                                   .shard = layer < 14 ? "model-00001-of-00002.safetensors"
                                                                       : "model-00002-of-00002.safetensors",
                                                   .elements = rows * cols,
                                                   .bytes = rows * cols * 2,
                                                   .xxh3 = 0x0123456789abcdefu + i,
                                                   .target = target};
        if (target) {
            f->tensors[i].rows = rows;
            f->tensors[i].cols = cols;
            f->tensors[i].processed = rows * cols;
            f->tensors[i].killed = (uint64_t)(share * (double)(rows * cols));
            f->tensors[i].zero_before = 17;
            f->tensors[i].tile_sparsity_min = share - 0.02;
            f->tensors[i].tile_sparsity_max = share + 0.03;
            f->tensors[i].layer = (uint32_t)layer;
            f->tensors[i].projection = projection;
            f->tensors[i].device = "cpu:avx512";
            f->tensors[i].seconds = 0.25;
        }
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/phy-report-XXXXXX");
    if (!mkdtemp(f->folder))
        return -1;
    f->dir_fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fill_tensors(f);
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        f->food[i] = (float)(-log(1.0 - 0.999 * random_share()) * 0.02);
        f->conductance[i] = f->food[i] < 0.006f ? 0.0001f : 1.0f - 0.004f / f->food[i] * 0.5f;
    }
    f->shards[0] = (struct phy_report_shard){"model-00001-of-00002.safetensors", 7600000000, 21000, 1, 2, 12.5};
    f->shards[1] = (struct phy_report_shard){"model-00002-of-00002.safetensors", 7631233024, 20984, 3, 4, 13.25};
    f->stages[0] = (struct phy_report_stage){"check", 0.02};
    f->stages[1] = (struct phy_report_stage){"stream", 25.75};
    f->stages[2] = (struct phy_report_stage){"finish", 1.125};
    f->devices[0] = (struct phy_report_device){"cpu:avx512", "Some CPU, 2 threads", 4000000000, 40.5};
    f->devices[1] = (struct phy_report_device){"vulkan:0", "llvmpipe (LLVM 15.0.6, 256 bits)", 2525000000, 41.0};
    f->record = (struct phy_surgery_record){
        .donor_name = "donor",
        .output_name = "pruned",
        .donor_digest = "00112233445566778899aabbccddeeff",
        .device_spec = "all",
        .gain = 5,
        .beta = 2,
        .iterations = 30,
        .block = 256,
        .threads = 2,
        .memory_bytes = 1 << 30,
        .tensors = f->tensors,
        .tensor_count = TENSORS,
        .shards = f->shards,
        .shard_count = 2,
        .stages = f->stages,
        .stage_count = 3,
        .devices = f->devices,
        .device_count = 2,
        .seconds = 27.0,
        .peak_rss_bytes = 900000000,
        .tile = {"model.layers.3.mlp.up_proj.weight", 512, 1024, SIDE, SIDE, f->food, f->conductance}};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"surgery.json", "surgery.md", "surgery.html", "coverage.json", "tensors.jsonl"};
    struct fixture *f = *state;
    /* PHY_KEEP_REPORTS=1 leaves a report to look at. */
    if (!getenv("PHY_KEEP_REPORTS")) {
        for (size_t i = 0; i < 5; i++)
            unlinkat(f->dir_fd, files[i], 0);
        rmdir(f->folder);
    } else {
        printf("%s\n", f->folder);
    }
    close(f->dir_fd);
    free(f);
    return 0;
}

static char *read_report(const struct fixture *f, const char *name)
{
    int fd = openat(f->dir_fd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t bytes = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)bytes + 1);
    assert_int_equal(phy_pread_all(fd, text, (size_t)bytes, 0), 0);
    text[bytes] = 0;
    assert_int_equal(strlen(text), bytes);
    close(fd);
    return text;
}

static cJSON *read_json(const struct fixture *f, const char *name)
{
    char *text = read_report(f, name);
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    free(text);
    return root;
}

static double number_at(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static struct log_record record;

static enum phy_status write_reports(struct fixture *f)
{
    struct phy_host host = recording_host(&record);
    return phy_report_write_surgery(f->dir_fd, &f->record, &host);
}

static void coverage_json_adds_up(void **state)
{
    struct fixture *f = *state;
    uint64_t total = 0, target = 0, killed = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        total += f->tensors[i].elements;
        target += f->tensors[i].target ? f->tensors[i].elements : 0;
        killed += f->tensors[i].killed;
    }
    assert_int_equal(write_reports(f), PHY_OK);
    cJSON *root = read_json(f, "coverage.json");
    assert_string_equal(cJSON_GetObjectItem(root, "schema")->valuestring, "physarium.coverage");
    assert_int_equal(number_at(root, "schema_version"), 1);
    assert_true(number_at(root, "total_elements") == (double)total);
    assert_true(number_at(root, "target_elements") == (double)target);
    assert_true(number_at(root, "processed_elements") == (double)target);
    assert_true(number_at(root, "killed_elements") == (double)killed);
    assert_true(fabs(number_at(root, "kill_rate_target") - (double)killed / (double)target) < 1e-12);
    assert_true(fabs(number_at(root, "kill_rate_model") - (double)killed / (double)total) < 1e-12);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(root, "denominator_correct")));
    const cJSON *tensors = cJSON_GetObjectItem(root, "tensors");
    assert_int_equal(number_at(tensors, "layers"), LAYERS);
    assert_int_equal(number_at(tensors, "projections"), PROJECTIONS);
    assert_int_equal(number_at(tensors, "target"), LAYERS * PROJECTIONS);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(tensors, "is_layers_x_projections")));
    const cJSON *projection_list = cJSON_GetObjectItem(root, "projections"), *item;
    assert_int_equal(cJSON_GetArraySize(projection_list), PROJECTIONS);
    assert_string_equal(cJSON_GetObjectItem(projection_list->child, "projection")->valuestring, "self_attn.q_proj");
    double sum = 0;
    cJSON_ArrayForEach(item, projection_list) sum += number_at(item, "killed");
    assert_true(sum == (double)killed);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "cells")), LAYERS * PROJECTIONS);
    cJSON_Delete(root);
}

static void surgery_json_has_every_section(void **state)
{
    struct fixture *f = *state;
    const char *warnings[] = {"one", "two"}, *include[] = {"*a*"};
    f->record.warnings = warnings;
    f->record.warning_count = 2;
    f->record.include = include;
    f->record.include_count = 1;
    f->record.has_layers = true;
    f->record.last_layer = 27;
    assert_int_equal(write_reports(f), PHY_OK);
    cJSON *root = read_json(f, "surgery.json");
    static const char *const sections[] = {"schema",     "schema_version", "physarium",   "donor",      "output",
                                           "parameters", "result",         "projections", "stands_out", "integrity",
                                           "warnings",   "not_done",       "run"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(root, sections[i]));
    const cJSON *parameters = cJSON_GetObjectItem(root, "parameters");
    assert_int_equal(number_at(parameters, "block"), 256);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(parameters, "calibration")));
    const cJSON *targets = cJSON_GetObjectItem(parameters, "targets");
    assert_string_equal(cJSON_GetObjectItem(targets, "include")->child->valuestring, "*a*");
    assert_int_equal(number_at(cJSON_GetObjectItem(targets, "layers"), "last"), 27);
    /* layer 1's k_proj was made to stand out */
    const cJSON *first = cJSON_GetObjectItem(root, "stands_out")->child;
    assert_non_null(first);
    assert_int_equal(number_at(first, "layer"), 1);
    assert_string_equal(cJSON_GetObjectItem(first, "projection")->valuestring, "self_attn.k_proj");
    const cJSON *shard = cJSON_GetObjectItem(root, "integrity")->child;
    assert_string_equal(cJSON_GetObjectItem(shard, "file_xxh3")->valuestring, "0000000000000002");
    cJSON_Delete(root);
}

/* Doubles end at 2^53: these counts differ from their neighbours only beyond it. */
static void counts_above_two_to_the_53_are_exact(void **state)
{
    struct fixture *f = *state;
    struct phy_report_tensor *big = &f->tensors[0];
    big->rows = UINT64_C(4503599627370497); /* 2^52 + 1 */
    big->cols = 5;
    big->elements = big->processed = big->rows * big->cols;
    big->killed = UINT64_C(9007199254740993); /* 2^53 + 1 */
    big->zero_before = 3;
    f->record.tensor_count = 1;
    assert_int_equal(write_reports(f), PHY_OK);
    static const char *const files[] = {"coverage.json", "tensors.jsonl", "surgery.json"};
    for (size_t i = 0; i < 3; i++) {
        char *text = read_report(f, files[i]);
        assert_non_null(strstr(text, "9007199254740993"));
        assert_non_null(strstr(text, "22517998136852485"));
        free(text);
    }
    char *text = read_report(f, "surgery.md");
    assert_non_null(strstr(text, "9,007,199,254,740,993"));
    free(text);
}

static void denominator_is_computed_not_written(void **state)
{
    struct fixture *f = *state;
    f->tensors[5].processed -= 1;
    assert_int_equal(write_reports(f), PHY_ERR_INTERNAL);
    cJSON *root = read_json(f, "coverage.json");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(root, "denominator_correct")));
    cJSON_Delete(root);
    char *text = read_report(f, "surgery.html");
    assert_non_null(strstr(text, "WRONG"));
    free(text);
}

static void refuses_impossible_counts(void **state)
{
    struct fixture *f = *state;
    f->tensors[0].rows++;
    assert_int_equal(write_reports(f), PHY_ERR_INTERNAL);
    f->tensors[0].rows--;
    f->tensors[0].killed = f->tensors[0].elements;
    assert_int_equal(write_reports(f), PHY_ERR_INTERNAL);
    f->tensors[0].killed = UINT64_MAX;
    assert_int_equal(write_reports(f), PHY_ERR_INTERNAL);
    assert_int_equal(record.errors, 1);
    assert_int_equal(faccessat(f->dir_fd, "coverage.json", F_OK, 0), -1);
}

static void hostile_names_stay_text(void **state)
{
    struct fixture *f = *state;
    char long_name[5000];
    memset(long_name, '<', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    const char *warnings[] = {
        "warn <img src=x> | \"q\" and more text so that the line is longer than the 128 bytes after which "
        "a name would have been cut, end"};
    f->tensors[0].name = hostile_name;
    f->tensors[0].name_bytes = sizeof hostile_name - 1;
    f->tensors[0].projection = hostile_name;
    f->tensors[1].projection = long_name;
    f->tensors[1].name = long_name;
    f->tensors[1].name_bytes = strlen(long_name);
    f->shards[0].name = hostile_name;
    f->record.tile.tensor = hostile_name;
    f->record.include = (const char *[]){hostile_name, "\xff\xfe"};
    f->record.include_count = 2;
    f->record.warnings = warnings;
    f->record.warning_count = 1;
    f->record.donor_name = hostile_name;
    assert_int_equal(write_reports(f), PHY_OK);

    char *html = read_report(f, "surgery.html");
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "<img src=x"));
    assert_non_null(strstr(html, "&lt;/td&gt;&lt;script&gt;"));
    assert_non_null(strstr(html, "been cut, end"));
    char *markdown = read_report(f, "surgery.md");
    assert_null(strchr(markdown, '<'));
    assert_non_null(strstr(markdown, "\\|\\\\u001b"));
    char *json = read_report(f, "surgery.json"), *lines = read_report(f, "tensors.jsonl");
    char *all[] = {html, markdown, json, lines};
    for (size_t i = 0; i < 4; i++) {
        assert_null(strchr(all[i], '\x1b'));
        assert_null(strstr(all[i], "\xe2\x80\xae"));
        assert_null(strchr(all[i], '\xff'));
    }
    *strchr(lines, '\n') = 0;
    cJSON *root = cJSON_Parse(lines);
    assert_non_null(root);
    assert_string_equal(cJSON_GetObjectItem(root, "tensor")->valuestring, hostile_name); /* exact after decoding */
    cJSON_Delete(root);
    for (size_t i = 0; i < 4; i++)
        free(all[i]);
}

static void reports_hold_no_paths_and_no_outside_resources(void **state)
{
    struct fixture *f = *state;
    f->record.donor_name = "/home/someone/donor";
    f->record.output_name = "/home/someone/pruned";
    f->record.calibration_name = "/home/someone/calibration.safetensors";
    f->record.calibration_digest = "abc";
    assert_int_equal(write_reports(f), PHY_OK);
    char host_name[256] = "";
    gethostname(host_name, sizeof host_name - 1);
    static const char *const files[] = {"surgery.json", "surgery.md", "surgery.html", "coverage.json", "tensors.jsonl"};
    for (size_t i = 0; i < 5; i++) {
        char *text = read_report(f, files[i]);
        assert_null(strstr(text, "/home"));
        assert_null(strstr(text, "/tmp"));
        assert_null(strstr(text, f->folder));
        if (strlen(host_name) > 4)
            assert_null(strstr(text, host_name));
        assert_null(strstr(text, "http"));
        assert_null(strstr(text, "<link"));
        assert_null(strstr(text, "url("));
        assert_null(strstr(text, "@import"));
        free(text);
    }
}

/* What two runs may differ in is in the object "run" and in tensors.jsonl's "device" and "seconds". */
static void two_runs_differ_in_named_fields_only(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(write_reports(f), PHY_OK);
    cJSON *first = read_json(f, "surgery.json");
    char *first_coverage = read_report(f, "coverage.json");
    f->record.seconds *= 2;
    f->stages[1].seconds *= 3;
    f->shards[1].seconds += 1;
    f->devices[0].busy_seconds += 1;
    f->record.device_count = 1;
    f->record.device_spec = "cpu";
    f->record.peak_rss_bytes += 4096;
    f->record.resumed_count = 2;
    f->record.tiles_redone_on_cpu = 7;
    f->record.threads = 1;
    for (size_t i = 0; i < TENSORS; i++)
        f->tensors[i].seconds *= 2;
    assert_int_equal(write_reports(f), PHY_OK);
    cJSON *second = read_json(f, "surgery.json");
    char *second_coverage = read_report(f, "coverage.json");
    assert_string_equal(first_coverage, second_coverage);
    assert_false(cJSON_Compare(first, second, true));
    cJSON_DeleteItemFromObject(first, "run");
    cJSON_DeleteItemFromObject(second, "run");
    assert_true(cJSON_Compare(first, second, true));
    cJSON_Delete(first);
    cJSON_Delete(second);
    free(first_coverage);
    free(second_coverage);
}

static void odd_layers_and_tiny_tiles_have_reports(void **state)
{
    struct fixture *f = *state;
    f->tensors[0].layer = PHY_NO_LAYER;
    f->tensors[0].projection = "lm_head";
    f->record.tile.rows = f->record.tile.cols = 1;
    assert_int_equal(write_reports(f), PHY_OK);
    f->record.tile = (struct phy_report_tile){0};
    f->record.tensor_count = 1;
    assert_int_equal(write_reports(f), PHY_OK);
    f->tensors[0].target = false;
    assert_int_equal(write_reports(f), PHY_OK);
    f->record.tensor_count = 0;
    assert_int_equal(write_reports(f), PHY_OK);
}

static int fail_third_write(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd, (void)bytes, (void)at;
    return call == PHY_IO_WRITE && ++*(int *)user == 3 ? 28 /* ENOSPC */ : 0;
}

static void write_errors_and_memory_errors_are_statuses(void **state)
{
    struct fixture *f = *state;
    int writes = 0;
    phy_io_set_hook(fail_third_write, &writes);
    enum phy_status status = write_reports(f);
    phy_io_set_hook(NULL, NULL);
    assert_int_equal(status, PHY_ERR_IO);
    assert_int_equal(record.errors, 1);
    f->record.tensor_count = 3;
    for (uint64_t after = 0; after < 200; after++) {
        phy_alloc_fail_after(after);
        status = write_reports(f);
        phy_alloc_fail_after(UINT64_MAX);
        assert_true(status == PHY_ERR_MEMORY || status == PHY_OK);
        assert_int_equal(record.errors, status == PHY_ERR_MEMORY);
    }
}

static void decimals_and_counts_print_exactly(void **state)
{
    (void)state;
    struct phy_text text = {0};
    phy_text_count(&text, 0);
    phy_text_put(&text, " ");
    phy_text_count(&text, UINT64_MAX);
    phy_text_put(&text, " ");
    phy_text_decimal(&text, 23.405, 1);
    phy_text_put(&text, " ");
    phy_text_decimal(&text, -0.004, 2);
    phy_text_put(&text, " ");
    phy_text_decimal(&text, -1.5, 0);
    phy_text_put(&text, " ");
    phy_text_decimal(&text, NAN, 2);
    phy_text_put(&text, " ");
    phy_text_number(&text, 5.0);
    phy_text_put(&text, " ");
    phy_text_number(&text, 0.0634765625);
    phy_text_put(&text, " ");
    phy_text_number(&text, 100.0);
    assert_string_equal(text.data, "0 18,446,744,073,709,551,615 23.4 0.00 -2 - 5 0.063476563 100");
    phy_text_free(&text);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* ---- plots ---- */

static void a_plots_axes_are_linear_or_logarithmic_and_end_at_its_frame(void **state)
{
    (void)state;
    struct phy_plot plot = {.left = 100,
                            .right = 300,
                            .top = 10,
                            .bottom = 210,
                            .x = {.low = 1, .high = 100, .logarithmic = true},
                            .y = {.low = -1, .high = 1}};
    assert_true(fabs(phy_plot_x(&plot, 1) - 100) < 1e-9 && fabs(phy_plot_x(&plot, 10) - 200) < 1e-9);
    assert_true(fabs(phy_plot_x(&plot, 100) - 300) < 1e-9);
    assert_true(fabs(phy_plot_y(&plot, -1) - 210) < 1e-9 && fabs(phy_plot_y(&plot, 0.5) - 60) < 1e-9);
    plot.inset = 20;
    plot.x = (struct phy_plot_axis){.high = 4};
    assert_true(fabs(phy_plot_x(&plot, 0) - 120) < 1e-9 && fabs(phy_plot_x(&plot, 4) - 280) < 1e-9);
    plot.x.high = 0;
    assert_true(fabs(phy_plot_x(&plot, 0) - 200) < 1e-9);
}

static void a_plots_elements_are_whole(void **state)
{
    (void)state;
    const struct phy_plot plot = {.left = 50, .right = 150, .bottom = 100, .x = {.high = 10}, .y = {.high = 10}};
    struct phy_text text = {0};
    phy_plot_begin(&text, 200, 150, "a name");
    phy_plot_y_tick(&text, &plot, 5);
    phy_text_put(&text, "5</text>");
    phy_plot_x_tick(&text, &plot, 10, false);
    phy_text_put(&text, "10</text>");
    phy_plot_point(&text, &plot, 1, 2);
    phy_plot_dot(&text, &plot, "class=dot r=3", 10, 10);
    phy_text_put(&text, "</circle>");
    phy_plot_rect(&text, "dot", 1, 2, 3, 4.2);
    phy_text_put(&text, "</rect>");
    phy_plot_end(&text);
    assert_string_equal(text.data,
                        "<div class=wide><svg class=plot viewBox=\"0 0 200 150\" role=img aria-label=\"a name\">\n"
                        "<line class=\"grid\" x1=50.0 y1=50.0 x2=150.0 y2=50.0></line>\n"
                        "<text text-anchor=end x=42.0 y=54.0>5</text><text text-anchor=middle x=150.0 y=119.0>10</text>"
                        "60.0,80.0 <circle class=dot r=3 cx=150.0 cy=0.0></circle>"
                        "<rect class=dot x=1.0 y=2.0 width=3.0 height=4.2></rect></svg></div>\n");
    phy_text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plots_axes_are_linear_or_logarithmic_and_end_at_its_frame),
        cmocka_unit_test(a_plots_elements_are_whole),
        WITH_FIXTURE(coverage_json_adds_up),
        WITH_FIXTURE(surgery_json_has_every_section),
        WITH_FIXTURE(counts_above_two_to_the_53_are_exact),
        WITH_FIXTURE(denominator_is_computed_not_written),
        WITH_FIXTURE(refuses_impossible_counts),
        WITH_FIXTURE(hostile_names_stay_text),
        WITH_FIXTURE(reports_hold_no_paths_and_no_outside_resources),
        WITH_FIXTURE(two_runs_differ_in_named_fields_only),
        WITH_FIXTURE(odd_layers_and_tiny_tiles_have_reports),
        WITH_FIXTURE(write_errors_and_memory_errors_are_statuses),
        cmocka_unit_test(decimals_and_counts_print_exactly),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
