"""Bytes of files with tensors and plain values, which torch.load reads as it reads those of torch.save.

torch.save asks Python about every object that is pickled: 5 ms for the state of a small run, most of what its record
takes. Here the pickler sees a text in the place of each tensor, and the text is replaced by what torch.save would have
pickled. What holds anything unusual, as a module does, is left to torch.save.
"""

import io
import struct
import sys
import uuid
import zlib
from collections import OrderedDict
from copy import copy as copy_of
from copy import deepcopy
from functools import lru_cache
from pickle import dumps
from typing import Any

import torch
from torch import Tensor, nn

from runner.model import host

#: The classes of torch that a file names for the memory of tensors.
STORAGES = {
    torch.float32: b"FloatStorage",
    torch.float64: b"DoubleStorage",
    torch.float16: b"HalfStorage",
    torch.bfloat16: b"BFloat16Storage",
    torch.int64: b"LongStorage",
    torch.int32: b"IntStorage",
    torch.int16: b"ShortStorage",
    torch.int8: b"CharStorage",
    torch.uint8: b"ByteStorage",
    torch.bool: b"BoolStorage",
}
PLAIN = {int, float, str, bool, type(None)}
#: Numbers begin at multiples of so many bytes, so that torch can map the file into memory.
ALIGNMENT = 64
#: Bytes and entries from which a zip file needs another form.
LARGEST, ENTRIES = 2**32 - 2**24, 60_000
#: What stands for a tensor while the rest is pickled; its number follows. No text of anybody's has it.
MARK = f"tensor {uuid.uuid4().hex} "
DIGITS = 8
_MARKED = b"X" + struct.pack("<I", len(MARK) + DIGITS) + MARK.encode()


#: Parts of a zip file: what its entries have twice, a file's head, what comes before padding, an entry, the end.
_SIZES, _HEAD, _PADDING = struct.Struct("<HHHHHIIIH"), struct.Struct("<4s24sH"), struct.Struct("<2sH")
_ENTRY, _END = struct.Struct("<4sH24sHHHHII"), struct.Struct("<4sHHHHIIH")


class _Unusual(Exception):
    """A value that is left to torch.save."""


def packed(value: Any) -> bytes:
    """Return the bytes of a file with `value`: tensors and plain values in dicts, lists and tuples, or a module.

    Tensors that are views of larger ones are copied first: torch would save all of the larger ones.
    """
    try:
        return _Packing().file(value)
    except _Unusual:
        buffer = io.BytesIO()
        torch.save(_compact(value), buffer)
        return buffer.getvalue()


class _Packing:
    """The tensors of one file, by their numbers: what is pickled of each, and the memory that they are in."""

    def __init__(self) -> None:
        self._marks: dict[int, str] = {}  # of tensors by their identity
        self._chunks: list[bytes] = []
        self._keys: dict[int, int] = {}  # number of a memory
        self._memories: list[tuple[Tensor, Any]] = []  # a tensor in each, and its bytes

    def file(self, value: Any) -> bytes:
        """Return the bytes of the file. Raises _Unusual."""
        first, *others = dumps(self._marked(value), 2).split(_MARKED)
        parts = [first]
        for part in others:
            parts += [self._chunks[int(part[:DIGITS])], part[DIGITS:]]
        records = [
            (b"data.pkl", b"".join(parts)),
            (b".format_version", b"1"),
            (b".storage_alignment", str(ALIGNMENT).encode()),
            (b"byteorder", sys.byteorder.encode()),
            *((b"data/%d" % i, content) for i, (_, content) in enumerate(self._memories)),
            (b"version", b"3\n"),
        ]
        return _zipped(records)

    def _marked(self, value: Any) -> Any:
        """Return `value` with a text for each tensor."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is Tensor:
            mark = self._marks.get(id(value))
            return self._mark(value) if mark is None else mark
        if kind is dict:
            return {self._key(k): self._marked(v) for k, v in value.items()}
        if kind is list:
            return [self._marked(v) for v in value]
        if kind is tuple:
            return tuple([self._marked(v) for v in value])
        if kind is OrderedDict:  # a state_dict has attributes, too
            marked = copy_of(value)
            for k, v in value.items():
                marked[self._key(k)] = self._marked(v)
            return marked
        raise _Unusual

    def _key(self, key: Any) -> Any:
        if type(key) not in (str, int):
            raise _Unusual
        return key

    def _mark(self, tensor: Tensor) -> str:
        name, place = STORAGES.get(tensor.dtype), "cpu" if tensor.is_cpu else str(tensor.device)
        if name is None or tensor.layout is not torch.strided or tensor.requires_grad or vars(tensor):
            raise _Unusual
        memory, numbers, offset = tensor.untyped_storage(), tensor.numel(), 0
        whole = tensor
        if memory.nbytes() > tensor.nbytes:  # what is saved is a copy
            whole, key = tensor.contiguous(), len(self._memories)
        else:  # tensors with the same memory still have that when they are loaded; an empty one has no address
            offset = int(tensor.storage_offset())
            key = self._keys.setdefault(memory.data_ptr() or -len(self._memories), len(self._memories))
        if key == len(self._memories):
            self._memories.append((whole, _content(whole, numbers)))
        elif self._memories[key][0].dtype != whole.dtype:
            raise _Unusual
        before, after = _around(name, place, numbers, offset, tuple(whole.shape), whole.stride())
        mark = self._marks[id(tensor)] = f"{MARK}{len(self._chunks):0{DIGITS}d}"
        self._chunks.append(b"%b%b%b" % (before, _text(str(key)), after))
        return mark


def _content(whole: Tensor, numbers: int) -> Any:
    """Return the bytes of so many numbers, all that are the tensor's, in their order in memory."""
    if not whole.is_cpu or not whole.is_contiguous() or whole.dtype == torch.bfloat16:
        return host.content(whole.as_strided((numbers,), (1,)))
    try:
        return whole.numpy()
    except RuntimeError as error:  # such as a tensor that stands for its negative
        raise _Unusual from error


@lru_cache(4096)
def _around(
    name: bytes, place: str, numbers: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[bytes, bytes]:
    """Return what is pickled of a tensor before and after the name of its memory."""
    before = b"ctorch._utils\n_rebuild_tensor_v2\n((" + _text("storage") + b"ctorch\n" + name + b"\n"
    sizes = b"".join(b"(" + b"".join(map(_number, numbers)) + b"t" for numbers in (shape, stride))
    return before, _text(place) + _number(numbers) + b"tQ" + _number(offset) + sizes + (
        b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode("ascii")


def _number(number: int) -> bytes:
    return dumps(number, 2)[2:-1]  # without the pickle's beginning and end


def _zipped(records: list[tuple[bytes, Any]]) -> bytes:
    """Return a zip file of files by their names, as they are. Raises _Unusual if they are too many or too large."""
    parts: list[Any] = []
    entries: list[bytes] = []
    at = 0
    for short, content in records:
        name, size = b"archive/" + short, memoryview(content).nbytes
        padding = -(at + 34 + len(name)) % ALIGNMENT  # 30 bytes before the name, 4 before the padding
        sizes = _SIZES.pack(0, 0, 0, 0, 33, zlib.crc32(content), size, size, len(name))
        parts += [
            _HEAD.pack(b"PK\3\4", sizes, padding + 4),
            name,
            _PADDING.pack(b"FB", padding),
            b"Z" * padding,
            content,
        ]
        entries += [_ENTRY.pack(b"PK\1\2", 0, sizes, 0, 0, 0, 0, 0, at), name]
        at += 34 + len(name) + padding + size
        if at > LARGEST:
            raise _Unusual
    if len(records) > ENTRIES:
        raise _Unusual
    length = sum(map(len, entries))
    return b"".join([*parts, *entries, _END.pack(b"PK\5\6", 0, 0, len(records), len(records), length, at, 0)])


def _compact(value: Any) -> Any:
    """Return `value` with copies of tensors that are views of larger ones."""
    if isinstance(value, Tensor):
        return value.clone() if _is_view(value) else value
    if isinstance(value, nn.Module):
        return _compact_model(value) if any(map(_is_view, (*value.parameters(), *value.buffers()))) else value
    if isinstance(value, dict):
        compact = copy_of(value)  # a state_dict is more than a dict
        compact.update((k, _compact(v)) for k, v in value.items())
        return compact
    return [_compact(v) for v in value] if isinstance(value, list) else value


def _is_view(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() > tensor.nbytes


def _compact_model(model: nn.Module) -> nn.Module:
    compact = deepcopy(model)
    for tensor in (*compact.parameters(), *compact.buffers()):
        tensor.data = tensor.data.clone()
    return compact
