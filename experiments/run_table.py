"""The table of results: this run beside the paper."""

from custom_pkg.options import RunOptions, differences, parse, to_dict
from custom_pkg.terminal import flatten, format_table
from experiments.catalogue import METHODS
from experiments.option_groups import NOT_THE_EXPERIMENT
from modellib.evaluations.protocol import SPLITS


def nearest_published(script: str, options: RunOptions) -> tuple[dict | None, dict[str, tuple]]:
    """The paper's results for the model of these options, if it has any, and what stands otherwise in its settings.

    The latter: option -> as published, as here; without what does not make a run another experiment.
    """
    data, found = getattr(options, "dataset", None), []  # supervised disentangling has none to choose
    for method in METHODS.values():
        if method.script == script and data in method.published:
            as_published = parse(type(options), [*method.flags.format(dataset=data).split(), "--desc=any"])
            departures = differences(options, to_dict(as_published))
            for name in (*NOT_THE_EXPERIMENT, "rand_seed", "eval_attack_epsilons"):
                departures.pop(name, None)
            if "model" not in departures:
                found.append((method.published[data], departures))
    return min(found, key=lambda pair: len(pair[1]), default=(None, {}))


def beside_the_paper(results: dict, script: str, options: RunOptions, code: str | None = None) -> str:
    """The table of results with the paper's figures, or with the reason why they are left out.

    code: what attacks and detection saw, where it is not what the published figures look at.
    """
    published, departures = nearest_published(script, options)
    if code and published:
        departures["code"] = ("published", code)
    table = results_table(results, None if departures else published)
    others = ", ".join(f"--{name}={now} in place of {before}" for name, (before, now) in departures.items())
    return f"{table}\n\nwithout the paper's figures, which are of other settings: {others}" if others else table


ROWS = {  # keys of evaluation.json -> their names in the table, in its order
    "accuracy": "accuracy, %",
    "accuracy_mean_code": "accuracy of the mean code, %",
    "mi_xt": "I(X;T), nats",
    "mi_xt_deterministic": "I(X;T) = H(T) of a code without noise, nats",
    "mi_yt": "I(Y;T), nats",
    "mi_yt_lower_bound": "I(Y;T), variational bound, nats",
    "mi_xt_mean_code": "I(X;T) of the mean code, nats",
    "mi_yt_mean_code": "I(Y;T) of the mean code, nats",
    "mi_yt_lower_bound_mean_code": "I(Y;T) of the mean code, variational bound, nats",
    "calibration_error": "expected calibration error, %",
    "calibration_error_mean_code": "expected calibration error of the mean code, %",
    "encoder_std": "mean std of the code, code units",
    "mi_xs": "I(X;S), nats",
    "style_to_label_accuracy": "label from the style code, %",
    "style_to_label_chance": "label by chance, %",
    "style_to_label_knn_accuracy": "label from the style code, neighbours, %",
    "style_to_label_mlp_accuracy": "label from the style code, MLP, %",
    "class_to_label_accuracy": "label from the class code, %",
    "class_to_label_knn_accuracy": "label from the class code, neighbours, %",
    "class_to_label_mlp_accuracy": "label from the class code, MLP, %",
    "style_to_factor_accuracy": "{} from the style code, %",
    "style_to_factor_knn_accuracy": "{} from the style code, neighbours, %",
    "style_to_factor_chance": "{} by chance, %",
    "dci_disentanglement": "DCI disentanglement of the dimensions of (T, S), %",
    "dci_completeness": "DCI completeness of the dimensions of (T, S), %",
    "dci_informativeness": "DCI informativeness of (T, S), %",
    "dci_codes_disentanglement": "DCI disentanglement of T and S as wholes, %",
    "dci_codes_completeness": "DCI completeness of T and S as wholes, %",
    "swap_recognised": "swaps recognised as intended, %",
    "reconstruction_recognised": "reconstructions recognised, %",
    "classifier_accuracy": "accuracy of the classifier that judges, %",
    "swap_shows_label": "swaps nearest to a true image of the intended class, %",
    "swap_shows_factor": "swaps nearest to a true image of the intended {}, %",
    "swap_factor_off": "{} of that image off by, steps",
    "swap_slant_correlation": "slant of style image and swap, correlation",
    "reconstruction_slant_correlation": "slant of image and reconstruction, correlation",
    "swap_thickness_correlation": "thickness of style image and swap, correlation",
    "reconstruction_thickness_correlation": "thickness of image and reconstruction, correlation",
    "swap_mse": "swaps against the true image, MSE",
    "reconstruction_mse": "reconstructions, MSE",
    "class_mean_mse": "mean image of the class, MSE",
    "swap_psnr": "swaps against the true image, PSNR, dB",
    "reconstruction_psnr": "reconstructions, PSNR, dB",
    "class_mean_psnr": "mean image of the class, PSNR, dB",
    "fgsm": "FGSM {}, still correct, %",
    "fgsm_robust_accuracy": "FGSM {}, robust accuracy, %",
    "fgsm_cross_entropy": "FGSM {} on cross entropy, still correct, %",
    "fgsm_cross_entropy_robust_accuracy": "FGSM {} on cross entropy, robust accuracy, %",
    "fpr_at_95_tpr": "FPR at 95 % TPR, %",
    "auroc": "AUROC, %",
    "aupr_in": "AUPR In, %",
    "aupr_out": "AUPR Out, %",
    "detection_error": "detection error, %",
    "fpr_at_95_tpr_by": "FPR at 95 % TPR by {}, %",
    "auroc_by": "AUROC by {}, %",
}
UNITS = {  # scale, digits
    "%": (100, 2), "nats": (1, 3), "dB": (1, 2), "MSE": (1, 5), "correlation": (1, 3), "steps": (1, 2),
    "code units": (1, 3),
}


def results_table(results: dict, published: dict | None) -> str:
    """This run beside the paper, in percent and nats: one table for the sets, one for what lies outside."""
    published = published or {}
    sets = {name: results[name] for name in SPLITS if results.get(name)}
    tables = [
        _table(f"epoch {results['epoch']}, step {results['step']}", sets, published),
        _table("detection of", results.get("ood", {}), published.get("ood", {})),
    ]
    return "\n\n".join(table for table in tables if table)


def _table(title: str, columns: dict[str, dict], published: dict[str, dict]) -> str | None:
    """One column per entry of `columns`, and the paper's beside it where there is one; None when there is no entry."""
    header, cells = [title], []
    for name, column in columns.items():
        for label, values in ((name, column), ("paper", published.get(name))):
            if values is not None:
                header.append(label)
                cells.append(flatten(values))
    rows = []
    for key in dict.fromkeys(key for column in columns.values() for key in flatten(column)):
        metric, _, epsilon = key.partition("/")
        if metric in ROWS:
            name = ROWS[metric].format(epsilon.replace("_", " "))
            scale, digits = UNITS[name.rsplit(", ", 1)[1]]
            rows.append([name, *(f"{scale * column[key]:z.{digits}f}" if key in column else "" for column in cells)])
    return format_table(header, rows) if rows else None
