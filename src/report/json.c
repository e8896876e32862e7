/* SPDX-License-Identifier: Apache-2.0 */
#include "report/json.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/text.h"

/* Attach, or free what could not be attached. */
static bool attach(cJSON *object, const char *key, cJSON *value)
{
    if (object && value && cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

static cJSON *create_string(const char *string, size_t bytes)
{
    struct phy_text text = {0};
    phy_text_json_string(&text, string, bytes);
    cJSON *value = text.failed ? NULL : cJSON_CreateRaw(text.data);
    phy_text_free(&text);
    return value;
}

bool phy_json_count(cJSON *object, const char *key, uint64_t value)
{
    /* A cJSON number is a double, which is not exact above 2^53. */
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    return attach(object, key, cJSON_CreateRaw(digits));
}

bool phy_json_string(cJSON *object, const char *key, const char *value)
{
    return phy_json_name(object, key, value, value ? strlen(value) : 0);
}

bool phy_json_name(cJSON *object, const char *key, const char *name, size_t bytes)
{
    return attach(object, key, name ? create_string(name, bytes) : cJSON_CreateNull());
}

bool phy_json_hash(cJSON *object, const char *key, uint64_t xxh3)
{
    char digits[20];
    snprintf(digits, sizeof digits, "%016" PRIx64, xxh3);
    return attach(object, key, cJSON_CreateString(digits));
}

bool phy_json_double(cJSON *object, const char *key, double value)
{
    return attach(object, key, cJSON_CreateNumber(value));
}

bool phy_json_seconds(cJSON *object, const char *key, double seconds)
{
    return phy_json_double(object, key, round(seconds * 1e6) / 1e6);
}

bool phy_json_ratio(cJSON *object, const char *key, uint64_t part, uint64_t whole)
{
    return phy_json_double(object, key, whole ? (double)part / (double)whole : 0.0);
}

bool phy_json_bool(cJSON *object, const char *key, bool value)
{
    return attach(object, key, cJSON_CreateBool(value));
}

bool phy_json_null(cJSON *object, const char *key)
{
    return attach(object, key, cJSON_CreateNull());
}

bool phy_json_layer(cJSON *object, const char *key, uint32_t layer)
{
    return layer == UINT32_MAX ? phy_json_null(object, key) : phy_json_count(object, key, layer);
}

bool phy_json_strings(cJSON *object, const char *key, const char *const *strings, size_t count)
{
    cJSON *array = phy_json_array(object, key);
    for (size_t i = 0; array && i < count; i++) {
        cJSON *value = create_string(strings[i], strlen(strings[i]));
        if (!value || !cJSON_AddItemToArray(array, value)) {
            cJSON_Delete(value);
            return false;
        }
    }
    return array != NULL;
}

cJSON *phy_json_object(cJSON *object, const char *key)
{
    cJSON *child = cJSON_CreateObject();
    return attach(object, key, child) ? child : NULL;
}

cJSON *phy_json_array(cJSON *object, const char *key)
{
    cJSON *child = cJSON_CreateArray();
    return attach(object, key, child) ? child : NULL;
}

cJSON *phy_json_item(cJSON *array)
{
    cJSON *child = cJSON_CreateObject();
    if (array && child && cJSON_AddItemToArray(array, child))
        return child;
    cJSON_Delete(child);
    return NULL;
}
