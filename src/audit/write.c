/* SPDX-License-Identifier: Apache-2.0 */
/* The record as files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/audit_parts.h"
#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"

static enum phy_status make(const struct phy_audit *audit, enum phy_audit_form form, struct phy_text *out)
{
    static void (*const writers[])(struct phy_text *, const struct phy_audit_record *) = {
        [PHY_AUDIT_TABLE] = phy_audit_put_table,       [PHY_AUDIT_JSON] = phy_audit_put_json,
        [PHY_AUDIT_MARKDOWN] = phy_audit_put_markdown, [PHY_AUDIT_HTML] = phy_audit_put_html,
        [PHY_AUDIT_JUNIT] = phy_audit_put_junit,
    };
    writers[form](out, &audit->record);
    return out->failed ? phy_fail_memory(audit->host, "a report", out->bytes) : PHY_OK;
}

enum phy_status phy_audit_put(const struct phy_audit *audit, enum phy_audit_form form, phy_audit_sink *sink, void *user)
{
    struct phy_text text = {0};
    enum phy_status status = make(audit, form, &text);
    if (status == PHY_OK)
        sink(user, text.data ? text.data : "", text.bytes);
    phy_text_free(&text);
    return status;
}

static int write_text(const void *user, int fd)
{
    const struct phy_text *text = user;
    return phy_write_all(fd, text->data, text->bytes);
}

enum phy_status phy_audit_write(const struct phy_audit *audit, enum phy_audit_form form, const char *path)
{
    struct phy_text text = {0};
    enum phy_status status = make(audit, form, &text);
    if (status == PHY_OK)
        status = phy_write_whole_file(path, write_text, &text, audit->host);
    phy_text_free(&text);
    return status;
}

enum phy_status phy_audit_write_directory(const struct phy_audit *audit, const char *directory)
{
    static const struct {
        enum phy_audit_form form;
        const char *name;
    } files[] = {{PHY_AUDIT_MARKDOWN, "audit.md"}, {PHY_AUDIT_HTML, "audit.html"}, {PHY_AUDIT_JSON, "audit.json"}};
    size_t bytes = strlen(directory) + 32;
    char *path = phy_alloc(bytes, 1);
    enum phy_status status = path ? PHY_OK : phy_fail_memory(audit->host, "a path", bytes);
    if (status == PHY_OK && mkdir(directory, 0777) != 0 && errno != EEXIST)
        status = phy_fail(audit->host, PHY_ERR_IO, "%s: %s", directory, strerror(errno));
    /* JSON last: where it is, the others are of the same run. */
    for (size_t i = 0; status == PHY_OK && i < sizeof files / sizeof *files; i++) {
        snprintf(path, bytes, "%s/%s", directory, files[i].name);
        status = phy_audit_write(audit, files[i].form, path);
    }
    phy_free(path);
    return status;
}
