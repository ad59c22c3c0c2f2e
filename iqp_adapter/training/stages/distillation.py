"""An adapter learns codes that a search has found for a higher score: the gain of a search without its cost."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.codes import Optimisation
from ...hosts.wrapped import WrappedHost
from .. import losses
from ..config import StageConfig
from .adaptation import Adaptation
from .reward import decoded_with_gradient
from .stage import Batch, Terms


class CodeDistillation(Adaptation):
    """For adapters that steer codes. Term: code, the cross-entropy of the codes that were found.

    The codes of every input are found beforehand, after several numbers of updates, with the score that each reached
    (see `found_codes`). A sample is one of these; its condition is the quality of that score within the sample's own
    set. So the adapter learns the whole way from the host's own codes to the highest score, and neither the decoder nor
    the metric runs in its training.

    Source: `codes.search`, which is the optimisation at test time, amortised as in knowledge distillation (arXiv
    1503.02531).

    Options: `smoothing` of the code labels; of the search `rounds`, the inputs of each picture; `search_steps`, the
    updates; `search_rate`, their size; `kl_weight`, the price of leaving the host's own distribution, in points of the
    metric per nat; `noise`, as in `codes.Optimisation`.
    """

    term_names = ("code",)
    defaults = {
        **Adaptation.defaults,
        "smoothing": 0.1,
        "rounds": 1,
        "search_steps": 10,
        "search_rate": 0.3,
        "kl_weight": 1.0,
        "noise": 0.0,
    }

    @classmethod
    def seen(cls, model: WrappedHost, lq: Tensor) -> Tensor:
        if not model.decides_codes:
            raise ValueError(f"{model.name} decides no codes that could be found; leave distillation out, give reward")
        decision = model.decision(lq)
        decoded_with_gradient(model, decision, "distillation")
        return torch.cat([logits.flatten() for logits in decision.logits])

    @classmethod
    def search_of(cls, config: StageConfig) -> tuple[Optimisation, int]:
        """Settings of the search, and for how many inputs of each picture it is made."""
        options = {**cls.defaults, **config.options}
        settings = Optimisation(
            steps=int(options["search_steps"]),
            rate=options["search_rate"],
            kl_weight=options["kl_weight"],
            noise=options["noise"],
        )
        return settings, int(options["rounds"])

    def terms(self, batch: Batch) -> Terms:
        pairs = zip(self.model.decision(batch.lq).logits, batch.codes, strict=True)
        each = [losses.code_cross_entropy(logits, wanted, self.options["smoothing"]) for logits, wanted in pairs]
        return {"code": torch.stack(each).mean()}
