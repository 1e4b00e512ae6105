"""Images of every documented format, others with their suffixes, and very large ones."""

import io
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from data_pipelines.images.readers import open_image
from prompt_jax.inputs.images.transforms import test_transform, train_transform

from ..files import Files
from ..kind import Kind, Wrong, changing
from ..mutations import BYTES, NUMBERS

SIZE = 224  # of the transforms' results, as for most CLIPs
SIDES = (0, 1, 2, 255, 10_000, 13_000, 60_000, 65_535, 10**6, 2**31 - 1, 2**32 - 1)


def read(folder: Path) -> None:
    """Reads the only file as in training and testing."""
    (path,) = folder.iterdir()
    image = open_image(path)
    for made in (
        test_transform(image, SIZE),
        train_transform(image, SIZE, np.random.default_rng(0)),
    ):
        if made.shape != (SIZE, SIZE, 3) or not np.isfinite(made).all():
            raise Wrong(f"{made.shape}, or not finite")


def _image(mode: str) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    if mode == "I;16":
        return Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    return image.quantize(16) if mode == "P" else image.convert(mode)


def _encoded(format: str, mode: str, **options: Any) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    if format in ("JPEG", "PNG", "WEBP"):
        options.setdefault("exif", exif)
    _image(mode).save(file, format, **options)
    return file.getvalue()


_FRAMES = [_image("P").rotate(90 * turn) for turn in range(3)]
_ENCODINGS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "jpg": (
        *(("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})),
        ("RGB", {"icc_profile": b"profile" * 20, "comment": b"words", "quality": 100}),
    ),
    "png": (
        *(("RGB", {}), ("RGBA", {}), ("L", {}), ("LA", {}), ("1", {}), ("P", {}), ("I;16", {})),
        *(("P", {"transparency": bytes(range(16))}), ("P", {"save_all": True})),
    ),
    "webp": (("RGB", {}), ("RGBA", {"lossless": True}), ("RGB", {"save_all": True})),
    "bmp": (("RGB", {}), ("P", {}), ("L", {}), ("1", {})),
    "gif": (("P", {}), ("L", {}), ("P", {"save_all": True, "transparency": 3, "loop": 0})),
    "tiff": (
        *(("RGB", {"compression": c}) for c in ("raw", "tiff_lzw", "tiff_deflate", "packbits")),
        *(("RGB", {"compression": "jpeg"}), ("1", {"compression": "group4"}), ("I;16", {})),
        *(("RGBA", {}), ("P", {}), ("CMYK", {}), ("LAB", {}), ("F", {}), ("I", {})),
        ("RGB", {"save_all": True, "append_images": _FRAMES[1:]}),
    ),
}
_FORMATS = {"jpg": "JPEG"}


def _make(suffix: str) -> list[Files]:
    made = []
    for mode, options in _ENCODINGS[suffix]:
        if options.get("save_all"):
            options = {"append_images": _FRAMES[1:]} | options
        made.append(_encoded(_FORMATS.get(suffix, suffix.upper()), mode, **options))
    return [{f"image.{suffix}": content} for content in made]


def change_size(suffix: str, random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Changes a width or height in the header."""
    places = list(_sides(suffix, data))
    changed = bytearray(data)
    for start, kind in random.sample(places, min(len(places), random.choice((1, 2)))):
        side = random.choice(SIDES) % 2 ** (8 * struct.calcsize(kind))
        changed[start : start + struct.calcsize(kind)] = struct.pack(kind, side)
    return bytes(changed)


def _sides(suffix: str, data: bytes) -> list[tuple[int, str]]:
    """Returns where a file's header has a side of the image, and the type of the number."""
    if len(data) < 40:
        return []
    if suffix == "jpg":
        starts = [data.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2")]
        return [(s + o, ">H") for s in starts if 0 <= s < len(data) - 9 for o in (5, 7)]
    if suffix == "gif":
        frame = data.find(b"\x2c", 13)
        return [(6, "<H"), (8, "<H"), (frame + 5, "<H"), (frame + 7, "<H")][: 2 + 2 * (frame > 0)]
    return {
        "png": [(16, ">I"), (20, ">I")],
        "bmp": [(18, "<I"), (22, "<I")],
        "webp": [(24, "<H"), (26, "<H"), (28, "<H")],
    }[suffix]


def change_tag(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Changes the tag, type, count or value of an entry of a TIFF's directory."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        entry = start + 2 + 12 * random.randrange(max(1, count))
        changed = bytearray(data)
        kind, offset = random.choice((("H", 0), ("H", 2), ("I", 4), ("I", 8), ("I", 8), ("H", 8)))
        number = random.choice((*NUMBERS, *SIDES)) % 2 ** (8 * struct.calcsize(kind))
        struct.pack_into(order + kind, changed, entry + offset, number)
    except struct.error:
        return data
    return bytes(changed)


def _with_checksums(suffix: str, random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Applies a change, then corrects a PNG's checksums, so that it is decoded."""
    data = random.choice(_CHANGES[suffix])(random, data, others)
    if suffix != "png":
        return data
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + length]
        parts.append(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        position += 12 + length
    return b"".join(parts)


_CHANGES = {
    suffix: (*BYTES, *(partial(change_size, suffix),) * 3) for suffix in ("jpg", "png", "bmp")
}
_CHANGES |= {suffix: (*BYTES, partial(change_size, suffix)) for suffix in ("gif", "webp")}
_CHANGES["tiff"] = (*BYTES, *(change_tag,) * 6)

# Formats that Pillow writes but that are not documented here; EPS starts a program.
_OTHERS = ("EPS", "PDF", "ICO", "TGA", "PCX", "PPM", "SGI", "DDS", "JPEG2000", "AVIF")


def _make_others() -> list[Files]:
    names = ("image.jpg", "image.png", "image.tif")
    made = [_encoded(format, "RGB") for format in _OTHERS]
    eps = made[0]
    # A header with large sizes, followed by a program.
    made += [eps.replace(b"%%BoundingBox: 0 0 23 19", b"%%BoundingBox: 0 0 99999 99999")]
    made += [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\nshowpage\n"]
    made += [b"SIMPLE  =" + b" " * 20 + b"T" + b" " * 2850, b"\x8aMNG\r\n\x1a\n" + bytes(40)]
    hostile = [{names[i % 3]: content} for i, content in enumerate(made)]
    return [{"image.jpg": _encoded("JPEG", "RGB")}, *hostile]


def _large(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Returns a valid image of up to 2^28 pixels, with a small file."""
    pixels = 2.0 ** random.uniform(12, 28)
    width = max(1, min(2**20, round(2.0 ** random.uniform(0, 20))))
    height = max(1, min(2**20, round(pixels / width)))
    if random.random() < 0.5:
        width, height = height, width
    bits, colour = random.choice(((1, 0), (8, 0), (8, 2), (8, 3), (8, 6), (16, 0), (1, 0)))
    channels = {2: 3, 6: 4}.get(colour, 1)
    row = bytes(1 + (width * bits * channels + 7) // 8)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(768))] * (colour == 3) + [(b"IDAT", body), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
    )
    return {"image.png": content}


KINDS = [
    *(
        Kind(
            suffix,
            {"png": 14, "tiff": 14}.get(suffix, 10),
            partial(_make, suffix),
            changing(suffix, (partial(_with_checksums, suffix), *_CHANGES[suffix])),
            read,
        )
        for suffix in _ENCODINGS
    ),
    Kind("foreign", 5, _make_others, changing(("jpg", "png", "tif"), BYTES), read),
    Kind("large", 0.3, lambda: [{"image.png": _encoded("PNG", "1")}], _large, read),
]
assert not ImageFile.LOAD_TRUNCATED_IMAGES  # which would accept damaged images
