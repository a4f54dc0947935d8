import importlib
import json
import re
import typing
from dataclasses import dataclass, fields

import pytest

from custom_pkg import options as opt
from custom_pkg.errors import UserError
from custom_pkg.options import not_negative, option, positive
from train_lagrangian import Options


@dataclass(frozen=True, kw_only=True)
class Every:
    """One field of every kind."""

    text: str = option(group="first", help="any text")
    choice: str = option("a", group="first", choices=("a", "b"), help="a 50 % choice")
    number: float = option(0.5, group="first", check=not_negative, help="a number")
    count: int = option(3, group="second", check=positive, help="how many")
    switch: bool = option(True, group="second", help="on or off")
    flag: bool = option(False, group="second", help="off or on")
    sizes: tuple[int, ...] = option((8, 8), group="second", check=positive, help="some sizes")
    shares: tuple[float, ...] = option((0.1,), group="second", help="some shares")
    names: tuple[str, ...] = option(("x",), group="second", choices=("x", "y"), help="some names")
    seeds: tuple[int, ...] = option((0,), group="second", distinct=True, help="some seeds")
    only_b: float = option(1.0, group="second", only_with={"choice": ("b",)}, help="has a meaning with b")


def parse(*argv):
    return opt.parse(Every, ["--text=t", *argv])


def test_options_survive_the_way_through_json_and_back_to_a_command_line():
    options = parse(
        "--choice=b", "--number=1e-3", "--count=7", "--switch=false", "--flag", "--sizes=[1,2]", "--shares=0.25,1",
        "--names=x,y", "--only_b=-2",
    )
    for one in (options, parse()):
        content = json.loads(json.dumps(opt.to_dict(one)))
        flags = [f"--{name}={value}".replace("'", "") for name, value in content.items()]
        assert parse(*flags) == one


@dataclass(frozen=True, kw_only=True)
class Stages:
    stages: tuple[str, ...] = option((), group="first", adds=True, help="some, and others")
    names: tuple[str, ...] = option((), group="first", help="some names")


def test_of_a_list_that_is_given_twice_the_later_one_counts_unless_it_adds():
    given = opt.parse(Stages, ["--with=a,b", "--names=a,b", "--stages=c,b", "--names=c"])
    assert (given.stages, given.names) == (("a", "b", "c"), ("c",))


def test_saved_options_come_back_as_their_own_class():
    options = parse("--choice=b", "--number=2", "--sizes=[1,2]", "--names=x,y", "--only_b=-2")
    assert opt.from_dict(Every, json.loads(json.dumps(opt.to_dict(options)))) == options


def test_options_newer_than_what_was_saved_have_their_defaults_and_are_no_difference():
    saved = opt.to_dict(parse("--number=2"))
    del saved["count"], saved["sizes"]
    restored = opt.from_dict(Every, saved)
    assert restored == parse("--number=2")
    assert opt.differences(restored, saved) == {}
    assert opt.differences(parse("--count=4"), saved) == {"count": (3, 4), "number": (2.0, 0.5)}
    assert opt.differences(restored, {**saved, "speed": 2}) == {"speed": (2, None)}


@pytest.mark.parametrize("change, words", [
    ({"speed": 3}, ("--speed",)), ({5: 3}, ("--5",)), ({"count": "many"}, ("--count=many", "integer")),
    ({"count": 3.0}, ("--count", "integer")), ({"count": True}, ("--count", "integer")),
    ({"count": 0}, ("--count", "greater")),
    ({"switch": 2}, ("--switch", "true or false")), ({"sizes": "x"}, ("--sizes", "integers")),
    ({"sizes": [8, "x"]}, ("--sizes", "integers")), ({"sizes": [8, -1]}, ("--sizes", "greater")),
    ({"number": float("nan")}, ("--number", "finite")), ({"number": 10**400}, ("--number", "finite")),
    ({"sizes": {"a": 1}}, ("--sizes", "integers")), ({"choice": "c"}, ("--choice", "a or b")),
    ({"names": ["z"]}, ("--names", "x or y")),
])
def test_saved_options_that_are_unknown_or_not_allowed_are_refused_by_name_in_one_line(change, words):
    with pytest.raises(UserError) as refusal:
        opt.from_dict(Every, {**opt.to_dict(parse()), **change})
    assert all(word in str(refusal.value) for word in words) and "\n" not in str(refusal.value)


def test_a_saved_option_that_has_no_default_and_lacks_is_named():
    with pytest.raises(UserError, match="--text"):
        opt.from_dict(Every, {"count": 3})


def test_values_get_the_type_of_their_field():
    assert opt.to_dict(parse("--number=2", "--shares=1,2")) == {
        "text": "t", "choice": "a", "number": 2.0, "count": 3, "switch": True, "flag": False, "sizes": [8, 8],
        "shares": [1.0, 2.0], "names": ["x"], "seeds": [0], "only_b": 1.0,
    }
    assert type(parse("--number=2").number) is float


@pytest.mark.parametrize("text, value", [
    ("[1024,1024]", (1024, 1024)), ("1024,1024", (1024, 1024)), ("[ 5 , 6 ]", (5, 6)), ("7", (7,)), ("[7]", (7,)),
    ("[]", ()),
])
def test_lists_are_read_in_both_forms(text, value):
    assert parse(f"--sizes={text}").sizes == value
    assert parse("--sizes", text).sizes == value


@pytest.mark.parametrize("argument, value", [
    ("--shares=[0.1,0.1,0.10,1e-1,.2]", (0.1, 0.2)), ("--shares=0,-0.0", (0.0,)), ("--names=y,x,y", ("y", "x")),
    ("--seeds=1,01,0,+1", (1, 0)), ("--sizes=[8,8,4]", (8, 8, 4)),
])
def test_what_is_given_twice_counts_once_by_value_but_for_layers(argument, value):
    assert getattr(parse(argument), argument[2:].split("=")[0]) == value


def test_only_widths_of_layers_may_repeat():
    for script in ("train_lagrangian", "train_disenib", "evaluate", "reproduce"):
        cls = importlib.import_module(script).Options
        for field in fields(cls):
            if typing.get_origin(kind := typing.get_type_hints(cls)[field.name]) is tuple:
                once = "account=lab" if field.name == "slurm_options" else next(iter(field.metadata["choices"] or "1"))
                value = opt._argument(cls, field)["type"](f"{once},{once}")
                assert len(value) == 1 + field.name.endswith("_hidden_dims"), (script, field.name, kind)


@pytest.mark.parametrize("text, value", [("true", True), ("False", False), ("FALSE", False), ("1", True), ("0", False)])
def test_booleans_are_written_out(text, value):
    assert parse(f"--switch={text}").switch is value
    assert parse("--switch", text).switch is value


def test_a_boolean_flag_alone_means_true():
    assert parse("--flag").flag is True


def test_the_later_of_two_equal_flags_counts():
    assert parse("--count=1", "--count=2").count == 2


@pytest.mark.parametrize("argument, words", [
    ("--cuont=3", ("--cuont", "did you mean --count?")),
    ("--zzz=3", ("--zzz", "--help")),
    ("--coun=3", ("--coun",)),  # no abbreviations
    ("stray", ("stray",)),
    ("--count", ("--count", "argument")),
    ("--count=", ("--count", "integer")),
    ("--count=3.5", ("--count", "integer")),
    ("--count=three", ("--count", "integer")),
    ("--count=0", ("--count", "greater than 0")),
    ("--count=-1", ("--count", "greater than 0")),
    ("--number=x", ("--number", "number")),
    ("--number=nan", ("--number", "finite")),
    ("--number=inf", ("--number", "finite")),
    ("--number=1e999", ("--number", "finite")),
    ("--number=-0.1", ("--number", "0 or greater")),
    ("--shares=[0.1,nan]", ("--shares", "finite")),
    ("--switch=perhaps", ("--switch", "true or false")),
    ("--choice=c", ("--choice", "a or b")),
    ("--names=x,z", ("--names", "x or y")),
    ("--sizes=[1,2", ("--sizes", "integers")),
    ("--sizes=1,2]", ("--sizes", "integers")),
    ("--sizes=[1,,2]", ("--sizes", "integers")),
    ("--sizes=[[1]]", ("--sizes", "integers")),
    ("--sizes=[1.5]", ("--sizes", "integers")),
    ("--sizes=[8,0]", ("--sizes", "greater than 0")),
    ("--only_b=2", ("--only_b", "--choice=b")),
])
def test_a_wrong_option_is_refused_by_name(argument, words):
    with pytest.raises(UserError) as refusal:
        parse(argument)
    assert all(word in str(refusal.value) for word in words)


def test_an_option_that_must_be_given_is_named():
    with pytest.raises(UserError, match="--text must be given"):
        opt.parse(Every, [])
    with pytest.raises(UserError, match="^--desc must be given"):
        opt.parse(Options, ["--lambda_kl=0.01"])


@pytest.mark.parametrize("cls", [Every, Options])
def test_help_shows_the_groups_and_the_meaning_and_default_of_every_option(cls, capsys):
    with pytest.raises(SystemExit) as end:
        opt.parse(cls, ["--help"], description="What the script does.")
    text = capsys.readouterr().out
    assert end.value.code == 0 and "What the script does." in text
    sections = re.split(r"^(\w[\w ]*):\n", text, flags=re.MULTILINE)
    by_group = dict(zip(sections[1::2], sections[2::2], strict=True))
    for field in fields(cls):
        entry = re.search(rf"^  --{field.name} .*?(?=^  -|\Z)", by_group[field.metadata["group"]], re.M | re.S)[0]
        squeezed = "".join(entry.split())  # lines are wrapped
        assert "".join(field.metadata["help"].split()) in squeezed
        default = getattr(cls, field.name, None)  # a field without default is no attribute of the class
        written = f"[{','.join(map(str, default))}]" if isinstance(default, tuple) else str(default)
        assert ("(mustbegiven)" if default is None else f"(default{written})") in squeezed


def test_the_defaults_of_training_are_the_published_ones():
    options = opt.to_dict(opt.parse(Options, ["--desc=x"]))
    published = {
        "model": "vib", "lambda_kl": 0.01, "train_attack": "none",
        "hfunc": "none", "hfunc_param": 1.0, "emb_dim": 16, "enc_hidden_dims": [1024, 1024], "dec_hidden_dims": [],
        "vib_softplus_scalar": -1.0, "nib_log_std": 1.0, "nib_log_std_trainable": True, "batch_size": 100,
        "epochs": 100, "learning_rate": 1e-4, "early_stop_trials": 10, "eval_batch_size": 2560,
        "eval_attack_epsilons": [0.1, 0.2, 0.3], "eval_odin_out_data": ["gauss"], "eval_odin_temperature": 1000.0,
        "eval_odin_epsilon": 0.0014, "dataset": "mnist", "data_root": "STORAGE/datasets",
    }
    assert {name: options[name] for name in published} == published
    assert type(options["rand_seed"]) is int  # fixed, never drawn


@pytest.mark.parametrize("argv", [
    ["--model=vib", "--nib_log_std=0"], ["--model=vib", "--nib_log_std_trainable=false"],
    ["--model=nib", "--vib_softplus_scalar=5"], ["--model=vib", "--hfunc_param=2"],
    ["--model=plain", "--hfunc=pow"], ["--model=plain", "--lambda_kl=0.02"], ["--train_attack_steps=5"],
])
def test_an_option_that_does_not_apply_is_refused(argv):
    with pytest.raises(UserError, match=argv[-1].split("=")[0]):
        opt.parse(Options, ["--desc=x", *argv])
