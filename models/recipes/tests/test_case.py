"""The case rule is a contract with the TypeScript server: these rows are shared wisdom."""

from __future__ import annotations

import pytest
from recipes.case import case_class, case_ids
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("paris", 0),
        ("Paris", 1),
        ("PARIS", 2),
        ("iPhone", 0),
        ("McDonald", 1),
        ("A", 1),
        ("A4", 1),
        ("AB4", 2),
        ("4Th", 1),
        ("4tH", 0),
        ("1984", 0),
        ("!", 0),
        ("Élan", 1),
        ("ÉLAN", 2),
        ("ß", 0),
        ("東京", 0),
        ("ΑΘΗΝΑ", 2),
        ("", 0),
    ],
)
def test_case_class(word: str, expected: int) -> None:
    assert case_class(word) == expected


def test_every_piece_of_a_word_has_the_words_class() -> None:
    vocab = ["[UNK]", "[CLS]", "[SEP]", "par", "##is", "is", "big", ".", "nato"]
    cutter = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]")
    )
    cutter.normalizer = normalizers.BertNormalizer(lowercase=True)
    cutter.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cutter.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    text = "Paris  is big. NATO? Öx"
    encoding = cutter.encode(text)
    pairs = list(zip(encoding.tokens, case_ids(text, encoding), strict=True))
    assert pairs == [
        ("[CLS]", 0),
        ("par", 1),
        ("##is", 1),
        ("is", 0),
        ("big", 0),
        (".", 0),
        ("nato", 2),
        ("[UNK]", 0),
        ("[UNK]", 1),
        ("[SEP]", 0),
    ]
