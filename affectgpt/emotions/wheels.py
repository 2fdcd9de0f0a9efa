"""The five emotion wheels of MER-UniBench, read from the benchmark's own tables, and the groups that they give words.

The tables are not part of this project. They are in the folder `emotion_wheel` of the repositories zeroQiaoba/AffectGPT
and zeroQiaoba/MERTools: `wheel1.xlsx` to `wheel5.xlsx`, `synonym.xlsx`, `format.csv`.

A word is looked up as written: `format.csv` maps a form to base words, `synonym.xlsx` maps these to words on the
wheels. Of all words reached, the first in alphabetical order that lies on a wheel decides the group there. This is the
published rule, with its oddities (docs/metrics.md); `affectgpt.emotions.taxonomy` is the project's own.
"""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

WHEELS = ("wheel1", "wheel2", "wheel3", "wheel4", "wheel5")
LEVELS = (1, 2)
PUBLISHED = {
    "wheel1.xlsx": "4923abbe5527cc70",
    "wheel2.xlsx": "d0f8724ab88871ef",
    "wheel3.xlsx": "a3e517638db7a12b",
    "wheel4.xlsx": "c472c788232b52e5",
    "wheel5.xlsx": "41b8184dbf3ce80f",
    "synonym.xlsx": "a3ad411647ce7d1e",
    "format.csv": "11353fa0046aa372",
}
"""First 16 hexadecimal digits of the SHA-256 of each table's cells, as the benchmark's authors published them."""
_RUNS = 8
_Rows = list[list[str]]


class Fault(NamedTuple):
    """Fault in a table: the file, where in it, what was expected and what is there."""

    file: str
    where: str
    expected: str
    got: str


class WheelTableError(ValueError):
    """Error about tables that cannot be used; `faults` holds all of them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(f"{f.file}: {f.where}: expected {f.expected}, got {f.got}" for f in faults))


@dataclass(frozen=True, slots=True)
class EmotionWheels:
    """Contents of the tables."""

    forms: dict[str, frozenset[str]]
    """Inflected form of a word -> base words."""
    synonyms: dict[str, frozenset[str]]
    """Base word -> words on the wheels."""
    tables: tuple[dict[str, tuple[str, str]], ...]
    """Word -> its groups of level 1 and level 2, one table for each wheel."""
    _known: dict[tuple[str, int], tuple[str | None, ...]] = field(default_factory=dict, repr=False, compare=False)

    def groups(self, word: str, level: int = 1) -> tuple[str | None, ...]:
        """Return the group of a word on each wheel, None where it has none. `word` is tidy lower case."""
        groups = self._known.get((word, level))
        if groups is None:
            reached = sorted({on for base in self.forms.get(word, ()) for on in self.synonyms.get(base, ())})
            firsts = (next((pairs[on] for on in reached if on in pairs), None) for pairs in self.tables)
            groups = self._known[word, level] = tuple(pair and pair[level - 1] for pair in firsts)
        return groups


def read_wheels(folder: str | Path, published_only: bool = True) -> EmotionWheels:
    """Read the tables of a folder.

    Args:
        folder: holds `wheel1.xlsx` ... `wheel5.xlsx`, `synonym.xlsx` and `format.csv`.
        published_only: refuse tables whose cells are not those that were published.

    Raises:
        WheelTableError: tables are missing, unreadable or altered; it names all of them at once.
    """
    tables: dict[str, _Rows] = {}
    faults: list[Fault] = []
    for name, published in PUBLISHED.items():
        path = Path(folder, name)
        try:
            rows = _read(path)
            _check(path, rows)
            if published_only and fingerprint(rows) != published:
                raise WheelTableError([_altered(path, rows, published)])
        except WheelTableError as error:
            faults += error.faults
        else:
            tables[name] = rows[1:]
    if faults:
        raise WheelTableError(faults)
    on_wheels = tuple(_groups(tables[f"{wheel}.xlsx"]) for wheel in WHEELS)
    return EmotionWheels(_forms(tables["format.csv"]), _synonyms(tables["synonym.xlsx"]), on_wheels)


def fingerprint(rows: _Rows) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a table's cells, header included."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()[:16]


def _read(path: Path) -> _Rows:
    """Read the rows of a table, header first, as lower-case text without outer spaces."""
    if not path.is_file():
        raise WheelTableError([Fault(str(path), "the table", "a file", "nothing there")])
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                cells: list[tuple[object, ...]] = [tuple(row) for row in csv.reader(file, strict=True)]
        else:
            book = load_workbook(path, read_only=True, data_only=True)
            cells = list(book.worksheets[0].iter_rows(values_only=True))
            book.close()
    except (OSError, ValueError, KeyError, IndexError, csv.Error, zipfile.BadZipFile, InvalidFileException) as error:
        kind = "CSV in UTF-8" if path.suffix == ".csv" else "an Excel workbook"
        raise WheelTableError([Fault(str(path), "the table", kind, f"{type(error).__name__}: {error}")]) from None
    rows = [["" if cell is None else str(cell).lower().strip() for cell in row] for row in cells]
    while rows and not any(rows[-1]):
        rows.pop()
    return rows


def _check(path: Path, rows: _Rows) -> None:
    """Refuse a table whose shape does not fit the mapping."""
    if path.name == "format.csv":
        header = ["name", "format"]
    elif path.name == "synonym.xlsx":
        header = [f"{kind}_run{run}" for run in range(1, _RUNS + 1) for kind in ("word", "synonym")]
    else:
        header = ["level1", "level2", "level3"]
    if not rows or rows[0] != header:
        got = ", ".join(rows[0]) if rows else "no rows"
        raise WheelTableError([Fault(str(path), "row 1", f"the columns {', '.join(header)}", got)])
    faults = [
        Fault(str(path), f"row {number}", f"{len(header)} cells", str(len(row)))
        for number, row in enumerate(rows, start=1)
        if len(row) != len(header)
    ]
    if not faults and header[0] == "level1":
        above: dict[int, str] = {}
        for number, row in enumerate(rows[1:], start=2):
            above |= {column: cell for column, cell in enumerate(row) if cell}
            if not row[2] or len(above) < 3 or (row[0] and not row[1]):
                got = ", ".join(cell or "(empty)" for cell in row)
                faults.append(Fault(str(path), f"row {number}", "a word of level 3 below one of level 2 and 1", got))
    if faults:
        raise WheelTableError(faults)


def _altered(path: Path, rows: _Rows, published: str) -> Fault:
    got = f"others: {len(rows) - 1} rows, sha256 {fingerprint(rows)}..."
    return Fault(str(path), "its cells", f"the published ones, sha256 {published}...", got)


def _groups(rows: _Rows) -> dict[str, tuple[str, str]]:
    """Map each word on a wheel to its groups. A word that occurs several times belongs to its last occurrence; for a
    word of level 1 the published scorer takes the first of its level-2 groups in alphabetical order.
    """
    filled: list[tuple[str, str, str]] = []
    first: dict[str, str] = {}
    outer = middle = ""
    for level1, level2, level3 in rows:
        outer, middle = level1 or outer, level2 or middle
        first[outer] = min(first.get(outer, middle), middle)
        filled.append((outer, middle, level3))
    groups: dict[str, tuple[str, str]] = {}
    for outer, middle, inner in filled:
        groups |= {outer: (outer, first[outer]), middle: (outer, middle), inner: (outer, middle)}
    return groups


def _synonyms(rows: _Rows) -> dict[str, frozenset[str]]:
    """Map a base word to the words that one of the runs lists it under; each of these maps to itself too."""
    synonyms: dict[str, set[str]] = {}
    for row in rows:
        for word, listed in zip(row[::2], row[1::2], strict=True):
            for base in (word, *listed.split(",")) if word else ():
                synonyms.setdefault(base.strip(), set()).add(word)
    synonyms.pop("", None)
    return {base: frozenset(words) for base, words in synonyms.items()}


def _forms(rows: _Rows) -> dict[str, frozenset[str]]:
    """Map an inflected form to the words that have it."""
    words_of: dict[str, set[str]] = {}
    for word, forms in rows:
        for form in forms.split(","):
            words_of.setdefault(form.strip(), set()).add(word)
    return {form: frozenset(words) for form, words in words_of.items()}
