"""Shadow mode: a second bundle sees the same faces.

Only its disagreement is counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from fer_edge.bundle import Bundle
from fer_edge.errors import BundleError, FerEdgeError
from fer_edge.inference import predict
from fer_edge.loaded import Loaded
from fer_edge.one_at_a_time import own_lock
from fer_edge.preprocess import Image
from fer_edge.results import Prediction

_log = logging.getLogger("fer_edge")


@dataclass(frozen=True)
class ShadowCounts:
    """Agreement of a shadow bundle with the bundle that answers.

    Attributes:
        bundle_sha256: SHA-256 of the shadow's ``bundle.json``.
        faces: Faces that both saw.
        disagreements: Faces with another label.
        answered_disagreements: Faces with another label that neither would have withheld.
        failures: Calls in which the shadow failed; they count no faces.
    """

    bundle_sha256: str
    faces: int = 0
    disagreements: int = 0
    answered_disagreements: int = 0
    failures: int = 0


def check_margin(beside: Bundle | Shadow | None, new: Bundle) -> None:
    """Raise BundleError unless a bundle and its shadow cut detected faces alike."""
    bundle = beside.bundle if isinstance(beside, Shadow) else beside
    if bundle is not None and bundle.crop.margin != new.crop.margin:
        raise BundleError(
            f"expected the crop margin {bundle.crop.margin} in {new.path}, it has "
            f"{new.crop.margin}: a bundle and its shadow see the same cut faces. End shadow mode "
            "with stop_shadow(), or run the bundle in a Predictor of its own"
        )


class Shadow:
    """Variant that sees the faces of another one and counts disagreements."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._lock = own_lock(self)
        self._counts = ShadowCounts(loaded.bundle.sha256)
        self._lost = False

    @property
    def bundle(self) -> Bundle:
        """The bundle that is only compared."""
        return self._loaded.bundle

    @property
    def counts(self) -> ShadowCounts:
        """Counts so far."""
        return self._counts

    def see(self, answered_by: Bundle, faces: list[Image], answers: list[Prediction]) -> None:
        """Count the faces on which the shadow disagrees.

        A failing shadow does not affect answers. A call that began before a swap is not counted:
        it may have cut its faces with another margin.
        """
        if answered_by.crop.margin != self.bundle.crop.margin:
            return
        if not self._loaded.usable:
            self._count_lost()
            return
        if not self._loaded.enter():  # it was stopped a moment ago
            return
        try:
            with self._loaded as loaded:
                others = predict(loaded, faces, 0)
        except FerEdgeError as error:
            _log.warning("the shadow bundle %s failed: %s", self._loaded.bundle.path, error)
            self._count_failure()
            return
        pairs = [(a, b) for a, b in zip(answers, others, strict=True) if a.label != b.label]
        answered = sum(not a.uncertain and not b.uncertain for a, b in pairs)
        with self._lock:
            self._counts = replace(
                self._counts,
                faces=self._counts.faces + len(faces),
                disagreements=self._counts.disagreements + len(pairs),
                answered_disagreements=self._counts.answered_disagreements + answered,
            )

    def _count_failure(self) -> None:
        with self._lock:
            self._counts = replace(self._counts, failures=self._counts.failures + 1)

    def _count_lost(self) -> None:
        """Count a call in a forked child without an engine; log the first."""
        if not self._lost:
            self._lost = True
            _log.warning(
                "the shadow's %s was loaded before this process was forked, and cannot run in it. "
                "Start the shadow in the child",
                self._loaded.variant.name,
            )
        self._count_failure()

    def close(self) -> None:
        """Release the engine after the running calls."""
        self._loaded.retire()
