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

    code, target, test_code, test_target = (part.cpu().numpy() for part in (code, target, test_code, test_target))
    classifiers = {"accuracy": LogisticRegression(max_iter=200)}
    if knn:
        classifiers["knn_accuracy"] = KNeighborsClassifier(5, algorithm="brute")
    results = {}
    for which, classifier in classifiers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 rounds are far enough to see what is there
            fitted = make_pipeline(StandardScaler(), classifier).fit(code, target)
        results[f"{name}_{which}"] = float(fitted.score(test_code, test_target))
    return results | {f"{name}_chance": float(np.bincount(test_target).max() / len(test_target))}
