"""The web application: class list, health check, and predictions of bounded uploads as JSON."""

import asyncio
import functools
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import FastAPI, HTTPException, Query, Request
from starlette.requests import ClientDisconnect

from prompt_jax.errors import BadImage, PromptError
from prompt_jax.serve.classifiers import Classifier

BROKEN_OFF, TOO_LATE, TOO_LARGE, UNREADABLE, BUSY = 400, 408, 413, 422, 503


@dataclass(frozen=True)
class Limits:
    """Bounds of what a server does for its clients.

    Attributes:
        bytes: of an upload.
        seconds: until an upload is complete.
        threads: predictions at a time.
        waiting: further requests that wait, with their uploads in memory.
    """

    bytes: int = 10 * 2**20
    seconds: float = 30.0
    threads: int = 2
    waiting: int = 32


DEFAULT_LIMITS = Limits()


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The content of one image or video file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_REASON = {"application/json": {"schema": {"properties": {"detail": {"type": "string"}}}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    TOO_LATE: {"description": "The upload took too long", "content": _REASON},
    TOO_LARGE: {"description": "The upload is too large", "content": _REASON},
    BUSY: {"description": "Too many requests are in work; try again later", "content": _REASON},
}


class _Counted:
    """Counts the requests that are read or computed."""

    def __init__(self) -> None:
        self.now = 0

    def __enter__(self) -> None:
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1


def make_app(classifier: Classifier, limits: Limits = DEFAULT_LIMITS) -> FastAPI:
    """Returns the application of a classifier.

    GET /health states that it answers; GET /classes lists the class names; POST /predict takes the
    content of one file as the request's body.
    """
    app = FastAPI(title="prompt_jax", docs_url=None, redoc_url=None)
    requests = _Counted()
    room = limits.threads + limits.waiting
    limiter = functools.cache(lambda: anyio.CapacityLimiter(limits.threads))  # needs a loop

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "model": classifier.name,
            "runtime": classifier.runtime,
            "classes": len(classifier.class_names),
            "requests": requests.now,
        }

    @app.get("/classes")
    async def classes() -> dict[str, Any]:
        return {"classes": list(classifier.class_names)}

    @app.post("/predict", openapi_extra=_BODY, responses=_ERRORS)
    async def predict(
        request: Request, top_k: Annotated[int, Query(ge=1, le=10_000)] = 5
    ) -> dict[str, Any]:
        if requests.now >= room:
            message = f"{requests.now} requests are in work, the most allowed; try again later"
            raise HTTPException(BUSY, message, {"Retry-After": "1"})
        with requests:
            content = await read_body(request, limits)
            work = functools.partial(classifier.predict, content, top_k)
            try:
                return await anyio.to_thread.run_sync(work, limiter=limiter())
            except BadImage as bad:
                raise HTTPException(UNREADABLE, f"the file cannot be read: {bad.reason}") from bad
            except PromptError as error:
                raise HTTPException(UNREADABLE, str(error)) from error

    return app


async def read_body(request: Request, limits: Limits) -> bytes:
    """Returns the body of a request, of which no more than the limit is kept in memory.

    Raises:
        HTTPException: it is a form, empty, too large or too slow, or broke off.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        message = "the body is a form; send a file's content: curl --data-binary @image.jpg …"
        raise HTTPException(UNREADABLE, message, {"Connection": "close"})
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limits.bytes:
        raise _too_large(f"{int(declared[:20]):,}", limits)
    content = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                content += part
                if len(content) > limits.bytes:
                    raise _too_large(f"more than {limits.bytes:,}", limits)
    except TimeoutError:
        message = f"the upload took more than {limits.seconds:g} seconds"
        raise HTTPException(TOO_LATE, message) from None
    except ClientDisconnect:  # nobody receives the answer
        raise HTTPException(BROKEN_OFF, "the upload broke off") from None
    if not content:
        message = "the body is empty; send a file's content: curl --data-binary @image.jpg …"
        raise HTTPException(UNREADABLE, message)
    return bytes(content)


def _too_large(size: str, limits: Limits) -> HTTPException:
    # Closed, because the rest of the upload is not read.
    message = f"the upload has {size} bytes; at most {limits.bytes:,} are allowed"
    return HTTPException(TOO_LARGE, message, {"Connection": "close"})
