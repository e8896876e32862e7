/* SPDX-License-Identifier: Apache-2.0 */
/* cJSON objects with exact 64-bit counts and any name. Each call returns false when memory ran out. */
#ifndef PHY_REPORT_JSON_H
#define PHY_REPORT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;

/* Keys are our own literals. */
bool phy_json_count(struct cJSON *object, const char *key, uint64_t value);
bool phy_json_string(struct cJSON *object, const char *key, const char *value);
bool phy_json_name(struct cJSON *object, const char *key, const char *name, size_t bytes);
bool phy_json_hash(struct cJSON *object, const char *key, uint64_t xxh3); /* 16 hex digits */
bool phy_json_double(struct cJSON *object, const char *key, double value);
bool phy_json_seconds(struct cJSON *object, const char *key, double seconds);              /* to the microsecond */
bool phy_json_ratio(struct cJSON *object, const char *key, uint64_t part, uint64_t whole); /* 0 of 0 is 0 */
bool phy_json_bool(struct cJSON *object, const char *key, bool value);
bool phy_json_null(struct cJSON *object, const char *key);
/* A layer's number, or null for PHY_NO_LAYER. */
bool phy_json_layer(struct cJSON *object, const char *key, uint32_t layer);
/* An array of strings. */
bool phy_json_strings(struct cJSON *object, const char *key, const char *const *strings, size_t count);
/* New child, owned by the parent; NULL on failure or when the parent is NULL. */
struct cJSON *phy_json_object(struct cJSON *object, const char *key);
struct cJSON *phy_json_array(struct cJSON *object, const char *key);
struct cJSON *phy_json_item(struct cJSON *array);

#endif
