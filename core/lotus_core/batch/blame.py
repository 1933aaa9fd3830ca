"""Whose fault an error is: the item's, which fails and is remembered, or the machine's, which ends the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Cancelled, LotusError


class CannotGoOn(LotusError):
    """A full disk, a missing package, a model that cannot be loaded: no item is to blame, and the next would fail too.
    Such a run ends, and its journal says nothing of the item, which the next run takes up again."""


@contextmanager
def no_fault_of_the_item() -> Iterator[None]:
    """What goes wrong in this block (a LotusError, or an OSError of writing) raises CannotGoOn."""
    try:
        yield
    except (Cancelled, CannotGoOn):
        raise
    except LotusError as error:
        raise CannotGoOn(str(error)) from error
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        reason = error.strerror or str(error)
        raise CannotGoOn(f"Cannot write{where}: {reason}; free some space or choose another place.") from error


def reason_of(error: LotusError) -> str:
    """Why an item failed, for the record. Raises what ends the run instead: Cancelled, and CannotGoOn."""
    if isinstance(error, Cancelled | CannotGoOn):
        raise error
    if isinstance(error.__context__, ImportError):  # "pip install …", whatever needs the package
        raise CannotGoOn(str(error)) from error
    return str(error)
