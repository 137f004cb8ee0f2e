"""The weights that a training starts from: those of a recorded run or of a file, `model.start`."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import runner
from runner.model import patterns
from runner.settings import CHECKPOINTS, memory
from runner.settings.errors import ConfigError, Failure, brief, did_you_mean, full_message
from runner.settings.values import lookup
from runner.training.state import checkpoint

KEY = "model.start"
#: Keys of files that hold more than weights, under which people have put these.
INSIDE = ("state_dict", "model_state_dict", "model")
#: Names that a message lists at most.
LISTED = 6


@dataclass(frozen=True)
class Spec:
    """The settings of `model.start`, checked for types."""

    run: str | None = None  # RUN: an id, its beginning, or last
    checkpoint: str = "best"  # best | last | averaged, of the run
    file: str | None = None  # .pt of torch.save, or .safetensors
    layers: list[str] = field(default_factory=list)  # patterns of the layers that are filled; empty: all
    rename: dict[str, str] = field(default_factory=dict)  # beginning of a name there -> here
    strict: bool = True  # False: names that only one side has are left as they are
    sha256: str | None = None  # that the weights must have; it is in the tag start.sha256 of a run


@dataclass(frozen=True)
class Start:
    """Weights to start from, by the names of the model that they are for.

    facts: what they are of, for the run's record: run, checkpoint and step, or file; and the SHA-256 of all of them.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    @torch.no_grad()
    def put(self, model: nn.Module) -> nn.Module:
        """Copy the weights into the model, and return it."""
        places = model.state_dict()
        for name, value in self.weights.items():
            places[name].copy_(value)
        return model

    @property
    def source(self) -> str:
        """The place of the weights in a few letters: `1f3a2b4c best`, or a file's name."""
        of_run = f"{self.facts.get('run', '')[:8]} {self.facts.get('checkpoint', '')}"
        return Path(self.facts["file"]).name if "file" in self.facts else of_run


def read(spec: Any) -> Spec | None:
    """Check the names and types of `model.start`; None where it is not set. Raises ConfigError."""
    if not spec:
        return None
    if not isinstance(spec, Mapping):
        raise ConfigError(KEY, f"{spec!r} is not understood; expected {{run: RUN}} or {{file: weights.pt}}")
    given, keys = dict(spec), [one.name for one in fields(Spec)]
    for name in given:
        if name not in keys:
            near = did_you_mean(str(name), keys)
            raise ConfigError(f"{KEY}.{name}", f"there is no such key{near} (it takes {', '.join(keys)})")
    for name in ("run", "file", "checkpoint"):
        given |= {name: str(given[name])} if given.get(name) is not None else {}
    layers = given.get("layers", [])
    if isinstance(layers, str | int):
        layers = [layers]
    lookup.bind(Spec, given | {"layers": [*map(str, layers)] if isinstance(layers, list) else layers}, KEY)
    given = {k: v for k, v in given.items() if v is not None} | {"layers": [*map(str, layers)]}
    if ("run" in given) == ("file" in given):
        raise ConfigError(KEY, "expected one of run and file, as in {run: 1f3a} or {file: weights.pt}")
    if "file" in given and "checkpoint" in given:
        raise ConfigError(f"{KEY}.checkpoint", "is of a run, and the weights are a file's; leave it out")
    if (name := given.get("checkpoint", "best")) not in CHECKPOINTS:
        near = did_you_mean(name, CHECKPOINTS)
        raise ConfigError(f"{KEY}.checkpoint", f"{name!r} is not one of {', '.join(CHECKPOINTS)}{near}")
    return Spec(**given)


def find(spec: Spec, uri: str, model: nn.Module) -> Start:
    """Read the weights and bring them into the model's names. No code in them is run.

    uri: of the store in which a run is looked for. model: may be on the meta device.
    Raises ConfigError where they are not there, are damaged, or do not fit.
    """
    key = f"{KEY}.run" if spec.run is not None else f"{KEY}.file"
    try:
        if spec.run is not None:
            weights, facts = runner.recorded_weights(spec.run, uri, spec.checkpoint)
        else:
            assert spec.file is not None, "there is a run or a file"
            weights, facts = _of_file(Path(spec.file).expanduser(), key), {"file": spec.file}
    except ConfigError as error:
        raise ConfigError(key, str(error).removeprefix(f"{error.key}: ").removeprefix(": ")) from error
    except Failure as error:
        raise ConfigError(key, full_message(error)) from error
    sha256 = checkpoint.digest(weights)
    if spec.sha256 is not None and sha256 != spec.sha256:
        raise ConfigError(
            key, f"these weights are others: their SHA-256 is {sha256[:12]}..., expected {spec.sha256[:12]}..."
        )
    return Start(_fitting(_renamed(weights, spec.rename), spec, model), {**facts, "sha256": sha256})


def _of_file(path: Path, key: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(key, f"there is no file {path}")
    _bound(path, key)
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise ConfigError(key, "needs safetensors: pip install 'runner-torch[safetensors]'") from error
        try:
            return dict(load_file(path))
        except Exception as error:
            raise ConfigError(key, f"{path}: cannot be loaded: {brief(error)}") from error
    content: Any = checkpoint.load_state_dict(path)
    for name in INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ConfigError(key, f"{path}: holds {_kind(content)}, expected tensors by name, as of model.state_dict()")
    return {str(name): value for name, value in content.items()}


def _bound(path: Path, key: str) -> None:
    """Raise ConfigError for a file of which more would be in memory than there is; one may be packed."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if 2 * size > (available := memory.memory(torch.device("cpu"))):
        raise ConfigError(key, f"{path}: holds {memory.size(size)}, and there are {memory.size(available)} of memory")


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        wrong = next((name for name, value in content.items() if not isinstance(value, Tensor)), None)
        return "nothing" if wrong is None else f"{str(wrong)[:60]!r}: {type(content[wrong]).__name__}"
    return type(content).__name__


def _renamed(weights: dict[str, Tensor], rename: dict[str, str]) -> dict[str, Tensor]:
    """Return the weights with other beginnings of names; the longest that a name has is taken."""
    used, renamed = set[str](), dict[str, Tensor]()
    for name, value in weights.items():
        fitting = [old for old in rename if not old or f"{name}.".startswith(old if old.endswith(".") else f"{old}.")]
        old = max(fitting, key=len, default=None)
        new = name if old is None else ".".join(filter(None, (rename[old].strip("."), name[len(old) :].strip("."))))
        used |= set() if old is None else {old}
        if new in renamed:
            raise ConfigError(f"{KEY}.rename", f"two weights would be called {new!r}; give them names of their own")
        renamed[new] = value
    for old in rename:
        if old not in used:
            beginnings = dict.fromkeys(name[:end] for name in weights for end, c in enumerate(name) if c == ".")
            raise ConfigError(
                f"{KEY}.rename.{old}", f"no weight's name begins with {old!r}{did_you_mean(old, beginnings)}"
            )
    return renamed


def _fitting(weights: dict[str, Tensor], spec: Spec, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that the model takes. Raises ConfigError for those that are missing, too many or misshapen."""
    places: dict[str, Tensor] = model.state_dict()
    wanted = set(places)
    if spec.layers:
        chosen = [patterns.select(pattern, model, f"{KEY}.layers") for pattern in spec.layers]
        below = tuple(f"{name}." for one in chosen for name in one.modules)
        wanted = {n for n in places if n.startswith(below) or any(n in one.parameters for one in chosen)}
    shared = {name: value for name, value in weights.items() if name in wanted}
    wrong = [n for n, value in shared.items() if value.shape != places[n].shape]
    if wrong:
        listed = [f"{n} is {tuple(shared[n].shape)} there and {tuple(places[n].shape)} here" for n in wrong]
        raise ConfigError(KEY, f"{_listed(listed, '; ')}; name the layers that fit: start.layers")
    missing = [n for n in places if n in wanted and n not in weights]
    unexpected = [] if spec.layers else [n for n in weights if n not in places]
    if not shared or (spec.strict and (missing or unexpected)):
        problems = [f"lack {_listed(missing)}"] * bool(missing)
        problems += [f"have {_listed(unexpected or list(weights))}"] * bool(unexpected or not shared)
        remedy = "use start.rename" if not shared else "use start.layers, start.rename or start.strict=false"
        raise ConfigError(KEY, f"the weights are those of another model: they {', and '.join(problems)}; {remedy}")
    return shared


def _listed(names: list[str], between: str = ", ") -> str:
    further = f"{between}and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return between.join(names[:LISTED]) + further
