/* SPDX-License-Identifier: Apache-2.0 */
/* The body of the AVX forms: the reference's steps as loops that the compiler turns into the vectors of the file's
 * flags. The threshold is found by a radix select over the score's bits, O(cols) for a row. RANK_FORM names the form.
 */
#include "kernels/rank_rows_forms.h"

/* Magnitudes of a row, subnormals as zero; returns the largest and counts zeros of either sign. */
#define MAGNITUDES(name, code_type, is_zero, widened)                                                                  \
    static uint32_t name(const void *codes, size_t n, uint32_t *restrict out, uint32_t *zeros)                         \
    {                                                                                                                  \
        const code_type *restrict from = codes;                                                                        \
        uint32_t peak = 0, zero_count = 0;                                                                             \
        for (size_t j = 0; j < n; j++) {                                                                               \
            uint32_t code = from[j], bits = widened;                                                                   \
            zero_count += is_zero;                                                                                     \
            bits = phy_rank_flushed(bits);                                                                             \
            peak = bits > peak ? bits : peak;                                                                          \
            out[j] = bits;                                                                                             \
        }                                                                                                              \
        *zeros = zero_count;                                                                                           \
        return peak;                                                                                                   \
    }

/* binary16 shifted into place is the value times 2^-112, subnormals too; infinity and NaN keep no payload. */
static inline uint32_t widen_f16(uint32_t magnitude)
{
    uint32_t bits = phy_bits_of_float(phy_float_of_bits(magnitude << 13) * 0x1p112f);
    uint32_t finite = 0u - (uint32_t)(magnitude < 0x7C00u);
    return (bits & finite) | (0x7F800000u & ~finite);
}

MAGNITUDES(magnitudes_bf16, uint16_t, (code & 0x7FFFu) == 0, (code & 0x7FFFu) << 16)
MAGNITUDES(magnitudes_f16, uint16_t, (code & 0x7FFFu) == 0, widen_f16(code & 0x7FFFu))
MAGNITUDES(magnitudes_f32, uint32_t, (code & 0x7FFFFFFFu) == 0, code & 0x7FFFFFFFu)

/* Several sums side by side: consecutive weights mostly fall into the same bin, and would wait for one another. */
static float inverse_row_sum(const uint32_t *magnitudes, size_t n)
{
    enum { WAYS = 4 };
    uint64_t bins[WAYS][PHY_RANK_BINS] = {{0}};
    size_t j = 0;
    while (j < n) {
        size_t end = n - j < PHY_RANK_SUM_MOST ? n : j + PHY_RANK_SUM_MOST;
        for (; j < end; j++) {
            uint32_t bits = magnitudes[j];
            if (bits != 0 && bits < PHY_FLOW_FOOD_LIMIT_BITS)
                phy_rank_add(bins[j % WAYS], 1, bits);
        }
        for (size_t way = 0; way < WAYS; way++)
            phy_rank_fold(bins[way], 1);
    }
    for (size_t way = 1; way < WAYS; way++) {
        for (size_t k = 0; k < PHY_RANK_BINS; k++)
            bins[0][k] += bins[way][k];
    }
    phy_rank_fold(bins[0], 1);
    return phy_rank_inverse(bins[0], 1);
}

static uint32_t score_wanda(uint32_t *restrict scores, const float *restrict scale, size_t n)
{
    uint32_t peak = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = phy_rank_flushed(phy_bits_of_float(phy_float_of_bits(scores[j]) * scale[j]));
        peak = bits > peak ? bits : peak;
        scores[j] = bits;
    }
    return peak;
}

static void score_ria(uint32_t *restrict scores, float row_inverse, const float *restrict inverse,
                      const float *restrict root, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        float a = phy_float_of_bits(scores[j]) * (row_inverse + inverse[j]);
        scores[j] = phy_bits_of_float(a);
    }
    if (root) {
        for (size_t j = 0; j < n; j++)
            scores[j] = phy_bits_of_float(phy_float_of_bits(scores[j]) * root[j]);
    }
    for (size_t j = 0; j < n; j++)
        scores[j] = phy_rank_flushed(scores[j]);
}

/* The digit of the `kill`-th lowest of n values, counted from 1; *kill becomes its rank among those of that digit. */
static uint32_t select_digit(const uint32_t *values, size_t n, int shift, uint32_t mask, uint64_t *kill)
{
    uint32_t counts[2][256] = {{0}};
    size_t j = 0;
    for (; j + 1 < n; j += 2) {
        counts[0][values[j] >> shift & mask]++;
        counts[1][values[j + 1] >> shift & mask]++;
    }
    if (j < n)
        counts[0][values[j] >> shift & mask]++;
    for (uint32_t digit = 0;; digit++) {
        uint64_t count = (uint64_t)counts[0][digit] + counts[1][digit];
        if (*kill <= count)
            return digit;
        *kill -= count;
    }
}

/* Keep the values whose digit it is. */
static size_t keep_digit(const uint32_t *values, size_t n, int shift, uint32_t mask, uint32_t digit, uint32_t *out)
{
    size_t kept = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t value = values[j];
        out[kept] = value;
        kept += (value >> shift & mask) == digit;
    }
    return kept;
}

/* The score of rank `kill`, counted from 1, and how many of its equals are to go. Scores are below 2^31. */
static uint32_t threshold(const uint32_t *scores, size_t n, uint64_t *kill, uint32_t *spare)
{
    static const struct {
        int shift;
        uint32_t mask;
    } digits[] = {{23, 0xFF}, {15, 0xFF}, {7, 0xFF}, {0, 0x7F}};
    uint32_t value = 0;
    const uint32_t *values = scores;
    for (int i = 0; i < 4; i++) {
        uint32_t digit = select_digit(values, n, digits[i].shift, digits[i].mask, kill);
        value |= digit << digits[i].shift;
        n = keep_digit(values, n, digits[i].shift, digits[i].mask, digit, spare);
        values = spare;
    }
    return value;
}

/* Kill what scores less than `limit`. */
#define CLEAR_BELOW(name, code_type, magnitude_mask)                                                                   \
    static uint32_t name(void *codes, const uint32_t *restrict scores, size_t n, uint32_t limit, bool apply)           \
    {                                                                                                                  \
        code_type *restrict at = codes;                                                                                \
        uint32_t killed = 0;                                                                                           \
        for (size_t j = 0; j < n; j++)                                                                                 \
            killed += (uint32_t)(scores[j] < limit) & (uint32_t)((at[j] & magnitude_mask) != 0);                       \
        for (size_t j = 0; apply && j < n; j++) {                                                                      \
            code_type code = at[j];                                                                                    \
            bool dead = (scores[j] < limit) & ((code & magnitude_mask) != 0);                                          \
            at[j] = dead ? 0 : code;                                                                                   \
        }                                                                                                              \
        return killed;                                                                                                 \
    }

CLEAR_BELOW(clear_below_16, uint16_t, 0x7FFFu)
CLEAR_BELOW(clear_below_32, uint32_t, 0x7FFFFFFFu)

static uint32_t clear_below(const struct phy_rank_rows *rows, size_t index, const uint32_t *scores, size_t n,
                            uint32_t limit)
{
    return rows->type == PHY_FLOAT_F32 ? clear_below_32((uint32_t *)rows->codes + index, scores, n, limit, rows->apply)
                                       : clear_below_16((uint16_t *)rows->codes + index, scores, n, limit, rows->apply);
}

/* The column behind the last of `ties` scores that equal `value`. */
static size_t end_of_ties(const uint32_t *scores, size_t n, uint32_t value, uint64_t ties)
{
    enum { STEP = 128 };
    size_t j = 0;
    for (; n - j > STEP; j += STEP) {
        uint32_t here = 0;
        for (size_t k = 0; k < STEP; k++)
            here += scores[j + k] == value;
        if (here >= ties)
            break;
        ties -= here;
    }
    for (; ties > 0 && j < n; j++)
        ties -= scores[j] == value;
    return j;
}

static uint32_t kill_quota(const struct phy_rank_rows *rows, size_t index, uint32_t *scores, uint64_t kill)
{
    if (kill == 0)
        return 0;
    uint32_t limit = threshold(scores, rows->cols, &kill, scores + rows->cols);
    size_t end = end_of_ties(scores, rows->cols, limit, kill);
    return clear_below(rows, index, scores, end, limit + 1) +
           clear_below(rows, index + end, scores + end, rows->cols - end, limit);
}

/* Scores of one group become 0 for those that go and 1 for those that stay. */
static inline __attribute__((always_inline)) void mark_group(uint32_t *scores, uint32_t n, uint32_t kill)
{
    uint32_t rank[PHY_RANK_MAX_GROUP] = {0};
    for (uint32_t a = 0; a < n; a++) {
        for (uint32_t b = a + 1; b < n; b++) {
            uint32_t first = scores[a] <= scores[b];
            rank[b] += first;
            rank[a] += 1 - first;
        }
    }
    for (uint32_t a = 0; a < n; a++)
        scores[a] = rank[a] >= kill;
}

static uint32_t kill_groups(const struct phy_rank_rows *rows, size_t index, uint32_t *scores,
                            const struct phy_rank_params *params)
{
    const uint32_t group = params->group, kill = phy_rank_group_kill(params, group);
    size_t j = 0;
    for (; group == 4 && rows->cols - j >= 4; j += 4)
        mark_group(scores + j, 4, kill);
    for (; group == 8 && rows->cols - j >= 8; j += 8)
        mark_group(scores + j, 8, kill);
    for (; j < rows->cols; j += group) {
        size_t n = rows->cols - j < group ? rows->cols - j : group;
        mark_group(scores + j, (uint32_t)n, phy_rank_group_kill(params, n));
    }
    return clear_below(rows, index, scores, rows->cols, 1);
}

static void rank_row(const struct phy_rank_rows *rows, const struct phy_rank_params *params, size_t row)
{
    const size_t n = rows->cols, index = row * n;
    uint32_t *scores = rows->scratch;
    struct phy_flow_tile_result result = {0};
    result.peak_bits =
        rows->type == PHY_FLOAT_BF16  ? magnitudes_bf16((uint16_t *)rows->codes + index, n, scores, &result.zero_before)
        : rows->type == PHY_FLOAT_F16 ? magnitudes_f16((uint16_t *)rows->codes + index, n, scores, &result.zero_before)
                                      : magnitudes_f32((uint32_t *)rows->codes + index, n, scores, &result.zero_before);
    if (params->score == PHY_RANK_WANDA)
        result.peak_bits = score_wanda(scores, rows->column_factor, n);
    if (result.peak_bits >= PHY_FLOW_FOOD_LIMIT_BITS) {
        rows->results[row] = (struct phy_flow_tile_result){.peak_bits = result.peak_bits};
        return;
    }
    if (params->score == PHY_RANK_RIA)
        score_ria(scores, inverse_row_sum(scores, n), rows->column_inverse, rows->column_factor, n);
    result.killed =
        params->group ? kill_groups(rows, index, scores, params) : kill_quota(rows, index, scores, params->kill);
    rows->results[row] = result;
}

void RANK_FORM(const struct phy_rank_rows *rows, const struct phy_rank_params *params)
{
    uint64_t mode = phy_float_mode_set(PHY_FLOAT_MODE_IEEE);
    for (size_t i = 0; i < rows->rows; i++)
        rank_row(rows, params, i);
    phy_float_mode_restore(mode);
}
