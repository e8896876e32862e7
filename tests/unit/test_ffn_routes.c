/* SPDX-License-Identifier: Apache-2.0 */
/* Which path is taken, what the trace says of it, and what is refused. */
#include "support/made_model.h"

#include "base/alloc.h"
#include "ffn/path_parts.h"
#include "support/parity.h"
#include "support/path_offered.h"

static struct log_record record;

/* ---- a device that offers what it is told ---- */

struct fake {
    struct phy_matmul_backend base;
    uint32_t types[PHY_KERNEL_COUNT]; /* bits */
};

static bool fake_offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel,
                        enum phy_weight_type type)
{
    return ((const struct fake *)backend)->types[kernel] >> type & 1;
}

static const struct phy_matmul_backend_ops fake_ops = {.offers = fake_offers};
static const uint32_t every_type = (UINT32_C(1) << PHY_WEIGHT_BITMAP_END) - 1;

static struct fake able(void)
{
    return (struct fake){.base = {.ops = &fake_ops, .name = "fake:0"},
                         .types = {every_type, every_type, every_type, every_type, every_type}};
}

/* ---- layers of any format ---- */

static const char somewhere;

static struct phy_weights matrix(enum phy_weight_type type)
{
    return (struct phy_weights){.data = &somewhere, .type = type};
}

enum layout { SPLIT, INTERLEAVED, BY_FEATURE };

static struct path_source source(enum phy_weight_type gate, enum phy_weight_type up, enum phy_weight_type down,
                                 enum layout layout)
{
    struct path_source s = {.label = "store"};
    if (layout == INTERLEAVED) {
        s.gate_up = matrix(gate);
    } else {
        s.gate = matrix(gate);
        s.up = matrix(up);
    }
    *(layout == BY_FEATURE ? &s.down_by_feature : &s.down) = matrix(down);
    return s;
}

static const char *taken(const struct path_source *s, const struct fake *device, const char *forced)
{
    const struct path_rule *rule =
        phy_path_route(s, &device->base, phy_path_mask(forced ? phy_path_rule_named(forced) : NULL));
    return rule ? rule->kind.name : "none";
}

#define BF16 PHY_WEIGHT_BF16
#define F32 PHY_WEIGHT_F32
#define Q4_K PHY_WEIGHT_Q4_K
#define Q6_K PHY_WEIGHT_Q6_K
#define FP4 PHY_WEIGHT_FP4
#define FP8 PHY_WEIGHT_FP8

static const struct {
    enum phy_weight_type gate, up, down;
    enum layout layout;
    const char *best;
    const char *offered[6]; /* all of them */
} layers[] = {
    {BF16, BF16, BF16, SPLIT, "full_mmap", {"exact", "full_mmap", "full_mmap:bf16", "interleaved", "sparse"}},
    {F32, F32, F32, INTERLEAVED, "interleaved", {"exact", "interleaved", "sparse"}},
    {F32, F32, F32, BY_FEATURE, "sparse", {"exact", "sparse"}},
    {BF16, F32, F32, SPLIT, "full_mmap", {"exact", "full_mmap", "sparse"}}, /* rows of two types cannot lie in turn */
    {PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q8_0, INTERLEAVED, "interleaved_q8_0", {"interleaved_q8_0"}},
    {PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q8_0, PHY_WEIGHT_Q8_0, SPLIT, "interleaved_q8_0", {"interleaved_q8_0"}},
    {PHY_WEIGHT_Q4_0, PHY_WEIGHT_Q4_0, PHY_WEIGHT_Q4_0, INTERLEAVED, "interleaved_q4_0", {"interleaved_q4_0"}},
    {Q6_K, Q6_K, Q6_K, INTERLEAVED, "interleaved_q6_K", {"interleaved_q6_K"}},
    {Q4_K,
     Q4_K,
     Q6_K,
     INTERLEAVED,
     "interleaved_q4k:fused",
     {"interleaved_q4k:dequant", "interleaved_q4k:fused", "interleaved_q4k:int8"}},
    {Q4_K,
     Q4_K,
     Q4_K,
     SPLIT,
     "interleaved_q4k:fused",
     {"interleaved_q4k:dequant", "interleaved_q4k:fused", "interleaved_q4k:int8"}},
    {FP8, FP8, FP8, INTERLEAVED, "fp8_storage", {"fp8_storage"}},
    {FP8, FP8, FP8, SPLIT, "fp8_storage", {"fp8_storage"}},
    {BF16, FP4, FP8, BY_FEATURE, "fp4_storage:sparse", {"fp4_storage:sparse"}},
    {FP4, FP4, FP8, BY_FEATURE, "fp4_storage:sparse", {"fp4_storage:sparse"}},
    {FP4, FP4, FP8, SPLIT, "none", {NULL}}, /* blocks cannot be transposed */
    {PHY_WEIGHT_MXFP4, PHY_WEIGHT_MXFP4, PHY_WEIGHT_MXFP4, INTERLEAVED, "mxfp4_storage", {"mxfp4_storage"}},
    {PHY_WEIGHT_BITMAP_BF16, PHY_WEIGHT_BITMAP_BF16, PHY_WEIGHT_BITMAP_BF16, SPLIT, "bitmap", {"bitmap"}},
    {PHY_WEIGHT_BITMAP_F32, PHY_WEIGHT_BITMAP_F16, PHY_WEIGHT_BITMAP_BF16, SPLIT, "bitmap", {"bitmap"}},
    {Q4_K, Q6_K, Q6_K, SPLIT, "none", {NULL}},
};
enum { LAYERS = sizeof layers / sizeof *layers };

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* ---- the table and the router ---- */

static void every_name_is_a_row_of_the_table(void **state)
{
    (void)state;
    const char *const *names = phy_ffn_path_names();
    size_t count = 0;
    uint64_t masks = 0;
    for (; names[count]; count++) {
        const struct path_rule *rule = phy_path_rule_named(names[count]);
        assert_non_null(rule);
        assert_string_equal(rule->kind.name, names[count]);
        assert_ptr_equal(phy_path_kind_named(names[count]), &rule->kind);
        assert_true(is_one_of(rule->kind.bucket, (const char *const[]){"exact", "quantised", "fp4", NULL}));
        /* An order without ties: each rank once. */
        assert_int_equal(masks >> rule->quality & 1, 0);
        masks |= UINT64_C(1) << rule->quality;
    }
    assert_int_equal(count, 15);
    assert_int_equal(masks, (UINT64_C(1) << count) - 1);
    assert_null(phy_path_kind_named("reference"));
    assert_null(phy_path_kind_named(""));
}

static void the_router_takes_the_best_that_is_offered(void **state)
{
    (void)state;
    const struct fake device = able();
    for (size_t i = 0; i < LAYERS; i++) {
        const struct path_source s = source(layers[i].gate, layers[i].up, layers[i].down, layers[i].layout);
        assert_string_equal(taken(&s, &device, NULL), layers[i].best);
    }
}

static void exactly_the_paths_of_a_layers_formats_are_offered(void **state)
{
    (void)state;
    const struct fake device = able();
    for (size_t i = 0; i < LAYERS; i++) {
        const struct path_source s = source(layers[i].gate, layers[i].up, layers[i].down, layers[i].layout);
        for (const char *const *name = phy_ffn_path_names(); *name; name++) {
            char reason[256] = "";
            const bool offered = phy_path_offers(phy_path_rule_named(*name), &s, &device.base, reason, sizeof reason);
            if (offered != is_one_of(*name, layers[i].offered))
                fail_msg("layer %zu: path %s is %soffered", i, *name, offered ? "" : "not ");
            assert_true(offered || strstr(reason, *name));
        }
    }
}

/* What is wrong with the nearest path, not that there is none. */
static void a_source_without_a_path_is_told_what_it_lacks(void **state)
{
    (void)state;
    static const struct {
        enum phy_weight_type gate, up, down;
        enum layout layout;
        const char *lacks;
    } sources[] = {
        {Q4_K, Q4_K, Q6_K, BY_FEATURE, "store: path interleaved_q4k:fused needs down as rows, which are not stored"},
        {FP4, FP4, FP8, SPLIT, "store: path fp4_storage:sparse needs down by feature, which are not stored"},
        {Q4_K, Q6_K, Q6_K, SPLIT, "store: no path is made of its formats"},
    };
    struct fake device = able();
    char reason[256];
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const struct path_source s = source(sources[i].gate, sources[i].up, sources[i].down, sources[i].layout);
        assert_string_equal(taken(&s, &device, NULL), "none");
        phy_path_why_none(&s, &device.base, reason, sizeof reason);
        assert_string_equal(reason, sources[i].lacks);
    }
    device.types[PHY_KERNEL_FUSED] = 0;
    const struct path_source fp8 = source(FP8, FP8, FP8, SPLIT);
    phy_path_why_none(&fp8, &device.base, reason, sizeof reason);
    assert_string_equal(reason, "path fp8_storage: device fake:0 has no fused kernel for vindex_fp8");
}

static void every_scheme_has_a_path_in_its_own_layout(void **state)
{
    (void)state;
    static const char *const names[] = {"f32", "f16",  "bf16",  "q8_0", "q4_0",    "q6_k",
                                        "fp8", "q4_k", "mxfp4", "fp4",  "fp4_all", "bitmap"};
    char reason[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct phy_store_scheme *scheme = phy_store_scheme_named(names[i]);
        if (!phy_path_made_of(scheme, scheme->layout, reason, sizeof reason))
            fail_msg("%s: %s", names[i], reason);
    }
    assert_true(phy_path_made_of(phy_store_scheme_named("f16"), PHY_LAYOUT_BY_FEATURE, reason, sizeof reason));
    assert_false(phy_path_made_of(phy_store_scheme_named("q8_0"), PHY_LAYOUT_BY_FEATURE, reason, sizeof reason));
    assert_string_equal(reason, "q8_0: path interleaved_q8_0 needs down as rows, which are not stored");
    assert_false(phy_path_made_of(phy_store_scheme_named("q4_k"), PHY_LAYOUT_BY_FEATURE, reason, sizeof reason));
    assert_non_null(strstr(reason, "interleaved_q4k:fused"));
    assert_false(phy_path_made_of(phy_store_scheme_named("fp4_all"), PHY_LAYOUT_SPLIT, reason, sizeof reason));
}

static void a_mask_makes_the_router_take_what_is_forced(void **state)
{
    (void)state;
    const struct fake device = able();
    for (size_t i = 0; i < LAYERS; i++) {
        const struct path_source s = source(layers[i].gate, layers[i].up, layers[i].down, layers[i].layout);
        for (const char *const *name = layers[i].offered; *name; name++)
            assert_string_equal(taken(&s, &device, *name), *name);
        assert_null(phy_path_route(&s, &device.base, UINT64_MAX));
    }
}

static void what_a_device_has_no_kernel_for_is_not_taken(void **state)
{
    (void)state;
    const struct path_source q4k = source(Q4_K, Q4_K, Q6_K, INTERLEAVED), bf16 = source(BF16, BF16, BF16, SPLIT);
    struct fake device = able();
    char reason[256];
    device.types[PHY_KERNEL_FUSED] &= ~(UINT32_C(1) << Q6_K);
    assert_string_equal(taken(&q4k, &device, NULL), "interleaved_q4k:int8");
    assert_false(
        phy_path_offers(phy_path_rule_named("interleaved_q4k:fused"), &q4k, &device.base, reason, sizeof reason));
    assert_string_equal(reason, "path interleaved_q4k:fused: device fake:0 has no fused kernel for q6_K");
    device.types[PHY_KERNEL_INT8] = 0;
    assert_string_equal(taken(&q4k, &device, NULL), "interleaved_q4k:dequant");
    device.types[PHY_KERNEL_DEQUANT] = 0;
    assert_string_equal(taken(&q4k, &device, NULL), "none");
    device.types[PHY_KERNEL_WALK] = 0;
    assert_false(phy_path_offers(phy_path_rule_named("exact"), &bf16, &device.base, reason, sizeof reason));
    assert_string_equal(reason, "path exact: device fake:0 has no walk kernel for f32");
    /* Scores are a product. */
    device = able();
    device.types[PHY_KERNEL_FUSED] = 0;
    assert_false(phy_path_offers(phy_path_rule_named("sparse"), &bf16, &device.base, reason, sizeof reason));
    assert_true(phy_path_offers(phy_path_rule_named("exact"), &bf16, &device.base, reason, sizeof reason));
}

/* ---- features ---- */

struct ranked {
    float score;
    uint32_t index;
};

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static int by_index(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void check_top(const float *score, size_t count, size_t k)
{
    struct ranked ranked[300];
    uint32_t expected[300], got[301];
    float scratch[300];
    for (size_t i = 0; i < count; i++)
        ranked[i] = (struct ranked){score[i] == score[i] ? score[i] : INFINITY, (uint32_t)i};
    qsort(ranked, count, sizeof *ranked, by_score);
    for (size_t i = 0; i < k; i++)
        expected[i] = ranked[i].index;
    qsort(expected, k, sizeof *expected, by_index);
    got[k] = 0xDEADBEEF;
    phy_path_top_features(score, count, k, got, scratch);
    assert_memory_equal(got, expected, k * sizeof *got);
    assert_int_equal(got[k], 0xDEADBEEF);
}

static void the_largest_features_come_in_ascending_order(void **state)
{
    (void)state;
    float score[300];
    for (size_t round = 0; round < 200; round++) {
        const size_t count = 1 + random_below(300);
        const uint32_t values = 1 + random_below(round % 3 == 0 ? 4 : 1000); /* many ties, or few */
        for (size_t i = 0; i < count; i++)
            score[i] = (float)random_below(values);
        if (round % 7 == 0)
            score[random_below((uint32_t)count)] = NAN; /* it must be visited, to be seen in y */
        check_top(score, count, 0);
        check_top(score, count, 1);
        check_top(score, count, 1 + random_below((uint32_t)count));
        check_top(score, count, count);
    }
    for (size_t i = 0; i < 300; i++)
        score[i] = (float)i;
    check_top(score, 300, 77);
    for (size_t i = 0; i < 300; i++)
        score[i] = (float)(300 - i);
    check_top(score, 300, 77);
}

/* ---- traces ---- */

enum { MAX_STEPS = 64 };

struct steps {
    size_t count;
    struct phy_path_step step[MAX_STEPS];
};

static void keep_step(void *user, const struct phy_path_step *step)
{
    struct steps *steps = user;
    assert_true(steps->count < MAX_STEPS);
    steps->step[steps->count++] = *step;
}

static struct phy_model *tiny(const char *name, struct phy_host *host)
{
    char directory[PATH_MAX];
    struct phy_model *model;
    snprintf(directory, sizeof directory, "%s", tiny_path(name, NULL));
    *host = recording_host(&record);
    if (phy_model_open(&model, directory, &(struct phy_model_params){.device = "cpu", .threads = 2, .host = host}))
        fail_msg("%s", record.error);
    return model;
}

static struct phy_ffn *path_named(struct phy_model *model, const struct phy_ffn_store *store, const char *name)
{
    struct phy_ffn *ffn;
    if (phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.path = name, .store = store}) != PHY_OK)
        fail_msg("%s", record.error);
    return ffn;
}

static struct path_trace events(size_t count, const struct path_event *list)
{
    struct path_trace trace = {0};
    for (size_t i = 0; i < count; i++) {
        trace.op = list[i].op;
        phy_path_trace_ran(&trace, list[i].kernel, list[i].type, list[i].form);
    }
    return trace;
}

#define READ(...) read_trace((const struct path_event[]){__VA_ARGS__}, sizeof(struct path_event[]){__VA_ARGS__})

static char kernels[96];

static const char *read_trace(const struct path_event *list, size_t bytes)
{
    const struct path_trace trace = events(bytes / sizeof *list, list);
    const char *path = phy_path_trace_read(&trace, kernels, sizeof kernels);
    return path ? path : "none";
}

static void a_trace_is_read_from_what_ran(void **state)
{
    (void)state;
    const struct path_trace nothing = {0};
    assert_null(phy_path_trace_read(&nothing, kernels, sizeof kernels));
    assert_string_equal(kernels, "");
    assert_string_equal(READ({OP_FFN, PHY_KERNEL_FUSED, BF16, "avx2"}), "full_mmap");
    assert_string_equal(READ({OP_FFN, PHY_KERNEL_BF16, BF16, "avx512bf16"}), "full_mmap:bf16");
    assert_string_equal(READ({OP_FFN_PAIRED, PHY_KERNEL_FUSED, BF16, "avx2"}), "interleaved");
    assert_string_equal(
        READ({OP_FFN_PAIRED, PHY_KERNEL_FUSED, Q4_K, "avx2"}, {OP_FFN_PAIRED, PHY_KERNEL_FUSED, Q6_K, "ref"}),
        "interleaved_q4k:fused");
    assert_string_equal(kernels, "fused q4_K avx2, fused q6_K ref");
    assert_string_equal(READ({OP_PAIRED, PHY_KERNEL_INT8, Q4_K, "avx2"}, {OP_DOWN, PHY_KERNEL_INT8, Q6_K, "avx2"}),
                        "interleaved_q4k:int8");
    /* A product that was left to another kernel, a matrix that was never multiplied, one of another path. */
    assert_string_equal(READ({OP_PAIRED, PHY_KERNEL_INT8, Q4_K, "avx2"}, {OP_DOWN, PHY_KERNEL_FUSED, Q6_K, "avx2"}),
                        "none");
    assert_string_equal(READ({OP_PAIRED, PHY_KERNEL_FUSED, Q4_K, "avx2"}), "none");
    assert_string_equal(READ({OP_DOWN, PHY_KERNEL_FUSED, BF16, "avx2"}), "none");
    assert_string_equal(READ({OP_GATE_UP, PHY_KERNEL_FUSED, BF16, "avx2"}, {OP_PAIRED, PHY_KERNEL_FUSED, BF16, "avx2"},
                             {OP_DOWN, PHY_KERNEL_FUSED, BF16, "avx2"}),
                        "none");
    assert_string_equal(READ({OP_FFN_PAIRED, PHY_KERNEL_FUSED, Q6_K, "avx2"}), "interleaved_q6_K");
    assert_string_equal(
        READ({OP_FFN_PAIRED, PHY_KERNEL_FUSED, Q4_K, "avx2"}, {OP_FFN_PAIRED, PHY_KERNEL_FUSED, BF16, "avx2"}), "none");
    assert_string_equal(READ({OP_WALK_ALL, PHY_KERNEL_WALK, F32, "avx2"}), "exact");
    assert_string_equal(READ({OP_WALK_ALL, PHY_KERNEL_WALK, BF16, "avx2"}), "none");
    assert_string_equal(READ({OP_WALK_LISTED, PHY_KERNEL_WALK, BF16, "avx2"}), "sparse");
    assert_string_equal(
        READ({OP_SCORE, PHY_KERNEL_FUSED, BF16, "avx2"}, {OP_WALK_LISTED, PHY_KERNEL_WALK, BF16, "avx2"}), "sparse");
    assert_string_equal(READ({OP_SCORE, PHY_KERNEL_FUSED, BF16, "avx2"}), "none");
    assert_string_equal(READ({OP_WALK_LISTED, PHY_KERNEL_WALK, BF16, "avx2"},
                             {OP_WALK_LISTED, PHY_KERNEL_WALK, FP4, "avx2"},
                             {OP_WALK_LISTED, PHY_KERNEL_WALK, FP8, "avx2"}),
                        "fp4_storage:sparse");
    assert_string_equal(READ({OP_FFN, PHY_KERNEL_FUSED, PHY_WEIGHT_MXFP4, "avx2"}), "mxfp4_storage");
    assert_string_equal(READ({OP_FFN, PHY_KERNEL_FUSED, PHY_WEIGHT_BITMAP_F16, "avx2"}), "bitmap");
    assert_string_equal(READ({OP_FFN, PHY_KERNEL_WALK, F32, "avx2"}), "none");
    /* Decoding and the product of what was decoded may be two reports; the latter alone is no path. */
    assert_string_equal(READ({OP_FFN_PAIRED, PHY_KERNEL_DEQUANT, Q4_K, "decode"},
                             {OP_FFN_PAIRED, PHY_KERNEL_DEQUANT, F32, "rows"},
                             {OP_FFN_PAIRED, PHY_KERNEL_DEQUANT, Q6_K, "decode"}),
                        "interleaved_q4k:dequant");
    assert_string_equal(READ({OP_FFN_PAIRED, PHY_KERNEL_DEQUANT, F32, "rows"}), "none");
    assert_string_equal(
        READ({OP_FFN_PAIRED, PHY_KERNEL_FUSED, Q4_K, "rows"}, {OP_FFN_PAIRED, PHY_KERNEL_FUSED, F32, "rows"}), "none");
}

static void more_reports_than_a_path_makes_are_no_path(void **state)
{
    (void)state;
    static const char *const forms[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                        "j", "k", "l", "m", "n", "o", "p", "q"};
    struct path_trace trace = {.op = OP_FFN};
    for (size_t i = 0; i < 16; i++)
        phy_path_trace_ran(&trace, PHY_KERNEL_FUSED, BF16, forms[i]);
    assert_string_equal(phy_path_trace_read(&trace, kernels, sizeof kernels), "full_mmap");
    assert_int_equal(strlen(kernels), sizeof kernels - 1);
    phy_path_trace_ran(&trace, PHY_KERNEL_FUSED, BF16, forms[16]);
    assert_null(phy_path_trace_read(&trace, kernels, sizeof kernels));
}

/* ---- seams ---- */

static const char *take_another(void *user, uint32_t layer, const char *path)
{
    (void)path;
    return layer == 1 ? user : NULL;
}

static void a_route_that_ignores_the_mask_is_seen(void **state)
{
    (void)state;
    static const char *const names[] = {"exact", "full_mmap", "interleaved", "sparse"};
    struct phy_host host;
    struct phy_model *model = tiny("gemma3", &host);
    float x[3 * 64], y[3 * 64], expected[3 * 64];
    for (size_t i = 0; i < 3 * 64; i++)
        x[i] = gaussian();
    for (size_t a = 0; a < 4; a++) {
        for (size_t b = 0; b < 4; b++) {
            struct steps steps = {0};
            struct phy_ffn *ffn = path_named(model, NULL, names[a]), *other = path_named(model, NULL, names[b]);
            const struct phy_path_seam seam = {.reroute = take_another, .user = (void *)(uintptr_t)names[b]};
            phy_ffn_trace(ffn, keep_step, &steps);
            phy_ffn_set_seam(ffn, &seam);
            for (uint32_t layer = 0; layer < 3; layer++)
                assert_int_equal(ffn->ops->forward(ffn, layer, x, 3, y), PHY_OK);
            assert_string_equal(steps.step[0].path, names[a]);
            assert_string_equal(steps.step[1].path, names[b]);
            assert_string_equal(steps.step[2].path, names[a]);
            /* It is not only called so. */
            assert_int_equal(ffn->ops->forward(ffn, 1, x, 3, y), PHY_OK);
            assert_int_equal(other->ops->forward(other, 1, x, 3, expected), PHY_OK);
            assert_memory_equal(y, expected, sizeof y);
            phy_ffn_destroy(&ffn);
            phy_ffn_destroy(&other);
        }
    }
    phy_model_close(&model);
}

static void spoil(void *user, uint32_t layer, size_t count, size_t hidden, float *y)
{
    (void)user;
    y[count * hidden - 1] += layer == 0;
}

static bool answer_seven(void *user, uint32_t layer, const float *x, size_t count, size_t hidden, float *y)
{
    (void)user;
    (void)x;
    for (size_t i = 0; i < count * hidden; i++)
        y[i] = 7;
    return layer == 1;
}

static void what_no_kernel_computed_is_no_path(void **state)
{
    (void)state;
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    struct phy_ffn *ffn = path_named(model, NULL, "full_mmap");
    struct steps steps = {0};
    float x[64] = {1, 2, 3}, y[64], spoilt[64];
    phy_ffn_trace(ffn, keep_step, &steps);
    assert_int_equal(ffn->ops->forward(ffn, 0, x, 1, y), PHY_OK);
    phy_ffn_set_seam(ffn, &(struct phy_path_seam){.tamper = spoil});
    assert_int_equal(ffn->ops->forward(ffn, 0, x, 1, spoilt), PHY_OK);
    assert_memory_equal(y, spoilt, 63 * sizeof *y);
    assert_true(spoilt[63] == y[63] + 1);
    assert_string_equal(steps.step[1].path, "full_mmap");
    phy_ffn_set_seam(ffn, &(struct phy_path_seam){.replace = answer_seven});
    assert_int_equal(ffn->ops->forward(ffn, 1, x, 1, y), PHY_OK);
    assert_true(y[0] == 7 && y[63] == 7);
    assert_null(steps.step[2].path);
    assert_string_equal(steps.step[2].kernels, "");
    phy_ffn_set_seam(ffn, NULL);
    assert_int_equal(ffn->ops->forward(ffn, 1, x, 1, y), PHY_OK);
    assert_string_equal(steps.step[3].path, "full_mmap");
    phy_ffn_destroy(&ffn);
    assert_null(ffn);
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
}

/* ---- a device that has little room, and that is lost ---- */

struct frail {
    struct phy_matmul_backend base;
    struct phy_matmul_backend *real;
    const struct phy_host *host;
    size_t room;         /* matrices */
    unsigned calls_left; /* products before it is lost */
};

static enum phy_status frail_load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices, size_t count)
{
    struct frail *f = (struct frail *)backend;
    if (f->calls_left == 0)
        return phy_fail(f->host, PHY_ERR_DEVICE, "device frail:0: was lost");
    if (count > f->room)
        return phy_fail(f->host, PHY_ERR_MEMORY, "out of memory: %zu matrices, device frail:0 has room for %zu", count,
                        f->room);
    f->room -= count;
    return f->real->ops->load(f->real, matrices, count);
}

static bool frail_offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel,
                         enum phy_weight_type type)
{
    const struct frail *f = (const struct frail *)backend;
    return f->real->ops->offers(f->real, kernel, type);
}

static enum phy_status frail_multiply(struct phy_matmul_backend *backend, const struct phy_product *products,
                                      size_t product_count, const float *x, size_t count)
{
    struct frail *f = (struct frail *)backend;
    if (f->calls_left == 0)
        return phy_fail(f->host, PHY_ERR_DEVICE, "device frail:0: was lost");
    f->calls_left--;
    for (size_t i = 0; i < product_count; i++)
        phy_kernel_ran(backend, products[i].kernel, products[i].w->type, "frail");
    return f->real->ops->multiply(f->real, products, product_count, x, count);
}

static void frail_destroy(struct phy_matmul_backend *backend)
{
    struct frail *f = (struct frail *)backend;
    phy_matmul_backend_destroy(&f->real);
    free(f);
}

static struct phy_matmul_backend *frail_in_place_of(struct phy_matmul_backend *real, const struct phy_host *host,
                                                    size_t room, unsigned calls)
{
    static const struct phy_matmul_backend_ops ops = {
        .load = frail_load, .offers = frail_offers, .multiply = frail_multiply, .destroy = frail_destroy};
    struct frail *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *f = (struct frail){.base = {.ops = &ops, .name = "frail:0", .ran = real->ran, .ran_user = real->ran_user},
                        .real = real,
                        .host = host,
                        .room = room,
                        .calls_left = calls};
    return &f->base;
}

/* The path's device becomes one that is no CPU; its layers are placed again. */
static enum phy_status make_frail(struct phy_ffn *ffn, size_t room, unsigned calls, bool fallback, uint64_t memory)
{
    struct path *path = (struct path *)ffn;
    path->device = frail_in_place_of(path->device, &path->held.host, room, calls);
    path->device->ran_user = &path->trace;
    path->device_is_cpu = false;
    path->fallback_cpu = fallback;
    return phy_path_place_layers(path, memory);
}

static void a_device_too_small_for_the_model_still_takes_layers_of_a_path(void **state)
{
    (void)state;
    static const struct {
        bool elsewhere;
        unsigned calls;
        enum phy_status status;
    } cases[] = {{true, 100, PHY_OK}, {false, 100, PHY_ERR_MEMORY}, {true, 0, PHY_ERR_DEVICE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_host host;
        struct phy_model *model = tiny("gemma3", &host);
        model->matmul = frail_in_place_of(model->matmul, &model->held.host, 3, cases[i].calls);
        model->ffn_elsewhere = cases[i].elsewhere;
        assert_int_equal(phy_model_load_device(model), cases[i].status);
        assert_int_equal(record.errors, cases[i].status != PHY_OK);
        assert_int_equal(record.warnings, cases[i].status == PHY_OK);
        assert_string_equal(cases[i].status ? "frail:0" : model->device_name, model->matmul->name);
        if (cases[i].status == PHY_OK)
            assert_non_null(strstr(record.warning, "device frail:0 has room for 3; cpu:"));
        phy_model_close(&model);
    }
}

static void a_device_that_is_full_leaves_the_rest_to_the_cpu(void **state)
{
    (void)state;
    static const struct {
        size_t room;
        uint32_t layers;
    } cases[] = {{0, 0}, {2, 0}, {3, 1}, {5, 1}, {11, 3}, {12, 4}};
    struct phy_host host;
    struct phy_model *model = tiny("gemma3", &host);
    float x[64] = {1, 2, 3}, y[64], expected[64];
    struct phy_ffn *whole = path_named(model, NULL, "full_mmap");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_ffn *ffn = path_named(model, NULL, "full_mmap");
        struct phy_ffn_info info;
        struct steps steps = {0};
        record.errors = record.warnings = 0;
        assert_int_equal(make_frail(ffn, cases[i].room, 1000, false, 0), PHY_OK);
        phy_ffn_describe(ffn, &info);
        assert_int_equal(info.device_layers, cases[i].layers);
        assert_int_equal(record.errors, 0);
        assert_int_equal(record.warnings, cases[i].layers < 4);
        assert_true(cases[i].layers == 4 || (strstr(record.warning, "device frail:0 has room") &&
                                             strstr(record.warning, "of 4 layers are on the device")));
        phy_ffn_trace(ffn, keep_step, &steps);
        for (uint32_t layer = 0; layer < 4; layer++) {
            assert_int_equal(ffn->ops->forward(ffn, layer, x, 1, y), PHY_OK);
            assert_int_equal(whole->ops->forward(whole, layer, x, 1, expected), PHY_OK);
            assert_true(relative_l2(y, expected, 64) <= 1e-6);
            assert_string_equal(steps.step[layer].path, "full_mmap");
            assert_true((strncmp(steps.step[layer].device, "frail", 5) == 0) == (layer < cases[i].layers));
        }
        phy_ffn_destroy(&ffn);
    }
    phy_ffn_destroy(&whole);
    phy_model_close(&model);
}

static void a_device_that_is_lost_hands_over_where_that_is_allowed(void **state)
{
    (void)state;
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    float x[64] = {1, 2, 3}, y[64];
    for (unsigned calls = 0; calls <= 4; calls++) {
        struct phy_ffn *ffn = path_named(model, NULL, "interleaved");
        struct phy_ffn_info info;
        struct steps steps = {0};
        record.errors = record.warnings = 0;
        assert_int_equal(make_frail(ffn, 100, calls, true, 0), PHY_OK);
        phy_ffn_trace(ffn, keep_step, &steps);
        for (uint32_t layer = 0; layer < 2; layer++)
            assert_int_equal(ffn->ops->forward(ffn, layer, x, 1, y), PHY_OK);
        phy_ffn_describe(ffn, &info);
        assert_int_equal(record.errors, 0);
        assert_int_equal(record.warnings, calls < 4);
        assert_int_equal(info.device_layers, calls < 4 ? 0 : 2);
        /* Nothing of the half that the device did is left in the trace. */
        for (uint32_t layer = 0; layer < 2; layer++) {
            const bool on_device = calls >= 2 * (layer + 1);
            assert_string_equal(steps.step[layer].path, "interleaved");
            assert_true(!strstr(steps.step[layer].kernels, "frail") == !on_device);
        }
        phy_ffn_destroy(&ffn);
        if (calls == 0)
            continue;
        ffn = path_named(model, NULL, "interleaved");
        record.errors = record.warnings = 0;
        assert_int_equal(make_frail(ffn, 100, calls, false, 0), PHY_OK);
        enum phy_status status = ffn->ops->forward(ffn, 0, x, 1, y);
        if (status == PHY_OK)
            status = ffn->ops->forward(ffn, 1, x, 1, y);
        assert_int_equal(status, calls < 4 ? PHY_ERR_DEVICE : PHY_OK);
        assert_int_equal(record.errors, calls < 4);
        assert_int_equal(record.warnings, 0);
        phy_ffn_destroy(&ffn);
    }
    /* Lost while it loads. */
    struct phy_ffn *ffn = path_named(model, NULL, "interleaved");
    record.errors = record.warnings = 0;
    assert_int_equal(make_frail(ffn, 100, 0, false, 0), PHY_ERR_DEVICE);
    assert_int_equal(record.errors, 1);
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
}

/* ---- stores ---- */

static struct phy_ffn_store *quantized(const char *donor, const char *scheme, const struct phy_quantize_params *more)
{
    char directory[PATH_MAX], name[64];
    struct phy_ffn_store *store;
    struct phy_host host = recording_host(&record);
    struct phy_quantize_params params = more ? *more : (struct phy_quantize_params){0};
    snprintf(directory, sizeof directory, "%s", tiny_path(donor, NULL));
    snprintf(name, sizeof name, "%s-%s", donor, scheme);
    params.donor = directory;
    params.output = name;
    params.scheme = scheme;
    params.threads = 1;
    params.force = true;
    params.host = &host;
    if (phy_quantize_run(&params, NULL) != PHY_OK || phy_ffn_store_open(&store, name, NULL) != PHY_OK)
        fail_msg("%s", record.error);
    return store;
}

static void layers_that_a_store_lacks_run_the_models_own(void **state)
{
    (void)state;
    struct phy_ffn_store *store = quantized(
        "gemma3", "q8_0", &(struct phy_quantize_params){.has_layers = true, .layer_first = 1, .layer_last = 2});
    struct phy_host host;
    struct phy_model *model = tiny("gemma3", &host);
    struct phy_ffn *ffn;
    struct phy_ffn_info info;
    struct steps steps = {0};
    char reason[256];
    float x[64] = {1}, y[64];
    assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.store = store}), PHY_OK);
    phy_ffn_describe(ffn, &info);
    assert_string_equal(info.path, "interleaved_q8_0");
    assert_string_equal(info.bucket, "quantised");
    assert_int_equal(record.notes, 1);
    assert_string_equal(record.note,
                        "2 of 4 layers are not stored: they run the donor's own matrices by path full_mmap");
    assert_int_equal(info.path_layers, 2);
    phy_ffn_trace(ffn, keep_step, &steps);
    for (uint32_t layer = 0; layer < 4; layer++) {
        assert_int_equal(ffn->ops->forward(ffn, layer, x, 1, y), PHY_OK);
        assert_string_equal(steps.step[layer].path, layer % 3 ? "interleaved_q8_0" : "full_mmap");
    }
    phy_ffn_destroy(&ffn);
    /* Whoever asks for one path gets it in all layers, or a sentence. */
    assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.store = store, .path = "interleaved_q8_0"}),
                     PHY_ERR_UNSUPPORTED);
    assert_null(ffn);
    assert_int_equal(record.errors, 1);
    assert_string_equal(record.error, "gemma3-q8_0: layer 0 is not stored, and path interleaved_q8_0 asks for it");
    assert_false(path_offered("interleaved_q8_0", model, store, "cpu", reason, sizeof reason));
    phy_model_close(&model);
    phy_ffn_store_close(&store);
}

static void layers_that_a_store_lacks_are_told_where_both_take_one_path(void **state)
{
    (void)state;
    struct phy_ffn_store *store = quantized(
        "gemma3", "f32", &(struct phy_quantize_params){.has_layers = true, .layer_first = 3, .layer_last = 3});
    struct phy_host host;
    struct phy_model *model = tiny("gemma3", &host);
    struct phy_ffn *ffn;
    struct phy_ffn_info info;
    assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.store = store}), PHY_OK);
    phy_ffn_describe(ffn, &info);
    assert_string_equal(info.path, "full_mmap");
    assert_true(info.path_layers == 1 && info.device_layers == 4);
    assert_int_equal(record.notes, 1);
    assert_string_equal(record.note,
                        "3 of 4 layers are not stored: they run the donor's own matrices by path full_mmap");
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
    phy_ffn_store_close(&store);
    ffn = path_named(model = tiny("gemma3", &host), NULL, "interleaved");
    phy_ffn_describe(ffn, &info);
    assert_int_equal(info.path_layers, 4);
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
}

static void a_store_of_another_model_is_refused(void **state)
{
    (void)state;
    struct phy_ffn_store *store = quantized("qwen2", "q8_0", NULL);
    struct phy_host host;
    struct phy_ffn *ffn;
    struct phy_model *same = tiny("qwen2", &host);
    assert_int_equal(phy_ffn_create(&ffn, same, &(struct phy_ffn_params){.store = store}), PHY_OK);
    phy_ffn_destroy(&ffn);
    phy_model_close(&same);
    /* Of the same shape. */
    struct phy_model *other = tiny("llama3", &host);
    assert_int_equal(phy_ffn_create(&ffn, other, &(struct phy_ffn_params){.store = store}), PHY_ERR_MISMATCH);
    assert_null(ffn);
    assert_int_equal(record.errors, 1);
    assert_non_null(strstr(record.error, "qwen2-q8_0: it was made of another model: layer 0's gate of "));
    assert_int_equal(phy_ffn_create(&ffn, other, &(struct phy_ffn_params){.store = store, .trust = true}), PHY_OK);
    phy_ffn_destroy(&ffn);
    phy_model_close(&other);
    /* Of another: no trust helps. */
    other = tiny("gemma3", &host);
    assert_int_equal(phy_ffn_create(&ffn, other, &(struct phy_ffn_params){.store = store, .trust = true}),
                     PHY_ERR_MISMATCH);
    assert_non_null(strstr(record.error, "2 layers of 176 x 64 were stored"));
    phy_model_close(&other);
    phy_ffn_store_close(&store);
}

static void what_a_store_does_not_hold_is_refused_with_its_formats(void **state)
{
    (void)state;
    struct phy_ffn_store *store = quantized("qwen2", "q6_k", NULL);
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    for (const char *const *name = phy_ffn_path_names(); *name; name++) {
        struct phy_ffn *ffn;
        char reason[256];
        const bool offered = strcmp(*name, "interleaved_q6_K") == 0;
        record.errors = 0;
        assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.store = store, .path = *name}),
                         offered ? PHY_OK : PHY_ERR_UNSUPPORTED);
        assert_int_equal(record.errors, !offered);
        assert_true(offered || strstr(record.error, "is not made of gate q6_K, up q6_K and down q6_K"));
        assert_true(path_offered(*name, model, store, "cpu", reason, sizeof reason) == offered);
        phy_ffn_destroy(&ffn);
    }
    phy_model_close(&model);
    phy_ffn_store_close(&store);
}

static void a_store_that_is_cut_short_meanwhile_ends_the_call(void **state)
{
    (void)state;
    struct phy_ffn_store *store = quantized("qwen2", "q4_0", NULL);
    struct phy_ffn_matrix_info matrix;
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    struct phy_ffn *ffn = path_named(model, store, "interleaved_q4_0");
    char file[PATH_MAX];
    float x[64] = {1}, y[64];
    assert_int_equal(ffn->ops->forward(ffn, 0, x, 1, y), PHY_OK);
    phy_ffn_store_matrix(store, 0, &matrix);
    snprintf(file, sizeof file, "qwen2-q4_0/%s", matrix.file);
    assert_int_equal(truncate(file, 0), 0);
    assert_int_equal(ffn->ops->forward(ffn, 0, x, 1, y), PHY_ERR_IO);
    assert_int_equal(record.errors, 1);
    assert_non_null(strstr(record.error, "qwen2-q4_0: became shorter"));
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
    phy_ffn_store_close(&store);
}

/* ---- parameters ---- */

static void parameters_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct phy_ffn_params params;
        enum phy_status status;
        const char *sentence;
    } cases[] = {
        {{.path = "fastest"}, PHY_ERR_USAGE, "path \"fastest\": there is none of that name"},
        {{.path = "sparse", .top_k = 177}, PHY_ERR_USAGE, "has 176"},
        {{.path = "interleaved", .top_k = 10}, PHY_ERR_USAGE, "path interleaved computes every feature"},
        {{.device = "cpu", .device_memory = 1 << 20}, PHY_ERR_USAGE, "it has no memory of its own"},
        {{.device = "cpu:nine"}, PHY_ERR_USAGE, "not one of cpu:ref"},
        {{.device = "all"}, PHY_ERR_USAGE, "runs on one of"},
        {{.path = "mxfp4_storage"}, PHY_ERR_UNSUPPORTED, "is not made of gate bf16"},
    };
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_ffn *ffn = (void *)&record;
        record.errors = 0;
        assert_int_equal(phy_ffn_create(&ffn, model, &cases[i].params), cases[i].status);
        assert_null(ffn);
        if (record.errors != 1 || !strstr(record.error, cases[i].sentence))
            fail_msg("%u lines: %s", record.errors, record.error);
    }
    phy_model_close(&model);
}

static void a_session_without_the_path_that_was_promised_is_refused(void **state)
{
    (void)state;
    struct phy_host host = recording_host(&record);
    struct phy_model *model;
    struct phy_session *session;
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", tiny_path("qwen2", NULL));
    assert_int_equal(
        phy_model_open(&model, directory, &(struct phy_model_params){.ffn_elsewhere = true, .host = &host}), PHY_OK);
    assert_int_equal(phy_session_create(&session, model, 8), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "left to a path"));
    struct phy_ffn *ffn = path_named(model, NULL, NULL);
    struct phy_ffn_info info;
    phy_ffn_describe(ffn, &info);
    assert_string_equal(info.path, "full_mmap");
    phy_model_set_ffn(model, ffn);
    session = open_session(model, 8);
    phy_session_destroy(&session);
    phy_ffn_destroy(&ffn);
    phy_model_close(&model);
}

static float *some_biases(size_t count)
{
    float *out = phy_alloc(count, sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = gaussian();
    return out;
}

static void biases_are_added_or_refused(void **state)
{
    (void)state;
    struct phy_host host;
    struct phy_model *model = tiny("llama3", &host);
    struct phy_layer *l = &model->layers[0];
    float x[12 * 64], y[12 * 64], expected[12 * 64];
    for (size_t i = 0; i < 12 * 64; i++)
        x[i] = gaussian();
    struct phy_ffn *dense = phy_ffn_dense_create(model, 12);
    for (int which = 0; which < 3; which++) {
        *(which == 0 ? &l->up_bias : which == 1 ? &l->gate_bias : &l->down_bias) = some_biases(which == 2 ? 64 : 176);
        assert_int_equal(dense->ops->forward(dense, 0, x, 12, expected), PHY_OK);
        for (const char *const *name = phy_ffn_path_names(); strncmp(*name, "interleaved_", 12) != 0; name++) {
            struct phy_ffn *ffn;
            const bool walk = strcmp(*name, "exact") == 0 || strcmp(*name, "sparse") == 0;
            assert_int_equal(phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.path = *name}),
                             walk ? PHY_ERR_UNSUPPORTED : PHY_OK);
            if (walk) {
                assert_non_null(strstr(record.error, "its FFN has biases"));
                continue;
            }
            assert_int_equal(ffn->ops->forward(ffn, 0, x, 12, y), PHY_OK);
            const bool rounded = strstr(*name, ":bf16") != NULL;
            assert_true(worst_relative_l2(y, expected, 12, 64) <= (rounded ? 1e-2 : 1e-6));
            phy_ffn_destroy(&ffn);
        }
    }
    dense->ops->destroy(dense);
    phy_model_close(&model);
}

static void see_down(void *user, enum phy_input input, uint32_t layer, const float *v, size_t count, size_t width)
{
    (void)layer;
    if (input == PHY_INPUT_DOWN)
        memcpy(user, v, count * width * sizeof *v);
}

static void an_observer_sees_the_input_of_down(void **state)
{
    (void)state;
    static const char *const names[] = {"full_mmap", "interleaved"};
    static float seen[5 * 176], expected[5 * 176];
    struct phy_host host;
    struct phy_model *model = tiny("gemma3", &host);
    float x[5 * 64], y[5 * 64];
    for (size_t i = 0; i < 5 * 64; i++)
        x[i] = gaussian();
    struct phy_ffn *dense = phy_ffn_dense_create(model, 5);
    dense->observer = &(struct phy_observer){see_down, expected};
    assert_int_equal(dense->ops->forward(dense, 2, x, 5, y), PHY_OK);
    for (size_t i = 0; i < 2; i++) {
        struct phy_ffn *ffn = path_named(model, NULL, names[i]);
        memset(seen, 0xFF, sizeof seen);
        ffn->observer = &(struct phy_observer){see_down, seen};
        assert_int_equal(ffn->ops->forward(ffn, 2, x, 5, y), PHY_OK);
        assert_true(worst_relative_l2(seen, expected, 5, 176) <= 1e-6);
        phy_ffn_destroy(&ffn);
    }
    dense->ops->destroy(dense);
    phy_model_close(&model);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const names[] = {"exact", "full_mmap", "interleaved", "sparse"};
    struct phy_host host;
    struct phy_model *model = tiny("qwen2", &host);
    for (size_t i = 0; i < 4; i++) {
        enum phy_status status = PHY_ERR_MEMORY;
        for (uint64_t after = 0; status != PHY_OK; after++) {
            struct phy_ffn *ffn = NULL;
            record.errors = 0;
            phy_alloc_fail_after(after);
            status = phy_ffn_create(&ffn, model, &(struct phy_ffn_params){.path = names[i]});
            phy_alloc_fail_after(UINT64_MAX);
            assert_true(status == PHY_OK || status == PHY_ERR_MEMORY);
            assert_int_equal(record.errors, status != PHY_OK);
            assert_true((status == PHY_OK) == (ffn != NULL));
            assert_true(after < 200);
            phy_ffn_destroy(&ffn);
        }
    }
    phy_model_close(&model);
}

int main(void)
{
    parity_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_a_row_of_the_table),
        cmocka_unit_test(the_router_takes_the_best_that_is_offered),
        cmocka_unit_test(exactly_the_paths_of_a_layers_formats_are_offered),
        cmocka_unit_test(a_source_without_a_path_is_told_what_it_lacks),
        cmocka_unit_test(every_scheme_has_a_path_in_its_own_layout),
        cmocka_unit_test(a_mask_makes_the_router_take_what_is_forced),
        cmocka_unit_test(what_a_device_has_no_kernel_for_is_not_taken),
        cmocka_unit_test(the_largest_features_come_in_ascending_order),
        cmocka_unit_test(a_trace_is_read_from_what_ran),
        cmocka_unit_test(more_reports_than_a_path_makes_are_no_path),
        cmocka_unit_test(a_route_that_ignores_the_mask_is_seen),
        cmocka_unit_test(what_no_kernel_computed_is_no_path),
        cmocka_unit_test(a_device_too_small_for_the_model_still_takes_layers_of_a_path),
        cmocka_unit_test(a_device_that_is_full_leaves_the_rest_to_the_cpu),
        cmocka_unit_test(a_device_that_is_lost_hands_over_where_that_is_allowed),
        cmocka_unit_test_setup_teardown(layers_that_a_store_lacks_run_the_models_own, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(layers_that_a_store_lacks_are_told_where_both_take_one_path, scratch_begin,
                                        scratch_end),
        cmocka_unit_test_setup_teardown(a_store_of_another_model_is_refused, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(what_a_store_does_not_hold_is_refused_with_its_formats, scratch_begin,
                                        scratch_end),
        cmocka_unit_test_setup_teardown(a_store_that_is_cut_short_meanwhile_ends_the_call, scratch_begin, scratch_end),
        cmocka_unit_test(parameters_that_make_no_sense_are_refused),
        cmocka_unit_test(a_session_without_the_path_that_was_promised_is_refused),
        cmocka_unit_test(biases_are_added_or_refused),
        cmocka_unit_test(an_observer_sees_the_input_of_down),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
