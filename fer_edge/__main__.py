"""``python -m fer_edge``: the ``fer-edge`` command where scripts are not on PATH."""

from fer_edge.cli import main

if __name__ == "__main__":
    main(prog_name="fer-edge")
