"""Table of bundles by precision."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge import TargetError
from fer_edge.benchmarks.studies import precisions
from fer_edge.shipped import DEFAULT_BUNDLE, FACES
from fer_edge.training.data.faces import load_faces


def test_each_precision_is_compared_with_fp32() -> None:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    faces = load_faces(FACES, "val")[:200]
    found = precisions.rows([DEFAULT_BUNDLE], faces, samples=48)
    assert found[0]["precision"] == "fp32"
    assert (found[0]["kept"], found[0]["kept_answered"], found[0]["times_as_fast"][0]) == (1, 1, 1)
    assert all(row["p50_ms"] > 0 and row["faces"] == len(faces) for row in found)
    assert "default | fp32 |" in precisions.markdown(found)
    if before is not None:
        assert os.sched_getaffinity(0) == before


def test_a_bundle_without_openvino_is_refused(fake_bundle: Path) -> None:
    with pytest.raises(TargetError, match=r"expected a variant of openvino .*fer-edge convert"):
        precisions.rows([fake_bundle], [])
