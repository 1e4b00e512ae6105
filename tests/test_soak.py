"""Runs a few hundred inputs of `python -m tests.soak`, and tests that it detects faults."""

import os
import signal
import socket
import sys
import warnings
from functools import lru_cache
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from prompt_jax.errors import PromptError
from tests.soak import attempt, guard, kinds
from tests.soak.kind import Kind, Wrong, source_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


OF_TORCH = ("state_dict", "legacy")  # imported to make the examples


@lru_cache
def examples(name):
    """Returns a kind's valid examples; skips tests that need torch to make them without it."""
    if name in OF_TORCH:
        import needs_torch  # noqa: F401
    return kinds.KINDS[name].make()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns the directory of the inputs."""
    return tmp_path_factory.mktemp("soak")


@pytest.fixture
def alarm():
    """Ends what takes too long, such as waiting for a file."""

    def ring(*_):
        raise TimeoutError(f"more than {attempt.SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda: signal.alarm(int(attempt.SECONDS))
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", kinds.QUICK)
def test_an_example_is_accepted(name, folder):
    attempt.read_example(kinds.KINDS[name], examples(name)[0], folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finished", "unfinished", "checkpoint"])
def test_an_example_of_a_run_is_accepted(name, folder):
    attempt.read_example(kinds.KINDS[name], examples(name)[0], folder)


@pytest.mark.parametrize("name", kinds.QUICK)
@hypothesis.settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    phases=[hypothesis.Phase.generate],  # a smaller number is not a simpler input
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(number=strategies.integers(0, 99_999))
def test_a_damaged_file_is_read_or_rejected(name, folder, alarm, number):
    alarm()
    outcome = attempt.attempt(kinds.KINDS[name], examples(name), 0, number, folder)
    again = f"python -m tests.soak --kind {name} --number {number}"
    assert not outcome.failed, f"{outcome.verdict}: {outcome.cause}; {again}\n{outcome.detail}"


@pytest.mark.parametrize("name", kinds.QUICK)
def test_an_input_is_reproducible(name):
    one, two, other = (
        [kinds.KINDS[name].build(examples(name), source_of(seed, name, n)) for n in range(20)]
        for seed in (0, 0, 1)
    )
    assert one == two != other


def test_every_kind_gets_its_share():
    counts = kinds.share(100_000, tuple(kinds.KINDS))
    assert abs(sum(counts.values()) - 100_000) < 50 and min(counts.values()) >= 1
    assert counts["png"] > counts["large"]


def attempted(read, folder, **options):
    kind = Kind("made", 1, list, lambda random, files, others: files, read, **options)
    return attempt.attempt(kind, [{"a.txt": b"content"}], 0, 0, folder)


def refuse(message):
    raise PromptError(message)


class Unprintable(PromptError):
    """An error whose message no terminal can print."""

    def __str__(self):
        return "\udcff"


def unprintable(given):
    raise Unprintable


def misread(given):
    raise Wrong("other numbers")


@pytest.mark.parametrize(
    ("read", "verdict"),
    [
        (lambda given: (given / "a.txt").read_bytes(), "accepted"),
        (lambda given: list(given.rglob("*")), "accepted"),
        (lambda given: refuse("no"), "refused"),
        (lambda given: refuse("\udcff"), "refused"),
        (unprintable, "message"),
        (lambda given: refuse("x" * 10_000), "refused"),
        (lambda given: {}["key"], "raw exception"),
        (misread, "wrong"),
        (lambda given: Path("/etc/passwd").read_bytes(), "outside"),
        (lambda given: (given / "../../b.txt").write_text("x"), "outside"),
        (lambda given: os.listdir("/etc"), "outside"),
        (lambda given: Path("b.txt").write_text("x"), "written"),
        (lambda given: os.system("true"), "code"),
        (lambda given: exec("1 + 1"), "code"),
        (lambda given: socket.create_connection(("127.0.0.1", 9), 0.1), "code"),
    ],
)
def test_what_a_reader_does_is_detected(folder, read, verdict):
    assert attempted(read, folder).verdict == verdict


def test_the_resources_of_a_reader_are_measured(folder, monkeypatch):
    monkeypatch.setattr(attempt, "MEMORY", 10**8)
    assert attempted(lambda given: len(b"x" * 200_000_000), folder).verdict == "memory"
    assert attempted(lambda given: bytes(1000), folder).verdict == "accepted"
    monkeypatch.setattr(attempt, "SECONDS", -1.0)
    assert attempted(lambda given: None, folder).verdict == "hang"


def test_a_warning_is_recorded_and_not_a_failure(folder):
    outcome = attempted(lambda given: warnings.warn("odd", stacklevel=1), folder)
    assert not outcome.failed and outcome.warned.startswith("UserWarning at test_soak.py")
    outcome = attempted(lambda given: refuse("x" * 10_000), folder)
    assert outcome.warned == "a message of 5,000 characters or more"


def test_reading_anywhere_does_not_allow_writing_anywhere(folder, tmp_path):
    (tmp_path / "there").write_text("x")
    read = attempted(lambda given: (tmp_path / "there").read_text(), folder, reads_anywhere=True)
    assert read.verdict == "accepted"
    written = attempted(lambda given: (tmp_path / "b").write_text(""), folder, reads_anywhere=True)
    assert written.verdict == "outside"


def test_nothing_is_recorded_between_inputs(tmp_path):
    with guard.watch(tmp_path) as events:
        pass
    os.listdir("/")
    assert events == []
