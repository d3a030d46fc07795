"""The OpenAPI description of the build API: request body, responses, examples."""

from copy import deepcopy
from functools import cache
from typing import Any, Final, TypeAlias

from asu_stats.builds.requests import BuildRequest
from asu_stats.settings import Settings

Responses: TypeAlias = dict[int | str, dict[str, Any]]

HASH_PATTERN: Final = "^[0-9a-f]{64}$"

# Strings that the upstream server reads as booleans, regardless of case.
_FLAG: Final = [
    {"type": "boolean"},
    {"enum": [0, 1]},
    {"type": "string", "pattern": "^(0|1|f|t|n|y|no|yes|off|on|false|true)$"},
]
_NO_NUL: Final = {"pattern": r"^[^\u0000]*$"}
_REQUEST: Final = {
    "version": "24.10.2",
    "target": "mediatek/filogic",
    "profile": "glinet_gl-mt6000",
    "packages": ["luci", "luci-app-attendedsysupgrade"],
    "diff_packages": True,
    "client": "luci/25.168.50434~d6b13f6",
}
_HASH: Final = BuildRequest.model_validate(_REQUEST).request_hash
_IMAGE: Final = "openwrt-24.10.2-mediatek-filogic-glinet_gl-mt6000-sysupgrade.bin"


def request_body(settings: Settings) -> dict[str, Any]:
    """Return the description of a build request, with the limits of this server."""
    return {
        "required": True,
        "description": "At most 1 MiB of JSON. Members that are not listed are ignored.",
        "content": {"application/json": {"schema": _request_schema(settings), "example": _REQUEST}},
    }


def _request_schema(settings: Settings) -> dict[str, Any]:
    schema = deepcopy(_model_schema())
    members = schema["properties"]
    members["packages_versions"] = _closed(members["packages_versions"])
    repositories = _closed(members["repositories"])
    members["repositories"] = {
        "description": repositories.pop("description"),
        "anyOf": [
            repositories,
            {
                "type": "array",
                "items": repositories["additionalProperties"],
                "maxItems": repositories["maxProperties"],
            },
        ],
    }
    members["defaults"]["anyOf"][0] |= _NO_NUL | {"maxLength": settings.max_defaults_length}
    members["repository_keys"]["items"] |= _NO_NUL
    members["diff_packages"]["anyOf"] = _FLAG
    del members["diff_packages"]["type"]
    largest = settings.max_custom_rootfs_size_mb
    members["rootfs_size_mb"]["anyOf"][0]["maximum"] = largest
    # As many digits as always fit below the limit; a pattern cannot compare numbers.
    digits = f"^[1-9][0-9]{{0,{max(0, len(str(largest)) - 2)}}}$"
    members["rootfs_size_mb"]["anyOf"].append({"type": "string", "pattern": digits})
    return schema


@cache
def _model_schema() -> dict[str, Any]:
    return BuildRequest.model_json_schema(mode="validation")


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that rejects names outside of the pattern, like the model."""
    [(pattern, value)] = schema.pop("patternProperties").items()
    names = {**schema["propertyNames"], "pattern": pattern}
    return {**schema, "propertyNames": names, "additionalProperties": value}


def _response(
    description: str, example: dict[str, Any], *, headers: bool = False
) -> dict[str, Any]:
    """Return the description of a response with a JSON object."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["status", "detail"],
        "properties": {"status": {"type": "integer"}, "detail": {"type": "string"}},
    }
    response: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    if headers:
        schema["required"] += ["request_hash", "enqueued_at", "imagebuilder_status"]
        schema["properties"] |= {
            "request_hash": {"type": "string", "pattern": HASH_PATTERN},
            "enqueued_at": {"type": "string", "format": "date-time"},
            "imagebuilder_status": {"type": "string"},
        }
        response["headers"] = {
            "X-Imagebuilder-Status": {
                "description": "queued, one of the phases of a build, done or failed",
                "schema": {"type": "string"},
            },
            "X-Queue-Position": {
                "description": "builds ahead in the queue; 0 unless queued",
                "schema": {"type": "string", "pattern": "^[0-9]+$"},
            },
        }
    return response


def _problem(status: int, title: str, detail: str, *, retry: bool = False) -> dict[str, Any]:
    response = _response(title, {"status": status, "title": title, "detail": detail})
    if retry:
        response["headers"] = {
            "Retry-After": {"description": "seconds", "schema": {"type": "string"}}
        }
    return response


def _not_found(detail: str) -> dict[str, Any]:
    """Return the description of a 404; unknown paths get the framework's."""
    response = _problem(404, "Not Found", detail)
    schema = response["content"]["application/json"]["schema"]
    response["content"]["application/problem+json"] = {"schema": schema}
    return response


_BUILD: Final[Responses] = {
    200: _response(
        "The image exists: `/store/{bin_dir}/{name}` for each of `images`",
        {
            "status": 200,
            "detail": "done",
            "request_hash": _HASH,
            "enqueued_at": "2026-09-30T12:00:00.120000Z",
            "imagebuilder_status": "done",
            "bin_dir": _HASH,
            "build_at": "2026-06-23T20:40:36Z",
            "id": "glinet_gl-mt6000",
            "target": "mediatek/filogic",
            "titles": [{"model": "GL-MT6000", "vendor": "GL.iNet"}],
            "version_number": "24.10.2",
            "version_code": "r28739-d9340319c6",
            "images": [
                {
                    "name": _IMAGE,
                    "type": "sysupgrade",
                    "filesystem": "squashfs",
                    "sha256": "4f1c…",
                    "sha256_unsigned": "9d20…",
                }
            ],
            "manifest": {"luci": "25.168.50434~d6b13f6"},
            "build_cmd": ["make", "image", "PROFILE=glinet_gl-mt6000"],
            "request": _REQUEST,
            "stdout": "",
            "stderr": "",
        },
        headers=True,
    ),
    202: _response(
        "The build is queued or running",
        {
            "status": 202,
            "detail": "queued",
            "request_hash": _HASH,
            "enqueued_at": "2026-09-30T12:00:00.120000Z",
            "imagebuilder_status": "queued",
            "queue_position": 3,
        },
        headers=True,
    ),
    500: _response(
        "The build failed; the failure is remembered for a while",
        {
            "status": 500,
            "title": "Internal Server Error",
            "detail": "Error: Impossible package selection: missing (luci-app-foo)",
            "request_hash": _HASH,
            "imagebuilder_status": "failed",
            "stdout": "",
            "stderr": "ERROR: unable to select packages: …",
        },
        headers=True,
    ),
    503: _problem(
        503, "Service Unavailable", "the database is unreachable; try again later", retry=True
    ),
}

STATUS_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "request_hash",
        "in": "path",
        "required": True,
        "description": "`request_hash` of the response to the request",
        "schema": {"type": "string", "pattern": HASH_PATTERN},
        "example": _HASH,
    }
]

GET_RESPONSES: Final[Responses] = {
    **_BUILD,
    404: _not_found("could not find provided request hash"),
}

POST_RESPONSES: Final[Responses] = {
    **_BUILD,
    400: _problem(400, "Bad Request", "Unsupported version: 10.10.10"),
    413: _problem(413, "Content Too Large", "the body is larger than 1048576 bytes"),
    415: _problem(
        415, "Unsupported Media Type", "expected a body with content type application/json"
    ),
    422: _problem(422, "Unprocessable Content", "profile: is missing"),
    529: _problem(
        529,
        "Server overloaded",
        "server overload, queue contains too many build requests: 201",
        retry=True,
    ),
}

IMAGE_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "path",
        "in": "path",
        "required": True,
        "description": "`bin_dir` of the response 200, `/`, and the `name` of an image",
        "schema": {"type": "string", "minLength": 1},
        "example": f"{_HASH}/{_IMAGE}",
    },
    {
        "name": "Range",
        "in": "header",
        "required": False,
        "description": "Requested bytes, e.g. `bytes=0-1023` (RFC 9110 §14.2)",
        "schema": {"type": "string"},
        "example": "bytes=0-1023",
    },
]

IMAGE_RESPONSES: Final[Responses] = {
    200: {
        "description": "The image",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {
        "description": "The requested part, or several",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/byteranges": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    400: _problem(400, "Bad Request", "Range: expected bytes=FIRST-LAST"),
    404: _not_found("no such image"),
    416: _problem(416, "Range Not Satisfiable", "the image has no such bytes"),
}
