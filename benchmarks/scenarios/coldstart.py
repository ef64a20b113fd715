"""A fresh process from start to first answer, one line of JSON; run by benchmarks.bench.

python -m fer_edge.benchmarks.scenarios.coldstart BUNDLE TARGET PRECISION
"""

from __future__ import annotations

import json
import sys
import time

started = time.perf_counter()

import numpy as np  # noqa: E402

from fer_edge import Predictor  # noqa: E402


def main() -> None:
    """Time the import, the load with all checks, and the first answer; and the memory after."""
    import psutil

    imported = time.perf_counter()
    predictor = Predictor(sys.argv[1], sys.argv[2], sys.argv[3])
    loaded = time.perf_counter()
    predictor(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    answered = time.perf_counter()
    print(
        json.dumps(
            {
                "import_s": imported - started,
                "load_s": loaded - imported,
                "first_answer_s": answered - loaded,
                "rss_bytes": psutil.Process().memory_info().rss,
            }
        )
    )


if __name__ == "__main__":
    main()
