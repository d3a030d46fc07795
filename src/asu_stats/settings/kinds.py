"""Types and bounds that several settings share."""

from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_settings import NoDecode

from asu_stats.settings import checks

# JSON in environment variables. `lists` parses it, for clearer errors than pydantic's.
TextList = Annotated[list[str], NoDecode]
Origins = Annotated[list[Annotated[str, AfterValidator(checks.origin)]], NoDecode]
PublicUrl = Annotated[str, AfterValidator(checks.public_url)]

# Upper bounds: longer than any real use, and small enough that no sum overflows.
DAYS: Final = 36_500
SECONDS: Final = 10 * 365 * 86400
MANY: Final = 10**9
