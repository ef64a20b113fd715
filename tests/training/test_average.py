"""``fer_edge.training.average``: the weights between two checkpoints, calibrated again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fer_edge.errors import CheckpointError
from fer_edge.shipped import FACES
from fer_edge.training import average as module
from fer_edge.training.average import average, main
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import InCar
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop.held_out import HeldOut
from fer_edge.training.models.network import InputSpec


@pytest.fixture(scope="module")
def folders(
    untrained: Callable[..., Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    made = []
    for seed in (0, 1):
        made.append(tmp_path_factory.mktemp("average") / "checkpoint")
        save_checkpoint(untrained(seed=seed), made[-1])
    return made


def _quiet(*_: object) -> None:
    """Ignore messages and progress."""


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_each_weight_lies_between_the_two(
    share: float, folders: list[Path], tmp_path: Path
) -> None:
    average(*folders, share, FACES, tmp_path / "made", _quiet)
    start, end, made = (
        load_checkpoint(folder).model.state_dict() for folder in (*folders, tmp_path / "made")
    )
    assert start.keys() == made.keys()
    for name, value in made.items():
        if value.is_floating_point():
            expected = (1 - share) * start[name] + share * end[name]
            torch.testing.assert_close(value, expected, rtol=2e-3, atol=1e-5)  # half precision
        else:
            assert torch.equal(value, end[name])


def test_the_average_is_calibrated_and_says_what_it_is_made_of(
    folders: list[Path], tmp_path: Path
) -> None:
    average(*folders, 0.5, FACES, tmp_path / "made", _quiet)
    start, end, made = (load_checkpoint(folder) for folder in (*folders, tmp_path / "made"))
    told = {"start": start.sha256, "trained": end.sha256, "share": 0.5}
    assert made.facts["averaged"] == told
    assert set(made.facts["held_out"]) == {"accuracy", "balanced_accuracy", "macro_f1", "ece"}
    assert made.facts["recipe"] == end.facts["recipe"]
    assert made.temperature != end.temperature
    assert made.int8 is None


def test_the_average_is_calibrated_under_the_effects_of_either(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[InCar] = []

    class Spy(HeldOut):
        def __init__(self, faces: list[LabelledFace], spec: InputSpec, incar: InCar) -> None:
            seen.append(incar)
            super().__init__(faces, spec, incar)

    def trained_with(name: str, incar: dict[str, float]) -> Path:
        made = load_checkpoint(folders[0])
        facts = made.facts | {"recipe": {"augment": {"incar": incar}}}
        save_checkpoint(replace(made, facts=facts), tmp_path / name)
        return tmp_path / name

    monkeypatch.setattr(module, "HeldOut", Spy)
    night, mask = {"night_noise": 0.5}, {"mask": 0.5}
    for start, tuned in ((night, mask), (night, {}), ({}, mask), ({}, {})):
        pair = trained_with("start", start), trained_with("tuned", tuned)
        average(*pair, 0.5, FACES, tmp_path / "made", _quiet)
    assert seen == [InCar(**mask), InCar(**night), InCar(**mask), InCar()]


def test_nothing_is_written_if_the_calibration_fails(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_edge.training.average.calibrated", killed)
    with pytest.raises(KeyboardInterrupt):
        average(*folders, 0.5, FACES, tmp_path / "made", _quiet)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_differ_are_refused(
    untrained: Callable[..., Checkpoint], folders: list[Path], tmp_path: Path
) -> None:
    rgb, odd = tmp_path / "rgb", tmp_path / "labels"
    save_checkpoint(untrained("rgb"), rgb)
    other = untrained()
    other.model.spec = replace(other.spec, labels=tuple(reversed(other.spec.labels)))
    save_checkpoint(other, odd)
    for folder in (rgb, odd):
        with pytest.raises(CheckpointError, match="one network"):
            average(folders[0], folder, 0.5, FACES, tmp_path / "made", _quiet)
    assert not (tmp_path / "made").exists()


def test_the_command_ends_with_a_sentence(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "made"
    arguments = [*map(str, folders), "--data", str(FACES), "-o", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
    assert out.is_dir()
    done = CliRunner().invoke(main, ["nowhere", *arguments[1:]])
    assert done.exit_code == CheckpointError.exit_code
    assert "nowhere" in done.output
