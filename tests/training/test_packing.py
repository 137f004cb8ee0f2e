"""What is packed without torch.save is loaded as what torch.save has written."""

import io
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.training.state import packing
from tests.conftest import Start

MATRIX = torch.arange(12.0).view(3, 4)
SHARED = torch.arange(5)
VALUES: dict[str, Any] = {
    "plain values": {"a": [1, 2**40, -1, 1.5, float("inf"), None, True, "text", ()], 3: {}},
    "types": {str(dtype): torch.ones(3, dtype=dtype) for dtype in packing.STORAGES},
    "no numbers, one number": [torch.empty(0), torch.empty(0, 3), torch.tensor(7)],
    "order in memory": [MATRIX.t(), torch.ones(1, 2, 3, 3).contiguous(memory_format=torch.channels_last)],
    "parts of larger ones": [MATRIX[1], MATRIX[:, 1], MATRIX[1:, :2]],
    "the same memory": {"one": SHARED, "again": SHARED, "flat": [SHARED.view(5, 1)]},
    "a state_dict": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(),
}
UNUSUAL = {
    "a parameter": [nn.Parameter(torch.ones(2))],
    "complex numbers": [torch.ones(2, dtype=torch.complex64)],
    "a module": nn.Linear(2, 1),
    "a negative": [torch._neg_view(torch.ones(2))],
}


def loaded(content: bytes, weights_only: bool = True) -> Any:
    return torch.load(io.BytesIO(content), weights_only=weights_only)


def by_torch(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(packing._compact(value), buffer)
    return buffer.getvalue()


def facts(value: Any) -> Any:
    """All that can be seen of a value."""
    if isinstance(value, Tensor):
        kind = type(value), value.dtype, value.shape, value.requires_grad, value.untyped_storage().nbytes()
        return (*kind, None if value.layout is torch.sparse_coo else value.stride(), str(value))
    if isinstance(value, dict):
        own = vars(value) if isinstance(value, OrderedDict) else {}
        return type(value), own, [(key, facts(inner)) for key, inner in value.items()]
    return (type(value), list(map(facts, value))) if isinstance(value, list | tuple) else (type(value), repr(value))


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("name", VALUES)
def test_what_is_packed_loads_as_what_torch_saves(name: str, weights_only: bool) -> None:
    content = packing._Packing().file(VALUES[name])
    assert packing.packed(VALUES[name]) == content
    assert facts(loaded(content, weights_only)) == facts(loaded(by_torch(VALUES[name]), weights_only))


def test_tensors_that_share_memory_do_when_they_are_loaded() -> None:
    one, again, [flat] = loaded(packing.packed(VALUES["the same memory"])).values()
    assert one is again
    flat[0, 0] = 9
    assert one[0] == 9


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_is_left_to_torch(name: str) -> None:
    with pytest.raises(packing._Unusual):
        packing._Packing().file(UNUSUAL[name])
    assert facts(loaded(packing.packed(UNUSUAL[name]), False)) == facts(loaded(by_torch(UNUSUAL[name]), False))


def test_the_state_of_a_run_is_packed_here(start: Start) -> None:
    run = start()
    assert facts(loaded(packing._Packing().file(run.state_dict()))) == facts(loaded(by_torch(run.state_dict())))


def test_a_packed_file_is_a_whole_zip_file_that_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "packed.pt"
    path.write_bytes(packing.packed(VALUES["types"]))
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        for entry in file.infolist():
            with file.open(entry):
                assert path.read_bytes()[entry.header_offset : entry.header_offset + 4] == b"PK\3\4"
    assert facts(torch.load(path, mmap=True)) == facts(VALUES["types"])
