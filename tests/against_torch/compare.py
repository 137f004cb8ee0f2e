"""One case, trained twice: what came of it."""

import copy
import math
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from runner.data import Data, Tensors
from runner.settings import Checkpoint, Model, Settings, Trainer
from runner.settings.context import Context
from runner.settings.errors import ConfigError, each
from runner.tracking.session import record
from runner.training.drive import drive
from runner.training.events import Epoch, Event, Finished, Step
from runner.training.finite import Diverged
from runner.training.machine.signals import Signals
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.against_torch import plain, refused
from tests.against_torch.cases import Case, Pair, draw
from tests.against_torch.plain import Trained

SAME, BOTH_REFUSE, LISTED = "same numbers", "refused, and torch fails too", "refused though torch trains, with a reason"
OTHER, CRASH, UNLISTED = "OTHER NUMBERS", "CRASH AFTER CHECK", "REFUSED THOUGH TORCH TRAINS"
BUGS = (OTHER, CRASH, UNLISTED)
#: Relative difference that the order of additions may make. A training of three epochs makes more of it.
NEAR = {"fp32": 1e-4, "fp64": 1e-9, "bf16": 3e-2}


@dataclass
class Outcome:
    kind: str
    text: str = ""  # the message, or where numbers differ
    exact: bool = False  # every loss of the training to the last bit


@dataclass
class Listener:
    """An observer that writes down what is recorded."""

    found: Trained = field(default_factory=Trained)

    def record(self, event: Event) -> None:
        if isinstance(event, Step):
            self.found.steps.append(event.read())
        elif isinstance(event, Epoch) and "valid/loss" in event.metrics:
            self.found.valid.append(event.metrics["valid/loss"])
            self.found.metrics.append({k: torch.tensor(v) for k, v in event.metrics.items()})
        elif isinstance(event, Finished) and "test/loss" in event.metrics:
            self.found.test.append(event.metrics["test/loss"])


def compare(seed: int, folder: Path, store: str = "") -> Outcome:
    """Draw the case of this seed and train it twice. folder: for files of data. store: also recorded, in MLflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = draw(seed)
        try:
            expected: Trained | Exception = plain.train(case)
        except Exception as error:
            expected = error
        listener = Listener()
        try:
            with ready(case, folder) as settings:
                run = prepare(settings, "against_torch")
                try:
                    if store:
                        _record(run, listener, store)
                    else:
                        drive(run, listener)
                finally:
                    run.close()
        except ConfigError as error:
            return _refused(error, expected)
        except Diverged as error:
            finite = not isinstance(expected, Exception) and all(map(math.isfinite, expected.steps + expected.valid))
            return Outcome(OTHER, f"{error}; torch's losses are finite") if finite else Outcome(SAME)
        except Exception:
            return Outcome(CRASH, traceback.format_exc(limit=-2))
    if isinstance(expected, Exception):
        return Outcome(OTHER, f"torch fails: {type(expected).__name__}: {expected}")
    return _compared(case, listener.found, expected)


def _record(run: Run, listener: Listener, store: str) -> None:
    """As the command does: everything is written to MLflow."""
    run.settings.tracking.uri = store
    with Signals() as signals:
        record(run, Context("against_torch"), Console(quiet=True), signals, observers=[listener])


def _refused(error: ConfigError, expected: Trained | Exception) -> Outcome:
    text = "; ".join(map(str, each(error)))
    if isinstance(expected, Exception):
        return Outcome(BOTH_REFUSE, text)
    if not all(map(math.isfinite, expected.steps + expected.valid + expected.test)):
        return Outcome(BOTH_REFUSE, text)
    reasons = [refused.reason(str(single)) for single in each(error)]
    return Outcome(LISTED, str(reasons[0])) if all(reasons) else Outcome(UNLISTED, text)


def _compared(case: Case, found: Trained, expected: Trained) -> Outcome:
    near = NEAR[case.trainer["precision"]]
    for name in ("steps", "valid"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if len(ours) != len(theirs):
            return Outcome(OTHER, f"{name}: {len(ours)} numbers, torch has {len(theirs)}")
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if not _near(a, b, near):
                return Outcome(OTHER, f"{name}[{i}] is {a!r}, torch's {b!r}")
    if found.test and not any(_near(found.test[0], value, near) for value in expected.test):
        return Outcome(OTHER, f"test/loss is {found.test[0]!r}, torch's {expected.test!r}")
    for ours, theirs in zip(found.metrics, expected.metrics, strict=True):
        for name, value in theirs.items():
            numbers = value.flatten().tolist()
            keys = [f"valid/{name}"] if len(numbers) == 1 else [f"valid/{name}_{i}" for i in range(len(numbers))]
            for key, number in zip(keys, numbers, strict=True):
                # Outputs that differ in the last bit may have another order, and so another class.
                if not _near(float(ours[key]), number, 1e-3) and found.steps == expected.steps:
                    return Outcome(OTHER, f"{key} is {float(ours[key])!r}, torch's {number!r}")
    return Outcome(SAME, exact=found.steps == expected.steps and found.valid == expected.valid)


def _near(a: float, b: float, near: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= near * max(1.0, abs(a), abs(b))


@contextmanager
def ready(case: Case, folder: Path) -> Iterator[Settings]:
    """The settings of the case, its data where they point to."""
    before = torch.get_rng_state()
    module = types.ModuleType("experiments.against_torch")
    module.source = source = lambda: _data(case)  # type: ignore[attr-defined]
    source.__module__ = module.__name__
    package = sys.modules.setdefault("experiments", types.ModuleType("experiments"))
    sys.modules[module.__name__] = module
    try:
        yield Settings(
            seed=case.seed,
            device="cpu",
            data=_spec(case, folder),
            model=Model(layers=copy.deepcopy(case.layers)),
            loss=dict(case.goal.loss),
            optimizer=dict(case.optimizer),
            scheduler=None if case.scheduler is None else dict(case.scheduler),
            metrics=list(case.metrics),
            plots=list(case.plots),
            trainer=Trainer(threads=1, **case.trainer),
            checkpoint=Checkpoint(),
        )
    finally:
        del sys.modules[module.__name__]
        if package.__dict__.get("__path__") is None:
            sys.modules.pop("experiments", None)
        torch.set_rng_state(before)


class Pairs(torch.utils.data.Dataset[Pair]):
    """A dataset that is read from elsewhere, example by example."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, index: int) -> Pair:
        return self.pair[0][index].clone(), self.pair[1][index].clone()


def _data(case: Case) -> Data:
    def source(pair: Pair) -> Any:
        pair = (pair[0], pair[1].float().reshape(-1, 1)) if _as_numbers(case) else pair
        return Tensors(*(t.clone() for t in pair)) if case.source == "own" else Pairs(pair)

    names = tuple(f"class {i}" for i in range(case.goal.classes))
    return Data(**{k: source(v) for k, v in case.parts.items()}, task=case.goal.task, classes=names)  # type: ignore[arg-type]


def _as_numbers(case: Case) -> bool:
    """A dataset's targets are taken as they are."""
    return case.source == "dataset" and case.goal.task == "binary" and case.loss_name.startswith("BCE")


def _spec(case: Case, folder: Path) -> dict[str, Any]:
    x, y = case.parts["train"]
    if case.source == "arrays":
        return _arrays(case, folder)
    if case.source == "values":
        return {"name": "values", "x": x.tolist(), "y": y.tolist()}
    if case.source == "table":
        return _table(case, folder)
    return {"name": "experiments.against_torch.source"}


def _arrays(case: Case, folder: Path) -> dict[str, Any]:
    path, ends = folder / f"{case.seed}.npz", {"train": "", "valid": "_valid", "test": "_test"}
    found = {
        f"{n}{ends[part]}": t.numpy() for part, pair in case.parts.items() for n, t in zip("xy", pair, strict=True)
    }
    np.savez(path, **found)
    spec: dict[str, Any] = {"name": "arrays", "path": str(path), "valid": 0, "test": 0}
    if not case.parts["train"][0].is_floating_point():
        spec["indices"] = True
    if case.goal.classes:
        spec["classes"] = [f"class {i}" for i in range(case.goal.classes)]
    return spec


def _table(case: Case, folder: Path) -> dict[str, Any]:
    """A CSV file, and columns that are standardized: the case's x becomes that."""
    x, y = (t.double().numpy() for t in case.parts["train"])
    path = folder / f"{case.seed}.csv"
    names = [f"column {i}" for i in range(x.shape[1])]
    rows = [
        ",".join([*names, "target"]),
        *(",".join(map(repr, [*map(float, a), float(b[0])])) for a, b in zip(x, y, strict=True)),
    ]
    path.write_text("\n".join(rows) + "\n")
    return {"name": "table", "path": str(path), "target": "target", "valid": 0, "test": 0}
