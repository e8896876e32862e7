/* SPDX-License-Identifier: Apache-2.0 */
/* Globs and the choice of targets. The checkpoint is a table in this file: what the choice asks of one is its tensors'
 * names, types and shapes. */
#include "support/test.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "physarium/targets.h"
#include "surgery/glob.h"

/* ---- a checkpoint made by hand ---- */

struct phy_checkpoint {
    const struct phy_tensor_info *tensors;
    size_t count;
    enum phy_container container;
};

enum phy_container phy_checkpoint_container(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->container;
}

size_t phy_checkpoint_tensor_count(const struct phy_checkpoint *checkpoint)
{
    return checkpoint->count;
}

void phy_checkpoint_tensor(const struct phy_checkpoint *checkpoint, size_t index, struct phy_tensor_info *out)
{
    *out = checkpoint->tensors[index];
}

static const uint64_t shape_2d[] = {8, 16}, shape_1d[] = {8}, shape_3d[] = {4, 8, 16}, shape_empty[] = {0, 16};

#define TENSOR(text, type, dims)                                                                                       \
    {                                                                                                                  \
        .name = text, .name_bytes = sizeof(text) - 1, .dtype = type, .dim_count = sizeof dims / sizeof *dims,          \
        .shape = dims                                                                                                  \
    }
#define CHECKPOINT(table)                                                                                              \
    {                                                                                                                  \
        .tensors = table, .count = sizeof table / sizeof *table                                                        \
    }

static struct log_record record;

static enum phy_status choose(struct phy_target_list *out, const struct phy_checkpoint *checkpoint,
                              const struct phy_target_params *params)
{
    struct phy_host host = recording_host(&record);
    return phy_targets_choose(out, checkpoint, params, &host);
}

/* ---- globs ---- */

static bool glob(const char *pattern, const char *text)
{
    return phy_glob_match(pattern, text, strlen(text));
}

static void matches_stars_marks_and_sets(void **state)
{
    (void)state;
    assert_true(glob("*", ""));
    assert_true(glob("", ""));
    assert_false(glob("", "a"));
    assert_false(glob("?", ""));
    assert_true(glob("a*c", "abbbc"));
    assert_false(glob("a*c", "abbbcd"));
    assert_true(glob("*.weight", "model.layers.0.mlp.up_proj.weight"));
    assert_true(glob("*layers.[0-9].*", "layers.7.x"));
    assert_false(glob("*layers.[0-9].*", "layers.17.x"));
    assert_true(glob("[!a-c]", "d"));
    assert_false(glob("[^a-c]", "b"));
    assert_true(glob("[]]", "]"));
    assert_true(glob("[]-]", "-"));
    assert_true(glob("[a-]", "-"));
    assert_true(glob("[*]", "*"));
    assert_false(glob("[*]", "x"));
    assert_true(glob("a[", "a["));
    assert_true(glob("[!", "[!"));
    assert_true(glob("*ab*ab*", "aabb-ab-aab"));
    assert_true(glob("?\xff", "\xc3\xff"));
    assert_true(phy_glob_match("a?b", "a\0b", 3));
}

static void hostile_globs_take_no_exponential_time(void **state)
{
    (void)state;
    enum { STARS = 400, TEXT = 20000 };
    char pattern[2 * STARS + 2], *text = malloc(TEXT + 1);
    for (int i = 0; i < STARS; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    memcpy(pattern + 2 * STARS, "b", 2);
    memset(text, 'a', TEXT);
    text[TEXT] = 0;
    clock_t started = clock();
    assert_false(glob(pattern, text));
    pattern[2 * STARS] = 0;
    assert_true(glob(pattern, text));
    memset(pattern, '*', 2 * STARS);
    assert_true(glob(pattern, text));
    /* 800 x 20000 steps take milliseconds; an exponential matcher never comes back. */
    assert_true(clock() - started < 5 * CLOCKS_PER_SEC);
    free(text);
}

/* ---- the choice ---- */

static void takes_the_seven_projections_under_any_prefix(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("layers.0.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.self_attn.k_proj.weight", "F16", shape_2d),
        TENSOR("model.language_model.layers.12.mlp.down_proj.weight", "F32", shape_2d),
        TENSOR("model.embed_tokens.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.input_layernorm.weight", "BF16", shape_1d),
        TENSOR("model.layers.1.self_attn.q_proj.bias", "BF16", shape_1d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_OK);
    assert_int_equal(record.warnings, 0);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.elements, 3 * 128);
    assert_int_equal(list.targets[2].tensor, 2);
    assert_int_equal(list.targets[2].layer, 12);
    assert_string_equal(list.targets[2].projection, "mlp.down_proj");
    phy_target_list_free(&list);
    phy_target_list_free(&list);
}

static void layers_must_be_a_whole_component(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("model.xlayers.0.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.x.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers..self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.0.x_self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.0.self_attn.q_proj.weight.x", "BF16", shape_2d),
        TENSOR("model.layers.99999999999.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR(".weight", "BF16", shape_2d),
        TENSOR("", "BF16", shape_2d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_int_equal(record.errors, 1);
    assert_int_equal(list.count, 0);
    assert_null(list.targets);
}

static void globs_and_layers_narrow_the_choice(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("model.layers.0.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.self_attn.q_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.mlp.up_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.2.mlp.up_proj.weight", "BF16", shape_2d),
        TENSOR("lm_head.weight", "BF16", shape_2d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    struct phy_target_params params = {.has_layers = true,
                                       .first_layer = 1,
                                       .last_layer = 2,
                                       .exclude = (const char *[]){"*q_proj*"},
                                       .exclude_count = 1};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.targets[0].tensor, 2);
    phy_target_list_free(&list);

    params =
        (struct phy_target_params){.include = (const char *[]){"lm_head.*", "*.2.*", "no such"}, .include_count = 3};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.targets[1].layer, PHY_NO_LAYER);
    assert_string_equal(list.targets[1].projection, "lm_head");
    assert_int_equal(record.warnings, 1);
    assert_string_equal(record.warning, "--include \"no such\" matches no tensor");
    phy_target_list_free(&list);

    params = (struct phy_target_params){.has_layers = true, .first_layer = 7, .last_layer = 9};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_ERR_USAGE);
    assert_string_equal(record.error, "no target: none of 4 named tensors is in layers 7 to 9");
    params = (struct phy_target_params){.has_layers = true, .first_layer = 9, .last_layer = 7};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_ERR_USAGE);
    params = (struct phy_target_params){.exclude = (const char *[]){"*"}, .exclude_count = 1};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_ERR_USAGE);
    params = (struct phy_target_params){.include = (const char *[]){"nothing"}, .include_count = 1};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_ERR_USAGE);
    assert_non_null(strstr(record.error, "--include \"nothing\""));
}

static void fused_projections_get_a_sentence_that_names_them(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("model.layers.0.self_attn.qkv_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.0.mlp.gate_up_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.self_attn.qkv_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.mlp.gate_up_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.0.mlp.experts.gate_up_proj", "BF16", shape_3d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(record.error, "\"model.layers.N.self_attn.qkv_proj.weight\" BF16 [8, 16] x 2"));
    assert_non_null(strstr(record.error, "\"model.layers.N.mlp.experts.gate_up_proj\" BF16 [4, 8, 16] x 1"));
    assert_non_null(strstr(record.error, "--include \"model.layers.*.self_attn.qkv_proj.weight\""));

    struct phy_target_params params = {.include = (const char *[]){"model.layers.*.self_attn.qkv_proj.weight"},
                                       .include_count = 1};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.targets[0].projection, "self_attn.qkv_proj");
    phy_target_list_free(&list);
}

static void names_of_every_family_are_listed(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("transformer.h.0.attn.c_attn.weight", "F32", shape_2d),
        TENSOR("gpt_neox.layers.0.attention.query_key_value.weight", "F16", shape_2d),
        TENSOR("model.layers.0.block_sparse_moe.experts.3.w1.weight", "F16", shape_2d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(record.error, "\"transformer.h.N.attn.c_attn.weight\" F32 [8, 16] x 1"));
    assert_non_null(strstr(record.error, "query_key_value"));
    assert_non_null(strstr(record.error, "experts.N.w1"));
    struct phy_target_params params = {
        .include = (const char *[]){"*.c_attn.weight"}, .include_count = 1, .has_layers = true};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_OK);
    assert_int_equal(list.targets[0].layer, 0);
    assert_string_equal(list.targets[0].projection, "attn.c_attn");
    phy_target_list_free(&list);
}

static void experts_beside_default_names_are_a_warning(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("model.layers.0.mlp.gate_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.mlp.experts.0.gate_proj.weight", "BF16", shape_2d),
        TENSOR("model.layers.1.mlp.experts.1.gate_proj.weight", "BF16", shape_2d),
    };
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(record.warnings, 1);
    assert_non_null(strstr(record.warning, "\"model.layers.N.mlp.experts.N.gate_proj.weight\" BF16 [8, 16] x 2"));
    phy_target_list_free(&list);
}

static void unsuitable_tensors_are_skipped_or_refused(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {
        TENSOR("layers.0.mlp.up_proj.weight", "F8_E4M3", shape_2d),
        TENSOR("layers.1.mlp.up_proj.weight", "BF16", shape_3d),
        TENSOR("layers.2.mlp.up_proj.weight", "BF16", shape_empty),
        TENSOR("layers.3.mlp.up_proj.weight", "BF16", shape_2d),
    };
    struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_OK);
    assert_int_equal(list.count, 1);
    assert_string_equal(record.warning, "3 named tensors cannot be pruned and stay as they are, the first: "
                                        "\"layers.0.mlp.up_proj.weight\" (F8_E4M3 [8, 16]) is not BF16, F16 or F32");
    phy_target_list_free(&list);
    checkpoint.count = 3;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(record.error, "of 3 named tensors none is a 2-D"));
    checkpoint.count = 0;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    checkpoint.container = PHY_CONTAINER_GGUF;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_non_null(strstr(record.error, "import"));
}

/* Ten thousand hostile names: the sentence stays one bounded line and advice stays a glob that matches. */
static void hostile_names_give_one_bounded_line(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct phy_tensor_info *tensors = calloc(COUNT, sizeof *tensors);
    char(*names)[200] = calloc(COUNT, sizeof *names);
    for (size_t i = 0; i < COUNT; i++) {
        int length = snprintf(names[i], sizeof names[i], "layers.1.\x1b[31m\xe2\x80\xae*?[%zu]%0*zu%%s%%n", i,
                              (int)(i % 150), i);
        tensors[i] = (struct phy_tensor_info){
            .name = names[i], .name_bytes = (size_t)length, .dtype = "BF16", .dim_count = 2, .shape = shape_2d};
        if (tensors[i].name_bytes >= sizeof names[i])
            tensors[i].name_bytes = sizeof names[i] - 1;
    }
    const struct phy_checkpoint checkpoint = {.tensors = tensors, .count = COUNT};
    struct phy_target_list list;
    assert_int_equal(choose(&list, &checkpoint, NULL), PHY_ERR_UNSUPPORTED);
    assert_true(strlen(record.error) <= 1023);
    assert_null(strchr(record.error, '\x1b'));
    assert_non_null(strstr(record.error, "more names"));
    assert_non_null(strstr(record.error, "--include \"layers.*.\\u001b[[]31m\\u202e[*][?][[]0]0%s%n\""));
    assert_true(phy_glob_match("layers.*.\x1b[[]31m\xe2\x80\xae[*][?][[]0]0%s%n", names[0], strlen(names[0])));
    struct phy_target_params params = {.include = (const char *[]){"*"}, .include_count = 1};
    assert_int_equal(choose(&list, &checkpoint, &params), PHY_OK);
    assert_int_equal(list.count, COUNT);
    assert_true(strlen(list.targets[149].projection) < 64);
    phy_target_list_free(&list);
    free(names);
    free(tensors);
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    static const struct phy_tensor_info tensors[] = {TENSOR("layers.0.mlp.up_proj.weight", "BF16", shape_2d)};
    const struct phy_checkpoint checkpoint = CHECKPOINT(tensors);
    struct phy_target_list list;
    enum phy_status status = PHY_ERR_MEMORY;
    unsigned after = 0;
    for (; status == PHY_ERR_MEMORY && after < 10; after++) {
        phy_alloc_fail_after(after);
        status = choose(&list, &checkpoint, NULL);
        phy_alloc_fail_after(UINT64_MAX);
        if (status == PHY_ERR_MEMORY)
            assert_null(list.targets);
    }
    assert_int_equal(status, PHY_OK);
    assert_int_equal(after, 4);
    phy_target_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_stars_marks_and_sets),
        cmocka_unit_test(hostile_globs_take_no_exponential_time),
        cmocka_unit_test(takes_the_seven_projections_under_any_prefix),
        cmocka_unit_test(layers_must_be_a_whole_component),
        cmocka_unit_test(globs_and_layers_narrow_the_choice),
        cmocka_unit_test(fused_projections_get_a_sentence_that_names_them),
        cmocka_unit_test(names_of_every_family_are_listed),
        cmocka_unit_test(experts_beside_default_names_are_a_warning),
        cmocka_unit_test(unsuitable_tensors_are_skipped_or_refused),
        cmocka_unit_test(hostile_names_give_one_bounded_line),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests_name("targets", tests, NULL, NULL);
}
