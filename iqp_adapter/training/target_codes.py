"""The codes of training targets by a tokenizer: computed, or computed once and kept on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..core.codes import Codes
from ..native.iqpir import IQPIRTokenizer
from ..store.files import atomic_path

logger = logging.getLogger(__name__)

SHARD = 256
"""Pictures whose codes one file holds."""


class TargetCodes:
    """Targets (B, 3, R, R) in [0, 1] -> their codes (B, L) of each codebook, whatever their quality.

    Codes do not depend on the precision that training uses.
    """

    def __init__(self, tokenizer: IQPIRTokenizer):
        self.tokenizer = tokenizer.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, hq: Tensor) -> Codes:
        with torch.autocast(hq.device.type, enabled=False):
            return self.tokenizer.codes(2 * hq.float() - 1)

    def keep(self) -> None:
        """Puts on disk what is not there yet."""


class KeptCodes(TargetCodes):
    """The same; codes that were computed before come from files. Those of a picture do not depend on its batch.

    A picture is known by its content, and so is the tokenizer: the codes are never those of another picture or
    tokenizer, and a changed picture is a new one. It is of use where targets recur exactly, as `FaceFolder.recurs`
    says; a mirror image is a picture of its own. A damaged file is left out with a warning, and its codes are computed
    again.

    Args:
        tokenizer: gives codes that are not there yet.
        folder: of the files; another tokenizer needs another folder.
    """

    def __init__(self, tokenizer: IQPIRTokenizer, folder: Path):
        super().__init__(tokenizer)
        self.folder = folder
        self._kept = dict(self._read())
        self._new: dict[bytes, Tensor] = {}

    def __call__(self, hq: Tensor) -> Codes:
        found = torch.stack([self._of_picture(picture) for picture in hq])  # (B, books, L)
        return tuple(found.to(hq.device).unbind(1))

    def _of_picture(self, picture: Tensor) -> Tensor:
        """(3, R, R) -> (books, L)."""
        key = hashlib.sha256(picture.float().cpu().contiguous().numpy().tobytes()).digest()
        if key not in self._kept:
            codes = torch.cat(super().__call__(picture[None]))  # (1, L) each -> (books, L)
            self._kept[key] = self._new[key] = codes.to("cpu", torch.int16)
            if len(self._new) == SHARD:
                self.keep()
        return self._kept[key].long()

    def keep(self) -> None:
        if not self._new:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._new])  # (N, 32)
        codes = torch.stack(list(self._new.values())).numpy()  # (N, books, L)
        with atomic_path(self.folder / f"{next(iter(self._new)).hex()[:16]}.npz") as path:
            np.savez(path, keys=keys, codes=codes)
        self._new.clear()

    def _read(self) -> Iterator[tuple[bytes, Tensor]]:
        for path in sorted(self.folder.glob("*.npz")):
            try:
                keys, codes = self._checked(path)
            except (BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
                logger.warning("%s is damaged (%s); its codes are computed again", path, error)
                continue
            yield from zip(map(bytes, keys), torch.from_numpy(codes), strict=True)

    def _checked(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The arrays of a file, whose checksums numpy compares.

        Raises:
            ValueError: for arrays that are not of this tokenizer.
        """
        size = self.tokenizer.config
        with np.load(path, allow_pickle=False) as file:
            keys, codes = file["keys"], file["codes"]
        fits = keys.dtype == np.uint8 and keys.shape == (len(codes), 32) and codes.dtype == np.int16
        if not fits or codes.shape[1:] != (size.books, size.grid**2) or codes.min() < 0 or codes.max() >= size.codes:
            raise ValueError(f"arrays {keys.dtype} {keys.shape} and {codes.dtype} {codes.shape}")
        return keys, codes
