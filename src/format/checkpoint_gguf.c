/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "format/checkpoint_parts.h"
#include "format/gguf.h"

/* Copy what the table keeps of a checked header: GGUF's file order is data order already. */
static bool fill_table(struct phy_tensor_table *table, const struct phy_gguf *gguf, uint64_t file_bytes)
{
    size_t count = phy_gguf_tensor_count(gguf), text_bytes = 0;
    struct phy_gguf_tensor tensor;
    for (size_t i = 0; i < count; i++) {
        phy_gguf_tensor(gguf, i, &tensor);
        text_bytes += tensor.name_bytes + 1;
        table->dim_count += tensor.dim_count;
    }
    table->rows = phy_alloc(count, sizeof *table->rows);
    table->dims = phy_alloc(table->dim_count, sizeof *table->dims);
    table->text = phy_alloc(text_bytes, 1);
    if (!table->rows || !table->dims || !table->text)
        return false;
    table->count = count;
    table->header_bytes = phy_gguf_data_start(gguf);
    table->data_bytes = file_bytes - table->header_bytes;
    char *text = table->text;
    uint32_t dims = 0;
    for (size_t i = 0; i < count; i++) {
        phy_gguf_tensor(gguf, i, &tensor);
        memcpy(text, tensor.name, tensor.name_bytes + 1);
        memcpy(table->dims + dims, tensor.dims, tensor.dim_count * sizeof *table->dims);
        table->rows[i] = (struct phy_tensor_row){
            .begin = tensor.at - table->header_bytes,
            .bytes = tensor.bytes,
            .name = text,
            .dtype = tensor.type_name,
            .name_bytes = (uint32_t)tensor.name_bytes,
            .header_index = (uint32_t)i,
            .first_dim = dims,
            .dim_count = (uint8_t)tensor.dim_count,
            .element_bits = (uint8_t)(tensor.block_elements == 1 ? 8 * tensor.block_bytes : 0),
        };
        text += tensor.name_bytes + 1;
        dims += tensor.dim_count;
    }
    return true;
}

enum phy_status phy_checkpoint_read_gguf(struct phy_tensor_table *out, int fd, uint64_t file_bytes, const char *file,
                                         const struct phy_host *host)
{
    struct phy_gguf_source source = phy_gguf_source_fd(fd, file_bytes);
    struct phy_gguf *gguf = NULL;
    enum phy_status status = phy_gguf_open(&gguf, &source, file, host);
    if (!status && !fill_table(out, gguf, file_bytes))
        status = phy_fail_memory(host, "a table of tensors", phy_gguf_tensor_count(gguf) * sizeof *out->rows);
    phy_gguf_close(&gguf);
    if (status)
        phy_tensor_table_free(out);
    return status;
}
