"""The report as one page, by the templates beside this file.

README.md is for the repository, with links to pictures beside it. report.html is one file that can be passed around:
pictures inside, nothing fetched from anywhere, no scripts.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from experiments.catalogue import DATA_SETS, with_disentangling
from reporting import tables
from reporting.collect import FinishedRun, of
from reporting.figures import Figure
from reporting.tables import Table

TITLE = "Disentangled Information Bottleneck, reproduced"
READING = (
    "Mean ± sample standard deviation over the seeds and, in brackets, the paper's figure. As published, the metrics "
    "are those of the last epoch, on sampled codes for VIB and NIB and on the mean code for DisenIB. Information is in "
    "nats. † marks what is off by more than 3 of our standard deviations or 10 % of the published figure, whichever is "
    "larger. What has not been run says so."
)
NO_NUMBERS = "The paper has pictures of these runs and no numbers; the numbers here are our own."
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


Part = Text | Table | Figure | Beside


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


def render(name: str, found: dict, figures: Sequence[Figure], runs: Sequence[FinishedRun], folder: Path) -> str:
    """The page `name` of the folder of results. found: the content of tables.json."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )
    environment.filters |= {
        "e": html.escape, "webp": webp, "markdown": lambda table: tables.markdown(*table),
        "place": lambda path: path.relative_to(folder).as_posix(),
    }
    label = found["label"]
    return environment.get_template(f"{name}.j2").render(
        title=f"{TITLE}: {label}" if label else TITLE, label=label, note=f" ({label})" if label else "",
        sections=sections(found, figures, runs),
    )


def webp(picture: Path) -> str:
    """The same pixels as those of a PNG file in half the bytes, for a data URL."""
    small = io.BytesIO()
    Image.open(picture).save(small, "WEBP", lossless=True)
    return base64.b64encode(small.getvalue()).decode()


def sections(found: dict, figures: Sequence[Figure], runs: Sequence[FinishedRun]) -> list[Section]:
    """The report, in the order in which it is read."""
    result = []
    for data, models in found["quantitative"].items():
        each = filter(None, (tables.one_model(found, data, model) for model in models))
        parts = [Text(READING), tables.comparison(found, data), *each]
        result.append(Section(f"Results on {DATA_SETS[data].title}", parts))
    if found["detection"]:
        result.append(Section("Detection with sampled and with mean codes", [
            Text("ODIN on other outside sets, and with the mean in the place of the sampled code."),
            tables.detection(found),
        ]))
    if found["robustness"]:
        result.append(Section("Robustness in the worst case over many attacks", [
            Text("Share of the attacked test images that survive every attack (worst case), or the one that is named."),
            tables.robustness(found),
        ]))
    drawn: list[Part] = [*figures]
    if not figures:
        drawn.append(Text("No run is finished, so there is nothing to draw."))
    elif not any(run.curves for run in runs):
        drawn.append(Text("ROC and scores of ODIN are not drawn: no run has kept its curves."))
    result.append(Section("Figures", drawn))
    swaps: list[Part] = [Text(NO_NUMBERS)]
    if found["label"]:
        swaps.append(Text("After so few steps the swaps show nothing yet: these pictures show that all runs."))
    for data in with_disentangling():
        swaps.append(tables.disentangling(found, data) or Text(f"{DATA_SETS[data].title}: {tables.ABSENT}."))
        swaps += swaps_of(of(runs, "disentangling", data), found["label"])
    result.append(Section("Supervised disentangling", swaps))
    records = found["runs"]
    versions = {", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in records}
    versions = "; ".join(sorted(versions)) or "none"
    processors = ", ".join(sorted({run["machine"]["processor"] for run in records})) or "none"
    result.append(Section("How it was run", [
        Text(f"Processors: {processors}. Versions: {versions}. Runs may have shared their machine."),
        tables.runs_table(found),
        Text("\n".join(run["command"] for run in records), "code"),
    ]))
    return result


def swaps_of(runs: Sequence[FinishedRun], label: str | None) -> list[Part]:
    """The pictures of the disentangling runs on one data set: of every seed, the page would be many megabytes."""
    if not runs:
        return []
    first, data = runs[0], DATA_SETS[runs[0].data]
    title = f"{data.title}, seed {first.seed}{f', {label}' if label else ''}"  # the files do not say so themselves
    images = first.config["data"]["source"]
    images += data.art if "rendered" not in images else ""
    beside = {"fixed.png", "training.gif"} if "held-out.png" in first.pictures else {"training.gif"}
    parts: list[Part] = [
        Beside(f"{title}: {what}", first.pictures[name], images) if name in beside
        else Figure(title, first.pictures[name], f"{what}. Images: {images}.")
        for name, what in PICTURES.items() if name in first.pictures
    ]
    if others := ", ".join(str(run.seed) for run in runs[1:]):
        parts.append(Text(f"Pictures of the other seeds ({others}) are in {first.where.rsplit('/', 1)[0]}/."))
    return parts
