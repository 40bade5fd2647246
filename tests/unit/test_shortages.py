"""What ran out is told from real errors where a test can make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from training.errors import DiskFull, OutOfMemory, TrainingError
from training.shortages import shortage


def of_write_to_a_full_device() -> Exception:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    return caught.value


def of_torch_on_a_cpu() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


def of_numpy() -> Exception:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, dtype=np.uint8)
    return caught.value


# As seen; a GPU, and a disk that is full when safetensors writes, are not at hand here.
TOLD = [
    (SafetensorError("Error while serializing: I/O error: No space left on device"), DiskFull),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), OutOfMemory),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), OutOfMemory),
    (RuntimeError("unable to mmap 90868376 bytes: Cannot allocate memory (12)"), OutOfMemory),
    (OSError(122, "Disk quota exceeded"), DiskFull),
]


@pytest.mark.parametrize(("error", "kind"), TOLD)
def test_the_words_of_libraries_are_known(error: Exception, kind: type[TrainingError]) -> None:
    assert type(shortage(error)) is kind


def test_real_errors_are_known() -> None:
    full = shortage(of_write_to_a_full_device())
    assert isinstance(full, DiskFull) and "MODEL_DIR" in str(full)
    assert isinstance(shortage(of_torch_on_a_cpu()), OutOfMemory)
    assert isinstance(shortage(of_numpy()), OutOfMemory)


@pytest.mark.parametrize("error", [OSError(2, "No such file"), RuntimeError("shape"), KeyError(1)])
def test_any_other_error_is_none(error: Exception) -> None:
    assert shortage(error) is None
