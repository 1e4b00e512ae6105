"""Uploads trained models to the Hugging Face hub, and downloads them.

A repository holds model.json, prompts.safetensors, README.md, the model card, and texts.json if
the method reads texts of classes. They are written from the loaded model, so that no other content
of a run directory is uploaded.
"""

import contextlib
import dataclasses
import errno
import hashlib
import pathlib
import re
import tempfile
from collections.abc import Iterator

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoFile

from prompt_jax.clip import loading
from prompt_jax.clip.checkpoints.hub import HUB_IDS
from prompt_jax.clip.checkpoints.state_dicts import SUFFIXES
from prompt_jax.errors import ArgumentError, PromptError, escape, shorten
from prompt_jax.models import cards, saved, saved_arrays, saved_fields
from prompt_jax.models.saved import Saved
from prompt_jax.storage import local_paths
from prompt_jax.storage.files import write_text
from prompt_jax.text import text_files

CARD = "README.md"
FILES = (saved.MODEL, saved.PROMPTS, CARD)
LICENSE = "apache-2.0"
_MOST_BYTES = {
    saved.MODEL: saved_fields.MOST_BYTES,
    saved.PROMPTS: saved_arrays.MOST_BYTES,
    saved.TEXTS: text_files.MOST_BYTES,
}
_REVISION = re.compile(r"(?!.*\.\.)[\w][\w./-]{0,199}", re.ASCII)
_MADE_BY_HUB = ".gitattributes"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"
_MESSAGES = {
    401: "{page} rejects the token ({reason}); " + _LOG_IN + " again",
    403: "the token has no permission for this ({reason}); use one with write access",
    409: "the name is taken by a repository that this token cannot see ({reason}); choose another",
    412: "the repository was changed at the same time ({reason}); check it, then run again",
}


@dataclasses.dataclass(frozen=True)
class Shared:
    """The result of sharing a model.

    Attributes:
        page: URL of the repository.
        left_out: fields of `Saved.trained` that were removed, as they hold local paths.
        changed: whether anything was uploaded; the same model may have been there.
    """

    page: str
    left_out: tuple[str, ...]
    changed: bool


def download(name: str) -> pathlib.Path:
    """Downloads a model from the hub, or uses the cached copy; returns its directory.

    Args:
        name: "user/name", or "user/name@revision" with a branch, tag or commit.

    Raises:
        PromptError: there is no such repository or revision, this token has no access, the hub is
            unreachable and nothing is cached, or it holds no trained model.
    """
    repository, _, revision = name.partition("@")
    _check_name(repository)
    if revision and not _REVISION.fullmatch(revision):
        raise PromptError(
            f"{escape(name)[:200]}: after @, write a branch, a tag or a full commit hash, of "
            "letters, digits, '-', '_', '.' and '/'"
        )
    with _explained(name):
        _check_sizes(repository, revision or None)
        folder = pathlib.Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision or None, allow_patterns=list(_MOST_BYTES)
            )
        )
    if not saved.is_saved(folder):
        raise PromptError(
            f"hf:{name} holds no {saved.MODEL}, so it is not a trained model of prompt_jax; load a "
            f"bare CLIP by {repository!r}, without hf:"
        )
    return folder


def _check_sizes(repository: str, revision: str | None) -> None:
    """Raises a PromptError if files on the hub are larger than those of any model."""
    for name, most in _MOST_BYTES.items():
        url = huggingface_hub.hf_hub_url(repository, name, revision=revision)
        try:
            size = huggingface_hub.get_hf_file_metadata(url).size or 0
        except Exception:  # the download fails in the same way, or uses the cached copy
            return
        if size > most:
            raise PromptError(f"its {name} has {size:,} bytes; at most {most:,} are read")


def check_backbone(model: Saved, name: str) -> None:
    """Checks that a downloaded model's backbone is a public name, not a local path.

    Raises:
        PromptError: it is not a public name.
    """
    if not _is_public_name(model.backbone):
        raise ArgumentError(
            f"{name} was trained on {shorten(model.backbone)}, a local path of another machine",
            "pass the same CLIP by {}",
            "backbone",
        )


def share(
    folder: pathlib.Path,
    name: str,
    *,
    private: bool = False,
    replace: bool = False,
    backbone_id: str = "",
    license: str = LICENSE,
) -> Shared:
    """Uploads a trained model and its model card in one commit; creates a missing repository.

    Args:
        folder: directory of a finished run, or another one with model.json.
        name: "user/name".
        private: makes a new repository private.
        replace: replaces files that differ; the hub keeps their history.
        backbone_id: see `prepare`.
        license: license of the prompts, an identifier of the hub.

    Raises:
        PromptError: there is no token, it has no write access, the repository holds something else,
            or `prepare` fails.
    """
    _check_name(name)
    token = huggingface_hub.get_token()
    if not token:
        raise PromptError(f"sharing {name} needs a Hugging Face token with write access: {_LOG_IN}")
    with tempfile.TemporaryDirectory(prefix="prompt_jax-share-") as made:
        there = pathlib.Path(made)
        left_out = prepare(folder, there, name, backbone_id=backbone_id, license=license)
        backbone = cards.hub_id(saved.read(there).backbone)
        with _explained(name):
            _refuse_unseen_backbone(backbone, token if private else False)
            api = huggingface_hub.HfApi(token=token)
            changed = _upload(api, there, name, private, replace)
    return Shared(f"{api.endpoint}/{name}", left_out, changed)


def prepare(
    folder: pathlib.Path,
    into: pathlib.Path,
    name: str,
    *,
    backbone_id: str = "",
    license: str = LICENSE,
) -> tuple[str, ...]:
    """Writes the files to share into an existing directory.

    Args:
        folder: directory of the model.
        into: gets model.json, prompts.safetensors, README.md, and texts.json if there are texts.
        name: "user/name", for the model card.
        backbone_id: public name of the backbone, "ViT-B/16" or "org/name" on the hub; it is loaded
            to check that it is the same. "": as the model states.
        license: see `share`.

    Returns:
        Fields of `Saved.trained` that are removed, as they hold local paths.

    Raises:
        PromptError: there is no model, it is damaged, or its backbone has no public name.
    """
    _check_name(name)
    model = saved.read(folder)
    backbone = backbone_id or model.backbone
    if not is_public(backbone):
        raise PromptError(
            f"the backbone of {folder}, {backbone}, is a local path, which others cannot load; "
            f"name the same CLIP by --backbone-id: one of {', '.join(HUB_IDS)}, or org/name on the "
            "Hugging Face hub"
        )
    if backbone_id:
        _refuse_other_backbone(folder, model, backbone_id)
    shareable, left_out = local_paths.remove_paths(model.trained)
    model = dataclasses.replace(model, backbone=backbone, trained=shareable)
    saved.write(into, model)
    write_text(into / CARD, cards.write(model, name, license))
    return left_out


def files_of(folder: pathlib.Path) -> list[str]:
    """Returns the names of the files to share in a directory that `prepare` has filled."""
    return [*FILES, *([saved.TEXTS] if (folder / saved.TEXTS).is_file() else [])]


def is_public(backbone: str) -> bool:
    """Returns whether a backbone's name is public, judged by its form."""
    # A local file or directory of that name would be loaded first.
    exists_locally = backbone != "embedded" and local_paths.exists_locally(backbone)
    return _is_public_name(backbone) and not exists_locally


def _is_public_name(backbone):
    if backbone == "embedded" or backbone in HUB_IDS:
        return True
    return _is_hub_name(backbone) and not backbone.endswith(SUFFIXES)


def _is_hub_name(name):
    try:
        huggingface_hub.hf_hub_url(name, CARD)
    except hub_errors.HFValidationError:
        return False
    return "/" in name


def _check_name(name):
    if not _is_hub_name(name):
        raise PromptError(
            f"{name!r} is not a valid name on the Hugging Face hub; write user/name, of letters, "
            "digits, '-', '_' and '.'"
        )


def _refuse_other_backbone(folder, model: Saved, backbone_id: str) -> None:
    found = loading.fingerprint(*loading.load(backbone_id, model.sizes.activation))
    if found != model.backbone_hash:
        raise PromptError(
            f"--backbone-id={backbone_id} is another CLIP than {folder} was trained on (hash "
            f"{found}, not {model.backbone_hash}), and prompts are not transferable between "
            "backbones; name the same one, or upload it and name that"
        )


def _refuse_unseen_backbone(hub_id: str, token: str | bool) -> None:
    """Raises a PromptError if users of the model cannot access its backbone."""
    if not hub_id:
        return
    try:
        huggingface_hub.HfApi(token=token).model_info(hub_id)
    except hub_errors.RepositoryNotFoundError:
        raise PromptError(
            f"the backbone, {hub_id}, is not on the Hugging Face hub, or not public; upload it, or "
            "name the same CLIP by --backbone-id"
        ) from None


def _upload(
    api: huggingface_hub.HfApi, there: pathlib.Path, name: str, private: bool, replace: bool
) -> bool:
    """Uploads the files; returns whether that was necessary."""
    parent, own = None, files_of(there)
    try:
        info = api.model_info(name)
    except hub_errors.RepositoryNotFoundError:
        api.create_repo(name, private=private or None)  # None: the account's default
    else:
        parent = info.sha
        if private and not info.private:
            raise PromptError(
                f"{name} already exists and is public; make it private on its page, or leave "
                "--private out"
            )
        tree = api.list_repo_tree(name, recursive=True, revision=parent)
        files = {one.path: one for one in tree if isinstance(one, RepoFile)}
        other = sorted(path for path in files if not _is_same(there / path, files[path]))
        if not other and all(file in files for file in own):
            return False
        if other and not replace:
            listed = escape(", ".join(other[:5]))
            raise PromptError(
                f"{name} already exists and holds something else ({listed}); choose another name, "
                "or replace it by --replace: the hub keeps its history"
            )
    files_added = [
        huggingface_hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=there / file)
        for file in own
    ]
    # The parent commit prevents overwriting concurrent uploads.
    api.create_commit(
        name, files_added, commit_message="A model trained by prompt_jax", parent_commit=parent
    )
    return True


def _is_same(path: pathlib.Path, remote: RepoFile) -> bool:
    if remote.path == _MADE_BY_HUB:
        return True
    if not path.is_file():
        return False
    content = path.read_bytes()
    if remote.lfs:
        return remote.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns errors of the hub and the network into PromptErrors."""
    try:
        yield
    except PromptError:
        raise
    # Offline, unknown, private, proxy and storage failures share no base class.
    except Exception as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_FULL):
            raise
        raise PromptError(f"{name}: {_explain(error)}") from None


def _explain(error):
    page = huggingface_hub.constants.ENDPOINT
    if isinstance(error, hub_errors.GatedRepoError):
        return f"access is restricted; request it on its page on {page}, then {_LOG_IN}"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        access = "with this token" if huggingface_hub.get_token() else "without a token"
        return f"{page} has no such model, or no access {access}; if it is private, {_LOG_IN}"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return "it has no such revision; pass a branch, a tag or a full commit hash"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    refused = status or isinstance(error, ValueError)
    root = error if refused else error.__cause__ or error
    reason = getattr(root, "server_message", "") or str(root) or type(root).__name__
    reason = escape(" ".join(reason.split()))[:300]
    if status in _MESSAGES:
        return _MESSAGES[status].format(reason=reason, page=page)
    if refused:
        return f"{page} rejects the request ({reason})"
    uncached = isinstance(error, hub_errors.LocalEntryNotFoundError)
    cache = ", and the model is not cached on this machine" if uncached else ""
    return f"{page} is unreachable{cache} ({reason}); try again later"
