"""What a run says: lines for people, and scalars for TensorBoard and metrics.jsonl.

The scalar files only grow. A checkpoint remembers how long each one was (`lengths`), and a resumed run first cuts
them back to that (`cut`), so that what was logged after the checkpoint is neither doubled nor missing.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import image, scalar, text
from tqdm import tqdm

from custom_pkg.files import sync
from custom_pkg.run_folder import RunFolder


class RunLog:
    """The logs of one run, to be opened after `cut` has brought their files to the state of a checkpoint."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._metrics = open(folder.metrics, "a")
        # Not SummaryWriter: it writes from a thread of its own, and its flush does not wait for that thread.
        # The suffix keeps two sessions that start in the same second from sharing a file.
        session = f".{len(_scalar_files(folder))}"
        self._events = EventsWriter(str(folder.tensorboard / "events"), session)
        self._events.flush()

    def say(self, line: str) -> None:
        """Print a line and keep it, with the time, in train.log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with open(self._folder.log, "a") as log:
            log.writelines(f"{stamp} {part}\n" for part in line.split("\n"))
        try:
            tqdm.write(line, file=sys.stdout)  # keeps clear of progress bars
            sys.stdout.flush()
        except OSError:  # nobody is reading any more; the run and its log go on
            pass

    def scalars(self, values: dict[str, float], *, epoch: int, step: int) -> None:
        """Log values under names like `train/loss_dec`, at this step, to metrics.jsonl and TensorBoard."""
        self._metrics.write(json.dumps({"epoch": epoch, "step": step, **values}) + "\n")
        for name, value in values.items():
            self._write(scalar(name, value), step)
        self._metrics.flush()  # for who watches; what a checkpoint counts on is flushed to the disk by `lengths`
        self._events.flush()

    def text(self, name: str, content: str) -> None:
        """Put a text (markdown) into TensorBoard."""
        self._write(text(name, content), 0)

    def picture(self, name: str, pixels: np.ndarray, *, step: int) -> None:
        """Put a picture (H, W, 3) uint8 into TensorBoard."""
        self._write(image(name, pixels, dataformats="HWC"), step)

    def _write(self, summary, step: int) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def lengths(self) -> dict[str, int]:
        """Flush everything to disk; the length in bytes of each scalar file."""
        self._metrics.flush()
        self._events.flush()
        lengths = {}
        for path in _scalar_files(self._folder):
            sync(path)
            lengths[path.name] = path.stat().st_size
        return lengths

    def close(self) -> None:
        self._metrics.close()
        self._events.close()


def cut(folder: RunFolder, lengths: dict[str, int]) -> None:
    """Bring the scalar files back to the lengths that a checkpoint remembers; delete those it does not know."""
    for path in _scalar_files(folder):
        length = lengths.get(path.name)
        if length is None:
            path.unlink()
        elif path.stat().st_size > length:
            os.truncate(path, length)


def _scalar_files(folder: RunFolder) -> list[Path]:
    return [*folder.path.glob("metrics.jsonl"), *sorted(folder.tensorboard.glob("events.out.tfevents.*"))]
