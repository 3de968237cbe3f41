"""The activations of gates are the logistic function and the hyperbolic tangent."""

import numpy as np
import pytest
from numba import njit

from snip_cli.training.sparse.kernels.gates import activate
from snip_cli.training.sparse.kernels.products import ONE, OPTIONS
from snip_cli.training.sparse.kernels.vectors import WIDTH, load, store

FUNCTIONS = {1.0: lambda x: 0.5 + 0.5 * np.tanh(x / 2), 2.0: np.tanh}


@njit(**OPTIONS)
def activate_all(values, scale):
    for at in range(0, len(values), WIDTH):
        store(values, at, activate(load(values, at, ONE), scale))


def activated(values, scale):
    found = values.copy()
    activate_all(found, scale)
    return found


@pytest.mark.parametrize("scale", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_they_are_exact_to_an_absolute_error(scale, dtype, error):
    values = np.concatenate([np.linspace(-bound, bound, 16000) for bound in (1, 20, 1000)]).astype(dtype)
    expected = FUNCTIONS[scale](values.astype(np.float64))
    np.testing.assert_allclose(activated(values, scale), expected, rtol=0, atol=error)


@pytest.mark.parametrize("scale", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_and_infinities_are_limits(scale, dtype):
    found = activated(np.resize(np.array([np.nan, np.inf, -np.inf, 0], dtype), WIDTH), scale)[:4]
    np.testing.assert_allclose(found, [np.nan, 1, 1 - scale, (2 - scale) / 2], rtol=0, atol=1e-30)
