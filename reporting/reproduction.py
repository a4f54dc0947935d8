"""docs/report.md: every claim of the paper, tested. Its template has the prose, the runs give numbers and pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.catalogue import ABLATION_STEPS, ABLATIONS, DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on
from modellib.ib_lagrangian import with_a_rate
from reporting import tables
from reporting.claims import PROBES
from reporting.collect import KINDS
from reporting.figures import Figure
from reporting.grid import LAMBDA
from reporting.page import environment
from reporting.tables import Table

_, NEIGHBOURS, MLP = PROBES
WANTED_SEEDS = 10  # of the Lagrangian models, whose detection is a draw
WIDE, CURVE = "1e-5..1e-1:9", {"ceb": "1e-3..1:7"}  # the λ of IB curves, and where others are of interest
LEAST_SEEDS = 3  # of every method, and attacked: attacks take as long as training


def render(found: dict, figures: Sequence[Figure], folder: Path) -> str:
    """The text. found: the content of tables.json; figures: those drawn; folder: where the text will lie."""
    drawn = {figure.path.stem: figure for figure in figures}
    models = found["quantitative"].get(PAPER_DATA, {})

    def of(model: str, row: str, digits: int = 2) -> str:
        return tables.cell(models.get(model, {}).get(row), digits=digits)

    def at(*path: str, digits: int = 2) -> str:
        """The figure at the end of a path through tables.json."""
        figure = found
        for key in path:
            figure = figure.get(key, {})
        return tables.cell(figure or None, digits=digits)

    return environment(folder).get_template("report.md.j2").render(
        found=found, tables=tables, drawn=drawn, of=of, at=at, missing=list(missing(found)), cost=cost(found),
        papers=list(published_on(PAPER_DATA)), titles=[METHODS[name].title for name in published_on(PAPER_DATA)],
        proposed=METHODS[PROPOSED].title, seeds_of=seeds_of, neighbours=NEIGHBOURS,
        seeds_added=all(len(_seeds(models.get(name) or {}, "last epoch")) > LEAST_SEEDS
                        for name in ("vib", "nib", "squared-vib")),
        references=[(METHODS[name].title, METHODS[name].about)
                    for name, figures in models.items() if METHODS[name].reference and figures],
        probed=any(MLP in of for by_split in found["disentangling"].values() for of in by_split.values()),
        held_out=any("held_out" in of for of in found["detection"].values()), ablation_steps=ABLATION_STEPS,
        of_plain=of("plain", "FGSM test, ε = 0.1, %", 1) if models.get("plain") else "",
        longer=", ".join(f"{METHODS[name].title} {of[tables.RELATIONS[2]]:.2f}" for name, of
                         in found["relations"].items() if tables.RELATIONS[2] in of and METHODS[name].code == "sample"),
        steps_sampled={step: at("on the way", step, "I(X;T) of sampled codes, test") for step, figures
                       in found["on the way"].items() if "I(X;T) of sampled codes, test" in figures},
        pictures=[name for name in tables.OUTSIDE if name in DATA_SETS], sweep=_swept,
        ceb_lambda=METHODS["ceb"].lambda_kl,
    )


def missing(found: dict) -> Iterator[tuple[str, str]]:
    """What has not been run of all that this report shows, and the command that makes it."""
    seeds = ",".join(map(str, range(WANTED_SEEDS)))
    title = {name: method.title for name, method in METHODS.items()}
    for data, models in found["quantitative"].items():
        lacking = [name for name in METHODS if not models.get(name) and (data == PAPER_DATA or name == PROPOSED)]
        if lacking:
            yield (f"{', '.join(map(title.__getitem__, lacking))} on {DATA_SETS[data].title}",
                   f"--only={','.join(lacking)} --dataset={data} --seeds=0,1,2")
    models = found["quantitative"].get(PAPER_DATA, {})
    few = [name for name in published_on(PAPER_DATA) if METHODS[name].script == "train_lagrangian" and models.get(name)
           and len(models[name]["last epoch"]["seeds"]) < WANTED_SEEDS]
    lone = [name for name in METHODS if name not in few and models.get(name)
            and len(models[name]["last epoch"]["seeds"]) < LEAST_SEEDS]
    if lone:
        yield f"three seeds of {', '.join(map(title.__getitem__, lone))}", f"--only={','.join(lone)} --seeds=0,1,2"
    if few:
        yield f"ten seeds of {', '.join(map(title.__getitem__, few))}", f"--only={','.join(few)} --seeds={seeds}"

    for model in with_a_rate():
        if f"{PAPER_DATA}/{model}-none" not in found["sweeps"]:
            yield f"the IB curve of {title[model]}", f"--sweep={_swept(model)}"

    seeds_run = {name: list(models[name]["last epoch"]["seeds"]) for name in METHODS if models.get(name)}

    def without(
        what: str, there: dict[str, list[str]], command: str, n: int = WANTED_SEEDS
    ) -> Iterator[tuple[str, str]]:
        """A line for the methods that have it of fewer than n seeds, with the seeds that were run and lack it."""
        lacking = []
        for name, run in seeds_run.items():
            has = there.get(name, [])
            if absent := [seed for seed in run if seed not in has][:max(0, n - len(has))]:
                lacking.append(title[name] + (f" ({_numbered(absent)})" if has else ""))
        if lacking:
            yield f"{what} of {', '.join(lacking)}", command

    codes = found["codes"]
    mean_codes = {name: _seeds(of, "mean", "I(X;T)") for name, of in codes.items()}
    without_noise = {name: run for name, run in seeds_run.items() if "I(X;T)" not in codes[name].get("sample", {})}
    yield from without("informations of the mean codes", mean_codes | without_noise, "--with=objections")
    for what, part, path, command in (
        ("calibration", "codes", ("mean", "expected calibration error, %"), "--with=objections"),
        ("detection by other scores", "scores", ("gauss", "energy"), "--with=objections"),
        ("attacks on mean codes", "robustness", ("mean", "worst case", "0.1"), "--with=robustness"),
        ("attacks on sampled codes", "robustness", ("sample", "worst case", "0.1"), "--with=robustness"),
    ):
        there = {name: _seeds(of, *path) for name, of in found[part].items()}
        if path[0] == "sample":
            there |= {name: run for name, run in seeds_run.items() if "sample" not in METHODS[name].codes}
        yield from without(what, there, command, LEAST_SEEDS if part == "robustness" else WANTED_SEEDS)
    held_out = [name for name, of in found["detection"].items() if "held_out" in of]
    if lacking := [title[name] for name in published_on(PAPER_DATA) if name not in held_out]:
        yield f"detection of held-out digits by {', '.join(lacking)}", "--only=held-out --with=objections"
    ablations = "--only=ablations --with=objections,robustness"
    if lacking := [ablation.title for name, ablation in ABLATIONS.items() if name not in found["ablations"]]:
        yield f"{len(lacking)} of the {len(ABLATIONS)} ablations of {title[PROPOSED]}: {', '.join(lacking)}", ablations
    if partly := sum(MLP not in of or "worst case, ε = 0.1, %" not in of for of in found["ablations"].values()):
        yield f"attacks and probes of {partly} of the ablations that were run", ablations
    unread = [DATA_SETS[data].title for data, by_split in found["disentangling"].items()
              if by_split and not any(MLP in of_split for of_split in by_split.values())]
    if models.get(PROPOSED) and MLP not in found["probes"]:
        yield f"trained probes of the codes of {title[PROPOSED]} on {DATA_SETS[PAPER_DATA].title}", "--with=objections"
    if unread:
        yield f"trained probes and DCI on {', '.join(unread)}", "--with=objections"


def _swept(model: str) -> str:
    """What --sweep has to be for a model's IB curve, and --model."""
    return f"{LAMBDA}:{CURVE.get(model, WIDE)} --model={model}"


def seeds_of(part: dict[str, dict], *path: str) -> str:
    """Which seeds a figure of a part of tables.json is of, method by method. path: its keys below the method."""
    models: dict[tuple[str, ...], list[str]] = {}
    for model, figures in part.items():
        if seeds := _seeds(figures, *path):
            models.setdefault(tuple(seeds), []).append(METHODS[model].title)
    return "; ".join(f"{_numbered(seeds)} of {', '.join(of)}" for seeds, of in models.items())


def _numbered(seeds: Sequence[str]) -> str:
    """Like "seed 1", "seeds 0, 2" or, of more than three in a row, "seeds 0 to 9"."""
    row = [str(seed) for seed in range(int(seeds[0]), int(seeds[0]) + len(seeds))]
    shown = f"{row[0]} to {row[-1]}" if len(row) > 3 and list(seeds) == row else ", ".join(seeds)
    return f"seed{'s' * (len(seeds) > 1)} {shown}"


def _seeds(figures: dict, *path: str) -> list[str]:
    """Those of the figure at the end of that path; none where there is no such figure."""
    for key in path:
        figures = figures.get(key, {})
    return list(figures.get("seeds", {}))


def cost(found: dict) -> Table:
    """What the runs took, by kind and by machine."""
    rows: dict[tuple[str, str], list[float]] = {}
    for run in found["runs"]:
        device = "CPU" if run["machine"]["device"] == "cpu" else run["machine"]["device"]
        kind = "/".join(run["where"].split("/")[:2])
        rows.setdefault((kind, device), []).append(sum((run["seconds"] or {}).values()))
    order = list(KINDS)
    return Table(["runs", "on", "number", "hours in all, training and evaluation"], [
        [kind, device, str(len(seconds)), f"{sum(seconds) / 3600:.1f}"]
        for (kind, device), seconds in sorted(rows.items(), key=lambda row: order.index(row[0][0].split("/")[0]))
    ])
