"""Mutations of bytes, text, JSON and zip archives, each drawn from a `random.Random`.

Hypothesis is not used: its strategies generate new values instead of damaging valid files, and have
no public way to repeat one input by its number.
"""

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

Change = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""(random, content, contents of other valid files of its kind) -> changed content."""

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 10**6, 2**31 - 1, 2**32 - 1, 2**63)
WORDS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\r", b"\n\n", b'"', b"'",
    b"../", b"/etc/passwd", b"..\\", b"%s%n", b"{}", b"NaN", b"-1", b"1e999", b"a" * 300,
    b"9" * 5000, b"[" * 100_000, b'{"a":' * 20_000, b"\x1b[2J", "\N{KELVIN SIGN}é漢".encode(),
    b"(" * 3000, b"/" * 300, b"\x80\x04\x95", b"%!PS-Adobe-3.0 EPSF-3.0\n",
)  # fmt: skip


def flip_bits(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replaces a few adjacent bytes, preferably near the start."""
    start = _place(random, data)
    length = random.randint(1, 8)
    return data[:start] + random.randbytes(length) + data[start + length :]


def set_number(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Writes a whole number, often an edge case, in either byte order."""
    size = random.choice("BHIQ")
    number = random.choice(NUMBERS) % 2 ** (8 * struct.calcsize(size))
    packed = struct.pack(random.choice("<>") + size, number)
    start = _place(random, data)
    return data[:start] + packed + data[start + len(packed) :]


def cut_end(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Truncates the data, possibly to nothing."""
    return data[: random.randrange(len(data) + 1)]


def remove_part(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Removes a part."""
    start, end = _part(random, data)
    return data[:start] + data[end:]


def repeat_part(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Repeats a part."""
    start, end = _part(random, data)
    return data[:end] + data[start:end] * random.randint(1, 20) + data[end:]


def insert_word(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Inserts a word that is difficult for parsers."""
    start = _place(random, data)
    return data[:start] + random.choice(WORDS) + data[start:]


def splice(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Joins the start of one file and the end of another."""
    other = random.choice(others) if others else data
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


BYTES: tuple[Change, ...] = (
    *(flip_bits, set_bytes, set_number, cut_end, remove_part, repeat_part, insert_word, splice),
)


def change_lines(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Repeats, swaps, removes or replaces lines, words or fields."""
    ends = random.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\x0c", "\u2028".encode()))
    lines = data.split(b"\n")
    for _ in range(random.randint(1, 3)):
        at, other = random.randrange(len(lines)), random.randrange(len(lines))
        match random.randrange(6):
            case 0:
                lines[at] = lines[other]
            case 1:
                lines[at], lines[other] = lines[other], lines[at]
            case 2:
                lines.insert(at, lines[other] * random.randint(0, 3))
            case 3 if len(lines) > 1:
                del lines[at]
            case _:
                separator = random.choice((b",", b" ", b"\t"))
                fields = lines[at].split(separator)
                fields[random.randrange(len(fields))] = random.choice(WORDS)
                lines[at] = separator.join(fields)
    return ends.join(lines)


TEXT: tuple[Change, ...] = (change_lines, change_lines, change_lines, *BYTES)


class _Twin(str):
    """A key that can be in a dict twice, so that the JSON has it twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


# Inserted after `json.dumps`, which could not write them.
_RAW = {
    "@deep list@": "[" * 100_000 + "]" * 100_000,
    "@deep object@": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "@digits@": "9" * 5000,
    "@minus@": "-" + "9" * 400,
    "@exponent@": "1e999",
}
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 10**6, 2**31, 2**63, 10**30, 0.5, -0.0, 1e300),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "a", "0", "/etc/passwd", "../../x", "."),
    *("\ud800", "\x00", "\x1b[2J", "a" * 300, "x" * 100_000, "{}", [], {}, [[]], [None], {"": ""}),
    *(["a", 0, "b"], {"a": {"b": {}}}, *_RAW),
)


def change_json(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replaces, moves, repeats or removes values; renames or repeats keys."""
    root = [json.loads(data)]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        holder, key = random.choice(list(_places(root)))
        places = list(_places(root))
        match random.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1:
                from_holder, from_key = random.choice(places)
                holder[key] = copy.deepcopy(from_holder[from_key])
            case 2 if isinstance(holder, dict):
                holder[_Twin(key)] = copy.deepcopy(random.choice((holder[key], *_VALUES)))
            case 3 if isinstance(holder, dict):
                holder[random.choice(("", "a", str(key) + " ", "\ud800", "x" * 5000))] = holder[key]
            case 4 if isinstance(holder, list) and holder is not root:
                holder[key:key] = [copy.deepcopy(holder[key])] * random.choice((1, 2, 50))
            case _:
                holder[key] = copy.deepcopy(random.choice(_VALUES))
    text = json.dumps(root[0], ensure_ascii=random.random() < 0.8)
    for mark, raw in _RAW.items():
        text = text.replace(json.dumps(mark), raw)
    return text.encode("utf-8", "surrogatepass")


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Returns every (container, key or index) below a container."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


JSON: tuple[Change, ...] = (*(change_json,) * 6, insert_word, flip_bits, cut_end, splice)


def change_zip(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Changes, swaps, renames, removes or repeats entries, with valid checksums."""
    entries = read_zip(data)
    for _ in range(random.choice((1, 1, 2))):
        at, other = random.randrange(len(entries)), random.randrange(len(entries))
        name, content = entries[at]
        match random.randrange(8):
            case 0 if len(entries) > 1:
                del entries[at]
            case 1:
                entries[at] = name, entries[other][1]
            case 2:
                entries.append((name, entries[other][1]))
            case 3:
                entries[at] = random.choice(("../out", "/tmp/x", "a" * 300, name + "x")), content
            case _:
                # Pickles are parsed; most other entries are plain numbers.
                pickles = [i for i, (n, _) in enumerate(entries) if n.endswith(".pkl")]
                at = random.choice(pickles) if pickles and random.random() < 0.7 else at
                name, content = entries[at]
                changed = random.choice(BYTES)(random, content, [entries[other][1]])
                entries[at] = name, changed
    return write_zip(entries, random.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,)))


def read_zip(data: bytes) -> list[tuple[str, bytes]]:
    """Returns the entries of an archive; none if it is damaged already."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()] or [("a", b"")]
    except Exception:  # an earlier change may have damaged it in any way
        return [("a/data.pkl", data)]


def write_zip(entries: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """Returns an archive, with repeated names if there are any; deterministic."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.fp.flush()
            archive.NameToInfo.pop(info.filename, None)  # zipfile warns of repeated names
            archive.writestr(info, content)
    return file.getvalue()


ZIP: tuple[Change, ...] = (*(change_zip,) * 4, *BYTES)


def _place(random: Random, data: bytes) -> int:
    # Headers are what is parsed.
    end = random.choice((16, 64, 512, len(data)))
    return random.randrange(min(end, len(data)) + 1)


def _part(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 4, 16, 64, 1024)))
