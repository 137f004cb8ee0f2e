"""What a command is told beside its settings."""

from dataclasses import dataclass, field


@dataclass
class Context:
    name: str  # the experiments file, or `runner`
    yaml: str = ""  # the resolved configuration
    overrides: list[str] = field(default_factory=list)  # as typed

    @property
    def title(self) -> str:
        """What tells this run from others: its overrides, or the study's name."""
        told = [word for word in self.overrides if not word.startswith("experiments=")]
        return ", ".join(told)[:250] or self.name
