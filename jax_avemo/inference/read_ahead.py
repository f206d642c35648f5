"""A bounded queue between the thread that fetches and the one that uses."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], most: int) -> Iterator[Item]:
    """The same items, up to `most` of them fetched by a thread while the last one is used."""
    fetched: queue.Queue[Any] = queue.Queue(most)
    stop = threading.Event()
    done = object()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                fetched.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(done)
        except BaseException as error:  # raised where the items are used
            put(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while (item := fetched.get()) is not done:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5.0)
