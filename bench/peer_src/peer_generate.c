/* SPDX-License-Identifier: Apache-2.0 */
/* llama.cpp's side of bench/peer generate, with the lines of bench/bench_generate.c: every line on standard input runs
 * one round and prints microseconds of the prefill and of one decoded token. With a prompt: greedy text instead.
 *
 * usage: peer_generate MODEL.gguf THREADS PREFILL DECODE [PROMPT] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "llama.h"

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void only_errors(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static llama_token forward(struct llama_context *context, llama_token *tokens, int count, int vocab)
{
    if (llama_decode(context, llama_batch_get_one(tokens, count)) != 0) {
        fprintf(stderr, "peer_generate: llama_decode failed\n");
        exit(1);
    }
    const float *logits = llama_get_logits_ith(context, -1);
    llama_token largest = 0;
    for (llama_token i = 1; i < vocab; i++) {
        if (logits[i] > logits[largest])
            largest = i;
    }
    return largest;
}

static void forget(struct llama_context *context)
{
    llama_memory_clear(llama_get_memory(context), true);
}

static int speak(struct llama_context *context, const struct llama_vocab *words, const char *prompt, int count)
{
    llama_token tokens[4096];
    int length = llama_tokenize(words, prompt, (int)strlen(prompt), tokens, 4096, true, true);
    if (length <= 0)
        return 1;
    llama_token token = forward(context, tokens, length, llama_vocab_n_tokens(words));
    for (int i = 0; i < count && !llama_vocab_is_eog(words, token); i++) {
        char piece[256];
        int bytes = llama_token_to_piece(words, token, piece, sizeof piece, 0, false);
        if (bytes > 0)
            fwrite(piece, 1, (size_t)bytes, stdout);
        token = forward(context, &token, 1, llama_vocab_n_tokens(words));
    }
    putchar('\n');
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: peer_generate MODEL.gguf THREADS PREFILL DECODE [PROMPT]\n");
        return 2;
    }
    int threads = atoi(argv[2]), prefill = atoi(argv[3]), decode = atoi(argv[4]);
    llama_log_set(only_errors, NULL);
    llama_backend_init();
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)(prefill > decode ? prefill : decode) + 64;
    if (argc > 5)
        params.n_ctx += 4096;
    params.n_batch = params.n_ubatch = params.n_ctx;
    params.n_threads = params.n_threads_batch = threads;
    params.no_perf = true;
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    if (!context)
        return 1;
    const struct llama_vocab *words = llama_model_get_vocab(model);
    const int vocab = llama_vocab_n_tokens(words);
    if (argc > 5)
        return speak(context, words, argv[5], decode);

    llama_token *tokens = malloc((size_t)prefill * sizeof *tokens);
    if (!tokens)
        return 1;
    printf("# llama.cpp %s, %d threads, model bytes %llu\n", llama_version(), threads,
           (unsigned long long)llama_model_size(model));
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        for (int i = 0; i < prefill; i++)
            tokens[i] = (llama_token)(((int64_t)i * 7919 + 13) % vocab);
        forget(context);
        double started = now_us();
        forward(context, tokens, prefill, vocab);
        double prefill_us = now_us() - started;
        forget(context);
        llama_token token = 1;
        started = now_us();
        for (int i = 0; i < decode; i++)
            token = forward(context, &token, 1, vocab);
        printf("%.0f %.1f\n", prefill_us, (now_us() - started) / decode);
        fflush(stdout);
    }
    free(tokens);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
