/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target without libFuzzer, for every compiler: replay each small file below FOLDER whose name ends in ENDING,
 * then mutations of them that are the same in each run.
 *
 *   fuzz_short_TARGET ROUNDS ENDING FOLDER */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ftw.h>
#include <stdbool.h>

#include "fuzz/fuzz.h"

enum { MOST_SEEDS = 512, MOST_BYTES = 8192 };

static struct seed {
    uint8_t *bytes;
    size_t count;
} seeds[MOST_SEEDS];
static size_t seed_count;
static const char *ending;

static uint64_t random_state = 1;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static size_t below(size_t limit)
{
    return limit ? (size_t)(next_random() % limit) : 0;
}

static int take_seed(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    size_t length = strlen(path), tail = strlen(ending);
    (void)where;
    if (kind != FTW_F || !S_ISREG(found->st_mode) || found->st_size > MOST_BYTES || seed_count == MOST_SEEDS ||
        length < tail || strcmp(path + length - tail, ending) != 0)
        return 0;
    FILE *file = fopen(path, "rb");
    struct seed *seed = &seeds[seed_count++];
    seed->bytes = malloc((size_t)found->st_size + 1);
    FUZZ_CHECK(file && seed->bytes);
    seed->count = fread(seed->bytes, 1, (size_t)found->st_size, file);
    fclose(file);
    return 0;
}

static int compare_seeds(const void *a, const void *b)
{
    const struct seed *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->count < y->count ? x->count : y->count);
    return order ? order : (x->count > y->count) - (x->count < y->count);
}

/* Put `count` bytes in place of `gone` at `at`; what grows beyond the buffer is dropped. */
static void splice(uint8_t *buffer, size_t *size, size_t at, size_t gone, const void *bytes, size_t count)
{
    if (*size - gone + count > MOST_BYTES)
        return;
    memmove(buffer + at + count, buffer + at + gone, *size - at - gone);
    memcpy(buffer + at, bytes, count);
    *size = *size - gone + count;
}

static void mutate(uint8_t *buffer, size_t *size)
{
    static const char *const words[] = {
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0000",
        "\\ud83d",
        "null",
        "true",
        "0",
        "-",
        "1e3",
        "9007199254740992",
        "18446744073709551615",
        "\"dtype\":\"F4\"",
        "\"shape\":[]",
        "\"data_offsets\":[0,0]",
        "\"__metadata__\":{}",
        "\xef\xbb\xbf",
        "\xff",
        "\x80",
        "GGUF",
        ".safetensors",
        "../",
        "\"Regex\":\"(a*)*\\\\p{L}\"",
        "\"type\":\"Split\"",
        " ",
        "\n",
    };
    static const uint64_t numbers[] = {
        0, 1, 32, 255, 65536, UINT32_MAX, INT64_MAX, UINT64_C(1) << 61, UINT64_MAX - 7, UINT64_MAX};
    size_t at = below(*size), rest = *size - at, span = rest ? 1 + below(rest < 16 ? rest : 16) : 0;
    uint8_t bytes[8];
    switch (below(8)) {
    case 0:
        if (*size)
            buffer[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        if (*size)
            buffer[at] = (uint8_t)next_random();
        break;
    case 2:
        splice(buffer, size, at, span, "", 0);
        break;
    case 3: {
        const char *word = words[below(sizeof words / sizeof *words)];
        splice(buffer, size, at, below(2) ? span : 0, word, strlen(word));
        break;
    }
    case 4: { /* a piece once more */
        uint8_t piece[16];
        memcpy(piece, buffer + at, span);
        splice(buffer, size, below(*size), 0, piece, span);
        break;
    }
    case 5:
        *size = below(4) ? *size : at;
        break;
    case 6: { /* an integer, as GGUF has them */
        uint64_t number = numbers[below(sizeof numbers / sizeof *numbers)];
        for (size_t i = 0; i < 8; i++)
            bytes[i] = (uint8_t)(number >> 8 * i);
        size_t width = below(2) ? 8 : 4;
        if (rest >= width)
            memcpy(buffer + at, bytes, width);
        break;
    }
    default: { /* the tail of another seed */
        const struct seed *other = &seeds[below(seed_count)];
        size_t from = below(other->count);
        splice(buffer, size, at, rest, other->bytes + from, other->count - from);
        break;
    }
    }
}

static void run_exactly(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* no slack that would hide a read beyond the end */
    FUZZ_CHECK(exact);
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s ROUNDS ENDING FOLDER\n", argv[0]);
        return 2;
    }
    ending = argv[2];
    nftw(argv[3], take_seed, 16, FTW_PHYS);
    if (seed_count == 0) {
        fprintf(stderr, "%s: no file there ends in %s\n", argv[3], ending);
        return 2;
    }
    qsort(seeds, seed_count, sizeof *seeds, compare_seeds); /* the order in the folder is nobody's promise */
    for (size_t i = 0; i < seed_count; i++)
        run_exactly(seeds[i].bytes, seeds[i].count);
    long rounds = strtol(argv[1], NULL, 10);
    for (long round = 0; round < rounds; round++) {
        uint8_t buffer[MOST_BYTES];
        const struct seed *seed = &seeds[below(seed_count)];
        size_t size = seed->count;
        memcpy(buffer, seed->bytes, size);
        for (size_t i = 1 + below(4); i > 0; i--)
            mutate(buffer, &size);
        run_exactly(buffer, size);
    }
    printf("%zu seeds and %ld mutations\n", seed_count, rounds);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].bytes);
    return 0;
}
