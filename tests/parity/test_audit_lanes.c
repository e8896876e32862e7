/* SPDX-License-Identifier: Apache-2.0 */
/* Devices audited beside each other, one of which is lost midway: what the others measured is all there, bit for bit.
 * Run as: test_audit_lanes vulkan|hardware ("hardware": only a device that is no CPU). */
#include "support/ffn_store_build.h"

#include <cjson/cJSON.h>
#include <pthread.h>

#include "base/alloc.h"
#include "physarium/audit.h"
#include "physarium/tokenizer.h"
#include "vk/vk_backend.h"

static const char model[] = "model";

static int begin(void **state)
{
    size_t bytes;
    scratch_begin(state);
    tiny_copy_changed("gemma3", model, "\"hidden_size\": 64", "\"hidden_size\": 64");
    char *text = read_whole(PHY_TEST_DATA "/golden/tokenizer/tiny-gemma3/tokenizer.json", &bytes);
    write_file("model/tokenizer.json", text, bytes);
    free(text);
    return 0;
}

/* ---- an audit whose Vulkan device is lost, and may come back ---- */

enum { NEVER = 1000 };

/* The CPU's lane is the caller's thread, the Vulkan device has another. Its device is lost `after` more submissions
 * once it has done `lost_at` of its cases, and is back when it has done `back_at`. */
struct loss {
    unsigned lost_at, back_at;
    uint64_t after;
    pthread_t caller;
    unsigned done; /* by the other lane */
};

static void on_progress(void *user, const struct phy_progress *at)
{
    struct loss *loss = user;
    if (strcmp(at->stage, "audit") != 0 || pthread_equal(pthread_self(), loss->caller))
        return;
    loss->done++;
    if (loss->done == loss->lost_at)
        phy_vk_lose_device_after(loss->after);
    if (loss->done == loss->back_at)
        phy_vk_lose_device_after(UINT64_MAX);
}

static void put_text(void *user, const char *text, size_t bytes)
{
    *(cJSON **)user = cJSON_ParseWithLength(text, bytes);
}

/* audit.json of it, the caller's. */
static cJSON *audit(struct loss *loss, bool passes)
{
    struct phy_audit *done;
    struct phy_host host = {.user = loss, .progress = on_progress};
    const struct phy_audit_params params = {.donor = model,
                                            .paths = "exact,full_mmap,interleaved,sparse",
                                            .device = "cpu:ref,cpu,vulkan",
                                            .threads = 2,
                                            .host = &host};
    cJSON *report = NULL;
    loss->caller = pthread_self();
    assert_int_equal(phy_audit_run(&done, &params), PHY_OK);
    phy_vk_lose_device_after(UINT64_MAX);
    assert_true(phy_audit_passed(done) == passes);
    assert_int_equal(phy_audit_put(done, PHY_AUDIT_JSON, put_text, &report), PHY_OK);
    phy_audit_free(&done);
    assert_non_null(report);
    return report;
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void expect_loss(const cJSON *run)
{
    const cJSON *cause;
    bool said = false;
    assert_string_equal(text_of(run, "verdict"), "fail");
    cJSON_ArrayForEach(cause, cJSON_GetObjectItem(run, "causes"))
    {
        printf("%s on %s: %s\n", text_of(run, "path"), text_of(run, "device"), cJSON_GetStringValue(cause));
        said |= strstr(cJSON_GetStringValue(cause), "was lost") != NULL;
    }
    assert_true(said);
}

static void expect_same(const cJSON *run, const cJSON *expected)
{
    char *a = cJSON_PrintUnformatted(expected), *b = cJSON_PrintUnformatted(run);
    if (strcmp(a, b) != 0)
        fail_msg("%s on %s:\n%s\nis now\n%s", text_of(run, "path"), text_of(run, "device"), a, b);
    cJSON_free(a);
    cJSON_free(b);
}

/* Runs are in the order of the plan. Those of the Vulkan device before the loss are as they were; the one at work fails
 * and says why; the later ones fail, too, unless the device has come back. */
static void check_loss(const cJSON *whole, unsigned lost_at, uint64_t after, bool comes_back)
{
    struct loss loss = {.lost_at = lost_at, .back_at = comes_back ? lost_at + 1 : NEVER, .after = after};
    cJSON *got = audit(&loss, false);
    const cJSON *runs = cJSON_GetObjectItem(got, "runs"), *run = cJSON_GetArrayItem(runs, 0), *expected;
    unsigned vulkan = 0, cpu = 0;
    cJSON_ArrayForEach(expected, cJSON_GetObjectItem(whole, "runs"))
    {
        const bool is_vulkan = strncmp(text_of(expected, "device"), "vulkan:", 7) == 0;
        assert_non_null(run);
        assert_string_equal(text_of(run, "path"), text_of(expected, "path"));
        assert_string_equal(text_of(run, "device"), text_of(expected, "device"));
        if (is_vulkan && (vulkan == lost_at || (vulkan > lost_at && !comes_back)))
            expect_loss(run);
        else
            expect_same(run, expected);
        vulkan += is_vulkan;
        cpu += !is_vulkan;
        run = run->next;
    }
    assert_null(run);
    assert_true(vulkan > lost_at + 1 && cpu >= vulkan);
    assert_int_equal(loss.done, vulkan); /* it had a lane of its own, and went through all of its cases */
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(got, "skipped")), 0);
    cJSON_Delete(got);
}

static void other_lanes_are_complete_when_a_device_is_lost(void **state)
{
    (void)state;
    struct loss none = {.lost_at = NEVER, .back_at = NEVER};
    cJSON *whole = audit(&none, true);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(whole, "skipped")), 0);
    /* A run submits something for each of 4 layers x 3 prompts in the dual pass, and again in the driven one. Here the
     * second run loads matrices of a new kind, too, and is lost in the dual pass; the third is lost in the driven one.
     */
    check_loss(whole, 1, 10, true);
    check_loss(whole, 2, 14, false);
    cJSON_Delete(whole);
}

static bool there_is_a_device(bool hardware)
{
    struct phy_device_info *found;
    size_t count, usable = 0;
    char note[PHY_VK_NOTE_BYTES];
    if (phy_vk_list(&found, &count, note, NULL) != PHY_OK)
        return false;
    for (size_t i = 0; i < count; i++)
        usable += !hardware || strcmp(found[i].type, "cpu") != 0;
    phy_free(found);
    if (!usable)
        printf("SKIPPED: %s\n", count ? "no Vulkan device that is not a CPU" : note);
    return usable > 0;
}

int main(int argc, char **argv)
{
    if (!there_is_a_device(argc > 1 && strcmp(argv[1], "hardware") == 0))
        return 77;
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_lanes_are_complete_when_a_device_is_lost)};
    return cmocka_run_group_tests(tests, begin, scratch_end);
}
