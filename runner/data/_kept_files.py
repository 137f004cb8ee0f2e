"""The digest of a dataset's files, by which a run knows them again."""

import hashlib
import stat
from pathlib import Path
from typing import Any

#: Bytes of all files together up to which their contents count; of larger ones names and sizes do.
MOST = 2**30
#: Endings of what was fetched and unpacked beside the files that are read.
PACKED = (".gz", ".zip", ".tar", ".tgz", ".lock")
#: Attributes of torchvision's datasets that name the folder of their files, below `root` or with it.
FOLDERS = ("raw_folder", "_base_folder", "base_folder")

_known: dict[tuple[Any, ...], str] = {}


def noted(dataset: Any, root: Path) -> dict[str, Any]:
    """Return a note on the files of a dataset below `root`; nothing where it does not say which are its own."""
    place = _place(dataset, root)
    if place is None:
        return {}
    files = sorted(path for path in place.rglob("*") if not path.name.endswith(PACKED) and _is_file(path))
    return {"files": digest(files, place)} if files else {}


def digest(files: list[Path], place: Path) -> dict[str, Any]:
    """Return how many files these are, their bytes, and a SHA-256 of their names below `place` and their contents.

    `by` says whether the contents count, or names and sizes, as they do above a number of bytes.
    """
    stats = [path.stat() for path in files]
    size = sum(one.st_size for one in stats)
    by = "contents" if size <= MOST else "names and sizes"
    key = (str(place.absolute()), *((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats))
    if key not in _known:
        sha = hashlib.sha256()
        for path, one in zip(files, stats, strict=True):
            sha.update(f"{path.relative_to(place).as_posix()}\0{one.st_size}\0".encode())
            if by == "contents":
                with path.open("rb") as file:
                    sha.update(hashlib.file_digest(file, "sha256").digest())
        _known.clear()
        _known[key] = sha.hexdigest()
    return {"count": len(files), "bytes": size, "by": by, "sha256": _known[key]}


def _place(dataset: Any, root: Path) -> Path | None:
    for name in FOLDERS:
        if isinstance(own := getattr(dataset, name, None), str | Path):
            return next((place for place in (Path(own), root / own) if place.is_dir()), None)
    # A folder of pictures is all its own; in that of another dataset may lie others.
    return root if type(dataset).__name__ == "ImageFolder" and root.is_dir() else None


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)
