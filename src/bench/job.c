/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/job.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "report/json.h"

static const struct member {
    const char *key;
    size_t at;
} texts[] = {
    {"op", offsetof(struct phy_bench_job, op)},           {"device", offsetof(struct phy_bench_job, device)},
    {"formats", offsetof(struct phy_bench_job, formats)}, {"shapes", offsetof(struct phy_bench_job, shapes)},
    {"rows", offsetof(struct phy_bench_job, rows)},       {"donor", offsetof(struct phy_bench_job, donor)},
    {"scratch", offsetof(struct phy_bench_job, scratch)}, {"top_k", offsetof(struct phy_bench_job, top_k)},
};
enum { TEXTS = sizeof texts / sizeof *texts };

static char **text_of(struct phy_bench_job *job, size_t i)
{
    return (char **)((char *)job + texts[i].at);
}

char *phy_bench_job_write(const struct phy_bench_job *job)
{
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL;
    for (size_t i = 0; i < TEXTS && ok; i++) {
        /* Paths may be any bytes; cJSON passes them on as they are. */
        const char *text = *text_of((struct phy_bench_job *)job, i);
        ok = !text || cJSON_AddStringToObject(root, texts[i].key, text);
    }
    ok = ok && phy_json_count(root, "threads", job->threads) && phy_json_bool(root, "cold", job->cold) &&
         phy_json_bool(root, "warm", job->warm) && phy_json_bool(root, "quick", job->quick) &&
         phy_json_double(root, "budget_s", job->budget_s) && phy_json_double(root, "timeout_s", job->timeout_s) &&
         phy_json_double(root, "sparsity", job->sparsity);
    char *line = ok ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return line;
}

enum phy_status phy_bench_job_read(struct phy_bench_job *out, const char *text, const struct phy_host *host)
{
    *out = (struct phy_bench_job){0};
    cJSON *root = cJSON_Parse(text);
    bool ok = cJSON_IsObject(root);
    for (size_t i = 0; i < TEXTS && ok; i++) {
        const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, texts[i].key));
        if (value)
            ok = (*text_of(out, i) = phy_strndup(value, strlen(value))) != NULL;
    }
    double threads = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(root, "threads"));
    out->budget_s = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(root, "budget_s"));
    const double timeout = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(root, "timeout_s"));
    out->timeout_s = timeout > 0 ? timeout : 0;
    const double sparsity = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(root, "sparsity"));
    out->sparsity = sparsity >= 0 && sparsity <= 1 ? sparsity : 0.5;
    out->cold = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "cold"));
    out->warm = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "warm"));
    out->quick = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "quick"));
    ok = ok && out->op && out->device && out->budget_s > 0 && threads >= 1 && threads <= 4096;
    out->threads = ok ? (uint32_t)threads : 0;
    cJSON_Delete(root);
    if (ok)
        return PHY_OK;
    phy_bench_job_free(out);
    return phy_fail(host, PHY_ERR_FORMAT, "the worker's job is not one");
}

void phy_bench_job_free(struct phy_bench_job *job)
{
    for (size_t i = 0; i < TEXTS; i++) {
        phy_free(*text_of(job, i));
        *text_of(job, i) = NULL;
    }
}

/* A number from 1 to most at *text, which moves behind it. */
static bool take_number(const char **text, uint32_t most, uint32_t *out)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    unsigned long value = strtoul(*text, &end, 10);
    *text = end;
    *out = (uint32_t)value;
    return value >= 1 && value <= most;
}

enum phy_status phy_bench_parse_shapes(const char *text, struct phy_bench_shape *shapes, size_t *count,
                                       const struct phy_host *host)
{
    const char *at = text;
    for (*count = 0; *count < PHY_BENCH_MAX_LIST; at++) {
        struct phy_bench_shape *shape = &shapes[*count];
        if (!take_number(&at, PHY_BENCH_MAX_SIDE, &shape->rows) || *at++ != 'x' ||
            !take_number(&at, PHY_BENCH_MAX_SIDE, &shape->cols) || (*at && *at != ','))
            break;
        ++*count;
        if (!*at)
            return PHY_OK;
    }
    return phy_fail(host, PHY_ERR_USAGE, "shapes are such as 3584x18944,640x2048, at most %d, not '%.64s'",
                    PHY_BENCH_MAX_LIST, text);
}

enum phy_status phy_bench_parse_numbers(const char *text, uint32_t *numbers, size_t *count, const struct phy_host *host)
{
    const char *at = text;
    for (*count = 0; *count < PHY_BENCH_MAX_LIST; at++) {
        if (!take_number(&at, PHY_BENCH_MAX_X_ROWS, &numbers[*count]) || (*at && *at != ','))
            break;
        ++*count;
        if (!*at)
            return PHY_OK;
    }
    return phy_fail(host, PHY_ERR_USAGE, "numbers of rows are such as 1,8,512, at most %d, not '%.64s'",
                    PHY_BENCH_MAX_LIST, text);
}

enum phy_status phy_bench_parse_top_k(const char *text, struct phy_bench_top_k *out, size_t *count,
                                      const struct phy_host *host)
{
    const char *at = text;
    for (*count = 0; *count < PHY_BENCH_MAX_TOP_K; at++) {
        struct phy_bench_top_k *k = &out[*count];
        if (!take_number(&at, PHY_BENCH_MAX_SIDE, &k->value))
            break;
        k->percent = *at == '%';
        at += k->percent;
        if ((k->percent && k->value > 100) || (*at && *at != ','))
            break;
        ++*count;
        if (!*at)
            return PHY_OK;
    }
    return phy_fail(host, PHY_ERR_USAGE, "numbers of features are such as 25%%,512, at most %d, not '%.64s'",
                    PHY_BENCH_MAX_TOP_K, text);
}

enum phy_status phy_bench_parse_sparsity(const char *text, double *out, const struct phy_host *host)
{
    char *end = "";
    *out = text ? strtod(text, &end) : 0.5;
    if ((text && end == text) || *end || !(*out >= 0 && *out <= 1))
        return phy_fail(host, PHY_ERR_USAGE, "a share of zeros is from 0 to 1, not '%.64s'", text);
    return PHY_OK;
}

bool phy_bench_list_name(const char *list, size_t index, char out[32])
{
    for (; index; index--) {
        list += strcspn(list, ",");
        if (!*list++)
            return false;
    }
    size_t length = strcspn(list, ",");
    if (length == 0 || length > 31)
        return false;
    for (size_t i = 0; i < length; i++)
        out[i] = (char)tolower((unsigned char)list[i]);
    out[length] = 0;
    return true;
}
