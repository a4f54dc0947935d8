"""The page to play with: swaps drawn in the browser, by the reconstructors of finished disentangling runs.

One file, which needs neither network nor server: the networks' weights in float32, styles of real images, and a few
lines of plain JavaScript that compute what modellib/conv_networks.py computes.
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from custom_pkg.errors import UserError
from custom_pkg.files import make_folder, write_atomically
from custom_pkg.run_folder import STORAGE, RunFolder
from experiments.catalogue import DATA_SETS, PROPOSED, with_disentangling
from experiments.runs import TrainedRun, load_run
from modellib.conv_networks import ConvReconstructor
from modellib.evaluations.common import encode
from modellib.model import SwappingModel

N_IMAGES = 24  # whose styles can be chosen
N_DIRECTIONS = 6  # in which the styles of the data set vary most
N_CODES = 5000  # that say so, at most
LARGEST = 8 * 2**20  # bytes of the page
CLASSES = {"shapes": ("square", "ellipse", "heart")}


def trained(root: str, seeds: Sequence[int], exported: Path | None) -> list[Path]:
    """The last checkpoint of the first of these seeds, of every disentangling run; or else what was exported of it.

    root: in front of the descriptions, "" or "quick/". exported: a folder of files of export.py. Raises UserError.
    """
    found = []
    for data in with_disentangling():
        folders = (RunFolder(f"{root}disentangling/{data}/{PROPOSED}", seed) for seed in seeds)
        places = [folder.last_checkpoint for folder in folders if folder.evaluation.exists()]
        places += [exported / f"disentangling-{data}.safetensors"] if exported else []
        found += [place for place in places if place.exists()][:1]
    if not found:
        raise UserError(
            f"--with=swaps-page: no finished disentangling run has a checkpoint in {STORAGE / 'experiments'}/{root}; "
            "train one first, like python reproduce.py --only=disentangling-shapes"
        )
    return found


def write(paths: Sequence[Path], target: Path, *, data_root: str, label: str | None) -> str:
    """Write target/swaps.html from checkpoints; returns what to print. Raises UserError."""
    parts = [part_of(load_run(path, data_root=data_root, device="cpu")) for path in paths]
    templates = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    page = jinja2.Environment(loader=templates, undefined=jinja2.StrictUndefined, autoescape=True).get_template(
        "swaps.html.j2"
    ).render(parts=json.dumps(parts, separators=(",", ":")).replace("<", "\\u003c"), label=label).encode()
    if len(page) > LARGEST:
        raise UserError(f"--with=swaps-page: the page would have {len(page):,} bytes, more than {LARGEST:,}")
    make_folder(target)
    write_atomically(target / "swaps.html", page)
    names = ", ".join(part["title"] for part in parts)
    return f"{target / 'swaps.html'}: {names}, {len(page) / 2**20:.1f} MB"


def part_of(run: TrainedRun) -> dict:
    """What the page has to know of one run."""
    model, record = run.model, run.saved["data"]
    assert isinstance(model, SwappingModel) and isinstance(model.reconstructor, ConvReconstructor)
    images, labels = run.data.sets["test" if "test" in run.data.sets else "train"]
    data, n_classes = DATA_SETS[record["name"]], record["n_classes"]
    chosen = one_of_each(labels, n_classes, min(N_IMAGES, len(labels)))
    style, _ = encode(model.style_encoder, images[: N_CODES], batch_size=500)
    own, _ = encode(model.style_encoder, images[chosen], batch_size=500)
    centre = style.mean(0)
    _, lengths, directions = torch.linalg.svd(style - centre, full_matrices=False)
    n = min(N_DIRECTIONS, len(directions))
    stds = lengths[:n, None] / max(1, len(style) - 1) ** 0.5
    return {
        "name": data.name, "title": data.title, "shape": list(images.shape[1:]),
        "classes": list(CLASSES.get(data.name, map(str, range(n_classes))))
        if data.name != "sprites" else [f"character {i + 1}" for i in range(n_classes)],
        "about": f"Seed {run.options.rand_seed}, step {run.saved['position']['step']:,}. Styles of images that "
                 f"training {'never saw' if 'test' in run.data.sets else 'saw'}: {record['source']}"
                 + (data.art if "rendered" not in record["source"] else "") + ".",
        "images": _png(images[chosen]), "n_images": len(chosen), "labels": labels[chosen].tolist(),
        "styles": _packed(own), "centre": _packed(centre), "directions": _packed(directions[:n] * stds),
        "n_directions": n,
        **_reconstructor(model.reconstructor),
    }


def one_of_each(labels: Tensor, n_classes: int, n: int) -> Tensor:
    """Rows of n images, of class 0, 1, …, and again from 0 on, spread over the set."""
    rows = [(labels == label).nonzero()[:, 0] for label in range(n_classes)]
    rounds = -(-n // n_classes)
    return torch.stack([rows[i % n_classes][(i // n_classes) * len(rows[i % n_classes]) // rounds] for i in range(n)])


@torch.no_grad()
def _reconstructor(network: ConvReconstructor) -> dict:
    """Its weights. The class's way to the first features is the same for every style: a row a class."""
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.ConvTranspose2d)]
    last = convolutions[-1].bias
    assert last is not None
    return {
        "style_weight": _packed(network.style_layer.weight), "style_bias": _packed(network.style_layer.bias),
        "class_rows": _packed(network.class_layer(network.class_table.weight)),
        "convolutions": [
            {"in": layer.in_channels, "out": layer.out_channels, "padding": layer.padding[0],
             "weight": _packed(layer.weight)} for layer in convolutions
        ],
        "last_bias": _packed(last),
    }


def _packed(values: Tensor) -> str:
    """float32, little endian, in base64."""
    return base64.b64encode(values.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).decode()


def _png(images: Tensor) -> str:
    """Images (N, C, H, W) in [0, 1] side by side, as a data URL."""
    n, channels, height, width = images.shape
    row = (images * 255).round().byte().permute(2, 0, 3, 1).reshape(height, n * width, channels).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(np.repeat(row, 3, 2) if channels == 1 else row).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
