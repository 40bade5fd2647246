"""Programs that try to get out of the sandbox, or to harm whoever runs them.

Each has `attack()`, which returns whatever it got, and nothing when it was refused; or an
`annotate` of its own that attacks with its answer. Words in capitals between @ are filled in.
"""

from __future__ import annotations

ENDING = """

def load(model_dir):
    return model_dir


def annotate(model, texts):
    try:
        got = attack()
    except BaseException:
        got = None
    return [{f"got {got}"[:3000] if got else "nothing": 1.0} for text in texts]
"""

_SYSCALL = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(x86, arm, *arguments):
    number = x86 if platform.machine() == "x86_64" else arm
    result = libc.syscall(number, *arguments)
    return f"{number}: {result}" if result >= 0 else ""
"""

FILES = {
    "reads the password file": "def attack():\n    return open('/etc/passwd').read()",
    "reads a file by its path": """
def attack():
    with open(@SECRET@) as file:
        return file.read()
""",
    "reads a file by its descriptor's name": """
import os
def attack():
    found = []
    for pid in ["self", "1", "@PARENT@", *map(str, range(1, 50))]:
        for n in range(40):
            try:
                found.append(open(f"/proc/{pid}/fd/{n}").read(1000))
            except OSError:
                pass
    return [one for one in found if "token" in one]
""",
    "reads the environment": """
import os
def attack():
    return [one for one in os.environ.values() if "token" in one]
""",
    "reads environments in proc": """
def attack():
    found = b""
    for pid in ("self", "1", "2", "@PARENT@"):
        try:
            found += open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            pass
    return found if b"token" in found else None
""",
    "reaches the root of process 1": """
def attack():
    return open('/proc/1/root' + @SECRET@).read()
""",
    "reaches the root of the parent": """
def attack():
    return open("/proc/@PARENT@/root" + @SECRET@).read()
""",
    "reaches the working folder of the parent": """
import os
def attack():
    return os.listdir("/proc/@PARENT@/cwd")
""",
    "writes its own memory through proc": """
def attack():
    with open("/proc/self/mem", "r+b") as memory:
        return memory.fileno()
""",
    "reads the parent's memory through proc": """
def attack():
    return open("/proc/@PARENT@/maps").read()
""",
    "reads another model": "def attack():\n    return open(@OTHER_MODEL@).read()",
    "looks for the secret everywhere": """
import os
def attack():
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [one for one in folders if "python" not in one and one != "usr"]
        found += [folder for one in files if one == "secret.txt"]
    return found
""",
    "follows a link to the secret": """
import os
def attack():
    os.symlink(@SECRET@, "/tmp/link")
    return open("/tmp/link").read()
""",
    "links the secret hard": """
import os
def attack():
    os.link(@SECRET@, "/tmp/hard")
    return open("/tmp/hard").read()
""",
    "climbs with dots": """
def attack():
    return open("/tmp/../../../.." + @SECRET@).read()
""",
    "writes over the secret": "def attack():\n    return open(@SECRET@, 'w').write('changed')",
    "writes beside the secret": "def attack():\n    return open(@SECRET@ + '.new', 'w').write('x')",
    "writes into the model's folder": """
def attack():
    return open(@MODEL@ + "/config.json", "w").write("{}")
""",
    "writes into a package": """
import json
def attack():
    return open(json.__file__, "a").write("# changed")
""",
    "truncates": "import os\ndef attack():\n    os.truncate(@SECRET@, 0)\n    return 'truncated'",
    "truncates while it opens": """
import os
def attack():
    return os.open(@SECRET@, os.O_RDONLY | os.O_TRUNC) or "opened"
""",
    "removes": "import os\ndef attack():\n    os.unlink(@SECRET@)\n    return 'removed'",
    "renames": """
import os
def attack():
    os.rename(@SECRET@, @SECRET@ + '.old')
    return 'renamed'
""",
    "changes modes, owners and times": """
import os
def attack():
    done = []
    for path in (@SECRET@, @MODEL@ + "/config.json", os.__file__):
        for change in (lambda: os.chmod(path, 0o777), lambda: os.chown(path, 1, 1),
                       lambda: os.utime(path, (1, 1)), lambda: os.setxattr(path, "user.a", b"b")):
            try:
                change()
                done.append(path)
            except OSError:
                pass
    return done
""",
    "fills the disk": """
import os
def attack():
    written = 0
    try:
        for n in range(100):
            with open(f"/tmp/{n}", "wb") as file:
                for _ in range(4):
                    written += file.write(bytes(1 << 20))
    except OSError:
        pass
    return written if written > 70_000_000 else None
""",
    "makes one huge file": """
import os
def attack():
    with open("/tmp/huge", "wb") as file:
        file.truncate(1 << 40)
    return os.path.getsize("/tmp/huge")
""",
    "opens devices": """
import os
def attack():
    found = []
    for path in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/fuse", "/dev/tty"):
        try:
            found.append(os.open(path, os.O_RDONLY))
        except OSError:
            pass
    return found
""",
    "makes a device": """
import os, stat
def attack():
    os.mknod("/tmp/device", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
    return "made"
""",
    "uses what it inherited": """
import os
def attack():
    found = []
    for n in range(5, 4096):
        try:
            os.fstat(n)
            found.append(n)
        except OSError:
            pass
    return found
""",
}

NETWORK = {
    "connects over TCP": """
import socket
def attack():
    with socket.create_connection(("127.0.0.1", @PORT@), 1) as one:
        return one.send(b"here")
""",
    "connects over TCP in version 6": """
import socket
def attack():
    with socket.socket(socket.AF_INET6) as one:
        one.connect(("::1", @PORT@))
        return "connected"
""",
    "sends over UDP": """
import socket
def attack():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"here", ("127.0.0.1", @PORT@))
""",
    "connects to a socket in the file system": """
import socket
def attack():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(@UNIX@)
        return one.send(b"PING")
""",
    "connects to an abstract socket": """
import socket
def attack():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0" + @ABSTRACT@)
        return "connected"
""",
    "asks the kernel over netlink": """
import socket
def attack():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as one:
        one.bind((0, 0))
        return "bound"
""",
    "listens to all packets": """
import socket
def attack():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as one:
        return "opened"
""",
    "looks a name up": """
import socket
def attack():
    return socket.getaddrinfo("example.org", 80)
""",
    "listens": """
import socket
def attack():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()
""",
    "uses the socket it is asked over to send descriptors": """
import array, socket
def attack():
    found = []
    for n in range(3, 20):
        try:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=n)
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [n]))])
            found.append(n)
        except OSError:
            pass
    return found
""",
}

PROCESSES = {
    "forks without end": """
import os
def attack():
    made = 0
    while True:
        try:
            if os.fork() == 0:
                continue
            made += 1
        except OSError:
            return made
""",
    "starts threads without end": """
import threading, time
def attack():
    threading.stack_size(32768)
    made = 0
    try:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            made += 1
    except RuntimeError:
        return made
""",
    "runs a shell": """
import subprocess
def attack():
    return subprocess.run(["/bin/sh", "-c", "cat /etc/passwd"], capture_output=True).stdout
""",
    "becomes another program": """
import os, sys
def attack():
    os.execv(sys.executable, [sys.executable, "-c", "print(open(@SECRET@).read())"])
""",
    "spawns a program": """
import os, sys
def attack():
    return os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], {})
""",
    "kills its parent": """
import os, signal
def attack():
    done = []
    for pid in (@PARENT@, os.getppid(), -1, 0, 1):
        try:
            os.kill(pid, signal.SIGTERM if pid in (-1, 0) else signal.SIGKILL)
            done.append(pid)
        except OSError:
            pass
    return done
""",
    "lets the kernel signal its parent": """
import fcntl, os, signal
def attack():
    reading, writing = 3, 3
    fcntl.fcntl(reading, fcntl.F_SETOWN, @PARENT@)
    fcntl.fcntl(reading, 10, signal.SIGKILL)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    return "set"
""",
    "traces its parent": _SYSCALL + "def attack():\n    return call(101, 117, 16, @PARENT@, 0, 0)",
    "reads its parent's memory": _SYSCALL
    + """
def attack():
    place = ctypes.create_string_buffer(16)
    return call(310, 270, @PARENT@, place, 1, place, 1, 0)
""",
    "takes its parent's limits away": """
import resource
def attack():
    resource.prlimit(@PARENT@, resource.RLIMIT_NOFILE, (0, 0))
    return "done"
""",
    "raises its own limits": """
import resource
def attack():
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"
""",
    "slows its parent down": """
import os
def attack():
    os.setpriority(os.PRIO_PROCESS, @PARENT@, 19)
    return "slowed"
""",
    "pins its parent": """
import os
def attack():
    os.sched_setaffinity(@PARENT@, {0})
    return 'pinned'
""",
    "opens its parent by a handle": """
import os
def attack():
    return os.pidfd_open(@PARENT@)
""",
    "takes all memory": """
def attack():
    held = []
    try:
        while True:
            held.append(bytearray(1 << 24))
    except MemoryError:
        return len(held) if len(held) << 24 > 700_000_000 else None
""",
    "takes all memory by sharing it": """
import mmap
def attack():
    held = []
    try:
        while True:
            one = mmap.mmap(-1, 1 << 26)
            one.write(b"x" * (1 << 26))
            held.append(one)
    except (OSError, MemoryError):
        return len(held)
""",
    "takes all memory by names": """
import os
def attack():
    return os.memfd_create("held") or "made"
""",
    "loops without end": "def attack():\n    while True:\n        pass",
    "sleeps for ever": "import time\ndef attack():\n    time.sleep(1e6)",
    "ignores every signal": """
import signal, time
def attack():
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        time.sleep(1)
""",
    "loops in a pattern": """
import re
def attack():
    return re.match("(a+)+$", "a" * 64 + "b")
""",
    "loops while it loads": """
while True:
    pass
def attack():
    return None
""",
    "outlives its parent": """
import ctypes, os, time
def attack():
    return "unbound" if ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0 else None
""",
    "crashes": "import ctypes\ndef attack():\n    ctypes.string_at(1)",
    "ends quietly": "import os\ndef attack():\n    os._exit(0)",
}

KERNEL = {
    "mounts": _SYSCALL
    + "def attack():\n    return call(165, 40, b'none', b'/tmp', b'tmpfs', 0, None)",
    "mounts in the new way": _SYSCALL + "def attack():\n    return call(430, 430, b'tmpfs', 0)",
    "changes its root": "import os\ndef attack():\n    os.chroot('/tmp')\n    return 'changed'",
    "pivots its root": _SYSCALL + "def attack():\n    return call(155, 41, b'/tmp', b'/tmp')",
    "becomes root": "import os\ndef attack():\n    os.setresuid(0, 0, 0)\n    return 'root'",
    "makes namespaces": _SYSCALL + "def attack():\n    return call(272, 97, 0x10000000)",
    "clones into namespaces": _SYSCALL
    + "def attack():\n    return call(56, 220, 0x10000011, 0, 0, 0, 0)",
    "enters namespaces": _SYSCALL + "def attack():\n    return call(308, 268, 3, 0)",
    "reads keys": _SYSCALL + "def attack():\n    return call(250, 219, 0, -3, 1)",
    "loads a kernel program": _SYSCALL
    + "def attack():\n    return call(321, 280, 0, bytes(64), 64)",
    "handles page faults": _SYSCALL + "def attack():\n    return call(323, 282, 0)",
    "opens a ring": _SYSCALL + "def attack():\n    return call(425, 425, 8, bytes(120))",
    "watches the processor": _SYSCALL
    + "def attack():\n    return call(298, 241, bytes(128), 0, -1, -1, 0)",
    "loads a module": _SYSCALL + "def attack():\n    return call(313, 273, 0, b'', 0)",
    "restarts the machine": _SYSCALL
    + "def attack():\n    return call(169, 142, 0xfee1dead, 672274793, 0)",
    "sets the clock": "import time\ndef attack():\n    time.clock_settime(0, 1)\n    return 'set'",
    "opens a file by its handle": _SYSCALL
    + "def attack():\n    return call(304, 265, -100, bytes(16), 0)",
    "shares memory by a key": _SYSCALL + "def attack():\n    return call(29, 194, 1, 4096, 0o1777)",
    "sends a message by a queue": _SYSCALL
    + "def attack():\n    return call(240, 180, b'q', 0o102, 0o600, None)",
    "uses the other table of calls": _SYSCALL
    + "def attack():\n    return call(0x40000000 + 41, 198, 1, 1, 0)",
    "uses the old gate of calls": """
import ctypes, mmap, platform
def attack():
    if platform.machine() != "x86_64":
        return None
    # mov eax, 20 (getpid of i386); int 0x80; ret
    code = bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3])
    held = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
    held.write(code)
    place = ctypes.addressof(ctypes.c_char.from_buffer(held))
    return ctypes.CFUNCTYPE(ctypes.c_int)(place)()
""",
    "takes the filter away": _SYSCALL + "def attack():\n    return call(317, 277, 0, 0, None)",
}

PYTHON = {
    "finds classes that lead out": """
def attack():
    for one in ().__class__.__base__.__subclasses__():
        if one.__name__ == "_wrap_close":
            return one.__init__.__globals__["popen"]("cat /etc/passwd").read()
""",
    "finds a loader among the classes": """
def attack():
    for one in ().__class__.__mro__[1].__subclasses__():
        if one.__name__ == "FileLoader":
            return one("x", @SECRET@).get_data(@SECRET@)
""",
    "imports by a name made up": """
def attack():
    return __import__("o" + "s").popen("cat /etc/passwd").read()
""",
    "imports by a module": """
import importlib
def attack():
    return importlib.import_module("subprocess").check_output(["cat", @SECRET@])
""",
    "takes modules that others loaded": """
import sys
def attack():
    return sys.modules["posix"].open(@SECRET@, 0) and sys.modules["io"].open(@SECRET@).read()
""",
    "goes through an allowed module": """
import json
def attack():
    return json.codecs.open(@SECRET@).read()
""",
    "goes through numpy": """
import numpy
def attack():
    return bytes(numpy.fromfile(@SECRET@, dtype="uint8"))
""",
    "loads a pickle by numpy": """
import numpy
def attack():
    return numpy.load(@PICKLE@, allow_pickle=True)
""",
    "goes through numpy to ctypes": """
import numpy
def attack():
    return numpy.ctypeslib.ctypes.CDLL(None).system(b"touch /tmp/x") == 0
""",
    "goes through torch": """
import torch
def attack():
    found = []
    for one in (
        lambda: torch.load(@PICKLE@, weights_only=False),
        lambda: torch.load(@SECRET@, weights_only=False),
        lambda: torch.serialization.os.listdir("/etc/ssl"),
        lambda: torch.from_file(@SECRET@, size=8, dtype=torch.uint8),
        lambda: torch.UntypedStorage.from_file(@SECRET@, False, 8),
        lambda: torch.save([1], @SECRET@ + ".new"),
        lambda: torch.hub.download_url_to_file("http://127.0.0.1:@PORT@/x", "/tmp/x"),
        lambda: torch.hub.load(@MODEL@, "config", source="local"),
        lambda: torch.ops.load_library(@SECRET@),
        lambda: torch.multiprocessing.get_context("spawn").Process(target=print).start(),
    ):
        try:
            found.append(one())
        except BaseException:
            pass
    return found
""",
    "calls the shell from C": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    return "ran" if libc.system(b"cat /etc/passwd > /tmp/got") == 0 else None
""",
    "builds code from text": """
def attack():
    return eval("open(" + repr(@SECRET@) + ").read()")
""",
    "compiles code": """
def attack():
    names = {}
    exec(compile("import os\\nfound = os.listdir('/etc')", "x", "exec"), names)
    return [one for one in names["found"] if one == "passwd"]
""",
    "reaches in with a format": """
def attack():
    found = "{0.__globals__}".format(attack)
    return found if "token" in found else None
""",
    "reaches in with a pattern": """
def attack():
    match attack:
        case object(__globals__=names):
            return names["__builtins__"]["open"](@SECRET@).read()
""",
    "reads an annotation that is code": """
import typing
def attack():
    def given(x: "open(@SECRET@).read()"): pass
    return typing.get_type_hints(given)
""",
    "looks at the frames above": """
import sys
def attack():
    frame, found = sys._getframe(), ""
    while frame:
        found += repr(frame.f_locals)
        frame = frame.f_back
    return found if "tok" + "en-" in found else None
""",
    "looks at all objects": """
import gc
def attack():
    found = (str(one)[:5000] for one in gc.get_objects() if isinstance(one, dict))
    return [one for one in found if "tok" + "en-" in one]
""",
}

ANSWERS = {
    "answers with an object that runs when it is unpickled": """
import os
class Loot:
    def __reduce__(self):
        return os.system, ("touch " + @SECRET@ + ".new",)
def annotate(model, texts):
    return [{"a": Loot()} for text in texts]
""",
    "answers with pickled bytes": """
import pickle
def annotate(model, texts):
    return pickle.dumps(print)
""",
    "answers with not a number": """
def annotate(model, texts):
    return [{"a": float("nan"), "b": 1.0} for text in texts]
""",
    "answers with infinity": """
def annotate(model, texts):
    return [{"a": float("inf"), "b": 0.0} for text in texts]
""",
    "answers below zero": """
def annotate(model, texts):
    return [{"a": -1.0, "b": 2.0} for text in texts]
""",
    "answers with other labels": """
def annotate(model, texts):
    return [{"a": 0.5, "c": 0.5} for text in texts]
""",
    "answers too often": """
def annotate(model, texts):
    return [{"a": 0.5, "b": 0.5}] * 1000
""",
    "answers with a flood": """
def annotate(model, texts):
    return [{"a" * 20_000_000: 1.0}]
""",
    "answers with a list that never ends": """
def annotate(model, texts):
    while True:
        yield {"a": 0.5, "b": 0.5}
""",
    "writes a length of 4 GB": """
import os, time
def annotate(model, texts):
    os.write(3, b"\\xff\\xff\\xff\\xff")
    time.sleep(60)
""",
    "writes half of an answer": """
import os, time
def annotate(model, texts):
    os.write(3, b"\\0\\0\\1\\0{")
    time.sleep(60)
""",
    "writes what is no JSON": """
import os
def annotate(model, texts):
    os.write(3, b"\\0\\0\\0\\4\\x80\\4K.")
    return []
""",
    "writes JSON that is nested too deep": """
import os
def annotate(model, texts):
    raw = b"[" * 1_000_000
    os.write(3, len(raw).to_bytes(4, "big"))
    while raw:
        raw = raw[os.write(3, raw):]
    return []
""",
    "writes a number that is too long": """
import os
def annotate(model, texts):
    raw = b'{"answers": ' + b"9" * 100_000 + b"}"
    os.write(3, len(raw).to_bytes(4, "big") + raw)
    return []
""",
    "puts something else in the place of the encoder": """
import json, pickle
def annotate(model, texts):
    json.dumps = lambda message: pickle.dumps(message).decode("latin1")
    return [{"a": 1.0, "b": 0.0} for text in texts]
""",
    "floods what it prints": """
import sys
def annotate(model, texts):
    for n in range(200_000):
        print("x" * 100)
        sys.stderr.write("y" * 100)
    return [{"c": 1.0} for text in texts]
""",
    "fails with a flood": """
def annotate(model, texts):
    raise ValueError("z" * 50_000_000)
""",
    "leaves by an exit": """
def annotate(model, texts):
    raise SystemExit(0)
""",
    "stops reading": """
import os, time
def load(model_dir):
    time.sleep(0.1)
    os.close(3)
    return None
def annotate(model, texts):
    return []
""",
}

ATTACKS: dict[str, str] = {
    **FILES,
    **NETWORK,
    **PROCESSES,
    **KERNEL,
    **PYTHON,
    **ANSWERS,
}
STOPPED_BY_TIME = frozenset(
    (
        *("loops without end", "sleeps for ever", "ignores every signal", "loops in a pattern"),
        *("loops while it loads", "answers with a list that never ends"),
        "writes half of an answer",
    )
)
"""Nothing else ends them."""
HARMLESS_TO_READ = frozenset(
    (
        *("loops without end", "takes all memory", "loops in a pattern", "loops while it loads"),
        *("answers with not a number", "answers with infinity", "answers below zero"),
        *("answers with other labels", "answers too often", "answers with a flood"),
        *("answers with a list that never ends", "fails with a flood", "leaves by an exit"),
    )
)
"""They import and reach for nothing: only the process stops them."""


def module(program: str) -> str:
    """A program as a module of the contract."""
    if "def annotate" in program:
        opening = "" if "def load" in program else "def load(model_dir):\n    return None\n"
        return opening + program
    return program + ENDING
