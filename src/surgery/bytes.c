/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"

static bool reserve(struct phy_bytes *to, size_t bytes)
{
    if (to->failed || bytes > SIZE_MAX / 2 - to->bytes)
        to->failed = true;
    if (to->failed || to->bytes + bytes <= to->capacity)
        return !to->failed;
    size_t capacity = to->capacity ? to->capacity * 2 : 256;
    while (capacity < to->bytes + bytes)
        capacity *= 2;
    unsigned char *grown = phy_realloc(to->data, capacity, 1);
    if (!grown) {
        to->failed = true;
        return false;
    }
    to->data = grown;
    to->capacity = capacity;
    return true;
}

void phy_bytes_add(struct phy_bytes *to, const void *data, size_t bytes)
{
    if (bytes == 0 || !reserve(to, bytes))
        return;
    memcpy(to->data + to->bytes, data, bytes);
    to->bytes += bytes;
}

void phy_bytes_add_u32(struct phy_bytes *to, uint32_t value)
{
    unsigned char raw[4];
    phy_store_u32(raw, value);
    phy_bytes_add(to, raw, sizeof raw);
}

void phy_bytes_add_u64(struct phy_bytes *to, uint64_t value)
{
    unsigned char raw[8];
    phy_store_u64(raw, value);
    phy_bytes_add(to, raw, sizeof raw);
}

void phy_bytes_add_double(struct phy_bytes *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    phy_bytes_add_u64(to, bits);
}

void phy_bytes_add_text(struct phy_bytes *to, const char *text)
{
    phy_bytes_add_u32(to, (uint32_t)strlen(text));
    phy_bytes_add(to, text, strlen(text));
}

void phy_bytes_printf(struct phy_bytes *to, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length < 0)
        to->failed = true;
    else if (reserve(to, (size_t)length + 1)) {
        vsnprintf((char *)to->data + to->bytes, (size_t)length + 1, format, again);
        to->bytes += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

void phy_bytes_terminate(struct phy_bytes *to)
{
    if (reserve(to, 1))
        to->data[to->bytes] = 0;
}

void phy_bytes_free(struct phy_bytes *bytes)
{
    phy_free(bytes->data);
    *bytes = (struct phy_bytes){0};
}

static const unsigned char *take(struct phy_byte_cursor *from, size_t bytes)
{
    if (from->failed || (size_t)(from->end - from->at) < bytes) {
        from->failed = true;
        return NULL;
    }
    from->at += bytes;
    return from->at - bytes;
}

uint32_t phy_cursor_u32(struct phy_byte_cursor *from)
{
    const unsigned char *p = take(from, 4);
    return p ? phy_load_u32(p) : 0;
}

uint64_t phy_cursor_u64(struct phy_byte_cursor *from)
{
    const unsigned char *p = take(from, 8);
    return p ? phy_load_u64(p) : 0;
}

double phy_cursor_double(struct phy_byte_cursor *from)
{
    uint64_t bits = phy_cursor_u64(from);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void phy_cursor_text(struct phy_byte_cursor *from, char *out, size_t capacity)
{
    size_t bytes = phy_cursor_u32(from);
    const unsigned char *p = take(from, bytes);
    size_t kept = !p ? 0 : bytes < capacity ? bytes : capacity - 1;
    if (kept)
        memcpy(out, p, kept);
    out[kept] = 0;
}
