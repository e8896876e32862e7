/* SPDX-License-Identifier: Apache-2.0 */
/* Vindex directories: ours read back, those of other writers, and damaged ones. */
#include "support/ffn_store_build.h" /* first: it asks the system headers for more */

#include "support/donor.h"

#include "ffn/sha256.h"
#include "ffn/vindex.h"

/* A donor of sizes that are multiples of 256, of random weights. */
enum { HIDDEN = 256, WIDE = 512, LAYERS = 2 };

static void make_wide_donor(void)
{
    static const struct donor_tensor tensors[] = {
        {"model.layers.0.mlp.gate_proj.weight", "BF16", WIDE, HIDDEN},
        {"model.layers.0.mlp.up_proj.weight", "BF16", WIDE, HIDDEN},
        {"model.layers.0.mlp.down_proj.weight", "BF16", HIDDEN, WIDE},
        {"model.layers.1.mlp.gate_proj.weight", "BF16", WIDE, HIDDEN},
        {"model.layers.1.mlp.up_proj.weight", "BF16", WIDE, HIDDEN},
        {"model.layers.1.mlp.down_proj.weight", "BF16", HIDDEN, WIDE},
    };
    assert_int_equal(mkdir("donor", 0777), 0);
    donor_write_safetensors("donor/model.safetensors", tensors, sizeof tensors / sizeof *tensors, 5, 0);
    write_text("donor/config.json",
               "{\"model_type\":\"llama\",\"vocab_size\":16,\"hidden_size\":256,\"intermediate_size\":512,"
               "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":64,"
               "\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\"}");
}

static void export_vindex(const char *donor, const char *scheme)
{
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_export_params params = {
        .donor = donor, .vindex = "store", .scheme = scheme, .threads = 1, .host = &host};
    if (phy_export_run(&params, NULL) != PHY_OK)
        fail_msg("%s: %s", donor, record.error);
}

/* Open "store", which must be refused with `status` and a sentence that holds `fact`. */
static void refused_in_order(const char *what, enum phy_q6k_order order, enum phy_status status, const char *fact)
{
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_ffn_store *store;
    enum phy_status got =
        phy_ffn_store_open(&store, "store", &(struct phy_ffn_store_params){.q6k_order = order, .host = &host});
    assert_null(store);
    if (got != status || record.errors != 1 || !strstr(record.error, fact))
        fail_msg("%s: status %d, %u errors: %s", what, (int)got, record.errors, record.error);
}

static void refused(const char *what, enum phy_status status, const char *fact)
{
    refused_in_order(what, PHY_Q6K_TOLD_BY_CODES, status, fact);
}

static void change(const char *path, const char *old, const char *new)
{
    size_t bytes;
    char *text = read_whole(path, &bytes), *changed = replaced(text, old, new);
    write_text(path, changed);
    free(text);
    free(changed);
}

static void float_features_hold_every_donor_bit_for_bit(void **state)
{
    static const char *const models[] = {"llama3", "mistral", "qwen2", "qwen3", "gemma3"};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        char donor[PATH_MAX];
        snprintf(donor, sizeof donor, "%s", tiny_path(models[i], NULL));
        export_vindex(donor, NULL);
        check_whole(donor, "store");
        struct phy_ffn_store *store = open_store("store");
        struct phy_ffn_store_info info;
        phy_ffn_store_describe(store, &info);
        assert_string_equal(info.scheme, "vindex");
        assert_string_equal(info.layout, "by_feature");
        assert_false(phy_ffn_store_layer(store, 0)->has_source);
        phy_ffn_store_close(&store);
        assert_int_equal(system("rm -r store"), 0);
    }
}

static void k_quants_and_fp4_hold_the_encoded_donor(void **state)
{
    (void)state;
    make_wide_donor();
    export_vindex("donor", "q4_k");
    check_whole("donor", "store");
    assert_int_equal(system("rm -r store"), 0);
    if (phy_weight_format(PHY_WEIGHT_FP4)->encode && phy_weight_format(PHY_WEIGHT_FP8)->encode) {
        export_vindex("donor", "fp4");
        check_whole("donor", "store");
    }
}

/* gate, up and down by feature of each layer, one whole matrix after another. */
static void interleaved_files_are_not_row_interleaved(void **state)
{
    static const char *const names[] = {"store/gate_vectors.bin", "store/up_features.bin", "store/down_features.bin"};
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    export_vindex(donor, "f32");
    enum { EACH = 176 * 64 * 4 };
    char *all = malloc(2 * 3 * EACH);
    for (size_t part = 0; part < 3; part++) {
        size_t bytes;
        char *data = read_whole(names[part], &bytes);
        assert_int_equal(bytes, 2 * EACH);
        for (size_t layer = 0; layer < 2; layer++)
            memcpy(all + (3 * layer + part) * EACH, data + layer * EACH, EACH);
        free(data);
        assert_int_equal(unlink(names[part]), 0);
    }
    write_file("store/interleaved.bin", all, 2 * 3 * EACH);
    check_whole(donor, "store");
    write_file("store/interleaved.bin", all, 2 * 3 * EACH - 4);
    refused("short", PHY_ERR_FORMAT, "interleaved.bin: layer 1 down_by_feature");
    free(all);
}

static void gates_of_16_bits_are_read_by_their_type(void **state)
{
    (void)state;
    const char *donor = tiny_path("llama3", NULL);
    export_vindex(donor, "f32");
    size_t bytes, rows, cols;
    float *gate = (float *)read_whole("store/gate_vectors.bin", &bytes);
    uint8_t *half = malloc(bytes / 2);
    assert_true(phy_weight_encode_row(PHY_WEIGHT_F16, gate, bytes / 4, half));
    write_file("store/gate_vectors.bin", half, bytes / 2);
    refused("f16 as f32", PHY_ERR_FORMAT, "gate_vectors.bin: layer 1 gate: bytes");
    change("store/index.json", "\"dtype\": \"f32\"", "\"dtype\": \"f16\"");
    refused("lengths of f32", PHY_ERR_FORMAT, "length 45056, 176 x 64 values take 22528");
    change("store/index.json", "\"length\": 45056", "\"length\": 22528");
    change("store/index.json", "\"length\": 45056", "\"length\": 22528");
    change("store/index.json", "\"offset\": 45056", "\"offset\": 22528");
    struct phy_ffn_store *store = open_store("store");
    const struct phy_weights *w = &phy_ffn_store_layer(store, 1)->gate;
    assert_int_equal(w->type, PHY_WEIGHT_F16);
    float *expected = donor_floats(donor, 1, PHY_FFN_GATE, &rows, &cols), row[64];
    for (size_t r = 0; r < rows; r++) {
        phy_store_decode_rows(w, r, r + 1, row);
        assert_memory_equal(row, expected + r * cols, sizeof row);
    }
    phy_ffn_store_close(&store);
    free(expected);
    free(gate);
    free(half);
}

/* ---- the two orders of Q6_K ---- */

enum { Q6K = 210 };

/* ggml's order to pairs, written from the two descriptions and not from the reader. */
static void to_pairs(const uint8_t *from, uint8_t *to)
{
    memset(to, 0, 192);
    memcpy(to + 192, from + 192, Q6K - 192);
    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 64; i++) {
            for (int nibble = 0; nibble < 2; nibble++) {
                const int n = 128 * h + 64 * nibble + i;
                const int low = from[64 * h + i] >> 4 * nibble & 15;
                const int high = from[128 + 32 * h + n % 32] >> 2 * (n % 128 / 32) & 3;
                to[n / 2] |= (uint8_t)(low << 4 * (n & 1));
                to[128 + n / 4] |= (uint8_t)(high << 2 * (n % 4));
            }
        }
    }
}

enum { ROW = WIDE / 256, Q4_BYTES = WIDE * HIDDEN / 256 * 144, Q6_BYTES = WIDE * HIDDEN / 256 * Q6K };

/* Blocks in ggml's order, as the other tool's encoder scales them: bell-shaped codes, the largest of each group -32. */
static void bell_shaped(uint64_t seed, uint8_t *blocks)
{
    memset(blocks, 0, Q6_BYTES);
    for (uint8_t *block = blocks; block < blocks + Q6_BYTES; block += Q6K) {
        for (int n = 0; n < 256; n++) {
            unsigned q = 0;
            for (int i = 0; i < 9 && n % 16 != 5; i++)
                q += donor_random(&seed) % 8;
            block[64 * (n / 128) + n % 64] |= (uint8_t)((q & 15) << (n % 128 > 63 ? 4 : 0));
            block[128 + 32 * (n / 128) + n % 32] |= (uint8_t)(q >> 4 << 2 * (n % 128 / 32));
        }
        for (int g = 0; g < 16; g++)
            block[192 + g] = (uint8_t)(donor_random(&seed) % 255 - 127);
        block[208] = (uint8_t)donor_random(&seed);
        block[209] = 1; /* f16 subnormals, as real files have */
    }
}

/* Put a Q6_K down in the place of the Q4_K one of both layers; `order` writes each block. */
static void write_q6k_down(void (*order)(const uint8_t *from, uint8_t *to))
{
    size_t bytes;
    char *old = read_whole("store/interleaved_kquant.bin", &bytes);
    assert_int_equal(bytes, LAYERS * 3 * Q4_BYTES);
    uint8_t *data = malloc(LAYERS * (2 * Q4_BYTES + Q6_BYTES)), *to = data, *blocks = malloc(Q6_BYTES);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        memcpy(to, old + layer * 3 * Q4_BYTES, 2 * Q4_BYTES);
        to += 2 * Q4_BYTES;
        bell_shaped(layer, blocks);
        for (size_t b = 0; b < Q6_BYTES / Q6K; b++, to += Q6K)
            order(blocks + b * Q6K, to);
    }
    free(blocks);
    write_file("store/interleaved_kquant.bin", data, LAYERS * (2 * Q4_BYTES + Q6_BYTES));
    free(old);
    free(data);
    char manifest[4000] = "[";
    size_t used = 1, at = 0;
    for (unsigned i = 0; i < 3 * LAYERS; i++) {
        const unsigned length = i % 3 == 2 ? Q6_BYTES : Q4_BYTES;
        used += (size_t)sprintf(manifest + used,
                                "%s{\"key\":\"k\",\"shape\":[%d,%d],\"format\":\"%s\",\"offset\":%zu,\"length\":%u}",
                                i ? "," : "", i % 3 == 2 ? HIDDEN : WIDE, i % 3 == 2 ? WIDE : HIDDEN,
                                i % 3 == 2 ? "Q6_K" : "Q4_K", at, length);
        at += length;
    }
    strcpy(manifest + used, "]");
    write_text("store/interleaved_kquant_manifest.json", manifest);
}

static void as_it_is(const uint8_t *from, uint8_t *to)
{
    memcpy(to, from, Q6K);
}

/* In neither order: every third block in the other one. */
static void in_turn(const uint8_t *from, uint8_t *to)
{
    static unsigned turn;
    (turn++ % 3 ? as_it_is : to_pairs)(from, to);
}

static void check_ggml_order(void)
{
    struct phy_ffn_store *store = open_store("store");
    uint8_t *blocks = malloc(Q6_BYTES);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        const struct phy_weights *down = &phy_ffn_store_layer(store, layer)->down;
        bell_shaped(layer, blocks);
        assert_int_equal(down->type, PHY_WEIGHT_Q6_K);
        assert_memory_equal(down->data, blocks, Q6_BYTES);
    }
    free(blocks);
    phy_ffn_store_close(&store);
}

static void q6k_blocks_are_read_in_whichever_order_they_lie(void **state)
{
    (void)state;
    make_wide_donor();
    export_vindex("donor", "q4_k");
    char *q4;
    size_t bytes;
    q4 = read_whole("store/interleaved_kquant.bin", &bytes);
    write_q6k_down(as_it_is);
    check_ggml_order();
    write_file("store/interleaved_kquant.bin", q4, bytes);
    write_q6k_down(to_pairs);
    check_ggml_order();
    write_file("store/interleaved_kquant.bin", q4, bytes);
    write_q6k_down(in_turn);
    refused("both", PHY_ERR_FORMAT,
            "interleaved_kquant.bin: layer 0 down: its Q6_K blocks do not tell in which order their values lie: say "
            "--q6k-order pairs or --q6k-order ggml");
    free(q4);
}

/* Blocks whose codes tell nothing, read as either order says; blocks that do tell are believed less than the caller. */
static void the_order_that_is_asked_for_is_taken(void **state)
{
    static const struct {
        void (*write)(const uint8_t *from, uint8_t *to);
        enum phy_q6k_order order;
        bool swapped; /* what is read is what was written, with pairs taken apart */
    } cases[] = {{in_turn, PHY_Q6K_GGML, false},
                 {in_turn, PHY_Q6K_PAIRS, true},
                 {to_pairs, PHY_Q6K_GGML, false},
                 {as_it_is, PHY_Q6K_PAIRS, true}};
    (void)state;
    make_wide_donor();
    export_vindex("donor", "q4_k");
    size_t bytes;
    char *q4 = read_whole("store/interleaved_kquant.bin", &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_ffn_store *store;
        size_t all;
        write_file("store/interleaved_kquant.bin", q4, bytes);
        write_q6k_down(cases[i].write);
        assert_int_equal(
            phy_ffn_store_open(&store, "store", &(struct phy_ffn_store_params){.q6k_order = cases[i].order}), PHY_OK);
        char *data = read_whole("store/interleaved_kquant.bin", &all);
        const uint8_t *down = phy_ffn_store_layer(store, 0)->down.data, *written = (uint8_t *)data + 2 * Q4_BYTES;
        for (size_t b = 0; b < Q6_BYTES; b += Q6K) {
            uint8_t back[Q6K];
            to_pairs(down + b, back);
            assert_memory_equal(cases[i].swapped ? back : down + b, written + b, Q6K);
        }
        free(data);
        phy_ffn_store_close(&store);
    }
    free(q4);
}

/* The share is that of exactly 4,096 groups: what follows changes nothing, the last of them decides. */
static void the_first_4096_groups_tell_the_order(void **state)
{
    enum { BLOCKS = 257, GROUPS_A_BLOCK = 16, LEAST_IN_ORDER = 3892 }; /* 0.95 * 4096 = 3891.2 */
    uint8_t *blocks = calloc(BLOCKS, Q6K);
    (void)state;
    for (unsigned in_order = LEAST_IN_ORDER - 1; in_order <= LEAST_IN_ORDER; in_order++) {
        memset(blocks, 0, BLOCKS * Q6K);
        for (unsigned b = 0; b < BLOCKS; b++) {
            uint8_t *block = blocks + b * Q6K;
            memset(block + 192, 1, 16);
            block[209] = 0x3C;
            /* Codes of 32, and in the groups that are in ggml's order one of 63. */
            memset(block + 128, 0xAA, 64);
            for (unsigned g = 0; g < GROUPS_A_BLOCK; g++) {
                if (b * GROUPS_A_BLOCK + g >= in_order)
                    continue;
                const unsigned n = 16 * g;
                block[64 * (n / 128) + n % 64] |= (uint8_t)(n % 128 > 63 ? 0xF0 : 0x0F);
                block[128 + 32 * (n / 128) + n % 32] |= (uint8_t)(3u << 2 * (n % 128 / 32));
            }
        }
        assert_int_equal(phy_q6k_order_of(blocks, BLOCKS),
                         in_order == LEAST_IN_ORDER ? PHY_Q6K_GGML : PHY_Q6K_TOLD_BY_CODES);
    }
    free(blocks);
}

static void an_order_is_asked_of_a_vindex_only(void **state)
{
    (void)state;
    make_store(tiny_path("llama3", NULL), "store", "q8_0", NULL, 1);
    refused_in_order("a store", PHY_Q6K_PAIRS, PHY_ERR_USAGE, "store: no vindex");
}

static void older_names_are_read_with_their_own_manifest(void **state)
{
    (void)state;
    make_wide_donor();
    export_vindex("donor", "q4_k");
    assert_int_equal(rename("store/interleaved_kquant.bin", "store/interleaved_q4k.bin"), 0);
    refused("no manifest", PHY_ERR_FORMAT, "has no manifest interleaved_q4k_manifest.json");
    assert_int_equal(rename("store/interleaved_kquant_manifest.json", "store/interleaved_q4k_manifest.json"), 0);
    check_whole("donor", "store");
}

/* ---- damage ---- */

struct mutation {
    const char *file, *old, *new;
    enum phy_status status;
    const char *fact;
};

#define INDEX "store/index.json"
#define MANIFEST "store/interleaved_kquant_manifest.json"

static void refuse_all(const struct mutation *mutations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        char *good = read_whole(mutations[i].file, &bytes);
        change(mutations[i].file, mutations[i].old, mutations[i].new);
        refused(mutations[i].new, mutations[i].status, mutations[i].fact);
        write_file(mutations[i].file, good, bytes);
        free(good);
    }
    struct phy_ffn_store *store = open_store("store");
    phy_ffn_store_close(&store);
}

static void damaged_indexes_are_refused(void **state)
{
    static const struct mutation mutations[] = {
        {INDEX, "\"version\": 2", "\"version\": 3", PHY_ERR_UNSUPPORTED, "version 3, we read 2"},
        {INDEX, "\"version\": 2", "\"version\": 2.5", PHY_ERR_FORMAT, "\"version\" is not a whole number"},
        {INDEX, "\"version\": 2,", "", PHY_ERR_FORMAT, "\"version\" is missing"},
        {INDEX, "\"family\"", "\"familie\"", PHY_ERR_FORMAT, "\"family\" is missing"},
        {INDEX, "\"num_layers\": 2", "\"num_layers\": 3", PHY_ERR_FORMAT, "\"layers\" has 2 entries"},
        {INDEX, "\"num_layers\": 2", "\"num_layers\": 100000", PHY_ERR_FORMAT, "\"num_layers\" is 100000"},
        {INDEX, "\"hidden_size\": 64", "\"hidden_size\": -64", PHY_ERR_FORMAT, "\"hidden_size\" is not"},
        {INDEX, "\"hidden_size\": 64", "\"hidden_size\": 1e300", PHY_ERR_FORMAT, "\"hidden_size\" is not"},
        {INDEX, "\"hidden_size\": 64", "\"hidden_size\": 32", PHY_ERR_FORMAT, "length 45056"},
        {INDEX, "\"intermediate_size\": 176", "\"intermediate_size\": 88", PHY_ERR_UNSUPPORTED, "176 features"},
        {INDEX, "\"embed_scale\"", "\"embed\"", PHY_ERR_FORMAT, "\"embed_scale\" is missing"},
        {INDEX, "\"dtype\": \"f32\"", "\"dtype\": \"bf16\"", PHY_ERR_UNSUPPORTED, "\"dtype\""},
        {INDEX, "\"quant\": \"none\"", "\"quant\": \"q3\"", PHY_ERR_UNSUPPORTED, "\"quant\""},
        {INDEX, "\"has_model_weights\"", "\"ffn_layout\": {}, \"x\"", PHY_ERR_UNSUPPORTED, "mixtures"},
        {INDEX, "\"layer\": 1", "\"layer\": 0", PHY_ERR_FORMAT, "layer 0 is there twice"},
        {INDEX, "\"layer\": 1", "\"layer\": 2", PHY_ERR_FORMAT, "layer 2: the model has 2"},
        {INDEX, "\"num_features\": 176", "\"num_features\": 0", PHY_ERR_FORMAT, "0 features"},
        {INDEX, "\"offset\": 45056", "\"offset\": 45057", PHY_ERR_FORMAT, "not a multiple of 4"},
        {INDEX, "\"offset\": 45056", "\"offset\": 45060", PHY_ERR_FORMAT, "exceed the file's"},
        {INDEX, "\"offset\": 45056", "\"offset\": 9007199254740988", PHY_ERR_FORMAT, "exceed the file's"},
        {INDEX, "\"offset\": 45056", "\"offset\": 0", PHY_ERR_FORMAT, "its matrices take"},
        {INDEX, "\"length\": 45056", "\"length\": 45052", PHY_ERR_FORMAT, "length 45052"},
        {INDEX, "{", "[", PHY_ERR_FORMAT, "is an array, not an object"},
        {INDEX, "\"dtype\"", "\"fp4\": {}, \"dtype\"", PHY_ERR_FORMAT, "\"fp4_format_version\" is missing"},
        {INDEX, "\"dtype\"", "\"checksums\": {\"up_features.bin\": \"00\"}, \"dtype\"", PHY_ERR_FORMAT,
         "up_features.bin: its SHA-256"},
    };
    (void)state;
    export_vindex(tiny_path("llama3", NULL), NULL);
    refuse_all(mutations, sizeof mutations / sizeof *mutations);
    size_t bytes;
    char *index = read_whole(INDEX, &bytes);
    for (size_t n = 0; n < bytes - 1; n++) {
        write_file(INDEX, index, n);
        refused("a prefix", PHY_ERR_FORMAT, "store/index.json: ");
    }
    write_file(INDEX, index, bytes);
    free(index);
    assert_int_equal(truncate("store/up_features.bin", 2 * 45056 - 4), 0);
    refused("short", PHY_ERR_FORMAT, "up_features.bin: layer 1 up: bytes");
    assert_int_equal(truncate("store/up_features.bin", 2 * 45056 + 4), 0);
    refused("long", PHY_ERR_FORMAT, "up_features.bin: 90116 bytes, its matrices take 90112");
    assert_int_equal(unlink("store/down_features.bin"), 0);
    refused("no down", PHY_ERR_UNSUPPORTED, "no FFN in it that we read");
    assert_int_equal(symlink("up_features.bin", "store/down_features.bin"), 0);
    assert_int_equal(truncate("store/up_features.bin", 2 * 45056), 0);
    refused("a link", PHY_ERR_FORMAT, "down_features.bin: a symbolic link");
}

static void damaged_manifests_are_refused(void **state)
{
    static const struct mutation mutations[] = {
        {MANIFEST, "Q4_K", "Q5_K", PHY_ERR_UNSUPPORTED, "neither Q4_K nor Q6_K"},
        {MANIFEST, "Q4_K", "q4_K", PHY_ERR_UNSUPPORTED, "neither Q4_K nor Q6_K"},
        {MANIFEST, "\"format\"", "\"for\"", PHY_ERR_FORMAT, "\"format\" is missing"},
        {MANIFEST, "512", "511", PHY_ERR_FORMAT, "entry 0: the shape is not [512, 256]"},
        {MANIFEST, "\"shape\": [", "\"shape\": [512, ", PHY_ERR_FORMAT, "entry 0: the shape"},
        {MANIFEST, "\"offset\": 73728", "\"offset\": 73729", PHY_ERR_FORMAT, "entry 1: offset 73729"},
        {MANIFEST, "\"length\": 73728", "\"length\": 73584", PHY_ERR_FORMAT, "entry 0: length 73584"},
        {MANIFEST, "[", "[{},", PHY_ERR_FORMAT, "not an array of 6 entries"},
        {MANIFEST, "[", "{", PHY_ERR_FORMAT, "JSON"},
    };
    (void)state;
    make_wide_donor();
    export_vindex("donor", "q4_k");
    refuse_all(mutations, sizeof mutations / sizeof *mutations);
    assert_int_equal(truncate("store/interleaved_kquant.bin", 5 * 73728), 0);
    refused("short", PHY_ERR_FORMAT, "interleaved_kquant.bin: layer 1 down: bytes");
}

static void damaged_fp4_is_refused(void **state)
{
    static const struct mutation mutations[] = {
        {INDEX, "\"fp4_format_version\": 1", "\"fp4_format_version\": 2", PHY_ERR_UNSUPPORTED, "is 2, we read 1"},
        {INDEX, "\"block_elements\": 256", "\"block_elements\": 128", PHY_ERR_UNSUPPORTED, "\"block_elements\" is 128"},
        {INDEX, "fp4_e2m1_mxfp4_nibble_order", "halves", PHY_ERR_UNSUPPORTED, "\"value_encoding\" is not"},
        {INDEX, "\"precision\": \"fp4\"", "\"precision\": \"fp8\"", PHY_ERR_FORMAT, "exceed the file's"},
        {INDEX, "\"precision\": \"fp4\"", "\"precision\": \"fp2\"", PHY_ERR_UNSUPPORTED, "none of fp4, fp8, f16, f32"},
        {INDEX, "up_features_fp4.bin", "../up_features_fp4.bin", PHY_ERR_FORMAT, "not the plain name"},
        {INDEX, "up_features_fp4.bin", "absent", PHY_ERR_FORMAT, "absent: missing"},
        {INDEX, "up_features_fp4.bin", "down_features_fp8.bin", PHY_ERR_FORMAT, "its matrices take"},
        {INDEX, "threshold_ratio", "ratio", PHY_ERR_FORMAT, "is not complete"},
        {INDEX, "\"hidden_size\": 256", "\"hidden_size\": 128", PHY_ERR_FORMAT, "length 524288"},
    };
    (void)state;
    make_wide_donor();
    if (!phy_weight_format(PHY_WEIGHT_FP4)->encode || !phy_weight_format(PHY_WEIGHT_FP8)->encode)
        skip();
    export_vindex("donor", "fp4");
    refuse_all(mutations, sizeof mutations / sizeof *mutations);
}

static void what_a_vindex_cannot_hold_is_not_exported(void **state)
{
    static const struct {
        const char *scheme, *fact;
    } cases[] = {{"fp4", "hidden size 64: a vindex holds FP4 only of multiples of 256"},
                 {"q4_k", "sizes 64 and 176"},
                 {"q8_0", "a vindex is written as f32, q4_k or fp4"}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct log_record record;
        struct phy_host host = recording_host(&record);
        struct phy_export_params params = {
            .donor = tiny_path("llama3", NULL), .vindex = "store", .scheme = cases[i].scheme, .host = &host};
        assert_int_equal(phy_export_run(&params, NULL), PHY_ERR_UNSUPPORTED);
        if (!strstr(record.error, cases[i].fact))
            fail_msg("%s: %s", cases[i].fact, record.error);
        assert_int_equal(access("store", F_OK), -1);
    }
    export_vindex(tiny_path("llama3", NULL), NULL);
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_export_params params = {.donor = tiny_path("llama3", NULL), .vindex = "store", .host = &host};
    assert_int_equal(phy_export_run(&params, NULL), PHY_ERR_USAGE);
    params.force = true;
    assert_int_equal(phy_export_run(&params, NULL), PHY_OK);
}

/* ---- out of a store ---- */

static enum phy_status export_store(const char *donor, const char *from, enum phy_q6k_order order,
                                    struct log_record *record, struct phy_export_result *result)
{
    struct phy_host host = recording_host(record);
    struct phy_export_params params = {
        .donor = donor, .store = from, .vindex = "store", .q6k_order = order, .threads = 1, .host = &host};
    return phy_export_run(&params, result);
}

static struct phy_ffn_store *open_in_order(enum phy_q6k_order order)
{
    struct phy_ffn_store *store;
    assert_int_equal(phy_ffn_store_open(&store, "store", &(struct phy_ffn_store_params){.q6k_order = order}), PHY_OK);
    return store;
}

/* A matrix of both, value for value. */
static void check_values(const struct phy_weights *a, const struct phy_weights *b)
{
    assert_non_null(a->data);
    assert_non_null(b->data);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    float *x = malloc(a->cols * sizeof *x), *y = malloc(a->cols * sizeof *y);
    for (size_t r = 0; r < a->rows; r++) {
        phy_store_decode_rows(a, r, r + 1, x);
        phy_store_decode_rows(b, r, r + 1, y);
        assert_memory_equal(x, y, a->cols * sizeof *x);
    }
    free(x);
    free(y);
}

static void stores_of_floats_keep_every_value_in_any_layout(void **state)
{
    static const char *const schemes[] = {"f32", "f16", "bf16"}, *const layouts[] = {"split", "interleaved",
                                                                                     "by_feature"};
    (void)state;
    for (size_t i = 0; i < 9; i++) {
        char donor[PATH_MAX];
        struct log_record record;
        struct phy_export_result result;
        snprintf(donor, sizeof donor, "%s", tiny_path("llama3", NULL));
        make_store(donor, "from", schemes[i / 3], layouts[i % 3], 1);
        make_store(donor, "plain", schemes[i / 3], "by_feature", 1);
        if (export_store(donor, "from", PHY_Q6K_TOLD_BY_CODES, &record, &result) != PHY_OK)
            fail_msg("%s %s: %s", schemes[i / 3], layouts[i % 3], record.error);
        struct phy_ffn_store *plain = open_store("plain"), *store = open_store("store");
        for (uint32_t layer = 0; layer < 2; layer++) {
            const struct phy_store_layer *a = phy_ffn_store_layer(plain, layer), *b = phy_ffn_store_layer(store, layer);
            assert_int_equal(b->gate.type, i / 3 == 1 ? PHY_WEIGHT_F16 : PHY_WEIGHT_F32);
            check_values(&a->gate, &b->gate);
            check_values(&a->up, &b->up);
            check_values(&a->down_by_feature, &b->down_by_feature);
        }
        /* f32: all but a down that was turned; f16: its gates. */
        assert_int_equal(result.copied_count, i / 3 == 0 ? (i % 3 == 2 ? 6 : 4) : i / 3 == 1 ? 2 : 0);
        phy_ffn_store_close(&plain);
        phy_ffn_store_close(&store);
        assert_int_equal(system("rm -r store plain from"), 0);
    }
}

static void blocks_of_a_store_are_copied(void **state)
{
    static const struct {
        const char *scheme, *layout;
        enum phy_q6k_order order;
        unsigned copied;
    } cases[] = {{"q4_k", NULL, PHY_Q6K_TOLD_BY_CODES, 4},
                 {"q4_k", "by_feature", PHY_Q6K_TOLD_BY_CODES, 4},
                 {"q4_k", NULL, PHY_Q6K_GGML, 6},
                 {"q4_k", "split", PHY_Q6K_PAIRS, 4},
                 {"fp4", NULL, PHY_Q6K_TOLD_BY_CODES, 4}};
    (void)state;
    make_wide_donor();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct log_record record;
        struct phy_export_result result;
        make_store("donor", "from", cases[i].scheme, cases[i].layout, 1);
        if (export_store("donor", "from", cases[i].order, &record, &result) != PHY_OK)
            fail_msg("%s: %s", cases[i].scheme, record.error);
        assert_int_equal(result.copied_count, cases[i].copied);
        struct phy_ffn_store *store = open_in_order(cases[i].order), *from = open_store("from");
        const struct phy_store_layer *a = phy_ffn_store_layer(from, 1), *b = phy_ffn_store_layer(store, 1);
        if (cases[i].order)
            check_values(&a->down, &b->down);
        if (a->gate.data)
            check_values(&a->gate, &b->gate);
        if (a->down_by_feature.data && b->down_by_feature.data)
            check_values(&a->down_by_feature, &b->down_by_feature);
        phy_ffn_store_close(&from);
        phy_ffn_store_close(&store);
        if (!cases[i].order)
            check_whole("donor", "store"); /* gate and up as encoded from the donor, down too */
        assert_int_equal(system("rm -r store from"), 0);
    }
}

static void stores_that_no_vindex_holds_are_refused(void **state)
{
    static const struct {
        const char *scheme, *layout;
        enum phy_q6k_order order;
        enum phy_status status;
        const char *fact;
    } cases[] = {
        {"q8_0", NULL, 0, PHY_ERR_UNSUPPORTED, "scheme q8_0: a vindex holds stores of f32, f16, bf16, q4_k and fp4"},
        {"q6_k", NULL, 0, PHY_ERR_UNSUPPORTED, "scheme q6_k"},
        {"fp8", NULL, 0, PHY_ERR_UNSUPPORTED, "scheme fp8"},
        {"fp4_all", NULL, 0, PHY_ERR_UNSUPPORTED, "scheme fp4_all"},
        {"mxfp4", NULL, 0, PHY_ERR_UNSUPPORTED, "scheme mxfp4"},
        {"fp4", "split", 0, PHY_ERR_UNSUPPORTED, "layout split: a vindex has down_by_feature in vindex_fp8"},
        {"q4_k", "by_feature", PHY_Q6K_GGML, PHY_ERR_UNSUPPORTED, "layout by_feature: a vindex has down in q6_K"},
        {"f32", NULL, PHY_Q6K_GGML, PHY_ERR_USAGE, "an order of Q6_K is of a vindex from a q4_k store"},
    };
    struct log_record record;
    (void)state;
    make_wide_donor();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_store("donor", "from", cases[i].scheme, cases[i].layout, 1);
        assert_int_equal(export_store("donor", "from", cases[i].order, &record, NULL), cases[i].status);
        if (!strstr(record.error, cases[i].fact))
            fail_msg("%s: %s", cases[i].fact, record.error);
        assert_int_equal(access("store", F_OK), -1);
        assert_int_equal(system("rm -r from"), 0);
    }
    assert_int_equal(quantize_with(
                         (struct phy_quantize_params){
                             .donor = "donor", .output = "from", .scheme = "f32", .has_layers = true, .threads = 1},
                         &record, &(struct phy_quantize_result){0}),
                     PHY_OK);
    assert_int_equal(export_store("donor", "from", 0, &record, NULL), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(record.error, "from: lacks layer 1: a vindex holds every layer"));
}

static void sums_are_those_of_the_standard(void **state)
{
    (void)state;
    char sum[PHY_SHA256_TEXT_BYTES], million[1000];
    phy_sha256_text("", 0, sum);
    assert_string_equal(sum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    phy_sha256_text("abc", 3, sum);
    assert_string_equal(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    phy_sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, sum);
    assert_string_equal(sum, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof million);
    phy_sha256_text(million, sizeof million, sum);
    assert_string_equal(sum, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(float_features_hold_every_donor_bit_for_bit),
        TEST(k_quants_and_fp4_hold_the_encoded_donor),
        TEST(interleaved_files_are_not_row_interleaved),
        TEST(gates_of_16_bits_are_read_by_their_type),
        TEST(q6k_blocks_are_read_in_whichever_order_they_lie),
        TEST(the_order_that_is_asked_for_is_taken),
        TEST(the_first_4096_groups_tell_the_order),
        TEST(an_order_is_asked_of_a_vindex_only),
        TEST(older_names_are_read_with_their_own_manifest),
        TEST(damaged_indexes_are_refused),
        TEST(damaged_manifests_are_refused),
        TEST(damaged_fp4_is_refused),
        TEST(what_a_vindex_cannot_hold_is_not_exported),
        TEST(stores_of_floats_keep_every_value_in_any_layout),
        TEST(blocks_of_a_store_are_copied),
        TEST(stores_that_no_vindex_holds_are_refused),
        TEST(sums_are_those_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
