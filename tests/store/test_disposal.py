"""A connection that is in use when its engine is disposed of."""

from typing import Any

from sqlalchemy import Engine

from asu_stats.store.database.engine import create


def test_a_connection_in_use_during_disposal_is_closed_by_its_return(engine: Engine) -> None:
    ours = create(engine.url.render_as_string(hide_password=False))
    idle, used = ours.raw_connection(), ours.raw_connection()
    driver = used.driver_connection
    assert driver is not None
    idle.close()

    ours.dispose()
    used.cursor().execute("SELECT 1")
    used.close()

    assert _is_closed(driver)
    ours.raw_connection().close()  # the engine works on
    ours.dispose()


def _is_closed(driver: Any) -> bool:
    try:
        driver.cursor().execute("SELECT 1")
    except Exception as error:
        return "closed" in str(error)
    return False
