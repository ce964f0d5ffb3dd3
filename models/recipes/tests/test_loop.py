from __future__ import annotations

import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from recipes.bert import Bert  # noqa: E402
from recipes.loop import (  # noqa: E402
    Example,
    Settings,
    batches,
    best_weights,
    collate,
    predict,
    train,
)

CONFIG = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 300,
    "type_vocab_size": 3,
}


def model(head: str = "sequence") -> Bert:
    torch.manual_seed(1)
    return Bert(CONFIG, 2, head)


def examples(count: int = 64) -> list[Example]:
    """Class 1 holds piece 7, class 0 piece 8: learnt in a few steps."""
    rng = random.Random(3)
    made = []
    for i in range(count):
        inner = [rng.randrange(9, 20) for _ in range(rng.randrange(1, 9))]
        made.append(Example([1, 7 if i % 2 else 8, *inner, 2], [0] * (len(inner) + 3), i % 2))
    return made


def right(net: Bert) -> dict[str, float]:
    part = examples()
    hits = [int(x.argmax()) == e.target for x, e in zip(predict(net, part), part, strict=True)]
    return {"score": 100 * sum(hits) / len(hits)}


def draw(rng: random.Random) -> list[Example]:
    return rng.sample(examples(), 48)


SETTINGS = Settings(lr=1e-2, batch=8, head_lr=1e-2, patience=9)


def test_batches_hold_every_example_once_and_repeat_by_seed() -> None:
    part = examples()
    made = batches(part, 8, random.Random(5))
    assert sorted(map(id, part)) == sorted(id(e) for b in made for e in b)
    again = batches(part, 8, random.Random(5))
    assert [[id(e) for e in b] for b in made] == [[id(e) for e in b] for b in again]


def test_padding_changes_nothing() -> None:
    net = model("token").eval()
    short = Example([1, 7, 2], [0, 2, 0], [0, 1, 0])
    long = Example([1, *range(3, 19), 2], [0] * 18, [0] * 18)
    alone = predict(net, [short])[0]
    beside = predict(net, [long, short])[1]
    assert alone.shape == (3, 2)
    assert torch.allclose(alone, beside, atol=1e-5)


def test_long_and_short_attention_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model().eval()
    ids, mask, types, _ = collate(examples(6))
    plain = net(ids, mask, types)
    monkeypatch.setattr("recipes.bert.FUSED_FROM", 1)
    assert torch.allclose(plain, net(ids, mask, types), atol=1e-5)


def test_learns_and_keeps_the_best(tmp_path: Path) -> None:
    net = model()
    state = train(net, [draw] * 12, right, SETTINGS, tmp_path)
    assert state.best > 90
    fresh = model()
    assert best_weights(fresh, tmp_path / "state.pt").best == state.best
    assert right(fresh)["score"] == state.best


def test_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """A run cut after each epoch ends where an uncut one does."""
    whole, cut = model(), model()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    train(whole, [draw] * 3, right, SETTINGS, tmp_path / "a")

    class Cut(Exception):
        pass

    def stop_after_first(net: Bert) -> dict[str, float]:
        if (tmp_path / "b" / "state.pt").is_file():
            raise Cut
        return right(net)

    with pytest.raises(Cut):
        train(cut, [draw] * 3, stop_after_first, SETTINGS, tmp_path / "b")
    train(cut, [draw] * 3, right, SETTINGS, tmp_path / "b")
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, cut.state_dict()[name], atol=1e-6), name


def test_refuses_the_state_of_another_plan(tmp_path: Path) -> None:
    train(model(), [draw], right, SETTINGS, tmp_path)
    with pytest.raises(SystemExit, match="another plan"):
        train(model(), [draw] * 2, right, SETTINGS, tmp_path)
