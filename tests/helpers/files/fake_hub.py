"""A fake Hugging Face hub on this machine, for uploads and downloads by huggingface_hub.

Weights use the large-file protocol, and unauthorized requests get the hub's answers.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

READ, WRITE = "hf_read", "hf_write"
LICENSES = ("apache-2.0", "mit")
BIG = (".safetensors", ".zip")


def blob_id(content: bytes) -> str:
    """Returns git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """The commits of a repository, the latest last, each with all its files."""

    private: bool = False
    gated: bool = False
    license: str = ""
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, changed: dict[str, bytes]) -> str:
        files = {**(self.commits[-1][1] if self.commits else {}), **changed}
        text = repr((len(self.commits), sorted(files.items())))
        self.commits.append((hashlib.sha1(text.encode()).hexdigest(), files))
        return self.commits[-1][0]

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((one for one in self.commits if one[0] == revision), None)


@dataclass
class Hub:
    """The fake hub: repositories by name, and the log of requests, e.g. "GET /path".

    It can be `down`, stop an answer after some bytes, or change contents in transit.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    breaks_after: int | None = None
    changes: Callable[[bytes], bytes] = bytes

    def put(self, name: str, files: dict[str, bytes], **kind: Any) -> str:
        """Creates a repository, "datasets/user/name" for data, and returns its commit."""
        self.repositories[name] = Repository(**kind)
        return self.repositories[name].commit(files)

    def files(self, name: str) -> dict[str, bytes]:
        return self.repositories[name].commits[-1][1]

    def writes(self) -> list[str]:
        """Returns the requests that could change something."""
        return [line for line in self.asked if not line.startswith(("GET", "HEAD"))]


class Refused(Exception):
    """An error response: status, the hub's error code, and the message."""


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        body = self._read()
        try:
            if self.hub.down:
                raise Refused(500, "", "it is down")
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token not in ("", READ, WRITE):
                raise Refused(401, "", "Invalid credentials in Authorization header")
            for pattern, name in ROUTES.items():
                method, _, rest = pattern.partition(" ")
                if self.command in method.split("|") and (found := re.fullmatch(rest, path)):
                    answer = getattr(self, name)(token, body, *found.groups())
                    break
            else:
                raise Refused(501, "", f"the stand-in does not know {self.command} {path}")
        except Refused as refused:
            status, code, words = refused.args
            content = json.dumps({"error": words, "errors": [{"message": words}]}).encode()
            self._send(status, content, {"X-Error-Code": code, "X-Error-Message": words})
            return
        if isinstance(answer, tuple):
            self._send_part(*answer)
        else:
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _send_part(self, content: bytes, headers: dict[str, str]) -> None:
        """Sends the content of a file from the requested byte on."""
        content = self.hub.changes(content)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        if asked:
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.hub.asked[-1] += f" from {start}" * bool(asked)
        self._send(206 if asked else 200, content[start:], headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.breaks_after is not None and len(content) > self.hub.breaks_after:
            self.wfile.write(content[: self.hub.breaks_after])
            self.close_connection = True
            return
        self.wfile.write(content)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *args: Any) -> None:
        """Logs nothing."""

    def _see(self, token: str, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not token):
            raise Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.gated:
            raise Refused(403, "GatedRepo", "ask for it")
        return repository

    def _at(self, token: str, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        found = self._see(token, name).find(revision)
        if found is None:
            raise Refused(404, "RevisionNotFound", "")
        return found

    @staticmethod
    def _writing(token: str, name: str) -> None:
        if token != WRITE or not name.startswith("me/"):
            raise Refused(403, "", f"no write access to {name}")

    def create(self, token, body):
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        self._writing(token, name)
        if name in self.hub.repositories:
            raise Refused(409, "", "it exists")
        self.hub.put(name, {".gitattributes": b""}, private=asked.get("visibility") == "private")
        return {"url": f"{self.hub.url}/{name}"}

    def validate(self, token, body):
        header = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
        if header["license"] not in LICENSES:
            raise Refused(400, "", '"license" must be one of a list')
        return {"warnings": []}

    def info(self, token, body, name, revision="main"):
        sha, files = self._at(token, name, revision)
        private = self.hub.repositories[name].private
        siblings = [{"rfilename": path} for path in files]
        found = {"id": name, "sha": sha, "private": private, "tags": [], "siblings": siblings}
        license = self.hub.repositories[name].license
        return found | ({"cardData": {"license": license}} if license else {})

    def data_info(self, token, body, name, revision="main"):
        return self.info(token, body, f"datasets/{name}", revision)

    def data_tree(self, token, body, name, revision):
        return self.tree(token, body, f"datasets/{name}", revision)

    def data_resolve(self, token, body, name, revision, path):
        return self.resolve(token, body, f"datasets/{name}", revision, path)

    def tree(self, token, body, name, revision):
        return [
            {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
            | ({"lfs": _large(content)} if path.endswith(BIG) else {})
            for path, content in self._at(token, name, revision)[1].items()
        ]

    def preupload(self, token, body, name, revision):
        self._writing(token, name)
        return {
            "files": [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(BIG) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
        }

    def batch(self, token, body, name):
        self._writing(token, name)
        return {
            "objects": [
                one | {"actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
        }

    def large(self, token, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.uploaded[oid] = body
        return {}

    def commit(self, token, body, name, revision):
        self._writing(token, name)
        header, *operations = map(json.loads, body.splitlines())
        repository = self._see(token, name)
        parent = header["value"].get("parentCommit")
        if parent and parent != repository.commits[-1][0]:
            raise Refused(412, "", "a commit has happened since")
        oid = repository.commit(
            {
                one["value"]["path"]: self.hub.uploaded[one["value"]["oid"]]
                if one["key"] == "lfsFile"
                else base64.b64decode(one["value"]["content"])
                for one in operations
            }
        )
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid}

    def resolve(self, token, body, name, revision, path):
        sha, files = self._at(token, name, revision)
        if path not in files:
            raise Refused(404, "EntryNotFound", "")
        large = path.endswith(BIG)
        etag = _large(files[path])["oid"] if large else blob_id(files[path])
        return files[path], {"ETag": f'"{etag}"', "X-Repo-Commit": sha}


def _large(content):
    return {
        "oid": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "pointerSize": 130,
    }


NAME = "([^/]+/[^/]+?)"
ROUTES = {
    "POST /api/repos/create": "create",
    "POST /api/validate-yaml": "validate",
    f"GET /api/models/{NAME}": "info",
    f"GET /api/models/{NAME}/revision/(.+)": "info",
    f"GET /api/models/{NAME}/tree/([^/]+)": "tree",
    f"POST /api/models/{NAME}/preupload/(.+)": "preupload",
    f"POST /{NAME}.git/info/lfs/objects/batch": "batch",
    "PUT /large/(.+)": "large",
    f"POST /api/models/{NAME}/commit/(.+)": "commit",
    f"GET /api/datasets/{NAME}": "data_info",
    f"GET /api/datasets/{NAME}/revision/(.+)": "data_info",
    f"GET /api/datasets/{NAME}/tree/([^/]+)": "data_tree",
    f"GET|HEAD /datasets/{NAME}/resolve/([^/]+)/(.+)": "data_resolve",
    f"GET|HEAD /{NAME}/resolve/([^/]+)/(.+)": "resolve",
}


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """Runs a hub until the end of the context."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})
    )
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
