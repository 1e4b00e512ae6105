"""Ctrl-C and SIGTERM in real processes: when they are heard, what is said, how the process ends."""

import signal
import subprocess
import threading

import pytest
import tiny

from prompt_jax.cli import interrupts

# A command whose main thread is kept from Python, as by a compilation: no handler of its own runs.
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
    """The process, once it is busy; `first` comes before it listens, `before` before it is busy."""
    process = tiny.command("-c", BUSY.format(before=before, first=first))
    assert process.stderr.readline() == "ready\n"
    return process


def end(process):
    """What became of it: exit code, stdout, stderr."""
    try:
        out, error = process.communicate(timeout=20)
    finally:
        process.kill()
    return process.returncode, out, error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_what_has_nothing_to_finish(number, code):
    process = start()
    process.send_signal(number)
    assert end(process) == (code, "buffered", "stopped\n")


def test_before_its_first_step_is_done_a_loop_has_nothing_to_finish():
    process = start(LOOP.format(step=""))
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", "stopped\n")


def test_a_step_is_finished_after_the_first_signal_and_left_at_the_second():
    process = start(LOOP.format(step="stop.step_done()"))
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == interrupts.STOPPING + "\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * interrupts.ONE_STOP)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", interrupts.AT_ONCE + "\n")


def test_a_signal_that_comes_twice_at_a_time_is_one():
    process = start(LOOP.format(step="stop.step_done()"))
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGTERM):  # as `timeout` stops a group
        process.send_signal(number)
    assert process.stderr.readline() == interrupts.STOPPING + "\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * interrupts.ONE_STOP)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, "buffered", interrupts.AT_ONCE + "\n")


def test_a_stopped_command_exits_at_once_with_the_loop_s_words():
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
        while not stop.asked:
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
    assert end(process)[0] == 130  # its output ends, which a worker would hold open


def test_a_signal_that_background_jobs_ignore_is_heard():
    process = start(first="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "buffered", "stopped\n")


@pytest.mark.parametrize("module", ["experiments.main", "data_pipelines.check"])
def test_a_command_hears_ctrl_c_while_its_imports_run(tmp_path, module):
    # What the command imports after it listens is put in its way.
    (tmp_path / "argparse.py").write_text(WAITING)
    (tmp_path / "ml_collections.py").write_text(WAITING)
    process = tiny.command("-m", module, PYTHONPATH=f"{tmp_path}:{tiny.REPOSITORY}")
    assert process.stderr.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    again = "; run again to resume" if module == "experiments.main" else ""
    assert end(process) == (130, "", f"stopped{again}\n")


WAITING = """
import sys, time
print("importing", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def heeded():
    """Ctrl-C as in a terminal; background jobs are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_a_command_the_loop_has_handlers_and_gives_them_back(heeded, capsys):
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.StopRequest() as stop:
        stop.step_done()
        assert not stop.asked
        with pytest.raises(KeyboardInterrupt):
            for expected in (True, None):
                signal.raise_signal(signal.SIGINT)
                assert stop.asked is expected
        assert capsys.readouterr().err == interrupts.STOPPING + "\n"
        stop.asked = False
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_a_stop_asked_for_after_the_last_look_is_not_forgotten():
    with (
        pytest.raises(KeyboardInterrupt, match="stopped; run again to resume"),
        interrupts.StopRequest(),
    ):
        signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_no_handler_is_set():
    before, inside = signal.getsignal(signal.SIGINT), []

    def loop():
        with interrupts.StopRequest():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert inside == [before]
