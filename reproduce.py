"""Reproduce the paper: its runs, its tables and its figures, from one command.

    python reproduce.py                            the published comparison and the three disentangling runs, seed 0
    python reproduce.py --seeds=0,1,2              with error bars
    python reproduce.py --only=vib,nib --jobs=2    some of it, side by side, the processor's threads divided among them
    python reproduce.py --only=plain,pgd-trained   references that are not in the paper, beside it in the tables
    python reproduce.py --quick                    a small version in minutes, without downloads, labelled as such
    python reproduce.py --seeds=0,1,2 --list       what that would run, what is finished, how long the rest may take
    python reproduce.py --report                   only the tables, figures and report.html, from what is on disk
    python reproduce.py --report --with=mine/vib   the same with your finished run mine/vib, in STORAGE/report-own/
    python reproduce.py --with=robustness          the worst case over many attacks as well, minutes a run
    python reproduce.py --with=objections          both codes, other outside sets and scores, strong probes as well
    python reproduce.py --only=held-out,ablations  two digits that training never sees; DisenIB with one thing changed
    python reproduce.py --report --with=swaps-page results/swaps.html too, a page to play with, from checkpoints
    python reproduce.py --cluster=slurm --slurm_gpus=1 --seeds=0,1,2    as jobs of a cluster: docs/cluster.md
    python reproduce.py --sweep=lambda_kl:1e-5..1e-1:9 --model=vib --hfunc=pow    the IB curve, beside DisenIB's point
    python reproduce.py --sweep=emb_dim:4,8,16     any option of train_lagrangian.py that is a number, and lists

Each run is started as the ordinary script; its command is printed and can be pasted. Finished runs are skipped,
interrupted ones resumed, and a failed one does not hold up the others: the same command goes on from wherever it was
stopped, and ends with the table of all that is finished. The report goes to results/ (README.md, report.html, figures,
tables as JSON, CSV and LaTeX), that of --quick to STORAGE/report-quick/.
On a CPU core a Lagrangian run takes 10 to 15 minutes and a DisenIB run hours.
Exit status 1: something failed, or is not finished because another process is at it.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from custom_pkg import options as opt
from custom_pkg.compute import pick_device, visible_gpus
from custom_pkg.errors import Interrupted, RunFailed, StopRequest, UserError, run_script
from custom_pkg.options import between, desc_complaint, device_complaint, option, place_complaint, seed_complaint, size
from custom_pkg.run_folder import STORAGE
from experiments.catalogue import DATA_SETS, PAPER_DATA, QUICK_DATA, compared
from modellib.ib_lagrangian import H_FUNCTIONS, power_complaint, with_a_rate
from reporting import grid, slurm
from reporting.grid import DISENTANGLING, NAMES, QUICK_LABEL
from reporting.plan import plan
from reporting.runner import Ends, holder, log_of, run_all
from reporting.task import ending

HERE: dict = {"cluster": ("none",)}
SLURM: dict = {"cluster": ("slurm",)}
STAGES = (*grid.STAGES, "swaps-page")


def partition_complaint(text: str) -> str | None:
    return None if re.fullmatch(r"[\w.,-]*", text) else "must be the name of a partition"


def slurm_option_complaint(text: str) -> str | None:
    known = re.fullmatch(r"[a-z][a-z-]*=\S+", text)
    return None if known else "must be a long option of sbatch with its value, like account=lab"


@dataclass(frozen=True, kw_only=True)
class Options:
    only: tuple[str, ...] = option(
        (), group="which runs", choices=NAMES, help="some runs, also some beside the paper's; [] is all of the paper"
    )
    seeds: tuple[int, ...] = option(
        (0,), group="which runs", check=seed_complaint, distinct=True, help="every run with each of them"
    )
    dataset: str = option(
        PAPER_DATA, group="which runs", choices=compared(), help="of the quantitative comparison"
    )
    quick: bool = option(False, group="which runs", help="a small version on digits and on images drawn here")
    sweep: str = option(
        "", group="which runs",
        help="a Lagrangian model over one option in place of the grid, like lambda_kl:1e-5..1e-1:9 or emb_dim:4,8,16"
    )
    model: str = option("vib", group="which runs", choices=with_a_rate(), help="of the sweep")
    hfunc: str = option("none", group="which runs", choices=H_FUNCTIONS, help="of the sweep")
    stages: tuple[str, ...] = option(
        (), group="which runs", check=desc_complaint, adds=True,
        help="also --with: what is made after the runs (robustness attacks those of the comparison; objections are "
        "both codes, other scores and outside sets, calibration and strong probes; swaps-page is a page to play "
        "with), and the descriptions of finished runs of yours for the report",
    )
    list: bool = option(False, group="how", help="start nothing: show what would run and how long; also --dry_run")
    report: bool = option(False, group="how", help="start nothing: build the report from what is on disk")
    jobs: int = option(
        1, group="how", check=size, only_with=HERE, help="runs side by side, spread evenly over the GPUs"
    )
    precision: str = option("fp32", group="how", choices=("fp32", "bf16"), help="passed on to the DisenIB scripts")
    data_root: str = option(
        "STORAGE/datasets", group="how", check=place_complaint, help="passed on: where data sets lie or are put"
    )
    device: str = option("auto", group="how", check=device_complaint, help="passed on: auto is a GPU if there is one")
    cluster: str = option("none", group="Slurm", choices=("none", "slurm"), help="slurm: submit the runs as job arrays")
    slurm_partition: str = option(
        "", group="Slurm", check=partition_complaint, only_with=SLURM, help="of the jobs; without it Slurm's default"
    )
    slurm_time: int = option(
        720, group="Slurm", check=size, only_with=SLURM, help="minutes, before whose end a run saves and queues again"
    )
    slurm_gpus: int = option(0, group="Slurm", check=between(0, 8), only_with=SLURM, help="for each run")
    slurm_cpus: int = option(4, group="Slurm", check=size, only_with=SLURM, help="for each run, and its threads")
    slurm_mem: int = option(8, group="Slurm", check=size, only_with=SLURM, help="GB for each run")
    slurm_array_parallelism: int = option(
        64, group="Slurm", check=size, only_with=SLURM, help="runs of an array at a time, at most"
    )
    slurm_options: tuple[str, ...] = option(
        (), group="Slurm", check=slurm_option_complaint, only_with=SLURM,
        help="others of sbatch, like account=lab,qos=high"
    )


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    if not options.seeds:
        raise UserError("--seeds must name at least one seed")
    if options.sweep and (complaint := power_complaint(options.model, options.hfunc)):
        raise UserError(complaint)
    if options.sweep and options.only:
        raise UserError("--sweep and --only exclude each other: a sweep is of --model with --hfunc")
    if not options.sweep and (options.model, options.hfunc) != ("vib", "none"):
        raise UserError("--model and --hfunc belong to --sweep; the runs of the grid are chosen with --only")
    if options.sweep and options.precision != "fp32":
        raise UserError(f"--precision={options.precision} is of DisenIB, and a sweep of the Lagrangian models")
    pictured = [name for name in options.only if name in DISENTANGLING]
    if pictured and options.dataset != PAPER_DATA:
        raise UserError(
            f"--only={pictured[0]} goes with --dataset={PAPER_DATA}: the disentangling runs have their own data"
        )
    if options.quick and options.dataset != PAPER_DATA:
        raise UserError(f"--quick runs on {DATA_SETS[QUICK_DATA].title}: leave --dataset={options.dataset} out")
    large = [name for name in pictured if DATA_SETS[DISENTANGLING[name]].quick is None]
    if options.quick and large:
        raise UserError(f"--quick has no {large[0]}, whose data are a download: leave it out of --only")
    if options.report and (options.only or options.sweep or options.list):
        raise UserError("--report shows all that is on disk: leave --only, --sweep and --list out")
    own = [name for name in options.stages if name not in STAGES]
    check_own(options, own)
    if options.report:
        show_report(options, own)
        return
    if options.cluster == "none":
        device = pick_device(options.device).type  # refuses one that is not there, before every run does
    else:
        device = "cuda" if options.slurm_gpus else "cpu"
    runs, stages = runs_of(options), [grid.STAGES[name] for name in options.stages if name in grid.STAGES]
    if options.list:
        measured = [run for stage in stages for run in stage(runs)]
        print(plan(runs, measured, jobs=options.jobs, device=device))
        return
    with StopRequest() as stop:
        if options.cluster == "slurm":
            run_them = partial(slurm.run_all, parameters=slurm_parameters(options), stop=stop)
        else:
            run_them = partial(run_all, jobs=options.jobs, stop=stop, gpus=visible_gpus(options.device))
        ends = run_them(runs)
        trained = ends.finished
        for stage in stages:
            if not ends.interrupted:
                ends += run_them(stage(trained))
    if ends.finished and not ends.interrupted:
        show_report(options, own)
    missing = tell(ends)
    if ends.interrupted:
        go_on = shlex.join(["python", *sys.argv])
        raise Interrupted(f"stopped, and what was running has saved; go on with\n  {go_on}", stop.signum)
    if missing:
        raise RunFailed(f"{missing} of the runs could not be made; the same command tries them again")
    if ends.elsewhere:
        raise RunFailed(f"{len(ends.elsewhere)} of the runs not finished; give the same command again when they are")


def runs_of(options: Options) -> list[grid.Run]:
    """What the options ask for, in the order in which it is started. Raises UserError."""
    if options.sweep:
        swept, values = grid.sweep_values(options.sweep)
        runs = grid.sweep_grid(swept, values, options.seeds, options.dataset, options.model, options.hfunc)
        for run in runs:
            run.options()  # refuses a value or an option that the script would refuse
    else:
        runs = grid.published_grid(options.only, options.seeds, options.dataset, options.precision)
    if options.quick:
        runs = [grid.quick(run) for run in runs if run.quick is not None]
    passed_on = [
        f"--{name}={value}" for name, value in (("data_root", options.data_root), ("device", options.device))
        if value != Options.__dataclass_fields__[name].default
    ]
    return [replace(run, extra=(*run.extra, *passed_on)) for run in runs]


def slurm_parameters(options: Options) -> dict:
    """For submitit's SlurmExecutor."""
    return {
        "time": options.slurm_time, "cpus_per_task": options.slurm_cpus, "mem": f"{options.slurm_mem}GB",
        "array_parallelism": options.slurm_array_parallelism,
        **({"partition": options.slurm_partition} if options.slurm_partition else {}),
        **({"gpus_per_node": options.slurm_gpus} if options.slurm_gpus else {}),
        "additional_parameters": {"requeue": True, **dict(each.split("=", 1) for each in options.slurm_options)},
    }


def check_own(options: Options, own: Sequence[str]) -> None:
    """Raise UserError for what --with cannot mean."""
    starting = [name for name in options.stages if name in grid.STAGES]
    if options.report and starting:
        raise UserError(f"--with={starting[0]} starts something, and --report nothing: leave one of them out")
    if own and options.quick:
        raise UserError(f"--with={own[0]}: --quick has a report of its own, without runs of yours")
    if own:
        from reporting import own_runs

        for desc in own:
            own_runs.check(desc, STAGES)


def show_report(options: Options, own: Sequence[str]) -> None:
    from reporting.report import report  # with matplotlib, which a command that is refused shall not wait for

    experiments, results = STORAGE / "experiments", Path("results")
    target, root, label = (STORAGE / "report-quick", "quick/", QUICK_LABEL) if options.quick else (results, "", None)
    if "swaps-page" in options.stages:
        from reporting import swaps_page

        paths = swaps_page.trained(root, options.seeds, None if options.quick else results / "models")
        print(swaps_page.write(paths, target, data_root=options.data_root, label=label))
    if options.quick:
        print(report(experiments / "quick", target, label=label))
        return
    shown = report(experiments, results, readme=Path("README.md"))
    if own:
        beside = STORAGE / "report-own"
        shutil.rmtree(beside, ignore_errors=True)  # what an earlier report had of other runs
        shutil.copytree(results, beside, dirs_exist_ok=True)
        shown = report(experiments, beside, own=own)
    print(shown)


def tell(ends: Ends) -> int:
    """The last lines: what is missing, and why. Returns how many runs could not be made."""
    for run in ends.elsewhere:
        print(f"not finished: {run}, at which process {holder(run.folder)} is; its log is {log_of(run)}")
    for run, flags in ends.foreign:
        print(f"not made: {run}, for {run.folder.path} was made with {flags}: give that here too, or move it away")
    for run, status, words in ends.failed:
        print(f"failed: {run} ({ending(status)}), its log is {log_of(run)}\n  {words}")
    return len(ends.failed) + len(ends.foreign)


if __name__ == "__main__":
    run_script(main)
