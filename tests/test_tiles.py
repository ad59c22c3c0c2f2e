"""Large pictures are scored in tiles: every pixel counts once, and the score is that of the whole picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from iqp_adapter.scoring import tiles
from iqp_adapter.scoring.scorer import Scorer

TILED = ["iqp-lite", "iqp-lite@1", "iqp-colour", "niqe", "piqe"]
SIZES = [(511, 389), (290, 631), (700, 97)]


@pytest.fixture(scope="module")
def scorers(device) -> dict[str, Scorer]:
    return {metric: Scorer(metric, device=device) for metric in TILED}


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    """The whole photo with some noise, (1, 3, 512, 512)."""
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)
    return (photo + 0.02 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles and pictures that fit into a test."""
    monkeypatch.setattr(tiles, "STEP", 192)
    monkeypatch.setattr(tiles, "WHOLE", 100 * 100)


@pytest.mark.parametrize("stride", [1, 2, 16])
@pytest.mark.parametrize("size", SIZES)
def test_every_position_counts_once(small_tiles, size, stride):
    picture = torch.zeros(1, 1, *size)
    whole = torch.arange(-(-size[0] // stride) * -(-size[1] // stride)).reshape(-(-size[0] // stride), -1)
    seen = []
    for tile in tiles.tiles_of(picture, margin=50):
        assert tile.rows.start % stride == tile.columns.start % stride == 0
        part = whole[tile.rows.start // stride :, tile.columns.start // stride :]
        seen.append(tile.inner(part, stride).flatten())
    torch.testing.assert_close(torch.cat(seen).sort().values, whole.flatten())


def test_pixels_beyond_the_last_block_are_read_and_do_not_count(small_tiles):
    [*_, last] = tiles.tiles_of(torch.zeros(1, 1, 400, 205), margin=32, block=16)
    assert last.rows == (384 - 32, 384, 400, 400)
    assert last.columns == (0, 0, 192, 205)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("metric", TILED)
def test_tiles_do_not_change_a_score(request, scorers, astronaut, metric, size):
    picture = interpolate(astronaut, size, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        whole = scorers[metric](picture)
        request.getfixturevalue("small_tiles")
        assert tiles.is_large(picture)
        torch.testing.assert_close(scorers[metric](picture), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("metric", ["iqp-lite", "niqe"])
def test_tiles_keep_the_gradient(request, scorers, astronaut, metric):
    picture = astronaut[..., :230, :310].clone().requires_grad_()
    [whole] = torch.autograd.grad(scorers[metric](picture).sum(), picture)
    request.getfixturevalue("small_tiles")
    [tiled] = torch.autograd.grad(scorers[metric](picture).sum(), picture)
    torch.testing.assert_close(tiled, whole, atol=1e-4 * whole.abs().max().item(), rtol=1e-3)


def test_niqe_keeps_its_options_in_tiles(request, astronaut):
    scorer = Scorer("niqe", device="cpu", color_space="ycbcr", crop_border=5)
    whole = scorer(astronaut)
    request.getfixturevalue("small_tiles")
    torch.testing.assert_close(scorer(astronaut), whole, atol=1e-3, rtol=0)


def test_piqe_has_no_score_for_black_of_any_size(request, scorers):
    black = torch.zeros(1, 3, 300, 300)
    for _ in ("whole", "in tiles"):
        with pytest.raises(ValueError, match="piqe has no score for this image; is it constant"):
            scorers["piqe"](black)
        request.getfixturevalue("small_tiles")


@pytest.mark.parametrize("metric", ["niqe", "piqe", "iqp-lite"])
def test_a_large_plain_picture_is_refused_or_scored_as_a_small_one(small_tiles, scorers, metric):
    plain = torch.full((1, 3, 300, 300), 0.5)
    if metric == "niqe":
        with pytest.raises(ValueError, match="niqe has no score for"):
            scorers[metric](plain)
    else:
        assert scorers[metric](plain).isfinite().all()


@pytest.mark.parametrize("metric", TILED)
def test_a_batch_of_large_pictures_has_a_score_each(small_tiles, scorers, astronaut, metric):
    batch = torch.cat([astronaut[..., :200, :200], astronaut[..., -200:, -200:]])
    with torch.no_grad():
        together = scorers[metric](batch)
        alone = torch.cat([scorers[metric](image[None]) for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert together[0] != together[1]


def test_a_large_batch_reaches_the_network_in_parts(monkeypatch, scorers, astronaut):
    seen = []
    monkeypatch.setattr(tiles, "WHOLE", 2 * 96 * 96)
    scorer = Scorer("piqe", device="cpu")
    network = scorer._network
    scorer._network = lambda images: seen.append(len(images)) or network(images)
    batch = astronaut[..., :96, :96].expand(5, -1, -1, -1)
    assert scorer(batch).shape == (5,)
    assert seen == [2, 2, 1]
