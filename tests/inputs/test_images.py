"""Images of every format decode to the pixels of Pillow's conversion, except 16-bit ones."""

import io
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from data_pipelines.checks import lists
from data_pipelines.errors import BadImage
from data_pipelines.examples import Dataset, Example
from data_pipelines.images import readers
from prompt_jax.inputs.images import decoding, grays

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
def test_images_decode_like_pillow_converts(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    with warnings.catch_warnings():
        # Pillow warns about palettes with transparency; `open_image` must not.
        warnings.simplefilter("ignore")
        expected = Image.open(tmp_path / name).convert("RGB")
    result = decoding.open_image(tmp_path / name)
    assert result.mode == "RGB" and result.size == (23, 19)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [
        ("grey.png", np.uint16, "I;16"),
        ("grey.tiff", np.uint16, "I;16"),
        ("big_endian.tiff", ">u2", "I;16B"),
    ],
)
def test_sixteen_bit_grayscale_keeps_its_upper_eight_bits(tmp_path, name, kind, mode):
    grey = RNG.integers(0, 2**16, (19, 23))
    grey[0, :4] = 0, 255, 256, 65535
    Image.fromarray(grey.astype(kind)).save(tmp_path / name)
    with Image.open(tmp_path / name) as stored:
        assert stored.mode == mode
    result = decoding.open_image(tmp_path / name)
    assert result.mode == "RGB" and result.size == (23, 19)
    expected = np.repeat(grey[:, :, None] // 256, 3, axis=2)
    np.testing.assert_array_equal(np.asarray(result), expected)


def test_a_png_that_older_versions_of_pillow_open_in_mode_i_is_scaled_too():
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], np.int32))
    image.format = "PNG"
    scaled = grays.eight_bits(image)
    assert (scaled.mode, np.asarray(scaled).tolist()) == ("L", [[0, 0, 1, 255]])


def test_a_truncated_sixteen_bit_file_is_bad(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(RNG.integers(0, 2**16, (99, 99)).astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BadImage, match="grey.png: .*truncated"):
        decoding.open_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise("RGB", 3)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.png", exif=exif)
    plain, turned = (
        np.asarray(decoding.open_image(tmp_path / name)) for name in ("plain.png", "turned.png")
    )
    np.testing.assert_array_equal(turned, plain)


def test_transparent_pixels_keep_their_color(tmp_path):
    Image.new("RGBA", (4, 4), (10, 200, 30, 0)).save(tmp_path / "clear.png")
    assert decoding.open_image(tmp_path / "clear.png").getpixel((1, 1)) == (10, 200, 30)


@pytest.mark.parametrize("name", ["colour.jpg", "colour.png", "colour.webp"])
def test_a_truncated_file_is_bad(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImage, match=name):
        decoding.open_image(tmp_path / name)


def test_every_image_is_checked_once_and_counted(tmp_path):
    KINDS["colour.png"].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    names = ["good.png", "bad.png", "good.png", "gone.png"]
    examples = tuple(Example(name, 0, "x") for name in names)
    reader = readers.FolderReader(tmp_path)
    dataset = Dataset("mine", "{}", examples, (), (), reader, tmp_path)
    done = []
    bad = readers.find_bad(dataset, examples, lambda: done.append(1))
    assert [path.rsplit("/")[-1] for path, _ in bad] == ["bad.png", "gone.png"]
    assert len(done) == 3
    assert readers.missing_files(dataset, examples) == ["gone.png"]


def test_a_cache_is_empty_in_a_worker(tmp_path):
    KINDS["colour.png"].save(tmp_path / "a.png")
    cached = readers.CachedReader(readers.FolderReader(tmp_path), 10**6)
    example = Example("a.png", 0, "x")
    assert cached(example) is cached(example)
    copy = pickle.loads(pickle.dumps(cached))
    assert (copy.store.max_bytes, copy.store.bytes_used) == (10**6, 0)
    np.testing.assert_array_equal(np.asarray(copy(example)), np.asarray(cached(example)))


def check_and_open(path):
    """Checks that both functions raise the same message, and returns it."""
    reasons = []
    for look in (decoding.check_image, decoding.open_image):
        with pytest.raises(BadImage) as error:
            look(path)
        reasons.append(error.value.reason)
    assert reasons[0] == reasons[1]
    return reasons[0]


def test_special_files_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(decoding.MAX_FILE_BYTES + 1)
    reasons = {
        "pipe.jpg": "a named pipe",
        "link.jpg": "a named pipe",
        "zero.jpg": "a device",
        "folder.jpg": "a directory",
        "empty.jpg": "an empty file",
        "round.jpg": "symbolic link",
        "huge.jpg": "bytes; the limit is",
        "x" * 300: "File name too long",
        "a\0b.jpg": "null",  # byte or character, depending on the version of Python
    }
    for name, reason in reasons.items():
        assert reason in check_and_open(tmp_path / name)
    examples = tuple(Example(name, 0, "x") for name in reasons)
    reader = readers.FolderReader(tmp_path)
    dataset = Dataset("mine", "{}", examples, (), examples, reader, tmp_path)
    assert len(readers.find_bad(dataset, examples, decode=False)) == len(reasons)
    assert readers.missing_files(dataset, examples) == ["round.jpg", "x" * 300, "a\0b.jpg"]
    assert lists.copies(lists.splits(dataset)) == []


def test_undocumented_formats_are_rejected(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def started(*_, **__):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    box = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "eps.jpg").write_text(box)
    KINDS["grey.png"].save(tmp_path / "pgm.jpg", "PPM")
    (tmp_path / "phone.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(99))
    for name in ("eps.jpg", "pgm.jpg", "phone.avif"):
        assert "none of JPEG, PNG, WEBP, BMP, GIF, TIFF" in check_and_open(tmp_path / name)


def test_a_phone_s_jpeg_of_several_images_is_one_image(tmp_path):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    decoding.check_image(tmp_path / "a.jpg")
    red, green, blue = decoding.open_image(tmp_path / "a.jpg").getpixel((5, 5))
    assert red > 200 and green < 50 and blue < 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("mode", "size"), [("1", (13000, 13000)), ("P", (20000, 20000)), ("L", (1000000, 1))]
)
def test_too_large_images_are_rejected_without_decoding(tmp_path, mode, size):
    Image.new(mode, size).save(tmp_path / "a.png")
    assert "too large" in check_and_open(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore")
def test_a_jpeg_over_the_limit_is_decoded_at_half_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 5000)
    Image.new("RGB", (100, 80), (250, 0, 0)).save(tmp_path / "a.jpg")
    assert decoding.open_image(tmp_path / "a.jpg").size == (50, 40)
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    assert check_and_open(tmp_path / "a.png").startswith("100 x 80 pixels")


def test_insufficient_memory_is_a_bad_image(tmp_path, monkeypatch):
    KINDS["colour.png"].save(tmp_path / "a.png")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", full)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(BadImage, match=r"a\.png: not enough memory"):
        decoding.open_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_images_are_rotated_by_exif(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Corners of four grays, large enough to survive JPEG.
    corners = np.kron(np.array([[10, 90], [170, 250]], np.uint8), np.ones((16, 24), np.uint8))
    Image.fromarray(corners).save(tmp_path / f"a.{suffix}", exif=exif)
    turned = np.asarray(decoding.open_image(tmp_path / f"a.{suffix}", upright=True))[:, :, 0]
    expected = {
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.T,
        6: corners[::-1].T,
        7: corners[::-1, ::-1].T,
        8: corners.T[::-1],
    }[orientation]
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).max() < 30


def test_broken_exif_is_ignored_without_a_warning(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"
    KINDS["colour.jpg"].save(tmp_path / "a.jpg", exif=exif)
    code = (
        "import sys; from prompt_jax.inputs.images.decoding import open_image;"
        "print(open_image(sys.argv[1], upright=True).size)"
    )
    # In a separate process, because pytest has its own rules for warnings.
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("(23, 19)", "")


@pytest.mark.parametrize("name", ["colour.jpg", "colour.png", "colour.webp", "palette.gif"])
def test_checking_without_decoding_detects_a_truncated_file(tmp_path, monkeypatch, name):
    content = io.BytesIO()
    KINDS[name].save(content, name.split(".")[1].replace("jpg", "jpeg"))
    whole = content.getvalue()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    check_and_open(tmp_path / name)
    # Data that some cameras write after the end is accepted.
    (tmp_path / name).write_bytes(whole + bytes(100))
    decoding.check_image(tmp_path / name)
    if name != "colour.webp":
        (tmp_path / name).write_bytes(whole)
        monkeypatch.delattr("PIL.ImageFile.ImageFile.load")
        decoding.check_image(tmp_path / name)
