/* SPDX-License-Identifier: Apache-2.0 */
/* A model's forward pass: many positions at once (prefill), and one after the other (decode). */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
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

/* Weights of 2 bytes, 2 operations each. Only the last row goes through the head and the last layer, whose keys and
 * values of the other rows are left out of the count. */
static double operations(const struct phy_model_info *info, uint32_t rows)
{
    const double head = 2.0 * info->vocab_size * info->hidden_size, layers = (double)info->weight_bytes - head;
    return head + layers * (rows - (rows - 1.0) / info->layer_count);
}

static enum phy_status measure(struct phy_bench_worker *w, struct phy_model *model)
{
    struct phy_model_info info;
    struct generate_run runs[2] = {{.keep = 0, .count = PREFILL}, {.keep = CONTEXT, .count = 1}};
    struct phy_bench_case *cases = phy_zalloc(2, sizeof *cases);
    enum phy_status status = cases ? PHY_OK : phy_fail_memory(w->host, "cases", sizeof *cases);
    phy_model_describe(model, &info);
    for (int i = 0; i < 2 && status == PHY_OK; i++) {
        for (uint32_t t = 0; t < PREFILL; t++)
            runs[i].tokens[t] = (t * 37 + 11) % info.vocab_size;
        status = phy_session_create(&runs[i].session, model, CONTEXT + PREFILL);
        /* decode has a context before it */
        for (uint32_t at = 0; at < runs[i].keep && status == PHY_OK; at += PREFILL)
            status = phy_session_forward(runs[i].session, runs[i].tokens, PREFILL, UINT32_MAX, NULL, NULL);
        cases[i] = (struct phy_bench_case){.user = &runs[i], .run = run, .prepare = prepare};
    }
    phy_bench_say(w, "generate");
    if (status == PHY_OK)
        status = phy_bench_measure(cases, 2,
                                   &(struct phy_bench_plan){.budget_s = phy_bench_share(w, 1),
                                                            .rounds = 21,
                                                            .host = w->host,
                                                            .beat = phy_bench_beat,
                                                            .beat_user = w});
    for (int i = 0; i < 2 && status == PHY_OK; i++) {
        struct phy_bench_row row = {
            .op = "generate",
            .format = "bf16",
            .kernel = i ? "decode" : "prefill",
            .x_rows = runs[i].count,
            .cold = true,
            .bytes = (double)info.weight_bytes,
            .operations = operations(&info, runs[i].count),
            .bandwidth = phy_bench_bandwidth_of(&w->roofline, (double)info.weight_bytes, false),
            .peak = w->roofline.f32,
            .clock = "host",
            .threads = w->job.threads,
        };
        snprintf(row.shape, sizeof row.shape, "%ux%ux%u", info.layer_count, info.hidden_size, info.intermediate_size);
        phy_bench_report_case(w, &row, &cases[i]);
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
