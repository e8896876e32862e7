/* SPDX-License-Identifier: Apache-2.0 */
/* All logits of a text as a file. */
#include "base/io.h"
#include "base/whole_file.h"
#include "physarium/model.h"

struct logits_file {
    struct phy_session *session;
    const uint32_t *tokens;
    size_t count;
};

struct row_writer {
    int fd, error;
    size_t row_bytes;
};

static bool write_row(void *user, uint32_t position, const float *logits)
{
    struct row_writer *writer = user;
    (void)position;
    writer->error = phy_write_all(writer->fd, logits, writer->row_bytes);
    return !writer->error;
}

static int write_rows(const void *user, int fd)
{
    const struct logits_file *file = user;
    struct phy_model_info info;
    phy_model_describe(phy_session_model(file->session), &info);
    struct row_writer writer = {.fd = fd, .row_bytes = info.vocab_size * sizeof(float)};
    enum phy_status status = phy_session_forward(file->session, file->tokens, file->count, 0, write_row, &writer);
    return writer.error ? writer.error : -(int)status;
}

enum phy_status phy_logits_write(struct phy_session *session, const uint32_t *tokens, size_t count, const char *output,
                                 const struct phy_host *host)
{
    return phy_write_whole_file(output, write_rows, &(struct logits_file){session, tokens, count}, host);
}
