/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "physarium/calibrate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/json_write.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "model/model_parts.h"
#include "model/observer.h"
#include "physarium/targets.h"
#include "surgery/donor_digest.h"

enum { DEFAULT_CONTEXT = 512 };

struct calibration_run {
    const struct phy_calibrate_params *params;
    const struct phy_checkpoint *checkpoint; /* the model's own */
    struct phy_target_list targets;
    double *squares[PHY_INPUT_COUNT]; /* (layers, width) sums of squares */
    size_t width[PHY_INPUT_COUNT];
    uint64_t rows; /* positions seen */
    uint32_t context;
    double alpha;
    char model_digest[17], text_digest[17];
};

/* ---- measuring ---- */

static void see(void *user, enum phy_input input, uint32_t layer, const float *x, size_t count, size_t width)
{
    struct calibration_run *run = user;
    double *sums = run->squares[input] + layer * width;
    for (size_t n = 0; n < count; n++) {
        for (size_t j = 0; j < width; j++)
            sums[j] += (double)x[n * width + j] * (double)x[n * width + j];
    }
}

static enum phy_status allocate(struct calibration_run *run)
{
    const struct phy_model_config *c = &run->params->model->config;
    run->width[PHY_INPUT_QKV] = run->width[PHY_INPUT_GATE_UP] = c->hidden_size;
    run->width[PHY_INPUT_O] = (size_t)c->head_count * c->head_dim;
    run->width[PHY_INPUT_DOWN] = c->intermediate_size;
    for (int i = 0; i < PHY_INPUT_COUNT; i++) {
        run->squares[i] = phy_zalloc(c->layer_count * run->width[i], sizeof *run->squares[i]);
        if (!run->squares[i])
            return phy_fail_memory(run->params->host, "sums of squares",
                                   c->layer_count * run->width[i] * sizeof(double));
    }
    return PHY_OK;
}

static enum phy_status measure(struct calibration_run *run)
{
    const struct phy_calibrate_params *p = run->params;
    const struct phy_observer observer = {.see = see, .user = run};
    const size_t piece = run->context - (p->has_bos ? 1 : 0);
    struct phy_session *session;
    enum phy_status status = phy_session_create(&session, p->model, run->context);
    if (status != PHY_OK)
        return status;
    phy_session_observe(session, &observer);
    for (size_t begin = 0; status == PHY_OK && begin < p->token_count; begin += piece) {
        size_t count = p->token_count - begin < piece ? p->token_count - begin : piece;
        phy_report_progress(p->host, "calibrate", "tokens", begin, p->token_count);
        phy_session_truncate(session, 0);
        if (p->has_bos)
            status = phy_session_forward(session, &p->bos, 1, UINT32_MAX, NULL, NULL);
        if (status == PHY_OK)
            status = phy_session_forward(session, p->tokens + begin, count, UINT32_MAX, NULL, NULL);
        run->rows += count + (p->has_bos ? 1 : 0);
    }
    if (status == PHY_OK)
        phy_report_progress(p->host, "calibrate", "tokens", p->token_count, p->token_count);
    phy_session_destroy(&session);
    return status;
}

/* ---- scales ---- */

/* Which input a default projection has. */
static bool input_of(const char *projection, enum phy_input *input)
{
    static const struct {
        const char *projection;
        enum phy_input input;
    } inputs[] = {
        {"self_attn.q_proj", PHY_INPUT_QKV}, {"self_attn.k_proj", PHY_INPUT_QKV},  {"self_attn.v_proj", PHY_INPUT_QKV},
        {"self_attn.o_proj", PHY_INPUT_O},   {"mlp.gate_proj", PHY_INPUT_GATE_UP}, {"mlp.up_proj", PHY_INPUT_GATE_UP},
        {"mlp.down_proj", PHY_INPUT_DOWN},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (strcmp(projection, inputs[i].projection) == 0) {
            *input = inputs[i].input;
            return true;
        }
    }
    return false;
}

static void scales_of(const struct calibration_run *run, enum phy_input input, uint32_t layer, float *out)
{
    const size_t width = run->width[input];
    const double *squares = run->squares[input] + layer * width;
    double sum = 0;
    for (size_t j = 0; j < width; j++)
        sum += pow(sqrt(squares[j] / (double)run->rows), run->alpha);
    double mean = sum / (double)width;
    /* Inputs that are zero throughout say nothing about the columns: all alike. */
    for (size_t j = 0; j < width; j++)
        out[j] = mean > 0 ? (float)(pow(sqrt(squares[j] / (double)run->rows), run->alpha) / mean) : 1.0f;
}

/* ---- the file ---- */

static void write_header(struct phy_json_writer *json, const struct calibration_run *run)
{
    char number[PHY_JSON_NUMBER_BYTES];
    uint64_t at = 0;
    phy_jsonw_open(json, '{');
    phy_jsonw_member_open(json, "__metadata__", '{');
    phy_jsonw_member_text(json, "format", "physarium-calibration-1");
    phy_jsonw_member_text(json, "model_digest", run->model_digest);
    phy_jsonw_member_text(json, "text_digest", run->params->text_digest ? run->params->text_digest : run->text_digest);
    snprintf(number, sizeof number, "%zu", run->params->token_count);
    phy_jsonw_member_text(json, "token_count", number);
    snprintf(number, sizeof number, "%u", run->context);
    phy_jsonw_member_text(json, "context", number);
    phy_jsonw_member_text(json, "alpha", phy_jsonw_double(number, run->alpha));
    phy_jsonw_close(json, '}');
    for (size_t i = 0; i < run->targets.count; i++) {
        struct phy_tensor_info tensor;
        phy_checkpoint_tensor(run->checkpoint, run->targets.targets[i].tensor, &tensor);
        phy_jsonw_key(json, tensor.name, tensor.name_bytes);
        phy_jsonw_open(json, '{');
        phy_jsonw_member_text(json, "dtype", "F32");
        phy_jsonw_member_open(json, "shape", '[');
        phy_jsonw_u64(json, tensor.shape[1]);
        phy_jsonw_close(json, ']');
        phy_jsonw_member_open(json, "data_offsets", '[');
        phy_jsonw_u64(json, at);
        at += tensor.shape[1] * sizeof(float);
        phy_jsonw_u64(json, at);
        phy_jsonw_close(json, ']');
        phy_jsonw_close(json, '}');
    }
    phy_jsonw_close(json, '}');
}

/* 8 bytes of length, the header padded with spaces to 8 bytes, the vectors. Returns 0 or an errno value. */
static int write_file(const void *user, int fd)
{
    const struct calibration_run *run = user;
    struct phy_json_writer *json = phy_alloc(1, sizeof *json);
    float *scales =
        phy_alloc(run->width[PHY_INPUT_DOWN] + run->width[PHY_INPUT_O] + run->width[PHY_INPUT_QKV], sizeof *scales);
    unsigned char length[8] = {0};
    int error = json && scales ? phy_write_all(fd, length, sizeof length) : ENOMEM;
    if (!error) {
        phy_jsonw_start(json, fd, false);
        write_header(json, run);
        error = phy_jsonw_finish(json);
    }
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (!error && end % 8)
        error = phy_write_all(fd, "       ", (size_t)(8 - end % 8));
    end = lseek(fd, 0, SEEK_CUR);
    phy_store_u64(length, (uint64_t)end - sizeof length);
    for (size_t i = 0; !error && i < run->targets.count; i++) {
        const struct phy_target *target = &run->targets.targets[i];
        enum phy_input input = PHY_INPUT_QKV;
        input_of(target->projection, &input);
        scales_of(run, input, target->layer, scales);
        error = phy_write_all(fd, scales, run->width[input] * sizeof *scales);
    }
    if (!error)
        error = phy_pwrite_all(fd, length, sizeof length, 0);
    if (!error)
        error = phy_fsync(fd);
    phy_free(json);
    phy_free(scales);
    return error;
}

/* ---- all of it ---- */

static enum phy_status check(struct calibration_run *run)
{
    const struct phy_calibrate_params *p = run->params;
    const struct phy_model_config *c = &p->model->config;
    run->alpha = p->alpha != 0 ? p->alpha : 1.0;
    if (!(run->alpha > 0 && run->alpha <= 4))
        return phy_fail(p->host, PHY_ERR_USAGE, "alpha %g: above 0 and at most 4 is needed", run->alpha);
    if (p->token_count == 0)
        return phy_fail(p->host, PHY_ERR_USAGE, "the text has no tokens");
    run->context = p->context ? p->context : DEFAULT_CONTEXT;
    if (!p->context && run->context > c->max_positions)
        run->context = c->max_positions;
    if (run->context < 2)
        return phy_fail(p->host, PHY_ERR_USAGE, "a context of %u: at least 2 is needed", run->context);
    enum phy_status status = phy_output_file_check(p->output, &p->directory, 1, p->host);
    if (status != PHY_OK)
        return status;
    snprintf(run->text_digest, sizeof run->text_digest, "%016llx",
             (unsigned long long)XXH3_64bits(p->tokens, p->token_count * sizeof *p->tokens));
    status = phy_targets_choose(&run->targets, run->checkpoint, &(struct phy_target_params){0}, p->host);
    if (status == PHY_OK)
        status = phy_donor_digest(run->checkpoint, run->model_digest, NULL, p->host);
    for (size_t i = 0; status == PHY_OK && i < run->targets.count; i++) {
        enum phy_input input;
        const struct phy_target *target = &run->targets.targets[i];
        if (!input_of(target->projection, &input) || target->layer >= c->layer_count)
            status =
                phy_fail(p->host, PHY_ERR_UNSUPPORTED, "%s: a target that the model's layers do not have: layer %u, %s",
                         p->directory, target->layer, target->projection);
    }
    return status;
}

enum phy_status phy_calibrate_run(const struct phy_calibrate_params *params)
{
    struct calibration_run run = {.params = params, .checkpoint = params->model->checkpoint};
    enum phy_status status = check(&run);
    if (status == PHY_OK)
        status = allocate(&run);
    if (status == PHY_OK)
        status = measure(&run);
    if (status == PHY_OK)
        status = phy_write_whole_file(params->output, write_file, &run, params->host);
    for (int i = 0; i < PHY_INPUT_COUNT; i++)
        phy_free(run.squares[i]);
    phy_target_list_free(&run.targets);
    return status;
}
