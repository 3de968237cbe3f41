"""The probe that judges a pruned layer: how well the classes can still be told by what the layer gives.

Shapes: N images, C output channels of the layer.
"""

from collections.abc import Iterable, Iterator

import numpy
from numpy.typing import NDArray
from torch import Tensor

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.method import Narrowable


class Probe:
    """scikit-learn's support vector classifier (RBF kernel, C = 1, tol = 1e-5), as in the authors' code, on outputs clamped at 0.

    It learns from the layer as it is and is asked about the layer as it is pruned. Of a layer whose mean outputs are below 0 for nearly all
    images it sees next to nothing. Its time grows with the square of the number of classes. The kernel's values are computed here by one product
    of matrices and handed over, which is several times as fast as scikit-learn's own loop and differs by rounding alone.
    """

    def __init__(self, outputs_NC: Tensor, labels_N: Tensor) -> None:
        from sklearn.svm import SVC  # takes seconds, which a run of another method should not wait for

        self._learnt = _features(outputs_NC)
        self._labels = labels_N.cpu().numpy()
        variance = float(self._learnt.var())
        # What scikit-learn calls gamma="scale".
        self._gamma = 1 / (self._learnt.shape[1] * variance) if variance > 0 else 1.0
        self._classifier = SVC(kernel="precomputed", tol=1e-5, random_state=0)
        self._classifier.fit(self._kernel(self._learnt), self._labels)

    def accuracy(self, outputs_NC: Tensor) -> float:
        """The part, in [0, 1], of the same images that it classifies right by other outputs of the layer."""
        found = self._classifier.predict(self._kernel(_features(outputs_NC)))
        return float((found == self._labels).mean())

    def _kernel(self, features_MC: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        products_MN = features_MC @ self._learnt.T
        squares_M, squares_N = ((x**2).sum(axis=1) for x in (features_MC, self._learnt))
        distances_MN = squares_M[:, None] + squares_N - 2 * products_MN
        return numpy.exp(-self._gamma * numpy.maximum(distances_MN, 0, out=distances_MN), out=distances_MN)


def _features(outputs_NC: Tensor) -> NDArray[numpy.float64]:
    return outputs_NC.detach().cpu().double().clamp_min(0).numpy()


def require_classes(labels_N: Tensor) -> None:
    """Raise ConfigError unless the images that are probed are of two classes at least."""
    if len(labels_N.unique()) < 2:
        raise ConfigError(
            "The images that the limits are found with are not of several classes: give some of each, as method.samples_per_class does."
        )


def guessing(labels_N: Tensor) -> float:
    """The part of the images, in [0, 1], that is of the most frequent class."""
    return float(labels_N.bincount().max()) / len(labels_N)


def probed(batches: Iterable[Batch], classes: int) -> Iterator[Batch]:
    """The images of the first `classes` classes, in their order; of a sample the others are not even read."""
    if isinstance(batches, Narrowable):
        yield from batches.of_first_classes(classes)
        return
    for images, labels in batches:
        if (keep := labels < classes).any():
            yield images[keep], labels[keep]
