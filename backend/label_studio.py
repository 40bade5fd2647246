"""The calls to Label Studio that this project makes: projects, tasks, predictions, webhooks.

One method per call, plain dictionaries as Label Studio sends them, ids as numbers. Knows the
traps of Label Studio 1.23 (each named where it is stepped around), not when to call what.
Every method raises Unreachable, Unauthorized, NotFound or Rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from backend.errors import NotFound, Rejected
from backend.label_studio_session import SLOW_TIMEOUT_S, OnWrite, Row, Session
from backend.task_list import TaskList

_PROJECTS_PER_PAGE = 100
_PREDICTIONS_PER_IMPORT = 10_000
"""Label Studio recounts every task of the project after each request, so few large ones win."""


UNCERTAINTY = "Uncertainty sampling"
"""A project's `sampling` that serves the lowest score of the shown model version first."""


class LabelStudio:
    """A thin client; safe to share among threads."""

    def __init__(
        self,
        url: str,
        api_key: str,
        timeout_s: float = 30.0,
        http: httpx.Client | None = None,
        on_write: OnWrite | None = None,
    ) -> None:
        """Prepare without asking Label Studio; `api_key` is a PAT or a legacy token."""
        self._session = Session(url, api_key, timeout_s, http, on_write)
        self._call, self._row = self._session.call, self._session.row
        self._rows = self._session.rows
        self.url = self._session.url

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> LabelStudio:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Label Studio itself

    def whoami(self) -> Row:
        """Return the user behind the token."""
        return self._row("GET", "api/current-user/whoami")

    def version(self) -> str:
        """Return Label Studio's release, such as `1.23.2`."""
        return str(self._row("GET", "api/version/")["release"])

    def users(self) -> list[Row]:
        """List the people of the organization."""
        return self._rows("GET", "api/users/")

    # Projects

    def project(self, project_id: int) -> Row:
        """Return one project."""
        return self._row("GET", f"api/projects/{project_id}/")

    def projects(self) -> list[Row]:
        """List every project that the token may see."""
        found: list[Row] = []
        while True:
            page = len(found) // _PROJECTS_PER_PAGE + 1
            params = {"page": page, "page_size": _PROJECTS_PER_PAGE}
            answer = self._row("GET", "api/projects/", params=params)
            found += answer["results"]
            if not answer["next"]:
                return found

    def create_project(self, title: str, label_config: str, **fields: Any) -> Row:
        """Create a project; the title needs 3 to 50 characters."""
        body = {"title": title, "label_config": label_config, **fields}
        return self._row("POST", "api/projects/", body=body)

    def update_project(self, project_id: int, **fields: Any) -> Row:
        """Change fields of a project.

        A `model_version` that is neither a backend's title nor the tag of stored predictions is
        Rejected (400), and `show_collab_predictions=False` resets it to nothing.
        """
        return self._row("PATCH", f"api/projects/{project_id}/", body=fields)

    def next_task(self, project_id: int) -> Row | None:
        """Return the task that the labeling stream serves next, None when all are done."""
        try:
            return self._row("GET", f"api/projects/{project_id}/next")
        except NotFound as error:
            if "There are no tasks" in str(error):
                return None
            raise

    # Tasks and annotations

    def tasks(self, project_id: int, ids: Iterable[int] | None = None) -> Iterator[Row]:
        """Yield tasks with their data and annotations, ordered by id; all, or those of `ids`."""
        listed = TaskList(self._session, project_id)
        return listed.all() if ids is None else listed.some(ids)

    def task_ids(self, project_id: int) -> list[int]:
        """List the ids of a project's tasks in ascending order."""
        return list(TaskList(self._session, project_id).ids())

    def import_tasks(self, project_id: int, datas: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create one task per data object and return their ids in the same order."""
        answer = self._row(
            "POST",
            f"api/projects/{project_id}/import",
            params={"return_task_ids": "true"},
            body=list(datas),
            timeout_s=SLOW_TIMEOUT_S,
        )
        return [int(task_id) for task_id in answer["task_ids"]]

    def create_annotation(
        self, task_id: int, result: Sequence[Mapping[str, Any]], lead_time: float | None = None
    ) -> Row:
        """Annotate a task as the token's owner; `lead_time` is in seconds."""
        body = {"result": list(result), "lead_time": lead_time}
        return self._row("POST", f"api/tasks/{task_id}/annotations/", body=body)

    # Predictions

    def predictions(self, project_id: int) -> list[Row]:
        """List every stored prediction of a project, of all tags."""
        return self._rows(
            "GET", "api/predictions/", params={"project": project_id}, timeout_s=SLOW_TIMEOUT_S
        )

    def task_predictions(self, task_id: int) -> list[Row]:
        """List the stored predictions of one task, of all tags."""
        return self._rows("GET", "api/predictions/", params={"task": task_id})

    def import_predictions(self, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store predictions (task, result, score, model_version) in bulk; return how many.

        Label Studio leaves invalid ones out and still reports success: that raises Rejected. An
        unknown task id refuses its whole request. Earlier requests of a long import stay stored.
        """
        path, created = f"api/projects/{project_id}/import/predictions", 0
        for start in range(0, len(rows), _PREDICTIONS_PER_IMPORT):
            chunk = list(rows[start : start + _PREDICTIONS_PER_IMPORT])
            answer = self._row("POST", path, body=chunk, timeout_s=SLOW_TIMEOUT_S)
            created += int(answer["created"])
        if created != len(rows):
            raise Rejected(
                f"POST {path}: Label Studio stored {created} of {len(rows)} predictions; the "
                "others do not fit the project's label config",
                201,
                f"created {created}",
            )
        return created

    def patch_prediction(
        self,
        prediction_id: int,
        *,
        task: int,
        project: int,
        result: Sequence[Mapping[str, Any]],
        score: float,
        model_version: str,
    ) -> Row:
        """Replace a stored prediction in place; with validation on, task and project are needed."""
        body = {
            "task": task,
            "project": project,
            "result": list(result),
            "score": score,
            "model_version": model_version,
        }
        return self._row("PATCH", f"api/predictions/{prediction_id}/", body=body)

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete one stored prediction."""
        self._call("DELETE", f"api/predictions/{prediction_id}/")

    def delete_predictions(self, prediction_ids: Iterable[int]) -> int:
        """Delete predictions one by one (there is no bulk call by id); return how many were left.

        Those that are already gone do not count.
        """
        deleted = 0
        for prediction_id in prediction_ids:
            try:
                self.delete_prediction(prediction_id)
            except NotFound:
                continue
            deleted += 1
        return deleted

    def delete_tag(self, project_id: int, tag: str) -> int:
        """Delete all predictions of a tag that is not served; return how many.

        Label Studio then clears the project's model version whenever it names a backend (live
        mode), whatever the tag: it is put back. Raises Rejected for the tag that is served.
        """
        served = self.project(project_id)["model_version"]
        if served == tag:
            raise Rejected(
                f"The tag '{tag}' is served in project {project_id}; serve another one first",
                400,
                "tag is served",
            )
        path, body = f"api/projects/{project_id}/model-versions/", {"model_version": tag}
        answer = self._row("DELETE", path, body=body, timeout_s=SLOW_TIMEOUT_S)
        if served and not self.project(project_id)["model_version"]:
            self.update_project(project_id, model_version=served)
        return int(answer["deleted_predictions"])

    def retrieve_predictions(self, project_id: int) -> Row:
        """Let Label Studio ask its backend about every task; slow, and always reports success."""
        return self._row(
            "POST",
            "api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": project_id},
            body={"selectedItems": {"all": True, "excluded": []}},
            timeout_s=SLOW_TIMEOUT_S,
        )

    # Tabs of the Data Manager

    def views(self, project_id: int) -> list[Row]:
        """List a project's tabs; everybody who sees the project sees all of them."""
        return self._rows("GET", "api/dm/views/", params={"project": project_id})

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> Row:
        """Create a tab; `data` has its title and filters."""
        return self._row("POST", "api/dm/views/", body={"project": project_id, "data": data})

    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> Row:
        """Replace a tab's title and filters."""
        body = {"project": project_id, "data": data}
        return self._row("PATCH", f"api/dm/views/{view_id}/", body=body)

    # Backends and webhooks

    def backends(self, project_id: int) -> list[Row]:
        """List a project's ML backends; Label Studio checks the health of each meanwhile."""
        return self._rows("GET", "api/ml/", params={"project": project_id})

    def create_backend(self, url: str, project: int, title: str, **fields: Any) -> Row:
        """Connect an ML backend, which is asked for its health and set up meanwhile.

        An empty `model_version` of the project becomes `title`. Label Studio makes a webhook for
        every action along with it. A refusal (403) may leave the backend behind, without webhook.
        """
        body = {"url": url, "project": project, "title": title, **fields}
        return self._row("POST", "api/ml/", body=body)

    def update_backend(self, backend_id: int, url: str, project: int, **fields: Any) -> Row:
        """Change a backend; without url and project in the body Label Studio answers 500."""
        body = {"url": url, "project": project, **fields}
        return self._row("PATCH", f"api/ml/{backend_id}", body=body)

    def delete_backend(self, backend_id: int) -> None:
        """Disconnect a backend; its webhook and its predictions stay."""
        self._call("DELETE", f"api/ml/{backend_id}")

    def start_training(self, backend_id: int) -> None:
        """Press "Start training"; succeeds even when the backend fails."""
        self._call("POST", f"api/ml/{backend_id}/train", body={}, timeout_s=SLOW_TIMEOUT_S)

    def webhooks(self, project_id: int) -> list[Row]:
        """List a project's webhooks."""
        return self._rows("GET", "api/webhooks/", params={"project": project_id})

    def create_webhook(
        self, project_id: int, url: str, actions: Sequence[str], headers: Mapping[str, str]
    ) -> Row:
        """Create a webhook for the given actions only, with full payloads."""
        body = {"project": project_id, **_webhook(url, actions, headers)}
        return self._row("POST", "api/webhooks/", body=body)

    def update_webhook(
        self, webhook_id: int, url: str, actions: Sequence[str], headers: Mapping[str, str]
    ) -> Row:
        """Change a webhook; always with its actions, which Label Studio empties otherwise."""
        body = _webhook(url, actions, headers)
        return self._row("PATCH", f"api/webhooks/{webhook_id}/", body=body)

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook."""
        self._call("DELETE", f"api/webhooks/{webhook_id}/")


def _webhook(url: str, actions: Sequence[str], headers: Mapping[str, str]) -> Row:
    """Build the body that creates or changes a webhook."""
    return {
        "url": url,
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": list(actions),
        "headers": dict(headers),
        "is_active": True,
    }
