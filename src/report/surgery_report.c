/* SPDX-License-Identifier: Apache-2.0 */
#include "report/surgery_report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked_math.h"
#include "base/io.h"
#include "base/log.h"
#include "report/surgery_parts.h"

/* ---- checking ---- */

static enum phy_status check_target(const struct phy_report_tensor *tensor, const struct phy_host *host)
{
    char name[PHY_QUOTED_BYTES];
    uint64_t elements, spent;
    phy_quote(name, tensor->name, tensor->name_bytes);
    if (!phy_mul_u64(tensor->rows, tensor->cols, &elements) || elements != tensor->elements)
        return phy_fail(host, PHY_ERR_INTERNAL,
                        "report: tensor %s: %" PRIu64 " x %" PRIu64 " is not %" PRIu64 " elements", name, tensor->rows,
                        tensor->cols, tensor->elements);
    if (!phy_add_u64(tensor->killed, tensor->zero_before, &spent) || spent > tensor->processed ||
        tensor->processed > elements)
        return phy_fail(host, PHY_ERR_INTERNAL,
                        "report: tensor %s: %" PRIu64 " killed and %" PRIu64 " zero of %" PRIu64 " processed, %" PRIu64
                        " in its shape",
                        name, tensor->killed, tensor->zero_before, tensor->processed, elements);
    if (!tensor->projection)
        return phy_fail(host, PHY_ERR_INTERNAL, "report: tensor %s: a target without a projection", name);
    return PHY_OK;
}

static enum phy_status check_counts(const struct phy_surgery_record *record, const struct phy_host *host)
{
    uint64_t elements = 0, bytes = 0;
    enum phy_status status = PHY_OK;
    for (size_t i = 0; status == PHY_OK && i < record->tensor_count; i++) {
        const struct phy_report_tensor *tensor = &record->tensors[i];
        if (tensor->target)
            status = check_target(tensor, host);
        if (!phy_add_u64(elements, tensor->elements, &elements) || !phy_add_u64(bytes, tensor->bytes, &bytes))
            status = phy_fail(host, PHY_ERR_INTERNAL, "report: the tensors' sizes add up to more than 2^64");
    }
    return status;
}

/* ---- what was not done ---- */

static char *next_sentence(struct phy_surgery_view *view)
{
    return view->not_done[view->not_done_count++];
}

static void say_what_was_not_done(struct phy_surgery_view *view)
{
    const struct phy_tally *tally = &view->tally;
    uint64_t other_tensors = tally->total_tensors - tally->target.tensors;
    if (!view->record->calibration_name)
        snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
                 "No calibration: a weight's worth is %s alone, activations were not looked at.",
                 view->record->method && strcmp(view->record->method, "ria") == 0 ? "its share of its row and column"
                                                                                  : "its magnitude");
    if (view->record->pattern)
        snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
                 "No sparsity was asked for: the pattern decides, group by group.");
    else if (!(view->record->sparsity_asked > 0))
        snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
                 "No sparsity was asked for: the gain decides, and the sparsity is what came out.");
    snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
             "No retraining and no compensation: every surviving weight keeps its bits.");
    if (!view->record->eval)
        snprintf(
            next_sentence(view), PHY_NOT_DONE_BYTES,
            "Quality was not measured: the pruned model was not run, so neither perplexity nor any task is known.");
    snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
             "%" PRIu64 " of %" PRIu64 " tensors are not targets: they were copied, not pruned or judged.",
             other_tensors, tally->total_tensors);
    snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
             "Nothing was made smaller: zeros are stored like other weights, in files of the same size.");
    snprintf(next_sentence(view), PHY_NOT_DONE_BYTES,
             "This report is the program's own account: physarium coverage DONOR OUT compares the bytes without "
             "trusting it.");
}

/* Reports hold no paths: whatever the caller passed, only the last part of it is kept. */
static const char *last_part(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

static void take_record(struct phy_surgery_view *view, const struct phy_surgery_record *record)
{
    view->kept = *record;
    view->kept.donor_name = last_part(record->donor_name);
    view->kept.output_name = last_part(record->output_name);
    view->kept.calibration_name = last_part(record->calibration_name);
    view->kept.eval_text_name = last_part(record->eval_text_name);
    view->record = &view->kept;
}

/* ---- writing ---- */

struct report_file {
    int fd;
    const char *name;
    const struct phy_host *host;
};

static enum phy_status fail_write(const struct report_file *file, int error)
{
    return phy_fail(file->host, PHY_ERR_IO, "physarium/%s: %s", file->name, strerror(error));
}

/* Write what the text holds and empty it, keeping its memory. */
static enum phy_status flush_text(const struct report_file *file, struct phy_text *text)
{
    if (text->failed)
        return phy_fail(file->host, PHY_ERR_MEMORY, "out of memory for physarium/%s", file->name);
    int error = phy_write_all(file->fd, text->data, text->bytes);
    text->bytes = 0;
    return error ? fail_write(file, error) : PHY_OK;
}

static enum phy_status open_file(struct report_file *file, int dir_fd, const char *name, const struct phy_host *host)
{
    *file = (struct report_file){.name = name, .host = host};
    file->fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    return file->fd < 0 ? fail_write(file, errno) : PHY_OK;
}

static enum phy_status close_file(const struct report_file *file, enum phy_status status)
{
    int error = status == PHY_OK ? phy_fsync(file->fd) : 0;
    int close_error = phy_close(file->fd);
    error = error ? error : close_error;
    return status == PHY_OK && error ? fail_write(file, error) : status;
}

typedef void put_part(struct phy_text *out, const struct phy_surgery_view *view);

static enum phy_status write_part(int dir_fd, const char *name, put_part *put, const struct phy_surgery_view *view,
                                  const struct phy_host *host)
{
    struct report_file file;
    struct phy_text text = {0};
    enum phy_status status = open_file(&file, dir_fd, name, host);
    if (status != PHY_OK)
        return status;
    put(&text, view);
    status = close_file(&file, flush_text(&file, &text));
    phy_text_free(&text);
    return status;
}

#define TENSORS "tensors.jsonl"
static const struct {
    const char *name;
    put_part *put;
} parts[] = {
    {"coverage.json", phy_coverage_put_json},
    {"surgery.json", phy_surgery_put_json},
    {"surgery.md", phy_surgery_put_markdown},
    {"surgery.html", phy_surgery_put_html},
};
enum { PARTS = sizeof parts / sizeof *parts };

bool phy_report_is_of_surgery(const char *name)
{
    bool is = strcmp(name, TENSORS) == 0;
    for (size_t i = 0; i < PARTS; i++)
        is = is || strcmp(name, parts[i].name) == 0;
    return is;
}

static enum phy_status write_tensors(int dir_fd, const struct phy_surgery_record *record, const struct phy_host *host)
{
    enum { PIECE_BYTES = 1 << 20 };
    struct report_file file;
    struct phy_text text = {0};
    enum phy_status status = open_file(&file, dir_fd, TENSORS, host);
    if (status != PHY_OK)
        return status;
    for (size_t i = 0; status == PHY_OK && i < record->tensor_count; i++) {
        phy_tensor_put_jsonl(&text, &record->tensors[i]);
        if (text.failed || text.bytes >= PIECE_BYTES || i + 1 == record->tensor_count)
            status = flush_text(&file, &text);
    }
    phy_text_free(&text);
    return close_file(&file, status);
}

static enum phy_status write_all(int dir_fd, const struct phy_surgery_view *view, const struct phy_host *host)
{
    enum phy_status status = write_tensors(dir_fd, view->record, host);
    for (size_t i = 0; status == PHY_OK && i < PARTS; i++)
        status = write_part(dir_fd, parts[i].name, parts[i].put, view, host);
    if (status == PHY_OK && !view->tally.processed_fits)
        status =
            phy_fail(host, PHY_ERR_INTERNAL, "report: %" PRIu64 " weights processed, the targets' shapes have %" PRIu64,
                     view->tally.target.processed, view->tally.target.elements);
    return status;
}

enum phy_status phy_report_write_surgery(int dir_fd, const struct phy_surgery_record *record,
                                         const struct phy_host *host)
{
    enum phy_status status = check_counts(record, host);
    if (status != PHY_OK)
        return status;
    struct phy_surgery_view *view = phy_zalloc(1, sizeof *view);
    if (!view)
        return phy_fail_memory(host, "the reports", sizeof *view);
    take_record(view, record);
    if (phy_tally_make(&view->tally, record->tensors, record->tensor_count))
        view->outlier_count = phy_tally_outliers(&view->tally, view->outliers, PHY_OUTLIER_LIMIT);
    else
        view->outlier_count = SIZE_MAX;
    if (view->outlier_count == SIZE_MAX) {
        status = phy_fail_memory(host, "the reports' tables", record->tensor_count * sizeof(struct phy_tally_cell));
    } else {
        say_what_was_not_done(view);
        status = write_all(dir_fd, view, host);
    }
    phy_tally_free(&view->tally);
    phy_free(view);
    return status;
}
