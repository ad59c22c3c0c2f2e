"""Identity: the crop is where dlib's network expects it, and where the extra is installed, people are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest import MonkeyPatch

from iqp_adapter.photo import identity
from iqp_adapter.photo.align import template
from iqp_adapter.photo.identity import DlibIdentity, chip


@pytest.mark.parametrize("size", [256, 512])
def test_the_eyes_are_where_dlib_has_them(size: int) -> None:
    for eye, x, y in ((0, 47.2, 46.6), (1, 99.8, 46.6)):
        image = torch.zeros(3, size, size)
        column, row = template(size)[eye].round().astype(int)
        image[:, row - 3 : row + 4, column - 3 : column + 4] = 1
        light = chip(image)[..., 0].astype(float)
        centre = np.array([light.sum(0) @ np.arange(150), light.sum(1) @ np.arange(150)]) / light.sum()
        assert np.abs(centre - [x, y]).max() < 1


def test_a_missing_extra_is_named(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_spec", lambda name: None)
    assert not DlibIdentity.is_installed()
    with pytest.raises(ModuleNotFoundError, match=r"pip install iqp_adapter\[identity\]"):
        DlibIdentity()


@pytest.mark.skipif(not DlibIdentity.is_installed(), reason="needs the extra: pip install iqp_adapter[identity]")
def test_people_are_told_apart(faces: Path) -> None:
    people: dict[str, list[Path]] = {}
    for path in sorted((faces / "dev").glob("*.jpg")):
        people.setdefault(path.stem.split("_")[1], []).append(path)
    pairs = [paths[:2] for paths in people.values() if len(paths) > 1][:4]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for pair in pairs for path in pair]
    vectors = DlibIdentity()(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255)
    alike = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    same = torch.stack([alike[2 * i, 2 * i + 1] for i in range(len(pairs))])
    others = alike[::2, ::2][~torch.eye(len(pairs), dtype=torch.bool)]
    assert same.min() > 0.92 and same.min() > others.max()
