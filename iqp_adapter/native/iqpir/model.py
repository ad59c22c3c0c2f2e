"""IQPIR: the successor of IQPFR as its authors published it, to run their weights and to train anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ...core.codes import Codes, straight_through, with_moments_of
from ...core.flags import fixed
from ...core.injection import Scale
from ...core.numbers import check_numbers
from ...core.own_dial import OwnDial
from ...core.quality import OWN, Asked, Quality, ScoreScale
from ...core.score_map import bin_of
from ...pictures import as_given, as_unit, fit
from ...restorer import Decision
from ...scoring.scales import lite_scale, named_scale, read_scale
from ...store.reading import Fields
from ..pretrained import Pretrained
from .codebooks import Book
from .fidelity import is_trained, paints_holes, refuse_untrained
from .predictor import layers
from .sizes import MAP, NONE, IQPIRConfig
from .tokenizer import IQPIRTokenizer
from .trunk import Fusion, encoder, encoder_place, generator, generator_place

FFHQ = "ffhq/musiq-gfiqa+topiq-face"
"""Name of the score scale by which a quality becomes a score: two of the three metrics that the authors averaged."""

COMMONEST = 0.85
"""The score that stands for no preference: of the row that most of the authors' training pictures have, the eighth."""

KIND = "iqpir"
"""Entry of a checkpoint's config that holds the sizes."""


class Prediction(NamedTuple):
    """What the Transformer says of a batch.

    Attributes:
        logits: (B, L, K) of the common codebook, and of HQ+ where there is one.
        features: (B, D, h, w) of the encoder, with the score's map.
        levels: the encoder's features that the fidelity path takes, by level.
    """

    logits: Codes
    features: Tensor
    levels: Mapping[int, Tensor]


class IQPIR(Pretrained):
    """Blind face restoration with an image quality prior, by the architecture of the paper's authors.

        lq ── encoder ── + ── Transformer ── codes (common + alpha HQ+) ── AdaIN ── generator ──► restored
                         ▲                                                   ▲
                 map of the score                                 encoder's output + map

    Keys and shapes are those of the authors' class, in each of its variants, and so are its answers. A quality becomes
    a score on FFHQ's scale of two of the authors' three metrics. Scores are binned, so that the dial has as many
    settings as the table has rows, of which those below 0.5 are nearly untrained.

    Source: IQPIR (arXiv 2603.29773), https://github.com/fengyang1399-pixel/IQPIR at a4408c7. Written for this project
    from its shapes and outputs. Differs: scores of 1 take the last row (there: an error); a picture of a batch has a
    score of its own; the fidelity path is refused where it was never trained.

    Args:
        config: sizes.
        alpha: weight of the HQ+ code. It is not in the authors' files; they trained with 0.8.
        score_scale: the scale by which a quality becomes a score; by default FFHQ's.
        any: the score that stands for no preference.

    Attributes:
        quality: what `restore` aims at where it is not told.
        licence: of weights that others made.
    """

    licence = ""

    def __init__(
        self,
        config: IQPIRConfig | None = None,
        alpha: float = 0.8,
        score_scale: ScoreScale | None = None,
        any: float = COMMONEST,
    ):
        super().__init__()
        self.config = config = config or IQPIRConfig()
        self.alpha = alpha
        self.dial = own_dial(score_scale, any)
        self.quality: Quality = "any" if config.score == NONE else "best"
        self.encoder, self.generator = encoder(config), generator(config)
        self.quantize = Book(config.codes, config.code_dim)
        if config.books == 2:
            self.quantize_aesthetic = Book(config.codes, config.code_dim)
        self.position_emb = nn.Parameter(torch.zeros(config.grid**2, config.dim))
        self.feat_emb = nn.Linear(config.code_dim, config.dim)
        self.ft_layers = layers(config)
        logits = nn.Linear(config.dim, config.codes * config.books, bias=False)
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(config.dim), logits)
        if config.score != NONE:
            tables = [nn.Embedding(rows, config.score_dim * config.grid**2) for rows in config.rows]
            self.score_embed = tables[0] if len(tables) == 1 else nn.ModuleList(tables)
        self.levels = {side: config.sides.index(side) for side in config.fused}
        fusions = {str(side): Fusion(config.widths[level]) for side, level in self.levels.items()}
        self.fuse_convs_dict = nn.ModuleDict(fusions)

    # -- what it is

    @property
    def resolution(self) -> int:
        return self.config.resolution

    @property
    def device(self) -> torch.device:
        return self.position_emb.device

    @property
    def takes_quality(self) -> bool:
        return self.config.score != NONE

    @property
    def takes_adapter(self) -> bool:
        """As a host, whose dial goes on beside an adapter's."""
        return True

    @property
    def decides_codes(self) -> bool:
        return True

    @property
    def score_scale(self) -> ScoreScale:
        """That of iqp-lite: the scores that the model takes cannot be computed here."""
        return lite_scale()

    @property
    def any_layout(self) -> bool:
        return True

    @property
    def own_fidelity(self) -> float | None:
        return float(self.paints_holes) if is_trained(self.fuse_convs_dict) else None

    @property
    def conditioned_on(self) -> tuple[str, ...]:
        return (self.dial.scale.metric,) if self.takes_quality else ()

    @property
    def settings(self) -> Mapping[str, Any]:
        scale = self.dial.scale.to_dict() | {"any": self.dial.any}
        return self.config.to_dict() | {"alpha": self.alpha, "score_scale": scale}

    @property
    def paints_holes(self) -> bool:
        """Whether it is of the sizes for inpainting; it is called without AdaIN and at full fidelity then."""
        return paints_holes(self.config.fused, self.resolution)

    @property
    def books(self) -> tuple[tuple[Book, float], ...]:
        """The codebooks, common first, with the weights of their codes in the sum."""
        common = (self.quantize, 1.0)
        return (common, (self.quantize_aesthetic, self.alpha)) if self.config.books == 2 else (common,)

    # -- their call

    def forward(
        self,
        x: Tensor,
        score: Tensor | float | None = None,
        w: float | Tensor = 0,
        detach_16: bool = True,
        code_only: bool = False,
        adain: bool = False,
    ) -> tuple[Tensor, ...]:
        """The call of the authors' class.

        Args:
            x: aligned faces (B, 3, R, R), RGB in [-1, 1].
            score: of the wanted picture, from 0 to 1: a number, (B,), or (B, S) for a model with S tables.
            w: weight of the fidelity path in [0, 1].
            detach_16: False passes the gradient of the picture straight through the codes to the encoder.
            code_only: stops at the codes.
            adain: shifts the codes to mean and deviation of the encoder's output, which keeps the input's colours.

        Returns:
            restored pictures (B, 3, R, R), code logits (B, L, K), or (B, L, K, 2) with HQ+ first, and the encoder's
            output with the score's map (B, D, h, w); the last two alone with `code_only`.

        Raises:
            ValueError: without a score, and for scores of another shape.
        """
        prediction = self.predict(x, score)
        logits = prediction.logits[0] if self.config.books == 1 else torch.stack(prediction.logits[::-1], -1)
        if code_only:
            return logits, prediction.features
        codes = self.look_up([each.argmax(-1) for each in prediction.logits])
        codes = codes.detach() if detach_16 else straight_through(codes.detach(), prediction.features)
        return self.decode(codes, prediction, w, adain), logits, prediction.features

    if TYPE_CHECKING:
        __call__ = forward

    def predict(self, x: Tensor, score: Tensor | float | None) -> Prediction:
        """Pictures in [-1, 1] and scores, as for a call -> code logits, and what the generator needs besides."""
        levels: dict[int, Tensor] = {}
        features = self.encoder(
            x, {encoder_place(self.config, n): partial(_keep, levels, n) for n in self.levels.values()}
        )
        score_map = self._score_map(score, x.shape[0])
        if self.config.score == MAP and score_map is not None:
            features = features + score_map
        tokens = self.feat_emb(features.flatten(2).permute(2, 0, 1))  # (B, D, h, w) -> (L, B, C)
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb[:, None], score_map)
        logits = self.idx_pred_layer(tokens).transpose(0, 1)  # (L, B, C) -> (B, L, books * K)
        # of two codebooks the rows of the head alternate, HQ+ first
        books = logits.unflatten(2, (-1, self.config.books)).unbind(3)[::-1]
        return Prediction(tuple(books), features, levels)

    def look_up(self, codes: Sequence[Tensor]) -> Tensor:
        """Code indices (B, L) of each codebook, common first -> the sum of their entries (B, D, h, w)."""
        return self._as_grid([book.embedding(each) for (book, _), each in zip(self.books, codes, strict=True)])

    def mix(self, weights: Codes) -> Tensor:
        """Code weights (B, L, K) of each codebook -> the sum of their entries (B, D, h, w), differentiable."""
        return self._as_grid(
            [each @ book.entries.to(each) for (book, _), each in zip(self.books, weights, strict=True)]
        )

    def decode(self, codes: Tensor, prediction: Prediction, w: float | Tensor, adain: bool) -> Tensor:
        """Summed codes (B, D, h, w) -> pictures (B, 3, R, R) in [-1, 1], not clamped."""
        if adain:
            codes = with_moments_of(prediction.features, codes)
        return self.generator(codes, self._fusions(prediction, w) if isinstance(w, Tensor) or w else None)

    # -- as a restorer

    @torch.no_grad()
    def restore(
        self,
        lq: Tensor,
        quality: Asked = OWN,
        scale: float | None = None,
        fidelity: float | Tensor | None = None,
        score: Tensor | float | None = None,
        **arguments: Any,
    ) -> Tensor:
        """As every restorer; `score` is the model's own, in place of a quality."""
        asked = {"quality": quality, "scale": scale, "fidelity": fidelity, "score": score, **arguments}
        return self._restored(lq, asked)[0]

    @torch.no_grad()
    def restore_with_codes(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None
    ) -> tuple[Tensor, Codes]:
        return self._restored(lq, {"quality": quality, "scale": scale, "fidelity": fidelity})

    def _restored(self, lq: Tensor, asked: Mapping[str, Any]) -> tuple[Tensor, Codes]:
        prediction, picture = self._prepared(lq, asked)
        codes = tuple(each.argmax(-1) for each in prediction.logits)
        return as_given(picture(self.look_up(codes)), lq), codes

    def check(self, arguments: Mapping[str, Any]) -> None:
        asked = {name: value for name, value in arguments.items() if value is not None}
        if unknown := asked.keys() - {"quality", "scale", "fidelity", "score"}:
            raise ValueError(f"IQPIR has no {', '.join(sorted(unknown))}; it takes fidelity and score")
        super().check(arguments)
        if asked.get("scale", 1) != 1:
            raise ValueError(f"scale is {asked['scale']}, but IQPIR has no guidance; leave it out, or 1")
        if "score" in asked and self.config.score == NONE:
            raise ValueError("this IQPIR takes no score; leave it out")
        check_numbers("score", asked.get("score", 0.0), 0, 1)
        refuse_untrained(self.fuse_convs_dict, asked.get("fidelity", 0.0))

    @contextmanager
    def deciding(
        self, lq: Tensor, quality: Asked, scale: Scale | None, arguments: dict[str, Any]
    ) -> Iterator[Decision]:
        with fixed(self):
            prediction, picture = self._prepared(lq, {"quality": quality, "scale": scale, **arguments})
            yield Decision(prediction.logits, lambda weights: as_unit(picture(self.mix(weights))))

    def _prepared(self, lq: Tensor, asked: Mapping[str, Any]) -> tuple[Prediction, Callable[[Tensor], Tensor]]:
        """What it predicts for pictures in [0, 1], and how summed codes become pictures (B, 3, R, R) there."""
        self.check(asked)
        score, fidelity = asked.get("score"), asked.get("fidelity")
        x = 2 * fit(lq, self.resolution, self.position_emb) - 1
        prediction = self.predict(x, self._score(asked["quality"]) if score is None else score)
        weight = float(self.paints_holes) if fidelity is None else _column(fidelity, self.position_emb)

        def picture(codes: Tensor) -> Tensor:
            return self.decode(codes, prediction, weight, adain=not self.paints_holes) / 2 + 0.5

        return prediction, picture

    def _score(self, quality: Asked) -> Tensor | None:
        wanted = self.quality if quality is OWN else quality
        return self.dial.score("any" if wanted is None else wanted) if self.takes_quality else None

    # -- parts of the above

    def _score_map(self, score: Tensor | float | None, batch: int) -> Tensor | None:
        """Scores, as for a call -> the sum of their maps (B, C, h, w); None for a model that takes none."""
        if self.config.score == NONE:
            return None
        scores = self._scores(score, batch)
        tables: Any = [self.score_embed] if isinstance(self.score_embed, nn.Embedding) else self.score_embed
        maps = [table(bin_of(scores[:, place], table.num_embeddings)) for place, table in enumerate(tables)]
        return sum(maps[1:], maps[0]).unflatten(1, (-1, self.config.grid, self.config.grid))

    def _scores(self, score: Tensor | float | None, batch: int) -> Tensor:
        """(B, S), one column for each table."""
        if score is None:
            raise ValueError("this IQPIR needs a score from 0 to 1; the authors take 0.95 for the best")
        scores = torch.as_tensor(score, dtype=torch.float32, device=self.device)
        wide = scores[:, None] if scores.ndim == 1 else scores  # (B,) -> (B, 1)
        if wide.ndim not in (0, 2):
            raise ValueError(f"score has shape {tuple(scores.shape)}; give a number, (B,), or (B, S) for S tables")
        return wide.expand(batch, len(self.config.rows))

    def _fusions(self, prediction: Prediction, w: float | Tensor) -> dict[int, Callable[[Tensor], Tensor]]:
        """What the fidelity path does, by the place in the generator."""
        return {
            generator_place(self.config, level): partial(
                self.fuse_convs_dict[str(side)], encoded=prediction.levels[level], weight=w
            )
            for side, level in self.levels.items()
        }

    def _as_grid(self, entries: list[Tensor]) -> Tensor:
        """Entries (B, L, D) of each codebook -> their sum (B, D, h, w)."""
        summed = sum(weight * each for (_, weight), each in zip(self.books, entries, strict=True))
        return summed.transpose(1, 2).unflatten(2, (self.config.grid, self.config.grid))  # type: ignore[union-attr]

    @torch.no_grad()
    def adopt(self, tokenizer: IQPIRTokenizer) -> None:
        """Starts from stage 1: its codebooks with their weights in the sum, its generator, and its encoder as the
        encoder of degraded pictures."""
        self.alpha = tokenizer.alpha
        for name, part in tokenizer.named_children():
            self.get_submodule(name).load_state_dict(part.state_dict())

    # -- saved

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], alpha: float = 0.8) -> IQPIR:
        """An instance of the sizes of a state dict with the authors' keys; its weights are drawn.

        Raises:
            KeyError: for a key that is not there.
        """
        return cls(IQPIRConfig.of_state(state), alpha)

    @classmethod
    def of_checkpoint(cls, source: str, config: dict[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The model of a checkpoint that is read, in eval mode; `source` is its name, for messages."""
        if KIND not in config:
            raise ValueError(f"{source} holds no IQPIR but {config.get('kind', 'something else')}; load it by load()")
        fields = Fields(config, source)
        size = IQPIRConfig.from_dict(fields.inside(KIND).data, f"{source}: {KIND}")
        dial = read_scale(fields.inside("score_scale")), fields.number("any")
        build = partial(cls, size, fields.number("alpha"), *dial)
        return cls._built(build, source, config, state)

    def to_config(self) -> dict[str, Any]:
        dial = {"score_scale": self.dial.scale.to_dict(), "any": self.dial.any}
        return {KIND: self.config.to_dict(), "alpha": self.alpha, **dial}


def own_dial(score_scale: ScoreScale | None = None, any: float = COMMONEST) -> OwnDial:
    """The score of an IQPIR, by a quality on FFHQ's scale or another."""
    return OwnDial("score", score_scale or named_scale(FFHQ), any, required=True)


def _keep(levels: dict[int, Tensor], level: int, x: Tensor) -> Tensor:
    levels[level] = x
    return x


def _column(fidelity: float | Tensor, like: Tensor) -> float | Tensor:
    """A fidelity for each picture (B,) -> (B, 1, 1, 1)."""
    return fidelity.reshape(-1, 1, 1, 1).to(like) if isinstance(fidelity, Tensor) else fidelity
