/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#ifndef PHY_VK_VK_H
#define PHY_VK_VK_H

#define VK_NO_PROTOTYPES
#include "volk_prefix.h"

#include <volk.h>

#include <pthread.h>
#include <stdatomic.h>

#include "backend/backend.h"
#include "quant/weight_type.h"
#include "shared/flow_tile.h"
#include "shared/rank_rows.h"
#include "vk/vk_backend.h"

/* ---- vk_instance.c ---- */

struct vk_instance {
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice *devices; /* those that speak Vulkan 1.1 */
    uint32_t device_count;
};

/* PHY_ERR_DEVICE, not logged, with `note` saying why and what to install; or PHY_ERR_MEMORY, logged. host must outlive
 * the instance. */
enum phy_status phy_vk_instance_open(struct vk_instance *out, char note[PHY_VK_NOTE_BYTES],
                                     const struct phy_host *host);
void phy_vk_instance_close(struct vk_instance *instance);

/* ---- shaders.c ---- */

struct vk_spirv {
    const uint32_t *words;
    size_t bytes;
};
struct vk_spirv phy_vk_spirv_flow_tile(void);
struct vk_spirv phy_vk_spirv_rank_rows(void);
struct vk_spirv phy_vk_spirv_self_test(void);
/* Of a product: one of the list in CMakeLists.txt. */
struct vk_spirv phy_vk_spirv_named(const char *name);
/* Of all of that list. */
uint64_t phy_vk_spirv_digest(void);

/* ---- the device ---- */

/* Words of 4 bytes in what is allocated for weights at once, if a device lets it. */
enum { VK_CHUNK_WORDS = 1 << 27 };

/* A patch of rows x cols weights for each invocation. */
struct vk_shape {
    const char *name;
    uint32_t rows, cols;
};
/* Invocations of a workgroup for a tile of block x block. */
static inline uint32_t vk_shape_invocations(const struct vk_shape *shape, uint32_t block)
{
    return block * block / (shape->rows * shape->cols);
}

struct vk_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    void *mapped; /* NULL where the host cannot see it */
    VkDeviceSize bytes;
};

/* Binary16 matrices of m x k and k x n that a subgroup multiplies, sums in binary32. */
struct vk_matrix_shape {
    uint32_t m, n, k;
};

enum { VK_SLOT_COUNT = 3, VK_BLOCK_COUNT = 4, VK_FLOW_PIPELINES = VK_BLOCK_COUNT * 3 * 4 * 2 };
enum { VK_RANK_PIPELINES = 3 * 3 * 2, VK_PUSH_BYTES = 40 };

/* 0 .. 3 for a block of 32 .. 256. */
static inline uint32_t vk_block_index(uint32_t block)
{
    return (uint32_t)__builtin_ctz(block) - 5;
}

/* What one thread works with. */
struct vk_slot {
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkDescriptorSet set;
    VkQueryPool clock;        /* two timestamps, or none */
    struct vk_buffer input;   /* codes, then scales: what the shader reads */
    struct vk_buffer staging; /* where the host writes, if it cannot write input */
    struct vk_buffer output;  /* results, then masks; the host reads them */
    uint32_t *masks;          /* of a whole region that took several pieces */
    uint64_t mask_words;
};

struct vk_backend {
    struct phy_backend base;
    const struct phy_host *host;
    struct vk_instance instance;
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice device;
    struct VolkDeviceTable vk;
    VkQueue queue;
    uint32_t queue_family;
    pthread_mutex_t queue_mutex, pipeline_mutex;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout pipeline_layout;
    VkDescriptorPool descriptor_pool;
    VkPipelineCache pipeline_cache;                /* or none */
    VkShaderModule flow_module, rank_module;       /* rank_module is made when first needed */
    VkPipeline flow_pipelines[VK_FLOW_PIPELINES];  /* made when first needed */
    VkPipeline rank_pipelines[VK_RANK_PIPELINES];  /* of a type and score, with factors or without; likewise */
    const struct vk_shape *shapes[VK_BLOCK_COUNT]; /* for each block, by vk_block_index */
    bool staging;
    uint64_t max_piece_weights;         /* 0: no limit but the device's */
    uint64_t max_input_bytes;           /* of one piece */
    bool integer_dot, fast_integer_dot; /* VK_KHR_shader_integer_dot_product, of four signed bytes in a word */
    uint32_t subgroup_size;             /* that can be asked for, full, and that add; or 0 */
    struct vk_matrix_shape matrix;      /* VK_KHR_cooperative_matrix; or zeros */
    bool narrow;                        /* a CPU whose subgroups are four: SwiftShader's vectors */
    bool texels;                        /* llvmpipe: loads of texel buffers are fast, those of others loops */
    bool eights;                        /* llvmpipe with subgroups of eight that shuffle, too */
    double tick_ns;                     /* 0: the queue has no clock */
    uint64_t clock_mask;                /* its valid bits: a difference is right through one wrap */
    bool warn_only; /* what goes wrong is a warning: the caller has another device, or tells the failure itself */
    atomic_bool lost;
    atomic_uint_fast64_t cell_steps_per_dispatch; /* cells x iterations that take about dispatch_ns, see vk_flow.c */
    atomic_uint_fast64_t rank_cells_per_dispatch; /* likewise, see vk_rank.c */
    atomic_uint_fast64_t compute_ns, dispatches;
    struct vk_slot slots[VK_SLOT_COUNT];
};

/* ---- vk_backend.c ---- */

/* A queue, slots and what the flow needs; no self-test. b is zeros but warn_only; close it in either case. */
enum phy_status phy_vk_device_open(struct vk_backend *b, uint32_t index, const struct phy_vk_options *options,
                                   const struct phy_host *host);
/* Sets b->queue_family: one that only computes, which leaves the graphics queue, and so the screen, alone, or else any
 * that computes. clock_bits: its timestampValidBits. False: there is none. */
bool phy_vk_find_queue_family(struct vk_backend *b, uint32_t *clock_bits);
/* All but b itself. */
void phy_vk_device_close(struct vk_backend *b);

/* Sets b->integer_dot and b->fast_integer_dot. */
void phy_vk_find_integer_dot(struct vk_backend *b);
/* Sets b->subgroup_size: of the device's own size, if it can promise that they are full. */
void phy_vk_find_subgroups(struct vk_backend *b);

/* ---- vk_matrix.c ---- */

/* What must be chained to ask for cooperative matrices. */
struct vk_matrix_request {
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR half;
    VkPhysicalDeviceVulkanMemoryModelFeaturesKHR memory;
#if PHY_VK_MATRICES
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
#endif
};
enum { VK_MATRIX_EXTENSIONS = 3 };

/* Sets b->matrix: the largest that the device multiplies in subgroups of b->subgroup_size. */
void phy_vk_find_matrices(struct vk_backend *b);
/* If there are: asks for them, and float16 arithmetic, in `info`; `names`, which it has, has room for
 * VK_MATRIX_EXTENSIONS more. */
void phy_vk_ask_matrices(const struct vk_backend *b, struct vk_matrix_request *request, VkDeviceCreateInfo *info,
                         const char **names);

/* ---- vk_matmul_pipeline.c ---- */

/* What struct phy_device_info says of the forms of products. b: its physical device, properties and what the functions
 * above find. */
void phy_vk_describe_forms(const struct vk_backend *b, struct phy_device_info *info);

/* ---- vk_list.c ---- */

bool phy_vk_has_extension(VkPhysicalDevice device, const char *name);

/* ---- vk_buffer.c ---- */

enum vk_memory { VK_MEMORY_DEVICE, VK_MEMORY_DEVICE_MAPPED, VK_MEMORY_UPLOAD, VK_MEMORY_READBACK };

/* True if the device has memory of its own that the host writes directly (all of it, or a resizable window). */
bool phy_vk_host_writes_device_memory(const VkPhysicalDeviceMemoryProperties *memory);
/* Makes the buffer hold at least `bytes`; its content is lost when it grows.
 * PHY_ERR_MEMORY is reported. */
enum phy_status phy_vk_buffer_reserve(struct vk_backend *b, struct vk_buffer *buffer, enum vk_memory kind,
                                      VkDeviceSize bytes);
void phy_vk_buffer_free(struct vk_backend *b, struct vk_buffer *buffer);

/* ---- vk_pipeline.c ---- */

/* The shape for tiles of block x block. NULL if the device can run none of them, or not the one of that name. */
const struct vk_shape *phy_vk_shape_for(const VkPhysicalDeviceProperties *properties, uint32_t block, const char *name);
enum phy_status phy_vk_layouts_create(struct vk_backend *b);
/* The pipeline for these parameters, made if need be. Thread-safe. */
enum phy_status phy_vk_flow_pipeline(struct vk_backend *b, const struct phy_flow_params *params,
                                     enum phy_float_type type, bool scaled, VkPipeline *out);
enum phy_status phy_vk_pipeline_create(struct vk_backend *b, VkShaderModule module, VkPipelineLayout layout,
                                       const VkSpecializationInfo *constants, VkPipeline *out);
/* In full subgroups of so many invocations, if that is not 0. */
enum phy_status phy_vk_subgroup_pipeline_create(struct vk_backend *b, VkShaderModule module, VkPipelineLayout layout,
                                                const VkSpecializationInfo *constants, uint32_t subgroup,
                                                VkPipeline *out);
enum phy_status phy_vk_module_create(struct vk_backend *b, struct vk_spirv spirv, VkShaderModule *out);
/* Logs the sentence, as a warning when warn_only, and returns the status. */
enum phy_status phy_vk_report(const struct vk_backend *b, enum phy_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Reports what Vulkan answered. PHY_ERR_MEMORY, or PHY_ERR_DEVICE and the backend counts as lost. result is not
 * VK_SUCCESS. */
enum phy_status phy_vk_fail(struct vk_backend *b, VkResult result, const char *what);

/* ---- vk_submit.c ---- */

enum phy_status phy_vk_slot_create(struct vk_backend *b, struct vk_slot *slot);
void phy_vk_slot_destroy(struct vk_backend *b, struct vk_slot *slot);

/* One dispatch and the copies around it. */
struct vk_job {
    VkPipeline pipeline;
    const void *push; /* at most VK_PUSH_BYTES */
    uint32_t push_bytes;
    uint32_t workgroups;
    struct vk_range {
        VkDeviceSize offset, bytes;
    } codes, scales, masks, results; /* in slot->input, input, output, output; aligned for a storage buffer */
    VkDeviceSize upload_bytes;       /* from staging to input, where there is staging */
};
/* Submits the slot's recorded commands and waits. */
VkResult phy_vk_run(struct vk_backend *b, struct vk_slot *slot);
/* Runs it and waits. *device_ns is 0 without a clock. PHY_ERR_DEVICE is reported. */
enum phy_status phy_vk_submit(struct vk_backend *b, struct vk_slot *slot, const struct vk_job *job,
                              uint64_t *device_ns);

/* ---- vk_flow.c ---- */

static inline uint64_t vk_align_up(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* `work` took device_ns, or, where that is 0, wall_seconds: let later dispatches of that kind take about a tenth of a
 * second, so that no watchdog and no screen waits for them, but at most 4 times this one's work. */
void phy_vk_learn_speed(struct vk_backend *b, atomic_uint_fast64_t *work_per_dispatch, double work, uint64_t device_ns,
                        double wall_seconds);

/* Buffers of at least these sizes; the host writes to staging, or to input where there is none. */
enum phy_status phy_vk_slot_reserve(struct vk_backend *b, struct vk_slot *slot, uint64_t input_bytes,
                                    uint64_t output_bytes);

enum phy_status phy_vk_flow(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                            struct phy_flow_region *region);
/* slot->masks holds at least `words`. PHY_ERR_MEMORY is reported. */
enum phy_status phy_vk_masks_reserve(struct vk_backend *b, struct vk_slot *slot, uint64_t words);
/* First guesses before anything was measured. */
enum { VK_FIRST_CELL_STEPS = 16 * 65536 * 30, VK_FIRST_RANK_CELLS = 1 << 20 };

/* ---- vk_rank.c ---- */

enum phy_status phy_vk_rank(struct phy_backend *backend, uint32_t slot, const struct phy_rank_params *params,
                            const struct phy_rank_rows *rows);

/* ---- vk_mask.c ---- */

/* One tile's mask words as the shader wrote them: word (patch * CELLS + cell) / 32, bit cell % 32, patches and cells
 * both row-major. Codes of the set bits become +0. */
struct vk_mask_tile {
    const uint32_t *words; /* (block^2 / 32) */
    uint32_t block, rows, cols;
    const struct vk_shape *shape;
};
uint32_t phy_vk_mask_count(const struct vk_mask_tile *tile);
/* codes: the tile's top left code; row_stride in codes. */
void phy_vk_mask_apply(const struct vk_mask_tile *tile, void *codes, uint64_t row_stride, enum phy_float_type type);

/* ---- vk_self_test.c ---- */

/* PHY_ERR_DEVICE, not logged, with the operation in `failed`; other failures are logged and leave it empty. */
enum phy_status phy_vk_self_test(struct vk_backend *b, char failed[PHY_VK_FAILED_BYTES]);

#endif
