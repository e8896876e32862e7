// SPDX-License-Identifier: Apache-2.0
// Sums that keep what their additions lose: a chain of n plain additions of random terms is off by about sqrt(n / 2)
// roundings.
#ifndef PHY_LIB_SUMS_GLSL
#define PHY_LIB_SUMS_GLSL

// sum += term; what that rounds off is added to rest. It is exact while |sum| >= |term|, else off by a rounding of term.
void add_keeping(float term, inout float sum, inout float rest)
{
    precise float whole = sum + term;
    precise float lost = term - (whole - sum);
    rest += lost;
    sum = whole;
}

void add_keeping(vec4 term, inout vec4 sum, inout vec4 rest)
{
    precise vec4 whole = sum + term;
    precise vec4 lost = term - (whole - sum);
    rest += lost;
    sum = whole;
}

// An infinity's rest is no number.
float whole_of(float sum, float rest)
{
    return abs(sum) < 3e38 ? sum + rest : sum;
}

vec4 whole_of(vec4 sum, vec4 rest)
{
    return mix(sum, sum + rest, lessThan(abs(sum), vec4(3e38)));
}

// The rounding error of a + b, exactly, whatever their sizes; sum is a + b.
float lost_by_adding(float a, float b, float sum)
{
    precise float from_b = sum - a;
    precise float from_a = sum - from_b;
    precise float lost = (a - from_a) + (b - from_b);
    return lost;
}

// The rounding error of a * b: of halves of 12 bits, whose products are exact. Vulkan's fma may round twice.
float lost_by_multiplying(float a, float b, float product)
{
    float a_high = uintBitsToFloat(floatBitsToUint(a) & 0xFFFFF000u), a_low = a - a_high;
    float b_high = uintBitsToFloat(floatBitsToUint(b) & 0xFFFFF000u), b_low = b - b_high;
    precise float lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    return lost;
}

#endif
