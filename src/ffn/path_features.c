/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "ffn/path_parts.h"

/* The k-th largest (k >= 1) of x (count), which is reordered: Hoare's selection, the middle one of three as pivot. */
static float kth_largest(float *x, size_t count, size_t k)
{
    size_t low = 0, high = count - 1, wanted = k - 1;
    while (low < high) {
        float a = x[low], b = x[low + (high - low) / 2], c = x[high];
        float pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        size_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                float swap = x[i];
                x[i++] = x[j];
                x[j] = swap;
                if (j == 0)
                    break;
                j--;
            }
        }
        if (wanted <= j)
            high = j;
        else if (wanted >= i)
            low = i;
        else
            break;
    }
    return x[wanted];
}

static float rank_of(float score)
{
    return score != score ? INFINITY : score;
}

void phy_path_top_features(const float *score, size_t count, size_t k, uint32_t *out, float *scratch)
{
    if (k == 0)
        return;
    for (size_t i = 0; i < count; i++)
        scratch[i] = rank_of(score[i]);
    const float least = kth_largest(scratch, count, k);
    size_t above = 0, taken = 0;
    for (size_t i = 0; i < count; i++)
        above += rank_of(score[i]) > least;
    for (size_t i = 0, ties = k - above; taken < k; i++) {
        const float rank = rank_of(score[i]);
        if (rank > least || (rank == least && ties > 0)) {
            ties -= rank == least;
            out[taken++] = (uint32_t)i;
        }
    }
}
