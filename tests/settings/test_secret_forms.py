"""What counts as a secret by its key or its form, wherever it is written or printed, and what only sounds like one."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.exceptions import MlflowException

from runner.cli.compose import configuration
from runner.commands import resume, runs
from runner.commands._result import finished
from runner.model import classes
from runner.settings import Checkpoint, Settings, Sweep, Tracking, Trainer
from runner.settings.context import Context
from runner.settings.errors import ConfigError
from runner.settings.trust import permission, secrets
from runner.settings.values import lookup
from runner.sweeps.manifest import Job, Manifest, complete, read
from runner.tracking import environment, recording
from runner.tracking.read import drift, recall
from runner.tracking.store import stores
from runner.training.events import Step
from runner.training.parts import losses, optimizers, scheduling, source
from runner.training.parts.metrics import METRIC
from tests.support import command, composing
from tests.support.stranger import Stranger

KEYS = [
    *("password", "dbpassword", "authtoken", "pwd", "PGPASSWORD", "MYSQL_PWD", "passphrase", "credential"),
    *("credentials", "AWS_SECRET_ACCESS_KEY", "passwd", "api_key", "apikey", "apiKey", "x-api-key"),
    *("X-Auth-Token", "accessToken", "access_token", "refresh_token", "clientSecret", "client_secret"),
    *("secret", "private_key", "ssh_key", "signing-key", "account_key", "AccountKey", "SharedAccessKey"),
    *("encryption_key", "secretKey", "secret_key", "token", "token2", "DB_PASS", "smtp_pass", "pass"),
    *("userpass", "GITHUB_PAT", "jwt", "session.cookie", "authorization", "a.b.password", "password_1"),
    *("HF_TOKEN", "passwords", "REDIS_PASSWORD", "rootPassword", "my-pwd", "service_account_key"),
]  # fmt: skip
NO_KEYS = [
    *("monkey", "keyboard", "key", "keys", "turkey", "tokens", "num_tokens", "max_tokens", "tokenizer"),
    *("token_count", "tokenize", "pad_token", "eos_token", "bos_token", "unk_token", "mask_token"),
    *("sep_token", "sort_key", "primary_key", "foreign_key", "group_key", "compass", "bypass", "passes"),
    *("forward_pass", "lowpass", "secretary", "password_file", "token_id", "cwd", "path", "spat", "pattern"),
    *("format", "encompass", "author", "authors", "authority", "signature", "dispatch", "passenger"),
    *("passive_learning", "credential_file", "compat", "repeat"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has learned, the next does not know."""
    monkeypatch.setattr(secrets, "_known", set())


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_names_a_secret_hides_its_value(key: str) -> None:
    value = "hunter2 hunter3"
    assert secrets.is_secret(key)
    assert secrets.without({key: value, "b": [{key: value}], "c": {key: [value, {"d": value}]}}) == {
        key: "***",
        "b": [{key: "***"}],
        "c": {key: ["***", {"d": "***"}]},
    }
    for word in (f"{key}={value}", f"+x.{key}={value}", f"x.{key}='{value}'", f"{key}=[{value},x]"):
        assert "hunter" not in secrets.word(word)
    for text in (
        f"x {key}=hunter2",
        f"a: 1\n{key}: hunter2\n",
        f'{{"{key}": "{value}", "b": 1}}',
        f"'{key}={value}'",
        f"a=1;{key}={value};c=3",
        f"{key}: '{value}'",
        f"?x=1&{key}=hunter2",
        f"{key}:\n- hunter2\n- hunter3\n",
        f"  {key}:\n    user: hunter2\n  b: 1\n",
    ):
        shown = secrets.masked(text)
        assert "hunter" not in shown, shown
        assert "***" in shown


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_only_sounds_like_one_hides_nothing(key: str) -> None:
    assert not secrets.is_secret(key)
    assert secrets.without({key: "hunter2", "b": {key: 512}}) == {key: "hunter2", "b": {key: 512}}
    for text in (f"{key}=hunter2", f"{key}: 512", f"x --{key}=hunter2 {key}: hunter2", f"{key}:\n- a\n- b\n"):
        assert secrets.masked(text) == text
        assert secrets.word(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Server=db;User=me;Password=my word;Port=1", "Server=db;User=me;Password=***;Port=1"),
        ("Server=db;Pwd=my word", "Server=db;Pwd=***"),
        ("Endpoint=sb://x/;SharedAccessKey=ab+c/=;x", "Endpoint=sb://x/;SharedAccessKey=***;x"),
        ("AccountName=a;AccountKey=abc==;EndpointSuffix=x", "AccountName=a;AccountKey=***;EndpointSuffix=x"),
        ("https://x.blob/y?sv=1&sig=ab%2Fc%3D&se=2", "https://x.blob/y?sv=1&sig=***&se=2"),
        ("s3://b/k?X-Amz-Signature=abc&X-Amz-Credential=AKIA", "s3://b/k?X-Amz-Signature=***&X-Amz-Credential=***"),
        ("https://maps/api?key=AIza123", "https://maps/api?key=***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("curl -H 'Authorization: Basic dXNlcjpwdw==' x", "curl -H 'Authorization: ***' x"),
        ('{"Authorization": "token abcdef"}', '{"Authorization": "***"}'),
        ("got Bearer eyJhbGc1.e30.abc from x", "got Bearer *** from x"),
        ("postgresql://me:hun/ter2@host/db", "postgresql://***@host/db"),
        ("tokens: 512", "tokens: 512"),
        ("max_token: 512", "max_token: 512"),
        ("the bearer of the ring", "the bearer of the ring"),
        ("password: null", "password: null"),
        ("password=", "password="),
        ("http://host/?signal=1&monkey=2", "http://host/?signal=1&monkey=2"),
    ],
)
def test_a_secret_is_known_by_its_form(text: str, shown: str) -> None:
    assert secrets.masked(text) == shown
    assert secrets.masked(shown) == shown, "and what is masked stays as it is"


def test_no_argument_of_a_layer_a_loss_or_a_metric_is_a_secret() -> None:
    kinds = (classes.LAYER, losses.LOSS, optimizers.OPTIMIZER, scheduling.SCHEDULER, source.DATA, METRIC)
    found = {p for kind in kinds for name in lookup.known(kind) for p in lookup.parameters(lookup.find(name, kind, ""))}
    found |= {
        field.name for part in (Settings, Trainer, Checkpoint, Tracking, Sweep) for field in dataclasses.fields(part)
    }
    assert len(found) > 300
    assert sorted(filter(secrets.is_secret, found)) == []


def test_a_password_in_digits_is_one_and_a_count_of_tokens_is_none() -> None:
    values: dict[str, Any] = {"password": 12345678, "pwd": 1.5, "token": 512, "secret": True, "passphrase": None}
    assert secrets.without(values) == {**values, "password": "***", "pwd": "***"}


def test_a_pair_of_name_and_value_is_a_key_too() -> None:
    assert secrets.without([{"name": "DB_PASSWORD", "value": "x"}]) == [{"name": "DB_PASSWORD", "value": "***"}]
    assert secrets.without([{"name": "MSELoss", "value": "x"}]) == [{"name": "MSELoss", "value": "x"}]


def test_variables_that_are_called_secret_are_looked_for_and_the_working_directory_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PGPASSWORD", "MYSQL_PWD", "MYAUTHTOKEN", "DB_PASSPHRASE", "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, f"/value/of/{name}")
    text = " ".join(f"/value/of/{name}" for name in ("PGPASSWORD", "MYSQL_PWD", "MYAUTHTOKEN", "DB_PASSPHRASE"))
    assert secrets.masked(text) == "*** *** *** ***"
    for name in ("PWD", "OLDPWD", "TOKENIZERS_PARALLELISM"):
        assert secrets.masked(f"in /value/of/{name}/x") == f"in /value/of/{name}/x"


def test_a_value_that_was_seen_under_a_secret_key_is_masked_everywhere() -> None:
    error = RuntimeError("cannot log in with hunter2hunter2")
    assert "hunter2" in secrets.masked(str(error)), "negative control"
    secrets.learn({"data": {"dbpassword": "hunter2hunter2", "auth": [{"pwd": "abc"}], "name": "table"}})
    assert secrets.masked(str(error)) == "cannot log in with ***"
    assert secrets.masked("abc table") == "abc table", "what is short, or under another key, is not looked for"


def test_what_one_command_hides_is_a_plain_word_in_the_next() -> None:
    secrets.learn({"password": "hunter2hunter2"})
    with secrets.forgetting():
        secrets.learn({"model": {"layers": {"token": "Flatten"}}})
        assert secrets.masked("Flatten hunter2hunter2") == "*** ***", "negative control"
    assert secrets.masked("Flatten hunter2hunter2") == "Flatten ***"


def test_a_composed_configuration_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with composing.hydra():
        words = ["+tracking.tags.dbpassword=hunter2hunter2", "+tracking.tags.note='x hunter2hunter2'", "plots=[]"]
        config = composing.config(words)
        context = configuration.context(config, "x", words)
        configuration.settings(config, words)
        again = configuration.context(config, "x", words)
    assert "dbpassword: '***'" in context.yaml
    assert "hunter2" not in context.overrides[0]
    assert "hunter2" not in again.yaml + again.title + str(again.overrides)


def test_names_of_runs_and_experiments_keep_no_secret(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2hunter2")
    names = ("of hunter2hunter2, password=hunter3", "run http://me:hunter4@host pwd=hunter5")
    with recording.recording(store, *names, {}, {}, {}) as tracker:
        tracker.record(Step(1, torch.tensor(0.5)))
    for experiment in (names[0], "of ***, password=***"):
        [row] = stores.rows(store, experiment)
        assert (row.experiment, row.name) == ("of ***, password=***", "run http://***@host pwd=***")
    with recording.recording(store, *names, {}, {}, {}) as tracker:
        pass
    assert len(stores.rows(store, names[0])) == 2, "the same experiment"
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert [f for f in folder.rglob("*") if "hunter" in f.name or (f.is_file() and b"hunter" in f.read_bytes())] == []


def test_commands_to_paste_and_notes_of_changes_keep_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data.dbpassword=hun ter2", "+data.auth={pwd:hunter3,user:me}", "seed=1"]
    monkeypatch.setattr(permission, "_words", list(words))
    told = environment.tags(words, torch.device("cpu"))
    assert "hunter" not in str(told).replace("hun ter2", "hunter2")
    assert "data.dbpassword=***" in told["runner.command"]
    job = Job(0, words, {}, {})
    assert "hun" not in job.command
    assert "hun ter" not in str(resume._drifted({"tracking.tags.pwd": ("hun ter2", "hun ter3")}, 1, {}))
    with pytest.raises(ConfigError) as error:
        drift.changes(Settings(data={"pwd": "hun ter2"}), Settings(data={"pwd": "hun ter3"}))
    assert "hun ter" not in str(error.value)


def test_a_manifest_takes_its_secrets_from_the_command_again() -> None:
    config = {"data": {"credentials": {"user": "me", "list": ["a", "b"]}, "pwd": 12345678, "name": "x"}}
    job = Job(0, ["data.pwd=12345678", "data.name=x"], {}, config)
    plan = Manifest("x", [], "valid/loss", "min", [job])
    text = plan.text()
    assert "12345678" not in text
    assert '"me"' not in text
    left = read(text)
    assert left.jobs[0].config["data"]["credentials"] == {"user": "***", "list": ["***", "***"]}
    with pytest.raises(ConfigError, match=r"data\.credentials\.user is a secret and in no record"):
        complete(read(text))
    assert complete(left, plan).jobs[0].config == config


def test_what_hydra_prints_of_a_configuration_keeps_no_secret(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/x.yaml").write_text(
        "tracking:\n  tags: {dbpassword: hunter2hunter2, note: 'x hunter2hunter2', url: 'http://me:hunter3@h/?sig=hunter4'}\n"
        "  run_name: pwd=hunter5\ndata: {passwords: [hunter6, hunter7], credentials: {user: hunter8}}\n"
    )
    done = command.runner("experiments=x", "--cfg", "job", "--resolve", cwd=workplace)
    assert "dbpassword: ***" in done.out
    assert "epochs: 300" in done.out
    left = done.out.replace("note: x hunter2hunter2", "")  # nothing has said yet that this is a secret
    assert "hunter" not in left, left


def test_commands_on_a_server_show_no_password_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Stranger()
    uri = server.uri.replace("://", "://me:hunter2hunter2@")
    settings, context = Settings(tracking=Tracking(uri=uri)), Context("runner", overrides=[f"tracking.uri={uri}"])
    for name in ("ui", "sync"):
        finished(importlib.import_module(f"runner.commands.{name}").with_settings(settings, context)).text()
    runs.with_words(uri).text()
    server.close()
    errors = []
    for act in (
        lambda: stores.rows(uri),
        lambda: stores.open_store(uri.replace("://", ":/")),
        lambda: recall.find(uri, "a"),
    ):
        with pytest.raises((ConfigError, MlflowException)) as error:
            act()
        errors += [str(error.value)] if isinstance(error.value, ConfigError) else []
    out = capsys.readouterr().out
    assert "http://***@127.0.0.1" in out
    assert "hunter2" not in out + str(errors)


def test_the_default_store_is_shown_as_it_is() -> None:
    assert secrets.masked_uri(Tracking().uri) == secrets.masked(Tracking().uri) == Tracking().uri


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("curl -s -u joe:hunter2 http://x", "curl -s -u joe:*** http://x"),
        ("psql --password hunter2 -h x", "psql --password *** -h x"),
        ("of ghp_abcdefghijklmnopqrst0123 and AKIAIOSFODNN7EXAMPLE", "of *** and ***"),
        ("{creds: hunter2, my_pw: hunter3}", "{creds: ***, my_pw: ***}"),
        ("SSHPASS=hunter2 REDISCLI_AUTH=hunter3", "SSHPASS=*** REDISCLI_AUTH=***"),
        (
            "pass_word=a1 PASSWORT=a2 session_id=a3 pin-code=a4",
            "pass_word=*** PASSWORT=*** session_id=*** pin-code=***",
        ),
    ],
)
def test_what_other_programs_call_a_secret_is_masked(text: str, wanted: str) -> None:
    assert secrets.masked(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["sacred: a1", "python -u train.py:main", "compass=3", "power=3", "pin_memory=true", "sk-learn-is-a-library"],
)
def test_what_only_sounds_like_one_is_not(text: str) -> None:
    assert secrets.masked(text) == text


def test_a_secret_is_masked_wherever_it_stands_in_what_hydra_prints(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    study = "tracking: {run_name: run-hunter2hunter2, tags: {password: hunter2hunter2, note: is hunter2hunter2}}\n"
    (workplace / "experiments/q.yaml").write_text(study)
    done = command.runner("experiments=q", "--cfg", "job", cwd=workplace)
    assert "run_name: run-***" in done.out
    assert "hunter2" not in done.out + done.err
