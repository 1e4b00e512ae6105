"""Connects the processes of a run by `jax.distributed`; see `hosts`."""

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
# Of JAX's own heartbeats, which abort the process; `hosts` notices a lost host earlier.
SECONDS_TO_ABORT = 120

_stderr = 2  # the file descriptor of messages


def _explain_abort() -> str:
    """Returns why JAX aborts the process; "" if it is not about hosts. Replaced by `connect`."""
    return ""


def connect(
    address: str = "",
    count: int | None = None,
    index: int | None = None,
    seconds: int = SECONDS_TO_CONNECT,
) -> None:
    """Connects this process with the others of its run, before JAX initializes its devices.

    Args:
        address: "HOST:PORT" of host 0; "" and None: as Slurm, Open MPI, GKE or a TPU pod say.
        count: number of hosts.
        index: number of this host, from 0.
        seconds: how long to wait for the other hosts.

    Raises:
        PromptError: the arguments are incomplete, no scheduler is found, or host 0 cannot be
            reached. If other hosts are missing, JAX aborts the process; `_aborted` says why.
    """
    global _explain_abort
    import jax
    from jax._src import distributed  # the store has no public name

    check_arguments(address, count, index)
    state = distributed.global_state

    def explain_timeout() -> str:
        of, first = f" of {count}" if count else "", state.coordinator_address or "host 0"
        return (
            f"not all hosts{of} connected to {first} within {seconds} s; start all of them, each "
            "with its own --process_id, and check the address and firewalls"
        )

    _explain_abort = explain_timeout
    if address and index:
        _await_port(address, seconds)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    handle = ctypes.CDLL(None).signal
    handle(signal.SIGABRT, _aborted)
    try:
        with _without_stderr():
            jax.distributed.initialize(
                address or None,
                count,
                index,
                initialization_timeout=seconds,
                heartbeat_timeout_seconds=SECONDS_TO_ABORT,
            )
    except Exception as error:  # of XLA's own classes
        raise PromptError(_explain(error, address, explain_timeout())) from error
    # JAX installs a handler of its own.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    first = state.coordinator_address or address
    _explain_abort = lambda: hosts.describe_loss(0) if _unreachable(first) else ""  # noqa: E731
    hosts.join(state.client, state.process_id, state.num_processes)
    interrupts.before_exit = hosts.announce_exit
    if hosts.is_first():
        handle(signal.SIGABRT, None)
    else:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Hides XLA's long messages while the hosts connect; `_aborted` prints one line instead."""
    global _stderr
    sys.stderr.flush()
    _stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(_stderr, 2)
        _stderr = 2


def check_arguments(address: str, count: int | None, index: int | None) -> None:
    """Checks the arguments of `connect`, whose flags have the names in the messages.

    Raises:
        PromptError: only some are given, or one is out of range.
    """
    given = {"--coordinator": address or None, "--num_processes": count, "--process_id": index}
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
    assert count is not None and index is not None
    if count < 1:
        raise PromptError(f"--num_processes={count} must be at least 1")
    if not 0 <= index < count:
        raise PromptError(f"--process_id={index} must be from 0 to {count - 1}")


def _await_port(address: str, seconds: float) -> None:
    """Waits until host 0 listens, because JAX does not say why it cannot be reached."""
    until = time.monotonic() + seconds
    while reason := _unreachable(address):
        if time.monotonic() > until:
            raise PromptError(
                f"--coordinator={address} cannot be reached within {seconds} s ({reason}); start "
                "--process_id=0 on that host, and check that the address is right and no firewall "
                "blocks the port"
            )
        time.sleep(0.5)


def _unreachable(address: str) -> str:
    """Returns why nothing listens at an address; "" if something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _explain(error: Exception, address: str, timeout: str) -> str:
    """Returns the message for an error of `jax.distributed.initialize`."""
    reason = escape(str(error).splitlines()[0]) if str(error) else type(error).__name__
    if not address and "defined" in reason:
        return (
            "--distributed: found no Slurm, Open MPI, GKE or TPU pod with the hosts of this run; "
            "give --coordinator=HOST:PORT, --num_processes and --process_id"
        )
    if "RPC server" in reason:
        return f"--coordinator={address}: the port is already in use on this host; use another one"
    return f"{timeout} ({reason})"


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int) -> None:
    """Prints a line when JAX aborts the process because host 0 has exited, then exits."""
    if message := _explain_abort():
        os.write(_stderr, f"error: {message}\n".encode())
        os._exit(2)
