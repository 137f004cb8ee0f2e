"""What transforms do to targets: masks and boxes move along with their pictures, all others stay as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.data import Data, Nest, Tensors, nests
from runner.model import host
from runner.settings.errors import ConfigError, did_you_mean

KEY = "data.augment_target"
#: Formats of boxes: corners, a corner and the size, the middle and the size; each as x before y, in pixels.
FORMATS = ("xyxy", "xywh", "cxcywh")
#: What `data.augment_target` may say -> what it means; the others are torchvision's names.
NAMES = {"mask": "mask", "Mask": "mask", "boxes": "boxes", "BoundingBoxes": "boxes", "nothing": "nothing"}
EXPECTED = "expected mask, boxes, {boxes: xywh} or nothing, or one of these for each target by its name"


@dataclass(frozen=True)
class Masks:
    """Targets that are masks, one for each picture: (..., H, W)."""

    def wrapped(self, y: Tensor, size: tuple[int, int]) -> Any:
        """Return targets as torchvision's tensor, which its transforms move. size: of the pictures, in pixels."""
        from torchvision import tv_tensors

        return tv_tensors.Mask(y)

    def unwrapped(self, moved: Tensor, like: Tensor) -> Tensor:
        """Return what has been made of targets as a plain tensor."""
        return moved.as_subclass(Tensor)


@dataclass(frozen=True)
class Boxes:
    """Targets that are boxes in pixels, one or as many for each picture: (4,) or (k, 4).

    format: one of FORMATS.
    """

    format: str = FORMATS[0]

    def wrapped(self, y: Tensor, size: tuple[int, int]) -> Any:
        """Return all boxes of an example, or of a batch, in one tensor of torchvision, (boxes, 4)."""
        from torchvision import tv_tensors

        return tv_tensors.BoundingBoxes(y.reshape(-1, 4), format=self.format.upper(), canvas_size=size)

    def unwrapped(self, moved: Tensor, like: Tensor) -> Tensor:
        """Return boxes as a plain tensor of the shape of `like`."""
        return moved.as_subclass(Tensor).reshape(like.shape)


Kind = Masks | Boxes
#: The targets that move, by their names as `nests.named` gives them; "" is the name of a single one.
Moves = Mapping[str, Kind]


@dataclass(frozen=True)
class Asked:
    """The words of `data.augment_target`, read.

    alone: of the only target; None: nothing is said, or it goes by names. named: by target; None is nothing.
    says: False where the key is left out.
    """

    alone: Kind | None = None
    named: Mapping[str, Kind | None] | None = None
    says: bool = False


def read(spec: Any) -> Asked:
    """Read `data.augment_target`. Raises ConfigError for what is not understood."""
    if spec is None:
        return Asked()
    if isinstance(spec, str) or _is_kind(spec):
        return Asked(alone=_kind(spec, KEY), says=True)
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(KEY, f"{spec!r} is not understood; {EXPECTED}")
    return Asked(named={str(name): _kind(value, f"{KEY}.{name}") for name, value in spec.items()}, says=True)


def moves(asked: Asked, data: Data) -> dict[str, Kind]:
    """Return the targets that move along: those that are asked for, and masks, which are classes of places.

    Raises ConfigError for targets that are no masks or boxes, and for names that they do not have.
    """
    x, y = data.train[0]
    targets = dict(nests.named(y))
    said = _said(asked, list(targets))
    found: dict[str, Kind] = {}
    for name, target in targets.items():
        kind = said[name] if name in said else _guessed(x, target, f"{KEY}.{name}" if name else KEY)
        if kind is not None:
            found[name] = kind
        if isinstance(kind, Boxes):
            _check_boxes(kind, data, name, target)
    return found


def check_values(moves: Moves, data: Data) -> None:
    """Raise ConfigError for boxes that are of another format, or no pixels."""
    for name, kind in moves.items():
        if isinstance(kind, Boxes):
            _check_sides(kind, data, name)


def described(moves: Moves) -> list[str]:
    """Return a line for each target of boxes: what happens to them."""
    return [
        f"boxes{f' {name!r}' * bool(name)} ({kind.format}) move along with their pictures, and end at the edges"
        for name, kind in moves.items()
        if isinstance(kind, Boxes)
    ]


def corners(kind: Boxes, y: Tensor) -> Tensor:
    """Return boxes as (boxes, 4): left, top, right, bottom."""
    first, second = y.reshape(-1, 2, 2).unbind(1)
    if kind.format == "xywh":
        second = first + second
    if kind.format == "cxcywh":
        first, second = first - second / 2, first + second / 2
    return torch.cat([first, second], 1)


def boxes_of(moves: Moves, y: Nest) -> Tensor | None:
    """Return the boxes of an example as (boxes, 4): left, top, right, bottom; None where no target is boxes."""
    found = [corners(kind, one) for name, one in nests.named(y) if isinstance(kind := moves.get(name), Boxes)]
    return host.tensor(torch.cat(found)) if found else None


def _is_kind(spec: Any) -> bool:
    """Return whether a mapping is a kind of target with its argument, {boxes: xywh}, and not kinds by name."""
    if not isinstance(spec, Mapping) or len(spec) != 1:
        return False
    [(name, value)] = spec.items()
    return name in NAMES and not (isinstance(value, str) and value in NAMES) and not _is_kind(value)


def _kind(spec: Any, key: str) -> Kind | None:
    """Return what `mask`, `boxes`, `{boxes: xywh}`, `{boxes: {format: xywh}}` or `nothing` mean."""
    name, given = next(iter(spec.items())) if _is_kind(spec) else (spec, None)
    if not isinstance(name, str) or name not in NAMES:
        hint = did_you_mean(str(name), NAMES) if isinstance(name, str) else ""
        raise ConfigError(key, f"{spec!r} is not understood{hint}; {EXPECTED}")
    arguments = {} if given is None else dict(given) if isinstance(given, Mapping) else {"format": given}
    for one in arguments:
        if one != "format" or NAMES[name] != "boxes":
            takes = "it takes format" if NAMES[name] == "boxes" else "it takes none"
            raise ConfigError(f"{key}.{name}.{one}", f"{name} takes no argument {one!r} ({takes})")
    if NAMES[name] != "boxes":
        return Masks() if NAMES[name] == "mask" else None
    written = arguments.get("format", FORMATS[0])
    if str(written).lower() not in FORMATS:
        raise ConfigError(f"{key}.{name}", f"{written!r} is not a format of boxes{did_you_mean(str(written), FORMATS)};"
            f" expected one of {', '.join(FORMATS)}")  # fmt: skip
    return Boxes(str(written).lower())


def _said(asked: Asked, names: list[str]) -> Mapping[str, Kind | None]:
    """Return what is asked for by the names of targets. Raises ConfigError for names that they do not have."""
    single = names == [""]
    if asked.named is None:
        if asked.says and asked.alone is not None and not single:
            word = "mask" if isinstance(asked.alone, Masks) else "boxes"
            raise ConfigError(KEY, f"{word} does not say which of the targets, {', '.join(names)}; expected"
                f" {{{names[0]}: {word}}}")  # fmt: skip
        return dict.fromkeys(names, asked.alone) if asked.says else {}
    for name in asked.named:
        if single:
            raise ConfigError(f"{KEY}.{name}", "is a target's name, and the data has one target without a name;"
                " expected mask, boxes, {boxes: xywh} or nothing")  # fmt: skip
        if name not in names:
            raise ConfigError(f"{KEY}.{name}", f"there is no such target{did_you_mean(name, names)}; the data has"
                f" {', '.join(names)}")  # fmt: skip
    return asked.named


def _guessed(x: Tensor, y: Tensor, key: str) -> Kind | None:
    """Return a mask for classes of places; None for other targets. Raises ConfigError for numbers of places."""
    places = x.dim() > 2 and y.dim() > 1 and tuple(y.shape[-2:]) == tuple(x.shape[-2:])
    if places and y.is_floating_point():
        raise ConfigError(
            key,
            f"missing; targets have a number for each place of a picture, {list(y.shape)}: expected mask, where they"
            " are to move along, or nothing, where they are to stay as they are",
        )
    return Masks() if places else None


def _check_boxes(kind: Boxes, data: Data, name: str, y: Tensor) -> None:
    """Raise ConfigError for targets that are no boxes, or boxes of another format. y: of the first example."""
    key = f"{KEY}.{name}" if name else KEY
    task = data.task.get(name, "regression") if isinstance(data.task, dict) else data.task
    if task != "regression" or not y.is_floating_point():
        what = "are classes" if task != "regression" else f"are {str(y.dtype).removeprefix('torch.')}"
        raise ConfigError(key, f"boxes, and these targets {what}; expected numbers with a decimal point, four for each"
            " box, or leave it out")  # fmt: skip
    if y.dim() not in (1, 2) or y.shape[-1] != 4:
        raise ConfigError(key, f"boxes, and these targets have shape {list(y.shape)}; expected [4], one box for each"
            " picture, or [boxes, 4], as many for each")  # fmt: skip


def _check_sides(kind: Boxes, data: Data, name: str) -> None:
    """Raise ConfigError for boxes, all in memory or the first, of another format, or that are shares of a picture."""
    key, first = f"{KEY}.{name}" if name else KEY, data.train[0]
    each = dict(nests.named(data.train.y if isinstance(data.train, Tensors) else first[1]))[name]
    each = host.tensor(each).reshape(-1, 4)
    if each.is_meta or not len(each):
        return
    sides = corners(kind, each)
    wrong = (sides[:, 2:] < sides[:, :2]).any(1).nonzero().flatten()
    if len(wrong):
        place = int(wrong[0]) // max(1, dict(nests.named(first[1]))[name].numel() // 4)
        shown = [float(f"{number:.6g}") for number in host.numbers(each[wrong[0]])]
        others = " or ".join(name for name in FORMATS if name != kind.format)
        raise ConfigError(key, f"boxes of the format {kind.format}, and example {place} of the training data has"
            f" {shown}, which ends before it begins; expected {others}")  # fmt: skip
    low, high = (float(end) for end in sides.aminmax())
    if low >= 0 and 0 < high <= 1 and min(first[0].shape[-2:]) > 1:
        raise ConfigError(key, "boxes are in pixels, and none of the training data reaches beyond 1, so that they seem"
            " to be shares of the picture; multiply them by its width and height")  # fmt: skip
