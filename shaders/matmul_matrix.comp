// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation shares a subgroup's matrices with its neighbours; of what is loaded it owns every 16 bytes of which the
// number, in a workgroup's, leaves its own.
// One workgroup owns ROW_LANES * ROWS rows of w times COUNT_LANES * COUNT rows of x, whole sums, each subgroup its own
// ROWS x COUNT.
// Two barriers stand around each step of 32 columns: all is in shared memory before anyone multiplies, and all has been
// multiplied before the next takes its place. A last one lets the sums take the place of the factors.
// The reference is src/kernels/matmul_ref.c; the contract is src/kernels/matmul.h.
//
// VK_KHR_cooperative_matrix: matrices M x K and K x N of binary16, sums of their products in binary32. Both sides come in
// pieces, as split_rows.comp leaves them, or w as it is stored (binary16: one piece, exponents of zero). What the
// device rounds off inside of its additions is its own: products of 64 columns (32 where each is three) are added
// there, and their sums here, with what is lost. The last pieces of both sides are not multiplied with each other: 2^-24 of the product.
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "lib/sums.glsl"
#include "shared/matmul.h"

layout(local_size_x_id = PHY_MATMUL_SPEC_INVOCATIONS) in;
layout(constant_id = PHY_MATMUL_SPEC_INVOCATIONS) const uint INVOCATIONS = 128;
layout(constant_id = PHY_MATMUL_SPEC_ROW_LANES) const uint ROW_LANES = 2;
layout(constant_id = PHY_MATMUL_SPEC_COUNT_LANES) const uint COUNT_LANES = 2;
layout(constant_id = PHY_MATRIX_SPEC_ROWS) const uint ROWS = 32;
layout(constant_id = PHY_MATRIX_SPEC_COUNT) const uint COUNT = 32;
layout(constant_id = PHY_MATRIX_SPEC_M) const uint M = 16;
layout(constant_id = PHY_MATRIX_SPEC_N) const uint N = 16;
layout(constant_id = PHY_MATRIX_SPEC_K) const uint K = 16;
layout(constant_id = PHY_MATRIX_SPEC_W_PIECES) const uint W_PIECES = 1;
layout(constant_id = PHY_MATRIX_SPEC_X_PIECES) const uint X_PIECES = 2;
layout(constant_id = PHY_MATRIX_SPEC_W_EXPONENTS) const bool W_EXPONENTS = false;

layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer W { uvec4 w[]; };
layout(std430, binding = PHY_MATMUL_BINDING_W) readonly buffer WExponents { int w_exponents[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer X { uvec4 x[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer XExponents { int x_exponents[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { PHY_MATMUL_PUSH_MEMBERS } push;

// A line is one piece of 32 columns of a row: 4 words of 16 bytes, and one that keeps neighbours out of each other's
// banks.
const uint LINE = 5;
const uint ROW_TILE = ROW_LANES * ROWS, COUNT_TILE = COUNT_LANES * COUNT;
const uint W_LINES = ROW_TILE * W_PIECES, LINES = W_LINES + COUNT_TILE * X_PIECES;
const uint LOADS = (LINES * 4 + INVOCATIONS - 1) / INVOCATIONS;
// Afterwards the same words hold a matrix of sums for each subgroup.
const uint SUM_WORDS = M * N / 4, SUBGROUPS = ROW_LANES * COUNT_LANES;
const uint STAGE = LINES * LINE > SUBGROUPS * SUM_WORDS ? LINES * LINE : SUBGROUPS * SUM_WORDS;

shared uvec4 stage[STAGE];

const uint PANEL_UNITS = W_PIECES > 1 ? 1 : 2;
const uint DOWN = COUNT / M, ACROSS = ROWS / N, SUMS = DOWN * ACROSS;
#define SumMatrix coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

// Word i of the lines of unit u. What lies beyond the edges is read from the last row, computed and dropped.
uvec4 load_word(uint i, uint u, uint row, uint first)
{
    uint line = i / 4, word = i % 4;
    if (line < W_LINES) {
        uint at = (u * W_PIECES + line / ROW_TILE) * 4 + word;
        uint r = min(row + line % ROW_TILE, push.row_end - 1);
        return at < push.blocks ? w[r * push.blocks + at] : uvec4(0); // binary16 rows as stored end with the last weight's word
    }
    line -= W_LINES;
    uint n = min(first + line % COUNT_TILE, push.count - 1);
    return x[push.x_at + n * push.x_stride + (u * X_PIECES + line / COUNT_TILE) * 4 + word];
}

float power_of_two(int exponent)
{
    return uintBitsToFloat(uint(exponent + 127) << 23);
}

void main()
{
    // Neighbours in the order of work share their rows of w.
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x, id = gl_LocalInvocationIndex;
    uint row = push.row_begin + group / gl_NumWorkGroups.y * ROW_TILE;
    uint first = group % gl_NumWorkGroups.y * COUNT_TILE;
    uint own_row = gl_SubgroupID % ROW_LANES * ROWS, own_first = gl_SubgroupID / ROW_LANES * COUNT;
    uvec4 words[LOADS];
    SumMatrix part[SUMS], sum[SUMS], rest[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++)
        part[i] = sum[i] = rest[i] = SumMatrix(0.0);
    [[unroll]] for (uint i = 0; i < LOADS; i++)
        words[i] = load_word(min(id + i * INVOCATIONS, LINES * 4 - 1), 0, row, first);
    for (uint u = 0; u < push.units; u++) {
        barrier(); // the step before has been multiplied
        [[unroll]] for (uint i = 0; i < LOADS; i++) {
            uint at = id + i * INVOCATIONS;
            if (at < LINES * 4)
                stage[at / 4 * LINE + at % 4] = words[i];
        }
        barrier(); // the lines of this step are there
        if (u + 1 < push.units) {
            [[unroll]] for (uint i = 0; i < LOADS; i++)
                words[i] = load_word(min(id + i * INVOCATIONS, LINES * 4 - 1), u + 1, row, first);
        }
        // The smallest products first: what is added to small sums is rounded little.
        for (int p = int(X_PIECES) - 1; p >= 0; p--) {
            for (int q = int(W_PIECES) - 1; q >= 0; q--) {
                if (p + q > 1)
                    continue;
                for (uint k = 0; k < 32 / K; k++) {
                    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[DOWN];
                    [[unroll]] for (uint i = 0; i < DOWN; i++) {
                        uint line = W_LINES + uint(p) * COUNT_TILE + own_first + i * M;
                        coopMatLoad(a[i], stage, line * LINE + k * K / 8, LINE, gl_CooperativeMatrixLayoutRowMajor);
                    }
                    [[unroll]] for (uint j = 0; j < ACROSS; j++) {
                        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
                        uint line = uint(q) * ROW_TILE + own_row + j * N;
                        coopMatLoad(b, stage, line * LINE + k * K / 8, LINE, gl_CooperativeMatrixLayoutColumnMajor);
                        [[unroll]] for (uint i = 0; i < DOWN; i++)
                            part[i * ACROSS + j] = coopMatMulAdd(a[i], b, part[i * ACROSS + j]);
                    }
                }
            }
        }
        if (u % PANEL_UNITS == PANEL_UNITS - 1 || u + 1 == push.units) {
            [[unroll]] for (uint i = 0; i < SUMS; i++) {
                // By elements: lavapipe takes (a + b) - a of whole matrices for b.
                [[unroll]] for (uint e = 0; e < part[i].length(); e++) {
                    float whole = sum[i][e], lost = rest[i][e];
                    add_keeping(part[i][e], whole, lost);
                    sum[i][e] = whole;
                    rest[i][e] = lost;
                }
                part[i] = SumMatrix(0.0);
            }
        }
    }
    barrier(); // the factors are not needed any more
    uint lane = gl_SubgroupInvocationID, own = gl_SubgroupID * SUM_WORDS;
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        [[unroll]] for (uint e = 0; e < sum[i].length(); e++)
            sum[i][e] = whole_of(sum[i][e], rest[i][e]);
        coopMatStore(sum[i], stage, own, N / 4, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier(); // a matrix is there
        for (uint at = lane; at < M * N; at += gl_SubgroupSize) {
            uint n = first + own_first + i / ACROSS * M + at / N, r = row + own_row + i % ACROSS * N + at % N;
            if (n < push.count && r < push.row_end) {
                int exponent = x_exponents[push.x_exponents_at + n] + (W_EXPONENTS ? w_exponents[push.w_exponents_at + r] : 0);
                precise float value = uintBitsToFloat(stage[own + at / 4][at % 4]) * power_of_two(exponent >> 1);
                value *= power_of_two(exponent - (exponent >> 1));
                y[push.y_at + n * push.y_stride + r] = value;
            }
        }
        subgroupBarrier(); // it has been read
    }
}
