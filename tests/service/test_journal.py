"""The journal on a real Redis: the last errors in words, each once, and counters."""

from __future__ import annotations

from redis import Redis

from backend.journal import Journal


def test_the_last_errors_come_newest_first(redis: Redis) -> None:
    journal = Journal(redis)
    journal.error("review", "first")
    journal.error("push", "second", 7)
    newest, oldest = journal.errors()
    assert (newest["where"], newest["project"], newest["message"]) == ("push", 7, "second")
    assert (oldest["where"], oldest["project"], oldest["message"]) == ("review", None, "first")
    assert newest["at"] >= oldest["at"]


def test_the_same_error_again_moves_up_with_its_count(redis: Redis) -> None:
    journal = Journal(redis)
    for message in ("again", "other", "again"):
        journal.error("review", message, 7)
    assert [(row["message"], row["count"]) for row in journal.errors()] == [
        ("again", 2),
        ("other", 1),
    ]


def test_old_errors_go_with_their_counts(redis: Redis) -> None:
    journal = Journal(redis)
    for number in range(60):
        journal.error("review", f"error {number}")
    assert [row["message"] for row in journal.errors()] == [f"error {n}" for n in range(59, 9, -1)]
    assert redis.hlen("aa:errors:count") == 50


def test_a_long_message_is_cut(redis: Redis) -> None:
    Journal(redis).error("review", "x" * 10_000)
    assert Journal(redis).errors()[0]["message"] == "x" * 500


def test_what_was_ignored_is_counted(redis: Redis) -> None:
    journal = Journal(redis)
    assert journal.counters() == {}
    journal.count("hooks ignored")
    journal.count("hooks ignored")
    assert journal.counters() == {"hooks ignored": 2}
