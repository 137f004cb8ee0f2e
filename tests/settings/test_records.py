"""A record is trusted as little as a file: the same text gives the same settings and refusals in both places."""

import contextlib
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.cli.compose import configuration
from runner.settings import Settings
from runner.settings.errors import ConfigError
from runner.settings.trust import limits, omegaconf_private, record_reading, recorded_settings, resolvers
from tests.support import composing

STUDIES = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("*.yaml"))
SECRET = "c4n4ryc4n4ry"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory in which files are composed as the command line does it."""
    found = tmp_path_factory.mktemp("records")
    (found / "experiments").mkdir()
    with contextlib.chdir(found), composing.hydra():
        yield found


def recorded(*words: str) -> tuple[Settings, str]:
    """Settings, and the config.yaml that a run of them keeps."""
    config = composing.config(list(words))
    settings = configuration.settings(config, list(words))
    return settings, configuration.context(config, "x", list(words)).yaml


@pytest.mark.parametrize("study", STUDIES)
def test_a_recorded_study_is_the_same_as_a_file(study: str, folder: Path) -> None:
    settings, text = recorded(f"experiments={study}")
    (folder / "experiments/copy.yaml").write_text(text)
    assert recorded_settings.read(text, "config.yaml") == settings == composing.settings("experiments=copy")
    again = OmegaConf.to_object(recorded_settings.changeable(settings))
    assert again == settings, "and an override changes nothing else"


#: What is wrong with a text, and the key that is named; None: the place in the text.
WRONG: dict[str, tuple[str, str | None]] = {
    "an unknown key": ("trainer: {epoch: 3}", "trainer.epoch"),
    "an unknown part": ("treiner: {epochs: 3}", "treiner"),
    "a word for a number": ("trainer: {epochs: many}", "trainer.epochs"),
    "a number with a fraction": ("trainer: {epochs: 2.5}", "trainer.epochs"),
    "nothing for a number": ("seed: null", "seed"),
    "a list for a mapping": ("trainer: [1]", "trainer"),
    "nothing for a mapping": ("trainer: null", "trainer"),
    "a mapping for a word": ("device: {a: 1}", "device"),
    "a word for a list": ("plots: loss_curve", "plots"),
    "a tag that is a list": ("tracking: {tags: {a: [1]}}", "tracking.tags.a"),
    "no value": ("data:\n  shift: ???", "data.shift"),
    "a variable": ("tracking: {tags: {a: '${oc.env:CANARY_SECRET}'}}", "tracking.tags.a"),
    "a variable inside": ("tracking: {tags: {a: 'x${oc.env:CANARY_SECRET,y}'}}", "tracking.tags.a"),
    "a variable by a reference": (
        "tracking: {run_name: CANARY_SECRET, tags: {a: '${oc.env:${tracking.run_name}}'}}",
        "tracking.tags.a",
    ),
    "a variable that is decoded": (
        "tracking: {tags: {a: '${oc.decode:\"${oc.env:CANARY_SECRET}\"}'}}",
        "tracking.tags.a",
    ),
    "a variable in data": ("data: {points: '${oc.env:CANARY_SECRET}'}", "data.points"),
    "another resolver": ("tracking: {tags: {a: '${touch:x}'}}", "tracking.tags.a"),
    "a key that there is not": ("tracking: {tags: {a: '${nothing.here}'}}", "tracking.tags.a"),
    "a reference to itself": ("tracking: {run_name: '${tracking.run_name}'}", "tracking.run_name"),
    "brackets without end": ("seed: [1", None),
    "a key twice": ("seed: 1\nseed: 2", None),
    "a second document": ("seed: 1\n---\nseed: 2", None),
    "an object": ("seed: !!python/object/apply:os.mkdir [CANARY]", None),
    "bytes": ("seed: !!binary aGVsbG8=", None),
    "no keys": ("- seed", None),
    "a number alone": ("3", None),
    "lists in lists": ("data: " + "[" * 61 + "]" * 61, None),
    "a bomb": ("data:\n a0: &a0 [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f" a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 7)), None),
    "an alias inside of itself": ("data: &a {b: *a}", None),
    "too many values": (f"data: [{','.join('1' * 100_001)}]", None),
    "too many bytes": ("data: {a: '" + "x" * limits.BYTES + "'}", None),
}  # fmt: skip


def refused(text: str) -> tuple[str, str]:
    """What is said of a text as the file of a study, and as the record of a run."""
    Path("experiments/wrong.yaml").write_text(text)
    message = composing.problem("experiments=wrong")
    with pytest.raises(ConfigError) as error:
        recorded_settings.read(text, "config.yaml")
    return message, str(error.value)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_in_a_file_is_refused_in_a_record(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_SECRET", SECRET)
    text, key = WRONG[name]
    in_file, in_record = refused(text)
    assert SECRET not in in_file + in_record
    assert len(in_record) < 400
    if key is None:
        assert in_file.replace("experiments/wrong.yaml", "config.yaml") == in_record
    else:
        assert in_file.startswith(f"{key}: ")
        assert in_record.startswith(f"{key}: ")


@pytest.mark.parametrize("text", ["", "null", "# nothing"])
def test_a_record_without_a_configuration_is_damaged(text: str) -> None:
    with pytest.raises(ConfigError, match="holds no configuration"):
        recorded_settings.read(text, "config.yaml")


def test_what_a_file_may_read_a_record_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "trainer: {epochs: 3}\ntracking: {run_name: '${oc.env:USER}', tags: {a: 'x ${trainer.epochs} ${oc.env:MINE}'}}"
    )
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("MINE", "y")
    monkeypatch.setenv("RUNNER_ENV", "MINE")
    (folder / "experiments/right.yaml").write_text(text)
    for found in (composing.settings("experiments=right"), recorded_settings.read(text, "config.yaml")):
        assert (found.tracking.run_name, found.tracking.tags) == ("somebody", {"a": "x 3 y"})


def test_without_the_list_a_record_would_read_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_SECRET", SECRET)
    monkeypatch.setattr(resolvers, "restrict", lambda: lambda: None)
    before = omegaconf_private.resolvers()
    OmegaConf.register_new_resolver("oc.env", lambda name: os.environ[name], replace=True)
    try:
        found = recorded_settings.read(WRONG["a variable"][0], "config.yaml")
        assert found.tracking.tags == {"a": SECRET}
    finally:
        omegaconf_private.set_resolvers(before)


def test_the_resolvers_of_another_program_are_its_own_again(monkeypatch: pytest.MonkeyPatch) -> None:
    OmegaConf.register_new_resolver("mine", lambda: "mine", replace=True)
    try:
        with pytest.raises(ConfigError, match="mine"):
            recorded_settings.read("tracking: {tags: {a: '${mine:}'}}", "config.yaml")
        assert OmegaConf.create({"a": "${mine:}"}).a == "mine"
    finally:
        OmegaConf.clear_resolver("mine")


#: Words that are something else to one of YAML's readers, or to OmegaConf.
WORDS = [
    *("${seed}", "${oc.env:CANARY_SECRET}", "\\${seed}", "\\\\${seed}", "a\\\\\\${b}c${d}", "$${x}", "${", "$}{", "\\"),
    *("1e5", "+1e5", "1E-5", ".5", "1.", "1_0", "0x1f", "1:30", "1:30.5", ".inf", "-.INF", ".nan", "1_0.5e3", "0o7"),
    *("yes", "on", "NO", "true", "null", "~", "", " ", "2020-01-01", "2020-01-01 10:00:00", "=", "<<", "???", "!x"),
    *(
        "a: b",
        "a #b",
        "- a",
        "[a",
        "{a",
        "*a",
        "&a",
        "'a'",
        '"a"',
        "a\nb\n",
        "a\tb",
        "ünï ☃",
        "\u2028",
        "x" * 300,
        "%a",
    ),
]


def test_every_value_reads_back_as_it_was() -> None:
    rng = random.Random(0)
    alphabet = "${}\\:'\"#-.e15 \n\tä,[]&*!?~"
    words = [*WORDS, *("".join(rng.choices(alphabet, k=rng.randint(1, 12))) for _ in range(400))]
    numbers = [0.1, 1e-300, 1e300, 1e5, 1e16, -0.0, 5e-324, math.inf, 3, -(10**30), True, None]
    data = {f"a{i}": word for i, word in enumerate(words) if word != "???"}
    data |= {f"b{i}": number for i, number in enumerate(numbers)} | {"c": [[1e5, "1e5"], {"d": "${x}"}]}
    config = OmegaConf.to_container(recorded_settings.schema())
    assert isinstance(config, dict)
    config["data"] = data
    config["model"] = {"layers": [{"Linear": "${x}"}], "knobs": {}}
    found = recorded_settings.read(recorded_settings.write(config), "config.yaml")
    assert found.data == data
    assert found.model.layers == [{"Linear": "${x}"}]


def test_a_record_is_read_as_a_file_is() -> None:
    rng = random.Random(1)
    words = [word for word in WORDS if "\n" not in word] + ["".join(rng.choices("+-.eE_10:", k=6)) for _ in range(2000)]
    for word in words:
        text = f"data: {{a: {word}}}" if rng.random() < 0.5 else f"data:\n  a: {word}"
        with contextlib.suppress(ConfigError, yaml.YAMLError, OmegaConfBaseException):
            limits.check_text(text, "x")
            found = yaml.load(text, Loader=recorded_settings._loader())
            assert repr(found) == repr(OmegaConf.to_container(OmegaConf.create(text))), word


def test_a_text_is_no_reference_when_an_override_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.cli.invoke import _changed

    monkeypatch.setenv("CANARY_SECRET", SECRET)
    settings = recorded_settings.read("tracking: {tags: {a: '\\${oc.env:CANARY_SECRET}'}}", "config.yaml")
    assert settings.tracking.tags == {"a": "${oc.env:CANARY_SECRET}"}
    changed = _changed(["trainer.epochs=7"], settings)
    assert (changed.trainer.epochs, changed.tracking.tags) == (7, {"a": "${oc.env:CANARY_SECRET}"})
    with pytest.raises(Exception, match="a variable that a configuration may not read"):
        _changed(["tracking.run_name=${oc.env:CANARY_SECRET}"], settings)


def test_many_weights_fit_into_the_limit_of_a_file_again() -> None:
    config: Any = OmegaConf.to_container(recorded_settings.schema())
    config["model"] = {"layers": [{"Linear": {"weight": [[0.123456789] * 500] * 100}}], "knobs": {}}
    text = recorded_settings.write(config)
    assert len(text) < limits.BYTES
    assert recorded_settings.read(text, "config.yaml").model.layers == config["model"]["layers"]


def test_a_record_is_read_without_the_folder_of_presets() -> None:
    assert recorded_settings.read("seed: 3", "config.yaml") == Settings(seed=3)


def test_a_name_may_not_steer_the_terminal() -> None:
    assert record_reading.line("a\x1b[2Jb\nc\u202e") == "a [2Jb c"
