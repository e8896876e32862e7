/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the products share. */
#ifndef PHY_VK_VK_MATMUL_PARTS_H
#define PHY_VK_VK_MATMUL_PARTS_H

#include "shared/matmul.h"
#include "shared/weight_layout.h"
#include "vk/vk.h"
#include "vk/vk_matmul.h"

enum { VK_TILE_COUNT = 4 };
static_assert(PHY_LAYOUT_Q8_0 == PHY_WEIGHT_Q8_0 && PHY_LAYOUT_MXFP4 == PHY_WEIGHT_MXFP4, "the shaders' types");

/* How matmul.comp shares a product: see there. There is a module for each type, rows and count. */
struct vk_tile {
    uint32_t lanes, row_lanes, count_lanes, rows, count;
};

/* Rows of a matrix that one binding reaches. */
struct vk_slice {
    uint32_t chunk;
    VkDeviceSize at, bytes; /* in the chunk */
    uint32_t first_row, rows;
    VkDescriptorSet set;
};

struct vk_matrix {
    const struct phy_weights *w; /* only while load runs */
    enum phy_weight_type type;
    uint32_t rows, cols;
    uint32_t row_words; /* of 16 bytes */
    uint32_t blocks;    /* what its shader counts a row in: floats' words of 16 bytes, or units of 32 columns */
    uint32_t first_slice, slice_count;
};

struct vk_chunk {
    struct vk_buffer buffer;
    VkDeviceSize bytes;
};

struct vk_matmul {
    struct phy_matmul_backend base;
    struct vk_backend b;
    struct phy_vk_matmul_options options;
    const struct vk_tile *tiles; /* (VK_TILE_COUNT) for 1, up to 4, up to 8 rows of x, and more */
    const char *tiles_name;
    bool unified; /* host and device share memory: no copies */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkDescriptorPool *pools; /* one of the device's own, then one of each load */
    uint32_t pool_count;
    VkPipeline pipelines[PHY_WEIGHT_TYPE_COUNT][VK_TILE_COUNT], gate_pipeline; /* made when first needed */
    VkDescriptorSet gate_set;
    struct vk_matrix *matrices; /* of each load the caller's, then those of the self-test */
    uint32_t matrix_count;
    struct vk_slice *slices;
    uint32_t slice_count;
    struct vk_chunk *chunks;
    uint32_t chunk_count;
    VkDeviceSize weight_bytes;
    bool tested[PHY_WEIGHT_TYPE_COUNT]; /* the self-test passed */
    bool quiet;                         /* a self-test runs: its kernels are not traced */
    struct vk_buffer arena;             /* activations: x, then results */
    struct vk_buffer upload, readback;  /* where not unified */
    bool dispatched;                    /* commands that write the arena were recorded */
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
void phy_vk_matmul_barrier(struct vk_matmul *m, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                           VkAccessFlags reads);
/* As the backend's own, on matrices by their index. */
struct vk_product {
    uint32_t matrix;
    float *y;
    const float *bias;
};
enum phy_status phy_vk_matmul_multiply(struct vk_matmul *m, const struct vk_product *products, size_t product_count,
                                       const float *x, size_t count);
struct vk_ffn {
    uint32_t gate, up, down;
    bool paired; /* gate holds the rows of both in turn, up is none */
    enum phy_activation activation;
    const float *x;
    size_t count;
    float *gated, *y;
};
enum phy_status phy_vk_matmul_ffn(struct vk_matmul *m, const struct vk_ffn *ffn);

void phy_vk_matmul_bind_arena(struct vk_matmul *m, VkDescriptorSet set);

/* ---- vk_matmul_layout.c ---- */

/* 16-byte words of a row on the device. */
uint32_t phy_vk_row_words(enum phy_weight_type type, uint32_t cols);
/* One row, as stored, to the device's order. */
void phy_vk_lay_row(enum phy_weight_type type, const void *from, uint32_t cols, void *to);

/* ---- vk_matmul_load.c ---- */

/* A pool for so many sets; the sets of phy_vk_matmul_new_set come from the newest. */
enum phy_status phy_vk_matmul_add_pool(struct vk_matmul *m, uint32_t sets);
enum phy_status phy_vk_matmul_new_set(struct vk_matmul *m, VkDescriptorSet *out);

enum phy_status phy_vk_matmul_load(struct phy_matmul_backend *backend, struct phy_weights *const *matrices,
                                   size_t count);

/* ---- vk_matmul_self_test.c ---- */

enum {
    VK_SELF_TEST_MATRICES = 2 * PHY_WEIGHT_TYPE_COUNT,
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
