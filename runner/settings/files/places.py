"""The folders of configurations: those of the package and those of the working directory."""

import os
from pathlib import Path

import runner

#: Environment variable that is set while `runner` runs; other Hydra programs do not see our folders.
ACTIVE = "RUNNER_ACTIVE"
#: Environment variable with the folder of recorded code that a person has chosen to use; see recorded_code.
CODE = "RUNNER_CODE"

_PACKAGE = Path(runner.__file__).resolve().parent


def conf() -> Path:
    """Return the folder of our presets: inside of an installed package, beside it in a checkout."""
    return _shipped("conf")


def template() -> Path:
    """Return the folder of files that `runner init` copies."""
    return _shipped("template")


def experiments() -> list[Path]:
    """Return the folders of studies: of recorded code in use, of the working directory, and of the package."""
    recorded = [Path(os.environ[CODE]) / "experiments"] if os.environ.get(CODE) else []
    folders = [*recorded, Path.cwd() / "experiments", _shipped("experiments")]
    return [f for i, f in enumerate(folders) if f.is_dir() and f.resolve() not in {g.resolve() for g in folders[:i]}]


def groups() -> list[str]:
    """Return every group of presets, beside studies and Hydra's own."""
    return sorted({path.name for folder in _presets() for path in folder.iterdir() if path.is_dir()})


def presets(group: str) -> list[str]:
    """Return the names of a group's presets that are files."""
    return sorted({path.stem for folder in _presets() for path in (folder / group).glob("*.yaml")})


def preset(group: str, name: str) -> Path:
    """Return the file of a preset: ours, which comes first, or one of the working directory."""
    return next(path for folder in _presets() if (path := folder / group / f"{name}.yaml").is_file())


def studies() -> list[str]:
    """Return the names of the studies and of folders of them; a folder of data is none."""
    folders = [path for f in experiments() for path in f.iterdir()]
    return sorted({path.stem for path in folders if path.suffix == ".yaml" or any(path.glob("**/*.yaml"))})


def _presets() -> list[Path]:
    own = Path.cwd() / "conf"
    return [conf(), own] if own.is_dir() and own.resolve() != conf().resolve() else [conf()]


def _shipped(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
