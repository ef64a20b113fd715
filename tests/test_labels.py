"""Labels are matched by name, whatever the source calls them and in whatever order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import labels
from fer_edge.errors import LabelError
from fer_edge.labels import (
    EMOTIONS,
    EMOTIONS_8,
    SOURCE_ORDERS,
    canonical,
    label_map,
    label_of_number,
)
from fer_edge.lookalikes import shape

SPELLINGS = {
    "anger": ["angry", "Anger", "MAD"],
    "contempt": ["contempt", "Contemptuous"],
    "disgust": ["disgust", "Disgusted"],
    "fear": ["fear", "Fearful", "afraid", "scared"],
    "happiness": ["Happy", "happiness", "joy"],
    "neutral": ["neutral", "Neutrality", "calm"],
    "sadness": ["sad", "Sadness"],
    "surprise": ["surprise", "Surprised"],
}
KNOWN = {spelling.lower() for all_ in SPELLINGS.values() for spelling in all_}
PAIRS = [(spelling, name) for name, all_ in SPELLINGS.items() for spelling in all_]

# What the sources themselves print for 0, 1, 2, ... (RAF-DB: for 1, 2, 3, ...).
PRINTED = {
    "fer2013-csv": "Angry Disgust Fear Happy Sad Surprise Neutral",
    "fer2013-folders": "angry disgust fear happy neutral sad surprise",
    "ferplus": "neutral happiness surprise sadness anger disgust fear contempt",
    "affectnet-8": "Neutral Happy Sad Surprise Fear Disgust Anger Contempt",
    "raf-db": "Surprise Fear Disgust Happiness Sadness Anger Neutral",
}

spelled = st.sampled_from(PAIRS)
padding = st.text(" \t\n", max_size=3)


def test_the_canonical_names_are_the_seven_in_alphabetical_order() -> None:
    assert EMOTIONS == (
        "anger",
        "disgust",
        "fear",
        "happiness",
        "neutral",
        "sadness",
        "surprise",
    )
    assert sorted({*EMOTIONS, "contempt"}) == list(EMOTIONS_8)


@pytest.mark.parametrize(("spelling", "name"), PAIRS)
def test_each_known_spelling_has_its_canonical_name(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


@given(spelled, padding, padding, st.sampled_from([str.lower, str.upper, str.title]))
def test_case_and_surrounding_space_do_not_matter(
    pair: tuple[str, str], before: str, after: str, case: Callable[[str], str]
) -> None:
    assert canonical(before + case(pair[0]) + after) == pair[1]


@given(st.text() | st.sampled_from(sorted(KNOWN)))
def test_any_text_is_a_canonical_name_or_a_label_error(text: str) -> None:
    if text.strip().lower() in KNOWN:
        name = canonical(text)
        assert name in EMOTIONS_8
        assert canonical(name) == name
    else:
        with pytest.raises(LabelError) as caught:
            canonical(text)
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize("source", SOURCE_ORDERS)
def test_each_source_order_is_the_order_that_the_source_prints(source: str) -> None:
    printed = tuple(canonical(name) for name in PRINTED[source].split())
    assert SOURCE_ORDERS[source][: len(printed)] == printed


@pytest.mark.parametrize("source", SOURCE_ORDERS)
def test_each_source_order_holds_all_seven_and_no_name_twice(source: str) -> None:
    order = SOURCE_ORDERS[source]
    assert set(order) >= set(EMOTIONS)
    assert len(set(order)) == len(order)


def test_only_ferplus_has_columns_that_are_no_emotion() -> None:
    foreign = {
        source: [name for name in order if name not in EMOTIONS_8]
        for source, order in SOURCE_ORDERS.items()
    }
    assert {source: names for source, names in foreign.items() if names} == {
        "ferplus": ["unknown", "not a face"]
    }


@given(st.sets(st.sampled_from([*EMOTIONS, "Happy", "joy", "SAD", "drowsy", "", "7", "calm"])))
def test_any_spelling_maps_or_is_refused(found: set[str]) -> None:
    means = {"Happy": "happiness", "joy": "happiness", "SAD": "sadness", "calm": "neutral"}
    meanings = [means.get(name, name) for name in found]
    unknown = found & {"", "7"}
    if unknown or len(set(meanings)) < len(meanings):
        with pytest.raises(LabelError) as caught:
            label_map(found, [*EMOTIONS, "drowsy"])
        assert all(repr(name) in str(caught.value) for name in found)  # lists what was found
    else:
        assert label_map(found, [*EMOTIONS, "drowsy"]) == {n: means.get(n, n) for n in found}


@given(st.sampled_from(sorted(SOURCE_ORDERS)), st.integers(-3, 12))
def test_any_number_has_one_name_or_none(order: str, number: int) -> None:
    names, first = SOURCE_ORDERS[order], int(order == "raf-db")
    if first <= number < first + len(names):
        assert label_of_number(number, order) == names[number - first]
    else:
        with pytest.raises(LabelError):
            label_of_number(number, order)


def test_a_long_list_of_labels_is_checked_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle.json of 4 MiB may have 300,000; each was compared with each."""
    calls: list[str] = []
    monkeypatch.setattr(labels, "shape", lambda name: (calls.append(name), shape(name))[1])
    names = tuple(f"own {number}" for number in range(2000))
    assert labels.check_label_list(names) == names
    assert len(calls) < 10 * len(names)
