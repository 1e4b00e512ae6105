"""Lists and downloads files of a Hugging Face repository.

huggingface_hub is imported on first use.
"""

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.errors import DataError

_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_KINDS = ("model", "dataset")  # the archives are in a model repository


class Remote(NamedTuple):
    """A file of a repository.

    Attributes:
        name: its path in the repository.
        size: in bytes.
        digest: the SHA-256 of a large file, the git blob id of a small one.
    """

    name: str
    size: int
    digest: str


class Repository(NamedTuple):
    """A repository on the hub.

    Attributes:
        name: "user/name".
        kind: "model" or "dataset".
        commit: the newest commit.
        license: the license on its card; "" if there is none.
        files: the files by name.
    """

    name: str
    kind: str
    commit: str
    license: str
    files: Mapping[str, Remote]


def look_up(name: str) -> Repository:
    """Looks up a repository of either kind and its files.

    Raises:
        DataError: it does not exist, is not accessible, or the hub cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.hf_api import RepoFile

    api = huggingface_hub.HfApi()
    reasons = []
    for kind in _KINDS:
        try:
            info = api.repo_info(name, repo_type=kind)
            tree = list(api.list_repo_tree(name, revision=info.sha, repo_type=kind))
        # Offline, unknown, private, bad name and proxy failures share no base class.
        except Exception as error:
            reasons.append(f"as a {kind}: {_first_line(error)}")
            continue
        files = {
            one.path: Remote(one.path, one.size, one.lfs.sha256 if one.lfs else one.blob_id)
            for one in tree
            if isinstance(one, RepoFile)
        }
        card: Any = getattr(info, "card_data", None) or {}
        return Repository(name, kind, info.sha or "main", str(card.get("license") or ""), files)
    raise DataError(f"the Hugging Face repository {name} cannot be read; {'; '.join(reasons)}")


def _first_line(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0][:300] or "no reason given"
    return f"{type(error).__name__}: {reason}"


class _Limited:
    """A file that accepts a limited number of bytes."""

    def __init__(self, file: Any, most: int):
        self._file, self._most = file, most

    def write(self, content: bytes) -> int:
        if self._file.tell() + len(content) > self._most:
            raise DataError(f"the hub sends more than the declared {self._most:,} bytes")
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fetch(repository: Repository, one: Remote, path: Path) -> None:
    """Downloads a file, resuming a partial one, and verifies its hash.

    Raises:
        DataError: the download failed; a partial file is kept and resumed by the next call. A file
            with a wrong hash is removed.
    """
    import huggingface_hub
    from huggingface_hub.file_download import http_get

    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DataError(f"{path} blocks a download; remove it")
    address = huggingface_hub.hf_hub_url(
        repository.name, one.name, repo_type=repository.kind, revision=repository.commit
    )
    token = huggingface_hub.get_token()
    # hf_hub_download does not resume across processes.
    with open(path, "ab"):
        pass
    with open(path, "r+b") as file:
        loaded = file.seek(0, os.SEEK_END)
        if loaded > one.size:
            file.truncate(loaded := file.seek(0))
        try:
            if loaded < one.size:
                http_get(
                    address,
                    _Limited(file, one.size),  # type: ignore[arg-type]
                    resume_size=loaded,
                    headers={"authorization": f"Bearer {token}"} if token else {},
                    expected_size=one.size,
                    displayed_filename=one.name,
                )
        except DataError:
            raise
        except OSError as error:
            if error.errno in _OF_THIS_DISK:
                raise
            raise _stopped(one, error) from error
        except Exception as error:
            raise _stopped(one, error) from error
    _verify(path, one)


def _stopped(one: Remote, error: Exception) -> DataError:
    reason = _first_line(error)
    return DataError(f"the download of {one.name} stopped ({reason}); run again to resume it")


def _verify(path: Path, one: Remote) -> None:
    with open(path, "rb") as file:
        if len(one.digest) == 2 * hashlib.sha256().digest_size:
            found = hashlib.file_digest(file, "sha256")
        else:
            found = hashlib.sha1(b"blob %d\0" % one.size, usedforsecurity=False)
            while chunk := file.read(2**20):
                found.update(chunk)
    if found.hexdigest() != one.digest:
        path.unlink()
        raise DataError(
            f"{one.name} has the hash {found.hexdigest()[:16]}… instead of "
            f"{one.digest[:16]}…; it was damaged in transit and is removed: run again"
        )
