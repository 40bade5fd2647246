"""The arithmetic of benchmarks.load: quantiles, errors, and what an annotator submits."""

from __future__ import annotations

from benchmarks.annotators import Call, errors, quantile_ms, submitted
from benchmarks.running import predict_body
from benchmarks.texts import Sample


def test_quantiles_are_of_one_path_and_nothing_is_zero() -> None:
    calls = [Call("/webhook", float(ms), "", marked=False) for ms in range(1, 101)]
    calls.append(Call("/predict", 900.0, "", marked=True))
    assert quantile_ms(calls, "/webhook", 0.5) == 51.0
    assert quantile_ms(calls, "/webhook", 0.99) == 100.0
    assert quantile_ms(calls, "/predict", 0.99) == 900.0
    assert quantile_ms(calls, "/setup", 0.99) == 0.0


def test_errors_are_counted_by_path_and_kind() -> None:
    calls = [
        Call("/webhook", 1000.0, "ReadTimeout", marked=False),
        Call("/webhook", 1001.0, "ReadTimeout", marked=True),
        Call("/predict", 5.0, "status 503", marked=False),
        Call("/predict", 5.0, "", marked=False),
    ]
    assert errors(calls) == {"/webhook: ReadTimeout": 2, "/predict: status 503": 1}


def test_an_answer_is_about_the_task_that_was_opened() -> None:
    sample = Sample("a text", "positive")
    task = predict_body([sample])["tasks"][0]["id"]
    body = submitted(sample, task, 3)
    assert body["annotation"]["task"] == body["task"]["id"] == task
    assert body["annotation"]["completed_by"] == 3
    assert body["task"]["data"] == {"text": "a text"}
    assert body["annotation"]["result"][0]["value"] == {"choices": ["positive"]}
