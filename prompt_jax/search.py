"""Finds images and videos by a text, with a CLIP or a trained model.

    python -m prompt_jax.search RUN "a dog running" directory/ [--sheet found.png]

RUN is a backbone such as ViT-B/16, a run directory or hf:user/name. PATH is a file or a directory,
which is searched recursively for images and videos. The first call encodes all of them; the
features are kept (--index), and later calls encode only files that are new or were changed.

Exit code 0: all files were read; 1: some could not be read; 2: wrong arguments or files.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.search", "start", sys.argv[1:]))

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from prompt_jax.cli.commands import note_embedded, whole
from prompt_jax.errors import DataError, PromptError, escape
from prompt_jax.indexing import entries, sheet
from prompt_jax.indexing.index import Hit, Index, export_files
from prompt_jax.indexing.searching import FRAMES, encoder_of
from prompt_jax.inputs.images import thumbnails
from prompt_jax.inputs.images.files import count_kinds
from prompt_jax.models import loading
from prompt_jax.models.model import BATCH_SIZE, Model
from prompt_jax.storage import user_cache


def start(argv: Sequence[str]) -> int:
    """Runs the command with these arguments."""
    parser = commands.make_parser("prompt_jax.search", __doc__)
    parser.add_argument("run", metavar="RUN", help="backbone, run directory or hf:user/name")
    parser.add_argument("query", metavar="TEXT", help='what to find, "a dog running"')
    parser.add_argument("paths", metavar="PATH", nargs="+", help="files and directories")
    parser.add_argument("--top-k", type=whole(), default=10, help="files to list (10)")
    parser.add_argument("--format", choices=("table", "jsonl"), default="table", help="(table)")
    parser.add_argument("--sheet", help="image file to write with the files that were found")
    kept = "directory to keep the features in; default: in the user's cache"
    parser.add_argument("--index", metavar="DIR", help=kept)
    out = "write the features of all files to STEM.npy and STEM.parquet"
    parser.add_argument("--embeddings", metavar="STEM", help=out)
    parser.add_argument("--only", choices=entries.ONLY[1:], help="search only these")
    frames = f"frames per video, for a model of images ({FRAMES})"
    parser.add_argument("--frames", type=whole(), help=frames)
    steps = f"images per step ({BATCH_SIZE}); videos at most 16"
    parser.add_argument("--batch-size", type=whole(), default=BATCH_SIZE, help=steps)
    parser.add_argument("--backbone", help="path or name of the run's CLIP, if it was moved")
    parser.add_argument("--activation", help="gelu or quick_gelu, for a bare CLIP")
    parser.add_argument("--stats", help="normalization of a bare CLIP: clip, imagenet or half")
    parser.add_argument("--dtype", help="float32 or bfloat16; default: as trained")
    options = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if not options.query.strip():
        raise PromptError('TEXT="" is empty; say what to find, such as "a dog running"')
    if not any(map(os.path.exists, options.paths)):
        swapped = os.path.exists(options.query)
        hint = (
            f"; TEXT={options.query!r} is one: the text comes before the paths" if swapped else ""
        )
        raise DataError(
            f"{escape(', '.join(options.paths))}: no such file or directory{escape(hint)}"
        )
    picture = pathlib.Path(options.sheet) if options.sheet is not None else None
    if picture and (problem := thumbnails.writing_problem(picture)):
        raise DataError(f"--sheet: {problem}")
    if options.embeddings is not None:
        export_files(options.embeddings)
    model = loading.load(
        options.run,
        backbone=options.backbone,
        activation=options.activation,
        dtype=options.dtype,
        prepare=options.stats,
    )
    model.tokenize(options.query)  # fails before anything is encoded
    note_method(model)
    index = make_index(model, options)
    hits = model.search(options.query, index, options.top_k)
    write = write_jsonl if options.format == "jsonl" else write_table
    write(options.query, hits, index)
    if picture:
        if len(hits) > sheet.MOST:
            print(f"note: {picture} has the first {sheet.MOST}", file=sys.stderr)
        sheet.draw(picture, options.query, hits, model.inputs.upright)
    if options.embeddings is not None:
        for path in index.export(options.embeddings):
            print(f"written: {escape(str(path))}", file=sys.stderr)
    return int(bool(index.errors))


def note_method(model: Model) -> None:
    """Says if a trained method has no part in the search, or the CLIP does not know photographs."""
    note_embedded(model.backbone, "what it finds among photographs by a text is chance")
    if not model.encoders and model.trained:
        print(
            f"note: {model.name} classifies and does not encode texts alone; the search is that of "
            "its frozen CLIP",
            file=sys.stderr,
        )


def make_index(model: Model, options) -> Index:
    """Returns the index of the paths, and says on standard error what was done."""
    if options.frames and model.inputs.frames:
        raise PromptError(f"--frames: this model takes {model.inputs.frames}; leave it out")
    frames = options.frames or FRAMES
    place = options.index
    if place is None:
        place = default_place(model, frames, options.paths, options.only or "")
    index = model.index(
        options.paths,
        place,
        only=options.only or "",
        frames=frames,
        batch_size=options.batch_size,
    )
    where = f"; kept in {escape(str(place))}" if place else ""
    print(
        f"{len(index):,} files, {index.encoded:,} of them encoded now, {index.removed:,} gone"
        f"{where}",
        file=sys.stderr,
    )
    if index.left_out:
        what = f"{len(index.left_out):,} file{'s' * (len(index.left_out) > 1)}"
        words = f"left out: {what} ({count_kinds(index.left_out)}), by their suffix"
        print(words, file=sys.stderr)
    return index


def default_place(
    model: Model, frames: int, paths: Sequence[str], only: str
) -> pathlib.Path | None:
    """Returns the directory in the user's cache for the index of these paths with this model.

    If it is not writable, prints a note and returns None.
    """
    whole = [str(pathlib.Path(path).absolute()) for path in paths]
    key = repr((encoder_of(model, frames).model_dump_json(), sorted(whole), only))
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    try:
        return user_cache.find("indexes") / name
    except OSError as error:
        print(
            f"note: the features are not kept: {error.filename}: {error.strerror}; pass --index",
            file=sys.stderr,
        )
        return None


def write_table(query: str, hits: Sequence[Hit], index: Index) -> None:
    """Prints a line for each hit, and on standard error for each file that cannot be read."""
    del query
    for hit in hits:
        print(hit)
    for path, error in index.errors.items():
        print(f"{escape(path)}: {escape(error)}", file=sys.stderr)
    if index.errors:
        print(f"{len(index.errors):,} could not be read", file=sys.stderr)


def write_jsonl(query: str, hits: Sequence[Hit], index: Index) -> None:
    """Prints a JSON object for each hit, then for each file that cannot be read.

    Its fields are query, rank, path, kind, similarity, copies and error.
    """
    kinds = {entry.path: entry.kind for entry in index.entries}
    rows = [{**vars(hit), "copies": list(hit.copies), "query": query, "error": ""} for hit in hits]
    for path, error in index.errors.items():
        blank: dict[str, Any] = {"rank": None, "similarity": None, "copies": []}
        rows.append({"path": path, "kind": kinds[path], "query": query, "error": error, **blank})
    for row in rows:
        print(json.dumps(row))
    if index.errors:
        print(f"{len(index.errors):,} could not be read", file=sys.stderr)
