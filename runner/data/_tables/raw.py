"""A file before it is read as a table: whether it is of another format, packed, no text, or not whole."""

import csv
import re
from pathlib import Path
from typing import Any

from runner.settings.errors import ConfigError

#: The first bytes of packed files, and the program that unpacks them; likewise by their endings.
PACKED = {
    b"\x1f\x8b": "gunzip",
    b"PK\x03\x04": "unzip",
    b"\xfd7zXZ": "unxz",
    b"BZh": "bunzip2",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
PACKED_ENDINGS = {".gz": "gunzip", ".zip": "unzip", ".xz": "unxz", ".bz2": "bunzip2", ".zst": "unzstd"}
#: Other tables, and pandas' name for what reads them.
OTHERS = {
    ".xlsx": "read_excel",
    ".xls": "read_excel",
    ".ods": "read_excel",
    ".feather": "read_feather",
    ".orc": "read_orc",
    ".dta": "read_stata",
    ".sav": "read_spss",
    ".json": "read_json",
}
#: Endings of text, and of Parquet, that have another one here.
TEXT, PARQUET = {".tsv", ".tab", ".txt", ".dat", ".data"}, {".pq", ".parq"}
#: The first bytes of text of several bytes a character, and its encoding. One of UTF-32 begins as one of UTF-16.
MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
#: Bytes that are read at once, and what ends a line.
PIECE, LINE = 2**20, re.compile(r"\r\n|\r|\n")


def refuse_ending(path: Path, key: str) -> None:
    """Raise ConfigError for a file that does not end in .csv or .parquet, with what makes such a file of it."""
    ending = path.suffix.lower()
    if ending in (".csv", ".parquet"):
        return
    if ending in PACKED_ENDINGS:
        raise _packed(path, key, PACKED_ENDINGS[ending])
    remedy = ""
    if ending in OTHERS:
        remedy = f"; pandas: {_rewritten(path, OTHERS[ending])}"
    elif ending in TEXT | PARQUET:
        remedy = "; rename it"
    raise ConfigError(
        key,
        f"{str(path)!r} ends in {path.suffix!r}; expected .csv or .parquet (commas, semicolons or tabs between"
        f" the values of a .csv file are all understood){remedy}",
    )


def lines_of(path: Path, key: str) -> int:
    """Return the number of a CSV file's lines. Raises ConfigError for what is no text: packed, or with bytes of 0."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        _refuse_start(path, key, file.read(64))
        file.seek(0)
        while piece := file.read(PIECE):
            place = piece.find(b"\0")
            if place >= 0:
                raise _with_nul(path, key, piece, lines + 1 + piece.count(b"\n", 0, place))
            lines, last = lines + piece.count(b"\n"), piece[-1:]
    return lines + (last != b"\n")


def no_text(path: Path, key: str) -> ConfigError:
    """Return the error for a file that is not UTF-8: where it is not, and what writes it anew."""
    text = path.read_bytes()
    encoding = next((name for mark, name in MARKS.items() if text.startswith(mark)), "")
    place = ""
    if not encoding:
        encoding = "cp1252" if _decodes(text, "cp1252") else "latin-1"
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            place = f" (line {line} holds the byte 0x{text[error.start]:02x})"
    return _anew(path, key, f"it is no UTF-8 text{place}", encoding)


def not_closed(path: Path, key: str, separator: str) -> ConfigError:
    """Return the error for a file that ends within quotation marks, with the line where they open."""
    start = end = 0
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        for _ in rows:
            start, end = end, rows.line_num
    return ConfigError(
        key,
        f"{str(path)!r} cannot be read as a table: a quotation mark opens in the row of line {start + 1} and is not"
        f" closed until the file ends, in line {end}; close it, or take it out",
    )


def swallowed(frame: Any, separator: str) -> dict[str, str]:
    """Return words, by column, for a value that holds whole lines of the file: a quotation mark was not closed there.

    frame: of a CSV file. separator: what separates its values.
    """
    width, words = len(frame.columns), {}
    for place, name in enumerate(frame.columns):
        if frame[name].dtype.kind in "biuf":
            continue
        texts = frame[name].unique().tolist()
        several = (t for t in texts if isinstance(t, str) and ("\n" in t or "\r" in t))
        text = next((t for t in several if _is_rows(t, place, width, separator)), None)
        if text is not None:
            row = int((frame[name] == text).to_numpy().argmax())
            words[name] = (
                f"holds in row {row} a text of {len(LINE.split(text))} lines that look like rows of the file,"
                f" {text[:40]!r}: is a quotation mark not closed there?"
            )
    return words


def _is_rows(text: str, place: int, width: int, separator: str) -> bool:
    """Return whether a value of column `place` is the end of a row, perhaps whole rows, and the beginning of one."""
    counts = [line.count(separator) for line in LINE.split(text)]
    if len(counts) < 2 or width < 2:
        return False
    first, *whole, last = counts
    return first == width - 1 - place and last == place and all(n == width - 1 for n in whole)


def _refuse_start(path: Path, key: str, start: bytes) -> None:
    if any(start.startswith(mark) for mark in MARKS):
        raise no_text(path, key)
    if start.startswith(b"PAR1"):
        raise ConfigError(key, f"{str(path)!r} is a Parquet file, and no text; rename it, so that it ends in .parquet")
    if start.startswith(b"PK") and b"[Content_Types].xml" in start:
        raise ConfigError(key, f"{str(path)!r} is an Excel workbook, and no text; {_rewritten(path, 'read_excel')}")
    for magic, program in PACKED.items():
        if start.startswith(magic):
            raise _packed(path, key, program)


def _packed(path: Path, key: str, program: str) -> ConfigError:
    return ConfigError(key, f"{str(path)!r} is packed, and no text; unpack it first, as with {program}")


def _rewritten(path: Path, reader: str) -> str:
    return f"pandas.{reader}({str(path)!r}).to_csv({path.stem + '_table.csv'!r}, index=False)"


def _with_nul(path: Path, key: str, piece: bytes, line: int) -> ConfigError:
    halves = [piece[side::2].count(0) / max(len(piece[side::2]), 1) for side in (0, 1)]
    if max(halves) > 0.5 > min(halves):  # every other byte is 0: UTF-16 without a mark
        return _anew(path, key, "it is no UTF-8 text", "utf-16-le" if halves[1] > halves[0] else "utf-16-be")
    source = f"pathlib.Path({str(path)!r})"
    return ConfigError(
        key,
        f"{str(path)!r} cannot be read as a table: line {line} holds a byte of 0, as a file does that was not written"
        f" to its end; take it out: pathlib.Path('clean.csv').write_bytes({source}.read_bytes().replace(b'\\0', b''))",
    )


def _anew(path: Path, key: str, reason: str, encoding: str) -> ConfigError:
    return ConfigError(
        key,
        f"{str(path)!r} cannot be read as a table: {reason}; write it again: pathlib.Path('utf8.csv').write_bytes("
        f"pathlib.Path({str(path)!r}).read_bytes().decode({encoding!r}).encode())",
    )


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
