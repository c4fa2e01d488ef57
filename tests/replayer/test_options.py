"""What can be chosen for a replay."""

from __future__ import annotations

import inspect
from dataclasses import fields

from graphtape.replayer import ReplayChoices, ReplayOptions, make_app, serve


def test_choices_are_the_options() -> None:
    """The keyword arguments that a type checker knows are the fields of the options, with the same types."""
    options = {field.name: field.type for field in fields(ReplayOptions)}
    known = {name: reference.__forward_arg__ for name, reference in ReplayChoices.__annotations__.items()}
    assert known == options


def test_every_option_is_documented() -> None:
    """Each option has its line in the docstring."""
    text = inspect.getdoc(ReplayOptions) or ""
    assert [field.name for field in fields(ReplayOptions) if f"    {field.name}: " not in text] == []


def test_signatures() -> None:
    """`make_app` and `serve` take the choices as typed keyword arguments."""
    for function in (make_app, serve.__init__):
        choices = inspect.signature(function).parameters["choices"]
        assert (choices.kind, choices.annotation) == (choices.VAR_KEYWORD, "Unpack[ReplayChoices]")
