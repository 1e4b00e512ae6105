"""Grayscale of more than 8 bits is scaled as a file says, or rejected if its white is unknown."""

import struct

import needs_torch  # noqa: F401
import numpy as np
import pytest
from PIL import Image

from data_pipelines.examples import Dataset, Example
from data_pipelines.images import readers
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.export.torch_parts import images as exported
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images.decoding import check_image, open_image

GREYS = np.random.default_rng(0).integers(0, 256, (6, 9)).astype(np.uint8)
GREYS[0, :2] = 0, 255
UNSIGNED, SIGNED, FLOATING = 1, 2, 3
LEAST, MOST = 340, 341


def tiff(path, pixels, kind=UNSIGNED, order="<", photometric=1, bits=None, declared=()):
    """Returns an uncompressed TIFF of one strip, because Pillow cannot write most of them."""
    height, width = pixels.shape
    bits = bits or pixels.dtype.itemsize * 8
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    fields = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, None)]
    fields += [(277, 1), (278, height), (279, len(data)), (339, kind), *declared]
    start = 8 + 2 + 12 * len(fields) + 4
    body = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(fields))
    for tag, value in fields:
        if isinstance(value, float):
            body += struct.pack(order + "HHIf", tag, 11, 1, value)
        else:
            body += struct.pack(order + "HHII", tag, 4, 1, start if value is None else value)
    path.write_bytes(body + struct.pack(order + "I", 0) + data)
    return path


def twelve_bits(pixels):
    """Returns pairs of 12-bit numbers in three bytes, with padded rows."""
    rows = []
    for row in pixels:
        bits = "".join(f"{value:012b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)))
    return b"".join(rows)


SIXTEEN = GREYS.astype(np.uint16) * 257
READ = {
    "16 bits": {"pixels": SIXTEEN},
    "16 bits, big-endian": {"pixels": SIXTEEN, "order": ">"},
    "white is zero": {"pixels": 65535 - SIXTEEN, "photometric": 0},
    "12 of 16 bits, declared": {
        "pixels": GREYS.astype(np.uint16) * 16,
        "declared": [(LEAST, 0), (MOST, 255 * 16)],
    },
    "signed, declared": {
        "pixels": GREYS.astype(np.int16) * 100 - 9000,
        "kind": SIGNED,
        "declared": [(LEAST, -9000.0), (MOST, 16500.0)],
    },
    "signed 8 bits, declared": {
        "pixels": (GREYS.astype(np.int16) - 128).astype(np.int8),
        "kind": SIGNED,
        "declared": [(LEAST, -128.0), (MOST, 127.0)],
    },
    "32 bits, declared": {
        "pixels": GREYS.astype(np.int32) * 10**6,
        "kind": SIGNED,
        "declared": [(LEAST, 0.0), (MOST, 255e6)],
    },
    "floats, declared": {
        "pixels": (GREYS / 255).astype(np.float32),
        "kind": FLOATING,
        "declared": [(LEAST, 0.0), (MOST, 1.0)],
    },
    "floats, white is zero, declared": {
        "pixels": (1 - GREYS / 255).astype(np.float32),
        "kind": FLOATING,
        "photometric": 0,
        "declared": [(LEAST, 0.0), (MOST, 1.0)],
    },
    "all black": {"pixels": np.zeros((6, 9), np.uint16)},
}
REFUSED = {
    "12 of 16 bits": {"pixels": GREYS.astype(np.uint16) * 16},
    "signed": {"pixels": GREYS.astype(np.int16) * 100, "kind": SIGNED},
    "signed 8 bits": {"pixels": GREYS.view(np.int8), "kind": SIGNED},
    "32 bits": {"pixels": GREYS.astype(np.int32), "kind": SIGNED},
    "floats": {"pixels": (GREYS / 255).astype(np.float32), "kind": FLOATING},
    "floats, infinite": {
        "pixels": np.full((6, 9), np.inf, np.float32),
        "kind": FLOATING,
        "declared": [(LEAST, 0.0), (MOST, 1.0)],
    },
    "white below black": {
        "pixels": SIXTEEN,
        "declared": [(LEAST, 9), (MOST, 3)],
    },
}


@pytest.mark.parametrize("name", READ)
def test_grayscale_is_scaled_as_the_file_says(tmp_path, name):
    path = tiff(tmp_path / "grey.tif", **READ[name])
    expected = np.zeros_like(GREYS) if name == "all black" else GREYS
    seen = np.asarray(open_image(path))
    assert (seen == np.dstack([expected] * 3)).all()
    check_image(path)
    with Image.open(path) as image:  # the same for an image in memory
        assert (np.asarray(preparation.decode(image, preparation.Inputs.of(8))) == seen).all()
        assert (np.asarray(exported.as_rgb(image)) == seen).all()


def test_twelve_bit_values_are_scaled(tmp_path):
    pixels = GREYS[:, :8].astype(np.uint16) * 16 + 7
    path = tiff(tmp_path / "grey.tif", pixels, bits=12)
    content = path.read_bytes()
    path.write_bytes(content[: -pixels.nbytes] + twelve_bits(pixels))
    assert (np.asarray(open_image(path))[..., 0] == GREYS[:, :8]).all()
    with Image.open(path) as image:
        assert (np.asarray(exported.as_rgb(image))[..., 0] == GREYS[:, :8]).all()


@pytest.mark.parametrize("name", REFUSED)
def test_grayscale_with_unknown_white_is_rejected_everywhere(tmp_path, name):
    path = tiff(tmp_path / "grey.tif", **REFUSED[name])
    for look in (open_image, check_image):
        with pytest.raises(BadImage, match=r"grey\.tif: .*convert it to 8 bits, or to 16 bits"):
            look(path)
    with Image.open(path) as image:
        with pytest.raises(PromptError, match="a Pillow image of mode .*convert it to 8 bits"):
            preparation.decode(image, preparation.Inputs.of(8))
        with pytest.raises(ValueError, match="does not say which are black and white"):
            exported.as_rgb(image)
    example = Example("grey.tif", 0, "fox")
    dataset = Dataset("folder", "{}", (example,), (), (), readers.FolderReader(tmp_path), tmp_path)
    for decode in (True, False):  # as `data_pipelines.check` and the start of a run check it
        [(bad, reason)] = readers.find_bad(dataset, [example], decode=decode)
        assert bad == str(path) and "convert it to 8 bits" in reason


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_images_without_their_file_s_fields_are_rejected(mode):
    pixels = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
    image = Image.fromarray(GREYS.astype(pixels))
    assert image.mode == mode
    with pytest.raises(PromptError, match=f"mode {mode}: .*convert it to 8 bits"):
        preparation.decode(image, preparation.Inputs.of(8))


def test_unsupported_formats_of_grayscale_are_rejected(tmp_path):
    for name, image in (
        ("a.pfm", Image.fromarray((GREYS / 255).astype(np.float32))),
        ("a.jp2", Image.fromarray(SIXTEEN)),
        ("a.pgm", Image.fromarray(SIXTEEN)),
    ):
        image.save(tmp_path / name)
        with pytest.raises(BadImage, match="none of JPEG, PNG"):
            open_image(tmp_path / name)


def test_dark_sixteen_bit_pngs_are_rejected_too(tmp_path):
    Image.fromarray(GREYS.astype(np.uint16) * 16).save(tmp_path / "a.png")
    for look in (open_image, check_image):
        with pytest.raises(BadImage, match=r"none above 4,080: .*fewer bits"):
            look(tmp_path / "a.png")
    Image.fromarray(SIXTEEN).save(tmp_path / "b.png")
    assert (np.asarray(open_image(tmp_path / "b.png"))[..., 0] == GREYS).all()
