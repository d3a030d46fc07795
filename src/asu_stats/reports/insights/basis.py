"""What an insight rests on: a part of every response under `insights/`."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class Basis(TypedDict):
    """What an insight rests on."""

    builds: Annotated[int, Field(description="Ended builds that were looked at.")]
    requests: Annotated[int, Field(description="Requests that were looked at.")]
    method: Annotated[str, Field(description="How the figures were found, in one sentence.")]
    enough: Annotated[
        bool,
        Field(description="False if there is too little data: then lists are empty, figures null."),
    ]
