/* SPDX-License-Identifier: Apache-2.0 */
#include "report/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static int projection_rank(const char *name)
{
    static const char *const order[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
    };
    int rank = 0, count = (int)(sizeof order / sizeof *order);
    while (rank < count && strcmp(order[rank], name) != 0)
        rank++;
    return rank;
}

static int compare_projections(const void *a, const void *b)
{
    const char *left = *(const char *const *)a, *right = *(const char *const *)b;
    int difference = projection_rank(left) - projection_rank(right);
    return difference ? difference : strcmp(left, right);
}

static int compare_layers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static int compare_cells(const void *a, const void *b)
{
    const struct phy_tally_cell *left = a, *right = b;
    if (left->layer != right->layer)
        return left->layer < right->layer ? -1 : 1;
    return left->projection < right->projection ? -1 : left->projection > right->projection;
}

/* Sort and drop repetitions; returns what is left. */
static size_t sort_unique(void *items, size_t count, size_t item_bytes, int (*compare)(const void *, const void *))
{
    char *base = items;
    size_t kept = 0;
    if (count)
        qsort(items, count, item_bytes, compare);
    for (size_t i = 0; i < count; i++) {
        if (kept && compare(base + (kept - 1) * item_bytes, base + i * item_bytes) == 0)
            continue;
        memmove(base + kept++ * item_bytes, base + i * item_bytes, item_bytes);
    }
    return kept;
}

static size_t index_of(const void *key, const void *items, size_t count, size_t item_bytes,
                       int (*compare)(const void *, const void *))
{
    const char *found = bsearch(key, items, count, item_bytes, compare);
    return (size_t)(found - (const char *)items) / item_bytes;
}

static void add_line(struct phy_tally_line *to, const struct phy_tally_line *from)
{
    to->sparsity_min = to->tensors ? fmin(to->sparsity_min, from->sparsity_min) : from->sparsity_min;
    to->sparsity_max = to->tensors ? fmax(to->sparsity_max, from->sparsity_max) : from->sparsity_max;
    to->tensors += from->tensors;
    to->elements += from->elements;
    to->processed += from->processed;
    to->killed += from->killed;
    to->zero_before += from->zero_before;
    to->sparsity_sum += from->sparsity_sum;
}

double phy_tally_sparsity(const struct phy_tally_line *line)
{
    return line->elements ? (double)line->killed / (double)line->elements : 0.0;
}

static struct phy_tally_line line_of(const struct phy_report_tensor *tensor)
{
    struct phy_tally_line line = {.tensors = 1,
                                  .elements = tensor->elements,
                                  .processed = tensor->processed,
                                  .killed = tensor->killed,
                                  .zero_before = tensor->zero_before};
    line.sparsity_sum = line.sparsity_min = line.sparsity_max = phy_tally_sparsity(&line);
    return line;
}

/* One cell for each target, then equal ones merged. */
static void fill_cells(struct phy_tally *tally, const struct phy_report_tensor *tensors, size_t count)
{
    size_t used = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!tensors[i].target)
            continue;
        struct phy_tally_cell *cell = &tally->cells[used++];
        size_t layer =
            index_of(&tensors[i].layer, tally->layers, tally->layer_count, sizeof *tally->layers, compare_layers);
        size_t projection = index_of(&tensors[i].projection, tally->projections, tally->projection_count,
                                     sizeof *tally->projections, compare_projections);
        *cell = (struct phy_tally_cell){(uint32_t)layer, (uint32_t)projection, line_of(&tensors[i])};
        add_line(&tally->layer_lines[layer], &cell->line);
        add_line(&tally->projection_lines[projection], &cell->line);
        add_line(&tally->target, &cell->line);
    }
    if (used)
        qsort(tally->cells, used, sizeof *tally->cells, compare_cells);
    for (size_t i = 0; i < used; i++) {
        if (kept && compare_cells(&tally->cells[kept - 1], &tally->cells[i]) == 0)
            add_line(&tally->cells[kept - 1].line, &tally->cells[i].line);
        else
            tally->cells[kept++] = tally->cells[i];
    }
    tally->cell_count = kept;
}

bool phy_tally_make(struct phy_tally *out, const struct phy_report_tensor *tensors, size_t count)
{
    size_t targets = 0;
    *out = (struct phy_tally){.processed_fits = true};
    for (size_t i = 0; i < count; i++) {
        out->total_tensors++;
        out->total_elements += tensors[i].elements;
        out->total_bytes += tensors[i].bytes;
        targets += tensors[i].target;
        if (tensors[i].target && tensors[i].processed != tensors[i].elements)
            out->processed_fits = false;
    }
    out->projections = phy_alloc(targets, sizeof *out->projections);
    out->layers = phy_alloc(targets, sizeof *out->layers);
    out->cells = phy_alloc(targets, sizeof *out->cells);
    out->projection_lines = phy_zalloc(targets, sizeof *out->projection_lines);
    out->layer_lines = phy_zalloc(targets, sizeof *out->layer_lines);
    if (!out->projections || !out->layers || !out->cells || !out->projection_lines || !out->layer_lines)
        return false;
    targets = 0;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].target) {
            out->projections[targets] = tensors[i].projection;
            out->layers[targets++] = tensors[i].layer;
        }
    }
    out->projection_count = sort_unique(out->projections, targets, sizeof *out->projections, compare_projections);
    out->layer_count = sort_unique(out->layers, targets, sizeof *out->layers, compare_layers);
    fill_cells(out, tensors, count);
    return true;
}

void phy_tally_free(struct phy_tally *tally)
{
    phy_free(tally->projections);
    phy_free(tally->projection_lines);
    phy_free(tally->layers);
    phy_free(tally->layer_lines);
    phy_free(tally->cells);
    *tally = (struct phy_tally){0};
}

/* ---- what stands out ---- */

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

struct outlier_list {
    struct phy_outlier *items;
    size_t count, capacity;
};

static double distance(const struct phy_outlier *outlier)
{
    return fabs(outlier->sparsity - outlier->median);
}

static void insert(struct outlier_list *list, struct phy_outlier outlier)
{
    size_t at = list->count;
    while (at > 0 && distance(&list->items[at - 1]) < distance(&outlier))
        at--;
    if (at == list->capacity)
        return;
    size_t last = list->count < list->capacity ? list->count++ : list->count - 1;
    memmove(&list->items[at + 1], &list->items[at], (last - at) * sizeof *list->items);
    list->items[at] = outlier;
}

/* Judge the candidates of one kind against each other; scratch takes `count` numbers. */
static void judge(struct outlier_list *list, struct phy_outlier *candidates, size_t count, double *scratch)
{
    enum { FEWEST = 5 };
    if (count < FEWEST)
        return;
    for (size_t i = 0; i < count; i++)
        scratch[i] = candidates[i].sparsity;
    double median = median_of(scratch, count);
    for (size_t i = 0; i < count; i++)
        scratch[i] = fabs(candidates[i].sparsity - median);
    double spread = fmax(1.4826 * median_of(scratch, count), 0.002);
    for (size_t i = 0; i < count; i++) {
        candidates[i].median = median;
        if (distance(&candidates[i]) > 3.5 * spread)
            insert(list, candidates[i]);
    }
}

size_t phy_tally_outliers(const struct phy_tally *tally, struct phy_outlier *out, size_t capacity)
{
    struct outlier_list list = {.items = out, .capacity = capacity};
    size_t most = tally->layer_count > tally->cell_count ? tally->layer_count : tally->cell_count;
    struct phy_outlier *candidates = phy_alloc(most, sizeof *candidates);
    double *scratch = phy_alloc(most, sizeof *scratch);
    size_t *starts = phy_zalloc(tally->projection_count + 1, sizeof *starts);
    if (candidates && scratch && starts) {
        size_t count = 0;
        for (size_t i = 0; i < tally->layer_count; i++) {
            if (tally->layers[i] != UINT32_MAX)
                candidates[count++] =
                    (struct phy_outlier){tally->layers[i], UINT32_MAX, phy_tally_sparsity(&tally->layer_lines[i]), 0};
        }
        judge(&list, candidates, count, scratch);
        /* Cells by projection, by counting: one pass however many projections a hostile file has. */
        for (size_t i = 0; i < tally->cell_count; i++)
            starts[tally->cells[i].projection + 1]++;
        for (size_t i = 0; i < tally->projection_count; i++)
            starts[i + 1] += starts[i];
        for (size_t i = 0; i < tally->cell_count; i++) {
            const struct phy_tally_cell *cell = &tally->cells[i];
            candidates[starts[cell->projection]++] =
                (struct phy_outlier){tally->layers[cell->layer], cell->projection, phy_tally_sparsity(&cell->line), 0};
        }
        for (size_t i = 0, begin = 0; i < tally->projection_count; begin = starts[i++])
            judge(&list, candidates + begin, starts[i] - begin, scratch);
    } else {
        list.count = SIZE_MAX;
    }
    phy_free(candidates);
    phy_free(scratch);
    phy_free(starts);
    return list.count;
}
