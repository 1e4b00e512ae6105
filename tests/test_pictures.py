"""Picture files of every kind decode to the pixels that Pillow's conversion gives, but 16 bits."""

import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from data_pipelines import pictures
from data_pipelines.errors import BadPicture
from data_pipelines.examples import Dataset, Example

RNG = np.random.default_rng(0)


def noise(mode, *channels):
    pixels = RNG.integers(0, 256, (19, 23, *channels), dtype=np.uint8)
    return Image.fromarray(pixels, mode) if mode == "CMYK" else Image.fromarray(pixels)


def transparent_palette():
    image = noise("RGB", 3).quantize(16)
    image.info["transparency"] = bytes(range(0, 256, 16))
    return image


KINDS = {
    "colour.jpg": noise("RGB", 3),
    "grey.jpg": noise("L"),
    "cmyk.jpg": Image.new("CMYK", (23, 19), (10, 200, 90, 30)),
    "colour.png": noise("RGB", 3),
    "grey.png": noise("L"),
    "grey_alpha.png": Image.merge("LA", [noise("L"), noise("L")]),
    "alpha.png": noise("RGBA", 4),
    "black_and_white.png": noise("L").convert("1"),
    "palette.png": noise("RGB", 3).quantize(16),
    "transparent_palette.png": transparent_palette(),
    "colour.webp": noise("RGB", 3),
    "alpha.webp": noise("RGBA", 4),
    "colour.bmp": noise("RGB", 3),
    "palette.gif": noise("RGB", 3).quantize(16),
    "colour.tiff": noise("RGB", 3),
}


@pytest.mark.parametrize("name", KINDS)
def test_decodes_as_pillow_converts(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    with warnings.catch_warnings():
        # Pillow warns about palettes with transparency; `open_picture` must not.
        warnings.simplefilter("ignore")
        expected = Image.open(tmp_path / name).convert("RGB")
    result = pictures.open_picture(tmp_path / name)
    assert result.mode == "RGB" and result.size == (23, 19)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("grey.png", np.uint16, "I;16"),
        ("grey.tiff", np.uint16, "I;16"),
        ("big_endian.tiff", ">u2", "I;16B"),
        ("grey.pgm", np.int32, "I"),
    ],
)
def test_sixteen_bit_greys_keep_their_upper_eight(tmp_path, name, kind, mode):
    grey = RNG.integers(0, 2**16, (19, 23))
    grey[0, :4] = 0, 255, 256, 65535
    Image.fromarray(grey.astype(kind)).save(tmp_path / name)
    with Image.open(tmp_path / name) as stored:
        assert stored.mode == mode
    result = pictures.open_picture(tmp_path / name)
    assert result.mode == "RGB" and result.size == (23, 19)
    expected = np.repeat(grey[:, :, None] // 256, 3, axis=2)
    np.testing.assert_array_equal(np.asarray(result), expected)


def test_a_png_that_an_older_pillow_opens_in_mode_i_is_scaled_too():
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], np.int32))
    image.format = "PNG"
    scaled = pictures._eight_bits(image)
    assert (scaled.mode, np.asarray(scaled).tolist()) == ("L", [[0, 0, 1, 255]])


def test_a_sixteen_bit_file_cut_short_is_bad(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(RNG.integers(0, 2**16, (99, 99)).astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BadPicture, match="grey.png: .*truncated"):
        pictures.open_picture(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_changes_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise("RGB", 3)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.png", exif=exif)
    plain, turned = (
        np.asarray(pictures.open_picture(tmp_path / name)) for name in ("plain.png", "turned.png")
    )
    np.testing.assert_array_equal(turned, plain)


def test_transparent_pixels_keep_their_colour(tmp_path):
    Image.new("RGBA", (4, 4), (10, 200, 30, 0)).save(tmp_path / "clear.png")
    assert pictures.open_picture(tmp_path / "clear.png").getpixel((1, 1)) == (10, 200, 30)


@pytest.mark.parametrize("name", ["colour.jpg", "colour.png", "colour.webp"])
def test_a_file_cut_short_is_bad(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadPicture, match=name):
        pictures.open_picture(tmp_path / name)


def test_every_picture_is_looked_at_once_and_counted(tmp_path):
    KINDS["colour.png"].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    names = ["good.png", "bad.png", "good.png", "gone.png"]
    examples = tuple(Example(name, 0, "x") for name in names)
    reader = pictures.FolderReader(tmp_path)
    dataset = Dataset("mine", "{}", examples, (), (), reader, tmp_path)
    done = []
    bad = pictures.find_bad(dataset, examples, lambda: done.append(1))
    assert [path.rsplit("/")[-1] for path, _ in bad] == ["bad.png", "gone.png"]
    assert len(done) == 3
    assert pictures.missing_files(dataset, examples) == ["gone.png"]


def test_a_cache_goes_to_a_worker_empty(tmp_path):
    KINDS["colour.png"].save(tmp_path / "a.png")
    cached = pictures.CachedReader(pictures.FolderReader(tmp_path), 10**6)
    example = Example("a.png", 0, "x")
    assert cached(example) is cached(example)
    copy = pickle.loads(pickle.dumps(cached))
    assert (copy.max_bytes, copy.bytes_used) == (10**6, 0)
    np.testing.assert_array_equal(np.asarray(copy(example)), np.asarray(cached(example)))
