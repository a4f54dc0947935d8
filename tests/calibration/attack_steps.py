"""Whether the attacks have converged: targeted APGD with ten times its steps. From the repository root:

    python tests/calibration/attack_steps.py results/models/disenib.safetensors [images] [data_root]

Prints, for each epsilon, the robust accuracy of the mean code under targeted APGD with the published 100 steps and with
1,000, of the first `images` (200) of those that `--metrics=robustness` attacks. If more steps find much more, the worst
case in the report is far above the truth.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from custom_pkg.compute import generator  # noqa: E402
from experiments.robust_accuracy import attacked_images  # noqa: E402
from experiments.runs import load_run  # noqa: E402
from modellib.evaluations.attacks import Attack, Target, adversarial, apgd_targeted  # noqa: E402
from modellib.evaluations.robustness import EPSILONS  # noqa: E402

STEPS = (100, 1000)


def main() -> None:
    path, n, data_root = Path(sys.argv[1]), *(sys.argv[2:] + ["200", "STORAGE/datasets"][len(sys.argv) - 2 :])
    run = load_run(path, data_root=data_root)
    images, labels = (part[: int(n)] for part in attacked_images(run.data, 1000))
    target = Target(run.model.encoder, run.model.decoder, image_shape=tuple(run.data.data.test.images.shape[1:]))
    print(f"{path}, {len(images)} images, targeted APGD: still correct, %")
    for epsilon in reversed(EPSILONS):  # the fewer stand, the sooner it is there
        shares = []
        for steps in STEPS:
            attack = Attack(partial(apgd_targeted, steps=steps), "white", 9 * (steps + 1), min_classes=4)
            _, accuracy = adversarial(
                attack, target, images, labels, epsilon=epsilon, generator=generator(0, "steps", device=images.device)
            )
            shares.append(f"{steps:,} steps {100 * float((accuracy > 0).double().mean()):.1f}")
        print(f"epsilon {epsilon}: {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
