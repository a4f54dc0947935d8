"""Peak memory of each training script at its published sizes. From the repository root:

    OMP_NUM_THREADS=1 python tests/benchmarks/peak_memory.py [data root] [script ...]

Trains for a few updates and makes the whole final evaluation on the whole data set, in a folder of its own that is
deleted afterwards. Prints the largest resident memory of each process; takes about ten minutes on one core.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = {
    "train_lagrangian.py": "--model=nib --lambda_kl=0.01 --epochs=1",
    "train_disenib.py": "--steps=3",
    "train_disenib_mnist.py": "--steps=3",
    "train_disenib_shapes.py": "--steps=3 --data_source=rendered",
    "train_disenib_sprites.py": "--steps=3 --data_source=rendered",
}


def peak_megabytes(script: str, data_root: Path) -> int:
    flags = [*FLAGS[script].split(), "--desc=peak", "--device=cpu", f"--data_root={data_root}"]
    with tempfile.TemporaryDirectory() as cwd:
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / script), *flags], cwd=cwd, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{script} failed")
    return usage.ru_maxrss // 1024  # Linux counts in kB


def main() -> None:
    data_root = Path(sys.argv[1] if len(sys.argv) > 1 else "STORAGE/datasets").resolve()
    for script in sys.argv[2:] or FLAGS:
        print(f"{script:26s} {peak_megabytes(script, data_root):6d} MB", flush=True)


if __name__ == "__main__":
    main()
