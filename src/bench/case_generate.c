/* SPDX-License-Identifier: Apache-2.0 */
/* A model's forward pass: many positions at once (prefill), and one after the other (decode). */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench/worker.h"
#include "physarium/model.h"

enum { PREFILL = 64, CONTEXT = 128 };

struct generate_run {
    struct phy_session *session;
    uint32_t tokens[PREFILL];
    uint32_t keep, count; /* positions kept before, and run by, a run */
};

static void prepare(void *user)
{
    struct generate_run *r = user;
    phy_session_truncate(r->session, r->keep);
}

static bool take_logits(void *user, uint32_t position, const float *logits)
{
    (void)user, (void)position, (void)logits;
    return true;
}

static enum phy_status run(void *user, uint64_t turn)
{
    struct generate_run *r = user;
    (void)turn;
    return phy_session_forward(r->session, r->tokens, r->count, UINT32_MAX, take_logits, NULL);
}

/* 2 for each weight and row. Only the last row goes through the head and the last layer, whose keys and values of the
 * other rows are left out of the count. */
static double operations(const struct phy_model_info *info, uint32_t rows)
{
    const double head = (double)info->vocab_size * info->hidden_size, layers = (double)info->weight_count - head;
    return 2 * (head + layers * (rows - (rows - 1.0) / info->layer_count));
}

struct generate_group {
    const struct phy_bench_worker *w;
    const struct phy_model_info *info;
    const struct generate_run *runs;
};

static void row_of(void *user, size_t index, struct phy_bench_row *out)
{
    const struct generate_group *g = user;
    const struct phy_model_info *info = g->info;
    *out = (struct phy_bench_row){
        .op = "generate",
        .format = info->weight_type,
        .kernel = index ? "decode" : "prefill",
        .x_rows = g->runs[index].count,
        .cold = true,
        .bytes = (double)info->weight_bytes,
        .operations = operations(info, g->runs[index].count),
        .bandwidth = phy_bench_bandwidth_of(&g->w->roofline, (double)info->weight_bytes, false),
        .peak = g->w->roofline.f32,
        .clock = "host",
        .threads = g->w->job.threads,
    };
    snprintf(out->shape, sizeof out->shape, "%ux%ux%u", info->layer_count, info->hidden_size, info->intermediate_size);
}

/* decode has a context before it, and the time of computing it says what a prefill takes. */
static enum phy_status make_context(struct phy_bench_worker *w, struct generate_run *r, double *prefill_s)
{
    enum phy_status status = PHY_OK;
    for (uint32_t at = 0; at < r->keep && status == PHY_OK; at += PREFILL) {
        const double begin = phy_seconds_now();
        status = phy_session_forward(r->session, r->tokens, PREFILL, UINT32_MAX, NULL, NULL);
        *prefill_s = phy_seconds_now() - begin;
        phy_bench_beat(w);
    }
    return status;
}

static enum phy_status measure(struct phy_bench_worker *w, struct phy_model *model)
{
    struct phy_model_info info;
    struct generate_run runs[2] = {{.keep = 0, .count = PREFILL}, {.keep = CONTEXT, .count = 1}};
    struct phy_bench_case *cases = phy_zalloc(2, sizeof *cases);
    enum phy_status status = cases ? PHY_OK : phy_fail_memory(w->host, "cases", sizeof *cases);
    double prefill_s = 0;
    phy_model_describe(model, &info);
    phy_bench_say(w, "generate");
    for (int i = 0; i < 2 && status == PHY_OK; i++) {
        for (uint32_t t = 0; t < PREFILL; t++)
            runs[i].tokens[t] = (t * 37 + 11) % info.vocab_size;
        status = phy_session_create(&runs[i].session, model, CONTEXT + PREFILL);
        if (status == PHY_OK)
            status = make_context(w, &runs[i], &prefill_s);
        cases[i] = (struct phy_bench_case){.user = &runs[i], .run = run, .prepare = prepare};
    }
    struct generate_group group = {w, &info, runs};
    if (status == PHY_OK) {
        cases[0].expected_s = prefill_s;
        status = phy_bench_measure_group(w, &(struct phy_bench_group){.cases = cases,
                                                                      .count = 2,
                                                                      .row = row_of,
                                                                      .user = &group,
                                                                      .budget_s = phy_bench_share(w, 1),
                                                                      .rounds = 21,
                                                                      .may_leave_out = true});
    }
    for (int i = 0; i < 2; i++)
        phy_session_destroy(&runs[i].session);
    phy_free(cases);
    return status;
}

enum phy_status phy_bench_run_generate(struct phy_bench_worker *w)
{
    struct phy_model *model;
    if (!w->job.donor)
        return phy_fail(w->host, PHY_ERR_USAGE, "bench generate needs a model directory");
    phy_bench_say(w, "opening the model");
    enum phy_status status =
        phy_model_open(&model, w->job.donor,
                       &(struct phy_model_params){.device = w->device, .threads = w->job.threads, .host = w->host});
    if (status)
        return status;
    status = measure(w, model);
    phy_model_close(&model);
    return status;
}
