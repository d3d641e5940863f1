import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.trainables.data.model_files import digest, model_folder, other_bytes
from tests import tiny


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a model folder: it has no config.json"):
        model_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"no \*.safetensors weights"):
        model_folder(str(tmp_path))


def test_a_pickle_is_not_opened_and_the_command_that_converts_it_is_named(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors["tied"] = tensors["embeddings.word_embeddings.weight"]
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"^.* pytorch_model.bin is a pickle, which may run code .*$") as refused:
        model_folder(str(folder))
    _, command = str(refused.value).split("convert it in that folder: ")
    subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=folder, check=True)
    assert load_file(model_folder(str(folder)) / "model.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize("more", [{}, {"config.json": b"{}"}, {"config.json": b"{}", "adapter_model.bin": b""}])
def test_an_adapter_is_refused_with_the_way_to_merge_it(tmp_path: Path, more: dict[str, bytes]) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"", "tokenizer.json": b"{}"} | more
    folder = _folder(tmp_path / "adapter", files)
    with pytest.raises(ValueError, match=r"^\S+ holds an adapter, not a model: .*merge_and_unload\(\).*$"):
        model_folder(str(folder))


FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "vocab.txt": b"the\na\n",
    "spiece.model": b"\x00\x01",
    "model-00001-of-00002.safetensors": b"weights" * 100,
    "model-00002-of-00002.safetensors": b"more weights" * 100,
}


def _folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("name", FILES)
def test_the_digest_changes_with_any_byte_and_with_any_name(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "model", FILES)
    before, content = digest(folder), FILES[name]
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert digest(folder) != before
    (folder / name).write_bytes(content)
    assert digest(folder) == before
    renamed = (folder / name).rename(folder / f"other-{name}")
    assert digest(folder) != before
    renamed.unlink()
    assert digest(folder) != before


def test_the_digest_changes_when_two_files_change_places_and_when_one_more_is_there(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", FILES)
    one, other = (folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    before = digest(folder)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert digest(folder) != before
    more = _folder(tmp_path / "more", {**FILES, "added_tokens.json": b""})
    assert digest(more) != before


def test_the_digest_does_not_change_otherwise(tmp_path: Path) -> None:
    """The folder's place, dates, other files and folders do not matter, nor do links, which the hub's cache uses."""
    folder = _folder(tmp_path / "model", FILES)
    before = digest(folder)
    assert len(before) == 64
    moved = _folder(tmp_path / "moved", dict(reversed(FILES.items())))
    for name in FILES:
        os.utime(moved / name, (1, 1))
    (moved / "README.md").write_text("a model card")
    (moved / "pytorch_model.bin").write_bytes(b"a pickle")
    (moved / "1_Pooling").mkdir()
    (moved / "1_Pooling" / "config.json").write_text("{}")
    (moved / "folder.json").mkdir()
    assert digest(moved) == before
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in FILES:
        (linked / name).symlink_to(folder / name)
    assert digest(linked) == before


def test_other_bytes_are_those_beside_the_weights(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "model", FILES)
    expected = sum(len(content) for name, content in FILES.items() if not name.endswith(".safetensors"))
    assert other_bytes(folder) == expected
    (folder / "README.md").write_text("not read by from_pretrained")
    assert other_bytes(folder) == expected
    (folder / "model.safetensors.index.json").write_bytes(b"12345")
    assert other_bytes(folder) == expected + 5
