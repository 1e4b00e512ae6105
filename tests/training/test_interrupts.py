"""Ctrl-C and SIGTERM in real processes: handling, messages and exit codes."""

import signal
import subprocess
import threading

import pytest
import tiny

from prompt_jax.cli import interrupts

# A command whose main thread never returns to Python, as in a compilation, so no handler runs.
BUSY = """
import signal, sys
from prompt_jax.cli import interrupts
{first}
interrupts.listen("stopped")
signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)  # for this thread alone
{before}
print("buffered", end="")
print("ready", file=sys.stderr, flush=True)
while True:
    pass
"""
LOOP = """
stop = interrupts.StopRequest().__enter__()
{step}
"""


def start(before="", first=""):
    """Starts the process and waits until it is busy.

    The code `first` runs before it handles signals, `before` after that.
    """
    process = tiny.command("-c", BUSY.format(before=before, first=first))
    assert process.stderr.readline() == "ready\n"
    return process


def end(process):
    """Waits for the end; returns exit code, stdout, stderr."""
    try:
        out, error = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, out, error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_a_command_without_a_loop(number, code):
    process = start()
    process.send_signal(number)
    assert end(process) == (code, "buffered", "stopped\n")


def test_the_first_signal_ends_a_loop_before_its_first_step():
    process = start(LOOP.format(step=""))
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", "stopped\n")


def test_the_first_signal_finishes_the_step_and_the_second_ends_the_process():
    process = start(LOOP.format(step="stop.step_done()"))
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == interrupts.STOPPING + "\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * interrupts.ONE_STOP)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", interrupts.AT_ONCE + "\n")


def test_a_signal_sent_twice_at_once_counts_once():
    process = start(LOOP.format(step="stop.step_done()"))
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGTERM):  # as `timeout` stops a group
        process.send_signal(number)
    assert process.stderr.readline() == interrupts.STOPPING + "\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * interrupts.ONE_STOP)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, "buffered", interrupts.AT_ONCE + "\n")


def test_a_stopped_command_exits_at_once_with_the_loop_s_message():
    process = tiny.command("-c", STOPPED)
    assert end(process) == (143, "buffered", interrupts.STOPPING + "\nstopped after step 3\n")


STOPPED = """
import atexit, signal, sys, time, types
from prompt_jax.cli import commands, interrupts
def main(argv):
    atexit.register(time.sleep, 60)
    print("buffered", end="")
    with interrupts.StopRequest() as stop:
        stop.step_done()
        signal.raise_signal(signal.SIGTERM)
        while not stop.requested:
            time.sleep(0.01)
        time.sleep(0.1)
        raise KeyboardInterrupt("stopped after step 3")
sys.modules["stopping"] = types.SimpleNamespace(main=main)
commands.run("stopping", "main", [])
"""


def test_workers_end_with_the_command():
    process = start(
        "import multiprocessing, time\n"
        "worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "worker.start()"
    )
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130  # its output closes, which a worker would keep open


def test_a_signal_that_background_jobs_ignore_is_handled():
    process = start(first="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", "stopped\n")


@pytest.mark.parametrize("module", ["experiments.main", "data_pipelines.check"])
def test_a_command_handles_ctrl_c_during_its_imports(tmp_path, module):
    # An import of the command, after it handles signals, is delayed.
    (tmp_path / "argparse.py").write_text(WAITING)
    (tmp_path / "ml_collections.py").write_text(WAITING)
    process = tiny.command("-m", module, PYTHONPATH=f"{tmp_path}:{tiny.REPOSITORY}")
    assert process.stderr.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    words = interrupts.UNSAVED if module == "experiments.main" else "stopped"
    assert end(process) == (130, "", f"{words}\n")


WAITING = """
import sys, time
print("importing", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def sigint_enabled():
    """Enables Ctrl-C as in a terminal; background jobs are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_a_command_the_loop_installs_and_restores_handlers(sigint_enabled, capsys):
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.StopRequest() as stop:
        stop.step_done()
        assert not stop.requested
        with pytest.raises(KeyboardInterrupt):
            for expected in (True, None):
                signal.raise_signal(signal.SIGINT)
                assert stop.requested is expected
        assert capsys.readouterr().err == interrupts.STOPPING + "\n"
        stop.requested = False
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_a_stop_requested_after_the_last_check_is_not_lost():
    with (
        pytest.raises(KeyboardInterrupt, match="stopped; run again to resume"),
        interrupts.StopRequest(),
    ):
        signal.raise_signal(signal.SIGINT)


def test_resuming_is_promised_only_once_something_is_saved(monkeypatch):
    ended = []
    monkeypatch.setattr(interrupts, "end", lambda number, words: ended.append(words))
    monkeypatch.setattr(interrupts, "has_saved", False)
    for words in (interrupts.RESUMES, "stopped"):
        interrupts.Listener(words).handle(signal.SIGINT)
    interrupts.record_saved()
    interrupts.Listener(interrupts.RESUMES).handle(signal.SIGINT)
    assert ended == [interrupts.UNSAVED, "stopped", interrupts.RESUMES]


def test_outside_the_main_thread_no_handler_is_installed():
    before, inside = signal.getsignal(signal.SIGINT), []

    def loop():
        with interrupts.StopRequest():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert inside == [before]
