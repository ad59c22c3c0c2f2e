"""IQPFR itself, from the token grid to the dial, and IQPIR, the model of its authors."""

from .iqpir import IQPIR, IQPIRConfig
from .model import IQPFR
from .presets import PRESETS, IQPFRConfig, preset
from .saved import from_pretrained
from .tokenizer import Tokenizer

__all__ = ["IQPFR", "IQPIR", "PRESETS", "IQPFRConfig", "IQPIRConfig", "Tokenizer", "from_pretrained", "preset"]
