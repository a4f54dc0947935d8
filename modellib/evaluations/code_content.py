"""What can be read off a code: how well two standard classifiers find a label or a factor in it."""

import warnings

import numpy as np
from torch import Tensor


def readable(
    name: str, code: Tensor, target: Tensor, test_code: Tensor, test_target: Tensor, *, knn: bool = False
) -> dict[str, float]:
    """How well a target is found in test codes by what is fitted on others: codes (N, D), integer targets (N,).

    Returns {name}_accuracy of a logistic regression; {name}_knn_accuracy of the 5 nearest neighbours, with `knn`;
    {name}_chance, the share of the commonest test target. Codes are scaled to variance 1 first.
    """
    # Here, for they take a second, and a command that evaluates nothing shall not wait for them.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted_on, tested_on = ((x.cpu().numpy(), y.cpu().numpy()) for x, y in ((code, target), (test_code, test_target)))
    neighbours = {"knn_accuracy": KNeighborsClassifier(5, algorithm="brute")} if knn else {}
    results = {}
    for which, classifier in {"accuracy": LogisticRegression(max_iter=200), **neighbours}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 rounds are far enough to see what is there
            fitted = make_pipeline(StandardScaler(), classifier).fit(*fitted_on)
        results[f"{name}_{which}"] = float(fitted.score(*tested_on))
    return results | {f"{name}_chance": float(np.bincount(tested_on[1]).max() / len(test_target))}
