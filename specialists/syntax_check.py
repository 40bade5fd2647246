"""The first look at generated code: what it may import, name and reach into.

It reads the syntax tree and runs nothing. It keeps honest code within the contract and makes an
attack hard to write; it does not make one impossible, as Python's objects lead to each other in
more ways than anybody can list. What holds is the process (`isolation.py`, `lockdown.py`).
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator

MAX_CODE_BYTES = 64_000
_MAX_PROBLEMS = 10

ALLOWED_IMPORTS = (
    *("__future__", "collections", "collections.abc", "dataclasses", "enum", "functools"),
    *("html", "itertools", "json", "math", "re", "statistics", "string", "textwrap", "typing"),
    *("unicodedata", "numpy", "safetensors", "safetensors.torch", "tokenizers", "torch"),
    *("torch.nn", "torch.nn.functional", "transformers"),
)
"""The modules that generated code may import, exactly these."""

SIGNATURES = {"load": 1, "annotate": 2}
"""The functions that a module must have, and how many arguments they take."""

_FORBIDDEN_NAMES = frozenset(
    "breakpoint compile delattr dir eval exec exit getattr globals help input locals memoryview "
    "object open quit setattr type vars".split()
)
# Attributes and imported names, whatever they are attributes of.
_FORBIDDEN_ATTRIBUTES = frozenset(
    # modules that others hold
    "os sys io builtins importlib imp pkgutil runpy subprocess socket ssl shutil pathlib glob "
    "tempfile ctypes cffi inspect pickle cPickle marshal shelve dill cloudpickle joblib codecs "
    "threading multiprocessing concurrent asyncio signal atexit gc weakref traceback linecache "
    "warnings logging operator copyreg types code codeop pdb platform resource fcntl mmap urllib "
    "http requests httpx ftplib smtplib zipfile tarfile site sysconfig posix nt contextlib "
    # files, programs and libraries
    "load_library LoadLibrary ctypeslib f2py distutils cpp_extension hub ops classes package "
    "distributed compiler fx library serialization utils testing lib backends cuda mps xpu "
    "fromfile tofile memmap open_memmap DataSource genfromtxt loadtxt savetxt savez "
    "savez_compressed save save_file save_model save_pretrained push_to_hub dump from_file "
    "UntypedStorage from_buffer frompyfunc system popen spawn fork execv execve "
    "dynamic_module_utils get_class_from_dynamic_module "
    # what runs text as code, or finds attributes by name
    "exec compile jit script export Formatter get_field format_map get_type_hints ForwardRef "
    "singledispatch singledispatchmethod attrgetter methodcaller make_dataclass Agent Tool "
    # what leads from an object to the interpreter
    "mro gi_frame gi_code gi_yieldfrom cr_frame cr_code ag_frame ag_code tb_frame tb_next "
    "f_back f_builtins f_globals f_locals f_code func_globals func_code co_code co_consts".split()
)
_OWN_METHODS = frozenset("__init__ __call__ __len__ __getitem__ __iter__ __post_init__".split())
_REMOTE_CODE = "trust_remote_code"


def check(code: str) -> list[str]:
    """What stands against this code, each with its line; empty when nothing does."""
    if len(code.encode(errors="replace")) > MAX_CODE_BYTES:
        return [f"the module is longer than {MAX_CODE_BYTES} bytes: write less"]
    unseen = {one for one in code if one not in "\n\r\t" and not one.isprintable()}
    if unseen:  # whoever approves the code must see what it does
        named = ", ".join(sorted(f"U+{ord(one):04X}" for one in unseen)[:_MAX_PROBLEMS])
        return [f"characters that cannot be seen are not allowed: {named}"]
    try:
        tree = ast.parse(code)
        found = [*_lacking(tree), *(problem for node in ast.walk(tree) for problem in _look(node))]
    except SyntaxError as error:
        return [f"line {error.lineno}: not Python: {error.msg}"]
    except (ValueError, RecursionError, MemoryError) as error:
        return [f"it cannot be read as Python ({type(error).__name__}): write it more simply"]
    return list(dict.fromkeys(found))[:_MAX_PROBLEMS]


def _lacking(tree: ast.Module) -> Iterator[str]:
    """The contract's functions that are missing or take something else."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, count in SIGNATURES.items():
        node = functions.get(name)
        given = node.args if node else None
        if given is None or len(given.posonlyargs + given.args) != count or given.kwonlyargs:
            arguments = "model_dir" if name == "load" else "model, texts"
            yield f"the module must define {name}({arguments})"


def _look(node: ast.AST) -> Iterator[str]:
    """What is wrong with one node of the tree."""
    for problem in _problems(node):
        if problem:
            yield f"line {getattr(node, 'lineno', 0)}: {problem}"


def _problems(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (_imported(alias.name) for alias in names)
        case ast.ImportFrom(module=module, level=level, names=names):
            yield _imported("." * level + (module or ""))
            yield from (_reached(alias.name, module or "") for alias in names)
        case ast.Attribute(value=value, attr=attr):
            yield _attribute(value, attr)
        case ast.MatchClass(kwd_attrs=attrs):
            yield from (_reached(attr) for attr in attrs)
        case ast.Name(id=name):
            yield f"the name {name} is not allowed" if name in _FORBIDDEN_NAMES else _named(name)
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name not in _OWN_METHODS:
            yield _named(name)
        case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
            yield _named(name)
        case ast.Constant(value=str(text)):
            yield _named(text)


def _imported(module: str) -> str:
    if module in ALLOWED_IMPORTS:
        return ""
    return f"import of {module} is not allowed; allowed are {', '.join(ALLOWED_IMPORTS)}"


def _attribute(value: ast.expr, attr: str) -> str:
    """Private names are for the module's own objects, `__init__` for their base classes."""
    owner = value.id if isinstance(value, ast.Name) else ""
    called = value.func if isinstance(value, ast.Call) else None
    if attr == "__init__" and isinstance(called, ast.Name) and called.id == "super":
        return ""
    if owner == "self" and attr.startswith("_") and "__" not in attr:
        return ""
    if attr == "format" and not _is_plain_template(value):
        return ".format is for plain literals such as 'This is {}.': use an f-string"
    return _reached(attr, owner)


def _is_plain_template(value: ast.expr) -> bool:
    """Whether it is a literal whose fields reach into no object."""
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return False
    try:
        fields = list(string.Formatter().parse(value.value))
    except ValueError:
        return False
    return all(not spec and re.fullmatch(r"\w*", name or "") for _, name, spec, _ in fields)


def _reached(name: str, owner: str = "") -> str:
    """What is wrong with reaching for a name in another object."""
    if name == "load":
        return ".load is not allowed: use from_pretrained or safetensors.torch.load_file"
    if name == "compile" and owner == "re":
        return ""
    if name in _FORBIDDEN_ATTRIBUTES or name.startswith("_") or name == "*":
        return f"reaching for {name} is not allowed"
    return ""


def _named(name: str) -> str:
    if _REMOTE_CODE in name:
        return f"{_REMOTE_CODE} is not allowed: code from the Hub is never run"
    return "names and texts with __ are not allowed" if "__" in name else ""
