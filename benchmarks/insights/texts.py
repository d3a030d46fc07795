"""Fingerprints of the labelled error texts, of variants of them, and of hostile texts."""

import random
import statistics
import time
from collections import defaultdict
from typing import Final

from asu_stats import fingerprints
from benchmarks.report import Results, Table, Target
from tests.test_error_types import HOSTILE
from tests.test_fingerprints import ROWS, SAME, starting, variant

_VARIANTS: Final = 50  # of each text


def run(results: Results, _days: int, _per_day: int) -> None:
    """Compare fingerprints with what a person calls the same."""
    label: dict[str, int] = {text: number for number, (text, _, _) in enumerate(ROWS)}
    for group in SAME:
        texts = [starting(each) for each in group]
        for text in texts:
            label[text] = label[texts[0]]
    by_fingerprint: dict[str, set[int]] = defaultdict(set)
    by_label: dict[int, set[str]] = defaultdict(set)
    rng = random.Random(1)
    strayed = made = 0
    for text, category, kind in ROWS:
        own = fingerprints.of(text, category, kind).fingerprint
        by_fingerprint[own].add(label[text])
        by_label[label[text]].add(own)
        for _ in range(_VARIANTS):
            made += 1
            other = fingerprints.of(variant(rng, text), category, kind).fingerprint
            strayed += other != own
            by_fingerprint[other].add(label[text])
    mixed = sum(len(labels) > 1 for labels in by_fingerprint.values())
    split = sum(len(names) > 1 for names in by_label.values())
    hostile = [fingerprints.of(text, "unknown", "unknown").fingerprint for text in HOSTILE]
    merged = len(set(hostile) & by_fingerprint.keys())
    took = []
    for text, category, kind in ROWS:
        fingerprints.pattern_of.cache_clear()
        start = time.process_time()
        fingerprints.of(text, category, kind)
        took.append(1e3 * (time.process_time() - start))
    table = Table(
        "Fingerprints",
        (
            "texts",
            "groups of a person",
            "variants",
            "strayed",
            "split",
            "mixed",
            "ms a text",
            "p99",
        ),
        [
            (
                *(len(ROWS), len(by_label), made, strayed, split, mixed),
                *(statistics.median(took), statistics.quantiles(took, n=100)[98]),
            )
        ],
        "Strayed: variants with another fingerprint than their text. Split and mixed: groups with "
        f"several fingerprints, fingerprints with several groups. {len(HOSTILE)} hostile texts "
        f"have {len(set(hostile))} fingerprints.",
    )
    targets = [
        Target("fingerprints", "variants that strayed", strayed, "at most", 0),
        Target("fingerprints", "groups that were split or mixed", split + mixed, "at most", 0),
        Target("fingerprints", "hostile texts among them", merged, "at most", 0),
        Target("fingerprints", "ms a text, p99", table.rows[0][-1], "at most", 5),  # type: ignore[arg-type]
    ]
    results.add("fingerprints", {"texts": len(ROWS), "variants": made}, [table], targets)
