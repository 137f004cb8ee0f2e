"""The numbers that an experiment's opening comment promises, and whether a run keeps them."""

import re
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"^#\s+(\S+) (>=|<=|=) ([-\d.e]+)(?: \+- ([-\d.e]+))?$")


@dataclass
class Promise:
    name: str  # a metric, or a parameter of the model
    relation: str
    value: float
    tolerance: float

    def holds(self, found: float) -> bool:
        if self.relation == "=":
            return abs(found - self.value) <= self.tolerance
        return found >= self.value if self.relation == ">=" else found <= self.value


def promises(path: Path) -> list[Promise]:
    """What the opening comment of an experiment file promises."""
    found = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if match := LINE.match(line):
            name, relation, value, tolerance = match.groups()
            found.append(Promise(name, relation, float(value), float(tolerance or 0)))
    return found
