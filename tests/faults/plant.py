"""The plant: every process of a deployment on one machine, kept running by the real supervisor.

Label Studio, Redis, the web process, a worker of each kind, an LLM server, and a proxy on each way
between them. All state lies in one folder; ours (DATA_DIR, with Redis) may be a small disk.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import proxy
from label_studio_server import EMAIL, EXECUTABLE, PASSWORD, first_start, free_port
from machine import eventually
from provider import KEY
from redis import Redis
from tiny_models import publish

from backend import embedded_redis, label_studio_process, programs
from backend.label_studio import LabelStudio
from backend.settings import Settings
from backend.supervisor import Program, Supervisor, session_pids
from backend.wiring import Wiring

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
OURS = ("web", "review", "push", "train")
PROGRAMS = (*OURS, "redis", "label-studio", "llm")
ROUTES = ("to-label-studio", "to-web", "to-llm", "to-redis")
LABELS = ("positive", "neutral", "negative")
START_S = 240.0

_SETTINGS = {
    "RECONCILE_EVERY": "5",
    "STAGE_SIZE": "1000",  # stages start when they are asked for
    "STAGE_EPOCHS": "1",
    "PROMOTE_EVERY": "0",
    "AUDIT_SHARE": "0",
    "RUNTIME": "torch-fp32",  # no search for the fastest
    "LLM_PROVIDER": "openai",
    "LLM_MODEL": "local",
    "LLM_SHARE": "1",
    "LLM_PACK": "2",
    "LLM_CONCURRENCY": "2",
    "LLM_TIMEOUT_S": "8",
    "LLM_EXAMPLES": "0",  # so that a text in a request is a question
    "LLM_BATCH": "never",
    "OMP_NUM_THREADS": "1",
}


class Plant:
    """The running plant; use it as a context manager."""

    def __init__(self, folder: Path, data_dir: Path | None = None) -> None:
        self.folder = folder
        self.data_dir = data_dir or folder / "data"
        self.record = folder / "llm.jsonl"
        self._control = str(folder / "proxy.sock")
        self._ports = {name: free_port() for name in ("label-studio", "web", "llm")}
        self._doors = {name: free_port() for name in ROUTES}
        self._supervisor = Supervisor(self.data_dir)

    def __enter__(self) -> Plant:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.folder / "clock").mkdir()
        library = str(self.folder / "clock.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "clock.c"], check=True)
        token = first_start(self.folder / "label-studio")
        self.environ = self._environ(token)
        self.settings = Settings.from_env(self.environ)
        # Our own view goes round the proxy: it must see what is so while the others cannot.
        direct = {
            "LABEL_STUDIO_URL": self._url("label-studio"),
            "REDIS_URL": f"unix://{self._redis_socket}",
        }
        self.wiring = Wiring(Settings.from_env({**self.environ, **direct}))
        self.people = LabelStudio(self._url("label-studio"), token)
        try:
            self._start()
            eventually(self.is_up, START_S, "the plant")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.stop()
        wiring = self.wiring
        for client in (self.people, wiring.label_studio, wiring.redis, wiring.raw_redis):
            client.close()

    def is_up(self) -> bool:
        """Whether every program runs and answers."""
        for program in ("label-studio", "web"):
            if httpx.get(f"{self._url(program)}/health", timeout=2).status_code != 200:
                return False
        with socket.create_connection(("127.0.0.1", self._ports["llm"]), 2):
            return all(self.wiring.queues.workers().values())

    def pid(self, program: str) -> int:
        """The process of a program, which is the leader of its session."""
        record = json.loads((self.data_dir / "processes.json").read_text())
        return int(record["programs"][program][0])

    def pids(self, program: str) -> list[int]:
        """All processes of a program."""
        return session_pids(self.pid(program))

    def switch(self, route: str, mode: str) -> None:
        """Change the behaviour of a way between two parts."""
        proxy.switch(self._control, route, mode)

    def set_clock(self, program: str, shift_s: int) -> None:
        """Shift a program's wall clock by so many seconds; 0 is the right time."""
        with (self.folder / "clock" / program).open("r+b") as file:  # it is mapped: in place
            file.write(struct.pack("=q", shift_s))

    def log(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.data_dir / "logs" / f"{program}.log"

    def _url(self, program: str) -> str:
        return f"http://127.0.0.1:{self._ports[program]}"

    @property
    def _redis_socket(self) -> str:
        return str(embedded_redis.socket_path(self.data_dir))

    def _environ(self, token: str) -> dict[str, str]:
        models = [
            str(publish(self.folder / "members" / name, LABELS, seed=seed))
            for seed, name in enumerate(("ada", "ben", "cleo"))
        ]
        doors = {name: f"127.0.0.1:{port}" for name, port in self._doors.items()}
        return {
            **os.environ,
            **_SETTINGS,
            "DATA_DIR": str(self.data_dir),
            "MODEL_DIR": str(self.data_dir / "models"),
            "PORT": str(self._ports["web"]),
            "BACKEND_URL": f"http://{doors['to-web']}",
            "LABEL_STUDIO_URL": f"http://{doors['to-label-studio']}",
            "LABEL_STUDIO_API_KEY": token,
            "REDIS_URL": f"redis://{doors['to-redis']}",
            "LLM_BASE_URL": f"http://{doors['to-llm']}/v1",
            "OPENAI_API_KEY": KEY,
            "SPECIALISTS": ",".join(models),
        }

    def _start(self) -> None:
        routes = {
            "to-label-studio": self._ports["label-studio"],
            "to-web": self._ports["web"],
            "to-llm": self._ports["llm"],
            "to-redis": self._redis_socket,
        }
        doors = json.dumps({name: [self._doors[name], to] for name, to in routes.items()})
        tests = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "service")))
        env = {**os.environ, "PYTHONPATH": tests}
        python = [sys.executable, str(HERE / "llm.py")]
        llm = Program("llm", [*python, str(self._ports["llm"]), str(self.record)], env)
        proxy_argv = [sys.executable, str(HERE / "proxy.py"), self._control, doors]
        redis = Program("redis", embedded_redis.command(self.data_dir), self._clock("redis"))
        self._supervisor.start(
            [redis, self._label_studio(), llm, Program("proxy", proxy_argv, dict(os.environ))]
        )
        with Redis(unix_socket_path=self._redis_socket) as client:
            eventually(client.ping, START_S, "Redis")
        ours = programs.backend_programs(self.settings, self.environ)
        self._supervisor.start(
            [replace(one, env={**one.env, **self._clock(one.name)}) for one in ours]
        )

    def _clock(self, program: str) -> dict[str, str]:
        """The environment in which a program has a clock of its own (clock.c)."""
        path = self.folder / "clock" / program
        path.write_bytes(struct.pack("=q", 0))
        return {"LD_PRELOAD": str(self.folder / "clock.so"), "CLOCK_SHIFT": str(path)}

    def _label_studio(self) -> Program:
        env = label_studio_process.environment(os.environ, EMAIL, PASSWORD)
        folder = self.folder / "label-studio"
        argv = label_studio_process.command(EXECUTABLE, folder, self._ports["label-studio"])
        return Program("label-studio", argv, env)


def annotation(label: str) -> list[Mapping[str, Any]]:
    """What a person's choice looks like in Label Studio."""
    value = {"choices": [label]}
    return [{"from_name": "sentiment", "to_name": "text", "type": "choices", "value": value}]
