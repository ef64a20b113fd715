"""Adaptation of a bundle to a camera: temperature, threshold and familiarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bundle import Bundle, open_bundle, write_bundle
from fer_edge.bundle_files import MANIFEST
from fer_edge.errors import DataError, InputError
from fer_edge.familiarity import Familiarity, numbers_of, read_familiarity
from fer_edge.familiarity import Floats as Floats64
from fer_edge.inference import is_flat
from fer_edge.manifest import check_names, today
from fer_edge.monitor.detector import Detector
from fer_edge.out_folder import check_out_folder
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.recalibration import HIGHEST, LOWEST, Recalibration
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, digest_of, load_faces, pixel_hash
from fer_edge.training.data.formats import FORMATS
from fer_edge.training.data.picture_files import is_picture, without_clutter
from fer_edge.training.evaluation.adapted_decision import (
    MOST_BEYOND,
    Bools,
    Decision,
    Floats,
    Ints,
    answers,
    cross_fitted,
    figures,
    fit,
    nll,
    parts_of,
    threshold,
)
from fer_edge.training.evaluation.familiarity import moved
from fer_edge.training.evaluation.group_figures import share
from fer_edge.training.evaluation.locate import locate
from fer_edge.training.evaluation.runner import open_model

FEWEST_FACES = 50
"""Least number of distinct faces to adapt to."""
Refused = tuple[Bools, Bools]
"""Faces that are refused at any confidence before adapting, and after it, cross-fitted."""


def adapt(
    bundle: str | Path,
    data: str | Path,
    out: str | Path,
    split: str | None = None,
    *,
    unlabelled: bool = False,
    answer: float | None = None,
    detector: Detector | None = None,
    target: str | None = None,
    precision: str | None = None,
    names: Mapping[str, str] | None = None,
    say: Say = say_nothing,
    step: Step = silent,
) -> dict[str, Any]:
    """Adapt a bundle to the faces of a camera and write the adapted bundle.

    With labels, temperature and threshold are fitted. Graphs stay, byte by byte, and with them
    the parity of every variant.

    Args:
        bundle: ``.fer`` bundle; it is not changed.
        data: Faces of the camera: a data set, or a folder of pictures without labels.
        out: Bundle to write, ``NAME.fer``.
        split: Part of the data; None for data without parts.
        unlabelled: Take the data as pictures without labels.
        answer: Share (0..1) of the faces to answer, the most confident ones. None sets the
            threshold by labels, and keeps it without labels.
        detector: Locates the face of each picture; None takes the pictures as face crops.
        target: Target of the variant that runs; None lets the Predictor choose.
        precision: Precision of the variant that runs; None lets the Predictor choose.
        names: ``name`` and ``version`` of the adapted bundle; by default the stem of ``out``, and
            the version of ``bundle``.
        say: Reports what is left out or kept.
        step: Receives progress.

    Returns:
        What changed, and figures before and after; docs/how-to/adapt-to-a-camera.md has the keys.

    Raises:
        BundleError: The bundle is damaged, or ``out`` cannot be written.
        DataError: The data cannot be read, or has too few faces.
        InputError: ``out`` is not the name of another bundle, or ``answer`` is not a share.
        LabelError: The data has labels that the bundle does not have.
    """
    original, out = open_bundle(bundle), Path(out)
    if out.suffix != ".fer" or out.resolve() == original.path.resolve():
        raise InputError(f"expected the name of another bundle, NAME.fer, got {out}")
    check_out_folder(out, MANIFEST, "bundle")
    check_names(out.stem, *(names or {}).values())
    if answer is not None and not 0 < answer <= 1:
        raise InputError(f"expected a share of faces to answer above 0 and up to 1, got {answer}")
    with open_model(original.path, target, precision) as runner:
        faces = _faces(data, split, None if unlabelled else runner.labels, say, step)
        if detector is not None:
            located = locate(faces, detector, runner.rule.margin, step)
            if missing := located.count(None):
                say(f"No face was found in {missing:,} of {len(faces):,} pictures: left out")
            faces = [face for face in located if face is not None]
        faces, hashes = _distinct(faces, data, say)
        probabilities, embeddings = runner.predict(faces, "reading faces", step)
        numbers, flat = _measured(faces, runner.rule, original.familiarity is not None)
        variant, labels = runner.facts["variant"], runner.labels
    earlier = original.recalibration.temperature if original.recalibration else 1.0
    before = Decision(1.0, original.abstain_below)
    if not faces[0].label and answer is None and numbers is None:
        raise DataError(
            f"{data} has no labels, so no temperature can be fitted, and {original.path.name} has "
            "no familiarity. Set the share of faces to answer with --answer, or give labels"
        )
    familiarity = read_familiarity(original.path, original.familiarity, original.embedding_dim)
    known = bool(faces[0].label) or familiarity is not None
    parts = parts_of([face.subject for face in faces], say if known else say_nothing)
    refused = (np.zeros(len(faces), bool), np.zeros(len(faces), bool))
    if familiarity is not None and numbers is not None:
        familiarity, refused = _moved(familiarity, embeddings, numbers, parts)
    withheld = (refused[0] | flat, refused[1] | flat)
    after, measured = _decided(
        probabilities, faces, labels, before, earlier, answer, parts, withheld, say
    )
    if numbers is not None:
        measured["unfamiliar"] = _shares(refused)
    report = {
        "bundle": original.path.name,
        "sha256": original.sha256,
        "adapted": out.name,
        "variant": variant,
        "data": DatasetSpec.parse(data).name,
        "faces": len(faces),
        "labelled": bool(faces[0].label),
        "temperature": {"before": earlier, "after": earlier * after.temperature},
        "abstain_below": {"before": before.abstain_below, "after": after.abstain_below},
        **measured,
    }
    _write(original, out, {**report, "pixels": digest_of(hashes)}, names or {}, familiarity)
    return report


def _decided(
    probabilities: Floats,
    faces: Sequence[LabelledFace],
    labels: Sequence[str],
    before: Decision,
    earlier: float,
    answer: float | None,
    parts: Ints,
    refused: Refused,
    say: Say,
) -> tuple[Decision, dict[str, Any]]:
    """Return the decision for the camera, by labels if the faces have any, and its figures."""
    if not faces[0].label:
        after = before
        if answer is not None:
            after = replace(before, abstain_below=threshold(probabilities, answer))
        told = tuple(
            answers(probabilities, decision.abstain_below) & ~unlike
            for decision, unlike in zip((before, after), refused, strict=True)
        )
        measured: dict[str, Any] = {"answered": _shares(told)}
    else:
        truth = np.array([labels.index(face.label) for face in faces])
        after, measured = _by_labels(probabilities, truth, parts, before, answer, refused, say)
        least, most = LOWEST / earlier, HIGHEST / earlier  # of both temperatures together
        if not least <= after.temperature <= most:
            nearest = min(max(after.temperature, least), most)
            after = fit(probabilities, truth, answer, temperature=nearest)
    sure = answers(after.apply(probabilities), after.abstain_below).mean()
    if answer is not None and sure > answer + MOST_BEYOND + 1 / len(faces):
        say(
            f"{sure:.1%} of the faces have the confidence of the surest {answer:.1%} or more: no "
            "threshold tells them apart"
        )
    return after, measured


def _faces(
    data: str | Path, split: str | None, labels: Sequence[str] | None, say: Say, step: Step
) -> list[LabelledFace]:
    """Return the faces, without labels if ``labels`` is None or the data has none."""
    spec = DatasetSpec.parse(data)
    if labels is None or _only_pictures(spec.file):
        return load_faces(replace(spec, labels="none"), split, None, say, step)
    return load_faces(replace(spec, columns=()), split, labels, say, step)


def _only_pictures(folder: Path) -> bool:
    """Return True for a folder of pictures that no format gives labels."""
    entries = without_clutter(folder) if folder.is_dir() else []
    return (
        bool(entries)
        and all(entry.is_file() and is_picture(entry) for entry in entries)
        # The last format is that of folders named by emotion, which fits any folder.
        and not any(form.fits(folder) for form in FORMATS[:-1])
    )


def _distinct(
    faces: Sequence[LabelledFace], where: str | Path, say: Say
) -> tuple[list[LabelledFace], list[str]]:
    """Return each picture once, and the hashes. Raises DataError if they are too few."""
    by_hash: dict[str, LabelledFace] = {}
    for face in faces:
        by_hash.setdefault(pixel_hash(face), face)
    if repeated := len(faces) - len(by_hash):
        say(f"{repeated:,} pictures are there twice: each counts once")
    if len(by_hash) < FEWEST_FACES:
        raise DataError(
            f"expected at least {FEWEST_FACES} different faces in {where}, got {len(by_hash)}. "
            "A few hundred of several people give a reliable temperature"
        )
    return list(by_hash.values()), list(by_hash)


def _by_labels(
    probabilities: Floats,
    truth: Ints,
    parts: Ints,
    before: Decision,
    answer: float | None,
    refused: Refused,
    say: Say,
) -> tuple[Decision, dict[str, Any]]:
    """Return the fitted decision, and figures on faces left out of it.

    The temperature stays if the fitted ones do not lower the NLL of faces left out.
    """
    after = fit(probabilities, truth, answer)
    crossed = cross_fitted(probabilities, truth, parts, answer)
    if nll(crossed[0], truth) >= nll(probabilities, truth):
        say("The temperature stays: a fitted one is no better on faces that are left out")
        after = fit(probabilities, truth, answer, temperature=1.0)
        crossed = cross_fitted(probabilities, truth, parts, answer, temperature=1.0)
    told = answers(probabilities, before.abstain_below) & ~refused[0]
    left_out = (crossed[0], crossed[1] & ~refused[1])
    return after, {"cross_fitted": True, **figures(truth, (probabilities, told), left_out)}


def _shares(pair: tuple[Bools, ...]) -> dict[str, Any]:
    """Return the share of the faces that are marked before and after."""
    return {
        name: share(int(marked.sum()), len(marked))
        for name, marked in zip(("before", "after"), pair, strict=True)
    }


def _write(
    original: Bundle,
    out: Path,
    report: Mapping[str, Any],
    names: Mapping[str, str],
    familiarity: Familiarity | None,
) -> None:
    """Write the adapted bundle: the same networks, another decision. Raises BundleError."""
    contents: dict[str, bytes] = {}
    for variant in original.variants:
        contents |= original.read(variant)
    if familiarity is not None:
        contents[familiarity.record.file.path] = familiarity.statistics.data()
    temperature = report["temperature"]["after"]
    write_bundle(
        replace(
            original,
            path=out,
            recalibration=None if temperature == 1 else Recalibration(temperature),
            abstain_below=report["abstain_below"]["after"],
            provenance={**original.provenance, "adaptation": dict(report)},
            name=names.get("name", out.stem),
            version=names.get("version", original.version),
            created=today(),
            familiarity=None if familiarity is None else familiarity.record,
        ),
        contents,
    )


def _measured(
    faces: Sequence[LabelledFace], rule: CropRule, with_numbers: bool
) -> tuple[Floats64 | None, Bools]:
    """Return the numbers on each picture, ``[N, 7]`` or None, and which have no contrast, ``[N]``.

    Each picture is decoded once.
    """
    numbers, flat = [], []
    for face in faces:
        batch = to_batch([face.read()], rule)
        flat.append(is_flat(batch[0]))
        if with_numbers:
            numbers.append(numbers_of(batch))
    return np.concatenate(numbers) if with_numbers else None, np.array(flat)


def _moved(
    familiarity: Familiarity, embeddings: Floats, numbers: Floats64, parts: Ints
) -> tuple[Familiarity, Refused]:
    """Return the familiarity of a camera, and the faces refused before and after.

    Those after are of each part, by the familiarity of the other parts' faces.
    """
    before = familiarity.refuses(embeddings, numbers)
    after = np.empty(len(parts), bool)
    for part in np.unique(parts):
        inside = parts == part
        others = moved(familiarity, embeddings[~inside], numbers[~inside])
        after[inside] = others.refuses(embeddings[inside], numbers[inside])
    return moved(familiarity, embeddings, numbers), (before, after)
