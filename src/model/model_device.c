/* SPDX-License-Identifier: Apache-2.0 */
/* The device of a model's products, and the CPU in its place when it is lost. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "device/device_set.h"
#include "model/model_parts.h"

static bool is_cpu(const struct phy_matmul_backend *backend)
{
    return strncmp(backend->name, "cpu:", 4) == 0;
}

enum phy_status phy_model_open_device(struct phy_model *model, const struct phy_model_params *params)
{
    unsigned threads = params && params->threads ? params->threads : phy_cpu_count();
    model->fallback_cpu = params && params->fallback_cpu;
    model->bf16_activations = params && params->bf16_activations;
    phy_held_log_init(&model->held, model->host, false);
    model->pool = phy_pool_create(threads);
    if (!model->pool)
        return phy_fail(model->host, PHY_ERR_MEMORY, "out of memory: %u threads", threads);
    enum phy_status status = phy_matmul_backend_open(&model->matmul, params ? params->device : NULL,
                                                     params && params->tune, model->pool, &model->held.host);
    if (status != PHY_OK)
        return status;
    snprintf(model->device_name, sizeof model->device_name, "%s", model->matmul->name);
    model->held.hold = model->fallback_cpu && !is_cpu(model->matmul);
    /* The rest stays on the CPU: in the form of the products', or in the best. */
    struct phy_cpu_features have = phy_cpu_detect();
    const char *form =
        is_cpu(model->matmul) ? model->device_name + strlen("cpu:") : phy_matmul_variant_best(&have)->name;
    model->attention = phy_attention_variant_named(form);
    model->activation = phy_activation_variant_named(form);
    return PHY_OK;
}

/* The CPU in the device's place, whose last error was held. */
static enum phy_status take_over(struct phy_model *model)
{
    model->held.hold = false;
    struct phy_matmul_backend *cpu;
    enum phy_status status = phy_matmul_backend_open(&cpu, "cpu", false, model->pool, model->host);
    if (status != PHY_OK)
        return status;
    phy_warn(model->host, "%s; %s goes on with the model's products", model->held.line, cpu->name);
    phy_matmul_backend_destroy(&model->matmul);
    model->matmul = cpu;
    snprintf(model->device_name, sizeof model->device_name, "%s", cpu->name);
    return phy_model_hand_over(model);
}

/* Whether the call is worth trying again: the CPU has taken over. */
static bool fall_back(struct phy_model *model, enum phy_status *status)
{
    if (*status != PHY_ERR_DEVICE || !model->held.hold) {
        phy_held_log_release(&model->held, *status);
        return false;
    }
    *status = take_over(model);
    return *status == PHY_OK;
}

enum phy_product_kernel phy_model_kernel(const struct phy_model *model, const struct phy_weights *w)
{
    const bool bf16 = model->bf16_activations && model->matmul->ops->offers(model->matmul, PHY_KERNEL_BF16, w->type);
    return bf16 ? PHY_KERNEL_BF16 : PHY_KERNEL_FUSED;
}

/* Rounded activations of nothing are a misunderstanding. */
static enum phy_status check_activations(const struct phy_model *model)
{
    if (!model->bf16_activations)
        return PHY_OK;
    for (uint32_t i = 0; i < model->config.layer_count; i++) {
        const struct phy_layer *l = &model->layers[i];
        const struct phy_weights *const all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t w = 0; w < sizeof all / sizeof *all; w++) {
            if (all[w]->type == PHY_WEIGHT_BF16)
                return PHY_OK;
        }
    }
    return phy_fail(model->host, PHY_ERR_UNSUPPORTED,
                    "%s: activations are rounded to bf16 for bf16 matrices, and its layers have none", model->label);
}

enum phy_status phy_model_load_device(struct phy_model *model)
{
    enum phy_status status = check_activations(model);
    if (status != PHY_OK)
        return status;
    const bool on_device = !is_cpu(model->matmul);
    model->held.hold = on_device;
    status = phy_model_hand_over(model);
    /* A device too small for the model's other matrices still has its share of the FFN's layers. */
    if (status == PHY_ERR_MEMORY && on_device && model->ffn_elsewhere)
        status = take_over(model);
    else if (status == PHY_ERR_MEMORY && on_device)
        phy_fail(model->host, status, "%s; --path full_mmap leaves to the CPU what does not fit of the FFN",
                 model->held.line);
    else if (model->fallback_cpu)
        fall_back(model, &status);
    else
        phy_held_log_release(&model->held, status);
    model->held.hold = model->held.hold && model->fallback_cpu;
    return status;
}

enum phy_status phy_model_products(struct phy_model *model, const struct phy_product *products, size_t product_count,
                                   const float *x, size_t count)
{
    enum phy_status status = model->matmul->ops->multiply(model->matmul, products, product_count, x, count);
    if (fall_back(model, &status))
        status = model->matmul->ops->multiply(model->matmul, products, product_count, x, count);
    return status;
}

enum phy_status phy_model_multiply(struct phy_model *model, const struct phy_weights *w, const float *x, size_t count,
                                   float *y, const float *bias)
{
    const struct phy_product product = {w, y, bias, phy_model_kernel(model, w)};
    return phy_model_products(model, &product, 1, x, count);
}

bool phy_model_ffn_product(struct phy_model *model, const struct phy_ffn_product *product, enum phy_status *status)
{
    if (!model->matmul->ops->ffn)
        return false;
    *status = model->matmul->ops->ffn(model->matmul, product);
    /* The CPU may have none: its products then. */
    return !fall_back(model, status) || phy_model_ffn_product(model, product, status);
}
