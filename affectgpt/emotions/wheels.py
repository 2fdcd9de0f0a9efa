"""The five emotion wheels of MER-UniBench, read from the benchmark's own tables, and the groups they put words into.

The tables are not part of this project. They are the folder `emotion_wheel` of the repositories zeroQiaoba/AffectGPT
and zeroQiaoba/MERTools: `wheel1.xlsx` to `wheel5.xlsx`, `synonym.xlsx`, `format.csv`.

A word is looked up as written: `format.csv` leads from a form to base words, `synonym.xlsx` from these to words on the
wheels. Of all that are reached, the first in alphabetical order that lies on a wheel decides its group there. That is
the published rule, with its oddities (docs/metrics.md); `affectgpt.emotions.taxonomy` is the project's own.
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
    """One thing wrong with a table: which file, where in it, what was expected, what was found."""

    file: str
    where: str
    expected: str
    got: str


class WheelTableError(ValueError):
    """Tables that cannot be used; carries all faults found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(f"{f.file}: {f.where}: expected {f.expected}, got {f.got}" for f in faults))


@dataclass(frozen=True, slots=True)
class EmotionWheels:
    """What the tables say."""

    forms: dict[str, frozenset[str]]
    """A form of a word -> base words."""
    synonyms: dict[str, frozenset[str]]
    """A base word -> words on the wheels."""
    places: tuple[dict[str, tuple[str, str]], ...]
    """For each wheel, a word on it -> its groups of level 1 and level 2."""
    _known: dict[tuple[str, int], tuple[str | None, ...]] = field(default_factory=dict, repr=False, compare=False)

    def groups(self, word: str, level: int = 1) -> tuple[str | None, ...]:
        """The group of a word on each wheel, None where it has none. `word` is lower case, without outer spaces."""
        found = self._known.get((word, level))
        if found is None:
            reached = sorted({on for base in self.forms.get(word, ()) for on in self.synonyms.get(base, ())})
            firsts = (next((places[on] for on in reached if on in places), None) for places in self.places)
            found = self._known[word, level] = tuple(place and place[level - 1] for place in firsts)
        return found


def read_wheels(folder: str | Path, published_only: bool = True) -> EmotionWheels:
    """Read the tables of a folder.

    Args:
        folder: holds `wheel1.xlsx` ... `wheel5.xlsx`, `synonym.xlsx` and `format.csv`.
        published_only: refuse tables whose cells are not those that were published.

    Raises:
        WheelTableError: tables that are missing, cannot be read, or are altered; all of them at once.
    """
    tables: dict[str, _Rows] = {}
    faults: list[Fault] = []
    for name, digest in PUBLISHED.items():
        path = Path(folder, name)
        try:
            rows = _read(path)
            _check(path, rows)
            if published_only and fingerprint(rows) != digest:
                raise WheelTableError([_altered(path, rows, digest)])
        except WheelTableError as error:
            faults += error.faults
        else:
            tables[name] = rows[1:]
    if faults:
        raise WheelTableError(faults)
    places = tuple(_places(tables[f"{wheel}.xlsx"]) for wheel in WHEELS)
    return EmotionWheels(_forms(tables["format.csv"]), _synonyms(tables["synonym.xlsx"]), places)


def fingerprint(rows: _Rows) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a table's cells, header included; "" for an empty cell."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()[:16]


def _read(path: Path) -> _Rows:
    """The rows of a table, header first, as lower-case text without outer spaces."""
    if not path.is_file():
        raise WheelTableError([Fault(str(path), "the table", "a file", "nothing there")])
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                cells: list[tuple[object, ...]] = [tuple(row) for row in csv.reader(file)]
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
    """Refuse a table that has not the shape that the mapping needs."""
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


def _altered(path: Path, rows: _Rows, digest: str) -> Fault:
    got = f"others: {len(rows) - 1} rows, sha256 {fingerprint(rows)}..."
    return Fault(str(path), "its cells", f"the published ones, sha256 {digest}...", got)


def _places(rows: _Rows) -> dict[str, tuple[str, str]]:
    """A word on a wheel -> its groups. A word that stands in several places belongs to the last of them; to a word of
    level 1 the published scorer gives the first of its level-2 groups in alphabetical order.
    """
    filled: list[tuple[str, str, str]] = []
    first: dict[str, str] = {}
    outer = middle = ""
    for level1, level2, level3 in rows:
        outer, middle = level1 or outer, level2 or middle
        first[outer] = min(first.get(outer, middle), middle)
        filled.append((outer, middle, level3))
    places: dict[str, tuple[str, str]] = {}
    for outer, middle, inner in filled:
        places |= {outer: (outer, first[outer]), middle: (outer, middle), inner: (outer, middle)}
    return places


def _synonyms(rows: _Rows) -> dict[str, frozenset[str]]:
    """A base word -> the words that one of the runs lists it under; each of these leads to itself too."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for word, listed in zip(row[::2], row[1::2], strict=True):
            for base in (word, *listed.split(",")) if word else ():
                found.setdefault(base.strip(), set()).add(word)
    found.pop("", None)
    return {base: frozenset(words) for base, words in found.items()}


def _forms(rows: _Rows) -> dict[str, frozenset[str]]:
    """A form -> the words that have it."""
    found: dict[str, set[str]] = {}
    for word, forms in rows:
        for form in forms.split(","):
            found.setdefault(form.strip(), set()).add(word)
    return {form: frozenset(words) for form, words in found.items()}
