/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs, their bytes compared with a slow model; and everything that can go wrong in one. */
#define _GNU_SOURCE
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/io.h"
#include "support/donor_model.h"
#include "surgery/pipeline.h"

static const struct donor_tensor shard_one[] = {
    {"model.embed_tokens.weight", "BF16", 300, 40},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 640, 1152},
    {"model.layers.0.self_attn.k_proj.weight", "F16", 1, 700},
    {"model.layers.0.self_attn.v_proj.weight", "F32", 700, 1},
    {"model.layers.0.input_layernorm.weight", "F32", 40, 0},
    {"model.layers.0.mlp.up_proj.weight", "F32", 257, 513},
};
static const struct donor_tensor shard_two[] = {
    {"model.layers.1.mlp.down_proj.weight", "F16", 300, 255},
    {"model.layers.1.mlp.gate_proj.weight", "BF16", 1, 1},
    {"model.norm.weight", "BF16", 64, 0},
};
static const char *const shard_files[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
static const struct phy_flow_params defaults = {.gain = 5, .beta = 2, .iterations = 30, .block = 256};

static struct log_record record;
static struct phy_host host;

static void write_index(const char *folder)
{
    char path[256], *text = malloc(65536);
    size_t used = (size_t)sprintf(text, "{\"metadata\":{},\"weight_map\":{");
    for (size_t i = 0; i < sizeof shard_one / sizeof *shard_one; i++)
        used += (size_t)sprintf(text + used, "\"%s\":\"%s\",", shard_one[i].name, shard_files[0]);
    for (size_t i = 0; i < sizeof shard_two / sizeof *shard_two; i++)
        used += (size_t)sprintf(text + used, "%s\"%s\":\"%s\"", i ? "," : "", shard_two[i].name, shard_files[1]);
    used += (size_t)sprintf(text + used, "}}");
    sprintf(path, "%s/model.safetensors.index.json", folder);
    donor_write(path, text, used);
    free(text);
}

/* donor/: two shards, an index, sidecars, and what must not be copied. */
static int setup(void **state)
{
    char *folder = malloc(64);
    donor_enter_folder(folder);
    *state = folder;
    static const char *const folders[] = {"donor", "donor/extra", "donor/physarium", "donor/.git"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(mkdir(folders[i], 0777), 0);
    donor_write_safetensors("donor/model-00001-of-00002.safetensors", shard_one, 6, 1, 5);
    donor_write_safetensors("donor/model-00002-of-00002.safetensors", shard_two, 3, 2, 0);
    write_index("donor");
    donor_write("donor/config.json", "{}\n", 3);
    donor_write("donor/extra/notes", "kept", 4);
    donor_write("donor/physarium/surgery.json", "stale", 5);
    donor_write("donor/.git/HEAD", "no", 2);
    donor_write_safetensors("single.safetensors", shard_one, 6, 3, 1);
    return 0;
}

static int teardown(void **state)
{
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

static int before_each(void **state)
{
    (void)state;
    host = recording_host(&record);
    phy_pipeline_tuning = (struct phy_pipeline_tuning){.record_bytes = UINT64_C(256) << 20, .record_seconds = 2};
    phy_io_set_hook(NULL, NULL);
    return system("chmod -R u+w . && rm -rf out .out* out.safetensors*") == 0 ? 0 : -1;
}

static struct phy_surgery_params params_for(const char *donor, const char *output)
{
    return (struct phy_surgery_params){.donor = donor, .output = output, .threads = 2, .host = &host};
}

/* The model is slow, so that of the defaults is kept. */
static unsigned char *expected_shard(size_t shard, const struct phy_flow_params *flow,
                                     const struct phy_target_params *which, size_t *bytes, struct model_counts *counts)
{
    static unsigned char *kept[2];
    static size_t kept_bytes[2];
    static struct model_counts kept_counts[2];
    char path[128];
    struct model_counts own = {0};
    snprintf(path, sizeof path, "donor/%s", shard_files[shard]);
    bool plain = memcmp(flow, &defaults, sizeof *flow) == 0 && (!which || which->exclude_count == 0);
    unsigned char *file = plain ? kept[shard] : NULL;
    if (file) {
        *bytes = kept_bytes[shard];
        own = kept_counts[shard];
    } else {
        file = model_shard("donor", path, shard, flow, which, bytes, &own);
    }
    if (plain) {
        kept[shard] = file;
        kept_bytes[shard] = *bytes;
        kept_counts[shard] = own;
        file = malloc(*bytes);
        memcpy(file, kept[shard], *bytes);
    }
    counts->killed += own.killed;
    counts->zero_before += own.zero_before;
    counts->weights += own.weights;
    return file;
}

static void assert_shards_are_the_models(const char *output, const struct phy_flow_params *flow,
                                         const struct phy_target_params *which, const struct phy_surgery_result *result)
{
    struct model_counts counts = {0};
    for (size_t i = 0; i < 2; i++) {
        char to[128];
        size_t bytes, got_bytes;
        snprintf(to, sizeof to, "%s/%s", output, shard_files[i]);
        unsigned char *expected = expected_shard(i, flow, which, &bytes, &counts);
        unsigned char *got = donor_read(to, &got_bytes);
        assert_non_null(got);
        assert_int_equal(got_bytes, bytes);
        for (size_t at = 0; at < bytes; at++) {
            if (got[at] != expected[at])
                fail_msg("%s differs at byte %zu", to, at);
        }
        free(expected);
        free(got);
    }
    if (result) {
        assert_int_equal(result->killed, counts.killed);
        assert_int_equal(result->zero_before, counts.zero_before);
        assert_int_equal(result->processed, counts.weights);
        assert_int_equal(result->target_elements, counts.weights);
    }
}

static bool exists(const char *path)
{
    struct stat there;
    return lstat(path, &there) == 0;
}

static void run_and_compare(struct phy_surgery_params params, struct phy_flow_params flow)
{
    struct phy_surgery_result result;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_shards_are_the_models("out", &flow, &params.targets, &result);
    assert_int_equal(record.errors, 0);
    assert_int_equal(record.warnings, 0);
}

static void writes_what_the_model_says_and_copies_the_rest(void **state)
{
    (void)state;
    run_and_compare(params_for("donor", "out"), defaults);
    assert_true(donor_same_file("donor/config.json", "out/config.json"));
    assert_true(donor_same_file("donor/extra/notes", "out/extra/notes"));
    assert_true(donor_same_file("donor/model.safetensors.index.json", "out/model.safetensors.index.json"));
    assert_false(exists("out/.git"));
    assert_false(donor_same_file("donor/physarium/surgery.json", "out/physarium/surgery.json"));
    assert_false(exists("out/physarium/journal"));
    assert_false(exists(".out.physarium-partial"));
    static const char *const reports[] = {"surgery.json",  "surgery.md",    "surgery.html",
                                          "coverage.json", "tensors.jsonl", "run.json"};
    for (size_t i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "out/physarium/%s", reports[i]);
        assert_true(exists(path));
    }
}

static void options_of_the_flow_reach_it(void **state)
{
    struct phy_surgery_params params = params_for("donor", "out");
    params.gain = 1.75;
    params.beta = 3;
    params.iterations = 7;
    params.block = 32;
    run_and_compare(params, (struct phy_flow_params){.gain = 1.75f, .beta = 3, .iterations = 7, .block = 32});
    before_each(state);
    static const char *const exclude[] = {"*q_proj*"};
    params = params_for("donor", "out");
    params.targets.exclude = exclude;
    params.targets.exclude_count = 1;
    run_and_compare(params, defaults);
}

static void run_on_device(const char *device)
{
    struct phy_surgery_params params = params_for("donor", "out");
    print_message("device %s\n", device);
    params.device = device;
    params.memory_bytes = UINT64_C(256) << 20;
    run_and_compare(params, defaults);
}

static void bytes_do_not_depend_on_memory_threads_or_form(void **state)
{
    for (uint32_t threads = 1; threads <= 5; threads += 2) {
        before_each(state);
        struct phy_surgery_params params = params_for("donor", "out");
        params.threads = threads;
        params.memory_bytes = UINT64_C(16) << 20;
        run_and_compare(params, defaults);
    }
    struct phy_cpu_features have = phy_cpu_detect();
    for (const struct phy_flow_variant *v = phy_flow_variants; v->name; v++) {
        char device[32];
        if (!phy_cpu_meets(&have, &v->needs))
            continue;
        snprintf(device, sizeof device, "cpu:%s", v->name);
        before_each(state);
        run_on_device(device);
    }
}

/* In a run of its own (surgery_every_device): Vulkan drivers keep memory until the process ends, which a leak checker
 * would hold against us. */
static void every_device_and_all_together_write_the_same_bytes(void **state)
{
    struct phy_device_list list;
    if (!getenv("PHY_EVERY_DEVICE"))
        skip();
    assert_int_equal(phy_devices_list(&list, NULL), PHY_OK);
    for (size_t i = 0; i <= list.count; i++) {
        if (i < list.count && (!list.devices[i].available || !list.devices[i].bit_exact))
            continue;
        before_each(state);
        run_on_device(i < list.count ? list.devices[i].name : "all");
    }
    phy_device_list_free(&list);
}

static void a_file_becomes_a_file_with_its_reports_beside_it(void **state)
{
    (void)state;
    struct phy_surgery_params params = params_for("single.safetensors", "out.safetensors");
    struct phy_surgery_result result;
    struct model_counts counts = {0};
    size_t bytes, got_bytes;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    unsigned char *expected =
        model_shard("single.safetensors", "single.safetensors", 0, &defaults, NULL, &bytes, &counts);
    unsigned char *got = donor_read("out.safetensors", &got_bytes);
    assert_int_equal(got_bytes, bytes);
    assert_memory_equal(got, expected, bytes);
    free(expected);
    free(got);
    assert_true(exists("out.safetensors.physarium/surgery.json"));
    assert_false(exists(".out.safetensors.physarium-partial"));
    assert_int_equal(phy_surgery_run(&params, &result), PHY_ERR_USAGE);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_true(result.already_finished);
    assert_int_equal(result.killed, counts.killed);
    params.resume = false;
    params.force = true;
    params.gain = 2;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_true(result.killed > counts.killed);
}

static void a_kill_between_the_last_renames_is_made_good(void **state)
{
    (void)state;
    /* A file: its reports have their name, it has not. */
    struct phy_surgery_params params = params_for("single.safetensors", "out.safetensors");
    struct phy_surgery_result result;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    assert_int_equal(system("cp out.safetensors kept && mkdir -p .out.safetensors.physarium-partial/physarium && "
                            "mv out.safetensors .out.safetensors.physarium-partial/"),
                     0);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_false(result.already_finished);
    assert_true(donor_same_file("kept", "out.safetensors"));
    assert_true(exists("out.safetensors.physarium/surgery.json"));
    assert_false(exists(".out.safetensors.physarium-partial"));

    /* A directory: the journal is gone, the name not yet given. */
    params = params_for("donor", "out");
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    assert_int_equal(rename("out", ".out.physarium-partial"), 0);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_shards_are_the_models("out", &defaults, NULL, &result);

    /* With --force, after the exchange: what was replaced is still there under our name. */
    assert_int_equal(system("cp -r donor .out.physarium-partial"), 0);
    assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
    assert_true(result.already_finished);
    params.resume = false;
    params.force = true;
    host = recording_host(&record);
    run_and_compare(params, defaults);
    assert_false(exists(".out.physarium-partial"));
}

static void resuming_a_finished_run_says_so_and_another_says_how(void **state)
{
    (void)state;
    struct phy_surgery_params params = params_for("donor", "out");
    struct phy_surgery_result first, second;
    assert_int_equal(phy_surgery_run(&params, &first), PHY_OK);
    params.resume = true;
    params.memory_bytes = UINT64_C(32) << 20; /* not a matter of the bytes */
    assert_int_equal(phy_surgery_run(&params, &second), PHY_OK);
    assert_true(second.already_finished);
    assert_int_equal(first.killed, second.killed);
    assert_non_null(strstr(record.note, "already finished"));
    params.beta = 3;
    assert_int_equal(phy_surgery_run(&params, &second), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "beta is 2 there and 3 here"));
    params.beta = 0;
    assert_int_equal(unlink("out/model-00002-of-00002.safetensors"), 0);
    assert_int_equal(phy_surgery_run(&params, &second), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "missing"));
    params.force = true; /* and then it is made again */
    assert_int_equal(phy_surgery_run(&params, &second), PHY_OK);
    assert_false(second.already_finished);
}

static void refuses_parameters_out_of_range(void **state)
{
    (void)state;
    const struct phy_surgery_params good = params_for("donor", "out");
    struct phy_surgery_params bad[10];
    for (size_t i = 0; i < 10; i++)
        bad[i] = good;
    bad[0].gain = 65;
    bad[1].gain = 0.06;
    bad[2].beta = 5;
    bad[3].iterations = 1001;
    bad[4].block = 100;
    bad[5].sparsity = 1;
    bad[6].sparsity = -0.1;
    bad[7].memory_bytes = 1 << 20;
    bad[8].device = "gpu";
    bad[9].gain = 3, bad[9].sparsity = 0.5;
    for (size_t i = 0; i < 10; i++) {
        before_each(state);
        assert_int_equal(phy_surgery_run(&bad[i], NULL), PHY_ERR_USAGE);
        assert_int_equal(record.errors, 1);
        assert_false(exists(".out.physarium-partial"));
    }
}

/* ---- a weight that is refused ---- */

static void a_weight_that_is_not_finite_is_named_and_nothing_is_left(void **state)
{
    (void)state;
    static const struct donor_tensor tensors[] = {{"a", "F32", 5, 0},
                                                  {"model.layers.0.mlp.up_proj.weight", "F32", 600, 700}};
    size_t bytes;
    donor_write_safetensors("bad.safetensors", tensors, 2, 5, 3);
    unsigned char *file = donor_read("bad.safetensors", &bytes);
    float inf = 1.0f / 0.0f, large = 0x1p64f;
    memcpy(file + bytes - 4 * (700 * 599 - 3), &inf, 4);     /* row 1, column 3 */
    memcpy(file + bytes - 4 * (700 * 299 - 650), &large, 4); /* row 301, column 650: in a later tile */
    donor_write("bad.safetensors", file, bytes);
    for (int threads = 1; threads <= 4; threads++) {
        host = recording_host(&record);
        struct phy_surgery_params params = params_for("bad.safetensors", "out.safetensors");
        params.threads = (uint32_t)threads;
        params.memory_bytes = UINT64_C(16) << 20;
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_FORMAT);
        assert_int_equal(record.errors, 1);
        assert_non_null(strstr(record.error,
                               "bad.safetensors: tensor 1 \"model.layers.0.mlp.up_proj.weight\": the weight at "
                               "row 1, column 3 is not finite"));
        assert_false(exists("out.safetensors"));
        assert_false(exists(".out.safetensors.physarium-partial"));
    }
    memcpy(file + bytes - 4 * (700 * 599 - 3), "\0\0\0\0", 4);
    donor_write("bad.safetensors", file, bytes);
    struct phy_surgery_params params = params_for("bad.safetensors", "out.safetensors");
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "row 301, column 650"));
    params.sparsity = 0.3; /* the sample meets it first */
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_FORMAT);
    assert_non_null(strstr(record.error, "row 301, column 650"));
    assert_false(exists(".out.safetensors.physarium-partial"));
    free(file);
}

/* ---- errors of the machine ---- */

static void assert_error_says(const char *text)
{
    if (!strstr(record.error, text))
        fail_msg("\"%s\" does not say \"%s\"", record.error, text);
}

struct io_fault {
    enum phy_io_call call;
    atomic_int left; /* calls of this kind until it strikes */
    int error;       /* 0: shorten instead, every time */
};

static int io_hook(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd;
    (void)at;
    struct io_fault *fault = user;
    if (call != fault->call)
        return 0;
    if (fault->error == 0) {
        *bytes = *bytes > 7777 ? *bytes / 2 + 1 : *bytes;
        return 0;
    }
    return atomic_fetch_sub(&fault->left, 1) <= 0 ? fault->error : 0;
}

static void short_reads_and_writes_change_nothing(void **state)
{
    static const enum phy_io_call calls[] = {PHY_IO_READ, PHY_IO_WRITE};
    for (size_t i = 0; i < 2; i++) {
        before_each(state);
        struct io_fault fault = {.call = calls[i]};
        phy_io_set_hook(io_hook, &fault);
        run_and_compare(params_for("donor", "out"), defaults);
        phy_io_set_hook(NULL, NULL);
    }
}

static void an_error_of_any_call_leaves_work_that_resumes(void **state)
{
    static const struct {
        enum phy_io_call call;
        int error;
        const char *says;
    } kinds[] = {
        {PHY_IO_WRITE, ENOSPC, "--resume"},
        {PHY_IO_FSYNC, EIO, "--resume"},
        {PHY_IO_CLOSE, EDQUOT, "--resume"},
        {PHY_IO_READ, EIO, ""},
    };
    unsigned struck = 0;
    for (size_t k = 0; k < 4; k++) {
        for (int after = 0; after < 60; after += 1 + after / 2) {
            before_each(state);
            phy_pipeline_tuning = (struct phy_pipeline_tuning){.record_bytes = 100000, .record_seconds = 100};
            struct phy_surgery_params params = params_for("donor", "out");
            params.memory_bytes = UINT64_C(16) << 20;
            struct io_fault fault = {.call = kinds[k].call, .left = after, .error = kinds[k].error};
            phy_io_set_hook(io_hook, &fault);
            enum phy_status status = phy_surgery_run(&params, NULL);
            phy_io_set_hook(NULL, NULL);
            if (status == PHY_OK)
                break;
            struck++;
            assert_int_equal(status, PHY_ERR_IO);
            assert_int_equal(record.errors, 1);
            if (exists(".out.physarium-partial/physarium/journal"))
                assert_error_says(kinds[k].says);
            else
                assert_null(strstr(record.error, "--resume"));
            assert_false(exists("out"));
            params.resume = true;
            struct phy_surgery_result result;
            assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
            assert_shards_are_the_models("out", &defaults, NULL, &result);
        }
    }
    print_message("%u errors struck\n", struck);
    assert_true(struck > 15);
}

static void a_file_size_limit_is_an_error_with_a_sentence(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 500000, .rlim_max = 500000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        struct phy_surgery_params params = params_for("donor", "out");
        enum phy_status status = phy_surgery_run(&params, NULL);
        _exit(status == PHY_ERR_IO && strstr(record.error, "File too large") && strstr(record.error, "--resume") ? 0
                                                                                                                 : 1);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    struct phy_surgery_params params = params_for("donor", "out");
    params.resume = true;
    run_and_compare(params, defaults);
}

static void every_allocation_that_fails_is_an_error_with_a_sentence(void **state)
{
    static const struct donor_tensor tensors[] = {{"model.layers.0.mlp.up_proj.weight", "BF16", 40, 40}};
    donor_write_safetensors("small.safetensors", tensors, 1, 3, 0);
    unsigned failures = 0;
    for (uint64_t after = 0;; after++) {
        before_each(state);
        struct phy_surgery_params params = params_for("small.safetensors", "out.safetensors");
        params.sparsity = 0.5;
        params.block = 32;
        params.iterations = 2;
        phy_alloc_fail_after(after);
        enum phy_status status = phy_surgery_run(&params, NULL);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_OK)
            break;
        failures++;
        if (record.errors != 1)
            fail_msg("allocation %u: status %s, %u error lines", failures, phy_status_name(status), record.errors);
        assert_true(status == PHY_ERR_MEMORY || status == PHY_ERR_IO);
        assert_false(exists("out.safetensors"));
    }
    print_message("%u allocations failed\n", failures);
    assert_true(failures > 50);
}

/* ---- stopping ---- */

struct stopper {
    atomic_int polls_left;
};

/* The record comes first in what `user` points to. */
static bool stop_after(void *user)
{
    struct stopper *s = ((struct log_record *)user) ? (struct stopper *)((char *)user + sizeof record) : NULL;
    return s && atomic_fetch_sub(&s->polls_left, 1) <= 0;
}

static void an_interrupted_run_says_how_to_go_on_and_does(void **state)
{
    static struct {
        struct log_record record;
        struct stopper stopper;
    } user;
    unsigned interrupted = 0;
    for (int polls = 0; polls < 40; polls++) {
        before_each(state);
        memset(&user, 0, sizeof user);
        host = (struct phy_host){.user = &user, .log = record_line, .cancelled = stop_after};
        struct phy_surgery_params params = params_for("donor", "out");
        params.memory_bytes = UINT64_C(16) << 20;
        atomic_store(&user.stopper.polls_left, polls);
        enum phy_status status = phy_surgery_run(&params, NULL);
        if (status == PHY_OK)
            break;
        interrupted++;
        assert_int_equal(status, PHY_ERR_INTERRUPTED);
        assert_int_equal(user.record.errors, 1);
        assert_non_null(strstr(user.record.error, "--resume"));
        host = recording_host(&record);
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE); /* it is not thrown away by mistake */
        assert_non_null(strstr(record.error, "an unfinished run got to"));
        params.gain = 4;
        params.resume = true;
        assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE);
        assert_non_null(strstr(record.error, "gain is 5 there and 4 here"));
        params.gain = 0;
        host = recording_host(&record);
        struct phy_surgery_result result;
        assert_int_equal(phy_surgery_run(&params, &result), PHY_OK);
        assert_shards_are_the_models("out", &defaults, NULL, &result);
        assert_int_equal(record.warnings, 0);
    }
    assert_true(interrupted > 10);
}

static void another_donor_than_the_journals_is_refused(void **state)
{
    (void)state;
    struct io_fault fault = {.call = PHY_IO_WRITE, .left = 15, .error = ENOSPC};
    struct phy_surgery_params params = params_for("donor", "out");
    params.memory_bytes = UINT64_C(16) << 20;
    phy_io_set_hook(io_hook, &fault);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    host = recording_host(&record);
    usleep(20000); /* so that the clock of the file system has moved on */
    assert_int_equal(system("touch donor/model-00002-of-00002.safetensors"), 0);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "shard model-00002-of-00002.safetensors is"));
    host = recording_host(&record);
    params.force = true; /* both: go on if it is the same run, else discard it */
    run_and_compare(params, defaults);
}

static void force_discards_an_unfinished_run(void **state)
{
    (void)state;
    struct io_fault fault = {.call = PHY_IO_WRITE, .left = 9, .error = ENOSPC};
    struct phy_surgery_params params = params_for("donor", "out");
    phy_io_set_hook(io_hook, &fault);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    donor_write(".out.physarium-partial/junk", "x", 1);
    host = recording_host(&record);
    params.force = true;
    params.gain = 4;
    run_and_compare(params, (struct phy_flow_params){.gain = 4, .beta = 2, .iterations = 30, .block = 256});
    assert_false(exists("out/junk"));
}

static void damage_to_what_was_written_is_found_and_done_again(void **state)
{
    (void)state;
    phy_pipeline_tuning.record_bytes = 1;
    struct io_fault fault = {.call = PHY_IO_WRITE, .left = 25, .error = EIO};
    struct phy_surgery_params params = params_for("donor", "out");
    params.memory_bytes = UINT64_C(16) << 20;
    phy_io_set_hook(io_hook, &fault);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    int fd = open(".out.physarium-partial/model-00001-of-00002.safetensors", O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\x55", 1, 1500), 1);
    close(fd);
    host = recording_host(&record);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    assert_int_equal(record.warnings, 1);
    assert_non_null(strstr(record.warning, "not what its journal claims"));
    assert_shards_are_the_models("out", &defaults, NULL, NULL);
}

static void files_of_another_length_are_set_right(void **state)
{
    static const char *const files[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "config.json", "extra/notes", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (int longer = 0; longer < 2; longer++) {
            before_each(state);
            phy_pipeline_tuning.record_bytes = 1;
            struct io_fault fault = {.call = PHY_IO_WRITE, .left = 25, .error = EIO};
            struct phy_surgery_params params = params_for("donor", "out");
            params.memory_bytes = UINT64_C(16) << 20;
            phy_io_set_hook(io_hook, &fault);
            assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
            phy_io_set_hook(NULL, NULL);
            char path[128];
            snprintf(path, sizeof path, ".out.physarium-partial/%s", files[i]);
            assert_int_equal(truncate(path, longer ? 5000000 : 1), 0);
            host = recording_host(&record);
            params.resume = true;
            if (phy_surgery_run(&params, NULL) != PHY_OK)
                fail_msg("%s: %s", files[i], record.error);
            assert_shards_are_the_models("out", &defaults, NULL, NULL);
            assert_int_equal(system("cmp donor/config.json out/config.json && diff -r donor/extra out/extra && "
                                    "cmp donor/model.safetensors.index.json out/model.safetensors.index.json"),
                             0);
        }
    }
}

/* Kill a run at a random moment, over and over, until one gets through. */
static void a_killed_run_resumes_to_the_same_bytes(void **state)
{
    uint64_t seed = 20260101;
    unsigned killed = 0, resumed_midway = 0;
    for (unsigned round = 0; round < 7; round++) {
        before_each(state);
        for (unsigned attempt = 0;; attempt++) {
            pid_t child = fork();
            if (child == 0) {
                phy_pipeline_tuning = (struct phy_pipeline_tuning){.record_bytes = 50000, .record_seconds = 0};
                struct phy_surgery_params params = params_for("donor", "out");
                params.device = "cpu:ref";
                params.memory_bytes = UINT64_C(16) << 20;
                params.resume = true;
                params.force = attempt == 0;
                enum phy_status status = phy_surgery_run(&params, NULL);
                _exit(status == PHY_OK ? (strstr(record.note, "going on from") ? 10 : 0) : 99);
            }
            unsigned patience_ms = 1 + donor_random(&seed) % (attempt < 4 ? 150 : 3000);
            int code;
            while (patience_ms-- > 0 && waitpid(child, &code, WNOHANG) == 0)
                usleep(1000);
            kill(child, SIGKILL);
            if (waitpid(child, &code, 0) != child)
                assert_int_equal(errno, ECHILD); /* reaped above */
            if (WIFSIGNALED(code)) {
                killed++;
                continue;
            }
            assert_true(WIFEXITED(code));
            assert_int_not_equal(WEXITSTATUS(code), 99);
            resumed_midway += WEXITSTATUS(code) == 10;
            break;
        }
        assert_shards_are_the_models("out", &defaults, NULL, NULL);
        assert_false(exists(".out.physarium-partial"));
    }
    print_message("%u kills, %u rounds ended by a resume\n", killed, resumed_midway);
    assert_true(killed > 0);
}

/* Tensor lines without what may differ: seconds and device. */
static void assert_same_counts(const char *a_path, const char *b_path)
{
    FILE *a = fopen(a_path, "r"), *b = fopen(b_path, "r");
    static char x[4096], y[4096];
    assert_non_null(a);
    assert_non_null(b);
    unsigned lines = 0;
    while (fgets(x, sizeof x, a)) {
        assert_non_null(fgets(y, sizeof y, b));
        char *sx = strstr(x, "\"seconds\":"), *sy = strstr(y, "\"seconds\":");
        if (sx && sy) {
            char *ex = strpbrk(sx, ",}"), *ey = strpbrk(sy, ",}");
            memmove(sx, ex, strlen(ex) + 1);
            memmove(sy, ey, strlen(ey) + 1);
        }
        assert_string_equal(x, y);
        lines++;
    }
    assert_true(lines >= 9);
    fclose(a);
    fclose(b);
}

static void reports_after_a_resume_are_those_of_one_run(void **state)
{
    (void)state;
    struct phy_surgery_params params = params_for("donor", "whole");
    params.memory_bytes = UINT64_C(16) << 20;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    params.output = "out";
    phy_pipeline_tuning.record_bytes = 1;
    struct io_fault fault = {.call = PHY_IO_WRITE, .left = 22, .error = EIO};
    phy_io_set_hook(io_hook, &fault);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    params.resume = true;
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_OK);
    assert_non_null(strstr(record.note, "going on from"));
    assert_same_counts("whole/physarium/tensors.jsonl", "out/physarium/tensors.jsonl");
    assert_true(donor_same_file("whole/physarium/coverage.json", "out/physarium/coverage.json"));
}

/* ---- a donor that changes ---- */

static int change_donor(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd;
    (void)bytes;
    atomic_int *left = user;
    if (call == PHY_IO_WRITE && at > 0 && atomic_fetch_sub(left, 1) == 0) {
        int donor = open("donor/model-00002-of-00002.safetensors", O_RDWR);
        char byte;
        if (pread(donor, &byte, 1, 2000) != 1 || pwrite(donor, &byte, 1, 2000) != 1) /* the same byte, a new time */
            abort();
        close(donor);
    }
    return 0;
}

static void a_donor_that_changes_meanwhile_is_an_error(void **state)
{
    (void)state;
    usleep(20000); /* so that the clock of the file system has moved on */
    atomic_int left = 1;
    struct phy_surgery_params params = params_for("donor", "out");
    phy_io_set_hook(change_donor, &left);
    assert_int_equal(phy_surgery_run(&params, NULL), PHY_ERR_IO);
    phy_io_set_hook(NULL, NULL);
    assert_false(exists("out"));
    assert_non_null(strstr(record.error, shard_files[1]));
    assert_false(exists(".out.physarium-partial")); /* no resume could take it up */
}

/* test_surgery_run [FILTER] */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(writes_what_the_model_says_and_copies_the_rest, before_each),
        cmocka_unit_test_setup(options_of_the_flow_reach_it, before_each),
        cmocka_unit_test_setup(bytes_do_not_depend_on_memory_threads_or_form, before_each),
        cmocka_unit_test_setup(every_device_and_all_together_write_the_same_bytes, before_each),
        cmocka_unit_test_setup(a_file_becomes_a_file_with_its_reports_beside_it, before_each),
        cmocka_unit_test_setup(a_kill_between_the_last_renames_is_made_good, before_each),
        cmocka_unit_test_setup(resuming_a_finished_run_says_so_and_another_says_how, before_each),
        cmocka_unit_test_setup(refuses_parameters_out_of_range, before_each),
        cmocka_unit_test_setup(a_weight_that_is_not_finite_is_named_and_nothing_is_left, before_each),
        cmocka_unit_test_setup(short_reads_and_writes_change_nothing, before_each),
        cmocka_unit_test_setup(an_error_of_any_call_leaves_work_that_resumes, before_each),
        cmocka_unit_test_setup(a_file_size_limit_is_an_error_with_a_sentence, before_each),
        cmocka_unit_test_setup(every_allocation_that_fails_is_an_error_with_a_sentence, before_each),
        cmocka_unit_test_setup(an_interrupted_run_says_how_to_go_on_and_does, before_each),
        cmocka_unit_test_setup(another_donor_than_the_journals_is_refused, before_each),
        cmocka_unit_test_setup(force_discards_an_unfinished_run, before_each),
        cmocka_unit_test_setup(damage_to_what_was_written_is_found_and_done_again, before_each),
        cmocka_unit_test_setup(files_of_another_length_are_set_right, before_each),
        cmocka_unit_test_setup(a_killed_run_resumes_to_the_same_bytes, before_each),
        cmocka_unit_test_setup(reports_after_a_resume_are_those_of_one_run, before_each),
        cmocka_unit_test_setup(a_donor_that_changes_meanwhile_is_an_error, before_each),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
