"""Smoothing of what was measured now and then, and with errors: a parabola is fitted around each moment.

The fit interpolates and smooths at once. How far it reaches is decided by leaving out each measurement in turn: what
stands still is averaged over seconds, what moves quickly over few looks.

Source: local regression after Cleveland (1979), with a Gaussian and least squares.
"""

from __future__ import annotations

import numpy as np

REACHES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the weights that are tried, in units of the usual time between two measurements."""

_WIDEST = 3.5
"""Standard deviations beyond which a measurement no longer counts."""


def smoothed(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(M, D) the values at other times within the measured ones.

    Args:
        times: (N,) rising.
        values: (N, D) of one measure, so that their errors can be compared.
        at: (M,)
    """
    if len(times) == 1:
        return np.repeat(values, len(at), 0)
    usual = float(np.median(np.diff(times)))
    errors = [_left_out(times, values, reach * usual) for reach in REACHES]
    best = REACHES[int(np.argmin(errors))] * usual
    return np.array([_fit(times, values, moment, best) for moment in at])


def _left_out(times: np.ndarray, values: np.ndarray, reach: float) -> float:
    """Mean squared error of each measurement, foretold by the others."""
    if len(times) < 3:
        return 0.0
    kept = ~np.eye(len(times), dtype=bool)
    foretold = [_fit(times[kept[i]], values[kept[i]], times[i], reach) for i in range(1, len(times) - 1)]
    return float(np.square(np.array(foretold) - values[1:-1]).mean())


def _fit(times: np.ndarray, values: np.ndarray, moment: float, reach: float) -> np.ndarray:
    """(D,)"""
    near = slice(*np.searchsorted(times, [moment - _WIDEST * reach, moment + _WIDEST * reach]))
    if near.stop - near.start < 2:  # a gap that is wider than the reach
        return np.array([np.interp(moment, times, each) for each in values.T])
    away = (times[near] - moment) / reach
    degree = min(2, near.stop - near.start - 1)
    weights = np.exp(-0.25 * np.square(away))[:, None]  # the root of a Gaussian, as least squares takes it
    powers = np.vander(away, degree + 1, increasing=True)
    return np.linalg.lstsq(weights * powers, weights * values[near], rcond=None)[0][0]


def averaged(times: np.ndarray, values: np.ndarray, reach: float) -> np.ndarray:
    """(N, D) values averaged with those around them, by a Gaussian of that standard deviation."""
    found = np.empty_like(values)
    for index, moment in enumerate(times):
        near = slice(*np.searchsorted(times, [moment - _WIDEST * reach, moment + _WIDEST * reach]))
        found[index] = np.average(values[near], 0, np.exp(-0.5 * np.square((times[near] - moment) / reach)))
    return found
