"""The commands and numbers of an experiment's opening comment, and whether a run keeps what they promise."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

COMMAND = re.compile(r"^#   runner (.+)$")
LINE = re.compile(r"^#\s+(\S+) (>=|<=|=) (\[.*\]|[-\d.e]+)(?: \+- ([-\d.e]+))?$")


@dataclass
class Promise:
    name: str  # a metric, a parameter of the model, outputs/<layer> or outputs/<layer>.shape
    relation: str
    value: Any  # a number, or a grid of them; one number stands for every number of a grid
    tolerance: float  # of a number beyond 1: of each such size, as float32 cannot hold more

    def holds(self, found: Any) -> bool:
        found, value = _bare(found), _bare(self.value)
        if value.shape not in ((), found.shape):
            return False
        if self.relation == "=":
            return bool((abs(found - value) <= self.tolerance * np.maximum(1, abs(value))).all())
        return bool((found >= value if self.relation == ">=" else found <= value).all())


@dataclass
class Command:
    words: list[str]
    promises: list[Promise] = field(default_factory=list)


def commands(path: Path) -> list[Command]:
    """Every command, and the promises that follow it; commands one below the other share those that follow."""
    found: list[Command] = []
    open_ones: list[Command] = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if match := COMMAND.match(line):
            open_ones = [c for c in open_ones if not c.promises]
            open_ones.append(Command(shlex.split(match[1])))
            found.append(open_ones[-1])
        elif promise := read(line):
            for command in open_ones:
                command.promises.append(promise)
    return found


def read(line: str) -> Promise | None:
    """`#   outputs/pool = [[6, 8], [16, 18]] +- 1e-6`"""
    if not (match := LINE.match(line)):
        return None
    name, relation, value, tolerance = match.groups()
    return Promise(name, relation, json.loads(value), float(tolerance or 0))


def _bare(grid: Any) -> Any:
    """Without the dimensions of one example, one channel."""
    array = np.asarray(grid, dtype=float)
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return array
