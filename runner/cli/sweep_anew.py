"""A recorded sweep that is run anew: its jobs as they were frozen, with overrides on top, checked as new ones are."""

import dataclasses
from typing import TYPE_CHECKING

from runner.cli.compose import overriding
from runner.settings import Settings, made
from runner.settings.errors import ConfigError, Problems
from runner.sweeps import manifest
from runner.sweeps.manifest import Manifest

if TYPE_CHECKING:
    from runner.sweeps.recorded import Anew


def planned(uri: str, anew: "Anew") -> tuple[Manifest, Settings]:
    """Return the plan of a recorded sweep, of which no job has begun, and the settings of its first job.

    Raises ConfigError for an override that makes a job wrong, and for other code than was recorded.
    """
    from runner.sweeps import recorded
    from runner.training.checking import checks
    from runner.training.checking.known import Known

    plan, known = manifest.complete(recorded.plan_anew(uri, anew.run_id)), Known()
    keys = {word.partition("=")[0].lstrip("+") for word in anew.overrides}
    all_settings = []
    for job in plan.jobs:
        settings = made(job.config)
        if anew.overrides:
            settings = overriding.changed(anew.overrides, settings)
        settings.tracking.uri = uri
        problems = Problems()
        try:
            with problems.collect():
                checks.check(settings, known=known)
            problems.raise_all()
        except ConfigError as error:
            raise ConfigError("", f"job {job.number} ({job.name}): {error}; no job was begun") from error
        job.config = dataclasses.asdict(settings)
        job.words = [*(word for word in job.words if word.partition("=")[0].lstrip("+") not in keys), *anew.overrides]
        all_settings.append(settings)
    return plan, all_settings[0]
