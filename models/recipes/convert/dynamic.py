"""The dynamic int8 forms that peers ship, for comparison only.

*lean*: the unfused graph, per channel, SkipLayerNormalization fusion off. *fused*: what
the usual BERT optimiser makes: Attention, SkipLayerNormalization, BiasGelu. Both take
one input scale over the whole batch, so a text's answer depends on its batch mates; and
their full-range weights may overflow 16-bit pair sums on x64 without VNNI.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from .builder import MICROSOFT, GraphBuilder
from .graph import INPUTS, FloatLinears, embeddings
from .heads import HEADS, build
from .runner import LEVELS
from .weights import Bert

KEEP_UNFUSED = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion"]


def fused_encoder(g: GraphBuilder, bert: Bert) -> str:
    """``[B, S, H]`` by the contrib operators of the usual fusions."""
    hidden = embeddings(g, bert, FloatLinears())
    mask = g.op("Cast", ["attention_mask"], to=TensorProto.INT32)

    def constant(name: str) -> str:
        return g.const(bert.vector(name), name=name)

    def skip(x: str, skipped: str, name: str, bias: str) -> str:
        norm = [constant(f"{name}.weight"), constant(f"{name}.bias"), constant(bias)]
        kind = "SkipLayerNormalization"
        return g.op(kind, [x, skipped, *norm], domain=MICROSOFT, epsilon=bert.eps)

    for i in range(bert.layers):
        p = f"encoder.layer.{i}."
        w, b = (a.copy() for a in bert.qkv(i))
        # Attention divides by sqrt(D) itself
        factor = np.float32((bert.hidden // bert.heads) ** 0.5)
        w[:, : bert.hidden] *= factor
        b[: bert.hidden] *= factor
        inputs = [hidden, g.const(w, name=p + "qkv"), g.const(b, name=p + "qkv.bias"), mask]
        mixed = g.op("Attention", inputs, domain=MICROSOFT, num_heads=bert.heads)
        out = p + "attention.output."
        mixed = g.op("MatMul", [mixed, g.const(bert.matrix(out + "dense"), name=out + "w")])
        hidden = skip(mixed, hidden, out + "LayerNorm", out + "dense.bias")
        w = g.const(bert.matrix(p + "intermediate.dense"), name=p + "up")
        up = g.op("MatMul", [hidden, w])
        bias = constant(p + "intermediate.dense.bias")
        if bert.activation == "Gelu":
            up = g.op("BiasGelu", [up, bias], domain=MICROSOFT)
        else:
            up = g.op(bert.activation, [g.op("Add", [up, bias])])
        w = g.const(bert.matrix(p + "output.dense"), name=p + "down")
        down = g.op("MatMul", [up, w])
        hidden = skip(down, hidden, p + "output.LayerNorm", p + "output.dense.bias")
    return hidden


def fused_graph(bert: Bert) -> ModelProto:
    g = GraphBuilder("bert_fused")
    for name in INPUTS:
        g.input(name, ["batch", "sequence"])
    HEADS[bert.head](g, bert, fused_encoder(g, bert))
    return g.model(check=False)


def _quantised(model: ModelProto, folder: Path) -> Path:
    source, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, str(source))
    # it warns of each value whose type its shape inference does not know
    logging.disable(logging.WARNING)
    quantize_dynamic(
        str(source),
        str(target),
        per_channel=True,
        reduce_range=False,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
    )
    logging.disable(logging.NOTSET)
    return target


def fused_dynamic(bert: Bert) -> bytes:
    """Load with level "all"."""
    with tempfile.TemporaryDirectory() as folder:
        return _quantised(fused_graph(bert), Path(folder)).read_bytes()


def lean_dynamic(bert: Bert) -> bytes:
    """Optimised already ("extended" but for the skip fusions): load with level "basic"."""
    with tempfile.TemporaryDirectory() as folder:
        source = _quantised(build(bert), Path(folder))
        target = Path(folder) / "lean.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = LEVELS["extended"]
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        ort.InferenceSession(
            str(source),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=KEEP_UNFUSED,
        )
        return target.read_bytes()
