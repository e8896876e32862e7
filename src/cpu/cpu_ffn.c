/* SPDX-License-Identifier: Apache-2.0 */
/* A feed-forward layer on the CPU: gate, up and the activation between them while a few features' products are in a
 * worker's cache, then down; and the walk, which does the same for listed features. */
#include "cpu/cpu_matmul_parts.h"

/* Features of one share of many rows of x: a few register tiles, so that gate and up of a share stay in the cache. */
enum { FEATURES_MANY = 2 * PHY_MATMUL_MAX_ROW_UNIT, FEATURES_FEW = 256 };

struct gate_job {
    const struct cpu_matmul *cpu;
    const struct phy_ffn_product *product;
    const struct cpu_input *input;
    size_t intermediate, share; /* share: features for each index */
    float *gated;               /* (count, intermediate) */
};

/* Gate's products go to where the activation leaves its result; up's to this worker's rows. */
static void run_features(void *user, size_t index, unsigned worker)
{
    const struct gate_job *job = user;
    const struct phy_ffn_product *p = job->product;
    const size_t begin = index * job->share, left = job->intermediate - begin;
    const size_t features = left < job->share ? left : job->share, end = begin + features;
    float *gate = job->gated + begin;
    float *rows = (float *)job->cpu->pairs.data + worker * (2 * job->share * p->count);
    size_t stride = features;
    if (p->gate_up) {
        stride = 2 * features;
        phy_cpu_multiply_rows(job->cpu, p->gate_up, job->input, 2 * begin, 2 * end, worker, rows, stride);
    } else {
        phy_cpu_multiply_rows(job->cpu, p->gate, job->input, begin, end, worker, gate, job->intermediate);
        phy_cpu_multiply_rows(job->cpu, p->up, job->input, begin, end, worker, rows, stride);
    }
    for (size_t n = 0; n < p->count; n++, gate += job->intermediate, rows += stride) {
        for (size_t i = 0; p->gate_up && i < features; i++) {
            gate[i] = rows[2 * i];
            rows[i] = rows[2 * i + 1];
        }
        job->cpu->activation->gate(p->activation, gate, rows, features);
    }
}

static enum phy_status run_gate(struct cpu_matmul *cpu, const struct phy_ffn_product *product, size_t intermediate,
                                float *gated)
{
    const struct phy_weights *first = product->gate_up ? product->gate_up : product->gate;
    struct cpu_input input;
    const bool few = phy_cpu_few(cpu, product->kernel, product->count);
    const size_t most = few ? FEATURES_FEW : FEATURES_MANY;
    size_t share = phy_cpu_share(cpu, intermediate, few);
    share = share < most ? share : most;
    enum phy_status status = phy_cpu_check_offer(cpu, product->kernel, first->type);
    if (status == PHY_OK && !product->gate_up)
        status = phy_cpu_check_offer(cpu, product->kernel, product->up->type);
    if (status == PHY_OK)
        status =
            phy_cpu_reserve(cpu, &cpu->pairs, phy_pool_threads(cpu->pool) * product->count, 2 * share * sizeof(float));
    if (status == PHY_OK)
        status = phy_cpu_prepare(cpu, product->kernel, product->x, product->count, first->cols, &input);
    if (status == PHY_OK)
        status = phy_cpu_prepare_weights(cpu, first, &input);
    if (status == PHY_OK && !product->gate_up)
        status = phy_cpu_prepare_weights(cpu, product->up, &input);
    if (status != PHY_OK)
        return status;
    phy_cpu_ran(cpu, product->kernel, first->type);
    if (!product->gate_up)
        phy_cpu_ran(cpu, product->kernel, product->up->type);
    struct gate_job job = {cpu, product, &input, intermediate, share, gated};
    phy_pool_run(cpu->pool, (intermediate + share - 1) / share, run_features, &job);
    return PHY_OK;
}

enum phy_status phy_cpu_ffn(struct phy_matmul_backend *backend, const struct phy_ffn_product *product)
{
    struct cpu_matmul *cpu = (struct cpu_matmul *)backend;
    const struct phy_weights *down = product->down;
    struct cpu_input input;
    enum phy_status status = phy_cpu_check_offer(cpu, product->kernel, down->type);
    if (status == PHY_OK && !product->gated)
        status = phy_cpu_reserve(cpu, &cpu->gated, product->count, down->cols * sizeof(float));
    float *gated = product->gated ? product->gated : cpu->gated.data;
    if (status == PHY_OK)
        status = run_gate(cpu, product, down->cols, gated);
    if (status == PHY_OK)
        status = phy_cpu_prepare(cpu, product->kernel, gated, product->count, down->cols, &input);
    if (status == PHY_OK)
        status = phy_cpu_prepare_weights(cpu, down, &input);
    if (status == PHY_OK)
        phy_cpu_multiply(cpu, down, &input, NULL, product->y);
    return status;
}

/* ---- features by list ---- */

struct walk_job {
    const struct cpu_matmul *cpu;
    const struct phy_walk_product *product;
    const float *x; /* the rows at work, and their results */
    float *y;
    size_t rows; /* more than one: no feature of them is left out */
    struct phy_walk_matrix gate, up, down;
    float *activations; /* (rows, listed): of each listed feature; then of those that count, in order */
    float *ups;
    uint32_t *features; /* those that count */
    size_t count;       /* of them */
    size_t share;       /* features, or columns, for each index */
};

static void score_rows(const struct walk_job *job, size_t begin, size_t count)
{
    const struct phy_walk_product *p = job->product;
    const struct phy_walk_variant *walk = job->cpu->walk;
    const size_t stride = p->feature_count;
    float *gate = job->activations + begin, *up = job->ups + begin;
    walk->dots_rows(&job->gate, p->features + begin, count, job->x, job->rows, gate, stride);
    walk->dots_rows(&job->up, p->features + begin, count, job->x, job->rows, up, stride);
    for (size_t n = 0; n < job->rows; n++)
        job->cpu->activation->gate(p->activation, gate + n * stride, up + n * stride, count);
}

static void run_scores(void *user, size_t index, unsigned worker)
{
    const struct walk_job *job = user;
    const struct phy_walk_product *p = job->product;
    const size_t begin = index * job->share, left = p->feature_count - begin;
    const size_t count = left < job->share ? left : job->share;
    (void)worker;
    if (job->rows > 1) {
        score_rows(job, begin, count);
        return;
    }
    for (size_t i = begin; i < begin + count && p->gate_dots; i++)
        job->activations[i] = p->gate_dots[p->features[i]];
    if (!p->gate_dots)
        job->cpu->walk->dots(&job->gate, p->features + begin, count, job->x, job->activations + begin);
    job->cpu->walk->dots(&job->up, p->features + begin, count, job->x, job->ups + begin);
    job->cpu->activation->gate(p->activation, job->activations + begin, job->ups + begin, count);
}

/* A worker owns columns: each is added up in the list's order, whatever the threads. */
static void run_columns(void *user, size_t index, unsigned worker)
{
    const struct walk_job *job = user;
    const size_t hidden = job->down.cols, begin = index * job->share;
    const size_t end = hidden - begin < job->share ? hidden : begin + job->share;
    (void)worker;
    if (job->rows > 1)
        job->cpu->walk->add_rows(&job->down, job->product->features, job->activations, job->product->feature_count,
                                 job->product->feature_count, job->rows, begin, end, job->y);
    else
        job->cpu->walk->add(&job->down, job->features, job->activations, job->count, begin, end, job->y);
}

static void keep_what_counts(struct walk_job *job)
{
    const struct phy_walk_product *p = job->product;
    for (size_t i = 0; i < job->rows * p->feature_count; i++) {
        if (job->activations[i] == 0)
            continue;
        if (job->rows > 1) {
            job->count++;
            continue;
        }
        job->features[job->count] = p->features[i];
        job->activations[job->count++] = job->activations[i];
    }
    *p->skipped += job->rows * p->feature_count - job->count;
}

static void walk_rows(struct walk_job *job)
{
    const struct cpu_matmul *cpu = job->cpu;
    const size_t listed = job->product->feature_count, hidden = job->down.cols, threads = phy_pool_threads(cpu->pool);
    const size_t units = (hidden + PHY_WALK_COL_UNIT - 1) / PHY_WALK_COL_UNIT;
    job->count = 0;
    job->share = phy_cpu_share(cpu, listed, true);
    phy_pool_run(cpu->pool, (listed + job->share - 1) / job->share, run_scores, job);
    keep_what_counts(job);
    job->share = (units + threads - 1) / threads * PHY_WALK_COL_UNIT;
    phy_pool_run(cpu->pool, (hidden + job->share - 1) / job->share, run_columns, job);
}

enum phy_status phy_cpu_walk(struct phy_matmul_backend *backend, const struct phy_walk_product *product)
{
    struct cpu_matmul *cpu = (struct cpu_matmul *)backend;
    const size_t listed = product->feature_count, hidden = product->down->cols;
    const size_t together = cpu->walk->dots_rows && !product->gate_dots ? PHY_WALK_MAX_ROWS : 1;
    enum phy_status status = phy_cpu_reserve(cpu, &cpu->list, listed, together * 2 * sizeof(float) + sizeof(uint32_t));
    if (status != PHY_OK)
        return status;
    struct walk_job job = {.cpu = cpu,
                           .product = product,
                           .gate = {product->gate->data, product->gate->type, product->gate->cols},
                           .up = {product->up->data, product->up->type, product->up->cols},
                           .down = {product->down->data, product->down->type, hidden},
                           .activations = cpu->list.data};
    job.ups = job.activations + together * listed;
    job.features = (uint32_t *)(job.ups + together * listed);
    if (!product->gate_dots)
        phy_cpu_ran(cpu, PHY_KERNEL_WALK, product->gate->type);
    phy_cpu_ran(cpu, PHY_KERNEL_WALK, product->up->type);
    phy_cpu_ran(cpu, PHY_KERNEL_WALK, product->down->type);
    *product->skipped = 0;
    for (size_t row = 0; row < product->rows; row += together) {
        job.rows = product->rows - row < together ? product->rows - row : together;
        job.x = product->x + row * product->gate->cols;
        job.y = product->y + row * hidden;
        walk_rows(&job);
    }
    return PHY_OK;
}
