"""Runs a benchmark: restores what is not restored yet, judges what is not judged yet, and makes a report.

A run that was stopped continues where it stopped, another metric or model costs only its own work, and several
processes share the work by filling the same cache. One of them then makes the report from the cache.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ..core.device import default_device, device_of
from .benchmark import Benchmark
from .report import Report
from .test_sets import check_readable
from .work import Progress, Work, files_of

MARK = ".iqp-bench"


def run(benchmark: Benchmark, progress: Progress = lambda what, done, of: None) -> Report | None:
    """Restores, judges and reports; the processes of accelerate share the pictures.

    Returns:
        the report, in the main process; None in the others.

    Raises:
        ValueError: where an output is missing, or not as large as its input.
        OSError: where the folder holds something else, where a test picture cannot be read or changes during the run,
            and where a command fails, or a method on every picture.
    """
    take_folder(benchmark.folder)
    check_readable(files_of(benchmark.samples))
    return _together(benchmark, progress) if _many() else Work(benchmark, benchmark.samples, progress).report()


def _together(benchmark: Benchmark, progress: Progress) -> Report | None:
    """Every process does its share; the main one waits for all, then reports from the shared cache."""
    state = _processes()
    Work(benchmark, benchmark.samples[state.process_index :: state.num_processes], progress).values()
    state.wait_for_everyone()
    return Work(benchmark, benchmark.samples, progress).report() if state.is_main_process else None


def place(device: str | None = None) -> torch.device:
    """The device to compute on: the named one, else this process's accelerator, else the CPU."""
    if device is not None:
        return device_of(device)
    return _processes().device if _many() else default_device()


def take_folder(folder: Path) -> None:
    """Takes a folder for a benchmark.

    Raises:
        FileExistsError: where it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).exists():
        raise FileExistsError(f"{folder} is not empty and holds no benchmark; name another folder")
    (folder / MARK).touch()


def _many() -> bool:
    """Whether accelerate or torchrun has started several processes."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def _processes() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=7))
