"""The paper's results on MNIST (Pan et al., AAAI 2021), in the shape of evaluation.json: fractions of 1 and nats."""


def _column(mi_train, mi_test, accuracy, fgsm_train, fgsm_test, detection, suffix="") -> dict:
    """suffix: "_mean_code" where the published figures are those of the mean code."""

    def one_set(mi, accuracy_percent, fgsm_percents):
        fgsm = zip(("0.1", "0.2", "0.3"), fgsm_percents, strict=True)
        return {
            f"accuracy{suffix}": accuracy_percent / 100,
            f"mi_xt{suffix}": mi[0],
            f"mi_yt{suffix}": mi[1],
            "fgsm": {epsilon: percent / 100 for epsilon, percent in fgsm},
        }

    names = ("fpr_at_95_tpr", "auroc", "aupr_in", "aupr_out", "detection_error")
    return {
        "train": one_set(mi_train, accuracy[0], fgsm_train),
        "test": one_set(mi_test, accuracy[1], fgsm_test),
        "ood": {"gauss": {name: percent / 100 for name, percent in zip(names, detection, strict=True)}},
    }


MNIST = {
    "vib": _column(
        (3.90, 2.23), (4.07, 2.19), (99.79, 97.59), (76.32, 23.76, 5.12), (73.96, 24.52, 5.06),
        (22.81, 95.70, 96.08, 94.86, 10.22),
    ),
    "nib": _column(
        (2.90, 2.20), (2.95, 2.18), (97.53, 95.39), (73.59, 30.65, 8.59), (72.51, 31.92, 9.46),
        (29.35, 94.97, 95.71, 93.84, 11.43),
    ),
    "squared-vib": _column(
        (3.62, 2.22), (3.77, 2.18), (99.52, 97.19), (68.56, 15.86, 2.34), (67.32, 17.23, 2.52),
        (87.93, 55.72, 49.36, 58.92, 41.69),
    ),
    "squared-nib": _column(
        (2.57, 2.13), (2.60, 2.11), (95.23, 93.20), (69.21, 31.26, 10.81), (68.24, 31.29, 11.26),
        (43.07, 92.60, 93.76, 90.90, 14.40),
    ),
    "disenib": _column(
        (2.32, 2.30), (2.40, 2.29), (100.0, 98.57), (97.51, 85.25, 72.06), (93.11, 83.09, 71.81),
        (0.00, 99.89, 99.88, 99.88, 1.39), suffix="_mean_code",
    ),
}
