"""Which committee of a project is served, and how that came about; kept in Redis.

Two keys, always written together: the served tag, and the promotion cards, newest first. Every
write takes `via`: a plain client, or a pipeline of the caller's that already watches a lease and
has called `multi()`; the caller executes its own pipeline. Reads use the client given at the start.
It does not know what a committee is made of, nor whether a tag's files are whole: open the tag in
the model store before promoting it or rolling back to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from redis import Redis
from redis.client import Pipeline

from training.card import Card
from training.errors import TagNotKept

T = TypeVar("T")


class Promotions:
    """The served tag and the promotion history of one project."""

    def __init__(
        self, redis: Redis, project_id: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis  # made with decode_responses=True
        self._clock = clock
        self.tag_key = f"aa:project:{project_id}:tag"
        self.history_key = f"aa:project:{project_id}:promotions"

    def served(self) -> str | None:
        """The tag that is served, None before the first promotion."""
        tag = self._redis.get(self.tag_key)
        return None if tag is None else str(tag)

    def history(self) -> list[Card]:
        """All promotion cards, newest first, those of refused stages among them."""
        return [Card.from_json(str(line)) for line in self._redis.lrange(self.history_key, 0, -1)]

    def kept(self, n: int) -> list[str]:
        """The last `n` distinct served tags, the served one first."""
        return list(dict.fromkeys(card.tag for card in self._served_cards()))[:n]

    def tags(self) -> set[str]:
        """Every tag that a card names, kept or not."""
        return {card.tag for card in self.history()}

    def promote(self, tag: str, card: Card, via: Pipeline | Redis) -> None:
        """Serve a tag and record its card; does nothing when that tag is served already."""

        def queue(pipe: Pipeline) -> None:
            if self.served() != tag:
                self._queue(pipe, tag, card)

        self._in_one_go(queue, via)

    def refuse(self, card: Card, via: Pipeline | Redis) -> None:
        """Record the card of a refused stage; does nothing when it is the newest card already."""

        def queue(pipe: Pipeline) -> None:
            newest = self.history()[:1]
            if not any(old.tag == card.tag and old.decision == "refused" for old in newest):
                pipe.lpush(self.history_key, card.to_json())

        self._in_one_go(queue, via)

    def rollback(self, to: str | None, via: Pipeline | Redis, keep_tags: int) -> str:
        """Serve an older tag again and return it: `to`, or the one served before this one.

        `keep_tags` is how many served tags have their files kept; only those can be chosen.
        Raises TagNotKept, which lists them.
        """

        def queue(pipe: Pipeline) -> str:
            tag = self.target(to, keep_tags)
            old = next(card for card in self._served_cards() if card.tag == tag)
            reason = f"Rolled back from {self.served()} to {tag}."
            card = replace(old, decision="rollback", reason=reason, at=self._clock())
            self._queue(pipe, tag, card)
            return tag

        return self._in_one_go(queue, via)

    def target(self, to: str | None, keep_tags: int) -> str:
        """The tag that a rollback goes to; raises TagNotKept."""
        choices = self.kept(keep_tags)[1:]
        tag = to or self._before_served()
        if tag is None or tag not in choices:
            asked = f"Cannot roll back to {to!r}" if to else "There is nothing to roll back to"
            found = f"choose one of: {', '.join(choices)}" if choices else "no older tag is kept"
            raise TagNotKept(f"{asked} (served: {self.served()}); {found}.")
        return tag

    def _served_cards(self) -> list[Card]:
        """The cards that changed the served tag, newest first."""
        return [card for card in self.history() if card.decision != "refused"]

    def _before_served(self) -> str | None:
        """The tag served before this one, so that two rollbacks go two steps back.

        Replays what was served as a stack: a promotion pushes, a rollback pops to its tag.
        """
        stack: list[str] = []
        for card in reversed(self._served_cards()):
            if card.decision == "rollback" and card.tag in stack:
                del stack[stack.index(card.tag) :]
            stack.append(card.tag)
        return stack[-2] if len(stack) > 1 else None

    def _queue(self, pipe: Pipeline, tag: str, card: Card) -> None:
        pipe.set(self.tag_key, tag)
        pipe.lpush(self.history_key, card.to_json())

    def _in_one_go(self, queue: Callable[[Pipeline], T], via: Pipeline | Redis) -> T:
        """Let `queue` read by our client and write to the caller's pipeline or to one of ours."""
        if isinstance(via, Pipeline):
            return queue(via)

        results: list[T] = []

        def attempt(pipe: Pipeline) -> None:
            pipe.multi()
            results.append(queue(pipe))

        # Run again from its reads on when the keys changed meanwhile.
        via.transaction(attempt, self.tag_key, self.history_key)
        return results[-1]
