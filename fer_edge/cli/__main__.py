"""``python -m fer_edge.cli``: the same as ``python -m fer_edge``, e.g. for torchrun."""

from fer_edge.cli import main

if __name__ == "__main__":
    main(prog_name="fer-edge")
