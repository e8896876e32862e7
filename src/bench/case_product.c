/* SPDX-License-Identifier: Apache-2.0 */
/* Products and whole FFNs of stored matrices, for each type and kernel that the device offers. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "bench/machine.h"
#include "bench/matrices.h"
#include "bench/worker.h"
#include "device/device_set.h"
#include "ffn/path_parts.h"

/* gate, up, down, and for walks down by feature. */
enum { MATRICES = 4, DENSE_MATRICES = 3, KERNELS = PHY_KERNEL_WALK, MAX_FORMATS = PHY_WEIGHT_TYPE_COUNT };

static const char *const kernel_names[] = {
    [PHY_KERNEL_FUSED] = "fused", [PHY_KERNEL_DEQUANT] = "dequant", [PHY_KERNEL_INT8] = "int8"};

/* The matrices of one type: those of an ffn, or one alone; as many copies as the caches can't hold. */
struct bank {
    enum phy_weight_type type;
    bool usable;
    uint8_t *data;
    size_t set_bytes, copies;
    struct phy_weights *weights;   /* (copies, MATRICES) */
    struct phy_weights **pointers; /* to the same */
};

struct run {
    struct phy_matmul_backend *backend;
    const struct phy_activation_variant *activation;
    struct phy_pool *pool;
    struct bank banks[MAX_FORMATS];
    size_t bank_count;
    struct phy_bench_shape shape;
    bool ffn, walks;
    float *x, *gate, *up, *y;
    float *score;                             /* (2, intermediate): of walks */
    uint32_t *features;                       /* (intermediate) */
    char form[64];                            /* of the kernel that ran since this was cleared */
    char deferred[PHY_WEIGHT_TYPE_COUNT * 8]; /* formats that did not fit beside the others, with commas */
};

struct product_case {
    struct run *run;
    const struct bank *bank;
    enum phy_product_kernel kernel;
    const struct phy_bench_top_k *top_k; /* of a walk; NULL: dense */
    bool scored;                         /* its features are found, and not known before */
    size_t count;
    bool cold, named;
    double device_ns; /* of the last run, where the device has a clock */
    char form[64];    /* of its kernel, as the backend told in its first run */
};

static void on_ran(void *user, enum phy_product_kernel kernel, enum phy_weight_type type, const char *form)
{
    struct run *r = user;
    (void)kernel;
    (void)type;
    snprintf(r->form, sizeof r->form, "%s", form);
}

/* ---- memory ---- */

static size_t matrix_rows(const struct run *r, int matrix)
{
    return !r->ffn || matrix == 2 ? r->shape.rows : r->shape.cols;
}

static size_t matrix_cols(const struct run *r, int matrix)
{
    return !r->ffn ? r->shape.cols : matrix == 2 ? r->shape.cols : r->shape.rows;
}

static int matrix_count(const struct run *r)
{
    return r->walks ? MATRICES : r->ffn ? DENSE_MATRICES : 1;
}

static void bank_free(struct bank *bank)
{
    phy_free(bank->data);
    phy_free(bank->weights);
    phy_free(bank->pointers);
    *bank = (struct bank){0};
}

/* False when memory does not suffice. */
static bool bank_make(struct run *r, struct bank *bank, enum phy_weight_type type, uint64_t beyond_bytes)
{
    size_t bytes[MATRICES] = {0}, at = 0;
    *bank = (struct bank){.type = type};
    for (int i = 0; i < matrix_count(r); i++) {
        size_t row_bytes;
        if (!phy_weight_row_bytes(type, matrix_cols(r, i), &row_bytes))
            return false;
        bytes[i] = row_bytes * matrix_rows(r, i);
        bank->set_bytes += (bytes[i] + 63) / 64 * 64;
    }
    bank->copies = beyond_bytes ? (size_t)(beyond_bytes / bank->set_bytes) + 2 : 1;
    bank->data = phy_alloc_aligned(bank->set_bytes * bank->copies);
    bank->weights = phy_zalloc(bank->copies * MATRICES, sizeof *bank->weights);
    bank->pointers = phy_zalloc(bank->copies * MATRICES, sizeof *bank->pointers);
    if (!bank->data || !bank->weights || !bank->pointers) {
        bank_free(bank);
        return false;
    }
    for (size_t copy = 0; copy < bank->copies; copy++) {
        for (int i = 0; i < matrix_count(r); i++, at += (bytes[i - 1] + 63) / 64 * 64) {
            struct phy_weights *w = &bank->weights[copy * MATRICES + (size_t)i];
            *w = (struct phy_weights){
                .data = bank->data + at, .type = type, .rows = matrix_rows(r, i), .cols = matrix_cols(r, i)};
            bank->pointers[copy * (size_t)matrix_count(r) + (size_t)i] = w;
            if (copy)
                memcpy(bank->data + at, bank->data + at - copy * bank->set_bytes, bytes[i]);
            else
                phy_bench_fill(type, bank->data + at, bytes[i], (uint64_t)i + 1);
        }
    }
    return true;
}

static bool offers_any(const struct phy_matmul_backend *backend, enum phy_weight_type type)
{
    for (int k = 0; k < KERNELS; k++) {
        if (backend->ops->offers(backend, (enum phy_product_kernel)k, type))
            return true;
    }
    return false;
}

/* ---- one run ---- */

struct gate_job {
    struct run *run;
    size_t width;
};

static void gate_row(void *user, size_t index, unsigned worker)
{
    const struct gate_job *job = user;
    (void)worker;
    job->run->activation->gate(PHY_ACT_SILU, job->run->gate + index * job->width, job->run->up + index * job->width,
                               job->width);
}

/* After each call of the backend. */
static enum phy_status count_time(struct product_case *p, enum phy_status status)
{
    p->device_ns += p->run->backend->device_ns;
    return status;
}

/* Three products with the activation between them, where the device gains nothing from doing a layer as a whole. */
static enum phy_status run_steps(struct product_case *p, const struct phy_weights *set)
{
    struct run *r = p->run;
    const struct phy_product inputs[] = {{&set[0], r->gate, NULL, p->kernel}, {&set[1], r->up, NULL, p->kernel}};
    enum phy_status status = count_time(p, r->backend->ops->multiply(r->backend, inputs, 2, r->x, p->count));
    if (status)
        return status;
    struct gate_job job = {r, r->shape.cols};
    phy_pool_run(r->pool, p->count, gate_row, &job);
    const struct phy_product down = {&set[2], r->y, NULL, p->kernel};
    return count_time(p, r->backend->ops->multiply(r->backend, &down, 1, r->gate, p->count));
}

/* Features of a walk. */
static size_t feature_count(const struct product_case *p)
{
    const size_t all = p->run->shape.cols, share = p->top_k->percent ? all * p->top_k->value / 100 : p->top_k->value;
    return share < 1 ? 1 : share < all ? share : all;
}

/* Every row of x walks on its own. Features that are not found are spread evenly. */
static enum phy_status run_walk(struct product_case *p, const struct phy_weights *set)
{
    struct run *r = p->run;
    const size_t width = r->shape.cols, count = feature_count(p);
    const bool scored = p->scored && count < width;
    size_t skipped;
    const struct phy_product scores = {&set[0], r->gate, NULL, PHY_KERNEL_FUSED};
    enum phy_status status = PHY_OK;
    if (scored)
        status = count_time(p, r->backend->ops->multiply(r->backend, &scores, 1, r->x, p->count));
    for (size_t i = 0; i < count && !scored; i++)
        r->features[i] = (uint32_t)(i * width / count);
    for (size_t n = 0; n < p->count && status == PHY_OK; n++) {
        if (scored) {
            phy_path_score(r->activation, PHY_ACT_SILU, r->gate + n * width, width, r->score, r->score + width);
            phy_path_top_features(r->score, width, count, r->features, r->score + width);
        }
        const struct phy_walk_product product = {.gate = &set[0],
                                                 .up = &set[1],
                                                 .down = &set[3],
                                                 .gate_dots = scored ? r->gate + n * width : NULL,
                                                 .activation = PHY_ACT_SILU,
                                                 .features = r->features,
                                                 .feature_count = count,
                                                 .x = r->x + n * r->shape.rows,
                                                 .y = r->y + n * r->shape.rows,
                                                 .skipped = &skipped,
                                                 .rows = 1};
        status = count_time(p, r->backend->ops->walk(r->backend, &product));
    }
    return status;
}

static enum phy_status run_once(struct product_case *p, uint64_t turn)
{
    struct run *r = p->run;
    const struct phy_weights *set = p->bank->weights + (p->cold ? turn % p->bank->copies : 0) * MATRICES;
    if (p->top_k)
        return run_walk(p, set);
    if (!r->ffn) {
        const struct phy_product product = {set, r->y, NULL, p->kernel};
        return count_time(p, r->backend->ops->multiply(r->backend, &product, 1, r->x, p->count));
    }
    if (!r->backend->ops->ffn)
        return run_steps(p, set);
    const struct phy_ffn_product product = {.gate = &set[0],
                                            .up = &set[1],
                                            .down = &set[2],
                                            .activation = PHY_ACT_SILU,
                                            .kernel = p->kernel,
                                            .x = r->x,
                                            .count = p->count,
                                            .y = r->y};
    return count_time(p, r->backend->ops->ffn(r->backend, &product));
}

static enum phy_status run_case(void *user, uint64_t turn)
{
    struct product_case *p = user;
    if (!p->named)
        p->run->form[0] = 0;
    p->device_ns = 0;
    enum phy_status status = run_once(p, turn);
    if (!p->named)
        memcpy(p->form, p->run->form, sizeof p->form);
    p->named = true;
    return status;
}

static double device_ns(void *user)
{
    return ((struct product_case *)user)->device_ns;
}

/* Whether the device's own clock counts is known once something has run. */
static void choose_clock(struct phy_bench_case *cases, struct product_case *products, size_t count)
{
    const bool clocked = count && run_case(&products[0], 0) == PHY_OK && products[0].device_ns > 0;
    for (size_t i = 0; clocked && i < count; i++)
        cases[i].device_ns = device_ns;
}

/* Of a matrix, what a case reads: a walk its features, and scores all of gate before. */
static double share_read(const struct product_case *p, int matrix)
{
    if (!p->top_k)
        return matrix < DENSE_MATRICES;
    const double listed = (double)feature_count(p) / (double)p->run->shape.cols;
    return matrix == 2 ? 0 : matrix == 0 && p->scored ? 1 : listed;
}

static void report(struct phy_bench_worker *w, const struct phy_bench_products *q, struct product_case *p,
                   struct phy_bench_case *c)
{
    struct run *r = p->run;
    char kernel[96];
    /* The device's name says the form already where it is the CPU's. */
    bool said = !p->form[0] || strstr(w->device, p->form) != NULL;
    if (p->top_k)
        snprintf(kernel, sizeof kernel, "%s %u%s", p->scored ? "sparse" : "walk", p->top_k->value,
                 p->top_k->percent ? "%" : "");
    else
        snprintf(kernel, sizeof kernel, "%s%s%s", kernel_names[p->kernel], said ? "" : ":", said ? "" : p->form);
    double weights = 0, set = 0;
    for (int i = 0; i < matrix_count(r); i++) {
        size_t row_bytes = 0;
        const double share = share_read(p, i);
        phy_weight_row_bytes(p->bank->type, matrix_cols(r, i), &row_bytes);
        set += share * (double)row_bytes * (double)matrix_rows(r, i);
        weights += share * r->shape.rows * r->shape.cols;
    }
    /* Activations are read and written once: x and y; an ffn's in between stay in the caches or the device. */
    double activations = (double)p->count * 4 * ((double)r->shape.rows + (r->ffn ? r->shape.rows : r->shape.cols));
    struct phy_bench_row row = {
        .op = q->op,
        .format = phy_bench_type_name(p->bank->type),
        .kernel = kernel,
        .x_rows = p->count,
        .cold = p->cold,
        .bytes = set + activations,
        .operations = 2 * weights * (double)p->count,
        .bandwidth = phy_bench_bandwidth_of(&w->roofline, set, p->cold),
        .peak = p->kernel == PHY_KERNEL_INT8 && w->roofline.int8 > 0 ? w->roofline.int8 : w->roofline.f32,
        .clock = c->device_ns ? "device" : "host",
        .threads = w->job.threads,
    };
    snprintf(row.shape, sizeof row.shape, "%ux%u", r->shape.rows, r->shape.cols);
    phy_bench_report_case(w, &row, c);
}

enum { MAX_CASES = MAX_FORMATS * (KERNELS + 2 * PHY_BENCH_MAX_TOP_K) };

/* What a bank is multiplied by: each kernel, then the walks. Returns how many cases. */
static size_t list_cases(const struct phy_bench_products *q, struct run *r, const struct bank *bank, size_t count,
                         bool cold, struct product_case *out)
{
    const struct product_case one = {.run = r, .bank = bank, .count = count, .cold = cold};
    size_t n = 0;
    for (int k = 0; k < KERNELS; k++) {
        if (!r->backend->ops->offers(r->backend, (enum phy_product_kernel)k, bank->type))
            continue;
        out[n] = one;
        out[n++].kernel = (enum phy_product_kernel)k;
    }
    for (size_t t = 0; t < q->top_k_count && r->backend->ops->walk; t++) {
        if (!r->backend->ops->offers(r->backend, PHY_KERNEL_WALK, bank->type))
            continue;
        for (int scored = 0; scored < 2; scored++) {
            out[n] = one;
            out[n].kernel = PHY_KERNEL_WALK;
            out[n].top_k = &q->top_k[t];
            out[n++].scored = scored;
        }
    }
    return n;
}

/* All types and kernels of one shape, number of rows and temperature, in turns. */
static enum phy_status measure_group(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                     size_t count, bool cold, double budget_s)
{
    struct product_case *products = phy_zalloc(MAX_CASES, sizeof *products);
    struct phy_bench_case *cases = phy_zalloc(MAX_CASES, sizeof *cases);
    enum phy_status status = products && cases ? PHY_OK : phy_fail_memory(w->host, "cases", sizeof *cases);
    size_t n = 0;
    for (size_t b = 0; b < r->bank_count && status == PHY_OK; b++) {
        if (r->banks[b].usable)
            n += list_cases(q, r, &r->banks[b], count, cold, products + n);
    }
    for (size_t i = 0; i < n; i++)
        cases[i] = (struct phy_bench_case){.user = &products[i], .run = run_case};
    if (status == PHY_OK)
        choose_clock(cases, products, n);
    const struct phy_bench_plan plan = {
        .budget_s = budget_s, .rounds = 31, .sample_s = 0.002, .host = w->host, .beat = phy_bench_beat, .beat_user = w};
    if (n)
        status = phy_bench_measure(cases, n, &plan);
    for (size_t i = 0; i < n && status == PHY_OK; i++)
        report(w, q, &products[i], &cases[i]);
    phy_free(products);
    phy_free(cases);
    return status;
}

static bool reserve_activations(struct run *r, size_t count)
{
    size_t wide = r->shape.rows > r->shape.cols ? r->shape.rows : r->shape.cols, all = count * wide;
    r->x = phy_alloc(all, sizeof(float));
    r->gate = phy_alloc(all, sizeof(float));
    r->up = phy_alloc(all, sizeof(float));
    r->y = phy_alloc(all, sizeof(float));
    r->score = phy_alloc(wide, 2 * sizeof(float));
    r->features = phy_alloc(wide, sizeof *r->features);
    if (!r->x || !r->gate || !r->up || !r->y || !r->score || !r->features)
        return false;
    uint64_t state = 7;
    for (size_t i = 0; i < all; i++)
        r->x[i] = (float)(int32_t)(phy_bench_random(&state) >> 40) * 0x1p-24f - 0.5f;
    return true;
}

static void run_close(struct run *r)
{
    for (size_t i = 0; i < r->bank_count; i++)
        bank_free(&r->banks[i]);
    phy_matmul_backend_destroy(&r->backend);
    phy_free(r->x);
    phy_free(r->gate);
    phy_free(r->up);
    phy_free(r->y);
    phy_free(r->score);
    phy_free(r->features);
}

static void defer(struct run *r, const char *format)
{
    size_t used = strlen(r->deferred);
    snprintf(r->deferred + used, sizeof r->deferred - used, "%s%s", used ? "," : "", format);
}

/* Not all fit at once: as many as do, the others have their turn later. One that does not fit alone is skipped. */
static enum phy_status load_some(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                 const char *shape)
{
    bool any = false;
    for (size_t b = 0; b < r->bank_count; b++) {
        struct bank *bank = &r->banks[b];
        const char *format = phy_bench_type_name(bank->type);
        phy_bench_say(w, "%s %s %s: weights to the device", q->op, format, shape);
        enum phy_status status =
            r->backend->ops->load(r->backend, bank->pointers, bank->copies * (size_t)matrix_count(r));
        bank->usable = status == PHY_OK;
        if (status && status != PHY_ERR_MEMORY && status != PHY_ERR_LIMIT)
            return status;
        if (status && any)
            defer(r, format);
        else if (status)
            phy_bench_skip(w, q->op, format, shape, "the device cannot hold it");
        any = any || bank->usable;
    }
    return PHY_OK;
}

/* All banks to the device at once, if it holds them. */
static enum phy_status load_all(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                const char *shape)
{
    size_t count = 0, n = 0;
    for (size_t b = 0; b < r->bank_count; b++)
        count += r->banks[b].copies * (size_t)matrix_count(r);
    if (count == 0)
        return PHY_OK;
    struct phy_weights **all = phy_alloc(count, sizeof *all);
    if (!all)
        return phy_fail_memory(w->host, "a list of matrices", count * sizeof *all);
    for (size_t b = 0; b < r->bank_count; b++) {
        for (size_t i = 0; i < r->banks[b].copies * (size_t)matrix_count(r); i++)
            all[n++] = r->banks[b].pointers[i];
    }
    phy_bench_say(w, "%s %s: weights to the device", q->op, shape);
    enum phy_status status = r->backend->ops->load(r->backend, all, count);
    phy_free(all);
    for (size_t b = 0; b < r->bank_count; b++)
        r->banks[b].usable = status == PHY_OK;
    return status == PHY_ERR_MEMORY || status == PHY_ERR_LIMIT ? load_some(w, q, r, shape) : status;
}

/* The types of `formats` that the device offers, in memory and on the device. */
static enum phy_status load_banks(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r)
{
    char name[32], shape[40];
    uint64_t available = phy_machine_available_bytes() / 3, used = 0;
    snprintf(shape, sizeof shape, "%ux%u", r->shape.rows, r->shape.cols);
    for (size_t i = 0; phy_bench_list_name(q->formats, i, name) && r->bank_count < MAX_FORMATS; i++) {
        enum phy_weight_type type;
        if (!phy_bench_type_named(name, &type))
            return phy_fail(w->host, PHY_ERR_USAGE,
                            "format '%.32s': not one of bf16 f16 f32 q8_0 q4_0 q4_k q6_k fp8 fp4 mxfp4, all", name);
        if (!offers_any(r->backend, type)) {
            phy_bench_skip(w, q->op, name, shape, "the device has no kernel for the format");
            continue;
        }
        size_t row_bytes = 0;
        phy_weight_row_bytes(type, r->shape.cols, &row_bytes);
        uint64_t bytes = (uint64_t)row_bytes * r->shape.rows * (uint64_t)matrix_count(r);
        bytes += q->cold ? 2 * w->cache_bytes + bytes : 0;
        struct bank *bank = &r->banks[r->bank_count];
        if ((available && used + bytes * (w->is_cpu ? 1 : 2) > available) ||
            !bank_make(r, bank, type, q->cold ? 2 * w->cache_bytes : 0)) {
            if (r->bank_count)
                defer(r, name);
            else
                phy_bench_skip(w, q->op, name, shape, "too little memory for it");
            continue;
        }
        r->bank_count++;
        used += bytes * (w->is_cpu ? 1 : 2);
    }
    return load_all(w, q, r, shape);
}

static enum phy_status run_shape(struct phy_bench_worker *w, const struct phy_bench_products *q,
                                 struct phy_bench_shape shape, double budget_s, char *deferred)
{
    struct run r = {.shape = shape, .ffn = q->ffn, .walks = q->top_k_count > 0, .pool = w->pool};
    *deferred = 0;
    size_t most = 1, groups = q->x_row_count * ((size_t)q->cold + (size_t)q->warm);
    for (size_t i = 0; i < q->x_row_count; i++)
        most = q->x_rows[i] > most ? q->x_rows[i] : most;
    enum phy_status status = phy_matmul_backend_open(&r.backend, w->device, true, w->pool, w->host);
    if (status)
        return status;
    r.backend->ran = on_ran;
    r.backend->ran_user = &r;
    r.activation = phy_activation_variant_named(w->is_cpu ? w->device + 4 : "ref");
    if (!reserve_activations(&r, most))
        status = phy_fail_memory(w->host, "activations", most * sizeof(float));
    if (status == PHY_OK)
        status = load_banks(w, q, &r);
    for (size_t i = 0; i < q->x_row_count && status == PHY_OK; i++) {
        for (int cold = 0; cold < 2 && status == PHY_OK; cold++) {
            if (!(cold ? q->cold : q->warm))
                continue;
            phy_bench_say(w, "%s %ux%u, %u rows, %s", q->op, shape.rows, shape.cols, q->x_rows[i],
                          cold ? "cold" : "warm");
            char text[40];
            snprintf(text, sizeof text, "%ux%u", shape.rows, shape.cols);
            if (phy_bench_spent(w))
                phy_bench_skip(w, q->op, NULL, text, "the budget is spent");
            else
                status = measure_group(w, q, &r, q->x_rows[i], cold, budget_s / (double)groups);
        }
    }
    memcpy(deferred, r.deferred, sizeof r.deferred);
    run_close(&r);
    return status;
}

/* Formats that memory does not hold together take turns. */
static enum phy_status run_formats(struct phy_bench_worker *w, const struct phy_bench_products *q,
                                   struct phy_bench_shape shape, double budget_s)
{
    struct phy_bench_products rest = *q;
    char lists[2][sizeof((struct run *)NULL)->deferred];
    enum phy_status status = run_shape(w, q, shape, budget_s, lists[0]);
    /* Each turn has a format less, or more. */
    for (int turn = 0; status == PHY_OK && lists[turn % 2][0]; turn++) {
        rest.formats = lists[turn % 2];
        status = run_shape(w, &rest, shape, budget_s / 2, lists[(turn + 1) % 2]);
    }
    return status;
}

enum phy_status phy_bench_products_run(struct phy_bench_worker *w, const struct phy_bench_products *q)
{
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < q->shape_count && status == PHY_OK; i++) {
        double left = phy_bench_share(w, q->shape_count - i), own = q->budget_s / (double)q->shape_count;
        status = run_formats(w, q, q->shapes[i], own < left ? own : left);
    }
    return status;
}

enum phy_status phy_bench_run_products(struct phy_bench_worker *w, bool ffn)
{
    static const char all[] = "bf16,f16,f32,q8_0,q4_0,q4_k,q6_k,fp8,fp4,mxfp4";
    const struct phy_bench_job *job = &w->job;
    struct phy_bench_shape shapes[PHY_BENCH_MAX_LIST];
    uint32_t rows[PHY_BENCH_MAX_LIST];
    const bool look = strcmp(job->op, "look") == 0;
    struct phy_bench_top_k top_k[PHY_BENCH_MAX_TOP_K];
    struct phy_bench_products q = {.op = ffn ? "ffn" : "matmul", .ffn = ffn, .cold = job->cold, .warm = job->warm};
    const char *default_shapes = job->quick ? "640x2048" : look ? "2560x10240" : "640x2048,2560x10240,3584x18944";
    const char *default_rows = job->quick ? "1,8" : look ? "1,8" : "1,8,64,512";
    q.formats = job->formats && strcmp(job->formats, "all") != 0 ? job->formats : all;
    enum phy_status status =
        phy_bench_parse_shapes(job->shapes ? job->shapes : default_shapes, shapes, &q.shape_count, w->host);
    if (status == PHY_OK)
        status = phy_bench_parse_numbers(job->rows ? job->rows : default_rows, rows, &q.x_row_count, w->host);
    if (status == PHY_OK && ffn && job->top_k)
        status = phy_bench_parse_top_k(job->top_k, top_k, &q.top_k_count, w->host);
    if (status)
        return status;
    q.shapes = shapes;
    q.x_rows = rows;
    q.top_k = top_k;
    q.budget_s = phy_bench_share(w, 1);
    return phy_bench_products_run(w, &q);
}
