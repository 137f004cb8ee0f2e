"""Sequence models in training: the losses of plain torch, steps captured or not, many as one program or alone."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.settings.values.lookup import use_folder
from runner.training.loop import train
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.vectorized import groups
from tests.conftest import Start, settings

GPT = {
    "embed": {"Embedding": {"num_embeddings": 30, "embedding_dim": 8}},
    "places": "Positions",
    "mask": {"Mask": "causal"},
    "blocks": {
        "Repeat": {
            "times": 2,
            "layers": [
                {"Residual": ["LayerNorm", {"MultiheadAttention": {"num_heads": 2}}]},
                {"Residual": ["LayerNorm", {"Linear": 16}, "GELU", {"Linear": 8}]},
            ],
        }
    },
    "head": {"Linear": 16},
    "classes": {"Permute": [0, 2, 1]},
}
RECURRENT = {
    "embed": {"Embedding": {"num_embeddings": 30, "embedding_dim": 8}},
    "rnn": {"GRU": {"hidden_size": 8}},
    "values": {"Select": 0},
    "head": {"Linear": 16},
    "classes": {"Permute": [0, 2, 1]},
}
PADDED = {
    "rnn": {"GRU": {"hidden_size": 6, "from": "values", "lengths": "lengths"}},
    "values_": {"Select": 0},
    "mean": {"Mean": {"dim": 1, "lengths": "lengths"}},
    "head": {"Linear": 2},
}
VIT = [
    {"Conv2d": {"out_channels": 8, "kernel_size": 4, "stride": 4}},
    {"Flatten": 2},
    {"Permute": [0, 2, 1]},
    "ClassToken",
    "Positions",
    {"TransformerEncoder": {"encoder_layer": {"TransformerEncoderLayer": {"nhead": 2, "dim_feedforward": 8}},
                            "num_layers": 1}},
    "First",
    {"Linear": 10},
]  # fmt: skip
CROSS = {"loss": {"name": "CrossEntropyLoss"}, "optimizer": {"name": "SGD", "lr": 0.1}, "precision": "fp64"}

ONE = "on a processor torch computes the attention of one model at a time"

SOURCE = """
import torch
from runner.data import Data, Tensors

def padded() -> Data:
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 8, (60,), generator=random)
    values = torch.rand(60, 7, 3, generator=random)
    targets = (values[:, 0, 0] > 0.5).long()
    def part(i):
        return Tensors({"values": values[i], "lengths": lengths[i]}, targets[i])
    return Data(train=part(slice(0, 40)), valid=part(slice(40, 60)), classes=("no", "yes"))
"""


@pytest.fixture
def text(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "text.txt").write_text("and so it goes, on and on, as it has gone before. " * 12)
    return {"name": "text", "path": str(tmp_path / "text.txt"), "length": 8}


@pytest.fixture
def padded(experiments: Path) -> dict[str, Any]:
    (experiments / "sources.py").write_text(SOURCE)
    use_folder(experiments)
    return {"name": "experiments.sources.padded"}


class Block(nn.Module):
    """A block of nanoGPT's, of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.then, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        y = self.before(x)
        x = x + self.attention(y, y, y, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return x + self.mlp(self.then(x))


class Plain(nn.Module):
    """The GPT of plain torch, whose parameters have the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(30, 8), nn.Embedding(8, 8)
        self.blocks, self.head = nn.Sequential(Block(), Block()), nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x) + self.places.weight
        return self.head(self.blocks(y)).transpose(1, 2)


def losses(run: Run) -> list[float]:
    return [step.read() for step in train(run.state, run.batches(), run.step)]


def test_a_gpt_trains_as_in_plain_torch(start: Start, text: dict[str, Any]) -> None:
    chosen = {**CROSS, "data": text, "layers": GPT, "batch_size": 8, "epochs": 2}
    torch.manual_seed(0)
    plain = Plain()  # which draws the same numbers in the same order
    run = start(**chosen)
    model = run.state.model
    for own, its in zip(model.parameters(), plain.double().parameters(), strict=True):
        assert own.shape == its.shape
        its.data.copy_(own.data)
    optimizer, expected = torch.optim.SGD(plain.parameters(), 0.1), []
    for [(_, (x, y))] in start(**chosen).batches():
        loss = nn.functional.cross_entropy(plain(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert losses(run) == expected


@pytest.mark.parametrize("layers", [GPT, RECURRENT], ids=["gpt", "gru"])
def test_captured_steps_have_the_same_losses(start: Start, text: dict[str, Any], layers: Any) -> None:
    chosen = {**CROSS, "data": text, "layers": layers, "batch_size": 8, "epochs": 6}
    assert losses(start(**chosen, graph=True)) == losses(start(**chosen, graph=False))


def test_steps_with_lengths_are_taken_as_they_are(start: Start, padded: dict[str, Any]) -> None:
    chosen = {**CROSS, "data": padded, "layers": PADDED, "batch_size": 8, "epochs": 3}
    run = start(**chosen, graph=True)
    assert losses(run) == losses(start(**chosen, graph=False))
    assert "it reads a number from a tensor" in run.step.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layers", "data", "reason"),
    [
        (GPT, "text", f"MultiheadAttention: {ONE}"),
        (RECURRENT, "text", None),
        (PADDED, "padded", "batches of several tensors are not stacked: {values: (40, 7, 3), lengths: (40,)}"),
        (VIT, "digits", f"TransformerEncoder: {ONE}"),
    ],
    ids=["gpt", "gru", "padded", "vit with dropout"],
)
def test_many_are_one_program_or_run_alone_with_a_reason(
    layers: Any, data: str, reason: str | None, request: pytest.FixtureRequest
) -> None:
    source = {"name": "digits"} if data == "digits" else request.getfixturevalue(data)
    jobs = [settings(**{**CROSS, "data": source, "layers": layers, "batch_size": 8, "epochs": 1, "seed": seed})
            for seed in (1, 2)]  # fmt: skip
    runs = [prepare(job, "test") for job in jobs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups_, alone = groups(runs)
    assert (groups_, alone) == (([[0, 1]], {}) if reason is None else ([], dict.fromkeys((0, 1), reason)))
    for run in runs:
        run.close()
