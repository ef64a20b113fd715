"""Counting what clients use."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fer_edge.errors import InputError
from fer_edge.service.limits import Buffer, RateLimit, ServiceLimits
from fer_edge.service.refusals import RefusedError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_may_save_up_its_burst_and_then_gets_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 5, clock=clock)
    for _ in range(5):
        limit.take("a")
    with pytest.raises(RefusedError) as refusal:
        limit.take("a")
    assert refusal.value.status == 429
    assert refusal.value.retry_after_s == pytest.approx(0.5)
    limit.take("b")  # others are not held up by it
    clock.now = 0.5
    limit.take("a")
    with pytest.raises(RefusedError):
        limit.take("a")
    clock.now = 1000
    for _ in range(5):
        limit.take("a")
    with pytest.raises(RefusedError):
        limit.take("a")


def test_being_refused_costs_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1.0, 1, clock=clock)
    limit.take("a")
    for _ in range(100):
        with pytest.raises(RefusedError):
            limit.take("a")
    clock.now = 1.0
    limit.take("a")


def test_only_so_many_clients_are_remembered() -> None:
    limit = RateLimit(1.0, 1, clients=10, clock=Clock())
    for number in range(1000):
        limit.take(str(number))
    assert len(limit._buckets) == 10


def test_bytes_are_taken_and_given_back() -> None:
    buffer = Buffer(10)
    buffer.take(7)
    with pytest.raises(RefusedError) as refusal:
        buffer.take(4)
    assert refusal.value.status == 503
    buffer.take(3)
    buffer.give_back(10)
    buffer.take(10)


@pytest.mark.parametrize("name", ["body_bytes", "pending", "head_s", "rate_hz"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        ServiceLimits(**{name: 0})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_hz", math.inf),
        ("drain_s", math.nan),
        ("rate_hz", "10"),
        ("pending", None),
        ("burst", 2.5),
        ("pixels", True),
    ],
)
def test_a_limit_is_a_finite_number_and_a_count_is_whole(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        ServiceLimits(**{name: value})
    assert ServiceLimits(rate_hz=10, pending=1).rate_hz == 10
