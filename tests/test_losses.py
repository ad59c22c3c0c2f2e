"""Loss terms whose mistakes a training run would hide: textures, and whom the adversary judges."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d

from iqp_adapter.core.colours import broad, grey_where_grey, with_colours_of
from iqp_adapter.scoring.perceptual import PerceptualDistance, style_difference
from iqp_adapter.training.losses import hinge_discriminator, hinge_generator


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestStyle:
    def test_another_draw_of_a_texture_is_near_and_a_blurred_one_far(self):
        texture, same, blurred = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1), 0.3 * noise(1, 3, 64, 64)
        assert style_difference(texture, texture) == 0
        assert style_difference(same, texture) < 0.3 * style_difference(blurred, texture)

    def test_textures_that_swap_places_are_seen(self):
        halves = torch.cat([noise(1, 3, 64, 32), 0.1 * noise(1, 3, 64, 32)], dim=-1)
        assert style_difference(halves.flip(-1), halves) > 0.5

    def test_it_joins_the_perceptual_distance_by_its_weight(self):
        a, b = noise(2, 3, 16, 16).sigmoid(), noise(2, 3, 16, 16, seed=1).sigmoid()
        plain, styled = (PerceptualDistance(lambda x: [x], style=weight).between(a, b) for weight in (0.0, 2.0))
        torch.testing.assert_close(styled - plain, 2 * style_difference(a, b))


class TestAdversary:
    real, fake, judged = noise(3, 1, 4, 4), noise(3, 1, 4, 4, seed=1), torch.tensor([True, False, True])

    def test_pictures_that_are_not_judged_have_no_say(self):
        real, fake = self.real.clone().requires_grad_(), self.fake.clone().requires_grad_()
        (hinge_generator(fake, self.judged) + hinge_discriminator(real, fake, self.judged)).backward()
        for logits in (real, fake):
            assert [bool(row.any()) for row in logits.grad] == self.judged.tolist()

    def test_hinges_by_their_formula(self):
        everyone = torch.ones(3, dtype=torch.bool)
        expected = (1 - self.real).clamp_min(0).mean() + (1 + self.fake).clamp_min(0).mean()
        torch.testing.assert_close(hinge_discriminator(self.real, self.fake, everyone), expected)
        torch.testing.assert_close(hinge_generator(self.fake, everyone), -self.fake.mean())


def test_colours_come_over_by_their_strength_and_detail_stays():
    detail = 0.1 * noise(2, 3, 128, 128)
    lq, restored = torch.full((2, 3, 128, 128), 0.6), 0.4 + detail
    strength = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    kept, taken = with_colours_of(lq, restored, strength)
    assert torch.equal(kept, restored[0])
    torch.testing.assert_close(taken.mean((1, 2)), torch.full((3,), 0.6), atol=0.005, rtol=0)
    torch.testing.assert_close(taken - 0.6, detail[1], atol=0.04, rtol=0)


def test_grey_pictures_stay_grey_and_others_keep_their_colours():
    """A noisy grey picture is grey; a pale one, and sepia, are not."""
    grey = torch.full((3, 256, 256), 0.5) + 0.05 * noise(3, 256, 256)
    pale, sepia = grey.clone(), grey * torch.tensor([1.0, 0.9, 0.7])[:, None, None]
    pale[0, 80:180, 80:180] += 0.1
    restored = noise(3, 3, 256, 256)
    found = grey_where_grey(torch.stack([grey, pale, sepia]), restored)
    torch.testing.assert_close(found[0], found[0, :1].expand(3, -1, -1))
    torch.testing.assert_close(found[0, 0], restored[0].mean(0))
    torch.testing.assert_close(found[1:], restored[1:])


@pytest.mark.parametrize("share", [20, 60])
@pytest.mark.parametrize("size", [(96, 96), (48, 80), (16, 16)])
def test_broad_colours_are_those_of_three_box_filters(size, share):
    images, reach = noise(2, 3, *size), max(1, size[1] // share)
    expected = images
    for _ in range(3):
        expected = avg_pool2d(expected, 2 * reach + 1, 1, reach, count_include_pad=False)
    torch.testing.assert_close(broad(images, 1 / share), expected, atol=1e-5, rtol=1e-5)
