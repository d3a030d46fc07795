"""The build service: accepts requests and returns the state of builds."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import Engine

from asu_stats.builds import build_responses, emitted_events, requests
from asu_stats.builds.build_responses import BuildResponse
from asu_stats.builds.catalogue import Catalogue
from asu_stats.builds.images import ImageStore
from asu_stats.builds.outbox import Outbox, Record
from asu_stats.builds.queue import BuildQueue, Clock
from asu_stats.builds.requests import BuildRequest, InvalidRequestError
from asu_stats.builds.validation import RejectedRequestError, validate
from asu_stats.builds.wakeups import Wakeups
from asu_stats.events import Outcome, shown_hash
from asu_stats.settings import Settings
from asu_stats.times import utc_now

_log = logging.getLogger(__name__)


class BuildService:
    """Accepts requests and returns the state of their builds.

    `record` takes events and returns when they are stored or spooled. The default `catalogue` is
    that of the settings; loading it raises `InvalidSettingError`. `waited` is called for every
    claimed build with the seconds it was in the queue. Nothing runs in the background here, see
    `background.Background`.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        record: Record,
        *,
        catalogue: Catalogue | None = None,
        clock: Clock = utc_now,
        waited: Callable[[float], object] | None = None,
    ) -> None:
        if catalogue is None and settings.catalogue:
            catalogue = Catalogue.load(settings.catalogue)
        self.engine = engine
        self.settings = settings
        self.catalogue = catalogue
        self.images = ImageStore(settings.store_directory)
        self.outbox = Outbox(engine, record, oldest=settings.oldest_event)
        self.queue = BuildQueue(
            engine, settings, self.outbox, self.images, clock=clock, waited=waited
        )
        self.wakeups = Wakeups()
        self._clock = clock

    def request(self, body: bytes, *, user_agent: str | None = None) -> BuildResponse:
        """Process a build request. Every valid body is recorded, with any outcome.

        Raises `StoreUnavailableError`, with nothing changed, when the database is unreachable.
        """
        received = self._clock()
        try:
            request = requests.parse(body, self.settings)
        except InvalidRequestError as error:
            return build_responses.invalid(error)
        client = requests.client_of(request.client, user_agent)
        try:
            request = validate(request, self.settings, self.catalogue)
        except RejectedRequestError as error:
            rejection = {
                "error_message": str(error),
                "error_category": "validation",
                "error_type": error.error_type,
            }
            self._record(request, client, received, "rejected", rejection)
            return build_responses.rejected(str(error))
        return self._submit(request, client, received)

    def _submit(self, request: BuildRequest, client: str, received: datetime) -> BuildResponse:
        outcome, state, waiting = self.queue.submit(request, client=client, received=received)
        if outcome == "queued":
            self.wakeups.notify()
        elif state:
            self._record(request, client, received, outcome)
        if state:
            _log.info(
                "builds: request received hash=%s outcome=%s",
                shown_hash(state.request_hash),
                outcome,
            )
            return build_responses.of_state(state)
        rejection = {
            "error_message": build_responses.overload_text(waiting),
            "error_category": "validation",
            "error_type": "queue_full",
        }
        self._record(request, client, received, "rejected", rejection)
        return build_responses.overloaded(waiting)

    def _record(
        self,
        request: BuildRequest,
        client: str,
        received: datetime,
        outcome: Outcome,
        error: Mapping[str, str] | None = None,
    ) -> None:
        event = emitted_events.request_received(
            self.settings.event_source,
            request,
            client=client,
            received=received,
            outcome=outcome,
            error=error,
        )
        self.outbox.deliver([event])

    def look_up(self, request_hash: str) -> BuildResponse:
        """Return the response with the state of a request hash, 404 if it is unknown.

        Raises `StoreUnavailableError` when the database is unreachable.
        """
        state = self.queue.find(request_hash)
        return build_responses.of_state(state) if state else build_responses.unknown_hash()
