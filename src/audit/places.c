/* SPDX-License-Identifier: Apache-2.0 */
/* Reasons and causes are sentences for whoever ran the audit, and name directories as they were given. The record goes
 * to others: there a directory is its last part. */
#define _GNU_SOURCE
#include <string.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/path_name.h"

/* Labels of sentences are cut to this (ffn/path_kinds.c): a longer path is still one. */
enum { LABEL_BYTES = 200 };

/* Each `path` in the text becomes `name`, which is no longer. */
static void rename_place(char *text, const char *path, size_t path_bytes, const char *name)
{
    const size_t name_bytes = strlen(name);
    if (path_bytes <= name_bytes || (name_bytes == 0 && path_bytes == 1)) /* shorter already, or the root */
        return;
    for (char *at = text; (at = memmem(at, strlen(at), path, path_bytes)); at += name_bytes) {
        memcpy(at, name, name_bytes);
        memmove(at + name_bytes, at + path_bytes, strlen(at + path_bytes) + 1);
    }
}

static void hide_in(const struct phy_audit *audit, char *text, const char *cache)
{
    const char *const places[] = {audit->params.store, audit->params.against, audit->params.donor};
    if (*cache)
        rename_place(text, cache, strlen(cache), "");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *name = places[i] ? phy_path_last_part(places[i]) : NULL;
        const size_t bytes = name ? strlen(places[i]) : 0;
        if (name) {
            rename_place(text, places[i], bytes, name);
            rename_place(text, places[i], bytes < LABEL_BYTES ? bytes : LABEL_BYTES, name);
        }
        phy_free(name);
    }
}

void phy_audit_hide_places(struct phy_audit *audit)
{
    struct phy_audit_record *r = &audit->record;
    char cache[4096];
    phy_audit_cache_folder(audit, cache);
    for (size_t i = 0; i < r->skip_count; i++)
        hide_in(audit, r->skips[i].reason, cache);
    for (size_t i = 0; i < r->run_count; i++) {
        for (size_t c = 0; c < r->runs[i].causes.count; c++)
            hide_in(audit, r->runs[i].causes.lines[c], cache);
    }
}
