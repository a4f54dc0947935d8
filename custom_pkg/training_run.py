"""A training run that can end at any moment and goes on with the same bits: its folder, logs and checkpoints."""

import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path

import torch

from custom_pkg import checkpoints, run_log
from custom_pkg.compute import machine
from custom_pkg.errors import Interrupted, RunFailed, StopRequest, UserError, first_line
from custom_pkg.files import link_atomically, read_json, write_json
from custom_pkg.options import FREE_AT_RESUME, shown
from custom_pkg.run_folder import RunFolder
from custom_pkg.run_log import LossHistory, RunLog
from custom_pkg.terminal import flatten

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "tensorboardX")


@dataclass
class Progress:
    """How far a training is. Scripts add their own counters; all of it is kept in the checkpoints."""

    epoch: int = 0  # complete passes over the training set
    finished: bool = False
    seconds: float = 0.0  # as `TrainingRun.seconds` was when it was saved

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        for field in fields(self):
            kind = type(getattr(self, field.name))
            if type(state[field.name]) is not kind:
                raise TypeError(f"{field.name} must be {kind.__name__}")
            setattr(self, field.name, state[field.name])


class TrainingRun:
    """Opens the logs of a run and restores its last checkpoint when it is resumed, or the previous one if that is
    damaged; raises UserError if both are.

    parts: everything with a `state_dict` that the run needs to go on: networks, optimisers, batch streams.
    generators: the random generators that training draws from.
    losses: name -> history; they are part of the state, and checked before every checkpoint.
    position: gives {"epoch": ..., "step": ...}, how far the run is.
    script: the name of the script, for whoever reads the checkpoint. options, data: as they go into config.json.
    """

    def __init__(
        self,
        folder: RunFolder,
        stop: StopRequest,
        *,
        script: str,
        options: dict,
        data: dict,
        device: torch.device,
        parts: dict,
        generators: dict[str, torch.Generator],
        losses: dict[str, LossHistory],
        progress: Progress,
        position: Callable[[], dict[str, int]],
        resume: bool,
    ):
        self._folder, self._stop, self._generators = folder, stop, generators
        self._losses, self._progress, self.position = losses, progress, position
        self._parts = {**parts, **losses, "progress": progress}
        self._identity = {"script": script, "options": options, "data": data, "device": device.type}

        if resume and (folder.last_checkpoint.exists() or folder.previous_checkpoint.exists()):
            saved, complaint = self._newest_good()
            self._restore(saved)
            if complaint:
                self._go_back()
            lost = run_log.cut(folder, saved["logs"])
            self.log = RunLog(folder)
            if complaint:
                step = saved["position"]["step"]
                self.log.say(f"{complaint}; going on from {folder.previous_checkpoint}, of step {step}, in its place")
            for name in lost:
                self.log.say(f"warning: {name} is shorter than at the checkpoint: a part of what was logged is lost")
        else:
            write_json(folder.config, describe_run(options, data, device))
            run_log.cut(folder, {})
            self.log = RunLog(folder)
            self.log.text("options", "\n".join(f"    --{name}={value}" for name, value in options.items()))
        self._began, self._seconds_before = time.monotonic(), progress.seconds
        if position()["step"] == 0:
            self.save()  # from now on there is a checkpoint to go on from

    @property
    def seconds(self) -> float:
        """Spent in training so far, over all sessions, without evaluations on the way."""
        return self._seconds_before + time.monotonic() - self._began

    def save(self, *, best: bool = False) -> None:
        """Write the last checkpoint, which may be the best one too. Raises RunFailed, the one before it intact."""
        for losses in self._losses.values():
            losses.check_finite(self._folder.last_checkpoint)
        self._progress.seconds = self.seconds
        state = {
            **{name: part.state_dict() for name, part in self._parts.items()},
            "generators": {name: generator.get_state() for name, generator in self._generators.items()},
        }
        content = {**self._identity, "position": self.position(), "state": state, "logs": self.log.lengths()}
        folder = self._folder
        if best:  # first: a run killed between the two redoes this epoch, and so its best checkpoint
            checkpoints.save(folder.best_checkpoint, content)
            if folder.last_checkpoint.exists():
                link_atomically(folder.last_checkpoint, folder.previous_checkpoint)
            link_atomically(folder.best_checkpoint, folder.last_checkpoint)
        else:
            checkpoints.save(folder.last_checkpoint, content, keep=folder.previous_checkpoint)

    def _newest_good(self) -> tuple[dict, str | None]:
        """The last checkpoint; or else the previous one, and what is wrong with the last. Raises UserError."""
        last, previous = self._folder.last_checkpoint, self._folder.previous_checkpoint
        try:
            return self._load(last), None
        except UserError as error:
            complaint = str(error)
        if not previous.exists():
            raise UserError(f"{complaint}; {previous} is not there either: or start anew with --overwrite")
        try:
            saved = self._load(previous)
        except UserError as error:
            raise UserError(f"{complaint}; and {error}, or start anew with --overwrite") from None
        if last.exists():
            complaint = f"{complaint.rsplit(': ', 1)[0]}, and is put aside as {self._folder.damaged_checkpoint.name}"
        return saved, complaint

    def _load(self, path: Path) -> dict:
        """A checkpoint of this run. Raises UserError."""
        saved = checkpoints.load_run(path)
        mine = self._identity
        different = [
            name for name in mine["options"]
            if name not in FREE_AT_RESUME and saved["options"].get(name) != mine["options"][name]
        ]
        if saved["script"] != mine["script"] or different:
            raise UserError(f"{path} is of another run: put the right one there")
        return saved

    def _go_back(self) -> None:
        """Make the previous checkpoint the last one, which is put aside."""
        folder = self._folder
        if folder.last_checkpoint.exists():
            link_atomically(folder.last_checkpoint, folder.damaged_checkpoint)
        link_atomically(folder.previous_checkpoint, folder.last_checkpoint)

    def _restore(self, saved: dict) -> None:
        if any(saved["data"].get(key) != value for key, value in self._identity["data"].items() if key != "source"):
            raise UserError(
                f"this run was trained on other images ({shown(str(saved['data'].get('source')))}; now "
                f"{self._identity['data']['source']}): give it those, or choose another --desc"
            )
        if saved["device"] != self._identity["device"]:
            raise UserError(
                f"this run was trained on {saved['device']}, and another kind of device cannot continue its random "
                f"numbers: go on with --device={saved['device']}"
            )
        try:
            for name, part in self._parts.items():
                if isinstance(part, torch.optim.Optimizer):
                    restore_optimizer(part, saved["state"][name])
                else:
                    part.load_state_dict(saved["state"][name])
            for name, generator in self._generators.items():
                generator.set_state(saved["state"]["generators"][name])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise UserError(
                f"{self._folder.last_checkpoint} does not fit this run ({first_line(error)}): put the right one there, "
                "or start anew with --overwrite"
            ) from None

    def end_if_asked(self) -> None:
        """To be called after every update: ends the run if a signal has come, with everything saved."""
        if self._stop.signum is not None:
            self.save()
            raise Interrupted(
                f"stopped after step {self.position()['step']}, all saved; go on with\n  {resume_command()}",
                self._stop.signum,
            )

    def interruptible(self, evaluate: Callable[[], dict]) -> dict:
        """Call `evaluate` so that a signal ends it at once. To be called when everything is saved."""
        self._stop.at_once = True
        began = time.monotonic()
        try:
            if self._stop.signum is not None:  # it came after the last look
                raise KeyboardInterrupt
            return evaluate()
        except ValueError as error:  # codes or scores that are not numbers
            raise RunFailed(f"the evaluation failed ({error}); all training before it is saved") from None
        except KeyboardInterrupt:
            raise Interrupted(
                f"the evaluation was stopped, all training before it is saved; go on with\n  {resume_command()}",
                self._stop.signum,
            ) from None
        finally:
            self._stop.at_once = False
            self._began += time.monotonic() - began  # no training meanwhile

    def final_evaluation(self, evaluate: Callable[[], dict]) -> dict:
        """The content of evaluation.json: read if it is there, else made, logged and written.

        Curves of detection ("ood_curves") go into a file of their own, detection-curves.json.
        """
        if self._folder.evaluation.exists():
            return read_json(self._folder.evaluation)
        began = time.monotonic()
        metrics = self.interruptible(evaluate)
        if curves := metrics.pop("ood_curves", None):
            write_json(self._folder.path / "detection-curves.json", {**self.position(), **curves})
        self.log.scalars(flatten({"final": metrics}), **self.position())
        self.log.lengths()  # on disk, before evaluation.json says that all is done
        seconds = {"training": self._progress.seconds, "evaluation": time.monotonic() - began}
        write_json(self._folder.times, {name: round(value, 1) for name, value in seconds.items()})
        results = {**self.position(), **metrics}
        write_json(self._folder.evaluation, results)
        return results


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


def command_line() -> str:
    """The command that started this process, as it can be pasted into a shell."""
    return shlex.join(["python", *sys.argv])


def resume_command() -> str:
    """This process's command, turned into one that goes on with the run."""
    words, skip_value = [], False
    for word in sys.argv:
        if skip_value and word.lower() in ("true", "false"):
            skip_value = False
            continue
        skip_value = word in ("--resume", "--overwrite")
        if word.split("=")[0] not in ("--resume", "--overwrite"):
            words.append(word)
    return shlex.join(["python", *words, "--resume"])


def describe_run(options: dict, data: dict, device: torch.device) -> dict:
    """The content of config.json: enough to run it again and to know where it ran."""
    return {
        "command": command_line(),
        "options": options,
        "data": data,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(device),
        "code": _code_version(),
    }


def _code_version() -> str:
    """The commit of this code, with `-dirty` when files were changed; `unknown` outside a git checkout."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"
