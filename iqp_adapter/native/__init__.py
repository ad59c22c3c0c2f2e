"""IQPFR itself, from the token grid to the dial."""

from .model import IQPFR
from .presets import PRESETS, IQPFRConfig, preset
from .tokenizer import Tokenizer

__all__ = ["IQPFR", "PRESETS", "IQPFRConfig", "Tokenizer", "preset"]
