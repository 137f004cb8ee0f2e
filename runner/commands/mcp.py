"""The command `mcp`: a server of the Model Context Protocol, so that an agent does what a person does with `runner`."""

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from runner.commands._result import Result, nothing
from runner.settings.errors import ConfigError

if TYPE_CHECKING:
    from mcp.server import MCPServer

#: What an agent is told about all tools.
ABOUT = """Train PyTorch experiments that are described in YAML, record them in MLflow, sweep, compare and look at them.
`experiments` lists what there is, `check` says what is wrong before anything is trained and what it costs, `train` and
`sweep` return the ids of runs, `runs`, `show`, `best` and `diff` look at them. An override is key=value, such as
optimizer.lr=0.01 or trainer.epochs=3. Nothing that only a person may allow is done here: other stores, code of
packages, recorded code, files elsewhere."""


def with_words() -> Result:
    """Serve tools to an agent on standard input and output, until these are closed: experiments, check, train, ...

    Each call is a process of its own, `runner ... --json`, whose words nobody has typed: what only a person may allow,
    is refused. It needs the extra `mcp`.
    """
    server().run("stdio")
    return Result({}, nothing)


def server() -> "MCPServer":
    """Return the server with its tools. Raises ConfigError without the package `mcp`."""
    try:
        from mcp.server import MCPServer
    except ModuleNotFoundError as error:
        raise ConfigError("", "mcp is not installed: pip install 'runner-torch[mcp]'") from error
    import runner

    made = MCPServer("runner", instructions=ABOUT, version=runner.__version__)
    for tool in (experiments, check, train, sweep, runs, show, best, diff):
        made.tool(structured_output=False)(tool)
    return made


async def experiments(filter: str = "") -> str:
    """List the experiments that can be trained, each with its question. filter: a part of a name or description."""
    return await _called("experiments", *_given(filter))


async def check(experiment: str, overrides: list[str] | None = None) -> str:
    """Check an experiment without training it: all that is wrong with it, or its size, memory and time."""
    return await _called("check", *_named(experiment), *(overrides or []))


async def train(experiment: str, overrides: list[str] | None = None) -> str:
    """Train an experiment and record it. overrides: key=value. Returns the run's id, status and last metrics."""
    return await _called("train", *_named(experiment), *(overrides or []))


async def sweep(experiment: str, grid: dict[str, list[Any]], overrides: list[str] | None = None) -> str:
    """Train an experiment for each combination of values. grid: key -> values. Returns all jobs and the best."""
    return await _called("train", "-m", *_named(experiment), *(overrides or []), *_words_of(grid))


async def runs(filter: str = "", sort: str = "", most: int = 20) -> str:
    """List recorded runs, newest first. filter: MLflow's grammar, valid/loss < 0.1. sort: valid/loss or seed desc."""
    return await _called("runs", *_given(filter), *([f"sort={sort}"] if sort else []), f"most={most}")


async def show(run: str = "last") -> str:
    """Return all that is recorded of a run or sweep: configuration, data, values, files, commands. run: id or last."""
    return await _called("show", run)


async def best(experiment: str) -> str:
    """Return the best configuration of an experiment or a sweep by its mean over seeds, and whether it differs."""
    return await _called("best", experiment)


async def diff(one: str, other: str) -> str:
    """Return how two runs differ: configuration, code, data, environment, and where their numbers part."""
    return await _called("diff", one, other)


def _named(experiment: str) -> list[str]:
    return [f"experiments={experiment}"] if experiment else []


def _given(word: str) -> list[str]:
    return [word] if word else []


def _words_of(grid: dict[str, list[Any]]) -> list[str]:
    return [f"{key}={','.join(json.dumps(value) for value in values)}" for key, values in grid.items()]


async def _called(*words: str) -> str:
    """Return the last line that a command prints as JSON. A call that is cancelled ends its run as KILLED."""
    from mcp.server.mcpserver.exceptions import ToolError

    env = {**os.environ, "RUNNER_UNTYPED": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runner", *words, "--json"),
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        raise
    lines = out.decode(errors="replace").splitlines()
    last = lines[-1] if lines else json.dumps({"event": "error", "message": err.decode(errors="replace")[-2000:]})
    if process.returncode not in (0, None) and json.loads(last).get("event") == "error":
        raise ToolError(last)
    return last
