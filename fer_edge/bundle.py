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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_folder
from fer_edge.errors import BundleError, FerEdgeError
from fer_edge.json_check import read_optional, read_text
from fer_edge.labels import check_label_list
from fer_edge.parity import ParityReport, Speed
from fer_edge.preprocess import CropRule

SCHEMA = 1
MANIFEST = "bundle.json"
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_FILE_BYTES = 2 * 1024**3
"""Largest file, in bytes: protobuf's 2 GiB limit. It also bounds memory: files are read whole."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class BundleFile:
    """One listed file.

    Attributes:
        path: Path inside the bundle, ``folder/name``.
        sha256: SHA-256 of the content, in lower-case hexadecimal.
        bytes: Size in bytes.
    """

    path: str
    sha256: str
    bytes: int


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
        """Sentence on what is not proven of the engine; None if the engine itself was verified."""
        if self.parity is None:
            return f"not proven: {self.unproven or 'it has no parity report'}"
        return self.parity.verification

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
            f"{self.path} has no variant {target}/{precision}. "
            f"It has {', '.join(v.name for v in self.variants)}. "
            "Add it with fer-edge convert, or choose another"
        )

    def read(self, variant: Variant) -> dict[str, bytes]:
        """Read a variant's files and compare each with its hash.

        Args:
            variant: A variant of this bundle.

        Returns:
            Contents by path.

        Raises:
            BundleError: A file is missing or differs.
        """
        return {file.path: _read_checked(self.path, file) for file in variant.files}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``bundle.json``."""
        return {
            "schema": SCHEMA,
            "labels": list(self.labels),
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
            "crop": self.crop.as_dict(),
            "temperature": self.temperature,
            "abstain_below": self.abstain_below,
            "embedding_dim": self.embedding_dim,
            "provenance": dict(self.provenance),
            "variants": [variant.as_dict() for variant in self.variants],
        }


def open_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check its manifest, its files and their hashes.

    No engine is loaded.

    Args:
        path: Folder of the bundle, ``NAME.fer``.

    Returns:
        The checked bundle.

    Raises:
        BundleError: The folder is missing, damaged, or holds anything that is not listed.
    """
    root = Path(path)
    manifest = root / MANIFEST
    try:
        if not root.is_dir():
            raise BundleError(
                f"expected a bundle folder at {root}, found none. Build one: "
                "fer-edge convert CHECKPOINT --target openvino -o NAME.fer"
            )
        size = manifest.lstat().st_size
        if manifest.is_symlink() or not manifest.is_file() or size > _MAX_MANIFEST_BYTES:
            raise BundleError(f"expected a plain {MANIFEST} of at most 4 MiB in {root}")
        data = manifest.read_bytes()
        content = json.loads(data)
    except OSError as error:
        raise BundleError(f"cannot read {manifest}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{manifest} is not JSON: {error}") from error
    bundle = replace(_parse(root, content), sha256=hashlib.sha256(data).hexdigest())
    _check_listing(bundle)
    for file in {file for variant in bundle.variants for file in variant.files}:
        _read_checked(root, file)
    return bundle


def write_bundle(bundle: Bundle, contents: Mapping[str, bytes]) -> None:
    """Write a bundle at ``bundle.path`` atomically, and replace an older one.

    Args:
        bundle: Bundle to write.
        contents: Bytes by path for every file that the variants list.

    Raises:
        BundleError: The contents are not those listed, or the bundle could not be read back.
    """
    listing = {file.path for variant in bundle.variants for file in variant.files}
    if set(contents) != listing:
        raise BundleError(f"expected contents for {sorted(listing)}, got {sorted(contents)}")

    def fill(folder: Path) -> None:
        for name, data in contents.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        (folder / MANIFEST).write_text(json.dumps(bundle.as_dict(), indent=1) + "\n", "utf-8")
        open_bundle(folder)  # only a readable bundle takes the place

    try:
        write_folder(bundle.path, fill)
    except OSError as error:
        raise BundleError(f"cannot write {bundle.path}: {error.strerror}") from error


def listed(path: str, data: bytes) -> BundleFile:
    """List a file with its size and SHA-256.

    Args:
        path: Path inside the bundle, ``folder/name``.
        data: Content of the file.
    """
    return BundleFile(path, hashlib.sha256(data).hexdigest(), len(data))


def _parse(root: Path, content: Any) -> Bundle:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise BundleError(
            f"expected bundle schema {SCHEMA} in {root}, got {schema!r}. "
            "Convert the checkpoint again with this version of fer-edge"
        )
    try:
        labels = check_label_list(_strings(content["labels"]))
        if not labels:
            raise ValueError("expected at least one label")
        size = _number(content["crop"]["size_px"], 8, 4096)
        if content["crop"]["kernel"] != "halve-bilinear":
            raise BundleError(f"{root} asks for an unknown resize kernel")
        classes = content["outputs"]["probabilities"]["shape"]
        if classes != [None, len(labels)]:
            raise BundleError(
                f"{root} names {len(labels)} labels, but its networks give {classes} probabilities"
            )
        variants = tuple(
            _parse_variant(root, entry, f"variants.{i}")
            for i, entry in enumerate(content["variants"])
        )
        bundle = Bundle(
            path=root,
            labels=labels,
            crop=CropRule(int(size), _number(content["crop"]["margin"], 0, 2)),
            temperature=_number(content["temperature"], 1e-3, 1e3),
            abstain_below=_number(content["abstain_below"], 0, 1),
            embedding_dim=int(_number(content["embedding_dim"], 1, 1e6)),
            provenance=_dict(content["provenance"]),
            variants=variants,
        )
    except FerEdgeError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{root / MANIFEST}: {error}") from error
    except ValueError as error:
        raise BundleError(
            f"{root / MANIFEST}: {error}. Copy the bundle again, or convert the checkpoint again"
        ) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BundleError(f"{root / MANIFEST} is incomplete or malformed: {error!r}") from error
    for key in ("input", "outputs"):
        if content.get(key) != (expected := bundle.as_dict()[key]):
            raise BundleError(
                f"expected the {key} contract of {root} to be {expected}, got {content.get(key)}"
            )
    names = [variant.name for variant in bundle.variants]
    if not names or len(set(names)) != len(names):
        raise BundleError(f"expected different variants in {root}, got {names}")
    return bundle


def _parse_variant(root: Path, entry: Any, where: str) -> Variant:
    files = []
    for item in entry["files"]:
        path, sha256 = item["path"], item["sha256"]
        parts = path.split("/")
        if len(parts) != 2 or not all(_SAFE.fullmatch(part) for part in parts):
            raise BundleError(
                f"{root} lists the file {path!r}. Expected folder/name inside the bundle"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise BundleError(f"{root} lists {path} without a SHA-256")
        files.append(BundleFile(path, sha256, int(_number(item["bytes"], 0, _MAX_FILE_BYTES))))
    target, precision = entry["target"], entry["precision"]
    if not (_WORD.fullmatch(target) and _WORD.fullmatch(precision)):
        raise BundleError(f"{root} names a variant {target!r}/{precision!r}")
    if entry["entry"] not in [file.path for file in files]:
        raise BundleError(f"{root}: variant {target}/{precision} starts at an unlisted file")
    lowest, highest = entry["batch"]["min"], entry["batch"]["max"]
    if highest is not None and lowest > highest:
        raise ValueError(f"expected a batch range, got {lowest} to {highest}")
    raw = entry["parity"]
    parity = None if raw is None else ParityReport.parse(raw, f"{where}.parity")
    unproven = read_optional(entry, "unproven", where, read_text)
    if parity is not None and unproven is not None:
        raise ValueError(f"expected either {where}.parity or {where}.unproven, got both")
    return Variant(
        target=target,
        precision=precision,
        entry=entry["entry"],
        files=tuple(files),
        needs=_dict(entry["needs"]),
        batch={
            "min": int(_number(lowest, 1, 2**20)),
            "max": None if highest is None else int(_number(highest, 1, 2**20)),
        },
        tools=_dict(entry["tools"]),
        parity=parity,
        unproven=unproven,
        speed=None if entry["speed"] is None else Speed.parse(entry["speed"], f"{where}.speed"),
    )


def _check_listing(bundle: Bundle) -> None:
    listing = {MANIFEST} | {file.path for variant in bundle.variants for file in variant.files}
    present = set()
    for entry in bundle.path.rglob("*"):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise BundleError(f"{entry} is a link or a device. A bundle holds plain files only")
        if entry.is_file():
            present.add(entry.relative_to(bundle.path).as_posix())
    if extra := sorted(present - listing):
        raise BundleError(
            f"{bundle.path} holds files that it does not list: {', '.join(extra)}. Remove them"
        )
    if missing := sorted(listing - present):
        raise BundleError(
            f"{bundle.path} lacks {', '.join(missing)}. Copy it again from where it was built"
        )


def _read_checked(root: Path, file: BundleFile) -> bytes:
    path = root / file.path
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == file.bytes else b""
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}") from error
    if size != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
        raise BundleError(
            f"{path} is not the file that the bundle lists (size or SHA-256 differs). "
            "Copy the bundle again from where it was built"
        )
    return data


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r}")
    if not low <= value <= high:  # NaN fails both
        raise ValueError(f"expected a number between {low} and {high}, got {value!r}")
    return float(value)


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError(f"expected a list of names, got {value!r}")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected named values, got {value!r}")
    return value
