"""Pictures of faces as training samples, each of which depends on (seed, epoch, index) alone.

Use it as `DataLoader(dataset, batch_sampler=KeyedBatches(len(dataset), batch_size, seed=seed, start_step=step))`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..degradations.checks import degraded
from ..degradations.discolour import grey
from ..degradations.ladder import Ladder
from ..degradations.rng import numpy_rng, sample_seed
from ..pictures import PictureFile, check_large, read_large, resample, size_of
from .augmentation import Augmentation
from .sources import Source, source_of

SMALLEST = 8
"""Pixels on the shorter side of an input; OpenCV 5 never returns from enlarging a picture of one pixel."""

CACHE = 2 << 30
"""Bytes for the decoded pictures of a run."""

_log = logging.getLogger(__name__)


class FaceFolder(Dataset[dict[str, Any]]):
    """Aligned faces of a folder, or of another source, degraded on the fly; `dataset[(epoch, index)]` is one sample.

        file ── augmentation ──┬── ladder ──────► hq
                               └── degradation ──► lq, which is independent of the quality of hq

    Every random number comes from `sample_seed(seed, epoch, index, part)`. Samples therefore do not depend on workers,
    processes and restarts, and pose, target quality and degradation are independent of each other. The pose is applied
    while the stored picture is reduced to the training size, so that it costs no sharpness.

    The constructor decodes pictures until `cache_bytes` are used; the others are decoded each time. It leaves out files
    that cannot be read or are smaller than `smallest`, with a warning for each. If a file becomes unreadable later,
    the next good one replaces it.

    Args:
        root: folder with pictures, or another source as `source_of` takes it.
        resolution: side of a sample in pixels.
        degradation: makes `lq` of a picture and a seed, see `degradations.kinds.Kind`; without it `lq` equals `hq`.
        ladder: lowers the quality of some targets.
        augmentation: changes pose and colour; without it a sample is the centre square of its picture.
        seed: of the run.
        cache_bytes: memory for decoded pictures.
        smallest: side in pixels from which on a picture is taken; by default `resolution`. Smaller ones than a sample
            are enlarged.

    Raises:
        ValueError: if no picture is usable.
        OSError: if there is no picture at `root`.
    """

    def __init__(
        self,
        root: str | Path | Source,
        resolution: int,
        *,
        degradation: Callable[[np.ndarray, int], np.ndarray] | None = None,
        ladder: Ladder | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache_bytes: int = CACHE,
        smallest: int | None = None,
    ) -> None:
        self.source, self.resolution, self.seed = source_of(root), resolution, seed
        self.smallest = resolution if smallest is None else smallest
        self.degradation, self.ladder, self.augmentation = degradation, ladder, augmentation
        self._cache: dict[PictureFile, np.ndarray] = {}
        self._bad: set[PictureFile] = set()
        self.paths = self._usable(self.source.files, cache_bytes)
        if not self.paths:
            raise ValueError(
                f"no picture in {self.source} is readable and at least {self.smallest} px; the log names each"
            )

    @property
    def recurs(self) -> bool:
        """Whether all targets are the pictures and their mirror images, so that they come again in every epoch."""
        mirrors = self.augmentation is None or self.augmentation.only_mirrors
        return mirrors and (self.ladder is None or self.ladder.originals == 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """
        Args:
            item: (epoch, index); an index alone is of epoch 0.

        Returns:
            hq, lq: (3, H, W) float32 in [0, 1]; key: the seed of the sample, int64; index: of the file in `paths`;
            severity: of the ladder, 0 for an unchanged target; full: whether the picture has as many pixels as `hq`.
        """
        epoch, index = item if isinstance(item, tuple) else (0, item)
        key = sample_seed(self.seed, epoch, index)
        for_pose, for_ladder, for_lq, for_grey = (
            sample_seed(self.seed, epoch, index, part) for part in ("pose", "ladder", "degradation", "grey")
        )
        picture, *others = self._pictures(index)
        clean = self._augmented(picture, numpy_rng(for_pose))
        severity = self.ladder.severity(for_ladder) if self.ladder else 0.0
        hq = self.ladder.degrade(clean, severity, for_ladder) if self.ladder else clean
        lq = self._degraded(others, clean, hq, for_pose, for_lq)
        if self.augmentation and numpy_rng(for_grey).uniform() < self.augmentation.grey:
            hq, lq = grey(hq), grey(lq)
        full = min(picture.shape[:2]) >= self.resolution
        return {"hq": _tensor(hq), "lq": _tensor(lq), "key": key, "index": index, "severity": severity, "full": full}

    def _degraded(
        self, others: list[np.ndarray], clean: np.ndarray, hq: np.ndarray, for_pose: int, for_lq: int
    ) -> np.ndarray:
        """The input of a target."""
        return degraded(self.degradation, clean, for_lq) if self.degradation else hq

    def _augmented(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        import cv2

        if self.augmentation is None:
            return resample(picture, np.eye(2, 3), self.resolution)
        posed = resample(picture, self.augmentation.pose(rng), self.resolution)
        return np.clip(cv2.transform(posed, self.augmentation.colours(rng)), 0, 1)

    def _pictures(self, index: int) -> list[np.ndarray]:
        """What the sample at `index` is made of, or the next one whose files can be read."""
        for step in range(len(self.paths)):
            found = self._found((index + step) % len(self.paths))
            if all(picture is not None for picture in found):
                return found  # type: ignore[return-value]
        raise ValueError(f"no picture in {self.source} can be read any more; check the disk")

    def _found(self, place: int) -> list[np.ndarray | None]:
        """The pictures of one place; None stands for one that cannot be read."""
        path = self.paths[place]
        return [self._cache[path] if path in self._cache else self._read(path, self.smallest)]

    def _read(self, path: PictureFile, smallest: int) -> np.ndarray | None:
        if path in self._bad:
            return None
        try:
            return read_large(path, smallest)
        except (OSError, ValueError) as error:
            self._skip(path, error)
            return None

    def _usable(self, paths: Sequence[PictureFile], cache_bytes: int) -> list[PictureFile]:
        room = cache_bytes
        for path in paths:
            if room > 0:
                picture = self._read(path, self.smallest)
                if picture is not None:
                    self._cache[path] = picture
                    room -= picture.nbytes
            else:
                self._check_header(path, self.smallest)
        return [path for path in paths if path not in self._bad]

    def _check_header(self, path: PictureFile, smallest: int) -> None:
        try:
            check_large(path, smallest)
        except (OSError, ValueError) as error:
            self._skip(path, error)

    def _skip(self, path: PictureFile, error: Exception) -> None:
        self._bad.add(path)
        _log.warning("skipped %s", error)


class FacePairs(FaceFolder):
    """A `FaceFolder` whose inputs come from a second folder, from the file with the same name (without its suffix).

    Input and target get the same pose and colours. Inputs may have any size of the target's shape. If one of the two
    cannot be read, the next pair replaces them, with a warning that names the file.

    Args:
        root, resolution, others: as for `FaceFolder`.
        lq: folder or source with the degraded pictures.

    Raises:
        ValueError: if a picture has no partner, several, or one of another shape.
    """

    def __init__(self, root: str | Path | Source, lq: str | Path | Source, resolution: int, **others: Any) -> None:
        super().__init__(root, resolution, **others)
        self.inputs = source_of(lq)
        self.partners = partners(self.paths, self.inputs)
        for path, partner in zip(self.paths, self.partners, strict=True):
            self._check_shape(path, partner)

    def _check_shape(self, path: PictureFile, partner: PictureFile) -> None:
        try:
            (width, height), (wide, high) = size_of(path), size_of(partner)
        except OSError as error:
            return self._skip(partner, error)
        scale = min(wide / width, high / height)
        if wide - width * scale > 1 or high - height * scale > 1:  # a pixel is lost where sizes are no multiples
            raise ValueError(
                f"{partner} is {wide} x {high} px and its target {width} x {height} px; bring them to one shape"
            )

    def _found(self, place: int) -> list[np.ndarray | None]:
        return [*super()._found(place), self._read(self.partners[place], SMALLEST)]

    def _degraded(
        self, others: list[np.ndarray], clean: np.ndarray, hq: np.ndarray, for_pose: int, for_lq: int
    ) -> np.ndarray:
        return self._augmented(others[0], numpy_rng(for_pose))


class KeyedBatches(Sampler[list[tuple[int, int]]]):
    """An endless stream of batches of (epoch, index), whose order depends on (seed, epoch).

    A batch may end one epoch and begin the next, so that no sample is dropped. Process `rank` of `world_size` takes its
    part of each global batch: in every step, two processes with batch b see the samples of one process with batch 2b.
    This sampler distributes the samples itself, so `accelerate` must not prepare the loader.

    Args:
        length: of the data set.
        batch_size: per process.
        seed: of the run.
        start_step: number of steps already done.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int = 0, start_step: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if min(length, batch_size, world_size) < 1 or start_step < 0 or not 0 <= rank < world_size:
            raise ValueError(
                f"length {length}, batch_size {batch_size}, start_step {start_step}, rank {rank} of {world_size} do "
                "not fit; sizes are 1 or more, steps 0 or more, rank below world_size"
            )
        self.length, self.batch_size, self.seed, self.start_step = length, batch_size, seed, start_step
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = (self.start_step * self.world_size + self.rank) * self.batch_size
        order_of, order = -1, np.empty(0, np.int64)
        while True:
            batch = []
            for epoch, place in (divmod(position + i, self.length) for i in range(self.batch_size)):
                if epoch != order_of:
                    order_of, order = epoch, self.order(epoch)
                batch.append((epoch, int(order[place])))
            yield batch
            position += self.batch_size * self.world_size

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of one epoch, (length,) int64."""
        return numpy_rng(sample_seed(self.seed, epoch, -1, "order")).permutation(self.length)


def partners(paths: Sequence[PictureFile], others: Source) -> list[PictureFile]:
    """For each path, the one among `others` with the same name without suffix."""
    named: dict[str, list[PictureFile]] = {}
    for other in others.files:
        named.setdefault(other.stem, []).append(other)
    stems = Counter(path.stem for path in paths)
    single = [path.name for path in paths if len(named.get(path.stem, ())) != 1 or stems[path.stem] > 1]
    if single:
        raise ValueError(
            f"{len(single)} of {len(paths)} pictures ({', '.join(single[:3])}{', ...' if single[3:] else ''}) have no "
            f"partner in {others}, or several; give every pair the same name, endings aside, and no other"
        )
    return [named[path.stem][0] for path in paths]


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))  # (H, W, 3) -> (3, H, W)
