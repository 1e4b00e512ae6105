"""The embedded scenes are reproducible, match their descriptions, and differ by domain."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.scenes import (
    CLASSES,
    DOMAINS,
    Scene,
    caption,
    caption_in_full,
    compose,
    describe,
    render,
)
from data_pipelines.scenes.backgrounds import COLORS, PATTERNS
from data_pipelines.scenes.captions import SHORT
from data_pipelines.scenes.classes import EMOJI
from data_pipelines.scenes.domains import SHIFTS, STRENGTHS
from prompt_jax.clip import tokenizer

SHIFTED = DOMAINS[1:]
REPOSITORY = Path(__file__).resolve().parents[2]
DIGEST = """
import hashlib
from data_pipelines.scenes import ACTIONS, DOMAINS, render, render_video

images = [render(3 * i % 200, DOMAINS[i % 5], 7, i, 32 + i) for i in range(40)]
for name, action in ACTIONS.items():
    images.append(render_video(name, (8, 90)[: action.num_objects], 7, 1, frames=(3, 40)))
print(hashlib.sha256(b"".join(each.tobytes() for each in images)).hexdigest())
"""


def test_there_are_two_hundred_distinct_sorted_classes():
    assert len(CLASSES) == len(set(CLASSES)) == len(set(EMOJI.values())) == 200
    assert list(CLASSES) == sorted(CLASSES)
    assert all(len(emoji) == 1 for emoji in EMOJI.values())
    assert all(name == name.lower().strip() for name in CLASSES)


def test_names_are_short_for_the_text_tower():
    longest = max(CLASSES, key=lambda name: len(tokenizer.encode(name)))
    assert len(tokenizer.encode(longest)) <= 3, longest


def test_the_same_arguments_give_the_same_bytes_in_another_process():
    runs = [
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and len(runs[0].strip()) == 64


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_scene_is_described_without_rendering_it(domain):
    for index in range(40):
        label = (7 * index) % len(CLASSES)
        scene = compose(label, domain, 5, index)[1]
        assert describe(label, domain, 5, index) == scene
        text = caption_in_full(scene)
        assert CLASSES[label] in text and scene.color in text and "{" not in text
        assert len(tokenizer.encode(text)) <= 20
    with pytest.raises(DataError, match="label"):
        describe(200, domain, 5, 0)


def test_full_captions_differ_where_descriptions_do():
    scenes = [describe(3, domain, 5, index) for domain in DOMAINS for index in range(30)]
    assert len(set(map(caption_in_full, scenes))) == len(set(scenes))


def test_earlier_images_do_not_change_later_ones():
    first = compose(5, "sketch", 1, 2)
    for domain in DOMAINS:
        compose(5, domain, 1, 3)
        compose(6, domain, 1, 2, 64)
    again = compose(5, "sketch", 1, 2)
    np.testing.assert_array_equal(again[0], first[0])
    assert again[1] == first[1]


def test_global_random_state_has_no_effect():
    np.random.seed(0)
    first = render(5, "night", 1, 2)
    np.random.seed(1)
    np.testing.assert_array_equal(render(5, "night", 1, 2), first)


def test_every_argument_changes_the_image():
    images = [
        render(5, "plain", 1, 2),
        render(6, "plain", 1, 2),
        render(5, "plain", 2, 2),
        render(5, "plain", 2, 1),
        *(render(5, "plain", 1, 3 + i) for i in range(20)),
        *(render(5, domain, 1, 2) for domain in SHIFTED),
    ]
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_renders(domain):
    for label in range(len(CLASSES)):
        image = render(label, domain, 0, 0)
        assert image.shape == (48, 48, 3) and image.dtype == np.uint8
        assert image.std() > 3, f"{CLASSES[label]} in {domain} is an empty image"


@pytest.mark.parametrize("size", [32, 48, 61, 96])
def test_sizes(size):
    for domain in DOMAINS:
        assert render(0, domain, 0, 0, size).shape == (size, size, 3)


def test_the_object_has_the_described_position_and_size(monkeypatch):
    # On a known background, differing pixels belong to the object.
    def draw_gray(size, rng):
        return np.full((size, size, 3), 128, np.float32), "plain", "gray"

    # By its full name, because the package's attribute `render` is the function.
    module = importlib.import_module("data_pipelines.scenes.render")
    monkeypatch.setattr(module, "draw_background", draw_gray)
    centres: dict[str, list] = {}
    areas: dict[str, list] = {}
    for index in range(300):
        image, scene = compose(CLASSES.index("basketball"), "plain", 0, index)
        shown = np.abs(image.astype(int) - 128).max(axis=-1) > 12
        rows, columns = np.nonzero(shown)
        centres.setdefault(scene.position, []).append((columns.mean(), rows.mean()))
        if scene.count == 1:
            areas.setdefault(scene.size, []).append(shown.mean())
    middle = 23.5
    offsets = {key: np.array(found) - middle for key, found in centres.items()}
    assert (offsets["left"][:, 0] < -3).all() and (offsets["right"][:, 0] > 3).all()
    assert (offsets["top"][:, 1] < -3).all() and (offsets["bottom"][:, 1] > 3).all()
    assert (np.abs(offsets["center"]) < 4).all()
    # Medians, because a part of an object at the side may be outside the image.
    small, medium, large = (np.median(areas[key]) for key in ("small", "medium", "large"))
    assert small < medium < large


def test_descriptions_use_known_words_and_two_objects_are_rare():
    scenes = [compose(i % 200, "plain", 0, i, 32)[1] for i in range(600)]
    assert {each.background for each in scenes} == set(PATTERNS)
    assert {each.color for each in scenes} == set(COLORS)
    assert {each.size for each in scenes} == {"small", "medium", "large"}
    assert {each.position for each in scenes} == {"left", "right", "top", "bottom", "center"}
    assert 0.05 < np.mean([each.count == 2 for each in scenes]) < 0.2


def test_domains_look_like_their_names():
    def statistics(domain):
        stack = np.stack([render(i, domain, 0, 0) for i in range(0, 200, 2)]).astype(float)
        saturation = (stack.max(-1) - stack.min(-1)).mean()
        return stack.mean(), saturation, stack.mean((0, 1, 2))

    def bluer(means):
        return means[2] / means[0]

    brightness, saturation, plain = statistics("plain")
    sketch, silhouette, night = map(statistics, ("sketch", "silhouette", "night"))
    assert sketch[0] > brightness + 20 and sketch[1] < 0.6 * saturation
    assert silhouette[0] > brightness
    assert night[0] < 0.6 * brightness and bluer(night[2]) > 1.15 * bluer(plain)
    mosaic = render(0, "mosaic", 0, 0)
    tiles = mosaic.reshape(16, 3, 16, 3, 3)
    assert (tiles == tiles[:, :1, :, :1]).all()


@pytest.mark.parametrize("domain", SHIFTED)
def test_shifts_keep_a_share_of_the_color(domain):
    background = np.full((48, 48, 3), 150, np.float32)
    images = []
    for tint in ((220, 40, 40), (40, 40, 220)):
        objects = np.zeros((48, 48, 4), np.float32)
        objects[12:36, 12:36] = (*tint, 255)
        images.append(
            SHIFTS[domain](background, objects, np.random.default_rng(0), STRENGTHS[domain])
        )
    assert np.abs(images[0] - images[1]).mean() > 3


@pytest.mark.parametrize("domain", DOMAINS)
def test_captions_name_the_class_and_domain_and_fit_the_tower(domain):
    rng = np.random.default_rng(0)
    captions = []
    for index in range(600):
        label = index % 200
        scene = compose(label, domain, 0, index, 32)[1]
        text = caption(scene, rng)
        assert CLASSES[label] in text and "{" not in text
        assert len(tokenizer.encode(text)) <= 14, text
        captions.append((text, CLASSES[label]))
    short = np.mean([text in [form.format(name) for form in SHORT] for text, name in captions])
    assert 0.25 < short < 0.42
    words = {
        "plain": (),
        "sketch": ("sketch", "drawing"),
        "silhouette": ("silhouette", "dark", "light"),
        "night": ("night", "dark"),
        "mosaic": ("mosaic", "pixelated", "tiles"),
    }[domain]
    named = np.mean([any(word in text for word in words) for text, _ in captions])
    assert (0.4 < named < 0.6) if words else named == 0


def test_captions_are_determined_by_their_seed():
    scene = Scene(3, "plain", "stripes", "red", "small", "left", 1)
    first, second = (
        [caption(scene, rng) for _ in range(50)]
        for rng in (np.random.default_rng(4), np.random.default_rng(4))
    )
    assert first == second and len(set(first)) > 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": 200}, "label=200: must be a whole number from 0 to 199"),
        ({"label": -1}, "label=-1"),
        ({"label": 1.5}, "label=1.5"),
        ({"label": "cat"}, f"it is {CLASSES.index('cat')}"),
        ({"label": "elefant"}, "Did you mean 'elephant'"),
        ({"domain": "scetch"}, "Did you mean 'sketch'"),
        ({"size": 31}, "size=31: must be a whole number from 32 to 96"),
        ({"size": 97}, "size=97"),
        ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
        ({"index": -2}, "index=-2"),
    ],
)
def test_invalid_arguments_are_rejected(changed, message):
    arguments = {"label": 0, "domain": "plain", "seed": 0, "index": 0} | changed
    with pytest.raises(DataError) as raised:
        compose(**arguments)
    assert message in str(raised.value)
