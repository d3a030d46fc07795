"""The data and method behind an insight: a field of every response under `insights/`."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class Basis(TypedDict):
    """The data and method behind an insight."""

    builds: Annotated[int, Field(description="Ended builds that were evaluated.")]
    requests: Annotated[int, Field(description="Requests that were evaluated.")]
    method: Annotated[str, Field(description="How the figures were computed.")]
    enough: Annotated[
        bool,
        Field(description="False if there is too little data: then lists are empty, figures null."),
    ]
