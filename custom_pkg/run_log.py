"""What a run says: lines for people, and scalars for TensorBoard and metrics.jsonl.

The scalar files only grow. A checkpoint remembers how long each one was (`lengths`), and a resumed run first cuts
them back to that (`cut`), so that what was logged after the checkpoint is neither doubled nor missing.
"""

import json
import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made when imported
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # as above
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import custom_scalars, histogram, hparams, image, scalar, text
from torch import Tensor
from tqdm import tqdm

from custom_pkg.errors import RunFailed
from custom_pkg.files import sync, write_through
from custom_pkg.options import FREE_AT_RESUME
from custom_pkg.run_folder import RunFolder

CHARTS = {  # TensorBoard's tab of custom scalars: losses first, the figures of the trained model last
    "losses": {"terms of the objective": ["Multiline", ["train/loss"]], "others": ["Multiline", ["train/(?!loss)"]]},
    "on the way": {
        "accuracy": ["Multiline", ["eval/.*/accuracy"]], "information, nats": ["Multiline", ["eval/.*/mi_x"]],
    },
    "trained": {
        "accuracy": ["Multiline", ["trained/.*/accuracy"]], "information, nats": ["Multiline", ["trained/.*/mi_x"]],
    },
}


class RunLog:
    """The logs of one run, to be opened after `cut` has brought their files to the state of a checkpoint."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        # Nothing is buffered: what a full disk did not take must not be tried again when the files are closed.
        # Not tensorboardX's writers: they buffer, or write from a thread of their own and do not wait for it.
        self._metrics = open(folder.metrics, "ab", buffering=0)
        session = len(_scalar_files(folder))  # keeps two sessions that start in the same second from sharing a file
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{session}"
        self._events = open(folder.tensorboard / name, "ab", buffering=0)
        write_through(self._events, _record(Event(wall_time=time.time(), file_version="brain.Event:2")))

    def say(self, line: str) -> None:
        """Print a line and keep it, with the time, in train.log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with open(self._folder.log, "ab", buffering=0) as log:
            write_through(log, "".join(f"{stamp} {part}\n" for part in line.split("\n")).encode())
        tqdm.write(line, file=sys.stdout)  # keeps clear of progress bars
        sys.stdout.flush()

    def scalars(self, values: dict[str, float], *, epoch: int, step: int) -> None:
        """Log values under names like `train/loss_dec`, at this step, to metrics.jsonl and TensorBoard."""
        self._append({"epoch": epoch, "step": step} | values)
        self._add(step, *_scalars(values))

    def options(self, options: dict) -> None:
        """Put the options of a run into TensorBoard, as a text and for its tab of hyperparameters."""
        plain = {
            name: value if isinstance(value, str | int | float) else json.dumps(value)
            for name, value in options.items() if name not in FREE_AT_RESUME
        }
        _, start, _ = hparams(plain, {})  # without what all runs are said to have: TensorBoard finds that in each
        listed = "\n".join(f"    --{name}={value}" for name, value in options.items())
        self._add(0, text("options", listed), start, custom_scalars(CHARTS))

    def trained(self, values: dict[str, float], *, epoch: int, step: int) -> None:
        """Log what was measured at the end: "final/…" in metrics.jsonl, and in TensorBoard "trained/…", which it sorts
        behind "train/…".
        """
        self._append({"epoch": epoch, "step": step} | {f"final/{name}": value for name, value in values.items()})
        _, _, end = hparams({}, {})
        self._add(step, *_scalars({f"trained/{name}": value for name, value in values.items()}), end)

    def picture(self, name: str, pixels: np.ndarray, *, step: int) -> None:
        """Put a picture (H, W, 3) uint8 into TensorBoard."""
        self._add(step, image(name, pixels, dataformats="HWC"))

    def histogram(self, name: str, values: np.ndarray, *, step: int) -> None:
        """Put how values are distributed into TensorBoard."""
        self._add(step, histogram(name, values, bins=64))

    def _append(self, line: dict[str, float]) -> None:
        write_through(self._metrics, (json.dumps(line) + "\n").encode())

    def _add(self, step: int, *summaries: Summary) -> None:
        now = time.time()
        events = (Event(wall_time=now, step=step, summary=summary) for summary in summaries)
        write_through(self._events, b"".join(map(_record, events)))

    def lengths(self) -> dict[str, int]:
        """Flush everything to disk; the length in bytes of each scalar file."""
        lengths = {}
        for path in _scalar_files(self._folder):
            sync(path)
            lengths[path.name] = path.stat().st_size
        return lengths

    def close(self) -> None:
        self._metrics.close()
        self._events.close()


class LossHistory:
    """The losses of every update since they were last logged, kept on the device so that no update waits for them."""

    def __init__(
        self, terms: type[NamedTuple], capacity: int, device: torch.device, what: str = "update", per_step: int = 1
    ):
        """terms: an update's losses. capacity: updates at most between two calls of `clear`.

        what, per_step: the name of one of these updates, and how many of them are a step, for messages.
        """
        self._names, self._what, self._per_step = terms._fields, what, per_step
        self._rows = torch.zeros(capacity, len(self._names), device=device)
        self._filled = 0

    def add(self, losses: tuple[Tensor, ...]) -> None:
        """Keep the losses, scalars each, of one more update."""
        torch.stack(losses, out=self._rows[self._filled])
        self._filled += 1

    def check_finite(self, step: int, last_good: Path) -> None:
        """Raise RunFailed naming the first update and term that is not finite, and the checkpoint that is.

        step: how many there have been in the whole run.
        """
        bad = (~self._rows[: self._filled].isfinite()).nonzero()
        if len(bad):
            row, term = bad[0].tolist()
            raise RunFailed(
                f"{self._names[term]} became {self._rows[row, term].item()} in {self._what} "
                f"{step * self._per_step - self._filled + row + 1}: the run stops, {last_good} is as it was before; "
                "a smaller --learning_rate or smaller weights of the objective may help"
            )

    def means(self) -> dict[str, float]:
        """The mean of each term since the last call of `clear`."""
        return dict(zip(self._names, self._rows[: self._filled].cpu().double().mean(0).tolist(), strict=True))

    def clear(self) -> None:
        self._filled = 0

    def state_dict(self) -> dict:
        return {"rows": self._rows[: self._filled].clone()}

    def load_state_dict(self, state: dict) -> None:
        self._filled = len(state["rows"])
        self._rows[: self._filled] = state["rows"]


def cut(folder: RunFolder, lengths: dict[str, int]) -> list[str]:
    """Bring the scalar files back to the lengths that a checkpoint remembers; delete those it does not know.

    Returns the names of those that are shorter than it remembers, or gone.
    """
    found = {}
    for path in _scalar_files(folder):
        length = lengths.get(path.name)
        if length is None:
            path.unlink()
            continue
        found[path.name] = path.stat().st_size
        if found[path.name] > length:
            os.truncate(path, length)
    return [name for name, length in lengths.items() if found.get(name, 0) < length]


def _scalars(values: dict[str, float]) -> list[Summary]:
    """For TensorBoard; without the points of curves, which lie deeper than group, set, name and size of a figure."""
    return [scalar(name, value) for name, value in values.items() if name.count("/") <= 3]


def _record(event: Event) -> bytes:
    """One event as TensorBoard's files hold it: its length and itself, each with its checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return b"".join((length, _checksum(length), content, _checksum(content)))


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))


def _scalar_files(folder: RunFolder) -> list[Path]:
    return [*folder.path.glob("metrics.jsonl"), *sorted(folder.tensorboard.glob("events.out.tfevents.*"))]
