"""Running a converted model from Python: encoding, sessions, padding, pooling.

A *feature* is ``{"input_ids": [...], "token_type_ids": [...]}`` (lists of int, special
tokens included). Outputs are float32 numpy arrays cut back to the text's own length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from ..case import case_ids

Feature = Mapping[str, Sequence[int]]
LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
#: outputs with one row per token
PER_TOKEN = {"last_hidden_state", "start_logits", "end_logits"}


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """tokenizer.json without its truncation and padding (callers do both)."""
    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(
    tokenizer: Tokenizer, text: str | Mapping[str, Any], max_length: int, case: bool = False
) -> Feature:
    """A text as a feature; a mapping with input_ids passes through.

    With ``case`` the token-type ids are the case classes of ``recipes.case``.
    """
    if not isinstance(text, str):
        ids = list(text["input_ids"])
        types = list(text.get("token_type_ids") or [0] * len(ids))
        return {"input_ids": ids, "token_type_ids": types}
    # enable_truncation is stateful; cutting by hand keeps one tokenizer for all lengths
    encoding = tokenizer.encode(text)
    ids = encoding.ids
    types = case_ids(text, encoding) if case else encoding.type_ids
    if len(ids) > max_length:
        ids = ids[: max_length - 1] + ids[-1:]
        types = types[: max_length - 1] + types[-1:]
    return {"input_ids": ids, "token_type_ids": types}


def pad(features: Sequence[Feature], length: int | None = None) -> dict[str, np.ndarray]:
    """Model inputs, int64 ``[batch, length]``, padded at the right with zeros."""
    longest = max(len(f["input_ids"]) for f in features)
    shape = (len(features), max(longest, length or 0))
    ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
    for i, feature in enumerate(features):
        n = len(feature["input_ids"])
        ids[i, :n] = feature["input_ids"]
        types[i, :n] = feature["token_type_ids"]
        mask[i, :n] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def session(
    model: str | Path | bytes, level: str = "basic", threads: int = 1, **config: str
) -> ort.InferenceSession:
    """A CPU session; config entries are session options (``session_x`` for ``session.x``)."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in config.items():
        options.add_session_config_entry(key.replace("_", ".", 1), value)
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Runner:
    """One session with its tokenizer. ``per_token`` heads give ``[tokens, labels]``."""

    def __init__(
        self,
        sess: ort.InferenceSession,
        tokenizer: Tokenizer | None,
        max_length: int = 512,
        per_token: bool = False,
        case: bool = False,
    ) -> None:
        self.session, self.tokenizer, self.max_length = sess, tokenizer, max_length
        self.case = case
        self.names = [o.name for o in sess.get_outputs()]
        self.per_token = per_token or self.names[0] in PER_TOKEN

    def feature(self, text: str | Mapping[str, Any]) -> Feature:
        if isinstance(text, str) and self.tokenizer is None:
            raise ValueError("this runner has no tokenizer: give features")
        return encode(self.tokenizer, text, self.max_length, self.case)  # type: ignore[arg-type]

    def batch(self, features: Sequence[Feature], length: int | None = None) -> list[Any]:
        """One forward pass; per text one array, or a tuple of them (qa)."""
        outputs = self.session.run(None, pad(features, length))
        rows = []
        for i, feature in enumerate(features):
            n = len(feature["input_ids"])
            row = tuple(o[i][:n] if self.per_token else o[i] for o in outputs)
            rows.append(row if len(row) > 1 else row[0])
        return rows

    def predict(self, texts: Sequence[str | Mapping[str, Any]], batch: int = 1) -> list[Any]:
        """Outputs in the order of the texts; singles unless batch says otherwise."""
        features = [self.feature(t) for t in texts]
        order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
        found: dict[int, Any] = {}
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            found.update(zip(part, self.batch([features[i] for i in part]), strict=True))
        return [found[i] for i in range(len(features))]


def embedding(hidden: np.ndarray) -> np.ndarray:
    """Mean of the tokens ``[tokens, H]``, normalised to length 1 (sentence-transformers)."""
    mean = hidden.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
