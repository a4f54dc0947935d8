"""The files that evaluate.py writes: what is measured of a checkpoint joins what was measured of it before."""

from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.files import one_at_a_time, read_json, write_json
from experiments import robust_accuracy


def read_or_empty(path: Path) -> dict:
    try:
        return read_json(path)
    except UserError:  # none, or one that cannot be read
        return {}


def write(folder: Path, name: str, identity: dict, results: dict, curves: dict | None = None) -> None:
    """Into the files of that name; what they held of the same checkpoint and was not asked for now stays.

    identity: which checkpoint, and where its training stood. A robustness that is less than what is there goes to a
    file of its own.
    """
    file = folder / f"evaluation-{name}.json"
    with one_at_a_time(folder):  # what another evaluation writes meanwhile stays, too
        before = read_or_empty(file)
        if file.stem == f"evaluation-step{before.get('step')}":  # training's own has no hash, and is of its own step
            before.setdefault("checkpoint_sha256", identity["checkpoint_sha256"])
        if has_less(before, identity | results):
            trial = folder / f"evaluation-{name}-trial.json"
            write_json(trial, identity | {"robustness": results["robustness"]})
            print(f"{file.name} holds a larger measurement of robustness: this one is in {trial.name}")
        write_json(file, joined(before, identity | results))
        if curves:
            file = folder / f"detection-curves-{name}.json"
            write_json(file, joined(read_or_empty(file), identity | curves))


def joined(before: dict, results: dict) -> dict:
    """The results, and of what a file held of the same checkpoint before all that they lack.

    Robustness is of one measurement: the larger one.
    """
    if before.get("checkpoint_sha256") != results.get("checkpoint_sha256"):
        return results
    found = _merged(before, results)
    if has_less(before, results):
        found["robustness"] = before["robustness"]
    return found


def has_less(before: dict, results: dict) -> bool:
    """Whether the results' robustness is of fewer images or attacks than the one before, of the same checkpoint."""
    old, new = before.get("robustness"), results.get("robustness")
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    if before.get("checkpoint_sha256") != results.get("checkpoint_sha256"):
        return False
    try:
        fewer = not robust_accuracy.attacks_in(new) >= robust_accuracy.attacks_in(old)
        return fewer or old.get("n_images", 0) > new.get("n_images", 0)
    except TypeError:  # what was there is no measurement
        return False


def _merged(before: dict, results: dict) -> dict:
    found = {**before, **results}
    for key, value in results.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict) and key != "robustness":
            found[key] = _merged(before[key], value)
    return found
