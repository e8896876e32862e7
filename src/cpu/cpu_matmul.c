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
    for (size_t i = 0; i < product_count; i++)
        multiply_one((const struct cpu_matmul *)backend, &products[i], x, count);
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
    return kernel == PHY_KERNEL_FUSED && type < PHY_WEIGHT_FLOAT_COUNT;
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
        .load = load, .offers = offers, .multiply = multiply, .destroy = destroy};
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
