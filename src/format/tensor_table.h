/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of one file, whatever its format: rule S15's compact table, no allocation for a single tensor. */
#ifndef PHY_FORMAT_TENSOR_TABLE_H
#define PHY_FORMAT_TENSOR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct phy_tensor_row {
    uint64_t begin, bytes; /* place in the data section */
    const char *name;      /* into table.text, NUL-terminated */
    const char *dtype;     /* static */
    uint32_t name_bytes, header_index;
    uint32_t first_dim; /* index into table.dims */
    uint8_t dim_count, element_bits;
};

struct phy_tensor_table {
    char *text;                  /* what names point into */
    struct phy_tensor_row *rows; /* (count) in data order */
    size_t count, capacity;
    uint64_t *dims;
    size_t dim_count, dim_capacity;
    uint64_t header_bytes; /* where the data section begins */
    uint64_t data_bytes;   /* its length */
    bool has_metadata_format_pt;
};

/* A zeroed table is empty. */
void phy_tensor_table_free(struct phy_tensor_table *table);

#endif
