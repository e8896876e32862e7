/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/machine.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu_features.h"
#include "report/json.h"

/* A tenth of the processors' time in other hands, or a fiftieth taken by the host, and medians move. */
static const double others_limit = 0.10, steal_limit = 0.02;

/* The first `bytes` - 1 bytes of a small file, without its last newline; false if it cannot be read. */
static bool read_small(const char *path, char *text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, bytes - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return false;
    text[got] = 0;
    if (text[got - 1] == '\n')
        text[got - 1] = 0;
    return true;
}

/* The number after "NAME:" in kB of a /proc file of such lines, in bytes; 0 if it is not there. */
static uint64_t kilobytes_of(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    char line[256];
    uint64_t bytes = 0;
    size_t length = strlen(name);
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            bytes = strtoull(line + length + 1, NULL, 10) << 10;
    }
    if (file)
        fclose(file);
    return bytes;
}

uint64_t phy_machine_available_bytes(void)
{
    uint64_t bytes = kilobytes_of("/proc/meminfo", "MemAvailable");
    char text[32];
    /* A container's limit, where it has one. */
    if (read_small("/sys/fs/cgroup/memory.max", text, sizeof text) && text[0] >= '0' && text[0] <= '9') {
        uint64_t limit = strtoull(text, NULL, 10);
        bytes = bytes == 0 || limit < bytes ? limit : bytes;
    }
    return bytes;
}

bool phy_machine_confine(unsigned count)
{
    cpu_set_t may, set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof may, &may))
        return false;
    for (size_t i = 0; i < CPU_SETSIZE && count; i++) {
        if (CPU_ISSET(i, &may)) {
            CPU_SET(i, &set);
            count--;
        }
    }
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

uint64_t phy_machine_peak_rss_bytes(void)
{
    uint64_t bytes = kilobytes_of("/proc/self/status", "VmHWM");
    struct rusage usage;
    if (bytes == 0 && getrusage(RUSAGE_SELF, &usage) == 0)
        bytes = (uint64_t)usage.ru_maxrss << 10;
    return bytes;
}

bool phy_machine_reset_peak_rss(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, "5", 1) == 1;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- what it is ---- */

static bool put_small(cJSON *to, const char *key, const char *path)
{
    char text[64];
    return phy_json_string(to, key, read_small(path, text, sizeof text) ? text : NULL);
}

static bool put_turbo(cJSON *to)
{
    char text[8];
    if (read_small("/sys/devices/system/cpu/intel_pstate/no_turbo", text, sizeof text))
        return phy_json_bool(to, "turbo", text[0] == '0');
    if (read_small("/sys/devices/system/cpu/cpufreq/boost", text, sizeof text))
        return phy_json_bool(to, "turbo", text[0] == '1');
    return phy_json_null(to, "turbo");
}

bool phy_machine_describe(cJSON *root)
{
    cJSON *machine = phy_json_object(root, "machine");
    struct utsname name;
    char system[sizeof name.sysname + sizeof name.release + sizeof name.machine + 3] = "unknown";
    if (uname(&name) == 0) /* its nodename is the host's name and stays out */
        snprintf(system, sizeof system, "%s %s %s", name.sysname, name.release, name.machine);
    bool known;
    uint64_t cache = phy_cpu_cache_bytes(&known);
    return machine && phy_json_string(machine, "cpu", phy_cpu_model()) &&
           phy_json_count(machine, "processors", phy_cpu_count()) && phy_json_string(machine, "system", system) &&
           phy_json_count(machine, "cache_bytes", cache) && phy_json_bool(machine, "cache_bytes_known", known) &&
           phy_json_count(machine, "available_bytes", phy_machine_available_bytes()) &&
           put_small(machine, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") &&
           put_turbo(machine);
}

/* ---- what it was doing ---- */

bool phy_machine_parse_stat(const char *text, double ticks_per_s, struct phy_machine_moment *out)
{
    /* cpu user nice system idle iowait irq softirq steal ...: user includes guests. */
    unsigned long long t[8] = {0};
    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
               &t[7]) < 4)
        return false;
    out->busy_s = (double)(t[0] + t[1] + t[2] + t[5] + t[6]) / ticks_per_s;
    out->steal_s = (double)t[7] / ticks_per_s;
    return true;
}

static double seconds_of(const struct timeval *t)
{
    return (double)t->tv_sec + 1e-6 * (double)t->tv_usec;
}

void phy_machine_look(struct phy_machine_moment *out)
{
    char text[512];
    *out = (struct phy_machine_moment){.at = phy_seconds_now(), .load = -1};
    const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int i = 0; i < 2; i++) {
        struct rusage usage;
        if (getrusage(whose[i], &usage) == 0)
            out->own_cpu_s += seconds_of(&usage.ru_utime) + seconds_of(&usage.ru_stime);
    }
    long ticks = sysconf(_SC_CLK_TCK);
    out->known =
        ticks > 0 && read_small("/proc/stat", text, sizeof text) && phy_machine_parse_stat(text, (double)ticks, out);
    if (read_small("/proc/loadavg", text, sizeof text))
        out->load = strtod(text, NULL);
}

void phy_machine_judge(const struct phy_machine_moment *before, const struct phy_machine_moment *after,
                       unsigned processors, struct phy_machine_conditions *out)
{
    *out = (struct phy_machine_conditions){.known = before->known && after->known};
    double all = (after->at - before->at) * processors;
    if (!out->known || all <= 0)
        return;
    double own = after->own_cpu_s - before->own_cpu_s, busy = after->busy_s - before->busy_s;
    out->others_share = busy > own ? (busy - own) / all : 0;
    out->steal_share = (after->steal_s - before->steal_s) / all;
    if (out->steal_share > steal_limit)
        snprintf(out->reason, sizeof out->reason, "the host took %.0f%% of the processors' time away",
                 100 * out->steal_share);
    else if (out->others_share > others_limit)
        snprintf(out->reason, sizeof out->reason, "other programs took %.0f%% of the processors' time",
                 100 * out->others_share);
    out->busy = out->reason[0] != 0;
}
