"""Settings: checked when they are made, read from files, events by the bundle's labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import InputError
from fer_edge.labels import EMOTIONS
from fer_edge.monitor import DriverMonitor, EventRule, QualityLimits, Settings, WholeFrame

DRIVER_LABELS = ("awake", "distracted", "drowsy", "neutral")


@pytest.mark.parametrize("name", ["expected_size", "detect_every", "max_persons"])
def test_a_number_that_python_does_not_print_is_refused(name: str) -> None:
    value = (10**5000, 5) if name == "expected_size" else 10**5000
    with pytest.raises(InputError, match="more than 40 digits"):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**63, -(10**30)])
def test_an_integer_of_more_than_64_bits_is_told_the_range(value: int) -> None:
    with pytest.raises(InputError, match=r"an integer between -2\^63 and 2\^63, got -?\d+"):
        Settings(max_persons=value)
    with pytest.raises(InputError, match=r"2 numbers \(an integer between .* each\) or null, got"):
        Settings(expected_size=(value, 480))


@pytest.mark.parametrize(
    "wrong",
    [
        {"smooth_s": 0.0},
        {"smooth_s": "0.5"},
        {"smooth_s": float("inf")},
        {"smooth_s": None},
        {"dwell_s": True},
        {"detect_every": 0},
        {"detect_every": 2.5},
        {"detect_every": "3"},
        {"driver_region": (0.5, 0, 0.6, 1)},
        {"driver_region": (0, 0, 0, 1)},
        {"driver_region": (0, 0, 1)},
        {"driver_region": [0, 0, 1]},
        {"driver_region": "0,0,1,1"},
        {"known_above": 60},
        {"known_above": -0.1},
        {"expected_hz": 0},
        {"expected_size": (640, 0)},
        {"black_below": -1.0},
        {"events": ["anger"]},
        {"driver_region": None},
        {"hysteresis": 1.0},
        {"max_persons": 0},
        {"watchdog_s": float("nan")},
        {"align": "no"},
        {"expected_size": (640.5, 480)},
        {"quality": {"min_face_px": 30}},
        {"quality": None},
        {"events": [{"kind": "anger", "min_s": 2.0}]},
        {"events": ("anger",)},
        {"known_above": "high"},
    ],
    ids=str,
)
def test_settings_without_a_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Settings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: EventRule("anger", -1),
        lambda: EventRule("anger", float("nan")),
        lambda: EventRule("anger", "2"),  # type: ignore[arg-type]
        lambda: EventRule("", 2),
        lambda: EventRule(3, 2),  # type: ignore[arg-type]
        lambda: QualityLimits(min_face_px=20.5),  # type: ignore[arg-type]
        lambda: QualityLimits(sharp_above=float("inf")),
        lambda: QualityLimits(bright_share=50.0),
        lambda: QualityLimits(min_face_px=-1),
    ],
)
def test_rules_and_limits_are_checked_too(wrong: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="expected"):
        wrong()


def test_lists_are_taken_as_tuples() -> None:
    rule = EventRule("anger", 1.0)
    lists: dict[str, Any] = {"events": [rule], "driver_region": [0.5, 0, 0.5, 1]}
    assert Settings(**lists) == Settings(events=(rule,), driver_region=(0.5, 0, 0.5, 1))


# Events.


def test_each_label_of_the_bundle_but_neutral_is_an_event_by_default() -> None:
    rules = Settings().event_rules(DRIVER_LABELS)
    assert [rule.kind for rule in rules] == ["awake", "distracted", "drowsy", "unknown"]
    assert [rule.kind for rule in Settings().event_rules(EMOTIONS)] == [
        *(label for label in EMOTIONS if label != "neutral"),
        "unknown",
    ]


def test_a_rule_for_a_label_that_the_bundle_lacks_is_refused(fake_bundle: Path) -> None:
    settings = Settings(events=(EventRule("angry", 2.0),))
    with pytest.raises(InputError, match=r"'angry'.*anger.*Name one of them"):
        DriverMonitor(fake_bundle, [], detector=WholeFrame(), settings=settings)
    kinds = ("anger", "neutral", "unknown")
    settings = Settings(events=tuple(EventRule(kind, 1.0) for kind in kinds))
    DriverMonitor(fake_bundle, [], detector=WholeFrame(), settings=settings).close()


# Files.

WRITTEN = {
    "detect_every": 1,
    "smooth_s": 1,
    "driver_region": [0.5, 0, 0.5, 1],
    "expected_size": [640, 480],
    "frozen_s": None,
    "quality": {"min_face_px": 30},
    "events": [{"kind": "drowsy", "min_s": 1.0}, {"kind": "unknown", "min_s": 5}],
}
SETTINGS = Settings(
    detect_every=1,
    smooth_s=1,
    driver_region=(0.5, 0, 0.5, 1),
    expected_size=(640, 480),
    frozen_s=None,
    quality=QualityLimits(min_face_px=30),
    events=(EventRule("drowsy", 1.0), EventRule("unknown", 5)),
)


def write(folder: Path, content: object, name: str = "dms.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_settings_are_read_from_json(tmp_path: Path) -> None:
    assert Settings.from_file(write(tmp_path, WRITTEN)) == SETTINGS
    assert Settings.from_file(write(tmp_path, {})) == Settings()
    assert Settings.from_file(str(write(tmp_path, "\ufeff{}"))) == Settings()


def test_settings_are_read_from_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    text = """
detect_every: 1
smooth_s: 1
driver_region: [0.5, 0, 0.5, 1]
expected_size: [640, 480]
frozen_s: null
quality: {min_face_px: 30}
events:
  - {kind: drowsy, min_s: 1.0}
  - {kind: unknown, min_s: 5}
"""
    assert Settings.from_file(write(tmp_path, text, "dms.yaml")) == SETTINGS


def test_what_as_dict_gives_is_what_from_file_reads(tmp_path: Path) -> None:
    for settings in (Settings(), SETTINGS):
        values = json.loads(json.dumps(settings.as_dict(), allow_nan=False))
        assert Settings.from_file(write(tmp_path, values)) == settings


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"detectevery": 1}, "unknown key 'detectevery' in settings. Did you mean detect_every"),
        ({"quality": {"min_face": 1}}, r"in settings\.quality. Did you mean min_face_px"),
        ({"events": [{"kind": "anger", "min": 1}]}, r"settings\.events\[0\]"),
        ({"events": [{"kind": "anger"}]}, r"kind, min_s in settings\.events\[0\]"),
        ({"events": [["anger", 1]]}, r"named values in settings\.events\[0\]"),
        ({"events": {"anger": 1}}, "Settings.events as a list"),
        ({"smooth_s": "0.5"}, "Settings.smooth_s as a finite number, got '0.5'"),
        ({"smooth_s": -1}, "settings: expected smooth_s in seconds"),
        ({"quality": {"min_face_px": "x" * 9999}}, r"settings\.quality: .*as an integer"),
        ({"quality": [1]}, r"named values in settings\.quality"),
        ([], "named values in settings"),
        ('{"smooth_s": 1, "smooth_s": 2}', "twice"),
        ('{"smooth_s": NaN}', "finite number, got NaN"),
        ('{"smooth_s": 1e999}', "finite number"),
        ("{", "not readable JSON"),
        ("[" * 50_000, "not readable JSON"),
        (" " * 70_000, "at most 64 KiB"),
    ],
)
def test_a_settings_file_that_does_not_fit_is_refused(
    content: object, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says) as raised:
        Settings.from_file(write(tmp_path, content))
    assert len(str(raised.value)) < 900


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [1]\nb: *a", "alias"),
        ("smooth_s: 1\nsmooth_s: 2", "twice"),
        ("{" * 30, "nested too deeply|not readable YAML"),
        ("smooth_s: 2001-99-99", "not readable YAML"),
        ("smooth_s: .nan", "finite number"),
        ("- 1", "named values in settings"),
        ("? [1, 2]\n: 3", "not readable YAML|unknown key"),
        ("", "named values in settings"),
    ],
)
def test_a_yaml_file_that_does_not_fit_is_refused(text: str, says: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(InputError, match=says):
        Settings.from_file(write(tmp_path, text, "dms.yml"))


def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read settings from .*missing\.json"):
        Settings.from_file(tmp_path / "missing.json")
    with pytest.raises(InputError, match=r"\.json, \.yaml or \.yml"):
        Settings.from_file(write(tmp_path, "{}", "dms.toml"))
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xfc"}')
    with pytest.raises(InputError, match="UTF-8"):
        Settings.from_file(tmp_path / "latin.json")
