"""Shards: streamed, shared out to processes and workers without loss, and refused where they are unsafe."""

import io
import json
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")
pytest.importorskip("torchvision", reason="acclimate[server] is not installed")
pytest.importorskip("webdataset", reason="acclimate[server] is not installed")

import torch
from torch.utils.data import DataLoader

from acclimate.errors import InputError, LabelError
from acclimate.server.data import DataSettings, load_data
from acclimate.server.data.shard_files import expand_shards, read_shard
from acclimate.server.data.shards import ShardSamples

from .data_files import noise_image, png_bytes, wav_bytes, write_shard

pytestmark = pytest.mark.needs_torch


def write_shards(root: Path, shards: int = 6, samples: int = 10) -> str:
    """Write shards of images of three classes; the first pixel counts the samples."""
    for shard in range(shards):
        members = []
        for i in range(samples):
            number = shard * samples + i
            pixels = noise_image(number, 4, 4)
            pixels[0, 0] = number
            members += [(f"{number:03}.png", png_bytes(pixels)), (f"{number:03}.cls", str(number % 3).encode())]
        write_shard(root / f"part-{shard}.tar", members)
    return f"{root}/part-{{0..{shards - 1}}}.tar"


def load(pattern: str, seed: int = 0, **settings: Any) -> Any:
    return load_data(DataSettings(train=pattern, **settings), seed=seed)


def numbers(batches: Any) -> list[int]:
    return [round(float(x[0, 0, 0]) * 255) for part, *_ in batches for x in (part if part.dim() == 4 else [part])]


def test_every_sample_is_given_once_in_another_order_each_epoch(tmp_path: Path) -> None:
    """All 60, drawn across shards; the order follows seed and epoch; labels and names fit the samples."""
    data = load(write_shards(tmp_path), validation_share=0, shuffle=25)
    dataset = data.train.dataset
    assert (data.classes, data.shape, dataset.samples, len(dataset)) == (("0", "1", "2"), (3, 4, 4), 60, 60)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append(numbers(dataset))
    assert sorted(orders[0]) == list(range(60))
    assert orders[0] != list(range(60))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    for x, y, key in dataset:
        number = round(float(x[0, 0, 0]) * 255)
        assert (int(y), key) == (number % 3, f"part-{number // 10}.tar/{number:03}")
    assert numbers(dataset.plain()) == list(range(60))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_the_shards(tmp_path: Path, workers: int) -> None:
    """However many workers: each sample once."""
    dataset = load(write_shards(tmp_path), validation_share=0).train.dataset
    dataset.set_epoch(1)
    got = numbers(DataLoader(dataset, batch_size=4, num_workers=workers))
    assert sorted(got) == list(range(60))


def as_process(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    """Be one of several processes, as torchrun says."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(processes))


def test_processes_share_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two and three processes: each gives its own shards, together all of them, and as many samples as the others."""
    dataset = load(write_shards(tmp_path), validation_share=0).train.dataset
    for processes in (2, 3):
        got = []
        for rank in range(processes):
            as_process(monkeypatch, rank, processes)
            got.append(numbers(dataset))
        assert [len(part) for part in got] == [60 // processes] * processes
        assert sorted(number for part in got for number in part) == list(range(60))


def test_uneven_shares_still_make_as_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five shards for two processes: both give 25 samples, with two workers each, too: who has fewer begins again."""
    dataset = load(write_shards(tmp_path, shards=5), validation_share=0).train.dataset
    for workers in (0, 2):
        for rank in range(2):
            as_process(monkeypatch, rank, 2)
            got = numbers(DataLoader(dataset, batch_size=5, num_workers=workers))
            assert len(got) == 25
            assert len(dataset) == 25


def test_fewer_shards_than_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without samples would make the others wait for ever."""
    dataset = load(write_shards(tmp_path, shards=2), validation_share=0).train.dataset
    as_process(monkeypatch, 0, 3)
    with pytest.raises(InputError, match=r"as many shards as processes \(3\), found 2"):
        next(iter(dataset))


def test_augmentation_follows_the_sample(tmp_path: Path) -> None:
    """Whatever order and worker a sample comes by, it is varied alike in an epoch, and otherwise in the next."""
    dataset = load(write_shards(tmp_path), validation_share=0, augment=("crop", "flip"), shuffle=25).train.dataset

    def by_name(workers: int) -> dict[str, Any]:
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        return {key: x for x, _, key in loader}

    first, again = by_name(0), by_name(2)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    dataset.set_epoch(1)
    assert not all(torch.equal(first[key], x) for key, x in by_name(0).items())


def test_views_of_a_sample_differ_and_the_first_is_the_sample(tmp_path: Path) -> None:
    """Two views are drawn apart, in workers, too; without augmentation there are none."""
    pattern = write_shards(tmp_path, shards=1)
    dataset = load(pattern, validation_share=0, augment=("crop",)).train.dataset
    single = {key: x for x, _, key in dataset}
    for x, _, key in DataLoader(dataset.with_views(2), batch_size=None, num_workers=1):
        assert x.shape == (2, 3, 4, 4)
        assert torch.equal(x[0], single[key])
        assert not torch.equal(x[0], x[1])
    with pytest.raises(InputError, match=r"Name some variations as data.augment"):
        load(pattern, validation_share=0).train.dataset.with_views(2)


def test_whole_shards_are_kept_for_validation(tmp_path: Path) -> None:
    """A share of the shards, drawn by the seed; validation samples come in order, unvaried."""
    data = load(write_shards(tmp_path), validation_share=0.3, augment=("flip",))
    train, kept = ([int(key[-3:]) for _, _, key in part.dataset] for part in (data.train, data.validation))
    assert len(kept) == 20
    assert sorted(train + kept) == list(range(60))
    assert numbers(data.validation.dataset) == kept
    assert kept == sorted(kept)
    assert data.validation.dataset.samples == 20


def test_shards_are_not_read_first_where_all_is_told(tmp_path: Path) -> None:
    """With classes and number of samples set, only the first sample is looked at; numbers are places among names."""
    pattern = write_shards(tmp_path, shards=2)
    (tmp_path / "part-1.tar").write_bytes(b"not a shard")
    data = load(pattern, validation_share=0, classes=("a", "b", "c"), samples=20)
    assert data.classes == ("a", "b", "c")
    assert data.train.dataset.samples == 20
    with pytest.raises(InputError, match=r"part-1.tar: expected an uncompressed tar file"):
        list(data.train.dataset)


def test_sounds_arrays_and_json_labels(tmp_path: Path) -> None:
    """WAV and .npy members, labels of several tasks in JSON, one of them missing."""
    content = io.BytesIO()
    np.save(content, np.arange(6.0).reshape(2, 3))
    label = json.dumps({"kind": "x", "size": 3, "other": []}).encode()
    write_shard(tmp_path / "a.tar", [("0.npy", content.getvalue()), ("0.json", label), ("1.npy", content.getvalue())])
    data = load(str(tmp_path / "a.tar"), labels=("kind", "size"), validation_share=0)
    assert [(task.name, task.classes) for task in data.tasks] == [("kind", ("x",)), ("size", ("3",))]
    (x, y, _), (_, none, _) = data.train.dataset.plain()
    assert torch.equal(x, torch.arange(6.0).view(2, 3).T)
    assert [int(part) for part in y] == [0, 0]
    assert [int(part) for part in none] == [-1, -1]
    write_shard(tmp_path / "b.tar", [("0.wav", wav_bytes(np.zeros(16_000, np.int16))), ("0.cls", b"quiet\n")])
    data = load(str(tmp_path / "b.tar"), validation_share=0)
    assert (data.shape, data.classes) == ((1, 64, 98), ("quiet",))


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "a\\..\\out.png"])
def test_members_with_paths_outside_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing is ever unpacked; such a shard is not trusted all the same, and named."""
    write_shard(tmp_path / "a.tar", [("0.png", png_bytes(noise_image(0))), ("0.cls", b"0"), (name, b"x")])
    with pytest.raises(InputError, match=r"a.tar: expected members with paths inside"):
        load(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    """A member that is no plain file."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("0.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(InputError, match=r"a.tar: expected plain files, found '0.png'"):
        load(str(tmp_path / "a.tar"))


def test_a_member_that_says_it_is_huge_is_refused_unread(tmp_path: Path) -> None:
    """Its size stands in its header: it is refused before it is read into memory."""
    member = tarfile.TarInfo("0.png")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(InputError, match=r"at most 268,435,456 bytes, found '0.png' of 1,099,511,627,776"):
        load(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("cut", [700, 1_500, 3_600])
def test_a_shard_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    """Within a member, and between two of them, where a tar file could seem to end."""
    write_shard(tmp_path / "a.tar", [(f"{i}.npy", bytes(700)) for i in range(3)])
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:cut])
    with pytest.raises(InputError, match=r"a.tar: expected .*cut off"):
        expand_and_read(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(whole[: 3 * 512])
    with pytest.raises(InputError, match=r"a.tar: expected .*cut off"):
        expand_and_read(tmp_path / "a.tar")


def expand_and_read(path: Path) -> None:
    for shard in expand_shards(str(path)):
        list(read_shard(shard, ("label",)))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.cls", b"1")], r"a.tar/0: expected one member with the sample .*found none with \['cls'\]"),
        ([("0.png", b""), ("0.wav", b"")], r"a.tar/0: expected one member .*found \['png', 'wav'\]"),
        ([("0.png", b"x"), ("0.cls", b"1")], "a.tar/0: expected an image, found"),
        ([("0.npy", b"x"), ("0.cls", b"1")], "a.tar/0: expected an .npy file of numbers"),
        ([("0.png", b"x"), ("0.json", b"{")], "a.tar/0: expected JSON with the labels"),
        ([("0.png", b"x"), ("0.json", b"[]")], "a.tar/0: expected JSON with the keys"),
        ([("0.png", b"x"), ("0.cls", b"\xff")], "a.tar/0: expected the label as text in UTF-8"),
        ([("0.png", b"x"), ("0.png", b"y")], "a.tar: expected each member once"),
        ([], "expected samples in .*a.tar, found none"),
    ],
)
def test_a_bad_sample_is_refused_by_name(tmp_path: Path, members: Any, message: str) -> None:
    """No sample, two of them, one that cannot be decoded, labels that are none."""
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=message):
        list(load(str(tmp_path / "a.tar"), validation_share=0).train.dataset)


def test_a_label_out_of_the_classes_is_refused_by_name(tmp_path: Path) -> None:
    """The settings name two classes, a sample has a third."""
    data = load(write_shards(tmp_path, shards=1), classes=("a", "b"), samples=10, validation_share=0)
    with pytest.raises(LabelError, match=r"part-0.tar/002: expected label out of .*found '2'"):
        list(data.train.dataset.plain())


@pytest.mark.parametrize(
    "pattern", ["pipe:touch owned.tar", "http://x/$(touch owned).tar", "http://x/a';touch owned;'.tar", "s3://x/a.tar"]
)
def test_nothing_is_handed_to_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    """Webdataset runs what stands behind pipe: and puts addresses into a command: both are refused before."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected a path or a plain https address of a shard"):
        load(pattern, kind="shards")
    assert list(tmp_path.iterdir()) == []


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset fetches with curl, which is not installed")
def test_shards_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an address the same samples come as from the folder; one that is not there is told."""
    pattern = write_shards(tmp_path, shards=3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        fetched = load(f"{address}/part-{{0..2}}.tar", validation_share=0).train.dataset
        local = load(pattern, validation_share=0).train.dataset
        assert sorted(numbers(fetched)) == sorted(numbers(local))
        with pytest.raises(InputError, match=r"expected a shard at .*/part-3.tar"):
            load(f"{address}/part-{{0..3}}.tar", validation_share=0)
        server.shutdown()


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    """Every shard of the pattern must be there, before anything is read."""
    pattern = write_shards(tmp_path, shards=2).replace("0..1", "0..2")
    with pytest.raises(InputError, match=r"expected a shard at .*part-2.tar, found none"):
        load(pattern)


def test_the_same_settings_make_a_data_set_for_other_processes(tmp_path: Path) -> None:
    """It travels to a worker that is started afresh."""
    import pickle

    dataset = load(write_shards(tmp_path, shards=1), validation_share=0).train.dataset
    assert isinstance(dataset, ShardSamples)
    assert pickle.dumps(dataset.transforms)
