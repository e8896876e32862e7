/* SPDX-License-Identifier: Apache-2.0 */
/* The shaders of products: which tiles there are, and pipelines, made when first needed. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "vk/vk_matmul_parts.h"

const char *const phy_vk_matmul_tile_names[] = {"rows", "lanes", "subgroup", "matrix", NULL};
const char *const phy_vk_matmul_dot_names[] = {"plain", "dot", NULL};

/* `rows` for drivers on a CPU: a load costs more than several products, neighbours in memory gain nothing. `lanes` for
 * GPUs: 32 neighbours read 512 bytes of a row; sums of a workgroup in shared memory stay below 16 KiB, 128 invocations.
 *
 * `subgroup` is `lanes` with one subgroup to a row: its sums need no shared memory, but have an order of the device's.
 *
 * `matrix` is `lanes`, and vk_matmul_matrix.c's for more than 8 rows of x: GPUs that have the matrices multiply them 8
 * to 16 times as fast as floats. CPUs gain nothing.
 *
 * For 1, up to 4, up to 8 rows of x, and more; of each the fixed choice, then others that vk_matmul_tune.c may find
 * faster. All of a line, and all lines up to 8 rows of x, have the same lanes: their sums have the same order, so that
 * no choice changes a bit. Blocks are unpacked in so many steps that on a CPU 4 rows of x at a time are as fast as 8,
 * in a shader that compiles in half the time. */
static const struct vk_tile_set tile_sets[] = {
    {{{{1, 8, 1, 8, 1}, {1, 32, 1, 8, 1}, {1, 8, 1, 4, 1}, {1, 32, 1, 4, 1}},
      {{1, 8, 1, 8, 4}, {1, 32, 1, 8, 4}, {1, 8, 1, 4, 4}},
      {{1, 8, 1, 8, 8}, {1, 8, 1, 8, 4}},
      {{1, 8, 1, 8, 8}, {1, 8, 1, 8, 4}}},
     {{{1, 8, 1, 8, 1}, {1, 32, 1, 8, 1}, {1, 8, 1, 4, 1}, {1, 32, 1, 4, 1}},
      {{1, 8, 1, 8, 4}, {1, 32, 1, 8, 4}, {1, 8, 1, 4, 4}},
      {{1, 8, 1, 8, 4}, {1, 32, 1, 8, 4}, {1, 8, 1, 4, 4}},
      {{1, 8, 1, 8, 4}, {1, 32, 1, 8, 4}, {1, 8, 1, 4, 4}}}},
    {{{{32, 4, 1, 4, 1}, {32, 2, 1, 4, 1}, {32, 4, 1, 8, 1}, {32, 1, 1, 4, 1}},
      {{32, 4, 1, 4, 4}, {32, 2, 1, 4, 4}, {32, 1, 1, 4, 4}, {32, 2, 1, 8, 4}},
      {{32, 4, 1, 2, 8}, {32, 2, 1, 2, 8}, {32, 4, 1, 4, 4}, {32, 2, 1, 4, 4}},
      {{8, 4, 4, 4, 4}, {8, 8, 2, 4, 4}, {8, 2, 8, 4, 4}, {8, 4, 4, 2, 8}}},
     {{{32, 4, 1, 4, 1}, {32, 2, 1, 4, 1}, {32, 4, 1, 8, 1}, {32, 1, 1, 4, 1}},
      {{32, 4, 1, 4, 4}, {32, 2, 1, 4, 4}, {32, 1, 1, 4, 4}, {32, 2, 1, 8, 4}},
      {{32, 4, 1, 2, 8}, {32, 2, 1, 2, 8}, {32, 4, 1, 4, 4}, {32, 2, 1, 4, 4}},
      {{8, 4, 4, 4, 4}, {8, 8, 2, 4, 4}, {8, 2, 8, 4, 4}, {8, 4, 4, 2, 8}}}},
};

/* As the modules are named in CMakeLists.txt. */
static const char *const module_names[VK_PROGRAM_COUNT] = {
    [VK_PROGRAM_MATMUL] = "matmul",         [VK_PROGRAM_LISTED] = "listed",     [VK_PROGRAM_INT8] = "int8",
    [VK_PROGRAM_INT8_DOT] = "int8dot",      [VK_PROGRAM_DECODE] = "decode",     [VK_PROGRAM_WALK_DOWN] = "walk_down",
    [VK_PROGRAM_WALK_DOWNS] = "walk_downs", [VK_PROGRAM_WALK_SUM] = "walk_sum", [VK_PROGRAM_GATE] = "ffn_gate",
    [VK_PROGRAM_ROUND] = "round_x",         [VK_PROGRAM_SPLIT] = "split",       [VK_PROGRAM_ROUND_BF16] = "round_bf16",
    [VK_PROGRAM_SPLIT_X] = "split_x",
};

static bool has_tiles(enum vk_program program)
{
    return program <= VK_PROGRAM_INT8_DOT;
}

static bool has_type(enum vk_program program)
{
    return program <= VK_PROGRAM_WALK_DOWNS;
}

/* As CMakeLists.txt makes them: where an unpacked weight serves several rows of x. */
static bool has_shiftless(enum vk_program program, enum phy_weight_type type, const struct vk_tile *tile)
{
    if (type >= PHY_WEIGHT_TYPE_COUNT)
        return false;
    if (program == VK_PROGRAM_DECODE || program == VK_PROGRAM_WALK_DOWNS)
        return true;
    return has_tiles(program) && program != VK_PROGRAM_INT8_DOT && tile->rows == 8 && tile->count >= 4;
}

/* What a module's name ends with, after those of its type and tile. */
static const char *ending(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                          const struct vk_tile *tile)
{
    if (m->subgroups && program == VK_PROGRAM_MATMUL)
        return "_subgroup";
    if (m->eights && (program == VK_PROGRAM_WALK_DOWN || program == VK_PROGRAM_WALK_DOWNS))
        return "_eights";
    if (m->texels && phy_weight_is_bitmap(type) && program == VK_PROGRAM_MATMUL)
        return "_texels";
    return m->shiftless && has_shiftless(program, type, tile) ? "_shiftless" : "";
}

static int named(const char *const *names, const char *name)
{
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0)
        i++;
    return names[i] ? i : -1;
}

enum { ROWS, LANES, SUBGROUP, MATRIX }; /* phy_vk_matmul_tile_names */

/* Workgroups of 128, or one subgroup if that is larger. Lists and int8 products use shared memory as `lanes` do. */
static struct vk_tile_set subgroup_tiles(uint32_t size)
{
    const uint32_t rows = size && size < 128 ? 128 / size : 1;
    const struct vk_tile one = {size, rows, 1, 4, 1}, four = {size, rows, 1, 4, 4}, eight = {size, rows, 1, 2, 8};
    return (struct vk_tile_set){.floats = {{one}, {four}, {eight}, {four}}, .blocks = {{one}, {four}, {eight}, {four}}};
}

static int own_tiles(const struct vk_backend *b)
{
    const bool cpu = b->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    return cpu ? ROWS : phy_vk_matrices_run(b) ? MATRIX : LANES;
}

void phy_vk_describe_forms(const struct vk_backend *b, struct phy_device_info *info)
{
    const bool has[] = {
        [ROWS] = true, [LANES] = true, [SUBGROUP] = b->subgroup_size > 0, [MATRIX] = phy_vk_matrices_run(b)};
    size_t used = 0;
    for (int i = 0; phy_vk_matmul_tile_names[i]; i++) {
        if (has[i])
            used += (size_t)snprintf(info->forms + used, sizeof info->forms - used, "%s ", phy_vk_matmul_tile_names[i]);
    }
    snprintf(info->forms + used, sizeof info->forms - used, "%s%s%s", phy_vk_matmul_dot_names[0],
             b->integer_dot ? " " : "", b->integer_dot ? phy_vk_matmul_dot_names[1] : "");
    snprintf(info->own_form, sizeof info->own_form, "%s+%s", phy_vk_matmul_tile_names[own_tiles(b)],
             phy_vk_matmul_dot_names[b->fast_integer_dot]);
}

enum phy_status phy_vk_matmul_choose(struct vk_matmul *m)
{
    int tiles = own_tiles(&m->b);
    if (m->options.tiles)
        tiles = named(phy_vk_matmul_tile_names, m->options.tiles);
    if (tiles < 0)
        return phy_vk_report(&m->b, PHY_ERR_USAGE, "device %s: no tiles \"%.32s\"", m->b.base.name, m->options.tiles);
    m->matrices_on = tiles == MATRIX;
    m->matrices_asked = m->matrices_on && m->options.tiles && !m->options.spoil_matrices;
    if (m->matrices_on && !phy_vk_matrices_run(&m->b))
        return phy_vk_report(&m->b, PHY_ERR_UNSUPPORTED, "device %s (%s) has no cooperative matrices%s", m->b.base.name,
                             m->b.base.description, PHY_VK_MATRICES ? " of binary16" : " in this build");
    if (m->matrices_on)
        tiles = LANES;
    m->tiles_name = phy_vk_matmul_tile_names[tiles];
    m->subgroups = tiles == SUBGROUP;
    m->tiles = m->subgroups ? subgroup_tiles(m->b.subgroup_size) : tile_sets[tiles];
    m->shiftless = tiles == ROWS && m->b.narrow;
    m->texels = tiles == ROWS && m->b.texels;
    m->eights = m->texels && m->b.eights;
    if (m->subgroups && !m->b.subgroup_size)
        return phy_vk_report(&m->b, PHY_ERR_UNSUPPORTED, "device %s (%s) has no full subgroups that add",
                             m->b.base.name, m->b.base.description);
    int dot = m->b.fast_integer_dot;
    if (m->options.dots)
        dot = named(phy_vk_matmul_dot_names, m->options.dots);
    if (dot < 0)
        return phy_vk_report(&m->b, PHY_ERR_USAGE, "device %s: no integer products \"%.32s\"", m->b.base.name,
                             m->options.dots);
    if (dot && !m->b.integer_dot)
        return phy_vk_report(&m->b, PHY_ERR_UNSUPPORTED, "device %s (%s) has no integer dot products", m->b.base.name,
                             m->b.base.description);
    m->int8 = dot ? VK_PROGRAM_INT8_DOT : VK_PROGRAM_INT8;
    return PHY_OK;
}

/* ---- the pipelines that a driver made before ---- */

static bool keeps_files(const struct vk_matmul *m)
{
    return !m->options.cache_directory || m->options.cache_directory[0];
}

void phy_vk_matmul_cache_open(struct vk_matmul *m)
{
    const VkPhysicalDeviceProperties *device = &m->b.properties;
    m->cache_key = (struct vk_cache_key){.vendor = device->vendorID,
                                         .device = device->deviceID,
                                         .driver = device->driverVersion,
                                         .shaders = phy_vk_spirv_digest()};
    memcpy(m->cache_key.uuid, device->pipelineCacheUUID, sizeof m->cache_key.uuid);
    if (!keeps_files(m))
        return;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    void *content = phy_vk_cache_read(m->options.cache_directory, &m->cache_key, "pipelines", &info.initialDataSize);
    info.pInitialData = content;
    /* Without one, pipelines are just made anew. */
    if (m->b.vk.vkCreatePipelineCache(m->b.device, &info, NULL, &m->b.pipeline_cache) != VK_SUCCESS)
        m->b.pipeline_cache = VK_NULL_HANDLE;
    m->cached_bytes = m->b.pipeline_cache ? info.initialDataSize : 0;
    phy_free(content);
}

void phy_vk_matmul_cache_close(struct vk_matmul *m)
{
    VkPipelineCache cache = m->b.pipeline_cache;
    size_t bytes = 0;
    void *content = NULL;
    if (cache && m->made_pipelines && !atomic_load(&m->b.lost) &&
        m->b.vk.vkGetPipelineCacheData(m->b.device, cache, &bytes, NULL) == VK_SUCCESS && bytes != m->cached_bytes)
        content = phy_alloc(bytes, 1);
    if (content && m->b.vk.vkGetPipelineCacheData(m->b.device, cache, &bytes, content) == VK_SUCCESS)
        phy_vk_cache_write(m->options.cache_directory, &m->cache_key, "pipelines", content, bytes);
    phy_free(content);
    m->b.vk.vkDestroyPipelineCache(m->b.device, cache, NULL);
    m->b.pipeline_cache = VK_NULL_HANDLE;
}

/* ---- pipelines ---- */

enum phy_status phy_vk_matmul_make(struct vk_matmul *m, const char *module, const uint32_t *values, uint32_t constants,
                                   uint32_t subgroup, VkPipeline *out)
{
    VkSpecializationMapEntry entries[PHY_MATRIX_SPEC_END];
    for (uint32_t i = 0; i < constants; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    const VkSpecializationInfo info = {
        .mapEntryCount = constants, .pMapEntries = entries, .dataSize = constants * sizeof *values, .pData = values};
    VkShaderModule shader;
    enum phy_status status = phy_vk_module_create(&m->b, phy_vk_spirv_named(module), &shader);
    if (status)
        return status;
    status = phy_vk_subgroup_pipeline_create(&m->b, shader, m->layout, constants ? &info : NULL, subgroup, out);
    m->b.vk.vkDestroyShaderModule(m->b.device, shader, NULL);
    m->made_pipelines = true;
    return status;
}

uint32_t phy_vk_tile_class(size_t count)
{
    return count == 1 ? 0 : count <= 4 ? 1 : count <= PHY_MATVEC_MAX_COUNT ? 2 : 3;
}

static const struct vk_tile *tiles_of(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type)
{
    const bool floats = program == VK_PROGRAM_MATMUL && type < PHY_WEIGHT_FLOAT_COUNT;
    const struct vk_tile_set *set = m->subgroups && program != VK_PROGRAM_MATMUL ? &tile_sets[1] : &m->tiles;
    return floats ? set->floats[0] : set->blocks[0];
}

uint32_t phy_vk_tile_choices(const struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                             size_t count)
{
    const struct vk_tile *tiles = tiles_of(m, program, type) + phy_vk_tile_class(count) * VK_TILE_CHOICES;
    uint32_t choices = 0;
    while (choices < VK_TILE_CHOICES && tiles[choices].rows)
        choices++;
    return choices;
}

/* The first of the same tile, so that it is made once. */
static uint32_t tile_index(const struct vk_tile *tiles, size_t count, uint32_t choice)
{
    const uint32_t index = phy_vk_tile_class(count) * VK_TILE_CHOICES + choice;
    uint32_t first = 0;
    while (memcmp(&tiles[first], &tiles[index], sizeof *tiles) != 0)
        first++;
    return first;
}

enum phy_status phy_vk_matmul_pipeline(struct vk_matmul *m, enum vk_program program, enum phy_weight_type type,
                                       size_t count, uint32_t choice, struct vk_pipe *out)
{
    const struct vk_tile *tiles = tiles_of(m, program, type);
    if (choice >= phy_vk_tile_choices(m, program, type, count))
        choice = 0;
    const uint32_t index = has_tiles(program) ? tile_index(tiles, count, choice) : 0;
    const struct vk_tile *tile = &tiles[index];
    const uint32_t values[PHY_MATMUL_SPEC_COUNT] = {
        [PHY_MATMUL_SPEC_INVOCATIONS] = tile->lanes * tile->row_lanes * tile->count_lanes,
        [PHY_MATMUL_SPEC_LANES] = tile->lanes,
        [PHY_MATMUL_SPEC_ROW_LANES] = tile->row_lanes,
        [PHY_MATMUL_SPEC_COUNT_LANES] = tile->count_lanes,
    };
    VkPipeline *made = &m->pipelines[program][has_type(program) ? type : 0][index];
    char name[48];
    const bool subgroup = m->subgroups && program == VK_PROGRAM_MATMUL;
    const char *end = ending(m, program, type, tile);
    if (has_tiles(program))
        snprintf(name, sizeof name, "%s_%d_%ux%u%s", module_names[program], (int)type, tile->rows, tile->count, end);
    else if (has_type(program))
        snprintf(name, sizeof name, "%s_%d%s", module_names[program], (int)type, end);
    else
        snprintf(name, sizeof name, "%s", module_names[program]);
    if (!*made) {
        enum phy_status status = phy_vk_matmul_make(m, name, values, has_tiles(program) ? PHY_MATMUL_SPEC_COUNT : 0,
                                                    subgroup ? tile->lanes : 0, made);
        if (status)
            return status;
    }
    *out = (struct vk_pipe){.handle = *made, .tile = tile};
    const char *kind = program == VK_PROGRAM_INT8_DOT ? "_dot" : program == VK_PROGRAM_LISTED ? "_listed" : "";
    if (has_tiles(program))
        snprintf(out->form, sizeof out->form, "%s_%ux%u%s", m->subgroups && !subgroup ? "lanes" : m->tiles_name,
                 tile->rows, tile->count, kind);
    else
        snprintf(out->form, sizeof out->form, "%s",
                 module_names[program == VK_PROGRAM_WALK_DOWNS ? VK_PROGRAM_WALK_DOWN : program]);
    return PHY_OK;
}

void phy_vk_matmul_pipelines_destroy(struct vk_matmul *m)
{
    VkPipeline *all = &m->pipelines[0][0][0];
    for (size_t i = 0; i < sizeof m->pipelines / sizeof *all; i++)
        m->b.vk.vkDestroyPipeline(m->b.device, all[i], NULL);
    all = &m->matrix_pipelines[0][0];
    for (size_t i = 0; i < sizeof m->matrix_pipelines / sizeof *all; i++)
        m->b.vk.vkDestroyPipeline(m->b.device, all[i], NULL);
}
