/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass: embedding, layers (norm, attention, norm, FFN), final norm, head; float32 activations. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "format/checkpoint_files.h"
#include "model/ffn.h"
#include "model/model_parts.h"

/* Positions computed together, and positions whose logits are held together: a vocabulary of 262,144 takes 1 MiB each.
 */
enum { CHUNK = PHY_FFN_MAX_COUNT, HEAD_CHUNK = 32, DEFAULT_POSITIONS = 4096 };

struct phy_session {
    struct phy_model *model;
    struct phy_ffn *ffn;                 /* the one in use */
    struct phy_ffn *own_ffn;             /* the dense one; or NULL */
    const struct phy_observer *observer; /* or NULL */
    uint32_t capacity, length;
    float *keys, *values; /* (layers, kv_heads, capacity, head_dim) */
    float *cos_sin;       /* (capacity, head_dim): cosines, then sines, of full layers */
    float *sliding_cos_sin;
    /* One chunk: */
    float *x, *h, *y; /* (CHUNK, hidden) */
    float *q, *out;   /* (CHUNK, heads * head_dim) */
    float *k, *v;     /* (CHUNK, kv_heads * head_dim) */
    float *scratch;   /* (threads, scratch_floats), of attention */
    size_t scratch_floats;
    float *logits; /* (HEAD_CHUNK, vocab) */
};

/* ---- small steps ---- */

struct rows_job {
    struct phy_session *session;
    const struct phy_layer *layer;
    uint32_t layer_index, first; /* first: position of row 0 */
    size_t skip;                 /* rows that have no query */
    float *to, *from;
    const float *plus; /* or NULL */
    const struct phy_norm *norm;
};

static struct phy_norm norm_of(const struct phy_model *model, const float *w, size_t count)
{
    return (struct phy_norm){w, count, model->config.norm_eps, model->norm_offset};
}

static void norm_task(void *user, size_t row, unsigned worker)
{
    const struct rows_job *job = user;
    const size_t at = row * job->norm->count;
    (void)worker;
    job->session->model->activation->norm(job->norm, job->to + at, job->from + at, job->plus ? job->plus + at : NULL);
}

/* to = the norm of from, to which plus, if there is one, is added first; to may be from. */
static void norm_rows(struct phy_session *s, float *to, float *from, const float *plus, const float *w, size_t count)
{
    const struct phy_norm norm = norm_of(s->model, w, s->model->config.hidden_size);
    struct rows_job job = {.session = s, .to = to, .from = from, .plus = plus, .norm = &norm};
    phy_pool_run(s->model->pool, count, norm_task, &job);
}

static float *cache_row(const struct phy_session *s, float *cache, uint32_t layer, uint32_t kv_head, uint32_t position)
{
    const struct phy_model_config *c = &s->model->config;
    return cache + (((size_t)layer * c->kv_head_count + kv_head) * s->capacity + position) * c->head_dim;
}

/* Norm and rotate the heads of one position, and put its key and value in the cache. */
static void place_task(void *user, size_t row, unsigned worker)
{
    const struct rows_job *job = user;
    struct phy_session *s = job->session;
    const struct phy_model *model = s->model;
    const struct phy_model_config *c = &model->config;
    const size_t dim = c->head_dim;
    const struct phy_activation_variant *kernels = model->activation;
    const struct phy_norm q_norm = norm_of(model, job->layer->q_norm, dim);
    const struct phy_norm k_norm = norm_of(model, job->layer->k_norm, dim);
    uint32_t position = job->first + (uint32_t)row;
    const float *table = c->sliding[job->layer_index] ? s->sliding_cos_sin : s->cos_sin;
    const float *cos_sin = table + (size_t)position * dim;
    (void)worker;
    for (uint32_t i = 0; row >= job->skip && i < c->head_count; i++) {
        float *head = s->q + (row * c->head_count + i) * dim;
        if (q_norm.w)
            kernels->norm(&q_norm, head, head, NULL);
        kernels->rotate(head, cos_sin, dim);
    }
    for (uint32_t i = 0; i < c->kv_head_count; i++) {
        float *head = s->k + (row * c->kv_head_count + i) * dim;
        if (k_norm.w)
            kernels->norm(&k_norm, head, head, NULL);
        kernels->rotate(head, cos_sin, dim);
        memcpy(cache_row(s, s->keys, job->layer_index, i, position), head, dim * sizeof *head);
        memcpy(cache_row(s, s->values, job->layer_index, i, position), s->v + (row * c->kv_head_count + i) * dim,
               dim * sizeof *head);
    }
}

/* One query head of one position; index runs over rows, then heads. */
static void attend_task(void *user, size_t task, unsigned worker)
{
    const struct rows_job *job = user;
    struct phy_session *s = job->session;
    const struct phy_model_config *c = &s->model->config;
    size_t index = job->skip * c->head_count + task, row = index / c->head_count;
    uint32_t head = (uint32_t)(index % c->head_count), kv_head = head / (c->head_count / c->kv_head_count);
    uint32_t position = job->first + (uint32_t)row, begin = 0;
    /* A window of n: position i sees i - n + 1 .. i. */
    if (c->sliding[job->layer_index] && position + 1 > c->sliding_window)
        begin = position + 1 - c->sliding_window;
    struct phy_attention attention = {
        .q = s->q + index * c->head_dim,
        .k = cache_row(s, s->keys, job->layer_index, kv_head, begin),
        .v = cache_row(s, s->values, job->layer_index, kv_head, begin),
        .head_dim = c->head_dim,
        .positions = position + 1 - begin,
        .scale = (float)c->query_scale,
        .out = s->out + index * c->head_dim,
        .scores = s->scratch + worker * s->scratch_floats,
    };
    s->model->attention->run(&attention);
}

struct attend_job {
    const struct rows_job *rows;
    size_t count, rows_each, group; /* group: query heads of one key head */
};

/* Some rows of one key head; index runs over rows, then key heads. */
static void attend_rows_task(void *user, size_t index, unsigned worker)
{
    const struct attend_job *job = user;
    struct phy_session *s = job->rows->session;
    const struct phy_model_config *c = &s->model->config;
    uint32_t layer = job->rows->layer_index, kv_head = (uint32_t)(index % c->kv_head_count);
    size_t row = job->rows->skip + index / c->kv_head_count * job->rows_each;
    size_t at = (row * c->head_count + kv_head * job->group) * c->head_dim;
    struct phy_attention_rows attention = {
        .q = s->q + at,
        .out = s->out + at,
        .row_stride = (size_t)c->head_count * c->head_dim,
        .rows = job->count - row < job->rows_each ? job->count - row : job->rows_each,
        .heads = job->group,
        .k = cache_row(s, s->keys, layer, kv_head, 0),
        .v = cache_row(s, s->values, layer, kv_head, 0),
        .head_dim = c->head_dim,
        .first = job->rows->first + row,
        .window = c->sliding[layer] ? c->sliding_window : SIZE_MAX,
        .scale = (float)c->query_scale,
        .scratch = s->scratch + worker * s->scratch_floats,
    };
    s->model->attention->run_rows(&attention);
}

static void attend(struct rows_job *rows, size_t count)
{
    const struct phy_model_config *c = &rows->session->model->config;
    struct phy_pool *pool = rows->session->model->pool;
    const size_t group = c->head_count / c->kv_head_count, asked = count - rows->skip;
    if (asked == 1 || group > PHY_ATTENTION_MAX_QUERIES) {
        phy_pool_run(pool, asked * c->head_count, attend_task, rows);
        return;
    }
    struct attend_job job = {rows, count, PHY_ATTENTION_MAX_QUERIES / group, group};
    phy_pool_run(pool, (asked + job.rows_each - 1) / job.rows_each * c->kv_head_count, attend_rows_task, &job);
}

/* ---- layers ---- */

/* Queries of rows from job->skip on, keys and values of all rows, in the cache. */
static enum phy_status place(struct rows_job *job, size_t count)
{
    struct phy_session *s = job->session;
    struct phy_model *model = s->model;
    const struct phy_layer *l = job->layer;
    const size_t skip = job->skip, width = (size_t)model->config.head_count * model->config.head_dim;
    const struct phy_product qkv[] = {{&l->q, s->q + skip * width, l->q_bias, phy_model_kernel(model, &l->q)},
                                      {&l->k, s->k, l->k_bias, phy_model_kernel(model, &l->k)},
                                      {&l->v, s->v, l->v_bias, phy_model_kernel(model, &l->v)}};
    enum phy_status status;
    if (skip == 0) {
        status = phy_model_products(model, qkv, 3, s->h, count);
    } else {
        status = phy_model_products(model, qkv + 1, 2, s->h, count);
        if (status == PHY_OK && skip < count)
            status = phy_model_products(model, qkv, 1, s->h + skip * model->config.hidden_size, count - skip);
    }
    if (status == PHY_OK)
        phy_pool_run(model->pool, count, place_task, job);
    return status;
}

/* The rows before `skip` leave their keys and values, and no more. What the layer before has left in y is added to x
 * first, and what this one leaves there is for the next, or the last norm, to add. */
static enum phy_status run_layer(struct phy_session *s, uint32_t index, uint32_t first, size_t count, size_t skip)
{
    struct phy_model *model = s->model;
    const struct phy_model_config *c = &model->config;
    const struct phy_layer *l = &model->layers[index];
    const bool four_norms = l->pre_ffn_norm != NULL;
    const size_t width = (size_t)c->head_count * c->head_dim, before = skip * c->hidden_size;
    const size_t asked = count - skip;
    struct rows_job job = {.session = s, .layer = l, .layer_index = index, .first = first, .skip = skip};

    norm_rows(s, s->h, s->x, index > 0 ? s->y : NULL, l->input_norm, count);
    phy_observe(s->observer, PHY_INPUT_QKV, index, s->h, count, c->hidden_size);
    enum phy_status status = place(&job, count);
    if (status != PHY_OK || asked == 0)
        return status;
    float *x = s->x + before, *h = s->h + before, *y = s->y + before, *out = s->out + skip * width;
    attend(&job, count);
    phy_observe(s->observer, PHY_INPUT_O, index, out, asked, width);
    status = phy_model_multiply(model, &l->o, out, asked, y, l->o_bias);
    if (status != PHY_OK)
        return status;
    if (four_norms)
        norm_rows(s, y, y, NULL, l->post_attention_norm, asked);

    norm_rows(s, h, x, y, four_norms ? l->pre_ffn_norm : l->post_attention_norm, asked);
    phy_observe(s->observer, PHY_INPUT_GATE_UP, index, h, asked, c->hidden_size);
    status = s->ffn->ops->forward(s->ffn, index, h, asked, y);
    if (status != PHY_OK)
        return status;
    if (four_norms)
        norm_rows(s, y, y, NULL, l->post_ffn_norm, asked);
    return PHY_OK;
}

static void embed(struct phy_session *s, const uint32_t *tokens, size_t count)
{
    const struct phy_weights *e = &s->model->embedding;
    for (size_t n = 0; n < count; n++) {
        float *to = s->x + n * e->cols;
        phy_widen(to, (const char *)e->data + tokens[n] * e->cols * phy_weight_float_bytes(e->type), e->type, e->cols);
        for (size_t i = 0; i < e->cols; i++)
            to[i] *= s->model->embedding_scale;
    }
}

/* All layers of one chunk. Nothing comes after the last one but the logits, so it computes only the rows that they are
 * asked of, unless someone looks at every row. */
static enum phy_status run_layers(struct phy_session *s, uint32_t first, size_t count, size_t unscored)
{
    const uint32_t last = s->model->config.layer_count - 1;
    for (uint32_t layer = 0; layer <= last; layer++) {
        /* On a slow device a chunk takes a minute: nobody waits that long for a signal's answer. */
        enum phy_status status = phy_check_cancelled(s->model->host);
        const bool all = layer < last || s->observer || s->ffn->every_row;
        if (status == PHY_OK)
            status = run_layer(s, layer, first, count, all ? 0 : unscored);
        if (status != PHY_OK)
            return status;
    }
    return PHY_OK;
}

/* The end of a file that was cut inside a page reads as zeros without a signal, so its length counts too. */
static bool is_cut(const struct phy_model *model, size_t shard)
{
    struct stat found;
    return phy_mapping_torn(&model->mappings[shard]) ||
           fstat(phy_checkpoint_shard_fd(model->checkpoint, shard), &found) != 0 ||
           (uint64_t)found.st_size < model->mappings[shard].bytes;
}

static enum phy_status check_mappings(const struct phy_model *model)
{
    for (size_t i = 0; i < model->mapping_count; i++) {
        if (is_cut(model, i)) {
            struct phy_shard_info shard;
            phy_checkpoint_shard(model->checkpoint, i, &shard);
            return phy_fail(model->host, PHY_ERR_IO, "%s: became shorter, or unreadable, while it was in use",
                            shard.name);
        }
    }
    return PHY_OK;
}

/* Logits of rows [row, count) of the chunk, a few at a time, to the sink. */
static enum phy_status score(struct phy_session *s, uint32_t first, size_t row, size_t count, phy_logits_sink *sink,
                             void *user)
{
    struct phy_model *model = s->model;
    const struct phy_model_config *c = &model->config;
    for (; row < count; row += HEAD_CHUNK) {
        size_t rows = count - row < HEAD_CHUNK ? count - row : HEAD_CHUNK;
        const size_t at = row * c->hidden_size;
        enum phy_status status = phy_check_cancelled(model->host);
        if (status != PHY_OK)
            return status;
        norm_rows(s, s->h, s->x + at, s->y + at, model->final_norm, rows);
        status = phy_model_multiply(model, &model->head, s->h, rows, s->logits, NULL);
        if (status == PHY_OK)
            status = check_mappings(model);
        if (status != PHY_OK)
            return status;
        for (size_t i = 0; i < rows; i++) {
            if (!sink(user, first + (uint32_t)(row + i), s->logits + i * c->vocab_size))
                return PHY_ERR_INTERRUPTED;
        }
    }
    return PHY_OK;
}

enum phy_status phy_session_forward(struct phy_session *s, const uint32_t *tokens, size_t count, uint32_t first_scored,
                                    phy_logits_sink *sink, void *user)
{
    struct phy_model *model = s->model;
    if (count == 0)
        return PHY_OK;
    if (count > s->capacity - s->length)
        return phy_fail(model->host, PHY_ERR_LIMIT, "%zu tokens after %u: the context holds %u", count, s->length,
                        s->capacity);
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] >= model->config.vocab_size)
            return phy_fail(model->host, PHY_ERR_USAGE, "token %u at position %zu: the vocabulary has %u", tokens[i],
                            s->length + i, model->config.vocab_size);
    }
    if (first_scored == UINT32_MAX)
        first_scored = s->length + (uint32_t)count - 1;
    for (size_t done = 0; done < count;) {
        size_t chunk = count - done < CHUNK ? count - done : CHUNK;
        uint32_t first = s->length;
        size_t unscored = !sink || first_scored >= first + chunk ? chunk
                          : first_scored > first                 ? first_scored - first
                                                                 : 0;
        embed(s, tokens + done, chunk);
        enum phy_status status = run_layers(s, first, chunk, unscored);
        if (status == PHY_OK)
            status = check_mappings(model);
        if (status != PHY_OK)
            return status;
        s->length += (uint32_t)chunk;
        status = score(s, first, unscored, chunk, sink, user);
        if (status != PHY_OK)
            return status;
        done += chunk;
    }
    return PHY_OK;
}

/* ---- making one ---- */

static void fill_angles(float *table, const float *frequency, uint32_t positions, uint32_t dim)
{
    for (uint32_t p = 0; p < positions; p++) {
        for (uint32_t i = 0; i < dim / 2; i++) {
            double angle = (double)p * (double)frequency[i];
            table[(size_t)p * dim + i] = (float)cos(angle);
            table[(size_t)p * dim + dim / 2 + i] = (float)sin(angle);
        }
    }
}

/* count * each floats, or NULL when that does not fit. */
static float *floats(size_t count, size_t each)
{
    size_t total;
    return phy_mul_size(count, each, &total) && phy_mul_size(total, sizeof(float), &total) ? phy_alloc_aligned(total)
                                                                                           : NULL;
}

static bool allocate(struct phy_session *s)
{
    const struct phy_model_config *c = &s->model->config;
    size_t q_width = (size_t)c->head_count * c->head_dim, kv_width = (size_t)c->kv_head_count * c->head_dim;
    size_t cache;
    if (!phy_mul_size(c->layer_count * kv_width, s->capacity, &cache))
        return false;
    if (!s->model->ffn)
        s->own_ffn = phy_ffn_dense_create(s->model, CHUNK);
    s->ffn = s->model->ffn ? s->model->ffn : s->own_ffn;
    s->keys = floats(cache, 1);
    s->values = floats(cache, 1);
    s->cos_sin = floats(s->capacity, c->head_dim);
    s->sliding_cos_sin = floats(s->capacity, c->head_dim);
    s->x = floats(CHUNK, c->hidden_size);
    s->h = floats(CHUNK, c->hidden_size);
    s->y = floats(CHUNK, c->hidden_size);
    s->q = floats(CHUNK, q_width);
    s->out = floats(CHUNK, q_width);
    s->k = floats(CHUNK, kv_width);
    s->v = floats(CHUNK, kv_width);
    s->scratch_floats = phy_attention_scratch(c->head_dim, s->capacity);
    s->scratch = floats(phy_pool_threads(s->model->pool), s->scratch_floats);
    s->logits = floats(HEAD_CHUNK, c->vocab_size);
    return s->ffn && s->keys && s->values && s->cos_sin && s->sliding_cos_sin && s->x && s->h && s->y && s->q &&
           s->out && s->k && s->v && s->scratch && s->logits;
}

enum phy_status phy_session_create(struct phy_session **out, struct phy_model *model, uint32_t max_positions)
{
    const struct phy_model_config *c = &model->config;
    *out = NULL;
    if (max_positions > c->max_positions)
        return phy_fail(model->host, PHY_ERR_LIMIT, "a context of %u: the model allows %u", max_positions,
                        c->max_positions);
    if (model->ffn_elsewhere && !model->ffn)
        return phy_fail(model->host, PHY_ERR_USAGE, "%s: its FFN was left to a path, and there is none", model->label);
    struct phy_session *s = phy_zalloc(1, sizeof *s);
    if (!s)
        return phy_fail_memory(model->host, "a session", sizeof *s);
    s->model = model;
    s->capacity = max_positions;
    if (!max_positions)
        s->capacity = c->max_positions < DEFAULT_POSITIONS ? c->max_positions : DEFAULT_POSITIONS;
    if (!allocate(s)) {
        uint32_t positions = s->capacity;
        phy_session_destroy(&s);
        return phy_fail(model->host, PHY_ERR_MEMORY, "out of memory: a session of %u positions", positions);
    }
    fill_angles(s->cos_sin, model->inverse_frequency, s->capacity, c->head_dim);
    fill_angles(s->sliding_cos_sin, model->sliding_inverse_frequency, s->capacity, c->head_dim);
    *out = s;
    return PHY_OK;
}

void phy_session_destroy(struct phy_session **session)
{
    struct phy_session *s = *session;
    if (!s)
        return;
    if (s->own_ffn)
        s->own_ffn->ops->destroy(s->own_ffn);
    float *all[] = {s->keys, s->values, s->cos_sin, s->sliding_cos_sin, s->x,     s->h, s->y, s->q,
                    s->out,  s->k,      s->v,       s->scratch,         s->logits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        phy_free(all[i]);
    phy_free(s);
    *session = NULL;
}

struct phy_model *phy_session_model(const struct phy_session *session)
{
    return session->model;
}

uint32_t phy_session_length(const struct phy_session *session)
{
    return session->length;
}

uint32_t phy_session_capacity(const struct phy_session *session)
{
    return session->capacity;
}

void phy_session_observe(struct phy_session *session, const struct phy_observer *observer)
{
    session->observer = observer;
    session->ffn->observer = observer;
}

void phy_session_truncate(struct phy_session *session, uint32_t length)
{
    if (length < session->length)
        session->length = length;
}
