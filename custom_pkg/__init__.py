"""What any experiment needs: options, run folders, logs, checkpoints, seeds, progress."""

import os
import sys

try:
    os.getcwd()
except FileNotFoundError:  # torch's own libraries would die of it with another complaint
    print("the working directory is gone: change to one that exists", file=sys.stderr)
    sys.exit(2)

# How long OpenMP's threads spin while they wait. It reads this when torch is loaded: scripts import this package first.
# By default they spin so long that beside one other process an update takes many times as long; without any spinning
# it takes a third longer on an idle machine (tests/benchmarks/shared_machine.py). What the user has set stays.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"
