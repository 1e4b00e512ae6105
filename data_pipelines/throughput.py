"""Measures the throughput of training batches, and of PyTorch's DataLoader for comparison.

    python -m data_pipelines.throughput                                  # synthetic photos
    python -m data_pipelines.throughput --root DATA --name caltech101    # real ones
    python -m data_pipelines.throughput --videos                         # synthetic videos
    python -m data_pipelines.throughput --videos --root DIRECTORY        # all videos below it

Each loader decodes a JPEG file, or twelve frames of a video, and does a random resized crop, random
flip, normalization and batching; for videos ours is also measured with the augmentation of action
recognition (augment=vifi: multi-scale crop, flip, color jitter, mixing). Loaders run one at a time
and alternate, so that changes of the machine's load affect all of them. Takes about two minutes by
default. Needs PyTorch, and for videos PyAV: `.venv/bin/pip install -e '.[torch,video]'`; decord is
measured if it is installed.
"""

import sys

from prompt_jax.cli import commands
from prompt_jax.inputs.augmenting import Augmentation, Kind
from prompt_jax.inputs.preparation import Inputs

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("data_pipelines.throughput", "main", sys.argv[1:]))

import argparse
import functools
import importlib.util
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

from data_pipelines import datasets, loader, torch_side
from data_pipelines.batches.options import ReadOptions
from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError, escape, installing
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import FolderReader, drop_bad
from data_pipelines.layouts.layout import expand
from data_pipelines.videos.readers import VideoReader
from prompt_jax.inputs.videos.opening import SUFFIXES

WIDTH, HEIGHT = 500, 375
# Each loader prefetches two batches per worker, which are consumed before the measurement.
_AHEAD = 2

Loader = Callable[[], Iterator[Any]]


def photos(folder: Path, count: int) -> Dataset:
    """Writes `count` JPEG files of 500 x 375 pixels and about 70 kB, like photos, to `folder`."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, smooth.shape)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    examples = tuple(Example(f"{i}.jpg", 0, "photo") for i in range(count))
    return Dataset("synthetic photos", "{}", examples, (), (), FolderReader(folder), folder)


def panning_videos(folder: Path, count: int) -> Dataset:
    """Writes `count` videos to `folder`: a camera pan over a photo, ten seconds of H.264 at 30 fps
    and 320 x 240 pixels, with a keyframe every 250 frames."""
    import av

    rng = np.random.default_rng(0)
    names = [f"{i}.mp4" for i in range(count)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
        photo = np.asarray(coarse.resize((640, 420), Image.Resampling.BICUBIC))
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for x in range(300):
                pixels = np.ascontiguousarray(photo[x // 2 : x // 2 + 240, x : x + 320])
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return _videos("synthetic videos", folder, names)


def videos_below(folder: Path, count: int) -> Dataset:
    """Returns `count` random videos below `folder`; reports and skips unreadable ones.

    Raises:
        DataError: there are no videos.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"no videos below {folder}: no files ending in {', '.join(SUFFIXES)}")
    picked = random.Random(0).sample(paths, min(count, len(paths)))
    dataset = _videos(str(folder), folder, [str(path.relative_to(folder)) for path in picked])
    good, bad = drop_bad(dataset, dataset.train)
    for path, reason in bad:
        print(escape(f"skipped: {path}: {reason}"), file=sys.stderr)
    return _videos(str(folder), folder, [example.image for example in good])


def _videos(name: str, folder: Path, names: Sequence[str]) -> Dataset:
    examples = tuple(Example(video, 0, "clip") for video in names)
    return Dataset(name, "{}", examples, (), (), VideoReader(folder), folder, kind="videos")


def loaders(
    dataset: Dataset, batch_size: int, size: int, workers: int, frames: int = 12
) -> dict[str, Loader]:
    """Returns the measured loaders by name; each starts an endless or one-epoch iterator.

    Args:
        dataset: its training images or videos are files in `dataset.folder`.
        batch_size: images or videos per batch.
        size: side of an image in the batch, in pixels.
        workers: threads or processes of each contender.
        frames: of each video.

    Raises:
        DataError: PyTorch is not installed, or the images are not files.
    """
    if importlib.util.find_spec("torch") is None:
        raise DataError(f"PyTorch is not installed; install it: {installing('torch')}")
    if dataset.folder is None:
        raise DataError(f"{dataset.name}: its images are not files; choose another data set")
    paths = [dataset.folder / example.image for example in dataset.train]
    labels = [example.label for example in dataset.train]
    theirs: dict[str, Any]
    if dataset.kind == "videos":
        inputs = Inputs.of(size, frames=frames, frame_rule="centre")
        reads = {"PyAV": torch_side.read_with_pyav}
        if importlib.util.find_spec("decord") is not None:
            reads["decord"] = torch_side.read_with_decord
        theirs = {
            f"PyTorch DataLoader over {name}, {workers} processes": torch_side.TorchVideos(
                paths, labels, frames, size, read
            )
            for name, read in reads.items()
        }
    else:
        inputs = Inputs.of(size)
        images = torch_side.TorchImages(paths, labels, size)
        theirs = {f"PyTorch DataLoader, {workers} processes": images}

    def ours(
        num_threads: int, num_workers: int, cache_bytes: int, kind: Kind = "none", classes: int = 0
    ) -> Loader:
        return lambda: loader.train_batches(
            dataset,
            dataset.train,
            inputs,
            batch_size,
            seed=1,
            augmentation=Augmentation(rule="centre", kind=kind),
            mixed_classes=classes,
            options=ReadOptions(num_threads, num_workers, cache_bytes),
        )

    threads = f"ours, {workers} threads"
    decoded = f"{threads}, {dataset.kind} decoded before"
    ways = {
        name: functools.partial(torch_side.batches, them, batch_size, workers, _AHEAD)
        for name, them in theirs.items()
    } | {
        threads: ours(workers, 0, 0),
        f"ours, {workers} processes": ours(1, workers, 0),
        decoded: ours(workers, 0, 2**31),
    }
    if dataset.kind == "videos":
        ways[f"{threads}, augment=vifi"] = ours(workers, 0, 0, "vifi", 2)
        ways[f"{decoded}, augment=vifi"] = ours(workers, 0, 2**31, "vifi", 2)
    return ways


def measure(start: Loader, batch_size: int, seconds: float, warm_up: int) -> float:
    """Measures the examples per second of one loader after `warm_up` batches."""
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
    # PyTorch's iterator stops its workers when it is deleted.
    del batches
    return rate


def compare(
    ways: dict[str, Loader], batch_size: int, seconds: float, rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Measures the examples per second of every loader in every round, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, start in ways.items():
            rates[name].append(measure(start, batch_size, seconds, warm_up))
    return rates


def table(title: str, rates: dict[str, list[float]], unit: str = "images") -> Table:
    """Returns a table of median and range of each loader, and its ratio to the first one."""
    result = Table(title=title, title_justify="left")
    result.add_column("")
    for heading in (f"{unit}/s", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.caption = "median (lowest to highest); ratios are computed per round"
    base = next(iter(rates.values()))
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        result.add_row(
            name,
            f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
    return result


def run(options: argparse.Namespace, folder: Path) -> None:
    """Measures and prints; synthetic data is written to `folder`."""
    dataset = _material(options, folder)
    ways = loaders(dataset, options.batch, options.size, options.workers)
    # A whole epoch, to fill the caches of the loader and the system.
    warm_up = -(-len(dataset.train) // options.batch) + _AHEAD * options.workers
    rates = compare(ways, options.batch, options.seconds, options.rounds, warm_up)
    title = (
        f"{len(dataset.train)} {dataset.kind} of {dataset.name}; batches of {options.batch} at "
        f"{options.size} pixels; {os.cpu_count()} cores; {options.rounds} rounds of "
        f"{options.seconds:g} s each"
    )
    Console().print(table(title, rates, dataset.kind))


def _material(options: argparse.Namespace, folder: Path) -> Dataset:
    count = options.count
    if options.videos:
        if options.root is None:
            return panning_videos(folder, count)
        return videos_below(expand(options.root), count)
    if options.root is None:
        return photos(folder, count)
    whole = datasets.load(options.name, options.root)
    picked = random.Random(0).sample(whole.train, min(count, len(whole.train)))
    return Dataset(whole.name, "{}", tuple(picked), (), (), whole.read, whole.folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = commands.make_parser("data_pipelines.throughput", __doc__)
    parser.add_argument(
        "--videos", "--clips", action="store_true", help="measure videos, not images"
    )
    parser.add_argument("--root", help="directory of data sets or videos (default: synthetic)")
    parser.add_argument("--name", default="caltech101", help="data set below --root")
    parser.add_argument("--count", type=int, help="number of images (256) or videos (32)")
    parser.add_argument("--batch", type=int, help="batch size (32; for videos 8)")
    parser.add_argument("--size", type=int, default=224, help="side of an image in pixels (224)")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes (2)")
    parser.add_argument("--seconds", type=float, default=3, help="time of one measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each loader (5)")
    options = parser.parse_args(arguments)
    usual = {"count": 32, "batch": 8} if options.videos else {"count": 256, "batch": 32}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("count", "batch", "size", "workers", "seconds", "rounds"):
        if not 0 < getattr(options, name) <= commands.MOST_NUMBER:
            most = f"{commands.MOST_NUMBER:,}"
            parser.error(f"--{name}={getattr(options, name)}: must be above 0, and at most {most}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(options, Path(folder))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
