"""What can go wrong in training, by what the caller can do about it.

TrainingError
+-- BucketUnusable      look at the bucket, its keys or the network; the same work can be done again
+-- CheckpointDamaged   give up on that folder or file: restore it, or roll back
+-- DiskFull            free space; the same work can be done again then
+-- NothingToTrain      wait: the pool holds no verdict that a specialist can learn from
+-- OutOfMemory         give more memory, or ask for less at once
+-- StageCancelled      nothing: the next stage learns what this one did not
+-- TagNotKept          fix the input: choose one of the tags in the message
"""

from __future__ import annotations


class TrainingError(Exception):
    """The root of this package's errors."""


class BucketUnusable(TrainingError):
    """An object store does not answer, refuses us, or is not there."""


class CheckpointDamaged(TrainingError):
    """A stored checkpoint or committee is missing, incomplete or changed."""


class DiskFull(TrainingError):
    """A disk that we write to has no space left."""


class NothingToTrain(TrainingError):
    """A stage was started, but none of its verdicts may be trained on."""


class OutOfMemory(TrainingError):
    """The memory of a GPU, a process or the machine was not enough."""


class StageCancelled(TrainingError):
    """Somebody called a running stage off; its verdicts stay in the pool."""


class TagNotKept(TrainingError):
    """A rollback asked for a tag that is not there to go back to."""
