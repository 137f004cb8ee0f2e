"""The context of a command: what it gets beside its settings."""

from dataclasses import dataclass, field

from runner.settings.files import filenames

#: Bytes of a run's name: the column of a database server has as many characters.
LONGEST = 250


@dataclass
class Context:
    """Where a run comes from: the study, the words that were typed, the YAML, tags, the job of a sweep."""

    name: str  # the experiments file, or `runner`
    yaml: str = ""  # the resolved configuration
    overrides: list[str] = field(default_factory=list)  # as typed
    tags: dict[str, str] = field(default_factory=dict)  # of the run, beside those about its environment
    job: str = ""  # of a sweep's job: what is varied

    @property
    def title(self) -> str:
        """The run's name: the varied values of a sweep's job, else the overrides, else the study."""
        if self.job:
            return filenames.bounded(self.job, LONGEST)
        words = [word for word in self.overrides if not word.startswith("experiments=")]
        return filenames.bounded(", ".join(words), LONGEST) or self.name
