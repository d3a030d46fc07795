"""What pages explain: the first event, the rules of alerts, packages that are left out."""

import html
import json
import re
import shlex
import tomllib

from asu_stats.alert_rules import DEFAULTS
from asu_stats.dashboard.contents import alerts
from tests.support import Stats, request

HTML = {"accept": "text/html"}


def snippets(stats: Stats, path: str) -> list[str]:
    text = stats.client.get(path, headers=HTML).text
    return [html.unescape(found) for found in re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)]


def test_an_empty_server_says_how_to_send_a_first_event(sqlite_stats: Stats) -> None:
    command = shlex.split(next(text for text in snippets(sqlite_stats, "/") if "curl" in text))
    assert command[:2] == ["curl", "https://YOUR-SERVER/api/v1/stats/events"]
    event = json.loads(command[command.index("-d") + 1])
    assert sqlite_stats.post(event).json() == {"accepted": 1, "duplicates": 0}
    assert not [text for text in snippets(sqlite_stats, "/") if "curl" in text]


def test_every_rule_explains_itself(sqlite_stats: Stats) -> None:
    shown = snippets(sqlite_stats, "/alerts")
    text = sqlite_stats.client.get("/alerts", headers=HTML).text
    for rule in DEFAULTS:
        (lines,) = [each for each in shown if f'name = "{rule.name}"' in each]
        (given,) = tomllib.loads(lines)["alerts"]
        limits = {"above": rule.above, "below": rule.below}
        assert given == {"name": rule.name} | {k: v for k, v in limits.items() if v is not None}
        assert f"asu-stats alerts silence --rule {rule.name} --hours 4" in shown
        assert f'id="rule-{rule.name}"' in text
    assert {rule.watch for rule in DEFAULTS} <= alerts._WATCHED.keys() == alerts._REASONS.keys()


def test_packages_of_every_image_are_left_out_until_wanted(sqlite_stats: Stats) -> None:
    sqlite_stats.record(request("h1", packages=["base-files", "vim"]))

    def packages(path: str) -> list[str]:
        page = sqlite_stats.client.get(path, headers=HTML).text
        table = page[page.index('id="list"') :].partition("</table>")[0]
        found = re.findall(r"<th scope=\"row\"[^>]*>([^<]*)</th>", table)
        return [name.strip() for name in found]

    assert packages("/packages") == ["vim"]
    assert sorted(packages("/packages?packages=all")) == ["base-files", "vim"]
    kept = sqlite_stats.client.get("/packages?packages=all", headers=HTML).text
    assert 'name="packages" value="all"' in kept
    assert "sort=package&amp;packages=all" in kept
