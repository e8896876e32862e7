/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the products share. */
#ifndef PHY_VK_VK_MATMUL_PARTS_H
#define PHY_VK_VK_MATMUL_PARTS_H

#include "shared/matmul.h"
#include "shared/weight_layout.h"
#include "vk/vk.h"
#include "vk/vk_cache.h"
#include "vk/vk_matmul.h"

enum { VK_TILE_CLASSES = 4, VK_TILE_CHOICES = 4, VK_TILE_COUNT = VK_TILE_CLASSES * VK_TILE_CHOICES };
static_assert(PHY_LAYOUT_Q8_0 == PHY_WEIGHT_Q8_0 && PHY_LAYOUT_MXFP4 == PHY_WEIGHT_MXFP4 &&
                  PHY_LAYOUT_BITMAP == PHY_WEIGHT_BITMAP_BF16,
              "the shaders' types");

/* How matmul.comp shares a product: see there. There is a module for each type, rows and count. */
struct vk_tile {
    uint32_t lanes, row_lanes, count_lanes, rows, count;
};

/* For 1, up to 4, up to 8 rows of x, and more: the choices. */
struct vk_tile_set {
    struct vk_tile floats[VK_TILE_CLASSES][VK_TILE_CHOICES], blocks[VK_TILE_CLASSES][VK_TILE_CHOICES];
};

/* Rows of a matrix that one binding reaches. */
struct vk_slice {
    uint32_t chunk;
    VkDeviceSize at, bytes; /* in the chunk */
    uint32_t first_row, rows;
    VkDescriptorSet set;
    VkBufferView texels[PHY_MATMUL_TEXELS]; /* where the device's modules want one */
};

struct vk_matrix {
    const struct phy_weights *w; /* only while load runs */
    enum phy_weight_type type;
    uint32_t rows, cols;
    uint32_t row_words; /* of 16 bytes; of bitmaps 0 */
    uint32_t blocks;    /* what its shader counts a row in: floats' words of 16 bytes, or units of 32 columns */
    uint32_t first_slice, slice_count;
};

struct vk_chunk {
    struct vk_buffer buffer;
    VkDeviceSize bytes;
};

/* First those with a tile, then those with a type. */
enum vk_program {
    VK_PROGRAM_MATMUL,
    VK_PROGRAM_LISTED,
    VK_PROGRAM_INT8,
    VK_PROGRAM_INT8_DOT,
    VK_PROGRAM_DECODE,
    VK_PROGRAM_SPLIT,
    VK_PROGRAM_WALK_DOWN,
    VK_PROGRAM_WALK_DOWNS, /* the same for several rows of x */
    VK_PROGRAM_WALK_SUM,
    VK_PROGRAM_GATE,
    VK_PROGRAM_ROUND,
    VK_PROGRAM_ROUND_BF16,
    VK_PROGRAM_SPLIT_X,
    VK_PROGRAM_MATRIX, /* vk_matmul_matrix.c's own */
    VK_PROGRAM_COUNT
};

/* How a product wants its rows of x: as they came; or, in vk_places.prepared, int8 codes and scales; floats rounded to
 * bf16; two binary16 numbers and exponents; one, of values rounded to bf16. */
enum vk_x { VK_X_PLAIN, VK_X_INT8, VK_X_BF16, VK_X_SPLIT, VK_X_SPLIT_BF16, VK_X_COUNT };

/* One product's places in the arena. */
struct vk_places {
    uint64_t x, prepared; /* floats */
    uint64_t y;
    uint32_t y_stride;
};

struct vk_pipe {
    VkPipeline handle;
    const struct vk_tile *tile;
    char form[32]; /* what the trace says */
};

/* What was found fastest for a kind of product. Also what the file holds. */
struct vk_choice {
    uint8_t program, type, tile_class, choice;
    uint8_t tiles;      /* the first letter of their name */
    uint8_t rows, cols; /* the logarithms to base 2, rounded down */
    uint8_t zero;
};

struct vk_matmul {
    struct phy_matmul_backend base;
    struct vk_backend b;
    struct phy_vk_matmul_options options;
    struct vk_tile_set tiles;
    bool subgroups; /* those of phy_vk_matmul_tile_names */
    bool shiftless; /* modules that multiply where others shift: shaders/lib/fields.glsl */
    bool texels;    /* modules that load weights from texel buffers: shaders/lib/bitmap.glsl */
    bool eights;    /* and those for subgroups of eight: shaders/walk_down_eights.comp */
    const char *tiles_name;
    bool matrices_on, matrices_asked; /* products of many rows of x are matmul_matrix.comp's; by the options */
    struct vk_tile matrix_tiles[VK_TILE_CHOICES];
    VkPipeline matrix_pipelines[VK_TILE_CHOICES][8];
    bool unified; /* host and device share memory: no copies */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorPool *pools; /* one of the device's own, then one of each load */
    uint32_t pool_count;
    VkPipeline pipelines[VK_PROGRAM_COUNT][PHY_WEIGHT_BITMAP_END][VK_TILE_COUNT]; /* made when first needed */
    struct vk_cache_key cache_key;
    size_t cached_bytes; /* of the file that was read */
    bool made_pipelines;
    struct vk_choice *choices;
    size_t choice_count;
    bool new_choices;
    enum vk_program int8;                   /* the form that runs INT8 */
    VkDescriptorSet arena_set, scratch_set; /* no weights; what was decoded as weights */
    struct vk_matrix *matrices;             /* of each load the caller's, then those of the self-test */
    uint32_t matrix_count;
    struct vk_slice *slices;
    uint32_t slice_count;
    struct vk_chunk *chunks;
    uint32_t chunk_count;
    VkDeviceSize weight_bytes;
    bool tested[PHY_WEIGHT_BITMAP_END]; /* the self-test passed */
    bool quiet;                         /* a self-test runs: its kernels are not traced */
    struct vk_buffer arena;             /* activations: x, then results */
    struct vk_buffer scratch;           /* DEQUANT: rows of float32 */
    struct vk_buffer upload, readback;  /* where not unified */
    bool dispatched;                    /* commands that write the arena were recorded */
    bool clocked;                       /* timestamps before the first and after the last of them, too */
    uint64_t products_per_dispatch;     /* what takes about a tenth of a second */
};

/* ---- vk_matmul.c ---- */

static inline uint32_t vk_padded(size_t cols)
{
    return (uint32_t)((cols + PHY_MATMUL_X_UNIT - 1) / PHY_MATMUL_X_UNIT * PHY_MATMUL_X_UNIT);
}

/* Commands of the only slot, from the beginning. */
enum phy_status phy_vk_matmul_begin(struct vk_matmul *m);
/* Ends them, runs them and waits. */
enum phy_status phy_vk_matmul_run(struct vk_matmul *m);
/* The same; `products` multiplications say how many a dispatch may have. */
enum phy_status phy_vk_matmul_run_timed(struct vk_matmul *m, uint64_t products);
void phy_vk_matmul_barrier(struct vk_matmul *m, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags reads);
void phy_vk_matmul_dispatch(struct vk_matmul *m, const struct vk_pipe *pipe, VkDescriptorSet set, const void *push,
                            uint32_t push_bytes, uint32_t across, uint32_t down);
/* Rows row_begin .. row_end - 1 of a push, in as many dispatches as the device needs. */
void phy_vk_matmul_rows(struct vk_matmul *m, const struct vk_pipe *pipe, VkDescriptorSet set,
                        const struct phy_matmul_push *whole, uint64_t products_of_row);
void phy_vk_matmul_trace(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                         const char *form);

/* The arena: room for `floats`; x to its beginning, words, or listed floats, to a place of it, by commands; floats
 * begin .. end - 1 to where the host reads them, by commands; rows of `width` at `at`, `stride` apart, from there. */
enum phy_status phy_vk_matmul_reserve(struct vk_matmul *m, uint64_t floats);
void phy_vk_matmul_put_x(struct vk_matmul *m, const float *x, size_t count, size_t cols);
void phy_vk_matmul_put(struct vk_matmul *m, uint64_t at, const uint32_t *words, size_t count);
void phy_vk_matmul_put_listed(struct vk_matmul *m, uint64_t at, const float *from, const uint32_t *list, size_t count);
void phy_vk_matmul_fetch(struct vk_matmul *m, uint64_t begin, uint64_t end);
void phy_vk_matmul_take(const struct vk_matmul *m, uint64_t at, uint32_t stride, size_t count, size_t width, float *to);
/* Tells a set where arena and scratch are, if there are. */
void phy_vk_matmul_bind(struct vk_matmul *m, VkDescriptorSet set);

/* As the backend's own, on matrices by their index. */
struct vk_product {
    uint32_t matrix;
    float *y;
    const float *bias;
    enum phy_product_kernel kernel;
};
enum phy_status phy_vk_matmul_multiply(struct vk_matmul *m, const struct vk_product *products, size_t product_count,
                                       const float *x, size_t count);
struct vk_ffn {
    uint32_t gate, up, down;
    bool paired; /* gate holds the rows of both in turn, up is none */
    enum phy_activation activation;
    enum phy_product_kernel kernel;
    const float *x;
    size_t count;
    float *gated, *y;
};
enum phy_status phy_vk_matmul_ffn(struct vk_matmul *m, const struct vk_ffn *ffn);
enum phy_status phy_vk_matmul_gate(struct vk_matmul *m, const struct phy_ffn_gate_push *push, size_t count);

/* ---- vk_matmul_walk.c ---- */

enum phy_status phy_vk_matmul_walk(struct phy_matmul_backend *backend, const struct phy_walk_product *product);

/* ---- vk_matmul_pipeline.c ---- */

/* Tiles and forms by the options and the device. */
enum phy_status phy_vk_matmul_choose(struct vk_matmul *m);
/* Lines of the tiles by rows of x, and how many choices a line has; 0 is the fixed one. */
uint32_t phy_vk_tile_class(size_t count);
uint32_t phy_vk_tile_choices(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                             size_t count);
/* For so many rows of x, and one of their choices, where the program has a tile. */
enum phy_status phy_vk_matmul_pipeline(struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                                       size_t count, uint32_t choice, struct vk_pipe *out);
void phy_vk_matmul_pipelines_destroy(struct vk_matmul *m);
/* The driver's pipelines of former runs, from and to a file. */
void phy_vk_matmul_cache_open(struct vk_matmul *m);
void phy_vk_matmul_cache_close(struct vk_matmul *m);

/* `constants` of them, by their ids; subgroup: full ones of so many invocations, or 0 where it doesn't matter. */
enum phy_status phy_vk_matmul_make(struct vk_matmul *m, const char *module, const uint32_t *values, uint32_t constants,
                                   uint32_t subgroup, VkPipeline *out);

/* ---- vk_matmul_x.c ---- */

enum vk_x phy_vk_x_kind(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                        size_t count);
/* What `count` rows take, whole words of 16 bytes; 0 for VK_X_PLAIN. */
uint64_t phy_vk_x_floats(enum vk_x kind, uint32_t cols, size_t count);
/* Of split rows: binary16 numbers of a value, and where the exponents begin, in floats. */
uint32_t phy_vk_x_pieces(enum vk_x kind);
uint64_t phy_vk_x_exponents_at(enum vk_x kind, uint32_t cols, size_t count);
enum phy_status phy_vk_x_record(struct vk_matmul *m, enum vk_x kind, uint32_t cols, size_t count, uint64_t x_at,
                                uint64_t to_at);

/* ---- vk_matmul_matrix.c ---- */

/* The device can; these products are computed so. */
bool phy_vk_matrices_run(const struct vk_backend *b);
bool phy_vk_matrices_take(const struct vk_matmul *m, enum phy_product_kernel kernel, enum phy_weight_type type,
                          size_t count);
/* How many tiles the device can run. */
uint32_t phy_vk_matrices_choices(const struct vk_matmul *m, enum phy_weight_type type);
/* For a measurement: rows 0 .. rows - 1 of what *set binds, whatever it holds, by that tile; x at the arena's
 * beginning. */
enum phy_status phy_vk_matrices_sample(struct vk_matmul *m, const struct vk_matrix *matrix, size_t count, uint32_t rows,
                                       uint32_t choice, struct vk_pipe *pipe, struct phy_matmul_push *push,
                                       VkDescriptorSet *set);
/* Bytes of scratch for a row; 0: it needs none. */
uint64_t phy_vk_matrices_scratch(const struct vk_matrix *matrix);
enum phy_status phy_vk_matrices_record(struct vk_matmul *m, enum phy_product_kernel kernel,
                                       const struct vk_matrix *matrix, size_t count, const struct vk_places *at);

/* ---- vk_matmul_tune.c ---- */

/* The choices of former runs, from and to a file; only where the options ask for tuning. */
void phy_vk_matmul_tune_open(struct vk_matmul *m);
void phy_vk_matmul_tune_close(struct vk_matmul *m);
/* Measures, if this kind of product was not measured yet. No commands are being recorded. */
enum phy_status phy_vk_matmul_tune(struct vk_matmul *m, enum vk_program program, const struct vk_matrix *matrix,
                                   size_t count);
uint32_t phy_vk_matmul_choice(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                              const struct vk_matrix *matrix, size_t count);

/* ---- vk_matmul_layout.c ---- */

/* 16-byte words of a row on the device. */
uint32_t phy_vk_row_words(enum phy_weight_type type, uint32_t cols);
/* One row, as stored, to the device's order. */
void phy_vk_lay_row(enum phy_weight_type type, const void *from, uint32_t cols, void *to);

/* ---- vk_matmul_bitmap.c ---- */

/* From row slice->first_row on as many rows as `limit` bytes hold, and their bytes; none if not even one. */
void phy_vk_bitmap_slice(const struct vk_matrix *matrix, VkDeviceSize limit, struct vk_slice *slice);
/* A slice to the device's order. */
void phy_vk_bitmap_lay(const struct vk_matrix *matrix, const struct vk_slice *slice, void *to);
/* phy_matmul_push.firsts_at; of no meaning where there are blocks. */
uint32_t phy_vk_bitmap_firsts_at(const struct vk_matrix *matrix, const struct vk_slice *slice);

/* ---- vk_matmul_load.c ---- */

/* A pool for so many sets; the sets of phy_vk_matmul_new_set come from the newest. */
enum phy_status phy_vk_matmul_add_pool(struct vk_matmul *m, uint32_t sets);
enum phy_status phy_vk_matmul_new_set(struct vk_matmul *m, VkDescriptorSet *out);

enum phy_status phy_vk_matmul_load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices,
                                   size_t count);
void phy_vk_matmul_unload(struct phy_matmul_backend *backend);

/* ---- vk_matmul_self_test.c ---- */

enum {
    VK_SELF_TEST_MATRICES = 2 * PHY_WEIGHT_BITMAP_END,
    VK_SELF_TEST_ROWS = 37,
    VK_SELF_TEST_COLS = 75,
    VK_SELF_TEST_BYTES = 75 * 257 /* of the largest: 75 rows of one fp8 block */
};
struct vk_matmul_self_test {
    struct phy_weights matrices[VK_SELF_TEST_MATRICES]; /* of each type (ROWS, COLS), then (COLS, ROWS) */
    uint8_t bytes[VK_SELF_TEST_MATRICES][VK_SELF_TEST_BYTES];
};
void phy_vk_matmul_self_test_fill(struct vk_matmul_self_test *test);
/* Products of one type, loaded as matrices `first` and first + 1. PHY_ERR_DEVICE, logged, if they are wrong. */
enum phy_status phy_vk_matmul_self_test_run(struct vk_matmul *m, const struct vk_matmul_self_test *test,
                                            enum phy_weight_type type, uint32_t first);

#endif
