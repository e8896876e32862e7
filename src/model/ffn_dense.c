/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "model/ffn.h"
#include "model/model_parts.h"

struct dense {
    struct phy_ffn base;
    struct phy_model *model;
    float *gate, *up; /* (max_count, intermediate) */
};

struct activate_job {
    struct dense *dense;
    size_t width;
};

static void activate_row(void *user, size_t index, unsigned worker)
{
    const struct activate_job *job = user;
    (void)worker;
    const struct phy_model *model = job->dense->model;
    model->activation->gate(model->config.activation, job->dense->gate + index * job->width,
                            job->dense->up + index * job->width, job->width);
}

/* Three products, the activation between them on the CPU. */
static enum phy_status forward_in_steps(struct dense *dense, uint32_t layer, const float *x, size_t count, float *y)
{
    struct phy_model *model = dense->model;
    const struct phy_layer *l = &model->layers[layer];
    const struct phy_product inputs[] = {{&l->gate, dense->gate, l->gate_bias, phy_model_kernel(model, &l->gate)},
                                         {&l->up, dense->up, l->up_bias, phy_model_kernel(model, &l->up)}};
    enum phy_status status = phy_model_products(model, inputs, 2, x, count);
    if (status != PHY_OK)
        return status;
    struct activate_job job = {dense, model->config.intermediate_size};
    phy_pool_run(model->pool, count, activate_row, &job);
    phy_observe(dense->base.observer, PHY_INPUT_DOWN, layer, dense->gate, count, model->config.intermediate_size);
    return phy_model_multiply(model, &l->down, dense->gate, count, y, l->down_bias);
}

static enum phy_status forward(struct phy_ffn *ffn, uint32_t layer, const float *x, size_t count, float *y)
{
    struct dense *dense = (struct dense *)ffn;
    struct phy_model *model = dense->model;
    const struct phy_layer *l = &model->layers[layer];
    const struct phy_ffn_product product = {
        .gate = &l->gate,
        .up = &l->up,
        .down = &l->down,
        .activation = model->config.activation,
        .kernel = phy_model_kernel(model, &l->gate),
        .x = x,
        .count = count,
        .gated = ffn->observer ? dense->gate : NULL,
        .y = y,
    };
    enum phy_status status;
    const bool alike =
        product.kernel == phy_model_kernel(model, &l->up) && product.kernel == phy_model_kernel(model, &l->down);
    if (!alike || l->gate_bias || l->up_bias || l->down_bias || !phy_model_ffn_product(model, &product, &status))
        return forward_in_steps(dense, layer, x, count, y);
    if (status == PHY_OK)
        phy_observe(ffn->observer, PHY_INPUT_DOWN, layer, dense->gate, count, model->config.intermediate_size);
    return status;
}

static void destroy(struct phy_ffn *ffn)
{
    struct dense *dense = (struct dense *)ffn;
    phy_free(dense->gate);
    phy_free(dense->up);
    phy_free(dense);
}

struct phy_ffn *phy_ffn_dense_create(struct phy_model *model, size_t max_count)
{
    static const struct phy_ffn_ops ops = {.forward = forward, .destroy = destroy};
    struct dense *dense = phy_zalloc(1, sizeof *dense);
    if (!dense)
        return NULL;
    dense->base.ops = &ops;
    dense->model = model;
    dense->gate = phy_alloc(max_count * model->config.intermediate_size, sizeof(float));
    dense->up = phy_alloc(max_count * model->config.intermediate_size, sizeof(float));
    if (!dense->gate || !dense->up) {
        destroy(&dense->base);
        return NULL;
    }
    return &dense->base;
}
