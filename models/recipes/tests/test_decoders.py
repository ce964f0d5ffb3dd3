"""Checkpoints to served decoders, and the exports that tests compare with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recipes.convert.runner import session
from recipes.decoders.checkpoint import load, read_safetensors
from recipes.decoders.command import convert_decoder
from recipes.decoders.exported import gpt2_export, llama_export
from recipes.decoders.fixtures import SHAPE, exported_greedy, in_place_greedy
from recipes.decoders.gpt2 import TINY_GPT2, gpt2_config, random_gpt2
from recipes.decoders.variants import fp16, q4, q8
from recipes.smollm2.check import Directory, greedy
from recipes.smollm2.layout import llama_config, write_texts
from recipes.smollm2.llama import random_llama
from recipes.smollm2.tiny import TOKENS, texts
from safetensors.numpy import save_file

IDS = [76, 118, 289, 35, 269, 265, 297, 290, 298, 66]
COUNT = 24


def llama_tensors(llama, untied=None):
    s = llama.shape
    found = {"model.embed_tokens.weight": llama.rows(), "model.norm.weight": llama.norm}
    for i, layer in enumerate(llama.layers):
        p = f"model.layers.{i}."
        q, k, v = np.split(layer.qkv.T, np.cumsum([s.q_width, s.kv_width]))
        found |= {
            f"{p}input_layernorm.weight": layer.attention_norm,
            f"{p}self_attn.q_proj.weight": q,
            f"{p}self_attn.k_proj.weight": k,
            f"{p}self_attn.v_proj.weight": v,
            f"{p}self_attn.o_proj.weight": layer.out.T,
            f"{p}post_attention_layernorm.weight": layer.up_norm,
            f"{p}mlp.gate_proj.weight": layer.gate.T,
            f"{p}mlp.up_proj.weight": layer.up.T,
            f"{p}mlp.down_proj.weight": layer.down.T,
        }
    if untied is not None:
        found["lm_head.weight"] = untied
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def write_checkpoint(path, config, tensors):
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path / "model.safetensors"))
    (path / "config.json").write_text(json.dumps(config))
    write_texts(path, *texts(SHAPE))
    return path


@pytest.fixture
def checkpoint(tmp_path):
    llama = random_llama(SHAPE)
    return write_checkpoint(tmp_path / "hf", llama_config(SHAPE, TOKENS), llama_tensors(llama))


def plain_greedy(model):
    return exported_greedy(session(model.SerializeToString()), IDS, COUNT)[0]


def test_export_equals_the_fast_layout(checkpoint, tmp_path):
    convert_decoder(checkpoint, tmp_path / "out")
    llama = random_llama(SHAPE)
    expected = in_place_greedy(tmp_path / "out", IDS, COUNT)
    assert len(set(expected)) > 8
    for fused in (False, True):
        assert plain_greedy(llama_export(llama, fused)) == expected
    # with the prefill graph in front, as it is served
    assert greedy(Directory(tmp_path / "out"), IDS, COUNT, -1) == expected


def test_int8_conversion_follows_the_float_model(checkpoint, tmp_path):
    convert_decoder(
        checkpoint, tmp_path / "out", "the river is cold and deep, in the ing er. " * 90
    )
    directory = Directory(tmp_path / "out")
    assert directory.settings["sessions"]["decode"]["cache_dtype"] == "int8"
    logits = directory.decoder("decode", len(IDS)).forced(IDS)
    float_logits = float_directory(checkpoint, tmp_path).decoder("decode", len(IDS)).forced(IDS)
    assert np.sqrt(((logits - float_logits) ** 2).mean()) < 0.15 * float_logits.std()
    assert "self_test" not in directory.config["glossa"] or directory.config["glossa"]["self_test"]


def float_directory(checkpoint, tmp_path):
    convert_decoder(checkpoint, tmp_path / "float")
    return Directory(tmp_path / "float")


@pytest.mark.parametrize("text", [None, "the river is cold and deep, in the ing er. " * 90])
def test_untied_heads_are_kept(tmp_path, text):
    llama = random_llama(SHAPE)
    other = np.random.default_rng(9).normal(0, 0.5, llama.rows().shape).astype(np.float32)
    config = llama_config(SHAPE, TOKENS, tied=False)
    source = write_checkpoint(tmp_path / "hf", config, llama_tensors(llama, other))
    convert_decoder(source, tmp_path / "out", text)
    _, model = load(source)
    expected = llama_export(model)
    names = {i.name for i in expected.graph.initializer}
    assert {"lm_head.weight", "embed_tokens.weight"} <= names
    directory = Directory(tmp_path / "out")
    logits = directory.decoder("decode", len(IDS)).forced(IDS)
    sess = session(expected.SerializeToString())
    first = exported_greedy(sess, IDS, 1)[0]
    assert int(logits[-1].argmax()) == first[0]


def test_bfloat16_is_read(tmp_path):
    values = np.array([[1.5, -2.0, 0.0078125]], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    entry = {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, len(raw)]}
    header = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw)
    np.testing.assert_array_equal(read_safetensors(path)["x"], values)


def test_gpt2_is_exported(tmp_path):
    model = random_gpt2()
    tensors = {f"transformer.{name}": value for name, value in model.tensors.items()}
    source = write_checkpoint(tmp_path / "hf", gpt2_config(TINY_GPT2, TOKENS), tensors)
    convert_decoder(source, tmp_path / "out")
    found = exported_greedy(session(tmp_path / "out/onnx/model.onnx"), IDS, COUNT)[0]
    assert found == plain_greedy(gpt2_export(model))


def test_pieces_of_a_prompt_equal_the_whole():
    """Past and new tokens in one run: the causal mask counts from the end of the past."""
    sess = session(llama_export(random_llama(SHAPE)).SerializeToString())
    names = [o.name for o in sess.get_outputs()]
    past = {
        f"past_key_values.{i}.{part}": np.zeros((1, 2, 0, 16), np.float32)
        for i in range(2)
        for part in ("key", "value")
    }

    def run(ids, start, past):
        feeds = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, start + len(ids)), np.int64),
            "position_ids": np.arange(start, start + len(ids))[None],
        }
        return dict(zip(names, sess.run(None, feeds | past), strict=True))

    whole = run(IDS, 0, past)
    first = run(IDS[:4], 0, past)
    kept = {name: first[name.replace("past_key_values", "present")] for name in past}
    second = run(IDS[4:], 4, kept)
    np.testing.assert_allclose(second["logits"][0], whole["logits"][0, 4:], atol=1e-4)


def test_variants_stay_near():
    model = llama_export(random_llama(SHAPE))
    for make in (fp16, q8, q4):
        found = plain_greedy(make(model))
        assert len(found) == COUNT
    assert plain_greedy(fp16(model)) == plain_greedy(model)


@pytest.mark.parametrize(
    "change", [{"rope_scaling": {"factor": 2}}, {"hidden_act": "gelu"}, {"model_type": "bert"}]
)
def test_what_is_not_expressed_is_refused(tmp_path, change):
    config = {**llama_config(SHAPE, TOKENS), **change}
    source = write_checkpoint(tmp_path / "hf", config, llama_tensors(random_llama(SHAPE)))
    with pytest.raises(ValueError, match=next(iter(change))):
        load(source)
