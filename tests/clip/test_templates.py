"""The lists of templates, and zero-shot CLIP on an ensemble of them."""

import jax.numpy as jnp
import pytest
from reference import CLASSES, FROZEN, TINY, largest_difference

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.methods.images import zero_shot
from prompt_jax.text import templates


def test_lists_are_complete_and_each_template_has_one_slot_for_the_name():
    for texts, number in ((templates.IMAGENET, 80), (templates.IMAGENET_SELECT, 7)):
        assert len(set(texts)) == len(texts) == number
        assert all(text.count("{}") == 1 for text in texts)
    assert set(templates.IMAGENET_SELECT) <= set(templates.IMAGENET)


@pytest.mark.slow
def test_an_ensemble_averages_the_normalized_features_of_the_templates():
    names = CLASSES[:2]

    def features(settings, template="{}."):
        return methods.make_task(
            zero_shot.METHOD, TINY, FROZEN, names, settings, template
        ).constants

    each = [features(zero_shot.Settings(), text) for text in templates.IMAGENET_SELECT]
    expected = normalize(jnp.mean(jnp.stack(each), axis=0))
    ensemble = features(zero_shot.Settings(templates="imagenet_select"))
    assert largest_difference(ensemble, expected) <= 1e-5
    photo = features(zero_shot.Settings(templates="photo"))
    assert largest_difference(photo, features(zero_shot.Settings(), "a photo of a {}.")) == 0
