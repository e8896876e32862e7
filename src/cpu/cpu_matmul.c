/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/cpu_matmul.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"

struct cpu_matmul {
    struct phy_matmul_backend base;
    const struct phy_matmul_variant *form;
    struct phy_pool *pool;
    float *panels; /* (threads, PHY_MATMUL_PANEL_BYTES) */
};

struct job {
    const struct cpu_matmul *cpu;
    struct phy_matmul product;
    const float *bias;
    size_t share; /* rows for each index */
};

static void run_share(void *user, size_t index, unsigned worker)
{
    const struct job *job = user;
    size_t begin = index * job->share, end = begin + job->share;
    if (end > job->product.rows)
        end = job->product.rows;
    if (job->product.count <= PHY_MATVEC_MAX_COUNT)
        job->cpu->form->matvec(&job->product, begin, end);
    else
        job->cpu->form->matmul(&job->product, begin, end,
                               job->cpu->panels + worker * (PHY_MATMUL_PANEL_BYTES / sizeof(float)));
    for (size_t n = 0; job->bias && n < job->product.count; n++) {
        for (size_t r = begin; r < end; r++)
            job->product.y[n * job->product.y_stride + r] += job->bias[r];
    }
}

static void multiply_one(const struct cpu_matmul *cpu, const struct phy_product *product, const float *x, size_t count)
{
    const struct phy_weights *w = product->w;
    struct job job = {
        .cpu = cpu,
        .product = {.w = w->data,
                    .type = w->type,
                    .rows = w->rows,
                    .cols = w->cols,
                    .x = x,
                    .count = count,
                    .y = product->y,
                    .y_stride = w->rows},
        .bias = product->bias,
    };
    /* About four shares for each thread, so that one that is held up costs little, in whole register tiles. */
    size_t unit = count <= PHY_MATVEC_MAX_COUNT ? 4 : cpu->form->row_unit;
    size_t shares = (size_t)phy_pool_threads(cpu->pool) * 4;
    job.share = (w->rows / shares + unit) / unit * unit;
    phy_pool_run(cpu->pool, (w->rows + job.share - 1) / job.share, run_share, &job);
}

static enum phy_status multiply(struct phy_matmul_backend *backend, const struct phy_product *products,
                                size_t product_count, const float *x, size_t count)
{
    const struct cpu_matmul *cpu = (const struct cpu_matmul *)backend;
    for (size_t i = 0; i < product_count; i++) {
        multiply_one(cpu, &products[i], x, count);
        phy_kernel_ran(backend, products[i].kernel, products[i].w->type, cpu->form->name);
    }
    return PHY_OK;
}

static enum phy_status load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices, size_t count)
{
    (void)backend; /* reads them where they are */
    for (size_t i = 0; i < count; i++)
        matrices[i]->index = (uint32_t)i;
    return PHY_OK;
}

static bool offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    (void)backend;
    return (kernel == PHY_KERNEL_FUSED || kernel == PHY_KERNEL_WALK) && type < PHY_WEIGHT_FLOAT_COUNT;
}

/* ---- walks ---- */

struct walk_job {
    const struct cpu_matmul *cpu;
    const struct phy_walk_product *product;
    float *gated, *up; /* (feature_count) */
};

enum { WALK_STRIP = 64 };

static float dot(const struct cpu_matmul *cpu, const struct phy_weights *w, size_t row, const float *x)
{
    float y;
    const struct phy_matmul one = {.w = (const char *)w->data + row * w->cols * phy_weight_float_bytes(w->type),
                                   .type = w->type,
                                   .rows = 1,
                                   .cols = w->cols,
                                   .x = x,
                                   .count = 1,
                                   .y = &y,
                                   .y_stride = 1};
    cpu->form->matvec(&one, 0, 1);
    return y;
}

static void gate_strip(void *user, size_t index, unsigned worker)
{
    const struct walk_job *job = user;
    const struct phy_walk_product *p = job->product;
    size_t begin = index * WALK_STRIP,
           end = begin + WALK_STRIP < p->feature_count ? begin + WALK_STRIP : p->feature_count;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        job->gated[i] = dot(job->cpu, p->gate, p->features[i], p->x);
        job->up[i] = dot(job->cpu, p->up, p->features[i], p->x);
    }
    phy_activation_variant_named(job->cpu->form->name)
        ->gate(p->activation, job->gated + begin, job->up + begin, end - begin);
}

/* Some columns of y over all features in turn: the order of additions is that of the features. */
static void down_strip(void *user, size_t index, unsigned worker)
{
    const struct walk_job *job = user;
    const struct phy_walk_product *p = job->product;
    const size_t begin = index * WALK_STRIP, width = p->down->cols,
                 columns = width - begin < WALK_STRIP ? width - begin : WALK_STRIP;
    const size_t each = phy_weight_float_bytes(p->down->type);
    double sum[WALK_STRIP] = {0};
    float row[WALK_STRIP];
    (void)worker;
    for (size_t i = 0; i < p->feature_count; i++) {
        if (job->gated[i] == 0)
            continue;
        phy_weight_decode_row(p->down->type, (const uint8_t *)p->down->data + (p->features[i] * width + begin) * each,
                              columns, row);
        for (size_t c = 0; c < columns; c++)
            sum[c] += (double)job->gated[i] * (double)row[c];
    }
    for (size_t c = 0; c < columns; c++)
        p->y[begin + c] = (float)sum[c];
}

static enum phy_status walk(struct phy_matmul_backend *backend, const struct phy_walk_product *product)
{
    const struct cpu_matmul *cpu = (const struct cpu_matmul *)backend;
    const size_t count = product->feature_count;
    float *values = phy_alloc(2 * count, sizeof *values);
    if (!values)
        return PHY_ERR_MEMORY;
    struct walk_job job = {cpu, product, values, values + count};
    phy_pool_run(cpu->pool, (count + WALK_STRIP - 1) / WALK_STRIP, gate_strip, &job);
    phy_pool_run(cpu->pool, (product->down->cols + WALK_STRIP - 1) / WALK_STRIP, down_strip, &job);
    *product->skipped = 0;
    for (size_t i = 0; i < count; i++)
        *product->skipped += values[i] == 0;
    phy_free(values);
    const enum phy_weight_type types[] = {product->gate->type, product->up->type, product->down->type};
    for (size_t i = 0; i < 3; i++)
        phy_kernel_ran(backend, PHY_KERNEL_WALK, types[i], cpu->form->name);
    return PHY_OK;
}

static void destroy(struct phy_matmul_backend *backend)
{
    struct cpu_matmul *cpu = (struct cpu_matmul *)backend;
    phy_free(cpu->panels);
    phy_free(cpu);
}

enum phy_status phy_cpu_matmul_create(struct phy_matmul_backend **out, const char *form, struct phy_pool *pool,
                                      const struct phy_host *host)
{
    static const struct phy_matmul_backend_ops ops = {
        .load = load, .offers = offers, .multiply = multiply, .walk = walk, .destroy = destroy};
    struct phy_cpu_features have = phy_cpu_detect();
    const struct phy_matmul_variant *variant = form ? phy_matmul_variant_named(form) : phy_matmul_variant_best(&have);
    *out = NULL;
    if (!variant)
        return phy_fail(host, PHY_ERR_DEVICE, "device cpu:%.64s: not one of cpu:ref, cpu:avx2, cpu:avx512", form);
    if (!phy_cpu_meets(&have, &variant->needs))
        return phy_fail(host, PHY_ERR_DEVICE, "device cpu:%s: this processor (%s) does not have the instructions",
                        variant->name, phy_cpu_model());
    unsigned threads = phy_pool_threads(pool);
    size_t panel_bytes;
    struct cpu_matmul *cpu = phy_zalloc(1, sizeof *cpu);
    if (cpu && phy_mul_size(threads, PHY_MATMUL_PANEL_BYTES, &panel_bytes))
        cpu->panels = phy_alloc_aligned(panel_bytes);
    if (!cpu || !cpu->panels) {
        phy_free(cpu);
        return phy_fail(host, PHY_ERR_MEMORY, "out of memory: %u threads", threads);
    }
    cpu->base.ops = &ops;
    cpu->form = variant;
    cpu->pool = pool;
    snprintf(cpu->base.name, sizeof cpu->base.name, "cpu:%s", variant->name);
    snprintf(cpu->base.description, sizeof cpu->base.description, "%s", phy_cpu_model());
    *out = &cpu->base;
    return PHY_OK;
}
