"""Examples for OpenAPI, one per question."""

from typing import Any, Final

_BUCKET: Final = {
    "timestamp": "2026-09-30",
    "requests": 400,
    "cache_hits": 200,
    "cache_hit_rate": 50.0,
    "successful_builds": 180,
    "failed_builds": 20,
    "success_rate": 90.0,
    "avg_build_duration": 125.0,
    "unique_clients": 15,
}
_PERIOD: Final = {
    "start": "2026-09-24",
    "end": "2026-09-30",
    "days": 7,
    "data_since": "2026-03-01",
    "incomplete": [],
}
_BUILDS: Final = {
    "cache_hits": 750,
    "cache_hit_rate": 50.0,
    "avg_build_duration": 115.0,
    "successful_builds": 690,
    "failed_builds": 60,
    "success_rate": 92.0,
}
_CLIENT: Final = {
    "client": "owut",
    "total_requests": 3000,
    "unique_builds": 800,
    "cache_hits": 2200,
    "cache_hit_rate": 73.33,
    "successful_builds": 750,
    "failed_builds": 50,
    "pending": 0,
    "success_rate": 93.75,
    "rejected_requests": 4,
    "unique_rejected_requests": 3,
    "top_versions": [{"version": "24.10.2", "requests": 2000}],
}

EXAMPLES: Final[dict[str, Any]] = {
    "overview": {
        "period": _PERIOD,
        "totals": {
            "requests": 10000,
            "unique_requests": 2500,
            "cache_hits": 5000,
            "cache_hit_rate": 50.0,
            "successful_builds": 4500,
            "failed_builds": 500,
            "success_rate": 90.0,
            "rejected_requests": 12,
            "unique_rejected_requests": 3,
            "cancelled_builds": 0,
        },
        "build_performance": {
            "avg_duration_seconds": 120.3,
            "median_duration_seconds": 110,
            "p95_duration_seconds": 250,
            "total_build_time_hours": 150.38,
        },
        "clients": {"total_unique": 50, "top_5": [{"client": "owut", "requests": 3000}]},
        "diff_packages": {
            "enabled": 7500,
            "disabled": 2500,
            "unknown": 0,
            "percentage_enabled": 75.0,
        },
    },
    "versions": [
        {
            "version": "24.10.2",
            "requests": 1500,
            "unique_targets": 25,
            **_BUILDS,
            "top_targets": [{"target": "ath79/generic", "requests": 600}],
        }
    ],
    "targets": [
        {
            "target": "ath79/generic",
            "requests": 1500,
            "unique_profiles": 50,
            **_BUILDS,
            "top_profiles": [{"profile": "tplink_archer-c7-v5", "requests": 300}],
        }
    ],
    "profiles": [{"profile": "tplink_archer-c7-v5", "requests": 1500, **_BUILDS}],
    "clients": [_CLIENT],
    "clients/{client}": {
        **_CLIENT,
        "period": _PERIOD,
        "top_versions_total": 1,
        "client_versions_total": 1,
        "top_targets_total": 1,
        "top_profiles_total": 1,
        "errors_total": 1,
        "client_versions": [{"client_version": "2026.07.08~db17536e-r1", "requests": 1800}],
        "top_targets": [{"target": "mediatek/filogic", "requests": 900}],
        "top_profiles": [{"profile": "glinet_gl-mt6000", "requests": 300}],
        "errors": [
            {"category": "build", "type": "package_not_found", "count": 40, "percentage": 74.07}
        ],
        "timeseries": [{**_BUCKET, "avg_build_duration": None, "unique_clients": 1}],
    },
    "packages": [
        {"package": "luci", "requests": 1800, "percentage": 36.0},
        {"package": "luci-ssl", "requests": 900, "percentage": 18.0},
    ],
    "diff-packages": {
        "overview": {
            "total_builds": 10000,
            "diff_packages_enabled": 7500,
            "diff_packages_disabled": 2500,
            "diff_packages_unknown": 0,
            "percentage_enabled": 75.0,
        },
        "by_version": [
            {
                "version": "24.10.2",
                "total": 5000,
                "enabled": 4000,
                "disabled": 1000,
                "unknown": 0,
                "percentage_enabled": 80.0,
            }
        ],
        "by_version_total": 1,
        "trend": [
            {
                "date": "2026-09-30",
                "enabled": 250,
                "disabled": 50,
                "unknown": 0,
                "percentage_enabled": 83.33,
            }
        ],
    },
    "errors": {
        "total_errors": 500,
        "by_category": [
            {
                "category": "build",
                "count": 500,
                "percentage": 100.0,
                "top_errors": [
                    {
                        "type": "package_not_found",
                        "count": 500,
                        "affected_versions": ["24.10.2", "23.05.5"],
                        "affected_versions_total": 2,
                    }
                ],
                "top_errors_total": 1,
            }
        ],
        "by_category_total": 1,
        "by_version": [
            {"version": "24.10.2", "errors": 300},
            {"version": "23.05.5", "errors": 200},
        ],
        "by_version_total": 2,
    },
    "performance": {
        "build_duration": {
            "avg_seconds": 120.3,
            "median_seconds": 110,
            "p50_seconds": 110,
            "p90_seconds": 200,
            "p95_seconds": 250,
            "p99_seconds": 400,
            "min_seconds": 45,
            "max_seconds": 580,
        },
        "by_version": [
            {"version": "24.10.2", "avg_duration": 115.0, "median_duration": 105, "builds": 4500}
        ],
        "by_version_total": 1,
        "slowest_builds_total": 4500,
        "slowest_builds": [
            {
                "request_hash": "6606d0a9f340",
                "version": "24.10.2",
                "target": "x86/64",
                "profile": "generic",
                "duration": 580,
                "package_count": 250,
                "finished_at": "2026-09-30T12:01:55.310000Z",
            }
        ],
    },
    "timeseries": [_BUCKET],
    "comparison": [
        {
            "figure": "requests",
            "unit": "count",
            "value": 10000,
            "before": 8000,
            "change": 25.0,
            "compared_until": "2026-08-31T12:00:00Z",
        },
        {
            "figure": "success_rate",
            "unit": "percent",
            "value": 90.0,
            "before": 92.5,
            "change": -2.5,
            "compared_until": "2026-08-31T12:00:00Z",
        },
    ],
    "timeseries/week": [{"weekday": 1, "hour": 0, "requests": 40, "failed_builds": 2}],
    "versions/timeseries": [
        {"timestamp": "2026-09-30", "version": "24.10.2", "requests": 300, "percentage": 75.0},
        {"timestamp": "2026-09-30", "version": None, "requests": 100, "percentage": 25.0},
    ],
    "performance/distribution": [
        {"from_seconds": 60, "to_seconds": 69, "builds": 120, "percentage": 17.39}
    ],
    "performance/timeseries": [
        {
            "timestamp": "2026-09-30",
            "builds": 180,
            "avg_seconds": 125.0,
            "median_seconds": 110,
            "p95_seconds": 250,
        }
    ],
    "errors/types": [
        {
            "category": "build",
            "type": "package_not_found",
            "count": 30,
            "percentage": 60.0,
            "versions": 1,
            "top_versions": [{"version": "24.10.2", "errors": 30}],
        }
    ],
    "errors/timeseries": [{"timestamp": "2026-09-30", "category": "build", "errors": 5}],
    "errors/examples": [
        {
            "timestamp": "2026-09-30T12:16:41Z",
            "category": "build",
            "type": "package_not_found",
            "version": "24.10.2",
            "target": "ath79/generic",
            "profile": "tplink_archer-c7-v5",
            "client": None,
            "request_hash": "9b162e1b564f",
            "message": "Impossible package selection: missing (luci-app-foo)",
        }
    ],
    "request-patterns": {
        "period": _PERIOD,
        "requests": 10000,
        "with_custom_repositories": {"count": 90, "percentage": 1.0, "unknown": 1000},
        "with_defaults": {"count": 450, "percentage": 5.0, "unknown": 1000},
        "with_rootfs_size": {"count": 900, "percentage": 10.0, "unknown": 1000},
        "rootfs_size_mb": {
            "requests": 900,
            "p50": 512,
            "p90": 1024,
            "p99": 1024,
            "max": 1024,
            "histogram": [{"from": 256, "to": 257, "requests": 900, "percentage": 100.0}],
        },
        "package_count": {
            "requests": 9000,
            "p50": 35,
            "p90": 80,
            "p99": 140,
            "max": 310,
            "histogram": [{"from": 0, "to": 9, "requests": 9000, "percentage": 100.0}],
        },
    },
    "now": {
        "queue_length": 2,
        "builds_running": 1,
        "running": [
            {
                "build_id": "0199f3a2-9a3",
                "version": "24.10.2",
                "target": "mediatek/filogic",
                "profile": "glinet_gl-mt6000",
                "started_at": "2026-09-30T12:00:07.840000Z",
                "worker": "w1",
            }
        ],
        "ended": [
            {
                "build_id": "0199f3b0-64d",
                "version": "24.10.2",
                "target": "ath79/generic",
                "profile": "tplink_archer-c7-v5",
                "finished_at": "2026-09-30T11:58:01Z",
                "duration": 107,
                "status": "success",
                "error_type": None,
            }
        ],
    },
}
