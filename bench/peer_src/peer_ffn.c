/* SPDX-License-Identifier: Apache-2.0 */
/* ggml's products by shape, for bench/peer ffn: y (x_rows, rows) = x w^T with w of the format, as ggml_mul_mat does it.
 * One line a case: op, format, shape, x_rows, cold, threads, median, first and third quartile in microseconds.
 *   op     mul_mat: the plain layout; mul_mat_repack: the one that ggml rearranges weights to, where it has one;
 *          mul_mat_gpu: its first device that is not the CPU
 *   shape  COLSxROWS of w, as hidden x intermediate
 *   cold   1: the next of several copies each time, together larger than the caches; 0: the same one
 *
 * usage: peer_ffn cpu|gpu ROUNDS THREADS[,THREADS] FORMAT[,FORMAT...] SHAPE[,SHAPE...] X_ROWS[,X_ROWS...] */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

enum { MOST_COPIES = 64, MOST_ROUNDS = 201, MOST_LIST = 16 };
static const size_t cold_bytes = (size_t)192 << 20; /* of weights before the first is met again */

/* PEER_CLOCK=processor: the processor time of all threads, where others keep the machine busy. */
static double now_us(void)
{
    static clockid_t id = -1;
    if (id == -1) {
        const char *clock = getenv("PEER_CLOCK");
        id = clock && strcmp(clock, "processor") == 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    }
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const char *what)
{
    fprintf(stderr, "peer_ffn: %s\n", what);
    exit(1);
}

/* ---- one matrix in some copies ---- */

struct weights {
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *copies[MOST_COPIES];
    size_t count, bytes;
};

static ggml_backend_buffer_type_t repack_type(void)
{
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    ggml_backend_dev_get_extra_bufts_t get = (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *types = get ? get(device) : NULL;
    for (; types && *types; types++) {
        if (strcmp(ggml_backend_buft_name(*types), "CPU_REPACK") == 0)
            return *types;
    }
    return NULL;
}

static void fill(struct ggml_tensor *first, enum ggml_type format, void **encoded)
{
    const int64_t cols = first->ne[0], rows = first->ne[1];
    float *values = malloc((size_t)(cols * rows) * sizeof *values);
    *encoded = malloc(ggml_nbytes(first));
    if (!values || !*encoded)
        fail("out of memory");
    uint32_t state = 12345;
    for (int64_t i = 0; i < cols * rows; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = ((float)(state >> 8) / 8388608.0f - 1.0f) * 0.05f;
    }
    ggml_quantize_chunk(format, values, *encoded, 0, rows, cols, NULL);
    free(values);
}

/* False where the buffer type does not take this format. */
static bool make_weights(struct weights *w, enum ggml_type format, int64_t cols, int64_t rows,
                         ggml_backend_buffer_type_t type, bool repack)
{
    *w = (struct weights){.bytes = ggml_row_size(format, cols) * (size_t)rows};
    w->count = cold_bytes / w->bytes + 2;
    if (w->count > MOST_COPIES)
        w->count = MOST_COPIES;
    w->context = ggml_init((struct ggml_init_params){ggml_tensor_overhead() * MOST_COPIES, NULL, true});
    for (size_t i = 0; i < w->count; i++)
        w->copies[i] = ggml_new_tensor_2d(w->context, format, cols, rows);
    w->buffer = ggml_backend_alloc_ctx_tensors_from_buft(w->context, type);
    if (!w->buffer)
        fail("out of memory");
    /* A repacking buffer marks the tensors that it rearranges. */
    if (repack && !w->copies[0]->extra)
        return false;
    ggml_backend_buffer_set_usage(w->buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    void *encoded;
    fill(w->copies[0], format, &encoded);
    for (size_t i = 0; i < w->count; i++)
        ggml_backend_tensor_set(w->copies[i], encoded, 0, w->bytes);
    free(encoded);
    return true;
}

static void free_weights(struct weights *w)
{
    ggml_backend_buffer_free(w->buffer);
    ggml_free(w->context);
}

/* ---- one case ---- */

struct product {
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    struct ggml_cgraph *graphs[MOST_COPIES]; /* one for each copy */
};

static void make_product(struct product *p, const struct weights *w, ggml_backend_t backend, int64_t x_rows)
{
    size_t bytes = (ggml_tensor_overhead() + ggml_graph_overhead_custom(4, false)) * (2 * MOST_COPIES + 2);
    p->context = ggml_init((struct ggml_init_params){bytes, NULL, true});
    struct ggml_tensor *x = ggml_new_tensor_2d(p->context, GGML_TYPE_F32, w->copies[0]->ne[0], x_rows);
    for (size_t i = 0; i < w->count; i++) {
        p->graphs[i] = ggml_new_graph_custom(p->context, 4, false);
        ggml_build_forward_expand(p->graphs[i], ggml_mul_mat(p->context, w->copies[i], x));
    }
    p->buffer = ggml_backend_alloc_ctx_tensors(p->context, backend);
    if (!p->buffer)
        fail("out of memory");
    float *values = malloc(ggml_nbytes(x));
    if (!values)
        fail("out of memory");
    for (int64_t i = 0; i < ggml_nelements(x); i++)
        values[i] = sinf((float)i);
    ggml_backend_tensor_set(x, values, 0, ggml_nbytes(x));
    free(values);
}

static double run_once(ggml_backend_t backend, struct ggml_cgraph *graph)
{
    double started = now_us();
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS)
        fail("a product failed");
    return now_us() - started;
}

static void measure(const struct weights *w, ggml_backend_t backend, const char *op, const char *format, int64_t x_rows,
                    int threads, int rounds)
{
    if (ggml_backend_is_cpu(backend))
        ggml_backend_cpu_set_n_threads(backend, threads);
    struct product p;
    make_product(&p, w, backend, x_rows);
    for (int cold = 0; cold <= 1; cold++) {
        double us[MOST_ROUNDS];
        double once = run_once(backend, p.graphs[0]);
        /* About half a second at most, but five rounds at least. */
        int count = (int)fmin(rounds, fmax(5, 5e5 / once));
        for (int i = 0; i < count; i++)
            us[i] = run_once(backend, p.graphs[cold ? (size_t)(i + 1) % w->count : 0]);
        qsort(us, (size_t)count, sizeof *us, by_value);
        printf("%s\t%s\t%lldx%lld\t%lld\t%d\t%d\t%.1f\t%.1f\t%.1f\n", op, format, (long long)w->copies[0]->ne[0],
               (long long)w->copies[0]->ne[1], (long long)x_rows, cold, threads, us[count / 2], us[count / 4],
               us[count * 3 / 4]);
        fflush(stdout);
    }
    ggml_backend_buffer_free(p.buffer);
    ggml_free(p.context);
}

/* ---- the command line ---- */

struct list {
    char *items[MOST_LIST];
    size_t count;
};

static struct list split(char *text)
{
    struct list list = {0};
    for (char *item = strtok(text, ","); item && list.count < MOST_LIST; item = strtok(NULL, ","))
        list.items[list.count++] = item;
    return list;
}

static enum ggml_type format_named(const char *name)
{
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        const char *known = ggml_type_name((enum ggml_type)type);
        if (known && strcasecmp(known, name) == 0)
            return (enum ggml_type)type;
    }
    fprintf(stderr, "peer_ffn: no format %s\n", name);
    exit(2);
}

struct way {
    const char *op;
    ggml_backend_buffer_type_t type;
    bool repack;
};

struct request {
    int rounds;
    struct list threads, formats, shapes, x_rows;
};

static void run_shape(const struct request *r, const struct way *way, ggml_backend_t backend, const char *name,
                      const char *shape)
{
    const enum ggml_type format = format_named(name);
    long cols, rows;
    struct weights w;
    if (sscanf(shape, "%ldx%ld", &cols, &rows) != 2)
        fail("a shape is HIDDENxINTERMEDIATE");
    /* ggml has no matrix whose rows are not whole blocks. */
    if (cols % ggml_blck_size(format) != 0)
        return;
    bool made = make_weights(&w, format, cols, rows, way->type, way->repack);
    for (size_t x = 0; made && x < r->x_rows.count; x++) {
        for (size_t t = 0; t < r->threads.count; t++)
            measure(&w, backend, way->op, name, atol(r->x_rows.items[x]), atoi(r->threads.items[t]), r->rounds);
    }
    free_weights(&w);
}

static void only_errors(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static ggml_backend_t other_device(void)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU)
            return ggml_backend_dev_init(device, NULL);
    }
    fail("ggml sees no device but the CPU");
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 7 || (strcmp(argv[1], "cpu") != 0 && strcmp(argv[1], "gpu") != 0)) {
        fprintf(stderr,
                "usage: peer_ffn cpu|gpu ROUNDS THREADS[,..] FORMAT[,..] HIDDENxINTERMEDIATE[,..] X_ROWS[,..]\n");
        return 2;
    }
    const bool cpu = strcmp(argv[1], "cpu") == 0;
    ggml_log_set(only_errors, NULL);
    struct request r = {.rounds = atoi(argv[2]),
                        .threads = split(argv[3]),
                        .formats = split(argv[4]),
                        .shapes = split(argv[5]),
                        .x_rows = split(argv[6])};
    r.rounds = r.rounds < 1 ? 1 : r.rounds > MOST_ROUNDS ? MOST_ROUNDS : r.rounds;
    ggml_backend_t backend = cpu ? ggml_backend_cpu_init() : other_device();
    ggml_backend_buffer_type_t plain = ggml_backend_get_default_buffer_type(backend);
    struct way ways[2] = {{cpu ? "mul_mat" : "mul_mat_gpu", plain, false}, {"mul_mat_repack", repack_type(), true}};
    printf("op\tformat\tshape\tx_rows\tcold\tthreads\tmedian_us\tq1_us\tq3_us\n");
    for (size_t f = 0; f < r.formats.count; f++) {
        for (size_t s = 0; s < r.shapes.count; s++) {
            for (size_t i = 0; i < (cpu && ways[1].type ? 2u : 1u); i++)
                run_shape(&r, &ways[i], backend, r.formats.items[f], r.shapes.items[s]);
        }
    }
    ggml_backend_free(backend);
    return 0;
}
