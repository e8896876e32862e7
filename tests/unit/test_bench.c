/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark's parts that do not depend on how fast a machine is: statistics, kernels' results, what is written and
 * read, and children that misbehave. */
#define _GNU_SOURCE
#include "support/test.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "bench/harness.h"
#include "bench/job.h"
#include "bench/machine.h"
#include "bench/matrices.h"
#include "bench/peak.h"
#include "bench/peer.h"
#include "bench/stats.h"
#include "bench/worker_process.h"
#include "physarium/bench.h"
#include "quant/bitmap.h"

/* ---- statistics ---- */

static void quartiles_lie_between_the_samples(void **state)
{
    (void)state;
    double five[] = {5, 1, 4, 2, 3}, four[] = {4, 1, 3, 2}, one[] = {7};
    struct phy_bench_summary s;
    phy_bench_summarise(five, 5, &s);
    assert_true(s.best == 1 && s.q1 == 2 && s.median == 3 && s.q3 == 4 && s.count == 5);
    phy_bench_summarise(four, 4, &s);
    assert_true(s.best == 1 && s.q1 == 1.75 && s.median == 2.5 && s.q3 == 3.25);
    phy_bench_summarise(one, 1, &s);
    assert_true(s.best == 7 && s.q1 == 7 && s.median == 7 && s.q3 == 7);
}

static void a_ratios_interval_is_the_same_every_time_and_holds_the_ratio(void **state)
{
    (void)state;
    const double a[] = {10, 11, 9, 10, 12, 10, 9, 11, 10}, b[] = {20, 22, 18, 20, 24, 20, 18, 22, 20};
    struct phy_bench_ratio first, second, other, itself;
    assert_true(phy_bench_ratio(a, 9, b, 9, 1, &first) && phy_bench_ratio(a, 9, b, 9, 1, &second));
    assert_memory_equal(&first, &second, sizeof first);
    assert_true(first.ratio == 2);
    assert_true(first.low >= 1.5 && first.low <= 2 && first.high >= 2 && first.high <= 2.67);
    assert_true(first.low < first.high);
    assert_true(phy_bench_ratio(a, 9, b, 9, 2, &other) && fabs(other.low - first.low) < 0.2);
    assert_true(phy_bench_ratio(a, 9, a, 9, 1, &itself) && itself.low < 1 && itself.high > 1);
    const double constant[] = {3, 3, 3};
    assert_true(phy_bench_ratio(constant, 3, constant, 3, 1, &first) && first.low == 1 && first.high == 1);
}

static void memory_that_runs_out_is_no_interval(void **state)
{
    (void)state;
    const double a[] = {1, 2};
    struct phy_bench_ratio r;
    phy_alloc_fail_after(0);
    bool ok = phy_bench_ratio(a, 2, a, 2, 1, &r);
    phy_alloc_fail_after(UINT64_MAX);
    assert_false(ok);
}

/* ---- the harness ---- */

struct counted {
    uint64_t runs, prepared, last_turn;
    double ns;
    uint64_t fail_at;
};

static enum phy_status count_run(void *user, uint64_t turn)
{
    struct counted *c = user;
    c->last_turn = turn;
    return ++c->runs == c->fail_at ? PHY_ERR_DEVICE : PHY_OK;
}

static void count_prepare(void *user)
{
    ((struct counted *)user)->prepared++;
}

static double told_ns(void *user)
{
    return ((struct counted *)user)->ns;
}

static void the_devices_clock_counts_and_a_failed_case_leaves_the_others(void **state)
{
    (void)state;
    struct counted good = {.ns = 5000}, bad = {.ns = 1, .fail_at = 4};
    struct phy_bench_case *cases = calloc(2, sizeof *cases);
    cases[0] = (struct phy_bench_case){.user = &good, .run = count_run, .prepare = count_prepare, .device_ns = told_ns};
    cases[1] = (struct phy_bench_case){.user = &bad, .run = count_run, .prepare = count_prepare, .device_ns = told_ns};
    const struct phy_bench_plan plan = {.budget_s = 5, .rounds = 7, .sample_s = 20e-6};
    assert_int_equal(phy_bench_measure(cases, 2, &plan), PHY_OK);
    assert_int_equal(cases[0].count, 7);
    for (int i = 0; i < 7; i++)
        assert_true(fabs(cases[0].samples[i] - 5e-6) < 1e-15);
    assert_int_equal(good.runs, good.prepared);
    assert_int_equal(good.last_turn + 1, good.runs); /* every run had another turn */
    assert_int_equal(cases[1].status, PHY_ERR_DEVICE);
    assert_int_equal(bad.runs, 4);
    free(cases);
}

/* Sleeps so long. */
struct slow {
    unsigned milliseconds;
    uint64_t runs;
};

static enum phy_status slow_run(void *user, uint64_t turn)
{
    struct slow *s = user;
    (void)turn;
    s->runs++;
    usleep(s->milliseconds * 1000);
    return PHY_OK;
}

static void a_case_too_slow_for_the_budget_is_left_out_with_its_reason(void **state)
{
    (void)state;
    struct slow fast = {.milliseconds = 1}, surprising = {.milliseconds = 500}, known = {.milliseconds = 500};
    struct phy_bench_case *cases = calloc(3, sizeof *cases);
    cases[0] = (struct phy_bench_case){.user = &known, .run = slow_run, .expected_s = 0.5};
    cases[1] = (struct phy_bench_case){.user = &surprising, .run = slow_run, .expected_s = 0.01};
    cases[2] = (struct phy_bench_case){.user = &fast, .run = slow_run};
    const struct phy_bench_plan plan = {.budget_s = 0.4, .rounds = 5, .may_leave_out = true, .one_at_least = true};
    assert_int_equal(phy_bench_measure(cases, 3, &plan), PHY_OK);
    assert_int_equal(known.runs, 0);
    assert_non_null(strstr(cases[0].why, "not run"));
    /* Not even once where this process was stopped for so long before. */
    assert_true(surprising.runs <= 1 && strstr(cases[1].why, surprising.runs ? "run once, in " : "not run"));
    assert_true(cases[2].count >= 1 && !cases[2].why[0]);
    assert_true(cases[0].count == 0 && cases[1].count == 0);
    free(cases);
}

static void a_case_of_which_some_rounds_fit_has_fewer(void **state)
{
    (void)state;
    struct slow slow = {.milliseconds = 100};
    struct phy_bench_case *c = calloc(1, sizeof *c);
    *c = (struct phy_bench_case){.user = &slow, .run = slow_run, .expected_s = 0.1};
    const struct phy_bench_plan plan = {.budget_s = 0.75, .rounds = 31, .may_leave_out = true, .one_at_least = true};
    assert_int_equal(phy_bench_measure(c, 1, &plan), PHY_OK);
    assert_in_range(c->count, 1, 6);
    assert_false(c->why[0]);
    free(c);
}

static double slow_ns(void *user)
{
    return 1e6 * ((struct slow *)user)->milliseconds;
}

/* What compiled first is not in its time. */
static void a_first_run_by_the_devices_clock_is_a_sample_where_no_round_fits(void **state)
{
    (void)state;
    struct slow slow = {.milliseconds = 200};
    struct phy_bench_case *c = calloc(1, sizeof *c);
    *c = (struct phy_bench_case){.user = &slow, .run = slow_run, .device_ns = slow_ns};
    const struct phy_bench_plan plan = {.budget_s = 0.1, .rounds = 5, .may_leave_out = true};
    assert_int_equal(phy_bench_measure(c, 1, &plan), PHY_OK);
    assert_true(slow.runs == 1 && c->count == 1 && c->first_run_only && !c->why[0]);
    assert_true(fabs(c->samples[0] - 0.2) < 1e-9 && c->host_samples[0] >= 0.2);
    free(c);
}

static void the_first_case_is_measured_whatever_it_takes_but_for_the_timeout(void **state)
{
    (void)state;
    struct slow slow[2] = {{.milliseconds = 150}, {.milliseconds = 150}};
    struct phy_bench_case *cases = calloc(2, sizeof *cases);
    for (int i = 0; i < 2; i++)
        cases[i] = (struct phy_bench_case){.user = &slow[i], .run = slow_run};
    struct phy_bench_plan plan = {.rounds = 5, .may_leave_out = true, .one_at_least = true};
    assert_int_equal(phy_bench_measure(cases, 2, &plan), PHY_OK);
    assert_int_equal(cases[0].count, 1);
    assert_true(cases[1].count == 0 && slow[1].runs == 0 && strstr(cases[1].why, "others of its group"));
    cases[0] = (struct phy_bench_case){.user = &slow[0], .run = slow_run, .expected_s = 50};
    plan.longest_s = 45;
    assert_int_equal(phy_bench_measure(cases, 1, &plan), PHY_OK);
    assert_true(slow[0].runs == 2 && strstr(cases[0].why, "longer than 45.0 s"));
    free(cases);
}

static void cases_that_may_not_be_left_out_have_a_round_each(void **state)
{
    (void)state;
    struct slow slow[2] = {{.milliseconds = 60}, {.milliseconds = 60}};
    struct phy_bench_case *cases = calloc(2, sizeof *cases);
    for (int i = 0; i < 2; i++)
        cases[i] = (struct phy_bench_case){.user = &slow[i], .run = slow_run, .expected_s = 9};
    assert_int_equal(phy_bench_measure(cases, 2, &(struct phy_bench_plan){.budget_s = 0.01, .rounds = 5}), PHY_OK);
    assert_true(cases[0].count == 1 && cases[1].count == 1);
    free(cases);
}

/* A queue without timestamps says 0. */
static void a_device_without_a_clock_is_timed_by_the_host(void **state)
{
    (void)state;
    struct counted none = {.ns = 0};
    struct phy_bench_case *c = calloc(1, sizeof *c);
    *c = (struct phy_bench_case){.user = &none, .run = count_run, .device_ns = told_ns};
    assert_int_equal(phy_bench_measure(c, 1, &(struct phy_bench_plan){.budget_s = 1, .rounds = 3, .sample_s = 1e-5}),
                     PHY_OK);
    assert_null(c->device_ns);
    assert_int_equal(c->count, 3);
    free(c);
}

/* ---- kernels that measure ---- */

static void peak_kernels_do_what_they_are_timed_for(void **state)
{
    (void)state;
    static const char *const names[] = {"ref", "avx2", "avx512"};
    const struct phy_cpu_features have = phy_cpu_detect();
    enum { BYTES = 16 * PHY_PEAK_UNIT_BYTES, ROUNDS = 1000 };
    uint64_t *from = phy_alloc_aligned(BYTES), *to = phy_alloc_aligned(BYTES), expected = 0;
    int8_t ones[64];
    uint16_t halves[16];
    memset(ones, 1, sizeof ones);
    for (int i = 0; i < 16; i++)
        halves[i] = 0x3C00;
    uint64_t seed = 3;
    for (size_t i = 0; i < BYTES / 8; i++)
        expected ^= from[i] = phy_bench_random(&seed);
    int tested = 0;
    for (int i = 0; i < 3; i++) {
        const struct phy_peak_variant *form = phy_peak_variant_named(names[i]);
        if (!form || !phy_cpu_meets(&have, &form->needs))
            continue;
        tested++;
        assert_true(form->read(from, BYTES) == expected);
        for (int stream = 0; stream < 2; stream++) {
            form->copy(to, from, BYTES, stream);
            assert_memory_equal(to, from, BYTES);
            form->write(to, BYTES, UINT64_C(0x0123456789ABCDEF), stream);
            for (size_t n = 0; n < BYTES / 8; n++)
                assert_true(to[n] == UINT64_C(0x0123456789ABCDEF));
        }
        assert_true(form->multiply_f32(ROUNDS, 1.0f) == (double)ROUNDS * form->f32_per_round);
        assert_true(form->multiply_f16(ROUNDS, halves) == (double)ROUNDS * form->f16_per_round);
        assert_int_equal(form->multiply_i8(ROUNDS, ones), ROUNDS * form->i8_per_round);
        if (form->multiply_bf16)
            assert_true(form->multiply_bf16(ROUNDS, 1) == (double)ROUNDS * form->bf16_per_round);
    }
    assert_true(tested >= 1);
    assert_null(phy_peak_variant_named("mmx"));
    phy_free(from);
    phy_free(to);
}

static void random_weights_of_every_type_are_finite(void **state)
{
    (void)state;
    for (int t = 0; t < PHY_WEIGHT_TYPE_COUNT; t++) {
        enum phy_weight_type type = (enum phy_weight_type)t, named;
        enum { COLS = 2048 };
        float row[COLS];
        size_t bytes, nonzero = 0;
        assert_true(phy_weight_row_bytes(type, COLS, &bytes));
        uint8_t *blocks = malloc(bytes);
        phy_bench_fill(type, blocks, bytes, 9);
        phy_weight_decode_row(type, blocks, COLS, row);
        for (int i = 0; i < COLS; i++) {
            assert_true(isfinite(row[i]) && fabsf(row[i]) < 1e3f);
            nonzero += row[i] != 0;
        }
        assert_true(nonzero > COLS / 2);
        assert_true(phy_bench_type_named(phy_bench_type_name(type), &named) && named == type);
        free(blocks);
    }
}

static void a_bitmap_has_the_zeros_that_were_asked_for(void **state)
{
    (void)state;
    static const double sparsities[] = {0, 0.25, 0.5, 0.9, 1};
    for (int t = PHY_WEIGHT_BITMAP_BF16; t < PHY_WEIGHT_BITMAP_END; t++) {
        for (size_t s = 0; s < sizeof sparsities / sizeof *sparsities; s++) {
            enum phy_weight_type type = (enum phy_weight_type)t, named;
            enum { ROWS = 3, COLS = 200 };
            struct phy_bitmap view;
            float row[COLS];
            char fact[200];
            size_t bytes;
            assert_true(phy_bench_matrix_bytes(type, ROWS, COLS, sparsities[s], &bytes));
            uint8_t *data = malloc(bytes);
            assert_true(phy_bench_fill_matrix(type, data, ROWS, COLS, sparsities[s], 3));
            assert_true(phy_bitmap_view(&view, type, data, ROWS, COLS));
            if (!phy_bitmap_check(&view, bytes, fact, sizeof fact))
                fail_msg("%s: %s", phy_bench_type_name(type), fact);
            for (size_t r = 0; r < ROWS; r++) {
                size_t zeros = 0;
                phy_bitmap_decode_row(&view, r, row);
                for (size_t c = 0; c < COLS; c++)
                    zeros += row[c] == 0;
                assert_int_equal(zeros, (size_t)(COLS * sparsities[s] + 0.5));
            }
            assert_true(phy_bench_type_named(phy_bench_type_name(type), &named) && named == type);
            free(data);
        }
    }
}

/* ---- the machine ---- */

static void a_machine_is_busy_when_others_or_its_host_take_time(void **state)
{
    (void)state;
    struct phy_machine_moment before, after;
    struct phy_machine_conditions c;
    assert_true(phy_machine_parse_stat("cpu  100 10 20 500 7 3 4 50 0 0\ncpu0 1 2 3 4\n", 100, &before));
    assert_true(fabs(before.busy_s - 1.37) < 1e-12 && before.steal_s == 0.5);
    assert_false(phy_machine_parse_stat("intr 1 2 3", 100, &before));
    before = (struct phy_machine_moment){.known = true, .at = 0};
    after = (struct phy_machine_moment){.known = true, .at = 10, .own_cpu_s = 15, .busy_s = 16};
    phy_machine_judge(&before, &after, 2, &c);
    assert_true(c.known && !c.busy && fabs(c.others_share - 0.05) < 1e-12);
    after.busy_s = 19;
    phy_machine_judge(&before, &after, 2, &c);
    assert_true(c.busy && strstr(c.reason, "20%"));
    after.busy_s = 15;
    after.steal_s = 1;
    phy_machine_judge(&before, &after, 2, &c);
    assert_true(c.busy && strstr(c.reason, "host"));
    after.known = false;
    phy_machine_judge(&before, &after, 2, &c);
    assert_true(!c.known && !c.busy);
}

/* ---- jobs and lists ---- */

static void a_job_survives_its_way_to_the_child(void **state)
{
    (void)state;
    char op[] = "ffn", device[] = "vulkan:\"0", donor[] = "a\nb\\c";
    const struct phy_bench_job job = {
        .op = op, .device = device, .donor = donor, .threads = 3, .cold = true, .quick = true, .budget_s = 1.5};
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    struct phy_bench_job read;
    char *line = phy_bench_job_write(&job);
    assert_non_null(line);
    assert_null(strchr(line, '\n'));
    assert_int_equal(phy_bench_job_read(&read, line, &host), PHY_OK);
    assert_string_equal(read.device, device);
    assert_string_equal(read.donor, donor);
    assert_true(!read.formats && read.threads == 3 && read.cold && !read.warm && read.quick && read.budget_s == 1.5);
    phy_bench_job_free(&read);
    cJSON_free(line);
    static const char *const wrong[] = {"", "[]", "{}", "{\"op\":1,\"device\":\"cpu\"}",
                                        "{\"op\":\"ffn\",\"device\":\"cpu\",\"threads\":0,\"budget_s\":1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(phy_bench_job_read(&read, wrong[i], &host), PHY_ERR_FORMAT);
}

static void lists_are_read_or_refused(void **state)
{
    (void)state;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    struct phy_bench_shape shapes[PHY_BENCH_MAX_LIST];
    uint32_t numbers[PHY_BENCH_MAX_LIST];
    size_t count;
    char name[32];
    assert_int_equal(phy_bench_parse_shapes("3584x18944,1x2", shapes, &count, &host), PHY_OK);
    assert_true(count == 2 && shapes[0].rows == 3584 && shapes[0].cols == 18944 && shapes[1].cols == 2);
    assert_int_equal(phy_bench_parse_numbers("1,8,512", numbers, &count, &host), PHY_OK);
    assert_true(count == 3 && numbers[2] == 512);
    static const char *const wrong[] = {"", "x", "1x", "0x1", "1x0", "1x2,", "1x2 ", "-1x2", "99999999x1", "1x2x3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(phy_bench_parse_shapes(wrong[i], shapes, &count, &host), PHY_ERR_USAGE);
    assert_int_equal(phy_bench_parse_numbers("1,,2", numbers, &count, &host), PHY_ERR_USAGE);
    struct phy_bench_top_k top_k[PHY_BENCH_MAX_TOP_K];
    assert_int_equal(phy_bench_parse_top_k("25%,512", top_k, &count, &host), PHY_OK);
    assert_int_equal(count, 2);
    assert_true(top_k[0].percent && top_k[0].value == 25 && !top_k[1].percent && top_k[1].value == 512);
    assert_int_equal(phy_bench_parse_top_k("101%", top_k, &count, &host), PHY_ERR_USAGE);
    assert_int_equal(phy_bench_parse_top_k("25%%", top_k, &count, &host), PHY_ERR_USAGE);
    assert_int_equal(phy_bench_parse_top_k("0", top_k, &count, &host), PHY_ERR_USAGE);
    assert_int_equal(phy_bench_parse_top_k("1,2,3,4,5,6,7,8,9", top_k, &count, &host), PHY_ERR_USAGE);
    assert_true(phy_bench_list_name("bf16,Q4_K", 1, name));
    assert_string_equal(name, "q4_k");
    assert_false(phy_bench_list_name("bf16", 1, name));
}

/* ---- children ---- */

static void take_nothing(void *user, cJSON *message)
{
    (void)message;
    ++*(int *)user;
}

static enum phy_status run_child(const char *script, double timeout_s, int *messages, char *failure)
{
    const char *const worker[] = {"/bin/sh", "-c", script, NULL};
    char op[] = "ffn", device[] = "vulkan:0";
    const struct phy_bench_job job = {.op = op, .device = device, .threads = 1, .budget_s = 1};
    *messages = 0;
    return phy_bench_run_job(worker, &job, timeout_s, take_nothing, messages, NULL, failure);
}

static void a_child_that_hangs_is_given_up_and_its_results_kept(void **state)
{
    (void)state;
    char failure[PHY_BENCH_FAILURE_BYTES];
    int messages;
    assert_int_equal(
        run_child("echo '{\"result\":{}}' >&3; echo '{\"at\":\"a dispatch\"}' >&3; sleep 60", 0.5, &messages, failure),
        PHY_ERR_DEVICE);
    assert_int_equal(messages, 1);
    assert_non_null(strstr(failure, "given up"));
    assert_non_null(strstr(failure, "a dispatch"));
}

static void a_child_that_crashes_is_told_with_what_it_did(void **state)
{
    (void)state;
    char failure[PHY_BENCH_FAILURE_BYTES];
    int messages;
    assert_int_equal(run_child("echo '{\"at\":\"loading\"}' >&3; kill -SEGV $$", 20, &messages, failure),
                     PHY_ERR_DEVICE);
    assert_non_null(strstr(failure, "signal 11"));
    assert_non_null(strstr(failure, "loading"));
    assert_int_equal(run_child("exit 3", 20, &messages, failure), PHY_ERR_DEVICE);
    assert_non_null(strstr(failure, "exit code 3"));
    assert_int_equal(run_child("echo nonsense >&3; echo '{\"status\":8}' >&3", 20, &messages, failure), PHY_ERR_DEVICE);
    assert_int_equal(run_child("echo '{\"status\":0}' >&3", 20, &messages, failure), PHY_OK);
    assert_int_equal(failure[0], 0);
}

/* Texts of what came: 'r' a result, 'u' an unfinished one, 's' a skip. */
static void take_kinds(void *user, cJSON *message)
{
    char *kinds = user;
    const cJSON *measurement = cJSON_GetObjectItem(message, "measurement");
    const char kind = cJSON_GetObjectItem(message, "skipped")                        ? 's'
                      : cJSON_IsTrue(cJSON_GetObjectItem(measurement, "unfinished")) ? 'u'
                                                                                     : 'r';
    kinds[strlen(kinds)] = kind; /* zeros follow */
}

static void a_group_in_flight_is_kept_as_far_as_it_came(void **state)
{
    (void)state;
    static const char drafts[] = "echo '{\"draft\":0,\"skipped\":{}}\n{\"draft\":1,\"skipped\":{}}' >&3;"
                                 "echo '{\"draft\":0,\"result\":{},\"measurement\":{}}' >&3;";
    static const char settled[] = "echo '{\"settles\":0,\"result\":{},\"measurement\":{}}' >&3;"
                                  "echo '{\"settles\":1,\"skipped\":{}}' >&3; echo '{\"status\":0}' >&3";
    const struct {
        const char *end, *kinds;
        enum phy_status status;
    } ends[] = {{"sleep 60", "su", PHY_ERR_DEVICE},
                {"kill -SEGV $$", "su", PHY_ERR_DEVICE},
                {"echo '{\"settles\":0,\"result\":{}}' >&3; exit 3", "rs", PHY_ERR_DEVICE},
                {settled, "rs", PHY_OK}};
    char op[] = "ffn", device[] = "vulkan:0", script[1024], failure[PHY_BENCH_FAILURE_BYTES];
    const struct phy_bench_job job = {.op = op, .device = device, .threads = 1, .budget_s = 1};
    const char *const worker[] = {"/bin/sh", "-c", script, NULL};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char kinds[16] = "";
        snprintf(script, sizeof script, "%s %s", drafts, ends[i].end);
        assert_int_equal(phy_bench_run_job(worker, &job, 0.5, take_kinds, kinds, NULL, failure), ends[i].status);
        assert_string_equal(kinds, ends[i].kinds);
    }
}

/* A fake that serves "list" with two devices, hangs on the first of them and answers for the other. */
static const char fake_worker[] =
    "read job; case $job in"
    " *'\"list\"'*) echo '{\"found\":[\"vulkan:0\",\"vulkan:1\"]}' >&3;;"
    " *vulkan:0*) echo '{\"at\":\"a dispatch\"}' >&3; sleep 60;;"
    " *) echo '{\"device\":{\"name\":\"vulkan:1\",\"device\":\"a <card>\",\"clock\":\"c\",\"roofline\":{"
    "\"read_gb_per_s\":10,\"f32_g_operations_per_s\":100}}}' >&3;"
    " echo '{\"result\":{\"op\":\"ffn\",\"format\":\"q4_k\",\"device\":\"vulkan:1\",\"kernel\":\"fused\",\"shape\":"
    "\"640x2048\",\"x_rows\":1,\"cold\":true,\"median_us\":100,\"q1_us\":90,\"q3_us\":110,\"gb_per_s\":22,"
    "\"share_of_roofline\":0.5,\"arithmetic_intensity\":3.5},\"measurement\":{\"best_us\":80,\"samples_us\":[90,100,"
    "110],"
    "\"g_operations_per_s\":78,\"threads\":2,\"clock\":\"device\",\"host_median_us\":200,\"bound\":\"memory\","
    "\"rounds\":3}}' >&3;"
    " echo "
    "'{\"skipped\":{\"op\":\"ffn\",\"format\":\"bf16\",\"device\":\"vulkan:1\",\"kernel\":\"int8\",\"shape\":\"1x2\","
    "\"x_rows\":512,\"cold\":false,\"reason\":\"a \\\"slow\\\", <one>\"}}' >&3;;"
    " esac; echo '{\"status\":0}' >&3";

static struct phy_bench_report *run_fake(const char *device, const char *peer, enum phy_status expected)
{
    const char *const worker[] = {"/bin/sh", "-c", fake_worker, NULL};
    struct phy_bench_report *report;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    enum phy_status status = phy_bench_run(&(struct phy_bench_params){.op = "ffn",
                                                                      .device = device,
                                                                      .timeout_s = 0.5,
                                                                      .budget_s = 5,
                                                                      .worker = worker,
                                                                      .peer = peer,
                                                                      .host = &host},
                                           &report);
    assert_int_equal(status, expected);
    return report;
}

static void one_device_that_hangs_costs_only_its_own_results(void **state)
{
    (void)state;
    size_t failed;
    struct phy_bench_report *report = run_fake("vulkan:0,vulkan:1", NULL, PHY_ERR_DEVICE);
    assert_int_equal(phy_bench_report_count(report, &failed), 1);
    assert_int_equal(failed, 1);
    char *text = phy_bench_report_text(report, PHY_BENCH_JSON);
    cJSON *root = cJSON_Parse(text), *result = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "results"), 0);
    static const char *const keys[] = {"op",
                                       "format",
                                       "device",
                                       "kernel",
                                       "shape",
                                       "x_rows",
                                       "cold",
                                       "median_us",
                                       "q1_us",
                                       "q3_us",
                                       "gb_per_s",
                                       "share_of_roofline",
                                       "arithmetic_intensity"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(result, keys[i]));
    static const char *const tops[] = {"schema",  "kind",         "program", "machine", "settings",
                                       "devices", "measurements", "skipped", "failed",  "conditions"};
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
        assert_non_null(cJSON_GetObjectItemCaseSensitive(root, tops[i]));
    assert_int_equal(cJSON_GetObjectItem(root, "schema")->valueint, 1);
    const cJSON *failure = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "failed"), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(failure, "device")), "vulkan:0");
    cJSON_Delete(root);
    char host_name[256] = "";
    gethostname(host_name, sizeof host_name - 1);
    assert_true(strlen(host_name) < 4 || !strstr(text, host_name));
    assert_null(strstr(text, PHY_TEST_DATA));
    phy_bench_text_free(text);
    phy_bench_report_close(&report);
    assert_null(report);
}

static void every_form_tells_of_results_and_failures(void **state)
{
    (void)state;
    static const struct {
        enum phy_bench_form form;
        const char *result, *failure, *skipped;
    } forms[] = {
        {PHY_BENCH_JSON, "\"median_us\"", "given up", "slow"},
        {PHY_BENCH_TABLE, "100.0 us", "FAILED vulkan:0",
         "\nLEFT OUT ffn vulkan:1 1x2, 512 rows, warm: bf16 int8 (a \"slow\", <one>)\n"},
        {PHY_BENCH_CSV, "ffn,q4_k,vulkan:1,fused,640x2048,1,true,100,90,110,22,0.5,3.5,,2,device,3,\n", "",
         "\nffn,bf16,vulkan:1,int8,1x2,512,false,,,,,,,,,,,\"a \"\"slow\"\", <one>\"\n"},
        {PHY_BENCH_MARKDOWN, "| ffn | q4_k | vulkan:1 |", "- FAILED vulkan:0", "\n- LEFT OUT ffn vulkan:1 1x2"},
        {PHY_BENCH_HTML, "<circle class=cold", "<p class=bad>vulkan:0: given up", "slow&quot;, &lt;one&gt;"},
        {PHY_BENCH_JUNIT, "time=\"0.000100000\"", "<failure message=\"given up",
         "name=\"bf16 int8 1x2 512 warm\"><skipped message=\"a "}};
    struct phy_bench_report *report = run_fake("vulkan:0,vulkan:1", NULL, PHY_ERR_DEVICE);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *text = phy_bench_report_text(report, forms[i].form);
        if (!strstr(text, forms[i].result) || !strstr(text, forms[i].failure) || !strstr(text, forms[i].skipped))
            fail_msg("form %d lacks it:\n%s", (int)forms[i].form, text);
        assert_true(forms[i].form != PHY_BENCH_HTML || (!strstr(text, "<card>") && strstr(text, "&lt;card&gt;")));
        phy_bench_text_free(text);
    }
    phy_bench_report_close(&report);
}

/* ---- peers ---- */

static void put_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static double first_ratio(const struct phy_bench_report *report)
{
    char *text = phy_bench_report_text(report, PHY_BENCH_JSON);
    cJSON *root = cJSON_Parse(text), *result = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "results"), 0);
    double ratio = cJSON_GetNumberValue(cJSON_GetObjectItem(result, "ratio_to_peer"));
    cJSON_Delete(root);
    phy_bench_text_free(text);
    return ratio;
}

/* By the host's clock, as the peer was timed: 200 us where the device counted 100. */
static void a_peers_times_become_ratios(void **state)
{
    (void)state;
    char path[] = "/tmp/test-bench-peer-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    put_file(path, "op\tformat\tshape\trows\tcold\tthreads\tmedian_us\tq1\tq3\tdevice\n"
                   "ffn\tQ4_K\t640x2048\t1\t1\t2\t150\t140\t160\tvulkan:1\n"
                   "ffn\tq4_k\t640x2048\t8\t1\t2\t9\t9\t9\tvulkan:1\n");
    struct phy_bench_report *report = run_fake("vulkan:1", path, PHY_OK);
    assert_true(fabs(first_ratio(report) - 0.75) < 1e-9);
    phy_bench_report_close(&report);
    /* Two gates of the faster layout and a down that has no line: 3 x 40. */
    put_file(path, "op\tformat\tshape\tx_rows\tcold\tthreads\tmedian_us\tq1_us\tq3_us\n"
                   "mul_mat\tq4_K\t640x2048\t1\t1\t2\t50\t1\t1\n"
                   "mul_mat_gpu\tq4_K\t640x2048\t1\t0\t2\t7\t1\t1\n"
                   "mul_mat_gpu\tq4_K\t640x2048\t1\t1\t1\t40\t1\t1\n");
    report = run_fake("vulkan:1", path, PHY_OK);
    assert_true(fabs(first_ratio(report) - 0.6) < 1e-9);
    phy_bench_report_close(&report);
    put_file(path, "ffn\tq4_k\t640x2048\t1\t1\t2\tnone\n");
    run_fake("vulkan:1", path, PHY_ERR_FORMAT);
    unlink(path);
    run_fake("vulkan:1", path, PHY_ERR_IO);
}

/* ---- compare ---- */

static void put_report(const char *path, int schema, const char *device, double median, bool samples)
{
    char text[1024], list[256] = "";
    if (samples)
        snprintf(list, sizeof list, "%g,%g,%g,%g,%g,%g,%g", median, median * 1.01, median * 0.99, median, median * 1.02,
                 median * 0.98, median);
    snprintf(text, sizeof text,
             "{\"schema\":%d,\"results\":[{\"op\":\"ffn\",\"format\":\"q4_k\",\"device\":\"%s\",\"kernel\":\"fused\","
             "\"shape\":\"1x1\",\"x_rows\":1,\"cold\":true,\"median_us\":%g,\"q1_us\":%g,\"q3_us\":%g}],"
             "\"measurements\":[{\"samples_us\":[%s]}]}",
             schema, device, median, median * 0.99, median * 1.01, list);
    put_file(path, text);
}

static enum phy_status compare(const char *before, const char *after, double threshold)
{
    struct phy_bench_compared out;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    enum phy_status status = phy_bench_compare(
        &(struct phy_bench_compare_params){.before = before, .after = after, .threshold = threshold, .host = &host},
        &out);
    assert_true((status == PHY_OK || status == PHY_ERR_MISMATCH) == (out.text != NULL));
    assert_int_equal(log.errors, status != PHY_OK && status != PHY_ERR_MISMATCH);
    assert_true(status != PHY_ERR_MISMATCH || (out.regressed == 1 && strstr(out.text, "SLOWER")));
    phy_bench_text_free(out.text);
    phy_bench_text_free(out.json);
    return status;
}

static void compare_finds_what_became_slower_beyond_the_threshold(void **state)
{
    (void)state;
    char folder[] = "/tmp/test-bench-XXXXXX", before[64], after[64];
    assert_non_null(mkdtemp(folder));
    snprintf(before, sizeof before, "%s/a", folder);
    snprintf(after, sizeof after, "%s/b", folder);
    for (int samples = 0; samples < 2; samples++) {
        put_report(before, 1, "cpu:ref", 100, samples);
        put_report(after, 1, "cpu:ref", 130, samples);
        assert_int_equal(compare(before, after, 0), PHY_ERR_MISMATCH);
        assert_int_equal(compare(before, after, 0.5), PHY_OK);
        assert_int_equal(compare(before, after, 1.2), PHY_ERR_MISMATCH);
        assert_int_equal(compare(after, before, 0), PHY_OK);
        assert_int_equal(compare(before, before, 0), PHY_OK);
    }
    assert_int_equal(compare(before, after, -1), PHY_ERR_USAGE);
    put_report(after, 2, "cpu:ref", 130, true);
    assert_int_equal(compare(before, after, 0), PHY_ERR_UNSUPPORTED);
    put_report(after, 1, "cpu:avx2", 130, true);
    assert_int_equal(compare(before, after, 0), PHY_ERR_USAGE);
    put_file(after, "{\"schema\":1}");
    assert_int_equal(compare(before, after, 0), PHY_ERR_FORMAT);
    unlink(after);
    assert_int_equal(compare(before, after, 0), PHY_ERR_IO);
    unlink(before);
    rmdir(folder);
}

/* A regression that the noise could have made is none. */
static void compare_does_not_call_noise_slower(void **state)
{
    (void)state;
    char folder[] = "/tmp/test-bench-XXXXXX", paths[2][64];
    assert_non_null(mkdtemp(folder));
    static const char *const samples[] = {"50,200,90,100,300,60,140", "60,250,80,120,310,50,160"};
    for (int i = 0; i < 2; i++) {
        char text[512];
        snprintf(paths[i], sizeof paths[i], "%s/%d", folder, i);
        snprintf(
            text, sizeof text,
            "{\"schema\":1,\"results\":[{\"op\":\"ffn\",\"median_us\":%d}],\"measurements\":[{\"samples_us\":[%s]}]}",
            i ? 120 : 100, samples[i]);
        put_file(paths[i], text);
    }
    assert_int_equal(compare(paths[0], paths[1], 0), PHY_OK);
    unlink(paths[0]);
    unlink(paths[1]);
    rmdir(folder);
}

static void wrong_arguments_are_refused_before_anything_runs(void **state)
{
    (void)state;
    struct log_record log;
    const struct phy_host host = recording_host(&log);
    const char *const worker[] = {"/nonexistent/worker", NULL};
    const struct phy_bench_params wrong[] = {{.op = "ffm", .worker = worker, .host = &host},
                                             {.op = "generate", .worker = worker, .host = &host},
                                             {.op = "ffn", .shapes = "1", .worker = worker, .host = &host},
                                             {.op = "ffn", .rows = "0", .worker = worker, .host = &host},
                                             {.op = "ffn", .device = "gpu", .worker = worker, .host = &host},
                                             {.op = "ffn", .device = "cpu,,cpu", .worker = worker, .host = &host},
                                             {.op = "ffn", .budget_s = -1, .worker = worker, .host = &host}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct phy_bench_report *report;
        assert_int_equal(phy_bench_run(&wrong[i], &report), PHY_ERR_USAGE);
        assert_null(report);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quartiles_lie_between_the_samples),
        cmocka_unit_test(a_ratios_interval_is_the_same_every_time_and_holds_the_ratio),
        cmocka_unit_test(memory_that_runs_out_is_no_interval),
        cmocka_unit_test(the_devices_clock_counts_and_a_failed_case_leaves_the_others),
        cmocka_unit_test(a_case_too_slow_for_the_budget_is_left_out_with_its_reason),
        cmocka_unit_test(a_case_of_which_some_rounds_fit_has_fewer),
        cmocka_unit_test(a_first_run_by_the_devices_clock_is_a_sample_where_no_round_fits),
        cmocka_unit_test(the_first_case_is_measured_whatever_it_takes_but_for_the_timeout),
        cmocka_unit_test(cases_that_may_not_be_left_out_have_a_round_each),
        cmocka_unit_test(a_device_without_a_clock_is_timed_by_the_host),
        cmocka_unit_test(peak_kernels_do_what_they_are_timed_for),
        cmocka_unit_test(random_weights_of_every_type_are_finite),
        cmocka_unit_test(a_bitmap_has_the_zeros_that_were_asked_for),
        cmocka_unit_test(a_machine_is_busy_when_others_or_its_host_take_time),
        cmocka_unit_test(a_job_survives_its_way_to_the_child),
        cmocka_unit_test(lists_are_read_or_refused),
        cmocka_unit_test(a_child_that_hangs_is_given_up_and_its_results_kept),
        cmocka_unit_test(a_child_that_crashes_is_told_with_what_it_did),
        cmocka_unit_test(a_group_in_flight_is_kept_as_far_as_it_came),
        cmocka_unit_test(one_device_that_hangs_costs_only_its_own_results),
        cmocka_unit_test(every_form_tells_of_results_and_failures),
        cmocka_unit_test(a_peers_times_become_ratios),
        cmocka_unit_test(compare_finds_what_became_slower_beyond_the_threshold),
        cmocka_unit_test(compare_does_not_call_noise_slower),
        cmocka_unit_test(wrong_arguments_are_refused_before_anything_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
