"""Predicts the classes of images or videos with a trained model or a bare CLIP.

    python -m prompt_jax.predict RUN image.jpg directory/ [--classes cat,dog] [--format table]

RUN is a run directory, hf:user/name, or a backbone such as ViT-B/16. Directories are searched
recursively for images, or with a video model for videos (files or directories of frames). "-" reads
paths from standard input, one per line. Files that cannot be read are listed with the reason. Other
files in a directory are counted on standard error.

Exit code 0: all were read; 1: some could not be read; 2: wrong arguments or files.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.predict", "start", sys.argv[1:]))

import csv
import dataclasses
import io
import itertools
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from prompt_jax.cli import progress
from prompt_jax.cli.commands import note_embedded, whole
from prompt_jax.errors import BadImage, PromptError, escape
from prompt_jax.evaluation import confidence
from prompt_jax.evaluation.predictions import Prediction
from prompt_jax.inputs import finding
from prompt_jax.inputs.contents import URL, is_address
from prompt_jax.inputs.images.decoding import has_rotation
from prompt_jax.inputs.images.files import count_kinds
from prompt_jax.models import loading
from prompt_jax.models.model import BATCH_SIZE, Model
from prompt_jax.storage.files import kind_at, read_bytes

# Images per call of the model, between which lines are printed and the bar advances.
AT_ONCE = 1024
STDIN = "-"
# Whether the EXIF orientation of images is applied; by default as in training.
ROTATIONS = {"upright": True, "stored": False}
TRAINED = "as-trained"
NAME_LISTS = (".txt", ".csv", ".json", ".lst", ".list", ".tsv")
MOST_NAMES = 16 * 2**20  # bytes of such a list
_LONGEST_SHOWN = 200

Writer = Callable[[Prediction], None]


def start(argv: Sequence[str]) -> int:
    """Runs the command with these arguments."""
    parser = commands.make_parser("prompt_jax.predict", __doc__)
    parser.add_argument("run", metavar="RUN", help="run directory, hf:user/name or a backbone")
    parser.add_argument("inputs", metavar="PATH", nargs="+", help='files, directories, or "-"')
    parser.add_argument("--classes", help="a,b,c, or a text file with one name per line")
    of_classes = "file with texts of these classes, for methods that read them: docs/texts.md"
    parser.add_argument("--texts", help=of_classes)
    parser.add_argument("--format", choices=WRITERS, default="table", help="output format (table)")
    parser.add_argument("--top-k", type=whole(), default=5, help="classes per line (5)")
    below = f"images with a lower score are {confidence.NONE_OF_THESE} (docs/confidence.md)"
    parser.add_argument("--threshold", type=float, help=below)
    of_what = f"what the threshold is compared with ({confidence.SCORES[0]})"
    parser.add_argument(
        "--score", choices=confidence.SCORES, default=confidence.SCORES[0], help=of_what
    )
    own = "download inputs that are addresses (http://…, https://…); see docs/using.md"
    parser.add_argument("--download", action="store_true", help=own)
    steps = f"images or videos per step ({BATCH_SIZE})"
    parser.add_argument("--batch-size", type=whole(), default=BATCH_SIZE, help=steps)
    parser.add_argument("--backbone", help="path or name of the run's CLIP, if it was moved")
    parser.add_argument("--activation", help="gelu or quick_gelu, for a bare CLIP")
    parser.add_argument("--stats", help="normalization of a bare CLIP: clip, imagenet or half")
    frames = "frames per video for a bare CLIP; 0: images (0)"
    parser.add_argument("--frames", type=whole(0), default=0, help=frames)
    rotation = f"apply (upright) or ignore (stored) the EXIF orientation ({TRAINED})"
    parser.add_argument("--rotation", choices=(*ROTATIONS, TRAINED), default=TRAINED, help=rotation)
    parser.add_argument("--dtype", help="float32 or bfloat16; default: as trained")
    options = parser.parse_args(argv)
    # Paths are bytes; characters that the terminal's encoding lacks are escaped.
    _configure(sys.stdin, sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
    _configure(sys.stdout, None, "backslashreplace")
    warnings.formatwarning = _as_note
    model = loading.load(
        options.run,
        backbone=options.backbone,
        activation=options.activation,
        dtype=options.dtype,
        frames=options.frames,
        prepare=options.stats,
    )
    if options.run.startswith(loading.HUB):
        words = f"{options.run}: {model!r}, on the CLIP {model.backbone}"
        print(escape(words), file=sys.stderr)
    note_embedded(model.backbone)
    if options.rotation != TRAINED:
        model = with_rotation(model, ROTATIONS[options.rotation])
    if views := model.trained.get("views"):
        print(
            f"note: the model was tested on {views} x 3 views per {model.inputs.kind}; here a "
            "single view is used",
            file=sys.stderr,
        )
    classes = read_classes(options.classes)
    write = WRITERS[options.format](sys.stdout, options.top_k)
    failed = turned = 0
    left_out: list[str] = []
    chosen = (classes, options.top_k, options.batch_size, options.texts)
    sure = {"threshold": options.threshold, "score": options.score}
    for one in predict_all(model, options.inputs, *chosen, left_out, options.download, **sure):
        write(one)
        failed += bool(one.error)
        turned += not (model.inputs.upright or one.error) and has_rotation(one.source)
    if left_out:
        what = f"{len(left_out):,} file{'s' * (len(left_out) > 1)}"
        kind = f"{model.inputs.kind}s by their suffix"
        print(f"left out: {what} ({count_kinds(left_out)}), not {kind}", file=sys.stderr)
    if turned:
        print(
            f"note: {turned:,} have an EXIF orientation, which is ignored as in the model's "
            "training; --rotation upright applies it",
            file=sys.stderr,
        )
    if failed:
        print(f"{failed:,} could not be read", file=sys.stderr)
    return int(failed > 0)


def with_rotation(model: Model, upright: bool) -> Model:
    """Returns a model that applies, or ignores, the EXIF orientation of images."""
    return dataclasses.replace(model, inputs=dataclasses.replace(model.inputs, upright=upright))


def _configure(stream: TextIO, encoding: str | None, errors: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=encoding, errors=errors)


def _as_note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Formats a warning of the library as a line, without its place in the code."""
    del category, filename, lineno, line
    return f"note: {message}\n"


def predict_all(
    model: Model,
    paths: Sequence[str],
    classes: Sequence[str] | None,
    top_k: int,
    batch_size: int,
    texts: Any,
    left_out: list[str],
    download: bool = False,
    **sure: Any,
) -> Iterator[Prediction]:
    """Yields a prediction for each image or video at these paths, in their order.

    Args:
        model: a trained model.
        paths: files, directories and "-", see `find`.
        classes, top_k, batch_size, texts: see `Model.predict`.
        left_out: see `find`.
        download: whether addresses are downloaded.
        sure: `threshold` and `score` of `Model.predict`.
    """
    if texts is not None:
        texts = model.read_texts(texts)
    known = STDIN not in paths
    found: Iterable[str] = find(paths, model.inputs.frames > 0, left_out)
    if known:
        found = list(found)
    total = len(found) if isinstance(found, list) else 0
    shown = progress.bar(f"{model.name} on {model.inputs.kind}s", total)
    done, ahead = 0, iter(found)
    with shown if total > batch_size else progress.silence() as advance:
        # A short first part shows results early, and invalid classes fail early.
        parts: Iterator[int] = itertools.chain([batch_size], itertools.repeat(AT_ONCE))
        if block := model.method.block(model.prompts):  # predictions depend on each other
            parts = itertools.repeat(block)
        for number in parts:
            part: list[Any] = list(itertools.islice(ahead, number))
            if not part:
                return
            done += len(part)
            part = [URL(one) if download and is_address(one) else one for one in part]
            yield from model.predict(part, classes, top_k, batch_size, _skip, True, texts, **sure)
            advance(done, "")


def find(paths: Sequence[str], videos: bool, left_out: list[str]) -> Iterator[str]:
    """Yields the files at some paths: those below a directory, or those that "-" (stdin) lists.

    Args:
        paths: files, directories or "-".
        videos: whether to find videos, by suffix or as directories of frames, instead of images.
        left_out: extended by other files in directories.

    Raises:
        PromptError: a directory holds none, or a path is empty.
        DataError: a directory cannot be read.
    """
    for path in paths:
        if not path:
            raise PromptError('PATH="" is empty; name a file or a directory, or leave it out')
        if path == STDIN:
            yield from _listed(sys.stdin)
        else:
            yield from finding.find(path, videos, left_out)


def _listed(lines: TextIO) -> Iterator[str]:
    """Yields paths, one per line, or each followed by a null byte (find -print0)."""
    first = lines.readline()
    if "\0" in first:
        paths: Iterable[str] = (first + lines.read()).split("\0")
    else:
        paths = (line.rstrip("\r\n") for line in itertools.chain([first], lines))
    number = 0
    for path in filter(None, paths):
        number += 1
        yield path
    if not number:
        raise PromptError("standard input lists no paths; write one per line")


def read_classes(asked: str | None) -> list[str] | None:
    """Returns class names from "a,b,c", or from the lines of a file; None for None.

    Raises:
        PromptError: the file is missing, not regular or not text, or there is no name.
    """
    if asked is None:
        return None
    path, names = pathlib.Path(asked), asked.split(",")
    shown = asked if len(asked) <= _LONGEST_SHOWN else f"{asked[:_LONGEST_SHOWN]}…"
    # os.path's isfile, not pathlib's: names may be longer than a path can be.
    usage = "pass a,b,c or a file with one name per line"
    if kind := kind_at(asked):
        raise PromptError(f"--classes={shown} is {kind}; {usage}")
    if os.path.isfile(path):
        try:
            names = read_bytes(path, MOST_NAMES).decode("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise PromptError(f"--classes={shown} cannot be read as text ({error})") from error
    elif len(names) == 1 and (os.sep in asked or path.suffix in NAME_LISTS):
        raise PromptError(f"--classes={shown}: no such file; {usage}")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise PromptError(f"--classes={shown} holds no name; {usage}")
    return names


def _skip(bad: BadImage) -> None:
    """Ignores an error, which the prediction of that file states."""


def as_table(file: TextIO, top_k: int) -> Writer:
    """Returns a writer of one readable line per prediction."""
    del top_k
    return lambda one: print(one, file=file, flush=True)


def as_json_lines(file: TextIO, top_k: int) -> Writer:
    """Returns a writer of one JSON object per prediction.

    Its fields are image, classes, labels, probabilities, iterations, similarity, none_of_these,
    max_logit, energy and error.
    Unprintable characters are escaped as in JSON, so that all text can be read back.
    """
    del top_k

    def write(one: Prediction) -> None:
        content = {
            "image": one.source,
            "classes": one.classes,
            "labels": one.labels,
            "probabilities": one.probabilities,
            "iterations": one.iterations,
            "similarity": one.similarity,
            "none_of_these": one.none_of_these,
            "max_logit": one.max_logit,
            "energy": one.energy,
            "error": one.error,
        }
        print(_on_a_line(json.dumps(content, ensure_ascii=False)), file=file, flush=True)

    return write


def _on_a_line(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def as_csv(file: TextIO, top_k: int) -> Writer:
    """Returns a writer of CSV rows.

    Columns are image, error, then class and probability pairs, similarity and none_of_these.
    The probability of a single class, which is always 1, is left empty.
    The header is written with the first row, so that a failing prediction leaves no output.
    """
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"{what}_{n}" for n in range(1, top_k + 1) for what in ("class", "probability")]
    header = [["image", "error", *columns, "similarity", "none_of_these"]]

    def write(one: Prediction) -> None:
        shares = [f"{p:.6f}" for p in one.probabilities] or [""] * len(one.classes)
        pairs = zip(map(escape, one.classes), shares, strict=True)
        cells = [escape(one.source), escape(one.error), *itertools.chain(*pairs)]
        if header:
            writer.writerow(header.pop())
        similarity = "" if one.similarity is None else f"{one.similarity:.6f}"
        cells += [""] * (2 + len(columns) - len(cells))
        writer.writerow([*cells, similarity, one.none_of_these])

    return write


WRITERS = {"table": as_table, "jsonl": as_json_lines, "csv": as_csv}
