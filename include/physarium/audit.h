/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PHYSARIUM_AUDIT_H
#define PHYSARIUM_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ffn.h"
#include "host.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does each way of computing the FFN, on each device, give what a dense matmul in float64 gives, on real prompts?
 * docs/audit.md has the method. */
struct phy_audit;

struct phy_audit_params {
    const char *donor;            /* a model directory */
    const char *against;          /* a pruned copy of it: tell surgery's effect instead of auditing paths; or NULL */
    const char *store;            /* only this FFN store; NULL: the model's own matrices, and with `all` every scheme */
    enum phy_q6k_order q6k_order; /* of a vindex that `store` names */
    const char *paths;            /* "a,b:c"; NULL: all that fit */
    const char *device;           /* "cpu:avx2,vulkan:0/lanes", "all"; NULL: "all" */
    bool all;                     /* make the stores of all schemes in `cache` */
    const char *cache;            /* NULL: $XDG_CACHE_HOME/physarium/stores, or ~/.cache/physarium/stores */
    const char *prompts;          /* a file of more prompts, one a line; or NULL */
    const char *oracle;           /* a file of stored logits, or a directory of such files; or NULL */
    const char *bounds;           /* bounds.json; NULL: every path has its bucket's default */
    uint64_t budget_seconds;      /* trim prompts, layers and positions to about this; 0: everything */
    uint32_t threads;             /* 0: all processors */
    const struct phy_host *host;
};

/* Run it. A path that fails is a result, not an error: *out is then complete and phy_audit_passed is false. On success
 * *out is the caller's: phy_audit_free(&audit).
 *   errors of phy_model_open and phy_tokenizer_open, and
 *   PHY_ERR_USAGE        no such path or device, a prompts file without prompts
 *   PHY_ERR_DEVICE       no such Vulkan device
 *   PHY_ERR_FORMAT       bounds or oracle break a rule
 *   PHY_ERR_INTERRUPTED  the host asked to stop */
PHY_API enum phy_status phy_audit_run(struct phy_audit **out, const struct phy_audit_params *params);
PHY_API void phy_audit_free(struct phy_audit **audit);
PHY_API bool phy_audit_passed(const struct phy_audit *audit);

enum phy_audit_form { PHY_AUDIT_TABLE, PHY_AUDIT_JSON, PHY_AUDIT_MARKDOWN, PHY_AUDIT_HTML, PHY_AUDIT_JUNIT };

typedef void phy_audit_sink(void *user, const char *text, size_t bytes);
/* One of its reports as text, in one call. PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_put(const struct phy_audit *audit, enum phy_audit_form form, phy_audit_sink *sink,
                                      void *user);
/* One of its reports to a file, whole or not there. PHY_ERR_IO, PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_write(const struct phy_audit *audit, enum phy_audit_form form, const char *path);
/* audit.json, audit.md and audit.html into `directory`, which is made if need be. PHY_ERR_IO, PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_write_directory(const struct phy_audit *audit, const char *directory);

/* Set bounds from what was measured: `directory`/bounds.json, its reports in a folder named after the model, and a row
 * for each store in INDEX.md. Bounds only get tighter unless `loosen` says why they may not; the reason is kept.
 *   PHY_ERR_MISMATCH  a path failed and there is no reason to loosen: nothing is written
 *   PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_lock(const struct phy_audit *audit, const char *directory, const char *loosen);

/* ---- reports of other runs ---- */

/* The `worst` observations of an audit.json, worst first, and the causes of failures, as text or JSON.
 *   PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED (a schema that we do not read), PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_show(const char *file, size_t worst, bool json, phy_audit_sink *sink, void *user,
                                       const struct phy_host *host);

struct phy_audit_compare_params {
    const char *const *files; /* two or more audit.json */
    size_t file_count;
    const char *html; /* a page to write; or NULL */
    bool json;        /* the sink gets JSON instead of a table */
    const struct phy_host *host;
};
/* One matrix path x device of several runs, and the pairs that differ beyond bounds.
 *   PHY_ERR_MISMATCH     some pair does: everything was written
 *   PHY_ERR_USAGE        fewer than two files; of different models, prompts or schema versions
 *   PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED, PHY_ERR_MEMORY */
PHY_API enum phy_status phy_audit_compare(const struct phy_audit_compare_params *params, phy_audit_sink *sink,
                                          void *user);

#ifdef __cplusplus
}
#endif
#endif
