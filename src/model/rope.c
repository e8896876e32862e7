/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "model/model_parts.h"

/* Llama 3's frequencies: wavelengths above original/low are stretched by `factor`, those below original/high are kept,
 * and between the two lies a blend (source: the published llama3 rope_type). */
static double llama3_frequency(const struct phy_rope_config *rope, double frequency)
{
    const double two_pi = 6.283185307179586476925;
    double original = rope->original_max_positions, wavelength = two_pi / frequency;
    if (wavelength > original / rope->low_freq_factor)
        return frequency / rope->factor;
    if (wavelength < original / rope->high_freq_factor)
        return frequency;
    double smooth = (original / wavelength - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1.0 - smooth) * frequency / rope->factor + smooth * frequency;
}

void phy_rope_frequencies(const struct phy_rope_config *rope, uint32_t head_dim, float *out)
{
    for (uint32_t i = 0; i < head_dim / 2; i++) {
        double frequency = pow(rope->theta, -2.0 * i / head_dim);
        if (rope->kind == PHY_ROPE_LINEAR)
            frequency /= rope->factor;
        else if (rope->kind == PHY_ROPE_LLAMA3)
            frequency = llama3_frequency(rope, frequency);
        out[i] = (float)frequency;
    }
}
