"""The trained models of results/models through torch.hub, without an installation:

    import torch
    classifier = torch.hub.load("path/of/this/folder", "disenib", source="local")
    logits = classifier(images)  # flat images in [-1, 1]; for the disentangling ones (B, C, H, W) in [0, 1]

Every entry point takes `path`, a file of weights or a checkpoint to load in the place of the one in results/models.
Options, data, style encoder and reconstructor come with `load_run` of experiments/runs.py.
"""

from pathlib import Path as _Path

dependencies = ["torch", "numpy", "tensorboardX", "safetensors", "tqdm", "PIL"]
_MODELS = _Path(__file__).parent / "results" / "models"


def _entry_point(name: str):
    def load(path=None, device="auto"):
        from experiments.runs import load_run

        if path is None and not (_MODELS / f"{name}.safetensors").exists():
            raise FileNotFoundError(f"{name}: no weights in {_MODELS}; path=... takes a checkpoint of your own run")
        return load_run(path or _MODELS / f"{name}.safetensors", device=device).model.classifier()

    load.__name__ = name
    load.__doc__ = f"The trained {name}: images -> logits of the mean code, in evaluation mode."
    return load


vib, nib, squared_vib, squared_nib, disenib, disentangling_mnist, disentangling_shapes, disentangling_sprites = map(
    _entry_point, (
        "vib", "nib", "squared-vib", "squared-nib", "disenib", "disentangling-mnist", "disentangling-shapes",
        "disentangling-sprites",
    ),
)
