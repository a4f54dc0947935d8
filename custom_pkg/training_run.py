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
from custom_pkg.compute import GlobalGenerators, machine
from custom_pkg.errors import Interrupted, RunFailed, StopRequest, UserError
from custom_pkg.files import link_atomically, read_json, write_json
from custom_pkg.options import TRUTHS, RunOptions, longer, to_dict
from custom_pkg.run_folder import RunFolder
from custom_pkg.run_log import LossHistory, RunLog
from custom_pkg.terminal import flatten

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "tensorboardX")


@dataclass
class Progress:
    """How far a training is. Scripts add their own counters; all of it is kept in the checkpoints."""

    epoch: int = 0  # complete passes over the training set
    step: int = 0  # as the script counts them
    seconds: float = 0.0  # as `TrainingRun.seconds` was when it was saved

    def ended(self, options) -> bool:
        """Whether a training with these options is at its end."""
        return self.step >= options.steps

    def position(self) -> dict[str, int]:
        return {"epoch": self.epoch, "step": self.step}

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        for field in fields(self):
            kind = type(getattr(self, field.name))
            if type(state[field.name]) is not kind:
                raise TypeError(f"{field.name} must be {kind.__name__}")
            setattr(self, field.name, state[field.name])


@dataclass(frozen=True)
class Start:
    """What a training begins with, once everything has been checked."""

    script: str  # its name, for whoever reads a checkpoint
    options: RunOptions
    data: dict  # what config.json says of the images
    device: torch.device
    folder: RunFolder  # held for this process
    stop: StopRequest


class TrainingRun:
    """Ties a training to its folder: logs, checkpoints, signals, the evaluation at the end."""

    def __init__(self, start: Start, progress: Progress, parts: dict, generators: dict[str, torch.Generator]):
        """parts: everything else with a `state_dict` that the run needs to go on: networks, optimisers, batch streams,
        and the losses, which are checked before every checkpoint. generators: those that training draws from.
        """
        self._start, self._folder, self._progress = start, start.folder, progress
        self._parts = {**parts, "progress": progress}
        self._generators = {**generators, "global": GlobalGenerators(start.device)}
        self._losses = [part for part in parts.values() if isinstance(part, LossHistory)]

    def open(self) -> None:
        """Begin the run, or bring everything to its last checkpoint, or the previous one if that is damaged.

        Opens the logs (`log`). Raises UserError if both are damaged, or do not fit.
        """
        start, folder = self._start, self._folder
        if start.options.resume and (folder.last_checkpoint.exists() or folder.previous_checkpoint.exists()):
            saved, complaint = checkpoints.newest_good(folder, start.script, start.options)
            checkpoints.check_can_go_on(saved, start.data, start.device, asked=start.options.device)
            moved = saved["device"] != start.device.type
            checkpoints.restore(saved, folder.last_checkpoint, self._parts, self._generators, moved=moved)
            more = longer(start.options, saved["options"])
            aside = f"until-step{self._progress.step}"
            said = [f"--{name} was {before}, now {now}" for name, (before, now) in more.items()]
            if more and self._progress.ended(start.options):
                raise UserError(
                    f"early stopping has ended this run after step {self._progress.step}, as it would have if it had "
                    f"been begun so ({'; '.join(said)}): there is nothing to add"
                )
            if more and folder.put_aside_results(aside):
                said.append(f"what was measured until now is in {folder.path / aside}")
            if complaint:
                checkpoints.put_aside_last(folder)
            lost = run_log.cut(folder, saved["logs"])
            self.log = RunLog(folder)
            if complaint:
                self.log.say(complaint)
            changes: dict = {"longer": {name: list(pair) for name, pair in more.items()}} if more else {}
            if moved:
                changes["moved"] = [saved["device"], start.device.type]
                said.append(
                    f"warning: trained on {saved['device']} until here and on {start.device.type} from here on, with "
                    "other random numbers and other bits than if it had stayed"
                )
            self._record_session(changes)
            for line in said:
                self.log.say(line)
            for name in lost:
                self.log.say(f"warning: {name} is shorter than at the checkpoint: a part of what was logged is lost")
        else:
            options = to_dict(start.options)
            write_json(folder.config, describe_run(options, start.data, start.device))
            run_log.cut(folder, {})
            self.log = RunLog(folder)
            self.log.options(options)
        self._began, self._seconds_before = time.monotonic(), self._progress.seconds
        if self._progress.step == 0:
            self.save()  # from now on there is a checkpoint to go on from

    def _record_session(self, changes: dict) -> None:
        """Add to config.json where the run goes on and what changes, and say what machine has changed since."""
        start = self._start
        config = read_json(self._folder.config)
        sessions = [each for each in _list(config.get("sessions")) if isinstance(each, dict)]  # whoever has edited it
        before = sessions[-1] if sessions else config
        now = {**describe_run({}, {}, start.device), "from": self._progress.position(), **changes}
        if "longer" in changes:
            config["options"] = to_dict(start.options)
        del now["options"], now["data"]
        write_json(self._folder.config, {**config, "sessions": [*sessions, now]})
        then = {"products": "default", **_dict(before.get("versions")), **_dict(before.get("machine"))}
        changed = [
            f"{name} {then.get(name, 'unknown')}, now {value}"
            for name, value in {**now["versions"], **now["machine"]}.items() if then.get(name) != value
        ]
        if changed:
            self.log.say(f"bits may differ from here on, for the last session was made with {'; '.join(changed)}")

    @property
    def seconds(self) -> float:
        """Spent in training so far, over all sessions, without evaluations on the way."""
        return self._seconds_before + time.monotonic() - self._began

    def check_finite(self) -> None:
        """Raise RunFailed, naming it, if a loss since the last look at them is not finite."""
        for losses in self._losses:
            losses.check_finite(self._progress.step, self._folder.last_checkpoint)

    def save(self, *, best: bool = False) -> None:
        """Write the last checkpoint, which may be the best one too. Raises RunFailed, the one before it intact."""
        self.check_finite()
        self._progress.seconds = self.seconds
        state = {
            **{name: part.state_dict() for name, part in self._parts.items()},
            "generators": {name: generator.get_state() for name, generator in self._generators.items()},
        }
        start, folder = self._start, self._folder
        content = {
            "script": start.script, "options": to_dict(start.options), "data": start.data, "device": start.device.type,
            "position": self._progress.position(), "state": state, "logs": self.log.lengths(),
        }
        if best:  # first: a run killed between the two redoes this epoch, and so its best checkpoint
            checkpoints.save(folder.best_checkpoint, content)
            if folder.last_checkpoint.exists():
                link_atomically(folder.last_checkpoint, folder.previous_checkpoint)
            link_atomically(folder.best_checkpoint, folder.last_checkpoint)
        else:
            checkpoints.save(folder.last_checkpoint, content, keep=folder.previous_checkpoint)

    def end_if_asked(self) -> None:
        """To be called after every update: ends the run if a signal has come, with everything saved."""
        if (signum := self._start.stop.signum) is not None:
            self.save()
            raise Interrupted(
                f"stopped after step {self._progress.step}, all saved; go on with\n  {resume_command()}", signum
            )

    def interruptible(self, evaluate: Callable[[], dict]) -> dict:
        """Call `evaluate` so that a signal ends it at once, and training draws what it would have drawn without it.

        To be called when everything is saved.
        """
        self._start.stop.at_once = True
        began, drawn_from = time.monotonic(), self._generators["global"].get_state()
        try:
            if self._start.stop.signum is not None:  # it came after the last look
                raise KeyboardInterrupt
            return evaluate()
        except (ValueError, FloatingPointError) as error:  # codes or scores that are not numbers
            raise RunFailed(f"the evaluation failed ({error}); all training before it is saved") from None
        except KeyboardInterrupt:
            raise Interrupted(
                f"the evaluation was stopped, all training before it is saved; go on with\n  {resume_command()}",
                self._start.stop.signum,
            ) from None
        finally:
            self._start.stop.at_once = False
            self._generators["global"].set_state(drawn_from)
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
            write_json(self._folder.path / "detection-curves.json", {**self._progress.position(), **curves})
        self.log.trained(flatten(metrics), **self._progress.position())
        self.log.lengths()  # on disk, before evaluation.json says that all is done
        seconds = {"training": self._progress.seconds, "evaluation": time.monotonic() - began}
        write_json(self._folder.times, {name: round(value, 1) for name, value in seconds.items()})
        results = {**self._progress.position(), **metrics}
        write_json(self._folder.evaluation, results)
        return results


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def resume_command() -> str:
    """This process's command, turned into one that goes on with the run."""
    words, skip_value = [], False
    for word in sys.argv:
        if skip_value and word.lower() in TRUTHS:
            skip_value = False
            continue
        skip_value = word in ("--resume", "--overwrite")
        if word.split("=")[0] not in ("--resume", "--overwrite"):
            words.append(word)
    return shlex.join(["python", *words, "--resume"])


def describe_run(options: dict, data: dict, device: torch.device) -> dict:
    """The content of config.json: enough to run it again and to know where it ran."""
    return {
        # By the script's name alone: where this code lies is nobody's business, and no use in another clone.
        "command": shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
        "options": options,
        "data": data,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(device),
        "code": _code_version(),
    }


def _code_version() -> str:
    """The commit of this code, with `-dirty` when a .py file was changed; `unknown` outside a git checkout.

    Of other files it does not speak: reproduce.py makes tables and pages anew after every run.
    """
    def answer(*asked: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *asked]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10).stdout.strip()

    try:
        commit = answer("describe", "--always", "--abbrev=12")
        changed = answer("status", "--porcelain", "--untracked-files=no", "--", ":(top)*.py")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}{'-dirty' if changed else ''}" if commit else "unknown"
