/* SPDX-License-Identifier: Apache-2.0 */
/* Import when the machine fails it: memory, disk, a file that changes, a user who stops it. Nothing may be left behind.
 */
#define _GNU_SOURCE
#include "support/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "format/gguf.h"
#include "physarium/checkpoint.h"
#include "physarium/import.h"
#include "support/gguf_build.h"

enum { HIDDEN = 32, INNER = 32, VOCABULARY = 4 };

static struct gguf_build b;
static char folder[] = "/tmp/phy-import-XXXXXX";
static char input[64], output[64];

static void put_u32_key(const char *name, uint32_t value)
{
    put_key(&b, name, PHY_GGUF_U32);
    put_u32(&b, value);
}

/* One matrix or vector of F16 ones; returns the next offset. */
static uint64_t put_weights(const char *name, uint64_t columns, uint64_t rows, uint64_t offset)
{
    put_tensor(&b, name, rows ? 2 : 1, (uint64_t[]){columns, rows}, 1, offset);
    return offset + (columns * (rows ? rows : 1) * 2 + 31) / 32 * 32;
}

/* A llama of one layer. */
static void write_model(void)
{
    put_head(&b, 11, 12);
    put_key(&b, "general.architecture", PHY_GGUF_STRING);
    put_string(&b, "llama");
    put_u32_key("llama.block_count", 1);
    put_u32_key("llama.context_length", 64);
    put_u32_key("llama.embedding_length", HIDDEN);
    put_u32_key("llama.feed_forward_length", INNER);
    put_u32_key("llama.attention.head_count", 2);
    put_key(&b, "llama.attention.layer_norm_rms_epsilon", PHY_GGUF_F32);
    put_u32(&b, 0x3727C5AC);
    put_key(&b, "tokenizer.ggml.model", PHY_GGUF_STRING);
    put_string(&b, "gpt2");
    put_key(&b, "tokenizer.ggml.pre", PHY_GGUF_STRING);
    put_string(&b, "gpt-2");
    put_key(&b, "tokenizer.ggml.tokens", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_STRING);
    put_u64(&b, VOCABULARY);
    put_string(&b, "a");
    put_string(&b, "b");
    put_string(&b, "ab");
    put_string(&b, "<end>");
    put_key(&b, "tokenizer.ggml.merges", PHY_GGUF_ARRAY);
    put_u32(&b, PHY_GGUF_STRING);
    put_u64(&b, 1);
    put_string(&b, "a b");
    put_u32_key("tokenizer.ggml.eos_token_id", 3);
    uint64_t at = 0;
    at = put_weights("token_embd.weight", HIDDEN, VOCABULARY, at);
    at = put_weights("output_norm.weight", HIDDEN, 0, at);
    at = put_weights("blk.0.attn_norm.weight", HIDDEN, 0, at);
    at = put_weights("blk.0.ffn_norm.weight", HIDDEN, 0, at);
    at = put_weights("blk.0.attn_q.weight", HIDDEN, HIDDEN, at);
    at = put_weights("blk.0.attn_k.weight", HIDDEN, HIDDEN, at);
    at = put_weights("blk.0.attn_v.weight", HIDDEN, HIDDEN, at);
    at = put_weights("blk.0.attn_output.weight", HIDDEN, HIDDEN, at);
    at = put_weights("blk.0.ffn_gate.weight", HIDDEN, INNER, at);
    at = put_weights("blk.0.ffn_up.weight", HIDDEN, INNER, at);
    at = put_weights("blk.0.ffn_down.weight", INNER, HIDDEN, at);
    put_padding(&b, 32);
    for (uint64_t i = 0; i < at / 2; i++)
        put_raw(&b, "\0\x3C", 2);
    FILE *file = fopen(input, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b.bytes, 1, b.used, file), b.used);
    fclose(file);
}

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(input, sizeof input, "%s/m.gguf", folder);
    snprintf(output, sizeof output, "%s/out", folder);
    write_model();
    return 0;
}

static void remove_output(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", output);
    assert_int_equal(system(command), 0);
}

static int remove_folder(void **state)
{
    (void)state;
    remove_output();
    unlink(input);
    return rmdir(folder);
}

/* Entries of the folder besides the input: outputs and partial directories. */
static unsigned count_left(void)
{
    unsigned count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *e; (e = readdir(directory));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "m.gguf") != 0;
    closedir(directory);
    return count;
}

static enum phy_status import(const struct phy_host *host)
{
    return phy_import_run(&(struct phy_import_params){.input = input, .output = output, .host = host}, NULL);
}

static void writes_a_donor_that_our_reader_accepts(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    assert_int_equal(import(&host), PHY_OK);
    assert_int_equal(record.errors + record.warnings, 0);
    struct phy_checkpoint *checkpoint;
    assert_int_equal(phy_checkpoint_open(&checkpoint, output, &(struct phy_checkpoint_params){.host = &host}), PHY_OK);
    assert_int_equal(phy_checkpoint_tensor_count(checkpoint), 11);
    struct phy_tensor_info t;
    phy_checkpoint_tensor(checkpoint, 3, &t);
    unsigned char two[2];
    assert_int_equal(phy_checkpoint_read(checkpoint, 0, t.at, two, 2), PHY_OK);
    assert_memory_equal(two, "\x80\x3F", 2); /* 1.0 in bf16 */
    phy_checkpoint_close(&checkpoint);
    assert_int_equal(record.warnings, 0);
    remove_output();
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    for (uint64_t after = 0;; after++) {
        struct log_record record;
        struct phy_host host = recording_host(&record);
        phy_alloc_fail_after(after);
        enum phy_status status = import(&host);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_OK) {
            assert_true(after > 40);
            break;
        }
        assert_int_equal(status, PHY_ERR_MEMORY);
        assert_true(record.errors >= 1);
        assert_int_equal(count_left(), 0);
    }
    remove_output();
}

struct fault {
    enum phy_io_call call;
    unsigned countdown;
    int error;
    bool struck;
};

static int inject(void *user, enum phy_io_call call, int fd, size_t *bytes, uint64_t at)
{
    (void)fd, (void)at;
    struct fault *fault = user;
    if (*bytes > 1000)
        *bytes = 1000; /* short counts everywhere */
    if (call != fault->call || fault->countdown-- > 0)
        return 0;
    fault->struck = true;
    return fault->error;
}

static void reports_every_failed_read_write_fsync_and_close(void **state)
{
    (void)state;
    static const struct fault kinds[] = {{.call = PHY_IO_READ, .error = EIO},
                                         {.call = PHY_IO_WRITE, .error = ENOSPC},
                                         {.call = PHY_IO_FSYNC, .error = EIO},
                                         {.call = PHY_IO_CLOSE, .error = EDQUOT}};
    for (size_t k = 0; k < 4; k++) {
        unsigned failures = 0;
        for (unsigned n = 0;; n += 1 + n / 8) {
            struct log_record record;
            struct phy_host host = recording_host(&record);
            struct fault fault = kinds[k];
            fault.countdown = n;
            phy_io_set_hook(inject, &fault);
            enum phy_status status = import(&host);
            phy_io_set_hook(NULL, NULL);
            if (!fault.struck) {
                assert_int_equal(status, PHY_OK);
                remove_output();
                break;
            }
            if (status == PHY_ERR_IO) {
                assert_int_equal(record.errors, 1);
                failures++;
            }
            /* The last fsync comes after the rename: the output is there, and the error is told. */
            if (count_left())
                remove_output();
            assert_int_equal(count_left(), 0);
            /* What was only read may fail to close. */
            if (status != PHY_ERR_IO && fault.call != PHY_IO_CLOSE)
                fail_msg("kind %zu, call %u: status %d", k, n, status);
        }
        assert_true(failures > 3);
    }
}

static bool stop(void *user)
{
    unsigned *calls = user;
    return ++*calls == 3;
}

static void stops_when_asked_and_leaves_nothing(void **state)
{
    (void)state;
    unsigned calls = 0;
    struct phy_host host = {.user = &calls, .cancelled = stop};
    assert_int_equal(import(&host), PHY_ERR_INTERRUPTED);
    assert_int_equal(calls, 3);
    assert_int_equal(count_left(), 0);
}

static void touch_input(void *user, const struct phy_progress *progress)
{
    (void)user;
    struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 5}};
    assert_true(progress->done <= progress->total);
    assert_int_equal(utimensat(AT_FDCWD, input, times, 0), 0);
}

static void refuses_a_file_that_changes_while_it_is_read(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    host.progress = touch_input;
    assert_int_equal(import(&host), PHY_ERR_IO);
    assert_non_null(strstr(record.error, "changed"));
    assert_int_equal(count_left(), 0);
}

static void truncate_input(void *user, const struct phy_progress *progress)
{
    (void)user, (void)progress;
    assert_int_equal(truncate(input, 2000), 0);
}

static void refuses_a_file_that_shrinks_while_it_is_read(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_host host = recording_host(&record);
    host.progress = truncate_input;
    assert_int_equal(import(&host), PHY_ERR_IO);
    assert_int_equal(record.errors, 1);
    assert_int_equal(count_left(), 0);
    write_model();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_donor_that_our_reader_accepts),
        cmocka_unit_test(survives_every_allocation_failure),
        cmocka_unit_test(reports_every_failed_read_write_fsync_and_close),
        cmocka_unit_test(stops_when_asked_and_leaves_nothing),
        cmocka_unit_test(refuses_a_file_that_changes_while_it_is_read),
        cmocka_unit_test(refuses_a_file_that_shrinks_while_it_is_read),
    };
    return cmocka_run_group_tests_name("import", tests, make_folder, remove_folder);
}
