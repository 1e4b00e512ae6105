"""The example server, with its own client: answers, bounds of uploads, and errors."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
from PIL import Image
from starlette.testclient import TestClient

import prompt_jax as pj
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.serve import __main__ as serve
from prompt_jax.serve import classifiers
from prompt_jax.serve.app import Limits, make_app

NAMES = ["sea horse", "pagoda", "accordion"]


def picture(seed=0):
    """Returns the content of a PNG file, and its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue(), pixels


class Slow:
    """A classifier that answers when it is allowed to."""

    name, runtime, class_names = "slow", "jax", ("a", "b")

    def __init__(self):
        self.going, self.started = threading.Event(), threading.Semaphore(0)

    def predict(self, content, top_k):
        self.started.release()
        assert self.going.wait(60)
        if content == b"broken":
            raise BadImage("/secret/path", "not an image")
        return {"classes": ["a"][:top_k], "size": len(content)}


@pytest.fixture
def slow():
    made = Slow()
    made.going.set()
    return made


def client(classifier, **limits):
    return TestClient(make_app(classifier, Limits(**limits)))


def test_health_and_classes(slow):
    with client(slow) as one:
        assert one.get("/health").json() == {
            "status": "ok",
            "model": "slow",
            "runtime": "jax",
            "classes": 2,
            "requests": 0,
        }
        assert one.get("/classes").json() == {"classes": ["a", "b"]}
        assert one.get("/predict").status_code == 405
        assert one.get("/docs").status_code == 404  # a page that loads scripts of others


def test_an_upload_is_bounded_whether_it_states_its_size_or_not(slow):
    with client(slow, bytes=100) as one:
        assert one.post("/predict", content=b"x" * 100).json()["size"] == 100
        stated = one.post("/predict", content=b"x" * 101)
        assert (stated.status_code, stated.headers["connection"]) == (413, "close")
        assert stated.json() == {"detail": "the upload has 101 bytes; at most 100 are allowed"}
        sent = []

        def endless():
            for _ in range(1000):
                sent.append(40)
                yield b"x" * 40

        chunked = one.post("/predict", content=endless())
        assert chunked.status_code == 413
        assert chunked.json()["detail"].startswith("the upload has more than 100 bytes")
        lying = one.post("/predict", content=b"x" * 101, headers={"content-length": "9" * 400})
        assert lying.status_code == 413
        assert slow.started.acquire(blocking=False)
        assert not slow.started.acquire(blocking=False)  # only the first reached the classifier


def test_what_cannot_be_read_is_said_without_paths(slow):
    with client(slow) as one:
        empty, broken = (one.post("/predict", content=content) for content in (b"", b"broken"))
        assert empty.status_code == 422 and "the body is empty" in empty.json()["detail"]
        assert broken.status_code == 422
        assert broken.json() == {"detail": "the file cannot be read: not an image"}
        form = one.post("/predict", files={"file": ("a.jpg", b"x")})
        assert form.status_code == 422 and "the body is a form" in form.json()["detail"]
        described = one.get("/openapi.json").json()["paths"]["/predict"]["post"]
        assert "application/octet-stream" in described["requestBody"]["content"]
        assert {"200", "408", "413", "422", "503"} <= described["responses"].keys()
        for wrong in ("0", "-1", "a", "10001"):
            assert one.post(f"/predict?top_k={wrong}", content=b"x").status_code == 422
        assert one.post("/predict?top_k=1", content=b"x").json()["classes"] == ["a"]


def test_too_many_requests_are_refused_and_others_answered(slow):
    slow.going.clear()
    with client(slow, threads=1, waiting=1) as one, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(one.post, "/predict", content=b"x") for _ in range(2)]
        assert slow.started.acquire(timeout=60)
        while one.get("/health").json()["requests"] < 2:
            pass
        refused = one.post("/predict", content=b"x")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["detail"].startswith("2 requests are in work")
        slow.going.set()
        assert [each.result().status_code for each in waiting] == [200, 200]
        assert one.get("/health").json()["requests"] == 0


@pytest.mark.parametrize(
    ("gone", "status", "message"),
    [
        (False, 408, "the upload took more than 0.05 seconds"),
        (True, 400, "the upload broke off"),
    ],
)
def test_an_upload_that_is_not_completed_ends(slow, gone, status, message):
    async def post():
        async def receive():
            if gone:
                return {"type": "http.disconnect"}
            await asyncio.sleep(60)

        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        more = {"query_string": b"", "http_version": "1.1", "scheme": "http"}
        await make_app(slow, Limits(seconds=0.05))({**scope, **more}, receive, send)
        return sent

    start, body = asyncio.run(post())
    assert start["status"] == status
    assert json.loads(body["body"]) == {"detail": message}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def test_predictions_are_those_of_the_library_from_several_threads(clip):
    model = pj.load(clip)
    made = [picture(seed) for seed in range(4)]
    expected = model.predict([pixels for _, pixels in made], NAMES, batch_size=1)
    with client(classifiers.load(str(clip), NAMES, None)) as one, ThreadPoolExecutor(4) as pool:
        assert one.get("/classes").json() == {"classes": NAMES}
        posts = [pool.submit(one.post, "/predict?top_k=2", content=data) for data, _ in made]
        for post, wanted in zip(posts, expected, strict=True):
            found = post.result().json()
            assert found["classes"] == list(wanted.classes[:2])
            assert found["labels"] == list(wanted.labels[:2])
            np.testing.assert_allclose(found["probabilities"], wanted.probabilities[:2], atol=1e-5)
        broken = one.post("/predict", content=made[0][0][:200])
        assert broken.status_code == 422 and "cannot be read" in broken.json()["detail"]


def test_what_cannot_be_served_is_said(clip, tmp_path):
    with pytest.raises(PromptError, match="no classes to choose from"):
        classifiers.load(str(clip), None, None)
    with pytest.raises(PromptError, match="threshold=2"):
        classifiers.load(str(clip), NAMES, 2.0)
    with pytest.raises(PromptError, match=r"model.onnx has its classes and settings"):
        classifiers.load("model.onnx", NAMES, None)
    with pytest.raises(PromptError, match="model.onnx is missing, not a file"):
        classifiers.load(str(tmp_path / "model.onnx"), None, None)


def write_onnx(path, **metadata):
    """Writes a program whose logits are the mean red, green and blue of an image."""
    import onnx
    from onnx import TensorProto, helper

    mean = helper.make_node("GlobalAveragePool", ["images"], ["mean"])
    flat = helper.make_node("Flatten", ["mean"], ["logits"])
    floats = TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", floats, ["batch", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", floats, ["batch", 3])
    graph = helper.make_graph([mean, flat], "colors", [images], [logits])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {name: json.dumps(value) for name, value in metadata.items()})
    onnx.save(made, path)
    return str(path)


INPUTS = {"image_size": 32, "mean": [0.0, 0.0, 0.0], "std": [0.5, 0.5, 0.5], "stats": ""}


def test_an_onnx_program_answers_without_jax(tmp_path, torch):
    del torch  # onnx is installed where torch is
    colors = {"inputs": INPUTS, "class_names": ["red", "green", "blue"]}
    path = write_onnx(tmp_path / "model.onnx", **colors, temperature=2.0)
    file = io.BytesIO()
    Image.new("RGB", (50, 40), (255, 0, 51)).save(file, "png")
    with client(classifiers.load(path, None, None)) as one:
        assert one.get("/health").json()["runtime"] == "onnx"
        found = one.post("/predict?top_k=2", content=file.getvalue()).json()
    assert found["classes"] == ["red", "blue"] and found["labels"] == [0, 2]
    shares = np.exp(np.array([2, 0, 0.4]) / 2)
    np.testing.assert_allclose(found["probabilities"], (shares / shares.sum())[[0, 2]], atol=1e-4)
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(PromptError, match="model.onnx is not an ONNX program"):
        classifiers.load(str(tmp_path / "model.onnx"), None, None)
    bad = {
        "class_names": "class_names: it is missing",
        "inputs": "inputs: it is missing",
    }
    for name, message in bad.items():
        kept = {other: value for other, value in colors.items() if other != name}
        with pytest.raises(PromptError, match=message):
            classifiers.load(write_onnx(tmp_path / "model.onnx", **kept), None, None)


def test_an_address_that_cannot_be_listened_on_is_named_before_loading(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        missing = str(tmp_path / "no-model")
        with pytest.raises(PromptError, match=rf"--port={port}: Address already in use; use anoth"):
            serve.start([missing, "--port", port])
        with pytest.raises(PromptError, match="cannot listen on --host=192.0.2.1 --port=0: "):
            serve.start([missing, "--port", "0", "--host", "192.0.2.1"])
    with pytest.raises(PromptError, match="no-model"):
        serve.start([missing, "--port", port])


@pytest.mark.slow
def test_a_real_process_serves_and_stops(clip):
    arguments = [str(clip), "--classes", ",".join(NAMES), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "prompt_jax.serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tiny.REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        started = next(line for line in lines if "Uvicorn running on" in line)
        address = next(word for word in started.split() if word.startswith("http"))
        with urllib.request.urlopen(f"{address}/health") as answer:
            assert json.load(answer)["classes"] == 3
        with urllib.request.urlopen(f"{address}/predict", data=picture()[0]) as answer:
            assert sorted(json.load(answer)["classes"]) == sorted(NAMES)
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}/predict", data=b"\xff\xd8 nothing")
        assert error.value.code == 422
        error.value.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    finally:
        process.kill()
        process.stderr.close()
