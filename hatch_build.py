"""Make the page of the package index of README.md: what is relative there leads nowhere on it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: Code, which stays as it is; or a picture or a link in Markdown, whose place is neither an address nor of the page.
PARTS = re.compile(r"```.*?^```|`[^`\n]+`|(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)", re.DOTALL | re.MULTILINE)


class CustomMetadataHook(MetadataHookInterface):
    """Sets `readme` in the metadata of every build."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` from README.md and `project.urls.Source`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = self._source(metadata.get("urls", {}), str(metadata.get("version", "")))
        metadata["readme"] = {"content-type": "text/markdown", "text": portable(text, source)}

    def _source(self, urls: Mapping[str, str], version: str) -> str:
        """Return the address that paths are added to, with `{}` for blob or raw; "" without a project URL."""
        released = re.fullmatch(r"\d+(\.\d+)+", version)
        url = urls.get("Source", "").rstrip("/")
        return f"{url}/{{}}/{f'v{version}' if released else 'HEAD'}/" if url else ""


def portable(text: str, source: str) -> str:
    """Return Markdown without relative links and pictures.

    source: `https://host/owner/name/{}/v1.0/`, to which paths are added, `{}` being `blob` for pages and `raw` for
    pictures. "": links become their text with the path, and pictures are left out.
    """

    def one(part: re.Match[str]) -> str:
        picture, label, path = part.groups()
        if path is None:
            return part[0]
        if source:
            return f"{picture}[{label}]({source.format('raw' if picture else 'blob')}{path})"
        if picture:
            return ""
        return label if path in label else f"{label} ({path})"

    return re.sub(r"\n{3,}", "\n\n", PARTS.sub(one, text))
