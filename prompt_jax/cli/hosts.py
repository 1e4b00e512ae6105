"""Coordinates the processes of a run on several hosts: agreement, a common stop, lost hosts.

Every host runs the same command and takes the same steps. Host 0 alone prints and writes files. The
hosts exchange values through the key-value store of `jax.distributed`, which host 0 holds. Threads
on each host send heartbeats and read those of the others: if a host has failed, was stopped or does
not answer, all processes end.

A host is one process of the run; a scheduler may start several on a machine, e.g. one per GPU.
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

SECONDS_BETWEEN_HEARTBEATS = 1.0
# After so long without heartbeats a host is lost; earlier if communication of devices has failed.
TIMEOUT, TIMEOUT_AFTER_FAILURE = 30.0, 6.0
# Host 0 waits for the others before it exits.
SECONDS_TO_EXIT = 15.0
_FOREVER = 10**9  # milliseconds
_PREFIX = "prompt_jax"

Result = TypeVar("Result")


def index() -> int:
    """Returns the number of this host, from 0."""
    return _group.index if _group else 0


def count() -> int:
    """Returns the number of hosts."""
    return _group.count if _group else 1


def is_first() -> bool:
    """Returns whether this host prints and writes files."""
    return index() == 0


def name(number: int) -> str:
    """Returns the number and machine of a host, for messages."""
    return _group.name(number) if _group else f"host {number}"


def gather(key: str, value: Any) -> list[Any]:
    """Returns the values of all hosts in order, as JSON holds them; waits for all hosts.

    All hosts call it in the same order with the same key.
    """
    return _group.gather(key, value) if _group else [value]


def from_first(key: str, function: Callable[[], Result]) -> Result:
    """Returns the result of the function on host 0, as JSON holds it; the others do not call it."""
    if not _group:
        return function()
    return _group.gather(key, function() if is_first() else None, only_first=True)[0]


def check_same(facts: Mapping[str, Any], advice: str) -> None:
    """Checks that the facts, by name, are the same on all hosts.

    Raises:
        PromptError: names the first host and fact that differ from host 0.
    """
    here, *others = gather("facts", dict(facts))
    for number, there in enumerate(others, 1):
        for fact in here | there:
            values = here.get(fact), there.get(fact)
            if values[0] != values[1]:
                first, other = (shorten(v) if isinstance(v, str) else repr(v) for v in values)
                raise PromptError(
                    f"{name(number)} differs from {name(0)} in {fact}: {other} there, {first} "
                    f"here; {advice}"
                )


def agree_to_stop(requested: bool) -> bool:
    """Returns whether to stop after this step, the same on all hosts; all call it once per step.

    Args:
        requested: whether this host was asked to stop.
    """
    return _group.agree_to_stop(requested) if _group else requested


def announce_exit(code: int, reason: str) -> None:
    """Tells the other hosts that this one exits, so that they exit too.

    Args:
        code: exit code, not 0.
        reason: the message of this host.
    """
    if _group:
        _group.announce_exit(code, reason)


def finish() -> None:
    """Waits until all hosts have finished; none is lost after that."""
    if _group:
        _group.gather("finished", None)
        _group.finished = True


def await_lost_host() -> None:
    """Waits until the lost host is known, after communication of devices has failed.

    Then this process exits with a message about it; returns if no host is lost.
    """
    if _group:
        _group.await_lost_host()


def describe_loss(number: int) -> str:
    """Returns the message about a host that does not answer."""
    return (
        f"{name(number)} does not answer: it crashed, was killed or lost its network; run again on "
        "all hosts to resume"
    )


def join(store: Any, number: int, total: int) -> None:
    """Makes this process host `number`; `store` is the client of `jax.distributed`."""
    global _group
    _group = ProcessGroup(store, number, total)


class ProcessGroup:
    """The hosts of a run, as seen by one of them.

    Attributes:
        index, count: number of this host, and of hosts.
        finished: whether all hosts have finished.
    """

    def __init__(self, store: Any, index: int, count: int):
        """Exchanges the names of machines and starts the threads."""
        self.index, self.count, self._store = index, count, store
        self.finished = False
        self._rounds: defaultdict[str, int] = defaultdict(int)
        self._timeout, self._lost = TIMEOUT, list[int]()
        self._last_heard = dict.fromkeys(range(count), time.monotonic())
        self._exiting = threading.Lock()
        # Of `agree_to_stop`: calls so far, whether a stop was requested, whether the hosts are
        # agreeing, and the call that returns True.
        self._condition = threading.Condition()
        self._calls, self._requested, self._agreeing = 0, False, False
        self._last_call: int | None = None
        self._machines = self.gather("machines", socket.gethostname())
        for target in (self._communicate, self._check):
            threading.Thread(target=target, daemon=True).start()

    def name(self, number: int) -> str:
        """Returns a host in words."""
        return f"host {number} ({escape(self._machines[number])})"

    def gather(self, key: str, value: Any, only_first: bool = False) -> list[Any]:
        """Returns the values of all hosts, or of host 0 alone, in a list; waits for them."""
        path = f"{_PREFIX}/{key}/{self._rounds[key]}"
        self._rounds[key] += 1
        if not only_first or self.index == 0:
            self._store.key_value_set(f"{path}/{self.index}", json.dumps(value))
        get = self._store.blocking_key_value_get
        numbers = range(1 if only_first else self.count)
        return [json.loads(get(f"{path}/{number}", _FOREVER)) for number in numbers]

    def agree_to_stop(self, requested: bool) -> bool:
        """Returns whether to stop after this step; see the function of that name."""
        with self._condition:
            self._calls += 1
            self._requested |= requested
            # While the hosts compare their steps, none takes another one.
            self._condition.wait_for(lambda: not self._agreeing or self._last_call is not None)
            return self._last_call is not None and self._calls >= self._last_call

    def announce_exit(self, code: int, reason: str) -> None:
        """Tells the others that this host exits; host 0 then waits for them to exit."""
        until = time.monotonic() + SECONDS_TO_EXIT
        if not self._exiting.acquire(blocking=False):
            time.sleep(2 * SECONDS_TO_EXIT)  # another thread ends this process
            return
        if 0 in self._lost:  # and the store with it
            return
        with contextlib.suppress(Exception):
            self._publish(f"exits/{self.index}", [code, reason])
            while self.index == 0 and time.monotonic() < until:
                exiting = [key for key in self._published() if key.startswith("exits/")]
                if len({*exiting, *(f"exits/{number}" for number in self._lost)}) == self.count:
                    time.sleep(0.2)
                    return
                time.sleep(0.1)

    def await_lost_host(self) -> None:
        """Waits until the lost host is known; see the function of that name."""
        self._timeout = TIMEOUT_AFTER_FAILURE
        time.sleep(1.5 * TIMEOUT_AFTER_FAILURE)
        if self._exiting.locked():
            time.sleep(2 * SECONDS_TO_EXIT)

    def _publish(self, key: str, value: Any) -> None:
        path = f"{_PREFIX}/state/{key}"
        self._store.key_value_set(path, json.dumps(value), allow_overwrite=True)

    def _published(self) -> dict[str, Any]:
        """Returns the values that all hosts have published, by key."""
        start = f"{_PREFIX}/state/"
        found = self._store.key_value_dir_get(start)
        return {key.removeprefix(start): json.loads(value) for key, value in found}

    def _communicate(self) -> None:
        """Sends heartbeats and reads those of the other hosts; may wait long for a lost host 0."""
        heartbeats: dict[int, int] = {}
        heartbeat = 0
        while not self.finished:
            heartbeat += 1
            state: dict[str, Any] = {}
            with contextlib.suppress(Exception):  # host 0, which holds the store, does not answer
                self._publish(f"heartbeats/{self.index}", heartbeat)
                state = self._published()
                self._agree(state)
            for number in range(self.count):
                last = state.get(f"heartbeats/{number}")
                if last is not None and last != heartbeats.get(number):
                    heartbeats[number], self._last_heard[number] = last, time.monotonic()
                if number != self.index and (exits := state.get(f"exits/{number}")):
                    self._follow(number, *exits)
            time.sleep(SECONDS_BETWEEN_HEARTBEATS)

    def _check(self) -> None:
        """Exits if a host is lost. Without the store none is heard, and host 0 is reported."""
        while not self.finished:
            earliest = time.monotonic() - self._timeout
            self._lost = [n for n, last in self._last_heard.items() if last < earliest]
            if self._lost:
                self._exit(2, f"error: {describe_loss(self._lost[0])}")
            time.sleep(SECONDS_BETWEEN_HEARTBEATS)

    def _agree(self, state: Mapping[str, Any]) -> None:
        """Lets all hosts stop after the same call of `agree_to_stop` if one of them has to."""
        with self._condition:
            if self._requested and "stop" not in state:
                self._publish("stop", self.index)
            elif "stop" in state and not self._agreeing:
                self._agreeing = True
                self._publish(f"calls/{self.index}", self._calls)
            calls = [value for key, value in state.items() if key.startswith("calls/")]
            if self._last_call is None and len(calls) == self.count:
                self._last_call = max(calls) + 1
                self._condition.notify_all()

    def _follow(self, number: int, code: int, reason: str) -> None:
        """Exits because another host exits."""
        was_stopped = code - 128 in interrupts.SIGNALS
        if was_stopped and self._last_call is not None:
            return  # this host stops by itself
        start = "" if was_stopped else "error: "
        self._exit(code, f"{start}{self.name(number)}: {reason}")

    def _exit(self, code: int, message: str) -> None:
        if not (self._exiting.locked() or self.finished):
            interrupts.print_line(message)
            self.announce_exit(code, message)
            interrupts.exit_now(code)


_group: ProcessGroup | None = None
