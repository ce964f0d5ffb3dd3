"""The decoder recipe without its GGUF: graphs, cache, smoothing, on a tiny random Llama."""

from __future__ import annotations

import json
import struct
import subprocess

import numpy as np
import pytest
from recipes.convert.rounding import saturates
from recipes.convert.runner import load_tokenizer, session
from recipes.smollm2 import gguf
from recipes.smollm2.calibrate import collect
from recipes.smollm2.check import (
    Directory,
    batch_difference,
    chunk_difference,
    greedy,
    reuse_difference,
    step_difference,
)
from recipes.smollm2.graph import Cache, FloatForm, build, keys, matrix
from recipes.smollm2.hard_strings import HARD
from recipes.smollm2.int8 import Int8, Int8Form, rows_seen
from recipes.smollm2.layout import LARGEST_FILE
from recipes.smollm2.llama import TINY, Llama, halves, interleaved, random_llama
from recipes.smollm2.run import Decoder
from recipes.smollm2.smooth import dequantised, quantised, smoothed
from recipes.smollm2.tiny import write_tiny

LENGTH = 96
IDS = np.random.default_rng(5).integers(0, TINY.vocab, (4, LENGTH)).tolist()


def reference(llama: Llama, ids: list[int]) -> np.ndarray:
    """The same Llama in plain float64 numpy: logits ``[len(ids), V]``."""
    s, n = llama.shape, len(ids)
    half = s.head_size // 2
    angle = np.outer(np.arange(n), s.theta ** (-np.arange(half) / half))
    cos, sin = np.cos(angle)[None], np.sin(angle)[None]

    def norm(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + s.eps) * w

    def heads(x: np.ndarray, count: int) -> np.ndarray:
        return x.reshape(n, count, s.head_size).swapaxes(0, 1)

    def turn(x: np.ndarray) -> np.ndarray:
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    x = (llama.head / llama.embed[:, None]).T.astype(np.float64)[ids]
    mask = np.triu(np.full((n, n), -np.inf), 1)
    for layer in llama.layers:
        qkv = norm(x, layer.attention_norm) @ layer.qkv
        parts = np.split(qkv, [s.q_width, s.q_width + s.kv_width], axis=1)
        q, k = turn(heads(parts[0], s.heads)), turn(heads(parts[1], s.kv_heads))
        k, v = (np.repeat(p, s.group, axis=0) for p in (k, heads(parts[2], s.kv_heads)))
        scores = q @ k.swapaxes(1, 2) / s.head_size**0.5 + mask
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        x = x + (weights @ v).swapaxes(0, 1).reshape(n, -1) @ layer.out
        y = norm(x, layer.up_norm)
        gate = y @ layer.gate
        x = x + (gate / (1 + np.exp(-gate)) * (y @ layer.up)) @ layer.down
    return norm(x, llama.norm) @ llama.head


def float_decoder(llama: Llama) -> Decoder:
    model = build(llama, FloatForm(llama), Cache(), "float")
    return Decoder(session(model.SerializeToString()), llama.shape, LENGTH, np.float32)


@pytest.fixture(scope="module")
def converted():
    llama = random_llama()
    moved, seen, cache = smoothed(llama, collect(llama, IDS))
    return llama, moved, seen, cache, quantised(moved, seen, progress=lambda _: None)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    write_tiny(path)
    return path


def test_permutation_is_undone():
    w = np.arange(4 * 16 * 3).reshape(64, 3)
    np.testing.assert_array_equal(halves(interleaved(w, 4), 4), w)
    # llama.cpp's row 1 of a head is Hugging Face's row D/2
    np.testing.assert_array_equal(interleaved(w, 4)[1], w[8])


def test_float_graph_is_llama():
    llama = random_llama()
    found = float_decoder(llama).logits(np.array(IDS[:1]), [LENGTH], np.arange(LENGTH))
    np.testing.assert_allclose(found, reference(llama, IDS[0]), atol=2e-3)


def test_steps_equal_one_prompt():
    llama = random_llama()
    whole = float_decoder(llama).logits(np.array(IDS[:1]), [LENGTH], np.arange(LENGTH))
    np.testing.assert_allclose(float_decoder(llama).forced(IDS[0]), whole, atol=1e-3)


def test_smoothing_changes_nothing(converted):
    llama, moved, *_ = converted
    assert not np.allclose(moved.layers[0].qkv, llama.layers[0].qkv)
    np.testing.assert_allclose(reference(moved, IDS[0]), reference(llama, IDS[0]), atol=1e-3)


def test_weights_are_int8_and_bounded_in_pairs(converted):
    _, moved, _, _, matrices = converted
    assert list(matrices) == keys(TINY)
    assert not any(saturates(m.weight) for m in matrices.values())
    for key, m in matrices.items():
        w = matrix(moved, key)
        assert np.linalg.norm(m.values() - w) < 0.02 * np.linalg.norm(w)


def test_int8_graph_is_the_rounded_model(converted):
    llama, moved, _, _, matrices = converted
    model = build(moved, Int8Form(matrices, moved.embed), Cache(), "int8")
    decoder = Decoder(session(model.SerializeToString()), TINY, LENGTH, np.float32)
    found = decoder.logits(np.array(IDS[:1]), [LENGTH], np.arange(LENGTH))
    exact = reference(llama, IDS[0])
    weights_only = reference(dequantised(moved, matrices, keys(TINY)), IDS[0])

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).mean()) / exact.std())

    assert distance(found, exact) < 0.1
    assert distance(weights_only, exact) < 0.1


def test_rows_are_quantised_one_by_one():
    rng = np.random.default_rng(1)
    x = (rng.normal(0, 1, (5, 64)) * np.array([[1e-3], [1], [1e3], [0], [1]])).astype(np.float32)
    w = Int8(rng.integers(-60, 60, (64, 8)).astype(np.int8), np.full(8, 0.01, np.float32))
    llama = random_llama()
    found = session(single(Int8Form({"m": w}, llama.embed))).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, rows_seen(x) @ w.values(), rtol=1e-4, atol=1e-6)
    finer = session(single(Int8Form({"m": w}, llama.embed, ("m",)))).run(None, {"x": x})[0]
    size = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(finer - x @ w.values()) <= size * 1e-3).all()
    assert (finer[3] == 0).all()
    assert (found[3] == 0).all(), "an all-zero row must give zeros, not NaN"


def single(form: Int8Form) -> bytes:
    from onnx import TensorProto
    from recipes.convert.builder import GraphBuilder
    from recipes.smollm2.graph import scaled

    g = GraphBuilder("single")
    g.input("x", ["rows", 64], TensorProto.FLOAT)
    q, m = form.enter(g, "m", "x")
    g.op("Identity", [scaled(g, form.product(g, "m", q), m)], "y")
    g.output("y", ["rows", 8])
    return g.model().SerializeToString()


def test_int8_cache_stays_close_to_the_float_cache(converted):
    _, moved, _, cache, matrices = converted
    form = Int8Form(matrices, moved.embed)
    found = []
    for kind, dtype in ((cache, np.int8), (Cache(), np.float32)):
        sess = session(build(moved, form, kind, "step").SerializeToString())
        found.append(Decoder(sess, TINY, LENGTH, dtype).forced(IDS[0]))
    assert np.sqrt(((found[0] - found[1]) ** 2).mean()) < 0.1 * found[1].std()


def test_prefill_sees_what_decode_sees(directory):
    both = Directory(directory)
    steps = both.decoder("decode", LENGTH).forced(IDS[0])
    whole = both.decoder("prefill", LENGTH).logits(np.array(IDS[:1]), [LENGTH], np.arange(LENGTH))
    assert np.median(np.abs(whole - steps).max(axis=1)) < 1e-4
    assert (whole.argmax(axis=1) == steps.argmax(axis=1)).mean() > 0.99


def test_decode_graph_takes_prompts_too(directory):
    assert step_difference(Directory(directory), IDS[0]) == 0.0


def test_pieces_of_a_prompt_do_not_matter(directory):
    assert chunk_difference(Directory(directory), IDS[0]) < 1e-4


def test_ragged_batches_are_exact(directory):
    assert batch_difference(Directory(directory), IDS, [5, 64, 80, 1]) == 0.0


def test_reuse_of_cached_blocks_is_exact(directory):
    assert reuse_difference(Directory(directory), IDS[0]) == 0.0


def test_directory(directory):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=directory, check=False)
    assert done.returncode == 0
    size = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())
    assert size < 400_000
    listed = json.loads((directory / "onnx/weights.json").read_text(encoding="utf-8"))
    for entry in listed["tensors"]:
        path = directory / "onnx" / entry["file"]
        assert entry["offset"] + entry["bytes"] <= path.stat().st_size < LARGEST_FILE
        items = np.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"]))
        assert entry["bytes"] == items
    settings = Directory(directory).settings
    assert len(settings["k_scales"]) == len(settings["v_scales"]) == TINY.layers


def test_directory_is_reproducible(directory, tmp_path):
    write_tiny(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_bytes() == (directory / "SHA256SUMS").read_bytes()


def test_float_directory_is_the_model_itself(tmp_path):
    llama = write_tiny(tmp_path, form="float32")
    decoder = Directory(tmp_path).decoder("decode", LENGTH)
    np.testing.assert_allclose(decoder.forced(IDS[0]), reference(llama, IDS[0]), atol=2e-3)


def test_greedy_answers_do_not_depend_on_the_run(directory):
    answers = {tuple(greedy(Directory(directory), IDS[0][:20], 8, stop=-1)) for _ in range(2)}
    assert len(answers) == 1
    assert len(answers.pop()) == 8


def test_tokenizer_round_trips(directory):
    cutter = load_tokenizer(directory)
    for text in HARD:
        assert cutter.decode(cutter.encode(text).ids, skip_special_tokens=False) == text
    assert cutter.encode("²3").tokens[-1] == "3", "every number is cut on its own"


def test_gguf_is_read(tmp_path):
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    rng = np.random.default_rng(0)
    scale, low = np.float16(0.5), np.float16(-3.0)
    nibbles = rng.integers(0, 16, 32).astype(np.uint8)
    q4_1 = scale.tobytes() + low.tobytes() + (nibbles[:16] | nibbles[16:] << 4).tobytes()
    q8 = rng.integers(-127, 128, 32).astype(np.int8)
    q8_0 = scale.tobytes() + q8.tobytes()
    tensors = [("a", 3, q4_1), ("b", 8, q8_0), ("c", 0, np.arange(32, dtype="<f4").tobytes())]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2)
    head += text("name") + struct.pack("<I", 8) + text("tiny")
    head += text("list") + struct.pack("<IIQ", 9, 4, 2) + struct.pack("<II", 7, 9)
    body = b""
    for name, kind, raw in tensors:
        head += text(name) + struct.pack("<IQQIQ", 2, 16, 2, kind, len(body))
        body += raw + b"\0" * (-len(raw) % 32)
    path = tmp_path / "x.gguf"
    path.write_bytes(head + b"\0" * (-len(head) % 32) + body)
    found = gguf.read(path)
    assert found.metadata == {"name": "tiny", "list": [7, 9]}
    np.testing.assert_array_equal(found.tensors["a"].values().reshape(-1), nibbles * 0.5 - 3)
    np.testing.assert_array_equal(found.tensors["b"].values().reshape(-1), q8 * 0.5)
    np.testing.assert_array_equal(found.tensors["c"].values(), np.arange(32).reshape(2, 16))
