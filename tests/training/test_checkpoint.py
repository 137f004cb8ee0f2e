"""Checkpoints: loaded is saved, nothing in a file is run, and a damaged file is said to be one."""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.model.planning import plan
from runner.model.stack import Stack, classes
from runner.training.state import checkpoint
from runner.training.state.checkpoint import CheckpointError

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


# Damage in numbers


def damaged(content: bytes, flips: int, cuts: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Files that are not what was saved, each with what was done to it."""
    draw = random.Random(seed)
    for _ in range(flips):
        bit = draw.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(flipped)
    for _ in range(cuts):
        length = draw.randrange(len(content))
        yield f"cut to {length} bytes", content[:length]
    yield "empty", b""
    yield "text", b"weights\n" * 100


def loaded_in_silence(folder: Path, flips: int, cuts: int) -> tuple[int, list[str], int]:
    """How many damaged files there were, which were loaded as if they were whole, and how many torch alone loads."""
    file = saved(folder)
    content, told = file.read_bytes(), json.loads((folder / "sha256.json").read_text())[file.name]
    silent, plainly, total = [], 0, 0
    for what, found in damaged(content, flips, cuts):
        file.write_bytes(found)
        total += 1
        try:
            checkpoint.load_state_dict(file, told)
            silent.append(what)
        except CheckpointError:
            pass
        with contextlib.suppress(Exception):
            torch.load(file, weights_only=True)
            plainly += 1
    file.write_bytes(content)
    checkpoint.load_state_dict(file, told)
    return total, silent, plainly


def foreign(folder: Path) -> list[str]:
    """Whole files in the place of others: which of them are not refused."""
    taken = []
    stack, x = planned("mlp")
    checkpoint.save(folder / "one", trained(stack, x), "state_dict", {"step": 1})
    checkpoint.save(folder / "two", stack.make(), "state_dict", {"step": 2})
    for name, load in (("state_dict.pt", checkpoint.load_state_dict), ("training.pt", checkpoint.load_training)):
        told = json.loads((folder / "one" / "sha256.json").read_text())[name]
        shutil.copy(folder / "two" / name, folder / "one" / name)
        with contextlib.suppress(CheckpointError):
            load(folder / "one" / name, told)
            taken.append(f"{name} of another step")
    other, _ = planned("cnn")
    checkpoint.save(folder / "three", other.make(), "state_dict")
    with contextlib.suppress(CheckpointError):
        checkpoint.fill(stack.make(), checkpoint.load_state_dict(folder / "three" / "state_dict.pt"))
        taken.append("another architecture")
    return taken


def figure(folder: Path) -> str:
    """All of it; a line for the README."""
    total, silent, plainly = loaded_in_silence(folder / "damaged", 1000, 300)
    taken = foreign(folder / "foreign")
    return (
        f"1,000 bit flips, 300 truncations, empty, text, swapped and wrong-architecture files: {total + 3} files,"
        f" {len(silent) + len(taken)} loaded in silence; torch.load alone loads {plainly}"
    )


def test_no_damage_is_silent(tmp_path: Path):
    total, silent, plainly = loaded_in_silence(tmp_path, 60, 20)
    assert (total, silent) == (82, [])
    assert plainly > 20, "the control: most flipped bits are nothing to torch"


def test_whole_files_in_the_place_of_others_are_refused(tmp_path: Path):
    assert foreign(tmp_path) == []


def test_weights_of_another_model_are_said_to_be_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"belongs to another model: .*0\.weight"):
        checkpoint.fill(nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(2, 2)).state_dict())
