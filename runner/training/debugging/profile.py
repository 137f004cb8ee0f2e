"""`debug=profile`: where the time of a step goes, and a trace of some steps by torch.profiler."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from runner.training.debugging.artifact import artifact
from runner.training.debugging.undebugged import Undebugged
from runner.training.events import Event
from runner.training.loop import Parts, State
from runner.training.parts import several

if TYPE_CHECKING:
    from runner.training.run import Run

#: Steps to warm up, steps that are timed, and steps that are traced.
WARM, TIMED, TRACED = 10, 10, 10
#: Parts of a step, in their order. `record` is all that follows it: history, record, screen, validations.
PARTS = ("data", "forward", "backward", "optimizer", "record")
#: Operations and layers that are listed.
TOP = 10
#: Begins the name of a layer in the trace.
LAYER = "layer "
#: Read by the library behind torch's profiler: what it prints.
LEVEL = "KINETO_LOG_LEVEL"


class Debugging(Undebugged):
    """Times the parts of some steps by the clock, with the device waited for, and traces some others.

    `found` has steps (timed), seconds (of one step, by part), operations: a list of {name, calls, seconds} of one step,
    the longest first, and layers: {name, seconds} of one step's forward. debug/trace.json.gz is for chrome://tracing or
    ui.perfetto.dev.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seconds, self._part, self._since, self._counts = dict.fromkeys(PARTS, 0.0), "record", 0.0, False
        self._trace: Any = None  # while steps are traced
        self._range: Any = None
        self._done: Any = None

    @contextlib.contextmanager
    def watching(self, run: "Run") -> Iterator[None]:
        """Mark where each part of a step begins."""
        self._first, self._device = run.state.step, run.device
        plain, step = run.state.cost, run.step

        def cost(model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
            self._begin("forward")
            result = plain(model, batch)
            self._begin("backward")
            return result

        def taken(state: State, parts: Parts) -> Any:
            self._begin("forward")
            loss = step(state, parts)
            self._begin("record")
            return loss

        each = several.each_of(run.state.optimizer).values()
        hooks: list[Any] = [one.register_step_pre_hook(lambda *_: self._begin("optimizer")) for one in each]
        for name, module in run.model.named_modules():
            hooks += self._layer(name, module) if name else []
        run.state.cost, run.step = cost, taken  # type: ignore[method-assign, unused-ignore]
        try:
            yield
            self._begin("data")  # of no further step
        finally:
            if self._trace is not None:
                self._end_trace()
            run.state.cost, run.step = plain, step  # type: ignore[method-assign, unused-ignore]
            for hook in hooks:
                hook.remove()

    def batches(self, run: "Run") -> Iterator[Parts]:
        """Yield the batches of each step, and begin its data, its clock or its trace."""
        stream = run.batches()
        for number in itertools.count():
            self._begin("data")
            self._counts = WARM <= number < WARM + TIMED
            if number == WARM + TIMED:
                self._begin_trace()
            if number == WARM + TIMED + TRACED:
                self._end_trace()
            parts = next(stream, None)
            if parts is None:
                return
            yield parts

    def ended(self, run: "Run") -> Iterator[Event]:
        """Yield the trace and debug/profile.json."""
        taken = min(max(run.state.step - self._first - WARM, 0), TIMED)
        seconds = {part: self._seconds[part] / taken for part in PARTS} if taken else {}
        self.found = {"steps": taken, "seconds": seconds, **self.found}
        event = artifact(run, "profile", self.found)
        if self._done is not None:
            self._done.export_chrome_trace(str(event.folder / "debug" / "trace.json.gz"))
        yield event

    def lines(self) -> list[str]:
        """Return the table of the parts, of the longest operations and of the layers."""
        f = self.found
        if not f.get("operations"):
            needed = WARM + TIMED + TRACED + 1
            return [f"debug=profile: needs {needed} steps to trace some; set trainer.steps={needed}"]

        def row(name: str, seconds: float, more: str = "") -> str:
            return f"  {name[:30]:30} {1000 * seconds:9.3f} ms {more}".rstrip()

        whole = sum(f["seconds"].values())
        lines = [f"debug=profile: a step takes {1000 * whole:.3g} ms, the mean of {f['steps']}, of which"]
        lines += [row(part, one, f"{one / whole:6.1%}") for part, one in f["seconds"].items()]
        lines += [f"the longest operations of a step{'':11}  calls"]
        lines += [row(one["name"], one["seconds"], f"{one['calls']:6,.6g}") for one in f["operations"]]
        lines += ["the longest layers, forward"]
        return lines + [row(one["name"], one["seconds"]) for one in f["layers"]]

    def _begin(self, part: str) -> None:
        """End one part of a step, and begin another."""
        if self._counts and self._device.type != "cpu":
            torch.accelerator.synchronize()  # a part has ended when the device has
        now = time.perf_counter()
        self._seconds[self._part] += (now - self._since) * self._counts
        self._part, self._since = part, now
        if self._trace is not None:
            self._enter(part)

    def _enter(self, part: str) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
        self._range = record_function(part)
        self._range.__enter__()

    def _layer(self, name: str, module: nn.Module) -> list[Any]:
        """Return hooks that mark a layer's forward in the trace."""
        ranges: list[Any] = []

        def before(*_: Any) -> None:
            if self._trace is not None:
                ranges.append(record_function(f"{LAYER}{name}"))
                ranges[-1].__enter__()

        def after(*_: Any) -> None:
            if ranges:
                ranges.pop().__exit__(None, None, None)

        return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def _begin_trace(self) -> None:
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._device.type == "cuda" else [])]
        level = os.environ.get(LEVEL)
        os.environ[LEVEL] = level or "6"  # or it prints lines that it begins and ends
        self._trace = profile(activities=kinds)
        self._trace.start()
        if level is None:
            del os.environ[LEVEL]
        self._enter("data")

    def _end_trace(self) -> None:
        """Stop the trace, and add up its operations and layers."""
        self._range.__exit__(None, None, None)
        trace, self._trace, self._range = self._trace, None, None
        trace.stop()
        self._done = trace
        rows = trace.key_averages()
        of = "device" if self._device.type == "cuda" else "cpu"
        own = {f"{LAYER}{part}" for part in PARTS} | set(PARTS)

        def summed(key: str, rows: list[Any], start: str) -> list[dict[str, Any]]:
            each = [
                {
                    "name": row.key.removeprefix(start),
                    "calls": row.count / TRACED,
                    "seconds": getattr(row, key) / 1e6 / TRACED,
                }
                for row in rows
            ]
            return sorted(each, key=lambda one: -one["seconds"])[:TOP]

        layers = [row for row in rows if row.key.startswith(LAYER)]
        others = [row for row in rows if row.key not in own and not row.key.startswith(LAYER)]
        self.found["operations"] = summed(f"self_{of}_time_total", others, "")
        self.found["layers"] = summed(f"{of}_time_total", layers, LAYER)
