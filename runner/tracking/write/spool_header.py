"""The header of a spool: the store that it is for, the process that has written it, and that process's mark."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from runner.settings.files import uris
from runner.settings.trust import secrets
from runner.tracking.write import marks
from runner.tracking.write.journal import replace

#: The file in a spool's folder.
NAME = "header.json"


def write(folder: Path, uri: str, process: dict[str, Any], lasting: bool = True) -> dict[str, Any]:
    """Write and return the header of a run's spool: `uri`, `process`, `temporary` and `mark`.

    A local store is named by its file alone, so that the folder with the store and the spool can be moved. A password
    is not written; `runner sync` takes it from where this process took it.
    lasting: False if the caller syncs the headers of many spools.
    """
    path = uris.sqlite_path(uri)
    shown = secrets.masked_uri(uri) if path is None else f"sqlite:///{path.name}"
    header = {"uri": shown, "process": process, "temporary": tempfile.gettempdir()}
    header["mark"] = marks.mark(*marked(folder.name, header))
    replace(folder / NAME, json.dumps(header), lasting)  # without it the rest is of no use
    return header


def read(folder: Path) -> dict[str, Any]:
    """Return the header as it is; {} if there is none. Raises ValueError for a damaged one."""
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads((folder / NAME).read_text()))
    return {}


def is_own(run_id: str, header: dict[str, Any]) -> bool:
    """Return whether a process of this user's has written the header, and for this run."""
    return marks.is_ours(header.get("mark"), *marked(run_id, header))


def marked(run_id: str, header: dict[str, Any]) -> list[Any]:
    """Return the values that the mark is of. Former versions have no temporary folder in it."""
    return [
        run_id,
        *(header.get(key) for key in ("uri", "process", "temporary") if key != "temporary" or key in header),
    ]


def store_of(folder: Path, header: dict[str, Any]) -> str:
    """Return the URI of the store that the spool in `folder` is for."""
    uri = str(header["uri"])
    return f"sqlite:///{folder.parents[2] / Path(uri).name}" if uri.startswith("sqlite:///") else uri


def command(folder: Path, header: dict[str, Any]) -> str:
    """Return the command that delivers the spool in `folder`, to be pasted into a shell."""
    uri = str(header["uri"])
    is_known = uri.startswith("sqlite:///") or (is_own(folder.name, header) and secrets.MASK not in uri)
    return "runner sync" if is_known else sync_of(uri)


def sync_of(uri: str) -> str:
    """Return the command that delivers the spools for the server at `uri`, quoted: a spool may be a stranger's."""
    from runner.settings.trust.typed_words import pasted

    return f"runner sync {pasted('tracking.uri', uri)}"
