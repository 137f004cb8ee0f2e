"""Texts of a configuration as names of files: cut to what a file system takes, and looked up without failing."""

import hashlib
from pathlib import Path

#: Bytes of a name; file systems take 255, less what is put before and after it.
MOST = 200


def bounded(name: str, most: int = MOST) -> str:
    """`name` if it has at most `most` bytes, else its beginning and a digest: two long names stay two."""
    whole = name.encode(errors="surrogatepass")
    if len(whole) <= most:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: most - len(digest) - 1].decode(errors='ignore')}-{digest}"


def path(text: str) -> Path:
    """`text` as a path, with the home folder for `~`; `~name` of a person whom nobody knows stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def exists(place: Path) -> bool:
    """Whether there is a file or a folder; of a name that no file can have, False."""
    try:
        place.stat()
    except (OSError, ValueError):
        return False
    return True


def is_file(place: Path) -> bool:
    return exists(place) and place.is_file()


def is_folder(place: Path) -> bool:
    return exists(place) and place.is_dir()
