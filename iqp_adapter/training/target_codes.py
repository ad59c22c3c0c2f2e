"""The codes of training targets by a tokenizer: computed, or computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.codes import Codes
from ..native.iqpir import IQPIRTokenizer
from .kept_arrays import read_arrays, write_arrays

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
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._new])  # (N, 32)
        codes = torch.stack(list(self._new.values())).numpy()  # (N, books, L)
        write_arrays(self.folder / f"{next(iter(self._new)).hex()[:16]}.npz", keys=keys, codes=codes)
        self._new.clear()

    def _read(self) -> Iterator[tuple[bytes, Tensor]]:
        for path in sorted(self.folder.glob("*.npz")):
            if (arrays := read_arrays(path, "keys", "codes", check=self._check)) is not None:
                keys, codes = arrays
                yield from zip(map(bytes, keys), torch.from_numpy(codes), strict=True)

    def _check(self, keys: np.ndarray, codes: np.ndarray) -> None:
        """
        Raises:
            ValueError: for arrays that are not of this tokenizer.
        """
        size = self.tokenizer.config
        fits = keys.dtype == np.uint8 and keys.shape == (len(codes), 32) and codes.dtype == np.int16
        if not fits or codes.shape[1:] != (size.books, size.grid**2) or codes.min() < 0 or codes.max() >= size.codes:
            raise ValueError(f"arrays {keys.dtype} {keys.shape} and {codes.dtype} {codes.shape}")
