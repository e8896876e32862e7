// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns a patch of PATCH_ROWS x PATCH_COLS weights: their food, conductance D and killed bits.
// One workgroup owns one tile of BLOCK x BLOCK weights; cells outside the tensor count as zeros that nobody kills.
// One barrier an iteration stands between everyone's sums into line_sum[n + 1] and everyone's reads of them as supplies.
// The reference is src/kernels/flow_tile_ref.c; both follow docs/tile-flow.md.
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
const uint F32 = 2, F16 = 1;
const uint FOOD_LIMIT_BITS = 0x5F800000u; // 2^64
const uint LINES = 512;                   // 256 rows, then 256 columns

// Three sets of line sums in turn: iteration n reads set n, adds to set n + 1 and clears set n + 2 (mod 3), which
// everyone finished reading before the last barrier. 6 KiB.
shared uint line_sum[3 * LINES];
shared uint peak_bits, total, killed_count, nonzero_count;

// Constant indices only (every loop over them unrolls), so that they are registers.
float food[CELLS];
float conductance[CELLS];
uint nonzero[CELLS / 32];

struct Tile {
    uint rows, cols;       // what the tensor's edge leaves of BLOCK
    uint row, col;         // of the patch's corner in the tile
    uint word, scale;      // where the patch's codes and scales start
    float mean_factor;
};

Tile find_tile(uint tile, uint patch_row, uint patch_col)
{
    Tile t;
    uint top = tile / push.tiles_across * BLOCK, left = tile % push.tiles_across * BLOCK;
    t.rows = min(BLOCK, push.rows - top);
    t.cols = min(BLOCK, push.cols - left);
    t.row = patch_row * PATCH_ROWS;
    t.col = patch_col * PATCH_COLS;
    uint col = left + t.col;
    t.word = (top + t.row) * push.row_words + (TYPE == F32 ? col : col / 2);
    t.scale = col;
    t.mean_factor = push.mean_factor[(t.rows < BLOCK ? 2 : 0) + (t.cols < BLOCK ? 1 : 0)];
    return t;
}

// bits(food) of one magnitude: subnormals count as zero before and after the column's scale; an infinity or NaN stays.
uint food_bits(uint magnitude, uint scale_bits)
{
    if (magnitude < 0x00800000u)
        return 0;
    return SCALED == 0 || magnitude >= 0x7F800000u ? magnitude : product_bits(magnitude, scale_bits);
}

void take_cell(uint i, uint magnitude, uint scale_bits, inout uint patch_peak)
{
    uint bits = food_bits(magnitude, scale_bits);
    patch_peak = max(patch_peak, bits);
    food[i] = uintBitsToFloat(bits);
    nonzero[i / 32] |= (magnitude == 0 ? 0u : 1u) << (i % 32);
}

// food[] becomes bits(food) as float and nonzero[] its bits; returns the patch's peak bits.
uint load_patch(Tile t)
{
    uint patch_peak = 0;
    [[unroll]] for (uint i = 0; i < CELLS / 32; i++)
        nonzero[i] = 0;
    const uint cells_per_word = TYPE == F32 ? 1 : 2;
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++) {
        [[unroll]] for (uint c = 0; c < PATCH_COLS; c += cells_per_word) {
            bool inside = t.row + r < t.rows && t.col + c < t.cols;
            uint i = r * PATCH_COLS + c;
            uint word = inside ? codes[t.word + r * push.row_words + c / cells_per_word] : 0u;
            uint scale = SCALED != 0 && inside ? scales[t.scale + c] : 0u;
            if (TYPE == F32) {
                take_cell(i, word & 0x7FFFFFFFu, scale, patch_peak);
                continue;
            }
            bool second = inside && t.col + c + 1 < t.cols;
            uint second_scale = SCALED != 0 && second ? scales[t.scale + c + 1] : 0u;
            uint low = word & 0x7FFFu, high = second ? word >> 16 & 0x7FFFu : 0u;
            take_cell(i, TYPE == F16 ? f16_magnitude_bits(low) : low << 16, scale, patch_peak);
            take_cell(i + 1, TYPE == F16 ? f16_magnitude_bits(high) : high << 16, second_scale, patch_peak);
        }
    }
    return patch_peak;
}

// food[] becomes food / tile mean * 2^16, at most 2^21: the flux's scale 2^16 is folded in, which moves no bit of D.
void normalise(Tile t, uint peak)
{
    precise float to_unit = uintBitsToFloat((254u - (peak >> 23)) << 23); // peak * to_unit is in [1, 2)
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

// Add the patch's fluxes to the sums of its lines.
void add_sums(Tile t, uint set, uint row_part[PATCH_ROWS], uint col_part[PATCH_COLS])
{
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++)
        atomicAdd(line_sum[set + t.row + r], row_part[r]);
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c++)
        atomicAdd(line_sum[set + 256 + t.col + c], col_part[c]);
}

// gain/2 divided by the mean flux of a line, times 2^-16 for the scale in food[]; 0 for a line that carries nothing.
float supply(uint sum, float k)
{
    uint s = sum >> 6; // < 2^24, so the conversion is exact
    precise float result = k * recip(float(int(s)));
    return s > 0 ? result : 0.0;
}

void first_sums(Tile t)
{
    uint row_part[PATCH_ROWS], col_part[PATCH_COLS];
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c++)
        col_part[c] = 0;
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++) {
        row_part[r] = 0;
        [[unroll]] for (uint c = 0; c < PATCH_COLS; c++) {
            uint i = r * PATCH_COLS + c, u = uint(int(food[i]));
            conductance[i] = 1.0;
            row_part[r] += u;
            col_part[c] += u;
        }
    }
    add_sums(t, 0, row_part, col_part);
}

void iterate(Tile t, uint n, float row_k, float col_k)
{
    uint from = n % 3 * LINES, to = (n + 1) % 3 * LINES, clear = (n + 2) % 3 * LINES;
    for (uint line = gl_LocalInvocationIndex; line < LINES; line += gl_WorkGroupSize.x)
        line_sum[clear + line] = 0;
    float row_supply[PATCH_ROWS], col_supply[PATCH_COLS];
    uint row_part[PATCH_ROWS], col_part[PATCH_COLS];
    [[unroll]] for (uint c = 0; c < PATCH_COLS; c++) {
        col_supply[c] = supply(line_sum[from + 256 + t.col + c], col_k);
        col_part[c] = 0;
    }
    [[unroll]] for (uint r = 0; r < PATCH_ROWS; r++)
        row_supply[r] = supply(line_sum[from + t.row + r], row_k);
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
            conductance[i] = d;
            precise float flux = d * food[i];
            uint u = uint(int(flux)); // < 2^22
            row_part[r] += u;
            col_part[c] += u;
        }
    }
    add_sums(t, to, row_part, col_part);
}

void main()
{
    uint tile = push.first_tile + gl_WorkGroupID.x, id = gl_LocalInvocationIndex;
    uint patch_row = id / PATCHES_ACROSS, patch_col = id % PATCHES_ACROSS;
    Tile t = find_tile(tile, patch_row, patch_col);

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
    // A refused tile and an all-zero one go the same way to the last barrier, with their food at zero and killing nothing.
    bool alive = peak != 0 && peak < FOOD_LIMIT_BITS;
    if (!alive) {
        [[unroll]] for (uint i = 0; i < CELLS; i++)
            food[i] = 0.0;
    }
    normalise(t, alive ? peak : 0x3F800000u);
    first_sums(t);
    barrier(); // the first sums are whole
    precise float row_k = push.half_gain * float(int(t.cols)) * 0.015625; // 2^10 / 2^16
    precise float col_k = push.half_gain * float(int(t.rows)) * 0.015625;
    uint iterations = alive ? push.iterations : 0;
    for (uint n = 0; n < iterations; n++) {
        iterate(t, n, row_k, col_k);
        barrier(); // the sums of iteration n + 1 are whole
    }

    uint killed_here = 0, nonzero_here = 0;
    [[unroll]] for (uint w = 0; w < CELLS / 32; w++) {
        uint killed = 0;
        [[unroll]] for (uint b = 0; b < 32; b++)
            killed |= (conductance[w * 32 + b] < 0.5 ? 1u : 0u) << b;
        killed &= nonzero[w];
        masks[(tile * gl_WorkGroupSize.x + id) * (CELLS / 32) + w] = killed;
        killed_here += bitCount(killed);
        nonzero_here += bitCount(nonzero[w]);
    }
    atomicAdd(killed_count, killed_here);
    atomicAdd(nonzero_count, nonzero_here);
    barrier(); // the counts are whole
    if (id == 0) {
        results[tile * PHY_FLOW_RESULT_WORDS + 0] = killed_count;
        results[tile * PHY_FLOW_RESULT_WORDS + 1] = nonzero_count;
        results[tile * PHY_FLOW_RESULT_WORDS + 2] = peak;
        results[tile * PHY_FLOW_RESULT_WORDS + 3] = 0;
    }
}
