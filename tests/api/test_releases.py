"""Versions are in release order wherever names break ties."""

import random
import re
from typing import Any

from tests.support import Stats, build, request

# As they came out; each list of an answer has them so where counts are equal.
ORDER = [
    *("unknown", "19.07-SNAPSHOT", "19.07.0-rc1", "19.07.0-rc2", "19.07.0-rc10", "19.07.0"),
    *("19.07.9", "19.07.10", "23.05.5", "24.10.0-rc1", "24.10.0", "SNAPSHOT"),
]
OWN = ["1.9", "1.10", "2.0-rc1", "2.0"]


def _recorded(stats: Stats) -> None:
    events: list[Any] = []
    for number, version in enumerate(ORDER):
        events += [
            request(f"h{number}", version=version, client="luci/1"),
            *build(f"h{number}"),
            request(f"f{number}", version=version, client="luci/1"),
            *build(f"f{number}", "failure", error_category="build", error_type="odd"),
        ]
    events += [request(f"o{n}", client=f"owut/{own}") for n, own in enumerate(OWN)]
    random.Random(7).shuffle(events)
    stats.record(*events)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["version"] for row in rows]


def test_every_list_of_versions_is_in_the_order_of_their_release(stats: Stats) -> None:
    _recorded(stats)
    common = "24.10.2"  # of the requests of owut: more than one, so it is first
    assert _names(stats.get("versions")) == [common, *ORDER]
    assert _names(stats.get("versions", target="ath79/generic")) == [common, *ORDER]
    assert _names(stats.get("diff-packages")["by_version"]) == [common, *ORDER]
    assert _names(stats.get("performance")["by_version"]) == ORDER
    errors = stats.get("errors")
    assert _names(errors["by_version"]) == ORDER
    assert errors["by_category"][0]["top_errors"][0]["affected_versions"] == ORDER[:10]
    assert _names(stats.get("errors/types")[0]["top_versions"]) == ORDER[:10]
    assert _names(stats.get("clients")[0]["top_versions"]) == ORDER[:5]
    luci, owut = stats.get("clients/luci"), stats.get("clients/owut")
    assert _names(luci["top_versions"]) == ORDER[:5]
    assert [row["client_version"] for row in owut["client_versions"]] == OWN
    of_a_day = stats.get("versions/timeseries", days=1)
    assert [row["version"] for row in of_a_day] == [common, *ORDER[:7], None]


def test_what_was_met_later_has_its_place(stats: Stats) -> None:
    for number, version in enumerate(("19.07.10", "SNAPSHOT", "19.07.9", "19.07.9-rc1")):
        stats.record(request(f"h{number}", version=version))
        stats.get("versions")
    assert _names(stats.get("versions")) == ["19.07.9-rc1", "19.07.9", "19.07.10", "SNAPSHOT"]


def test_pages_sort_versions_by_release(stats: Stats) -> None:
    _recorded(stats)
    page = {"Accept": "text/html"}
    for path in ("/versions", "/performance"):
        for sort, wanted in (("version", ORDER), ("-version", ORDER[::-1])):
            html = stats.client.get(f"{path}?sort={sort}", headers=page).text
            table = html.partition('id="list"')[2].partition("</table>")[0]
            found = re.findall(r'<th scope="row"[^>]*><a[^>]*>\s*([^<\s]+)', table)
            assert [name for name in found if name != "24.10.2"] == wanted, path
