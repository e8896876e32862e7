/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bench/synthetic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "bench/matrices.h"
#include "report/text.h"

enum { PIECE_BYTES = 1 << 20 };

struct plan {
    struct phy_text header;
    uint64_t data_bytes;
};

static void add_tensor(struct plan *plan, const char *name, uint32_t rows, uint32_t cols)
{
    uint64_t bytes = (uint64_t)rows * (cols ? cols : 1) * 2;
    phy_text_printf(&plan->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%u", plan->data_bytes ? "," : "", name,
                    rows);
    if (cols)
        phy_text_printf(&plan->header, ",%u", cols);
    phy_text_printf(&plan->header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", plan->data_bytes,
                    plan->data_bytes + bytes);
    plan->data_bytes += bytes;
}

static void plan_tensors(struct plan *plan, const struct phy_bench_synthetic *s)
{
    const struct {
        const char *name;
        uint32_t rows, cols;
    } tensors[] = {
        {"self_attn.q_proj.weight", s->hidden, s->hidden},    {"self_attn.k_proj.weight", s->kv, s->hidden},
        {"self_attn.v_proj.weight", s->kv, s->hidden},        {"self_attn.o_proj.weight", s->hidden, s->hidden},
        {"mlp.gate_proj.weight", s->intermediate, s->hidden}, {"mlp.up_proj.weight", s->intermediate, s->hidden},
        {"mlp.down_proj.weight", s->hidden, s->intermediate}, {"input_layernorm.weight", s->hidden, 0},
        {"post_attention_layernorm.weight", s->hidden, 0},
    };
    phy_text_put(&plan->header, "{");
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%u.%s", layer, tensors[i].name);
            add_tensor(plan, name, tensors[i].rows, tensors[i].cols);
        }
    }
    phy_text_put(&plan->header, "}");
    while (plan->header.bytes % 8)
        phy_text_put(&plan->header, " ");
}

static int write_tensors(const void *user, int fd)
{
    const struct plan *plan = user;
    uint8_t length[8], *piece = phy_alloc_aligned(PIECE_BYTES);
    if (!piece)
        return ENOMEM;
    phy_store_u64(length, plan->header.bytes);
    phy_bench_fill(PHY_WEIGHT_BF16, piece, PIECE_BYTES, 1);
    int error = phy_write_all(fd, length, sizeof length);
    if (!error)
        error = phy_write_all(fd, plan->header.data, plan->header.bytes);
    for (uint64_t left = plan->data_bytes; left && !error;) {
        size_t bytes = (size_t)phy_min_u64(left, PIECE_BYTES);
        error = phy_write_all(fd, piece, bytes);
        left -= bytes;
    }
    phy_free(piece);
    return error;
}

static int write_text(const void *user, int fd)
{
    const struct phy_text *text = user;
    return phy_write_all(fd, text->data, text->bytes);
}

static enum phy_status write_in(const char *directory, const char *name, phy_fill_file *fill, const void *user,
                                const struct phy_host *host)
{
    struct phy_text path = {0};
    phy_text_put(&path, directory);
    phy_text_put(&path, name);
    enum phy_status status =
        path.failed ? phy_fail_memory(host, "a path", path.bytes) : phy_write_whole_file(path.data, fill, user, host);
    phy_text_free(&path);
    return status;
}

enum phy_status phy_bench_write_synthetic(const char *path, const struct phy_bench_synthetic *s,
                                          const struct phy_host *host)
{
    struct plan plan = {0};
    struct phy_text config = {0};
    plan_tensors(&plan, s);
    phy_text_printf(&config,
                    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":%u,"
                    "\"intermediate_size\":%u,\"num_hidden_layers\":%u,\"torch_dtype\":\"bfloat16\"}\n",
                    s->hidden, s->intermediate, s->layers);
    enum phy_status status = PHY_OK;
    if (plan.header.failed || config.failed)
        status = phy_fail_memory(host, "a header", plan.header.bytes);
    else if (mkdir(path, 0777) && errno != EEXIST)
        status = phy_fail(host, PHY_ERR_IO, "%s: %s", path, strerror(errno));
    if (status == PHY_OK)
        status = write_in(path, "/config.json", write_text, &config, host);
    if (status == PHY_OK)
        status = write_in(path, "/model.safetensors", write_tensors, &plan, host);
    phy_text_free(&plan.header);
    phy_text_free(&config);
    return status;
}
