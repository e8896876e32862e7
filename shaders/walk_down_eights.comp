// SPDX-License-Identifier: Apache-2.0
#version 450
// One invocation owns one unit of 32 columns of the sum over one segment of the list, for PHY_WALK_ROWS rows of x.
// One workgroup owns PHY_WALK_EIGHTS_INVOCATIONS neighbours of a segment: one vector, as those beyond the row would be
// computed, too.
// No barrier: what a subgroup shares goes by shuffles; walk_sum.comp adds the segments up.
// The reference is the sum in float64 over phy_weight_decode_row.
//
// walk_down.comp, bit for bit, for llvmpipe, whose subgroups are vectors of eight:
//   - A load of a storage buffer is a loop over the lanes, of a texel buffer a gather: codes come by those. What eight
//     neighbours share, places, values and heads of a chain's features, is loaded, and opened, once: lane n has those of
//     feature n.
//   - What a loop carries, and what an `if` in it changes, is copied under a mask each time. So a whole chain of
//     features is one step, its sums are made a vector of columns at a time, and nothing branches: what is skipped
//     becomes zeros.
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "shared/matmul.h"
#include "weight_rows.glsl"
#include "lib/sums.glsl"
#if PHY_WALK_CHAIN > PHY_SUPER_UNITS
#error "a lane has the head of one feature of a chain"
#endif
#if PHY_WALK_EIGHTS_INVOCATIONS != PHY_SUPER_UNITS
#error "a workgroup shares a head"
#endif

layout(local_size_x = PHY_WALK_EIGHTS_INVOCATIONS) in;

layout(binding = PHY_MATMUL_BINDING_TEXELS) uniform utextureBuffer t16;
layout(binding = PHY_MATMUL_BINDING_TEXELS + 1) uniform utextureBuffer t8;
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer List { uint list[]; };
layout(std430, binding = PHY_MATMUL_BINDING_X) readonly buffer Values { float values[]; };
layout(std430, binding = PHY_MATMUL_BINDING_Y) writeonly buffer Parts { vec4 parts[]; };
layout(push_constant) uniform Push { PHY_WALK_PUSH_MEMBERS } push;

const uint ROWS = PHY_WALK_ROWS, CHAIN = PHY_WALK_CHAIN;
const bool SHARES_HEADS = PHY_LAYOUT_HEADS(TYPE) > 0;
const bool HAS_HEAD_SCALE = TYPE == PHY_LAYOUT_Q4_K || PHY_LAYOUT_SCALES(TYPE) > 0;
// Of these 0 times a code might be no number: scales of zero don't make it 0.
const bool CLEARS_CODES = TYPE <= PHY_LAYOUT_F32 || TYPE == PHY_LAYOUT_FP8;

Unit gather_unit(uint row, uint units, uint u)
{
    Unit unit;
    [[unroll]] for (uint i = 0; i < CODES; i++)
        unit.codes[i] = texelFetch(t16, int(row + u * CODES + i));
    unit.high = uvec2(0);
    if (PHY_LAYOUT_HIGH(TYPE) == 1)
        unit.high = texelFetch(t8, int((row + PHY_LAYOUT_HIGH_AT(TYPE, units)) * 2 + u)).xy;
    return unit;
}

void main()
{
    uint own = gl_GlobalInvocationID.x, units = push.units, supers = (units + PHY_SUPER_UNITS - 1) / PHY_SUPER_UNITS;
    // Neighbours of the last unit read its columns: others want what they hold.
    uint u = min(own, units - 1), super = own / PHY_SUPER_UNITS, lane = gl_SubgroupInvocationID;
    uint begin = push.list_begin + gl_WorkGroupID.y * PHY_WALK_SEGMENT;
    uint end = min(begin + PHY_WALK_SEGMENT, push.list_end);
    uint values_at[ROWS]; // a row that is not there is computed as the last, and dropped
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        values_at[r] = push.values_at + (ROWS == 1 ? 0 : min(r, push.rows - 1) * push.values_stride);
    precise vec4 sum[ROWS * 8], rest[ROWS * 8];
    [[unroll]] for (uint i = 0; i < ROWS * 8; i++)
        sum[i] = rest[i] = vec4(0);
    for (uint some = begin; some < end; some += CHAIN) {
        uint own_at = min(some + lane % CHAIN, end - 1);
        uint own_row = (list[push.list_at + own_at] - push.first_row) * PHY_LAYOUT_ROW(TYPE, units, supers);
        float own_value[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            float v = values[values_at[r] + own_at];
            own_value[r] = some + lane % CHAIN < end ? v : 0.0;
        }
        Head own_head;
        if (SHARES_HEADS)
            own_head = load_head(own_row, units, super);
        float value[ROWS * CHAIN];
        bool counts[CHAIN];
        uint row[CHAIN];
        [[unroll]] for (uint n = 0; n < CHAIN; n++) {
            row[n] = subgroupShuffle(own_row, n);
            counts[n] = false;
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                value[r * CHAIN + n] = subgroupShuffle(own_value[r], n);
                counts[n] = counts[n] || value[r * CHAIN + n] != 0.0;
            }
        }
        Unit unit[CHAIN];
        vec2 scales[CHAIN];
        float minimum[CHAIN];
        [[unroll]] for (uint n = 0; n < CHAIN; n++) {
            uvec4 head = SHARES_HEADS ? subgroupShuffle(own_head.words, n) : uvec4(0);
            float scale = SHARES_HEADS && HAS_HEAD_SCALE ? subgroupShuffle(own_head.scale, n) : 0.0;
            if (!SHARES_HEADS)
                scale = load_head(row[n], units, super).scale;
            vec2 both = unit_scales(head, scale, u % PHY_SUPER_UNITS);
            float less = unit_minimum(head, u % PHY_SUPER_UNITS);
            scales[n] = counts[n] ? both : vec2(0);
            minimum[n] = counts[n] ? less : 0.0;
            unit[n] = gather_unit(row[n], units, u);
            if (CLEARS_CODES) {
                [[unroll]] for (uint i = 0; i < CODES; i++)
                    unit[n].codes[i] &= counts[n] ? ~0u : 0u;
            }
        }
        uvec4 tops[CHAIN];
        [[unroll]] for (uint k = 0; k < 8; k++) {
            precise vec4 part[ROWS];
            [[unroll]] for (uint n = 0; n < CHAIN; n++) {
                precise vec4 w;
                if (HAS_TOPS) {
                    if (k % 4 == 0)
                        tops[n] = unit_tops(unit[n], k / 4);
                    w = top_values(tops[n], byte_lift(k % 4)) * scales[n][k / 4];
                } else {
                    w = unit_weights(unit[n], scales[n], minimum[n], k / 4, k % 4);
                }
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    part[r] = fma(vec4(value[r * CHAIN + n]), w, n == 0 ? vec4(0) : part[r]);
            }
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                add_keeping(part[r], sum[r * 8 + k], rest[r * 8 + k]);
        }
    }
    if (own >= units)
        return;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        uint at = push.parts_at + (gl_WorkGroupID.y * units + u) * 8 + (ROWS == 1 ? 0 : r * push.parts_stride);
        [[unroll]] for (uint k = 0; k < 8; k++) {
            if (ROWS == 1 || r < push.rows)
                parts[at + k] = whole_of(sum[r * 8 + k], rest[r * 8 + k]);
        }
    }
}
