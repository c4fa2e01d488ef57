"""What a run-starting request is compared by, and how two of them differ.

Knows JSON bodies, no cassette and no session: ids of a session are mapped back to recorded ones before. One rule:
the tables below say everything; a field that they do not name is not compared (docs/clients.md, section 7, says what
varies between two runs of the same client).

How values are compared:

- Absent equals null, at every level of every field; an item of a list is never absent.
- For the fields in `EMPTY_IS_ABSENT` an empty object or list is absent too, since the server treats it so. Not for
  `input`: `{}` starts a run, null continues one. Not below `command` and `context`: what is there is the user's.
- 1 equals 1.0; true equals only true.
- A recorded value that is a mask equals anything, also nothing; inside a recorded text `[redacted]` stands for any
  text, and four or more stars for a text of as many bytes.
- The `id` of a human message means nothing, wherever the message is.
- Messages are compared as they were sent: `{"role": "user"}`, `{"type": "human"}` and a bare text are three spellings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from graphtape.protocol.errors import ProtocolError
from graphtape.protocol.mask import is_masked, may_be

MAX_DIFFERENCES: Final = 20
"""How many differences are worth reading."""

Path = tuple[str | int, ...]
"""Keys and list positions from the body inwards."""


class Weight(StrEnum):
    """How much a field counts."""

    COMPARED = "compared"
    """Must be equal."""
    PREFERENCE = "preference"
    """Of equal recordings, one in which this is equal too comes first; a difference never refuses."""
    IGNORED = "ignored"


ASPECTS: Final[Mapping[str, Weight]] = {
    "assistant_id": Weight.COMPARED,
    "input": Weight.COMPARED,
    "command": Weight.COMPARED,
    "config": Weight.COMPARED,
    "context": Weight.COMPARED,
    "interrupt_before": Weight.COMPARED,
    "interrupt_after": Weight.COMPARED,
    # Clients send back checkpoints that they were told, each in its own way and not in every version.
    "checkpoint": Weight.PREFERENCE,
    "checkpoint_id": Weight.PREFERENCE,
    "config.configurable.checkpoint_id": Weight.PREFERENCE,
    "config.configurable.checkpoint_ns": Weight.PREFERENCE,
    "config.configurable.thread_id": Weight.IGNORED,
    # How the answer is wanted, which the view takes care of.
    "stream_mode": Weight.IGNORED,
    "stream_subgraphs": Weight.IGNORED,
    "stream_resumable": Weight.IGNORED,
    # What happens around the run.
    "after_seconds": Weight.IGNORED,
    "checkpoint_during": Weight.IGNORED,
    "durability": Weight.IGNORED,
    "feedback_keys": Weight.IGNORED,
    "if_not_exists": Weight.IGNORED,
    "langsmith_tracer": Weight.IGNORED,
    "metadata": Weight.IGNORED,
    "multitask_strategy": Weight.IGNORED,
    "on_completion": Weight.IGNORED,
    "on_disconnect": Weight.IGNORED,
    "webhook": Weight.IGNORED,
}
"""Every field of a run-starting body that the server knows, and the ones inside `config` that count otherwise."""

EMPTY_IS_ABSENT: Final = frozenset(
    {
        ("command",),
        ("config",),
        ("config", "configurable"),
        ("config", "metadata"),
        ("config", "tags"),
        ("context",),
        ("interrupt_after",),
        ("interrupt_before",),
    }
)

# Lists, since what is looked up in them may be unhashable.
_HUMAN_TYPES: Final = ["human", "HumanMessage", "HumanMessageChunk"]
_HUMAN_ROLES: Final = ["user", "human"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same.

    Args:
        field: where, e.g. `input.messages[0].content`.
        recorded: the recorded value; None if absent.
        asked: the value of the request; None if absent.
    """

    field: str
    recorded: object
    asked: object


def differences(
    recorded: Mapping[str, object],
    asked: Mapping[str, object],
    *,
    same_assistant: Callable[[str, str], bool] = str.__eq__,
    ignore: Sequence[str] = (),
    limit: int = MAX_DIFFERENCES,
) -> list[Difference]:
    """Where two run-starting bodies differ in what is compared, each as deep as it goes; empty: they are equal.

    Args:
        same_assistant: whether two assistant ids (recorded, asked) mean one assistant, if they are not the same text.
        ignore: the user's paths, see `parse_path`; what lies below an ignored path is ignored too.
        limit: stop after so many; 1 is enough to know whether they are equal.

    Raises:
        ProtocolError: a path in `ignore` is none.
    """
    comparison = _Comparison(limit=limit, ignore=[*_NOT_COMPARED, *map(parse_path, ignore)])
    for name in _COMPARED:
        ours, theirs = recorded.get(name), asked.get(name)
        if ours is None and theirs is None:
            continue
        if name == "assistant_id" and isinstance(ours, str) and isinstance(theirs, str):
            if ours == theirs or same_assistant(ours, theirs):
                continue
        elif _same_bytes(ours, theirs):
            continue
        comparison.compare((name,), ours, theirs)
    return comparison.found


def preference_differences(recorded: Mapping[str, object], asked: Mapping[str, object]) -> list[Difference]:
    """Where two bodies differ in what is only a preference: the checkpoint that the run starts from."""
    comparison = _Comparison(limit=MAX_DIFFERENCES, ignore=[])
    for path in _PREFERENCES:
        comparison.compare(path, _at(recorded, path), _at(asked, path))
    return comparison.found


def parse_path(text: str) -> Path:
    """A path as the user writes it: `input.messages[0].now`, or a JSON pointer, `/input/messages/0/now`.

    `*` stands for any key or position. Positions are given as text: `0` and `[0]` are one.

    Raises:
        ProtocolError: there is nothing in it, or a bracket is not closed.
    """
    if text.startswith("/"):
        path = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    elif re.fullmatch(r"[^.\[\]]+(?:\.[^.\[\]]+|\[(?:[0-9]+|\*)\])*", text):
        path = tuple(re.findall(r"[^.\[\]]+", text))
    else:
        path = ()
    if not all(path) or not path:
        raise ProtocolError(
            f"{text!r} is not a path into a request body; "
            "write it as input.messages[0].now or as the JSON pointer /input/messages/0/now"
        )
    return path


def format_path(path: Path) -> str:
    """`("input", "messages", 0, "a.b")` is `input.messages[0]["a.b"]`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif not step or re.search(r"[.\[\]\"\s]", step):
            parts.append(f"[{orjson.dumps(step).decode()}]")
        else:
            parts.append(f".{step}" if parts else step)
    return "".join(parts)


def _paths(weight: Weight) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.split(".")) for name, its_weight in ASPECTS.items() if its_weight is weight)


_COMPARED: Final = tuple(path[0] for path in _paths(Weight.COMPARED))
_PREFERENCES: Final = _paths(Weight.PREFERENCE)
_NOT_COMPARED: Final[tuple[Path, ...]] = (*_PREFERENCES, *_paths(Weight.IGNORED))


def _same_bytes(recorded: object, asked: object) -> bool:
    # The usual case, and exact where Python is not: to Python, true equals 1.
    try:
        return orjson.dumps(recorded) == orjson.dumps(asked)
    except (TypeError, ValueError, RecursionError):
        return False  # e.g. integers beyond 64 bits: compared one by one


def _at(body: Mapping[str, object], path: tuple[str, ...]) -> object:
    value: object = body
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class _Comparison:
    """One walk through two values, and what it found."""

    def __init__(self, *, limit: int, ignore: Sequence[Path]) -> None:
        self.found: list[Difference] = []
        self._limit = limit
        self._ignore = ignore
        self._human: set[Path] = set()  # messages known to be human from what is around them

    def compare(self, path: Path, recorded: object, asked: object) -> None:
        """Add the differences of two values."""
        # A stack, not recursion: bodies may be nested deeper than Python recurses. Last in, first out: pushed reversed.
        todo: list[tuple[Path, object, object]] = [(path, recorded, asked)]
        while todo and len(self.found) < self._limit:
            where, ours, theirs = todo.pop()
            if is_masked(ours) or self._ignored(where):
                continue
            if where in EMPTY_IS_ABSENT:
                ours = None if ours in ({}, []) else ours
                theirs = None if theirs in ({}, []) else theirs
                # One side absent: compare key by key all the same, since what is in there may be ignored.
                ours = {} if ours is None and isinstance(theirs, Mapping) else ours
                theirs = {} if theirs is None and isinstance(ours, Mapping) else theirs
            if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
                human = where in self._human or _is_human_message(ours) or _is_human_message(theirs)
                if _is_human_constructor(ours) and _is_human_constructor(theirs):
                    self._human.add((*where, "kwargs"))
                inside = [
                    ((*where, key), ours.get(key), theirs.get(key))
                    for key in [*ours, *(key for key in theirs if key not in ours)]
                    if not (human and key == "id")
                ]
                todo += reversed(inside)
            elif isinstance(ours, list) and isinstance(theirs, list):
                common = min(len(ours), len(theirs))
                for position in reversed(range(common, max(len(ours), len(theirs)))):
                    todo.append(
                        (
                            (*where, position),
                            ours[position] if position < len(ours) else _NO_ITEM,
                            theirs[position] if position < len(theirs) else _NO_ITEM,
                        )
                    )
                todo += reversed([((*where, i), ours[i], theirs[i]) for i in range(common)])
            elif not _same_scalar(ours, theirs):
                self.found.append(Difference(format_path(where), _shown(ours), _shown(theirs)))

    def _ignored(self, path: Path) -> bool:
        return any(
            len(pattern) == len(path)
            and all(want in ("*", str(step)) for want, step in zip(pattern, path, strict=True))
            for pattern in self._ignore
        )


class _NoItem:
    """The item that the shorter of two lists does not have; differs from null."""


_NO_ITEM: Final = _NoItem()


def _shown(value: object) -> object:
    return None if value is _NO_ITEM else value


def _same_scalar(recorded: object, asked: object) -> bool:
    if isinstance(recorded, str) and isinstance(asked, str):
        return may_be(recorded, asked)
    # bool is an int to Python and not to JSON.
    return isinstance(recorded, bool) is isinstance(asked, bool) and recorded == asked


def _is_human_message(value: Mapping[str, object]) -> bool:
    """Whether clients make up the `id` of this anew each time."""
    return "content" in value and (value.get("type") in _HUMAN_TYPES or value.get("role") in _HUMAN_ROLES)


def _is_human_constructor(value: Mapping[str, object]) -> bool:
    """Whether this is a human message as langchain-core writes objects: its fields are below `kwargs`."""
    name = value.get("id")
    return value.get("type") == "constructor" and isinstance(name, list) and name[-1:] == ["HumanMessage"]
