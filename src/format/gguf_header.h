/* SPDX-License-Identifier: Apache-2.0 */
/* The checked header as gguf.c fills it in and gguf_values.c reads it. Private to these two. */
#ifndef PHY_FORMAT_GGUF_HEADER_H
#define PHY_FORMAT_GGUF_HEADER_H

#include "format/gguf.h"
#include "format/names.h"

/* Where a key's value lies. A scalar is kept as its bytes, zero-extended. */
struct gguf_value {
    uint64_t at;    /* first byte of a string (after its length) or of an array's first element */
    uint64_t bits;  /* scalar: its bytes; string: its length; array: its element count */
    uint64_t bytes; /* of an array's elements as they lie in the file, string lengths included */
    uint8_t type, element_type;
};

struct gguf_tensor_entry {
    uint64_t dims[4];
    uint64_t at, bytes;
    const struct phy_gguf_tensor_type *type;
    uint32_t dim_count;
};

struct phy_gguf {
    const struct phy_host *host;
    struct phy_gguf_source source;
    char *file;
    uint32_t version;
    uint64_t alignment, data_start;
    struct phy_names key_names, tensor_names;
    struct gguf_value *values;         /* (key_names.count) */
    struct gguf_tensor_entry *tensors; /* (tensor_names.count) */
    size_t value_capacity, tensor_capacity;
};

/* Bytes of one value in the file; 0 for strings and arrays, whose size varies. */
uint32_t phy_gguf_type_bytes(enum phy_gguf_type type);

#endif
