/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/store_parts.h"
#include "ffn/vindex.h"
#include "format/array.h"
#include "quant/bitmap.h"

/* ---- lists ---- */

bool phy_store_plain_name(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes >= PHY_STORE_NAME_BYTES || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == '/' || c == '\\' || c == ':')
            return false;
    }
    return true;
}

enum phy_status phy_store_add_file(struct phy_ffn_store *store, const char *name, size_t *index)
{
    for (*index = 0; *index < store->file_count; ++*index) {
        if (strcmp(store->files[*index].name, name) == 0)
            return PHY_OK;
    }
    struct phy_store_file *files =
        phy_array_reserve(store->files, &store->file_capacity, store->file_count + 1, sizeof *files);
    if (!files)
        return phy_fail_memory(store->host, "the list of files", sizeof *files);
    store->files = files;
    files[store->file_count] = (struct phy_store_file){.mapping = {.slot = -1}};
    snprintf(files[store->file_count].name, sizeof files->name, "%s", name);
    store->file_count++;
    return PHY_OK;
}

struct phy_store_matrix *phy_store_add_matrix(struct phy_ffn_store *store)
{
    struct phy_store_matrix *matrices =
        phy_array_reserve(store->matrices, &store->matrix_capacity, store->matrix_count + 1, sizeof *matrices);
    if (!matrices)
        return NULL;
    store->matrices = matrices;
    matrices[store->matrix_count] = (struct phy_store_matrix){0};
    return &matrices[store->matrix_count++];
}

/* ---- files ---- */

enum phy_status phy_store_open_plain(const struct phy_ffn_store *store, int dir_fd, const char *name, int *fd,
                                     uint64_t *bytes)
{
    struct stat file;
    /* A link could lead out of the directory: none is followed. */
    *fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0 && errno == ELOOP)
        return phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: a symbolic link; a store holds its own files",
                        store->label, name);
    if (*fd < 0)
        return phy_fail(store->host, errno == ENOENT ? PHY_ERR_FORMAT : PHY_ERR_IO, "%s/%s: %s", store->label, name,
                        errno == ENOENT ? "missing" : strerror(errno));
    enum phy_status status = PHY_OK;
    if (fstat(*fd, &file) != 0)
        status = phy_fail(store->host, PHY_ERR_IO, "%s/%s: %s", store->label, name, strerror(errno));
    else if (!S_ISREG(file.st_mode))
        status = phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: not a regular file", store->label, name);
    if (status != PHY_OK) {
        close(*fd);
        *fd = -1;
        return status;
    }
    *bytes = (uint64_t)file.st_size;
    return PHY_OK;
}

enum phy_status phy_store_read_text(const struct phy_ffn_store *store, int dir_fd, const char *name, uint64_t most,
                                    char **text, size_t *bytes)
{
    int fd;
    uint64_t size;
    *text = NULL;
    enum phy_status status = phy_store_open_plain(store, dir_fd, name, &fd, &size);
    if (status != PHY_OK)
        return status;
    if (size > most) {
        close(fd);
        return phy_fail(store->host, PHY_ERR_LIMIT, "%s/%s: %llu bytes, at most %llu are read", store->label, name,
                        (unsigned long long)size, (unsigned long long)most);
    }
    *bytes = (size_t)size;
    *text = phy_alloc(*bytes + 1, 1);
    int error = *text ? phy_pread_all(fd, *text, *bytes, 0) : ENOMEM;
    close(fd);
    if (!error) {
        (*text)[*bytes] = 0;
        return PHY_OK;
    }
    phy_free(*text);
    *text = NULL;
    return error == ENOMEM ? phy_fail_memory(store->host, name, *bytes)
                           : phy_fail(store->host, PHY_ERR_IO, "%s/%s: %s", store->label, name, strerror(error));
}

bool phy_store_holds_only(int dir_fd, bool (*is_data)(const char *name))
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    bool has_index = false, only = folder != NULL;
    if (!folder && fd >= 0)
        close(fd);
    for (struct dirent *entry; only && (errno = 0, entry = readdir(folder));) {
        struct stat file;
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        const bool is_index = strcmp(name, PHY_STORE_INDEX) == 0;
        only = (is_index || is_data(name)) && fstatat(dir_fd, name, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISREG(file.st_mode);
        has_index |= is_index;
    }
    only = only && errno == 0 && has_index; /* errno: of a readdir that gave nothing */
    if (folder)
        closedir(folder);
    return only;
}

enum phy_status phy_store_map_files(struct phy_ffn_store *store, int dir_fd)
{
    for (size_t i = 0; i < store->file_count; i++) {
        struct phy_store_file *file = &store->files[i];
        int fd;
        enum phy_status status = phy_store_open_plain(store, dir_fd, file->name, &fd, &file->bytes);
        if (status != PHY_OK)
            return status;
        int error = 0;
        if (file->bytes == 0)
            status = phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: empty", store->label, file->name);
        else
            error = phy_mapping_open(&file->mapping, fd, file->bytes);
        close(fd);
        if (error)
            return phy_fail(store->host, error == ENOMEM ? PHY_ERR_MEMORY : PHY_ERR_IO, "%s/%s: cannot be mapped: %s",
                            store->label, file->name, strerror(error));
        if (status != PHY_OK)
            return status;
    }
    return PHY_OK;
}

/* ---- ranges ---- */

static int by_place(const void *a, const void *b)
{
    const struct phy_store_matrix *const *m = a, *const *n = b;
    if ((*m)->file != (*n)->file)
        return (*m)->file < (*n)->file ? -1 : 1;
    return (*m)->offset < (*n)->offset ? -1 : (*m)->offset > (*n)->offset;
}

static enum phy_status refuse_range(const struct phy_ffn_store *store, const struct phy_store_matrix *m,
                                    const char *what, uint64_t limit)
{
    return phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: layer %u %s: bytes %llu+%llu %s %llu", store->label,
                    store->files[m->file].name, m->layer, phy_matrix_kind_name(m->kind), (unsigned long long)m->offset,
                    (unsigned long long)m->bytes, what, (unsigned long long)limit);
}

/* Every range inside its file, none over another, and no file with bytes that no matrix has. Alignment may leave up to
 * 255 bytes between two. */
static enum phy_status check_ranges(struct phy_ffn_store *store)
{
    struct phy_store_matrix **sorted = phy_alloc(store->matrix_count, sizeof *sorted);
    if (!sorted)
        return phy_fail_memory(store->host, "the list of matrices", store->matrix_count * sizeof *sorted);
    for (size_t i = 0; i < store->matrix_count; i++)
        sorted[i] = &store->matrices[i];
    enum phy_status status = phy_array_sort(sorted, store->matrix_count, sizeof *sorted, by_place)
                                 ? PHY_OK
                                 : phy_fail_memory(store->host, "a sorted list", store->matrix_count * sizeof *sorted);
    for (size_t i = 0; status == PHY_OK && i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        const uint64_t file_bytes = store->files[m->file].bytes;
        if (m->offset > file_bytes || m->bytes > file_bytes - m->offset)
            status = refuse_range(store, m, "exceed the file's", file_bytes);
    }
    uint64_t end = 0;
    for (size_t i = 0; status == PHY_OK && i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = sorted[i];
        const struct phy_store_file *file = &store->files[m->file];
        const bool last = i + 1 == store->matrix_count || sorted[i + 1]->file != m->file;
        if (i == 0 || sorted[i - 1]->file != m->file)
            end = 0;
        if (m->offset < end)
            status = refuse_range(store, m, "overlap what ends at", end);
        else if (m->offset - end >= PHY_STORE_ALIGNMENT)
            status = refuse_range(store, m, "leave a hole after", end);
        end = m->offset + m->bytes;
        if (status == PHY_OK && last && end != file->bytes)
            status = phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: %llu trailing bytes", store->label, file->name,
                              (unsigned long long)(file->bytes - end));
    }
    phy_free(sorted);
    return status;
}

static enum phy_status check_digests(struct phy_ffn_store *store)
{
    for (size_t i = 0; i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        const struct phy_store_file *file = &store->files[m->file];
        uint64_t xxh3 = XXH3_64bits(m->data, m->bytes);
        if (phy_mapping_torn(&file->mapping))
            return phy_fail(store->host, PHY_ERR_IO, "%s/%s: became shorter while it was read", store->label,
                            file->name);
        if (xxh3 != m->xxh3)
            return phy_fail(store->host, PHY_ERR_FORMAT,
                            "%s/%s: layer %u %s: digest %016llx, the index says %016llx: the file is damaged",
                            store->label, file->name, m->layer, phy_matrix_kind_name(m->kind), (unsigned long long)xxh3,
                            (unsigned long long)m->xxh3);
    }
    return PHY_OK;
}

/* What a kernel relies on, digests or not: it follows the bits to the values. */
static enum phy_status check_bitmaps(struct phy_ffn_store *store)
{
    for (size_t i = 0; i < store->matrix_count; i++) {
        struct phy_store_matrix *m = &store->matrices[i];
        const struct phy_store_file *file = &store->files[m->file];
        struct phy_bitmap view;
        char fact[200] = "its size overflows";
        if (!phy_weight_is_bitmap(m->type))
            continue;
        const bool good = phy_bitmap_view(&view, m->type, m->data, m->rows, m->cols) &&
                          phy_bitmap_check(&view, m->bytes, fact, sizeof fact);
        if (phy_mapping_torn(&file->mapping))
            return phy_fail(store->host, PHY_ERR_IO, "%s/%s: became shorter while it was read", store->label,
                            file->name);
        if (!good)
            return phy_fail(store->host, PHY_ERR_FORMAT, "%s/%s: layer %u %s: %s", store->label, file->name, m->layer,
                            phy_matrix_kind_name(m->kind), fact);
        m->values = phy_bitmap_first(&view, m->rows);
    }
    return PHY_OK;
}

/* ---- opening ---- */

static struct phy_weights *slot_of(struct phy_store_layer *layer, enum phy_matrix_kind kind)
{
    switch (kind) {
    case PHY_MATRIX_GATE:
        return &layer->gate;
    case PHY_MATRIX_UP:
        return &layer->up;
    case PHY_MATRIX_GATE_UP:
        return &layer->gate_up;
    case PHY_MATRIX_DOWN:
        return &layer->down;
    default:
        return &layer->down_by_feature;
    }
}

void phy_store_hand_out(struct phy_ffn_store *store)
{
    for (size_t i = 0; i < store->matrix_count; i++) {
        const struct phy_store_matrix *m = &store->matrices[i];
        *slot_of(&store->layers[m->layer], m->kind) =
            (struct phy_weights){.data = m->data, .type = m->type, .rows = m->rows, .cols = m->cols};
    }
}

static enum phy_status open_ours(struct phy_ffn_store *store, int dir_fd, char *text, size_t bytes, bool trust)
{
    enum phy_status status = phy_store_index_parse(store, text, bytes);
    if (status == PHY_OK)
        status = phy_store_map_files(store, dir_fd);
    if (status == PHY_OK)
        status = check_ranges(store);
    if (status != PHY_OK)
        return status;
    for (size_t i = 0; i < store->matrix_count; i++) {
        struct phy_store_matrix *m = &store->matrices[i];
        m->data = store->files[m->file].mapping.data + m->offset;
    }
    phy_store_hand_out(store);
    if (!trust)
        status = check_digests(store);
    return status == PHY_OK ? check_bitmaps(store) : status;
}

enum phy_status phy_ffn_store_open(struct phy_ffn_store **out, const char *directory,
                                   const struct phy_ffn_store_params *params)
{
    const struct phy_host *host = params ? params->host : NULL;
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    struct phy_ffn_store *store = phy_zalloc(1, sizeof *store);
    char *label = phy_strndup(directory, strlen(directory));
    if (!store || !label) {
        phy_free(store);
        phy_free(label);
        return phy_fail_memory(host, "a store", sizeof *store);
    }
    store->host = host;
    store->label = label;
    for (size_t end = strlen(label); end > 1 && label[end - 1] == '/'; end--)
        label[end - 1] = 0;
    int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum phy_status status = PHY_OK;
    if (dir_fd < 0)
        status = phy_fail(host, errno == ENOTDIR ? PHY_ERR_FORMAT : PHY_ERR_IO, "%s: %s", label,
                          errno == ENOTDIR ? "not a directory, and a store is one" : strerror(errno));
    if (status == PHY_OK)
        status = phy_store_read_text(store, dir_fd, PHY_STORE_INDEX, PHY_STORE_INDEX_MAX_BYTES, &text, &bytes);
    if (status == PHY_OK) {
        XXH128_hash_t digest = XXH3_128bits(text, bytes);
        snprintf(store->digest, sizeof store->digest, "%016llx%016llx", (unsigned long long)digest.high64,
                 (unsigned long long)digest.low64);
        const bool trust = params && params->trust;
        const enum phy_q6k_order order = params ? params->q6k_order : PHY_Q6K_TOLD_BY_CODES;
        if (phy_is_vindex_index(text, bytes))
            status = phy_vindex_open(store, dir_fd, text, bytes, trust, order);
        else if (order != PHY_Q6K_TOLD_BY_CODES)
            status = phy_fail(host, PHY_ERR_USAGE, "%s: no vindex: the order of Q6_K values is known", label);
        else
            status = open_ours(store, dir_fd, text, bytes, trust);
    }
    phy_free(text);
    if (dir_fd >= 0)
        close(dir_fd);
    if (status != PHY_OK)
        phy_ffn_store_close(&store);
    *out = store;
    return status;
}

void phy_ffn_store_close(struct phy_ffn_store **store)
{
    struct phy_ffn_store *s = *store;
    if (!s)
        return;
    for (size_t i = 0; i < s->file_count; i++)
        phy_mapping_close(&s->files[i].mapping);
    for (size_t i = 0; i < s->matrix_count; i++)
        phy_free(s->matrices[i].owned);
    phy_free(s->files);
    phy_free(s->matrices);
    phy_free(s->layers);
    phy_free(s->label);
    phy_free(s);
    *store = NULL;
}

/* ---- looking ---- */

void phy_ffn_store_describe(const struct phy_ffn_store *store, struct phy_ffn_store_info *out)
{
    *out = (struct phy_ffn_store_info){
        .scheme = store->known ? store->known->name : "vindex",
        .layout = phy_store_layout_name(store->layout),
        .digest = store->digest,
        .layer_count = store->layer_count,
        .hidden_size = store->hidden,
        .intermediate_size = store->intermediate,
        .stored_layers = store->stored_layers,
    };
    for (size_t i = 0; i < store->matrix_count; i++)
        out->bytes += store->matrices[i].bytes;
}

size_t phy_ffn_store_matrix_count(const struct phy_ffn_store *store)
{
    return store->matrix_count;
}

void phy_ffn_store_matrix(const struct phy_ffn_store *store, size_t index, struct phy_ffn_matrix_info *out)
{
    const struct phy_store_matrix *m = &store->matrices[index];
    *out = (struct phy_ffn_matrix_info){
        .layer = m->layer,
        .name = phy_matrix_kind_name(m->kind),
        .format = phy_weight_format(m->type)->name,
        .file = store->files[m->file].name,
        .rows = m->rows,
        .cols = m->cols,
        .offset = m->offset,
        .bytes = m->bytes,
        .values = phy_weight_is_bitmap(m->type) ? m->values : m->rows * m->cols,
    };
}

const struct phy_store_layer *phy_ffn_store_layer(const struct phy_ffn_store *store, uint32_t layer)
{
    return &store->layers[layer];
}

const char *phy_ffn_store_label(const struct phy_ffn_store *store)
{
    return store->label;
}

bool phy_ffn_store_torn(const struct phy_ffn_store *store)
{
    for (size_t i = 0; i < store->file_count; i++) {
        if (phy_mapping_torn(&store->files[i].mapping))
            return true;
    }
    return false;
}

void phy_store_decode_rows(const struct phy_weights *matrix, size_t row_begin, size_t row_end, float *out)
{
    size_t row_bytes = 0;
    struct phy_bitmap bitmap;
    if (phy_weight_is_bitmap(matrix->type)) {
        phy_bitmap_view(&bitmap, matrix->type, matrix->data, matrix->rows, matrix->cols);
        for (size_t row = row_begin; row < row_end; row++)
            phy_bitmap_decode_row(&bitmap, row, out + (row - row_begin) * matrix->cols);
        return;
    }
    phy_weight_row_bytes(matrix->type, matrix->cols, &row_bytes); /* the matrix is in memory, so this fits */
    for (size_t row = row_begin; row < row_end; row++)
        phy_weight_decode_row(matrix->type, (const uint8_t *)matrix->data + row * row_bytes, matrix->cols,
                              out + (row - row_begin) * matrix->cols);
}
