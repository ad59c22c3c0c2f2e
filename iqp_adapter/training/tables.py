"""Tables of the package `datasets`: their pictures by row, from files that the system maps into memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from ..store.words import message_of, wants_memory

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "datasets:"
_FORM = re.compile(r"(?P<name>[^@:]+)(@(?P<revision>[^:]+))?(:(?P<split>[^:]+))?(:(?P<column>[^:]+))?")


@dataclass(frozen=True, eq=False)
class Row:
    """A picture in a table, which opens like a file.

    Attributes:
        content: the table in arrow format, with the encoded pictures.
        table: the name of the table, for messages.
    """

    content: Dataset
    column: str
    place: int
    table: str

    def __str__(self) -> str:
        return f"{self.table}, row {self.place}"

    @property
    def name(self) -> str:
        return str(self.place)

    @property
    def stem(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        """In bytes; 0 for a row without a picture."""
        if not self._cell.is_valid:
            return 0
        with self.open() as file:
            return file.seek(0, SEEK_END)

    def open(self, mode: Literal["rb"] = "rb") -> IO[bytes]:
        """Opens the picture in the table, which is not copied, or the file beside it.

        Raises:
            ValueError: for a row without a picture.
            OSError: where its file is gone.
        """
        import pyarrow

        cell = self._cell
        if not cell.is_valid:
            raise ValueError("the row holds no picture")
        if cell["bytes"].is_valid:
            return pyarrow.BufferReader(cell["bytes"].as_buffer())
        return Path(cell["path"].as_py()).open("rb")

    @property
    def _cell(self) -> Any:
        return self.content[self.place][self.column][0]


def rows(table: Dataset, column: str | None = None, name: str = "the table") -> list[Row]:
    """The pictures of a loaded table, in its order.

    Args:
        table: of `datasets`, not streamed.
        column: of pictures, encoded in the table; by default the only such column.
        name: of the table, for messages.

    Raises:
        TypeError: for a table that is streamed.
        ValueError: where there is no such column, or no row.
    """
    from datasets import Dataset, Image

    if not isinstance(table, Dataset):
        raise TypeError(f"{name} is {type(table).__name__}, expected a Dataset; load one split, without streaming")
    pictures = [each for each, kind in table.features.items() if isinstance(kind, Image)]
    chosen = column or (pictures[0] if len(pictures) == 1 else "")
    if chosen not in pictures:
        asked = f"no column of pictures {column!r}" if column else f"{len(pictures)} columns of pictures"
        raise ValueError(f"{name} has {asked}; name one of {', '.join(pictures) or 'another table'}")
    encoded = table.select_columns([chosen]).cast_column(chosen, Image(decode=False)).with_format("arrow")
    return [Row(encoded, chosen, place, name) for place in range(len(encoded))]


def named(name: str) -> list[Row]:
    """The pictures of a table that is on the Hub, or in a folder of files or of `save_to_disk`.

    A table of the Hub is downloaded once, into the cache of `datasets`.

    Args:
        name: `datasets:OWNER/NAME` or `datasets:FOLDER`, then `@REVISION`, `:SPLIT` and `:COLUMN` where they are
            needed; the split is "train" by default.

    Raises:
        ValueError: for a name of another form, and for a table that cannot be loaded, with the reason in one line.
        ImportError: without the package `datasets`.
    """
    parts = _FORM.fullmatch(name.removeprefix(PREFIX))
    if parts is None:
        raise ValueError(f"{name!r} is no table; write {PREFIX}OWNER/NAME[@REVISION][:SPLIT[:COLUMN]]")
    try:
        from datasets import logging
    except ImportError as error:
        raise ImportError("tables need a further package: pip install 'iqp_adapter[datasets]'") from error
    logging.set_verbosity_error()
    try:
        table = _loaded(parts["name"], parts["split"] or "train", parts["revision"])
    except Exception as error:  # what datasets raises is not documented
        if wants_memory(error):
            raise
        raise ValueError(f"{name} cannot be loaded: {message_of(error):.200}") from error
    return rows(table, parts["column"], name)


def _loaded(name: str, split: str, revision: str | None) -> Dataset:
    from datasets import DatasetDict, load_dataset, load_from_disk

    if (Path(name) / "dataset_dict.json").is_file() or (Path(name) / "state.json").is_file():
        table = load_from_disk(name)
        return table[split] if isinstance(table, DatasetDict) else table
    return load_dataset(name, split=split, revision=revision)
