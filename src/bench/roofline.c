/* SPDX-License-Identifier: Apache-2.0 */
/* Rooflines of the CPU and of Vulkan devices, from kernels that do nothing else. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu_features.h"
#include "base/log.h"
#include "bench/machine.h"
#include "bench/peak.h"
#include "bench/worker.h"
#include "physarium/device.h"
#include "report/json.h"
#include "vk/vk_probe.h"

enum { MIB = 1 << 20 };

static void put_rate(cJSON *to, const char *key, double value)
{
    if (value > 0)
        phy_json_double(to, key, value);
    else
        phy_json_null(to, key);
}

static void put_roofline(cJSON *device, const struct phy_bench_roofline *r)
{
    cJSON *roof = phy_json_object(device, "roofline");
    put_rate(roof, "read_gb_per_s", r->read);
    put_rate(roof, "write_gb_per_s", r->write);
    put_rate(roof, "copy_gb_per_s", r->copy);
    put_rate(roof, "f32_g_operations_per_s", r->f32);
    put_rate(roof, "f16_g_operations_per_s", r->f16);
    put_rate(roof, "int8_g_operations_per_s", r->int8);
    put_rate(roof, "bf16_g_operations_per_s", r->bf16);
    put_rate(roof, "matrix_g_operations_per_s", r->matrix);
    cJSON *points = phy_json_array(roof, "read_by_size");
    for (size_t i = 0; i < r->point_count; i++) {
        cJSON *point = phy_json_item(points);
        phy_json_count(point, "bytes", r->points[i].bytes);
        put_rate(point, "read_gb_per_s", r->points[i].read);
    }
}

static void send_device(struct phy_bench_worker *w, cJSON *message)
{
    if (message)
        w->emit(w->emit_user, message);
    cJSON_Delete(message);
}

/* 10^9 units a second of what a case did, at best: a roof is what can be reached. 0 if it failed. */
static double rate_of(const struct phy_bench_case *c, double units)
{
    double sorted[PHY_BENCH_MAX_ROUNDS];
    struct phy_bench_summary summary;
    if (c->status || c->count == 0)
        return 0;
    memcpy(sorted, c->samples, c->count * sizeof *sorted);
    phy_bench_summarise(sorted, c->count, &summary);
    return units / summary.best * 1e-9;
}

/* ---- the CPU ---- */

enum cpu_kernel { READ, WRITE, COPY, F32, F16, I8, BF16, CPU_KERNELS };

struct cpu_probe {
    struct phy_bench_worker *w;
    const struct phy_peak_variant *form;
    enum cpu_kernel kernel;
    char *from, *to; /* (bytes) each; every thread its share */
    size_t share;    /* bytes of a thread */
    uint64_t rounds; /* of arithmetic */
    bool stream;
    uint64_t sink; /* what the kernels returned: kept, so that they are run */
};

static void run_share(void *user, size_t index, unsigned worker)
{
    struct cpu_probe *p = user;
    static const uint16_t halves[16] = {0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00,
                                        0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00, 0x3C00};
    int8_t bytes[64];
    volatile float one = 1.0f;
    size_t at = index * p->share;
    uint64_t seen = 0;
    (void)worker;
    memset(bytes, 1, sizeof bytes);
    switch (p->kernel) {
    case READ:
        seen = p->form->read(p->from + at, p->share);
        break;
    case WRITE:
        p->form->write(p->to + at, p->share, UINT64_C(0x3F803F803F803F80), p->stream);
        break;
    case COPY:
        p->form->copy(p->to + at, p->from + at, p->share, p->stream);
        break;
    case F32:
        seen = (uint64_t)p->form->multiply_f32(p->rounds, one);
        break;
    case F16:
        seen = (uint64_t)p->form->multiply_f16(p->rounds, halves);
        break;
    case I8:
        seen = p->form->multiply_i8(p->rounds, bytes);
        break;
    default: /* what has no such products widens them */
        seen = (uint64_t)(p->form->multiply_bf16 ? p->form->multiply_bf16 : p->form->multiply_f32)(p->rounds, one);
        break;
    }
    __atomic_fetch_xor(&p->sink, seen, __ATOMIC_RELAXED);
}

static enum phy_status run_cpu(void *user, uint64_t turn)
{
    struct cpu_probe *p = user;
    (void)turn;
    phy_pool_run(p->w->pool, p->w->job.threads, run_share, p);
    return PHY_OK;
}

static void report_copy(struct phy_bench_worker *w, const char *kernel, const char *clock, double bytes, double roof,
                        struct phy_bench_case *c)
{
    struct phy_bench_row row = {.op = "copy",
                                .kernel = kernel,
                                .cold = true,
                                .bytes = bytes,
                                .bandwidth = roof,
                                .clock = clock,
                                .threads = w->job.threads};
    snprintf(row.shape, sizeof row.shape, "%.0fMiB", bytes / MIB);
    phy_bench_report_case(w, &row, c);
}

/* Reading smaller and smaller sets: what warm data may be read at. */
static enum phy_status measure_points(struct phy_bench_worker *w, struct cpu_probe *base, double budget_s)
{
    struct cpu_probe probes[PHY_BENCH_CACHE_POINTS];
    struct phy_bench_case *cases = phy_zalloc(PHY_BENCH_CACHE_POINTS, sizeof *cases);
    struct phy_bench_roofline *r = &w->roofline;
    if (!cases)
        return phy_fail_memory(w->host, "cases", sizeof *cases);
    size_t count = 0, unit = (size_t)PHY_PEAK_UNIT_BYTES * w->job.threads;
    for (size_t bytes = 64 << 10; bytes <= w->cache_bytes && count < PHY_BENCH_CACHE_POINTS; bytes *= 2) {
        size_t whole = bytes / unit * unit;
        if (whole == 0)
            continue;
        probes[count] = *base;
        probes[count].share = whole / w->job.threads;
        cases[count] = (struct phy_bench_case){.user = &probes[count], .run = run_cpu};
        r->points[count++] = (struct phy_bench_point){.bytes = whole};
    }
    enum phy_status status = phy_bench_measure(cases, count,
                                               &(struct phy_bench_plan){.budget_s = budget_s,
                                                                        .rounds = 15,
                                                                        .sample_s = 0.001,
                                                                        .host = w->host,
                                                                        .beat = phy_bench_beat,
                                                                        .beat_user = w});
    for (size_t i = 0; i < count; i++)
        r->points[i].read = rate_of(&cases[i], (double)r->points[i].bytes);
    r->point_count = count;
    phy_free(cases);
    return status;
}

static enum phy_status measure_cpu(struct phy_bench_worker *w, const struct phy_peak_variant *form, char *from,
                                   char *to, size_t bytes, bool rows)
{
    static const char *const names[] = {"read", "write", "copy"};
    struct cpu_probe probes[CPU_KERNELS];
    struct phy_bench_case *cases = phy_zalloc(CPU_KERNELS, sizeof *cases);
    struct phy_bench_roofline *r = &w->roofline;
    if (!cases)
        return phy_fail_memory(w->host, "cases", sizeof *cases);
    for (int i = 0; i < CPU_KERNELS; i++) {
        probes[i] = (struct cpu_probe){.w = w,
                                       .form = form,
                                       .kernel = (enum cpu_kernel)i,
                                       .from = from,
                                       .to = to,
                                       .share = bytes / w->job.threads,
                                       .rounds = 20000, /* 10^-4 s of two units at 3 GHz */
                                       .stream = true};
        cases[i] = (struct phy_bench_case){.user = &probes[i], .run = run_cpu};
    }
    double budget = w->job.quick ? 0.5 : 2.0;
    const struct phy_bench_plan plan = {
        .budget_s = budget, .rounds = 21, .sample_s = 0.002, .host = w->host, .beat = phy_bench_beat, .beat_user = w};
    enum phy_status status = phy_bench_measure(cases, CPU_KERNELS, &plan);
    const double threads = w->job.threads, rounds = (double)probes[0].rounds;
    r->read = rate_of(&cases[READ], (double)bytes);
    r->write = rate_of(&cases[WRITE], (double)bytes);
    r->copy = rate_of(&cases[COPY], 2 * (double)bytes);
    r->f32 = rate_of(&cases[F32], 2 * rounds * form->f32_per_round * threads);
    r->f16 = rate_of(&cases[F16], 2 * rounds * form->f16_per_round * threads);
    r->int8 = rate_of(&cases[I8], 2 * rounds * form->i8_per_round * threads);
    r->bf16 = rate_of(&cases[BF16],
                      2 * rounds * (form->multiply_bf16 ? form->bf16_per_round : form->f32_per_round) * threads);
    if (status == PHY_OK)
        status = measure_points(w, &probes[READ], budget / 2);
    const double roofs[] = {r->read, r->write, r->copy};
    for (int i = READ; rows && status == PHY_OK && i <= COPY; i++)
        report_copy(w, names[i], "host", (i == COPY ? 2.0 : 1.0) * (double)bytes, roofs[i], &cases[i]);
    phy_free(cases);
    return status;
}

enum phy_status phy_bench_cpu_roofline(struct phy_bench_worker *w, bool rows)
{
    const struct phy_peak_variant *form = phy_peak_variant_named(w->device + 4);
    if (!form)
        form = &phy_peak_ref;
    phy_bench_say(w, "rooflines");
    size_t unit = (size_t)PHY_PEAK_UNIT_BYTES * w->job.threads, bytes = (size_t)w->cache_bytes * 2;
    uint64_t available = phy_machine_available_bytes();
    if (available && bytes > available / 8)
        bytes = (size_t)(available / 8);
    bytes = bytes / unit * unit;
    bytes = bytes ? bytes : unit;
    char *from = phy_alloc_aligned(bytes), *to = phy_alloc_aligned(bytes);
    enum phy_status status = PHY_OK;
    if (!from || !to) {
        status = phy_fail_memory(w->host, "memory to read and write", bytes);
    } else {
        memset(from, 1, bytes);
        memset(to, 2, bytes);
        status = measure_cpu(w, form, from, to, bytes, rows);
    }
    phy_free(from);
    phy_free(to);
    if (status)
        return status;
    cJSON *message = cJSON_CreateObject(), *device = phy_json_object(message, "device");
    phy_json_string(device, "name", w->device);
    phy_json_string(device, "kind", "cpu");
    phy_json_string(device, "device", phy_cpu_model());
    phy_json_count(device, "threads", w->job.threads);
    phy_json_string(device, "clock", "the host's monotonic clock");
    put_roofline(device, &w->roofline);
    send_device(w, message);
    return PHY_OK;
}

/* ---- Vulkan ---- */

struct vulkan_probe {
    struct phy_vk_probe *probe;
    enum phy_vk_probe_kernel kernel;
    uint64_t bytes;
    uint32_t rounds;
    double ns;
};

static enum phy_status run_vulkan(void *user, uint64_t turn)
{
    struct vulkan_probe *p = user;
    (void)turn;
    return phy_vk_probe_run(p->probe, p->kernel, p->bytes, p->rounds, 1, &p->ns, NULL);
}

static double vulkan_ns(void *user)
{
    return ((struct vulkan_probe *)user)->ns;
}

/* Rounds that take about 5 ms, found by doubling: a slow driver must not meet a watchdog. */
static void find_rounds(struct vulkan_probe *p)
{
    for (p->rounds = 16; p->rounds < 1 << 20; p->rounds *= 2) {
        if (run_vulkan(p, 0) || p->ns > 5e6)
            return;
    }
}

/* The faster of the two shapes of a memory kernel, and its case. */
static double faster(const struct phy_bench_case *cases, enum phy_vk_probe_kernel first, double bytes, size_t *which)
{
    double apart = rate_of(&cases[first], bytes), rows = rate_of(&cases[first + 1], bytes);
    *which = (size_t)first + (rows > apart);
    return rows > apart ? rows : apart;
}

static enum phy_status measure_vulkan(struct phy_bench_worker *w, struct phy_vk_probe *probe, bool rows)
{
    static const char *const names[] = {"read", "write", "copy"};
    struct vulkan_probe probes[PHY_PROBE_KERNELS];
    struct phy_bench_case *cases = phy_zalloc(PHY_PROBE_KERNELS, sizeof *cases);
    struct phy_bench_roofline *r = &w->roofline;
    const char *clock = phy_vk_probe_describe(probe)->clock_bits ? "device" : "host";
    if (!cases)
        return phy_fail_memory(w->host, "cases", sizeof *cases);
    const double bytes = (double)phy_vk_probe_bytes(probe);
    const double budget = w->job.quick ? 0.15 : 0.5;
    enum phy_status status = PHY_OK;
    for (int i = 0; i < PHY_PROBE_KERNELS && status == PHY_OK; i++) {
        enum phy_vk_probe_kernel kernel = (enum phy_vk_probe_kernel)i;
        probes[i] = (struct vulkan_probe){.probe = probe, .kernel = kernel, .bytes = phy_vk_probe_bytes(probe)};
        cases[i] = (struct phy_bench_case){.user = &probes[i], .run = run_vulkan, .device_ns = vulkan_ns};
        if (!phy_vk_probe_offers(probe, kernel)) {
            cases[i].status = PHY_ERR_UNSUPPORTED;
            continue;
        }
        if (kernel >= PHY_PROBE_F32)
            find_rounds(&probes[i]);
        phy_bench_say(w, "roofline %d of %d", i + 1, PHY_PROBE_KERNELS);
        status = phy_bench_measure(&cases[i], 1,
                                   &(struct phy_bench_plan){.budget_s = budget,
                                                            .rounds = 15,
                                                            .sample_s = 0.002,
                                                            .host = w->host,
                                                            .beat = phy_bench_beat,
                                                            .beat_user = w});
    }
    size_t which[3];
    r->read = faster(cases, PHY_PROBE_READ, bytes, &which[0]);
    r->write = faster(cases, PHY_PROBE_WRITE, bytes, &which[1]);
    r->copy = faster(cases, PHY_PROBE_COPY, 2 * bytes, &which[2]);
    double *const rates[] = {&r->f32, &r->f16, &r->int8, &r->matrix};
    for (int i = 0; i < 4; i++) {
        enum phy_vk_probe_kernel kernel = (enum phy_vk_probe_kernel)(PHY_PROBE_F32 + i);
        *rates[i] = cases[kernel].status
                        ? 0
                        : rate_of(&cases[kernel], 2.0 * probes[kernel].rounds * phy_vk_probe_products(probe, kernel) *
                                                      phy_vk_probe_invocations(probe));
    }
    const double roofs[] = {r->read, r->write, r->copy};
    for (int i = 0; rows && status == PHY_OK && i < 3; i++)
        report_copy(w, names[i], clock, (i == 2 ? 2 : 1) * bytes, roofs[i], &cases[which[i]]);
    phy_free(cases);
    return status;
}

/* Smaller sets, which caches of the device may hold. */
static enum phy_status measure_vulkan_points(struct phy_bench_worker *w, struct phy_vk_probe *probe)
{
    struct phy_bench_roofline *r = &w->roofline;
    enum phy_status status = PHY_OK;
    for (uint64_t bytes = 1 << 20; status == PHY_OK && bytes < phy_vk_probe_bytes(probe) / 2; bytes *= 4) {
        double best = 0;
        for (int i = 0; i < 2; i++) {
            struct vulkan_probe p = {
                .probe = probe, .kernel = (enum phy_vk_probe_kernel)(PHY_PROBE_READ + i), .bytes = bytes};
            struct phy_bench_case *c = phy_zalloc(1, sizeof *c);
            if (!c)
                return phy_fail_memory(w->host, "a case", sizeof *c);
            *c = (struct phy_bench_case){.user = &p, .run = run_vulkan, .device_ns = vulkan_ns};
            status = phy_bench_measure(c, 1,
                                       &(struct phy_bench_plan){.budget_s = 0.1,
                                                                .rounds = 9,
                                                                .sample_s = 0.001,
                                                                .host = w->host,
                                                                .beat = phy_bench_beat,
                                                                .beat_user = w});
            double rate = rate_of(c, (double)bytes);
            best = rate > best ? rate : best;
            phy_free(c);
        }
        if (best > 0 && r->point_count < PHY_BENCH_CACHE_POINTS)
            r->points[r->point_count++] = (struct phy_bench_point){.bytes = bytes, .read = best};
    }
    return status;
}

static void send_vulkan(struct phy_bench_worker *w, const struct phy_vk_probe_info *info)
{
    char text[96];
    cJSON *message = cJSON_CreateObject(), *device = phy_json_object(message, "device");
    phy_json_string(device, "name", w->device);
    phy_json_string(device, "kind", "vulkan");
    phy_json_string(device, "device", info->device_name);
    phy_json_string(device, "type", info->type);
    phy_json_string(device, "driver", info->driver);
    phy_json_string(device, "api_version", info->api_version);
    snprintf(text, sizeof text, "0x%04x", info->vendor_id);
    phy_json_string(device, "vendor_id", text);
    snprintf(text, sizeof text, "0x%04x", info->device_id);
    phy_json_string(device, "device_id", text);
    phy_json_count(device, "driver_version", info->driver_version);
    phy_json_count(device, "memory_bytes", info->memory_bytes);
    phy_json_bool(device, "float16", info->float16);
    phy_json_bool(device, "integer_dot_product", info->integer_dot_product);
    if (info->clock_bits)
        snprintf(text, sizeof text, "timestamp queries: %u valid bits, a tick is %g ns", info->clock_bits,
                 info->tick_ns);
    else
        snprintf(text, sizeof text, "the queue has no timestamps: the host's monotonic clock, submission included");
    phy_json_string(device, "clock", text);
    put_roofline(device, &w->roofline);
    send_device(w, message);
}

enum phy_status phy_bench_vulkan_roofline(struct phy_bench_worker *w, bool rows)
{
    struct phy_vk_probe *probe;
    phy_bench_say(w, "rooflines");
    /* A GPU's last cache holds up to some 100 MiB; a driver on the CPU has the CPU's, of two buffers. */
    uint64_t bytes = 2 * w->cache_bytes, least = UINT64_C(256) << 20;
    enum phy_status status = phy_vk_probe_open(&probe, w->vulkan_index, bytes > least ? bytes : least, w->host);
    if (status)
        return status;
    const struct phy_vk_probe_info *info = phy_vk_probe_describe(probe);
    if (strcmp(info->type, "cpu") == 0 && w->job.quick) {
        phy_vk_probe_close(&probe);
        status = phy_vk_probe_open(&probe, w->vulkan_index, bytes, w->host);
        if (status)
            return status;
        info = phy_vk_probe_describe(probe);
    }
    if (strcmp(info->type, "cpu") != 0 && w->cache_bytes < least / 2)
        w->cache_bytes = least / 2;
    status = measure_vulkan(w, probe, rows);
    if (status == PHY_OK)
        status = measure_vulkan_points(w, probe);
    if (status == PHY_OK)
        send_vulkan(w, info);
    phy_vk_probe_close(&probe);
    return status;
}
