"""The server for agents, asked by the protocol's own client over a process's input and output."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

mcp = pytest.importorskip("mcp")

SHORT = ["plots=[]", "device=cpu", "data.points=32", "trainer.epochs=2"]


def asked(place: Path, script: Callable[[Any], Awaitable[None]]) -> None:
    """Run `script` with a client of a server that is begun in `place`."""

    async def session() -> None:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        words = mcp.StdioServerParameters(command=sys.executable, args=["-m", "runner", "mcp"], cwd=place, env=env)
        async with mcp.Client(words) as client:
            await script(client)

    asyncio.run(session())


async def answer(client: Any, tool: str, **arguments: Any) -> tuple[bool, dict[str, Any]]:
    """(whether the tool has failed, what it has answered)"""
    result = await client.call_tool(tool, arguments)
    text = result.content[0].text
    return bool(result.is_error), json.loads(text[text.index("{") :])


def test_an_agent_finds_checks_trains_and_looks(workplace: Path) -> None:
    async def script(client: Any) -> None:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"experiments", "check", "train", "sweep", "runs", "show", "best", "diff"}
        _, found = await answer(client, "experiments", filter="linear_regression")
        assert found["experiments"][0]["name"] == "linear_regression"
        failed, wrong = await answer(client, "check", experiment="linear_regression", overrides=["optimizer.lr=-1"])
        assert failed
        assert wrong["errors"][0]["key"] == "optimizer.lr"
        failed, trained = await answer(client, "train", experiment="linear_regression", overrides=SHORT)
        assert not failed
        assert trained["status"] == "FINISHED"
        _, shown = await answer(client, "show", run=trained["run"])
        assert shown["metrics"]["valid/loss"] == trained["metrics"]["valid/loss"]

    asked(workplace, script)


REFUSED = [
    (["tracking.uri=sqlite:////tmp/elsewhere.db"], "is outside of the working directory"),
    (["--trust", "mine"], "a flag is for a person to type"),
    (["tracking.uri=http://example.invalid"], "is a server that only a file names"),
]


def test_what_only_a_person_may_allow_is_refused(workplace: Path) -> None:
    async def script(client: Any) -> None:
        for words, why in REFUSED:
            failed, found = await answer(client, "check", experiment="linear_regression", overrides=words)
            assert failed
            assert why in found["errors"][0]["message"], words

    asked(workplace, script)
