"""What a command is told beside its settings."""

from dataclasses import dataclass, field


@dataclass
class Context:
    name: str  # the experiments file, or `runner`
    yaml: str = ""  # the resolved configuration
    overrides: list[str] = field(default_factory=list)  # as typed
