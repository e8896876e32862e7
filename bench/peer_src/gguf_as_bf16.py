#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same model as a GGUF file whose matrices are bf16 (vectors f32): names and metadata as they are.

usage: PYTHONPATH=.../gguf-py gguf_as_bf16.py MODEL.gguf OUT.gguf        (needs numpy)"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

LLAMA_FTYPE_MOSTLY_BF16 = 32


def to_bf16(values):
    """Round to nearest, ties to even; weights are finite."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def copy_field(writer, field):
    if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
        return
    kind = field.types[0]
    if kind == GGUFValueType.ARRAY:
        writer.add_key_value(field.name, field.contents(), kind, sub_type=field.types[-1])
    else:
        writer.add_key_value(field.name, field.contents(), kind)


def main():
    source, target = sys.argv[1:]
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        copy_field(writer, field)
    writer.add_file_type(LLAMA_FTYPE_MOSTLY_BF16)
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        values = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if len(shape) == 1:
            writer.add_tensor(tensor.name, values.astype(np.float32))
        else:
            words = to_bf16(values)
            writer.add_tensor(tensor.name, words.view(np.uint8), raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
