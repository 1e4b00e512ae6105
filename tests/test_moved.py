"""Import paths of earlier versions still work, with a warning."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import tiny

import prompt_jax
from prompt_jax.moved import MOVED

OLD_IMPORTS = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from prompt_jax import evaluate, optim, train
    from prompt_jax.clip.state_dicts import read_state
    from prompt_jax.inputs.pictures.transforms import CLIP_MEAN
from prompt_jax.training import train as now
assert now is train and now.__spec__.name == "prompt_jax.training.train"
for each in caught:
    print(each.category.__name__, each.message)
"""


@pytest.mark.parametrize("old", sorted(MOVED))
def test_moved_names_exist(old):
    assert find_spec(MOVED[old]) is not None


def test_old_imports_work_and_name_the_new_path():
    done = subprocess.run(
        [sys.executable, "-c", OLD_IMPORTS], cwd=tiny.REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "FutureWarning prompt_jax.train is now prompt_jax.training.train" in done.stdout
    assert len(done.stdout.splitlines()) == 5


def test_the_earlier_name_of_bad_image_works():
    with pytest.warns(FutureWarning, match="BadPicture is now BadImage"):
        assert prompt_jax.BadPicture is prompt_jax.BadImage
