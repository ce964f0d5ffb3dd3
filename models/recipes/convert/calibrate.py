"""What the inputs of each matrix look like on real texts.

The fp32 graph is run with the input of every matrix as an extra output. Per matrix
(``[tokens, K]`` over all texts): the largest |x| of each channel, and an even sample of
rows on which quantised products are compared with exact ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from .graph import FloatLinears
from .heads import build
from .runner import Feature, pad, session
from .weights import Bert


@dataclass
class Statistics:
    """One matrix's input; ``rows`` is float32 ``[samples, K]``, ``peak`` is ``[K]``."""

    peak: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


def tapped(bert: Bert) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The fp32 model whose outputs are the inputs of its matrices."""
    form = FloatLinears()
    model = build(bert, form)
    del model.graph.output[:]
    for name in dict.fromkeys(form.inputs.values()):
        model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        )
    return model, form.inputs


def collect(
    bert: Bert,
    features: Sequence[Feature],
    samples: int = 8192,
    seed: int = 20,
) -> dict[str, Statistics]:
    """Statistics of every matrix, from one run of each text alone (so no padding)."""
    model, inputs = tapped(bert)
    sess = session(model.SerializeToString(), "all")
    names = [o.name for o in sess.get_outputs()]
    total = sum(len(f["input_ids"]) for f in features)
    keep = np.random.default_rng(seed).random(total) < samples / total
    peaks: dict[str, list[np.ndarray]] = {}
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    start = 0
    for feature in features:
        n = len(feature["input_ids"])
        for name, value in zip(names, sess.run(names, pad([feature])), strict=True):
            x = value.reshape(n, -1)
            low, high = x.min(axis=0), x.max(axis=0)
            if name in peaks:
                low = np.minimum(low, peaks[name][0])
                high = np.maximum(high, peaks[name][1])
            peaks[name] = [low, high]
            # the first token is what a classifier reads: always sampled
            chosen = keep[start : start + n].copy()
            chosen[0] = True
            kept[name].append(x[chosen])
        start += n
    return {
        key: Statistics(
            peak=np.maximum(np.abs(peaks[name][0]), np.abs(peaks[name][1])),
            low=peaks[name][0],
            high=peaks[name][1],
            rows=np.concatenate(kept[name]),
        )
        for key, name in inputs.items()
    }


def take(texts: Iterable[str], count: int) -> list[str]:
    """Up to ``count`` texts spread evenly over the given ones."""
    pool = list(texts)
    if len(pool) <= count:
        return pool
    return [pool[i * len(pool) // count] for i in range(count)]
