"""HEIC images, which need pillow-heif."""

import io

import numpy as np
import pytest
from PIL import Image

from prompt_jax.errors import BadImage
from prompt_jax.inputs.images import decoding, files, heic

START = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(heic, "is_installed", lambda: False)


def test_without_the_package_the_error_says_how_to_install_it(tmp_path, missing):
    path = tmp_path / "a.heic"
    path.write_bytes(START + bytes(100))
    for file in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(BadImage, match="a HEIC image; install pillow-heif .*heic.*to JPEG"):
            decoding.open_image(file)
    assert files.images_below(tmp_path) == []
    assert "1 .heic; convert those that are images to JPEG or PNG, or install pillow-heif" in (
        files.left_out(tmp_path)
    )


def test_other_files_are_no_heic_images(tmp_path, missing):
    (tmp_path / "a.heic").write_bytes(b"no image at all")
    with pytest.raises(BadImage, match="not an image, or none of JPEG"):
        decoding.open_image(tmp_path / "a.heic")
    assert not heic.is_heic(tmp_path / "gone")
    assert not heic.is_heic(io.BytesIO(START[:8] + b"isom"))


@pytest.fixture
def photo(tmp_path):
    """Writes a photo of 40 x 24 pixels that is red on its left half."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: .[heic]")
    pixels = np.full((24, 40, 3), (20, 20, 200), np.uint8)
    pixels[:, :20] = 200, 20, 20
    path = tmp_path / "IMG_0001.HEIC"
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95)
    return path


def test_photos_are_listed_decoded_and_checked(photo):
    assert files.images_below(photo.parent) == [photo.name]
    image = decoding.open_image(photo, upright=True)
    assert image.mode == "RGB" and image.size == (40, 24)
    pixels = np.asarray(image).astype(int)
    assert (pixels[:, :16, 0] > pixels[:, :16, 2]).all()
    assert (pixels[:, 24:, 0] < pixels[:, 24:, 2]).all()
    decoding.check_image(photo)
    content = io.BytesIO(photo.read_bytes())
    np.testing.assert_array_equal(np.asarray(decoding.open_image(content)), pixels)


def test_truncated_photos_are_rejected(photo):
    content = photo.read_bytes()
    photo.write_bytes(content[: len(content) // 2])
    for look in (decoding.check_image, decoding.open_image):
        with pytest.raises(BadImage):
            look(photo)
