/* SPDX-License-Identifier: Apache-2.0 */
#include "surgery/identity.h"

#include <stdio.h>
#include <string.h>

#include "format/checkpoint_files.h"
#include "physarium/version.h"

/* JSON string contents: what is not plain becomes \u00XX, so a line stays a line. Bytes above 0x7f are passed on. */
static void add_escaped(struct phy_bytes *text, const char *raw)
{
    for (; *raw; raw++) {
        unsigned char c = (unsigned char)*raw;
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
            phy_bytes_printf(text, "\\u%04x", c);
        else
            phy_bytes_add(text, raw, 1);
    }
}

static void add_globs(struct phy_bytes *text, const char *key, const char *const *globs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        phy_bytes_printf(text, "\"%s %zu\": \"", key, i + 1);
        add_escaped(text, globs[i]);
        phy_bytes_printf(text, "\",\n");
    }
}

void phy_identity_write(struct phy_bytes *text, const struct phy_identity_params *params)
{
    const struct phy_surgery_params *s = params->surgery;
    phy_bytes_printf(text, "{\n\"version\": \"%s\",\n", phy_version());
    for (size_t i = 0; i < phy_checkpoint_shard_count(params->donor); i++) {
        struct phy_shard_info shard;
        phy_checkpoint_shard(params->donor, i, &shard);
        phy_bytes_printf(text, "\"shard ");
        add_escaped(text, shard.name);
        phy_bytes_printf(
            text, "\": \"bytes %llu, modified %lld, header %016llx\",\n", (unsigned long long)shard.file_bytes,
            (long long)phy_checkpoint_shard_mtime_ns(params->donor, i), (unsigned long long)params->header_xxh3[i]);
    }
    for (size_t i = 0; i < phy_checkpoint_sidecar_count(params->donor); i++) {
        struct phy_sidecar sidecar;
        phy_checkpoint_sidecar(params->donor, i, &sidecar);
        phy_bytes_printf(text, "\"file ");
        add_escaped(text, sidecar.path);
        phy_bytes_printf(text, "\": \"bytes %llu\",\n", (unsigned long long)sidecar.bytes);
    }
    if (params->rank->ranked) /* a run of the flow has no such line */
        phy_bytes_printf(text, "\"method\": \"%s\",\n", params->rank->name);
    if (s->pattern)
        phy_bytes_printf(text, "\"pattern\": \"%u:%u\",\n", params->rank->keep, params->rank->group);
    else if (s->sparsity > 0)
        phy_bytes_printf(text, "\"sparsity\": \"%.17g\",\n", s->sparsity);
    else
        phy_bytes_printf(text, "\"gain\": \"%.9g\",\n", s->gain);
    if (!params->rank->ranked)
        phy_bytes_printf(text, "\"beta\": \"%u\",\n\"iterations\": \"%u\",\n\"block\": \"%u\",\n", s->beta,
                         s->iterations, s->block);
    if (params->calibration_digest)
        phy_bytes_printf(text, "\"calibration\": \"%s\",\n", params->calibration_digest);
    add_globs(text, "include", s->targets.include, s->targets.include_count);
    add_globs(text, "exclude", s->targets.exclude, s->targets.exclude_count);
    if (s->targets.has_layers)
        phy_bytes_printf(text, "\"layers\": \"%u-%u\",\n", s->targets.first_layer, s->targets.last_layer);
    phy_bytes_printf(text, "\"kind\": \"%s\"\n}\n", phy_checkpoint_is_directory(params->donor) ? "directory" : "file");
    phy_bytes_terminate(text);
}

/* One line of an identity: `"key": "value",`. */
struct line {
    const char *key, *value;
    int key_bytes, value_bytes;
};

static const char *next_line(const char *text, struct line *out)
{
    for (;;) {
        size_t bytes = strcspn(text, "\n");
        const char *colon = strstr(text, "\": \"");
        const char *end = text + bytes;
        const char *next = *end ? end + 1 : end;
        if (bytes == 0 && *text == 0)
            return NULL;
        if (*text == '"' && colon && colon < end) {
            const char *value = colon + 4;
            while (end > value && *end != '"')
                end--;
            *out = (struct line){text + 1, value, (int)(colon - text - 1), (int)(end - value)};
            return next;
        }
        text = next;
    }
}

static bool find_line(const char *text, const struct line *wanted, struct line *out)
{
    while ((text = next_line(text, out))) {
        if (out->key_bytes == wanted->key_bytes && memcmp(out->key, wanted->key, (size_t)wanted->key_bytes) == 0)
            return true;
    }
    return false;
}

bool phy_identity_differs(const char *there, const char *here, char *out, size_t capacity)
{
    struct line mine, theirs;
    *out = 0;
    if (strcmp(there, here) == 0)
        return false;
    for (const char *at = here; (at = next_line(at, &mine));) {
        if (!find_line(there, &mine, &theirs)) {
            snprintf(out, capacity, "%.*s is not given there and %.*s here", mine.key_bytes, mine.key, mine.value_bytes,
                     mine.value);
            return true;
        }
        if (mine.value_bytes != theirs.value_bytes || memcmp(mine.value, theirs.value, (size_t)mine.value_bytes) != 0) {
            snprintf(out, capacity, "%.*s is %.*s there and %.*s here", mine.key_bytes, mine.key, theirs.value_bytes,
                     theirs.value, mine.value_bytes, mine.value);
            return true;
        }
    }
    for (const char *at = there; (at = next_line(at, &theirs));) {
        if (!find_line(here, &theirs, &mine)) {
            snprintf(out, capacity, "%.*s is %.*s there and not given here", theirs.key_bytes, theirs.key,
                     theirs.value_bytes, theirs.value);
            return true;
        }
    }
    snprintf(out, capacity, "the order of what it lists");
    return true;
}
