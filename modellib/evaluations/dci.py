"""Disentanglement, completeness and informativeness of codes with known factors (Eastwood and Williams 2018).

A forest of extremely randomised trees, much the faster one for hundreds of dimensions, predicts every factor from the
code; R, dimensions by factors, is how much each dimension matters to it: how much worse the forest is on other images
where that dimension has changed places between them (Breiman 2001, "Random Forests", section 10). What a forest says of
itself will not do here: its trees split what is left by dimensions that hold noise alone, and of perfect codes with the
noise of DisenIB that made a half of the importance.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import Tensor

N_TREES = 10


def dci(
    codes: dict[str, Tensor], factors: Tensor, test_codes: dict[str, Tensor], test_factors: Tensor
) -> dict[str, float]:
    """codes: name -> (N, D_name); factors (N, F), whole numbers, the label in column 0, the others the style.

    test_*: of other images, from which accuracy and importance are taken. Fractions of 1:
    dci_disentanglement: 1 where every dimension matters to one factor only, 0 where to all alike.
    dci_completeness: 1 where every factor lies in one dimension, 0 where in all alike.
    dci_informativeness: accuracy of the forests, averaged over the factors.
    dci_codes_*: the first two of whole codes in the place of dimensions, and of label and style in that of factors:
    1 where one code has the label alone and another the style. Factors that never vary are left out.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # a second, for this alone

    code, test_code = (np.concatenate([part.cpu().numpy() for part in of.values()], 1) for of in (codes, test_codes))
    wanted, test_wanted = factors.cpu().numpy(), test_factors.cpu().numpy()
    ends = np.cumsum([part.shape[1] for part in codes.values()])
    wholes = np.split(np.arange(code.shape[1]), ends[:-1])
    importances, of_codes, accuracies = [], [], []
    for column in range(wanted.shape[1]):
        if len(np.unique(wanted[:, column])) > 1:
            # Every split looks at all dimensions: where one alone tells the factor, no other gets a share by chance.
            # The checker takes the default, a text, for the type.
            forest = ExtraTreesClassifier(N_TREES, random_state=0, max_features=None)  # pyright: ignore[reportArgumentType]
            forest.fit(code, wanted[:, column])
            of_test = partial(forest.score, y=test_wanted[:, column])
            used = [[d] if looked_at else [] for d, looked_at in enumerate(forest.feature_importances_)]
            importances.append(_importance(of_test, test_code, used))
            of_codes.append(_importance(of_test, test_code, wholes))
            accuracies.append(of_test(test_code))
    importance, of_codes = np.stack(importances, 1), np.stack(of_codes, 1)  # R: (D, F); (codes, F)
    label_and_style = np.stack((of_codes[:, 0], of_codes[:, 1:].mean(1)), 1)  # (codes, 2)
    return {
        "dci_disentanglement": disentanglement(importance), "dci_completeness": completeness(importance),
        "dci_informativeness": float(np.mean(accuracies)),
        "dci_codes_disentanglement": disentanglement(label_and_style),
        "dci_codes_completeness": completeness(label_and_style),
    }


def _importance(accuracy: Callable[[np.ndarray], float], code: np.ndarray, parts: Sequence) -> np.ndarray:
    """The accuracy that is lost where a part of the dimensions of code (N, D) is another image's: shares, (parts,).

    A loss that may be chance, up to two standard errors, is none. All are 0 where none is left.
    """
    order, before = np.random.RandomState(0).permutation(len(code)), accuracy(code)
    losses = np.zeros(len(parts))
    for number, part in enumerate(parts):
        if len(part):
            changed = code.copy()
            changed[:, part] = code[order][:, part]
            after = accuracy(changed)
            error = np.sqrt((before * (1 - before) + after * (1 - after)) / len(code))
            losses[number] = before - after if before - after > 2 * error else 0
    return losses / (losses.sum() or 1)


def disentanglement(importance: np.ndarray) -> float:
    """1 − entropy over factors, to the base of their number, of every row; rows weighted by what they matter.

    importance (D, F), not negative.
    """
    weights = importance.sum(1) / (importance.sum() or 1)
    return float(weights @ (1 - _relative_entropy(importance)))


def completeness(importance: np.ndarray) -> float:
    """1 − entropy over dimensions, to the base of their number, of every column, averaged: importance (D, F)."""
    return float((1 - _relative_entropy(importance.T)).mean())


def _relative_entropy(rows: np.ndarray) -> np.ndarray:
    """Entropy of every row as a distribution, between 0 and 1; 1 for a row of zeros."""
    from scipy.special import entr

    totals, n = rows.sum(1, keepdims=True), rows.shape[1]
    shares = np.divide(rows, totals, out=np.full_like(rows, 1 / n), where=totals > 0)
    return entr(shares).sum(1) / np.log(n)
