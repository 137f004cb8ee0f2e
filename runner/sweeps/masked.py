"""Words and configurations of jobs without their secrets; what jobs have in common is masked and written once."""

from typing import Any

from runner.settings.trust import limits, recorded_settings, secrets


class Masked:
    """Texts of a sweep's jobs by what they are of. To be let go of before other secrets may have become known."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._parts: dict[tuple[str, str], Any] = {}
        self._texts: dict[tuple[str, str], str] = {}

    def word(self, word: str) -> str:
        """Return what `secrets.word` returns."""
        if word not in self._words:
            self._words[word] = secrets.word(word)
        return self._words[word]

    def varied(self, values: dict[str, str]) -> dict[str, str]:
        """Return values by their keys, without secrets."""
        return {key: self._masked(key, value) for key, value in values.items()}

    def config(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return what `secrets.without` returns, with parts that are those of equal configurations."""
        if "value" in config:  # whose name may be that of a secret
            return secrets.without(config)  # type: ignore[no-any-return]
        return {key: self._masked(key, part) for key, part in config.items()}

    def yaml(self, config: dict[str, Any]) -> str:
        """Return the text of a configuration without secrets, as `recorded_settings.write` writes it."""
        masked = self.config(config)
        text = "".join(self._text(key, part) for key, part in masked.items())
        return text if masked and len(text) <= limits.BYTES else recorded_settings.write(masked)

    def _masked(self, key: str, part: Any) -> Any:
        whole = key, repr(part)
        if whole not in self._parts:
            self._parts[whole] = secrets.without({key: part})[key]
        return self._parts[whole]

    def _text(self, key: str, part: Any) -> str:
        whole = key, repr(part)
        if whole not in self._texts:
            self._texts[whole] = recorded_settings.write({key: part})
        return self._texts[whole]
