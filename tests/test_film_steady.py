"""What keeps the faces of films steady: smoothing, tracks, and the average of crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from photo_standins import BOX, LANDMARKS, photo

from iqp_adapter.film.flow import windows
from iqp_adapter.film.looking import Look, step
from iqp_adapter.film.smoothing import averaged, smoothed
from iqp_adapter.film.steady import Aligned, steadied
from iqp_adapter.film.tracks import Track, faces_in, tracks_of
from iqp_adapter.photo import Faces
from iqp_adapter.photo.align import transform
from iqp_adapter.pictures import warp_affine

RATE, EVERY = 25.0, 3


def motion(number: int) -> np.ndarray:
    """(2, 3) a slow sway, with turns and zooms."""
    zoom, angle = 1 + 0.05 * np.sin(number / 15), 0.06 * np.sin(number / 12)
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([224.0, 120.0])
    return np.column_stack([linear, centre - linear @ centre + [20 * np.sin(number / 17), 6 * np.sin(number / 9)]])


def faces_at(number: int, error: float = 0.0, shift: float = 0.0) -> Faces:
    wrong = np.random.default_rng(number).normal(0, error, (5, 2))
    landmarks = transform(LANDMARKS, motion(number)) + wrong + shift
    box = transform(BOX.reshape(2, 2), motion(number)).reshape(4) + shift
    return Faces(box[None], np.ones(1), landmarks[None])


def between(one: int, other: int) -> np.ndarray:
    first, second = (np.vstack([motion(number), [0, 0, 1]]) for number in (one, other))
    return (second @ np.linalg.inv(first))[:2]


def looks(numbers: list[int], error: float = 0.0, steps: bool = True, shot: int = 0) -> list[Look]:
    found = [Look(numbers[0], shot, faces_at(numbers[0], error))]
    for before, number in zip(numbers, numbers[1:], strict=False):
        moves = [between(before, number) if steps else None]
        found.append(Look(number, shot, faces_at(number, error), before, moves))
    return found


def off(track: Track, error: float = 0.0) -> np.ndarray:
    """How far the middle of the face is from where it is, in pixels (N, 2), on the way without its mean."""
    wrong = [
        track.landmarks(n).mean(0) - transform(LANDMARKS, motion(n)).mean(0) for n in range(track.first, track.last + 1)
    ]
    return np.array(wrong) - np.mean(wrong, 0)


# -- smoothing


def test_a_parabola_is_kept_as_it_is():
    times = np.arange(0, 30, 3)
    values = np.stack([0.1 * times**2, 5.0 - times], 1)
    at = np.arange(28)
    assert np.allclose(smoothed(times, values, at), np.stack([0.1 * at**2, 5.0 - at], 1), atol=1e-6)


def test_what_stands_still_is_averaged_and_what_moves_is_followed():
    times, noise = np.arange(0, 150, 3), np.random.default_rng(0).normal(0, 1, (50, 4))
    assert smoothed(times, noise, times)[5:-5].std() < 0.4 * noise.std()
    wave = 20 * np.sin(times / 6)[:, None]
    assert np.abs(smoothed(times, wave, times) - wave).max() < 2


def test_one_measurement_holds_for_all_times():
    assert (smoothed(np.array([4]), np.array([[2.0]]), np.arange(3)) == 2).all()


def test_an_average_over_seconds_keeps_what_is_constant():
    times, values = np.arange(0, 10, 0.1), np.random.default_rng(0).normal(3, 1, (100, 2))
    found = averaged(times, values, 2.0)
    assert np.allclose(found.mean(), 3, atol=0.2) and found.std() < 0.2


# -- tracks


def test_a_face_is_where_its_movement_leads_and_not_where_landmarks_err():
    numbers = [*range(0, 75, EVERY)]
    [track] = tracks_of(looks(numbers, error=2.0), EVERY, RATE, 73)
    [unmeasured] = tracks_of(looks(numbers, error=2.0, steps=False), EVERY, RATE, 73)
    assert (track.first, track.last) == (0, 72)
    assert off(track).std() < 0.25
    assert off(track).std() < off(unmeasured).std()


def test_the_flow_of_points_measures_the_movement_of_a_noisy_face():
    def frame(number: int) -> np.ndarray:
        grey = photo().mean(2).astype(np.float32)
        noise = np.random.default_rng(number).normal(0, 6, grey.shape)
        return (warp_affine(grey, motion(number), (512, 512)) + noise).clip(0, 255).astype(np.uint8)

    found = step(frame(0), frame(3), faces_at(0).boxes[0])
    assert found is not None
    assert np.abs(transform(LANDMARKS, found) - transform(LANDMARKS, between(0, 3))).max() < 0.3


def test_no_movement_is_made_up():
    grey = np.full((64, 64), 128, np.uint8)
    assert step(grey, grey, np.array([10, 10, 50, 50])) is None
    noise = [np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8) for seed in (0, 1)]
    assert step(*noise, np.array([10, 10, 50, 50])) is None


def test_a_cut_ends_a_track_though_the_face_stays_in_its_place():
    two = [*looks([0, 3, 6, 7]), *looks([8, 11, 14], shot=1)]
    one, other = tracks_of(two, EVERY, RATE, 15)
    assert (one.first, one.last, other.first, other.last) == (0, 7, 8, 14)
    assert faces_in([one, other], 7)[0] == [one]


def test_a_face_that_is_overlooked_once_is_restored_all_the_same():
    seen = looks([*range(0, 30, EVERY)])
    nobody = Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    seen[4] = Look(12, 0, nobody, 9, [None])
    seen[5] = Look(15, 0, seen[5].faces, 12, [])
    [track] = tracks_of(seen, EVERY, RATE, 28)
    assert (track.first, track.last) == (0, 27)
    assert np.abs(off(track)).max() < 1.5


def test_what_is_seen_once_alone_is_no_face():
    seen = looks([*range(0, 30, EVERY)])
    ghost = faces_at(12, shift=200.0)
    both = Faces(*(np.concatenate(pair) for pair in zip(seen[4].faces[:3], ghost[:3], strict=True)))
    seen[4] = Look(12, 0, both, 9, seen[4].steps)
    seen[5] = Look(15, 0, seen[5].faces, 12, [*seen[5].steps, None])
    assert len(tracks_of(seen, EVERY, RATE, 28)) == 1
    assert len(tracks_of([Look(0, 0, faces_at(0))], EVERY, RATE, 1)) == 1


def test_a_face_begins_half_a_look_before_it_is_seen_first():
    nobody = Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    seen = [Look(0, 0, nobody), *(Look(n, 0, faces_at(n), n - 6, [None] * (n > 6)) for n in (6, 12, 18))]
    [track] = tracks_of(seen, 6, RATE, 30)
    assert (track.first, track.last) == (3, 21)


# -- crops


@pytest.fixture
def clean() -> torch.Tensor:
    return torch.from_numpy(photo()[64:192, 160:288].copy()).permute(2, 0, 1) / 255


def noisy(picture: torch.Tensor, count: int = 9, strength: float = 0.03) -> list[torch.Tensor]:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, strength, (count, *picture.shape))).float()
    return [picture + each for each in noise]


def fourth(crops: list[torch.Tensor]) -> torch.Tensor:
    near = [Aligned.of(crop) for crop in crops]
    return steadied(near, near[4])


def test_noise_is_averaged_away(clean):
    crops = noisy(clean)
    error = (fourth(crops) - clean).std()
    assert error < 0.45 * (crops[4] - clean).std()


def test_what_moves_is_not_smeared(clean):
    crops = noisy(clean, strength=0.01)
    for index, crop in enumerate(crops):
        if index != 4:
            crop[:, 80:110, 40:90] = 1 - crop[:, 80:110, 40:90]
    steady = fourth(crops)
    assert (steady - clean)[:, 84:106, 44:86].abs().mean() < 0.012
    assert (steady - clean)[:, :70].std() < 0.005


def test_windows_hold_what_is_near():
    found = {own: list(near) for near, own in windows(range(6), 2)}
    assert found == {own: list(range(max(0, own - 2), min(6, own + 3))) for own in range(6)}
    assert list(windows([], 2)) == []
