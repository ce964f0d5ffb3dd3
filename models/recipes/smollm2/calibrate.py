"""What the float model sees: the input of every matrix, and how large K and V get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from ..convert.runner import session
from .graph import Cache, FloatForm, build, keys
from .llama import Llama
from .run import Decoder
from .smooth import Seen


def collect(llama: Llama, sequences: Sequence[Sequence[int]], samples: int = 4096) -> Seen:
    """Run each sequence alone; keep an even sample of rows of each matrix's input.

    Sequences must be of one length.
    """
    form, shape = FloatForm(llama), llama.shape
    model = build(llama, form, Cache(), "calibration")
    names = list(dict.fromkeys(form.inputs[key] for key in keys(shape)))
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    length, head = len(sequences[0]), form.inputs["head"]
    decoder = Decoder(session(model.SerializeToString(), "basic"), shape, length, np.float32)
    every = max(1, len(sequences) * length // samples)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    peaks = {part: np.zeros((shape.layers, shape.kv_heads, shape.head_size)) for part in "kv"}
    # logits are dear: the head's input is taken at an eighth of the positions
    last = np.arange(3, length, 8)
    for index, ids in enumerate(sequences):
        taps = decoder.bound(np.array([ids]), [length], last, names)()
        for name in names:
            value = taps[name].reshape(-1, taps[name].shape[-1])
            kept[name].append(value if name == head else value[index % every :: every])
        for part in "kv":
            found = np.stack([c.numpy()[0, :, :length] for c in decoder.caches[part]])
            peaks[part] = np.maximum(peaks[part], np.abs(found).max(axis=2))
    rows = {name: np.concatenate(values) for name, values in kept.items()}
    return Seen({key: rows[form.inputs[key]] for key in keys(shape)}, peaks["k"], peaks["v"])
