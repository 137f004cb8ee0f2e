"""A working directory with files that wrong configurations name."""

from pathlib import Path

import numpy as np


def furnish(folder: Path) -> None:
    """Tables, pictures with boxes, a file that is no store, an empty folder."""
    (folder / "wrong.db").write_text("this is no SQLite file, whatever its name")
    (folder / "folder").mkdir()
    (folder / "table.csv").write_text("size,price\n1,2.5\n2,3.5\n3,4.5\n")
    (folder / "twins.csv").write_text("a,a,b\n1,2,3\n4,5,6\n")
    (folder / "targets").mkdir()
    pictures, corners = np.ones((8, 1, 8, 8), "float32"), np.arange(8)[:, None] % 3
    np.savez(folder / "targets" / "boxes.npz", x=pictures, y=np.concatenate([corners, corners + 4.5], 1).repeat(2, 1))
    np.savez(folder / "targets" / "shares.npz", x=pictures, y=np.linspace(0.4, 0.1, 32).reshape(8, 4))
    np.savez(folder / "targets" / "points.npz", x=pictures, y=np.linspace(0.5, 6.5, 16).reshape(8, 2))
