// SPDX-License-Identifier: Apache-2.0
// Where an invocation stands in its workgroup, and how LANES invocations' parts of SUMS sums become whole and reach y.
// sum + rest is a part. LANES, ROW_LANES, COUNT_LANES, ROWS, COUNT, SUMS, push and y are the including shader's.
//
// With PHY_MATMUL_SUBGROUP a row's lanes are one full subgroup, which the device adds up in an order of its own.
#ifdef PHY_MATMUL_SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require

uint own_lane()
{
    return gl_SubgroupInvocationID;
}
uint own_row_lane()
{
    return gl_SubgroupID;
}
uint own_count_lane()
{
    return 0;
}

void store_sums(float sum[SUMS], float rest[SUMS], uint row, uint first)
{
    [[unroll]] for (uint i = 0; i < SUMS; i++) {
        float whole = subgroupAdd(whole_of(sum[i], rest[i]));
        uint r = row + i / COUNT, n = first + i % COUNT;
        if (own_lane() == i % LANES && r < push.row_end && n < push.count)
            y[push.y_at + n * push.y_stride + r] = whole;
    }
}

#else

// One more, so that neighbours who read their sums column by column meet different banks.
const uint PART_STRIDE = LANES * ROW_LANES * COUNT_LANES + 1;

shared float parts[LANES > 1 ? SUMS * PART_STRIDE : 1];

uint own_lane()
{
    return gl_LocalInvocationIndex % LANES;
}
uint own_row_lane()
{
    return gl_LocalInvocationIndex / LANES % ROW_LANES;
}
uint own_count_lane()
{
    return gl_LocalInvocationIndex / (LANES * ROW_LANES);
}

void store_sums(float sum[SUMS], float rest[SUMS], uint row, uint first)
{
    if (LANES > 1) {
        uint id = gl_LocalInvocationIndex, lane = own_lane();
        [[unroll]] for (uint i = 0; i < SUMS; i++)
            parts[i * PART_STRIDE + id] = whole_of(sum[i], rest[i]);
        barrier(); // every part of every sum is there
        for (uint i = lane; i < SUMS; i += LANES) {
            precise float whole = 0, lost = 0;
            for (uint l = 0; l < LANES; l++)
                add_keeping(parts[i * PART_STRIDE + id - lane + l], whole, lost);
            whole = whole_of(whole, lost);
            uint r = row + i / COUNT, n = first + i % COUNT;
            if (r < push.row_end && n < push.count)
                y[push.y_at + n * push.y_stride + r] = whole;
        }
    } else {
        [[unroll]] for (uint i = 0; i < SUMS; i++) {
            uint r = row + i / COUNT, n = first + i % COUNT;
            if (r < push.row_end && n < push.count)
                y[push.y_at + n * push.y_stride + r] = whole_of(sum[i], rest[i]);
        }
    }
}

#endif
