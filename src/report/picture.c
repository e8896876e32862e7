/* SPDX-License-Identifier: Apache-2.0 */
#include "report/picture.h"

#include <string.h>
#include <zlib.h>

#include "base/alloc.h"

static void put_u32_big_endian(struct phy_text *png, uint32_t value)
{
    const char bytes[4] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    phy_text_bytes(png, bytes, sizeof bytes);
}

/* A PNG chunk: length, type, data, CRC-32 over type and data. */
static void put_chunk(struct phy_text *png, const char type[5], const void *data, size_t bytes)
{
    put_u32_big_endian(png, (uint32_t)bytes);
    phy_text_bytes(png, type, 4);
    phy_text_bytes(png, data, bytes);
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);
    if (bytes) /* crc32 of a NULL or empty buffer would start afresh */
        crc = crc32(crc, data, (uInt)bytes);
    put_u32_big_endian(png, (uint32_t)crc);
}

static void put_base64(struct phy_text *out, const char *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)data;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        unsigned group = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        char four[4] = {digits[group >> 18], digits[group >> 12 & 63], digits[group >> 6 & 63], digits[group & 63]};
        if (left < 3)
            four[3] = '=';
        if (left < 2)
            four[2] = '=';
        phy_text_bytes(out, four, 4);
    }
}

bool phy_picture_data_uri(struct phy_text *out, const uint8_t *pixels, uint32_t rows, uint32_t cols,
                          const uint8_t palette[256][3])
{
    /* Each scan line begins with its filter: 0, none. */
    size_t line = (size_t)cols + 1, raw_bytes = line * rows;
    uLongf packed_bytes = compressBound((uLong)raw_bytes);
    uint8_t *raw = phy_alloc(raw_bytes, 1), *packed = phy_alloc(packed_bytes, 1);
    struct phy_text png = {0};
    bool done = raw && packed;
    for (uint32_t row = 0; done && row < rows; row++) {
        raw[row * line] = 0;
        memcpy(raw + row * line + 1, pixels + (size_t)row * cols, cols);
    }
    done = done && compress2(packed, &packed_bytes, raw, (uLong)raw_bytes, 9) == Z_OK;
    if (done) {
        const uint8_t header[13] = {(uint8_t)(cols >> 24),
                                    (uint8_t)(cols >> 16),
                                    (uint8_t)(cols >> 8),
                                    (uint8_t)cols,
                                    (uint8_t)(rows >> 24),
                                    (uint8_t)(rows >> 16),
                                    (uint8_t)(rows >> 8),
                                    (uint8_t)rows,
                                    8 /* bits */,
                                    3 /* palette */,
                                    0,
                                    0,
                                    0};
        phy_text_bytes(&png, "\x89PNG\r\n\x1a\n", 8);
        put_chunk(&png, "IHDR", header, sizeof header);
        put_chunk(&png, "PLTE", palette, 768);
        put_chunk(&png, "IDAT", packed, packed_bytes);
        put_chunk(&png, "IEND", "", 0);
        done = !png.failed;
    }
    if (done) {
        phy_text_put(out, "data:image/png;base64,");
        put_base64(out, png.data, png.bytes);
        done = !out->failed;
    }
    phy_text_free(&png);
    phy_free(raw);
    phy_free(packed);
    return done;
}
