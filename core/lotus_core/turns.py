"""One thread at a time in a model's networks.

What a prediction sets for a while is the model's own and not the thread's: the task of a folded U-Net, the pieces it
works in when memory is short, and where its weights are. Several threads would lose nothing but their results: one
pass keeps all cores, or the GPU, busy.
"""

from __future__ import annotations

from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

# Not attributes of the models, which are copied and pickled, as locks cannot be.
_locks: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_guard = Lock()


def turn(model: Any) -> Any:
    """The lock of `model`, a context manager; the thread that holds it may enter again."""
    with _guard:
        return _locks.setdefault(model, RLock())
