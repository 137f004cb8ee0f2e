"""The files of a spool's entries: checkpoints, models and plots that wait on this disk for the store."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from runner.tracking.write.journal import Entry


@dataclass
class SpoolFiles:
    """The files in a spool's folder; of each entry in a folder by its number."""

    folder: Path  # the spool's

    def inside(self, entry: Entry) -> Path:
        """Return the folder for the files of an entry, whether they are there or not."""
        return self.folder / "files" / str(entry["files"])

    def holds(self, entry: Entry) -> bool:
        """Return whether the files of an entry are in the spool."""
        return self.inside(entry).is_dir()

    def move_in(self, entry: Entry) -> bool:
        """Move the files of an entry into the spool if that needs no copy. Returns whether it did."""
        target = self.inside(entry)
        try:
            target.parent.mkdir(exist_ok=True)
            Path(entry["from"]).rename(target)
        except OSError:  # another file system, or a full one
            return False
        return True

    def take_in(self, entry: Entry) -> None:
        """Move or copy the files of an entry into the spool, if they are not there or in the store already.

        Raises OSError, and they stay, if the disk is full.
        """
        if self.holds(entry) or (entry["move"] and self.move_in(entry)) or not Path(entry["from"]).is_dir():
            return
        target = self.inside(entry)
        target.parent.mkdir(exist_ok=True)  # and no folder above it, which may have been moved away
        temporary = target.with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            _copy(Path(entry["from"]), temporary)
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if entry["move"]:
            shutil.rmtree(entry["from"], ignore_errors=True)

    def forget(self, entry: Entry) -> None:
        """Delete the files of an entry, which are delivered or superseded."""
        for folder in (str(self.inside(entry)), *([entry["from"]] if entry["move"] else [])):
            if os.path.lexists(folder):  # a delivery may have moved it
                shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, place)
