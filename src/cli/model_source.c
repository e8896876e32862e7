/* SPDX-License-Identifier: Apache-2.0 */
#include "model_source.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

enum phy_status phy_model_source_open(struct phy_model_source *out, const char *given, bool without_weights,
                                      const struct phy_host *host)
{
    *out = (struct phy_model_source){.path = given};
    if (!is_gguf(given))
        return PHY_OK;
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
