/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer and a cursor that reads one back: journal records and the run's identity. */
#ifndef PHY_SURGERY_BYTES_H
#define PHY_SURGERY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. After a failed allocation `failed` stays set and nothing more is added. */
struct phy_bytes {
    unsigned char *data;
    size_t bytes, capacity;
    bool failed;
};
void phy_bytes_add(struct phy_bytes *to, const void *data, size_t bytes);
void phy_bytes_add_u32(struct phy_bytes *to, uint32_t value);
void phy_bytes_add_u64(struct phy_bytes *to, uint64_t value);
void phy_bytes_add_double(struct phy_bytes *to, double value);
/* Length, then the characters. */
void phy_bytes_add_text(struct phy_bytes *to, const char *text);
void phy_bytes_printf(struct phy_bytes *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A terminating NUL that is not counted in `bytes`, so that data is a C string. */
void phy_bytes_terminate(struct phy_bytes *to);
void phy_bytes_free(struct phy_bytes *bytes);

/* Reading past the end sets `failed` and gives zeros. */
struct phy_byte_cursor {
    const unsigned char *at, *end;
    bool failed;
};
uint32_t phy_cursor_u32(struct phy_byte_cursor *from);
uint64_t phy_cursor_u64(struct phy_byte_cursor *from);
double phy_cursor_double(struct phy_byte_cursor *from);
/* At most capacity - 1 characters and a NUL; a longer text is cut. */
void phy_cursor_text(struct phy_byte_cursor *from, char *out, size_t capacity);

#endif
