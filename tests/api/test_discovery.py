"""`GET /api/v1/stats/` lists what is served, as it is served."""

from asu_stats.api import tokens
from asu_stats.reports.endpoints import REPORTS
from tests.support import Stats

PATH = "/api/v1/stats/"


def test_every_endpoint_of_the_statistics_is_listed(sqlite_prefixed: Stats) -> None:
    answer = sqlite_prefixed.client.get(PATH)
    assert answer.status_code == 200
    listed = {(one["path"], one["method"]): one for one in answer.json()["endpoints"]}
    paths = sqlite_prefixed.client.get("/openapi.json").json()["paths"]
    served = {
        (f"/stats{path}", method.upper()): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path.startswith(PATH) and not operation.get("deprecated")
    }
    assert listed.keys() == served.keys()
    for key, operation in served.items():
        assert listed[key]["summary"] == operation["summary"]
        names = [each["name"] for each in operation.get("parameters", ())]
        assert [each["name"] for each in listed[key]["parameters"]] == names
        assert listed[key]["docs"].endswith(operation["operationId"])
    for report in REPORTS:
        one = listed[f"/stats{PATH}{report.name}", "GET"]
        assert one["default_days"] == report.default_days
        assert ("text/csv" in one["media_types"]) == (report.row is not None)


def test_listed_paths_and_documents_exist(sqlite_prefixed: Stats) -> None:
    token = tokens.create(sqlite_prefixed.engine, "jane", "operator")  # silences need it
    sqlite_prefixed.client.headers["Authorization"] = f"Bearer {token}"
    found = sqlite_prefixed.client.get(PATH).json()
    for name in ("docs", "openapi"):
        assert sqlite_prefixed.client.get(found[name]).status_code == 200
    for one in found["endpoints"]:
        needed = [each["name"] for each in one["parameters"] if each["required"]]
        if one["method"] == "GET" and needed == []:
            assert sqlite_prefixed.client.get(one["path"]).status_code == 200, one["path"]


def test_it_is_strict_and_is_not_the_queue_of_the_build_service(sqlite_stats: Stats) -> None:
    assert sqlite_stats.client.get(f"{PATH}?days=3").status_code == 422
    assert sqlite_stats.client.get("/api/v1/stats").json() == {"queue_length": 0}
