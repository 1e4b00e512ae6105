"""An exported folder computes in PyTorch alone what JAX computes."""

import exported
import numpy as np
import pytest
from reference import largest_difference

from prompt_jax.clip import loading
from prompt_jax.export import writing

ROWS = {
    "coop": ("coop", {}),
    "pro_mpt": ("pro_mpt", {"vision_prompts": 3, "vision_depth": 2}),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The models, what JAX says of a hundred pictures, and the folder of the exports, run."""
    folder = tmp_path_factory.mktemp("exports")
    pictures = exported.save_pictures(folder / "pictures", 100)
    images = exported.read_pictures(pictures)
    loading.save_hugging_face(exported.CLIP.config, exported.FROZEN, folder / "clip")
    models = {row: exported.train(name, **settings) for row, (name, settings) in ROWS.items()}
    for row, model in models.items():
        (folder / "all" / row).mkdir(parents=True)
        writing.write(folder / "all" / row, model, exported.FROZEN)
    exported.run_without_jax(folder / "all", folder / "clip", pictures)
    return models, images, folder / "all"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_logits_are_those_of_jax(exports, row):
    models, images, folder = exports
    for names, file in ((None, "trained.npy"), (exported.OTHERS, "others.npy")):
        expected = np.asarray(exported.logits_of(models[row], images, names))
        found = np.load(folder / row / file)
        assert largest_difference(found, expected) <= 1e-4
        assert (found[-1].argmax(-1) == expected[-1].argmax(-1)).all()
        assert np.ptp(expected, axis=1).max() > 1, "the pictures are all alike"
