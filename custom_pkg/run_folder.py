"""Where a run lives, and who may write there.

    STORAGE/experiments/<desc>/seed<seed>/   config.json train.log metrics.jsonl evaluation.json checkpoints/
    STORAGE/tensorboard/<desc>/seed<seed>/   event files
"""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from custom_pkg import files
from custom_pkg.errors import UserError
from custom_pkg.files import lock, make_folder, read_json, remove_temporaries
from custom_pkg.options import RunOptions, longer, other_run, shown

STORAGE = Path("STORAGE")


def script_of(config: dict) -> str | None:
    """The name of the script that a run was started with, as the content of its config.json has it."""
    return next((Path(word).name for word in str(config.get("command", "")).split() if word.endswith(".py")), None)


class RunFolder:
    """The files of one run, named by its description and its seed."""

    def __init__(self, desc: str = "", seed: int = 0, *, at: Path | None = None):
        """at: where it lies, for reading one that is not in STORAGE here."""
        self.path = at or STORAGE / "experiments" / desc / f"seed{seed}"
        self.tensorboard = STORAGE / "tensorboard" / desc / f"seed{seed}"
        self.config = self.path / "config.json"
        self.log = self.path / "train.log"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.times = self.path / "times.json"
        self.pictures = self.path / "disentangling"
        self.checkpoints = self.path / "checkpoints"
        self.best_checkpoint = self.checkpoints / "best.pt"
        self.last_checkpoint = self.checkpoints / "last.pt"
        self.previous_checkpoint = self.checkpoints / "previous.pt"  # what last.pt was before it was last written
        self.damaged_checkpoint = self.checkpoints / "last-damaged.pt"  # a last.pt that cannot be used, put aside

    def step_checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step{step}.pt"

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

    def script(self) -> str | None:
        """The name of the script that the run was started with, as its config.json has it."""
        return script_of(read_json(self.config)) if self.config.exists() else None

    def products(self) -> str:
        """How the run that lies here makes its float32 products, as `compute.products` has it."""
        try:
            return read_json(self.config)["machine"].get("products", "default")
        except (UserError, KeyError, AttributeError):
            return "default"

    def check(self, options: RunOptions) -> None:
        """Refuse, before anything is written, what would mix or lose a run. Raises UserError."""
        if options.resume and options.overwrite:
            raise UserError("--resume and --overwrite exclude each other: give one of them")
        if not self.only_shown(options):
            for place in (self.checkpoints, self.tensorboard):
                _check_folder(place)
        if options.resume and not self.exists():
            raise UserError(f"nothing to resume in {self.path.absolute()}: leave --resume out to start this run")
        if options.resume and self._lost_its_checkpoint():
            raise UserError(
                f"{self.last_checkpoint} is gone, and with it what the run needs to go on: put it back, or give "
                "--overwrite in place of --resume to start anew"
            )
        if options.resume:
            saved = self.saved_options()
            self._check_script()
            different = [
                f"--{shown(name)} was {shown(str(before))}, now {shown(str(now))}"
                for name, (before, now) in other_run(options, saved).items()
            ]
            if different:
                raise UserError(
                    f"{self.path} was run with other options ({'; '.join(different)}): "
                    "resume with the same ones, or choose another --desc"
                )
        elif self.exists() and not options.overwrite:
            state = "is finished" if self.evaluation.exists() else "was begun"
            raise UserError(
                f"a run {state} in {self.path}: add --resume to go on with it, --overwrite to delete it and "
                "start anew, or choose another --desc or --rand_seed"
            )

    def only_shown(self, options: RunOptions) -> bool:
        """Whether resuming with these options does no more than to show what is finished. Raises UserError."""
        return options.resume and self.evaluation.exists() and not longer(options, self.saved_options())

    def _check_script(self) -> None:
        """Refuse to go on with a run of another script than the one that is running."""
        script, here = self.script(), Path(sys.argv[0]).name
        if script and script != here and here.startswith("train_"):
            raise UserError(f"{self.path} is a run of {shown(script)}: resume it with that script")

    @contextmanager
    def open(self, options: RunOptions) -> Iterator[None]:
        """Hold the run's folder for this process, checked again and emptied first with --overwrite.

        Raises UserError when another process holds it: by the kernel's lock, which on most shared file systems holds
        between nodes too, and where it does not, by the sign of life that the holder gives in the lock's file.
        """
        try:
            make_folder(self.path)
            held = open(self.path / ".lock", "a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write in {self.path}: {error.strerror}") from None
        with held:
            lock(held, self._refuse)
            held.seek(0)
            before = held.read().strip()  # empty after an end that was not a kill
            if before.partition(" on ")[2] not in ("", socket.gethostname()):
                print(f"process {before} was here last: looking for {3 * files.BEAT:.0f} s whether it still is")
                if files.is_beating(self.path / ".lock"):
                    self._refuse(before)
            self.check(options)  # it may have changed since it was last looked at
            held.truncate(0)
            held.write(f"{os.getpid()} on {socket.gethostname()}\n")
            held.flush()
            if options.overwrite:
                self._empty()
            self.checkpoints.mkdir(exist_ok=True)
            self.tensorboard.mkdir(parents=True, exist_ok=True)
            for place in (self.path, self.checkpoints, self.pictures):
                remove_temporaries(place)
            try:
                with files.beating(self.path / ".lock"):
                    yield
            finally:
                held.truncate(0)

    def _refuse(self, holder: str) -> None:
        raise UserError(
            f"process {holder or 'unknown'} is running in {self.path}: wait for it, or choose another --desc or "
            "--rand_seed"
        )

    def put_aside_results(self, name: str) -> bool:
        """Move what was measured of a run that is to become longer to a folder inside its own; whether there was any.

        evaluation.json first: without it the run counts as not finished, wherever this is cut short.
        """
        results = [*self.path.glob("evaluation*.json"), *self.path.glob("detection-curves*.json"), self.times]
        for file in sorted(results, key=lambda file: file != self.evaluation):
            if file.exists() and not file.name.startswith("evaluation-step"):  # which stay true
                make_folder(self.path / name)
                file.replace(self.path / name / file.name)
        return (self.path / name).exists()

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
        if place.is_symlink() and not place.exists():
            raise UserError(f"{place} is a link to {os.readlink(place)}, which is not there: make that, or remove it")
        if place.exists():
            if not place.is_dir():
                raise UserError(f"{place} is a file where a folder is needed: move it away")
            if not os.access(place, os.W_OK):
                raise UserError(f"{place} is not writable: mend its permissions")
            return
