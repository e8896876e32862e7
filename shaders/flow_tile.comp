// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns a patch of PATCH_ROWS x PATCH_COLS weights: their food, conductance D and killed bits.
// One workgroup owns one tile of BLOCK x BLOCK weights; cells outside the tensor count as zeros that nobody kills.
// One barrier a step stands between everyone's additions to line_sum and everyone's reads of it; set-up has five more.
// The reference is src/kernels/flow_tile_ref.c; both follow docs/tile-flow.md.
//
// Where the tile's state lives. D and food of 256 x 256 weights are 256 KiB each, for the whole flow in the private
// arrays of the invocations, which every loop indexes by constants after unrolling. On a GPU they are registers as far as
// those reach: an NVIDIA SM has 256 KiB of them, so that with 1024 invocations of 64 registers about half of the 512 KiB
// spills to thread-local memory, which the hardware interleaves by lane and L1 serves. A step reads or writes at most
// 0.75 MiB of it, 6,000 clocks at 128 bytes a clock, under the 65,536 x 22 operations = 11,300 clocks of its arithmetic.
// On llvmpipe they are vectors in the frame that a barrier keeps, loaded and stored whole. Device memory sees each weight
// once as a code and once as a bit; shared memory holds only what crosses invocations, the 6 KiB of line sums.
//
// Which patch. A step costs an invocation PATCH_ROWS + PATCH_COLS shared reads and as many atomic additions, so larger
// patches cross less; but the body is unrolled, and a GPU's instruction cache (and a compiler's patience) wants it short.
// 8 x 8 needs 1024 invocations; 8 x 16 is the fastest that llvmpipe compiles in seconds; 16 x 16 and 16 x 32 serve
// devices of 256 and 128 invocations, the least that Vulkan allows. src/vk/vk_pipeline.c picks.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#include "lib/arithmetic.glsl"
#include "lib/codes.glsl"
#include "shared/flow_tile.h"

layout(local_size_x_id = PHY_FLOW_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_FLOW_SPEC_BLOCK) const uint BLOCK = 256;
layout(constant_id = PHY_FLOW_SPEC_PATCH_ROWS) const uint PATCH_ROWS = 8;
layout(constant_id = PHY_FLOW_SPEC_PATCH_COLS) const uint PATCH_COLS = 8;
layout(constant_id = PHY_FLOW_SPEC_TYPE) const uint TYPE = 0;
layout(constant_id = PHY_FLOW_SPEC_BETA) const uint BETA = 2;
layout(constant_id = PHY_FLOW_SPEC_SCALED) const uint SCALED = 0;

layout(std430, binding = PHY_FLOW_BINDING_CODES) readonly buffer Codes { uint codes[]; };
layout(std430, binding = PHY_FLOW_BINDING_SCALES) readonly buffer Scales { uint scales[]; };
layout(std430, binding = PHY_FLOW_BINDING_MASKS) writeonly buffer Masks { uint masks[]; };
layout(std430, binding = PHY_FLOW_BINDING_RESULTS) writeonly buffer Results { uint results[]; };
layout(push_constant) uniform Push { PHY_FLOW_PUSH_MEMBERS } push;

const uint CELLS = PATCH_ROWS * PATCH_COLS;
const uint PATCHES_ACROSS = BLOCK / PATCH_COLS, PATCHES_DOWN = BLOCK / PATCH_ROWS;
const uint F16 = 1, F32 = 2;
const uint FOOD_LIMIT_BITS = 0x5F800000u; // 2^64
const uint COLUMNS = 256, LINES = 512;    // a set of line sums: 256 rows, then 256 columns

// Three sets in turn: step n reads set n, adds to set n + 1 and clears set n + 2 (mod 3), which everyone had finished
// reading before the last barrier. Integers, so that the order of the additions can't matter.
shared uint line_sum[3 * LINES];
shared uint peak_bits, total, killed_count, nonzero_count;

float food[CELLS];
float conductance[CELLS];
uint nonzero[CELLS / 32];

struct Tile {
    uint rows, cols; // what the tensor's edge leaves of BLOCK
    uint row, col;   // of the patch's corner in the tile
    uint word, scale; // where the patch's codes and scales start
    uint patch_index; // patches row by row
    float mean_factor;
};

// 32 neighbouring invocations own 4 x 8 neighbouring patches where there are as many: when they add to their lines, 8
// meet at a row and 4 at a column, not 32 at a row.
Tile find_tile(uint tile)
{
    const uint lanes_across = min(8, PATCHES_ACROSS), lanes_down = min(4, PATCHES_DOWN);
    uint lane = gl_LocalInvocationIndex % (lanes_across * lanes_down);
    uint group = gl_LocalInvocationIndex / (lanes_across * lanes_down), groups_across = PATCHES_ACROSS / lanes_across;
    uint patch_row = group / groups_across * lanes_down + lane / lanes_across;
    uint patch_col = group % groups_across * lanes_across + lane % lanes_across;
    uint top = tile / push.tiles_across * BLOCK, left = tile % push.tiles_across * BLOCK;
    Tile t;
    t.rows = min(BLOCK, push.rows - top);
    t.cols = min(BLOCK, push.cols - left);
    t.row = patch_row * PATCH_ROWS;
    t.col = patch_col * PATCH_COLS;
    t.scale = left + t.col;
    t.word = (top + t.row) * push.row_words + (TYPE == F32 ? t.scale : t.scale / 2);
    t.patch_index = patch_row * PATCHES_ACROSS + patch_col;
    t.mean_factor = push.mean_factor[(t.rows < BLOCK ? 2 : 0) + (t.cols < BLOCK ? 1 : 0)];
    return t;
}

// bits(food) of one magnitude: subnormals count as zero before and after the column's scale; an infinity or NaN stays.
uint food_bits(uint magnitude, uint scale_bits)
{
    uint bits = magnitude;
    if (SCALED != 0) {
        uint product = product_bits(magnitude, scale_bits);
        bits = magnitude >= 0x7F800000u ? magnitude : product;
    }
    return magnitude < 0x00800000u ? 0u : bits;
}

void take_cell(uint i, uint magnitude, uint scale_bits, inout uint patch_peak)
{
    uint bits = food_bits(magnitude, scale_bits);
    patch_peak = max(patch_peak, bits);
    food[i] = uintBitsToFloat(bits);
    nonzero[i / 32] |= (magnitude == 0 ? 0u : 1u) << (i % 32);
}

// food[] becomes bits(food) as float and nonzero[] its bits; returns the patch's peak bits. What lies outside the tensor
// is read from its word 0 and dropped: no branch.
uint load_patch(Tile t)
{
    uint patch_peak = 0;
    const uint cells_per_word = TYPE == F32 ? 1 : 2;
    [[unroll]] for (uint w = 0; w < CELLS / 32; w++)
        nonzero[w] = 0;
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c += cells_per_word) {
        bool first = t.col + c < t.cols, second = t.col + c + 1 < t.cols;
        uint scale = SCALED != 0 ? scales[first ? t.scale + c : 0] : 0u;
        uint second_scale = SCALED != 0 && TYPE != F32 ? scales[second ? t.scale + c + 1 : 0] : 0u;
        [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++) {
            bool inside = t.row + r < t.rows && first;
            uint i = r * PATCH_COLS + c;
            uint word = codes[inside ? t.word + r * push.row_words + c / cells_per_word : 0];
            word = inside ? word : 0;
            if (TYPE == F32) {
                take_cell(i, word & 0x7FFFFFFFu, scale, patch_peak);
            } else {
                uint low = word & 0x7FFFu, high = second ? word >> 16 & 0x7FFFu : 0u;
                take_cell(i, TYPE == F16 ? f16_magnitude_bits(low) : low << 16, scale, patch_peak);
                take_cell(i + 1, TYPE == F16 ? f16_magnitude_bits(high) : high << 16, second_scale, patch_peak);
            }
        }
    }
    return patch_peak;
}

// food[] becomes food / tile mean * 2^16, at most 2^21: the flux's scale 2^16 is folded in, which moves no bit of D.
// Set 2 of the line sums serves the food's rows, in fixed point.
void normalise(Tile t, uint peak)
{
    float to_unit = uintBitsToFloat((254u - (peak >> 23)) << 23); // peak * to_unit is in [1, 2)
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++) {
        uint sum = 0;
        [[unroll]] for (uint c = 0; c < PATCH_COLS; c++) {
            uint i = r * PATCH_COLS + c;
            precise float scaled = food[i] * to_unit;
            precise float fixed_point = scaled * 4194304.0;
            food[i] = scaled;
            sum += uint(int(fixed_point));
        }
        atomicAdd(line_sum[2 * LINES + t.row + r], sum);
    }
    barrier(); // the rows' sums are whole
    for (uint line = gl_LocalInvocationIndex; line < BLOCK; line += gl_WorkGroupSize.x)
        atomicAdd(total, line_sum[2 * LINES + line] >> 8);
    barrier(); // the total is whole
    precise float mean = float(int(total >> 8)) * t.mean_factor;
    float inverse = total == 0 ? 0.0 : recip(mean);
    [[unroll]] for (uint i = 0; i < CELLS; i++) {
        precise float f = food[i] * inverse;
        precise float flux_scale = (f < 32.0 ? f : 32.0) * 65536.0;
        food[i] = flux_scale;
    }
}

// gain/2 divided by the mean flux of a line, times 2^-16 for the scale in food[]; 0 for a line that carries nothing.
float supply(uint sum, float k)
{
    uint s = sum >> 6; // < 2^24, so the conversion is exact
    precise float result = k * recip(float(int(s)));
    return s > 0 ? result : 0.0;
}

// Step n. In step 0 no line carries anything yet and D is 2, so that D becomes its start, 1, and its fluxes the first
// sums: one body serves for both.
void flow_step(Tile t, uint n, float row_k, float col_k)
{
    uint from = n % 3 * LINES, to = (n + 1) % 3 * LINES, clear = (n + 2) % 3 * LINES;
    for (uint line = gl_LocalInvocationIndex; line < LINES; line += gl_WorkGroupSize.x)
        line_sum[clear + line] = 0;
    float row_supply[PATCH_ROWS], col_supply[PATCH_COLS];
    uint row_part[PATCH_ROWS], col_part[PATCH_COLS];
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++)
        row_supply[r] = supply(line_sum[from + t.row + r], row_k);
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c++) {
        col_supply[c] = supply(line_sum[from + COLUMNS + t.col + c], col_k);
        col_part[c] = 0;
    }
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++) {
        row_part[r] = 0;
        [[unroll]] for (uint c = 0; c < PATCH_COLS; c++) {
            uint i = r * PATCH_COLS + c;
            precise float share = (conductance[i] * food[i]) * (row_supply[r] + col_supply[c]);
            precise float q = share;
            if (BETA > 1)
                q = q * share;
            if (BETA > 2)
                q = q * share;
            if (BETA > 3)
                q = q * share;
            precise float one_q = 1.0 + q;
            precise float a = q * recip(one_q);
            precise float d = (conductance[i] + a) * 0.5;
            precise float flux = d * food[i];
            uint u = uint(int(flux)); // < 2^22
            conductance[i] = d;
            row_part[r] += u;
            col_part[c] += u;
        }
    }
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++)
        atomicAdd(line_sum[to + t.row + r], row_part[r]);
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c++)
        atomicAdd(line_sum[to + COLUMNS + t.col + c], col_part[c]);
}

void write_masks(Tile t, uint tile)
{
    uint killed_here = 0, nonzero_here = 0;
    uint first_word = (tile * gl_WorkGroupSize.x + t.patch_index) * (CELLS / 32);
    [[unroll]] for (uint w = 0; w < CELLS / 32; w++) {
        uint killed = 0;
        [[unroll]] for (uint b = 0; b < 32; b++)
            killed |= (conductance[w * 32 + b] < 0.5 ? 1u : 0u) << b;
        killed &= nonzero[w];
        masks[first_word + w] = killed;
        killed_here += bitCount(killed);
        nonzero_here += bitCount(nonzero[w]);
    }
    atomicAdd(killed_count, killed_here);
    atomicAdd(nonzero_count, nonzero_here);
}

void main()
{
    uint tile = gl_WorkGroupID.x, id = gl_LocalInvocationIndex;
    Tile t = find_tile(tile);
    for (uint i = id; i < 3 * LINES; i += gl_WorkGroupSize.x)
        line_sum[i] = 0;
    if (id == 0) {
        peak_bits = 0;
        total = 0;
        killed_count = 0;
        nonzero_count = 0;
    }
    barrier(); // everything shared is zero
    atomicMax(peak_bits, load_patch(t));
    barrier(); // the peak is whole
    uint peak = peak_bits;
    // A refused tile and an all-zero one pass the same barriers, with no food and D = 1: they kill nothing.
    bool alive = peak != 0 && peak < FOOD_LIMIT_BITS;
    [[unroll]] for (uint i = 0; i < CELLS; i++) {
        food[i] = alive ? food[i] : 0.0;
        conductance[i] = alive ? 2.0 : 1.0;
    }
    normalise(t, alive ? peak : 0x3F800000u);
    precise float row_k = push.half_gain * float(int(t.cols)) * 0.015625; // 2^10 / 2^16
    precise float col_k = push.half_gain * float(int(t.rows)) * 0.015625;
    uint steps = alive ? push.iterations + 1 : 0;
    for (uint n = 0; n < steps; n++) {
        flow_step(t, n, row_k, col_k);
        barrier(); // the sums for step n + 1 are whole
    }
    write_masks(t, tile);
    barrier(); // the counts are whole
    if (id == 0) {
        results[tile * PHY_FLOW_RESULT_WORDS + 0] = killed_count;
        results[tile * PHY_FLOW_RESULT_WORDS + 1] = nonzero_count;
        results[tile * PHY_FLOW_RESULT_WORDS + 2] = peak;
        results[tile * PHY_FLOW_RESULT_WORDS + 3] = 0;
    }
}
