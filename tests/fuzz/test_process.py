"""The web process itself: broken HTTP on a real socket, and bodies in chunks."""

from __future__ import annotations

import json
import socket

from hypothesis import strategies as st
from inputs import CONFIG
from machine import Machine
from runs import fuzz
from served import HANG_S, INPUTS

PREDICT = json.dumps(
    {"project": 1, "label_config": CONFIG, "tasks": [{"id": 1, "data": {"text": "a good day"}}]}
).encode()


def say(machine: Machine, *parts: bytes) -> bytes:
    """Send raw bytes, say that no more comes, and return what was answered."""
    INPUTS["process: raw HTTP"] += 1
    address = ("127.0.0.1", machine.settings.port)
    with socket.create_connection(address, timeout=HANG_S) as line:
        answer = b""
        try:
            for part in parts:
                line.sendall(part)
            line.shutdown(socket.SHUT_WR)
            while piece := line.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # closed on us: as good as any refusal
        return answer


def status(answer: bytes) -> int:
    """The status of the first answer, 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


_HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@fuzz(sizes=st.lists(st.integers(1, len(PREDICT)), min_size=1, max_size=6))
def test_a_body_in_chunks_is_a_body(machine: Machine, sizes: list[int]) -> None:
    pieces, rest = [], PREDICT
    for size in sizes:
        pieces.append(chunk(rest[:size]) if rest[:size] else b"")
        rest = rest[size:]
    answer = say(machine, _CHUNKED, *pieces, chunk(rest) if rest else b"", b"0\r\n\r\n")
    assert status(answer) == 200, answer[:300]


@fuzz(
    head=st.sampled_from(
        [
            _CHUNKED,
            _HEAD + b"Content-Length: 5\r\n\r\n",
            _HEAD + b"Content-Length: 100000\r\n\r\n",
            _HEAD + b"Content-Length: -1\r\n\r\n",
            _HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n",
            _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            _HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            _HEAD + b"Content-Length: 99999999999\r\n\r\n",
            _HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            b"POST /webhook HTTP/1.0\r\n\r\n",
            b"GET http://elsewhere.example/predict HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"",
        ]
    ),
    body=st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"", b"{}", b"5\r\n{", b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n\r\n"]),
        st.sampled_from([b"fffffffffffffffff\r\n", b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n"]),
    ),
)
def test_broken_http_is_refused_or_dropped(machine: Machine, head: bytes, body: bytes) -> None:
    assert status(say(machine, head, body)) < 500


def test_it_serves_on_after_all_that(machine: Machine) -> None:
    assert machine.http("GET", "/health").json()["status"] == "UP"
    assert "Traceback" not in machine.log("web")
