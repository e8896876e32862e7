/* SPDX-License-Identifier: Apache-2.0 */
/* Products and whole FFNs of stored matrices, for each type and kernel that the device offers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench/machine.h"
#include "bench/matrices.h"
#include "bench/worker.h"
#include "device/device_set.h"
#include "ffn/path_parts.h"

/* gate, up, down, and for walks down by feature. */
enum { MATRICES = 4, DENSE_MATRICES = 3, KERNELS = PHY_KERNEL_WALK, MAX_FORMATS = PHY_WEIGHT_BITMAP_END };

/* The matrices of one type: those of an ffn, or one alone; as many copies as the caches can't hold. */
struct bank {
    enum phy_weight_type type;
    char name[32]; /* in the report */
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
    double sparsity; /* of bitmaps */
    float *x, *gate, *up, *y;
    float *score;                              /* (2, intermediate): of walks */
    uint32_t *features;                        /* (intermediate) */
    char form[64];                             /* of the kernel that ran since this was cleared */
    char deferred[PHY_WEIGHT_BITMAP_END * 12]; /* formats that did not fit beside the others, with commas */
};

struct product_case {
    struct run *run;
    const struct bank *bank;
    enum phy_product_kernel kernel_kind;
    const struct phy_bench_top_k *top_k; /* of a walk; NULL: dense */
    bool scored;                         /* its features are found, and not known before */
    size_t count;
    bool cold, named;
    double device_ns; /* of the last run, where the device has a clock */
    char form[64];    /* of its kernel, as the backend told in its first run */
    char kernel[96];  /* its name in the report */
    double *pace;     /* (PHY_BENCH_MAX_LIST) */
};

enum { SLOTS = KERNELS + 2 * PHY_BENCH_MAX_TOP_K, MAX_CASES = MAX_FORMATS * SLOTS };

/* What runs took: seconds for each weight of a matrix, by type, kernel and entry of the list of rows; 0: not known. */
struct paces {
    double seconds[PHY_WEIGHT_BITMAP_END][SLOTS][PHY_BENCH_MAX_LIST];
};

/* One shape's measuring. */
struct turn {
    struct phy_bench_worker *w;
    const struct phy_bench_products *q;
    struct run *run;
    struct paces *paces;
    struct product_case *products; /* (MAX_CASES) */
    struct phy_bench_case *cases;  /* (MAX_CASES) */
    bool measured;                 /* this shape has a result */
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

/* Of another share of zeros a bitmap is another format: reports are joined by its name. */
static void name_format(enum phy_weight_type type, double sparsity, char name[32])
{
    if (phy_weight_is_bitmap(type))
        snprintf(name, 32, "%s %.4g%%", phy_bench_type_name(type), sparsity * 100);
    else
        snprintf(name, 32, "%s", phy_bench_type_name(type));
}

/* False when memory does not suffice. */
static bool bank_make(const struct run *r, struct bank *bank, enum phy_weight_type type, uint64_t beyond_bytes)
{
    size_t bytes[MATRICES] = {0}, at = 0;
    *bank = (struct bank){.type = type};
    name_format(type, r->sparsity, bank->name);
    for (int i = 0; i < matrix_count(r); i++) {
        if (!phy_bench_matrix_bytes(type, matrix_rows(r, i), matrix_cols(r, i), r->sparsity, &bytes[i]))
            return false;
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
            if (copy) {
                memcpy(bank->data + at, bank->data + at - copy * bank->set_bytes, bytes[i]);
            } else if (!phy_bench_fill_matrix(type, bank->data + at, w->rows, w->cols, r->sparsity, (uint64_t)i + 1)) {
                bank_free(bank);
                return false;
            }
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
    const struct phy_product inputs[] = {{&set[0], r->gate, NULL, p->kernel_kind},
                                         {&set[1], r->up, NULL, p->kernel_kind}};
    enum phy_status status = count_time(p, r->backend->ops->multiply(r->backend, inputs, 2, r->x, p->count));
    if (status)
        return status;
    struct gate_job job = {r, r->shape.cols};
    phy_pool_run(r->pool, p->count, gate_row, &job);
    const struct phy_product down = {&set[2], r->y, NULL, p->kernel_kind};
    return count_time(p, r->backend->ops->multiply(r->backend, &down, 1, r->gate, p->count));
}

static bool lacks_features(const struct phy_bench_top_k *k, struct phy_bench_shape shape)
{
    return !k->percent && k->value > shape.cols;
}

/* Features of a walk. */
static size_t feature_count(const struct product_case *p)
{
    const size_t all = p->run->shape.cols, share = p->top_k->percent ? all * p->top_k->value / 100 : p->top_k->value;
    return share < 1 ? 1 : share;
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
        const struct phy_product product = {set, r->y, NULL, p->kernel_kind};
        return count_time(p, r->backend->ops->multiply(r->backend, &product, 1, r->x, p->count));
    }
    if (!r->backend->ops->ffn)
        return run_steps(p, set);
    const struct phy_ffn_product product = {.gate = &set[0],
                                            .up = &set[1],
                                            .down = &set[2],
                                            .activation = PHY_ACT_SILU,
                                            .kernel = p->kernel_kind,
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

/* Of a matrix, what a case reads: a walk its features, and scores all of gate before. */
static double share_read(const struct product_case *p, int matrix)
{
    if (!p->top_k)
        return matrix < DENSE_MATRICES;
    const double listed = (double)feature_count(p) / (double)p->run->shape.cols;
    return matrix == 2 ? 0 : matrix == 0 && p->scored ? 1 : listed;
}

static void name_kernel(struct product_case *p, const char *device)
{
    /* The device's name says the form already where it is the CPU's. */
    const bool said = !p->form[0] || strstr(device, p->form) != NULL;
    if (p->top_k)
        snprintf(p->kernel, sizeof p->kernel, "%s %u%s", p->scored ? "sparse" : "walk", p->top_k->value,
                 p->top_k->percent ? "%" : "");
    else
        snprintf(p->kernel, sizeof p->kernel, "%s%s%s", phy_kernel_name(p->kernel_kind), said ? "" : ":",
                 said ? "" : p->form);
}

/* Of cooperative matrices the form's last number says how many products of theirs one of ours takes. */
static double peak_of(const struct phy_bench_roofline *roofline, enum phy_product_kernel kernel, const char *form)
{
    const char *last = strrchr(form, '_');
    if (strncmp(form, "matrix_", 7) == 0 && last && atoi(last + 1) > 0)
        return roofline->matrix / atoi(last + 1);
    const double own = kernel == PHY_KERNEL_INT8 ? roofline->int8 : kernel == PHY_KERNEL_BF16 ? roofline->bf16 : 0;
    return own > 0 ? own : roofline->f32;
}

static void row_of(void *user, size_t index, struct phy_bench_row *out)
{
    const struct turn *t = user;
    const struct phy_bench_worker *w = t->w;
    struct product_case *p = &t->products[index];
    const struct run *r = p->run;
    double weights = 0, set = 0;
    name_kernel(p, w->device);
    for (int i = 0; i < matrix_count(r); i++) {
        size_t bytes = 0;
        const double share = share_read(p, i);
        phy_bench_matrix_bytes(p->bank->type, matrix_rows(r, i), matrix_cols(r, i), r->sparsity, &bytes);
        set += share * (double)bytes;
        weights += share * r->shape.rows * r->shape.cols;
    }
    /* Activations are read and written once: x and y; an ffn's in between stay in the caches or the device. */
    double activations = (double)p->count * 4 * ((double)r->shape.rows + (r->ffn ? r->shape.rows : r->shape.cols));
    *out = (struct phy_bench_row){
        .op = t->q->op,
        .format = p->bank->name,
        .kernel = p->kernel,
        .x_rows = p->count,
        .cold = p->cold,
        .bytes = set + activations,
        .operations = 2 * weights * (double)p->count,
        .bandwidth = phy_bench_bandwidth_of(&w->roofline, set, p->cold),
        .peak = peak_of(&w->roofline, p->kernel_kind, p->form),
        .clock = t->cases[index].device_ns ? "device" : "host",
        .threads = w->job.threads,
    };
    snprintf(out->shape, sizeof out->shape, "%ux%u", r->shape.rows, r->shape.cols);
}

/* ---- groups ---- */

/* What a bank is multiplied by: each kernel, then the walks. Returns how many cases. */
static size_t list_cases(const struct turn *t, const struct bank *bank, size_t count, bool cold,
                         struct product_case *out)
{
    const struct phy_matmul_backend *backend = t->run->backend;
    double(*paces)[PHY_BENCH_MAX_LIST] = t->paces->seconds[bank->type];
    const struct product_case one = {.run = t->run, .bank = bank, .count = count, .cold = cold};
    size_t n = 0;
    for (int k = 0; k < KERNELS; k++) {
        if (!backend->ops->offers(backend, (enum phy_product_kernel)k, bank->type))
            continue;
        out[n] = one;
        out[n].pace = paces[k];
        out[n++].kernel_kind = (enum phy_product_kernel)k;
    }
    for (size_t i = 0; i < t->q->top_k_count && backend->ops->walk; i++) {
        if (!backend->ops->offers(backend, PHY_KERNEL_WALK, bank->type) ||
            lacks_features(&t->q->top_k[i], t->run->shape))
            continue;
        for (size_t scored = 0; scored < 2; scored++) {
            out[n] = one;
            out[n].kernel_kind = PHY_KERNEL_WALK;
            out[n].top_k = &t->q->top_k[i];
            out[n].pace = paces[KERNELS + 2 * i + scored];
            out[n++].scored = scored;
        }
    }
    return n;
}

/* Seconds for a weight at the list's entry `at`: what it took in another shape or temperature, or along the line
 * through the two largest numbers of rows below. 0: not known. */
static double expect(const double *pace, const uint32_t *x_rows, size_t count, size_t at)
{
    size_t high = SIZE_MAX, low = SIZE_MAX;
    if (pace[at] > 0)
        return pace[at];
    for (size_t i = 0; i < count; i++) {
        if (pace[i] <= 0 || x_rows[i] >= x_rows[at])
            continue;
        if (high == SIZE_MAX || x_rows[i] > x_rows[high]) {
            low = high;
            high = i;
        } else if (x_rows[i] < x_rows[high] && (low == SIZE_MAX || x_rows[i] > x_rows[low])) {
            low = i;
        }
    }
    if (high == SIZE_MAX)
        return 0;
    double slope = low == SIZE_MAX ? 0 : (pace[high] - pace[low]) / (x_rows[high] - x_rows[low]);
    return pace[high] + (slope > 0 ? slope : 0) * (x_rows[at] - x_rows[high]);
}

static double weights_of(const struct run *r)
{
    return (double)r->shape.rows * (double)r->shape.cols;
}

/* A group: all types and kernels of one shape, number of rows and temperature. Returns how many cases. */
static size_t list_group(const struct turn *t, size_t rows_at, bool cold)
{
    size_t n = 0;
    for (size_t b = 0; b < t->run->bank_count; b++) {
        n += list_cases(t, &t->run->banks[b], t->q->x_rows[rows_at], cold, t->products + n);
    }
    for (size_t i = 0; i < n; i++) {
        struct phy_bench_row row;
        const char *bound;
        t->cases[i] = (struct phy_bench_case){.user = &t->products[i], .run = run_case, .device_ns = device_ns};
        row_of((void *)t, i, &row);
        const double pace = expect(t->products[i].pace, t->q->x_rows, t->q->x_row_count, rows_at);
        const double least = phy_bench_least_seconds(&row, &bound), known = pace * weights_of(t->run);
        t->cases[i].expected_s = known > least ? known : least;
    }
    return n;
}

static void skip_group(const struct turn *t, size_t count, const char *reason)
{
    for (size_t i = 0; i < count; i++) {
        struct phy_bench_row row;
        row_of((void *)t, i, &row);
        phy_bench_skip_row(t->w, &row, reason);
    }
}

/* A shape without a result has one of what takes least, if that fits what is left for all of its groups. */
static double enough_for_one(const struct turn *t, size_t count, double budget_s, double left_s)
{
    double least = INFINITY;
    for (size_t i = 0; i < count; i++)
        least = t->cases[i].expected_s < least ? t->cases[i].expected_s : least;
    const double needed = 4 * least; /* two runs, and as much for a pipeline to be compiled */
    return !t->measured && needed > budget_s && needed < left_s ? needed : budget_s;
}

static enum phy_status measure_group(struct turn *t, size_t rows_at, bool cold, double budget_s, double left_s)
{
    struct phy_bench_worker *w = t->w;
    const size_t n = list_group(t, rows_at, cold);
    phy_bench_say(w, "%s %ux%u, %u rows, %s", t->q->op, t->run->shape.rows, t->run->shape.cols, t->q->x_rows[rows_at],
                  cold ? "cold" : "warm");
    if (phy_bench_spent(w)) {
        skip_group(t, n, "not run: the budget is spent");
        return PHY_OK;
    }
    const struct phy_bench_group group = {.cases = t->cases,
                                          .count = n,
                                          .row = row_of,
                                          .user = t,
                                          .budget_s = enough_for_one(t, n, budget_s, left_s),
                                          .sample_s = 0.002,
                                          .rounds = 31,
                                          .may_leave_out = true};
    enum phy_status status = phy_bench_measure_group(w, &group);
    for (size_t i = 0; i < n; i++) {
        t->measured = t->measured || t->cases[i].count;
        if (t->cases[i].elapsed_s > 0 && t->cases[i].status == PHY_OK)
            t->products[i].pace[rows_at] = t->cases[i].elapsed_s / weights_of(t->run);
    }
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

/* Not all types may fit at once: as many as do, the others have their turn later. One that does not fit alone is
 * skipped. */
static void not_loaded(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                       const char *format, const char *shape, const char *reason)
{
    if (r->bank_count)
        defer(r, format);
    else
        phy_bench_skip(w, q->op, format, shape, reason);
}

/* Into memory and to the device. */
static enum phy_status load_bank(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                 enum phy_weight_type type, const char *shape)
{
    struct bank *bank = &r->banks[r->bank_count];
    const char *format = phy_bench_type_name(type);
    phy_bench_say(w, "%s %s %s: weights to the device", q->op, format, shape);
    if (!bank_make(r, bank, type, q->cold ? 2 * w->cache_bytes : 0)) {
        not_loaded(w, q, r, format, shape, "too little memory for it");
        return PHY_OK;
    }
    /* CPUs read matrices otherwise that a cache holds together: the copy that is measured warm is told apart from those
     * that make the others cold. */
    const struct phy_matmul_backend_ops *ops = r->backend->ops;
    const size_t set = (size_t)matrix_count(r), all = bank->copies * set, warm = ops->unload || all == set ? 0 : set;
    enum phy_status status = warm ? ops->load(r->backend, bank->pointers, warm) : PHY_OK;
    if (status == PHY_OK)
        status = ops->load(r->backend, bank->pointers + warm, all - warm);
    if (status == PHY_OK) {
        r->bank_count++;
        return PHY_OK;
    }
    bank_free(bank);
    if (status != PHY_ERR_MEMORY && status != PHY_ERR_LIMIT)
        return status;
    not_loaded(w, q, r, format, shape, "the device cannot hold it");
    return PHY_OK;
}

/* Bytes of all copies of a type's matrices. */
static uint64_t bank_bytes(const struct phy_bench_worker *w, const struct phy_bench_products *q, const struct run *r,
                           enum phy_weight_type type)
{
    size_t matrix = 0;
    phy_bench_matrix_bytes(type, r->shape.rows, r->shape.cols, r->sparsity, &matrix);
    const uint64_t bytes = (uint64_t)matrix * (uint64_t)matrix_count(r);
    return bytes + (q->cold ? 2 * w->cache_bytes + bytes : 0);
}

/* The types of `formats` that the device offers, while loading them takes no longer than load_s, but one at least. */
static enum phy_status load_banks(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                  double load_s)
{
    char name[32], shape[40];
    const uint64_t available = phy_machine_available_bytes() / 3;
    const double begin = phy_seconds_now();
    uint64_t used = 0, loaded = 0;
    enum phy_status status = PHY_OK;
    snprintf(shape, sizeof shape, "%ux%u", r->shape.rows, r->shape.cols);
    for (size_t i = 0; phy_bench_list_name(q->formats, i, name) && r->bank_count < MAX_FORMATS && !status; i++) {
        enum phy_weight_type type;
        if (!phy_bench_type_named(name, &type))
            return phy_fail(w->host, PHY_ERR_USAGE, PHY_BENCH_NO_FORMAT, name);
        if (!offers_any(r->backend, type)) {
            phy_bench_skip(w, q->op, name, shape, "the device has no kernel for the format");
            continue;
        }
        const uint64_t bytes = bank_bytes(w, q, r, type), held = bytes * (w->is_cpu ? 1 : 2);
        const double spent = phy_seconds_now() - begin, all = (double)(loaded + bytes);
        if (loaded && spent / (double)loaded * all > load_s) {
            phy_bench_skip(w, q->op, name, shape,
                           "not loaded: making and loading weights would take more than half of the budget's share");
        } else if (available && used + held > available) {
            not_loaded(w, q, r, name, shape, "too little memory for it");
        } else {
            status = load_bank(w, q, r, type, shape);
            used += held;
            loaded += bytes;
        }
    }
    return status;
}

/* Every number of rows and temperature. The first ones also compile pipelines and have most of what others need little
 * of: of n that are left one has 2 / (n + 1) of the time, and what it leaves is the others'. */
static enum phy_status measure_groups(struct turn *t, double end)
{
    const struct phy_bench_products *q = t->q;
    size_t groups = q->x_row_count * ((size_t)q->cold + (size_t)q->warm);
    enum phy_status status = PHY_OK;
    for (size_t i = 0; i < q->x_row_count && status == PHY_OK; i++) {
        for (int cold = 0; cold < 2 && status == PHY_OK; cold++) {
            if (!(cold ? q->cold : q->warm))
                continue;
            const double left = end - phy_seconds_now();
            status = measure_group(t, i, cold, left > 0 ? 2 * left / (double)(groups + 1) : 0, left);
            groups--;
        }
    }
    return status;
}

static enum phy_status open_run(struct phy_bench_worker *w, const struct phy_bench_products *q, struct run *r,
                                double load_s)
{
    size_t most = 1;
    for (size_t i = 0; i < q->x_row_count; i++)
        most = q->x_rows[i] > most ? q->x_rows[i] : most;
    enum phy_status status = phy_matmul_backend_open(&r->backend, w->device, true, w->pool, w->host);
    if (status)
        return status;
    r->backend->ran = on_ran;
    r->backend->ran_user = r;
    r->activation = phy_activation_variant_named(w->is_cpu ? w->device + 4 : "ref");
    if (!reserve_activations(r, most))
        return phy_fail_memory(w->host, "activations", most * sizeof(float));
    return load_banks(w, q, r, load_s);
}

/* t->run is this shape's alone. */
static enum phy_status run_shape(struct turn *t, struct phy_bench_shape shape, double budget_s, char *deferred)
{
    const struct phy_bench_products *q = t->q;
    struct run r = {
        .shape = shape, .ffn = q->ffn, .walks = q->top_k_count > 0, .sparsity = t->w->job.sparsity, .pool = t->w->pool};
    const double end = phy_seconds_now() + budget_s;
    *deferred = 0;
    if (phy_bench_spent(t->w)) {
        char name[32], text[40];
        snprintf(text, sizeof text, "%ux%u", shape.rows, shape.cols);
        for (size_t i = 0; phy_bench_list_name(q->formats, i, name); i++)
            phy_bench_skip(t->w, q->op, name, text, "not run, nor loaded: the budget is spent");
        return PHY_OK;
    }
    t->run = &r;
    t->measured = false;
    enum phy_status status = open_run(t->w, q, &r, budget_s / 2);
    if (status == PHY_OK)
        status = measure_groups(t, end);
    memcpy(deferred, r.deferred, sizeof r.deferred);
    run_close(&r);
    return status;
}

/* Formats that memory does not hold together take turns. */
static enum phy_status run_formats(struct turn *t, struct phy_bench_shape shape, double budget_s)
{
    const struct phy_bench_products *all = t->q;
    struct phy_bench_products rest = *all;
    char lists[2][sizeof((struct run *)NULL)->deferred], walk[24];
    struct phy_bench_row row = {.op = all->op, .kernel = walk};
    snprintf(row.shape, sizeof row.shape, "%ux%u", shape.rows, shape.cols);
    for (size_t i = 0; i < all->top_k_count; i++) {
        snprintf(walk, sizeof walk, "walk %u", all->top_k[i].value);
        if (lacks_features(&all->top_k[i], shape))
            phy_bench_skip_row(t->w, &row, "it has fewer features");
    }
    enum phy_status status = run_shape(t, shape, budget_s, lists[0]);
    t->q = &rest;
    /* Each turn has a format less, or more. */
    for (int turn = 0; status == PHY_OK && lists[turn % 2][0]; turn++) {
        rest.formats = lists[turn % 2];
        status = run_shape(t, shape, budget_s / 2, lists[(turn + 1) % 2]);
    }
    t->q = all;
    return status;
}

enum phy_status phy_bench_products_run(struct phy_bench_worker *w, const struct phy_bench_products *q)
{
    struct turn t = {.w = w,
                     .q = q,
                     .paces = phy_zalloc(1, sizeof *t.paces),
                     .products = phy_zalloc(MAX_CASES, sizeof *t.products),
                     .cases = phy_zalloc(MAX_CASES, sizeof *t.cases)};
    enum phy_status status =
        t.paces && t.products && t.cases ? PHY_OK : phy_fail_memory(w->host, "cases", MAX_CASES * sizeof *t.cases);
    const double until = phy_seconds_now() + q->budget_s, end = until < w->deadline ? until : w->deadline;
    for (size_t i = 0; i < q->shape_count && status == PHY_OK; i++) {
        const double left = end - phy_seconds_now();
        status = run_formats(&t, q->shapes[i], left > 0 ? left / (double)(q->shape_count - i) : 0);
    }
    phy_free(t.paces);
    phy_free(t.products);
    phy_free(t.cases);
    return status;
}

enum phy_status phy_bench_run_products(struct phy_bench_worker *w, bool ffn)
{
    static const char all[] = "bf16,f16,f32,q8_0,q4_0,q4_k,q6_k,fp8,fp4,mxfp4,bitmap";
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
