"""A TCP proxy between the parts, a process of its own: `python proxy.py CONTROL ROUTES`.

ROUTES is JSON: a route's name -> [the port it listens on, where it leads: a port or a unix socket].
CONTROL is a unix socket that takes one line a connection, `ROUTE MODE`, and answers `ok`:

    pass    bytes go through
    refuse  nobody listens, what was open is reset
    slow    each piece of an answer waits SLOW_S
    cut     the connection is reset in the middle of an answer
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MODES = ("pass", "refuse", "slow", "cut")
SLOW_S = 1.5
_PIECE = 65_536


class Route:
    """One door and where it leads."""

    def __init__(self, port: int, target: int | str) -> None:
        self._port = port
        self._target = target
        self._mode = "pass"
        self._door: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def switch(self, mode: str) -> None:
        """Behave in another way from now on, to open connections too."""
        self._mode = mode
        if self._door and mode == "refuse":
            self._door.close()
            self._door = None
        if mode in ("refuse", "cut"):
            for writer in list(self._open):
                writer.transport.abort()
        if mode != "refuse" and self._door is None:
            self._door = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, int):
                up = await asyncio.open_connection("127.0.0.1", self._target)
            else:
                up = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, up[1]}
        try:
            await asyncio.gather(self._copy(reader, up[1], False), self._copy(up[0], writer, True))
        except OSError:
            pass  # one side went away
        finally:
            self._open -= {writer, up[1]}
            writer.close()
            up[1].close()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_answer: bool
    ) -> None:
        while piece := await source.read(_PIECE):
            if is_answer and self._mode == "slow":
                await asyncio.sleep(SLOW_S)
            if is_answer and self._mode == "cut":
                target.write(piece[: len(piece) // 2])
                await target.drain()
                raise ConnectionResetError
            target.write(piece)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
        if is_answer:  # the server is through with this connection
            raise ConnectionResetError


async def serve(control: str, routes: Mapping[str, Sequence[int | str]]) -> None:
    """Proxy until SIGTERM."""
    doors = {name: Route(int(port), target) for name, (port, target) in routes.items()}
    for door in doors.values():
        await door.switch("pass")

    async def command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, mode = (await reader.readline()).decode().split()
        await doors[name].switch(mode)
        writer.write(b"ok\n")
        await writer.drain()
        writer.close()

    Path(control).unlink(missing_ok=True)
    await asyncio.start_unix_server(command, control)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def switch(control: str, route: str, mode: str) -> None:
    """Tell a running proxy how a route is to behave."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(10)
        wire.connect(control)
        wire.sendall(f"{route} {mode}\n".encode())
        answer = wire.recv(16)
    if answer != b"ok\n":
        raise RuntimeError(f"The proxy did not switch {route} to {mode}.")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], json.loads(sys.argv[2])))
