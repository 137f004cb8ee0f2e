"""Random configurations: the settings of a run, and in plain words for a torch script what they should mean."""

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.against_torch import goals, layers
from tests.against_torch.goals import Goal
from tests.against_torch.layers import Drawn

Pair = tuple[Tensor, Tensor]
PARTS = ("train", "valid", "test")


@dataclass
class Case:
    """All that is drawn from one seed."""

    seed: int
    goal: Goal
    stack: list[Drawn]
    parts: dict[str, Pair]
    source: str = "own"  # own | dataset | arrays | values | table: where the data come from
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = None
    metrics: list[Any] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> list[Any]:
        return [drawn.spec for drawn in self.stack]

    @property
    def loss_name(self) -> str:
        return str(self.goal.loss["name"])


def draw(seed: int) -> Case:
    """The case of this seed."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape, indices = _shape(rng)
    goal = goals.draw(rng)
    stack = _stack(rng, goal, shape, indices)
    # A source of the user's may give numbers of another type than the model's.
    dtype = rng.choice([torch.float64, torch.uint8, torch.float16, torch.int64]) if rng.random() < 0.03 else None
    sizes = dict(zip(PARTS, _sizes(rng), strict=True))
    parts = {part: _pair(goal, n, shape, indices, dtype) for part, n in sizes.items() if n}
    case = Case(seed, goal, stack, parts)
    case.source = _source(rng, case, indices) if dtype is None else "own"
    case.trainer = _trainer(rng, len(parts["train"][0]))
    case.optimizer = _optimizer(rng)
    case.scheduler = _scheduler(rng)
    names = list(goals.METRICS[goal.task])
    case.metrics = rng.sample(names, rng.choice([0, 0, 1, 1, 2]))
    if goal.task == "regression" and case.loss_name in BECOME_CLASSES:
        case.metrics = []  # of which the targets, recognized by the loss, take others
    if rng.random() < 0.06:
        case.plots = [rng.choice(PLOTS)]
    return case


#: Losses whose targets, numbers here, are classes or labels for a run.
BECOME_CLASSES = {
    "BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss", "SoftMarginLoss", "HingeEmbeddingLoss",
    "CrossEntropyLoss",
}  # fmt: skip
PLOTS = ["loss_curve", "confusion_matrix", "examples", "feature_maps", "filters", "fit", "predicted_vs_true"]


def _shape(rng: random.Random) -> tuple[tuple[int, ...], bool]:
    """Of an example, and whether it holds indices."""
    kind = rng.choice(["flat", "flat", "sequence", "image", "image", "volume", "indices"])
    if kind == "flat":
        return (rng.randint(1, 6),), False
    if kind == "sequence":
        return (rng.randint(1, 4), rng.randint(1, 7)), False
    if kind == "image":
        return (rng.randint(1, 3), *[rng.randint(1, 8)] * 2), False
    if kind == "volume":
        return (rng.randint(1, 2), 3, 4, 3), False
    return (rng.randint(1, 5),), True


def _sizes(rng: random.Random) -> list[int]:
    return [rng.choice([1, 2, 3, 5, 6, 7, 9, 12, 13]), rng.choice([0, 1, 1, 2, 5, 8]), rng.choice([0, 0, 1, 3, 6])]


def _pair(goal: Goal, n: int, shape: tuple[int, ...], indices: bool, dtype: torch.dtype | None) -> Pair:
    x = torch.randint(0, 7, (n, *shape)) if indices else torch.randn(n, *shape)
    return x.to(dtype or x.dtype), goal.targets(n)


def _stack(rng: random.Random, goal: Goal, shape: tuple[int, ...], indices: bool) -> list[Drawn]:
    """Some layers, and a last one that gives the goal's number of outputs; rarely another."""
    stack: list[Drawn] = []
    x: Any = torch.zeros(2, *shape, dtype=torch.int64 if indices else torch.float32)
    if indices:
        told = {"num_embeddings": 7, "embedding_dim": rng.randint(1, 4)}
        stack.append(layers.plain(rng.choice(["Embedding", "Embedding", "EmbeddingBag"]), told, {}))
        x = layers.after(stack[-1], x)
    for _ in range(rng.randint(0, 4)):
        stack.append(layers.layer(rng, tuple(x.shape[1:])))
        try:
            x = layers.after(stack[-1], x)
        except Exception:
            return stack  # nobody can train it
        if isinstance(x, tuple):
            if rng.random() < 0.05:
                return stack
            stack.append(Drawn({"Select": 0}, layers.First))
            x = x[0]
        if x.dim() == 3 and rng.random() < 0.1:
            stack.append(Drawn("Last", layers.Last))
            x = x[:, -1]
        if x.dim() < 2 or x.numel() > 4000:
            break
    return stack + _end(rng, goal, x)


def _end(rng: random.Random, goal: Goal, x: Tensor) -> list[Drawn]:
    outputs = goal.outputs + (rng.random() < 0.02)
    if goal.steps:  # of shape (N, classes, steps)
        conv = {"out_channels": outputs, "kernel_size": 1}
        if x.dim() != 3:
            end = [Drawn("Flatten", nn.Flatten)] if x.dim() > 2 else []
            x = x.flatten(1)
            end.append(layers.plain("Linear", {"out_features": goal.steps}, {"in_features": x.shape[-1]}))
            end.append(layers.plain("Unflatten", {"dim": 1, "unflattened_size": (1, goal.steps)}, {}))
            return [*end, layers.plain("Conv1d", conv, {"in_channels": 1}), *goal.end]
        pool = layers.plain("AdaptiveAvgPool1d", {"output_size": goal.steps}, {})
        return [pool, layers.plain("Conv1d", conv, {"in_channels": x.shape[1]}), *goal.end]
    end = []
    if x.dim() > 2:
        end, x = [Drawn("Flatten", nn.Flatten)], x.flatten(1)
    end.append(layers.plain("Linear", {"out_features": outputs}, {"in_features": x.shape[-1]}))
    return [*end, *goal.end]


def _source(rng: random.Random, case: Case, indices: bool) -> str:
    x, y = case.parts["train"]
    found = ["own", "own", "own", "dataset"]
    written = case.goal.task == "regression" and y.is_floating_point() and y.dim() > 1
    if written or case.goal.complete:
        found += ["arrays"] * 3
    if written and set(case.parts) == {"train"} and not indices:
        found += ["values"] * 2
        if x.dim() == 2 and y.shape[1:] == (1,) and len(x) > 1:
            found += ["table"] * 4
    return rng.choice(found)


def _trainer(rng: random.Random, total: int) -> dict[str, Any]:
    found: dict[str, Any] = {"epochs": rng.choice([1, 2, 3])}
    found["batch_size"] = rng.choice([None, None, 1, 2, 3, 4, max(total - 1, 1), total, total + 5])
    found["eval_batch_size"] = 1000  # the script evaluates all at once
    found["precision"] = rng.choice(["fp32"] * 6 + ["fp64", "fp64", "bf16"])
    for key, value, share in (
        ("shuffle", False, 0.2),
        ("drop_last", True, 0.15),
        ("accumulate", rng.choice([2, 3]), 0.2),
        ("clip_norm", rng.choice([0.01, 1.0]), 0.15),
        ("clip_value", 0.05, 0.1),
        ("validate_every", 2, 0.2),
        ("monitor", "train/loss", 0.1),
        ("patience", 1, 0.05),
    ):
        if rng.random() < share:
            found[key] = value
    return found


OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.8, "nesterov": True}, {"weight_decay": 0.1}, {"maximize": True}],
    "Adam": [{}, {"betas": [0.8, 0.9]}, {"amsgrad": True}, {"weight_decay": 0.1}, {"fused": True}, {"foreach": True}],
    "AdamW": [{}, {"weight_decay": 0.3}, {"capturable": True}],
    "NAdam": [{}, {"momentum_decay": 0.1}],
    "RAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "Adamax": [{}, {"eps": 1e-3}],
    "Adadelta": [{}, {"rho": 0.5}],
    "Adagrad": [{}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.1}],
    "ASGD": [{}, {"lambd": 0.1, "t0": 1}],
    "RMSprop": [{}, {"centered": True}, {"momentum": 0.5, "alpha": 0.5}],
    "Rprop": [{}, {"etas": [0.4, 1.3], "step_sizes": [1e-5, 1]}],
    "LBFGS": [{}, {"max_iter": 3, "history_size": 4}, {"line_search_fn": "strong_wolfe", "max_iter": 4}],
    "Adafactor": [{}, {"eps": [1e-10, 1e-2]}, {"d": 0.5, "beta2_decay": -0.5}],
    "Muon": [{}, {"momentum": 0.5, "ns_steps": 2}, {"adjust_lr_fn": "match_rms_adamw"}],
    "SparseAdam": [{}],
}


def _optimizer(rng: random.Random) -> dict[str, Any]:
    name = rng.choice(["SGD", "SGD", "Adam", *OPTIMIZERS])
    return {"name": name, "lr": rng.choice([0.001, 0.01, 0.05]), **rng.choice(OPTIMIZERS[name])}


def _scheduler(rng: random.Random) -> dict[str, Any] | None:
    if rng.random() < 0.6:
        return None
    interval = {"interval": rng.choice(["epoch", "step"])}
    return rng.choice(
        [
            {"name": "StepLR", "step_size": 1, "gamma": 0.5, **interval},
            {"name": "MultiStepLR", "milestones": [1, 2], **interval},
            {"name": "ExponentialLR", "gamma": 0.7, **interval},
            {"name": "ConstantLR", "factor": 0.5, "total_iters": 2, **interval},
            {"name": "LinearLR", "start_factor": 0.3, "total_iters": 3, **interval},
            {"name": "PolynomialLR", "total_iters": 3, "power": 2.0, **interval},
            {"name": "CosineAnnealingLR", "eta_min": 0.0001, **interval},
            {"name": "CosineAnnealingWarmRestarts", "T_0": 2, **interval},
            {"name": "OneCycleLR", "max_lr": 0.05},
            {"name": "CyclicLR", "base_lr": 0.001, "max_lr": 0.02, "step_size_up": 2},
            {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5},
        ]
    )
