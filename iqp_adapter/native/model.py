"""IQPFR itself: a degraded face in, the face at the quality that is asked for out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..core.codes import Codes, guide
from ..core.colours import grey_where_grey, with_colours_of
from ..core.embedding import ScoreEmbedding
from ..core.flags import fixed
from ..core.injection import Scale
from ..core.numbers import check_numbers
from ..core.quality import ANY, OWN, Asked, Quality, ScoreScale, as_quality, set_scales_entry
from ..core.score_map import ScoreBins
from ..pictures import RINGING, as_given, as_unit, check_images, fit
from ..restorer import Decision
from ..scoring.scales import read_scale, read_set_scales, say_stale
from ..store.reading import Fields
from .autoencoder import PICTURE, Decoder, Encoder
from .codebook import Codebook
from .fidelity import FidelityFusion
from .finish import Finish, halved
from .presets import IQPFRConfig
from .pretrained import Pretrained
from .tokenizer import DualCodebook, Tokenizer, as_grid
from .transformer import CodeTransformer


class Prediction(NamedTuple):
    """What the Transformer says of a batch: code logits of both codebooks, and what the decoder needs besides.

    `lq` are the degraded pictures at the side that codes are of.
    """

    lq: Tensor
    code_logits: Codes
    features: list[Tensor]
    tokens: Tensor | None

    def guided(self, null: Prediction, scale: float | Tensor) -> Prediction:
        """Guidance away from what is said without a preference: in full on the logits, between both on the rest."""
        strength = (
            torch.as_tensor(scale, device=self.lq.device).to(self.lq).reshape(-1, 1, 1)
        )  # () or (B,) -> (B, 1, 1)
        share = strength.clamp(0, 1)
        logits = tuple(guide(a, b, strength) for a, b in zip(null.code_logits, self.code_logits, strict=True))
        pairs = zip(null.features, self.features, strict=True)
        features = [a if a is b else a.lerp(b, share[..., None]) for a, b in pairs]
        tokens = None if self.tokens is None or null.tokens is None else null.tokens.lerp(self.tokens, share)
        return Prediction(self.lq, logits, features, tokens)


class IQPFR(Pretrained):
    """Blind face restoration with an image quality prior.

        lq ── encoder ── Transformer ◄── tokens ◄── quality
                 │            └── codes (common, HQ+) ── decoder ──► restored
                 └──────────── fidelity path ──────────────┘

    Source: the ideas of IQPFR (arXiv 2503.09294), built for this project. The authors' code became public later, with
    the successor IQPIR (arXiv 2603.29773, https://github.com/fengyang1399-pixel/IQPIR). Differs from it: the score
    enters every layer by cross-attention (theirs: a map, added once to the encoder's output), the codebooks are
    concatenated (theirs: summed), HQ+ has a learned null, "any" and the fidelity path are trained, the decoder is our
    own, and a finish may double the side. Each part says the rest where it is. The configuration can take their map,
    their sum and their zero.

    Args:
        config: sizes, see `presets`.
        score_scale: the scale of the metric that conditions the model.
        fidelity: default weight of the fidelity path, 0 (codes alone) to 1 (trusts the input most).
        set_scales: the scale of each training set by its name, where there were several; `score_scale` is of all then.
    """

    def __init__(
        self,
        config: IQPFRConfig,
        score_scale: ScoreScale | None = None,
        fidelity: float = 0.5,
        set_scales: Mapping[str, ScoreScale] | None = None,
    ):
        super().__init__()
        self.config, self.fidelity = config, fidelity
        self._score_scale, self._set_scales = score_scale, dict(set_scales or {})
        self.quality: Quality = "best" if config.condition else "any"
        self.encoder = Encoder(config.patch, config.widths, config.encoder_blocks)
        self.transformer = CodeTransformer(config)
        self.books = DualCodebook(config, Codebook)
        self.decoder = Decoder(config.latent, config.patch, config.widths, config.decoder_blocks)
        self.fusions = nn.ModuleDict(
            {str(i): FidelityFusion(width := config.widths[i], width, config.attended) for i in config.fused_levels}
        )
        if config.fused_picture:
            self.fusions[PICTURE] = FidelityFusion(self.decoder.last_width, 3, None)
        self.embedding = ScoreEmbedding(config.attended, config.tokens) if config.attended else None
        self.score_map = ScoreBins(config.widths[-1], positions=config.grid**2) if config.has_score_map else None
        self.finish = Finish(config.finish_width, config.finish_blocks, config.attended) if config.finished else None

    @property
    def resolution(self) -> int:
        return self.config.resolution

    @property
    def device(self) -> torch.device:
        return self.books.null.device

    @property
    def takes_quality(self) -> bool:
        return self.config.condition

    @property
    def takes_adapter(self) -> bool:
        """One that has no condition of its own is a host like any other."""
        return not self.config.condition

    @property
    def decides_codes(self) -> bool:
        return True

    @property
    def score_scale(self) -> ScoreScale | None:
        return self._score_scale

    @property
    def set_scales(self) -> Mapping[str, ScoreScale]:
        return self._set_scales

    @property
    def any_layout(self) -> bool:
        return True

    @property
    def own_fidelity(self) -> float | None:
        return self.fidelity

    @property
    def conditioned_on(self) -> tuple[str, ...]:
        return (self.score_scale.metric,) if self.takes_quality and self.score_scale else ()

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.config.to_dict() | {"fidelity": self.fidelity}

    @property
    def embeddings(self) -> list[nn.Module]:
        """The parts that say what a quality means."""
        return [part for part in (self.embedding, self.score_map) if part is not None]

    def predict(self, lq: Tensor, quality: Tensor, scale: float | Tensor = 1.0) -> Prediction:
        """lq (B, 3, r, r) at the coded side, in [0, 1], and quality (B, 1) -> code logits; `scale` is the guidance."""
        features = self.encoder(lq)
        prediction = self._conditioned(lq, features, quality)
        if not self.takes_quality or (not isinstance(scale, Tensor) and scale == 1):
            return prediction
        return prediction.guided(self._conditioned(lq, features, torch.full_like(quality, ANY)), scale)

    def _conditioned(self, lq: Tensor, features: list[Tensor], quality: Tensor) -> Prediction:
        """What is said of the encoder's features at a quality (B, 1)."""
        tokens = self.embedding(quality) if self.embedding is not None else None
        if self.score_map is not None:
            [added] = self.score_map.condition(quality)  # (B, L, C)
            features = [*features[:-1], features[-1] + as_grid(added)]
        return Prediction(lq, self.transformer(features[-1], tokens, self.books), features, tokens)

    def decode(self, code_tokens: Tensor, prediction: Prediction, fidelity: float | Tensor = 0.0) -> Tensor:
        """Code tokens (B, L, Z), as `books` makes them -> pictures (B, 3, r, r) at the coded side (not clamped)."""
        fidelity = _of_pictures(fidelity)
        seen = {str(level): features for level, features in enumerate(prediction.features)}
        seen[PICTURE] = 2 * prediction.lq - 1
        fuse = {
            level: partial(fusion, seen=seen[level], tokens=prediction.tokens, fidelity=fidelity)
            for level, fusion in self.fusions.items()
        }
        image = self.decoder(as_grid(code_tokens), fuse)
        if not self.config.keep_colours:
            return image
        return with_colours_of(prediction.lq, image, fidelity, self.config.colour_reach)

    def finished(
        self, code_tokens: Tensor, prediction: Prediction, lq: Tensor, fidelity: float | Tensor = 0.0
    ) -> Tensor:
        """Code tokens (B, L, Z) and the degraded pictures (B, 3, R, R) -> restored ones (B, 3, R, R), not clamped."""
        restored = self.decode(code_tokens, prediction, fidelity)
        if self.finish is not None:
            restored = self.finish(restored, lq, prediction.tokens, _of_pictures(fidelity))
        return grey_where_grey(lq, restored) if self.config.keep_colours else restored

    def forward(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: float | Tensor = 1.0,
        fidelity: float | Tensor | None = None,
    ) -> tuple[Tensor, Codes]:
        """
        Args:
            lq: (B, 3, R, R) RGB in [0, 1], aligned faces at the model's resolution.
            quality: a number in [0, 1], (B,) numbers, "best", "any" (or None); without it `model.quality`.
            scale: guidance on the code logits; 0 ignores the quality, 1 follows it, above 1 overshoots.
            fidelity: weight of the fidelity path in [0, 1], a number or (B,); None is `self.fidelity`.

        Returns:
            restored pictures (B, 3, R, R), not clamped, and the code logits of both codebooks.
        """
        prediction = self._predicted(lq, quality, scale)
        code_tokens = self.books.lookup(*(x.argmax(-1) for x in prediction.code_logits))
        return self.finished(code_tokens, prediction, lq, self._fidelity(fidelity)), prediction.code_logits

    if TYPE_CHECKING:
        __call__ = forward

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: float | Tensor | None = None,
        fidelity: float | Tensor | None = None,
        **arguments: Any,
    ) -> Tensor:
        self.check(arguments)
        return self.restore_with_codes(lq, quality, scale, fidelity)[0]

    @torch.no_grad()
    def restore_with_codes(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: float | Tensor | None = None,
        fidelity: float | Tensor | None = None,
    ) -> tuple[Tensor, Codes]:
        fitted = fit(lq, self.resolution, self.books.null)
        restored, logits = self(fitted, quality, 1.0 if scale is None else scale, fidelity)
        return as_given(restored, lq), tuple(each.argmax(-1) for each in logits)

    def check(self, arguments: Mapping[str, Any]) -> None:
        asked = {name for name, value in arguments.items() if value is not None}
        if unknown := asked - {"quality", "scale", "fidelity"}:
            raise ValueError(f"IQPFR has no {', '.join(sorted(unknown))}; it takes fidelity")
        check_numbers("scale", 1.0 if arguments.get("scale") is None else arguments["scale"])
        super().check(arguments)

    @contextmanager
    def deciding(
        self, lq: Tensor, quality: Asked, scale: Scale | None, arguments: dict[str, Any]
    ) -> Iterator[Decision]:
        self.check(arguments)
        with fixed(self):
            fitted = fit(lq, self.resolution, self.books.null)
            yield self.decision(fitted, quality, check_numbers("scale", 1.0 if scale is None else scale), **arguments)

    def decision(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: float | Tensor = 1.0,
        fidelity: float | Tensor | None = None,
    ) -> Decision:
        """What it decides in a call like that, and how other codes are decoded; arguments as for a call."""
        prediction = self._predicted(lq, quality, scale)
        decode = partial(self._decoded, prediction=prediction, lq=lq, fidelity=self._fidelity(fidelity))
        return Decision(prediction.code_logits, decode)

    def _predicted(self, lq: Tensor, quality: Asked, scale: float | Tensor) -> Prediction:
        coded = self._pictures(lq) if self.finish is None else halved(self._pictures(lq))
        return self.predict(coded, self._quality(quality, lq.shape[0]), check_numbers("scale", scale))

    def _decoded(self, weights: Codes, prediction: Prediction, lq: Tensor, fidelity: float | Tensor) -> Tensor:
        code_tokens = self.books.mix(*weights).to(self.books.null.dtype)
        return as_unit(self.finished(code_tokens, prediction, lq, fidelity))

    @torch.no_grad()
    def adopt(self, tokenizer: Tokenizer) -> None:
        """Starts from stage 1: its codebooks and decoder, and its encoder as the encoder of degraded pictures."""
        self.transformer.to_codes.load_state_dict(tokenizer.to_codes.state_dict())
        self.encoder.load_state_dict(tokenizer.encoder.state_dict())
        self.decoder.load_state_dict(tokenizer.decoder.state_dict())
        trained = tokenizer.books.state_dict()
        self.books.load_state_dict({key: trained[key] for key in self.books.state_dict()})

    @classmethod
    def of_checkpoint(cls, source: str, config: dict[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The model of a checkpoint that is read, in eval mode; `source` is its name, for messages."""
        if "model" not in config:
            raise ValueError(f"{source} holds no IQPFR but {config.get('kind', 'something else')}; load it by wrap()")
        fields = Fields(config, source)
        size = IQPFRConfig.from_dict(fields.inside("model").data, f"{source}: model")
        scale = read_scale(fields.inside("score_scale")) if config.get("score_scale") is not None else None
        if scale is not None:
            say_stale(source, config["score_scale"]["metric"])
        set_scales = read_set_scales(fields, [scale.metric] if scale else [])
        build = partial(cls, size, scale, fields.number("fidelity", 0, 1), set_scales)
        return cls._built(build, source, config, state)

    def to_config(self) -> dict[str, Any]:
        return {
            "model": self.config.to_dict(),
            "score_scale": self.score_scale and self.score_scale.to_dict(),
            "fidelity": self.fidelity,
            **set_scales_entry(self.set_scales),
        }

    def _quality(self, quality: Asked, batch: int) -> Tensor:
        wanted = self.quality if quality is OWN else quality
        metric = self.score_scale.metric if self.score_scale else "quality"
        return as_quality("any" if wanted is None else wanted, batch, [metric], self.device)

    def _fidelity(self, fidelity: float | Tensor | None) -> float | Tensor:
        asked = check_numbers("fidelity", self.fidelity if fidelity is None else fidelity, 0, 1)
        return asked.to(self.books.null) if isinstance(asked, Tensor) else asked

    def _pictures(self, lq: Tensor) -> Tensor:
        """Pictures that it takes as they are; compiled code does not look at numbers."""
        check_images(lq, "lq", beyond=RINGING)
        if tuple(lq.shape[-2:]) != (self.resolution, self.resolution):
            raise ValueError(f"lq are {tuple(lq.shape)}, this IQPFR takes {self.resolution} px a side; use restore")
        return lq


def _of_pictures(strength: float | Tensor) -> float | Tensor:
    """A number for all pictures, or one for each: (B,) -> (B, 1, 1, 1)."""
    return strength.reshape(-1, 1, 1, 1) if isinstance(strength, Tensor) else strength
