/* SPDX-License-Identifier: Apache-2.0 */
/* What an output's own reports say: the options of its surgery, and counts to hold against what was found. */
#ifndef PHY_SURGERY_COVERAGE_REPORT_H
#define PHY_SURGERY_COVERAGE_REPORT_H

#include "physarium/coverage.h"
#include "report/surgery_report.h"

/* What surgery.json records; zero and NULL where it does not. */
struct phy_recorded_options {
    bool present;                 /* there is a surgery.json that we can read */
    char problem[512];            /* why there is one that we cannot; "" */
    char method[16], pattern[16]; /* "flow"; "" for none */
    double gain, sparsity;        /* gain of the flow; sparsity asked for */
    uint32_t beta, iterations, block;
    char *calibration_name, *calibration_digest; /* NULL without one */
    struct phy_target_params targets;
    struct cJSON *json; /* owns the globs */
};

/* Open the folder of reports: OUT/physarium, or OUT.physarium beside a file; -1 if there is none. */
int phy_reports_open(const char *output_path, bool is_directory);

/* dir_fd may be -1.
 *   PHY_ERR_IO, PHY_ERR_MEMORY */
enum phy_status phy_recorded_options_read(struct phy_recorded_options *out, int dir_fd, const struct phy_host *host);
void phy_recorded_options_free(struct phy_recorded_options *options);

/* Compare coverage.json and tensors.jsonl with findings that stand in a record's tensors. `where` receives the first
 * disagreement, "projections[3].killed is 12, found 11".
 *   PHY_ERR_IO, PHY_ERR_MEMORY */
struct phy_report_verdict {
    enum phy_coverage_report state;
    char where[768];
};
enum phy_status phy_reports_check_coverage(struct phy_report_verdict *out, int dir_fd,
                                           const struct phy_report_tensor *tensors, size_t count,
                                           const struct phy_host *host);
enum phy_status phy_reports_check_tensors(struct phy_report_verdict *out, int dir_fd,
                                          const struct phy_report_tensor *tensors, size_t count,
                                          const struct phy_host *host);

#endif
