"""What `draw(run)` may look at is in docs/plots.md, and its example draws."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from matplotlib.figure import Figure

from runner import plots

TEXT = (Path(__file__).parents[2] / "docs/plots.md").read_text()


def test_the_page_names_all_that_a_plot_may_look_at() -> None:
    named = {
        name for line in TEXT.splitlines() if line.startswith("| `run.") for name in re.findall(r"`run\.(\w+)", line)
    }
    there = {*plots.Subject.__annotations__, *(name for name in vars(plots.Subject) if not name.startswith("_"))}
    assert named == there


def test_the_example_draws() -> None:
    space: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0], space)
    run = SimpleNamespace(title="t", data=SimpleNamespace(valid=1), predict=lambda source: [torch.rand(3, 1)] * 3)
    assert isinstance(space["draw"](run), Figure)
