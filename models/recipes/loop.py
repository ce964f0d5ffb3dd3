"""The training loop: length-bucketed batches, warm-up and linear decay, resume, early stop.

A recipe gives examples that are tokenised once and, per epoch, which of them to use. After
every epoch the whole state (weights, optimiser, history, best weights) is written, so that a
run that was cut off goes on where it was; the random streams are functions of seed and epoch.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

log = logging.getLogger("recipes")
IGNORED = -100


@dataclass
class Example:
    """One tokenised input; ``target`` is a class, or one class per token."""

    ids: list[int]
    types: list[int]
    target: int | list[int]


@dataclass
class Settings:
    """``end``: the share of lr that the linear decay ends at. ``average``: decay of the running
    average of the weights, which is what is scored and kept (0: none); with it a run that ends
    early is nearly as good as one whose rate has decayed."""

    lr: float
    batch: int = 16
    decay: float = 0.01
    warmup: float = 0.06
    clip: float = 1.0
    patience: int = 2
    seed: int = 20
    smoothing: float = 0.0
    head_lr: float | None = None
    end: float = 0.0
    average: float = 0.0


@dataclass
class State:
    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


def setup(work: Path) -> None:
    """Log to the work folder and to stderr; thread count from GLOSSA_THREADS (default 1)."""
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("GLOSSA_THREADS", "1")))
    handlers = [logging.FileHandler(work / "train.log"), logging.StreamHandler(sys.stderr)]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers, force=True
    )


def batches(examples: Sequence[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Batches of similar length in random order: shuffle, sort within big buckets, cut."""
    order = list(examples)
    rng.shuffle(order)
    bucket = size * 64
    made: list[list[Example]] = []
    for start in range(0, len(order), bucket):
        part = sorted(order[start : start + bucket], key=lambda e: len(e.ids))
        made += [part[i : i + size] for i in range(0, len(part), size)]
    rng.shuffle(made)
    return made


def collate(batch: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(ids, mask, types, targets), padded at the right."""
    length = max(len(e.ids) for e in batch)
    ids, types = (torch.zeros(len(batch), length, dtype=torch.long) for _ in range(2))
    mask = torch.zeros(len(batch), length)
    per_token = isinstance(batch[0].target, list)
    shape = (len(batch), length) if per_token else (len(batch),)
    targets = torch.full(shape, IGNORED, dtype=torch.long)
    for i, e in enumerate(batch):
        n = len(e.ids)
        ids[i, :n] = torch.tensor(e.ids)
        types[i, :n] = torch.tensor(e.types)
        mask[i, :n] = 1.0
        if isinstance(e.target, list):
            targets[i, :n] = torch.tensor(e.target)
        else:
            targets[i] = e.target
    return ids, mask, types, targets


def optimiser(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW; no decay for biases, norms and embeddings of types; the head may learn faster."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1 and "token_type" not in name, "classifier" in name)
            groups.setdefault(key, []).append(parameter)
    head = settings.head_lr or settings.lr
    return torch.optim.AdamW(
        [
            {"params": p, "weight_decay": settings.decay * d, "lr": head if h else settings.lr}
            for (d, h), p in groups.items()
        ],
        fused=True,
    )


def predict(model: nn.Module, examples: Sequence[Example], size: int = 32) -> list[Tensor]:
    """Logits in the order of the examples, each cut to its own length for token heads."""
    model.eval()
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    found: dict[int, Tensor] = {}
    with torch.inference_mode():
        for start in range(0, len(order), size):
            part = order[start : start + size]
            ids, mask, types, _ = collate([examples[i] for i in part])
            for i, row in zip(part, model(ids, mask, types), strict=True):
                found[i] = row[: len(examples[i].ids)] if row.ndim > 1 else row
    return [found[i] for i in range(len(examples))]


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights that training changes."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def train(
    model: nn.Module,
    plan: Sequence[Callable[[random.Random], list[Example]]],
    score: Callable[[nn.Module], dict[str, float]],
    settings: Settings,
    work: Path,
) -> State:
    """Run the epochs of the plan; leaves the best weights by ``score()["score"]`` in model.

    plan: one function per epoch that draws the epoch's examples (deterministic in its rng).
    """
    def draw(epoch: int) -> list[list[Example]]:
        rng = random.Random(settings.seed * 1000 + epoch)
        return batches(plan[epoch](rng), settings.batch, rng)

    counts = [len(draw(e)) for e in range(len(plan))]
    total = sum(counts)
    warm = max(1, math.ceil(settings.warmup * total))
    opt = optimiser(model, settings)

    def rate(step: int) -> float:
        left = max(0.0, (total - step) / max(1, total - warm))
        return min((step + 1) / warm, settings.end + (1.0 - settings.end) * left)

    schedule = torch.optim.lr_scheduler.LambdaLR(opt, rate)
    loss_of = nn.CrossEntropyLoss(ignore_index=IGNORED, label_smoothing=settings.smoothing)
    state, best, path = State(), trainable(model), work / "state.pt"
    mean_weights = trainable(model)
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        if saved["total"] != total:
            raise SystemExit(f"{path} is of another plan: remove it to start afresh")
        model.load_state_dict(saved["weights"], strict=False)
        opt.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        state, best = State(**saved["state"]), saved["best"]
        mean_weights = saved.get("average") or trainable(model)
        log.info("resumed after epoch %d", state.epoch)
    while state.epoch < len(plan) and state.epoch - state.best_epoch <= settings.patience:
        torch.manual_seed(settings.seed * 1000 + state.epoch)
        model.train()
        began, losses, tokens = time.monotonic(), [], 0
        bar = tqdm(draw(state.epoch), desc=f"epoch {state.epoch + 1}/{len(plan)}", mininterval=10)
        for batch in bar:
            ids, mask, types, targets = collate(batch)
            logits = model(ids, mask, types)
            loss = loss_of(logits.flatten(0, -2), targets.flatten())
            opt.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            opt.step()
            schedule.step()
            state.step += 1
            blend(mean_weights, model, settings.average, state.step)
            losses.append(loss.item())
            tokens += ids.numel()
            if len(losses) % 100 == 0:
                speed = tokens / (time.monotonic() - began)
                recent = sum(losses[-100:]) / 100
                log.info("step %d/%d loss %.4f %.0f tokens/s", state.step, total, recent, speed)
        current = trainable(model)
        model.load_state_dict(mean_weights, strict=False)
        found = score(model)
        mean = sum(losses) / len(losses)
        seconds = time.monotonic() - began
        state.history.append({"epoch": state.epoch + 1, "loss": mean, "seconds": seconds, **found})
        log.info("epoch %d: %s", state.epoch + 1, json.dumps(state.history[-1]))
        if found["score"] > state.best:
            state.best, state.best_epoch, best = found["score"], state.epoch, trainable(model)
        model.load_state_dict(current, strict=False)
        state.epoch += 1
        more = {"best": best, "average": mean_weights, "total": total}
        save(path, model, opt, schedule, state, more)
    model.load_state_dict(best, strict=False)
    return state


def blend(mean: dict[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """Move the running average towards the weights; early steps count more."""
    share = 1.0 - min(decay, step / (step + 10.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in mean:
                mean[name].lerp_(parameter, share)


def save(path, model, opt, schedule, state: State, more: dict[str, Any]) -> None:
    """Write by rename, so that a cut leaves the epoch before."""
    part = path.with_name(path.name + ".part")
    torch.save(
        {
            "weights": trainable(model),
            "optimiser": opt.state_dict(),
            "schedule": schedule.state_dict(),
            "state": vars(state),
            **more,
        },
        part,
    )
    part.replace(path)


def best_weights(model: nn.Module, path: Path) -> State:
    """Load the best weights so far out of a saved state."""
    if not path.is_file():
        raise SystemExit(f"no trained state at {path}: train first")
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["best"], strict=False)
    return State(**saved["state"])
