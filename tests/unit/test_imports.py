"""What starts often starts fast: neither commands nor workers import torch before they need it."""

import subprocess
import sys

HEAVY = {
    *("torch", "transformers", "openvino", "onnxruntime"),
    *("openai", "anthropic", "label_studio_ml"),
}


def test_commands_and_workers_start_without_the_heavy_libraries() -> None:
    code = f"import sys, backend.__main__, backend.worker; print({HEAVY!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", "import it where it is used, or under TYPE_CHECKING"
