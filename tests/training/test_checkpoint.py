"""Checkpoints are read as they were saved, or rejected."""

import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prompt_jax.errors import PromptError
from prompt_jax.training.checkpoint import Checkpoints

RECORD = {"identity": {"seed": 1, "rate": 0.1}, "position": {"next_index": 2}, "seconds": 1.25}
FLIPS = 150


def state_of(step):
    """Returns arrays of several types, like prompts and optimizer states."""
    rng = np.random.default_rng(step)
    return {
        "prompts": {"context": jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)},
        "momentum": [jnp.asarray(rng.normal(size=(3,)), jnp.bfloat16), {}],
        "step": jnp.asarray(step, jnp.int32),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns a directory with the checkpoints of steps 2 and 4, which tests must not change."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(folder)
    for step in (1, 2, 4):
        checkpoints.save(step, state_of(step), RECORD | {"step": step})
    checkpoints.close()
    return folder


def copied(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    return folder


def read(folder, step=4):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(step, state_of(0))
    finally:
        checkpoints.close()


def assert_as_saved(found, step):
    state, record = found
    assert record == RECORD | {"step": step}
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(state_of(step)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_saved_state_is_read_and_two_are_kept(saved):
    checkpoints = Checkpoints(saved)
    assert checkpoints.latest() == 4
    checkpoints.close()
    assert sorted(path.name for path in saved.iterdir()) == ["2", "4"]
    (saved / "008").mkdir()  # not the name of an array here
    assert checkpoints.latest() == 4
    (saved / "008").rmdir()
    for step in (2, 4):
        assert_as_saved(read(saved, step), step)


def test_a_flipped_bit_anywhere_is_rejected(saved, tmp_path):
    folder = copied(saved, tmp_path)
    files = sorted(path for path in (folder / "4").rglob("*") if path.is_file())
    assert len(files) > 5
    rng = np.random.default_rng(0)
    for number in range(FLIPS):
        path = files[number % len(files)]
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(PromptError) as error:
            read(folder)
        path.write_bytes(content)
        assert str(error.value).startswith(f"the checkpoint {folder}/4 cannot be read: ")
        assert path.name in (*str(error.value).replace("/", " ").split(), "digests.json")
        assert "resume from step 2, whose checkpoint is intact" in str(error.value)
    assert_as_saved(read(folder), 4)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda step: (step / "record.json").unlink(), "record.json missing or not as saved"),
        (lambda step: (step / "state/more").write_text(""), "state/more missing or not as saved"),
        (lambda step: shutil.rmtree(step / "state"), "more of its files missing or not as saved"),
        (lambda step: (step / "digests.json").unlink(), "or written by an earlier version"),
        (lambda step: (step / "digests.json").write_text("[" * 10**5), "digests.json is damaged"),
    ],
)
def test_other_files_are_rejected(saved, tmp_path, damage, words):
    folder = copied(saved, tmp_path)
    damage(folder / "4")
    with pytest.raises(PromptError, match=f"{words}; delete that directory to resume from step 2"):
        read(folder)
    damage(folder / "2")
    with pytest.raises(PromptError, match="delete that directory to start this run again"):
        read(folder)


def test_files_of_a_killed_save_are_ignored(saved, tmp_path):
    folder = copied(saved, tmp_path)
    shutil.copytree(folder / "4", folder / "6.unfinished")
    checkpoints = Checkpoints(folder)
    assert checkpoints.latest() == 4 and not (folder / "6.unfinished").exists()
    checkpoints.save(6, state_of(6), RECORD | {"step": 6})
    assert checkpoints.steps() == [4, 6]
    checkpoints.close()
    assert_as_saved(read(folder, 6), 6)


def test_arrays_of_another_tree_are_rejected(saved):
    checkpoints = Checkpoints(saved)
    other = state_of(0)
    other["prompts"]["context"] = jnp.zeros((5, 8))
    words = r"float32\[4, 8\] there, float32\[5, 8\] here"
    with pytest.raises(PromptError, match=words):
        checkpoints.restore(4, other)
    checkpoints.close()


def test_another_run_is_rejected_before_its_arrays_are_read(saved):
    def accept(record):
        raise PromptError(f"not {record['identity']['seed']}")

    checkpoints = Checkpoints(saved)
    with pytest.raises(PromptError, match="^not 1$"):
        checkpoints.restore(4, {}, accept)
    checkpoints.close()


def test_a_full_disk_leaves_the_previous_checkpoint(saved, tmp_path, capfd):
    folder = copied(saved, tmp_path)
    checkpoints = Checkpoints(folder)
    large = state_of(6) | {"prompts": {"context": jnp.ones((512, 512))}}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, before[1]))
    try:
        with pytest.raises(PromptError) as error:
            checkpoints.save(6, large, RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        checkpoints.close()
    message = str(error.value)
    assert message.startswith(f"the checkpoint {folder}/6 cannot be written (File too large); ")
    assert message.endswith("run again: it resumes from step 4, which is kept")
    assert "\n" not in message
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4"]
    assert_as_saved(read(folder), 4)
    assert capfd.readouterr() == ("", "")
