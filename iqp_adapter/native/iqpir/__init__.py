"""IQPIR, the model of the paper's authors: sizes, trunk, codebooks, Transformer, and the stage-1 tokenizer."""

from .model import IQPIR
from .sizes import IQPIRConfig
from .tokenizer import IQPIRTokenizer

__all__ = ["IQPIR", "IQPIRConfig", "IQPIRTokenizer"]
