"""The bounds at the door: who passes the guard, which bodies are read, which ids and configs."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import falcon
import pytest
from falcon import testing

from backend.annotations import read_hook
from backend.config_labels import MAX_LABELS
from backend.doctor import _protection
from backend.errors import BadRequest, LabelConfigError
from backend.ids import MAX_ID, is_id, project_number
from backend.label_config import MAX_CONTROLS, MAX_NAME_CHARS, left_alone, parse, text_of
from backend.settings import Settings
from backend.task_text import MAX_CHARS
from backend.web import bodies, openapi, problems
from backend.web.guard import Guard
from backend.wiring import Wiring

BASIC = {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
SECRET = {"X-Webhook-Secret": "s3"}
TEXT = '<Text name="text" value="$text"/>'


# The guard


class Served:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {}

    on_post = on_get


def client(**settings: str) -> testing.TestClient:
    app = falcon.App(middleware=[Guard(Settings.from_env(settings))])
    for path in openapi.PATHS:
        app.add_route(path, Served())
    problems.handle(app)
    return testing.TestClient(app)


BOTH = {"BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p", "WEBHOOK_SECRET": "s3"}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT"])
@pytest.mark.parametrize("before", ["/", "//", "///"])
def test_slashes_and_methods_do_not_pass_the_guard(before: str, method: str) -> None:
    protected, hooks_only = client(**BOTH), client(WEBHOOK_SECRET="s3")
    for name in ("predict", "webhook", "setup", "", "versions", "webhook/", "WEBHOOK", "gone"):
        assert protected.simulate_request(method, before + name).status_code == 401, name
    assert hooks_only.simulate_request(method, f"{before}webhook").status_code == 401
    assert (
        hooks_only.simulate_request(method, f"{before}webhook", headers=SECRET).status_code != 401
    )
    assert hooks_only.simulate_request("GET", f"{before}predict").status_code == 200


def test_each_secret_opens_only_what_it_is_for() -> None:
    asked = client(**BOTH)
    assert asked.simulate_get("/health").status_code == 200
    assert asked.simulate_get("/predict", headers=BASIC).status_code == 200
    assert asked.simulate_get("/webhook", headers=BASIC).status_code == 200
    assert asked.simulate_get("/webhook", headers=SECRET).status_code == 200
    assert asked.simulate_get("/predict", headers=SECRET).status_code == 401
    for wrong in ("u:", ":p", "u:p ", "U:p", "x:p", "u:x"):
        given = {"Authorization": "Basic " + base64.b64encode(wrong.encode()).decode()}
        refused = asked.simulate_get("/predict", headers=given)
        assert refused.status_code == 401
        assert refused.json == asked.simulate_get("/predict").json, "it does not tell what is wrong"


def test_a_secret_beyond_ascii_works_as_it_is_sent() -> None:
    asked = client(WEBHOOK_SECRET="schlüssel")
    on_the_wire = "schlüssel".encode().decode("latin-1")
    headers = {"X-Webhook-Secret": on_the_wire}
    assert asked.simulate_get("/webhook", headers=headers).status_code == 200
    assert asked.simulate_get("/webhook", headers={"X-Webhook-Secret": "s"}).status_code == 401


def test_errors_of_the_framework_say_what_to_do_as_well() -> None:
    for answer in (client().simulate_get("/gone"), client().simulate_delete("/predict")):
        assert set(answer.json) == {"title", "description", "next_step"}
        assert all(answer.json.values())


# Bodies


def read(raw: bytes, limit: int = 1000, *, chunked: bool = False) -> dict[str, Any]:
    if not chunked:
        return bodies.read(testing.create_req(method="POST", body=raw), limit)
    environ = testing.create_environ(method="POST")
    environ.pop("CONTENT_LENGTH", None)
    environ |= {"wsgi.input": io.BytesIO(raw), "wsgi.input_terminated": True}
    return bodies.read(falcon.Request(environ), limit)


def test_a_body_in_chunks_is_read_and_bounded() -> None:
    assert read(b'{"a": 1}', chunked=True) == {"a": 1}
    with pytest.raises(falcon.HTTPContentTooLarge) as caught:
        read(b'{"a": "' + b"x" * 2000 + b'"}', chunked=True)
    assert "MAX_BODY_MB" in str(caught.value.description)
    with pytest.raises(falcon.HTTPContentTooLarge):
        read(b'{"a": "' + b"x" * 2000 + b'"}')


def test_a_body_that_breaks_off_is_the_senders_error() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("invalid chunk")

    environ = testing.create_environ(method="POST")
    environ |= {"wsgi.input": Broken(), "wsgi.input_terminated": True}
    with pytest.raises(BadRequest, match="broken off"):
        bodies.read(falcon.Request(environ), 1000)


@pytest.mark.parametrize(
    "raw",
    [b'{"a": NaN}', b'{"a": -Infinity}', '{"a": "ä"}'.encode("utf-16"), b'{"a": "\xed\xa0\x80"}'],
)
def test_only_json_in_utf8_is_read(raw: bytes) -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        read(raw)


@pytest.mark.parametrize("levels", [101, 990, 5000])
def test_deep_nesting_is_refused_before_anything_reads_it(levels: int) -> None:
    with pytest.raises(BadRequest, match="JSON|deep"):
        read(b'{"a": ' + b"[" * levels + b"]" * levels + b"}", 100_000)
    assert read(b'{"a": ' + b"[" * 90 + b"]" * 90 + b"}")


def test_halves_of_surrogate_pairs_are_replaced_and_pairs_are_kept() -> None:
    found = read(rb'{"a": "x\ud83dy", "\udc00": "\ud83d\ude00", "b": "\\ud83d\udc00"}')
    assert found == {"a": "x?y", "?": "😀", "b": "\\ud83d?"}


def test_too_many_tasks_name_the_command_for_many() -> None:
    many = [{}] * (bodies.MAX_TASKS + 1)
    with pytest.raises(BadRequest, match="prelabel"):
        bodies.tasks({"tasks": many})


# Ids


@pytest.mark.parametrize("value", [-1, MAX_ID + 1, 10**30, True, "1", 1.0, None])
def test_what_no_database_holds_is_no_id(value: object) -> None:
    assert not is_id(value)
    assert is_id(MAX_ID)


@pytest.mark.parametrize("value", [-1, "9" * 5000, str(MAX_ID + 1), "٣", "", None, {}, "1e3"])
def test_what_names_no_project_is_refused_and_shown_in_short(value: object) -> None:
    with pytest.raises(BadRequest) as caught:
        project_number(value)
    assert len(caught.value.description) < 200
    assert project_number(f"{MAX_ID}.1795324913") == MAX_ID


@pytest.mark.parametrize("number", [-1, 10**30])
def test_a_hook_with_an_impossible_id_is_refused(number: int) -> None:
    with pytest.raises(BadRequest, match="whole number from 0"):
        read_hook({"action": "TASKS_CREATED", "project": {"id": 1}, "tasks": [{"id": number}]})


# Label configs


def test_what_would_take_minutes_to_read_is_refused() -> None:
    nested = "".join(f'<Choices name="c{n}" toName="text">' for n in range(5000))
    with pytest.raises(LabelConfigError, match=f"at most {MAX_CONTROLS}"):
        parse(f"<View>{TEXT}{nested}{'</Choices>' * 5000}</View>")
    labels = "".join(f'<Choice value="{n}"/>' for n in range(MAX_LABELS + 1))
    with pytest.raises(LabelConfigError, match=f"at most {MAX_LABELS}"):
        parse(f'<View>{TEXT}<Choices name="c" toName="text">{labels}</Choices></View>')


def test_a_control_within_another_keeps_its_labels_to_itself() -> None:
    inner = '<Choices name="in" toName="text"><Choice value="b"/></Choices>'
    outer = f'<Choices name="out" toName="text"><Choice value="a"/>{inner}</Choices>'
    found = {one.name: one.labels.names for one in parse(f"<View>{TEXT}{outer}</View>")}
    assert found == {"out": ("a",), "in": ("b",)}


def test_long_names_are_not_shown_whole() -> None:
    name = "n" * 5000
    config = (
        f'<View>{TEXT}<Choices name="{name}" toName="text"><Choice value="a"/></Choices></View>'
    )
    with pytest.raises(LabelConfigError) as caught:
        parse(config)
    assert len(str(caught.value)) < 1000
    assert f"longer than {MAX_NAME_CHARS}" in left_alone(config)[0]


def test_a_template_cannot_make_a_small_task_a_huge_text() -> None:
    choices = '<Choices name="c" toName="text"><Choice value="a"/></Choices>'
    (control,) = parse(f'<View><Text name="text" value="{"$text " * 90}"/>{choices}</View>')
    assert len(text_of(control, {"text": "x" * MAX_CHARS}) or "") == MAX_CHARS
    with pytest.raises(LabelConfigError, match="too many"):
        parse(f'<View><Text name="text" value="{"$text " * 200}"/>{choices}</View>')


def test_an_address_in_a_task_is_a_text_and_nothing_is_fetched() -> None:
    """Unit tests reach no network: a look-up would fail this one."""
    choices = '<Choices name="c" toName="text"><Choice value="a"/></Choices>'
    (control,) = parse(f"<View>{TEXT}{choices}</View>")
    for url in ("http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "s3://a/b"):
        assert text_of(control, {"text": url}) == url


# The description


def test_the_description_is_plain_json_and_its_references_lead_somewhere() -> None:
    told = json.dumps(openapi.document())
    for part in told.split('"$ref": "')[1:]:
        found: Any = json.loads(told)
        for key in part.split('"')[0].removeprefix("#/").split("/"):
            found = found[key]
        assert isinstance(found, dict)


# The doctor


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, ""),
        ({"HOST": "127.0.0.2"}, ""),
        ({"HOST": "0.0.0.0"}, "without a password"),
        ({"HOST": "0.0.0.0", "WEBHOOK_SECRET": "s3"}, "webhooks alone"),
        ({"HOST": "0.0.0.0", "BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p"}, ""),
    ],
)
def test_the_doctor_warns_of_an_open_port(settings: dict[str, str], warned: str) -> None:
    found = " ".join(one.what for one in _protection(Wiring(Settings.from_env(settings))))
    assert (warned in found) if warned else not found
