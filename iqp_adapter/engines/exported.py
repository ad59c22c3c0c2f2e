"""Exported restorers: a folder with a program, which an engine runs without torch's help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import lexists
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.codes import Codes
from ..core.quality import OWN, Asked, as_quality
from ..pictures import RINGING, as_given, check_images, fit
from ..store.checkpoint import WEIGHTS
from ..store.files import sha256_of
from ..store.reading import Fields, json_file
from .engine import Engine
from .facts import Facts
from .formats import FORMATS, Arrays, Format, Session, Shape, UnreadableError, format_of, programs, version_of
from .graph import FIDELITY, LQ, QUALITY, SCALE, inputs_for, inputs_of

CONFIG, KIND = "config.json", "engine"
"""File of what is known of a program, and what its entry `kind` says."""

LAYOUT = 1
"""Of the folder; a later one is refused."""

AGAIN = "export it again"
"""What helps against damage of any kind."""


class Exported(Engine):
    """A restorer that was exported: its dial is as it was, and nothing of it can be trained.

    Args:
        folder: as `export` writes it.
        device: where it is to run; by default the CPU.

    Attributes:
        config: all that the folder says, among it the self-check.

    Raises:
        ValueError: for a folder that is damaged, or written by a later version, and a program that cannot be run here.
            NotHereError, one of them, where this machine lacks the precision or device.
        ImportError: where the engine is not installed.
    """

    def __init__(self, folder: str | Path, device: torch.device | str | None = None):
        folder, place = Path(folder), torch.device("cpu" if device is None else device)
        fields = _read(folder)
        engine = fields.text("format", FORMATS)
        kind = format_of(engine)
        precision = fields.text("precision", kind.PRECISIONS)
        super().__init__(Facts.from_config(fields.inside("restorer")), engine, precision, place)
        self.config: Mapping[str, Any] = fields.data
        self._any_batch = fields.truth("any_batch")
        self._inputs = inputs_of(self.facts)
        _check_files(folder, fields.inside("files"), kind.FILES)
        kind.check(precision, place)
        self._session = _opened(kind, folder, fields, precision, place)
        self._refuse_other(folder / kind.FILES[0])
        self._turn = Lock()

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**super().settings, "files": self.config["files"]}

    def check(self, arguments: Mapping[str, Any]) -> None:
        asked = {name: value for name, value in arguments.items() if value is not None}
        known = {QUALITY, SCALE, *({FIDELITY} & set(self._inputs))}
        if unknown := sorted(asked.keys() - known):
            raise ValueError(
                f"an exported {self.name} takes no {unknown[0]}, but {', '.join(sorted(known))}; the model that it was "
                f"made of may take more"
            )
        if self.takes_quality and not self.facts.guided and asked.get(SCALE, 1) != 1:
            raise ValueError(f"scale is {asked[SCALE]}, but {self.name} has no guidance; leave it out, or 1")
        super().check(asked)

    def restore(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None, **arguments: Any
    ) -> Tensor:
        self.check({QUALITY: quality, SCALE: scale, FIDELITY: fidelity, **arguments})
        return self.restore_with_codes(lq, quality, scale, fidelity)[0]

    @torch.no_grad()
    def restore_with_codes(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None
    ) -> tuple[Tensor, Codes]:
        pictures = fit(lq, self.resolution, like=torch.zeros((), dtype=torch.float32, device="cpu"))
        check_images(pictures, "lq", beyond=RINGING)
        restored, *codes = self._run(self._arrays(pictures, quality, scale, fidelity))
        if restored.shape != pictures.shape:
            raise ValueError(f"the exported {self.name} gave {restored.shape} for {tuple(pictures.shape)}; {AGAIN}")
        return as_given(torch.from_numpy(restored).to(lq.device), lq), tuple(map(torch.from_numpy, codes))

    def _arrays(self, pictures: Tensor, quality: Asked, scale: Any, fidelity: Any) -> Arrays:
        """The inputs. Where nothing is asked for, there is no preference, and nothing is added for it."""
        wanted: Any = self.quality if quality is OWN else quality
        strength = 0.0 if wanted is None else self.facts.scale if scale is None else scale
        rows = as_quality("any" if wanted is None else wanted, len(pictures), [QUALITY])
        values = inputs_for(self.facts, pictures, rows, strength, fidelity)
        return {name: np.ascontiguousarray(value.numpy(), np.float32) for name, value in values.items()}

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        with self._turn:
            if self._any_batch:
                return [each.copy() for each in self._session.run(inputs)]
            single = [
                {name: rows[place : place + 1] for name, rows in inputs.items()} for place in range(len(inputs[LQ]))
            ]
            outputs = [[each.copy() for each in self._session.run(one)] for one in single]
        return [np.concatenate(rows) for rows in zip(*outputs, strict=True)]

    def _refuse_other(self, path: Path) -> None:
        """Raises ValueError for a program that does not take what the config says: it is of another export."""
        batch, side = None if self._any_batch else 1, self.resolution
        shapes: dict[str, Shape] = {
            LQ: (batch, 3, side, side), QUALITY: (batch, 1), SCALE: (batch,), FIDELITY: (batch,)
        }  # fmt: skip
        wanted, found = {name: shapes[name] for name in self._inputs}, dict(self._session.inputs)
        if found != wanted:
            raise ValueError(f"{path} takes {found}, but {CONFIG} beside it describes {wanted}; {AGAIN}")


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds a program, whole or not, or is a file of one; asked before any weights are looked for."""
    folder = Path(folder)
    if _says_so(folder / CONFIG) or (folder.name in programs() and lexists(folder)):
        return True
    return not lexists(folder / WEIGHTS) and any(lexists(folder / name) for name in programs())


def _says_so(config: Path) -> bool:
    try:
        return config.is_file() and json_file(config).get("kind") == KIND
    except (OSError, ValueError):
        return False


_LONGEST = 40
"""Signs of a version that are shown."""


def _read(folder: Path) -> Fields:
    path = folder / CONFIG
    if folder.is_file():
        raise ValueError(f"{folder} is a part of an export; give its folder, {folder.parent}")
    if not path.is_file():
        raise FileNotFoundError(f"no exported restorer in {folder}; it would be a folder with {CONFIG} and a program")
    fields = Fields(json_file(path), str(path))
    fields.text("kind", [KIND])
    layout = fields.whole("layout", 1, 1000)
    if layout > LAYOUT:
        version = fields.text("version")[:_LONGEST]
        raise ValueError(f"{folder} was exported by iqp_adapter {version}, a later one; install that")
    return fields


def _check_files(folder: Path, files: Fields, names: Sequence[str]) -> None:
    """Every file of the program is there and has the content that it was written with; there are no others."""
    for name in names:
        path, checksum = folder / name, files.only(names).text(name)
        if not path.is_file():
            raise ValueError(f"{path} is missing; {AGAIN}")
        if sha256_of(path) != checksum:
            raise ValueError(f"{path} is damaged: its content does not have its own checksum; {AGAIN}")


def _opened(kind: Format, folder: Path, config: Fields, precision: str, device: torch.device) -> Session:
    """The program; where it cannot be read, the versions that could may be the remedy."""
    try:
        return kind.open(folder, precision, device)
    except UnreadableError as error:
        made = config.inside("made_with").data
        others = [name for name in kind.PACKAGES if made.get(name) != version_of(name)]
        wanted = ", ".join(f"{name} {made[name][:_LONGEST]}" for name in others if isinstance(made.get(name), str))
        remedy = f"it was made with {wanted}: install that, or " if wanted else ""
        raise ValueError(f"{error}; {remedy}{AGAIN}") from None


def as_asked(exported: Exported, engine: str | None, precision: str | None) -> Exported:
    """The exported restorer itself.

    Raises:
        ValueError: where it is for another engine or precision than is asked for.
    """
    for name, wanted in {"engine": engine, "precision": precision}.items():
        own = getattr(exported, name)
        if wanted not in (None, "auto", own):
            raise ValueError(f"{name} is {wanted!r}, but {exported.name} was exported for {own}; export it again")
    return exported
