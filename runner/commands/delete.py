"""The command `delete`: delete runs so that they can be brought back."""

from typing import Any

from runner.commands._result import Result
from runner.settings.trust import terminal


def with_run(uri: str, run: str, /, *runs: str) -> Result:
    """Delete runs, a sweep with all its jobs.

    They are gone from every list, and their files stay where they are: `runner restore` brings them back, `runner
    clean` removes them for good. A run that is at work is not deleted.
    """
    from runner.tracking.read import deleting

    deleted = deleting.delete(uri, [run, *runs])
    return Result({"deleted": deleted}, lambda: terminal.put(*lines("deleted", deleted), *_remedy(deleted)))


def lines(verb: str, runs: list[dict[str, Any]]) -> list[str]:
    """Return a line for each run."""
    jobs = (f" and its {len(run['jobs']):,} jobs" if run["kind"] == "sweep" else "" for run in runs)
    return [f"{verb} {run['kind']} {run['id']} ({run['name']}){more}" for run, more in zip(runs, jobs, strict=True)]


def _remedy(runs: list[dict[str, Any]]) -> list[str]:
    ids = " ".join(run["id"][:12] for run in runs)
    return [f"to bring it back: runner restore {ids}; to remove it for good: runner clean"]
