"""Quickstart for videos: VoP^{F+P} and zero-shot CLIP in text-video retrieval.

    python -m experiments.video           (same as ./run.sh video; a table within two minutes)
    python -m experiments.video --full    (all test videos, more steps; some minutes on two cores)

Needs no downloads: it uses the embedded CLIP and rendered videos. Prints a table and draws an
image. A finished run is kept.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.video", "start", sys.argv[1:], command_line.RESUMES))

import pathlib
import time
from collections.abc import Sequence

from data_pipelines import datasets
from experiments.configs.video import quickstart
from experiments.figures import plots, tables
from experiments.record.files import ranks
from experiments.record.files.ranks import Line
from experiments.run import experiment
from prompt_jax.inputs.videos.sampling import choose

SHOWN, STRIP = 4, 8  # captions in the image, frames of each video


def most_improved(lines: Sequence[Line], number: int) -> list[Line]:
    """Returns the captions whose video gained most ranks over zero-shot CLIP."""
    return sorted(lines, key=lambda line: -line.gain)[:number]


def say_rank(rank: float) -> str:
    """Returns a rank in words; ties have fractional ranks."""
    return f"rank {rank:g}" if rank.is_integer() else f"tied, rank {rank:g} on average,"


def draw(path: pathlib.Path, folder: pathlib.Path, key: str) -> list[pathlib.Path]:
    """Draws frames for the most improved captions, with their ranks before and after."""
    lines = ranks.read(folder / ranks.ranks_file(key))
    dataset = datasets.load(key)
    examples = {example.image: example for example in dataset.test}
    strips = []
    for line in most_improved(lines, SHOWN):
        clip = dataset.read(examples[line.clip])
        frames = clip.frames(choose("centre", clip.count, STRIP, clip.rate).tolist())
        before, after = say_rank(line.zero_shot_rank), say_rank(line.rank)
        title = f"“{line.caption}”: {before} by zero-shot CLIP, {after} now"
        strips.append((title, list(frames)))
    title = f"The {len(strips)} of {len(lines)} captions that gained most ({key})"
    return plots.plot_strips(path, strips, title)


def start(argv: list[str]) -> None:
    """Parses the arguments, runs, prints a table and draws an image."""
    parser = command_line.make_parser("experiments.video", __doc__)
    parser.add_argument("--out", type=pathlib.Path, help="directory (results/video[-full])")
    parser.add_argument("--full", action="store_true", help="more steps and videos: some minutes")
    options = parser.parse_args(argv)
    folder = options.out or pathlib.Path(f"results/video{'-full' if options.full else ''}")
    command_line.prepare_jax()
    began = time.perf_counter()
    config = quickstart.get_config(options.full)
    tables.print_run(experiment.run(config, folder))
    draw(folder / "videos.png", folder, config.data.also_test)
    if not options.full:
        print(f"note: to be quick, this is {quickstart.DROPPED}; --full runs all of it")
    print(
        f"finished in {time.perf_counter() - began:.0f} s; videos of the most improved captions: "
        f"{folder / 'videos.png'}; ranks of all captions: {folder}\n{next_commands(folder)}"
    )


def next_commands(folder: pathlib.Path) -> str:
    """Returns what to run next, line by line."""
    config = "-m experiments.main --config=experiments/configs/video"
    return command_line.describe_next(
        {
            "find a video by a text": f'-m prompt_jax.search {folder} "a dog running" VIDEOS',
            "a page with captions and ranks": f"-m experiments.report {folder}",
            "your own videos with captions, with a real CLIP": f"{config}/retrieval.py:vop_f_p "
            "--config.data.name=captions_csv --config.data.root=LIST.csv "
            "--config.backbone=ViT-B/32",
        }
    )
