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

static enum phy_status forward(struct phy_ffn *ffn, uint32_t layer, const float *x, size_t count, float *y)
{
    struct dense *dense = (struct dense *)ffn;
    struct phy_model *model = dense->model;
    const struct phy_layer *l = &model->layers[layer];
    phy_model_multiply(model, &l->gate, x, count, dense->gate, l->gate_bias);
    phy_model_multiply(model, &l->up, x, count, dense->up, l->up_bias);
    struct activate_job job = {dense, model->config.intermediate_size};
    phy_pool_run(model->pool, count, activate_row, &job);
    phy_observe(ffn->observer, PHY_INPUT_DOWN, layer, dense->gate, count, model->config.intermediate_size);
    phy_model_multiply(model, &l->down, dense->gate, count, y, l->down_bias);
    return PHY_OK;
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
