"""Verification of variants, beside the build of the next ones where nothing is timed."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

import torch

from fer_edge.backends.base import Batch, Outputs, Session
from fer_edge.bundle import Variant
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.simulation import Simulation
from fer_edge.converters.pipeline.verify_variant import ParityCheck, verify_variant
from fer_edge.errors import ConversionError
from fer_edge.progress import Say

_BESIDE = 2
"""Stand-ins and simulators that run at a time, each on one core."""


class Judges:
    """Threads that verify variants; ``close`` ends what still runs.

    An engine on its own chip is verified at once, so that the build of another one, which may time
    its kernels, has the chip to itself. A stand-in or a simulator runs in a thread.

    Args:
        say: Receives the sentences about each variant, together, in the caller's thread: a build
            may hide what other threads print.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._unsaid: SimpleQueue[list[str]] = SimpleQueue()
        self._ended = threading.Event()
        self._torch_threads = torch.get_num_threads()
        # One face at a time is too little work for several threads of torch, which would wait for
        # each other: a conversion to Core ML took 231 s with two, and 95 s with one.
        self._pool = ThreadPoolExecutor(_BESIDE, "judge", lambda: torch.set_num_threads(1))

    def close(self) -> None:
        """End what still runs."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)

    def verify(self, built: BuiltVariant, check: ParityCheck) -> Future[Variant]:
        """Verify a variant, now or beside what follows.

        Args:
            built: Variant with an open session.
            check: Faces and reference outputs to compare with.

        Returns:
            The variant with its report, or what ``verify_variant`` raises.

        Raises:
            EngineError: An engine on its own chip fails on a face.
        """
        if not built.on_hardware:
            verdict = self._pool.submit(self._verify, built, check)
        else:
            verdict = Future()
            verdict.set_result(self._verify(built, check))
        self.say_finished()
        return verdict

    def say_finished(self) -> None:
        """Say the sentences about the variants that were verified since the last call."""
        while not self._unsaid.empty():
            for sentence in self._unsaid.get():
                self._say(sentence)

    def _verify(self, built: BuiltVariant, check: ParityCheck) -> Variant:
        assert built.session is not None
        sentences: list[str] = []
        session = _Ending(built.session, self._ended)
        try:
            variant = verify_variant(replace(built, session=session), check, sentences.append)
        finally:
            if isinstance(built.session, Simulation):  # gigabytes, and nothing uses it again
                built.session.close()
        self._unsaid.put(sentences)
        return variant


class _Ending:
    """Session that takes no further face once the conversion has ended."""

    def __init__(self, session: Session, ended: threading.Event) -> None:
        self._session, self._ended = session, ended

    def run(self, batch: Batch) -> Outputs:
        if self._ended.is_set():
            raise ConversionError("the conversion ended before this variant was verified")
        return self._session.run(batch)

    def close(self) -> None:
        self._session.close()
