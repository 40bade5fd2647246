"""Whatever is sent, the answer is one: never a 5xx, never a hang, nothing written when refused."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st
from inputs import CONFIG, HOOKS, anything, configs, hooks, odd_texts, project_ids, tasks
from runs import fuzz
from served import SECRET_TEXT, Answer, Served

_PATHS = ("/", "/health", "/setup", "/predict", "/webhook", "/versions", "/job_status")
_PATHS += ("/status", "/metrics", "/openapi.json", "/projects/1/train", "/projects/x/train")
_BASIC = "Basic " + base64.b64encode(b"u:p").decode()


def predictions(answer: Answer, count: int) -> list[dict[str, Any]]:
    """The results of a prediction that was given: exactly one a task."""
    results: list[dict[str, Any]] = answer.json["results"]
    assert len(results) == count
    for one in results:
        assert isinstance(one["model_version"], str)
        assert 0 <= one["score"] <= 1
        assert isinstance(one["result"], list)
    return results


@fuzz(sent=st.lists(tasks, max_size=5))
def test_predict_tasks(served: Served, sent: list[Any]) -> None:
    good = {"id": 7, "data": {"text": "a good day"}}
    answer = served.post(
        "predict: tasks", "/predict", {"project": 1, "label_config": CONFIG, "tasks": [*sent, good]}
    )
    if answer.status == 200:
        assert predictions(answer, len(sent) + 1)[-1]["result"], "a bad task costs its own result"
    else:
        assert answer.json["title"] in ("Not JSON", "Nested too deep")


@fuzz(
    body=st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                "project": project_ids,
                "label_config": st.one_of(st.just(CONFIG), anything),
                "tasks": st.one_of(st.lists(tasks, max_size=3), anything),
                "params": anything,
            },
        ),
        anything,
    )
)
def test_predict_bodies(served: Served, body: Any) -> None:
    answer = served.post("predict: bodies", "/predict", body)
    if answer.status == 200:
        predictions(answer, len(body["tasks"]))


@fuzz(
    path=st.sampled_from(["/predict", "/setup", "/webhook", "/job_status"]),
    raw=st.one_of(st.binary(max_size=200), odd_texts.map(lambda t: t.encode(errors="replace"))),
    around=st.sampled_from([b"", *(json.dumps(hook).encode() for hook in HOOKS.values())]),
    chunked=st.booleans(),
)
def test_bytes(served: Served, path: str, raw: bytes, around: bytes, chunked: bool) -> None:
    at = len(raw) * 7 % (len(around) + 1)
    served.ask("bytes", "POST", path, around[:at] + raw + around[at:], chunked=chunked)


@fuzz(config=configs, text=odd_texts, project=st.integers(100, 120))
def test_label_configs(served: Served, config: str, text: str, project: int) -> None:
    setup = served.post("label configs", "/setup", {"project": project, "schema": config})
    sent = [{"id": 1, "data": {"text": text}}, {"id": 2, "data": {"text": [{"text": SECRET_TEXT}]}}]
    body = {"project": project, "label_config": config, "tasks": sent}
    predicted = served.post("label configs", "/predict", body)
    assert predicted.status == setup.status
    if predicted.status == 200:
        tag = setup.json["model_version"]
        assert {one["model_version"] for one in predictions(predicted, 2)} == {tag}


@fuzz(
    body=st.fixed_dictionaries(
        {},
        optional={
            "project": project_ids,
            "schema": st.one_of(st.just(CONFIG), anything),
            "hostname": anything,
            "extra_params": st.one_of(
                anything,
                st.dictionaries(
                    st.sampled_from(["stage_size", "budget", "target_error", "guidelines", "x"]),
                    anything,
                ),
            ),
        },
    )
)
def test_setup(served: Served, body: Any) -> None:
    served.post("setup", "/setup", body)


@fuzz(changed=hooks())
def test_webhooks(served: Served, changed: tuple[str, dict[str, Any]]) -> None:
    name, body = changed
    project = HOOKS[name].get("project") or {}
    if project.get("id") and served.wiring.projects.get(project["id"]) is None:
        known = {"project": project["id"], "schema": project.get("label_config") or CONFIG}
        served.post("setup", "/setup", known)
    answer = served.post("webhook: recorded, changed", "/webhook", body)
    assert answer.status in (200, 400)


@fuzz(
    body=st.one_of(
        anything,
        st.fixed_dictionaries(
            {
                "action": st.one_of(
                    st.sampled_from(
                        [
                            *("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED"),
                            *("TASKS_CREATED", "TASKS_DELETED", "PROJECT_UPDATED"),
                            "START_TRAINING",
                        ]
                    ),
                    anything,
                ),
                "project": st.one_of(
                    st.fixed_dictionaries(
                        {"id": st.just(1)},
                        optional={"label_config": st.one_of(st.just(CONFIG), anything)},
                    ),
                    anything,
                ),
            },
            optional={
                name: anything for name in ("annotation", "annotations", "task", "tasks", "extra")
            },
        ),
    )
)
def test_webhook_bodies(served: Served, body: Any) -> None:
    served.post("webhook: bodies", "/webhook", body)


@fuzz(job=st.one_of(odd_texts, anything, st.text("abc-_019", max_size=40)))
def test_job_status(served: Served, job: Any) -> None:
    served.post("job_status", "/job_status", {"job": job})


_header = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@fuzz(
    method=st.sampled_from(
        ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "get", "X"]
    ),
    path=st.one_of(
        st.builds(
            lambda before, path, after: before + path + after,
            st.sampled_from(["", "/", "//", "/.", "/..", "/%2e", "/health/..", " "]),
            st.sampled_from([*_PATHS, *map(str.upper, _PATHS), *(p.title() for p in _PATHS)]),
            st.sampled_from(["", "/", "//", "?x=1", ";x", "%00", "/health", "/../health", "\x00"]),
        ),
        _header.map(lambda t: "/" + t),
    ),
    headers=st.dictionaries(
        st.sampled_from(
            [
                *("Authorization", "X-Webhook-Secret", "Content-Type", "Content-Length", "Host"),
                *("Accept", "X-Forwarded-For", "X-HTTP-Method-Override", "Transfer-Encoding"),
                *("X-Request-Id", "Expect", "Range", "Cookie", "Forwarded", "If-Match"),
            ]
        ),
        st.one_of(
            _header,
            st.sampled_from(
                ["Basic", "Basic dTpx", "Basic dTo=", "Bearer p", "-1", "1e3", "s", "s3 "]
            ),
            st.sampled_from(["Basic " + "A" * 5000, "chunked", "99999999999999999999", "GET"]),
        ),
        max_size=4,
    ),
)
def test_nobody_passes_the_guard(
    guarded: Served, method: str, path: str, headers: dict[str, str]
) -> None:
    path = path if path.startswith("/") else "/"
    body = json.dumps({"project": 1, "schema": CONFIG, "action": "X"}).encode()
    answer = guarded.ask("guard: paths and headers", method, path, body, headers)
    if path.partition("?")[0].strip("/") != "health":
        assert answer.status in (400, 401), "neither password nor secret was sent"


@fuzz(headers=st.dictionaries(st.sampled_from(["Content-Type", "Accept", "Host"]), _header))
def test_headers_of_those_who_may(guarded: Served, headers: dict[str, str]) -> None:
    body = json.dumps({"project": 1, "label_config": CONFIG, "tasks": []}).encode()
    sent = {**headers, "Authorization": _BASIC}
    answer = guarded.ask("headers", "POST", "/predict", body, sent)
    assert answer.status in (200, 400)
