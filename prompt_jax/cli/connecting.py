"""Connects the processes of a run by JAX's own runtime; see `hosts`."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

from prompt_jax.cli import hosts, interrupts
from prompt_jax.errors import PromptError, escape

SECONDS_TO_CONNECT = 300
# JAX aborts a process that has lost host 0 for so long; other losses `hosts` finds earlier.
SECONDS_TO_ABORT = 45
_unconnected = ""  # the message if the hosts do not connect
_stderr = 2  # where messages go


def connect(
    address: str = "",
    number: int | None = None,
    of_this: int | None = None,
    seconds: int = SECONDS_TO_CONNECT,
) -> None:
    """Connects this process with the others of its run, before JAX looks for devices.

    Args:
        address: "HOST:PORT" of host 0; "" and None: as Slurm, Open MPI, GKE or a TPU pod say.
        number: number of hosts.
        of_this: number of this host, from 0.
        seconds: how long to wait for the others.

    Raises:
        PromptError: the arguments are incomplete, no scheduler is found, or host 0 cannot be
            reached. XLA ends the process if the others do not come; the message is the same.
    """
    global _unconnected
    import jax
    from jax._src import distributed  # the store has no public name

    check_arguments(address, number, of_this)
    of = f" of {number}" if number else ""
    _unconnected = (
        f"the hosts{of} did not all connect to {address or 'host 0'} within {seconds} s; start all "
        "of them, each with its own --process_id, and check the address and firewalls"
    )
    if address and of_this:
        _await_port(address, seconds)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    with contextlib.suppress(AttributeError):  # its handler of SIGTERM would replace ours
        jax.config.update("jax_enable_preemption_service", False)
    ctypes.CDLL(None).signal(signal.SIGABRT, _aborted)
    try:
        with _without_stderr():
            jax.distributed.initialize(
                address or None,
                number,
                of_this,
                initialization_timeout=seconds,
                heartbeat_timeout_seconds=SECONDS_TO_ABORT,
            )
    except Exception as error:  # of XLA's own classes
        raise PromptError(_explain(address, error)) from error
    state = distributed.global_state
    hosts.join(state.client, state.process_id, state.num_processes)
    interrupts.ending = hosts.ended
    if not hosts.is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Hides XLA's long messages; `_aborted` says the same in a line."""
    global _stderr
    sys.stderr.flush()
    _stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(_stderr, 2)
        _stderr = 2


def check_arguments(address: str, number: int | None, of_this: int | None) -> None:
    """Checks the arguments of `connect`, whose flags have the names in the messages.

    Raises:
        PromptError: only some are given, or one is out of range.
    """
    given = {"--coordinator": address or None, "--num_processes": number, "--process_id": of_this}
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given):
        return
    if missing:
        raise PromptError(
            f"{', '.join(missing)} missing: --coordinator, --num_processes and --process_id belong "
            "together; give all three, or only --distributed where a scheduler starts the hosts"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise PromptError(f"--coordinator={address} must be HOST:PORT, e.g. 10.0.0.1:8476")
    assert number is not None and of_this is not None
    if number < 1:
        raise PromptError(f"--num_processes={number} must be at least 1")
    if not 0 <= of_this < number:
        raise PromptError(f"--process_id={of_this} must be from 0 to {number - 1}")


def _await_port(address: str, seconds: float) -> None:
    """Waits until host 0 listens, because XLA does not say why it cannot be reached."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
        if time.monotonic() > until:
            raise PromptError(
                f"--coordinator={address} cannot be reached within {seconds} s ({reason}); start "
                "--process_id=0 on that host, and check that the address is right and no firewall "
                "blocks the port"
            )
        time.sleep(0.5)


def _explain(address: str, error: Exception) -> str:
    """Returns the message for an error of `jax.distributed.initialize`."""
    reason = escape(str(error).splitlines()[0]) if str(error) else type(error).__name__
    if not address and "defined" in reason:
        return (
            "--distributed: found no Slurm, Open MPI, GKE or TPU pod with the hosts of this run; "
            "give --coordinator=HOST:PORT, --num_processes and --process_id"
        )
    return f"{_unconnected} ({reason})"


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    """Explains why XLA aborts the process: host 0, or its store, is gone."""
    words = hosts.lost_first() or _unconnected
    os.write(_stderr, f"error: {words}\n".encode())
    os._exit(2)
