"""A plain BERT in torch, for training only: parameter names are Hugging Face's.

Post-norm encoder, learned positions, exact GELU. Attention is a plain matrix product for
short inputs and torch's fused kernel for long ones, whichever is faster on a CPU.
Heads: ``sequence`` (mean over the real tokens, or the first token, then one linear layer)
and ``token`` (one linear layer per token).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

#: from this length on the fused attention kernel wins
FUSED_FROM = 64


class Layer(nn.Module):
    """One encoder layer; submodules are registered under Hugging Face's dotted names."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        eps = config.get("layer_norm_eps", 1e-12)
        self.heads = config["num_attention_heads"]
        self.drop = config.get("hidden_dropout_prob", 0.1)
        attention = nn.Module()
        attention.self = nn.Module()
        for name in ("query", "key", "value"):
            setattr(attention.self, name, nn.Linear(hidden, hidden))
        attention.output = nn.Module()
        attention.output.dense = nn.Linear(hidden, hidden)
        attention.output.LayerNorm = nn.LayerNorm(hidden, eps)
        self.attention = attention
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(hidden, inner)
        self.output = nn.Module()
        self.output.dense = nn.Linear(inner, hidden)
        self.output.LayerNorm = nn.LayerNorm(hidden, eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, S, H]; bias [B, 1, 1, S] is 0 on real tokens, very negative on padding."""
        rows, length, hidden = x.shape
        parts = [getattr(self.attention.self, n) for n in ("query", "key", "value")]
        weight = torch.cat([p.weight for p in parts])
        joint = F.linear(x, weight, torch.cat([p.bias for p in parts]))
        joint = joint.view(rows, length, 3, self.heads, hidden // self.heads)
        q, k, v = joint.permute(2, 0, 3, 1, 4)
        if length >= FUSED_FROM:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            scale = (hidden // self.heads) ** -0.5
            mixed = torch.softmax(q * scale @ k.transpose(-1, -2) + bias, dim=-1) @ v
        mixed = mixed.transpose(1, 2).reshape(rows, length, hidden)
        out = self.attention.output
        x = out.LayerNorm(x + F.dropout(out.dense(mixed), self.drop, self.training))
        inner = F.gelu(self.intermediate.dense(x))
        return self.output.LayerNorm(
            x + F.dropout(self.output.dense(inner), self.drop, self.training)
        )


class Bert(nn.Module):
    """Encoder and classifier. ``forward`` gives [B, labels] or [B, S, labels]."""

    def __init__(
        self, config: dict[str, Any], labels: int, head: str, pooling: str = "mean"
    ) -> None:
        super().__init__()
        if head not in ("sequence", "token") or pooling not in ("mean", "cls"):
            raise ValueError(f"unknown head {head!r} or pooling {pooling!r}")
        self.config, self.head, self.pooling = config, head, pooling
        hidden = config["hidden_size"]
        self.bert = nn.Module()
        e = self.bert.embeddings = nn.Module()
        e.word_embeddings = nn.Embedding(config["vocab_size"], hidden)
        e.position_embeddings = nn.Embedding(config["max_position_embeddings"], hidden)
        e.token_type_embeddings = nn.Embedding(config.get("type_vocab_size", 2), hidden)
        e.LayerNorm = nn.LayerNorm(hidden, config.get("layer_norm_eps", 1e-12))
        self.bert.encoder = nn.Module()
        self.bert.encoder.layer = nn.ModuleList(
            Layer(config) for _ in range(config["num_hidden_layers"])
        )
        self.classifier = nn.Linear(hidden, labels)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """ids, types int64 [B, S]; mask float [B, S]."""
        e = self.bert.embeddings
        x = e.word_embeddings(ids) + e.token_type_embeddings(types)
        x = e.LayerNorm(x + e.position_embeddings.weight[: ids.shape[1]])
        drop = self.config.get("hidden_dropout_prob", 0.1)
        x = F.dropout(x, drop, self.training)
        bias = ((1.0 - mask) * -1e9)[:, None, None, :]
        for layer in self.bert.encoder.layer:
            x = layer(x, bias)
        if self.head == "sequence":
            if self.pooling == "cls":
                x = x[:, 0]
            else:
                x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.classifier(F.dropout(x, drop, self.training))


def from_base(
    directory: Path,
    labels: int,
    head: str,
    pooling: str = "mean",
    token_types: int = 2,
    frozen_layers: int = 0,
) -> Bert:
    """The encoder with the base weights and a fresh head.

    With more token types than the base has, each row starts as the base's row 0, so that the
    untrained model is the base model whatever the types. Word embeddings stay frozen: most
    pieces of the vocabulary are absent from a small training set and must not drift from it.
    With ``frozen_layers`` all embeddings and that many lowest layers stay as they are, too.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    model = Bert({**config, "type_vocab_size": token_types}, labels, head, pooling)
    tensors = {
        name.removeprefix("bert."): value.float()
        for name, value in load_file(str(directory / "model.safetensors")).items()
        if not name.endswith("position_ids") and "pooler" not in name
    }
    key = "embeddings.token_type_embeddings.weight"
    if token_types != tensors[key].shape[0]:
        tensors[key] = tensors[key][:1].repeat(token_types, 1)
    model.bert.load_state_dict(tensors, strict=True)
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    if frozen_layers:
        model.bert.embeddings.requires_grad_(False)
        model.bert.encoder.layer[:frozen_layers].requires_grad_(False)
    return model
