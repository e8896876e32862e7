/* SPDX-License-Identifier: Apache-2.0 */
#include "model_source.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static bool is_gguf(const char *path)
{
    struct stat found;
    char magic[4];
    if (stat(path, &found) != 0 || !S_ISREG(found.st_mode))
        return false;
    FILE *file = fopen(path, "rbe");
    bool is = file && fread(magic, 1, sizeof magic, file) == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
    if (file)
        fclose(file);
    return is;
}

static bool has(const char *directory, const char *name)
{
    char path[4096];
    int bytes = snprintf(path, sizeof path, "%s/%s", directory, name);
    return bytes > 0 && (size_t)bytes < sizeof path && access(path, F_OK) == 0;
}

/* What is no model, said before its tokenizer is looked for: that would complain of what nobody has asked for. NULL: it
 * may be one. */
static const char *why_no_model(const char *path)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return NULL;
    if (!S_ISDIR(found.st_mode))
        return "a single file has no config.json; name the directory";
    if (has(path, "index.json") && !has(path, "config.json"))
        return "an FFN store or a vindex: --ffn takes it, beside the model";
    return NULL;
}

enum phy_status phy_model_source_open(struct phy_model_source *out, const char *given, bool without_weights,
                                      const struct phy_host *host)
{
    *out = (struct phy_model_source){.path = given};
    if (!is_gguf(given)) {
        const char *why = without_weights ? NULL : why_no_model(given);
        if (!why)
            return PHY_OK;
        phy_print_escaped(stderr, given);
        fprintf(stderr, ": %s\n", why);
        return PHY_ERR_FORMAT;
    }
    const struct phy_memory_import_params params = {.input = given, .without_weights = without_weights, .host = host};
    enum phy_status status = phy_import_to_memory(&out->memory, &params);
    if (status == PHY_OK)
        out->path = phy_memory_import_path(out->memory);
    return status;
}

void phy_model_source_close(struct phy_model_source *source)
{
    phy_memory_import_close(&source->memory);
}
