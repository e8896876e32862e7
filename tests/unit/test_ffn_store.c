/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged stores: each is refused with one sentence, before anything is computed from it. */
#include "support/ffn_store_build.h"

#include "ffn/store_parts.h"

enum { LARGEST_INDEX = 1 << 16 };

static char good_index[LARGEST_INDEX];

static void read_index(void)
{
    size_t bytes;
    char *text = read_whole("store/index.json", &bytes);
    assert_true(bytes < sizeof good_index);
    memcpy(good_index, text, bytes + 1);
    free(text);
}

/* Open "store", which must be refused with `status` and a sentence that holds `fact`. */
static void refused(const char *what, enum phy_status status, const char *fact, bool trust)
{
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_ffn_store *store;
    enum phy_status got =
        phy_ffn_store_open(&store, "store", &(struct phy_ffn_store_params){.trust = trust, .host = &host});
    assert_null(store);
    if (got != status || record.errors != 1 || !strstr(record.error, fact))
        fail_msg("%s: status %d, %u errors: %s", what, (int)got, record.errors, record.error);
}

static void the_index_says_what_is_there(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    struct phy_ffn_store *store = open_store("store");
    struct phy_ffn_store_info info;
    struct phy_ffn_matrix_info m;
    phy_ffn_store_describe(store, &info);
    assert_string_equal(info.scheme, "q8_0");
    assert_string_equal(info.layout, "interleaved");
    assert_int_equal(strlen(info.digest), 32);
    assert_int_equal(info.hidden_size, 64);
    assert_int_equal(info.intermediate_size, 176);
    assert_int_equal(phy_ffn_store_matrix_count(store), 2 * info.layer_count);
    phy_ffn_store_matrix(store, 0, &m);
    assert_string_equal(m.name, "gate_up");
    assert_string_equal(m.format, "q8_0");
    assert_string_equal(m.file, "ffn-00001.bin");
    assert_true(m.rows == 352 && m.cols == 64 && m.offset == 0 && m.bytes == 352 * 2 * 34);
    phy_ffn_store_matrix(store, 1, &m);
    assert_string_equal(m.name, "down");
    assert_true(m.rows == 64 && m.cols == 176 && m.offset % 256 == 0 && m.bytes == 64 * 6 * 34); /* 5.5 blocks */
    assert_string_equal(phy_ffn_store_label(store), "store");
    phy_ffn_store_close(&store);
    assert_null(store);
    phy_ffn_store_close(&store);
}

struct mutation {
    const char *old, *new; /* the first `old` in the index */
    enum phy_status status;
    const char *fact;
};

static const struct mutation mutations[] = {
    {"\"schema\": 1", "\"schema\": 2", PHY_ERR_UNSUPPORTED, "schema 2, we read 1"},
    {"\"schema\": 1", "\"schema\": 1.0", PHY_ERR_FORMAT, "\"schema\" is not a whole number"},
    {"\"schema\": 1", "\"schema\": \"1\"", PHY_ERR_FORMAT, "\"schema\" is a string, not a number"},
    {"\"schema\": 1,", "", PHY_ERR_FORMAT, "key \"schema\" is missing"},
    {"\"schema\": 1", "\"schema\": 1, \"schema\": 1", PHY_ERR_FORMAT, "duplicate"},
    {"\"schema\": 1", "\"schema\": 1, \"colour\": 1", PHY_ERR_FORMAT, "key \"colour\" is not known"},
    {"physarium ffn store", "physarium ffn storm", PHY_ERR_FORMAT, "\"kind\" is not"},
    {"\"q8_0\"", "\"q7_0\"", PHY_ERR_UNSUPPORTED, "scheme \"q7_0\""},
    {"\"q8_0\"", "\"bf16\"", PHY_ERR_FORMAT, "format \"q8_0\", scheme bf16 has \"bf16\""},
    {"\"q8_0\"", "\"fp4\"", PHY_ERR_FORMAT, "layout interleaved has one"},
    {"\"interleaved\"", "\"diagonal\"", PHY_ERR_UNSUPPORTED, "layout \"diagonal\""},
    {"\"interleaved\"", "\"split\"", PHY_ERR_FORMAT, "2 matrices, layout split has 3"},
    {"\"interleaved\"", "null", PHY_ERR_FORMAT, "\"layout\" is null"},
    {"\"hidden_size\": 64", "\"hidden_size\": 65", PHY_ERR_FORMAT, "the model makes it (352, 65)"},
    {"\"hidden_size\": 64", "\"hidden_size\": 0", PHY_ERR_FORMAT, "\"hidden_size\" is 0"},
    {"\"hidden_size\": 64", "\"hidden_size\": -64", PHY_ERR_FORMAT, "not a whole number"},
    {"\"hidden_size\": 64", "\"hidden_size\": 9007199254740991", PHY_ERR_FORMAT, "\"hidden_size\" is 9007199254740991"},
    {"\"hidden_size\": 64", "\"hidden_size\": 18446744073709551680", PHY_ERR_FORMAT, "not a whole number"},
    {"\"intermediate_size\": 176", "\"intermediate_size\": 175", PHY_ERR_FORMAT, "the model makes it (350, 64)"},
    {"\"layer_count\": ", "\"layer_count\": 999999", PHY_ERR_FORMAT, "\"layer_count\" is 999999"},
    {"\"layer_count\": 2", "\"layer_count\": 1", PHY_ERR_FORMAT, "layer 1: the model has 1"},
    {"\"silu\"", "\"relu\"", PHY_ERR_UNSUPPORTED, "activation"},
    {"\"model_type\": \"", "\"model_type\": \"\\u0000", PHY_ERR_FORMAT, "U+0000"},
    {"\"layer\": 1", "\"layer\": 0", PHY_ERR_FORMAT, "layer 0 is there twice"},
    {"\"layer\": 1", "\"layer\": 2", PHY_ERR_FORMAT, "layer 2: the model has 2"},
    {"\"layer\": 0,", "", PHY_ERR_FORMAT, "\"layer\" must come before \"matrices\""},
    {"\"gate\": \"", "\"gate\": \"G", PHY_ERR_FORMAT, "\"gate\" is too long"},
    {"\"up\": \"", "\"down\": \"", PHY_ERR_FORMAT, "duplicate"},
    {"\"name\": \"gate_up\"", "\"name\": \"gate\"", PHY_ERR_FORMAT, "matrix 0 is \"gate\""},
    {"\"name\": \"gate_up\"", "\"name\": \"up_gate\"", PHY_ERR_FORMAT, "no matrix is named \"up_gate\""},
    {"\"name\": \"down\"", "\"name\": \"gate_up\"", PHY_ERR_FORMAT, "matrix 1 is \"gate_up\""},
    {"ffn-00001.bin", "../store/ffn-00001.bin", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "/etc/passwd", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "a\\\\b", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "..", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "C:ffn", PHY_ERR_FORMAT, "is not the plain name of a file"},
    {"ffn-00001.bin", "absent.bin", PHY_ERR_FORMAT, "store/absent.bin: missing"},
    {"ffn-00001.bin", "index.json", PHY_ERR_FORMAT, "exceed the file's"},
    {"\"offset\": 0", "\"offset\": 1", PHY_ERR_FORMAT, "not a multiple of 256"},
    {"\"offset\": 0", "\"offset\": 256", PHY_ERR_FORMAT, "leave a hole after 0"},
    {"\"offset\": 24064", "\"offset\": 0", PHY_ERR_FORMAT, "overlap what ends at"},
    {"\"offset\": 24064", "\"offset\": 9007199254740736", PHY_ERR_FORMAT, "exceed the file's"},
    {"\"offset\": 24064", "\"offset\": 1048576", PHY_ERR_FORMAT, "exceed the file's"},
    {"\"bytes\": 23936", "\"bytes\": 23935", PHY_ERR_FORMAT, "23935 bytes, 352 rows of 68 are 23936"},
    {"\"bytes\": 23936", "\"bytes\": 9007199254740991", PHY_ERR_FORMAT, "9007199254740991 bytes"},
    {"\"format\": \"q8_0\"", "\"format\": \"q4_0\"", PHY_ERR_FORMAT, "format \"q4_0\", scheme q8_0 has \"q8_0\""},
    {"\"format\": \"q8_0\"", "\"format\": \"q8_K\"", PHY_ERR_UNSUPPORTED, "format \"q8_K\""},
    {"\"rows\": 352", "\"rows\": 351", PHY_ERR_FORMAT, "shape (351, 64)"},
    {"\"cols\": 64", "\"cols\": 32", PHY_ERR_FORMAT, "shape (352, 32)"},
    {"\"xxh3\": \"", "\"xxh3\": \"0", PHY_ERR_FORMAT, "too long"},
    {"\"xxh3\": ", "\"xxh4\": ", PHY_ERR_FORMAT, "key \"xxh4\" is not known"},
    /* Inside a matrix: which one, by its name as soon as it has been read. */
    {"\"rows\": 352", "\"rows\": null", PHY_ERR_FORMAT,
     "store/index.json: layer 0 gate_up: \"rows\" is null, not a number"},
    {"\"rows\": 64", "\"rows\": -64", PHY_ERR_FORMAT, "store/index.json: layer 0 down: \"rows\" is not a whole number"},
    {"\"rows\": 64,", "", PHY_ERR_FORMAT, "layer 0 down: key \"rows\" is missing in a matrix"},
    {"\"rows\": 64", "\"colour\": 64", PHY_ERR_FORMAT, "layer 0 down: key \"colour\" is not known in a matrix"},
    {"\"rows\": 64", "\"cols\": 64", PHY_ERR_FORMAT, "layer 0 down: key \"cols\" is there twice"},
    {"\"rows\": 64", "\"rows\" 64", PHY_ERR_FORMAT, "layer 0 down: JSON: byte"},
    {"\"offset\": 24064", "\"offset\": 24065", PHY_ERR_FORMAT, "layer 0 down: offset 24065 is not a multiple"},
    {"\"format\": \"q8_0\"", "\"format\": 8", PHY_ERR_FORMAT, "layer 0 gate_up: \"format\" is a number"},
    {"ffn-00001.bin", "a/b", PHY_ERR_FORMAT, "layer 0 gate_up: \"file\" \"a/b\" is not the plain name"},
    {"\"xxh3\": \"", "\"xxh3\": \"0", PHY_ERR_FORMAT, "layer 0 gate_up: \"xxh3\" is too long"},
    {"\"name\": \"down\"", "\"name\": \"dawn\"", PHY_ERR_FORMAT, "layer 0 matrix 1: no matrix is named \"dawn\""},
    {"\"name\": \"down\"", "\"name\": 1", PHY_ERR_FORMAT, "layer 0 matrix 1: \"name\" is a number"},
    {"\"name\": \"down\",", "", PHY_ERR_FORMAT, "layer 0 matrix 1: key \"name\" is missing"},
    {"\"source\": {", "\"source\": {\"side\": 1,", PHY_ERR_FORMAT, "layer 0: key \"side\" is not known in source"},
    {"\"interleaved\"", "\"split\"", PHY_ERR_FORMAT, "store/index.json: layer 0: 2 matrices, layout split has 3"},
    {"{\n", "[\n", PHY_ERR_FORMAT, "is an array, not an object"},
    {"\"schema\"",
     "\"sch\xFF"
     "ema\"",
     PHY_ERR_FORMAT, "UTF-8"},
};

static void every_damage_to_the_index_is_refused_with_its_own_sentence(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    read_index();
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        char *changed = replaced(good_index, mutations[i].old, mutations[i].new);
        write_text("store/index.json", changed);
        refused(mutations[i].new, mutations[i].status, mutations[i].fact, false);
        refused(mutations[i].new, mutations[i].status, mutations[i].fact, true);
        free(changed);
    }
    write_text("store/index.json", good_index);
    struct phy_ffn_store *store = open_store("store");
    phy_ffn_store_close(&store);
}

static void every_prefix_of_the_index_is_refused(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    read_index();
    size_t bytes = strlen(good_index) - 1; /* without the newline it is whole */
    for (size_t n = 0; n < bytes; n++) {
        write_file("store/index.json", good_index, n);
        refused("a prefix", PHY_ERR_FORMAT, "store/index.json: ", true);
    }
    write_text("store/index.json", good_index);
    size_t length = strlen(good_index);
    good_index[length] = 'x';
    write_file("store/index.json", good_index, length + 1);
    refused("a letter behind it", PHY_ERR_FORMAT, "JSON", true);
}

static void a_layer_that_is_missing_is_no_error_and_no_layer_is(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    read_index();
    char *at = strstr(good_index, "\"layers\": [");
    assert_non_null(at);
    strcpy(at, "\"layers\": []}");
    write_text("store/index.json", good_index);
    refused("no layers", PHY_ERR_FORMAT, "\"layers\" is empty", true);
}

/* ---- the data ---- */

#define DATA "store/ffn-00001.bin"

static void damaged_data_files_are_refused(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    size_t bytes;
    char *data = read_whole(DATA, &bytes);
    for (size_t i = 0; i < bytes; i += 4999) {
        data[i] ^= 1;
        write_file(DATA, data, bytes);
        data[i] ^= 1;
        struct phy_ffn_store *store;
        bool between = (i >= 23936 && i < 24064); /* padding is not digested */
        if (!between)
            refused("a bit", PHY_ERR_FORMAT, "the file is damaged", false);
        assert_int_equal(phy_ffn_store_open(&store, "store", &(struct phy_ffn_store_params){.trust = true}), PHY_OK);
        phy_ffn_store_close(&store);
    }
    data[24064] ^= 64;
    write_file(DATA, data, bytes);
    refused("a bit", PHY_ERR_FORMAT, "store/ffn-00001.bin: layer 0 down: digest", false);
    data[24064] ^= 64;
    for (size_t n = 1; n < bytes; n += 3331) {
        write_file(DATA, data, n);
        refused("cut short", PHY_ERR_FORMAT, "exceed the file's", true);
    }
    write_file(DATA, data, bytes - 1);
    refused("one byte short", PHY_ERR_FORMAT, "layer 1 down: bytes", true);
    write_file(DATA, data, 0);
    refused("empty", PHY_ERR_FORMAT, "ffn-00001.bin: empty", true);
    data[bytes] = 0;
    write_file(DATA, data, bytes + 1);
    refused("one byte more", PHY_ERR_FORMAT, "1 trailing bytes", true);
    write_file(DATA, data, bytes);
    struct phy_ffn_store *store = open_store("store");
    phy_ffn_store_close(&store);
    free(data);
}

static void what_is_no_plain_file_in_the_directory_is_refused(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    assert_int_equal(rename(DATA, "elsewhere"), 0);
    refused("gone", PHY_ERR_FORMAT, "ffn-00001.bin: missing", true);
    assert_int_equal(symlink("../elsewhere", DATA), 0);
    refused("a link", PHY_ERR_FORMAT, "a symbolic link", true);
    assert_int_equal(unlink(DATA), 0);
    assert_int_equal(mkdir(DATA, 0777), 0);
    refused("a folder", PHY_ERR_FORMAT, "not a regular file", true);
    assert_int_equal(rmdir(DATA), 0);
    assert_int_equal(mkfifo(DATA, 0666), 0);
    refused("a pipe", PHY_ERR_FORMAT, "not a regular file", true);
    assert_int_equal(unlink(DATA), 0);
    assert_int_equal(link("elsewhere", DATA), 0); /* a hard link is a file like any other */
    struct phy_ffn_store *store = open_store("store");
    phy_ffn_store_close(&store);
    assert_int_equal(unlink("store/index.json"), 0);
    refused("no index", PHY_ERR_FORMAT, "index.json: missing", true);
    assert_int_equal(rename("store", "other"), 0);
    refused("no store", PHY_ERR_IO, "store: No such file", true);
    write_text("store", "x");
    refused("a file", PHY_ERR_FORMAT, "not a directory", true);
}

static void a_file_that_shrinks_while_it_is_open_is_noticed_and_kills_nothing(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "f32", NULL, 1);
    struct phy_ffn_store *store = open_store("store");
    const struct phy_store_layer *layer = phy_ffn_store_layer(store, 1);
    float row[176];
    assert_int_equal(truncate(DATA, 4096), 0);
    phy_store_decode_rows(&layer->down, 63, 64, row);
    assert_true(phy_ffn_store_torn(store));
    for (size_t i = 0; i < 176; i++)
        assert_true(row[i] == 0);
    phy_ffn_store_close(&store);
}

static void the_digest_is_of_what_is_stored(void **state)
{
    (void)state;
    struct phy_ffn_store_info a, b;
    make_store(tiny_path("llama3", NULL), "one", "q8_0", NULL, 1);
    make_store(tiny_path("llama3", NULL), "two", "q8_0", NULL, 2);
    make_store(tiny_path("mistral", NULL), "three", "q8_0", NULL, 1);
    struct phy_ffn_store *one = open_store("one"), *two = open_store("two"), *three = open_store("three");
    phy_ffn_store_describe(one, &a);
    phy_ffn_store_describe(two, &b);
    assert_string_equal(a.digest, b.digest);
    phy_ffn_store_describe(three, &b);
    assert_string_not_equal(a.digest, b.digest);
    phy_ffn_store_close(&one);
    phy_ffn_store_close(&two);
    phy_ffn_store_close(&three);
}

/* ---- bitmaps ---- */

/* Of the tiny donor, whose weights are hardly ever zero: gate of layer 0 is 176 rows of one word each. */
static void damaged_bitmaps_are_refused_whatever_is_trusted(void **state)
{
    enum { ROWS = 176, BITS_AT = 712, VALUES_AT = BITS_AT + 8 * ROWS };
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "bitmap", NULL, 1);
    struct phy_ffn_store *store = open_store("store");
    struct phy_ffn_matrix_info m;
    phy_ffn_store_matrix(store, 0, &m);
    assert_string_equal(m.format, "bitmap_bf16");
    assert_true(m.offset == 0 && m.rows == ROWS && m.cols == 64 && m.values <= ROWS * 64);
    assert_int_equal(m.bytes, VALUES_AT + 2 * m.values + 64);
    phy_ffn_store_close(&store);
    size_t bytes;
    char *data = read_whole(DATA, &bytes);
    const struct {
        size_t at;
        const char *fact;
    } damages[] = {
        {0, "layer 0 gate: something stands where zeros belong"}, /* where the first row begins */
        {4, "layer 0 gate: row 0 has values 0 to"},               /* where the second does */
        {7, "layer 0 gate: row 0 has values 0 to"},               /* far outside the file */
        {4 * ROWS, "bytes, a matrix of"},                         /* how many there are */
        {4 * ROWS + 3, "bytes, a matrix of"},
        {4 * ROWS + 4, "where zeros belong"},
        {BITS_AT + 8 * 100, "layer 0 gate: row 100 has values"},
        {m.bytes - 1, "where zeros belong"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        data[damages[i].at] ^= 0x40;
        write_file(DATA, data, bytes);
        refused(damages[i].fact, PHY_ERR_FORMAT, damages[i].fact, true);
        refused(damages[i].fact, PHY_ERR_FORMAT, "the file is damaged", false);
        data[damages[i].at] ^= 0x40;
    }
    data[VALUES_AT] ^= 1; /* a value may be any: only its digest tells */
    write_file(DATA, data, bytes);
    refused("a value", PHY_ERR_FORMAT, "the file is damaged", false);
    data[VALUES_AT] ^= 1;
    write_file(DATA, data, bytes);
    store = open_store("store");
    phy_ffn_store_close(&store);
    free(data);
}

static void bits_beyond_the_columns_are_refused(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "bitmap", NULL, 1);
    struct phy_ffn_store *store = open_store("store");
    struct phy_ffn_matrix_info m;
    phy_ffn_store_matrix(store, 2, &m);
    assert_true(strcmp(m.name, "down") == 0 && m.cols == 176); /* 48 bits of the third word */
    phy_ffn_store_close(&store);
    size_t bytes;
    char *data = read_whole(DATA, &bytes);
    const size_t last_word = m.offset + 264 + 8 * 2; /* of row 0; 65 counts and 4 zeros lie before the bits */
    const int bit = __builtin_ctz((unsigned char)data[last_word]);
    data[last_word] ^= (char)(1 << bit);
    data[last_word + 6] ^= 1;
    write_file(DATA, data, bytes);
    refused("a bit", PHY_ERR_FORMAT, "layer 0 down: row 0 has bits beyond its 176 columns", true);
    free(data);
}

static void damaged_indexes_of_bitmaps_are_refused(void **state)
{
    static const struct mutation cases[] = {
        {"\"split\"", "\"interleaved\"", PHY_ERR_FORMAT, "rows of no fixed length: its layout is split"},
        {"\"split\"", "\"by_feature\"", PHY_ERR_FORMAT, "rows of no fixed length: its layout is split"},
        {"bitmap_bf16", "bitmap_f32", PHY_ERR_FORMAT, "bytes, a matrix of"},
        {"bitmap_bf16", "bf16", PHY_ERR_FORMAT, "format \"bf16\", scheme bitmap has"},
        {"\"bitmap\"", "\"bf16\"", PHY_ERR_FORMAT, "format \"bitmap_bf16\", scheme bf16 has \"bf16\""},
        {"\"rows\": 176", "\"rows\": 175", PHY_ERR_FORMAT, "shape (175, 64)"},
        {"\"bytes\": ", "\"bytes\": 9", PHY_ERR_FORMAT, "bytes, a bitmap of 176 rows and 64 columns takes 2184 to"},
        {"\"bytes\": ", "\"bytes\": 64, \"x\": ", PHY_ERR_FORMAT, "key \"x\" is not known"},
        {"\"offset\": 0", "\"offset\": 8", PHY_ERR_FORMAT, "not a multiple of 256"},
    };
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "bitmap", NULL, 1);
    read_index();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *changed = replaced(good_index, cases[i].old, cases[i].new);
        write_text("store/index.json", changed);
        free(changed);
        refused(cases[i].new, cases[i].status, cases[i].fact, true);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(the_index_says_what_is_there),
        TEST(every_damage_to_the_index_is_refused_with_its_own_sentence),
        TEST(every_prefix_of_the_index_is_refused),
        TEST(a_layer_that_is_missing_is_no_error_and_no_layer_is),
        TEST(damaged_data_files_are_refused),
        TEST(what_is_no_plain_file_in_the_directory_is_refused),
        TEST(a_file_that_shrinks_while_it_is_open_is_noticed_and_kills_nothing),
        TEST(the_digest_is_of_what_is_stored),
        TEST(damaged_bitmaps_are_refused_whatever_is_trusted),
        TEST(bits_beyond_the_columns_are_refused),
        TEST(damaged_indexes_of_bitmaps_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
