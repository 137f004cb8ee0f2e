"""Checkpoints: loaded is saved, nothing in a file is run, and a damaged file is said to be one."""

import io
import json
import os
import pickle
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner import checkpoint
from runner.checkpoint import CheckpointError
from runner.stack import Stack, classes, plan

LAYERS: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "mlp": ([{"Linear": 4}, "BatchNorm1d", "ReLU", {"Dropout": 0.5}, {"Linear": 2}], (3,)),
    "cnn": ([{"Conv2d": {"out_channels": 3, "kernel_size": 3}}, {"MaxPool2d": 2}, "Flatten", {"Linear": 2}], (1, 8, 8)),
    "containers": (
        [
            {"Residual": {"layers": [{"Linear": 4}], "shortcut": {"Linear": 4}}},
            {"Repeat": {"layers": [{"Linear": 4}, "GELU"], "times": 2}},
            {"Parallel": [{"Linear": 1}, "Tanh"]},
        ],
        (3,),
    ),
    "recurrent": ([{"LSTM": {"hidden_size": 4, "batch_first": True}}, {"Select": 0}, "Last", {"Linear": 1}], (5, 3)),
    "attention": ([{"TransformerEncoderLayer": {"nhead": 2, "batch_first": True}}, "Flatten", {"Linear": 1}], (5, 4)),
    "reshaped": ([{"Unflatten": {"dim": 1, "unflattened_size": [2, 3]}}, "LayerNorm", {"AdaptiveAvgPool1d": 1}], (6,)),
}


def planned(kind: str) -> tuple[Stack, Tensor]:
    layers, shape = LAYERS[kind]
    stack = plan(layers, torch.empty((2, *shape), device="meta"))
    return stack, torch.rand(4, *shape)


def trained(stack: Stack, x: Tensor) -> nn.Module:
    """A model whose buffers have seen something, too."""
    torch.manual_seed(0)
    model = stack.make()
    model(x)
    return model.eval()


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("format", ["state_dict", "model", "both"])
def test_what_is_loaded_gives_the_outputs_of_what_was_saved(tmp_path: Path, kind, format):
    stack, x = planned(kind)
    model = trained(stack, x)
    digests = checkpoint.save(tmp_path, model, format)
    names = {"state_dict": {"state_dict.pt"}, "model": {"model.pt"}, "both": {"state_dict.pt", "model.pt"}}[format]
    assert set(digests) == names
    assert {p.name for p in tmp_path.iterdir()} == names | {"sha256.json"}
    if format != "model":
        torch.manual_seed(99)
        fresh = stack.make()
        fresh.load_state_dict(checkpoint.load_state_dict(tmp_path / "state_dict.pt"))
        assert torch.equal(outputs(fresh, x), outputs(model, x))
    if format != "state_dict":
        loaded = checkpoint.load_model(tmp_path / "model.pt", classes(stack))
        assert torch.equal(outputs(loaded, x), outputs(model, x))
        assert repr(loaded) == repr(model)


MINE = """
from torch import nn

class Scaled(nn.Module):
    def __init__(self, by: float = 2.0, names: tuple = ("a", "b")):
        super().__init__()
        self.by, self.names = by, names
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return self.by * self.inner(x)
"""


def test_a_model_with_the_users_layer_is_loaded_by_the_classes_of_its_configuration(experiments: Path, tmp_path: Path):
    (experiments / "mine.py").write_text(MINE)
    stack = plan([{"experiments.mine.Scaled": 3.0}, {"Linear": 1}], torch.empty(2, 3, device="meta"))
    model, x = stack.make(), torch.rand(4, 3)
    checkpoint.save(tmp_path / "saved", model, "model")
    loaded = checkpoint.load_model(tmp_path / "saved" / "model.pt", classes(stack))
    assert torch.equal(outputs(loaded, x), outputs(model, x))
    with pytest.raises(CheckpointError, match=r"experiments\.mine\.Scaled"):
        checkpoint.load_model(tmp_path / "saved" / "model.pt", [nn.Sequential, nn.Linear])


@pytest.mark.parametrize("kind", ["mlp", "containers"])
def test_every_class_is_needed(tmp_path: Path, kind):
    """The control of the guard: with any one class left out the file is refused, and that class named."""
    stack, x = planned(kind)
    checkpoint.save(tmp_path, trained(stack, x), "model")
    for left_out in classes(stack):
        with pytest.raises(CheckpointError, match=left_out.__name__):
            checkpoint.load_model(tmp_path / "model.pt", set(classes(stack)) - {left_out})


def test_a_state_dict_is_loaded_without_any_class(tmp_path: Path):
    stack, x = planned("mlp")
    checkpoint.save(tmp_path, trained(stack, x), "both")
    with pytest.raises(CheckpointError, match="Sequential"):
        checkpoint.load_state_dict(tmp_path / "model.pt")


class Bomb:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def _as_torch(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(1), "bomb": Bomb(canary)}, buffer)
    return buffer.getvalue()


def _hidden_in_a_model(canary: Path) -> bytes:
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].bomb = Bomb(canary)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "payload",
    [_as_torch, _hidden_in_a_model, lambda canary: pickle.dumps(Bomb(canary), 2)],
    ids=["dict", "model", "pickle"],
)
def test_code_in_a_file_is_not_run(tmp_path: Path, payload):
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    file.write_bytes(payload(canary))
    assert b"system" in file.read_bytes()
    for load in (checkpoint.load_state_dict, lambda path: checkpoint.load_model(path, [nn.Sequential, nn.Linear])):
        with pytest.raises(CheckpointError, match=r"model\.pt: cannot be loaded"):
            load(file)
        assert not canary.exists()


def test_the_bomb_would_have_gone_off(tmp_path: Path):
    """The control: the same file, trusted, does run its code."""
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    file.write_bytes(_as_torch(canary))
    torch.load(file, weights_only=False)
    assert canary.exists()


# Digests


def test_the_digest_changes_with_every_part_of_the_weights():
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.tensor([True, False])}
    same = {name: tensor.clone() for name, tensor in state.items()}
    assert checkpoint.digest(state) == checkpoint.digest(same)
    others = [
        {**state, "a": state["a"].reshape(3, 2)},
        {**state, "a": state["a"].to(torch.float64)},
        {**state, "a": torch.nextafter(state["a"], torch.tensor(9.0))},
        {**state, "b": torch.tensor(4)},
        {**state, "c": torch.tensor([True, True])},
        {"renamed" if name == "a" else name: tensor for name, tensor in state.items()},
        {name: tensor for name, tensor in state.items() if name != "c"},
    ]
    found = {checkpoint.digest(other) for other in [state, *others]}
    assert len(found) == 1 + len(others)


def test_the_digest_sees_values_and_not_how_they_lie_in_memory():
    a = torch.arange(6.0).reshape(2, 3)
    assert checkpoint.digest({"a": a.T}) == checkpoint.digest({"a": a.T.contiguous()})
    assert checkpoint.digest({"a": a.to(torch.bfloat16)}) != checkpoint.digest({"a": a.to(torch.float16)})


def test_the_recorded_digests_are_those_of_the_files(tmp_path: Path):
    stack, x = planned("mlp")
    told = checkpoint.save(tmp_path, trained(stack, x), "both")
    assert json.loads((tmp_path / "sha256.json").read_text()) == told
    assert told == {name: sha256((tmp_path / name).read_bytes()).hexdigest() for name in told}


def test_a_copy_stands_apart_from_the_model():
    model = nn.Linear(2, 2)
    before = checkpoint.copy(model)
    digest = checkpoint.digest(before)
    with torch.no_grad():
        model.weight.add_(1)
    assert checkpoint.digest(before) == digest != checkpoint.digest(model.state_dict())


# Damage


def saved(folder: Path) -> Path:
    stack, x = planned("mlp")
    checkpoint.save(folder, trained(stack, x), "state_dict")
    return folder / "state_dict.pt"


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty])
def test_a_damaged_file_is_named(tmp_path: Path, damage):
    file = saved(tmp_path)
    damage(file)
    with pytest.raises(CheckpointError, match="is damaged") as error:
        checkpoint.load_state_dict(file)
    assert str(error.value).startswith(f"{file}: ")


def test_a_flipped_bit_is_found_by_the_digest_alone(tmp_path: Path):
    """The control: without the recorded digest torch loads these other weights without a word."""
    file = saved(tmp_path)
    with zipfile.ZipFile(file) as archive:
        [entry] = [e for e in archive.infolist() if e.filename.endswith("/data/0")]
        offset = entry.header_offset
    content = bytearray(file.read_bytes())
    first = checkpoint.load_state_dict(file)["0.weight"]
    place = content.index(first.numpy().tobytes(), offset)
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load_state_dict(file)
    (tmp_path / "sha256.json").unlink()
    assert not torch.equal(checkpoint.load_state_dict(file)["0.weight"], first)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state_dict.pt": 3}'])
def test_damaged_digests_are_named(tmp_path: Path, text):
    file = saved(tmp_path)
    (tmp_path / "sha256.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load_state_dict(file)
    assert str(tmp_path) in str(error.value)


def test_a_damaged_file_without_digests_is_named(tmp_path: Path):
    file = saved(tmp_path)
    (tmp_path / "sha256.json").unlink()
    _truncate(file)
    with pytest.raises(CheckpointError, match=r"state_dict\.pt: cannot be loaded"):
        checkpoint.load_state_dict(file)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"model\.pt: there is no such file"):
        checkpoint.load_model(tmp_path / "model.pt", [])


def test_a_file_of_another_kind_is_named(tmp_path: Path):
    file = saved(tmp_path)
    shutil.copy(file, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt: holds .*Dict, expected a torch module"):
        checkpoint.load_model(tmp_path / "model.pt", [])
