"""Getting and checking IDX files, on a data set of a few bytes and without a network."""

import gzip
import hashlib
import multiprocessing
import socket
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS, PIXELS, RAW, assert_intact, good, tiny
from torchvision.datasets import MNIST, FashionMNIST

from custom_pkg import files
from dataloader import DatasetError, fashion_mnist, known_files, mnist, raw_files
from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from dataloader.known_files import KnownFiles
from dataloader.ways import gz_files_from, gz_files_in


def tampered(names, scratch):
    return [(name, RAW[name] + b"!") for name in names]


def unreachable(names, scratch):
    raise DatasetError("no route to host")


def never(names, scratch):
    raise AssertionError("this way was not needed")


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "Tiny" / "raw"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def filled(raw):
    for name, data in RAW.items():
        (raw / name).write_bytes(data)
    return raw


def test_images_and_labels_are_those_of_the_files(tmp_path):
    dataset = tiny(good=good).load(tmp_path, print)
    assert dataset.train.images.dtype == torch.float32
    assert np.array_equal(dataset.train.images, (PIXELS / 255).astype(np.float32).reshape(5, 1, 3, 3))
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels.tolist() == LABELS.tolist()
    assert dataset.test.images.shape == (2, 1, 3, 3)
    assert dataset.test.labels.tolist() == [4, 2]
    assert dataset.sha256 == {name: hashlib.sha256(data).hexdigest() for name, data in RAW.items()}


def test_source_names_the_way_first_and_the_files_afterwards(tmp_path):
    assert tiny(good=good).load(tmp_path, print).source == "good"
    assert tiny(never=never).load(tmp_path, print).source == f"files in {tmp_path / 'Tiny/raw'}"


def test_source_tells_which_files_came_another_way(tmp_path, filled):
    (filled / TEST_LABELS).unlink()
    source = tiny(good=good).load(tmp_path, print).source
    there = f"{TRAIN_IMAGES}, {TRAIN_LABELS}, {TEST_IMAGES}"
    assert source == f"files in {filled} ({there}); good ({TEST_LABELS})"


def flip_a_bit(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flip_a_bit, lambda data: data[:-3], lambda data: b""])
def test_a_damaged_file_is_named_and_replaced(tmp_path, filled, damage):
    (filled / TRAIN_IMAGES).write_bytes(damage(RAW[TRAIN_IMAGES]))
    lines = []
    dataset = tiny(good=good).load(tmp_path, lines.append)
    assert any(str(filled / TRAIN_IMAGES) in line and "damaged" in line for line in lines)
    assert_intact(filled)
    assert torch.equal(dataset.train.images.mul(255).round().to(torch.uint8)[:, 0], torch.tensor(PIXELS))


def test_a_damaged_file_that_cannot_be_replaced_is_named_and_not_loaded(tmp_path, filled):
    (filled / TEST_IMAGES).write_bytes(flip_a_bit(RAW[TEST_IMAGES]))
    with pytest.raises(DatasetError, match=rf"{TEST_IMAGES}\s+\(damaged"):
        tiny(unreachable=unreachable).load(tmp_path, print)


def test_a_way_with_wrong_bytes_is_refused_and_the_next_one_used(tmp_path, raw):
    lines = []
    assert tiny(tampered=tampered, good=good).load(tmp_path, lines.append).source == "good"
    assert any("tampered" in line and "wrong SHA-256" in line for line in lines)
    assert_intact(raw)


def test_what_a_way_gave_before_it_failed_is_kept(tmp_path):
    def breaks_off(names, scratch):
        yield names[0], RAW[names[0]]
        raise DatasetError("connection lost")

    asked = []

    def rest(names, scratch):
        asked.extend(names)
        return good(names, scratch)

    tiny(breaks_off=breaks_off, rest=rest).load(tmp_path, print)
    assert asked == [TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]


def test_when_all_ways_fail_one_error_names_each_and_what_to_put_where(tmp_path, raw):
    with pytest.raises(DatasetError) as caught:
        tiny(tampered=tampered, unreachable=unreachable).load(tmp_path, print)
    message = str(caught.value)
    assert "1. tampered" in message and "wrong SHA-256" in message
    assert "2. unreachable: no route to host" in message
    assert str(raw) in message
    for name, data in RAW.items():
        assert name in message and hashlib.sha256(data).hexdigest() in message


def test_hand_placed_raw_files_are_used_and_left_as_they_are(tmp_path, filled):
    before = {path: path.stat().st_mtime_ns for path in filled.iterdir()}
    tiny(never=never).load(tmp_path, print)
    assert {path: path.stat().st_mtime_ns for path in filled.iterdir()} == before


def test_hand_placed_gz_files_are_unpacked_and_kept(tmp_path, raw):
    for name, data in RAW.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    assert tiny(never=never).load(tmp_path, print).source == f".gz files in {raw}"
    assert_intact(raw)
    assert len(list(raw.glob("*.gz"))) == 4


def test_a_damaged_gz_file_is_named_and_the_good_ones_beside_it_used(tmp_path, raw):
    for name, data in RAW.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    (raw / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(RAW[TRAIN_LABELS])[:-9])
    lines = []
    source = tiny(good=good).load(tmp_path, lines.append).source
    assert f"good ({TRAIN_LABELS})" in source
    assert any(f"{TRAIN_LABELS}.gz" in line and "damaged" in line for line in lines)
    assert_intact(raw)


def test_leftovers_of_a_killed_run_are_removed(tmp_path, raw):
    (raw / f"{raw_files.UNFINISHED}abc").write_bytes(RAW[TRAIN_IMAGES][:10])
    (raw / f"{raw_files.UNFINISHED}def").mkdir()
    (raw / f"{raw_files.UNFINISHED}def" / "half.gz").write_bytes(b"half")
    tiny(good=good).load(tmp_path, print)
    assert_intact(raw)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")

    def disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        files.replace_file(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_data_root_that_is_a_file_is_one_clear_line(tmp_path):
    root = tmp_path / "root"
    root.write_text("not a folder")
    with pytest.raises(DatasetError, match=rf"cannot use {root}.*Not a directory") as caught:
        tiny(never=never).load(root, print)
    assert "\n" not in str(caught.value)


def test_a_data_root_that_cannot_be_written_is_one_clear_line(tmp_path, monkeypatch):
    def refused(*args, **kwargs):  # chmod would not stop a test that runs as root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DatasetError, match=rf"cannot use {tmp_path}.*Permission denied") as caught:
        tiny(never=never).load(tmp_path, print)
    assert "\n" not in str(caught.value)


def test_intact_files_are_loaded_from_a_folder_that_cannot_be_written(tmp_path, filled, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(known_files, "replace_file", refused)
    tiny(never=never).load(tmp_path, print)
    assert not (filled / ".lock").exists()


# Forked, as a fresh interpreter takes seconds to import torch. The children touch files only, no tensors.
forking = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
FORK = multiprocessing.get_context("fork")


def prepare(dataset, folder, report):
    return KnownFiles(dataset.name, dataset.sha256, dataset.ways).prepare(folder, report)


def prepare_slowly(folder, start, answers):
    """What one process of several does: every file takes it a moment, and it notes that it was asked."""

    def slow(names, scratch):
        answers.put("asked")
        for name in names:
            time.sleep(0.1)
            yield name, RAW[name]

    start.wait()
    answers.put(prepare(tiny(slow=slow), folder, answers.put))


@forking
def test_processes_starting_at_once_get_the_files_once_and_intact(tmp_path):
    folder, start, answers = tmp_path / "raw", FORK.Barrier(3), FORK.Queue()
    processes = [FORK.Process(target=prepare_slowly, args=(folder, start, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=20)
    assert [process.exitcode for process in processes] == [0, 0, 0]

    said = []
    while len([line for line in said if line in ("slow", f"files in {folder}")]) < 3:
        said.append(answers.get(timeout=5))
    assert said.count("asked") == 1
    assert said.count(f"tiny: waiting for another process to fill {folder}") == 2
    assert said.count("slow") == 1 and said.count(f"files in {folder}") == 2
    assert_intact(folder)


LAYOUTS = {  # where other projects keep the files -> their folder below the data root, their names
    "the original's": ("tiny", lambda name: name.replace("-idx", ".idx")),
    "a folder raw": ("tiny/raw", lambda name: name),
    "flat": ("Tiny", lambda name: name),
    "flat and packed": ("TINY", lambda name: f"{name}.gz"),
    "the root is the folder": (".", lambda name: name),
    "the root is the folder above": ("raw", lambda name: f"{name.replace('-idx', '.idx')}.gz"),
    "shouted": ("tiny", lambda name: f"{name}.gz".upper()),
    "beside other data": ("other/raw", lambda name: f"{name} (1)"),
    "unpacked elsewhere, though called .gz": ("tiny", lambda name: f"{name}.gz.bak"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_in_another_layout_are_found_by_their_content_and_read_where_they_are(tmp_path, layout):
    place, named = LAYOUTS[layout]
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name, data in RAW.items():
        path = tmp_path / place / named(name)
        path.write_bytes(gzip.compress(data) if path.name.lower().endswith(".gz") else data)
    before = sorted(tmp_path.rglob("*"))
    dataset = tiny(never=never).load(tmp_path, pytest.fail)
    assert dataset.train.labels.tolist() == LABELS.tolist() and dataset.test.labels.tolist() == [4, 2]
    assert dataset.source == f"files in {tmp_path / place}"
    assert sorted(tmp_path.rglob("*")) == before


def swapped(folder):
    (folder / TRAIN_IMAGES).rename(folder / "x")
    (folder / TRAIN_LABELS).rename(folder / TRAIN_IMAGES)
    (folder / "x").rename(folder / TRAIN_LABELS)


def each_in_a_folder_of_its_name(folder):
    for name in RAW:
        (folder / name).rename(folder / "x")
        (folder / name).mkdir()
        (folder / "x").rename(folder / name / name)


def partly_elsewhere(folder):
    (folder.parent.parent / "tiny").mkdir()
    (folder / TEST_LABELS).rename(folder.parent.parent / "tiny" / TEST_LABELS)


def packed_without_a_name_for_it(folder):
    (folder / TRAIN_IMAGES).write_bytes(gzip.compress(RAW[TRAIN_IMAGES]))


@pytest.mark.parametrize("mess", [
    swapped, each_in_a_folder_of_its_name, partly_elsewhere, packed_without_a_name_for_it,
])
def test_a_mess_is_read_by_content_and_left_as_it_is(tmp_path, filled, mess):
    mess(filled)
    before = sorted(tmp_path.rglob("*"))
    dataset = tiny(never=never).load(tmp_path, pytest.fail)
    assert dataset.train.labels.tolist() == LABELS.tolist() and torch.equal(
        dataset.train.images.mul(255).round().to(torch.uint8)[:, 0], torch.tensor(PIXELS)
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_a_killed_run_had_not_named_yet_is_not_taken(tmp_path, filled):
    (filled / TEST_LABELS).rename(filled / f".{TEST_LABELS}.123.tmp")
    assert f"good ({TEST_LABELS})" in tiny(good=good).load(tmp_path, lambda line: None).source
    assert_intact(filled)


def test_a_folder_in_the_place_of_a_file_is_said_before_anything_is_fetched(tmp_path, filled):
    (filled / TEST_IMAGES).unlink()
    (filled / TEST_IMAGES).mkdir()
    with pytest.raises(DatasetError, match=f"{TEST_IMAGES} is a folder"):
        tiny(never=never).load(tmp_path, pytest.fail)


def test_a_whole_file_of_another_data_set_is_kept_when_it_is_replaced(tmp_path, filled):
    (filled / TRAIN_IMAGES).write_bytes(flip_a_bit(RAW[TRAIN_IMAGES]))
    tiny(good=good).load(tmp_path, lambda line: None)
    assert (filled / f"{TRAIN_IMAGES}.replaced").read_bytes() == flip_a_bit(RAW[TRAIN_IMAGES])
    assert tiny(never=never).load(tmp_path, pytest.fail).source == f"files in {filled}"


def test_packed_files_are_read_from_a_folder_that_cannot_be_written(tmp_path, raw, monkeypatch):
    for name, data in RAW.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    monkeypatch.setattr(known_files.os, "access", lambda *_: False)  # who runs as root may do everything
    assert tiny(never=never).load(tmp_path, pytest.fail).train.labels.tolist() == LABELS.tolist()
    assert len(list(raw.iterdir())) == 4


def test_files_of_another_data_set_are_not_taken_and_are_named_when_there_is_no_other_way(tmp_path):
    (tmp_path / "tiny").mkdir()
    for name, data in RAW.items():
        (tmp_path / "tiny" / name).write_bytes(flip_a_bit(data))
    with pytest.raises(DatasetError) as error:
        tiny(unreachable=unreachable).load(tmp_path, lambda line: None)
    assert f"of another data set: {tmp_path / 'tiny' / TEST_IMAGES}" in str(error.value)
    assert tiny(good=good).load(tmp_path, lambda line: None).source == "good"


def test_what_fails_leaves_no_trace(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError):
        tiny(unreachable=unreachable).load(tmp_path / "mine" / "new", print)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]
    tiny(good=good).load(tmp_path / "mine", print)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(RAW)


@forking
def test_a_killed_process_leaves_nothing_that_blocks_or_spoils_the_next(tmp_path):
    folder, answers = tmp_path / "raw", FORK.Queue()
    process = FORK.Process(target=prepare_slowly, args=(folder, FORK.Barrier(1), answers))
    process.start()
    while answers.get(timeout=10) != "asked":
        pass
    process.kill()
    process.join()
    assert list(folder.glob(f"{raw_files.UNFINISHED}*"))  # it died at work
    prepare(tiny(good=good), folder, print)
    assert_intact(folder)


def test_files_are_downloaded_from_a_mirror_without_noise(tmp_path, mirror, capsys):
    address, folder = mirror
    for name, data in RAW.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    root = tmp_path / "data"  # what is served lies outside of it
    tiny(mirror=partial(gz_files_from, address)).load(root, lambda line: None)
    assert_intact(root / "Tiny" / "raw")
    assert capsys.readouterr() == ("", "")  # no progress bar where there is no terminal


def test_a_mirror_without_the_file_or_with_a_web_page_in_its_place_fails(tmp_path, mirror):
    address, folder = mirror
    with pytest.raises(DatasetError, match=f"{TRAIN_IMAGES}.gz: HTTP 404"):
        list(gz_files_from(address, [TRAIN_IMAGES], tmp_path))
    (folder / f"{TRAIN_IMAGES}.gz").write_text("<html>Please log in</html>")
    with pytest.raises(DatasetError, match=f"{TRAIN_IMAGES}.gz: damaged .gz file"):
        list(gz_files_from(address, [TRAIN_IMAGES], tmp_path))


def test_a_mirror_that_refuses_or_stays_silent_fails_soon(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        start = time.monotonic()
        with pytest.raises(DatasetError, match="timed out"):
            list(gz_files_from(address, [TRAIN_IMAGES], tmp_path, timeout=0.2))
    with pytest.raises(DatasetError, match="refused"):
        list(gz_files_from(address, [TRAIN_IMAGES], tmp_path))
    assert time.monotonic() - start < 5


def test_a_gz_file_that_unpacks_to_too_much_is_refused(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1001)))
    assert len(raw_files.gunzip(tmp_path / "bomb.gz", 1001)) == 1001
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        raw_files.gunzip(tmp_path / "bomb.gz", 1000)


def test_a_folder_that_is_absent_or_lacks_gz_files_says_so(tmp_path):
    with pytest.raises(DatasetError, match=f"{tmp_path}/{TRAIN_IMAGES}.gz is not there"):
        list(gz_files_in(tmp_path, [TRAIN_IMAGES], tmp_path))
    with pytest.raises(DatasetError, match=f"no folder {tmp_path}/absent"):
        list(gz_files_in(tmp_path / "absent", [TRAIN_IMAGES], tmp_path))


@pytest.mark.parametrize(
    "dataset, torchvision_class", [(mnist.DATASET, MNIST), (fashion_mnist.DATASET, FashionMNIST)]
)
def test_the_real_files_are_named_and_placed_as_torchvision_does(dataset, torchvision_class):
    assert dataset.folder == f"{torchvision_class.__name__}/raw"
    assert [f"{name}.gz" for name in dataset.sha256] == [name for name, _ in torchvision_class.resources]
