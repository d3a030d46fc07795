"""Alert rules as data: the watched value, its limit, and how long it must exceed the limit."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Watched: TypeAlias = Literal[
    "success_rate",
    "success_rate_change",
    "failure_rate",
    "client_failure_rate",
    "avg_duration",
    "avg_duration_change",
    "cache_hit_rate",
    "cache_hit_rate_change",
    "queue_length",
    "stalled_minutes",
]
# Alerts of one family become one incident.
Family: TypeAlias = Literal["failures", "durations", "cache", "queue"]
Severity: TypeAlias = Literal["warning", "critical"]


class Value(NamedTuple):
    """A value that rules can watch: unit, family of its incidents, and range."""

    unit: str
    family: Family
    lowest: int
    highest: int


_UNLIMITED: Final = 10**9  # more than any server reaches
VALUES: Final[Mapping[Watched, Value]] = {
    "success_rate": Value("%", "failures", 0, 100),
    "success_rate_change": Value("points", "failures", -100, 100),
    "failure_rate": Value("points", "failures", -100, 100),
    "client_failure_rate": Value("%", "failures", 0, 100),
    "avg_duration": Value("s", "durations", 0, _UNLIMITED),
    "avg_duration_change": Value("%", "durations", -100, _UNLIMITED),
    "cache_hit_rate": Value("%", "cache", 0, 100),
    "cache_hit_rate_change": Value("points", "cache", -100, 100),
    "queue_length": Value("builds", "queue", 0, _UNLIMITED),
    "stalled_minutes": Value("min", "queue", 0, _UNLIMITED),
}


class Rule(BaseModel):
    """One rule. It fires when its value has been beyond the limit for `for_minutes`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_strip_whitespace=True
    )

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$", description="Name of the rule.")
    watch: Watched = Field(description="The watched value.")
    above: float | None = Field(default=None, description="Fires above this value,")
    below: float | None = Field(
        default=None, description="or below this value. One of the two is required."
    )
    recover: float | None = Field(
        default=None,
        description="Recovered once back on this side of this value. Default: the limit.",
    )
    hours: int = Field(default=24, ge=1, le=168, description="Hours that are evaluated.")
    against_hours: int | None = Field(
        default=None,
        ge=1,
        le=168,
        description="Hours before those that a change is compared with. Default: the same number.",
    )
    min_sample: int = Field(
        default=20, ge=1, le=10**9, description="Minimum number of builds or requests."
    )
    chance: float = Field(
        default=1e-4,
        gt=0,
        lt=1,
        description="Significance level of comparisons (maximum p-value).",
    )
    for_minutes: float = Field(
        default=5, ge=0, le=10_080, description="Minutes from pending to firing."
    )
    recover_minutes: float = Field(
        default=15,
        ge=0,
        le=10_080,
        description="Minutes it must have recovered to be resolved.",
    )
    severity: Severity = Field(default="warning", description="Severity of its incidents.")
    enabled: bool = Field(default=True, description="Whether the rule is evaluated.")
    summary: str = Field(default="", max_length=200, description="Title of its incidents.")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either above or below")
        if self.recover is not None and self.is_beyond(self.recover):
            raise ValueError("recover: expected a value on the other side of the limit")
        if not self.summary.isprintable():
            raise ValueError("summary: expected one line of text")
        self._check_reach()
        return self

    def _check_reach(self) -> None:
        """Reject limits out of range, and fractions instead of percent."""
        unit, _, least, most = VALUES[self.watch]
        is_percentage = unit == "%" and most == 100
        for name, value in (("", self.limit), ("recover: ", self.recover)):
            if is_percentage and value is not None and 0 < value < 1:
                raise ValueError(f"{name}expected percent, such as {value * 100:g}")
        highest = f"{most:,.0f} ({unit})"
        if self.above is not None and not least <= self.above < most:
            raise ValueError(f"above: expected at least {least} and below {highest}")
        if self.below is not None and not least < self.below <= most:
            raise ValueError(f"below: expected above {least} and at most {highest}")
        if self.recover is not None and not least <= self.recover <= most:
            raise ValueError(f"recover: expected from {least} to {highest}")

    @property
    def limit(self) -> float:
        """The limit, above or below."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None  # noqa: S101 - validated
        return limit

    @property
    def against(self) -> int:
        """The number of hours, before those evaluated, that a change is compared with."""
        return self.against_hours or self.hours

    @property
    def is_change(self) -> bool:
        """Whether the rule compares with the hours before."""
        return self.watch.endswith("_change")

    @property
    def unit(self) -> str:
        return VALUES[self.watch].unit

    @property
    def family(self) -> Family:
        """Alerts of one family become one incident."""
        return VALUES[self.watch].family

    def is_beyond(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        return value > self.limit if self.above is not None else value < self.limit

    def has_recovered(self, value: float) -> bool:
        """Return whether the value of a firing alert has recovered (hysteresis)."""
        limit = self.limit if self.recover is None else self.recover
        return value <= limit if self.above is not None else value >= limit


DEFAULTS: Final[tuple[Rule, ...]] = (
    # Fixed limits.
    Rule(
        name="success_rate_low",
        watch="success_rate",
        below=85,
        recover=87,
        for_minutes=15,
        summary="Low success rate",
    ),
    Rule(
        name="builds_slow",
        watch="avg_duration",
        above=300,
        recover=280,
        for_minutes=15,
        summary="Slow builds",
    ),
    Rule(
        name="cache_hit_rate_low",
        watch="cache_hit_rate",
        below=30,
        recover=33,
        min_sample=50,
        for_minutes=15,
        summary="Low cache hit rate",
    ),
    Rule(
        name="client_failures",
        watch="client_failure_rate",
        above=50,
        recover=45,
        summary="Most requests of a client fail",
    ),
    Rule(
        name="queue_long",
        watch="queue_length",
        above=100,
        recover=80,
        min_sample=1,
        for_minutes=60,
        summary="Long queue",
    ),
    # Builds are waiting, and none finishes.
    Rule(
        name="builds_stalled",
        watch="stalled_minutes",
        above=15,
        recover=5,
        min_sample=1,
        for_minutes=0,
        recover_minutes=5,
        severity="critical",
        summary="Queue is stalled",
    ),
    # Compared with the time range before.
    Rule(
        name="success_rate_falling",
        watch="success_rate_change",
        below=-7,
        recover=-4,
        for_minutes=15,
        summary="Success rate is falling",
    ),
    Rule(
        name="durations_rising",
        watch="avg_duration_change",
        above=40,
        recover=25,
        for_minutes=30,
        summary="Build times are rising",
    ),
    # A slow disk or mirror: half a day of it may not show in 24 hours.
    Rule(
        name="builds_slow_now",
        watch="avg_duration_change",
        above=40,
        recover=25,
        hours=3,
        against_hours=24,
        min_sample=10,
        for_minutes=15,
        summary="Build times rose suddenly",
    ),
    Rule(
        name="cache_hit_rate_falling",
        watch="cache_hit_rate_change",
        below=-20,
        recover=-12,
        min_sample=100,
        for_minutes=30,
        summary="Cache hit rate is falling",
    ),
    # A cache that has gone cold: half a day of it may not show in 24 hours.
    Rule(
        name="cache_cold",
        watch="cache_hit_rate_change",
        below=-20,
        recover=-10,
        hours=3,
        against_hours=24,
        for_minutes=15,
        summary="Cache hit rate dropped suddenly",
    ),
    # One version, target, kind of error or pair of them, far above its past and its siblings.
    Rule(
        name="failures_now",
        watch="failure_rate",
        above=15,
        recover=8,
        hours=3,
        min_sample=8,
        chance=1e-3,
        summary="Sudden rise in failures",
    ),
    # With few builds, three hours are too few for a test, and a day dilutes a fault of some hours.
    Rule(
        name="failures_over_hours",
        watch="failure_rate",
        above=12,
        recover=6,
        hours=8,
        min_sample=8,
        chance=1e-3,
        summary="More failures than usual over some hours",
    ),
    Rule(
        name="failures_today",
        watch="failure_rate",
        above=10,
        recover=5,
        min_sample=8,
        chance=1e-3,
        summary="More failures than usual over a day",
    ),
)


def merged(given: Sequence[object]) -> Sequence[object]:
    """Return the rules of the settings, merged with the defaults.

    A rule with the name of a default overrides only the keys that it states. Raises `ValueError`
    for a name that is given twice.
    """
    rules: dict[str, object] = {rule.name: rule for rule in DEFAULTS}
    seen = set()
    for item in given:
        if not isinstance(item, Mapping):
            return given
        name = str(item.get("name"))
        if name in seen:
            raise ValueError(f"{name}: two rules have this name")
        seen.add(name)
        base = rules.get(name)
        known = base.model_dump(exclude_unset=True) if isinstance(base, Rule) else {}
        if {"above", "below"} & item.keys():
            known = {key: value for key, value in known.items() if key not in _LIMITS}
        rules[name] = {**known, **item}
    return tuple(rules.values())


_LIMITS: Final = frozenset({"above", "below", "recover"})
