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
import re
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial

from custom_pkg.errors import UserError

ONCE = ("resume", "overwrite")  # options of one start of a run, not settings of the run
FREE_AT_RESUME = ("desc", "data_root", "device")  # where a run lies and computes; the kind of device may not differ
Check = Callable[[typing.Any], str | None]  # the complaint about a value, or None


def option(
    default=MISSING, *, group: str, help: str, choices: Collection[str] | None = None, check: Check | None = None,
    only_with: dict[str, Collection[str] | Callable[[], Collection[str]]] | None = None, distinct: bool = False,
):
    """A dataclass field that is an option of the command line. Without a default it must be given.

    choices: the values allowed (of each element, for a tuple). check: called with each element.
    only_with: {other option: its values, or a function that gives them}, where this one has a meaning; changed
    elsewhere it is refused.
    distinct: whether a value that is given twice counts once. In lists of texts and of numbers with a fraction it
    always does; lists of integers are widths of layers, unless this says otherwise.
    """
    metadata = {
        "group": group, "help": help, "choices": choices, "check": check, "only_with": only_with or {},
        "distinct": distinct,
    }
    return dataclasses.field(default=default, metadata=metadata)


def with_default(cls, name: str, default):
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
        return "must not hold a part like seed0: those folders are made for the seeds"
    return None


def seed_complaint(seed: int) -> str | None:
    return None if 0 <= seed < 2**32 else "must be from 0 to 2^32 - 1"


def place_complaint(path: str) -> str | None:
    """What is wrong with the path of a folder that the user names, or None."""
    return None if path.isprintable() and 0 < len(path) <= 1000 else "must be a path of at most 1000 plain characters"


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


def parse(cls, argv: Sequence[str] | None = None, *, description: str = ""):
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
        group.add_argument(f"--{field.name}", **_argument(cls, field))
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UserError(_unknown_option(unknown[0], [f"--{field.name}" for field in fields(cls)]))
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


def from_dict(cls, saved: dict):
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
        except ValueError:
            raise UserError(f"--{field.name}={shown(text)}: {_expected(kind, distinct)} expected") from None
        if isinstance(value, tuple) and distinct:
            value = tuple(dict.fromkeys(value))
        return _checked(field, value)

    default = "must be given" if field.default is MISSING else f"default {_written(field.default)}"
    argument = {
        "type": read,
        "default": argparse.SUPPRESS,
        "help": f"{field.metadata['help']} ({default})".replace("%", "%%"),
        "metavar": "|".join(field.metadata["choices"] or ()) or _expected(kind, distinct).upper().split()[-1],
    }
    if kind is bool:
        argument |= {"nargs": "?", "const": True, "metavar": "true|false"}
    return argument


def _kind(cls, field):
    return typing.get_type_hints(cls)[field.name]


def _read(kind, text: str):
    if typing.get_origin(kind) is tuple:
        if text.startswith("[") != text.endswith("]"):
            raise ValueError
        inner = text.removeprefix("[").removesuffix("]").strip()
        if not inner and text:
            return ()
        return tuple(_read(typing.get_args(kind)[0], part.strip()) for part in inner.split(","))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if kind in (int, float) and "_" in text:  # Python reads 1_0 as ten
        raise ValueError
    return kind(text)


def _checked(field, value):
    """The value, if the field allows it. Raises UserError."""
    choices, check = field.metadata["choices"], field.metadata["check"]
    for element in value if isinstance(value, tuple) else (value,):
        complaint = check(element) if check else None
        if isinstance(element, float) and not math.isfinite(element):
            complaint = "must be a finite number"
        elif choices and element not in choices:
            complaint = f"must be {' or '.join(choices)}"
        if complaint:
            raise UserError(f"--{field.name}={shown(_written(value))}: {complaint}")
    return value


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


def _unknown_option(argument: str, known: list[str]) -> str:
    name = shown(argument.split("=")[0])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "--help lists all options"
    return f"unknown option {name} ({hint})"


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (--help lists all options)")
