"""Private names of torch that are used: a release that moves one of them fails here, by its name."""

import ast
import importlib
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn

from runner.settings import torch_private

RELEASE = f"torch {torch.__version__}"
ROOT = Path(__file__).parents[2]


def test_writes_in_place_are_counted() -> None:
    x = torch.zeros(2)
    assert hasattr(x, "_version"), f"{RELEASE} has no Tensor._version: runner/settings/torch_private.py"
    before = torch_private.writes(x)
    _ = x + 1
    assert torch_private.writes(x) == before, RELEASE
    x[:1].add_(1)  # a view: the same memory
    assert torch_private.writes(x) > before, RELEASE


def test_workers_of_a_loader_end_when_they_are_told_to() -> None:
    earlier = set(multiprocessing.active_children())
    batches = iter(torch.utils.data.DataLoader(torch.arange(4), num_workers=1, persistent_workers=True))  # type: ignore[arg-type]
    assert hasattr(batches, "_shutdown_workers"), f"{RELEASE} has other workers: runner/settings/torch_private.py"
    [worker] = set(multiprocessing.active_children()) - earlier
    torch_private.end_workers(batches)
    worker.join(600)
    assert not worker.is_alive(), RELEASE


def test_hooks_before_a_step_are_seen() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())
    name = "_optimizer_step_pre_hooks"
    assert hasattr(optimizer, name), f"{RELEASE} has no Optimizer.{name}: runner/settings/torch_private.py"
    assert not torch_private.has_step_pre_hooks(optimizer), RELEASE
    hook = optimizer.register_step_pre_hook(lambda *_: None)
    assert torch_private.has_step_pre_hooks(optimizer), RELEASE
    hook.remove()
    assert not torch_private.has_step_pre_hooks(optimizer), RELEASE


@pytest.mark.parametrize("decoupled", [False, True])
def test_fused_adam_is_that_of_the_optimizer(decoupled: bool) -> None:
    for name in ("_fused_adam_", "_fused_adamw_"):
        assert hasattr(torch, name), f"{RELEASE} has no torch.{name}: runner/settings/torch_private.py"
    weight, grad = nn.Parameter(torch.tensor([1.0, -2.0])), torch.tensor([0.5, 0.25])
    p, mean, square, steps = weight.detach().clone(), torch.zeros(2), torch.zeros(2), torch.tensor(1.0)
    torch_private.fused_adam(decoupled)(
        [p], [grad], [mean], [square], [], [steps], lr=0.1, beta1=0.9, beta2=0.999, weight_decay=0.5, eps=1e-8,
        amsgrad=False, maximize=False,
    )  # fmt: skip
    weight.grad = grad
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    kind([weight], lr=0.1, weight_decay=0.5, fused=True).step()
    assert torch.equal(p, weight), RELEASE


def test_torch_has_the_decorators_that_load_its_compiler() -> None:
    home, place = importlib.import_module("torch.optim.optimizer"), "runner/settings/torch_private.py"
    assert hasattr(torch, "_disable_dynamo"), f"{RELEASE} has no torch._disable_dynamo: {place}"
    assert hasattr(home, "_use_grad_for_differentiable"), f"{RELEASE} has no _use_grad_for_differentiable: {place}"
    methods = vars(torch.optim.Optimizer).values()
    wrapped = [method for method in methods if torch_private._is_wrapped_by(torch._disable_dynamo, method)]
    assert wrapped, f"{RELEASE} wraps no method of Optimizer in _disable_dynamo: {place}"


@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.Conv2d, "_conv_forward"), (nn.ConvTranspose2d, "_output_padding"), (nn.Linear, "__call__")],
)
def test_layers_compute_by_methods_of_these_names(layer: type, name: str) -> None:
    assert name in torch_private.COMPUTING
    assert callable(getattr(layer, name, None)), f"{RELEASE} has no {layer.__name__}.{name}"


@pytest.mark.parametrize("room", ["data", "model", "plots", "training"])
def test_no_other_file_of_these_rooms_uses_a_private_name(room: str) -> None:
    """Of another project, that is: an attribute with one `_` in front of something that is not `self` or a module.

    An object of the class that surrounds it may read it, too, as `outer._received` in Signals.
    """
    private = {}
    for path in (ROOT / "runner" / room).rglob("*.py"):
        tree = ast.parse(path.read_text())
        own = {"self", "cls", *(alias.asname or alias.name for node in ast.walk(tree)
                                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("runner")
                                for alias in node.names)}  # fmt: skip
        private[path.name] = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
            if node.attr not in ("_replace", "_asdict", "_fields", "_exit")  # public, of a NamedTuple and of os
            if not (isinstance(node.value, ast.Name) and node.value.id in own) and node.attr not in assigned(tree)
        ]
    assert {name: uses for name, uses in private.items() if uses} == {}


def assigned(tree: ast.Module) -> set[str]:
    """The private attributes that a module itself gives to `self`."""
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {node.attr for node in targets if isinstance(node.value, ast.Name) and node.value.id == "self"}


def _arguments(name: str) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return arguments of an operation as torch.ops takes them."""
    a, b, c, batch = torch.rand(3, 4), torch.rand(4, 3), torch.rand(3, 4), torch.rand(2, 3, 3)
    shown: dict[str, tuple[tuple[object, ...], dict[str, object]]] = {
        **{one: ((a, 1, False), {}) for one in ("_log_softmax", "_softmax")},
        "_log_softmax_backward_data": ((a, c, 1, torch.float32), {}),
        **{one: ((a, c), {"alpha": 0.3}) for one in ("add", "sub", "add_", "sub_")},
        **{one: ((a, c), {}) for one in ("mul", "div", "mul_", "div_", "copy_")},
        **{one: ((a, c, c + 1), {"value": 0.3}) for one in ("addcmul_", "addcdiv_")},
        **{one: ((a,), {}) for one in ("sigmoid", "tanh", "zero_")},
        **{one: ((a, [1], True), {}) for one in ("sum", "mean")},
        **{"mm": ((a, b), {}), "bmm": ((batch, batch), {}), "baddbmm": ((batch, batch, batch), {"beta": 0.5})},
        **{"addmm": ((torch.rand(3), a, b), {"alpha": 2}), "fill_": ((a, 0.3), {}), "lerp_": ((a, c, 0.3), {})},
        "bernoulli_": ((a, 0.3), {"generator": torch.Generator().manual_seed(0)}),
    }
    return shown[name]


@pytest.mark.parametrize("name", sorted(torch_private.FUNCTIONS | torch_private.METHODS))
def test_functions_of_torch_are_the_operations(name: str) -> None:
    packet = getattr(torch.ops.aten, name)
    wanted = {"add_": "Tensor", "sub_": "Tensor", "mul_": "Tensor", "div_": "Tensor", "copy_": "default"}
    wanted |= {"bernoulli_": "float", "fill_": "Scalar", "lerp_": "Scalar", "sum": "IntList_out"}
    overload = getattr(packet, wanted.get(name, "out" if "out" in packet.overloads() else "default"))
    function = torch_private.operation(overload)
    results = []
    for one in (function, overload):
        torch.manual_seed(0)
        arguments, options = _arguments(name)
        if not name.endswith("_"):
            options["out"] = torch.empty_like(overload(*arguments, **options, out=torch.empty(0)))
        results.append(one(*arguments, **options))
    assert function is not overload._op
    assert torch.equal(*results)
