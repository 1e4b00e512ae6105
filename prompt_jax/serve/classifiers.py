"""What a server predicts with: a model in JAX, or an exported ONNX program without JAX."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import numpy as np
import pydantic
from pydantic import Field

from prompt_jax.cli.commands import note_embedded
from prompt_jax.errors import PromptError, installing
from prompt_jax.inputs import preparation
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.storage import schemas
from prompt_jax.storage.files import check, kind_at, parse_json
from prompt_jax.text.class_names import distinct

ONNX = ".onnx"
_NOT_ANSWERED = ("source", "error")  # of a `Prediction`
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
MOST_METADATA = 64 * 2**20  # characters of the class names


class Classifier(Protocol):
    """Predicts the class of one image or video; called from several threads.

    Attributes:
        name: of the method.
        runtime: "jax" or "onnx".
        class_names: in the order of labels.
    """

    name: str
    runtime: str
    class_names: tuple[str, ...]

    def predict(self, content: bytes, top_k: int) -> dict[str, Any]:
        """Returns the fields of `predict --format jsonl` for the content of a file.

        Raises:
            BadImage: it cannot be read.
        """


class JaxClassifier:
    """A model of `pj.load`; see `Classifier`."""

    runtime = "jax"

    def __init__(
        self, model: Any, classes: Sequence[str] | None = None, threshold: float | None = None
    ):
        """Compiles the program for one image, so that the first request does not wait for it.

        Args:
            model: a `Model`.
            classes, threshold: see `Model.predict`.

        Raises:
            PromptError: see `Model.predict`.
        """
        self.name = model.name
        self.class_names = tuple(model.class_names if classes is None else classes)
        self._predict = functools.partial(
            model.predict, classes=classes, threshold=threshold, quiet=True
        )
        model.warm_up(classes=classes)
        self._predict(np.zeros(model.inputs.shape, np.float32))  # raises for a wrong threshold

    def predict(self, content: bytes, top_k: int) -> dict[str, Any]:
        """See `Classifier`."""
        [one] = self._predict(content, top_k=top_k)
        found = dataclasses.asdict(one)
        return {name: value for name, value in found.items() if name not in _NOT_ANSWERED}


class _Metadata(pydantic.BaseModel):
    """Declares the metadata of model.onnx; see `export.to_onnx.describe`."""

    model_config = pydantic.ConfigDict(strict=True, extra="ignore")
    inputs: dict[str, Any]
    class_names: Annotated[list[schemas.Text], Field(min_length=1, max_length=schemas.MOST_NUMBER)]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class OnnxClassifier:
    """An exported model.onnx in onnxruntime; see `Classifier`. It needs neither JAX nor torch."""

    runtime = "onnx"

    def __init__(self, path: str | os.PathLike):
        """Loads the model.onnx of `python -m prompt_jax.export --onnx`.

        Raises:
            PromptError: onnxruntime is missing, or it is not such a file.
        """
        file = pathlib.Path(path)
        if not file.is_file():
            raise PromptError(f"{path} is {kind_at(os.fspath(path)) or 'missing'}, not a file")
        try:
            import onnxruntime
        except ImportError:
            raise PromptError(f"{path} needs onnxruntime: {installing('onnx')}") from None
        errors: Any = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(file),
                providers=[
                    one for one in _PROVIDERS if one in onnxruntime.get_available_providers()
                ],
            )
        except (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph) as error:
            raise PromptError(f"{path} is not an ONNX program: {error}") from None
        about = self._session.get_modelmeta().custom_metadata_map
        try:
            found = check({name: _parsed(text) for name, text in about.items()}, _Metadata)
        except ValueError as error:
            raise PromptError(
                f"{path}: its metadata is not that of this package's export: {error}"
            ) from None
        self.name, self.class_names = file.parent.name or "onnx", tuple(found.class_names)
        self._inputs = schemas.make(Inputs, found.inputs, f"{path}: inputs")
        self._temperature = found.temperature
        self._names = distinct(self.class_names)

    def predict(self, content: bytes, top_k: int) -> dict[str, Any]:
        """See `Classifier`."""
        [item] = preparation.as_items(content, self._inputs)
        prepared = np.empty(self._inputs.shape, np.float32)
        preparation.prepare(item, self._inputs, prepared)
        [given] = self._session.get_inputs()
        channels_first = np.moveaxis(prepared, -1, -3)[None]
        [[logits]] = self._session.run(["logits"], {given.name: channels_first})
        order = np.argsort(-logits, kind="stable")[:top_k].tolist()
        shares = np.exp((logits - logits.max()) / self._temperature)
        shares = shares / shares.sum() if len(logits) > 1 else shares[:0]
        return {
            "classes": [self._names[label] for label in order],
            "labels": order,
            "probabilities": [float(shares[label]) for label in order] if len(shares) else [],
            "max_logit": float(logits.max()),
        }


def _parsed(text: str) -> Any:
    if len(text) > MOST_METADATA:
        raise ValueError(f"it has {len(text):,} characters; at most {MOST_METADATA:,} are read")
    return parse_json(text)


def load(
    run: str, classes: Sequence[str] | None, threshold: float | None, **options: Any
) -> Classifier:
    """Returns the classifier of a run directory, a backbone or a model.onnx.

    Args:
        run: what `pj.load` takes, or the path of a model.onnx.
        classes: names to choose from; None: those of the training.
        threshold: see `Model.predict`.
        **options: of `pj.load`.

    Raises:
        PromptError: see `pj.load`; or there are no classes, or a file does not allow an option.
    """
    if run.endswith(ONNX):
        if classes is not None or threshold is not None or any(options.values()):
            raise PromptError(
                f"{run} has its classes and settings; leave the other options out, or export again"
            )
        return OnnxClassifier(run)
    from prompt_jax.models import loading  # with JAX, which ONNX does not need

    model = loading.load(run, **options)
    note_embedded(model.backbone)
    return JaxClassifier(model, classes, threshold)
