"""Why figures are incomplete: imported history lacks hashes and other data."""

from collections.abc import Iterator


def reasons(
    *,
    without_hash: int,
    untraced: int,
    unknown_diff: int = 0,
    unknown_outcome: int = 0,
    rejected_without_hash: int = 0,
) -> list[str]:
    """Return a sentence for each gap in the data.

    `untraced` counts imported requests that waited for an unknown build, `unknown_diff` those that
    do not state diff_packages, and `unknown_outcome` cache misses of unknown outcome. Requests in
    `rejected_without_hash` need not be imported.
    """
    return list(
        _reasons(without_hash, untraced, unknown_diff, unknown_outcome, rejected_without_hash)
    )


def _reasons(
    without_hash: int,
    untraced: int,
    unknown_diff: int,
    unknown_outcome: int,
    rejected_without_hash: int,
) -> Iterator[str]:
    if without_hash:
        yield (
            f"{_some(without_hash)} imported from an older server without request hash: "
            "unique_requests and unique_builds are unknown. That server did not keep requests that "
            "it rejected or that joined a build: rejected_requests is unknown, and requests do "
            "not include joined ones."
        )
    if untraced:
        yield (
            f"{_some(untraced)} imported without {'its' if untraced == 1 else 'their'} build: "
            "successful_builds, failed_builds, pending and success_rate of the clients concerned "
            "are unknown."
        )
    if unknown_outcome:
        yield (
            f"{_some(unknown_outcome)} imported without outcome. Some of them may have been "
            "rejected."
        )
    if unknown_diff:
        yield (
            f"{_some(unknown_diff)} imported without diff_packages. They count as neither enabled "
            "nor disabled, and not in the percentage."
        )
    if rejected_without_hash:
        yield (
            f"{_some(rejected_without_hash)} rejected without request hash: "
            "unique_rejected_requests can't be known."
        )


def _some(requests: int) -> str:
    return "1 request was" if requests == 1 else f"{requests:,} requests were"
