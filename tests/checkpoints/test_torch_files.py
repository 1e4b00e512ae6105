"""Files of torch.save and torch.jit.save give the arrays that torch reads, without running code."""

import os
import pickle
import struct
import warnings
import zipfile

import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch

from prompt_jax.clip.checkpoints import pickles, torch_files
from prompt_jax.clip.checkpoints.state_dicts import read_state
from prompt_jax.errors import PromptError


class Block(torch.nn.Module):
    """A module with shared and strided weights, both kinds of buffers, and other attributes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, 2)
        self.inner = torch.nn.Sequential(torch.nn.LayerNorm(2), torch.nn.Linear(2, 2).half())
        self.tied = self.linear
        self.alias = self.linear.weight
        self.register_buffer("size", torch.tensor(224))
        self.register_buffer("kept", torch.arange(3.0), persistent=False)
        self.register_buffer("strided", torch.randn(3, 4).bfloat16().T[1:3])
        self.mask = torch.ones(2, 2)  # not a buffer, as in the blocks of OpenAI's CLIP
        self.number, self.word, self.several = 5, "x", [torch.ones(2), torch.zeros(1)]

    def forward(self, x):
        """Computes something from all of its tensors."""
        return self.linear(x) @ self.mask + self.number * self.kept.sum()


def as_numpy(tensor):
    """Converts bfloat16, which torch does not convert to numpy, by its bits."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy()
    return tensor.numpy()


def assert_equals_torch(path, expected):
    found = torch_files.read(path).arrays
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        array, wanted = found[name], as_numpy(tensor)
        if str(array.dtype) == "bfloat16":
            array = np.ascontiguousarray(array).view(np.int16)
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape), name
        assert array.tobytes() == wanted.tobytes(), name


def save_script(module, path, trace=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        made = torch.jit.trace(module, torch.ones(1, 3)) if trace else torch.jit.script(module)
        torch.jit.save(made, path)
        return torch.jit.load(path).state_dict()


@pytest.mark.parametrize("trace", [False, True])
def test_torchscript_modules_are_read_like_torch(trace, tmp_path):
    expected = save_script(Block(), tmp_path / "block.pt", trace)
    assert {"linear.weight", "tied.weight", "inner.1.bias", "size", "strided"} <= expected.keys()
    assert "mask" not in expected
    assert_equals_torch(tmp_path / "block.pt", expected)


@pytest.mark.parametrize(
    "options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}]
)
def test_state_dicts_are_read_like_torch(options, tmp_path):
    kinds = [torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    state = dict(Block().state_dict())
    state |= {str(kind): torch.arange(5).to(kind) for kind in [*kinds, torch.bool]}
    state |= {
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "transposed": torch.randn(2, 3, 4).permute(2, 0, 1),
        "view": torch.arange(20.0)[7:9],
        "empty": torch.zeros(0, 3),
        "expanded": torch.ones(1).expand(4),
    }
    path = tmp_path / "state.pt"
    torch.save(state, path, **options)
    assert_equals_torch(path, state)
    rest = {"epoch": 3, "optimizer": {0: {"step": torch.ones(())}}, "sizes": (1, 2.5, None, True)}
    torch.save(rest | {"state_dict": state, "device": torch.device("cpu")}, path, **options)
    assert_equals_torch(path, state)


@pytest.mark.parametrize("zipped", [True, False])
def test_optimizers_and_schedules_are_skipped(zipped, tmp_path):
    """Tests optimizer and schedule objects: their states have tensors as keys, and counters."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5])
    content = {"state_dict": model.state_dict(), "epoch": 3, "loss": 0.5, "note": "x"}
    path = tmp_path / "model.pth.tar-3"
    torch.save(content | {"a": schedule}, path, _use_new_zipfile_serialization=zipped)
    assert_equals_torch(path, model.state_dict())
    assert torch_files.read(path).numbers == {"epoch": 3, "loss": 0.5}
    torch.save({"state_dict": {"a": schedule}}, tmp_path / "a.pt")
    assert "it holds no state dict; not tensors: a" in refusal(tmp_path / "a.pt")


def refusal(path):
    with pytest.raises(PromptError) as caught:
        read_state(path)
    message = str(caught.value)
    kinds = (" is not a readable PyTorch checkpoint: ", " can be read, but it holds ")
    assert message.startswith(tuple(path.name + kind for kind in kinds)), message
    assert "\n" not in message
    return message


class Command:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_call_in_a_pickle_runs(zipped, tmp_path):
    file, mark = tmp_path / "a.pt", tmp_path / "mark"
    torch.save({"a": Command(mark)}, file, _use_new_zipfile_serialization=zipped)
    assert "it calls 'posix.system', which no tensor needs; no code was executed" in refusal(file)
    assert not mark.exists()


class Setstate(torch.nn.Module):
    """Writes a file or never ends when it is loaded by torch."""

    def __init__(self, mark: str, loops: bool):
        super().__init__()
        self.weight, self.mark, self.loops = torch.nn.Parameter(torch.ones(3)), mark, loops

    def forward(self, x):
        """Does nothing."""
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.mark, self.loops, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool, bool]):
        self.weight, self.mark, self.loops, self.training = state
        if not self.loops:
            self.weight = torch.from_file(self.mark, True, 4)
        number = 1
        while self.loops and number > 0:
            number = (number + 1) % 7 + 1


@pytest.mark.parametrize("loops", [False, True])
def test_no_code_in_torchscript_runs(loops, tmp_path):
    file, mark = tmp_path / "a.pt", tmp_path / "mark"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(Setstate(str(mark), loops))
        torch.jit.save(module, file)
        if not loops:
            torch.jit.load(file)
            assert mark.exists()  # it would
            mark.unlink()
    message = refusal(file)
    assert "Setstate' is created by custom code (__setstate__)" in message
    assert not mark.exists()


def number(value):
    """Returns the pickle of a plain value, without its frame and memo index."""
    return pickle.dumps(value, 2)[2:-1].removesuffix(b"q\x00")


def pickled(storage=("FloatStorage", "0", 4), offset=0, shape=(4,), strides=(1,), metadata=b""):
    """Returns the pickle of {"a": a tensor}, opcode by opcode."""
    kind, key, size = storage
    reference = number("storage") + f"ctorch\n{kind}\n".encode() + number(key) + number("cpu")
    arguments = b"(" + reference + number(size) + b"tQ" + number(offset)
    arguments += b"(" + b"".join(map(number, shape)) + b"t("
    arguments += b"".join(map(number, strides)) + b"t\x89ccollections\nOrderedDict\n)R" + metadata
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
    return b"\x80\x02}" + number("a") + tensor + b"s."


def archive(path, content, entries=None, compression=zipfile.ZIP_STORED, root="x"):
    entries = {"data/0": np.arange(4, dtype=np.float32).tobytes()} if entries is None else entries
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{root}/data.pkl", content)
        for name, data in entries.items():
            file.writestr(f"{root}/{name}", data)
    return path


def test_the_unmodified_pickles_are_valid(tmp_path):
    array = torch_files.read(archive(tmp_path / "a.pt", pickled())).arrays["a"]
    np.testing.assert_array_equal(array, [0, 1, 2, 3])


def nested(opening, closing, depth):
    return b"\x80\x02" + opening * depth + closing * (depth - 1) + b"."


def shared_tuples(depth):
    """Returns nested tuples that hold one tuple twice: small, but a hash takes 2^depth steps."""
    levels = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    return b"\x80\x02})" + levels + b"Ns."


PICKLES = {
    "beyond the storage": (pickled(offset=1), "a tensor exceeds its storage '0'"),
    "strides beyond": (pickled(shape=(2,), strides=(4,)), "exceeds its storage"),
    "before the storage": (pickled(strides=(-1,)), "a tensor's offset, shape or strides"),
    "repeated": (pickled(shape=(10**10,), strides=(0,)), "far larger than the file"),
    "many axes": (pickled(shape=(1,) * 40, strides=(1,) * 40), "40 axes"),
    "axes": (pickled(shape=(2, 2)), "2 axes and 1 strides"),
    "larger storage": (pickled(("FloatStorage", "0", 10**12)), "16 bytes instead of 4000000000000"),
    "no storage": (pickled(("FloatStorage", "7", 4)), "its entry data/7 is missing"),
    "outside": (pickled(("FloatStorage", "../../a", 4)), "its entry data/../../a is missing"),
    "complex": (pickled(("ComplexFloatStorage", "0", 2)), "'torch.ComplexFloatStorage' is not"),
    "conjugated": (pickled(metadata=b"}" + number("conj") + b"\x88s"), "conjugated or negated"),
    "nested lists": (nested(b"]", b"a", 200_000), "it holds a list, not a state dict"),
    "hash": (shared_tuples(60), "a dict's key is a tuple"),
    "duplicates": (b"\x80\x02" + b"}" + b"2" * 9 + b".", "the instruction DUP"),
    "buffer": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "expected 1099511627776 bytes"),
    "empty stack": (b"\x80\x02s.", "its pickle is damaged"),
    "no end": (b"\x80\x02}", "pickle exhausted"),
    "memo": (b"\x80\x02}r\xff\xff\xff\x7fh\x01.", "its pickle is damaged (KeyError: 1)"),
    "object": (b"\x80\x02cos\npopen\n)\x81.", "it creates 'os.popen'"),
    "extension": (b"\x80\x02\x82\x01.", "the instruction EXT1"),
    "own storage": (b"\x80\x02" + number(("module", 1, 2, 3, 4)) + b"Q.", "that is not a storage"),
}


@pytest.mark.parametrize(("content", "message"), PICKLES.values(), ids=PICKLES)
def test_pickles_that_leave_their_file_or_never_end(content, message, tmp_path):
    assert message in refusal(archive(tmp_path / "a.pt", content))


def test_pickles_have_a_bounded_number_of_opcodes(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 100)
    file = archive(tmp_path / "a.pt", b"\x80\x02" + b"N" * 100 + b"}.", {})
    assert "more than 100 instructions" in refusal(file)


def test_a_large_memo_index_takes_no_memory(tmp_path):
    file = archive(tmp_path / "a.pt", b"\x80\x02}r\xff\xff\xff\x7f.", {})
    assert torch_files.read(file).arrays == {}


def test_modules_that_contain_each_other(tmp_path):
    made = b"c__torch__\nA\n)\x81"
    itself = b"\x80\x02" + made + b"q\x00}" + number("a") + b"h\x00sb."
    assert "a name exceeds 200" in refusal(archive(tmp_path / "a.pt", itself))
    twice = b"".join(
        made + b"q" + bytes([i]) + b"}"
        b"(" + number("a") + b"h" + bytes([i - 1]) + number("b") + b"h" + bytes([i - 1]) + b"ub"
        for i in range(1, 60)
    )
    many = b"\x80\x02" + made + b"q\x00" + twice + b"."
    assert "more than 1000000 attributes" in refusal(archive(tmp_path / "b.pt", many))


def test_archives_with_false_entry_headers(tmp_path):
    compressed = archive(tmp_path / "a.pt", pickled(), compression=zipfile.ZIP_DEFLATED)
    assert "its entry data.pkl is compressed, which torch never does" in refusal(compressed)
    bomb = archive(tmp_path / "b.pt", pickled(), {"data/0": bytes(80 << 20)}, zipfile.ZIP_DEFLATED)
    assert "its entries are far larger than it" in refusal(bomb)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(tmp_path / "c.pt", pickled())
        with zipfile.ZipFile(twice, "a") as file:
            file.writestr("x/data/0", bytes(16))
    assert "it has two entries of the same name" in refusal(twice)
    big = archive(tmp_path / "d.pt", pickled(), {"data/0": bytes(16), "byteorder": "big"})
    assert "its numbers are big-endian" in refusal(big)
    two = archive(tmp_path / "e.pt", b"", {"other/data.pkl": b""})
    assert "2 entries NAME/data.pkl instead of one" in refusal(two)
    flipped = archive(tmp_path / "f.pt", pickled())
    content = bytearray(flipped.read_bytes())
    content[content.index(np.float32(3).tobytes())] ^= 1
    flipped.write_bytes(content)
    assert "Bad CRC-32 for file 'x/data/0'" in refusal(flipped)
    listing = archive(tmp_path / "g.pt", pickled())
    content = bytearray(listing.read_bytes())
    content[-10:-6] = struct.pack("<I", 2**31)  # the length of the list of entries
    listing.write_bytes(content)
    refusal(listing)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_rejected(zipped, tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(5)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(1, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        refusal(path)
