"""Classifies images that clients send: a small example of a service.

    python -m prompt_jax.serve RUN [--classes cat,dog] [--port 8000]
    curl --data-binary @image.jpg http://127.0.0.1:8000/predict

RUN is a run directory, hf:user/name, a backbone such as ViT-B/16 with --classes, or the model.onnx
of an export, which needs no JAX. It answers GET /health, GET /classes and POST /predict, in JSON.
Access control, encryption and several processes are the task of a proxy in front of it.
"""

import sys

from prompt_jax.cli import commands

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("prompt_jax.serve.__main__", "start", sys.argv[1:]))

import socket
from collections.abc import Sequence

from prompt_jax.cli import interrupts
from prompt_jax.cli.commands import whole
from prompt_jax.errors import PromptError, escape, installing


def check_address(host: str, port: int) -> None:
    """Checks, before a model is loaded, that the server can listen there.

    Raises:
        PromptError: the port is in use or reserved, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise PromptError(
            f"cannot listen on --host={escape(host)} --port={port}: {reason}; use another port (0: "
            "any free one), and a host of this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from None


def start(argv: Sequence[str]) -> int:
    """Runs the command with these arguments, until it is stopped."""
    parser = commands.make_parser("prompt_jax.serve", __doc__)
    parser.add_argument("run", metavar="RUN", help="run directory, backbone or model.onnx")
    parser.add_argument("--classes", help="a,b,c, or a text file with one name per line")
    of_none = "answer none_of_these below this probability"
    parser.add_argument("--threshold", type=float, help=of_none)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from outside")
    parser.add_argument(
        "--port", type=whole(0, 65_535), default=8000, help="0: any free one (8000)"
    )
    parser.add_argument("--most-mib", type=whole(1, 1024), default=10, help="of an upload (10)")
    parser.add_argument("--seconds", type=whole(), default=30, help="to complete an upload (30)")
    parser.add_argument(
        "--threads", type=whole(1, 256), default=2, help="predictions at a time (2)"
    )
    waiting = "further requests that wait; others get the status 503 (32)"
    parser.add_argument("--waiting", type=whole(0), default=32, help=waiting)
    parser.add_argument("--backbone", help="path or name of the run's CLIP, if it was moved")
    parser.add_argument("--activation", help="gelu or quick_gelu, for a bare CLIP")
    parser.add_argument("--dtype", help="float32 or bfloat16; default: as trained")
    options = parser.parse_args(argv)
    try:
        import uvicorn

        from prompt_jax.serve import app
    except ImportError as error:
        raise PromptError(
            f"the server needs fastapi and uvicorn ({error}): {installing('serve')}"
        ) from None
    from prompt_jax.serve import classifiers

    check_address(options.host, options.port)
    named = {name: getattr(options, name) for name in ("backbone", "activation", "dtype")}
    classes = None
    if options.classes is not None:
        from prompt_jax.predict import read_classes  # with JAX, which ONNX does not need

        classes = read_classes(options.classes)
    classifier = classifiers.load(options.run, classes, options.threshold, **named)
    limits = app.Limits(options.most_mib * 2**20, options.seconds, options.threads, options.waiting)
    print(
        f"{escape(classifier.name)}, {len(classifier.class_names):,} classes, in "
        f"{classifier.runtime}; Ctrl-C stops",
        file=sys.stderr,
    )
    interrupts.stop_listening()  # uvicorn completes requests when it is stopped
    uvicorn.run(
        app.make_app(classifier, limits),
        host=options.host,
        port=options.port,
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    return 0
