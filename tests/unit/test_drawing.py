"""Pictures: well-formed, the same for the same data, and saying in words what they show."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from swarmbook.show.curves import Curve, curves
from swarmbook.show.drawing import SIGNS, Card, Part, as_image, busy, states, timeline, topology
from swarmbook.show.load import load

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)
PARTS = st.builds(Part, WORDS, WORDS, st.sampled_from(list(SIGNS)))
CARDS = st.lists(st.builds(Card, WORDS, st.lists(PARTS, max_size=6).map(tuple)), max_size=9)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]


def inside(svg: str) -> bool:
    """No rectangle stands out of the picture."""
    root = ET.fromstring(svg)
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [e.attrib for e in root.iter() if e.tag.endswith("}rect")]
    return all(
        float(b["x"]) + float(b["width"]) <= wide + 1 and float(b["y"]) + float(b["height"]) <= high for b in boxes
    )


@given(CARDS)
def test_a_topology_of_anything(cards: list[Card]) -> None:
    svg = topology(cards)
    assert inside(svg) and svg == topology(cards) and "id=" not in svg
    reported = ET.fromstring(svg).attrib["aria-label"]
    assert all(card.name in reported and all(part.word.rstrip() in reported for part in card.parts) for card in cards)


def test_what_is_broken_is_told_by_a_sign_and_a_word_as_well() -> None:
    svg = topology(
        [
            Card("sw1", (Part("engine", "active", "ok"), Part("Galera", "gone", "bad"))),
            Card("sw2", (Part("engine", "", "none"),)),
        ]
    )
    assert "sw1 ✘" in texts(svg) and "✘ gone" in texts(svg) and "✔ active" in texts(svg) and "sw2" in texts(svg)
    assert svg.count("edge-bad") == 3, "once in use, twice in the style"


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e4), st.sampled_from(["a", "b<", "c&d"]), st.sampled_from(["Synced", "Joiner", "not running"])
        ),
        max_size=40,
    )
)
def test_states_of_anything(samples: list[tuple[float, str, str]]) -> None:
    samples.sort()
    svg = states(samples)
    assert inside(svg) and all(any(member in text for text in texts(svg)) for _, member, _ in samples)


def test_states_from_when_to_when() -> None:
    svg = states(
        [
            (0, "sw1", "starting"),
            (1, "sw1", "starting"),
            (2, "sw1", "Synced"),
            (2, "sw2", "starting"),
            (8, "sw2", "Joiner"),
            (10, "sw2", "Synced"),
        ]
    )
    assert (
        ET.fromstring(svg)
        .attrib["aria-label"]
        .endswith(
            "sw1: starting from 0.0 s, Synced from 2.0 s; sw2: starting from 2.0 s, Joiner from 8.0 s, Synced from 10.0 s"
        )
    )
    assert "starting" in texts(svg) and "10.0 s" in texts(svg)


@given(st.lists(st.tuples(st.sampled_from(["here", "sw1", "sw<2>"]), st.floats(0, 100), st.floats(0, 50)), max_size=60))
def test_a_timeline_of_anything(work: list[tuple[str, float, float]]) -> None:
    svg = timeline([(host, begin, begin + took) for host, begin, took in work])
    assert inside(svg) and len(svg) < 100_000


def test_stretches_that_the_eye_cannot_tell_apart_are_one_bar() -> None:
    work = [("sw1", at / 1000, at / 1000 + 0.0005) for at in range(5000)] + [("sw1", 9.0, 10.0)]
    assert timeline(work).count('class="work"') == 2


def test_what_runs_at_the_same_time_counts_once() -> None:
    assert busy([(0, 2), (1, 3), (5, 6)]) == 4 and busy([]) == 0
    assert "sw1 4.0 s, of 6.0 s" in timeline([("sw1", 0, 2), ("sw1", 1, 3), ("sw1", 5, 6)])


def test_as_an_image_it_is_whole_and_says_the_same_words() -> None:
    svg = topology([Card('a"<&', (Part("engine", "é ✔", "ok"),))])
    (image,) = ET.fromstring(f"<p>{as_image(svg)}</p>")
    assert image.attrib["alt"] == ET.fromstring(svg).attrib["aria-label"]
    kind, _, data = image.attrib["src"].partition(";base64,")
    assert kind == "data:image/svg+xml" and base64.b64decode(data).decode() == svg


COLUMN = st.tuples(st.floats(0, 5000), st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(1, 100))))


@given(
    st.floats(0, 3600),
    st.sampled_from([0.25, 1.0, 60.0]),
    st.lists(COLUMN, max_size=30),
    st.lists(st.tuples(st.floats(0, 4000), st.floats(0, 60)), max_size=5),
    st.lists(st.tuples(st.floats(0, 4000), st.sampled_from(["a", "b<", "c" * 60])), max_size=5),
)
def test_a_load_of_anything(
    begin: float,
    wide: float,
    rows: list[tuple[float, tuple[float, float] | None]],
    gaps: list[tuple[float, float]],
    writers: list[tuple[float, str]],
) -> None:
    columns = [(begin + n * wide, rate, *(took or (None, None))) for n, (rate, took) in enumerate(rows)]
    drawn = load(columns, wide, [(at, at + long) for at, long in gaps], sorted(writers), "A load")
    assert inside(drawn) and "id=" not in drawn
    reported = ET.fromstring(drawn).attrib["aria-label"]
    assert all(name in reported for _, name in writers)
    assert reported.count("without a commit") == len([1 for at, long in gaps if _shown(at, long, columns, wide)])


def _shown(at: float, long: float, columns: list[tuple[float, ...]], wide: float) -> bool:
    begin = columns[0][0] if columns else 0.0
    return at < max(columns[-1][0] + wide if columns else 1.0, begin + 1.0) and at + long > begin


def test_a_load_says_what_it_shows() -> None:
    drawn = load([(0.0, 190.0, 0.01, 0.05), (1.0, 0.0, None, None)], 1.0, [(1.0, 2.0)], [(0.0, "galera-sw1")], "A load")
    assert (
        "no commit for 1.0 s" in texts(drawn) and "galera-sw1 is the writer" in texts(drawn) and "200" in texts(drawn)
    )


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_words_of_a_load_can_be_read_on_light_and_dark_ground() -> None:
    """WCAG 2: 4.5 for words, 3 for what is drawn."""
    light, dark = load([], 1.0, [], [], "A load").partition("@media")[::2]
    for style in (light, dark):
        ground = re.search(r"\.page { fill: (#\w+)", style)[1]
        for name, least in (("ink { fill", 4.5), ("faint { fill", 4.5), ("work { fill", 3), ("mark { stroke", 3)):
            colour = re.search(rf"\.{name}: (#\w+)", style)[1]
            high, low = sorted((_luminance(ground), _luminance(colour)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= least, (name, ground, colour)


def test_a_curve_of_one_look_is_seen_and_its_time_is_said() -> None:
    drawn = curves([Curve("sw1", [(0.0, 3.0)])], "Members")
    assert " h3" in drawn and "now" in drawn and "-60 s" in drawn and "-0" not in drawn
    later = curves([Curve("sw1", [(-600.0, 3.0), (0.0, 3.0)])], "Members")
    assert " h3" not in later and "-10.0 min" in later and "-5.0 min" in later
