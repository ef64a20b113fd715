"""A Predictor keeps its places when the process changes its current folder."""

from __future__ import annotations

import pickle  # noqa: TID251  (users pickle predictors)
from collections.abc import Callable
from pathlib import Path

import pytest
from predictor_inputs import answers, bundle_of

from fer_edge import InputError, Predictor
from fer_edge.bundle import MANIFEST
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import Image
from fer_edge.signing import add_signature, new_key_pair, sign_manifest

VARIANTS = {"fake/fp32": answers([1, 0, 0, 0, 0, 0, 0]), "fake/int8": answers([0, 1] + [0] * 5)}


@pytest.fixture(params=["made", "swapped"])
def moved(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Predictor:
    """A Predictor of a relative path, in a process that went elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    bundle_of(tmp_path / "one.fer", VARIANTS, embedding_dim=4)
    bundle_of(tmp_path / "two.fer", VARIANTS, embedding_dim=4)
    new_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    for name in ("one.fer", "two.fer"):
        manifest = (tmp_path / name / MANIFEST).read_bytes()
        add_signature(tmp_path / name, sign_manifest(manifest, tmp_path / "private.pem"))
    predictor = Predictor("one.fer", cache_dir="cache")
    if request.param == "swapped":
        predictor.swap("two.fer")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return predictor


USES: dict[str, Callable[[Predictor, Path], object]] = {
    "read": lambda predictor, _: predictor.bundle.read(predictor.variant),
    "explain": lambda predictor, _: predictor.explain(executed=True),
    "trust": lambda predictor, folder: predictor.trust([folder / "public.pem"]),
    "pickle": lambda predictor, _: pickle.loads(pickle.dumps(predictor)),
}


@pytest.mark.parametrize("use", USES)
def test_its_bundle_is_found(moved: Predictor, tmp_path: Path, use: str) -> None:
    USES[use](moved, tmp_path)


def test_another_variant_is_loaded_in_a_forked_child(
    moved: Predictor, face: Image, ends_in_a_fork: Callable[[Callable[[], object]], bool]
) -> None:
    def work() -> None:
        moved._reload()  # as for an engine that does not survive a fork
        moved(face)

    assert ends_in_a_fork(work)


def test_its_cache_stays_where_it_was_named(moved: Predictor, tmp_path: Path) -> None:
    assert moved._request.options.cache_dir == tmp_path / "cache"


def test_a_removed_current_folder_is_a_sentence(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Predictor(fake_bundle).labels == EMOTIONS
    with pytest.raises(InputError, match=r"the current folder was removed\. cd to another one"):
        Predictor(fake_bundle, cache_dir="cache")
