"""Work of the processor, recorded as a list of torch's operations and repeated without Python's part of it.

A small step takes three times as long as its arithmetic: modules, autograd and the dispatcher find out what is to be
done. All of that is the same at every step, so it is done once. What is repeated are the same operations on the same
memory, in the same order, and so the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from runner.settings import torch_private
from runner.settings.errors import first_line
from runner.training.capture import Captured, Places, Uncapturable, pooling, reuse

#: Bytes of all results of a recording, before they share memory. Larger steps gain nothing: arithmetic is all.
MOST = 2**26
#: Operations that only make room, or a constant: what they return stays as it is unless something is written into it.
ROOM = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
CONSTANT = {
    *("zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones"),
    *("full", "full_like", "new_full", "scalar_tensor", "arange", "eye"),
}
#: Operations that write numbers into the tensors without dimensions that they are given.
NUMBERS = {"nll_loss_forward", "nll_loss2d_forward"}
#: Operations whose effect is not in the memory of their arguments, or that give numbers to Python.
REFUSED = {
    "_local_scalar_dense": "it reads a number from a tensor",
    "equal": "it compares tensors in Python",
    "is_nonzero": "it reads a number from a tensor",
    "set_": "it gives a tensor other memory",
    "resize_": "it gives a tensor other memory",
}
TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


@dataclass(frozen=True)
class _Call:
    operation: Any  # an overload of torch.ops
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    @property
    def name(self) -> str:
        return str(self.operation.overloadpacket.__name__)

    @cached_property
    def given(self) -> list[Tensor]:
        return _tensors((self.arguments, self.options))

    @cached_property
    def written(self) -> list[Tensor]:
        if not self.writes:
            return []
        takes = torch_private.arguments(self.operation)
        by_name = ((a, self.options[a.name]) for a in takes if a.name in self.options)
        given = (*zip(takes, self.arguments, strict=False), *by_name)
        return _tensors([value for a, value in given if _is_written(a)])

    @cached_property
    def writes(self) -> bool:
        return any(map(_is_written, torch_private.arguments(self.operation)))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation below autograd, and holds on to all tensors, so that no memory is used twice."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self.storages: dict[int, int] = {}  # of the results -> bytes

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return that nothing here is kept from torch's compiler, which takes seconds to load for that."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in REFUSED or (any(tag in func.tags for tag in TAGS) and not _picks_by_number(name, args)):
            raise Uncapturable(REFUSED.get(name, f"the shape of what {name} returns follows from values"))
        result = func(*args, **(kwargs or {}))
        if any(tensor.layout is not torch.strided for tensor in _tensors((args, kwargs, result))):
            raise Uncapturable("it has sparse tensors")
        self.calls.append(_Call(func, args, kwargs or {}, result))
        for tensor in _tensors(result):
            self.storages[_memory(tensor)] = tensor.untyped_storage().nbytes()
        if sum(self.storages.values()) > MOST:
            raise Uncapturable(f"its results take more than {MOST / 2**20:.0f} MB")
        return result


def record(work: Callable[[], Any], places: Callable[[Any], Places] = lambda result: ()) -> Captured:
    """Do `work` and record its operations, see `runner.training.capture.capture`."""
    recorder = _Recorder()
    try:
        with recorder:
            result = work()
        return _Recording(recorder.calls, result, places(result)).captured(result)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:  # as of a sparse gradient
        raise Uncapturable(first_line(error)) from error


class _Recording:
    """The operations of `calls` on tensors without a graph, one for each place in memory and shape."""

    def __init__(self, calls: list[_Call], result: Any, places: Places = ()) -> None:
        self._aliases: dict[Any, Tensor] = {}
        self._shapes: dict[int, set[Any]] = {}  # address of memory -> the different tensors in it
        for call in calls:
            for tensor in (*call.given, *_tensors(call.result)):
                self._shapes.setdefault(_memory(tensor), set()).add(_key(tensor))
        written = {_memory(tensor) for call in calls for tensor in call.written}
        # Storage of a result -> the memory that it is in instead: a place that it was given, or shared with others.
        self._placed = _placed(calls, written, places)
        self._rooms = self._placed | _rooms(calls, result, written, self._placed)
        repeated = (self._repeated(call, written) for call in calls)
        self._repeats = [repeat for repeat in repeated if repeat is not None]
        for tensor, place in places:
            if self._placed.get(_memory(tensor)) is not place:
                self._repeats.append(partial(place.copy_, self._alias(tensor)))

    def captured(self, result: Any) -> Captured:
        repeats = self._repeats

        def replay() -> None:
            with torch_private.below_autograd():
                for repeat in repeats:
                    repeat()

        return Captured(self._aliased(result), replay)

    def _repeated(self, call: _Call, written: set[int]) -> Callable[[], Any] | None:
        """Return the function that does `call` again; None where its result stays as it is."""
        results = _tensors(call.result)
        owners, given = ({_memory(tensor) for tensor in tensors} for tensors in (results, call.given))
        operation, into = torch_private.operation(call.operation), _into(call.operation)
        arguments, options = self._aliased(call.arguments), self._aliased(call.options)
        if call.writes:
            again = partial(operation, *arguments, **options)
            return again if owners <= given else _refilled(again, self._places(results, given))
        if call.name in ROOM or (call.name in CONSTANT and not owners & written):
            return None
        if results and owners <= given:  # a view of memory that stays
            return None
        if call.name == "relu":  # which torch computes so, into new memory
            return partial(torch.clamp_min, *arguments, 0, out=self._alias(results[0]))
        if call.name == "max_pool2d_with_indices" and pooling.gains(arguments[0]):
            return pooling.pooled(operation, arguments, options, self._aliased(results))
        # Most losses resize what they are given when they reduce it to one number.
        stays = call.name in NUMBERS or all(tensor.dim() for tensor in results)
        if call.name == "native_batch_norm":  # torch 2.13 adds to the memory that it is given for other inputs
            stays = arguments[0].is_contiguous()
        if into is not None and len(results) == len(into[1]) and stays:
            variant, names = into
            places = dict(zip(names, self._aliased(results), strict=True))
            return partial(torch_private.operation(variant), *arguments, **options, **places)
        return _refilled(partial(operation, *arguments, **options), self._places(results, given))

    def _places(self, results: list[Tensor], given: set[int]) -> list[Callable[[Tensor], object]]:
        """Return what is to be done with each result of an operation that has been done again."""
        return [self._place(tensor, given) for tensor in results]

    def _place(self, tensor: Tensor, given: set[int]) -> Callable[[Tensor], object]:
        if _memory(tensor) in given:  # an argument that the operation has written into
            return lambda new: None
        alias: Any = self._alias(tensor)
        # Where nothing else looks at that memory, the new memory takes its place; else its content is copied.
        moves = len(self._shapes[_memory(tensor)]) == 1 and _memory(tensor) not in self._placed
        return alias.set_ if moves else alias.copy_  # type: ignore[no-any-return]

    def _aliased(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._alias(value)
        if type(value) in (tuple, list):  # nearly all there are; tree_map takes ten times as long
            return type(value)(map(self._aliased, value))
        return tree_map(self._aliased, value) if isinstance(value, tuple | list | dict) else value

    def _alias(self, tensor: Tensor) -> Tensor:
        """Return the one tensor that stands for this place, shape and type, without a graph."""
        key = _key(tensor)
        if key not in self._aliases:
            empty, room = torch.empty(0, dtype=tensor.dtype), self._rooms.get(key[0], tensor)
            offset = room.storage_offset() if key[0] in self._placed else 0
            place = (offset + tensor.storage_offset(), tensor.shape, tensor.stride())
            self._aliases[key] = _marked_as(tensor, empty.set_(room.untyped_storage(), *place))
        return self._aliases[key]


def _refilled(again: Callable[[], Any], places: list[Callable[[Tensor], object]]) -> Callable[[], None]:
    """Return a function that does an operation `again` and puts its results where the recorded ones are."""

    def refill() -> None:
        new = again()
        if isinstance(new, Tensor):  # most operations
            places[0](new)
            return
        for place, one in zip(places, _tensors(new), strict=True):  # some of them may be None
            place(one)

    return refill


def _rooms(calls: list[_Call], result: Any, written: set[int], placed: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return memory for the storages that operations make and only later ones use."""
    sizes: dict[int, int] = {}
    uses = []
    for call in calls:
        owners = {_memory(tensor): tensor.untyped_storage().nbytes() for tensor in _tensors(call.result)}
        sizes |= owners
        uses.append(([_memory(tensor) for tensor in call.given], owners))
    kept = _lasting(calls, written) | placed.keys() | {_memory(tensor) for tensor in _tensors(result)}
    rooms: dict[int, Tensor] = {}
    for group in reuse.shared(uses, sizes, kept):
        room = torch.empty(max(sizes[storage] for storage in group), dtype=torch.uint8)
        rooms |= dict.fromkeys(group, room)
    return rooms


def _placed(calls: list[_Call], written: set[int], places: Places) -> dict[int, Tensor]:
    """Return the storages of results that can be made where they are to be, each with its place."""
    made = {_memory(tensor) for call in calls for tensor in _tensors(call.result)} - _lasting(calls, written)
    placed: dict[int, Tensor] = {}
    for tensor, place in places:
        same = tensor.dtype == place.dtype and tensor.is_contiguous() and place.is_contiguous()
        if (
            same
            and _memory(tensor) in made
            and tensor.untyped_storage().nbytes() == place.numel() * place.element_size()
        ):
            placed.setdefault(_memory(tensor), place)
    return placed


def _lasting(calls: list[_Call], written: set[int]) -> set[int]:
    """Return the storages that stay what they are: those that are there before the work, and constants."""
    lasting: set[int] = set()
    made: set[int] = set()
    for call in calls:
        lasting.update({_memory(tensor) for tensor in call.given} - made)
        owners = {_memory(tensor) for tensor in _tensors(call.result)}
        made.update(owners)
        lasting |= owners - written if call.name in CONSTANT else set()
    return lasting


@lru_cache(None)
def _into(operation: Any) -> tuple[Any, tuple[str, ...]] | None:
    """Return the overload that writes into given tensors, with their names; None without one of the processor's own.

    The ones that torch derives from the operation itself would copy its result.
    """
    wanted = [(a.name, str(a.type)) for a in torch_private.arguments(operation)]
    for name in operation.overloadpacket.overloads():
        other = getattr(operation.overloadpacket, name)
        takes = torch_private.arguments(other)
        given = [(a.name, str(a.type)) for a in takes if not a.is_out]
        outs = tuple(a.name for a in takes if a.is_out)
        if outs and given == wanted and torch_private.has_kernel(other, "CPU"):
            return other, outs
    return None


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _memory(tensor: Tensor) -> int:
    return torch_private.storage(tensor)


def _key(tensor: Tensor) -> Any:
    marks = tensor.is_conj(), tensor.is_neg()
    return _memory(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, marks


def _marked_as(tensor: Tensor, alias: Tensor) -> Tensor:
    """Return `alias` as one that is read as `tensor` is: complex numbers may be conjugated only when they are read."""
    alias = alias.conj() if tensor.is_conj() else alias
    return torch_private.negated(alias) if tensor.is_neg() else alias


def _picks_by_number(name: str, arguments: Any) -> bool:
    """Return whether an operation picks elements by their numbers, not by truth values that may be more or fewer."""
    truth = (torch.bool, torch.uint8)
    return name == "index" and all(index is None or index.dtype not in truth for index in arguments[1])
