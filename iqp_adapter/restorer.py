"""The contract of everything that restores faces: the native model, wrapped hosts, and whatever comes later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from .core.codes import Codes, Optimisation, best_of, optimise
from .core.injection import Scale
from .core.metrics import canonical
from .core.numbers import check_numbers
from .core.quality import OWN, Asked, ScoreScale, as_rows
from .pictures import as_given
from .scoring.scorer import Scorer, reward_of


class Decision(NamedTuple):
    """What a model decides for a batch: code logits (B, L, K) per codebook, and the pictures of other code weights."""

    logits: Codes
    decode: Callable[[Codes], Tensor]


def _strengths(scale: Any) -> Collection[Any]:
    """The numbers of a scale, which may differ by site."""
    return scale.values() if isinstance(scale, Mapping) else (scale,)


class Restorer:
    """Restores aligned faces, whatever is inside.

    A class of your own needs `resolution` and `restore`; every other member has a default that claims nothing. The
    photo pipeline, the command line and the benchmark ask these members and nothing else.

    Attributes:
        quality: what a call asks for that names no quality.
        engine: what runs it, see `engines`.
        precision: of the numbers that it computes with.
    """

    quality: Any = None
    engine: str = "torch"
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """What people call it."""
        return type(self).__name__

    @property
    def licence(self) -> str:
        """Of weights that others made, for people to read before they use what it restores; empty for ours."""
        return ""

    @property
    def resolution(self) -> int | None:
        """Side in pixels of the square faces it works on; None for any size, of which none can be cut out of photos."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where it runs; pictures are brought there."""
        return torch.device("cpu")

    @property
    def takes_quality(self) -> bool:
        """Whether the quality that is asked for changes anything."""
        return True

    @property
    def takes_adapter(self) -> bool:
        """Whether an adapter can be loaded onto it, by `load(restorer, adapter=...)`."""
        return False

    @property
    def decides_codes(self) -> bool:
        """Whether it decides discrete codes, so that `optimise` and `best_of` can find better ones."""
        return False

    @property
    def score_scale(self) -> ScoreScale | None:
        """The scale by which a face is called good; None where it has none."""
        return None

    @property
    def set_scales(self) -> Mapping[str, ScoreScale]:
        """The score scale of each set that it was trained on, by the set's name; empty where there was one set alone.

        The quality that it was trained with is that within a picture's own set; `score_scale` is of all sets together.
        """
        return {}

    @property
    def own_fidelity(self) -> float | None:
        """The fidelity of a call that names none; None for a model without a weight between detail and likeness."""
        return None

    @property
    def conditioned_on(self) -> tuple[str, ...]:
        """Metrics that the quality stands for; a benchmark marks them, since the model was made to raise them."""
        return ()

    def restore(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None, **arguments: Any
    ) -> Tensor:
        """Restores faces (B, 3, H, W) RGB in [0, 1] of any size -> same shape, dtype and device, in [0, 1].

        Args:
            quality: a number in [0, 1], a tensor (B,), "best", "any" (no preference), or None (nothing is asked for);
                without it the model's own.
            scale: strength of the quality's guidance, 1 as trained.
            fidelity: weight between detail (0) and likeness to the input (1), where the model has one.

        What a model makes of a picture is returned as it is: where its numbers overflow there is NaN, never a
        colour.

        Raises:
            ValueError: for an argument that it does not take, and for pictures of another shape or range.
        """
        raise NotImplementedError

    def restore_with_codes(
        self, lq: Tensor, quality: Asked = OWN, scale: Any = None, fidelity: Any = None
    ) -> tuple[Tensor, Codes]:
        """`restore`, and the indices (B, L) of the codes of each codebook; none where it does not tell them."""
        return self.restore(lq, quality, scale, fidelity), ()

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Refuses in one line what `restore` does not take, before any work is done.

        A class of your own that has arguments of its own says so by a `check` that calls this one too.

        Args:
            arguments: names and values of arguments beside lq; those that are None are not asked for.

        Raises:
            ValueError: names the argument and what it would take.
        """
        asked = {name: value for name, value in arguments.items() if value is not None}
        if "quality" in asked and asked["quality"] is not OWN:
            as_rows(asked["quality"], self.conditioned_on or ("quality",))
        for value in _strengths(asked.get("scale", 1.0)):
            check_numbers("scale", value)
        check_numbers("fidelity", asked.get("fidelity", 0.0), 0, 1)

    @property
    def any_layout(self) -> bool:
        """Whether it also runs, within `traceable`, with its convolutions in the memory layout channels-last."""
        return False

    def traceable(self) -> AbstractContextManager[None]:
        """Within it the same pictures are made by operators that others have too, where it would use its own."""
        return nullcontext()

    def deciding(
        self, lq: Tensor, quality: Asked, scale: Scale | None, arguments: dict[str, Any]
    ) -> AbstractContextManager[Decision]:
        """What it decides for lq (B, 3, H, W) in a call like that; within it no parameter learns.

        Raises:
            ValueError: for a model without codes, and for arguments that it does not take.
        """
        raise ValueError(f"{self.name} decides no codes, so that none can be optimised; restore with it as it is")

    def parts(self, quality: Asked = OWN) -> Sequence[nn.Module]:
        """The modules that take part in restoring at that quality."""
        return (self,) if isinstance(self, nn.Module) else ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its pictures depend on beside weights and arguments; what JSON can hold."""
        return {}

    def fingerprint(self, quality: Asked = OWN) -> str:
        """Tells apart what restores differently at that quality: a hash of settings and weights."""
        digest = hashlib.sha256(repr(sorted(self.settings.items())).encode())
        for part in self.parts(quality):
            for key, tensor in part.state_dict().items():
                digest.update(key.encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def optimise(
        self,
        lq: Tensor,
        metric: str | Scorer = "iqp-lite",
        steps: int = 20,
        quality: Asked = OWN,
        scale: Scale | None = None,
        kl_weight: float = 1.0,
        **arguments: Any,
    ) -> Tensor:
        """Restores, then raises the metric further by deciding for other codes; see `codes.optimise`.

        Args:
            lq, quality, scale, arguments: as for `restore`, as is what is returned.
            metric: name of a differentiable metric, or a `Scorer`. One of that name that the model is conditioned on
                is taken at the side and on the members' scales that the model knows.
            steps: number of updates, each a restoration and its gradient.
            kl_weight: price of leaving the model's own code distribution, in points of the metric per nat.

        Raises:
            ValueError: for a model without codes, or one that decodes without gradients.
        """
        reward = reward_of(self._scorer(metric), self.device, differentiable=True)
        settings = Optimisation(steps=steps, kl_weight=kl_weight)
        return self._restored_by(lambda d: optimise(*d, reward, settings)[0], lq, quality, scale, arguments)

    def best_of(
        self,
        lq: Tensor,
        metric: str | Scorer = "iqp-lite",
        samples: int = 8,
        quality: Asked = OWN,
        scale: Scale | None = None,
        seed: int = 0,
        temperature: float = 0.5,
        **arguments: Any,
    ) -> Tensor:
        """Of the model's own codes and some that are drawn from its distribution, the picture with the best metric.

        Needs no gradient, so that any metric will do; arguments as for `optimise` and `codes.best_of`.
        """
        reward = reward_of(self._scorer(metric), self.device, differentiable=False)
        return self._restored_by(
            lambda d: best_of(*d, reward, samples, seed, temperature), lq, quality, scale, arguments
        )

    def _scorer(self, metric: str | Scorer) -> str | Scorer:
        """A metric, as the model is conditioned on it where it is."""
        scale = self.score_scale
        if scale is None or not isinstance(metric, str) or canonical(metric) != scale.metric:
            return metric
        return Scorer.of(scale, self.device)

    @torch.no_grad()
    def _restored_by(
        self,
        decide_codes: Callable[[Decision], Codes],
        lq: Tensor,
        quality: Asked,
        scale: Scale | None,
        arguments: dict[str, Any],
    ) -> Tensor:
        """The picture of the codes that are found for what the model decides."""
        with self.deciding(lq, quality, scale, arguments) as decision:
            found = zip(decide_codes(decision), decision.logits, strict=True)
            weights = tuple(one_hot(indices, logits.shape[-1]).to(logits) for indices, logits in found)
            return as_given(decision.decode(weights), lq)
