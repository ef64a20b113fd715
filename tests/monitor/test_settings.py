"""Settings refuse values without a meaning."""

from __future__ import annotations

import pytest

from fer_edge.errors import InputError
from fer_edge.monitor import Settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"smooth_s": 0.0},
        {"detect_every": 0},
        {"driver_region": (0.5, 0, 0.6, 1)},
        {"driver_region": (0, 0, 0, 1)},
        {"hysteresis": 1.0},
        {"max_persons": 0},
        {"watchdog_s": float("nan")},
    ],
)
def test_settings_without_a_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        Settings(**wrong)  # type: ignore[arg-type]
