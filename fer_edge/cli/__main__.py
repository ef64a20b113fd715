"""``python -m fer_edge.cli``, for torchrun and for machines without scripts on PATH."""

from fer_edge.cli import main

if __name__ == "__main__":
    main()
