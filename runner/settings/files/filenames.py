"""Texts of a configuration as names of files: cut to what a file system takes, and looked up without failing."""

import hashlib
from pathlib import Path

#: Bytes of a name; file systems take 255, less what is put before and after it.
MOST = 200


def bounded(name: str, most: int = MOST) -> str:
    """Return `name` if it has at most `most` bytes, else its beginning and a digest, so that names stay different."""
    whole = name.encode(errors="surrogatepass")
    if len(whole) <= most:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: most - len(digest) - 1].decode(errors='ignore')}-{digest}"


def path(text: str) -> Path:
    """Return `text` as a path, with the home folder for `~`; `~name` of an unknown user stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def exists(place: Path) -> bool:
    """Return whether there is a file or a folder; False for a name that no file can have."""
    try:
        place.stat()
    except (OSError, ValueError):
        return False
    return True


def is_file(place: Path) -> bool:
    """Return whether this is a file; False for a name that no file can have."""
    return exists(place) and place.is_file()


def is_folder(place: Path) -> bool:
    """Return whether this is a folder; False for a name that no file can have."""
    return exists(place) and place.is_dir()
