"""Names and paths are checked before torch is imported, which takes seconds."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from fer_edge.shipped import FACES


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("train finetun --data FACES", 3, "Shipped recipes"),
        ("train finetune --data nowhere", 3, "nowhere"),
        ("train finetune --data FACES --weights no.pt", 3, "--weights default"),
        ("train finetune --data FACES --bundle a.zip", 4, "ends in .fer"),
        ("train finetune", 2, "--data FOLDER"),
        ("evaluate nowhere --data FACES", 4, "RUN/best"),
        ("evaluate default --data nowhere", 3, "nowhere"),
        ("embed --model nowhere.fer --data FACES -o e.npz", 4, "nowhere.fer"),
        ("convert nowhere --target onnxruntime -o a.fer", 4, "RUN/best"),
        ("convert default --target onnxruntime --data nowhere -o a.fer", 3, "nowhere"),
        ("convert default --target nochip -o a.fer", 5, "openvino, qnn, tensorrt"),
        ("convert default --target all --precision int3 -o a.fer", 5, "int3"),
        ("new nowhere", 3, "class folders"),
    ],
)
def test_a_wrong_name_needs_no_torch(
    run: Any, monkeypatch: pytest.MonkeyPatch, line: str, code: int, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run(*(str(FACES) if word == "FACES" else word for word in line.split()))
    assert result.exit_code == code, result.output
    assert words in result.output
