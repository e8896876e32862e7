/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that share the work, and devices that are lost over it: the bytes stay the same. */
#define _GNU_SOURCE
#include "support/test.h"

#include <fcntl.h>
#include <stdatomic.h>

#include "cpu/cpu_backend.h"
#include "support/donor_model.h"
#include "surgery/gain_search.h"
#include "surgery/pipeline.h"

static const struct donor_tensor tensors[] = {
    {"embed", "BF16", 100, 10},
    {"model.layers.0.self_attn.q_proj.weight", "BF16", 500, 700},
    {"model.layers.0.mlp.up_proj.weight", "F32", 300, 520},
    {"model.layers.0.mlp.down_proj.weight", "F16", 700, 300},
};
static const struct phy_flow_params flow = {.gain = 3, .beta = 2, .iterations = 8, .block = 64};

/* A device of two slots that works until it is lost, and then leaves the codes alone. */
struct fragile {
    struct phy_backend base;
    struct phy_backend *cpu;
    atomic_int calls_left;
    enum phy_status then;
};

static enum phy_status fragile_flow(struct phy_backend *backend, uint32_t slot, const struct phy_flow_params *params,
                                    struct phy_flow_region *region)
{
    struct fragile *device = (struct fragile *)backend;
    if (atomic_fetch_sub(&device->calls_left, 1) <= 0)
        return device->then;
    return phy_backend_flow(device->cpu, slot, params, region);
}

static void fragile_destroy(struct phy_backend *backend)
{
    phy_backend_destroy(&((struct fragile *)backend)->cpu);
}

static const struct phy_backend_ops fragile_ops = {.flow = fragile_flow, .destroy = fragile_destroy};

static struct log_record record;
static struct phy_host host;
static struct phy_checkpoint *donor;
static struct phy_target_list targets;
static unsigned char *expected;
static size_t expected_bytes;
static struct model_counts counts;

static int setup(void **state)
{
    char *folder = malloc(64);
    donor_enter_folder(folder);
    *state = folder;
    donor_write_safetensors("d.safetensors", tensors, 4, 6, 2);
    assert_int_equal(phy_checkpoint_open(&donor, "d.safetensors", NULL), PHY_OK);
    assert_int_equal(phy_targets_choose(&targets, donor, NULL, NULL), PHY_OK);
    expected = model_shard("d.safetensors", "d.safetensors", 0, &flow, NULL, &expected_bytes, &counts);
    return 0;
}

static int teardown(void **state)
{
    free(expected);
    phy_target_list_free(&targets);
    phy_checkpoint_close(&donor);
    donor_leave_folder(*state);
    free(*state);
    return 0;
}

static void make_fragile(struct fragile *device, const char *name, int calls, enum phy_status then)
{
    *device = (struct fragile){.base = {.ops = &fragile_ops, .slot_count = 2, .region_weights = 1 << 16}, .then = then};
    strcpy(device->base.name, name);
    strcpy(device->base.description, "made of glass");
    atomic_store(&device->calls_left, calls);
    assert_int_equal(phy_cpu_backend_create(&device->cpu, NULL, 2, NULL), PHY_OK);
}

/* Run the pipeline on these devices and compare what it wrote. */
static enum phy_status run(const struct phy_device_set *devices, struct phy_results **results)
{
    struct phy_output output;
    struct phy_journal journal;
    struct phy_output_hash *hash;
    struct phy_buffer_plan buffers;
    struct phy_shard_info shard;
    int fd;
    host = recording_host(&record);
    phy_checkpoint_shard(donor, 0, &shard);
    assert_int_equal(
        phy_output_check(&output,
                         &(struct phy_output_params){.path = "o.safetensors", .single_file = true, .host = &host}),
        PHY_OK);
    assert_int_equal(phy_output_begin(&output), PHY_OK);
    assert_int_equal(phy_output_open_file(&output, output.name, shard.file_bytes, &fd), PHY_OK);
    assert_int_equal(phy_results_open(results, 4, 1, &host), PHY_OK);
    assert_int_equal(phy_output_hash_open(&hash, donor, *results, &host), PHY_OK);
    assert_int_equal(phy_buffer_plan_make(&buffers, 16 << 20, devices, PHY_UNIT_LEAST_BYTES(64), 0, &host), PHY_OK);
    buffers.unit_bytes = 50000; /* many units, so that each device gets some */
    journal = (struct phy_journal){.fd = output.journal_fd};
    enum phy_status status = phy_pipeline_run(&(struct phy_pipeline_params){.donor = donor,
                                                                            .targets = &targets,
                                                                            .flow = flow,
                                                                            .devices = devices,
                                                                            .threads = 2,
                                                                            .buffers = buffers,
                                                                            .output = &output,
                                                                            .results = *results,
                                                                            .hash = hash,
                                                                            .journal = &journal,
                                                                            .progress_type = 1,
                                                                            .host = &host});
    if (status == PHY_OK) {
        unsigned char *got = malloc(expected_bytes);
        assert_int_equal(pread(fd, got, expected_bytes, 0), expected_bytes);
        assert_memory_equal(got, expected, expected_bytes);
        free(got);
        uint64_t killed = 0, weights = 0;
        for (size_t i = 0; i < 4; i++)
            killed += (*results)->tensors[i].killed;
        for (size_t i = 0; i < (*results)->device_count; i++)
            weights += (*results)->devices[i].weights;
        assert_int_equal(killed, counts.killed);
        assert_int_equal(weights, counts.weights);
    }
    close(fd);
    phy_output_hash_close(&hash);
    phy_output_discard(&output);
    phy_output_close(&output);
    return status;
}

static void a_lost_device_is_replaced_by_the_cpu(void **state)
{
    (void)state;
    static const enum phy_status reasons[] = {PHY_ERR_DEVICE, PHY_ERR_MEMORY};
    for (int calls = 0; calls < 12; calls += 3) {
        struct fragile device;
        struct phy_results *results;
        make_fragile(&device, "vulkan:0", calls, reasons[calls % 2]);
        struct phy_backend *list[] = {&device.base};
        assert_int_equal(run(&(struct phy_device_set){list, 1}, &results), PHY_OK);
        assert_int_equal(record.warnings, 1);
        assert_non_null(strstr(record.warning, "vulkan:0 (made of glass)"));
        assert_true(results->tiles_redone > 0);
        assert_int_equal(results->device_count, 2);
        assert_true(results->devices[1].weights > 0);
        assert_true(calls > 0 || results->devices[0].weights == 0);
        phy_results_close(&results);
        fragile_destroy(&device.base);
    }
}

static void devices_share_the_work_and_one_may_be_lost(void **state)
{
    (void)state;
    for (int calls = 2; calls <= 1000; calls += 998) {
        struct fragile one, two;
        struct phy_backend *cpu;
        struct phy_results *results;
        make_fragile(&one, "vulkan:0", 1000, PHY_ERR_DEVICE);
        make_fragile(&two, "vulkan:1", calls, PHY_ERR_DEVICE);
        assert_int_equal(phy_cpu_backend_create(&cpu, "ref", 1, NULL), PHY_OK);
        struct phy_backend *list[] = {cpu, &one.base, &two.base};
        assert_int_equal(run(&(struct phy_device_set){list, 3}, &results), PHY_OK);
        assert_int_equal(results->device_count, 3);
        assert_int_equal(record.warnings, results->tiles_redone > 0);
        phy_results_close(&results);
        phy_backend_destroy(&cpu);
        fragile_destroy(&one.base);
        fragile_destroy(&two.base);
    }
}

static void a_device_that_breaks_its_contract_ends_the_run(void **state)
{
    (void)state;
    struct fragile device;
    struct phy_results *results;
    make_fragile(&device, "vulkan:0", 3, PHY_ERR_INTERNAL);
    struct phy_backend *list[] = {&device.base};
    assert_int_equal(run(&(struct phy_device_set){list, 1}, &results), PHY_ERR_INTERNAL);
    assert_non_null(strstr(record.error, "vulkan:0"));
    phy_results_close(&results);
    fragile_destroy(&device.base);
}

static void a_gain_is_found_though_the_device_is_lost(void **state)
{
    (void)state;
    struct phy_gain_found whole, broken;
    struct fragile device;
    struct phy_backend *cpu;
    assert_int_equal(phy_cpu_backend_create(&cpu, NULL, 2, NULL), PHY_OK);
    make_fragile(&device, "vulkan:0", 5, PHY_ERR_DEVICE);
    struct phy_backend *good[] = {cpu}, *bad[] = {&device.base};
    struct phy_device_set devices = {good, 1};
    struct phy_gain_search_params params = {.donor = donor,
                                            .targets = &targets,
                                            .flow = flow,
                                            .sparsity = 0.7,
                                            .memory_bytes = 8 << 20,
                                            .devices = &devices,
                                            .host = &host};
    assert_int_equal(phy_gain_search(&whole, &params), PHY_OK);
    devices.backends = bad;
    host = recording_host(&record);
    assert_int_equal(phy_gain_search(&broken, &params), PHY_OK);
    assert_true(whole.gain == broken.gain && whole.killed == broken.killed);
    assert_int_equal(record.warnings, 1);
    phy_backend_destroy(&cpu);
    fragile_destroy(&device.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_device_is_replaced_by_the_cpu),
        cmocka_unit_test(devices_share_the_work_and_one_may_be_lost),
        cmocka_unit_test(a_device_that_breaks_its_contract_ends_the_run),
        cmocka_unit_test(a_gain_is_found_though_the_device_is_lost),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
