/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/cpu_matmul.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "cpu/cpu_matmul_parts.h"

/* Rows that DEQUANT decodes at a time: the widest register tile for many rows of x, four streams for few. */
enum { DECODED_ROWS = PHY_MATMUL_MAX_ROW_UNIT, DECODED_ROWS_FEW = 4, ALIGNMENT = 64 };

enum phy_status phy_cpu_reserve(const struct cpu_matmul *cpu, struct cpu_buffer *buffer, size_t count, size_t each)
{
    size_t bytes;
    if (!phy_mul_size(count, each, &bytes))
        return phy_fail_memory(cpu->host, "the rows of a product", SIZE_MAX);
    if (bytes <= buffer->bytes)
        return PHY_OK;
    phy_free(buffer->data);
    buffer->data = phy_alloc_aligned(bytes);
    buffer->bytes = buffer->data ? bytes : 0;
    return buffer->data ? PHY_OK : phy_fail_memory(cpu->host, "the rows of a product", bytes);
}

struct round_job {
    const struct cpu_matmul *cpu;
    struct cpu_input *input;
};

static void round_one(void *user, size_t index, unsigned worker)
{
    const struct round_job *job = user;
    (void)worker;
    job->cpu->int8->round_row(job->input->x + index * job->input->cols, &job->input->rounded, index);
}

static enum phy_status prepare_rounded(struct cpu_matmul *cpu, struct cpu_input *input)
{
    const size_t groups = (input->cols + PHY_INT8_GROUP - 1) / PHY_INT8_GROUP;
    const size_t copies = input->few ? 2 : 1; /* of the codes: paired, too */
    enum phy_status status = phy_cpu_reserve(cpu, &cpu->codes, copies * input->count, groups * PHY_INT8_GROUP);
    if (status == PHY_OK)
        status = phy_cpu_reserve(cpu, &cpu->scales, input->count, groups * sizeof(float));
    if (status == PHY_OK)
        status = phy_cpu_reserve(cpu, &cpu->sums, input->count, groups * sizeof(struct phy_int8_sums));
    if (status == PHY_OK && input->few)
        status = phy_cpu_reserve(cpu, &cpu->fours, input->count, groups * PHY_INT8_GROUP);
    if (status != PHY_OK)
        return status;
    int8_t *codes = cpu->codes.data;
    input->rounded =
        (struct phy_int8_rows){.count = input->count,
                               .cols = input->cols,
                               .groups = groups,
                               .q = codes,
                               .scale = cpu->scales.data,
                               .sums = cpu->sums.data,
                               .paired = input->few ? codes + input->count * groups * PHY_INT8_GROUP : NULL,
                               .fours = input->few ? cpu->fours.data : NULL};
    struct round_job job = {cpu, input};
    phy_pool_run(cpu->pool, input->count, round_one, &job);
    return PHY_OK;
}

/* A panel's rows, whether or not it is turned. */
static void round_some_bf16(void *user, size_t index, unsigned worker)
{
    const struct round_job *job = user;
    const struct phy_bf16_matmul_variant *bf16 = job->cpu->bf16;
    const size_t cols = job->input->cols, row_bytes = bf16->row_bytes(cols), first = index * PHY_X_PANEL_ROWS;
    const size_t left = job->input->count - first, count = left < PHY_X_PANEL_ROWS ? left : PHY_X_PANEL_ROWS;
    char *rows = (char *)job->cpu->codes.data + first * row_bytes;
    (void)worker;
    for (size_t i = 0; i < count; i++)
        bf16->round_row(job->input->x + (first + i) * cols, cols, rows + i * row_bytes);
    if (bf16->turn_rows && !job->input->few)
        bf16->turn_rows(rows, count, cols, (char *)job->cpu->turned.data + first * row_bytes);
}

static enum phy_status prepare_bf16(struct cpu_matmul *cpu, struct cpu_input *input)
{
    const size_t panels = (input->count + PHY_X_PANEL_ROWS - 1) / PHY_X_PANEL_ROWS;
    const size_t row_bytes = cpu->bf16->row_bytes(input->cols);
    const bool turned = cpu->bf16->turn_rows && !input->few;
    enum phy_status status = phy_cpu_reserve(cpu, &cpu->codes, input->count, row_bytes);
    if (status == PHY_OK && turned)
        status = phy_cpu_reserve(cpu, &cpu->turned, panels * PHY_X_PANEL_ROWS, row_bytes);
    if (status != PHY_OK)
        return status;
    struct round_job job = {cpu, input};
    if (input->few) /* not worth waking threads */
        round_some_bf16(&job, 0, 0);
    else
        phy_pool_run(cpu->pool, panels, round_some_bf16, &job);
    input->rounded_bf16 = turned ? cpu->turned.data : cpu->codes.data;
    return PHY_OK;
}

static void turn_panel(void *user, size_t index, unsigned worker)
{
    const struct round_job *job = user;
    const struct cpu_input *input = job->input;
    const size_t first = index * PHY_X_PANEL_ROWS, left = input->count - first, cols = input->cols;
    (void)worker;
    job->cpu->form->turn_rows(input->x + first * cols, left < PHY_X_PANEL_ROWS ? left : PHY_X_PANEL_ROWS, cols,
                              (float *)job->cpu->turned.data + first * cols);
}

/* Panels of x pay where panels of weights don't: up to MOST rows of x, unless more than UNUSED lanes of the last one
 * are idle. Measured on Zen 4, 2560 columns: 1.25 times as fast with 16 rows, 1.1 with 64, as fast with 27 or 80. */
static enum phy_status prepare_panels(struct cpu_matmul *cpu, struct cpu_input *input)
{
    enum { MOST = 64, UNUSED = 5 };
    const size_t panels = (input->count + PHY_X_PANEL_ROWS - 1) / PHY_X_PANEL_ROWS;
    if (!cpu->form->turn_rows || input->few || input->count > MOST || panels * PHY_X_PANEL_ROWS - input->count > UNUSED)
        return PHY_OK;
    enum phy_status status = phy_cpu_reserve(cpu, &cpu->turned, panels * PHY_X_PANEL_ROWS, input->cols * sizeof(float));
    if (status != PHY_OK)
        return status;
    struct round_job job = {cpu, input};
    phy_pool_run(cpu->pool, panels, turn_panel, &job);
    input->x_panels = cpu->turned.data;
    return PHY_OK;
}

/* Rows that each worker decodes at a time; they begin on a line of their own. */
static enum phy_status reserve_decoded(struct cpu_matmul *cpu, size_t rows, size_t cols)
{
    cpu->decoded_stride = (rows * cols * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return phy_cpu_reserve(cpu, &cpu->decoded, phy_pool_threads(cpu->pool), cpu->decoded_stride);
}

enum phy_status phy_cpu_prepare(struct cpu_matmul *cpu, enum phy_product_kernel kernel, const float *x, size_t count,
                                size_t cols, struct cpu_input *input)
{
    const bool few = phy_cpu_few(cpu, kernel, count);
    const size_t rows = few ? DECODED_ROWS_FEW : DECODED_ROWS;
    *input = (struct cpu_input){.kernel = kernel, .x = x, .count = count, .cols = cols, .few = few};
    if (kernel == PHY_KERNEL_INT8)
        return prepare_rounded(cpu, input);
    if (kernel == PHY_KERNEL_BF16)
        return prepare_bf16(cpu, input);
    enum phy_status status = prepare_panels(cpu, input);
    return status == PHY_OK && kernel == PHY_KERNEL_DEQUANT ? reserve_decoded(cpu, rows, cols) : status;
}

enum phy_status phy_cpu_prepare_weights(struct cpu_matmul *cpu, const struct phy_weights *w,
                                        const struct cpu_input *input)
{
    return phy_weight_is_bitmap(w->type) && !input->few ? reserve_decoded(cpu, DECODED_ROWS, w->cols) : PHY_OK;
}

/* ---- some rows, by one worker ---- */

static float *worker_panel(const struct cpu_matmul *cpu, unsigned worker)
{
    return cpu->panels + worker * (PANEL_BYTES / sizeof(float));
}

static void multiply_floats(const struct cpu_matmul *cpu, const struct phy_matmul *product, unsigned worker)
{
    if (product->count <= PHY_MATVEC_MAX_COUNT)
        cpu->form->matvec(product, 0, product->rows);
    else
        cpu->form->matmul(product, 0, product->rows, worker_panel(cpu, worker));
}

static void multiply_blocks(const struct cpu_matmul *cpu, const struct phy_matmul *product, unsigned worker)
{
    if (product->count <= PHY_MATVEC_MAX_COUNT)
        cpu->block->matvec(product, 0, product->rows);
    else
        cpu->block->matmul(product, 0, product->rows, worker_panel(cpu, worker));
}

static float *worker_decoded(const struct cpu_matmul *cpu, unsigned worker)
{
    return (float *)((char *)cpu->decoded.data + worker * cpu->decoded_stride);
}

/* Rows r .. r + rows - 1 of a product, decoded. */
static struct phy_matmul decoded_rows(const struct phy_matmul *product, size_t r, size_t rows, const float *decoded)
{
    struct phy_matmul part = *product;
    part.w = decoded;
    part.type = PHY_WEIGHT_F32;
    part.rows = rows;
    part.y = product->y + r;
    return part;
}

static void multiply_decoded(const struct cpu_matmul *cpu, const struct phy_matmul *product, unsigned worker)
{
    float *decoded = worker_decoded(cpu, worker);
    const size_t step = product->count <= PHY_MATVEC_MAX_COUNT ? DECODED_ROWS_FEW : DECODED_ROWS;
    for (size_t r = 0; r < product->rows; r += step) {
        const size_t rows = product->rows - r < step ? product->rows - r : step;
        const struct phy_matmul part = decoded_rows(product, r, rows, decoded);
        cpu->block->decode(product, r, r + rows, decoded);
        multiply_blocks(cpu, &part, worker); /* as closely as blocks are multiplied themselves */
    }
}

/* Few rows of x on the bitmap itself; for many, rows are decoded and multiplied as float32. */
static void multiply_bitmap(const struct cpu_matmul *cpu, const struct phy_weights *w, const struct cpu_input *input,
                            size_t begin, size_t end, unsigned worker, float *y, size_t y_stride)
{
    struct phy_bitmap_product product = {.x = input->x, .count = input->count, .y = y, .y_stride = y_stride};
    phy_bitmap_view(&product.w, w->type, w->data, w->rows, w->cols); /* it was checked: no overflow */
    if (input->few) {
        cpu->bitmap->matvec(&product, begin, end);
        return;
    }
    const struct phy_matmul floats = {.rows = end - begin,
                                      .cols = w->cols,
                                      .x = input->x,
                                      .count = input->count,
                                      .y = y,
                                      .y_stride = y_stride,
                                      .x_panels = input->x_panels};
    float *decoded = worker_decoded(cpu, worker);
    for (size_t r = begin; r < end; r += DECODED_ROWS) {
        const size_t rows = end - r < DECODED_ROWS ? end - r : DECODED_ROWS;
        const struct phy_matmul part = decoded_rows(&floats, r - begin, rows, decoded);
        cpu->bitmap->decode(&product.w, r, r + rows, decoded);
        multiply_floats(cpu, &part, worker);
    }
}

static void multiply_rounded(const struct cpu_matmul *cpu, const struct phy_int8_matmul *product, unsigned worker)
{
    if (phy_cpu_few(cpu, PHY_KERNEL_INT8, product->x->count))
        cpu->int8->matvec(product, 0, product->rows);
    else
        cpu->int8->matmul(product, 0, product->rows, worker_panel(cpu, worker));
}

static void multiply_bf16(const struct cpu_matmul *cpu, const struct phy_bf16_matmul *product, bool few,
                          unsigned worker)
{
    if (few)
        cpu->bf16->matvec(product, 0, product->rows);
    else
        cpu->bf16->matmul(product, 0, product->rows, worker_panel(cpu, worker));
}

void phy_cpu_multiply_rows(const struct cpu_matmul *cpu, const struct phy_weights *w, const struct cpu_input *input,
                           size_t begin, size_t end, unsigned worker, float *y, size_t y_stride)
{
    size_t row_bytes = 0;
    if (phy_weight_is_bitmap(w->type)) {
        multiply_bitmap(cpu, w, input, begin, end, worker, y, y_stride);
        return;
    }
    phy_weight_row_bytes(w->type, w->cols, &row_bytes); /* the matrix is in memory: no overflow */
    const void *data = (const char *)w->data + begin * row_bytes;
    const bool cached = w->loaded_bytes && w->loaded_bytes <= cpu->cached_bytes;
    if (input->kernel == PHY_KERNEL_INT8) {
        const struct phy_int8_matmul product = {data, w->type, end - begin, &input->rounded, y, y_stride, cached};
        multiply_rounded(cpu, &product, worker);
        return;
    }
    if (input->kernel == PHY_KERNEL_BF16) {
        const struct phy_bf16_matmul product = {data,         end - begin, input->cols, input->rounded_bf16,
                                                input->count, y,           y_stride,    cached};
        multiply_bf16(cpu, &product, input->few, worker);
        return;
    }
    const struct phy_matmul product = {data,         w->type, end - begin, w->cols,         input->x,
                                       input->count, y,       y_stride,    input->x_panels, cached};
    if (input->kernel == PHY_KERNEL_DEQUANT)
        multiply_decoded(cpu, &product, worker);
    else if (w->type < PHY_WEIGHT_FLOAT_COUNT)
        multiply_floats(cpu, &product, worker);
    else
        multiply_blocks(cpu, &product, worker);
}

/* ---- whole products ---- */

void phy_cpu_ran(const struct cpu_matmul *cpu, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    const char *form = kernel == PHY_KERNEL_INT8                                      ? cpu->int8->name
                       : kernel == PHY_KERNEL_BF16                                    ? cpu->bf16->name
                       : kernel == PHY_KERNEL_WALK                                    ? cpu->walk->name
                       : phy_weight_is_bitmap(type)                                   ? cpu->bitmap->name
                       : kernel == PHY_KERNEL_FUSED && type >= PHY_WEIGHT_FLOAT_COUNT ? cpu->block->name
                                                                                      : cpu->form->name;
    phy_kernel_ran(&cpu->base, kernel, type, form);
}

bool phy_cpu_few(const struct cpu_matmul *cpu, enum phy_product_kernel kernel, size_t count)
{
    return count <= (kernel == PHY_KERNEL_INT8 ? cpu->int8->matvec_count : PHY_MATVEC_MAX_COUNT);
}

size_t phy_cpu_share(const struct cpu_matmul *cpu, size_t rows, bool few)
{
    enum { UNIT_FEW = 4 };
    const size_t shares = (size_t)phy_pool_threads(cpu->pool) * 4;
    if (!few)
        return PHY_MATMUL_MAX_ROW_UNIT;
    return (rows / shares + UNIT_FEW) / UNIT_FEW * UNIT_FEW;
}

/* Products of the same x that are shared out together: a model has at most three. Of more, so many at a time. */
enum { MOST_TOGETHER = 4 };

struct part {
    const struct phy_weights *w;
    const float *bias;
    float *y;
    size_t first_index; /* of the loop: its shares follow */
    size_t share;       /* rows for each index */
};

/* Neighbouring shares, which one worker takes in turn: kernels of few rows of x ask for memory ahead, beyond their
 * share. Whoever is done helps with the other spans. */
struct span {
    atomic_size_t next;
    char line[64 - sizeof(atomic_size_t)]; /* a cache line of its own */
};
enum { MOST_SPANS = 32 };

struct job {
    const struct cpu_matmul *cpu;
    const struct cpu_input *input;
    struct part parts[MOST_TOGETHER];
    size_t part_count, indices, span_count;
    struct span spans[MOST_SPANS];
};

static void run_share(void *user, size_t index, unsigned worker)
{
    const struct job *job = user;
    const struct part *part = &job->parts[job->part_count - 1];
    while (index < part->first_index)
        part--;
    const size_t rows = part->w->rows, begin = (index - part->first_index) * part->share;
    const size_t end = rows - begin < part->share ? rows : begin + part->share;
    phy_cpu_multiply_rows(job->cpu, part->w, job->input, begin, end, worker, part->y + begin, rows);
    for (size_t n = 0; part->bias && n < job->input->count; n++) {
        for (size_t r = begin; r < end; r++)
            part->y[n * rows + r] += part->bias[r];
    }
}

/* Many rows of x: what the kernel takes at a time, more at a time gains nothing. Few: sixteen shares for each thread,
 * as they are cheap to take, but not less than is worth taking. */
static size_t int8_share(const struct cpu_matmul *cpu, size_t rows, bool few)
{
    enum { UNIT = 4, LEAST = 16, MOST = 64 };
    if (!few)
        return cpu->int8->row_unit > UNIT ? cpu->int8->row_unit : phy_cpu_share(cpu, rows, few);
    const size_t share = (rows / (phy_pool_threads(cpu->pool) * 16) + UNIT - 1) / UNIT * UNIT;
    return share < LEAST ? LEAST : share > MOST ? MOST : share;
}

static void add_part(struct job *job, const struct phy_weights *w, const float *bias, float *y)
{
    const size_t share = job->input->kernel == PHY_KERNEL_INT8 ? int8_share(job->cpu, w->rows, job->input->few)
                                                               : phy_cpu_share(job->cpu, w->rows, job->input->few);
    job->parts[job->part_count++] = (struct part){w, bias, y, job->indices, share};
    job->indices += (w->rows + share - 1) / share;
    phy_cpu_ran(job->cpu, job->input->kernel, w->type);
}

static void run_span(void *user, size_t index, unsigned worker)
{
    struct job *job = user;
    for (size_t i = 0; i < job->span_count; i++) {
        const size_t span = (index + i) % job->span_count;
        const size_t begin = job->indices * span / job->span_count;
        const size_t count = job->indices * (span + 1) / job->span_count - begin;
        for (;;) {
            size_t at = atomic_fetch_add_explicit(&job->spans[span].next, 1, memory_order_relaxed);
            if (at >= count)
                break;
            run_share(job, begin + at, worker);
        }
    }
}

/* One loop of the pool for all parts: the threads meet once. */
static void run_parts(struct job *job)
{
    if (job->input->few) {
        const size_t threads = phy_pool_threads(job->cpu->pool);
        job->span_count = threads < MOST_SPANS ? threads : MOST_SPANS;
        for (size_t i = 0; i < job->span_count; i++)
            atomic_init(&job->spans[i].next, 0);
        phy_pool_run(job->cpu->pool, job->span_count, run_span, job);
    } else {
        phy_pool_run(job->cpu->pool, job->indices, run_share, job);
    }
    job->part_count = job->indices = 0;
}

void phy_cpu_multiply(const struct cpu_matmul *cpu, const struct phy_weights *w, const struct cpu_input *input,
                      const float *bias, float *y)
{
    struct job job = {.cpu = cpu, .input = input};
    add_part(&job, w, bias, y);
    run_parts(&job);
}

static bool offers(const struct phy_matmul_backend *backend, enum phy_product_kernel kernel, enum phy_weight_type type)
{
    (void)backend;
    if (phy_weight_is_bitmap(type))
        return kernel == PHY_KERNEL_FUSED;
    return type < PHY_WEIGHT_TYPE_COUNT && (kernel != PHY_KERNEL_INT8 || phy_int8_offers(type)) &&
           (kernel != PHY_KERNEL_BF16 || type == PHY_WEIGHT_BF16);
}

enum phy_status phy_cpu_check_offer(const struct cpu_matmul *cpu, enum phy_product_kernel kernel,
                                    enum phy_weight_type type)
{
    if (offers(&cpu->base, kernel, type))
        return PHY_OK;
    return phy_fail(cpu->host, PHY_ERR_UNSUPPORTED, "device %s: no products of that kernel with %s weights",
                    cpu->base.name, phy_weight_format(type)->name);
}

static enum phy_status multiply(struct phy_matmul_backend *backend, const struct phy_product *products,
                                size_t product_count, const float *x, size_t count)
{
    struct cpu_matmul *cpu = (struct cpu_matmul *)backend;
    struct cpu_input input = {.kernel = PHY_KERNEL_COUNT};
    struct job job = {.cpu = cpu, .input = &input};
    for (size_t i = 0; i < product_count; i++) {
        enum phy_status status = phy_cpu_check_offer(cpu, products[i].kernel, products[i].w->type);
        if (status != PHY_OK)
            return status;
        /* Preparing another kernel's input overwrites what the parts so far read. */
        if (job.part_count == MOST_TOGETHER || (job.part_count && input.kernel != products[i].kernel))
            run_parts(&job);
        if (input.kernel != products[i].kernel)
            status = phy_cpu_prepare(cpu, products[i].kernel, x, count, products[i].w->cols, &input);
        if (status == PHY_OK)
            status = phy_cpu_prepare_weights(cpu, products[i].w, &input);
        if (status != PHY_OK)
            return status;
        add_part(&job, products[i].w, products[i].bias, products[i].y);
    }
    if (job.part_count)
        run_parts(&job);
    return PHY_OK;
}

/* 0 if it can't be told. */
static size_t weight_bytes(const struct phy_weights *w)
{
    size_t bytes;
    return !phy_weight_is_bitmap(w->type) && phy_weight_row_bytes(w->type, w->cols, &bytes) &&
                   phy_mul_size(bytes, w->rows, &bytes)
               ? bytes
               : 0;
}

/* They are read where they are. */
static enum phy_status load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices, size_t count)
{
    uint64_t total = 0;
    (void)backend;
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = weight_bytes(matrices[i]);
        if (!bytes || !phy_add_u64(total, bytes, &total))
            total = UINT64_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        matrices[i]->index = (uint32_t)i;
        matrices[i]->loaded_bytes = total;
    }
    return PHY_OK;
}

static void destroy(struct phy_matmul_backend *backend)
{
    struct cpu_matmul *cpu = (struct cpu_matmul *)backend;
    struct cpu_buffer *const buffers[] = {&cpu->decoded, &cpu->codes, &cpu->scales, &cpu->sums,  &cpu->fours,
                                          &cpu->gated,   &cpu->pairs, &cpu->list,   &cpu->turned};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        phy_free(buffers[i]->data);
    phy_free(cpu->panels);
    phy_free(cpu);
}

/* The forms of every kernel that go with one of the float products. */
static void choose_forms(struct cpu_matmul *cpu, const struct phy_matmul_variant *variant,
                         const struct phy_cpu_features *have)
{
    struct phy_cpu_features allowed = variant->needs;
    allowed.avx512_vnni = allowed.avx512 && have->avx512_vnni;
    allowed.avx512_bf16 = allowed.avx512 && have->avx512_bf16;
    allowed.amx_int8 = allowed.avx512 && have->amx_int8;
    allowed.amx_bf16 = allowed.avx512 && have->amx_bf16;
    cpu->form = variant;
    cpu->block = phy_block_matmul_variant_best(&allowed);
    cpu->int8 = phy_int8_matmul_variant_best(&allowed);
    cpu->bf16 = phy_bf16_matmul_variant_best(&allowed);
    cpu->walk = phy_walk_variant_best(&allowed);
    cpu->bitmap = phy_bitmap_variant_best(&allowed);
    cpu->activation = phy_activation_variant_named(variant->name);
}

enum phy_status phy_cpu_matmul_create(struct phy_matmul_backend **out, const char *form, struct phy_pool *pool,
                                      const struct phy_host *host)
{
    static const struct phy_matmul_backend_ops ops = {.load = load,
                                                      .offers = offers,
                                                      .multiply = multiply,
                                                      .ffn = phy_cpu_ffn,
                                                      .walk = phy_cpu_walk,
                                                      .destroy = destroy};
    struct phy_cpu_features have = phy_cpu_detect();
    const struct phy_matmul_variant *variant = form ? phy_matmul_variant_named(form) : phy_matmul_variant_best(&have);
    *out = NULL;
    if (!variant)
        return phy_fail(host, PHY_ERR_USAGE, "device cpu:%.64s: not one of cpu:ref, cpu:avx2, cpu:avx512", form);
    if (!phy_cpu_meets(&have, &variant->needs))
        return phy_fail(host, PHY_ERR_DEVICE, "device cpu:%s: this processor (%s) does not have the instructions",
                        variant->name, phy_cpu_model());
    unsigned threads = phy_pool_threads(pool);
    bool known;
    const uint64_t cache_bytes = phy_cpu_cache_bytes(&known);
    size_t panel_bytes;
    struct cpu_matmul *cpu = phy_zalloc(1, sizeof *cpu);
    if (cpu && phy_mul_size(threads, PANEL_BYTES, &panel_bytes))
        cpu->panels = phy_alloc_aligned(panel_bytes);
    if (!cpu || !cpu->panels) {
        phy_free(cpu);
        return phy_fail(host, PHY_ERR_MEMORY, "out of memory: %u threads", threads);
    }
    cpu->base.ops = &ops;
    cpu->host = host;
    cpu->pool = pool;
    cpu->cached_bytes = known ? cache_bytes / 2 : 0; /* others use it, too */
    choose_forms(cpu, variant, &have);
    snprintf(cpu->base.name, sizeof cpu->base.name, "cpu:%s", variant->name);
    snprintf(cpu->base.description, sizeof cpu->base.description, "%s", phy_cpu_model());
    *out = &cpu->base;
    return PHY_OK;
}
