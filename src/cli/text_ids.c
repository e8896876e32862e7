/* SPDX-License-Identifier: Apache-2.0 */
#include "text_ids.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A tokenizer whose template puts exactly one token before an empty text has a BOS token. */
static enum phy_status find_bos(struct phy_text_ids *out, const struct phy_tokenizer *tokenizer)
{
    struct phy_id_list list;
    enum phy_status status = phy_tokenizer_encode(tokenizer, "", 0, NULL, &list);
    if (status != PHY_OK)
        return status;
    out->has_bos = list.count > 0;
    if (out->has_bos)
        out->bos = list.ids[0];
    phy_id_list_free(&list);
    return PHY_OK;
}

static enum phy_status encode(struct phy_text_ids *out, const struct phy_tokenizer *tokenizer, const char *name,
                              const char *text, size_t bytes)
{
    struct phy_id_list list;
    enum phy_status status = phy_tokenizer_encode(
        tokenizer, text, bytes, &(struct phy_encode_params){.no_special = true, .name = phy_file_name(name)}, &list);
    if (status != PHY_OK)
        return status;
    out->ids = malloc((list.count + 1) * sizeof *out->ids);
    if (out->ids) {
        memcpy(out->ids, list.ids, list.count * sizeof *out->ids);
        out->count = list.count;
    } else {
        status = PHY_ERR_MEMORY;
    }
    phy_id_list_free(&list);
    return status;
}

static enum phy_status unpack(struct phy_text_ids *out, const char *name, const char *raw, size_t bytes)
{
    if (bytes % 4) {
        phy_print_escaped(stderr, name);
        fprintf(stderr, ": %zu bytes are not a whole number of uint32 values\n", bytes);
        return PHY_ERR_FORMAT;
    }
    out->ids = malloc(bytes + 4);
    if (!out->ids)
        return PHY_ERR_MEMORY;
    out->count = bytes / 4;
    for (size_t i = 0; i < out->count; i++) {
        const unsigned char *p = (const unsigned char *)raw + 4 * i;
        out->ids[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    return PHY_OK;
}

/* The directory `model` is there and has no tokenizer.json, not even a link that leads nowhere. */
static bool has_no_tokenizer(const char *model)
{
    struct stat found;
    size_t capacity = strlen(model) + sizeof "/tokenizer.json";
    char *path = malloc(capacity);
    if (!path)
        return false;
    snprintf(path, capacity, "%s/tokenizer.json", model);
    bool absent = lstat(path, &found) != 0 && errno == ENOENT && stat(model, &found) == 0;
    free(path);
    return absent;
}

enum phy_status phy_text_ids_read(struct phy_text_ids *out, const char *model, const char *text, const char *ids,
                                  const struct phy_host *host)
{
    char *content = NULL;
    size_t bytes = 0;
    const char *name = text ? text : ids;
    *out = (struct phy_text_ids){0};
    if (!phy_read_file(name, &content, &bytes)) {
        int error = errno;
        phy_print_escaped(stderr, name);
        fprintf(stderr, ": %s\n", strerror(error));
        return PHY_ERR_IO;
    }
    enum phy_status status = PHY_OK;
    if (ids && has_no_tokenizer(model)) {
        host->log(host->user, PHY_LOG_WARNING, "the model has no tokenizer, so no window begins with a BOS token");
    } else {
        status = phy_tokenizer_open(&out->tokenizer, model, &(struct phy_tokenizer_params){.host = host});
        if (status == PHY_OK)
            status = find_bos(out, out->tokenizer);
    }
    if (status == PHY_OK)
        status = text ? encode(out, out->tokenizer, name, content, bytes) : unpack(out, name, content, bytes);
    free(content);
    return status;
}

void phy_text_ids_free(struct phy_text_ids *ids)
{
    phy_tokenizer_close(&ids->tokenizer);
    free(ids->ids);
    *ids = (struct phy_text_ids){0};
}
