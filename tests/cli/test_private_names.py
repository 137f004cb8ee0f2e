"""Names that other projects do not promise to keep: each behind one file, and here with the release that has it."""

import importlib
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: What the files behind which the private names are were written for.
RELEASES = {"hydra-core": "1.3", "omegaconf": "2.3", "hydra-joblib-launcher": "1.2", "submitit": "1.5"}
#: (package, module, name, the arguments that it is called with or wrapped for).
HYDRA, LOADER = "hydra-core", "hydra._internal.config_loader_impl"
PRIVATE: list[tuple[str, str, str, tuple[str, ...]]] = [
    (HYDRA, LOADER, "ConfigLoaderImpl.load_configuration", ("self", "config_name", "overrides", "run_mode")),
    (HYDRA, LOADER, "ConfigLoaderImpl.load_sweep_config", ("self", "master_config", "sweep_overrides")),
    (HYDRA, "hydra.core.config_loader", "ConfigLoader.compute_defaults_list", ("self", "config_name", "overrides")),
    (HYDRA, "hydra._internal.hydra", "Hydra.get_mode", ("self", "config_name", "overrides")),
    (HYDRA, "hydra._internal.sources_registry", "SourcesRegistry.instance", ()),
    (HYDRA, "hydra._internal.utils", "get_args_parser", ()),
    (HYDRA, "hydra._internal.core_plugins.basic_launcher", "BasicLauncher.launch", ("self", "job_overrides")),
    (HYDRA, "hydra._internal.core_plugins.file_config_source", "FileConfigSource.load_config", ("self", "config_path")),
    ("omegaconf", "omegaconf.basecontainer", "BaseContainer._resolvers", ()),
    ("omegaconf", "omegaconf.basecontainer", "BaseContainer._merge_with", ("self", "others")),
    ("omegaconf", "omegaconf.basecontainer", "BaseContainer._to_content", ("conf", "resolve")),
    ("omegaconf", "omegaconf.base", "Container.resolve_parse_tree", ("self", "parse_tree", "node")),
    ("omegaconf", "omegaconf.base", "Node._get_parent", ("self",)),
    ("omegaconf", "omegaconf.base", "Node._key", ("self",)),
    ("omegaconf", "omegaconf.base", "Node._is_none", ("self",)),
    ("omegaconf", "omegaconf.basecontainer", "BaseContainer._get_full_key", ("self", "key")),
    ("omegaconf", "omegaconf.base", "Node._set_flag", ("self", "flags", "values")),
    ("omegaconf", "omegaconf.base", "Metadata.ref_type", ()),
    ("omegaconf", "omegaconf.base", "Metadata.object_type", ()),
    ("omegaconf", "omegaconf._utils", "split_key", ("key",)),
    ("omegaconf", "omegaconf", "OmegaConf.update", ("cfg", "key", "value")),
    ("hydra-joblib-launcher", "hydra_plugins.hydra_joblib_launcher._core", "execute_job", ("idx", "overrides")),
    ("submitit", "submitit.core.core", "Executor.map_array", ("self", "fn", "iterable")),
]
#: Files that may hold such names.
FILES = ("runner/cli/hydra_private.py", "runner/settings/trust/omegaconf_private.py", "runner/cli/launching.py")


@pytest.mark.parametrize(("package", "module", "name", "arguments"), PRIVATE)
def test_a_private_name_is_where_it_was(package: str, module: str, name: str, arguments: tuple[str, ...]) -> None:
    release = metadata.version(package)
    place = f"{package} {release} has no {module}.{name} as {package} {RELEASES[package]} had; see {', '.join(FILES)}"
    thing: Any = pytest.importorskip(module) if package not in (HYDRA, "omegaconf") else importlib.import_module(module)
    holder, _, last = name.rpartition(".")
    if holder:
        thing = getattr(thing, holder)
        fields = getattr(thing, "__dataclass_fields__", {})
        assert hasattr(thing, last) or last in fields, place
        thing = getattr(thing, last, None)
    else:
        assert hasattr(thing, last), place
        thing = getattr(thing, last)
    if arguments:
        assert tuple(inspect.signature(inspect.unwrap(thing)).parameters)[: len(arguments)] == arguments, place


@pytest.mark.parametrize("package", [HYDRA, "omegaconf"])
def test_the_release_is_one_that_the_private_names_were_read_in(package: str) -> None:
    """pyproject.toml allows no later one: before its bound is raised, this file is gone through."""
    release = metadata.version(package)
    assert release.startswith(f"{RELEASES[package]}."), f"{package} {release} is not {RELEASES[package]}"
    bound = re.search(rf'"{package}>=[\d.]+,<([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert bound is not None
    major, minor = map(int, RELEASES[package].split("."))
    assert bound[1] == f"{major}.{minor + 1}"


def test_a_result_holds_what_a_job_returned() -> None:
    from runner.cli import hydra_private

    error = ValueError("x")
    assert hydra_private.answer(hydra_private.completed(3)) == 3
    assert hydra_private.answer(hydra_private.failed(error)) is error
    assert hydra_private.answer(None) is None


def test_private_names_stand_in_their_files_alone() -> None:
    """Neither modules nor methods with a leading underscore, of objects that are not our own."""
    names = {name.rpartition(".")[2] for _, _, name, _ in PRIVATE} - {"load_configuration", "load_sweep_config"}
    private = "|".join(sorted(name for name in names if name.startswith("_")))
    pattern = re.compile(rf"(hydra|omegaconf|antlr4)[\w.]*\._[a-z]|(?<!self)\.({private}|_get_node|_return_value)\b")
    files = [*(ROOT / "runner/cli").rglob("*.py"), *(ROOT / "runner/settings").rglob("*.py")]
    others = [
        path for path in [*files, *(ROOT / "hydra_plugins").glob("*.py")] if str(path.relative_to(ROOT)) not in FILES
    ]
    assert len(others) > 40
    assert {str(path) for path in others if pattern.search(path.read_text())} == set()
    assert all(pattern.search((ROOT / path).read_text()) for path in FILES)
