/* SPDX-License-Identifier: Apache-2.0 */
/* One layer on one backend. Before each call of the backend the trace is told which matrices it is given; what ran it
 * learns from the kernels. */
#include <math.h>
#include <string.h>

#include "ffn/path_parts.h"

struct run {
    struct path *path;
    struct path_layer *layer;
    struct phy_matmul_backend *backend;
    uint32_t index;
    const float *x;
    size_t count;
    float *y;
};

static uint64_t row_bytes_of(const struct phy_weights *w)
{
    size_t bytes = 0;
    phy_weight_row_bytes(w->type, w->cols, &bytes);
    return bytes;
}

/* ---- products ---- */

struct activate_job {
    const struct run *run;
    bool paired;
};

static void activate_row(void *user, size_t row, unsigned worker)
{
    const struct activate_job *job = user;
    const struct path *path = job->run->path;
    const struct phy_model *model = path->model;
    const size_t width = model->config.intermediate_size;
    float *gate = path->gate + row * width, *up = path->pair + row * (job->paired ? 2 * width : width);
    (void)worker;
    for (size_t i = 0; job->paired && i < width; i++) {
        gate[i] = up[2 * i];
        up[i] = up[2 * i + 1]; /* 2i + 1 > i: never written before it is read */
    }
    model->activation->gate(model->config.activation, gate, up, width);
}

static enum phy_status multiply(const struct run *r, enum path_op op, const struct phy_product *products,
                                size_t product_count, const float *x)
{
    r->path->trace.op = op;
    return r->backend->ops->multiply(r->backend, products, product_count, x, r->count);
}

static enum phy_status run_products(const struct run *r)
{
    struct path *path = r->path;
    const struct path_layer *l = r->layer;
    const enum phy_product_kernel kernel = l->rule->kernel;
    const bool paired = l->gate_up.data != NULL;
    const struct phy_product both = {&l->gate_up, path->pair, l->pair_bias, kernel};
    const struct phy_product split[] = {{&l->gate, path->gate, l->gate_bias, kernel},
                                        {&l->up, path->pair, l->up_bias, kernel}};
    enum phy_status status = paired ? multiply(r, OP_PAIRED, &both, 1, r->x) : multiply(r, OP_GATE_UP, split, 2, r->x);
    if (status != PHY_OK)
        return status;
    struct activate_job job = {r, paired};
    phy_pool_run(path->model->pool, r->count, activate_row, &job);
    const struct phy_product down = {&l->down, r->y, l->down_bias, kernel};
    return multiply(r, OP_DOWN, &down, 1, path->gate);
}

static enum phy_status run_dense(const struct run *r)
{
    struct path *path = r->path;
    const struct path_layer *l = r->layer;
    const size_t width = path->model->config.intermediate_size;
    enum phy_status status;
    if (r->backend->ops->ffn && !l->gate_bias && !l->up_bias && !l->down_bias) {
        const bool paired = l->gate_up.data != NULL;
        const struct phy_ffn_product product = {
            .gate = paired ? NULL : &l->gate,
            .up = paired ? NULL : &l->up,
            .gate_up = paired ? &l->gate_up : NULL,
            .down = &l->down,
            .activation = path->model->config.activation,
            .kernel = l->rule->kernel,
            .x = r->x,
            .count = r->count,
            .gated = path->base.observer ? path->gate : NULL,
            .y = r->y,
        };
        path->trace.op = paired ? OP_FFN_PAIRED : OP_FFN;
        status = r->backend->ops->ffn(r->backend, &product);
    } else {
        status = run_products(r);
    }
    if (status != PHY_OK)
        return status;
    phy_observe(path->base.observer, PHY_INPUT_DOWN, r->index, path->gate, r->count, width);
    path->bytes_read += phy_path_layer_bytes(l);
    return PHY_OK;
}

/* ---- walks ---- */

/* Rows that take the same list of features. gate_dots: see struct phy_walk_product. */
static enum phy_status walk_rows(const struct run *r, size_t row, size_t rows, enum path_op op, size_t feature_count,
                                 const float *gate_dots)
{
    struct path *path = r->path;
    const struct path_layer *l = r->layer;
    size_t skipped = 0;
    const struct phy_walk_product product = {
        .gate = &l->gate,
        .up = &l->up,
        .down = &l->down,
        .activation = path->model->config.activation,
        .features = path->features,
        .feature_count = feature_count,
        .gate_dots = gate_dots,
        .x = r->x + row * l->gate.cols,
        .y = r->y + row * l->down.cols,
        .skipped = &skipped,
        .rows = rows,
    };
    path->trace.op = op;
    enum phy_status status = r->backend->ops->walk(r->backend, &product);
    if (status != PHY_OK)
        return status;
    const size_t visited = rows * feature_count;
    path->visited += visited;
    path->skipped += skipped;
    path->bytes_read += visited * ((gate_dots ? 0 : row_bytes_of(&l->gate)) + row_bytes_of(&l->up)) +
                        (visited - skipped) * row_bytes_of(&l->down);
    return PHY_OK;
}

static void list_all(struct path *path, size_t count)
{
    for (size_t i = 0; i < count; i++)
        path->features[i] = (uint32_t)i;
}

static enum phy_status run_features(const struct run *r)
{
    list_all(r->path, r->layer->gate.rows);
    return walk_rows(r, 0, r->count, OP_WALK_ALL, r->layer->gate.rows, NULL);
}

void phy_path_score(const struct phy_activation_variant *variant, enum phy_activation activation, const float *gate,
                    size_t width, float *score, float *scratch)
{
    memcpy(score, gate, width * sizeof *score);
    for (size_t i = 0; i < width; i++)
        scratch[i] = 1;
    variant->gate(activation, score, scratch, width);
    for (size_t i = 0; i < width; i++)
        score[i] = fabsf(score[i]);
}

static enum phy_status run_listed(const struct run *r)
{
    struct path *path = r->path;
    const struct path_layer *l = r->layer;
    const size_t width = l->gate.rows, k = path->top_k ? path->top_k : width;
    if (k == width) {
        list_all(path, width); /* whatever their scores */
        return walk_rows(r, 0, r->count, OP_WALK_LISTED, width, NULL);
    }
    const struct phy_product scores = {&l->gate, path->gate, NULL, l->rule->kernel};
    enum phy_status status = multiply(r, OP_SCORE, &scores, 1, r->x);
    path->bytes_read += width * row_bytes_of(&l->gate);
    for (size_t row = 0; row < r->count && status == PHY_OK; row++) {
        const float *gate = path->gate + row * width;
        float *score = path->pair, *scratch = path->pair + width;
        phy_path_score(path->model->activation, path->model->config.activation, gate, width, score, scratch);
        phy_path_top_features(score, width, k, path->features, scratch);
        status = walk_rows(r, row, 1, OP_WALK_LISTED, k, gate);
    }
    return status;
}

enum phy_status phy_path_run(struct path *path, struct path_layer *layer, uint32_t index,
                             struct phy_matmul_backend *backend, const float *x, size_t count, float *y)
{
    const struct run run = {path, layer, backend, index, x, count, y};
    switch (layer->rule->family) {
    case PATH_FEATURES:
        return run_features(&run);
    case PATH_LISTED:
        return run_listed(&run);
    default:
        return run_dense(&run);
    }
}
