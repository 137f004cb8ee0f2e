"""States of recurrent layers that go on from window to window, and the text that such a model writes."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.settings import Model, Settings, Trainer
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import use_folder
from runner.training import carrying
from runner.training.augment.treatment import Treatment
from runner.training.drive import drive
from runner.training.parts.continuing import order
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.support.resumed import differences

TEXT = "the cat sat on the mat, and the dog sat on the log. " * 20
LAYERS: dict[str, Any] = {
    "embed": {"Embedding": {"num_embeddings": 15, "embedding_dim": 8}},
    "rnn": {"LSTM": {"hidden_size": 16, "batch_first": True}},
    "outputs": {"Select": 0},
    "head": {"Linear": 15},
    "turned": {"Permute": [0, 2, 1]},
}


def made(folder: Path, layers: Any = None, data: Any = None, **trainer: Any) -> Run:
    (folder / "text.txt").write_text(TEXT)
    given = Settings(
        data={"name": "text", "path": str(folder / "text.txt"), "length": 10, "valid": 0.1, "test": 0, **(data or {})},
        model=Model(layers=layers or LAYERS),
        loss={"name": "CrossEntropyLoss"},
        optimizer={"name": "Adam", "lr": 0.01},
        plots=[],
        trainer=Trainer(**{"steps": 30, "batch_size": 8, "threads": 1, "carry": True, **trainer}),
    )
    return prepare(given, "test")


@pytest.mark.parametrize(("total", "size", "drop"), [(7, 3, False), (8, 3, True), (12, 4, False), (9, 4, False)])
def test_each_example_of_a_batch_goes_on_where_that_of_the_one_before_ended(total: int, size: int, drop: bool) -> None:
    batches = order(total, size, drop)
    for before, after in itertools.pairwise(batches):
        assert torch.equal(before[: len(after)] + 1, after)
    assert len({int(i) for batch in batches for i in batch}) == (total // size * size if drop else total)


def test_it_is_a_plain_loop_that_hands_the_state_on(tmp_path: Path) -> None:
    run, by_hand = made(tmp_path), made(tmp_path)
    drive(run)
    run.close()
    model, optimizer = by_hand.model, torch.optim.Adam(by_hand.model.parameters(), lr=0.01)
    source, losses, state = by_hand.data.train, [], None
    indices = order(len(source), 8, False)
    for step in range(30):
        index = indices[step % len(indices)]
        state = None if step % len(indices) == 0 else tuple(part[:, : len(index)] for part in state)
        hidden, state = model.rnn(model.embed(source.x[index]), state)
        state = tuple(part.detach() for part in state)
        loss = torch.nn.functional.cross_entropy(model.head(hidden).transpose(1, 2), source.y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    by_hand.close()
    assert losses == pytest.approx([value for _, value in run.history["train/loss"]], rel=1e-5)


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(15, 8), nn.GRU(8, 16, batch_first=True), nn.Linear(16, 15)
        self.given = given

    def forward(self, x):
        x = self.embed(x)
        if self.given == "packed":
            values, _ = self.rnn(nn.utils.rnn.pack_padded_sequence(x, [x.shape[1]] * len(x), batch_first=True))
            values, _ = nn.utils.rnn.pad_packed_sequence(values, batch_first=True)
        elif self.given == "none":
            values, _ = self.rnn(x, None)
        else:
            values, _ = self.rnn(input=x, hx=None) if self.given == "name" else self.rnn(x)
        return self.head(values).transpose(1, 2)
"""


def test_a_model_of_ones_own_carries_its_state_however_it_calls_its_layer(tmp_path: Path) -> None:
    (tmp_path / "carrying_net.py").write_text(NET)
    use_folder(tmp_path)

    def losses(given: str, **trainer: Any) -> Any:
        run = made(tmp_path, [{"experiments.carrying_net.Net": given}], steps=6, **trainer)
        drive(run)
        run.close()
        return run.history["train/loss"][:]

    assert losses("") == losses("none") == losses("name") != losses("none", carry=False)
    with pytest.raises(ConfigError, match=r"^trainer.carry: true, and 0.rnn is given a PackedSequence"):
        losses("packed")


def test_a_stopped_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    assert differences(lambda: made(tmp_path, steps=17), 8) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"layers": {k: v for k, v in LAYERS.items() if k not in ("rnn", "outputs")}},
            "no layer is an RNN, LSTM or GRU",
        ),
        ({"batch_size": None}, "windows are in one batch"),
        ({"data": {"step": 5}}, "do not go on where those before them end"),
    ],
)
def test_what_cannot_go_on_is_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^trainer.carry: .*{re.escape(message)}"):
        made(tmp_path, **more).close()


@pytest.mark.parametrize("carries", [True, False])
def test_a_model_writes_the_same_text_from_the_same_seed(tmp_path: Path, carries: bool) -> None:
    from runner.tracking.read.generation import Draw, Language

    run = made(tmp_path, steps=150)
    drive(run)
    run.close()
    language = Language(run.model.eval(), run.data.notes, 10, carries)
    written = language.generate("the ", 12, Draw(0.7, 5), 1)
    assert written == language.generate("the ", 12, Draw(0.7, 5), 1)
    assert written.startswith("the ")
    assert len(written) == 16
    assert language.generate("the cat sat on ", 4, Draw(0.0), 0) == "the cat sat on the "
    with pytest.raises(ConfigError, match=r"^prompt: the text holds 'Z'"):
        language.generate("Z", 3, Draw(), 0)


def test_examples_that_are_sampled_or_changed_do_not_go_on(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.close()
    carrying.check(run.settings.trainer, run.data, run.model, Treatment())
    with pytest.raises(ConfigError, match=r"^trainer.carry: .*data\.mixup changes that"):
        carrying.check(run.settings.trainer, run.data, run.model, Treatment(mixup=0.2))
