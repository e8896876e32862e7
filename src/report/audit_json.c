/* SPDX-License-Identifier: Apache-2.0 */
/* audit.json; docs/audit.md describes every field. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu_features.h"
#include "physarium/version.h"
#include "report/audit_report.h"
#include "report/json.h"

static bool add_double(cJSON *object, const char *key, double value)
{
    return isfinite(value) ? phy_json_double(object, key, value) : phy_json_null(object, key);
}

/* Seven digits say all that a measurement of float32 results holds. */
static bool add_figure(cJSON *object, const char *key, double value)
{
    char digits[32];
    if (!isfinite(value))
        return phy_json_null(object, key);
    snprintf(digits, sizeof digits, "%.7g", value);
    return object && cJSON_AddRawToObject(object, key, digits);
}

/* A small object on a line of its own; the array takes it. */
static bool add_line(cJSON *array, cJSON *item, bool complete)
{
    char *printed = complete && item ? cJSON_PrintUnformatted(item) : NULL;
    cJSON *raw = printed ? cJSON_CreateRaw(printed) : NULL;
    bool done = raw && cJSON_AddItemToArray(array, raw);
    if (!done)
        cJSON_Delete(raw);
    cJSON_free(printed);
    cJSON_Delete(item);
    return done;
}

static bool add_cos(cJSON *object, const char *prefix, double one_minus_cos)
{
    char key[40];
    snprintf(key, sizeof key, "%s_cos", prefix);
    bool done = add_double(object, key, 1 - one_minus_cos);
    snprintf(key, sizeof key, "%s_one_minus_cos", strcmp(prefix, "min") == 0 ? "max" : prefix);
    return done && add_figure(object, key, one_minus_cos);
}

/* ---- inputs ---- */

static bool add_model(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *model = phy_json_object(root, "model");
    return phy_json_string(model, "name", r->model_name) && phy_json_string(model, "type", r->model_type) &&
           phy_json_string(model, "digest", r->model_digest) && phy_json_count(model, "layers", r->model_layers) &&
           phy_json_count(model, "hidden_size", r->hidden_size) &&
           phy_json_count(model, "intermediate_size", r->intermediate_size) &&
           phy_json_count(model, "vocab_size", r->vocab_size);
}

static bool add_against(cJSON *root, const struct phy_audit_record *r)
{
    if (!r->against_name)
        return phy_json_null(root, "against");
    cJSON *against = phy_json_object(root, "against");
    return phy_json_string(against, "name", r->against_name) && phy_json_string(against, "digest", r->against_digest);
}

static bool add_build(cJSON *root)
{
    cJSON *build = phy_json_object(root, "build");
    return phy_json_string(build, "physarium", phy_version()) &&
           phy_json_string(build, "revision", phy_audit_revision) &&
           phy_json_string(build, "compiler", phy_audit_compiler) && phy_json_string(build, "flags", phy_audit_flags) &&
           phy_json_string(build, "cpu", phy_cpu_model());
}

static bool add_devices(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *devices = phy_json_array(root, "devices");
    bool done = devices != NULL;
    for (size_t i = 0; done && i < r->device_count; i++) {
        const struct phy_device_info *d = &r->devices[i];
        cJSON *item = phy_json_item(devices);
        done = phy_json_string(item, "name", d->name) && phy_json_string(item, "device_name", d->device_name) &&
               phy_json_string(item, "vendor", d->vendor);
        if (done && d->kind == PHY_DEVICE_VULKAN)
            done = phy_json_count(item, "vendor_id", d->vendor_id) && phy_json_count(item, "device_id", d->device_id) &&
                   phy_json_string(item, "driver", d->driver) && phy_json_string(item, "api_version", d->api_version) &&
                   phy_json_string(item, "type", d->type);
    }
    cJSON *modules = phy_json_array(root, "shaders");
    for (size_t i = 0; done && i < r->module_count; i++) {
        cJSON *item = cJSON_CreateObject();
        done = add_line(modules, item,
                        phy_json_string(item, "name", r->modules[i].name) &&
                            phy_json_hash(item, "digest", r->modules[i].digest));
    }
    cJSON *rest = phy_json_object(root, "rest");
    return done && modules && phy_json_string(rest, "dual", r->rest) && phy_json_string(rest, "driven", r->driven_rest);
}

static bool add_prompts(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *prompts = phy_json_array(root, "prompts");
    bool done = prompts != NULL;
    for (size_t i = 0; done && i < r->prompt_count; i++) {
        const struct phy_audit_prompt *p = &r->prompts[i];
        cJSON *item = phy_json_item(prompts);
        done = phy_json_string(item, "name", p->name) && phy_json_string(item, "text", p->text);
        cJSON *ids = phy_json_array(item, "ids");
        for (size_t k = 0; done && k < p->id_count; k++)
            done = cJSON_AddItemToArray(ids, cJSON_CreateNumber(p->ids[k]));
        cJSON *tokens = phy_json_array(item, "tokens");
        for (size_t k = 0; done && k < p->id_count; k++) {
            struct phy_text text = {0};
            phy_text_json_string(&text, p->tokens[k], strlen(p->tokens[k]));
            done = !text.failed && cJSON_AddItemToArray(tokens, cJSON_CreateRaw(text.data));
            phy_text_free(&text);
        }
        cJSON *positions = phy_json_array(item, "positions");
        for (size_t k = 0; done && k < p->position_count; k++)
            done = cJSON_AddItemToArray(positions, cJSON_CreateNumber(p->positions[k]));
    }
    return done;
}

/* What --budget left of the layers and prompts. */
static bool add_budget(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *layers = phy_json_array(root, "layers");
    bool done = layers != NULL;
    for (size_t i = 0; done && i < r->layer_count; i++)
        done = cJSON_AddItemToArray(layers, cJSON_CreateNumber(r->layers[i]));
    if (!r->budget_seconds)
        return done && phy_json_null(root, "budget");
    cJSON *budget = phy_json_object(root, "budget");
    return done && phy_json_count(budget, "seconds", r->budget_seconds) &&
           add_double(budget, "estimated_seconds", r->estimated_seconds) &&
           phy_json_count(budget, "dropped_prompts", r->dropped_prompts) &&
           phy_json_count(budget, "dropped_layers", r->model_layers - r->layer_count);
}

/* ---- results ---- */

static bool add_causes(cJSON *object, const struct phy_audit_causes *causes)
{
    cJSON *array = phy_json_array(object, "causes");
    bool done = array != NULL;
    for (size_t i = 0; done && i < causes->count; i++) {
        struct phy_text text = {0};
        phy_text_json_string(&text, causes->lines[i], strlen(causes->lines[i]));
        done = !text.failed && cJSON_AddItemToArray(array, cJSON_CreateRaw(text.data));
        phy_text_free(&text);
    }
    return done;
}

static bool add_place(cJSON *object, const char *key, const struct phy_audit_record *r,
                      const struct phy_audit_observation *at)
{
    const struct phy_audit_prompt *prompt = &r->prompts[at->prompt];
    cJSON *place = key ? phy_json_object(object, key) : object;
    return phy_json_count(place, "layer", at->layer) && phy_json_string(place, "prompt", prompt->name) &&
           phy_json_count(place, "position", at->position) &&
           phy_json_string(place, "token", prompt->tokens[at->position]);
}

static bool add_pair(cJSON *object, const struct phy_audit_pair *pair)
{
    return add_cos(object, "min", pair->max_one_minus_cos) && add_figure(object, "max_rel_l2", pair->max_rel_l2) &&
           add_cos(object, "mean", pair->mean_one_minus_cos) && add_figure(object, "mean_rel_l2", pair->mean_rel_l2) &&
           add_figure(object, "max_abs_l2", pair->max_abs_l2) && add_figure(object, "max_diff", pair->max_diff);
}

static bool add_layer_pair(cJSON *object, const struct phy_audit_record *r, const struct phy_audit_pair *pair)
{
    return add_figure(object, "max_one_minus_cos", pair->max_one_minus_cos) &&
           add_figure(object, "mean_one_minus_cos", pair->mean_one_minus_cos) &&
           add_figure(object, "max_rel_l2", pair->max_rel_l2) && add_figure(object, "mean_rel_l2", pair->mean_rel_l2) &&
           phy_json_string(object, "prompt", r->prompts[pair->worst.prompt].name) &&
           phy_json_count(object, "position", pair->worst.position);
}

static bool add_layers(cJSON *object, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    cJSON *layers = phy_json_array(object, "layers");
    bool done = layers != NULL;
    for (size_t i = 0; done && run->original.count && i < r->layer_count; i++) {
        cJSON *item = cJSON_CreateObject();
        done = phy_json_count(item, "layer", run->layers[i].layer) && add_layer_pair(item, r, &run->layers[i].original);
        if (done && run->has_decoded)
            done = add_layer_pair(phy_json_object(item, "decoded"), r, &run->layers[i].decoded);
        done = add_line(layers, item, done);
    }
    return done;
}

static bool add_worst_list(cJSON *object, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    cJSON *list = phy_json_array(object, "worst_list");
    bool done = list != NULL;
    for (size_t i = 0; done && i < run->worst_count; i++) {
        const struct phy_audit_observation *at = &run->worst[i];
        cJSON *item = cJSON_CreateObject();
        done = add_line(list, item,
                        add_place(item, NULL, r, at) && add_figure(item, "one_minus_cos", at->one_minus_cos) &&
                            add_figure(item, "rel_l2", at->rel_l2) && add_figure(item, "abs_l2", at->abs_l2) &&
                            add_figure(item, "max_diff", at->max_diff));
    }
    return done;
}

static bool add_driven(cJSON *object, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    cJSON *driven = phy_json_array(object, "driven");
    bool done = driven != NULL;
    for (size_t i = 0; done && i < r->prompt_count; i++) {
        const struct phy_audit_drive *d = &run->drives[i];
        cJSON *item = cJSON_CreateObject();
        done = phy_json_string(item, "prompt", r->prompts[i].name);
        if (!d->done) {
            done = add_line(driven, item, done && phy_json_null(item, "top1"));
            continue;
        }
        done = done && phy_json_bool(item, "top1", d->top == d->reference_top) &&
               phy_json_count(item, "anchor", d->reference_top) && phy_json_count(item, "top", d->top) &&
               add_figure(item, "anchor_p", d->reference_probability) && add_figure(item, "path_p", d->probability) &&
               add_figure(item, "dp", fabs(d->probability - d->reference_probability)) &&
               add_figure(item, "kl_bits", d->kl_bits);
        done = add_line(driven, item, done);
    }
    return done;
}

static bool add_limits(cJSON *object, const struct phy_audit_run *run)
{
    const struct phy_audit_limits *l = &run->limits;
    if (!run->bounded)
        return phy_json_null(object, "bounds");
    cJSON *bounds = phy_json_object(object, "bounds");
    bool done = add_double(bounds, "cos", 1 - l->one_minus_cos) && add_double(bounds, "rel_l2", l->rel_l2) &&
                add_double(bounds, "anchor_dp", l->anchor_dp) && phy_json_string(bounds, "source", l->source);
    if (!done || !run->has_decoded)
        return done;
    cJSON *decoded = phy_json_object(bounds, "decoded");
    return add_double(decoded, "cos", 1 - l->decoded_one_minus_cos) && add_double(decoded, "rel_l2", l->decoded_rel_l2);
}

static const char *verdict_of(const struct phy_audit_run *run)
{
    return !run->passed ? "fail" : run->bounded ? "pass" : "measured";
}

static bool add_numbers(cJSON *item, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    if (!run->original.count)
        return phy_json_null(item, "min_cos") && phy_json_null(item, "max_rel_l2") && phy_json_null(item, "worst") &&
               phy_json_null(item, "decoded");
    bool done = add_pair(item, &run->original) && add_place(item, "worst", r, &run->original.worst);
    if (!run->has_decoded)
        return done && phy_json_null(item, "decoded");
    cJSON *decoded = phy_json_object(item, "decoded");
    return done && add_pair(decoded, &run->decoded) && add_place(decoded, "worst", r, &run->decoded.worst);
}

static bool add_run(cJSON *runs, const struct phy_audit_record *r, const struct phy_audit_run *run)
{
    cJSON *item = phy_json_item(runs);
    bool done = phy_json_string(item, "path", run->path) && phy_json_string(item, "device", run->device) &&
                phy_json_string(item, "bucket", run->bucket);
    cJSON *store = phy_json_object(item, "store");
    done = done && phy_json_string(store, "scheme", run->scheme) &&
           (*run->layout ? phy_json_string(store, "layout", run->layout) : phy_json_null(store, "layout")) &&
           (*run->store_digest ? phy_json_string(store, "digest", run->store_digest) : phy_json_null(store, "digest"));
    done = done && phy_json_count(item, "n_obs", run->original.count) && add_numbers(item, r, run);
    cJSON *dispatch = phy_json_object(item, "dispatch");
    done = done && phy_json_count(dispatch, "expected", run->dispatch_expected) &&
           phy_json_count(dispatch, "seen", run->dispatch_seen) && phy_json_string(dispatch, "kernels", run->kernels);
    done = done && phy_json_count(item, "top1_match", run->top1_match) &&
           add_figure(item, "anchor_dp", run->anchor_dp) && add_figure(item, "kl_bits", run->kl_bits) &&
           add_driven(item, r, run) &&
           (run->has_output_xxh3 ? phy_json_hash(item, "output_xxh3", run->output_xxh3)
                                 : phy_json_null(item, "output_xxh3"));
    return done && add_limits(item, run) && phy_json_string(item, "verdict", verdict_of(run)) &&
           add_causes(item, &run->causes) && add_layers(item, r, run) && add_worst_list(item, r, run);
}

static bool add_oracle(cJSON *root, const struct phy_audit_record *r)
{
    const struct phy_audit_oracle *o = &r->oracle;
    cJSON *oracle = phy_json_object(root, "oracle");
    if (!o->present)
        return phy_json_string(oracle, "verdict", "absent") && phy_json_string(oracle, "reason", o->reason);
    bool done = phy_json_string(oracle, "verdict", o->passed ? "pass" : "fail") &&
                phy_json_string(oracle, "source", o->source) && add_figure(oracle, "max_rel_l2", o->max_rel_l2) &&
                add_double(oracle, "limit", o->limit) && add_causes(oracle, &o->causes);
    cJSON *prompts = phy_json_array(oracle, "prompts");
    for (size_t i = 0; done && i < o->prompt_count; i++) {
        cJSON *item = phy_json_item(prompts);
        done = phy_json_string(item, "prompt", r->prompts[o->prompts[i].prompt].name) &&
               add_figure(item, "rel_l2", o->prompts[i].rel_l2) && phy_json_bool(item, "top1", o->prompts[i].top1) &&
               add_figure(item, "anchor_dp", o->prompts[i].anchor_dp) &&
               add_figure(item, "kl_bits", o->prompts[i].kl_bits);
    }
    return done && prompts;
}

static bool add_skips(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *skips = phy_json_array(root, "skipped");
    bool done = skips != NULL;
    for (size_t i = 0; done && i < r->skip_count; i++) {
        cJSON *item = phy_json_item(skips);
        done = phy_json_string(item, "path", r->skips[i].path) && phy_json_string(item, "device", r->skips[i].device) &&
               phy_json_string(item, "store", r->skips[i].scheme) &&
               phy_json_string(item, "reason", r->skips[i].reason);
    }
    return done;
}

/* The one member that differs between two runs of the same program on the same machine. */
static bool add_times(cJSON *root, const struct phy_audit_record *r)
{
    cJSON *times = phy_json_object(root, "times");
    bool done = phy_json_string(times, "date", r->date) && phy_json_seconds(times, "seconds", r->seconds);
    cJSON *runs = phy_json_array(times, "runs");
    for (size_t i = 0; done && i < r->run_count; i++)
        done = cJSON_AddItemToArray(runs, cJSON_CreateNumber(round(r->runs[i].seconds * 1000) / 1000));
    return done && runs;
}

void phy_audit_put_json(struct phy_text *out, const struct phy_audit_record *r)
{
    cJSON *root = cJSON_CreateObject();
    bool done = phy_json_string(root, "schema", PHY_AUDIT_SCHEMA) &&
                phy_json_count(root, "schema_version", PHY_AUDIT_SCHEMA_VERSION) &&
                phy_json_string(root, "verdict", r->passed ? "pass" : "fail") && add_build(root) &&
                add_model(root, r) && add_against(root, r) && add_devices(root, r) && add_prompts(root, r) &&
                add_budget(root, r) && add_oracle(root, r);
    cJSON *runs = phy_json_array(root, "runs");
    for (size_t i = 0; done && i < r->run_count; i++)
        done = add_run(runs, r, &r->runs[i]);
    done = done && runs && add_skips(root, r) && add_times(root, r);
    char *printed = done ? cJSON_Print(root) : NULL;
    if (printed) {
        phy_text_put(out, printed);
        phy_text_put(out, "\n");
    } else {
        out->failed = true;
    }
    cJSON_free(printed);
    cJSON_Delete(root);
}
