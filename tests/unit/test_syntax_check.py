"""The syntax check: honest modules pass, and what leads out of the contract is named."""

from __future__ import annotations

import pytest

from specialists.syntax_check import MAX_CODE_BYTES, check

CONTRACT = """
def load(model_dir):
    return None

def annotate(model, texts):
    return []
"""
HONEST = """
from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

LABELS = ["positive", "negative"]
TEMPLATE = "This example is {}."
_SPACE = re.compile(r"\\s+")


@dataclass
class Model:
    network: torch.nn.Module
    _cache: dict = field(default_factory=dict)

    def __len__(self):
        return len(self._cache)


class Head(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self._linear = torch.nn.Linear(width, 2)

    def forward(self, inputs):
        return F.softmax(self._linear(inputs), dim=-1)


def load(model_dir):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    return tokenizer, AutoModelForSeq2SeqLM.from_pretrained(model_dir).eval()


def annotate(model, texts):
    tokenizer, network = model
    rows = []
    for text in texts:
        clean = _SPACE.sub(" ", text) or "."
        hypotheses = [TEMPLATE.replace("{}", label) for label in LABELS]
        asked = ["Is this {}?".format(label) for label in LABELS] + [f"{clean!r:.100}"]
        scores = np.exp(np.arange(2.0))
        match rows:
            case [first, *_]:
                first.copy()
        rows.append({label: float(one) for label, one in zip(LABELS, scores / scores.sum())})
    return rows
"""


def test_honest_code_passes() -> None:
    assert check(HONEST) == []
    assert check(CONTRACT) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import os", "import of os"),
        ("import numpy.ctypeslib", "import of numpy.ctypeslib"),
        ("import torch.utils.cpp_extension as x", "import of torch.utils.cpp_extension"),
        ("from . import x", "import of . is"),
        ("from torch import hub", "hub"),
        ("from torch import load", ".load"),
        ("from json import codecs", "codecs"),
        ("from typing import *", "reaching for *"),
        ("from transformers import dynamic_module_utils", "dynamic_module_utils"),
        ("import json as __builtins__", "__"),
        ("open('x')", "name open"),
        ("x = eval", "name eval"),
        ("ｏｐｅｎ('x')", "name open"),
        ("getattr(x, 'y')", "name getattr"),
        ("type('A', (), {})", "name type"),
        ("__import__('os')", "__"),
        ("print(__builtins__)", "__"),
        ("().__class__", "__class__"),
        ("x.__init__", "__init__"),
        ("re._compiler", "_compiler"),
        ("torch._C", "_C"),
        ("torch.os", "os"),
        ("json.decoder.scanner.sys", "sys"),
        ("torch.load('x')", ".load"),
        ("numpy.load('x', allow_pickle=True)", ".load"),
        ("torch.hub", "hub"),
        ("torch.ops", "ops"),
        ("x.fromfile('y')", "fromfile"),
        ("torch.compile", "compile"),
        ("torch.jit", "jit"),
        ("x.save_pretrained('y')", "save_pretrained"),
        ("x.from_pretrained(d, trust_remote_code=True)", "trust_remote_code"),
        ("x.from_pretrained(d, **{'trust_remote_code': True})", "trust_remote_code"),
        ("trust_remote_code = True", "trust_remote_code"),
        ("'{0.real}'.format(x)", ".format"),
        ("'{0.real:{1}}'.format(x, y)", ".format"),
        ("'{0[a]}'.format(x)", ".format"),
        ("template.format(x)", ".format"),
        ("'{0.__class__}'", "__"),
        ("string.Formatter()", "Formatter"),
        ("typing.get_type_hints(x)", "get_type_hints"),
        ("f.gi_frame", "gi_frame"),
        ("e.tb_frame", "tb_frame"),
        ("class A:\n    def __del__(self): pass", "__"),
        ("class A:\n    __slots__ = ()", "__"),
        ("def f(__x): pass", "__"),
        ("f(__x=1)", "__"),
        ("match x:\n    case A(__class__=y): pass", "__class__"),
        ("match x:\n    case A(os=y): pass", "os"),
        ("class A:\n    def f(self): return self.__dict__", "__dict__"),
        ("class A:\n    def f(self): return self.os", "os"),
        ("lambda: cls._x", "_x"),
    ],
)
def test_what_leads_out_is_named_with_its_line(line: str, named: str) -> None:
    (problem, *_) = check(f"{CONTRACT}\n{line}\n")
    assert named in problem
    assert "not allowed" in problem or ".format is for" in problem
    assert problem.startswith("line ")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("def load(model_dir): pass", "annotate(model, texts)"),
        ("def load(): pass\ndef annotate(model, texts): pass", "load(model_dir)"),
        ("def load(d): pass\ndef annotate(m, t, x): pass", "annotate(model, texts)"),
        ("def load(d): pass\ndef annotate(m, t, *, x): pass", "annotate(model, texts)"),
        ("load = annotate = print", "load(model_dir)"),
        ("def load(", "not Python"),
        ("x = '\0'", "cannot be seen are not allowed: U+0000"),
        ("x = '\u202e'", "U+202E"),
        ("# \u200b", "U+200B"),
        ("(" * 5000 + ")" * 5000, "line"),
        ("x = " + "-" * 100_000 + "1", "longer than"),
        ("#" * (MAX_CODE_BYTES + 1), "longer than"),
        ("x = " + "-" * 50_000 + "1", "simply"),
    ],
)
def test_what_is_no_module_of_the_contract_is_refused(code: str, named: str) -> None:
    assert any(named in problem for problem in check(code)), check(code)
