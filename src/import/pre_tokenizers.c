/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of tokenizer.ggml.pre whose original tokenizer.json we know. */
#include <string.h>

#include "import/tokenizer.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" TAIL
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" TAIL
#define TEKKEN                                                                                                         \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"                       \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}"                 \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* What GGUF readers do for "default", and when the key is missing. */
#define DEFAULT_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

static const struct pre_tokenizer kinds[] = {
    {.name = "default", .patterns = {"[\\p{P}\\$\\+<=>\\^~\\|]+", DEFAULT_WORDS, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.name = "gpt-2", .gpt2 = true},
    {.name = "phi-2", .gpt2 = true},
    {.name = "smollm", .digits = true, .gpt2 = true},
    {.name = "starcoder", .digits = true, .gpt2 = true},
    {.name = "refact", .digits = true, .gpt2 = true},
    {.name = "codeshell", .digits = true, .gpt2 = true},
    {.name = "llama-bpe", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = {LLAMA3}, .ignore_merges = true, .add_bos = true},
    {.name = "qwen2", .patterns = {QWEN2}, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = {QWEN2}},
    {.name = "tekken", .patterns = {TEKKEN}, .ignore_merges = true, .add_bos = true},
};

const struct pre_tokenizer *phy_pre_tokenizer(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}
