"""Monitors and services run signed bundles only, if they have keys: at every load and swap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge import BundleError, InputError, Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.monitor import DriverMonitor, Frames, HealthCause, WholeFrame
from fer_edge.preprocess import Image
from fer_edge.service.app import create_app
from fer_edge.signing import SIGNATURES, add_signature, new_key_pair, sign_manifest

Picture = Callable[..., Image]


class Fleet:
    """A key pair, and bundles that it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private, self.public = folder / "fleet.key", folder / "fleet.pub"
        new_key_pair(self.private, self.public)

    def bundle(self, name: str, label: str = "neutral", *, signed: bool = True, **how: Any) -> Path:
        path = write_fake_bundle(self.folder / name, {label: 0.9}, **how)
        if signed:
            self.sign(path)
        return path

    def sign(self, path: Path) -> None:
        add_signature(path, sign_manifest((path / "bundle.json").read_bytes(), self.private))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def frames(picture: Picture) -> Frames:
    return Frames((picture(n) for n in range(60)), hz=30)


def test_a_signed_bundle_answers(fleet: Fleet, frames: Frames) -> None:
    signed = fleet.bundle("signed.fer")
    with DriverMonitor(
        signed, frames, detector=WholeFrame(), trusted_keys=[fleet.public]
    ) as monitor:
        assert list(monitor)[-1].driver is not None
        assert monitor.predictor is None or monitor.predictor.bundle.signed_by


def test_an_unsigned_bundle_is_refused_at_the_start(fleet: Fleet, frames: Frames) -> None:
    unsigned = fleet.bundle("unsigned.fer", signed=False)
    with pytest.raises(BundleError, match="not signed"):
        DriverMonitor(unsigned, frames, detector=WholeFrame(), trusted_keys=[fleet.public])


def test_a_swap_to_an_unsigned_bundle_changes_nothing(fleet: Fleet, frames: Frames) -> None:
    signed, good = fleet.bundle("signed.fer"), fleet.bundle("good.fer", "fear")
    unsigned = fleet.bundle("unsigned.fer", "anger", signed=False)
    with DriverMonitor(
        signed, frames, detector=WholeFrame(), trusted_keys=[fleet.public]
    ) as monitor:
        next(monitor)
        fleet.public.unlink()  # the key was read at the start
        with pytest.raises(BundleError, match="not signed"):
            monitor.swap(unsigned)
        before = next(monitor)
        monitor.swap(good)
        after = list(monitor)[-1]
    assert before.bundle_sha256 != after.bundle_sha256
    assert after.driver is not None
    assert after.driver.label == "fear"


@pytest.mark.parametrize("shared", [False, True], ids=["own predictor", "shared predictor"])
def test_a_failover_never_loads_a_bundle_that_lost_its_signature(
    fleet: Fleet, frames: Frames, shared: bool
) -> None:
    """The engine fails, and meanwhile somebody has exchanged the bundle on disk."""
    signed = fleet.bundle("signed.fer", fail_after=6)
    keys = [fleet.public]
    predictor = Predictor(signed, trusted_keys=keys) if shared else None
    monitor = DriverMonitor(
        predictor or signed,
        frames,
        detector=WholeFrame(),
        trusted_keys=None if shared else keys,
    )
    with monitor:
        assert next(monitor).health.status == "ok"
        (signed / SIGNATURES).unlink()
        states = list(monitor)
    if predictor is not None:
        predictor.close()
    lost = [s for s in states if s.health.status == "lost"]
    assert lost
    assert any(HealthCause.NO_ENGINE in s.health.causes for s in lost)
    assert any("not signed" in reason for s in lost for reason in s.health.reasons)
    assert not states[-1].persons


def test_keys_beside_a_shared_predictor_are_refused(fleet: Fleet, frames: Frames) -> None:
    with (
        Predictor(fleet.bundle("signed.fer")) as predictor,
        pytest.raises(InputError, match="trusted_keys"),
    ):
        DriverMonitor(predictor, frames, detector=WholeFrame(), trusted_keys=[fleet.public])


def test_the_service_refuses_an_unsigned_bundle(fleet: Fleet) -> None:
    with (
        Predictor(fleet.bundle("unsigned.fer", signed=False)) as predictor,
        pytest.raises(BundleError, match="not signed"),
    ):
        create_app(predictor, trusted_keys=[fleet.public])


def test_the_service_swaps_signed_bundles_only(fleet: Fleet) -> None:
    unsigned = fleet.bundle("unsigned.fer", "fear", signed=False)
    with Predictor(fleet.bundle("signed.fer")) as predictor:
        create_app(predictor, trusted_keys=[fleet.public])
        with pytest.raises(BundleError, match="not signed"):
            predictor.swap(unsigned)
        with pytest.raises(BundleError, match="not signed"):
            predictor.start_shadow(unsigned)
        predictor.swap(fleet.bundle("good.fer", "fear"))


def test_trust_notices_that_the_bundle_on_disk_was_replaced(fleet: Fleet) -> None:
    unsigned = fleet.bundle("one.fer", signed=False)
    with Predictor(unsigned) as predictor:
        other = fleet.bundle("other.fer", "fear")
        for name in ("bundle.json", SIGNATURES):
            (unsigned / name).write_bytes((other / name).read_bytes())
        with pytest.raises(BundleError):
            predictor.trust([fleet.public])
