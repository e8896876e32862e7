/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF file of the whole model: keys, the table of tensors, then their data, each padded to 32 bytes.
 *
 * A tensor is made row by row: read from the donor (rows of q and k of the llama family in their other order), widened,
 * transformed, encoded; or copied as it lies in the store. */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "ffn/export_run.h"

enum { ALIGNMENT = 32, BAND_BYTES = 8 << 20, NAME_BYTES = 64, GGUF_VERSION = 3 };

struct out_tensor {
    char name[NAME_BYTES];
    const struct phy_quant_format *format;
    struct phy_donor_tensor source;
    enum import_transform transform;
    bool vector;
    uint64_t rows, cols; /* as it is worked on: a permuted vector is a column */
    size_t row_bytes;
    uint64_t bytes, offset;
    const uint8_t *stored; /* row 0 in the store, or NULL */
    size_t stored_stride;
    float *made; /* values that are in no tensor; or NULL */
};

struct writer {
    struct phy_export *run;
    struct out_tensor *tensors;
    size_t count, capacity;
    uint64_t data_bytes, done_bytes;
    struct phy_bytes header; /* all before the data */
    int fd;
    uint64_t data_at; /* where the data begin in the file */
    unsigned fallbacks;
    char fallback[96]; /* the first of them */
    /* The band at work. */
    const struct out_tensor *tensor;
    uint64_t first;
    uint8_t *out;        /* (BAND_BYTES or one row) */
    uint8_t *raw;        /* (threads, cols * 4) */
    float *floats;       /* (threads, 2 * cols) */
    atomic_int status;   /* of a read */
    atomic_ullong fault; /* the first row that cannot be written */
};

/* ---- formats ---- */

/* GGUF refuses rows that are not whole blocks; its writers take another type instead (docs/quant.md). */
static const struct phy_quant_format *fit(const struct phy_quant_format *format, uint64_t cols)
{
    if (cols % format->elements == 0)
        return format;
    const char *other = strcmp(format->name, "q4_K") == 0 ? "q5_0" : strcmp(format->name, "q6_K") == 0 ? "q8_0" : "f16";
    const struct phy_quant_format *next = phy_quant_named(other);
    return cols % next->elements == 0 ? next : phy_quant_named("f16");
}

static bool is_ffn(const char *gguf, enum phy_ffn_source *source)
{
    static const char *const names[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"};
    for (int s = 0; s < PHY_FFN_SOURCE_COUNT; s++) {
        if (strcmp(gguf, names[s]) == 0) {
            *source = (enum phy_ffn_source)s;
            return true;
        }
    }
    return false;
}

/* Let the tensor's rows be copied from the store, if it has them in that form. */
static void take_from_store(const struct phy_export *run, uint32_t layer, enum phy_ffn_source source,
                            struct out_tensor *t)
{
    const struct phy_store_layer *l = &run->store->layers[layer];
    const struct phy_weights *own = source == PHY_FFN_GATE ? &l->gate : source == PHY_FFN_UP ? &l->up : &l->down;
    if (own->data) {
        t->stored = own->data;
        t->stored_stride = t->row_bytes;
    } else if (source != PHY_FFN_DOWN && l->gate_up.data) {
        t->stored = (const uint8_t *)l->gate_up.data + (source == PHY_FFN_UP) * t->row_bytes;
        t->stored_stride = 2 * t->row_bytes;
    } /* down by feature: encoded again from the donor, which gives the same blocks as a row-wise store */
}

static enum phy_status choose_format(struct writer *w, const char *gguf, uint32_t layer, struct out_tensor *t)
{
    const struct phy_export *run = w->run;
    const bool stored = run->store && run->store->layers[layer].present;
    enum phy_ffn_source source;
    t->format = phy_quant_named(t->vector ? "f32" : "bf16");
    if (!is_ffn(gguf, &source) || !run->scheme || (run->store && !stored))
        return PHY_OK;
    const struct phy_quant_format *wanted = phy_weight_format(run->scheme->types[source]);
    if (wanted->gguf_id == PHY_NO_GGUF_ID)
        return phy_fail(run->host, PHY_ERR_UNSUPPORTED, "scheme %s: GGUF has no type for %s", run->scheme->name,
                        wanted->name);
    t->format = fit(wanted, t->cols);
    if (t->format != wanted && w->fallbacks++ == 0)
        snprintf(w->fallback, sizeof w->fallback, "%s %s instead of %s, rows of %llu", t->name, t->format->name,
                 wanted->name, (unsigned long long)t->cols);
    t->row_bytes = t->cols / t->format->elements * t->format->bytes;
    if (stored && t->format == wanted)
        take_from_store(run, layer, source, t);
    return PHY_OK;
}

/* ---- the plan ---- */

static uint64_t size_of(const struct phy_model_config *c, enum import_size size)
{
    const uint64_t sizes[SIZE_COUNT] = {[SIZE_HIDDEN] = c->hidden_size,
                                        [SIZE_INTERMEDIATE] = c->intermediate_size,
                                        [SIZE_QUERY] = (uint64_t)c->head_count * c->head_dim,
                                        [SIZE_KEY] = (uint64_t)c->kv_head_count * c->head_dim,
                                        [SIZE_HEAD] = c->head_dim,
                                        [SIZE_VOCAB] = c->vocab_size};
    return sizes[size];
}

static void place(struct writer *w, struct out_tensor *t)
{
    t->row_bytes = t->cols / t->format->elements * t->format->bytes;
    t->bytes = t->rows * t->row_bytes;
    t->offset = w->data_bytes;
    w->data_bytes += phy_ceil_div(t->bytes, ALIGNMENT) * ALIGNMENT;
    w->run->result.bytes += t->bytes;
    w->run->result.copied_count += t->stored != NULL;
    w->count++;
}

/* Whether config.json says that the model has this tensor. */
static bool is_in_model(const struct phy_model_config *c, const struct import_rule *rule)
{
    switch (rule->group) {
    case GROUP_HEAD:
        return !c->tied_head;
    case GROUP_ATTENTION_BIAS:
        return strcmp(rule->hf, "self_attn.o_proj.bias") == 0 ? c->output_bias : c->attention_bias;
    case GROUP_MLP_BIAS:
        return c->mlp_bias;
    default:
        return true;
    }
}

/* Biases that the model has and the architecture's GGUF files have not. */
static enum phy_status check_biases(const struct writer *w)
{
    const struct phy_model_config *c = &w->run->donor.config;
    bool attention = !c->attention_bias, mlp = !c->mlp_bias;
    for (const struct import_rule *rule = w->run->architecture->layer_rules; rule->gguf; rule++) {
        attention = attention || strcmp(rule->hf, "self_attn.q_proj.bias") == 0;
        mlp = mlp || rule->group == GROUP_MLP_BIAS;
    }
    if (attention && mlp)
        return PHY_OK;
    return phy_fail(w->run->host, PHY_ERR_UNSUPPORTED, "%s: it has biases of its %s: GGUF's %s has none",
                    w->run->donor.label, attention ? "FFN" : "attention", w->run->architecture->name);
}

static bool has_rule(const struct phy_export *run, const char *hf)
{
    for (const struct import_rule *rule = run->architecture->layer_rules; rule->gguf; rule++) {
        if (strcmp(rule->hf, hf) == 0)
            return is_in_model(&run->donor.config, rule);
    }
    return false;
}

/* Biases and norms that other models have: without them the file would compute something else than what the checkpoint
 * holds, and with them something else than what config.json says. Running the model refuses them in the same words. */
static enum phy_status refuse_what_others_have(const struct phy_export *run, uint32_t layer)
{
    char name[PHY_DONOR_NAME_BYTES];
    for (const struct import_architecture *a = phy_import_architectures; a->name; a++) {
        for (const struct import_rule *rule = a->layer_rules; rule->gguf; rule++) {
            if (has_rule(run, rule->hf) ||
                !phy_donor_has(&run->donor, phy_donor_layer_name(name, &run->donor, layer, rule->hf)))
                continue;
            return phy_fail(
                run->host, PHY_ERR_UNSUPPORTED,
                "%s: tensor \"%s\": the architecture in config.json has none, and it would change the result",
                run->donor.label, name);
        }
    }
    return PHY_OK;
}

static enum phy_status plan_one(struct writer *w, const struct import_rule *rule, uint32_t layer, bool in_layer)
{
    const struct phy_donor *donor = &w->run->donor;
    char name[PHY_DONOR_NAME_BYTES];
    if (in_layer)
        phy_donor_layer_name(name, donor, layer, rule->hf);
    else if (strncmp(rule->hf, "model.", 6) == 0)
        snprintf(name, sizeof name, "%s%s", donor->prefix, rule->hf + 6);
    else
        snprintf(name, sizeof name, "%s", rule->hf);
    if (!is_in_model(&donor->config, rule))
        return PHY_OK;
    struct out_tensor *t = &w->tensors[w->count];
    *t = (struct out_tensor){.transform = rule->transform, .vector = rule->columns == SIZE_NONE};
    if (in_layer)
        snprintf(t->name, sizeof t->name, "blk.%u.%s", layer, rule->gguf);
    else
        snprintf(t->name, sizeof t->name, "%s", rule->gguf);
    const uint64_t rows = size_of(&donor->config, rule->rows);
    const uint64_t cols = t->vector ? 0 : size_of(&donor->config, rule->columns);
    enum phy_status status = phy_donor_find(donor, name, t->vector ? 0 : rows, t->vector ? rows : cols, &t->source);
    if (status != PHY_OK)
        return status;
    const bool column = t->vector && t->transform == IMPORT_UNPERMUTE;
    t->rows = t->vector && !column ? 1 : rows;
    t->cols = column ? 1 : t->vector ? rows : cols;
    status = choose_format(w, in_layer ? rule->gguf : "", layer, t);
    if (status == PHY_OK)
        place(w, t);
    return status;
}

static enum phy_status plan_divisors(struct writer *w)
{
    const struct phy_model_config *c = &w->run->donor.config;
    if (c->rope.kind != PHY_ROPE_LLAMA3)
        return PHY_OK;
    struct out_tensor *t = &w->tensors[w->count];
    *t = (struct out_tensor){.name = "rope_freqs.weight",
                             .vector = true,
                             .rows = 1,
                             .cols = c->head_dim / 2,
                             .format = phy_quant_named("f32")};
    t->made = phy_alloc(t->cols, sizeof *t->made);
    if (!t->made)
        return phy_fail_memory(w->run->host, "rope_freqs", t->cols * sizeof *t->made);
    phy_export_rope_divisors(c, t->made);
    place(w, t);
    return PHY_OK;
}

static size_t count_rules(const struct import_rule *rules)
{
    size_t count = 0;
    while (rules[count].gguf)
        count++;
    return count;
}

/* Parts for pictures and sounds, layers that are not run, what can be computed: running the model ignores them too. */
static enum phy_status tell_what_is_left_out(const struct writer *w)
{
    const struct phy_checkpoint *checkpoint = w->run->donor.checkpoint;
    const size_t given = phy_checkpoint_tensor_count(checkpoint);
    size_t used = 0, first = 0;
    bool *takes = phy_zalloc(given, sizeof *takes);
    if (!takes)
        return phy_fail_memory(w->run->host, "the tensors that are used", given);
    for (size_t i = 0; i < w->count; i++) {
        if (w->tensors[i].made)
            continue;
        takes[w->tensors[i].source.index] = true;
        used++;
    }
    while (first < given && takes[first])
        first++;
    if (first < given) {
        struct phy_tensor_info tensor;
        char quoted[PHY_QUOTED_BYTES];
        phy_checkpoint_tensor(checkpoint, first, &tensor);
        phy_warn(w->run->host, "%s: %zu of %zu tensors have no place in a GGUF file of %s and are left out: %s%s",
                 w->run->donor.label, given - used, given, w->run->architecture->name,
                 phy_quote(quoted, tensor.name, tensor.name_bytes), given - used > 1 ? " and more" : "");
    }
    phy_free(takes);
    return PHY_OK;
}

static enum phy_status plan(struct writer *w)
{
    const struct import_architecture *a = w->run->architecture;
    const uint32_t layers = w->run->donor.config.layer_count;
    w->capacity = count_rules(a->model_rules) + count_rules(a->layer_rules) * layers + 1;
    w->tensors = phy_alloc(w->capacity, sizeof *w->tensors);
    if (!w->tensors)
        return phy_fail_memory(w->run->host, "the table of tensors", w->capacity * sizeof *w->tensors);
    const struct import_rule *outer = a->model_rules;
    enum phy_status status = check_biases(w);
    if (status == PHY_OK)
        status = plan_one(w, outer++, 0, false);
    if (status == PHY_OK)
        status = plan_divisors(w);
    for (uint32_t layer = 0; layer < layers && status == PHY_OK; layer++) {
        status = refuse_what_others_have(w->run, layer);
        for (const struct import_rule *rule = a->layer_rules; rule->gguf && status == PHY_OK; rule++)
            status = plan_one(w, rule, layer, true);
    }
    for (; outer->gguf && status == PHY_OK; outer++)
        status = plan_one(w, outer, 0, false);
    if (status == PHY_OK && w->fallbacks)
        phy_note(w->run->host, "%u tensors have rows that are not whole blocks and another type: %s", w->fallbacks,
                 w->fallback);
    w->run->result.tensor_count = w->count;
    return status == PHY_OK ? tell_what_is_left_out(w) : status;
}

/* ---- rows ---- */

/* Rows of a head lie (half, pair) in the donor and (pair, half) in the file: row 2 * pair + half is the donor's
 * half * (head / 2) + pair. */
static uint64_t source_row(const struct writer *w, uint64_t row)
{
    if (w->tensor->transform != IMPORT_UNPERMUTE)
        return row;
    const uint64_t head = w->run->donor.config.head_dim, in_head = row % head;
    return row - in_head + in_head % 2 * (head / 2) + in_head / 2;
}

static bool encode_row(const struct out_tensor *t, const float *from, uint8_t *out, float *decoded)
{
    const size_t blocks = t->cols / t->format->elements;
    for (size_t i = 0; i < t->cols; i++) {
        if (!isfinite(from[i]))
            return false;
    }
    t->format->encode(from, blocks, out);
    t->format->decode(out, blocks, decoded);
    for (size_t i = 0; i < t->cols; i++) {
        if (!isfinite(decoded[i]))
            return false;
    }
    return true;
}

static void make_row(void *user, size_t index, unsigned worker)
{
    struct writer *w = user;
    const struct out_tensor *t = w->tensor;
    uint8_t *out = w->out + index * t->row_bytes;
    const uint64_t row = w->first + index;
    if (t->stored) {
        memcpy(out, t->stored + row * t->stored_stride, t->row_bytes);
        return;
    }
    float *floats = w->floats + worker * 2 * t->cols;
    uint8_t *raw = w->raw + worker * 4 * t->cols;
    if (t->made) {
        memcpy(floats, t->made, t->cols * sizeof *floats);
    } else {
        const size_t bytes = t->cols * phy_weight_float_bytes(t->source.type);
        enum phy_status status = phy_checkpoint_read(w->run->donor.checkpoint, t->source.shard,
                                                     t->source.at + source_row(w, row) * bytes, raw, bytes);
        if (status != PHY_OK) {
            atomic_store(&w->status, (int)status);
            return;
        }
        phy_donor_widen(floats, raw, t->source.type, t->cols);
    }
    for (size_t i = 0; t->transform == IMPORT_SUBTRACT_ONE && i < t->cols; i++)
        floats[i] += 1.0f; /* an import takes it away again */
    unsigned long long seen = atomic_load(&w->fault);
    if (!encode_row(t, floats, out, floats + t->cols)) {
        while (row < seen && !atomic_compare_exchange_weak(&w->fault, &seen, row))
            ;
    }
}

static enum phy_status write_tensor(struct writer *w, const struct out_tensor *t)
{
    struct phy_export *run = w->run;
    const size_t threads = phy_pool_threads(run->pool);
    const uint64_t most = t->row_bytes < BAND_BYTES ? BAND_BYTES / t->row_bytes : 1;
    w->tensor = t;
    w->out = phy_alloc(phy_min_u64(most, t->rows), t->row_bytes);
    w->raw = phy_alloc(threads * t->cols, 4);
    w->floats = phy_alloc(threads * t->cols, 2 * sizeof *w->floats);
    enum phy_status status = w->out && w->raw && w->floats ? PHY_OK : phy_fail_memory(run->host, t->name, t->row_bytes);
    for (w->first = 0; status == PHY_OK && w->first < t->rows;) {
        const uint64_t count = phy_min_u64(most, t->rows - w->first);
        atomic_store(&w->fault, UINT64_MAX);
        phy_pool_run(run->pool, count, make_row, w);
        status = (enum phy_status)atomic_load(&w->status);
        if (status == PHY_OK && atomic_load(&w->fault) != UINT64_MAX)
            status = phy_fail(run->host, PHY_ERR_FORMAT, "%s: tensor \"%s\": row %llu holds a weight that %s cannot",
                              run->donor.label, t->source.name, atomic_load(&w->fault), t->format->name);
        int error = status ? 0
                           : phy_pwrite_all(w->fd, w->out, count * t->row_bytes,
                                            w->data_at + t->offset + w->first * t->row_bytes);
        if (error)
            status = phy_output_fail(&run->output, run->output.name, error);
        w->first += count;
        w->done_bytes += count * t->row_bytes;
        phy_report_progress(run->host, "export", "bytes", w->done_bytes, run->result.bytes);
        if (status == PHY_OK && phy_cancelled(run->host))
            status = phy_fail(run->host, PHY_ERR_INTERRUPTED, "%s: interrupted; nothing is kept", run->output.path);
    }
    phy_free(w->out);
    phy_free(w->raw);
    phy_free(w->floats);
    w->out = w->raw = NULL;
    w->floats = NULL;
    return status;
}

/* ---- the file ---- */

static enum phy_status make_header(struct writer *w)
{
    struct phy_bytes *header = &w->header;
    struct phy_gguf_keys keys = {0};
    enum phy_status status = phy_export_keys(w->run, &keys);
    if (status == PHY_OK)
        status = phy_export_tokenizer(w->run, &keys);
    phy_bytes_add(header, "GGUF", 4);
    phy_bytes_add_u32(header, GGUF_VERSION);
    phy_bytes_add_u64(header, w->count);
    phy_bytes_add_u64(header, keys.count);
    phy_bytes_add(header, keys.bytes.data, keys.bytes.bytes);
    for (size_t i = 0; i < w->count; i++) {
        const struct out_tensor *t = &w->tensors[i];
        phy_gguf_put_string(header, t->name, strlen(t->name));
        phy_bytes_add_u32(header, t->vector ? 1 : 2);
        phy_bytes_add_u64(header, t->vector ? t->rows * t->cols : t->cols);
        if (!t->vector)
            phy_bytes_add_u64(header, t->rows);
        phy_bytes_add_u32(header, t->format->gguf_id);
        phy_bytes_add_u64(header, t->offset);
    }
    static const unsigned char zeros[ALIGNMENT] = {0};
    phy_bytes_add(header, zeros, (ALIGNMENT - header->bytes % ALIGNMENT) % ALIGNMENT);
    if (status == PHY_OK && (header->failed || keys.bytes.failed))
        status = phy_fail_memory(w->run->host, "the header", header->bytes);
    phy_bytes_free(&keys.bytes);
    return status;
}

static enum phy_status write_file(struct writer *w)
{
    const struct phy_bytes *header = &w->header;
    struct phy_export *run = w->run;
    enum phy_status status = phy_output_check_space(&run->output, header->bytes + w->data_bytes);
    if (status == PHY_OK)
        status = phy_output_open_file(&run->output, run->output.name, header->bytes + w->data_bytes, &w->fd);
    if (status != PHY_OK)
        return status;
    w->data_at = header->bytes;
    /* Padding is what nobody writes: zeros. */
    int error = ftruncate(w->fd, (off_t)(header->bytes + w->data_bytes)) == 0
                    ? phy_pwrite_all(w->fd, header->data, header->bytes, 0)
                    : errno;
    for (size_t i = 0; i < w->count && !error && status == PHY_OK; i++)
        status = write_tensor(w, &w->tensors[i]);
    if (!error && status == PHY_OK)
        error = phy_fsync(w->fd);
    int closed = phy_close(w->fd);
    error = error ? error : closed;
    if (status == PHY_OK && error)
        status = phy_output_fail(&run->output, run->output.name, error);
    return status == PHY_OK ? phy_export_check_sources(run) : status;
}

/* Our own reader must accept what we wrote. Its complaint would be ours. */
static enum phy_status read_back(const struct writer *w)
{
    struct phy_checkpoint *written;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", w->run->output.partial_path, w->run->output.name);
    enum phy_status status = phy_checkpoint_open(&written, path, &(struct phy_checkpoint_params){.host = w->run->host});
    if (status == PHY_OK && phy_checkpoint_tensor_count(written) != w->count)
        status = phy_fail(w->run->host, PHY_ERR_FORMAT, "%s: the output lacks tensors", path);
    phy_checkpoint_close(&written);
    return status == PHY_ERR_FORMAT || status == PHY_ERR_UNSUPPORTED ? PHY_ERR_INTERNAL : status;
}

static enum phy_status make_file(void *user)
{
    struct writer *w = user;
    enum phy_status status = write_file(w);
    return status == PHY_OK ? read_back(w) : status;
}

static const struct phy_output_kind gguf_file = {
    .name = ".gguf file", .replaced = "a regular file that is named so", .file_ending = ".gguf"};

static enum phy_status publish(struct writer *w)
{
    struct phy_export *run = w->run;
    const char *protect[2] = {run->params->donor, run->params->store};
    return phy_export_publish(run,
                              &(struct phy_output_params){.path = run->params->gguf,
                                                          .single_file = true,
                                                          .force = run->params->force,
                                                          .without_reports = true,
                                                          .kind = &gguf_file,
                                                          .protect = protect,
                                                          .protect_count = run->params->store ? 2 : 1,
                                                          .host = run->host},
                              make_file, w);
}

enum phy_status phy_export_gguf(struct phy_export *run)
{
    struct writer w = {.run = run, .fd = -1};
    enum phy_status status = plan(&w);
    if (status == PHY_OK)
        status = make_header(&w);
    if (status == PHY_OK)
        status = publish(&w);
    for (size_t i = 0; i < w.count; i++)
        phy_free(w.tensors[i].made);
    phy_free(w.tensors);
    phy_bytes_free(&w.header);
    return status;
}
