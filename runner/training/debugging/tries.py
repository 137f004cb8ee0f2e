"""Trials from the first weights on: another learning rate, or no regularization, of which one learns the batch."""

import copy
import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from runner.training import measure, step
from runner.training.parts import several

if TYPE_CHECKING:
    from runner.training.run import Run

#: Steps of a trial.
STEPS = 100
#: The learning rates that are tried.
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
#: A trial is better if it ends with less than this share of the loss.
BETTER = 0.5
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def tried(run: "Run", start: dict[str, Tensor], last: float) -> list[dict[str, Any]]:
    """Return what was wrong if another learning rate, or training without dropout and weight decay, ends far lower.

    start: the first weights. last: the loss at the end of the training, or with the first weights if that is less.
    The run's weights and optimizer are put back.
    """
    if run.parts.step is not None:
        return []
    trials = Trials(run, start)
    rate = next((float(group["lr"]) for group in run.state.optimizer.param_groups if group.get("lr")), 0.0)
    losses = {other: trials.loss(other / rate) for other in RATES} if rate else {}
    best = min(losses, key=lambda other: losses[other], default=rate)
    if losses and losses[best] < BETTER * last:
        how = "small" if best > rate else "large"
        evidence = f"the learning rate is too {how}: with {best:g} the loss is {losses[best]:.4g} after {STEPS} steps"
        return [{"cause": "rate", "layer": None, "evidence": evidence, "remedy": f"optimizer.lr={best:g}"}]
    if trials.regularized and (loss := trials.loss(1.0, plain=True)) < BETTER * last:
        what = " and ".join(trials.regularized)
        evidence = f"without {what} the loss is {loss:.4g} after {STEPS} steps"
        return [{"cause": "regularization", "layer": None, "evidence": evidence, "remedy": f"less {what}"}]
    return []


def batch_loss(run: "Run") -> float:
    """Return the loss of the training data in evaluation mode."""
    return measure.values(run, run.data.train, "train")["train/loss"]


class Trials:
    """Trains a run's model again from its first weights, and puts all back."""

    def __init__(self, run: "Run", start: dict[str, Tensor]) -> None:
        self.run, self.start, self.step = run, start, step.choose(run.state)
        self.each = several.each_of(run.state.optimizer).values()
        self.dropout = [module for module in run.model.modules() if isinstance(module, DROPOUT) and module.p > 0]
        decays = any(group.get("weight_decay") for one in self.each for group in one.param_groups)
        self.regularized = ["dropout"] * bool(self.dropout) + ["weight decay"] * decays

    def loss(self, factor: float, plain: bool = False) -> float:
        """Return the loss after STEPS steps with `factor` times the learning rates; infinite if it diverges.

        plain: without dropout and weight decay.
        """
        run, state = self.run, self.run.state
        weights = copy.deepcopy(run.model.state_dict())
        before = [(one, one.state, [dict(group) for group in one.param_groups]) for one in self.each]
        number, still = state.step, state.still
        run.model.load_state_dict(self.start)
        for optimizer, kept, _ in before:
            optimizer.state = type(kept)(dict) if isinstance(kept, dict) else kept
            for group in optimizer.param_groups:
                group |= {key: factor * group[key] for key in ("lr",) if key in group}
                group |= {key: 0.0 for key in ("weight_decay",) if plain and key in group}
        state.step, state.still = 0, [*still, *(self.dropout if plain else ())]
        try:
            state.begin()
            for parts in islice(run.batches(), STEPS):
                self.step(state, parts)
            value = batch_loss(run)
        finally:
            for optimizer, kept, groups in before:
                optimizer.state = kept
                for group, old in zip(optimizer.param_groups, groups, strict=True):
                    group |= old
            state.step, state.still = number, still
            run.model.load_state_dict(weights)
            state.optimizer.zero_grad()
            state.begin()
        return value if math.isfinite(value) else math.inf
