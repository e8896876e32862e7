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

/* `count` features, at most PHY_REF_SUMS. */
static void dot_rows(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                     float *out)
{
    double sum[PHY_REF_SUMS] = {0};
    for (size_t c = 0; c < matrix->cols; c += PART) {
        struct phy_ref_columns rows;
        float values[PHY_REF_SUMS][PART];
        size_t part = matrix->cols - c < PART ? matrix->cols - c : PART;
        for (size_t i = 0; i < count; i++)
            decode_part(matrix, features[i], c, part, values[i]);
        phy_ref_turn(&rows, values[0], PART, count, part);
        phy_ref_add_products(sum, x + c, &rows, part);
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)sum[i];
}

void phy_walk_dots_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, size_t count, const float *x,
                       float *out)
{
    for (size_t i = 0; i < count; i += PHY_REF_SUMS)
        dot_rows(matrix, features + i, count - i < PHY_REF_SUMS ? count - i : PHY_REF_SUMS, x, out + i);
}

void phy_walk_add_ref(const struct phy_walk_matrix *matrix, const uint32_t *features, const float *a, size_t count,
                      size_t col_begin, size_t col_end, float *y)
{
    for (size_t c = col_begin; c < col_end; c += PART) {
        double sum[PART] = {0};
        size_t part = col_end - c < PART ? col_end - c : PART;
        for (size_t i = 0; i < count; i++) {
            float values[PART];
            decode_part(matrix, features[i], c, part, values);
            for (size_t k = 0; k < part; k++)
                sum[k] += (double)a[i] * (double)values[k];
        }
        for (size_t k = 0; k < part; k++)
            y[c + k] = (float)sum[k];
    }
}
