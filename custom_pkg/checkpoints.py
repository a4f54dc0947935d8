"""Checkpoints: one dict, written whole or not at all, read without running anything that is in it."""

import io
import zipfile
from pathlib import Path

import torch

from custom_pkg.errors import RunFailed, UserError
from custom_pkg.files import write_atomically

FORMAT = "disentangled-information-bottleneck checkpoint"
VERSION = 1


def save(path: Path, state: dict) -> None:
    """Write `state` (tensors, numbers, texts, dicts, lists). Raises RunFailed, with the old file left as it was."""
    not_finite = _first_not_finite(state)
    if not_finite:
        raise RunFailed(f"{not_finite} is not finite: nothing was saved, {path} is as it was before")
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict:
    """Read what `save` wrote, onto the CPU. Raises UserError when the file is missing, damaged or not one of ours."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()  # compares every record with its checksum
        if damaged:
            raise ValueError(damaged)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or hostile file provokes
        raise UserError(
            f"{path} is not a checkpoint of this project, or it is damaged ({type(error).__name__}): use another one"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project: use one that its scripts wrote")
    if state.get("version") != VERSION:
        raise UserError(
            f"{path} is a checkpoint of version {state.get('version')}, this code reads version {VERSION}: "
            "use the code that wrote it"
        )
    return state


def _first_not_finite(state, name: str = "") -> str | None:
    """The name of the first floating-point tensor that holds an infinity or a NaN."""
    if isinstance(state, torch.Tensor):
        return name if state.is_floating_point() and not state.isfinite().all() else None
    if isinstance(state, dict):
        found = (_first_not_finite(value, f"{name}.{key}" if name else str(key)) for key, value in state.items())
        return next((one for one in found if one), None)
    return None
