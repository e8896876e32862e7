/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of an open store, for the files that make one: index.json first, then the files that it names. */
#ifndef PHY_FFN_STORE_PARTS_H
#define PHY_FFN_STORE_PARTS_H

#include "ffn/store.h"
#include "ffn/store_scheme.h"
#include "model/mapping.h"

#define PHY_STORE_INDEX "index.json"
#define PHY_STORE_KIND "physarium ffn store"
enum {
    PHY_STORE_SCHEMA = 1,
    PHY_STORE_ALIGNMENT = 256,
    PHY_STORE_INDEX_MAX_BYTES = 16 << 20,
    PHY_STORE_NAME_BYTES = 256,
    PHY_STORE_DIGEST_BYTES = 33
};

/* A data file: mapped once, however many matrices are in it. */
struct phy_store_file {
    char name[PHY_STORE_NAME_BYTES];
    uint64_t bytes; /* of the file */
    struct phy_mapping mapping;
};

struct phy_store_matrix {
    uint32_t layer;
    enum phy_matrix_kind kind;
    enum phy_weight_type type;
    size_t file;
    uint64_t rows, cols, offset, bytes, xxh3;
    uint64_t values; /* of a bitmap, once it was checked */
    const uint8_t *data;
    void *owned; /* data that had to be put in another order; or NULL: data is in the file's map */
};

struct phy_ffn_store {
    const struct phy_host *host;
    char *label;                          /* the directory as given */
    const struct phy_store_scheme *known; /* NULL: a vindex */
    enum phy_store_layout layout;
    char digest[PHY_STORE_DIGEST_BYTES];
    char model_type[64], activation[16]; /* "" in a vindex that does not say */
    uint32_t layer_count, hidden, intermediate, stored_layers;
    struct phy_store_layer *layers; /* (layer_count) */
    struct phy_store_matrix *matrices;
    size_t matrix_count, matrix_capacity;
    struct phy_store_file *files;
    size_t file_count, file_capacity;
};

/* store_index.c: read the text of index.json (which it changes) into *store, every rule that needs no other file
 * checked; files have names only. */
enum phy_status phy_store_index_parse(struct phy_ffn_store *store, char *text, size_t bytes);

/* Index of the file `name` in the store's list, added if need be. PHY_ERR_MEMORY */
enum phy_status phy_store_add_file(struct phy_ffn_store *store, const char *name, size_t *index);
struct phy_store_matrix *phy_store_add_matrix(struct phy_ffn_store *store);
/* Open a file of the store for reading: regular, no link.
 *   PHY_ERR_FORMAT  missing, or something else
 *   PHY_ERR_IO */
enum phy_status phy_store_open_plain(const struct phy_ffn_store *store, int dir_fd, const char *name, int *fd,
                                     uint64_t *bytes);
/* A file of at most `most` bytes as a text with a NUL behind it, the caller's: phy_free. Statuses as above, and
 * PHY_ERR_LIMIT, PHY_ERR_MEMORY */
enum phy_status phy_store_read_text(const struct phy_ffn_store *store, int dir_fd, const char *name, uint64_t most,
                                    char **text, size_t *bytes);
/* True if the directory has an index.json, and every other entry is a regular file whose name is_data likes. */
bool phy_store_holds_only(int dir_fd, bool (*is_data)(const char *name));
/* Map every file of the list. */
enum phy_status phy_store_map_files(struct phy_ffn_store *store, int dir_fd);
/* Let the layers point to the matrices' data. */
void phy_store_hand_out(struct phy_ffn_store *store);

/* A name that stays in its directory: no '/', '\\' or ':', no control characters, not empty, "." or "..". */
bool phy_store_plain_name(const char *name, size_t bytes);

#endif
