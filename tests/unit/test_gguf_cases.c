/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF part of the corpus that tests/cases/make_cases.py writes: test_gguf_cases DIR, where DIR has manifest.json.
 */
#define _GNU_SOURCE
#include "support/test.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/gguf.h"
#include "physarium/status.h"

static const char *directory;
static cJSON *manifest;

static int open_case(const cJSON *item, uint64_t *bytes)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", directory, cJSON_GetObjectItem(item, "path")->valuestring);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *bytes = (uint64_t)st.st_size;
    return fd;
}

static void check_mentions(const cJSON *item, const char *member, const char *line)
{
    const cJSON *word;
    cJSON_ArrayForEach(word, cJSON_GetObjectItem(item, member))
    {
        if (!strcasestr(line, word->valuestring))
            fail_msg("%s: '%s' does not mention '%s'", cJSON_GetObjectItem(item, "path")->valuestring, line,
                     word->valuestring);
    }
}

static void check_tensors(const struct phy_gguf *gguf, const cJSON *rows)
{
    size_t index = 0;
    const cJSON *row, *dim;
    cJSON_ArrayForEach(row, rows)
    {
        struct phy_gguf_tensor t;
        phy_gguf_tensor(gguf, index++, &t);
        assert_string_equal(t.name, cJSON_GetObjectItem(row, "name")->valuestring);
        assert_string_equal(t.type_name, cJSON_GetObjectItem(row, "dtype")->valuestring);
        assert_true((double)t.at == cJSON_GetObjectItem(row, "at")->valuedouble);
        assert_true((double)t.bytes == cJSON_GetObjectItem(row, "bytes")->valuedouble);
        uint32_t d = 0;
        cJSON_ArrayForEach(dim, cJSON_GetObjectItem(row, "shape"))
        {
            assert_true((double)t.dims[d++] == dim->valuedouble);
        }
        assert_int_equal(d, t.dim_count);
    }
}

static void gives_every_case_its_exit_code_and_words(void **state)
{
    (void)state;
    unsigned checked = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, manifest)
    {
        if (strcmp(cJSON_GetObjectItem(item, "kind")->valuestring, "gguf") != 0)
            continue;
        uint64_t bytes;
        int fd = open_case(item, &bytes);
        struct log_record record;
        struct phy_host host = recording_host(&record);
        struct phy_gguf_source source = phy_gguf_source_fd(fd, bytes);
        struct phy_gguf *gguf;
        enum phy_status status = phy_gguf_open(&gguf, &source, "the-file", &host);
        const cJSON *expect = cJSON_GetObjectItem(item, "expect");
        int code = cJSON_IsString(expect) ? 0 : expect->valueint;
        if (phy_status_exit_code(status) != code)
            fail_msg("%s: exit %d, not %d: %s", cJSON_GetObjectItem(item, "path")->valuestring,
                     phy_status_exit_code(status), code, record.error);
        check_mentions(item, "must_mention", record.error);
        check_mentions(item, "must_warn", record.warning);
        assert_int_equal(record.errors, code != 0);
        if (code == 0) {
            assert_int_equal(record.warnings, cJSON_HasObjectItem(item, "must_warn"));
            assert_int_equal(phy_gguf_tensor_count(gguf), cJSON_GetObjectItem(item, "tensor_count")->valueint);
            check_tensors(gguf, cJSON_GetObjectItem(item, "tensors"));
        }
        phy_gguf_close(&gguf);
        close(fd);
        checked++;
    }
    assert_true(checked > 30);
}

static void refuses_every_prefix_that_ends_before_the_last_tensor(void **state)
{
    (void)state;
    const cJSON *item;
    cJSON_ArrayForEach(item, manifest)
    {
        const cJSON *complete = cJSON_GetObjectItem(item, "complete_bytes");
        if (strcmp(cJSON_GetObjectItem(item, "kind")->valuestring, "gguf") != 0 || !complete ||
            complete->valuedouble > 100000)
            continue;
        static unsigned char content[100000];
        uint64_t bytes;
        int fd = open_case(item, &bytes);
        assert_true(bytes <= sizeof content && read(fd, content, bytes) == (ssize_t)bytes);
        close(fd);
        for (size_t prefix = 0; prefix <= (size_t)complete->valuedouble; prefix++) {
            struct phy_gguf_source source = phy_gguf_source_memory(content, prefix);
            struct phy_gguf *gguf;
            enum phy_status status = phy_gguf_open(&gguf, &source, "prefix", NULL);
            bool whole = prefix == (size_t)complete->valuedouble;
            if (status != (whole ? PHY_OK : PHY_ERR_FORMAT))
                fail_msg("%s: prefix of %zu bytes: status %d", cJSON_GetObjectItem(item, "path")->valuestring, prefix,
                         status);
            phy_gguf_close(&gguf);
        }
    }
}

int main(int argc, char **argv)
{
    char path[4096];
    static char text[1 << 20];
    directory = argc > 1 ? argv[1] : "";
    snprintf(path, sizeof path, "%s/manifest.json", directory);
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("skipped: no corpus at %s\n", path);
        return 77;
    }
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    manifest = cJSON_Parse(text);
    if (!manifest) {
        printf("%s is not JSON\n", path);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_every_case_its_exit_code_and_words),
        cmocka_unit_test(refuses_every_prefix_that_ends_before_the_last_tensor),
    };
    int failed = cmocka_run_group_tests_name("gguf cases", tests, NULL, NULL);
    cJSON_Delete(manifest);
    return failed;
}
