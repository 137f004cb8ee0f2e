"""The history of a run in files that are written once, so that a checkpoint contains the newest values only.

A piece contains the name and the SHA-256 of the piece before it, and a checkpoint those of the newest piece: however
long a run is, a checkpoint has at most MOST values and one name. A piece is never written again, and stays when
checkpoints are deleted, because all later checkpoints need it.
"""

from pathlib import Path
from typing import Any

from runner.settings.files import durable
from runner.training.state import checkpoint
from runner.training.state.checkpoint import CheckpointError
from runner.training.state.history import History

#: The artifact folder.
FOLDER = "history"
#: Values in a checkpoint itself, 16 bytes each; where there are more, they become a piece.
MOST = 16_384

Columns = dict[str, Any]  # metric -> (steps, values)


def write(history: History, place: Path) -> bool:
    """Write the values that are in no piece yet as `history/FILE` in `place`, if they are more than MOST.

    Returns whether a piece was written. Raises CheckpointError when it cannot be; the history stays as it was then.
    """
    points = history.rest()
    if sum(len(steps) for steps, _ in points.values()) <= MOST:
        return False
    content, sha256 = checkpoint.packed({"points": points, "piece": history.piece})
    last = max(int(steps[-1]) for steps, _ in points.values() if len(steps))
    path = place / FOLDER / f"{last}-{sha256[:12]}.pt"  # named by its content: no other piece replaces it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, content, lasting=False)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    history.piece = {"file": path.name, "sha256": sha256}
    history.pieces = {name: len(values) for name, values in history.points.items()}
    return True


def read(files: Path, piece: dict[str, str] | None) -> list[Columns]:
    """Return the values of `piece` and of all pieces before it, the oldest first.

    files: the folder with the pieces. Raises CheckpointError when one is missing or damaged.
    """
    columns: list[Columns] = []
    while piece is not None:
        name = piece["file"]
        if Path(name).name != name:
            raise CheckpointError(f"{name!r} is not the name of a file")
        loaded = checkpoint.load_training(files / name, piece["sha256"])
        columns.insert(0, loaded["points"])
        piece = loaded["piece"]
    return columns
