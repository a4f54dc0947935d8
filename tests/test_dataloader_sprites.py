"""Sprites: cutting sheets, getting them without the network, and the figures drawn in their place."""

import dataclasses
import gzip
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataloader import DatasetError, known_files, raw_files, sprites, sprites_rendered

NAMES = [f"instance[{character}]-{weapon}.png" for character in range(8) for weapon in ("bow", "spear")]
# The frames as (first row of cells, column, weapon), written out from the layout of the sheets.
FRAMES = (
    [(0, column, "bow") for column in range(7)]
    + [(4, column, "bow") for column in range(8)]
    + [(4, column, "spear") for column in range(8)]
    + [(8, column, "bow") for column in range(9)]
    + [(8, column, "spear") for column in range(9)]
    + [(12, column, "spear") for column in range(6)]
    + [(16, column, "spear") for column in range(13)]
    + [(16, column, "bow") for column in range(13)]
)


def sheet(blue):
    """(1344, 832, 4): red is the row and green the column of the cell, 1 and up; the alpha is to be dropped."""
    rows, columns = np.indices((21 * 64, 13 * 64)) // 64 + 1
    return np.stack([rows, columns, np.full_like(rows, blue), 3 * rows], axis=-1).astype(np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


@pytest.fixture(scope="module")
def sheets():
    """16 sheets, told apart by their blue: 10, 11, 20, 21, ..."""
    return {name: png(sheet(10 * (number // 2 + 1) + number % 2)) for number, name in enumerate(NAMES)}


@pytest.fixture
def hashes(sheets, monkeypatch):
    """The sheets of the tests are the real ones."""
    known = {name: hashlib.sha256(data).hexdigest() for name, data in sheets.items()}
    monkeypatch.setattr(sprites, "SHA256", known)
    return known


@pytest.fixture
def filled(tmp_path, sheets, hashes):
    folder = tmp_path / "root" / "sprites"
    folder.mkdir(parents=True)
    for name, data in sheets.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def server(server, monkeypatch):
    """The authors' repository on this machine."""
    monkeypatch.setattr(sprites, "ADDRESS", server.address)
    return server


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sprites, "ADDRESS", "http://127.0.0.1:1/")  # refuses at once


@pytest.fixture
def quick_figures(monkeypatch):
    """Something that is rendered in no time."""
    images = np.arange(8 * 4 * 73, dtype=np.uint32).view(np.uint8).reshape(8, 4, 73, 4)[..., :3, None, None]
    monkeypatch.setattr(sprites_rendered, "render", lambda sequences: np.tile(images, (60, 60)))


def all_pixels(dataset):
    """The images of a data set without held-out styles, as they were: (2336, 3, 60, 60) uint8."""
    assert len(dataset.test.labels) == 0
    return dataset.train.images.mul(255).round().to(torch.uint8).numpy()


# Cutting


def test_the_73_frames_come_in_the_published_order_from_the_right_cells():
    frames = sprites.cut({"bow": sheet(1), "spear": sheet(2)})
    assert frames.shape == (4, 73, 3, 60, 60) and frames.dtype == np.uint8
    for viewpoint in range(4):
        for number, (row, column, weapon) in enumerate(FRAMES):
            wanted = (row + viewpoint + 1, column + 1, {"bow": 1, "spear": 2}[weapon])
            assert (frames[viewpoint, number, :, :56] == np.reshape(wanted, (3, 1, 1))).all(), (viewpoint, number)


def test_of_a_cell_rows_8_to_63_and_columns_2_to_61_are_kept_above_four_black_rows():
    y, x = np.indices((21 * 64, 13 * 64)) % 64
    within = np.stack([y, x, 200 + 0 * x, x ^ y], axis=-1).astype(np.uint8)
    frames = sprites.cut({"bow": within, "spear": within})
    assert (frames[:, :, 0, :56] == np.arange(8, 64)[:, None]).all()
    assert (frames[:, :, 1, :56] == np.arange(2, 62)).all()
    assert (frames[:, :, 2, :56] == 200).all()  # whatever the alpha
    assert (frames[:, :, :, 56:] == 0).all()


def test_sheets_in_the_folder_become_images_ordered_by_character_viewpoint_and_frame(filled, hashes):
    dataset = sprites.load(filled.parent, print, data_source="files", holdout=0)
    assert (dataset.name, dataset.n_classes) == ("sprites", 8)
    assert (dataset.factors.names, dataset.factors.sizes) == (("character", "viewpoint", "frame"), (8, 4, 73))
    assert dataset.source == f"files in {filled}"
    assert dataset.sha256 == hashes
    assert torch.equal(dataset.train.labels, torch.arange(8).repeat_interleave(4 * 73))
    assert dataset.train.factors.tolist() == [[c, v, f] for c in range(8) for v in range(4) for f in range(73)]
    wanted = [
        (row + viewpoint + 1, column + 1, 10 * (character + 1) + (weapon == "spear"))
        for character in range(8)
        for viewpoint in range(4)
        for row, column, weapon in FRAMES
    ]
    assert all_pixels(dataset)[:, :, 0, 0].tolist() == [list(pixel) for pixel in wanted]


def test_a_tenth_of_the_styles_is_held_out_and_no_pictured_one(filled):
    dataset = sprites.load(filled.parent, print)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (8 * 263, 8 * 29)
    train, test = ({tuple(style) for style in split.factors[:, 1:].tolist()} for split in (dataset.train, dataset.test))
    assert len(test) == 29 and not train & test
    pictured = [(3, 3), (3, 1), (3, 46), (1, 64), (1, 30), (3, 33), (0, 65), (2, 6)]
    assert sprites.PICTURED.tolist() == [[character, *style] for character, style in enumerate(pictured)]
    assert train >= set(pictured)


@pytest.mark.parametrize("pixels", [sheet(1)[..., :3], sheet(1)[:-64]], ids=["without alpha", "a row too short"])
def test_a_sheet_of_another_format_is_refused_by_name(filled, hashes, pixels):
    path = filled / NAMES[3]
    path.write_bytes(png(pixels))
    hashes[NAMES[3]] = raw_files.sha256_of(path)
    with pytest.raises(DatasetError) as caught:
        sprites.load(filled.parent, print)
    assert str(path) in str(caught.value) and "not (832, 1344) RGBA" in str(caught.value)


def test_the_real_sheets_give_2336_images_with_a_figure_in_each():
    folder = os.environ.get("DISENIB_SPRITES")
    if not folder:
        pytest.skip("DISENIB_SPRITES does not name the folder of the real sheets")
    assert list(sprites.SHA256) == NAMES
    assert {name: raw_files.sha256_of(Path(folder) / name) for name in NAMES} == sprites.SHA256
    images = sprites.cut_all(Path(folder))
    assert images.shape == (8, 4, 73, 3, 60, 60)
    assert (images[..., 56:, :] == 0).all()
    assert (images.max(axis=3) > 0).sum(axis=(-1, -2)).min() > 200  # pixels of the smallest figure
    for name, character in zip(NAMES, np.repeat(range(8), 2), strict=True):
        with Image.open(Path(folder) / name) as whole:
            pixels = whole.convert("RGB")
        for number, (row, column, weapon) in enumerate(FRAMES):
            if weapon in name:
                for viewpoint in range(4):
                    x, y = 64 * column, 64 * (row + viewpoint)
                    cell = np.asarray(pixels.crop((x + 2, y + 8, x + 62, y + 64)))
                    assert np.array_equal(images[character, viewpoint, number, :, :56].transpose(1, 2, 0), cell)


# Getting the sheets


def test_missing_sheets_are_downloaded_once(tmp_path, sheets, hashes, server, capsys):
    for name, data in sheets.items():
        (server.folder / name).write_bytes(data)
    first = sprites.load(tmp_path, lambda line: None)
    assert first.source == f"the repository of the paper's authors, {sprites.ADDRESS}"
    assert first.sha256 == hashes
    assert server.asked == NAMES
    folder = tmp_path / "sprites"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == sheets
    assert sprites.load(tmp_path, print).source == f"files in {folder}"
    assert server.asked == NAMES
    assert capsys.readouterr() == ("", "")


def test_a_damaged_sheet_is_named_and_replaced_alone(filled, sheets, server):
    (filled / NAMES[5]).write_bytes(sheets[NAMES[5]][:-1])
    (server.folder / NAMES[5]).write_bytes(sheets[NAMES[5]])
    lines = []
    source = sprites.load(filled.parent, lines.append).source
    assert f"the repository of the paper's authors, {sprites.ADDRESS} ({NAMES[5]})" in source
    assert any(str(filled / NAMES[5]) in line and "damaged" in line for line in lines)
    assert server.asked == [NAMES[5]]
    assert (filled / NAMES[5]).read_bytes() == sheets[NAMES[5]]


@pytest.mark.parametrize("data_source", ["auto", "files"])
@pytest.mark.parametrize("problem", ["damaged", "missing"])
def test_a_sheet_that_lacks_among_others_is_an_error_and_nothing_is_drawn_instead(
    filled, sheets, offline, problem, data_source
):
    if problem == "damaged":
        (filled / NAMES[5]).write_bytes(b"\0" + sheets[NAMES[5]][1:])
    else:
        (filled / NAMES[5]).unlink()
    with pytest.raises(DatasetError) as caught:
        sprites.load(filled.parent, lambda line: None, data_source=data_source)
    message = str(caught.value)
    assert f"{NAMES[5]}  ({problem}; SHA-256 {sprites.SHA256[NAMES[5]]})" in message
    assert NAMES[4] not in message
    assert "refused" in message and str(filled) in message and "rendered" in message


def test_a_download_that_breaks_off_is_an_error_and_goes_on_next_time(tmp_path, sheets, hashes, server):
    for name in NAMES[:3]:
        (server.folder / name).write_bytes(sheets[name])
    with pytest.raises(DatasetError, match=r"instance\[1\]-spear.png: HTTP 404"):
        sprites.load(tmp_path, lambda line: None)
    for name in NAMES[3:]:
        (server.folder / name).write_bytes(sheets[name])
    sprites.load(tmp_path, lambda line: None)
    assert server.asked == [*NAMES[:4], *NAMES[3:]]


def test_files_that_cannot_be_had_are_an_error_that_says_what_was_tried_and_how_to_mend_it(tmp_path, server):
    with pytest.raises(DatasetError) as caught:
        sprites.load(tmp_path, lambda line: None, data_source="files")
    message = str(caught.value)
    assert f"1. the repository of the paper's authors, {sprites.ADDRESS}: {NAMES[0]}: HTTP 404" in message
    assert server.asked == NAMES[:1]  # not sixteen times
    assert f"put these files (as they are, or as .gz) into {tmp_path / 'sprites'}" in message
    assert all(f"{name}  (missing; SHA-256 {sprites.SHA256[name]})" in message for name in NAMES)
    assert 'choose the data source "rendered"' in message


def test_downloaded_files_of_an_unknown_hash_are_not_used(tmp_path, server):
    for name in NAMES:
        (server.folder / name).write_bytes(b"another picture")
    with pytest.raises(DatasetError, match=r"instance\[7\]-spear.png has the wrong SHA-256"):
        sprites.load(tmp_path, lambda line: None, data_source="files")
    assert not (tmp_path / "sprites").exists()


def test_a_file_larger_than_any_sheet_is_not_downloaded_to_its_end(tmp_path, server):
    (server.folder / NAMES[0]).write_bytes(bytes(2**20 + 2**17))
    with pytest.raises(DatasetError, match="larger than any file of this data set"):
        sprites.load(tmp_path, lambda line: None, data_source="files")


def refuse_writing(monkeypatch):
    def refused(*args, **kwargs):  # chmod would not stop a test that runs as root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    monkeypatch.setattr(known_files, "replace_file", refused)


def test_a_complete_folder_that_cannot_be_written_works(filled, offline, monkeypatch):
    refuse_writing(monkeypatch)
    assert sprites.load(filled.parent, print).source == f"files in {filled}"
    assert not (filled / ".lock").exists()


def test_a_damaged_sheet_in_a_folder_that_cannot_be_written_is_named(filled, offline, monkeypatch):
    refuse_writing(monkeypatch)
    (filled / NAMES[0]).write_bytes(b"")
    lines = []
    with pytest.raises(DatasetError, match=f"cannot use {filled}.*Permission denied"):
        sprites.load(filled.parent, lines.append)
    assert any(str(filled / NAMES[0]) in line and "damaged" in line for line in lines)


def test_packed_sheets_that_are_damaged_are_no_empty_folder(tmp_path, sheets, offline):
    (tmp_path / "sprites").mkdir()
    (tmp_path / "sprites" / f"{NAMES[0]}.gz").write_bytes(gzip.compress(sheets[NAMES[0]])[:-9])
    with pytest.raises(DatasetError, match="damaged .gz file"):
        sprites.load(tmp_path, lambda line: None)


def test_an_unknown_data_source_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(DatasetError, match="'real'.*auto, files, rendered"):
        sprites.load(tmp_path, print, data_source="real")


# Figures in place of the sheets


def test_without_any_sheet_auto_says_what_failed_and_what_takes_their_place(tmp_path, offline, quick_figures):
    lines = []
    dataset = sprites.load(tmp_path, lines.append)
    assert dataset.source == dataset.record()["source"] == "rendered by this project"
    assert any(sprites.ADDRESS in line and "refused" in line for line in lines)
    assert lines[-1] == "sprites: figures drawn by this project take the place of the real sprites"
    assert all("\n" not in line for line in lines)


def test_a_data_root_that_cannot_be_used_is_said_before_figures_are_drawn(tmp_path, offline, quick_figures):
    (tmp_path / "root").write_text("not a folder")
    lines = []
    assert sprites.load(tmp_path / "root", lines.append).source == "rendered by this project"
    assert any("Not a directory" in line for line in lines)


def test_rendered_leaves_the_files_alone(filled, server, quick_figures):
    for path in filled.iterdir():
        path.unlink()
    assert sprites.load(filled.parent, print, data_source="rendered").source == "rendered by this project"
    assert list(filled.iterdir()) == [] and server.asked == []


@pytest.fixture(scope="module")
def rendered():
    return sprites.load("unused", print, data_source="rendered", holdout=0)


def test_the_figures_have_the_factors_of_the_sprites_and_are_all_distinct(rendered):
    pixels = all_pixels(rendered)
    assert pixels.shape == (2336, 3, 60, 60)
    assert len({image.tobytes() for image in pixels}) == 2336
    assert rendered.train.factors.tolist() == [[c, v, f] for c in range(8) for v in range(4) for f in range(73)]
    assert ((pixels.max(axis=1) > 0).sum(axis=(1, 2)) > 200).all()
    assert (pixels[:, :, -1] == 0).all() and (pixels[:, :, 0] == 0).all()  # on black, with room around them


def test_the_figures_are_the_same_every_time_and_hashed(rendered):
    np.random.seed(5)
    again = sprites_rendered.render(sprites.SEQUENCES)
    assert rendered.sha256 == {"images": hashlib.sha256(again.tobytes()).hexdigest()}
    assert np.array_equal(again.reshape(-1, 3, 60, 60), all_pixels(rendered))


def all_poses():
    return [sprites_rendered.pose(action, arm, step) for action, arm, n in sprites.SEQUENCES for step in range(n)]


def test_a_pose_is_the_same_for_all_characters():
    """With one hair style for all, every pose has one silhouette."""
    for number, pose in enumerate(all_poses()[::6]):
        silhouettes = {
            (sprites_rendered.draw(dataclasses.replace(look, hair=sprites_rendered.CROP), pose, number % 4) > 0)
            .any(axis=-1)
            .tobytes()
            for look in sprites_rendered.CHARACTERS
        }
        assert len(silhouettes) == 1


def test_a_characters_colours_are_its_own_in_every_pose():
    """Where nothing is carried, the plain pixels of a figure are those of its skin, hair, clothes and eyes."""
    for look in sprites_rendered.CHARACTERS:
        colours = set(dataclasses.astuple(look)[:-1])
        for number, pose in enumerate(all_poses()[::9]):
            image = sprites_rendered.draw(look, pose, number % 4).reshape(-1, 3)
            plain = {tuple(pixel) for pixel in image.tolist()} & {
                colour for other in sprites_rendered.CHARACTERS for colour in dataclasses.astuple(other)[:-1]
            }
            assert plain <= colours and {look.skin, look.hair_colour, look.shirt} & plain


def test_the_four_viewpoints_show_back_left_front_and_right():
    standing = sprites_rendered.pose("walk", "bow", 0)
    look = sprites_rendered.CHARACTERS[0]
    back, west, front, east = (sprites_rendered.draw(look, standing, viewpoint) for viewpoint in range(4))

    def skin_and_hair(image):
        """How far to the right the face and the hair are, and how many pixels the face has."""
        skin, hair = ((image[:35] == colour).all(axis=-1) for colour in (look.skin, look.hair_colour))
        return np.nonzero(skin)[1].mean(), np.nonzero(hair)[1].mean(), skin.sum()

    assert skin_and_hair(front)[2] > 3 * skin_and_hair(back)[2]
    assert skin_and_hair(west)[0] < skin_and_hair(west)[1] - 3
    assert skin_and_hair(east)[0] > skin_and_hair(east)[1] + 3


def test_only_figures_with_a_bow_or_a_spear_in_the_sheets_carry_one():
    carried = {
        (action, weapon)
        for action, weapon, n in sprites.SEQUENCES
        for step in range(n)
        if sprites_rendered.pose(action, weapon, step).wood
    }
    assert carried == {("thrust", "spear"), ("walk", "spear"), ("shoot", "bow")}
