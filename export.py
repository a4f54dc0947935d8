"""Export a trained run: its weights, options and metrics in one small file that is safe to open.

    python export.py --desc=quant/mnist/vib
    python export.py --desc=quant/mnist/disenib --to=results/models/disenib.safetensors
    python export.py --desc=quant/mnist/vib --format=torch_export

safetensors: what `evaluate.py --checkpoint=PATH`, `load_run` and hubconf.py read, in seconds: the networks that an
evaluation needs, rounded to 16 bits unless --dtype says otherwise, the options, and the metrics that were measured
before the rounding. Training cannot go on from it.
torch_export: the way from images to the logits of the mean code, in float32, as a program that torch.export.load
runs without this project; its options and metrics are in its extra file "run.json".
"""

import io
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from custom_pkg import exported
from custom_pkg import options as opt
from custom_pkg.errors import UserError, run_script
from custom_pkg.files import make_folder, write_atomically
from custom_pkg.options import desc_complaint, option, place_complaint, seed_complaint
from custom_pkg.run_folder import RunFolder
from experiments.runs import TrainedRun, load_run, name_complaint

SUFFIXES = {"safetensors": ".safetensors", "torch_export": ".pt2"}


@dataclass(frozen=True, kw_only=True)
class Options:
    desc: str = option(group="which run", check=desc_complaint, help="the run's folder inside STORAGE/experiments")
    rand_seed: int = option(0, group="which run", check=seed_complaint, help="the run's seed")
    checkpoint: str = option(
        "last", group="which run", choices=("last", "best", "previous"), help="last is the published one"
    )
    format: str = option("safetensors", group="what", choices=SUFFIXES, help="weights, or a program")
    dtype: str = option(
        "float16", group="what", choices=exported.DTYPES, only_with={"format": ("safetensors",)},
        help="what weights are rounded to",
    )
    to: str = option(
        "model", group="where", check=place_complaint,
        help="the file, with the suffix of its format; model is one of that name in the run's folder, or model-best",
    )


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    suffix = SUFFIXES[options.format]
    folder = RunFolder(options.desc, options.rand_seed)
    which = "" if options.checkpoint == "last" else f"-{options.checkpoint}"
    own = folder.path / f"model{which}{suffix}"
    path = own if options.to == "model" else Path(os.path.expanduser(options.to))
    if path.suffix != suffix:
        raise UserError(f"--to={options.to}: a file of --format={options.format} ends with {suffix}")
    if complaint := name_complaint(path):
        raise UserError(f"--to={options.to}: {complaint}")
    if path.is_dir() or any(parent.exists() and not parent.is_dir() for parent in path.parents):
        raise UserError(f"--to={options.to}: no file can be written there: name another place")
    run = load_run(folder.path, checkpoint=options.checkpoint, device="cpu")
    if not run.metrics:
        print(f"{run.path} has not been evaluated: the file will hold no metrics; evaluate.py first, if it should")
    if options.format == "torch_export":
        content = program(run)
    else:
        weights = {name: network.state_dict() for name, network in run.networks.items()}
        content = exported.pack(exported.description(run.saved, run.metrics), weights, options.dtype)
    make_folder(path.parent)
    write_atomically(path, content)
    print(f"written to {path.absolute()}, {len(content) / 1e6:.1f} MB")
    if options.format == "safetensors":
        print(f"next\n  {shlex.join(['python', 'evaluate.py', f'--checkpoint={path}'])}")


def program(run: TrainedRun) -> bytes:
    """The content of a file of torch.export: images (B, ...) -> logits (B, n_classes)."""
    import torch

    classifier = run.model.classifier()
    shape = run.saved["data"]["image_shape"]
    flat = next(classifier.parameters()).ndim == 2  # a matrix, not the kernels of a convolution
    images = torch.zeros(2, torch.Size(shape).numel()) if flat else torch.zeros(2, *shape)
    exporting = torch.export.export(classifier, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    file = io.BytesIO()
    torch.export.save(exporting, file, extra_files={"run.json": exported.description(run.saved, run.metrics)})
    return file.getvalue()


if __name__ == "__main__":
    run_script(main)
