"""From a classifier's outputs to a project's labels, for voting and for training alike.

It knows the head's kind (one label or several), the label map and the project's labels; it does
not know models, texts or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specialists.types import LabelSet


class Projection:
    """Project logits of shape (B, own labels) onto the project labels that a member knows.

    `width` is the number of project labels, `known` the columns of them that are covered. Own
    labels outside the map are left out first: probabilities are conditional on the known labels.
    """

    def __init__(
        self,
        own: Sequence[str],
        label_map: Mapping[str, str],
        labels: LabelSet,
        *,
        sigmoid: bool = False,
    ) -> None:
        columns = {
            name: [i for i, label in enumerate(own) if label_map.get(label) == name]
            for name in labels.names
        }
        self.known = [i for i, name in enumerate(labels.names) if columns[name]]
        self.sigmoid = sigmoid
        self.multiple = labels.multiple
        self.width = len(labels.names)
        self._sources = [columns[labels.names[i]] for i in self.known]

    def logits(self, own_logits: Tensor) -> Tensor:
        """Merge own logits (B, own) that mean one project label: (B, known).

        Exclusive classes add their probabilities, so logits merge by logsumexp; independent ones
        (sigmoid) merge by the strongest.
        """
        merge = torch.amax if self.sigmoid else torch.logsumexp
        merged = [merge(own_logits[:, indices], dim=1) for indices in self._sources]
        return torch.stack(merged, dim=1)

    def votes(self, own_logits: Tensor) -> npt.NDArray[np.float32]:
        """Probabilities of shape (B, project labels); NaN for labels that are not known."""
        rows = np.full((len(own_logits), self.width), np.nan, dtype=np.float32)
        if self.known:
            scores = self.logits(own_logits.double())
            rows[:, self.known] = self._probabilities(scores).cpu().numpy()
        return rows

    def _probabilities(self, scores: Tensor) -> Tensor:
        """Normalise (B, known): to sum 1, but independent labels of a multiple choice stand."""
        if not self.sigmoid:
            return torch.softmax(scores, dim=1)
        if self.multiple:
            return torch.sigmoid(scores)
        return torch.softmax(torch.nn.functional.logsigmoid(scores), dim=1)
