"""The command `diff`: what lies between two recorded runs."""

from typing import TYPE_CHECKING, Any

from runner.commands import _words
from runner.commands._result import Result
from runner.settings.trust import record_reading, terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Lines of changed code that are shown of a file, and metrics at the end.
LINES, METRICS = 12, 12


def with_run(uri: str, run: str, other: str, *, deep: str = "false", code: str = "current") -> Result:
    """Print what lies between two runs: the likely causes, and where their numbers part, by step and by layer.

    Of a sweep its best job is compared.
    deep: true prepares both runs again, and compares their first weights and each layer's output of the first batch.
    code: current or recorded, for the user's own code in that.
    """
    from runner.tracking import recorded_code
    from runner.tracking.read import difference, recall

    recorded_code.check(code)
    deeply = _words.truth("deep", deep)
    a, b = recall.find_run(uri, run), recall.find_run(uri, other)
    found = difference.between(uri, a, b, deeply, code)
    return Result(found, lambda: _print(found))


def _print(found: dict[str, Any]) -> None:
    from runner.tracking import screen

    console = screen.console()
    for side, record in zip("AB", found["records"], strict=True):
        steps = f"{record['steps']:,} step{'s' * (record['steps'] != 1)}"
        line = f"{record_reading.cut(record['name'])}, {record['experiment']}, {record['status']}, {steps}"
        console.print(_text(f"{side}  run {record['id'][:8]}  {line}"))
    console.print(_text(_sentence(found["conclusion"]), "bold"))
    _causes(console, "what differs, the most likely cause first", found["causes"])
    _causes(console, "what follows from it", found["consequences"])
    _causes(console, "what differs and changes nothing of the training", found["beside"])
    _where(console, found)
    _last(console, found)
    _lines(console, "what could not be compared", found["unknown"])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _causes(console: "Console", title: str, causes: list[dict[str, Any]]) -> None:
    if not causes:
        return
    console.print(_text(title, "bold"))
    rows = []
    for cause in causes:
        follows = f" (follows from {', '.join(cause['follows'][:3])})" if cause.get("follows") else ""
        rows.append((cause["kind"], cause["key"], f"{cause['words']}{follows}"))
    widths = [max(len(row[n]) for row in rows) for n in (0, 1)]
    for cause, row in zip(causes, rows, strict=True):
        console.print(_grid([row], [widths[0], min(widths[1], 34)]))
        lines = cause.get("diff", ())
        for line in lines[:LINES]:
            console.print(_text(f"    {line}", {"-": "red", "+": "green"}.get(line[:1], "dim")), soft_wrap=True)
        if len(lines) > LINES:
            console.print(_text(f"    and {len(lines) - LINES} lines more; --json has them"))


def _where(console: "Console", found: dict[str, Any]) -> None:
    rows = []
    numbers, weights, deep = found["numbers"], found["weights"], found["deep"]
    firsts = sorted(numbers["first"].items(), key=lambda item: item[0] != (found["first_step"] or {}).get("metric"))
    for name, at in [one for one in firsts if one[1]["step"] <= firsts[0][1]["step"]][:METRICS]:
        gap = "" if at["relative"] is None else f", apart by {at['relative']:.2g} of the larger"
        rows.append((name, f"from step {at['step']:,}: {at['a']:.9g} -> {at['b']:.9g}{gap}"))
    if not firsts and numbers["compared"]:
        rows.append(("values", f"all {numbers['compared']:,} that both have are equal, bit by bit"))
    if numbers["steps"][0] != numbers["steps"][1]:
        rows.append(
            ("steps", f"{numbers['steps'][0]:,} -> {numbers['steps'][1]:,}, {numbers['common']:,} of them common")
        )
    for side, names in numbers["only"].items():
        if names:
            rows.append((f"only {side.upper()} has", ", ".join(names)))
    for name, title in (
        ("first_weights", "first weights"),
        ("first_batch", "first batch"),
        ("outputs", "outputs of it"),
    ):
        if deep:
            rows.append((title, _tensors(deep[name])))
    if weights:
        rows.append((f"weights after step {weights['step']:,}", _tensors(weights)))
    _lines(console, "where the numbers part" if firsts else "the numbers", rows)


def _tensors(of: dict[str, Any]) -> str:
    if of["identical"]:
        return "equal, bit by bit"
    first = of["first"]
    gap = "" if first["largest"] is None else f", apart by up to {first['largest']:.2g}"
    shapes = "" if first["a"] == first["b"] else f", {first['a'] or 'none'} -> {first['b'] or 'none'}"
    equal = f"{of['equal']} of {of['tensors']} tensors are equal"
    return f"from {first['tensor']} on{shapes}{gap}; {equal}"


def _last(console: "Console", found: dict[str, Any]) -> None:
    rows = [
        (name, f"{_number(of['a'], of['step_a'])} -> {_number(of['b'], of['step_b'])}")
        for name, of in found["last"].items()
        if name != "epoch" and (of["a"], of["step_a"]) != (of["b"], of["step_b"])
    ]
    _lines(console, "at the end", rows[:METRICS])


def _number(value: float | None, step: int | None) -> str:
    return "none" if value is None else f"{value:.6g} (step {step:,})"


def _lines(console: "Console", title: str, rows: list[Any]) -> None:
    if not rows:
        return
    console.print(_text(title, "bold"))
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    console.print(_grid(rows, widths))


def _grid(rows: list[tuple[str, ...]], widths: list[int]) -> "RenderableType":
    """Return rows in columns, of which the last takes the room that is left and is folded into it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(width=width + 2 * (width is widths[0]), overflow="fold")
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(_text(f"  {row[0]}"), *map(_text, row[1:]))
    return grid


def _text(line: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(terminal.shown(line), style=style)
