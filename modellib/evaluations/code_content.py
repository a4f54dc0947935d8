"""What can be read off a code: how well standard classifiers find a label or a factor in it."""

import warnings
from collections.abc import Collection

import numpy as np
from torch import Tensor


def readable(
    name: str, code: Tensor, target: Tensor, test_code: Tensor, test_target: Tensor, *,
    probes: Collection[str] = ("accuracy",),
) -> dict[str, float]:
    """How well a target is found in test codes by what is fitted on others: codes (N, D), integer targets (N,).

    probes: {name}_accuracy is that of a logistic regression, {name}_knn_accuracy of the 5 nearest neighbours,
    {name}_mlp_accuracy of a trained network with a hidden layer. {name}_chance is the share of the commonest test
    target. Codes are scaled to variance 1 first.
    """
    # Here, for they take a second, and a command that evaluates nothing shall not wait for them.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted_on, tested_on = ((x.cpu().numpy(), y.cpu().numpy()) for x, y in ((code, target), (test_code, test_target)))
    enough = np.unique(fitted_on[1], return_counts=True)[1].min() >= 20  # of every class, to hold a tenth out
    classifiers = {
        "accuracy": LogisticRegression(max_iter=200),
        "knn_accuracy": KNeighborsClassifier(5, algorithm="brute"),
        "mlp_accuracy": MLPClassifier((256,), early_stopping=bool(enough), max_iter=50, random_state=0),
    }
    results = {}
    for which in probes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many rounds are enough to see what is there
            fitted = make_pipeline(StandardScaler(), classifiers[which]).fit(*fitted_on)
        results[f"{name}_{which}"] = float(fitted.score(*tested_on))
    return results | {f"{name}_chance": float(np.bincount(tested_on[1]).max() / len(test_target))}
