"""A pretended device: `device=pretend` on a machine that has none, whose tensors are not the host's.

It has the place that torch keeps for devices of others (PrivateUse1). Its memory is the processor's, and so is its
arithmetic: results are the CPU's, bit for bit, but for random draws, which come from a generator of its own. What a GPU
refuses, it refuses in the same words: `.numpy()`, `np.asarray`, arithmetic with tensors of the host (but for numbers
without dimensions), generators of the host.

`environment(folder)` lets processes have it as torch offers any such device: by an entry point, which `import torch`
loads. It has graphs, as CUDA has: what is captured is not done but for its shapes, cannot be read, and is done again on
the same memory at each replay. `PRETEND_MEMORY`, bytes, is how much memory it has; `PRETEND_NOISE`, relative, how much
its sums differ from one time to the next.
"""

import contextlib
import ctypes
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"
ROOT = Path(__file__).parents[2]
#: torch.library keeps registrations as long as these are there.
_libraries: list[torch.library.Library] = []
#: What the device draws from where no generator is given.
_generator = torch.Generator()


def environment(folder: Path) -> dict[str, str]:
    """Environment variables of processes that have the device. folder: a place for the entry point."""
    about = folder / "pretend-1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pretend\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[torch.backends]\npretend = tests.support.pretend:register\n")
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), *filter(None, others)]), "PRETEND": "1"}


def register() -> None:
    """Let torch know the device, once for the process."""
    if _libraries:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    anything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    _libraries.extend((anything, aten))
    anything.fallback(_on_host, "PrivateUse1")
    anything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name, kernel in KERNELS.items():
        aten.impl(name, kernel, "PrivateUse1")
    for name in VIEWS:
        aten.impl(name, _as_view(name), "PrivateUse1")
    for name in LOWER:
        aten.impl(name, _in_lower_precision(name), "AutocastPrivateUse1")
    # What a device that is written in Python cannot have yet: memory without a tensor, and generators.
    plain = torch.UntypedStorage.clone
    torch.UntypedStorage.clone = lambda s: _cloned(s) if s.device.type == NAME else plain(s)  # type: ignore[method-assign]
    torch.Generator = Generator  # type: ignore[misc]


class Graph:
    """Operations that were captured, with the memory that they read and write."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []
        self._held: list[Any] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def replay(self) -> None:
        for call in self.calls:
            call()

    def changes(self, tensor: Tensor) -> None:
        """Remember what a tensor holds before an operation writes into it."""
        self._before.append((tensor, _host(tensor).clone()))

    def note(self, work: Callable[[], Any], found: Any) -> None:
        """Do `work` at each replay and put its results where `found` are."""
        places = [_host(leaf) for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        self._held.append((work, found))

        def again() -> None:
            fresh = [leaf for leaf in tree_leaves(work()) if isinstance(leaf, Tensor)]
            for place, new in zip(places, fresh, strict=True):
                if place.data_ptr() != new.data_ptr():
                    place.copy_(new)

        self.calls.append(again)

    def restore(self) -> None:
        while self._before:
            tensor, value = self._before.pop()
            _host(tensor).copy_(value)


#: The graph that is being captured.
_graph: Graph | None = None


@contextlib.contextmanager
def _capturing(graph: Graph, capture_error_mode: str = "global") -> Iterator[None]:
    global _graph
    _graph, before = graph, _generator.get_state()
    try:
        yield
    finally:
        _graph = None
        graph.restore()
        _generator.set_state(before)


#: What a device does not do while it captures: to wait for a number, and to exchange memory with the host.
REFUSED = "operation not permitted when stream is capturing"


class Module:
    """`torch.pretend`: what torch and its users ask a device."""

    CUDAGraph = Graph
    graph = staticmethod(_capturing)

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        _generator.manual_seed(seed)

    def get_rng_state(self, device: Any = NAME) -> Tensor:
        return _generator.get_state()

    def set_rng_state(self, state: Tensor, device: Any = NAME) -> None:
        _generator.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_device_properties(self, device: Any = NAME) -> Any:
        return type("Properties", (), {"name": "Pretended", "total_memory": _memory()})

    def get_device_name(self, device: Any = NAME) -> str:
        return "Pretended"


class Generator(torch._C.Generator):
    """A generator of the host, or of the pretended device, which draws the same."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        pretended = torch.device(device).type == NAME
        made = super().__new__(cls, "cpu" if pretended else device)
        if pretended:
            _pretended[made._cdata] = made
        return made  # type: ignore[return-value]

    def __init__(self, device: Any = "cpu") -> None:
        pass


#: The device's generators by the address of what is behind them: an operation is given another object of Python.
_pretended: weakref.WeakValueDictionary[int, Generator] = weakref.WeakValueDictionary()


# Tensors: the same memory, called the host's or the device's.

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
#: Kinds of device of DLPack: the processor, and any that has no number of its own, which is torch's PrivateUse1.
HOST, DEVICE = 1, 12


def _called(tensor: Tensor, kind: int) -> Tensor:
    capsule = torch._C._to_dlpack(tensor)  # type: ignore[attr-defined]
    ctypes.c_int32.from_address(_pointer(capsule, b"dltensor") + 8).value = kind  # after the address of the memory
    return torch._C._from_dlpack(capsule)  # type: ignore[attr-defined,no-any-return]


def _host(value: Any) -> Any:
    """The same memory as a tensor of the host; anything else as it is."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return _called(value, HOST) if isinstance(value, Tensor) and value.device.type == NAME else value


def _device(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.device.type == NAME:
        return value
    if value.nbytes > _memory():
        raise torch.OutOfMemoryError(f"pretend out of memory. Tried to allocate {value.nbytes} bytes.")
    return _called(value, DEVICE)


def _memory() -> int:
    return int(os.environ.get("PRETEND_MEMORY", 2**40))


# Operations


def _on_host(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operation of the device, by the processor."""
    if _graph is not None and op.overloadpacket is torch.ops.aten._local_scalar_dense:
        raise RuntimeError(REFUSED)
    outs = [a.name for a in op._schema.arguments if a.is_out]
    given = {name: kwargs.pop(name) for name in outs}
    written = [a.alias_info is not None and a.alias_info.is_write for a in op._schema.arguments]
    own: dict[int, tuple[Tensor, Tensor]] = {}  # of a tensor of the host, it and the device's

    def enter(value: Any, writes: bool = False) -> Any:
        if isinstance(value, Tensor) and value.device.type == "cpu" and (value.dim() or writes):
            indexes = op.overloadpacket in TAKES_INDICES and value.dtype in (torch.int64, torch.bool)
            if writes or not indexes:
                raise RuntimeError(MIXED)
        if isinstance(value, torch._C.Generator) and value._cdata not in _pretended:
            raise RuntimeError("Expected a 'pretend' device type for generator but found 'cpu'")
        entered = _host(value)
        if writes and _graph is not None and isinstance(value, Tensor):
            _graph.changes(value)
        if entered is not value and isinstance(value, Tensor):
            own[id(entered)] = (entered, value)
        return entered

    def leave(value: Any) -> Any:
        return own[id(value)][1] if id(value) in own else _device(value)

    args = tuple(tree_map(lambda v, w=w: enter(v, w), a) for a, w in zip(args, written, strict=False))
    kwargs = {name: tree_map(enter, value) for name, value in kwargs.items()}
    fresh = {name: torch.empty(0, dtype=tensor.dtype) for name, tensor in given.items()}

    def work() -> Any:
        with _Draws(op):
            return op(*args, **kwargs, **{name: torch.empty(0, dtype=tensor.dtype) for name, tensor in given.items()})

    with _Draws(op):
        found = op(*args, **kwargs, **fresh)
    if (
        (noise := float(os.environ.get("PRETEND_NOISE", 0)))
        and op.overloadpacket in ADDS_UP
        and not torch.are_deterministic_algorithms_enabled()
    ):
        found = tree_map(lambda v: _in_another_order(v, noise), found)
    if not outs:
        if _graph is not None:
            _graph.note(work, found)
        return tree_map(leave, found)
    for name, tensor in given.items():
        if _graph is not None and tensor.shape == fresh[name].shape:
            _graph.changes(tensor)
        _fill(tensor, fresh[name])
    if _graph is not None:
        _graph.note(work, tuple(given.values()))
    return next(iter(given.values())) if len(outs) == 1 else tuple(given.values())


MIXED = "Expected all tensors to be on the same device, but found at least two devices, pretend:0 and cpu!"
#: Operations that take indices of the host.
TAKES_INDICES = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


#: Operations whose sums a GPU may add up in another order each time.
ADDS_UP = (torch.ops.aten.convolution_backward,)


def _in_another_order(value: Any, noise: float) -> Any:
    if isinstance(value, Tensor):
        value.mul_(1 + noise * (int.from_bytes(os.urandom(4), "big") / 2**32 - 0.5))
    return value


class _Draws:
    """Lets an operation that draws random numbers draw them from the device's generator."""

    def __init__(self, op: Any) -> None:
        self.draws = torch.Tag.nondeterministic_seeded in op.tags

    def __enter__(self) -> None:
        if self.draws:
            self.before = torch.get_rng_state()
            torch.set_rng_state(_generator.get_state())

    def __exit__(self, *_: object) -> None:
        if self.draws:
            _generator.set_state(torch.get_rng_state())
            torch.set_rng_state(self.before)


def _fill(tensor: Tensor, found: Tensor) -> None:
    if tensor.shape == found.shape:
        _host(tensor).copy_(found)
    else:
        tensor.set_(_device(found))


def _empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    return _device(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))  # type: ignore[no-any-return]


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return _device(torch.empty_strided(size, stride, dtype=dtype))  # type: ignore[no-any-return]


def void(_: object) -> None:
    """Return nothing, in an expression."""


def _copy(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if _graph is not None:
        if NAME not in (to.device.type, source.device.type) or to.device != source.device:
            raise RuntimeError(REFUSED)
        _graph.changes(to)
        _graph.note(lambda: void(_host(to).copy_(_host(source))), ())
    _host(to).copy_(_host(source))
    return to


def _copy_from(source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
    return _copy(to, source)


def _copy_from_and_resize(source: Tensor, to: Tensor) -> Tensor:
    return _copy(to.resize_(source.shape), source)


def _resize(tensor: Tensor, size: Any, *, memory_format: Any = None) -> Tensor:
    found = torch.empty(size, dtype=tensor.dtype)
    flat = _host(tensor).reshape(-1)[: found.numel()]
    found.view(-1)[: len(flat)] = flat
    return tensor.set_(_device(found))


def _convolution(*args: Any) -> Any:
    return _on_host(torch.ops.aten.convolution.default, *args)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *args: Any) -> Any:
    transposed, groups = args[3], args[5]
    bias = [weight.shape[1] * groups if transposed else weight.shape[0]]
    return _on_host(torch.ops.aten.convolution_backward.default, grad, x, weight, bias, *args)


def _lstm_cell(x: Tensor, h: Tensor, c: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    gates = sum((b for b in biases if b is not None), x + h)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new = f * c + i * g
    return o * new.tanh(), new, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(
    grad_h: Tensor | None, grad_c: Tensor | None, c: Tensor, new: Tensor, gates: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    i, f, g, o = gates.chunk(4, 1)
    through = new.tanh()
    grad_h = torch.zeros_like(new) if grad_h is None else grad_h
    grad = (0 if grad_c is None else grad_c) + grad_h * o * (1 - through * through)
    parts = [grad * g * i * (1 - i), grad * c * f * (1 - f), grad * i * (1 - g * g), grad_h * through * o * (1 - o)]
    found = torch.cat(parts, 1)
    return found, grad * f, found.sum(0) if has_bias else None


KERNELS: dict[str, Callable[..., Any]] = {
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "copy_": _copy,
    "_copy_from": _copy_from,
    "_copy_from_and_resize": _copy_from_and_resize,
    "resize_": _resize,
    "convolution_overrideable": _convolution,
    "convolution_backward_overrideable": _convolution_backward,
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_cell_backward,
}
#: Operations that only look at a tensor's memory otherwise: the processor's own do so whosever the memory is.
VIEWS = (
    *("as_strided", "view", "_reshape_alias", "unfold"),
    *("set_.source_Storage", "set_.source_Storage_storage_offset", "set_.source_Tensor"),
)
#: Operations that autocast does in lower precision.
LOWER = ("conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm")


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _as_view(name: str) -> Callable[..., Any]:
    operation, keys = _operation(name), torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    return lambda *args, **kwargs: operation.redispatch(keys, *args, **kwargs)


def _in_lower_precision(name: str) -> Callable[..., Any]:
    operation, keys = _operation(name), torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def lowered(*args: Any, **kwargs: Any) -> Any:
        wanted = torch.get_autocast_dtype(NAME)

        def lower(value: Any) -> Any:
            return value.to(wanted) if isinstance(value, Tensor) and value.is_floating_point() else value

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*tree_map(lower, args), **tree_map(lower, kwargs))

    return lowered


def _cloned(storage: Any) -> Any:
    return torch.empty(0, dtype=torch.uint8, device=NAME).set_(storage).clone().untyped_storage()
