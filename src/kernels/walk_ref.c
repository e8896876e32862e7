/* SPDX-License-Identifier: Apache-2.0 */
/* The walk, slow and obvious: 256 columns at a time, in float64. */
#include <assert.h>

#include "kernels/ref_sums.h"
#include "kernels/walk_forms.h"

enum { PART = PHY_WALK_COL_UNIT };
static_assert((int)PHY_REF_PART == (int)PART, "columns at a time");

/* Columns c .. c + count - 1 of a row, count <= PART; c is a multiple of PART. */
static void decode_part(const struct phy_walk_matrix *matrix, size_t row, size_t c, size_t count, float values[PART])
{
    size_t row_bytes, skipped_bytes;
    if (phy_weight_row_bytes(matrix->type, matrix->cols, &row_bytes) &&
        phy_weight_row_bytes(matrix->type, c, &skipped_bytes))
        phy_weight_decode_row(matrix->type, (const uint8_t *)matrix->w + row * row_bytes + skipped_bytes, count,
                              values);
}

/* `count` features, at most FEATURES, times `rows` rows of x. */
enum { FEATURES = 16 };
static_assert((int)PHY_REF_SUMS == (int)PHY_WALK_MAX_ROWS, "rows of x at a time");

static void dot_rows(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                     size_t rows, float *out, size_t stride)
{
    double sum[FEATURES][PHY_REF_SUMS] = {{0}};
    for (size_t c = 0; c < matrix->cols; c += PART) {
        struct phy_ref_columns columns;
        float values[PART];
        size_t part = matrix->cols - c < PART ? matrix->cols - c : PART;
        phy_ref_turn(&columns, x + c, matrix->cols, rows, part);
        for (size_t i = 0; i < count; i++) {
            decode_part(matrix, features[i], c, part, values);
            phy_ref_add_products(sum[i], values, &columns, part);
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < rows; n++)
            out[n * stride + i] = (float)sum[i][n];
    }
}

void phy_walk_dots_rows_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count,
                            const float *x, size_t rows, float *out, size_t stride)
{
    for (size_t i = 0; i < count; i += FEATURES)
        dot_rows(matrix, features + i, count - i < FEATURES ? count - i : FEATURES, x, rows, out + i, stride);
}

void phy_walk_dots_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                       float *out)
{
    phy_walk_dots_rows_ref(matrix, features, count, x, 1, out, count);
}

void phy_walk_add_rows_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a,
                           size_t stride, size_t count, size_t rows, size_t col_begin, size_t col_end, float *y)
{
    for (size_t c = col_begin; c < col_end; c += PART) {
        double sum[PHY_WALK_MAX_ROWS][PART] = {{0}};
        size_t part = col_end - c < PART ? col_end - c : PART;
        for (size_t i = 0; i < count; i++) {
            float values[PART];
            decode_part(matrix, features[i], c, part, values);
            for (size_t n = 0; n < rows; n++) {
                const double factor = (double)a[n * stride + i];
                for (size_t k = 0; k < part && factor != 0; k++)
                    sum[n][k] += factor * (double)values[k];
            }
        }
        for (size_t n = 0; n < rows; n++) {
            for (size_t k = 0; k < part; k++)
                y[n * matrix->cols + c + k] = (float)sum[n][k];
        }
    }
}

void phy_walk_add_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a, size_t count,
                      size_t col_begin, size_t col_end, float *y)
{
    phy_walk_add_rows_ref(matrix, features, a, count, count, 1, col_begin, col_end, y);
}
