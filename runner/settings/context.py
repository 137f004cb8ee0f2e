"""What a command is told beside its settings."""

from dataclasses import dataclass, field

from runner.settings.files import filenames

#: Bytes of a run's name: the column of a database server has as many characters.
LONGEST = 250


@dataclass
class Context:
    name: str  # the experiments file, or `runner`
    yaml: str = ""  # the resolved configuration
    overrides: list[str] = field(default_factory=list)  # as typed
    tags: dict[str, str] = field(default_factory=dict)  # of the run, beside those that tell what it was made with
    job: str = ""  # of a sweep's job: what is varied

    @property
    def title(self) -> str:
        """What tells this run from others: what a sweep varies, its overrides, or the study's name."""
        if self.job:
            return filenames.bounded(self.job, LONGEST)
        told = [word for word in self.overrides if not word.startswith("experiments=")]
        return filenames.bounded(", ".join(told), LONGEST) or self.name
