"""Where configurations are: those that come with the package and those of the working directory."""

from pathlib import Path

#: Environment variable that is set while `runner` runs; other Hydra programs do not see our folders.
ACTIVE = "RUNNER_ACTIVE"

_PACKAGE = Path(__file__).resolve().parent


def conf() -> Path:
    """The presets: in an installed wheel inside of the package, in a checkout beside it."""
    return _shipped("conf")


def experiments() -> list[Path]:
    """Folders of studies; the working directory's come first."""
    folders = [Path.cwd() / "experiments", _shipped("experiments")]
    return [f for i, f in enumerate(folders) if f.is_dir() and f.resolve() not in {g.resolve() for g in folders[:i]}]


def _shipped(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
