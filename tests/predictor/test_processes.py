"""Predictors across processes: fork, spawn, pickling; and engines that cannot be imported."""

from __future__ import annotations

import copy
import os
import pickle  # noqa: TID251  (users pickle predictors)
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge import EMOTIONS, Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.preprocess import Image
from fer_edge.shipped import FACES

PICTURE = FACES / "happiness.png"
LIMIT_S = 120
"""Seconds until a child that hangs is ended; an answer takes two."""


def run(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PICTURE": str(PICTURE), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={key: value for key, value in env.items() if value is not None},
    )


FORK = """
import multiprocessing, os
from fer_edge import EngineError, Predictor, TargetError

picture = os.environ["PICTURE"]
{before}
def work(_):
    {inside}

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(4)))
"""
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@NEEDS_FORK
@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_a_predictor_of_the_parent_answers_in_a_forked_child(target: str) -> None:
    exclude = {"openvino": "()", "onnxruntime": "('openvino/bf16', 'openvino/fp32')"}[target]
    before = f"p = Predictor(exclude={exclude}); p(picture)"
    done = run(FORK.format(before=before, inside="return p(picture).label"))
    assert done.stdout.strip() == str(["happiness"] * 4), done.stderr


@NEEDS_FORK
def test_a_shadow_of_the_parent_fails_in_a_forked_child_and_answers_go_on() -> None:
    before = "p = Predictor(); p.start_shadow('default'); p(picture)"
    inside = """p(picture)
    label, faces, failures = p(picture).label, p.shadow.faces, p.shadow.failures
    p.close()
    return label, faces, failures > 1"""
    done = run(FORK.format(before=before, inside=inside).replace("range(4)", "range(1)"))
    assert done.stdout.strip() == str([("happiness", 1, True)]), done.stderr


@NEEDS_FORK
@pytest.mark.parametrize("closed", ["p.close()", "pass"])
def test_a_new_predictor_in_a_forked_child_answers(closed: str) -> None:
    before = f"p = Predictor(); p(picture); {closed}"
    done = run(FORK.format(before=before, inside="return Predictor()(picture).label"))
    assert done.stdout.strip() == str(["happiness"] * 4), done.stderr


@NEEDS_FORK
def test_a_target_that_cannot_run_in_the_child_is_an_error_at_once() -> None:
    before = "p = Predictor(target='openvino'); p(picture)"
    inside = """try:
        return p(picture).label
    except EngineError as error:
        return "spawn" in str(error)"""
    done = run(FORK.format(before=before, inside=inside))
    assert done.stdout.strip() == str([True] * 4), done.stderr


@NEEDS_FORK
def test_a_forked_child_answers_without_free_descriptors(
    fake_bundle: Path, face: Image, ends_in_a_fork: Callable[[Callable[[], object]], bool]
) -> None:
    resource = pytest.importorskip("resource")
    with Predictor(fake_bundle) as predictor:

        def work() -> None:
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
            assert predictor(face).label == "neutral"

        assert ends_in_a_fork(work)


@pytest.mark.parametrize("way", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy])
def test_a_copy_answers_like_the_original(
    way: Callable[[Predictor], Predictor], fake_bundle: Path, face: Image
) -> None:
    with Predictor(fake_bundle, threads=1) as predictor, way(predictor) as other:
        assert other(face).probabilities == predictor(face).probabilities
        assert other.explain() == predictor.explain()


def test_a_pickled_predictor_keeps_its_options() -> None:
    with Predictor(target="onnxruntime", exclude=["openvino/bf16"]) as predictor:
        written = pickle.dumps(predictor)
        assert len(written) < 2_000
        with pickle.loads(written) as other:
            assert other.variant.name == predictor.variant.name


def test_a_copy_after_a_swap_excludes_what_the_new_bundle_lacks(
    fake_bundle: Path, tmp_path: Path
) -> None:
    with Predictor(exclude=["openvino/bf16", "openvino/fp32"]) as predictor:
        predictor.swap(write_fake_bundle(tmp_path / "new.fer"))
        with pickle.loads(pickle.dumps(predictor)) as other:
            assert other.bundle.sha256 == predictor.bundle.sha256
            other.swap("default")
            assert other.variant.target != "openvino"


BROKEN = {
    "missing library": "raise ImportError('libtbb.so.12: cannot open shared object file')",
    "os error": "raise OSError('exec format error')",
    "abi": "raise RuntimeError('module compiled against ABI version 1')",
    "attribute": "raise AttributeError('no attribute x')",
    "type": "raise TypeError('Descriptors cannot be created directly')",
}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("how", BROKEN)
def test_an_engine_that_cannot_be_imported_is_a_reason(
    engine: str, how: str, tmp_path: Path
) -> None:
    (tmp_path / engine).mkdir()
    (tmp_path / engine / "__init__.py").write_text(BROKEN[how])
    code = """
import os
from fer_edge import Predictor
with Predictor() as p:
    print(p(os.environ["PICTURE"]).label, p.variant.target)
    print([str(c) for c in p.explain()])
"""
    done = run(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, reasons = done.stdout.strip().splitlines()
    other = {"openvino": "onnxruntime", "onnxruntime": "openvino"}[engine]
    assert first == f"happiness {other}"
    assert f"{engine} is installed but cannot be imported" in reasons


def test_no_home_and_no_name_are_no_obstacle() -> None:
    code = """
import os, pathlib
def home():
    raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = home
from fer_edge import Predictor
print(Predictor()(os.environ["PICTURE"]).label)
"""
    done = run(code, HOME=None)
    assert done.stdout.strip() == "happiness", done.stderr


def test_labels_are_there_in_the_copy() -> None:
    with pickle.loads(pickle.dumps(Predictor())) as predictor:
        assert predictor.labels == EMOTIONS
