"""The usual smaller files of an exported decoder: fp16, q8 and q4, as transformers.js names them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from ..convert.builder import MICROSOFT

BLOCK = 32


def fp16(model: ModelProto) -> ModelProto:
    """Everything in float16: logits, K and V too."""
    copy = ModelProto.FromString(model.SerializeToString())
    return convert_float_to_float16(copy, keep_io_types=False, disable_shape_infer=True)


def q8(model: ModelProto) -> ModelProto:
    """int8 weights, inputs with one scale a tensor: depends on batch mates."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        onnx.save(model, source)
        extra = {"MatMulConstBOnly": True}
        quantize_dynamic(
            source, target, per_channel=True, weight_type=QuantType.QInt8, extra_options=extra
        )
        return onnx.load(target)


def q4(model: ModelProto) -> ModelProto:
    """MatMulNBits in blocks of 32 rows, float inputs; every constant matrix with such rows."""
    copy = ModelProto.FromString(model.SerializeToString())
    weights = {t.name: t for t in copy.graph.initializer}
    for node in copy.graph.node:
        tensor = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if tensor is None or tensor.dims[0] % BLOCK:
            continue
        w = numpy_helper.to_array(tensor)
        packed, scales = blocks(w)
        names = [f"{tensor.name}_q4", f"{tensor.name}_scales"]
        for name, value in zip(names, (packed, scales), strict=True):
            copy.graph.initializer.append(numpy_helper.from_array(value, name))
        copy.graph.initializer.remove(tensor)
        sizes = {"K": w.shape[0], "N": w.shape[1], "bits": 4, "block_size": BLOCK}
        node.CopyFrom(
            helper.make_node(
                "MatMulNBits",
                [node.input[0], *names],
                node.output,
                name=node.name,
                domain=MICROSOFT,
                **sizes,
            )
        )
    return copy


def blocks(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[K, N] to uint8 [N, K / 32, 16] (low nibble first, zero point 8) and float32 scales."""
    cut = w.T.reshape(w.shape[1], -1, BLOCK)
    signed = np.take_along_axis(cut, np.abs(cut).argmax(-1)[..., None], -1)
    scale = signed / -8
    safe = np.where(scale == 0, 1, scale)
    q = np.clip(np.rint(cut / safe) + 8, 0, 15).astype(np.uint8)
    packed = q[..., 0::2] | (q[..., 1::2] << 4)
    return packed, scale.reshape(-1).astype(np.float32)
