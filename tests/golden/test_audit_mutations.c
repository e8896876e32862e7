/* SPDX-License-Identifier: Apache-2.0 */
/* An audit that cannot fail proves nothing: each of these lies must be caught, and the report must say where and why. A
 * tiny model, honest kernels, and seams that spoil what they gave. */
#include "support/ffn_store_build.h"

#include <cjson/cJSON.h>

#include "audit/audit_parts.h"
#include "audit/metrics.h"

enum { LAYERS = 4, HIDDEN = 64, WIDE = 176, SPOILED = 2 };

static const char model[] = "model";
static char oracle_file[PATH_MAX];

/* ---- the fixture: a model with a tokenizer, and a store of it ---- */

static void copy_tokenizer(const char *to)
{
    size_t bytes;
    char path[PATH_MAX];
    char *text = read_whole(PHY_TEST_DATA "/golden/tokenizer/tiny-gemma3/tokenizer.json", &bytes);
    snprintf(path, sizeof path, "%s/tokenizer.json", to);
    write_file(path, text, bytes);
    free(text);
}

static int begin(void **state)
{
    scratch_begin(state);
    tiny_copy_changed("gemma3", model, "\"hidden_size\": 64", "\"hidden_size\": 64");
    copy_tokenizer(model);
    make_store(model, "q4_k", "q4_k", NULL, 1);
    make_store(model, "f32", "f32", NULL, 1);
    /* Random weights lose more to four bits than those of published models, for which the defaults are. */
    write_text("bounds.json",
               "{\"schema_version\": 1, \"bounds\": [{\"bucket\": \"quantised\", \"cos\": 0.97, "
               "\"rel_l2\": 0.5, \"anchor_dp\": 0.05, \"decoded\": {\"cos\": 0.999999, \"rel_l2\": 1e-5}}]}");
    return 0;
}

static struct phy_audit *audit_with(struct phy_audit_params params, const struct phy_path_seam *seam)
{
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_audit *audit;
    params.donor = params.donor ? params.donor : model;
    params.device = params.device ? params.device : "cpu";
    params.bounds = "bounds.json";
    params.host = &host;
    params.threads = 2;
    if (phy_audit_run_with(&audit, &params, seam) != PHY_OK)
        fail_msg("%s", record.error);
    audit->host = NULL; /* the record does not outlive this call */
    return audit;
}

/* Some cause of the first run holds each of the words. */
static void expect_cause(const struct phy_audit *audit, const char *const words[])
{
    const struct phy_audit_run *run = &audit->record.runs[0];
    assert_false(phy_audit_passed(audit));
    assert_false(run->passed);
    for (size_t w = 0; words[w]; w++) {
        bool found = false;
        for (size_t i = 0; i < run->causes.count; i++)
            found |= strstr(run->causes.lines[i], words[w]) != NULL;
        for (size_t i = 0; !found && i < run->causes.count; i++)
            print_message("cause: %s\n", run->causes.lines[i]);
        if (!found)
            fail_msg("no cause says \"%s\"", words[w]);
    }
}
#define EXPECT_CAUSE(audit, ...) expect_cause(audit, (const char *const[]){__VA_ARGS__, NULL})

/* ---- seams ---- */

struct lie {
    float *gate, *up, *down; /* weights as the lying kernel reads them: (WIDE, HIDDEN) twice, (HIDDEN, WIDE) */
    float x[64 * HIDDEN];
    uint32_t layer; /* UINT32_MAX: every layer */
    float (*spoil)(float right, size_t element);
};

/* Of the layer at work or all. */
static bool lies_in(const struct lie *lie, uint32_t layer)
{
    return lie->layer == UINT32_MAX || lie->layer == layer;
}

static void spoil_outputs(void *user, uint32_t layer, size_t count, size_t hidden, float *y)
{
    const struct lie *lie = user;
    for (size_t i = 0; i < count * hidden && lies_in(lie, layer); i++)
        y[i] = lie->spoil(y[i], i % hidden);
}

static bool keep_input(void *user, uint32_t layer, const float *x, size_t count, size_t hidden, float *y)
{
    struct lie *lie = user;
    (void)layer, (void)y;
    assert_true(count * hidden <= sizeof lie->x / sizeof *lie->x);
    memcpy(lie->x, x, count * hidden * sizeof *x);
    return false; /* the honest kernel runs, and reports itself */
}

/* The layer again with the lying kernel's weights. */
static void compute_again(void *user, uint32_t layer, size_t count, size_t hidden, float *y)
{
    struct lie *lie = user;
    if (!lies_in(lie, layer))
        return;
    assert_int_equal(hidden, HIDDEN);
    for (size_t n = 0; n < count; n++) {
        float *to = y + n * HIDDEN;
        memset(to, 0, HIDDEN * sizeof *to);
        for (size_t i = 0; i < WIDE; i++) {
            double g = 0, u = 0;
            for (size_t k = 0; k < HIDDEN; k++) {
                g += (double)lie->gate[i * HIDDEN + k] * (double)lie->x[n * HIDDEN + k];
                u += (double)lie->up[i * HIDDEN + k] * (double)lie->x[n * HIDDEN + k];
            }
            double act = 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
            for (size_t h = 0; h < HIDDEN; h++)
                to[h] += (float)(act * u * (double)lie->down[h * WIDE + i]);
        }
    }
}

/* A store's layer as floats. */
static void take_layer(struct lie *lie, const struct phy_store_layer *layer)
{
    lie->gate = malloc(WIDE * HIDDEN * sizeof(float));
    lie->up = malloc(WIDE * HIDDEN * sizeof(float));
    lie->down = malloc(WIDE * HIDDEN * sizeof(float));
    for (size_t i = 0; i < WIDE; i++) {
        if (layer->gate_up.data) {
            phy_store_decode_rows(&layer->gate_up, 2 * i, 2 * i + 1, lie->gate + i * HIDDEN);
            phy_store_decode_rows(&layer->gate_up, 2 * i + 1, 2 * i + 2, lie->up + i * HIDDEN);
        } else {
            phy_store_decode_rows(&layer->gate, i, i + 1, lie->gate + i * HIDDEN);
            phy_store_decode_rows(&layer->up, i, i + 1, lie->up + i * HIDDEN);
        }
    }
    phy_store_decode_rows(&layer->down, 0, HIDDEN, lie->down);
}

static struct phy_audit *audit_of_lying_weights(void (*change)(struct lie *))
{
    struct phy_ffn_store *store = open_store("q4_k");
    struct lie *lie = calloc(1, sizeof *lie);
    take_layer(lie, phy_ffn_store_layer(store, SPOILED));
    lie->layer = SPOILED;
    change(lie);
    const struct phy_path_seam seam = {.tamper = compute_again, .replace = keep_input, .user = lie};
    struct phy_audit *audit =
        audit_with((struct phy_audit_params){.store = "q4_k", .paths = "interleaved_q4k:fused"}, &seam);
    phy_ffn_store_close(&store);
    free(lie->gate);
    free(lie->up);
    free(lie->down);
    free(lie);
    return audit;
}

static struct phy_audit *audit_of_spoiled_outputs(float (*spoil)(float, size_t), uint32_t layer)
{
    static struct lie lie;
    lie = (struct lie){.layer = layer, .spoil = spoil};
    const struct phy_path_seam seam = {.tamper = spoil_outputs, .user = &lie};
    return audit_with((struct phy_audit_params){.store = "q4_k", .paths = "interleaved_q4k:fused"}, &seam);
}

/* ---- the truth ---- */

static void honest_paths_pass(void **state)
{
    (void)state;
    static const struct {
        const char *store, *paths;
    } cases[] = {{NULL, NULL}, {"q4_k", "interleaved_q4k:fused,interleaved_q4k:dequant"}, {"f32", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct phy_audit *audit =
            audit_with((struct phy_audit_params){.store = cases[i].store, .paths = cases[i].paths}, NULL);
        for (size_t k = 0; k < audit->record.run_count; k++) {
            const struct phy_audit_run *run = &audit->record.runs[k];
            if (!run->passed)
                fail_msg("%s: %s", run->path, run->causes.count ? run->causes.lines[0] : "?");
            assert_int_equal(run->dispatch_seen, run->dispatch_expected);
            assert_int_equal(run->dispatch_expected, LAYERS * 3);
            assert_true(run->original.count == audit->record.layer_count * audit->record.position_count);
        }
        assert_true(audit->record.run_count >= 2);
        assert_true(phy_audit_passed(audit));
        phy_audit_free(&audit);
    }
}

/* The lying kernel of these tests is right when nothing was changed: what the others catch is the change. */
static void change_nothing(struct lie *lie)
{
    (void)lie;
}
static void the_lying_kernel_is_right_without_a_change(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_lying_weights(change_nothing);
    assert_true(phy_audit_passed(audit));
    phy_audit_free(&audit);
}

/* ---- kernels that lie ---- */

static float last_row_skipped(float right, size_t element)
{
    return element == HIDDEN - 1 ? 0 : right;
}
static void catches_a_skipped_last_row(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_spoiled_outputs(last_row_skipped, SPOILED);
    EXPECT_CAUSE(audit, "in layer 2 alone", "element 63 of 64 alone, 0 where", "decoded weights", "L2/");
    assert_string_equal(audit->record.runs[0].path, "interleaved_q4k:fused");
    phy_audit_free(&audit);
}

/* Beside what rounded activations lose, one element of an output is nothing: it shows over all outputs. */
static void catches_a_skipped_last_row_of_a_rounding_kernel(void **state)
{
    (void)state;
    static struct lie lie;
    const struct phy_audit_params params = {.store = "q4_k", .paths = "interleaved_q4k:int8"};
    const struct phy_path_seam seam = {.tamper = spoil_outputs, .user = &lie};
    struct phy_audit *audit = audit_with(params, NULL);
    /* Random weights lose more than this kernel's defaults allow, but no element is lost. */
    for (size_t i = 0; i < audit->record.runs[0].causes.count; i++)
        assert_null(strstr(audit->record.runs[0].causes.lines[i], "elements are wrong"));
    phy_audit_free(&audit);
    lie = (struct lie){.layer = UINT32_MAX, .spoil = last_row_skipped};
    audit = audit_with(params, &seam);
    EXPECT_CAUSE(audit, "1 of 64 elements are wrong", "element 63", "rel L2 1 ", "decoded weights");
    phy_audit_free(&audit);
}

static float zeros(float right, size_t element)
{
    (void)right, (void)element;
    return 0;
}
static void catches_zeros(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_spoiled_outputs(zeros, SPOILED);
    EXPECT_CAUSE(audit, "the output is zero", "in layer 2 alone");
    phy_audit_free(&audit);
}

static float not_a_number(float right, size_t element)
{
    return element == 17 ? NAN : right;
}
static void catches_nan_and_says_where(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_spoiled_outputs(not_a_number, SPOILED);
    EXPECT_CAUSE(audit, "NaN or infinity at L2/paris/0, element 17 of 64");
    phy_audit_free(&audit);
}

static float twice(float right, size_t element)
{
    (void)element;
    return 2 * right;
}
static void catches_a_wrong_scale(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_spoiled_outputs(twice, SPOILED);
    EXPECT_CAUSE(audit, "the output is 2 times the reference's", "in layer 2 alone");
    phy_audit_free(&audit);
}

static void scale_of_one_block(struct lie *lie)
{
    for (size_t k = 0; k < 32; k++)
        lie->up[5 * HIDDEN + k] *= 1.5f;
}
static void catches_a_wrong_scale_of_one_block(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_lying_weights(scale_of_one_block);
    EXPECT_CAUSE(audit, "decoded weights", "in layer 2 alone");
    phy_audit_free(&audit);
}

static void drop_tail(struct lie *lie)
{
    for (size_t h = 0; h < HIDDEN; h++)
        memset(lie->down + h * WIDE + WIDE - 16, 0, 16 * sizeof(float));
}
static void catches_a_dropped_tail(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_lying_weights(drop_tail);
    EXPECT_CAUSE(audit, "decoded weights", "in layer 2 alone", "spread over all 64");
    phy_audit_free(&audit);
}

static void swap_gate_and_up(struct lie *lie)
{
    float *gate = lie->gate;
    lie->gate = lie->up;
    lie->up = gate;
}
static void catches_gate_and_up_swapped(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_lying_weights(swap_gate_and_up);
    EXPECT_CAUSE(audit, "decoded weights", "in layer 2 alone");
    phy_audit_free(&audit);
}

/* Blocks of 256 over the flat tensor, read as rows of 256: row r begins at r * 256 of the flat values. */
static void pad_the_flat_tensor(struct lie *lie)
{
    float *flat = calloc(WIDE * 256 + HIDDEN, sizeof *flat);
    memcpy(flat, lie->gate, WIDE * HIDDEN * sizeof *flat);
    for (size_t i = 0; i < WIDE; i++)
        memcpy(lie->gate + i * HIDDEN, flat + i * 256, HIDDEN * sizeof *flat);
    free(flat);
}
static void catches_padding_of_the_flat_tensor(void **state)
{
    (void)state;
    struct phy_audit *audit = audit_of_lying_weights(pad_the_flat_tensor);
    EXPECT_CAUSE(audit, "decoded weights", "in layer 2 alone");
    phy_audit_free(&audit);
}

/* ---- routes that lie ---- */

static const char *reroute(void *user, uint32_t layer, const char *path)
{
    (void)user, (void)path;
    return layer == SPOILED ? "full_mmap" : NULL;
}
static void catches_a_router_that_ignores_the_mask(void **state)
{
    (void)state;
    const struct phy_path_seam seam = {.reroute = reroute};
    struct phy_audit *audit =
        audit_with((struct phy_audit_params){.store = "q4_k", .paths = "interleaved_q4k:fused"}, &seam);
    EXPECT_CAUSE(audit, "dispatch: L2, paris: full_mmap ran", "not interleaved_q4k:fused", "9 of 12 calls");
    assert_int_equal(audit->record.runs[0].dispatch_seen, 9);
    phy_audit_free(&audit);
}

/* What it would give is better than what it is asked for: rel L2 alone would praise it. */
static struct phy_model *reference_model;
static bool run_reference(void *user, uint32_t layer, const float *x, size_t count, size_t hidden, float *y)
{
    const struct phy_reference reference = {reference_model->pool, reference_model->config.activation, hidden, WIDE,
                                            NULL};
    const struct phy_reference_layer weights = phy_audit_model_layer(reference_model, layer);
    assert_int_equal(phy_reference_forward(&reference, &weights, x, count, y), PHY_OK);
    return user == NULL;
}
static void catches_a_path_that_is_the_reference(void **state)
{
    (void)state;
    reference_model = open_model(model, "cpu", 1);
    const struct phy_path_seam seam = {.replace = run_reference};
    struct phy_audit *audit = audit_with((struct phy_audit_params){.paths = "full_mmap"}, &seam);
    EXPECT_CAUSE(audit, "no kernel of full_mmap reported", "outputs have the reference's bits",
                 "this is the reference, not a path", "0 of 12 calls");
    assert_true(audit->record.runs[0].original.max_rel_l2 == 0);
    phy_audit_free(&audit);
    phy_model_close(&reference_model);
}

static float *reference_y;
static bool reference_aside(void *user, uint32_t layer, const float *x, size_t count, size_t hidden, float *y)
{
    (void)user, (void)y;
    run_reference(&reference_y, layer, x, count, hidden, reference_y);
    return false;
}
static void take_aside(void *user, uint32_t layer, size_t count, size_t hidden, float *y)
{
    (void)user, (void)layer;
    memcpy(y, reference_y, count * hidden * sizeof *y);
}
static void catches_the_reference_behind_an_honest_trace(void **state)
{
    (void)state;
    reference_model = open_model(model, "cpu", 1);
    reference_y = malloc(256 * HIDDEN * sizeof *reference_y);
    const struct phy_path_seam seam = {.replace = reference_aside, .tamper = take_aside};
    struct phy_audit *audit = audit_with((struct phy_audit_params){.paths = "full_mmap"}, &seam);
    EXPECT_CAUSE(audit, "this is the reference, not a path");
    assert_int_equal(audit->record.runs[0].dispatch_seen, 12);
    phy_audit_free(&audit);
    free(reference_y);
    phy_model_close(&reference_model);
}

/* ---- stores that lie ---- */

static void catches_a_flipped_nibble(void **state)
{
    (void)state;
    make_store(model, "flipped", "q4_k", NULL, 1);
    struct phy_ffn_store *store = open_store("flipped");
    struct phy_ffn_matrix_info info;
    phy_ffn_store_matrix(store, 2, &info);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "flipped/%s", info.file);
    size_t bytes;
    char *data = read_whole(path, &bytes), expected[64];
    data[info.offset + info.bytes / 2] ^= 0x40;
    write_file(path, data, bytes);
    snprintf(expected, sizeof expected, "%s", info.file);
    phy_ffn_store_close(&store);
    struct phy_audit *audit = audit_with((struct phy_audit_params){.store = "flipped"}, NULL);
    assert_false(phy_audit_passed(audit));
    EXPECT_CAUSE(audit, expected);
    print_message("%s: %s\n", audit->record.runs[0].path, audit->record.runs[0].causes.lines[0]);
    phy_audit_free(&audit);
    free(data);
}

static void catches_a_store_cut_short(void **state)
{
    (void)state;
    struct log_record record;
    struct phy_quantize_result result;
    struct phy_quantize_params params = {
        .donor = model, .output = "short", .scheme = "q4_k", .has_layers = true, .layer_first = 0, .layer_last = 1};
    assert_int_equal(quantize_with(params, &record, &result), PHY_OK);
    struct phy_audit *audit = audit_with((struct phy_audit_params){.store = "short"}, NULL);
    EXPECT_CAUSE(audit, "dispatch: layer 2 is not stored (2 of 4 layers are)");
    assert_true(audit->record.run_count >= 2); /* each path fails, none is left out */
    for (size_t i = 0; i < audit->record.run_count; i++)
        assert_false(audit->record.runs[i].passed);
    phy_audit_free(&audit);
}

/* ---- what only the oracle sees ---- */

static bool keep_last(void *user, uint32_t position, const float *logits)
{
    (void)position;
    memcpy(user, logits, TINY_VOCAB * sizeof *logits);
    return true;
}

/* An oracle of the three prompts, of the right model. */
static void write_oracle(void)
{
    struct phy_audit *audit = audit_with((struct phy_audit_params){.paths = "full_mmap"}, NULL);
    struct phy_model *right = open_model(model, "cpu:ref", 1);
    struct phy_text text = {0};
    phy_text_printf(&text, "{\"digest\": \"%s\", \"source\": \"the right model\", \"prompts\": [",
                    audit->record.model_digest);
    for (size_t i = 0; i < audit->record.prompt_count; i++) {
        const struct phy_audit_prompt *p = &audit->record.prompts[i];
        struct phy_session *session = open_session(right, 64);
        float logits[TINY_VOCAB];
        assert_int_equal(phy_session_forward(session, p->ids, p->id_count, UINT32_MAX, keep_last, logits), PHY_OK);
        phy_session_destroy(&session);
        phy_text_printf(&text, "%s{\"name\": \"%s\", \"ids\": [", i ? ", " : "", p->name);
        for (size_t k = 0; k < p->id_count; k++)
            phy_text_printf(&text, "%s%u", k ? ", " : "", p->ids[k]);
        phy_text_printf(&text, "], \"log_sum\": %.9g, \"sample\": [", phy_log_sum(logits, TINY_VOCAB));
        for (size_t k = 0; k < TINY_VOCAB; k++)
            phy_text_printf(&text, "%s[%zu, %.9g]", k ? ", " : "", k, (double)logits[k]);
        phy_text_put(&text, "]}");
    }
    phy_text_put(&text, "]}");
    snprintf(oracle_file, sizeof oracle_file, "oracle.json");
    write_text(oracle_file, text.data);
    phy_text_free(&text);
    phy_model_close(&right);
    phy_audit_free(&audit);
}

static void the_oracle_sees_a_wrong_rope_base(void **state)
{
    (void)state;
    write_oracle();
    struct phy_audit *audit = audit_with((struct phy_audit_params){.paths = "full_mmap", .oracle = oracle_file}, NULL);
    assert_true(audit->record.oracle.present);
    assert_true(audit->record.oracle.passed);
    assert_int_equal(audit->record.oracle.prompt_count, 3);
    assert_true(phy_audit_passed(audit));
    phy_audit_free(&audit);

    tiny_copy_changed("gemma3", "wrong-rope", "\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0");
    copy_tokenizer("wrong-rope");
    audit =
        audit_with((struct phy_audit_params){.donor = "wrong-rope", .paths = "full_mmap", .oracle = oracle_file}, NULL);
    assert_true(audit->record.runs[0].passed); /* path and reference share the error */
    assert_true(audit->record.oracle.present);
    assert_false(audit->record.oracle.passed);
    assert_false(phy_audit_passed(audit));
    assert_non_null(strstr(audit->record.oracle.causes.lines[0], "rope"));
    phy_audit_free(&audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_paths_pass),
        cmocka_unit_test(the_lying_kernel_is_right_without_a_change),
        cmocka_unit_test(catches_a_skipped_last_row),
        cmocka_unit_test(catches_a_skipped_last_row_of_a_rounding_kernel),
        cmocka_unit_test(catches_zeros),
        cmocka_unit_test(catches_nan_and_says_where),
        cmocka_unit_test(catches_a_wrong_scale),
        cmocka_unit_test(catches_a_wrong_scale_of_one_block),
        cmocka_unit_test(catches_a_dropped_tail),
        cmocka_unit_test(catches_gate_and_up_swapped),
        cmocka_unit_test(catches_padding_of_the_flat_tensor),
        cmocka_unit_test(catches_a_router_that_ignores_the_mask),
        cmocka_unit_test(catches_a_path_that_is_the_reference),
        cmocka_unit_test(catches_the_reference_behind_an_honest_trace),
        cmocka_unit_test(catches_a_flipped_nibble),
        cmocka_unit_test(catches_a_store_cut_short),
        cmocka_unit_test(the_oracle_sees_a_wrong_rope_base),
    };
    return cmocka_run_group_tests(tests, begin, scratch_end);
}
