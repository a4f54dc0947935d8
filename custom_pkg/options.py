"""Options as data: one frozen dataclass per script, its fields declared with `option`, read from the command line.

    @dataclass(frozen=True)
    class Options:
        lambda_kl: float = option(group="objective", help="weight of the KL term", check=not_negative)

`parse` turns a command line into such an object, and `from_dict` what a run has saved of one. Field types may be str,
int, float, bool and tuples of str, int or float; a tuple is written `[1024,1024]` or `1024,1024`, and `[]` is the
empty one.
"""

import argparse
import dataclasses
import difflib
import inspect
import math
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from custom_pkg.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ONCE = ("resume", "overwrite")  # options of one start of a run, not settings of the run
FREE_AT_RESUME = ("desc", "data_root", "device")  # where a run lies and computes
LENGTHS = ("epochs", "steps")  # how long a run trains: more of it is allowed when it goes on
Check = Callable[[Any], str | None]  # the complaint about a value, or None
T = TypeVar("T", bound="DataclassInstance")
RENAMED = {  # flags of the paper's own code, and one that no Python name can have -> options that mean the same
    "with": "stages", "dry_run": "list",
    "eval_odin_temper": "eval_odin_temperature", "eval_odin_noise_mag": "eval_odin_epsilon",
    "freq_iter_log": "freq_step_log", "gpu_ids": "device",
}
ANSWERED = {  # its flags that have no meaning here -> what to do
    "dataset_num_threads": "images are held in memory and no thread loads them: leave it out",
    "dataset_shuffle": "training always shuffles, by --rand_seed: leave it out",
    "dataset_drop_last": "the last partial batch is always dropped, as published: leave it out",
    "eval_odin_num_delta": "every threshold that occurs is looked at, not a number of them: leave it out",
    "load_from": "go on with a run by its --desc and --resume; evaluate.py --checkpoint=PATH evaluates a file",
    "freq_iter_log": "losses are logged after every epoch: leave it out",
}
HINTS = {  # what other projects call it -> here, the first that the script has
    "lr": ("learning_rate",), "bs": ("batch_size", "eval_batch_size"), "seed": ("rand_seed", "seeds"),
    "rand_seed": ("seeds",), "seeds": ("rand_seed",), "epochs": ("steps",), "steps": ("epochs",),
    **dict.fromkeys(("iters", "n_iters", "max_iter"), ("steps", "epochs")), "lambda": ("lambda_kl",),
    "beta": ("lambda_kl",),
    "eps": ("eval_attack_epsilons",), "epsilon": ("eval_attack_epsilons",), "ckpt": ("checkpoint", "resume"),
    "name": ("desc",), "exp": ("desc",), "exp_name": ("desc",), "data": ("data_root",), "root": ("data_root",),
    **dict.fromkeys(("gpu", "gpus", "cuda", "no_cuda", "cpu"), ("device",)), "fp16": ("precision",),
    "amp": ("precision",), "bf16": ("precision",), "checkpoint": ("resume",),
}
TRUTHS: dict[str, bool] = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(
    ("false", "0", "no", "off"), False
)}


def option(
    default: Any = MISSING, *, group: str, help: str, choices: Collection[str] | None = None,
    check: Check | None = None, only_with: dict[str, Collection[str] | Callable[[], Collection[str]]] | None = None,
    distinct: bool = False, instead: dict[str, str] | None = None, adds: bool = False,
) -> Any:
    """A dataclass field that is an option of the command line. Without a default it must be given.

    choices: the values allowed (of each element, for a tuple). check: called with each element.
    only_with: {other option: its values, or a function that gives them}, where this one has a meaning; changed
    elsewhere it is refused.
    distinct: whether a value that is given twice counts once. In lists of texts and of numbers with a fraction it
    always does; lists of integers are widths of layers, unless this says otherwise.
    instead: what to give for a value that is none of the choices but may be meant for one.
    adds: whether a list that is given again adds to the one before; without this the later one counts.
    """
    metadata = {
        "group": group, "help": help, "choices": choices, "check": check, "only_with": only_with or {},
        "distinct": distinct, "instead": instead or {}, "adds": adds,
    }
    return dataclasses.field(default=default, metadata=metadata)


def with_default(cls, name: str, default: Any) -> Any:
    """The option `name` of another options class, with a default of its own."""
    return dataclasses.field(default=default, metadata=cls.__dataclass_fields__[name].metadata)


def positive(value) -> str | None:
    return None if value > 0 else "must be greater than 0"


def not_negative(value) -> str | None:
    return None if value >= 0 else "must be 0 or greater"


def between(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"must be from {low} to {high}"


size = between(1, 100_000)  # for widths and counts of images, which memory has to hold


def desc_complaint(desc: str) -> str | None:
    """What is wrong with a description as the name of a folder inside STORAGE, or None."""
    parts = desc.split("/")
    if len(desc) > 200:
        return "at most 200 characters"
    if not all(re.fullmatch(r"[A-Za-z0-9_=,+.-]+", part, re.ASCII) and part.strip(".") for part in parts):
        return "must be a path inside STORAGE/experiments, of letters, digits and any of _ - . = , + between slashes"
    if any(re.fullmatch(r"seed\d+", part) for part in parts):
        return "must not hold a part like seed0: those folders are made for the seeds, which --rand_seed chooses"
    return None


def seed_complaint(seed: int) -> str | None:
    return None if 0 <= seed < 2**32 else "must be from 0 to 2^32 - 1"


def place_complaint(path: str) -> str | None:
    """What is wrong with the path of a folder that the user names, or None."""
    if not path.isprintable() or not 0 < len(path) <= 1000:
        return "must be a path of at most 1000 plain characters"
    return "there is no such home folder" if os.path.expanduser(path).startswith("~") else None


def device_complaint(name: str) -> str | None:
    """What is wrong with the text given to --device, or None."""
    known = re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?|mps", name)
    return None if known else "must be auto, cpu, cuda, cuda:N or mps"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    desc: str = option(group="run", check=desc_complaint, help="the run's folder inside STORAGE/experiments")
    rand_seed: int = option(
        0, group="run", check=seed_complaint, help="the same seed gives the same numbers, bit for bit on the CPU"
    )
    data_root: str = option(
        "STORAGE/datasets", group="run", check=place_complaint, help="where data sets lie or are put"
    )
    device: str = option("auto", group="run", check=device_complaint, help="auto takes a GPU when there is one")
    resume: bool = option(False, group="run", help="go on with the run of this name and seed")
    overwrite: bool = option(False, group="run", help="delete the run of this name and seed, and start anew")


def parse(cls: type[T], argv: Sequence[str] | None = None, *, description: str | None = None) -> T:
    """Read the command line (`sys.argv[1:]` when argv is None) into a `cls`.

    Raises UserError on unknown, missing, ill-typed, impossible or inapplicable options. `--help` prints and exits.
    """
    parser = _Parser(
        usage="%(prog)s --option=value ...", description=description, allow_abbrev=False,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=40, width=110),
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in sorted(fields(cls), key=lambda field: _inherited_from_afar(cls, field.name)):
        group = groups.setdefault(field.metadata["group"], parser.add_argument_group(field.metadata["group"]))
        group.add_argument(f"--{field.name}", **(argument := _argument(cls, field)))
        for name in (name for name, now in RENAMED.items() if now == field.name):
            read = argument["type"] if name != "gpu_ids" else lambda ids, read=argument["type"]: read(_device_of(ids))
            parser.add_argument(f"--{name}", **argument | {"dest": field.name, "type": read, "help": argparse.SUPPRESS})
    for name, answer in ANSWERED.items():
        if RENAMED.get(name) not in cls.__dataclass_fields__:
            parser.add_argument(f"--{name}", nargs="*", action=_Answer, const=answer, default=argparse.SUPPRESS,
                                help=argparse.SUPPRESS)
    argv = sys.argv[1:] if argv is None else list(argv)
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        lists = [f"--{field.name}" for field in fields(cls) if typing.get_origin(_kind(cls, field)) is tuple]
        raise UserError(_unknown_option(unknown, argv, [f"--{field.name}" for field in fields(cls)], lists))
    given = vars(given)
    missing = [f"--{field.name}" for field in fields(cls) if field.default is MISSING and field.name not in given]
    if missing:
        raise UserError(f"{', '.join(missing)} must be given (--help lists all options)")
    options = cls(**given)
    for field in fields(cls):
        for other, values in field.metadata["only_with"].items():
            values = values() if callable(values) else values
            if getattr(options, field.name) != field.default and getattr(options, other) not in values:
                allowed = " or ".join(f"--{other}={value}" for value in values)
                raise UserError(f"--{field.name} has a meaning only with {allowed}; leave it out")
    return options


def to_dict(options) -> dict:
    """The settings as JSON takes them: tuples become lists, and what only steers this start (ONCE) is left out."""
    return _plain({name: value for name, value in asdict(options).items() if name not in ONCE})


def from_dict(cls: type[T], saved: dict) -> T:
    """The options that `to_dict` gave, as a `cls`; those that are newer than what was saved have their defaults.

    Raises UserError, as `parse` does, for options that `cls` does not have or that lack, and for impossible values.
    """
    return parse(cls, [f"--{name}={_written(value)}" for name, value in saved.items()])


def differences(options, saved: dict) -> dict[str, tuple]:
    """Option -> what it was in a saved run, and what it is now, where a run that goes on must have the same.

    Options that are newer than what was saved had their defaults.
    """
    before = _plain({field.name: field.default for field in fields(options) if field.default is not MISSING}) | saved
    now = to_dict(options)
    return {
        name: (before.get(name), now.get(name)) for name in now | before
        if name not in (*FREE_AT_RESUME, *ONCE) and (name not in now or before.get(name) != now[name])
    }


def longer(options, saved: dict) -> dict[str, tuple[int, int]]:
    """Those of the differences by which a run that goes on is to become longer."""
    return {
        name: (before, now) for name, (before, now) in differences(options, saved).items()
        if name in LENGTHS and isinstance(before, int) and isinstance(now, int) and before < now
    }


def other_run(options, saved: dict) -> dict[str, tuple]:
    """Those of the differences that make it another run, which cannot go on so."""
    return {name: pair for name, pair in differences(options, saved).items() if name not in longer(options, saved)}


def _plain(values: dict) -> dict:
    """As JSON takes them: tuples become lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _inherited_from_afar(cls, name: str) -> int:
    """How many classes stand before the one that declares an option: the help shows the nearest first."""
    return next(depth for depth, base in enumerate(cls.__mro__) if name in inspect.get_annotations(base))


def _argument(cls, field) -> dict:
    """argparse's view of one field."""
    kind = _kind(cls, field)
    distinct = field.metadata["distinct"] or kind != tuple[int, ...]

    def read(text: str):
        try:
            value = _read(kind, text)
        except (ValueError, KeyError):
            raise UserError(f"--{field.name}={shown(text)}: {_expected(kind, distinct)} expected") from None
        if field.name == "desc":
            value = _desc_meant(text)
        value = _checked(field, value)
        return tuple(dict.fromkeys(value)) if isinstance(value, tuple) and distinct else value

    default = "must be given" if field.default is MISSING else f"default {_written(field.default)}"
    argument = {
        "type": read,
        "default": argparse.SUPPRESS,
        "help": f"{field.metadata['help']} ({default})".replace("%", "%%"),
        "metavar": "|".join(field.metadata["choices"] or ()) or _expected(kind, distinct).upper().split()[-1],
    }
    if field.metadata["adds"]:
        argument["action"] = _Adding
    if kind is bool:
        argument |= {"nargs": "?", "const": True, "metavar": "true|false"}
    return argument


def _desc_meant(path: str) -> str:
    """The description in what a shell completes, or a run has said of its place: a path to its folder."""
    here = f"({re.escape(os.getcwd())}/)?" if path.startswith("/") else r"(\./)?"
    return re.sub(rf"^{here}(STORAGE/experiments/)?(?=[^/])(.*?)/*$", r"\3", path)


def _device_of(ids: str) -> str:
    """--device for what was given to --gpu_ids."""
    return "cpu" if ids == "-1" else f"cuda:{ids}"


def _kind(cls, field):
    return typing.get_type_hints(cls)[field.name]


def _read(kind, text: str) -> Any:
    if typing.get_origin(kind) is tuple:
        if text.startswith("[") != text.endswith("]"):
            raise ValueError
        inner = text.removeprefix("[").removesuffix("]").strip()
        if not inner and text:
            return ()
        return tuple(_read(typing.get_args(kind)[0], part.strip(" '\"")) for part in inner.split(","))
    if kind is bool:
        return TRUTHS[text.lower()]
    if kind in (int, float) and "_" in text:  # Python reads 1_0 as ten
        raise ValueError
    return kind(text)


def _checked(field, value):
    """The value, if the field allows it. Raises UserError."""
    choices, check, instead = (field.metadata[name] for name in ("choices", "check", "instead"))
    if choices:  # however they are written
        known = {_squeezed(choice): choice for choice in choices}
        meant = [known.get(_squeezed(element), element) for element in _elements(value)]
        value = tuple(meant) if isinstance(value, tuple) else meant[0]
    for element in _elements(value):
        complaint = check(element) if check else None
        if isinstance(element, float) and not math.isfinite(element):
            complaint = "must be a finite number"
        elif choices and element not in choices:
            complaint = f"must be {' or '.join(choices)}"
            near = difflib.get_close_matches(str(element).lower(), choices, 1)
            if meant := instead.get(_squeezed(str(element)), *near):
                complaint += f"; you may look for {meant}"
        if complaint:
            raise UserError(f"--{field.name}={shown(_written(value))}: {complaint}")
    return value


def _squeezed(text: str) -> str:
    """A name without case, dashes and underscores."""
    return re.sub("[-_ ]", "", text.lower())


def _elements(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _expected(kind, distinct: bool) -> str:
    if typing.get_origin(kind) is tuple:
        integers = f"integers like {'0,1,2' if distinct else '[1024,1024]'}"
        return {int: integers, float: "numbers like [0.1,0.2]", str: "names like a,b"}[typing.get_args(kind)[0]]
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[kind]


def _written(value) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)


def shown(text: str) -> str:
    """A value as a message shows it: on one line, and not longer than a person reads."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _unknown_option(unknown: list[str], argv: list[str], known: list[str], lists: list[str]) -> str:
    name = shown(unknown[0].split("=")[0])
    before = argv[: argv.index(unknown[0])] if unknown[0] in argv else []
    option, *values = before[-2:] + unknown if len(before) > 1 else [""]  # --sizes 512 256, of which 256 is unknown
    if option in lists and not any(value.startswith("-") for value in values):
        return f"{name} stands alone: did you mean {option}=[{','.join(map(shown, values))}]?"
    bare = {option.removeprefix("--"): option for option in known}
    meant = name.lstrip("-").replace("-", "_").lower()
    near = [bare[option] for option in HINTS.get(meant, ()) if option in bare]
    near += [bare[option] for option in difflib.get_close_matches(meant, bare, 1)]
    hint = f"did you mean {near[0]}?" if near else "--help lists all options"
    return f"unknown option {name} ({hint})"


class _Adding(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        before = getattr(namespace, self.dest, ())
        setattr(namespace, self.dest, tuple(dict.fromkeys((*before, *(values or ())))))


class _Answer(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        raise UserError(f"{option_string}: {self.const}")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (--help lists all options)")
