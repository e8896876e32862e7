/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/audit_file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "audit/small_file.h"
#include "base/alloc.h"
#include "base/log.h"

enum { FILE_MAX_BYTES = 256 << 20 };

static bool all_objects(const cJSON *array)
{
    const cJSON *item;
    bool done = cJSON_IsArray(array);
    cJSON_ArrayForEach(item, array) done &= cJSON_IsObject(item);
    return done;
}

enum phy_status phy_audit_file_read(cJSON **out, const char *path, const struct phy_host *host)
{
    char *text;
    *out = NULL;
    int error = phy_read_named_file(path, FILE_MAX_BYTES, &text, NULL);
    if (error)
        return phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(error));
    cJSON *root = cJSON_Parse(text);
    phy_free(text);
    enum phy_status status = PHY_OK;
    double version = phy_audit_number(root, "schema_version");
    if (strcmp(phy_audit_string(root, "schema"), PHY_AUDIT_SCHEMA) != 0)
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: not JSON with schema \"" PHY_AUDIT_SCHEMA "\"", path);
    else if (version != PHY_AUDIT_SCHEMA_VERSION)
        status = phy_fail(host, PHY_ERR_UNSUPPORTED, "%s: schema_version %g, this program reads %d", path, version,
                          PHY_AUDIT_SCHEMA_VERSION);
    else if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(root, "model")) ||
             !all_objects(cJSON_GetObjectItemCaseSensitive(root, "prompts")) ||
             !all_objects(cJSON_GetObjectItemCaseSensitive(root, "runs")))
        status = phy_fail(host, PHY_ERR_FORMAT, "%s: model, prompts or runs are missing", path);
    if (status == PHY_OK)
        *out = root;
    else
        cJSON_Delete(root);
    return status;
}

double phy_audit_number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

const char *phy_audit_string(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}
