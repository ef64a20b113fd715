"""The only reader and writer of bundles: a folder ``NAME.fer`` with everything the car needs.

``bundle.json`` describes one trained network and its *variants* (target + precision). Files are
listed with size and SHA-256; two variants that run the same file list the same one. A bundle is
hostile until checked: nothing outside its folder is followed, nothing unlisted is accepted, and
an engine only ever sees bytes whose hash was just compared.
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
from fer_edge.labels import check_label_list
from fer_edge.preprocess import CropRule

SCHEMA = 1
MANIFEST = "bundle.json"
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_FILE_BYTES = 2 * 1024**3
"""ONNX and protobuf end there; a file is read whole before an engine sees it."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class BundleFile:
    """One listed file. path is relative to the bundle, ``folder/name``."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Variant:
    """One way to run the network.

    entry: the path of the file that the engine is given first. needs: what the machine must offer
    (for OpenVINO ``{"cpu_capability": "BF16"}``). batch: the range accepted; ``max`` None means
    any. parity: the report it passed against the checkpoint. speed: latency where it was
    converted; the order in which variants are tried follows from it.
    """

    target: str
    precision: str
    entry: str
    files: tuple[BundleFile, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int | None] = field(default_factory=lambda: {"min": 1, "max": None})
    tools: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.target}/{self.precision}"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. labels are in the order of the network's outputs."""

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
        """Raises BundleError, listing what there is."""
        for variant in self.variants:
            if (variant.target, variant.precision) == (target, precision):
                return variant
        raise BundleError(
            f"{self.path} has no variant {target}/{precision}. "
            f"It has {', '.join(v.name for v in self.variants)}"
        )

    def read(self, variant: Variant) -> dict[str, bytes]:
        """The variant's files by path, each compared with its hash as it was read."""
        return {file.path: _read_checked(self.path, file) for file in variant.files}

    def as_dict(self) -> dict[str, Any]:
        """What bundle.json holds."""
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
            "variants": [asdict(variant) for variant in self.variants],
        }


def open_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle: schema, labels, every listed file's size and hash, nothing else.

    Raises BundleError with what is wrong and what to do. No engine is touched.
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
    """Write a bundle at ``bundle.path``, whole or not at all; an older one there is replaced.

    contents: bytes by path for every file that the variants list.
    """

    wanted = {file.path for variant in bundle.variants for file in variant.files}
    if set(contents) != wanted:
        raise BundleError(f"expected contents for {sorted(wanted)}, got {sorted(contents)}")

    def fill(folder: Path) -> None:
        for name, data in contents.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        (folder / MANIFEST).write_text(json.dumps(bundle.as_dict(), indent=1) + "\n", "utf-8")
        open_bundle(folder)  # what is written is what will be read

    try:
        write_folder(bundle.path, fill)
    except OSError as error:
        raise BundleError(f"cannot write {bundle.path}: {error.strerror}") from error


def listed(path: str, data: bytes) -> BundleFile:
    """The listing of a file that is about to be written."""
    return BundleFile(path, hashlib.sha256(data).hexdigest(), len(data))


def _parse(root: Path, content: Any) -> Bundle:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise BundleError(
            f"expected bundle schema {SCHEMA} in {root}, got {found!r}. "
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
        variants = tuple(_parse_variant(root, entry) for entry in content["variants"])
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
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
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


def _parse_variant(root: Path, entry: Any) -> Variant:
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
        parity=_dict(entry["parity"]),
        speed=_dict(entry["speed"]),
    )


def _check_listing(bundle: Bundle) -> None:
    wanted = {MANIFEST} | {file.path for variant in bundle.variants for file in variant.files}
    found = set()
    for entry in bundle.path.rglob("*"):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise BundleError(f"{entry} is a link or a device. A bundle holds plain files only")
        if entry.is_file():
            found.add(entry.relative_to(bundle.path).as_posix())
    if extra := sorted(found - wanted):
        raise BundleError(f"{bundle.path} holds files that it does not list: {', '.join(extra)}")
    if missing := sorted(wanted - found):
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
