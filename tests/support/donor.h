/* SPDX-License-Identifier: Apache-2.0 */
/* Small checkpoints made in a temporary folder, and whole files read back. */
#ifndef PHY_TESTS_SUPPORT_DONOR_H
#define PHY_TESTS_SUPPORT_DONOR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct donor_tensor {
    const char *name, *dtype; /* BF16, F16, F32 */
    uint64_t rows, cols;      /* cols 0: one dimension of `rows` */
};

static inline uint32_t donor_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* A code whose magnitude lies in 2^-20 .. 1, of any sign; one in 64 is a zero of either sign. */
static inline uint32_t donor_code(uint64_t *state, const char *dtype)
{
    uint32_t r = donor_random(state), sign = r >> 30 & 1, exponent = donor_random(state) % 14,
             mantissa = donor_random(state);
    bool zero = r % 64 == 0;
    if (strcmp(dtype, "F32") == 0)
        return sign << 31 | (zero ? 0 : (126 - exponent) << 23 | (mantissa & 0x7FFFFF));
    if (strcmp(dtype, "F16") == 0)
        return sign << 15 | (zero ? 0 : (14 - exponent) << 10 | (mantissa & 0x3FF));
    return sign << 15 | (zero ? 0 : (126 - exponent) << 7 | (mantissa & 0x7F));
}

static inline size_t donor_code_bytes(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : 2;
}

static inline void donor_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file || (bytes && fwrite(data, 1, bytes, file) != bytes) || fclose(file) != 0) {
        perror(path);
        abort();
    }
}

/* One safetensors file. `padding` spaces after the header make its data unaligned. */
static inline void donor_write_safetensors(const char *path, const struct donor_tensor *tensors, size_t count,
                                           uint64_t seed, unsigned padding)
{
    char *header = calloc(count + 2, 400);
    size_t used = (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    uint64_t at = 0, state = seed;
    for (size_t i = 0; i < count; i++) {
        const struct donor_tensor *t = &tensors[i];
        uint64_t bytes = t->rows * (t->cols ? t->cols : 1) * donor_code_bytes(t->dtype);
        char shape[64];
        sprintf(shape, t->cols ? "%llu,%llu" : "%llu", (unsigned long long)t->rows, (unsigned long long)t->cols);
        used += (size_t)sprintf(header + used, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
                                t->name, t->dtype, shape, (unsigned long long)at, (unsigned long long)(at + bytes));
        at += bytes;
    }
    used += (size_t)sprintf(header + used, "}%*s", (int)padding, "");
    unsigned char *file = malloc(8 + used + at), *to = file + 8 + used;
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)used >> 8 * i);
    memcpy(file + 8, header, used);
    for (size_t i = 0; i < count; i++) {
        uint64_t codes = tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1);
        for (uint64_t n = 0; n < codes; n++) {
            uint32_t code = donor_code(&state, tensors[i].dtype);
            memcpy(to, &code, donor_code_bytes(tensors[i].dtype));
            to += donor_code_bytes(tensors[i].dtype);
        }
    }
    donor_write(path, file, (size_t)(to - file));
    free(header);
    free(file);
}

/* The whole of a file, the caller's; NULL if it is not there. */
static inline unsigned char *donor_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    *bytes = 0;
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*bytes + 1);
    if (fread(data, 1, *bytes, file) != *bytes)
        abort();
    data[*bytes] = 0;
    fclose(file);
    return data;
}

static inline bool donor_same_file(const char *a, const char *b)
{
    size_t a_bytes = 0, b_bytes = 0;
    unsigned char *x = donor_read(a, &a_bytes), *y = donor_read(b, &b_bytes);
    bool same = x && y && a_bytes == b_bytes && memcmp(x, y, a_bytes) == 0;
    free(x);
    free(y);
    return same;
}

/* A new folder, in memory where there is such a place: tests sync files by the hundred. It becomes the working
 * directory, so that tests use short relative paths. */
static inline void donor_enter_folder(char path[64])
{
    sprintf(path, "%s/physarium-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(path) || chdir(path) != 0) {
        perror(path);
        abort();
    }
}

static inline void donor_leave_folder(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (chdir("/") != 0 || system(command) != 0)
        abort();
}

#endif
