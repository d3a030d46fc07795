"""Responses conform to the OpenAPI document."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData

from asu_stats.api import tokens
from asu_stats.builds.service import BuildService
from tests.api import fuzzing
from tests.builds.support import body, failure, success
from tests.conftest import sqlite_database
from tests.support import NOW, TOKEN, Stats, build, request

BUILD = "POST /api/v1/build"
STATUS = "GET /api/v1/build/{request_hash}"
EVENTS = "POST /api/v1/stats/events"
IMAGE = "GET /store/{path}"

REFUSALS = [400, 401, 404, 405, 413, 415, 416, 422]
# What a valid request must heed beside its schema. Any other refusal of one is a bug.
RULES = (
    "either days, or start and end",
    "expected a day not after",
    "any of version, target and profile together",
    "a time range of at most 10000 buckets",
    "hours are kept from",
    "is more than 5 minutes in the future",
    "is more than 24 hours in the future",
    "this server's clock is wrong",
    "a year from 1970 to 9998",
    "or later (oldest_event)",
    "expected an absolute URI",
    "Range: expected",
    "the image has no such bytes",
    "There is no such rule",
    "A silence needs a rule or a subject",
    "Names and reasons have at most",
)

pytestmark = fuzzing.campaign

SILENCES = "/alerts/silences"

# Most times of the default generator lie in the future, where no event may.
LATEST = NOW.replace(tzinfo=None)
PAST = st.datetimes(LATEST - timedelta(days=20_000), LATEST, timezones=st.just(UTC))


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    """Write a line per event; what is no list is one line."""
    del context
    items = value if isinstance(value, list) else [value]
    return "".join(f"{json.dumps(item)}\n" for item in items).encode()


schemathesis.openapi.format("date-time", PAST.map(datetime.isoformat))


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A service that has something to say, and a queue that does not fill up."""
    with Stats.on(
        sqlite_database(request),
        tmp_path / "spool",
        store_directory=tmp_path / "store",
        max_pending_jobs=10**9,
    ) as stats:
        record(stats)
        build_the_example(stats)
        yield stats


def record(stats: Stats) -> None:
    earlier = NOW - timedelta(days=3)
    stats.record(
        request("h1"),
        build("h1"),
        request("h2", earlier, client="owut/1", version="23.05.5"),
        build("h2", "failure", end=earlier, error_message="disk full"),
        request("h3", outcome="rejected", error_message="Unsupported version: 1"),
    )


def build_the_example(stats: Stats) -> None:
    """Make the image that the document takes as its example."""
    builds = service_of(stats)
    post = stats.client.get("/openapi.json").json()["paths"]["/api/v1/build"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    answer = post["responses"]["200"]["content"]["application/json"]["example"]
    assert stats.client.post("/api/v1/build", json=example).status_code == 202
    job = builds.queue.claim("w1")
    assert job
    ending, directory = success(builds, job.build_id)
    name = answer["images"][0]["name"]
    (directory / ending.images[0]).rename(directory / name)
    ending = replace(ending, images=(name,))
    publish = partial(builds.images.publish, directory, answer["request_hash"])
    builds.queue.finish(job, ending, publish=publish)


def service_of(stats: Stats) -> BuildService:
    return BuildService(stats.engine, stats.settings, stats.recorder.record)


@pytest.fixture
def schema(service: Stats) -> schemathesis.BaseSchema:
    """The operations for everybody and for senders."""
    return schema_of(service, TOKEN).exclude(path_regex=SILENCES)


@pytest.fixture
def operator_schema(service: Stats) -> schemathesis.BaseSchema:
    """The operations for operators."""
    token = tokens.create(service.engine, "jane", "operator")
    return schema_of(service, token).include(path_regex=SILENCES)


def schema_of(service: Stats, token: str) -> schemathesis.BaseSchema:
    config = schemathesis.Config.from_dict(
        {
            "seed": fuzzing.SEED,
            "generation": {"max-examples": fuzzing.examples(25), "database": "none"},
            "auth": {"openapi": {"token": {"bearer": token}}},
            "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.client.app, config=config)
    schema.hook(filter_failure)
    return schema


def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Tell whether a failure counts: not if the document says in words what happened."""
    del context
    if not isinstance(failure, RejectedPositiveData):
        return True
    if case.operation.label == BUILD:
        return response.status_code != 400
    return not any(rule in response.json()["detail"] for rule in RULES)


@dataclass(slots=True)
class Campaign:
    """What a run of schemathesis saw."""

    failures: list[str] = field(default_factory=list)
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    phases: set[str] = field(default_factory=set)

    @classmethod
    def run(cls, schema: schemathesis.BaseSchema) -> "Campaign":
        campaign = cls()
        for event in from_schema(schema).execute():
            match event:
                case events.ScenarioFinished():
                    campaign.phases.add(event.phase.value)
                    campaign.look_at(event.recorder)
                case events.NonFatalError():
                    campaign.failures.append(f"{event.label}: {event.value}")
                case events.SchemaAnalysisWarnings():
                    campaign.failures += map(str, event.warnings)
                case events.FatalError():
                    raise event.exception
        return campaign

    def look_at(self, recorder: ScenarioRecorder) -> None:
        for case_id, sent in recorder.interactions.items():
            if sent.response and case_id in recorder.cases:
                label = recorder.cases[case_id].value.operation.label
                self.statuses[label].add(sent.response.status_code)
        for check in chain.from_iterable(recorder.checks.values()):
            if found := check.failure_info:
                shown = found.code_sample[:2000]
                self.failures.append(f"{check.name}: {found.failure.message}\n{shown}")


def test_every_operation_is_as_documented(schema: schemathesis.BaseSchema) -> None:
    campaign = Campaign.run(schema)
    assert not campaign.failures, "\n\n".join([f"seed {fuzzing.SEED}", *campaign.failures[:10]])

    # It must have seen something: every operation at work, and refusing.
    assert campaign.phases >= {"examples", "coverage", "fuzzing", "stateful"}
    labels = {
        f"{method.upper()} {path}"
        for path, methods in schema.raw_schema["paths"].items()
        for method in methods
        if SILENCES not in path
    }
    assert labels == campaign.statuses.keys()
    for label, statuses in campaign.statuses.items():
        assert statuses & {200, 206, 307}, label
        assert 405 in statuses, label
    assert campaign.statuses[BUILD] >= {200, 202, 400, 415, 422}
    assert campaign.statuses[EVENTS] >= {200, 401, 413, 415, 422}
    assert campaign.statuses[STATUS] >= {200, 404}
    assert 404 in campaign.statuses[IMAGE]  # whole or in part depends on the seed


def test_silences_are_as_documented(operator_schema: schemathesis.BaseSchema) -> None:
    campaign = Campaign.run(operator_schema)
    assert not campaign.failures, "\n\n".join([f"seed {fuzzing.SEED}", *campaign.failures[:10]])
    assert len(campaign.statuses) == 3
    for label, statuses in campaign.statuses.items():
        assert statuses & {200, 201, 204}, label
        assert statuses >= {401, 422}, label


def test_builds_at_every_stage_are_as_documented(
    service: Stats, schema: schemathesis.BaseSchema
) -> None:
    """A hash that is guessed says 404: these are known."""
    builds = service_of(service)
    post, get = (schema.find_operation_by_label(label) for label in (BUILD, STATUS))
    assert post
    assert get
    seen = []

    def ask(profile: str) -> None:
        asked = post.Case(body=body(profile=profile), media_type="application/json")
        status = get.Case(path_parameters={"request_hash": asked.call().json()["request_hash"]})
        for case in (asked, status):
            answer = case.call_and_validate(excluded_checks=[not_a_server_error])
            seen.append((answer.status_code, answer.json()["detail"]))

    ask("p1")
    job = builds.queue.claim("w1")
    assert job
    ask("p1")
    builds.queue.finish(job, failure("no"))
    ask("p1")
    ask("p2")
    job = builds.queue.claim("w1")
    assert job
    ending, directory = success(builds, job.build_id)
    publish = partial(builds.images.publish, directory, job.request_hash)
    builds.queue.finish(job, ending, publish=publish)
    ask("p2")
    assert seen[::2] == seen[1::2]
    assert seen[::2] == [
        (202, "queued"),
        (202, "started"),
        (500, "Error: no"),
        (202, "queued"),
        (200, "done"),
    ]
