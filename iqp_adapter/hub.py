"""Where weights come from: the package itself, a folder, or the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

BUILTIN = Path(__file__).parent / "weights"


def resolve(name: str | Path, *, prefix: str = "", revision: str | None = None) -> Path:
    """The folder of a checkpoint.

    Args:
        name: of a built-in checkpoint ("tiny"), a folder, or a Hub id ("user/model").
        prefix: of the built-in folders of one kind.
        revision: branch, tag or commit on the Hub.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    builtin = BUILTIN / f"{prefix}{name}"
    if builtin.is_dir():
        return builtin
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(name), revision=revision))
