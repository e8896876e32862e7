/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF version 2 and 3: the header of a file, checked by rules G1-G11 of docs/checkpoint-rules.md. Tensor data and the
 * values of strings and arrays stay in the file until they are asked for. */
#ifndef PHY_FORMAT_GGUF_H
#define PHY_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "physarium/host.h"

/* Where the bytes come from: a descriptor, memory, or anything that can be read at a position. */
struct phy_gguf_source {
    /* 0, or an errno value; ENODATA when the file ends first. Never asked for bytes beyond `bytes`. */
    int (*read)(const struct phy_gguf_source *source, void *buffer, size_t bytes, uint64_t at);
    uint64_t bytes; /* size of the whole file */
    int fd;
    const unsigned char *memory;
};
struct phy_gguf_source phy_gguf_source_fd(int fd, uint64_t bytes);
struct phy_gguf_source phy_gguf_source_memory(const void *memory, size_t bytes);

/* The numbers are the file's. */
enum phy_gguf_type {
    PHY_GGUF_U8,
    PHY_GGUF_I8,
    PHY_GGUF_U16,
    PHY_GGUF_I16,
    PHY_GGUF_U32,
    PHY_GGUF_I32,
    PHY_GGUF_F32,
    PHY_GGUF_BOOL,
    PHY_GGUF_STRING,
    PHY_GGUF_ARRAY,
    PHY_GGUF_U64,
    PHY_GGUF_I64,
    PHY_GGUF_F64,
    PHY_GGUF_TYPE_COUNT
};
/* "u8" ... "string", "array". type < PHY_GGUF_TYPE_COUNT. */
const char *phy_gguf_type_name(enum phy_gguf_type type);

struct phy_gguf; /* a checked header */

/* Read and check everything up to the tensor data. `file` begins every message; it is copied. The source is copied too;
 * what it points to must outlive *out. Time is linear in the header, memory at most a few times its keys, names and
 * tensors: string and array values are walked, not kept.
 *   PHY_ERR_IO           a read failed, or the file shrank
 *   PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED, PHY_ERR_LIMIT   by the G rules; one line in the log
 *   PHY_ERR_MEMORY       host allocation failed
 * *out is NULL on failure; phy_gguf_close(&gguf) otherwise.
 * Thread-safety: an open header may be read by many threads. */
enum phy_status phy_gguf_open(struct phy_gguf **out, const struct phy_gguf_source *source, const char *file,
                              const struct phy_host *host);
void phy_gguf_close(struct phy_gguf **gguf);

uint32_t phy_gguf_version(const struct phy_gguf *gguf);
uint64_t phy_gguf_alignment(const struct phy_gguf *gguf);
/* Position of the first tensor's data: the header with its padding. */
uint64_t phy_gguf_data_start(const struct phy_gguf *gguf);
const char *phy_gguf_file(const struct phy_gguf *gguf);

/* ---- tensors, in file order, which is data order ---- */

struct phy_gguf_tensor {
    const char *name; /* NUL-terminated UTF-8 */
    size_t name_bytes;
    const char *type_name; /* "Q4_K" */
    uint32_t type;         /* id as in ggml.h */
    uint32_t block_elements, block_bytes;
    uint32_t dim_count;
    uint64_t dims[4]; /* fastest first; 1 beyond dim_count */
    uint64_t at;      /* absolute position in the file */
    uint64_t bytes;
};
size_t phy_gguf_tensor_count(const struct phy_gguf *gguf);
/* index < count. */
void phy_gguf_tensor(const struct phy_gguf *gguf, size_t index, struct phy_gguf_tensor *out);
/* The tensor's dimensions in the header itself: (dim_count), valid until close. */
const uint64_t *phy_gguf_tensor_dims(const struct phy_gguf *gguf, size_t index);
bool phy_gguf_find_tensor(const struct phy_gguf *gguf, const char *name, size_t *index);
/* Read part of the file: the log names it when that fails. PHY_ERR_IO. */
enum phy_status phy_gguf_read(const struct phy_gguf *gguf, void *buffer, size_t bytes, uint64_t at);

/* ---- metadata, in file order ---- */

struct phy_gguf_key {
    const char *name;
    size_t name_bytes;
    enum phy_gguf_type type;
    enum phy_gguf_type element_type; /* of an array; else as type */
    uint64_t count;                  /* elements of an array; else 1 */
};
size_t phy_gguf_key_count(const struct phy_gguf *gguf);
void phy_gguf_key(const struct phy_gguf *gguf, size_t index, struct phy_gguf_key *out);
bool phy_gguf_find_key(const struct phy_gguf *gguf, const char *name, size_t *index);

/* Scalars. False when the key is of another kind: u64 takes every integer type that holds a value >= 0, i64 every
 * integer that fits, f64 both floats and every integer. */
bool phy_gguf_get_u64(const struct phy_gguf *gguf, size_t index, uint64_t *out);
bool phy_gguf_get_i64(const struct phy_gguf *gguf, size_t index, int64_t *out);
bool phy_gguf_get_f64(const struct phy_gguf *gguf, size_t index, double *out);
bool phy_gguf_get_bool(const struct phy_gguf *gguf, size_t index, bool *out);

/* Strings of one key (a string: one; an array of strings: count), read into memory. Each is followed by NUL. */
struct phy_gguf_strings {
    char *text;
    uint64_t *starts; /* (count + 1) in text */
    size_t count;
};
/* At most max_bytes altogether, the 8 bytes that each length takes included.
 *   PHY_ERR_FORMAT  the key holds something else
 *   PHY_ERR_LIMIT   more than max_bytes
 *   PHY_ERR_IO, PHY_ERR_MEMORY */
enum phy_status phy_gguf_load_strings(const struct phy_gguf *gguf, size_t index, uint64_t max_bytes,
                                      struct phy_gguf_strings *out);
/* String i without its NUL. i < count. */
const char *phy_gguf_string(const struct phy_gguf_strings *strings, size_t i, size_t *bytes);
void phy_gguf_strings_free(struct phy_gguf_strings *strings);

/* Elements first .. first + count - 1 of an array of numbers or bools, converted as the scalar of that kind is.
 *   PHY_ERR_FORMAT  not such an array, or a value that does not fit
 *   PHY_ERR_IO
 * first + count <= the array's count. */
enum phy_status phy_gguf_load_i64(const struct phy_gguf *gguf, size_t index, uint64_t first, size_t count,
                                  int64_t *out);
enum phy_status phy_gguf_load_f64(const struct phy_gguf *gguf, size_t index, uint64_t first, size_t count, double *out);

/* Log `<file>: key 3 "general.name": <fact>` and return status. */
enum phy_status phy_gguf_fail_key(const struct phy_gguf *gguf, size_t index, enum phy_status status, const char *format,
                                  ...) __attribute__((format(printf, 4, 5)));
/* The same for `<file>: tensor 12 "name": <fact>`. */
enum phy_status phy_gguf_fail_tensor(const struct phy_gguf *gguf, size_t index, enum phy_status status,
                                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- tensor types ---- */

struct phy_gguf_tensor_type {
    const char *name;
    uint32_t id, block_elements, block_bytes;
};
/* NULL for an id that is not in rule G9's list. */
const struct phy_gguf_tensor_type *phy_gguf_tensor_type(uint32_t id);

#endif
