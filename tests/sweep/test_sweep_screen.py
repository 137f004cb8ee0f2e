"""What is seen of a sweep: fits the terminal, tells each end once, and can be pasted."""

import io
import json
import re
import shlex

import pytest
from rich.console import Console

from runner.sweeps.report import files, screen, summary
from runner.sweeps.report.progress import Progress, left
from runner.sweeps.report.table import Row, Table

REASON = "FloatingPointError: the training loss is nan at step 17"


class Clock:
    """Stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 80, height: int = 24, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, color_system=None)


def printed(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def sweep(done: int, running: int, waiting: int) -> Table:
    states = ["FINISHED"] * done + ["RUNNING"] * running + ["WAITING"] * waiting
    rows = [
        Row(i, {"optimizer.lr": f"0.{i}", "model.layers": "[16,32]"}, f"{i:032x}", status, epochs=20)
        for i, status in enumerate(states)
    ]
    for row in rows:
        if row.status != "WAITING":
            row.epoch, row.value, row.seconds = (20 if row.ended else 5), 1 / (row.number + 1), 10.0
    return Table(rows)


def lines(table: Table, **size: int) -> list[str]:
    found = console(**size)
    board = screen.LiveTable(found)
    with found.capture() as capture:
        found.print(board.picture(table))
    board.close(table)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("table", [sweep(0, 1, 0), sweep(2, 2, 2), sweep(30, 4, 30), sweep(0, 64, 0), sweep(500, 0, 0)])
def test_the_live_table_fits_the_terminal(table: Table, width: int) -> None:
    found = lines(table, width=width, height=24)
    assert len(found) < 24
    assert max(map(len, found)) <= width
    assert "[16,32]" in found[1]  # and is not taken for rich's markup
    assert f"{len([r for r in table.rows if r.ended])}/{len(table.rows)} jobs" in found[-1]


def test_few_jobs_stand_in_their_order() -> None:
    assert [line.split()[0] for line in lines(sweep(2, 2, 2))[1:7]] == list("012345")


def test_of_many_jobs_the_running_come_first_then_those_that_ended_last() -> None:
    table = sweep(30, 4, 30)
    order = [*range(3, 30), 2, 1, 0]
    rows = screen.chosen(table, order, 20)
    assert [row.number for row in rows] == [30, 31, 32, 33, 0, 1, 2, 29, *range(28, 16, -1)]
    assert "and 30 WAITING, 14 FINISHED" in lines(table)[-2]


def test_all_jobs_are_shown_as_long_as_they_fit() -> None:
    assert len(screen.chosen(sweep(20, 0, 0), [], 20)) == 20
    assert len(screen.chosen(sweep(21, 0, 0), [], 20)) == 20


def test_long_keys_give_way_to_short_ones() -> None:
    wide, narrow = (lines(sweep(1, 1, 1), width=width)[1] for width in (160, 80))
    assert "optimizer.lr=0.0, model.layers=[16,32]" in wide
    assert "lr=0.0, layers=[16,32]" in narrow
    assert "optimizer" not in narrow


def test_time_left_is_by_what_was_done_since_it_watches() -> None:
    clock = Clock()
    progress = Progress(clock)
    assert progress.left(sweep(6, 0, 4)) is None
    clock.now += 30
    assert progress.left(sweep(8, 0, 2)) == pytest.approx(30.0)  # two in 30 s, not eight
    assert progress.left(sweep(10, 0, 0)) == 0.0


def test_time_left_of_a_job_is_by_its_epochs() -> None:
    assert left(Row(0, {}, status="RUNNING", epoch=5, epochs=20, seconds=10.0)) == pytest.approx(30.0)
    assert left(Row(0, {}, status="RUNNING", epoch=0, epochs=20, seconds=10.0)) is None
    assert left(Row(0, {}, status="FINISHED", epoch=5, epochs=20, seconds=10.0)) is None


def test_a_terminal_gets_a_table_and_a_file_gets_lines() -> None:
    board = screen.watching(console(), 3)
    board.close(sweep(3, 0, 0))
    assert isinstance(board, screen.LiveTable)
    assert isinstance(screen.watching(console(terminal=False), 3), screen.Lines)


def test_each_end_is_told_once_in_a_line() -> None:
    found = console(terminal=False)
    watcher, table = screen.Lines(found, 3), sweep(1, 1, 1)
    table.rows[0].overrides = {"optimizer.lr": "0.1", "seed": "2"}
    table.rows[0].epoch, table.rows[0].value, table.rows[0].seconds = 12, 0.0123, 3.21
    for _ in range(3):
        watcher.show(table)
    table.rows[1].status, table.rows[1].reason, table.rows[1].value = "FAILED", REASON + "\nTraceback", None
    watcher.show(table)
    table.rows[2] = Row(2, {"seed": "3"}, "", "FINISHED", 0.5, {}, 1, 20, 1.0, 1)
    watcher.close(table)
    assert printed(found).splitlines() == [
        "job 0/3  optimizer.lr=0.1, seed=2  FINISHED  valid/loss=0.0123  12 epochs  3.2 s",
        f"job 1/3  optimizer.lr=0.1, model.layers=[16,32]  FAILED  5 epochs  10.0 s  {REASON} Traceback",
        "job 2/3  seed=3  FINISHED  valid/loss=0.5  1 epoch  pruned after epoch 1  1.0 s",
    ]


def test_progress_is_told_every_ten_seconds_and_not_twice_the_same() -> None:
    clock, found = Clock(), console(terminal=False)
    watcher, table = screen.Lines(found, 6, clock), sweep(0, 6, 0)
    told = []
    for _ in range(40):
        clock.now += 1
        table.rows[0].epoch = min(8, table.rows[0].epoch + 1)
        watcher.show(table)
        told.append(len(printed(found).splitlines()))
    assert told[8:11] == [0, 1, 1]
    assert told[-1] == 4  # the time left goes on
    first = printed(found).splitlines()[0]
    assert first.startswith("6 RUNNING  job 0 at epoch 8/20  job 1 at epoch 5/20")
    assert "2 more jobs" in first


def failing() -> Table:
    table = sweep(30, 0, 1)
    table.rows[3].status, table.rows[3].reason = "FAILED", REASON
    table.rows[4].status, table.rows[4].reason = "KILLED", ""
    table.rows[5].pruned = 7
    return table


@pytest.mark.parametrize("width", [80, 160])
def test_the_summary_ranks_twenty_and_tells_every_failure(width: int) -> None:
    found, table = console(width, terminal=False), failing()
    summary.summary(found, table, "runner x")
    said = printed(found)
    rows = re.findall(r"^ *(\d+) +(\d+) ", said, re.MULTILINE)
    assert [int(rank) for rank, _ in rows] == list(range(1, 21))
    assert [int(job) for _, job in rows[:3]] == [29, 28, 27]
    assert "and 8 jobs more" in said
    flat = " ".join(said.split())
    assert f"FAILED job 3 optimizer.lr=0.3, model.layers=[16,32] {REASON}" in flat
    assert "KILLED job 4" in flat
    assert "no reason was recorded" in flat
    assert said.splitlines()[-1] == "the best again: runner x"


@pytest.mark.parametrize("width", [80, 200])
def test_of_a_thousand_jobs_the_summary_has_the_best_the_worst_and_some_failures(width: int) -> None:
    found, table = console(width, terminal=False), sweep(1024, 0, 0)
    for row in table.rows[:30]:
        row.status, row.value, row.reason = "FAILED", None, REASON
    summary.summary(found, table)
    said = printed(found).splitlines()
    ranks = [int(rank) for rank in re.findall(r"^ *(\d+) +\d+ ", "\n".join(said), re.MULTILINE)]
    assert ranks == [*range(1, 21), 992, 993, 994]
    assert "971 jobs" in said[21]
    assert sum(line.startswith("FAILED  job") for line in said) == summary.FAILURES
    assert "and 10 jobs more that failed" in " ".join(said)
    assert max(map(len, said)) <= width


def test_of_a_thousand_jobs_only_failures_have_a_line_in_a_file() -> None:
    clock, found = Clock(), console(terminal=False)
    watcher, table = screen.Lines(found, 1024, clock), sweep(1024, 0, 0)
    for row in table.rows[:30]:
        row.status, row.value, row.reason = "FAILED", None, REASON
    watcher.show(table)
    assert len(printed(found).splitlines()) == screen.FAILURES
    clock.now += 11
    watcher.show(table)
    assert printed(found).splitlines()[-1].startswith("994 FINISHED, 30 FAILED  best valid/loss=")


def test_of_more_running_jobs_than_fit_the_best_are_shown() -> None:
    assert [row.number for row in screen.chosen(sweep(0, 64, 0), [], 5)] == [63, 62, 61, 60, 59]


def test_the_files_have_all_jobs() -> None:
    table = sweep(1000, 20, 4)
    assert len(files.csv(table).splitlines()) == 1025
    assert len(json.loads(files.mlflow_table(table))["data"]) == 1024


def test_the_summary_of_a_sweep_without_results_is_its_failures() -> None:
    found, table = console(terminal=False), sweep(0, 0, 2)
    table.rows[0].status, table.rows[0].reason = "FAILED", "x"
    summary.summary(found, table)
    assert printed(found).splitlines() == ["FAILED  job 0  optimizer.lr=0.0, model.layers=[16,32]  x"]


def test_the_command_for_the_best_is_in_one_piece_and_can_be_pasted() -> None:
    row = Row(0, {"model.layers": "[16, {Linear: 4}]", "note": "it's $HOME " + "x" * 100}, "f" * 32)
    command, found = summary.again(["experiments=digits"], row), console(terminal=False)
    summary.summary(found, sweep(1, 0, 0), command)
    [line] = [line for line in printed(found).splitlines() if line.startswith("the best again: ")]
    words = ["runner", "experiments=digits", *(f"{key}={value}" for key, value in row.overrides.items())]
    assert shlex.split(line.removeprefix("the best again: ")) == words


def test_the_last_line_is_as_promised() -> None:
    row = Row(0, {"optimizer.lr": "0.1", "model.layers": "[16, 32]"}, "f" * 32)
    line = summary.result("e" * 32, "FINISHED", row)
    assert line == f"sweep {'e' * 32} FINISHED best={'f' * 32} optimizer.lr=0.1 'model.layers=[16, 32]'"
    assert summary.result("e" * 32, "FAILED", None) == f"sweep {'e' * 32} FAILED best=none"
