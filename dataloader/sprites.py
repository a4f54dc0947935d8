"""Sprites: 2,336 pictures, 3x60x60, of 8 game characters x 4 viewpoints x 73 frames; the label is the character.

The art is that of the Liberated Pixel Cup, under CC-BY-SA 3.0 and GPL 3.0; it is no part of this repository. Each
character has two sheets of 21 x 13 cells of 64x64 pixels, one where it carries a bow and one with a spear. Where no
sheet can be had, figures drawn by this project (sprites_rendered.py) take their place, and `source` says so.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader import sprites_rendered
from dataloader.factored import DATA_SOURCES, split_by_style
from dataloader.factors import Factors
from dataloader.image_dataset import DatasetError, ImageDataset
from dataloader.known_files import KnownFiles, Way
from dataloader.ways import files_from

# The repository of the paper's authors.
ADDRESS = "https://raw.githubusercontent.com/PanZiqiAI/disentangled-information-bottleneck/master/datasets/sprites/"
MAX_BYTES = 2**20  # the largest sheet has 139 kB

SHA256 = {
    "instance[0]-bow.png": "ea8b82b6a8618ddd53a6a0bd22a24a40633a71f23a96436f193d620769736656",
    "instance[0]-spear.png": "be495a060a765a85ea9b79f9bc94c9768f4ced268fc23f36ac54dd70bbd1c940",
    "instance[1]-bow.png": "a39d889bb16474a98c42f9a4478abc433936039ed4d22867421a623f2c9ce424",
    "instance[1]-spear.png": "249920dd31b93b3e514862c44d4223ce31814a6ccb15926661eece8f7677c5a6",
    "instance[2]-bow.png": "a3ae71595ab96707020f7b96226bd386d17345e4a0b57eaaf3cbca0eab0ff8f9",
    "instance[2]-spear.png": "57477e9753c8b2e8eab09f09ff28be6d47ef4666fc444721083e0c071896eff5",
    "instance[3]-bow.png": "5bf926049cbb89ba98f0967014c526dea68e62ee2378a272e040976cc2e6b6fb",
    "instance[3]-spear.png": "a429862419aa214a4a6849b083ef058ff0eed334e349f2abd247395cef694ed1",
    "instance[4]-bow.png": "bd67ccb51fec1a25a604b8dd0389098d3bfba14df5a5d520c2d5b55265af8b90",
    "instance[4]-spear.png": "6e7591acd54f87e18f18fbd96039d6face7f758b1792a446d824ba06cc747c27",
    "instance[5]-bow.png": "75739412235dca777d96cf025b31f2668e6d8bf82f69332e951b91f994c6eb11",
    "instance[5]-spear.png": "5459be985fcc01c057f16e5e3607850fdf452f803e11ba1b0fc482ba9668e93a",
    "instance[6]-bow.png": "90241de9bd6e7f74569ca045e7ae97399a1bf1e8fabccde05f311365f8588e3a",
    "instance[6]-spear.png": "25b91402d21f3c3ddd8b88af8ab568def7db2e590e5c75bdd554b3e509101e77",
    "instance[7]-bow.png": "006326f6e2eb1e27b83831a8657789a31f1d9622efd280e33965eb65b9938664",
    "instance[7]-spear.png": "238354ddb8cdd6c2a15dde9592eadccec64333a4ac6f1e9f588692b3d9ebd88d",
}

CELL = 64
SHEET_SIZE = (13 * CELL, 21 * CELL)  # width, height
FIRST_ROWS = {"spellcast": 0, "thrust": 4, "walk": 8, "slash": 12, "shoot": 16}  # then one row a viewpoint
SEQUENCES = (  # action, sheet, number of frames: the 73 frames in order
    ("spellcast", "bow", 7),
    ("thrust", "bow", 8),
    ("thrust", "spear", 8),
    ("walk", "bow", 9),
    ("walk", "spear", 9),
    ("slash", "spear", 6),
    ("shoot", "spear", 13),
    ("shoot", "bow", 13),
)
FACTORS = Factors(("character", "viewpoint", "frame"), (8, 4, 73))

# What the published pictures show, as (character, viewpoint, frame). Their styles always belong to the training set.
PICTURED = np.array(
    [(0, 3, 3), (1, 3, 1), (2, 3, 46), (3, 1, 64), (4, 1, 30), (5, 3, 33), (6, 0, 65), (7, 2, 6)], dtype=np.int64
)


def load(
    data_root: Path, report: Callable[[str], None] = print, *, data_source: str = "auto", holdout: float = 0.1
) -> ImageDataset:
    """The sprites, a share `holdout` of their styles (viewpoint and frame) as the test set.

    data_source: "files" for the sheets in data_root/sprites, downloaded if need be; "rendered" for figures drawn by
        this project; "auto" for the sheets or, only where not one is there or comes, the drawn figures.

    Raises DatasetError if the sheets cannot be had; with "auto" only if some of them are there.
    """
    if data_source not in DATA_SOURCES:
        raise DatasetError(f"sprites: unknown data source {data_source!r}; there are {', '.join(DATA_SOURCES)}")
    places = Path(data_root, "sprites"), Path(data_root)
    folder = next((place for place in places if _some_sheet_in(place)), places[0])
    source = "rendered by this project"
    if data_source != "rendered":
        try:
            way = Way(f"the repository of the paper's authors, {ADDRESS}", partial(files_from, ADDRESS, MAX_BYTES))
            source = KnownFiles("sprites", SHA256, (way,)).prepare(folder, report)
        except DatasetError as error:
            if data_source == "files" or _some_sheet_in(folder):
                raise DatasetError(
                    f'{error}\nOr choose the data source "rendered": figures drawn by this project, no files.'
                ) from error
            report(str(error).splitlines()[0])  # what was tried has been said; the data source "files" says it all
            report("sprites: figures drawn by this project take the place of the real sprites")
            data_source = "rendered"

    if data_source == "rendered":
        images = sprites_rendered.render(SEQUENCES)
        sha256 = {"images": hashlib.sha256(images.tobytes()).hexdigest()}
    else:
        images, sha256 = cut_all(folder), dict(SHA256)

    images = images.reshape(-1, *images.shape[3:])  # (8, 4, 73, 3, 60, 60) -> (2336, 3, 60, 60)
    return split_by_style(
        "sprites",
        FACTORS,
        FACTORS.values(np.arange(len(images))),
        images,
        source=source,
        sha256=sha256,
        holdout=holdout,
        keep=PICTURED[:, 1:],
    )


def cut_all(folder: Path) -> np.ndarray:
    """The frames of all characters: (8, 4, 73, 3, 60, 60) uint8. Raises DatasetError for a sheet of another format."""
    return np.stack(
        [
            cut({weapon: read_sheet(folder / f"instance[{character}]-{weapon}.png") for weapon in ("bow", "spear")})
            for character in range(FACTORS.sizes[0])
        ]
    )


def cut(sheets: dict[str, np.ndarray]) -> np.ndarray:
    """The frames of one character, from its sheets "bow" and "spear" (1344, 832, 4): (4, 73, 3, 60, 60) uint8."""
    strips = []
    for action, weapon, frames in SEQUENCES:
        top = FIRST_ROWS[action] * CELL
        rows = sheets[weapon][top : top + 4 * CELL, : frames * CELL]
        strips.append(rows.reshape(4, CELL, frames, CELL, 4).transpose(0, 2, 4, 1, 3))  # (4, frames, RGBA, 64, 64)
    cells = np.concatenate(strips, axis=1)
    # As published: alpha is dropped, not composited, and black rows below make up for the cut head room.
    return np.pad(cells[:, :, :3, 8:, 2:62], ((0, 0), (0, 0), (0, 0), (0, 4), (0, 0)))


def read_sheet(path: Path) -> np.ndarray:
    """Its pixels (1344, 832, 4) uint8. Raises DatasetError, whatever the file holds."""
    try:
        with Image.open(path) as sheet:
            if (sheet.size, sheet.mode) != (SHEET_SIZE, "RGBA"):
                raise DatasetError(f"sprites: {path} is {sheet.size} {sheet.mode}, not {SHEET_SIZE} RGBA")
            return np.asarray(sheet)
    except DatasetError:
        raise
    except Exception as error:  # whatever a broken or hostile file provokes
        raise DatasetError(f"sprites: {path} cannot be read ({type(error).__name__})") from error


def _some_sheet_in(folder: Path) -> bool:
    try:
        return any((folder / f"{name}{packed}").exists() for name in SHA256 for packed in ("", ".gz"))
    except OSError:  # a folder that does not let us look may hold them
        return True
