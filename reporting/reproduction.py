"""docs/report.md: every claim of the paper, tested. Its template has the prose, the runs give numbers and pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.catalogue import ABLATIONS, DATA_SETS, METHODS, PAPER_DATA, PROPOSED, published_on
from reporting import tables
from reporting.collect import KINDS
from reporting.figures import Figure
from reporting.page import SIGNS, environment
from reporting.tables import CODES, PROBES, Table

WANTED_SEEDS = 10  # of the Lagrangian models, whose detection is a draw


def render(found: dict, figures: Sequence[Figure], folder: Path) -> str:
    """The text. found: the content of tables.json; figures: those drawn; folder: where the text will lie."""
    drawn = {figure.path.stem: figure for figure in figures}
    models = found["quantitative"].get(PAPER_DATA, {})

    def of(model: str, row: str, digits: int = 2) -> str:
        return tables.cell(models.get(model, {}).get(row), digits=digits)

    return environment(folder).get_template("report.md.j2").render(
        found=found, tables=tables, drawn=drawn, of=of, missing=list(missing(found)), cost=cost(found),
        papers=list(published_on(PAPER_DATA)), titles=[METHODS[name].title for name in published_on(PAPER_DATA)],
        proposed=METHODS[PROPOSED].title, signs=SIGNS,
        probed=any(PROBES[-1] in of for by_split in found["disentangling"].values() for of in by_split.values()),
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
    if few:
        yield f"ten seeds of {', '.join(map(title.__getitem__, few))}", f"--only={','.join(few)} --seeds={seeds}"

    def without(what: str, there: Sequence[str], command: str) -> Iterator[tuple[str, str]]:
        """There is a line for the methods that were run and lack it."""
        if lacking := [title[name] for name in METHODS if models.get(name) and name not in there]:
            yield f"{what} of {', '.join(lacking)}", command

    noisy = [name for name in METHODS if "I(X;T)" in found["codes"].get(name, {}).get("sample", {})]
    on_means = [name for name in METHODS if name not in noisy or "I(X;T)" in found["codes"][name].get("mean", {})]
    yield from without("informations of the mean codes", on_means, "--with=objections")
    yield from without("calibration", [name for name, of in found["codes"].items() if any(
        "calibration" in row for code in CODES for row in of.get(code, {})
    )], "--with=objections")
    yield from without("detection by other scores", list(found["scores"]), "--with=objections")
    yield from without("attacks", list(found["robustness"]), "--with=robustness")
    held_out = [name for name, of in found["detection"].items() if "held_out" in of]
    if lacking := [title[name] for name in published_on(PAPER_DATA) if name not in held_out]:
        yield f"detection of held-out digits by {', '.join(lacking)}", "--only=held-out --with=objections"
    if lacking := [ablation.title for name, ablation in ABLATIONS.items() if name not in found["ablations"]]:
        yield (f"{len(lacking)} of the {len(ABLATIONS)} ablations of {title[PROPOSED]}",
               "--only=ablations --with=objections,robustness")
    unread = [DATA_SETS[data].title for data, by_split in found["disentangling"].items()
              if by_split and not any(PROBES[-1] in of_split for of_split in by_split.values())]
    if models.get(PROPOSED) and PROBES[-1] not in found["probes"]:
        yield f"trained probes of the codes of {title[PROPOSED]} on {DATA_SETS[PAPER_DATA].title}", "--with=objections"
    if unread:
        yield f"trained probes and DCI on {', '.join(unread)}", "--with=objections"


def cost(found: dict) -> Table:
    """What the runs took, by kind and by machine."""
    rows: dict[tuple[str, str], list[float]] = {}
    for run in found["runs"]:
        device = "CPU" if run["machine"]["device"] == "cpu" else run["machine"]["device"]
        kind = "/".join(run["where"].split("/")[:2])
        rows.setdefault((kind, device), []).append(sum((run["seconds"] or {}).values()))
    order = list(KINDS)
    return Table(["runs", "on", "number", "hours, training and evaluation"], [
        [kind, device, str(len(seconds)), f"{sum(seconds) / 3600:.1f}"]
        for (kind, device), seconds in sorted(rows.items(), key=lambda row: order.index(row[0][0].split("/")[0]))
    ])
