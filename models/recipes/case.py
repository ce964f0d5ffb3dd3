"""Case features: what an uncased vocabulary forgets, as token-type ids.

The rule, to be followed to the letter by whoever serves the model
(``"glossa": {"token_type_ids": "case"}`` in config.json):

* A *word* is a word of BERT's pre-tokenizer (split at white space, at each punctuation
  character and around each CJK character). All WordPiece tokens of a word get one class,
  computed from the characters of the whole word **in the original text**, before lower-casing
  and accent stripping.
* A character (Unicode code point) c is *cased* if lower(c) != upper(c); it is *upper* if it is
  cased and equals upper(c). lower and upper are the full Unicode mappings of the single
  character, as in Python's str.lower/upper and JavaScript's toLowerCase/toUpperCase.
* Class 0: no upper character (so also: no cased character).
* Class 2: at least two cased characters and all of them upper.
* Class 1: not class 2, and the first cased character is upper.
* Class 0 otherwise ("iPhone").
* Special tokens ([CLS], [SEP], [PAD]) are class 0.
"""

from __future__ import annotations

from tokenizers import Encoding

LOWER, INITIAL, CAPITALS = 0, 1, 2


def case_class(word: str) -> int:
    """The class of one word of the original text."""
    upper = [c == c.upper() for c in word if c.lower() != c.upper()]
    if not any(upper):
        return LOWER
    if len(upper) >= 2 and all(upper):
        return CAPITALS
    return INITIAL if upper[0] else LOWER


def case_ids(text: str, encoding: Encoding) -> list[int]:
    """One class per token of the encoding, which must be that of ``text`` alone."""
    spans: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word is not None:
            low, high = spans.get(word, (start, end))
            spans[word] = (min(low, start), max(high, end))
    classes = {word: case_class(text[start:end]) for word, (start, end) in spans.items()}
    return [LOWER if word is None else classes[word] for word in encoding.word_ids]
