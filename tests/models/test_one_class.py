"""With a single class the cosine is given with a note, because the probability is always 1."""

import dataclasses

import numpy as np
import pytest
import tiny

import prompt_jax as pj

IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8))
WARNING = "'sea horse' is the only class"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def cosines(model, name):
    texts = model.encode_texts([model.template.replace("{}", name)])
    return (model.encode_images(IMAGES) @ texts.T)[:, 0]


def test_for_zero_shot_clip_it_is_the_cosine_of_the_features(clip):
    model = pj.load(clip)
    with pytest.warns(UserWarning, match=WARNING):
        found = model.predict(IMAGES, ["sea horse"])
    np.testing.assert_allclose(found.similarities, cosines(model, "sea horse"), atol=1e-5)
    assert found.logits.shape == (1, 3, 1) and (found.probabilities == 1).all()
    assert [one.similarity for one in found] == found.similarities.tolist()
    for line, cosine in zip(str(found).splitlines(), found.similarities, strict=True):
        assert line.endswith(f": sea horse {cosine:.3f}")


@pytest.mark.parametrize("method", ["tip_adapter", "gda", "coop"])
def test_for_methods_it_is_a_cosine_whatever_they_add(clip, method):
    settings = {"context_length": 2, "context_words": ""} if method == "coop" else {"alpha": 2.0}
    labels = ["sea horse", "pagoda", "sea horse"]
    model = pj.fit(method, clip, IMAGES, labels, epochs=1, settings=settings)
    with pytest.warns(UserWarning, match=WARNING):
        found = model.predict(IMAGES, ["sea horse"])
    if method == "coop":
        # The logits of two classes are the same cosines, scaled.
        logits = model.predict(IMAGES).logits[-1]
        scale = float(np.exp(np.asarray(model.frozen["logit_scale"])))
        expected = logits[:, model.class_names.index("sea horse")] / scale
    else:
        expected = cosines(model, "sea horse")
    np.testing.assert_allclose(found.similarities, expected, atol=1e-5)


def test_for_videos_it_is_that_of_the_method(clip):
    videos = np.random.default_rng(1).integers(0, 256, (2, 2, 40, 40, 3), np.uint8)
    model = pj.fit("vop_p", clip, list(videos), ["sea horse", "pagoda"], epochs=1, frames=2)
    with pytest.warns(UserWarning, match=WARNING):
        found = model.predict(list(videos), ["sea horse"])
    encoded = (
        model.encode_images(list(videos))
        @ model.encode_texts([model.template.replace("{}", "sea horse")]).T
    )
    np.testing.assert_allclose(found.similarities, encoded[:, 0], atol=1e-5)


def test_several_classes_have_no_similarity(clip):
    found = pj.load(clip).predict(IMAGES, ["sea horse", "pagoda"])
    assert found.similarities is None and found[0].similarity is None
    assert "%" in str(found[0])


def test_unreadable_images_have_no_similarity(clip, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=WARNING):
        found = pj.load(clip).predict(
            [tmp_path / "a.jpg"], ["sea horse"], on_error=lambda bad: None
        )
    assert np.isnan(found.similarities).all()
    assert dataclasses.asdict(found[0])["similarity"] is None and found[0].error
