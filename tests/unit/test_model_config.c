/* SPDX-License-Identifier: Apache-2.0 */
/* config.json as files in the wild have it, as they should not, and as nobody would write it by accident. */
#include "support/tiny_model.h"

#include "base/alloc.h"
#include "model/config.h"

#define LLAMA                                                                                                          \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":512,\"hidden_size\":64,"        \
    "\"intermediate_size\":176,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2,"           \
    "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\",\"bos_token_id\":1,"               \
    "\"eos_token_id\":2,\"tie_word_embeddings\":false"

#define GEMMA                                                                                                          \
    "{\"architectures\":[\"Gemma3ForCausalLM\"],\"model_type\":\"gemma3_text\",\"vocab_size\":512,"                    \
    "\"hidden_size\":64,\"intermediate_size\":176,\"num_hidden_layers\":4,\"num_attention_heads\":4,"                  \
    "\"num_key_value_heads\":2,\"head_dim\":24,\"max_position_embeddings\":256,\"sliding_window\":8"

static struct log_record record;

static enum phy_status parse(struct phy_model_config *c, const char *text)
{
    struct phy_host host = recording_host(&record);
    size_t bytes = strlen(text);
    char *exact = malloc(bytes); /* no terminator: nothing beyond may be read */
    memcpy(exact, text, bytes);
    enum phy_status status = phy_model_config_parse(c, exact, bytes, "config.json", &host);
    free(exact);
    assert_int_equal(record.errors, status != PHY_OK);
    return status;
}

static struct phy_model_config accepted(const char *text)
{
    struct phy_model_config c;
    if (parse(&c, text) != PHY_OK)
        fail_msg("%s\n%s", text, record.error);
    return c;
}

/* The text is refused with that status, by a sentence that begins with the file and holds `words`. */
static void refused(const char *text, enum phy_status status, const char *words)
{
    struct phy_model_config c;
    enum phy_status got = parse(&c, text);
    if (got != status || !strstr(record.error, words) || strncmp(record.error, "config.json: ", 13) != 0)
        fail_msg("%.400s\nstatus %d, expected %d: \"%s\", expected \"%s\"", text, got, status, record.error, words);
}

/* The base with `old` replaced. */
static void refused_with(const char *base, const char *old, const char *new, enum phy_status status, const char *words)
{
    char *text = replaced(base, old, new);
    refused(text, status, words);
    free(text);
}

/* ---- what is accepted ---- */

static void reads_every_field_of_a_llama(void **state)
{
    struct phy_model_config c = accepted(LLAMA ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\","
                                               "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                                               "\"original_max_position_embeddings\":64}}");
    (void)state;
    assert_int_equal(c.architecture, PHY_ARCH_LLAMA);
    assert_string_equal(c.model_type, "llama");
    assert_int_equal(c.vocab_size, 512);
    assert_int_equal(c.hidden_size, 64);
    assert_int_equal(c.intermediate_size, 176);
    assert_int_equal(c.layer_count, 4);
    assert_int_equal(c.head_count, 4);
    assert_int_equal(c.kv_head_count, 2);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.max_positions, 256);
    assert_true(c.norm_eps == 1e-5 && c.query_scale == 0.25);
    assert_int_equal(c.activation, PHY_ACT_SILU);
    assert_false(c.tied_head || c.attention_bias || c.output_bias || c.mlp_bias);
    assert_int_equal(c.sliding_window, 0);
    assert_int_equal(c.rope.kind, PHY_ROPE_LLAMA3);
    assert_true(c.rope.theta == 500000.0 && c.rope.factor == 8.0);
    assert_true(c.rope.low_freq_factor == 1.0 && c.rope.high_freq_factor == 4.0);
    assert_int_equal(c.rope.original_max_positions, 64);
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.eos_count, 1);
    assert_int_equal(c.eos[0], 2);
}

static void fields_that_may_be_absent_have_the_values_of_the_published_classes(void **state)
{
    struct phy_model_config c = accepted("{\"model_type\":\"llama\",\"vocab_size\":5,\"hidden_size\":8,"
                                         "\"intermediate_size\":7,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
                                         "\"max_position_embeddings\":9}");
    (void)state;
    assert_int_equal(c.kv_head_count, 2);
    assert_int_equal(c.head_dim, 4);
    assert_true(c.norm_eps == 1e-6 && c.rope.theta == 10000.0 && c.rope.kind == PHY_ROPE_DEFAULT);
    assert_int_equal(c.bos, UINT32_MAX);
    assert_int_equal(c.eos_count, 0);
    assert_false(c.tied_head);

    c = accepted(GEMMA "}");
    assert_true(c.tied_head && c.query_scale == 1.0 / 16 && c.activation == PHY_ACT_GELU_TANH);
    assert_true(c.rope.theta == 1e6 && c.sliding_rope.theta == 1e4);
    static const bool sliding[] = {true, true, true, true}; /* the sixth would be full */
    assert_memory_equal(c.sliding, sliding, sizeof sliding);
}

static void windows_follow_the_architecture(void **state)
{
    char *text = replaced(LLAMA ",\"sliding_window\":8}", "\"model_type\":\"llama\"", "\"model_type\":\"mistral\"");
    char *mistral = replaced(text, "LlamaFor", "MistralFor");
    struct phy_model_config c = accepted(mistral);
    (void)state;
    assert_true(c.sliding_window == 8 && c.sliding[0] && c.sliding[3]);
    char *null_window = replaced(mistral, "\"sliding_window\":8", "\"sliding_window\":null");
    c = accepted(null_window);
    assert_true(c.sliding_window == 0 && !c.sliding[0]);
    char *no_window = replaced(mistral, ",\"sliding_window\":8", "");
    c = accepted(no_window);
    assert_true(c.sliding_window == 4096 && c.sliding[0]); /* the class' own */

    char *qwen_type = replaced(text, "\"model_type\":\"mistral\"", "\"model_type\":\"qwen2\"");
    char *qwen = replaced(qwen_type, "LlamaFor", "Qwen2For");
    c = accepted(qwen);
    assert_true(c.sliding_window == 0 && !c.sliding[3] && c.attention_bias && !c.output_bias);
    char *qwen_window = replaced(qwen, "\"sliding_window\":8",
                                 "\"sliding_window\":8,\"use_sliding_window\":true,"
                                 "\"max_window_layers\":3");
    c = accepted(qwen_window);
    assert_true(c.sliding_window == 8 && !c.sliding[2] && c.sliding[3]);
    char *qwen_default = replaced(qwen, "\"sliding_window\":8", "\"sliding_window\":8,\"use_sliding_window\":true");
    c = accepted(qwen_default);
    assert_true(!c.sliding[3]); /* from layer 28 on */

    c = accepted(LLAMA ",\"sliding_window\":8}");
    assert_true(c.sliding_window == 0 && !c.sliding[0]);
    c = accepted(GEMMA ",\"sliding_window_pattern\":2}");
    assert_true(c.sliding[0] && !c.sliding[1] && c.sliding[2] && !c.sliding[3]);
    c = accepted(GEMMA ",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\","
                       "\"full_attention\"]}");
    assert_true(!c.sliding[0] && c.sliding[1] && !c.sliding[2] && !c.sliding[3]);
    free(text), free(mistral), free(null_window), free(no_window), free(qwen_type), free(qwen), free(qwen_window),
        free(qwen_default);
}

static void both_spellings_of_rope_say_the_same(void **state)
{
    static const char *const names[] = {"qwen2", "qwen3", "llama3", "mistral", "gemma3"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t bytes;
        char *today = read_whole(tiny_path(names[i], "config.json"), &bytes),
             *classic = read_whole(tiny_path(names[i], "config.classic.json"), &bytes);
        struct phy_model_config a = accepted(today), b = accepted(classic);
        const struct phy_rope_config *ropes[][2] = {{&a.rope, &b.rope}, {&a.sliding_rope, &b.sliding_rope}};
        for (int r = 0; r < 2; r++) {
            const struct phy_rope_config *x = ropes[r][0], *y = ropes[r][1];
            assert_true(x->kind == y->kind && x->theta == y->theta && x->factor == y->factor);
            assert_true(x->low_freq_factor == y->low_freq_factor && x->high_freq_factor == y->high_freq_factor);
            assert_int_equal(x->original_max_positions, y->original_max_positions);
        }
        assert_memory_equal(a.sliding, b.sliding, sizeof a.sliding);
        assert_int_equal(a.sliding_window, b.sliding_window);
        free(today);
        free(classic);
    }
}

static void null_is_as_good_as_absent_and_unknown_keys_do_no_harm(void **state)
{
    struct phy_model_config c =
        accepted(LLAMA ",\"head_dim\":null,\"rope_scaling\":null,\"quantization_config\":null,\"num_experts\":0,"
                       "\"attn_logit_softcapping\":null,\"use_bidirectional_attention\":false,"
                       "\"partial_rotary_factor\":1.0,\"something\":{\"else\":[1,2,{\"deeper\":null}]}} \r\n\t ");
    (void)state;
    assert_int_equal(c.head_dim, 16);
    c = accepted(LLAMA ",\"eos_token_id\":7}"); /* twice: the first counts */
    assert_int_equal(c.eos[0], 2);
    char *list = replaced(LLAMA "}", "\"eos_token_id\":2", "\"eos_token_id\":[2,3,4]");
    c = accepted(list);
    assert_int_equal(c.eos_count, 3);
    assert_int_equal(c.eos[2], 4);
    free(list);
}

/* ---- what is not ---- */

static void names_each_field_that_is_missing(void **state)
{
    static const char *const fields[][2] = {
        {"\"model_type\":\"llama\",", "model_type"},
        {"\"vocab_size\":512,", "vocab_size"},
        {"\"hidden_size\":64,", "hidden_size"},
        {"\"intermediate_size\":176,", "intermediate_size"},
        {"\"num_hidden_layers\":4,", "num_hidden_layers"},
        {"\"num_attention_heads\":4,", "num_attention_heads"},
        {"\"max_position_embeddings\":256,", "max_position_embeddings"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char words[80];
        snprintf(words, sizeof words, "\"%s\": missing", fields[i][1]);
        refused_with(LLAMA "}", fields[i][0], "", PHY_ERR_FORMAT, words);
    }
}

static void names_each_number_that_is_none_or_out_of_range(void **state)
{
    static const char *const keys[] = {
        "vocab_size",          "hidden_size",         "intermediate_size",      "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings"};
    static const char *const values[] = {"-1",
                                         "0",
                                         "1.5",
                                         "1e300",
                                         "1e999",
                                         "-1e999",
                                         "\"64\"",
                                         "true",
                                         "[64]",
                                         "{}",
                                         "-0.5",
                                         "4294967296",
                                         "18446744073709551616",
                                         "1e-300",
                                         "123456789012345678901234567890123456789012345678901234567890"};
    (void)state;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            char old[64], new[200], words[80];
            /* The number that stands there begins with one of its digits. */
            const char *at = strstr(LLAMA, keys[k]) + strlen(keys[k]) + 2;
            snprintf(old, sizeof old, "\"%s\":%.*s", keys[k], (int)strspn(at, "0123456789"), at);
            snprintf(new, sizeof new, "\"%s\":%s", keys[k], values[v]);
            snprintf(words, sizeof words, "\"%s\": not a whole number from ", keys[k]);
            refused_with(LLAMA "}", old, new, PHY_ERR_FORMAT, words);
        }
    }
    refused_with(LLAMA "}", "\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":-1e-05", PHY_ERR_FORMAT, "\"rms_norm_eps\"");
    refused_with(LLAMA "}", "\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":\"tiny\"", PHY_ERR_FORMAT, "\"rms_norm_eps\"");
    refused_with(LLAMA "}", "\"eos_token_id\":2", "\"eos_token_id\":-1", PHY_ERR_FORMAT, "\"eos_token_id\"");
    refused_with(LLAMA "}", "\"eos_token_id\":2", "\"eos_token_id\":[2,\"x\"]", PHY_ERR_FORMAT, "\"eos_token_id\"");
    refused_with(LLAMA "}", "\"eos_token_id\":2", "\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", PHY_ERR_LIMIT,
                 "\"eos_token_id\": more than 8");
    refused_with(LLAMA "}", "\"bos_token_id\":1", "\"bos_token_id\":[]", PHY_ERR_FORMAT, "\"bos_token_id\"");
    refused_with(LLAMA "}", "\"tie_word_embeddings\":false", "\"tie_word_embeddings\":0", PHY_ERR_FORMAT,
                 "\"tie_word_embeddings\": neither true nor false");
    refused_with(LLAMA "}", "\"hidden_act\":\"silu\"", "\"hidden_act\":1", PHY_ERR_FORMAT, "\"hidden_act\"");
    refused_with(LLAMA "}", "\"model_type\":\"llama\"", "\"model_type\":5", PHY_ERR_FORMAT, "\"model_type\"");
    refused(GEMMA ",\"query_pre_attn_scalar\":0}", PHY_ERR_FORMAT, "\"query_pre_attn_scalar\"");
}

static void names_heads_that_do_not_divide(void **state)
{
    (void)state;
    refused_with(LLAMA "}", "\"num_key_value_heads\":2", "\"num_key_value_heads\":3", PHY_ERR_FORMAT,
                 "\"num_key_value_heads\": does not divide");
    refused_with(LLAMA "}", "\"num_key_value_heads\":2", "\"num_key_value_heads\":8", PHY_ERR_FORMAT,
                 "\"num_key_value_heads\": does not divide");
    refused_with(LLAMA "}", "\"hidden_size\":64", "\"hidden_size\":66", PHY_ERR_FORMAT,
                 "\"num_attention_heads\": does not divide hidden_size");
    refused_with(LLAMA "}", "\"hidden_size\":64", "\"hidden_size\":2", PHY_ERR_FORMAT,
                 "\"num_attention_heads\": does not divide hidden_size");
    refused(LLAMA ",\"head_dim\":15}", PHY_ERR_FORMAT, "\"head_dim\": is odd");
    refused_with(LLAMA "}", "\"hidden_size\":64", "\"hidden_size\":4", PHY_ERR_FORMAT, "\"head_dim\": is odd");
    refused(LLAMA ",\"head_dim\":1e9}", PHY_ERR_FORMAT, "\"head_dim\": not a whole number");
}

static void names_what_is_not_computed(void **state)
{
    static const char *const settings[][2] = {
        {"\"attn_logit_softcapping\":50.0", "attn_logit_softcapping"},
        {"\"final_logit_softcapping\":30", "final_logit_softcapping"},
        {"\"use_bidirectional_attention\":true", "use_bidirectional_attention"},
        {"\"num_local_experts\":8", "num_local_experts"},
        {"\"num_experts\":64", "num_experts"},
        {"\"quantization_config\":{\"quant_method\":\"fp8\"}", "quantization_config"},
        {"\"partial_rotary_factor\":0.5", "partial_rotary_factor"},
        {"\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":0.25}", "partial_rotary_factor"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"partial_rotary_factor\":\"x\"}",
         "partial_rotary_factor"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char text[2000], words[80];
        snprintf(text, sizeof text, LLAMA ",%s}", settings[i][0]);
        snprintf(words, sizeof words, "\"%s\": is set, which is not supported", settings[i][1]);
        refused(text, PHY_ERR_UNSUPPORTED, words);
    }
    refused_with(LLAMA "}", "\"hidden_act\":\"silu\"", "\"hidden_act\":\"gelu\"", PHY_ERR_UNSUPPORTED,
                 "\"hidden_act\" is \"gelu\"");
    refused(GEMMA ",\"hidden_activation\":\"gelu\"}", PHY_ERR_UNSUPPORTED, "\"hidden_activation\" is \"gelu\"");
}

static void names_an_unknown_architecture(void **state)
{
    static const char *const types[] = {"gpt2", "mixtral", "gemma2", "gemma3", "qwen3_moe", "phi3", "", "LLAMA"};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char new[80], words[80];
        snprintf(new, sizeof new, "\"model_type\":\"%s\"", types[i]);
        snprintf(words, sizeof words, "\"model_type\" is \"%s\", which is not supported", types[i]);
        refused_with(LLAMA "}", "\"model_type\":\"llama\"", new, PHY_ERR_UNSUPPORTED, words);
    }
    refused_with(LLAMA "}", "LlamaForCausalLM", "LlamaForSequenceClassification", PHY_ERR_UNSUPPORTED,
                 "\"architectures\" is \"LlamaForSequenceClassification\"");
    /* Control characters and broken UTF-8 do not reach the log. */
    refused_with(LLAMA "}", "\"model_type\":\"llama\"", "\"model_type\":\"\\u001b[31m\xff\"", PHY_ERR_UNSUPPORTED,
                 "\"model_type\" is ");
    for (const char *c = record.error; *c; c++)
        assert_true((unsigned char)*c >= 0x20 && (unsigned char)*c != 0xFF);
}

static void names_what_is_wrong_with_rope(void **state)
{
    (void)state;
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}}", PHY_ERR_UNSUPPORTED,
            "\"rope_type\" is \"yarn\"");
    refused(LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}}", PHY_ERR_UNSUPPORTED,
            "\"rope_type\" is \"dynamic\"");
    /* Kinds that have no factor are named, too. */
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"long_factor\":[1]}}", PHY_ERR_UNSUPPORTED,
            "\"rope_type\" is \"longrope\"");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\"}}", PHY_ERR_FORMAT, "\"factor\": missing");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0}}", PHY_ERR_FORMAT,
            "\"factor\": not a number in its range");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":1e999}}", PHY_ERR_FORMAT, "\"factor\"");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":1,\"factor\":2}}", PHY_ERR_FORMAT, "\"rope_type\": not a string");
    refused(LLAMA ",\"rope_scaling\":[1]}", PHY_ERR_FORMAT, "\"rope_scaling\": not an object");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                  "\"high_freq_factor\":4}}",
            PHY_ERR_FORMAT, "\"original_max_position_embeddings\": missing");
    refused(LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
                  "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}}",
            PHY_ERR_FORMAT, "\"high_freq_factor\": not above low_freq_factor");
    refused(LLAMA ",\"rope_theta\":0}", PHY_ERR_FORMAT, "\"rope_theta\"");
    refused(LLAMA ",\"rope_theta\":\"big\"}", PHY_ERR_FORMAT, "\"rope_theta\"");
    refused(LLAMA ",\"rope_parameters\":7}", PHY_ERR_FORMAT, "\"rope_parameters\": not an object");
    refused(LLAMA ",\"rope_parameters\":[[],[]]}", PHY_ERR_FORMAT, "\"rope_parameters\": not an object");
    refused(GEMMA ",\"rope_parameters\":{\"rope_theta\":1e4}}", PHY_ERR_FORMAT, "\"rope_parameters\": needs");
    refused(GEMMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", PHY_ERR_FORMAT,
            "\"rope_parameters\": needs both");
    refused(GEMMA ",\"rope_parameters\":{\"full_attention\":{},\"sliding_attention\":{\"rope_theta\":1e4}}}",
            PHY_ERR_FORMAT, "\"rope_theta\": missing");
    refused(GEMMA ",\"rope_local_base_freq\":-1}", PHY_ERR_FORMAT, "\"rope_local_base_freq\"");
}

static void names_layer_types_that_do_not_fit(void **state)
{
    (void)state;
    refused(GEMMA ",\"layer_types\":[\"full_attention\"]}", PHY_ERR_FORMAT, "\"layer_types\": not an array with one");
    refused(GEMMA ",\"layer_types\":{}}", PHY_ERR_FORMAT, "\"layer_types\": not an array");
    refused(GEMMA ",\"layer_types\":[\"full_attention\",1,2,3]}", PHY_ERR_FORMAT,
            "\"layer_types\": holds something that is not a string");
    refused(GEMMA ",\"layer_types\":[\"full_attention\",\"chunked_attention\",\"full_attention\","
                  "\"full_attention\"]}",
            PHY_ERR_UNSUPPORTED, "\"layer_types\" is \"chunked_attention\"");
    refused(LLAMA ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
                  "\"sliding_attention\"]}",
            PHY_ERR_FORMAT, "\"sliding_window\": missing, and layer_types has sliding layers");
    refused_with(GEMMA "}", "\"sliding_window\":8", "\"sliding_window\":0", PHY_ERR_FORMAT, "\"sliding_window\"");
}

static void refuses_what_is_not_one_json_object(void **state)
{
    static const char *const texts[] = {
        "",         "{",        "nul",        "\"model_type\"", "{\"a\":",          "{\"a\" 1}", LLAMA,
        LLAMA "}}", LLAMA "}x", LLAMA "} {}", "{\"a\":NaN}",    "{\"a\":Infinity}", "{'a':1}"};
    struct phy_model_config c;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused(texts[i], PHY_ERR_FORMAT, "not ");
    refused("[]", PHY_ERR_FORMAT, "not a JSON object");
    refused("7", PHY_ERR_FORMAT, "not a JSON object");
    struct phy_host host = recording_host(&record);
    static const char with_nul[] = "{\"model_type\":\"llama\0\"}";
    assert_int_equal(phy_model_config_parse(&c, with_nul, sizeof with_nul - 1, "config.json", &host), PHY_ERR_FORMAT);
}

static void deep_nesting_is_refused_and_wide_arrays_are_read(void **state)
{
    enum { DEPTH = 200000 };
    char *text = malloc(2 * DEPTH + 2000);
    (void)state;
    int used = sprintf(text, "%s,\"deep\":", LLAMA);
    memset(text + used, '[', DEPTH);
    memset(text + used + DEPTH, ']', DEPTH);
    strcpy(text + used + 2 * DEPTH, "}");
    refused(text, PHY_ERR_FORMAT, "not JSON near byte ");
    for (size_t i = 0; i < DEPTH / 5; i++)
        memcpy(text + used + 5 * i, "{\"a\":", 5); /* never closed */
    text[used + DEPTH] = 0;
    refused(text, PHY_ERR_FORMAT, "not JSON near byte ");
    text[used] = '[';
    for (size_t i = 0; i < DEPTH / 2; i++)
        memcpy(text + used + 1 + 2 * i, "1,", 2);
    strcpy(text + used + 1 + DEPTH, "1]}");
    accepted(text);
    free(text);
}

static void every_prefix_is_refused(void **state)
{
    static const char text[] = GEMMA ",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\","
                                     "\"full_attention\"]}";
    (void)state;
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        struct phy_model_config c;
        struct phy_host host = recording_host(&record);
        char *exact = malloc(n ? n : 1);
        memcpy(exact, text, n);
        assert_int_equal(phy_model_config_parse(&c, exact, n, "config.json", &host), PHY_ERR_FORMAT);
        assert_int_equal(record.errors, 1);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_field_of_a_llama),
        cmocka_unit_test(fields_that_may_be_absent_have_the_values_of_the_published_classes),
        cmocka_unit_test(windows_follow_the_architecture),
        cmocka_unit_test(both_spellings_of_rope_say_the_same),
        cmocka_unit_test(null_is_as_good_as_absent_and_unknown_keys_do_no_harm),
        cmocka_unit_test(names_each_field_that_is_missing),
        cmocka_unit_test(names_each_number_that_is_none_or_out_of_range),
        cmocka_unit_test(names_heads_that_do_not_divide),
        cmocka_unit_test(names_what_is_not_computed),
        cmocka_unit_test(names_an_unknown_architecture),
        cmocka_unit_test(names_what_is_wrong_with_rope),
        cmocka_unit_test(names_layer_types_that_do_not_fit),
        cmocka_unit_test(refuses_what_is_not_one_json_object),
        cmocka_unit_test(deep_nesting_is_refused_and_wide_arrays_are_read),
        cmocka_unit_test(every_prefix_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
