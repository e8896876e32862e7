/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds: what a path may be off by, as data. */
#ifndef PHY_AUDIT_BOUNDS_H
#define PHY_AUDIT_BOUNDS_H

#include "report/audit_report.h"

struct phy_bound {
    char digest[40], model[PHY_AUDIT_NAME], type[32];  /* digest or type "": of any */
    char bucket[16], path[PHY_AUDIT_NAME], scheme[16]; /* path "": of every path of the bucket */
    struct phy_audit_limits limits;
    /* The measurement that set it, kept as it was read: a JSON object; owned. */
    char *set_by;
};

struct phy_bounds {
    struct phy_bound *items;
    size_t count;
};

/* PHY_ERR_IO, PHY_ERR_FORMAT (the log says what), PHY_ERR_UNSUPPORTED, PHY_ERR_MEMORY. */
enum phy_status phy_bounds_read(struct phy_bounds *out, const char *path, const struct phy_host *host);
void phy_bounds_free(struct phy_bounds *bounds);
/* The closest bound of that path, or its bucket's default. */
void phy_bounds_find(const struct phy_bounds *bounds, const char *digest, const char *type,
                     const struct phy_audit_run *run, struct phy_audit_limits *out);
/* Whether the path's kernel rounds activations: it has bounds of its own only. */
bool phy_bounds_rounded(const char *path);
void phy_bounds_default(const char *bucket, const char *path, struct phy_audit_limits *out);

/* The rules of --lock. The floor that leading nines leave, as 1 - cos: 3e-6 (0.999997) gives 1e-5, 0.17 gives 0.2. */
double phy_bound_one_minus_cos(double worst);
double phy_bound_rel_l2(double worst);
double phy_bound_dp(double worst);

#endif
