"""What a run says: lines for people, and scalars for TensorBoard and metrics.jsonl.

The scalar files only grow. A checkpoint remembers how long each one was (`lengths`), and a resumed run first cuts
them back to that (`cut`), so that what was logged after the checkpoint is neither doubled nor missing.
"""

import json
import os
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from custom_pkg.files import sync
from custom_pkg.run_folder import RunFolder


class RunLog:
    """The logs of one run, to be opened after `cut` has brought their files to the state of a checkpoint."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._metrics = open(folder.metrics, "a")
        self._tensorboard = SummaryWriter(str(folder.tensorboard), flush_secs=30)

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
            self._tensorboard.add_scalar(name, value, step)

    def text(self, name: str, content: str) -> None:
        """Put a text (markdown) into TensorBoard."""
        self._tensorboard.add_text(name, content)

    def lengths(self) -> dict[str, int]:
        """Flush everything to disk; the length in bytes of each scalar file."""
        self._metrics.flush()
        self._tensorboard.flush()
        lengths = {}
        for path in _scalar_files(self._folder):
            sync(path)
            lengths[path.name] = path.stat().st_size
        return lengths

    def close(self) -> None:
        self._metrics.close()
        self._tensorboard.close()


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
