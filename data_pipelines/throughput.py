"""Measure how fast training batches are made, beside PyTorch's DataLoader doing the same work.

    python -m data_pipelines.throughput                                  # made-up photos
    python -m data_pipelines.throughput --root DATA --name caltech101    # real ones

The work: decode a JPEG file, random resized crop, random flip, normalise, batch. Each contender
runs alone, in turns, so that a change of the machine's load meets all of them. Takes about two
minutes with the default settings. Needs PyTorch: `.venv/bin/pip install -e '.[torch]'`.
"""

import sys

from data_pipelines import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(commands.run("data_pipelines.throughput", "main", sys.argv[1:]))

import argparse
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from data_pipelines import datasets, loader
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.pictures.readers import FolderReader
from data_pipelines.pictures.transforms import CLIP_MEAN, CLIP_STD
from data_pipelines.reading import Batches

WIDTH, HEIGHT = 500, 375
# Every contender keeps two batches ahead per worker, which are done before a measurement begins.
_AHEAD = 2

Contender = Callable[[], Iterator[Any]]


class TorchPictures:
    """A PyTorch dataset as people write it: Pillow for the picture, tensors for the numbers."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], size: int):
        """Pictures at `paths`, to be cropped to `size` pixels a side."""
        self.paths = paths
        self.labels = labels
        self.size = size

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One augmented picture, torch.float32[3, size, size], and its label."""
        import torch

        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        image = image.crop(_crop(*image.size))
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
        return tensor.sub_(mean[:, None, None]).div_(std[:, None, None]), self.labels[index]


def _crop(width: int, height: int) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def photos(folder: Path, count: int) -> Dataset:
    """Write `count` JPEG files of 500 x 375 pixels, about 70 kB each like photos, to `folder`."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    examples = tuple(Example(f"{i}.jpg", 0, "photo") for i in range(count))
    return Dataset("made-up photos", "{}", examples, (), (), FolderReader(folder), folder)


def contenders(dataset: Dataset, batch_size: int, size: int, workers: int) -> dict[str, Contender]:
    """Ways to make training batches, by name; each starts an endless or one-epoch iterator.

    Args:
        dataset: its training pictures are files in `dataset.folder`.
        batch_size: pictures per batch.
        size: side of a picture in the batch, in pixels.
        workers: threads or processes of each contender.

    Raises:
        DataError: PyTorch is not installed, or the pictures are not files.
    """
    try:
        import torch.utils.data
    except ImportError:
        raise DataError(
            "PyTorch is not installed; install it: .venv/bin/pip install -e '.[torch]'"
        ) from None
    if dataset.folder is None:
        raise DataError(f"{dataset.name}: its pictures are not files; choose another data set")
    paths = [dataset.folder / example.picture for example in dataset.train]
    pictures = TorchPictures(paths, [example.label for example in dataset.train], size)

    def ours(num_threads: int, num_workers: int, cache_bytes: int) -> Contender:
        return lambda: loader.train_batches(
            dataset,
            dataset.train,
            batch_size,
            size,
            seed=1,
            num_threads=num_threads,
            num_workers=num_workers,
            cache_bytes=cache_bytes,
        )

    def theirs() -> Iterator[Any]:
        batches: Any = torch.utils.data.DataLoader(
            pictures,  # type: ignore[arg-type]
            batch_size,
            # One long epoch, as ours has no pause between epochs either.
            sampler=torch.utils.data.RandomSampler(pictures, True, 10**7),
            num_workers=workers,
            prefetch_factor=_AHEAD,
        )
        return iter(batches)

    return {
        f"PyTorch DataLoader, {workers} processes": theirs,
        f"ours, {workers} threads": ours(workers, 0, 0),
        f"ours, {workers} processes": ours(1, workers, 0),
        f"ours, {workers} threads, pictures decoded before": ours(workers, 0, 2**31),
    }


def measure(start: Contender, batch_size: int, seconds: float, warm_up: int) -> float:
    """Pictures per second of one contender, after `warm_up` batches; its workers are ended."""
    batches = start()
    for _ in range(warm_up):
        next(batches)
    began, made = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        next(batches)
        made += batch_size
    rate = made / (time.perf_counter() - began)
    if isinstance(batches, Batches):
        batches.close()
    # PyTorch's iterator ends its workers when it goes.
    del batches
    return rate


def compare(
    ways: dict[str, Contender], batch_size: int, seconds: float, rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Pictures per second of every contender in every round, the contenders taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, start in ways.items():
            rates[name].append(measure(start, batch_size, seconds, warm_up))
    return rates


def table(title: str, rates: dict[str, list[float]]) -> Table:
    """Median and range of each contender, and its ratio to the first one, round by round."""
    result = Table(title=title, title_justify="left")
    result.add_column("")
    for heading in ("pictures/s", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.caption = "median (lowest to highest); ratios are taken round by round"
    base = next(iter(rates.values()))
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        result.add_row(
            name,
            f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
    return result


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print; made-up pictures, if any, are written to `folder`."""
    count = options.pictures
    if options.root is None:
        dataset = photos(folder, count)
    else:
        whole = datasets.load(options.name, options.root)
        picked = random.Random(0).sample(whole.train, min(count, len(whole.train)))
        dataset = Dataset(whole.name, "{}", tuple(picked), (), (), whole.read, whole.folder)
    ways = contenders(dataset, options.batch, options.size, options.workers)
    # A whole epoch, so that caches, ours and the system's, are as full as they get.
    warm_up = -(-len(dataset.train) // options.batch) + _AHEAD * options.workers
    rates = compare(ways, options.batch, options.seconds, options.rounds, warm_up)
    title = (
        f"{len(dataset.train)} pictures of {dataset.name}; batches of {options.batch} at "
        f"{options.size} pixels; {os.cpu_count()} cores; {options.rounds} rounds of "
        f"{options.seconds:g} s each"
    )
    Console().print(table(title, rates))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser("python -m data_pipelines.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--root", help="folder of the data sets; left out: made-up photos")
    parser.add_argument("--name", default="caltech101", help="data set below --root")
    parser.add_argument("--pictures", type=int, default=256, help="how many to use (256)")
    parser.add_argument("--batch", type=int, default=32, help="pictures per batch (32)")
    parser.add_argument("--size", type=int, default=224, help="side in the batch, pixels (224)")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes (2)")
    parser.add_argument("--seconds", type=float, default=3, help="of one measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (5)")
    options = parser.parse_args(arguments)
    for name in ("pictures", "batch", "size", "workers", "seconds", "rounds"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name}={getattr(options, name)}: must be above 0")
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(options, Path(folder))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
