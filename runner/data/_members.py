"""The members of .tar files, grouped into examples: found once, and read by their places in the files."""

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from runner.settings.errors import ConfigError, labelled
from runner.settings.files import filenames

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
#: Shards that one pattern may mean.
MOST = 100_000


@dataclass(frozen=True)
class Example:
    """An example: the members of a shard that have one name, up to its first dot.

    members: ending -> (place of its first byte in the shard, bytes).
    """

    shard: Path
    name: str
    members: dict[str, tuple[int, int]]

    def read(self, ending: str) -> bytes:
        """Return the bytes of a member. The shard is opened each time, so that processes share no place in it."""
        start, size = self.members[ending]
        with self.shard.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        if len(content) < size:
            raise ConfigError("data.path", f"{self.shard} ends within {self.name}.{ending}; it has been cut off")
        return content


def paths(value: str | list[str] | None, key: str) -> list[Path]:
    """Return the shards that a path, a pattern, a folder or a list of these means. Raises ConfigError for none."""
    texts = [value] if isinstance(value, str) else value or []
    if not texts:
        raise ConfigError(key, f"missing; give .tar files: a folder of them, or a pattern, e.g. {key}='shards/*.tar'")
    found = []
    for text in texts:
        for one in _unfolded(text, key):
            place = filenames.path(one)
            if filenames.exists(place) and place.is_dir():
                matches = sorted(place.glob("*.tar"))
            elif "*" in one or "?" in one:
                matches = sorted(Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))))
            else:
                matches = [place] if filenames.is_file(place) else []
            if not matches:
                raise ConfigError(key, f"there is no {one!r} in {Path.cwd()}, or no .tar file in it")
            found += matches
    return found


def examples(shards: list[Path], key: str) -> list[Example]:
    """Return all examples of the shards, in their order. Raises ConfigError for a file that is no .tar file."""
    return [example for shard in shards for example in _of_shard(shard, key)]


def _unfolded(text: str, key: str) -> list[str]:
    """Return the paths that {000..009} in a text stands for."""
    match = BRACES.search(text)
    if match is None:
        return [text]
    first, last = match.groups()
    if not int(first) <= int(last) < int(first) + MOST:
        raise ConfigError(
            key, f"{match.group()} counts from {first} to {last}; expected rising numbers of {MOST:,} files"
        )
    numbers = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [one for number in numbers for one in _unfolded(text.replace(match.group(), number, 1), key)]


def _of_shard(shard: Path, key: str) -> list[Example]:
    grouped: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, _, file = member.name.rpartition("/")
                name, dot, ending = file.partition(".")
                if not member.isreg() or member.issparse() or not dot or not name:
                    continue
                whole = f"{folder}/{name}" if folder else name
                grouped.setdefault(whole, {})[ending] = (member.offset_data, member.size)
            if shard.stat().st_size < archive.offset + tarfile.BLOCKSIZE:  # no empty block follows the last member
                raise tarfile.ReadError("it ends without the mark of its end, and has been cut off")
    except (tarfile.TarError, OSError, EOFError) as error:
        packed = shard.name.endswith((".gz", ".tgz", ".bz2", ".xz", ".zst"))
        remedy = (
            "unpack it to .tar: a place in a compressed file cannot be read by itself" if packed else labelled(error)
        )
        raise ConfigError(key, f"{str(shard)!r} is no .tar file that can be read: {remedy}") from error
    if not grouped:
        raise ConfigError(key, f"{str(shard)!r} has no members with an ending, such as 000042.jpg and 000042.cls")
    return [Example(shard.absolute(), name, members) for name, members in grouped.items()]
