"""Token sequences: what fixes the scales, and the held-out prose that measures."""

from __future__ import annotations

import random

from tokenizers import Tokenizer

from ..corpora import rows

SEED = 20
CALIBRATION = (16, 256)
HELD_OUT = (3, 512)
START, END = "<|im_start|>", "<|im_end|>"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chat(question: str, answer: str) -> str:
    """One exchange as the model's chat template writes it."""
    turns = (("system", SYSTEM), ("user", question), ("assistant", answer))
    return "".join(f"{START}{role}\n{text}{END}\n" for role, text in turns)


def _streams() -> list[list[str]]:
    """Texts by kind; each kind fills an equal share of the calibration."""
    web = ["\n\n".join(row["paragraphs"]) for row in rows("load/ewt_texts")]
    wiki = list(dict.fromkeys(row["context"] for row in rows("qa/squadshifts_new_wiki.train")))
    tasks = [
        chat(f"{row['instruction']}\n{row['input']}".strip(), row["output"])
        for row in rows("generation/self_instruct_seed")
    ]
    sums = [chat(row["question"], row["answer"]) for row in rows("generation/gsm8k.train")]
    return [web, wiki, tasks, sums]


def calibration(tokenizer: Tokenizer) -> list[list[int]]:
    count, length = CALIBRATION
    found = []
    for texts in _streams():
        random.Random(SEED).shuffle(texts)
        ids: list[int] = []
        share = count // 4
        while len(ids) < share * length:
            ids += tokenizer.encode(texts.pop()).ids + [0]
        found += [ids[i * length : (i + 1) * length] for i in range(share)]
    return found


def held_out(tokenizer: Tokenizer) -> list[list[int]]:
    """The beginnings of three speeches (first, middle and last of the set)."""
    count, length = HELD_OUT
    speeches = rows("load/us_speeches")
    chosen = [speeches[i * (len(speeches) - 1) // (count - 1)] for i in range(count)]
    return [tokenizer.encode(row["text"]).ids[:length] for row in chosen]
