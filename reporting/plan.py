"""What a command of reproduce.py would start, what of it is there already, and how long the rest may take."""

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.files import read_json
from custom_pkg.options import LENGTHS
from custom_pkg.terminal import format_table
from reporting.grid import Measured, Run
from reporting.runner import others_in_place, position, state
from reporting.tables import duration
from reporting.task import SCRIPTS

KNOWN = SCRIPTS / "results" / "tables.json"


def plan(runs: Sequence[Run], measured: Sequence[Run], *, jobs: int, device: str, known: Path = KNOWN) -> str:
    """A line a run, the commands of those that would be started, and the time in all. device: "cpu" or "cuda".

    Times are those of the committed runs of the same kind, on the same kind of device where there are such.
    """
    try:
        records = [record for record in read_json(known)["runs"] if record["seconds"]]
    except (UserError, KeyError):
        records = []
    rows, commands, seconds, sources, unknown = [], [], [], [], 0
    for run in dict.fromkeys([*runs, *measured]):
        now, after = state(run), isinstance(run, Measured)
        told, todo, expected = now, now in ("absent", "begun"), "–"
        if now == "begun" and not after:
            told = f"begun, {position(run.folder)}"
        if now in ("begun", "finished") and not after and (others := others_in_place(run, now)):
            todo, told = False, f"another run is there, with {' '.join(others)}"
        if todo:
            commands.append(shlex.join(run.command(resume=now == "begun")))
            same = [] if after else alike(run, records)
            here = [record for record in same if (record["machine"]["device"] == "cpu") == (device == "cpu")]
            if here:
                seconds.append(median := statistics.median(map(_seconds, here)))
                sources, expected = sources + here, duration(median)
            else:
                unknown += 1
                elsewhere = [f"{duration(_seconds(record))} on {record['machine']['device']}" for record in same[:1]]
                expected = f"not known{''.join(f' ({words})' for words in elsewhere)}"
        name = f"{run.desc}, {run.what}" if isinstance(run, Measured) else run.desc
        rows.append([name, str(run.seed), told, expected])
    lines = [format_table(["run", "seed", "now", "expected time"], rows), ""]
    if commands:
        lines += ["would be started:", *(f"  {command}" for command in commands), ""]
    total = f", about {duration(max(sum(seconds) / jobs, max(seconds)))}" if seconds else ""
    total += f" with {jobs} side by side" if total and jobs > 1 else ""
    total += f"; the time of {unknown} is not known" if unknown else ""
    lines.append(f"{len(commands)} of {len(rows)} to run{total}")
    if sources:
        machines = {f"{record['machine']['device']} ({record['machine']['processor']})" for record in sources}
        lines.append(
            f"Times are medians of {len({record['where'] for record in sources})} committed runs of the same kind, on "
            f"{', '.join(sorted(machines))}; another machine takes another time. What has begun is counted whole."
        )
    return "\n".join(lines)


def alike(run: Run, records: Sequence[dict]) -> list[dict]:
    """The records of the same run with any seed; of a sweep also its other points, and the same model outside of it,
    unless it is of the length of a run.
    """
    starts = [f"{run.desc}/seed"]
    if run.desc.startswith("sweep/"):
        _, data, name, point = run.desc.split("/")
        model, _, hfunc = name.partition("-")
        if point.split("=")[0] not in LENGTHS:
            starts += [f"sweep/{data}/{name}/", f"quant/{data}/{'squared-' if hfunc == 'pow' else ''}{model}/seed"]
    return [record for record in records if record["where"].startswith(tuple(starts))]


def _seconds(record: dict) -> float:
    return sum(record["seconds"].values())
