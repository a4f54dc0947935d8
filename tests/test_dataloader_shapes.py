"""The shapes: the renderer, and the published archive's format in a copy with four positions per run."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, SMALL

from dataloader import DatasetError, shapes
from dataloader.shapes_rendered import render

SMALL_IMAGES = render(CLASSES[:, 1:])


@pytest.fixture(scope="module")
def rendered():
    return shapes.load(Path("unused"), pytest.fail, data_source="rendered")


@pytest.fixture
def small(monkeypatch):
    """As if the whole data set had two positions each way; its address leads nowhere."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(shapes, "FACTORS", SMALL)
    monkeypatch.setattr(shapes, "URL", "http://127.0.0.1:9/nothing.npz")


class Bomb:
    """Pickles as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def archive(images=SMALL_IMAGES, classes=CLASSES, **others):
    """The bytes of an archive as published."""
    file = io.BytesIO()
    np.savez_compressed(file, imgs=images, latents_classes=classes, **others)
    return file.getvalue()


def put(tmp_path, data):
    folder = tmp_path / "dsprites"
    folder.mkdir()
    path = folder / shapes.ARCHIVE
    path.write_bytes(data)
    return path


# The data set


def test_shapes_have_the_promised_shapes_types_and_range(rendered):
    assert (rendered.name, rendered.n_classes) == ("shapes", 3)
    assert rendered.train.images.shape == (6144 - 615, 1, 64, 64)  # 205 of 2,048 styles are held out
    assert rendered.test.images.shape == (615, 1, 64, 64)
    for split in (rendered.train, rendered.test):
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert ((split.images == 0) | (split.images == 1)).all()
        assert torch.equal(split.factors[:, 0], split.labels)
        assert split.factors[:, 1].unique().tolist() == [5]
        assert split.factors[:, 2].unique().tolist() == [3, 36]


def test_every_image_shows_its_factors(rendered):
    for split in (rendered.train, rendered.test):
        chosen = torch.arange(0, len(split.labels), 97)
        assert np.array_equal(split.images[chosen, 0], render(split.factors[chosen].numpy()))


def test_the_pictured_images_are_ten_of_the_training_set(rendered):
    training = {*map(tuple, rendered.train.factors.tolist())}
    assert len({*shapes.PICTURED} & training) == 10
    assert shapes.PICTURED[0] == (0, 5, 3, 8, 8)
    assert shapes.PICTURED[-1] == (2, 5, 36, 24, 24)


def test_without_a_holdout_all_images_are_trained_on():
    everything = shapes.load(Path("unused"), pytest.fail, data_source="rendered", holdout=0)
    assert np.array_equal(everything.train.factors, shapes.training_values())
    assert len(everything.test.labels) == 0


def test_a_second_loading_gives_the_same_data_set(rendered):
    again = shapes.load(Path("unused"), pytest.fail, data_source="rendered")
    assert again.record() == rendered.record()
    assert torch.equal(again.train.images, rendered.train.images)
    assert torch.equal(again.test.factors, rendered.test.factors)


def test_the_training_values_are_in_the_order_of_the_whole_data_set():
    values = shapes.training_values()
    numbers = shapes.FACTORS.index(values)
    assert len(numbers) == 6144
    assert (np.diff(numbers) > 0).all()
    assert np.array_equal(shapes.FACTORS.values(numbers), values)


def test_an_unknown_data_source_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="'file'.*auto, files, rendered"):
        shapes.load(tmp_path, data_source="file")


# The renderer


def test_all_6144_rendered_images_differ_and_are_the_same_each_time():
    images = render(shapes.training_values())
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 6144
    assert np.array_equal(render(shapes.training_values()), images)


def box(image):
    """(left, top, right, bottom) of the pixels that are on."""
    down, right = np.nonzero(image)
    return right.min(), down.min(), right.max(), down.max()


@pytest.mark.parametrize("scale, side", [*enumerate([10, 12, 14, 16, 18, 20])])
def test_an_upright_square_is_a_block_around_its_centre(scale, side):
    # As measured in the published animation; between pixels, as here at 15.5, a side of 19.2 takes 20 of them.
    image = render([(0, scale, 0, 0, 0)])[0]
    first, last = 16 - side // 2, 15 + side // 2
    assert box(image) == (first, first, last, last)
    assert image.sum() == side**2


def test_x_moves_right_and_y_down_by_32_pixels_from_end_to_end():
    for shape in range(3):
        corner, right, down = render([(shape, 5, 3, 0, 0), (shape, 5, 3, 31, 0), (shape, 5, 3, 0, 31)])
        assert np.array_equal(np.roll(corner, 32, axis=1), right)
        assert np.array_equal(np.roll(corner, 32, axis=0), down)


def test_the_whole_shape_is_in_the_picture_wherever_it_is():
    corners = [(shape, 5, k, x, y) for shape in range(3) for k in range(40) for x in (0, 31) for y in (0, 31)]
    images = render(corners)
    assert not images[:, [0, -1]].any()
    assert not images[:, :, [0, -1]].any()


def test_the_last_orientation_is_the_first_again():
    values = np.array([(shape, scale, 0, 7, 20) for shape in range(3) for scale in range(6)])
    assert np.array_equal(render(values), render(values + [0, 0, 39, 0, 0]))


def test_a_heart_points_down_and_turns_counterclockwise():
    # 10 of 39 is a little more than a quarter of a turn.
    upright, quarter = render([(2, 5, 0, 0, 0), (2, 5, 10, 0, 0)])[:, :32, :32]
    assert np.array_equal(upright, upright[:, ::-1])
    assert upright[15 + 8].sum() < upright[15 - 8].sum()
    assert quarter[:, 15 + 8].sum() < quarter[:, 15 - 8].sum()


def test_orientations_as_far_from_upright_are_mirror_images():
    one_way, other_way = (render([(shape, 5, k, 0, 0) for shape in range(3)])[:, :32, :32] for k in (3, 36))
    assert np.array_equal(one_way, other_way[:, :, ::-1])
    assert not np.array_equal(one_way, other_way)


# The published archive


def test_the_archives_images_are_taken_and_hashed(tmp_path, small):
    path = put(tmp_path, archive())
    values = shapes.training_values()
    dataset = shapes.load(tmp_path, pytest.fail, data_source="files", holdout=0)
    assert dataset.source == f"files in {tmp_path / 'dsprites'}"
    assert np.array_equal(dataset.train.factors, values)
    chosen = SMALL_IMAGES[SMALL.index(values)]
    assert np.array_equal(dataset.train.images[:, 0], chosen)
    assert dataset.sha256 == {
        "images": hashlib.sha256(chosen.tobytes()).hexdigest(),
        shapes.ARCHIVE: hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_auto_prefers_the_archive_to_the_renderer(tmp_path, small):
    put(tmp_path, archive(images=1 - SMALL_IMAGES))
    dataset = shapes.load(tmp_path, pytest.fail, holdout=0)
    assert np.array_equal(dataset.train.images[:, 0], 1 - render(shapes.training_values()))


def test_the_archives_pickled_metadata_is_not_unpickled(tmp_path, small):
    made = tmp_path / "made"
    path = put(tmp_path, archive(metadata=np.array(Bomb(made), dtype=object)))
    shapes.load(tmp_path, pytest.fail, data_source="files")
    assert not made.exists()
    with np.load(path, allow_pickle=True) as members:
        members["metadata"]
    assert made.exists()  # it would have gone off


def flip_a_byte_in_the_middle(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


DAMAGED = {
    "a web page": (lambda: b"<html>Please log in</html>", "not a zip file"),
    "cut off": (lambda: archive()[:-5000], "not a zip file"),
    "a wrong byte": (lambda: flip_a_byte_in_the_middle(archive()), "CRC-32|decompressing"),
    "an image missing": (lambda: archive(images=SMALL_IMAGES[:-1]), r"imgs is \(2879, 64, 64\)"),
    "smaller images": (lambda: archive(images=SMALL_IMAGES[:, :60, :60]), r"imgs is \(2880, 60, 60\)"),
    "fractions": (lambda: archive(images=SMALL_IMAGES.astype(np.float16)), "of float16, not .* of uint8"),
    "objects": (lambda: archive(classes=CLASSES.astype(object)), "of object"),
    "too few classes": (lambda: archive(classes=CLASSES[:-1]), "of integers"),
    "grey": (lambda: archive(images=SMALL_IMAGES * np.uint8(255)), "values other than 0 and 1"),
    "another order": (lambda: archive(classes=CLASSES[:, [0, 1, 2, 3, 5, 4]]), "latents_classes does not number"),
    "no images": (lambda: archive().replace(b"imgs.npy", b"pics.npy"), "imgs.npy"),
}


@pytest.mark.parametrize("data_source", ["auto", "files"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_is_named_and_neither_replaced_nor_removed(tmp_path, small, damage, data_source):
    make, reason = DAMAGED[damage]
    data = make()
    path = put(tmp_path, data)
    with pytest.raises(DatasetError, match=f"(?s){path} is damaged.*({reason})"):
        shapes.load(tmp_path, pytest.fail, data_source=data_source)
    assert path.read_bytes() == data


# Getting it


def test_auto_with_nothing_in_reach_renders_and_says_so(tmp_path, small):
    lines = []
    dataset = shapes.load(tmp_path, lines.append, holdout=0)
    assert dataset.source == "rendered by this project"
    assert [*dataset.sha256] == ["images"]
    assert np.array_equal(dataset.train.images[:, 0], render(shapes.training_values()))
    assert any(shapes.URL in line and "refused" in line for line in lines)
    assert "rendered by this project in place of the published files" in lines[-1]


def test_auto_renders_where_the_data_root_cannot_be_used(tmp_path, small):
    root = tmp_path / "file"
    root.touch()
    assert shapes.load(root, lambda line: None).source == "rendered by this project"


def test_files_that_cannot_be_had_are_an_error_that_tells_what_was_tried_and_what_helps(tmp_path, small):
    with pytest.raises(DatasetError) as error:
        shapes.load(tmp_path, print, data_source="files")
    message = str(error.value)
    assert f"tried {shapes.URL}" in message and "refused" in message
    assert f"put {shapes.ARCHIVE} into {tmp_path / 'dsprites'}" in message


@pytest.fixture
def served(small, mirror, monkeypatch):
    """Where to put the file that the data set's address leads to."""
    address, folder = mirror
    monkeypatch.setattr(shapes, "URL", f"{address}{shapes.ARCHIVE}")
    return folder / shapes.ARCHIVE


@pytest.mark.parametrize("data_source", ["auto", "files"])
def test_the_archive_is_downloaded_once(tmp_path, served, data_source):
    served.write_bytes(archive())
    first = shapes.load(tmp_path, lambda line: None, data_source=data_source)
    assert first.source == f"downloaded from {shapes.URL}"
    folder = tmp_path / "dsprites"
    assert sorted(path.name for path in folder.iterdir()) == [shapes.ARCHIVE]
    assert (folder / shapes.ARCHIVE).read_bytes() == served.read_bytes()
    served.unlink()
    second = shapes.load(tmp_path, pytest.fail, data_source=data_source)
    assert second.source == f"files in {folder}"
    assert second.sha256 == first.sha256


@pytest.mark.parametrize("data", [b"<html>Please log in</html>", archive()[:-5000]])
def test_a_bad_download_is_not_kept(tmp_path, served, data):
    served.write_bytes(data)
    lines = []
    assert shapes.load(tmp_path, lines.append).source == "rendered by this project"
    assert any("not a zip file" in line for line in lines)
    assert not (tmp_path / "dsprites").exists()
    with pytest.raises(DatasetError, match="not a zip file"):
        shapes.load(tmp_path, print, data_source="files")


def test_an_interrupted_download_leaves_nothing_that_looks_like_the_archive(tmp_path, small, monkeypatch):
    def interrupted(url, path):
        path.write_bytes(archive()[:-5000])
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes.load(tmp_path, print)
    assert not (tmp_path / "dsprites").exists()
