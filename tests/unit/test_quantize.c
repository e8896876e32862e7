/* SPDX-License-Identifier: Apache-2.0 */
#include "support/ffn_store_build.h" /* first: it asks the system headers for more */

#include "support/donor.h"

#include <errno.h>
#include <math.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/io.h"
#include "quant/weight_type.h"

static const char *const schemes[] = {"f32",  "f16", "bf16", "q8_0",    "q4_0", "q4_k",
                                      "q6_k", "fp8", "fp4",  "fp4_all", "mxfp4"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static bool encodable(const char *scheme)
{
    const struct phy_store_scheme *s = phy_store_scheme_named(scheme);
    for (int i = 0; i < PHY_FFN_SOURCE_COUNT; i++) {
        if (!phy_weight_format(s->types[i])->encode)
            return false;
    }
    return true;
}

static void every_scheme_and_layout_holds_the_encoded_donor(void **state)
{
    static const char *const layouts[] = {NULL, "split", "interleaved", "by_feature"};
    (void)state;
    char donor[PATH_MAX], out[64];
    snprintf(donor, sizeof donor, "%s", tiny_path("gemma3", NULL));
    unsigned made = 0;
    for (size_t s = 0; s < SCHEMES; s++) {
        for (size_t l = 0; l < 4 && encodable(schemes[s]); l++) {
            const struct phy_store_scheme *scheme = phy_store_scheme_named(schemes[s]);
            if (l == 2 && !phy_store_layout_allowed(scheme, PHY_LAYOUT_INTERLEAVED))
                continue;
            snprintf(out, sizeof out, "%s-%zu", schemes[s], l);
            make_store(donor, out, schemes[s], layouts[l], 2);
            check_whole(donor, out);
            made++;
        }
    }
    assert_true(made >= 24);
}

static void every_architecture_and_sharded_donors_are_read(void **state)
{
    static const char *const models[] = {"llama3", "mistral", "qwen2", "qwen3", "gemma3"};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        char donor[PATH_MAX];
        snprintf(donor, sizeof donor, "%s", tiny_path(models[i], NULL));
        make_store(donor, models[i], "q8_0", NULL, 1);
        check_whole(donor, models[i]);
    }
}

static void threads_do_not_change_the_bytes(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    make_store(donor, "one", "q8_0", NULL, 1);
    make_store(donor, "five", "q8_0", NULL, 5);
    assert_same_file("one", "five", "index.json");
    assert_same_file("one", "five", "ffn-00001.bin");
}

static void lossless_schemes_report_no_error_and_lossy_ones_some(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_quantize_result r;
    struct phy_quantize_params params = {.donor = tiny_path("llama3", NULL), .output = "a", .scheme = "f32"};
    assert_int_equal(quantize_with(params, &record, &r), PHY_OK);
    assert_true(r.relative_rmse == 0 && r.stored_bytes == 4 * r.weight_count && !r.already_finished);
    params.output = "b";
    params.scheme = "q4_0";
    assert_int_equal(quantize_with(params, &record, &r), PHY_OK);
    for (int i = 0; i < 3; i++)
        assert_true(r.relative_rmse_of[i] > 0.02 && r.relative_rmse_of[i] < 0.2);
    params.resume = true;
    assert_int_equal(quantize_with(params, &record, &r), PHY_OK);
    assert_true(r.already_finished);
    assert_non_null(strstr(record.note, "already finished"));
}

static void a_range_of_layers_is_stored_and_the_others_are_absent(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_quantize_params params = {.donor = tiny_path("llama3", NULL),
                                         .output = "a",
                                         .scheme = "bf16",
                                         .has_layers = true,
                                         .layer_first = 1,
                                         .layer_last = 1};
    assert_int_equal(quantize_with(params, &record, NULL), PHY_OK);
    struct phy_ffn_store *store = open_store("a");
    struct phy_ffn_store_info info;
    phy_ffn_store_describe(store, &info);
    assert_int_equal(info.stored_layers, 1);
    assert_false(phy_ffn_store_layer(store, 0)->present);
    assert_null(phy_ffn_store_layer(store, 0)->gate.data);
    assert_true(phy_ffn_store_layer(store, 1)->present);
    phy_ffn_store_close(&store);
    params.output = "b";
    params.layer_last = 99;
    assert_int_equal(quantize_with(params, &record, NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "layers 1-99"));
}

/* ---- weights that cannot be stored ---- */

/* Set one weight of a copied donor whose weights are BF16. */
static void poison(const char *folder, const char *tensor, size_t index, uint16_t code)
{
    struct phy_donor d;
    char path[PATH_MAX];
    assert_int_equal(phy_donor_open(&d, folder, NULL), PHY_OK);
    for (size_t i = 0; i < phy_checkpoint_tensor_count(d.checkpoint); i++) {
        struct phy_tensor_info t;
        struct phy_shard_info shard;
        phy_checkpoint_tensor(d.checkpoint, i, &t);
        phy_checkpoint_shard(d.checkpoint, t.shard, &shard);
        if (strcmp(t.name, tensor) != 0)
            continue;
        assert_string_equal(t.dtype, "BF16");
        snprintf(path, sizeof path, "%s/%s", folder, shard.name);
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, &code, 2, (off_t)(t.at + 2 * index)), 2);
        close(fd);
        phy_donor_close(&d);
        return;
    }
    fail_msg("no %s", tensor);
}

static void weights_that_a_format_cannot_hold_are_refused_by_name_and_place(void **state)
{
    static const struct {
        uint16_t code;
        const char *scheme, *layout, *fact;
    } cases[] = {
        {0x7F80, "bf16", NULL, "weight (3, 7) is inf: not finite"},
        {0x7FC0, "f32", NULL, "weight (3, 7) is nan: not finite"},
        {0xFF80, "q8_0", NULL, "weight (3, 7) is -inf: not finite"},
        {0x7F80, "q8_0", "by_feature", "weight (3, 7) is inf: not finite"},
        {0x7FC0, "bitmap", NULL, "weight (3, 7) is nan: not finite"},
        {0x4788, "f16", NULL, "weight (3, 7) is 69632, which f16 cannot hold"},
    };
    (void)state;
    static const char *const tensors[] = {"model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"};
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char donor[64], out[32];
            size_t bytes, cols = t ? 176 : 64;
            snprintf(donor, sizeof donor, "d%zu-%zu", t, i);
            snprintf(out, sizeof out, "o%zu-%zu", t, i);
            char *config = read_whole(tiny_path("llama3", "config.json"), &bytes);
            tiny_copy("llama3", donor, config);
            free(config);
            poison(donor, tensors[t], 3 * cols + 7, cases[i].code);
            struct log_record record;
            struct phy_quantize_params params = {
                .donor = donor, .output = out, .scheme = cases[i].scheme, .layout = cases[i].layout};
            assert_int_equal(quantize_with(params, &record, NULL), PHY_ERR_FORMAT);
            if (!strstr(record.error, cases[i].fact) || !strstr(record.error, tensors[t]))
                fail_msg("%s: %s", cases[i].fact, record.error);
            assert_int_equal(access(out, F_OK), -1);
            /* No --resume could help: nothing is left in the way of the next run. */
            snprintf(donor, sizeof donor, ".%s.physarium-partial", out);
            assert_int_equal(access(donor, F_OK), -1);
        }
    }
}

/* ---- stopping and going on ---- */

struct stopper {
    struct log_record record;
    unsigned looks, after;
};

static bool stop(void *user)
{
    struct stopper *s = user;
    return s->looks++ >= s->after;
}

static void stop_log(void *user, enum phy_log_level level, const char *line)
{
    record_line(&((struct stopper *)user)->record, level, line);
}

static void a_resumed_run_gives_the_bytes_of_an_uninterrupted_one(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    make_store(donor, "whole", "q4_0", NULL, 2);
    for (unsigned after = 0; after < 4; after++) {
        struct stopper s = {.after = after};
        struct phy_host host = {.user = &s, .log = stop_log, .cancelled = stop};
        struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "q4_0", .host = &host};
        struct phy_quantize_result r;
        assert_int_equal(phy_quantize_run(&params, &r), PHY_ERR_INTERRUPTED);
        assert_non_null(strstr(s.record.error, "--resume"));
        assert_int_equal(access("out", F_OK), -1);
        struct log_record record;
        params.host = NULL;
        assert_int_equal(quantize_with(params, &record, &r), PHY_ERR_USAGE);
        assert_non_null(strstr(record.error, "--resume goes on"));
        params.resume = true;
        params.scheme = "q8_0";
        assert_int_equal(quantize_with(params, &record, &r), PHY_ERR_USAGE);
        assert_non_null(strstr(record.error, "scheme is q4_0 there and q8_0 here"));
        params.scheme = "q4_0";
        assert_int_equal(quantize_with(params, &record, &r), PHY_OK);
        char expected[64];
        snprintf(expected, sizeof expected, "going on from %u of 4", after);
        assert_non_null(strstr(record.note, expected));
        assert_same_file("whole", "out", "index.json");
        assert_same_file("whole", "out", "ffn-00001.bin");
        assert_true(r.relative_rmse > 0.02); /* what was stored before counts */
        assert_int_equal(system("rm -r out"), 0);
    }
}

/* Zeros of either sign, all three floats in one model; every bit comes back, and a resumed run has the same bytes. */
static void bitmaps_hold_the_donor_bit_for_bit(void **state)
{
    enum { WIDE = 300, HIDDEN = 256 };
    static const struct donor_tensor tensors[] = {
        {"model.layers.0.mlp.gate_proj.weight", "BF16", WIDE, HIDDEN},
        {"model.layers.0.mlp.up_proj.weight", "F16", WIDE, HIDDEN},
        {"model.layers.0.mlp.down_proj.weight", "F32", HIDDEN, WIDE},
    };
    static const enum phy_weight_type types[] = {PHY_WEIGHT_BITMAP_BF16, PHY_WEIGHT_BITMAP_F16, PHY_WEIGHT_BITMAP_F32};
    (void)state;
    assert_int_equal(mkdir("donor", 0777), 0);
    donor_write_safetensors("donor/model.safetensors", tensors, 3, 5, 0);
    write_text("donor/config.json",
               "{\"model_type\":\"llama\",\"vocab_size\":16,\"hidden_size\":256,\"intermediate_size\":300,"
               "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"max_position_embeddings\":64,"
               "\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\"}");
    make_store("donor", "one", "bitmap", NULL, 1);
    make_store("donor", "three", "bitmap", "split", 3);
    assert_same_file("one", "three", "index.json");
    assert_same_file("one", "three", "ffn-00001.bin");
    struct phy_ffn_store *store = open_store("one");
    const struct phy_store_layer *layer = phy_ffn_store_layer(store, 0);
    const struct phy_weights *all[] = {&layer->gate, &layer->up, &layer->down};
    for (int i = 0; i < 3; i++) {
        struct phy_ffn_matrix_info m;
        size_t rows, cols, stored = 0;
        float *expected = donor_floats("donor", 0, (enum phy_ffn_source)i, &rows, &cols);
        float *got = malloc(rows * cols * sizeof *got);
        assert_int_equal(all[i]->type, types[i]);
        phy_store_decode_rows(all[i], 0, rows, got);
        assert_memory_equal(got, expected, rows * cols * sizeof *got);
        for (size_t k = 0; k < rows * cols; k++)
            stored += expected[k] != 0 || signbit(expected[k]);
        phy_ffn_store_matrix(store, (size_t)i, &m);
        assert_int_equal(m.values, stored);
        assert_true(stored < rows * cols);
        free(expected);
        free(got);
    }
    phy_ffn_store_close(&store);
    for (unsigned after = 3; after < 6; after++) { /* counting looks thrice */
        struct stopper s = {.after = after};
        struct phy_host host = {.user = &s, .log = stop_log, .cancelled = stop};
        struct phy_quantize_params params = {.donor = "donor", .output = "out", .scheme = "bitmap", .host = &host};
        struct log_record record;
        assert_int_equal(phy_quantize_run(&params, NULL), PHY_ERR_INTERRUPTED);
        params.host = NULL;
        params.resume = true;
        assert_int_equal(quantize_with(params, &record, NULL), PHY_OK);
        assert_same_file("one", "out", "index.json");
        assert_same_file("one", "out", "ffn-00001.bin");
        assert_int_equal(system("rm -r out"), 0);
    }
}

/* A kill at any write: the process ends in the middle of it. */
struct death {
    unsigned calls, after;
};

static int die(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    struct death *d = user;
    (void)fd;
    (void)at;
    if (call == PHY_IO_WRITE || call == PHY_IO_FSYNC) {
        if (d->calls == d->after && call == PHY_IO_WRITE && *bytes > 1)
            *bytes /= 2;
        if (d->calls > d->after)
            _exit(9);
        d->calls++;
    }
    return 0;
}

static void a_run_that_is_killed_at_any_write_can_be_resumed(void **state)
{
    (void)state;
    const char *donor = tiny_path("qwen2", NULL);
    make_store(donor, "whole", "q4_0", NULL, 1);
    unsigned killed = 0;
    for (unsigned after = 0;; after++) {
        struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "q4_0", .threads = 1};
        pid_t child = fork();
        if (child == 0) {
            struct death d = {.after = after};
            phy_io_set_hook(die, &d);
            _exit(phy_quantize_run(&params, NULL) == PHY_OK ? 0 : 1);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) != 1);
        bool finished = WEXITSTATUS(how) == 0;
        killed += !finished;
        params.resume = true;
        struct log_record record;
        if (quantize_with(params, &record, NULL) != PHY_OK)
            fail_msg("after %u: %s", after, record.error);
        assert_same_file("whole", "out", "index.json");
        assert_same_file("whole", "out", "ffn-00001.bin");
        assert_int_equal(system("rm -r out"), 0);
        if (finished)
            break;
    }
    assert_true(killed > 12);
}

static void a_claimed_matrix_with_other_bytes_is_made_again(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    make_store(donor, "whole", "bf16", NULL, 1);
    struct stopper s = {.after = 3};
    struct phy_host host = {.user = &s, .log = stop_log, .cancelled = stop};
    struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "bf16", .host = &host};
    assert_int_equal(phy_quantize_run(&params, NULL), PHY_ERR_INTERRUPTED);
    int fd = open(".out.physarium-partial/ffn-00001.bin", O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 100), 1);
    close(fd);
    struct log_record record;
    params.host = NULL;
    params.resume = true;
    assert_int_equal(quantize_with(params, &record, NULL), PHY_OK);
    assert_non_null(strstr(record.warning, "layer 0 gate is not what its journal claims"));
    assert_same_file("whole", "out", "ffn-00001.bin");
}

static void a_data_file_of_another_length_is_set_right(void **state)
{
    static const off_t lengths[] = {0, 1, 50000, 135167, 135168 + 777, 1 << 20};
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    struct stat whole;
    make_store(donor, "whole", "bf16", NULL, 1);
    assert_int_equal(stat("whole/ffn-00001.bin", &whole), 0);
    assert_int_equal(whole.st_size, 135168);
    for (unsigned after = 1; after < 6; after += 2) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            struct stopper s = {.after = after};
            struct phy_host host = {.user = &s, .log = stop_log, .cancelled = stop};
            struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "bf16", .host = &host};
            struct log_record record;
            assert_int_equal(phy_quantize_run(&params, NULL), PHY_ERR_INTERRUPTED);
            assert_int_equal(truncate(".out.physarium-partial/ffn-00001.bin", lengths[i]), 0);
            params.host = NULL;
            params.resume = true;
            if (quantize_with(params, &record, NULL) != PHY_OK)
                fail_msg("%u matrices, %lld bytes: %s", after, (long long)lengths[i], record.error);
            assert_same_file("whole", "out", "index.json");
            assert_same_file("whole", "out", "ffn-00001.bin");
            assert_int_equal(system("rm -r out"), 0);
        }
    }
}

static int full_disk(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    unsigned *left = user;
    (void)fd;
    (void)bytes;
    (void)at;
    if (call != PHY_IO_WRITE && call != PHY_IO_FSYNC)
        return 0;
    if (*left == 0)
        return ENOSPC;
    --*left;
    return 0;
}

static void a_full_disk_is_an_io_error_and_the_run_goes_on_later(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    make_store(donor, "whole", "q8_0", NULL, 1);
    for (unsigned writes = 0; writes < 9; writes++) {
        unsigned left = writes;
        struct log_record record;
        struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "q8_0"};
        phy_io_set_hook(full_disk, &left);
        enum phy_status status = quantize_with(params, &record, NULL);
        phy_io_set_hook(NULL, NULL);
        assert_int_equal(status, PHY_ERR_IO);
        /* The first write and its fsync are the journal's, of who the run is: before that there is nothing to go on
         * from. The directories were fsynced before. */
        const bool kept = access(".out.physarium-partial", F_OK) == 0;
        assert_int_equal(kept, writes > 4);
        assert_int_equal(strstr(record.error, "--resume goes on") != NULL, kept);
        if (writes == 3 || writes == 4)
            assert_non_null(strstr(record.error, ".out.physarium-partial/physarium/journal: No space left"));
        params.resume = true;
        assert_int_equal(quantize_with(params, &record, NULL), PHY_OK);
        assert_int_equal(strstr(record.note, "going on from") != NULL, kept);
        assert_same_file("whole", "out", "ffn-00001.bin");
        assert_int_equal(system("rm -r out"), 0);
    }
}

/* The last steps: the journal is gone, and with it what could be gone on with. */
static void a_store_that_cannot_be_renamed_does_not_promise_a_resume(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    unsigned without = 0;
    for (unsigned writes = 5;; writes++) {
        unsigned left = writes;
        struct log_record record;
        struct phy_quantize_params params = {.donor = donor, .output = "out", .scheme = "q8_0", .force = true};
        phy_io_set_hook(full_disk, &left);
        enum phy_status status = quantize_with(params, &record, NULL);
        phy_io_set_hook(NULL, NULL);
        if (status == PHY_OK)
            break;
        const bool kept = access(".out.physarium-partial/physarium/journal", F_OK) == 0;
        assert_int_equal(strstr(record.error, "--resume goes on") != NULL, kept);
        without += !kept;
    }
    assert_true(without > 0);
}

static void memory_that_runs_out_is_said_and_nothing_leaks(void **state)
{
    (void)state;
    enum phy_status status = PHY_ERR_MEMORY;
    const char *donor = tiny_path("llama3", NULL);
    for (uint64_t after = 0; status == PHY_ERR_MEMORY; after++) {
        struct log_record record;
        struct phy_quantize_params params = {
            .donor = donor, .output = "out", .scheme = "q8_0", .force = true, .threads = 1};
        phy_alloc_fail_after(after);
        status = quantize_with(params, &record, NULL);
        phy_alloc_fail_after(UINT64_MAX);
        assert_true(status == PHY_OK || status == PHY_ERR_MEMORY);
        assert_int_equal(record.errors, status != PHY_OK);
    }
    status = PHY_ERR_MEMORY;
    for (uint64_t after = 0; status == PHY_ERR_MEMORY; after++) {
        struct log_record record;
        struct phy_host host = recording_host(&record);
        struct phy_ffn_store *store;
        phy_alloc_fail_after(after);
        status = phy_ffn_store_open(&store, "out", &(struct phy_ffn_store_params){.host = &host});
        phy_alloc_fail_after(UINT64_MAX);
        assert_int_equal(record.errors, status != PHY_OK);
        assert_true((store != NULL) == (status == PHY_OK));
        phy_ffn_store_close(&store);
    }
    assert_int_equal(status, PHY_OK);
}

/* ---- what is refused ---- */

static void usage_is_refused_with_a_sentence(void **state)
{
    static const struct {
        struct phy_quantize_params params;
        enum phy_status status;
        const char *fact;
    } cases[] = {
        {{.output = "o", .scheme = "q5_9"}, PHY_ERR_USAGE, "no scheme \"q5_9\""},
        {{.output = "o", .scheme = "q8_0", .layout = "diagonal"}, PHY_ERR_USAGE, "no layout \"diagonal\""},
        {{.output = "o", .scheme = "fp4", .layout = "interleaved"}, PHY_ERR_USAGE, "cannot be interleaved"},
        {{.output = "o", .scheme = "bitmap", .layout = "by_feature"}, PHY_ERR_USAGE, "the layout is split"},
        {{.output = "absent/o", .scheme = "bf16"}, PHY_ERR_USAGE, "is missing"},
        {{.output = "there", .scheme = "bf16"}, PHY_ERR_USAGE, "there exists and is no store"},
        {{.output = "there", .scheme = "bf16", .force = true}, PHY_ERR_USAGE, "--force replaces only"},
        {{.output = "there", .scheme = "bf16", .resume = true}, PHY_ERR_USAGE, "there exists and is no store"},
        {{.output = "donor", .scheme = "bf16", .force = true}, PHY_ERR_USAGE, "the output is what is read"},
        {{.output = "donor/inside", .scheme = "bf16"}, PHY_ERR_USAGE, "lies inside"},
    };
    (void)state;
    size_t bytes;
    char *config = read_whole(tiny_path("llama3", "config.json"), &bytes);
    tiny_copy("llama3", "donor", config);
    free(config);
    assert_int_equal(mkdir("there", 0777), 0);
    write_text("there/letter.txt", "dear");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct log_record record;
        struct phy_quantize_params params = cases[i].params;
        params.donor = "donor";
        assert_int_equal(quantize_with(params, &record, NULL), cases[i].status);
        if (!strstr(record.error, cases[i].fact))
            fail_msg("%s: %s", cases[i].fact, record.error);
    }
    assert_int_equal(access("there/letter.txt", F_OK), 0);
    make_store("donor", "store", "bf16", NULL, 1);
    struct log_record record;
    struct phy_quantize_params again = {.donor = "donor", .output = "store", .scheme = "q8_0"};
    assert_int_equal(quantize_with(again, &record, NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "exists; --force replaces it"));
    again.resume = true;
    assert_int_equal(quantize_with(again, &record, NULL), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "not what this run would make; --force replaces it"));
    assert_int_equal(
        quantize_with(
            (struct phy_quantize_params){.donor = "donor", .output = "store", .scheme = "q8_0", .force = true}, &record,
            NULL),
        PHY_OK);
    check_whole("donor", "store");
    assert_int_equal(
        quantize_with((struct phy_quantize_params){.donor = "absent", .output = "o", .scheme = "q8_0"}, &record, NULL),
        PHY_ERR_IO);
    assert_int_equal(quantize_with((struct phy_quantize_params){.donor = "donor/model-00001-of-00003.safetensors",
                                                                .output = "o",
                                                                .scheme = "q8_0"},
                                   &record, NULL),
                     access("donor/model-00001-of-00003.safetensors", F_OK) == 0 ? PHY_ERR_FORMAT : PHY_ERR_IO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(every_scheme_and_layout_holds_the_encoded_donor),
        TEST(every_architecture_and_sharded_donors_are_read),
        TEST(bitmaps_hold_the_donor_bit_for_bit),
        TEST(threads_do_not_change_the_bytes),
        TEST(lossless_schemes_report_no_error_and_lossy_ones_some),
        TEST(a_range_of_layers_is_stored_and_the_others_are_absent),
        TEST(weights_that_a_format_cannot_hold_are_refused_by_name_and_place),
        TEST(a_resumed_run_gives_the_bytes_of_an_uninterrupted_one),
        TEST(a_run_that_is_killed_at_any_write_can_be_resumed),
        TEST(a_claimed_matrix_with_other_bytes_is_made_again),
        TEST(a_data_file_of_another_length_is_set_right),
        TEST(a_full_disk_is_an_io_error_and_the_run_goes_on_later),
        TEST(a_store_that_cannot_be_renamed_does_not_promise_a_resume),
        TEST(memory_that_runs_out_is_said_and_nothing_leaks),
        TEST(usage_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
