# SPDX-License-Identifier: Apache-2.0
"""What magnitude, wanda and ria kill (docs/rank.md), in numpy float32: the reference of the kernels.

    python rank_ref.py selftest
"""
import math
import sys

import numpy as np

from flow_ref import F32, U32, bits, food_of, from_bits, recip


def exact_sums(magnitudes, axis):
    """Sums of float32 magnitudes along an axis, added exactly and cut to 24 bits; as float32."""
    b = bits(magnitudes)
    exponent = (b >> U32(23)).astype(np.int64)
    mantissa = np.where(exponent > 0, (b & U32(0x7FFFFF)) | U32(0x800000), 0).astype(np.int64)
    total = [0] * np.delete(np.shape(magnitudes), axis)[0]
    for e in range(1, int(exponent.max(initial=0)) + 1):        # value = mantissa * 2^(e - 150)
        part = np.where(exponent == e, mantissa, 0).sum(axis=axis, dtype=np.int64)
        total = [t + (int(p) << e) for t, p in zip(total, part)]
    out = []
    for t in total:
        cut = max(t.bit_length() - 24, 0)
        out.append(math.ldexp(t >> cut, cut - 150))
    return np.array(out, F32)


def inverse(sums):
    return np.where(sums > 0, recip(np.where(sums > 0, sums, F32(1))), F32(0))


def scores(weights, method, column_scale=None):
    """float32 (rows, cols), not negative."""
    a = food_of(weights)
    if method == "magnitude":
        return a
    if method == "wanda":
        return food_of(weights, column_scale)
    with np.errstate(under="ignore"):
        s = a * (inverse(exact_sums(a, 1))[:, None] + inverse(exact_sums(a, 0))[None, :])
        if column_scale is not None:
            s = s * np.sqrt(np.asarray(column_scale, F32))[None, :]
    return np.where(bits(s) < U32(0x00800000), F32(0), s)


def lowest(s, count):
    """Boolean (rows, n): the `count` lowest of each row, of equals the lower column."""
    order = np.argsort(s, axis=1, kind="stable")
    killed = np.zeros(s.shape, bool)
    np.put_along_axis(killed, order[:, :count], True, axis=1)
    return killed


def prune_matrix(weights, method, sparsity=None, pattern=None, column_scale=None):
    """Boolean (rows, cols): True where a weight that was not zero is killed."""
    w = np.asarray(weights, F32)
    s = scores(w, method, column_scale)
    if pattern is None:
        return lowest(s, math.floor(sparsity * w.shape[1])) & (w != 0)
    keep, group = (int(n) for n in pattern.split(":"))
    killed = np.zeros(w.shape, bool)
    for c in range(0, w.shape[1], group):
        n = min(group, w.shape[1] - c)
        killed[:, c:c + n] = lowest(s[:, c:c + n], n - -(-n * keep // group))
    return killed & (w != 0)


if __name__ == "__main__" and sys.argv[1:] == ["selftest"]:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((37, 53)).astype(F32)
    for axis in (0, 1):
        assert np.allclose(exact_sums(np.abs(w), axis), np.abs(w).sum(axis=axis, dtype=np.float64), rtol=1e-6)
    for method in ("magnitude", "wanda", "ria"):
        scale = rng.random(53).astype(F32) if method == "wanda" else None
        assert prune_matrix(w, method, 0.5, column_scale=scale).sum() == 37 * 26
        assert prune_matrix(w, method, pattern="2:4", column_scale=scale).sum() == 37 * 26
    print("ok")
