"""What a verdict of the LLM takes: asked singly, packed, cached, and in a batch.

    python -m benchmarks.review_cost [--csv FILE | --data DIR] [--texts 240] [--pack 6]
        [--model gpt-6-luna] [--minimum 1024] [--guideline FILE]

The product's reviewer and the real OpenAI client against a local server, twice: for a project
without a written guideline, and for one with a page of it (benchmarks/guideline.md). Tokens are
counted by the tokenizer of the embedded MiniLM (WordPiece, 30,522 words, all in lower case): a real
one, but not the provider's. The server caches as OpenAI documents it for GPT-5.6 and later: the
prefix up to our breakpoint (schema, system message), when it has --minimum tokens, is written once
(1.25 times the price) and read by every later call (a tenth). A batch is priced without any hit,
since none is promised there. Prices are the product's list.

Every answer is the gold label and a reason of 12 words, so agreement says that packing, permuting
and reading answers lose none: it says NOTHING of how well a real LLM answers in packs.

tokens_per_verdict_*  sent and written, of a project with the guideline
cached_token_share    of the tokens sent, read from the cache (packed, cached)
usd_per_1000_best     the cheapest row; the keys with `_plain` are those of a project without one

Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backend.label_config import Control, parse
from benchmarks import local_llm
from benchmarks.asked import answer, read
from benchmarks.reviewing import Desk, desk
from benchmarks.running import CONFIG, NotRunning
from benchmarks.texts import Sample, Unusable, add_options, chosen
from meta_controller.language_model import Question, Tokens
from meta_controller.openai_model import OpenAIModel
from meta_controller.packing import PACK
from meta_controller.prices import Price, price_of
from meta_controller.prompt import sendable
from specialists.types import Label, LabelSet

GUIDELINE = Path(__file__).with_name("guideline.md")
REASON = "the words about how it went and what they would do again"
OPENAI_MINIMUM_TOKENS = 1024  # https://developers.openai.com/api/docs/guides/prompt-caching


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 when a file cannot serve, 1 when Redis does not start."""
    options = parse_options(arguments)
    price = price_of("openai", options.model)
    try:
        texts = chosen(options)
        guideline = options.guideline.read_text(encoding="utf-8")
        if not price.known:
            raise Unusable(f"{options.model}: no price in our list; name another --model.")
        samples = texts.take(options.texts)
        with desk() as place:
            found = {
                name: measure(place, samples, options, price, told)
                for name, told in (("plain", ""), ("guideline", guideline))
            }
    except (Unusable, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except NotRunning as error:
        print(error, file=sys.stderr)
        return 1
    for name, rows in found.items():
        print_table(name, rows)
    print(json.dumps({"data": texts.name, "model": options.model, **figures(found)}))
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.review_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--texts", type=int, default=240, help="how many (default 240)")
    parser.add_argument("--pack", type=int, default=PACK, help=f"texts a call (default {PACK})")
    parser.add_argument("--model", default="gpt-6-luna", help="priced so (default gpt-6-luna)")
    parser.add_argument(
        "--minimum",
        type=int,
        default=OPENAI_MINIMUM_TOKENS,
        help=f"tokens from which a prefix is cached (default {OPENAI_MINIMUM_TOKENS})",
    )
    parser.add_argument("--guideline", type=Path, default=GUIDELINE, help="a project's, as text")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Row:
    """One way to ask: `tokens` and `usd` of all verdicts, `agreed` with the answers meant."""

    name: str
    calls: int
    verdicts: int
    tokens: Tokens
    usd: float
    agreed: float

    @property
    def per_verdict(self) -> float:
        """Tokens sent and written for one verdict."""
        return (self.tokens.sent + self.tokens.written) / self.verdicts

    @property
    def usd_per_1000(self) -> float:
        """USD for 1,000 verdicts."""
        return 1000 * self.usd / self.verdicts


def measure(
    place: Desk, samples: Sequence[Sample], options: argparse.Namespace, price: Price, told: str
) -> list[Row]:
    """Ask about all samples in every way."""
    control = _control(samples)
    gold = {sendable(one.text): one.label for one in samples}
    questions = [
        Question(control.name, one.text, control.labels, told, (number,))
        for number, one in enumerate(samples)
    ]

    def ask(name: str, pack: int, minimum: int | None, at: Price) -> Row:
        with local_llm.serve(Server(gold, minimum)) as url:
            model = OpenAIModel(options.model, "local")
            # As OpenAI's own model is asked, cache breakpoint and all, but of our server.
            model.client = model.client.with_options(base_url=url)
            outcomes, spend = place.review(model, at, questions, pack)
            model.client.close()
        right = sum(o.reply.labels == (gold[o.question.text],) for o in outcomes if o.reply)
        if not spend.verdicts:
            raise Unusable("No text got a verdict; are they all left to people as attacks?")
        agreed = right / spend.verdicts
        return Row(name, spend.calls, spend.verdicts, spend.tokens, spend.usd, agreed)

    minimum, pack = options.minimum, options.pack
    return [
        ask("single", 1, None, price),
        ask("single, cached", 1, minimum, price),
        ask("packed", pack, None, price),
        ask("packed, cached", pack, minimum, price),
        ask("packed, batch", pack, None, price.in_batches()),
    ]


def _control(samples: Sequence[Sample]) -> Control:
    """The demo's control, with the labels of the file."""
    (control,) = parse(CONFIG)
    names = sorted({one.label for one in samples})
    labels = LabelSet(tuple(Label(name) for name in names))
    return Control(**{**control.__dict__, "labels": labels})


class Server:
    """Answers with gold labels, counts tokens, and caches prefixes of `minimum` tokens or more."""

    def __init__(self, gold: Mapping[str, str], minimum: int | None) -> None:
        self._gold = gold
        self._minimum = minimum
        self._written: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The completion of a request."""
        asked = read(request)
        labels = [self._gold[text] for text in asked.texts if text in self._gold]
        if not labels or len(labels) < len(asked.texts):
            return None
        text = answer(asked, labels, REASON)
        prefix = json.dumps(request["response_format"]) + asked.system
        first = count_tokens(prefix)
        sent, cached = first + count_tokens(asked.user), self._cache(prefix, first)
        return local_llm.completion(request, text, sent, count_tokens(text), **cached)

    def _cache(self, prefix: str, tokens: int) -> dict[str, int]:
        if self._minimum is None or tokens < self._minimum:
            return {}
        with self._lock:
            known = prefix in self._written
            self._written.add(prefix)
        return {"cached_tokens": tokens} if known else {"cache_write_tokens": tokens}


def count_tokens(text: str) -> int:
    """Tokens of a text without any limit of length."""
    return len(_tokenizer()(text))


@cache
def _tokenizer() -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer

    from specialists.weights import minilm

    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def print_table(name: str, rows: Sequence[Row]) -> None:
    """One line a way of asking."""
    print(
        f"\n{name:<18}{'calls':>7}{'tokens/verdict':>16}{'cached':>9}{'USD/1,000':>12}{'agreed':>9}"
    )
    for row in rows:
        print(
            f"{row.name:<18}{row.calls:>7}{row.per_verdict:>16.1f}"
            f"{row.tokens.cached_share:>9.1%}{row.usd_per_1000:>12.5f}{row.agreed:>9.1%}"
        )


def figures(found: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    """What the last line says."""
    told: dict[str, float] = {}
    for name, suffix in (("guideline", ""), ("plain", "_plain")):
        rows = {row.name: row for row in found[name]}
        single, packed = rows["single"], rows["packed"]
        told |= {
            f"tokens_per_verdict_single{suffix}": round(single.per_verdict, 1),
            f"tokens_per_verdict_packed{suffix}": round(packed.per_verdict, 1),
            f"cached_token_share{suffix}": round(rows["packed, cached"].tokens.cached_share, 4),
            f"usd_per_1000_single{suffix}": round(single.usd_per_1000, 6),
            f"usd_per_1000_best{suffix}": round(min(r.usd_per_1000 for r in rows.values()), 6),
        }
    return told


if __name__ == "__main__":
    sys.exit(main())
