"""Ways on which a tensor's numbers reach Python past torch's operations: what is computed of them is not recorded."""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from runner.training.capture import Uncapturable

#: Methods that hand out a tensor's memory or numbers, or give it other memory, without an operation of torch's.
REFUSED = {
    Tensor.tolist: "it reads numbers from a tensor",
    Tensor.numpy: "it computes with NumPy",
    Tensor.__array__: "it computes with NumPy",
    Tensor.__dlpack__: "it hands a tensor to another library",
    Tensor.data_ptr: "it takes the address of a tensor",
    Tensor.data.__set__: "it gives a tensor other memory",  # type: ignore[attr-defined]
}


class _Refuser(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in REFUSED:
            raise Uncapturable(REFUSED[func])
        return func(*args, **(kwargs or {}))


def refused() -> AbstractContextManager[Any]:
    """Return a block in which work that reads a tensor's numbers past torch's operations raises Uncapturable."""
    return _Refuser()
