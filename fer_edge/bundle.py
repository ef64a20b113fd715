"""Reader and writer of bundles: folders ``NAME.fer`` with one network for every target.

``bundle.json`` describes one trained network and its *variants* (target and precision);
docs/reference/bundle-format.md specifies every key. Files are listed with size and SHA-256, and
variants that run the same file list the same file. A bundle is hostile until checked: no path
leads outside its folder, no unlisted file is accepted, and an engine receives only bytes whose
hash was just compared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_folder
from fer_edge.bundle_files import (
    MANIFEST,
    BundleFile,
    check_listing,
    listed,
    read_checked,
    read_manifest,
)
from fer_edge.bundle_parts import parse_batch, parse_crop, parse_file, parse_needs, parse_tools
from fer_edge.errors import BundleError, LabelError
from fer_edge.familiarity import FamiliarityRecord
from fer_edge.json_check import (
    read_day,
    read_integer,
    read_line,
    read_list,
    read_mapping,
    read_number,
    read_optional,
    read_required,
    read_share,
    read_text,
)
from fer_edge.labels import check_label_list
from fer_edge.manifest import MAX_NAME, check_seal, read_json, sealed
from fer_edge.model_files.model_check import check_models, contract_of
from fer_edge.out_folder import check_content
from fer_edge.parity import ParityReport, Speed
from fer_edge.preprocess import CropRule
from fer_edge.recalibration import Recalibration
from fer_edge.shipped import bundle_path, named
from fer_edge.shown import printable, shown
from fer_edge.signing import SIGNATURES, Key, read_signatures, verify_manifest

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "Bundle",
    "BundleFile",
    "Variant",
    "listed",
    "open_bundle",
    "write_bundle",
]

SCHEMA = 1
_KEYS = (
    "schema", "name", "version", "created", "labels", "input", "outputs", "crop", "temperature",
    "abstain_below", "embedding_dim", "provenance", "variants",
)  # fmt: skip
_VARIANT_KEYS = (
    "target", "precision", "entry", "files", "needs", "batch", "tools", "parity", "speed",
)  # fmt: skip
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Variant:
    """One way to run the network.

    Attributes:
        target: Name of the converter and the backend.
        precision: Name of the precision.
        entry: Path of the file that the engine opens first.
        files: Every file that the variant uses.
        needs: What the machine must offer, by names of the target.
        batch: Smallest and largest batch size; ``max`` None means no limit.
        tools: Versions of the libraries that built the variant.
        parity: Measured parity with the checkpoint; None if it was not verified.
        unproven: Why nothing verified the variant; None if it was verified.
        speed: Latency on the converting machine; None if it was not measured. It sets the order
            in which variants are tried.
    """

    target: str
    precision: str
    entry: str
    files: tuple[BundleFile, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int | None] = field(default_factory=lambda: {"min": 1, "max": None})
    tools: Mapping[str, str] = field(default_factory=dict)
    parity: ParityReport | None = None
    unproven: str | None = None
    speed: Speed | None = None

    @property
    def name(self) -> str:
        """Name in messages and requests, ``target/precision``."""
        return f"{self.target}/{self.precision}"

    @property
    def warning(self) -> str | None:
        """Sentence on what is not proven of the engine; None if the engine itself passed."""
        if self.parity is None:
            return printable(f"not proven: {self.unproven or 'it has no parity report'}")
        warning = self.parity.warning
        return None if warning is None else printable(warning)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form. ``unproven`` is an optional key."""
        content = asdict(replace(self, parity=None, speed=None))
        if self.unproven is None:
            del content["unproven"]
        content["parity"] = None if self.parity is None else self.parity.as_dict()
        content["speed"] = None if self.speed is None else self.speed.as_dict()
        return content


@dataclass(frozen=True)
class Bundle:
    """Checked bundle.

    Attributes:
        path: Folder of the bundle.
        labels: Names of the classes, in the order of the network's outputs.
        crop: Rule that cuts and resizes faces.
        temperature: Divisor of the logits that calibrates the probabilities.
        abstain_below: Confidence (0..1) below which the predictor abstains.
        embedding_dim: Length of the embedding.
        provenance: Checkpoint, recipe, data, licences and refused variants; free-form.
        variants: Variants in the order in which they are tried.
        sha256: SHA-256 of ``bundle.json`` as it was read; empty for a bundle in memory.
        name: Name of the model, for people; may be empty.
        version: Version of the model, for people.
        created: Day on which the bundle was written, ``YYYY-MM-DD``; may be empty.
        signed_by: Id of the trusted key that signed it; empty if no key was asked for.
        recalibration: Temperature of ``fer-edge adapt``; None without one.
        familiarity: Limits beyond which a face is unlike the training faces; None without any.
    """

    path: Path
    labels: tuple[str, ...]
    crop: CropRule
    temperature: float
    abstain_below: float
    embedding_dim: int
    provenance: Mapping[str, Any]
    variants: tuple[Variant, ...]
    sha256: str = ""
    name: str = ""
    version: str = "0"
    created: str = ""
    signed_by: str = ""
    recalibration: Recalibration | None = None
    familiarity: FamiliarityRecord | None = None

    @property
    def files(self) -> frozenset[BundleFile]:
        """Every listed file."""
        more = [] if self.familiarity is None else [self.familiarity.file]
        return frozenset([*(f for variant in self.variants for f in variant.files), *more])

    def variant(self, target: str, precision: str) -> Variant:
        """Return a variant by its target and precision.

        Args:
            target: Name of the target.
            precision: Name of the precision.

        Raises:
            BundleError: The bundle has no such variant; the message lists its variants.
        """
        for variant in self.variants:
            if (variant.target, variant.precision) == (target, precision):
                return variant
        raise BundleError(
            f"{self.path} has no variant {target}/{precision}. It has "
            f"{', '.join(v.name for v in self.variants)}. Choose one, or run fer-edge convert"
        )

    def read(self, variant: Variant) -> dict[str, bytes]:
        """Read a variant's files, compare each with its hash, and check its models.

        Args:
            variant: A variant of this bundle.

        Returns:
            Contents by path.

        Raises:
            BundleError: A file is missing or differs, or a model refers to anything outside.
            EngineError: A model cannot be read.
        """
        files = {file.path: read_checked(self.path, file) for file in variant.files}
        contract = contract_of(self.labels, self.temperature, self.crop.size_px, self.embedding_dim)
        check_models(variant.target, variant.entry, files, contract)
        return files

    def contract(self) -> dict[str, Any]:
        """Return the input and the outputs that every variant has."""
        return {
            "input": {
                "dtype": "uint8",
                "layout": "NHWC",
                "colour": "bgr",
                "shape": [None, self.crop.size_px, self.crop.size_px, 3],
            },
            "outputs": {
                "probabilities": {"dtype": "float32", "shape": [None, len(self.labels)]},
                "embedding": {"dtype": "float32", "shape": [None, self.embedding_dim]},
            },
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``bundle.json``. Raises ValueError for NaN and infinities."""
        content = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "labels": list(self.labels),
            **self.contract(),
            "crop": self.crop.as_dict(),
            "temperature": self.temperature,
            "abstain_below": self.abstain_below,
            **({"recalibration": self.recalibration.as_dict()} if self.recalibration else {}),
            **({"familiarity": asdict(self.familiarity)} if self.familiarity else {}),
            "embedding_dim": self.embedding_dim,
            "provenance": dict(self.provenance),
            "variants": [variant.as_dict() for variant in self.variants],
        }
        return sealed(content)


def open_bundle(path: str | Path, trusted_keys: Sequence[Key] | None = None) -> Bundle:
    """Read a bundle and check its manifest, its files and their hashes.

    No engine is loaded.

    Args:
        path: Folder of the bundle, ``NAME.fer``, or the name of a shipped model (``"default"``).
        trusted_keys: Public keys, as PEM files or bytes; one of them must have signed the bundle.
            None accepts unsigned bundles.

    Returns:
        The checked bundle.

    Raises:
        BundleError: The folder is missing, damaged, holds anything that is not listed, or is
            unsigned, changed after it was signed, or signed by others.
        InputError: A trusted key is no public key, none is given, or ``path`` is no path or name.
        MissingDependencyError: There are trusted keys, and the ``sign`` extra is not installed.
    """
    root = bundle_path(named(path))
    data = read_manifest(root)
    signer = ""
    if trusted_keys is not None:
        signer = verify_manifest(data, read_signatures(root), trusted_keys, str(root))
    return replace(check_bundle(root, data), signed_by=signer)


def check_bundle(root: Path, data: bytes) -> Bundle:
    """Check the bytes of a manifest, and the files beside it. Raises BundleError."""
    try:
        content = read_json(data)
    except ValueError as error:
        raise BundleError(
            f"{root / MANIFEST} is not the JSON of a bundle: {error}. Copy the bundle again"
        ) from error
    bundle = replace(_parse(root, content), sha256=hashlib.sha256(data).hexdigest())
    check_listing(root, {MANIFEST, *(file.path for file in bundle.files)}, optional={SIGNATURES})
    for file in bundle.files:
        read_checked(root, file)
    return bundle


def write_bundle(bundle: Bundle, contents: Mapping[str, bytes]) -> None:
    """Write a bundle at ``bundle.path`` atomically, and replace an older one.

    Args:
        bundle: Bundle to write.
        contents: Bytes by path for every listed file.

    Raises:
        BundleError: The contents are not those listed, or the bundle could not be read back.
    """
    listing = {file.path for file in bundle.files}
    if set(contents) != listing:
        raise BundleError(f"expected contents for {sorted(listing)}, got {sorted(contents)}")
    try:
        manifest = json.dumps(bundle.as_dict(), indent=1) + "\n"
    except ValueError as error:
        raise BundleError(f"{bundle.path} cannot be written: {error}. Correct the value") from error

    def fill(folder: Path) -> None:
        for name, data in contents.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        (folder / MANIFEST).write_text(manifest, "utf-8")
        open_bundle(folder)  # only a readable bundle takes the place

    check_content(bundle.path, MANIFEST, "bundle")
    try:
        write_folder(bundle.path, fill)
    except OSError as error:
        raise BundleError(
            f"cannot write {bundle.path}: {error.strerror}. Choose another path"
        ) from error


def _parse(root: Path, content: Any) -> Bundle:
    schema = content.get("schema") if isinstance(content, dict) else content
    if not isinstance(content, dict) or type(schema) is not int or schema != SCHEMA:
        raise BundleError(
            f"expected bundle schema {SCHEMA} in {root}, got {shown(schema)}. "
            "Convert the checkpoint again with this version of fer-edge"
        )
    try:
        check_seal(content)
    except ValueError as error:
        raise BundleError(
            f"{root / MANIFEST} is damaged: {error}. Get the bundle again, or convert it again: "
            "fer-edge convert CHECKPOINT --target openvino -o NAME.fer"
        ) from error
    try:
        return _parse_content(root, content)
    except (ValueError, LabelError) as error:
        raise BundleError(
            f"{root / MANIFEST}: {error}. Copy the bundle again, or convert the checkpoint again"
        ) from error


def _parse_content(root: Path, content: Any) -> Bundle:
    item = read_required(content, MANIFEST, _KEYS)
    labels = check_label_list(read_list(item["labels"], "labels", read_text))
    if not labels:
        raise ValueError("expected at least one label")
    bundle = Bundle(
        path=root,
        labels=labels,
        crop=parse_crop(item["crop"]),
        temperature=read_number(item["temperature"], "temperature", 1e-3, 1e3),
        abstain_below=read_share(item["abstain_below"], "abstain_below"),
        embedding_dim=read_integer(item["embedding_dim"], "embedding_dim", 1, 10**6),
        provenance=read_mapping(item["provenance"], "provenance"),
        variants=read_list(item["variants"], "variants", _parse_variant),
        name=read_line(item["name"], "name", MAX_NAME),
        version=read_line(item["version"], "version", MAX_NAME),
        created=read_day(item["created"], "created"),
        recalibration=read_optional(item, "recalibration", MANIFEST, Recalibration.parse),
        familiarity=read_optional(item, "familiarity", MANIFEST, FamiliarityRecord.parse),
    )
    if bundle.familiarity is not None:
        bundle.familiarity.check(bundle.embedding_dim, bundle.crop.size_px)
    for key, expected in bundle.contract().items():
        # As JSON, because Python takes 1, 1.0 and true for the same.
        if json.dumps(item[key], sort_keys=True) != json.dumps(expected, sort_keys=True):
            raise ValueError(f"expected {key} to be {expected}, got {shown(item[key])}")
    names = [variant.name for variant in bundle.variants]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"expected different variants, got {shown(names)}")
    return bundle


def _parse_variant(value: Any, where: str) -> Variant:
    item = read_required(value, where, _VARIANT_KEYS)
    target, precision = item["target"], item["precision"]
    for word in (target, precision):
        if not _WORD.fullmatch(read_text(word, where)):
            raise ValueError(f"expected a lower-case word in {where}, got {shown(word)}")
    files = read_list(item["files"], f"{where}.files", parse_file)
    if item["entry"] not in [file.path for file in files]:
        raise ValueError(f"{where}: variant {target}/{precision} starts at an unlisted file")
    parity = read_optional(item, "parity", where, ParityReport.parse)
    unproven = read_optional(item, "unproven", where, read_text)
    if parity is not None and unproven is not None:
        raise ValueError(f"expected either {where}.parity or {where}.unproven, got both")
    return Variant(
        target=target,
        precision=precision,
        entry=item["entry"],
        files=files,
        needs=parse_needs(item["needs"], f"{where}.needs"),
        batch=parse_batch(item["batch"], f"{where}.batch"),
        tools=parse_tools(item["tools"], f"{where}.tools"),
        parity=parity,
        unproven=unproven,
        speed=read_optional(item, "speed", where, Speed.parse),
    )
