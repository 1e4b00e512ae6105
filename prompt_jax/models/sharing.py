"""Trained models on the Hugging Face hub: what is shared of a folder, and how it comes back.

A repository there holds model.json, prompts.safetensors and README.md, its model card. They are
written anew from what was read, so nothing else that lies in a run's folder can get out.
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

CARD = "README.md"
FILES = (saved.MODEL, saved.PROMPTS, CARD)
LICENSE = "apache-2.0"
_MOST_BYTES = {saved.MODEL: saved_fields.MOST_BYTES, saved.PROMPTS: saved_arrays.MOST_BYTES}
_REVISION = re.compile(r"(?!.*\.\.)[\w][\w./-]{0,199}", re.ASCII)
_MADE_BY_HUB = ".gitattributes"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"
_ANSWERS = {
    401: "{page} refuses the token ({said}); " + _LOG_IN + " anew",
    403: "the token may not do this ({said}); take one that may write there",
    409: "the name is taken, by what this token may not see ({said}); choose another",
    412: "somebody else changed it at this moment ({said}); look at it, then run again",
}


@dataclasses.dataclass(frozen=True)
class Shared:
    """What became of a model that was to be shared.

    Attributes:
        page: its address.
        left_out: fields of `Saved.trained` that said a path of this machine.
        changed: whether anything was uploaded; the same model may have been there.
    """

    page: str
    left_out: tuple[str, ...]
    changed: bool


def download(name: str) -> pathlib.Path:
    """The local folder of a model on the hub, downloaded once; without a network the one kept.

    Args:
        name: "user/name", or "user/name@revision", a branch, tag or commit.

    Raises:
        PromptError: there is no such repository or revision, it is not to be seen with this token,
            the hub is out of reach and nothing is kept, or it holds no trained model.
    """
    repository, _, revision = name.partition("@")
    _check_name(repository)
    if revision and not _REVISION.fullmatch(revision):
        raise PromptError(
            f"{escape(name)[:200]}: behind @ belongs a branch, a tag or a whole commit: letters, "
            "digits, '-', '_', '.' and '/'"
        )
    with _explained(name):
        _refuse_vast(repository, revision or None)
        folder = pathlib.Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision or None, allow_patterns=list(_MOST_BYTES)
            )
        )
    if not saved.is_saved(folder):
        raise PromptError(
            f"hf:{name} holds no {saved.MODEL}, so it is no trained model of prompt_jax; a bare "
            f"CLIP is loaded by {repository!r} alone, without hf:"
        )
    return folder


def _refuse_vast(repository: str, revision: str | None) -> None:
    """Raises a PromptError where files on the hub are larger than a model's can be."""
    for name, most in _MOST_BYTES.items():
        url = huggingface_hub.hf_hub_url(repository, name, revision=revision)
        try:
            size = huggingface_hub.get_hf_file_metadata(url).size or 0
        except Exception:  # the download meets it too, and says it, or gives what is kept
            return
        if size > most:
            raise PromptError(f"its {name} has {size:,} bytes; at most {most:,} are read")


def check_backbone(model: Saved, name: str) -> None:
    """Checks what a stranger's model has loaded as its backbone: no path of this machine.

    Raises:
        PromptError: it is no name that anyone finds.
    """
    if not _is_public_name(model.backbone):
        raise ArgumentError(
            f"{name} was trained on {shorten(model.backbone)}, a path of the machine of its "
            "training",
            "say where the same CLIP is, by {}",
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
    """Uploads a trained model in one commit, with its model card; the repository is made if absent.

    Args:
        folder: a finished run's, or another with model.json.
        name: "user/name".
        private: a new repository is seen by its owners alone.
        replace: files of these names that are there and differ are replaced; the hub's history
            keeps them.
        backbone_id: see `prepare`.
        license: of the prompts, an identifier of the hub.

    Raises:
        PromptError: no token is there or it may not do this, the repository holds something else,
            or see `prepare`.
    """
    _check_name(name)
    token = huggingface_hub.get_token()
    if not token:
        raise PromptError(
            f"sharing {name} needs a token of the Hugging Face hub that may write: {_LOG_IN}"
        )
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
    """Writes what is shared of a trained model into a folder that is there.

    Args:
        folder: of the model.
        into: gets model.json, prompts.safetensors and README.md.
        name: "user/name", for the model card.
        backbone_id: by what anyone finds the backbone: "ViT-B/16", or "org/name" on the hub; it is
            loaded, to see that it is the same. "" where the model says it already.
        license: see `share`.

    Returns:
        Fields of `Saved.trained` that are left out, as they say a path of this machine.

    Raises:
        PromptError: there is no model, it is damaged, or nobody else could find its backbone.
    """
    _check_name(name)
    model = saved.read(folder)
    backbone = backbone_id or model.backbone
    if not is_public(backbone):
        raise PromptError(
            f"the backbone of {folder}, {backbone}, is a path of this machine, which means nothing "
            f"to others; name the same CLIP by --backbone-id: one of {', '.join(HUB_IDS)}, or "
            "org/name on the Hugging Face hub"
        )
    if backbone_id:
        _refuse_other_backbone(folder, model, backbone_id)
    told, left_out = local_paths.leave_out(model.trained)
    model = dataclasses.replace(model, backbone=backbone, trained=told)
    saved.write(into, model)
    write_text(into / CARD, cards.write(model, name, license))
    return left_out


def is_public(backbone: str) -> bool:
    """Whether anyone finds a backbone by this name, as far as the name itself says."""
    # What is here comes first when it is loaded, whatever it is called.
    is_here = backbone != "embedded" and local_paths.is_here(backbone)
    return _is_public_name(backbone) and not is_here


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
            f"{name!r} is no name on the Hugging Face hub; write user/name, of letters, digits, "
            "'-', '_' and '.'"
        )


def _refuse_other_backbone(folder, model: Saved, backbone_id: str) -> None:
    found = loading.fingerprint(*loading.load(backbone_id, model.sizes.activation))
    if found != model.backbone_hash:
        raise PromptError(
            f"--backbone-id={backbone_id} is another CLIP than {folder} was trained on (hash "
            f"{found}, not {model.backbone_hash}), and its prompts mean nothing to it; name the "
            "same one, or upload that and name it"
        )


def _refuse_unseen_backbone(hub_id: str, token: str | bool) -> None:
    """Raises a PromptError if others would not see the backbone."""
    if not hub_id:
        return
    try:
        huggingface_hub.HfApi(token=token).model_info(hub_id)
    except hub_errors.RepositoryNotFoundError:
        raise PromptError(
            f"the backbone, {hub_id}, is not on the Hugging Face hub, or not for everyone to see; "
            "upload it, or name the same CLIP by --backbone-id"
        ) from None


def _upload(
    api: huggingface_hub.HfApi, there: pathlib.Path, name: str, private: bool, replace: bool
) -> bool:
    """Whether anything had to be uploaded."""
    parent = None
    try:
        info = api.model_info(name)
    except hub_errors.RepositoryNotFoundError:
        api.create_repo(name, private=private or None)  # None: as the account has it
    else:
        parent = info.sha
        if private and not info.private:
            raise PromptError(
                f"{name} is there already, for everyone to see; make it private on its page, or "
                "leave out --private"
            )
        tree = api.list_repo_tree(name, recursive=True, revision=parent)
        files = {one.path: one for one in tree if isinstance(one, RepoFile)}
        other = sorted(path for path in files if not _is_same(there / path, files[path]))
        if not other and all(file in files for file in FILES):
            return False
        if other and not replace:
            listed = escape(", ".join(other[:5]))
            raise PromptError(
                f"{name} is there already and holds something else ({listed}); "
                "choose another name, or put this model in its place by --replace: the hub's "
                "history keeps what was there"
            )
    files_added = [
        huggingface_hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=there / file)
        for file in FILES
    ]
    # With its parent named, what somebody else uploads at this moment is not overwritten either.
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
    """What the hub and the network answer becomes a PromptError."""
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
        return f"{page} gives it out on request only; ask for it on its page, then {_LOG_IN}"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        seen = "this token may see" if huggingface_hub.get_token() else "is seen without a token"
        return f"there is no such model on {page}, or none that {seen}; if it is private, {_LOG_IN}"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return "it has no such revision; give a branch, a tag or a whole commit of it"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    refused = status or isinstance(error, ValueError)
    root = error if refused else error.__cause__ or error
    said = getattr(root, "server_message", "") or str(root) or type(root).__name__
    said = escape(" ".join(said.split()))[:300]
    if status in _ANSWERS:
        return _ANSWERS[status].format(said=said, page=page)
    if refused:
        return f"{page} refuses it ({said})"
    kept = isinstance(error, hub_errors.LocalEntryNotFoundError)
    nothing = ", and nothing of it is kept on this machine" if kept else ""
    return f"{page} is out of reach{nothing} ({said}); try again later"
