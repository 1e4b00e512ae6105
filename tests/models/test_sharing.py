"""Trained models are uploaded to a fake hub, and loaded from it in other processes."""

import dataclasses

import fake_hub
import huggingface_hub
import jax
import numpy as np
import pytest
import tiny
from PIL import Image

import prompt_jax as pj
from prompt_jax import methods, share
from prompt_jax.cli import commands
from prompt_jax.clip import loading as clip_loading
from prompt_jax.errors import PromptError
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import loading, saved, sharing

# For huggingface_hub, which uploads large files by it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")

BACKBONE = "lab/tiny-clip"
NAME = "me/cats"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def run(clip, tmp_path_factory):
    """Returns the directory of a trained model with a local backbone and two more local paths."""
    folder = tmp_path_factory.mktemp("run")
    sizes, frozen = clip_loading.load(clip)
    method = methods.get("coop")
    settings = method.Settings()
    tower, placed = loading.place(sizes, frozen, "float32", "highest")
    task = methods.make_task(method, tower, placed, tiny.CLASSES, settings)
    model = saved.Saved(
        method="coop",
        kind="images",
        task="classes",
        settings=dataclasses.asdict(settings),
        class_names=tiny.CLASSES,
        template="a photo of a {}.",
        backbone=str(clip),
        backbone_hash=clip_loading.fingerprint(sizes, frozen),
        activation="",
        dtype="float32",
        sizes=sizes,
        inputs=Inputs.of(sizes.image_size),
        trained={"seed": 2, "init_from": "results/other", "config": {"data.list": "/home/me/l"}},
        prompts=jax.tree.map(np.asarray, method.init(jax.random.key(1), task)),
    )
    saved.write(folder, model)
    return folder


@pytest.fixture
def public(run, tmp_path):
    """Returns the same with a public name of the backbone."""
    folder = tmp_path / "public"
    folder.mkdir()
    saved.write(folder, dataclasses.replace(saved.read(run), backbone=BACKBONE))
    return folder


@pytest.fixture
def hub(clip, tmp_path, monkeypatch):
    """Returns a hub with the backbone, for this process, with an empty cache and a write token."""
    with fake_hub.running() as hub:
        known = huggingface_hub.constants
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(known, "ENDPOINT", hub.url)
        monkeypatch.setattr(known, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(known, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(known, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(known, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", fake_hub.WRITE)
        hub.put(BACKBONE, {path.name: path.read_bytes() for path in clip.iterdir()})
        yield hub


def process(hub, home, *arguments, token=""):
    """Runs a command with its own cache; returns its exit code, output and errors."""
    started = tiny.command(
        *arguments,
        HF_ENDPOINT=hub.url,
        HF_HOME=str(home),
        HF_HUB_DISABLE_XET="1",
        HF_TOKEN=token,
        PYTHONWARNINGS="error::ResourceWarning",
    )
    output, errors = started.communicate(timeout=300)
    return started.returncode, output, errors


@pytest.mark.slow
def test_a_model_shared_by_one_process_is_loaded_by_another(clip, run, tmp_path):
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    save = (
        "import sys, numpy, prompt_jax as pj\n"
        "model = pj.load(sys.argv[1])\n"
        "numpy.save(sys.argv[2], model.predict([sys.argv[3]]).logits)\n"
    )

    def logits(hub, home, source):
        words = ("-c", save, source, str(tmp_path / "logits.npy"), str(image))
        code, _, errors = process(hub, home, *words)
        assert code == 0, errors
        return np.load(tmp_path / "logits.npy")

    with fake_hub.running() as hub:
        hub.put(BACKBONE, {path.name: path.read_bytes() for path in clip.iterdir()})
        words = ("-m", "prompt_jax.share", str(run), NAME, "--backbone-id", BACKBONE)
        code, output, errors = process(hub, tmp_path / "mine", *words, token=fake_hub.WRITE)
        assert code == 0, errors
        assert f'{hub.url}/{NAME}\nin Python: prompt_jax.load("hf:{NAME}")\n' in output
        assert "init_from" in output and "config.data.list" in output
        assert set(hub.files(NAME)) == {".gitattributes", *sharing.FILES}
        assert not any(str(clip).encode() in content for content in hub.files(NAME).values())

        here = pj.load(run).predict([image]).logits
        there = logits(hub, tmp_path / "theirs", f"hf:{NAME}")
        np.testing.assert_array_equal(there, here)
        assert not (tmp_path / "theirs" / "token").exists()
    # Without the hub, the cached download is used.
    np.testing.assert_array_equal(logits(hub, tmp_path / "theirs", f"hf:{NAME}"), here)
    words = ("-m", "prompt_jax.predict", f"hf:{NAME}", str(image))
    code, _, errors = process(hub, tmp_path / "empty", *words)
    assert code == 2 and errors.count("\n") == 1
    assert "is unreachable, and the model is not cached on this machine" in errors


def test_a_downloaded_model_equals_the_shared_one(hub, public):
    found = sharing.share(public, NAME)
    assert (found.page, found.changed) == (f"{hub.url}/{NAME}", True)
    assert not hub.repositories[NAME].private
    mine, theirs = saved.read(public), saved.read(sharing.download(NAME))
    assert theirs.prompts.keys() == mine.prompts.keys()
    jax.tree.map(np.testing.assert_array_equal, theirs.prompts, mine.prompts)
    kept = {"prompts": {}, "trained": {"seed": 2, "config": {}}}
    assert dataclasses.replace(theirs, **kept) == dataclasses.replace(mine, **kept)
    assert theirs.trained == kept["trained"]
    # A second time, nothing is written.
    before = len(hub.repositories[NAME].commits)
    assert not sharing.share(public, NAME).changed
    assert len(hub.repositories[NAME].commits) == before
    assert isinstance(pj.load(f"hf:{NAME}"), pj.Model)


def test_an_earlier_revision_can_be_loaded(hub, run, public):
    sharing.share(public, NAME)
    first = hub.repositories[NAME].commits[-1][0]
    model = saved.read(public)
    saved.write(public, dataclasses.replace(model, template="a drawing of a {}."))
    with pytest.raises(PromptError, match=r"holds something else \(model.json\).*--replace"):
        sharing.share(public, NAME)
    sharing.share(public, NAME, replace=True)
    assert saved.read(sharing.download(NAME)).template == "a drawing of a {}."
    assert saved.read(sharing.download(f"{NAME}@{first}")).template == model.template
    with pytest.raises(PromptError, match="me/cats@v9: it has no such revision"):
        sharing.download(f"{NAME}@v9")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("me/absent", "has no such model, or no access with this token; if it is p"),
        ("me/asked", "access is restricted; request it"),
        (BACKBONE, "holds no model.json.*load a bare CLIP by 'lab/tiny-clip'"),
        ("me/empty", "holds no model.json"),
        ("cats", "is not a valid name on the Hugging Face hub; write user/name"),
        ("me/../cats", "is not a valid name on the Hugging Face hub"),
    ],
)
def test_download_errors_are_one_line(hub, name, words):
    hub.put("me/asked", {}, gated=True)
    hub.put("me/empty", {"notes.txt": b"x"})
    with pytest.raises(PromptError, match=words) as caught:
        pj.load(f"hf:{name}")
    assert "\n" not in str(caught.value)


def test_private_models_require_a_login(hub, public, monkeypatch):
    sharing.share(public, NAME, private=True)
    assert hub.repositories[NAME].private
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(PromptError, match="rejects the token"):
        sharing.download("me/other")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PromptError, match="no access without a token; .*hf auth login"):
        sharing.download(NAME)
    monkeypatch.setenv("HF_TOKEN", fake_hub.READ)
    assert saved.read(sharing.download(NAME)).method == "coop"


def test_an_unreachable_hub_uses_the_cache(hub, public):
    sharing.share(public, NAME)
    there = sharing.download(NAME)
    hub.down = True
    assert sharing.download(NAME) == there
    with pytest.raises(PromptError, match="unreachable, and the model is not cached"):
        sharing.download("me/other")
    with pytest.raises(PromptError, match="me/other: .* rejects the request"):
        sharing.share(public, "me/other")


def _no_token(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")


def _wrong_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "wrong")


def _reading_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", fake_hub.READ)


def _other_model(hub, monkeypatch):
    hub.put(NAME, {saved.MODEL: b"{}", "config.json": b"{}"})


def _own_card(hub, monkeypatch):
    hub.put(NAME, {sharing.CARD: b"# My cats", ".gitattributes": b""})


def _public(hub, monkeypatch):
    hub.put(NAME, {".gitattributes": b""})


def _no_backbone(hub, monkeypatch):
    del hub.repositories[BACKBONE]


def _private_backbone(hub, monkeypatch):
    hub.repositories[BACKBONE].private = True


@pytest.mark.parametrize(
    ("prepare", "options", "words"),
    [
        (_no_token, [], "needs a Hugging Face token with write access: log in by `hf auth"),
        (_wrong_token, [], "rejects the token (Invalid credentials"),
        (_reading_token, [], "the token has no permission for this (no write access to me/cats"),
        (_other_model, [], "holds something else (config.json, model.json)"),
        (_own_card, [], "holds something else (README.md)"),
        (_public, ["--private"], "already exists and is public"),
        (_no_backbone, [], "the backbone, lab/tiny-clip, is not on the Hugging Face hub"),
        (_private_backbone, [], "or not public"),
        (
            None,
            ["--license=beer"],
            'rejects the request (Invalid metadata in README.md. - "license" must',
        ),
    ],
)
def test_upload_errors_are_one_line(hub, public, monkeypatch, capsys, prepare, options, words):
    if prepare:
        prepare(hub, monkeypatch)
    commits = {name: list(one.commits) for name, one in hub.repositories.items()}
    assert commands.explain(share.start, [str(public), NAME, *options]) == 2
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1
    assert {name: hub.repositories[name].commits for name in commits} == commits
    assert not hub.uploaded  # at most an empty repository is created, which the next attempt fills


def test_an_empty_repository_is_filled_and_other_files_stay(hub, public):
    hub.put(NAME, {".gitattributes": b"x"}, private=True)
    assert sharing.share(public, NAME, private=True).changed
    hub.repositories[NAME].commit({"image.png": b"x", saved.MODEL: b"{}"})
    with pytest.raises(PromptError, match=r"something else \(image.png, model.json\)"):
        sharing.share(public, NAME)
    assert sharing.share(public, NAME, replace=True).changed
    assert hub.files(NAME)["image.png"] == b"x" and hub.files(NAME)[saved.MODEL] != b"{}"


def test_concurrent_uploads_are_not_overwritten(hub, public, monkeypatch):
    sharing.share(public, NAME)
    hub.repositories[NAME].commit({saved.MODEL: b"{}"})
    known = sharing._is_same

    def slow(path, remote):
        if remote.path == saved.MODEL:
            hub.repositories[NAME].commit({saved.MODEL: b'{"newer": 1}'})
        return known(path, remote)

    monkeypatch.setattr(sharing, "_is_same", slow)
    with pytest.raises(PromptError, match="changed at the same time"):
        sharing.share(public, NAME, replace=True)
    assert hub.files(NAME)[saved.MODEL] == b'{"newer": 1}'


def test_a_local_backbone_needs_a_public_name(hub, clip, run, tmp_path, capsys):
    def dry_run(number, *options):
        words = [str(run), NAME, "--dry-run", str(tmp_path / f"dry{number}"), *options]
        return commands.explain(share.start, words)

    assert dry_run(1) == 2
    assert "is a local path, which others cannot load" in capsys.readouterr().err
    hub.put(
        "lab/other-clip",
        {
            p.name: p.read_bytes()
            for p in tiny.save_clip(tmp_path / "other", "text/block_0/fc/bias").iterdir()
        },
    )
    assert dry_run(2, "--backbone-id=lab/other-clip") == 2
    assert "is another CLIP than" in capsys.readouterr().err
    assert dry_run(3, f"--backbone-id={clip}") == 2
    capsys.readouterr()
    assert dry_run(4, f"--backbone-id={BACKBONE}") in (0, None)
    written = sorted(path.name for path in (tmp_path / "dry4").iterdir())
    assert written == sorted(sharing.FILES) and not hub.writes()
    assert saved.read(tmp_path / "dry4").backbone == BACKBONE
    assert dry_run(4, f"--backbone-id={BACKBONE}") == 2
    assert "already exists; name a new or empty directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backbone", "public"),
    [
        ("embedded", True),
        ("ViT-B/16", True),
        ("openai/clip-vit-base-patch16", True),
        ("ViT-B-16.pt", False),
        ("videos/ViT-B-16.pt", False),
        ("/data/clip", False),
        ("./clip", False),
        ("~/clip", False),
        ("tests/fixtures", False),  # it exists locally, so it would be loaded
        ("a/b/c", False),
        ("", False),
    ],
)
def test_public_names_of_backbones(backbone, public, monkeypatch):
    monkeypatch.chdir(tiny.REPOSITORY)
    assert sharing.is_public(backbone) == public
