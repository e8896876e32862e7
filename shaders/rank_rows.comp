// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns every INVOCATIONS-th run of 32 columns of a row: their scores and their word of killed bits.
// One workgroup owns one row: whole, because which weights go depends on all of them.
// One barrier a pass stands between everyone's additions to a count and everyone's reads of it.
// The reference is src/kernels/rank_rows_ref.c; both follow docs/rank.md.
//
// The threshold is found bit by bit: one pass counts the scores below a candidate. Scores are written once, to memory of
// the device, and each is read only by who wrote it. Of equal scores the lower column goes first: the column where the
// ties end is found bit by bit too.
#extension GL_GOOGLE_include_directive : require
#include "lib/arithmetic.glsl"
#include "lib/codes.glsl"
#include "shared/flow_tile.h"
#include "shared/rank_rows.h"

layout(local_size_x_id = PHY_RANK_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_RANK_SPEC_TYPE) const uint TYPE = 0;
layout(constant_id = PHY_RANK_SPEC_SCORE) const uint SCORE = 0;
layout(constant_id = PHY_RANK_SPEC_FACTORED) const uint FACTORED = 0;

layout(std430, binding = PHY_FLOW_BINDING_CODES) readonly buffer Codes { uint codes[]; };
layout(std430, binding = PHY_FLOW_BINDING_SCALES) buffer Values { uint values[]; };
layout(std430, binding = PHY_FLOW_BINDING_MASKS) writeonly buffer Masks { uint masks[]; };
layout(std430, binding = PHY_FLOW_BINDING_RESULTS) writeonly buffer Results { uint results[]; };
layout(push_constant) uniform Push { PHY_RANK_PUSH_MEMBERS } push;

const uint F16 = 1, F32 = 2, MAGNITUDE = 0, WANDA = 1, RIA = 2;
const uint FOOD_LIMIT_BITS = 0x5F800000u; // 2^64

// Pass n adds to count n, and clears count n + 1 (mod 3), which everyone had finished reading before the last barrier.
shared uint counts[3];
shared uint peak_bits, nonzero_count, killed_count;
uint pass_index = 0;

uint word_count()
{
    return (push.cols + 31) / 32;
}

// bits(|w|), widened; what is subnormal is kept here.
uint magnitude_bits(uint row, uint col)
{
    if (TYPE == F32)
        return codes[row * push.row_words + col] & 0x7FFFFFFFu;
    uint word = codes[row * push.row_words + col / 2];
    uint code = (col & 1u) == 0 ? word & 0x7FFFu : word >> 16 & 0x7FFFu;
    return TYPE == F16 ? f16_magnitude_bits(code) : code << 16;
}

uint flushed(uint bits)
{
    return bits < 0x00800000u ? 0u : bits;
}

// bits(a * b) rounded once, a subnormal result kept: both are normal and positive. In integers, as product_bits.
uint kept_product_bits(uint a, uint b)
{
    int exponent = int(a >> 23) + int(b >> 23) - 127;
    uint high, low;
    umulExtended((a << 8) | 0x80000000u, (b << 8) | 0x80000000u, high, low);
    bool carry = high >= 0x80000000u;
    exponent += carry ? 1 : 0;
    high = carry ? high : high << 1 | low >> 31;
    low = carry ? low : low << 1;
    high |= low != 0u ? 1u : 0u; // far below the last place: it only says that something was there
    if (exponent <= 0) {
        uint shift = uint(1 - exponent);
        uint lost = shift < 32u ? high & ((1u << shift) - 1u) : high;
        high = (shift < 32u ? high >> shift : 0u) | (lost != 0u ? 1u : 0u);
        exponent = 0;
    }
    uint rest = high & 0xFFu, mantissa = exponent > 0 ? high >> 8 & 0x7FFFFFu : high >> 8;
    bool up = rest > 0x80u || (rest == 0x80u && (mantissa & 1u) != 0u);
    return min((uint(exponent) << 23 | mantissa) + (up ? 1u : 0u), 0x7F800000u);
}

uint score_bits(uint row, uint col, uint a)
{
    if (SCORE == MAGNITUDE || a == 0u)
        return a;
    if (SCORE == WANDA)
        return product_bits(a, values[push.factor_at + col]);
    precise float share =
        uintBitsToFloat(values[push.row_inverse_at + row]) + uintBitsToFloat(values[push.inverse_at + col]);
    if (FACTORED == 0)
        return share > 0.0 ? product_bits(a, floatBitsToUint(share)) : 0u;
    // The root of a float32 is normal, or zero.
    uint root = values[push.factor_at + col];
    return share > 0.0 && root != 0u ? product_bits(root, kept_product_bits(a, floatBitsToUint(share))) : 0u;
}

// Everyone's `mine` added up; in uniform control flow.
uint sum_of(uint mine)
{
    uint index = pass_index % 3;
    if (mine != 0u)
        atomicAdd(counts[index], mine);
    if (gl_LocalInvocationIndex == 0)
        counts[(index + 1) % 3] = 0;
    pass_index++;
    barrier(); // the count is whole, and the next one is zero
    return counts[index];
}

// Scores below `limit` and, with ties, equal to it in columns below `end`.
uint count_below(uint at, uint limit, uint end)
{
    uint count = 0;
    for (uint w = gl_LocalInvocationIndex; w < word_count(); w += gl_WorkGroupSize.x) {
        uint first = w * 32, last = min(first + 32, push.cols);
        for (uint j = first; j < last; j++) {
            uint score = values[at + j];
            count += score < limit || (score == limit && j < end) ? 1u : 0u;
        }
    }
    return sum_of(count);
}

// The word's bits that go, of a group that lies in it.
uint group_bits(uint at, uint first, uint last)
{
    uint bits = 0;
    for (uint j = first; j < last; j++) {
        uint begin = j & ~(push.group - 1), end = min(begin + push.group, push.cols), n = end - begin;
        uint kill = n - (n * push.keep + push.group - 1) / push.group;
        uint score = values[at + j], rank = 0;
        for (uint k = begin; k < end; k++) {
            uint other = values[at + k];
            rank += other < score || (other == score && k < j) ? 1u : 0u;
        }
        bits |= (rank < kill ? 1u : 0u) << (j - first);
    }
    return bits;
}

void main()
{
    uint row = gl_WorkGroupID.x, id = gl_LocalInvocationIndex;
    uint at = push.scores_at + row * push.cols;
    if (id == 0) {
        counts[0] = 0;
        peak_bits = 0;
        nonzero_count = 0;
        killed_count = 0;
    }
    barrier(); // everything shared is zero
    uint peak = 0, nonzero = 0;
    for (uint w = id; w < word_count(); w += gl_WorkGroupSize.x) {
        uint first = w * 32, last = min(first + 32, push.cols);
        for (uint j = first; j < last; j++) {
            uint magnitude = magnitude_bits(row, j), a = flushed(magnitude);
            uint score = a >= 0x7F800000u ? a : score_bits(row, j, a);
            values[at + j] = score;
            nonzero += magnitude != 0u ? 1u : 0u;
            peak = max(peak, SCORE == WANDA ? score : a);
        }
    }
    atomicMax(peak_bits, peak);
    atomicAdd(nonzero_count, nonzero);
    barrier(); // the peak is whole
    bool refused = peak_bits >= FOOD_LIMIT_BITS; // the same for everyone, as all conditions around a barrier
    uint limit = 0, end = 0;
    if (!refused && push.group == 0u && push.kill > 0u) {
        // The largest value that fewer than `kill` scores are below. Codes of 16 bits leave low bits of magnitudes zero.
        int low_bit = SCORE != MAGNITUDE || TYPE == F32 ? 0 : TYPE == F16 ? 13 : 16;
        for (int bit = 30; bit >= low_bit; bit--) {
            uint tried = limit | 1u << uint(bit);
            if (count_below(at, tried, 0u) < push.kill)
                limit = tried;
        }
        // The most columns of which fewer than `kill` go; one more, and as many go as should.
        for (int bit = findMSB(push.cols); bit >= 0; bit--) {
            uint tried = end | 1u << uint(bit);
            if (count_below(at, limit, tried) < push.kill)
                end = tried;
        }
        end++;
    }
    uint killed = 0;
    for (uint w = id; w < word_count(); w += gl_WorkGroupSize.x) {
        uint first = w * 32, last = min(first + 32, push.cols), bits = 0;
        if (!refused && push.group != 0u) {
            bits = group_bits(at, first, last);
        } else if (!refused && push.kill > 0u) {
            for (uint j = first; j < last; j++) {
                uint score = values[at + j];
                bits |= (score < limit || (score == limit && j < end) ? 1u : 0u) << (j - first);
            }
        }
        for (uint j = first; j < last; j++)
            bits &= ~((magnitude_bits(row, j) == 0u ? 1u : 0u) << (j - first));
        masks[row * word_count() + w] = bits;
        killed += bitCount(bits);
    }
    atomicAdd(killed_count, killed);
    barrier(); // the counts are whole
    if (id == 0) {
        results[row * PHY_FLOW_RESULT_WORDS + 0] = killed_count;
        results[row * PHY_FLOW_RESULT_WORDS + 1] = nonzero_count;
        results[row * PHY_FLOW_RESULT_WORDS + 2] = peak_bits;
        results[row * PHY_FLOW_RESULT_WORDS + 3] = 0;
    }
}
