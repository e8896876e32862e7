/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that a figure was measured on, and what else it was doing. Every file may be missing: a container shows
 * few of them, and then the report says that it is not known. */
#ifndef PHY_BENCH_MACHINE_H
#define PHY_BENCH_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct cJSON;

uint64_t phy_machine_available_bytes(void); /* of memory; 0: not known */
/* Threads of this process stay on the first `count` processors that it may use: how many those are, and the number that
 * it was. False where the system refuses. */
bool phy_machine_confine(unsigned count);
/* This process' peak of resident memory; reset makes it begin again, where the system allows that. */
uint64_t phy_machine_peak_rss_bytes(void);
bool phy_machine_reset_peak_rss(void);

/* "machine": processor, system, caches, governor. No names of hosts or users. */
bool phy_machine_describe(struct cJSON *root);

/* Counters of one moment. */
struct phy_machine_moment {
    double at, own_cpu_s; /* own: this process and the children it waited for */
    bool known;           /* the next line counts */
    double busy_s, steal_s;
    double load; /* of a minute; < 0: not known */
};
void phy_machine_look(struct phy_machine_moment *out);
/* As phy_machine_look, from the text of /proc/stat, of so many ticks a second. False if it is none. */
bool phy_machine_parse_stat(const char *text, double ticks_per_s, struct phy_machine_moment *out);

struct phy_machine_conditions {
    bool known, busy;
    double steal_share, others_share; /* of all processors' time between the two moments */
    char reason[160];                 /* why it counts as busy; "" */
};
void phy_machine_judge(const struct phy_machine_moment *before, const struct phy_machine_moment *after,
                       unsigned processors, struct phy_machine_conditions *out);

#endif
