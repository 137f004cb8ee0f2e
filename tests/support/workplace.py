"""A working directory with files that wrong configurations name."""

from pathlib import Path


def furnish(folder: Path) -> None:
    """Tables, a file that is no store, an empty folder."""
    (folder / "wrong.db").write_text("this is no SQLite file, whatever its name")
    (folder / "folder").mkdir()
    (folder / "table.csv").write_text("size,price\n1,2.5\n2,3.5\n3,4.5\n")
    (folder / "twins.csv").write_text("a,a,b\n1,2,3\n4,5,6\n")
