"""Does iqp-lite hold where it was not trained? Unseen people of all sets, unseen distortions, outputs of a generator.

python -m benchmarks.scorer.evaluate_lite --set FACES/val --set PORTRAITS/val --name val

Whether it is fair is in `fairness`, and how far it can be fooled in `gaming`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn.functional import one_hot

import iqp_adapter as iqp
from benchmarks.common.judges import panel_of
from benchmarks.common.results import provenance, write_json, write_text
from benchmarks.scorer.choose_default import EveryOption, compare, short
from benchmarks.scorer.distortions import as_tensor, load_face
from benchmarks.scorer.measuring import OUT
from benchmarks.scorer.severities import GROUPS, SEVERITIES, follows, pooled
from iqp_adapter.bench.intervals import Interval, person_of
from iqp_adapter.bench.text import table as markdown
from iqp_adapter.degradations.face import Degradation
from iqp_adapter.scoring.scorer import Scorer
from iqp_adapter.store.files import list_images

METRICS = ("iqp-lite@1", "iqp-lite", "iqp-judge", "niqe", "piqe")
TRUTHS = ("perceptual-lite2", "fsim", "vsi", "gmsd", "ssim")
"""Full-reference judges that nothing here was trained on; the first shares its family of backbones with iqp-lite."""

SIDE = 256
QUALITIES = (0.05, 0.35, 0.65, 0.95)
WRONG = (0.0, 0.03, 0.1, 0.3)
"""Shares of wrong codes, from a restoration to ruin."""

Row = dict[str, Interval]


def main(
    sets: Annotated[list[Path], typer.Option("--set", help="folder of aligned faces; may be repeated")],
    every: EveryOption = 2,
    name: Annotated[str, typer.Option(help="of the result")] = "val",
) -> None:
    torch.set_num_threads(1)
    files = [file for folder in sets for file in list_images([folder])[::every]]
    scorers = [Scorer(metric, device="cpu") for metric in METRICS]
    ladders = compare(files, scorers, [SIDE])[SIDE]
    outputs = on_outputs(files, scorers)
    content: dict[str, Any] = {"faces": len(files), "ladders": ladders, "outputs": outputs}
    write_json(OUT / f"evaluate_lite_{name}.json", content | provenance(0, sets))
    write_text(OUT / f"evaluate_lite_{name}.md", report(content, name))


@torch.no_grad()
def on_outputs(files: Sequence[Path], scorers: Sequence[Scorer]) -> dict[str, dict[str, Row]]:
    """On restorations by the shipped model, at rising quality and with a rising share of wrong codes."""
    people = [person_of(file) for file in files]
    clean = [load_face(file, SIDE) for file in files]
    degrade = Degradation.for_resolution(SIDE)
    lq = torch.cat([as_tensor(degrade(image, seed)) for seed, image in enumerate(clean)])
    dial, wrong = restorations(lq)
    panel, original = panel_of(TRUTHS), torch.cat([as_tensor(image) for image in clean])
    judged = [panel(pictures, original) for pictures in (*dial, *wrong)]
    truths = {one: np.stack([of[one] for of in judged]) for one in TRUTHS}
    found: dict[str, dict[str, Row]] = {}
    for scorer in scorers:
        sign = -1 if scorer.lower_better else 1
        scores = sign * np.stack([scores_of(scorer, pictures) for pictures in (*dial, *wrong)])
        found[scorer.metric] = {
            "dial": follows(scores[len(QUALITIES) - 1 :: -1][:, None], people),
            "wrong codes": follows(scores[len(QUALITIES) :][:, None], people),
            "full reference": {
                one: pooled(scores, of * (-1 if panel.judges[one].lower_better else 1), people)
                for one, of in truths.items()
            },
        }
    return found


def restorations(lq: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Restorations at every quality, and at the best one with wrong codes: lists of (N, 3, R, R)."""
    model = iqp.IQPFR.from_pretrained("tiny")
    parts = list(enumerate(lq.split(10)))
    dial = [torch.cat([model.restore(part, quality=quality) for _, part in parts]) for quality in QUALITIES]
    wrong = []
    for share in WRONG:
        rows = []
        for seed, part in parts:
            with model.deciding(part, "best", None, {}) as decision:
                rows.append(decision.decode(tuple(with_wrong(logits, share, seed) for logits in decision.logits)))
        wrong.append(torch.cat(rows))
    return dial, wrong


def with_wrong(logits: Tensor, share: float, seed: int) -> Tensor:
    """The most likely codes of logits (B, L, K) as one-hot weights, a share of them drawn anew."""
    rng = np.random.default_rng(seed)
    codes = logits.argmax(-1)
    order = torch.from_numpy(rng.random(codes.shape))
    drawn = torch.from_numpy(rng.integers(logits.shape[-1], size=codes.shape))
    return one_hot(torch.where(order < share, drawn, codes), logits.shape[-1]).to(logits)


def scores_of(scorer: Scorer, pictures: Tensor) -> np.ndarray:
    return torch.cat([scorer(part) for part in pictures.split(10)]).numpy()


def report(content: dict[str, Any], name: str) -> str:
    ladders, outputs = content["ladders"], content["outputs"]
    lines = [["metric", "distortions", "per image", "pooled", "raised", "in order"]]
    for metric, groups in ladders.items():
        lines += [
            [metric, group, *(short(groups[group][key]) for key in ("per_image", "pooled", "raised", "in_order"))]
            for group in GROUPS
        ]
    kinds = [["distortion", *ladders]]
    for kind in next(iter(ladders.values()))["distortions"]:
        kinds.append([kind, *(f"{of['distortions'][kind]['in_order']:.3f}" for of in ladders.values())])
    made = [["metric", "dial, per image", "wrong codes, per image", "wrong codes, in order", *TRUTHS]]
    for metric, of in outputs.items():
        cells = [of["dial"]["per_image"], of["wrong codes"]["per_image"], of["wrong codes"]["in_order"]]
        made.append([metric, *map(short, [*cells, *of["full reference"].values()])])
    return (
        f"# iqp-lite on {name}\n\n## Against severity\n\n{markdown(lines)}\n\n"
        f"Rank correlation (Spearman) of the score with the severity of distortions, {len(SEVERITIES)} severities and "
        f"the original, of {content['faces']} faces at {SIDE} px; 95 % intervals over people. Per image: within one "
        "face and distortion, mean of all. Pooled: over all at once. Raised: share of distorted faces that score "
        "better than their original. In order: share of pairs of levels of one face whose milder one scores better. "
        "Seen: iqp-lite learned from these distortions, of other people; unseen: it did not (iqp-judge did).\n\n"
        f"## Pairs in order, by distortion\n\n{markdown(kinds)}\n\n"
        f"## On what the shipped model makes\n\n{markdown(made)}\n\n"
        f"Dial: rank correlation with the quality that was asked for ({', '.join(map(str, QUALITIES))}). Wrong codes: "
        f"with the share of codes drawn anew ({', '.join(map(str, WRONG))}). The others: pooled rank correlation with "
        "full-reference judges over all these pictures.\n"
    )


if __name__ == "__main__":
    typer.run(main)
