"""A build request as clients send it: fields, limits, and its hash."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from asu_stats.builds import validation_messages
from asu_stats.exceptions import AsuStatsError
from asu_stats.settings import Settings
from asu_stats.strict_json import parse_json
from asu_stats.text import NAME_LENGTH, clean_name, is_storable, one_spelling

MAX_PACKAGES: Final = 2_000
MAX_REPOSITORIES: Final = 32
MAX_KEYS: Final = 32
KEY_LENGTH: Final = 8_192
URL_LENGTH: Final = 2_048

# Year and day of year in versions of LuCI packages; the first versions that know all phases.
_LUCI_DAY: Final = re.compile(r"(?P<year>[0-9]{2})\.(?P<day>[0-9]{3})\.")
_FINE_PHASES: Final = 24, 306
_DIGITS: Final = re.compile("[0-9]{1,10}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

# A name never begins with `.` or `-`, because it can become part of a path or an argument.
_NAME = r"^([A-Za-z0-9_][A-Za-z0-9_.,+-]*)?$"
Name = Annotated[str, StringConstraints(pattern=_NAME, max_length=NAME_LENGTH)]
Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]*/[A-Za-z0-9_]*$", max_length=128)]
Package = Annotated[
    str, StringConstraints(pattern=r"^[+-]?([A-Za-z0-9_.][A-Za-z0-9_.,+~-]*)?$", max_length=128)
]
PackageVersion = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_.,+~-]*$", max_length=NAME_LENGTH)
]
RepositoryName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)
]
RepositoryUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=URL_LENGTH)
]
RepositoryKey = Annotated[str, StringConstraints(max_length=KEY_LENGTH)]
Filesystem = Literal["squashfs", "ext4", "ubifs", "erofs", "jffs2", "jffs2-nand", "targz", "cpiogz"]


class InvalidRequestError(AsuStatsError):
    """A body that is not a build request; `errors` has place and problem of each error."""

    def __init__(self, errors: list[tuple[list[str | int], str]]) -> None:
        self.errors = errors
        place, problem = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        # For people: the member, without the index of its entry.
        super().__init__(f"{(place[1:] or place)[0]}: {problem}{more}")


class BuildRequest(BaseModel):
    """What to build, and for which client. Unknown members are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    distro: Name = Field(
        default="openwrt", description="Distribution; only `openwrt` is supported."
    )
    version: Name = Field(description="Release or snapshot.", examples=["24.10.2"])
    version_code: Name = Field(
        default="",
        description="Expected revision; with another one the build fails.",
        examples=["r28739-d9340319c6"],
    )
    target: Target = Field(description="Target and subtarget.", examples=["mediatek/filogic"])
    profile: Name = Field(
        description="Device; a `,` in it counts as `_`.", examples=["glinet_gl-mt6000"]
    )
    packages: list[Package] = Field(
        default=[],
        max_length=MAX_PACKAGES,
        description="Packages to add, or with `diff_packages` the full list. A leading `+` is "
        "ignored; a leading `-` removes a package.",
        examples=[["luci", "-ppp"]],
    )
    packages_versions: dict[Package, PackageVersion] = Field(
        default={},
        max_length=MAX_PACKAGES,
        description="Alternative to `packages`: the required version of each package.",
        examples=[{"luci": "25.014.55016~7046a1c"}],
    )
    diff_packages: bool = Field(
        default=False,
        description="Remove default packages that are not listed. 0, 1 and the strings that the "
        "upstream server reads as true or false are accepted too.",
    )
    defaults: str | None = Field(
        default=None, description="First-boot script, if the server accepts one."
    )
    rootfs_size_mb: StrictInt | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Size of the root file system in MB. A string of digits is accepted too.",
    )
    filesystem: Filesystem | None = Field(
        default=None, description="Build only this type of root file system."
    )
    repositories: dict[RepositoryName, RepositoryUrl] = Field(
        default={},
        max_length=MAX_REPOSITORIES,
        description="Extra package repositories by name. A list of URLs is accepted too.",
        examples=[{"extra": "https://example.org/packages/24.10/aarch64_cortex-a53"}],
    )
    repositories_mode: Literal["append", "replace"] = Field(
        default="replace",
        description="Whether `repositories` are added to the default ones or replace them.",
    )
    repository_keys: list[RepositoryKey] = Field(
        default=[], max_length=MAX_KEYS, description="Public keys of the extra repositories."
    )
    client: str | None = Field(
        default=None,
        max_length=NAME_LENGTH,
        description="Name and version of the client.",
        examples=["luci/25.168.50434~d6b13f6"],
    )

    @model_validator(mode="before")
    @classmethod
    def _name_listed_repositories(cls, data: Any) -> Any:
        """Accept a plain list of URLs, as the Go server does, and give its entries names."""
        if isinstance(data, dict) and isinstance(data.get("repositories"), list):
            urls = data["repositories"]
            return data | {"repositories": {f"custom_{i}": url for i, url in enumerate(urls)}}
        return data

    @field_validator("profile")
    @classmethod
    def _profile_in_one_spelling(cls, value: str) -> str:
        return one_spelling(value)

    @field_validator("packages")
    @classmethod
    def _plain_packages(cls, value: list[str]) -> list[str]:
        """Remove leading `+`, empty names and duplicates."""
        names = (name.removeprefix("+") for name in value)
        return [name for name in dict.fromkeys(names) if name.removeprefix("-")]

    @field_validator("packages_versions")
    @classmethod
    def _plain_packages_versions(cls, value: dict[str, str]) -> dict[str, str]:
        plain = {name.removeprefix("+"): version for name, version in value.items()}
        return {name: version for name, version in plain.items() if name.removeprefix("-")}

    @field_validator("client")
    @classmethod
    def _clean_client(cls, value: str | None) -> str | None:
        return None if value is None else clean_name(value)

    @field_validator("repository_keys")
    @classmethod
    def _storable_keys(cls, value: list[str]) -> list[str]:
        return [_storable(key) for key in value]

    @field_validator("defaults")
    @classmethod
    def _short_defaults(cls, value: str | None, info: ValidationInfo) -> str | None:
        limits: Settings | None = info.context
        if value and limits and len(value) > limits.max_defaults_length:
            raise PydanticCustomError(
                "string_too_long",
                "String should have at most {limit} characters",
                {"limit": limits.max_defaults_length},
            )
        return _storable(value) if value else None

    @field_validator("rootfs_size_mb", mode="before")
    @classmethod
    def _whole_rootfs(cls, value: Any) -> Any:
        """Accept `256.0` and `"256"` too, which scripts with templates write."""
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            return int(value)
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @field_validator("rootfs_size_mb")
    @classmethod
    def _small_rootfs(cls, value: int | None, info: ValidationInfo) -> int | None:
        limits: Settings | None = info.context
        if value and limits and value > limits.max_custom_rootfs_size_mb:
            raise PydanticCustomError(
                "less_than_equal",
                "Input should be less than or equal to {limit}",
                {"limit": limits.max_custom_rootfs_size_mb},
            )
        return value

    @property
    def wanted_packages(self) -> list[str]:
        """The requested packages, from `packages` or `packages_versions`."""
        return list(self.packages_versions) or self.packages

    @property
    def is_moving(self) -> bool:
        """Whether the image of the same request can change: a snapshot without a revision."""
        is_snapshot = self.version.upper().endswith("SNAPSHOT")
        return is_snapshot and not self.version_code and not self.packages_versions

    @property
    def request_hash(self) -> str:
        """SHA-256 (hex) of the image's inputs; package order and client do not matter."""
        identity = [
            self.distro,
            self.version,
            self.version_code,
            self.target,
            self.profile,
            sorted(set(self.wanted_packages)),
            self.packages_versions,
            self.diff_packages,
            self.filesystem,
            self.defaults,
            self.rootfs_size_mb,
            self.repositories,
            self.repositories_mode if self.repositories else None,
            sorted(set(self.repository_keys)),
        ]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _storable(text: str) -> str:
    if not is_storable(text):
        raise PydanticCustomError("unstorable", "String holds NUL")
    return text


def client_of(client: str | None, user_agent: str | None) -> str:
    """Return the client string of the body, else of auc's user agent, else `unknown`."""
    if client and client.strip():
        return client
    if user_agent and user_agent.startswith("auc"):
        return clean_name(user_agent.replace(" (", "/").replace(")", ""))[:NAME_LENGTH]
    return "unknown"


def knows_all_phases(client: str) -> bool:
    """Return False for a LuCI from before 2024-11, which stops at any phase but two.

    Package versions are `git-…` up to OpenWrt 23.05, then `YEAR.DAY.…~…`.
    """
    name, _, version = client.partition("/")
    if name.strip() != "luci":
        return True
    found = _LUCI_DAY.match(version.strip())
    if found is None:
        return not version.strip().startswith("git-")
    return (int(found["year"]), int(found["day"])) >= _FINE_PHASES


def parse(body: bytes, settings: Settings) -> BuildRequest:
    """Return the request of a JSON body.

    Raises `InvalidRequestError` with a message for the sender.
    """
    try:
        data = parse_json(body)
    except ValueError as error:
        raise InvalidRequestError([(["body"], str(error))]) from None
    if any(_SURROGATE.search(text) for text in _texts(data)):
        raise InvalidRequestError([(["body"], "a string contains an unpaired surrogate")])
    try:
        return BuildRequest.model_validate(data, context=settings)
    except ValidationError as error:
        raise InvalidRequestError(
            [
                (["body", *map(_short, item["loc"])], validation_messages.message_of(item))
                for item in error.errors(include_url=False)[:20]
            ]
        ) from None


def _texts(value: Any) -> Iterator[str]:
    """Return all strings in a JSON value, including names of members."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _short(place: str | int) -> str | int:
    return ascii(place[:60])[1:-1] if isinstance(place, str) else place
