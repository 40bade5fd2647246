"""The client against a real Label Studio 1.23.2: what it stores, refuses and says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.annotations import answers_of
from backend.errors import NotFound, Rejected, Unauthorized, Unreachable
from backend.label_config import parse
from backend.label_studio import LabelStudio
from backend.label_studio_process import login_for_token
from backend.predictions import HEAD, Part, prediction
from specialists.types import Decision, MemberVote
from tests.label_studio_server import LEGACY_TOKEN, PASSWORD, Server, free_port, label_studio_server

# The SDK refreshes tokens with a pydantic call that pydantic has deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The `parse_obj` method:DeprecationWarning:label_studio_sdk.tokens.client_ext"
)

CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="mood" toName="text">
    <Choice value="Good" alias="pos" predicted_values="POSITIVE"/><Choice value="bad"/>
  </Choices>
  <TextArea name="rationale" toName="text" editable="false" maxSubmissions="1"/>
</View>"""
(CONTROL,) = parse(CONFIG)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with label_studio_server(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[LabelStudio]:
    with LabelStudio(server.url, server.token) as connected:
        yield connected


@pytest.fixture
def project(client: LabelStudio) -> int:
    return int(client.create_project("A project", CONFIG)["id"])


@pytest.fixture
def tasks(client: LabelStudio, project: int) -> list[int]:
    return client.import_tasks(project, [{"text": f"text {number}"} for number in range(6)])


def row(task: int, label: str = "pos", tag: str = "t1", score: float = 0.5) -> dict[str, Any]:
    votes = (MemberVote("m", (label,), 0.7),)
    part = Part(CONTROL, Decision((label,), score, False, "agreed", votes=votes))
    return {"task": task, **prediction(tag, [part])}


def test_tells_who_and_which_release(client: LabelStudio, server: Server) -> None:
    assert client.whoami()["email"] == server.email
    assert client.version() == "1.23.2"


def test_lists_projects_and_changes_one(client: LabelStudio, project: int) -> None:
    assert project in [one["id"] for one in client.projects()]
    client.update_project(project, title="Another title")
    assert client.project(project)["title"] == "Another title"


def test_pages_through_many_projects(client: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {client.create_project(f"Project {n}", CONFIG)["id"] for n in range(3)}
    monkeypatch.setattr("backend.label_studio._PROJECTS_PER_PAGE", 2)
    listed = [one["id"] for one in client.projects()]
    assert made <= set(listed) and len(listed) == len(set(listed))


def test_imported_tasks_come_back_with_their_data(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    listed = list(client.tasks(project))
    assert [task["id"] for task in listed] == tasks == client.task_ids(project)
    assert listed[3]["data"] == {"text": "text 3"} and listed[3]["is_labeled"] is False
    assert [task["id"] for task in client.tasks(project, [tasks[4], tasks[1], 10**9])] == [
        tasks[1],
        tasks[4],
    ]
    assert list(client.tasks(project, [])) == []


def test_task_pages_fit_together(
    client: LabelStudio, project: int, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 2, 6, 7):
        monkeypatch.setattr("backend.task_list._TASKS_PER_PAGE", size)
        assert [task["id"] for task in client.tasks(project)] == tasks
    monkeypatch.setattr("backend.task_list._IDS_PER_QUERY", 4)
    assert [task["id"] for task in client.tasks(project, tasks)] == tasks


def test_deleted_tasks_let_no_other_slip_through(
    client: LabelStudio, project: int, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.task_list._TASKS_PER_PAGE", 2)
    listed = client.tasks(project)
    seen = [next(listed)["id"], next(listed)["id"]]
    client._session.call("DELETE", f"api/tasks/{tasks[0]}/")
    assert [*seen, *(task["id"] for task in listed)] == tasks


def test_an_empty_project_has_no_tasks(client: LabelStudio, project: int) -> None:
    assert list(client.tasks(project)) == [] == client.task_ids(project)
    assert client.next_task(project) is None


def test_annotations_are_read_as_answers(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    made = client.create_annotation(tasks[0], row(tasks[0], "bad")["result"], lead_time=1.5)
    (task,) = client.tasks(project, tasks[:1])
    (answer,) = answers_of(task, [CONTROL]).answers
    assert task["is_labeled"] is True
    assert (answer.annotation_id, answer.task_id) == (made["id"], tasks[0])
    assert answer.completed_by == client.whoami()["id"]
    assert answer.choices == {"mood": ("bad",)} and answer.data == {"text": "text 0"}


def test_bulk_copies_of_predictions_are_not_read_as_answers(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    client.import_predictions(project, [row(task) for task in tasks])
    client._session.call(
        "POST",
        "api/dm/actions",
        params={"id": "predictions_to_annotations", "project": project},
        body={"selectedItems": {"all": True, "excluded": []}, "model_version": "t1"},
    )
    readings = [answers_of(task, [CONTROL]) for task in client.tasks(project)]
    assert not any(reading.answers for reading in readings)
    assert sum(len(reading.retracted) for reading in readings) == len(tasks)


def test_a_prediction_is_stored_with_votes_and_rationale(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    sent = row(tasks[0])
    assert client.import_predictions(project, [sent]) == 1
    (stored,) = client.task_predictions(tasks[0])
    assert stored["result"] == sent["result"] and len(sent["result"]) == 2
    assert (stored["score"], stored["model_version"]) == (0.5, "t1")
    assert client.predictions(project) == [stored]


def test_abstentions_are_stored(client: LabelStudio, project: int, tasks: list[int]) -> None:
    abstains = prediction("t1", [Part(CONTROL, Decision((), 0.2, True, "no agreement"))])
    assert client.import_predictions(project, [{"task": tasks[0], **abstains}]) == 1
    (stored,) = client.task_predictions(tasks[0])
    assert stored["result"] == [] and stored["score"] == HEAD


@pytest.mark.parametrize("label", ["Good", "unheard of"])
def test_only_the_alias_is_a_label_and_what_is_left_out_is_noticed(
    client: LabelStudio, project: int, tasks: list[int], label: str
) -> None:
    with pytest.raises(Rejected, match="stored 1 of 2 predictions"):
        client.import_predictions(project, [row(tasks[0], "pos"), row(tasks[1], label)])


def test_a_long_import_is_cut_into_requests(
    client: LabelStudio, project: int, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.label_studio._PREDICTIONS_PER_IMPORT", 4)
    assert client.import_predictions(project, [row(task) for task in tasks]) == len(tasks)
    assert len(client.predictions(project)) == len(tasks)


def test_an_unknown_task_refuses_the_import(client: LabelStudio, project: int) -> None:
    with pytest.raises(Rejected, match="status 400") as refused:
        client.import_predictions(project, [row(10**9)])
    assert "Committee" not in str(refused.value)


def test_serving_a_tag_orders_the_stream_and_a_patch_moves_a_task(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    rows = [row(task, score=0.1 * place + 0.1) for place, task in enumerate(tasks)]
    client.import_predictions(project, rows)
    client.update_project(project, model_version="t1", sampling="Uncertainty sampling")
    (lowest,) = client.task_predictions(tasks[0])
    client.patch_prediction(
        lowest["id"],
        **{**rows[0], "score": 1.0, "result": row(tasks[0], "bad")["result"]},
        project=project,
    )
    served = client.next_task(project)
    assert served is not None and served["id"] == tasks[1]
    assert [one["model_version"] for one in served["predictions"]] == ["t1"]
    (patched,) = client.task_predictions(tasks[0])
    assert patched["id"] == lowest["id"] and patched["score"] == 1.0
    assert patched["result"][0]["value"] == {"choices": ["bad"]}


def test_a_tag_without_predictions_cannot_be_served(client: LabelStudio, project: int) -> None:
    with pytest.raises(Rejected, match="Model version doesn't exist") as refused:
        client.update_project(project, model_version="unknown")
    assert refused.value.status == 400


def test_hiding_predictions_resets_the_served_tag(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    client.import_predictions(project, [row(tasks[0])])
    client.update_project(project, model_version="t1")
    assert not client.update_project(project, show_collab_predictions=False)["model_version"]


def test_predictions_are_deleted_by_id_once(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    client.import_predictions(project, [row(task) for task in tasks])
    ids = [one["id"] for one in client.predictions(project)]
    assert client.delete_predictions([*ids[:2], ids[0]]) == 2
    assert [one["id"] for one in client.predictions(project)] == ids[2:]
    with pytest.raises(NotFound):
        client.delete_prediction(ids[0])


def test_an_old_tag_is_deleted_and_the_served_one_protected(
    client: LabelStudio, project: int, tasks: list[int]
) -> None:
    client.import_predictions(project, [row(task, tag=tag) for task in tasks for tag in "ab"])
    client.update_project(project, model_version="b")
    with pytest.raises(Rejected, match="is served"):
        client.delete_tag(project, "b")
    assert client.delete_tag(project, "a") == len(tasks)
    assert client.project(project)["model_version"] == "b"
    assert {one["model_version"] for one in client.predictions(project)} == {"b"}


def test_a_webhook_keeps_its_actions_and_headers_when_changed(
    client: LabelStudio, project: int
) -> None:
    url, headers = "http://127.0.0.1:9/webhook", {"Authorization": "Basic eDp5"}
    made = client.create_webhook(project, url, ["ANNOTATION_CREATED"], {})
    client.update_webhook(made["id"], url, ["ANNOTATION_CREATED", "TASKS_CREATED"], headers)
    (stored,) = client.webhooks(project)
    assert sorted(stored["actions"]) == ["ANNOTATION_CREATED", "TASKS_CREATED"]
    assert stored["headers"] == headers and stored["send_for_all_actions"] is False
    client.delete_webhook(made["id"])
    assert client.webhooks(project) == []


class Backend(BaseHTTPRequestHandler):
    """The least that Label Studio accepts as an ML backend; notes which paths it asks for."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self._reply({"status": "UP"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        tasks = json.loads(self.rfile.read(length) or b"{}").get("tasks", [])
        results = [{**row(task["id"]), "model_version": "live"} for task in tasks]
        self._reply({"model_version": "live", "results": results})

    def _reply(self, body: dict[str, Any]) -> None:
        self.asked.append(self.path)
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def backend_url() -> Iterator[str]:
    Backend.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Backend) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_backend_is_connected_renamed_trained_and_removed(
    client: LabelStudio, project: int, backend_url: str
) -> None:
    made = client.create_backend(backend_url, project, "title")
    assert client.project(project)["model_version"] == "title"
    (hook,) = client.webhooks(project)
    assert hook["url"] == f"{backend_url}/webhook"
    client.update_backend(made["id"], backend_url, project, title="renamed")
    assert [one["title"] for one in client.backends(project)] == ["renamed"]
    client.start_training(made["id"])
    assert Backend.asked[-1] == "/webhook"
    client.delete_backend(made["id"])
    assert client.backends(project) == []


def test_listing_tasks_does_not_make_label_studio_ask_its_backend(
    client: LabelStudio, project: int, tasks: list[int], backend_url: str
) -> None:
    client.create_backend(backend_url, project, "live")
    client.update_project(project, evaluate_predictions_automatically=True)
    assert len(list(client.tasks(project))) == len(tasks)
    assert "/predict" not in Backend.asked
    client.retrieve_predictions(project)
    assert "/predict" in Backend.asked and len(client.predictions(project)) == len(tasks)


def test_deleting_a_tag_leaves_a_live_project_live(
    client: LabelStudio, project: int, tasks: list[int], backend_url: str
) -> None:
    client.create_backend(backend_url, project, "live")
    client.import_predictions(project, [row(task, tag="old") for task in tasks])
    assert client.delete_tag(project, "old") == len(tasks)
    assert client.project(project)["model_version"] == "live"


def test_a_backend_that_does_not_answer_is_refused(client: LabelStudio, project: int) -> None:
    with pytest.raises(Rejected, match="status 400"):
        client.create_backend(f"http://127.0.0.1:{free_port()}", project, "nobody")


def test_what_is_not_there_is_not_found(client: LabelStudio) -> None:
    with pytest.raises(NotFound):
        client.project(10**9)
    with pytest.raises(NotFound):
        next(client.tasks(10**9))
    with pytest.raises(NotFound):
        client.next_task(10**9)


def whoami(url: str, token: str) -> str:
    with LabelStudio(url, token) as client:
        return str(client.whoami()["email"])


def test_nobody_there_means_try_again_later(server: Server) -> None:
    with pytest.raises(Unreachable, match="is Label Studio running"):
        whoami(f"http://127.0.0.1:{free_port()}", server.token)


def test_a_wrong_password_makes_no_token(server: Server) -> None:
    with pytest.raises(Unauthorized, match=server.email):
        login_for_token(server.url, server.email, PASSWORD + "x")


def test_legacy_tokens_are_told_apart(server: Server, client: LabelStudio) -> None:
    legacy = str(client._session.row("GET", "api/current-user/token")["token"])
    with pytest.raises(Unauthorized, match="legacy tokens switched off.*personal access token"):
        whoami(server.url, legacy)
    with pytest.raises(Unauthorized, match="does not know the legacy token"):
        whoami(server.url, LEGACY_TOKEN)
    allow = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    client._session.call("POST", "api/jwt/settings", body=allow)
    try:
        assert whoami(server.url, legacy) == server.email
    finally:
        forbid = {**allow, "legacy_api_tokens_enabled": False}
        client._session.call("POST", "api/jwt/settings", body=forbid)


def test_a_token_of_another_label_studio_is_refused(server: Server) -> None:
    header, claims, _ = server.token.split(".")
    with pytest.raises(Unauthorized, match="another Label Studio"):
        whoami(server.url, f"{header}.{claims}.{'x' * 43}")
