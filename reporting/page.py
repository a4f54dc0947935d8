"""The report as one page, by the templates beside this file.

README.md is for the repository, with links to pictures beside it. report.html is one file that can be passed around:
drawings and pictures inside, nothing fetched from anywhere; without scripts only the sorting of tables, the values to
point at and the large pictures are missing.
"""

import base64
import html
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from custom_pkg.pictures import MARGIN
from experiments.catalogue import DATA_SETS, PROPOSED, with_disentangling
from reporting import tables
from reporting.collect import FinishedRun, of
from reporting.figures import Figure
from reporting.tables import Table

TITLE = "Disentangled Information Bottleneck, reproduced"
ABSTRACT = (
    "An information bottleneck is a classifier that squeezes an image X into a short code T, and tries to forget all "
    "that the label Y does not need. DisenIB (Pan, Niu, Zhang, Zhang; AAAI 2021) puts what is not the label into a "
    "second code, the style S, so that nothing has to be traded. Here the paper's experiments were made anew; its "
    "claims, and how each fared, come first."
)
SIGNS = (
    "Signs that gradients are only hidden. Where nothing is hidden all are 0: every image has a gradient, no attack "
    "without gradients breaks what the others leave, many steps break what one step breaks, and at the largest ε, "
    "which is 2, no image is right. What differs with ε is shown where it is largest."
)
N_STEPS = 10  # of an interpolation
PICTURES = {
    "held-out.png": "Swaps of images that training never saw: the class is the column's, the style the row's",
    "fixed.png": "Swaps of training images at the end of training: the class is the column's, the style the row's",
    "interpolation.png": "From one style to another, a row for every class",
    "training.gif": "Swaps over training",
}


@dataclass(frozen=True)
class Text:
    """A paragraph, or "code"."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Beside:
    """A picture too large for the page: only its place is named."""

    text: str
    path: Path
    images: str
    kind: str = "beside"


class Runs(Table):
    """A table whose first column names the folders of runs."""

    kind = "runs"


@dataclass(frozen=True)
class Claims:
    """The paper's claims with their verdicts, as tables.json holds them."""

    claims: Sequence[dict]
    kind: str = "claims"


@dataclass(frozen=True)
class Folded:
    """What is shown to those who ask."""

    title: str
    parts: Sequence["Part"]
    kind: str = "folded"


Part = Text | Table | Figure | Beside | Claims | Folded


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def environment(folder: Path) -> jinja2.Environment:
    """For the templates of texts that will lie in a folder."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )
    made.filters |= {
        "e": html.escape, "code": lambda text: re.sub("`(.+?)`", r"<code>\1</code>", html.escape(text)),
        "webp": webp, "markdown": lambda table: tables.markdown(*table),
        "place": lambda path: os.path.relpath(path, folder).replace(os.sep, "/"),
        "claims_table": lambda claims: tables.markdown(*tables.claims_table({"claims": claims})),
    }
    return made


def render(name: str, found: dict, figures: Sequence[Figure], runs: Sequence[FinishedRun], folder: Path) -> str:
    """The page `name` of the folder of results. found: the content of tables.json."""
    label = found["label"]
    return environment(folder).get_template(f"{name}.j2").render(
        title=f"{TITLE}: {label}" if label else TITLE, label=label, note=f" ({label})" if label else "",
        abstract=ABSTRACT, playground=(folder / "swaps.html").exists(), sections=sections(found, figures, runs),
    )


def webp(figure: Figure) -> str:
    """The pixels of a captioned picture in half the bytes, for a data URL; the page says what the caption says."""
    image, small = Image.open(figure.path), io.BytesIO()
    right, bottom = image.width - MARGIN, image.height - MARGIN
    top = bottom - round((right - MARGIN) * figure.aspect)
    image.crop((MARGIN, top, right, bottom)).save(small, "WEBP", lossless=True)
    return base64.b64encode(small.getvalue()).decode()


def sections(found: dict, figures: Sequence[Figure], runs: Sequence[FinishedRun]) -> list[Section]:
    """The report, in the order in which it is read."""
    curves = [figure for figure in figures if figure.path.stem.startswith("ib-curve")]
    planes = [figure for figure in figures if figure.path.stem.startswith("information-plane")]
    result = [Section("The paper's claims", [Claims(found["claims"])])] if found["claims"] else []
    if first := [*curves, *planes][:1]:
        result.append(Section("The information bottleneck curve" if curves else "The information plane", first))
    result.append(Section("Swaps", _swaps(found, runs)))
    for data, models in found["quantitative"].items():
        absent_too = DATA_SETS[data].compared or found["label"] is not None
        parts = [Text(tables.reading(found, data)), tables.comparison(found, data, absent_too=absent_too)]
        each = filter(None, (tables.one_model(found, data, model) for model in models))
        parts += [Folded(f"{table.header[0]} on {DATA_SETS[data].title}, every seed", [table]) for table in each]
        result.append(Section(f"Results on {DATA_SETS[data].title}", parts))
    if found["detection"]:
        parts = [Text("ODIN on other outside sets, and with the mean in the place of the sampled code."),
                 tables.detection(found)]
        if by_score := tables.scores(found):
            parts += [Text("By other scores than ODIN's, of mean codes."), by_score]
        if sampled := tables.scores(found, code="sample"):
            parts.append(Folded("By other scores, of sampled codes", [sampled]))
        result.append(Section("Detection with sampled and with mean codes", parts))
    if found["codes"]:
        result.append(Section("Sampled and mean codes", [
            Text("The paper scores VIB and NIB on sampled codes, DisenIB on the mean code. Here every method on both."),
            tables.codes(found),
        ]))
    if found["robustness"]:
        result.append(Section("Robustness in the worst case over many attacks", [
            Text("Share of the attacked test images that survive every attack (worst case), or the one that is named."),
            tables.robustness(found), Text(SIGNS), tables.signs(found),
        ]))
    if found["on the way"]:
        result.append(Section("DisenIB on its way", [
            Text("Of the mean code, at the steps at which it is evaluated."), tables.on_the_way(found),
        ]))
    if found["ablations"]:
        result.append(Section("DisenIB with one thing changed", [
            Text("Runs of 5,000 steps of the published 20,000; of mean codes where a column does not say sampled."),
            tables.ablations(found),
        ]))
    numbers = [table for data in with_disentangling() if (table := tables.disentangling(found, data))]
    if numbers:
        result.append(Section("Supervised disentangling in numbers", [
            Text("The paper has no numbers of these runs; these are our own."), tables.disentangling_overview(found),
            *(Folded(f"All numbers of {table.header[0]}", [table]) for table in numbers),
        ]))
    more_curves = [figure for figure in figures if figure.path.stem.startswith("ib-") and figure not in first]
    drawn: list[Part] = [figure for figure in figures if figure not in (*first, *more_curves)]
    if more_curves:
        drawn.append(Folded("Other IB curves, and all by the variational bound", more_curves))
    if not figures:
        drawn.append(Text("No run is finished, so there is nothing to draw."))
    elif not any(run.curves for run in runs):
        drawn.append(Text("ROC and scores of ODIN are not drawn: no run has kept its curves."))
    if drawn:
        result.append(Section("More figures", drawn))
    records = found["runs"]
    versions = {", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in records}
    versions = "; ".join(sorted(versions)) or "none"
    processors = ", ".join(sorted({run["machine"]["processor"] for run in records})) or "none"
    result.append(Section("How it was run", [
        Text(f"Processors: {processors}. Versions: {versions}. Runs may have shared their machine."),
        Folded(f"All {len(records)} runs: epochs, times, machines", [Runs(*tables.runs_table(found))]),
        Folded("The command of each run", [Text("\n".join(run["command"] for run in records), "code")]),
    ]))
    return result


def _swaps(found: dict, runs: Sequence[FinishedRun]) -> list[Part]:
    """The pictures of the disentangling runs, of each data set."""
    parts: list[Part] = []
    if found["label"]:
        parts.append(Text("After so few steps the swaps show nothing yet: these pictures show that all runs."))
    absent = []
    for data in with_disentangling():
        of_data = of(runs, "disentangling", data)
        for name in dict.fromkeys(run.name for run in of_data):
            parts += swaps_of(of(of_data, "disentangling", data, name), found["label"])
        absent += [] if of_data else [DATA_SETS[data].title]
    return parts + ([Text(f"{', '.join(absent)}: {tables.ABSENT}.")] if absent else [])


def swaps_of(runs: Sequence[FinishedRun], label: str | None) -> list[Part]:
    """The pictures of the disentangling runs on one data set: of every seed, the page would be many megabytes."""
    if not runs:
        return []
    first, data = runs[0], DATA_SETS[runs[0].data]
    own = "" if first.name == PROPOSED else f"{first.name}, "
    title = f"{data.title}, {own}seed {first.seed}{f', {label}' if label else ''}"  # the files do not say so themselves
    source = first.config["data"]["source"]
    images = source if "rendered" in source else f"the published files{data.art}"
    beside = {"fixed.png", "training.gif"} if "held-out.png" in first.pictures else {"training.gif"}
    there = [name for name in PICTURES if name in first.pictures]
    parts: list[Part] = [
        Figure(title, first.pictures[name], f"{PICTURES[name]}. Images: {images}.",
               aspect=first.config["data"]["n_classes"] / N_STEPS if name == "interpolation.png" else 1)
        for name in there if name not in beside
    ]
    more: list[Part] = [
        Beside(f"{title}: {PICTURES[name]}", first.pictures[name], images) for name in there if name in beside
    ]
    if others := ", ".join(str(run.seed) for run in runs[1:]):
        more.append(Text(f"Pictures of the other seeds ({others}) are in {first.where.rsplit('/', 1)[0]}/."))
    return parts + ([Folded(f"More pictures of {data.title}", more)] if more else [])
