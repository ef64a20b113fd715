"""Train a network on pictures of your own, and run it as a bundle.

    pip install 'fer-edge[train,convert]'
    python examples/own_training.py [FOLDER] [--out own.fer]

FOLDER has train/CLASS/*.png and val/CLASS/*.png, crops of faces;
``fer-edge data split CLASSES -o FOLDER --as folders`` makes both from class folders. The network
starts from the shipped model, which takes minutes. Without FOLDER, a small network learns
composites of the package from nothing, which takes half a minute and teaches little.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from fer_edge import Predictor
from fer_edge.shipped import FACES


def class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def as_change(labels: list[str]) -> str:
    """Return the labels in quotes: YAML reads a bare ``no`` as false."""
    return f"labels={json.dumps(labels, ensure_ascii=False)}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, help="pictures in train/ and val/")
    parser.add_argument("--out", default="own.fer", type=Path, help="write the bundle here")
    words = parser.parse_args()
    if words.out.exists():
        sys.exit(f"{words.out} exists already. Choose another name: --out NAME.fer")
    if words.folder and not (words.folder / "train").is_dir():
        sys.exit(f"{words.folder} has no folder train. Run: fer-edge data split --help")
    # These import torch, which takes seconds: check the words first.
    from fer_edge.converters.pipeline.convert import convert
    from fer_edge.training.config.recipe import load_recipe
    from fer_edge.training.loop.train import train

    if words.folder:
        data = str(words.folder)
        labels = class_names(words.folder / "train")
        name, changes = "finetune", []
    else:
        data = f"{FACES}@drop=anger/disgust/fear/neutral"  # options of the source follow the @
        labels = ["happiness", "sadness", "surprise"]
        name = "cnn48"
        changes = ["data.holdout=0.2", "fit.epochs=2", "fit.lr=1e-3", "fit.workers=0"]
    # A recipe is one YAML file; each change has the form of --set.
    recipe = load_recipe(name, [as_change(labels), *changes])

    with tempfile.TemporaryDirectory() as work:
        best = train(recipe, data, Path(work, "run"))
        bundle = convert(best, ["onnxruntime"], words.out, ["fp32"], data=data)
    print(f"{bundle.path}: {', '.join(bundle.labels)}")
    with Predictor(bundle.path) as predictor:
        answer = predictor(FACES / "happiness.png")
    print(f"{answer.label} {answer.confidence:.2f}")


if __name__ == "__main__":
    main()
