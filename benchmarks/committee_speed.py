"""The measured work of benchmarks.throughput; each function runs in a process of its own.

torch and everything that loads it is imported inside: it reads the environment then.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.label_config import parse
from backend.settings import Settings
from backend.wiring import Wiring
from benchmarks.running import CONFIG, CONTROL, PROJECT, runtime_of, runtimes

LABELS = ("negative", "neutral", "positive")
MEMBERS = 3
PREPARED_TEXTS = 256
WARM_TEXTS = 64
_WIDTH, _LAYERS = 768, 12  # of BERT-base
_PRODUCT = 8192  # rows and columns of the matrices that the peak is measured with


@dataclass(frozen=True)
class Speed:
    """One run of the product's path; `peak_share` is None on a CPU."""

    texts_per_s: float
    runtime: str
    padding_waste: float
    peak_rss_mb: float
    peak_share: float | None = None


def make_members(folder: Path) -> list[str]:
    """Write the classifiers, with the tokenizer of the embedded base; their folders."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from specialists import weights
    from specialists.encoder import open_tokenizer

    tokenizer = open_tokenizer(weights.minilm())
    names = dict(enumerate(LABELS))
    made = []
    for number in range(MEMBERS):
        torch.manual_seed(number)
        config = BertConfig(id2label=names, label2id={name: i for i, name in names.items()})
        out = folder / f"member-{number}"
        model = BertForSequenceClassification(config)
        # Random heads leave every text near a tie, where rounding alone changes labels; whether
        # a runtime keeps labels is measured on the shipped specialists, which are trained.
        torch.nn.init.constant_(model.classifier.bias[:1], 1.0)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        made.append(str(out))
    return made


def by_pipeline(members: Sequence[str], texts: Sequence[str], device: str) -> float:
    """Texts a second of the whole committee, as Label Studio's example backend asks a model."""
    from transformers import pipeline

    seconds = 0.0
    for folder in members:
        classify = pipeline("text-classification", model=folder, device=device)
        classify(texts[0])
        started = time.perf_counter()
        for text in texts:
            classify(text)
        seconds += time.perf_counter() - started
    return len(texts) / seconds


def prepare(folder: Path, members: Sequence[str], texts: Sequence[str], device: str) -> None:
    """What a worker does once a machine."""
    wiring, tag = _open(folder, members, device)
    wiring.committees.prepare(tag, CONTROL, texts[:PREPARED_TEXTS])


def by_us(folder: Path, members: Sequence[str], texts: Sequence[str], device: str) -> Speed:
    """The prepared committee, asked through the batcher as the push worker asks it."""
    wiring, tag = _open(folder, members, device)
    committee = wiring.committees.committee(tag, CONTROL)
    ask = wiring.batcher.observe
    ask(committee, texts[:WARM_TEXTS], urgent=False, patient=True)
    started = time.perf_counter()
    ask(committee, texts, urgent=False, patient=True)
    seconds = time.perf_counter() - started
    return Speed(
        texts_per_s=len(texts) / seconds,
        runtime=runtimes(committee),
        padding_waste=wiring.batcher.load().padding_waste,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        peak_share=_flop(committee, texts) / seconds / _peak() if device != "cpu" else None,
    )


def agreement(folder: Path, texts: Sequence[str], device: str) -> dict[str, tuple[str, float]]:
    """By shipped specialist: what serves it, and the share of texts with the label of fp32."""
    from specialists.models import Models
    from specialists.registry import EMBEDDED_PREFIX, embedded_labels, embedded_names, member
    from specialists.types import Label, LabelSet

    served, exact = _wiring(folder, device=device).models, Models(device=device)
    found = {}
    for name in embedded_names():
        own = embedded_labels(name)
        labels = LabelSet(tuple(Label(one) for one in own))
        ref = member(EMBEDDED_PREFIX + name, labels, own)
        served.prepare(ref, None, texts[:PREPARED_TEXTS])
        ours, wanted = served.specialist(ref, labels, None), exact.specialist(ref, labels, None)
        same = [one.observe(texts).votes.argmax(axis=2) for one in (ours, wanted)]
        found[name] = runtime_of(ours), float((same[0] == same[1]).mean())
    return found


def _open(folder: Path, members: Sequence[str], device: str) -> tuple[Wiring, str]:
    wiring = _wiring(folder, device=device, specialists=",".join(members))
    return wiring, wiring.committees.first_tag(PROJECT, parse(CONFIG))


def _wiring(folder: Path, **settings: str) -> Wiring:
    given = {name.upper(): value for name, value in settings.items()}
    return Wiring(Settings.from_env({"DATA_DIR": str(folder), **given}))


def _flop(committee: Any, texts: Sequence[str]) -> float:
    """What the members compute for these texts, without padding.

    A layer takes 24 H^2 operations a token for its matrices and 4 H a pair of tokens for attention.
    """
    lengths = [len(one) for one in committee.encode(texts)]
    matrices = 24 * _WIDTH**2 * sum(lengths)
    attention = 4 * _WIDTH * sum(length**2 for length in lengths)
    return float(MEMBERS * _LAYERS * (matrices + attention))


def _peak() -> float:
    """FLOP/s of a large product of bf16 matrices on the GPU."""
    import torch

    left = torch.randn(_PRODUCT, _PRODUCT, device="cuda", dtype=torch.bfloat16)
    right = torch.randn_like(left)
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        left @ right
    torch.cuda.synchronize()
    return 20 * 2 * _PRODUCT**3 / (time.perf_counter() - started)
