"""The turns of a conversation, however a row of another format holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from affectgpt.problems import Problem, shorten

KINDS = ("video", "audio", "image")
"""Media of these formats; each is also a medium of `affectgpt.media`."""
CONVERSATIONS = ("messages", "conversations")
"""Fields that hold a list of turns: {role, content} or {from, value} each."""
PAIRS = (("query", "response"), ("instruction", "output"))
"""Fields that hold the last question and its answer; `input` continues an instruction."""
KNOWN = frozenset({"id", "system", *CONVERSATIONS, *(field for kind in KINDS for field in (kind, f"{kind}s"))})
"""Fields that become fields of a row; others are kept in its `extra`."""
_ROLES = {"human": "user", "gpt": "assistant", "developer": "system"}

Row = dict[str, Any]


class Place:
    """Collector of the problems of one row."""

    def __init__(self, file: Path, number: int, problems: list[Problem]) -> None:
        self.file, self.number, self.problems = str(file), number, problems

    def add(self, field: str, expected: str, got: str, fix: str = "") -> None:
        """Add the problem of a field."""
        self.problems.append(Problem(self.file, f"row {self.number}, field '{field}'", expected, got, fix))


def read_turns(row: Row, place: Place, fields: Sequence[str]) -> tuple[Row, list[Row]]:
    """Return a row, with media of its turns among its own, and its turns as {role, content}, placeholders included.

    Args:
        row: the row.
        place: collects its problems.
        fields: names of the field that holds the turns, the likeliest first.
    """
    field = next((name for name in fields if row.get(name)), None)
    pair = next((names for names in PAIRS if all(isinstance(row.get(name), str) for name in names)), None)
    turns: Any
    if field is None and pair is not None:
        row, turns = _turns_of_pair(row, pair, place)
        field = pair[0]
    else:
        field = field or fields[0]
        turns = row.get(field)
    if not isinstance(turns, list) or not turns:
        expected = "a list of {'role': ..., 'content': text}, or of {'from': human | gpt | system, 'value': text}"
        got = shorten(turns) if field in row else f"nothing, but the fields {', '.join(row) or 'none'}"
        fix = f"Conversations are read from {', '.join(fields)}, query and response, or instruction and output."
        place.add(field, expected, got, fix)
        return row, []
    media: dict[str, list[str]] = {}
    messages = []
    for index, turn in enumerate(turns):
        message = _turn(turn, media, f"{field}[{index}]", place)
        if message is not None:
            messages.append(message)
    if isinstance(row.get("system"), str) and row["system"].strip():
        if messages and messages[0]["role"] == "system":
            place.add("system", "the system's words here or in a turn", "both", "Leave one of them out.")
        messages.insert(0, {"role": "system", "content": row["system"]})
    last = messages[-1]["role"] if messages else None
    if len(messages) >= len(turns) and last in ("system", "user"):
        place.add(field, "the assistant's turn last: it is the target", f"the {last}'s")
    elif len(turns) == 1:
        place.add(field, "at least two chat turns", "one")
    for kind, paths in media.items():
        if any(row.get(name) for name in (kind, f"{kind}s")):
            place.add(f"{kind}s", f"the {kind} here or in a turn", "both", "Leave one of them out.")
        row = {**row, f"{kind}s": paths}
    return row, messages


def _turns_of_pair(row: Row, names: tuple[str, str], place: Place) -> tuple[Row, list[Row]]:
    """Return the row without the fields of a question and an answer, and the turns that these make."""
    asked, answered = names
    question = row[asked]
    if asked == "instruction" and isinstance(row.get("input"), str) and row["input"].strip():
        question = f"{question}\n{row['input']}"
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in history):
        place.add("history", "a list of [question, answer]", shorten(history))
        history = []
    turns = [
        {"role": role, "content": text}
        for pair in [*history, (question, row[answered])]
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    used = {*names, "history", *(("input",) if asked == "instruction" else ())}
    return {name: value for name, value in row.items() if name not in used}, turns


def _turn(turn: object, media: dict[str, list[str]], field: str, place: Place) -> Row | None:
    """Return a turn as {role, content}; None, and a problem, if it is none. Paths among its parts go to `media`."""
    if isinstance(turn, dict):
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(content, list):
            content = _text_of_parts(content, media if role in ("user", "human") else None, field, place)
            if content is None:
                return None
        if isinstance(role, str) and isinstance(content, str):
            role = _ROLES.get(role, role)
            if role not in ("system", "user", "assistant"):
                place.add(field, "a turn of the system, the user or the assistant", shorten(role))
            return {"role": role, "content": content}
    place.add(field, "{'role': ..., 'content': text}, or {'from': human | gpt | system, 'value': text}", shorten(turn))
    return None


def _text_of_parts(parts: list[Any], media: dict[str, list[str]] | None, field: str, place: Place) -> str | None:
    """Return the text of a turn that is a list of parts, with a placeholder for each medium.

    Parts are written {"type": "text", "text": ...}, {"type": "video", "video": path} or
    {"type": "image_url", "image_url": {"url": ...}}, with or without the path.

    Args:
        parts: the parts.
        media: takes the paths of their media; None where the turn is not the user's and has none.
        field: name of the turn in its row.
        place: collects problems.
    """
    texts = []
    for index, part in enumerate(parts):
        where = f"{field}.content[{index}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        named = part if isinstance(part, dict) else {}
        if isinstance(named.get("text"), str) and named.get("type", "text") == "text":
            texts.append(named["text"])
            continue
        kind = next((kind for kind in KINDS if named.get("type") in (kind, f"{kind}_url") or kind in named), None)
        if kind is None or media is None:
            expected = "a part of type text" + (f" or {', '.join(KINDS)}" if media is not None else "")
            place.add(where, expected, shorten(part), "Media are named by their path, in the user's turns.")
            return None
        if cut := [name for name in ("video_start", "video_end") if named.get(name) is not None]:
            fix = "Import the whole file, and give the row 'start' and 'end' in seconds."
            place.add(where, "a whole file", f"one with {' and '.join(cut)}", fix)
            return None
        texts.append(f"<{kind}>")
        value = named.get(kind, named.get(f"{kind}_url", named.get("path", named.get("url"))))
        if isinstance(value, dict):
            value = value.get("url", value.get("path"))
        if value is None:
            continue
        path = _local(value)
        if path is None:
            place.add(where, "the path of a file", shorten(value), "Save it beside the rows and name it by its path.")
            return None
        media.setdefault(kind, []).append(path)
    return "".join(texts)


def _local(value: object) -> str | None:
    """Return the path that a text or a file:// address names; None for data, addresses of the net and anything else."""
    if not isinstance(value, str) or not value:
        return None
    address = urlsplit(value) if "://" in value or value.startswith("data:") else None
    if address is None:
        return value
    return unquote(address.path) if address.scheme == "file" else None
