"""Checkpoints: one dict, written whole or not at all, read without running anything that is in it."""

import io
from pathlib import Path

import torch

from custom_pkg.errors import RunFailed, UserError
from custom_pkg.files import write_atomically
from custom_pkg.hostile_files import check_archive, check_tensors, first_not_finite

FORMAT = "disentangled-information-bottleneck checkpoint"
VERSION = 1
MAX_BYTES = 4 * 2**30  # the largest one of the published settings has 0.1 GB
PARTS = {  # of a checkpoint of a training run
    "script": str, "options": dict, "data": dict, "device": str, "position": dict, "state": dict, "logs": dict
}


def save(path: Path, state: dict, *, keep: Path | None = None) -> None:
    """Write `state` (tensors, numbers, texts, dicts, lists). Raises RunFailed, with the old file left as it was.

    keep: another name for the old file, which it gets once the new one is on disk.
    """
    not_finite = first_not_finite(state)
    if not_finite:
        where = f" at step {state['position']['step']}" if "position" in state else ""
        raise RunFailed(
            f"{not_finite} is not finite{where}: nothing was saved, {path} is as it was before; "
            "a smaller --learning_rate or smaller weights of the objective may help"
        )
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **state}, buffer)
    write_atomically(path, buffer.getvalue(), keep=keep)


def load(path: Path) -> dict:
    """Read what `save` wrote, onto the CPU. Raises UserError when the file is missing, damaged or not one of ours."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for a checkpoint of this project: use another one")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    try:
        check_archive(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        check_tensors(state)
    except Exception as error:  # whatever a broken or hostile file provokes
        reason = f": {error}" if type(error) is ValueError and "\n" not in str(error) else ""
        raise UserError(
            f"{path} is not a checkpoint of this project, or it is damaged ({type(error).__name__}{reason[:200]}): "
            "use another one"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project: use one that its scripts wrote")
    if state.get("version") != VERSION:
        raise UserError(
            f"{path} is a checkpoint of version {state.get('version')}, this code reads version {VERSION}: "
            "use the code that wrote it"
        )
    return state


def load_run(path: Path) -> dict:
    """Read the checkpoint of a training run, with its PARTS. Raises UserError."""
    saved = load(path)
    for name, kind in PARTS.items():
        if not isinstance(saved.get(name), kind):
            raise UserError(f"{path} lacks what a checkpoint of a training run holds ({name}): use another one")
    counts = [saved["position"].get("epoch"), saved["position"].get("step"), *saved["logs"].values()]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise UserError(f"{path} does not know how far the run and its logs were: use another one")
    return saved
