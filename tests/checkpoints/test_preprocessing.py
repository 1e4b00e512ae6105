"""Image preprocessing is read from the files beside a checkpoint, checked, and applied."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from prompt_jax.clip import loading
from prompt_jax.clip.checkpoints import preprocessing_files
from prompt_jax.clip.checkpoints.preprocessing import read, resolve
from prompt_jax.clip.checkpoints.preprocessing_files import HUGGING_FACE, OPEN_CLIP, PROCESSOR
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing, choose
from prompt_jax.inputs.images.transforms import center_crop, resize

SIZE = 16
HALF = [0.5, 0.5, 0.5]
SHAPES = [
    *((16, 16), (40, 23), (23, 40), (37, 16), (16, 39), (6, 10), (61, 60), (200, 31)),
    *((5, 9), (9, 12), (11, 37)),  # odd margins
]


def noise(width, height):
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(folder, cfg=None, processor=None):
    if cfg is not None:
        (folder / OPEN_CLIP).write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": cfg}))
    if processor is not None:
        (folder / HUGGING_FACE).write_text(json.dumps(processor))
    return folder


def found(folder, cfg=None, processor=None, size=SIZE, **chosen):
    """Returns the preprocessing read from these files."""
    return resolve(read(write(folder, cfg, processor), size), chosen, size, "SETTING")


CROP = {"crop_size": {"height": SIZE, "width": SIZE}}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"shortest_edge": SIZE}, "image_mean": HALF, "image_std": HALF},
        {"size": SIZE, "crop_size": SIZE, "resample": 2},
        {"size": {"shortest_edge": 21}, "resample": 1},
        {"size": {"height": SIZE, "width": SIZE}},
        {"size": {"height": 21, "width": 21}, "resample": 2},
        {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False, "resample": 0},
        {"size": {"shortest_edge": SIZE}, "do_rescale": False},
        {"size": {"shortest_edge": SIZE}, "rescale_factor": 1 / 127.5},
        {"size": {"shortest_edge": SIZE}, "do_normalize": False},
        {"size": {"shortest_edge": 12}, "image_mean": [0.1, 0.2, 0.3]},
        {"size": {"shortest_edge": 13}},
        {"do_resize": False},
    ],
)
def test_images_equal_those_prepared_by_transformers(tmp_path, shape, changes):
    processor = CLIPImageProcessorPil(**CROP | changes)
    prepared, _ = found(tmp_path, processor=CROP | changes)
    image = noise(*shape)
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    seen = transforms.test_transform(image, SIZE, None, prepared)
    tolerance = 2e-6 * np.abs(expected).max()
    np.testing.assert_allclose(np.moveaxis(seen, -1, 0), expected, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize(
    ("save", "file"),
    [
        (lambda processor: processor, HUGGING_FACE),
        (lambda processor: CLIPProcessor(processor, CLIPTokenizer()), PROCESSOR),
    ],
)
def test_a_file_written_by_transformers_is_read(tmp_path, save, file):
    processor = CLIPImageProcessorPil(**CROP, size={"shortest_edge": SIZE}, image_mean=HALF)
    save(processor).save_pretrained(tmp_path)
    assert [name for name in (HUGGING_FACE, PROCESSOR) if (tmp_path / name).is_file()] == [file]
    prepared, notes = resolve(read(tmp_path, SIZE), {}, SIZE, "")
    assert prepared == Preprocessing(mean=(0.5, 0.5, 0.5), middle="floored")
    assert notes == [
        f"image preprocessing from {file}: shortest side to 16 (bicubic), "
        "center crop 16 × 16, normalized by mean 0.5, 0.5, 0.5 and std 0.2686, 0.2613, 0.2758"
    ]


NESTED = CROP | {"size": SIZE, "image_mean": HALF, "image_std": HALF}


@pytest.mark.parametrize(
    ("nested", "flat", "note"),
    [
        ({"image_processor": NESTED}, NESTED, None),
        (
            {"image_processor": NESTED},
            NESTED | {"image_mean": [0.25] * 3, "resample": 2},
            "processor_config.json overrides preprocessor_config.json, as in transformers 5: mean"
            " (0.5, 0.5, 0.5), not (0.25, 0.25, 0.25); interpolation bicubic, not bilinear",
        ),
        (
            {"image_processor": NESTED},
            CROP | {"image_processor_type": "ViTImageProcessor"},
            "as in transformers 5; the latter is invalid: image_processor_type: ",
        ),
        ({"image_processor": None}, NESTED, None),
        ({"processor_class": "CLIPProcessor"}, NESTED, None),
    ],
)
def test_of_two_files_the_one_that_transformers_uses_is_read(tmp_path, nested, flat, note):
    write(tmp_path, processor=flat)
    (tmp_path / PROCESSOR).write_text(json.dumps(nested))
    by_transformers, _ = CLIPImageProcessorPil.get_image_processor_dict(tmp_path)
    assert by_transformers["image_mean"] == HALF
    prepared, notes = resolve(read(tmp_path, SIZE), {}, SIZE, "SETTING")
    assert prepared == Preprocessing((0.5,) * 3, (0.5,) * 3, middle="floored")
    assert len(notes) == 1 + bool(note)
    assert (note or "") in notes[0]


@pytest.mark.parametrize("content", [[], {"image_processor": []}, {"image_processor": {"size": 0}}])
def test_invalid_processor_files_are_rejected(tmp_path, content):
    (tmp_path / PROCESSOR).write_text(json.dumps(content))
    with pytest.raises(PromptError, match=r"^processor_config\.json: .* overrides it: SETTING"):
        resolve(read(write(tmp_path, processor={}), SIZE), {}, SIZE, "SETTING")


@pytest.mark.parametrize(
    "more",
    [
        {"image_processor_type": "CLIPFeatureExtractor"},
        {"feature_extractor_type": "CLIPImageProcessor"},
        {"feature_extractor_type": "CLIPFeatureExtractor", "processor_class": "CLIPProcessor"},
        {"use_fast": True, "disable_grouping": True, "device": "cuda", "return_tensors": "pt"},
        {"transformers_version": "4.57.1", "_processor_class": "CLIPProcessor", "_name": "x"},
        {"_valid_processor_keys": ["images"], "_commit_hash": "0" * 40, "do_pad": False},
        {"size": {"shortest_edge": SIZE, "longest_edge": None, "max_height": None}},
    ],
)
def test_fields_without_effect_on_images_are_accepted(tmp_path, more):
    assert found(tmp_path, processor=CROP | more) == (CLIP, [])


def test_custom_code_named_by_a_file_is_not_run_and_is_reported(tmp_path):
    theirs = {"auto_map": {"AutoImageProcessor": "theirs.Processor"}}
    (tmp_path / "theirs.py").write_text("raise SystemExit")
    assert found(tmp_path, processor=CROP | theirs) == (
        CLIP,
        ["preprocessor_config.json refers to custom code (auto_map), which is not executed"],
    )


def test_clip_s_own_file_changes_nothing(tmp_path):
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    assert resolve(read(tmp_path, 224), {}, 224, "") == (CLIP, [])
    assert resolve(read(tmp_path / "nothing", 224), {}, 224, "") == (CLIP, [])


def by_open_clip(image, size, mode, fill):
    """Applies open_clip's rules for the number of pixels: `ResizeKeepRatio`, `CenterCropOrPad`."""
    width, height = image.size
    ratio = max(width / size, height / size)
    if mode == "squash":
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    small = image.resize((round(width / ratio), round(height / ratio)), Image.Resampling.BILINEAR)
    out = np.full((size, size, 3), fill, np.uint8)
    left, top = (size - small.width) // 2, (size - small.height) // 2
    out[top : top + small.height, left : left + small.width] = np.asarray(small)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["squash", "longest"])
def test_images_are_resized_like_open_clip(tmp_path, shape, mode):
    cfg = {"resize_mode": mode, "interpolation": "bilinear", "fill_color": 7, "size": [SIZE, SIZE]}
    prepared, _ = found(tmp_path, cfg)
    seen = center_crop(resize(noise(*shape), SIZE, prepared), SIZE, prepared)
    assert (np.asarray(seen) == by_open_clip(noise(*shape), SIZE, mode, 7)).all()


def test_open_clip_s_mean_and_deviation_are_read(tmp_path):
    cfg = {"mean": 0.5, "std": HALF, "interpolation": "random", "resize_mode": "shortest"}
    assert found(tmp_path, cfg)[0] == Preprocessing((0.5,) * 3, (0.5,) * 3)
    assert found(tmp_path, cfg)[0].stats == "half"


@pytest.mark.parametrize(
    ("cfg", "processor", "words"),
    [
        ({"size": 48}, None, "preprocess_cfg.size=48, but the weights take 16"),
        ({"mode": "L"}, None, "preprocess_cfg: mode: .*L.*should be 'RGB'"),
        ({"resize_mode": "crop"}, None, "resize_mode: .*crop.*'shortest', 'longest' or 'squash'"),
        ({"blur": 3}, None, "preprocess_cfg: blur: .*3"),
        ({"mean": [0.5, 0.5]}, None, "mean"),
        ({"std": [0, 1, 1]}, None, r"std=\(0.0, 1.0, 1.0\): each must be from 0.0001 to 1"),
        ([], None, "preprocess_cfg: the whole"),
        (None, {"crop_size": 224}, "crop_size=224, but the weights take 16"),
        (None, {"size": 60000}, "size=60000 is more than 8 times 16"),
        (None, {"size": {"shortest_edge": 16, "longest_edge": 30}}, "longest_edge"),
        (None, {"size": {"height": 16, "width": 20}}, "must be square"),
        (None, {"size": 16, "do_center_crop": False}, "do_center_crop=False with size=.16. does"),
        (None, {"image_processor_type": "ViTImageProcessor"}, "image_processor_type: .*ViTImageP"),
        (None, {"resample": 6}, "resample: .*6"),
        (None, {"do_pad": True}, "do_pad: .*True"),
        (None, {"do_resize": "yes"}, "do_resize: .*yes"),
        ({"resize_mode": "squash"}, {"size": 16}, "resize is squash in .*, shortest in prep"),
        ({"mean": HALF, "std": HALF}, {"image_mean": [0.4] * 3}, "mean is "),
    ],
)
def test_unknown_or_contradictory_fields_are_rejected(tmp_path, cfg, processor, words):
    with pytest.raises(PromptError, match=f"{words}.*which overrides it: SETTING"):
        found(tmp_path, cfg, processor)
    chosen = choose(stats="half", resize="squash", interpolation="bilinear")
    prepared, notes = found(tmp_path, cfg, processor, **chosen)
    assert prepared == Preprocessing((0.5,) * 3, (0.5,) * 3, "squash", 0, "bilinear")
    assert notes[-1].startswith("image preprocessing from the settings: squashed to 16")


def test_a_setting_overrides_a_file_with_a_note(tmp_path):
    prepared, notes = found(tmp_path, {"mean": HALF, "std": HALF}, **choose("clip"))
    assert prepared == CLIP
    assert notes[0].startswith("mean=(0.48")
    assert notes[0].endswith("is set and overrides (0.5, 0.5, 0.5) in open_clip_config.json")


def test_files_that_agree_are_both_accepted(tmp_path):
    cfg = {"mean": HALF, "std": HALF, "resize_mode": "shortest", "interpolation": "bicubic"}
    processor = CROP | {"image_mean": HALF, "image_std": 0.5, "resample": 3, "size": SIZE}
    assert found(tmp_path, cfg, processor)[0] == Preprocessing((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"stats": "hlaf"}, "unknown stats 'hlaf'. Did you mean 'half'"),
        ({"stats": "half", "mean": (0.5,) * 3, "std": (0.5,) * 3}, "a name or numbers, not both"),
        ({"mean": (0.5,) * 3}, "set both"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 3}, "must be 3 numbers"),
        ({"mean": (0.5, float("nan"), 0.5), "std": (0.5,) * 3}, "must be 3 numbers"),
        ({"resize": "crop"}, "unknown resize 'crop'"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'. Did you mean 'bicubic'"),
    ],
)
def test_settings_are_checked(asked, words):
    with pytest.raises(PromptError, match=words):
        choose(**asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
FIELDS = st.sampled_from(
    [
        *preprocessing_files._ImageProcessor.model_fields,
        *preprocessing_files._PreprocessCfg.model_fields,
    ]
)


@settings(max_examples=150, deadline=None)
@given(*[JSON | st.dictionaries(FIELDS, JSON, max_size=4)] * 2)
def test_any_file_content_is_read_or_rejected(tmp_path_factory, content, processor):
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / PROCESSOR).write_text(json.dumps({"image_processor": processor}))
    try:
        prepared, _ = found(folder, content, content)
    except PromptError as error:
        assert "which overrides it: SETTING" in str(error)
    else:
        image = transforms.test_transform(noise(20, 30), SIZE, None, prepared)
        assert image.shape == (SIZE, SIZE, 3)
        assert np.isfinite(image).all()


def test_a_single_weight_file_assumes_openai_s_preprocessing(tmp_path):
    write(tmp_path, {"mean": HALF, "std": HALF})
    file = tmp_path / "weights.safetensors"
    file.touch()
    message = loading.read_preprocessing(file, SIZE)
    assert not message.alone and set(message.fields) == {"mean", "std", "middle"}
    (tmp_path / OPEN_CLIP).unlink()
    message = loading.read_preprocessing(file, SIZE)
    prepared, [note] = resolve(message, {}, SIZE, "SETTING")
    assert prepared == CLIP
    assert note.startswith("assumed: images normalized with OpenAI's mean") and "SETTING" in note
    assert resolve(message, choose("clip"), SIZE, "SETTING") == (CLIP, [])
    # The files of transformers beside it belong to the weights of config.json.
    write(tmp_path, processor={"image_mean": HALF})
    assert loading.read_preprocessing(file, SIZE).alone
    (tmp_path / "config.json").touch()
    assert loading.read_preprocessing(file, SIZE).fields["mean"] == ((0.5,) * 3, HUGGING_FACE)
    (tmp_path / PROCESSOR).write_text(json.dumps({"image_processor": {"image_mean": [0.25] * 3}}))
    assert loading.read_preprocessing(file, SIZE).fields["mean"] == ((0.25,) * 3, PROCESSOR)
