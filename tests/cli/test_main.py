"""The command line: exit codes as promised, sentences for people, pure JSON for programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fer_edge
from fer_edge import predictor
from fer_edge.cli import main
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import DEFAULT_BUNDLE, FACES

HAPPY = FACES / "happiness.png"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Invokes the command in an empty folder; an exception that is no exit fails the test."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            f"{result.exception!r} reached the user"
        )
        return result

    return invoke


@pytest.fixture
def damaged_bundle(fake_bundle: Path) -> Path:
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    return fake_bundle


@pytest.fixture
def text_named_jpg(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    return path


def retarget(bundle: Path, target: str) -> Path:
    """Make the fake bundle one for another chip."""
    manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
    manifest["variants"][0]["target"] = target
    (bundle / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    return bundle


# --- help and usage ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(run: Any, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: fer-edge {command}" in " ".join(result.output.split())


def test_help_and_version_load_no_heavy_library() -> None:
    code = (
        "import sys\nfrom fer_edge.cli import main\n"
        "for name in main.commands:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'timm', 'openvino', 'onnxruntime', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_version(run: Any) -> None:
    assert fer_edge.__version__ in run("--version").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["predict"],
        ["predict", "a.png", "--no-such-option"],
        ["predict", "a.png", "--box", "1", "2", "3"],
        ["train", "edge-default"],
        ["evaluate", "best"],
        ["convert", "best", "-o", "x.fer"],
        ["convert", "best", "--target", "openvino"],
        ["convert", "best", "--target", "openvino", "-o", "x.fer", "--allow-drop", "101"],
        ["bench", "--batch-sizes", "1,many"],
        ["export", "best", "-o", "x.pt"],
        ["export", "best", "-o", "x.pt", "--format", "caffe"],
        ["import", "x.pth", "--backbone", "resnet18", "--labels", "fear", "-o", "best"],
        ["embed", "a.png"],
        ["embed", "--check"],
        ["embed", "--check", "--data", "x", "-o", "x.npz"],
        ["bench", "--budget-s", "soon"],
        ["serve", "--port", "70000"],
        ["serve", "--rate", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_points_to_help(run: Any, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["predict", "nowhere.png", "--bundle", "{fake}"], 3),
        (["predict", "{happy}", "--bundle", "nowhere.fer"], 4),
        (["predict", "{happy}", "--bundle", "{fake}", "--target", "nochip"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--target", "openvino"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--precision", "int4"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--box", "500", "0", "9", "9"], 3),
        (["inspect", "nowhere.fer"], 4),
        (["bench", "nowhere.fer"], 4),
        (["evaluate", "{fake}", "--data", "{happy}", "-o", "report.pdf"], 3),
        (["export", "nowhere", "--format", "onnx", "-o", "x.onnx"], 4),
        (["embed", "nowhere.png", "-o", "x.npz"], 3),
        (["embed", "{happy}", "-o", "x.pkl"], 3),
        (["embed", "{happy}", "--model", "{fake}", "-o", "no/such/folder/x.npz"], 3),
        (["bench", "{fake}", "--batch-sizes", "0"], 3),
        (["evaluate", "nowhere.fer", "--data", "{faces}"], 4),
        (["evaluate", "nowhere", "--data", "{faces}"], 4),
        (["evaluate", "{fake}", "--data", "nowhere"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--split", "exam"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--split", "none"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--target", "nochip"], 5),
        (["serve", "--bundle", "nowhere.fer"], 4),
        (["serve", "--bundle", "{fake}", "--detector", "nowhere.onnx"], 3),
        (["serve", "--bundle", "{fake}", "--host", "no.such.host.invalid"], 3),
        (["serve", "--bundle", "{fake}", "--token", ""], 3),
        (["train", "no-such-recipe", "--data", "{faces}"], 3),
        (["train", "edge-default", "--data", "nowhere"], 3),
        (["train", "edge-default", "--data", "{faces}", "--set", "fit.epochz=3"], 3),
        (["train", "edge-default", "--data", "{faces}", "--set", "fit.epochs=["], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_our_errors_are_one_sentence_and_their_exit_code(
    run: Any, fake_bundle: Path, arguments: list[str], code: int
) -> None:
    names = {"fake": fake_bundle, "happy": HAPPY, "faces": FACES}
    result = run(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == code
    assert result.stdout == ""
    assert len(result.stderr.strip()) > 20
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["predict", "inspect", "bench", "evaluate"])
def test_a_damaged_bundle_ends_with_4(run: Any, damaged_bundle: Path, command: str) -> None:
    arguments = {
        "predict": [HAPPY, "--bundle", damaged_bundle],
        "evaluate": [damaged_bundle, "--data", FACES],
    }.get(command, [damaged_bundle])
    result = run(command, *arguments)
    assert result.exit_code == 4
    assert "answers.json" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("library", "extra"), [("torch", "train"), ("rich", "bench")])
def test_a_missing_library_ends_with_5_and_the_line_that_installs_it(
    library: str, extra: str
) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from fer_edge.cli import main; "
        "main(['train', 'edge-default', '--data', 'nowhere'])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert f"pip install 'fer-edge[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_token_does_not_open_the_service(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FER_EDGE_TOKEN", "")
    result = run("serve")
    assert result.exit_code == 3
    assert "FER_EDGE_TOKEN" in result.stderr


# --- predict -------------------------------------------------------------------------------------


def test_predict_names_the_expression_and_all_shares(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, "--bundle", fake_bundle)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{HAPPY}: neutral 0.90"
    assert {line.split()[0] for line in lines[1:]} == set(EMOTIONS)
    assert lines[1].split()[:2] == ["neutral", "90.0%"]


def test_predict_prints_pure_json(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, FACES / "fear.png", "--bundle", fake_bundle, "--json")
    assert result.exit_code == 0
    one, other = json.loads(result.stdout)
    assert (one["image"], other["image"]) == (str(HAPPY), str(FACES / "fear.png"))
    assert one["label"] == "neutral"
    assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_predict_takes_a_box(run: Any, fake_bundle: Path) -> None:
    result = run("predict", HAPPY, "--bundle", fake_bundle, "--box", 8, 8, 30, 30)
    assert result.exit_code == 0


def test_a_text_that_is_called_a_picture_ends_with_3_and_a_sentence(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", text_named_jpg, "--bundle", fake_bundle)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "notes.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_one_bad_picture_does_not_cost_the_others(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", HAPPY, text_named_jpg, FACES / "fear.png", "--bundle", fake_bundle)
    assert result.exit_code == 3
    assert result.stdout.count(": neutral") == 2
    assert "notes.jpg" in result.stderr


def test_one_bad_picture_is_an_entry_in_the_json(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", HAPPY, text_named_jpg, "--bundle", fake_bundle, "--json")
    assert result.exit_code == 3
    good, bad = json.loads(result.stdout)
    assert good["label"] == "neutral"
    assert set(bad) == {"image", "error"}


def test_a_doubtful_answer_is_called_so(run: Any, tmp_path: Path) -> None:
    from fer_edge.backends.fake import write_fake_bundle

    unsure = write_fake_bundle(tmp_path / "u.fer", {"fear": 0.4}, abstain_below=0.5)
    result = run("predict", HAPPY, "--bundle", unsure)
    assert result.exit_code == 0
    assert "uncertain" in result.stdout


@pytest.mark.parametrize("name", ["happiness", "surprise"])
def test_the_shipped_model_knows_the_clearest_mean_faces(run: Any, name: str) -> None:
    (answer,) = json.loads(run("predict", FACES / f"{name}.png", "--json").stdout)
    assert answer["label"] == name


# --- inspect and doctor --------------------------------------------------------------------------


def test_inspect_shows_what_is_in_it_and_what_runs_here(run: Any, fake_bundle: Path) -> None:
    result = run("inspect", fake_bundle)
    assert result.exit_code == 0
    for word in ("all hashes match", "anger, disgust", "[N, 48, 48, 3]", "fake/fp32: taken"):
        assert word in result.stdout


def test_inspect_prints_the_manifest_as_json(run: Any, fake_bundle: Path) -> None:
    shown = json.loads(run("inspect", fake_bundle, "--json").stdout)
    manifest = json.loads((fake_bundle / "bundle.json").read_text("utf-8"))
    assert shown.pop("path") == str(fake_bundle)
    assert len(shown.pop("sha256")) == 64
    assert shown == manifest


def test_inspect_shows_a_bundle_that_nothing_here_can_run(run: Any, fake_bundle: Path) -> None:
    """A workstation looks into a bundle that was made for another chip."""
    result = run("inspect", retarget(fake_bundle, "somechip"))
    assert result.exit_code == 0
    assert "no backend for somechip" in result.output


def test_inspect_shows_the_shipped_model(run: Any) -> None:
    result = run("inspect")
    assert result.exit_code == 0
    assert str(DEFAULT_BUNDLE) in result.stdout
    assert "agreement" in result.stdout


def test_doctor_knows_every_part_and_the_model(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "DEFAULT_BUNDLE", fake_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["default_model"] == ["fake/fp32: taken (not proven: it has no parity report)"]
    assert {"onnxruntime", "openvino", "torch"} <= set(report["parts"])
    for finding in report["parts"].values():
        assert finding["ok"] or re.search("pip install|detector fetch", finding["says"])
    said = run("doctor").stdout
    assert all(part in said for part in report["parts"])


def test_doctor_lives_through_a_damaged_model(
    run: Any, damaged_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "DEFAULT_BUNDLE", damaged_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["parts"]["onnxruntime"]["ok"]
    assert "answers.json" in " ".join(report["default_model"])


def test_doctor_finds_the_shipped_model(run: Any) -> None:
    model = json.loads(run("doctor", "--json").stdout)["default_model"]
    assert sum("taken" in line for line in model) == 1


# --- bench ---------------------------------------------------------------------------------------


def test_bench_prints_pure_json_and_writes_it(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    arguments = ["--batch-sizes", "1,2", "--budget-s", "0.2", "--json", "-o", out]
    result = run("bench", fake_bundle, *arguments)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [row["batch"] for row in report["rows"]] == [1, 2]
    assert json.loads(out.read_text("utf-8")) == report


def test_bench_prints_a_table(run: Any, fake_bundle: Path) -> None:
    result = run("bench", fake_bundle, "--batch-sizes", "1", "--budget-s", "0.2")
    assert result.exit_code == 0
    assert "fake/fp32" in result.stdout
    assert "fresh process" in result.stdout


def test_bench_says_that_nothing_of_a_bundle_runs_here(run: Any, fake_bundle: Path) -> None:
    result = run("bench", retarget(fake_bundle, "somechip"), "--budget-s", "0.1")
    assert result.exit_code in (0, 5)
    assert "somechip" in result.output


def test_bench_says_that_it_cannot_write_its_report(run: Any, fake_bundle: Path) -> None:
    arguments = ["--batch-sizes", "1", "--budget-s", "0.1", "-o", "no/such/folder/report.json"]
    result = run("bench", fake_bundle, *arguments)
    assert result.exit_code != 0
    assert "report.json" in result.stderr


# --- train and evaluate --------------------------------------------------------------------------


def test_evaluate_gives_the_figures_of_a_bundle(run: Any, fake_bundle: Path) -> None:
    """It always answers neutral: right for one class in seven."""
    result = run("evaluate", fake_bundle, "--data", FACES, "--json")
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)["inputs"]
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
    assert report["all"]["per_class"]["neutral"]["recall"] == 1
    assert report["variant"] == "fake/fp32"
    said = run("evaluate", fake_bundle, "--data", FACES).stdout
    assert "accuracy 0.1429" in said
    assert all(name in said for name in EMOTIONS)


def test_evaluate_writes_each_form(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"report.{suffix}" for suffix in ("json", "html", "png")]
    arguments = [part for out in outs for part in ("-o", out)]
    result = run("evaluate", fake_bundle, fake_bundle, "--data", FACES, *arguments)
    assert result.exit_code == 0
    assert [out.read_bytes()[:5] for out in outs] == [b'{\n "i', b"<!doc", b"\x89PNG\r"]
    assert "against fake.fer fake/fp32: accuracy +0.00 points" in result.stdout


# --- export, import and embed --------------------------------------------------------------------

IMPORT = ["--backbone", "test_byobnet", "--size", "48", "--colour", "rgb"]
IMPORT += ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
LABELS = ["--labels", "angry,disgust,fear,happy,neutral,sad,surprise"]


@pytest.mark.slow
def test_a_foreign_network_is_imported_evaluated_and_exported(run: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from fer_edge.training.models import torchvision_compat  # noqa: F401

    import timm  # isort: skip

    torch.set_num_threads(1)
    torch.save(timm.create_model("test_byobnet", num_classes=7).state_dict(), tmp_path / "t.pth")
    result = run("import", "t.pth", *IMPORT, *LABELS, "-o", "theirs")
    assert result.exit_code == 0
    assert "102 tensors loaded from t.pth" in result.stderr
    assert "Not calibrated" in result.stdout
    assert run("evaluate", "theirs", "--data", FACES, "--json").exit_code == 0
    result = run("export", "theirs", "--format", "torchscript", "-o", "theirs.pt", "--json")
    assert json.loads(result.stdout)["agreement"] == 1
    assert "deprecated" in result.stderr
    wrong = run("import", "t.pth", *IMPORT, "--labels", "happy,sad", "-o", "other")
    assert (wrong.exit_code, (tmp_path / "other").exists()) == (3, False)
    torch.save(timm.create_model("test_byobnet"), tmp_path / "whole.pth")
    refused = run("import", "whole.pth", *IMPORT, *LABELS, "-o", "other")
    assert refused.exit_code == 4
    assert "pickled module" in refused.stderr


def test_embed_writes_and_says_what(run: Any, fake_bundle: Path) -> None:
    result = run("embed", HAPPY, FACES / "fear.png", "--model", fake_bundle, "-o", "x.npz")
    assert result.exit_code == 0
    assert "x.npz: 2 faces" in result.stdout
    result = run("embed", "--data", FACES, "--model", fake_bundle, "-o", "x.parquet", "--json")
    assert json.loads(result.stdout)["faces"] == 336


def test_embed_check_ends_with_8_where_embeddings_tell_nothing(run: Any, fake_bundle: Path) -> None:
    result = run("embed", "--check", "--data", FACES, "--model", fake_bundle)
    assert result.exit_code == 8
    assert "chance" in result.stdout


@pytest.mark.slow
def test_train_prints_where_the_checkpoint_is_and_evaluate_takes_it(
    run: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # of a tiny network, more would only wait for each other
    tiny = ["model.backbone=test_byobnet", "fit.epochs=1", "fit.batch=32", "fit.precision=fp32"]
    settings = [part for override in tiny for part in ("--set", override)]
    settings += ["--licence", "research use"]
    result = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert result.exit_code == 0
    assert result.stdout.split() == [str(tmp_path / "run" / "best")]
    again = run("train", "edge-default", "--data", FACES, "-o", tmp_path / "run", *settings)
    assert again.exit_code == 6
    assert "--resume" in again.stderr
    card = json.loads((tmp_path / "run" / "best" / "card.json").read_text("utf-8"))
    assert card["licences"] == {"data": "research use"}
    report = json.loads(
        run("evaluate", tmp_path / "run" / "best", "--data", FACES, "--json").stdout
    )
    assert report["inputs"][0]["all"]["faces"] == 336
