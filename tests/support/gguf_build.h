/* SPDX-License-Identifier: Apache-2.0 */
/* Writes small GGUF files in memory, right or wrong as the caller likes. */
#ifndef PHY_TESTS_SUPPORT_GGUF_BUILD_H
#define PHY_TESTS_SUPPORT_GGUF_BUILD_H

#include <stdint.h>
#include <string.h>

struct gguf_build {
    unsigned char bytes[65536];
    size_t used;
};

static inline void put_raw(struct gguf_build *b, const void *bytes, size_t count)
{
    memcpy(b->bytes + b->used, bytes, count);
    b->used += count;
}

static inline void put_u32(struct gguf_build *b, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        b->bytes[b->used++] = (unsigned char)(value >> 8 * i);
}

static inline void put_u64(struct gguf_build *b, uint64_t value)
{
    put_u32(b, (uint32_t)value);
    put_u32(b, (uint32_t)(value >> 32));
}

static inline void put_string(struct gguf_build *b, const char *text)
{
    put_u64(b, strlen(text));
    put_raw(b, text, strlen(text));
}

static inline void put_head(struct gguf_build *b, uint64_t tensor_count, uint64_t kv_count)
{
    b->used = 0;
    put_raw(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, tensor_count);
    put_u64(b, kv_count);
}

static inline void put_key(struct gguf_build *b, const char *name, uint32_t type)
{
    put_string(b, name);
    put_u32(b, type);
}

static inline void put_tensor(struct gguf_build *b, const char *name, uint32_t dim_count, const uint64_t *dims,
                              uint32_t type, uint64_t offset)
{
    put_string(b, name);
    put_u32(b, dim_count);
    for (uint32_t i = 0; i < dim_count; i++)
        put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_padding(struct gguf_build *b, size_t alignment)
{
    while (b->used % alignment)
        b->bytes[b->used++] = 0;
}

static inline void put_data(struct gguf_build *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        b->bytes[b->used++] = (unsigned char)(11 + 37 * i);
}

#endif
