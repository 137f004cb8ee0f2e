"""Where configurations are: those that come with the package and those of the working directory."""

import os
from pathlib import Path

#: Environment variable that is set while `runner` runs; other Hydra programs do not see our folders.
ACTIVE = "RUNNER_ACTIVE"
#: Environment variable with the folder of recorded code that a person has chosen to use; see recorded_code.
CODE = "RUNNER_CODE"

_PACKAGE = Path(__file__).resolve().parent


def conf() -> Path:
    """The presets: in an installed wheel inside of the package, in a checkout beside it."""
    return _shipped("conf")


def experiments() -> list[Path]:
    """Folders of studies: recorded code that is used again, the working directory's, those that come with the package."""
    recorded = [Path(os.environ[CODE]) / "experiments"] if os.environ.get(CODE) else []
    folders = [*recorded, Path.cwd() / "experiments", _shipped("experiments")]
    return [f for i, f in enumerate(folders) if f.is_dir() and f.resolve() not in {g.resolve() for g in folders[:i]}]


def _shipped(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
