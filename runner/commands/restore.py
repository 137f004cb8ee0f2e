"""The command `restore`: bring deleted runs back."""

from runner.commands._result import Result
from runner.commands.delete import lines
from runner.settings.trust import terminal


def with_run(uri: str, run: str = "", /, *runs: str) -> Result:
    """Bring deleted runs back, a sweep with the jobs that were deleted with it.

    Without a RUN, list the deleted runs that can be brought back.
    """
    from runner.tracking.read import deleting

    if not run:
        found = deleting.deleted(uri)
        listed = [f"{one['id']}  {one['kind']:<5}  {one['name']}" for one in found] or ["no run is deleted"]
        return Result({"deleted": found}, lambda: terminal.put(*listed))
    restored = deleting.restore(uri, [run, *runs])
    return Result({"restored": restored}, lambda: terminal.put(*lines("restored", restored)))
