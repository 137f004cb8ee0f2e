"""The command `show`: what a recorded run or sweep was, how it went, its files, and the commands about it."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result
from runner.commands.runs import at
from runner.settings.trust import secrets, terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

    from runner.sweeps.report.table import Table

#: What each command is for.
COMMANDS = {
    "again": "anew, as recorded",
    "typed": "anew, from the study",
    "resume": "to go on",
    "longer": "to train longer",
    "reproduce": "to compare",
    "load": "in Python",
    "see": "in a browser",
    "best": "its best job",
}
STYLES = {"FINISHED": "green", "FAILED": "red", "KILLED": "red", "RUNNING": "bold"}


def with_run(uri: str, run: str) -> Result:
    """Print what a run or a sweep was, how it went, where its files are, and the commands about it.

    The values are the first, the last, the lowest and the highest of each loss and metric, each `@` its step.
    """
    from runner.tracking.read import recall, whole

    run_id = recall.find(uri, run)
    facts, table = whole.record(uri, run_id), None
    recall.say_last(run, recall.run(uri, run_id))
    if facts["kind"] == "sweep":
        table = _add_jobs(uri, run_id, facts)
    return Result(facts, lambda: _print(facts, table))


def _add_jobs(uri: str, run_id: str, facts: dict[str, Any]) -> "Table | None":
    """Add to the facts of a sweep: jobs, statuses, best and front. Returns its table; None for a damaged manifest."""
    from runner.settings.errors import ConfigError, first_line
    from runner.sweeps.report import recorded

    try:
        table = recorded.table(uri, run_id)
    except ConfigError as error:
        facts["warnings"].append(f"jobs: {first_line(error)}")
        return None
    facts["jobs"], facts["statuses"] = recorded.jobs(table), recorded.statuses(table)
    facts["best"], facts["front"] = recorded.best(table), [row.run_id for row in table.front]
    if command := facts["tags"].get("sweep.best_command"):
        facts["commands"]["best"] = command
    return table


def _print(facts: dict[str, Any], table: "Table | None") -> None:
    from rich.text import Text

    from runner.sweeps.report import repeats, summary
    from runner.tracking import screen

    console = screen.console()
    status = Text(facts["status"], style=STYLES.get(facts["status"], ""))
    console.print(Text.assemble(f"{facts['kind']} {facts['id']}  ", status), soft_wrap=True)
    _section(console, "what it was", _what(facts))
    _section(console, "how it went", _how(facts))
    if facts["history"] and any("/" in name for name in facts["history"]):
        console.print(_values(facts["history"]))
    if table is not None and table.standing:
        console.print(repeats.ranking(table) if table.folded else summary.ranking(table, console.width))
    _section(console, "files", _files(facts))
    _section(console, "commands", [(COMMANDS[name], command) for name, command in facts["commands"].items()], False)


def _section(console: "Console", title: str, lines: list[tuple[str, str]], wraps: bool = True) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(Text(title, style="bold"))
    width = max((len(name) for name, _ in lines), default=0)
    if not wraps:  # so that they can be copied
        for name, line in lines:
            console.print(Text(f"  {name:<{width}}  {terminal.shown(line)}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, width=width + 2)
    grid.add_column(overflow="fold")
    for name, line in lines:
        grid.add_row(Text(f"  {name}"), Text(terminal.line(line)))
    console.print(grid)


def _what(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a run was: lines of a name and a value."""
    machine, versions, git = facts["machine"], facts["versions"], facts["git"]
    where = f"{facts['experiment']} of {facts['uri']}"
    parts = {
        "name": facts["name"],
        "note": facts["note"],
        "experiment": where,
        "of sweep": facts["parent"] or "",
        "repeats": facts["again"] or "",
        "study": facts["study"] or "",
        "overrides": " ".join(word for word in facts["overrides"] if not word.startswith("experiments=")),
        "data": _data(facts),
        "model": "" if facts["parameters"] is None else f"{facts['parameters']:,} parameters",
        "device": _device(machine),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "git": f"{git['commit'][:12]}, {git['state']}" if git["commit"] else "",
        "tags": ", ".join(f"{k}={v}" for k, v in _own_tags(facts["tags"]).items()),
    }
    return [(name, value) for name, value in parts.items() if value.strip(", ")]


def _device(machine: dict[str, str]) -> str:
    words = {"device": "{}", "cpu": "{}", "threads": "threads {}", "host": "on {}"}
    return ", ".join(text.format(machine[name]) for name, text in words.items() if name in machine)


def _own_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that a person has given."""
    from runner.settings.values import tags as known

    ours = ("loaded.", *known.SHOWN)
    return {name: value for name, value in tags.items() if not known.is_reserved(name) and not name.startswith(ours)}


def _data(facts: dict[str, Any]) -> str:
    data, config = facts["data"], facts["config"]
    if data is None:
        return ""
    name = str((config or {}).get("data", {}).get("name", ""))
    task = data["task"] if isinstance(data["task"], str) else ", ".join(f"{k}: {v}" for k, v in data["task"].items())
    example = data["example"]
    shape = f"({', '.join(map(str, example['shape']))}) {example.get('dtype', '')}" if "shape" in example else ""
    classes = f"{len(data['classes'])} classes" if data["classes"] and isinstance(data["classes"], list) else ""
    sizes = ", ".join(f"{size:,} {part}" for part, size in (data.get("examples") or {}).items())
    return ", ".join(part for part in (name, task, classes, shape) if part) + (f"; {sizes}" if sizes else "")


def _how(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how a run went: lines of a name and a value."""
    from runner.sweeps.report import words

    took = "" if facts["seconds"] is None else f", took {facts['seconds']:,.1f} s"
    reason = f": {facts['reason']}" if facts["reason"] else ""
    counts = [words.counted(facts[f"{noun}s"], noun) for noun in ("step", "epoch") if facts[f"{noun}s"]]
    lines = [("status", f"{facts['status']}{reason}"), ("started", f"{_local(facts['started'])}{took}")]
    lines += [("trained", ", ".join(counts))] if counts else []
    if any(file["path"] == "traceback.txt" for file in facts["files"]):
        lines.append(("traceback", "traceback.txt among its files"))
    if statuses := facts.get("statuses"):
        lines.append(("jobs", ", ".join(f"{count:,} {status}" for status, count in statuses.items())))
    if best := facts["best"]:
        whose = f" of job {best['job']}, run {best['run']}" if "job" in best else f" after step {best['step']:,}"
        lines.append(("best", f"{best['metric']}={best['value']:.6g}{whose}"))
    if front := facts.get("front"):
        lines.append(("on the front", ", ".join(front)))
    if (tested := facts["tested"]) and any(name.startswith("test/") for name in facts["metrics"]):
        lines.append(("tested", f"the checkpoint {tested['checkpoint']}, of step {tested['step']:,}"))
    return lines + [("warning", line) for line in facts["warnings"]]


def _local(time: str | None) -> str:
    """Return a time of the record as local time."""
    return at(datetime.datetime.fromisoformat(time).timestamp()) if time else ""


def _values(history: dict[str, dict[str, Any]]) -> "Grid":
    """Return a table of the metrics. A metric with one value has no column but the last."""
    from rich.table import Table
    from rich.text import Text

    columns = ("first", "last", "lowest", "highest")
    grid = Table(box=None, pad_edge=False, header_style="bold")
    grid.add_column("  values", no_wrap=False, overflow="fold")
    for name in columns:
        grid.add_column(name, justify="left", no_wrap=True)
    for metric, of in history.items():
        if "/" not in metric or metric.startswith("lr/"):
            continue
        several = of["values"] > 1
        shown = [name for name in columns if name in of and (several or name == "last")]
        cells = [f"{of[c]['value']:.5g} @{of[c]['step']}" if c in shown else "" for c in columns]
        grid.add_row(Text(f"  {terminal.line(metric)}"), *map(Text, cells))
    return grid


def _files(facts: dict[str, Any]) -> list[tuple[str, str]]:
    from runner.sweeps.report import words

    here, place = f"{Path.cwd()}/", facts["folder"] or facts["artifacts"]
    sizes: dict[str, int] = {}
    for file in facts["files"]:
        first, slash, _ = file["path"].partition("/")
        sizes[first + slash] = sizes.get(first + slash, 0) + file["bytes"]
    listed = ", ".join(f"{secrets.masked(name)} {size_in_words(size)}" for name, size in sizes.items())
    total = f"{words.counted(len(facts['files']), 'file')}, {size_in_words(facts['bytes'])}"
    total += f": {listed}" if listed else ""
    return [("in", place.removeprefix(here)), ("holds", total)]


def size_in_words(size: int) -> str:
    """Return bytes as `512 B`, `1.5 kB` or `3.2 MB`: powers of 1,000."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} B"
