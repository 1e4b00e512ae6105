"""Reads records of a prepared TFDS data set (ArrayRecord) in random order, without TensorFlow."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from PIL import Image

from data_pipelines.errors import BadImage, DataError, installing, shorten
from data_pipelines.examples import Example
from data_pipelines.layouts.layout import expand
from prompt_jax.inputs.images.decoding import check_image, open_image

_BATCH = 1024
# TFDS's features for an image's file name; "id" is StanfordCars'.
_FILE_NAMES = ("file_name", "image/file_name", "filename", "image/filename", "id")


class Record(NamedTuple):
    """A record without its image.

    Attributes:
        key: e.g. "train/17".
        label: from 0; -1 if there is none.
        text: the class name in TFDS; "" for the label -1.
        file: the image's file name, if recorded.
    """

    key: str
    label: int
    text: str
    file: str | None


@dataclass(frozen=True)
class TfdsReader:
    """Reads images of records (`Dataset.read`); `folder` is the prepared data set's directory."""

    folder: Path
    upright: ClassVar[bool] = False

    def __call__(self, example: Example) -> Image.Image:
        """Returns the image of the record `split/position` in RGB; raises `BadImage`."""
        return self._named(example, open_image)

    def check(self, example: Example) -> None:
        """Checks the record's image without decoding it; raises `BadImage`."""
        self._named(example, check_image)

    def _named(self, example: Example, look: Callable[[BinaryIO], Any]) -> Any:
        split, position = example.image.split("/")
        try:
            encoded = _records(self.folder, split)[int(position)]["image"]
        except Exception as error:
            # The reader may raise anything for a damaged file.
            raise BadImage(example.image, str(error) or type(error).__name__) from error
        try:
            return look(io.BytesIO(encoded))
        except BadImage as bad:
            raise BadImage(example.image, bad.reason) from bad


def find_prepared(name: str, tfds_name: str, root: str | Path | None) -> Path:
    """Returns the directory of a prepared data set.

    Args:
        name: the data set's name, for messages.
        tfds_name: TFDS's name, e.g. "caltech101", "eurosat/rgb" or "caltech101:3.0.1"; by default
            the newest version.
        root: TFDS's data_dir.

    Raises:
        DataError: tensorflow-datasets is not installed; or the data set is not prepared, not in
            ArrayRecord, or has no image or label.
    """
    build = f"tfds build {tfds_name} --file_format=array_record --data_dir={root or '<root>'}"
    if root is None:
        raise DataError(f"{name}: root is not set; set it to the data_dir of TFDS\n  {build}")
    base = expand(root)
    try:
        from tensorflow_datasets.core import read_only_builder, registered
    except ImportError as error:
        raise DataError(
            f"{name}: source=tfds needs tensorflow-datasets, and it cannot be imported ({error}); "
            f"install it: {installing('tfds')}"
        ) from error
    try:
        builder = read_only_builder.builder_from_files(tfds_name, data_dir=base)
    except registered.DatasetNotFoundError as error:
        raise DataError(
            f"{name}: {tfds_name} is not prepared in {base}; prepare it there (this step needs "
            f"TensorFlow), or set root to the right data_dir\n  {build}"
        ) from error
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name}: {tfds_name} in {base} has features, such as videos, for which TFDS needs the "
            f"module {error.name}; set source=coop, and root to the directory of the video files"
        ) from error
    except Exception as error:
        # TFDS expects its JSON metadata to be complete.
        raise DataError(
            f"{name}: TFDS cannot read its metadata of {tfds_name} in {base} "
            f"({_first_line(error)}); prepare it again\n  {build}"
        ) from error
    folder = Path(builder.data_dir)
    file_format = builder.info.file_format
    if file_format is None or file_format.value != "array_record":
        held = file_format.value if file_format else "nothing"
        raise DataError(
            f"{name}: {folder} contains {held}, which has no random access; prepare it again as "
            f"array_record\n  {build}"
        )
    _check_features(name, folder)
    return folder


def list_records(folder: Path) -> dict[str, list[Record]]:
    """Lists all records of each split; reads every record once and decodes no image.

    Args:
        folder: as returned by `find_prepared`.

    Raises:
        DataError: a file of records is missing or damaged.
    """
    try:
        return {split: _list_split(folder, split) for split in _builder(folder).info.splits}
    except DataError:
        raise
    except Exception as error:
        # The reader's C++ part may raise anything.
        raise DataError(
            f"cannot read the records in {folder}: {error}; copy or prepare the data set again"
        ) from error


def label_texts(folder: Path) -> list[str]:
    """Returns the class names of TFDS in label order.

    Raises:
        DataError: there are none, and TFDS uses numbers instead.
    """
    names = list(_builder(folder).info.features["label"].names)
    if names == [str(label) for label in range(len(names))]:
        raise DataError(
            f"{folder} has no class names: label.labels.txt is missing or cannot be read; copy or "
            "prepare the data set again"
        )
    return names


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return shorten(lines[0], 100) if lines else type(error).__name__


def _list_split(folder: Path, split: str) -> list[Record]:
    records = _records(folder, split)
    texts = label_texts(folder)
    features = _builder(folder).info.features
    file_key = next((key for key in _FILE_NAMES if key in features), None)
    listed = []
    for start in range(0, len(records), _BATCH):
        positions = range(start, min(start + _BATCH, len(records)))
        for position, record in zip(positions, records.__getitems__(positions), strict=True):
            label = int(record["label"])
            file = record[file_key].decode("utf-8", "replace") if file_key else None
            text = texts[label] if label >= 0 else ""
            listed.append(Record(f"{split}/{position}", label, text, file))
    return listed


def _check_features(name: str, folder: Path) -> None:
    features = _builder(folder).info.features
    for key, kind in (("image", "Image"), ("label", "ClassLabel")):
        if key not in features or type(features[key]).__name__ != kind:
            hint = " (a video: use the frames of the CoOp layout)" if "video" in features else ""
            raise DataError(
                f"{name}: {folder} has no feature {key!r} of the kind {kind}; it has "
                f"{', '.join(sorted(features))}{hint}"
            )


@lru_cache(maxsize=16)
def _builder(folder: Path) -> Any:
    from tensorflow_datasets.core import read_only_builder

    return read_only_builder.builder_from_directory(folder)


@lru_cache(maxsize=16)
def _records(folder: Path, split: str) -> Any:
    # Opened in each reading process: open files cannot be pickled.
    from tensorflow_datasets.core import decode

    # Images are decoded as image files are, not with OpenCV, which TFDS would use if installed.
    decoders = {"image": decode.SkipDecoding()}
    return _builder(folder).as_data_source(split, decoders=decoders)
