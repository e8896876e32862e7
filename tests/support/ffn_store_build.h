/* SPDX-License-Identifier: Apache-2.0 */
/* Stores of the tiny models, and what must be in them. */
#ifndef PHY_TESTS_SUPPORT_FFN_STORE_BUILD_H
#define PHY_TESTS_SUPPORT_FFN_STORE_BUILD_H

#include "support/tiny_model.h"

#include "ffn/store.h"
#include "ffn/store_donor.h"
#include "quant/weight_type.h"

static inline enum phy_status quantize_with(struct phy_quantize_params params, struct log_record *record,
                                            struct phy_quantize_result *result)
{
    struct phy_host host = recording_host(record);
    if (!params.host)
        params.host = &host;
    return phy_quantize_run(&params, result);
}

static inline void make_store(const char *donor, const char *output, const char *scheme, const char *layout,
                              uint32_t threads)
{
    struct log_record record;
    struct phy_quantize_result result;
    if (quantize_with(
            (struct phy_quantize_params){
                .donor = donor, .output = output, .scheme = scheme, .layout = layout, .threads = threads},
            &record, &result) != PHY_OK)
        fail_msg("%s: %s", scheme, record.error);
}

static inline struct phy_ffn_store *open_store(const char *path)
{
    struct log_record record;
    struct phy_host host = recording_host(&record);
    struct phy_ffn_store *store;
    if (phy_ffn_store_open(&store, path, &(struct phy_ffn_store_params){.host = &host}) != PHY_OK)
        fail_msg("%s: %s", path, record.error);
    phy_ffn_store_close(&store);
    assert_int_equal(phy_ffn_store_open(&store, path, NULL), PHY_OK); /* the record does not outlive this call */
    return store;
}

/* A donor's gate, up or down as floats (rows, cols); the caller's. */
static inline float *donor_floats(const char *donor, uint32_t layer, enum phy_ffn_source source, size_t *rows,
                                  size_t *cols)
{
    struct phy_donor d;
    struct phy_donor_tensor t;
    assert_int_equal(phy_donor_open(&d, donor, NULL), PHY_OK);
    assert_int_equal(phy_donor_ffn(&d, layer, source, &t), PHY_OK);
    uint8_t *bytes = malloc(t.bytes);
    assert_int_equal(phy_checkpoint_read(d.checkpoint, t.shard, t.at, bytes, t.bytes), PHY_OK);
    float *out = malloc(t.rows * t.cols * sizeof *out);
    phy_donor_widen(out, bytes, t.type, t.rows * t.cols);
    *rows = t.rows;
    *cols = t.cols;
    free(bytes);
    phy_donor_close(&d);
    return out;
}

static inline void assert_same_file(const char *folder_a, const char *folder_b, const char *name)
{
    char path[PATH_MAX];
    size_t a_bytes, b_bytes;
    snprintf(path, sizeof path, "%s/%s", folder_a, name);
    char *a = read_whole(path, &a_bytes);
    snprintf(path, sizeof path, "%s/%s", folder_b, name);
    char *b = read_whole(path, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a, b, a_bytes);
    free(a);
    free(b);
}

/* Row `row` of the stored matrix holds the encoded row `from` (cols). */
static inline void check_row(const struct phy_weights *w, size_t row, const float *from)
{
    size_t row_bytes;
    assert_true(phy_weight_row_bytes(w->type, w->cols, &row_bytes));
    uint8_t *expected = malloc(row_bytes);
    float *decoded = malloc(w->cols * sizeof *decoded), *again = malloc(w->cols * sizeof *again);
    assert_true(phy_weight_encode_row(w->type, from, w->cols, expected));
    assert_memory_equal((const uint8_t *)w->data + row * row_bytes, expected, row_bytes);
    phy_weight_decode_row(w->type, expected, w->cols, again);
    phy_store_decode_rows(w, row, row + 1, decoded);
    assert_memory_equal(decoded, again, w->cols * sizeof *decoded);
    free(expected);
    free(decoded);
    free(again);
}

static inline void check_source(const struct phy_store_layer *layer, enum phy_ffn_source source, const float *w,
                                size_t rows, size_t cols)
{
    const struct phy_weights *own = source == PHY_FFN_GATE ? &layer->gate
                                    : source == PHY_FFN_UP ? &layer->up
                                                           : &layer->down;
    float *column = malloc(rows * sizeof *column);
    if (own->data) {
        assert_int_equal(own->rows, rows);
        assert_int_equal(own->cols, cols);
        for (size_t r = 0; r < rows; r++)
            check_row(own, r, w + r * cols);
    } else if (source == PHY_FFN_DOWN) {
        assert_int_equal(layer->down_by_feature.rows, cols);
        for (size_t c = 0; c < cols; c++) {
            for (size_t r = 0; r < rows; r++)
                column[r] = w[r * cols + c];
            check_row(&layer->down_by_feature, c, column);
        }
    } else {
        assert_int_equal(layer->gate_up.rows, 2 * rows);
        for (size_t r = 0; r < rows; r++)
            check_row(&layer->gate_up, 2 * r + (source == PHY_FFN_UP), w + r * cols);
    }
    free(column);
}

static inline void check_whole(const char *donor, const char *path)
{
    struct phy_ffn_store *store = open_store(path);
    struct phy_ffn_store_info info;
    phy_ffn_store_describe(store, &info);
    for (uint32_t l = 0; l < info.layer_count; l++) {
        const struct phy_store_layer *layer = phy_ffn_store_layer(store, l);
        assert_true(layer->present);
        for (int s = 0; s < PHY_FFN_SOURCE_COUNT; s++) {
            size_t rows, cols;
            float *w = donor_floats(donor, l, (enum phy_ffn_source)s, &rows, &cols);
            check_source(layer, (enum phy_ffn_source)s, w, rows, cols);
            free(w);
        }
    }
    assert_false(phy_ffn_store_torn(store));
    phy_ffn_store_close(&store);
}

#endif
