"""The report as one page: in markdown for the repository, in HTML for one file that can be passed around."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from experiments.catalogue import DATA_SETS, with_disentangling
from reporting import tables
from reporting.figures import Figure

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
CSS = """
:root { color-scheme: light dark; --text: #1b1f24; --page: #ffffff; --line: #d5dae0; --head: #f2f5f8; --dim: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7eb; --page: #14181d; --line: #38414a; --head: #20262d; --dim: #9aa4ae; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.label { padding: .5rem .8rem; border: 2px solid #d55e00; border-radius: .4rem; font-weight: 600; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { background: var(--head); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--head); }
figure { margin: 1.5rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
figcaption, .dim { color: var(--dim); font-size: .9rem; }
pre { overflow-x: auto; padding: .8rem; background: var(--head); border-radius: .4rem; font-size: .8rem; }
@media (max-width: 40rem) { th:first-child, td:first-child { position: static; } }
"""


class Section:
    """Paragraphs, tables, pictures and code under one heading, as tuples of their kind and content."""

    def __init__(self, title: str, *parts: tuple):
        self.title, self.parts = title, list(parts)


def sections(found: dict, figures: Sequence[Figure], runs: Sequence[dict]) -> list[Section]:
    """The report, in the order in which it is read. found: the content of tables.json."""
    result = []
    for data in found["quantitative"]:
        title = f"Results on {DATA_SETS[data].title}"
        part = Section(title, ("text", READING), ("table", *tables.comparison(found, data)))
        for model in found["quantitative"][data]:
            if table := tables.one_model(found, data, model):
                part.parts.append(("table", *table))
        result.append(part)
    if found["detection"]:
        result.append(Section(
            "Detection with sampled and with mean codes",
            ("text", "ODIN on other outside sets, and with the mean in the place of the sampled code."),
            ("table", *tables.detection(found)),
        ))
    result.append(Section("Figures", *(("picture", figure) for figure in figures)))
    if not figures:
        result[-1].parts.append(("text", "No run is finished, so there is nothing to draw."))
    elif not any(run["curves"] for run in runs):
        result[-1].parts.append(("text", "ROC and scores of ODIN are not drawn: no run has kept its curves."))
    part = Section("Supervised disentangling", ("text", NO_NUMBERS))
    if found["label"]:
        part.parts.append(("text", "After so few steps the swaps show nothing yet: these pictures show that all runs."))
    for data in with_disentangling():
        table = tables.disentangling(found, data)
        part.parts.append(("table", *table) if table else ("text", f"{DATA_SETS[data].title}: {tables.ABSENT}."))
        of_data = [run for run in runs if (run["kind"], run["data"]) == ("disentangling", data)]
        for run in of_data[:1]:  # of every seed, the page would be many megabytes
            note = f", {found['label']}" if found["label"] else ""  # their files do not say so themselves
            title, images = f"{DATA_SETS[data].title}, seed {run['seed']}{note}", run["config"]["data"]["source"]
            images += DATA_SETS[data].art if "rendered" not in images else ""
            beside = {"fixed.png", "training.gif"} if "held-out.png" in run["pictures"] else {"training.gif"}
            part.parts += [
                ("link", f"{title}: {what}", run["pictures"][name], images) if name in beside
                else ("picture", Figure(title, run["pictures"][name], f"{what}. Images: {images}."))
                for name, what in PICTURES.items() if name in run["pictures"]
            ]
        if others := ", ".join(str(run["seed"]) for run in of_data[1:]):
            folder = of_data[0]["where"].rsplit("/", 1)[0]
            part.parts.append(("text", f"Pictures of the other seeds ({others}) are in {folder}/."))
    result.append(part)
    versions = {", ".join(f"{name} {version}" for name, version in run["versions"].items()) for run in found["runs"]}
    versions = "; ".join(sorted(versions)) or "none"
    processors = ", ".join(sorted({run["machine"]["processor"] for run in found["runs"]})) or "none"
    result.append(Section(
        "How it was run",
        ("text", f"Processors: {processors}. Versions: {versions}. Runs may have shared their machine."),
        ("table", *tables.runs_table(found)),
        ("code", "\n".join(run["command"] for run in found["runs"])),
    ))
    return result


def _title(found: dict) -> str:
    return f"{TITLE}: {found['label']}" if found["label"] else TITLE


def as_markdown(found: dict, figures: Sequence[Figure], runs: Sequence[dict], folder: Path) -> str:
    """The README of the folder of results; its pictures are links to files beside it."""
    parts = [f"# {_title(found)}", "Made by `python reproduce.py --report`; no number here was written by hand."]
    for section in sections(found, figures, runs):
        parts.append(f"## {_heading(section, found)}")
        for kind, *content in section.parts:
            if kind == "text":
                parts.append(content[0])
            elif kind == "table":
                parts.append(tables.markdown(*content))
            elif kind == "code":
                parts.append(f"```\n{content[0]}\n```")
            elif kind == "link":
                text, file, images = content
                parts.append(f"{text}: [{file.name}]({file.relative_to(folder).as_posix()}). Images: {images}.")
            else:
                figure = content[0]
                path = figure.path.relative_to(folder).as_posix()
                parts.append(f"![{figure.title}]({path})\n\n{figure.title}. {figure.text}")
    return "\n\n".join(parts) + "\n"


def _heading(section: Section, found: dict) -> str:
    return f"{section.title} ({found['label']})" if found["label"] else section.title


def as_html(found: dict, figures: Sequence[Figure], runs: Sequence[dict]) -> str:
    """The same in one file: pictures inside, nothing fetched from anywhere, no scripts."""
    title = html.escape(_title(found))
    body = [f"<h1>{title}</h1>"]
    if found["label"]:
        body.append(f'<p class="label">{html.escape(found["label"].capitalize())}</p>')
    for section in sections(found, figures, runs):
        body.append(f"<h2>{html.escape(_heading(section, found))}</h2>")
        for kind, *content in section.parts:
            if kind == "text":
                body.append(f"<p>{html.escape(content[0])}</p>")
            elif kind == "table":
                body.append(_html_table(*content))
            elif kind == "code":
                body.append(f"<pre>{html.escape(content[0])}</pre>")
            elif kind == "picture":
                body.append(_html_figure(content[0]))
            elif kind == "link":  # large, and this page points nowhere
                text, file, images = content
                where = "/".join(file.parts[-5:])  # as the results are laid out
                body.append(f'<p class="dim">{html.escape(f"{text}: {where}. Images: {images}.")}</p>')
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
        for tag, cells in (("th", header), *(("td", row) for row in rows))
    ]
    return '<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _html_figure(figure: Figure) -> str:
    small = io.BytesIO()
    Image.open(figure.path).save(small, "WEBP", lossless=True)  # the same pixels in half the bytes
    data = base64.b64encode(small.getvalue()).decode()
    alt = html.escape(f"{figure.title}. {figure.text}", quote=True)
    return (
        f'<figure><img alt="{alt}" src="data:image/webp;base64,{data}">\n'
        f"<figcaption>{html.escape(figure.title)}. {html.escape(figure.text)}</figcaption></figure>"
    )
