"""`debug=anomaly`: the layer whose forward or backward gives the first NaN, by torch's anomaly detection."""

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from runner.model import host
from runner.settings.errors import Failure
from runner.training.debugging.artifact import artifact
from runner.training.debugging.undebugged import Undebugged
from runner.training.events import Event
from runner.training.finite import Diverged

if TYPE_CHECKING:
    from runner.training.run import Run

#: What is computed behind the last layer.
LOSS = "the loss"


class NotANumber(Failure):
    """A layer has given NaN."""


class Debugging(Undebugged):
    """Ends the run with NotANumber at the first NaN, which names the layer, the step and what went into it.

    `found` has steps, layer (None: there was no NaN), pass (forward or backward), and infinite: the first layer that
    has given an infinite number, with its step.
    """

    @contextlib.contextmanager
    def watching(self, run: "Run") -> Iterator[None]:
        """Look at what every layer gives, and note which layer each node of the backward belongs to."""
        self._run, self._of, self._now = run, dict[Any, str](), LOSS
        self.found = {"steps": 0, "layer": None, "pass": None, "infinite": None}
        plain = run.state.cost

        def cost(model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
            self._of, self._now = {}, LOSS
            loss, output = plain(model, batch)
            self._look(LOSS, loss, output)
            return loss, output

        hooks = [
            module.register_forward_hook(partial(self._after, f"layer {name!r}" if name else "the model"))
            for name, module in run.model.named_modules()
        ]
        run.state.cost = cost  # type: ignore[method-assign, unused-ignore]
        try:
            with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
                warnings.filterwarnings("ignore", "Error detected in|Anomaly Detection has been enabled")  # said below
                yield
        except Diverged as error:
            if self.found["infinite"]:
                error.add_note(self._first_infinite())
            raise
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            raise self._backward(str(error)) from error
        finally:
            run.state.cost = plain
            for hook in hooks:
                hook.remove()

    def ended(self, run: "Run") -> Iterator[Event]:
        """Yield debug/anomaly.json."""
        self.found["steps"] = run.state.step
        yield artifact(run, "anomaly", self.found)

    def lines(self) -> list[str]:
        """Return a line for a run without NaN."""
        infinite = f"; {self._first_infinite()}" if self.found["infinite"] else ""
        return [f"debug=anomaly: no layer gave NaN in {self.found['steps']:,} steps{infinite}"]

    def _first_infinite(self) -> str:
        where = self.found["infinite"]
        return f"{where['layer']} was the first to give an infinite number, at step {where['step']:,}"

    def _after(self, label: str, module: nn.Module, given: Any, output: Any) -> None:
        self._look(f"{label} ({type(module).__name__})", output, given)

    def _look(self, label: str, output: Any, given: Any) -> None:
        """Raise NotANumber for NaN in what a layer gives, and note the nodes that have computed it."""
        tensors = [one for one in tree_leaves(output) if isinstance(one, Tensor) and one.is_floating_point()]
        for one in tensors:
            if not torch.isfinite(one).all():
                if torch.isnan(one).any():
                    raise self._error(label, "forward", _described("what went into it", given))
                self.found["infinite"] = self.found["infinite"] or {"layer": label, "step": self._run.state.step + 1}
        waiting = [one.grad_fn for one in tensors if one.grad_fn is not None]
        while waiting:  # what layers before this one have computed is noted already
            node = waiting.pop()
            if node not in self._of and type(node).__name__ != "AccumulateGrad":
                self._of[node] = label
                node.register_prehook(partial(self._enter, label))
                waiting += [before for before, _ in node.next_functions if before is not None]

    def _enter(self, label: str, gradients: Any) -> None:
        self._now = label

    def _backward(self, message: str) -> NotANumber:
        function = message.partition("'")[2].partition("'")[0]
        return self._error(self._now, "backward", f"{function}, a part of it, returned NaN")

    def _error(self, label: str, where: str, what: str) -> NotANumber:
        step = self._run.state.step + 1
        self.found |= {"steps": step, "layer": label, "pass": where}
        weights = [(name, one) for name, one in self._run.model.named_parameters() if not torch.isfinite(one).all()]
        wrong = f"; the weights {weights[0][0]} are not finite, since the step before" if weights else ""
        infinite = f"; {self._first_infinite()}" if self.found["infinite"] else ""
        return NotANumber(f"debug=anomaly: {label} gives NaN in its {where} at step {step:,}: {what}{wrong}{infinite}")


def _described(what: str, given: Any) -> str:
    """Return the least and largest number of what a layer was given."""
    tensors = [one for one in tree_leaves(given) if isinstance(one, Tensor) and one.is_floating_point() and one.numel()]
    if not tensors:
        return f"{what} are no numbers with a point"
    least, most = (torch.stack([end(one) for one in tensors]) for end in (torch.min, torch.max))
    return f"{what} reaches from {host.number(least.min()):.4g} to {host.number(most.max()):.4g}"
