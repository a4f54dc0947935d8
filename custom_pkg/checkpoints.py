"""Checkpoints: one dict, written whole or not at all, read without running anything that is in it, and gone on from."""

import hashlib
import io
from pathlib import Path

import torch

from custom_pkg import exported
from custom_pkg.compute import generator as new_generator
from custom_pkg.errors import RunFailed, UserError, first_line
from custom_pkg.files import link_atomically, write_atomically
from custom_pkg.hostile_files import check_archive, check_tensors, first_not_finite, tensors
from custom_pkg.options import RunOptions, desc_complaint, other_run, shown
from custom_pkg.run_folder import RunFolder

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
    """Read what `save` wrote, or an exported run, onto the CPU, with the file's own "sha256".

    Raises UserError when the file is missing, damaged or not one of ours.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for a checkpoint of this project: use another one")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
    try:
        if exported.is_packed(content):
            state = exported.unpack(content)
        else:
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
    return state | {"sha256": hashlib.sha256(content).hexdigest()}


def load_run(path: Path) -> dict:
    """Read the checkpoint of a training run, or an exported run, with its PARTS. Raises UserError."""
    saved = load(path)
    for name, kind in (PARTS | {"metrics": dict} if "metrics" in saved else PARTS).items():
        if not isinstance(saved.get(name), kind):
            raise UserError(f"{path} lacks what a checkpoint of a training run holds ({name}): use another one")
    counts = [saved["position"].get("epoch"), saved["position"].get("step"), *saved["logs"].values()]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise UserError(f"{path} does not know how far the run and its logs were: use another one")
    if next(tensors({name: saved[name] for name in PARTS if name != "state"}), None):
        raise UserError(f"{path} has a tensor in the place of an option or a count: use another one")
    if isinstance(progress := saved["state"].get("progress"), dict):
        progress.setdefault("step", saved["position"]["step"])  # runs of Lagrangian models once had it only there
    return saved


def newest_good(folder: RunFolder, script: str, options: RunOptions) -> tuple[dict, str | None]:
    """The last checkpoint of a run; or else the previous one, and what is wrong with the last. Raises UserError."""
    last, previous = folder.last_checkpoint, folder.previous_checkpoint
    try:
        return _load_own(last, script, options), None
    except UserError as error:
        complaint = str(error)
    if not previous.exists():
        raise UserError(f"{complaint}; {previous} is not there either: or start anew with --overwrite")
    try:
        saved = _load_own(previous, script, options)
    except UserError as error:
        raise UserError(f"{complaint}; and {error}, or start anew with --overwrite") from None
    if last.exists():
        complaint = f"{complaint.rsplit(': ', 1)[0]}, and is put aside as {folder.damaged_checkpoint.name}"
    return saved, f"{complaint}; going on from {previous}, of step {saved['position']['step']}, in its place"


def _load_own(path: Path, script: str, options: RunOptions) -> dict:
    saved = load_run(path)
    impossible = desc_complaint(str(saved["options"].get("desc")))  # another one is that of a run that was moved
    if saved["script"] != script or impossible or other_run(options, saved["options"]):
        raise UserError(f"{path} is of another run: put the right one there")
    return saved


def put_aside_last(folder: RunFolder) -> None:
    """Make the previous checkpoint the last one."""
    if folder.last_checkpoint.exists():
        link_atomically(folder.last_checkpoint, folder.damaged_checkpoint)
    link_atomically(folder.previous_checkpoint, folder.last_checkpoint)


def check_can_go_on(saved: dict, data: dict, device: torch.device, *, asked: str) -> None:
    """Raise UserError where a checkpoint is of a training on other images.

    Or on another kind of device, unless the user has `asked` for this one (--device): "auto" moves no run.
    """
    if any(saved["data"].get(key) != value for key, value in data.items() if key != "source"):
        raise UserError(
            f"this run was trained on other images ({shown(str(saved['data'].get('source')))}; now {data['source']}): "
            "give it those, or choose another --desc"
        )
    if saved["device"] != device.type and asked == "auto":
        raise UserError(
            f"this run was trained on {shown(saved['device'])}, and another kind of device cannot continue its random "
            f"numbers: go on with --device={shown(saved['device'])}, or with other ones by --device={device.type}"
        )


def restore(saved: dict, path: Path, parts: dict, generators: dict[str, torch.Generator], *, moved: bool) -> None:
    """Bring parts and generators to the state of a checkpoint, that of `path`. Raises UserError.

    moved: the run goes on on another kind of device, where generators begin anew, by where the run stands.
    """
    try:
        for name, part in parts.items():
            if isinstance(part, torch.optim.Optimizer):
                restore_optimizer(part, saved["state"][name])
            else:
                part.load_state_dict(saved["state"][name])
        states = saved["state"]["generators"]
        if moved:
            states.get("global", {}).pop("device", None)
        for name, generator in generators.items():
            if moved and name != "global":
                anew = saved["options"]["rand_seed"], name, "moved", saved["position"]["step"]
                generator.set_state(new_generator(*anew, device=generator.device).get_state())
            elif name != "global" or name in states:  # runs once kept only those of their own
                generator.set_state(states[name])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
        raise UserError(
            f"{path} does not fit this run ({first_line(error)}): put the right one there, or start anew with "
            "--overwrite"
        ) from None


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load moments and counts, and keep this process's settings, which torch would take from the checkpoint too.

    Raises ValueError where a moment has not the shape of its parameter: torch looks only when it is used.
    """
    settings = [{name: group[name] for name in group if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if name != "step" and value.shape != parameter.shape:
                raise ValueError(f"{name} of an optimizer has the shape {tuple(value.shape)}")
