"""What the whole report takes on other machines, and I(X;T) of more images than there are. From the repository root:

    python tests/benchmarks/cost.py              from the times of the committed runs, results/*/times.json
    python tests/benchmarks/cost.py --measure    also I(X;T) for N up to 120,000: a minute of one core

The report: 5 methods and 3 disentangling models with 3 seeds each, and both sweeps over λ. A run takes the mean of the
committed runs of its kind on a CPU or on a GPU; a kind without one is marked, with what stands in its place. Runs are
handed out longest first, each to the machine that is free first, and machines do nothing else.
"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from modellib.evaluations import mutual_information as mi  # noqa: E402
from reporting.collect import Place, read_runs  # noqa: E402
from reporting.grid import published_grid, sweep_grid, sweep_values  # noqa: E402
from reporting.tables import duration  # noqa: E402

STEP, STEPS = 0.43, 20_000  # seconds a step of train_disenib.py with bf16 on two cores, as its head says
MACHINES = {  # name -> the kind of times, how many runs at a time
    "2 cores, two runs at a time": ("cpu", 2), "one GPU": ("gpu", 1), "8 GPUs": ("gpu", 8),
    "32 nodes of 2 cores, two runs each": ("cpu", 64),
}


def measured() -> dict[tuple, list[float]]:
    """(kind of run, data, model, device) -> seconds of each committed run, training and evaluation."""
    found = {}
    for run in read_runs(Path("results")):
        device = "gpu" if "NVIDIA" in run.config["machine"]["device"] else "cpu"
        found.setdefault((run.kind, run.data, run.name, device), []).append(sum(run.times.values()))
    return found


def seconds(place: Place, device: str, times: dict[tuple, list[float]]) -> tuple[float, str]:
    """Of a run of that kind, and what it rests on where that is not runs of the same kind."""
    squared = {"vib-none": "vib", "vib-pow": "squared-vib"}
    others = [(place.kind, place.data, place.name), ("quant", "fashion_mnist", place.name),
              ("quant", "mnist", squared.get(place.name))]
    for kind, data, name in others:
        if known := times.get((kind, data, name, device)):
            same = (kind, data, name) == others[0]
            return sum(known) / len(known), "" if same else f"{place.kind} {place.name} as {kind}/{data}/{name}"
    assert (place.kind, place.name, device) == ("quant", "disenib", "cpu"), place
    return STEP * STEPS, f"{place.kind} {place.name}: {STEPS:,} steps of {STEP} s"


def makespan(durations: list[float], machines: int) -> float:
    """Longest first, each to whichever is free first."""
    busy = [0.0] * machines
    for one in sorted(durations, reverse=True):
        busy[busy.index(min(busy))] += one
    return max(busy)


def report_cost() -> None:
    times = measured()
    runs = published_grid((), (0, 1, 2), "mnist")
    for hfunc in ("none", "pow"):
        runs += sweep_grid(sweep_values("lambda_kl:1e-5..1e-1:9"), (0,), "mnist", "vib", hfunc)
    places = [Place.of(f"{run.desc}/seed{run.seed}") for run in runs]
    print(f"| {len(runs)} runs on | one after the other | as here | the longest run |\n|---|---|---|---|")
    for name, (device, machines) in MACHINES.items():
        each, notes = zip(*(seconds(place, device, times) for place in places), strict=True)
        columns = (sum(each), makespan(list(each), machines), max(each))
        print(f"| {name} | {' | '.join(map(duration, columns))} |")
    for device in ("cpu", "gpu"):
        notes = dict.fromkeys(note for place in places if (note := seconds(place, device, times)[1]))
        print(f"\nnot measured on a {device.upper()}: {'; '.join(notes)}")


def information_cost() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("\n| images | I(X;T), one core | |\n|---|---|---|")
    for n in (15_000, 30_000, 60_000, 120_000):
        mean, std = torch.randn(n, 16), 0.2 + 0.5 * torch.rand(n, 16)
        began = time.process_time()  # which other processes hardly change
        mi.posterior_entropy(mean, std, mean + std * torch.randn(n, 16))
        took = time.process_time() - began
        print(f"| {n:,} | {took:.2f} s | measured |", flush=True)
    for larger in (240_000, 640_000, 1_280_000):
        print(f"| {larger:,} | {duration(took * (larger / n) ** 2)} | extrapolated from {n:,}: N² pairs |")


if __name__ == "__main__":
    report_cost()
    if "--measure" in sys.argv:
        information_cost()
