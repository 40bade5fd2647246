"""Every setting of AutoAnnotator: name, unit, default and reason, in this one place.

Values come from the environment, a `.env` file and files of secrets (environment.py), and only the
doors (`_wsgi.py`, `python -m backend`) read them, once. `python -m backend settings` prints this
table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.environment import SettingsError, text_of

if TYPE_CHECKING:
    from meta_controller.budget import Caps


def _setting(default: Any, doc: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"doc": doc, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """All settings, validated; secrets never appear in the repr."""

    label_studio_url: str = _setting("", "Address of Label Studio as this machine reaches it.")
    label_studio_api_key: str = _setting(
        "", "Personal access token (or legacy token) of a Label Studio user.", secret=True
    )
    host: str = _setting("127.0.0.1", "Interface the backend listens on; 0.0.0.0 for all.")
    port: int = _setting(9090, "Port of the backend (1..65535).")
    backend_url: str = _setting(
        "", "Address of this backend as Label Studio reaches it; empty: http://127.0.0.1:PORT."
    )
    data_dir: Path = _setting(Path(".data"), "Folder for embedded Redis, logs and models.")
    model_dir: str = _setting(
        "",
        "Where checkpoints are kept: a folder, may be a shared volume, or a URL such as"
        " s3://bucket/prefix (pip install -r requirements-s3.txt; keys and endpoint from the AWS_*"
        " variables); empty: DATA_DIR/models.",
    )
    redis_url: str = _setting(
        "",
        "Redis to use, may hold a password; empty: an embedded Redis on a unix socket in DATA_DIR.",
        secret=True,
    )
    redis_password: str = _setting(
        "", "Password of Redis, where REDIS_URL holds none.", secret=True
    )
    specialists: tuple[str, ...] = _setting(
        (),
        "Comma-separated members for new projects (Hub ids, folders, embedded:NAME, generated:ID);"
        " empty: the embedded ones that fit the labels.",
    )
    codegen_approval: str = _setting(
        "human",
        "Who lets code that an LLM wrote serve: human (python -m backend approve) or auto"
        " (whatever passes its contract test).",
    )
    device: str = _setting("auto", "Where models run: auto, cpu, cuda or cuda:N.")
    runtime: str = _setting(
        "auto",
        "What runs specialists: auto (the fastest here that answers as fp32 does on real texts),"
        " openvino-int8, openvino-int8x64, openvino-bf16, onnx-int8, onnx-fp32, torch-bf16,"
        " torch-fp16, torch-fp32.",
    )
    memory_mb: float = _setting(
        4000.0, "Megabytes of model weights kept in memory by a process (100..1000000)."
    )
    llm_mode: str = _setting(
        "on", "on, or off: no text leaves this machine for an LLM, whatever keys are set."
    )
    llm_provider: str = _setting(
        "", "anthropic, openai, scripted or none; empty: from the key that is set."
    )
    llm_model: str = _setting("", "Model id of the reviewing LLM; empty: the provider's default.")
    llm_base_url: str = _setting("", "Address of an OpenAI-compatible server.")
    llm_script: str = _setting("", "JSONL file with the scripted reviewer's answers.")
    anthropic_api_key: str = _setting("", "Key for Anthropic.", secret=True)
    openai_api_key: str = _setting("", "Key for OpenAI or a compatible server.", secret=True)
    llm_budget_usd: float | None = _setting(
        None, "Cap in USD over all projects; empty: no cap. 0 stops asking."
    )
    llm_budget_day_usd: float | None = _setting(
        None, "Cap in USD over all projects on one day (UTC); empty: no cap."
    )
    llm_budget_project_usd: float | None = _setting(
        None, "Cap in USD over each project; empty: no cap."
    )
    llm_budget_tokens: int | None = _setting(
        None,
        "Cap in tokens, sent and written, over all projects; empty: no cap, but 10,000,000 for a"
        " model whose price is unknown.",
    )
    llm_price: tuple[float, float] | None = _setting(
        None,
        "USD per million tokens, input and output, as 0.15,0.60; empty: from our dated list. "
        "A budget in USD needs a known price.",
    )
    llm_share: float = _setting(
        0.25, "Questions to the LLM per task at most (0..1); those worth little are not asked."
    )
    llm_batch: str = _setting(
        "auto",
        "auto: 100 questions or more that nobody waits for go to the provider's batch API, at half"
        " the price and up to a day later; or never.",
    )
    llm_concurrency: int = _setting(16, "LLM calls in flight at once (1..256).")
    llm_timeout_s: float = _setting(60.0, "Seconds until one LLM call is given up (1..600).")
    llm_pack: int = _setting(
        6,
        "Questions in one LLM call at most (1..32), those of several controls among them; a long "
        "text goes with no other, of a suspicious one each question is asked alone.",
    )
    llm_examples: int = _setting(
        4, "People's answers shown with a question (0..16): near ones, never audits or held-out."
    )
    llm_samples: int = _setting(
        1,
        "Times that each question is asked (1..9): where a provider tells no likelihoods, how often"
        " the answers agree is the LLM's confidence. Each costs a call of LLM_SHARE.",
    )
    llm_strong_model: str = _setting(
        "",
        "Model of the same provider that is asked again where LLM_MODEL is unsure or contradicts a"
        " sure committee; empty: none.",
    )
    llm_strong_price: tuple[float, float] | None = _setting(
        None, "Price of LLM_STRONG_MODEL as in LLM_PRICE; empty: from our dated list."
    )
    llm_redact: str = _setting(
        "off",
        "on: addresses, numbers and the like are taken out of texts before they are sent to an LLM"
        " (names are not; pip install -r requirements-redact.txt), or off.",
    )
    decision_rule: str = _setting(
        "value",
        "How texts are decided: value (measured reliability, gain of a call) or paper"
        " (any disagreement is hard); a project may have its own.",
    )
    target_error: float | None = _setting(
        None,
        "Share of wrong labels at most among those accepted without a person (0.001..0.5),"
        " verified on audits; empty: no promise.",
    )
    audit_share: float = _setting(
        0.02,
        "Share of tasks that people answer unaided, to measure the error (0..0.5); an LLM is asked"
        " about as many others.",
    )
    stage_size: int = _setting(50, "Verdicts in the pool that start a stage (2..100000).")
    stage_every: float = _setting(
        86400.0,
        "Seconds after a stage that start the next one with fewer verdicts, 10 at least; 0: never.",
    )
    promote_every: float = _setting(
        600.0, "Least seconds between promotions: each re-predicts all unlabelled tasks."
    )
    keep_tags: int = _setting(
        3, "Tags kept for rollback, in the store and in Label Studio (2..50)."
    )
    fine_tune: str = _setting(
        "lora", "How a stage trains: lora, full, or frozen (full but for the word embeddings)."
    )
    stage_epochs: int = _setting(
        3,
        "Passes of a stage over its samples (1..50).",
    )
    stage_timeout: float = _setting(
        21_600.0,
        "Seconds from a stage's start, restarts included, until it is called off (1..86400);"
        " its verdicts wait for the next.",
    )
    train_memory_mb: float | None = _setting(
        None,
        "Megabytes that the training of one member may take (500..1000000), on its GPU or else of"
        " its process; empty: no bound. Out of memory, it trains on in smaller parts.",
    )
    train_fallback: str = _setting(
        "none",
        "cpu: a stage for which DEVICE has no GPU, or its GPU too little memory, trains on the CPU;"
        " or none.",
    )
    reconcile_every: float = _setting(
        60.0, "Seconds between two comparisons with Label Studio (5..86400); hooks may be lost."
    )
    basic_auth_user: str = _setting("", "User for basic auth on every route but /health.")
    basic_auth_pass: str = _setting("", "Password for basic auth.", secret=True)
    webhook_secret: str = _setting(
        "", "Secret that webhooks must carry in the header X-Webhook-Secret.", secret=True
    )
    max_body_mb: float = _setting(
        100.0, "Largest request body in megabytes (1..2000); Label Studio sends all tasks at once."
    )
    label_studio_port: int = _setting(8080, "Port of the demo's own Label Studio.")
    web_threads: int = _setting(16, "Threads of the web process (1..256).")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = _setting(
        "text", "Lines of the logs: text, or json (one object a line, for log collectors)."
    )

    @property
    def own_url(self) -> str:
        """The backend's address as Label Studio reaches it."""
        return self.backend_url or f"http://127.0.0.1:{self.port}"

    @property
    def bucket(self) -> str:
        """The URL of the checkpoints, empty when they lie in a folder."""
        return self.model_dir if "://" in self.model_dir else ""

    @property
    def models(self) -> Path:
        """The folder of checkpoints, or of this machine's copies of those in a bucket."""
        if self.model_dir and not self.bucket:
            return Path(self.model_dir)
        return self.data_dir / "models"

    @property
    def has_llm(self) -> bool:
        """Whether an LLM is configured to review hard samples."""
        if self.llm_mode == "off" or self.llm_provider == "none":
            return False
        named = self.llm_provider or self.anthropic_api_key or self.openai_api_key
        return bool(named or self.llm_base_url)

    @property
    def llm_caps(self) -> Caps:
        """What the LLM may take at most."""
        from meta_controller.budget import Caps

        return Caps(
            self.llm_budget_usd,
            self.llm_budget_day_usd,
            self.llm_budget_project_usd,
            self.llm_budget_tokens,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check all settings.

        Raises:
            SettingsError: One sentence that names the variable, its value and what is allowed.
        """
        given = ((f, text_of(environ, f.name.upper(), secret=_is_secret(f))) for f in fields(cls))
        settings = cls(**{f.name: _convert(f, text) for f, text in given if text})
        settings._check()
        return settings

    def _check(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise SettingsError(f"{name.upper()} is {value}; allowed is {low} to {high}.")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                names = ", ".join(choice or "(empty)" for choice in allowed)
                raise SettingsError(f"{name.upper()} is {value!r}; allowed is one of {names}.")
        if not _DEVICE.fullmatch(self.device):
            raise SettingsError(
                f"DEVICE is {self.device!r}; allowed is one of auto, cpu, cuda, cuda:N."
            )
        self._check_addresses()
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise SettingsError("BASIC_AUTH_USER and BASIC_AUTH_PASS must be set together.")

    def _check_addresses(self) -> None:
        for name in ("label_studio_url", "backend_url", "llm_base_url"):
            value = getattr(self, name)
            if value and not value.startswith(("http://", "https://")):
                raise SettingsError(
                    f"{name.upper()} is {value!r}; it must start with http:// or https://."
                )
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise SettingsError("REDIS_URL must start with redis://, rediss:// or unix://.")
        if self.redis_password and not self.redis_url:
            raise SettingsError("REDIS_PASSWORD is set, but no REDIS_URL that it is for.")
        if self.bucket and not _BUCKET.fullmatch(self.bucket):
            raise SettingsError(
                "MODEL_DIR must be a folder, or a URL such as s3://bucket/prefix, without ?, # or"
                " keys (those belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
            )


_RANGES: dict[str, tuple[float, float]] = {
    "port": (1, 65535),
    "label_studio_port": (1, 65535),
    "llm_budget_usd": (0, 1e9),
    "llm_budget_day_usd": (0, 1e9),
    "llm_budget_project_usd": (0, 1e9),
    "llm_budget_tokens": (0, 10**15),
    "llm_share": (0, 1),
    "llm_concurrency": (1, 256),
    "llm_pack": (1, 32),
    "llm_examples": (0, 16),
    "llm_samples": (1, 9),
    "llm_timeout_s": (1, 600),
    "target_error": (0.001, 0.5),
    "audit_share": (0, 0.5),
    "stage_size": (2, 100_000),
    "stage_every": (0, 365 * 86400),
    "promote_every": (0, 30 * 86400),
    "keep_tags": (2, 50),
    "stage_epochs": (1, 50),
    "stage_timeout": (1, 86_400),
    "train_memory_mb": (500, 1_000_000),
    "reconcile_every": (5, 86400),
    "memory_mb": (100, 1_000_000),
    "max_body_mb": (1, 2000),
    "web_threads": (1, 256),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "llm_mode": ("on", "off"),
    "llm_batch": ("auto", "never"),
    "llm_provider": ("", "anthropic", "openai", "scripted", "none"),
    "llm_redact": ("off", "on"),
    "decision_rule": ("value", "paper"),
    "codegen_approval": ("human", "auto"),
    "fine_tune": ("lora", "full", "frozen"),
    "train_fallback": ("none", "cpu"),
    "runtime": (
        "auto",
        "openvino-int8",
        "openvino-int8x64",
        "openvino-bf16",
        "onnx-int8",
        "onnx-fp32",
        "torch-bf16",
        "torch-fp16",
        "torch-fp32",
    ),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR"),
    "log_format": ("text", "json"),
}
_BUCKET = re.compile(r"[a-z][a-z0-9+.-]*://[^\s@?#]+")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _prices(text: str) -> tuple[float, float]:
    tokens_in, tokens_out = (float(part) for part in text.split(","))
    if tokens_in < 0 or tokens_out < 0:
        raise ValueError(text)
    return tokens_in, tokens_out


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "int | None": (int, "a whole number"),
    "float | None": (float, "a number"),
    "tuple[float, float] | None": (_prices, "two prices such as 0.15,0.60"),
    "Path": (Path, "a path"),
    "tuple[str, ...]": (_names, "a comma-separated list"),
    "str": (str, "a text"),
}


def _convert(f: Field[Any], text: str) -> Any:
    reader, expected = _READERS[str(f.type)]
    try:
        return reader(text)
    except ValueError:
        raise SettingsError(f"{f.name.upper()} is {text!r}; expected {expected}.") from None


def _is_secret(f: Field[Any]) -> bool:
    return bool(f.metadata["secret"])


def table() -> list[tuple[str, str, str]]:
    """Rows (variable, default, meaning) of every setting, for its command and the reference."""
    rows = []
    for f in fields(Settings):
        default = "" if f.default in (None, ()) else str(f.default)
        rows.append((f.name.upper(), default, str(f.metadata["doc"])))
    return rows


def file_note() -> str:
    """The sentence about files of secrets, for the same two places."""
    names = ", ".join(f.name.upper() for f in fields(Settings) if _is_secret(f))
    return f"Secrets may lie in files, which NAME_FILE names: {names}."
