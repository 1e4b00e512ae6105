"""Contents of files in memory, open files and addresses, as inputs of all calls."""

import contextlib
import http.server
import io
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image

import prompt_jax as pj
from prompt_jax import predict
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.inputs import batching, contents, preparation
from prompt_jax.inputs.preparation import Inputs

IMAGES = Inputs.of(16)
VIDEOS = Inputs.of(16, frames=2, frame_rule="even")
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 20, 24, 3), np.uint8)


def encoded(form="PNG", number=0):
    file = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(file, form)
    return file.getvalue()


def film():
    file, (first, *others) = io.BytesIO(), map(Image.fromarray, PIXELS)
    first.save(file, "GIF", save_all=True, append_images=others, duration=40)
    return file.getvalue()


def prepared(given, inputs=IMAGES):
    [item] = preparation.as_items(given, inputs)
    out = np.full(inputs.shape, np.nan, np.float32)
    preparation.prepare(item, inputs, out)
    return out


def test_an_image_is_the_same_as_content_and_as_array(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    with (tmp_path / "a.png").open("rb") as opened:
        forms = [encoded(), bytearray(encoded()), io.BytesIO(encoded()), opened]
        for form in forms:
            np.testing.assert_array_equal(prepared(form), prepared(PIXELS[0]))
    gray = PIXELS[0, ..., 0]
    for form in (gray, gray[..., None], Image.fromarray(gray)):
        np.testing.assert_array_equal(prepared(form), prepared(np.dstack([gray] * 3)))


def test_a_video_is_the_same_as_content_and_as_file(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "a.gif").write_bytes(film())
    expected = prepared(tmp_path / "a.gif", VIDEOS)
    np.testing.assert_array_equal(prepared(film(), VIDEOS), expected)
    np.testing.assert_array_equal(prepared(io.BytesIO(film()), VIDEOS), expected)
    with pytest.raises(BadImage, match="cannot read the video #0: not a video"):
        prepared(b"no video" * 100, VIDEOS)
    reported = []
    broken = [film()[:200], b"", tmp_path, "gone.mp4", np.zeros((0, 3)), None, [b"frame"]]
    items = preparation.as_items([*broken, film()], VIDEOS, keep=True)
    for batch in batching.in_batches(items, VIDEOS, [16], reported.append):
        np.testing.assert_array_equal(batch.images[0], expected)
    assert len(reported) == len(broken), [str(bad) for bad in reported]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "#0: no bytes"),
        (b"no image", "cannot read the image #0: not an image"),
        (encoded("JPEG")[:300], "cannot read the image #0: "),
        (io.BytesIO(), r"#0: nothing left to read in the open file; call seek\(0\) first"),
        (io.StringIO("text"), "#0: its read.. returns str, not bytes; open it with mode 'rb'"),
        ("https://example.org/a.jpg", r"nothing is downloaded unasked; pass pj\.URL\('https"),
    ],
)
def test_contents_that_are_no_images_are_explained(given, words):
    with pytest.raises((BadImage, PromptError), match=words):
        prepared(given)


def test_an_asynchronous_or_closed_file_is_explained():
    class Upload:
        async def read(self, size):
            return b""

    with pytest.raises(PromptError, match=r"asynchronous; pass `await file\.read\(\)`"):
        prepared(Upload())
    text = io.TextIOWrapper(io.BytesIO(b"\xff\xd8\xff"), encoding="utf-8")
    with pytest.raises(PromptError, match="#0: it is open as text; open it with mode 'rb'"):
        prepared(text)
    closed = io.BytesIO(encoded())
    closed.close()
    [item] = preparation.as_items([closed], IMAGES, keep=True)
    assert batching.as_bad(item, item, 0, IMAGES).reason == "I/O operation on closed file."


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers by the path of the request."""

    def do_GET(self):
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(302 if self.path.startswith("/to/") else 200)
        if self.path == "/to/file":
            self.send_header("Location", "file:///etc/hostname")
        if self.path == "/to/image":
            self.send_header("Location", "/image")
        if self.path == "/announced":
            self.send_header("Content-Length", "10000000")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if self.path == "/slow":
                for _ in range(40):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            elif self.path == "/endless":
                for _ in range(100):
                    self.wfile.write(bytes(10_000))
            else:
                self.wfile.write(encoded())

    def log_message(self, *arguments):
        del arguments


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_address_is_downloaded_on_request(server):
    for path in ("/image", "/to/image"):
        np.testing.assert_array_equal(prepared(pj.URL(server + path)), prepared(PIXELS[0]))
    assert preparation.name_of(pj.URL(f"{server}/image"), 3) == f"{server}/image"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone", "the server answers 404 Not Found"),
        ("/to/file", "cannot be downloaded|the server answers 302"),
        ("/announced", "more than most_bytes=50,000"),
        ("/endless", r"more than most_bytes=50,000; pass URL\(…, most_bytes=…\) to allow more"),
        ("/slow", r"took longer than seconds=0\.2; pass URL\(…, seconds=…\) to wait longer"),
    ],
)
def test_a_download_has_limits(server, path, words):
    with pytest.raises(BadImage, match=words):
        pj.URL(server + path, most_bytes=50_000, seconds=0.2).read()


@pytest.mark.parametrize("download", [False, True])
def test_the_command_downloads_on_request_alone(server, download):
    asked = []
    model = types.SimpleNamespace(
        name="coop",
        inputs=IMAGES,
        prompts={},
        method=types.SimpleNamespace(block=lambda prompts: 0),
        predict=lambda part, *_, **__: asked.extend(part) or [],
    )
    given = [f"{server}/image", "a.jpg"]
    assert not list(predict.predict_all(model, given, None, 5, 4, None, [], download))
    assert asked == ([pj.URL(given[0]), "a.jpg"] if download else given)


def test_an_unknown_host_or_a_wrong_address_is_explained():
    with pytest.raises(BadImage, match="cannot be downloaded"):
        pj.URL("http://127.0.0.1:1/a.jpg").read()
    for address in ("file:///etc/hostname", "ftp://example.org/a.jpg", 3):
        with pytest.raises(PromptError, match=r"begins with http:// or https://"):
            pj.URL(address)
    with pytest.raises(PromptError, match="seconds=0 must be a number above 0"):
        pj.URL("http://example.org", seconds=0)
    assert not contents.is_content("http://example.org")
