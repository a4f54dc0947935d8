"""Where a run lives, and who may write there.

    STORAGE/experiments/<desc>/seed<seed>/   config.json train.log metrics.jsonl evaluation.json checkpoints/
    STORAGE/tensorboard/<desc>/seed<seed>/   event files
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.files import read_json, remove_temporaries
from custom_pkg.options import shown

STORAGE = Path("STORAGE")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, named by its description and its seed."""

    desc: str
    seed: int

    @property
    def path(self) -> Path:
        return STORAGE / "experiments" / self.desc / f"seed{self.seed}"

    @property
    def tensorboard(self) -> Path:
        return STORAGE / "tensorboard" / self.desc / f"seed{self.seed}"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def times(self) -> Path:
        return self.path / "times.json"

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """What last.pt was before it was last written."""
        return self.path / "checkpoints" / "previous.pt"

    @property
    def damaged_checkpoint(self) -> Path:
        """Where a last.pt that cannot be used is put aside."""
        return self.path / "checkpoints" / "last-damaged.pt"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.pt"

    @property
    def pictures(self) -> Path:
        return self.path / "disentangling"

    def step_checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step{step}.pt"

    def exists(self) -> bool:
        return any(path.exists() for path in (self.config, self.last_checkpoint, self.metrics))

    def _lost_its_checkpoint(self) -> bool:
        """Whether training has come further than its first checkpoint, which is made before anything is logged."""
        logged = self.metrics.exists() and self.metrics.stat().st_size > 0
        kept = (self.last_checkpoint, self.previous_checkpoint, self.evaluation)
        return logged and not any(path.exists() for path in kept)

    def saved_options(self) -> dict:
        """The options that the run was started with, from its config.json. Raises UserError."""
        try:
            options = read_json(self.config).get("options")
        except UserError as error:
            raise UserError(f"{error}: mend it, or start anew with --overwrite") from None
        if not isinstance(options, dict):
            raise UserError(f"{self.config} holds no options: mend it, or start anew with --overwrite")
        return options

    def check(self, options: dict, *, resume: bool, overwrite: bool, free: tuple[str, ...]) -> None:
        """Refuse, before anything is written, what would mix or lose a run.

        options: the resolved options of this command. free: names that may differ when a run is resumed.
        Raises UserError.
        """
        if resume and overwrite:
            raise UserError("--resume and --overwrite exclude each other: give one of them")
        for place in (self.last_checkpoint.parent, self.tensorboard):
            _check_folder(place)
        if resume and not self.exists():
            raise UserError(f"nothing to resume in {self.path}: leave --resume out to start this run")
        if resume and self._lost_its_checkpoint():
            raise UserError(
                f"{self.last_checkpoint} is gone, and with it what the run needs to go on: put it back, or give "
                "--overwrite in place of --resume to start anew"
            )
        if resume:
            saved = self.saved_options()
            different = [
                f"--{name} was {shown(str(saved.get(name)))}, now {shown(str(value))}"
                for name, value in options.items()
                if name not in free and saved.get(name) != value
            ]
            if different:
                raise UserError(
                    f"{self.path} was run with other options ({'; '.join(different)}): "
                    "resume with the same ones, or choose another --desc"
                )
        elif self.exists() and not overwrite:
            state = "is finished" if self.evaluation.exists() else "was begun"
            raise UserError(
                f"a run {state} in {self.path}: add --resume to go on with it, --overwrite to delete it and "
                "start anew, or choose another --desc or --rand_seed"
            )

    @contextmanager
    def open(self, *, overwrite: bool, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run's folder for this process, emptied first with `overwrite`.

        check: called when the folder is held, for it may have changed since it was last looked at.
        Raises UserError when another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a+")
        except OSError as error:
            raise UserError(f"cannot write in {self.path}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go when the process dies
            except OSError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise UserError(
                    f"process {holder} is running in {self.path}: wait for it, or choose another --desc or --rand_seed"
                ) from None
            check()
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            if overwrite:
                self._empty()
            self.last_checkpoint.parent.mkdir(exist_ok=True)
            self.tensorboard.mkdir(parents=True, exist_ok=True)
            for place in (self.path, self.last_checkpoint.parent, self.pictures):
                remove_temporaries(place)
            yield

    def _empty(self) -> None:
        """Delete everything but the lock.

        Evaluations first, so that none is taken for the new run's if this is cut short; config.json last, so that a
        run half deleted is still seen to be there.
        """
        for evaluation in self.path.glob("evaluation*.json"):
            evaluation.unlink()
        for place in (self.tensorboard, self.path):
            entries = sorted(place.iterdir(), key=lambda entry: entry == self.config) if place.is_dir() else []
            for entry in entries:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != ".lock":
                    entry.unlink()


def _check_folder(path: Path) -> None:
    """Refuse a path that cannot become a folder because a file stands in its way."""
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise UserError(f"{place} is a file where a folder is needed: move it away")
            if not os.access(place, os.W_OK):
                raise UserError(f"{place} is not writable: mend its permissions")
            return
