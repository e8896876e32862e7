/* SPDX-License-Identifier: Apache-2.0 */
/* An audit.json of another run, which may be of another machine: nothing in it is trusted to be there. */
#ifndef PHY_AUDIT_AUDIT_FILE_H
#define PHY_AUDIT_AUDIT_FILE_H

#include "report/audit_report.h"

struct cJSON;

/* On success *out is the caller's: cJSON_Delete. Its schema, model, prompts and runs are of the right kinds.
 *   PHY_ERR_IO, PHY_ERR_FORMAT, PHY_ERR_UNSUPPORTED (schema version), PHY_ERR_MEMORY */
enum phy_status phy_audit_file_read(struct cJSON **out, const char *path, const struct phy_host *host);

/* NaN and "" for what is not there. */
double phy_audit_number(const struct cJSON *object, const char *key);
const char *phy_audit_string(const struct cJSON *object, const char *key);

#endif
