/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a tensor: read a piece of its blocks, decode to float32, transform, round to bf16, append to its shard.
 * Pieces are whole blocks, or for the rows of a head that are put in another order, whole heads if one fits. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "import/weights.h"

/* Elements decoded at once: a multiple of every block; 4 bytes of blocks at most, 4 of floats and 2 of bf16 for each.
 */
enum { PIECE_ELEMENTS = 1 << 20, HEADER_ALIGNMENT = 8 };

struct weight_writer {
    const struct import_model *model;
    const struct phy_output *output;
    uint8_t *blocks;  /* (PIECE_ELEMENTS * 4) */
    float *floats;    /* (PIECE_ELEMENTS) */
    uint8_t *rounded; /* (PIECE_ELEMENTS * 2) */
    int fd;
    uint64_t at; /* in the file */
    const char *file;
    uint64_t done_bytes, total_bytes;
};

/* ---- layout ---- */

enum phy_status phy_import_lay_out(struct import_model *model, uint64_t shard_bytes, struct import_layout *out)
{
    uint64_t used = 0;
    *out = (struct import_layout){.shard_count = 1};
    for (size_t i = 0; i < model->tensor_count; i++) {
        struct import_tensor *t = &model->tensors[i];
        uint64_t bytes;
        if (!phy_mul_u64(t->elements, 2, &bytes) || !phy_add_u64(out->weight_bytes, bytes, &out->weight_bytes) ||
            out->weight_bytes >> 62 || out->shard_count >= 99999)
            return phy_gguf_fail_tensor(model->gguf, t->gguf_index, PHY_ERR_LIMIT,
                                        "too many weights: %" PRIu64 " elements, file %u", t->elements,
                                        out->shard_count);
        if (used > 0 && bytes > shard_bytes - phy_min_u64(used, shard_bytes)) {
            out->shard_count++;
            used = 0;
        }
        t->shard = out->shard_count - 1;
        t->at = used;
        used += bytes;
        out->element_count += t->elements;
    }
    return PHY_OK;
}

void phy_import_shard_name(const struct import_layout *layout, uint32_t shard, char out[IMPORT_FILE_BYTES])
{
    if (layout->shard_count == 1)
        snprintf(out, IMPORT_FILE_BYTES, "model.safetensors");
    else
        snprintf(out, IMPORT_FILE_BYTES, "model-%05u-of-%05u.safetensors", shard + 1, layout->shard_count);
}

/* ---- one file's header ---- */

/* Room for one entry: names are ours, of letters, digits and points, and numbers have at most 20 digits. */
enum { ENTRY_BYTES = IMPORT_NAME_BYTES + 160 };

/* The header of a shard's tensors [begin, end) with its length before it, padded with spaces. NULL without memory. */
static char *make_header(const struct import_model *model, size_t begin, size_t end, size_t *bytes)
{
    size_t capacity;
    if (!phy_mul_size(end - begin + 1, ENTRY_BYTES, &capacity))
        return NULL;
    char *text = phy_alloc(capacity + 64, 1);
    if (!text)
        return NULL;
    size_t used = 8;
    used += (size_t)sprintf(text + used, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = begin; i < end; i++) {
        const struct import_tensor *t = &model->tensors[i];
        char name[IMPORT_NAME_BYTES], shape[48];
        phy_import_tensor_name(t, name);
        if (t->rule->columns == SIZE_NONE)
            snprintf(shape, sizeof shape, "%" PRIu64, t->elements);
        else
            snprintf(shape, sizeof shape, "%" PRIu64 ",%" PRIu64, t->rows, t->columns);
        used += (size_t)sprintf(
            text + used, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", name,
            shape, t->at, t->at + 2 * t->elements);
    }
    text[used++] = '}';
    while (used % HEADER_ALIGNMENT)
        text[used++] = ' ';
    phy_store_u64(text, used - 8);
    *bytes = used;
    return text;
}

/* ---- one tensor ---- */

static enum phy_status append(struct weight_writer *w, const void *bytes, size_t count)
{
    int error = phy_pwrite_all(w->fd, bytes, count, w->at);
    if (error)
        return phy_output_fail(w->output, w->file, error);
    w->at += count;
    return PHY_OK;
}

/* Decode `elements` elements, whole blocks, from block position `first` (in elements) of the tensor into w->floats. */
static enum phy_status decode_piece(struct weight_writer *w, const struct import_tensor *t, uint64_t source_at,
                                    uint64_t first, size_t elements)
{
    const struct phy_quant_format *format = t->format;
    size_t blocks = elements / format->elements;
    enum phy_status status = phy_gguf_read(w->model->gguf, w->blocks, blocks * format->bytes,
                                           source_at + first / format->elements * format->bytes);
    if (!status)
        format->decode(w->blocks, blocks, w->floats);
    return status;
}

/* After each piece: append what was rounded, report, and look whether to stop. */
static enum phy_status finish_piece(struct weight_writer *w, size_t elements)
{
    enum phy_status status = append(w, w->rounded, 2 * elements);
    if (status)
        return status;
    w->done_bytes += 2 * elements;
    phy_report_progress(w->model->host, "import", "bytes", w->done_bytes, w->total_bytes);
    if (phy_cancelled(w->model->host))
        return phy_fail(w->model->host, PHY_ERR_INTERRUPTED, "%s: interrupted; nothing is kept", w->output->path);
    return PHY_OK;
}

/* Elements [first, first + count) in the file's order, which is the output's. */
static enum phy_status convert_run(struct weight_writer *w, const struct import_tensor *t, uint64_t source_at,
                                   uint64_t first, uint64_t count)
{
    enum phy_status status = PHY_OK;
    for (uint64_t done = 0; done < count && !status;) {
        size_t piece = (size_t)phy_min_u64(count - done, PIECE_ELEMENTS);
        status = decode_piece(w, t, source_at, first + done, piece);
        if (status)
            break;
        for (size_t i = 0; t->rule->transform == IMPORT_SUBTRACT_ONE && i < piece; i++)
            w->floats[i] -= 1.0f;
        phy_bf16_encode(w->floats, piece, w->rounded);
        status = finish_piece(w, piece);
        done += piece;
    }
    return status;
}

/* Rows of a head lie (pair, half) in the file and (half, pair) in the output: row half * (head / 2) + pair comes from
 * row 2 * pair + half. */
static uint64_t source_row(uint64_t row, uint64_t head)
{
    const uint64_t pairs = head / 2;
    return 2 * (row % pairs) + row / pairs;
}

static enum phy_status convert_heads(struct weight_writer *w, const struct import_tensor *t, uint64_t source_at)
{
    const uint64_t head = w->model->head_dim, columns = t->columns;
    const bool whole = head <= PIECE_ELEMENTS && columns <= PIECE_ELEMENTS / head;
    enum phy_status status = PHY_OK;
    for (uint64_t first = 0; first < t->rows && !status; first += head) {
        if (whole)
            status = decode_piece(w, t, source_at, first * columns, (size_t)(head * columns));
        for (uint64_t row = 0; row < head && !status; row++) {
            const uint64_t from = source_row(row, head);
            if (whole)
                phy_bf16_encode(w->floats + from * columns, (size_t)columns, w->rounded + 2 * row * columns);
            else
                status = convert_run(w, t, source_at, (first + from) * columns, columns);
        }
        if (whole && !status)
            status = finish_piece(w, (size_t)(head * columns));
    }
    return status;
}

static enum phy_status convert_tensor(struct weight_writer *w, const struct import_tensor *t)
{
    struct phy_gguf_tensor source;
    phy_gguf_tensor(w->model->gguf, t->gguf_index, &source);
    if (t->rule->transform == IMPORT_UNPERMUTE)
        return convert_heads(w, t, source.at);
    return convert_run(w, t, source.at, 0, t->elements);
}

/* ---- files ---- */

static enum phy_status close_file(const struct phy_output *output, const char *name, int fd, enum phy_status status)
{
    int error = status ? 0 : phy_fsync(fd);
    int closed = phy_close(fd);
    if (status)
        return status;
    return error || closed ? phy_output_fail(output, name, error ? error : closed) : PHY_OK;
}

enum phy_status phy_import_write_text(const struct phy_output *output, const char *name, const char *text)
{
    int fd;
    enum phy_status status = phy_output_open_file(output, name, 0, &fd);
    if (status)
        return status;
    int error = phy_write_all(fd, text, strlen(text));
    return close_file(output, name, fd, error ? phy_output_fail(output, name, error) : PHY_OK);
}

static enum phy_status write_shard(struct weight_writer *w, size_t begin, size_t end)
{
    const struct import_tensor *last = &w->model->tensors[end - 1];
    size_t header_bytes;
    char *header = make_header(w->model, begin, end, &header_bytes);
    if (!header)
        return phy_fail_memory(w->model->host, "a header", (end - begin) * ENTRY_BYTES);
    enum phy_status status =
        phy_output_open_file(w->output, w->file, header_bytes + last->at + 2 * last->elements, &w->fd);
    if (status) {
        phy_free(header);
        return status;
    }
    w->at = 0;
    status = append(w, header, header_bytes);
    phy_free(header);
    for (size_t i = begin; i < end && !status; i++)
        status = convert_tensor(w, &w->model->tensors[i]);
    return close_file(w->output, w->file, w->fd, status);
}

static enum phy_status write_index(const struct import_model *model, const struct import_layout *layout,
                                   const struct phy_output *output)
{
    cJSON *index = cJSON_CreateObject();
    cJSON *metadata = cJSON_AddObjectToObject(index, "metadata"), *map = cJSON_AddObjectToObject(index, "weight_map");
    char number[24], name[IMPORT_NAME_BYTES], file[IMPORT_FILE_BYTES];
    snprintf(number, sizeof number, "%" PRIu64, layout->weight_bytes);
    bool complete = map && cJSON_AddRawToObject(metadata, "total_size", number);
    for (size_t i = 0; i < model->tensor_count && complete; i++) {
        phy_import_tensor_name(&model->tensors[i], name);
        phy_import_shard_name(layout, model->tensors[i].shard, file);
        complete = cJSON_AddStringToObject(map, name, file) != NULL;
    }
    char *text = complete ? cJSON_Print(index) : NULL;
    cJSON_Delete(index);
    if (!text)
        return phy_fail_memory(model->host, "the index", model->tensor_count * 128);
    enum phy_status status = phy_import_write_text(output, "model.safetensors.index.json", text);
    cJSON_free(text);
    return status;
}

enum phy_status phy_import_write_weights(const struct import_model *model, const struct import_layout *layout,
                                         const struct phy_output *output)
{
    struct weight_writer w = {.model = model, .output = output, .total_bytes = layout->weight_bytes};
    w.blocks = phy_alloc(PIECE_ELEMENTS, 4);
    w.floats = phy_alloc(PIECE_ELEMENTS, sizeof *w.floats);
    w.rounded = phy_alloc(PIECE_ELEMENTS, 2);
    enum phy_status status = w.blocks && w.floats && w.rounded
                                 ? PHY_OK
                                 : phy_fail_memory(model->host, "weights", (size_t)PIECE_ELEMENTS * 10);
    for (size_t begin = 0, end; begin < model->tensor_count && !status; begin = end) {
        char file[IMPORT_FILE_BYTES];
        const uint32_t shard = model->tensors[begin].shard;
        for (end = begin; end < model->tensor_count && model->tensors[end].shard == shard;)
            end++;
        phy_import_shard_name(layout, shard, file);
        w.file = file;
        status = write_shard(&w, begin, end);
    }
    phy_free(w.blocks);
    phy_free(w.floats);
    phy_free(w.rounded);
    if (!status && layout->shard_count > 1)
        status = write_index(model, layout, output);
    return status;
}
