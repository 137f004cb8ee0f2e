"""Positions in a tensor, in words."""

from runner.model.explain.parts import Index, Window

#: Number of dimensions -> words for those after the batch, where dimension 1 is the channels.
CHANNELS = {
    2: ("feature",),
    3: ("channel", "position"),
    4: ("channel", "row", "column"),
    5: ("channel", "slice", "row", "column"),
}
#: Words for layers to which dimension 1 is like any other.
PLAIN = {**CHANNELS, 3: ("row", "column")}


def element(index: Index) -> str:
    """Return `output[0, 3, 2]`."""
    return f"output[{', '.join(map(str, index))}]"


def window(positions: Window, axes: tuple[str, ...]) -> str:
    """Return `channels 0-1, positions 0-2`; in brackets where dimensions have no words."""
    if any(len(p) == 0 for p in positions):
        return "no number"
    if len(axes) != len(positions) - 1:
        return f"[{', '.join(_numbers(p) for p in positions)}]"
    batch = [along(positions[0], "example")] if positions[0] != range(1) or not axes else []
    return ", ".join([*batch, *(along(p, axis) for p, axis in zip(positions[1:], axes, strict=True))])


def along(positions: range, axis: str) -> str:
    """Return `row 3`, `rows 0-7` or `rows 0-4 in steps of 2`."""
    return f"{axis} {positions[0]}" if len(positions) == 1 else f"{axis}s {_numbers(positions)}"


def _numbers(positions: range) -> str:
    if len(positions) == 1:
        return str(positions[0])
    between = "-" if positions[0] >= 0 else " to "
    steps = f" in steps of {positions.step}" if positions.step > 1 else ""
    return f"{positions[0]}{between}{positions[-1]}{steps}"
