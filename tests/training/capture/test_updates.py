"""Steps of optimizers in few operations: the bits of torch.optim's own, and its state."""

from typing import Any

import pytest
import torch
from torch import nn

from runner.training.capture.updates import update

SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
CASES: list[tuple[Any, dict[str, Any]]] = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.01}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (Adam, {"lr": 0.003}),
    (Adam, {"lr": 0.003, "weight_decay": 0.01, "amsgrad": True}),
    (Adam, {"lr": 0.003, "weight_decay": 0.01, "decoupled_weight_decay": True}),
    (AdamW, {"lr": 0.003, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    (AdamW, {"amsgrad": True}),
    (RMSprop, {"lr": 0.01}),
    (RMSprop, {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    (RMSprop, {"momentum": 0.5}),
]
SHAPES = [(7,), (10, 128), (128,), (24, 1, 3, 3), (1,), (33, 65), (513, 101)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_parameters_and_state_are_the_same_bits(kind: Any, arguments: dict[str, Any], dtype: torch.dtype):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    mine, plain, step = kind(ours, **arguments), kind(theirs, **arguments), None
    for number in range(8):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in (mine, plain):  # as a schedule does
            optimizer.param_groups[0]["lr"] *= 0.9
        plain.step()
        if number in (0, 1, 5):  # a step of another shape comes between
            mine.step()
        else:
            step = step or update(mine, ours)
            assert step is not None
            for p, place in zip(ours, step.gradients, strict=True):
                place.copy_(p.grad)
            step.take()
            assert all(torch.equal(p.grad, place) for p, place in zip(ours, step.gradients, strict=True))
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p, q)
    for own, other in zip(mine.state_dict()["state"].values(), plain.state_dict()["state"].values(), strict=True):
        assert own.keys() == other.keys()
        for name, value in own.items():
            assert value is other[name] is None or torch.equal(value, other[name])


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(SGD, {"maximize": True}), (Adam, {"foreach": True}), (Adam, {"fused": True}), (torch.optim.NAdam, {})],
)
def test_others_take_their_own_step(kind: Any, arguments: dict[str, Any]):
    p = nn.Parameter(torch.ones(3))
    optimizer = kind([p], **arguments)
    p.grad = torch.ones(3)
    optimizer.step()
    assert update(optimizer, [p]) is None


@pytest.mark.parametrize("first", [0.0, 0.9])
@pytest.mark.parametrize("arguments", [{}, {"nesterov": True}, {"weight_decay": 0.1, "dampening": 0.2}])
@pytest.mark.parametrize("kind", [SGD, RMSprop])
def test_a_momentum_that_a_schedule_takes_to_0_and_back(kind: Any, arguments: dict[str, Any], first: float):
    if kind is RMSprop:
        first, arguments = 0.9, {"weight_decay": arguments.get("weight_decay", 0.0)}
    arguments = {name: value for name, value in arguments.items() if first or name != "nesterov"}
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    mine, plain = (kind(those, lr=0.1, momentum=first, **arguments) for those in (ours, theirs))
    step = None
    for number, momentum in enumerate([first, 0.0, 0.0, 0.5, 0.9, 0.0, 0.3]):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for optimizer in (mine, plain):
            optimizer.param_groups[0]["momentum"] = momentum
        plain.step()
        if number < 1:
            mine.step()
        else:
            step = step or update(mine, ours)
            assert step is not None
            for p, place in zip(ours, step.gradients, strict=True):
                place.copy_(p.grad)
            step.take()
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p, q), number
    for own, other in zip(mine.state_dict()["state"].values(), plain.state_dict()["state"].values(), strict=True):
        assert own.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in own.items())
