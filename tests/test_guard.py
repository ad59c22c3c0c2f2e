"""The guard beside a training: it shows what the driving metric hides, and warns where that one rises alone."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from iqp_adapter.training.guard import Guard


class Channel:
    """A metric: the mean of one colour channel, or its opposite."""

    def __init__(self, index: int, lower_better: bool = False):
        self.metric, self.index, self.lower_better = f"channel {index}", index, lower_better

    def __call__(self, images: Tensor) -> Tensor:
        return images[:, self.index].mean((1, 2))


def pictures(*colour: float) -> Tensor:
    return torch.tensor(colour).reshape(1, 3, 1, 1).expand(2, 3, 4, 4)


def embed(images: Tensor) -> Tensor:
    return images.mean((2, 3))


def test_gains_are_over_the_bare_host_and_higher_is_better():
    guard = Guard(Channel(0), [Channel(1), Channel(2, lower_better=True)], embed)
    said = guard(pictures(0.9, 0.4, 0.2), pictures(0.5, 0.5, 0.5), pictures(0.9, 0.4, 0.2))
    assert {name: round(float(value), 4) for name, value in said.items()} == {
        "gain in channel 0": 0.4,
        "gain in channel 1": -0.1,
        "gain in channel 2": 0.3,
        "from bare": round((0.4 + 0.1 + 0.3) / 3, 4),
        "identity, best": 1.0,
        "identity, bare": round(1.5 / (3**0.5 * (0.81 + 0.16 + 0.04) ** 0.5), 4),
    }


@pytest.mark.parametrize(
    ("best", "warned"),
    [
        ((0.9, 0.4, 0.4), True),
        ((0.9, 0.4, 0.6), False),
        ((0.4, 0.3, 0.3), False),
    ],
)
def test_it_warns_where_the_driving_metric_rises_alone(best, warned, caplog):
    guard = Guard(Channel(0), [Channel(1), Channel(2)])
    with caplog.at_level(logging.WARNING):
        guard(pictures(*best), pictures(0.5, 0.5, 0.5), pictures(0.5, 0.5, 0.5))
    assert ("best gains by channel 0 over the bare host and loses by every metric" in caplog.text) == warned
