"""Whether the attacks have converged: targeted APGD with ten times its steps. From the repository root:

    python tests/calibration/attack_steps.py [--weights=FILE] [--images=200] [--data_root=STORAGE/datasets]

Prints, for each epsilon, the robust accuracy of the mean code under targeted APGD with the 100 steps of the report and
with 1,000, of images spread evenly over those that `--metrics=robustness` attacks: the first ones of MNIST's test set
break more easily than the rest. If more steps find much more, the worst case in the report is far above the truth.
results/attack-steps.csv holds what was found.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from custom_pkg.compute import generator  # noqa: E402
from experiments.robust_accuracy import attacked_images  # noqa: E402
from experiments.runs import load_run  # noqa: E402
from modellib.evaluations.attacks import ATTACKS, Target, adversarial, apgd_targeted  # noqa: E402
from modellib.evaluations.robustness import EPSILONS  # noqa: E402

STEPS = (100, 1000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", default="results/models/disenib.safetensors")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--data_root", default="STORAGE/datasets")
    asked = parser.parse_args()
    run = load_run(Path(asked.weights), data_root=asked.data_root)
    rows = torch.linspace(0, 999, min(max(asked.images, 1), 1000)).round().long()
    images, labels = (part[rows] for part in attacked_images(run.data, 1000))
    target = Target(run.model.encoder, run.model.decoder, image_shape=tuple(run.data.data.test.images.shape[1:]))
    print(f"{asked.weights}, {len(images)} images, targeted APGD: still correct, %")
    for epsilon in reversed(EPSILONS):  # the largest first: the fewest images are left to attack
        shares = []
        for steps in STEPS:
            attack = replace(ATTACKS["apgd_targeted_dlr"], run=partial(apgd_targeted, steps=steps))
            _, accuracy = adversarial(
                attack, target, images, labels, epsilon=epsilon, generator=generator(0, "steps", device=images.device)
            )
            shares.append(f"{steps:,} steps {100 * float((accuracy > 0).double().mean()):.1f}")
        print(f"epsilon {epsilon}: {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
