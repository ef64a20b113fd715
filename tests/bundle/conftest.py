"""Fixtures that damage a bundle and watch how it is refused."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.errors import BundleError
from fer_edge.manifest import sealed

Edit = Callable[[Path, Callable[[Any], object]], None]
Put = Callable[[Path, str, object], None]

# Python tells an audit hook about every file it opens. A hook cannot be taken away again, so
# there is one, and it notes something only inside ``watched``.
_opened: list[str] | None = None


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(os.fsdecode(args[0]) if not isinstance(args[0], int) else str(args[0]))


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    global _opened
    opened: list[str] = []
    _opened = opened
    try:
        yield opened
    finally:
        _opened = None


@pytest.fixture(scope="session", name="watched")
def _watched() -> Callable[[], AbstractContextManager[list[str]]]:
    """A context that lists the files that are opened in it."""
    return watched


@pytest.fixture(scope="session")
def refusal() -> Callable[[Path], str]:
    """Returns the message that refuses a bundle; fails if a file outside its folder is opened."""

    def message(bundle: Path) -> str:
        with watched() as opened, pytest.raises(BundleError) as caught:
            open_bundle(bundle)
        assert [
            name for name in opened if bundle.resolve() not in Path(name).resolve().parents
        ] == []
        return str(caught.value)

    return message


@pytest.fixture(scope="session")
def edit() -> Edit:
    """Changes a bundle's manifest with a function, and seals it again if it can be sealed."""

    def change_manifest(bundle: Path, change: Callable[[Any], object]) -> None:
        content = json.loads((bundle / MANIFEST).read_text())
        change(content)
        with contextlib.suppress(ValueError, RecursionError):
            content = sealed(content)
        (bundle / MANIFEST).write_text(json.dumps(content))

    return change_manifest


@pytest.fixture(scope="session")
def put(edit: Edit) -> Put:
    """Sets ``crop.size_px`` or ``variants.0.files.0.path`` in a bundle's manifest."""

    def set_value(bundle: Path, keys: str, value: object) -> None:
        def change(content: Any) -> None:
            *parents, last = keys.split(".")
            for key in parents:
                content = content[int(key) if isinstance(content, list) else key]
            content[int(last) if isinstance(content, list) else last] = value

        edit(bundle, change)

    return set_value


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_bundle(tmp_path_factory.mktemp("template") / "fake.fer")
