"""A process that goes on with a run fifty times, or trains at published sizes: it holds no more than before."""

import gc
import os
import re
import signal
import threading
from pathlib import Path

import torch
from conftest import run_of, train

import dataloader.digits
from experiments import quantitative
from experiments.experiment import Loaded
from modellib import ib_lagrangian
from train_lagrangian import Options


def held() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_fifty_resumes_in_one_process_leak_no_file_and_no_thread(tmp_path, monkeypatch):
    digits = dataloader.digits.load(tmp_path)
    monkeypatch.setattr(dataloader.digits, "load", lambda *_: digits)
    original = ib_lagrangian.update

    def stopped(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **keywords)

    monkeypatch.setattr(ib_lagrangian, "update", stopped)
    flags = ("--epochs=1000", "--early_stop_trials=1000")
    assert train(tmp_path, *flags).status == 128 + signal.SIGTERM
    before = held()
    for _ in range(50):
        outcome = train(tmp_path, *flags, "--resume")
        assert outcome.status == 128 + signal.SIGTERM, outcome.err
    assert held() == before
    assert " 51, all saved" in outcome.err and run_of(tmp_path).last.exists()


def megabytes(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def test_memory_of_training_and_evaluating_at_published_sizes_is_bounded():
    """2,000 images of MNIST's size; tests/benchmarks/peak_memory.py measures whole scripts on whole data sets."""
    options = Options(desc="x", model="vib", lambda_kl=0.01, eval_attack_epsilons=(0.1,))
    images, labels = torch.rand(2000, 784) * 2 - 1, torch.arange(2000) % 10
    sets = {"train": (images, labels), "test": (images, labels)}
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = megabytes("VmRSS")
    model, networks = quantitative.lagrangian_model({"image_shape": [1, 28, 28], "n_classes": 10}, options)
    optimizer = torch.optim.Adam([parameter for network in networks for parameter in network.parameters()])
    for start in range(0, 1000, 100):
        ib_lagrangian.update(
            networks, optimizer, images[start : start + 100], labels[start : start + 100],
            rate=ib_lagrangian.MODELS["vib"].rate, h=lambda u: u, lambda_kl=0.01, generator=torch.Generator(),
        )
    quantitative.evaluate_published(model, Loaded(None, sets, {"gauss": None}), options=options)
    assert megabytes("VmHWM") - before < 300
