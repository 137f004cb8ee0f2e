"""Secrets reach neither the store, nor artifacts, nor outputs, nor what is printed."""

from pathlib import Path

import pytest

from runner.settings.errors import ConfigError
from runner.settings.files import uris
from runner.settings.trust import secrets
from tests.support.command import fresh, runner

PLANTED = ("hunter2hunter2", "tok3ntok3ntok3n", "s3cr3ts3cr3t", "passw0rdpassw0rd", "apik3yapik3y")
ENVIRONMENT = {"MLFLOW_TRACKING_TOKEN": PLANTED[1], "DATABASE_PASSWORD": PLANTED[3], "WANDB_API_KEY": PLANTED[4]}
FAILS = """
from torch import nn

class Fails(nn.Module):
    calls = 0

    def forward(self, x):
        Fails.calls += not x.is_meta
        if Fails.calls > 3:
            raise RuntimeError("cannot reach http://me:hunter2hunter2@host/ with tok3ntok3ntok3n")
        return x
"""


def leaks(folder: Path) -> list[str]:
    """Files that hold a secret, those left out that hold it from the beginning."""
    files = [f for f in folder.rglob("*") if f.is_file() and "experiments" not in f.parts]
    assert files
    return [f"{f}: {s}" for f in files for s in PLANTED if s.encode() in f.read_bytes()]


WORDS = (
    "trainer.epochs=2",
    "plots=[]",
    f"+tracking.tags.password={PLANTED[2]}",
    f"+tracking.tags.note={PLANTED[3]}",
    f"+tracking.tags.mirror=http://me:{PLANTED[0]}@host/x",
)


@pytest.mark.parametrize("first", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
def test_a_run_and_a_sweep_keep_no_secret(first: list[str], workplace: Path) -> None:
    runner(*first, *WORDS, cwd=workplace, env=ENVIRONMENT)
    assert leaks(workplace) == []


def test_a_sweep_over_a_secret_keeps_none(workplace: Path) -> None:
    words = (f"+tracking.tags.password={PLANTED[2]},{PLANTED[0]}", f"+tracking.tags.note={PLANTED[3]},x")
    done = runner("-m", "trainer.epochs=1", "plots=[]", *words, cwd=workplace, env=ENVIRONMENT)
    assert [secret for secret in PLANTED if secret in done.out + done.err] == []
    assert leaks(workplace) == []
    [manifest] = workplace.glob("mlruns/*/*/artifacts/manifest.json")
    assert "tracking.tags.password=***" in manifest.read_text()


def test_a_failure_keeps_no_secret(workplace: Path) -> None:
    (workplace / "experiments").mkdir()
    (workplace / "experiments/bad.py").write_text(FAILS)
    words = ("model.layers=[{Linear:1},experiments.bad.Fails]", "data.valid=0", *WORDS[1:])
    done = fresh(*words, cwd=workplace, env=ENVIRONMENT, code=1)
    assert "RuntimeError: cannot reach http://***@host/ with ***" in done.err
    assert leaks(workplace) == []


def test_a_message_keeps_no_secret(workplace: Path) -> None:
    words = (f"tracking.uri='ftp://me:{PLANTED[0]}@host/x?password={PLANTED[2]}'", "optimizer.lr=-1")
    done = runner(*words, cwd=workplace, env=ENVIRONMENT, code=2)
    assert "tracking.uri: 'ftp://***@host/x?password=***' begins with 'ftp'" in done.err
    assert leaks(workplace) == []


@pytest.mark.parametrize(
    "uri", ["ftp://me:hunter2 hunter2@host/x", "hunter2:hunter2@host", "postgresql+pg8000://me:hun@ter/2@host/x"]
)
def test_a_tracking_uri_shows_nothing_before_its_host(uri: str) -> None:
    with pytest.raises(ConfigError) as error:
        uris.check(uri)
    assert "***@host" in str(error.value)
    assert "hun" not in str(error.value)
    assert "hun" not in str(secrets.without({"uri": uri})) or "://" not in uri


def test_a_leak_would_be_found(workplace: Path) -> None:
    runner("trainer.epochs=2", "plots=[]", f"+tracking.tags.note={PLANTED[0]}", cwd=workplace)
    assert leaks(workplace), "a value that nothing calls a secret is kept"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pw@host/db", "postgresql://***@host/db"),
        ("https://token@host", "https://***@host"),
        ("postgresql://me:p@ss/w0rd@host/db", "postgresql://***@host/db"),
        ("'http://me:pa#ss?x@host/x', http://a:b@c", "'http://***@host/x', http://***@c"),
        ("http://host:8080/a@b and mail me@home.org", "http://host:8080/a@b and mail me@home.org"),
        ("a=1&access_token=abc", "a=1&access_token=***"),
        ("{'password': 'abc', 'lr': 0.1}", "{'password': '***', 'lr': 0.1}"),
        ("-m a.password=abc,def seed=1,2", "-m a.password=*** seed=1,2"),
        ('{"password":"abc","lr":0.1}', '{"password":"***","lr":0.1}'),
        ("f(password=abc,lr=0.1)", "f(password=***,lr=0.1)"),
        ("model.layers.emb.num_tokens=100", "model.layers.emb.num_tokens=100"),
        ("author=me@home.org http://host/a@b", "author=me@home.org http://host/a@b"),
    ],
)
def test_what_is_masked(text: str, shown: str) -> None:
    assert secrets.masked(text) == shown
