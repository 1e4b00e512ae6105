"""Images and videos that are not paths: contents of files in memory, and addresses on the network.

Nothing is downloaded unless the user passes a `URL`.
"""

import http.client
import inspect
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from prompt_jax.errors import BadImage, PromptError, shorten
from prompt_jax.inputs.images.decoding import MAX_FILE_BYTES

SCHEMES = ("http://", "https://")
MOST_BYTES, SECONDS = 32 * 2**20, 20.0
_CHUNK = 2**16
# Neither files nor FTP, which urllib's usual opener reads too, also after a redirect.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
)


@dataclass(frozen=True)
class Content:
    """The content of an image or video file.

    Attributes:
        data: the bytes.
        name: for messages: the file's name, or its number among the inputs, "#0".
    """

    data: bytes = field(repr=False)
    name: str


@dataclass(frozen=True)
class URL:
    """An image or video on the network, which is downloaded each time it is read.

    The address is requested from this machine, also if it is one of the local network: in a
    service, pass no addresses of strangers.

    Attributes:
        address: http:// or https://.
        most_bytes: the largest file.
        seconds: to wait for the server, and for the whole file after its answer.

    Raises:
        PromptError: it is not such an address, or a limit is not above 0.
    """

    address: str
    most_bytes: int = MOST_BYTES
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Checks the fields."""
        if not is_address(self.address):
            raise PromptError(f"URL({self.address!r}): an address begins with http:// or https://")
        for name in ("most_bytes", "seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise PromptError(f"URL: {name}={value!r} must be a number above 0")

    def read(self) -> bytes:
        """Returns the downloaded file.

        Raises:
            BadImage: it cannot be downloaded within the limits.
        """
        opener = urllib.request.OpenerDirector()
        for handler in _HANDLERS:
            opener.add_handler(handler())
        try:
            request = urllib.request.Request(self.address, headers={"User-Agent": "prompt_jax"})
            with opener.open(request, timeout=self.seconds) as response:
                return self._receive(response)
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            error.close()
        except TimeoutError:
            reason = self._too_slow
        except urllib.error.URLError as error:
            slow = isinstance(error.reason, TimeoutError)
            reason = self._too_slow if slow else f"cannot be downloaded: {error.reason}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = f"cannot be downloaded: {error or type(error).__name__}"
        raise BadImage(self.address, reason)

    def _receive(self, response: http.client.HTTPResponse) -> bytes:
        until, data = time.monotonic() + self.seconds, bytearray()
        announced = response.headers.get("Content-Length", "")
        while True:
            size = max(len(data), int(announced) if announced.isdecimal() else 0)
            if size > self.most_bytes:
                limit = f"more than most_bytes={self.most_bytes:,}"
                raise BadImage(self.address, f"{limit}; pass URL(…, most_bytes=…) to allow more")
            if time.monotonic() > until:
                raise BadImage(self.address, self._too_slow)
            chunk = response.read1(_CHUNK)
            if not chunk:
                return bytes(data)
            data += chunk

    @property
    def _too_slow(self) -> str:
        return f"took longer than seconds={self.seconds:g}; pass URL(…, seconds=…) to wait longer"


def is_address(item: Any) -> bool:
    """Returns whether an item is a text that begins with http:// or https://."""
    return isinstance(item, str) and item.lower().startswith(SCHEMES)


def is_content(given: Any) -> bool:
    """Returns whether a value is the content of one file, an open file, or a `URL`."""
    kinds = Content | URL | bytes | bytearray | memoryview
    return isinstance(given, kinds) or callable(getattr(given, "read", None))


def as_content(given: Any, number: int) -> Content | URL:
    """Reads an open file, or wraps bytes; a `URL` stays one.

    Args:
        given: a value for which `is_content`.
        number: its number among the inputs.

    Raises:
        BadImage: it is empty or too large.
        PromptError: it is open as text, or its `read` is asynchronous.
    """
    if isinstance(given, Content | URL):
        return given
    name = f"#{number}"
    if isinstance(given, bytes | bytearray | memoryview):
        return _checked(bytes(given), name, "no bytes")
    own = getattr(given, "name", None)
    name = own if isinstance(own, str) and os.path.basename(own) else name
    try:
        found = given.read(MAX_FILE_BYTES + 1)
    except UnicodeDecodeError:
        raise PromptError(f"{name}: it is open as text; open it with mode 'rb'") from None
    if inspect.iscoroutine(found):
        found.close()
        raise PromptError(f"{name}: its read() is asynchronous; pass `await file.read()`")
    if not isinstance(found, bytes):
        kind = type(found).__name__
        raise PromptError(f"{name}: its read() returns {kind}, not bytes; open it with mode 'rb'")
    return _checked(found, name, "nothing left to read in the open file; call seek(0) first")


def _checked(data: bytes, name: str, empty: str) -> Content:
    if not data:
        raise BadImage(name, empty)
    if len(data) > MAX_FILE_BYTES:
        raise BadImage(name, f"more than {MAX_FILE_BYTES} bytes")
    return Content(data, name)


def load(item: Content | URL) -> Content:
    """Returns the content, downloaded if it is a `URL`; raises `BadImage`."""
    return item if isinstance(item, Content) else _checked(item.read(), item.address, "no bytes")


def describe_address(address: str) -> str:
    """Returns why an address among the inputs is not read."""
    return (
        "an address, and nothing is downloaded unasked; pass "
        f"pj.URL({shorten(address)}), on the command line --download"
    )
