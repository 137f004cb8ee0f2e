"""The first layer whose weights differ, in checkpoints of the same step."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.settings.trust import record_reading
from runner.tracking.read.difference.record import Recorded, attempt

if TYPE_CHECKING:
    from torch import Tensor

    from runner.tracking.read.checkpoints import CheckpointRef


def compare(uri: str, a: Recorded, b: Recorded, unknown: list[str]) -> dict[str, Any] | None:
    """Return how the weights of two checkpoints of the same step compare: the last ones, else the best ones.

    checkpoint, step, identical; tensors, equal (how many), and first, see `first`. None: no two can be compared, of
    which `unknown` gets a line.
    """
    pair = _pair(a, b, unknown)
    if pair is None:
        return None
    name, one, other = pair
    found = {"checkpoint": name, "step": one.step, "identical": True, "first": None}
    file = "state_dict.pt"
    if file in one.sha256 and one.sha256[file] == other.sha256.get(file):
        return found
    sides = ((a, one, "A"), (b, other, "B"))
    loaded = [attempt(f"weights of step {ref.step}", _reader(uri, run, ref), unknown, side) for run, ref, side in sides]
    if loaded[0] is None or loaded[1] is None:
        return None
    return found | differing(loaded[0], loaded[1])


def _pair(a: Recorded, b: Recorded, unknown: list[str]) -> "tuple[str, CheckpointRef, CheckpointRef] | None":
    """Return the newest checkpoints that both runs have of the same step, and their name."""
    from runner.tracking.read.checkpoints import CheckpointRef

    kept: list[dict[tuple[str, int], CheckpointRef]] = []
    for side, run in (("A", a), ("B", b)):
        of: dict[tuple[str, int], CheckpointRef] = {}
        for name in ("best", "last"):
            read = partial(record_reading.checkpoints, run.tags, name)
            entries = attempt("checkpoints", read, unknown, side)
            of |= {(name, entry["step"]): CheckpointRef(**entry) for entry in entries or []}
        kept.append(of)
    common = sorted(kept[0].keys() & kept[1].keys(), key=lambda one: (one[0], one[1]))
    for step in sorted({step for _, step in kept[0]} & {step for _, step in kept[1]}) if not common else ():
        common.append(("", step))  # the last of one run is the best of the other
    if not common:
        steps = [", ".join(str(step) for step in sorted({step for _, step in of})) or "none" for of in kept]
        unknown.append(f"weights: no checkpoints of the same step (A: {steps[0]}; B: {steps[1]})")
        return None
    name, step = common[-1]
    one, other = (next(ref for (_, at), ref in of.items() if at == step and (not name or _ == name)) for of in kept)
    return name or "last and best", one, other


def _reader(uri: str, run: Recorded, ref: "CheckpointRef") -> Any:
    def read() -> "dict[str, Tensor]":
        from runner.model import stack, whole
        from runner.tracking.read import checkpoints, load

        classes: Iterable[type] = ()
        if "state_dict.pt" not in ref.sha256 and run.settings and run.data:
            classes = stack.classes(whole.planned(run.settings.model, load.example(run.data, "meta")))
        return checkpoints.weights_of(uri, run.run_id, ref, classes)

    return read


def differing(a: "dict[str, Tensor]", b: "dict[str, Tensor]") -> dict[str, Any]:
    """Return how tensors compare by their names, in the order of A's layers, and first those that B alone has.

    identical; tensors, how many there are; equal, how many have the same bits; first: the first that has not: layer,
    tensor, a and b (its shape and type, None for none), largest (the largest distance; None for other shapes).
    """
    names = list(dict.fromkeys([*a, *b]))
    apart = [name for name in names if not _equal(a.get(name), b.get(name))]
    first = None
    if apart:
        first = described(apart[0], a.get(apart[0]), b.get(apart[0]))
    return {"identical": not apart, "tensors": len(names), "equal": len(names) - len(apart), "first": first}


def described(name: str, one: "Tensor | None", other: "Tensor | None") -> dict[str, Any]:
    """Return in which layer a tensor is, its shapes, and how far its values are apart."""
    largest = None
    if one is not None and other is not None and one.shape == other.shape:
        gap = float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
        largest = gap if gap == gap else None
    return {
        "layer": name.rpartition(".")[0] or name,
        "tensor": name,
        "a": _form(one),
        "b": _form(other),
        "largest": largest,
    }


def _form(tensor: "Tensor | None") -> str | None:
    return None if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _equal(one: "Tensor | None", other: "Tensor | None") -> bool:
    from runner.model import host

    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return host.same(one, other)
