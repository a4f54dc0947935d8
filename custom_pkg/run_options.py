"""The options that every training script has."""

from dataclasses import dataclass

from custom_pkg.device import device_complaint
from custom_pkg.options import option
from custom_pkg.run_folder import desc_complaint


def seed_complaint(seed: int) -> str | None:
    return None if 0 <= seed < 2**32 else "must be from 0 to 2^32 - 1"


def place_complaint(path: str) -> str | None:
    """What is wrong with the path of a folder that the user names, or None."""
    return None if path.isprintable() and 0 < len(path) <= 1000 else "must be a path of at most 1000 plain characters"


FREE_AT_RESUME = ("data_root", "device")  # what may differ when a run goes on; the kind of device may not


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
