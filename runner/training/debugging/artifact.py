"""What was found in a run that is looked into, as an artifact for programs."""

import json
from typing import TYPE_CHECKING, Any

from runner.settings.files import durable
from runner.training.events import Artifacts

if TYPE_CHECKING:
    from runner.training.run import Run


def artifact(run: "Run", name: str, found: dict[str, Any]) -> Artifacts:
    """Write plain values as debug/<name>.json, and return the event."""
    folder = run.folder / f"debug-{name}"
    (folder / "debug").mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2) + "\n"
    durable.write_new(folder / "debug" / f"{name}.json", text.encode())
    return Artifacts(folder)
