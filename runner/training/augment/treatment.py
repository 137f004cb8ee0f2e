"""What the keys of `data` ask to be done to training examples: checked, tried on real ones, and said."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from runner.data import Data, Tensors, nests
from runner.data._streams import collates
from runner.model.conventions import targets_of
from runner.settings.errors import ConfigError
from runner.settings.values.lookup import Bound
from runner.training.augment import balance, balanced, mixes, moving, transforms, tried
from runner.training.augment.augment import Augment
from runner.training.augment.mixing import Mix
from runner.training.augment.moving import Asked, Boxes
from runner.training.parts.data_options import DataOptions


@dataclass(frozen=True)
class Treatment:
    """The sampling, transforms and mixing of training examples, done in this order. Falsy if there are none."""

    augment: tuple[Bound, ...] = ()
    mixup: float | None = None
    cutmix: float | None = None
    sample: str | None = None
    target: Asked = field(default_factory=Asked)  # what transforms do to targets
    entry: mixes.Mixes = field(default_factory=lambda: mixes.Mixes({}))  # of data.augment, that says how to mix

    def __bool__(self) -> bool:
        return bool(self.augment or self.mixes or self.sample)

    @property
    def mixes(self) -> bool:
        """True if batches are mixed."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def mix_key(self) -> str:
        """The key that asks for mixing."""
        return self.entry.key or ("data.cutmix" if self.cutmix is not None else "data.mixup")

    def moves(self, data: Data) -> dict[str, moving.Kind]:
        """Return the targets that transforms move along with their pictures; none without transforms."""
        return moving.moves(self.target, data) if self.augment else {}

    def described(self) -> list[str]:
        """Return a line for each thing that is done."""
        lines = [f"sampled: {self.sample}"] if self.sample else []
        lines += ["augmented: " + ", ".join(map(_words, self.augment))] if self.augment else []
        mixed = [f"{name} {value:g}" for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)) if value]
        return lines + (["mixed: " + " or ".join(mixed)] if mixed else [])


def lines(treatment: Treatment, loss: nn.Module, data: Data) -> list[str]:
    """Return lines for people: what is done to training examples, and the numbers of balanced weights."""
    boxes = moving.described(treatment.moves(data))
    weights = [f"{key}: balanced, {text}" for key, text in balanced.described(loss, 4).items()]
    return [f"training examples are {line}" for line in treatment.described()] + boxes + weights


def resolve(options: DataOptions) -> Treatment:
    """Look up the transforms and check the numbers. Raises ConfigErrors."""
    if options.sample not in (None, "balanced"):
        raise ConfigError("data.sample", f"{options.sample!r} is not balanced, or null: each example once an epoch")
    target = moving.read(options.augment_target)
    entries, mix = mixes.take([] if options.augment in (None, [], ()) else transforms.entries(options.augment))
    augment = transforms.resolve(entries)
    for name in mix.alphas:
        if options.mixup is not None or options.cutmix is not None:
            raise ConfigError(f"data.{name}", f"stands beside {mix.key}, which mixes too; leave one out")
    alphas = {name: _alpha(getattr(options, name), f"data.{name}") for name in ("mixup", "cutmix")}
    alphas |= {name: _alpha(value, f"{mix.key}.alpha") for name, value in mix.alphas.items()}
    if target.says and not augment:
        raise ConfigError(moving.KEY, f"{options.augment_target} has no effect without data.augment")
    return Treatment(augment, **alphas, sample=options.sample, target=target, entry=mix)


def augmenter(treatment: Treatment, data: Data) -> Augment:
    """Return the transforms of a run."""
    return Augment(treatment.augment, treatment.moves(data))


def mixer(treatment: Treatment, data: Data) -> Mix:
    """Return what mixes the batches of a run."""
    return Mix(treatment.mixup, treatment.cutmix, len(data.classes) or None)


def check(treatment: Treatment, data: Data, shuffle: bool) -> Tensors | None:
    """Try the transforms on the first examples. Raises ConfigError where one fails, or gives what no model fits.

    shuffle: of the trainer.
    Returns the examples that were tried if their size is another one than that of the plain ones, which validation
    sees; else None.
    """
    if treatment and collates(data.train):
        key = next(name for name in ("augment", "mixup", "cutmix", "sample") if getattr(treatment, name))
        raise ConfigError(f"data.{key}", "needs examples of one size, and data.collate makes batches of unequal ones;"
            " do it in the dataset or in a collate of your own")  # fmt: skip
    x, y = data.train[0]
    one_target = isinstance(y, Tensor) or not (treatment.mixes or treatment.sample)
    if treatment and not (one_target and isinstance(x, Tensor)):
        mixing = treatment.mix_key if treatment.mixes else "data.sample"
        key = "data.augment" if treatment.augment and one_target else mixing
        raise ConfigError(key, "needs examples of one tensor and one target, and those of the data hold"
            " several; leave it out, or do it in a Dataset of your own")  # fmt: skip
    if treatment.sample:
        if not shuffle:
            raise ConfigError("data.sample", "balanced draws the order of each epoch, and trainer.shuffle=false"
                " keeps the data's own; leave one of them out")  # fmt: skip
        classes = balance.labels(data, "data.sample")
        if classes.dim() > 1:
            raise ConfigError("data.sample", "balanced needs one class for each example, and targets have one for each"
                " place; loss.weight=balanced weighs these")  # fmt: skip
    if not treatment.augment and not treatment.mixes:
        return None
    plain = tried.first(data)
    made = tried.made(treatment.augment, treatment.moves(data), data, plain)
    if treatment.mixes:
        _check_mix(treatment, data, made)
    return None if nests.key((made.x, made.y)) == nests.key((plain.x, plain.y)) else made


def check_loss(treatment: Treatment, data: Data, loss: nn.Module) -> None:
    """Raise ConfigError for a loss that does not take the targets of mixed batches."""
    takes, key = targets_of(loss), treatment.mix_key
    if treatment.mixes and takes in ("classes", "minus_one_one", "label_sets", "log_shares"):
        raise ConfigError(key, f"makes targets that are shares of classes, which {type(loss).__name__} does not take;"
            " use loss=cross_entropy, or loss=bce_with_logits")  # fmt: skip


def _check_mix(treatment: Treatment, data: Data, made: Tensors) -> None:
    key, x, y = treatment.mix_key, made.x, made.y
    if isinstance(treatment.target.alone, Boxes):
        raise ConfigError(key, "mixes targets, and a box between two boxes is the place of nothing; leave it out")
    if not x.is_floating_point():
        raise ConfigError(key, f"mixes numbers, and examples are {x.dtype}; leave it out")
    if not y.is_floating_point() and (y.dim() > 1 or not data.classes):
        raise ConfigError(key, "needs one class for each example, or numbers to predict; leave it out")
    mixes.check_classes(treatment.entry, len(data.classes))
    if data.ignored is not None and not y.is_floating_point():
        raise ConfigError(key, f"makes shares of classes, of which the loss's ignore_index={data.ignored} is"
            " none; leave those examples out")  # fmt: skip
    if treatment.cutmix is not None and x.dim() < 4:
        raise ConfigError(key, f"cuts boxes out of pictures, and an example has shape {list(x.shape[1:])};"
            " use data.mixup")  # fmt: skip


def _alpha(value: Any, key: str) -> float | None:
    if value is None or (not isinstance(value, bool) and isinstance(value, int | float) and 0 < value < 1e6):
        return value
    raise ConfigError(
        key,
        f"{value!r} is not a number above 0: the alpha of Beta(alpha, alpha), of which 0.2 mixes little and 1"
        " anything; null: not at all",
    )


def _words(bound: Bound) -> str:
    arguments = ", ".join(f"{name}={_value(value)}" for name, value in bound.arguments.items())
    return f"{bound.target.__name__}({arguments})"


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Bound):
        return "[" + ", ".join(map(_words, value)) + "]"
    return str(value)
