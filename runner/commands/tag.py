"""The command `tag`: set and remove tags of a recorded run."""

from runner.commands._result import Result
from runner.settings.errors import ConfigError, Problems
from runner.settings.trust import secrets, terminal

#: What removes a tag.
NOTHING = "null"
#: Characters that a store takes for a tag's text.
LONGEST = 5000


def with_run(uri: str, run: str, /, **values: str) -> Result:
    """Set tags of a run or a sweep, and print those that it has now; KEY=null removes one.

    They are found by `runner runs "tags.owner = 'ada'"`. Tags that the program or MLflow uses cannot be changed.
    """
    from runner.settings.values import tags
    from runner.tracking.read import recall

    if not values:
        raise ConfigError("", "tag needs a tag; expected KEY=VALUE, as in owner=ada, or KEY=null to remove one")
    _check(values)
    run_id, client = recall.find(uri, run), recall.existing(uri)
    recall.say_last(run, client.get_run(run_id))
    before = client.get_run(run_id).data.tags
    if missing := [name for name, value in values.items() if value == NOTHING and name not in before]:
        raise ConfigError(missing[0], f"run {run_id} has no such tag to remove; leave it out")
    for name, value in values.items():
        if value == NOTHING:
            client.delete_tag(run_id, name)
        else:
            client.set_tag(run_id, name, secrets.without({name: value})[name])
    after = secrets.without({k: v for k, v in client.get_run(run_id).data.tags.items() if not tags.is_reserved(k)})
    shown = [f"{terminal.line(name)}={value}" for name, value in sorted(after.items())] or ["no tags"]
    return Result({"id": run_id, "tags": after}, lambda: terminal.put(f"run {run_id}", *shown))


def _check(values: dict[str, str]) -> None:
    """Raise ConfigError for names that are the program's own or that no store takes, and for long texts."""
    from runner.settings.values import tags

    problems = Problems()
    for name, value in values.items():
        if tags.is_reserved(name):
            end = name.strip().lower().rpartition(".")[2] or "tag"
            problems.add(name, f"this tag is runner's or MLflow's own; expected a name of yours, such as my.{end}")
        elif tags.letters(name) != name:
            problems.add(name, "a tag's name has letters, digits and _-./: alone; expected one such as my.tag")
        elif len(value) > LONGEST:
            problems.add(name, f"its text has {len(value):,} characters; at most {LONGEST:,}")
    problems.raise_all()
