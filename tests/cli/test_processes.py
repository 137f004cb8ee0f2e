"""joblib's processes, one by one: what has ended is not held, and what is killed takes no other with it."""

import os
import signal

import pytest

from runner.cli.launching import Lost, Processes

pytest.importorskip("joblib")


def test_a_process_that_has_ended_is_let_go_of() -> None:
    processes = Processes(None, 1)
    with processes.one() as call:
        first = call(os.getpid)
        assert call(os.getpid) == first, "it takes one job after the other"
        with pytest.raises(Lost, match="SIGKILL"):
            call(os.kill, first, signal.SIGKILL)
        second = call(os.getpid)
        assert second != first
        os.kill(second, signal.SIGKILL)  # while it has nothing to do
        while True:
            try:
                third = call(os.getpid)
                break
            except Lost:
                pass
        assert third != second
        assert len(processes._pools) == 1, "of three that there were"
    assert processes._pools == []
    processes.kill()
    with processes.one() as call, pytest.raises(Lost, match="the sweep has ended"):
        call(os.getpid)
