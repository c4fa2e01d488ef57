"""The fuzzer's target under hypothesis: a short run in every `make test`, and what past runs have found."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphtape.cassettes import Cassette

HERE = Path(__file__).parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_reader", HERE / "fuzz_reader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = load()
PARTS = {
    tape.stem: fuzz.take_apart(tape.read_bytes()) for tape in fuzz.SEEDS if tape.stem in ("minimal", "full")
}


@pytest.mark.slow
@pytest.mark.parametrize("tape", fuzz.SEEDS, ids=lambda path: path.stem)
def test_seeds(tape: Path, tmp_path: Path) -> None:
    """Every golden and bundled cassette passes as it is."""
    fuzz.Target(tmp_path).read(tape.read_bytes())


@pytest.mark.parametrize("name", PARTS)
def test_taken_apart_and_put_together(name: str, tmp_path: Path) -> None:
    """What the fuzzer changes is the whole of a cassette: put together again, compressed as today, it says the same."""
    (tape,) = (tape for tape in fuzz.SEEDS if tape.stem == name)
    again = tmp_path / "again.tape"
    again.write_bytes(fuzz.put_together(PARTS[name]))
    with Cassette.open(tape) as old, Cassette.open(again) as new:
        assert list(new.iter_contents()) == list(old.iter_contents())
        assert list(new.exchanges) == list(old.exchanges)
        assert new.finished == old.finished
        assert new.check() == old.check()


@pytest.mark.parametrize("name", fuzz.INSTRUMENTED)
def test_instrumented(name: str) -> None:
    """What `make fuzz` watches is there, under the name that it uses."""
    assert importlib.import_module(f"graphtape.{name}").__name__ == f"graphtape.{name}"


FOUND = sorted((HERE / "found").glob("*"))


@pytest.mark.parametrize("case", FOUND, ids=lambda path: path.name)
def test_what_was_found(case: Path, tmp_path: Path) -> None:
    """What once escaped does so no more."""
    fuzz.Target(tmp_path)(case.read_bytes())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> object:
    return fuzz.Target(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(sorted(PARTS)),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
)
def test_changed_parts(target: object, name: str, changes: list[tuple[float, int, bytes]]) -> None:
    """Parts with bytes changed, put in and left out, and checksums that agree: only our own errors."""
    parts = bytearray(PARTS[name])
    for where, left_out, put_in in changes:
        at = int(where * len(parts))
        parts[at : at + left_out] = put_in
    assert callable(target)
    target(bytes(parts))
