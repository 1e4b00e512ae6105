"""Joins the processes of a run on several hosts: who writes, what all agree on, who has ended.

Every host runs the same command and takes the same steps. Host 0 alone prints and writes files. The
hosts talk through the key-value store of `jax.distributed`. A thread on each host watches the
others: a host that has failed, was stopped or no longer answers ends all.

"Host" is one process of the run; schedulers may start several on a machine, e.g. one per GPU.
"""

import contextlib
import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from prompt_jax.cli import interrupts
from prompt_jax.errors import PromptError, escape, shorten

SECONDS_BETWEEN_BEATS = 1.0
# A host without a beat for so long has ended; sooner after a failed exchange between devices.
SECONDS_SILENT, SECONDS_SILENT_AFTER_FAILURE = 30.0, 10.0
# Host 0 holds the store, so it waits for the others before it ends.
SECONDS_TO_LEAVE = 15.0
_FOREVER = 10**9  # milliseconds
_ROOT = "prompt_jax"

Result = TypeVar("Result")


class _Alone:
    """The only process of a run."""

    index, count, names = 0, 1, ("",)


_hosts: "_Alone | Several" = _Alone()


def index() -> int:
    """Returns the number of this host, from 0."""
    return _hosts.index


def count() -> int:
    """Returns the number of hosts."""
    return _hosts.count


def is_first() -> bool:
    """Returns whether this host prints and writes files."""
    return _hosts.index == 0


def name(number: int) -> str:
    """Returns the number and machine of a host, for messages."""
    return _hosts.name(number) if isinstance(_hosts, Several) else f"host {number}"


def gather(name: str, value: Any) -> list[Any]:
    """Returns the values of all hosts in their order, as JSON holds them; waits for all.

    All hosts call it in the same order with the same name.
    """
    return _hosts.gather(name, value) if isinstance(_hosts, Several) else [value]


def from_first(name: str, function: Callable[[], Result]) -> Result:
    """Returns the result of the function on host 0, as JSON holds it; called there only."""
    if not isinstance(_hosts, Several):
        return function()
    return _hosts.gather(name, function() if is_first() else None, only_first=True)[0]


def check_same(facts: Mapping[str, Any], advice: str) -> None:
    """Checks that all hosts have the same facts, by name.

    Raises:
        PromptError: names the first host and fact that differ from host 0.
    """
    if not isinstance(_hosts, Several):
        return
    one, *others = _hosts.gather("facts", dict(facts))
    for number, other in enumerate(others, 1):
        for name in one | other:
            values = one.get(name), other.get(name)
            if values[0] != values[1]:
                here, there = (shorten(v) if isinstance(v, str) else repr(v) for v in values)
                raise PromptError(
                    f"{_hosts.name(number)} differs from {_hosts.name(0)} in {name}: {there} "
                    f"there, {here} here; {advice}"
                )


def stop_together(asked: bool) -> bool:
    """Returns whether to stop now, the same on all hosts; all call it once per step.

    Args:
        asked: whether this host was asked to stop.
    """
    return _hosts.stop_together(asked) if isinstance(_hosts, Several) else asked


def ended(code: int, words: str) -> None:
    """Tells the other hosts that this one ends with an exit code, and waits until they have left.

    Args:
        code: its exit code, not 0.
        words: the reason.
    """
    if isinstance(_hosts, Several):
        _hosts.end(code, words)


def finish() -> None:
    """Waits until all hosts have finished; from then on none is watched."""
    if isinstance(_hosts, Several):
        _hosts.gather("finished", None)
        _hosts.finished = True


def await_reason() -> None:
    """After a failed exchange between devices: waits until it is known which host has ended.

    If one has, this process ends with a message about it; returns otherwise.
    """
    if isinstance(_hosts, Several):
        _hosts.await_reason()


def join(store: Any, index: int, count: int) -> None:
    """Makes this process one of several hosts; `store` is the client of `jax.distributed`."""
    global _hosts
    _hosts = Several(store, index, count)


def lost_first() -> str:
    """Returns the message for a lost host 0; "" if this host has not joined any."""
    return _hosts.lost(0) if isinstance(_hosts, Several) else ""


class Several:
    """This process among several hosts.

    Attributes:
        index, count: number of this host, and of all.
        names: machine of each host.
        finished: whether all hosts have finished, so that none is watched.
    """

    def __init__(self, store: Any, index: int, count: int):
        """Exchanges names and starts watching; `store` is the client of `jax.distributed`."""
        self.index, self.count, self._store = index, count, store
        self.finished = False
        self._patience, self._silent = SECONDS_SILENT, list[int]()
        self._rounds: defaultdict[str, int] = defaultdict(int)
        self._leaving = threading.Lock()
        # Of `stop_together`: calls so far, whether it was asked, and the call that stops.
        self._condition = threading.Condition()
        self._calls, self._asked, self._waits = 0, False, False
        self._last_call: int | None = None
        self.names = self.gather("names", socket.gethostname())
        threading.Thread(target=self._watch, daemon=True).start()

    def name(self, number: int) -> str:
        """Returns a host in words."""
        return f"host {number} ({escape(self.names[number])})"

    def gather(self, name: str, value: Any, only_first: bool = False) -> list[Any]:
        """Returns the values of all hosts, or of host 0 alone, in a list; waits for them."""
        key = f"{_ROOT}/{name}/{self._rounds[name]}"
        self._rounds[name] += 1
        if not only_first or self.index == 0:
            self._store.key_value_set(f"{key}/{self.index}", json.dumps(value))
        hosts = range(1 if only_first else self.count)
        get = self._store.blocking_key_value_get
        return [json.loads(get(f"{key}/{number}", _FOREVER)) for number in hosts]

    def stop_together(self, asked: bool) -> bool:
        """Returns whether to stop now; see the function of that name."""
        with self._condition:
            self._calls += 1
            self._asked |= asked
            # Until all hosts have told how far they are, none goes on.
            self._condition.wait_for(lambda: not self._waits or self._last_call is not None)
            return self._last_call is not None and self._calls >= self._last_call

    def end(self, code: int, words: str) -> None:
        """Tells the others that this host ends; host 0 then waits for them to leave."""
        until = time.monotonic() + SECONDS_TO_LEAVE
        if not self._leaving.acquire(blocking=False):
            time.sleep(2 * SECONDS_TO_LEAVE)  # another thread ends this process
            return
        with contextlib.suppress(Exception):  # the store may be gone
            self._tell(f"ended/{self.index}", [code, words])
            while self.index == 0 and time.monotonic() < until:
                left = sum(key.startswith("ended/") for key in self._told())
                if left + len(self._silent) >= self.count:
                    time.sleep(0.2)  # they leave now
                    return
                time.sleep(0.1)

    def await_reason(self) -> None:
        """Waits until it is known which host has ended; see the function of that name."""
        self._patience = SECONDS_SILENT_AFTER_FAILURE
        time.sleep(1.5 * SECONDS_SILENT_AFTER_FAILURE)
        if self._leaving.locked():
            time.sleep(2 * SECONDS_TO_LEAVE)

    def _tell(self, key: str, value: Any) -> None:
        path = f"{_ROOT}/watch/{key}"
        self._store.key_value_set(path, json.dumps(value), allow_overwrite=True)

    def _told(self) -> dict[str, Any]:
        """Returns the values that all hosts have published, by key."""
        start = f"{_ROOT}/watch/"
        found = self._store.key_value_dir_get(start)
        return {key.removeprefix(start): json.loads(value) for key, value in found}

    def _watch(self) -> None:
        beats: dict[int, int] = {}
        heard = dict.fromkeys(range(self.count), time.monotonic())
        beat = 0
        while not self.finished:
            beat += 1
            told: dict[str, Any] = {}
            with contextlib.suppress(Exception):  # host 0, which holds the store, does not answer
                self._tell(f"beats/{self.index}", beat)
                told = self._told()
                self._agree_to_stop(told)
            now = time.monotonic()
            for number in range(self.count):
                if (last := told.get(f"beats/{number}")) and last != beats.get(number):
                    beats[number], heard[number] = last, now
                if number != self.index and (end := told.get(f"ended/{number}")):
                    self._follow(number, *end)
            self._silent = [n for n, when in heard.items() if now - when > self._patience]
            if self._silent:  # without its store all are silent, and host 0 is the first
                self._leave(2, f"error: {self.lost(self._silent[0])}")
            time.sleep(SECONDS_BETWEEN_BEATS)

    def lost(self, number: int) -> str:
        """Returns the message for a host that ended without a reason."""
        return (
            f"{self.name(number)} does not answer: it crashed, was killed or lost its network; "
            "run again on all hosts to resume"
        )

    def _follow(self, number: int, code: int, words: str) -> None:
        stopped = code - 128 in interrupts.SIGNALS
        if stopped and self._last_call is not None:
            return  # this host stops with the others
        start = f"{self.name(number)}: " if stopped else f"error: {self.name(number)} ended: "
        self._leave(code, start + words)

    def _leave(self, code: int, words: str) -> None:
        if not (self._leaving.locked() or self.finished):
            interrupts.print_line(words)
            self.end(code, words)
            interrupts.exit_now(code)

    def _agree_to_stop(self, told: Mapping[str, Any]) -> None:
        with self._condition:
            if self._asked and "stop" not in told:
                self._tell("stop", self.index)
            elif "stop" in told and not self._waits:
                self._waits = True
                self._tell(f"calls/{self.index}", self._calls)
            calls = [call for key, call in told.items() if key.startswith("calls/")]
            if self._last_call is None and len(calls) == self.count:
                self._last_call = max(calls) + 1
                self._condition.notify_all()
