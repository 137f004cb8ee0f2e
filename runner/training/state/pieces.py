"""The history of a run in files that are written once, so that a checkpoint holds the newest points only.

A piece names the one before it, with its SHA-256, and a checkpoint names the newest: however long a run is, a
checkpoint holds at most MOST points and one name. A piece is never written again and stays when checkpoints go, because
all checkpoints after it need it.
"""

from pathlib import Path
from typing import Any

from runner.settings.files import durable
from runner.training.state import checkpoint
from runner.training.state.checkpoint import CheckpointError
from runner.training.state.history import History

#: The artifact folder.
FOLDER = "history"
#: Points that a checkpoint holds itself, 16 bytes each; where there are more, they become a piece.
MOST = 16_384

Columns = dict[str, Any]  # metric -> (steps, values)


def write(history: History, place: Path) -> bool:
    """Make a piece of the points that are in none yet, if they are more than MOST, as `history/FILE` in `place`.

    Raises CheckpointError when it cannot be written; the points are in no piece then.
    """
    points = history.rest()
    if sum(len(steps) for steps, _ in points.values()) <= MOST:
        return False
    content, sha256 = checkpoint.packed({"points": points, "piece": history.piece})
    last = max(int(steps[-1]) for steps, _ in points.values() if len(steps))
    path = place / FOLDER / f"{last}-{sha256[:12]}.pt"  # by its content: another one never takes its place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, content, lasting=False)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    history.piece = {"file": path.name, "sha256": sha256}
    history.pieces = {name: len(found) for name, found in history.points.items()}
    return True


def read(files: Path, piece: dict[str, str] | None) -> list[Columns]:
    """The points of `piece` and of all before it, the oldest first. Raises CheckpointError when one is damaged.

    files: the folder with the pieces.
    """
    found: list[Columns] = []
    while piece is not None:
        name = piece["file"]
        if Path(name).name != name:
            raise CheckpointError(f"{name!r} is no name of a file")
        loaded = checkpoint.load_training(files / name, piece["sha256"])
        found.insert(0, loaded["points"])
        piece = loaded["piece"]
    return found
