"""Lists of data sets (split files, CSV, class names, variants) and directory trees."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from data_pipelines import check
from data_pipelines.errors import BadImage
from data_pipelines.examples import Dataset
from experiments.config import config as declared
from experiments.configs import default
from experiments.setup import plans

from ..files import Fifo, Files, Folder, Link
from ..kind import Kind, changing
from ..mutations import JSON, TEXT

CLASSES = ("sea_horse", "pagoda", "garfield", "accordion")
_IMAGES_READ = 12  # at most, per input


def _image(number: int) -> bytes:
    file = io.BytesIO()
    colours = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(colours).save(file, "JPEG")
    return file.getvalue()


IMAGES = [_image(number) for number in range(16)]


def reader(name: str, inside: str = ".") -> Callable[[Path], None]:
    """Loads a data set as a run does, reads its images, and checks it like `check`."""

    def read(folder: Path) -> None:
        root = folder / inside
        config = default.get_config("coop")
        config.data.name, config.data.root, config.data.shots = name, str(root), 2
        plan = plans.build(declared.read(config), 32, True)
        for dataset in (plan.train, *plan.tests.values()):
            _read_images(dataset)
        check.check(name, root)
        plans.check_images(plan)

    return read


def _read_images(dataset: Dataset) -> None:
    for example in (*dataset.train, *dataset.val, *dataset.test)[:_IMAGES_READ]:
        try:
            dataset.read(example)
        except BadImage as bad:
            str(bad).encode()


def _tree(pattern: str, names: Sequence[str]) -> Files:
    """Returns four images of each class, with paths by a pattern of class and number."""
    return {
        pattern.format(name, number): IMAGES[4 * label + number]
        for label, name in enumerate(names)
        for number in range(4)
    }


def _make_split() -> list[Files]:
    images = _tree("caltech-101/101_ObjectCategories/{}/image_{}.jpg", CLASSES)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for name in images:
        _, _, folder, file = name.split("/")
        part = {"0": "test", "1": "val"}.get(file[-5], "train")
        split[part].append([f"{folder}/{file}", CLASSES.index(folder), folder])
    return [images | {"caltech-101/split_zhou_Caltech101.json": json.dumps(split).encode()}]


def _make_csv() -> list[Files]:
    images = _tree("{}/{}.jpg", CLASSES)
    splits = ("train", "train", "val", "test")
    rows = [(path, path.split("/")[0], splits[int(path[-5])]) for path in images]
    named = [",".join(row) for row in rows]
    numbered = [f'{CLASSES.index(c)},"{c}",x y,{path},{split}' for path, c, split in rows]
    lists = (["path,label,split", *named], ["label,name,domain,path,split", *numbered])
    return [images | {"mine.csv": "\n".join(lines).encode()} for lines in lists]


def _make_imagenet() -> list[Files]:
    ids = [f"n0000000{number}" for number in range(4)]
    files = _tree("imagenet/images/train/{}/{}.JPEG", ids)
    files |= _tree("imagenet/images/val/{}/{}.JPEG", ids)
    lines = [f"{wnid} {name}" for wnid, name in zip(ids, CLASSES, strict=True)]
    return [files | {"imagenet/classnames.txt": "\n".join(lines).encode()}]


def _make_aircraft() -> list[Files]:
    numbers = [f"{number:07}" for number in range(16)]
    files: Files = {f"fgvc_aircraft/images/{n}.jpg": IMAGES[int(n)] for n in numbers}
    files["fgvc_aircraft/variants.txt"] = "\n".join(CLASSES).encode()
    for start, split in enumerate(("train", "val", "test")):
        lines = [f"{n} {CLASSES[int(n) // 4]}" for n in numbers if int(n) % 3 == start]
        files[f"fgvc_aircraft/images_variant_{split}.txt"] = "\n".join(lines).encode()
    return [files]


def _make_tree() -> list[Files]:
    files = {f"data/{part}/{n}": c for part in ("train", "val", "test") for n, c in _four().items()}
    domains = {f"data/{domain}/{n[5:]}": c for domain in ("a", "b") for n, c in files.items()}
    outside: Files = {"outside/secret.jpg": IMAGES[0], "outside/deep/x.jpg": IMAGES[1]}
    return [files | outside, domains | outside]


def _four() -> Files:
    return _tree("{}/{}.jpg", CLASSES)


_ODD_NAMES = (
    *("a" * 255, "a" * 250 + ".jpg", ".hidden", " ", "a\nb", "\x1b[2J.jpg", "b.jpg ", "c.JPG"),
    *("d.jpeg.exe", "é.png", "e\u0301.png", "\udcff.jpg", "\udcff", "f.psd", "g.tif", "con.bmp"),
    *("Train", "train ", "x/y/z/1.jpg", "/".join("p" * 60), "\u202egpj.1.jpg", "-r.jpg", "*.gif"),
)
_ODD_ENTRIES = (
    *(Fifo(), Folder(), b"", b"no image", IMAGES[0], IMAGES[1][:100], Link("."), Link("..")),
    *(Link("../.."), Link("nowhere"), Link("/dev/zero"), Link("/dev/stdin"), Link("/etc/passwd")),
    *(Link("../../../outside"), Link("../../../outside/secret.jpg"), Link("fifo")),
    *(Link("/dev/fd/0"), Link("/proc/self/mem"), Link("x" * 4000)),
)


def _change_tree(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Adds, moves and removes files and directories with odd names and types."""
    changed = dict(files)
    for _ in range(random.choice((1, 2, 3, 6))):
        names = list(changed) or ["data/train/x/1.jpg"]
        name, other = random.choice(names), random.choice(names)
        parts = name.split("/")
        above = "/".join(parts[: random.randint(1, len(parts))])
        match random.randrange(5):
            case 0:
                changed.pop(name, None)
            case 1:
                changed = {n: c for n, c in changed.items() if not n.startswith(above)}
            case 2:
                changed[name] = random.choice(_ODD_ENTRIES)
            case 3:
                changed[f"{above}/fifo"] = Fifo()
                changed[f"{above}/link.jpg"] = Link("fifo")
            case _:
                entry = random.choice((*_ODD_ENTRIES, changed.get(other, b"")))
                # Links first, before a directory takes their name.
                changed = {f"{above}/{random.choice(_ODD_NAMES)}": entry} | changed
    return changed


KINDS = [
    Kind("split", 20, _make_split, changing(".json", JSON), reader("caltech101")),
    # A user's own list may name images anywhere.
    Kind("csv", 16, _make_csv, changing(".csv", TEXT), reader("csv"), reads_anywhere=True),
    Kind("classnames", 6, _make_imagenet, changing(".txt", TEXT), reader("imagenet")),
    Kind("aircraft", 10, _make_aircraft, changing(".txt", TEXT), reader("fgvc_aircraft")),
    Kind("tree", 12, _make_tree, _change_tree, reader("folder", "data")),
]
